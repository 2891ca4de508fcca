/*
 * The last failures of devices and of strangers, in memory that is bounded: see tpcore/why.h. Any
 * stage notes its own through the registry; the table has a lock of its own, under which nothing is
 * called.
 */
#ifndef TPI_REGISTRY_WHY_H
#define TPI_REGISTRY_WHY_H

#include <pthread.h>
#include <tpcore/why.h>

#include "base/map.h"
#include "base/metric.h"
#include "registry/registry.h"

enum {
    TPI_WHY_DEVICES = 512,
    TPI_WHY_STRANGERS = 128,
    TPI_WHY_ENTRIES = 6,
    TPI_WHY_DOC_BYTES = 8192 /* of a slot as JSON */
};

struct tpi_why_entry {
    int64_t unix_ms;
    uint64_t payload_bytes;
    int32_t code;
    uint32_t times;
    uint32_t taken; /* of times */
    uint8_t stage;
    uint8_t reason_len;
    uint8_t origin_len;
    uint8_t payload_len;
    char reason[TPC_WHY_REASON_BYTES];
    char origin[TPC_WHY_ORIGIN_BYTES];
    uint8_t payload[TPC_WHY_PAYLOAD_BYTES];
};

/* One device or stranger. */
struct tpi_why_slot {
    struct tpi_why_slot *older, *newer; /* by its last failure */
    uint32_t number;                    /* of the table's slots */
    bool known;
    bool dirty; /* not stored as it is */
    uint8_t tenant_len, device_len;
    uint8_t count; /* of entries; the newest is entries[0] */
    char tenant[TPC_WHY_KEY_BYTES];
    char device[TPC_WHY_KEY_BYTES];
    struct tpi_why_entry entries[TPI_WHY_ENTRIES];
};

struct tpi_why_table {
    struct tpi_map by_name; /* tenant, NUL, device -> slot */
    struct tpi_why_slot *oldest, *newest;
    struct tpi_why_slot *slots[TPI_WHY_DEVICES];
    uint32_t cap;
    uint32_t count;
};

struct tpi_why {
    const struct tpi_env *env;
    pthread_mutex_t lock;
    struct tpi_why_table devices, strangers;
    uint32_t take_at; /* slot of both tables that the next taking looks at */
    bool taking;      /* somebody does: what is lost for him counts as missed */
    _Atomic uint64_t notes;
    _Atomic uint64_t lost;    /* for want of memory */
    _Atomic uint64_t evicted; /* devices and strangers that made room */
    _Atomic uint64_t missed;  /* failures that made room before they were taken */
};

int tpi_why_init(struct tpi_why *y, const struct tpi_env *env);
void tpi_why_fini(struct tpi_why *y);

struct tpi_why *tpi_registry_why(struct tpi_registry *r);

/* As tpc_why_note(), `known` as given. Any thread, under whatever lock but its own. Returns 0 or
 * TPC_ENOMEM. */
int tpi_why_note(struct tpi_why *y, const struct tpc_why *why);

/* Of a device of the registry, in short. */
void tpi_why_device(struct tpc_device *d, uint32_t stage, int code, struct tpc_str reason,
                    struct tpc_str origin, struct tpc_bytes payload);

/* Copies a slot out. Returns whether there is one. */
bool tpi_why_find(struct tpi_why *y, bool known, struct tpc_str tenant, struct tpc_str device,
                  struct tpi_why_slot *ret);
bool tpi_why_at(struct tpi_why *y, bool known, uint32_t number, struct tpi_why_slot *ret);

/* The next slot from *number on that is not stored, marked as stored; false: none. */
bool tpi_why_dirty(struct tpi_why *y, bool known, uint32_t *number, struct tpi_why_slot *ret);
/* It was not stored after all. */
void tpi_why_again(struct tpi_why *y, const struct tpi_why_slot *slot);
/* For tpc_why_take(): begins a round over all slots; from the first one on what makes room untaken counts
 * as missed. Returns how many slots it has. */
uint32_t tpi_why_take_begin(struct tpi_why *y);
/* Copies the next slot of the round with a failure that was not taken; its entry *ret_entry has as times
 * those that are new. *left: slots that the round still has. false: the round is over. */
bool tpi_why_take(struct tpi_why *y, uint32_t *left, struct tpi_why_slot *ret, uint32_t *ret_entry);

/* Puts a slot that was stored in its place, unless something stands there. Returns 0 or TPC_ENOMEM. */
int tpi_why_restore(struct tpi_why *y, const struct tpi_why_slot *slot);

/* A slot as JSON and back. write: 0 or TPC_ETOOBIG. read: 0, TPC_ECORRUPT or TPC_ENOMEM; ret is
 * filled in but for links and number. */
int tpi_why_write(const struct tpi_why_slot *slot, struct tpc_buf *buf);
int tpi_why_read(struct tpc_arena *arena, struct tpc_bytes doc, struct tpi_why_slot *ret);

/* The public view of an entry. */
void tpi_why_view(const struct tpi_why_slot *slot, uint32_t entry, struct tpc_why *ret);

#endif
