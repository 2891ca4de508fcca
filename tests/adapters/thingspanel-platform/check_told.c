/* Services that are told and asked (contract thingspanel 3.3). */
#include "panel_suites.h"
#include "rig.h"
#include "web.h"

#include <stdio.h>
#include <string.h>

enum { PANEL_CALLS_EACH = 4 }; /* to one service at a time */

/* Until n calls were made in all; then nothing more comes. */
static void calls_are(uint32_t n)
{
    for (int i = 0; i < 3000 && web_calls() < n; i++) {
        turn(0);
    }
    for (int i = 0; i < 20; i++) {
        turn(0);
    }
    ck_assert_msg(web_calls() == n, "%u calls instead of %u, last %s %s", (unsigned) web_calls(),
                  (unsigned) n, web.calls[(web_calls() + WEB_CALLS - 1) % WEB_CALLS].url,
                  web.calls[(web_calls() + WEB_CALLS - 1) % WEB_CALLS].body);
}

static void call_is(uint32_t n, const char *url, const char *body)
{
    char want[300];
    snprintf(want, sizeof(want), "%s", body);
    for (char *p = want; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    ck_assert_str_eq(web.calls[n].url, url);
    ck_assert_str_eq(web.calls[n].body, want);
}

/* What is there at the start is read by then. */
static void begin_told(const char *options)
{
    begin(options);
    expect(CONFIG, "{'device_id':'m1'}", OK);
    turn(0);
}

#define DROP "http://127.0.0.1:7/api/v1/device/disconnect"

START_TEST(a_service_drops_devices_that_change)
{
    begin_told("{}");
    put("device", "{'key':'m1','product':'meter','protocol_config':{'i':6}}");
    calls_are(1);
    call_is(0, DROP, "{'device_id':'m1'}");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("m1"), TPC_ANY_REV));
    calls_are(2);
    call_is(1, DROP, "{'device_id':'m1'}");
    /* A new device is nothing to it, one that MQTT carries neither. */
    put("device", "{'key':'m9','product':'meter'}");
    put("device", "{'key':'q1','product':'plain','name':'x'}");
    calls_are(2);
    /* Behind a gateway the gateway's connection is what counts. */
    put("device", "{'key':'s2','product':'sub','gateway':'hub1','address':'2'}");
    calls_are(3);
    call_is(2, DROP, "{'device_id':'hub1'}");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("s2"), TPC_ANY_REV));
    calls_are(5);
    call_is(3, DROP, "{'device_id':'s2'}");
    call_is(4, DROP, "{'device_id':'hub1'}");
    /* To a template without a service. */
    put("device", "{'key':'m2','product':'plain'}");
    calls_are(6);
    put("device", "{'key':'m2','product':'plain','name':'x'}");
    calls_are(6);
    end();
}
END_TEST

START_TEST(a_template_that_changes_drops_all_its_devices)
{
    begin_told("{}");
    put("product", "{'key':'meter','protocol':'METER','model':{},'protocol_config':{'a':2}}");
    calls_are(3);
    put("product", "{'key':'meter','protocol':'CLOUD','model':{}}");
    calls_are(6);
    call_is(5, DROP, web.calls[5].body); /* to the one that had them */
    put("device", "{'key':'m1','product':'meter','name':'x'}");
    calls_are(7);
    call_is(6, "http://127.0.0.1:8/api/v1/device/disconnect", "{'device_id':'m1'}");
    put("product", "{'key':'plain','protocol':'METER','model':{}}");
    calls_are(7);
    put("device", "{'key':'q1','product':'plain','name':'x'}");
    calls_are(8);
    call_is(7, DROP, "{'device_id':'q1'}");
    end();
}
END_TEST

START_TEST(a_changed_access_point_is_told_again_until_it_is_heard)
{
    static const char note[] =
        "{'message_type':'1','message':'{\\'service_access_id\\':\\'p1\\'}'}";
    begin_told("{}");
    web.reply_status = 500;
    put("access_point", "{'key':'p1','service':'CLOUD','name':'Q'}");
    calls_are(1);
    call_is(0, "http://127.0.0.1:8/api/v1/plugin/notification", note);
    for (int i = 0; i < 40 && web_calls() < 2; i++) {
        turn(100);
    }
    calls_are(2);
    web.error = TPC_EOFFLINE;
    for (int i = 0; i < 100 && web_calls() < 3; i++) {
        turn(100);
    }
    calls_are(3);
    web.error = 0;
    web.reply_status = 404; /* an older one */
    for (int i = 0; i < 200 && web_calls() < 4; i++) {
        turn(100);
    }
    calls_are(5);
    call_is(4, "http://127.0.0.1:8/api/v1/notify/event", note);
    web.reply_status = 200;
    for (int i = 0; i < 400 && web_calls() < 6; i++) {
        turn(100);
    }
    calls_are(6);
    for (int i = 0; i < 100; i++) {
        turn(1000);
    }
    calls_are(6);
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("c1"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "access_point", TPC_STR("p1"), TPC_ANY_REV));
    calls_are(8);
    call_is(7, "http://127.0.0.1:8/api/v1/plugin/notification", note);
    end();
}
END_TEST

