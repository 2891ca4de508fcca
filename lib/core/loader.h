/*
 * Modules from shared objects. An object is opened with RTLD_LOCAL: it neither sees nor gives
 * symbols; all that passes goes through its descriptor and the host table.
 */
#ifndef TPI_CORE_LOADER_H
#define TPI_CORE_LOADER_H

#include <tpcore/error.h>
#include <tpcore/ext/module.h>

/*
 * Opens tpc_<name>.so and asks tpc_module_<name>() for the descriptor. A path without '/' is looked
 * for in the installation's module folder.
 *
 * Returns 0, TPC_ENOENT (no such file) or TPC_EINVAL (no module; the text says why).
 */
int tpi_loader_open(const char *path, struct tpc_error *err, void **ret_object,
                    const struct tpc_module **ret_module);
void tpi_loader_close(void *object);

#endif
