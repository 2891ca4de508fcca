#include "model/direct.h"

#include <tpcore/msg.h>

#include "model/put.h"

void tpi_direct_init(struct tpi_direct *d)
{
    *d = (struct tpi_direct){ .json = tpi_direct_json, .cbor = tpi_direct_cbor };
}

struct tpi_guess *tpi_guess_of(struct tpi_guesses *all, const struct tpi_model *m)
{
    uint64_t hash = (uint64_t) (uintptr_t) m * UINT64_C(0x9E3779B97F4A7C15);
    struct tpi_guess *g = &all->of[hash >> 32 & (TPI_GUESSES - 1)];
    if (g->model != m) {
        g->model = m;
        for (uint32_t i = 0; i < TPI_GUESS_KEYS; i++) {
            g->after[i] = (uint16_t) i;
        }
    }
    return g;
}

bool tpi_put_checked(struct tpi_direct *d, uint32_t index, const struct tpc_value *v)
{
    const struct tpi_key *k = &d->model->keys.at[index];
    struct tpc_value checked;
    uint16_t marks = 0;
    int rc = tpi_model_take(d->model, index, v, d->arena, NULL, &checked, &marks);
    if (rc == TPC_ENOMEM) {
        return false;
    }
    if (rc != 0) {
        tpi_put_bad(d, k->key, v);
        return true;
    }
    tpi_put(d, k, index, checked.type, checked.len, 0);
    struct tpc_point *p = &d->points[d->count - 1];
    p->value = checked;
    p->flags |= marks;
    d->clamped += (marks & TPC_POINT_CLAMPED) != 0;
    d->beyond += (marks & TPC_POINT_BEYOND) != 0;
    return true;
}

bool tpi_put_other_int(struct tpi_direct *d, uint32_t index, int64_t i)
{
    const struct tpi_key *k = &d->model->keys.at[index];
    for (uint64_t n = 0; k->check == TPI_KEY_ENUM && n < k->of.e.count; n++) {
        if (k->of.e.items[n].value == i) {
            tpi_put(d, k, index, TPC_INT, 0, (uint64_t) i);
            return true;
        }
    }
    return tpi_put_checked(d, index, &(struct tpc_value){ .type = TPC_INT, .as.i = i });
}
