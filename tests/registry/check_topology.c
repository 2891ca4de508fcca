/* Devices behind gateways: what may stand where, what a look-up finds, what a restart brings back. */
#include "registry/topology.h"

#include <stdio.h>
#include <string.h>

#include "registry_suites.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

static const struct tpc_codec_ops json_codec = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                 .name = "json" };
static struct tk_env env;
static void *store;
static struct tpi_registry *registry;
static struct tpi_entities *entities;
static struct tpc_error err;
static const struct tpc_value no_options = { .type = TPC_MAP };

static int codec_find(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    (void) user;
    (void) name;
    *ret_ops = &json_codec;
    *ret_self = NULL;
    return 0;
}

static int start_with(const struct tpi_env *e, void *s)
{
    struct tpi_registry_host host = { .user = &env, .partitions = 16, .codec_find = codec_find };
    int rc = tpi_registry_create(e, &host, &err, &registry);
    if (rc != 0) {
        return rc;
    }
    rc = tpi_entities_create(e, &tpi_store_memory, s, &err, &entities);
    for (uint32_t i = 0; rc == 0 && i < TPI_REGISTRY_KINDS; i++) {
        rc = tpi_entities_add_kind(entities, &tpi_registry_kinds(registry)[i], &err);
    }
    return rc != 0 ? rc : tpi_entities_load(entities, &err);
}

static void stop(void)
{
    tpi_entities_destroy(entities);
    tpi_registry_destroy(registry);
    entities = NULL;
    registry = NULL;
}

static void restart(void)
{
    stop();
    tk_ok(start_with(&env.env, store));
}

static int put_json(const char *kind, const char *json)
{
    memset(&err, 0, sizeof(err));
    return tpi_entities_put(entities, NULL, kind, tpc_str_from(json), TPC_ANY_REV, &err, NULL);
}

static int put_in(const char *tenant, const char *key, const char *gateway, const char *address)
{
    char json[600];
    int n = snprintf(json, sizeof(json), "{\"key\":\"%s\",\"tenant\":\"%s\",\"product\":\"p\"", key,
                     tenant);
    if (gateway[0] != 0) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, ",\"gateway\":\"%s\"", gateway);
    }
    if (address[0] != 0) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, ",\"address\":\"%s\"", address);
    }
    snprintf(json + n, sizeof(json) - (size_t) n, "}");
    return put_json("device", json);
}

static int put(const char *key, const char *gateway, const char *address)
{
    return put_in("main", key, gateway, address);
}

static int del(const char *key)
{
    memset(&err, 0, sizeof(err));
    return tpi_entities_delete(entities, NULL, TPC_STR(""), "device", tpc_str_from(key),
                               TPC_ANY_REV, &err);
}

static void setup(void)
{
    tk_env_init(&env);
    store = store_open(&tpi_store_memory, &no_options);
    tk_ok(start_with(&env.env, store));
    tk_ok(put_json("product", "{\"key\":\"p\",\"model\":{}}"));
}

static void teardown(void)
{
    stop();
    store_close(&tpi_store_memory, store);
    tk_env_fini(&env);
}

static struct tpc_device *find(const char *key)
{
    return tpi_registry_find(registry, TPC_STR(""), tpc_str_from(key));
}

static const char *behind(const char *gateway, const char *address)
{
    const struct tpc_device *d =
        tpi_topology_find(registry, find(gateway)->id, tpc_str_from(address));
    return d != NULL ? d->key.ptr : "";
}

static int count_sub(void *user, struct tpc_device *device, struct tpc_str address)
{
    (void) device;
    (void) address;
    ++*(int *) user;
    return 0;
}

static int subs_of(const char *gateway)
{
    int n = 0;
    tk_ok(tpi_topology_each(registry, find(gateway)->id, count_sub, &n));
    ck_assert_int_eq(n, (int) find(gateway)->children);
    return n;
}

