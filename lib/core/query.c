/* Questions to the history: keys become ids, the rest is the history's. */
#include <string.h>
#include <tpcore/history.h>

#include "core/core.h"
#include "data/msg.h"

struct tpc_rows {
    struct tpc_core *core;
    struct tpi_history_rows *rows;
};

/* Ids of the wanted properties for one device; 0 where its product has no such property. */
static void find_ids(struct tpc_device *d, const struct tpc_history_query *q, uint16_t *ids)
{
    struct tpc_core *core = tpi_device_owner(d);
    tpi_registry_read_lock(core->registry);
    for (uint32_t i = 0; i < q->property_count; i++) {
        int index = tpi_model_find(d->product->model, q->properties[i], NULL);
        ids[i] = index >= 0 ? tpi_model_property(d->product->model, (uint32_t) index)->id : 0;
    }
    tpi_registry_read_unlock(core->registry);
}

static int open_rows(struct tpc_core *core, const struct tpc_history_query *q,
                     struct tpc_rows *rows, struct tpc_error *err)
{
    const struct tpc_allocator *a = core->env.alloc;
    size_t ids_count = (size_t) q->device_count * q->property_count;
    struct tpi_history_device *devices = tpi_alloc_array(a, q->device_count, sizeof(*devices));
    uint16_t *ids = tpi_alloc_array(a, ids_count, sizeof(*ids));
    int rc = TPC_ENOMEM;
    if (devices != NULL && ids != NULL) {
        for (uint32_t i = 0; i < q->device_count; i++) {
            uint16_t *mine = ids + (size_t) i * q->property_count;
            find_ids(q->devices[i], q, mine);
            devices[i] = (struct tpi_history_device){ .id = q->devices[i]->id,
                                                      .key = q->devices[i]->key,
                                                      .properties = mine };
        }
        struct tpi_history_query inner = { .devices = devices,
                                           .device_count = q->device_count,
                                           .property_count = q->property_count,
                                           .properties = q->properties,
                                           .from_unix_ms = q->from_unix_ms,
                                           .to_unix_ms = q->to_unix_ms,
                                           .limit = q->limit,
                                           .aggregates = q->aggregates,
                                           .aggregate_count = q->aggregate_count,
                                           .sample = q->sample,
                                           .sample_points = q->sample_points,
                                           .window_ms = q->window_ms,
                                           .origin_unix_ms = q->origin_unix_ms,
                                           .descending = q->descending != 0 };
        rc = tpi_history_query_open(core->history, &inner, err, &rows->rows);
    }
    tpi_free(a, devices, q->device_count * sizeof(*devices));
    tpi_free(a, ids, ids_count * sizeof(*ids));
    return rc;
}

/* Takes the caller's query, of whatever age. */
static int take_query(const struct tpc_history_query *given, struct tpc_history_query *ret)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    if (given == NULL || given->size < offsetof(struct tpc_history_query, limit)) {
        return tpi_fail(TPC_EINVAL, "history", "the query is NULL or has no size");
    }
    memcpy(&q, given, given->size < sizeof(q) ? given->size : sizeof(q));
    q.size = sizeof(q);
    *ret = q;
    return 0;
}

static int check_query(const struct tpc_history_query *q)
{
    if (q->device_count == 0 || q->property_count == 0 || q->devices == NULL ||
        q->properties == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "a query needs devices and properties");
    }
    if (q->aggregate_count != 0 && q->aggregates == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "%u aggregates, but the list is NULL",
                        q->aggregate_count);
    }
    for (uint32_t i = 0; i < q->device_count; i++) {
        if (q->devices[i] == NULL) {
            return tpi_fail(TPC_EINVAL, "history", "device %u is NULL", i);
        }
    }
    return 0;
}

int tpc_history_query(struct tpc_core *core, const struct tpc_history_query *given,
                      struct tpc_rows **ret)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    if (core == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "core or ret is NULL");
    }
    int rc = take_query(given, &q);
    rc = rc != 0 ? rc : check_query(&q);
    if (rc != 0) {
        return rc;
    }
    if (core->history == NULL) {
        return tpi_fail(TPC_ESTATE, "history", "the core is not started");
    }
    struct tpc_rows *rows = tpi_alloc_zero(core->env.alloc, sizeof(*rows));
    if (rows == NULL) {
        return tpi_fail(TPC_ENOMEM, "history", "out of memory");
    }
    rows->core = core;
    rc = open_rows(core, &q, rows, tpi_fail_begin());
    if (rc != 0) {
        tpi_free(core->env.alloc, rows, sizeof(*rows));
        return tpi_fail_end(rc);
    }
    *ret = rows;
    return 0;
}

