/*
 * The engine "memory": chunks of each device in an array ordered by first time, marks in tables. A
 * transaction is staged and applied at commit, for which all memory was taken before, so that
 * commit cannot fail half-way. Nothing survives the process.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/map.h"
#include "store/history.h"

static const char origin[] = "history";

enum { FIRST_ITEMS = 8, MARK_TYPES = 6 };

struct mem_chunk {
    struct tpc_chunk c; /* blob follows */
    struct mem_chunk *staged_next;
};

struct mem_device {
    struct mem_chunk **chunks; /* by (first_unix_ms, id) */
    size_t count;
    size_t cap;
    size_t reserved; /* places that the open transaction needs */
};

struct mem_mark {
    struct tpc_mark m; /* text and data follow */
    struct mem_mark *staged_next;
};

struct memory {
    const struct tpc_allocator *alloc;
    uint64_t max_bytes;
    uint64_t bytes; /* of chunks, staged ones too */
    uint64_t next_id;
    bool open; /* a transaction */
    struct mem_chunk *staged;
    struct mem_chunk *staged_last;
    struct mem_mark *staged_marks;
    struct mem_mark *staged_marks_last;
    pthread_rwlock_t lock; /* devices and marks */
    struct tpi_map64 devices;
    struct tpi_map64 marks[MARK_TYPES + 1]; /* by type */
};

static const struct tpc_option memory_options[] = {
    { .name = "max_bytes",
      .type = TPC_OPT_SIZE,
      .def = "256MiB",
      .min = 65536,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "Memory for chunks; a commit over it answers TPC_ENOSPC." },
};

static int memory_init(void *self, const struct tpc_host *host, void *ctx,
                       const struct tpc_value *cfg)
{
    struct memory *m = self;
    int64_t max = 0;
    (void) ctx;
    m->alloc = host->allocator;
    m->next_id = 1;
    m->max_bytes = UINT64_C(256) << 20;
    if (tpc_value_int(tpc_value_get(cfg, TPC_STR("max_bytes")), &max) == 0) {
        m->max_bytes = (uint64_t) max;
    }
    /* a commit must not wait for readers that keep coming; a scan's callback may not scan again */
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&m->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    tpi_map64_init(&m->devices, m->alloc);
    for (uint32_t i = 0; i <= MARK_TYPES; i++) {
        tpi_map64_init(&m->marks[i], m->alloc);
    }
    return 0;
}

static size_t chunk_size(const struct tpc_chunk *c)
{
    return sizeof(struct mem_chunk) + c->blob.len;
}

static void chunk_free(struct memory *m, struct mem_chunk *c)
{
    m->bytes -= chunk_size(&c->c);
    tpi_free(m->alloc, c, chunk_size(&c->c));
}

static void mark_free(struct memory *m, struct mem_mark *k)
{
    if (k != NULL) {
        tpi_free(m->alloc, k, sizeof(*k) + k->m.text.len + k->m.data.len);
    }
}

static void drop_staged(struct memory *m)
{
    while (m->staged != NULL) {
        struct mem_chunk *c = m->staged;
        m->staged = c->staged_next;
        chunk_free(m, c);
    }
    while (m->staged_marks != NULL) {
        struct mem_mark *k = m->staged_marks;
        m->staged_marks = k->staged_next;
        mark_free(m, k);
    }
    m->staged_last = NULL;
    m->staged_marks_last = NULL;
    m->open = false;
}

static void memory_fini(void *self)
{
    struct memory *m = self;
    size_t iter = 0;
    void *value;
    if (m->alloc == NULL) {
        return;
    }
    drop_staged(m);
    while (tpi_map64_next(&m->devices, &iter, NULL, &value)) {
        struct mem_device *d = value;
        for (size_t i = 0; i < d->count; i++) {
            chunk_free(m, d->chunks[i]);
        }
        tpi_free(m->alloc, d->chunks, d->cap * sizeof(*d->chunks));
        tpi_free(m->alloc, d, sizeof(*d));
    }
    tpi_map64_fini(&m->devices);
    for (uint32_t i = 0; i <= MARK_TYPES; i++) {
        iter = 0;
        while (tpi_map64_next(&m->marks[i], &iter, NULL, &value)) {
            mark_free(m, value);
        }
        tpi_map64_fini(&m->marks[i]);
    }
    pthread_rwlock_destroy(&m->lock);
    m->alloc = NULL;
}

