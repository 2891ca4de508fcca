/*
 * Followers of the log: live tails and durable cursors. Each belongs to one worker, which reads the
 * log for it, so that its function never runs twice at once. A tail reads what is appended, a
 * cursor what is flushed: its own position survives, so must what it has seen.
 */
#include <string.h>

#include "bus/topic.h"
#include "core/core.h"
#include "registry/follow.h"

enum {
    STREAM_BATCH = 256,
    STREAM_NAME_BYTES = 64,
    PAUSE_MS = 100, /* after a refused batch; doubles */
    PAUSE_MAX_MS = 5000
};

struct tpc_sub {
    struct tpc_core *core;
    struct tpc_sub *next;
    tpc_batch_fn *fn;
    void *user;
    uint32_t worker;
    uint32_t flags;
    bool durable;
    bool opened; /* the cursor */
    uint32_t cursor;
    atomic_bool closed; /* set under the lock; between partitions it is looked at without */
    bool free_after;    /* it was ended from within its own function */
    uintptr_t runner;   /* thread that works for it; 0 = none */
    uint64_t retry_ms;
    uint32_t pause_ms;
    uint64_t *position; /* by partition */
    struct tpi_follow *follow;
    char name[STREAM_NAME_BYTES + 1];
};

int tpi_streams_init(struct tpc_core *core)
{
    pthread_mutex_init(&core->streams.lock, NULL);
    pthread_cond_init(&core->streams.idle, NULL);
    return 0;
}

static void free_sub(struct tpc_sub *s)
{
    if (s == NULL) {
        return;
    }
    struct tpc_core *core = s->core;
    const struct tpc_allocator *a = core->env.alloc;
    if (s->opened) {
        core->bus->cursor_close(core->bus_self, s->cursor, 0);
    }
    tpi_follow_destroy(s->follow);
    tpi_free(a, s->position, core->options.partitions * sizeof(s->position[0]));
    tpi_free(a, s, sizeof(*s));
}

void tpi_streams_fini(struct tpc_core *core)
{
    while (core->streams.first != NULL) {
        struct tpc_sub *s = core->streams.first;
        core->streams.first = s->next;
        free_sub(s);
    }
    pthread_mutex_destroy(&core->streams.lock);
    pthread_cond_destroy(&core->streams.idle);
}

void tpi_streams_wake(struct tpc_core *core)
{
    if (atomic_load_explicit(&core->streams.count, memory_order_relaxed) == 0) {
        return;
    }
    for (uint32_t i = 0; i < core->worker_count; i++) {
        tpi_worker_poke(&core->workers[i]);
    }
}

void tpi_streams_start(struct tpc_core *core)
{
    pthread_mutex_lock(&core->streams.lock);
    for (struct tpc_sub *s = core->streams.first; s != NULL; s = s->next) {
        for (uint32_t i = 0; !s->durable && i < core->options.partitions; i++) {
            s->position[i] = atomic_load(&core->ends[i]);
        }
    }
    pthread_mutex_unlock(&core->streams.lock);
}

/* ---- reading ---- */

/* Calls the function, unless the subscription has been ended meanwhile. */
static int call(struct tpc_sub *s, uint64_t gap_from, uint64_t gap_to)
{
    struct tpc_batch batch = { .size = sizeof(batch),
                               .msg_size = sizeof(struct tpc_msg),
                               .gap_from = gap_from,
                               .gap_to = gap_to };
    batch.msgs = tpi_follow_msgs(s->follow, &batch.count);
    if (batch.count == 0 && gap_to == 0) {
        return 0;
    }
    pthread_mutex_lock(&s->core->streams.lock);
    bool closed = s->closed;
    pthread_mutex_unlock(&s->core->streams.lock);
    return closed ? TPC_ECANCELED : s->fn(s->user, &batch);
}

