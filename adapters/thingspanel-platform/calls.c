/*
 * Calls to services (contract thingspanel 3.3). What a service is told stands here once for each device or
 * access point, waits its turn, and is tried again with a growing pause; what is asked of it is tried once.
 */
#include "inside.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "data/member.h"

enum {
    CALLS_MAX = 20000,
    RETRY_MS = 1000,
    RETRY_MAX_MS = 60000,
    NAME_BYTES = 2 * PANEL_KEY_BYTES + 4,
    ASK_FORM = 3,
    ASK_LIST = 4
};

struct panel_call {
    struct panel_call *next;
    struct panel *p;
    uint8_t what; /* enum panel_say, ASK_FORM, ASK_LIST */
    uint8_t path; /* enum panel_path: the second one is tried */
    bool flying, again;
    bool listed; /* it stands in call_keys */
    bool held;   /* submit() runs, which may end it */
    bool over;   /* it ended meanwhile */
    uint32_t tries;
    uint64_t due_ms;
    uint64_t request;
    tpc_panel_done_fn *done;
    void *done_user;
    size_t bytes;
    struct tpc_str service, key; /* behind this struct; of a question key is its URL */
};

static size_t call_key(uint8_t what, struct tpc_str service, struct tpc_str key,
                       char ret[NAME_BYTES])
{
    int n = snprintf(ret, NAME_BYTES, "%u%.*s", (unsigned) what, (int) service.len, service.ptr);
    size_t used = (size_t) n + 1; /* with the NUL between */
    memcpy(ret + used, key.ptr, key.len);
    return used + key.len;
}

static struct panel_call *make_call(struct panel *p, uint8_t what, struct tpc_str service,
                                    struct tpc_str key)
{
    size_t bytes = sizeof(struct panel_call) + service.len + key.len + 2;
    struct panel_call *c = tpi_alloc_zero(p->host->allocator, bytes);
    if (c == NULL) {
        return NULL;
    }
    char *at = (char *) (c + 1);
    if (service.len > 0) {
        memcpy(at, service.ptr, service.len);
    }
    memcpy(at + service.len + 1, key.ptr, key.len);
    c->service = (struct tpc_str){ at, service.len };
    c->key = (struct tpc_str){ at + service.len + 1, key.len };
    c->p = p;
    c->what = what;
    c->bytes = bytes;
    return c;
}

static void free_call(struct panel_call *c)
{
    tpi_wipe(c + 1, c->bytes - sizeof(*c)); /* a URL may have a voucher */
    tpi_free(c->p->host->allocator, c, c->bytes);
}

/* Under the lock. */
static void append(struct panel *p, struct panel_call *c)
{
    c->next = NULL;
    *(p->last_call != NULL ? &p->last_call->next : &p->calls) = c;
    p->last_call = c;
    p->call_count++;
}

