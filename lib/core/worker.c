/*
 * A worker: the owner of its partitions. One turn does what is ready: timers, things posted to it,
 * a batch of what was received, tickets, followers of the log.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "codec/codec.h"
#include "core/behind.h"
#include "core/clock.h"
#include "core/core.h"
#include "core/report.h"
#include "registry/why.h"

enum {
    ID_EVENT = 1,
    ID_TIMER = 2,
    ACTION_ARENA_BYTES = 512 << 20,
    NAP_MESSAGES = 32, /* taken since it slept last: then it naps first */
    NAP_NS = 50000,
    RULES_LOOK_MS = 60000
};

/* ---- life ---- */

static int watch_own(struct tpi_worker *w, int fd, uint64_t id)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = id };
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev);
}

int tpi_worker_init(struct tpc_core *core, struct tpi_worker *w, uint32_t index)
{
    w->core = core;
    w->index = index;
    w->timer = -1;
    w->batch_limit = TPI_UPLINK_BATCH;
    atomic_init(&w->sleeping, true);
    pthread_mutex_init(&w->lock, NULL);
    tpi_wheel_init(&w->wheel, tpi_mono_ms(&core->env));
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!core->threads) {
        w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }
    if (w->epoll < 0 || w->event < 0 || (!core->threads && w->timer < 0) ||
        watch_own(w, w->event, ID_EVENT) != 0 ||
        (w->timer >= 0 && watch_own(w, w->timer, ID_TIMER) != 0)) {
        return tpi_fail(TPC_EIO, "core", "no descriptors left: errno %d", errno);
    }
    if (tpc_arena_create(core->env.alloc, ACTION_ARENA_BYTES, &w->arena) != 0 ||
        tpc_arena_create(core->env.alloc, ACTION_ARENA_BYTES, &w->send_arena) != 0) {
        return TPC_ENOMEM;
    }
    return 0;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void tpi_worker_fini(struct tpi_worker *w)
{
    close_fd(w->timer);
    close_fd(w->event);
    close_fd(w->epoll);
    tpc_arena_destroy(w->arena);
    tpc_arena_destroy(w->send_arena);
    tpi_free(w->core->env.alloc, w->tickets, w->ticket_cap * sizeof(w->tickets[0]));
    pthread_mutex_destroy(&w->lock);
}

static int append_batch(void *user, struct tpc_record *records, uint32_t count,
                        struct tpc_error *err)
{
    struct tpi_worker *w = user;
    return tpi_log_append(w, records, count, w->reserve ? TPC_APPEND_RESERVE : 0, err);
}

static void rules_begin(void *user)
{
    struct tpi_worker *w = user;
    tpi_rules_begin(w->core->rules, w->index);
}

static void rules_before(void *user, struct tpc_device *device, const struct tpc_msg *msg)
{
    struct tpi_worker *w = user;
    tpi_rules_before(w->core->rules, w->index, device, msg);
}

static void rules_message(void *user, struct tpc_device *device, const struct tpc_msg *msg)
{
    struct tpi_worker *w = user;
    tpi_rules_message(w->core->rules, w->index, device, msg);
}

static void rules_end(void *user)
{
    struct tpi_worker *w = user;
    tpi_rules_end(w->core->rules, w->index);
}

