#include "body.h"
#include "webhook_suites.h"

#include <string.h>
#include <tpcore/json.h>

#include "../../../adapters/text/say.h"
#include "../../../adapters/text/utc.h"

static struct tpc_msg alarm_message(void)
{
    static const struct tpc_member params[] = {
        { TPC_STR_INIT("text"), { .type = TPC_TEXT, .len = 9, .as.text = "\"hot\" 40\n" } },
        { TPC_STR_INIT("severity"), { .type = TPC_TEXT, .len = 5, .as.text = "major" } },
        { TPC_STR_INIT("name"), { .type = TPC_TEXT, .len = 8, .as.text = "Too warm" } },
    };
    struct tpc_msg m = { .size = sizeof(m), .kind = TPC_MSG_NOTIFY, .unix_ms = 1795176000123 };
    m.tenant = TPC_STR("main");
    m.product = TPC_STR("thermostat");
    m.device = TPC_STR("t-1");
    m.name = TPC_STR("ops");
    m.params.type = TPC_MAP;
    m.params.len = 3;
    m.params.as.members = params;
    memset(m.id.b, 0xab, sizeof(m.id.b));
    return m;
}

static void expect(struct tpi_buf *b, int rc, const char *want)
{
    ck_assert_msg(rc == 0, "%s", tpc_error_name(rc));
    ck_assert_msg(b->len == strlen(want) && memcmp(b->ptr, want, b->len) == 0, "%.*s", (int) b->len,
                  (const char *) b->ptr);
    tpi_buf_fini(b);
}

START_TEST(telemetry_is_one_object_with_its_values)
{
    struct tpc_point points[2] = {
        { .key = TPC_STR_INIT("temp"), .value = { .type = TPC_DOUBLE, .as.d = 21.5 } },
        { .key = TPC_STR_INIT("on"), .value = { .type = TPC_BOOL, .as.b = true } }
    };
    struct tpc_msg m = { .size = sizeof(m), .kind = TPC_MSG_TELEMETRY, .unix_ms = 0 };
    struct tpi_buf b;
    m.tenant = TPC_STR("main");
    m.product = TPC_STR("p");
    m.device = TPC_STR("d\"1");
    m.points = points;
    m.point_size = sizeof(points[0]);
    m.point_count = 2;
    m.id.b[15] = 1;
    tpi_buf_init(&b, NULL, 0);
    expect(&b, say_json(&b, &m),
           "{\"id\":\"00000000000000000000000000000001\",\"tenant\":\"main\",\"product\":\"p\","
           "\"device\":\"d\\\"1\",\"kind\":\"telemetry\",\"time\":\"1970-01-01T00:00:00.000Z\","
           "\"values\":{\"temp\":21.5,\"on\":true}}");
    points[1].unix_ms = 1500;
    m.point_count = 2;
    expect(&b, say_json(&b, &m),
           "{\"id\":\"00000000000000000000000000000001\",\"tenant\":\"main\",\"product\":\"p\","
           "\"device\":\"d\\\"1\",\"kind\":\"telemetry\",\"time\":\"1970-01-01T00:00:00.000Z\","
           "\"points\":[{\"key\":\"temp\",\"time\":\"1970-01-01T00:00:00.000Z\",\"value\":21.5},"
           "{\"key\":\"on\",\"time\":\"1970-01-01T00:00:01.500Z\",\"value\":true}]}");
    expect(&b, say_line(&b, &m), "d\"1: telemetry {\"temp\":21.5,\"on\":true}");
}
END_TEST

START_TEST(raw_bytes_and_codes_are_there)
{
    struct tpc_msg m = { .size = sizeof(m), .kind = TPC_MSG_REPLY, .code = -3 };
    struct tpi_buf b;
    m.raw = TPC_BYTES("\1\2\3");
    tpi_buf_init(&b, NULL, 0);
    expect(&b, say_json(&b, &m),
           "{\"id\":\"00000000000000000000000000000000\",\"kind\":\"reply\","
           "\"time\":\"1970-01-01T00:00:00.000Z\",\"code\":-3,\"raw\":\"AQID\"}");
}
END_TEST

