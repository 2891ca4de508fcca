/* Who may speak: the public checks, registration of devices and tokens. */
#include <stdio.h>
#include <string.h>
#include <tpcore/auth.h>
#include <tpcore/json.h>

#include "core/core.h"
#include "registry/auth.h"
#include "registry/token.h"

#define TOKEN_TTL_MS (INT64_C(7) * 86400000)
#define TOKEN_TTL_MAX_MS (INT64_C(366) * 86400000)

enum { SECRET_BYTES = 16, USERNAME_BYTES = 16, PASSWORD_BYTES = 12, DOCUMENT_BYTES = 8192 };

int tpc_auth_check(struct tpc_core *core, const struct tpc_auth_request *request,
                   struct tpc_identity *ret)
{
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    if (core == NULL || request == NULL || ret == NULL ||
        request->size < offsetof(struct tpc_auth_request, fingerprint)) {
        return tpi_fail(TPC_EINVAL, "auth", "core, request or ret is NULL, or size is not set");
    }
    memcpy(&q, request, request->size < sizeof(q) ? request->size : sizeof(q));
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_auth_check(core->registry, core->options.token_key, &q, err, ret);
    if (rc == TPC_EDENIED || rc == TPC_EAGAIN) {
        tpi_why_login(core, &q, err);
    }
    return tpi_fail_end(rc);
}

