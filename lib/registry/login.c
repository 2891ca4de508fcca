#include "registry/login.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "data/member.h"
#include "registry/inside.h"

int tpi_login_table_init(struct tpi_login_table *t, const struct tpi_env *env,
                         struct tpc_bytes given)
{
    static const struct tpc_bytes purpose = { (const uint8_t *) "tpcore logins", 13 };
    uint8_t key[TPI_SHA256_BYTES], seed[TPI_SHA256_BYTES];
    tpi_map64_init(&t->names, env->alloc);
    int rc = given.len > 0 ? tpi_hmac_sha256(given.ptr, given.len, purpose.ptr, purpose.len, key)
                           : tpi_random(env, key, sizeof(key));
    rc = rc != 0 ? rc : tpi_mac_key_init(&t->key, key, sizeof(key));
    rc = rc != 0 ? rc : tpi_mac(&t->key, &purpose, 1, seed);
    if (rc == 0) {
        memcpy(&t->seed, seed, sizeof(t->seed));
    }
    tpi_wipe(key, sizeof(key));
    return rc;
}

void tpi_login_table_fini(struct tpi_login_table *t)
{
    tpi_map64_fini(&t->names);
    tpi_wipe(&t->key, sizeof(t->key));
}

int tpi_login_proof(const struct tpi_login_table *t, enum tpi_login_class cls, uint64_t tenant,
                    struct tpc_str name, struct tpc_bytes password, struct tpi_proof *ret)
{
    uint8_t mac[TPI_SHA256_BYTES];
    struct {
        uint64_t tenant;
        uint64_t name_len;
        uint64_t cls;
    } head = { tenant, name.len, (uint64_t) cls };
    const struct tpc_bytes parts[3] = { { (const uint8_t *) &head, sizeof(head) },
                                        { (const uint8_t *) name.ptr, name.len },
                                        password };
    int rc = tpi_mac(&t->key, parts, 3, mac);
    if (rc != 0) {
        return rc;
    }
    memcpy(ret->mac, mac, sizeof(ret->mac));
    ret->name = tpi_hash(name.ptr, name.len, t->seed ^ tpi_hash64(tenant * 4 + cls));
    return 0;
}

static bool same(const struct tpi_proof *a, const struct tpi_proof *b)
{
    return a->name == b->name && tpi_equal_const(a->mac, b->mac, sizeof(a->mac));
}

const struct tpi_login *tpi_login_find(const struct tpi_login_table *t,
                                       const struct tpi_proof *proof, bool *ret_named)
{
    const struct tpi_login *found = NULL;
    bool named = false;
    for (const struct tpi_login *l = tpi_map64_get(&t->names, proof->name); l != NULL;
         l = l->next) {
        named |= l->of->live;
        found = l->of->live && same(&l->proof, proof) ? l : found;
    }
    if (ret_named != NULL) {
        *ret_named = named;
    }
    return found;
}

/* ---- entries ---- */

static int list_login(struct tpi_login_table *t, struct tpi_login *l)
{
    void *old = tpi_map64_get(&t->names, l->proof.name);
    int rc = tpi_map64_put(&t->names, l->proof.name, l, NULL);
    if (rc == 0) {
        l->next = old;
        l->listed = true;
    }
    return rc;
}

static void unlist_login(struct tpi_login_table *t, struct tpi_login *l)
{
    struct tpi_login *first = tpi_map64_get(&t->names, l->proof.name);
    if (!l->listed) {
        return;
    }
    if (first == l && l->next == NULL) {
        (void) tpi_map64_remove(&t->names, l->proof.name);
    } else if (first == l) {
        (void) tpi_map64_put(&t->names, l->proof.name, l->next, NULL);
    } else {
        while (first->next != l) {
            first = first->next;
        }
        first->next = l->next;
    }
    l->listed = false;
}

static size_t logins_bytes(uint32_t cap)
{
    return sizeof(struct tpi_logins) + cap * sizeof(struct tpi_login);
}

void tpi_logins_free(struct tpi_registry *r, struct tpi_logins *logins)
{
    if (logins == NULL) {
        return;
    }
    for (uint32_t i = 0; i < logins->count; i++) {
        unlist_login(&r->logins, &logins->list[i]);
    }
    tpi_free(r->env->alloc, logins, logins_bytes(logins->cap));
}

