/*
 * Adapter "modbus": a master of one bus. Its thread asks the slaves (bus.h) over a line (line.h); what they
 * say goes to the core as frames of the device; commands "set" and "get" become writes and reads.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <tpcore/cbor.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/json.h>
#include <unistd.h>

#include "data/member.h"
#include "handed.h"
#include "line.h"
#include "raw.h"

enum {
    PAYLOAD_MAX = 64 * 1024,
    VALUES_MAX = MB_READ_BITS_MAX, /* of one read */
    /* What one report holds of texts and lists; more are told by a second one. */
    SPACE_MAX = (MB_READ_REGISTERS_MAX + 1) * MB_VALUE_SPACE,
    SESSION_RETRY_MS = 10000
};

struct modbus {
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    const struct tpc_value *cfg;
    struct mb_config config;
    struct mb_url url;
    struct mb_bus bus;
    struct mb_lines lines;
    struct mb_handed handed; /* accepted connections */
    pthread_t thread;
    bool running, locks_made;
    int wake; /* eventfd: a command, resume, or stop */
    atomic_bool stopping;

    pthread_mutex_t lock; /* of the wait for resume */
    pthread_cond_t resumed;
    bool later;

    /* Of the thread. */
    struct tpc_member *members; /* VALUES_MAX */
    uint8_t *space;             /* of texts and lists: SPACE_MAX */
    size_t space_used;
    uint8_t *payload; /* PAYLOAD_MAX */
    struct mb_line_counters told;
    uint64_t told_missed, told_cuts, told_unusable;
};

static uint64_t now_us(void *user)
{
    struct modbus *m = user;
    return m->host->clock->mono_ns(m->host->clock->user) / 1000;
}

static uint64_t now_ms(struct modbus *m)
{
    return now_us(m) / 1000;
}

/* ---- frames ---- */

/* Gives it to the core; while the core says later the bus stands still. Returns 0 or why it is lost. */
static int give(struct modbus *m, uint64_t session, const struct tpc_frame *frame)
{
    for (;;) {
        pthread_mutex_lock(&m->lock);
        m->later = true; /* before the answer: resume() may come at once */
        pthread_mutex_unlock(&m->lock);
        int rc = m->host->receive(m->ctx, session, frame, 0);
        if (rc != TPC_EAGAIN) {
            return rc;
        }
        m->host->count(m->ctx, "held_back", 1);
        pthread_mutex_lock(&m->lock);
        while (m->later && !atomic_load(&m->stopping)) {
            pthread_cond_wait(&m->resumed, &m->lock);
        }
        pthread_mutex_unlock(&m->lock);
        if (atomic_load(&m->stopping)) {
            return TPC_ESTATE;
        }
    }
}

static bool open_session(struct modbus *m, struct mb_slave *s)
{
    struct tpc_session_options o = { .size = sizeof(o), .flags = TPC_SESSION_PRESENCE };
    uint64_t now = now_ms(m);
    uint64_t session;
    if (atomic_load(&s->session) != 0) {
        return true;
    }
    if (s->session_retry_ms > now) {
        return false;
    }
    o.device = s->config->device;
    o.product = s->config->product;
    o.peer = m->config.url;
    int rc = m->host->session_open(m->ctx, &o, &session);
    if (rc != 0) {
        m->host->log(m->ctx, TPC_LOG_WARN, "unit %u: device '%.*s' cannot speak: %s",
                     s->config->unit, (int) o.device.len, o.device.ptr, tpc_error_name(rc));
        m->host->count(m->ctx, "unknown_device", 1);
        s->session_retry_ms = now + SESSION_RETRY_MS;
        return false;
    }
    atomic_store(&s->session, session);
    return true;
}

static int write_payload(struct modbus *m, const struct tpc_value *v, struct tpc_bytes *ret)
{
    struct tpc_buf buf = { m->payload, PAYLOAD_MAX, 0 };
    int rc = m->config.json ? tpc_json_write(v, 0, &buf) : tpc_cbor_write(v, &buf);
    *ret = (struct tpc_bytes){ m->payload, rc == 0 ? buf.need : 0 };
    return rc;
}

