/* Alerts: raising and clearing, who is told and when. */
#include <stdio.h>

#include "alarm.h"
#include "suites.h"

START_TEST(raising_what_is_raised_counts_and_says_nothing)
{
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "raise hot t1 major");
    tk_ok(alarm_up());
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "");
    struct tpc_alert a = alarm_only();
    ck_assert_uint_eq(a.count, 3);
    ck_assert_uint_eq(a.state, TPC_ALERT_RAISED);
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "clear hot t1 major");
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "");
    a = alarm_only();
    ck_assert_uint_eq(a.state, TPC_ALERT_CLEARED);
    ck_assert(ALARM_COUNT(open) == 0 && ALARM_COUNT(closed) == 1 && ALARM_COUNT(repeated) == 2);
    tk_ok(alarm_say("t2", "hot", true));
    tk_ok(alarm_say("t2", "wet", true));
    ck_assert_str_eq(alarm_news(), "raise hot t2 major, raise wet t2 major");
    ck_assert_uint_eq(alarm_list((struct tpc_alert_query){ 0 }).count, 3);
}
END_TEST

static int keep_info(void *user, const struct tpc_rule_info *info)
{
    *(struct tpc_rule_info *) user = *info;
    return 0;
}

static struct tpc_rule_info info_of(const char *key)
{
    struct tpc_rule_info info = { .size = 0 };
    tk_ok(
        tpi_alerts_info(alarm_house->alerts, TPC_STR("main"), tpc_str_from(key), keep_info, &info));
    ck_assert_uint_eq(info.size, sizeof(info));
    return info;
}

START_TEST(a_configuration_counts_wishes_and_goes_on_when_it_is_put_again)
{
    alarm_config("{'key':'hot'}");
    struct tpc_rule_info info = info_of("hot");
    ck_assert(info.evaluated == 0 && info.fired == 0 && info.flags == TPC_RULE_ENABLED);
    tk_ok(alarm_up());
    tk_ok(alarm_up());
    tk_ok(alarm_down());
    info = info_of("hot");
    ck_assert(info.evaluated == 3 && info.matched == 2 && info.fired == 1 && info.failed == 0);
    ck_assert_int_eq(info.fired_unix_ms, tpi_unix_ms(&alarm_house->env.env));
    alarm_house->told_code = TPC_EAGAIN;
    tk_fails(TPC_EAGAIN, alarm_up());
    alarm_house->told_code = 0;
    info = info_of("hot");
    ck_assert(info.failed == 1 && info.error_code == TPC_EAGAIN && info.error_unix_ms > 0);
    alarm_config("{'key':'hot','enabled':false}");
    tk_fails(TPC_EDENIED, alarm_up()); /* what it is for: no failure */
    info = info_of("hot");
    ck_assert(info.evaluated == 5 && info.failed == 1 && info.error_code == 0 && info.flags == 0);
    ck_assert_int_eq(
        tpi_alerts_info(alarm_house->alerts, TPC_STR("main"), TPC_STR("x"), keep_info, &info),
        TPC_ENOENT);
    (void) alarm_news();
}
END_TEST

START_TEST(a_worse_severity_is_told)
{
    alarm_config("{'key':'hot','notify':['ops']}");
    tk_ok(alarm_up());
    struct tpc_device *d = alarm_device("t1");
    struct tpi_alert_wish w = alarm_wish(d, "hot", true);
    w.severity = TPC_SEVERITY_CRITICAL;
    tk_ok(tpi_alerts_wish(alarm_house->alerts, alarm_worker(d), &w, NULL));
    tpi_device_unref(d);
    ck_assert_str_eq(alarm_news(), "notify ops raise major, raise hot t1 major, notify ops worse "
                                   "critical, worse hot t1 critical");
    ck_assert_uint_eq(alarm_only().severity, TPC_SEVERITY_CRITICAL);
}
END_TEST

START_TEST(the_configuration_says_severity_text_and_who_is_told)
{
    alarm_config("{'key':'hot','severity':'critical','text':'fire','notify':['ops','mail'],"
                 "'on':['raise','clear']}");
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(),
                     "notify ops raise critical, notify mail raise critical, raise hot t1 "
                     "critical");
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(),
                     "notify ops clear critical, notify mail clear critical, clear hot t1 "
                     "critical");
    alarm_config("{'key':'hot','enabled':false}");
    tk_fails(TPC_EDENIED, alarm_up());
    ck_assert_str_eq(alarm_news(), "");
    ck_assert(ALARM_COUNT(disabled) == 1);
    tk_ok(house_delete(alarm_house, "alert", "hot"));
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "raise hot t1 major");
}
END_TEST

