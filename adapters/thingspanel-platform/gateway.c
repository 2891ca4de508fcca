/*
 * Gateways that ask for credentials by their number, and devices behind them: contract thingspanel 3.2 item
 * 7. There is no secret in it, so it is off unless the option gateway_register says otherwise.
 */
#include "inside.h"

#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "data/member.h"

enum { NAME_BYTES = 11, PASSWORD_BYTES = 12, CLIENT_BYTES = 12, SUBS_MAX = 200 };

/* A template by its key, else by its name. */
struct search {
    struct tpc_arena *arena;
    struct tpc_str model;
    struct panel_doc found;
    bool any;
};

static int look(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                struct tpc_str json)
{
    struct search *s = user;
    struct panel_doc d;
    int rc = s->any ? 0 : panel_parse(s->arena, key, json, info, &d);
    if (rc == 0 && !s->any && tpc_str_equal(tpi_member_text(&d.doc, "name"), s->model)) {
        s->found = d;
        s->any = true;
    }
    return rc;
}

/* One that takes registrations and is of the type. */
static bool find_template(struct panel *p, struct tpc_arena *arena, struct tpc_str model, char type,
                          struct panel_doc *ret)
{
    static const struct tpc_str none = { "", 0 };
    struct search s = { .arena = arena, .model = model };
    if (model.len == 0) {
        return false;
    }
    s.any = panel_get(p, arena, "product", model, &s.found) == 0;
    if (!s.any && panel_each(p, "product", NULL, none, look, &s) != 0) {
        return false;
    }
    *ret = s.found;
    return s.any && panel_device_type(&ret->doc, NULL)[0] == type &&
           tpi_member_bool(&ret->doc, "auto_register", false);
}

static void answer(struct panel_job *job, struct tpc_str id, struct tpc_str name,
                   struct tpc_str password)
{
    struct panel_map m;
    char client[5 + CLIENT_BYTES + 1];
    snprintf(client, sizeof(client), "mqtt_%.*s",
             (int) (id.len < CLIENT_BYTES ? id.len : CLIENT_BYTES), id.ptr);
    panel_map_begin(&m, job->arena, 3);
    panel_map_put(&m, "mqtt_username", panel_text(panel_copy(job->arena, name)));
    panel_map_put(&m, "mqtt_password", panel_text(panel_copy(job->arena, password)));
    panel_map_put(&m, "mqtt_client_id", panel_text(panel_copy(job->arena, tpc_str_from(client))));
    job->data = panel_map_end(&m);
}

static void answer_again(struct panel *p, struct panel_job *job, const struct panel_doc *d)
{
    struct tpc_str name = tpi_member_text(tpi_member(&d->doc, "credentials"), "username");
    struct tpc_str password = panel_secret(p, job->arena, "device", d->key, "credentials.password");
    if (password.ptr == NULL) {
        panel_fail(job, PANEL_INTERNAL, NULL);
        return;
    }
    if (p->gateways != PANEL_GATEWAYS_REISSUE || name.len == 0 || password.len == 0) {
        panel_fail(job, PANEL_DEVICE_THERE, NULL);
        return;
    }
    answer(job, d->key, name, password);
}

static int put(struct panel *p, struct panel_job *job, struct panel_map *m)
{
    struct tpc_actor actor = panel_actor(p, job);
    struct tpc_value doc = panel_map_end(m);
    struct tpc_value json = panel_json_text(job->arena, &doc, "");
    return m->failed ? TPC_ENOMEM
                     : p->api->entity_put(p->core, &actor, "device", tpc_value_text(&json),
                                          TPC_NO_REV, NULL);
}

void panel_gateway(struct panel *p, struct panel_job *job)
{
    struct tpc_str id = tpi_member_text(&job->in, "gateway_id");
    struct tpc_str tenant = tpi_member_text(&job->in, "tenant_id");
    struct panel_doc product, there;
    struct panel_map m, credentials;
    char name[2 * NAME_BYTES + 1], password[2 * PASSWORD_BYTES + 1];
    if (p->gateways == PANEL_GATEWAYS_OFF) {
        panel_fail(job, PANEL_DENIED, "gateway_register is off");
        return;
    }
    if (id.len == 0 || id.len > PANEL_KEY_BYTES) {
        panel_fail(job, PANEL_PARAMETER, "gateway_id");
        return;
    }
    if ((tenant.len > 0 && !tpc_str_equal(tenant, p->tenant)) ||
        !find_template(p, job->arena, tpi_member_text(&job->in, "model"), '2', &product)) {
        panel_fail(job, PANEL_DATABASE, "no template of this name takes gateways");
        return;
    }
    if (panel_get(p, job->arena, "device", id, &there) == 0) {
        if (tpc_str_equal(tpi_member_text(&there.doc, "product"), product.key)) {
            answer_again(p, job, &there);
        } else {
            panel_fail(job, PANEL_DEVICE_THERE, NULL);
        }
        return;
    }
    int rc = panel_random(p, NAME_BYTES, name);
    rc = rc != 0 ? rc : panel_random(p, PASSWORD_BYTES, password);
    panel_map_begin(&credentials, job->arena, 2);
    panel_map_put(&credentials, "username", panel_text(tpc_str_from(name)));
    panel_map_put(&credentials, "password", panel_text(tpc_str_from(password)));
    panel_map_begin(&m, job->arena, 4);
    panel_map_put(&m, "key", panel_text(id));
    panel_map_put(&m, "tenant", panel_text(p->tenant));
    panel_map_put(&m, "product", panel_text(product.key));
    panel_map_put(&m, "credentials", panel_map_end(&credentials));
    rc = rc != 0 ? rc : put(p, job, &m);
    if (rc == 0) {
        answer(job, id, tpc_str_from(name), tpc_str_from(password));
        p->host->count(p->ctx, "registered", 1);
    } else {
        panel_fail(job, rc == TPC_ECONFLICT ? PANEL_DEVICE_THERE : PANEL_INTERNAL, NULL);
    }
    tpi_wipe(password, sizeof(password));
}

