#include "store/history.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "store/history_open.h"

static const char origin[] = "history";

enum {
    APPLY_RUN = 32, /* messages whose memory is fetched together */
    CACHE_LINE = 64,
    CROWDED_BYTES = 256, /* of a chunk: no smaller one is closed for want of memory */
    MAX_PARTITIONS = 4096,
    PROPERTY_TEXT_BYTES = 512
};

#define METRIC(kind, field, text)                                                                  \
    {                                                                                              \
        "history_" #field kind, text, sizeof(kind) > 1 ? 1 : 2,                                    \
            offsetof(struct tpi_history_counters, field)                                           \
    }

const struct tpi_metric_def tpi_history_metrics[] = {
    METRIC("_total", samples, "Points taken into open chunks"),
    METRIC("_total", skipped, "Records passed over because they were stored before"),
    METRIC("_total", unusable, "Points without property id and key, or of no known type"),
    METRIC("_total", chunks, "Full chunks stored"),
    METRIC("_total", provisional, "Open chunks stored by checkpoints"),
    METRIC("_total", bytes, "Bytes of chunks stored"),
    METRIC("_total", commits, "Transactions"),
    METRIC("_total", commit_errors, "Transactions that failed and are tried again"),
    METRIC("_total", refused, "Records that had to wait because open_bytes was reached"),
    METRIC("_total", deleted, "Chunks deleted because they were older than they are kept"),
    METRIC("_total", given_back, "Bytes of the database given back to the disk"),
    METRIC("", open_bytes, "Memory of open chunks"),
    METRIC("", open_chunks, "Open chunks in memory"),
};
const uint32_t tpi_history_metric_count =
    sizeof(tpi_history_metrics) / sizeof(tpi_history_metrics[0]);

/* ---- lists ---- */

size_t tpi_open_chunk_bytes(const struct open_chunk *c)
{
    return sizeof(*c) + tpi_chunk_samples_bytes(&c->samples);
}

static void dirty_add(struct tpi_history *h, struct open_chunk *c)
{
    struct open_partition *p = &h->partitions[c->partition];
    c->dirty = true;
    c->dirty_prev = p->dirty_last;
    c->dirty_next = NULL;
    *(p->dirty_last != NULL ? &p->dirty_last->dirty_next : &p->dirty_first) = c;
    p->dirty_last = c;
}

void tpi_open_dirty_remove(struct tpi_history *h, struct open_chunk *c)
{
    struct open_partition *p = &h->partitions[c->partition];
    if (!c->dirty) {
        return;
    }
    *(c->dirty_prev != NULL ? &c->dirty_prev->dirty_next : &p->dirty_first) = c->dirty_next;
    *(c->dirty_next != NULL ? &c->dirty_next->dirty_prev : &p->dirty_last) = c->dirty_prev;
    c->dirty = false;
}

void tpi_open_use_add(struct tpi_history *h, struct open_chunk *c)
{
    c->use_prev = h->use_last;
    c->use_next = NULL;
    *(h->use_last != NULL ? &h->use_last->use_next : &h->use_first) = c;
    h->use_last = c;
    h->open_count++;
}

void tpi_open_use_remove(struct tpi_history *h, struct open_chunk *c)
{
    *(c->use_prev != NULL ? &c->use_prev->use_next : &h->use_first) = c->use_next;
    *(c->use_next != NULL ? &c->use_next->use_prev : &h->use_last) = c->use_prev;
    h->open_count--;
}

void tpi_open_chunk_drop(struct tpi_history *h, struct open_chunk *c)
{
    struct open_device *d = c->device;
    struct open_chunk *before = NULL;
    for (struct open_chunk *at = d->first; at != c; at = at->next) {
        before = at;
    }
    *(before != NULL ? &before->next : &d->first) = c->next;
    if (d->last == c) {
        d->last = before;
    }
    tpi_open_dirty_remove(h, c);
    if (!c->frozen) {
        tpi_open_use_remove(h, c);
        if (c->max_ms > d->closed_max_ms) {
            d->closed_max_ms = c->max_ms;
        }
    }
    h->open_bytes -= tpi_open_chunk_bytes(c);
    TPI_METRIC_ADD(h->counters.open_chunks, (uint64_t) -1);
    tpi_chunk_samples_fini(&c->samples);
    tpi_free(h->env->alloc, c, sizeof(*c));
}

