/* Questions to the history: keys become ids, the rest is the history's. */
#include <string.h>
#include <tpcore/history.h>

#include "core/core.h"

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
                                           .descending = q->descending != 0 };
        rc = tpi_history_query_open(core->history, &inner, err, &rows->rows);
    }
    tpi_free(a, devices, q->device_count * sizeof(*devices));
    tpi_free(a, ids, ids_count * sizeof(*ids));
    return rc;
}

int tpc_history_query(struct tpc_core *core, const struct tpc_history_query *given,
                      struct tpc_rows **ret)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    if (core == NULL || given == NULL || ret == NULL ||
        given->size < offsetof(struct tpc_history_query, limit)) {
        return tpi_fail(TPC_EINVAL, "history", "core or ret is NULL, or the query has no size");
    }
    memcpy(&q, given, given->size < sizeof(q) ? given->size : sizeof(q));
    if (q.device_count == 0 || q.property_count == 0 || q.devices == NULL || q.properties == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "a query needs devices and properties");
    }
    if (core->history == NULL) {
        return tpi_fail(TPC_ESTATE, "history", "the core is not started");
    }
    struct tpc_rows *rows = tpi_alloc_zero(core->env.alloc, sizeof(*rows));
    if (rows == NULL) {
        return tpi_fail(TPC_ENOMEM, "history", "out of memory");
    }
    rows->core = core;
    int rc = open_rows(core, &q, rows, tpi_fail_begin());
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
