/*
 * Followers of the log: live tails and durable cursors. Each belongs to one worker, which reads the
 * log for it, so that its function never runs twice at once. A tail reads what is appended, a
 * cursor what is flushed: its own position survives, so must what it has seen.
 */
#include <string.h>

#include "bus/dead.h"
#include "bus/topic.h"
#include "core/core.h"
#include "data/msg.h"

enum {
    STREAM_BATCH = 256,
    STREAM_ARENA_BYTES = 512 << 20,
    STREAM_NAME_BYTES = 64,
    PAUSE_MS = 100, /* after a refused batch; doubles */
    PAUSE_MAX_MS = 5000
};

/* Of a cached mask of kinds: makes it a pointer that is not NULL. */
#define MASK_KNOWN 0x80000000u

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
    uint64_t *position;     /* by partition */
    uint64_t changes;       /* of the registry, when the masks were made */
    struct tpi_map64 masks; /* device id * 2 + down -> mask of kinds | MASK_KNOWN */
    struct tpc_arena *arena;
    struct tpc_msg *msgs;
    struct tpc_device **devices; /* counted, of the messages */
    struct tpi_product **products;
    uint32_t count;
    uint64_t read_to; /* of the batch being read */
    int rc;
    char name[STREAM_NAME_BYTES + 1];
    size_t filter_len;
    char filter[];
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
    tpi_map64_fini(&s->masks);
    tpc_arena_destroy(s->arena);
    tpi_free(a, s->position, core->options.partitions * sizeof(s->position[0]));
    tpi_free(a, s->msgs, STREAM_BATCH * sizeof(s->msgs[0]));
    tpi_free(a, s->devices, STREAM_BATCH * sizeof(s->devices[0]));
    tpi_free(a, s->products, STREAM_BATCH * sizeof(s->products[0]));
    tpi_free(a, s, sizeof(*s) + s->filter_len + 1);
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

/* ---- matching ---- */

static uint32_t make_mask(struct tpc_sub *s, struct tpc_device *d, bool down)
{
    struct tpc_str filter = { s->filter, s->filter_len };
    struct tpi_buf topic;
    tpi_buf_init(&topic, s->core->env.alloc, 0);
    uint32_t mask = MASK_KNOWN;
    if (tpi_topic_device(&topic, tpi_device_tenant(d), down, tpi_device_product_key(d), d->key) ==
        0) {
        struct tpc_str prefix = { (const char *) topic.ptr, topic.len };
        mask |= (uint32_t) (tpi_filter_kinds(filter, prefix) & (MASK_KNOWN - 1));
    }
    tpi_buf_fini(&topic);
    return mask;
}

/* Which kinds of a device's messages the filter lets through. Registry's read lock. */
static uint32_t mask_of(struct tpc_sub *s, struct tpc_device *d, bool down)
{
    uint64_t changes = atomic_load_explicit(&tpi_registry_counters(s->core->registry)->changes,
                                            memory_order_relaxed);
    if (changes != s->changes) {
        tpi_map64_fini(&s->masks);
        tpi_map64_init(&s->masks, s->core->env.alloc);
        s->changes = changes;
    }
    uint64_t key = d->id * 2 + down;
    uintptr_t mask = (uintptr_t) tpi_map64_get(&s->masks, key);
    if (mask == 0) {
        mask = make_mask(s, d, down);
        /* Without memory it is made again for the next message. */
        (void) tpi_map64_put(&s->masks, key, (void *) mask, NULL);
    }
    return (uint32_t) mask;
}

static bool match_entity(struct tpc_sub *s, struct tpc_msg *m)
{
    struct tpc_str tenant = tpc_value_text(tpc_value_get(&m->params, TPC_STR("tenant")));
    struct tpc_str key = tpc_value_text(tpc_value_get(&m->params, TPC_STR("key")));
    struct tpi_buf topic;
    tpi_buf_init(&topic, s->core->env.alloc, 0);
    m->tenant = tenant;
    bool yes = tpi_topic_entity(&topic, tenant, m->name, key) == 0 &&
               tpi_filter_match((struct tpc_str){ s->filter, s->filter_len },
                                (struct tpc_str){ (const char *) topic.ptr, topic.len });
    tpi_buf_fini(&topic);
    return yes;
}

static bool match_device(struct tpc_sub *s, struct tpc_msg *m, uint32_t slot)
{
    struct tpi_registry *registry = s->core->registry;
    bool yes = false;
    tpi_registry_read_lock(registry);
    struct tpc_device *d = tpi_registry_by_id(registry, m->device_id);
    if (d != NULL) {
        uint32_t mask = mask_of(s, d, (m->flags & TPC_MSG_DOWN) != 0);
        uint32_t bit = m->kind < 31 ? m->kind : 0;
        yes = (mask >> bit & 1) != 0;
    }
    if (yes) {
        m->tenant = tpi_device_tenant(d);
        m->product = tpi_device_product_key(d);
        m->device = d->key;
        s->devices[slot] = tpi_device_ref(d);
        s->products[slot] = tpi_product_ref(d->product);
    }
    tpi_registry_read_unlock(registry);
    return yes;
}