static void pause_sub(struct tpc_sub *s)
{
    s->pause_ms = s->pause_ms == 0 ? PAUSE_MS : s->pause_ms * 2;
    s->pause_ms = s->pause_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : s->pause_ms;
    s->retry_ms = tpi_mono_ms(&s->core->env) + s->pause_ms;
    tpi_count(&s->core->counters.stream_retries, 1);
}

/* One batch of one partition. True: it went on. */
static bool follow(struct tpc_sub *s, uint32_t partition)
{
    struct tpc_core *core = s->core;
    uint64_t from = s->position[partition];
    uint64_t next = from;
    uint64_t gap_to = 0;
    int rc = tpi_follow_read(s->follow, core->bus, core->bus_self, partition, from,
                             s->durable ? TPC_READ_FLUSHED : 0, &next);
    if (rc == TPC_EGAP) {
        gap_to = next;
        tpi_count(&core->counters.stream_gaps, 1);
    } else if (rc != 0) {
        pause_sub(s);
        next = rc == TPC_ENOMEM ? next : from;
    }
    if (rc != 0 && next == from) {
        tpi_follow_clear(s->follow);
        return false;
    }
    rc = next > from ? call(s, gap_to > 0 ? from : 0, gap_to) : 0;
    tpi_follow_clear(s->follow);
    if (rc != 0 && s->durable) {
        pause_sub(s);
        return false;
    }
    if (next > from) {
        s->pause_ms = 0;
        s->position[partition] = next;
        if (s->durable) {
            (void) core->bus->commit(core->bus_self, s->cursor, partition, next, 0);
        }
    }
    return next > from;
}

static bool follow_all(struct tpc_sub *s)
{
    struct tpc_core *core = s->core;
    bool did = false;
    if (s->pause_ms > 0 && tpi_mono_ms(&core->env) < s->retry_ms) {
        return false;
    }
    for (uint32_t i = 0;
         i < core->options.partitions && !atomic_load_explicit(&s->closed, memory_order_relaxed);
         i++) {
        if (s->position[i] < atomic_load_explicit(&core->ends[i], memory_order_acquire)) {
            did |= follow(s, i);
        }
    }
    return did;
}

static void unlink_sub(struct tpc_sub *s)
{
    struct tpc_sub **at = &s->core->streams.first;
    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    atomic_fetch_sub(&s->core->streams.count, 1);
}

bool tpi_streams_turn(struct tpi_worker *w)
{
    struct tpi_streams *all = &w->core->streams;
    bool did = false;
    if (atomic_load_explicit(&all->count, memory_order_relaxed) == 0) {
        return false;
    }
    pthread_mutex_lock(&all->lock);
    for (struct tpc_sub *s = all->first; s != NULL;) {
        if (s->worker != w->index || s->closed) {
            s = s->next;
            continue;
        }
        s->runner = (uintptr_t) pthread_self();
        pthread_mutex_unlock(&all->lock);
        did |= follow_all(s);
        pthread_mutex_lock(&all->lock);
        s->runner = 0;
        pthread_cond_broadcast(&all->idle);
        struct tpc_sub *next = s->next;
        if (s->free_after) {
            unlink_sub(s);
            free_sub(s);
        }
        s = next;
    }
    pthread_mutex_unlock(&all->lock);
    return did;
}

uint64_t tpi_streams_next_ms(struct tpi_worker *w)
{
    struct tpi_streams *all = &w->core->streams;
    uint64_t next = TPI_WHEEL_NONE;
    if (atomic_load_explicit(&all->count, memory_order_relaxed) == 0) {
        return next;
    }
    uint64_t now = tpi_mono_ms(&w->core->env);
    pthread_mutex_lock(&all->lock);
    for (struct tpc_sub *s = all->first; s != NULL; s = s->next) {
        if (s->worker == w->index && s->pause_ms > 0) {
            uint64_t left = s->retry_ms > now ? s->retry_ms - now : 0;
            next = left < next ? left : next;
        }
    }
    pthread_mutex_unlock(&all->lock);
    return next;
}

/* ---- the program's ---- */

