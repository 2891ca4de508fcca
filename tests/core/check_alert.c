/* Alerts in a whole core: rules, people, silence and restarts. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/alert.h>
#include <tpcore/audit.h>

#include "flow.h"

struct told {
    atomic_uint count;
    char text[2048]; /* "raise hot t1 by scene:s; ops raise" .. */
};

static struct tpc_str param(const struct tpc_msg *m, const char *key)
{
    return tpc_value_text(tpc_value_get(&m->params, tpc_str_from(key)));
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct told *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        size_t n = strlen(t->text);
        struct tpc_str change = param(m, "change");
        if (m->kind == TPC_MSG_ALERT) {
            snprintf(t->text + n, sizeof(t->text) - n, "%.*s %.*s %.*s by %.*s; ", (int) change.len,
                     change.ptr, (int) m->name.len, m->name.ptr, (int) m->device.len, m->device.ptr,
                     (int) m->origin.len, m->origin.ptr);
            atomic_fetch_add(&t->count, 1);
        } else if (m->kind == TPC_MSG_NOTIFY) {
            snprintf(t->text + n, sizeof(t->text) - n, "%.*s %.*s; ", (int) m->name.len,
                     m->name.ptr, (int) change.len, change.ptr);
        }
    }
    return 0;
}

/* All that the log holds. */
static const char *all(struct flow *f, struct told *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(t, 0, sizeof(*t));
    o.name = TPC_STR("all");
    o.filter = TPC_STR("main/#");
    tk_ok(tpc_consume(f->core, &o, on_batch, t, &sub));
    flow_settle(f);
    tpc_unsubscribe(sub);
    tk_ok(tpc_consumer_forget(f->core, TPC_STR("all")));
    return t->text;
}

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
}

static void put_scenes(struct flow *f)
{
    put(f, "scene",
        "{\"key\":\"s\",\"when\":{\"product\":\"thermo\",\"expr\":\"temperature > 30\",\"fire\":"
        "\"each\"},\"then\":[{\"alert\":{\"key\":\"hot\",\"severity\":\"major\",\"text\":\"at {{ "
        "temperature }}\"}}]}");
    put(f, "scene",
        "{\"key\":\"c\",\"when\":{\"product\":\"thermo\",\"expr\":\"temperature < 20\"},"
        "\"then\":[{\"clear\":{\"key\":\"hot\"}}]}");
}

static void say(struct flow *f, const char *text)
{
    struct tpc_device *d = flow_device(f, "t1");
    tk_ok(flow_feed(d, text));
    flow_settle(f);
    tpc_device_unref(d);
}

struct seen {
    struct tpc_alert alert; /* the last; its views are not valid any more */
    char text[200];         /* "device key: text, acked_by" of the last */
    unsigned count;
};

static int see(void *user, const struct tpc_alert *a)
{
    struct seen *s = user;
    s->alert = *a;
    s->count++;
    snprintf(s->text, sizeof(s->text), "%.*s %.*s: %.*s, %.*s", (int) a->device.len, a->device.ptr,
             (int) a->key.len, a->key.ptr, (int) a->text.len, a->text.ptr, (int) a->acked_by.len,
             a->acked_by.ptr);
    return 0;
}

static struct seen list(struct flow *f)
{
    struct seen s = { .count = 0 };
    tk_ok(tpc_alert_list(f->core, NULL, see, &s));
    return s;
}

static int take_audit(void *user, const struct tpc_audit_entry *e)
{
    char *out = user;
    size_t n = strlen(out);
    if (tpc_str_equal(e->kind, TPC_STR("alert")) && e->revision == 0) {
        snprintf(out + n, 300 - n, "%.*s %.*s by %.*s; ", (int) e->action.len, e->action.ptr,
                 (int) e->key.len, e->key.ptr, (int) e->actor.len, e->actor.ptr);
    }
    return 0;
}

