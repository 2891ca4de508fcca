/* Starting, stopping and stepping. */
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>

#include "core/clock.h"
#include "core/core.h"
#include "core/part.h"

enum { MAX_ADAPTERS = TPI_RUNNING_PARTS, POLL_MS = 2 };

/* ---- start ---- */

static int start_history(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *part = core->history_part;
    struct tpi_history_limits limits = { .open_bytes = (size_t) core->options.history_open_bytes,
                                         .checkpoint_ms = core->options.history_checkpoint_ms };
    struct tpc_bus_info info;
    size_t quarter = (size_t) (core->options.memory_limit_bytes / 4);
    if (quarter > 0 && limits.open_bytes == 0 && quarter < TPI_HISTORY_OPEN_BYTES) {
        limits.open_bytes = quarter;
    }
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    int rc = core->bus->info(core->bus_self, &info);
    if (rc != 0) {
        return tpi_error_set(err, rc, "log", "the log tells nothing of itself");
    }
    if (info.partitions > core->options.partitions) {
        return tpi_error_set(err, TPC_EINVAL, "log",
                             "the log has %u partitions, the options say %u: they may only grow",
                             (unsigned) info.partitions, (unsigned) core->options.partitions);
    }
    tpi_history_destroy(core->history);
    core->history = NULL;
    rc = tpi_history_create(&core->env, &part->ops->history, part->self, &limits,
                            core->options.partitions, err, &core->history);
    if (rc != 0) {
        return rc;
    }
    tpi_latest_attach(core);
    atomic_store(&core->flush.appended, info.appended_sequence);
    atomic_store(&core->flush.flushed, info.flushed_sequence);
    return tpi_history_start(core->history, &info.log_id, info.created_unix_ms,
                             (core->options.flags & TPC_CORE_ACCEPT_GAP) != 0, err);
}

/* A history that has marks of this log, the same one by its id, stands where the log reaches to: what
 * it lacks was trimmed once it was stored. Else one of them was restored from another time. */
static int check_reach(struct tpc_core *core, struct tpc_error *err)
{
    bool known = false;
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        known |= tpi_history_watermark(core->history, i) > 0;
    }
    for (uint32_t i = 0; known && i < core->options.partitions; i++) {
        uint64_t first = 0;
        uint64_t end = 0;
        uint64_t mark = tpi_history_watermark(core->history, i);
        if (core->bus->range(core->bus_self, i, &first, &end) == 0 && first > mark &&
            (core->options.flags & TPC_CORE_ACCEPT_GAP) == 0) {
            return tpi_error_set(err, TPC_EGAP, "history",
                                 "partition %u: the history ends at offset %llu, the log begins at "
                                 "%llu: one of them was restored from another time",
                                 (unsigned) i, (unsigned long long) mark,
                                 (unsigned long long) first);
        }
    }
    return 0;
}

/* After a loss of power the history may know offsets that the log has lost: they are not given out
 * again. */
static int raise_ends(struct tpc_core *core, struct tpc_error *err)
{
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        uint64_t known = tpi_history_max_offset(core->history, i);
        uint64_t mark = tpi_history_watermark(core->history, i);
        known = known > mark ? known : mark;
        int rc = known > 0 ? core->bus->raise_end(core->bus_self, i, known) : 0;
        if (rc != 0) {
            return tpi_error_set(err, rc, "log", "partition %u cannot go on at %llu", (unsigned) i,
                                 (unsigned long long) known);
        }
        core->pump.position[i] = mark;
    }
    return 0;
}

static int start_threads(struct tpc_core *core, struct tpc_error *err)
{
    if (!core->threads) {
        return 0;
    }
    atomic_store(&core->stop_workers, TPI_STOP_NOT);
    atomic_store(&core->workers_gone, 0);
    int rc = tpi_flush_start(core);
    rc = rc != 0 ? rc : tpi_pump_start(core);
    for (uint32_t i = 0; rc == 0 && i < core->worker_count; i++) {
        rc = tpi_worker_start(&core->workers[i]);
    }
    return rc == 0 ? 0 : tpi_error_set(err, rc, "core", "no more threads");
}

int tpi_part_start(struct tpi_part *p)
{
    struct tpc_error *last = tpi_fail_begin();
    atomic_store(&p->stopped, false);
    p->started = true;
    int rc =
        p->kind == TPC_KIND_SINK ? p->ops->sink.start(p->self) : p->ops->adapter.start(p->self);
    atomic_store(&p->ready, rc == 0);
    if (rc != 0) {
        p->started = false;
        if (last->code != rc) {
            tpi_error_set(last, rc, p->name, "%s does not start: %s", p->name, tpc_error_name(rc));
        }
        tpi_error_at(last, p->name);
    }
    return rc;
}