START_TEST(an_address_finds_its_device_behind_its_own_gateway_only)
{
    tk_ok(put("g1", "", ""));
    tk_ok(put("g2", "", ""));
    tk_ok(put("a", "g1", "7"));
    tk_ok(put("b", "g2", "7"));
    tk_ok(put("c", "g1", ""));
    for (int round = 0; round < 2; round++) {
        ck_assert_str_eq(behind("g1", "7"), "a");
        ck_assert_str_eq(behind("g2", "7"), "b");
        ck_assert_str_eq(behind("g1", "c"), "c"); /* its key */
        ck_assert_str_eq(behind("g2", "c"), "");
        ck_assert_str_eq(behind("g1", ""), "");
        ck_assert_int_eq(subs_of("g1"), 2);
        ck_assert_int_eq(subs_of("g2"), 1);
        restart();
    }
    tk_fails(TPC_EEXIST, put("d", "g1", "7"));
    ck_assert_str_eq(err.path, "address");
    tk_fails(TPC_EEXIST, put("d", "g1", "c"));
    ck_assert_ptr_null(find("d"));
    tk_fails(TPC_ESTATE, del("g1"));
}
END_TEST

START_TEST(a_device_goes_to_another_gateway_and_away)
{
    tk_ok(put("g1", "", ""));
    tk_ok(put("g2", "", ""));
    tk_ok(put("a", "g1", "1"));
    tk_ok(put("a", "g1", "2")); /* another address */
    ck_assert_str_eq(behind("g1", "1"), "");
    ck_assert_str_eq(behind("g1", "2"), "a");
    tk_ok(put("a", "g2", "2"));
    ck_assert_str_eq(behind("g1", "2"), "");
    ck_assert_str_eq(behind("g2", "2"), "a");
    ck_assert_ptr_eq(find("a")->gateway, find("g2"));
    ck_assert_int_eq(subs_of("g1"), 0);
    tk_ok(del("g1"));
    tk_ok(put("a", "", ""));
    ck_assert_ptr_null(find("a")->gateway);
    ck_assert_int_eq(subs_of("g2"), 0);
    tk_ok(del("g2"));
    tk_ok(del("a"));
}
END_TEST

START_TEST(the_partition_stays_wherever_a_device_goes)
{
    uint32_t home[3];
    char key[8];
    tk_ok(put("g0", "", ""));
    for (int i = 1; i < 30; i++) { /* one at least has another partition */
        snprintf(key, sizeof(key), "g%d", i);
        tk_ok(put(key, "", ""));
        if (find(key)->partition != find("g0")->partition) {
            break;
        }
    }
    tk_ok(put("a", "g0", "")); /* born there */
    tk_ok(put("a-leaf", "a", ""));
    tk_ok(put("b", "", ""));
    home[0] = find("a")->partition;
    home[1] = find("a-leaf")->partition;
    home[2] = find("b")->partition;
    ck_assert_uint_eq(home[0], find("g0")->partition);
    ck_assert_uint_eq(home[1], home[0]);
    const char *const places[][2] = { { key, key }, { "", "g0" }, { key, "" }, { "g0", "a" } };
    for (int i = 0; i < 4; i++) {
        tk_ok(put("a", places[i][0], ""));
        tk_ok(put("b", places[i][1], ""));
        for (int round = 0; round < 2; round++) {
            ck_assert_uint_eq(find("a")->partition, home[0]);
            ck_assert_uint_eq(find("a-leaf")->partition, home[1]);
            ck_assert_uint_eq(find("b")->partition, home[2]);
            restart();
        }
    }
    uint64_t metas = 0;
    tk_ok(put("a", "", ""));
    tk_ok(put("b", "", ""));
    tk_ok(del("a-leaf"));
    tk_ok(del("a"));
    tk_ok(tpi_store_memory.count(store, TPC_SPACE_META, TPC_STR("home"), &metas));
    ck_assert_uint_eq(metas, 0); /* nothing is left of what was stored beside them */
}
END_TEST

