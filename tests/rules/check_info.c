/* What rules tell of themselves: counts, failures, and why one does nothing. */
#include <stdio.h>
#include <string.h>

#include "house.h"
#include "suites.h"

enum { SEEN_MAX = 8 };

struct seen {
    unsigned count;
    int code; /* to answer */
    struct tpc_rule_info last;
    char keys[SEEN_MAX][40]; /* "tenant kind key" */
    char error[200];
    char broken[400];
};

static int see(void *user, const struct tpc_rule_info *info)
{
    struct seen *s = user;
    ck_assert_uint_eq(info->size, sizeof(*info));
    ck_assert_uint_lt(s->count, SEEN_MAX);
    snprintf(s->keys[s->count++], sizeof(s->keys[0]), "%s %s %s", info->tenant.ptr, info->kind.ptr,
             info->key.ptr);
    snprintf(s->error, sizeof(s->error), "%.*s", (int) info->error.len, info->error.ptr);
    snprintf(s->broken, sizeof(s->broken), "%.*s", (int) info->broken.len, info->broken.ptr);
    s->last = *info;
    return s->code;
}

static struct seen info(struct house *h, const char *kind, const char *key)
{
    struct seen s = { .count = 0 };
    tk_ok(
        tpi_rules_info(h->rules, TPC_STR("main"), tpc_str_from(kind), tpc_str_from(key), see, &s));
    ck_assert_uint_eq(s.count, 1);
    return s;
}

static void expect(const struct seen *s, uint64_t evaluated, uint64_t matched, uint64_t fired,
                   uint64_t failed)
{
    ck_assert_uint_eq(s->last.evaluated, evaluated);
    ck_assert_uint_eq(s->last.matched, matched);
    ck_assert_uint_eq(s->last.fired, fired);
    ck_assert_uint_eq(s->last.failed, failed);
}

START_TEST(a_scene_counts_over_all_workers_and_goes_on_when_it_is_put_again)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "rising"));
    struct seen s = info(h, "scene", "s");
    expect(&s, 0, 0, 0, 0);
    ck_assert_int_eq(s.last.fired_unix_ms, 0);
    ck_assert_uint_eq(s.last.flags, TPC_RULE_ENABLED);
    ck_assert_str_eq(s.keys[0], "main scene s");
    static const char *const devices[] = { "t1", "t2", "t3" };
    for (int i = 0; i < 3; i++) {
        house_temperature(h, devices[i], 20);
        house_temperature(h, devices[i], 31);
        house_temperature(h, devices[i], 32); /* holds, and fires no more */
    }
    s = info(h, "scene", "s");
    expect(&s, 9, 6, 3, 0);
    ck_assert_int_gt(s.last.fired_unix_ms, 0);
    tk_ok(house_scene(h, "s", "temperature > 40", "rising"));
    house_temperature(h, "t1", 41);
    s = info(h, "scene", "s");
    expect(&s, 10, 7, 4, 0);
    tk_ok(house_delete(h, "scene", "s"));
    tk_ok(house_scene(h, "s", "temperature > 40", "rising"));
    s = info(h, "scene", "s"); /* another one of the same key */
    expect(&s, 0, 0, 0, 0);
    house_free(h);
}
END_TEST

START_TEST(the_last_failure_says_what_to_whom_and_when)
{
    struct house *h = house_new();
    static const char scene[] =
        "{'key':'s','when':{'product':'thermo','expr':'temperature > 30','fire':'each'},'then':["
        "{'command':{'device':'fan-9','service':'set','params':{'on':true}}}]}";
    tk_ok(house_put(h, "scene", scene));
    house_temperature(h, "t1", 31);
    struct seen s = info(h, "scene", "s");
    expect(&s, 1, 1, 1, 1);
    ck_assert_str_eq(s.error, "'set' to 'fan-9': no such device");
    ck_assert_int_eq(s.last.error_code, TPC_ENOENT);
    ck_assert_int_eq(s.last.error_unix_ms, tpi_unix_ms(&h->env.env));
    tk_ok(house_put(h, "scene", scene)); /* as it was, and that failure is over */
    s = info(h, "scene", "s");
    expect(&s, 1, 1, 1, 1);
    ck_assert_str_eq(s.error, "");
    ck_assert_int_eq(s.last.error_unix_ms, 0);
    tk_ok(house_put(h, "scene",
                    "{'key':'n','when':{'product':'thermo','expr':'temperature > 30'},"
                    "'then':[{'notify':{'handler':'ops'}}]}"));
    h->command_code = TPC_EAGAIN;
    house_temperature(h, "t2", 31);
    s = info(h, "scene", "n");
    ck_assert_str_eq(s.error, "'ops' to 't2': TPC_EAGAIN");
    h->command_code = TPC_EEXIST; /* done before a start: no failure */
    house_temperature(h, "t3", 31);
    s = info(h, "scene", "n");
    expect(&s, 2, 2, 2, 1);
    house_free(h);
}
END_TEST

START_TEST(a_broken_rule_says_why_until_it_fits_again)
{
    static const char without[] = "{'key':'thermo','model':{'properties':["
                                  "{'id':'humidity','type':'int','access':'r'}]}}";
    static const char with[] = "{'key':'thermo','model':{'properties':["
                               "{'id':'humidity','type':'int','access':'r'},"
                               "{'id':'temperature','type':'double','access':'r'}]}}";
    static const char *const kinds[] = { "scene", "rule" };
    struct house *h = house_new();
    tk_ok(house_scene(h, "r", "temperature > 30", "each"));
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT temperature AS t FROM thermo','to':{'event':'x'}}"));
    tk_ok(house_put(h, "product", without));
    for (int round = 0; round < 2; round++) { /* the second as loaded */
        for (int i = 0; i < 2; i++) {
            struct seen s = info(h, kinds[i], "r");
            ck_assert_uint_eq(s.last.flags, TPC_RULE_ENABLED | TPC_RULE_BROKEN);
            ck_assert_ptr_nonnull(strstr(s.broken, "no property 'temperature'"));
            ck_assert_ptr_nonnull(strstr(s.broken, i == 0 ? "(when.expr, line 1" : "(sql, line 1"));
        }
        tk_ok(house_restart(h));
    }
    tk_ok(house_put(h, "product", with));
    for (int i = 0; i < 2; i++) {
        struct seen s = info(h, kinds[i], "r");
        ck_assert_uint_eq(s.last.flags, TPC_RULE_ENABLED);
        ck_assert_str_eq(s.broken, "");
    }
    house_free(h);
}
END_TEST