int tpc_rows_next(struct tpc_rows *rows, const struct tpc_row_batch **ret)
{
    if (rows == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "rows or ret is NULL");
    }
    return tpi_fail_end(tpi_history_query_next(rows->rows, tpi_fail_begin(), ret));
}

struct tpc_rows *tpc_rows_close(struct tpc_rows *rows)
{
    if (rows != NULL) {
        tpi_history_query_close(rows->rows);
        tpi_free(rows->core->env.alloc, rows, sizeof(*rows));
    }
    return NULL;
}

/* ---- helpers on top ---- */

int tpc_column_value(const struct tpc_column *c, uint32_t row, struct tpc_value *ret)
{
    struct tpc_value v = { .type = c->type };
    bool has = (c->validity[row / 8] >> (row % 8) & 1) != 0;
    if (!has) {
        v.type = TPC_NULL;
    } else if (c->type == TPC_INT) {
        v.as.i = c->ints[row];
    } else if (c->type == TPC_DOUBLE) {
        v.as.d = c->doubles[row];
    } else if (c->type == TPC_BOOL) {
        v.as.b = c->bools[row];
    } else if (c->type != TPC_NULL) {
        v = c->values[row];
    }
    *ret = v;
    return has;
}

/* One past a row: the next sample's time, or the end of the row's window. */
static int64_t row_end(const struct tpc_history_query *q, int64_t unix_ms)
{
    uint64_t step = q->aggregate_count == 0 ? 1 : q->window_ms == 0 ? UINT64_MAX : q->window_ms;
    return (uint64_t) INT64_MAX - (uint64_t) unix_ms <= step ? INT64_MAX : unix_ms + (int64_t) step;
}

int tpc_history_page(struct tpc_history_query *query, const struct tpc_row_batch *last)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    if (last == NULL || last->count == 0) {
        return tpi_fail(TPC_EINVAL, "history", "the last batch is NULL or empty");
    }
    int rc = take_query(query, &q);
    if (rc != 0) {
        return rc;
    }
    if (q.sample != TPC_SAMPLE_NONE || q.device_count != 1) {
        return tpi_fail(TPC_EINVAL, "history",
                        q.device_count != 1 ? "paging is for a query of one device"
                                            : "downsampling has no pages");
    }
    int64_t at = last->unix_ms[last->count - 1];
    if (q.descending != 0) {
        q.to_unix_ms = q.aggregate_count != 0 && q.window_ms == 0 ? q.from_unix_ms : at;
    } else {
        q.from_unix_ms = row_end(&q, at);
    }
    if (q.from_unix_ms >= q.to_unix_ms) {
        return 0;
    }
    query->from_unix_ms = q.from_unix_ms;
    query->to_unix_ms = q.to_unix_ms;
    return 1;
}

static int copy_latest(const struct tpc_row_batch *b, struct tpc_arena *arena,
                       struct tpc_value *ret, int64_t *ret_unix_ms)
{
    struct tpc_value v;
    struct tpc_value at;
    (void) tpc_column_value(&b->columns[0], 0, &v);
    (void) tpc_column_value(&b->columns[1], 0, &at);
    if (v.type > TPC_DOUBLE && arena == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "text and trees need an arena");
    }
    if (v.type > TPC_DOUBLE && tpi_value_copy(&v, arena, &v) != 0) {
        return tpi_fail(TPC_ENOMEM, "history", "out of memory");
    }
    *ret = v;
    if (ret_unix_ms != NULL) {
        *ret_unix_ms = at.as.i;
    }
    return 0;
}

int tpc_history_latest(struct tpc_device *device, struct tpc_str property, int64_t at_unix_ms,
                       struct tpc_arena *arena, struct tpc_value *ret, int64_t *ret_unix_ms)
{
    static const struct tpc_aggregate last[] = { { TPC_AGG_LAST, 0, 0 },
                                                 { TPC_AGG_LAST_TIME, 0, 0 } };
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    const struct tpc_row_batch *b;
    struct tpc_rows *rows;
    if (device == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "device or ret is NULL");
    }
    q.devices = &device;
    q.device_count = 1;
    q.properties = &property;
    q.property_count = 1;
    q.aggregates = last;
    q.aggregate_count = 2;
    q.to_unix_ms = at_unix_ms == INT64_MAX ? INT64_MAX : at_unix_ms + 1;
    int rc = tpc_history_query(tpi_device_owner(device), &q, &rows);
    if (rc != 0) {
        return rc;
    }
    rc = tpc_rows_next(rows, &b);
    if (rc == 1) {
        rc = copy_latest(b, arena, ret, ret_unix_ms);
    } else if (rc == 0) {
        int len = (int) (property.len < 64 ? property.len : 64);
        rc = tpi_fail(TPC_ENOENT, "history", "no sample of \"%.*s\" so early", len, property.ptr);
    }
    tpc_rows_close(rows);
    return rc;
}
