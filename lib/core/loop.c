/*
 * Descriptors and timers of modules without threads. They belong to worker 0, whose functions they
 * are called on. An entry that is cleared is not running and will not be called once clearing
 * returned, except when it clears itself.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/core.h"

/* Ids of the worker's own descriptors in epoll. */
enum { ID_EVENT = 1, ID_TIMER = 2, ID_FIRST = 16, EVENTS = 32 };

struct tpi_entry {
    struct tpi_timer timer; /* of a timer */
    struct tpc_core *core;
    struct tpi_part *part;
    struct tpi_entry *next_due;
    uint64_t id;
    int fd; /* -1 = a timer */
    tpc_watch_fn *watch;
    tpc_timer_fn *fire;
    void *user;
};

int tpi_loop_init(struct tpc_core *core)
{
    struct tpi_loop *l = &core->loop;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->idle, NULL);
    tpi_map64_init(&l->entries, core->env.alloc);
    tpi_wheel_init(&l->wheel, tpi_mono_ms(&core->env));
    l->last_id = ID_FIRST;
    return 0;
}

void tpi_loop_fini(struct tpc_core *core)
{
    struct tpi_loop *l = &core->loop;
    size_t iter = 0;
    void *e;
    while (tpi_map64_next(&l->entries, &iter, NULL, &e)) {
        tpi_free(core->env.alloc, e, sizeof(struct tpi_entry));
    }
    tpi_map64_fini(&l->entries);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->idle);
}

/* Locked. Waits until the entry is not running in another thread; 0 is no entry. */
static void wait_idle(struct tpi_loop *l, uint64_t id)
{
    while (id != 0 && l->running == id && l->runner != (uintptr_t) pthread_self()) {
        pthread_cond_wait(&l->idle, &l->lock);
    }
}

static struct tpi_entry *find_watch(struct tpi_loop *l, int fd)
{
    size_t iter = 0;
    void *p;
    while (tpi_map64_next(&l->entries, &iter, NULL, &p)) {
        struct tpi_entry *e = p;
        if (e->fd == fd) {
            return e;
        }
    }
    return NULL;
}

static struct tpi_entry *add_entry(struct tpi_part *part, int fd, void *user)
{
    struct tpc_core *core = part->core;
    struct tpi_loop *l = &core->loop;
    struct tpi_entry *e = tpi_alloc_zero(core->env.alloc, sizeof(*e));
    if (e == NULL) {
        return NULL;
    }
    e->core = core;
    e->part = part;
    e->fd = fd;
    e->user = user;
    e->id = ++l->last_id;
    if (tpi_map64_put(&l->entries, e->id, e, NULL) != 0) {
        tpi_free(core->env.alloc, e, sizeof(*e));
        return NULL;
    }
    return e;
}

static void drop_entry(struct tpc_core *core, struct tpi_entry *e)
{
    struct tpi_loop *l = &core->loop;
    (void) tpi_map64_remove(&l->entries, e->id);
    if (e->fd < 0) {
        tpi_wheel_cancel(&l->wheel, &e->timer);
        for (struct tpi_entry **at = &l->due; *at != NULL; at = &(*at)->next_due) {
            if (*at == e) {
                *at = e->next_due;
                break;
            }
        }
    }
    tpi_free(core->env.alloc, e, sizeof(*e));
}

static int set_watch(struct tpc_core *core, struct tpi_entry *e, int op, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.u64 = e->id };
    if (epoll_ctl(core->workers[0].epoll, op, e->fd, &ev) != 0) {
        return tpi_error_from_errno(errno);
    }
    return 0;
}

