/*
 * A resolved device: who it is, its product, partition, presence and latest values. Counted.
 *
 * Which thread: identity never changes. `product` and `gateway` change only under the registry's
 * write lock: read them under the read lock. "owner" members belong to the worker of the device's
 * partition. Atomic members are read by any thread.
 */
#ifndef TPI_REGISTRY_DEVICE_H
#define TPI_REGISTRY_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/device.h>

#include "base/buf.h"
#include "registry/registry.h"

/*
 * One latest value. Its type is the property's, which an id never changes. unix_ms is
 * TPI_LATEST_NONE while there is none; bits is a scalar, or the address of a struct
 * tpi_latest_block.
 */
#define TPI_LATEST_NONE INT64_MIN
struct tpi_latest {
    _Atomic int64_t unix_ms;
    _Atomic uint64_t bits;
};

/* How many devices there are of a kind. Changed by their owners under the read lock, or under the
 * write lock. */
struct tpi_presence_count {
    _Atomic uint64_t online;
    _Atomic uint64_t active; /* were online once */
};

/* A tenant. Counted: by the registry while it is there, and by its devices. */
struct tpi_tenant {
    atomic_uint refs;
    bool live;        /* its entity is stored; read lock */
    uint32_t devices; /* read lock */
    uint64_t id;
    struct tpi_registry *registry;
    struct tpi_presence_count presence;
    struct tpc_str key; /* behind this struct, NUL ends it */
};

/*
 * There may be a million: what is rarely needed is not here, what a look-up needs stands together
 * at the end, next to the key.
 */
struct tpc_device {
    uint64_t id;
    struct tpi_product *product;       /* read lock */
    struct tpc_device *gateway;        /* counted; NULL = none; read lock */
    _Atomic uint64_t session;          /* owner writes; 0 = none */
    void *adapter;                     /* owner: adapter instance of the session */
    _Atomic int64_t last_seen_unix_ms; /* owner writes; 0 = never */
    _Atomic int64_t presence_unix_ms;  /* owner writes; when `online` changed; 0 = never */
    _Atomic uint64_t messages;         /* owner writes */
    int64_t estimated_unix_ms;         /* owner: the last time tpi_device_estimate() gave */

    /* Private to lib/registry. */
    struct tpc_device *next; /* of the same product */
    struct tpc_device *prev;
    struct tpi_old_name *names; /* of products that it had before, for views that were given out */
    _Atomic(struct tpi_latest *) latest; /* as many as the model has properties; NULL = no value */
    struct tpi_logins *logins;           /* what it proves itself with; NULL = nothing */
    uint32_t children;                   /* devices behind this gateway */
    atomic_uint latest_seq;              /* odd while the owner writes latest values */
    atomic_flag latest_lock;             /* guards blocks of text and trees */

    atomic_bool deleted;
    atomic_bool online;   /* owner writes */
    atomic_uchar bits;    /* owner writes: enum tpi_device_bit */
    atomic_bool disabled; /* its document says enabled = false */
    uint16_t partition;
    uint16_t report; /* 0 = no report strategy of its own; read lock */
    atomic_uint refs;
    _Atomic uint32_t active_unix_s; /* owner writes; when it was online first; 0 = never */
    struct tpi_tenant *tenant;
    struct tpc_str key; /* behind this struct, NUL ends it */
};

enum tpi_device_bit {
    TPI_DEVICE_BY_SESSION = 1,  /* it is online by a session of this process */
    TPI_DEVICE_TIMED = 2,       /* it stands in the wheel of time-outs */
    TPI_DEVICE_SEEN = 4,        /* rules saw a message about its presence */
    TPI_DEVICE_SEEN_ONLINE = 8, /* .. and it was online by that */
    TPI_DEVICE_AWAY = 16        /* said to be gone, or silent for too long: nothing is sent to it */
};

static inline bool tpi_device_has(const struct tpc_device *d, enum tpi_device_bit bit)
{
    return (atomic_load_explicit(&d->bits, memory_order_relaxed) & bit) != 0;
}

/* Owner. */
static inline void tpi_device_bit(struct tpc_device *d, enum tpi_device_bit bit, bool on)
{
    unsigned bits = atomic_load_explicit(&d->bits, memory_order_relaxed);
    bits = on ? bits | bit : bits & ~(unsigned) bit;
    atomic_store_explicit(&d->bits, (unsigned char) bits, memory_order_relaxed);
}

static inline struct tpc_str tpi_device_tenant(const struct tpc_device *d)
{
    return d->tenant->key;
}

/* Read lock; the text stays valid as long as the device. */
static inline struct tpc_str tpi_device_product_key(const struct tpc_device *d)
{
    return d->product->key;
}

/* Its own report strategy, NULL = none. Read lock; valid under it. */
const struct tpi_report *tpi_device_report(const struct tpc_device *d);

/* Id of its top gateway, or its own. Read lock. */
uint64_t tpi_device_root(const struct tpc_device *d);

struct tpc_device *tpi_device_ref(struct tpc_device *d);
struct tpc_device *tpi_device_unref(struct tpc_device *d); /* NULL is fine; returns NULL */

