#include "xfer.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

enum { IDLE_MAX = 16, POLL_MS = 60000 };

/* A peer with transfers. */
struct xfer_peer {
    struct xfer_peer *next;
    struct xfer *first, *last; /* that wait */
    uint32_t running;
    char name[];
};

struct xfer_loop {
    const struct tpc_allocator *alloc;
    struct xfer_limits limits;
    CURLM *multi;
    pthread_t thread;
    CURL *idle[IDLE_MAX]; /* handles to use again; the thread's */
    uint32_t idle_count;

    /* Under lock; the peers' lists, too. */
    pthread_mutex_t lock;
    struct xfer *all;
    struct xfer_peer *peers; /* who had a turn goes to the end */
    uint64_t next_id;
    uint32_t running, waiting, to_cancel;
    uint64_t next_ms; /* when the first of those that wait for their time may run, 0 = none */
    bool started, stopping;
};

/* ---- lists, under the lock ---- */

static struct xfer_peer *find_peer(struct xfer_loop *l, const char *name)
{
    struct xfer_peer *p = l->peers;
    while (p != NULL && strcmp(p->name, name) != 0) {
        p = p->next;
    }
    return p;
}

static struct xfer_peer *add_peer(struct xfer_loop *l, const char *name)
{
    size_t len = strlen(name) + 1;
    struct xfer_peer *p = l->alloc->resize(l->alloc->user, NULL, 0, sizeof(*p) + len);
    if (p != NULL) {
        *p = (struct xfer_peer){ .next = l->peers };
        memcpy(p->name, name, len);
        l->peers = p;
    }
    return p;
}

static void unlink_peer(struct xfer_loop *l, const struct xfer_peer *p)
{
    struct xfer_peer **at = &l->peers;
    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
}

static void drop_peer(struct xfer_loop *l, struct xfer_peer *p)
{
    if (p->running == 0 && p->first == NULL) {
        unlink_peer(l, p);
        l->alloc->resize(l->alloc->user, p, sizeof(*p) + strlen(p->name) + 1, 0);
    }
}

/* Takes a transfer that waits out of its peer's queue. */
static void unqueue(struct xfer_loop *l, struct xfer *x)
{
    struct xfer_peer *p = x->peer;
    struct xfer *before = NULL;
    for (struct xfer *w = p->first; w != x; w = w->after) {
        before = w;
    }
    if (before == NULL) {
        p->first = x->after;
    } else {
        before->after = x->after;
    }
    if (p->last == x) {
        p->last = before;
    }
    x->after = NULL;
    l->waiting--;
}

/* The transfer leaves the loop: only its done() is left. */
static void forget(struct xfer_loop *l, struct xfer *x)
{
    if (x->prev != NULL) {
        x->prev->next = x->next;
    } else {
        l->all = x->next;
    }
    if (x->next != NULL) {
        x->next->prev = x->prev;
    }
    l->to_cancel -= x->canceled;
    drop_peer(l, x->peer);
    x->peer = NULL;
}

/* The system's, as libcurl's own time-outs. */
static uint64_t mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* The peer's first transfer whose time has come. */
static struct xfer *first_due(struct xfer_loop *l, const struct xfer_peer *p, uint64_t now_ms)
{
    struct xfer *x = p->first;
    while (x != NULL && x->at_ms > now_ms) {
        l->next_ms = l->next_ms == 0 || x->at_ms < l->next_ms ? x->at_ms : l->next_ms;
        x = x->after;
    }
    return x;
}

/* The next transfer that may begin, counted as running; peers take turns. */
static struct xfer *next_to_run(struct xfer_loop *l, uint64_t now_ms)
{
    l->next_ms = 0;
    if (l->running >= l->limits.total) {
        return NULL;
    }
    for (struct xfer_peer *p = l->peers; p != NULL; p = p->next) {
        struct xfer *x = p->running < l->limits.per_peer ? first_due(l, p, now_ms) : NULL;
        if (x == NULL) {
            continue;
        }
        unqueue(l, x);
        p->running++;
        l->running++;
        unlink_peer(l, p);
        struct xfer_peer **end = &l->peers;
        while (*end != NULL) {
            end = &(*end)->next;
        }
        p->next = NULL;
        *end = p;
        return x;
    }
    return NULL;
}

/* ---- the thread ---- */

static CURL *take_handle(struct xfer_loop *l)
{
    return l->idle_count > 0 ? l->idle[--l->idle_count] : curl_easy_init();
}

