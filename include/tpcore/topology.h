/*
 * Topology: devices behind gateways, and gateways behind gateways, up to five levels of sub-gateways.
 * A device that stands behind a gateway has an address there: what the gateway calls it. In documents
 * these are the members `gateway` and `address` of the device; a put of the document does the same as
 * the functions here.
 */
#ifndef TPCORE_TOPOLOGY_H
#define TPCORE_TOPOLOGY_H

#include <tpcore/device.h>
#include <tpcore/entity.h>

TPC_BEGIN

enum tpc_bind_flags {
    TPC_BIND_MOVE = 1 /* from the gateway, or the address, that it has now */
};

/*
 * Binds a device to a gateway of the same tenant. address: 1 to 255 bytes, unique behind that gateway;
 * empty = the device's key. flags: enum tpc_bind_flags. What stands behind the device comes along. The
 * device keeps its partition, its history and its log. actor NULL = the embedding program.
 *
 * Returns 0 (also if it is bound so already); TPC_EINVAL (err.path "gateway": a cycle; another tenant),
 * TPC_ETOOBIG (too deep, or the address too long), TPC_EEXIST (err.path "address": another device has it;
 * err.path "gateway": it is bound elsewhere and flags has no TPC_BIND_MOVE), TPC_ENOENT (a device that is
 * deleted), and as tpc_entity_put().
 * Ownership: none.
 * Thread: any-thread; durable when it returns.
 * Since: 0.1
 */
TPC_API int tpc_topology_bind(struct tpc_core *core, const struct tpc_actor *actor,
                              struct tpc_device *device, struct tpc_device *gateway,
                              struct tpc_str address, uint32_t flags);

/*
 * Takes a device away from its gateway; what stands behind the device stays there.
 *
 * Returns 0; TPC_ESTATE (it is behind none), TPC_ENOENT (deleted), and as tpc_entity_put().
 * Ownership: none.
 * Thread: any-thread; durable when it returns.
 * Since: 0.1
 */
TPC_API int tpc_topology_unbind(struct tpc_core *core, const struct tpc_actor *actor,
                                struct tpc_device *device);

/*
 * The device that stands straight behind a gateway under an address. Allocates nothing; its time does
 * not depend on how many there are.
 *
 * Returns 0, TPC_ENOENT.
 * Ownership: *ret is the caller's: tpc_device_unref().
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_topology_find(struct tpc_device *gateway, struct tpc_str address,
                              struct tpc_device **ret);

enum { TPC_ADDRESS_BYTES = 256 }; /* with its NUL */

/* Where a device stands. */
struct tpc_topology {
    uint32_t size;
    uint32_t level; /* gateways above it; 0 = none */
    uint32_t subs;  /* devices straight behind it */
    uint32_t reserved;
    struct tpc_device *gateway; /* counted; NULL = none */
    char address[TPC_ADDRESS_BYTES];
};

/*
 * Where a device stands now.
 *
 * Returns 0.
 * Ownership: ret->gateway is the caller's: tpc_device_unref(), for which NULL is fine.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_topology_get(struct tpc_device *device, struct tpc_topology *ret);

/* A device behind a gateway; views are valid during the call. A non-zero return ends the listing and is
 * returned by it. Thread: that of the call. */
typedef int tpc_sub_fn(void *user, struct tpc_device *device, struct tpc_str address);

/*
 * Lists the devices straight behind a gateway, in the order of their addresses (as bytes), as they stand
 * when it is called.
 *
 * Returns 0, TPC_ENOMEM, or what fn returned.
 * Ownership: the device is borrowed during the call of fn.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_topology_list(struct tpc_device *gateway, tpc_sub_fn *fn, void *user);

TPC_END

#endif