int tpi_worker_prepare(struct tpi_worker *w, struct tpc_error *err)
{
    struct tpc_core *core = w->core;
    struct tpi_uplink_host up = {
        .user = w,
        .registry = core->registry,
        .counters = &core->uplink_counters,
        .presence = &w->presence,
        .wheel = &w->wheel,
        .report = core->report,
        .worker = w->index,
        .workers = core->worker_count,
        .append = append_batch,
        .unwrap = tpi_codec_unwrap,
        .begin = rules_begin,
        .before = rules_before,
        .message = rules_message,
        .end = rules_end,
    };
    struct tpi_downlink_host down = {
        .user = w,
        .registry = core->registry,
        .wheel = &w->wheel,
        .counters = &core->downlink_counters,
        .worker = w->index,
        .partitions = core->options.partitions,
        .commands_max = core->options.commands_max,
        .device_max = core->options.device_queue_max,
        .append = tpi_down_append,
        .send = tpi_down_send,
        .closed = tpi_down_closed,
        .renew = tpi_down_renew,
    };
    int rc = tpi_ring_init(&w->ring, core->env.alloc, (size_t) core->options.ring_bytes);
    if (rc != 0) {
        return tpi_error_set(err, rc, "core", "no memory for a ring of %llu bytes",
                             (unsigned long long) core->options.ring_bytes);
    }
    w->ring_made = true;
    tpi_presence_init(&w->presence, core->registry, w->index, core->worker_count,
                      tpi_mono_ms(&core->env), tpi_unix_ms(&core->env));
    rc = tpi_uplink_create(&core->env, &up, err, &w->uplink);
    return rc != 0 ? rc : tpi_downlink_create(&core->env, &down, err, &w->downlink);
}

/* What was fed and did not get into the log is not kept; who fed it hears of that. */
static void cancel_fed(struct tpi_worker *w)
{
    while (w->ticket_count > 0) {
        struct tpi_ticket t = w->tickets[w->ticket_first];
        w->ticket_first = (w->ticket_first + 1) & (w->ticket_cap - 1);
        w->ticket_count--;
        if (t.done != NULL) {
            t.done(t.user, TPC_ECANCELED);
        }
    }
}

void tpi_worker_release(struct tpi_worker *w)
{
    const struct tpi_up_item *item;
    size_t len;
    cancel_fed(w);
    tpi_hand_drop(w);
    if (w->ring_made) {
        tpi_ring_rewind(&w->ring);
        while ((item = tpi_ring_peek(&w->ring, &len)) != NULL) {
            if (item->done != NULL) {
                item->done(item->user, TPC_ECANCELED);
            }
            tpi_feed_done(item);
        }
        tpi_ring_fini(&w->ring);
        w->ring_made = false;
    }
    tpi_session_sweep(w, true);
    tpi_presence_fini(&w->presence);
    tpi_effects_drop(w);
    tpi_downlink_destroy(w->downlink);
    tpi_uplink_destroy(w->uplink);
    w->downlink = NULL;
    w->uplink = NULL;
    w->stalled = false;
    w->batch_limit = TPI_UPLINK_BATCH;
}

/* ---- who is the worker, and telling it ---- */

struct tpi_worker *tpi_worker_current(struct tpc_core *core)
{
    uintptr_t self = (uintptr_t) pthread_self();
    for (uint32_t i = 0; i < core->worker_count; i++) {
        if (atomic_load_explicit(&core->workers[i].who, memory_order_relaxed) == self) {
            return &core->workers[i];
        }
    }
    return NULL;
}

void tpi_worker_wake(struct tpi_worker *w)
{
    /* Against the worker's order: it says that it sleeps, then looks for work once more. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load_explicit(&w->sleeping, memory_order_relaxed) ||
        !atomic_exchange(&w->sleeping, false)) {
        return;
    }
    uint64_t one = 1;
    ssize_t put = write(w->event, &one, sizeof(one));
    (void) put; /* the counter is full only if nobody read 2^64 wake-ups */
}

void tpi_worker_poke(struct tpi_worker *w)
{
    atomic_store(&w->poked, true);
    tpi_worker_wake(w);
}

void tpi_worker_post(struct tpi_worker *w, struct tpi_node *node)
{
    node->next = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->last != NULL) {
        w->last->next = node;
    } else {
        w->first = node;
    }
    w->last = node;
    pthread_mutex_unlock(&w->lock);
    tpi_worker_wake(w);
}

void tpi_worker_forget(struct tpi_worker *w)
{
    while (w->first != NULL) {
        struct tpi_node *node = w->first;
        w->first = node->next;
        if (node->drop != NULL) {
            node->drop(w, node);
        }
    }
    w->last = NULL;
}

struct call {
    struct tpi_node node;
    int (*fn)(struct tpi_worker *w, void *user);
    void *user;
    int rc;
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t cond;
};

