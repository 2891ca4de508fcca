/* Devices that a gateway reports for and that are not there: made if its product allows it. The report
 * that makes a device is not kept for it; its next one is. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "core/core.h"
#include "registry/topology.h"
#include "registry/why.h"

enum {
    SUBS_MAX = 4096, /* behind one gateway, made in this way or put */
    KEY_BYTES = 128,
    DOC_BYTES = 2048
};

static struct tpc_member text_member(const char *key, struct tpc_str text)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

/* Whether the policy of the gateway's product allows it; *ret = the new device's product. Copies the
 * product's key, which a put may replace meanwhile. */
static bool allowed(struct tpi_worker *w, const struct tpi_up_new *n, char product[KEY_BYTES + 1])
{
    struct tpi_registry *r = w->core->registry;
    tpi_registry_read_lock(r);
    const struct tpi_product *own = n->gateway->product;
    struct tpc_str key = n->product.len > 0 ? n->product : own->sub_product;
    const struct tpi_product *p = tpi_registry_product(r, tpi_device_tenant(n->gateway), key);
    bool ok =
        p != NULL && key.len <= KEY_BYTES && n->gateway->children < SUBS_MAX &&
        (own->auto_subs == TPI_AUTO_ON || (own->auto_subs == TPI_AUTO_PRODUCT && p->auto_create));
    /* A device of that key that stands elsewhere stays there. */
    ok = ok && (n->product.len == 0 ||
                tpi_registry_find_in(r, n->gateway->tenant->id, n->device) == NULL);
    if (ok) {
        snprintf(product, KEY_BYTES + 1, "%.*s", (int) key.len, key.ptr);
    }
    tpi_registry_read_unlock(r);
    return ok;
}

/* The key is the device's where the gateway says it, else "{gateway}-{address}". */
static int make(struct tpi_worker *w, const struct tpi_up_new *n, const char *product)
{
    char key[2 * KEY_BYTES + 2];
    uint8_t text[DOC_BYTES];
    struct tpc_buf buf = { text, sizeof(text), 0 };
    bool named = n->product.len > 0;
    if (n->device.len > KEY_BYTES || n->gateway->key.len > KEY_BYTES) {
        return tpi_fail(TPC_ETOOBIG, "core", "the name of a device is too long");
    }
    int len = snprintf(key, sizeof(key), "%s%s%.*s", named ? "" : n->gateway->key.ptr,
                       named ? "" : "-", (int) n->device.len, n->device.ptr);
    struct tpc_member members[] = { text_member("key", (struct tpc_str){ key, (size_t) len }),
                                    text_member("tenant", tpi_device_tenant(n->gateway)),
                                    text_member("product", tpc_str_from(product)),
                                    text_member("gateway", n->gateway->key),
                                    text_member("address", n->device) };
    struct tpc_value doc = { TPC_MAP, 0, 5, { .members = members } };
    struct tpc_actor actor = { .size = sizeof(actor),
                               .type = TPC_ACTOR_CONNECTOR,
                               .name = n->gateway->key,
                               .origin = TPC_STR("gateway") };
    int rc = tpc_json_write(&doc, 0, &buf);
    if (rc != 0) {
        return tpi_fail(rc, "core", "the name of a device cannot be written");
    }
    struct tpc_str json = { (const char *) text, buf.need };
    return tpc_entity_put(w->core, &actor, "device", json, TPC_NO_REV, NULL);
}

static bool is_there(struct tpi_worker *w, const struct tpi_up_new *n)
{
    tpi_registry_read_lock(w->core->registry);
    bool there = tpi_topology_find(w->core->registry, n->gateway->id, n->device) != NULL;
    tpi_registry_read_unlock(w->core->registry);
    return there;
}

void tpi_create_subs(struct tpi_worker *w)
{
    char product[KEY_BYTES + 1];
    uint32_t count = tpi_uplink_new_count(w->uplink);
    for (uint32_t i = 0; i < count; i++) {
        const struct tpi_up_new *n = tpi_uplink_new(w->uplink, i);
        if (is_there(w, n)) {
            continue; /* by an earlier message of the batch */
        }
        if (!allowed(w, n, product)) {
            tpi_count(&w->core->counters.subs_refused, 1);
        } else if (make(w, n, product) == 0) {
            tpi_count(&w->core->counters.subs_created, 1);
        } else {
            const struct tpc_error *err = tpc_error_last();
            tpi_count(&w->core->counters.subs_refused, 1);
            tpi_why_device(n->gateway, TPC_WHY_AUTH, err->code, tpc_str_from(err->text),
                           TPC_STR("core"),
                           (struct tpc_bytes){ (const uint8_t *) n->device.ptr, n->device.len });
        }
    }
}
