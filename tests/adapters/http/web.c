#include "web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <tpcore/modules.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000 };

static void add_list(struct web *w, const struct tpc_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tpc_http_header *h = TPC_LIST_AT(struct tpc_http_header, *list, i);
        size_t used = strlen(w->seen);
        (void) snprintf(w->seen + used, sizeof(w->seen) - used, "%s%.*s=%.*s", i > 0 ? "&" : "",
                        (int) h->name.len, h->name.ptr, (int) h->value.len, h->value.ptr);
    }
    strncat(w->seen, "|", sizeof(w->seen) - strlen(w->seen) - 1);
}

static void look(struct web *w, const struct tpc_http_call *c)
{
    pthread_mutex_lock(&w->lock);
    w->calls++;
    (void) snprintf(w->peer, sizeof(w->peer), "%.*s", (int) c->peer.len, c->peer.ptr);
    (void) snprintf(w->seen, sizeof(w->seen), "%.*s %.*s?%.*s|", (int) c->method.len, c->method.ptr,
                    (int) c->path.len, c->path.ptr, (int) c->raw_query.len, c->raw_query.ptr);
    add_list(w, &c->params);
    add_list(w, &c->query);
    add_list(w, &c->headers);
    size_t used = strlen(w->seen);
    (void) snprintf(w->seen + used, sizeof(w->seen) - used, "%.*s", (int) c->body.len,
                    c->body.len > 0 ? (const char *) c->body.ptr : "");
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void on_echo(void *user, const struct tpc_http_call *c)
{
    static const struct tpc_http_header headers[] = { { TPC_STR_INIT("X-Own"),
                                                        TPC_STR_INIT("yes") } };
    struct web *w = user;
    look(w, c);
    struct tpc_http_answer a = { .size = sizeof(a), .status = 200 };
    a.headers = (struct tpc_list) TPC_LIST(headers);
    a.content_type = TPC_STR("text/plain");
    a.body = (struct tpc_bytes){ (const uint8_t *) "hello", 5 };
    ck_assert_int_eq(w->ops->reply(w->self, c->id, &a), 0);
}

/* More than the sockets between us hold. */
static void on_big(void *user, const struct tpc_http_call *c)
{
    static uint8_t bytes[16 << 20];
    struct web *w = user;
    look(w, c);
    struct tpc_http_answer a = { .size = sizeof(a),
                                 .status = 200,
                                 .body = { bytes, sizeof(bytes) } };
    int rc = w->ops->reply(w->self, c->id, &a);
    ck_assert(rc == 0 || rc == TPC_ENOMEM);
}

/* Headers of as many bytes as an answer may have. */
static void on_heads(void *user, const struct tpc_http_call *c)
{
    struct web *w = user;
    static char value[2000];
    memset(value, 'h', sizeof(value));
    struct tpc_http_header h = { TPC_STR("X-Long"), { value, sizeof(value) } };
    look(w, c);
    struct tpc_http_answer a = { .size = sizeof(a),
                                 .status = 200,
                                 .headers = { &h, 1, sizeof(h) } };
    ck_assert_int_eq(w->ops->reply(w->self, c->id, &a), 0);
}

static void on_json(void *user, const struct tpc_http_call *c)
{
    struct web *w = user;
    look(w, c);
    struct tpc_http_answer a = { .size = sizeof(a), .status = 201, .json = c->json };
    ck_assert_int_eq(w->ops->reply(w->self, c->id, &a), 0);
}

static void on_wait(void *user, const struct tpc_http_call *c)
{
    struct web *w = user;
    look(w, c);
    pthread_mutex_lock(&w->lock);
    if (w->held_count < WEB_HELD_MAX) {
        w->held[w->held_count++] = c->id;
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static const struct tpc_http_route routes[] = {
    { .method = "GET", .path = "/echo", .fn = on_echo },
    { .method = "POST", .path = "/echo", .fn = on_echo },
    { .method = "PUT", .path = "/echo", .fn = on_echo, .body_max_bytes = 100 },
    { .method = "GET", .path = "/things/{id}", .fn = on_echo },
    { .method = "GET", .path = "/things/{id}/points/{point}", .fn = on_echo },
    { .method = "GET", .path = "/files/{rest...}", .fn = on_echo },
    { .method = "GET", .path = "/big", .fn = on_big },
    { .method = "POST", .path = "/heads", .fn = on_heads },
    { .method = "POST", .path = "/json", .fn = on_json, .flags = TPC_ROUTE_JSON },
    { .method = "GET", .path = "/wait", .fn = on_wait },
    { .method = "GET", .path = "/wait/short", .fn = on_wait, .timeout_ms = 200 },
    { .method = "GET", .path = "/rare", .fn = on_echo, .rate_per_s = 2 },
};

void web_begin(struct web *w, const char *options)
{
    web_begin_at(w, "http://127.0.0.1:0", options);
}

void web_begin_at(struct web *w, const char *listen, const char *options)
{
    char json[1024];
    const struct tpc_list list = TPC_LIST(routes);
    struct tpc_error err;
    memset(w, 0, sizeof(*w));
    tk_env_init(&w->env);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    (void) snprintf(json, sizeof(json), "{\"listen\":[\"%s\"]%s%s}", listen,
                    options[0] != '\0' ? "," : "", options);
    const struct tpc_adapter_ops *ops = fake_adapter_of(tpc_module_http());
    int rc = fake_init(&w->host, &w->env, ops, json);
    ck_assert_msg(rc == 0, "%s", w->host.last_fail);
    w->ops = w->host.offered;
    w->self = w->host.offered_self;
    rc = w->ops->add(w->self, &list, w, &err, &w->set);
    ck_assert_msg(rc == 0, "%s", err.text);
    rc = fake_start(&w->host);
    ck_assert_msg(rc == 0, "%s", w->host.last_fail);
    w->port = w->ops->port(w->self, 0);
    w->six = strchr(listen, '[') != NULL;
    ck_assert_uint_ne(w->port, 0);
}

void web_end(struct web *w)
{
    fake_stop(&w->host);
    fake_fini(&w->host);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    tk_env_fini(&w->env);
}

static void deadline(struct timespec *ret, int ms)
{
    clock_gettime(CLOCK_REALTIME, ret);
    ret->tv_sec += ms / 1000;
}

bool web_wait_held(struct web *w, uint32_t count)
{
    struct timespec until;
    deadline(&until, PATIENCE_MS);
    pthread_mutex_lock(&w->lock);
    int rc = 0;
    while (w->held_count < count && rc == 0) {
        rc = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    }
    bool there = w->held_count >= count;
    pthread_mutex_unlock(&w->lock);
    return there;
}

bool web_wait_metric(struct web *w, const char *name, int64_t value)
{
    for (int i = 0; i < 1000; i++) {
        if (fake_metric(&w->host, name) >= value) {
            return true;
        }
        poll(NULL, 0, 5);
    }
    return false;
}

int web_connect(struct web *w)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(w->port) };
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(w->port) };
    in6.sin6_addr = in6addr_loopback;
    int fd = socket(w->six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(w->six ? connect(fd, (const struct sockaddr *) &in6, sizeof(in6))
                            : connect(fd, (const struct sockaddr *) &in, sizeof(in)),
                     0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

void web_send(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* the server may have closed; the test sees it by the answer */
        }
        text += n;
        len -= (size_t) n;
    }
}

/* Whether the text has an answer's head and as many bytes as it says. */
static bool whole(const char *text, size_t len)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *said = strstr(text, "Content-Length: ");
    if (end == NULL || said == NULL || said > end) {
        return false;
    }
    return len >= (size_t) (end - text) + 4 + strtoul(said + 16, NULL, 10);
}

