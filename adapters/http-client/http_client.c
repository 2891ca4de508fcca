/*
 * Module "http_client": HTTP requests for other modules over one set of connections, by libcurl's
 * multi interface on a thread of its own. It offers the service http.client (tpcore/ext/http.h).
 * To the core it is an adapter without devices.
 */
#include "client.h"
#include "data/member.h"

#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/version.h>

static const struct tpc_option http_options[] = {
    { .name = "max_in_flight",
      .type = TPC_OPT_UINT,
      .def = "64",
      .min = 1,
      .max = 1024,
      .since = "0.1",
      .help = "requests that run at once" },
    { .name = "max_per_host",
      .type = TPC_OPT_UINT,
      .def = "8",
      .min = 1,
      .max = 1024,
      .since = "0.1",
      .help = "of them to one host and port" },
    { .name = "queue",
      .type = TPC_OPT_UINT,
      .def = "1024",
      .min = 1,
      .max = 65536,
      .since = "0.1",
      .help = "requests that wait; more are told to come later" },
    { .name = "connect_timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 10,
      .max = 3600000,
      .since = "0.1",
      .help = "name lookup, connection and TLS" },
    { .name = "timeout",
      .type = TPC_OPT_DURATION,
      .def = "30s",
      .min = 10,
      .max = 3600000,
      .since = "0.1",
      .help = "a whole request, where it does not say so itself" },
    { .name = "response_max",
      .type = TPC_OPT_SIZE,
      .def = "1MiB",
      .min = 1,
      .max = INT64_C(1) << 30,
      .since = "0.1",
      .help = "body of an answer, where the request does not say so itself" },
    { .name = "header_max",
      .type = TPC_OPT_SIZE,
      .def = "64KiB",
      .min = 1024,
      .max = 1 << 20,
      .since = "0.1",
      .help = "headers of an answer" },
    { .name = "ca",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of the authorities that are trusted; absent = the system's" },
    { .name = "proxy",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "URL of a proxy; absent = none, whatever the environment says" },
    { .name = "user_agent",
      .type = TPC_OPT_TEXT,
      .def = "libtpcore/" TPC_VERSION,
      .min = 1,
      .max = 200,
      .since = "0.1",
      .help = "what we call ourselves" },
};

/* A text with a NUL. *ret stays NULL if it is absent. */
static int text(struct http_client *c, const struct tpc_value *cfg, const char *name,
                const char **ret)
{
    struct tpc_str s = tpc_value_text(tpc_value_get(cfg, tpc_str_from(name)));
    if (s.len == 0) {
        return 0;
    }
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char) s.ptr[i] < 0x20) {
            return c->host->fail(c->ctx, TPC_EINVAL, "%s: has a control byte in it", name);
        }
    }
    char *copy = tpc_arena_take(c->arena, s.len + 1);
    if (copy == NULL) {
        return c->host->fail(c->ctx, TPC_ENOMEM, "no memory for the options");
    }
    memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    *ret = copy;
    return 0;
}

static const struct tpc_http_ops http_ops = { .iface = TPC_IFACE(struct tpc_http_ops, 1),
                                              .submit = http_submit,
                                              .cancel = http_cancel,
                                              .check = http_check,
                                              .header = http_header };

static int client_init(void *self, const struct tpc_host *host, void *ctx,
                       const struct tpc_value *cfg)
{
    struct http_client *c = self;
    struct xfer_limits limits = { .total = (uint32_t) tpi_member_int(cfg, "max_in_flight", 0),
                                  .per_peer = (uint32_t) tpi_member_int(cfg, "max_per_host", 0),
                                  .queue = (uint32_t) tpi_member_int(cfg, "queue", 0) };
    c->host = host;
    c->ctx = ctx;
    c->connect_ms = (uint32_t) tpi_member_int(cfg, "connect_timeout", 0);
    c->whole_ms = (uint32_t) tpi_member_int(cfg, "timeout", 0);
    c->response_max = (uint64_t) tpi_member_int(cfg, "response_max", 0);
    c->header_max = (uint64_t) tpi_member_int(cfg, "header_max", 0);
    int rc = tpc_arena_create(host->allocator, 0, &c->arena);
    if (rc != 0) {
        return host->fail(ctx, rc, "no memory for the options");
    }
    rc = text(c, cfg, "ca", &c->ca);
    if (rc == 0) {
        rc = text(c, cfg, "proxy", &c->proxy);
    }
    if (rc == 0) {
        rc = text(c, cfg, "user_agent", &c->user_agent);
    }
    if (rc == 0 && (rc = xfer_loop_create(host->allocator, &limits, &c->loop)) != 0) {
        rc = host->fail(ctx, rc, "libcurl could not be set up");
    }
    return rc != 0 ? rc : host->offer(ctx, "http.client", &http_ops, c);
}

static int client_start(void *self)
{
    struct http_client *c = self;
    int rc = xfer_loop_start(c->loop);
    return rc == 0 ? 0 : c->host->fail(c->ctx, rc, "a thread could not be started");
}

/* No device is behind it. */
static int client_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                       uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void client_stop(void *self)
{
    struct http_client *c = self;
    if (c->loop != NULL) {
        xfer_loop_stop(c->loop);
    }
}

static void client_fini(void *self)
{
    struct http_client *c = self;
    c->loop = xfer_loop_destroy(c->loop);
    c->arena = tpc_arena_destroy(c->arena);
}

static const struct tpc_adapter_ops client_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "http_client",
    .instance_size = sizeof(struct http_client),
    .options = TPC_OPTIONS(http_options),
    .init = client_init,
    .start = client_start,
    .send = client_send,
    .stop = client_stop,
    .fini = client_fini,
};

static const struct tpc_interface http_interfaces[] = { { TPC_KIND_ADAPTER, &client_ops } };
static const char *const http_offers[] = { "http.client" };

TPC_MODULE(http_client, .version = TPC_VERSION, .licence = "Apache-2.0 AND curl",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(http_interfaces),
           .offers = TPC_LIST(http_offers))
