/* Conditions of tasks: {matchAll, conditions: [{variable, operator, value}]}. */
#include <string.h>
#include <tpcore/json.h>

#include "data/member.h"
#include "data/number.h"
#include "migrate/mycontroller.h"

static void put_c(struct tpi_mc *m, struct tpi_buf *b, const char *s)
{
    tpi_mc_write(m, b, tpc_str_from(s));
}

/* A text that is a number or a bool is compared as such. */
static bool is_scalar(struct tpc_str s)
{
    size_t digits = 0;
    size_t points = 0;
    if (tpc_str_equal(s, TPC_STR("true")) || tpc_str_equal(s, TPC_STR("false"))) {
        return true;
    }
    for (size_t i = 0; i < s.len; i++) {
        bool digit = s.ptr[i] >= '0' && s.ptr[i] <= '9';
        digits += digit;
        points += s.ptr[i] == '.';
        if (!digit && s.ptr[i] != '.' && (i > 0 || s.ptr[i] != '-')) {
            return false;
        }
    }
    return digits > 0 && digits < 300 && points <= 1 && s.ptr[s.len - 1] != '.' &&
           s.ptr[s.ptr[0] == '-' ? 1 : 0] != '.';
}

static bool put_text(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str s)
{
    if (is_scalar(s)) {
        tpi_mc_write(m, b, s);
        return true;
    }
    struct tpc_str reference = tpi_mc_reference(m, s);
    if (reference.len > 0) {
        tpi_mc_write(m, b, reference);
        return true;
    }
    if (s.len >= 2 && memmem(s.ptr, s.len, "{{", 2) != NULL) {
        return false;
    }
    tpi_mc_quote(m, b, s);
    return true;
}

/* A value as an expression; false = it has no counterpart. */
static bool put_value(struct tpi_mc *m, struct tpi_buf *b, const struct tpc_value *v)
{
    char number[TPI_NUMBER_TEXT_BYTES];
    size_t n;
    switch (v != NULL ? v->type : TPC_NULL) {
    case TPC_TEXT:
        return put_text(m, b, tpc_value_text(v));
    case TPC_BOOL:
        put_c(m, b, v->as.b ? "true" : "false");
        return true;
    case TPC_INT:
        n = tpi_number_print_int(v->as.i, number);
        break;
    case TPC_DOUBLE:
        n = tpi_number_print(v->as.d, number);
        break;
    default:
        return false;
    }
    tpi_mc_write(m, b, (struct tpc_str){ number, n });
    return true;
}

/* A list, or a text with a JSON list in it. */
static const struct tpc_value *list_of(struct tpi_mc *m, const struct tpc_value *v,
                                       struct tpc_value *room)
{
    if (v != NULL && v->type == TPC_TEXT &&
        tpc_json_parse(m->arena, tpc_value_text(v), 0, NULL, room) == 0) {
        v = room;
    }
    return v != NULL && v->type == TPC_ARRAY && v->len > 0 ? v : NULL;
}

static bool put_in(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str name, bool not,
                   const struct tpc_value *value)
{
    struct tpc_value room;
    const struct tpc_value *list = list_of(m, value, &room);
    tpi_mc_write(m, b, name);
    put_c(m, b, not ? " not in (" : " in (");
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        put_c(m, b, i > 0 ? ", " : "");
        if (!put_value(m, b, &list->as.items[i])) {
            return false;
        }
    }
    put_c(m, b, ")");
    return list != NULL;
}

static bool put_range(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str name, bool not,
                      const struct tpc_value *value)
{
    struct tpc_value room;
    const struct tpc_value *list = list_of(m, value, &room);
    if (list == NULL || list->len != 2) {
        return false;
    }
    tpi_mc_write(m, b, name);
    put_c(m, b, not ? " not between " : " between ");
    bool good = put_value(m, b, &list->as.items[0]);
    put_c(m, b, " and ");
    return put_value(m, b, &list->as.items[1]) && good;
}