static void run_call(struct tpi_worker *w, struct tpi_node *node)
{
    struct call *c = (struct call *) (void *) node;
    int rc = c->fn(w, c->user);
    pthread_mutex_lock(&c->lock);
    c->rc = rc;
    c->done = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock); /* the caller may be gone after this */
}

static int call_thread(struct tpi_worker *w, struct call *c)
{
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->cond, NULL);
    tpi_worker_post(w, &c->node);
    pthread_mutex_lock(&c->lock);
    while (!c->done) {
        pthread_cond_wait(&c->cond, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->cond);
    return c->rc;
}

int tpi_worker_call(struct tpi_worker *w, int (*fn)(struct tpi_worker *w, void *user), void *user)
{
    struct tpc_core *core = w->core;
    struct tpi_worker *current = tpi_worker_current(core);
    if (current == w) {
        return fn(w, user);
    }
    if (current != NULL) {
        return TPC_ESTATE; /* workers do not wait for one another */
    }
    if (tpi_core_enter(core) != 0) {
        return TPC_ESTATE;
    }
    if (core->threads) {
        struct call c = { .node.run = run_call, .fn = fn, .user = user };
        int done = call_thread(w, &c);
        tpi_core_leave(core);
        return done;
    }
    pthread_mutex_lock(&core->step_lock);
    atomic_store(&w->who, (uintptr_t) pthread_self());
    int rc = w->uplink != NULL ? fn(w, user) : TPC_ESTATE;
    atomic_store(&w->who, 0);
    pthread_mutex_unlock(&core->step_lock);
    tpi_worker_poke(w); /* timers that it set, what it appended: the next step looks */
    tpi_core_leave(core);
    return rc;
}

/* ---- a turn ---- */

static bool run_nodes(struct tpi_worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct tpi_node *list = w->first;
    w->first = NULL;
    w->last = NULL;
    pthread_mutex_unlock(&w->lock);
    bool did = list != NULL;
    while (list != NULL) {
        struct tpi_node *node = list;
        list = node->next;
        node->run(w, node);
    }
    return did;
}

/* A sign of life: what waited for the device leaves now. */
static void spoke(struct tpi_worker *w, struct tpc_device *d)
{
    if (tpi_device_has(d, TPI_DEVICE_AWAY)) {
        tpi_device_bit(d, TPI_DEVICE_AWAY, false);
        tpi_behind_online(w, d, true);
    } else {
        tpi_downlink_spoke(w->downlink, d);
    }
}

/* Over which session a device can be reached. */
static void follow_route(struct tpi_worker *w, const struct tpi_up_item *item)
{
    struct tpc_device *d = item->device;
    if (d == NULL || item->session == 0) {
        return;
    }
    bool changed = atomic_load_explicit(&d->session, memory_order_relaxed) != item->session;
    if (changed && !tpi_session_is_open(w->core, item->session)) {
        return; /* its last frames: nothing reaches the device that way any more */
    }
    if (changed && tpi_session_newer(w->core, atomic_load(&d->session), item->session)) {
        return; /* taken over: what an old connection still says does not bring it back */
    }
    if (changed) {
        atomic_store_explicit(&d->session, item->session, memory_order_relaxed);
        d->adapter = item->part;
    }
    /* Presence is the broker's word, a retained message an old one. */
    bool own = item->kind != TPC_MSG_PRESENCE && (item->flags & TPC_FRAME_RETAINED) == 0;
    if (own && !changed) {
        spoke(w, d);
    } else if (changed) {
        if (own) {
            tpi_device_bit(d, TPI_DEVICE_AWAY, false);
        }
        tpi_behind_online(w, d, own);
    }
}

