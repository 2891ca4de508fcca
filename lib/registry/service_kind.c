/* Kind "service_user": programs that use a broker and are no devices: the platform itself, a
 * connectivity service (ThingsPanel's users root and plugin). The key is the user name. */
#include <string.h>

#include "base/alloc.h"
#include "data/member.h"
#include "registry/inside.h"

static const struct tpc_option service_schema[] = {
    { .name = "description",
      .type = TPC_OPT_TEXT,
      .max = 4096,
      .since = "0.1",
      .help = "Text for people." },
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false: it is refused." },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "Its password." },
    { .name = "password_next",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "Valid beside it, while the password is being changed." },
    { .name = "fingerprint",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "SHA-256 of its certificate, in hexadecimal digits." },
    { .name = "fingerprint_next",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "Valid beside it." },
};

enum { USER_KEY_BYTES = 8 + 128 };

struct service_change {
    struct tpi_service_user *old;
    struct tpi_service_user *fresh;
};

static size_t table_key(const struct tpi_change *change, char out[USER_KEY_BYTES])
{
    size_t n = change->key.len < USER_KEY_BYTES - 8 ? change->key.len : USER_KEY_BYTES - 8;
    memcpy(out, &change->tenant, 8);
    memcpy(out + 8, change->key.ptr, n);
    return 8 + n;
}

static void free_user(struct tpi_registry *r, struct tpi_service_user *u)
{
    if (u != NULL) {
        tpi_logins_free(r, u->logins);
        tpi_free(r->env->alloc, u, sizeof(*u) + u->key.len + 1);
    }
}

static struct tpi_service_user *make_user(struct tpi_registry *r, const struct tpi_change *change)
{
    struct tpi_service_user *u = tpi_alloc_zero(r->env->alloc, sizeof(*u) + change->key.len + 1);
    if (u != NULL) {
        char *key = (char *) (u + 1);
        memcpy(key, change->key.ptr, change->key.len);
        u->key = (struct tpc_str){ key, change->key.len };
        u->id = change->id;
        u->tenant = change->tenant;
        u->enabled = tpi_member_bool(change->doc, "enabled", true);
    }
    return u;
}

static int service_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    static const struct tpc_str none = { "", 0 };
    struct tpi_registry *r = user;
    char key[USER_KEY_BYTES];
    struct service_change *c = tpc_arena_take(change->arena, sizeof(*c));
    if (c == NULL) {
        return tpi_registry_no_memory(err);
    }
    size_t n = table_key(change, key);
    *c = (struct service_change){ .old = tpi_map_get(&r->users, key, n) };
    change->prepared = c;
    if (change->deleted) {
        return 0;
    }
    c->fresh = make_user(r, change);
    if (c->fresh == NULL) {
        return tpi_registry_no_memory(err);
    }
    const struct tpi_logins *old = c->old != NULL ? c->old->logins : NULL;
    int rc = tpi_logins_make(r, change, none, old, err, &c->fresh->logins);
    if (rc == 0 && c->old == NULL && tpi_map_put(&r->users, key, n, c->fresh, NULL) != 0) {
        pthread_rwlock_wrlock(&r->lock);
        tpi_logins_free(r, c->fresh->logins);
        pthread_rwlock_unlock(&r->lock);
        c->fresh->logins = NULL;
        rc = tpi_registry_no_memory(err);
    }
    if (rc != 0) {
        free_user(r, c->fresh);
        return rc;
    }
    if (c->fresh->logins != NULL) {
        c->fresh->logins->user = c->fresh;
    }
    return 0;
}

static void service_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    struct service_change *c = change->prepared;
    char key[USER_KEY_BYTES];
    size_t n = table_key(change, key);
    TPI_METRIC_ADD(r->counters.changes, 1);
    pthread_rwlock_wrlock(&r->lock);
    if (change->deleted) {
        (void) tpi_map_remove(&r->users, key, n);
    } else {
        (void) tpi_map_put(&r->users, key, n, c->fresh, NULL); /* replaces: no memory */
        tpi_logins_swap(r, NULL, c->fresh->logins);
    }
    free_user(r, c->old);
    pthread_rwlock_unlock(&r->lock);
}

static void service_discard(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    struct service_change *c = change->prepared;
    char key[USER_KEY_BYTES];
    size_t n = table_key(change, key);
    pthread_rwlock_wrlock(&r->lock);
    if (c->fresh != NULL && c->old == NULL) {
        (void) tpi_map_remove(&r->users, key, n);
    }
    free_user(r, c->fresh);
    pthread_rwlock_unlock(&r->lock);
}

void tpi_registry_free_users(struct tpi_registry *r)
{
    size_t iter = 0;
    void *u;
    while (tpi_map_next(&r->users, &iter, NULL, &u)) {
        free_user(r, u);
    }
    tpi_map_fini(&r->users);
}

void tpi_registry_service_kind(struct tpi_registry *r, struct tpi_kind *kind)
{
    *kind = (struct tpi_kind){ .name = "service_user",
                               .version = 1,
                               .schema = TPC_OPTIONS(service_schema),
                               .prepare = service_prepare,
                               .apply = service_apply,
                               .discard = service_discard,
                               .user = r };
}