int web_read(int fd, char ret[WEB_ROOM], bool *ret_closed)
{
    size_t len = 0;
    bool closed = false;
    ret[0] = '\0';
    while (!closed && len < WEB_ROOM - 1 && !whole(ret, len)) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, PATIENCE_MS) <= 0) {
            break;
        }
        ssize_t n = recv(fd, ret + len, WEB_ROOM - 1 - len, 0);
        closed = n <= 0;
        len += n > 0 ? (size_t) n : 0;
        ret[len] = '\0';
    }
    if (ret_closed != NULL) {
        *ret_closed = closed || web_closed(fd);
    }
    return strncmp(ret, "HTTP/1.", 7) == 0 && len > 12 ? (int) strtol(ret + 9, NULL, 10) : 0;
}

bool web_closed(int fd)
{
    char byte;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, PATIENCE_MS) > 0 && recv(fd, &byte, 1, 0) <= 0;
}

bool web_closed_now(int fd)
{
    char bytes[WEB_ROOM];
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, 10) > 0 && recv(fd, bytes, sizeof(bytes), 0) <= 0;
}

int web_ask_bytes(struct web *w, const char *text, size_t len, char ret[WEB_ROOM])
{
    int fd = web_connect(w);
    web_send(fd, text, len);
    int status = web_read(fd, ret, NULL);
    close(fd);
    return status;
}

int web_ask(struct web *w, const char *text, char ret[WEB_ROOM])
{
    return web_ask_bytes(w, text, strlen(text), ret);
}