void panel_say(struct panel *p, enum panel_say what, struct tpc_str service, struct tpc_str key)
{
    char name[NAME_BYTES];
    bool dropped = service.len > PANEL_KEY_BYTES || key.len > PANEL_KEY_BYTES;
    size_t n = dropped ? 0 : call_key((uint8_t) what, service, key, name);
    pthread_mutex_lock(&p->lock);
    struct panel_call *c = n > 0 ? tpi_map_get(&p->call_keys, name, n) : NULL;
    if (c != NULL) {
        c->again = c->flying; /* what is on its way may have been read before this change */
        c->tries = 0;
        c->due_ms = 0;
    } else if (!dropped) {
        c = p->call_count < CALLS_MAX ? make_call(p, (uint8_t) what, service, key) : NULL;
        dropped = c == NULL || tpi_map_put(&p->call_keys, name, n, c, NULL) != 0;
        if (!dropped) {
            c->listed = true;
            append(p, c);
        } else if (c != NULL) {
            free_call(c);
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (dropped) {
        p->host->count(p->ctx, "calls_dropped", 1);
    }
}

/* Before what is to be told, behind the other questions: somebody waits for the answer. Under the lock. */
static void put_first(struct panel *p, struct panel_call *c)
{
    struct panel_call **at = &p->calls;
    while (*at != NULL && (*at)->done != NULL) {
        at = &(*at)->next;
    }
    c->next = *at;
    *at = c;
    p->last_call = c->next != NULL ? p->last_call : c;
    p->call_count++;
    p->question_count++;
}

/* Under the lock; the call is in the list. */
static void unlink_call(struct panel *p, struct panel_call *c)
{
    struct panel_call *before = NULL, **at = &p->calls;
    char name[NAME_BYTES];
    while (*at != c) {
        before = *at;
        at = &before->next;
    }
    *at = c->next;
    p->last_call = p->last_call == c ? before : p->last_call;
    p->call_count--;
    p->question_count -= c->done != NULL;
    if (c->listed) {
        (void) tpi_map_remove(&p->call_keys, name, call_key(c->what, c->service, c->key, name));
    }
}

/* ---- how it ended; the client's thread, or the worker if it never began ---- */

static void answer(struct panel_call *c, uint32_t code, const struct tpc_value *data)
{
    c->done(c->done_user, code, tpc_str_from(panel_message(code)), data);
}

/* Under the lock. */
static void land(struct panel *p, struct panel_call *c)
{
    uint32_t i = 0;
    while (p->flying[i] != c) {
        i++;
    }
    c->flying = false;
    p->flying[i] = p->flying[--p->in_flight];
}

static void ended(struct panel_call *c, bool good, bool next_path)
{
    struct panel *p = c->p;
    bool over = false;
    pthread_mutex_lock(&p->lock);
    uint32_t pause = RETRY_MS << (c->tries < 6 ? c->tries : 6);
    land(p, c);
    c->tries++;
    if (next_path && !c->again) {
        c->path = PANEL_PATH_EVENT;
        c->tries--;
        c->due_ms = 0;
    } else if (c->again) {
        c->again = false;
        c->tries = 0;
        c->due_ms = 0;
    } else if (good || c->tries >= p->call_tries || p->stopping) {
        unlink_call(p, c);
        over = true;
    } else {
        c->due_ms = panel_mono_ms(p) + (pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS);
    }
    pthread_cond_broadcast(&p->came);
    p->tick = true;
    if (over) {
        if (!good) {
            p->host->count(p->ctx, "calls_failed", 1);
        }
        c->over = true;
        if (!c->held) {
            free_call(c);
        }
    }
    pthread_mutex_unlock(&p->lock);
}

static bool code_is_good(struct panel *p, const struct tpc_http_reply *reply)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value v;
    struct tpc_str text = { (const char *) reply->body.ptr, reply->body.len };
    int64_t code = PANEL_OK;
    if (tpc_arena_create(p->host->allocator, 0, &arena) == 0 && text.len > 0 &&
        tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &v) == 0) {
        code = tpi_member_int(&v, "code", PANEL_OK);
    }
    tpc_arena_destroy(arena);
    return code == PANEL_OK;
}

static void told(void *user, const struct tpc_http_reply *reply)
{
    struct panel_call *c = user;
    struct panel *p = c->p;
    bool good = reply->err == NULL && reply->status == 200;
    bool other = reply->err == NULL && reply->status == 404 && c->what == PANEL_NOTIFY &&
                 p->notification == PANEL_PATH_AUTO && c->path != PANEL_PATH_EVENT;
    if (good && c->what == PANEL_DISCONNECT && !code_is_good(p, reply)) {
        p->host->log(p->ctx, TPC_LOG_WARN, "service %.*s refuses to disconnect %.*s",
                     (int) c->service.len, c->service.ptr, (int) c->key.len, c->key.ptr);
    }
    pthread_mutex_lock(&p->lock);
    bool first = c->tries == 0;
    pthread_mutex_unlock(&p->lock);
    if (!good && !other && first) {
        p->host->log(p->ctx, TPC_LOG_WARN, "service %.*s cannot be told: %s %u",
                     (int) c->service.len, c->service.ptr,
                     reply->err != NULL ? tpc_error_name(reply->err->code) : "HTTP status",
                     (unsigned) reply->status);
    }
    ended(c, good, other);
}

static uint32_t failure(const struct tpc_http_reply *reply)
{
    if (reply->err == NULL) {
        return reply->status == 200 ? PANEL_OK : PANEL_CALL_FAILED;
    }
    return reply->err->code == TPC_EOFFLINE ? PANEL_NOT_RUNNING : PANEL_CALL_FAILED;
}

