#include "thingsboard.h"

#include "../thingsboard/attributes.h"
#include "base/alloc.h"
#include "codec/emit.h"
#include "data/json_read.h"
#include "data/member.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#define OPEN "\"unknown\":\"keep\",\"model\":{\"properties\":[]}}"

enum {
    DOCUMENT_BYTES = 4096,
    LIMITS_BYTES = 2048, /* three limits of 200, twice */
    KEYS_MAX = 64,
    KEYS_BYTES = 2048,
    NAME_BYTES = 384
};
/* Where the whole table is absent. */
enum { MAX_PAYLOAD = 65536, MAX_INFLIGHT = 100 };

static const struct tpc_str gateway_topic = TPC_STR_INIT("v1/gateway/");
static const struct tpc_str device_topic = TPC_STR_INIT("v1/devices/me/");

const struct tpc_option mqtt_tb_option_table[MQTT_TB_OPTION_COUNT] = {
    { .name = "gateway",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help =
          "key of the device that the local gateway is; it is made if it is not there; absent = "
          "the broker's plugin says who speaks" },
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .def = "thingsboard-gateway",
      .since = "0.1",
      .help = "its product, which is made if it is not there, with codec thingsboard" },
    { .name = "default_type",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .def = "default",
      .since = "0.1",
      .help = "product of devices whose type the gateway does not say" },
    { .name = "messages",
      .type = TPC_OPT_TEXT,
      .def = "",
      .max = 200,
      .since = "0.1",
      .help = "limit on messages that it is told, count:seconds[,..]; empty = none" },
    { .name = "telemetry_messages",
      .type = TPC_OPT_TEXT,
      .def = "",
      .max = 200,
      .since = "0.1",
      .help = "the same for messages with telemetry" },
    { .name = "telemetry_points",
      .type = TPC_OPT_TEXT,
      .def = "",
      .max = 200,
      .since = "0.1",
      .help = "the same for values of telemetry" },
    { .name = "max_payload",
      .type = TPC_OPT_SIZE,
      .def = "64KiB",
      .min = 1024,
      .max = 1 << 28,
      .since = "0.1",
      .help = "greatest payload that it is told" },
    { .name = "max_inflight",
      .type = TPC_OPT_UINT,
      .def = "100",
      .min = 1,
      .max = 65535,
      .since = "0.1",
      .help = "messages without acknowledgement that it is told" },
};

int mqtt_tb_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                         struct mqtt_tb_options *ret)
{
    static const char *const limits[] = { "messages", "telemetry_messages", "telemetry_points" };
    const struct tpc_value *t = tpc_value_get(cfg, TPC_STR("thingsboard"));
    *ret = (struct mqtt_tb_options){ .default_type = TPC_STR("default"),
                                     .max_payload = MAX_PAYLOAD,
                                     .max_inflight = MAX_INFLIGHT };
    if (t == NULL || t->type != TPC_MAP) {
        return 0;
    }
    ret->gateway = tpc_value_text(tpc_value_get(t, TPC_STR("gateway")));
    ret->product = tpc_value_text(tpc_value_get(t, TPC_STR("product")));
    ret->default_type = tpc_value_text(tpc_value_get(t, TPC_STR("default_type")));
    ret->max_payload = (uint32_t) tpi_member_int(t, "max_payload", 0);
    ret->max_inflight = (uint32_t) tpi_member_int(t, "max_inflight", 0);
    for (int i = 0; i < 3; i++) {
        ret->limits[i] = tpc_value_text(tpc_value_get(t, tpc_str_from(limits[i])));
        for (size_t k = 0; k < ret->limits[i].len; k++) {
            if (memchr("0123456789:,", ret->limits[i].ptr[k], 12) == NULL) {
                return host->fail(ctx, TPC_EINVAL, "thingsboard.%s: \"10:1,60:60\" is the form",
                                  limits[i]);
            }
        }
    }
    return 0;
}

/* ---- answers that come later ---- */

