#include "auth.h"

#include "envelope.h"

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/map.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/ext/api.h>

enum {
    TOKEN_BYTES = 1024,
    LOOK_MS = 1000, /* between two looks at those who are in */
    LOOK_PART = 10, /* each at so many of them: all within ten seconds */
    LOOK_MIN = 64,
    LOOK_GONE_MAX = 64 /* noted before the table changes */
};

/* A registration that waits for the thread: message and peer follow it. */
struct waiting {
    struct waiting *next;
    uint64_t id;
    tpc_access_done_fn *done; /* NULL = called off */
    void *user;
    size_t message_len, peer_len;
    uint8_t bytes[];
};

struct net_auth {
    const struct tpc_host *host;
    void *ctx;
    uint32_t flags; /* enum net_auth_flags */
    uint32_t tenant_len;
    char tenant[TPC_AUTH_KEY_BYTES];

    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running, stopping;
    struct waiting *first, *last;
    struct waiting *current; /* at the disk */
    uint32_t count;
    uint64_t last_id;

    tpc_access_drop_fn *drop; /* NULL = nobody asks who must go */
    void *drop_user;
    struct tpi_map known; /* device -> struct tpc_identity, while somebody asks */
    size_t look_at;
    size_t look_each; /* as many as were known when this walk through them began need */
    uint64_t timer;
    bool looking;
};

static const struct tpc_str auth_method = TPC_STR_INIT("auth");
static const struct tpc_str register_method = TPC_STR_INIT("thing.auth.register");

static struct tpc_str tenant_of(const struct net_auth *a)
{
    return (struct tpc_str){ a->tenant, a->tenant_len };
}

static const struct tpc_api *api_of(const struct net_auth *a, struct tpc_core **ret_core)
{
    return TPC_HAS(a->host, struct tpc_host, api) ? a->host->api(a->ctx, ret_core) : NULL;
}

static struct tpc_str param(const struct net_envelope *e, const char *name)
{
    return tpc_value_text(tpc_value_get(e->params, tpc_str_from(name)));
}

struct tpc_str net_auth_address(struct tpc_str peer)
{
    size_t colons = 0, first = 0;
    for (size_t i = 0; i < peer.len; i++) {
        if (peer.ptr[0] == '[' && peer.ptr[i] == ']') {
            return (struct tpc_str){ peer.ptr + 1, i - 1 };
        }
        if (peer.ptr[i] == ':' && colons++ == 0) {
            first = i;
        }
    }
    /* One colon stands before a port; more are in an IPv6 address without one. */
    return colons == 1 ? (struct tpc_str){ peer.ptr, first } : peer;
}

/* ---- who must go ---- */

/* Under the lock. Without memory he stays until his connection ends. */
static void know(struct net_auth *a, const struct tpc_identity *who)
{
    const struct tpc_allocator *alloc = a->host->allocator;
    struct tpc_identity *known = tpi_map_get(&a->known, who->key, strlen(who->key));
    if (known != NULL) {
        *known = *who;
        return;
    }
    known = tpi_mem_dup(alloc, who, sizeof(*who));
    if (known != NULL && tpi_map_put(&a->known, who->key, strlen(who->key), known, NULL) != 0) {
        tpi_free(alloc, known, sizeof(*known));
    }
}

static void note_in(struct net_auth *a, const struct tpc_identity *who)
{
    pthread_mutex_lock(&a->lock);
    if (a->drop != NULL) {
        know(a, who);
    }
    pthread_mutex_unlock(&a->lock);
}

static void forget(struct net_auth *a, const char *key)
{
    struct tpc_identity *known = tpi_map_remove(&a->known, key, strlen(key));
    tpi_free(a->host->allocator, known, sizeof(*known));
}