void tpi_open_gauges(struct tpi_history *h)
{
    TPI_METRIC_SET(h->counters.open_bytes, h->open_bytes);
}

static void freeze(struct tpi_history *h, struct open_chunk *c)
{
    tpi_open_use_remove(h, c);
    c->frozen = true;
    c->full_next = NULL;
    if (h->full_count == 0) {
        h->full_ms = tpi_mono_ms(h->env);
        h->full_first = c;
    } else {
        h->full_last->full_next = c;
    }
    h->full_last = c;
    h->full_count++;
    if (c->max_ms > c->device->closed_max_ms) {
        c->device->closed_max_ms = c->max_ms;
    }
}

/* ---- life ---- */

static const struct tpi_history_limits defaults = {
    .open_bytes = TPI_HISTORY_OPEN_BYTES,
    .chunk_samples = 120,
    .chunk_values = 960,
    .chunk_bytes = 12000,
    .chunk_span_ms = UINT64_C(31) * 86400 * 1000,
    .checkpoint_ms = 60000,
    .checkpoint_records = 500000,
    .commit_ms = 60000,
    .commit_chunks = 1024,
};

#define LIMIT(h, given, name) (h)->limits.name = (given)->name != 0 ? (given)->name : defaults.name

static void set_limits(struct tpi_history *h, const struct tpi_history_limits *given)
{
    h->limits = defaults;
    if (given == NULL) {
        return;
    }
    LIMIT(h, given, open_bytes);
    LIMIT(h, given, chunk_samples);
    if (given->chunk_samples != 0 || given->chunk_values != 0) {
        h->limits.chunk_values = given->chunk_values;
    }
    LIMIT(h, given, chunk_bytes);
    LIMIT(h, given, chunk_span_ms);
    LIMIT(h, given, checkpoint_ms);
    LIMIT(h, given, checkpoint_records);
    LIMIT(h, given, commit_ms);
    LIMIT(h, given, commit_chunks);
}

static bool usable(const struct tpc_history_ops *ops)
{
    return ops != NULL && ops->iface.major == 1 && TPC_HAS(ops, struct tpc_history_ops, marks) &&
           TPC_HAS(ops, struct tpc_history_ops, delete_before) && ops->begin != NULL &&
           ops->put_chunk != NULL && ops->put_marks != NULL && ops->commit != NULL &&
           ops->rollback != NULL && ops->scan != NULL;
}

int tpi_history_create(const struct tpi_env *env, const struct tpc_history_ops *ops, void *self,
                       const struct tpi_history_limits *limits, uint32_t partitions,
                       struct tpc_error *err, struct tpi_history **ret)
{
    if (!usable(ops)) {
        return tpi_error_set(err, TPC_EINVAL, origin, "the engine's table is not complete");
    }
    if (ops->shape != TPC_HISTORY_BLOB) {
        return tpi_error_set(err, TPC_EINVAL, origin, "engine %s has shape %u, only blob is known",
                             ops->name, ops->shape);
    }
    if (partitions == 0 || partitions > MAX_PARTITIONS) {
        return tpi_error_set(err, TPC_EINVAL, origin, "%u partitions: 1 to %d are possible",
                             partitions, MAX_PARTITIONS);
    }
    struct tpi_history *h = tpi_alloc_zero(env->alloc, sizeof(*h));
    struct open_partition *parts = tpi_alloc_zero(env->alloc, partitions * sizeof(*parts));
    if (h == NULL || parts == NULL) {
        tpi_free(env->alloc, h, sizeof(*h));
        tpi_free(env->alloc, parts, partitions * sizeof(*parts));
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for the history");
    }
    h->env = env;
    h->ops = ops;
    h->self = self;
    h->partitions = parts;
    h->partition_count = partitions;
    set_limits(h, limits);
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->property_lock, NULL);
    tpi_map64_init(&h->known, env->alloc);
    tpi_map64_init(&h->presence_known, env->alloc);
    /* A commit makes room: it must not fail for want of room. */
    tpi_buf_init(&h->packed, tpi_env_reserve(env), 0);
    tpi_chunk_encoder_init(&h->encoder, tpi_env_reserve(env));
    tpi_buf_init(&h->blob, tpi_env_reserve(env), 0);
    *ret = h;
    return 0;
}