START_TEST(a_log_that_says_later_changes_nothing)
{
    alarm_config("{'key':'hot','notify':['ops']}");
    alarm_house->told_code = TPC_EAGAIN;
    tk_fails(TPC_EAGAIN, alarm_up());
    ck_assert_uint_eq(alarm_list((struct tpc_alert_query){ 0 }).count, 0);
    alarm_house->told_code = 0;
    tk_ok(alarm_up());
    alarm_house->told_code = TPC_ENOSPC;
    tk_fails(TPC_ENOSPC, alarm_down());
    ck_assert_uint_eq(alarm_only().state, TPC_ALERT_RAISED);
    alarm_house->told_code = 0;
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(),
                     "notify ops raise major, raise hot t1 major, notify ops clear major, "
                     "clear hot t1 major");
}
END_TEST

START_TEST(acknowledging_stops_the_escalation)
{
    char note[100];
    alarm_config("{'key':'hot','notify':['ops'],'escalate':{'after':'15m','severity':'critical',"
                 "'notify':['boss']}}");
    tk_ok(alarm_up());
    alarm_wait_s(14 * 60);
    (void) alarm_news();
    tk_ok(alarm_act(TPI_ALERT_DO_ACK, "I am on it"));
    ck_assert_str_eq(alarm_news(), "acknowledge hot t1 major");
    alarm_wait_s(3600);
    ck_assert_str_eq(alarm_news(), "");
    struct tpc_alert_query q = TPC_ALERT_QUERY_INIT;
    q.limit = 1;
    tk_ok(tpi_alerts_list(alarm_house->alerts, &q, alarm_see_note, note));
    ck_assert_str_eq(note, "user alice: I am on it by user alice");
    ck_assert_uint_eq(alarm_only().state, TPC_ALERT_ACKNOWLEDGED);
    tk_ok(alarm_act(TPI_ALERT_DO_COMMENT, "fan replaced"));
    tk_ok(alarm_act(TPI_ALERT_DO_CLEAR, ""));
    ck_assert_str_eq(alarm_news(),
                     "comment hot t1 major, notify ops clear major, clear hot t1 major");
    tk_fails(TPC_ESTATE, alarm_act(TPI_ALERT_DO_CLEAR, ""));
    tk_fails(TPC_ESTATE, alarm_act(TPI_ALERT_DO_ACK, ""));
    tk_ok(alarm_act(TPI_ALERT_DO_COMMENT, "closed"));
    for (int i = 3; i < TPC_ALERT_NOTES_MAX; i++) {
        tk_ok(alarm_act(TPI_ALERT_DO_COMMENT, "again"));
    }
    tk_fails(TPC_ETOOBIG, alarm_act(TPI_ALERT_DO_COMMENT, "too much"));
    struct tpc_id none = { { 7 } };
    uint32_t worker;
    tk_fails(TPC_ENOENT, tpi_alerts_owner(alarm_house->alerts, &none, &worker));
    tk_fails(TPC_ENOENT, tpi_alerts_do(alarm_house->alerts, 0, TPI_ALERT_DO_ACK, &none,
                                       TPC_STR("u"), TPC_STR("")));
}
END_TEST

START_TEST(what_nobody_looks_at_escalates_once)
{
    alarm_config("{'key':'hot','notify':['ops'],'escalate':{'after':'15m','severity':'critical',"
                 "'notify':['boss']}}");
    tk_ok(alarm_up());
    (void) alarm_news();
    alarm_wait_s(15 * 60 - 1);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1);
    ck_assert_str_eq(alarm_news(), "notify boss escalate critical, escalate hot t1 critical");
    alarm_wait_s(86400);
    ck_assert_str_eq(alarm_news(), "");
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "notify ops clear critical, clear hot t1 critical");
    tk_ok(alarm_up());
    tk_ok(alarm_down());
    (void) alarm_news();
    alarm_wait_s(3600);
    ck_assert_str_eq(alarm_news(), "");
}
END_TEST

START_TEST(what_comes_and_goes_stays_raised_until_it_is_quiet)
{
    alarm_config("{'key':'hot','notify':['ops'],'flapping':{'changes':5,'within':'1m'}}");
    for (int i = 0; i < 2; i++) {
        tk_ok(alarm_up());
        alarm_wait_s(5);
        tk_ok(alarm_down());
        alarm_wait_s(5);
    }
    (void) alarm_news();
    tk_ok(alarm_up()); /* the fifth within a minute */
    ck_assert_str_eq(alarm_news(), "raise hot t1 major");
    ck_assert(ALARM_COUNT(flapping) == 1);
    for (int i = 0; i < 10; i++) {
        alarm_wait_s(5);
        tk_ok(alarm_down());
        alarm_wait_s(5);
        tk_ok(alarm_up());
    }
    ck_assert_str_eq(alarm_news(), "");
    struct tpc_alert_query raised = { .state = 1 << TPC_ALERT_RAISED };
    ck_assert_uint_eq(alarm_list(raised).alert.flags, TPC_ALERT_FLAPPING);
    alarm_wait_s(59);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1);
    ck_assert_str_eq(alarm_news(), "notify ops calm major, calm hot t1 major");
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "notify ops clear major, clear hot t1 major");
}
END_TEST

