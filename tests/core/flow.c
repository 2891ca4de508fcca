#include "flow.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct flow_probe flow_probe;

static int probe_init(void *self, const struct tpc_host *host, void *ctx,
                      const struct tpc_value *cfg)
{
    (void) self;
    (void) cfg;
    flow_probe.host = host;
    flow_probe.ctx = ctx;
    return 0;
}

static int probe_start(void *self)
{
    (void) self;
    return 0;
}

static void keep_text(char *out, size_t cap, const void *p, size_t len)
{
    size_t n = len < cap - 1 ? len : cap - 1;
    if (n > 0) {
        memcpy(out, p, n);
    }
    out[n] = '\0';
}

static int probe_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                      uint64_t ticket)
{
    (void) self;
    pthread_mutex_lock(&flow_probe.lock);
    int rc = peer->session == 0 ? TPC_EOFFLINE : flow_probe.send_code;
    if (rc == 0 && flow_probe.sent_count < FLOW_SENT) {
        struct flow_sent *s = &flow_probe.sent[flow_probe.sent_count];
        keep_text(s->device, sizeof(s->device), peer->device.ptr, peer->device.len);
        keep_text(s->topic, sizeof(s->topic), frame->topic.ptr, frame->topic.len);
        keep_text(s->correlation, sizeof(s->correlation), frame->correlation.ptr,
                  frame->correlation.len);
        keep_text(s->payload, sizeof(s->payload), frame->payload.ptr, frame->payload.len);
        s->ticket = ticket;
        s->flags = frame->flags;
        s->session = peer->session;
        flow_probe.sent_count++;
    }
    bool confirm = flow_probe.confirm;
    bool answer = flow_probe.answer;
    pthread_mutex_unlock(&flow_probe.lock);
    if (rc == 0 && confirm) {
        flow_probe.host->sent(flow_probe.ctx, ticket, NULL);
    }
    if (rc == 0 && answer) {
        struct tpc_frame reply;
        memset(&reply, 0, sizeof(reply));
        reply.size = sizeof(reply);
        reply.kind = TPC_MSG_REPLY;
        reply.correlation = frame->correlation;
        reply.payload = TPC_BYTES("{\"code\":0}");
        (void) flow_probe.host->receive(flow_probe.ctx, peer->session, &reply, 0);
    }
    return rc;
}

static void probe_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    (void) self;
    pthread_mutex_lock(&flow_probe.lock);
    for (uint32_t i = 0; i < count && flow_probe.settled_count < FLOW_SETTLED; i++) {
        flow_probe.settled[flow_probe.settled_count] = tickets[i];
        flow_probe.errors[flow_probe.settled_count] = errors[i];
        flow_probe.settled_count++;
    }
    pthread_mutex_unlock(&flow_probe.lock);
}

static void probe_resume(void *self, uint64_t session)
{
    (void) self;
    (void) session;
    pthread_mutex_lock(&flow_probe.lock);
    flow_probe.resumed++;
    pthread_mutex_unlock(&flow_probe.lock);
}

static void probe_stop(void *self)
{
    (void) self;
}

static void probe_fini(void *self)
{
    (void) self;
}

/* Of two parts, turn by turn: who tells of them puts each metric together. */
static void probe_tell(void *self, tpc_tell_fn *fn, void *user)
{
    (void) self;
    for (uint32_t i = 0; i < 4; i++) {
        const struct tpc_label label = { TPC_STR("part"),
                                         i < 2 ? TPC_STR("one") : TPC_STR("\"2\"\n") };
        const struct tpc_tell t = { .size = sizeof(t),
                                    .gauge = i % 2,
                                    .metric = i % 2 == 0 ? "asked" : "depth",
                                    .help = "Of a part",
                                    .labels = &label,
                                    .label_count = 1,
                                    .value = i + 0.5 };
        fn(user, &t);
    }
}

static const struct tpc_adapter_ops probe_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "probe",
    .instance_size = 8,
    .init = probe_init,
    .start = probe_start,
    .send = probe_send,
    .settled = probe_settled,
    .resume = probe_resume,
    .stop = probe_stop,
    .fini = probe_fini,
    .tell = probe_tell,
};
static const struct tpc_interface probe_interfaces[] = { { TPC_KIND_ADAPTER, &probe_ops } };
static const struct tpc_module probe = { .iface = TPC_IFACE(struct tpc_module, 1),
                                         .name = "probe",
                                         .version = "1",
                                         .licence = "Apache-2.0",
                                         .interfaces = TPC_INTERFACES(probe_interfaces) };

/* ---- life ---- */

void flow_init(struct flow *f, uint32_t workers)
{
    memset(f, 0, sizeof(*f));
    memset(&flow_probe, 0, sizeof(flow_probe));
    pthread_mutex_init(&flow_probe.lock, NULL);
    tk_env_init(&f->e);
    f->workers = workers;
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    o.workers = workers;
    /* The counting allocator is not made for several threads at once. */
    o.allocator = workers == 0 ? &f->e.alloc.base : NULL;
    o.clock = &f->e.clock.base;
    o.files = &f->e.files.base;
    o.on_log = f->e.env.log;
    o.log_user = f->e.env.log_user;
    o.online_delay_ms = TPC_NO_DELAY;
    f->o = o;
}

void flow_create(struct flow *f)
{
    tk_ok(tpc_core_create(&f->o, &f->core));
}

void flow_file_log(struct flow *f, const char *dir, const char *more)
{
    char text[512];
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"%s}", dir, more);
    tk_ok(tpc_core_open(f->core, "log", "file", tpc_str_from(text)));
}

