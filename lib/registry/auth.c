#include "registry/auth.h"

#include <string.h>

#include "registry/inside.h"
#include "registry/limit.h"
#include "registry/token.h"

enum { CLIENT_TEXT = 64 /* of a client id in a text */ };

/* A request on its way. */
struct asking {
    struct tpi_registry *r;
    const struct tpc_auth_request *q;
    struct tpc_error *err;
    struct tpc_bytes token_key;
    uint64_t tenant;
    struct tpc_identity *ret;
};

static void copy_key(char ret[TPC_AUTH_KEY_BYTES], struct tpc_str key)
{
    size_t n = key.len < TPC_AUTH_KEY_BYTES - 1 ? key.len : TPC_AUTH_KEY_BYTES - 1;
    memcpy(ret, key.ptr, n);
    ret[n] = '\0';
}

/* User names and client ids come from outside, and a user name may be the secret: a text has the
 * client id's printable characters at most. */
static int denied(struct asking *a, const char *why)
{
    char client[CLIENT_TEXT + 1];
    size_t n = 0;
    for (; n < a->q->client_id.len && n < CLIENT_TEXT; n++) {
        char c = a->q->client_id.ptr[n];
        client[n] = c > ' ' && c < 127 && c != '"' ? c : '?';
    }
    client[n] = '\0';
    return tpi_error_set(a->err, TPC_EDENIED, tpi_registry_origin, "client \"%s\": %s", client,
                         why);
}

/* ---- answers, under the read lock ---- */

static int answer_device(struct asking *a, struct tpc_device *d, uint32_t method,
                         const struct tpi_proof *proof)
{
    if (atomic_load_explicit(&d->disabled, memory_order_relaxed)) {
        return denied(a, "the device is disabled");
    }
    *a->ret = (struct tpc_identity){ .size = sizeof(*a->ret),
                                     .role = TPC_ROLE_DEVICE,
                                     .method = (uint16_t) method,
                                     .id = d->id,
                                     .tenant = a->tenant };
    copy_key(a->ret->key, d->key);
    copy_key(a->ret->product, tpi_device_product_key(d));
    if (proof != NULL) {
        memcpy(a->ret->proof, &proof->name, sizeof(proof->name));
        memcpy(&a->ret->proof[1], proof->mac, sizeof(proof->mac));
    }
    return 0;
}

static int answer_user(struct asking *a, const struct tpi_service_user *u, uint32_t method,
                       const struct tpi_proof *proof)
{
    if (!u->enabled) {
        return denied(a, "the service user is disabled");
    }
    *a->ret = (struct tpc_identity){ .size = sizeof(*a->ret),
                                     .role = TPC_ROLE_SERVICE,
                                     .method = (uint16_t) method,
                                     .id = u->id,
                                     .tenant = a->tenant };
    copy_key(a->ret->key, u->key);
    memcpy(a->ret->proof, &proof->name, sizeof(proof->name));
    memcpy(&a->ret->proof[1], proof->mac, sizeof(proof->mac));
    return 0;
}

/* ---- the ways ---- */

static int by_proof(struct asking *a, const struct tpi_proof *proof, const char *unknown,
                    const char *wrong)
{
    bool named = false;
    const struct tpi_login *l = tpi_login_find(&a->r->logins, proof, &named);
    if (l == NULL) {
        return denied(a, named ? wrong : unknown);
    }
    return l->of->device != NULL ? answer_device(a, l->of->device, l->method, proof)
                                 : answer_user(a, l->of->user, l->method, proof);
}

static int digest_failed(struct asking *a)
{
    return tpi_error_set(a->err, TPC_EIO, tpi_registry_origin, "a credential cannot be digested");
}

static int by_pair(struct asking *a, struct tpc_str username, struct tpc_bytes password)
{
    struct tpi_proof proof;
    if (username.len == 0) {
        return denied(a, "no user name");
    }
    if (tpi_login_proof(&a->r->logins, TPI_LOGIN_PAIR, a->tenant, username, password, &proof) !=
        0) {
        return digest_failed(a);
    }
    return by_proof(a, &proof, "unknown user name", "wrong password");
}

