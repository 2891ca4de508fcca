/* Runs compiled expressions. */
#include "expr/cell.h"
#include "expr/functions.h"

/* The common types in place. */
static inline struct cell cell_of(const struct tpc_value *v)
{
    if (v->type == TPC_DOUBLE) {
        return cell_double(v->as.d);
    }
    return v->type == TPC_INT ? cell_int(v->as.i) : tpi_cell_from(v);
}

static inline struct cell load_cell(const struct eval *r, uint16_t name)
{
    struct tpc_value v;
    return r->host->load(r->user, r->e->names[name], &v) ? cell_of(&v) : cell_null();
}

static struct cell previous_cell(const struct eval *r, uint16_t name)
{
    struct tpc_value v;
    if (r->host->previous == NULL || !r->host->previous(r->user, r->e->names[name], &v)) {
        return cell_null();
    }
    return cell_of(&v);
}

static struct cell age_cell(const struct eval *r, uint16_t name)
{
    int64_t ms = 0;
    bool known = r->host->age != NULL && r->host->age(r->user, r->e->names[name], &ms);
    return known ? cell_int(ms) : cell_null();
}

static struct cell changed(const struct eval *r, uint16_t name, bool pass_null)
{
    struct cell now = load_cell(r, name);
    struct cell before = previous_cell(r, name);
    return cell_bool(!(pass_null && now.type == TPC_NULL) && !tpi_cell_same(&now, &before));
}

static struct cell other_cell(struct eval *r, const struct cell *device, uint16_t name)
{
    struct tpi_expr_scratch none = { NULL, 0, 0, 0 };
    struct tpc_value v;
    if (device->type != TPC_TEXT || r->host->other == NULL ||
        !r->host->other(r->user, cell_str(device), cell_str(&r->e->consts[name]),
                        r->scratch != NULL ? r->scratch : &none, &v)) {
        return cell_null();
    }
    return tpi_cell_from(&v);
}

static inline struct cell by_order(int order, uint8_t relation)
{
    return cell_bool((relation >> (order + 1) & 1) != 0);
}

static struct cell cell_compare(const struct cell *a, const struct cell *b, uint8_t relation)
{
    int order;
    return tpi_cell_order(a, b, &order) ? by_order(order, relation) : cell_null();
}

/* 1, 0, or -1 for null. The constant is below 2^53 either way, so an int that is rounded keeps its
 * side of it. */
static inline int compare_number(const struct code *c, const uint32_t *names,
                                 const struct cell *consts, tpi_expr_load_fn *load, void *user)
{
    struct tpc_value v;
    double d;
    if (!load(user, names[c->a], &v)) {
        return -1;
    }
    if (v.type == TPC_DOUBLE) {
        d = v.as.d;
        if (!(fabs(d) <= DBL_MAX)) {
            return -1;
        }
    } else if (v.type == TPC_INT) {
        d = (double) v.as.i;
    } else {
        return -1;
    }
    double limit = consts[c->b].as.d;
    return c->x >> ((d > limit) - (d < limit) + 1) & 1;
}

static inline struct cell compare_cell(const struct eval *r, const struct code *c)
{
    int result = compare_number(c, r->e->names, r->e->consts, r->host->load, r->user);
    return result < 0 ? cell_null() : cell_bool(result != 0);
}

static struct cell cell_like(const struct cell *a, const struct cell *b, bool negate)
{
    if (a->type != TPC_TEXT || b->type != TPC_TEXT) {
        return cell_null();
    }
    return cell_bool(tpi_cell_like(cell_str(a), cell_str(b)) != negate);
}

static struct cell cell_not(const struct cell *a)
{
    return a->type == TPC_BOOL ? cell_bool(!a->as.b) : cell_null();
}

static inline struct cell cell_and(const struct cell *a, const struct cell *b)
{
    bool a_known = a->type == TPC_BOOL;
    bool b_known = b->type == TPC_BOOL;
    if ((a_known && !a->as.b) || (b_known && !b->as.b)) {
        return cell_bool(false);
    }
    return a_known && b_known ? cell_bool(true) : cell_null();
}

static struct cell cell_or(const struct cell *a, const struct cell *b)
{
    bool a_known = a->type == TPC_BOOL;
    bool b_known = b->type == TPC_BOOL;
    if ((a_known && a->as.b) || (b_known && b->as.b)) {
        return cell_bool(true);
    }
    return a_known && b_known ? cell_bool(false) : cell_null();
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
        if (!tpi_cell_order(v, &list[i], &order)) {
            unknown = unknown || list[i].type == TPC_NULL;
        } else if (order == 0) {
            return cell_bool(!negate);
        }
    }
    return unknown ? cell_null() : cell_bool(negate);
}

static struct cell cell_index(const struct cell *container, const struct cell *index)
{
    double d;
    if (index->type == TPC_TEXT) {
        return tpi_cell_member(container, cell_str(index));
    }
    if (!cell_number(index, &d)) {
        return cell_null();
    }
    struct cell whole = index->type == TPC_INT ? *index : cell_whole(d);
    return whole.type == TPC_INT ? tpi_cell_item(container, whole.as.i) : cell_null();
}

