#include "tcp_rig.h"
#include "bench.h"
#include "bench_util.h"

#include "stream.h"

#include <string.h>
#include <tpcore/ext/access.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/modules.h>

#include "base/env.h"

enum { HEAD = 4, METER = 9, FRAME_MAX = 2048 };

/* ---- the protocol ---- */

static uint32_t number(const uint8_t *p, int bytes)
{
    uint32_t n = 0;
    for (int i = 0; i < bytes; i++) {
        n = n << 8 | p[i];
    }
    return n;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    unsigned int s = 0;
    for (size_t i = 0; i < n; i++) {
        s += p[i];
    }
    return (uint8_t) s;
}

static int put(struct tpc_buf *out, int type, const void *body, size_t len)
{
    const uint8_t head[HEAD] = { 0x68, (uint8_t) type, (uint8_t) (len >> 8), (uint8_t) len };
    out->need = HEAD + len + 1;
    if (out->need > out->cap) {
        return TPC_ETOOBIG;
    }
    memcpy(out->ptr, head, HEAD);
    memcpy(out->ptr + HEAD, body, len);
    out->ptr[HEAD + len] = sum(out->ptr, HEAD + len);
    return 0;
}

static int meter_frame(void *user, struct tpc_bytes b, size_t *ret_bytes)
{
    size_t len = b.len < HEAD ? HEAD : HEAD + number(b.ptr + 2, 2) + 1;
    (void) user;
    if (b.ptr[0] != 0x68 || len > FRAME_MAX ||
        (b.len >= len && sum(b.ptr, len - 1) != b.ptr[len - 1])) {
        *ret_bytes = 1;
        return TPC_EDECODE;
    }
    *ret_bytes = b.len >= len ? len : 0;
    return 0;
}

static int meter_answer(void *user, struct tpc_bytes f, struct tpc_buf *out)
{
    (void) user;
    return f.ptr[1] == 3 && f.len > HEAD + 4 ? put(out, 0x83, f.ptr + HEAD, 4) : 0;
}

static int reading(struct tpc_reading *r, const uint8_t *m, uint32_t sequence)
{
    char address[8];
    struct tpc_str a = { address, (size_t) snprintf(address, sizeof(address), "%u", m[0]) };
    int rc = tpc_reading_device(r, m[0] == 0 ? (struct tpc_str){ NULL, 0 } : a);
    if (rc == TPC_ENOENT) {
        rc = 0;
    }
    rc = rc == 0 && m[0] == 0 ? tpc_reading_int(r, "seq", sequence) : rc;
    rc = rc != 0 ? rc : tpc_reading_double(r, "energy_kwh", number(m + 1, 4) / 1000.0);
    rc = rc != 0 ? rc : tpc_reading_int(r, "power", number(m + 5, 2));
    return rc != 0 ? rc : tpc_reading_double(r, "voltage", number(m + 7, 2) / 10.0);
}

static int meter_decode(void *user, const struct tpc_frame *frame, struct tpc_reading *r)
{
    const uint8_t *b = frame->payload.ptr + HEAD;
    int rc = 0;
    (void) user;
    for (int i = 0; i < b[4] && rc == 0; i++) {
        rc = reading(r, b + 5 + METER * i, number(b, 4));
    }
    return rc;
}

static int meter_encode(void *user, const struct tpc_encode *command, struct tpc_buf *out)
{
    (void) user;
    (void) command;
    (void) out;
    return TPC_EUNSUPPORTED;
}

static const struct tpc_service_ops meter = {
    .iface = TPC_IFACE(struct tpc_service_ops, 1),
    .identifier = "meter",
    .frame = meter_frame,
    .answer = meter_answer,
    .decode = meter_decode,
    .encode = meter_encode,
};

/* ---- in the place of thingspanel ---- */

static int acc_serve(void *self, const struct tpc_service_ops *ops, void *user,
                     struct tpc_error *err)
{
    (void) self;
    (void) ops; /* a copy of ours */
    (void) user;
    (void) err;
    return 0;
}

static int acc_frame(void *self, struct tpc_bytes bytes, size_t *ret)
{
    return meter.frame(self, bytes, ret);
}

static int acc_login(void *self, const struct tpc_access_request *q, tpc_access_done_fn *done,
                     void *user, uint64_t *ret_id)
{
    uint8_t room[16];
    struct tpc_buf answer = { room, sizeof(room), 0 };
    struct tpc_access_grant g = { .size = sizeof(g) };
    (void) self;
    (void) ret_id;
    (void) put(&answer, 0x81, "\0", 1);
    g.device = (struct tpc_str){ (const char *) q->frame.ptr + HEAD, q->frame.len - HEAD - 1 };
    g.answer = (struct tpc_bytes){ room, answer.need };
    done(user, NULL, &g);
    return 0;
}

static void acc_cancel(void *self, uint64_t id)
{
    (void) self;
    (void) id;
}

static int acc_answer(void *self, struct tpc_str device, struct tpc_bytes frame,
                      struct tpc_buf *out)
{
    (void) device;
    return meter.answer(self, frame, out);
}

