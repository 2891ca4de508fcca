#include "inside.h"

#include <signal.h>
#include <string.h>
#include <tpcore/error.h>

#include "base/alloc.h"

enum { TICK_MAX_MS = 1000 };

uint64_t net_loop_now_ms(const struct net_loop *l)
{
    return l->clock->mono_ns(l->clock->user) / 1000000;
}

/* ---- jobs ---- */

static void run_jobs(struct net_loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct net_job *job = l->first;
    l->first = l->last = NULL;
    pthread_mutex_unlock(&l->lock);
    while (job != NULL) {
        struct net_job *next = job->next;
        job->fn(job->user);
        job = next;
    }
}

static void on_wake(uv_async_t *handle)
{
    run_jobs(handle->data);
}

static bool post(struct net_loop *l, struct net_job *job)
{
    bool first = l->first == NULL;
    if (!l->running || l->ending) {
        return false;
    }
    job->next = NULL;
    *(first ? &l->first : &l->last->next) = job;
    l->last = job;
    if (first) {
        (void) uv_async_send(&l->wake);
    }
    return true;
}

bool net_loop_post(struct net_loop *l, struct net_job *job)
{
    pthread_mutex_lock(&l->lock);
    bool good = post(l, job);
    pthread_mutex_unlock(&l->lock);
    return good;
}

struct call {
    struct net_job job;
    struct net_loop *loop;
    net_job_fn *fn;
    void *user;
    bool done;
};

static void run_call(void *user)
{
    struct call *c = user;
    struct net_loop *l = c->loop;
    c->fn(c->user);
    pthread_mutex_lock(&l->lock);
    c->done = true;
    pthread_cond_broadcast(&l->done);
    pthread_mutex_unlock(&l->lock);
}

