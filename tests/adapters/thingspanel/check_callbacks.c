/* What the platform asks the service. */
#include "http_fx.h"
#include "tp_suites.h"

#include <stdio.h>
#include <string.h>

static struct fx f;

#define OK(data) "{\"code\":200,\"message\":\"Success\",\"data\":" data "}"
#define FORM "/api/v1/form/config"
#define LIST "/api/v1/plugin/device/list"

static const struct {
    const char *query, *answer;
} forms[] = {
    { "protocol_type=meter&device_type=1&form_type=CFG",
      OK("[{\"dataKey\":\"interval\",\"type\":\"input\",\"validate\":{\"type\":\"number\"}}]") },
    { "protocol_type=meter&device_type=&form_type=SVCR",
      OK("[{\"dataKey\":\"token\",\"type\":\"input\"}]") },
    { "protocol_type=meter&device_type=3&form_type=VCR",
      OK("[{\"dataKey\":\"serial\",\"type\":\"input\"}]") },
    { "form_type=VCRT", OK("{\"by serial\":\"SERIAL\"}") },
    { "protocol_type=meter&form_type=XYZ", "{\"code\":400," },
    { "", "{\"code\":400," },
    { "protocol_type=other&form_type=CFG", "{\"code\":404," },
};

static bool begins(const char *text, const char *with)
{
    char want[300];
    snprintf(want, sizeof(want), "%s", with);
    char *upper = strstr(want, "Success");
    if (upper != NULL) {
        *upper = 's';
    }
    return text != NULL && strncmp(text, want, strlen(want)) == 0;
}

START_TEST(forms_are_served_in_the_envelope)
{
    fx_init(&f, 1, NULL);
    const char *text = fx_request(&f, "GET", FORM, forms[_i].query, "", "10.0.0.1");
    ck_assert_msg(begins(text, forms[_i].answer), "%s", text);
    ck_assert_uint_eq(fx_status(&f), 200);
    fx_fini(&f);
}
END_TEST

START_TEST(form_that_the_service_has_not_is_null)
{
    fx_init(&f, 0, NULL);
    const char *text = fx_request(&f, "GET", FORM, "protocol_type=meter&form_type=CFG", "", "");
    ck_assert_str_eq(text, "{\"code\":200,\"message\":\"success\",\"data\":null}");
    fx_fini(&f);
}
END_TEST

static const struct {
    const char *path, *body, *answer, *call, *asks;
} posts[] = {
    { "/api/v1/device/disconnect", "{\"device_id\":\"d\"}", "{\"code\":200,", "/device/config",
      "{\"device_id\":\"d\"}" },
    { "/api/v1/device/disconnect", "{\"device_id\":\"\"}", "{\"code\":400,", NULL, NULL },
    { "/api/v1/device/disconnect", "{\"device_id\":7}", "{\"code\":400,", NULL, NULL },
    { "/api/v1/device/disconnect", "{\"device_id\":", "{\"code\":400,", NULL, NULL },
    { "/api/v1/device/disconnect", "", "{\"code\":400,", NULL, NULL },
    { "/api/v1/device/disconnect", "[]", "{\"code\":400,", NULL, NULL },
    { "/api/v1/plugin/notification",
      "{\"message_type\":\"1\",\"message\":\"{\\\"service_access_id\\\":\\\"p\\\"}\"}",
      "{\"code\":200,", "/service/access", "{\"service_access_id\":\"p\"}" },
    { "/api/v1/notify/event",
      "{\"message_type\":\"1\",\"message\":\"{\\\"service_access_id\\\":\\\"p\\\"}\"}",
      "{\"code\":200,", "/service/access", "{\"service_access_id\":\"p\"}" },
    { "/api/v1/notify/event", "{\"event_type\":\"x\",\"device_id\":\"d\",\"payload\":{}}",
      "{\"code\":200,", "/device/config", "{\"device_id\":\"d\"}" },
    { "/api/v1/plugin/notification",
      "{\"event_type\":\"x\",\"payload\":{\"service_access_id\":\"p\"}}", "{\"code\":200,",
      "/service/access", "{\"service_access_id\":\"p\"}" },
    { "/api/v1/plugin/notification", "{}", "{\"code\":400,", NULL, NULL },
    { "/api/v1/plugin/notification", "x", "{\"code\":400,", NULL, NULL },
    { "/api/v1/device/config/update", "{\"device_id\":\"d\"}", "{\"ok\":true}", "/device/config",
      "{\"device_id\":\"d\"}" },
    { "/api/v1/device/add", "{\"device_id\":\"d\"}", "{\"ok\":true}", "/device/config",
      "{\"device_id\":\"d\"}" },
    { "/api/v1/device/delete", "{\"id\":\"d\"}", "{\"ok\":true}", "/device/config",
      "{\"device_id\":\"d\"}" },
    { "/api/v1/device/delete", "{}", "{\"ok\":false", NULL, NULL },
    { "/api/v1/device/command", "{\"device_id\":\"d\"}", "{\"ok\":false", NULL, NULL },
};