/* What a message of the batch means beyond log and latest values; no lock is held. */
static void act_on(struct tpi_worker *w, const struct tpi_up_msg *um)
{
    struct tpc_device *d = um->device;
    if (d == NULL || um->said || um->msg.kind == TPC_MSG_DEAD_LETTER) {
        return;
    }
    if (um->msg.kind != TPC_MSG_PRESENCE && (um->msg.flags & TPC_MSG_RETAINED) == 0) {
        spoke(w, d);
    }
    if (um->msg.kind == TPC_MSG_REPLY) {
        tpi_behind_reply(w, um);
    } else if (um->msg.kind == TPC_MSG_PRESENCE) {
        const struct tpc_value *online = tpc_value_get(&um->msg.params, TPC_STR("online"));
        bool up = online != NULL && online->type == TPC_BOOL && online->as.b;
        tpi_presence_said(w, d, up, um->msg.unix_ms);
    }
    if (um->wakes) {
        tpi_presence_woke(w, d);
    }
    if (um->got && (um->msg.flags & TPC_MSG_RETAINED) == 0) {
        tpi_downlink_got(w->downlink, d);
    }
    if (um->answer) {
        tpi_down_answer(w, um->asked, um->answer_name, um->msg.correlation, um->part);
    }
}

static void finish_batch(struct tpi_worker *w, uint32_t n)
{
    struct tpc_str name;
    struct tpc_str correlation;
    uint32_t part = 0;
    bool nested;
    for (uint32_t i = 0; i < n; i++) {
        int result = tpi_uplink_result(w->uplink, i);
        struct tpi_join *join = tpi_hand_parts(w, i, &part, &result);
        tpi_ticket_put(w, w->items[i], join, result);
        follow_route(w, w->items[i]);
        if (tpi_uplink_again(w->uplink, i, &name, &correlation, &nested)) {
            tpi_down_answer(w, w->items[i]->device, name, correlation, nested);
        }
    }
    for (uint32_t i = 0; i < tpi_uplink_count(w->uplink); i++) {
        act_on(w, tpi_uplink_msg(w->uplink, i));
    }
    for (uint32_t i = 0; i < tpi_uplink_quiet_count(w->uplink); i++) {
        act_on(w, tpi_uplink_quiet(w->uplink, i));
    }
    tpi_effects_run(w);
    tpi_requests(w);
    tpi_create_subs(w);
    tpi_uplink_clear(w->uplink);
    for (uint32_t i = 0; i < n; i++) {
        tpi_feed_done(w->items[i]);
    }
    tpi_ring_release(&w->ring);
    w->taken += n;
    w->stalled = false;
    w->batch_limit = TPI_UPLINK_BATCH;
}

/* One frame alone needs more memory than there is: it is refused, not kept for ever. */
static void refuse_one(struct tpi_worker *w)
{
    const struct tpi_up_item *item = w->items[0];
    tpi_count(&w->core->uplink_counters.refused, 1);
    tpi_log(&w->core->env, TPC_LOG_WARN, "uplink", "a frame of %u bytes is refused: out of memory",
            (unsigned) item->payload_len);
    if (item->device != NULL) {
        tpi_why_device(item->device, TPC_WHY_STORE, TPC_ENOMEM, TPC_STR("out of memory"),
                       TPC_STR("uplink"), (struct tpc_bytes){ NULL, 0 });
    }
    tpi_ticket_put(w, item, NULL, TPC_ENOMEM);
    tpi_feed_done(item);
    tpi_uplink_clear(w->uplink);
    tpi_ring_release(&w->ring);
    w->batch_limit = TPI_UPLINK_BATCH;
}

static void put_back(struct tpi_worker *w, int rc)
{
    tpi_uplink_clear(w->uplink);
    tpi_ring_rewind(&w->ring);
    if (rc == TPC_ENOMEM && w->batch_limit > 1) {
        w->batch_limit = 1;
        return;
    }
    w->stalled = true;
    w->retry_ms = tpi_mono_ms(&w->core->env) + TPI_STALL_MS;
    tpi_count(&w->core->counters.append_waits, 1);
    if (w->core->threads) {
        tpi_pump_kick(w->core);
    }
}