START_TEST(rows_of_a_window_are_what_a_data_rule_fires)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT count(*) AS n FROM thermo WHERE temperature > 0 "
                    "GROUP BY device, COUNTWINDOW(2)','to':{'event':'pair'}}"));
    static const double values[] = { -1, 1, 2, 3, 4 };
    for (int i = 0; i < 5; i++) {
        house_temperature(h, "t1", values[i]);
    }
    struct seen s = info(h, "rule", "r");
    expect(&s, 5, 4, 2, 0);
    h->command_code = TPC_ENOSPC;
    house_temperature(h, "t1", 5);
    house_temperature(h, "t1", 6);
    s = info(h, "rule", "r");
    expect(&s, 7, 6, 3, 1);
    ck_assert_str_eq(s.error, "'pair' to 't1': TPC_ENOSPC");
    house_free(h);
}
END_TEST

START_TEST(a_schedule_tells_its_last_planned_time_and_its_end)
{
    struct house *h = house_new();
    tk_clock_set_unix(&h->env.clock, 1795177800000); /* 2026-11-20T12:30:00Z */
    tk_ok(house_put(h, "schedule",
                    "{'key':'n','type':'repeat','interval':'1h','count':2,"
                    "'then':[{'notify':{'handler':'ops'}}]}"));
    for (int i = 0; i < 4; i++) {
        for (uint32_t w = 0; w < HOUSE_WORKERS; w++) {
            (void) tpi_rules_turn(h->rules, w);
        }
        struct seen s = info(h, "schedule", "n");
        ck_assert_uint_eq(s.last.fired, (uint64_t) (i < 2 ? i : 2));
        ck_assert_int_eq((s.last.flags & TPC_RULE_ENDED) != 0, i >= 2);
        if (i == 1) {
            ck_assert_int_eq(s.last.fired_unix_ms, 1795177800000 + 3600000);
        }
        tk_clock_set_unix(&h->env.clock, 1795177800000 + (i + 1) * (int64_t) 3600000);
    }
    house_free(h);
}
END_TEST

START_TEST(all_are_listed_in_order_and_fn_may_end_it)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "b", "temperature > 30", "each"));
    tk_ok(house_scene(h, "a", "temperature > 30", "each"));
    tk_ok(house_put(h, "rule", "{'key':'z','sql':'SELECT * FROM thermo','to':{'event':'x'}}"));
    struct seen s = { .count = 0 };
    struct tpc_str none = TPC_STR("");
    tk_ok(tpi_rules_info(h->rules, none, none, none, see, &s));
    ck_assert_uint_eq(s.count, 3);
    ck_assert_str_eq(s.keys[0], "main rule z");
    ck_assert_str_eq(s.keys[1], "main scene a");
    ck_assert_str_eq(s.keys[2], "main scene b");
    s = (struct seen){ .code = 7 };
    ck_assert_int_eq(tpi_rules_info(h->rules, none, TPC_STR("scene"), none, see, &s), 7);
    ck_assert_uint_eq(s.count, 1);
    s = (struct seen){ .code = 0 };
    tk_ok(tpi_rules_info(h->rules, TPC_STR("other"), none, none, see, &s));
    ck_assert_uint_eq(s.count, 0);
    tk_fails(TPC_ENOENT, tpi_rules_info(h->rules, none, TPC_STR("rule"), TPC_STR("a"), see, &s));
    house_free(h);
}
END_TEST

static int see_no_more(void *user, const struct tpc_rule_info *info)
{
    (void) info;
    ++*(unsigned *) user;
    return 0;
}

static int list_all(const struct tpc_allocator *alloc, void *user)
{
    struct house *h = user;
    const struct tpc_allocator *own = h->env.env.alloc;
    struct tpc_str none = TPC_STR("");
    unsigned count = 0;
    h->env.env.alloc = alloc;
    int rc = tpi_rules_info(h->rules, none, none, none, see_no_more, &count);
    h->env.env.alloc = own;
    ck_assert_uint_eq(count, rc == 0 ? 1 : 0); /* all or none */
    return rc;
}

START_TEST(no_memory_lists_nothing_and_leaks_nothing)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    ck_assert_uint_gt(tk_each_alloc_fails(list_all, h), 1);
    house_free(h);
}
END_TEST

Suite *info_suite(void)
{
    Suite *s = suite_create("info");
    TCase *c = tcase_create("info");
    tcase_add_test(c, a_scene_counts_over_all_workers_and_goes_on_when_it_is_put_again);
    tcase_add_test(c, the_last_failure_says_what_to_whom_and_when);
    tcase_add_test(c, a_broken_rule_says_why_until_it_fits_again);
    tcase_add_test(c, rows_of_a_window_are_what_a_data_rule_fires);
    tcase_add_test(c, a_schedule_tells_its_last_planned_time_and_its_end);
    tcase_add_test(c, all_are_listed_in_order_and_fn_may_end_it);
    tcase_add_test(c, no_memory_lists_nothing_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
