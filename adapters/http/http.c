/*
 * Module "http": an HTTP server for other modules, by libmicrohttpd on a thread of its own. It offers the
 * service http.server (tpcore/ext/http_server.h). To the core it is an adapter without devices.
 */
#include "data/member.h"
#include "server.h"

#include <string.h>
#include <strings.h>
#include <tpcore/version.h>

static const struct tpc_option url = { .type = TPC_OPT_TEXT, .min = 1, .max = 100 };

static const struct tpc_option tls[] = {
    { .name = "cert",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of our certificate, and those between it and the authority" },
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of its key" },
};

#define NUMBER(option, text, least, most, what)                                                    \
    {                                                                                              \
        .name = (option), .type = TPC_OPT_UINT, .def = (text), .min = (least), .max = (most),      \
        .since = "0.1", .help = (what)                                                             \
    }
#define BYTES(option, text, least, most, what)                                                     \
    {                                                                                              \
        .name = (option), .type = TPC_OPT_SIZE, .def = (text), .min = (least), .max = (most),      \
        .since = "0.1", .help = (what)                                                             \
    }
#define TIME(option, text, what)                                                                   \
    {                                                                                              \
        .name = (option), .type = TPC_OPT_DURATION, .def = (text), .min = 10, .max = 86400000,     \
        .since = "0.1", .help = (what)                                                             \
    }

static const struct tpc_option options[] = {
    { .name = "listen",
      .type = TPC_OPT_LIST,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = HS_LISTENERS_MAX,
      .elem = &url,
      .since = "0.1",
      .help = "http://ADDRESS:PORT or https://ADDRESS:PORT; port 0 = any" },
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(tls),
      .since = "0.1",
      .help = "of listeners that begin with https" },
    NUMBER("max_connections", "10000", 1, 1000000, "at once; more are closed"),
    NUMBER("max_per_address", "10000", 1, 1000000,
           "connections of one address, of IPv6 of one /64; more are closed"),
    NUMBER("max_addresses", "65536", 16, 10000000, "that are remembered at once"),
    NUMBER("max_pending", "1024", 1, 1000000, "requests that wait for their answer; more get 503"),
    NUMBER("rate", "0", 0, 1000000, "requests a second of one address; more get 429; 0 = no limit"),
    BYTES("header_max", "8KiB", 1024, 65536, "request line and headers"),
    BYTES("path_max", "2KiB", 16, 65536, "path"),
    BYTES("query_max", "4KiB", 16, 65536, "query"),
    BYTES("body_max", "1MiB", 0, INT64_C(1) << 30, "body, where the route does not say so itself"),
    BYTES("bodies_max", "64MiB", 1024, INT64_C(1) << 40, "all bodies that are held; more get 503"),
    BYTES("answers_max", "256MiB", 1024, INT64_C(1) << 40,
          "all answers that their peers have not taken yet; more become 503"),
    BYTES("json_max", "16MiB", 65536, INT64_C(1) << 32, "memory of one JSON body's values"),
    TIME("header_timeout", "10s", "from the connection, or a request's first line, to its headers"),
    TIME("body_timeout", "30s", "from the headers to the end of the body"),
    TIME("answer_timeout", "30s", "of a route, where it does not say so itself; then 504"),
    TIME("send_timeout", "60s", "until the peer has taken the answer"),
    TIME("idle_timeout", "75s", "of a connection between two requests"),
    TIME("stop_timeout", "5s", "how long a stop waits for answers"),
};

static void read_limits(struct hs_limits *l, const struct tpc_value *cfg)
{
    l->header_max = (uint64_t) tpi_member_int(cfg, "header_max", 0);
    l->path_max = (uint64_t) tpi_member_int(cfg, "path_max", 0);
    l->query_max = (uint64_t) tpi_member_int(cfg, "query_max", 0);
    l->body_max = (uint64_t) tpi_member_int(cfg, "body_max", 0);
    l->bodies_max = (uint64_t) tpi_member_int(cfg, "bodies_max", 0);
    l->answers_max = (uint64_t) tpi_member_int(cfg, "answers_max", 0);
    l->json_max = (uint64_t) tpi_member_int(cfg, "json_max", 0);
    l->connections_max = (uint32_t) tpi_member_int(cfg, "max_connections", 0);
    l->per_address_max = (uint32_t) tpi_member_int(cfg, "max_per_address", 0);
    l->addresses_max = (uint32_t) tpi_member_int(cfg, "max_addresses", 0);
    l->pending_max = (uint32_t) tpi_member_int(cfg, "max_pending", 0);
    l->rate_per_s = (uint32_t) tpi_member_int(cfg, "rate", 0);
    l->header_ms = (uint32_t) tpi_member_int(cfg, "header_timeout", 0);
    l->body_ms = (uint32_t) tpi_member_int(cfg, "body_timeout", 0);
    l->answer_ms = (uint32_t) tpi_member_int(cfg, "answer_timeout", 0);
    l->send_ms = (uint32_t) tpi_member_int(cfg, "send_timeout", 0);
    l->idle_ms = (uint32_t) tpi_member_int(cfg, "idle_timeout", 0);
    l->drain_ms = (uint32_t) tpi_member_int(cfg, "stop_timeout", 0);
}

