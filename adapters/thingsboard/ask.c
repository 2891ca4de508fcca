/* Attributes that the server is asked for. */
#include "inside.h"

#include "../text/say.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "data/member.h"

enum { CLIENT = 0, SHARED = 1, KEYS_MAX = 256 };

static void free_ask(struct tb *s, struct tb_ask *a)
{
    tpc_arena_destroy(a->arena);
    s->host->allocator->resize(s->host->allocator->user, a, sizeof(*a), 0);
}

/* ---- requests ---- */

static uint32_t count_keys(struct tpc_str keys)
{
    uint32_t n = keys.len > 0;
    for (size_t i = 0; i < keys.len; i++) {
        n += keys.ptr[i] == ',';
    }
    return n;
}

/* "k1","k2" */
static int say_keys(struct tpi_buf *b, struct tpc_str keys)
{
    int rc = 0;
    size_t from = 0;
    for (size_t i = 0; i <= keys.len && rc == 0; i++) {
        if (i == keys.len || keys.ptr[i] == ',') {
            rc = from > 0 ? tpi_buf_put(b, ",", 1) : 0;
            rc = rc != 0 ? rc : say_quoted(b, (struct tpc_str){ keys.ptr + from, i - from });
            from = i + 1;
        }
    }
    return rc;
}

/* One scope of a device behind the gateway. */
static int ask_gateway(struct tb *s, struct tpc_str name, int64_t id, int scope,
                       struct tpc_str keys)
{
    struct tpi_buf b;
    bool one = count_keys(keys) == 1;
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = tpi_buf_printf(&b, "{\"id\":%lld,\"device\":", (long long) id);
    rc = rc != 0 ? rc : say_quoted(&b, name);
    rc = rc != 0 ? rc
                 : tpi_buf_printf(&b, ",\"client\":%s,%s", scope == CLIENT ? "true" : "false",
                                  one ? "\"key\":" : "\"keys\":[");
    rc = rc != 0 ? rc : say_keys(&b, keys);
    rc = rc != 0 ? rc : tpi_buf_printf(&b, one ? "}" : "]}");
    rc = rc != 0 ? rc : tb_publish(s, TB_GATEWAY "attributes/request", &b);
    tpi_buf_fini(&b);
    return rc;
}

static int ask_device(struct tb *s, int64_t id, const struct tpc_str keys[2])
{
    char topic[80];
    struct tpi_buf b;
    struct tpi_buf t;
    tpi_buf_init(&b, s->host->allocator, 0);
    tpi_buf_init(&t, s->host->allocator, sizeof(topic) - 1);
    int rc = tpi_buf_printf(&t, TB_DEVICE "attributes/request/%lld", (long long) id);
    if (rc == 0) {
        memcpy(topic, t.ptr, t.len);
        topic[t.len] = '\0';
        rc = tpi_buf_put(&b, "{", 1);
    }
    for (int i = 0; i < 2; i++) {
        if (keys[i].len > 0 && rc == 0) {
            rc = tpi_buf_printf(&b, "%s\"%s\":", b.len > 1 ? "," : "",
                                i == CLIENT ? "clientKeys" : "sharedKeys");
            rc = rc != 0 ? rc : say_quoted(&b, keys[i]);
        }
    }
    rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
    rc = rc != 0 ? rc : tb_publish(s, topic, &b);
    tpi_buf_fini(&t);
    tpi_buf_fini(&b);
    return rc;
}

/* Takes the request out of the list, if it is still in it. Under the lock. */
static bool unlink_ask(struct tb *s, const struct tb_ask *a)
{
    struct tb_ask **at = &s->asks;
    while (*at != NULL && *at != a) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        return false;
    }
    *at = a->next;
    s->ask_count--;
    return true;
}

static int keep_keys(struct tb_ask *a, const struct tpc_str keys[2])
{
    for (int i = 0; i < 2; i++) {
        if (count_keys(keys[i]) == 1) {
            char *copy = tpc_arena_take(a->arena, keys[i].len);
            if (copy == NULL) {
                return TPC_ENOMEM;
            }
            memcpy(copy, keys[i].ptr, keys[i].len);
            a->one[i] = (struct tpc_str){ copy, keys[i].len };
        }
        a->got[i] = (struct tpc_value){ .type = TPC_MAP };
    }
    return 0;
}

