#include "alarm.h"

#include <stdio.h>
#include <string.h>

struct house *alarm_house;

void alarm_end(void)
{
    house_free(alarm_house);
}

struct tpc_device *alarm_device(const char *key)
{
    struct tpc_device *d = NULL;
    tk_ok(tpi_registry_open(alarm_house->registry, TPC_STR("main"), tpc_str_from(key), NULL, &d));
    return d;
}

uint32_t alarm_worker(const struct tpc_device *d)
{
    return d->partition % HOUSE_WORKERS;
}

static uint64_t wishes;

struct tpi_alert_wish alarm_wish(struct tpc_device *d, const char *key, bool raise)
{
    struct tpi_alert_wish w = { .device = d,
                                .raise = raise,
                                .key = tpc_str_from(key),
                                .by = TPC_STR("scene:s"),
                                .unix_ms = tpi_unix_ms(&alarm_house->env.env) };
    if (raise) {
        w.severity = TPC_SEVERITY_MAJOR;
        w.text = TPC_STR("too hot");
    }
    wishes++;
    memcpy(w.id.b, &wishes, sizeof(wishes));
    w.id.b[15] = 1;
    return w;
}

int alarm_say(const char *key, const char *alert, bool raise)
{
    struct tpc_device *d = alarm_device(key);
    struct tpi_alert_wish w = alarm_wish(d, alert, raise);
    int rc = tpi_alerts_wish(alarm_house->alerts, alarm_worker(d), &w, NULL);
    tpi_device_unref(d);
    return rc;
}

int alarm_up(void)
{
    return alarm_say("t1", "hot", true);
}

int alarm_down(void)
{
    return alarm_say("t1", "hot", false);
}

void alarm_turn(void)
{
    for (uint32_t i = 0; i < HOUSE_WORKERS; i++) {
        while (tpi_alerts_turn(alarm_house->alerts, i)) {
        }
    }
}

void alarm_wait_s(uint64_t s)
{
    tk_clock_advance(&alarm_house->env.clock, s * 1000);
    alarm_turn();
}

/* What was appended since the last look, one after the other with ", ". */
unsigned alarm_looked;
const char *alarm_news(void)
{
    static char text[2048];
    size_t n = 0;
    text[0] = '\0';
    for (; alarm_looked < alarm_house->told_count; alarm_looked++) {
        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%s", n > 0 ? ", " : "",
                               alarm_house->told[alarm_looked].text);
        ck_assert_uint_lt(n, sizeof(text));
    }
    return text;
}

void alarm_begin(void)
{
    alarm_house = house_new();
    alarm_looked = 0;
    wishes = 0;
    alarm_turn();
}

void alarm_config(const char *json)
{
    int rc = house_put(alarm_house, "alert", json);
    ck_assert_msg(rc == 0, "%s: %s", alarm_house->err.path, alarm_house->err.text);
    alarm_turn();
}

int alarm_see(void *user, const struct tpc_alert *a)
{
    struct alarm_seen *s = user;
    if (s->count < 64) {
        snprintf(s->keys[s->count], sizeof(s->keys[0]), "%.*s %.*s", (int) a->device.len,
                 a->device.ptr, (int) a->key.len, a->key.ptr);
    }
    s->alert = *a;
    s->count++;
    return 0;
}

struct alarm_seen alarm_list(struct tpc_alert_query q)
{
    struct alarm_seen s = { 0 };
    q.size = sizeof(q);
    q.limit = q.limit != 0 ? q.limit : 100;
    tk_ok(tpi_alerts_list(alarm_house->alerts, &q, alarm_see, &s));
    return s;
}

struct tpc_alert alarm_only(void)
{
    struct alarm_seen s = alarm_list((struct tpc_alert_query){ .limit = 2 });
    ck_assert_uint_eq(s.count, 1);
    return s.alert;
}

uint64_t alarm_metric(const _Atomic uint64_t *c)
{
    return atomic_load((_Atomic uint64_t *) (uintptr_t) c);
}

int alarm_act(enum tpi_alert_deed deed, const char *comment)
{
    struct tpc_alert a = alarm_only();
    uint32_t worker = 99;
    tk_ok(tpi_alerts_owner(alarm_house->alerts, &a.id, &worker));
    return tpi_alerts_do(alarm_house->alerts, worker, deed, &a.id, TPC_STR("user alice"),
                         tpc_str_from(comment));
}

int alarm_see_note(void *user, const struct tpc_alert *a)
{
    char *out = user;
    ck_assert_uint_ge(a->note_count, 1);
    const struct tpc_alert_note *n = &a->notes[a->note_count - 1];
    snprintf(out, 100, "%.*s: %.*s by %.*s", (int) n->by.len, n->by.ptr, (int) n->text.len,
             n->text.ptr, (int) a->acked_by.len, a->acked_by.ptr);
    return 0;
}

void alarm_presence(const char *key, bool online)
{
    struct tpc_device *d = alarm_device(key);
    int64_t now = tpi_unix_ms(&alarm_house->env.env);
    tpi_registry_read_lock(alarm_house->registry);
    if (tpi_device_presence(d, online, true, now)) {
        tpi_alerts_presence(alarm_house->alerts, alarm_worker(d), d, online, now);
    }
    tpi_registry_read_unlock(alarm_house->registry);
    tpi_device_unref(d);
    alarm_turn();
}