int tpi_loop_watch(struct tpi_part *part, int fd, uint32_t events, tpc_watch_fn *fn, void *user)
{
    struct tpc_core *core = part->core;
    struct tpi_loop *l = &core->loop;
    int rc = 0;
    if (fd < 0) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&l->lock);
    struct tpi_entry *e = find_watch(l, fd);
    if (events != 0 && atomic_load(&part->stopped)) {
        rc = TPC_ESTATE; /* nothing calls it any more: see tpi_loop_forget() */
    } else if (events == 0) {
        if (e != NULL) {
            uint64_t id = e->id;
            /* The descriptor may be closed already: epoll forgot it then by itself. */
            (void) set_watch(core, e, EPOLL_CTL_DEL, 0);
            drop_entry(core, e);
            wait_idle(l, id);
        }
    } else if (e != NULL) {
        e->part = part;
        e->watch = fn;
        e->user = user;
        rc = set_watch(core, e, EPOLL_CTL_MOD, events);
        rc = rc == TPC_ENOENT ? set_watch(core, e, EPOLL_CTL_ADD, events) : rc;
    } else {
        e = add_entry(part, fd, user);
        rc = e != NULL ? set_watch(core, e, EPOLL_CTL_ADD, events) : TPC_ENOMEM;
        if (e != NULL && rc != 0) {
            drop_entry(core, e);
        } else if (e != NULL) {
            e->watch = fn;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* From the wheel, under the lock: what is due is called afterwards, without it. */
static void timer_due(void *user, uint64_t now_ms)
{
    struct tpi_entry *e = user;
    (void) now_ms;
    struct tpi_entry **at = &e->core->loop.due;
    while (*at != NULL) {
        at = &(*at)->next_due;
    }
    e->next_due = NULL;
    *at = e;
}

int tpi_loop_timer(struct tpi_part *part, uint64_t delay_ms, tpc_timer_fn *fn, void *user,
                   uint64_t *ret)
{
    struct tpc_core *core = part->core;
    struct tpi_loop *l = &core->loop;
    pthread_mutex_lock(&l->lock);
    bool stopped = atomic_load(&part->stopped);
    struct tpi_entry *e = stopped ? NULL : add_entry(part, -1, user);
    if (e != NULL) {
        e->fire = fn;
        e->timer.fn = timer_due;
        e->timer.user = e;
        tpi_wheel_add(&l->wheel, &e->timer, tpi_mono_ms(&core->env) + delay_ms);
        *ret = e->id;
    }
    pthread_mutex_unlock(&l->lock);
    if (e == NULL) {
        return stopped ? TPC_ESTATE : TPC_ENOMEM;
    }
    tpi_worker_wake(&core->workers[0]); /* it may sleep for longer than this */
    return 0;
}

void tpi_loop_clear(struct tpc_core *core, uint64_t id)
{
    struct tpi_loop *l = &core->loop;
    pthread_mutex_lock(&l->lock);
    struct tpi_entry *e = tpi_map64_get(&l->entries, id);
    if (e != NULL && e->fd < 0) {
        drop_entry(core, e);
    }
    wait_idle(l, id);
    pthread_mutex_unlock(&l->lock);
}

void tpi_loop_forget(struct tpi_part *part)
{
    struct tpc_core *core = part->core;
    struct tpi_loop *l = &core->loop;
    pthread_mutex_lock(&l->lock);
    struct tpi_entry *e;
    do {
        size_t iter = 0;
        void *p = NULL;
        e = NULL;
        while (e == NULL && tpi_map64_next(&l->entries, &iter, NULL, &p)) {
            e = ((struct tpi_entry *) p)->part == part ? p : NULL;
        }
        if (e != NULL) {
            uint64_t id = e->id;
            if (e->fd >= 0) {
                (void) set_watch(core, e, EPOLL_CTL_DEL, 0);
            }
            drop_entry(core, e);
            wait_idle(l, id);
        }
    } while (e != NULL);
    pthread_mutex_unlock(&l->lock);
}

/* Locked; marks an entry as running. */
static void enter(struct tpi_loop *l, uint64_t id)
{
    l->running = id;
    l->runner = (uintptr_t) pthread_self();
    pthread_mutex_unlock(&l->lock);
}

static void leave(struct tpi_loop *l)
{
    pthread_mutex_lock(&l->lock);
    l->running = 0;
    pthread_cond_broadcast(&l->idle);
}

bool tpi_loop_run_timers(struct tpc_core *core)
{
    struct tpi_loop *l = &core->loop;
    bool did = false;
    pthread_mutex_lock(&l->lock);
    (void) tpi_wheel_run(&l->wheel, tpi_mono_ms(&core->env));
    while (l->due != NULL) {
        struct tpi_entry *e = l->due;
        tpc_timer_fn *fire = e->fire;
        void *user = e->user;
        uint64_t id = e->id;
        drop_entry(core, e); /* once: the function may set it anew */
        enter(l, id);
        fire(user);
        leave(l);
        did = true;
    }
    pthread_mutex_unlock(&l->lock);
    return did;
}

static void run_watch(struct tpc_core *core, uint64_t id, uint32_t events)
{
    struct tpi_loop *l = &core->loop;
    pthread_mutex_lock(&l->lock);
    struct tpi_entry *e = tpi_map64_get(&l->entries, id);
    if (e != NULL && e->watch != NULL) {
        tpc_watch_fn *watch = e->watch;
        void *user = e->user;
        int fd = e->fd;
        enter(l, id);
        watch(user, fd, events);
        leave(l);
    }
    pthread_mutex_unlock(&l->lock);
}

bool tpi_loop_wait(struct tpi_worker *w, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(w->epoll, events, EVENTS, timeout_ms);
    bool did = false;
    for (int i = 0; i < n; i++) {
        uint64_t id = events[i].data.u64;
        uint64_t count;
        if (id == ID_EVENT || id == ID_TIMER) {
            /* Both are non-blocking counters: reading makes them quiet. */
            ssize_t got = read(id == ID_EVENT ? w->event : w->timer, &count, sizeof(count));
            (void) got;
        } else {
            run_watch(w->core, id, events[i].events);
            did = true;
        }
    }
    return did;
}

uint64_t tpi_loop_next_ms(struct tpc_core *core)
{
    struct tpi_loop *l = &core->loop;
    pthread_mutex_lock(&l->lock);
    uint64_t next = tpi_wheel_next_ms(&l->wheel, tpi_mono_ms(&core->env));
    pthread_mutex_unlock(&l->lock);
    return next;
}
