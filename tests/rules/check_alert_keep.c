/* Alerts: what a restart finds, what is kept and listed, and what is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alarm.h"
#include "base/alloc.h"
#include "data/msg.h"
#include "suites.h"

/* ---- restart ---- */

struct rows {
    char keys[64][33];
    char *docs[64];
    unsigned count;
};

static int take(void *user, struct tpc_str key, struct tpc_str dev, struct tpc_bytes doc)
{
    struct rows *r = user;
    unsigned i = 0;
    (void) dev;
    while (i < r->count && memcmp(r->keys[i], key.ptr, key.len) != 0) {
        i++;
    }
    ck_assert_uint_lt(i, 64);
    if (i == r->count) {
        r->count++;
        memcpy(r->keys[i], key.ptr, key.len);
    }
    free(r->docs[i]);
    r->docs[i] = doc.len > 0 ? strndup((const char *) doc.ptr, doc.len) : NULL;
    return 0;
}

static struct rows rows;

static void save(void)
{
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpi_alerts_take(alarm_house->alerts, arena, take, &rows));
    ck_assert(!tpi_alerts_dirty(alarm_house->alerts));
    tpc_arena_destroy(arena);
}

static void forget_rows(void)
{
    for (unsigned i = 0; i < rows.count; i++) {
        free(rows.docs[i]);
    }
    memset(&rows, 0, sizeof(rows));
}

/* From the rows as they were saved, and all messages. */
static void restart(void)
{
    struct tpc_arena *arena;
    tk_ok(house_restart(alarm_house));
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tpi_alerts_reset(alarm_house->alerts);
    for (unsigned i = 0; i < rows.count; i++) {
        struct tpc_bytes doc = { (const uint8_t *) rows.docs[i],
                                 rows.docs[i] != NULL ? strlen(rows.docs[i]) : 0 };
        if (doc.len > 0) {
            tk_ok(tpi_alerts_load(alarm_house->alerts, doc, arena));
        }
    }
    for (unsigned i = 0; i < alarm_house->told_count; i++) {
        const struct house_told *t = &alarm_house->told[i];
        struct tpc_msg m = { .size = sizeof(m),
                             .kind = t->kind,
                             .partition = t->partition,
                             .device_id = t->device_id,
                             .unix_ms = t->unix_ms };
        struct tpc_bytes body = { t->body, t->len };
        tk_ok(tpi_msg_decode(body, arena, NULL, &m));
        if (t->kind == TPC_MSG_ALERT) {
            tk_ok(tpi_alerts_replay(alarm_house->alerts, &m));
        }
    }
    tpc_arena_destroy(arena);
    alarm_house->said_count = alarm_house->told_count;
    alarm_turn();
}

START_TEST(a_restart_finds_states_and_timers)
{
    alarm_config("{'key':'hot','notify':['ops'],'escalate':{'after':'15m','notify':['boss']}}");
    tk_ok(alarm_up());
    tk_ok(alarm_say("t2", "hot", true));
    for (int i = 0; i < 3; i++) {
        tk_ok(alarm_up());
    }
    save();
    struct tpc_alert_query q = { .device = TPC_STR("t2") };
    struct tpc_alert a = alarm_list(q).alert;
    uint32_t worker = 0;
    tk_ok(tpi_alerts_owner(alarm_house->alerts, &a.id, &worker));
    tk_ok(tpi_alerts_do(alarm_house->alerts, worker, TPI_ALERT_DO_ACK, &a.id, TPC_STR("user bob"),
                        TPC_STR("seen")));
    (void) alarm_news();
    tk_clock_advance(&alarm_house->env.clock, 10 * 60 * 1000);
    restart(); /* the acknowledgement is in the log alone */
    ck_assert_str_eq(alarm_news(), "");
    ck_assert_uint_eq(ALARM_COUNT(open), 2);
    ck_assert_uint_eq(alarm_list(q).alert.state, TPC_ALERT_ACKNOWLEDGED);
    ck_assert_uint_eq(alarm_list((struct tpc_alert_query){ .device = TPC_STR("t1") }).alert.count,
                      4);
    alarm_wait_s(299);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1);
    ck_assert_str_eq(alarm_news(), "notify boss escalate major, escalate hot t1 major");
    save();
    restart();
    alarm_wait_s(3600);
    ck_assert_str_eq(alarm_news(), "");
    char note[100];
    q.size = sizeof(q);
    q.limit = 1;
    tk_ok(tpi_alerts_list(alarm_house->alerts, &q, alarm_see_note, note));
    ck_assert_str_eq(note, "user bob: seen by user bob");
    forget_rows();
}
END_TEST

