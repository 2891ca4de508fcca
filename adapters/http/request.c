#include "base/alloc.h"
#include "server.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <tpcore/json.h>

static struct hs_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* ---- requests ---- */

static struct hs_request *request_new(struct hs_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct hs_request *r = s->free;
    if (r != NULL) {
        s->free = r->next;
        s->free_count--;
    }
    pthread_mutex_unlock(&s->lock);
    if (r != NULL) {
        r->next = NULL;
        return r;
    }
    r = tpi_alloc_zero(s->host->allocator, sizeof(*r));
    if (r != NULL && tpc_arena_create(s->host->allocator, 0, &r->arena) != 0) {
        tpi_free(s->host->allocator, r, sizeof(*r));
        r = NULL;
    }
    if (r != NULL) {
        r->server = s;
        tpi_buf_init(&r->body, s->host->allocator, 0);
    }
    return r;
}

void hs_request_free(struct hs_request *r)
{
    tpi_buf_fini(&r->body);
    tpc_arena_destroy(r->json_arena);
    tpc_arena_destroy(r->arena);
    tpi_free(r->server->host->allocator, r, sizeof(*r));
}

bool hs_is_held(const struct hs_request *r)
{
    return r->id != 0 || r->claimed;
}

void hs_recycle(struct hs_request *r)
{
    struct hs_server *s = r->server;
    if (r->response != NULL) {
        MHD_destroy_response(r->response);
    }
    hs_served_unref(s, r->served);
    atomic_fetch_sub(&s->bodies, r->charged);
    atomic_fetch_sub(&s->answers, r->answer_charged);
    tpc_arena_destroy(r->json_arena);
    tpc_arena_reset(r->arena);
    if (r->body.cap > HS_BODY_KEEP) {
        tpi_buf_fini(&r->body);
        tpi_buf_init(&r->body, s->host->allocator, 0);
    }
    tpi_buf_clear(&r->body);
    *r = (struct hs_request){ .server = s, .arena = r->arena, .body = r->body };
    if (s->free_count < HS_FREE_MAX) {
        r->next = s->free;
        s->free = r;
        s->free_count++;
    } else {
        hs_request_free(r);
    }
}

/* The connection is done with its request. */
static void detach(struct hs_conn *c)
{
    struct hs_request *r = c->request;
    if (r == NULL) {
        return;
    }
    c->request = NULL;
    if (!r->seen) {
        hs_count(r->server, "broken", 1); /* it ended in its head, or the library refused it */
    }
    pthread_mutex_lock(&r->server->lock);
    r->conn = NULL;
    if (!hs_is_held(r)) {
        hs_recycle(r);
    }
    pthread_mutex_unlock(&c->server->lock);
}

/* ---- connections ---- */

enum MHD_Result hs_accept_policy(void *cls, const struct sockaddr *sa, socklen_t len)
{
    const struct hs_listener *l = cls;
    struct hs_server *s = l->server;
    struct hs_address address;
    (void) len;
    if (s->conn_count >= s->limits.connections_max) {
        hs_count(s, "refused_connections", 1);
        return MHD_NO;
    }
    hs_address_read(sa, &address, NULL);
    const struct hs_asker *k = hs_asker_find(&s->askers, &address);
    if (k != NULL && k->connections >= s->limits.per_address_max) {
        hs_count(s, "refused_address", 1);
        return MHD_NO;
    }
    return MHD_YES;
}

static void on_timer(void *user, uint64_t now_ms)
{
    static const char *const metrics[] = { "slow_headers", "idle_closed", "slow_bodies",
                                           "late_answers", "slow_readers" };
    struct hs_conn *c = user;
    if (now_ms < c->end_ms) {
        hs_look(c);
        tpi_wheel_add(&c->server->wheel, &c->timer, c->end_ms);
        return;
    }
    hs_count(c->server, metrics[c->stage], 1);
    if (c->stage != HS_WAIT) {
        shutdown(c->fd, SHUT_RDWR); /* the library closes it in its next run */
        return;
    }
    pthread_mutex_lock(&c->server->lock);
    hs_give_up(c->request, 504, "the answer did not come in time");
    pthread_mutex_unlock(&c->server->lock);
}

