/* Parts of gateways' messages on their way to the workers that own their devices. What waits for the
 * gateway's message waits for all of them. */
#include <string.h>

#include "base/buf.h"
#include "core/core.h"

/* Who waits for a message that became several. The last one to end settles it, and answers. */
struct tpi_join {
    atomic_uint pending;
    atomic_int error;
    struct tpc_core *core;
    struct tpi_part *part; /* NULL: done is called instead, unless that is NULL, too */
    uint64_t ticket;
    tpc_done_fn *done;
    void *user;
    struct tpc_device *asked; /* who wants the answer, counted; NULL = nobody */
    size_t name_len, correlation_len;
    char text[]; /* name and correlation of the answer */
};

/* The record's body follows. */
struct handed {
    struct tpi_node node;
    struct tpc_device *device;       /* counted */
    struct tpi_join *join;           /* may be NULL */
    const struct tpi_report *report; /* of the gateway's instance */
    int64_t unix_ms;                 /* 0 = not said */
    uint32_t packet_id;              /* 1: it may come twice */
    uint32_t code;
    uint16_t kind;
    uint16_t flags;
    size_t len;
};

/* All parts are in the log. */
static void answer(const struct tpi_join *j)
{
    struct tpi_worker *w = tpi_worker_current(j->core);
    if (j->asked != NULL && w != NULL) {
        struct tpc_str name = { j->text, j->name_len };
        struct tpc_str correlation = { j->text + j->name_len, j->correlation_len };
        tpi_down_answer(w, j->asked, name, correlation, true);
    }
}

static void free_join(struct tpi_join *j)
{
    tpi_device_unref(j->asked);
    if (j->part != NULL) {
        atomic_fetch_sub(&j->part->joins, 1);
    }
    tpi_free(j->core->env.alloc, j, sizeof(*j) + j->name_len + j->correlation_len);
}

void tpi_join_done(void *user, int error)
{
    struct tpi_join *j = user;
    if (error != 0) {
        atomic_store(&j->error, error);
    }
    if (atomic_fetch_sub(&j->pending, 1) != 1) {
        return;
    }
    error = atomic_load(&j->error);
    if (error == 0) {
        answer(j);
    }
    if (j->done != NULL) {
        j->done(j->user, error);
    } else if (j->part != NULL && error != TPC_ECANCELED && j->part->ops->adapter.settled != NULL &&
               !atomic_load(&j->part->stopped)) {
        j->part->ops->adapter.settled(j->part->self, &j->ticket, &error, 1);
    }
    free_join(j);
}

static void free_handed(struct tpc_core *core, struct handed *h)
{
    tpi_device_unref(h->device);
    atomic_fetch_sub_explicit(&core->handed, sizeof(*h) + h->len, memory_order_relaxed);
    tpi_free(core->env.alloc, h, sizeof(*h) + h->len);
}

/* False: the ring has no room now. */
static bool take_in(struct tpi_worker *w, struct handed *h)
{
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = h->kind,
                               .flags = h->flags,
                               .packet_id = h->packet_id,
                               .code = h->code,
                               .unix_ms = h->unix_ms,
                               .payload = { (const uint8_t *) (h + 1), h->len } };
    struct tpi_feed feed = { .device = h->device,
                             .done = h->join != NULL ? tpi_join_done : NULL,
                             .user = h->join,
                             .report = h->report,
                             .partition = h->device->partition,
                             .type = TPI_UP_PART };
    int rc = tpi_feed_put(w->core, &feed, &frame);
    if (rc == TPC_EAGAIN && h->len + sizeof(struct tpi_up_item) <= tpi_ring_max(&w->ring)) {
        return false;
    }
    rc = rc == TPC_EAGAIN ? TPC_ETOOBIG : rc; /* no room will do: others wait behind it */
    if (rc != 0) {
        tpi_count(&w->core->uplink_counters.parts_lost, 1);
    }
    if (rc != 0 && h->join != NULL) {
        tpi_join_done(h->join, rc);
    }
    free_handed(w->core, h);
    return true;
}

