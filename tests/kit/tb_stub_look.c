#include "tb_stub_server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <tk.h>
#include <time.h>
#include <unistd.h>

int tb_stub_publish(struct tb_stub *s, const char *topic, const char *payload)
{
    int sent = 0;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < STUB_SESSIONS; i++) {
        struct stub_session *x = &s->sessions[i];
        sent += x->fd >= 0 && stub_send(x, topic, payload, strlen(payload));
    }
    pthread_mutex_unlock(&s->lock);
    (void) !write(s->wake[1], "", 1);
    return sent;
}

int tb_stub_rpc(struct tb_stub *s, const char *device, int id, const char *method,
                const char *params_json)
{
    char json[STUB_TEXT];
    int n = snprintf(json, sizeof(json),
                     "{\"device\":\"%s\",\"data\":{\"id\":%d,\"method\":\"%s\"%s%s}}", device, id,
                     method, params_json != NULL ? ",\"params\":" : "",
                     params_json != NULL ? params_json : "");
    ck_assert(n > 0 && (size_t) n < sizeof(json));
    return tb_stub_publish(s, "v1/gateway/rpc", json);
}

void tb_stub_counts(struct tb_stub *s, struct tb_stub_counts *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->counts;
    pthread_mutex_unlock(&s->lock);
}

void tb_stub_total(struct tb_stub *s, struct samples_total *ret)
{
    pthread_mutex_lock(&s->lock);
    samples_total(s->samples, ret);
    pthread_mutex_unlock(&s->lock);
}

bool tb_stub_device(struct tb_stub *s, const char *name, struct samples_total *ret)
{
    pthread_mutex_lock(&s->lock);
    bool found = samples_device(s->samples, name, ret);
    pthread_mutex_unlock(&s->lock);
    return found;
}

uint64_t tb_stub_key(struct tb_stub *s, const char *device, const char *key)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = samples_key(s->samples, device, key);
    pthread_mutex_unlock(&s->lock);
    return n;
}

void tb_stub_type(struct tb_stub *s, const char *device, char *ret, size_t size)
{
    pthread_mutex_lock(&s->lock);
    snprintf(ret, size, "%s", samples_type(s->samples, device));
    pthread_mutex_unlock(&s->lock);
}

void tb_stub_forget_latency(struct tb_stub *s)
{
    pthread_mutex_lock(&s->lock);
    samples_forget_latency(s->samples);
    pthread_mutex_unlock(&s->lock);
}

void tb_stub_print(struct tb_stub *s, FILE *out)
{
    pthread_mutex_lock(&s->lock);
    samples_print(s->samples, out);
    pthread_mutex_unlock(&s->lock);
}

uint64_t tb_stub_mark(struct tb_stub *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->published;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- waiting ---- */

struct wanted {
    uint64_t mark;
    const char *topic, *text;
    char *ret;
    size_t size;
};

typedef bool reached_fn(struct tb_stub *s, const void *user);

static bool wait_for(struct tb_stub *s, reached_fn *reached, const void *user, uint32_t timeout_ms)
{
    int64_t end = stub_mono_ms() + timeout_ms;
    struct timespec until = { (time_t) (end / 1000), (long) (end % 1000 * 1000000) };
    pthread_mutex_lock(&s->lock);
    bool done = reached(s, user);
    while (!done && pthread_cond_timedwait(&s->came, &s->lock, &until) != ETIMEDOUT) {
        done = reached(s, user);
    }
    done = done || reached(s, user);
    pthread_mutex_unlock(&s->lock);
    return done;
}

static bool fits(const struct stub_kept *k, const struct wanted *w)
{
    if (k->number <= w->mark) {
        return false;
    }
    size_t len = strlen(w->topic);
    bool prefix = len > 0 && w->topic[len - 1] == '*';
    bool topic =
        prefix ? strncmp(k->topic, w->topic, len - 1) == 0 : strcmp(k->topic, w->topic) == 0;
    return topic && (w->text == NULL || strstr(k->payload, w->text) != NULL);
}

/* The first after the mark that fits. */
static bool publish_came(struct tb_stub *s, const void *user)
{
    const struct wanted *w = user;
    const struct stub_kept *best = NULL;
    for (size_t i = 0; i < STUB_KEPT + STUB_KEPT_DATA; i++) {
        const struct stub_kept *k = i < STUB_KEPT ? &s->kept[i] : &s->kept_data[i - STUB_KEPT];
        if (fits(k, w) && (best == NULL || k->number < best->number)) {
            best = k;
        }
    }
    if (best != NULL && w->ret != NULL) {
        snprintf(w->ret, w->size, "%s %s", best->topic, best->payload);
    }
    return best != NULL;
}

bool tb_stub_wait(struct tb_stub *s, uint64_t mark, const char *topic, const char *text,
                  uint32_t timeout_ms, char *ret, size_t size)
{
    struct wanted w = { mark, topic, text, ret, size };
    return wait_for(s, publish_came, &w, timeout_ms);
}

static bool samples_came(struct tb_stub *s, const void *user)
{
    return samples_distinct(s->samples) >= *(const uint64_t *) user;
}

static bool points_came(struct tb_stub *s, const void *user)
{
    return samples_points(s->samples) >= *(const uint64_t *) user;
}

static bool sessions_there(struct tb_stub *s, const void *user)
{
    return s->counts.sessions == *(const uint32_t *) user;
}

bool tb_stub_wait_samples(struct tb_stub *s, uint64_t distinct, uint32_t timeout_ms)
{
    return wait_for(s, samples_came, &distinct, timeout_ms);
}

bool tb_stub_wait_points(struct tb_stub *s, uint64_t points, uint32_t timeout_ms)
{
    return wait_for(s, points_came, &points, timeout_ms);
}

bool tb_stub_wait_sessions(struct tb_stub *s, uint32_t sessions, uint32_t timeout_ms)
{
    return wait_for(s, sessions_there, &sessions, timeout_ms);
}
