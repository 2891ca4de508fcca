/* Data rules over a topic of the bus instead of a product. */
#include "house.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>

/* The statement's ' become the JSON's \u0027. */
static int put_rule(struct house *h, const char *sql)
{
    char json[1024];
    size_t n = (size_t) snprintf(json, sizeof(json), "{'key':'r','sql':'");
    for (; *sql != '\0' && n < sizeof(json) - 100; sql++) {
        n += (size_t) snprintf(json + n, sizeof(json) - n, *sql == '\'' ? "\\u0027" : "%c", *sql);
    }
    (void) snprintf(json + n, sizeof(json) - n, "','to':{'event':'row','device':'fan-1'}}");
    return house_put(h, "rule", json);
}

static unsigned rows(struct house *h)
{
    return atomic_load(&h->message_count);
}

static void expect_row(struct house *h, unsigned n, const char *json)
{
    char text[240];
    ck_assert_uint_lt(n, rows(h));
    snprintf(text, sizeof(text), "rule:r event fan-1 row %s", json);
    ck_assert_str_eq(h->messages[n].text, text);
}

static void at(struct house *h, int64_t unix_ms)
{
    tk_clock_set_unix(&h->env.clock, unix_ms);
}

static void attribute(struct house *h, const char *device, double temperature)
{
    h->data_kind = TPC_MSG_ATTRIBUTES;
    house_temperature(h, device, temperature);
    h->data_kind = 0;
}

/* What t1 and t2 say, as telemetry and as attributes, and which of it counts. */
START_TEST(levels_say_whose_messages_count_and_which)
{
    static const struct {
        const char *topic;
        const char *rows; /* T, t: telemetry of t1, t2; A, a: attributes */
    } cases[] = {
        { "main/up/thermo/+/telemetry", "Tt" },  { "main/up/thermo/+/attributes", "Aa" },
        { "main/up/thermo/+/+", "TtAa" },        { "main/up/thermo/+/#", "TtAa" },
        { "main/up/thermo/#", "TtAa" },          { "main/up/thermo/t2/#", "ta" },
        { "main/up/thermo/t2/+", "ta" },         { "main/up/thermo/t2/telemetry", "t" },
        { "main/up/thermo/t1/attributes", "A" }, { "main/up/thermo/t1/telemetry/#", "T" },
        { "main/up/thermo/t9/#", "" },           { "main/up/fan/+/telemetry", "" },
        { "main/up/%74hermo/%74%32/#", "ta" },
    };
    static const char names[] = "TtAa";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct house *h = house_new();
        char sql[200];
        bool fan = strstr(cases[i].topic, "fan") != NULL;
        snprintf(sql, sizeof(sql), "SELECT %s AS t FROM '%s'", fan ? "level" : "temperature",
                 cases[i].topic);
        tk_ok(put_rule(h, sql));
        house_temperature(h, "t1", 0);
        house_temperature(h, "t2", 1);
        attribute(h, "t1", 2);
        attribute(h, "t2", 3);
        ck_assert_msg(rows(h) == strlen(cases[i].rows), "%s: %u", cases[i].topic, rows(h));
        for (unsigned n = 0; n < rows(h); n++) {
            int value = (int) (strchr(names, cases[i].rows[n]) - names);
            char json[64];
            snprintf(json, sizeof(json), "{\"t\":%d.0,\"device\":\"t%d\"}", value, value % 2 + 1);
            expect_row(h, n, json);
        }
        house_free(h);
    }
}
END_TEST

START_TEST(what_is_not_of_the_topic_is_not_evaluated)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT temperature AS t FROM 'main/up/thermo/t1/telemetry'"));
    house_temperature(h, "t2", 1);
    attribute(h, "t1", 1);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->evaluations), 0);
    house_temperature(h, "t1", 1);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->evaluations), 1);
    house_free(h);
}
END_TEST

START_TEST(windows_of_a_device_take_what_is_of_the_topic)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT avg(temperature) AS mean, count(*) AS n FROM "
                      "'main/up/thermo/+/telemetry' GROUP BY device, TUMBLINGWINDOW(ss, 10)"));
    house_temperature(h, "t1", 10);
    attribute(h, "t1", 1000);
    house_temperature(h, "t1", 30);
    attribute(h, "t2", 1000);
    house_wait(h, 10000);
    ck_assert_uint_eq(rows(h), 1); /* t2 has no window */
    expect_row(h, 0,
               "{\"mean\":20.0,\"n\":2,\"device\":\"t1\",\"window_start_ms\":1000000,"
               "\"window_end_ms\":1010000}");
    tk_ok(put_rule(h, "SELECT max(temperature) AS m FROM 'main/up/thermo/t2/#' "
                      "GROUP BY device, COUNTWINDOW(2)"));
    house_temperature(h, "t1", 90);
    house_temperature(h, "t2", 5);
    house_temperature(h, "t1", 91);
    attribute(h, "t2", 4);
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "{\"m\":5.0,\"device\":\"t2\","));
    house_free(h);
}
END_TEST

START_TEST(windows_over_devices_take_what_is_of_the_topic)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT sum(temperature) AS s, count(*) AS n FROM "
                      "'main/up/thermo/+/telemetry' GROUP BY TUMBLINGWINDOW(ss, 10)"));
    house_temperature(h, "t1", 1);
    attribute(h, "t1", 100);
    house_temperature(h, "t2", 2);
    attribute(h, "t3", 100);
    house_temperature(h, "t3", 4);
    house_wait(h, 10000);
    ck_assert_uint_eq(rows(h), 1);
    expect_row(h, 0, "{\"s\":7.0,\"n\":3,\"window_start_ms\":1000000,\"window_end_ms\":1010000}");
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->inputs), 3);
    house_free(h);
}
END_TEST

