#include "registry/inside.h"

#include "base/alloc.h"
#include "registry/topology.h"

static const struct tpc_option location_schema[] = {
    { .name = "lat",
      .type = TPC_OPT_DOUBLE,
      .flags = TPC_OPT_REQUIRED,
      .min = -90,
      .max = 90,
      .since = "0.1",
      .help = "Degrees north, WGS 84." },
    { .name = "lon",
      .type = TPC_OPT_DOUBLE,
      .flags = TPC_OPT_REQUIRED,
      .min = -180,
      .max = 180,
      .since = "0.1",
      .help = "Degrees east." },
    { .name = "altitude",
      .type = TPC_OPT_DOUBLE,
      .min = -12000,
      .max = 100000000,
      .since = "0.1",
      .help = "Metres above the sea." },
    { .name = "address",
      .type = TPC_OPT_TEXT,
      .max = 1024,
      .since = "0.1",
      .help = "Address for people." },
};

static const struct tpc_option credentials_schema[] = {
    { .name = "username",
      .type = TPC_OPT_TEXT,
      .max = 1024,
      .since = "0.1",
      .help = "User name that goes with password." },
    { .name = "password",
      .type = TPC_OPT_SECRET,
      .max = 1024,
      .since = "0.1",
      .help = "ThingsPanel BASIC, and every other broker." },
    { .name = "password_next",
      .type = TPC_OPT_SECRET,
      .max = 1024,
      .since = "0.1",
      .help = "Valid beside it, while the password is being changed." },
    { .name = "token",
      .type = TPC_OPT_SECRET,
      .max = 1024,
      .since = "0.1",
      .help = "User name that nobody else knows, with no password: ThingsPanel ACCESSTOKEN." },
    { .name = "token_next",
      .type = TPC_OPT_SECRET,
      .max = 1024,
      .since = "0.1",
      .help = "Valid beside it." },
    { .name = "voucher",
      .type = TPC_OPT_SECRET,
      .max = 4096,
      .since = "0.1",
      .help = "ThingsPanel voucher, a JSON object as text: one with username and password, or with "
              "username, is the same as those; another one is what its service knows it by." },
    { .name = "voucher_next",
      .type = TPC_OPT_SECRET,
      .max = 4096,
      .since = "0.1",
      .help = "Valid beside it." },
    { .name = "fingerprint",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "SHA-256 of its certificate (DER), in hexadecimal digits, colons allowed." },
    { .name = "fingerprint_next",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "Valid beside it." },
};

static const struct tpc_option group_item = { .type = TPC_OPT_TEXT, .flags = TPC_OPT_KEY };

static const struct tpc_option device_schema[] = {
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "Key of its product, in the same tenant." },
    { .name = "gateway",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "Key of the device that it is behind, in the same tenant." },
    { .name = "address",
      .type = TPC_OPT_TEXT,
      .max = TPI_ADDRESS_BYTES,
      .since = "0.1",
      .help =
          "What its gateway calls it; no two devices behind one gateway have the same. Default: "
          "its key." },
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Name for people." },
    { .name = "description",
      .type = TPC_OPT_TEXT,
      .max = 4096,
      .since = "0.1",
      .help = "Text for people." },
    { .name = "serial",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "Serial number; no two devices of a tenant have the same." },
    { .name = "picture",
      .type = TPC_OPT_TEXT,
      .max = 2048,
      .since = "0.1",
      .help = "Address of a picture." },
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false: it cannot log in. What comes for it by another way (a gateway, a service) is "
              "still taken." },
    { .name = "groups",
      .type = TPC_OPT_LIST,
      .flags = TPC_OPT_INDEXED,
      .max = TPI_REGISTRY_GROUPS,
      .elem = &group_item,
      .since = "0.1",
      .help = "Keys of the groups that it is in." },
    { .name = "labels",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_INDEXED | TPC_OPT_OPEN,
      .since = "0.1",
      .help = "Names and texts to find it by, up to 32." },
    { .name = "location",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(location_schema),
      .since = "0.1",
      .help = "Where it stands." },
    { .name = "report",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(tpi_report_schema),
      .since = "0.1",
      .help = "Which of its values go on, where the property does not say it." },
    { .name = "access_point",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "Key of the access point that a third party's service knows it by, in the same "
              "tenant." },
    { .name = "protocol_config",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "Object for the service that speaks its protocol (ThingsPanel: the device's own)." },
    { .name = "config",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "Any object; the library keeps it and does not look into it." },
    { .name = "secret",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "Secret that the device proves it knows by HMAC-SHA-256 (Alink)." },
    { .name = "secret_next",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "Valid beside it, while the secret is being changed." },
    { .name = "credentials",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(credentials_schema),
      .since = "0.1",
      .help = "What else it logs in with." },
};

