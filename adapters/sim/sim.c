/*
 * Simulated devices: no protocol, no library, no thread. This is the adapter to read first and to
 * copy: it shows sessions, "later" and resume, commands with an answer, and host timers.
 *
 * Report number r is of device r % count and is due at begin + r * interval / count, so the load is
 * even. A report that is late makes no other late.
 */
#include "wave.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/ext/adapter.h>

enum {
    SIM_DEVICES_MAX = 100000,
    SIM_KEY_MAX = 160,
    SIM_PAYLOAD_MAX = 1024,
    SIM_ANSWERS_MAX = 256, /* commands waiting for their answer; more are refused with "later" */
    SIM_CORRELATION_MAX = 128,
    SIM_TURN_MAX = 256, /* reports of one timer call, so that a worker is not held for long */
    SIM_RETRY_MS = 50
};

struct sim_answer {
    uint64_t session;
    uint64_t due_ms;
    size_t len;
    char correlation[SIM_CORRELATION_MAX];
};

struct sim {
    const struct tpc_host *host;
    void *ctx;
    struct sim_wave wave;
    struct tpc_str prefix, product, payload; /* of the configuration: live until fini */
    int64_t first, count, interval_ms, reply_delay_ms;
    uint64_t *sessions;
    bool presence;

    /* Under turn: held while reports and answers are made, so that stop() can wait for their end.
     */
    pthread_mutex_t turn;
    uint64_t begin_ms;
    uint64_t next; /* number of the next report */
    _Atomic uint64_t timer;
    atomic_bool waiting; /* receive() said "later": resume() goes on */
    atomic_bool stopping;

    /* Under lock: answers, a queue in the order of due_ms. */
    pthread_mutex_t lock;
    struct sim_answer answers[SIM_ANSWERS_MAX];
    uint32_t answer_first, answer_count;
    _Atomic uint64_t answer_timer;
    bool answer_running; /* the timer is set, or its function runs */
    bool locks_made;
};

static const struct tpc_option sim_options[] = {
    { .name = "count",
      .type = TPC_OPT_UINT,
      .def = "10",
      .min = 1,
      .max = SIM_DEVICES_MAX,
      .since = "0.1",
      .help = "how many devices" },
    { .name = "prefix",
      .type = TPC_OPT_TEXT,
      .def = "sim-",
      .min = 1,
      .max = 100,
      .since = "0.1",
      .help = "a device's key is this and its number" },
    { .name = "first",
      .type = TPC_OPT_UINT,
      .def = "1",
      .max = 1000000000,
      .since = "0.1",
      .help = "number of the first device" },
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "key of the product the devices must be of; absent = any" },
    { .name = "interval",
      .type = TPC_OPT_DURATION,
      .def = "1s",
      .min = 1,
      .max = 86400000,
      .since = "0.1",
      .help = "time between two reports of a device" },
    { .name = "pattern",
      .type = TPC_OPT_ENUM,
      .def = "sine",
      .values = "sine|ramp|square|constant",
      .since = "0.1",
      .help = "shape of {value} over time" },
    { .name = "min", .type = TPC_OPT_DOUBLE, .def = "0", .since = "0.1", .help = "least {value}" },
    { .name = "max",
      .type = TPC_OPT_DOUBLE,
      .def = "100",
      .since = "0.1",
      .help = "greatest {value}" },
    { .name = "period",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .min = 1,
      .max = 86400000,
      .since = "0.1",
      .help = "length of one wave" },
    { .name = "payload",
      .type = TPC_OPT_TEXT,
      .def = "{\"value\":{value},\"seq\":{seq}}",
      .min = 1,
      .max = SIM_PAYLOAD_MAX / 2,
      .since = "0.1",
      .help = "what a device says; {value}, {seq} and {device} are filled in" },
    { .name = "reply_delay",
      .type = TPC_OPT_DURATION,
      .def = "200ms",
      .max = 3600000,
      .since = "0.1",
      .help = "time until a command is answered" },
    { .name = "presence",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "devices are online while the adapter runs" },
};

static uint64_t now_ms(const struct sim *s)
{
    return s->host->clock->mono_ns(s->host->clock->user) / 1000000;
}