START_TEST(a_topic_holds_after_a_restart_and_with_a_changed_model)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT temperature AS t FROM 'main/up/thermo/t1/telemetry'"));
    tk_ok(house_restart(h));
    house_temperature(h, "t2", 1);
    attribute(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 0);
    house_temperature(h, "t1", 2);
    ck_assert_uint_eq(rows(h), 1);
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'extra','type':'double','access':'r'},"
                    "{'id':'temperature','type':'double','access':'r'}]}}"));
    house_temperature(h, "t2", 1);
    attribute(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 1);
    house_temperature(h, "t1", 2);
    ck_assert_uint_eq(rows(h), 2);
    tk_ok(put_rule(h, "SELECT temperature AS t FROM thermo")); /* and no longer */
    house_temperature(h, "t2", 1);
    ck_assert_uint_eq(rows(h), 3);
    tk_ok(put_rule(h, "SELECT temperature AS t FROM 'main/up/thermo/t1/telemetry'"));
    house_temperature(h, "t2", 1);
    ck_assert_uint_eq(rows(h), 3);
    tk_ok(house_delete(h, "rule", "r"));
    house_temperature(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 3);
    house_free(h);
}
END_TEST

START_TEST(keys_that_are_no_levels_are_written_as_in_topics)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "product",
                    "{'key':'a/b','model':{'properties':["
                    "{'id':'temperature','type':'double','access':'r'}]}}"));
    tk_ok(house_put(h, "device", "{'key':'x+%','product':'a/b'}"));
    tk_ok(house_put(h, "device", "{'key':'y','product':'a/b'}"));
    tk_ok(put_rule(h, "SELECT temperature AS t FROM 'main/up/a%2Fb/x%2B%25/telemetry'"));
    house_temperature(h, "y", 1);
    house_temperature(h, "x+%", 2);
    ck_assert_uint_eq(rows(h), 1);
    expect_row(h, 0, "{\"t\":2.0,\"device\":\"x+%\"}");
    tk_ok(put_rule(h, "SELECT temperature AS t FROM `a/b`")); /* no topic */
    house_temperature(h, "y", 1);
    ck_assert_uint_eq(rows(h), 2);
    house_free(h);
}
END_TEST

START_TEST(what_is_wrong_with_a_topic_is_told_with_its_place)
{
    static const struct {
        const char *topic;
        uint32_t column; /* of the whole statement: the topic begins at 16 */
    } bad[] = {
        { "+/up/thermo/+/telemetry", 16 },
        { "#/up", 16 },
        { "/up/thermo/+/telemetry", 16 },
        { "other/up/thermo/+/telemetry", 16 },
        { "mai/up/thermo/#", 16 },
        { "main/down/thermo/+/command", 21 },
        { "main/+/thermo/+/telemetry", 21 },
        { "main/#", 21 },
        { "main/up/+/+/telemetry", 24 },
        { "main/up/#", 24 },
        { "main/up//+/telemetry", 24 },
        { "main/up/th+/+/telemetry", 24 },
        { "main/up/thermo", 30 },
        { "main/up/thermo/+", 32 },
        { "main/up/thermo/", 31 },
        { "main/up/thermo/t+/telemetry", 31 },
        { "main/up/thermo/#/telemetry", 31 },
        { "main/up/thermo/%7/telemetry", 31 },
        { "main/up/thermo/%g0/telemetry", 31 },
        { "main/up/thermo/+/event", 33 },
        { "main/up/thermo/+/event/boiling", 33 },
        { "main/up/thermo/+/telemetr", 33 },
        { "main/up/thermo/+/telemetry/x", 33 },
        { "main/up/thermo/+/", 33 },
        { "main/up/thermo/+/#/x", 33 },
        { "main/up", 23 },
        { "", 15 },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char sql[200];
        snprintf(sql, sizeof(sql), "SELECT * FROM '%s'", bad[i].topic);
        ck_assert_int_eq(put_rule(h, sql), TPC_EINVAL);
        ck_assert_msg(strncmp(h->err.path, "sql", 3) == 0 && h->err.line == 1 &&
                          h->err.column == bad[i].column,
                      "%s: %s %u:%u %s", sql, h->err.path, h->err.line, h->err.column, h->err.text);
    }
    ck_assert_int_eq(put_rule(h, "SELECT * FROM 'main/up/nothing/#'"), TPC_ENOENT);
    ck_assert_int_eq(put_rule(h, "SELECT nothing FROM 'main/up/thermo/#'"), TPC_EINVAL);
    ck_assert_uint_eq(h->err.column, 8);
    house_free(h);
}
END_TEST

Suite *topic_suite(void)
{
    Suite *s = suite_create("topics of data rules");
    TCase *t = tcase_create("topics");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, levels_say_whose_messages_count_and_which);
    tcase_add_test(t, what_is_not_of_the_topic_is_not_evaluated);
    tcase_add_test(t, windows_of_a_device_take_what_is_of_the_topic);
    tcase_add_test(t, windows_over_devices_take_what_is_of_the_topic);
    tcase_add_test(t, a_topic_holds_after_a_restart_and_with_a_changed_model);
    tcase_add_test(t, keys_that_are_no_levels_are_written_as_in_topics);
    tcase_add_test(t, what_is_wrong_with_a_topic_is_told_with_its_place);
    suite_add_tcase(s, t);
    return s;
}