/* ---- writing: one thread ---- */

static int memory_begin(void *self, struct tpc_error *err)
{
    struct memory *m = self;
    if (m->open) {
        return tpi_error_set(err, TPC_ESTATE, origin, "a transaction is open");
    }
    m->open = true;
    return 0;
}

/* The device with one place more than its open transaction needs so far. */
static int reserve(struct memory *m, uint64_t id)
{
    struct mem_device *d = tpi_map64_get(&m->devices, id);
    int rc = 0;
    pthread_rwlock_wrlock(&m->lock);
    if (d == NULL) {
        d = tpi_alloc_zero(m->alloc, sizeof(*d));
        rc = d != NULL ? tpi_map64_put(&m->devices, id, d, NULL) : TPC_ENOMEM;
        if (rc != 0) {
            tpi_free(m->alloc, d, sizeof(*d));
        }
    }
    if (rc == 0 && d->count + d->reserved >= d->cap) {
        size_t cap = d->cap != 0 ? d->cap * 2 : FIRST_ITEMS;
        struct mem_chunk **p =
            tpi_resize(m->alloc, d->chunks, d->cap * sizeof(*p), cap * sizeof(*p));
        rc = p != NULL ? 0 : TPC_ENOMEM;
        if (p != NULL) {
            d->chunks = p;
            d->cap = cap;
        }
    }
    if (rc == 0) {
        d->reserved++;
    }
    pthread_rwlock_unlock(&m->lock);
    return rc;
}

static int memory_put_chunk(void *self, const struct tpc_chunk *chunk, struct tpc_error *err,
                            uint64_t *ret_id)
{
    struct memory *m = self;
    if (!m->open) {
        return tpi_error_set(err, TPC_ESTATE, origin, "no transaction is open");
    }
    if (m->bytes + chunk_size(chunk) > m->max_bytes) {
        return tpi_error_set(err, TPC_ENOSPC, origin, "max_bytes (%llu) is reached",
                             (unsigned long long) m->max_bytes);
    }
    struct mem_chunk *c = tpi_alloc(m->alloc, chunk_size(chunk));
    if (c == NULL || reserve(m, chunk->device_id) != 0) {
        tpi_free(m->alloc, c, chunk_size(chunk));
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for a chunk");
    }
    c->c = *chunk;
    c->c.size = sizeof(c->c);
    c->c.id = chunk->id != 0 ? chunk->id : m->next_id++;
    c->c.blob.ptr = (uint8_t *) (c + 1);
    memcpy(c + 1, chunk->blob.ptr, chunk->blob.len);
    c->staged_next = NULL;
    m->bytes += chunk_size(chunk);
    *(m->staged_last != NULL ? &m->staged_last->staged_next : &m->staged) = c;
    m->staged_last = c;
    *ret_id = c->c.id;
    return 0;
}

/* Makes sure that the table has the key, so that replacing its value needs no memory. */
static int reserve_mark(struct memory *m, const struct tpc_mark *mark)
{
    if (tpi_map64_get(&m->marks[mark->type], mark->key) != NULL) {
        return 0;
    }
    struct mem_mark *hole = tpi_alloc_zero(m->alloc, sizeof(*hole)); /* size 0: not there yet */
    if (hole == NULL) {
        return TPC_ENOMEM;
    }
    pthread_rwlock_wrlock(&m->lock);
    int rc = tpi_map64_put(&m->marks[mark->type], mark->key, hole, NULL);
    pthread_rwlock_unlock(&m->lock);
    if (rc != 0) {
        mark_free(m, hole);
    }
    return rc;
}

