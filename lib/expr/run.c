/* Runs compiled expressions. */
#include "expr/code.h"

#include <math.h>
#include <string.h>

static const struct cell null_cell = { TPC_NULL, 0, { 0 } };

static struct cell cell_bool(bool b)
{
    return (struct cell){ .type = TPC_BOOL, .as.b = b };
}

/* Values that are not finite (from CBOR or a sum) count as missing. */
static struct cell cell_double(double d)
{
    return isfinite(d) ? (struct cell){ .type = TPC_DOUBLE, .as.d = d } : null_cell;
}

static struct cell cell_int(int64_t i)
{
    return (struct cell){ .type = TPC_INT, .as.i = i };
}

static struct cell load_cell(const struct tpi_expr *e, uint16_t name, tpi_expr_load_fn *load,
                             void *user)
{
    struct tpc_value v;
    if (!load(user, e->names[name], &v)) {
        return null_cell;
    }
    switch (v.type) {
    case TPC_BOOL:
        return cell_bool(v.as.b);
    case TPC_INT:
        return cell_int(v.as.i);
    case TPC_DOUBLE:
        return cell_double(v.as.d);
    case TPC_TEXT:
        if (v.len > UINT32_MAX) {
            return null_cell;
        }
        return (struct cell){ .type = TPC_TEXT, .len = (uint32_t) v.len, .as.text = v.as.text };
    default:
        return (struct cell){ .type = v.type };
    }
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

/* False if the two cannot be compared: one is null, or their types differ at run time. */
static bool cell_order(const struct cell *a, const struct cell *b, int *ret)
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

static struct cell cell_compare(const struct cell *a, const struct cell *b, uint8_t relation)
{
    int order;
    if (!cell_order(a, b, &order)) {
        return null_cell;
    }
    switch (relation) {
    case REL_EQ:
        return cell_bool(order == 0);
    case REL_NE:
        return cell_bool(order != 0);
    case REL_LT:
        return cell_bool(order < 0);
    case REL_LE:
        return cell_bool(order <= 0);
    case REL_GT:
        return cell_bool(order > 0);
    default:
        return cell_bool(order >= 0);
    }
}

static bool cell_number(const struct cell *c, double *ret)
{
    if (c->type == TPC_INT) {
        *ret = (double) c->as.i;
        return true;
    }
    if (c->type == TPC_DOUBLE) {
        *ret = c->as.d;
        return true;
    }
    return false;
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

static struct cell cell_math(uint8_t op, const struct cell *a, const struct cell *b)
{
    int64_t i;
    if (a->type == TPC_INT && b->type == TPC_INT && int_math(op, a->as.i, b->as.i, &i)) {
        return cell_int(i);
    }
    double x, y;
    if (!cell_number(a, &x) || !cell_number(b, &y)) {
        return null_cell;
    }
    switch (op) {
    case OP_ADD:
        return cell_double(x + y);
    case OP_SUB:
        return cell_double(x - y);
    case OP_MUL:
        return cell_double(x * y);
    case OP_DIV:
        return y == 0 ? null_cell : cell_double(x / y);
    default:
        return y == 0 ? null_cell : cell_double(fmod(x, y));
    }
}

static struct cell cell_neg(const struct cell *a)
{
    if (a->type == TPC_INT && a->as.i != INT64_MIN) {
        return cell_int(-a->as.i);
    }
    double d;
    return cell_number(a, &d) ? cell_double(-d) : null_cell;
}

static const char *next_char(const char *p, const char *end)
{
    p++;
    while (p < end && ((unsigned char) *p & 0xC0) == 0x80) {
        p++;
    }
    return p;
}

/* SQL's LIKE: % is any run, _ one character. Goes back to the last % only, so at most len(text) *
 * len(pattern) steps. */
static bool like(const char *t, const char *t_end, const char *p, const char *p_end)
{
    const char *retry_p = NULL;
    const char *retry_t = NULL;
    while (t < t_end) {
        if (p < p_end && *p == '%') {
            retry_p = ++p;
            retry_t = t;
        } else if (p < p_end && *p == '_') {
            p++;
            t = next_char(t, t_end);
        } else if (p < p_end && *p == *t) {
            p++;
            t++;
        } else if (retry_p != NULL) {
            p = retry_p;
            retry_t = next_char(retry_t, t_end);
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

/* An empty text may have no bytes at all. */
static struct tpc_str cell_text(const struct cell *c)
{
    return c->len > 0 ? (struct tpc_str){ c->as.text, c->len } : (struct tpc_str){ "", 0 };
}

static struct cell cell_like(const struct cell *a, const struct cell *b, bool negate)
{
    if (a->type != TPC_TEXT || b->type != TPC_TEXT) {
        return null_cell;
    }
    struct tpc_str text = cell_text(a);
    struct tpc_str pattern = cell_text(b);
    bool m = like(text.ptr, text.ptr + text.len, pattern.ptr, pattern.ptr + pattern.len);
    return cell_bool(m != negate);
}

static struct cell cell_not(const struct cell *a)
{
    return a->type == TPC_BOOL ? cell_bool(!a->as.b) : null_cell;
}

static struct cell cell_and(const struct cell *a, const struct cell *b)
{
    bool a_known = a->type == TPC_BOOL;
    bool b_known = b->type == TPC_BOOL;
    if ((a_known && !a->as.b) || (b_known && !b->as.b)) {
        return cell_bool(false);
    }
    return a_known && b_known ? cell_bool(true) : null_cell;
}

static struct cell cell_or(const struct cell *a, const struct cell *b)
{
    bool a_known = a->type == TPC_BOOL;
    bool b_known = b->type == TPC_BOOL;
    if ((a_known && a->as.b) || (b_known && b->as.b)) {
        return cell_bool(true);
    }
    return a_known && b_known ? cell_bool(false) : null_cell;
}

static struct cell cell_between(const struct cell *v, bool negate)
{
    struct cell low = cell_compare(&v[0], &v[1], REL_GE);
    struct cell high = cell_compare(&v[0], &v[2], REL_LE);
    struct cell both = cell_and(&low, &high);
    return negate ? cell_not(&both) : both;
}

static struct cell cell_in(const struct cell *v, const struct cell *list, uint32_t count,
                           bool negate)
{
    bool unknown = v->type == TPC_NULL;
    for (uint32_t i = 0; i < count; i++) {
        int order;
        if (!cell_order(v, &list[i], &order)) {
            unknown = unknown || list[i].type == TPC_NULL;
        } else if (order == 0) {
            return cell_bool(!negate);
        }
    }
    return unknown ? null_cell : cell_bool(negate);
}

static bool cell_is(const struct cell *c, bool b)
{
    return c->type == TPC_BOOL && c->as.b == b;
}

static struct cell run(const struct tpi_expr *e, tpi_expr_load_fn *load, void *user)
{
    struct cell stack[TPI_EXPR_MAX_DEPTH + 1];
    struct cell *top = stack; /* the next free cell */
    for (const struct code *c = e->code;; c++) {
        switch (c->op) {
        case OP_END:
            return top[-1];
        case OP_PUSH:
            *top++ = e->consts[c->a];
            break;
        case OP_LOAD:
            *top++ = load_cell(e, c->a, load, user);
            break;
        case OP_CMP_NAME:
            top[0] = load_cell(e, c->a, load, user);
            top[0] = cell_compare(&top[0], &e->consts[c->b], c->x);
            top++;
            break;
        case OP_CMP:
            top--;
            top[-1] = cell_compare(&top[-1], &top[0], c->x);
            break;
        case OP_AND_JUMP:
            c = cell_is(&top[-1], false) ? e->code + c->b - 1 : c;
            break;
        case OP_OR_JUMP:
            c = cell_is(&top[-1], true) ? e->code + c->b - 1 : c;
            break;
        case OP_AND:
            top--;
            top[-1] = cell_and(&top[-1], &top[0]);
            break;
        case OP_OR:
            top--;
            top[-1] = cell_or(&top[-1], &top[0]);
            break;
        case OP_NOT:
            top[-1] = cell_not(&top[-1]);
            break;
        case OP_NEG:
            top[-1] = cell_neg(&top[-1]);
            break;
        case OP_NULL:
            top[-1] = cell_bool((top[-1].type == TPC_NULL) != (c->x != 0));
            break;
        case OP_LIKE:
            top--;
            top[-1] = cell_like(&top[-1], &top[0], c->x != 0);
            break;
        case OP_BETWEEN:
            top -= 2;
            top[-1] = cell_between(&top[-1], c->x != 0);
            break;
        case OP_IN:
            top[-1] = cell_in(&top[-1], &e->consts[c->b], c->a, c->x != 0);
            break;
        default:
            top--;
            top[-1] = cell_math(c->op, &top[-1], &top[0]);
            break;
        }
    }
}

struct tpc_value tpi_expr_eval(const struct tpi_expr *e, tpi_expr_load_fn *load, void *user)
{
    struct cell c = run(e, load, user);
    struct tpc_value v = { .type = c.type };
    switch (c.type) {
    case TPC_BOOL:
        v.as.b = c.as.b;
        break;
    case TPC_INT:
        v.as.i = c.as.i;
        break;
    case TPC_DOUBLE:
        v.as.d = c.as.d;
        break;
    case TPC_TEXT:
        v.len = c.len;
        v.as.text = c.as.text;
        break;
    default:
        v.type = TPC_NULL; /* lists and maps are no result */
        break;
    }
    return v;
}

int tpi_expr_test(const struct tpi_expr *e, tpi_expr_load_fn *load, void *user)
{
    struct cell c = run(e, load, user);
    return c.type == TPC_BOOL ? c.as.b : -1;
}

uint32_t tpi_expr_name_count(const struct tpi_expr *e)
{
    return e->name_count;
}

uint32_t tpi_expr_name_index(const struct tpi_expr *e, uint32_t i)
{
    return e->names[i];
}

enum tpi_expr_type tpi_expr_result(const struct tpi_expr *e)
{
    return (enum tpi_expr_type) e->result;
}
