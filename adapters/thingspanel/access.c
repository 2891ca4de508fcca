/* Service "device.access": the program says what a first frame means, the directory or the platform whose
 * it is. */
#include "platform.h"

#include "base/alloc.h"
#include "base/error.h"

#include <string.h>

enum { ARENA_BYTES = 1 << 20 };

static void count_end(struct tp_http *h, enum tp_login_end how)
{
    static const char *const names[] = { [TP_LOGIN_IN] = "logins",
                                         [TP_LOGIN_REFUSED] = "logins_refused",
                                         [TP_LOGIN_LATER] = "logins_later" };
    h->host->count(h->ctx, names[how], 1);
}

/* Tells the adapter. bytes: what is written, of a login that is let in or refused. */
static void say(struct tp_http *h, tpc_access_done_fn *done, void *user, enum tp_login_end how,
                uint32_t flags, struct tpc_str id, struct tpc_bytes bytes)
{
    struct tpc_access_grant grant = { .size = sizeof(grant), .answer = bytes };
    struct tpc_error err = { .size = sizeof(err) };
    count_end(h, how);
    if (how == TP_LOGIN_IN) {
        grant.flags = flags;
        grant.verdict = TPC_ACCESS_IN;
        grant.tenant = h->config->tenant;
        grant.product = tpc_str_from(h->product);
        grant.device = id;
        done(user, NULL, &grant);
    } else if (how == TP_LOGIN_REFUSED) {
        tpi_error_set(&err, TPC_EDENIED, "thingspanel", "the platform knows no such device");
        done(user, &err, bytes.len > 0 ? &grant : NULL);
    } else {
        tpi_error_set(&err, TPC_ETIMEOUT, "thingspanel", "the platform did not say whose it is");
        done(user, &err, NULL);
    }
}

void tp_login_end(struct tp_http *h, struct tp_login *l, enum tp_login_end how, struct tpc_str id)
{
    const struct tpc_bytes bytes = { how == TP_LOGIN_REFUSED ? l->bytes + l->answer_len : l->bytes,
                                     how == TP_LOGIN_REFUSED ? l->refusal_len
                                     : how == TP_LOGIN_IN    ? l->answer_len
                                                             : 0 };
    say(h, l->done, l->user, how, l->flags, id, bytes);
    pthread_mutex_lock(&h->lock);
    h->calling = 0;
    pthread_cond_broadcast(&h->quiet);
    pthread_mutex_unlock(&h->lock);
    tpi_free(h->host->allocator, l, sizeof(*l) + l->answer_len + l->refusal_len);
}

/* ---- calls of the adapter ---- */

static int frame(void *self, struct tpc_bytes bytes, size_t *ret_bytes)
{
    struct tp_http *h = self;
    return h->ops->frame(h->ops_user, bytes, ret_bytes);
}

static int answer(void *self, struct tpc_str device, struct tpc_bytes bytes, struct tpc_buf *out)
{
    struct tp_http *h = self;
    (void) device;
    int rc = h->ops->answer(h->ops_user, bytes, out);
    return rc > 0 ? TPC_ACCESS_DONE : rc == 0 ? TPC_ACCESS_DATA : rc;
}

/* What the program made of the frame. */
struct reading {
    struct tpc_service_login login;
    struct tpi_buf voucher; /* as the platform keeps it */
    uint8_t bytes[3][TP_LOGIN_BYTES];
};

static int read_voucher(struct tp_http *h, struct reading *r)
{
    struct tpc_arena *arena = NULL;
    const struct tpc_buf *given = &r->login.voucher;
    if (given->need > given->cap || r->login.answer.need > r->login.answer.cap ||
        r->login.refusal.need > r->login.refusal.cap) {
        return TPC_ETOOBIG;
    }
    int rc = tpc_arena_create(h->host->allocator, ARENA_BYTES, &arena);
    struct tpc_str text = { (const char *) given->ptr, given->need };
    rc = rc != 0 ? rc : tp_form_voucher(&h->forms, text, arena, &r->voucher);
    tpc_arena_destroy(arena);
    return rc == 0 && r->voucher.len > TP_VOUCHER_BYTES ? TPC_ETOOBIG : rc;
}

