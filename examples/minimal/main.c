/* The smallest use: a product, a device, two readings, the latest value and the history. */
#include <stdio.h>
#include <stdlib.h>
#include <tpcore/tpcore.h>

/* clang-format off */
static const char product[] = TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [
        { "id": "temperature", "type": "double", "unit": "°C", "min": -40, "max": 125 },
        { "id": "on", "type": "bool", "access": "rw" } ] } });
/* clang-format on */
static const char device[] = TPC_JSON({ "key": "t1", "product": "thermo" });

static void check(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", tpc_error_name(rc), tpc_error_last()->text);
        exit(1);
    }
}

static void print_history(struct tpc_core *core, struct tpc_device *d, struct tpc_str property)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    const struct tpc_row_batch *b;
    struct tpc_rows *rows;
    q.devices = &d, q.properties = &property;
    q.device_count = q.property_count = 1;
    check(tpc_history_query(core, &q, &rows));
    while (tpc_rows_next(rows, &b) > 0) {
        for (uint32_t i = 0; i < b->count; i++) {
            printf("%lld %.2f\n", (long long) b->unix_ms[i], b->columns[0].doubles[i]);
        }
    }
    tpc_rows_close(rows);
}

int main(void)
{
    struct tpc_core *core;
    struct tpc_device *t1;
    struct tpc_value now;
    check(tpc_core_create(NULL, &core));
    check(tpc_entity_put(core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL));
    check(tpc_entity_put(core, NULL, "device", TPC_STR(device), TPC_ANY_REV, NULL));
    check(tpc_device_open(core, TPC_STR("t1"), &t1));
    check(tpc_core_start(core));
    check(tpc_feed(t1, TPC_BYTES("{\"temperature\":21.5}"), NULL, NULL));
    check(tpc_core_step(core, 0, NULL)); /* workers = 0: the caller is the worker */
    check(tpc_core_step(core, 2, NULL)); /* nothing to do: waits; a millisecond holds one sample */
    check(tpc_feed(t1, TPC_BYTES("{\"temperature\":22.0}"), NULL, NULL));
    check(tpc_core_step(core, 0, NULL));
    check(tpc_latest_get(t1, TPC_STR("temperature"), NULL, &now, NULL));
    printf("now %.2f\n", now.as.d);
    print_history(core, t1, TPC_STR("temperature"));
    tpc_device_unref(t1);
    return tpc_core_destroy(core);
}
