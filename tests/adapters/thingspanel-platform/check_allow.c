#include "allow.h"
#include "rate.h"
#include "panel_suites.h"

#include <stdio.h>
#include <tpcore/error.h>

START_TEST(only_addresses_of_the_ranges_may_ask)
{
    static const struct {
        const char *address;
        bool allowed;
    } all[] = { { "127.0.0.1", true },
                { "127.255.255.255", true },
                { "128.0.0.1", false },
                { "10.9.8.7", true },
                { "11.0.0.1", false },
                { "172.16.0.1", true },
                { "172.32.0.1", false },
                { "172.31.255.255", true },
                { "192.168.1.1", true },
                { "8.8.8.8", false },
                { "::1", true },
                { "[::1]", true },
                { "::2", false },
                { "fe80::1%eth0", true },
                { "fd00::1", true },
                { "2001:db8::1", false },
                { "::ffff:10.0.0.1", true },
                { "::ffff:8.8.8.8", false },
                { "", false },
                { "localhost", false },
                { "10.0.0", false },
                { "10.0.0.1 ", false } };
    struct panel_allow a = { .count = 0 };
    ck_assert(!panel_allowed(&a, TPC_STR("127.0.0.1")));
    panel_allow_private(&a);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        ck_assert_msg(panel_allowed(&a, tpc_str_from(all[i].address)) == all[i].allowed, "%s",
                      all[i].address);
    }
    a.count = 0;
    tk_ok(panel_allow_add(&a, TPC_STR("0.0.0.0/0")));
    ck_assert(panel_allowed(&a, TPC_STR("8.8.8.8")));
    ck_assert(!panel_allowed(&a, TPC_STR("2001:db8::1")));
    tk_ok(panel_allow_add(&a, TPC_STR("2001:db8::/33")));
    ck_assert(panel_allowed(&a, TPC_STR("2001:db8:7fff::1")));
    ck_assert(!panel_allowed(&a, TPC_STR("2001:db8:8000::1")));
}
END_TEST

START_TEST(what_is_no_range_is_refused)
{
    static const char *const bad[] = {
        "",       "10.0.0.0/33",   "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8 ",
        "::/129", "10.0.0.0/1000", "x/8",       "/8",          "1.2.3.4/0x8"
    };
    struct panel_allow a = { .count = 0 };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(panel_allow_add(&a, tpc_str_from(bad[i])) == TPC_EINVAL, "%s", bad[i]);
    }
    for (int i = 0; i < PANEL_RANGES_MAX; i++) {
        tk_ok(panel_allow_add(&a, TPC_STR("10.0.0.1")));
    }
    ck_assert_int_eq(panel_allow_add(&a, TPC_STR("10.0.0.1")), TPC_ETOOBIG);
}
END_TEST

START_TEST(a_key_may_be_asked_for_once_in_three_seconds)
{
    static struct panel_rate r;
    char key[16];
    ck_assert(panel_rate_take(&r, 'v', TPC_STR("a"), 1));
    ck_assert(!panel_rate_take(&r, 'v', TPC_STR("a"), 3000));
    ck_assert(panel_rate_take(&r, 'n', TPC_STR("a"), 3000));
    ck_assert(panel_rate_take(&r, 'v', TPC_STR("b"), 3000));
    ck_assert(panel_rate_take(&r, 'v', TPC_STR("a"), 3001));
    ck_assert(!panel_rate_take(&r, 'v', TPC_STR("a"), 3002));
    /* More keys than there is room for: none is refused that was not asked for. */
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ck_assert(panel_rate_take(&r, 'v', tpc_str_from(key), 4000 + (uint64_t) i));
    }
}
END_TEST

Suite *allow_suite(void)
{
    Suite *s = suite_create("allow");
    TCase *tc = tcase_create("allow");
    tcase_add_test(tc, only_addresses_of_the_ranges_may_ask);
    tcase_add_test(tc, what_is_no_range_is_refused);
    tcase_add_test(tc, a_key_may_be_asked_for_once_in_three_seconds);
    suite_add_tcase(s, tc);
    return s;
}