static struct tp_login *make_login(struct tp_http *h, const struct reading *r,
                                   tpc_access_done_fn *done, void *user)
{
    size_t a = r->login.answer.need, b = r->login.refusal.need;
    struct tp_login *l = tpi_alloc_zero(h->host->allocator, sizeof(*l) + a + b);
    if (l != NULL) {
        l->done = done;
        l->user = user;
        l->flags = r->login.flags;
        l->due_ms = tp_http_now(h) + h->config->login_timeout_ms;
        l->answer_len = a;
        l->refusal_len = b;
        memcpy(l->bytes, r->login.answer.ptr, a);
        memcpy(l->bytes + a, r->login.refusal.ptr, b);
    }
    return l;
}

/* Puts a login where its answer will be met. Under the lock. */
static int attach(struct tp_http *h, struct tp_login *l, struct tpc_str voucher, bool known,
                  uint64_t *ret_id)
{
    struct tp_ask *a =
        tpi_map64_count(&h->logins) < TP_LOGINS_LIMIT ? tp_ask_get(h, false, voucher) : NULL;
    if (a == NULL) {
        return TPC_EAGAIN;
    }
    l->id = ++h->next_login;
    if (tpi_map64_put(&h->logins, l->id, l, NULL) != 0) {
        return TPC_ENOMEM;
    }
    l->ask = a;
    if (a->logins == NULL || l->due_ms < a->login_due_ms) {
        a->login_due_ms = l->due_ms;
    }
    l->next = a->logins;
    a->logins = l;
    *ret_id = l->id;
    if (!known) {
        tp_ask_want(h, a);
    }
    tp_http_wake(h); /* for its time-out */
    return 0;
}

enum look { LOOK_IN, LOOK_BLOCKED, LOOK_WAITS };

/* By what is known now; id has the device's then. */
static int look(struct tp_http *h, const struct reading *r, tpc_access_done_fn *done, void *user,
                uint64_t *ret_id, enum look *ret, char id[TP_ID_MAX + 1])
{
    struct tpc_str voucher = { (const char *) r->voucher.ptr, r->voucher.len };
    struct tp_login *l = make_login(h, r, done, user);
    if (l == NULL) {
        return TPC_ENOMEM;
    }
    int rc = 0;
    *ret = LOOK_WAITS;
    pthread_mutex_lock(&h->lock);
    /* Without a start the directory may be being read. */
    const struct tp_device *d = h->stopping ? NULL : tp_devices_by_voucher(&h->devices, voucher);
    const struct tp_ask *a = d == NULL && !h->stopping ? tp_ask_get(h, false, voucher) : NULL;
    if (h->stopping) {
        rc = TPC_ESTATE;
    } else if (d != NULL && d->in_core && d->ready && !d->checking) {
        *ret = LOOK_IN;
        memcpy(id, d->f.id.ptr, d->f.id.len);
        id[d->f.id.len] = '\0';
    } else if (a != NULL && a->blocked_ms > tp_http_now(h)) {
        *ret = LOOK_BLOCKED;
    } else {
        rc = attach(h, l, voucher, d != NULL, ret_id);
    }
    pthread_mutex_unlock(&h->lock);
    if (rc != 0 || *ret != LOOK_WAITS) {
        tpi_free(h->host->allocator, l, sizeof(*l) + l->answer_len + l->refusal_len);
    }
    return rc;
}

static int refuse_frame(struct tp_http *h, const struct reading *r, int code,
                        tpc_access_done_fn *done, void *user)
{
    struct tpc_access_grant grant = { .size = sizeof(grant) };
    struct tpc_error err = { .size = sizeof(err) };
    count_end(h, TP_LOGIN_REFUSED);
    tpi_error_set(&err, code, "thingspanel", "the first frame names no device: %s",
                  tpc_error_name(code));
    if (r->login.refusal.need <= r->login.refusal.cap) {
        grant.answer = (struct tpc_bytes){ r->login.refusal.ptr, r->login.refusal.need };
    }
    done(user, &err, grant.answer.len > 0 ? &grant : NULL);
    return 0;
}