void tpi_history_destroy(struct tpi_history *h)
{
    if (h == NULL) {
        return;
    }
    const struct tpc_allocator *alloc = h->env->alloc;
    tpi_open_devices_free(h);
    while (h->property_first != NULL) {
        struct open_property *p = h->property_first;
        h->property_first = p->next;
        tpi_free(alloc, p, sizeof(*p) + p->len);
    }
    tpi_map64_fini(&h->known);
    tpi_open_presence_clear(h);
    tpi_map64_fini(&h->presence_known);
    tpi_buf_fini(&h->packed);
    tpi_chunk_encoder_fini(&h->encoder);
    tpi_buf_fini(&h->blob);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->property_lock);
    tpi_free(alloc, h->partitions, h->partition_count * sizeof(*h->partitions));
    tpi_free(alloc, h, sizeof(*h));
}

/* ---- start: marks ---- */

struct loading {
    struct tpi_history *h;
    struct tpc_error *err;
    bool has_log;
    struct tpc_id log_id;
    int64_t created_ms;
};

/* A number in decimal, or `fallback` if the text is none. */
static uint64_t text_number(struct tpc_str text, uint64_t fallback)
{
    uint64_t x = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || x > UINT64_MAX / 10 - 1) {
            return fallback;
        }
        x = x * 10 + (uint64_t) (text.ptr[i] - '0');
    }
    return text.len > 0 ? x : fallback;
}

static int load_watermark(void *user, const struct tpc_mark *mark)
{
    struct loading *l = user;
    if (mark->key >= l->h->partition_count) {
        return tpi_error_set(l->err, TPC_EINVAL, origin,
                             "the history has marks of partition %llu, the log has %u partitions",
                             (unsigned long long) mark->key, l->h->partition_count);
    }
    struct open_partition *p = &l->h->partitions[mark->key];
    uint64_t end = text_number(mark->text, mark->value);
    p->watermark = mark->value;
    p->applied = mark->value;
    p->end = end > mark->value ? end : mark->value;
    return 0;
}

static int load_off_end(void *user, const struct tpc_mark *mark)
{
    struct loading *l = user;
    return tpi_open_device_rest(l->h, mark->key, mark->value,
                                (uint32_t) text_number(mark->text, 0));
}

static int load_presence(void *user, const struct tpc_mark *mark)
{
    struct loading *l = user;
    return tpi_open_presence_load(l->h, mark);
}

static int load_log(void *user, const struct tpc_mark *mark)
{
    struct loading *l = user;
    if (tpc_id_parse(mark->text, &l->log_id) != 0) {
        return tpi_error_set(l->err, TPC_ECORRUPT, origin, "the mark of the log is no id: %.*s",
                             (int) mark->text.len, mark->text.ptr);
    }
    l->created_ms = (int64_t) mark->value;
    l->has_log = true;
    return 0;
}

/* Hash of a mark's text as a pointer that is not NULL. */
static void *text_seal(const char *text, size_t len)
{
    return (void *) (uintptr_t) (tpi_hash(text, len, 0) | 1);
}

static int load_property(void *user, const struct tpc_mark *mark)
{
    struct loading *l = user;
    return tpi_map64_put(&l->h->known, mark->key, text_seal(mark->text.ptr, mark->text.len), NULL);
}

