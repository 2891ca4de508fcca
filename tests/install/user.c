/* A program outside the tree: a device in, its latest value out. */
#include <stdio.h>
#include <tpcore/tpcore.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, tpc_error_last()->text);
    return 1;
}

/* clang-format off: real JSON, laid out by hand */
static const char product[] =
    TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [ { "id": "temperature", "type": "double" } ] } });
/* clang-format on */

int main(void)
{
    struct tpc_core *core;
    struct tpc_device *device;
    struct tpc_value now;

    if (tpc_core_create(NULL, &core) != 0) {
        return failed("create");
    }
    if (tpc_entity_put(core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL) != 0 ||
        tpc_entity_put(
            core, NULL, "device",
            TPC_STR(TPC_JSON({ "key": "t1", "product": "thermo" })), TPC_ANY_REV, NULL) != 0 ||
            tpc_device_open(core, TPC_STR("t1"), &device) != 0 || tpc_core_start(core) != 0 ||
            tpc_feed(device, TPC_BYTES("{\"temperature\":21.5}"), NULL, NULL) != 0 ||
            tpc_core_step(core, 0, NULL) != 0 ||
            tpc_latest_get(device, TPC_STR("temperature"), NULL, &now, NULL) != 0) {
        return failed("use");
    }
    printf("libtpcore %s: temperature %.1f\n", tpc_version(), now.as.d);
    tpc_device_unref(device);
    return tpc_core_destroy(core) != 0 || now.as.d != 21.5;
}