static const struct tpc_service_platform_ops platform_ops = {
    .iface = TPC_IFACE(struct tpc_service_platform_ops, 1),
    .serve = acc_serve,
};
static const struct tpc_access_ops access_ops = {
    .iface = TPC_IFACE(struct tpc_access_ops, 1),
    .frame = acc_frame,
    .login = acc_login,
    .cancel = acc_cancel,
    .answer = acc_answer,
};

static int acc_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    (void) cfg;
    int rc = host->offer(ctx, "service.platform", &platform_ops, self);
    return rc != 0 ? rc : host->offer(ctx, "device.access", &access_ops, self);
}

static int acc_start(void *self)
{
    (void) self;
    return 0;
}

static int acc_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                    uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void acc_stop(void *self)
{
    (void) self;
}

static const struct tpc_adapter_ops acc_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "acc",
    .instance_size = 1,
    .init = acc_init,
    .start = acc_start,
    .send = acc_send,
    .stop = acc_stop,
    .fini = acc_stop,
};
static const struct tpc_interface acc_interfaces[] = { { TPC_KIND_ADAPTER, &acc_ops } };
static const char *const acc_offers[] = { "service.platform", "device.access" };
static const struct tpc_module acc_module = {
    .iface = TPC_IFACE(struct tpc_module, 1),
    .name = "acc",
    .interfaces = TPC_INTERFACES(acc_interfaces),
    .offers = TPC_LIST(acc_offers),
};

/* ---- the core ---- */

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    (void) level;
    fprintf(stderr, "bench: %s: %s\n", subject, text);
}

static void open_part(struct tpc_core *core, const char *name, const char *module,
                      const char *options)
{
    bench_must(tpc_core_open(core, name, module, tpc_str_from(options)) == 0,
               tpc_error_last()->text);
}

struct tpc_core *tcp_rig_start(const char *dir, uint16_t port, uint32_t devices, uint32_t workers)
{
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[UTIL_PATH_BYTES + 256];
    options.workers = workers;
    options.on_log = on_log;
    options.log_level = TPC_LOG_WARN;
    bench_must(tpc_core_create(&options, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_tcp()) == 0 &&
                   tpc_core_add_module(core, &acc_module) == 0,
               tpc_error_last()->text);
    snprintf(text, sizeof(text), "{\"dir\":\"%s/log\"}", dir);
    open_part(core, "log", "file", text);
    open_part(core, "acc", "acc", "{}");
    snprintf(text, sizeof(text),
             "{\"listen\":[\"tcp://127.0.0.1:%u\"],\"framing\":{\"type\":\"service\"},"
             "\"accept_rate\":0,\"idle_timeout\":0}",
             (unsigned) port);
    open_part(core, "meters", "tcp", text);
    bench_must(tpc_service_serve(core, &meter, NULL) == 0, tpc_error_last()->text);
    for (uint32_t i = 0; i < devices; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"m%05u\",\"product\":\"meter\"}", (unsigned) i);
        bench_must(tpc_entity_put(core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL) == 0,
                   tpc_error_last()->text);
    }
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    return core;
}

void tcp_rig_stop(struct tpc_core *core)
{
    (void) tpc_core_stop(core, 1000);
    tpc_core_destroy(core);
}

/* ---- echo ---- */

struct echo {
    struct net_loop *loop;
    struct net_group *group;
    uint16_t port;
};

static void echo_opened(void *user, struct net_stream *s)
{
    (void) user;
    (void) s;
}

static size_t echo_read(struct net_stream *s, struct tpc_bytes bytes)
{
    bench_must(net_stream_write(s, bytes, NULL) == 0, "echo");
    return bytes.len;
}

static void echo_closed(struct net_stream *s, enum net_end why)
{
    (void) s;
    (void) why;
}

static void echo_event(void *user, enum net_event what, const char *text)
{
    (void) user;
    (void) what;
    fprintf(stderr, "bench: echo: %s\n", text);
}

static const struct net_stream_ops echo_ops = { echo_opened, echo_read, echo_closed, echo_event };

static void echo_listen(void *user)
{
    struct echo *e = user;
    struct net_url url = { "tcp", "127.0.0.1", e->port };
    bench_must(net_listen(e->group, &url, NULL, NULL) == 0, "listening");
}

static void echo_close(void *user)
{
    net_group_close(((struct echo *) user)->group);
}

struct echo *echo_start(uint16_t port)
{
    struct net_limits limits = { .max_connections = 100000, .backlog = 1024, .write_max = 65536 };
    struct echo *e = calloc(1, sizeof(*e));
    bench_must(e != NULL, "memory");
    e->port = port;
    bench_must(net_loop_create(tpc_allocator_default(), tpi_clock_system(), &e->loop) == 0 &&
                   net_group_create(e->loop, tpi_random_system(), &limits, &echo_ops, e, 8,
                                    &e->group) == 0 &&
                   net_loop_start(e->loop) == 0,
               "the loop");
    bench_must(net_loop_call(e->loop, echo_listen, e), "the loop");
    return e;
}

void echo_stop(struct echo *e)
{
    (void) net_loop_call(e->loop, echo_close, e);
    net_loop_stop(e->loop);
    e->group = net_group_destroy(e->group);
    e->loop = net_loop_destroy(e->loop);
    free(e);
}