static struct tpc_str param(const struct tpc_list *list, struct tpc_str name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tpc_http_header *h = TPC_LIST_AT(struct tpc_http_header, *list, i);
        if (h->name.len == name.len &&
            (name.len == 0 || strncasecmp(h->name.ptr, name.ptr, name.len) == 0)) {
            return h->value;
        }
    }
    return TPC_STR("");
}

static uint16_t port(void *self, uint32_t listener)
{
    struct hs_server *s = self;
    pthread_mutex_lock(&s->lock);
    uint16_t found = listener < s->listener_count && s->running ? s->listeners[listener].port : 0;
    pthread_mutex_unlock(&s->lock);
    return found;
}

static const struct tpc_http_server_ops server_ops = {
    .iface = TPC_IFACE(struct tpc_http_server_ops, 1),
    .add = hs_add,
    .remove = hs_remove,
    .reply = hs_reply,
    .param = param,
    .port = port,
};

static int read_listeners(struct hs_server *s, const struct tpc_value *cfg)
{
    const struct tpc_value *list = tpi_member(cfg, "listen");
    const struct tpc_value *files = tpi_member(cfg, "tls");
    bool any = false;
    for (size_t i = 0; list != NULL && i < list->len && i < HS_LISTENERS_MAX; i++) {
        struct hs_listener *l = &s->listeners[i];
        int rc = hs_listener_read(s, tpc_value_text(&list->as.items[i]), l);
        if (rc != 0) {
            return rc;
        }
        any = any || l->tls;
        s->listener_count++;
    }
    if (!any) {
        return 0;
    }
    struct tpc_str cert = tpi_member_text(files, "cert");
    struct tpc_str key = tpi_member_text(files, "key");
    if (cert.len == 0 || key.len == 0) {
        return s->host->fail(s->ctx, TPC_EINVAL, "tls: an https listener needs cert and key");
    }
    int rc = hs_tls_read(s, "tls.cert", cert, &s->tls_cert, &s->tls_cert_size);
    return rc != 0 ? rc : hs_tls_read(s, "tls.key", key, &s->tls_key, &s->tls_key_size);
}

static int http_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct hs_server *s = self;
    s->host = host;
    s->ctx = ctx;
    read_limits(&s->limits, cfg);
    int rc = hs_server_init(s);
    if (rc != 0) {
        return host->fail(ctx, rc, "no memory for a server");
    }
    rc = read_listeners(s, cfg);
    return rc != 0 ? rc : host->offer(ctx, "http.server", &server_ops, s);
}

static int http_start(void *self)
{
    return hs_server_start(self);
}

/* No device is behind it. */
static int http_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                     uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void http_stop(void *self)
{
    hs_server_stop(self);
}

static void http_fini(void *self)
{
    hs_server_fini(self);
}

static void http_tell(void *self, tpc_tell_fn *fn, void *user)
{
    hs_table_tell(self, fn, user);
}

static const struct tpc_adapter_ops http_adapter = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "http",
    .instance_size = sizeof(struct hs_server),
    .options = TPC_OPTIONS(options),
    .init = http_init,
    .start = http_start,
    .send = http_send,
    .stop = http_stop,
    .fini = http_fini,
    .tell = http_tell,
};

static const struct tpc_interface interfaces[] = { { TPC_KIND_ADAPTER, &http_adapter } };
static const char *const offers[] = { "http.server" };

TPC_MODULE(http, .version = TPC_VERSION, .licence = "Apache-2.0 AND LGPL-2.1-or-later",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(interfaces),
           .offers = TPC_LIST(offers))
