/* Adapters and sinks that come and go while the core runs. */
#include <poll.h>
#include <string.h>

#include "core/core.h"
#include "core/part.h"

enum { POLL_MS = 1 };

/* Without workers the closing thread works itself, as a step does. */
static void work_on(struct tpc_core *core)
{
    if (!core->threads && tpi_core_running(core)) {
        (void) tpc_core_step(core, 0, NULL);
    }
}

/* ---- what is still about of a part that has stopped ---- */

struct leaving {
    const struct tpi_part *part;
    uint64_t *tails; /* of the workers' rings when it had stopped */
    bool give_up;
    bool any;
};

static void nobody(void *user, int error)
{
    (void) user;
    (void) error;
}

static int take_tail(struct tpi_worker *w, void *user)
{
    struct leaving *l = user;
    l->tails[w->index] = atomic_load(&w->ring.tail);
    return 0;
}

static int look(struct tpi_worker *w, void *user)
{
    struct leaving *l = user;
    tpi_command_untell(w, l->part);
    l->any |= w->ring_made && atomic_load(&w->ring.head) < l->tails[w->index];
    for (size_t i = 0; i < w->ticket_count; i++) {
        struct tpi_ticket *t = &w->tickets[(w->ticket_first + i) & (w->ticket_cap - 1)];
        if (t->part == l->part && l->give_up) {
            t->part = NULL; /* in the log it will be; nobody is there to be told */
            t->done = nobody;
        }
        l->any |= t->part == l->part;
    }
    return 0;
}

static void ask_workers(struct tpc_core *core, int (*fn)(struct tpi_worker *, void *),
                        struct leaving *l)
{
    for (uint32_t i = 0; i < core->worker_count; i++) {
        (void) tpi_worker_call(&core->workers[i], fn, l);
    }
}

/* Waits until nothing in the workers names the part, each of which has left it by then in any case.
 * false: something does after drain_ms. */
static bool let_go(struct tpi_part *p, uint32_t drain_ms)
{
    struct tpc_core *core = p->core;
    uint32_t waited = 0;
    struct leaving l = { .part = p };
    l.tails = tpi_alloc_array(core->env.alloc, core->worker_count, sizeof(l.tails[0]));
    if (l.tails == NULL) {
        ask_workers(core, look, &l); /* they have passed here: none is inside the part */
        return false;
    }
    ask_workers(core, take_tail, &l);
    do {
        work_on(core);
        l.any = false;
        l.give_up = waited >= drain_ms;
        ask_workers(core, look, &l);
        l.any |= atomic_load(&p->joins) > 0;
        if (l.any && !l.give_up) {
            poll(NULL, 0, POLL_MS);
            waited += POLL_MS;
        }
    } while (l.any && !l.give_up);
    tpi_free(core->env.alloc, l.tails, core->worker_count * sizeof(l.tails[0]));
    return !l.any;
}

static void unlink_part(struct tpi_part *p)
{
    struct tpc_core *core = p->core;
    pthread_mutex_lock(&core->part_lock);
    _Atomic(struct tpi_part *) *at = &core->parts;
    while (*at != p) {
        at = &atomic_load(at)->next;
    }
    atomic_store(at, atomic_load(&p->next));
    if (core->parts_end == &p->next) {
        core->parts_end = at;
    }
    pthread_mutex_unlock(&core->part_lock);
    while (atomic_load(&core->part_readers) > 0) {
        poll(NULL, 0, POLL_MS);
    }
}

/* It has stopped, or never started. */
static void remove_part(struct tpi_part *p, uint32_t drain_ms)
{
    struct tpc_core *core = p->core;
    bool running = tpi_core_running(core);
    atomic_store(&p->stopped, true);
    if (running) {
        tpi_sessions_end(p);
    }
    tpi_command_leave(core, p);
    unlink_part(p);
    tpi_loop_forget(p);
    bool free_of = !running || let_go(p, drain_ms);
    if (free_of) {
        tpi_part_close(p);
        return;
    }
    tpi_part_end(p);
    atomic_store(&p->next, core->gone);
    core->gone = p;
}

