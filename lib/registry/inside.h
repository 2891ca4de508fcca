/* Shared by the files of lib/registry. */
#ifndef TPI_REGISTRY_INSIDE_H
#define TPI_REGISTRY_INSIDE_H

#include <pthread.h>

#include "base/map.h"
#include "registry/device.h"

/* A tenant; not visible before its entity is stored. */
struct tpi_tenant {
    uint64_t id;
    size_t key_len;
    bool live;
};

/* A product through all its revisions. */
struct tpi_product_slot {
    struct tpi_product *current; /* NULL: its entity is not stored yet */
    struct tpc_device *devices;  /* list by next/prev */
    uint32_t device_count;
};

/* Text of a device. Older ones stay until the device goes, for views that were given out. */
struct tpi_device_text {
    struct tpi_device_text *older;
    size_t bytes;
    char text[];
};

/* Text or tree of a latest value; value points into data. */
struct tpi_latest_block {
    size_t cap; /* of data */
    struct tpc_value value;
    char data[];
};

/* Devices by something whose hash the caller knows. Open addressing, removal shifts back. */
struct tpi_device_table {
    struct tpc_device **slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
    uint64_t (*hash)(const struct tpc_device *d);
};

struct tpi_registry {
    const struct tpi_env *env;
    struct tpi_registry_host host;
    pthread_rwlock_t lock; /* guards all below */
    uint64_t seed;
    uint64_t main_tenant;
    struct tpi_map tenants;       /* key -> struct tpi_tenant */
    struct tpi_map products;      /* tenant number and key -> struct tpi_product_slot */
    struct tpi_map64 product_ids; /* id -> struct tpi_product_slot */
    struct tpi_device_table by_key;
    struct tpi_device_table by_id;
    pthread_mutex_t gone_lock; /* guards gone */
    struct tpc_device *gone;   /* deleted, but still referred to */
    struct tpi_registry_counters counters;
    struct tpi_kind kinds[TPI_REGISTRY_KINDS];
};

extern const char tpi_registry_origin[];

static inline int tpi_registry_no_memory(struct tpc_error *err);

/* ---- registry.c ---- */
struct tpc_device *tpi_table_find_key(const struct tpi_registry *r, uint64_t tenant_id,
                                      struct tpc_str key);
uint64_t tpi_registry_key_hash(const struct tpi_registry *r, uint64_t tenant_id,
                               struct tpc_str key);
/* Room for one more. Write lock. Returns 0 or TPC_ENOMEM. */
int tpi_table_reserve(struct tpi_registry *r, struct tpi_device_table *t);
void tpi_table_put(struct tpi_device_table *t, struct tpc_device *d); /* has room */
void tpi_table_remove(struct tpi_device_table *t, struct tpc_device *d);
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

/* ---- device.c ---- */
/* A device nobody knows yet: identity, text and room for latest values; gateway may be NULL. */
struct tpc_device *tpi_device_make(struct tpi_registry *r, const struct tpi_change *change,
                                   struct tpi_product *product, struct tpc_device *gateway);
struct tpi_device_text *tpi_device_text_make(struct tpi_registry *r,
                                             const struct tpi_change *change,
                                             struct tpc_str product);
void tpi_device_text_use(struct tpc_device *d, const struct tpi_change *change,
                         struct tpc_str product, struct tpi_device_text *text);
void tpi_device_text_free(struct tpi_registry *r, struct tpi_device_text *text);
/* Frees it whatever its references. Its reference on the gateway is the caller's to give back. */
void tpi_device_free(struct tpc_device *d);
void tpi_device_list_add(struct tpi_product_slot *slot, struct tpc_device *d);
void tpi_device_list_remove(struct tpi_product_slot *slot, struct tpc_device *d);

/* ---- latest.c ---- */
/* Slots for count values, all empty; NULL when out of memory. count > 0. */
struct tpi_latest *tpi_latest_make(const struct tpc_allocator *alloc, uint32_t count);
void tpi_latest_free(const struct tpc_allocator *alloc, struct tpi_latest *latest, uint32_t count);
/* Moves d's values to `fresh`, laid out as `to`; d's own slots are freed. Write lock. */
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