static void conn_open(struct hs_listener *l, struct MHD_Connection *mhd, void **io_context)
{
    struct hs_server *s = l->server;
    struct hs_conn *c = tpi_alloc_zero(s->host->allocator, sizeof(*c));
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (c == NULL || fd == NULL) {
        tpi_free(s->host->allocator, c, sizeof(*c));
        hs_count(s, "no_memory", 1); /* without a context its first request ends it */
        return;
    }
    c->fd = fd->connect_fd;
    c->server = s;
    c->listener = l;
    c->mhd = mhd;
    c->timer.fn = on_timer;
    c->timer.user = c;
    const union MHD_ConnectionInfo *at =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    hs_address_read(at != NULL ? at->client_addr : NULL, &c->address, c->peer);
    struct hs_asker *k = hs_asker_get(&s->askers, &c->address, 0, hs_now_ms(s));
    if (k != NULL) {
        k->connections++;
        c->counted = true;
    }
    c->next = s->conns;
    if (s->conns != NULL) {
        s->conns->prev = c;
    }
    s->conns = c;
    s->host->gauge(s->ctx, "connections", ++s->conn_count);
    hs_stage_set(c, HS_HEAD, s->limits.header_ms);
    *io_context = c;
}

static void conn_close(struct hs_conn *c)
{
    struct hs_server *s = c->server;
    detach(c);
    tpi_wheel_cancel(&s->wheel, &c->timer);
    struct hs_asker *k = c->counted ? hs_asker_find(&s->askers, &c->address) : NULL;
    if (k != NULL) {
        k->connections--;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        s->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    s->host->gauge(s->ctx, "connections", --s->conn_count);
    tpi_free(s->host->allocator, c, sizeof(*c));
}

void hs_connection(void *cls, struct MHD_Connection *mhd, void **io_context,
                   enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_open(cls, mhd, io_context);
    } else if (*io_context != NULL) {
        conn_close(*io_context);
        *io_context = NULL;
    }
}

/* ---- the head ---- */

/* The request line came; the library cuts the target in pieces after this. */
void *hs_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct hs_conn *c = conn_of(mhd);
    (void) cls;
    if (c == NULL) {
        return NULL;
    }
    detach(c);
    struct hs_request *r = request_new(c->server);
    if (r == NULL) {
        return NULL;
    }
    r->target_len = strlen(uri);
    r->target = tpc_arena_take(r->arena, r->target_len + 1);
    if (r->target != NULL) {
        memcpy(r->target, uri, r->target_len + 1);
    }
    r->begun_ns = c->server->host->clock->mono_ns(c->server->host->clock->user);
    r->conn = c;
    c->request = r;
    if (c->stage == HS_IDLE) {
        hs_stage_set(c, HS_HEAD, c->server->limits.header_ms);
    }
    return r;
}

static bool keep(struct hs_request *r, struct tpc_str s, struct tpc_str *ret)
{
    char *p = tpc_arena_take(r->arena, s.len + 1);
    if (p != NULL) {
        if (s.len > 0) {
            memcpy(p, s.ptr, s.len);
        }
        p[s.len] = '\0';
        *ret = (struct tpc_str){ p, s.len };
    }
    return p != NULL;
}

static bool keep_headers(struct hs_request *r, const struct hs_head *head)
{
    struct tpc_http_header *to =
        tpc_arena_take(r->arena, sizeof(*to) * (head->count > 0 ? head->count : 1));
    for (uint32_t i = 0; to != NULL && i < head->count; i++) {
        if (!keep(r, head->headers[i].name, &to[i].name) ||
            !keep(r, head->headers[i].value, &to[i].value)) {
            to = NULL;
        }
    }
    r->call.headers = (struct tpc_list){ to, head->count, sizeof(*to) };
    return to != NULL;
}

