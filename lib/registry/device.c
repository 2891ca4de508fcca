#include "registry/inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "bus/topic.h"

struct tpc_device *tpi_device_ref(struct tpc_device *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

/* The table's reference goes with the entity, so only a deleted device gets here. */
static void last_reference(struct tpc_device *d)
{
    struct tpi_registry *r = d->registry;
    pthread_mutex_lock(&r->gone_lock);
    if (d->prev != NULL) {
        d->prev->next = d->next;
    } else {
        r->gone = d->next;
    }
    if (d->next != NULL) {
        d->next->prev = d->prev;
    }
    pthread_mutex_unlock(&r->gone_lock);
    tpi_device_free(d);
}

struct tpc_device *tpi_device_unref(struct tpc_device *d)
{
    while (d != NULL && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1) {
        struct tpc_device *gateway = d->gateway;
        last_reference(d);
        d = gateway; /* its reference goes too: gateways behind gateways without recursion */
    }
    return NULL;
}

void *tpi_device_owner(const struct tpc_device *d)
{
    return d->registry->host.user;
}

void tpi_device_info(struct tpc_device *d, struct tpc_device_info *ret)
{
    tpi_registry_read_lock(d->registry);
    *ret = (struct tpc_device_info){
        .size = sizeof(*ret),
        .online = atomic_load_explicit(&d->online, memory_order_relaxed) ? 1 : 0,
        .id = d->id,
        .key = d->key,
        .product = d->product_key,
        .partition = d->partition,
        .messages = atomic_load_explicit(&d->messages, memory_order_relaxed),
        .last_seen_unix_ms = atomic_load_explicit(&d->last_seen_unix_ms, memory_order_relaxed),
    };
    tpi_registry_read_unlock(d->registry);
}

/* Layout: key NUL product NUL tenant NUL topic NUL. */
struct tpi_device_text *tpi_device_text_make(struct tpi_registry *r,
                                             const struct tpi_change *change,
                                             struct tpc_str product)
{
    const struct tpc_allocator *alloc = r->env->alloc;
    struct tpi_buf topic;
    struct tpi_device_text *text = NULL;
    tpi_buf_init(&topic, alloc, 0);
    if (tpi_topic_device(&topic, change->tenant_key, false, product, change->key) == 0) {
        size_t names = change->key.len + product.len + change->tenant_key.len + 3;
        size_t bytes = sizeof(*text) + names + topic.len + 1;
        text = tpi_alloc_zero(alloc, bytes);
        if (text != NULL) {
            char *p = text->text;
            text->bytes = bytes;
            memcpy(p, change->key.ptr, change->key.len);
            p += change->key.len + 1;
            memcpy(p, product.ptr, product.len);
            p += product.len + 1;
            memcpy(p, change->tenant_key.ptr, change->tenant_key.len);
            p += change->tenant_key.len + 1;
            memcpy(p, topic.ptr, topic.len);
        }
    }
    tpi_buf_fini(&topic);
    return text;
}

/* Makes text the device's; views of the one before stay valid. */
void tpi_device_text_use(struct tpc_device *d, const struct tpi_change *change,
                         struct tpc_str product, struct tpi_device_text *text)
{
    const char *p = text->text;
    text->older = d->text;
    d->text = text;
    if (text->older == NULL) {
        d->key = (struct tpc_str){ p, change->key.len };
        d->tenant =
            (struct tpc_str){ p + change->key.len + 1 + product.len + 1, change->tenant_key.len };
    }
    d->product_key = (struct tpc_str){ p + change->key.len + 1, product.len };
    size_t names = change->key.len + product.len + change->tenant_key.len + 3;
    d->topic = (struct tpc_str){ p + names, text->bytes - sizeof(*text) - names - 1 };
}

void tpi_device_text_free(struct tpi_registry *r, struct tpi_device_text *text)
{
    while (text != NULL) {
        struct tpi_device_text *older = text->older;
        tpi_free(r->env->alloc, text, text->bytes);
        text = older;
    }
}

struct tpc_device *tpi_device_make(struct tpi_registry *r, const struct tpi_change *change,
                                   struct tpi_product *product, struct tpc_device *gateway)
{
    const struct tpc_allocator *alloc = r->env->alloc;
    uint32_t count = tpi_model_property_count(product->model);
    struct tpc_device *d = tpi_alloc_zero(alloc, sizeof(*d));
    struct tpi_device_text *text = tpi_device_text_make(r, change, product->key);
    struct tpi_latest *latest = count == 0 ? NULL : tpi_latest_make(alloc, count);
    if (d == NULL || text == NULL || (count > 0 && latest == NULL)) {
        tpi_latest_free(alloc, latest, count);
        tpi_device_text_free(r, text);
        tpi_free(alloc, d, sizeof(*d));
        return NULL;
    }
    atomic_init(&d->refs, 1);
    d->registry = r;
    d->id = change->id;
    d->tenant_id = change->tenant;
    d->root_id = gateway == NULL ? change->id : gateway->root_id;
    d->partition = tpi_registry_partition(r, d->root_id);
    d->revision = change->revision;
    d->product = tpi_product_ref(product);
    d->gateway = gateway == NULL ? NULL : tpi_device_ref(gateway);
    d->latest = latest;
    d->latest_count = count;
    atomic_flag_clear(&d->latest_lock);
    tpi_device_text_use(d, change, product->key, text);
    d->key_hash = tpi_registry_key_hash(r, d->tenant_id, d->key);
    return d;
}

void tpi_device_free(struct tpc_device *d)
{
    struct tpi_registry *r = d->registry;
    const struct tpc_allocator *alloc = r->env->alloc;
    if (r->host.device_gone != NULL) {
        r->host.device_gone(r->host.user, d);
    }
    tpi_latest_free(alloc, d->latest, d->latest_count);
    tpi_device_text_free(r, d->text);
    tpi_product_unref(d->product);
    tpi_free(alloc, d, sizeof(*d));
}

void tpi_device_list_add(struct tpi_product_slot *slot, struct tpc_device *d)
{
    d->prev = NULL;
    d->next = slot->devices;
    if (d->next != NULL) {
        d->next->prev = d;
    }
    slot->devices = d;
    slot->device_count++;
}

void tpi_device_list_remove(struct tpi_product_slot *slot, struct tpc_device *d)
{
    if (d->prev != NULL) {
        d->prev->next = d->next;
    } else {
        slot->devices = d->next;
    }
    if (d->next != NULL) {
        d->next->prev = d->prev;
    }
    slot->device_count--;
}