static int login(void *self, const struct tpc_access_request *request, tpc_access_done_fn *done,
                 void *user, uint64_t *ret_id)
{
    struct tp_http *h = self;
    char id[TP_ID_MAX + 1];
    enum look seen;
    struct reading r;
    *ret_id = 0;
    r.login = (struct tpc_service_login){ .size = sizeof(r.login),
                                          .voucher = { r.bytes[0], TP_LOGIN_BYTES, 0 },
                                          .answer = { r.bytes[1], TP_LOGIN_BYTES, 0 },
                                          .refusal = { r.bytes[2], TP_LOGIN_BYTES, 0 } };
    int rc = h->ops->login(h->ops_user, request->frame, &r.login);
    if (rc == TPC_EAGAIN) {
        const struct tpc_access_grant more = {
            .size = sizeof(more),
            .verdict = TPC_ACCESS_MORE,
            .answer = { r.bytes[1],
                        r.login.answer.need <= TP_LOGIN_BYTES ? r.login.answer.need : 0 }
        };
        done(user, NULL, &more);
        return 0;
    }
    tpi_buf_init(&r.voucher, h->host->allocator, 0);
    rc = rc != 0 ? rc : read_voucher(h, &r);
    if (rc == TPC_ENOMEM) {
        tpi_buf_fini(&r.voucher);
        return rc;
    }
    if (rc != 0) {
        tpi_buf_fini(&r.voucher);
        return refuse_frame(h, &r, rc > 0 ? TPC_EDECODE : rc, done, user);
    }
    rc = look(h, &r, done, user, ret_id, &seen, id);
    tpi_buf_fini(&r.voucher);
    if (rc == 0 && seen == LOOK_IN) {
        say(h, done, user, TP_LOGIN_IN, r.login.flags, tpc_str_from(id),
            (struct tpc_bytes){ r.login.answer.ptr, r.login.answer.need });
    } else if (rc == 0 && seen == LOOK_BLOCKED) {
        say(h, done, user, TP_LOGIN_REFUSED, 0, (struct tpc_str){ NULL, 0 },
            (struct tpc_bytes){ r.login.refusal.ptr, r.login.refusal.need });
    }
    return rc;
}

static void cancel(void *self, uint64_t id)
{
    struct tp_http *h = self;
    pthread_mutex_lock(&h->lock);
    struct tp_login *l = id != 0 ? tpi_map64_remove(&h->logins, id) : NULL;
    if (l != NULL) {
        struct tp_login **at = &l->ask->logins;
        while (*at != l) {
            at = &(*at)->next;
        }
        *at = l->next;
    }
    while (id != 0 && h->calling == id) {
        pthread_cond_wait(&h->quiet, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    if (l != NULL) {
        tpi_free(h->host->allocator, l, sizeof(*l) + l->answer_len + l->refusal_len);
    }
}

static int watch(void *self, tpc_access_drop_fn *fn, void *user)
{
    struct tp_http *h = self;
    int rc = 0;
    uint32_t i = 0;
    pthread_mutex_lock(&h->lock);
    while (i < h->watcher_count && h->watchers[i].user != user) {
        i++;
    }
    if (fn == NULL && i < h->watcher_count) {
        h->watchers[i] = h->watchers[--h->watcher_count];
    } else if (fn != NULL && i == TP_WATCHERS_LIMIT) {
        rc = TPC_EAGAIN;
    } else if (fn != NULL) {
        h->watchers[i] = (struct tp_watcher){ fn, user };
        h->watcher_count += i == h->watcher_count;
    }
    while (fn == NULL && h->dropping > 0) {
        pthread_cond_wait(&h->quiet, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

void tp_access_init(struct tp_http *h)
{
    h->access = (struct tpc_access_ops){ .iface = TPC_IFACE(struct tpc_access_ops, 1),
                                         .cancel = cancel,
                                         .watch = watch };
}

const struct tpc_access_ops *tp_http_access(const struct tp_http *h)
{
    return &h->access;
}

void tp_access_serve(struct tp_http *h)
{
    h->access.frame = TPC_HAS(h->ops, struct tpc_service_ops, frame) ? frame : NULL;
    h->access.login = TPC_HAS(h->ops, struct tpc_service_ops, login) ? login : NULL;
    h->access.answer = TPC_HAS(h->ops, struct tpc_service_ops, answer) ? answer : NULL;
}
