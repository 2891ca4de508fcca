#include "expr/cell.h"

#include <string.h>

struct cell tpi_cell_from(const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_BOOL:
        return cell_bool(v->as.b);
    case TPC_INT:
        return cell_int(v->as.i);
    case TPC_DOUBLE:
        return cell_double(v->as.d);
    case TPC_TEXT:
        return cell_text((struct tpc_str){ v->as.text, v->len });
    case TPC_ARRAY:
    case TPC_MAP:
        if (v->len > UINT32_MAX) {
            return cell_null();
        }
        return (struct cell){ .type = v->type, .len = (uint32_t) v->len, .as.items = v->as.items };
    default:
        return (struct cell){ .type = v->type };
    }
}

struct tpc_value tpi_cell_value(const struct cell *c)
{
    struct tpc_value v = { .type = c->type };
    switch (c->type) {
    case TPC_BOOL:
        v.as.b = c->as.b;
        break;
    case TPC_INT:
        v.as.i = c->as.i;
        break;
    case TPC_DOUBLE:
        v.as.d = c->as.d;
        break;
    case TPC_TEXT:
        v.len = c->len;
        v.as.text = c->as.text;
        break;
    case TPC_ARRAY:
        v.len = c->len;
        v.as.items = c->as.items;
        break;
    case TPC_MAP:
        v.len = c->len;
        v.as.members = c->as.members;
        break;
    default:
        v.type = TPC_NULL; /* blobs are no result */
        break;
    }
    return v;
}

/* Exact, also where the int has no double of its own. */
static int order_int_double(int64_t i, double d)
{
    if (d >= 9223372036854775808.0) {
        return -1;
    }
    if (d < -9223372036854775808.0) {
        return 1;
    }
    int64_t whole = (int64_t) d;
    if (i != whole) {
        return i < whole ? -1 : 1;
    }
    double rest = d - (double) whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

static int order_text(const struct cell *a, const struct cell *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int c = n > 0 ? memcmp(a->as.text, b->as.text, n) : 0;
    if (c != 0) {
        return c < 0 ? -1 : 1;
    }
    return (a->len > b->len) - (a->len < b->len);
}

bool tpi_cell_order(const struct cell *a, const struct cell *b, int *ret)
{
    if (a->type == TPC_DOUBLE && b->type == TPC_DOUBLE) {
        *ret = (a->as.d > b->as.d) - (a->as.d < b->as.d);
    } else if (a->type == TPC_INT && b->type == TPC_INT) {
        *ret = (a->as.i > b->as.i) - (a->as.i < b->as.i);
    } else if (a->type == TPC_INT && b->type == TPC_DOUBLE) {
        *ret = order_int_double(a->as.i, b->as.d);
    } else if (a->type == TPC_DOUBLE && b->type == TPC_INT) {
        *ret = -order_int_double(b->as.i, a->as.d);
    } else if (a->type == TPC_TEXT && b->type == TPC_TEXT) {
        *ret = order_text(a, b);
    } else if (a->type == TPC_BOOL && b->type == TPC_BOOL) {
        *ret = (int) a->as.b - (int) b->as.b;
    } else {
        return false;
    }
    return true;
}

bool tpi_cell_same(const struct cell *a, const struct cell *b)
{
    int order;
    if (tpi_cell_order(a, b, &order)) {
        return order == 0;
    }
    if (a->type != b->type || (a->type != TPC_ARRAY && a->type != TPC_MAP)) {
        return a->type == b->type;
    }
    struct tpc_value x = tpi_cell_value(a);
    struct tpc_value y = tpi_cell_value(b);
    return tpc_value_equal(&x, &y) != 0;
}

/* False if the result does not fit, or there is none: then doubles are tried. */
static bool int_math(uint8_t op, int64_t a, int64_t b, int64_t *ret)
{
    switch (op) {
    case OP_ADD:
        return !__builtin_add_overflow(a, b, ret);
    case OP_SUB:
        return !__builtin_sub_overflow(a, b, ret);
    case OP_MUL:
        return !__builtin_mul_overflow(a, b, ret);
    case OP_MOD:
        if (b == 0) {
            return false;
        }
        *ret = b == -1 ? 0 : a % b;
        return true;
    default:
        return false;
    }
}

struct cell tpi_cell_math(uint8_t op, const struct cell *a, const struct cell *b)
{
    int64_t i;
    if (a->type == TPC_INT && b->type == TPC_INT && int_math(op, a->as.i, b->as.i, &i)) {
        return cell_int(i);
    }
    double x, y;
    if (!cell_number(a, &x) || !cell_number(b, &y)) {
        return cell_null();
    }
    switch (op) {
    case OP_ADD:
        return cell_double(x + y);
    case OP_SUB:
        return cell_double(x - y);
    case OP_MUL:
        return cell_double(x * y);
    case OP_DIV:
        return y == 0 ? cell_null() : cell_double(x / y);
    default:
        return y == 0 ? cell_null() : cell_double(fmod(x, y));
    }
}

struct cell tpi_cell_neg(const struct cell *a)
{
    if (a->type == TPC_INT && a->as.i != INT64_MIN) {
        return cell_int(-a->as.i);
    }
    double d;
    return cell_number(a, &d) ? cell_double(-d) : cell_null();
}

bool tpi_cell_like(struct tpc_str text, struct tpc_str pattern)
{
    const char *t = text.ptr;
    const char *t_end = t + text.len;
    const char *p = pattern.ptr;
    const char *p_end = p + pattern.len;
    const char *retry_p = NULL;
    const char *retry_t = NULL;
    while (t < t_end) {
        if (p < p_end && *p == '%') {
            retry_p = ++p;
            retry_t = t;
        } else if (p < p_end && *p == '_') {
            p++;
            t = cell_next_char(t, t_end);
        } else if (p < p_end && *p == *t) {
            p++;
            t++;
        } else if (retry_p != NULL) {
            p = retry_p;
            retry_t = cell_next_char(retry_t, t_end);
            t = retry_t;
        } else {
            return false;
        }
    }
    while (p < p_end && *p == '%') {
        p++;
    }
    return p == p_end;
}

struct cell tpi_cell_item(const struct cell *list, int64_t index)
{
    if (list->type != TPC_ARRAY) {
        return cell_null();
    }
    int64_t at = index < 0 ? index + (int64_t) list->len : index;
    if (at < 0 || at >= (int64_t) list->len) {
        return cell_null();
    }
    return tpi_cell_from(&list->as.items[at]);
}

struct cell tpi_cell_member(const struct cell *map, struct tpc_str key)
{
    if (map->type != TPC_MAP) {
        return cell_null();
    }
    struct tpc_value v = tpi_cell_value(map);
    const struct tpc_value *member = tpc_value_get(&v, key);
    return member != NULL ? tpi_cell_from(member) : cell_null();
}

struct tpc_str tpi_cell_print(const struct cell *c, char number[TPI_NUMBER_TEXT_BYTES])
{
    size_t n = 0;
    switch (c->type) {
    case TPC_TEXT:
        return cell_str(c);
    case TPC_BOOL:
        return c->as.b ? TPC_STR("true") : TPC_STR("false");
    case TPC_INT:
        n = tpi_number_print_int(c->as.i, number);
        break;
    case TPC_DOUBLE:
        n = tpi_number_print(c->as.d, number);
        if (n > 2 && number[n - 1] == '0' && number[n - 2] == '.') {
            n -= 2;
        }
        break;
    default:
        break;
    }
    return (struct tpc_str){ number, n };
}
