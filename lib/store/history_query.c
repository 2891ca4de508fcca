/* Queries: opening and closing them, rows into batches. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/history_read.h"

static const char origin[] = "history";

enum {
    BATCH_ROWS_MIN = 64,
    BATCH_VALUES = 1 << 18, /* places of a batch: many columns make it shorter */
    WINDOW_ROWS = 1 << 14,
    WINDOW_HEADS = 1 << 16 /* rows of a window of which mostly the heads of chunks are read */
};

int tpi_read_fail(struct tpi_history_rows *r, int rc)
{
    if (rc < 0 && r->err->code != rc) {
        (void) tpi_error_set(r->err, rc, origin,
                             rc == TPC_ENOMEM ? "no memory for the samples of device %.*s"
                                              : "the samples of device %.*s cannot be read",
                             (int) r->q.devices[r->device].key.len,
                             r->q.devices[r->device].key.ptr);
    }
    return rc;
}

/* ---- what is asked ---- */

static int check_aggregates(const struct tpi_history_query *q, struct tpc_error *err)
{
    for (uint32_t i = 0; i < q->aggregate_count; i++) {
        const struct tpc_aggregate *a = &q->aggregates[i];
        bool percentile = a->kind == TPC_AGG_PERCENTILE;
        if (a->kind < TPC_AGG_COUNT || a->kind > TPC_AGG_PERCENTILE) {
            return tpi_error_set(err, TPC_EINVAL, origin, "aggregate %u: there is no kind %u", i,
                                 a->kind);
        }
        if (percentile && !(a->percent >= 0 && a->percent <= 100)) {
            return tpi_error_set(err, TPC_EINVAL, origin,
                                 "aggregate %u: percent %g is not between 0 and 100", i,
                                 a->percent);
        }
    }
    if (q->window_ms > INT64_MAX) {
        return tpi_error_set(err, TPC_EINVAL, origin, "window_ms %llu passes 63 bits",
                             (unsigned long long) q->window_ms);
    }
    return 0;
}

static int check_sample(const struct tpi_history_query *q, struct tpc_error *err)
{
    uint32_t least = q->sample == TPC_SAMPLE_LTTB ? 3 : 1;
    if (q->sample > TPC_SAMPLE_AVERAGE) {
        return tpi_error_set(err, TPC_EINVAL, origin, "there is no sample method %u", q->sample);
    }
    if (q->sample == TPC_SAMPLE_NONE) {
        return 0;
    }
    if (q->aggregate_count != 0) {
        return tpi_error_set(err, TPC_EINVAL, origin,
                             "aggregates are not downsampled: use windows");
    }
    if (q->sample_points < least || q->sample_points > TPC_HISTORY_MAX_POINTS) {
        return tpi_error_set(err, TPC_EINVAL, origin, "sample_points %u is not between %u and %d",
                             q->sample_points, least, TPC_HISTORY_MAX_POINTS);
    }
    return 0;
}

static int check(const struct tpi_history_query *q, struct tpc_error *err)
{
    if (q->device_count == 0 || q->property_count == 0) {
        return tpi_error_set(err, TPC_EINVAL, origin, "a query names devices and properties");
    }
    uint64_t columns =
        (uint64_t) q->property_count * (q->aggregate_count != 0 ? q->aggregate_count : 1);
    if (columns > TPC_HISTORY_MAX_COLUMNS) {
        return tpi_error_set(err, TPC_EINVAL, origin, "%llu columns: at most %d",
                             (unsigned long long) columns, TPC_HISTORY_MAX_COLUMNS);
    }
    if (q->from_unix_ms >= q->to_unix_ms) {
        return tpi_error_set(err, TPC_EINVAL, origin,
                             "the range of times is empty: from %lld to %lld",
                             (long long) q->from_unix_ms, (long long) q->to_unix_ms);
    }
    int rc = check_aggregates(q, err);
    return rc != 0 ? rc : check_sample(q, err);
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
    if (rc != 0) {
        return rc;
    }
    r->q = *q;
    r->columns = q->property_count * (q->aggregate_count != 0 ? q->aggregate_count : 1);
    struct tpc_str *keys = tpc_arena_take(r->texts, q->property_count * sizeof(*keys));
    struct tpc_aggregate *aggregates =
        tpc_arena_take(r->texts, (q->aggregate_count + 1) * sizeof(*aggregates));
    if (keys == NULL || aggregates == NULL) {
        return TPC_ENOMEM;
    }
    if (q->aggregate_count != 0) {
        memcpy(aggregates, q->aggregates, q->aggregate_count * sizeof(*aggregates));
    }
    for (uint32_t i = 0; rc == 0 && i < q->property_count; i++) {
        rc = copy_text(r->texts, q->properties[i], &keys[i]);
    }
    r->q.properties = keys;
    r->q.aggregates = aggregates;
    return rc != 0 ? rc : copy_devices(r, q);
}

