#include "data/option.h"

#include "base/error.h"

#include <tpcore/json.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One check: what every level needs. */
struct check {
    struct tpc_arena *arena;
    struct tpc_error *err;
    uint32_t flags;
    uint32_t record_bytes; /* size of one struct tpc_option in the author's tables */
};

static int check_table(struct check *c, const struct tpc_list *table, const struct tpc_value *in,
                       bool open, uint32_t depth, struct tpc_value *ret);
static int check_value(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                       uint32_t depth, struct tpc_value *ret);

#define fail(c, ...) tpi_error_set((c)->err, TPC_EINVAL, "option", __VA_ARGS__)

/* A record of a table as ours, whatever its author's version knew. */
static struct tpc_option load(const void *record, uint32_t record_bytes)
{
    struct tpc_option o = { .name = NULL };
    memcpy(&o, record, record_bytes < sizeof(o) ? record_bytes : sizeof(o));
    return o;
}

static struct tpc_option load_at(const struct tpc_list *table, uint32_t i)
{
    return load((const char *) table->items + (size_t) i * table->element_size,
                table->element_size);
}

static const char *type_name(uint32_t type)
{
    static const char *const names[] = {
        [TPC_NULL] = "null",       [TPC_BOOL] = "a bool", [TPC_INT] = "an integer",
        [TPC_DOUBLE] = "a number", [TPC_TEXT] = "a text", [TPC_BLOB] = "bytes",
        [TPC_ARRAY] = "a list",    [TPC_MAP] = "a table",
    };
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : "something unknown";
}

static int wrong_type(struct check *c, const char *expected, const struct tpc_value *in)
{
    return fail(c, "%s was expected, not %s", expected, type_name(in->type));
}

/* ---- numbers ---- */

static int check_bounds(struct check *c, const struct tpc_option *o, int64_t x)
{
    bool natural = o->type != TPC_OPT_INT;
    if (natural && x < 0) {
        return fail(c, "%lld is below 0", (long long) x);
    }
    if (o->min == 0 && o->max == 0) {
        return 0;
    }
    if (x < o->min) {
        return fail(c, "%lld is below %lld", (long long) x, (long long) o->min);
    }
    if (o->max >= o->min && x > o->max) {
        return fail(c, "%lld is above %lld", (long long) x, (long long) o->max);
    }
    return 0;
}

static int check_int(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                     struct tpc_value *ret)
{
    int64_t x;
    if (in->type == TPC_BOOL || tpc_value_int(in, &x) != 0) {
        return wrong_type(c, "an integer", in);
    }
    *ret = (struct tpc_value){ .type = TPC_INT, .as.i = x };
    return check_bounds(c, o, x);
}

static int check_double(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                        struct tpc_value *ret)
{
    double x;
    if (in->type == TPC_BOOL || tpc_value_double(in, &x) != 0 || !isfinite(x)) {
        return wrong_type(c, "a number", in);
    }
    *ret = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = x };
    if (o->min == 0 && o->max == 0) {
        return 0;
    }
    if (x < (double) o->min) {
        return fail(c, "%g is below %lld", x, (long long) o->min);
    }
    if (o->max >= o->min && x > (double) o->max) {
        return fail(c, "%g is above %lld", x, (long long) o->max);
    }
    return 0;
}

/* Durations and sizes: a number as it is, or a text with a unit. */
static int check_unit(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                      struct tpc_value *ret)
{
    bool duration = o->type == TPC_OPT_DURATION;
    if (in->type != TPC_TEXT) {
        return check_int(c, o, in, ret);
    }
    struct tpc_str text = tpc_value_text(in);
    int64_t x;
    int rc = duration ? tpi_duration_parse(text, &x) : tpi_size_parse(text, &x);
    if (rc != 0) {
        return fail(c, "'%.*s' is no %s", text.len > 40 ? 40 : (int) text.len, text.ptr,
                    duration ? "duration such as 250ms, 10s, 5m, 1h or 7d"
                             : "size such as 4096, 10k, 64MiB or 1GB");
    }
    *ret = (struct tpc_value){ .type = TPC_INT, .as.i = x };
    return check_bounds(c, o, x);
}

/* ---- text ---- */

