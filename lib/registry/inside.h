/* Shared by the files of lib/registry. */
#ifndef TPI_REGISTRY_INSIDE_H
#define TPI_REGISTRY_INSIDE_H

#include <pthread.h>

#include "base/map.h"
#include "registry/device.h"
#include "registry/limit.h"
#include "registry/why.h"
#include "registry/login.h"

/* Key of a product. Counted: by its revisions, and by devices that were of it. */
struct tpi_name {
    atomic_uint refs;
    uint32_t len;
    struct tpi_presence_count presence; /* of the product's devices */
    char text[];                        /* NUL ends it */
};

struct tpi_old_name {
    struct tpi_old_name *next;
    struct tpi_name *name;
};

/* A product through all its revisions. */
struct tpi_product_slot {
    struct tpi_product *current; /* NULL: its entity is not stored yet */
    struct tpc_device *devices;  /* list by next/prev */
    uint32_t device_count;
};

/* Text or tree of a latest value; value points into data. */
struct tpi_latest_block {
    size_t cap; /* of data */
    struct tpc_value value;
    char data[];
};

/*
 * Devices by a hash. Open addressing, removal shifts back. Half of the hash stands beside each
 * pointer, so that a look-up touches no device but the one it wants.
 */
struct tpi_device_table {
    struct tpc_device **slots; /* tags stand behind them */
    uint32_t *tags;
    size_t cap;
    size_t count;
    uint32_t (*tag)(const struct tpc_device *d);
};

struct tpi_registry {
    const struct tpi_env *env;
    struct tpi_registry_host host;
    pthread_rwlock_t lock; /* guards all below */
    uint64_t generation;   /* of what look.h keeps; 1 at first */
    uint64_t seed;
    uint64_t main_tenant;
    struct tpi_map tenants;       /* key -> struct tpi_tenant */
    struct tpi_map products;      /* tenant number and key -> struct tpi_product_slot */
    struct tpi_map64 product_ids; /* id -> struct tpi_product_slot */
    struct tpi_device_table by_key;
    struct tpi_device_table by_id;
    uint32_t coming;             /* devices that are prepared and not yet in the tables */
    struct tpi_map groups;       /* tenant number and key -> struct tpi_group; changes only */
    struct tpi_map serials;      /* tenant number and serial -> struct tpi_serial; changes only */
    struct tpi_map64 serial_ids; /* device -> its struct tpi_serial */
    struct tpi_map users;    /* tenant number and key -> struct tpi_service_user; changes only */
    struct tpi_map services; /* tenant number and key -> struct tpi_panel_entry */
    struct tpi_map points;   /* likewise, of access points; changes only */
    struct tpi_login_table logins;
    struct tpi_limit limit;   /* has a lock of its own */
    struct tpi_map addresses; /* number of a gateway and address -> struct tpi_link */
    struct tpi_map64 links;   /* device -> its struct tpi_link */
    struct tpi_map64 subs;    /* gateway -> first struct tpi_link of those behind it */
    struct tpi_map64 homes;   /* device -> whose number gives its partition; changes only */
    bool homes_loaded;
    struct tpi_why why;         /* has a lock of its own, too */
    pthread_mutex_t gone_lock;  /* guards gone */
    struct tpc_device *gone;    /* deleted, but still referred to */
    struct tpi_report *reports; /* strategies of devices, each once: tpi_device.report - 1 */
    uint32_t report_count, report_cap;
    struct tpi_presence_count presence;
    atomic_uint presence_changes; /* products' time-outs, devices' products */
    struct tpi_registry_counters counters;
    struct tpi_kind kinds[TPI_REGISTRY_KINDS];
};

extern const char tpi_registry_origin[];

static inline int tpi_registry_no_memory(struct tpc_error *err);

