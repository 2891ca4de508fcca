/*
 * Devices that have said something, by the key that they have here, with the name they have at
 * ThingsBoard. Not locked; keys, names and devices stay where they are until the end, so that a batch can
 * be packed while one is renamed.
 */
#ifndef THINGSBOARD_DEVICES_H
#define THINGSBOARD_DEVICES_H

#include "base/map.h"

#include <tpcore/value.h>

#include "base/buf.h"

enum { TB_NAME_MAX = 255 };

struct tb_name {
    struct tb_name *next; /* of those that are no longer one */
    size_t len;
    char text[];
};

struct tb_device {
    struct tb_device *next;   /* in the order they were made */
    struct tpc_str key, name; /* name.ptr = key.ptr unless it was renamed there */
    struct tpc_str type;      /* as told with the last connect */
    uint32_t epoch;           /* of the connection on which it was connected; 0 = on none */
    bool online;              /* wants to be connected again after a new connection */
    bool deleted;             /* there, and told not to come back */
    bool about;               /* the server was told which connector it has */
    bool synced;              /* its shared attributes were asked for since it was connected */
    bool waiting;             /* in the list of those that have something to say to the server */
    struct tb_device *next_waiting;
    uint64_t batch; /* the last in which it was met */
    uint32_t group; /* .. and which of that it is */
};

struct tb_devices {
    const struct tpc_allocator *alloc;
    struct tpi_map by_key;
    struct tpi_map by_name; /* those that were renamed */
    struct tb_device *first, *last;
    struct tb_name *old;
    uint32_t count, max;
};

void tb_devices_init(struct tb_devices *d, const struct tpc_allocator *alloc, uint32_t max);
void tb_devices_fini(struct tb_devices *d);

/* NULL if it is not there. */
struct tb_device *tb_devices_get(const struct tb_devices *d, struct tpc_str key);

/* Finds or makes it. TPC_ENOMEM, TPC_EAGAIN (there are max already). */
int tb_devices_put(struct tb_devices *d, struct tpc_str key, struct tb_device **ret);

/* The key that a device has here; the name itself if nothing else is known. */
struct tpc_str tb_devices_key(const struct tb_devices *d, struct tpc_str name);

/* The device known there as `old` is `name` now; it is made if it is not there. Codes as above, and
 * TPC_EINVAL (no such name). */
int tb_devices_rename(struct tb_devices *d, struct tpc_str old, struct tpc_str name);

/* It is gone there: its old name counts again; `stay_away`: and nothing of it shall be sent. */
int tb_devices_delete(struct tb_devices *d, struct tpc_str name, bool stay_away);

/* Names and deletions as {"renamed":{},"deleted":[]}, and back. Return 0, TPC_ENOMEM, TPC_EAGAIN. */
int tb_devices_save(const struct tb_devices *d, struct tpi_buf *b);
int tb_devices_load(struct tb_devices *d, const struct tpc_value *state);

#endif
