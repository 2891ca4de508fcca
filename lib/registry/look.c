#include "registry/look.h"

#include <string.h>

#include "registry/inside.h"

static const struct tpc_str online = TPC_STR_INIT("online");

static inline uint64_t load64(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

static inline uint64_t load32(const char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

static inline struct tpi_look_name name_of(struct tpc_str s)
{
    if (s.len >= 8) {
        return (struct tpi_look_name){ load64(s.ptr), load64(s.ptr + s.len - 8), s.len };
    }
    if (s.len >= 4) {
        return (struct tpi_look_name){ load32(s.ptr), load32(s.ptr + s.len - 4), s.len };
    }
    struct tpi_look_name n = { 0, 0, s.len };
    for (size_t i = 0; i < s.len; i++) {
        n.tail = n.tail << 8 | (unsigned char) s.ptr[i];
    }
    return n;
}

/* text: of a, and still there. */
static inline bool is_name(const struct tpi_look_name *a, const struct tpi_look_name *b,
                           const char *text, struct tpc_str s)
{
    return a->len == b->len && a->head == b->head && a->tail == b->tail &&
           (s.len <= 16 || memcmp(text, s.ptr, s.len) == 0);
}

/* Whole names would take longer to hash than devices to be found; numbers stand at their ends. */
static inline struct tpi_look *place_of(struct tpi_looks *looks, const struct tpi_look_name *device,
                                        const struct tpi_look_name *property)
{
    uint64_t h = device->tail ^ device->head << 1 ^ property->tail << 2 ^ property->head << 3;
    h = (h ^ h >> 32) * UINT64_C(0x9E3779B97F4A7C15); /* Knuth 6.4: multiplicative hashing */
    return &looks->items[(h >> 32) % TPI_LOOKS];
}

/* The names stand in what was found, so only what has just these names is found again: not a
 * property by a key that it had before. */
static void fill(struct tpi_look *look, const struct tpi_registry *r, struct tpc_device *d,
                 struct tpc_str property)
{
    const struct tpi_model *model = d->product->model;
    int index = tpi_model_find(model, property, NULL);
    struct tpc_str key = index >= 0 ? tpi_model_property(model, (uint32_t) index)->key : online;
    *look = (struct tpi_look){ .generation = tpc_str_equal(key, property) ? r->generation : 0,
                               .tenant_id = d->tenant->id,
                               .device_name = name_of(d->key),
                               .property_name = name_of(key),
                               .device = d,
                               .property = key.ptr,
                               .index = index };
}

const struct tpi_look *tpi_looks_find(struct tpi_looks *looks, struct tpi_registry *r,
                                      uint64_t tenant_id, struct tpc_str device,
                                      struct tpc_str property)
{
    struct tpi_look_name a = name_of(device), b = name_of(property);
    struct tpi_look *look = place_of(looks, &a, &b);
    if (look->generation == r->generation && look->tenant_id == tenant_id &&
        is_name(&look->device_name, &a, look->device->key.ptr, device) &&
        is_name(&look->property_name, &b, look->property, property)) {
        return look;
    }
    struct tpc_device *d = tpi_registry_find_in(r, tenant_id, device);
    if (d == NULL) {
        return NULL;
    }
    fill(look, r, d, property);
    return look;
}

static int latest_of(const struct tpi_look *look, struct tpc_buf *buf, struct tpc_value *ret)
{
    return look == NULL || look->index < 0
               ? TPC_ENOENT
               : tpi_device_latest_copy(look->device, (uint32_t) look->index, buf, ret, NULL);
}

int tpi_looks_latest(struct tpi_looks *looks, struct tpi_registry *r, uint64_t tenant_id,
                     struct tpc_str device, struct tpc_str property, struct tpc_buf *buf,
                     struct tpc_value *ret)
{
    return latest_of(tpi_looks_find(looks, r, tenant_id, device, property), buf, ret);
}

int tpi_looks_state(struct tpi_looks *looks, struct tpi_registry *r, uint64_t tenant_id,
                    struct tpc_str device, struct tpc_str property, struct tpc_buf *buf,
                    struct tpc_value *ret)
{
    const struct tpi_look *look = tpi_looks_find(looks, r, tenant_id, device, property);
    int rc = latest_of(look, buf, ret);
    if (rc == TPC_ENOENT && look != NULL && tpc_str_equal(property, online)) {
        *ret = (struct tpc_value){ .type = TPC_BOOL };
        ret->as.b = atomic_load_explicit(&look->device->online, memory_order_relaxed);
        rc = 0;
    }
    return rc;
}