static void forget_all(struct net_auth *a)
{
    size_t iter = 0;
    void *known;
    while (tpi_map_next(&a->known, &iter, NULL, &known)) {
        tpi_free(a->host->allocator, known, sizeof(struct tpc_identity));
    }
    uint64_t seed = a->known.seed;
    tpi_map_fini(&a->known);
    tpi_map_init(&a->known, a->host->allocator);
    a->known.seed = seed;
    a->look_at = 0;
}

/* Looks at up to *left of them. Under the lock. Returns false at the end of the table. */
static bool look_on(struct net_auth *a, const struct tpc_api *api, struct tpc_core *core,
                    size_t *left)
{
    const char *gone[LOOK_GONE_MAX];
    size_t gone_count = 0;
    bool more = true;
    void *value = NULL;
    while (*left > 0 && gone_count < LOOK_GONE_MAX) {
        more = tpi_map_next(&a->known, &a->look_at, NULL, &value);
        if (!more) {
            a->look_at = 0;
            break;
        }
        const struct tpc_identity *who = value;
        (*left)--;
        if (api->auth_recheck(core, who) == TPC_EDENIED) {
            gone[gone_count++] = who->key;
        }
    }
    for (size_t i = 0; i < gone_count; i++) {
        a->host->count(a->ctx, "sent_away", 1);
        a->drop(a->drop_user, tenant_of(a), tpc_str_from(gone[i]));
        forget(a, gone[i]);
    }
    return more;
}

/* Under the lock. */
static void look(struct net_auth *a)
{
    struct tpc_core *core = NULL;
    const struct tpc_api *api = api_of(a, &core);
    if (a->look_at == 0) {
        a->look_each = tpi_map_count(&a->known) / LOOK_PART + LOOK_MIN;
    }
    size_t left = a->look_each;
    while (api != NULL && left > 0 && look_on(a, api, core, &left)) {
    }
}

static void on_look(void *user)
{
    struct net_auth *a = user;
    pthread_mutex_lock(&a->lock);
    if (a->looking) {
        look(a);
        a->looking = a->host->timer_set(a->ctx, LOOK_MS, on_look, a, &a->timer) == 0;
    }
    pthread_mutex_unlock(&a->lock);
}

static void end_looking(struct net_auth *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t timer = a->looking ? a->timer : 0;
    a->looking = false;
    a->drop = NULL;
    forget_all(a);
    pthread_mutex_unlock(&a->lock);
    if (timer != 0) {
        a->host->timer_clear(a->ctx, timer); /* waits for one that runs */
    }
}

static int watch(void *self, tpc_access_drop_fn *fn, void *user)
{
    struct net_auth *a = self;
    end_looking(a);
    if (fn == NULL) {
        return 0;
    }
    pthread_mutex_lock(&a->lock);
    a->drop = fn;
    a->drop_user = user;
    int rc = a->host->timer_set(a->ctx, LOOK_MS, on_look, a, &a->timer);
    a->looking = rc == 0;
    a->drop = rc == 0 ? fn : NULL;
    pthread_mutex_unlock(&a->lock);
    return rc;
}

/* ---- login ---- */

/* What an attempt came to: an answer, and who it is if code is 0. */
struct outcome {
    int64_t code; /* enum net_code */
    const char *text;
    struct tpc_identity who;
    char token[TOKEN_BYTES];
    size_t token_len;
};

static int refused(struct outcome *o, int64_t code, const char *text)
{
    o->code = code;
    o->text = text;
    return 0;
}

static void make_token(struct net_auth *a, const struct tpc_api *api, struct tpc_core *core,
                       struct outcome *o)
{
    struct tpc_buf buf = { (uint8_t *) o->token, sizeof(o->token), 0 };
    int rc = api->token_issue(core, tenant_of(a), tpc_str_from(o->who.key), 0, &buf);
    o->token_len = rc == 0 ? buf.need : 0;
    if (rc != 0) {
        a->host->count(a->ctx, "tokens_refused", 1);
        refused(o, NET_CODE_FAILED, rc == TPC_ESTATE ? "no tokens are made here" : "no token");
    }
}

