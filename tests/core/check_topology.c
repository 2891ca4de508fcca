/* Binding devices to gateways through the API. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

static char seen[400];

static void setup(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 4);
}

static int add_sub(void *user, struct tpc_device *device, struct tpc_str address)
{
    struct tpc_device_info info;
    (void) user;
    tk_ok(tpc_device_info(device, &info));
    size_t at = strlen(seen);
    snprintf(seen + at, sizeof(seen) - at, "%.*s=%.*s ", (int) address.len, address.ptr,
             (int) info.key.len, info.key.ptr);
    return 0;
}

static const char *subs(struct tpc_device *gateway)
{
    seen[0] = 0;
    tk_ok(tpc_topology_list(gateway, add_sub, NULL));
    return seen;
}

START_TEST(a_device_is_bound_found_listed_and_unbound)
{
    struct flow f;
    struct tpc_topology where;
    struct tpc_device *d[4], *found;
    char key[8];
    setup(&f);
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof(key), "t%d", i + 1);
        d[i] = flow_device(&f, key);
    }
    tk_ok(tpc_topology_bind(f.core, NULL, d[1], d[0], TPC_STR("b"), 0));
    tk_ok(tpc_topology_bind(f.core, NULL, d[1], d[0], TPC_STR("b"), 0)); /* again: as it is */
    tk_ok(tpc_topology_bind(f.core, NULL, d[2], d[0], TPC_STR("a"), 0));
    tk_ok(tpc_topology_bind(f.core, NULL, d[3], d[2], TPC_STR(""), 0));
    ck_assert_str_eq(subs(d[0]), "a=t3 b=t2 ");
    ck_assert_str_eq(subs(d[2]), "t4=t4 ");
    ck_assert_str_eq(subs(d[3]), "");
    tk_ok(tpc_topology_find(d[0], TPC_STR("a"), &found));
    ck_assert_ptr_eq(found, d[2]);
    tpc_device_unref(found);
    tk_fails(TPC_ENOENT, tpc_topology_find(d[0], TPC_STR("t4"), &found));
    tk_ok(tpc_topology_get(d[3], &where));
    ck_assert_uint_eq(where.level, 2);
    ck_assert_str_eq(where.address, "t4");
    ck_assert_ptr_eq(where.gateway, d[2]);
    tpc_device_unref(where.gateway);
    tk_ok(tpc_topology_get(d[0], &where));
    ck_assert_uint_eq(where.subs, 2);
    ck_assert_ptr_null(where.gateway);
    tk_ok(tpc_topology_unbind(f.core, NULL, d[2]));
    tk_fails(TPC_ESTATE, tpc_topology_unbind(f.core, NULL, d[2]));
    ck_assert_str_eq(subs(d[0]), "b=t2 ");
    ck_assert_str_eq(subs(d[2]), "t4=t4 ");
    for (int i = 0; i < 4; i++) {
        tpc_device_unref(d[i]);
    }
    flow_fini(&f);
}
END_TEST

START_TEST(a_bound_device_goes_elsewhere_only_when_told_to_move)
{
    struct flow f;
    struct tpc_device *a, *b, *c, *other;
    setup(&f);
    a = flow_device(&f, "t1"), b = flow_device(&f, "t2"), c = flow_device(&f, "t3");
    tk_ok(tpc_topology_bind(f.core, NULL, a, b, TPC_STR("1"), 0));
    tk_fails(TPC_EEXIST, tpc_topology_bind(f.core, NULL, a, c, TPC_STR("1"), 0));
    ck_assert_str_eq(tpc_error_last()->path, "gateway");
    tk_fails(TPC_EEXIST, tpc_topology_bind(f.core, NULL, c, b, TPC_STR("1"), 0));
    ck_assert_str_eq(tpc_error_last()->path, "address");
    tk_fails(TPC_EINVAL, tpc_topology_bind(f.core, NULL, b, a, TPC_STR("1"), TPC_BIND_MOVE));
    ck_assert_str_eq(tpc_error_last()->text, "cycle: \"t2\" would stand behind itself");
    tk_ok(tpc_topology_bind(f.core, NULL, a, c, TPC_STR("1"), TPC_BIND_MOVE));
    ck_assert_str_eq(subs(b), "");
    ck_assert_str_eq(subs(c), "1=t1 ");
    tk_fails(TPC_ESTATE,
             tpc_entity_delete(f.core, NULL, TPC_STR(""), "device", TPC_STR("t3"), TPC_ANY_REV));
    tk_ok(tpc_entity_put(f.core, NULL, "tenant", TPC_STR("{\"key\":\"b\"}"), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "product",
                         TPC_STR("{\"key\":\"p\",\"tenant\":\"b\",\"model\":{}}"), TPC_ANY_REV,
                         NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device",
                         TPC_STR("{\"key\":\"x\",\"tenant\":\"b\",\"product\":\"p\"}"), TPC_ANY_REV,
                         NULL));
    tk_ok(tpc_device_open_in(f.core, TPC_STR("b"), TPC_STR("x"), &other));
    tk_fails(TPC_EINVAL, tpc_topology_bind(f.core, NULL, other, c, TPC_STR("9"), 0));
    tpc_device_unref(other);
    tpc_device_unref(a);
    tpc_device_unref(b);
    tpc_device_unref(c);
    flow_fini(&f);
}
END_TEST

Suite *topology_flow_suite(void)
{
    Suite *s = suite_create("topology");
    TCase *tc = tcase_create("topology");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_device_is_bound_found_listed_and_unbound);
    tcase_add_test(tc, a_bound_device_goes_elsewhere_only_when_told_to_move);
    suite_add_tcase(s, tc);
    return s;
}