static inline bool cell_is(const struct cell *c, bool b)
{
    return c->type == TPC_BOOL && c->as.b == b;
}

/* Instructions that are not worth a place in the loop. Returns the new top. */
static struct cell *run_rare(struct eval *r, const struct code *c, struct cell *top)
{
    switch (c->op) {
    case OP_LIKE:
        top--;
        top[-1] = cell_like(&top[-1], &top[0], c->x != 0);
        break;
    case OP_BETWEEN:
        top -= 2;
        top[-1] = cell_between(&top[-1], c->x != 0);
        break;
    case OP_IN:
        top[-1] = cell_in(&top[-1], &r->e->consts[c->b], c->a, c->x != 0);
        break;
    case OP_NEG:
        top[-1] = tpi_cell_neg(&top[-1]);
        break;
    case OP_COPY:
        top[0] = top[-1];
        top++;
        break;
    case OP_DROP:
        top--;
        break;
    case OP_PREVIOUS:
        *top++ = previous_cell(r, c->a);
        break;
    case OP_AGE:
        *top++ = age_cell(r, c->a);
        break;
    case OP_CHANGED:
        *top++ = changed(r, c->a, c->x != 0);
        break;
    case OP_OTHER:
        top[-1] = other_cell(r, &top[-1], c->a);
        break;
    case OP_MEMBER:
        top[-1] = tpi_cell_member(&top[-1], cell_str(&r->e->consts[c->a]));
        break;
    case OP_ITEM:
        top--;
        top[-1] = cell_index(&top[-1], &top[0]);
        break;
    case OP_CALL:
        top -= c->x;
        *top = tpi_expr_call(r, c->a, top, c->x);
        top++;
        break;
    default:
        top--;
        top[-1] = tpi_cell_math(c->op, &top[-1], &top[0]);
        break;
    }
    return top;
}

static struct cell run(struct eval *r)
{
    struct cell stack[TPI_EXPR_MAX_DEPTH + 1];
    struct cell *top = stack; /* the next free cell */
    const struct code *code = r->e->code;
    for (const struct code *c = code;; c++) {
        switch (c->op) {
        case OP_END:
            return top[-1];
        case OP_PUSH:
            *top++ = r->e->consts[c->a];
            break;
        case OP_LOAD:
            *top++ = load_cell(r, c->a);
            break;
        case OP_CMP_NUMBER:
            *top++ = compare_cell(r, c);
            break;
        case OP_AND_NUMBER:
            if (!cell_is(&top[-1], false)) {
                top[0] = compare_cell(r, c);
                top[-1] = cell_and(&top[-1], &top[0]);
            }
            break;
        case OP_CMP_NAME:
            top[0] = load_cell(r, c->a);
            top[0] = cell_compare(&top[0], &r->e->consts[c->b], c->x);
            top++;
            break;
        case OP_CMP:
            top--;
            top[-1] = cell_compare(&top[-1], &top[0], c->x);
            break;
        case OP_AND_JUMP:
            c = cell_is(&top[-1], false) ? code + c->b - 1 : c;
            break;
        case OP_OR_JUMP:
            c = cell_is(&top[-1], true) ? code + c->b - 1 : c;
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
        case OP_NULL:
            top[-1] = cell_bool((top[-1].type == TPC_NULL) != (c->x != 0));
            break;
        case OP_JUMP:
            c = code + c->b - 1;
            break;
        case OP_JUMP_UNLESS:
            top--;
            c = cell_is(&top[0], true) ? c : code + c->b - 1;
            break;
        default:
            top = run_rare(r, c, top);
            break;
        }
    }
}

struct tpc_value tpi_expr_eval(const struct tpi_expr *e, const struct tpi_expr_host *host,
                               void *user, struct tpi_expr_scratch *scratch)
{
    struct eval r = { e, host, user, scratch };
    if (scratch != NULL) {
        scratch->used = 0;
    }
    struct cell c = run(&r);
    return tpi_cell_value(&c);
}

/* Comparisons joined by and: false if one is, else null if one is. */
static int test_chain(const struct tpi_expr *e, tpi_expr_load_fn *load, void *user)
{
    const uint32_t *names = e->names;
    const struct cell *consts = e->consts;
    int result = 1;
    for (const struct code *c = e->code; c->op != OP_END; c++) {
        int one = compare_number(c, names, consts, load, user);
        if (one == 0) {
            return 0;
        }
        result = one < 0 ? -1 : result;
    }
    return result;
}

int tpi_expr_test(const struct tpi_expr *e, const struct tpi_expr_host *host, void *user,
                  struct tpi_expr_scratch *scratch)
{
    if (e->chain) {
        return test_chain(e, host->load, user);
    }
    struct eval r = { e, host, user, scratch };
    if (scratch != NULL) {
        scratch->used = 0;
    }
    struct cell c = run(&r);
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

uint32_t tpi_expr_needs(const struct tpi_expr *e)
{
    return e->needs;
}

size_t tpi_expr_bytes(const struct tpi_expr *e)
{
    return e->bytes;
}