START_TEST(thingspanel_body_has_every_member_of_the_contract)
{
    struct tpc_msg m = alarm_message();
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    expect(&b, webhook_thingspanel(&b, &m),
           "{\"id\":\"abababab-abab-abab-abab-abababababab\",\"alarm_config_id\":\"ops\","
           "\"alarm_config_name\":\"Too warm\",\"subject\":\"Too warm\","
           "\"content\":\"\\\"hot\\\" 40\\n\",\"timestamp\":\"2026-11-20T12:00:00.123Z\","
           "\"alarm_level\":\"H\",\"tenant_id\":\"main\",\"tenant_admin_id\":\"\","
           "\"device_ids\":[\"t-1\"],\"devices\":[{\"id\":\"t-1\",\"device_number\":\"t-1\","
           "\"name\":\"t-1\",\"current_version\":null,\"created_at\":null,\"label\":null,"
           "\"product_id\":\"thermostat\",\"is_online\":null,\"access_way\":null,"
           "\"description\":null,\"tenant_id\":\"main\"}]}");
    m.device = TPC_STR("");
    tk_ok(webhook_thingspanel(&b, &m));
    ck_assert_ptr_nonnull(memmem(b.ptr, b.len, "\"device_ids\":[],\"devices\":[]}", 29));
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(telegram_body_is_plain_text_cut_at_a_character)
{
    static char text[5000];
    struct tpc_member param = { TPC_STR_INIT("text"), { .type = TPC_TEXT } };
    struct tpc_msg m = alarm_message();
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    expect(
        &b, webhook_telegram(&b, &m, TPC_STR("-100")),
        "{\"chat_id\":\"-100\",\"disable_web_page_preview\":true,\"text\":\"\\\"hot\\\" 40\\n\"}");
    memset(text, 'a', sizeof(text));
    memcpy(text + WEBHOOK_TELEGRAM_TEXT - 1, "\xc3\xa4", 2);
    param.value.as.text = text;
    param.value.len = sizeof(text);
    m.params.as.members = &param;
    m.params.len = 1;
    tk_ok(webhook_telegram(&b, &m, TPC_STR("1")));
    ck_assert_uint_eq(b.len,
                      strlen("{\"chat_id\":\"1\",\"disable_web_page_preview\":true,\"text\":\"") +
                          WEBHOOK_TELEGRAM_TEXT - 1 + 2);
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(severities_have_the_levels_of_thingspanel)
{
    ck_assert_int_eq(webhook_level(TPC_STR("H")), 'H');
    ck_assert_int_eq(webhook_level(TPC_STR("critical")), 'H');
    ck_assert_int_eq(webhook_level(TPC_STR("L")), 'L');
    ck_assert_int_eq(webhook_level(TPC_STR("minor")), 'L');
    ck_assert_int_eq(webhook_level(TPC_STR("warning")), 'M');
    ck_assert_int_eq(webhook_level(TPC_STR("")), 'M');
}
END_TEST

/* RFC 4231, test case 2. */
START_TEST(signature_is_the_one_of_the_standard)
{
    struct tpi_mac_key key;
    char text[WEBHOOK_SIGNATURE_BYTES];
    tk_ok(tpi_mac_key_init(&key, "Jefe", 4));
    tk_ok(webhook_sign(&key, "what do ya want for nothing?", 28, text));
    ck_assert_str_eq(text,
                     "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
END_TEST

START_TEST(status_says_what_is_to_be_done)
{
    static const struct {
        uint32_t status;
        int code;
    } cases[] = { { 200, 0 },
                  { 204, 0 },
                  { 299, 0 },
                  { 301, TPC_EUNSUPPORTED },
                  { 400, TPC_EINVAL },
                  { 401, TPC_EDENIED },
                  { 403, TPC_EDENIED },
                  { 404, TPC_EUNSUPPORTED },
                  { 408, TPC_ETIMEOUT },
                  { 409, TPC_EINVAL },
                  { 413, TPC_ETOOBIG },
                  { 422, TPC_EINVAL },
                  { 425, TPC_EAGAIN },
                  { 429, TPC_EAGAIN },
                  { 500, TPC_EAGAIN },
                  { 503, TPC_EAGAIN },
                  { 504, TPC_ETIMEOUT },
                  { 599, TPC_EAGAIN } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(webhook_code(cases[i].status), cases[i].code);
    }
}
END_TEST

static uint64_t after(const char *text)
{
    return webhook_retry_after(tpc_str_from(text), 784111777000); /* 1994-11-06 08:49:37 */
}

START_TEST(retry_after_is_seconds_or_a_date_and_bounded)
{
    ck_assert_uint_eq(after("0"), 0);
    ck_assert_uint_eq(after("120"), 120000);
    ck_assert_uint_eq(after("99999999999999999999999"), WEBHOOK_WAIT_MAX_MS);
    ck_assert_uint_eq(after("Sun, 06 Nov 1994 08:49:47 GMT"), 10000);
    ck_assert_uint_eq(after("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
    ck_assert_uint_eq(after("Sun, 06 Nov 1994 07:49:37 GMT"), 0);
    ck_assert_uint_eq(after("Mon, 06 Nov 2000 08:49:37 GMT"), WEBHOOK_WAIT_MAX_MS);
    ck_assert_uint_eq(after("Sun, 06 Nov 1994 08:49:47 CET"), 0);
    ck_assert_uint_eq(after("Mon, 06 Nov 1994 08:49:47 GMT"), 0); /* it was a Sunday */
    ck_assert_uint_eq(after("Sun, 31 Feb 1994 08:49:47 GMT"), 0);
    ck_assert_uint_eq(after(""), 0);
    ck_assert_uint_eq(after("-5"), 0);
    ck_assert_uint_eq(after("5s"), 0);
}
END_TEST

START_TEST(dates_are_those_of_the_calendar)
{
    static const struct {
        int64_t ms;
        const char *text, *mail;
    } cases[] = {
        { 0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 +0000" },
        { -1, "1969-12-31T23:59:59.999Z", "Wed, 31 Dec 1969 23:59:59 +0000" },
        { 951782400000, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 +0000" },
        { 4107542400000, "2100-03-01T00:00:00.000Z", "Mon, 01 Mar 2100 00:00:00 +0000" },
        { INT64_MAX, "9999-12-31T23:59:59.999Z", "Fri, 31 Dec 9999 23:59:59 +0000" },
        { INT64_MIN, "0001-01-01T00:00:00.000Z", "Mon, 01 Jan 0001 00:00:00 +0000" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[UTC_RFC3339_BYTES], mail[UTC_RFC5322_BYTES];
        utc_rfc3339(cases[i].ms, text);
        utc_rfc5322(cases[i].ms, mail);
        ck_assert_str_eq(text, cases[i].text);
        ck_assert_str_eq(mail, cases[i].mail);
    }
}
END_TEST

static int bodies_once(const struct tpc_allocator *alloc, void *user)
{
    struct tpc_msg m = alarm_message();
    struct tpi_buf b;
    (void) user;
    tpi_buf_init(&b, alloc, 0);
    int rc = webhook_message(&b, &m);
    if (rc == 0) {
        rc = webhook_thingspanel(&b, &m);
    }
    if (rc == 0) {
        rc = webhook_telegram(&b, &m, TPC_STR("1"));
    }
    tpi_buf_fini(&b);
    return rc;
}

START_TEST(bodies_without_memory_fail_and_leave_nothing)
{
    tk_each_alloc_fails(bodies_once, NULL);
}
END_TEST

Suite *body_suite(void)
{
    Suite *s = suite_create("webhook body");
    TCase *t = tcase_create("body");
    tcase_add_test(t, telemetry_is_one_object_with_its_values);
    tcase_add_test(t, raw_bytes_and_codes_are_there);
    tcase_add_test(t, thingspanel_body_has_every_member_of_the_contract);
    tcase_add_test(t, telegram_body_is_plain_text_cut_at_a_character);
    tcase_add_test(t, severities_have_the_levels_of_thingspanel);
    tcase_add_test(t, signature_is_the_one_of_the_standard);
    tcase_add_test(t, status_says_what_is_to_be_done);
    tcase_add_test(t, retry_after_is_seconds_or_a_date_and_bounded);
    tcase_add_test(t, dates_are_those_of_the_calendar);
    tcase_add_test(t, bodies_without_memory_fail_and_leave_nothing);
    suite_add_tcase(s, t);
    return s;
}