static int load_marks(struct loading *l)
{
    static const struct {
        uint32_t type;
        tpc_mark_fn *fn;
    } steps[] = { { TPC_MARK_LOG, load_log },
                  { TPC_MARK_WATERMARK, load_watermark },
                  { TPC_MARK_OFF_END, load_off_end },
                  { TPC_MARK_PRESENCE, load_presence },
                  { TPC_MARK_PROPERTY, load_property } };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
        rc = l->h->ops->marks(l->h->self, steps[i].type, steps[i].fn, l);
    }
    if (rc != 0 && l->err != NULL && l->err->code != rc) {
        (void) tpi_error_set(l->err, rc, origin, "the marks cannot be read");
    }
    return rc;
}

int tpi_history_start(struct tpi_history *h, const struct tpc_id *log_id, int64_t log_created_ms,
                      bool accept_gap, struct tpc_error *err)
{
    struct tpc_error own = { .size = sizeof(own) };
    struct loading l = { .h = h, .err = err != NULL ? err : &own };
    int rc = load_marks(&l);
    if (rc != 0) {
        return rc;
    }
    bool same = l.has_log && memcmp(&l.log_id, log_id, sizeof(*log_id)) == 0;
    if (l.has_log && !same && !accept_gap) {
        char ours[33];
        char theirs[33];
        (void) tpc_id_format(&l.log_id, ours);
        (void) tpc_id_format(log_id, theirs);
        return tpi_error_set(err, TPC_EGAP, origin,
                             "the history belongs to log %s made at %lld ms, this is log %s made "
                             "at %lld ms; one of them was restored from another time",
                             ours, (long long) l.created_ms, theirs, (long long) log_created_ms);
    }
    h->log_id = *log_id;
    h->log_created_ms = log_created_ms;
    h->log_changed = !same;
    if (!same) {
        return tpi_history_commit(h, true, err);
    }
    return 0;
}

/* ---- what is stored ---- */

uint64_t tpi_history_watermark(const struct tpi_history *h, uint32_t partition)
{
    return partition < h->partition_count ? h->partitions[partition].watermark : 0;
}

uint64_t tpi_history_max_offset(const struct tpi_history *h, uint32_t partition)
{
    return partition < h->partition_count ? h->partitions[partition].end : 0;
}

uint64_t tpi_history_applied(const struct tpi_history *h, uint32_t partition)
{
    return partition < h->partition_count ? h->partitions[partition].applied : 0;
}

uint64_t tpi_history_off_end(struct tpi_history *h, uint64_t device_id)
{
    pthread_mutex_lock(&h->lock);
    uint32_t partition;
    uint64_t off_end = tpi_open_device_off_end(h, device_id, &partition);
    pthread_mutex_unlock(&h->lock);
    return off_end;
}

struct tpi_history_counters *tpi_history_counters(struct tpi_history *h)
{
    return &h->counters;
}

/* ---- apply ---- */

static int64_t point_time(const struct tpc_msg *msg, const struct tpc_point *p)
{
    return p->unix_ms != 0 ? p->unix_ms : msg->unix_ms;
}

static bool point_usable(const struct tpc_point *p)
{
    return p->property != TPC_PROPERTY_NONE && p->value.type <= TPC_MAP;
}

/* What is to be kept of a message. */
struct taking {
    const struct tpc_msg *msg;
    uint32_t partition;
    uint32_t usable; /* points */
    uint32_t by_key; /* points that the model does not know: none of the history's */
    bool one_time;   /* all points have min_ms */
    int64_t min_ms;
    int64_t max_ms;
};

static void look_at(const struct tpc_msg *msg, uint32_t partition, struct taking *ret)
{
    *ret = (struct taking){ .msg = msg, .partition = partition, .one_time = true };
    for (uint32_t i = 0; i < msg->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(msg, i);
        int64_t at = point_time(msg, p);
        if (!point_usable(p)) {
            ret->by_key += p->property == TPC_PROPERTY_NONE && p->key.len > 0;
            continue;
        }
        if (ret->usable == 0) {
            ret->min_ms = at;
            ret->max_ms = at;
        }
        ret->one_time = ret->one_time && at == ret->min_ms;
        ret->min_ms = at < ret->min_ms ? at : ret->min_ms;
        ret->max_ms = at > ret->max_ms ? at : ret->max_ms;
        ret->usable++;
    }
}