bool net_loop_call(struct net_loop *l, net_job_fn *fn, void *user)
{
    struct call c = { .job = { run_call, NULL, NULL }, .loop = l, .fn = fn, .user = user };
    c.job.user = &c;
    pthread_mutex_lock(&l->lock);
    bool good = post(l, &c.job);
    while (good && !c.done) {
        pthread_cond_wait(&l->done, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return good;
}

/* ---- time ---- */

static void run_wheel(struct net_loop *l)
{
    (void) tpi_wheel_run(&l->wheel, net_loop_now_ms(l));
}

static void on_tick(uv_timer_t *handle)
{
    struct net_loop *l = handle->data;
    l->tick_at_ms = 0;
    run_wheel(l);
}

/* Sets the tick for what is due next, unless it comes before that. */
static void set_tick(struct net_loop *l)
{
    if (tpi_wheel_count(&l->wheel) == 0) {
        return;
    }
    uint64_t now = net_loop_now_ms(l);
    uint64_t next = tpi_wheel_next_ms(&l->wheel, now);
    next = next < TICK_MAX_MS ? next : TICK_MAX_MS;
    if (l->tick_at_ms == 0 || now + next < l->tick_at_ms) {
        l->tick_at_ms = now + next > 0 ? now + next : 1;
        (void) uv_timer_start(&l->tick, on_tick, next, 0);
    }
}

void net_loop_timer(struct net_loop *l, struct tpi_timer *t, uint64_t after_ms)
{
    tpi_wheel_add(&l->wheel, t, net_loop_now_ms(l) + after_ms);
}

void net_loop_timer_end(struct net_loop *l, struct tpi_timer *t)
{
    tpi_wheel_cancel(&l->wheel, t);
}

/* ---- what leaves ---- */

void net_flush_later(struct net_loop *l, struct net_flush *f)
{
    if (!f->queued) {
        f->queued = true;
        f->prev = NULL;
        f->next = l->flush_first;
        if (f->next != NULL) {
            f->next->prev = f;
        }
        l->flush_first = f;
    }
}

void net_flush_drop(struct net_loop *l, struct net_flush *f)
{
    if (f->queued) {
        f->queued = false;
        *(f->prev != NULL ? &f->prev->next : &l->flush_first) = f->next;
        if (f->next != NULL) {
            f->next->prev = f->prev;
        }
    }
}

static void on_before_wait(uv_prepare_t *handle)
{
    struct net_loop *l = handle->data;
    while (l->flush_first != NULL) {
        struct net_flush *f = l->flush_first;
        net_flush_drop(l, f);
        f->fn(f);
    }
    set_tick(l);
}

/* ---- the thread ---- */

static void end_loop(void *user)
{
    struct net_loop *l = user;
    on_before_wait(&l->before_wait); /* what was written last */
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_mutex_unlock(&l->lock);
    run_jobs(l);
    uv_close((uv_handle_t *) &l->wake, NULL);
    uv_close((uv_handle_t *) &l->before_wait, NULL);
    uv_close((uv_handle_t *) &l->tick, NULL);
}

static void *run_loop(void *user)
{
    struct net_loop *l = user;
    (void) uv_run(&l->uv, UV_RUN_DEFAULT);
    return NULL;
}

static int set_up(struct net_loop *l)
{
    int rc = uv_loop_init(&l->uv);
    if (rc != 0) {
        return rc == UV_ENOMEM ? TPC_ENOMEM : TPC_EIO;
    }
    rc = uv_async_init(&l->uv, &l->wake, on_wake);
    if (rc != 0) {
        (void) uv_loop_close(&l->uv);
        return TPC_EIO;
    }
    (void) uv_prepare_init(&l->uv, &l->before_wait);
    (void) uv_timer_init(&l->uv, &l->tick);
    l->wake.data = l->before_wait.data = l->tick.data = l;
    (void) uv_prepare_start(&l->before_wait, on_before_wait);
    tpi_wheel_init(&l->wheel, net_loop_now_ms(l));
    l->tick_at_ms = 0;
    l->flush_first = NULL;
    l->first = l->last = NULL;
    l->ending = false;
    return 0;
}

int net_loop_start(struct net_loop *l)
{
    sigset_t all, before;
    if (l->running) {
        return 0;
    }
    int rc = set_up(l);
    if (rc != 0) {
        return rc;
    }
    /* Signals are the program's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&l->lock);
    l->running = true;
    rc = pthread_create(&l->thread, NULL, run_loop, l);
    l->running = rc == 0;
    pthread_mutex_unlock(&l->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        uv_close((uv_handle_t *) &l->wake, NULL);
        uv_close((uv_handle_t *) &l->before_wait, NULL);
        uv_close((uv_handle_t *) &l->tick, NULL);
        (void) uv_run(&l->uv, UV_RUN_DEFAULT);
        (void) uv_loop_close(&l->uv);
        return TPC_EIO;
    }
    return 0;
}

void net_loop_stop(struct net_loop *l)
{
    struct net_job job = { end_loop, l, NULL };
    if (!net_loop_post(l, &job)) {
        return;
    }
    pthread_join(l->thread, NULL);
    pthread_mutex_lock(&l->lock);
    l->running = false;
    pthread_mutex_unlock(&l->lock);
    (void) uv_loop_close(&l->uv);
}

int net_loop_create(const struct tpc_allocator *alloc, const struct tpc_clock *clock,
                    struct net_loop **ret)
{
    struct net_loop *l = tpi_alloc_zero(alloc, sizeof(*l));
    if (l == NULL) {
        return TPC_ENOMEM;
    }
    l->alloc = alloc;
    l->clock = clock;
    l->read_buf = tpi_alloc(alloc, NET_READ_BYTES);
    l->open_buf = tpi_alloc(alloc, NET_READ_BYTES);
    l->made = pthread_mutex_init(&l->lock, NULL) == 0;
    if (l->made && pthread_cond_init(&l->done, NULL) != 0) {
        pthread_mutex_destroy(&l->lock);
        l->made = false;
    }
    if (!l->made || l->read_buf == NULL || l->open_buf == NULL) {
        (void) net_loop_destroy(l);
        return TPC_ENOMEM;
    }
    *ret = l;
    return 0;
}

struct net_loop *net_loop_destroy(struct net_loop *l)
{
    if (l == NULL) {
        return NULL;
    }
    if (l->made) {
        pthread_cond_destroy(&l->done);
        pthread_mutex_destroy(&l->lock);
    }
    tpi_free(l->alloc, l->read_buf, NET_READ_BYTES);
    tpi_free(l->alloc, l->open_buf, NET_READ_BYTES);
    tpi_free(l->alloc, l, sizeof(*l));
    return NULL;
}