static void give_handle(struct xfer_loop *l, CURL *easy)
{
    if (l->idle_count < IDLE_MAX) {
        curl_easy_reset(easy);
        l->idle[l->idle_count++] = easy;
    } else {
        curl_easy_cleanup(easy);
    }
}

/* At the end of its peer's queue. */
static void enqueue(struct xfer_loop *l, struct xfer *x)
{
    struct xfer_peer *p = x->peer;
    x->after = NULL;
    if (p->last == NULL) {
        p->first = x;
    } else {
        p->last->after = x;
    }
    p->last = x;
    l->waiting++;
}

/* Ends one that runs, or puts it off. */
static void finish(struct xfer_loop *l, struct xfer *x, const struct tpc_error *err)
{
    CURL *easy = x->easy;
    if (easy != NULL) {
        curl_multi_remove_handle(l->multi, easy);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL); /* lies in x, which done() frees */
    }
    uint64_t delay_ms = 0;
    bool ended = err != NULL && err->code == TPC_ECANCELED;
    bool again = easy != NULL && !ended && x->again != NULL && x->again(x, easy, err, &delay_ms);
    pthread_mutex_lock(&l->lock);
    x->peer->running--;
    l->running--;
    if (again) {
        x->easy = NULL;
        x->at_ms = mono_ms() + delay_ms;
        x->text[0] = '\0';
        enqueue(l, x);
    } else {
        forget(l, x);
    }
    pthread_mutex_unlock(&l->lock);
    if (!again) {
        x->done(x, easy, err);
    }
    if (easy != NULL) {
        give_handle(l, easy);
    }
}

/* Begins one that is counted as running. */
static void begin(struct xfer_loop *l, struct xfer *x)
{
    struct tpc_error err;
    CURL *easy = take_handle(l);
    int rc = TPC_ENOMEM;
    if (easy == NULL) {
        tpi_error_set(&err, rc, x->origin, "no memory for a transfer");
        finish(l, x, &err);
        return;
    }
    rc = x->setup(x, easy, &err);
    if (rc == 0 && (curl_easy_setopt(easy, CURLOPT_PRIVATE, x) != CURLE_OK ||
                    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x->text) != CURLE_OK ||
                    curl_multi_add_handle(l->multi, easy) != CURLM_OK)) {
        rc = tpi_error_set(&err, TPC_ENOMEM, x->origin, "no memory for a transfer");
    }
    if (rc != 0) {
        finish(l, x, &err);
        give_handle(l, easy);
        return;
    }
    x->easy = easy;
}

static bool begin_waiting(struct xfer_loop *l)
{
    bool some = false;
    uint64_t now_ms = mono_ms();
    for (;;) {
        pthread_mutex_lock(&l->lock);
        struct xfer *x = l->stopping ? NULL : next_to_run(l, now_ms);
        pthread_mutex_unlock(&l->lock);
        if (x == NULL) {
            return some;
        }
        begin(l, x);
        some = true;
    }
}

/* Ends what is called off, or everything. */
static void end_canceled(struct xfer_loop *l, bool everything)
{
    struct tpc_error err;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        struct xfer *x = l->to_cancel > 0 || everything ? l->all : NULL;
        while (x != NULL && !x->canceled && !everything) {
            x = x->next;
        }
        bool ran = x != NULL && x->easy != NULL;
        if (x != NULL && !ran) {
            unqueue(l, x);
            forget(l, x);
        }
        pthread_mutex_unlock(&l->lock);
        if (x == NULL) {
            return;
        }
        tpi_error_set(&err, TPC_ECANCELED, x->origin, "called off");
        if (ran) {
            finish(l, x, &err);
        } else {
            x->done(x, NULL, &err);
        }
    }
}

static bool finish_done(struct xfer_loop *l)
{
    bool some = false;
    CURLMsg *m;
    int left = 0;
    while ((m = curl_multi_info_read(l->multi, &left)) != NULL) {
        struct xfer *x = NULL;
        struct tpc_error err;
        CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE ||
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x) != CURLE_OK || x == NULL) {
            continue;
        }
        if (code != CURLE_OK) {
            xfer_error(code, x->origin, x->text, &err);
        }
        finish(l, x, code == CURLE_OK ? NULL : &err);
        some = true;
    }
    return some;
}

