/*
 * Follows changes of what services are told about: their devices, templates and access points. What was
 * there before a change is kept here, for a deleted device does not say any more whose it was.
 */
#include "inside.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "data/member.h"

struct panel_device {
    size_t bytes;
    uint64_t revision;
    struct tpc_str product, gateway; /* behind this struct */
};

struct panel_name {
    size_t bytes;
    uint64_t revision;
    struct tpc_str text;
};

static const struct tpc_str none = { "", 0 };

static const char *const kinds[PANEL_KINDS] = { "device", "product", "service", "access_point" };

/* ---- tables; the worker ---- */

static struct panel_device *make_device(struct panel *p, struct tpc_str product,
                                        struct tpc_str gateway)
{
    size_t bytes = sizeof(struct panel_device) + product.len + gateway.len + 1;
    struct panel_device *d = tpi_alloc_zero(p->host->allocator, bytes);
    if (d == NULL) {
        return NULL;
    }
    char *at = (char *) (d + 1);
    d->bytes = bytes;
    if (product.len > 0) {
        memcpy(at, product.ptr, product.len);
    }
    if (gateway.len > 0) {
        memcpy(at + product.len, gateway.ptr, gateway.len);
    }
    d->product = (struct tpc_str){ at, product.len };
    d->gateway = (struct tpc_str){ at + product.len, gateway.len };
    return d;
}

static void free_device(struct panel *p, struct panel_device *d)
{
    if (d != NULL) {
        tpi_free(p->host->allocator, d, d->bytes);
    }
}

static struct tpc_str name_in(const struct tpi_map *map, struct tpc_str key)
{
    const struct panel_name *n = tpi_map_get(map, key.ptr, key.len);
    return n != NULL ? n->text : none;
}

static void forget_name(struct panel *p, struct tpi_map *map, struct tpc_str key)
{
    struct panel_name *n = tpi_map_remove(map, key.ptr, key.len);
    if (n != NULL) {
        tpi_free(p->host->allocator, n, n->bytes);
    }
}

static int put_name(struct panel *p, struct tpi_map *map, const struct panel_doc *doc,
                    struct tpc_str text)
{
    void *old = NULL;
    size_t bytes = sizeof(struct panel_name) + text.len + 1;
    struct panel_name *n = tpi_alloc_zero(p->host->allocator, bytes);
    if (n == NULL) {
        return TPC_ENOMEM;
    }
    n->bytes = bytes;
    n->revision = doc->revision;
    memcpy(n + 1, text.ptr, text.len);
    n->text = (struct tpc_str){ (const char *) (n + 1), text.len };
    int rc = tpi_map_put(map, doc->key.ptr, doc->key.len, n, &old);
    struct panel_name *gone = rc == 0 ? old : n;
    if (gone != NULL) {
        tpi_free(p->host->allocator, gone, gone->bytes);
    }
    return rc;
}

static int put_device(struct panel *p, const struct panel_doc *doc)
{
    void *old = NULL;
    struct panel_device *d = make_device(p, tpi_member_text(&doc->doc, "product"),
                                         tpi_member_text(&doc->doc, "gateway"));
    int rc = d == NULL ? TPC_ENOMEM : tpi_map_put(&p->devices, doc->key.ptr, doc->key.len, d, &old);
    if (rc == 0) {
        d->revision = doc->revision;
    }
    free_device(p, rc == 0 ? old : d);
    return rc;
}

static void clear(struct panel *p)
{
    size_t iter = 0;
    void *value;
    struct tpi_map *names[] = { &p->products, &p->points };
    while (tpi_map_next(&p->devices, &iter, NULL, &value)) {
        free_device(p, value);
    }
    tpi_map_fini(&p->devices);
    tpi_map_init(&p->devices, p->host->allocator);
    for (int i = 0; i < 2; i++) {
        iter = 0;
        while (tpi_map_next(names[i], &iter, NULL, &value)) {
            tpi_free(p->host->allocator, value, ((struct panel_name *) value)->bytes);
        }
        tpi_map_fini(names[i]);
        tpi_map_init(names[i], p->host->allocator);
    }
}

/* ---- reading ---- */

struct reading {
    struct panel *p;
    struct tpc_arena *arena; /* reset for each entity */
};

static bool of_service(struct tpc_str protocol)
{
    return protocol.len > 0 && !tpc_str_equal(protocol, TPC_STR("MQTT")) &&
           !tpc_str_equal(protocol, TPC_STR("mqtt"));
}

static int read_device(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                       struct tpc_str json)
{
    struct reading *r = user;
    struct panel_doc d;
    tpc_arena_reset(r->arena);
    int rc = panel_parse(r->arena, key, json, info, &d);
    return rc != 0 ? rc : put_device(r->p, &d);
}

static int read_product(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                        struct tpc_str json)
{
    struct reading *r = user;
    struct panel_doc d;
    tpc_arena_reset(r->arena);
    int rc = panel_parse(r->arena, key, json, info, &d);
    struct tpc_str protocol = rc == 0 ? tpi_member_text(&d.doc, "protocol") : none;
    return rc != 0 || !of_service(protocol) ? rc : put_name(r->p, &r->p->products, &d, protocol);
}