static int make_sub(struct tpc_core *core, struct tpc_str filter, uint32_t flags, tpc_batch_fn *fn,
                    void *user, struct tpc_sub **ret)
{
    const struct tpc_allocator *a = core->env.alloc;
    struct tpc_error *err = tpi_fail_begin();
    int rc =
        tpi_filter_check(filter, (flags & TPC_STREAM_SYSTEM) != 0 ? TPI_FILTER_SYSTEM : 0, err);
    rc = rc != 0 ? rc : tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    struct tpc_sub *s = tpi_alloc_zero(a, sizeof(*s));
    if (s == NULL) {
        return tpi_fail(TPC_ENOMEM, "core", "out of memory");
    }
    s->core = core;
    s->fn = fn;
    s->user = user;
    s->flags = flags;
    s->position = tpi_alloc_array(a, core->options.partitions, sizeof(s->position[0]));
    struct tpi_follow_options fo = { .env = &core->env,
                                     .clock = &core->clock,
                                     .registry = core->registry,
                                     .filters = &filter,
                                     .filter_count = 1,
                                     .batch = STREAM_BATCH,
                                     .chunk = STREAM_BATCH,
                                     .unreadable = &core->counters.records_unreadable };
    if (s->position == NULL || tpi_follow_create(&fo, &s->follow) != 0) {
        free_sub(s);
        return tpi_fail(TPC_ENOMEM, "core", "out of memory");
    }
    *ret = s;
    return 0;
}

static void add_sub(struct tpc_sub *s)
{
    struct tpc_core *core = s->core;
    pthread_mutex_lock(&core->streams.lock);
    s->worker = core->streams.next_worker++ % core->worker_count;
    s->next = core->streams.first;
    core->streams.first = s;
    atomic_fetch_add(&core->streams.count, 1);
    pthread_mutex_unlock(&core->streams.lock);
    tpi_worker_wake(&core->workers[s->worker]);
}

int tpc_subscribe(struct tpc_core *core, const struct tpc_subscribe_options *o, tpc_batch_fn *fn,
                  void *user, struct tpc_sub **ret)
{
    struct tpc_sub *s;
    if (core == NULL || o == NULL || fn == NULL || ret == NULL || o->size < sizeof(*o)) {
        return tpi_fail(TPC_EINVAL, "core", "core, fn or ret is NULL, or options without size");
    }
    int rc = make_sub(core, o->filter, o->flags, fn, user, &s);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        s->position[i] = atomic_load(&core->ends[i]);
    }
    add_sub(s);
    *ret = s;
    return 0;
}

static bool name_valid(struct tpc_str name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '\0' || strchr(allowed, name.ptr[i]) == NULL) {
            return false;
        }
    }
    return name.len >= 1 && name.len <= STREAM_NAME_BYTES;
}

static bool name_taken(struct tpc_core *core, struct tpc_str name)
{
    bool taken = tpc_str_equal(name, TPC_STR("history")) || tpc_str_equal(name, TPC_STR("rules")) ||
                 tpc_str_equal(name, TPC_STR("downlink"));
    pthread_mutex_lock(&core->streams.lock);
    for (struct tpc_sub *s = core->streams.first; s != NULL; s = s->next) {
        taken |= s->durable && tpc_str_equal(name, tpc_str_from(s->name));
    }
    pthread_mutex_unlock(&core->streams.lock);
    return taken;
}

static int open_cursor(struct tpc_sub *s, const struct tpc_consume_options *o,
                       struct tpc_error *err)
{
    struct tpc_core *core = s->core;
    struct tpc_cursor_options c = {
        .size = sizeof(c),
        .cursor_class = (o->flags & TPC_CONSUME_HOLD) != 0 ? TPC_CURSOR_HOLD : TPC_CURSOR_LOSSY,
        .start = o->start_newest != 0 ? TPC_START_NEWEST : TPC_START_OLDEST,
        .name = o->name,
        .max_bytes = o->max_bytes,
        .max_age_ms = o->max_age_ms,
    };
    int rc = core->bus->cursor_open(core->bus_self, &c, err, &s->cursor);
    if (rc != 0) {
        return rc;
    }
    s->opened = true;
    s->durable = true;
    for (uint32_t i = 0; rc == 0 && i < core->options.partitions; i++) {
        rc = core->bus->cursor_position(core->bus_self, s->cursor, i, &s->position[i]);
    }
    return rc;
}

