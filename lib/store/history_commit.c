#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/history_open.h"

static const char origin[] = "history";

enum {
    MARK_RUN = 64,
    MARK_TEXT_BYTES = TPI_PRESENCE_TEXT,
    PATIENCE = 16,      /* times checkpoint_ms until a chunk that hardly grew is written again */
    PROPERTY_MS = 1000, /* names of new properties wait no longer */
    SQUEEZE_BYTES = 1 << 20 /* of open chunks: with less there is nothing to win */
};

/* One transaction on its way. */
struct commit {
    struct tpi_history *h;
    struct open_chunk *first; /* frozen ones first, each device's in order */
    struct open_chunk *last;
    uint32_t properties; /* from the head of the queue */
    struct tpc_error *err;
    struct tpc_mark marks[MARK_RUN];
    char texts[MARK_RUN][MARK_TEXT_BYTES];
    size_t packed[MARK_RUN]; /* where a mark's data begins in h->packed */
    uint32_t mark_count;
    uint64_t bytes;
};

/* ---- when ---- */

static uint64_t wait_ms(uint64_t now, uint64_t since, uint64_t delay)
{
    uint64_t age = now - since;
    return age >= delay ? 0 : delay - age;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool memory_short(const struct tpi_history *h)
{
    return h->squeeze || h->open_bytes >= h->limits.open_bytes / 4 * 3;
}

void tpi_history_squeeze(struct tpi_history *h)
{
    h->squeeze = h->open_bytes >= SQUEEZE_BYTES;
}

/* Records above the watermark, counting those that nobody holds as stored. */
static bool behind(const struct tpi_history *h, const struct open_partition *p)
{
    return p->applied - p->watermark >= h->limits.checkpoint_records;
}

/* The same samples are not to be written again every minute: a chunk that was stored before has to
 * have doubled, so that all its provisional states together are no more than it is at the end. */
static uint64_t checkpoint_delay(const struct tpi_history *h, const struct open_chunk *c)
{
    bool grown = c->frozen || c->rows >= 2 * c->stored_rows;
    return grown ? h->limits.checkpoint_ms : h->limits.checkpoint_ms * PATIENCE;
}

uint64_t tpi_history_due_ms(struct tpi_history *h)
{
    uint64_t now = tpi_mono_ms(h->env);
    uint64_t due = UINT64_MAX;
    if (h->full_count >= h->limits.commit_chunks || memory_short(h) || tpi_open_presence_many(h)) {
        return 0;
    }
    if (h->full_count > 0) {
        due = wait_ms(now, h->full_ms, h->limits.commit_ms);
    }
    if (h->moved) {
        due = lesser(due, wait_ms(now, h->moved_ms, h->limits.checkpoint_ms));
    }
    pthread_mutex_lock(&h->property_lock);
    if (h->property_count > 0) {
        due = lesser(due, wait_ms(now, h->property_ms, PROPERTY_MS));
    }
    pthread_mutex_unlock(&h->property_lock);
    for (uint32_t i = 0; due > 0 && i < h->partition_count; i++) {
        const struct open_partition *p = &h->partitions[i];
        if (p->dirty_first != NULL) {
            due = lesser(
                due, wait_ms(now, p->dirty_first->dirty_ms, checkpoint_delay(h, p->dirty_first)));
        }
        if (behind(h, p)) {
            due = 0;
        }
    }
    return due;
}

bool tpi_history_due(struct tpi_history *h)
{
    return tpi_history_due_ms(h) == 0;
}

/* ---- what ---- */

static void choose(struct commit *k, struct open_chunk *c)
{
    if (c->chosen) {
        return;
    }
    c->chosen = true;
    c->chosen_next = NULL;
    *(k->last != NULL ? &k->last->chosen_next : &k->first) = c;
    k->last = c;
}

/* Whether an open chunk, the oldest of its partition, is to be stored now. */
static bool dirty_due(const struct tpi_history *h, uint64_t now)
{
    for (uint32_t i = 0; i < h->partition_count; i++) {
        const struct open_chunk *c = h->partitions[i].dirty_first;
        if (c != NULL && now - c->dirty_ms >= checkpoint_delay(h, c)) {
            return true;
        }
    }
    return false;
}

/* Open chunks at the head of a partition's list: all of them, or, if one of any partition is due,
 * those that will be soon: checkpoints come in groups, a transaction and its syncs for all. */
static void choose_dirty(struct commit *k, struct open_partition *p, bool all, bool due,
                         uint64_t now)
{
    struct tpi_history *h = k->h;
    bool far = behind(h, p);
    uint64_t keep = h->limits.checkpoint_records / 2;
    if (!all && !far && !due) {
        return;
    }
    for (struct open_chunk *c = p->dirty_first; c != NULL; c = c->dirty_next) {
        bool old = now - c->dirty_ms >= checkpoint_delay(h, c) / 2;
        if (!all && !old && !(far && p->applied - c->dirty_offset > keep)) {
            return;
        }
        choose(k, c);
    }
}

/* Its memory is wanted: it goes now or with this transaction. */
static void leave(struct commit *k, struct open_chunk *c)
{
    if (c->dirty) {
        c->evict = true;
        choose(k, c);
    } else {
        tpi_open_chunk_drop(k->h, c);
    }
}

/* Over three quarters of the memory: those that were not touched for long go, down to half
 * (squeezed: to half of what there is). */
static void choose_idle(struct commit *k)
{
    struct tpi_history *h = k->h;
    size_t left = h->open_bytes;
    size_t keep = h->squeeze ? left / 2 : h->limits.open_bytes / 2;
    for (struct open_chunk *c = h->full_first; c != NULL; c = c->full_next) {
        left -= tpi_open_chunk_bytes(c);
    }
    struct open_chunk *c = h->use_first;
    uint32_t looks = 2 * h->open_count; /* at each one twice: then nobody is touched any more */
    for (; c != NULL && looks > 0 && left > keep; looks--) {
        struct open_chunk *next = c->use_next;
        if (c->touched || c->evict) {
            c->touched = false;
        } else {
            left -= tpi_open_chunk_bytes(c);
            leave(k, c);
        }
        c = next != NULL ? next : h->use_first;
    }
}

static void choose_all(struct commit *k, bool all)
{
    struct tpi_history *h = k->h;
    uint64_t now = tpi_mono_ms(h->env);
    bool due = dirty_due(h, now);
    for (struct open_chunk *c = h->full_first; c != NULL; c = c->full_next) {
        choose(k, c);
    }
    for (uint32_t i = 0; i < h->partition_count; i++) {
        choose_dirty(k, &h->partitions[i], all, due, now);
    }
    if (memory_short(h)) {
        pthread_mutex_lock(&h->lock);
        choose_idle(k);
        tpi_open_gauges(h);
        pthread_mutex_unlock(&h->lock);
    }
    pthread_mutex_lock(&h->property_lock);
    k->properties = h->property_count;
    pthread_mutex_unlock(&h->property_lock);
}

/* ---- writing ---- */

static int first_chunk_end(void *user, const struct tpc_chunk *chunk)
{
    *(int64_t *) user = chunk->last_unix_ms;
    return 1;
}

/* Newest time that an earlier run stored for the device. Unknown counts as newer than anything:
 * the flag OVERLAP may be there for nothing, never missing. */
static void find_stored_max(struct tpi_history *h, struct open_device *d)
{
    struct tpc_scan scan = { .size = sizeof(scan),
                             .descending = 1,
                             .device_id = d->id,
                             .from_unix_ms = INT64_MIN,
                             .to_unix_ms = INT64_MAX };
    int64_t end = INT64_MIN;
    int rc = h->ops->scan(h->self, &scan, first_chunk_end, &end);
    d->stored_max_ms = rc >= 0 ? end : INT64_MAX;
    d->has_stored = rc < 0;
}

static int write_chunk(struct commit *k, struct open_chunk *c)
{
    struct tpi_history *h = k->h;
    struct tpi_chunk_span span;
    tpi_buf_clear(&h->blob);
    int rc = tpi_chunk_encode(&h->encoder,
                              (struct tpc_bytes){ c->samples.bytes.ptr, c->samples.bytes.len },
                              c->first_offset, c->last_offset, &h->blob, &span);
    if (rc != 0) {
        return tpi_error_set(k->err, rc, origin, "a chunk of device %llu cannot be encoded",
                             (unsigned long long) c->device->id);
    }
    struct tpc_chunk chunk = { .size = sizeof(chunk),
                               .id = c->stored_id,
                               .device_id = c->device->id,
                               .first_unix_ms = span.first_unix_ms,
                               .last_unix_ms = span.last_unix_ms,
                               .samples = span.rows,
                               .blob = { h->blob.ptr, h->blob.len } };
    if (!c->frozen && !c->evict) {
        chunk.flags |= TPC_CHUNK_PROVISIONAL;
    }
    if (span.first_unix_ms <= c->prior_max_ms || span.first_unix_ms <= c->device->stored_max_ms) {
        chunk.flags |= TPC_CHUNK_OVERLAP;
    }
    k->bytes += h->blob.len;
    return h->ops->put_chunk(h->self, &chunk, k->err, &c->written_id);
}

static int flush_marks(struct commit *k)
{
    if (k->mark_count == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < k->mark_count; i++) {
        if (k->marks[i].data.len > 0) {
            k->marks[i].data.ptr = k->h->packed.ptr + k->packed[i];
        }
    }
    int rc = k->h->ops->put_marks(k->h->self, k->marks, k->mark_count, sizeof(k->marks[0]), k->err);
    k->mark_count = 0;
    tpi_buf_clear(&k->h->packed);
    return rc;
}

static int put_mark(struct commit *k, uint32_t type, uint64_t key, uint64_t value,
                    struct tpc_str text)
{
    int rc = k->mark_count == MARK_RUN ? flush_marks(k) : 0;
    if (rc == 0) {
        k->marks[k->mark_count++] = (struct tpc_mark){
            .size = sizeof(k->marks[0]), .type = type, .key = key, .value = value, .text = text
        };
    }
    return rc;
}

/* A mark whose text is a number. */
static int put_number_mark(struct commit *k, uint32_t type, uint64_t key, uint64_t value,
                           uint64_t number)
{
    int rc = k->mark_count == MARK_RUN ? flush_marks(k) : 0;
    if (rc != 0) {
        return rc;
    }
    char *text = k->texts[k->mark_count];
    int len = snprintf(text, MARK_TEXT_BYTES, "%llu", (unsigned long long) number);
    return put_mark(k, type, key, value, (struct tpc_str){ text, (size_t) len });
}

/* How far the device is stored, and its latest values. */
static int put_off_end(struct commit *k, const struct open_chunk *c)
{
    struct tpi_history *h = k->h;
    int rc = put_number_mark(k, TPC_MARK_OFF_END, c->device->id, c->last_offset + 1, c->partition);
    if (rc != 0 || h->registry.latest_pack == NULL) {
        return rc;
    }
    size_t from = h->packed.len;
    rc = h->registry.latest_pack(h->registry.user, c->device->id, &h->packed);
    if (rc != 0) {
        return tpi_error_set(k->err, rc, origin, "no memory for latest values");
    }
    k->packed[k->mark_count - 1] = from;
    k->marks[k->mark_count - 1].data.len = h->packed.len - from;
    return 0;
}

static int put_presence(struct commit *k, uint64_t device_id)
{
    struct tpi_history *h = k->h;
    struct tpi_history_presence presence;
    int rc = k->mark_count == MARK_RUN ? flush_marks(k) : 0;
    if (rc != 0 || !h->registry.presence_get(h->registry.user, device_id, &presence)) {
        return rc;
    }
    char *text = k->texts[k->mark_count];
    size_t len = tpi_open_presence_text(&presence, text);
    return put_mark(k, TPC_MARK_PRESENCE, device_id, (uint64_t) presence.since_unix_ms,
                    (struct tpc_str){ text, len });
}

/* Lowest offset of the partition that stays unwritten after this transaction. */
static uint64_t next_watermark(const struct open_partition *p)
{
    for (const struct open_chunk *c = p->dirty_first; c != NULL; c = c->dirty_next) {
        if (!c->chosen) {
            return c->dirty_offset;
        }
    }
    return p->applied;
}

/* The last chosen chunk of a device says its off_end. */
static bool last_chosen(const struct open_chunk *c)
{
    return c->next == NULL || !c->next->chosen;
}

static int write_marks(struct commit *k)
{
    struct tpi_history *h = k->h;
    int rc = 0;
    tpi_buf_clear(&h->packed);
    for (struct open_chunk *c = k->first; rc == 0 && c != NULL; c = c->chosen_next) {
        if (last_chosen(c)) {
            rc = put_off_end(k, c);
        }
    }
    for (struct open_presence *p = h->presence; rc == 0 && p != NULL; p = p->next) {
        rc = put_presence(k, p->device_id);
    }
    for (uint32_t i = 0; rc == 0 && i < h->partition_count; i++) {
        struct open_partition *p = &h->partitions[i];
        uint64_t mark = next_watermark(p);
        uint64_t end = p->applied > p->end ? p->applied : p->end;
        if (mark != p->watermark || end != p->end) {
            rc = put_number_mark(k, TPC_MARK_WATERMARK, i, mark, end);
        }
    }
    char id[33];
    if (rc == 0 && h->log_changed) {
        (void) tpc_id_format(&h->log_id, id);
        rc = put_mark(k, TPC_MARK_LOG, 0, (uint64_t) h->log_created_ms,
                      (struct tpc_str){ id, TPC_ID_TEXT_BYTES });
    }
    /* links of queued properties do not change before this transaction ends */
    const struct open_property *p = k->properties > 0 ? h->property_first : NULL;
    for (uint32_t i = 0; rc == 0 && i < k->properties; i++) {
        rc = put_mark(k, TPC_MARK_PROPERTY, p->key, 0, (struct tpc_str){ p->text, p->len });
        p = i + 1 < k->properties ? p->next : NULL;
    }
    return rc != 0 ? rc : flush_marks(k);
}

static int write_all(struct commit *k)
{
    struct tpi_history *h = k->h;
    int rc = h->ops->begin(h->self, k->err);
    if (rc != 0) {
        return rc;
    }
    for (struct open_chunk *c = k->first; rc == 0 && c != NULL; c = c->chosen_next) {
        rc = write_chunk(k, c);
    }
    if (rc == 0) {
        rc = write_marks(k);
    }
    if (rc == 0 && h->registry.before_commit != NULL) {
        rc = h->registry.before_commit(h->registry.user, k->err);
    }
    if (rc != 0) {
        h->ops->rollback(h->self);
        return rc;
    }
    return h->ops->commit(h->self, k->err);
}

/* ---- afterwards ---- */

static void forget(struct commit *k)
{
    for (struct open_chunk *c = k->first; c != NULL; c = c->chosen_next) {
        c->chosen = false;
        c->evict = false;
    }
}

static void drop_properties(struct tpi_history *h, uint32_t count)
{
    pthread_mutex_lock(&h->property_lock);
    h->property_count -= count;
    h->property_ms = tpi_mono_ms(h->env);
    for (; count > 0; count--) {
        struct open_property *p = h->property_first;
        h->property_first = p->next;
        tpi_free(h->env->alloc, p, sizeof(*p) + p->len);
    }
    if (h->property_first == NULL) {
        h->property_last = NULL;
    }
    pthread_mutex_unlock(&h->property_lock);
}

static void chunk_stored(struct tpi_history *h, struct open_chunk *c)
{
    c->device->off_end = c->last_offset + 1;
    c->device->partition = c->partition;
    c->stored_id = c->written_id;
    c->stored_rows = c->rows;
    c->chosen = false;
    tpi_open_dirty_remove(h, c);
    if (c->frozen || c->evict) {
        TPI_METRIC_ADD(h->counters.chunks, 1);
        tpi_open_chunk_drop(h, c);
    } else {
        TPI_METRIC_ADD(h->counters.provisional, 1);
    }
}

static void succeed(struct commit *k)
{
    struct tpi_history *h = k->h;
    for (uint32_t i = 0; i < h->partition_count; i++) {
        struct open_partition *p = &h->partitions[i];
        p->watermark = next_watermark(p);
        p->end = p->applied > p->end ? p->applied : p->end;
    }
    pthread_mutex_lock(&h->lock);
    h->full_first = NULL;
    h->full_last = NULL;
    h->full_count = 0;
    struct open_chunk *next;
    for (struct open_chunk *c = k->first; c != NULL; c = next) {
        next = c->chosen_next;
        chunk_stored(h, c);
    }
    tpi_open_gauges(h);
    pthread_mutex_unlock(&h->lock);
    drop_properties(h, k->properties);
    tpi_open_presence_clear(h);
    h->log_changed = false;
    h->moved = false;
    h->squeeze = false;
    TPI_METRIC_ADD(h->counters.commits, 1);
    TPI_METRIC_ADD(h->counters.bytes, k->bytes);
}

int tpi_history_commit(struct tpi_history *h, bool all, struct tpc_error *err)
{
    struct commit k = { .h = h, .err = err };
    choose_all(&k, all);
    bool moved = tpi_open_presence_many(h);
    moved |= h->moved &&
             (all || wait_ms(tpi_mono_ms(h->env), h->moved_ms, h->limits.checkpoint_ms) == 0);
    if (k.first == NULL && k.properties == 0 && !h->log_changed && !moved) {
        return 0;
    }
    for (struct open_chunk *c = k.first; c != NULL; c = c->chosen_next) {
        if (c->device->has_stored) {
            find_stored_max(h, c->device);
        }
    }
    if (h->registry.settle != NULL) {
        h->registry.settle(h->registry.user);
    }
    int rc = write_all(&k);
    if (rc != 0) {
        forget(&k);
        TPI_METRIC_ADD(h->counters.commit_errors, 1);
        return rc;
    }
    succeed(&k);
    return 0;
}