/* Members [first, first + count) as one frame, or as two if that is too large. */
static int report(struct modbus *m, struct mb_slave *s, uint16_t kind, uint32_t first,
                  uint32_t count)
{
    struct tpc_value map = { .type = TPC_MAP, .len = count, .as.members = m->members + first };
    struct tpc_frame f = { .size = sizeof(f), .kind = kind };
    f.unix_ms = m->host->clock->unix_ms(m->host->clock->user);
    int rc = write_payload(m, &map, &f.payload);
    rc = rc != 0 ? rc : give(m, atomic_load(&s->session), &f);
    if (rc == TPC_ETOOBIG && count > 1) {
        rc = report(m, s, kind, first, count / 2);
        int second = report(m, s, kind, first + count / 2, count - count / 2);
        return rc != 0 ? rc : second;
    }
    if (rc != 0 && rc != TPC_ESTATE) {
        m->host->count(m->ctx, "dropped", count);
        m->host->log(m->ctx, TPC_LOG_WARN, "unit %u: %u values are dropped: %s", s->config->unit,
                     count, tpc_error_name(rc));
    }
    return rc;
}

/* The value of a tag whose data begin at `place`, as the next member. */
static bool add_value(struct modbus *m, const struct mb_tag *t, const uint8_t *data, uint32_t place,
                      uint32_t n)
{
    uint8_t *space = m->space + m->space_used;
    struct tpc_value v;
    bool good = mb_is_bits(t->function)
                    ? mb_value_of_bits(&t->shape, data, place, space, &v)
                    : mb_value_of_registers(&t->shape, data + 2 * (size_t) place, space, &v);
    if (!good) {
        m->bus.unusable++;
        return false;
    }
    m->space_used += v.type == TPC_TEXT || v.type == TPC_ARRAY ? MB_VALUE_SPACE : 0;
    m->members[n] = (struct tpc_member){ t->name, v };
    return true;
}

static void on_values(void *user, struct mb_slave *s, const struct mb_read *read,
                      const struct mb_tag *tag, const uint8_t *data)
{
    struct modbus *m = user;
    static const uint16_t kinds[] = { TPC_MSG_TELEMETRY, TPC_MSG_ATTRIBUTES };
    uint32_t spans = read != NULL ? read->spans : 1;
    if (!open_session(m, s)) {
        m->host->count(m->ctx, "dropped", spans);
        return;
    }
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t n = 0;
        m->space_used = 0;
        for (uint32_t i = 0; i < spans; i++) {
            const struct mb_span *span = read != NULL ? &s->spans[read->first + i] : NULL;
            const struct mb_tag *t = span != NULL ? &s->config->tags[span->tag] : tag;
            uint32_t place = span != NULL ? (uint32_t) (span->address - read->address) : 0;
            if (t->attribute != (k == 1)) {
                continue;
            }
            if (n == VALUES_MAX || m->space_used + MB_VALUE_SPACE > SPACE_MAX) {
                (void) report(m, s, kinds[k], 0, n); /* tags may lie over each other: many */
                n = 0;
                m->space_used = 0;
            }
            n += add_value(m, t, data, place, n);
        }
        if (n > 0) {
            (void) report(m, s, kinds[k], 0, n);
        }
    }
    m->host->count(m->ctx, "values", spans);
}

/* ---- what the bus and the line tell ---- */

static void on_presence(void *user, struct mb_slave *s, bool online)
{
    struct modbus *m = user;
    if (online) {
        (void) open_session(m, s);
        return;
    }
    uint64_t session = atomic_exchange(&s->session, 0);
    if (session != 0) {
        m->host->session_close(m->ctx, session);
    }
    m->host->count(m->ctx, "went_offline", 1);
}

static void on_refused(void *user, struct mb_slave *s, const struct mb_request *r, int exception,
                       bool first)
{
    struct modbus *m = user;
    (void) s;
    m->host->count(m->ctx, "refused", 1);
    if (first) {
        m->host->log(m->ctx, TPC_LOG_WARN, "unit %u refuses function %u of %u from %u: %s (%d)",
                     r->unit, r->function, r->count, r->address, mb_exception_text(exception),
                     exception);
    }
}

