#include "client.h"
#include "retry.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/crypto.h"

/* A request with copies of all its texts behind it, in one block. */
struct request {
    struct xfer x; /* first: the loop's pointer is ours */
    struct http_client *client;
    size_t bytes, used; /* of the block */
    tpc_http_done_fn *done;
    void *user_data;
    uint32_t flags, connect_ms, whole_ms;
    uint64_t response_max;
    char origin[HTTP_ORIGIN_MAX];
    const char *url, *method, *ca, *cert, *key, *user, *password;
    const char *lines; /* header_count lines, each with a NUL */
    uint32_t header_count;
    bool typed; /* it has a Content-Type */
    struct tpc_bytes body;
    struct curl_slist *list;

    struct tpi_buf head, answer;
    int failed; /* why our callbacks ended it; 0 = they did not */
    const char *why;
    bool cut;

    uint32_t retries, tries, delay_ms;
};

/* ---- taking a request ---- */

static int check(const struct tpc_http_request *q, struct tpc_error *err,
                 char origin[HTTP_ORIGIN_MAX])
{
    int rc = http_check_url(q->url, err, origin);
    if (rc == 0 && !http_method_valid(q->method)) {
        rc = tpi_error_set(err, TPC_EINVAL, "http", "a method is 1 to 16 capital letters");
    }
    bool reads =
        tpc_str_equal(q->method, TPC_STR("GET")) || tpc_str_equal(q->method, TPC_STR("HEAD"));
    if (rc == 0 && (q->flags & TPC_HTTP_REDIRECTS) != 0 && !reads) {
        rc = tpi_error_set(err, TPC_EINVAL, "http", "redirects are followed for GET and HEAD");
    }
    if (rc == 0 && reads && q->body.ptr != NULL) {
        rc = tpi_error_set(err, TPC_EINVAL, "http", "GET and HEAD have no body");
    }
    if (rc == 0 && q->retries > HTTP_RETRIES_MAX) {
        rc = tpi_error_set(err, TPC_EINVAL, "http", "more than %d retries", HTTP_RETRIES_MAX);
    }
    if (rc == 0 && q->headers.count > HTTP_HEADERS_MAX) {
        rc = tpi_error_set(err, TPC_EINVAL, "http", "more than %d headers", HTTP_HEADERS_MAX);
    }
    for (uint32_t i = 0; rc == 0 && i < q->headers.count; i++) {
        rc = http_check_header(TPC_LIST_AT(struct tpc_http_header, q->headers, i), err);
    }
    const struct tpc_str texts[] = { q->ca, q->cert, q->key, q->user, q->password };
    for (size_t i = 0; rc == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].len > 0 && memchr(texts[i].ptr, '\0', texts[i].len) != NULL) {
            rc = tpi_error_set(err, TPC_EINVAL, "http", "a text has a NUL byte in it");
        }
    }
    return rc;
}

static size_t block_bytes(const struct tpc_http_request *q)
{
    size_t n = sizeof(struct request) + q->body.len;
    const struct tpc_str texts[] = {
        q->url, q->method, q->ca, q->cert, q->key, q->user, q->password
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        n += texts[i].len + 1;
    }
    for (uint32_t i = 0; i < q->headers.count; i++) {
        const struct tpc_http_header *h = TPC_LIST_AT(struct tpc_http_header, q->headers, i);
        n += h->name.len + h->value.len + 3;
    }
    return n;
}

static void *put(struct request *r, const void *p, size_t len)
{
    char *at = (char *) r + r->used;
    if (len > 0) {
        memcpy(at, p, len);
    }
    r->used += len;
    return at;
}

/* A copy with a NUL; NULL for an empty text. */
static const char *keep(struct request *r, struct tpc_str s)
{
    if (s.len == 0) {
        return NULL;
    }
    char *at = put(r, s.ptr, s.len);
    put(r, "", 1);
    return at;
}

static void keep_headers(struct request *r, const struct tpc_list *headers)
{
    r->lines = put(r, NULL, 0);
    r->header_count = headers->count;
    for (uint32_t i = 0; i < headers->count; i++) {
        const struct tpc_http_header *h = TPC_LIST_AT(struct tpc_http_header, *headers, i);
        r->typed = r->typed || http_same(h->name, TPC_STR("content-type"));
        put(r, h->name.ptr, h->name.len);
        /* What libcurl wants to be told of a header without a value. */
        put(r, h->value.len > 0 ? ": " : ";", h->value.len > 0 ? 2 : 1);
        put(r, h->value.ptr, h->value.len);
        put(r, "", 1);
    }
}