START_TEST(what_a_scene_raises_people_acknowledge_and_rules_clear)
{
    struct flow f;
    struct told t;
    char audit[300] = "";
    const struct tpc_actor alice = { sizeof(alice), TPC_ACTOR_USER, TPC_STR("alice"), { NULL, 0 } };
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_devices(&f, 2);
    put_scenes(&f);
    put(&f, "alert", "{\"key\":\"hot\",\"notify\":[\"ops\"]}");
    flow_start(&f);
    say(&f, "{\"temperature\":31}");
    say(&f, "{\"temperature\":32}");
    struct seen s = list(&f);
    ck_assert_uint_eq(s.count, 1);
    ck_assert_uint_eq(s.alert.count, 2);
    ck_assert_str_eq(s.text, "t1 hot: at 31, ");
    ck_assert_uint_eq(s.alert.severity, TPC_SEVERITY_MAJOR);
    tk_ok(tpc_alert_ack(f.core, &alice, &s.alert.id, TPC_STR("mine")));
    tk_ok(tpc_alert_comment(f.core, &alice, &s.alert.id, TPC_STR("a fan is off")));
    s = list(&f);
    ck_assert_str_eq(s.text, "t1 hot: at 31, user alice");
    ck_assert_uint_eq(s.alert.state, TPC_ALERT_ACKNOWLEDGED);
    ck_assert_uint_eq(s.alert.note_count, 2);
    say(&f, "{\"temperature\":10}");
    s = list(&f);
    ck_assert_uint_eq(s.alert.state, TPC_ALERT_CLEARED);
    tk_fails(TPC_ESTATE, tpc_alert_clear(f.core, &alice, &s.alert.id, TPC_STR("")));
    ck_assert_str_eq(all(&f, &t), "ops raise; raise hot t1 by scene:s; acknowledge hot t1 by user "
                                  "alice; comment hot t1 by user alice; ops clear; clear hot t1 "
                                  "by scene:c; ");
    ck_assert_double_eq(flow_metric(&f, "tpc_alerts_repeated_total"), 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_alerts_notifications_total"), 2);
    ck_assert_double_eq(flow_metric(&f, "tpc_alerts_open"), 0);
    tk_ok(tpc_core_stop(f.core, 1000));
    tk_ok(tpc_audit(f.core, NULL, take_audit, audit));
    ck_assert_str_eq(audit, "comment hot by alice; acknowledge hot by alice; ");
    ck_assert_uint_eq(list(&f).count, 1);
    flow_fini(&f);
}
END_TEST

START_TEST(a_program_raises_and_clears)
{
    struct flow f;
    struct told t;
    struct tpc_alert_raise raise = TPC_ALERT_RAISE_INIT;
    struct tpc_id id, again;
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_devices(&f, 2);
    struct tpc_device *d = flow_device(&f, "t2");
    raise.key = TPC_STR("door");
    raise.text = TPC_STR("open");
    tk_fails(TPC_ESTATE, tpc_alert_raise(d, NULL, &raise, &id));
    flow_start(&f);
    tk_ok(tpc_alert_raise(d, NULL, &raise, &id));
    tk_ok(tpc_alert_raise(d, NULL, &raise, &again));
    ck_assert_mem_eq(&id, &again, sizeof(id));
    tk_ok(tpc_alert_clear(f.core, NULL, &id, TPC_STR("closed it")));
    tk_ok(tpc_alert_raise(d, NULL, &raise, &again));
    ck_assert_mem_ne(&id, &again, sizeof(id));
    raise.severity = 9;
    tk_fails(TPC_EINVAL, tpc_alert_raise(d, NULL, &raise, NULL));
    raise = (struct tpc_alert_raise) TPC_ALERT_RAISE_INIT;
    tk_fails(TPC_EINVAL, tpc_alert_raise(d, NULL, &raise, NULL));
    tk_fails(TPC_EINVAL, tpc_alert_comment(f.core, NULL, &id, TPC_STR("")));
    id.b[0] ^= 1;
    tk_fails(TPC_ENOENT, tpc_alert_ack(f.core, NULL, &id, TPC_STR("")));
    (void) all(&f, &t);
    ck_assert_uint_eq(atomic_load(&t.count), 3);
    tpc_device_unref(d);
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR("main"), "device", TPC_STR("t2"), TPC_ANY_REV));
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_alerts_open"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_device_without_a_connection_for_five_minutes)
{
    struct flow f;
    struct told t;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 2);
    flow_probe_open(&f);
    put(&f, "alert",
        "{\"key\":\"lost\",\"notify\":[\"ops\"],\"offline\":{\"product\":\"thermo\"}}");
    flow_start(&f);
    uint64_t session = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    flow_probe.host->session_close(flow_probe.ctx, session);
    flow_settle(&f);
    tk_clock_advance(&f.e.clock, 299000);
    flow_settle(&f);
    ck_assert_uint_eq(list(&f).count, 0);
    tk_clock_advance(&f.e.clock, 1000);
    flow_settle(&f);
    ck_assert_str_eq(list(&f).text, "t1 lost: offline for 300 s, ");
    session = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    flow_probe.host->session_close(flow_probe.ctx, session);
    flow_settle(&f);
    ck_assert_str_eq(all(&f, &t),
                     "ops raise; raise lost t1 by alert:lost; ops clear; clear lost t1 by core; ");
    flow_fini(&f);
}
END_TEST

