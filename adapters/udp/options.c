#include "inside.h"

#include "address.h"

#include <string.h>

static const struct tpc_option listen_item = { .type = TPC_OPT_TEXT, .min = 8, .max = 300 };

const struct tpc_option udp_option_table[UDP_OPTIONS] = {
    { .name = "listen",
      .type = TPC_OPT_LIST,
      .def = "[\"udp://0.0.0.0:8093\"]",
      .min = 1,
      .max = UDP_LISTEN_MAX,
      .elem = &listen_item,
      .since = "0.1",
      .help = "addresses: numbers and a port, as udp://[::]:8093" },
    { .name = "tenant",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .def = "main",
      .since = "0.1",
      .help = "of the devices" },
    { .name = "session_idle",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .min = 100,
      .max = 86400000,
      .since = "0.1",
      .help = "a device that says nothing for so long is offline" },
    { .name = "max_sessions",
      .type = TPC_OPT_UINT,
      .def = "1000",
      .min = 1,
      .max = 1000000,
      .since = "0.1",
      .help = "devices that are online; more are refused" },
    { .name = "message_max",
      .type = TPC_OPT_SIZE,
      .def = "8KiB",
      .min = 256,
      .max = NET_DATAGRAM_MAX,
      .since = "0.1",
      .help = "bytes of a datagram; longer ones are passed over" },
    { .name = "rate_per_address",
      .type = TPC_OPT_UINT,
      .def = "500",
      .max = 1000000,
      .since = "0.1",
      .help = "datagrams a second; more are passed over; 0 = no limit" },
    { .name = "amplify_max",
      .type = TPC_OPT_UINT,
      .def = "3",
      .min = 1,
      .max = 100,
      .since = "0.1",
      .help = "before its login an address is sent at most so many times the bytes it sent" },
    { .name = "send_queue_max",
      .type = TPC_OPT_UINT,
      .def = "4096",
      .min = 1,
      .max = 1000000,
      .since = "0.1",
      .help = "messages to devices that wait to be sent" },
};

static uint32_t number(const struct tpc_value *cfg, const char *name)
{
    int64_t x = 0;
    (void) tpc_value_int(tpc_value_get(cfg, tpc_str_from(name)), &x);
    return (uint32_t) x;
}

int udp_config_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                    struct udp_config *ret)
{
    const struct tpc_value *listen = tpc_value_get(cfg, TPC_STR("listen"));
    struct udp_config c = { .tenant = tpc_value_text(tpc_value_get(cfg, TPC_STR("tenant"))) };
    c.idle_ms = number(cfg, "session_idle");
    c.max_sessions = number(cfg, "max_sessions");
    c.message_max = number(cfg, "message_max");
    c.rate = number(cfg, "rate_per_address");
    c.amplify = number(cfg, "amplify_max");
    c.sends_max = number(cfg, "send_queue_max");
    for (size_t i = 0; listen != NULL && i < listen->len; i++) {
        struct tpc_str text = tpc_value_text(&listen->as.items[i]);
        struct net_url url;
        if (net_url_parse(text, &url) != 0 || strcmp(url.scheme, "udp") != 0 ||
            net_url_numeric(&url, &c.listen[c.listen_count]) != 0) {
            return host->fail(ctx, TPC_EINVAL,
                              "listen[%zu]: udp://ADDRESS:PORT was expected, as "
                              "udp://0.0.0.0:8093",
                              i);
        }
        c.listen_count++;
    }
    *ret = c;
    return 0;
}