/* Owners of windows over several devices are behind: what they have to take must not grow for ever. */
static bool owners_are_behind(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    if (atomic_load_explicit(&core->inputs_pending, memory_order_relaxed) < TPI_INPUTS_PENDING) {
        return false;
    }
    w->stalled = true;
    w->retry_ms = tpi_mono_ms(&core->env) + TPI_STALL_MS;
    tpi_count(&core->counters.rule_inputs_waits, 1);
    return true;
}

static bool drain(struct tpi_worker *w)
{
    const struct tpi_up_item *item;
    struct tpi_up_input input;
    struct tpc_error err;
    uint32_t n = 0;
    size_t len;
    if (w->stalled && tpi_mono_ms(&w->core->env) < w->retry_ms) {
        return false;
    }
    if (tpi_ring_used(&w->ring) > 0 && owners_are_behind(w)) {
        return false;
    }
    while (n < w->batch_limit && (item = tpi_ring_peek(&w->ring, &len)) != NULL) {
        w->items[n++] = item;
        tpi_device_ahead(item->device);
        tpi_feed_input(item, &input);
        input.received_unix_ms =
            tpi_rules_received(w->core->rules, w->index, input.received_unix_ms);
        tpi_uplink_add(w->uplink, &input);
    }
    if (n == 0) {
        w->stalled = false;
        return false;
    }
    int rc = tpi_tickets_reserve(w, n);
    if (rc == 0) {
        atomic_store(&w->busy, true);
        rc = tpi_uplink_run(w->uplink, &err);
    }
    if (rc == 0) {
        finish_batch(w, n);
    }
    atomic_fetch_add(&w->batches, 1);
    atomic_store(&w->busy, false);
    if (rc == 0) {
        return true;
    }
    bool waited_for = w->items[0]->ticket != 0 || w->items[0]->done != NULL;
    if (rc == TPC_ENOMEM && n == 1 && (!waited_for || tpi_tickets_reserve(w, 1) == 0)) {
        refuse_one(w);
        return true;
    }
    put_back(w, rc);
    return rc == TPC_ENOMEM && !w->stalled;
}

bool tpi_worker_turn(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    atomic_store(&w->poked, false);
    int64_t now = tpi_unix_ms(&core->env);
    atomic_store_explicit(&w->unix_ms, now, memory_order_relaxed);
    bool did = tpi_wheel_run(&w->wheel, tpi_mono_ms(&core->env)) > 0;
    did |= tpi_core_clock_turn(w);
    did |= tpi_report_turn(w);
    did |= tpi_presence_turn(w);
    if (!core->replaying && tpi_rules_turn_at(core->rules, w->index, now) > 0) {
        tpi_effects_run(w);
        did = true;
    }
    if (w->rule_first != NULL) { /* of commands: not at once, one may lead to the next */
        tpi_effects_run(w);
        did = true;
    }
    did |= tpi_alert_turn(w);
    if (w->index == 0) {
        did |= tpi_loop_run_timers(core);
    }
    did |= run_nodes(w);
    if (atomic_load_explicit(&w->renew, memory_order_relaxed) &&
        atomic_exchange(&w->renew, false)) {
        tpi_down_renew_all(w);
    }
    if (w->held_first != NULL) {
        tpi_effects_held(w);
    }
    did |= drain(w);
    did |= tpi_hand_again(w);
    tpi_session_sweep(w, false);
    did |= tpi_command_told(w);
    did |= tpi_tickets_settle(w, atomic_load(&core->flush.flushed));
    did |= tpi_streams_turn(w);
    did |= tpi_session_resume(w);
    return did;
}

bool tpi_worker_empty(struct tpi_worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool none = w->first == NULL;
    pthread_mutex_unlock(&w->lock);
    return none && w->ticket_count == 0 && w->held_first == NULL && w->handed_first == NULL &&
           tpi_ring_used(&w->ring) == 0;
}