void tpi_part_stop(struct tpi_part *p)
{
    tpi_flush_hurry(p->core, true);
    if (p->kind == TPC_KIND_SINK) {
        p->ops->sink.stop(p->self);
    } else {
        p->ops->adapter.stop(p->self);
    }
    tpi_flush_hurry(p->core, false);
    atomic_store(&p->stopped, true);
    atomic_store(&p->ready, false);
    p->started = false;
    tpi_command_leave(p->core, p); /* those that are open go on after the next start */
}

static int start_adapters(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *order[MAX_ADAPTERS];
    uint32_t count = 0;
    uint32_t total = 0;
    for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        total += tpi_part_runs(p);
    }
    if (total > MAX_ADAPTERS) {
        return tpi_error_set(err, TPC_ETOOBIG, "core", "more than %d adapters and sinks",
                             MAX_ADAPTERS);
    }
    int rc = tpi_part_order(core, err, order, &count);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = tpi_part_start(order[i]);
    }
    return rc;
}

static void stop_adapters(struct tpc_core *core)
{
    for (;;) {
        struct tpi_part *last = NULL;
        for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
            if (p->started && (last == NULL || p->place > last->place)) {
                last = p;
            }
        }
        if (last == NULL) {
            return;
        }
        tpi_part_stop(last);
    }
}

/* Waits for the workers: first until they are empty, for at most drain_ms. */
static bool stop_threads(struct tpc_core *core, uint32_t drain_ms)
{
    bool drained = true;
    uint32_t waited = 0;
    uint32_t running = 0;
    for (uint32_t i = 0; i < core->worker_count; i++) {
        running += core->workers[i].threaded;
    }
    atomic_store(&core->stop_workers, TPI_STOP_EMPTY);
    for (uint32_t i = 0; i < core->worker_count; i++) {
        tpi_worker_wake(&core->workers[i]);
    }
    while (atomic_load(&core->workers_gone) < running && waited < drain_ms) {
        poll(NULL, 0, POLL_MS);
        waited += POLL_MS;
    }
    drained = atomic_load(&core->workers_gone) == running;
    atomic_store(&core->stop_workers, TPI_STOP_NOW);
    for (uint32_t i = 0; i < core->worker_count; i++) {
        struct tpi_worker *w = &core->workers[i];
        if (w->threaded) {
            tpi_worker_wake(w);
            pthread_join(w->thread, NULL);
            w->threaded = false;
            atomic_store(&w->sleeping, true);
        }
    }
    tpi_flush_stop(core);
    tpi_pump_stop(core);
    return drained;
}

/* After the threads are gone: what they left (sessions that closed late) is done here. */
static void finish_here(struct tpc_core *core)
{
    bool did = true;
    while (did) { /* what one hands to another, too */
        did = false;
        for (uint32_t i = 0; i < core->worker_count; i++) {
            struct tpi_worker *w = &core->workers[i];
            atomic_store(&w->who, (uintptr_t) pthread_self());
            while (tpi_worker_turn(w)) {
                did = true;
            }
            atomic_store(&w->who, 0);
        }
    }
}

/* Calls of the program that came before the state changed. What they posted is done here. */
static void wait_for_callers(struct tpc_core *core)
{
    while (atomic_load(&core->inside) > 0) {
        finish_here(core);
        if (!core->threads) {
            pthread_mutex_unlock(&core->step_lock);
        }
        poll(NULL, 0, POLL_MS);
        if (!core->threads) {
            pthread_mutex_lock(&core->step_lock);
        }
    }
}

/* Back to where it was before the start. */
static void unwind(struct tpc_core *core)
{
    atomic_store(&core->state, TPI_CORE_STOPPING);
    tpi_forwarder_halt(core);
    stop_adapters(core);
    tpi_forwarder_finish(core);
    (void) stop_threads(core, 0);
    if (!core->threads) {
        pthread_mutex_lock(&core->step_lock);
    }
    wait_for_callers(core);
    if (!core->threads) {
        pthread_mutex_unlock(&core->step_lock);
    }
    tpi_latest_forget_missing(core);
    tpi_pump_close(core);
    for (uint32_t i = 0; i < core->worker_count; i++) {
        tpi_worker_release(&core->workers[i]);
    }
    atomic_store(&core->state, TPI_CORE_IDLE);
}

