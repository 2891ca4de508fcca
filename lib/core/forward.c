/* Targets in a core: the thread that turns them, and what the stage asks of the core. */
#include <poll.h>
#include <tpcore/forward.h>

#include "core/clock.h"
#include "core/core.h"
#include "core/part.h"

enum { IDLE_MS = 60000, POLL_MS = 2 };

/* ---- what the stage asks ---- */

static bool find_sink(void *user, struct tpc_str name, const struct tpc_sink_ops **ret_ops,
                      void **ret_self)
{
    struct tpc_core *core = user;
    bool found = false;
    for (struct tpi_part *p = tpi_parts_enter(core); p != NULL && !found; p = p->next) {
        found = p->kind == TPC_KIND_SINK && !atomic_load(&p->closing) &&
                tpc_str_equal(tpc_str_from(p->name), name);
        if (found) {
            *ret_ops = &p->ops->sink;
            *ret_self = p->self;
        }
    }
    tpi_parts_leave(core);
    return found;
}

static const struct tpc_bus_ops *get_bus(void *user, void **ret_self)
{
    struct tpc_core *core = user;
    *ret_self = core->bus_self;
    return core->bus;
}

static uint64_t get_end(void *user, uint32_t partition)
{
    struct tpc_core *core = user;
    return atomic_load_explicit(&core->ends[partition], memory_order_acquire);
}

struct letter {
    const struct tpc_msg *msg;
    struct tpc_error *err;
};

static int append_letter(struct tpi_worker *w, void *user)
{
    const struct letter *l = user;
    return tpi_log_append_msg(w, l->msg, 0, l->err, NULL);
}

static int append_dead(void *user, const struct tpc_msg *letter, struct tpc_error *err)
{
    struct letter l = { letter, err };
    return tpi_worker_call(tpi_worker_of(user, letter->partition), append_letter, &l);
}

static const struct tpc_error *begin_fail(void *user)
{
    (void) user;
    return tpi_fail_begin();
}

static void wake(void *user)
{
    struct tpc_core *core = user;
    if (core->threads) {
        tpi_forwarder_kick(core);
    } else {
        tpi_worker_poke(&core->workers[0]);
    }
}

int tpi_core_forward(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_forward_host host = { .user = core,
                                     .registry = core->registry,
                                     .partitions = core->options.partitions,
                                     .clock = &core->clock,
                                     .script_place = core->worker_count,
                                     .sink = find_sink,
                                     .bus = get_bus,
                                     .end = get_end,
                                     .dead = append_dead,
                                     .fail = begin_fail,
                                     .wake = wake };
    return tpi_forward_create(&core->env, &host, err, &core->forward);
}

/* ---- its thread ---- */

int tpi_forwarder_init(struct tpc_core *core)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&core->forwarder.lock, NULL);
    pthread_cond_init(&core->forwarder.work, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

void tpi_forwarder_fini(struct tpc_core *core)
{
    pthread_mutex_destroy(&core->forwarder.lock);
    pthread_cond_destroy(&core->forwarder.work);
}

void tpi_forwarder_kick(struct tpc_core *core)
{
    struct tpi_forwarder *w = &core->forwarder;
    if (!atomic_load_explicit(&w->threaded, memory_order_relaxed)) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->kicked = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
}

void tpi_forwarder_log(struct tpc_core *core)
{
    if (atomic_load_explicit(&core->forwarder.threaded, memory_order_relaxed) &&
        TPI_METRIC_GET(tpi_forward_count(core->forward)->targets) > 0) {
        tpi_forwarder_kick(core);
    }
}

static void *forwarder_main(void *user)
{
    struct tpc_core *core = user;
    struct tpi_forwarder *w = &core->forwarder;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        w->kicked = false;
        pthread_mutex_unlock(&w->lock);
        bool did = tpi_forward_turn(core->forward);
        uint64_t next = did ? 0 : tpi_forward_next_ms(core->forward);
        uint64_t held = tpi_core_clock_held_ms(core);
        next = held < next ? held : next;
        pthread_mutex_lock(&w->lock);
        if (!did && !w->kicked && !w->stop && next > 0) {
            struct timespec t;
            tpi_deadline(&t, next < IDLE_MS ? next : IDLE_MS);
            pthread_cond_timedwait(&w->work, &w->lock, &t);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* A target that was loaded before its sink was open is loaded again, with its secrets. */
static int load_again(void *user, const char *kind, struct tpc_str tenant, struct tpc_str key)
{
    struct tpc_core *core = user;
    struct tpc_error err = { .size = sizeof(err) };
    int rc = tpi_entities_reload(core->entities, tenant, kind, key, &err);
    if (rc != 0 && rc != TPC_ENOMEM) {
        tpi_log(&core->env, TPC_LOG_WARN, "forward", "%s \"%.*s\" cannot be loaded again: %s", kind,
                (int) key.len, key.ptr, err.text);
        rc = 0;
    }
    return rc;
}

int tpi_forwarder_again(struct tpc_core *core)
{
    return core->forward != NULL ? tpi_forward_stale(core->forward, load_again, core) : 0;
}

int tpi_forwarder_open(struct tpc_core *core, struct tpc_error *err)
{
    int rc = tpi_forward_stale(core->forward, load_again, core);
    if (rc != 0) {
        return tpi_error_set(err, rc, "forward", "out of memory");
    }
    return tpi_forward_open(core->forward, err);
}

int tpi_forwarder_start(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_forwarder *w = &core->forwarder;
    tpi_forward_start(core->forward);
    if (!core->threads) {
        return 0;
    }
    w->stop = false;
    atomic_store(&w->threaded, true); /* before its first turn: what comes behind that wakes it */
    if (pthread_create(&w->thread, NULL, forwarder_main, core) != 0) {
        atomic_store(&w->threaded, false);
        return tpi_error_set(err, TPC_EAGAIN, "core", "no more threads");
    }
    return 0;
}

void tpi_forwarder_halt(struct tpc_core *core)
{
    struct tpi_forwarder *w = &core->forwarder;
    if (core->forward == NULL) {
        return;
    }
    if (atomic_load(&w->threaded)) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->work);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        atomic_store(&w->threaded, false);
    }
    if (!core->threads) {
        pthread_mutex_lock(&core->step_lock); /* a step that is under way ends first */
    }
    tpi_forward_halt(core->forward);
    if (!core->threads) {
        pthread_mutex_unlock(&core->step_lock);
    }
}

/* An answer that comes now is a batch that does not come twice. Without threads nobody brings one. */
uint32_t tpi_forwarder_drain(struct tpc_core *core, uint32_t drain_ms)
{
    uint32_t waited = 0;
    while (core->forward != NULL && core->threads && waited < drain_ms / 2 &&
           tpi_forward_in_flight(core->forward)) {
        poll(NULL, 0, POLL_MS);
        waited += POLL_MS;
    }
    return drain_ms > waited ? drain_ms - waited : 0;
}

void tpi_forwarder_finish(struct tpc_core *core)
{
    if (core->forward != NULL) {
        tpi_forward_finish(core->forward);
    }
}

/* ---- the program's ---- */

int tpc_forward_info(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                     struct tpc_str key, tpc_forward_info_fn *fn, void *user)
{
    if (core == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "forward", "core or fn is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    rc = core->forward != NULL ? tpi_forward_info(core->forward, tenant, kind, key, fn, user) : 0;
    return rc == TPC_ENOENT ? tpi_fail(rc, "forward", "no target \"%.*s\"", (int) key.len, key.ptr)
                            : rc;
}