static void on_failed(void *user, const char *why)
{
    struct modbus *m = user;
    m->host->log(m->ctx, TPC_LOG_WARN, "%.*s: %s", (int) m->config.url.len, m->config.url.ptr, why);
}

static void on_connected(void *user)
{
    struct modbus *m = user;
    m->host->log(m->ctx, TPC_LOG_INFO, "connected to %.*s", (int) m->config.url.len,
                 m->config.url.ptr);
}

static void free_command(struct modbus *m, struct mb_command *c)
{
    const struct tpc_allocator *a = m->host->allocator;
    a->resize(a->user, c, sizeof(*c) + c->count * sizeof(c->items[0]), 0);
}

/* What a command has read, in m->members. */
static uint32_t read_values(struct modbus *m, const struct mb_command *c)
{
    uint32_t n = 0;
    m->space_used = 0;
    for (uint32_t i = 0; c->reads && c->failure[0] == '\0' && i < c->count; i++) {
        n += add_value(m, c->items[i].tag, c->items[i].data, 0, n);
    }
    return n;
}

static void on_ended(void *user, struct mb_command *c)
{
    struct modbus *m = user;
    struct mb_slave *s = &m->bus.slaves[c->slave];
    struct tpc_str text = tpc_str_from(c->failure[0] != '\0' ? c->failure : "success");
    uint32_t values = read_values(m, c);
    struct tpc_member members[] = {
        { TPC_STR("id"),
          { .type = TPC_TEXT, .len = c->correlation_len, .as.text = c->correlation } },
        { TPC_STR("code"), { .type = TPC_INT, .as.i = c->failure[0] != '\0' } },
        { TPC_STR("message"), { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } },
        { TPC_STR("data"), { .type = TPC_MAP, .len = values, .as.members = m->members } },
    };
    struct tpc_value map = { .type = TPC_MAP, .len = values > 0 ? 4 : 3, .as.members = members };
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_REPLY };
    f.correlation = (struct tpc_str){ c->correlation, c->correlation_len };
    uint64_t session = atomic_load(&s->session);
    m->host->count(m->ctx, c->failure[0] != '\0' ? "commands_failed" : "commands_done", 1);
    if (session != 0 && c->correlation_len > 0 && !atomic_load(&m->stopping) &&
        write_payload(m, &map, &f.payload) == 0) {
        (void) give(m, session, &f);
    }
    free_command(m, c);
}

/* ---- the thread ---- */

static void count_more(struct modbus *m, const char *metric, uint64_t now, uint64_t *told)
{
    if (now != *told) {
        m->host->count(m->ctx, metric, now - *told);
        *told = now;
    }
}

static void tell_metrics(struct modbus *m)
{
    const struct mb_line_counters *c = &m->lines.counters;
    count_more(m, "connects", c->connects, &m->told.connects);
    count_more(m, "connect_failures", c->connect_failures, &m->told.connect_failures);
    count_more(m, "connections_lost", c->lost, &m->told.lost);
    count_more(m, "stray_answers", c->stray, &m->told.stray);
    count_more(m, "garbage", c->garbage, &m->told.garbage);
    count_more(m, "missed_polls", m->bus.missed, &m->told_missed);
    count_more(m, "cuts", m->bus.cuts, &m->told_cuts);
    count_more(m, "unusable_values", m->bus.unusable, &m->told_unusable);
    m->host->gauge(m->ctx, "degraded_slaves", (int64_t) m->bus.degraded.count);
}

static void wait_for(struct modbus *m, uint32_t wait_ms)
{
    struct pollfd polls[1 + MB_LINES] = { { .fd = m->wake, .events = POLLIN } };
    uint64_t ignored;
    for (uint32_t i = 0; i < MB_LINES; i++) {
        const struct mb_line *line = &m->lines.lines[i];
        polls[1 + i].fd = line->fd;
        polls[1 + i].events = line->state == MB_LINE_CONNECTING ? POLLOUT : POLLIN;
    }
    int timeout = wait_ms > 3600000 ? 3600000 : (int) wait_ms;
    if (poll(polls, 1 + MB_LINES, timeout) > 0 && polls[0].revents != 0 &&
        read(m->wake, &ignored, sizeof(ignored)) < 0) {
        m->host->count(m->ctx, "wake_failed", 1);
    }
}