static int make_batch(struct tpi_history_rows *r)
{
    uint32_t rows = BATCH_VALUES / r->columns / 8 * 8;
    rows = rows < BATCH_ROWS_MIN ? BATCH_ROWS_MIN : rows;
    r->batch_rows = rows > TPC_HISTORY_BATCH_ROWS ? TPC_HISTORY_BATCH_ROWS : rows;
    r->wanted = tpi_alloc_array(r->alloc, r->q.property_count, sizeof(*r->wanted));
    r->times = tpi_alloc(r->alloc, r->batch_rows * sizeof(*r->times));
    r->vectors = tpi_alloc_array(r->alloc, r->columns, sizeof(*r->vectors));
    r->heads = tpi_alloc_array(r->alloc, r->columns, sizeof(*r->heads));
    int rc = tpc_arena_create(r->alloc, 0, &r->window);
    rc = rc != 0 ? rc : tpc_arena_create(r->alloc, 0, &r->kept);
    if (rc != 0 || r->wanted == NULL || r->times == NULL || r->vectors == NULL ||
        r->heads == NULL) {
        return TPC_ENOMEM;
    }
    uint32_t each = r->q.aggregate_count != 0 ? r->q.aggregate_count : 1;
    for (uint32_t i = 0; i < r->columns; i++) {
        r->heads[i].property = r->q.properties[i / each];
        if (r->q.aggregate_count != 0) {
            r->heads[i].aggregate = r->q.aggregates[i % each].kind;
            r->heads[i].percent = r->q.aggregates[i % each].percent;
        }
    }
    return 0;
}

static int open_answer(struct tpi_history_rows *r)
{
    const struct tpi_history_query *q = &r->q;
    r->descending = q->descending;
    r->window_most = WINDOW_ROWS;
    r->window_first = q->limit != 0 && q->limit < WINDOW_ROWS ? q->limit : WINDOW_ROWS;
    if (q->sample != TPC_SAMPLE_NONE) {
        r->descending = false;
        r->window_first = WINDOW_ROWS;
        return tpi_sample_open(r);
    }
    if (q->aggregate_count != 0) {
        r->window_most = WINDOW_HEADS;
        r->window_first = WINDOW_HEADS;
        return tpi_aggregate_open(r);
    }
    return 0;
}

