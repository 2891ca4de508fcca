#include "devices.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <tpcore/json.h>

#include <mbedtls/md.h>

/* Tags of publishes: the sequence number of a report, or this bit for the answer to a command. */
#define TAG_ANSWER (UINT64_C(1) << 63)
#define TAG_NOTHING (UINT64_C(1) << 62) /* an answer given again */

static const char *const names[DEVICE_KINDS] = { "thermo", "meter", "fan", "panel", "gateway" };

static void on_acked(void *user, uint64_t tag)
{
    struct device *d = user;
    if ((tag & TAG_ANSWER) != 0) {
        d->counts->acknowledged++;
        return;
    }
    if (tag == TAG_NOTHING) {
        return;
    }
    d->counts->published += device_count(d);
    if (d->seq_file != NULL) {
        fprintf(d->seq_file, "%s %" PRIu64 "\n", d->key, tag);
        for (uint32_t i = 1; i < device_count(d); i++) {
            fprintf(d->seq_file, "%s-%u %" PRIu64 "\n", d->key, i, tag);
        }
        fflush(d->seq_file);
    }
}

uint32_t device_count(const struct device *d)
{
    return d->kind == DEVICE_GATEWAY ? 1 + DEVICE_ROOMS : 1;
}

/* Alink: {device}&{product} and HMAC-SHA-256 by the device's secret. */
static int alink_login(struct device *d)
{
    char secret[64], text[300];
    uint8_t mac[32];
    const char *product = names[d->kind];
    snprintf(d->user_name, sizeof(d->user_name), "%s&%s", d->key, product);
    snprintf(secret, sizeof(secret), "secret-of-%s", d->key);
    int n = snprintf(text, sizeof(text), "clientId%s.%sdeviceName%sdeviceSecret%sproductKey%s",
                     product, d->key, d->key, secret, product);
    if (mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), (const uint8_t *) secret,
                        strlen(secret), (const uint8_t *) text, (size_t) n, mac) != 0) {
        return -1;
    }
    for (int i = 0; i < 32; i++) {
        snprintf(d->password + 2 * i, 3, "%02x", mac[i]);
    }
    return 0;
}

static int own_login(struct device *d)
{
    if (d->kind != DEVICE_PANEL && d->kind != DEVICE_GATEWAY) {
        return alink_login(d);
    }
    snprintf(d->user_name, sizeof(d->user_name), "%s", d->key);
    snprintf(d->password, sizeof(d->password), "%s-password", d->key);
    return 0;
}

static uint64_t text_hash(struct tpc_str s)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < s.len; i++) {
        h = (h ^ (uint8_t) s.ptr[i]) * UINT64_C(1099511628211);
    }
    return h;
}

/* Whether this request was seen before; remembers it. */
static bool seen(struct device *d, struct tpc_str request)
{
    uint64_t h = text_hash(request);
    uint32_t kept =
        d->answered_count < DEVICE_COMMANDS_MAX ? d->answered_count : DEVICE_COMMANDS_MAX;
    for (uint32_t i = 0; i < kept; i++) {
        if (d->answered[i] == h) {
            return true;
        }
    }
    d->answered[d->answered_count++ % DEVICE_COMMANDS_MAX] = h;
    return false;
}

static void carry_out(struct device *d, const struct tpc_value *params)
{
    const struct tpc_value *inputs = tpc_value_get(params, TPC_STR("inputParams"));
    const struct tpc_value *on = tpc_value_get(inputs != NULL ? inputs : params, TPC_STR("on"));
    int64_t number;
    if (on != NULL && tpc_value_int(on, &number) == 0) {
        d->state_pending |= d->on != (number != 0);
        d->on = number != 0;
    }
}

static bool ends_with(struct tpc_str s, const char *tail)
{
    size_t len = strlen(tail);
    return s.len >= len && memcmp(s.ptr + s.len - len, tail, len) == 0;
}

/* A request to a fan: {"requestId","method","params"} on .../thing/property/set or service/invoke.
 */
