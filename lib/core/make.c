/* Devices that modules make: what speaks through them is not in the registry before. */
#include <string.h>
#include <tpcore/json.h>

#include "codec/emit.h"
#include "core/core.h"
#include "data/utf8.h"

enum { ARENA_BYTES = 8 << 20, MEMBERS_MAX = 256, DEVICES_MAX = 100000 };

/* A call on its way. */
struct making {
    struct tpi_part *part;
    const struct tpc_host_device *d;
    struct tpc_str tenant;
    struct tpc_actor actor;
    struct tpc_arena *arena;
    struct tpc_error *err;
};

static struct tpc_member text_member(struct tpc_str key, struct tpc_str text)
{
    return (struct tpc_member){ key, { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

static bool is_ours(struct tpc_str key, const struct tpc_value *ours)
{
    return tpc_value_get(ours, key) != NULL;
}

/* A document of the module's, with our members in the place of its own of those names, and one that it
 * may lack (unless that is NULL). */
static int complete(struct making *k, struct tpc_str given, const struct tpc_value *ours,
                    const struct tpc_member *absent, struct tpc_str *ret)
{
    struct tpc_value doc = { .type = TPC_NULL };
    int rc = given.len > 0 ? tpc_json_parse(k->arena, given, 0, k->err, &doc) : 0;
    if (rc != 0) {
        return rc;
    }
    if (doc.type != TPC_NULL && doc.type != TPC_MAP) {
        return tpi_error_set(k->err, TPC_EINVAL, k->part->name, "a document is no object");
    }
    size_t more = doc.type == TPC_MAP ? doc.len : 0;
    if (more > MEMBERS_MAX) {
        return tpi_error_set(k->err, TPC_ETOOBIG, k->part->name,
                             "a document has more than %d members", MEMBERS_MAX);
    }
    size_t count = ours->len;
    struct tpc_member *all = tpc_arena_take(k->arena, (count + more + 1) * sizeof(*all));
    if (all == NULL) {
        return tpi_error_set(k->err, TPC_ENOMEM, k->part->name, "out of memory");
    }
    memcpy(all, ours->as.members, count * sizeof(*all));
    for (size_t i = 0; i < more; i++) {
        if (!is_ours(doc.as.members[i].key, ours)) {
            all[count++] = doc.as.members[i];
        }
    }
    if (absent != NULL && tpc_value_get(&doc, absent->key) == NULL) {
        all[count++] = *absent;
    }
    const struct tpc_value whole = { TPC_MAP, 0, (uint32_t) count, { .members = all } };
    struct tpc_bytes text;
    rc = tpi_codec_write_json(&whole, k->arena, k->err, &text);
    if (rc == 0) {
        *ret = (struct tpc_str){ (const char *) text.ptr, text.len };
    }
    return rc;
}

/* Of another call at the same time, it may be there already: that is as good. */
static int put(struct making *k, const char *kind, struct tpc_str given,
               const struct tpc_value *ours, const struct tpc_member *absent, bool *ret_new)
{
    struct tpc_str json;
    int rc = complete(k, given, ours, absent, &json);
    if (rc != 0) {
        return rc;
    }
    rc = tpc_entity_put(k->part->core, &k->actor, kind, json, TPC_NO_REV, NULL);
    *ret_new = rc == 0;
    return rc == TPC_ECONFLICT ? 0 : rc;
}

/* 1 = it is there and of that product. */
static int look(struct making *k)
{
    struct tpi_registry *r = k->part->core->registry;
    int rc = 0;
    tpi_registry_read_lock(r);
    struct tpc_device *d = tpi_registry_find(r, k->tenant, k->d->device);
    if (d != NULL) {
        rc = tpc_str_equal(tpi_device_product_key(d), k->d->product) ? 1 : TPC_EDENIED;
    }
    tpi_registry_read_unlock(r);
    return rc != TPC_EDENIED
               ? rc
               : tpi_error_set(k->err, rc, k->part->name, "device \"%.*s\" is of another product",
                               (int) k->d->device.len, k->d->device.ptr);
}

static int need_product(struct making *k)
{
    struct tpi_registry *r = k->part->core->registry;
    tpi_registry_read_lock(r);
    bool there = tpi_registry_product(r, k->tenant, k->d->product) != NULL;
    tpi_registry_read_unlock(r);
    if (there) {
        return 0;
    }
    if (k->d->product_document.len == 0) {
        return tpi_error_set(k->err, TPC_ENOENT, k->part->name, "there is no product \"%.*s\"",
                             (int) k->d->product.len, k->d->product.ptr);
    }
    struct tpc_member members[] = { text_member(TPC_STR("key"), k->d->product),
                                    text_member(TPC_STR("tenant"), k->tenant) };
    struct tpc_value ours = { TPC_MAP, 0, 2, { .members = members } };
    const struct tpc_member nothing = { TPC_STR("properties"), { .type = TPC_ARRAY } };
    const struct tpc_member model = { TPC_STR("model"),
                                      { TPC_MAP, 0, 1, { .members = &nothing } } };
    bool made;
    return put(k, "product", k->d->product_document, &ours, &model, &made);
}

static uint32_t devices_max(const struct tpc_core *core)
{
    uint32_t max = core->options.made_devices_max;
    return max != 0 ? max : DEVICES_MAX;
}

static int make_it(struct making *k)
{
    struct tpc_core *core = k->part->core;
    struct tpc_member members[4] = { text_member(TPC_STR("key"), k->d->device),
                                     text_member(TPC_STR("tenant"), k->tenant),
                                     text_member(TPC_STR("product"), k->d->product),
                                     text_member(TPC_STR("name"), k->d->name) };
    struct tpc_value ours = { TPC_MAP, 0, k->d->name.len > 0 ? 4 : 3, { .members = members } };
    bool made;
    uint32_t before = atomic_fetch_add(&k->part->devices_made, 1); /* several at once, too */
    if (before >= devices_max(core)) {
        atomic_fetch_sub(&k->part->devices_made, 1);
        tpi_count(&core->counters.devices_refused, 1);
        return tpi_error_set(k->err, TPC_ETOOBIG, k->part->name,
                             "%s has made %u devices, which is all it may", k->part->name,
                             (unsigned) before);
    }
    int rc = need_product(k);
    rc = rc != 0 ? rc : put(k, "device", k->d->document, &ours, NULL, &made);
    if (rc != 0 || !made) {
        atomic_fetch_sub(&k->part->devices_made, 1);
    } else {
        tpi_count(&core->counters.devices_made, 1);
    }
    return rc;
}

static bool is_key(struct tpc_str s)
{
    return s.ptr != NULL && s.len > 0 && tpi_utf8_valid(s.ptr, s.len);
}

int tpi_make_device(struct tpi_part *p, const struct tpc_host_device *given)
{
    struct tpc_host_device d;
    if (given == NULL || given->size < offsetof(struct tpc_host_device, name)) {
        return tpi_fail(TPC_EINVAL, p->name, "a device without its size");
    }
    memset(&d, 0, sizeof(d));
    memcpy(&d, given, given->size < sizeof(d) ? given->size : sizeof(d));
    if (!is_key(d.device) || !is_key(d.product)) {
        return tpi_fail(TPC_EINVAL, p->name, "a device needs a key and a product's key, in UTF-8");
    }
    struct tpc_error *err = tpi_fail_begin();
    struct making k = {
        .part = p, .d = &d, .tenant = d.tenant.len > 0 ? d.tenant : TPC_STR("main"), .err = err
    };
    k.actor = (struct tpc_actor){ .size = sizeof(k.actor),
                                  .type = TPC_ACTOR_CONNECTOR,
                                  .name = tpc_str_from(p->name),
                                  .origin = TPC_STR("module") };
    int rc = tpi_core_entities(p->core, err);
    rc = rc != 0 ? rc : look(&k);
    if (rc != 0) {
        return rc > 0 ? 0 : tpi_fail_end(rc);
    }
    if (tpc_arena_create(p->core->env.alloc, ARENA_BYTES, &k.arena) != 0) {
        return tpi_fail(TPC_ENOMEM, p->name, "out of memory");
    }
    rc = make_it(&k);
    tpc_arena_destroy(k.arena);
    rc = rc != 0 ? rc : look(&k); /* another call may have made it, of another product */
    return rc >= 0 ? 0 : tpi_fail_end(rc);
}