/* What prepare made, until apply or discard. */
struct device_change {
    struct tpc_device *device;     /* as it is, or the new one */
    struct tpi_product_slot *slot; /* of the product that it is to have */
    bool fresh;                    /* device is not in the tables yet */
    bool moves;                    /* to another product */
    struct tpi_old_name *old_name; /* keeps the key of the product that it leaves */
    struct tpi_serial_change serial;
    struct tpi_logins *logins; /* the new ones, not live yet */
    bool disabled;
    uint16_t report;
    struct tpi_topology_change topology;
};

static int bad_reference(const char *what, struct tpc_str key, int code, struct tpc_error *err)
{
    tpi_error_set(err, code, tpi_registry_origin, "there is no %s \"%.*s\"", what,
                  (int) (key.len > 128 ? 128 : key.len), key.ptr);
    tpi_error_at(err, what);
    return code;
}

/* The gateway that the document names; NULL if it names none. */
static int find_gateway(struct tpi_registry *r, const struct tpi_change *change,
                        const struct tpc_device *d, struct tpc_error *err, struct tpc_device **ret)
{
    const struct tpc_value *v = tpc_value_get(change->doc, TPC_STR("gateway"));
    struct tpc_str key = tpc_value_text(v);
    *ret = NULL;
    if (key.len == 0) {
        return 0;
    }
    struct tpc_device *gateway = tpi_table_find_key(r, change->tenant, key);
    if (gateway == NULL) {
        bool later = change->loading || tpi_change_promised(change, key);
        return bad_reference("gateway", key, later ? TPC_EAGAIN : TPC_ENOENT, err);
    }
    *ret = gateway;
    return tpi_topology_check(r, change, d, gateway, err);
}

/* A device that nobody sees yet, and room for it in the tables. */
static int prepare_new(struct tpi_registry *r, struct tpi_change *change,
                       struct tpc_device *gateway, struct device_change *c, struct tpc_error *err)
{
    struct tpi_tenant *tenant =
        tpi_map_get(&r->tenants, change->tenant_key.ptr, change->tenant_key.len);
    if (tenant == NULL) {
        return bad_reference("tenant", change->tenant_key, TPC_ENOENT, err);
    }
    pthread_rwlock_wrlock(&r->lock);
    int rc = tpi_table_reserve(r, &r->by_key);
    rc = rc != 0 ? rc : tpi_table_reserve(r, &r->by_id);
    pthread_rwlock_unlock(&r->lock);
    c->device = rc != 0 ? NULL : tpi_device_make(change, tenant, c->slot->current, gateway);
    if (c->device == NULL) {
        return tpi_registry_no_memory(err);
    }
    c->fresh = true;
    r->coming++;
    return 0;
}

static int check_groups(const struct tpi_registry *r, const struct tpi_change *change,
                        struct tpc_error *err)
{
    const struct tpc_value *groups = tpc_value_get(change->doc, TPC_STR("groups"));
    size_t count = groups != NULL && groups->type == TPC_ARRAY ? groups->len : 0;
    for (size_t i = 0; i < count && !change->loading; i++) {
        struct tpc_str key = tpc_value_text(&groups->as.items[i]);
        if (!tpi_registry_has_group(r, change->tenant, key)) {
            tpi_error_set(err, TPC_ENOENT, tpi_registry_origin, "there is no group \"%.*s\"",
                          (int) key.len, key.ptr);
            tpi_error_at_index(err, i);
            tpi_error_at(err, "groups");
            return TPC_ENOENT;
        }
    }
    return 0;
}

