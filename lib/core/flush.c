/*
 * Appending and flushing the log. Appends are made by the workers and never wait for the disk; one
 * thread flushes for all of them (without threads, the end of a step does).
 */
#include <string.h>
#include <time.h>

#include "core/core.h"
#include "data/msg.h"

int tpi_flush_init(struct tpc_core *core)
{
    struct tpi_flush *f = &core->flush;
    pthread_condattr_t attr;
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->work, &attr);
    pthread_cond_init(&f->reached, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

void tpi_flush_fini(struct tpc_core *core)
{
    pthread_mutex_destroy(&core->flush.lock);
    pthread_cond_destroy(&core->flush.work);
    pthread_cond_destroy(&core->flush.reached);
}

/* A waiter's time on the system's clock: a core's own clock may stand still. */
static void wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint32_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long) (ms % 1000) * 1000000;
    t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(cond, lock, &t);
}

static void raise_to(atomic_uint_fast64_t *value, uint64_t to)
{
    uint64_t now = atomic_load_explicit(value, memory_order_relaxed);
    while (now < to && !atomic_compare_exchange_weak(value, &now, to)) {
    }
}

int tpi_log_append(struct tpi_worker *w, struct tpc_record *records, uint32_t count, uint32_t flags,
                   struct tpc_error *err)
{
    struct tpc_core *core = w->core;
    uint64_t sequence = 0;
    for (uint32_t i = 0; i < count; i++) {
        tpi_clock_stamp(&core->clock, &records[i]);
    }
    int rc = core->bus->append(core->bus_self, records, count, sizeof(records[0]), flags, err,
                               &sequence);
    if (rc != 0) {
        return rc;
    }
    w->sequence = sequence;
    for (uint32_t i = 0; i < count; i++) {
        atomic_store_explicit(&core->ends[records[i].partition], records[i].offset + 1,
                              memory_order_release);
    }
    raise_to(&core->flush.appended, sequence);
    if (atomic_load_explicit(&core->flush.threaded, memory_order_relaxed)) {
        pthread_mutex_lock(&core->flush.lock);
        pthread_cond_signal(&core->flush.work);
        pthread_mutex_unlock(&core->flush.lock);
        /* A flush by somebody else may have had them already: who heard of it looked at ends that
         * did not count them yet, and nobody flushes them again. */
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load(&core->flush.flushed) >= sequence) {
            tpi_forwarder_log(core);
        }
    }
    tpi_streams_wake(core);
    return 0;
}

int tpi_log_append_msg(struct tpi_worker *w, const struct tpc_msg *msg, uint32_t flags,
                       struct tpc_error *err, uint64_t *ret_offset)
{
    struct tpi_buf body;
    tpi_buf_init(&body, w->core->env.alloc, 0);
    int rc = tpi_msg_encode(msg, &body);
    if (rc == 0) {
        struct tpc_record r = {
            .size = sizeof(r),
            .kind = msg->kind,
            .flags = msg->flags,
            .partition = msg->partition,
            .model_revision = msg->model_revision,
            .device_id = msg->device_id,
            .unix_ms = msg->unix_ms,
            .received_unix_ms = msg->received_unix_ms,
            .trace = msg->trace,
            .body = { body.ptr, body.len },
        };
        rc = tpi_log_append(w, &r, 1, flags, err);
        if (rc == 0 && ret_offset != NULL) {
            *ret_offset = r.offset;
        }
    } else {
        tpi_error_set(err, rc, "log", "a record cannot be made");
    }
    tpi_buf_fini(&body);
    return rc;
}

/* Says once that it fails, and once that it works again. */
static void note(struct tpc_core *core, int rc, const struct tpc_error *err)
{
    struct tpi_flush *f = &core->flush;
    bool was;
    pthread_mutex_lock(&f->lock);
    was = atomic_load(&f->failing);
    atomic_store(&f->failing, rc != 0);
    if (rc != 0) {
        f->error = *err;
    }
    if (rc != 0 && f->hurried > 0) {
        pthread_cond_broadcast(&f->reached);
    }
    pthread_mutex_unlock(&f->lock);
    if (rc != 0) {
        atomic_fetch_add(&f->failures, 1);
    }
    if (rc != 0 && !was) {
        tpi_log(&core->env, TPC_LOG_ERROR, "log", "cannot be written, what is pending is kept: %s",
                err->text);
    } else if (rc == 0 && was) {
        tpi_log(&core->env, TPC_LOG_INFO, "log", "can be written again");
    }
}

/* Whoever flushed, the flusher or the pump before a commit: tickets and callers hear of it. */
static void tell_reached(struct tpc_core *core)
{
    struct tpi_flush *f = &core->flush;
    for (uint32_t i = 0; i < core->worker_count; i++) {
        tpi_worker_poke(&core->workers[i]);
    }
    pthread_mutex_lock(&f->lock);
    if (f->waiters > 0) {
        pthread_cond_broadcast(&f->reached);
    }
    pthread_mutex_unlock(&f->lock);
    tpi_pump_kick(core);
    tpi_forwarder_log(core);
}

