#include "mqtt_suites.h"
#include "url.h"

#include <stdlib.h>
#include <string.h>

START_TEST(url_gets_the_scheme_and_port_of_paho)
{
    static const char *const good[][2] = {
        { "mqtt://broker", "tcp://broker:1883" },
        { "mqtt://127.0.0.1:2000", "tcp://127.0.0.1:2000" },
        { "mqtts://b.example", "ssl://b.example:8883" },
        { "mqtts://b.example:1/", "ssl://b.example:1" },
        { "mqtt://[::1]", "tcp://[::1]:1883" },
        { "mqtt://[::1]:99", "tcp://[::1]:99" },
    };
    char out[MQTT_URL_MAX];
    uint16_t port = 0;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        tk_ok(mqtt_url(good[i][0], out, &port));
        ck_assert_str_eq(out, good[i][1]);
        ck_assert_int_eq(port, strtol(strrchr(out, ':') + 1, NULL, 10));
    }
}
END_TEST

START_TEST(url_that_is_none_is_refused)
{
    static const char *const bad[] = { "",
                                       "mqtt://",
                                       "http://b",
                                       "b:1883",
                                       "mqtt://b:",
                                       "mqtt://b:x",
                                       "mqtt://b:123456",
                                       "mqtt://b:65536",
                                       "mqtt://b:0",
                                       "mqtt://[::1",
                                       "mqtt://[::1]x",
                                       "mqtt://u:p@b",
                                       "mqtt://b/path",
                                       "mqtt:// b" };
    char out[MQTT_URL_MAX];
    uint16_t port = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(mqtt_url(bad[i], out, &port) == TPC_EINVAL, "taken: %s", bad[i]);
    }
    char longest[400];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "mqtt://", 7);
    longest[399] = '\0';
    tk_fails(TPC_EINVAL, mqtt_url(longest, out, &port));
}
END_TEST

Suite *url_suite(void)
{
    Suite *s = suite_create("url");
    TCase *c = tcase_create("url");
    tcase_add_test(c, url_gets_the_scheme_and_port_of_paho);
    tcase_add_test(c, url_that_is_none_is_refused);
    suite_add_tcase(s, c);
    return s;
}