static void free_request(struct request *r)
{
    const struct tpc_allocator *a = r->client->host->allocator;
    size_t bytes = r->bytes;
    curl_slist_free_all(r->list);
    tpi_buf_fini(&r->head);
    tpi_buf_fini(&r->answer);
    tpi_wipe(r, bytes); /* a password or a token stood in it */
    a->resize(a->user, r, bytes, 0);
}

/* ---- running it; the loop's thread ---- */

static int stop_reading(struct request *r, int code, const char *why)
{
    r->failed = code;
    r->why = why;
    return 0;
}

static size_t on_head(char *p, size_t one, size_t n, void *user)
{
    struct request *r = user;
    (void) one;
    if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
        tpi_buf_clear(&r->head); /* after a 1xx or a redirect another head begins */
    }
    int rc = tpi_buf_put(&r->head, p, n);
    if (rc != 0) {
        stop_reading(r, rc,
                     rc == TPC_ETOOBIG ? "the headers of the answer are over the limit"
                                       : "no memory for the answer");
    }
    return rc == 0 ? n : 0;
}

static size_t on_body(char *p, size_t one, size_t n, void *user)
{
    struct request *r = user;
    (void) one;
    if (r->response_max - r->answer.len < n && (r->flags & TPC_HTTP_CUT) != 0) {
        r->cut = true;
        (void) tpi_buf_put(&r->answer, p, (size_t) (r->response_max - r->answer.len));
        return 0;
    }
    int rc = tpi_buf_put(&r->answer, p, n);
    if (rc != 0) {
        stop_reading(
            r, rc, rc == TPC_ETOOBIG ? "the answer is over the limit" : "no memory for the answer");
    }
    return rc == 0 ? n : 0;
}

static bool add_line(struct request *r, const char *line)
{
    struct curl_slist *list = curl_slist_append(r->list, line);
    if (list != NULL) {
        r->list = list;
    }
    return list != NULL;
}

static bool add_headers(struct request *r)
{
    const char *line = r->lines;
    bool ok = add_line(r, "Expect:"); /* no 100-continue */
    if (ok && !r->typed) {
        ok = add_line(r, "Content-Type:"); /* not the one of a form */
    }
    for (uint32_t i = 0; ok && i < r->header_count; i++) {
        ok = add_line(r, line);
        line += strlen(line) + 1;
    }
    return ok;
}

static CURLcode set_method(struct request *r, CURL *easy)
{
    bool post = strcmp(r->method, "POST") == 0;
    bool body = r->body.ptr != NULL || post || strcmp(r->method, "PUT") == 0 ||
                strcmp(r->method, "PATCH") == 0;
    CURLcode code = CURLE_OK;
    if (strcmp(r->method, "HEAD") == 0) {
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (body) {
        code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) r->body.len);
        if (code == CURLE_OK) {
            code = curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                                    r->body.len > 0 ? (const void *) r->body.ptr : "");
        }
    }
    if (code == CURLE_OK && !post && strcmp(r->method, "GET") != 0) {
        code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
    }
    return code;
}

static CURLcode set_reading(struct request *r, CURL *easy)
{
    bool limit = (r->flags & TPC_HTTP_CUT) == 0 && strcmp(r->method, "HEAD") != 0;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    }
    if (code == CURLE_OK && limit) {
        code = curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) r->response_max);
    }
    if (code == CURLE_OK && (r->flags & TPC_HTTP_REDIRECTS) != 0) {
        code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    }
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 3L);
}

static int setup(struct xfer *x, CURL *easy, struct tpc_error *err)
{
    struct request *r = (struct request *) x;
    const struct http_client *c = r->client;
    struct xfer_settings s = { .url = r->url,
                               .schemes = r->origin[4] == 's' ? "https" : "http",
                               .proxy = c->proxy,
                               .ca = r->ca != NULL ? r->ca : c->ca,
                               .cert = r->cert,
                               .key = r->key,
                               .user = r->user,
                               .password = r->password,
                               .connect_ms = r->connect_ms,
                               .whole_ms = r->whole_ms,
                               .insecure = (r->flags & TPC_HTTP_INSECURE) != 0 };
    curl_slist_free_all(r->list); /* of an earlier try */
    r->list = NULL;
    int rc = xfer_set(easy, &s);
    CURLcode code = CURLE_OK;
    if (rc == 0 && !add_headers(r)) {
        rc = TPC_ENOMEM;
    }
    if (rc == 0) {
        code = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->list);
    }
    if (rc == 0 && code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, c->user_agent);
    }
    if (rc == 0 && code == CURLE_OK) {
        code = set_method(r, easy);
    }
    if (rc == 0 && code == CURLE_OK) {
        code = set_reading(r, easy);
    }
    if (rc == 0 && code != CURLE_OK) {
        rc = code == CURLE_OUT_OF_MEMORY ? TPC_ENOMEM : TPC_EINVAL;
    }
    return rc == 0 ? 0
                   : tpi_error_set(err, rc, "http",
                                   rc == TPC_ENOMEM ? "no memory for a request"
                                                    : "libcurl refuses a setting");
}

