#include "udp_suites.h"
#include "unwrap.h"

#include "tk.h"

#include <string.h>

static void expect(const char *datagram, const char *method, const char *token, const char *plain)
{
    struct udp_message m;
    char got[512];
    struct tpc_bytes in = { (const uint8_t *) datagram, strlen(datagram) };
    ck_assert_msg(udp_unwrap(in, &m), "%s", datagram);
    ck_assert(tpc_str_equal(m.method, tpc_str_from(method)));
    ck_assert(tpc_str_equal(m.token, tpc_str_from(token)));
    size_t len = udp_plain(&m, (uint8_t *) got);
    got[len] = '\0';
    ck_assert_str_eq(got, plain);
    ck_assert(token[0] == '\0' || len <= in.len);
}

START_TEST(body_takes_the_place_of_params_and_nothing_else_changes)
{
    expect("{\"requestId\":\"1\",\"method\":\"thing.property.post\",\"params\":{\"token\":\"a.b\","
           "\"body\":{\"t\":21.50}}}",
           "thing.property.post", "a.b",
           "{\"requestId\":\"1\",\"method\":\"thing.property.post\",\"params\":{\"t\":21.50}}");
    expect(" { \"params\" : { \"body\" : [ 1 , {\"token\":\"x\"} ] , \"token\" : \"t\" } , "
           "\"method\":\"m\" } \n",
           "m", "t", " { \"params\" : [ 1 , {\"token\":\"x\"} ] , \"method\":\"m\" } \n");
    expect("{\"method\":\"m\",\"params\":{\"token\":\"t\",\"body\":-1.5e3},\"id\":7}", "m", "t",
           "{\"method\":\"m\",\"params\":-1.5e3,\"id\":7}");
    expect("{\"method\":\"m\",\"params\":{\"token\":\"t\",\"body\":\"\\u00e4\"}}", "m", "t",
           "{\"method\":\"m\",\"params\":\"\\u00e4\"}");
}
END_TEST

START_TEST(message_without_a_body_has_empty_params)
{
    expect("{\"method\":\"thing.topo.get\",\"params\":{\"token\":\"t\"}}", "thing.topo.get", "t",
           "{\"method\":\"thing.topo.get\",\"params\":{}}");
    /* The answer to a command: its data stands beside params. */
    expect("{\"requestId\":\"9\",\"method\":\"thing.service.invoke\",\"code\":0,\"data\":{},"
           "\"params\":{\"token\":\"t\"}}",
           "thing.service.invoke", "t",
           "{\"requestId\":\"9\",\"method\":\"thing.service.invoke\",\"code\":0,\"data\":{},"
           "\"params\":{}}");
}
END_TEST

START_TEST(message_without_a_token_shows_none)
{
    expect("{\"method\":\"auth\"}", "auth", "", "{\"method\":\"auth\"}");
    expect("{\"method\":\"m\",\"params\":1}", "m", "", "{\"method\":\"m\",\"params\":{}}");
    expect("{\"method\":\"m\",\"params\":null}", "m", "", "{\"method\":\"m\",\"params\":{}}");
    expect("{\"method\":\"m\",\"params\":{\"token\":1,\"body\":2}}", "m", "",
           "{\"method\":\"m\",\"params\":2}");
    expect("{\"method\":\"m\",\"token\":\"t\",\"params\":[\"token\",\"t\"]}", "m", "",
           "{\"method\":\"m\",\"token\":\"t\",\"params\":{}}");
    expect("{\"method\":\"m\",\"params\":{\"token\":\"\\u0061\"}}", "m", "",
           "{\"method\":\"m\",\"params\":{}}");
    expect("{\"method\":1}", "", "", "{\"method\":1}");
    expect("{}", "", "", "{}");
}
END_TEST

START_TEST(what_could_be_read_in_two_ways_is_refused)
{
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "[]",
        "{",
        "{}{}",
        "{\"method\":\"m\",\"params\":{\"token\":\"t\"",
        "{\"method\":\"m\",\"params\":{\"token\":\"t\"},\"params\":{}}",
        "{\"method\":\"m\",\"method\":\"auth\"}",
        "{\"params\":{\"token\":\"t\",\"token\":\"u\"}}",
        "{\"params\":{\"token\":\"t\",\"body\":1,\"body\":2}}",
        "{\"params\":{\"token\":\"t\",}}",
        "\x7e\x01\x01",
    };
    struct udp_message m;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_bytes in = { (const uint8_t *) bad[i], strlen(bad[i]) };
        ck_assert_msg(!udp_unwrap(in, &m), "%s", bad[i]);
    }
    ck_assert(!udp_unwrap((struct tpc_bytes){ NULL, 0 }, &m));
}
END_TEST

Suite *unwrap_suite(void)
{
    Suite *s = suite_create("unwrap");
    TCase *t = tcase_create("unwrap");
    tcase_add_test(t, body_takes_the_place_of_params_and_nothing_else_changes);
    tcase_add_test(t, message_without_a_body_has_empty_params);
    tcase_add_test(t, message_without_a_token_shows_none);
    tcase_add_test(t, what_could_be_read_in_two_ways_is_refused);
    suite_add_tcase(s, t);
    return s;
}