static int make_ask(struct tb *s, bool own, const struct tpc_str keys[2], tb_attributes_fn *fn,
                    void *user, struct tb_ask **ret)
{
    const struct tpc_allocator *alloc = s->host->allocator;
    struct tb_ask *a = alloc->resize(alloc->user, NULL, 0, sizeof(*a));
    if (a == NULL) {
        return TPC_ENOMEM;
    }
    memset(a, 0, sizeof(*a));
    a->own = own;
    a->fn = fn;
    a->user = user;
    a->due_ms = tb_mono_ms() + s->config.ask_timeout_ms;
    int rc = tpc_arena_create(alloc, 0, &a->arena);
    rc = rc != 0 ? rc : keep_keys(a, keys);
    pthread_mutex_lock(&s->lock);
    rc = rc != 0                             ? rc
         : s->ask_count >= TB_ASKS_MAX       ? TPC_EAGAIN
         : s->stopping || s->state == TB_OFF ? TPC_EOFFLINE
                                             : 0;
    if (rc == 0) {
        s->next_id = s->next_id < 2 || s->next_id > INT32_MAX - 4 ? 2 : s->next_id; /* 1 is taken */
        a->id[CLIENT] = keys[CLIENT].len > 0 || own ? s->next_id++ : 0;
        a->id[SHARED] = own ? a->id[CLIENT] : keys[SHARED].len > 0 ? s->next_id++ : 0;
        a->next = s->asks;
        s->asks = a;
        s->ask_count++;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (rc != 0) {
        free_ask(s, a);
        return rc;
    }
    *ret = a;
    return 0;
}

static int ask_as(struct tb *s, bool own, struct tpc_str name, const struct tpc_str keys[2],
                  tb_attributes_fn *fn, void *user)
{
    struct tb_ask *a = NULL;
    int rc = make_ask(s, own, keys, fn, user, &a);
    if (rc != 0) {
        return rc;
    }
    int64_t id[2] = { a->id[0], a->id[1] }; /* it may be answered, and gone, at any time */
    if (own) {
        rc = ask_device(s, id[0], keys);
    }
    for (int i = 0; !own && i < 2 && rc == 0; i++) {
        rc = id[i] != 0 ? ask_gateway(s, name, id[i], i, keys[i]) : 0;
    }
    if (rc != 0) {
        pthread_mutex_lock(&s->lock);
        bool ours = unlink_ask(s, a);
        pthread_mutex_unlock(&s->lock);
        if (ours) {
            free_ask(s, a);
            return rc;
        }
    }
    return 0;
}

static int ask(void *self, struct tpc_str device, struct tpc_str client_keys,
               struct tpc_str shared_keys, tb_attributes_fn *fn, void *user)
{
    struct tb *s = self;
    const struct tpc_str keys[2] = { client_keys, shared_keys };
    if (client_keys.len + shared_keys.len == 0 || device.len == 0) {
        return TPC_EINVAL;
    }
    if (count_keys(client_keys) > KEYS_MAX || count_keys(shared_keys) > KEYS_MAX) {
        return TPC_ETOOBIG;
    }
    bool own = s->config.device_mode ||
               (s->config.own.len > 0 && tpc_str_equal(s->config.own, device) != 0);
    pthread_mutex_lock(&s->lock);
    const struct tb_device *d = tb_devices_get(&s->devices, device);
    struct tpc_str name = d != NULL ? d->name : device; /* stays where it is */
    pthread_mutex_unlock(&s->lock);
    return ask_as(s, own, name, keys, fn, user);
}

const struct tb_attributes_ops tb_attributes_ops = {
    .iface = TPC_IFACE(struct tb_attributes_ops, 1),
    .ask = ask,
};

/* ---- answers ---- */

/* A copy that outlives the message: written and read again. */
static int keep_values(struct tb *s, struct tb_ask *a, int scope, const struct tpc_value *values)
{
    struct tpi_buf b;
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = say_value(&b, values);
    rc = rc != 0 ? rc
                 : tpc_json_parse(a->arena, (struct tpc_str){ (const char *) b.ptr, b.len },
                                  TPC_JSON_COPY | TPC_JSON_ALLOW_DUPLICATES, NULL, &a->got[scope]);
    tpi_buf_fini(&b);
    return rc;
}

static int take_answer(struct tb *s, struct tb_ask *a, int scope, const struct tb_down *d)
{
    if (d->has_value && a->one[scope].len > 0) {
        const struct tpc_member m = { a->one[scope], d->value };
        const struct tpc_value map = { .type = TPC_MAP, .len = 1, .as.members = &m };
        return keep_values(s, a, scope, &map);
    }
    return d->values.type == TPC_MAP ? keep_values(s, a, scope, &d->values) : 0;
}

static int take_own(struct tb *s, struct tb_ask *a, const struct tb_down *d)
{
    int rc = d->client.type == TPC_MAP ? keep_values(s, a, CLIENT, &d->client) : 0;
    return rc == 0 && d->shared.type == TPC_MAP ? keep_values(s, a, SHARED, &d->shared) : rc;
}

void tb_ask_answer(struct tb *s, const struct tb_down *d)
{
    bool own = d->kind == TB_DOWN_OWN_RESPONSE;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    struct tb_ask *a = s->asks;
    while (a != NULL &&
           (a->own != own || d->id == 0 || (a->id[CLIENT] != d->id && a->id[SHARED] != d->id))) {
        a = a->next;
    }
    if (a != NULL && own) {
        rc = take_own(s, a, d);
        a->id[CLIENT] = a->id[SHARED] = 0;
    } else if (a != NULL) {
        int scope = a->id[CLIENT] == d->id ? CLIENT : SHARED;
        rc = take_answer(s, a, scope, d);
        a->id[scope] = 0;
    }
    bool whole = a != NULL && (rc != 0 || (a->id[CLIENT] == 0 && a->id[SHARED] == 0));
    if (whole) {
        unlink_ask(s, a);
    }
    pthread_mutex_unlock(&s->lock);
    if (a == NULL) {
        s->host->count(s->ctx, "answers_late", 1);
    }
    if (whole) {
        struct tpc_error err = { .size = sizeof(err) };
        if (rc != 0) {
            tpi_error_set(&err, rc, "thingsboard", "the answer cannot be kept");
        }
        a->fn(a->user, rc != 0 ? &err : NULL, &a->got[CLIENT], &a->got[SHARED]);
        free_ask(s, a);
    }
}

void tb_ask_expire(struct tb *s, uint64_t now_ms, bool all)
{
    for (;;) {
        struct tb_ask *a = s->asks;
        while (a != NULL && !all && s->state != TB_OFF && now_ms < a->due_ms) {
            a = a->next;
        }
        if (a == NULL) {
            return;
        }
        int code = all ? TPC_ECANCELED : s->state == TB_OFF ? TPC_EOFFLINE : TPC_ETIMEOUT;
        unlink_ask(s, a);
        pthread_mutex_unlock(&s->lock);
        struct tpc_error err = { .size = sizeof(err) };
        tpi_error_set(&err, code, "thingsboard", "no answer from the server");
        s->host->count(s->ctx, "answers_missing", 1);
        a->fn(a->user, &err, &a->got[CLIENT], &a->got[SHARED]);
        free_ask(s, a);
        pthread_mutex_lock(&s->lock);
    }
}

/* ---- for the session itself ---- */

struct sync {
    struct tb *s;
    struct tb_device *device;
};

static void on_synced(void *user, const struct tpc_error *err, const struct tpc_value *client,
                      const struct tpc_value *shared)
{
    struct sync *y = user;
    (void) client;
    if (err == NULL && shared->len > 0) {
        tb_set(y->s, y->device->key, shared);
    }
    y->s->host->allocator->resize(y->s->host->allocator->user, y, sizeof(*y), 0);
}

void tb_ask_sync(struct tb *s, struct tb_device *device)
{
    const struct tpc_allocator *alloc = s->host->allocator;
    struct tpi_buf keys;
    struct sync *y = alloc->resize(alloc->user, NULL, 0, sizeof(*y));
    tpi_buf_init(&keys, alloc, 0);
    int rc = y != NULL ? 0 : TPC_ENOMEM;
    for (size_t i = 0; i < s->config.sync->len && rc == 0; i++) {
        rc = i > 0 ? tpi_buf_put(&keys, ",", 1) : 0;
        rc = rc != 0 ? rc : tpi_buf_text(&keys, tpc_value_text(&s->config.sync->as.items[i]));
    }
    if (rc == 0) {
        *y = (struct sync){ s, device };
        const struct tpc_str both[2] = { { NULL, 0 }, { (const char *) keys.ptr, keys.len } };
        rc = ask_as(s, false, device->name, both, on_synced, y);
    }
    if (rc != 0) {
        s->host->count(s->ctx, "answers_missing", 1);
        if (y != NULL) {
            alloc->resize(alloc->user, y, sizeof(*y), 0);
        }
    }
    tpi_buf_fini(&keys);
}

static void on_own(void *user, const struct tpc_error *err, const struct tpc_value *client,
                   const struct tpc_value *shared)
{
    (void) client;
    if (err == NULL && shared->len > 0) {
        tb_own_attributes(user, shared);
    }
}

void tb_ask_own(struct tb *s)
{
    const struct tpc_str keys[2] = { { NULL, 0 },
                                     TPC_STR_INIT("fw_title,fw_version,fw_tag,fw_size,fw_checksum,"
                                                  "fw_checksum_algorithm,fw_url") };
    (void) ask_as(s, true, (struct tpc_str){ NULL, 0 }, keys, on_own, s);
}