/* What is wrong with a request, before its body came. */
struct refusal {
    uint32_t status; /* 0 = nothing */
    const char *text;
    const char *name, *value; /* a header more */
    char room[128];
};

static void refuse(struct refusal *f, uint32_t status, const char *text)
{
    f->status = status;
    f->text = text;
}

/* Target to path and query. */
static void read_target(struct hs_request *r, struct hs_path *path, struct refusal *f)
{
    struct hs_server *s = r->server;
    struct tpc_str raw;
    struct tpc_http_header found[HS_QUERY_MAX], *query;
    uint32_t count = 0;
    hs_target_split((struct tpc_str){ r->target, r->target_len }, &raw, &r->call.raw_query);
    if (raw.len > s->limits.path_max || r->call.raw_query.len > s->limits.query_max) {
        r->close = true;
        hs_count(s, "too_long", 1);
        refuse(f, 414, "the path or the query is too long");
        return;
    }
    char *room = tpc_arena_take(r->arena, raw.len + r->call.raw_query.len + 1);
    if (room == NULL) {
        refuse(f, 503, "no memory");
        return;
    }
    if (hs_path_read(raw, room, path) != 0) {
        hs_count(s, "malformed", 1);
        refuse(f, 400, "the path is malformed");
        return;
    }
    if (hs_query_read(r->call.raw_query, room + raw.len, found, &count) != 0) {
        hs_count(s, "malformed", 1);
        refuse(f, 400, "the query is malformed");
        return;
    }
    r->call.path = path->text;
    query = tpc_arena_take(r->arena, sizeof(*query) * (count + 1));
    if (query == NULL) {
        refuse(f, 503, "no memory");
        return;
    }
    if (count > 0) {
        memcpy(query, found, sizeof(*query) * count);
    }
    r->call.query = (struct tpc_list){ query, count, sizeof(*query) };
}

static void check_rate(struct hs_request *r, uint64_t route, uint32_t rate_per_s, struct refusal *f)
{
    struct hs_server *s = r->server;
    uint64_t wait_ms = 1000;
    uint64_t now_ms = hs_now_ms(s);
    if (rate_per_s == 0) {
        return;
    }
    struct hs_asker *k = hs_asker_get(&s->askers, &r->conn->address, route, now_ms);
    if (k == NULL || !hs_bucket_take(&k->bucket, rate_per_s, now_ms, &wait_ms)) {
        hs_count(s, k == NULL ? "refused_address" : "refused_rate", 1);
        refuse(f, 429, "too many requests");
        f->name = "Retry-After";
        f->value = f->room;
        (void) snprintf(f->room, sizeof(f->room), "%" PRIu64, wait_ms / 1000 + 1);
    }
}

static bool is_json(struct tpc_str type)
{
    size_t n = 0;
    while (n < type.len && type.ptr[n] != ';' && type.ptr[n] != ' ') {
        n++;
    }
    return (n == 16 && strncasecmp(type.ptr, "application/json", n) == 0) ||
           (n > 5 && strncasecmp(type.ptr + n - 5, "+json", 5) == 0);
}