/* It does not look at capitals: each letter becomes both. Inside [..] that is left to people. */
static bool put_regex(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str name,
                      struct tpc_str pattern)
{
    struct tpi_buf both;
    tpi_mc_buf(&both);
    bool good = pattern.len > 0 && memchr(pattern.ptr, '[', pattern.len) == NULL;
    for (size_t i = 0; good && i < pattern.len; i++) {
        char c = pattern.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (letter && (i == 0 || pattern.ptr[i - 1] != '\\')) {
            char set[4] = { '[', (char) (c | 0x20), (char) (c & ~0x20), ']' };
            tpi_mc_write(m, &both, (struct tpc_str){ set, 4 });
        } else {
            tpi_mc_write(m, &both, (struct tpc_str){ &c, 1 });
        }
    }
    put_c(m, b, "regexp_matches(");
    tpi_mc_write(m, b, name);
    put_c(m, b, ", ");
    tpi_mc_quote(m, b, tpi_mc_take(m, &both));
    put_c(m, b, ")");
    return good;
}

static const char *comparison(struct tpc_str operator)
{
    static const char *const names[][2] = { { "eq", "=" },  { "", "=" },     { "ne", "!=" },
                                            { "gt", ">" },  { "gte", ">=" }, { "lt", "<" },
                                            { "lte", "<=" } };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (tpc_str_equal(operator, tpc_str_from(names[i][0]))) {
            return names[i][1];
        }
    }
    return NULL;
}

static bool put_one(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str name,
                    struct tpc_str operator, const struct tpc_value * value)
{
    const char *sign = comparison(operator);
    if (sign != NULL) {
        tpi_mc_write(m, b, name);
        put_c(m, b, " ");
        put_c(m, b, sign);
        put_c(m, b, " ");
        return put_value(m, b, value);
    }
    if (tpc_str_equal(operator, TPC_STR("in")) || tpc_str_equal(operator, TPC_STR("nin"))) {
        return put_in(m, b, name, operator.len == 3, value);
    }
    if (tpc_str_equal(operator, TPC_STR("range_in")) ||
        tpc_str_equal(operator, TPC_STR("range_not_in"))) {
        return put_range(m, b, name, operator.len> 8, value);
    }
    if (tpc_str_equal(operator, TPC_STR("exists"))) {
        tpi_mc_write(m, b, name);
        put_c(m, b, " is not null");
        return true;
    }
    if (tpc_str_equal(operator, TPC_STR("regex")) && value != NULL) {
        return put_regex(m, b, name, tpc_value_text(value));
    }
    return false;
}

/* Guards: a variable without value makes a task's condition false at once. */
static void put_guards(struct tpi_mc *m, struct tpi_buf *b)
{
    for (uint32_t i = 0; i < m->var_count; i++) {
        if (m->vars[i].is_field) {
            put_c(m, b, b->len > 0 ? " and " : "");
            tpi_mc_write(m, b, m->vars[i].ours);
            put_c(m, b, " is not null");
        }
    }
}

static void put_conditions(struct tpi_mc *m, struct tpi_buf *b, const struct tpc_value *config,
                           const struct tpc_value *list)
{
    bool all = tpi_mc_truthy(tpi_member(config, "matchAll"));
    bool brackets = !all && b->len > 0 && list->len > 1;
    put_c(m, b, b->len > 0 ? " and " : "");
    put_c(m, b, brackets ? "(" : "");
    for (size_t i = 0; i < list->len; i++) {
        const struct tpc_value *c = &list->as.items[i];
        struct tpc_str variable = tpi_member_text(c, "variable");
        struct tpc_str operator= tpi_member_text(c, "operator");
        struct tpc_str name = tpi_mc_operand(m, variable);
        put_c(m, b, i == 0 ? "" : all ? " and " : " or ");
        if (name.len == 0 || !put_one(m, b, name, operator, tpi_member(c, "value"))) {
            tpi_mc_lame(m, "evaluationConfig", "condition %zu has no counterpart: '%.*s' %.*s", i + 1,
                        (int) (variable.len < 100 ? variable.len : 100),
                        variable.len > 0 ? variable.ptr : "",
                        (int) (operator.len < 20 ? operator.len : 20),
                        operator.len > 0 ? operator.ptr : "");
        }
    }
    put_c(m, b, brackets ? ")" : "");
}

struct tpc_str tpi_mc_condition(struct tpi_mc *m, const struct tpc_value *config)
{
    const struct tpc_value *list = tpi_member(config, "conditions");
    struct tpi_buf b;
    tpi_mc_buf(&b);
    put_guards(m, &b);
    if (list != NULL && list->type == TPC_ARRAY && list->len > 0) {
        put_conditions(m, &b, config, list);
    }
    struct tpc_str text = tpi_mc_take(m, &b);
    if (m->lame) {
        return TPC_STR(""); /* half of a condition is none */
    }
    return text;
}
