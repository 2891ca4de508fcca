/* The modules that are part of the library: "memory" (log, stores) and "file" (log). */
#include <tpcore/version.h>

#include "bus/bus.h"
#include "core/module.h"
#include "store/history.h"
#include "store/memory.h"

static const struct tpc_interface memory_interfaces[] = {
    { TPC_KIND_BUS, &tpi_bus_memory },
    { TPC_KIND_STORE, &tpi_store_memory },
    { TPC_KIND_HISTORY, &tpi_memory_history },
};
static const struct tpc_interface file_interfaces[] = {
    { TPC_KIND_BUS, &tpi_bus_file },
};
static const struct tpc_module memory = {
    .iface = TPC_IFACE(struct tpc_module, 1),
    .name = "memory",
    .version = TPC_VERSION,
    .licence = "Apache-2.0",
    .interfaces = TPC_INTERFACES(memory_interfaces),
};
static const struct tpc_module file = {
    .iface = TPC_IFACE(struct tpc_module, 1),
    .name = "file",
    .version = TPC_VERSION,
    .licence = "Apache-2.0",
    .interfaces = TPC_INTERFACES(file_interfaces),
};
static const struct tpc_module *const modules[] = { &memory, &file, NULL };

const struct tpc_module *const *tpi_module_built_in(void)
{
    return modules;
}