/* Work that a producer may have left while the worker was falling asleep. */
bool tpi_worker_has_work(struct tpi_worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool nodes = w->first != NULL;
    pthread_mutex_unlock(&w->lock);
    return nodes || atomic_load(&w->poked) || (!w->stalled && tpi_ring_used(&w->ring) > 0) ||
           (w->ticket_count > 0 &&
            w->tickets[w->ticket_first].sequence <= atomic_load(&w->core->flush.flushed));
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t until(uint64_t at, uint64_t now)
{
    return at > now ? at - now : 0;
}

static uint64_t rules_next_ms(const struct tpi_worker *w)
{
    int64_t at = tpi_rules_next_ms(w->core->rules, w->index);
    int64_t now = at != INT64_MAX ? tpi_unix_ms(&w->core->env) : 0;
    if (at == INT64_MAX) {
        return TPI_WHEEL_NONE;
    }
    /* The wall clock may be set meanwhile. */
    return at > now ? least((uint64_t) at - (uint64_t) now, RULES_LOOK_MS) : 0;
}

uint64_t tpi_worker_next_ms(struct tpi_worker *w)
{
    uint64_t now = tpi_mono_ms(&w->core->env);
    uint64_t next = tpi_wheel_next_ms(&w->wheel, now);
    next = least(next, tpi_presence_next_ms(&w->presence, now));
    next = least(next, rules_next_ms(w));
    next = least(next, tpi_alert_next_ms(w));
    if (w->index == 0) {
        next = least(next, tpi_loop_next_ms(w->core));
        next = least(next, tpi_core_clock_next_ms(w->core));
    }
    if (w->stalled) {
        next = least(next, until(w->retry_ms, now));
    }
    if (w->held_first != NULL) {
        next = least(next, until(w->held_retry_ms, now));
    }
    if (w->handed_first != NULL || atomic_load_explicit(&w->any_blocked, memory_order_relaxed)) {
        next = least(next, TPI_STALL_MS);
    }
    return least(next, tpi_streams_next_ms(w));
}

/* ---- threads ---- */

bool tpi_worker_nap(struct tpi_worker *w)
{
    if (w->taken < NAP_MESSAGES || w->ticket_count > 0) {
        w->taken = 0;
        return false;
    }
    w->taken = 0;
    (void) clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, NAP_NS }, NULL);
    return true;
}

void tpi_worker_drowse(struct tpi_worker *w)
{
    atomic_store_explicit(&w->unix_ms, 0, memory_order_relaxed);
    atomic_store(&w->sleeping, true);
    atomic_thread_fence(memory_order_seq_cst);
}

static void rest(struct tpi_worker *w, int stop)
{
    if (stop == TPI_STOP_NOT && tpi_worker_nap(w)) {
        return;
    }
    tpi_worker_drowse(w);
    uint64_t next = tpi_worker_has_work(w) ? 0 : tpi_worker_next_ms(w);
    if (stop != TPI_STOP_NOT) {
        /* Nobody wakes it for a drain that ends by itself, and the core's clock may stand. */
        next = least(next, TPI_STALL_MS);
        w->stalled = false;
        w->held_retry_ms = 0;
    }
    (void) tpi_loop_wait(w, next >= TPI_WHEEL_NONE ? -1 : (int) least(next, 3600000));
    atomic_store(&w->sleeping, false);
}

static void *worker_main(void *user)
{
    struct tpi_worker *w = user;
    struct tpc_core *core = w->core;
    atomic_store(&w->who, (uintptr_t) pthread_self());
    for (;;) {
        if (tpi_worker_turn(w)) {
            continue;
        }
        int stop = atomic_load(&core->stop_workers);
        if (stop == TPI_STOP_NOW || (stop == TPI_STOP_EMPTY && tpi_worker_empty(w))) {
            break;
        }
        rest(w, stop);
    }
    atomic_store_explicit(&w->unix_ms, 0, memory_order_relaxed);
    atomic_store(&w->who, 0);
    atomic_fetch_add(&core->workers_gone, 1);
    return NULL;
}

int tpi_worker_start(struct tpi_worker *w)
{
    atomic_store(&w->sleeping, false);
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
        return TPC_EAGAIN;
    }
    w->threaded = true;
    return 0;
}