/* Wishes of messages that are replayed, in their order. */
static void again(const struct tpi_alert_wish *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct tpc_device *d = alarm_device("t1");
        struct tpi_alert_wish w = list[i];
        w.device = d;
        w.replayed = alarm_house->said_count > 0;
        tk_ok(tpi_alerts_wish(alarm_house->alerts, alarm_worker(d), &w, NULL));
        tpi_device_unref(d);
    }
}

START_TEST(wishes_that_come_again_change_nothing)
{
    struct tpi_alert_wish list[6];
    static const bool raise[] = { false, true, true, false, false, true };
    alarm_config("{'key':'hot','notify':['ops']}");
    struct tpc_device *d = alarm_device("t1");
    for (unsigned i = 0; i < 6; i++) {
        list[i] = alarm_wish(d, "hot", raise[i]);
        list[i].has_source = true;
        list[i].source_offset = 10 + i;
    }
    tpi_device_unref(d);
    for (unsigned n = 1; n <= 6; n++) {
        again(list, n); /* what is not known yet is granted, the rest passed over */
        restart();
    }
    ck_assert_str_eq(alarm_news(),
                     "notify ops raise major, raise hot t1 major, notify ops clear major, "
                     "clear hot t1 major, notify ops raise major, raise hot t1 major");
    forget_rows();
}
END_TEST

START_TEST(notifications_without_their_change_are_not_made_twice)
{
    alarm_config("{'key':'hot','notify':['ops','mail']}");
    struct tpc_device *d = alarm_device("t1");
    struct tpi_alert_wish w = alarm_wish(d, "hot", true);
    tk_ok(tpi_alerts_wish(alarm_house->alerts, alarm_worker(d), &w, NULL));
    ck_assert_uint_eq(alarm_house->told_count, 3);
    tpi_free(NULL, alarm_house->told[1].body, 0);
    tpi_free(NULL, alarm_house->told[2].body, 0);
    alarm_house->told_count = 1; /* a crash in the middle of the append */
    tpi_device_unref(d);
    restart();
    alarm_looked = 1;
    w.replayed = true;
    d = alarm_device("t1");
    w.device = d;
    tk_ok(tpi_alerts_wish(alarm_house->alerts, alarm_worker(d), &w, NULL));
    tpi_device_unref(d);
    ck_assert_str_eq(alarm_news(), "notify mail raise major, raise hot t1 major");
    forget_rows();
}
END_TEST

START_TEST(flapping_is_known_after_a_restart)
{
    alarm_config("{'key':'hot','notify':['ops'],'flapping':{'changes':4,'within':'1m'}}");
    tk_ok(alarm_up());
    tk_ok(alarm_down());
    tk_ok(alarm_up());
    restart();
    (void) alarm_news();
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "flap hot t1 major");
    restart();
    alarm_wait_s(59);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1);
    ck_assert_str_eq(alarm_news(), "notify ops clear major, clear hot t1 major");
    forget_rows();
}
END_TEST

START_TEST(offline_devices_are_found_after_a_restart)
{
    alarm_config("{'key':'lost','offline':{'product':'thermo'}}");
    alarm_presence("t1", true);
    alarm_presence("t1", false);
    alarm_wait_s(300);
    (void) alarm_news();
    save();
    restart();
    alarm_presence("t1", true); /* memory of presence is not this test's */
    ck_assert_str_eq(alarm_news(), "clear lost t1 warning");
    forget_rows();
}
END_TEST

/* ---- keeping ---- */

START_TEST(closed_alerts_are_kept_for_their_time)
{
    for (int i = 0; i < 5; i++) {
        tk_ok(alarm_up());
        tk_ok(alarm_down());
        alarm_wait_s(3600);
    }
    save();
    ck_assert_uint_eq(rows.count, 5);
    ck_assert_uint_eq(ALARM_COUNT(closed), 5);
    tk_clock_advance(&alarm_house->env.clock, (uint64_t) 30 * 86400000 - 3 * 3600 * 1000);
    alarm_turn();
    ck_assert_uint_eq(ALARM_COUNT(closed), 3);
    ck_assert_uint_eq(ALARM_COUNT(trimmed), 2);
    save();
    unsigned left = 0;
    for (unsigned i = 0; i < rows.count; i++) {
        left += rows.docs[i] != NULL;
    }
    ck_assert_uint_eq(left, 3);
    forget_rows();
}
END_TEST