static void try_login(struct net_auth *a, const struct net_envelope *e, struct tpc_str peer,
                      struct tpc_str fingerprint, struct outcome *o)
{
    struct tpc_core *core = NULL;
    const struct tpc_api *api = api_of(a, &core);
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_str password = param(e, "password");
    memset(o, 0, sizeof(*o));
    o->text = "";
    if (api == NULL) {
        refused(o, NET_CODE_FAILED, "nobody knows devices here");
        return;
    }
    q.tenant = tenant_of(a);
    q.client_id = param(e, "clientId");
    q.username = param(e, "username");
    q.password = (struct tpc_bytes){ (const uint8_t *) password.ptr, password.len };
    q.fingerprint = fingerprint;
    q.peer = net_auth_address(peer);
    int rc = api->auth_check(core, &q, &o->who);
    if (rc == TPC_EAGAIN) {
        refused(o, NET_CODE_UNKNOWN, "too many failures, try again in a minute");
    } else if (rc == TPC_EDENIED || (rc == 0 && o->who.role != TPC_ROLE_DEVICE)) {
        refused(o, NET_CODE_UNKNOWN, "refused");
    } else if (rc != 0) {
        refused(o, NET_CODE_FAILED, "not now");
    } else if ((a->flags & NET_AUTH_TOKEN) != 0) {
        make_token(a, api, core, o);
    }
    a->host->count(a->ctx, o->code == 0 ? "logins" : "logins_refused", 1);
}

/* The answer to an attempt. Returns as net_envelope_write(). */
static int write_outcome(const struct net_auth *a, const struct net_envelope *e,
                         const struct outcome *o, struct tpc_buf *out)
{
    struct tpc_value data = net_text(TPC_STR("认证成功"));
    struct tpc_member token = { TPC_STR("token"),
                                net_text((struct tpc_str){ o->token, o->token_len }) };
    if ((a->flags & NET_AUTH_TOKEN) != 0) {
        data = (struct tpc_value){ TPC_MAP, 0, 1, { .members = &token } };
    }
    return net_envelope_write(e, o->code == 0 ? &data : NULL, o->code, tpc_str_from(o->text), out);
}

/* Tells an answer to who stays outside. */
static void tell_refused(const struct net_envelope *e, int64_t code, const char *text,
                         tpc_access_done_fn *done, void *user)
{
    uint8_t room[NET_AUTH_ANSWER_BYTES];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_access_grant g = { .size = sizeof(g), .verdict = TPC_ACCESS_MORE };
    if (net_envelope_write(e, NULL, code, tpc_str_from(text), &out) == 0) {
        g.answer = (struct tpc_bytes){ room, out.need };
    }
    done(user, NULL, &g);
}

static void log_in(struct net_auth *a, const struct tpc_access_request *request,
                   const struct net_envelope *e, tpc_access_done_fn *done, void *user)
{
    uint8_t room[NET_AUTH_ANSWER_BYTES + TOKEN_BYTES];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct outcome o;
    try_login(a, e, request->peer, request->fingerprint, &o);
    if (o.code != 0) {
        tell_refused(e, o.code, o.text, done, user);
    } else {
        struct tpc_access_grant g = { .size = sizeof(g), .verdict = TPC_ACCESS_IN };
        g.tenant = tenant_of(a);
        g.product = tpc_str_from(o.who.product);
        g.device = tpc_str_from(o.who.key);
        if (write_outcome(a, e, &o, &out) == 0) {
            g.answer = (struct tpc_bytes){ room, out.need };
        }
        note_in(a, &o.who);
        done(user, NULL, &g);
    }
    tpi_wipe(&o, sizeof(o));
    tpi_wipe(room, sizeof(room));
}

/* ---- registration ---- */

static size_t waiting_bytes(const struct waiting *w)
{
    return sizeof(*w) + w->message_len + w->peer_len;
}

static void waiting_free(struct net_auth *a, struct waiting *w)
{
    const struct tpc_allocator *alloc = a->host->allocator;
    alloc->resize(alloc->user, w, waiting_bytes(w), 0);
}