/* One life of a core on the same files; the clock goes on by 200 seconds each time. */
static void open_life(struct flow *f, const char *dir, int life, int64_t *now)
{
    char entities[320];
    snprintf(entities, sizeof(entities), "{\"dump_dir\":\"%s/entities\"}", dir);
    flow_init(f, 0);
    *now = life == 0 ? tpi_unix_ms(&f->e.env) : *now + 200000;
    tk_clock_set_unix(&f->e.clock, *now);
    f->o.flags = TPC_CORE_ACCEPT_GAP;
    flow_create(f);
    flow_file_log(f, dir, "");
    tk_ok(tpc_core_open(f->core, "entities", "memory", tpc_str_from(entities)));
}

START_TEST(restarts_find_alerts_their_timers_and_their_comments)
{
    struct told t;
    char dir[256];
    int64_t now = 0;
    snprintf(dir, sizeof(dir), "%s/alert", tk_tmpdir());
    for (int i = 0; i < 4; i++) {
        struct flow f;
        open_life(&f, dir, i, &now);
        if (i == 0) {
            flow_devices(&f, 1);
            put_scenes(&f);
            put(&f, "alert",
                "{\"key\":\"hot\",\"notify\":[\"ops\"],\"escalate\":{\"after\":\"5m\"}}");
        }
        ck_assert_uint_eq(list(&f).count, i > 0); /* of a core that is not started */
        flow_start(&f);
        if (i == 0) {
            say(&f, "{\"temperature\":31}");
            say(&f, "{\"temperature\":31}");
            struct seen s = list(&f);
            tk_ok(tpc_alert_comment(f.core, NULL, &s.alert.id, TPC_STR("hm")));
        }
        flow_settle(&f);
        struct seen s = list(&f);
        ck_assert_uint_eq(s.count, 1);
        ck_assert_uint_eq(s.alert.note_count, 1);
        ck_assert_uint_eq(s.alert.count, 2);
        ck_assert_uint_eq(s.alert.flags, i > 1 ? TPC_ALERT_ESCALATED : 0);
        if (i == 3) {
            say(&f, "{\"temperature\":10}");
            ck_assert_str_eq(all(&f, &t),
                             "ops raise; raise hot t1 by scene:s; comment hot t1 by embedder; ops "
                             "escalate; escalate hot t1 by core; ops clear; clear hot t1 by "
                             "scene:c; ");
        }
        flow_fini(&f);
    }
}
END_TEST

/* The log keeps what was appended, the store has nothing of it: as after a kill. */
START_TEST(what_the_store_does_not_have_comes_from_the_log)
{
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/alert-log", tk_tmpdir());
    for (int i = 0; i < 2; i++) {
        struct flow f;
        struct told t;
        flow_init(&f, 0);
        f.o.flags = TPC_CORE_ACCEPT_GAP;
        flow_create(&f);
        flow_file_log(&f, dir, "");
        flow_devices(&f, 1);
        put_scenes(&f);
        put(&f, "alert", "{\"key\":\"hot\",\"notify\":[\"ops\"]}");
        flow_start(&f);
        if (i == 0) {
            say(&f, "{\"temperature\":31}");
            say(&f, "{\"temperature\":32}");
        }
        flow_settle(&f);
        struct seen s = list(&f);
        ck_assert_uint_eq(s.count, 1);
        ck_assert_uint_eq(s.alert.state, TPC_ALERT_RAISED);
        ck_assert_str_eq(all(&f, &t), "ops raise; raise hot t1 by scene:s; ");
        flow_fini(&f);
    }
}
END_TEST

Suite *alert_flow_suite(void)
{
    Suite *s = suite_create("alert");
    TCase *t = tcase_create("alert");
    tcase_add_loop_test(t, what_a_scene_raises_people_acknowledge_and_rules_clear, 0, 3);
    tcase_add_loop_test(t, a_program_raises_and_clears, 0, 3);
    tcase_add_test(t, a_device_without_a_connection_for_five_minutes);
    tcase_add_test(t, restarts_find_alerts_their_timers_and_their_comments);
    tcase_add_test(t, what_the_store_does_not_have_comes_from_the_log);
    suite_add_tcase(s, t);
    return s;
}