START_TEST(limits_hold)
{
    alarm_house->alert_limits = (struct tpi_alerts_host){ .keep_rows = 10, .open_max = 3 };
    tk_ok(house_restart(alarm_house));
    alarm_turn();
    for (int i = 0; i < 40; i++) {
        tk_ok(alarm_up());
        tk_ok(alarm_down());
        alarm_wait_s(61);
    }
    ck_assert_uint_le(ALARM_COUNT(closed), 11);
    ck_assert_uint_ge(ALARM_COUNT(closed), 9);
    tk_ok(alarm_up());
    tk_ok(alarm_say("t2", "hot", true));
    tk_ok(alarm_say("t3", "hot", true));
    tk_fails(TPC_ETOOBIG, alarm_say("t3", "wet", true));
    tk_fails(TPC_ETOOBIG, alarm_say("t3", "wet", true));
    ck_assert_uint_eq(ALARM_COUNT(full), 2);
    ck_assert_uint_eq(tk_env_logged(&alarm_house->env, "no more are raised"), 1);
    tk_ok(alarm_up());
}
END_TEST

START_TEST(listing_pages_and_filters)
{
    char key[16];
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "a%02d", i);
        tk_ok(alarm_say(i % 2 == 0 ? "t1" : "t2", key, true));
        alarm_wait_s(i % 3 == 0 ? 0 : 1);
    }
    struct tpc_alert_query q = { .limit = 7 };
    unsigned all = 0;
    char before[24] = "";
    for (;;) {
        struct alarm_seen s = alarm_list(q);
        all += s.count;
        for (unsigned i = 0; i < s.count; i++) {
            ck_assert_str_ne(s.keys[i], before);
            memcpy(before, s.keys[i], sizeof(before));
        }
        if (s.count < 7) {
            break;
        }
        q.after = s.alert.id;
    }
    ck_assert_uint_eq(all, 30);
    q = (struct tpc_alert_query){ .device = TPC_STR("t1") };
    ck_assert_uint_eq(alarm_list(q).count, 15);
    q.key = TPC_STR("a04");
    ck_assert_uint_eq(alarm_list(q).count, 1);
    q = (struct tpc_alert_query){ .severity = TPC_SEVERITY_CRITICAL };
    ck_assert_uint_eq(alarm_list(q).count, 0);
    q = (struct tpc_alert_query){ .state = 1 << TPC_ALERT_CLEARED };
    ck_assert_uint_eq(alarm_list(q).count, 0);
    q = (struct tpc_alert_query){ .from_unix_ms = tpi_unix_ms(&alarm_house->env.env) - 1500 };
    ck_assert_uint_eq(alarm_list(q).count, 1);
    q = (struct tpc_alert_query){ .tenant = TPC_STR("other") };
    ck_assert_uint_eq(alarm_list(q).count, 0);
    struct alarm_seen s = { 0 };
    q = (struct tpc_alert_query){ .limit = 1, .after = { { 9 } } };
    tk_fails(TPC_ENOENT, tpi_alerts_list(alarm_house->alerts, &q, alarm_see, &s));
}
END_TEST

START_TEST(damaged_rows_are_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"id\":\"00000000000000000000000000000001\"}",
        "{\"id\":\"xx\",\"number\":1,\"severity\":\"major\",\"key\":\"k\",\"device_id\":3}",
        "{\"id\":\"00000000000000000000000000000001\",\"state\":\"cleared\",\"number\":1,"
        "\"severity\":\"major\",\"key\":\"k\",\"device_id\":3}",
    };
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_bytes doc = { (const uint8_t *) bad[i], strlen(bad[i]) };
        tk_fails(TPC_ECORRUPT, tpi_alerts_load(alarm_house->alerts, doc, arena));
    }
    tpc_arena_destroy(arena);
    ck_assert_uint_eq(alarm_list((struct tpc_alert_query){ 0 }).count, 0);
}
END_TEST