START_TEST(a_clear_that_is_one_too_many_waits_for_quiet)
{
    alarm_config("{'key':'hot','notify':['ops'],'flapping':{'changes':4,'within':'1m'}}");
    tk_ok(alarm_up());
    tk_ok(alarm_down());
    tk_ok(alarm_up());
    (void) alarm_news();
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "flap hot t1 major");
    ck_assert_uint_eq(alarm_list((struct tpc_alert_query){ .state = 1 << TPC_ALERT_RAISED }).count,
                      1);
    alarm_wait_s(60);
    ck_assert_str_eq(alarm_news(), "notify ops clear major, clear hot t1 major");
    alarm_wait_s(120);
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "notify ops raise major, raise hot t1 major");
}
END_TEST

/* The clock stands at Friday, 2026-11-20T12:00:00Z. */
START_TEST(a_window_holds_notifications_back_until_it_ends)
{
    alarm_config("{'key':'hot','notify':['ops'],'suppress':[{'from':'11:00','to':'14:00',"
                 "'zone':'+01:00'}],'escalate':{'after':'10m','notify':['boss']}}");
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "raise hot t1 major");
    ck_assert_uint_eq(alarm_only().flags, TPC_ALERT_MUTED);
    ck_assert(ALARM_COUNT(suppressed) == 1);
    alarm_wait_s(3599);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1); /* 14:00 there */
    ck_assert_str_eq(alarm_news(),
                     "notify ops unmute major, unmute hot t1 major, notify boss escalate "
                     "major, escalate hot t1 major");
    ck_assert_uint_eq(alarm_only().flags, TPC_ALERT_ESCALATED);
}
END_TEST

START_TEST(what_ends_inside_a_window_is_never_told)
{
    alarm_config("{'key':'hot','notify':['ops'],'suppress':[{'from':'12:00','to':'13:00'}]}");
    tk_ok(alarm_up());
    alarm_wait_s(600);
    tk_ok(alarm_down());
    ck_assert_str_eq(alarm_news(), "raise hot t1 major, clear hot t1 major");
    alarm_wait_s(7200);
    ck_assert_str_eq(alarm_news(), "");
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "notify ops raise major, raise hot t1 major");
}
END_TEST

START_TEST(windows_go_over_midnight_and_begin_on_their_day)
{
    /* Friday (5) 22:00 to Saturday 06:00. */
    alarm_config("{'key':'hot','notify':['ops'],'suppress':[{'from':'22:00','to':'06:00',"
                 "'weekdays':[5]},{'from':'06:00','to':'07:00','weekdays':[6]}]}");
    alarm_wait_s(9 * 3600); /* 21:00 */
    tk_ok(alarm_up());
    tk_ok(alarm_down());
    ck_assert_uint_eq(alarm_house->told_count, 4);
    alarm_wait_s(15 * 3600 - 9 * 3600 + 3600); /* 04:00 on Saturday */
    (void) alarm_news();
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "raise hot t1 major");
    alarm_wait_s(3 * 3600 - 1);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1); /* 07:00: the second window follows the first */
    ck_assert_str_eq(alarm_news(), "notify ops unmute major, unmute hot t1 major");
    tk_ok(alarm_down());
    (void) alarm_news();
    alarm_wait_s(18 * 3600); /* Sunday 01:00: Saturday's evening has no window */
    tk_ok(alarm_up());
    ck_assert_str_eq(alarm_news(), "notify ops raise major, raise hot t1 major");
}
END_TEST

