/* Devices and their names. */
#include "devices.h"

#include <string.h>
#include <tpcore/json.h>

#include "tb_suites.h"

static struct tb_devices d;

static void begin(void)
{
    tb_devices_init(&d, tpc_allocator_default(), 3);
}

static void end(void)
{
    tb_devices_fini(&d);
}

static void is(struct tpc_str text, const char *want)
{
    ck_assert_msg(tpc_str_equal(text, tpc_str_from(want)), "%.*s is not %s", (int) text.len,
                  text.ptr, want);
}

START_TEST(renamed_device_is_known_by_its_new_name_only)
{
    struct tb_device *a;
    tk_ok(tb_devices_put(&d, TPC_STR("a"), &a));
    struct tpc_str before = a->name;
    tk_ok(tb_devices_rename(&d, TPC_STR("a"), TPC_STR("b")));
    is(a->name, "b");
    is(before, "a"); /* a view that was taken stays good */
    is(tb_devices_key(&d, TPC_STR("b")), "a");
    is(tb_devices_key(&d, TPC_STR("zz")), "zz");
    before = a->name;
    tk_ok(tb_devices_rename(&d, TPC_STR("b"), TPC_STR("c")));
    is(tb_devices_key(&d, TPC_STR("c")), "a");
    is(tb_devices_key(&d, TPC_STR("b")), "b");
    is(before, "b");
    tk_ok(tb_devices_rename(&d, TPC_STR("c"), TPC_STR("a")));
    is(a->name, "a");
    ck_assert_int_eq(tb_devices_rename(&d, TPC_STR("a"), TPC_STR("")), TPC_EINVAL);
}
END_TEST

START_TEST(deleted_device_loses_its_name_and_may_stay_away)
{
    struct tb_device *a;
    tk_ok(tb_devices_put(&d, TPC_STR("a"), &a));
    a->online = true;
    tk_ok(tb_devices_rename(&d, TPC_STR("a"), TPC_STR("b")));
    tk_ok(tb_devices_delete(&d, TPC_STR("b"), false));
    is(a->name, "a");
    ck_assert(!a->deleted && !a->online);
    tk_ok(tb_devices_delete(&d, TPC_STR("a"), true));
    ck_assert(a->deleted);
    tk_ok(tb_devices_delete(&d, TPC_STR("unknown"), false));
    ck_assert_uint_eq(d.count, 1);
}
END_TEST

START_TEST(no_more_devices_than_the_limit)
{
    struct tb_device *x;
    tk_ok(tb_devices_put(&d, TPC_STR("1"), &x));
    tk_ok(tb_devices_put(&d, TPC_STR("2"), &x));
    tk_ok(tb_devices_put(&d, TPC_STR("3"), &x));
    ck_assert_int_eq(tb_devices_put(&d, TPC_STR("4"), &x), TPC_EAGAIN);
    tk_ok(tb_devices_put(&d, TPC_STR("3"), &x));
}
END_TEST

START_TEST(names_and_deletions_survive_being_written)
{
    struct tb_devices other;
    struct tb_device *x;
    struct tpi_buf b;
    struct tpc_arena *arena;
    struct tpc_value doc;
    d.max = 10;
    tk_ok(tb_devices_rename(&d, TPC_STR("a\"1"), TPC_STR("new")));
    tk_ok(tb_devices_delete(&d, TPC_STR("gone"), true));
    /* One has the old name of another, and the first of all is called as the one that is gone. */
    tk_ok(tb_devices_put(&d, TPC_STR("k1"), &x));
    tk_ok(tb_devices_put(&d, TPC_STR("k2"), &x));
    tk_ok(tb_devices_rename(&d, TPC_STR("k2"), TPC_STR("k3")));
    tk_ok(tb_devices_rename(&d, TPC_STR("k1"), TPC_STR("k2")));
    tk_ok(tb_devices_rename(&d, TPC_STR("new"), TPC_STR("gone")));
    tpi_buf_init(&b, NULL, 0);
    tk_ok(tpi_buf_put(&b, "{", 1));
    tk_ok(tb_devices_save(&d, &b));
    tk_ok(tpi_buf_put(&b, "}", 1));
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, (struct tpc_str){ (const char *) b.ptr, b.len }, 0, NULL, &doc));
    tb_devices_init(&other, tpc_allocator_default(), 10);
    tk_ok(tb_devices_load(&other, &doc));
    is(tb_devices_key(&other, TPC_STR("gone")), "a\"1");
    is(tb_devices_key(&other, TPC_STR("k2")), "k1");
    is(tb_devices_key(&other, TPC_STR("k3")), "k2");
    ck_assert(!tb_devices_get(&other, TPC_STR("a\"1"))->deleted);
    ck_assert(tb_devices_get(&other, TPC_STR("gone"))->deleted);
    tb_devices_fini(&other);
    tpc_arena_destroy(arena);
    tpi_buf_fini(&b);
}
END_TEST

static int whole(const struct tpc_allocator *a, void *user)
{
    struct tb_devices all;
    struct tb_device *x;
    (void) user;
    tb_devices_init(&all, a, 10);
    int rc = tb_devices_put(&all, TPC_STR("a"), &x);
    rc = rc != 0 ? rc : tb_devices_rename(&all, TPC_STR("a"), TPC_STR("b"));
    rc = rc != 0 ? rc : tb_devices_rename(&all, TPC_STR("x"), TPC_STR("b"));
    rc = rc != 0 ? rc : tb_devices_delete(&all, TPC_STR("y"), true);
    tb_devices_fini(&all);
    return rc;
}

START_TEST(without_memory_nothing_is_lost)
{
    tk_each_alloc_fails(whole, NULL);
}
END_TEST

Suite *devices_suite(void)
{
    Suite *s = suite_create("devices");
    TCase *c = tcase_create("devices");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, renamed_device_is_known_by_its_new_name_only);
    tcase_add_test(c, deleted_device_loses_its_name_and_may_stay_away);
    tcase_add_test(c, no_more_devices_than_the_limit);
    tcase_add_test(c, names_and_deletions_survive_being_written);
    tcase_add_test(c, without_memory_nothing_is_lost);
    suite_add_tcase(s, c);
    return s;
}