/* What the table of options cannot say. */
static int check_members(const struct tpi_registry *r, const struct tpi_change *change,
                         struct tpc_error *err)
{
    int rc = tpi_registry_check_labels(change->doc, err);
    rc = rc != 0 ? rc : tpi_registry_check_object(change->doc, "config", err);
    rc = rc != 0 ? rc : tpi_registry_check_object(change->doc, "protocol_config", err);
    rc = rc != 0 ? rc : check_groups(r, change, err);
    struct tpc_str point = tpc_value_text(tpc_value_get(change->doc, TPC_STR("access_point")));
    if (rc == 0 && point.len > 0 && !tpi_registry_has_point(r, change->tenant, point)) {
        return bad_reference("access_point", point, TPC_ENOENT, err);
    }
    return rc;
}

static int prepare_change(struct tpi_registry *r, struct device_change *c, struct tpc_error *err)
{
    const struct tpi_product *product = c->slot->current;
    c->moves = c->device->product->id != product->id;
    if (!c->moves) {
        return 0;
    }
    c->old_name = tpi_alloc_zero(r->env->alloc, sizeof(*c->old_name));
    return c->old_name == NULL ? tpi_registry_no_memory(err) : 0;
}

static void drop_logins(struct tpi_registry *r, struct device_change *c)
{
    if (c->logins != NULL) {
        pthread_rwlock_wrlock(&r->lock);
        tpi_logins_free(r, c->logins);
        pthread_rwlock_unlock(&r->lock);
        c->logins = NULL;
    }
}

static void discard_device(struct tpi_registry *r, const struct device_change *c)
{
    if (c->fresh) {
        struct tpc_device *gateway = c->device->gateway;
        r->coming--;
        tpi_device_free(c->device);
        tpi_device_unref(gateway);
    }
    if (c->old_name != NULL) {
        tpi_free(r->env->alloc, c->old_name, sizeof(*c->old_name));
    }
}

static int prepare_put(struct tpi_registry *r, struct tpi_change *change, struct device_change *c,
                       struct tpc_error *err)
{
    struct tpc_device *gateway;
    struct tpc_str product = tpc_value_text(tpc_value_get(change->doc, TPC_STR("product")));
    c->slot = tpi_registry_product_slot(r, change->tenant, product);
    if (c->slot == NULL || c->slot->current == NULL) {
        return bad_reference("product", product, TPC_ENOENT, err);
    }
    int rc = check_members(r, change, err);
    rc = rc != 0 ? rc : find_gateway(r, change, c->device, err, &gateway);
    rc = rc != 0 ? rc : tpi_serial_prepare(r, change, err, &c->serial);
    if (rc != 0) {
        return rc;
    }
    struct tpi_report report;
    rc = tpi_report_read_in(change, &report, err);
    rc = rc != 0 ? rc : tpi_report_number(r, &report, err, &c->report);
    if (rc != 0) {
        tpi_serial_discard(r, change, &c->serial);
        return rc;
    }
    struct tpc_device *there = c->device;
    rc = tpi_logins_make(r, change, product, there != NULL ? there->logins : NULL, err, &c->logins);
    if (rc == 0) {
        rc = there == NULL ? prepare_new(r, change, gateway, c, err) : prepare_change(r, c, err);
    }
    rc = rc != 0 ? rc : tpi_topology_prepare(r, change, c->device, gateway, &c->topology, err);
    if (rc != 0) {
        drop_logins(r, c);
        discard_device(r, c);
        tpi_serial_discard(r, change, &c->serial);
        return rc;
    }
    const struct tpc_value *enabled = tpc_value_get(change->doc, TPC_STR("enabled"));
    c->disabled = enabled != NULL && enabled->type == TPC_BOOL && !enabled->as.b;
    if (c->logins != NULL) {
        c->logins->device = c->device;
    }
    return 0;
}

static int device_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_registry *r = user;
    struct device_change *c = tpc_arena_take(change->arena, sizeof(*c));
    if (c == NULL) {
        return tpi_registry_no_memory(err);
    }
    *c = (struct device_change){ .device = tpi_table_find_key(r, change->tenant, change->key) };
    change->prepared = c;
    if (change->deleted && change->id == 0 && c->device != NULL) {
        change->id = c->device->id; /* who only hears that it is gone does not know it */
    }
    if (!change->deleted) {
        int rc = tpi_topology_load(r, change, err);
        return rc != 0 ? rc : prepare_put(r, change, c, err);
    }
    if (c->device == NULL) {
        return 0;
    }
    if (c->device->children > 0) {
        return tpi_error_set(err, TPC_ESTATE, tpi_registry_origin,
                             "%u devices are behind this gateway", c->device->children);
    }
    return tpi_topology_prepare_delete(r, change, c->device, &c->topology, err);
}

