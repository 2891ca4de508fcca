/*
 * Queries: stored and open samples of a device as one run in time order.
 *
 * The device's open samples are copied and encoded first, then the store is scanned, so a sample
 * that a commit moves meanwhile is seen at least once; seeing it twice does no harm, because of
 * samples with one property and time only the last appended counts. Chunks may overlap, so the
 * query works in windows: it takes chunks in time order until enough of their rows lie before the
 * next chunk's begin; up to there nothing else can come. A window's rows are sorted and merged.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/history_open.h"

static const char origin[] = "history";

enum {
    BATCH_ROWS = 4096,
    BATCH_ROWS_MIN = 64,
    BATCH_VALUES = 1 << 18, /* places of a batch: many columns make it shorter */
    FIRST_ITEMS = 16
};

/* A chunk of the window: from the store, or the device's open samples. */
struct source {
    uint64_t rank;        /* later appended = greater */
    uint64_t last_offset; /* of two states of one chunk the longer one wins */
    struct tpc_bytes blob;
    int64_t first_ms;
    int64_t last_ms;
    uint32_t rows;
    int64_t *times;
    struct tpc_value *values; /* column by column, `rows` each; only if validity says so */
    uint8_t *validity;        /* column by column, (rows + 7) / 8 each */
};

/* A row of a source. */
struct entry {
    int64_t unix_ms;
    uint32_t source;
    uint32_t row;
};

/* Open samples as they were copied. */
struct part {
    size_t begin; /* in raw, then in blobs */
    size_t len;
    uint64_t first_offset;
    uint64_t last_offset;
    uint64_t stored_id;
    struct tpi_chunk_span span;
};

struct list {
    void *items;
    size_t count;
    size_t cap;
    size_t size; /* of one */
};

struct tpi_history_rows {
    struct tpi_history *h;
    const struct tpc_allocator *alloc;
    struct tpc_error *err;   /* of the call that runs */
    struct tpc_arena *texts; /* the query's copy */
    struct tpc_arena *window;
    struct tpi_history_query q;
    uint32_t device; /* present one */
    bool begun;      /* its open part was copied */
    bool ended;      /* nothing is left of it but the window */
    uint64_t emitted;
    int64_t low; /* [low, high) is still to be read */
    int64_t high;
    struct tpi_chunk_encoder encoder;
    struct tpi_buf raw;
    struct tpi_buf blobs;
    struct list parts;
    struct list sources;
    struct list entries;
    size_t entry; /* ascending: next; descending: one past the next */
    uint64_t target_rows;
    uint32_t batch_rows; /* places of a batch: a multiple of 8 */
    int64_t *times;
    struct tpc_value *values;
    uint8_t *validity;
    struct tpc_column *columns;
    struct tpc_row_batch batch;
};

static void *list_add(const struct tpc_allocator *alloc, struct list *l)
{
    if (l->count == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : FIRST_ITEMS;
        void *p = tpi_resize(alloc, l->items, l->cap * l->size, cap * l->size);
        if (p == NULL) {
            return NULL;
        }
        l->items = p;
        l->cap = cap;
    }
    void *item = (char *) l->items + l->count++ * l->size;
    memset(item, 0, l->size);
    return item;
}

static void list_fini(const struct tpc_allocator *alloc, struct list *l)
{
    tpi_free(alloc, l->items, l->cap * l->size);
    l->items = NULL;
}

/* ---- open and close ---- */

static int copy_text(struct tpc_arena *arena, struct tpc_str text, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, text.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    if (text.len > 0) {
        memcpy(p, text.ptr, text.len);
    }
    p[text.len] = '\0';
    *ret = (struct tpc_str){ p, text.len };
    return 0;
}

static int copy_devices(struct tpi_history_rows *r, const struct tpi_history_query *q)
{
    struct tpi_history_device *devices =
        tpc_arena_take(r->texts, q->device_count * sizeof(*devices));
    uint16_t *ids =
        tpc_arena_take(r->texts, (size_t) q->device_count * q->property_count * sizeof(*ids));
    if (devices == NULL || ids == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < q->device_count; i++) {
        uint16_t *own = ids + (size_t) i * q->property_count;
        memcpy(own, q->devices[i].properties, q->property_count * sizeof(*own));
        devices[i].id = q->devices[i].id;
        devices[i].properties = own;
        int rc = copy_text(r->texts, q->devices[i].key, &devices[i].key);
        if (rc != 0) {
            return rc;
        }
    }
    r->q.devices = devices;
    return 0;
}

