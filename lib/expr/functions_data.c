/* Functions of null, of types, of lists and maps. */
#include <string.h>
#include <tpcore/json.h>

#include "expr/cell.h"
#include "expr/functions.h"

static struct cell fn_coalesce(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    for (uint32_t i = 0; i < n; i++) {
        if (a[i].type != TPC_NULL) {
            return a[i];
        }
    }
    return cell_null();
}

static struct cell fn_nullif(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return tpi_cell_same(&a[0], &a[1]) ? cell_null() : a[0];
}

static struct cell fn_isnull(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_bool(a->type == TPC_NULL);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The end of the digits from p. */
static const char *digits(const char *p, const char *end)
{
    while (p < end && is_digit(*p)) {
        p++;
    }
    return p;
}

/* A number as JSON writes them, and nothing else but blanks around it. */
static struct cell parse_number(struct tpc_str s)
{
    const char *end = s.ptr + s.len;
    const char *p = s.ptr;
    while (p < end && *p == ' ') {
        p++;
    }
    while (end > p && end[-1] == ' ') {
        end--;
    }
    bool minus = p < end && *p == '-';
    p += minus || (p < end && *p == '+');
    const char *whole = digits(p, end);
    const char *at = whole;
    if (at < end && *at == '.') {
        at = digits(at + 1, end);
        whole = at == whole + 1 ? p : whole;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        const char *e = at + 1;
        e += e < end && (*e == '-' || *e == '+');
        at = e < end && is_digit(*e) ? digits(e, end) : p;
    }
    if (whole == p || at != end) {
        return cell_null();
    }
    int64_t i = 0;
    bool fits = at == whole;
    for (const char *d = p; fits && d < whole; d++) {
        fits = !__builtin_mul_overflow(i, 10, &i) && !__builtin_add_overflow(i, *d - '0', &i);
    }
    if (fits) {
        return cell_int(minus ? -i : i);
    }
    double d = tpi_number_slow(p, end);
    return cell_double(minus ? -d : d);
}

static struct cell to_number(const struct cell *a)
{
    switch (a->type) {
    case TPC_BOOL:
        return cell_int(a->as.b);
    case TPC_TEXT:
        return parse_number(cell_str(a));
    default:
        return *a;
    }
}

static struct cell fn_to_number(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return to_number(a);
}

static struct cell fn_to_int(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct cell c = to_number(a);
    return c.type == TPC_DOUBLE ? cell_whole(c.as.d) : c;
}

static struct cell fn_to_float(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct cell c = to_number(a);
    return c.type == TPC_INT ? cell_double((double) c.as.i) : c;
}

static struct cell fn_to_text(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    char number[TPI_NUMBER_TEXT_BYTES];
    if (a->type == TPC_TEXT) {
        return *a;
    }
    struct tpc_str s = tpi_cell_print(a, number);
    if (a->type == TPC_BOOL) {
        return cell_text(s);
    }
    char *room = tpi_expr_take(r, s.len);
    if (room == NULL) {
        return cell_null();
    }
    memcpy(room, s.ptr, s.len);
    return cell_text((struct tpc_str){ room, s.len });
}

static struct cell fn_to_bool(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    double d;
    if (a->type == TPC_BOOL) {
        return *a;
    }
    if (cell_number(a, &d)) {
        return cell_bool(d != 0);
    }
    struct tpc_str s = cell_str(a);
    bool yes = tpc_str_equal(s, TPC_STR("true")) || tpc_str_equal(s, TPC_STR("1"));
    bool no = tpc_str_equal(s, TPC_STR("false")) || tpc_str_equal(s, TPC_STR("0"));
    return yes || no ? cell_bool(yes) : cell_null();
}

static struct cell fn_cardinality(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return a->type == TPC_ARRAY || a->type == TPC_MAP ? cell_int(a->len) : cell_null();
}

/* Index of the first item that is the same; -1. */
static int64_t position(const struct cell *list, const struct cell *wanted)
{
    for (uint32_t i = 0; i < list->len; i++) {
        struct cell item = tpi_cell_from(&list->as.items[i]);
        if (tpi_cell_same(&item, wanted)) {
            return i;
        }
    }
    return -1;
}

static struct cell fn_array_contains(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_bool(position(&a[0], &a[1]) >= 0);
}

static struct cell fn_array_position(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_int(position(&a[0], &a[1]));
}

static struct cell fn_element_at(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    if (a[1].type == TPC_TEXT) {
        return tpi_cell_member(&a[0], cell_str(&a[1]));
    }
    struct cell at = a[1].type == TPC_DOUBLE ? cell_whole(a[1].as.d) : a[1];
    return at.type == TPC_INT ? tpi_cell_item(&a[0], at.as.i) : cell_null();
}

/* Of the items that are not null; null if there are none, or they are of different types. */
static struct cell extreme(const struct cell *list, int wanted)
{
    struct cell best = cell_null();
    for (uint32_t i = 0; i < list->len; i++) {
        struct cell item = tpi_cell_from(&list->as.items[i]);
        int order = wanted;
        if (item.type == TPC_NULL) {
            continue;
        }
        if (best.type != TPC_NULL && !tpi_cell_order(&item, &best, &order)) {
            return cell_null();
        }
        best = order == wanted ? item : best;
    }
    return best;
}

static struct cell fn_array_max(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return extreme(a, 1);
}

static struct cell fn_array_min(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return extreme(a, -1);
}

/* Sum and count of the items that are numbers; others are passed over. */
static struct cell sum(const struct cell *list, uint32_t *ret_count)
{
    struct cell total = cell_int(0);
    *ret_count = 0;
    for (uint32_t i = 0; i < list->len; i++) {
        struct cell item = tpi_cell_from(&list->as.items[i]);
        if (cell_is_number(&item)) {
            total = tpi_cell_math(OP_ADD, &total, &item);
            *ret_count += 1;
        }
    }
    return total;
}

static struct cell fn_array_sum(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    uint32_t count;
    struct cell total = sum(a, &count);
    return count > 0 ? total : cell_null();
}

static struct cell fn_array_avg(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    uint32_t count;
    struct cell total = sum(a, &count);
    struct cell items = cell_int(count);
    return tpi_cell_math(OP_DIV, &total, &items);
}

/* One step of a path: ".name", "['name']", "[0]". Returns what is left, NULL = malformed. */
static const char *path_step(const char *p, const char *end, struct cell *c)
{
    if (*p == '.') {
        const char *from = ++p;
        while (p < end && *p != '.' && *p != '[') {
            p++;
        }
        *c = tpi_cell_member(c, (struct tpc_str){ from, (size_t) (p - from) });
        return p > from ? p : NULL;
    }
    if (*p != '[' || end - p < 3) {
        return NULL;
    }
    p++;
    if (*p == '\'' || *p == '"') {
        const char *quote = memchr(p + 1, *p, (size_t) (end - p - 1));
        if (quote == NULL || end - quote < 2 || quote[1] != ']') {
            return NULL;
        }
        *c = tpi_cell_member(c, (struct tpc_str){ p + 1, (size_t) (quote - p - 1) });
        return quote + 2;
    }
    const char *close = memchr(p, ']', (size_t) (end - p));
    if (close == NULL) {
        return NULL;
    }
    struct cell index = parse_number((struct tpc_str){ p, (size_t) (close - p) });
    if (index.type != TPC_INT) {
        return NULL;
    }
    *c = tpi_cell_item(c, index.as.i);
    return close + 1;
}

static struct cell fn_json_path(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct tpc_str path = cell_str(&a[1]);
    const char *p = path.ptr;
    const char *end = p + path.len;
    struct cell c = a[0];
    if (p == end || *p != '$') {
        return cell_null();
    }
    p++;
    while (p != NULL && p < end && c.type != TPC_NULL) {
        p = path_step(p, end, &c);
    }
    return p == end ? c : cell_null();
}

static struct cell fn_json_path_exists(struct eval *r, const struct cell *a, uint32_t n)
{
    return cell_bool(fn_json_path(r, a, n).type != TPC_NULL);
}

static struct cell fn_to_json(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    struct tpc_value v = tpi_cell_value(a);
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc = tpc_json_write(&v, 0, &buf);
    char *room = rc == 0 || rc == TPC_ETOOBIG ? tpi_expr_take(r, buf.need) : NULL;
    if (room == NULL) {
        return cell_null();
    }
    buf = (struct tpc_buf){ (uint8_t *) room, buf.need, 0 };
    rc = tpc_json_write(&v, 0, &buf);
    return rc == 0 ? cell_text((struct tpc_str){ room, buf.need }) : cell_null();
}

#define DATA(NAME, ARGS, MIN, MAX, RESULT, USAGE, HELP)                                            \
    {                                                                                              \
        .name = #NAME, .args = ARGS, .min = MIN, .max = MAX, .result = RESULT, .fn = fn_##NAME,    \
        .usage = USAGE, .help = HELP, .since = "0.1"                                               \
    }

static const struct function items[] = {
    { .name = "coalesce",
      .aliases = "ifnull nvl latest",
      .args = "=",
      .min = 1,
      .max = FUNCTION_MAX_ARGS,
      .result = RESULT_SAME,
      .flags = FUNCTION_NULLS,
      .fn = fn_coalesce,
      .usage = "coalesce(a, b, ..)",
      .help = "The first of its arguments that is not null.",
      .since = "0.1" },
    { .name = "nullif",
      .args = "=",
      .min = 2,
      .max = 2,
      .result = RESULT_SAME,
      .flags = FUNCTION_NULLS,
      .fn = fn_nullif,
      .usage = "nullif(a, b)",
      .help = "Null if both are the same, else a.",
      .since = "0.1" },
    { .name = "isnull",
      .args = "?",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_BOOL,
      .flags = FUNCTION_NULLS,
      .fn = fn_isnull,
      .usage = "isnull(x)",
      .help = "`x is null`.",
      .since = "0.1" },
    { .name = "cast",
      .args = "st",
      .min = 2,
      .max = 2,
      .special = SPECIAL_CAST,
      .usage = "cast(x, 'type')",
      .help = "As another type, a constant: `bigint`, `float`, `string` or `boolean`; as the four "
              "functions below.",
      .since = "0.1" },
    DATA(to_int, "s", 1, 1, TPI_EXPR_NUMBER, "to_int(x)",
         "As an int: fractions are cut off, true is 1, a text is read as a number; null if it does "
         "not fit."),
    DATA(to_float, "s", 1, 1, TPI_EXPR_NUMBER, "to_float(x)", "As a double."),
    DATA(to_text, "s", 1, 1, TPI_EXPR_TEXT, "to_text(x)", "As text."),
    DATA(to_bool, "s", 1, 1, TPI_EXPR_BOOL, "to_bool(x)",
         "Of a number whether it is not 0, of a text true or 1, false or 0; else null."),
    { .name = "to_number",
      .aliases = "tonumber",
      .args = "s",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_NUMBER,
      .fn = fn_to_number,
      .usage = "to_number(x)",
      .help = "As an int or a double, whichever the text is.",
      .since = "0.1" },
    { .name = "cardinality",
      .aliases = "array_length",
      .args = "?",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_NUMBER,
      .fn = fn_cardinality,
      .usage = "cardinality(list)",
      .help = "Items of a list, members of a map.",
      .since = "0.1" },
    DATA(element_at, "?s", 2, 2, TPI_EXPR_ANY, "element_at(list, index)",
         "`list[index]`, `map['key']`: items count from 0, or with -1 from the end; null if there "
         "is "
         "no such."),
    DATA(array_contains, "l?", 2, 2, TPI_EXPR_BOOL, "array_contains(list, x)",
         "Whether an item is x."),
    DATA(array_position, "l?", 2, 2, TPI_EXPR_NUMBER, "array_position(list, x)",
         "Index of the first item that is x; -1."),
    DATA(array_max, "l", 1, 1, TPI_EXPR_ANY, "array_max(list)", "The greatest item."),
    DATA(array_min, "l", 1, 1, TPI_EXPR_ANY, "array_min(list)", "The least item."),
    DATA(array_sum, "l", 1, 1, TPI_EXPR_NUMBER, "array_sum(list)", "Sum of the numbers in it."),
    DATA(array_avg, "l", 1, 1, TPI_EXPR_NUMBER, "array_avg(list)", "Mean of the numbers in it."),
    { .name = "json_path_query_first",
      .aliases = "json_path_query",
      .args = "?t",
      .min = 2,
      .max = 2,
      .fn = fn_json_path,
      .usage = "json_path_query_first(x, '$.a[0].b')",
      .help = "What stands at a path of `.name`, `['name']` and `[index]`.",
      .since = "0.1" },
    DATA(json_path_exists, "?t", 2, 2, TPI_EXPR_BOOL, "json_path_exists(x, '$.a')",
         "Whether something that is not null stands there."),
    { .name = "to_json",
      .args = "?",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_TEXT,
      .flags = FUNCTION_NULLS,
      .fn = fn_to_json,
      .usage = "to_json(x)",
      .help = "As JSON.",
      .since = "0.1" },
};

const struct function_group tpi_expr_data_functions = { "Null, types, lists and maps", items,
                                                        sizeof(items) / sizeof(items[0]) };
