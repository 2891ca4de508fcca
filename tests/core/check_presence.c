/* Presence: sessions, status messages, heartbeats and silence. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

static const char beat[] =
    TPC_JSON({ "key" : "beat",
             "codec" : "json",
             "presence" : { "mode" : "heartbeat", "timeout" : "10s" },
             "model" : { "properties" : [ { "id" : "n", "type" : "int" } ] } });
static const char idle[] =
    TPC_JSON({ "key" : "idle",
             "codec" : "json",
             "presence" : { "mode" : "idle", "timeout" : "10s" },
             "model" : { "properties" : [ { "id" : "n", "type" : "int" } ] } });

static int put_product(struct flow *f, const char *json)
{
    return tpc_entity_put(f->core, NULL, "product", tpc_str_from(json), TPC_ANY_REV, NULL);
}

static void put_device(struct flow *f, const char *key, const char *product)
{
    char json[100];
    snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"%s\"}", key, product);
    tk_ok(tpc_entity_put(f->core, NULL, "device", tpc_str_from(json), TPC_ANY_REV, NULL));
}

static void begin(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 2);
    tk_ok(put_product(f, beat));
    tk_ok(put_product(f, idle));
    put_device(f, "b1", "beat");
    put_device(f, "i1", "idle");
    flow_probe_open(f);
    flow_start(f);
}

static struct tpc_device_info info(struct flow *f, const char *key)
{
    struct tpc_device_info i;
    struct tpc_device *d = flow_device(f, key);
    tk_ok(tpc_device_info(d, &i));
    tpc_device_unref(d);
    return i;
}

static uint32_t online(struct flow *f, const char *key)
{
    return info(f, key).online;
}

static void say(struct flow *f, const char *key, const char *text)
{
    struct tpc_device *d = flow_device(f, key);
    tk_ok(flow_feed(d, text));
    tpc_device_unref(d);
    flow_settle(f);
}

static void status(struct flow *f, const char *key, const char *text)
{
    struct tpc_frame frame = { .size = sizeof(frame), .kind = TPC_MSG_PRESENCE };
    struct tpc_device *d = flow_device(f, key);
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    tk_ok(tpc_feed_frame(d, &frame, NULL, NULL));
    tpc_device_unref(d);
    flow_settle(f);
}

/* The clock goes on, then the core works. */
static void wait_ms(struct flow *f, uint64_t ms)
{
    tk_clock_advance(&f->e.clock, ms);
    flow_settle(f);
}

static void close_session(struct flow *f, uint64_t session)
{
    flow_probe.host->session_close(flow_probe.ctx, session);
    flow_settle(f);
}

static struct tpc_presence_counts counts(struct flow *f, const char *tenant, const char *product)
{
    struct tpc_presence_counts c;
    tk_ok(tpc_presence_count(f->core, tpc_str_from(tenant), tpc_str_from(product), &c));
    return c;
}

/* ---- what the log says ---- */

struct told {
    char text[2048];
};

static int note(void *user, const struct tpc_batch *batch)
{
    struct told *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        const struct tpc_value *up = tpc_value_get(&m->params, TPC_STR("online"));
        struct tpc_str why = tpc_value_text(tpc_value_get(&m->params, TPC_STR("reason")));
        size_t at = strlen(t->text);
        if (m->kind == TPC_MSG_PRESENCE) {
            snprintf(t->text + at, sizeof(t->text) - at, "%.*s %d %.*s;", (int) m->device.len,
                     m->device.ptr, up != NULL && up->as.b, (int) why.len,
                     why.len > 0 ? why.ptr : "");
        } else if (m->kind == TPC_MSG_TELEMETRY) {
            snprintf(t->text + at, sizeof(t->text) - at, "%.*s data;", (int) m->device.len,
                     m->device.ptr);
        }
    }
    return 0;
}