static void on_message(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    static const char reply[] = "_reply";
    struct device *d = user;
    struct tpc_value v;
    char to[BROKER_TOPIC_MAX], answer[BROKER_PAYLOAD_MAX];

    if (topic.len + sizeof(reply) > sizeof(to) ||
        (!ends_with(topic, "/thing/property/set") && !ends_with(topic, "/thing/service/invoke"))) {
        return; /* our own report, or the platform's answer to one */
    }
    tpc_arena_reset(d->arena);
    struct tpc_str text = { (const char *) payload.ptr, payload.len };
    if (tpc_json_parse(d->arena, text, 0, NULL, &v) != 0) {
        return;
    }
    struct tpc_str request = tpc_value_text(tpc_value_get(&v, TPC_STR("requestId")));
    struct tpc_str method = tpc_value_text(tpc_value_get(&v, TPC_STR("method")));
    if (request.len == 0 || method.len == 0) {
        return;
    }
    bool again = seen(d, request);
    if (!again) {
        d->counts->commands++;
        carry_out(d, tpc_value_get(&v, TPC_STR("params")));
    }
    snprintf(to, sizeof(to), "%.*s%s", (int) topic.len, topic.ptr, reply);
    int n = snprintf(
        answer, sizeof(answer),
        "{\"requestId\":\"%.*s\",\"method\":\"%.*s\",\"code\":0,\"msg\":\"\",\"data\":{\"on\":%s}}",
        (int) request.len, request.ptr, (int) method.len, method.ptr, d->on ? "true" : "false");
    if (n > 0 && (size_t) n < sizeof(answer)) {
        /* A repeated request is answered again, and not counted again. */
        broker_publish(&d->broker, to, answer, (size_t) n, again ? TAG_NOTHING : TAG_ANSWER);
    }
}

int device_init(struct device *d, enum device_kind kind, uint32_t number, const char *host,
                uint16_t port, struct counts *counts, FILE *seq_file)
{
    memset(d, 0, sizeof(*d));
    d->kind = kind;
    d->number = number;
    d->counts = counts;
    d->seq_file = seq_file;
    snprintf(d->key, sizeof(d->key), "%s-%u", names[kind], number);
    if (tpc_arena_create(NULL, 1u << 20, &d->arena) != 0 ||
        broker_init(&d->broker, host, port, d->key) != 0) {
        return -1;
    }
    if (own_login(d) != 0) {
        return -1;
    }
    d->broker.user_name = d->user_name;
    d->broker.password = d->password;
    d->broker.user = d;
    d->broker.on_acked = on_acked;
    if (kind == DEVICE_FAN) {
        d->broker.on_message = on_message;
        snprintf(d->broker.filter, sizeof(d->broker.filter), "/sys/fan/%s/thing/#", d->key);
        d->state_pending = true;
    }
    return 0;
}

void device_fini(struct device *d)
{
    broker_fini(&d->broker);
    d->arena = tpc_arena_destroy(d->arena);
}

/* A swing of +-4 degrees around 28 in ten seconds, each thermostat at its own place in it. */
static size_t thermostat(struct device *d, int64_t elapsed_ms, uint8_t *to, size_t cap)
{
    double phase = (double) elapsed_ms / 10000.0 + (double) d->number / 12.0;
    int n = snprintf((char *) to, cap,
                     "{\"requestId\":\"%u\",\"method\":\"thing.property.post\",\"params\":"
                     "{\"temperature\":%.2f,\"humidity\":%.1f,\"seq\":%u}}",
                     d->seq, 28.0 + 4.0 * sin(phase * 6.28318), 45.0 + 5.0 * cos(phase * 6.28318),
                     d->seq);
    return n > 0 ? (size_t) n : 0;
}

static void put32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t) (v >> (24 - 8 * i));
    }
}

/* 16 bytes, big-endian: sequence u32, voltage u16 in 0.1 V, current u16 in 0.01 A, power u32 in 0.1
 * W, energy u32 in Wh. */