static void *run(void *arg)
{
    struct modbus *m = arg;
    while (!atomic_load(&m->stopping)) {
        uint32_t wait = mb_lines_turn(&m->lines);
        tell_metrics(m);
        if (wait > 0 && !atomic_load(&m->stopping)) {
            wait_for(m, wait);
        }
    }
    return NULL;
}

static void wake(struct modbus *m)
{
    uint64_t one = 1;
    if (write(m->wake, &one, sizeof(one)) < 0) {
        m->host->count(m->ctx, "wake_failed", 1);
    }
}

/* ---- commands ---- */

static int fill_item(const struct mb_tag *t, const struct tpc_value *v, struct mb_item *item,
                     const char **ret_why)
{
    item->tag = t;
    if (v == NULL) {
        return 0;
    }
    if (t->writing == MB_WRITE_NO) {
        *ret_why = "cannot be written";
    } else if (!mb_is_bits(t->function) && t->shape.count > MB_WRITE_REGISTERS_MAX) {
        *ret_why = "has more registers than one request writes";
    } else if (mb_is_bits(t->function)) {
        *ret_why = mb_value_to_bits(&t->shape, v, item->data);
    } else {
        *ret_why = mb_value_to_registers(&t->shape, v, item->data);
    }
    return *ret_why == NULL ? 0 : TPC_EINVAL;
}

/* The items of {"tag": value, ..}, or of {"keys": ["tag", ..]} with all tags if there is none. What is wrong
 * stands in c->failure. */
static void fill_command(const struct mb_slave *s, const struct tpc_value *doc,
                         struct mb_command *c, uint32_t count)
{
    const struct tpc_value *keys = c->reads ? tpi_member(doc, "keys") : NULL;
    for (uint32_t i = 0; i < count; i++) {
        bool all = c->reads && (keys == NULL || keys->len == 0);
        struct tpc_str key = all        ? s->config->tags[i].name
                             : c->reads ? tpc_value_text(&keys->as.items[i])
                                        : doc->as.members[i].key;
        const struct mb_tag *t = mb_tag_find(s->config, key);
        const char *why = t == NULL ? "no such tag" : NULL;
        if (t != NULL) {
            (void) fill_item(t, c->reads ? NULL : &doc->as.members[i].value, &c->items[i], &why);
        }
        if (why != NULL) {
            snprintf(c->failure, sizeof(c->failure), "%.*s: %s",
                     (int) (key.len < 60 ? key.len : 60), key.ptr, why);
            return;
        }
    }
}

/* The parameters of {"method": "raw", "params": {..}}. */
static void fill_raw(const struct modbus *m, const struct tpc_value *doc, struct mb_command *c)
{
    const struct tpc_value *params = tpi_member(doc, "params");
    const struct tpc_value *value = NULL;
    const char *why = params == NULL || params->type != TPC_MAP
                          ? "its parameters are no map"
                          : mb_raw_read(params, m->cfg, &c->own, &value);
    c->raw = true;
    c->reads = value == NULL;
    if (why == NULL) {
        (void) fill_item(&c->own, value, &c->items[0], &why);
    }
    if (why != NULL) {
        snprintf(c->failure, sizeof(c->failure), "raw: %s", why);
    }
}