static void asked(void *user, const struct tpc_http_reply *reply)
{
    struct panel_call *c = user;
    struct panel *p = c->p;
    struct tpc_arena *arena = NULL;
    struct tpc_value v = { TPC_NULL, 0, 0, { .i = 0 } };
    static const struct tpc_value nothing = { TPC_NULL, 0, 0, { .i = 0 } };
    struct tpc_str text = { (const char *) reply->body.ptr, reply->body.len };
    uint32_t code = failure(reply);
    if (code == PANEL_OK &&
        (tpc_arena_create(p->host->allocator, PANEL_ARENA_BYTES, &arena) != 0 ||
         tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &v) != 0 ||
         v.type != TPC_MAP)) {
        code = PANEL_BAD_ANSWER;
    }
    int64_t said = code == PANEL_OK ? tpi_member_int(&v, "code", PANEL_OK) : PANEL_OK;
    if (said != PANEL_OK) {
        /* The platform itself uses a form's data whatever the code is. */
        p->host->log(p->ctx, TPC_LOG_WARN, "service %.*s answers with code %lld",
                     (int) c->service.len, c->service.ptr, (long long) said);
    }
    const struct tpc_value *data = tpi_member(&v, "data");
    if (code == PANEL_OK && said != PANEL_OK && data == NULL) {
        code = PANEL_BAD_ANSWER;
    }
    answer(c, code, code != PANEL_OK ? NULL : data != NULL ? data : &nothing);
    tpc_arena_destroy(arena);
    ended(c, true, false);
}

/* ---- sending; the worker ---- */

static int submit(struct panel_call *c, struct tpc_str url, struct tpc_bytes body)
{
    struct panel *p = c->p;
    static const struct tpc_http_header json[] = { { TPC_STR_INIT("Content-Type"),
                                                     TPC_STR_INIT("application/json") } };
    struct tpc_http_request q = { .size = sizeof(q), .url = url, .user_data = c };
    q.timeout_ms = p->call_timeout_ms;
    q.response_max_bytes = PANEL_ANSWER_BYTES;
    q.done = c->done != NULL ? asked : told;
    if (body.ptr != NULL) {
        q.headers = (struct tpc_list) TPC_LIST(json);
        q.body = body;
    }
    p->host->count(p->ctx, "calls", 1);
    uint64_t id = 0;
    int rc = p->client->submit(p->client_self, &q, NULL, &id);
    pthread_mutex_lock(&p->lock);
    c->request = id;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* The body that a service is told something with. Returns 0 or TPC_ENOMEM. */
static int write_body(const struct panel_call *c, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct panel_map m, inner;
    panel_map_begin(&m, arena, 2);
    panel_map_begin(&inner, arena, 1);
    if (c->what == PANEL_DISCONNECT) {
        panel_map_put(&m, "device_id", panel_text(c->key));
    } else {
        panel_map_put(&inner, "service_access_id", panel_text(c->key));
        struct tpc_value v = panel_map_end(&inner);
        panel_map_put(&m, "message_type", panel_text(TPC_STR("1")));
        panel_map_put(&m, "message", panel_json_text(arena, &v, "{}"));
    }
    struct tpc_value all = panel_map_end(&m);
    *ret = panel_json_text(arena, &all, "");
    return m.failed || inner.failed || ret->len == 0 ? TPC_ENOMEM : 0;
}

static uint32_t tell(struct panel_call *c)
{
    static const char *const paths[] = { "/api/v1/plugin/notification", "/api/v1/notify/event" };
    struct panel *p = c->p;
    struct tpc_arena *arena = NULL;
    struct tpc_str address;
    struct tpc_value body;
    char url[400];
    if (tpc_arena_create(p->host->allocator, 0, &arena) != 0) {
        return PANEL_INTERNAL;
    }
    uint32_t code = panel_address(p, arena, c->service, &address);
    if (code == PANEL_OK && write_body(c, arena, &body) == 0) {
        bool event = c->path == PANEL_PATH_EVENT || p->notification == PANEL_PATH_EVENT;
        snprintf(url, sizeof(url), "http://%.*s%s", (int) address.len, address.ptr,
                 c->what == PANEL_DISCONNECT ? "/api/v1/device/disconnect" : paths[event]);
        struct tpc_bytes bytes = { (const uint8_t *) body.as.text, body.len };
        code = submit(c, tpc_str_from(url), bytes) == 0 ? PANEL_OK : PANEL_CALL_FAILED;
    }
    tpc_arena_destroy(arena);
    return code;
}

/* Under the lock. */
static uint32_t flying_to(const struct panel *p, struct tpc_str service)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->in_flight; i++) {
        n += tpc_str_equal(p->flying[i]->service, service) != 0;
    }
    return n;
}