int tpc_auth_recheck(struct tpc_core *core, const struct tpc_identity *who)
{
    if (core == NULL || who == NULL || who->size < sizeof(*who)) {
        return tpi_fail(TPC_EINVAL, "auth", "core or who is NULL, or size is not set");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_auth_recheck(core->registry, who, err);
    return tpi_fail_end(rc);
}

int tpc_auth_resolve(struct tpc_core *core, struct tpc_str tenant, struct tpc_str username,
                     struct tpc_identity *ret)
{
    if (core == NULL || ret == NULL || (username.ptr == NULL && username.len > 0)) {
        return tpi_fail(TPC_EINVAL, "auth", "core or ret is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_auth_resolve(core->registry, tenant, username, err, ret);
    return tpi_fail_end(rc);
}

int tpc_acl_check(struct tpc_core *core, const struct tpc_identity *who, int access,
                  struct tpc_str topic)
{
    if (core == NULL || who == NULL || access < TPC_ACCESS_PUBLISH || access > TPC_ACCESS_RECEIVE ||
        (topic.ptr == NULL && topic.len > 0)) {
        return tpi_fail(TPC_EINVAL, "auth", "core or who is NULL, or there is no such access");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_acl_check(core->registry, who, access, topic, err);
    if (rc == TPC_EDENIED && access != TPC_ACCESS_RECEIVE) {
        tpi_why_topic(core, who, topic, err);
    }
    return tpi_fail_end(rc);
}

/* ---- registration ---- */

static struct tpc_member text_member(const char *key, struct tpc_str text)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

static int random_hex(struct tpc_core *core, size_t bytes, char *ret)
{
    uint8_t raw[32];
    int rc = tpi_random(&core->env, raw, bytes);
    if (rc == 0) {
        tpi_hex(raw, bytes, ret);
    }
    tpi_wipe(raw, sizeof(raw));
    return rc;
}

/* Contract thingspanel.md 1.1 and 3.2 item 6: as the product's voucher_type says. */
static int make_voucher(struct tpc_core *core, const struct tpi_product *p,
                        struct tpc_registration *ret)
{
    char username[2 * USERNAME_BYTES + 1], password[2 * PASSWORD_BYTES + 1];
    int rc = random_hex(core, USERNAME_BYTES, username);
    rc = rc != 0 ? rc : random_hex(core, PASSWORD_BYTES, password);
    if (p->voucher == TPI_VOUCHER_BASIC) {
        snprintf(ret->voucher, sizeof(ret->voucher), "{\"username\":\"%s\",\"password\":\"%s\"}",
                 username, password);
    } else {
        snprintf(ret->voucher, sizeof(ret->voucher), "{\"%s\":\"%s\"}",
                 p->voucher == TPI_VOUCHER_TOKEN ? "username" : "voucher", username);
    }
    tpi_wipe(password, sizeof(password));
    return rc;
}

/* The document of the new device. */
static int make_document(const struct tpc_register_request *q, const struct tpi_product *p,
                         const struct tpc_registration *made, struct tpc_buf *buf)
{
    struct tpc_member members[6];
    struct tpc_value doc = { TPC_MAP, 0, 0, { .members = members } };
    struct tpc_member voucher = text_member("voucher", tpc_str_from(made->voucher));
    members[doc.len++] = text_member("key", q->device);
    members[doc.len++] = text_member("product", p->key);
    members[doc.len++] = text_member("tenant", p->tenant);
    if (q->name.len > 0) {
        members[doc.len++] = text_member("name", q->name);
    }
    if (made->secret[0] != '\0') {
        members[doc.len++] = text_member("secret", tpc_str_from(made->secret));
    } else {
        members[doc.len++] = (struct tpc_member){ TPC_STR("credentials"),
                                                  { TPC_MAP, 0, 1, { .members = &voucher } } };
    }
    return tpc_json_write(&doc, 0, buf);
}

static int put_device(struct tpc_core *core, const struct tpc_register_request *q,
                      const struct tpi_product *p, struct tpc_registration *made)
{
    uint8_t text[DOCUMENT_BYTES];
    struct tpc_buf buf = { text, sizeof(text), 0 };
    struct tpc_entity_info info;
    struct tpc_actor actor = { .size = sizeof(actor),
                               .type = TPC_ACTOR_CONNECTOR,
                               .name = TPC_STR("registration"),
                               .origin = q->peer };
    int rc = make_document(q, p, made, &buf);
    if (rc != 0) {
        return tpi_fail(TPC_EINVAL, "auth", "the device's key or name is too long");
    }
    struct tpc_str json = { (const char *) text, buf.need };
    memset(&info, 0, sizeof(info));
    rc = tpc_entity_put(core, &actor, "device", json, TPC_NO_REV, &info);
    tpi_wipe(text, sizeof(text));
    if (rc == TPC_ECONFLICT) {
        return tpi_fail(TPC_EEXIST, "auth", "the device is there already");
    }
    made->id = info.id;
    return rc;
}

int tpc_auth_register(struct tpc_core *core, const struct tpc_register_request *request,
                      struct tpc_registration *ret)
{
    struct tpi_product *p = NULL;
    struct tpc_registration made = { .size = sizeof(made) };
    if (core == NULL || request == NULL || ret == NULL || request->size < sizeof(*request) ||
        request->device.len == 0 || request->device.len >= TPC_AUTH_KEY_BYTES) {
        return tpi_fail(TPC_EINVAL, "auth", "a registration needs its size and a device's key");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_auth_registration(core->registry, request, err, &p);
    if (rc == TPC_EDENIED || rc == TPC_EAGAIN) {
        tpi_why_registration(core, request, err);
    }
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    rc = request->secret.len > 0 ? make_voucher(core, p, &made)
                                 : random_hex(core, SECRET_BYTES, made.secret);
    snprintf(made.product, sizeof(made.product), "%.*s", (int) p->key.len, p->key.ptr);
    snprintf(made.device, sizeof(made.device), "%.*s", (int) request->device.len,
             request->device.ptr);
    rc = rc != 0 ? tpi_fail(rc, "auth", "there is no randomness")
                 : put_device(core, request, p, &made);
    if (rc == 0) {
        *ret = made;
    }
    tpi_wipe(&made, sizeof(made));
    tpi_product_unref(p);
    return rc;
}

/* ---- tokens ---- */

static int issue(struct tpc_core *core, const struct tpc_device *d, struct tpc_str tenant,
                 uint64_t ttl_ms, struct tpc_buf *buf)
{
    struct tpc_arena *arena;
    int64_t ttl = ttl_ms == 0 ? TOKEN_TTL_MS : (int64_t) ttl_ms;
    if (atomic_load(&d->disabled)) {
        return tpi_fail(TPC_EDENIED, "auth", "device \"%s\" is disabled", d->key.ptr);
    }
    if (tpc_arena_create(core->env.alloc, 0, &arena) != 0) {
        return tpi_fail(TPC_ENOMEM, "auth", "out of memory");
    }
    struct tpi_claims claims = { .tenant = tenant,
                                 .device = d->key,
                                 .until_unix_s = (tpi_unix_ms(&core->env) + ttl) / 1000 };
    tpi_registry_read_lock(core->registry);
    claims.product = tpi_device_product_key(d);
    int rc = tpi_token_write(core->options.token_key, &claims, arena, buf);
    tpi_registry_read_unlock(core->registry);
    tpc_arena_destroy(arena);
    return rc == 0 ? 0 : tpi_fail(rc, "auth", "no room, no memory or no HMAC for the token");
}

int tpc_token_issue(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device,
                    uint64_t ttl_ms, struct tpc_buf *buf)
{
    struct tpc_device *d;
    if (core == NULL || buf == NULL || ttl_ms > (uint64_t) TOKEN_TTL_MAX_MS) {
        return tpi_fail(TPC_EINVAL, "auth", "core or buf is NULL, or a token lasts over 366 days");
    }
    if (core->options.token_key.len == 0) {
        return tpi_fail(TPC_ESTATE, "auth", "the options have no token_key");
    }
    int rc = tpc_device_open_in(core, tenant, device, &d);
    if (rc != 0) {
        return rc;
    }
    rc = issue(core, d, tenant, ttl_ms, buf);
    tpi_device_unref(d);
    return rc;
}