/* A service that is called as a tag: with a value it writes that, without one it reads. */
static void fill_call(const struct mb_tag *t, const struct tpc_value *doc, struct mb_command *c)
{
    const struct tpc_value *value = tpi_member(doc, "params");
    const char *why = NULL;
    if (value != NULL && value->type == TPC_MAP) {
        const struct tpc_value *inner = tpi_member(value, "value");
        inner = inner != NULL ? inner : tpi_member(value, "params");
        /* Of a tag that can only be read, ThingsBoard's calls may hold anything, {"timeout": 2} for one. */
        why = inner == NULL && value->len > 0 && t->writing != MB_WRITE_NO
                  ? "its value is looked for in \"value\""
                  : NULL;
        value = inner;
    }
    if (value != NULL && value->type == TPC_NULL) {
        value = NULL;
    }
    c->own = *t;
    c->own.name = TPC_STR("value");
    c->raw = true;
    c->reads = value == NULL;
    if (why == NULL) {
        (void) fill_item(&c->own, value, &c->items[0], &why);
    }
    if (why != NULL) {
        snprintf(c->failure, sizeof(c->failure), "%.*s: %s",
                 (int) (t->name.len < 60 ? t->name.len : 60), t->name.ptr, why);
    }
}

static uint32_t items_of(const struct mb_slave *s, const struct tpc_value *doc, bool reads)
{
    const struct tpc_value *keys = reads ? tpi_member(doc, "keys") : NULL;
    if (keys != NULL && keys->type != TPC_ARRAY) {
        return 0;
    }
    size_t n = !reads ? doc->len : keys != NULL && keys->len > 0 ? keys->len : s->config->count;
    return n <= MB_ITEMS_MAX ? (uint32_t) n : 0;
}

/* Makes the command; NULL: *ret_code says why not. */
static struct mb_command *make_command(struct modbus *m, uint32_t slave,
                                       const struct tpc_frame *frame, const struct tpc_value *doc,
                                       int *ret_code)
{
    const struct tpc_allocator *a = m->host->allocator;
    const struct mb_slave *s = &m->bus.slaves[slave];
    bool reads = tpc_str_equal(frame->name, TPC_STR("get"));
    bool raw = tpc_str_equal(frame->name, TPC_STR("raw"));
    bool sets = tpc_str_equal(frame->name, TPC_STR("set"));
    const struct mb_tag *called = reads || raw || sets ? NULL : mb_tag_find(s->config, frame->name);
    uint32_t n = doc->type != TPC_MAP ? 0 : raw || called != NULL ? 1 : items_of(s, doc, reads);
    *ret_code = TPC_EUNSUPPORTED;
    if (n == 0 || frame->correlation.len > MB_CORRELATION_MAX ||
        (!reads && !raw && !sets && called == NULL)) {
        return NULL;
    }
    struct mb_command *c = a->resize(a->user, NULL, 0, sizeof(*c) + n * sizeof(c->items[0]));
    if (c == NULL) {
        *ret_code = TPC_EAGAIN;
        return NULL;
    }
    memset(c, 0, sizeof(*c) + n * sizeof(c->items[0]));
    c->slave = slave;
    c->count = n;
    c->reads = reads;
    c->correlation_len = frame->correlation.len;
    memcpy(c->correlation, frame->correlation.ptr, frame->correlation.len);
    if (raw) {
        fill_raw(m, doc, c);
    } else if (called != NULL) {
        fill_call(called, doc, c);
    } else {
        fill_command(s, doc, c, n);
    }
    return c;
}

static int parse(const struct modbus *m, const struct tpc_frame *frame, struct tpc_arena *arena,
                 struct tpc_value *ret)
{
    struct tpc_str text = { (const char *) frame->payload.ptr, frame->payload.len };
    return m->config.json ? tpc_json_parse(arena, text, 0, NULL, ret)
                          : tpc_cbor_parse(arena, frame->payload, NULL, ret);
}

static uint32_t slave_of(const struct modbus *m, uint64_t session)
{
    uint32_t i = 0;
    while (i < m->config.slave_count && atomic_load(&m->bus.slaves[i].session) != session) {
        i++;
    }
    return i;
}