struct mqtt_tb_gate {
    const struct tpc_allocator *alloc;
    atomic_uint refs; /* the owner's, and one of each answer under way */
    pthread_mutex_t lock;
    struct mqtt_tb *owner; /* NULL = it has stopped */
};

static int gate_open(struct mqtt_tb *t)
{
    struct mqtt_tb_gate *g = tpi_alloc_zero(t->host->allocator, sizeof(*g));
    if (g == NULL) {
        return TPC_ENOMEM;
    }
    if (pthread_mutex_init(&g->lock, NULL) != 0) {
        tpi_free(t->host->allocator, g, sizeof(*g));
        return TPC_ENOMEM;
    }
    g->alloc = t->host->allocator;
    atomic_store(&g->refs, 1);
    g->owner = t;
    t->gate = g;
    return 0;
}

static void gate_release(struct mqtt_tb_gate *g)
{
    if (g != NULL && atomic_fetch_sub(&g->refs, 1) == 1) {
        const struct tpc_allocator *alloc = g->alloc;
        pthread_mutex_destroy(&g->lock);
        tpi_free(alloc, g, sizeof(*g));
    }
}

/* ---- life ---- */

int mqtt_tb_init(struct mqtt_tb *t, const struct tpc_host *host, void *ctx,
                 struct mqtt_client *client, const struct mqtt_tb_options *options,
                 struct tpc_str tenant, uint32_t limit)
{
    uint64_t seed = 0;
    memset(t, 0, sizeof(*t));
    t->host = host;
    t->ctx = ctx;
    t->client = client;
    t->options = options;
    t->tenant = tenant;
    t->limit = limit;
    tpi_map_init(&t->known, host->allocator);
    (void) host->random->fill(host->random->user, &seed, sizeof(seed));
    t->known.seed = seed;
    t->lock_made = pthread_mutex_init(&t->lock, NULL) == 0;
    int rc = t->lock_made ? gate_open(t) : TPC_ENOMEM;
    return rc == 0 ? 0 : host->fail(ctx, rc, "out of memory");
}

void mqtt_tb_start(struct mqtt_tb *t)
{
    const void *ops = NULL;
    void *self = NULL;
    if (t->host->need(t->ctx, TB_ATTRIBUTES_SERVICE, &ops, &self) == 0) {
        t->attributes = ops;
        t->attributes_self = self;
    }
    if (t->gate != NULL) {
        pthread_mutex_lock(&t->gate->lock);
        t->gate->owner = t;
        pthread_mutex_unlock(&t->gate->lock);
    }
}

void mqtt_tb_stop(struct mqtt_tb *t)
{
    if (t->gate != NULL) {
        pthread_mutex_lock(&t->gate->lock);
        t->gate->owner = NULL;
        pthread_mutex_unlock(&t->gate->lock);
    }
}

void mqtt_tb_fini(struct mqtt_tb *t)
{
    if (t->host == NULL) {
        return;
    }
    mqtt_tb_stop(t);
    gate_release(t->gate);
    tpi_map_fini(&t->known);
    if (t->lock_made) {
        pthread_mutex_destroy(&t->lock);
    }
}

/* ---- calls ---- */

void mqtt_tb_remember(struct mqtt_tb *t, struct tpc_str id)
{
    if (id.len >= MQTT_TB_ID_BYTES) {
        return; /* none of the core's */
    }
    pthread_mutex_lock(&t->lock);
    uint32_t at = t->next_call++ % MQTT_TB_CALLS;
    t->calls[at].number = tpi_codec_number(id);
    snprintf(t->calls[at].id, MQTT_TB_ID_BYTES, "%.*s", (int) id.len, id.len > 0 ? id.ptr : "");
    pthread_mutex_unlock(&t->lock);
}