static const char thermo[] = TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [
        { "id": "temperature", "type": "double", "min": -40, "max": 125 },
        { "id": "n", "type": "int" },
        { "id": "on", "type": "bool", "access": "rw" } ],
        "events": [{ "id": "alarm", "output": [{ "id": "level", "type": "int" }] }] } });
static const char fan[] =
    TPC_JSON({
    "key": "fan", "codec": "json",
    "model": { "properties": [{ "id": "on", "type": "bool", "access": "rw" }],
               "services": [{ "id": "spin", "input": [{ "id": "speed", "type": "int", "max": 9 }] }] } });

void flow_devices(struct flow *f, int n)
{
    char text[96];
    tk_ok(tpc_entity_put(f->core, NULL, "product", TPC_STR(thermo), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f->core, NULL, "product", TPC_STR(fan), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f->core, NULL, "device",
                         TPC_STR("{\"key\":\"fan-1\",\"product\":\"fan\"}"), TPC_ANY_REV, NULL));
    for (int i = 1; i <= n; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"t%d\",\"product\":\"thermo\"}", i);
        tk_ok(tpc_entity_put(f->core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL));
    }
}

void flow_probe_open(struct flow *f)
{
    tk_ok(tpc_core_add_module(f->core, &probe));
    tk_ok(tpc_core_open(f->core, "probe", "probe", (struct tpc_str){ NULL, 0 }));
}

void flow_start(struct flow *f)
{
    int rc = tpc_core_start(f->core);
    ck_assert_msg(rc == 0, "start: %s: %s", tpc_error_name(rc), tpc_error_last()->text);
}

void flow_destroy(struct flow *f)
{
    tk_ok(tpc_core_destroy(f->core));
    f->core = NULL;
}

void flow_fini(struct flow *f)
{
    if (f->core != NULL) {
        flow_destroy(f);
    }
    tk_env_fini(&f->e);
    pthread_mutex_destroy(&flow_probe.lock);
}

/* ---- working ---- */

bool flow_until(struct flow *f, bool (*done)(void *user), void *user)
{
    for (int i = 0; i < 5000; i++) {
        if (done(user)) {
            return true;
        }
        if (f->workers == 0) {
            (void) tpc_core_step(f->core, 0, NULL);
            tk_clock_advance(&f->e.clock, 1);
        } else {
            poll(NULL, 0, 1);
        }
    }
    return done(user);
}

static bool is_quiet(void *user)
{
    struct flow *f = user;
    return flow_metric(f, "tpc_core_ring_bytes") == 0 &&
           flow_metric(f, "tpc_log_pending_bytes") == 0 &&
           flow_metric(f, "tpc_log_appended_total") == flow_metric(f, "tpc_log_flushed_total");
}

void flow_settle(struct flow *f)
{
    if (f->workers == 0) {
        tk_ok(tpc_core_step(f->core, 0, NULL));
    }
    ck_assert(flow_until(f, is_quiet, f));
    if (f->workers > 0) {
        poll(NULL, 0, 20); /* what follows the flush: tickets, history */
    }
}

struct tpc_device *flow_device(struct flow *f, const char *key)
{
    struct tpc_device *d;
    tk_ok(tpc_device_open(f->core, tpc_str_from(key), &d));
    return d;
}

int flow_feed(struct tpc_device *d, const char *text)
{
    struct tpc_bytes raw = { (const uint8_t *) text, strlen(text) };
    return tpc_feed(d, raw, NULL, NULL);
}

double flow_latest(struct flow *f, const char *device, const char *property)
{
    struct tpc_device *d = flow_device(f, device);
    struct tpc_value v;
    double x = -1e9;
    if (tpc_latest_get(d, tpc_str_from(property), NULL, &v, NULL) == 0) {
        (void) tpc_value_double(&v, &x);
    }
    tpc_device_unref(d);
    return x;
}

struct wanted {
    const char *name;
    double sum;
};

static int sum_metric(void *user, const struct tpc_metric *m)
{
    struct wanted *w = user;
    if (strcmp(m->name, w->name) == 0) {
        w->sum += m->value;
    }
    return 0;
}

double flow_metric(struct flow *f, const char *name)
{
    struct wanted w = { name, 0 };
    tk_ok(tpc_core_stats(f->core, sum_metric, &w));
    return w.sum;
}

uint32_t flow_stored(struct flow *f, const char *device, const char *property)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_device *d = flow_device(f, device);
    struct tpc_str key = tpc_str_from(property);
    const struct tpc_row_batch *b;
    struct tpc_rows *rows;
    uint32_t n = 0;
    int rc;
    q.devices = &d;
    q.device_count = 1;
    q.properties = &key;
    q.property_count = 1;
    tk_ok(tpc_history_query(f->core, &q, &rows));
    while ((rc = tpc_rows_next(rows, &b)) > 0) {
        n += b->count;
    }
    ck_assert_int_eq(rc, 0);
    tpc_rows_close(rows);
    tpc_device_unref(d);
    return n;
}

uint64_t flow_session(const char *device, uint32_t flags)
{
    struct tpc_session_options o;
    uint64_t session = 0;
    memset(&o, 0, sizeof(o));
    o.size = sizeof(o);
    o.flags = flags;
    o.device = tpc_str_from(device);
    tk_ok(flow_probe.host->session_open(flow_probe.ctx, &o, &session));
    return session;
}

int flow_receive(uint64_t session, const char *text, uint64_t ticket)
{
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    return flow_probe.host->receive(flow_probe.ctx, session, &frame, ticket);
}