static struct mem_mark *copy_mark(struct memory *m, const struct tpc_mark *mark)
{
    static const struct tpc_bytes none;
    struct tpc_bytes data = mark->size > offsetof(struct tpc_mark, data) ? mark->data : none;
    size_t size = sizeof(struct mem_mark) + mark->text.len + data.len;
    struct mem_mark *k = tpi_alloc_zero(m->alloc, size);
    if (k == NULL) {
        return NULL;
    }
    uint8_t *p = (uint8_t *) (k + 1);
    k->m = (struct tpc_mark){ .size = sizeof(k->m),
                              .type = mark->type,
                              .key = mark->key,
                              .value = mark->value,
                              .text = { (const char *) p, mark->text.len },
                              .data = { p + mark->text.len, data.len } };
    if (mark->text.len > 0) {
        memcpy(p, mark->text.ptr, mark->text.len);
    }
    if (data.len > 0) {
        memcpy(p + mark->text.len, data.ptr, data.len);
    }
    return k;
}

static int memory_put_marks(void *self, const struct tpc_mark *marks, uint32_t count,
                            size_t mark_size, struct tpc_error *err)
{
    struct memory *m = self;
    if (!m->open) {
        return tpi_error_set(err, TPC_ESTATE, origin, "no transaction is open");
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_mark *mark =
            (const struct tpc_mark *) (const void *) ((const char *) marks + i * mark_size);
        if (mark->type == 0 || mark->type > MARK_TYPES) {
            return tpi_error_set(err, TPC_EINVAL, origin, "no such mark: %u", mark->type);
        }
        struct mem_mark *k = copy_mark(m, mark);
        if (k == NULL || reserve_mark(m, mark) != 0) {
            mark_free(m, k);
            return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for a mark");
        }
        *(m->staged_marks_last != NULL ? &m->staged_marks_last->staged_next : &m->staged_marks) = k;
        m->staged_marks_last = k;
    }
    return 0;
}

static bool chunk_before(const struct tpc_chunk *a, const struct tpc_chunk *b)
{
    return a->first_unix_ms != b->first_unix_ms ? a->first_unix_ms < b->first_unix_ms
                                                : a->id < b->id;
}

/* Puts a chunk into its place, in room of the one with its id. */
static void place(struct memory *m, struct mem_chunk *c)
{
    struct mem_device *d = tpi_map64_get(&m->devices, c->c.device_id);
    for (size_t i = d->count; i > 0; i--) {
        if (d->chunks[i - 1]->c.id == c->c.id) {
            chunk_free(m, d->chunks[i - 1]);
            memmove(&d->chunks[i - 1], &d->chunks[i], (d->count - i) * sizeof(*d->chunks));
            d->count--;
            break;
        }
    }
    size_t at = d->count;
    while (at > 0 && chunk_before(&c->c, &d->chunks[at - 1]->c)) {
        d->chunks[at] = d->chunks[at - 1];
        at--;
    }
    d->chunks[at] = c;
    d->count++;
    d->reserved--;
}

static int memory_commit(void *self, struct tpc_error *err)
{
    struct memory *m = self;
    if (!m->open) {
        return tpi_error_set(err, TPC_ESTATE, origin, "no transaction is open");
    }
    pthread_rwlock_wrlock(&m->lock);
    while (m->staged != NULL) {
        struct mem_chunk *c = m->staged;
        m->staged = c->staged_next;
        place(m, c);
    }
    while (m->staged_marks != NULL) {
        struct mem_mark *k = m->staged_marks;
        void *old = NULL;
        m->staged_marks = k->staged_next;
        (void) tpi_map64_put(&m->marks[k->m.type], k->m.key, k, &old);
        mark_free(m, old);
    }
    drop_staged(m);
    pthread_rwlock_unlock(&m->lock);
    return 0;
}

static void memory_rollback(void *self)
{
    struct memory *m = self;
    pthread_rwlock_wrlock(&m->lock);
    for (struct mem_chunk *c = m->staged; c != NULL; c = c->staged_next) {
        ((struct mem_device *) tpi_map64_get(&m->devices, c->c.device_id))->reserved--;
    }
    drop_staged(m);
    pthread_rwlock_unlock(&m->lock);
}

/* ---- reading: any thread ---- */

static int newest_first(const void *a, const void *b)
{
    const struct tpc_chunk *x = &(*(struct mem_chunk *const *) a)->c;
    const struct tpc_chunk *y = &(*(struct mem_chunk *const *) b)->c;
    if (x->last_unix_ms != y->last_unix_ms) {
        return x->last_unix_ms > y->last_unix_ms ? -1 : 1;
    }
    return x->id > y->id ? -1 : x->id < y->id;
}