static int64_t option_int(const struct tpc_value *cfg, struct tpc_str name)
{
    int64_t v = 0;
    (void) tpc_value_int(tpc_value_get(cfg, name), &v); /* checked by the table */
    return v;
}

static int sim_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct sim *s = self;
    s->host = host;
    s->ctx = ctx;
    s->count = option_int(cfg, TPC_STR("count"));
    s->first = option_int(cfg, TPC_STR("first"));
    s->interval_ms = option_int(cfg, TPC_STR("interval"));
    s->reply_delay_ms = option_int(cfg, TPC_STR("reply_delay"));
    s->presence = option_int(cfg, TPC_STR("presence")) != 0;
    s->prefix = tpc_value_text(tpc_value_get(cfg, TPC_STR("prefix")));
    s->product = tpc_value_text(tpc_value_get(cfg, TPC_STR("product")));
    s->payload = tpc_value_text(tpc_value_get(cfg, TPC_STR("payload")));
    s->wave.period_ms = option_int(cfg, TPC_STR("period"));
    (void) tpc_value_double(tpc_value_get(cfg, TPC_STR("min")), &s->wave.min);
    (void) tpc_value_double(tpc_value_get(cfg, TPC_STR("max")), &s->wave.max);
    s->wave.shape = sim_wave_shape(tpc_value_text(tpc_value_get(cfg, TPC_STR("pattern"))));
    if (s->wave.min > s->wave.max) {
        return host->fail(ctx, TPC_EINVAL, "min is greater than max");
    }
    if (pthread_mutex_init(&s->turn, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no mutex");
    }
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        pthread_mutex_destroy(&s->turn);
        return host->fail(ctx, TPC_ENOMEM, "no mutex");
    }
    s->locks_made = true;
    size_t size = (size_t) s->count * sizeof(*s->sessions);
    s->sessions = host->allocator->resize(host->allocator->user, NULL, 0, size);
    if (s->sessions == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for %lld devices", (long long) s->count);
    }
    memset(s->sessions, 0, size);
    return 0;
}

static size_t device_key(const struct sim *s, int64_t index, char ret[SIM_KEY_MAX])
{
    int n = snprintf(ret, SIM_KEY_MAX, "%.*s%lld", (int) s->prefix.len, s->prefix.ptr,
                     (long long) (s->first + index));
    return n > 0 && n < SIM_KEY_MAX ? (size_t) n : 0;
}

/* A device that is not known (yet) is asked for again with each of its reports. */
static bool open_session(struct sim *s, int64_t index)
{
    char key[SIM_KEY_MAX];
    struct tpc_session_options o = { .size = sizeof(o) };
    if (s->sessions[index] != 0) {
        return true;
    }
    o.flags = s->presence ? TPC_SESSION_PRESENCE : 0;
    o.product = s->product;
    o.device = (struct tpc_str){ key, device_key(s, index, key) };
    o.peer = TPC_STR("simulated");
    return s->host->session_open(s->ctx, &o, &s->sessions[index]) == 0;
}

static int report(struct sim *s, uint64_t number)
{
    char key[SIM_KEY_MAX];
    char payload[SIM_PAYLOAD_MAX];
    uint64_t count = (uint64_t) s->count;
    int64_t index = (int64_t) (number % count);
    if (!open_session(s, index)) {
        s->host->count(s->ctx, "unknown_device", 1);
        return 0;
    }
    uint64_t elapsed = number * (uint64_t) s->interval_ms / count;
    struct tpc_frame frame = { .size = sizeof(frame) };
    struct tpc_str device = { key, device_key(s, index, key) };
    double value = sim_wave_at(&s->wave, elapsed);
    size_t len =
        sim_payload(s->payload, device, value, number / count + 1, payload, sizeof(payload));
    frame.payload = (struct tpc_bytes){ (const uint8_t *) payload, len };
    return s->host->receive(s->ctx, s->sessions[index], &frame, 0);
}

static void on_turn(void *user);

static int set_timer(struct sim *s, uint64_t delay_ms, tpc_timer_fn *fn, _Atomic uint64_t *which)
{
    uint64_t timer;
    int rc = s->host->timer_set(s->ctx, delay_ms, fn, s, &timer);
    if (rc != 0) {
        s->host->log(s->ctx, TPC_LOG_ERROR, "no timer: the devices stand still");
        return rc;
    }
    atomic_store(which, timer);
    return 0;
}