START_TEST(bad_configurations_are_refused)
{
    static const char *const bad[][2] = {
        { "{'key':'k','severity':'bad'}", "severity" },
        { "{'key':'k','suppress':[{'from':'25:00','to':'06:00'}]}", "suppress[0].from" },
        { "{'key':'k','suppress':[{'from':'05:00','to':'06:60'}]}", "suppress[0].to" },
        { "{'key':'k','suppress':[{'from':'05:00','to':'06:00','zone':'../moon'}]}",
          "suppress[0].zone" },
        { "{'key':'k','suppress':[{'from':'05:00','to':'06:00','weekdays':[8]}]}",
          "suppress[0].weekdays[0]" },
        { "{'key':'k','flapping':{'changes':2}}", "flapping.changes" },
        { "{'key':'k','escalate':{}}", "escalate.after" },
        { "{'key':'k','on':['now']}", "on[0]" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_fails(TPC_EINVAL, house_put(alarm_house, "alert", bad[i][0]));
        ck_assert_str_eq(alarm_house->err.path, bad[i][1]);
    }
}
END_TEST

/* ---- out of memory ---- */

static int swallow(void *user, uint32_t worker, const struct tpi_alert_message *m, uint32_t n)
{
    (void) user;
    (void) worker;
    (void) m;
    (void) n;
    return 0;
}

static int live(struct tpi_alerts *a, struct tpc_device *d, struct tpc_arena *arena,
                struct rows *taken)
{
    struct tpc_id id;
    int rc = 0;
    for (int i = 0; rc == 0 && i < 3; i++) {
        struct tpi_alert_wish w = alarm_wish(d, "hot", i != 1);
        rc = tpi_alerts_wish(a, 0, &w, &id);
    }
    rc = rc != 0
             ? rc
             : tpi_alerts_do(a, 0, TPI_ALERT_DO_ACK, &id, TPC_STR("user alice"), TPC_STR("seen"));
    rc = rc != 0 ? rc : tpi_alerts_take(a, arena, take, taken);
    if (rc == 0) {
        tpi_alerts_reset(a);
    }
    return rc;
}

static int life(const struct tpc_allocator *alloc, void *user)
{
    struct tpi_env env = alarm_house->env.env;
    struct tpi_alerts_host host = {
        .registry = alarm_house->registry, .workers = 1, .keep_rows = 1, .append = swallow
    };
    struct tpi_alerts *a = NULL;
    struct tpc_arena *arena = NULL;
    struct rows taken = { .count = 0 };
    struct tpc_device *d = alarm_device("t1");
    (void) user;
    env.alloc = alloc;
    int rc = tpi_alerts_create(&env, &host, NULL, &a);
    rc = rc != 0 ? rc : tpc_arena_create(alloc, 0, &arena);
    rc = rc != 0 ? rc : live(a, d, arena, &taken);
    for (unsigned i = 0; i < taken.count; i++) {
        struct tpc_bytes doc = { (const uint8_t *) taken.docs[i], strlen(taken.docs[i]) };
        rc = rc != 0 ? rc : tpi_alerts_load(a, doc, arena);
        free(taken.docs[i]);
    }
    struct tpc_alert_query q = { .limit = 10 };
    struct alarm_seen s = { 0 };
    rc = rc != 0 ? rc : tpi_alerts_list(a, &q, alarm_see, &s);
    ck_assert(rc != 0 || s.count == 2);
    tpi_device_unref(d);
    tpc_arena_destroy(arena);
    tpi_alerts_destroy(a);
    return rc;
}

START_TEST(out_of_memory_leaves_nothing_behind)
{
    ck_assert_uint_gt(tk_each_alloc_fails(life, NULL), 20);
}
END_TEST

Suite *alert_keep_suite(void)
{
    Suite *s = suite_create("alert-keep");
    TCase *t = tcase_create("alert-keep");
    tcase_add_checked_fixture(t, alarm_begin, alarm_end);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_restart_finds_states_and_timers);
    tcase_add_test(t, wishes_that_come_again_change_nothing);
    tcase_add_test(t, notifications_without_their_change_are_not_made_twice);
    tcase_add_test(t, flapping_is_known_after_a_restart);
    tcase_add_test(t, offline_devices_are_found_after_a_restart);
    tcase_add_test(t, closed_alerts_are_kept_for_their_time);
    tcase_add_test(t, limits_hold);
    tcase_add_test(t, listing_pages_and_filters);
    tcase_add_test(t, damaged_rows_are_refused);
    tcase_add_test(t, bad_configurations_are_refused);
    tcase_add_test(t, out_of_memory_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return s;
}