/* ---- its end ---- */

/* The headers as a list. *ret_bytes is to be freed, 0 = nothing. */
static int list_headers(const struct request *r, struct tpc_list *ret, size_t *ret_bytes)
{
    const struct tpc_allocator *a = r->client->host->allocator;
    struct tpc_str head = { (const char *) r->head.ptr, r->head.len };
    struct tpc_http_header h;
    uint32_t count = 0;
    for (size_t pos = 0; http_head_next(head, &pos, &h);) {
        count++;
    }
    struct tpc_http_header *items = NULL;
    if (count > 0) {
        items = a->resize(a->user, NULL, 0, count * sizeof(*items));
        if (items == NULL) {
            return TPC_ENOMEM;
        }
    }
    uint32_t i = 0;
    for (size_t pos = 0; i < count && http_head_next(head, &pos, &h);) {
        items[i++] = h;
    }
    *ret = (struct tpc_list){ items, count, (uint32_t) sizeof(*items) };
    *ret_bytes = count * sizeof(*items);
    return 0;
}

static void tell_counters(const struct http_client *c, const struct tpc_error *err)
{
    const char *name = err == NULL                  ? "answered"
                       : err->code == TPC_ETIMEOUT  ? "timed_out"
                       : err->code == TPC_ETOOBIG   ? "too_big"
                       : err->code == TPC_ECANCELED ? "canceled"
                                                    : "failed";
    c->host->count(c->ctx, name, 1);
}

/* The answer that came is forgotten; the request is sent once more. */
static bool again(struct xfer *x, CURL *easy, const struct tpc_error *err, uint64_t *ret_delay_ms)
{
    struct request *r = (struct request *) x;
    const struct tpc_host *host = r->client->host;
    struct tpc_str head = { (const char *) r->head.ptr, r->head.len };
    struct tpc_str after = { NULL, 0 };
    struct tpc_http_header h;
    uint32_t chance = 0;
    long status = 0;
    if (r->tries >= r->retries || r->failed != 0 || r->cut) {
        return false;
    }
    if (curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK ||
        !http_retry_wanted(err != NULL ? err->code : 0, (uint32_t) status)) {
        return false;
    }
    for (size_t pos = 0; err == NULL && http_head_next(head, &pos, &h);) {
        after = http_same(h.name, TPC_STR("retry-after")) ? h.value : after;
    }
    (void) host->random->fill(host->random->user, &chance, sizeof(chance));
    if (!http_retry_delay(r->tries + 1, r->delay_ms, after, chance, ret_delay_ms)) {
        return false;
    }
    r->tries++;
    tpi_buf_clear(&r->head);
    tpi_buf_clear(&r->answer);
    host->count(r->client->ctx, "retried", 1);
    return true;
}

static void on_done(struct xfer *x, CURL *easy, const struct tpc_error *err)
{
    struct request *r = (struct request *) x;
    const struct tpc_allocator *a = r->client->host->allocator;
    struct tpc_http_reply reply = { .size = sizeof(reply), .err = err };
    struct tpc_error own;
    size_t bytes = 0;
    long status = 0;
    if (r->cut) {
        reply.err = NULL;
    } else if (r->failed != 0 && (err == NULL || err->code != TPC_ECANCELED)) {
        tpi_error_set(&own, r->failed, "http", "%s", r->why);
        reply.err = &own;
    }
    if (easy != NULL && curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK) {
        reply.status = (uint32_t) status;
    }
    if (list_headers(r, &reply.headers, &bytes) != 0) {
        tpi_error_set(&own, TPC_ENOMEM, "http", "no memory for the answer");
        reply.err = &own;
    }
    reply.body = (struct tpc_bytes){ r->answer.ptr, r->answer.len };
    tell_counters(r->client, reply.err);
    r->done(r->user_data, &reply);
    if (bytes > 0) {
        void *items = (void *) (uintptr_t) reply.headers.items;
        a->resize(a->user, items, bytes, 0);
    }
    free_request(r);
}