static int chunk_begin(struct tpi_history *h, struct open_device *d, uint32_t partition,
                       struct open_chunk **ret)
{
    struct open_chunk *c = tpi_alloc_zero(h->env->alloc, sizeof(*c));
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    tpi_chunk_samples_init(&c->samples, h->env->alloc);
    c->device = d;
    c->partition = partition;
    c->prior_max_ms = d->closed_max_ms;
    c->min_ms = INT64_MAX;
    c->max_ms = INT64_MIN;
    *(d->last != NULL ? &d->last->next : &d->first) = c;
    d->last = c;
    tpi_open_use_add(h, c);
    h->open_bytes += tpi_open_chunk_bytes(c);
    TPI_METRIC_ADD(h->counters.open_chunks, 1);
    *ret = c;
    return 0;
}

/* Rows of points that stand together and have one time. Returns the points taken, or an error. */
static int64_t put_rows(struct open_chunk *c, const struct taking *t)
{
    const struct tpc_msg *msg = t->msg;
    int64_t taken = 0;
    uint32_t i = 0;
    while (i < msg->point_count) {
        uint32_t first = i;
        const struct tpc_point *p = tpc_msg_point(msg, first);
        struct tpi_chunk_row row = { .unix_ms = t->one_time ? t->min_ms : point_time(msg, p),
                                     .points = p,
                                     .stride = msg->point_size };
        i = t->one_time ? msg->point_count : first + 1;
        while (i < msg->point_count && point_time(msg, tpc_msg_point(msg, i)) == row.unix_ms) {
            i++;
        }
        row.count = i - first;
        int rc = tpi_chunk_samples_row(&c->samples, &row);
        if (rc == TPC_ENOMEM) {
            return rc;
        }
        c->rows += rc > 0;
        taken += rc > 0 ? rc : 0;
    }
    return taken;
}

/* Adds a message to the device's open chunk. On failure the chunk is as it was. */
static int chunk_add(struct tpi_history *h, struct open_chunk *c, const struct taking *t)
{
    const struct tpc_msg *msg = t->msg;
    struct tpi_chunk_mark before = tpi_chunk_samples_mark(&c->samples);
    size_t held = tpi_chunk_samples_bytes(&c->samples);
    uint32_t rows = c->rows;
    int64_t taken = put_rows(c, t);
    h->open_bytes += tpi_chunk_samples_bytes(&c->samples) - held;
    if (taken < 0) {
        tpi_chunk_samples_back(&c->samples, before);
        c->rows = rows;
        return (int) taken;
    }
    c->values += (uint32_t) taken;
    TPI_METRIC_ADD(h->counters.samples, (uint64_t) taken);
    if (taken + t->by_key < msg->point_count) {
        TPI_METRIC_ADD(h->counters.unusable, msg->point_count - t->by_key - (uint64_t) taken);
    }
    if (taken == 0) {
        return TPC_EINVAL;
    }
    if (before.len == 0) {
        c->first_offset = msg->offset;
    }
    c->last_offset = msg->offset;
    c->min_ms = t->min_ms < c->min_ms ? t->min_ms : c->min_ms;
    c->max_ms = t->max_ms > c->max_ms ? t->max_ms : c->max_ms;
    if (!c->dirty) {
        c->dirty_offset = msg->offset;
        c->dirty_ms = tpi_mono_ms(h->env);
        dirty_add(h, c);
    }
    return 0;
}