/* ---- table.c ---- */
/* Room for one more than stands there or is coming. Write lock. Returns 0 or TPC_ENOMEM. */
int tpi_table_reserve(struct tpi_registry *r, struct tpi_device_table *t);
void tpi_table_put(struct tpi_device_table *t, struct tpc_device *d); /* has room */
void tpi_table_remove(struct tpi_device_table *t, struct tpc_device *d);
void tpi_table_fini(struct tpi_registry *r, struct tpi_device_table *t);
void tpi_tables_init(struct tpi_registry *r);
struct tpc_device *tpi_table_find_key(const struct tpi_registry *r, uint64_t tenant_id,
                                      struct tpc_str key);

/* ---- report.c ---- */
/* Member "report" of a document; mode 0 if there is none. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int tpi_report_read_in(const struct tpi_change *change, struct tpi_report *ret,
                       struct tpc_error *err);
/* Number for tpc_device.report. Returns 0, TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_report_number(struct tpi_registry *r, const struct tpi_report *report,
                      struct tpc_error *err, uint16_t *ret);
void tpi_report_fini(struct tpi_registry *r);

/* ---- registry.c ---- */
struct tpi_product_slot *tpi_registry_product_slot(struct tpi_registry *r, uint64_t tenant_id,
                                                   struct tpc_str key);
/* NULL when out of memory; not visible until current is set. Write lock. */
struct tpi_product_slot *tpi_registry_product_slot_make(struct tpi_registry *r, uint64_t tenant_id,
                                                        struct tpc_str key, uint64_t id);
void tpi_registry_product_slot_drop(struct tpi_registry *r, uint64_t tenant_id, struct tpc_str key,
                                    uint64_t id);

/* ---- product.c, tenant.c, device_kind.c: the kinds ---- */
void tpi_registry_tenant_kind(struct tpi_registry *r, struct tpi_kind *kind);
void tpi_registry_product_kind(struct tpi_registry *r, struct tpi_kind *kind);
void tpi_registry_device_kind(struct tpi_registry *r, struct tpi_kind *kind);
void tpi_registry_group_kind(struct tpi_registry *r, struct tpi_kind *kind);
void tpi_registry_service_kind(struct tpi_registry *r, struct tpi_kind *kind);

/* ---- panel_kinds.c: kinds service and access_point ---- */
void tpi_registry_panel_kinds(struct tpi_registry *r, struct tpi_kind *service,
                              struct tpi_kind *point);
void tpi_registry_free_panel(struct tpi_registry *r);
bool tpi_registry_has_point(const struct tpi_registry *r, uint64_t tenant, struct tpc_str key);

/* ---- service_kind.c ---- */
void tpi_registry_free_users(struct tpi_registry *r);

/* ---- group.c ---- */
bool tpi_registry_has_group(const struct tpi_registry *r, uint64_t tenant, struct tpc_str key);
void tpi_registry_free_groups(struct tpi_registry *r);

/* ---- labels.c: what a table of options cannot say. Return 0 or TPC_EINVAL ---- */
int tpi_registry_check_labels(const struct tpc_value *doc, struct tpc_error *err);
int tpi_registry_check_object(const struct tpc_value *doc, const char *member,
                              struct tpc_error *err);

/* ---- serial.c: serial numbers are unique in a tenant ---- */
struct tpi_serial_change {
    struct tpi_serial *fresh; /* in the tables since prepare */
    struct tpi_serial *old;   /* goes at apply */
};
int tpi_serial_prepare(struct tpi_registry *r, const struct tpi_change *change,
                       struct tpc_error *err, struct tpi_serial_change *c);
void tpi_serial_apply(struct tpi_registry *r, const struct tpi_change *change,
                      const struct tpi_serial_change *c);
void tpi_serial_discard(struct tpi_registry *r, const struct tpi_change *change,
                        const struct tpi_serial_change *c);
void tpi_serial_fini(struct tpi_registry *r);

