/* Which requests read which tags. */
#include "modbus_suites.h"
#include "plan.h"

static const struct mb_limits limits = { 125, 2000, 16, 256 };

static struct mb_span at(uint32_t tag, uint16_t address, uint16_t count)
{
    return (struct mb_span){
        .tag = tag, .poll_ms = 1000, .function = 3, .address = address, .count = count
    };
}

START_TEST(neighbours_and_small_gaps_are_one_request)
{
    struct mb_span s[] = { at(0, 30, 2), at(1, 0, 1), at(2, 1, 2), at(3, 100, 1) };
    struct mb_read r[4];
    ck_assert_uint_eq(mb_plan(s, 4, &limits, r), 3);
    ck_assert_uint_eq(r[0].address, 0);
    ck_assert_uint_eq(r[0].count, 3);
    ck_assert_uint_eq(r[0].spans, 2);
    ck_assert_uint_eq(r[1].address, 30);
    struct mb_span near[] = { at(0, 19, 2), at(1, 0, 3) };
    ck_assert_uint_eq(mb_plan(near, 2, &limits, r), 1);
    ck_assert_uint_eq(r[0].count, 21);
}
END_TEST

START_TEST(no_request_is_larger_than_its_limit)
{
    enum { N = 1000 };
    struct mb_span s[N];
    struct mb_read r[N];
    for (uint32_t i = 0; i < N; i++) {
        s[i] = at(i, (uint16_t) (i * 2), 2);
    }
    uint32_t n = mb_plan(s, N, &limits, r), spans = 0;
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_uint_le(r[i].count, 125);
        ck_assert_uint_eq(r[i].first, spans);
        spans += r[i].spans;
    }
    ck_assert_uint_eq(spans, N);
    ck_assert_uint_eq(n, (N + 61) / 62);
    const struct mb_limits small = { 2, 16, 16, 16 };
    ck_assert_uint_eq(mb_plan(s, N, &small, r), N);
}
END_TEST

START_TEST(functions_and_periods_are_not_mixed)
{
    struct mb_span s[] = { at(0, 0, 1), at(1, 1, 1), at(2, 2, 1) };
    struct mb_read r[3];
    s[1].function = 4;
    s[2].poll_ms = 5000;
    ck_assert_uint_eq(mb_plan(s, 3, &limits, r), 3);
}
END_TEST

START_TEST(the_last_address_can_be_read)
{
    struct mb_span s[] = { at(0, 65535, 1), at(1, 65530, 2) };
    struct mb_read r[2];
    ck_assert_uint_eq(mb_plan(s, 2, &limits, r), 1);
    ck_assert_uint_eq(r[0].count, 6);
}
END_TEST

START_TEST(a_refused_read_is_cut_at_its_widest_gap)
{
    struct mb_span s[] = { at(0, 0, 2), at(1, 3, 1), at(2, 10, 1), at(3, 11, 1) };
    struct mb_read r[4];
    ck_assert_uint_eq(mb_plan(s, 4, &limits, r), 1);
    ck_assert(mb_plan_cut(s, &r[0], MB_ILLEGAL_ADDRESS));
    ck_assert_uint_eq(mb_plan(s, 4, &limits, r), 2);
    ck_assert_uint_eq(r[0].spans, 2);
    ck_assert_uint_eq(r[1].address, 10);
    ck_assert(mb_plan_cut(s, &r[1], MB_ILLEGAL_ADDRESS)); /* no gap: in the middle */
    ck_assert_uint_eq(mb_plan(s, 4, &limits, r), 3);
    ck_assert(!mb_plan_cut(s, &r[2], MB_ILLEGAL_ADDRESS));
}
END_TEST

START_TEST(tags_of_one_register_stay_together)
{
    struct mb_span s[] = { at(0, 7, 1), at(1, 7, 1), at(2, 7, 1) };
    struct mb_read r[3];
    ck_assert_uint_eq(mb_plan(s, 3, &limits, r), 1);
    ck_assert_uint_eq(r[0].count, 1);
    ck_assert(!mb_plan_cut(s, &r[0], MB_ILLEGAL_ADDRESS));
}
END_TEST

Suite *plan_suite(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_add_test(t, neighbours_and_small_gaps_are_one_request);
    tcase_add_test(t, no_request_is_larger_than_its_limit);
    tcase_add_test(t, functions_and_periods_are_not_mixed);
    tcase_add_test(t, the_last_address_can_be_read);
    tcase_add_test(t, a_refused_read_is_cut_at_its_widest_gap);
    tcase_add_test(t, tags_of_one_register_stay_together);
    suite_add_tcase(s, t);
    return s;
}
