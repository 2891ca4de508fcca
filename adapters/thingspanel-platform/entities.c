/* Reading what is configured. */
#include "inside.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "data/member.h"

enum { LIST_STEP = 500 };

int panel_parse(struct tpc_arena *arena, struct tpc_str key, struct tpc_str json,
                const struct tpc_entity_info *info, struct panel_doc *ret)
{
    struct panel_doc d = { .revision = info->revision,
                           .created_unix_ms = info->created_unix_ms,
                           .modified_unix_ms = info->modified_unix_ms };
    d.key = panel_copy(arena, key);
    int rc =
        d.key.ptr == NULL ? TPC_ENOMEM : tpc_json_parse(arena, json, TPC_JSON_COPY, NULL, &d.doc);
    if (rc == 0) {
        *ret = d;
    }
    return rc;
}

struct get {
    struct tpc_arena *arena;
    struct panel_doc *ret;
};

static int got(void *user, const struct tpc_entity_info *info, struct tpc_str key,
               struct tpc_str json)
{
    struct get *g = user;
    return panel_parse(g->arena, key, json, info, g->ret);
}

int panel_get(struct panel *p, struct tpc_arena *arena, const char *kind, struct tpc_str key,
              struct panel_doc *ret)
{
    struct get g = { arena, ret };
    if (key.len == 0 || key.len > PANEL_KEY_BYTES) {
        return TPC_ENOENT;
    }
    return p->api->entity_get(p->core, p->tenant, kind, key, got, &g);
}

struct each {
    panel_each_fn *fn;
    void *user;
    char last[PANEL_KEY_BYTES + 1];
    size_t last_len;
    uint32_t count;
};

static int on_each(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                   struct tpc_str json)
{
    struct each *e = user;
    e->count++;
    e->last_len = key.len < sizeof(e->last) ? key.len : 0;
    memcpy(e->last, key.ptr, e->last_len);
    return e->fn(e->user, info, key, json);
}

int panel_each(struct panel *p, const char *kind, const char *field, struct tpc_str value,
               panel_each_fn *fn, void *user)
{
    struct each e = { .fn = fn, .user = user };
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    q.limit = LIST_STEP;
    q.tenant = p->tenant;
    q.kind = tpc_str_from(kind);
    q.field = field != NULL ? tpc_str_from(field) : q.field;
    q.value = value;
    do {
        e.count = 0;
        q.after_key = (struct tpc_str){ e.last, e.last_len };
        int rc = p->api->entity_list(p->core, &q, on_each, &e);
        if (rc != 0) {
            return rc;
        }
    } while (e.count == LIST_STEP && e.last_len > 0);
    return 0;
}

struct tpc_str panel_secret(struct panel *p, struct tpc_arena *arena, const char *kind,
                            struct tpc_str key, const char *path)
{
    uint8_t text[PANEL_VOUCHER_BYTES];
    struct tpc_buf buf = { text, sizeof(text), 0 };
    struct tpc_str s = { "", 0 };
    int rc = p->api->entity_secret(p->core, p->tenant, kind, key, tpc_str_from(path), &buf);
    if (rc == 0) {
        s = panel_copy(arena, (struct tpc_str){ (const char *) text, buf.need });
    } else if (rc != TPC_ENOENT) {
        s.ptr = NULL;
    }
    tpi_wipe(text, sizeof(text));
    return s;
}

struct tpc_str panel_pair(struct tpc_arena *arena, struct tpc_str name, struct tpc_str password)
{
    struct panel_map m;
    panel_map_begin(&m, arena, 2);
    panel_map_put(&m, "username", panel_text(name));
    if (password.len > 0) {
        panel_map_put(&m, "password", panel_text(password));
    }
    struct tpc_value v = panel_map_end(&m);
    struct tpc_value text = panel_json_text(arena, &v, "");
    return text.len > 0 ? tpc_value_text(&text) : (struct tpc_str){ NULL, 0 };
}

struct tpc_str panel_voucher(struct panel *p, struct tpc_arena *arena, const struct panel_doc *d)
{
    static const struct tpc_str none = { "", 0 };
    const struct tpc_value *credentials = tpi_member(&d->doc, "credentials");
    struct tpc_str voucher = panel_secret(p, arena, "device", d->key, "credentials.voucher");
    if (voucher.ptr == NULL || voucher.len > 0) {
        return voucher;
    }
    struct tpc_str name = tpi_member_text(credentials, "username");
    struct tpc_str password = panel_secret(p, arena, "device", d->key, "credentials.password");
    if (password.ptr == NULL) {
        return password;
    }
    if (name.len > 0 && password.len > 0) {
        return panel_pair(arena, name, password);
    }
    struct tpc_str token = panel_secret(p, arena, "device", d->key, "credentials.token");
    return token.len > 0 ? panel_pair(arena, token, none) : token;
}

struct tpc_actor panel_actor(struct panel *p, const struct panel_job *job)
{
    return (struct tpc_actor){ .size = sizeof(struct tpc_actor),
                               .type = TPC_ACTOR_CONNECTOR,
                               .name = tpc_str_from(p->host->name(p->ctx)),
                               .origin = job->peer };
}

int panel_random(struct panel *p, size_t n, char *ret)
{
    uint8_t raw[32];
    if (n > sizeof(raw) || p->host->random->fill(p->host->random->user, raw, n) != 0) {
        return TPC_EIO;
    }
    tpi_hex(raw, n, ret);
    tpi_wipe(raw, sizeof(raw));
    return 0;
}

const char *panel_device_type(const struct tpc_value *product, const struct tpc_value *device)
{
    struct tpc_str type = tpi_member_text(product, "type");
    if (tpc_str_equal(type, TPC_STR("gateway"))) {
        return "2";
    }
    bool behind = type.len == 0 && tpi_member_text(device, "gateway").len > 0;
    return behind || tpc_str_equal(type, TPC_STR("sub")) ? "3" : "1";
}
