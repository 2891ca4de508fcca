/* Why a device is silent: each stage says so. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

struct told {
    uint32_t count;
    char text[4096];
};

/* "stage CODE xTIMES origin: reason [payload bytes];" each. */
static int on_why(void *user, const struct tpc_why *w)
{
    struct told *t = user;
    size_t at = strlen(t->text);
    t->count++;
    snprintf(t->text + at, sizeof(t->text) - at, "%s%.*s %s %s x%u %.*s: %.*s [%u];",
             w->known ? "" : "?", (int) w->device.len, w->device.ptr, tpc_why_stage_name(w->stage),
             tpc_error_name(w->code), (unsigned) w->times, (int) w->origin.len, w->origin.ptr,
             (int) w->reason.len, w->reason.ptr, (unsigned) w->payload_bytes);
    return 0;
}

static struct told ask(struct flow *f, const char *device)
{
    struct told t;
    memset(&t, 0, sizeof(t));
    int rc = tpc_why(f->core, (struct tpc_str){ NULL, 0 }, tpc_str_from(device), on_why, &t);
    ck_assert_msg(rc == 0 || rc == TPC_ENOENT, "%s", tpc_error_last()->text);
    return t;
}

static void expect(const struct told *t, const char *part)
{
    ck_assert_msg(strstr(t->text, part) != NULL, "\"%s\" is not in \"%s\"", part, t->text);
}

static void begin(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 2);
    flow_probe_open(f);
    flow_start(f);
}

static void say(struct flow *f, const char *device, const char *text)
{
    struct tpc_device *d = flow_device(f, device);
    tk_ok(flow_feed(d, text));
    tpc_device_unref(d);
    flow_settle(f);
}

static void go_on(struct flow *f, uint64_t ms)
{
    tk_clock_advance(&f->e.clock, ms);
    flow_settle(f);
}

START_TEST(bytes_and_values_that_cannot_be_used_are_told)
{
    struct flow f;
    begin(&f);
    ck_assert_uint_eq(ask(&f, "t1").count, 0);
    say(&f, "t1", "{\"n\":1}");
    ck_assert_uint_eq(ask(&f, "t1").count, 0);
    say(&f, "t1", "{\"n\":");
    say(&f, "t1", "{\"n\":");
    go_on(&f, 1000);
    say(&f, "t1", "{\"color\":1}");
    go_on(&f, 1000);
    say(&f, "t1", "{\"n\":1,\"temperature\":400}");
    struct told t = ask(&f, "t1");
    ck_assert_uint_eq(t.count, 3);
    ck_assert_ptr_eq(strstr(t.text, "t1 model"), t.text); /* the newest first */
    expect(&t, "x1 : no property \"color\"");
    expect(&t, "t1 decode TPC_EDECODE x2");
    expect(&t, "[25];t1 model");
    ck_assert_uint_eq(ask(&f, "t2").count, 0);
    flow_fini(&f);
}
END_TEST

START_TEST(strangers_that_knock_are_listed)
{
    struct flow f;
    struct told t;
    begin(&f);
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_identity who;
    q.client_id = TPC_STR("client-7");
    q.username = TPC_STR("secret-user-name");
    q.password = TPC_BYTES("x");
    q.peer = TPC_STR("10.0.0.9:1000");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    q.username = TPC_STR("secret&rest");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    q.client_id = TPC_STR("x|securemode=3|");
    q.username = TPC_STR("ghost&thermo");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    q.username = TPC_STR("t1&thermo");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    uint64_t link = flow_session("", TPC_SESSION_LINK);
    struct tpc_frame frame = { .size = sizeof(frame), .device = TPC_STR("nobody") };
    frame.payload = TPC_BYTES("{}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, link, &frame, 1));
    flow_settle(&f);
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_why_list(f.core, TPC_WHY_STRANGERS, on_why, &t));
    ck_assert_uint_eq(t.count, 3);
    expect(&t, "?client-7 auth TPC_EDENIED x2 10.0.0.9:1000:");
    expect(&t, "?ghost auth");
    expect(&t, "?nobody auth TPC_ENOENT x1 probe: no device \"nobody\" [2]");
    ck_assert_ptr_null(strstr(t.text, "secret"));
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_why_list(f.core, TPC_WHY_DEVICES, on_why, &t));
    ck_assert_uint_eq(t.count, 1);
    expect(&t, "t1 auth TPC_EDENIED");
    t = ask(&f, "nobody");
    ck_assert_uint_eq(t.count, 1);
    flow_fini(&f);
}
END_TEST