/* ---- topology.c ---- */
enum tpi_home_change { TPI_HOME_STAYS = 0, TPI_HOME_COMES = 1, TPI_HOME_GOES = 2 };

struct tpi_topology_change {
    struct tpc_device *gateway; /* that it is to have */
    struct tpi_link *fresh;     /* in the tables since prepare, not live */
    struct tpi_link *old;       /* goes at apply */
    bool changed;
    uint8_t home; /* enum tpi_home_change */
};
void tpi_topology_init(struct tpi_registry *r);
void tpi_topology_fini(struct tpi_registry *r);
/* At start, before the first device: what is stored beside them. */
int tpi_topology_load(struct tpi_registry *r, struct tpi_change *change, struct tpc_error *err);
/* Partition of a new device. */
uint32_t tpi_topology_partition(const struct tpi_registry *r, uint64_t id,
                                const struct tpc_device *gateway);
/* Whether d (NULL = a new one) may stand behind the gateway: no cycle, not too deep. */
int tpi_topology_check(const struct tpi_registry *r, const struct tpi_change *change,
                       const struct tpc_device *d, const struct tpc_device *gateway,
                       struct tpc_error *err);
int tpi_topology_prepare(struct tpi_registry *r, struct tpi_change *change, struct tpc_device *d,
                         struct tpc_device *gateway, struct tpi_topology_change *c,
                         struct tpc_error *err);
int tpi_topology_prepare_delete(struct tpi_registry *r, struct tpi_change *change,
                                const struct tpc_device *d, struct tpi_topology_change *c,
                                struct tpc_error *err);
/* Write lock. Returns the gateway that it left: its reference is the caller's to give back. */
struct tpc_device *tpi_topology_apply(struct tpi_registry *r, struct tpc_device *d,
                                      const struct tpi_topology_change *c);
void tpi_topology_discard(struct tpi_registry *r, const struct tpc_device *d,
                          const struct tpi_topology_change *c);

void tpi_tenant_unref(struct tpi_tenant *t);
struct tpi_name *tpi_name_make(const struct tpc_allocator *alloc, struct tpc_str key);
void tpi_name_unref(const struct tpc_allocator *alloc, struct tpi_name *name);

/* ---- presence.c: under the write lock ---- */
/* Before it is marked as deleted: it counts no more. */
void tpi_presence_forget(struct tpc_device *d);
void tpi_presence_moved(struct tpc_device *d, struct tpi_name *from, struct tpi_name *to);

/* ---- device.c ---- */
/* A device nobody knows yet; gateway may be NULL. NULL when out of memory. */
struct tpc_device *tpi_device_make(const struct tpi_change *change, struct tpi_tenant *tenant,
                                   struct tpi_product *product, struct tpc_device *gateway);
/* Frees it whatever its references. Its reference on the gateway is the caller's to give back. */
void tpi_device_free(struct tpc_device *d);
void tpi_device_list_add(struct tpi_product_slot *slot, struct tpc_device *d);
void tpi_device_list_remove(struct tpi_product_slot *slot, struct tpc_device *d);

/* ---- latest.c ---- */
/* Slots for the properties of a model (one at least), all empty; NULL when out of memory. */
struct tpi_latest *tpi_latest_make(const struct tpc_allocator *alloc, const struct tpi_model *m);
/* NULL is fine. */
void tpi_latest_free(const struct tpc_allocator *alloc, struct tpi_latest *latest,
                     const struct tpi_model *m);
/* Moves d's values to `fresh`, laid out as `to`; what of both is not needed is freed. Write lock. */
void tpi_latest_move(struct tpc_device *d, const struct tpi_model *from, const struct tpi_model *to,
                     struct tpi_latest *fresh);
/* Whether both revisions have the same ids at the same places. */
bool tpi_latest_same_layout(const struct tpi_model *a, const struct tpi_model *b);

#include "base/error.h"

static inline int tpi_registry_no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, tpi_registry_origin, "out of memory");
}

#endif