static int modbus_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                       uint64_t ticket)
{
    struct modbus *m = self;
    struct tpc_arena *arena;
    struct tpc_value doc;
    uint32_t slave = peer->session != 0 ? slave_of(m, peer->session) : m->config.slave_count;
    if (slave == m->config.slave_count || atomic_load(&m->stopping)) {
        return TPC_EOFFLINE;
    }
    if (tpc_arena_create(m->host->allocator, 4096, &arena) != 0) {
        return TPC_EAGAIN;
    }
    int rc = parse(m, frame, arena, &doc);
    struct mb_command *c = NULL;
    if (rc == 0) {
        c = make_command(m, slave, frame, &doc, &rc);
    }
    tpc_arena_destroy(arena);
    if (c == NULL) {
        return rc == TPC_EAGAIN || rc == TPC_ENOMEM ? TPC_EAGAIN : TPC_EUNSUPPORTED;
    }
    rc = mb_bus_give(&m->bus, c);
    if (rc != 0) {
        free_command(m, c);
        if (rc == TPC_EAGAIN) {
            m->host->count(m->ctx, "commands_later", 1);
        }
        return rc;
    }
    m->host->sent(m->ctx, ticket, NULL);
    wake(m);
    return 0;
}

static void modbus_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    (void) self; /* the protocol acknowledges nothing: every frame was given ticket 0 */
    (void) tickets;
    (void) errors;
    (void) count;
}

static void modbus_resume(void *self, uint64_t session)
{
    struct modbus *m = self;
    (void) session;
    pthread_mutex_lock(&m->lock);
    m->later = false;
    pthread_cond_signal(&m->resumed);
    pthread_mutex_unlock(&m->lock);
}

/* ---- numbers of each slave ---- */

static double number_of(const struct mb_stats *s, uint32_t which)
{
    uint64_t answers = atomic_load_explicit(&s->answers, memory_order_relaxed);
    switch (which) {
    case 0:
        return (double) atomic_load_explicit(&s->requests, memory_order_relaxed);
    case 1:
        return (double) atomic_load_explicit(&s->exceptions, memory_order_relaxed);
    case 2:
        return (double) atomic_load_explicit(&s->timeouts, memory_order_relaxed);
    case 3:
        return (double) atomic_load_explicit(&s->rtt_us, memory_order_relaxed) / 1000;
    default:
        return answers > 0 ? (double) atomic_load_explicit(&s->rtt_sum, memory_order_relaxed) /
                                 (double) answers / 1000
                           : 0;
    }
}

static void modbus_tell(void *self, tpc_tell_fn *fn, void *user)
{
    static const struct {
        const char *metric, *help;
    } metrics[] = { { "slave_requests", "Requests to this slave" },
                    { "slave_exceptions", "Requests that it refused" },
                    { "slave_timeouts", "Requests that it did not answer in time" },
                    { "slave_rtt_ms", "From the last request to its answer" },
                    { "slave_rtt_mean_ms", "From request to answer, on average" } };
    const struct modbus *m = self;
    for (uint32_t k = 0; k < 5; k++) {
        for (uint32_t i = 0; i < m->config.slave_count; i++) {
            char number[12];
            int len = snprintf(number, sizeof(number), "%u", i);
            const struct tpc_label labels[] = { { TPC_STR("slave"), { number, (size_t) len } },
                                                { TPC_STR("device"), m->config.slaves[i].device } };
            struct tpc_tell t = { .size = sizeof(t),
                                  .gauge = k >= 3,
                                  .metric = metrics[k].metric,
                                  .help = metrics[k].help,
                                  .labels = labels,
                                  .label_count = 2,
                                  .value = number_of(&m->bus.slaves[i].stats, k) };
            fn(user, &t);
        }
    }
}

/* ---- life ---- */

static int take_buffers(struct modbus *m)
{
    m->members = tpc_arena_take(m->arena, VALUES_MAX * sizeof(*m->members));
    m->space = tpc_arena_take(m->arena, SPACE_MAX);
    m->payload = tpc_arena_take(m->arena, PAYLOAD_MAX);
    return m->members != NULL && m->space != NULL && m->payload != NULL ? 0 : TPC_ENOMEM;
}

static int make_bus(struct modbus *m)
{
    const struct mb_listener listener = { m, on_values, on_presence, on_ended, on_refused };
    m->lines.bus = &m->bus;
    m->lines.url = &m->url;
    m->lines.now_us = now_us;
    m->lines.user = m;
    m->lines.failed = on_failed;
    m->lines.connected = on_connected;
    return mb_bus_init(&m->bus, &m->config, m->host->allocator, &listener, m->arena, now_ms(m));
}