START_TEST(what_changed_is_read_again)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    const char *text = fx_request(&f, "POST", posts[_i].path, "", posts[_i].body, "");
    ck_assert_msg(begins(text, posts[_i].answer), "%s", text);
    fx_step(&f);
    if (posts[_i].call != NULL) {
        ck_assert_ptr_nonnull(fx_open(&f, posts[_i].call, posts[_i].asks));
    } else {
        ck_assert_ptr_null(fx_open(&f, "/device/config", ""));
        ck_assert_ptr_null(fx_open(&f, "/service/access", ""));
    }
    fx_fini(&f);
}
END_TEST

START_TEST(two_disconnects_of_one_device_make_one_call_at_a_time)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    for (int i = 0; i < 3; i++) {
        (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"d\"}", "");
        fx_step(&f);
    }
    ck_assert_uint_eq(fx_calls(&f, "/device/config"), 1);
    /* The answer may be of before the later ones: it is asked once more. */
    fx_answer(&f, "/device/config", "", OK("{\"id\":\"d\",\"device_number\":\"1\"}"));
    ck_assert_uint_eq(fx_calls(&f, "/device/config"), 2);
    fx_answer(&f, "/device/config", "", OK("{\"id\":\"d\",\"device_number\":\"2\"}"));
    fx_pass(&f, 60000);
    ck_assert_uint_eq(fx_calls(&f, "/device/config"), 2);
    ck_assert(fx_heard(&f, "device d number=1"));
    ck_assert(fx_heard(&f, "device d number=2"));
    fx_fini(&f);
}
END_TEST

START_TEST(flood_of_callbacks_is_bounded)
{
    fx_init(&f, 1, NULL);
    f.h->note_count = TP_NOTES_LIMIT;
    const char *text =
        fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"d\"}", "");
    ck_assert(begins(text, "{\"code\":500,"));
    text = fx_request(&f, "POST", "/api/v1/plugin/notification", "",
                      "{\"message_type\":\"1\",\"message\":\"{}\"}", "");
    ck_assert(begins(text, "{\"code\":500,"));
    ck_assert_uint_eq(fx_status(&f), 503); /* the platform looks at nothing else there */
    f.h->note_count = 0;
    fx_fini(&f);
}
END_TEST

static const struct {
    const char *query, *heard;
} lists[] = {
    { "voucher={\"token\":\"t\"}&page_size=2&page=3", "discover {\"token\":\"t\"} page=3 size=2" },
    { "voucher={\"token\":\"a&b+c%20#d}\"}&page_size=2&page=3",
      "discover {\"token\":\"a&b+c%20#d}\"} page=3 size=2" },
    { "voucher=%7B%22token%22%3A%22a%26b%22%7D&page=1&page_size=10",
      "discover {\"token\":\"a&b\"} page=1 size=10" },
    { "voucher={%22token%22:%22t%22}&page=1&page_size=10",
      "discover {\"token\":\"t\"} page=1 size=10" },
    { "page=1&page_size=5&voucher={\"a\":{\"b\":\"\\\"\"}}",
      "discover {\"a\":{\"b\":\"\\\"\"}} page=1 size=5" },
    { "voucher=&page=x&page_size=99999999999", "discover  page=1 size=1000" },
    { "", "discover  page=1 size=10" },
};

START_TEST(voucher_of_a_search_is_read_raw_and_encoded)
{
    fx_init(&f, 2, NULL);
    ck_assert_ptr_null(fx_request(&f, "GET", LIST, lists[_i].query, "", ""));
    ck_assert(
        tp_finder_step(f.h)); /* it may wait for the third party: not on the server's thread */
    ck_assert(!tp_finder_step(f.h));
    ck_assert_msg(fx_heard(&f, lists[_i].heard), "%s", f.lines[0]);
    fx_fini(&f);
}
END_TEST

START_TEST(devices_that_were_found_are_listed)
{
    fx_init(&f, 2, NULL);
    (void) fx_request(&f, "GET", LIST, "voucher={}&page=1&page_size=2", "", "");
    (void) tp_finder_step(f.h);
#define FOUND "{\"device_name\":\"one\",\"device_number\":\"n\\\"1\",\"description\":\"d\"}"
    ck_assert_str_eq(f.replies[0].text,
                     "{\"code\":200,\"message\":\"success\",\"data\":{\"list\":[" FOUND "," FOUND
                     "],\"total\":12}}");
    f.discover_code = TPC_EOFFLINE;
    (void) fx_request(&f, "GET", LIST, "voucher={}", "", "");
    (void) tp_finder_step(f.h);
    ck_assert_str_eq(f.replies[1].text, "{\"code\":500,\"message\":\"TPC_EOFFLINE\"}");
    for (int i = 0; i < TP_DISCOVER_LIMIT; i++) {
        ck_assert_ptr_null(fx_request(&f, "GET", LIST, "voucher={}", "", ""));
    }
    ck_assert(begins(fx_request(&f, "GET", LIST, "voucher={}", "", ""), "{\"code\":500,"));
    fx_fini(&f); /* those that wait are dropped */
}
END_TEST

