/* What the direct readers share: checks in place, and points. Private to lib/model. */
#ifndef TPI_MODEL_PUT_H
#define TPI_MODEL_PUT_H

#include "data/json_scan.h"
#include "model/direct.h"
#include "model/keys.h"

/* A reader's way through one message. */
struct tpi_way {
    struct tpi_direct *d;
    const struct tpi_model *model;
    const struct tpi_key *keys;
    uint32_t count;  /* of keys */
    uint32_t place;  /* in guess->after: what comes next */
    uint64_t known;  /* bits of the properties so far, of which there may be more than 64 */
    uint64_t others; /* bits of the other keys so far */
    bool unique;
};

static inline void tpi_way_begin(struct tpi_way *w, struct tpi_direct *d, bool unique)
{
    d->start(d);
    *w = (struct tpi_way){ .d = d,
                           .model = d->model,
                           .keys = d->model->keys.at,
                           .count = d->model->keys.count,
                           .unique = unique };
}

/* The property that should come next; any number if there is no telling. */
TPI_HOT uint32_t tpi_way_guess(const struct tpi_way *w)
{
    return w->place < TPI_GUESS_KEYS ? w->d->guess->after[w->place] : w->place;
}

/* Another one came. */
static inline void tpi_way_learn(struct tpi_way *w, uint32_t index)
{
    if (w->place < TPI_GUESS_KEYS) {
        w->d->guess->after[w->place] = (uint16_t) index;
    }
}

/* False: the property may have come before. */
TPI_HOT bool tpi_way_new(struct tpi_way *w, uint32_t index)
{
    if (!w->unique) {
        return true;
    }
    uint64_t bit = (uint64_t) 1 << (index & 63);
    bool seen = (w->known & bit) != 0;
    w->known |= bit;
    return !seen;
}

static inline bool tpi_way_new_other(struct tpi_way *w, const char *key, size_t len)
{
    uint64_t head, tail;
    tpi_key_words(key, len, len, &head, &tail);
    uint64_t bit = (uint64_t) 1 << (tpi_key_hash(head, tail, len, 0) >> 58);
    bool seen = (w->others & bit) != 0;
    w->others |= bit;
    return !seen || !w->unique;
}

/* Room for a point at d->count. */
TPI_HOT bool tpi_way_room(struct tpi_direct *d)
{
    return (d->count < d->cap || d->more(d)) && d->count < d->most;
}

TPI_HOT void tpi_put(struct tpi_direct *d, const struct tpi_key *k, uint32_t index, uint32_t type,
                     size_t len, uint64_t bits)
{
    struct tpc_point *p = &d->points[d->count];
    p->key = k->key;
    p->property = k->id;
    p->flags = k->flags;
    p->reserved = 0;
    p->unix_ms = 0;
    p->value.type = type;
    p->value.reserved = 0;
    p->value.len = len;
    p->value.as.i = (int64_t) bits;
    d->indexes[d->count++] = index;
}

TPI_HOT void tpi_put_double(struct tpi_direct *d, const struct tpi_key *k, uint32_t index,
                            double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    tpi_put(d, k, index, TPC_DOUBLE, 0, bits);
}

static inline void tpi_put_bad(struct tpi_direct *d, struct tpc_str key, const struct tpc_value *v)
{
    d->bad++;
    d->bad_key = key;
    d->bad_value = *v;
}

/* A value of a key that the model does not know: a point by key, or refused. False: no room. */
bool tpi_put_kept(struct tpi_direct *d, struct tpc_str key, const struct tpc_value *v);

static inline bool tpi_put_unknown(struct tpi_direct *d, struct tpc_str key,
                                   const struct tpc_value *v)
{
    if (d->keep) {
        return tpi_put_kept(d, key, v);
    }
    tpi_put_bad(d, key, v);
    return true;
}

/* Any value by tpi_model_take(), marks included: what the functions below do not know to be within
 * its limits comes here. False: out of memory. */
bool tpi_put_checked(struct tpi_direct *d, uint32_t index, const struct tpc_value *v);

/* An int that is no number of a range. */
bool tpi_put_other_int(struct tpi_direct *d, uint32_t index, int64_t i);

TPI_HOT bool tpi_put_int(struct tpi_direct *d, const struct tpi_key *k, uint32_t index, int64_t i)
{
    if (k->check == TPI_KEY_DOUBLE && (double) i >= k->of.d.min && (double) i <= k->of.d.max) {
        tpi_put_double(d, k, index, (double) i);
        return true;
    }
    if (k->check == TPI_KEY_INT && i >= k->of.i.min && i <= k->of.i.max) {
        tpi_put(d, k, index, TPC_INT, 0, (uint64_t) i);
        return true;
    }
    return tpi_put_other_int(d, index, i);
}

TPI_HOT bool tpi_put_number(struct tpi_direct *d, const struct tpi_key *k, uint32_t index,
                            double value)
{
    if (k->check == TPI_KEY_DOUBLE && value >= k->of.d.min && value <= k->of.d.max) {
        tpi_put_double(d, k, index, value);
        return true;
    }
    return tpi_put_checked(d, index, &(struct tpc_value){ .type = TPC_DOUBLE, .as.d = value });
}

TPI_HOT bool tpi_put_bool(struct tpi_direct *d, const struct tpi_key *k, uint32_t index, bool b)
{
    if (k->check == TPI_KEY_BOOL) {
        tpi_put(d, k, index, TPC_BOOL, 0, b);
        d->points[d->count - 1].value.as.b = b;
        return true;
    }
    return tpi_put_checked(d, index, &(struct tpc_value){ .type = TPC_BOOL, .as.b = b });
}

TPI_HOT bool tpi_put_text(struct tpi_direct *d, const struct tpi_key *k, uint32_t index,
                          const char *p, size_t len)
{
    if (k->check == TPI_KEY_TEXT && len <= k->of.length) {
        tpi_put(d, k, index, TPC_TEXT, len, 0);
        d->points[d->count - 1].value.as.text = p;
        return true;
    }
    return tpi_put_checked(d, index,
                           &(struct tpc_value){ .type = TPC_TEXT, .len = len, .as.text = p });
}

#endif
