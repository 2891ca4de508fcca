/*
 * Topology: which device stands behind which gateway, and what the gateway calls it (its address).
 * A side table of the devices that have a gateway; nothing for others.
 *
 * The partition of a device is that of its first gateway, or its own, and stays so when it is bound
 * elsewhere: its log and history do not move.
 *
 * All that is here: under the read lock.
 */
#ifndef TPI_REGISTRY_TOPOLOGY_H
#define TPI_REGISTRY_TOPOLOGY_H

#include "registry/device.h"

enum { TPI_ADDRESS_BYTES = 255 };

/* Device behind a gateway, by the number of the gateway and the address; NULL. O(1), no allocation. */
struct tpc_device *tpi_topology_find(const struct tpi_registry *r, uint64_t gateway_id,
                                     struct tpc_str address);

/* What its gateway calls it; empty without a gateway. Valid under the read lock. */
struct tpc_str tpi_topology_address(const struct tpi_registry *r, const struct tpc_device *d);

/* Whether a gateway stands above a device. */
bool tpi_topology_behind(const struct tpc_device *d, const struct tpc_device *gateway);

/* How many gateways stand above it. */
uint32_t tpi_topology_level(const struct tpc_device *d);

/* The devices straight behind a gateway, in no order; a non-zero return of fn ends it and is
 * returned. */
int tpi_topology_each(const struct tpi_registry *r, uint64_t gateway_id,
                      int (*fn)(void *user, struct tpc_device *device, struct tpc_str address),
                      void *user);

#endif