START_TEST(a_topic_that_is_not_its_own_is_told)
{
    struct flow f;
    begin(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    struct tpc_device_info info;
    struct tpc_identity who = { .size = sizeof(who), .role = TPC_ROLE_DEVICE, .key = "t1" };
    tk_ok(tpc_device_info(d, &info));
    who.id = info.id;
    tk_fails(TPC_EDENIED, tpc_acl_check(f.core, &who, TPC_ACCESS_SUBSCRIBE, TPC_STR("#")));
    tk_fails(TPC_EDENIED, tpc_acl_check(f.core, &who, TPC_ACCESS_RECEIVE, TPC_STR("x/y")));
    struct told t = ask(&f, "t1");
    ck_assert_uint_eq(t.count, 1);
    expect(&t, "t1 acl TPC_EDENIED x1");
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(commands_that_do_not_arrive_are_told)
{
    struct flow f;
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    begin(&f);
    o.device = flow_device(&f, "fan-1");
    o.service = TPC_STR("spin");
    o.params_json = TPC_STR("{\"speed\":3}");
    o.timeout_ms = 1000;
    tk_ok(tpc_command_send(f.core, NULL, &o, NULL, NULL, NULL));
    flow_settle(&f);
    ck_assert_uint_eq(ask(&f, "fan-1").count, 0); /* it is offline: the command waits */
    flow_probe.confirm = true;
    (void) flow_session("fan-1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    go_on(&f, 2000);
    struct told t = ask(&f, "fan-1");
    expect(&t, "fan-1 send TPC_ETIMEOUT x1 downlink: command spin");
    flow_probe.send_code = TPC_EIO;
    tk_ok(tpc_command_send(f.core, NULL, &o, NULL, NULL, NULL));
    flow_settle(&f);
    t = ask(&f, "fan-1");
    expect(&t, "fan-1 send TPC_EIO");
    tpc_device_unref(o.device);
    flow_fini(&f);
}
END_TEST

START_TEST(a_front_notes_its_own)
{
    struct flow f;
    struct tpc_why w = TPC_WHY_INIT;
    struct told t;
    begin(&f);
    w.stage = TPC_WHY_AUTH;
    w.code = TPC_EDENIED;
    w.device = TPC_STR("t1");
    w.reason = TPC_STR("certificate expired");
    tk_ok(tpc_why_note(f.core, &w));
    w.device = TPC_STR("who");
    tk_ok(tpc_why_note(f.core, &w));
    w.device = TPC_STR("");
    tk_fails(TPC_EINVAL, tpc_why_note(f.core, &w));
    w.device = TPC_STR("t1");
    w.stage = 8;
    tk_fails(TPC_EINVAL, tpc_why_note(f.core, &w));
    t = ask(&f, "t1");
    ck_assert_uint_eq(t.count, 1);
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_why_list(f.core, TPC_WHY_DEVICES | TPC_WHY_STRANGERS, on_why, &t));
    ck_assert_uint_eq(t.count, 2);
    tk_fails(TPC_EINVAL, tpc_why_list(f.core, 0, on_why, &t));
    tk_fails(TPC_EINVAL, tpc_why(f.core, TPC_STR(""), TPC_STR(""), on_why, &t));
    flow_fini(&f);
}
END_TEST

/* BASIC vouchers have user names of their own: whose it is, is known. It is not kept itself. */
START_TEST(a_wrong_password_is_told_of_the_device_that_has_the_user_name)
{
    struct flow f;
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_identity who;
    begin(&f);
    struct tpc_str doc = TPC_STR("{\"key\":\"dev-9\",\"product\":\"thermo\",\"credentials\":"
                                 "{\"username\":\"name-of-9\",\"password\":\"right\"}}");
    tk_ok(tpc_entity_put(f.core, NULL, "device", doc, TPC_ANY_REV, NULL));
    q.client_id = TPC_STR("mqtt_1");
    q.username = TPC_STR("name-of-9");
    q.password = TPC_BYTES("wrong");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    struct told t = ask(&f, "dev-9");
    expect(&t, "dev-9 auth TPC_EDENIED x1 : client \"mqtt_1\": wrong password");
    ck_assert_ptr_null(strstr(t.text, "name-of-9"));
    ck_assert_uint_eq(ask(&f, "mqtt_1").count, 0);
    flow_fini(&f);
}
END_TEST

static int on_second(void *user, const struct tpc_why *w)
{
    struct told *t = user;
    (void) on_why(user, w);
    return t->count == 2 ? TPC_ECANCELED : 0;
}

START_TEST(a_front_takes_what_was_refused_once)
{
    struct flow f;
    struct tpc_why w = TPC_WHY_INIT;
    struct told t;
    uint64_t missed = 99;
    begin(&f);
    w.stage = TPC_WHY_AUTH;
    w.code = TPC_EDENIED;
    w.times = 3;
    for (int i = 0; i < 3; i++) {
        w.device = i == 0 ? TPC_STR("t1") : i == 1 ? TPC_STR("t2") : TPC_STR("who");
        tk_ok(tpc_why_note(f.core, &w));
    }
    memset(&t, 0, sizeof(t));
    tk_fails(TPC_ECANCELED, tpc_why_take(f.core, 9, on_second, &t, NULL));
    tk_ok(tpc_why_take(f.core, 9, on_why, &t, &missed));
    ck_assert_uint_eq(t.count, 3);
    expect(&t, "t1 auth TPC_EDENIED x3");
    expect(&t, "?who auth TPC_EDENIED x3");
    ck_assert_uint_eq(missed, 0);
    tk_ok(tpc_why_take(f.core, 9, on_why, &t, NULL));
    ck_assert_uint_eq(t.count, 3);
    w.device = TPC_STR("t1");
    for (int i = 0; i < 14; i++) { /* six of them are kept */
        w.stage = i % 2 == 0 ? TPC_WHY_AUTH : TPC_WHY_ACL;
        tk_ok(tpc_why_note(f.core, &w));
    }
    tk_ok(tpc_why_take(f.core, 0, on_why, &t, &missed));
    ck_assert_uint_eq(t.count, 3);
    ck_assert_uint_eq(missed, 8 * 3); /* three times each */
    tk_fails(TPC_EINVAL, tpc_why_take(f.core, 9, NULL, NULL, NULL));
    flow_fini(&f);
}
END_TEST

START_TEST(a_module_notes_what_it_hears)
{
    struct flow f;
    struct tpc_why w = TPC_WHY_INIT;
    begin(&f);
    w.stage = TPC_WHY_ACL;
    w.code = TPC_EDENIED;
    w.device = TPC_STR("t1");
    w.times = 5;
    tk_ok(flow_probe.host->why(flow_probe.ctx, &w));
    struct told t = ask(&f, "t1");
    expect(&t, "t1 acl TPC_EDENIED x5");
    w.stage = 0;
    tk_fails(TPC_EINVAL, flow_probe.host->why(flow_probe.ctx, &w));
    flow_fini(&f);
}
END_TEST

START_TEST(the_core_stores_what_changed_by_itself)
{
    struct flow f;
    uint32_t next;
    begin(&f);
    say(&f, "t1", "{\"n\":");
    tk_ok(tpc_core_step(f.core, 0, &next));
    ck_assert_uint_le(next, 10000);
    go_on(&f, 11000);
    tk_ok(tpc_core_step(f.core, 0, &next));
    say(&f, "t2", "{");
    tk_ok(tpc_core_stop(f.core, 1000));
    flow_start(&f);
    ck_assert_uint_eq(ask(&f, "t1").count, 1);
    ck_assert_uint_eq(ask(&f, "t2").count, 1);
    flow_fini(&f);
}
END_TEST

Suite *why_flow_suite(void)
{
    Suite *s = suite_create("why");
    TCase *t = tcase_create("why");
    tcase_add_test(t, bytes_and_values_that_cannot_be_used_are_told);
    tcase_add_test(t, strangers_that_knock_are_listed);
    tcase_add_test(t, a_topic_that_is_not_its_own_is_told);
    tcase_add_test(t, commands_that_do_not_arrive_are_told);
    tcase_add_test(t, a_front_notes_its_own);
    tcase_add_test(t, a_wrong_password_is_told_of_the_device_that_has_the_user_name);
    tcase_add_test(t, a_front_takes_what_was_refused_once);
    tcase_add_test(t, a_module_notes_what_it_hears);
    tcase_add_test(t, the_core_stores_what_changed_by_itself);
    suite_add_tcase(s, t);
    return s;
}
