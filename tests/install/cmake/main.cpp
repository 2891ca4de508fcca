// A product's own program: SQLite of its own, the library in archives.
#include <cstdio>
#include <string>
#include <tpcore/tpcore.h>

static int failed(const char *what)
{
    std::fprintf(stderr, "%s: %s\n", what, tpc_error_last()->text);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 2;
    }
    tpc_core *core = nullptr;
    tpc_device *device = nullptr;
    tpc_value now = {};
    const std::string options = std::string("{\"dir\":\"") + argv[1] + "\"}";

    if (tpc_core_create(nullptr, &core) != 0 || tpc_core_add_module(core, tpc_module_sqlite()) != 0 ||
        tpc_core_add_module(core, tpc_module_sim()) != 0 ||
        tpc_core_open(core, "store", "sqlite", tpc_str_from(options.c_str())) != 0) {
        return failed("open");
    }
    if (tpc_entity_put(core, nullptr, "product",
                       TPC_STR("{\"key\":\"thermo\",\"codec\":\"json\",\"model\":{\"properties\":"
                               "[{\"id\":\"temperature\",\"type\":\"double\"}]}}"),
                       TPC_ANY_REV, nullptr) != 0 ||
        tpc_entity_put(core, nullptr, "device", TPC_STR("{\"key\":\"t1\",\"product\":\"thermo\"}"),
                       TPC_ANY_REV, nullptr) != 0 ||
        tpc_device_open(core, TPC_STR("t1"), &device) != 0 || tpc_core_start(core) != 0 ||
        tpc_feed(device, TPC_BYTES("{\"temperature\":21.5}"), nullptr, nullptr) != 0 ||
        tpc_core_step(core, 0, nullptr) != 0 ||
        tpc_latest_get(device, TPC_STR("temperature"), nullptr, &now, nullptr) != 0) {
        return failed("use");
    }
    tpc_device_unref(device);
    std::printf("temperature %.1f\n", now.as.d);
    return tpc_core_destroy(core) != 0 || now.as.d != 21.5;
}