/* ---- behind one ---- */

/* Makes one; *ret_why NULL = it is there now. */
static void add_sub(struct panel *p, struct panel_job *job, struct tpc_str gateway,
                    const struct tpc_value *item, struct tpc_str address, const char **ret_error,
                    const char **ret_why)
{
    struct panel_doc product;
    struct panel_map m;
    char key[PANEL_KEY_BYTES + 1];
    int n = snprintf(key, sizeof(key), "%.*s-%.*s", (int) gateway.len, gateway.ptr,
                     (int) address.len, address.ptr);
    *ret_error = "invalid";
    if (n < 0 || n >= (int) sizeof(key) || address.len == 0) {
        *ret_why = "sub_addr is missing or too long";
        return;
    }
    if (!find_template(p, job->arena, tpi_member_text(item, "model"), '3', &product)) {
        *ret_why = "no template of this name takes sub-devices";
        return;
    }
    panel_map_begin(&m, job->arena, 5);
    panel_map_put(&m, "key", panel_text(tpc_str_from(key)));
    panel_map_put(&m, "tenant", panel_text(p->tenant));
    panel_map_put(&m, "product", panel_text(product.key));
    panel_map_put(&m, "gateway", panel_text(gateway));
    panel_map_put(&m, "address", panel_text(address));
    int rc = put(p, job, &m);
    bool exists = rc == TPC_EEXIST || rc == TPC_ECONFLICT;
    *ret_error = rc == 0 ? "" : exists ? "exists" : "failed";
    *ret_why = rc == 0 ? NULL : exists ? "it is there already" : "it cannot be made";
    p->host->count(p->ctx, "registered", rc == 0);
}

void panel_subs(struct panel *p, struct panel_job *job)
{
    struct tpc_str gateway = tpi_member_text(&job->in, "device_id");
    const struct tpc_value *list = tpi_member(&job->in, "registers");
    struct panel_doc there;
    struct panel_map m;
    bool all = true;
    if (p->gateways == PANEL_GATEWAYS_OFF) {
        panel_fail(job, PANEL_DENIED, "gateway_register is off");
        return;
    }
    if (gateway.len == 0 || list == NULL || list->type != TPC_ARRAY || list->len > SUBS_MAX) {
        panel_fail(job, PANEL_PARAMETER, "device_id or registers");
        return;
    }
    if (panel_get(p, job->arena, "device", gateway, &there) != 0) {
        panel_fail(job, PANEL_DATABASE, "record not found");
        return;
    }
    struct tpc_member *results = tpc_arena_take(job->arena, (list->len + 1) * sizeof(*results));
    for (size_t i = 0; i < list->len && results != NULL; i++) {
        const struct tpc_value *item = &list->as.items[i];
        struct tpc_str address = tpi_member_text(item, "sub_addr");
        const char *error = "", *why = NULL;
        add_sub(p, job, gateway, item, address, &error, &why);
        all &= why == NULL;
        panel_map_begin(&m, job->arena, 4);
        panel_map_put(&m, "result", panel_int(why != NULL));
        panel_map_put(&m, "errorcode", panel_text(tpc_str_from(error)));
        panel_map_put(&m, "message", panel_text(tpc_str_from(why != NULL ? why : "success")));
        panel_map_put(&m, "sub_addr", panel_text(address));
        results[i] = (struct tpc_member){ address, panel_map_end(&m) };
    }
    if (results == NULL) {
        panel_fail(job, PANEL_INTERNAL, NULL);
        return;
    }
    panel_map_begin(&m, job->arena, 4);
    panel_map_put(&m, "type", panel_text(TPC_STR("sub-register-response")));
    panel_map_put(&m, "status", panel_text(all ? TPC_STR("success") : TPC_STR("fail")));
    panel_map_put(&m, "message",
                  panel_text(all ? TPC_STR("success") : TPC_STR("some are not made")));
    panel_map_put(&m, "registersRes",
                  (struct tpc_value){ TPC_MAP, 0, list->len, { .members = results } });
    job->data = panel_map_end(&m);
}