START_TEST(nothing_stands_behind_itself)
{
    tk_ok(put("a", "", ""));
    tk_fails(TPC_EINVAL, put("a", "a", ""));
    ck_assert_str_eq(err.path, "gateway");
    ck_assert_str_eq(err.text, "cycle: \"a\" would stand behind itself");
    tk_ok(put("b", "a", ""));
    tk_ok(put("c", "b", ""));
    tk_fails(TPC_EINVAL, put("a", "c", ""));
    ck_assert_str_eq(err.text, "cycle: \"a\" would stand behind itself");
    ck_assert_ptr_null(find("a")->gateway);
    restart();
    ck_assert_ptr_eq(find("c")->gateway->gateway, find("a"));
}
END_TEST

START_TEST(changes_of_one_batch_make_no_cycle_and_no_double_address)
{
    static const struct tpc_member a[] = {
        { TPC_STR_INIT("key"), { TPC_TEXT, 0, 1, { .text = "a" } } },
        { TPC_STR_INIT("gateway"), { TPC_TEXT, 0, 1, { .text = "b" } } }
    };
    static const struct tpc_member b[] = {
        { TPC_STR_INIT("key"), { TPC_TEXT, 0, 1, { .text = "b" } } },
        { TPC_STR_INIT("gateway"), { TPC_TEXT, 0, 1, { .text = "a" } } }
    };
    static const struct tpc_member c[] = {
        { TPC_STR_INIT("key"), { TPC_TEXT, 0, 1, { .text = "c" } } },
        { TPC_STR_INIT("gateway"), { TPC_TEXT, 0, 1, { .text = "b" } } },
        { TPC_STR_INIT("address"), { TPC_TEXT, 0, 1, { .text = "a" } } }
    };
    struct tpc_value docs[] = { { TPC_MAP, 0, 2, { .members = a } },
                                { TPC_MAP, 0, 2, { .members = b } },
                                { TPC_MAP, 0, 3, { .members = c } } };
    struct tpi_put puts[3];
    struct tpi_put_batch batch = { .kind = "device", .puts = puts, .count = 3 };
    tk_ok(put("a", "", ""));
    tk_ok(put("b", "", ""));
    tk_ok(put("c", "", ""));
    tk_ok(tpc_arena_create(&env.alloc.base, 0, &batch.arena));
    for (int dry = 1; dry >= 0; dry--) {
        for (int i = 0; i < 3; i++) {
            puts[i] = (struct tpi_put){ .doc = &docs[i], .flags = TPI_PUT_PATCH | TPI_PUT_UPDATE };
        }
        batch.dry = dry == 1;
        tk_ok(tpi_entities_put_batch(entities, &batch, &err));
        ck_assert_int_eq(puts[0].code, 0);
        ck_assert_int_eq(puts[1].code, TPC_EINVAL);
        ck_assert_int_eq(puts[2].code, TPC_EEXIST);
        ck_assert_str_eq(behind("b", "a"), dry ? "" : "a");
    }
    tpc_arena_destroy(batch.arena);
}
END_TEST

START_TEST(five_levels_of_sub_gateways_and_no_more)
{
    char key[8] = "d0", above[8];
    tk_ok(put("d0", "", ""));
    for (int i = 1; i <= 7; i++) {
        memcpy(above, key, sizeof(key));
        snprintf(key, sizeof(key), "d%d", i);
        tk_fails(i < 7 ? 0 : TPC_ETOOBIG, put(key, above, ""));
    }
    ck_assert_uint_eq(tpi_topology_level(find("d6")), 6);
    /* With all that stands behind it, it would be too deep. */
    tk_ok(put("top", "", ""));
    tk_fails(TPC_ETOOBIG, put("d0", "top", ""));
    ck_assert_str_eq(err.path, "gateway");
    tk_ok(put("d1", "top", ""));
    restart();
    ck_assert_uint_eq(tpi_topology_level(find("d6")), 6);
}
END_TEST

