/*
 * A resolved device: who it is, its product, partition, presence and latest values. Counted.
 *
 * Which thread: identity never changes. `product` and `topic` change only under the registry's
 * write lock: read them under the read lock. "owner" members belong to the worker of the device's
 * partition. Atomic members are read by any thread.
 */
#ifndef TPI_REGISTRY_DEVICE_H
#define TPI_REGISTRY_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/device.h>

#include "registry/registry.h"

/* One latest value: a sequence counter that is odd while the owner writes. */
struct tpi_latest {
    _Atomic uint32_t seq;
    _Atomic uint32_t type; /* enum tpc_type; TPC_NULL = none yet */
    _Atomic int64_t unix_ms;
    _Atomic uint64_t bits; /* scalar, or address of a struct tpi_latest_block */
};

/* Places for the state that a stage keeps per device, so that it needs no table. */
enum tpi_stage_slot {
    TPI_SLOT_UPLINK = 0,
    TPI_SLOT_RULES = 1,
    TPI_SLOT_DOWNLINK = 2,
    TPI_SLOT_CORE = 3
};
enum { TPI_STAGE_SLOTS = 4 };

struct tpc_device {
    atomic_uint refs;
    uint32_t partition;
    struct tpi_registry *registry;
    uint64_t id;
    uint64_t tenant_id;
    uint64_t root_id; /* of its top gateway, or its own */
    struct tpc_str tenant;
    struct tpc_str key;          /* NUL ends it */
    struct tpc_str product_key;  /* read lock; old ones stay valid as long as the device */
    struct tpc_str topic;        /* read lock; "main/up/thermo/t1/", the kind's name follows */
    struct tpi_product *product; /* read lock */
    struct tpc_device *gateway;  /* counted; NULL = none */
    uint64_t revision;           /* of its entity; read lock */

    atomic_bool deleted;
    atomic_bool online;                /* owner writes */
    _Atomic uint64_t session;          /* owner writes; 0 = none */
    void *adapter;                     /* owner: adapter instance of the session */
    _Atomic int64_t last_seen_unix_ms; /* owner writes; 0 = not since start */
    _Atomic uint64_t messages;         /* owner writes */
    int64_t estimated_unix_ms;         /* owner: the last time tpi_device_estimate() gave */
    void *slots[TPI_STAGE_SLOTS];      /* owner: enum tpi_stage_slot */

    /* Private to lib/registry. */
    uint64_t key_hash;
    struct tpc_device *next; /* of the same product */
    struct tpc_device *prev;
    uint32_t children; /* devices behind this gateway */
    uint32_t latest_count;
    struct tpi_latest *latest;
    atomic_flag latest_lock; /* guards blocks of text and trees */
    struct tpi_device_text *text;
};

struct tpc_device *tpi_device_ref(struct tpc_device *d);
struct tpc_device *tpi_device_unref(struct tpc_device *d); /* NULL is fine; returns NULL */

/* The user pointer of the registry's host: the core. */
void *tpi_device_owner(const struct tpc_device *d);

/* State for tpc_device_info(): takes the read lock itself. Any thread. */
void tpi_device_info(struct tpc_device *d, struct tpc_device_info *ret);

/* One message more, seen now. Owner. */
static inline void tpi_device_seen(struct tpc_device *d, int64_t unix_ms)
{
    uint64_t n = atomic_load_explicit(&d->messages, memory_order_relaxed);
    atomic_store_explicit(&d->messages, n + 1, memory_order_relaxed);
    atomic_store_explicit(&d->last_seen_unix_ms, unix_ms, memory_order_relaxed);
}

enum { TPI_ESTIMATE_AHEAD_MS = 1000 };

/*
 * Time of a message that carries none: its receipt, but a millisecond after the message before it,
 * for the history keeps one sample of a property in a millisecond and a backlog comes many at a
 * time. It never runs further ahead of the receipt than TPI_ESTIMATE_AHEAD_MS; from there on, times
 * are equal. Owner.
 */
static inline int64_t tpi_device_estimate(struct tpc_device *d, int64_t received_unix_ms)
{
    int64_t t = d->estimated_unix_ms + 1;
    if (t <= received_unix_ms ||
        d->estimated_unix_ms - received_unix_ms > 2 * TPI_ESTIMATE_AHEAD_MS) {
        t = received_unix_ms; /* the ordinary case, or the clock was set back */
    } else if (t > received_unix_ms + TPI_ESTIMATE_AHEAD_MS) {
        t = received_unix_ms + TPI_ESTIMATE_AHEAD_MS;
    }
    d->estimated_unix_ms = t;
    return t;
}

/*
 * Latest values, by the index of the property in d->product->model. All under the read lock.
 *
 * set: the owner; a value older than the present one is passed over. value is of the property's
 * value type (as tpi_model_check() gives it) or TPC_NULL, which forgets. Returns 0, or TPC_ENOMEM
 * (text and trees; the old value stays).
 */
int tpi_device_latest_set(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                          int64_t unix_ms);

/* The owner's look: no copy; text and trees are valid until the next set. Returns 0 or TPC_ENOENT.
 * ret_unix_ms may be NULL. */
int tpi_device_latest_peek(const struct tpc_device *d, uint32_t index, struct tpc_value *ret,
                           int64_t *ret_unix_ms);

/* Any thread; text and trees are copied into buf (NULL is fine for scalars). Returns 0, TPC_ENOENT
 * or TPC_ETOOBIG with buf->need set. */
int tpi_device_latest_copy(struct tpc_device *d, uint32_t index, struct tpc_buf *buf,
                           struct tpc_value *ret, int64_t *ret_unix_ms);

#endif