/* The newest of that number; empty if there is none. */
static struct tpc_str recall(struct mqtt_tb *t, int64_t number)
{
    t->recalled[0] = '\0';
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 1; number > 0 && i <= MQTT_TB_CALLS; i++) {
        uint32_t at = (t->next_call - i) % MQTT_TB_CALLS;
        if (t->calls[at].number == (uint64_t) number) {
            memcpy(t->recalled, t->calls[at].id, MQTT_TB_ID_BYTES);
            break;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return tpc_str_from(t->recalled);
}

/* ---- devices ---- */

static struct tpc_member text_member(struct tpc_str key, struct tpc_str text)
{
    return (struct tpc_member){ key, { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

static bool never(int rc)
{
    return tpc_error_class(rc) == TPC_CLASS_FIX && rc != TPC_ESTATE;
}

/* said: its product is what the gateway says, not a guess. Returns 0, or why it can be done later. */
static int make(struct mqtt_tb *t, struct tpc_host_device *d, bool said)
{
    d->size = sizeof(*d);
    d->tenant = t->tenant;
    int rc = TPC_HAS(t->host, struct tpc_host, make_device) ? t->host->make_device(t->ctx, d)
                                                            : TPC_EUNSUPPORTED;
    if (rc == 0 || !never(rc) || (rc == TPC_EDENIED && !said)) {
        return rc == TPC_EDENIED ? 0 : rc;
    }
    t->host->count(t->ctx, "devices_refused", 1);
    t->host->log(t->ctx, TPC_LOG_WARN, "device \"%.*s\" of type \"%.*s\": %s", (int) d->device.len,
                 d->device.ptr, (int) d->product.len, d->product.ptr,
                 rc == TPC_EDENIED ? "it is of another product, and stays so" : tpc_error_name(rc));
    return 0;
}

static int make_gateway(struct mqtt_tb *t)
{
    struct tpc_host_device d = { .product = t->options->product, .device = t->options->gateway };
    d.product_document = TPC_STR("{\"codec\":\"thingsboard\",\"type\":\"gateway\"," OPEN);
    int rc = t->made || d.device.len == 0 ? 0 : make(t, &d, true);
    t->made = rc == 0;
    return rc;
}

/* The key of `known`; its length, or 0: it is too long to be remembered. */
static size_t known_key(struct tpc_str gateway, struct tpc_str name, char ret[NAME_BYTES])
{
    if (gateway.len + 1 + name.len > NAME_BYTES) {
        return 0;
    }
    memcpy(ret, gateway.ptr, gateway.len);
    ret[gateway.len] = '\0';
    memcpy(ret + gateway.len + 1, name.ptr, name.len);
    return gateway.len + 1 + name.len;
}

/* sure: it may have been deleted since, or be new. */
static int make_behind(struct mqtt_tb *t, struct tpc_str gateway, struct tpc_str name,
                       struct tpc_str type, bool sure)
{
    char text[DOCUMENT_BYTES], key[NAME_BYTES];
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text), 0 };
    size_t key_len = known_key(gateway, name, key);
    if (!sure && key_len > 0 && tpi_map_get(&t->known, key, key_len) != NULL) {
        return 0;
    }
    struct tpc_member members[] = { text_member(TPC_STR("gateway"), gateway),
                                    text_member(TPC_STR("address"), name) };
    const struct tpc_value doc = { TPC_MAP, 0, 2, { .members = members } };
    struct tpc_host_device d = { .product = type.len > 0 ? type : t->options->default_type,
                                 .device = name };
    d.product_document = TPC_STR("{\"codec\":\"json\"," OPEN);
    int rc = tpc_json_write(&doc, 0, &buf);
    if (rc == 0) {
        d.document = (struct tpc_str){ text, buf.need };
        rc = make(t, &d, type.len > 0);
    } else {
        t->host->count(t->ctx, "devices_refused", 1); /* a name of kilobytes */
        rc = 0;
    }
    if (rc == 0 && key_len > 0 && tpi_map_count(&t->known) < t->limit) {
        (void) tpi_map_put(&t->known, key, key_len, t, NULL); /* else asked again */
    }
    return rc;
}

/* Of {device: .., ..}. */
static int make_each(struct mqtt_tb *t, struct tpc_str gateway, struct tpc_str text,
                     struct tpc_arena *arena)
{
    static const struct tpc_str none = { NULL, 0 };
    struct tpi_json r;
    tpi_json_begin(&r, text);
    int event = tpi_json_next(&r) == TPI_JSON_MAP ? tpi_json_next(&r) : TPI_JSON_END;
    while (event == TPI_JSON_KEY) {
        struct tpc_str name = r.text;
        if (r.escaped && tpi_json_unescape(&r, arena, &name) != 0) {
            return TPC_ENOMEM;
        }
        int rc = make_behind(t, gateway, name, none, false);
        if (rc != 0) {
            return rc;
        }
        if (tpi_json_skip(&r, TPI_JSON_KEY) != 0) {
            return 0; /* the codec says what is wrong */
        }
        event = tpi_json_next(&r);
    }
    return 0;
}

static bool tail(struct tpc_str topic, struct tpc_str prefix, struct tpc_str *ret)
{
    if (topic.len < prefix.len || memcmp(topic.ptr, prefix.ptr, prefix.len) != 0) {
        return false;
    }
    *ret = (struct tpc_str){ topic.ptr + prefix.len, topic.len - prefix.len };
    return true;
}

static bool is(struct tpc_str s, const char *text)
{
    return tpc_str_equal(s, tpc_str_from(text)) != 0;
}

/* The number at the end of a topic; -1 = there is none. */
static int64_t number_of(struct tpc_str s)
{
    int64_t n = s.len > 0 && s.len < 18 ? 0 : -1;
    for (size_t i = 0; n >= 0 && i < s.len; i++) {
        n = s.ptr[i] >= '0' && s.ptr[i] <= '9' ? n * 10 + (s.ptr[i] - '0') : -1;
    }
    return n;
}

static int prepare_gateway(struct mqtt_tb *t, struct tpc_str what, struct tpc_str text,
                           struct tpc_arena *arena, struct mqtt_address *a)
{
    struct tpc_value v;
    int64_t id = 0;
    if (is(what, "telemetry") || is(what, "attributes")) {
        return make_each(t, a->device, text, arena);
    }
    bool connect = is(what, "connect");
    if ((!connect && !is(what, "rpc")) ||
        tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &v) != 0) {
        return 0;
    }
    if (connect) {
        struct tpc_str name = tpc_value_text(tpc_value_get(&v, TPC_STR("device")));
        struct tpc_str type = tpc_value_text(tpc_value_get(&v, TPC_STR("type")));
        return name.len > 0 ? make_behind(t, a->device, name, type, true) : 0;
    }
    if (tpc_value_int(tpc_value_get(&v, TPC_STR("id")), &id) == 0) {
        a->correlation = recall(t, id);
    }
    return 0;
}

int mqtt_tb_prepare(struct mqtt_tb *t, const struct mqtt_incoming *in, struct mqtt_address *a)
{
    struct tpc_str what, id, text = { (const char *) in->payload.ptr, in->payload.len };
    struct tpc_arena *arena = NULL;
    int rc = make_gateway(t);
    a->device = t->options->gateway.len > 0 ? t->options->gateway : a->device;
    a->correlation = (struct tpc_str){ NULL, 0 };
    if (rc != 0) {
        return rc;
    }
    if (tail(a->topic, device_topic, &what)) {
        if (tail(what, TPC_STR("rpc/response/"), &id)) {
            a->correlation = recall(t, number_of(id));
        }
        return 0;
    }
    if (!tail(a->topic, gateway_topic, &what)) {
        return 0;
    }
    rc = tpc_arena_create(t->host->allocator, 0, &arena);
    rc = rc != 0 ? rc : prepare_gateway(t, what, text, arena, a);
    tpc_arena_destroy(arena);
    return rc;
}

/* ---- requests ---- */

/* device: who asked. */
static void say(struct mqtt_tb *t, struct tpc_str device, const char *topic,
                struct tpc_bytes payload)
{
    char text[MQTT_TOPIC_MAX];
    bool many = t->options->gateway.len == 0;
    int n = snprintf(text, sizeof(text), "%s%.*s%s%s", many ? MQTT_THINGSBOARD_DOWN : "",
                     many ? (int) device.len : 0, many ? device.ptr : "", many ? "/" : "", topic);
    if (n < 0 || (size_t) n >= sizeof(text) ||
        mqtt_client_publish(t->client, tpc_str_from(text), payload, 1, false, NULL, NULL) != 0) {
        t->host->count(t->ctx, "dropped", 1); /* it asks again */
    }
}

static void answer_call(struct mqtt_tb *t, struct tpc_str who, struct tpc_str id,
                        struct tpc_str text, struct tpc_arena *arena)
{
    const struct mqtt_tb_options *o = t->options;
    char topic[MQTT_TOPIC_MAX], json[LIMITS_BYTES] = "{\"error\":\"no such method\"}";
    struct tpc_value v;
    int n = snprintf(topic, sizeof(topic), "v1/devices/me/rpc/response/%.*s", (int) id.len, id.ptr);
    bool limits = tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &v) == 0 &&
                  is(tpc_value_text(tpc_value_get(&v, TPC_STR("method"))), "getSessionLimits");
    if (n < 0 || (size_t) n >= sizeof(topic)) {
        return;
    }
    if (limits) {
        char rates[LIMITS_BYTES / 2 - 128];
        snprintf(rates, sizeof(rates),
                 "{\"messages\":\"%.*s\",\"telemetryMessages\":\"%.*s\","
                 "\"telemetryDataPoints\":\"%.*s\"}",
                 (int) o->limits[0].len, o->limits[0].ptr, (int) o->limits[1].len, o->limits[1].ptr,
                 (int) o->limits[2].len, o->limits[2].ptr);
        snprintf(json, sizeof(json),
                 "{\"maxPayloadSize\":%u,\"maxInflightMessages\":%u,\"rateLimits\":%s,"
                 "\"gatewayRateLimits\":%s}",
                 (unsigned) o->max_payload, (unsigned) o->max_inflight, rates, rates);
    }
    t->host->count(t->ctx, "calls", 1);
    say(t, who, topic, (struct tpc_bytes){ (const uint8_t *) json, strlen(json) });
}