static int read_point(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                      struct tpc_str json)
{
    struct reading *r = user;
    struct panel_doc d;
    tpc_arena_reset(r->arena);
    int rc = panel_parse(r->arena, key, json, info, &d);
    return rc != 0 ? rc : put_name(r->p, &r->p->points, &d, tpi_member_text(&d.doc, "service"));
}

static int read_devices(struct panel *p, struct tpc_str product)
{
    struct reading r = { .p = p };
    int rc = tpc_arena_create(p->host->allocator, 0, &r.arena);
    rc = rc != 0 ? rc : panel_each(p, "device", "product", product, read_device, &r);
    tpc_arena_destroy(r.arena);
    return rc;
}

void panel_load(struct panel *p, struct panel_job *job)
{
    struct reading r = { .p = p };
    size_t iter = 0;
    struct tpc_bytes key;
    clear(p);
    int rc = tpc_arena_create(p->host->allocator, 0, &r.arena);
    rc = rc != 0 ? rc : panel_each(p, "product", NULL, none, read_product, &r);
    while (rc == 0 && tpi_map_next(&p->products, &iter, &key, NULL)) {
        rc = panel_each(p, "device", "product", (struct tpc_str){ (const char *) key.ptr, key.len },
                        read_device, &r);
    }
    rc = rc != 0 ? rc : panel_each(p, "access_point", NULL, none, read_point, &r);
    tpc_arena_destroy(r.arena);
    p->reload = rc != 0;
    if (rc != 0) {
        p->host->log(p->ctx, TPC_LOG_ERROR, "devices of services cannot be read: %s",
                     tpc_error_name(rc));
        panel_fail(job, PANEL_INTERNAL, NULL);
    }
}

/* ---- changes; the worker ---- */

static struct tpc_str service_of(const struct panel *p, struct tpc_str device)
{
    const struct panel_device *d = tpi_map_get(&p->devices, device.ptr, device.len);
    return d != NULL ? name_in(&p->products, d->product) : none;
}

static void say_device(struct panel *p, struct tpc_str device)
{
    struct tpc_str service = device.len > 0 ? service_of(p, device) : none;
    if (service.len > 0) {
        panel_say(p, PANEL_DISCONNECT, service, device);
    }
}

/* Whether a change is in the tables already: it was made before they were read, or read with another one. */
static bool is_old(uint64_t known, const struct panel_job *job)
{
    return job->revision < known || (job->revision == known && !job->gone);
}

/* Reads what changed. Returns whether its table can follow; if not, all is read anew with the next tick. */
static bool read_changed(struct panel *p, struct panel_job *job, struct panel_doc *ret,
                         bool *ret_there)
{
    int rc = panel_get(p, job->arena, kinds[job->kind], job->text, ret);
    *ret_there = rc == 0;
    p->reload |= rc != 0 && rc != TPC_ENOENT;
    return rc == 0 || rc == TPC_ENOENT;
}

/* A device that is new is not told, for the service knows nothing of it; its gateway is. */
static void device_changed(struct panel *p, struct panel_job *job)
{
    struct tpc_str key = job->text;
    struct panel_device *old = tpi_map_get(&p->devices, key.ptr, key.len);
    struct panel_doc d;
    bool there;
    if (old != NULL && is_old(old->revision, job)) {
        return;
    }
    if (old != NULL) {
        say_device(p, key);
        say_device(p, old->gateway);
    }
    if (!read_changed(p, job, &d, &there)) {
        return;
    }
    if (!there || name_in(&p->products, tpi_member_text(&d.doc, "product")).len == 0) {
        free_device(p, tpi_map_remove(&p->devices, key.ptr, key.len));
        return;
    }
    if (put_device(p, &d) != 0) {
        p->reload = true;
    }
    say_device(p, tpi_member_text(&d.doc, "gateway"));
}

static void product_changed(struct panel *p, struct panel_job *job)
{
    struct panel_doc d;
    size_t iter = 0;
    struct tpc_bytes key;
    void *value;
    const struct panel_name *old = tpi_map_get(&p->products, job->text.ptr, job->text.len);
    struct tpc_str before = old != NULL ? old->text : none, after = none;
    if (old != NULL && is_old(old->revision, job)) {
        return;
    }
    /* Told before the tables change: to the service that they were of. */
    while (before.len > 0 && tpi_map_next(&p->devices, &iter, &key, &value)) {
        if (tpc_str_equal(((struct panel_device *) value)->product, job->text)) {
            panel_say(p, PANEL_DISCONNECT, before,
                      (struct tpc_str){ (const char *) key.ptr, key.len });
        }
    }
    bool there;
    if (!read_changed(p, job, &d, &there)) {
        return;
    }
    after = there ? tpi_member_text(&d.doc, "protocol") : none;
    bool fresh = before.len == 0;
    if (!of_service(after)) {
        forget_name(p, &p->products, job->text); /* its devices stay, of nobody */
    } else if (put_name(p, &p->products, &d, after) != 0 ||
               (fresh && read_devices(p, job->text) != 0)) {
        p->reload = true;
    }
}