/* ---- apply and discard ---- */

static struct tpi_product_slot *slot_of(struct tpi_registry *r, const struct tpc_device *d)
{
    return tpi_map64_get(&r->product_ids, d->product->id);
}

static void insert_device(struct tpi_registry *r, const struct device_change *c)
{
    struct tpc_device *d = c->device;
    tpi_table_put(&r->by_key, d);
    tpi_table_put(&r->by_id, d);
    tpi_device_list_add(c->slot, d);
    d->tenant->devices++;
    if (d->gateway != NULL) {
        d->gateway->children++;
    }
}

/* To another product: the topic changes, the latest values start anew. */
static void move_device(struct tpi_registry *r, const struct device_change *c)
{
    struct tpc_device *d = c->device;
    struct tpi_product *old = d->product;
    r->generation++;
    tpi_device_list_remove(slot_of(r, d), d);
    tpi_latest_free(r->env->alloc, atomic_exchange(&d->latest, NULL), old->model);
    d->product = tpi_product_ref(c->slot->current);
    c->old_name->name = old->name;
    atomic_fetch_add_explicit(&old->name->refs, 1, memory_order_relaxed);
    c->old_name->next = d->names;
    d->names = c->old_name;
    tpi_device_list_add(c->slot, d);
    tpi_presence_moved(d, old->name, d->product->name);
    tpi_product_unref(old);
}

static void remove_device(struct tpi_registry *r, struct tpc_device *d)
{
    r->generation++;
    tpi_table_remove(&r->by_key, d);
    tpi_table_remove(&r->by_id, d);
    tpi_device_list_remove(slot_of(r, d), d);
    if (d->gateway != NULL) {
        d->gateway->children--;
    }
    d->tenant->devices--;
    tpi_presence_forget(d);
    atomic_store(&d->deleted, true);
    pthread_mutex_lock(&r->gone_lock);
    d->prev = NULL;
    d->next = r->gone;
    if (d->next != NULL) {
        d->next->prev = d;
    }
    r->gone = d;
    pthread_mutex_unlock(&r->gone_lock);
}

static void device_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    const struct device_change *c = change->prepared;
    TPI_METRIC_ADD(r->counters.changes, 1);
    if (c->device == NULL) {
        return; /* deleting what was stored but never loaded: cannot be */
    }
    struct tpc_device *left = NULL;
    pthread_rwlock_wrlock(&r->lock);
    if (change->deleted) {
        remove_device(r, c->device);
    } else if (c->fresh) {
        r->coming--;
        insert_device(r, c);
    } else if (c->moves) {
        move_device(r, c);
    }
    tpi_logins_swap(r, c->device->logins, c->logins);
    c->device->logins = c->logins;
    atomic_store_explicit(&c->device->disabled, c->disabled, memory_order_relaxed);
    c->device->report = change->deleted ? 0 : c->report;
    left = tpi_topology_apply(r, c->device, &c->topology);
    TPI_METRIC_SET(r->counters.devices, r->by_id.count);
    pthread_rwlock_unlock(&r->lock);
    tpi_device_unref(left);
    tpi_serial_apply(r, change, &c->serial);
    if (change->deleted) {
        tpi_device_unref(c->device);
    }
}

static void device_discard(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    struct device_change *c = change->prepared;
    tpi_serial_discard(r, change, &c->serial);
    drop_logins(r, c);
    if (!change->deleted && c->device != NULL) {
        tpi_topology_discard(r, c->device, &c->topology);
    }
    discard_device(r, c);
}

void tpi_registry_device_kind(struct tpi_registry *r, struct tpi_kind *kind)
{
    *kind = (struct tpi_kind){ .name = "device",
                               .version = 1,
                               .schema = TPC_OPTIONS(device_schema),
                               .prepare = device_prepare,
                               .apply = device_apply,
                               .discard = device_discard,
                               .user = r,
                               .flags = TPI_KIND_BATCH };
}