static struct tpc_sub *listen(struct flow *f, struct told *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(t, 0, sizeof(*t));
    o.name = TPC_STR("told");
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_consume(f->core, &o, note, t, &sub));
    return sub;
}

/* ---- modes ---- */

START_TEST(a_heartbeat_device_lives_by_its_messages_alone)
{
    struct flow f;
    struct told t;
    begin(&f);
    struct tpc_sub *sub = listen(&f, &t);
    uint64_t s = flow_session("b1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    ck_assert_uint_eq(online(&f, "b1"), 0);
    status(&f, "b1", "1");
    ck_assert_uint_eq(online(&f, "b1"), 0);
    say(&f, "b1", "{\"n\":1}");
    ck_assert_uint_eq(online(&f, "b1"), 1);
    status(&f, "b1", "0");
    close_session(&f, s);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    for (int i = 0; i < 30; i++) {
        wait_ms(&f, 9000);
        ck_assert_uint_eq(online(&f, "b1"), 1);
        say(&f, "b1", "{\"n\":1}");
    }
    wait_ms(&f, 9000);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    wait_ms(&f, 2000);
    ck_assert_uint_eq(online(&f, "b1"), 0);
    ck_assert_int_eq(info(&f, "b1").presence_unix_ms,
                     atomic_load(&f.e.clock.unix_ms)); /* when it was found out */
    say(&f, "b1", "{\"n\":2}");
    ck_assert_uint_eq(online(&f, "b1"), 1);
    ck_assert_ptr_nonnull(strstr(t.text, "b1 data;b1 1 message;b1 data;"));
    ck_assert_ptr_nonnull(strstr(t.text, "b1 data;b1 0 timeout;b1 data;b1 1 message;"));
    ck_assert_ptr_null(strstr(t.text, "b1 0 ;")); /* ignored statuses are no messages */
    ck_assert(flow_metric(&f, "tpc_uplink_presence_ignored_total") == 2);
    ck_assert(flow_metric(&f, "tpc_core_presence_timeouts_total") == 1);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(an_idle_device_goes_by_status_and_by_silence)
{
    struct flow f;
    begin(&f);
    status(&f, "i1", "1");
    ck_assert_uint_eq(online(&f, "i1"), 1);
    wait_ms(&f, 9000);
    say(&f, "i1", "{\"n\":1}");
    wait_ms(&f, 9000);
    ck_assert_uint_eq(online(&f, "i1"), 1);
    wait_ms(&f, 2000);
    ck_assert_uint_eq(online(&f, "i1"), 0);
    say(&f, "i1", "{\"n\":1}");
    ck_assert_uint_eq(online(&f, "i1"), 1);
    status(&f, "i1", "0");
    ck_assert_uint_eq(online(&f, "i1"), 0);
    wait_ms(&f, 5000);
    uint64_t s = flow_session("i1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    wait_ms(&f, 7000); /* the place in the wheel that the message gave it comes up */
    ck_assert_uint_eq(online(&f, "i1"), 1);
    wait_ms(&f, 4000);
    ck_assert_uint_eq(online(&f, "i1"), 0);
    say(&f, "i1", "{\"n\":1}");
    close_session(&f, s);
    ck_assert_uint_eq(online(&f, "i1"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(without_a_mode_only_connections_and_statuses_decide)
{
    struct flow f;
    begin(&f);
    say(&f, "t1", "{\"n\":1}");
    ck_assert_uint_eq(online(&f, "t1"), 0);
    status(&f, "t1", "1");
    wait_ms(&f, 100 * 86400000ull);
    ck_assert_uint_eq(online(&f, "t1"), 1);
    ck_assert(flow_metric(&f, "tpc_core_presence_timeouts_total") == 0);
    flow_fini(&f);
}
END_TEST

/* Contract thingspanel.md 1.2 and 2: one ASCII byte; any other payload is an error. */
START_TEST(a_thingspanel_status_is_one_byte)
{
    struct flow f;
    begin(&f);
    tk_ok(put_product(&f, "{\"key\":\"box\",\"codec\":\"thingspanel\",\"model\":{}}"));
    put_device(&f, "x1", "box");
    status(&f, "x1", "1");
    ck_assert_uint_eq(online(&f, "x1"), 1);
    status(&f, "x1", "2");
    status(&f, "x1", "online");
    ck_assert_uint_eq(online(&f, "x1"), 1);
    status(&f, "x1", "0");
    ck_assert_uint_eq(online(&f, "x1"), 0);
    ck_assert(flow_metric(&f, "tpc_uplink_dead_letters_total") == 2);
    flow_fini(&f);
}
END_TEST

START_TEST(a_mode_without_a_timeout_is_refused)
{
    struct flow f;
    begin(&f);
    static const char *const bad[] = {
        "{\"mode\":\"heartbeat\"}",
        "{\"mode\":\"idle\"}",
        "{\"timeout\":\"5s\"}",
        "{\"mode\":\"heartbeat\",\"timeout\":\"999ms\"}",
        "{\"mode\":\"heartbeat\",\"timeout\":\"31d\"}",
        "{\"mode\":\"ping\",\"timeout\":\"5s\"}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char json[200];
        snprintf(json, sizeof(json), "{\"key\":\"p\",\"model\":{},\"presence\":%s}", bad[i]);
        int rc = put_product(&f, json);
        ck_assert_msg(rc == TPC_EINVAL || rc == TPC_ETOOBIG, "%s: %s", bad[i], tpc_error_name(rc));
        ck_assert_ptr_nonnull(strstr(tpc_error_last()->path, "presence"));
    }
    flow_fini(&f);
}
END_TEST

/* ---- order ---- */

START_TEST(a_late_end_of_an_old_connection_does_not_win)
{
    struct flow f;
    struct told t;
    begin(&f);
    struct tpc_sub *sub = listen(&f, &t);
    uint64_t a = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    uint64_t b = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    ck_assert(flow_metric(&f, "tpc_core_takeovers_total") == 1);
    tk_ok(flow_receive(a, "{\"n\":1}", 1)); /* the old socket still has bytes */
    flow_settle(&f);
    close_session(&f, a);
    ck_assert_uint_eq(online(&f, "t1"), 1);
    close_session(&f, b);
    ck_assert_uint_eq(online(&f, "t1"), 0);
    ck_assert_str_eq(t.text, "t1 1 ;t1 data;t1 0 ;");
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

/* What one turn of the worker hears of at once. */
START_TEST(opening_and_closing_at_once_ends_as_the_newest_says)
{
    struct flow f;
    begin(&f);
    uint64_t a = flow_session("t1", TPC_SESSION_PRESENCE);
    uint64_t b = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_probe.host->session_close(flow_probe.ctx, a);
    flow_settle(&f);
    ck_assert_uint_eq(online(&f, "t1"), 1);
    uint64_t c = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_probe.host->session_close(flow_probe.ctx, b);
    flow_probe.host->session_close(flow_probe.ctx, c);
    flow_settle(&f);
    ck_assert_uint_eq(online(&f, "t1"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_numbered_connection_orders_statuses)
{
    struct flow f;
    struct told t;
    begin(&f);
    struct tpc_sub *sub = listen(&f, &t);
    status(&f, "t1", "{\"online\":1,\"connection\":7}");
    status(&f, "t1", "{\"online\":true,\"connection\":9}");
    status(&f, "t1", "{\"online\":0,\"connection\":7}");
    ck_assert_uint_eq(online(&f, "t1"), 1);
    status(&f, "t2", "{\"online\":0,\"connection\":1}"); /* another device, other numbers */
    status(&f, "t1", "{\"online\":0,\"connection\":9}");
    ck_assert_uint_eq(online(&f, "t1"), 0);
    status(&f, "t1", "{\"online\":1,\"connection\":8}");
    ck_assert_uint_eq(online(&f, "t1"), 0);
    status(&f, "t1", "1"); /* without a number: as it comes */
    ck_assert_uint_eq(online(&f, "t1"), 1);
    ck_assert_str_eq(t.text, "t1 1 ;t1 1 ;t2 0 ;t1 0 ;t1 1 ;");
    ck_assert(flow_metric(&f, "tpc_uplink_presence_ignored_total") == 2);
    status(&f, "t1", "{\"online\":0,\"connection\":-1}");
    status(&f, "t1", "{\"online\":0,\"connection\":\"x\"}");
    ck_assert(flow_metric(&f, "tpc_uplink_dead_letters_total") == 2);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

/* ---- counts ---- */

START_TEST(counts_follow_states_moves_and_ends)
{
    struct flow f;
    struct tpc_presence_counts c;
    begin(&f);
    c = counts(&f, "", "");
    ck_assert_uint_eq(c.devices, 5);
    ck_assert_uint_eq(c.online + c.active, 0);
    status(&f, "t1", "1");
    status(&f, "t2", "1");
    status(&f, "t2", "0");
    status(&f, "fan-1", "1");
    c = counts(&f, "", "thermo");
    ck_assert_uint_eq(c.devices, 2);
    ck_assert_uint_eq(c.online, 1);
    ck_assert_uint_eq(c.active, 2);
    put_device(&f, "t1", "fan");
    put_device(&f, "t2", "fan");
    ck_assert_uint_eq(counts(&f, "main", "thermo").online, 0);
    ck_assert_uint_eq(counts(&f, "main", "thermo").active, 0);
    ck_assert_uint_eq(counts(&f, "main", "fan").online, 2);
    ck_assert_uint_eq(counts(&f, "main", "fan").active, 3);
    ck_assert(flow_metric(&f, "tpc_registry_devices_online") == 2);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR("main"), "device", TPC_STR("t1"), TPC_ANY_REV));
    tpc_device_unref(d);
    flow_settle(&f);
    c = counts(&f, "main", "");
    ck_assert_uint_eq(c.devices, 4);
    ck_assert_uint_eq(c.online, 1);
    ck_assert_uint_eq(c.active, 2);
    c = counts(&f, "", "");
    ck_assert_uint_eq(c.online, 1);
    tk_fails(TPC_ENOENT, tpc_presence_count(f.core, TPC_STR("acme"), TPC_STR(""), &c));
    tk_fails(TPC_ENOENT, tpc_presence_count(f.core, TPC_STR(""), TPC_STR("none"), &c));
    tk_fails(TPC_EINVAL, tpc_presence_count(NULL, TPC_STR(""), TPC_STR(""), &c));
    flow_fini(&f);
}
END_TEST

START_TEST(the_first_time_online_is_kept)
{
    struct flow f;
    begin(&f);
    ck_assert_int_eq(info(&f, "t1").active_unix_ms, 0);
    uint64_t s = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    int64_t first = info(&f, "t1").active_unix_ms;
    ck_assert_int_eq(first / 1000, info(&f, "t1").presence_unix_ms / 1000);
    close_session(&f, s);
    wait_ms(&f, 5000);
    (void) flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    ck_assert_int_eq(info(&f, "t1").active_unix_ms, first);
    flow_fini(&f);
}
END_TEST

/* ---- silence of many, and of odd times ---- */

enum { MANY = 2000 };

START_TEST(many_that_fall_silent_at_once_are_one_pass)
{
    struct flow f;
    char key[32];
    begin(&f);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof(key), "many%d", i);
        put_device(&f, key, "beat");
        struct tpc_device *d = flow_device(&f, key);
        while (flow_feed(d, "{\"n\":1}") == TPC_EAGAIN) {
            flow_settle(&f);
        }
        tpc_device_unref(d);
    }
    flow_settle(&f);
    ck_assert_uint_eq(counts(&f, "", "beat").online, MANY);
    double passes = flow_metric(&f, "tpc_core_presence_passes_total");
    tk_clock_advance(&f.e.clock, 11000);
    tk_ok(tpc_core_step(f.core, 0, NULL));
    ck_assert_uint_eq(counts(&f, "", "beat").online, 0);
    ck_assert(flow_metric(&f, "tpc_core_presence_timeouts_total") == MANY);
    ck_assert(flow_metric(&f, "tpc_core_presence_passes_total") - passes <= 2);
    flow_fini(&f);
}
END_TEST

START_TEST(the_core_wakes_when_a_device_is_due)
{
    struct flow f;
    uint32_t next = 0;
    begin(&f);
    tk_ok(tpc_core_step(f.core, 0, &next));
    say(&f, "b1", "{\"n\":1}");
    for (int i = 0; i < 20 && online(&f, "b1") == 1; i++) {
        tk_ok(tpc_core_step(f.core, 0, &next));
        ck_assert_uint_gt(next, 0);
        ck_assert(online(&f, "b1") == 0 || next <= 11000);
        tk_clock_advance(&f.e.clock, next);
    }
    ck_assert_uint_eq(online(&f, "b1"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_new_timeout_counts_from_the_change_on)
{
    struct flow f;
    char json[300];
    begin(&f);
    say(&f, "b1", "{\"n\":1}");
    snprintf(json, sizeof(json), "%s", beat);
    memcpy(strstr(json, "10s"), "30d", 3);
    tk_ok(put_product(&f, json));
    flow_settle(&f);
    wait_ms(&f, 15000);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    wait_ms(&f, 86400000ull * 29);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    memcpy(strstr(json, "30d"), "20s", 3);
    tk_ok(put_product(&f, json));
    flow_settle(&f);
    wait_ms(&f, 19000);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    wait_ms(&f, 3000);
    ck_assert_uint_eq(online(&f, "b1"), 0);
    say(&f, "b1", "{\"n\":1}");
    put_device(&f, "b1", "thermo"); /* whose devices may be silent */
    wait_ms(&f, 86400000ull * 29);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    flow_fini(&f);
}
END_TEST

START_TEST(a_clock_that_is_set_takes_nobody_offline)
{
    struct flow f;
    begin(&f);
    say(&f, "b1", "{\"n\":1}");
    int64_t now = atomic_load(&f.e.clock.unix_ms);
    tk_clock_set_unix(&f.e.clock, now + 86400000);
    wait_ms(&f, 10000); /* without the jump it would have gone at 11 */
    ck_assert_uint_eq(online(&f, "b1"), 1);
    tk_clock_set_unix(&f.e.clock, now - 86400000);
    wait_ms(&f, 3000);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    wait_ms(&f, 12000);
    wait_ms(&f, 12000);
    ck_assert_uint_eq(online(&f, "b1"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_stop_and_a_start_give_the_whole_time_anew)
{
    struct flow f;
    begin(&f);
    say(&f, "b1", "{\"n\":1}");
    uint64_t s = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    (void) s;
    tk_ok(tpc_core_stop(f.core, 1000));
    tk_clock_advance(&f.e.clock, 3600000);
    flow_start(&f);
    flow_settle(&f);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    ck_assert_uint_eq(online(&f, "t1"), 0);
    wait_ms(&f, 9000);
    ck_assert_uint_eq(online(&f, "b1"), 1);
    wait_ms(&f, 3000);
    ck_assert_uint_eq(online(&f, "b1"), 0);
    ck_assert_uint_eq(counts(&f, "", "").online, 0);
    ck_assert_uint_eq(counts(&f, "", "").active, 2);
    flow_fini(&f);
}
END_TEST

START_TEST(a_deleted_device_leaves_the_wheel)
{
    struct flow f;
    begin(&f);
    say(&f, "b1", "{\"n\":1}");
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR("main"), "device", TPC_STR("b1"), TPC_ANY_REV));
    put_device(&f, "b1", "beat");
    wait_ms(&f, 20000);
    ck_assert_uint_eq(counts(&f, "", "").online, 0);
    ck_assert(flow_metric(&f, "tpc_core_presence_timeouts_total") == 0);
    flow_fini(&f);
}
END_TEST

/* ---- with threads ---- */

struct pair {
    struct flow *f;
    uint64_t online;
};

static bool has_online(void *user)
{
    const struct pair *p = user;
    return counts(p->f, "", "").online == p->online;
}

static int ignore(void *user, const struct tpc_why *why)
{
    (void) user;
    (void) why;
    return 0;
}

/* Sessions, time-outs and failures on two workers, while this thread asks. */
START_TEST(workers_and_callers_see_the_same_presence)
{
    struct flow f;
    char key[16];
    flow_init(&f, 2);
    flow_create(&f);
    flow_devices(&f, 40);
    tk_ok(put_product(&f, beat));
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "b%d", i);
        put_device(&f, key, "beat");
    }
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t sessions[40];
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "b%d", i);
        struct tpc_device *d = flow_device(&f, key);
        ck_assert_int_eq(flow_feed(d, "{\"n\":1}"), 0);
        ck_assert_int_eq(flow_feed(d, "{\"n\":"), 0);
        tpc_device_unref(d);
        snprintf(key, sizeof(key), "t%d", i + 1);
        uint64_t old = flow_session(key, TPC_SESSION_PRESENCE);
        sessions[i] = flow_session(key, TPC_SESSION_PRESENCE);
        flow_probe.host->session_close(flow_probe.ctx, old);
        (void) counts(&f, "", "");
        (void) tpc_why_list(f.core, TPC_WHY_DEVICES, ignore, NULL);
    }
    struct pair p = { &f, 80 };
    ck_assert(flow_until(&f, has_online, &p));
    tk_clock_advance(&f.e.clock, 12000);
    for (int i = 0; i < 40; i++) { /* wakes the workers: their clock stood */
        ck_assert_int_eq(flow_receive(sessions[i], "{\"n\":2}", 0), 0);
    }
    p.online = 40;
    ck_assert(flow_until(&f, has_online, &p));
    for (int i = 0; i < 40; i++) {
        flow_probe.host->session_close(flow_probe.ctx, sessions[i]);
    }
    p.online = 0;
    ck_assert(flow_until(&f, has_online, &p));
    flow_fini(&f);
}
END_TEST

Suite *presence_flow_suite(void)
{
    Suite *s = suite_create("presence");
    TCase *t = tcase_create("presence");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_heartbeat_device_lives_by_its_messages_alone);
    tcase_add_test(t, an_idle_device_goes_by_status_and_by_silence);
    tcase_add_test(t, without_a_mode_only_connections_and_statuses_decide);
    tcase_add_test(t, a_thingspanel_status_is_one_byte);
    tcase_add_test(t, a_mode_without_a_timeout_is_refused);
    tcase_add_test(t, a_late_end_of_an_old_connection_does_not_win);
    tcase_add_test(t, opening_and_closing_at_once_ends_as_the_newest_says);
    tcase_add_test(t, a_numbered_connection_orders_statuses);
    tcase_add_test(t, counts_follow_states_moves_and_ends);
    tcase_add_test(t, the_first_time_online_is_kept);
    tcase_add_test(t, many_that_fall_silent_at_once_are_one_pass);
    tcase_add_test(t, the_core_wakes_when_a_device_is_due);
    tcase_add_test(t, a_new_timeout_counts_from_the_change_on);
    tcase_add_test(t, a_clock_that_is_set_takes_nobody_offline);
    tcase_add_test(t, a_stop_and_a_start_give_the_whole_time_anew);
    tcase_add_test(t, a_deleted_device_leaves_the_wheel);
    tcase_add_test(t, workers_and_callers_see_the_same_presence);
    suite_add_tcase(s, t);
    return s;
}
