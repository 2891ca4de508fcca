/*
 * Module "mqtt_publish": a sink that publishes to an MQTT broker over a connection of its own. A batch
 * is published at once, in order, and counts as delivered when the broker has acknowledged all of it;
 * what it had acknowledged when the connection was lost is not published again.
 */
#include "../mqtt/connection.h"
#include "../sink/turn.h"
#include "../text/fill.h"
#include "../text/say.h"
#include "../tls/options.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/version.h>

#include "base/error.h"
#include "data/member.h"

enum {
    TOPIC_BYTES = 1024,
    WAYS = 16 /* batches of a target at a time */
};

static const struct tpc_option publish_options[] = {
    MQTT_URL_OPTION,
    { .name = "user", .type = TPC_OPT_TEXT, .min = 1, .since = "0.1", .help = "user name" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "of user" },
    MQTT_CLIENT_ID_OPTION("absent = a new one with each start"),
    MQTT_VERSION_OPTION,
    MQTT_KEEP_ALIVE_OPTION("60s"),
    MQTT_INFLIGHT_OPTION("64", "publishes without acknowledgement"),
    MQTT_RETRY_OPTIONS("500ms"),
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TLS_OPTION_SUB,
      .since = "0.1",
      .help = "of mqtts" },
};

static const struct tpc_option target_options[] = {
    { .name = "topic",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = TOPIC_BYTES,
      .since = "0.1",
      .help = "a template; values are percent-encoded, so that none adds a level; | raw leaves "
              "that out" },
    { .name = "payload",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 65536,
      .since = "0.1",
      .help = "a template; absent = the message as JSON" },
    { .name = "escape",
      .type = TPC_OPT_ENUM,
      .def = "json",
      .values = "json|plain",
      .since = "0.1",
      .help = "how values stand in the payload" },
    { .name = "qos",
      .type = TPC_OPT_UINT,
      .def = "1",
      .max = 1,
      .since = "0.1",
      .help = "0 = sent is delivered, 1 = acknowledged is" },
    { .name = "retain",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "the broker keeps the last of a topic" },
    { .name = "payload_max",
      .type = TPC_OPT_SIZE,
      .def = "256KiB",
      .min = 16,
      .max = MQTT_QUEUE_BYTES_MAX / 2, /* with its topic it has to fit into the queue */
      .since = "0.1",
      .help = "largest payload; what is larger is refused" },
};

struct instance {
    struct turns turns; /* first */
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    struct mqtt_client_config config;
    struct mqtt_client *client;
    atomic_bool stopping;
};

struct part {
    size_t topic, topic_len, payload, payload_len; /* in `said` */
    struct tpc_id id;
};

struct target;

/* One batch and what is made of it. */
struct way {
    struct turn turn; /* first */
    struct target *target;
    struct tpi_buf said;  /* topics and payloads of the batch */
    struct tpi_buf parts; /* struct part */
    struct tpc_id acked; /* last of those that were acknowledged in a row, of a batch that failed */

    pthread_mutex_t lock; /* over those below: no publish is told before all are queued */
    uint32_t next;        /* part whose end comes next if all goes well */
    uint32_t left;        /* that are not told */
    bool broken;          /* one was not acknowledged */
    struct tpc_error err; /* code 0 = none failed, and all were queued */
};

struct target {
    struct tpc_arena *arena;
    struct fill topic, payload;
    bool json; /* the payload is the message as JSON */
    uint32_t qos;
    bool retain;
    size_t payload_max;
    struct way ways[WAYS];
};

static struct instance *instance_of(const struct way *w)
{
    return (struct instance *) w->turn.all;
}

static struct part *part_at(const struct way *w, uint32_t i)
{
    return (struct part *) (void *) w->parts.ptr + i;
}

static uint32_t part_count(const struct way *w)
{
    return (uint32_t) (w->parts.len / sizeof(struct part));
}

/* ---- what is published ---- */