int tpi_history_query_open(struct tpi_history *h, const struct tpi_history_query *q,
                           struct tpc_error *err, struct tpi_history_rows **ret)
{
    int rc = check(q, err);
    if (rc != 0) {
        return rc;
    }
    struct tpi_history_rows *r = tpi_alloc_zero(h->env->alloc, sizeof(*r));
    if (r == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for a query");
    }
    r->h = h;
    r->alloc = h->env->alloc;
    r->parts.size = sizeof(struct tpi_part);
    r->sources.size = sizeof(struct tpi_source);
    r->clusters.size = sizeof(struct tpi_cluster);
    r->entries.size = sizeof(struct tpi_entry);
    tpi_buf_init(&r->raw, r->alloc, 0);
    tpi_buf_init(&r->blobs, r->alloc, 0);
    tpi_chunk_encoder_init(&r->encoder, r->alloc);
    rc = copy_query(r, q);
    rc = rc != 0 ? rc : make_batch(r);
    rc = rc != 0 ? rc : open_answer(r);
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
    tpi_aggregate_close(r);
    tpi_sample_close(r);
    for (uint32_t i = 0; r->vectors != NULL && i < r->columns; i++) {
        tpi_vector_fini(r->alloc, &r->vectors[i]);
    }
    for (size_t i = 0; i < r->decoded_count; i++) {
        tpi_segment_fini(r, &r->decoded[i]);
    }
    tpi_segment_fini(r, &r->merged);
    tpi_free(r->alloc, r->decoded, r->decoded_count * sizeof(*r->decoded));
    tpi_free(r->alloc, r->dense, r->dense_cap * sizeof(*r->dense));
    tpi_free(r->alloc, r->picked, r->picked_cap * sizeof(*r->picked));
    tpi_free(r->alloc, r->wanted, r->q.property_count * sizeof(*r->wanted));
    tpi_free(r->alloc, r->times, r->batch_rows * sizeof(*r->times));
    tpi_free(r->alloc, r->vectors, r->columns * sizeof(*r->vectors));
    tpi_free(r->alloc, r->heads, r->columns * sizeof(*r->heads));
    tpi_chunk_encoder_fini(&r->encoder);
    tpi_buf_fini(&r->raw);
    tpi_buf_fini(&r->blobs);
    tpi_list_fini(r->alloc, &r->parts);
    tpi_list_fini(r->alloc, &r->sources);
    tpi_list_fini(r->alloc, &r->clusters);
    tpi_list_fini(r->alloc, &r->entries);
    tpc_arena_destroy(r->kept);
    tpc_arena_destroy(r->window);
    tpc_arena_destroy(r->texts);
    tpi_free(r->alloc, r, sizeof(*r));
    return NULL;
}

/* ---- rows ---- */

/* The rows of the segment with a value in one of the columns, in the order in which they go out. */
static int pick_rows(struct tpi_history_rows *r)
{
    const struct tpi_segment *s = r->segment;
    uint32_t count = s->end - s->begin;
    if (count > r->picked_cap) {
        uint32_t *p =
            tpi_resize(r->alloc, r->picked, r->picked_cap * sizeof(*p), count * sizeof(*p));
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        r->picked = p;
        r->picked_cap = count;
    }
    r->at = 0;
    r->end = 0;
    for (uint32_t k = 0; k < count; k++) {
        uint32_t row = r->descending ? s->end - 1 - k : s->begin + k;
        bool any = r->all;
        for (uint32_t i = 0; i < r->q.property_count && !any; i++) {
            any = tpi_vector_has(&s->columns[i], row);
        }
        r->picked[r->end] = row;
        r->end += any;
    }
    r->all = false;
    return 0;
}

/* Returns 1 with a segment, 0 at the end of the device, or an error. */
static int next_segment(struct tpi_history_rows *r)
{
    struct tpi_source *sources;
    size_t count;
    int rc = tpi_read_cluster(r, &sources, &count);
    if (rc == 1) {
        int bad = tpi_read_segment(r, sources, count, &r->segment);
        rc = bad != 0 ? bad : 1;
    }
    if (rc != 1) {
        r->segment = NULL;
        return rc;
    }
    r->at = r->segment->begin;
    r->end = r->segment->end;
    r->all = false;
    for (uint32_t i = 0; i < r->q.property_count && !r->all; i++) {
        r->all = r->segment->columns[i].missing == 0;
    }
    if (!r->all || r->descending) {
        int bad = pick_rows(r);
        if (bad != 0) {
            r->segment = NULL;
            return bad;
        }
    }
    return 1;
}