/* Reports what is due. Returns true if the timer shall come again, false if resume() will. */
static bool turn(struct sim *s)
{
    uint64_t elapsed = now_ms(s) - s->begin_ms;
    uint64_t due = elapsed * (uint64_t) s->count / (uint64_t) s->interval_ms + 1;
    /* After a pause of more than one interval the reports of the pause are left out. */
    if (due > s->next + (uint64_t) s->count) {
        s->host->count(s->ctx, "skipped", due - s->next - (uint64_t) s->count);
        s->next = due - (uint64_t) s->count;
    }
    for (int i = 0; i < SIM_TURN_MAX && s->next < due; i++) {
        int rc = report(s, s->next);
        if (rc == TPC_EAGAIN) {
            /* resume() may have come between the answer and the flag, so ask once more. */
            atomic_store(&s->waiting, true);
            rc = report(s, s->next);
            if (rc == TPC_EAGAIN) {
                s->host->count(s->ctx, "later", 1);
                return false;
            }
            if (!atomic_exchange(&s->waiting, false)) {
                s->next++;
                return false; /* resume() has set the timer */
            }
        }
        if (rc != 0) {
            s->host->count(s->ctx, "refused", 1);
        }
        s->next++;
    }
    return true;
}

static void on_turn(void *user)
{
    struct sim *s = user;
    pthread_mutex_lock(&s->turn);
    if (!atomic_load(&s->stopping) && turn(s)) {
        uint64_t at = s->next * (uint64_t) s->interval_ms / (uint64_t) s->count;
        uint64_t elapsed = now_ms(s) - s->begin_ms;
        set_timer(s, at > elapsed ? at - elapsed : 0, on_turn, &s->timer);
    }
    pthread_mutex_unlock(&s->turn);
}

static int sim_start(void *self)
{
    struct sim *s = self;
    int64_t known = 0;
    pthread_mutex_lock(&s->lock);
    s->answer_count = 0; /* those of sessions before a stop */
    s->answer_running = false;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_lock(&s->turn);
    atomic_store(&s->stopping, false);
    atomic_store(&s->waiting, false);
    /* Reports go on with the next number. */
    s->begin_ms = now_ms(s) - s->next * (uint64_t) s->interval_ms / (uint64_t) s->count;
    for (int64_t i = 0; i < s->count; i++) {
        known += open_session(s, i);
    }
    if (known < s->count) {
        s->host->log(s->ctx, TPC_LOG_WARN, "%lld of %lld devices are not known",
                     (long long) (s->count - known), (long long) s->count);
    }
    int rc = set_timer(s, 0, on_turn, &s->timer);
    pthread_mutex_unlock(&s->turn);
    return rc;
}

static void on_answers(void *user);

/* Sends the answers that are due; the rest wait for the next call. */
static uint64_t answer_due(struct sim *s, bool *ret_more)
{
    for (;;) {
        struct sim_answer a;
        char payload[SIM_CORRELATION_MAX * 2 + 80];
        uint64_t now = now_ms(s);
        pthread_mutex_lock(&s->lock);
        *ret_more = s->answer_count > 0 && !atomic_load(&s->stopping);
        if (*ret_more) {
            a = s->answers[s->answer_first];
        }
        s->answer_running = *ret_more;
        pthread_mutex_unlock(&s->lock);
        if (!*ret_more) {
            return 0;
        }
        if (a.due_ms > now) {
            return a.due_ms - now;
        }
        struct tpc_frame frame = { .size = sizeof(frame), .kind = TPC_MSG_REPLY };
        frame.correlation = (struct tpc_str){ a.correlation, a.len };
        int n = snprintf(payload, sizeof(payload),
                         "{\"requestId\":\"%.*s\",\"id\":\"%.*s\",\"code\":0}", (int) a.len,
                         a.correlation, (int) a.len, a.correlation);
        frame.payload = (struct tpc_bytes){ (const uint8_t *) payload, (size_t) n };
        if (s->host->receive(s->ctx, a.session, &frame, 0) == TPC_EAGAIN) {
            return SIM_RETRY_MS;
        }
        pthread_mutex_lock(&s->lock);
        s->answer_first = (s->answer_first + 1) % SIM_ANSWERS_MAX;
        s->answer_count--;
        pthread_mutex_unlock(&s->lock);
    }
}