int tpi_flush_now(struct tpc_core *core, uint32_t flags, struct tpc_error *err, bool *ret_did)
{
    struct tpi_flush *f = &core->flush;
    struct tpc_error e;
    uint64_t reached = 0;
    if (flags == 0 && atomic_load(&f->flushed) >= atomic_load(&f->appended)) {
        return 0;
    }
    memset(&e, 0, sizeof(e));
    int rc = core->bus->flush(core->bus_self, flags, &e, &reached);
    if (rc != 0 && e.code != rc) {
        tpi_error_set(&e, rc, "log", "the log cannot be flushed: %s", tpc_error_name(rc));
    }
    if (rc != 0 || atomic_load(&f->failing)) {
        note(core, rc, &e);
    }
    if (rc != 0) {
        if (err != NULL) {
            *err = e;
        }
        return rc;
    }
    if (core->bus->shrink != NULL && tpi_core_memory_high(core)) {
        core->bus->shrink(core->bus_self); /* also while the pump waits for a slow disk */
    }
    if (reached > atomic_load(&f->flushed)) {
        raise_to(&f->flushed, reached);
        if (core->threads) {
            tell_reached(core);
        }
        if (ret_did != NULL) {
            *ret_did = true;
        }
    }
    return 0;
}

int tpi_flush_wait(struct tpc_core *core, uint64_t sequence, struct tpc_error *err)
{
    struct tpi_flush *f = &core->flush;
    int rc = 0;
    if (!atomic_load(&f->threaded)) {
        rc = tpi_flush_now(core, 0, err, NULL);
        /* A log that syncs now and then has not reached it yet: this caller does not wait. */
        return rc != 0 || atomic_load(&f->flushed) >= sequence
                   ? rc
                   : tpi_flush_now(core, TPC_FLUSH_SYNC, err, NULL);
    }
    pthread_mutex_lock(&f->lock);
    f->waiters++;
    while (atomic_load(&f->flushed) < sequence && !f->stop &&
           (f->hurried == 0 || !atomic_load(&f->failing))) {
        pthread_cond_wait(&f->reached, &f->lock);
    }
    if (atomic_load(&f->flushed) < sequence) {
        rc = f->stop ? tpi_error_set(err, TPC_ESTATE, "core", "the core stops")
                     : tpi_error_set(err, f->error.code, "log", "%s", f->error.text);
    }
    f->waiters--;
    pthread_mutex_unlock(&f->lock);
    return rc;
}

void tpi_flush_hurry(struct tpc_core *core, bool on)
{
    struct tpi_flush *f = &core->flush;
    pthread_mutex_lock(&f->lock);
    f->hurried = on ? f->hurried + 1 : f->hurried - 1;
    pthread_cond_broadcast(&f->reached);
    pthread_mutex_unlock(&f->lock);
}

static void *flush_main(void *user)
{
    struct tpc_core *core = user;
    struct tpi_flush *f = &core->flush;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        if (atomic_load(&f->flushed) >= atomic_load(&f->appended)) {
            pthread_cond_wait(&f->work, &f->lock);
            continue;
        }
        pthread_mutex_unlock(&f->lock);
        bool did = false;
        int rc = tpi_flush_now(core, 0, NULL, &did);
        pthread_mutex_lock(&f->lock);
        if (rc != 0 && !f->stop) {
            wait_ms(&f->work, &f->lock, TPI_FLUSH_RETRY_MS);
        } else if (!did && !f->stop && atomic_load(&f->flushed) < atomic_load(&f->appended)) {
            wait_ms(&f->work, &f->lock, TPI_FLUSH_POLL_MS); /* its next sync is not due yet */
        }
    }
    pthread_cond_broadcast(&f->reached);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

int tpi_flush_start(struct tpc_core *core)
{
    struct tpi_flush *f = &core->flush;
    pthread_mutex_lock(&f->lock);
    f->stop = false;
    pthread_mutex_unlock(&f->lock);
    atomic_store(&f->threaded, true); /* before it waits: what is appended behind that wakes it */
    if (pthread_create(&f->thread, NULL, flush_main, core) != 0) {
        pthread_mutex_lock(&f->lock);
        f->stop = true;
        pthread_cond_broadcast(&f->reached);
        pthread_mutex_unlock(&f->lock);
        atomic_store(&f->threaded, false);
        return TPC_EAGAIN;
    }
    return 0;
}

void tpi_flush_stop(struct tpc_core *core)
{
    struct tpi_flush *f = &core->flush;
    if (!atomic_load(&f->threaded)) {
        return;
    }
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->work);
    pthread_cond_broadcast(&f->reached);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    atomic_store(&f->threaded, false);
}