/* The next call that is due, marked as on its way. Under the lock. */
static struct panel_call *next_call(struct panel *p)
{
    uint64_t now = panel_mono_ms(p);
    if (p->in_flight >= PANEL_FLIGHT_MAX || p->stopping) {
        return NULL;
    }
    for (struct panel_call *c = p->calls; c != NULL; c = c->next) {
        if (!c->flying && !c->held && c->due_ms <= now &&
            flying_to(p, c->service) < PANEL_FLIGHT_EACH) {
            c->flying = true;
            c->held = true;
            p->flying[p->in_flight++] = c;
            return c;
        }
    }
    return NULL;
}

void panel_calls_step(struct panel *p)
{
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct panel_call *c = next_call(p);
        pthread_mutex_unlock(&p->lock);
        if (c == NULL) {
            return;
        }
        if (c->done != NULL) {
            if (submit(c, c->key, (struct tpc_bytes){ NULL, 0 }) != 0) {
                answer(c, PANEL_CALL_FAILED, NULL);
                ended(c, true, false);
            }
        } else {
            uint32_t code = tell(c);
            if (code != PANEL_OK) {
                /* A service that is gone or has no address is not told. */
                ended(c, code == PANEL_DATABASE || code == PANEL_NO_ADDRESS, false);
            }
        }
        pthread_mutex_lock(&p->lock);
        c->held = false;
        bool over = c->over;
        pthread_mutex_unlock(&p->lock);
        if (over) {
            free_call(c);
        }
    }
}

void panel_calls_stop(struct panel *p)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    while (p->in_flight > 0) {
        uint64_t ids[PANEL_FLIGHT_MAX];
        uint32_t n = 0;
        for (; n < p->in_flight; n++) {
            ids[n] = p->flying[n]->request;
        }
        pthread_mutex_unlock(&p->lock);
        for (uint32_t i = 0; i < n; i++) {
            (void) p->client->cancel(p->client_self, ids[i]);
        }
        pthread_mutex_lock(&p->lock);
        if (p->in_flight > 0) {
            pthread_cond_wait(&p->came, &p->lock);
        }
    }
    while (p->calls != NULL) {
        struct panel_call *c = p->calls;
        unlink_call(p, c);
        pthread_mutex_unlock(&p->lock);
        if (c->done != NULL) {
            answer(c, PANEL_CALL_FAILED, NULL);
        }
        free_call(c);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- service thingspanel.services ---- */

/* Percent-encoded, all but what RFC 3986 section 2.3 leaves alone. */
static int encode(struct tpi_buf *b, struct tpc_str s)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c > 0 && strchr("-._~", c) != NULL);
        rc = plain ? tpi_buf_u8(b, c) : tpi_buf_printf(b, "%%%02X", c);
    }
    return rc;
}

/* Puts a question among the calls; the job's done is its from then on, unless the job failed. */
static void ask(struct panel *p, struct panel_job *job, uint8_t what, struct tpc_str service,
                const struct tpi_buf *url)
{
    struct panel_call *c =
        make_call(p, what, service, (struct tpc_str){ (const char *) url->ptr, url->len });
    if (c == NULL) {
        panel_fail(job, PANEL_INTERNAL, NULL);
        return;
    }
    c->done = job->done;
    c->done_user = job->done_user;
    pthread_mutex_lock(&p->lock);
    bool full = p->question_count >= PANEL_QUESTIONS_MAX;
    if (!full) {
        put_first(p, c);
    }
    pthread_mutex_unlock(&p->lock);
    if (full) {
        free_call(c);
        panel_fail(job, PANEL_CALL_FAILED, NULL);
        return;
    }
    job->done = NULL;
}

