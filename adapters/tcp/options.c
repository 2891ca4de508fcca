#include "inside.h"

#include <string.h>

#include "base/alloc.h"
#include "data/member.h"

static const struct tpc_option url_item = { .type = TPC_OPT_TEXT, .min = 1, .max = 300 };

static const struct tpc_option dial_table[] = {
    { .name = "url",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = 300,
      .since = "0.1",
      .help = "where the device listens: tcp://HOST:PORT or tls://HOST:PORT" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "its key" },
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .since = "0.1",
      .help = "the device is of; absent = whatever it is of" },
};
static const struct tpc_option dial_item = { .type = TPC_OPT_TABLE,
                                             .sub = TPC_OPTIONS(dial_table) };

const struct tpc_option tcp_options[TCP_OPTION_COUNT] = {
    { .name = "listen",
      .type = TPC_OPT_LIST,
      .max = TCP_URLS_MAX,
      .elem = &url_item,
      .since = "0.1",
      .help = "where devices connect to: tcp://ADDRESS:PORT or tls://ADDRESS:PORT" },
    { .name = "connect",
      .type = TPC_OPT_LIST,
      .max = TCP_DIALS_MAX,
      .elem = &dial_item,
      .since = "0.1",
      .help = "devices that we connect to" },
    { .name = "framing",
      .type = TPC_OPT_TABLE,
      .def = "{}",
      .sub = NET_FRAMING_SUB,
      .since = "0.1",
      .help = "where a frame ends" },
    { .name = "access",
      .type = TPC_OPT_ENUM,
      .def = "auto",
      .values = "auto|service|rules",
      .since = "0.1",
      .help = "who says whose a connection is: the service device.access, or the built-in rules; "
              "auto = the service if a part offers it" },
    { .name = "tenant",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .def = "main",
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "of the devices, by the built-in rules and of connect" },
    { .name = "login_timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 10,
      .max = 3600000,
      .since = "0.1",
      .help = "a connection that is nobody's by then is closed; TLS has as long before" },
    { .name = "idle_timeout",
      .type = TPC_OPT_DURATION,
      .def = "5m",
      .max = 86400000,
      .since = "0.1",
      .help = "a device that says nothing for so long is closed; 0 = never" },
    { .name = "max_connections",
      .type = TPC_OPT_UINT,
      .def = "50000",
      .min = 1,
      .max = 1000000,
      .since = "0.1",
      .help = "more are closed at once" },
    { .name = "max_per_address",
      .type = TPC_OPT_UINT,
      .def = "0",
      .max = 1000000,
      .since = "0.1",
      .help = "of them from one address; 0 = no limit" },
    { .name = "accept_rate",
      .type = TPC_OPT_UINT,
      .def = "2000",
      .max = 1000000,
      .since = "0.1",
      .help = "connections accepted a second, others wait; 0 = no limit" },
    { .name = "backlog",
      .type = TPC_OPT_UINT,
      .def = "1024",
      .min = 1,
      .max = 65535,
      .since = "0.1",
      .help = "connections that wait to be accepted, as far as the system lets them" },
    { .name = "frame_max",
      .type = TPC_OPT_SIZE,
      .def = "64KiB",
      .min = 16,
      .max = NET_FRAME_LIMIT,
      .since = "0.1",
      .help = "a longer frame ends the connection" },
    { .name = "write_max",
      .type = TPC_OPT_SIZE,
      .def = "256KiB",
      .min = 1024,
      .max = 64 << 20,
      .since = "0.1",
      .help = "bytes that wait for a device that does not read; over it is closed" },
    { .name = "retry",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .min = 100,
      .max = 3600000,
      .since = "0.1",
      .help = "longest wait between two tries of connect; they begin with a second" },
    { .name = "handover",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "other parts may speak over connections of devices: modbus with url accepted+rtu" },
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .def = "{}",
      .sub = NET_TLS_SUB,
      .since = "0.1",
      .help = "certificates, for URLs of tls" },
};

static int read_url(struct tcp *t, const char *option, struct tpc_str text, struct net_url *ret)
{
    if (net_url_parse(text, ret) != 0 ||
        (strcmp(ret->scheme, "tcp") != 0 && strcmp(ret->scheme, "tls") != 0)) {
        return t->host->fail(t->ctx, TPC_EINVAL,
                             "%s: \"%.*s\" is not tcp://HOST:PORT or tls://HOST:PORT", option,
                             (int) text.len, text.ptr);
    }
    return 0;
}

static bool secure(const struct net_url *url)
{
    return strcmp(url->scheme, "tls") == 0;
}