static int put_topic(struct way *w, const struct tpc_msg *m, struct part *p, struct tpc_error *err)
{
    struct tpi_buf *b = &w->said;
    p->topic = b->len;
    int rc = fill_text(&w->target->topic, m, b);
    p->topic_len = b->len - p->topic;
    if (rc != 0) {
        return tpi_error_set(err, rc, "mqtt", "topic: cannot be filled");
    }
    const uint8_t *text = b->ptr + p->topic;
    bool bad = p->topic_len == 0 || p->topic_len > TOPIC_BYTES || text[0] == '$';
    for (size_t i = 0; i < p->topic_len; i++) {
        bad = bad || text[i] < ' ' || text[i] == 0x7f || text[i] == '+' || text[i] == '#';
    }
    return !bad ? 0
                : tpi_error_set(err, TPC_EINVAL, "mqtt", "topic: \"%.*s\" is none to publish to",
                                (int) (p->topic_len < 100 ? p->topic_len : 100),
                                (const char *) text);
}

static int put_payload(struct way *w, const struct tpc_msg *m, struct part *p,
                       struct tpc_error *err)
{
    struct tpi_buf *b = &w->said;
    struct target *t = w->target;
    struct tpi_buf one;
    tpi_buf_init(&one, instance_of(w)->host->allocator, t->payload_max);
    int rc = t->json ? say_json(&one, m) : fill_text(&t->payload, m, &one);
    p->payload = b->len;
    p->payload_len = one.len;
    if (rc == 0) {
        rc = tpi_buf_put(b, one.ptr, one.len);
    }
    tpi_buf_fini(&one);
    return rc == 0 ? 0
                   : tpi_error_set(err, rc, "mqtt",
                                   rc == TPC_ETOOBIG ? "the payload is over payload_max"
                                                     : "the payload cannot be made");
}

/* Behind the last message that was acknowledged when the batch, or one that begins as it does, came
 * before. */
static uint32_t resume(const struct way *w, const struct tpc_batch *batch)
{
    static const struct tpc_id none;
    /* Never all of it: something has to end the turn. */
    for (uint32_t i = 0; memcmp(&w->acked, &none, sizeof(none)) != 0 && i + 1 < batch->count; i++) {
        if (memcmp(&tpc_batch_msg(batch, i)->id, &w->acked, sizeof(none)) == 0) {
            return i + 1;
        }
    }
    return 0;
}