static void point_changed(struct panel *p, struct panel_job *job)
{
    struct panel_doc d;
    const struct panel_name *old = tpi_map_get(&p->points, job->text.ptr, job->text.len);
    struct tpc_str before = old != NULL ? old->text : none;
    if (old != NULL && is_old(old->revision, job)) {
        return;
    }
    if (before.len > 0) {
        panel_say(p, PANEL_NOTIFY, before, job->text);
    }
    bool there;
    if (!read_changed(p, job, &d, &there)) {
        return;
    }
    if (!there) {
        forget_name(p, &p->points, job->text);
        return;
    }
    struct tpc_str after = tpi_member_text(&d.doc, "service");
    if (!tpc_str_equal(before, after)) {
        panel_say(p, PANEL_NOTIFY, after, job->text);
    }
    if (put_name(p, &p->points, &d, after) != 0) {
        p->reload = true;
    }
}

static void service_changed(struct panel *p, struct panel_job *job)
{
    struct panel_service *s = NULL;
    if (job->gone) {
        pthread_mutex_lock(&p->lock);
        s = tpi_map_remove(&p->services, job->text.ptr, job->text.len);
        pthread_mutex_unlock(&p->lock);
    }
    if (s != NULL) {
        tpi_free(p->host->allocator, s, sizeof(*s));
    }
}

void panel_change(struct panel *p, struct panel_job *job)
{
    switch (job->kind) {
    case PANEL_DEVICE:
        device_changed(p, job);
        break;
    case PANEL_PRODUCT:
        product_changed(p, job);
        break;
    case PANEL_POINT:
        point_changed(p, job);
        break;
    default:
        service_changed(p, job);
        break;
    }
}

/* ---- what the core tells; its workers ---- */

/* A change is lost. */
static void all_anew(struct panel *p)
{
    pthread_mutex_lock(&p->lock);
    p->lost = true;
    pthread_cond_signal(&p->came);
    pthread_mutex_unlock(&p->lock);
}

static void note(struct panel *p, const struct tpc_msg *m)
{
    struct tpc_str kind = tpi_member_text(&m->params, "kind");
    struct tpc_str texts[3] = { tpi_member_text(&m->params, "key"), none, none };
    uint8_t k = 0;
    while (k < PANEL_KINDS && !tpc_str_equal(kind, tpc_str_from(kinds[k]))) {
        k++;
    }
    if (k == PANEL_KINDS) {
        return;
    }
    struct panel_job *job = panel_job_make(p, panel_change, texts);
    if (job == NULL) {
        all_anew(p);
        return;
    }
    job->kind = k;
    job->revision = (uint64_t) tpi_member_int(&m->params, "revision", 0);
    job->gone = tpi_member_bool(&m->params, "deleted", false);
    (void) panel_post(p, job); /* over its bound all is read anew */
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct panel *p = user;
    if (batch->gap_to > batch->gap_from) {
        all_anew(p);
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        note(p, tpc_batch_msg(batch, i));
    }
    return 0;
}

int panel_follow_start(struct panel *p)
{
    static const char hex[] = "0123456789ABCDEF";
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    const struct tpc_str nothing[3] = { none, none, none };
    char filter[3 * PANEL_KEY_BYTES + 32];
    size_t n = 0;
    for (size_t i = 0; i < p->tenant.len && i < PANEL_KEY_BYTES; i++) {
        char c = p->tenant.ptr[i];
        bool plain = c != '/' && c != '+' && c != '#' && c != '%';
        filter[n++] = plain ? c : '%';
        if (!plain) {
            filter[n++] = hex[(unsigned char) c >> 4];
            filter[n++] = hex[(unsigned char) c & 15];
        }
    }
    snprintf(filter + n, sizeof(filter) - n, "/entity/+/+/updated");
    o.filter = tpc_str_from(filter);
    p->reload = true; /* until panel_load() is through */
    int rc = p->api->subscribe(p->core, &o, on_batch, p, &p->changes);
    if (rc != 0) {
        return p->host->fail(p->ctx, rc, "changes cannot be followed");
    }
    /* First of all work, so that a change that comes meanwhile is compared with what was there. */
    struct panel_job *job = panel_job_make(p, panel_load, nothing);
    rc = job == NULL ? TPC_ENOMEM : panel_post(p, job);
    return rc == 0 ? 0 : p->host->fail(p->ctx, rc, "out of memory");
}

void panel_follow_stop(struct panel *p)
{
    if (p->changes != NULL) {
        p->changes = p->api->unsubscribe(p->changes);
    }
}

void panel_follow_fini(struct panel *p)
{
    clear(p);
    tpi_map_fini(&p->devices);
    tpi_map_fini(&p->products);
    tpi_map_fini(&p->points);
}