/* Behind those that wait already, for parts stay in their order. */
static void run_handed(struct tpi_worker *w, struct tpi_node *node)
{
    if (w->handed_first == NULL && take_in(w, (struct handed *) (void *) node)) {
        return;
    }
    node->next = NULL;
    *(w->handed_first != NULL ? &w->handed_last->next : &w->handed_first) = node;
    w->handed_last = node;
}

bool tpi_hand_again(struct tpi_worker *w)
{
    bool did = false;
    while (w->handed_first != NULL) {
        struct tpi_node *node = w->handed_first;
        struct tpi_node *next = node->next;
        if (!take_in(w, (struct handed *) (void *) node)) {
            break;
        }
        w->handed_first = next;
        did = true;
    }
    return did;
}

static void drop_handed(struct tpi_worker *w, struct tpi_node *node)
{
    struct handed *h = (struct handed *) (void *) node;
    if (h->join != NULL) {
        tpi_join_done(h->join, TPC_ECANCELED);
    }
    free_handed(w->core, h);
}

void tpi_hand_drop(struct tpi_worker *w)
{
    while (w->handed_first != NULL) {
        struct tpi_node *node = w->handed_first;
        w->handed_first = node->next;
        drop_handed(w, node);
    }
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
    h->report = w->items[um->input]->report;
    h->kind = um->msg.kind;
    h->flags = (um->msg.flags & TPC_MSG_RETAINED) != 0 ? TPC_FRAME_RETAINED : 0;
    h->flags |= (um->msg.flags & TPC_MSG_REDELIVERED) != 0 ? TPC_FRAME_REDELIVERED : 0;
    h->packet_id = tpi_get_u64(um->msg.id.b + 8) != 0;
    h->code = um->got ? TPC_DECODED_GOT : 0;
    h->unix_ms = (um->msg.flags & TPC_MSG_ESTIMATED_TIME) != 0 ? 0 : um->msg.unix_ms;
    h->len = body.len;
    memcpy(h + 1, body.ptr, body.len);
    atomic_fetch_add_explicit(&w->core->handed, sizeof(*h) + h->len, memory_order_relaxed);
    return h;
}

/* asking: the message that wants an answer; NULL = none does. */
static struct tpi_join *make_join(struct tpi_worker *w, const struct tpi_up_item *item,
                                  const struct tpi_up_msg *asking)
{
    struct tpc_str none = { NULL, 0 };
    struct tpc_str name = asking != NULL ? asking->answer_name : none;
    struct tpc_str correlation = asking != NULL ? asking->msg.correlation : none;
    struct tpi_join *j =
        tpi_alloc_zero(tpi_env_reserve(&w->core->env), sizeof(*j) + name.len + correlation.len);
    if (j == NULL) {
        return NULL;
    }
    atomic_init(&j->pending, 1);
    j->core = w->core;
    j->part = item->ticket != 0 ? item->part : NULL;
    if (j->part != NULL) {
        atomic_fetch_add(&j->part->joins, 1);
    }
    j->ticket = item->ticket;
    j->done = item->done;
    j->user = item->user;
    j->asked = asking != NULL ? tpi_device_ref(asking->asked) : NULL;
    j->name_len = name.len;
    j->correlation_len = correlation.len;
    if (name.len > 0) {
        memcpy(j->text, name.ptr, name.len);
    }
    if (correlation.len > 0) {
        memcpy(j->text + name.len, correlation.ptr, correlation.len);
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
        bool joins = waits || um->answer || join != NULL;
        if (joins && join == NULL) {
            join = make_join(w, item, um->answer ? um : NULL);
        }
        struct handed *h = !joins || join != NULL ? make_handed(w, um, join) : NULL;
        if (h == NULL) {
            *error = TPC_ENOMEM; /* it is sent again, or was not to be kept at any price */
            tpi_uplink_forget(w->uplink, input);
            tpi_count(&core->uplink_counters.parts_lost, 1);
            continue;
        }
        if (join != NULL) {
            atomic_fetch_add(&join->pending, 1);
        }
        tpi_count(&core->uplink_counters.parts_handed, 1);
        tpi_worker_post(tpi_worker_of(core, um->device->partition), &h->node);
    }
    if (join != NULL && !waits) {
        tpi_join_done(join, *error);
        join = NULL;
    }
    return join;
}