static int start(struct tpc_core *core, struct tpc_error *err)
{
    int rc = tpi_part_log(core, err);
    rc = rc != 0 ? rc : tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_why_load(core);
    rc = rc != 0 ? rc : tpi_alert_load(core, err);
    rc = rc != 0 ? rc : tpi_part_history(core, err);
    rc = rc != 0 ? rc : start_history(core, err);
    rc = rc != 0 ? rc : check_reach(core, err);
    rc = rc != 0 ? rc : raise_ends(core, err);
    rc = rc != 0 ? rc : tpi_pump_open(core, err);
    for (uint32_t i = 0; rc == 0 && i < core->worker_count; i++) {
        rc = tpi_worker_prepare(&core->workers[i], err);
    }
    rc = rc != 0 ? rc : tpi_core_clock_begin(core, err);
    rc = rc != 0 ? rc : tpi_replay(core, err);
    rc = rc != 0 ? rc : tpi_forwarder_open(core, err);
    if (rc != 0) {
        return rc;
    }
    tpi_core_place(core);
    tpi_core_properties(core);
    tpi_streams_start(core);
    atomic_store(&core->state, TPI_CORE_RUNNING);
    rc = start_threads(core, err);
    rc = rc != 0 ? rc : start_adapters(core, err);
    return rc != 0 ? rc : tpi_forwarder_start(core, err);
}

int tpc_core_start(struct tpc_core *core)
{
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core is NULL");
    }
    if (atomic_load(&core->state) != TPI_CORE_IDLE) {
        return tpi_fail(TPC_ESTATE, "core", "the core is started");
    }
    if ((core->options.flags & TPC_CORE_OBSERVE) != 0) {
        return tpi_fail(TPC_ESTATE, "core", "a core with TPC_CORE_OBSERVE is not started");
    }
    struct tpc_error err = { .size = sizeof(err) };
    (void) tpi_fail_begin();
    int rc = start(core, &err);
    if (rc != 0) {
        if (err.code == rc) {
            (void) tpi_fail_copy(&err);
        }
        rc = tpi_fail_end(rc);
        err = *tpc_error_last(); /* unwinding may fail in its own ways */
        unwind(core);
        return tpi_fail_copy(&err);
    }
    core->was_started = true;
    tpi_log(&core->env, TPC_LOG_INFO, "core", "started: %u workers, %u partitions, log %s",
            core->threads ? core->worker_count : 0, (unsigned) core->options.partitions,
            core->log_part->module->desc.name);
    return 0;
}

/* ---- stepping ---- */

static bool step_once(struct tpc_core *core, int *ret_rc)
{
    struct tpi_worker *w = &core->workers[0];
    bool did = tpi_worker_turn(w);
    bool flushed = false;
    int rc = *ret_rc == 0 ? tpi_flush_now(core, 0, NULL, &flushed) : 0;
    *ret_rc = rc != 0 ? rc : *ret_rc;
    return did || flushed;
}

static uint64_t next_ms(struct tpc_core *core)
{
    uint64_t next = tpi_worker_next_ms(&core->workers[0]);
    uint64_t pump = tpi_pump_next_ms(core);
    uint64_t forward = tpi_forward_next_ms(core->forward);
    next = pump < next ? pump : next;
    next = forward < next ? forward : next;
    if (atomic_load(&core->flush.flushed) < atomic_load(&core->flush.appended) &&
        next > TPI_FLUSH_RETRY_MS) {
        next = TPI_FLUSH_RETRY_MS;
    }
    return next < TPI_WHEEL_NONE ? next : TPI_WHEEL_NONE;
}

/* All that is ready, to the end. */
static int work(struct tpc_core *core)
{
    int rc = 0;
    bool did;
    do {
        did = false;
        while (step_once(core, &rc)) {
            did = true;
        }
        did |= tpi_pump_turn(core);
        did |= tpi_forward_turn(core->forward);
    } while (did);
    return rc;
}

static void arm_timer(struct tpi_worker *w, uint64_t next)
{
    struct itimerspec t;
    memset(&t, 0, sizeof(t));
    if (next < TPI_WHEEL_NONE) {
        t.it_value.tv_sec = (time_t) (next / 1000);
        t.it_value.tv_nsec = (long) (next % 1000) * 1000000;
        if (next == 0) {
            t.it_value.tv_nsec = 1; /* all zero would switch it off */
        }
    }
    (void) timerfd_settime(w->timer, 0, &t, NULL);
}

/* With step_lock. What comes from now on makes the descriptor readable. Returns when to step. */
static uint64_t rest(struct tpc_core *core, uint64_t next)
{
    struct tpi_worker *w = &core->workers[0];
    atomic_store_explicit(&w->unix_ms, 0, memory_order_relaxed);
    atomic_store(&w->who, 0);
    arm_timer(w, next);
    atomic_store(&w->sleeping, true);
    atomic_thread_fence(memory_order_seq_cst);
    if (!tpi_worker_has_work(w)) {
        return next;
    }
    tpi_worker_wake(w);
    return 0;
}

