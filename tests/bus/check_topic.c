#include "bus/topic.h"

#include "bus_suites.h"

#include <string.h>
#include <tpcore/msg.h>

static struct tpc_str text(const char *s)
{
    return tpc_str_from(s);
}

START_TEST(keys_are_escaped_and_come_back)
{
    struct tpi_buf b, back;
    struct tpc_str key = TPC_STR("a/b+c#d%e \x01 \xc3\xa4");

    tpi_buf_init(&b, NULL, 0);
    tpi_buf_init(&back, NULL, 0);
    tk_ok(tpi_topic_key(&b, key));
    ck_assert(tpc_str_equal((struct tpc_str){ (char *) b.ptr, b.len },
                            TPC_STR("a%2Fb%2Bc%23d%25e %01 \xc3\xa4")));
    tk_ok(tpi_topic_unescape(&back, (struct tpc_str){ (char *) b.ptr, b.len }));
    ck_assert(tpc_str_equal((struct tpc_str){ (char *) back.ptr, back.len }, key));
    tpi_buf_clear(&back);
    tk_fails(TPC_EDECODE, tpi_topic_unescape(&back, TPC_STR("ab%2")));
    tk_fails(TPC_EDECODE, tpi_topic_unescape(&back, TPC_STR("%zz")));
    tk_fails(TPC_EDECODE, tpi_topic_unescape(&back, TPC_STR("%")));
    tk_ok(tpi_topic_unescape(&back, TPC_STR("x%2f")));
    ck_assert(tpc_str_equal((struct tpc_str){ (char *) back.ptr, back.len }, TPC_STR("x/")));
    tpi_buf_fini(&b);
    tpi_buf_fini(&back);
}
END_TEST

START_TEST(topics_have_their_form)
{
    struct tpi_buf b;

    tpi_buf_init(&b, NULL, 0);
    tk_ok(tpi_topic_device(&b, TPC_STR("main"), false, TPC_STR("thermo"), TPC_STR("t/1")));
    ck_assert(
        tpc_str_equal((struct tpc_str){ (char *) b.ptr, b.len }, TPC_STR("main/up/thermo/t%2F1/")));
    tpi_buf_clear(&b);
    tk_ok(tpi_topic_device(&b, TPC_STR("main"), true, TPC_STR("p"), TPC_STR("d")));
    ck_assert(tpc_str_equal((struct tpc_str){ (char *) b.ptr, b.len }, TPC_STR("main/down/p/d/")));
    tpi_buf_clear(&b);
    tk_ok(tpi_topic_entity(&b, TPC_STR("main"), TPC_STR("device"), TPC_STR("d")));
    ck_assert(tpc_str_equal((struct tpc_str){ (char *) b.ptr, b.len },
                            TPC_STR("main/entity/device/d/updated")));
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(a_full_buffer_keeps_its_content)
{
    struct tpi_buf b;

    tpi_buf_init(&b, NULL, 12);
    tk_ok(tpi_buf_put(&b, "x", 1));
    tk_fails(TPC_ETOOBIG,
             tpi_topic_device(&b, TPC_STR("main"), false, TPC_STR("thermo"), TPC_STR("t")));
    ck_assert_uint_eq(b.len, 1);
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(filters_are_checked_as_mqtt_says)
{
    static const char *const good[] = { "main/#",   "main/up/+/+/telemetry",
                                        "main",     "main//x",
                                        "main/+/#", "main/" };
    static const char *const bad[] = {
        "",
        "main/a+",
        "main/#/x",
        "main/x#",
        "+/up",
        "#",
        "/x",
        "main/\xff",
        "main/+x",
        "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/"
        "5/6/7"
    };
    char big[TPI_FILTER_BYTES_MAX + 2];
    struct tpc_error err;
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        tk_ok(tpi_filter_check(text(good[i]), 0, &err));
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(tpi_filter_check(text(bad[i]), 0, &err) == TPC_EINVAL, "%s", bad[i]);
    }
    tk_ok(tpi_filter_check(TPC_STR("+/up/#"), TPI_FILTER_SYSTEM, &err));
    tk_ok(tpi_filter_check(TPC_STR("#"), TPI_FILTER_SYSTEM, &err));
    tk_fails(TPC_EINVAL, tpi_filter_check(TPC_STR("a\0b"), 0, &err));
    memset(big, 'a', sizeof(big));
    tk_fails(TPC_EINVAL, tpi_filter_check((struct tpc_str){ big, sizeof(big) - 1 }, 0, &err));
}
END_TEST

START_TEST(filters_match_as_mqtt_says)
{
    static const struct {
        const char *filter, *topic;
        bool match;
    } cases[] = {
        { "sport/tennis/player1/#", "sport/tennis/player1", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
        { "sport/#", "sport", true },
        { "#", "a/b", true },
        { "sport/tennis/+", "sport/tennis/player1", true },
        { "sport/tennis/+", "sport/tennis/player1/ranking", false },
        { "sport/+", "sport", false },
        { "sport/+", "sport/", true },
        { "+/+", "/finance", true },
        { "/+", "/finance", true },
        { "+", "/finance", false },
        { "#", "$SYS/x", false },
        { "+/monitor", "$SYS/monitor", false },
        { "$SYS/#", "$SYS/x", true },
        { "a/b", "a/b", true },
        { "a/b", "a/bc", false },
        { "a/b", "a/b/c", false },
        { "a/b/c", "a/b", false },
        { "a//b", "a//b", true },
        { "a/+/b", "a//b", true },
        { "A", "a", false },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_msg(tpi_filter_match(text(cases[i].filter), text(cases[i].topic)) ==
                          cases[i].match,
                      "%s against %s", cases[i].filter, cases[i].topic);
    }
}
END_TEST

START_TEST(a_device_is_matched_once_for_all_kinds)
{
    struct tpc_str prefix = TPC_STR("main/up/thermo/t1/");
    uint64_t telemetry = (uint64_t) 1 << TPC_MSG_TELEMETRY;

    ck_assert_uint_eq(tpi_filter_kinds(TPC_STR("main/up/+/+/telemetry"), prefix), telemetry);
    ck_assert_uint_ne(tpi_filter_kinds(TPC_STR("main/up/#"), prefix) & telemetry, 0);
    ck_assert_uint_ne(tpi_filter_kinds(TPC_STR("main/up/#"), prefix) & 1, 0);
    ck_assert_uint_eq(tpi_filter_kinds(TPC_STR("main/up/thermo/t2/#"), prefix), 0);
    ck_assert_uint_eq(tpi_filter_kinds(TPC_STR("main/up/thermo/t1/event"), prefix),
                      (uint64_t) 1 << TPC_MSG_EVENT);
}
END_TEST

Suite *topic_suite(void)
{
    Suite *s = suite_create("topic");
    TCase *t = tcase_create("topic");

    tcase_add_test(t, keys_are_escaped_and_come_back);
    tcase_add_test(t, topics_have_their_form);
    tcase_add_test(t, a_full_buffer_keeps_its_content);
    tcase_add_test(t, filters_are_checked_as_mqtt_says);
    tcase_add_test(t, filters_match_as_mqtt_says);
    tcase_add_test(t, a_device_is_matched_once_for_all_kinds);
    suite_add_tcase(s, t);
    return s;
}