void panel_ask_form(struct panel *p, struct panel_job *job)
{
    struct tpc_str address;
    struct tpi_buf url;
    uint32_t code = panel_address(p, job->arena, job->text, &address);
    if (code != PANEL_OK) {
        panel_fail(job, code, NULL);
        return;
    }
    tpi_buf_init(&url, p->host->allocator, 0);
    /* Older services index the query without looking: all three are always there. */
    int rc = tpi_buf_printf(
        &url, "http://%.*s/api/v1/form/config?protocol_type=", (int) address.len, address.ptr);
    rc = rc != 0 ? rc : encode(&url, job->text);
    rc = rc != 0 ? rc : tpi_buf_printf(&url, "&device_type=");
    rc = rc != 0 ? rc : encode(&url, job->device_type);
    rc = rc != 0 ? rc : tpi_buf_printf(&url, "&form_type=");
    rc = rc != 0 ? rc : encode(&url, job->form_type);
    if (rc == 0) {
        ask(p, job, ASK_FORM, job->text, &url);
    } else {
        panel_fail(job, PANEL_INTERNAL, NULL);
    }
    tpi_buf_fini(&url);
}

void panel_ask_list(struct panel *p, struct panel_job *job)
{
    struct tpc_str address;
    struct tpi_buf url;
    struct panel_doc d;
    int rc = panel_get(p, job->arena, "access_point", job->text, &d);
    struct tpc_str service = rc == 0 ? tpi_member_text(&d.doc, "service") : job->text;
    uint32_t code = rc == 0            ? panel_address(p, job->arena, service, &address)
                    : rc == TPC_ENOENT ? PANEL_DATABASE
                                       : PANEL_INTERNAL;
    if (code != PANEL_OK) {
        panel_fail(job, code, NULL);
        return;
    }
    struct tpc_str voucher = panel_secret(p, job->arena, "access_point", job->text, "voucher");
    if (voucher.ptr == NULL) {
        panel_fail(job, PANEL_INTERNAL, NULL);
        return;
    }
    tpi_buf_init(&url, p->host->allocator, 0);
    rc = tpi_buf_printf(&url, "http://%.*s/api/v1/plugin/device/list?voucher=", (int) address.len,
                        address.ptr);
    rc = rc != 0 ? rc : encode(&url, voucher);
    rc = rc != 0 ? rc
                 : tpi_buf_printf(&url, "&page_size=%u&page=%u", (unsigned) job->page_size,
                                  (unsigned) job->page);
    if (rc == 0) {
        ask(p, job, ASK_LIST, service, &url);
    } else {
        panel_fail(job, PANEL_INTERNAL, NULL);
    }
    tpi_buf_fini(&url);
}

static int question(struct panel *p, panel_handler_fn *handler, const struct tpc_str texts[3],
                    uint32_t page, uint32_t page_size, tpc_panel_done_fn *done, void *user)
{
    if (done == NULL || texts[0].len == 0) {
        return TPC_EINVAL;
    }
    struct panel_job *job = panel_job_make(p, handler, texts);
    if (job == NULL) {
        return TPC_ENOMEM;
    }
    job->done = done;
    job->done_user = user;
    job->page = page;
    job->page_size = page_size;
    return panel_post(p, job);
}

static int ops_form(void *self, struct tpc_str service, struct tpc_str device_type,
                    struct tpc_str form_type, tpc_panel_done_fn *done, void *user)
{
    const struct tpc_str texts[3] = { service, device_type, form_type };
    return form_type.len == 0 || form_type.len > 16 || device_type.len > 16
               ? TPC_EINVAL
               : question(self, panel_ask_form, texts, 0, 0, done, user);
}

static int ops_list(void *self, struct tpc_str access_point, uint32_t page, uint32_t page_size,
                    tpc_panel_done_fn *done, void *user)
{
    const struct tpc_str texts[3] = { access_point };
    return page == 0 || page_size == 0
               ? TPC_EINVAL
               : question(self, panel_ask_list, texts, page, page_size, done, user);
}

const struct tpc_panel_ops panel_ops = { .iface = TPC_IFACE(struct tpc_panel_ops, 1),
                                         .form = ops_form,
                                         .list = ops_list };