static int modbus_init(void *self, const struct tpc_host *host, void *ctx,
                       const struct tpc_value *cfg)
{
    struct modbus *m = self;
    const char *why;
    m->host = host;
    m->ctx = ctx;
    m->cfg = cfg;
    m->wake = -1;
    mb_lines_init(&m->lines);
    if (tpc_arena_create(host->allocator, 0, &m->arena) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory");
    }
    int rc = mb_config_read(host, ctx, cfg, m->arena, &m->config);
    if (rc != 0) {
        return rc;
    }
    if (mb_url_read(m->config.url, &m->url, &why) != 0) {
        return host->fail(ctx, TPC_EINVAL, "url: %s", why);
    }
    m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake < 0) {
        return host->fail(ctx, TPC_EIO, "no eventfd: errno %d", errno);
    }
    if (pthread_mutex_init(&m->lock, NULL) != 0 || pthread_cond_init(&m->resumed, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no mutex");
    }
    m->locks_made = true;
    rc = m->url.accepted ? mb_handed_init(&m->handed, m->url.host, m->wake) : 0;
    m->lines.source = &mb_handed_source;
    m->lines.source_user = &m->handed;
    rc = rc != 0 ? rc : take_buffers(m);
    rc = rc != 0 ? rc : make_bus(m);
    return rc == 0 ? 0 : host->fail(ctx, rc, "no memory for %u slaves", m->config.slave_count);
}

static int modbus_start(void *self)
{
    struct modbus *m = self;
    mb_bus_open(&m->bus); /* a core that was stopped can be started again */
    atomic_store(&m->stopping, false);
    int rc = m->url.accepted ? mb_handed_start(&m->handed, m->host, m->ctx) : 0;
    if (rc != 0) {
        return rc;
    }
    if (pthread_create(&m->thread, NULL, run, m) != 0) {
        mb_handed_stop(&m->handed);
        return m->host->fail(m->ctx, TPC_EIO, "no thread");
    }
    m->running = true;
    return 0;
}

static void modbus_stop(void *self)
{
    struct modbus *m = self;
    atomic_store(&m->stopping, true);
    if (m->running) {
        modbus_resume(m, 0);
        wake(m);
        pthread_join(m->thread, NULL);
        m->running = false;
    }
    if (!m->bus.made) {
        return;
    }
    mb_handed_keep(&m->handed);
    mb_lines_close(&m->lines);
    mb_handed_stop(&m->handed);
    mb_bus_close(&m->bus); /* a worker may be giving it a command: its lock stays */
    for (uint32_t i = 0; i < m->config.slave_count; i++) {
        uint64_t session = atomic_exchange(&m->bus.slaves[i].session, 0);
        m->bus.slaves[i].online = false;
        if (session != 0) {
            m->host->session_close(m->ctx, session);
        }
    }
}

static void modbus_fini(void *self)
{
    struct modbus *m = self;
    mb_bus_fini(&m->bus);
    mb_handed_fini(&m->handed);
    if (m->wake >= 0) {
        close(m->wake);
    }
    if (m->locks_made) {
        pthread_mutex_destroy(&m->lock);
        pthread_cond_destroy(&m->resumed);
    }
    tpc_arena_destroy(m->arena);
}

static const struct tpc_adapter_ops modbus_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "modbus",
    .instance_size = sizeof(struct modbus),
    .options = { mb_options, MB_OPTION_COUNT, sizeof(struct tpc_option) },
    .init = modbus_init,
    .start = modbus_start,
    .send = modbus_send,
    .settled = modbus_settled,
    .resume = modbus_resume,
    .stop = modbus_stop,
    .fini = modbus_fini,
    .tell = modbus_tell,
};

static const struct tpc_interface modbus_interfaces[] = { { TPC_KIND_ADAPTER, &modbus_ops } };

TPC_MODULE(modbus, .version = "0.1.0", .licence = "Apache-2.0 AND LGPL-2.1-or-later",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(modbus_interfaces))