int tpc_core_step(struct tpc_core *core, uint32_t max_wait_ms, uint32_t *ret_next_ms)
{
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core is NULL");
    }
    if (core->threads || !tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "core",
                        core->threads ? "workers do the work" : "the core is not started");
    }
    struct tpi_worker *w = &core->workers[0];
    if (tpi_worker_current(core) != NULL) {
        return tpi_fail(TPC_ESTATE, "core", "step() from a callback");
    }
    pthread_mutex_lock(&core->step_lock);
    atomic_store(&w->who, (uintptr_t) pthread_self());
    atomic_store(&w->sleeping, false);
    bool events = tpi_loop_wait(w, 0);
    uint64_t before = atomic_load(&core->flush.appended);
    int rc = work(core);
    if (!events && max_wait_ms > 0 && rc == 0 && before == atomic_load(&core->flush.appended)) {
        uint64_t next = next_ms(core);
        uint64_t wait = next < max_wait_ms ? next : max_wait_ms;
        arm_timer(w, TPI_WHEEL_NONE);
        atomic_store_explicit(&w->unix_ms, 0, memory_order_relaxed);
        atomic_store(&w->sleeping, true);
        atomic_thread_fence(memory_order_seq_cst);
        bool ready = tpi_worker_has_work(w);
        (void) tpi_loop_wait(w, ready ? 0 : (int) (wait < INT32_MAX ? wait : INT32_MAX));
        atomic_store(&w->sleeping, false);
        rc = work(core);
    }
    uint64_t next = rest(core, next_ms(core));
    struct tpc_error err = core->flush.error;
    pthread_mutex_unlock(&core->step_lock);
    if (ret_next_ms != NULL) {
        *ret_next_ms = (uint32_t) next;
    }
    return rc == 0 ? 0 : tpi_fail(rc, "log", "%s", err.code == rc ? err.text : tpc_error_name(rc));
}

/* ---- stop ---- */

/* Without threads: works until nothing is left, or only time would help. */
static bool drain_here(struct tpc_core *core, uint32_t drain_ms)
{
    struct tpi_worker *w = &core->workers[0];
    uint32_t waited = 0;
    atomic_store(&w->who, (uintptr_t) pthread_self());
    for (;;) {
        w->stalled = false; /* time passes here, whatever the core's clock says */
        w->held_retry_ms = 0;
        (void) work(core);
        if (tpi_worker_empty(w) || waited >= drain_ms) {
            break;
        }
        poll(NULL, 0, POLL_MS);
        waited += POLL_MS;
    }
    atomic_store(&w->who, 0);
    return tpi_worker_empty(w);
}

int tpc_core_stop(struct tpc_core *core, uint32_t drain_ms)
{
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core is NULL");
    }
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "core", "the core is not started");
    }
    if (tpi_worker_current(core) != NULL) {
        return tpi_fail(TPC_ESTATE, "core", "stop() from a callback");
    }
    atomic_store(&core->state, TPI_CORE_STOPPING);
    tpi_forwarder_halt(core);
    drain_ms = tpi_forwarder_drain(core, drain_ms);
    stop_adapters(core);
    tpi_forwarder_finish(core);
    if (!core->threads) {
        pthread_mutex_lock(
            &core->step_lock); /* calls of other threads take the worker's role, too */
    }
    bool drained = core->threads ? stop_threads(core, drain_ms) : drain_here(core, drain_ms);
    if (core->threads) {
        finish_here(core);
    }
    wait_for_callers(core);
    drained &= tpi_flush_now(core, TPC_FLUSH_SYNC, NULL, NULL) == 0;
    finish_here(core); /* tickets that the last flush made due */
    drained &= tpi_pump_finish(core) == 0;
    tpi_pump_close(core);
    for (uint32_t i = 0; i < core->worker_count; i++) {
        atomic_store(&core->workers[i].who, (uintptr_t) pthread_self());
        tpi_worker_release(&core->workers[i]);
        atomic_store(&core->workers[i].who, 0);
    }
    if (!core->threads) {
        pthread_mutex_unlock(&core->step_lock);
    }
    atomic_store(&core->state, TPI_CORE_IDLE);
    tpi_log(&core->env, TPC_LOG_INFO, "core", "stopped%s", drained ? "" : ", not drained");
    return drained ? 0 : tpi_fail(TPC_ETIMEOUT, "core", "stopped before all was worked on");
}