static int scan_all(struct mem_chunk *const *chunks, size_t count, const struct tpc_scan *q,
                    tpc_chunk_fn *fn, void *user)
{
    for (size_t i = 0; i < count; i++) {
        const struct tpc_chunk *c = &chunks[i]->c;
        if (c->last_unix_ms < q->from_unix_ms || c->first_unix_ms >= q->to_unix_ms) {
            continue;
        }
        int rc = fn(user, c);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int scan_newest(struct memory *m, const struct mem_device *d, const struct tpc_scan *q,
                       tpc_chunk_fn *fn, void *user)
{
    struct mem_chunk **sorted = tpi_mem_dup(m->alloc, d->chunks, d->count * sizeof(*sorted));
    if (sorted == NULL) {
        return TPC_ENOMEM;
    }
    qsort(sorted, d->count, sizeof(*sorted), newest_first);
    int rc = scan_all(sorted, d->count, q, fn, user);
    tpi_free(m->alloc, sorted, d->count * sizeof(*sorted));
    return rc;
}

static int memory_scan(void *self, const struct tpc_scan *q, tpc_chunk_fn *fn, void *user)
{
    struct memory *m = self;
    int rc = 0;
    pthread_rwlock_rdlock(&m->lock);
    const struct mem_device *d = tpi_map64_get(&m->devices, q->device_id);
    if (d != NULL && d->count > 0) {
        rc = q->descending != 0 ? scan_newest(m, d, q, fn, user)
                                : scan_all(d->chunks, d->count, q, fn, user);
    }
    pthread_rwlock_unlock(&m->lock);
    return rc;
}

static int memory_marks(void *self, uint32_t type, tpc_mark_fn *fn, void *user)
{
    struct memory *m = self;
    size_t iter = 0;
    void *value;
    int rc = 0;
    if (type == 0 || type > MARK_TYPES) {
        return TPC_EINVAL;
    }
    pthread_rwlock_rdlock(&m->lock);
    while (rc == 0 && tpi_map64_next(&m->marks[type], &iter, NULL, &value)) {
        const struct mem_mark *k = value;
        if (k->m.size != 0) {
            rc = fn(user, &k->m);
        }
    }
    pthread_rwlock_unlock(&m->lock);
    return rc;
}

static uint64_t delete_of(struct memory *m, struct mem_device *d, int64_t unix_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (d->chunks[i]->c.last_unix_ms < unix_ms) {
            chunk_free(m, d->chunks[i]);
        } else {
            d->chunks[kept++] = d->chunks[i];
        }
    }
    uint64_t gone = d->count - kept;
    d->count = kept;
    return gone;
}

static int memory_delete_before(void *self, uint64_t device_id, int64_t unix_ms,
                                uint64_t *ret_count)
{
    struct memory *m = self;
    uint64_t gone = 0;
    size_t iter = 0;
    void *value;
    pthread_rwlock_wrlock(&m->lock);
    if (device_id != 0) {
        value = tpi_map64_get(&m->devices, device_id);
        gone = value != NULL ? delete_of(m, value, unix_ms) : 0;
    }
    while (device_id == 0 && tpi_map64_next(&m->devices, &iter, NULL, &value)) {
        gone += delete_of(m, value, unix_ms);
    }
    pthread_rwlock_unlock(&m->lock);
    *ret_count = gone;
    return 0;
}

const struct tpc_history_ops tpi_memory_history = {
    .iface = TPC_IFACE(struct tpc_history_ops, 1),
    .name = "memory",
    .instance_size = sizeof(struct memory),
    .options = TPC_OPTIONS(memory_options),
    .shape = TPC_HISTORY_BLOB,
    .init = memory_init,
    .fini = memory_fini,
    .begin = memory_begin,
    .put_chunk = memory_put_chunk,
    .put_marks = memory_put_marks,
    .commit = memory_commit,
    .rollback = memory_rollback,
    .scan = memory_scan,
    .marks = memory_marks,
    .delete_before = memory_delete_before,
};