/* How long nothing happens by itself. */
static int poll_ms(struct xfer_loop *l)
{
    uint64_t now_ms = mono_ms();
    pthread_mutex_lock(&l->lock);
    uint64_t next_ms = l->next_ms;
    pthread_mutex_unlock(&l->lock);
    if (next_ms == 0 || next_ms > now_ms + POLL_MS) {
        return POLL_MS;
    }
    return next_ms > now_ms ? (int) (next_ms - now_ms) : 0;
}

static void *run(void *user)
{
    struct xfer_loop *l = user;
    for (;;) {
        int running = 0;
        pthread_mutex_lock(&l->lock);
        bool stopping = l->stopping;
        pthread_mutex_unlock(&l->lock);
        end_canceled(l, stopping);
        if (stopping) {
            return NULL;
        }
        begin_waiting(l);
        curl_multi_perform(l->multi, &running);
        if (!finish_done(l)) {
            curl_multi_poll(l->multi, NULL, 0, poll_ms(l), NULL);
        }
    }
}

/* ---- from outside ---- */

int xfer_loop_create(const struct tpc_allocator *alloc, const struct xfer_limits *limits,
                     struct xfer_loop **ret)
{
    struct xfer_loop *l = alloc->resize(alloc->user, NULL, 0, sizeof(*l));
    if (l == NULL) {
        return TPC_ENOMEM;
    }
    memset(l, 0, sizeof(*l));
    l->alloc = alloc;
    l->limits = *limits;
    l->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (l->multi == NULL) {
        alloc->resize(alloc->user, l, sizeof(*l), 0);
        return TPC_ENOMEM;
    }
    /* As many connections are kept as can be in use. */
    curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long) limits->total);
    pthread_mutex_init(&l->lock, NULL);
    *ret = l;
    return 0;
}

struct xfer_loop *xfer_loop_destroy(struct xfer_loop *l)
{
    if (l != NULL) {
        xfer_loop_stop(l);
        curl_multi_cleanup(l->multi);
        pthread_mutex_destroy(&l->lock);
        l->alloc->resize(l->alloc->user, l, sizeof(*l), 0);
    }
    return NULL;
}

int xfer_loop_start(struct xfer_loop *l)
{
    sigset_t all, before;
    l->stopping = false;
    sigfillset(&all);
    /* No signal is for this thread; a write to a closed connection gives EPIPE and no SIGPIPE. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        pthread_mutex_lock(&l->lock);
        l->started = true;
        pthread_mutex_unlock(&l->lock);
    }
    return rc == 0 ? 0 : TPC_ENOMEM;
}

void xfer_loop_stop(struct xfer_loop *l)
{
    pthread_mutex_lock(&l->lock);
    bool started = l->started;
    l->started = false;
    l->stopping = true;
    pthread_mutex_unlock(&l->lock);
    if (started) {
        curl_multi_wakeup(l->multi);
        pthread_join(l->thread, NULL);
        while (l->idle_count > 0) {
            curl_easy_cleanup(l->idle[--l->idle_count]);
        }
    }
}

int xfer_submit(struct xfer_loop *l, struct xfer *x, uint64_t *ret_id)
{
    int rc = 0;
    pthread_mutex_lock(&l->lock);
    struct xfer_peer *p = NULL;
    if (!l->started) {
        rc = TPC_ESTATE;
    } else if (l->waiting >= l->limits.queue) {
        rc = TPC_EAGAIN;
    } else if ((p = find_peer(l, x->peer_name)) == NULL &&
               (p = add_peer(l, x->peer_name)) == NULL) {
        rc = TPC_ENOMEM;
    } else {
        x->peer = p;
        x->easy = NULL;
        x->prev = NULL;
        x->at_ms = 0;
        x->canceled = false;
        x->text[0] = '\0';
        x->id = ++l->next_id;
        if (ret_id != NULL) {
            *ret_id = x->id;
        }
        enqueue(l, x);
        x->next = l->all;
        if (l->all != NULL) {
            l->all->prev = x;
        }
        l->all = x;
    }
    pthread_mutex_unlock(&l->lock);
    if (rc == 0) {
        curl_multi_wakeup(l->multi);
    }
    return rc;
}

int xfer_cancel(struct xfer_loop *l, uint64_t id)
{
    pthread_mutex_lock(&l->lock);
    struct xfer *x = l->all;
    while (x != NULL && x->id != id) {
        x = x->next;
    }
    if (x != NULL && !x->canceled) {
        x->canceled = true;
        l->to_cancel++;
    }
    pthread_mutex_unlock(&l->lock);
    if (x != NULL) {
        curl_multi_wakeup(l->multi);
    }
    return x != NULL ? 0 : TPC_ENOENT;
}