static int copy_query(struct tpi_history_rows *r, const struct tpi_history_query *q)
{
    int rc = tpc_arena_create(r->alloc, 0, &r->texts);
    rc = rc != 0 ? rc : tpc_arena_create(r->alloc, 0, &r->window);
    if (rc != 0) {
        return rc;
    }
    r->q = *q;
    struct tpc_str *keys = tpc_arena_take(r->texts, q->property_count * sizeof(*keys));
    uint32_t rows = BATCH_VALUES / q->property_count / 8 * 8;
    r->batch_rows = rows > BATCH_ROWS ? BATCH_ROWS : rows < BATCH_ROWS_MIN ? BATCH_ROWS_MIN : rows;
    size_t places = (size_t) q->property_count * r->batch_rows;
    r->times = tpi_alloc(r->alloc, r->batch_rows * sizeof(*r->times));
    r->values = tpi_alloc(r->alloc, places * sizeof(*r->values));
    r->validity = tpi_alloc(r->alloc, places / 8);
    r->columns = tpi_alloc_zero(r->alloc, q->property_count * sizeof(*r->columns));
    if (keys == NULL || r->times == NULL || r->values == NULL || r->validity == NULL ||
        r->columns == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; rc == 0 && i < q->property_count; i++) {
        rc = copy_text(r->texts, q->properties[i], &keys[i]);
        r->columns[i].property = keys[i];
        r->columns[i].values = r->values + (size_t) i * r->batch_rows;
        r->columns[i].validity = r->validity + (size_t) i * (r->batch_rows / 8);
    }
    r->q.properties = keys;
    return rc != 0 ? rc : copy_devices(r, q);
}

int tpi_history_query_open(struct tpi_history *h, const struct tpi_history_query *q,
                           struct tpc_error *err, struct tpi_history_rows **ret)
{
    if (q->device_count == 0 || q->property_count == 0) {
        return tpi_error_set(err, TPC_EINVAL, origin, "a query names devices and properties");
    }
    if (q->property_count > UINT16_MAX) {
        return tpi_error_set(err, TPC_EINVAL, origin, "%u properties: at most %u",
                             q->property_count, UINT16_MAX);
    }
    if (q->from_unix_ms >= q->to_unix_ms) {
        return tpi_error_set(err, TPC_EINVAL, origin, "the range of times is empty");
    }
    struct tpi_history_rows *r = tpi_alloc_zero(h->env->alloc, sizeof(*r));
    if (r == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for a query");
    }
    r->h = h;
    r->alloc = h->env->alloc;
    r->parts.size = sizeof(struct part);
    r->sources.size = sizeof(struct source);
    r->entries.size = sizeof(struct entry);
    tpi_buf_init(&r->raw, r->alloc, 0);
    tpi_buf_init(&r->blobs, r->alloc, 0);
    tpi_chunk_encoder_init(&r->encoder, r->alloc);
    r->target_rows = q->limit != 0 && q->limit < BATCH_ROWS ? q->limit : BATCH_ROWS;
    int rc = copy_query(r, q);
    if (rc != 0) {
        tpi_history_query_close(r);
        return tpi_error_set(err, rc, origin, "no memory for a query");
    }
    *ret = r;
    return 0;
}

struct tpi_history_rows *tpi_history_query_close(struct tpi_history_rows *rows)
{
    struct tpi_history_rows *r = rows;
    if (r == NULL) {
        return NULL;
    }
    size_t places = (size_t) r->q.property_count * r->batch_rows;
    tpi_free(r->alloc, r->times, r->batch_rows * sizeof(*r->times));
    tpi_free(r->alloc, r->values, places * sizeof(*r->values));
    tpi_free(r->alloc, r->validity, places / 8);
    tpi_free(r->alloc, r->columns, r->q.property_count * sizeof(*r->columns));
    tpi_chunk_encoder_fini(&r->encoder);
    tpi_buf_fini(&r->raw);
    tpi_buf_fini(&r->blobs);
    list_fini(r->alloc, &r->parts);
    list_fini(r->alloc, &r->sources);
    list_fini(r->alloc, &r->entries);
    tpc_arena_destroy(r->window);
    tpc_arena_destroy(r->texts);
    tpi_free(r->alloc, r, sizeof(*r));
    return NULL;
}