static int make(struct turn *turn, const struct tpc_batch *batch, uint32_t first, uint32_t count,
                struct tpc_error *err)
{
    struct way *w = (struct way *) turn;
    tpi_buf_clear(&w->said);
    tpi_buf_clear(&w->parts);
    for (uint32_t i = first + resume(w, batch); i < first + count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        struct part p = { .id = m->id };
        int rc = put_topic(w, m, &p, err);
        rc = rc != 0 ? rc : put_payload(w, m, &p, err);
        if (rc == 0 && tpi_buf_put(&w->parts, &p, sizeof(p)) != 0) {
            rc = tpi_error_set(err, TPC_ENOMEM, "mqtt", "no memory for a batch");
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- its way ---- */

static void end_turn(struct way *w, const struct tpc_error *err)
{
    const struct instance *s = instance_of(w);
    if (err == NULL) {
        memset(&w->acked, 0, sizeof(w->acked));
    } else {
        s->host->count(s->ctx,
                       err->code == TPC_ECANCELED                      ? "canceled"
                       : tpc_error_class(err->code) == TPC_CLASS_RETRY ? "failed"
                                                                       : "denied",
                       1);
    }
    turn_ended(&w->turn, err);
}

/* Publishes end in their order, unless the connection is lost. */
static void on_published(void *user, const struct tpc_error *err)
{
    struct way *w = user;
    struct tpc_error own;
    pthread_mutex_lock(&w->lock);
    if (err != NULL && !w->broken) {
        w->broken = true;
        w->err = *err;
        if (atomic_load(&instance_of(w)->stopping)) {
            w->err.code = TPC_ECANCELED;
        }
    } else if (err == NULL && !w->broken && w->next < part_count(w)) {
        /* Also if not all found room in the queue: the rest comes next, so a large batch ends. */
        w->acked = part_at(w, w->next++)->id;
    }
    bool over = --w->left == 0;
    own = w->err;
    pthread_mutex_unlock(&w->lock);
    if (over) {
        end_turn(w, own.code != 0 ? &own : NULL);
    }
}

static int publish(struct way *w, const struct part *p)
{
    const struct target *t = w->target;
    struct tpc_str topic = { (const char *) w->said.ptr + p->topic, p->topic_len };
    struct tpc_bytes payload = { w->said.ptr + p->payload, p->payload_len };
    return mqtt_client_publish(instance_of(w)->client, topic, payload, t->qos, t->retain,
                               on_published, w);
}

static int submit(struct turn *turn, struct tpc_error *err, uint64_t *ret_id)
{
    struct way *w = (struct way *) turn;
    uint32_t count = part_count(w);
    uint32_t done = 0;
    int rc = 0;
    pthread_mutex_lock(&w->lock);
    w->next = 0;
    w->broken = false;
    memset(&w->err, 0, sizeof(w->err));
    while (done < count && (rc = publish(w, part_at(w, done))) == 0) {
        done++;
    }
    w->left = done;
    if (rc != 0) {
        tpi_error_set(&w->err, rc, "mqtt", "%s",
                      rc == TPC_EOFFLINE ? "no connection to the broker"
                                         : "the publish does not fit into the queue");
        *err = w->err;
    }
    pthread_mutex_unlock(&w->lock);
    *ret_id = 0;
    return done > 0 ? 0 : rc;
}

static void cancel(struct turn *turn, uint64_t id)
{
    (void) turn;
    (void) id; /* the client's stop has ended them */
}

/* ---- the instance ---- */

static void on_message(void *user, const struct mqtt_incoming *m)
{
    (void) user;
    (void) m;
}

static void tell_connected(const struct instance *s, int64_t value)
{
    if (TPC_HAS(s->host, struct tpc_host, gauge)) {
        s->host->gauge(s->ctx, "connected", value);
    }
}

static void on_up(void *user, bool session_present)
{
    struct instance *s = user;
    (void) session_present;
    tell_connected(s, 1);
}

static void on_down(void *user)
{
    struct instance *s = user;
    tell_connected(s, 0);
}

static int read_options(struct instance *s, const struct tpc_value *cfg)
{
    struct mqtt_reading r = { s->host, s->ctx, s->arena, 0 };
    struct mqtt_client_config *c = &s->config;
    mqtt_connection_read(&r, cfg, c);
    c->password = mqtt_reading_filled(c->password);
    c->start_over = true; /* what is not acknowledged comes again from the log */
    c->user_data = s;
    c->on_message = on_message;
    c->on_up = on_up;
    c->on_down = on_down;
    return r.rc;
}

static int publish_init(void *self, const struct tpc_host *host, void *ctx,
                        const struct tpc_value *cfg)
{
    struct instance *s = self;
    struct mqtt_client *try = NULL;
    s->host = s->turns.host = host;
    s->ctx = s->turns.ctx = ctx;
    s->turns.make = make;
    s->turns.submit = submit;
    s->turns.cancel = cancel;
    turns_init(&s->turns);
    if (tpc_arena_create(host->allocator, 0, &s->arena) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the options");
    }
    int rc = read_options(s, cfg);
    rc = rc != 0 ? rc : mqtt_client_create(host, ctx, &s->config, &try); /* checks the url */
    mqtt_client_destroy(try);
    return rc;
}

static int publish_start(void *self)
{
    struct instance *s = self;
    int rc = mqtt_client_create(s->host, s->ctx, &s->config, &s->client);
    if (rc == 0 && (rc = mqtt_client_start(s->client)) != 0) {
        s->client = mqtt_client_destroy(s->client);
    }
    if (rc == 0) {
        atomic_store(&s->stopping, false);
        turns_start(&s->turns);
    }
    return rc;
}

static void publish_stop(void *self)
{
    struct instance *s = self;
    atomic_store(&s->stopping, true);
    if (s->client != NULL) {
        mqtt_client_stop(s->client); /* ends every publish */
    }
    turns_stop(&s->turns);
    s->client = mqtt_client_destroy(s->client);
}

static void publish_fini(void *self)
{
    struct instance *s = self;
    s->client = mqtt_client_destroy(s->client);
    s->arena = tpc_arena_destroy(s->arena);
    turns_fini(&s->turns);
}

/* ---- targets ---- */

static void publish_target_close(void *self, void *target)
{
    struct instance *s = self;
    struct target *t = target;
    for (uint32_t i = 0; i < WAYS; i++) {
        struct way *w = &t->ways[i];
        turn_fini(&w->turn);
        tpi_buf_fini(&w->said);
        tpi_buf_fini(&w->parts);
        pthread_mutex_destroy(&w->lock);
    }
    fill_fini(&t->topic);
    fill_fini(&t->payload);
    tpc_arena_destroy(t->arena);
    s->host->allocator->resize(s->host->allocator->user, t, sizeof(*t), 0);
}

static int compile(struct instance *s, struct target *t, struct fill *f, const char *name,
                   struct tpc_str text, enum tpi_template_target how)
{
    struct tpc_error err;
    int rc = fill_init(f, s->host->allocator, t->arena, s->host->clock, text, how, &err);
    return rc == 0 ? 0
                   : s->host->fail(s->ctx, rc, "%s: column %u: %s", name, (unsigned) err.column,
                                   err.text);
}

static int read_target(struct instance *s, struct target *t, const struct tpc_value *cfg)
{
    struct tpc_str payload = tpi_member_text(cfg, "payload");
    bool plain = tpc_str_equal(tpi_member_text(cfg, "escape"), TPC_STR("plain")) != 0;
    t->json = payload.len == 0;
    t->qos = (uint32_t) tpi_member_int(cfg, "qos", 1);
    t->retain = tpi_member_bool(cfg, "retain", false);
    t->payload_max = (size_t) tpi_member_int(cfg, "payload_max", 256 * 1024);
    if (tpc_arena_create(s->host->allocator, 0, &t->arena) != 0) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    int rc = compile(s, t, &t->topic, "topic", tpi_member_text(cfg, "topic"), TPI_TEMPLATE_URL);
    if (rc == 0 && !t->json) {
        rc = compile(s, t, &t->payload, "payload", payload,
                     plain ? TPI_TEMPLATE_PLAIN : TPI_TEMPLATE_JSON);
    }
    return rc;
}

static int publish_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                               void **ret_target)
{
    struct instance *s = self;
    const struct tpc_allocator *a = s->host->allocator;
    (void) name;
    struct target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    if (t == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    memset(t, 0, sizeof(*t));
    for (uint32_t i = 0; i < WAYS; i++) {
        struct way *w = &t->ways[i];
        w->target = t;
        w->turn.all = &s->turns;
        w->turn.whole = true;
        pthread_mutex_init(&w->lock, NULL);
        tpi_buf_init(&w->said, a, 0);
        tpi_buf_init(&w->parts, a, 0);
    }
    int rc = read_target(s, t, cfg);
    if (rc != 0) {
        publish_target_close(s, t);
        return rc;
    }
    *ret_target = t;
    return 0;
}

/* A free one: that which the batch was with before, if it comes again, so that nothing is published
 * twice. Once free, nobody else touches it. */
static struct way *choose(struct target *t, const struct tpc_batch *batch)
{
    static const struct tpc_id none;
    struct way *found = NULL;
    bool clean = false;
    for (uint32_t i = 0; i < WAYS; i++) {
        struct way *w = &t->ways[i];
        if (turn_busy(&w->turn)) {
            continue;
        }
        if (resume(w, batch) > 0) {
            return w;
        }
        bool fresh = memcmp(&w->acked, &none, sizeof(none)) == 0;
        if (found == NULL || (fresh && !clean)) {
            found = w;
            clean = fresh;
        }
    }
    return found;
}

static int publish_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    struct instance *s = self;
    struct way *w = choose(target, batch);
    return w != NULL ? turn_send(&w->turn, batch, ticket)
                     : s->host->fail(s->ctx, TPC_EAGAIN, "too many batches at a time");
}

static const struct tpc_sink_ops publish_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "mqtt_publish",
    .instance_size = sizeof(struct instance),
    .options = TPC_OPTIONS(publish_options),
    .target_options = TPC_OPTIONS(target_options),
    .init = publish_init,
    .start = publish_start,
    .target_open = publish_target_open,
    .send = publish_send,
    .target_close = publish_target_close,
    .stop = publish_stop,
    .fini = publish_fini,
    .max_in_flight = WAYS,
};

static const struct tpc_interface publish_interfaces[] = { { TPC_KIND_SINK, &publish_ops } };

TPC_MODULE(mqtt_publish, .version = TPC_VERSION, .licence = "Apache-2.0 AND EPL-2.0",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(publish_interfaces))