START_TEST(a_gateway_of_another_tenant_is_not_there)
{
    tk_ok(put_json("tenant", "{\"key\":\"b\"}"));
    tk_ok(put_json("product", "{\"key\":\"p\",\"tenant\":\"b\",\"model\":{}}"));
    tk_ok(put("g", "", ""));
    tk_fails(TPC_ENOENT, put_in("b", "a", "g", "1"));
    ck_assert_str_eq(err.path, "gateway");
    tk_ok(put_in("b", "g", "", ""));
    tk_ok(put_in("b", "a", "g", "1"));
    ck_assert_str_eq(behind("g", "1"), "");
    ck_assert_int_eq(subs_of("g"), 0);
    restart();
    ck_assert_str_eq(behind("g", "1"), "");
}
END_TEST

START_TEST(a_bound_device_takes_at_most_400_bytes)
{
    char key[16], address[16];
    tk_ok(put("g", "", ""));
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "device-%04d", i);
        tk_ok(put(key, "", ""));
    }
    size_t before = env.alloc.live_bytes;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "device-%04d", i);
        snprintf(address, sizeof(address), "addr-%04d", i);
        tk_ok(put(key, "g", address));
    }
    /* What the store keeps of the documents is in its own memory. */
    size_t each = (env.alloc.live_bytes - before) / 1000;
    ck_assert_msg(each <= 400, "%zu bytes", each);
    size_t count = env.alloc.count;
    for (int i = 0; i < 1000; i++) {
        snprintf(address, sizeof(address), "addr-%04d", i);
        snprintf(key, sizeof(key), "device-%04d", i);
        ck_assert_str_eq(behind("g", address), key);
    }
    ck_assert_uint_eq(env.alloc.count, count);
}
END_TEST

static int use_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpi_env poor = env.env;
    void *own = store_open(&tpi_store_memory, &no_options);
    (void) user;
    poor.alloc = a;
    int rc = start_with(&poor, own);
    rc = rc != 0 ? rc : put_json("product", "{\"key\":\"p\",\"model\":{}}");
    rc = rc != 0 ? rc : put("g1", "", "");
    rc = rc != 0 ? rc : put("g2", "", "");
    rc = rc != 0 ? rc : put("a", "g1", "1");
    rc = rc != 0 ? rc : put("b", "", "");
    rc = rc != 0 ? rc : put("b", "g1", "2");
    rc = rc != 0 ? rc : put("a", "g2", "1");
    rc = rc != 0 ? rc : put("b", "", "");
    if (rc == 0) {
        ck_assert_str_eq(behind("g2", "1"), "a");
    }
    stop();
    if (rc == 0) {
        rc = start_with(&poor, own);
        stop();
    }
    store_close(&tpi_store_memory, own);
    return rc;
}

START_TEST(without_memory_the_topology_stays_whole)
{
    stop();
    ck_assert_uint_gt(tk_each_alloc_fails(use_without_memory, NULL), 30);
    tk_ok(start_with(&env.env, store));
}
END_TEST

Suite *topology_suite(void)
{
    Suite *s = suite_create("topology");
    TCase *tc = tcase_create("topology");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, an_address_finds_its_device_behind_its_own_gateway_only);
    tcase_add_test(tc, a_device_goes_to_another_gateway_and_away);
    tcase_add_test(tc, the_partition_stays_wherever_a_device_goes);
    tcase_add_test(tc, nothing_stands_behind_itself);
    tcase_add_test(tc, changes_of_one_batch_make_no_cycle_and_no_double_address);
    tcase_add_test(tc, five_levels_of_sub_gateways_and_no_more);
    tcase_add_test(tc, a_gateway_of_another_tenant_is_not_there);
    tcase_add_test(tc, a_bound_device_takes_at_most_400_bytes);
    tcase_add_test(tc, without_memory_the_topology_stays_whole);
    suite_add_tcase(s, tc);
    return s;
}