/* ---- the open part ---- */

static int copy_open(struct tpi_history_rows *r, const struct open_device *d)
{
    for (const struct open_chunk *c = d->first; c != NULL; c = c->next) {
        struct part *p = list_add(r->alloc, &r->parts);
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        *p = (struct part){ .begin = r->raw.len,
                            .len = c->samples.len,
                            .first_offset = c->first_offset,
                            .last_offset = c->last_offset,
                            .stored_id = c->stored_id };
        int rc = tpi_buf_put(&r->raw, c->samples.ptr, c->samples.len);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int begin_device(struct tpi_history_rows *r)
{
    struct tpi_history *h = r->h;
    tpi_buf_clear(&r->raw);
    tpi_buf_clear(&r->blobs);
    r->parts.count = 0;
    pthread_mutex_lock(&h->lock);
    const struct open_device *d = tpi_map64_get(&h->devices, r->q.devices[r->device].id);
    int rc = d != NULL ? copy_open(r, d) : 0;
    pthread_mutex_unlock(&h->lock);
    struct part *parts = r->parts.items;
    for (size_t i = 0; rc == 0 && i < r->parts.count; i++) {
        struct part *p = &parts[i];
        struct tpc_bytes samples = { r->raw.ptr + p->begin, p->len };
        p->begin = r->blobs.len;
        rc = tpi_chunk_encode(&r->encoder, samples, p->first_offset, p->last_offset, &r->blobs,
                              &p->span);
        p->len = r->blobs.len - p->begin;
    }
    r->low = r->q.from_unix_ms;
    r->high = r->q.to_unix_ms;
    r->emitted = 0;
    r->ended = false;
    r->begun = rc == 0;
    return rc;
}

/* ---- a window ---- */

struct scanning {
    struct tpi_history_rows *r;
    int64_t border; /* the window ends there (descending: begins) */
    bool cut;
    uint64_t rows;
};

/* Rows of chunks that lie wholly before the given one. */
static uint64_t whole_rows(const struct tpi_history_rows *r, const struct tpc_chunk *next)
{
    const struct source *s = r->sources.items;
    uint64_t rows = 0;
    for (size_t i = 0; i < r->sources.count; i++) {
        bool whole = r->q.descending ? s[i].first_ms > next->last_unix_ms
                                     : s[i].last_ms < next->first_unix_ms;
        rows += whole ? s[i].rows : 0;
    }
    return rows;
}

static int take_chunk(void *user, const struct tpc_chunk *chunk)
{
    struct scanning *k = user;
    struct tpi_history_rows *r = k->r;
    if (k->rows >= r->target_rows && whole_rows(r, chunk) >= r->target_rows) {
        k->cut = true;
        k->border = r->q.descending ? chunk->last_unix_ms + 1 : chunk->first_unix_ms;
        return 1;
    }
    uint8_t *copy = tpc_arena_take(r->window, chunk->blob.len + 1);
    struct source *s = copy != NULL ? list_add(r->alloc, &r->sources) : NULL;
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    if (chunk->blob.len > 0) {
        memcpy(copy, chunk->blob.ptr, chunk->blob.len);
    }
    s->rank = chunk->id;
    s->blob = (struct tpc_bytes){ copy, chunk->blob.len };
    s->rows = chunk->samples;
    s->first_ms = chunk->first_unix_ms;
    s->last_ms = chunk->last_unix_ms;
    k->rows += chunk->samples;
    return 0;
}

static int take_parts(struct tpi_history_rows *r, int64_t low, int64_t high)
{
    const struct part *p = r->parts.items;
    for (size_t i = 0; i < r->parts.count; i++) {
        if (p[i].span.last_unix_ms < low || p[i].span.first_unix_ms >= high) {
            continue;
        }
        struct source *s = list_add(r->alloc, &r->sources);
        if (s == NULL) {
            return TPC_ENOMEM;
        }
        s->rank = p[i].stored_id != 0 ? p[i].stored_id : UINT64_MAX - (r->parts.count - i);
        s->blob = (struct tpc_bytes){ r->blobs.ptr + p[i].begin, p[i].len };
    }
    return 0;
}

/* Values of the queried columns; what is not asked for is passed over unread. */
static int decode_columns(struct tpi_history_rows *r, struct tpi_chunk_reader *in, struct source *s)
{
    const uint16_t *ids = r->q.devices[r->device].properties;
    size_t bits = ((size_t) s->rows + 7) / 8;
    struct tpi_chunk_column c;
    int rc = tpi_chunk_next(in, r->err, &c);
    for (; rc == 1; rc = tpi_chunk_next(in, r->err, &c)) {
        for (uint32_t i = 0; i < r->q.property_count; i++) {
            if (ids[i] != c.property) {
                continue;
            }
            int bad = tpi_chunk_values(&c, s->rows, r->window, r->err,
                                       s->values + (size_t) i * s->rows, s->validity + i * bits);
            if (bad != 0) {
                return bad;
            }
        }
    }
    return rc;
}

static int decode(struct tpi_history_rows *r, struct source *s)
{
    struct tpi_chunk_reader in;
    int rc = tpi_chunk_open(&in, s->blob, r->err);
    if (rc != 0) {
        return rc;
    }
    s->rows = in.span.rows;
    s->last_offset = in.span.last_offset;
    size_t columns = r->q.property_count;
    size_t bits = columns * (((size_t) s->rows + 7) / 8);
    s->times = tpc_arena_take(r->window, s->rows * sizeof(*s->times));
    s->values = tpc_arena_take(r->window, columns * s->rows * sizeof(*s->values));
    s->validity = tpc_arena_take(r->window, bits);
    if (s->times == NULL || s->values == NULL || s->validity == NULL) {
        return TPC_ENOMEM;
    }
    memset(s->validity, 0, bits);
    rc = tpi_chunk_times(&in, r->err, s->times);
    return rc != 0 ? rc : decode_columns(r, &in, s);
}

static int compare_sources(const void *a, const void *b)
{
    const struct source *x = a;
    const struct source *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return x->last_offset < y->last_offset ? -1 : x->last_offset > y->last_offset;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    if (x->unix_ms != y->unix_ms) {
        return x->unix_ms < y->unix_ms ? -1 : 1;
    }
    return x->source < y->source ? -1 : x->source > y->source;
}

static bool source_valid(const struct tpi_history_rows *r, const struct source *s, uint32_t column,
                         uint32_t row)
{
    (void) r;
    size_t bits = ((size_t) s->rows + 7) / 8;
    return (s->validity[column * bits + row / 8] >> (row % 8) & 1) != 0;
}

static int add_entries(struct tpi_history_rows *r, uint32_t index, int64_t low, int64_t high)
{
    const struct source *s = (const struct source *) r->sources.items + index;
    for (uint32_t row = 0; row < s->rows; row++) {
        bool any = false;
        if (s->times[row] < low || s->times[row] >= high) {
            continue;
        }
        for (uint32_t i = 0; i < r->q.property_count && !any; i++) {
            any = source_valid(r, s, i, row);
        }
        if (any) {
            struct entry *e = list_add(r->alloc, &r->entries);
            if (e == NULL) {
                return TPC_ENOMEM;
            }
            *e = (struct entry){ s->times[row], index, row };
        }
    }
    return 0;
}

/* Decodes the window's chunks and sorts their rows. */
static int build_window(struct tpi_history_rows *r, int64_t low, int64_t high)
{
    int rc = take_parts(r, low, high);
    struct source *sources = r->sources.items;
    for (size_t i = 0; rc == 0 && i < r->sources.count; i++) {
        rc = decode(r, &sources[i]);
    }
    if (rc != 0) {
        return rc;
    }
    if (r->sources.count > 1) {
        qsort(sources, r->sources.count, sizeof(*sources), compare_sources);
    }
    for (uint32_t i = 0; rc == 0 && i < r->sources.count; i++) {
        rc = add_entries(r, i, low, high);
    }
    const struct entry *e = r->entries.items;
    for (size_t i = 1; rc == 0 && i < r->entries.count; i++) {
        if (compare_entries(&e[i - 1], &e[i]) > 0) {
            qsort(r->entries.items, r->entries.count, sizeof(*e), compare_entries);
            break;
        }
    }
    r->entry = r->q.descending ? r->entries.count : 0;
    return rc;
}

static int next_window(struct tpi_history_rows *r)
{
    struct scanning k = { .r = r };
    struct tpc_scan scan = { .size = sizeof(scan),
                             .descending = r->q.descending,
                             .device_id = r->q.devices[r->device].id,
                             .from_unix_ms = r->low,
                             .to_unix_ms = r->high };
    tpc_arena_reset(r->window);
    r->sources.count = 0;
    r->entries.count = 0;
    int rc = r->h->ops->scan(r->h->self, &scan, take_chunk, &k);
    if (rc < 0) {
        return rc;
    }
    int64_t low = k.cut && r->q.descending ? k.border : r->low;
    int64_t high = k.cut && !r->q.descending ? k.border : r->high;
    rc = build_window(r, low, high);
    r->ended = !k.cut;
    *(r->q.descending ? &r->high : &r->low) = k.border;
    return rc;
}

/* ---- batches ---- */

static bool window_left(const struct tpi_history_rows *r)
{
    return r->q.descending ? r->entry > 0 : r->entry < r->entries.count;
}

/* The rows of one time: [*ret_first, *ret_end) of the entries, later appended ones last. */
static void next_group(struct tpi_history_rows *r, size_t *ret_first, size_t *ret_end)
{
    const struct entry *e = r->entries.items;
    size_t first;
    size_t end;
    if (r->q.descending) {
        end = r->entry;
        first = end - 1;
        while (first > 0 && e[first - 1].unix_ms == e[first].unix_ms) {
            first--;
        }
        r->entry = first;
    } else {
        first = r->entry;
        end = first + 1;
        while (end < r->entries.count && e[end].unix_ms == e[first].unix_ms) {
            end++;
        }
        r->entry = end;
    }
    *ret_first = first;
    *ret_end = end;
}

static void emit_row(struct tpi_history_rows *r, uint32_t row, size_t first, size_t end)
{
    const struct entry *e = r->entries.items;
    const struct source *sources = r->sources.items;
    r->times[row] = e[first].unix_ms;
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        struct tpc_value *value = r->values + (size_t) i * r->batch_rows + row;
        uint8_t *bits = r->validity + (size_t) i * (r->batch_rows / 8) + row / 8;
        *value = (struct tpc_value){ .type = TPC_NULL };
        for (size_t k = end; k > first; k--) {
            const struct source *s = &sources[e[k - 1].source];
            if (source_valid(r, s, i, e[k - 1].row)) {
                *value = s->values[(size_t) i * s->rows + e[k - 1].row];
                *bits |= (uint8_t) (1u << (row % 8));
                break;
            }
        }
    }
}

static void emit(struct tpi_history_rows *r)
{
    uint32_t row = 0;
    memset(r->validity, 0, (size_t) r->q.property_count * (r->batch_rows / 8));
    while (row < r->batch_rows && window_left(r) && (r->q.limit == 0 || r->emitted < r->q.limit)) {
        size_t first;
        size_t end;
        next_group(r, &first, &end);
        emit_row(r, row, first, end);
        row++;
        r->emitted++;
    }
    r->batch = (struct tpc_row_batch){ .size = sizeof(r->batch),
                                       .count = row,
                                       .device = r->q.devices[r->device].key,
                                       .unix_ms = r->times,
                                       .columns = r->columns,
                                       .column_count = r->q.property_count,
                                       .column_size = sizeof(*r->columns) };
}

/* Moves on to rows that can be given out. Returns 1, 0 at the end, or an error. */
static int advance(struct tpi_history_rows *r)
{
    while (r->device < r->q.device_count) {
        int rc = 0;
        bool full = r->begun && r->q.limit != 0 && r->emitted >= r->q.limit;
        if (!r->begun) {
            r->entries.count = 0;
            r->entry = 0;
            rc = begin_device(r);
        } else if (!full && window_left(r)) {
            return 1;
        } else if (full || r->ended) {
            r->device++;
            r->begun = false;
        } else {
            rc = next_window(r);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int tpi_history_query_next(struct tpi_history_rows *rows, struct tpc_error *err,
                           const struct tpc_row_batch **ret)
{
    struct tpc_error own = { .size = sizeof(own) };
    rows->err = err != NULL ? err : &own;
    rows->err->code = 0;
    int rc = advance(rows);
    if (rc == 1) {
        emit(rows);
        *ret = &rows->batch;
        return 1;
    }
    if (rc < 0 && rows->err->code != rc) {
        (void) tpi_error_set(rows->err, rc, origin, "the samples of device %.*s cannot be read",
                             (int) rows->q.devices[rows->device].key.len,
                             rows->q.devices[rows->device].key.ptr);
    }
    rows->err = NULL;
    return rc;
}