static int enqueue(struct net_auth *a, const struct tpc_access_request *request,
                   tpc_access_done_fn *done, void *user, uint64_t *ret_id)
{
    const struct tpc_allocator *alloc = a->host->allocator;
    size_t len = request->frame.len + request->peer.len;
    struct waiting *w = alloc->resize(alloc->user, NULL, 0, sizeof(*w) + len);
    if (w == NULL) {
        return TPC_ENOMEM;
    }
    *w = (struct waiting){ .done = done, .user = user };
    w->message_len = request->frame.len;
    w->peer_len = request->peer.len;
    memcpy(w->bytes, request->frame.ptr, request->frame.len);
    if (request->peer.len > 0) {
        memcpy(w->bytes + w->message_len, request->peer.ptr, request->peer.len);
    }
    pthread_mutex_lock(&a->lock);
    int rc = !a->running || a->stopping         ? TPC_ESTATE
             : a->count >= NET_AUTH_WAITING_MAX ? TPC_EAGAIN
                                                : 0;
    if (rc == 0) {
        *ret_id = w->id = ++a->last_id;
        *(a->last != NULL ? &a->last->next : &a->first) = w;
        a->last = w;
        a->count++;
        pthread_cond_signal(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    if (rc != 0) {
        waiting_free(a, w);
    }
    return rc;
}

static void tell_registered(struct net_auth *a, const struct net_envelope *e,
                            const struct tpc_registration *made, struct waiting *w)
{
    uint8_t room[NET_AUTH_ANSWER_BYTES];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_access_grant g = { .size = sizeof(g), .verdict = TPC_ACCESS_MORE };
    struct tpc_member triple[] = {
        { TPC_STR("productKey"), net_text(tpc_str_from(made->product)) },
        { TPC_STR("deviceName"), net_text(tpc_str_from(made->device)) },
        { TPC_STR("deviceSecret"), net_text(tpc_str_from(made->secret)) },
    };
    struct tpc_value data = { TPC_MAP, 0, 3, { .members = triple } };
    if (net_envelope_write(e, &data, NET_CODE_DONE, TPC_STR(""), &out) == 0) {
        g.answer = (struct tpc_bytes){ room, out.need };
    }
    pthread_mutex_lock(&a->lock);
    if (w->done != NULL && !a->stopping) {
        w->done(w->user, NULL, &g);
    }
    pthread_mutex_unlock(&a->lock);
    tpi_wipe(room, sizeof(room));
}

static void work_on(struct net_auth *a, struct waiting *w)
{
    struct tpc_register_request q = TPC_REGISTER_REQUEST_INIT;
    struct tpc_registration made;
    struct tpc_arena *arena = NULL;
    struct net_envelope e = { .method = register_method };
    struct tpc_str peer = { (const char *) w->bytes + w->message_len, w->peer_len };
    int rc = tpc_arena_create(a->host->allocator, 0, &arena);
    if (rc == 0) {
        rc = net_envelope_read((struct tpc_bytes){ w->bytes, w->message_len }, arena, &e);
    }
    if (rc == 0) {
        q.tenant = tenant_of(a);
        q.product = param(&e, "productKey");
        q.device = param(&e, "deviceName");
        q.sign = param(&e, "sign");
        q.peer = net_auth_address(peer);
        rc = q.product.len == 0 || q.device.len == 0 || q.sign.len == 0
                 ? TPC_EINVAL
                 : a->host->enroll(a->ctx, &q, &made);
    }
    a->host->count(a->ctx, rc == 0 ? "registered" : "registrations_refused", 1);
    if (rc == 0) {
        a->host->log(a->ctx, TPC_LOG_INFO, "registration of %s: done", made.device);
        tell_registered(a, &e, &made, w);
        tpi_wipe(&made, sizeof(made));
    } else {
        pthread_mutex_lock(&a->lock);
        if (w->done != NULL && !a->stopping) {
            tell_refused(&e, NET_CODE_FAILED,
                         rc == TPC_EEXIST ? "the device is registered already" : "refused", w->done,
                         w->user);
        }
        pthread_mutex_unlock(&a->lock);
    }
    tpc_arena_destroy(arena);
}

static void *run(void *user)
{
    struct net_auth *a = user;
    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        struct waiting *w = a->first;
        if (w == NULL) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        a->first = w->next;
        a->last = a->first != NULL ? a->last : NULL;
        a->count--;
        a->current = w;
        pthread_mutex_unlock(&a->lock);
        work_on(a, w);
        pthread_mutex_lock(&a->lock);
        a->current = NULL;
        waiting_free(a, w);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- the table ---- */

static int login(void *self, const struct tpc_access_request *request, tpc_access_done_fn *done,
                 void *user, uint64_t *ret_id)
{
    struct net_auth *a = self;
    struct tpc_arena *arena;
    struct net_envelope e;
    int rc = tpc_arena_create(a->host->allocator, 0, &arena);
    if (rc != 0) {
        return rc;
    }
    *ret_id = 0;
    rc = net_envelope_read(request->frame, arena, &e);
    if (rc == TPC_EDECODE) {
        struct tpc_error err = { .size = sizeof(err), .code = TPC_EDECODE };
        snprintf(err.origin, sizeof(err.origin), "login");
        snprintf(err.text, sizeof(err.text), "the first message is no JSON object with a method");
        done(user, &err, NULL);
        rc = 0;
    } else if (rc == 0 && tpc_str_equal(e.method, auth_method)) {
        log_in(a, request, &e, done, user);
    } else if (rc == 0 && tpc_str_equal(e.method, register_method)) {
        rc = enqueue(a, request, done, user, ret_id);
        if (rc == TPC_EAGAIN) {
            a->host->count(a->ctx, "registrations_limited", 1);
            tell_refused(&e, NET_CODE_FAILED, "not now", done, user);
            rc = 0;
        }
    } else if (rc == 0) {
        tell_refused(&e, NET_CODE_UNKNOWN, "log in first", done, user);
    }
    tpc_arena_destroy(arena);
    return rc;
}

/* done is called under the lock, so that none is running once this returns. */
static void cancel(void *self, uint64_t id)
{
    struct net_auth *a = self;
    pthread_mutex_lock(&a->lock);
    for (struct waiting *w = a->first; w != NULL && id != 0; w = w->next) {
        w->done = w->id == id ? NULL : w->done;
    }
    if (a->current != NULL && a->current->id == id) {
        a->current->done = NULL;
    }
    pthread_mutex_unlock(&a->lock);
}

static int again(struct net_auth *a, struct tpc_str device, struct tpc_bytes frame,
                 struct tpc_buf *out)
{
    struct tpc_arena *arena;
    struct net_envelope e;
    struct outcome o;
    int rc = tpc_arena_create(a->host->allocator, 0, &arena);
    if (rc != 0) {
        return rc;
    }
    rc = net_envelope_read(frame, arena, &e);
    if (rc == 0) {
        try_login(a, &e, (struct tpc_str){ NULL, 0 }, (struct tpc_str){ NULL, 0 }, &o);
        if (o.code == 0 && !tpc_str_equal(tpc_str_from(o.who.key), device)) {
            refused(&o, NET_CODE_UNKNOWN, "the connection is another device's");
        } else if (o.code == 0) {
            note_in(a, &o.who);
        }
        rc = write_outcome(a, &e, &o, out);
        tpi_wipe(&o, sizeof(o));
    }
    tpc_arena_destroy(arena);
    return rc != 0 ? rc : TPC_ACCESS_DONE;
}

static int answer(void *self, struct tpc_str device, struct tpc_bytes frame, struct tpc_buf *out)
{
    out->need = 0;
    return net_envelope_is(frame, auth_method) ? again(self, device, frame, out) : TPC_ACCESS_DATA;
}

const struct tpc_access_ops net_auth_ops = { .iface = TPC_IFACE(struct tpc_access_ops, 1),
                                             .login = login,
                                             .cancel = cancel,
                                             .answer = answer,
                                             .watch = watch };

int net_auth_token(struct net_auth *a, struct tpc_str token, struct tpc_str peer,
                   struct tpc_identity *ret)
{
    struct tpc_core *core = NULL;
    const struct tpc_api *api = api_of(a, &core);
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_identity who;
    if (api == NULL) {
        return TPC_EDENIED;
    }
    q.tenant = tenant_of(a);
    q.password = (struct tpc_bytes){ (const uint8_t *) token.ptr, token.len };
    q.peer = net_auth_address(peer);
    int rc = token.len == 0 ? TPC_EDENIED : api->auth_check(core, &q, &who);
    if (rc == 0 && (who.role != TPC_ROLE_DEVICE || who.method != TPC_AUTH_JWT)) {
        rc = TPC_EDENIED;
    }
    if (rc == 0) {
        *ret = who;
    }
    return rc;
}

int net_auth_stays(struct net_auth *a, const struct tpc_identity *who)
{
    struct tpc_core *core = NULL;
    const struct tpc_api *api = api_of(a, &core);
    return api != NULL ? api->auth_recheck(core, who) : TPC_EDENIED;
}

/* ---- life ---- */

int net_auth_create(const struct tpc_host *host, void *ctx, struct tpc_str tenant, uint32_t flags,
                    struct net_auth **ret)
{
    const struct tpc_allocator *alloc = host->allocator;
    if (tenant.len >= TPC_AUTH_KEY_BYTES) {
        return TPC_ETOOBIG;
    }
    struct net_auth *a = alloc->resize(alloc->user, NULL, 0, sizeof(*a));
    if (a == NULL) {
        return TPC_ENOMEM;
    }
    *a = (struct net_auth){ .host = host, .ctx = ctx, .flags = flags };
    a->tenant_len = (uint32_t) tenant.len;
    if (tenant.len > 0) {
        memcpy(a->tenant, tenant.ptr, tenant.len);
    }
    tpi_map_init(&a->known, alloc);
    (void) host->random->fill(host->random->user, &a->known.seed, sizeof(a->known.seed));
    int rc = pthread_mutex_init(&a->lock, NULL);
    if (rc == 0 && pthread_cond_init(&a->changed, NULL) != 0) {
        pthread_mutex_destroy(&a->lock);
        rc = -1;
    }
    if (rc != 0) {
        alloc->resize(alloc->user, a, sizeof(*a), 0);
        return TPC_ENOMEM;
    }
    *ret = a;
    return 0;
}

int net_auth_start(struct net_auth *a)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the program's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&a->lock);
    a->stopping = false;
    bool made = a->running || pthread_create(&a->thread, NULL, run, a) == 0;
    a->running = made;
    pthread_mutex_unlock(&a->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return made ? 0 : TPC_ENOMEM;
}

void net_auth_stop(struct net_auth *a)
{
    pthread_mutex_lock(&a->lock);
    bool join = a->running && !a->stopping;
    a->stopping = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    if (join) {
        pthread_join(a->thread, NULL);
    }
    pthread_mutex_lock(&a->lock);
    a->running = false;
    while (a->first != NULL) {
        struct waiting *w = a->first;
        a->first = w->next;
        waiting_free(a, w);
    }
    a->last = NULL;
    a->count = 0;
    pthread_mutex_unlock(&a->lock);
}

struct net_auth *net_auth_destroy(struct net_auth *a)
{
    if (a != NULL) {
        const struct tpc_allocator *alloc = a->host->allocator;
        net_auth_stop(a);
        forget_all(a);
        pthread_cond_destroy(&a->changed);
        pthread_mutex_destroy(&a->lock);
        alloc->resize(alloc->user, a, sizeof(*a), 0);
    }
    return NULL;
}