void tpi_logins_swap(struct tpi_registry *r, struct tpi_logins *old, struct tpi_logins *fresh)
{
    if (fresh != NULL) {
        fresh->live = true;
    }
    tpi_logins_free(r, old);
}

/* ---- from a document ---- */

/* One credential of a document, before it is an entry. */
struct given {
    struct tpi_proof proof;
    uint32_t method;
    const char *member; /* for errors */
};

struct reading {
    struct tpi_registry *r;
    const struct tpi_change *change;
    struct tpc_str product;
    struct tpc_error *err;
    struct given list[TPI_LOGIN_MAX];
    uint32_t count;
};

static int add(struct reading *in, enum tpi_login_class cls, uint32_t method, struct tpc_str name,
               struct tpc_str password, const char *member)
{
    struct tpc_bytes bytes = { (const uint8_t *) password.ptr, password.len };
    struct given *g = &in->list[in->count];
    int rc = tpi_login_proof(&in->r->logins, cls, in->change->tenant, name, bytes, &g->proof);
    if (rc != 0) {
        return tpi_error_set(in->err, rc, tpi_registry_origin, "a credential cannot be digested");
    }
    for (uint32_t i = 0; i < in->count; i++) {
        if (same(&in->list[i].proof, &g->proof)) {
            return 0; /* the next password is the present one */
        }
    }
    g->method = method;
    g->member = member;
    in->count++;
    return 0;
}

/* An error at a member; those of a device but its secret stand in "credentials". */
static int fault(struct reading *in, int code, const char *member, const char *text)
{
    tpi_error_set(in->err, code, tpi_registry_origin, "%s", text);
    tpi_error_at(in->err, member);
    if (in->product.len > 0 && strncmp(member, "secret", 6) != 0) {
        tpi_error_at(in->err, "credentials");
    }
    return code;
}

static int read_secret(struct reading *in, const char *member)
{
    char username[2 * TPC_AUTH_KEY_BYTES], password[TPI_HMAC_HEX + 1];
    struct tpc_str secret = tpi_member_text(in->change->doc, member);
    struct tpc_str device = in->change->key;
    if (secret.len == 0 || in->product.len == 0) {
        return 0;
    }
    if (tpi_alink_password(in->product, device, secret, password) != 0) {
        return tpi_error_set(in->err, TPC_EIO, tpi_registry_origin, "no HMAC can be made");
    }
    memcpy(username, device.ptr, device.len);
    username[device.len] = '&';
    memcpy(username + device.len + 1, in->product.ptr, in->product.len);
    struct tpc_str name = { username, device.len + 1 + in->product.len };
    return add(in, TPI_LOGIN_PAIR, TPC_AUTH_HMAC, name, tpc_str_from(password), member);
}

static int read_password(struct reading *in, const struct tpc_value *doc, struct tpc_str username,
                         const char *member)
{
    struct tpc_str password = tpi_member_text(doc, member);
    if (password.len == 0) {
        return 0;
    }
    if (username.len == 0) {
        return fault(in, TPC_EINVAL, member, "a password needs a username");
    }
    return add(in, TPI_LOGIN_PAIR, TPC_AUTH_BASIC, username, password, member);
}

static int read_voucher(struct reading *in, const struct tpc_value *doc, const char *member)
{
    static const struct tpc_str none = { "", 0 };
    struct tpc_str voucher = tpi_member_text(doc, member);
    struct tpc_str username, password;
    if (voucher.len == 0) {
        return 0;
    }
    int rc = tpi_voucher_pair(voucher, in->change->arena, &username, &password);
    if (rc == TPC_EINVAL) {
        return fault(in, TPC_EINVAL, member, "is not the text of a JSON object");
    }
    if (rc == TPC_ENOENT) {
        return add(in, TPI_LOGIN_VOUCHER, TPC_AUTH_VOUCHER, voucher, none, member);
    }
    return rc != 0 ? tpi_registry_no_memory(in->err)
                   : add(in, TPI_LOGIN_PAIR, password.len > 0 ? TPC_AUTH_BASIC : TPC_AUTH_TOKEN,
                         username, password, member);
}