/* In the log points have the id of their property; people want its key. */
static int name_points(struct tpc_sub *s, struct tpc_msg *m, const struct tpi_product *p)
{
    if (p == NULL || m->point_count == 0) {
        return 0;
    }
    struct tpc_point *points = tpc_arena_take(s->arena, m->point_count * sizeof(*points));
    if (points == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < m->point_count; i++) {
        points[i] = *tpc_msg_point(m, i);
        struct tpc_str key = tpi_model_key_of(p->model, points[i].property);
        if (key.len > 0) {
            points[i].key = key;
        }
    }
    m->points = points;
    m->point_size = sizeof(*points);
    return 0;
}

/* ---- reading ---- */

static int take_record(struct tpc_sub *s, const struct tpc_record *r)
{
    struct tpc_msg *m = &s->msgs[s->count];
    struct tpc_record copy = *r;
    uint8_t *body = tpc_arena_take(s->arena, r->body.len + 1);
    if (body == NULL) {
        return TPC_ENOMEM;
    }
    if (r->body.len > 0) {
        memcpy(body, r->body.ptr, r->body.len);
    }
    copy.body.ptr = body;
    int rc = tpi_record_msg(s->core, &copy, s->arena, m, NULL);
    if (rc != 0) {
        tpi_count(&s->core->counters.records_unreadable, rc != TPC_ENOMEM);
        return rc == TPC_ENOMEM ? rc : 0;
    }
    s->devices[s->count] = NULL;
    s->products[s->count] = NULL;
    bool yes = r->kind == TPC_MSG_ENTITY ? match_entity(s, m)
                                         : r->device_id != 0 && match_device(s, m, s->count);
    if (!yes) {
        return 0;
    }
    rc = name_points(s, m, s->products[s->count]);
    s->count++; /* also on failure: its references are given back */
    return rc;
}

static int read_record(void *user, const struct tpc_record *r)
{
    struct tpc_sub *s = user;
    s->rc = r->kind == TPI_MSG_TOMBSTONE ? 0 : take_record(s, r);
    if (s->rc == 0) {
        s->read_to = r->offset + 1;
    }
    return s->rc;
}

static void give_back(struct tpc_sub *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        tpi_device_unref(s->devices[i]);
        tpi_product_unref(s->products[i]);
    }
    s->count = 0;
    tpc_arena_reset(s->arena);
}

/* Calls the function, unless the subscription has been ended meanwhile. */
static int call(struct tpc_sub *s, uint64_t gap_from, uint64_t gap_to)
{
    struct tpc_batch batch = { .size = sizeof(batch),
                               .count = s->count,
                               .msg_size = sizeof(s->msgs[0]),
                               .msgs = s->msgs,
                               .gap_from = gap_from,
                               .gap_to = gap_to };
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
    s->read_to = from;
    s->rc = 0;
    int rc = core->bus->read(core->bus_self, partition, from, STREAM_BATCH,
                             s->durable ? TPC_READ_FLUSHED : 0, read_record, s, &next);
    if (rc == TPC_EGAP) {
        gap_to = next;
        tpi_count(&core->counters.stream_gaps, 1);
    } else if (s->rc != 0) {
        next = s->read_to;
    } else if (rc != 0) {
        pause_sub(s);
        next = from;
    }
    if (s->rc != 0 && next == from) {
        give_back(s);
        pause_sub(s);
        return false;
    }
    rc = next > from && (s->count > 0 || gap_to > 0) ? call(s, gap_to > 0 ? from : 0, gap_to) : 0;
    give_back(s);
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
    struct tpc_sub *s = tpi_alloc_zero(a, sizeof(*s) + filter.len + 1);
    if (s == NULL) {
        return tpi_fail(TPC_ENOMEM, "core", "out of memory");
    }
    s->core = core;
    s->fn = fn;
    s->user = user;
    s->flags = flags;
    s->filter_len = filter.len;
    memcpy(s->filter, filter.ptr, filter.len);
    tpi_map64_init(&s->masks, a);
    s->position = tpi_alloc_array(a, core->options.partitions, sizeof(s->position[0]));
    s->msgs = tpi_alloc_array(a, STREAM_BATCH, sizeof(s->msgs[0]));
    s->devices = tpi_alloc_array(a, STREAM_BATCH, sizeof(s->devices[0]));
    s->products = tpi_alloc_array(a, STREAM_BATCH, sizeof(s->products[0]));
    if (s->position == NULL || s->msgs == NULL || s->devices == NULL || s->products == NULL ||
        tpc_arena_create(a, STREAM_ARENA_BYTES, &s->arena) != 0) {
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
