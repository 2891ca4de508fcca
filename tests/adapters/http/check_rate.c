#include "rate.h"
#include "web_suites.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static struct hs_address address(const char *text, char ret_text[HS_PEER_TEXT])
{
    struct hs_address a;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_storage any = { 0 };
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
        memcpy(&any, &in6, sizeof(in6));
    } else {
        ck_assert_int_eq(inet_pton(AF_INET, text, &in.sin_addr), 1);
        memcpy(&any, &in, sizeof(in));
    }
    hs_address_read((const struct sockaddr *) &any, &a, ret_text);
    return a;
}

START_TEST(address_is_one_customers)
{
    char text[HS_PEER_TEXT];
    struct hs_address a = address("10.0.0.1", text);
    ck_assert_str_eq(text, "10.0.0.1");
    struct hs_address b = address("::ffff:10.0.0.1", text);
    ck_assert_str_eq(text, "10.0.0.1");
    ck_assert_mem_eq(&a, &b, sizeof(a));
    a = address("2001:db8:1:2::1", text);
    ck_assert_str_eq(text, "2001:db8:1:2::1");
    b = address("2001:db8:1:2:ffff::9", text);
    ck_assert_mem_eq(&a, &b, sizeof(a));
    b = address("2001:db8:1:3::1", text);
    ck_assert_mem_ne(&a, &b, sizeof(a));
}
END_TEST

START_TEST(bucket_gives_a_seconds_worth_and_fills_with_time)
{
    struct hs_bucket b = { 0, 0 };
    uint64_t wait = 0;
    for (int i = 0; i < 10; i++) {
        ck_assert(hs_bucket_take(&b, 10, 5000, &wait));
    }
    ck_assert(!hs_bucket_take(&b, 10, 5000, &wait));
    ck_assert_uint_eq(wait, 100);
    ck_assert(!hs_bucket_take(&b, 10, 5099, &wait));
    ck_assert(hs_bucket_take(&b, 10, 5100, &wait));
    ck_assert(!hs_bucket_take(&b, 10, 5100, &wait));
    ck_assert(hs_bucket_take(&b, 0, 5100, &wait));
    ck_assert(!hs_bucket_take(&b, 10, 100, &wait)); /* a clock that went back */
}
END_TEST

START_TEST(askers_are_bounded_and_forgotten)
{
    struct tk_alloc alloc;
    struct hs_askers k;
    tk_alloc_init(&alloc);
    hs_askers_init(&k, &alloc.base, 2000, 7);
    for (uint32_t i = 0; i < 2000; i++) {
        struct hs_address a = { .bytes = { 4, (uint8_t) i, (uint8_t) (i >> 8) } };
        ck_assert_ptr_nonnull(hs_asker_get(&k, &a, i % 2, 10000));
    }
    struct hs_address more = { .bytes = { 6 } };
    ck_assert_ptr_null(hs_asker_get(&k, &more, 0, 10000));
    struct hs_address held = { .bytes = { 4, 2 } };
    hs_asker_find(&k, &held)->connections = 1;
    ck_assert(hs_askers_sweep(&k, 20000));
    ck_assert(!hs_askers_sweep(&k, 20000));
    ck_assert_uint_eq(tpi_map_count(&k.map), 1);
    ck_assert_ptr_nonnull(hs_asker_get(&k, &more, 0, 20000));
    hs_askers_fini(&k);
    tk_alloc_check(&alloc);
}
END_TEST

static int get_one(const struct tpc_allocator *alloc, void *user)
{
    struct hs_askers k;
    struct hs_address a = { .bytes = { 4, 1 } };
    (void) user;
    hs_askers_init(&k, alloc, 10, 7);
    int rc = hs_asker_get(&k, &a, 0, 1) != NULL ? 0 : TPC_ENOMEM;
    hs_askers_fini(&k);
    return rc;
}

START_TEST(asker_without_memory_is_none)
{
    ck_assert_uint_gt(tk_each_alloc_fails(get_one, NULL), 1);
}
END_TEST

Suite *rate_suite(void)
{
    Suite *s = suite_create("rate");
    TCase *t = tcase_create("rate");
    tcase_add_test(t, address_is_one_customers);
    tcase_add_test(t, bucket_gives_a_seconds_worth_and_fills_with_time);
    tcase_add_test(t, askers_are_bounded_and_forgotten);
    tcase_add_test(t, asker_without_memory_is_none);
    suite_add_tcase(s, t);
    return s;
}