START_TEST(a_device_that_is_offline_for_five_minutes)
{
    alarm_config("{'key':'lost','notify':['ops'],'offline':{'product':'thermo','after':'5m'}}");
    alarm_presence("t1", true);
    alarm_presence("t2", true);
    alarm_presence("fan-1", true);
    alarm_presence("t1", false);
    alarm_presence("fan-1", false);
    alarm_wait_s(60);
    alarm_presence("t2", false);
    alarm_wait_s(239);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1);
    ck_assert_str_eq(alarm_news(), "notify ops raise warning, raise lost t1 warning");
    alarm_presence("t2", true); /* in time */
    alarm_wait_s(300);
    ck_assert_str_eq(alarm_news(), "");
    alarm_presence("t1", true);
    ck_assert_str_eq(alarm_news(), "notify ops clear warning, clear lost t1 warning");
    alarm_presence("t1", false);
    alarm_presence("t1", true);
    alarm_presence("t1", false);
    alarm_wait_s(299);
    ck_assert_str_eq(alarm_news(), "");
    alarm_wait_s(1);
    ck_assert_str_eq(alarm_news(), "notify ops raise warning, raise lost t1 warning");
    alarm_wait_s(86400);
    ck_assert_str_eq(alarm_news(), "");
}
END_TEST

START_TEST(who_is_offline_is_missed_although_the_clock_is_set_back)
{
    struct tk_clock *clock = &alarm_house->env.clock;
    alarm_config("{'key':'lost','offline':{'product':'thermo','after':'5m'}}");
    alarm_presence("t1", true);
    alarm_presence("t1", false);
    alarm_wait_s(60);
    tk_clock_set_unix(clock, tpi_unix_ms(&alarm_house->env.env) - 120000);
    alarm_wait_s(0);
    alarm_wait_s(301);
    ck_assert_str_eq(alarm_news(), "raise lost t1 warning");
}
END_TEST

START_TEST(a_configuration_that_comes_later_finds_who_is_offline)
{
    alarm_presence("t1", true);
    alarm_presence("t1", false);
    alarm_presence("t2", true);
    alarm_wait_s(600);
    alarm_config("{'key':'lost','offline':{'product':'thermo'}}");
    ck_assert_str_eq(alarm_news(), "raise lost t1 warning"); /* t3 was never there */
    alarm_presence("t2", false);
    alarm_wait_s(200);
    alarm_config("{'key':'lost','severity':'minor','offline':{'product':'thermo'}}");
    alarm_wait_s(100);
    ck_assert_str_eq(alarm_news(), "raise lost t2 minor");
    tk_ok(house_delete(alarm_house, "alert", "lost"));
    alarm_turn();
    alarm_presence("t1", true);
    ck_assert_str_eq(alarm_news(), "");
    tk_fails(TPC_ENOENT,
             house_put(alarm_house, "alert", "{'key':'lost','offline':{'product':'nix'}}"));
    ck_assert_str_eq(alarm_house->err.path, "offline.product");
}
END_TEST

START_TEST(the_alerts_of_a_deleted_device_end)
{
    tk_ok(alarm_up());
    tk_ok(alarm_say("t1", "wet", true));
    (void) alarm_news();
    struct tpc_device *d = alarm_device("t1");
    tk_ok(house_delete(alarm_house, "device", "t1"));
    tk_ok(tpi_alerts_gone(alarm_house->alerts, alarm_worker(d), d));
    tpi_device_unref(d);
    ck_assert_uint_eq(ALARM_COUNT(open), 0);
    ck_assert_uint_eq(ALARM_COUNT(closed), 2);
}
END_TEST

Suite *alert_suite(void)
{
    Suite *s = suite_create("alert");
    TCase *t = tcase_create("alert");
    tcase_add_checked_fixture(t, alarm_begin, alarm_end);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, raising_what_is_raised_counts_and_says_nothing);
    tcase_add_test(t, a_configuration_counts_wishes_and_goes_on_when_it_is_put_again);
    tcase_add_test(t, a_worse_severity_is_told);
    tcase_add_test(t, the_configuration_says_severity_text_and_who_is_told);
    tcase_add_test(t, a_log_that_says_later_changes_nothing);
    tcase_add_test(t, acknowledging_stops_the_escalation);
    tcase_add_test(t, what_nobody_looks_at_escalates_once);
    tcase_add_test(t, what_comes_and_goes_stays_raised_until_it_is_quiet);
    tcase_add_test(t, a_clear_that_is_one_too_many_waits_for_quiet);
    tcase_add_test(t, a_window_holds_notifications_back_until_it_ends);
    tcase_add_test(t, what_ends_inside_a_window_is_never_told);
    tcase_add_test(t, windows_go_over_midnight_and_begin_on_their_day);
    tcase_add_test(t, a_device_that_is_offline_for_five_minutes);
    tcase_add_test(t, who_is_offline_is_missed_although_the_clock_is_set_back);
    tcase_add_test(t, a_configuration_that_comes_later_finds_who_is_offline);
    tcase_add_test(t, the_alerts_of_a_deleted_device_end);
    suite_add_tcase(s, t);
    return s;
}