/* Attributes that are asked for. */
struct question {
    struct mqtt_tb_gate *gate; /* counted */
    bool gateway;              /* its form */
    bool client, one;
    int64_t id;
    size_t device_len, key_len, who_len; /* texts behind it: device, the one key, who asked */
    size_t bytes;
};

static int write_answer(struct mqtt_tb *t, const struct question *q, const char *topic,
                        const struct tpc_value *v)
{
    const char *texts = (const char *) (q + 1);
    struct tpc_str who = { texts + q->device_len + q->key_len, q->who_len };
    struct tpc_arena *arena = NULL;
    struct tpc_bytes payload;
    int rc = tpc_arena_create(t->host->allocator, 0, &arena);
    rc = rc != 0 ? rc : tpi_codec_write_json(v, arena, NULL, &payload);
    if (rc == 0) {
        say(t, who, topic, payload);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static bool has(const struct tpc_value *map)
{
    return map != NULL && map->type == TPC_MAP && map->len > 0;
}

static int answer_gateway(struct mqtt_tb *t, const struct question *q,
                          const struct tpc_value *values)
{
    const char *texts = (const char *) (q + 1);
    struct tpc_member m[3] = {
        { TPC_STR("id"), { .type = TPC_INT, .as.i = q->id } },
        text_member(TPC_STR("device"), (struct tpc_str){ texts, q->device_len }),
    };
    struct tpc_value v = { TPC_MAP, 0, 2, { .members = m } };
    const struct tpc_value *one =
        q->one ? tpc_value_get(values, (struct tpc_str){ texts + q->device_len, q->key_len })
               : NULL;
    if (one != NULL) {
        m[v.len++] = (struct tpc_member){ TPC_STR("value"), *one };
    } else if (has(values)) {
        m[v.len++] = (struct tpc_member){ TPC_STR("values"), *values };
    }
    return write_answer(t, q, "v1/gateway/attributes/response", &v);
}

static int answer_device(struct mqtt_tb *t, const struct question *q,
                         const struct tpc_value *client, const struct tpc_value *shared)
{
    char topic[64];
    struct tpc_member m[2];
    struct tpc_value v = { TPC_MAP, 0, 0, { .members = m } };
    if (has(client)) {
        m[v.len++] = (struct tpc_member){ TPC_STR("client"), *client };
    }
    if (has(shared)) {
        m[v.len++] = (struct tpc_member){ TPC_STR("shared"), *shared };
    }
    snprintf(topic, sizeof(topic), "v1/devices/me/attributes/response/%lld", (long long) q->id);
    return write_answer(t, q, topic, &v);
}

static void on_attributes(void *user, const struct tpc_error *err, const struct tpc_value *client,
                          const struct tpc_value *shared)
{
    struct question *q = user;
    struct mqtt_tb_gate *g = q->gate;
    pthread_mutex_lock(&g->lock);
    struct mqtt_tb *t = g->owner;
    int rc = TPC_ECANCELED;
    if (t != NULL && (err == NULL || err->code == 0)) {
        rc = q->gateway ? answer_gateway(t, q, q->client ? client : shared)
                        : answer_device(t, q, client, shared);
    }
    if (t != NULL && rc != 0) {
        t->host->count(t->ctx, "attributes_unanswered", 1);
    }
    pthread_mutex_unlock(&g->lock);
    tpi_free(g->alloc, q, q->bytes);
    gate_release(g);
}

/* Of whoever knows; where nobody does there are none. */
static void ask(struct mqtt_tb *t, const struct question *form, struct tpc_str who,
                struct tpc_str device, struct tpc_str key, const struct tpc_str keys[2])
{
    size_t bytes = sizeof(struct question) + device.len + key.len + who.len;
    struct question *q = tpi_alloc(t->host->allocator, bytes);
    t->host->count(t->ctx, "attributes_asked", 1);
    if (q == NULL) {
        t->host->count(t->ctx, "attributes_unanswered", 1);
        return;
    }
    *q = *form;
    q->bytes = bytes;
    q->device_len = device.len;
    q->key_len = key.len;
    q->who_len = who.len;
    char *texts = (char *) (q + 1);
    memcpy(texts, device.ptr, device.len);
    if (key.len > 0) {
        memcpy(texts + device.len, key.ptr, key.len);
    }
    memcpy(texts + device.len + key.len, who.ptr, who.len);
    q->gate = t->gate;
    atomic_fetch_add(&t->gate->refs, 1);
    int rc = keys[0].len + keys[1].len == 0 ? TPC_EINVAL : TPC_ENOENT;
    if (rc == TPC_ENOENT && t->attributes != NULL) {
        rc = t->attributes->ask(t->attributes_self, device, keys[0], keys[1], on_attributes, q);
    }
    if (rc == TPC_EINVAL || rc == TPC_ENOENT) {
        on_attributes(q, NULL, NULL, NULL); /* there are none */
    } else if (rc != 0) {
        struct tpc_error err = { .size = sizeof(err), .code = rc };
        on_attributes(q, &err, NULL, NULL);
    }
}

/* Keys with commas between. Returns their number; 0 also if they are too many. */
static size_t join(const struct tpc_value *list, char out[KEYS_BYTES], struct tpc_str *ret)
{
    size_t n = 0, len = 0;
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        struct tpc_str key = tpc_value_text(&list->as.items[i]);
        if (key.len == 0 || n == KEYS_MAX || len + key.len + 1 > KEYS_BYTES) {
            return 0;
        }
        if (n++ > 0) {
            out[len++] = ',';
        }
        memcpy(out + len, key.ptr, key.len);
        len += key.len;
    }
    *ret = (struct tpc_str){ out, len };
    return n;
}

/* {"id", "device", "client": bool, "key" | "keys"} */
static void ask_gateway(struct mqtt_tb *t, struct tpc_str who, struct tpc_str text,
                        struct tpc_arena *arena)
{
    char list[KEYS_BYTES];
    struct tpc_value v;
    struct question form = { .gateway = true };
    struct tpc_str keys[2] = { { NULL, 0 }, { NULL, 0 } };
    if (tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &v) != 0 ||
        tpc_value_int(tpc_value_get(&v, TPC_STR("id")), &form.id) != 0) {
        t->host->count(t->ctx, "refused", 1);
        return;
    }
    struct tpc_str device = tpc_value_text(tpc_value_get(&v, TPC_STR("device")));
    struct tpc_str key = tpc_value_text(tpc_value_get(&v, TPC_STR("key")));
    form.client = tpi_member_bool(&v, "client", false);
    struct tpc_str wanted = key;
    form.one = key.len > 0;
    if (key.len == 0) {
        size_t n = join(tpc_value_get(&v, TPC_STR("keys")), list, &wanted);
        form.one = n == 1;
        key = n == 1 ? wanted : key;
    }
    keys[form.client ? 0 : 1] = wanted;
    if (device.len == 0) {
        t->host->count(t->ctx, "refused", 1);
        return;
    }
    ask(t, &form, who, device, key, keys);
}