static int read_fingerprint(struct reading *in, const struct tpc_value *doc, const char *member)
{
    static const struct tpc_str none = { "", 0 };
    struct tpc_str text = tpi_member_text(doc, member);
    uint8_t digest[TPI_SHA256_BYTES];
    if (text.len == 0) {
        return 0;
    }
    if (tpi_fingerprint_read(text, digest) != 0) {
        return fault(in, TPC_EINVAL, member, "is not a SHA-256 fingerprint in hexadecimal digits");
    }
    struct tpc_str name = { (const char *) digest, sizeof(digest) };
    return add(in, TPI_LOGIN_CERTIFICATE, TPC_AUTH_CERTIFICATE, name, none, member);
}

/* What only devices have. */
static int read_vouchers(struct reading *in, const struct tpc_value *c)
{
    static const struct tpc_str none = { "", 0 };
    static const char *const tokens[] = { "token", "token_next" };
    int rc = read_voucher(in, c, "voucher");
    rc = rc != 0 ? rc : read_voucher(in, c, "voucher_next");
    for (int i = 0; rc == 0 && i < 2; i++) {
        struct tpc_str token = tpi_member_text(c, tokens[i]);
        rc = token.len == 0 ? 0 : add(in, TPI_LOGIN_PAIR, TPC_AUTH_TOKEN, token, none, tokens[i]);
    }
    return rc;
}

static int read_all(struct reading *in)
{
    bool device = in->product.len > 0;
    const struct tpc_value *c =
        device ? tpc_value_get(in->change->doc, TPC_STR("credentials")) : in->change->doc;
    struct tpc_str username = device ? tpi_member_text(c, "username") : in->change->key;
    int rc = device ? read_secret(in, "secret") : 0;
    rc = rc != 0 || !device ? rc : read_secret(in, "secret_next");
    if (c == NULL) {
        return rc;
    }
    rc = rc != 0 ? rc : read_password(in, c, username, "password");
    rc = rc != 0 ? rc : read_password(in, c, username, "password_next");
    rc = rc != 0 ? rc : read_fingerprint(in, c, "fingerprint");
    rc = rc != 0 ? rc : read_fingerprint(in, c, "fingerprint_next");
    return rc != 0 || !device ? rc : read_vouchers(in, c);
}

/* Another one's, live or about to be. */
static bool taken(struct tpi_registry *r, const struct tpi_proof *proof,
                  const struct tpi_logins *old)
{
    for (const struct tpi_login *l = tpi_map64_get(&r->logins.names, proof->name); l != NULL;
         l = l->next) {
        if (l->of != old && same(&l->proof, proof)) {
            return true;
        }
    }
    return false;
}

static int list_all(struct reading *in, const struct tpi_logins *old, struct tpi_logins *logins)
{
    for (uint32_t i = 0; i < in->count; i++) {
        struct tpi_login *l = &logins->list[i];
        /* What is stored was checked; while it is taken over, two may have the same for a moment. */
        if (!in->change->loading && taken(in->r, &in->list[i].proof, old)) {
            return fault(in, TPC_EEXIST, in->list[i].member,
                         "another device or user logs in with the same");
        }
        *l = (struct tpi_login){ .of = logins,
                                 .proof = in->list[i].proof,
                                 .method = in->list[i].method };
        logins->count = i + 1;
        if (list_login(&in->r->logins, l) != 0) {
            return tpi_registry_no_memory(in->err);
        }
    }
    return 0;
}

int tpi_logins_make(struct tpi_registry *r, const struct tpi_change *change, struct tpc_str product,
                    const struct tpi_logins *old, struct tpc_error *err, struct tpi_logins **ret)
{
    struct reading in = { .r = r, .change = change, .product = product, .err = err };
    *ret = NULL;
    int rc = read_all(&in);
    if (rc != 0 || in.count == 0) {
        return rc;
    }
    struct tpi_logins *logins = tpi_alloc_zero(r->env->alloc, logins_bytes(in.count));
    if (logins == NULL) {
        return tpi_registry_no_memory(err);
    }
    logins->cap = in.count;
    pthread_rwlock_wrlock(&r->lock);
    rc = list_all(&in, old, logins);
    if (rc != 0) {
        tpi_logins_free(r, logins);
    }
    pthread_rwlock_unlock(&r->lock);
    tpi_wipe(&in.list, sizeof(in.list));
    if (rc == 0) {
        *ret = logins;
    }
    return rc;
}
