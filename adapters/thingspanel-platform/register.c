/* One secret for each template: contract thingspanel 3.2 item 6. */
#include "inside.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "data/member.h"

enum { RANDOM_BYTES = 16, NAME_BYTES = PANEL_KEY_BYTES + 16 };

struct asked {
    struct tpc_str secret, number, name, product, address, parent;
};

/* The template that has a secret, whatever it allows. */
struct search {
    struct panel *p;
    struct tpc_arena *arena;
    struct tpc_str secret;
    struct panel_doc found;
    bool any;
};

static int look(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                struct tpc_str json)
{
    struct search *s = user;
    struct tpc_str secret = panel_secret(s->p, s->arena, "product", key, "secret");
    if (secret.ptr == NULL) {
        return TPC_ENOMEM;
    }
    if (secret.len == 0 || secret.len != s->secret.len ||
        !tpi_equal_const(secret.ptr, s->secret.ptr, secret.len)) {
        return 0;
    }
    int rc = panel_parse(s->arena, key, json, info, &s->found);
    s->any = rc == 0;
    return rc;
}

static void done(struct panel_job *job, struct tpc_str device, struct tpc_str voucher)
{
    struct panel_map m;
    panel_map_begin(&m, job->arena, 2);
    panel_map_put(&m, "device_id", panel_text(device));
    panel_map_put(&m, "voucher", panel_text(voucher));
    job->data = panel_map_end(&m);
}

/* A voucher for a device behind a gateway: it never logs in itself. */
static int make_voucher(struct panel *p, char ret[64])
{
    char hex[2 * RANDOM_BYTES + 1];
    int rc = panel_random(p, RANDOM_BYTES, hex);
    if (rc == 0) {
        snprintf(ret, 64, "{\"voucher\":\"%s\"}", hex);
    }
    return rc;
}

static int put_sub(struct panel *p, struct panel_job *job, const struct asked *q,
                   const struct panel_doc *product, struct tpc_str voucher)
{
    struct panel_map m, credentials;
    struct tpc_actor actor = panel_actor(p, job);
    panel_map_begin(&credentials, job->arena, 1);
    panel_map_put(&credentials, "voucher", panel_text(voucher));
    panel_map_begin(&m, job->arena, 7);
    panel_map_put(&m, "key", panel_text(q->number));
    panel_map_put(&m, "tenant", panel_text(p->tenant));
    panel_map_put(&m, "product", panel_text(product->key));
    panel_map_put(&m, "name", panel_text(q->name));
    panel_map_put(&m, "gateway", panel_text(q->parent));
    panel_map_put(&m, "address", panel_text(q->address));
    panel_map_put(&m, "credentials", panel_map_end(&credentials));
    struct tpc_value doc = panel_map_end(&m);
    struct tpc_value json = panel_json_text(job->arena, &doc, "");
    return p->api->entity_put(p->core, &actor, "device", tpc_value_text(&json), TPC_NO_REV, NULL);
}

static void register_sub(struct panel *p, struct panel_job *job, const struct asked *q,
                         const struct panel_doc *product)
{
    struct panel_doc parent;
    char voucher[64];
    if (q->address.len == 0 || q->parent.len == 0) {
        panel_fail(job, PANEL_SUB_FIELDS, NULL);
        return;
    }
    if (panel_get(p, job->arena, "device", q->parent, &parent) != 0) {
        panel_fail(job, PANEL_PARENT_UNKNOWN, NULL);
        return;
    }
    int rc = make_voucher(p, voucher);
    rc = rc != 0 ? rc : put_sub(p, job, q, product, tpc_str_from(voucher));
    if (rc == 0) {
        done(job, q->number, panel_copy(job->arena, tpc_str_from(voucher)));
        p->host->count(p->ctx, "registered", 1);
    } else if (rc == TPC_ECONFLICT) {
        panel_fail(job, PANEL_DEVICE_THERE, NULL);
    } else if (rc == TPC_EEXIST) {
        panel_fail(job, PANEL_ADDRESS_TAKEN, NULL);
    } else {
        panel_fail(job, rc == TPC_EINVAL ? PANEL_PARAMETER : PANEL_INTERNAL, NULL);
    }
}

/* What the library refused, in the contract's codes. */
static void refused(struct panel *p, struct panel_job *job, const struct asked *q, int rc)
{
    struct search s = { .p = p, .arena = job->arena, .secret = q->secret };
    static const struct tpc_str none = { "", 0 };
    if (rc == TPC_EEXIST || rc == TPC_ECONFLICT) {
        panel_fail(job, PANEL_DEVICE_THERE, NULL);
        return;
    }
    if (rc != TPC_EDENIED && rc != TPC_EINVAL) {
        panel_fail(job, rc == TPC_EAGAIN ? PANEL_LIMITED : PANEL_INTERNAL, NULL);
        return;
    }
    if (panel_each(p, "product", NULL, none, look, &s) != 0) {
        panel_fail(job, PANEL_INTERNAL, NULL);
    } else if (!s.any) {
        panel_fail(job, PANEL_SECRET_UNKNOWN, NULL);
    } else if (!tpi_member_bool(&s.found.doc, "auto_register", false)) {
        panel_fail(job, PANEL_REGISTRATION_OFF, NULL);
    } else if (q->product.len > 0 && !tpc_str_equal(q->product, s.found.key)) {
        panel_fail(job, PANEL_PRODUCT_UNKNOWN, NULL);
    } else if (rc == TPC_EINVAL && panel_device_type(&s.found.doc, NULL)[0] == '3') {
        register_sub(p, job, q, &s.found);
    } else {
        panel_fail(job, PANEL_PARAMETER, NULL);
    }
}

void panel_register(struct panel *p, struct panel_job *job)
{
    struct asked q = { .secret = tpi_member_text(&job->in, "template_secret"),
                       .number = tpi_member_text(&job->in, "device_number"),
                       .name = tpi_member_text(&job->in, "device_name"),
                       .product = tpi_member_text(&job->in, "product_key"),
                       .address = tpi_member_text(&job->in, "sub_device_addr"),
                       .parent = tpi_member_text(&job->in, "parent_device_number") };
    struct tpc_register_request r = TPC_REGISTER_REQUEST_INIT;
    struct tpc_registration made = { .size = sizeof(made) };
    char name[NAME_BYTES];
    if (q.secret.len == 0 || q.number.len == 0 || q.number.len > PANEL_KEY_BYTES ||
        q.name.len > 255) {
        panel_fail(job, PANEL_PARAMETER, "template_secret or device_number");
        return;
    }
    if (q.name.len == 0) {
        snprintf(name, sizeof(name), "Device_%.*s", (int) q.number.len, q.number.ptr);
        q.name = tpc_str_from(name);
    }
    r.tenant = p->tenant;
    r.secret = q.secret;
    r.product = q.product;
    r.device = q.number;
    r.name = q.name;
    r.peer = job->peer;
    int rc = p->api->auth_register(p->core, &r, &made);
    if (rc != 0) {
        refused(p, job, &q, rc);
        return;
    }
    done(job, q.number, panel_copy(job->arena, tpc_str_from(made.voucher)));
    tpi_wipe(&made, sizeof(made));
    p->host->count(p->ctx, "registered", 1);
}