START_TEST(device_is_told_of_without_its_voucher)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_answer(
        &f, "/plugin/devices", "",
        OK("{\"total\":1,\"list\":[{\"id\":\"a\",\"device_number\":\"A\",\"voucher\":\"{}\"}]}"));
    const char *text = fx_request(&f, "GET", "/api/v1/plugin/device/info", "key=A", "", "");
    ck_assert_str_eq(text, "{\"code\":200,\"message\":\"success\",\"data\":{\"device_id\":\"a\","
                           "\"device_number\":\"A\",\"device_type\":\"1\"}}");
    text = fx_request(&f, "GET", "/api/v1/plugin/device/info", "key=", "", "");
    ck_assert(begins(text, "{\"code\":404,"));
    fx_fini(&f);
}
END_TEST

static const struct tpc_value allow_items[] = {
    { TPC_TEXT, 0, 10, { .text = "10.1.0.0/9" } },
    { TPC_TEXT, 0, 9, { .text = "127.0.0.1" } },
    { TPC_TEXT, 0, 8, { .text = "fd00::/8" } },
};
static const struct tpc_value allow = { TPC_ARRAY, 0, 3, { .items = allow_items } };

START_TEST(callers_that_are_not_allowed_are_refused)
{
    static const struct {
        const char *peer;
        uint32_t status;
    } peers[] = {
        { "10.127.3.4", 200 },
        { "10.128.3.4", 403 },
        { "127.0.0.1", 200 },
        { "127.0.0.2", 403 },
        { "::ffff:127.0.0.1", 200 },
        { "fdab::1", 200 },
        { "fe80::1", 403 },
        { "::1", 403 },
        { "", 403 },
        { "nonsense", 403 },
    };
    fx_init(&f, 1, NULL);
    f.config.allow = &allow;
    tk_ok(tp_allow_read(f.h));
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        (void) fx_request(&f, "GET", FORM, "form_type=CFG", "", peers[i].peer);
        ck_assert_msg(fx_status(&f) == peers[i].status, "%s", peers[i].peer);
    }
    ck_assert_str_eq(fx_request(&f, "GET", "/health", "", "", "::1"), "{\"ok\":true}");
    fx_fini(&f);
}
END_TEST

START_TEST(address_that_is_none_is_refused_at_the_start)
{
    static const char *const texts[] = {
        "10.0.0.0/33", "10.0.0", "x", "10.0.0.1/-1", "::/129", "/8"
    };
    const struct tpc_value item = { TPC_TEXT, 0, strlen(texts[_i]), { .text = texts[_i] } };
    const struct tpc_value list = { TPC_ARRAY, 0, 1, { .items = &item } };
    fx_init(&f, 1, NULL);
    f.config.allow = &list;
    tk_fails(TPC_EINVAL, tp_allow_read(f.h));
    f.config.allow = NULL;
    fx_fini(&f);
}
END_TEST

START_TEST(service_is_checked_before_it_is_served)
{
    struct tpc_error err = { .size = sizeof(err) };
    fx_init(&f, 1, NULL);
    tp_http_end(f.h);
    tk_fails(TPC_EEXIST, tp_http_serve(f.h, &f.ops, NULL, &err));
    f.h->ops = NULL;
    struct tpc_service_ops ops = f.ops;
    ops.identifier = "a/b";
    tk_fails(TPC_EINVAL, tp_http_serve(f.h, &ops, NULL, &err));
    ck_assert_str_eq(err.path, "identifier");
    ops.identifier = "";
    tk_fails(TPC_EINVAL, tp_http_serve(f.h, &ops, NULL, &err));
    ops.identifier = "meter";
    ops.iface.major = 2;
    tk_fails(TPC_EINVAL, tp_http_serve(f.h, &ops, NULL, &err));
    fx_fini(&f);
}
END_TEST

Suite *callbacks_suite(void)
{
    Suite *s = suite_create("callbacks");
    TCase *t = tcase_create("callbacks");
    tcase_set_timeout(t, 30);
    tcase_add_loop_test(t, forms_are_served_in_the_envelope, 0,
                        (int) (sizeof(forms) / sizeof(forms[0])));
    tcase_add_test(t, form_that_the_service_has_not_is_null);
    tcase_add_loop_test(t, what_changed_is_read_again, 0, (int) (sizeof(posts) / sizeof(posts[0])));
    tcase_add_test(t, two_disconnects_of_one_device_make_one_call_at_a_time);
    tcase_add_test(t, flood_of_callbacks_is_bounded);
    tcase_add_loop_test(t, voucher_of_a_search_is_read_raw_and_encoded, 0,
                        (int) (sizeof(lists) / sizeof(lists[0])));
    tcase_add_test(t, devices_that_were_found_are_listed);
    tcase_add_test(t, device_is_told_of_without_its_voucher);
    tcase_add_test(t, callers_that_are_not_allowed_are_refused);
    tcase_add_loop_test(t, address_that_is_none_is_refused_at_the_start, 0, 6);
    tcase_add_test(t, service_is_checked_before_it_is_served);
    suite_add_tcase(s, t);
    return s;
}