static int append_rows(struct tpi_history_rows *r)
{
    uint64_t room = r->batch_rows - r->row;
    if (r->q.limit != 0 && room > r->q.limit - r->emitted) {
        room = r->q.limit - r->emitted;
    }
    uint32_t count = r->end - r->at < room ? r->end - r->at : (uint32_t) room;
    const struct tpi_segment *s = r->segment;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < r->columns; i++) {
        rc = r->all ? tpi_vector_run(r->alloc, &r->vectors[i], &s->columns[i], r->at, count)
                    : tpi_vector_pick(r->alloc, &r->vectors[i], &s->columns[i], r->picked + r->at,
                                      count);
    }
    if (r->all) {
        memcpy(r->times + r->row, s->times + r->at, count * sizeof(*r->times));
    }
    for (uint32_t i = 0; !r->all && i < count; i++) {
        r->times[r->row + i] = s->times[r->picked[r->at + i]];
    }
    r->at += count;
    r->row += count;
    r->emitted += count;
    return rc;
}

/* Rows of the present device. A batch ends with its window: text in it lies in chunks of that. */
static int fill_rows(struct tpi_history_rows *r)
{
    while (r->row < r->batch_rows && (r->q.limit == 0 || r->emitted < r->q.limit)) {
        int rc;
        if (r->segment != NULL && r->at < r->end) {
            rc = append_rows(r);
        } else if (r->row > 0 && !tpi_read_window_left(r)) {
            break;
        } else {
            rc = next_segment(r);
            if (rc == 0) {
                break;
            }
        }
        if (rc < 0) {
            return rc;
        }
    }
    return r->row > 0;
}

static int rows_next(struct tpi_history_rows *r)
{
    for (; r->device < r->q.device_count; r->device++, r->begun = false) {
        int rc = r->begun ? 0 : tpi_read_begin(r);
        rc = rc != 0 ? rc : fill_rows(r);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- batches ---- */

static int begin_batch(struct tpi_history_rows *r)
{
    int rc = 0;
    r->row = 0;
    for (uint32_t i = 0; rc == 0 && i < r->columns; i++) {
        rc = tpi_vector_clear(r->alloc, &r->vectors[i], r->batch_rows);
    }
    tpc_arena_reset(r->kept);
    return rc;
}

static void finish_batch(struct tpi_history_rows *r)
{
    for (uint32_t i = 0; i < r->columns; i++) {
        const struct tpi_vector *v = &r->vectors[i];
        struct tpc_column *c = &r->heads[i];
        uint32_t type = v->type == TPI_VECTOR_EMPTY ? (uint32_t) TPC_NULL : v->type;
        c->type = type;
        c->missing = v->missing;
        c->validity = v->validity;
        c->ints = type == TPC_INT ? v->data : NULL;
        c->doubles = type == TPC_DOUBLE ? v->data : NULL;
        c->bools = type == TPC_BOOL ? v->data : NULL;
        c->values = type > TPC_DOUBLE ? v->values : NULL;
    }
    r->batch = (struct tpc_row_batch){ .size = sizeof(r->batch),
                                       .count = r->row,
                                       .device = r->q.devices[r->device].key,
                                       .unix_ms = r->times,
                                       .columns = r->heads,
                                       .column_count = r->columns,
                                       .column_size = sizeof(*r->heads),
                                       .device_index = r->device };
}

int tpi_history_query_next(struct tpi_history_rows *rows, struct tpc_error *err,
                           const struct tpc_row_batch **ret)
{
    struct tpc_error own = { .size = sizeof(own) };
    struct tpi_history_rows *r = rows;
    r->err = err != NULL ? err : &own;
    r->err->code = 0;
    if (r->device == r->q.device_count) {
        return 0;
    }
    int rc = begin_batch(r);
    if (rc == 0) {
        rc = r->sampling != NULL      ? tpi_sample_next(r)
             : r->aggregation != NULL ? tpi_aggregate_next(r)
                                      : rows_next(r);
    }
    if (rc == 1) {
        finish_batch(r);
        *ret = &r->batch;
    } else if (rc < 0) {
        (void) tpi_read_fail(r, rc);
    }
    r->err = NULL;
    return rc;
}