/* The route and its limits. */
static void find_route(struct hs_request *r, const struct hs_path *path, const struct hs_head *head,
                       struct refusal *f)
{
    struct tpc_http_header found[HS_PATTERN_MAX], *params;
    params = tpc_arena_take(r->arena, sizeof(found));
    r->served = hs_served_find(r->server, r->call.method, path, found, f->room);
    if (r->served == NULL) {
        bool there = f->room[0] != '\0';
        f->name = there ? "Allow" : NULL;
        f->value = f->room;
        refuse(f, there ? 405 : 404, there ? "the method is not allowed" : "nothing is here");
        return;
    }
    const struct tpc_http_route *route = r->served->route;
    uint32_t names = r->served->pattern.names;
    if (params == NULL) {
        refuse(f, 503, "no memory");
        return;
    }
    memcpy(params, found, sizeof(*params) * names);
    r->call.params = (struct tpc_list){ params, names, sizeof(*params) };
    r->body_max = route->body_max_bytes != 0 ? route->body_max_bytes : r->server->limits.body_max;
    if (head->length != UINT64_MAX && head->length > r->body_max) {
        hs_count(r->server, "too_big", 1);
        refuse(f, 413, "the body is too long");
    } else if ((route->flags & TPC_ROUTE_JSON) != 0 && head->length > 0 && head->type.len > 0 &&
               !is_json(head->type)) {
        refuse(f, 415, "the body is to be application/json");
    } else {
        check_rate(r, r->served->id, route->rate_per_s, f);
    }
}

static void read_head(struct hs_request *r, struct MHD_Connection *mhd, const char *method,
                      const char *version, struct hs_head *head, struct refusal *f)
{
    struct hs_server *s = r->server;
    struct hs_path path;
    f->status = hs_check_head(r, mhd, version, head, &f->text);
    if (f->status != 0) {
        hs_count(s, "malformed", 1);
        return;
    }
    r->call.size = sizeof(r->call);
    if (!keep(r, tpc_str_from(method), &r->call.method) ||
        !keep(r, tpc_str_from(r->conn->peer), &r->call.peer) || !keep_headers(r, head)) {
        refuse(f, 503, "no memory");
        return;
    }
    read_target(r, &path, f);
    if (f->status == 0 && s->drain_end_ms != 0) {
        refuse(f, 503, "the server stops");
    }
    if (f->status == 0) {
        check_rate(r, 0, s->limits.rate_per_s, f);
    }
    if (f->status == 0) {
        find_route(r, &path, head, f);
    }
}

/* Keeps a refusal until the body is read and thrown away. False: without memory. */
static bool put_off(struct hs_request *r, const struct refusal *f)
{
    struct tpc_str value = { NULL, 0 };
    if (f->name != NULL && !keep(r, tpc_str_from(f->value), &value)) {
        return false;
    }
    r->dropped = true;
    r->refuse_text = f->text;
    r->refuse_name = f->name;
    r->refuse_value = value.ptr;
    return true;
}

/* The head is complete. An answer now ends the connection, and with bytes unread the peer may not even get
 * it: one without a body, or with a short one, is refused at its end. */
static enum MHD_Result on_head(struct hs_request *r, struct MHD_Connection *mhd, const char *method,
                               const char *version)
{
    struct hs_head head;
    struct refusal f = { .status = 0 };
    r->method = method;
    hs_count(r->server, "requests", 1);
    if (r->target == NULL) {
        return MHD_NO;
    }
    read_head(r, mhd, method, version, &head, &f);
    if (f.status == 0) {
        hs_stage_set(r->conn, HS_BODY, r->server->limits.body_ms);
        return MHD_YES;
    }
    r->status = f.status;
    bool bounded =
        head.length <= HS_DISCARD_MAX || head.length == UINT64_MAX; /* on_data() counts */
    if (!r->close && !head.waits && bounded && put_off(r, &f)) {
        hs_stage_set(r->conn, HS_BODY, r->server->limits.body_ms);
        return MHD_YES;
    }
    r->close = true;
    return hs_queue(r, mhd, hs_plain(f.status, f.text, f.name, f.value));
}

/* ---- the body ---- */

static void drop_body(struct hs_request *r, uint32_t status, const char *text)
{
    r->dropped = true;
    r->status = status;
    r->refuse_text = text;
    r->discarded = 0;
}