/* The user pointer of the registry's host: the core. */
void *tpi_device_owner(const struct tpc_device *d);

/* State for tpc_device_info(): takes the read lock itself. Any thread. */
void tpi_device_info(struct tpc_device *d, struct tpc_device_info *ret);

/* It is used soon: into the cache with it. NULL is fine. */
static inline void tpi_device_ahead(const struct tpc_device *d)
{
    __builtin_prefetch(d);
    __builtin_prefetch((const char *) (const void *) d + 64);
}

/* The same for its latest values, once the device is there. */
static inline void tpi_device_latest_ahead(const struct tpc_device *d)
{
    __builtin_prefetch(atomic_load_explicit(&d->latest, memory_order_relaxed));
}

/* One message more, seen now. Owner. */
static inline void tpi_device_seen(struct tpc_device *d, int64_t unix_ms)
{
    uint64_t n = atomic_load_explicit(&d->messages, memory_order_relaxed);
    atomic_store_explicit(&d->messages, n + 1, memory_order_relaxed);
    atomic_store_explicit(&d->last_seen_unix_ms, unix_ms, memory_order_relaxed);
}

/* What is known of the device's presence, and since when. Owner, read lock. Returns whether that is
 * another state than before. */
bool tpi_device_presence(struct tpc_device *d, bool online, bool by_session, int64_t unix_ms);

/* It was online then; an earlier time that is known stays. Owner, read lock. */
void tpi_device_active(struct tpc_device *d, int64_t unix_ms);

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

/* The message with that time is none, it will be made anew: it shall have the same. Owner. */
static inline void tpi_device_estimate_undo(struct tpc_device *d, int64_t unix_ms)
{
    d->estimated_unix_ms = unix_ms <= d->estimated_unix_ms ? unix_ms - 1 : d->estimated_unix_ms;
}

/*
 * Latest values, by the index of the property in d->product->model. All under the read lock.
 *
 * put: the owner, between begin and end: one pair for all values of a message, whose readers try
 * again meanwhile. A value older than the present one is passed over, one of the same time
 * replaces it. value is of the property's value type (as tpi_model_check() gives it) or TPC_NULL,
 * which forgets. Returns 0, TPC_EINVAL (another type) or TPC_ENOMEM (the old value stays).
 */
static inline void tpi_device_latest_begin(struct tpc_device *d)
{
    uint32_t seq = atomic_load_explicit(&d->latest_seq, memory_order_relaxed);
    atomic_store_explicit(&d->latest_seq, seq + 1, memory_order_relaxed);
}

int tpi_device_latest_put(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                          int64_t unix_ms);

/* The same for a value whose time is the one of its receipt: it is the latest whatever the clock
 * said before, or one that was set back would keep old values until it is there again. */
int tpi_device_latest_arrive(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                             int64_t unix_ms);

/* Times from..to of latest values and presence move along with the clock. The owner; read lock. */
void tpi_device_shift_times(struct tpc_device *d, int64_t from_ms, int64_t to_ms, int64_t by_ms);

static inline void tpi_device_latest_end(struct tpc_device *d)
{
    uint32_t seq = atomic_load_explicit(&d->latest_seq, memory_order_relaxed);
    atomic_store_explicit(&d->latest_seq, seq + 1, memory_order_release);
}

/* One value: begin, put, end. */
int tpi_device_latest_set(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                          int64_t unix_ms);

/* The owner's look: no copy; text and trees are valid until the next put. Returns 0 or TPC_ENOENT.
 * ret_unix_ms may be NULL. */
int tpi_device_latest_peek(const struct tpc_device *d, uint32_t index, struct tpc_value *ret,
                           int64_t *ret_unix_ms);

/* Any thread; text and trees are copied into buf (NULL is fine for scalars). Returns 0, TPC_ENOENT
 * or TPC_ETOOBIG with buf->need set. */
int tpi_device_latest_copy(struct tpc_device *d, uint32_t index, struct tpc_buf *buf,
                           struct tpc_value *ret, int64_t *ret_unix_ms);

/* ---- latest values and last_seen as bytes, for a restart: latest_pack.c ---- */

enum { TPI_LATEST_PACK_BYTES = 4096 }; /* of values; those that do not fit are told by their time */

/* Any thread, under the read lock. Appends nothing if there is nothing to tell. Returns 0 or
 * TPC_ENOMEM. */
int tpi_device_latest_pack(struct tpc_device *d, struct tpi_buf *out);

/* A value that was told by its time only: the history has it. */
typedef int tpi_latest_missing_fn(void *user, struct tpc_device *d, uint16_t property,
                                  int64_t unix_ms);

/* The owner, under the read lock. Only values that came before before_unix_ms (on our clock, as far
 * as can be told; INT64_MAX = all). Values of another product or of properties that are gone are
 * passed over, present ones of the same time or newer stay. missing may be NULL. Returns 0, TPC_EVERSION, TPC_ECORRUPT, TPC_ENOMEM or what missing
 * says. */
int tpi_device_latest_unpack(struct tpc_device *d, struct tpc_bytes data, int64_t before_unix_ms,
                             struct tpc_arena *arena, tpi_latest_missing_fn *missing, void *user);

#endif