static void on_answers(void *user)
{
    struct sim *s = user;
    bool more;
    pthread_mutex_lock(&s->turn);
    uint64_t delay = answer_due(s, &more);
    if (more && set_timer(s, delay, on_answers, &s->answer_timer) != 0) {
        pthread_mutex_lock(&s->lock);
        s->answer_running = false;
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&s->turn);
}

static int sim_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                    uint64_t ticket)
{
    struct sim *s = self;
    bool start;
    if (peer->session == 0 || atomic_load(&s->stopping)) {
        return TPC_EOFFLINE;
    }
    if (frame->correlation.len > 0 && frame->kind != TPC_MSG_REPLY) {
        if (frame->correlation.len > SIM_CORRELATION_MAX) {
            return TPC_EUNSUPPORTED;
        }
        pthread_mutex_lock(&s->lock);
        if (s->answer_count == SIM_ANSWERS_MAX) {
            pthread_mutex_unlock(&s->lock);
            return TPC_EAGAIN;
        }
        struct sim_answer *a = &s->answers[(s->answer_first + s->answer_count++) % SIM_ANSWERS_MAX];
        a->session = peer->session;
        a->due_ms = now_ms(s) + (uint64_t) s->reply_delay_ms;
        a->len = frame->correlation.len;
        memcpy(a->correlation, frame->correlation.ptr, a->len);
        start = !s->answer_running;
        s->answer_running = true;
        pthread_mutex_unlock(&s->lock);
        if (start &&
            set_timer(s, (uint64_t) s->reply_delay_ms, on_answers, &s->answer_timer) != 0) {
            pthread_mutex_lock(&s->lock);
            s->answer_running = false; /* the next command tries again */
            pthread_mutex_unlock(&s->lock);
        }
    }
    s->host->count(s->ctx, "commands", 1);
    s->host->sent(s->ctx, ticket, NULL);
    return 0;
}

static void sim_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    (void) self; /* nobody waits: every frame was given ticket 0 */
    (void) tickets;
    (void) errors;
    (void) count;
}

static void sim_resume(void *self, uint64_t session)
{
    struct sim *s = self;
    (void) session;
    if (atomic_exchange(&s->waiting, false)) {
        set_timer(s, 0, on_turn, &s->timer);
    }
}

static void sim_stop(void *self)
{
    struct sim *s = self;
    atomic_store(&s->stopping, true);
    /* Wait for a turn that runs; a later one sees stopping. */
    pthread_mutex_lock(&s->turn);
    s->host->timer_clear(s->ctx, atomic_load(&s->timer));
    pthread_mutex_unlock(&s->turn);
    s->host->timer_clear(s->ctx, atomic_load(&s->answer_timer));
    for (int64_t i = 0; i < s->count; i++) {
        if (s->sessions[i] != 0) {
            s->host->session_close(s->ctx, s->sessions[i]);
            s->sessions[i] = 0;
        }
    }
}

static void sim_fini(void *self)
{
    struct sim *s = self;
    if (s->sessions != NULL) {
        s->host->allocator->resize(s->host->allocator->user, s->sessions,
                                   (size_t) s->count * sizeof(*s->sessions), 0);
    }
    if (s->locks_made) {
        pthread_mutex_destroy(&s->turn);
        pthread_mutex_destroy(&s->lock);
    }
}

static const struct tpc_adapter_ops sim_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "sim",
    .instance_size = sizeof(struct sim),
    .options = TPC_OPTIONS(sim_options),
    .init = sim_init,
    .start = sim_start,
    .send = sim_send,
    .settled = sim_settled,
    .resume = sim_resume,
    .stop = sim_stop,
    .fini = sim_fini,
};

static const struct tpc_interface sim_interfaces[] = { { TPC_KIND_ADAPTER, &sim_ops } };

TPC_MODULE(sim, .version = "0.1.0", .licence = "Apache-2.0",
           .interfaces = TPC_INTERFACES(sim_interfaces))
