/* The same as main.c in C++17: the headers are C++ as they are. */
#include <cstdio>
#include <cstdlib>
#include <tpcore/tpcore.h>

static const char product[] = TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [{ "id": "temperature", "type": "double" }] } });
static const char device[] = TPC_JSON({ "key": "t1", "product": "thermo" });

static void check(int rc)
{
    if (rc < 0) {
        std::fprintf(stderr, "%s: %s\n", tpc_error_name(rc), tpc_error_last()->text);
        std::exit(1);
    }
}

int main()
{
    tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    tpc_core *core;
    tpc_device *t1;
    tpc_value now;
    check(tpc_core_create(&options, &core));
    check(tpc_entity_put(core, nullptr, "product", TPC_STR(product), TPC_ANY_REV, nullptr));
    check(tpc_entity_put(core, nullptr, "device", TPC_STR(device), TPC_ANY_REV, nullptr));
    check(tpc_device_open(core, TPC_STR("t1"), &t1));
    check(tpc_core_start(core));
    check(tpc_feed(t1, TPC_BYTES("{\"temperature\":21.5}"), nullptr, nullptr));
    check(tpc_core_step(core, 0, nullptr));
    check(tpc_latest_get(t1, TPC_STR("temperature"), nullptr, &now, nullptr));
    std::printf("now %.2f\n", now.as.d);
    tpc_device_unref(t1);
    int rc = tpc_core_destroy(core);
    return rc != 0 || now.as.d != 21.5;
}