static bool chunk_fits(const struct tpi_history *h, const struct open_chunk *c,
                       const struct taking *t)
{
    int64_t low = t->min_ms < c->min_ms ? t->min_ms : c->min_ms;
    int64_t high = t->max_ms > c->max_ms ? t->max_ms : c->max_ms;
    return c->partition == t->partition &&
           (uint64_t) high - (uint64_t) low <= h->limits.chunk_span_ms;
}

/* With many devices their chunks become smaller, lest they are written before they are full. */
static bool chunk_full(const struct tpi_history *h, const struct open_chunk *c)
{
    bool many = c->rows >= h->limits.chunk_samples && c->values >= h->limits.chunk_values;
    if (many || c->samples.bytes.len >= h->limits.chunk_bytes) {
        return true;
    }
    return h->open_bytes / 5 > h->limits.open_bytes / 8 && c->samples.bytes.len >= CROWDED_BYTES &&
           tpi_open_chunk_bytes(c) > h->open_bytes / h->open_count;
}

static int take(struct tpi_history *h, struct open_device *d, const struct taking *t)
{
    struct open_chunk *c = d->last;
    if (c != NULL && !c->frozen && !chunk_fits(h, c, t)) {
        if (c->dirty) {
            freeze(h, c);
        } else {
            tpi_open_chunk_drop(h, c);
        }
        c = NULL;
    }
    if (c == NULL || c->frozen) {
        int rc = chunk_begin(h, d, t->partition, &c);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = chunk_add(h, c, t);
    if (rc != 0) {
        if (c->rows == 0) {
            tpi_open_chunk_drop(h, c);
        }
        return rc == TPC_EINVAL ? 0 : rc;
    }
    if (chunk_full(h, c)) {
        freeze(h, c);
    } else {
        c->touched = true;
    }
    return 0;
}

static int apply_points(struct tpi_history *h, const struct tpc_msg *msg, uint32_t partition)
{
    struct taking t;
    look_at(msg, partition, &t);
    if (t.usable == 0) {
        TPI_METRIC_ADD(h->counters.unusable, msg->point_count - t.by_key);
        return 0;
    }
    struct open_device *d = tpi_open_device_get(h, msg->device_id);
    uint32_t stored_in;
    uint64_t off_end =
        d != NULL ? d->off_end : tpi_open_device_off_end(h, msg->device_id, &stored_in);
    stored_in = d != NULL ? d->partition : stored_in;
    if (stored_in == partition && msg->offset < off_end) {
        TPI_METRIC_ADD(h->counters.skipped, 1);
        return 0;
    }
    if (h->open_bytes >= h->limits.open_bytes) {
        TPI_METRIC_ADD(h->counters.refused, 1);
        return TPC_EAGAIN;
    }
    int rc = d != NULL ? 0 : tpi_open_device_make(h, msg->device_id, &d);
    if (rc == 0) {
        rc = take(h, d, &t);
    }
    tpi_open_gauges(h);
    return rc;
}

int tpi_history_apply(struct tpi_history *h, const struct tpc_msg *msg, uint32_t partition)
{
    if (partition >= h->partition_count) {
        return TPC_EINVAL;
    }
    struct open_partition *p = &h->partitions[partition];
    if (msg->offset < p->applied) {
        TPI_METRIC_ADD(h->counters.skipped, 1);
        return 0;
    }
    if ((msg->kind == TPC_MSG_TELEMETRY || msg->kind == TPC_MSG_ATTRIBUTES) &&
        msg->point_count > 0 && msg->device_id != 0) {
        pthread_mutex_lock(&h->lock);
        int rc = apply_points(h, msg, partition);
        pthread_mutex_unlock(&h->lock);
        if (rc != 0) {
            return rc;
        }
    }
    if (msg->kind == TPC_MSG_PRESENCE) {
        int rc = tpi_open_presence_note(h, msg->device_id);
        if (rc != 0) {
            return rc;
        }
    }
    p->applied = msg->offset + 1;
    if (!h->moved) {
        h->moved = true;
        h->moved_ms = tpi_mono_ms(h->env);
    }
    return 0;
}

static void fetch(const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += CACHE_LINE) {
        __builtin_prefetch((const char *) p + i, 1);
    }
}

