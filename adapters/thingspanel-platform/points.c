/* Access points with their devices: contract thingspanel 3.2 items 4 and 5. */
#include "inside.h"

#include <string.h>

#include "../text/utc.h"

#include "data/member.h"

enum { LIST_MAX = 20000 };

struct list {
    struct panel *p;
    struct tpc_arena *arena;
    struct tpc_str of; /* access point, or service */
    struct tpc_value *items;
    size_t count, cap;
};

static int append(struct list *l, struct tpc_value v)
{
    if (l->count == LIST_MAX) {
        return TPC_ETOOBIG;
    }
    if (l->count == l->cap) {
        size_t cap = l->cap > 0 ? l->cap * 2 : 16;
        struct tpc_value *more = tpc_arena_take(l->arena, cap * sizeof(*more));
        if (more == NULL) {
            return TPC_ENOMEM;
        }
        if (l->count > 0) {
            memcpy(more, l->items, l->count * sizeof(*more));
        }
        l->items = more;
        l->cap = cap;
    }
    l->items[l->count++] = v;
    return 0;
}

static struct tpc_value list_value(const struct list *l)
{
    return (struct tpc_value){ TPC_ARRAY, 0, l->count, { .items = l->items } };
}

static struct tpc_value moment(struct tpc_arena *arena, int64_t unix_ms)
{
    char text[UTC_RFC3339_BYTES];
    utc_rfc3339(unix_ms, text);
    return panel_text(panel_copy(arena, tpc_str_from(text)));
}

static bool is_online(struct panel *p, struct tpc_str key)
{
    struct tpc_device *d;
    struct tpc_device_info info = { .size = sizeof(info) };
    if (p->api->device_open(p->core, p->tenant, key, &d) != 0) {
        return false;
    }
    bool online = p->api->device_info(d, &info) == 0 && info.online != 0;
    (void) p->api->device_unref(d);
    return online;
}

static int add_device(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                      struct tpc_str json)
{
    struct list *l = user;
    struct panel_doc d;
    struct panel_map m;
    int rc = panel_parse(l->arena, key, json, info, &d);
    if (rc != 0) {
        return rc;
    }
    bool enabled = tpi_member_bool(&d.doc, "enabled", true);
    struct tpc_str name = tpi_member_text(&d.doc, "name");
    struct tpc_str voucher = panel_voucher(l->p, l->arena, &d);
    if (voucher.ptr == NULL) {
        return TPC_ENOMEM;
    }
    panel_map_begin(&m, l->arena, 14);
    panel_map_put(&m, "id", panel_text(d.key));
    panel_map_put(&m, "name", panel_text(name.len > 0 ? name : d.key));
    panel_map_put(&m, "voucher", panel_text(voucher));
    panel_map_put(&m, "tenant_id", panel_text(l->p->tenant));
    panel_map_put(&m, "is_enabled", panel_text(enabled ? TPC_STR("enabled") : TPC_STR("disabled")));
    panel_map_put(&m, "device_number", panel_text(d.key));
    panel_map_put(&m, "sub_device_addr", panel_text(tpi_member_text(&d.doc, "address")));
    panel_map_put(&m, "additional_info",
                  panel_json_text(l->arena, tpi_member(&d.doc, "config"), "{}"));
    panel_map_put(&m, "protocol_config",
                  panel_json_text(l->arena, tpi_member(&d.doc, "protocol_config"), "{}"));
    panel_map_put(&m, "device_config_id", panel_text(tpi_member_text(&d.doc, "product")));
    panel_map_put(&m, "is_online", panel_int(is_online(l->p, d.key)));
    panel_map_put(&m, "service_access_id", panel_text(l->of));
    panel_map_put(&m, "created_at", moment(l->arena, d.created_unix_ms));
    panel_map_put(&m, "update_at", moment(l->arena, d.modified_unix_ms));
    return m.failed ? TPC_ENOMEM : append(l, panel_map_end(&m));
}

static int describe(struct panel *p, struct tpc_arena *arena, const struct panel_doc *d,
                    struct tpc_value *ret)
{
    struct list devices = { .p = p, .arena = arena, .of = d->key };
    struct tpc_str service = tpi_member_text(&d->doc, "service");
    struct panel_map m;
    int rc = panel_each(p, "device", "access_point", d->key, add_device, &devices);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str voucher = panel_secret(p, arena, "access_point", d->key, "voucher");
    if (voucher.ptr == NULL) {
        return TPC_ENOMEM;
    }
    panel_map_begin(&m, arena, 14);
    panel_map_put(&m, "id", panel_text(d->key));
    panel_map_put(&m, "service_access_id", panel_text(d->key));
    panel_map_put(&m, "name", panel_text(tpi_member_text(&d->doc, "name")));
    panel_map_put(&m, "service_plugin_id", panel_text(service));
    panel_map_put(&m, "service_identifier", panel_text(service));
    panel_map_put(&m, "voucher", panel_text(voucher));
    panel_map_put(&m, "description", panel_text(tpi_member_text(&d->doc, "description")));
    panel_map_put(&m, "service_access_config",
                  panel_json_text(arena, tpi_member(&d->doc, "config"), "{}"));
    panel_map_put(&m, "remark", panel_text(tpi_member_text(&d->doc, "remark")));
    panel_map_put(&m, "create_at", moment(arena, d->created_unix_ms));
    panel_map_put(&m, "update_at", moment(arena, d->modified_unix_ms));
    panel_map_put(&m, "tenant_id", panel_text(p->tenant));
    panel_map_put(&m, "devices", list_value(&devices));
    *ret = panel_map_end(&m);
    return m.failed ? TPC_ENOMEM : 0;
}

static int add_point(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    struct list *l = user;
    struct panel_doc d;
    struct tpc_value v;
    int rc = panel_parse(l->arena, key, json, info, &d);
    rc = rc != 0 ? rc : describe(l->p, l->arena, &d, &v);
    return rc != 0 ? rc : append(l, v);
}

static void end(struct panel_job *job, int rc)
{
    if (rc != 0) {
        bool missing = rc == TPC_ENOENT;
        panel_fail(job, missing ? PANEL_DATABASE : PANEL_INTERNAL,
                   missing ? "record not found" : "it cannot be read, or there is too much of it");
    }
}

void panel_points(struct panel *p, struct panel_job *job)
{
    struct list l = { .p = p, .arena = job->arena };
    struct panel_doc service;
    l.of = tpi_member_text(&job->in, "service_identifier");
    if (l.of.len == 0) {
        panel_fail(job, PANEL_PARAMETER, "service_identifier");
        return;
    }
    int rc = panel_get(p, job->arena, "service", l.of, &service);
    rc = rc != 0 ? rc : panel_each(p, "access_point", "service", l.of, add_point, &l);
    job->data = list_value(&l);
    end(job, rc);
}

void panel_point(struct panel *p, struct panel_job *job)
{
    struct panel_doc d;
    struct tpc_str id = tpi_member_text(&job->in, "service_access_id");
    if (id.len == 0) {
        panel_fail(job, PANEL_PARAMETER, "service_access_id");
        return;
    }
    int rc = panel_get(p, job->arena, "access_point", id, &d);
    rc = rc != 0 ? rc : describe(p, job->arena, &d, &job->data);
    end(job, rc);
}
