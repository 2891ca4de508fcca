/*
 * Registry: tenants, products and devices in memory, for whoever works on messages.
 *
 * Readers take the read lock once per batch; what is "borrowed" is valid until they unlock, or
 * longer with a reference. The lock is not recursive and prefers writers: a thread that holds it
 * calls neither tpi_registry_read_lock(), nor _open(), nor a user's callback, nor an entity put.
 */
#ifndef TPI_REGISTRY_REGISTRY_H
#define TPI_REGISTRY_REGISTRY_H

#include "data/report.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/ext/codec.h>

#include "base/env.h"
#include "base/metric.h"
#include "entity/entity.h"
#include "model/model.h"
#include "registry/topic_map.h"

enum {
    TPI_REGISTRY_SLOTS = 4096,      /* of the table from device to partition */
    TPI_REGISTRY_GATEWAY_DEPTH = 7, /* a gateway, 5 levels of sub-gateways, a device */
    TPI_REGISTRY_GROUP_DEPTH = 8,   /* groups in groups */
    TPI_REGISTRY_LABELS = 32,       /* of one entity */
    TPI_REGISTRY_LABEL_BYTES = 256, /* of a value */
    TPI_REGISTRY_GROUPS = 16,       /* that one device is in */
    TPI_SERVICE_PREFIX_BYTES = 200, /* of the topics of a service's devices */
    TPI_REGISTRY_KINDS = 7 /* tenant, product, group, service, access_point, device, service_user */
};

struct tpi_registry;
struct tpi_expr_ops;
struct tpi_derived;
struct tpc_device;

/*
 * codec_find   Table and instance of a codec by name. TPC_ENOENT.
 * device_gone  The last reference of a device goes. Any thread. May be NULL.
 * expr         How derived properties are computed (registry/derived.h); NULL = there can be none.
 */
struct tpi_registry_host {
    void *user;
    struct tpc_bytes
        login_key;       /* identities that were given out hold in another registry with the same
                                 * key, too; empty = one of its own */
    uint32_t partitions; /* >= 1 */
    int (*codec_find)(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self);
    void (*device_gone)(void *user, struct tpc_device *device);
    const struct tpi_expr_ops *expr;
};

/* What a registered ThingsPanel device logs in with (contract thingspanel.md 1.1). */
enum tpi_voucher { TPI_VOUCHER_OTHER = 0, TPI_VOUCHER_BASIC = 1, TPI_VOUCHER_TOKEN = 2 };

/* What says that a device is online or offline. */
enum tpi_presence_mode {
    TPI_PRESENCE_EVENTS = 0,    /* connections and status messages, nothing else */
    TPI_PRESENCE_HEARTBEAT = 1, /* its messages and silence, nothing else */
    TPI_PRESENCE_IDLE = 2       /* both */
};

/* Whether a gateway's report makes devices that are not there. */
enum tpi_auto_subs { TPI_AUTO_OFF = 0, TPI_AUTO_PRODUCT = 1, TPI_AUTO_ON = 2 };

/* One revision of a product. Never changes; a put makes a new one. */
struct tpi_product {
    atomic_uint refs;
    uint32_t revision;
    uint64_t id;
    uint64_t tenant_id;
    struct tpc_str tenant;
    struct tpc_str key;
    struct tpi_model *model;
    struct tpi_derived *derived; /* NULL if it has none */
    const struct tpc_codec_ops *codec;
    void *codec_self;
    void *program;   /* of codec; NULL if it has no compile() */
    int64_t keep_ms; /* how long samples are kept; 0 = for ever, -1 = as the core's option says */
    bool published;
    bool gateway;               /* its type; neither: direct, or not said */
    bool auto_create;           /* of type sub, and auto_register is on */
    uint8_t auto_subs;          /* enum tpi_auto_subs */
    struct tpc_str sub_product; /* of devices that a gateway names by an address; may be empty */
    uint32_t model_version;
    uint64_t model_hash;          /* of the model as sorted JSON */
    bool auto_register;           /* devices that know secret may register themselves */
    bool behind_gateway;          /* type "sub" */
    uint8_t voucher;              /* enum tpi_voucher: of devices that register themselves */
    struct tpc_str secret;        /* only with auto_register, else empty */
    struct tpc_str protocol;      /* a service's key, maybe; may be empty */
    struct tpi_topic_map *topics; /* of its own; NULL = none */
    struct tpi_report report;     /* of its devices' values; mode 0 = none */
    bool keep_unknown;            /* values of keys that the model does not know are kept, by key */
    uint8_t presence;             /* enum tpi_presence_mode */
    uint32_t silence_ms;          /* after which a device is offline; 0 = never */
    /* Private to lib/registry. */
    const struct tpc_allocator *alloc;
    struct tpi_name *name; /* holds key */
    size_t bytes;
};