START_TEST(a_service_that_hangs_does_not_hold_up_others)
{
    char text[100];
    begin_told("{}");
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "{'key':'x%d','product':'meter'}", i);
        put("device", text);
    }
    calls_are(0);
    web.later = true;
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "{'key':'x%d','product':'meter','name':'n'}", i);
        put("device", text);
    }
    calls_are(PANEL_CALLS_EACH);
    put("access_point", "{'key':'p1','service':'CLOUD','name':'Q'}");
    calls_are(PANEL_CALLS_EACH + 1);
    web_end(0);
    calls_are(PANEL_CALLS_EACH + 2);
    end();
}
END_TEST

START_TEST(a_change_during_a_call_is_told_once_more)
{
    begin_told("{\"notification\":\"event\",\"call_tries\":2}");
    web.later = true;
    put("device", "{'key':'m1','product':'meter','name':'1'}");
    calls_are(1);
    put("device", "{'key':'m1','product':'meter','name':'2'}");
    put("device", "{'key':'m1','product':'meter','name':'3'}");
    calls_are(1);
    web_end(0);
    calls_are(2);
    web.error = TPC_ETIMEOUT;
    web_end(1);
    for (int i = 0; i < 60 && web_calls() < 3; i++) {
        turn(100);
    }
    calls_are(3);
    web_end(2); /* the second try is the last */
    for (int i = 0; i < 100; i++) {
        turn(1000);
    }
    calls_are(3);
    put("access_point", "{'key':'p1','service':'CLOUD','name':'Q'}");
    calls_are(4);
    call_is(3, "http://127.0.0.1:8/api/v1/notify/event",
            "{'message_type':'1','message':'{\\'service_access_id\\':\\'p1\\'}'}");
    end(); /* with a call that is not answered */
}
END_TEST

struct said {
    uint32_t count, code;
    char data[300];
};

static void on_said(void *user, uint32_t code, struct tpc_str message, const struct tpc_value *data)
{
    struct said *s = user;
    struct tpc_buf buf = { (uint8_t *) s->data, sizeof(s->data) - 1, 0 };
    (void) message;
    s->data[0] = '\0';
    if (data != NULL && tpc_json_write(data, 0, &buf) == 0) {
        s->data[buf.need] = '\0';
    }
    s->code = code;
    __atomic_fetch_add(&s->count, 1, __ATOMIC_SEQ_CST);
}

static void said(struct said *s, uint32_t count, uint32_t code, const char *data)
{
    for (int i = 0; i < 3000 && __atomic_load_n(&s->count, __ATOMIC_SEQ_CST) < count; i++) {
        turn(0);
    }
    ck_assert_uint_eq(s->count, count);
    ck_assert_uint_eq(s->code, code);
    ck_assert_str_eq(s->data, data);
}

START_TEST(forms_and_found_devices_are_asked_for)
{
    struct said s = { 0 };
    begin_told("{}");
    const struct tpc_panel_ops *ops = web.panel;
    web.reply = "{\"code\":200,\"message\":\"success\",\"data\":[{\"dataKey\":\"a\"}]}";
    tk_ok(ops->form(web.panel_self, TPC_STR("METER"), none, TPC_STR("SVCR"), on_said, &s));
    said(&s, 1, 200, "[{\"dataKey\":\"a\"}]");
    ck_assert_str_eq(
        web.calls[0].url,
        "http://127.0.0.1:7/api/v1/form/config?protocol_type=METER&device_type=&form_type=SVCR");
    web.reply = "{\"code\":200,\"data\":null}";
    tk_ok(ops->form(web.panel_self, TPC_STR("METER"), TPC_STR("1"), TPC_STR("CFG"), on_said, &s));
    said(&s, 2, 200, "null");
    web.reply = "{\"code\":200,\"data\":{\"total\":1,\"list\":[]}}";
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 2, 10, on_said, &s));
    said(&s, 3, 200, "{\"total\":1,\"list\":[]}");
    ck_assert_str_eq(web.calls[2].url, "http://127.0.0.1:8/api/v1/plugin/device/list?voucher="
                                       "%7B%22u%22%3A%22a%20b%22%7D&page_size=10&page=2");
    web.reply = "{\"code\":500}";
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 4, 200070, "");
    web.reply = "no";
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 5, 200070, "");
    web.reply_status = 503;
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 6, 200069, "");
    web.error = TPC_EOFFLINE;
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 7, 200068, "");
    tk_ok(ops->form(web.panel_self, TPC_STR("DUMB"), none, TPC_STR("CFG"), on_said, &s));
    said(&s, 8, 200067, "");
    tk_ok(ops->form(web.panel_self, TPC_STR("NOBODY"), none, TPC_STR("CFG"), on_said, &s));
    said(&s, 9, 101001, "");
    tk_fails(TPC_EINVAL, ops->list(web.panel_self, TPC_STR("p1"), 0, 1, on_said, &s));
    tk_fails(TPC_EINVAL, ops->form(web.panel_self, TPC_STR("METER"), none, none, on_said, &s));
    web.later = true;
    web.error = 0;
    tk_ok(ops->form(web.panel_self, TPC_STR("METER"), none, TPC_STR("CFG"), on_said, &s));
    calls_are(8);
    end();
    said(&s, 10, 200069, ""); /* the stop ends it */
}
END_TEST