static enum MHD_Result on_data(struct hs_request *r, const char *data, size_t n)
{
    struct hs_server *s = r->server;
    hs_count(s, "bytes_in", n);
    if (r->dropped) {
        r->discarded += n;
        return r->discarded > HS_DISCARD_MAX ? MHD_NO : MHD_YES;
    }
    if (r->body.len + n > r->body_max) {
        hs_count(s, "too_big", 1);
        drop_body(r, 413, "the body is too long");
        return MHD_YES;
    }
    r->charged += n;
    if (atomic_fetch_add(&s->bodies, n) + n > s->limits.bodies_max) {
        hs_count(s, "refused_bodies", 1);
        drop_body(r, 503, "too many bodies are held");
    } else if (tpi_buf_put(&r->body, data, n) != 0) {
        hs_count(s, "no_memory", 1);
        drop_body(r, 503, "no memory");
    }
    return MHD_YES;
}

/* 0, or a status with text in room. */
static uint32_t parse_json(struct hs_request *r, char *room, size_t cap)
{
    struct tpc_arena *arena = r->arena;
    struct tpc_error err = { 0 };
    int rc = 0;
    if (r->body.len > HS_JSON_SMALL) {
        rc = tpc_arena_create(r->server->host->allocator, r->server->limits.json_max,
                              &r->json_arena);
        arena = r->json_arena;
    }
    struct tpc_str text = { (const char *) r->body.ptr, r->body.len };
    r->json = (struct tpc_value){ .type = TPC_NULL };
    if (rc == 0 && r->body.len > 0) {
        rc = tpc_json_parse(arena, text, 0, &err, &r->json);
    }
    r->call.json = &r->json;
    if (rc == 0) {
        return 0;
    }
    hs_count(r->server, "malformed", 1);
    if (rc == TPC_ENOMEM) {
        (void) snprintf(room, cap, "the body has too many values");
        return 413;
    }
    (void) snprintf(room, cap, "the body is no JSON: line %u, column %u: %s", err.line, err.column,
                    err.text);
    return 400;
}

/* Gives the request to its route; false: the server answers with *f. */
static bool dispatch(struct hs_request *r, struct refusal *f)
{
    struct hs_server *s = r->server;
    struct hs_served *v = r->served;
    pthread_mutex_lock(&s->lock);
    size_t waiting = tpi_map64_count(&s->calls);
    int rc = v->gone || waiting >= s->limits.pending_max ? TPC_EAGAIN : 0;
    if (rc == 0) {
        rc = tpi_map64_put(&s->calls, s->next_call + 1, r, NULL);
    }
    if (rc != 0) {
        pthread_mutex_unlock(&s->lock);
        hs_count(s, "refused_pending", 1);
        refuse(f, 503, v->gone ? "the route is gone" : "too many answers are awaited");
        f->name = "Retry-After";
        f->value = "1";
        return false;
    }
    r->id = ++s->next_call;
    r->call.id = r->id;
    r->running = true;
    s->running_set = v->set;
    pthread_mutex_unlock(&s->lock);

    v->route->fn(v->user, &r->call);

    pthread_mutex_lock(&s->lock);
    r->running = false;
    s->running_set = 0;
    pthread_cond_broadcast(&s->quiet);
    if (!r->answered) {
        r->suspended = true;
        MHD_suspend_connection(r->conn->mhd);
        hs_stage_set(r->conn, HS_WAIT,
                     v->route->timeout_ms != 0 ? v->route->timeout_ms : s->limits.answer_ms);
        s->waiting++;
    }
    bool suspended = r->suspended;
    pthread_mutex_unlock(&s->lock);
    if (suspended) {
        s->host->gauge(s->ctx, "waiting", s->waiting);
    }
    return true;
}