struct tpi_registry_counters {
    _Atomic uint64_t tenants;
    _Atomic uint64_t products;
    _Atomic uint64_t devices;
    _Atomic uint64_t changes;
    _Atomic uint64_t latest_stale; /* values older than the one that is there */
    _Atomic uint64_t auth_allowed;
    _Atomic uint64_t auth_denied;
    _Atomic uint64_t auth_limited; /* not looked at: too many failures */
    _Atomic uint64_t auth_limit_evicted;
    _Atomic uint64_t acl_denied;
    _Atomic uint64_t registrations;
};
extern const struct tpi_metric_def tpi_registry_metrics[];
extern const uint32_t tpi_registry_metric_count;

/* Codecs of products must outlive it. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int tpi_registry_create(const struct tpi_env *env, const struct tpi_registry_host *host,
                        struct tpc_error *err, struct tpi_registry **ret);
/* Handles on devices that are still held are invalid after it. */
void tpi_registry_destroy(struct tpi_registry *r);

/* TPI_REGISTRY_KINDS tables in the order to add them. */
const struct tpi_kind *tpi_registry_kinds(struct tpi_registry *r);

const struct tpi_registry_counters *tpi_registry_counters(const struct tpi_registry *r);

/* As codec_find of the host. Any thread. */
int tpi_registry_codec(struct tpi_registry *r, struct tpc_str name,
                       const struct tpc_codec_ops **ret_ops, void **ret_self);
const struct tpc_allocator *tpi_registry_allocator(const struct tpi_registry *r);

void tpi_registry_read_lock(struct tpi_registry *r);
void tpi_registry_read_unlock(struct tpi_registry *r);

/* Borrowed under the read lock; NULL if not there. tenant empty = "main". */
struct tpc_device *tpi_registry_find(struct tpi_registry *r, struct tpc_str tenant,
                                     struct tpc_str key);
struct tpc_device *tpi_registry_find_in(struct tpi_registry *r, uint64_t tenant_id,
                                        struct tpc_str key);
/* Latest value of a device by keys, as tpi_device_latest_copy(); TPC_ENOENT also if there is no such
 * device or property. Read lock. */
int tpi_registry_latest(struct tpi_registry *r, uint64_t tenant_id, struct tpc_str device,
                        struct tpc_str property, struct tpc_buf *buf, struct tpc_value *ret);
struct tpc_device *tpi_registry_by_id(struct tpi_registry *r, uint64_t id);
struct tpi_product *tpi_registry_product(struct tpi_registry *r, struct tpc_str tenant,
                                         struct tpc_str key);
/* What stands before the topics of a product's devices because a service speaks its protocol; empty =
 * none does. A view under the read lock. */
struct tpc_str tpi_registry_topic_prefix(const struct tpi_registry *r, const struct tpi_product *p);
/* Number of a tenant, 0 = none. Read lock. */
uint64_t tpi_registry_tenant(struct tpi_registry *r, struct tpc_str tenant);

/* Takes the read lock itself; *ret is the caller's reference. Returns 0 or TPC_ENOENT (the text
 * says whether tenant or device). */
int tpi_registry_open(struct tpi_registry *r, struct tpc_str tenant, struct tpc_str key,
                      struct tpc_error *err, struct tpc_device **ret);

/* Under the read lock, in no order; a non-zero return of fn ends it and is returned. */
int tpi_registry_each_device(struct tpi_registry *r,
                             int (*fn)(void *user, struct tpc_device *device), void *user);
int tpi_registry_each_product(struct tpi_registry *r,
                              int (*fn)(void *user, struct tpi_product *product), void *user);

struct tpi_presence_counts {
    uint64_t devices;
    uint64_t online;
    uint64_t active; /* were online once */
};

/* Of a product, of a tenant (product empty) or of all (both empty; with a product, an empty tenant is
 * "main"), in a time that does not depend on how many there are. Takes the read lock itself. Returns
 * 0 or TPC_ENOENT. */
int tpi_registry_presence(struct tpi_registry *r, struct tpc_str tenant, struct tpc_str product,
                          struct tpi_presence_counts *ret);

/* Partition of a device with this root, and of what has no device but a tenant. */
uint32_t tpi_registry_partition(const struct tpi_registry *r, uint64_t id);

struct tpi_product *tpi_product_ref(struct tpi_product *p);
struct tpi_product *tpi_product_unref(struct tpi_product *p); /* NULL is fine; returns NULL */

#endif
