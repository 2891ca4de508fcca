#include <tpcore/value.h>

#include <tpcore/error.h>

#include <math.h>
#include <string.h>

static bool same_text(struct tpc_str a, struct tpc_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

const struct tpc_value *tpc_value_get(const struct tpc_value *map, struct tpc_str key)
{
    if (map == NULL || map->type != TPC_MAP) {
        return NULL;
    }
    for (size_t i = 0; i < map->len; i++) {
        if (same_text(map->as.members[i].key, key)) {
            return &map->as.members[i].value;
        }
    }
    return NULL;
}

struct tpc_str tpc_value_text(const struct tpc_value *v)
{
    if (v == NULL || v->type != TPC_TEXT) {
        return (struct tpc_str){ "", 0 };
    }
    return (struct tpc_str){ v->as.text, v->len };
}

/* Whether d is a whole number within int64. 2^63 itself is the first double above. */
static bool whole(double d)
{
    return d >= -0x1p63 && d < 0x1p63 && d == (double) (int64_t) d;
}

int tpc_value_int(const struct tpc_value *v, int64_t *ret)
{
    if (v == NULL || ret == NULL) {
        return TPC_EINVAL;
    }
    switch (v->type) {
    case TPC_INT:
        *ret = v->as.i;
        return 0;
    case TPC_BOOL:
        *ret = v->as.b;
        return 0;
    case TPC_DOUBLE:
        if (whole(v->as.d)) {
            *ret = (int64_t) v->as.d;
            return 0;
        }
        return TPC_EINVAL;
    default:
        return TPC_EINVAL;
    }
}

int tpc_value_double(const struct tpc_value *v, double *ret)
{
    if (v == NULL || ret == NULL) {
        return TPC_EINVAL;
    }
    switch (v->type) {
    case TPC_INT:
        *ret = (double) v->as.i;
        return 0;
    case TPC_BOOL:
        *ret = v->as.b ? 1.0 : 0.0;
        return 0;
    case TPC_DOUBLE:
        *ret = v->as.d;
        return 0;
    default:
        return TPC_EINVAL;
    }
}

/* Compared as numbers, not as doubles: 2^53 + 1 is not the double 2^53. */
static bool int_is_double(int64_t i, double d)
{
    return whole(d) && (int64_t) d == i;
}

static bool equal_arrays(const struct tpc_value *a, const struct tpc_value *b)
{
    for (size_t i = 0; i < a->len; i++) {
        if (!tpc_value_equal(&a->as.items[i], &b->as.items[i])) {
            return false;
        }
    }
    return true;
}

static bool equal_maps(const struct tpc_value *a, const struct tpc_value *b)
{
    for (size_t i = 0; i < a->len; i++) {
        const struct tpc_member *m = &a->as.members[i];
        /* Most maps that are compared have the same order. */
        const struct tpc_value *other = same_text(b->as.members[i].key, m->key)
                                            ? &b->as.members[i].value
                                            : tpc_value_get(b, m->key);
        if (other == NULL || !tpc_value_equal(&m->value, other)) {
            return false;
        }
    }
    return true;
}

int tpc_value_equal(const struct tpc_value *a, const struct tpc_value *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    if (a->type != b->type) {
        if (a->type == TPC_INT && b->type == TPC_DOUBLE) {
            return int_is_double(a->as.i, b->as.d);
        }
        return a->type == TPC_DOUBLE && b->type == TPC_INT && int_is_double(b->as.i, a->as.d);
    }
    if (a->len != b->len) {
        return 0;
    }
    switch (a->type) {
    case TPC_NULL:
        return 1;
    case TPC_BOOL:
        return a->as.b == b->as.b;
    case TPC_INT:
        return a->as.i == b->as.i;
    case TPC_DOUBLE:
        return a->as.d == b->as.d || (isnan(a->as.d) && isnan(b->as.d));
    case TPC_TEXT:
    case TPC_BLOB:
        return a->len == 0 || memcmp(a->as.text, b->as.text, a->len) == 0;
    case TPC_ARRAY:
        return equal_arrays(a, b);
    case TPC_MAP:
        return equal_maps(a, b);
    default:
        return 0;
    }
}