/* The whole request is there, or its answer. */
static enum MHD_Result on_whole(struct hs_request *r, struct MHD_Connection *mhd)
{
    struct refusal f = { .status = 0 };
    char text[300];
    bool fresh = r->id == 0 && !r->answered && !r->over;
    if (r->dropped) {
        return hs_queue(r, mhd,
                        hs_plain(r->status, r->refuse_text, r->refuse_name, r->refuse_value));
    }
    if (fresh) {
        r->call.body = (struct tpc_bytes){ r->body.ptr, r->body.len };
        if ((r->served->route->flags & TPC_ROUTE_JSON) != 0) {
            f.status = parse_json(r, text, sizeof(text));
            f.text = text;
        }
        if (f.status != 0 || !dispatch(r, &f)) {
            r->status = f.status;
            return hs_queue(r, mhd, hs_plain(f.status, f.text, f.name, f.value));
        }
    }
    pthread_mutex_lock(&r->server->lock);
    bool answered = r->answered;
    bool gone = r->over && !answered; /* the server ended meanwhile */
    struct MHD_Response *response = r->response;
    pthread_mutex_unlock(&r->server->lock);
    if (gone) {
        return MHD_NO;
    }
    return answered ? hs_queue(r, mhd, response) : MHD_YES;
}

enum MHD_Result hs_access(void *cls, struct MHD_Connection *mhd, const char *url,
                          const char *method, const char *version, const char *data,
                          size_t *data_size, void **io_context)
{
    struct hs_request *r = *io_context;
    (void) cls;
    (void) url;
    if (r == NULL) {
        return MHD_NO; /* no memory for it */
    }
    if (!r->seen) {
        r->seen = true;
        return on_head(r, mhd, method, version);
    }
    if (*data_size > 0) {
        size_t n = *data_size;
        *data_size = 0;
        return r->queued ? MHD_YES : on_data(r, data, n);
    }
    return r->queued ? MHD_YES : on_whole(r, mhd);
}

/* ---- the end ---- */

static void note(struct hs_request *r, enum MHD_RequestTerminationCode code)
{
    static const char *const classes[] = { "status_2xx", "status_3xx", "status_4xx", "status_5xx" };
    struct hs_server *s = r->server;
    bool whole = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && r->queued;
    if (whole && r->status >= 200 && r->status < 600) {
        hs_count(s, classes[r->status / 100 - 2], 1);
        hs_count(s, "bytes_out", r->answer_bytes);
    } else {
        hs_count(s, "broken", 1);
    }
    bool quiet = r->served != NULL && (r->served->route->flags & TPC_ROUTE_QUIET) != 0;
    if (r->served != NULL && r->status >= 500) {
        pthread_mutex_lock(&s->lock);
        r->served->failed++;
        pthread_mutex_unlock(&s->lock);
    }
    if (!quiet) {
        uint64_t us = (s->host->clock->mono_ns(s->host->clock->user) - r->begun_ns) / 1000;
        /* Without the query: the platform above puts vouchers there. */
        s->host->log(s->ctx, TPC_LOG_DEBUG, "%s %.*s %.*s: %u%s, %zu bytes, %" PRIu64 " us",
                     r->conn->peer, (int) r->call.method.len,
                     r->call.method.len > 0 ? r->call.method.ptr : "",
                     (int) (r->call.path.len < 200 ? r->call.path.len : 200),
                     r->call.path.len > 0 ? r->call.path.ptr : "?", r->status,
                     whole ? "" : " (broken off)", r->answer_bytes, us);
    }
}

void hs_completed(void *cls, struct MHD_Connection *mhd, void **io_context,
                  enum MHD_RequestTerminationCode code)
{
    struct hs_conn *c = conn_of(mhd);
    (void) cls;
    *io_context = NULL;
    if (c == NULL) {
        return;
    }
    if (c->request != NULL && c->request->seen) {
        note(c->request, code);
    }
    detach(c);
    if (c->server->drain_end_ms != 0) {
        shutdown(c->fd, SHUT_RD);
    }
    hs_stage_set(c, HS_IDLE, c->server->limits.idle_ms);
}