static int read_listen(struct tcp *t, const struct tpc_value *cfg, bool *ret_tls)
{
    const struct tpc_value *list = tpi_member(cfg, "listen");
    int rc = 0;
    for (size_t i = 0; rc == 0 && list != NULL && i < list->len && i < TCP_URLS_MAX; i++) {
        struct net_url *u = &t->listen[i];
        struct sockaddr_storage address;
        struct tpc_str text = tpc_value_text(&list->as.items[i]);
        rc = read_url(t, "listen", text, u);
        if (rc == 0 && net_url_numeric(u, &address) != 0) {
            rc = t->host->fail(t->ctx, TPC_EINVAL, "listen: \"%s\" is a name, no address", u->host);
        }
        if (rc == 0) {
            *ret_tls = *ret_tls || secure(u);
            t->listen_count++;
        }
    }
    return rc;
}

/* Two connections of one device would close each other for ever. */
static bool is_twice(const struct tcp *t, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (tpc_str_equal(t->dials[k].device, t->dials[i].device)) {
            return true;
        }
    }
    return false;
}

static int read_connect(struct tcp *t, const struct tpc_value *cfg, bool *ret_tls)
{
    const struct tpc_value *list = tpi_member(cfg, "connect");
    int rc = 0;
    if (list == NULL || list->len == 0) {
        return 0;
    }
    t->dials = tpi_alloc_array(t->host->allocator, list->len, sizeof(*t->dials));
    if (t->dials == NULL) {
        return t->host->fail(t->ctx, TPC_ENOMEM, "no memory for the options");
    }
    t->dial_count = (uint32_t) list->len;
    for (uint32_t i = 0; rc == 0 && i < t->dial_count; i++) {
        struct tcp_dial *d = &t->dials[i];
        d->tenant = t->tenant;
        d->product = tpi_member_text(&list->as.items[i], "product");
        d->device = tpi_member_text(&list->as.items[i], "device");
        rc = read_url(t, "connect", tpi_member_text(&list->as.items[i], "url"), &d->url);
        *ret_tls = *ret_tls || (rc == 0 && secure(&d->url));
        if (rc == 0 && (d->url.port == 0 || is_twice(t, i))) {
            rc = t->host->fail(t->ctx, TPC_EINVAL, "connect: %.*s: %s", (int) d->device.len,
                               d->device.ptr,
                               d->url.port == 0 ? "port 0 is none" : "it is there twice");
        }
    }
    return rc;
}

static void read_limits(struct tcp *t, const struct tpc_value *cfg)
{
    struct net_limits *l = &t->limits;
    t->login_ms = (uint32_t) tpi_member_int(cfg, "login_timeout", 0);
    l->max_connections = (uint32_t) tpi_member_int(cfg, "max_connections", 0);
    l->max_per_address = (uint32_t) tpi_member_int(cfg, "max_per_address", 0);
    l->accept_rate = (uint32_t) tpi_member_int(cfg, "accept_rate", 0);
    l->backlog = (uint32_t) tpi_member_int(cfg, "backlog", 0);
    l->idle_ms = (uint32_t) tpi_member_int(cfg, "idle_timeout", 0);
    l->handshake_ms = t->login_ms;
    l->write_max = (uint32_t) tpi_member_int(cfg, "write_max", 0);
    l->retry_max_ms = (uint32_t) tpi_member_int(cfg, "retry", 0);
    l->retry_min_ms = l->retry_max_ms < 1000 ? l->retry_max_ms : 1000;
}

int tcp_options_read(struct tcp *t, const struct tpc_value *cfg)
{
    struct tpc_str mode = tpi_member_text(cfg, "access");
    const struct tpc_value *tls = tpi_member(cfg, "tls");
    bool tls_in = false, tls_out = false;
    t->tenant = tpi_member_text(cfg, "tenant");
    t->handover = tpi_member_bool(cfg, "handover", false);
    t->access_mode = tpc_str_equal(mode, TPC_STR("service")) ? TCP_ACCESS_SERVICE
                     : tpc_str_equal(mode, TPC_STR("rules")) ? TCP_ACCESS_RULES
                                                             : TCP_ACCESS_AUTO;
    read_limits(t, cfg);
    int rc = net_framing_read(t->host, t->ctx, tpi_member(cfg, "framing"),
                              (uint32_t) tpi_member_int(cfg, "frame_max", 0), &t->framing);
    if (rc == 0) {
        rc = read_listen(t, cfg, &tls_in);
    }
    if (rc == 0) {
        rc = read_connect(t, cfg, &tls_out);
    }
    if (rc == 0 && t->listen_count == 0 && t->dial_count == 0) {
        rc = t->host->fail(t->ctx, TPC_EINVAL, "listen: an address, or connect, is needed");
    }
    if (rc == 0 && tls_in) {
        rc = net_tls_create(t->host, t->ctx, tls, true, &t->tls_in);
    }
    if (rc == 0 && tls_out) {
        rc = net_tls_create(t->host, t->ctx, tls, false, &t->tls_out);
    }
    return rc;
}
