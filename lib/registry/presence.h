/*
 * Presence: who is online, how many are, and who has been silent for too long.
 *
 * Time-outs have no timer per device. Each worker has one wheel of seconds; a device stands in at
 * most one of its slots, as (id, second), and a message does not touch it: when its second comes the
 * wheel looks at when the device was seen last and moves it on, or says that it has gone. A device
 * costs one look per time-out, all that go in one second are one pass, and a deleted one is simply
 * not found any more.
 */
#ifndef TPI_REGISTRY_PRESENCE_H
#define TPI_REGISTRY_PRESENCE_H

#include "base/map.h"
#include "registry/device.h"

enum {
    TPI_PRESENCE_SLOTS = 1024,  /* seconds; what is due later stands in the last one */
    TPI_PRESENCE_MIN_MS = 1000, /* of a time-out */
    TPI_PRESENCE_MAX_S = 30 * 24 * 3600,
    TPI_PRESENCE_JUMP_MS = 1000,       /* of the wall clock: from there on it was set */
    TPI_PRESENCE_BATCH = 256,          /* devices that one pass gives out */
    TPI_PRESENCE_CONNECTIONS = 1 << 20 /* devices of a worker whose connections are numbered */
};

struct tpi_presence_due {
    uint64_t id;
    uint64_t at_s;
};

struct tpi_presence_slot {
    struct tpi_presence_due *items;
    uint32_t count, cap;
};

struct tpi_presence_connection;

/* One worker's. All its functions: the worker, under the registry's read lock unless it is said. */
struct tpi_presence {
    struct tpi_registry *registry;
    uint32_t worker, workers;        /* its devices: partition % workers == worker */
    uint64_t now_s;                  /* monotonic; all slots up to it are done */
    int64_t offset_ms;               /* wall clock - monotonic clock, as it was seen last */
    uint32_t count;                  /* devices in slots */
    uint32_t changes;                /* of products, as it knows them */
    bool again;                      /* out of memory: everything is arranged once more */
    struct tpi_presence_slot *slots; /* NULL until the first device */
    uint64_t busy[TPI_PRESENCE_SLOTS / 64];
    struct tpi_map64 connections; /* device -> struct tpi_presence_connection */
};

/* No lock. */
void tpi_presence_init(struct tpi_presence *p, struct tpi_registry *registry, uint32_t worker,
                       uint32_t workers, uint64_t mono_ms, int64_t unix_ms);
void tpi_presence_fini(struct tpi_presence *p);

/* The device is online from now on: it goes into the wheel if its product has a time-out and it is
 * not there yet. */
void tpi_presence_arm(struct tpi_presence *p, struct tpc_device *d, int64_t unix_ms);

/* One that pass() gave out and that could not be told: in the next second again. */
void tpi_presence_retry(struct tpi_presence *p, struct tpc_device *d, uint64_t mono_ms);

/* Whether a turn has something to do. No lock. */
bool tpi_presence_due(const struct tpi_presence *p, uint64_t mono_ms);
/* Milliseconds until then; UINT64_MAX = never. No lock. */
uint64_t tpi_presence_next_ms(const struct tpi_presence *p, uint64_t mono_ms);

/*
 * Goes on to the present second. Devices that are online and silent for too long, counted, are put
 * into ret, at most TPI_PRESENCE_BATCH. Returns how many; as many as fit = there may be more.
 */
uint32_t tpi_presence_pass(struct tpi_presence *p, uint64_t mono_ms, int64_t unix_ms,
                           struct tpc_device **ret);

/* Whether a presence message of this connection of the device is late: a newer one was heard of.
 * If not, it is the newest now. Out of memory or of room: not late. Connections are numbered by who accepts
 * them; the numbers of a device only rise. */
bool tpi_presence_late(struct tpi_presence *p, const struct tpc_device *d, uint64_t connection);

#endif