/* ---- the service ---- */

static void fill(struct request *r, const struct tpc_http_request *q)
{
    const struct http_client *c = r->client;
    r->done = q->done;
    r->user_data = q->user_data;
    r->flags = q->flags;
    r->connect_ms = q->connect_timeout_ms != 0 ? q->connect_timeout_ms : c->connect_ms;
    r->whole_ms = q->timeout_ms != 0 ? q->timeout_ms : c->whole_ms;
    r->response_max = q->response_max_bytes != 0 ? q->response_max_bytes : c->response_max;
    r->url = keep(r, q->url);
    r->method = keep(r, q->method);
    r->ca = keep(r, q->ca);
    r->cert = keep(r, q->cert);
    r->key = keep(r, q->key);
    r->user = keep(r, q->user);
    r->password = keep(r, q->password);
    keep_headers(r, &q->headers);
    if (q->body.ptr != NULL) {
        r->body = (struct tpc_bytes){ put(r, q->body.ptr, q->body.len), q->body.len };
    }
    tpi_buf_init(&r->head, c->host->allocator, (size_t) c->header_max);
    tpi_buf_init(&r->answer, c->host->allocator, (size_t) r->response_max);
    r->x.origin = "http";
    r->x.peer_name = r->origin;
    r->x.setup = setup;
    r->x.done = on_done;
    r->retries = http_retry_allowed(q->method, q->flags) ? q->retries : 0;
    r->delay_ms = q->retry_delay_ms;
    r->x.again = r->retries > 0 ? again : NULL;
}

/* Copies the caller's struct, which may be longer than ours, or without what was appended to it. */
static int take(const struct tpc_http_request *request, struct tpc_error *err,
                struct tpc_http_request *ret, char origin[HTTP_ORIGIN_MAX])
{
    if (request == NULL || request->size < offsetof(struct tpc_http_request, retries)) {
        return tpi_error_set(err, TPC_EINVAL, "http", "a request needs its size");
    }
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, request, request->size < sizeof(*ret) ? request->size : sizeof(*ret));
    if (ret->method.len == 0) {
        ret->method = ret->body.ptr != NULL ? TPC_STR("POST") : TPC_STR("GET");
    }
    return check(ret, err, origin);
}

int http_check(void *self, const struct tpc_http_request *request, struct tpc_error *err)
{
    struct tpc_http_request q;
    char origin[HTTP_ORIGIN_MAX];
    (void) self;
    return take(request, err, &q, origin);
}

int http_submit(void *self, const struct tpc_http_request *request, struct tpc_error *err,
                uint64_t *ret_id)
{
    struct http_client *c = self;
    const struct tpc_allocator *a = c->host->allocator;
    struct tpc_http_request q;
    char origin[HTTP_ORIGIN_MAX];
    int rc = take(request, err, &q, origin);
    if (rc != 0) {
        return rc;
    }
    if (q.done == NULL) {
        return tpi_error_set(err, TPC_EINVAL, "http", "a request needs done");
    }
    size_t bytes = block_bytes(&q);
    struct request *r = a->resize(a->user, NULL, 0, bytes);
    if (r == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "http", "no memory for a request");
    }
    memset(r, 0, sizeof(*r));
    r->client = c;
    r->bytes = bytes;
    r->used = sizeof(*r);
    memcpy(r->origin, origin, sizeof(origin));
    fill(r, &q);
    rc = xfer_submit(c->loop, &r->x, ret_id);
    if (rc == 0) {
        c->host->count(c->ctx, "requests", 1);
        return 0;
    }
    free_request(r);
    if (rc == TPC_EAGAIN) {
        c->host->count(c->ctx, "later", 1);
    }
    return tpi_error_set(err, rc, "http", "%s",
                         rc == TPC_EAGAIN   ? "too many requests wait"
                         : rc == TPC_ESTATE ? "the client does not run"
                                            : "no memory for a request");
}

int http_cancel(void *self, uint64_t id)
{
    return xfer_cancel(((struct http_client *) self)->loop, id);
}

struct tpc_str http_header(const struct tpc_http_reply *reply, struct tpc_str name)
{
    for (uint32_t i = 0; i < reply->headers.count; i++) {
        const struct tpc_http_header *h = TPC_LIST_AT(struct tpc_http_header, reply->headers, i);
        if (http_same(h->name, name)) {
            return h->value;
        }
    }
    return (struct tpc_str){ NULL, 0 };
}