static size_t meter(struct device *d, int64_t elapsed_ms, uint8_t *to)
{
    double volt = 230.0 + 3.0 * sin((double) elapsed_ms / 3000.0 + d->number);
    double ampere = 5.0 + 2.0 * sin((double) elapsed_ms / 7000.0 + 2.0 * d->number);
    d->energy_wh += volt * ampere / 3600.0;
    uint32_t dv = (uint32_t) (volt * 10.0), ca = (uint32_t) (ampere * 100.0);
    put32(to, d->seq);
    put32(to + 4, dv << 16 | ca);
    put32(to + 8, (uint32_t) (volt * ampere * 10.0));
    put32(to + 12, (uint32_t) d->energy_wh);
    return 16;
}

static size_t fan(struct device *d, uint8_t *to, size_t cap)
{
    int n = snprintf((char *) to, cap,
                     "{\"requestId\":\"%u\",\"method\":\"thing.property.post\",\"params\":"
                     "{\"on\":%s,\"speed\":%d,\"seq\":%u}}",
                     d->seq, d->on ? "true" : "false", d->on ? 1200 : 0, d->seq);
    return n > 0 ? (size_t) n : 0;
}

static double celsius(const struct device *d, int64_t elapsed_ms, uint32_t room)
{
    return 21.0 + sin((double) elapsed_ms / 4000.0 + d->number + 2.0 * room);
}

static size_t panel(struct device *d, int64_t elapsed_ms, uint8_t *to, size_t cap)
{
    int n = snprintf((char *) to, cap, "{\"temperature\":%.2f,\"seq\":%u}",
                     celsius(d, elapsed_ms, 0), d->seq);
    return n > 0 ? (size_t) n : 0;
}

/* The gateway itself and the rooms behind it, by their addresses. */
static size_t gateway(struct device *d, int64_t elapsed_ms, uint8_t *to, size_t cap)
{
    int n =
        snprintf((char *) to, cap, "{\"gateway_data\":{\"seq\":%u},\"sub_device_data\":{", d->seq);
    for (uint32_t i = 1; i <= DEVICE_ROOMS && n > 0 && (size_t) n < cap; i++) {
        n += snprintf((char *) to + n, cap - (size_t) n,
                      "%s\"%u\":{\"temperature\":%.2f,\"seq\":%u}", i > 1 ? "," : "", i,
                      celsius(d, elapsed_ms, i), d->seq);
    }
    n += snprintf((char *) to + n, cap - (size_t) n, "}}");
    return (size_t) n < cap ? (size_t) n : 0;
}

static size_t report(struct device *d, int64_t elapsed_ms, char topic[BROKER_TOPIC_MAX],
                     uint8_t *to, size_t cap)
{
    switch (d->kind) {
    case DEVICE_METER:
        snprintf(topic, BROKER_TOPIC_MAX, "meters/%s/up", d->key);
        return meter(d, elapsed_ms, to);
    case DEVICE_PANEL:
        snprintf(topic, BROKER_TOPIC_MAX, "devices/telemetry");
        return panel(d, elapsed_ms, to, cap);
    case DEVICE_GATEWAY:
        snprintf(topic, BROKER_TOPIC_MAX, "gateway/telemetry");
        return gateway(d, elapsed_ms, to, cap);
    default:
        snprintf(topic, BROKER_TOPIC_MAX, "/sys/%s/%s/thing/property/post", names[d->kind], d->key);
        return d->kind == DEVICE_FAN ? fan(d, to, cap) : thermostat(d, elapsed_ms, to, cap);
    }
}

void device_run(struct device *d, int64_t now_ms, uint32_t period_ms, int64_t elapsed_ms)
{
    uint8_t payload[BROKER_PAYLOAD_MAX];
    char topic[BROKER_TOPIC_MAX];

    if ((now_ms < d->next_ms && !d->state_pending) ||
        d->broker.inflight_count >= BROKER_INFLIGHT_MAX / 2) {
        return;
    }
    /* A late report does not make the next one late, too. */
    d->next_ms = d->next_ms + period_ms > now_ms ? d->next_ms + period_ms : now_ms + period_ms;
    d->state_pending = false;
    d->seq++;
    size_t len = report(d, elapsed_ms, topic, payload, sizeof(payload));
    broker_publish(&d->broker, topic, payload, len, d->seq);
}
