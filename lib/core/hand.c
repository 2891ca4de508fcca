/* Parts of gateways' messages on their way to the workers that own their devices. What waits for the
 * gateway's message waits for all of them. */
#include <string.h>

#include "core/core.h"

/* Who waits for a message that became several. The last one to end settles it. */
struct tpi_join {
    atomic_uint pending;
    atomic_int error;
    struct tpc_core *core;
    struct tpi_part *part; /* NULL: done is called instead */
    uint64_t ticket;
    tpc_done_fn *done;
    void *user;
};

/* The record's body follows. */
struct handed {
    struct tpi_node node;
    struct tpc_device *device; /* counted */
    struct tpi_join *join;     /* may be NULL */
    int64_t unix_ms;           /* 0 = not said */
    uint32_t code;
    uint16_t kind;
    uint16_t flags;
    size_t len;
};

void tpi_join_done(void *user, int error)
{
    struct tpi_join *j = user;
    struct tpc_core *core = j->core;
    if (error != 0) {
        atomic_store(&j->error, error);
    }
    if (atomic_fetch_sub(&j->pending, 1) != 1) {
        return;
    }
    error = atomic_load(&j->error);
    if (j->part == NULL) {
        j->done(j->user, error);
    } else if (error != TPC_ECANCELED && j->part->ops->adapter.settled != NULL &&
               !atomic_load(&j->part->stopped)) {
        j->part->ops->adapter.settled(j->part->self, &j->ticket, &error, 1);
    }
    tpi_free(core->env.alloc, j, sizeof(*j));
}

static void free_handed(struct tpc_core *core, struct handed *h)
{
    tpi_device_unref(h->device);
    tpi_free(core->env.alloc, h, sizeof(*h) + h->len);
}

static void run_handed(struct tpi_worker *w, struct tpi_node *node)
{
    struct handed *h = (struct handed *) (void *) node;
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = h->kind,
                               .flags = h->flags,
                               .code = h->code,
                               .unix_ms = h->unix_ms,
                               .payload = { (const uint8_t *) (h + 1), h->len } };
    struct tpi_feed feed = { .device = h->device,
                             .done = h->join != NULL ? tpi_join_done : NULL,
                             .user = h->join,
                             .partition = h->device->partition,
                             .type = TPI_UP_PART };
    int rc = tpi_feed_put(w->core, &feed, &frame);
    if (rc == TPC_EAGAIN) {
        tpi_worker_post(w, node); /* the next turn, when the ring has room */
        return;
    }
    if (rc != 0 && h->join != NULL) {
        tpi_join_done(h->join, rc);
    }
    free_handed(w->core, h);
}

static void drop_handed(struct tpi_worker *w, struct tpi_node *node)
{
    struct handed *h = (struct handed *) (void *) node;
    if (h->join != NULL) {
        tpi_join_done(h->join, TPC_ECANCELED);
    }
    free_handed(w->core, h);
}

static struct handed *make_handed(struct tpi_worker *w, const struct tpi_up_msg *um,
                                  struct tpi_join *join)
{
    struct tpc_bytes body = tpi_uplink_body(w->uplink, um);
    struct handed *h = tpi_alloc_zero(tpi_env_reserve(&w->core->env), sizeof(*h) + body.len);
    if (h == NULL) {
        return NULL;
    }
    h->node.run = run_handed;
    h->node.drop = drop_handed;
    h->device = tpi_device_ref(um->device);
    h->join = join;
    h->kind = um->msg.kind;
    h->flags = (um->msg.flags & TPC_MSG_RETAINED) != 0 ? TPC_FRAME_RETAINED : 0;
    h->code = um->got ? TPC_DECODED_GOT : 0;
    h->unix_ms = (um->msg.flags & TPC_MSG_ESTIMATED_TIME) != 0 ? 0 : um->msg.unix_ms;
    h->len = body.len;
    memcpy(h + 1, body.ptr, body.len);
    return h;
}

static struct tpi_join *make_join(struct tpi_worker *w, const struct tpi_up_item *item)
{
    struct tpi_join *j = tpi_alloc_zero(tpi_env_reserve(&w->core->env), sizeof(*j));
    if (j != NULL) {
        atomic_init(&j->pending, 1);
        j->core = w->core;
        j->part = item->ticket != 0 ? item->part : NULL;
        j->ticket = item->ticket;
        j->done = item->done;
        j->user = item->user;
    }
    return j;
}

struct tpi_join *tpi_hand_parts(struct tpi_worker *w, uint32_t input, uint32_t *at, int *error)
{
    struct tpc_core *core = w->core;
    const struct tpi_up_item *item = w->items[input];
    bool waits = item->ticket != 0 || item->done != NULL;
    struct tpi_join *join = NULL;
    uint32_t count = tpi_uplink_part_count(w->uplink);
    for (; *at < count; (*at)++) {
        const struct tpi_up_msg *um = tpi_uplink_part(w->uplink, *at);
        if (um->input != input) {
            break;
        }
        if (um->answer) {
            tpi_down_answer(w, um->asked, um->answer_name, um->msg.correlation, true);
        }
        if (waits && join == NULL) {
            join = make_join(w, item);
        }
        struct handed *h = !waits || join != NULL ? make_handed(w, um, join) : NULL;
        if (h == NULL) {
            *error = TPC_ENOMEM; /* it is sent again, or was not to be kept at any price */
            tpi_count(&core->uplink_counters.parts_lost, 1);
            continue;
        }
        if (join != NULL) {
            atomic_fetch_add(&join->pending, 1);
        }
        tpi_count(&core->uplink_counters.parts_handed, 1);
        tpi_worker_post(tpi_worker_of(core, um->device->partition), &h->node);
    }
    return join;
}