/* ---- opening ---- */

int tpi_part_attach(struct tpi_part *p, struct tpc_error *err)
{
    struct tpc_core *core = p->core;
    uint32_t total = 0;
    uint32_t place = 0;
    for (struct tpi_part *o = core->parts; o != NULL; o = o->next) {
        total += tpi_part_runs(o);
        place = o->place > place ? o->place : place;
    }
    const char *service = tpi_part_lacks(core, p);
    int rc = 0;
    if (total > TPI_RUNNING_PARTS) {
        rc = tpi_error_set(err, TPC_ETOOBIG, "core", "more than %d adapters and sinks",
                           TPI_RUNNING_PARTS);
    } else if (service != NULL) {
        rc = tpi_error_set(err, TPC_ENOENT, "core", "%s needs service %s and no part offers it",
                           p->name, service);
    }
    if (rc == 0) {
        p->place = place + 1;
        rc = tpi_part_start(p);
        if (rc != 0 && err != NULL && err != tpc_error_last()) {
            *err = *tpc_error_last();
        }
    }
    if (rc == 0 && p->kind == TPC_KIND_SINK) {
        rc = tpi_forwarder_again(core);
        if (rc != 0) { /* out of memory: at the next opening, or the next start */
            tpi_log(&core->env, TPC_LOG_WARN, p->name, "its targets wait: %s", tpc_error_name(rc));
            rc = 0;
        }
    }
    if (rc != 0) {
        struct tpc_error kept = *tpc_error_last(); /* ending it may fail in its own ways */
        atomic_store(&p->closing, true);
        remove_part(p, 0);
        if (err != NULL && err == tpc_error_last()) {
            *err = kept;
        }
        return rc;
    }
    tpi_log(&core->env, TPC_LOG_INFO, "core", "opened %s", p->name);
    return 0;
}

/* ---- closing ---- */

static int close_sink(struct tpi_part *p, uint32_t drain_ms)
{
    struct tpc_core *core = p->core;
    struct tpc_error err = { .size = sizeof(err) };
    bool running = tpi_core_running(core);
    if (running) {
        tpi_forwarder_halt(core);
        (void) tpi_forwarder_drain(core, drain_ms);
    }
    if (p->started) {
        tpi_part_stop(p);
    }
    if (core->forward != NULL) {
        tpi_forward_leave(core->forward, tpc_str_from(p->name));
    }
    int rc = running ? tpi_forwarder_start(core, &err) : 0;
    remove_part(p, drain_ms);
    return rc == 0 ? 0 : tpi_fail_copy(&err);
}

int tpc_core_close(struct tpc_core *core, const char *name, uint32_t drain_ms)
{
    if (core == NULL || name == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or name is NULL");
    }
    if (atomic_load(&core->state) == TPI_CORE_STOPPING || tpi_worker_current(core) != NULL) {
        return tpi_fail(TPC_ESTATE, "core", "the core stops, or close() from a callback");
    }
    struct tpi_part *p = tpi_part_find(core, name);
    if (p == NULL) {
        return tpi_fail(TPC_ENOENT, "core", "no part %s is open", name);
    }
    if (!tpi_part_runs(p)) {
        return tpi_fail(TPC_EUNSUPPORTED, "core", "%s is no adapter and no sink: it stays open",
                        name);
    }
    const char *service;
    const struct tpi_part *user = tpi_part_needed(core, p, &service);
    if (user != NULL) {
        struct tpc_error *err = tpi_fail_begin();
        tpi_error_set(err, TPC_ESTATE, "core", "%s needs service %s of %s: close %s first",
                      user->name, service, name, user->name);
        tpi_error_at(err, user->name);
        return tpi_fail_end(TPC_ESTATE);
    }
    tpi_log(&core->env, TPC_LOG_INFO, "core", "closing %s", name);
    atomic_store(&p->closing, true);
    if (p->kind == TPC_KIND_SINK) {
        return close_sink(p, drain_ms);
    }
    if (p->started) {
        tpi_part_stop(p);
    }
    remove_part(p, drain_ms);
    return 0;
}
