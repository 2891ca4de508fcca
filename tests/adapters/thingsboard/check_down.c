/* What comes down: the forms of sections 1.2 to 1.5 of the interface. */
#include "down.h"

#include <string.h>

#include "data/member.h"
#include "tb_suites.h"

static struct tpc_arena *arena;

static void begin(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void end(void)
{
    arena = tpc_arena_destroy(arena);
}

static int parse(const char *topic, const char *payload, struct tb_down *ret)
{
    struct tpc_error err;
    struct tpc_bytes p = { (const uint8_t *) payload, strlen(payload) };
    return tb_down_parse(tpc_str_from(topic), p, arena, &err, ret);
}

static void is(struct tpc_str text, const char *want)
{
    ck_assert_msg(tpc_str_equal(text, tpc_str_from(want)), "%.*s is not %s", (int) text.len,
                  text.ptr, want);
}

START_TEST(rpc_of_a_device_has_id_method_and_params)
{
    struct tb_down d;
    tk_ok(parse("v1/gateway/rpc",
                "{\"device\":\"A\",\"data\":{\"id\":7,\"method\":\"m\",\"params\":{\"x\":1}}}",
                &d));
    ck_assert_int_eq(d.kind, TB_DOWN_RPC);
    is(d.device, "A");
    is(d.method, "m");
    ck_assert_int_eq(d.id, 7);
    ck_assert_int_eq(tpi_member_int(&d.params, "x", 0), 1);
    tk_ok(parse("v1/gateway/rpc", "{\"device\":\"A\",\"data\":{\"id\":0,\"method\":\"m\"}}", &d));
    ck_assert_int_eq(d.params.type, TPC_NULL);
    tk_ok(parse("v1/devices/me/rpc/request/12", "{\"method\":\"ping\",\"params\":true}", &d));
    ck_assert_int_eq(d.kind, TB_DOWN_OWN_RPC);
    ck_assert_int_eq(d.id, 12);
    ck_assert_int_eq(d.params.type, TPC_BOOL);
}
END_TEST

START_TEST(attributes_come_as_update_and_as_response)
{
    struct tb_down d;
    tk_ok(parse("v1/gateway/attributes", "{\"device\":\"A\",\"data\":{\"k\":5}}", &d));
    ck_assert_int_eq(tpi_member_int(&d.values, "k", 0), 5);
    tk_ok(parse("v1/gateway/attributes/response", "{\"id\":1,\"device\":\"A\",\"value\":3}", &d));
    ck_assert(d.has_value);
    ck_assert_int_eq(d.value.as.i, 3);
    tk_ok(parse("v1/gateway/attributes/response",
                "{\"id\":2,\"device\":\"A\",\"values\":{\"k1\":1,\"k2\":\"x\"}}", &d));
    ck_assert(!d.has_value);
    ck_assert_int_eq(tpi_member_int(&d.values, "k1", 0), 1);
    tk_ok(parse("v1/gateway/attributes/response", "{\"id\":3,\"device\":\"A\"}", &d));
    ck_assert_int_eq(d.values.type, TPC_NULL);
    tk_ok(parse("v1/devices/me/attributes/response/9",
                "{\"client\":{\"a\":1},\"shared\":{\"c\":2}}", &d));
    ck_assert_int_eq(d.id, 9);
    ck_assert_int_eq(tpi_member_int(&d.client, "a", 0), 1);
    ck_assert_int_eq(tpi_member_int(&d.shared, "c", 0), 2);
    tk_ok(parse("v1/gateway/disconnect", "{\"device\":\"A\",\"reason\":150}", &d));
    ck_assert_int_eq(d.code, 150);
}
END_TEST

START_TEST(what_is_none_of_it_is_refused)
{
    struct tb_down d;
    ck_assert_int_eq(parse("v1/gateway/connect", "{}", &d), TPC_ENOENT);
    ck_assert_int_eq(parse("v1/devices/me/rpc/request/", "{}", &d), TPC_ENOENT);
    ck_assert_int_eq(parse("v1/devices/me/rpc/request/1x", "{}", &d), TPC_ENOENT);
    ck_assert_int_eq(parse("v1/devices/me/rpc/request/99999999999999999999", "{}", &d), TPC_ENOENT);
    ck_assert_int_eq(parse("v1/gateway/rpc", "[]", &d), TPC_EDECODE);
    ck_assert_int_eq(parse("v1/gateway/rpc", "{\"device\":\"A\"}", &d), TPC_EDECODE);
    ck_assert_int_eq(parse("v1/gateway/rpc", "{\"device\":\"A\",\"data\":{\"id\":1}}", &d),
                     TPC_EDECODE);
    ck_assert_int_eq(parse("v1/gateway/rpc", "{\"device\":\"A\",\"data\":{\"method\":\"m\"}}", &d),
                     TPC_EDECODE);
    ck_assert_int_eq(parse("v1/gateway/rpc", "{\"data\":{\"id\":1,\"method\":\"m\"}}", &d),
                     TPC_EDECODE);
    ck_assert_int_eq(parse("v1/gateway/attributes", "{\"device\":\"A\"}", &d), TPC_EDECODE);
    ck_assert_int_eq(parse("v1/gateway/attributes/response", "{}", &d), TPC_EDECODE);
    ck_assert_int_eq(parse("v1/devices/me/attributes", "nope", &d), TPC_EDECODE);
}
END_TEST

START_TEST(session_limits_are_read_with_both_blocks)
{
    struct tb_down d;
    struct tb_session_limits l;
    tk_ok(
        parse("v1/devices/me/rpc/response/1",
              "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,\"rateLimits\":{\"messages\":"
              "\"200:1\",\"telemetryMessages\":\"\",\"telemetryDataPoints\":\"10:1\"},"
              "\"gatewayRateLimits\":{\"messages\":\"10:1,60:60\"}}",
              &d));
    tk_ok(tb_down_limits(&d.values, &l));
    ck_assert_uint_eq(l.payload_max, 65536);
    ck_assert_uint_eq(l.inflight_max, 100);
    is(l.messages[0], "200:1");
    is(l.messages[1], "10:1,60:60");
    ck_assert_uint_eq(l.telemetry[0].len, 0);
    is(l.points[0], "10:1");
    tk_ok(parse("v1/devices/me/rpc/response/1", "{\"error\":\"Method not found\"}", &d));
    ck_assert_int_eq(tb_down_limits(&d.values, &l), TPC_EUNSUPPORTED);
    tk_ok(parse("v1/devices/me/rpc/response/1", "\"x\"", &d));
    ck_assert_int_eq(tb_down_limits(&d.values, &l), TPC_EUNSUPPORTED);
}
END_TEST

START_TEST(certificate_that_is_granted_makes_no_user_of_its_hash)
{
    struct tb_down d;
    struct tb_credentials c;
    struct tpc_str reason;
    tk_ok(parse("/provision/response",
                "{\"status\":\"SUCCESS\",\"credentialsType\":\"X509_CERTIFICATE\","
                "\"credentialsValue\":\"0123abc\"}",
                &d));
    tk_ok(tb_down_credentials(&d.values, &c, &reason));
    ck_assert_uint_eq(c.token.len + c.user.len, 0);
}
END_TEST

START_TEST(credentials_are_granted_or_refused_with_a_reason)
{
    struct tb_down d;
    struct tb_credentials c;
    struct tpc_str reason;
    tk_ok(parse("/provision/response",
                "{\"status\":\"SUCCESS\",\"credentialsType\":\"ACCESS_TOKEN\","
                "\"credentialsValue\":\"tok\"}",
                &d));
    tk_ok(tb_down_credentials(&d.values, &c, &reason));
    is(c.token, "tok");
    tk_ok(parse("/provision/response",
                "{\"status\":\"SUCCESS\",\"credentialsType\":\"MQTT_BASIC\",\"credentialsValue\":"
                "{\"clientId\":\"i\",\"userName\":\"u\",\"password\":\"p\"}}",
                &d));
    tk_ok(tb_down_credentials(&d.values, &c, &reason));
    is(c.client_id, "i");
    is(c.user, "u");
    is(c.password, "p");
    tk_ok(parse("/provision/response", "{\"status\":\"NOT_FOUND\",\"errorMsg\":\"no\"}", &d));
    ck_assert_int_eq(tb_down_credentials(&d.values, &c, &reason), TPC_EDENIED);
    is(reason, "no");
    tk_ok(parse("/provision/response", "{\"status\":\"FAILURE\"}", &d));
    ck_assert_int_eq(tb_down_credentials(&d.values, &c, &reason), TPC_EDENIED);
    is(reason, "FAILURE");
}
END_TEST

Suite *down_suite(void)
{
    Suite *s = suite_create("down");
    TCase *c = tcase_create("down");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, rpc_of_a_device_has_id_method_and_params);
    tcase_add_test(c, attributes_come_as_update_and_as_response);
    tcase_add_test(c, what_is_none_of_it_is_refused);
    tcase_add_test(c, session_limits_are_read_with_both_blocks);
    tcase_add_test(c, certificate_that_is_granted_makes_no_user_of_its_hash);
    tcase_add_test(c, credentials_are_granted_or_refused_with_a_reason);
    suite_add_tcase(s, c);
    return s;
}