/* Somebody waits for an answer: what is only to be told goes behind, and over a bound it is said. */
START_TEST(a_question_goes_before_what_is_to_be_told)
{
    struct said s = { 0 };
    char text[100];
    begin_told("{}");
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 10; k++) {
            snprintf(text, sizeof(text), "{'key':'x%d','product':'meter','name':'%d'}", k, i);
            put("device", text);
        }
        calls_are(i == 0 ? 0 : PANEL_CALLS_EACH);
        web.later = true;
    }
    const struct tpc_panel_ops *ops = web.panel;
    for (int i = 0; i < 1007; i++) {
        tk_ok(ops->form(web.panel_self, TPC_STR("METER"), none, TPC_STR("CFG"), on_said, &s));
    }
    said(&s, 7, 200069, "");
    web_end(0);
    calls_are(PANEL_CALLS_EACH + 1);
    ck_assert_str_eq(web.calls[PANEL_CALLS_EACH].url,
                     "http://127.0.0.1:7/api/v1/form/config?protocol_type=METER&device_type=&"
                     "form_type=CFG");
    end();
    said(&s, 1007, 200069, "");
}
END_TEST

/* A document that cannot be read is not one that is gone. */
START_TEST(a_device_is_followed_although_a_change_could_not_be_read)
{
    enum { NEVER = 1 << 20 };
    char text[100];
    begin_told("{}");
    for (uint32_t n = 0; n < 24; n++) {
        snprintf(text, sizeof(text), "{'key':'m1','product':'meter','name':'%u'}", (unsigned) n);
        put("device", text);
        /* The nth request from now on is refused. */
        atomic_store(&asked_for, NEVER - 1 - n);
        atomic_store(&refuse_each, NEVER);
        turn(0);
        turn(0);
        atomic_store(&refuse_each, 0);
        for (int i = 0; i < 6; i++) {
            turn(1000);
        }
        uint32_t calls = web_calls();
        put("device", "{'key':'m1','product':'meter','name':'x'}");
        calls_are(calls + 1);
        ck_assert_str_eq(web.calls[calls % WEB_CALLS].body, "{\"device_id\":\"m1\"}");
    }
    end();
}
END_TEST

/* Every question is answered, whatever memory is short for, and afterwards all is as it was. */
START_TEST(without_memory_each_request_is_answered)
{
    static const char *const asks[][2] = {
        { BEAT, "{\"service_identifier\":\"METER\"}" },
        { CONFIG, "{\"device_id\":\"hub1\"}" },
        { DEVICES,
          "{\"service_identifier\":\"METER\",\"device_type\":\"1\",\"page\":1,\"page_size\":9}" },
        { POINTS, "{\"service_identifier\":\"CLOUD\"}" },
        { AUTH, "{\"template_secret\":\"s3\",\"device_number\":\"n\"}" },
    };
    begin_told("{}");
    web.reply_status = 500;
    for (uint32_t n = 2; n < 60; n += n < 20 ? 1 : 7) {
        atomic_store(&refuse_each, n);
        for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
            ck_assert_uint_ne(web_ask("POST", asks[i][0], asks[i][1], "127.0.0.1"), 0);
        }
        (void) tpc_entity_put(f.core, NULL, "device",
                              TPC_STR("{\"key\":\"m1\",\"product\":\"meter\"}"), TPC_ANY_REV, NULL);
        turn(1000);
        atomic_store(&refuse_each, 0);
        turn(0);
    }
    expect(CONFIG, "{'device_id':'hub1'}", OK "{'id':'hub1',");
    expect(POINTS, "{'service_identifier':'CLOUD'}", OK "[{'id':'p1',");
    /* What was missed was read again. */
    web.reply_status = 200;
    for (int i = 0; i < 200; i++) {
        turn(1000);
    }
    uint32_t calls = web_calls();
    put("device", "{'key':'m2','product':'meter','name':'y'}");
    calls_are(calls + 1);
    ck_assert_str_eq(web.calls[calls % WEB_CALLS].body, "{\"device_id\":\"m2\"}");
    end();
}
END_TEST

Suite *told_suite(void)
{
    Suite *s = suite_create("told");
    TCase *tc = tcase_create("told");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_service_drops_devices_that_change);
    tcase_add_test(tc, a_template_that_changes_drops_all_its_devices);
    tcase_add_test(tc, a_changed_access_point_is_told_again_until_it_is_heard);
    tcase_add_test(tc, a_service_that_hangs_does_not_hold_up_others);
    tcase_add_test(tc, a_change_during_a_call_is_told_once_more);
    tcase_add_test(tc, forms_and_found_devices_are_asked_for);
    tcase_add_test(tc, a_question_goes_before_what_is_to_be_told);
    tcase_add_test(tc, a_device_is_followed_although_a_change_could_not_be_read);
    tcase_add_test(tc, without_memory_each_request_is_answered);
    suite_add_tcase(s, tc);
    return s;
}