/* Nobody else changes devices and chunks, so they may be looked at without the lock. */
static void fetch_some(const struct tpi_history *h, const struct tpc_msg *msgs, uint32_t count)
{
    const struct open_device *devices[APPLY_RUN];
    for (uint32_t i = 0; i < count; i++) {
        devices[i] = tpi_open_device_get(h, msgs[i].device_id);
        if (devices[i] != NULL) {
            fetch(devices[i], 1);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (devices[i] != NULL && devices[i]->last != NULL) {
            fetch(devices[i]->last, offsetof(struct open_chunk, device));
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct open_chunk *c = devices[i] != NULL ? devices[i]->last : NULL;
        if (c != NULL && !c->frozen) {
            fetch(c->samples.bytes.ptr + c->samples.bytes.len, 1);
            fetch(c->samples.shapes.columns, 4 * CACHE_LINE);
        }
    }
}

int tpi_history_apply_some(struct tpi_history *h, const struct tpc_msg *msgs, uint32_t count,
                           uint32_t partition, uint32_t *ret_done)
{
    uint32_t done = 0;
    int rc = 0;
    while (rc == 0 && done < count) {
        uint32_t end = count - done < APPLY_RUN ? count : done + APPLY_RUN;
        fetch_some(h, msgs + done, end - done);
        while (done < end && (rc = tpi_history_apply(h, &msgs[done], partition)) == 0) {
            done++;
        }
    }
    *ret_done = done;
    return rc;
}

/* ---- properties ---- */

static int property_text(uint64_t key_len, struct tpc_str key, struct tpc_str type, char *text,
                         size_t *ret_len)
{
    struct tpc_member members[] = {
        { TPC_STR("key"), { .type = TPC_TEXT, .len = key.len, .as = { .text = key.ptr } } },
        { TPC_STR("type"), { .type = TPC_TEXT, .len = type.len, .as = { .text = type.ptr } } }
    };
    struct tpc_value v = { .type = TPC_MAP, .len = 2, .as = { .members = members } };
    struct tpc_buf buf = { (uint8_t *) text, PROPERTY_TEXT_BYTES, 0 };
    int rc = key_len == 0 ? TPC_EINVAL : tpc_json_write(&v, 0, &buf);
    if (rc != 0) {
        return TPC_EINVAL;
    }
    *ret_len = buf.need;
    return 0;
}

int tpi_history_property(struct tpi_history *h, uint64_t product_id, uint16_t property_id,
                         struct tpc_str key, struct tpc_str type)
{
    char text[PROPERTY_TEXT_BYTES];
    size_t len = 0;
    if (property_id == TPC_PROPERTY_NONE || product_id > UINT64_MAX >> 16) {
        return TPC_EINVAL;
    }
    int rc = property_text(key.len, key, type, text, &len);
    if (rc != 0) {
        return rc;
    }
    uint64_t mark = product_id << 16 | property_id;
    void *seal = text_seal(text, len);
    pthread_mutex_lock(&h->property_lock);
    if (tpi_map64_get(&h->known, mark) == seal) {
        pthread_mutex_unlock(&h->property_lock);
        return 0;
    }
    struct open_property *p = tpi_alloc(h->env->alloc, sizeof(*p) + len);
    rc = p != NULL ? tpi_map64_put(&h->known, mark, seal, NULL) : TPC_ENOMEM;
    if (rc == 0) {
        p->next = NULL;
        p->key = mark;
        p->len = len;
        memcpy(p->text, text, len);
        *(h->property_last != NULL ? &h->property_last->next : &h->property_first) = p;
        h->property_last = p;
        if (h->property_count++ == 0) {
            h->property_ms = tpi_mono_ms(h->env);
        }
    } else {
        tpi_free(h->env->alloc, p, sizeof(*p) + len);
    }
    pthread_mutex_unlock(&h->property_lock);
    return rc;
}
