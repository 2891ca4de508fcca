/*
 * Derived properties: once a message's values are checked, those that are computed from them follow,
 * in the same message and with the same time.
 *
 * An expression sees what its message says; what that does not say, the messages of the device
 * before it in the batch; else the latest values.
 */
#include <string.h>

#include "base/alloc.h"
#include "registry/derived.h"
#include "uplink/private.h"

enum { LOOK_BACK = 4096 /* points of messages before this one */, SCRATCH_BYTES = 4096 };

static const uint32_t NO_POINT = UINT32_MAX;

/* Where the newest value of a property stands in the message of this stamp. */
struct up_cell {
    uint32_t stamp;
    uint32_t at;
    uint32_t before; /* the one before that in the same message, NO_POINT = none */
};

static bool make_room(struct tpi_uplink *u, uint32_t properties)
{
    if (u->cell_count >= properties) {
        return true;
    }
    struct up_cell *cells =
        tpi_alloc_zero(u->env->alloc, TPI_MODEL_MAX_PROPERTIES * sizeof(*cells));
    if (cells == NULL) {
        return false;
    }
    u->cells = cells; /* there were none */
    u->cell_count = TPI_MODEL_MAX_PROPERTIES;
    return true;
}

void up_derive_fini(struct tpi_uplink *u)
{
    tpi_free(u->env->alloc, u->cells, u->cell_count * sizeof(*u->cells));
    u->cells = NULL;
    u->cell_count = 0;
}

/* In messages of the device that are not among its latest values yet. */
static bool load_earlier(const struct tpi_uplink *u, uint32_t index, struct tpc_value *ret)
{
    uint32_t looked = 0;
    for (uint32_t k = u->msg_count; k > 0 && looked < LOOK_BACK; k--) {
        const struct tpi_up_msg *um = &u->msgs[k - 1];
        looked++;
        if (um->device != u->target || um->msg.kind == TPC_MSG_DEAD_LETTER) {
            continue;
        }
        for (uint32_t i = um->msg.point_count; i > 0; i--, looked++) {
            if (u->indexes[um->first_point + i - 1] == index) {
                *ret = u->points[um->first_point + i - 1].value;
                return true;
            }
        }
    }
    return false;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct tpi_uplink *u = user;
    if (u->cells[index].stamp == u->stamp) {
        *ret = u->points[u->cells[index].at].value;
        return true;
    }
    return load_earlier(u, index, ret) || tpi_device_latest_peek(u->target, index, ret, NULL) == 0;
}

/* Of what the message says the value before it, else the value before the message. */
static bool load_previous(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct tpi_uplink *u = user;
    const struct up_cell *c = &u->cells[index];
    if (c->stamp == u->stamp && c->before != NO_POINT) {
        *ret = u->points[c->before].value;
        return true;
    }
    return load_earlier(u, index, ret) || tpi_device_latest_peek(u->target, index, ret, NULL) == 0;
}

static void set_cell(struct tpi_uplink *u, uint32_t index, uint32_t at)
{
    struct up_cell *c = &u->cells[index];
    *c = (struct up_cell){ u->stamp, at, c->stamp == u->stamp ? c->at : NO_POINT };
}

/* Texts that it borrows may be overwritten by the time they are used. */
static bool own_text(struct tpi_uplink *u, struct tpc_value *v)
{
    if (v->type != TPC_TEXT || v->len == 0) {
        return true;
    }
    char *copy = tpc_arena_take(u->arena, v->len);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, v->as.text, v->len);
    v->as.text = copy;
    return true;
}

/* The point of derived property `number`. 1 = added, 0 = there is no value, or TPC_ENOMEM. */
static int compute(struct tpi_uplink *u, uint32_t number, int64_t unix_ms)
{
    const struct tpi_derived *d = u->product->derived;
    uint32_t index = d->indexes[number];
    char scratch[SCRATCH_BYTES];
    struct tpi_derived_view view = { .user = u,
                                     .load = load,
                                     .previous = load_previous,
                                     .registry = u->host.registry,
                                     .env = u->env,
                                     .tenant_id = u->product->tenant_id,
                                     .unix_ms = unix_ms,
                                     .scratch = scratch,
                                     .scratch_bytes = sizeof(scratch) };
    struct tpc_value v = d->ops->eval(d->exprs[number], &view);
    uint16_t marks;
    if (v.type == TPC_NULL) {
        u->bad_points += view.no_room;
        return 0;
    }
    if (u->point_count - u->msgs[u->msg_count].first_point >= TPI_UPLINK_POINTS) {
        u->bad_points++;
        return 0;
    }
    if (!own_text(u, &v) || !up_room_point(u)) {
        return TPC_ENOMEM;
    }
    struct tpc_point *p = &u->points[u->point_count];
    const struct tpi_property *q = tpi_model_property(u->product->model, index);
    int rc = tpi_model_derive(u->product->model, index, &v, u->arena, &u->bad, &p->value, &marks);
    if (rc != 0) {
        u->bad_points++;
        u->untold = false;
        return rc == TPC_ENOMEM ? rc : 0;
    }
    p->key = q->key;
    p->property = q->id;
    p->flags = (uint16_t) (marks | (q->attribute ? TPC_POINT_ATTRIBUTE : 0));
    p->reserved = 0;
    p->unix_ms = unix_ms;
    u->clamped += (marks & TPC_POINT_CLAMPED) != 0;
    u->beyond += (marks & TPC_POINT_BEYOND) != 0;
    u->indexes[u->point_count] = index;
    set_cell(u, index, u->point_count++);
    return 1;
}

/* All that wait, in their order: those that read what is computed here come behind it. */
static int compute_all(struct tpi_uplink *u, uint64_t wanted, int64_t unix_ms)
{
    const struct tpi_derived *d = u->product->derived;
    for (uint32_t i = 0; i < d->count && wanted != 0; i++) {
        if ((wanted >> i & 1) == 0) {
            continue;
        }
        int rc = compute(u, i, unix_ms);
        if (rc < 0) {
            return rc;
        }
        wanted &= ~((uint64_t) 1 << i);
        wanted |= rc == 1 ? d->readers[d->indexes[i]] : 0;
    }
    return 0;
}

int up_derive(struct tpi_uplink *u)
{
    const struct tpi_derived *d = u->product->derived;
    uint32_t first = u->msgs[u->msg_count].first_point;
    uint32_t end = u->point_count;
    uint64_t wanted = 0;
    int rc = make_room(u, d->property_count) ? 0 : TPC_ENOMEM;
    u->stamp++;
    if (u->stamp == 0 && u->cells != NULL) { /* cells of 2^32 messages ago are none of this one */
        memset(u->cells, 0, u->cell_count * sizeof(*u->cells));
        u->stamp = 1;
    }
    for (uint32_t i = first; i < end && rc == 0; i++) {
        uint32_t index = u->indexes[i];
        int64_t unix_ms = u->points[i].unix_ms;
        if (index != TPI_MODEL_NO_INDEX) {
            set_cell(u, index, i);
            wanted |= d->readers[index];
        }
        /* Values of one time belong together. */
        if (wanted != 0 && (i + 1 == end || u->points[i + 1].unix_ms != unix_ms)) {
            rc = compute_all(u, wanted, unix_ms);
            wanted = 0;
        }
    }
    u->no_memory = u->no_memory || rc == TPC_ENOMEM;
    return rc;
}
