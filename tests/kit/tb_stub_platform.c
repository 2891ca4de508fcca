#include "tb_stub_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool begins(struct stub_text t, const char *with)
{
    size_t len = strlen(with);
    return t.len >= len && memcmp(t.ptr, with, len) == 0;
}

static char *copy(struct stub_text t)
{
    char *text = malloc(t.len + 1);
    stub_must(text != NULL, "memory");
    memcpy(text, t.ptr, t.len);
    text[t.len] = '\0';
    return text;
}

static void keep(struct tb_stub *s, struct stub_text topic, struct stub_text payload, bool data)
{
    uint64_t n = ++s->published;
    struct stub_kept *k = data ? s->kept_data : s->kept;
    size_t oldest = 0;
    for (size_t i = 0; i < (data ? STUB_KEPT_DATA : STUB_KEPT); i++) {
        if (k[i].number == 0) {
            oldest = i;
            break;
        }
        oldest = k[i].number < k[oldest].number ? i : oldest;
    }
    free(k[oldest].topic);
    free(k[oldest].payload);
    k[oldest] = (struct stub_kept){ n, copy(topic), copy(payload) };
}

/* The number after "name": in a JSON text of the client's; -1 if there is none. */
static int64_t member_number(const char *json, const char *name)
{
    char want[64];
    snprintf(want, sizeof(want), "\"%s\"", name);
    const char *at = strstr(json, want);
    at = at != NULL ? strchr(at + strlen(want), ':') : NULL;
    return at != NULL ? strtoll(at + 1, NULL, 10) : -1;
}

static void member_text(const char *json, const char *name, char *ret, size_t size)
{
    char want[64];
    snprintf(want, sizeof(want), "\"%s\"", name);
    const char *at = strstr(json, want);
    at = at != NULL ? strchr(at + strlen(want), ':') : NULL;
    at = at != NULL ? strchr(at, '"') : NULL;
    const char *end = at != NULL ? strchr(at + 1, '"') : NULL;
    size_t len = end != NULL ? (size_t) (end - at - 1) : 0;
    len = len < size ? len : size - 1;
    if (len > 0) {
        memcpy(ret, at + 1, len);
    }
    ret[len] = '\0';
}

static void answer(struct stub_session *x, const char *topic, const char *json)
{
    stub_send(x, topic, json, strlen(json));
}

static void device_request(struct tb_stub *s, struct stub_session *x, const char *topic,
                           const char *payload)
{
    char to[256];
    const char *id = strrchr(topic, '/') + 1;
    if (strstr(topic, "/rpc/request/") != NULL) {
        snprintf(to, sizeof(to), "v1/devices/me/rpc/response/%s", id);
        if (strstr(payload, "getSessionLimits") == NULL) {
            answer(x, to, "{\"error\":\"unknown method\"}");
            return;
        }
        s->counts.limits_asked++;
        if (!s->no_limits) {
            answer(x, to, s->limits);
        }
        return;
    }
    char json[STUB_TEXT + 64];
    snprintf(to, sizeof(to), "v1/devices/me/attributes/response/%s", id);
    snprintf(json, sizeof(json), "{\"shared\":%s}", s->attributes);
    answer(x, to, json);
}

static void gateway_attributes(struct tb_stub *s, struct stub_session *x, const char *payload)
{
    char device[256], json[STUB_TEXT + 512];
    member_text(payload, "device", device, sizeof(device));
    snprintf(json, sizeof(json), "{\"id\":%" PRId64 ",\"device\":\"%s\",\"values\":%s}",
             member_number(payload, "id"), device, s->attributes);
    answer(x, "v1/gateway/attributes/response", json);
}

void stub_platform(struct tb_stub *s, struct stub_session *x, struct stub_text topic,
                   struct stub_text payload)
{
    bool data = begins(topic, "v1/gateway/telemetry");
    s->counts.publishes++;
    s->counts.bytes += payload.len;
    if (payload.len > s->counts.largest) {
        s->counts.largest = (uint32_t) payload.len;
    }
    samples_add(s->samples, topic.ptr, topic.len, payload.ptr, payload.len, stub_unix_ms());
    keep(s, topic, payload, data);
    if (!data) {
        char *t = copy(topic), *p = copy(payload);
        if (begins(topic, "v1/devices/me/rpc/request/") ||
            begins(topic, "v1/devices/me/attributes/request/")) {
            device_request(s, x, t, p);
        } else if (strcmp(t, "v1/gateway/attributes/request") == 0) {
            gateway_attributes(s, x, p);
        } else if (strcmp(t, "/provision/request") == 0 && x->provisioning) {
            answer(x, "/provision/response", s->provision);
        }
        free(t);
        free(p);
    }
    pthread_cond_broadcast(&s->came);
}