static int check_text(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                      struct tpc_value *ret)
{
    struct tpc_str text = tpc_value_text(in);
    int64_t max = o->max != 0 ? o->max : TPI_OPTION_MAX_TEXT;
    if (in->type != TPC_TEXT) {
        return wrong_type(c, "a text", in);
    }
    if ((int64_t) text.len < o->min || (int64_t) text.len > max) {
        return fail(c, "a text of %zu bytes; %lld to %lld are allowed", text.len,
                    (long long) o->min, (long long) max);
    }
    if ((o->flags & TPC_OPT_KEY) != 0 && !tpi_key_valid(text)) {
        return fail(c, "a key has 1 to %d bytes of UTF-8 without control bytes",
                    TPI_OPTION_MAX_KEY);
    }
    *ret = *in;
    return 0;
}

static int check_enum(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                      struct tpc_value *ret)
{
    struct tpc_str text = tpc_value_text(in);
    const char *p = o->values != NULL ? o->values : "";
    if (in->type != TPC_TEXT) {
        return wrong_type(c, "a text", in);
    }
    for (const char *end;; p = end + 1) {
        end = strchrnul(p, '|');
        if (text.len == (size_t) (end - p) && memcmp(text.ptr, p, text.len) == 0) {
            *ret = *in;
            return 0;
        }
        if (*end == '\0') {
            return fail(c, "'%.*s' is none of %s", text.len > 40 ? 40 : (int) text.len, text.ptr,
                        o->values != NULL ? o->values : "");
        }
    }
}

/* ---- lists and tables ---- */

static int check_list(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                      uint32_t depth, struct tpc_value *ret)
{
    int64_t max = o->max != 0 ? o->max : TPI_OPTION_MAX_ITEMS;
    if (in->type != TPC_ARRAY) {
        return wrong_type(c, "a list", in);
    }
    if ((int64_t) in->len < o->min || (int64_t) in->len > max) {
        return fail(c, "a list of %zu items; %lld to %lld are allowed", in->len, (long long) o->min,
                    (long long) max);
    }
    *ret = *in;
    if (in->len == 0 || o->elem == NULL) {
        return 0;
    }
    struct tpc_value *items = tpc_arena_take(c->arena, in->len * sizeof(*items));
    if (items == NULL) {
        return tpi_error_set(c->err, TPC_ENOMEM, "option", "out of memory");
    }
    struct tpc_option elem = load(o->elem, c->record_bytes);
    for (size_t i = 0; i < in->len; i++) {
        int rc = check_value(c, &elem, &in->as.items[i], depth, &items[i]);
        if (rc != 0) {
            tpi_error_at_index(c->err, i);
            return rc;
        }
    }
    ret->as.items = items;
    return 0;
}

static int check_value(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                       uint32_t depth, struct tpc_value *ret)
{
    if (depth == TPI_OPTION_MAX_DEPTH) {
        return tpi_error_set(c->err, TPC_ETOOBIG, "option",
                             "more than %d lists and tables inside one another",
                             TPI_OPTION_MAX_DEPTH);
    }
    switch (o->type) {
    case TPC_OPT_BOOL:
        *ret = *in;
        return in->type == TPC_BOOL ? 0 : wrong_type(c, "a bool", in);
    case TPC_OPT_INT:
    case TPC_OPT_UINT:
        return check_int(c, o, in, ret);
    case TPC_OPT_DOUBLE:
        return check_double(c, o, in, ret);
    case TPC_OPT_TEXT:
    case TPC_OPT_SECRET:
        return check_text(c, o, in, ret);
    case TPC_OPT_ENUM:
        return check_enum(c, o, in, ret);
    case TPC_OPT_DURATION:
    case TPC_OPT_SIZE:
        return check_unit(c, o, in, ret);
    case TPC_OPT_LIST:
        return check_list(c, o, in, depth + 1, ret);
    case TPC_OPT_TABLE:
        if (in->type != TPC_MAP) {
            return wrong_type(c, "a table", in);
        }
        return check_table(c, &o->sub, in, (o->flags & TPC_OPT_OPEN) != 0, depth + 1, ret);
    case TPC_OPT_ANY:
        *ret = *in;
        return 0;
    default:
        return fail(c, "its table gives it type %u, which this version does not know", o->type);
    }
}