/* {"clientKeys": "a,b", "sharedKeys": "c"} */
static void ask_device(struct mqtt_tb *t, struct tpc_str who, int64_t id, struct tpc_str text,
                       struct tpc_arena *arena)
{
    static const struct tpc_str none = { NULL, 0 };
    struct question form = { .id = id };
    struct tpc_value v;
    if (id < 0 || tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &v) != 0) {
        t->host->count(t->ctx, "refused", 1);
        return;
    }
    const struct tpc_str keys[2] = { tpc_value_text(tpc_value_get(&v, TPC_STR("clientKeys"))),
                                     tpc_value_text(tpc_value_get(&v, TPC_STR("sharedKeys"))) };
    ask(t, &form, who, who, none, keys);
}

static bool is_request(struct tpc_str topic, struct tpc_str *ret_id)
{
    struct tpc_str what;
    *ret_id = (struct tpc_str){ NULL, 0 };
    if (tail(topic, gateway_topic, &what)) {
        return is(what, "attributes/request") || is(what, "claim");
    }
    return tail(topic, device_topic, &what) &&
           (is(what, "claim") || tail(what, TPC_STR("rpc/request/"), ret_id) ||
            tail(what, TPC_STR("attributes/request/"), ret_id));
}

bool mqtt_tb_request(struct mqtt_tb *t, const struct mqtt_incoming *in, struct mqtt_address *a)
{
    struct tpc_str id, rest, text = { (const char *) in->payload.ptr, in->payload.len };
    struct tpc_str who = t->options->gateway.len > 0 ? t->options->gateway : a->device;
    struct tpc_arena *arena = NULL;
    if (!is_request(a->topic, &id)) {
        return false;
    }
    if (in->retained || tpc_arena_create(t->host->allocator, 0, &arena) != 0) {
        t->host->count(t->ctx, "dropped", 1);
        return true;
    }
    if (tail(a->topic, TPC_STR("v1/devices/me/rpc/request/"), &rest)) {
        answer_call(t, who, id, text, arena);
    } else if (tail(a->topic, TPC_STR("v1/devices/me/attributes/request/"), &rest)) {
        ask_device(t, who, number_of(id), text, arena);
    } else if (tail(a->topic, TPC_STR("v1/gateway/attributes/request"), &rest)) {
        ask_gateway(t, who, text, arena);
    } else {
        t->host->count(t->ctx, "claims_dropped", 1);
        t->host->log(t->ctx, TPC_LOG_WARN, "a claim of %.*s is not passed on", (int) who.len,
                     who.ptr);
    }
    tpc_arena_destroy(arena);
    return true;
}