static int by_voucher(struct asking *a)
{
    struct tpc_arena *arena = NULL;
    struct tpc_str username, password;
    struct tpi_proof proof;
    int rc = tpc_arena_create(a->r->env->alloc, 0, &arena);
    rc = rc != 0 ? rc : tpi_voucher_pair(a->q->voucher, arena, &username, &password);
    if (rc == 0) {
        struct tpc_bytes bytes = { (const uint8_t *) password.ptr, password.len };
        rc = by_pair(a, username, bytes);
    } else if (rc == TPC_ENOENT) {
        static const struct tpc_bytes none = { NULL, 0 };
        rc = tpi_login_proof(&a->r->logins, TPI_LOGIN_VOUCHER, a->tenant, a->q->voucher, none,
                             &proof) != 0
                 ? digest_failed(a)
                 : by_proof(a, &proof, "unknown voucher", "unknown voucher");
    } else if (rc == TPC_EINVAL) {
        rc = denied(a, "the voucher is no JSON object");
    } else {
        rc = tpi_registry_no_memory(a->err);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static int by_certificate(struct asking *a)
{
    static const struct tpc_bytes none = { NULL, 0 };
    uint8_t digest[TPI_SHA256_BYTES];
    struct tpi_proof proof;
    if (tpi_fingerprint_read(a->q->fingerprint, digest) != 0) {
        return denied(a, "no fingerprint of SHA-256");
    }
    struct tpc_str name = { (const char *) digest, sizeof(digest) };
    if (tpi_login_proof(&a->r->logins, TPI_LOGIN_CERTIFICATE, a->tenant, name, none, &proof) != 0) {
        return digest_failed(a);
    }
    return by_proof(a, &proof, "unknown certificate", "unknown certificate");
}

/* The claims name a device of this tenant. */
static int answer_claims(struct asking *a, const struct tpi_claims *c)
{
    if (tpi_registry_tenant(a->r, c->tenant) != a->tenant) {
        return denied(a, "the token is of another tenant");
    }
    struct tpc_device *d = tpi_registry_find_in(a->r, a->tenant, c->device);
    if (d == NULL || !tpc_str_equal(tpi_device_product_key(d), c->product)) {
        return denied(a, "the token names no device");
    }
    int rc = answer_device(a, d, TPC_AUTH_JWT, NULL);
    if (rc == 0) {
        a->ret->until_unix_ms = c->until_unix_s * 1000;
    }
    return rc;
}

static int by_token(struct asking *a)
{
    struct tpc_arena *arena = NULL;
    struct tpi_claims claims;
    struct tpc_error why = { .size = sizeof(why) };
    int64_t now = tpi_unix_ms(a->r->env) / 1000;
    int rc = tpc_arena_create(a->r->env->alloc, 0, &arena);
    if (rc != 0) {
        return tpi_registry_no_memory(a->err);
    }
    rc = tpi_token_read(a->token_key, a->q->password, now, arena, &why, &claims);
    if (rc == 0) {
        rc = answer_claims(a, &claims);
    } else {
        rc = rc == TPC_ENOMEM ? tpi_registry_no_memory(a->err) : denied(a, why.text);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static bool ends_with(struct tpc_str text, struct tpc_str end)
{
    return text.len >= end.len && memcmp(text.ptr + text.len - end.len, end.ptr, end.len) == 0;
}

/* Under the read lock. The product that takes registrations, or why not. */
static int registering_product(struct tpi_registry *r, uint64_t tenant, struct tpc_str key,
                               const char **ret_why, struct tpi_product **ret)
{
    const struct tpi_product_slot *slot = tpi_registry_product_slot(r, tenant, key);
    struct tpi_product *p = slot != NULL ? slot->current : NULL;
    if (p == NULL || !p->auto_register || p->secret.len == 0) {
        *ret_why = p == NULL ? "unknown product" : "the product takes no registrations";
        return TPC_EDENIED;
    }
    *ret = p;
    return 0;
}

static bool signed_by(const struct tpi_product *p, struct tpc_str device, struct tpc_str sign)
{
    char expected[TPI_HMAC_HEX + 1];
    return sign.len == TPI_HMAC_HEX && tpi_alink_sign(p->key, device, p->secret, expected) == 0 &&
           tpi_equal_const(expected, sign.ptr, TPI_HMAC_HEX);
}

static int by_registration(struct asking *a)
{
    struct tpc_str device, product;
    struct tpi_product *p = NULL;
    const char *why = "";
    struct tpc_str sign = { (const char *) a->q->password.ptr, a->q->password.len };
    if (!tpi_alink_username(a->q->username, &device, &product)) {
        return denied(a, "the user name is not {device}&{product}");
    }
    if (registering_product(a->r, a->tenant, product, &why, &p) != 0) {
        return denied(a, why);
    }
    if (!signed_by(p, device, sign)) {
        return denied(a, "the sign is wrong");
    }
    if (tpi_registry_find_in(a->r, a->tenant, device) != NULL) {
        return denied(a, "the device is there already");
    }
    *a->ret = (struct tpc_identity){ .size = sizeof(*a->ret),
                                     .role = TPC_ROLE_REGISTER,
                                     .method = TPC_AUTH_REGISTER,
                                     .tenant = a->tenant };
    copy_key(a->ret->key, device);
    copy_key(a->ret->product, product);
    return 0;
}

/* A broker names only the user when it asks about topics: who proves himself by something else may not
 * come under the user name of somebody else. */
static int under_own_name(struct asking *a)
{
    static const struct tpc_bytes none = { NULL, 0 };
    struct tpi_proof proof;
    if (a->q->username.len == 0) {
        return 0;
    }
    if (tpi_login_proof(&a->r->logins, TPI_LOGIN_PAIR, a->tenant, a->q->username, none, &proof) !=
        0) {
        return digest_failed(a);
    }
    for (const struct tpi_login *l = tpi_map64_get(&a->r->logins.names, proof.name); l != NULL;
         l = l->next) {
        uint64_t id = !l->of->live            ? a->ret->id
                      : l->of->device != NULL ? l->of->device->id
                                              : l->of->user->id;
        if (id != a->ret->id) {
            return denied(a, "the user name is somebody else's");
        }
    }
    return 0;
}

static int decide(struct asking *a)
{
    const struct tpc_auth_request *q = a->q;
    if (ends_with(q->client_id, TPC_STR("|authType=register|"))) {
        return by_registration(a);
    }
    if (q->voucher.len > 0) {
        return by_voucher(a);
    }
    if (q->fingerprint.len > 0 && by_certificate(a) == 0) {
        return under_own_name(a);
    }
    if (a->token_key.len > 0 && tpi_token_like(q->password)) {
        int rc = by_token(a);
        return rc != 0 ? rc : under_own_name(a);
    }
    return q->fingerprint.len > 0 && q->username.len == 0 ? by_certificate(a)
                                                          : by_pair(a, q->username, q->password);
}

/* ---- the check ---- */

static bool fields_fit(const struct tpc_auth_request *q)
{
    return q->client_id.len <= TPC_AUTH_FIELD_BYTES && q->username.len <= TPC_AUTH_FIELD_BYTES &&
           q->password.len <= TPC_AUTH_FIELD_BYTES && q->voucher.len <= TPC_AUTH_FIELD_BYTES &&
           q->fingerprint.len <= TPC_AUTH_FIELD_BYTES;
}

/* What failures are counted by. */
static struct tpc_str limited_name(const struct tpc_auth_request *q)
{
    return q->voucher.len > 0 ? q->voucher : q->username.len > 0 ? q->username : q->fingerprint;
}

int tpi_auth_check(struct tpi_registry *r, struct tpc_bytes token_key,
                   const struct tpc_auth_request *request, struct tpc_error *err,
                   struct tpc_identity *ret)
{
    struct tpc_identity who;
    struct asking a = { .r = r, .q = request, .err = err, .token_key = token_key, .ret = &who };
    struct tpc_str name = limited_name(request);
    if (!fields_fit(request)) {
        TPI_METRIC_ADD(r->counters.auth_denied, 1);
        return denied(&a, "a field is over 4,096 bytes");
    }
    if (!tpi_limit_allows(&r->limit, r->env, name, request->peer)) {
        TPI_METRIC_ADD(r->counters.auth_limited, 1);
        (void) denied(&a, "too many failures: refused for up to a minute");
        if (err != NULL) {
            err->code = TPC_EAGAIN;
        }
        return TPC_EAGAIN;
    }
    tpi_registry_read_lock(r);
    a.tenant = tpi_registry_tenant(r, request->tenant);
    int rc =
        a.tenant != 0
            ? decide(&a)
            : tpi_error_set(err, TPC_EINVAL, tpi_registry_origin, "there is no tenant \"%.*s\"",
                            (int) (request->tenant.len > 64 ? 64 : request->tenant.len),
                            request->tenant.ptr);
    tpi_registry_read_unlock(r);
    if (rc == 0) {
        TPI_METRIC_ADD(r->counters.auth_allowed, 1);
        *ret = who;
    } else if (rc == TPC_EDENIED) {
        TPI_METRIC_ADD(r->counters.auth_denied, 1);
        TPI_METRIC_ADD(r->counters.auth_limit_evicted,
                       tpi_limit_failed(&r->limit, r->env, name, request->peer));
    }
    return rc;
}

/* The one login of a name, or of one owner. */
static const struct tpi_login *only_login(const struct tpi_registry *r, uint64_t name)
{
    const struct tpi_login *found = NULL;
    for (const struct tpi_login *l = tpi_map64_get(&r->logins.names, name); l != NULL;
         l = l->next) {
        if (l->of->live && found != NULL && found->of != l->of) {
            return NULL;
        }
        found = l->of->live ? l : found;
    }
    return found;
}

int tpi_auth_resolve(struct tpi_registry *r, struct tpc_str tenant, struct tpc_str username,
                     struct tpc_error *err, struct tpc_identity *ret)
{
    static const struct tpc_auth_request nothing = TPC_AUTH_REQUEST_INIT;
    static const struct tpc_bytes none = { NULL, 0 };
    struct tpc_identity who;
    struct asking a = { .r = r, .q = &nothing, .err = err, .ret = &who };
    struct tpi_proof proof;
    tpi_registry_read_lock(r);
    a.tenant = tpi_registry_tenant(r, tenant);
    int rc = a.tenant == 0 ? tpi_error_set(err, TPC_EINVAL, tpi_registry_origin, "no such tenant")
             : tpi_login_proof(&r->logins, TPI_LOGIN_PAIR, a.tenant, username, none, &proof) != 0
                 ? digest_failed(&a)
                 : 0;
    if (rc == 0) {
        const struct tpi_login *l = only_login(r, proof.name);
        rc = l == NULL               ? denied(&a, "the user name is nobody's, or of several")
             : l->of->device != NULL ? answer_device(&a, l->of->device, l->method, &l->proof)
                                     : answer_user(&a, l->of->user, l->method, &l->proof);
    }
    tpi_registry_read_unlock(r);
    if (rc == 0) {
        *ret = who;
    }
    return rc;
}

/* ---- afterwards ---- */

static const char *left(struct tpi_registry *r, const struct tpc_identity *who)
{
    struct tpi_proof proof;
    if (who->method == TPC_AUTH_JWT) {
        const struct tpc_device *d = tpi_registry_by_id(r, who->id);
        return d == NULL                                                  ? "the device is gone"
               : atomic_load_explicit(&d->disabled, memory_order_relaxed) ? "the device is disabled"
               : who->until_unix_ms <= tpi_unix_ms(r->env)                ? "the token is over"
                                                                          : NULL;
    }
    memcpy(&proof.name, who->proof, sizeof(proof.name));
    memcpy(proof.mac, &who->proof[1], sizeof(proof.mac));
    const struct tpi_login *l = tpi_login_find(&r->logins, &proof, NULL);
    if (l == NULL) {
        return "what it logged in with is not valid any more";
    }
    if (l->of->device != NULL) {
        return l->of->device->id != who->id ? "the device is another one"
               : atomic_load_explicit(&l->of->device->disabled, memory_order_relaxed)
                   ? "the device is disabled"
                   : NULL;
    }
    return l->of->user->id != who->id ? "the user is another one"
           : !l->of->user->enabled    ? "the service user is disabled"
                                      : NULL;
}

int tpi_auth_recheck(struct tpi_registry *r, const struct tpc_identity *who, struct tpc_error *err)
{
    if (who->role == TPC_ROLE_REGISTER) {
        return 0;
    }
    tpi_registry_read_lock(r);
    const char *why = left(r, who);
    tpi_registry_read_unlock(r);
    return why == NULL ? 0 : tpi_error_set(err, TPC_EDENIED, tpi_registry_origin, "%s", why);
}

struct tpc_device *tpi_auth_named(struct tpi_registry *r, struct tpc_str tenant,
                                  struct tpc_str username)
{
    static const struct tpc_bytes none = { NULL, 0 };
    struct tpi_proof proof;
    if (username.len == 0 || username.len > TPC_AUTH_FIELD_BYTES ||
        tpi_login_proof(&r->logins, TPI_LOGIN_PAIR, tpi_registry_tenant(r, tenant), username, none,
                        &proof) != 0) {
        return NULL;
    }
    const struct tpi_login *l = tpi_map64_get(&r->logins.names, proof.name);
    while (l != NULL && (!l->of->live || l->of->device == NULL)) {
        l = l->next;
    }
    return l != NULL ? l->of->device : NULL;
}

/* ---- registration ---- */

/* The product of a tenant that has this secret (ThingsPanel: template_secret). */
struct wanted {
    uint64_t tenant;
    struct tpc_str secret;
    struct tpi_product *found;
};

static int has_secret(void *user, struct tpi_product *p)
{
    struct wanted *w = user;
    if (p->tenant_id == w->tenant && p->secret.len == w->secret.len && p->secret.len > 0 &&
        tpi_equal_const(p->secret.ptr, w->secret.ptr, p->secret.len)) {
        w->found = p;
    }
    return 0;
}

static int find_registering(struct tpi_registry *r, const struct tpc_register_request *q,
                            struct tpi_product **ret, const char **ret_why)
{
    uint64_t tenant = tpi_registry_tenant(r, q->tenant);
    if (q->secret.len == 0) {
        int rc = registering_product(r, tenant, q->product, ret_why, ret);
        if (rc == 0 && !signed_by(*ret, q->device, q->sign)) {
            *ret_why = "the sign is wrong";
            rc = TPC_EDENIED;
        }
        return rc;
    }
    struct wanted w = { .tenant = tenant, .secret = q->secret };
    (void) tpi_registry_each_product(r, has_secret, &w);
    if (w.found == NULL || !w.found->auto_register ||
        (q->product.len > 0 && !tpc_str_equal(q->product, w.found->key))) {
        *ret_why = w.found == NULL ? "no product has this secret"
                                   : "the product takes no registrations, or is another one";
        return TPC_EDENIED;
    }
    *ret = w.found;
    return 0;
}

int tpi_auth_registration(struct tpi_registry *r, const struct tpc_register_request *q,
                          struct tpc_error *err, struct tpi_product **ret)
{
    struct tpi_product *p = NULL;
    const char *why = "";
    /* Without an address a device that fails again and again holds up itself, not its product. */
    struct tpc_str name = q->peer.len > 0 || q->secret.len > 0 ? q->product : q->device;
    if (!tpi_limit_allows(&r->limit, r->env, name, q->peer)) {
        TPI_METRIC_ADD(r->counters.auth_limited, 1);
        return tpi_error_set(err, TPC_EAGAIN, tpi_registry_origin,
                             "too many failures: refused for up to a minute");
    }
    tpi_registry_read_lock(r);
    int rc = find_registering(r, q, &p, &why);
    if (rc == 0 && p->behind_gateway) {
        rc = TPC_EINVAL;
        why = "devices of the product are registered through their gateway";
    }
    if (rc == 0 && tpi_registry_find_in(r, p->tenant_id, q->device) != NULL) {
        rc = TPC_EEXIST;
        why = "the device is there already";
    }
    *ret = rc == 0 ? tpi_product_ref(p) : NULL;
    tpi_registry_read_unlock(r);
    if (rc == 0) {
        TPI_METRIC_ADD(r->counters.registrations, 1);
        return 0;
    }
    if (rc == TPC_EDENIED) {
        TPI_METRIC_ADD(r->counters.auth_denied, 1);
        TPI_METRIC_ADD(r->counters.auth_limit_evicted,
                       tpi_limit_failed(&r->limit, r->env, name, q->peer));
    }
    return tpi_error_set(err, rc, tpi_registry_origin, "%s", why);
}
