/*
 * Presence: how many devices are online. What makes a device online or offline is its product's
 * member "presence" (docs/guide/presence.md); the state of one device is tpc_device_info(), and each
 * change is a message TPC_MSG_PRESENCE on the bus, with params
 *
 *   "online"      bool
 *   "session"     true: by opening or closing a session of this process
 *   "reason"      "message" (a device that was offline spoke) or "timeout" (it was silent)
 *   "connection"  number of the connection that a broker told of, if it numbers them
 */
#ifndef TPCORE_PRESENCE_H
#define TPCORE_PRESENCE_H

#include <tpcore/core.h>

TPC_BEGIN

struct tpc_presence_counts {
    uint32_t size;
    uint32_t reserved;
    uint64_t devices;
    uint64_t online;
    uint64_t active; /* were online once; the rest never was */
};

/*
 * Counts the devices of a product, of a tenant (product empty) or of the core (both empty). With a
 * product, an empty tenant is "main". Takes the same time for one device and for a million.
 *
 * Returns 0, TPC_ENOENT (tenant or product), TPC_EINVAL.
 * Ownership: ret is filled in.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_presence_count(struct tpc_core *core, struct tpc_str tenant, struct tpc_str product,
                               struct tpc_presence_counts *ret);

TPC_END

#endif
