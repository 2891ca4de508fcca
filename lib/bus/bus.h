/*
 * The engines that the library has built in: module "memory" and module "file".
 */
#ifndef TPI_BUS_BUS_H
#define TPI_BUS_BUS_H

#include <tpcore/ext/bus.h>

/* A bounded log in memory; it is lost with the process. flush() reaches everything at once. */
extern const struct tpc_bus_ops tpi_bus_memory;

/* Segments in a folder, docs/format/log.md. */
extern const struct tpc_bus_ops tpi_bus_file;

#endif