/* The default as a user would have written it: texts and units as text, the rest as JSON. */
static int parse_default(struct check *c, const struct tpc_option *o, struct tpc_value *ret)
{
    switch (o->type) {
    case TPC_OPT_TEXT:
    case TPC_OPT_SECRET:
    case TPC_OPT_ENUM:
    case TPC_OPT_DURATION:
    case TPC_OPT_SIZE:
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = strlen(o->def), .as.text = o->def };
        return 0;
    default:
        return tpc_json_parse(c->arena, tpc_str_from(o->def), 0, c->err, ret);
    }
}

/* Value of one record of a table. Returns 1 if it stays absent. */
static int check_member(struct check *c, const struct tpc_option *o, const struct tpc_value *in,
                        uint32_t depth, struct tpc_value *ret)
{
    struct tpc_value written;
    if (in != NULL && in->type != TPC_NULL) {
        return check_value(c, o, in, depth, ret);
    }
    if ((o->flags & TPC_OPT_REQUIRED) != 0) {
        return fail(c, "it is required");
    }
    if (o->def == NULL || (c->flags & TPI_OPTION_NO_DEFAULTS) != 0) {
        return 1;
    }
    int rc = parse_default(c, o, &written);
    return rc != 0 ? rc : check_value(c, o, &written, depth, ret);
}

static bool is_named(const struct tpc_list *table, struct tpc_str key)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct tpc_option o = load_at(table, i);
        if (tpc_str_equal(tpc_str_from(o.name), key)) {
            return true;
        }
    }
    return false;
}

/* Members that the table does not name: kept, or the first one refused. */
static int check_unknown(struct check *c, const struct tpc_list *table, const struct tpc_value *in,
                         bool open, struct tpc_member *members, size_t *count)
{
    for (size_t i = 0; i < in->len; i++) {
        const struct tpc_member *m = &in->as.members[i];
        if (is_named(table, m->key)) {
            continue;
        }
        if (open) {
            members[(*count)++] = *m;
            continue;
        }
        char name[128];
        snprintf(name, sizeof(name), "%.*s", m->key.len > 100 ? 100 : (int) m->key.len, m->key.ptr);
        fail(c, "there is no such option");
        tpi_error_at(c->err, name);
        return TPC_EINVAL;
    }
    return 0;
}

static int check_table(struct check *c, const struct tpc_list *table, const struct tpc_value *in,
                       bool open, uint32_t depth, struct tpc_value *ret)
{
    struct tpc_member *members = NULL;
    size_t count = 0;
    size_t most = table->count + in->len;
    if (most > 0) {
        members = tpc_arena_take(c->arena, most * sizeof(*members));
        if (members == NULL) {
            return tpi_error_set(c->err, TPC_ENOMEM, "option", "out of memory");
        }
    }
    uint32_t outer = c->record_bytes;
    c->record_bytes = table->count > 0 ? table->element_size : outer;
    for (uint32_t i = 0; i < table->count; i++) {
        struct tpc_option o = load_at(table, i);
        struct tpc_str name = tpc_str_from(o.name);
        struct tpc_member *m = &members[count];
        int rc = check_member(c, &o, tpc_value_get(in, name), depth, &m->value);
        if (rc < 0) {
            tpi_error_at(c->err, o.name);
            return rc;
        }
        m->key = name;
        count += rc == 0;
    }
    c->record_bytes = outer;
    int rc = check_unknown(c, table, in, open, members, &count);
    if (rc == 0) {
        *ret = (struct tpc_value){ .type = TPC_MAP, .len = count, .as.members = members };
    }
    return rc;
}

int tpi_option_check(const struct tpc_list *table, const struct tpc_value *in, uint32_t flags,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    static const struct tpc_value nothing = { .type = TPC_MAP };
    struct check c = {
        .arena = arena, .err = err, .flags = flags, .record_bytes = table->element_size
    };
    if (in == NULL || in->type == TPC_NULL) {
        in = &nothing;
    }
    if (in->type != TPC_MAP) {
        return wrong_type(&c, "a table", in);
    }
    struct tpc_value v;
    int rc = check_table(&c, table, in, (flags & TPI_OPTION_KEEP_UNKNOWN) != 0, 0, &v);
    if (rc == 0) {
        *ret = v;
    }
    return rc;
}