int tpc_consume(struct tpc_core *core, const struct tpc_consume_options *o, tpc_batch_fn *fn,
                void *user, struct tpc_sub **ret)
{
    struct tpc_sub *s;
    if (core == NULL || o == NULL || fn == NULL || ret == NULL || o->size < sizeof(*o)) {
        return tpi_fail(TPC_EINVAL, "core", "core, fn or ret is NULL, or options without size");
    }
    if (!name_valid(o->name)) {
        return tpi_fail(TPC_EINVAL, "core", "a cursor's name is 1 to 64 of a-z 0-9 - _ .");
    }
    if (core->bus == NULL) {
        return tpi_fail(TPC_ESTATE, "core", "the log is not open");
    }
    if (name_taken(core, o->name)) {
        return tpi_fail(TPC_EEXIST, "core", "cursor \"%.*s\" is open", (int) o->name.len,
                        o->name.ptr);
    }
    int rc = make_sub(core, o->filter, o->flags & TPC_STREAM_SYSTEM, fn, user, &s);
    if (rc != 0) {
        return rc;
    }
    memcpy(s->name, o->name.ptr, o->name.len);
    rc = open_cursor(s, o, tpi_fail_begin());
    if (rc != 0) {
        free_sub(s);
        return tpi_fail_end(rc);
    }
    add_sub(s);
    *ret = s;
    return 0;
}

struct tpc_sub *tpc_unsubscribe(struct tpc_sub *s)
{
    if (s == NULL) {
        return NULL;
    }
    struct tpi_streams *all = &s->core->streams;
    uintptr_t self = (uintptr_t) pthread_self();
    pthread_mutex_lock(&all->lock);
    s->closed = true;
    if (s->runner == self) {
        s->free_after = true; /* the worker frees it when its function returns */
        pthread_mutex_unlock(&all->lock);
        return NULL;
    }
    while (s->runner != 0) {
        pthread_cond_wait(&all->idle, &all->lock);
    }
    unlink_sub(s);
    pthread_mutex_unlock(&all->lock);
    free_sub(s);
    return NULL;
}

static int same_name(void *user, const struct tpc_cursor_info *info)
{
    return tpc_str_equal(info->name, *(const struct tpc_str *) user);
}

int tpc_consumer_forget(struct tpc_core *core, struct tpc_str name)
{
    if (core == NULL || core->bus == NULL) {
        return tpi_fail(core == NULL ? TPC_EINVAL : TPC_ESTATE, "core", "no log is open");
    }
    if (!name_valid(name)) {
        return tpi_fail(TPC_EINVAL, "core", "a cursor's name is 1 to 64 of a-z 0-9 - _ .");
    }
    if (name_taken(core, name)) {
        return tpi_fail(TPC_ESTATE, "core", "cursor \"%.*s\" is open", (int) name.len, name.ptr);
    }
    if (core->bus->cursors == NULL || core->bus->cursors(core->bus_self, same_name, &name) != 1) {
        return tpi_fail(TPC_ENOENT, "core", "no cursor \"%.*s\"", (int) name.len, name.ptr);
    }
    struct tpc_cursor_options c = { .size = sizeof(c),
                                    .cursor_class = TPC_CURSOR_LOSSY,
                                    .name = name };
    uint32_t cursor;
    int rc = core->bus->cursor_open(core->bus_self, &c, tpi_fail_begin(), &cursor);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    core->bus->cursor_close(core->bus_self, cursor, 1);
    return 0;
}
