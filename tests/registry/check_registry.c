#include "registry/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tpcore/json.h>

#include "base/buf.h"
#include "bus/topic.h"
#include "registry/device.h"
#include "registry_suites.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

/* ---- a codec that counts its programs ---- */

static int programs;

static int codec_compile(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                         void **ret_program)
{
    ck_assert_ptr_eq(self, &programs);
    if (tpc_value_get(&source->config, TPC_STR("broken")) != NULL) {
        err->code = TPC_ESCRIPT;
        return TPC_ESCRIPT;
    }
    programs++;
    *ret_program = &programs;
    return 0;
}

static void codec_release(void *self, void *program)
{
    ck_assert_ptr_eq(self, program);
    programs--;
}

static const struct tpc_codec_ops test_codec = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                 .name = "test",
                                                 .compile = codec_compile,
                                                 .release = codec_release };
static const struct tpc_codec_ops json_codec = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                 .name = "json" };

static int codec_find(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    (void) user;
    bool json = tpc_str_equal(name, TPC_STR("json")) != 0;
    if (!json && tpc_str_equal(name, TPC_STR("test")) == 0) {
        return TPC_ENOENT;
    }
    *ret_ops = json ? &json_codec : &test_codec;
    *ret_self = json ? NULL : &programs;
    return 0;
}

static int gone; /* devices that went */

static void device_gone(void *user, struct tpc_device *device)
{
    (void) user;
    (void) device;
    gone++;
}

/* ---- the platform of the tests ---- */

static struct tk_env env;
static void *store;
static struct tpi_registry *registry;
static struct tpi_entities *entities;
static struct tpc_error err;
static const struct tpc_value no_options = { .type = TPC_MAP };
static const struct tpc_str none = { "", 0 };

static int start_with(const struct tpi_env *e, void *s)
{
    struct tpi_registry_host host = {
        .user = &env, .partitions = 16, .codec_find = codec_find, .device_gone = device_gone
    };
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

static void setup(void)
{
    tk_env_init(&env);
    gone = 0;
    programs = 0;
    store = store_open(&tpi_store_memory, &no_options);
    tk_ok(start_with(&env.env, store));
}

static void teardown(void)
{
    stop();
    ck_assert_int_eq(programs, 0);
    store_close(&tpi_store_memory, store);
    tk_env_fini(&env);
}

static int put(const char *kind, const char *json)
{
    memset(&err, 0, sizeof(err));
    return tpi_entities_put(entities, NULL, kind, tpc_str_from(json), TPC_ANY_REV, &err, NULL);
}

static int del(const char *kind, const char *key)
{
    memset(&err, 0, sizeof(err));
    return tpi_entities_delete(entities, NULL, none, kind, tpc_str_from(key), TPC_ANY_REV, &err);
}

static const char thermo[] = TPC_JSON({ "key" : "thermo",
               "codec" : "test",
               "model" : { "properties" : [
                   { "id" : "t", "type" : "double" }, { "id" : "name", "type" : "text" },
                   { "id" : "pos",
                     "type" : "struct",
                     "fields" : [ { "id" : "x", "type" : "int" }, { "id" : "s", "type" : "text" } ] },
                   { "id" : "list", "type" : "array", "items" : { "type" : "text" } },
                   { "id" : "on", "type" : "bool" }, { "id" : "n", "type" : "int" }
               ] } });

static void put_thermo(void)
{
    tk_ok(put("product", thermo));
}

static void put_device(const char *key)
{
    char json[200];
    snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"thermo\"}", key);
    tk_ok(put("device", json));
}

static struct tpc_device *find(const char *key)
{
    return tpi_registry_find(registry, none, tpc_str_from(key));
}

static void expect_text(struct tpc_str s, const char *text)
{
    ck_assert_msg(tpc_str_equal(s, tpc_str_from(text)) != 0, "\"%.*s\" is not \"%s\"", (int) s.len,
                  s.ptr, text);
}

static void expect_topic(const struct tpc_device *d, const char *text)
{
    struct tpi_buf topic;
    tpi_buf_init(&topic, NULL, 0);
    tk_ok(tpi_topic_device(&topic, tpi_device_tenant(d), false, tpi_device_product_key(d), d->key));
    expect_text((struct tpc_str){ (const char *) topic.ptr, topic.len }, text);
    tpi_buf_fini(&topic);
}

/* ---- products and devices ---- */

START_TEST(a_device_is_found_by_key_and_number)
{
    put_thermo();
    put_device("t1");
    tpi_registry_read_lock(registry);
    struct tpc_device *d = find("t1");
    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_eq(tpi_registry_find(registry, TPC_STR("main"), TPC_STR("t1")), d);
    ck_assert_ptr_eq(tpi_registry_by_id(registry, d->id), d);
    ck_assert_ptr_eq(tpi_registry_find_in(registry, d->tenant->id, TPC_STR("t1")), d);
    ck_assert_ptr_null(find("t2"));
    ck_assert_ptr_null(find(""));
    ck_assert_ptr_null(tpi_registry_find(registry, TPC_STR("acme"), TPC_STR("t1")));
    ck_assert_ptr_null(tpi_registry_by_id(registry, d->id + 1));
    expect_text(d->key, "t1");
    expect_text(tpi_device_tenant(d), "main");
    expect_text(tpi_device_product_key(d), "thermo");
    expect_topic(d, "main/up/thermo/t1/");
    ck_assert_uint_eq(tpi_device_root(d), d->id);
    ck_assert_uint_lt(d->partition, 16);
    ck_assert_uint_eq(d->partition, tpi_registry_partition(registry, d->id));
    ck_assert_ptr_eq(d->product, tpi_registry_product(registry, none, TPC_STR("thermo")));
    ck_assert_ptr_eq(d->product->codec, &test_codec);
    ck_assert_ptr_eq(tpi_device_owner(d), &env);
    ck_assert_uint_eq(tpi_model_property_count(d->product->model), 6);
    tpi_registry_read_unlock(registry);
}
END_TEST

START_TEST(odd_keys_are_escaped_in_the_topic_only)
{
    put_thermo();
    put_device("a/b+#%");
    struct tpc_device *d = find("a/b+#%");
    ck_assert_ptr_nonnull(d);
    expect_text(d->key, "a/b+#%");
    expect_topic(d, "main/up/thermo/a%2Fb%2B%23%25/");
}
END_TEST

START_TEST(references_to_what_is_not_there_are_refused)
{
    put_thermo();
    tk_fails(TPC_ENOENT, put("device", "{\"key\":\"t1\",\"product\":\"other\"}"));
    ck_assert_str_eq(err.path, "product");
    tk_fails(TPC_ENOENT,
             put("device", "{\"key\":\"t1\",\"product\":\"thermo\",\"gateway\":\"g\"}"));
    ck_assert_str_eq(err.path, "gateway");
    tk_fails(TPC_EINVAL, put("device", "{\"key\":\"t1\"}"));
    ck_assert_str_eq(err.path, "product");
    tk_fails(TPC_ENOENT, put("product", "{\"key\":\"p\",\"model\":{},\"codec\":\"morse\"}"));
    ck_assert_str_eq(err.path, "codec");
    tk_fails(TPC_EINVAL, put("product", "{\"key\":\"p\",\"model\":{},\"codec\":{\"x\":1}}"));
    ck_assert_str_eq(err.path, "codec");
    tk_fails(
        TPC_ESCRIPT,
        put("product", "{\"key\":\"p\",\"model\":{},\"codec\":{\"type\":\"test\",\"broken\":1}}"));
    ck_assert_str_eq(err.path, "codec");
    tk_fails(TPC_EINVAL, put("product", "{\"key\":\"p\"}"));
    ck_assert_str_eq(err.path, "model");
    tk_fails(TPC_EMODEL,
             put("product", "{\"key\":\"p\",\"model\":{\"properties\":[{\"id\":\"a\"}]}}"));
    ck_assert_str_eq(err.path, "model.properties[0].type");
    ck_assert_ptr_null(tpi_registry_product(registry, none, TPC_STR("p")));
    ck_assert_ptr_null(find("t1"));
    tk_ok(put("product", "{\"key\":\"p\",\"model\":{}}"));
    ck_assert_ptr_eq(tpi_registry_product(registry, none, TPC_STR("p"))->codec, &json_codec);
}
END_TEST

START_TEST(a_product_with_devices_stays)
{
    put_thermo();
    put_device("t1");
    tk_fails(TPC_ESTATE, del("product", "thermo"));
    tk_ok(del("device", "t1"));
    tk_ok(del("product", "thermo"));
    ck_assert_ptr_null(tpi_registry_product(registry, none, TPC_STR("thermo")));
    put_thermo();
    put_device("t1");
}
END_TEST

START_TEST(a_deleted_device_stays_valid_until_its_last_handle_goes)
{
    struct tpc_device *d;
    struct tpc_device_info info;
    put_thermo();
    put_device("t1");
    tk_ok(tpi_registry_open(registry, none, TPC_STR("t1"), &err, &d));
    tk_ok(del("device", "t1"));
    ck_assert_int_eq(gone, 0);
    ck_assert(atomic_load(&d->deleted));
    ck_assert_ptr_null(find("t1"));
    tpi_device_info(d, &info);
    expect_text(info.key, "t1");
    expect_text(info.product, "thermo");
    uint64_t id = d->id;
    put_device("t1");
    ck_assert_uint_gt(find("t1")->id, id);
    tpi_device_unref(d);
    ck_assert_int_eq(gone, 1);
    tk_fails(TPC_ENOENT, tpi_registry_open(registry, none, TPC_STR("t2"), &err, &d));
    tk_fails(TPC_ENOENT, tpi_registry_open(registry, TPC_STR("x"), TPC_STR("t1"), &err, &d));
    ck_assert_ptr_nonnull(strstr(err.text, "tenant"));
    tk_ok(tpi_registry_open(registry, none, TPC_STR("t1"), &err, &d));
    tk_ok(del("device", "t1")); /* the handle is still held: destroy frees it all the same */
}
END_TEST

START_TEST(a_device_moves_to_another_product_with_a_new_topic)
{
    put_thermo();
    tk_ok(put("product",
              "{\"key\":\"fan\",\"model\":{\"properties\":[{\"id\":\"t\",\"type\":\"double\"}]}}"));
    put_device("t1");
    struct tpc_device *d = find("t1");
    struct tpc_value v = { TPC_DOUBLE, 0, 0, { .d = 20 } };
    struct tpc_str before = tpi_device_product_key(d);
    tk_ok(tpi_device_latest_set(d, 0, &v, 1));
    tk_ok(put("device", "{\"key\":\"t1\",\"product\":\"fan\"}"));
    ck_assert_ptr_eq(find("t1"), d);
    expect_topic(d, "main/up/fan/t1/");
    expect_text(d->key, "t1");
    expect_text(before, "thermo");
    tk_fails(TPC_ENOENT, tpi_device_latest_peek(d, 0, &v, NULL));
    tk_ok(del("product", "thermo"));
    tk_fails(TPC_ESTATE, del("product", "fan"));
}
END_TEST

START_TEST(devices_behind_a_gateway_share_its_partition)
{
    put_thermo();
    put_device("z-gw");
    tk_ok(put("device", "{\"key\":\"m-sub\",\"product\":\"thermo\",\"gateway\":\"z-gw\"}"));
    tk_ok(put("device", "{\"key\":\"a-leaf\",\"product\":\"thermo\",\"gateway\":\"m-sub\"}"));
    for (int round = 0; round < 2; round++) {
        struct tpc_device *gw = find("z-gw"), *leaf = find("a-leaf");
        ck_assert_uint_eq(tpi_device_root(leaf), gw->id);
        ck_assert_uint_eq(leaf->partition, gw->partition);
        ck_assert_ptr_eq(leaf->gateway->gateway, gw);
        tk_fails(TPC_ESTATE, del("device", "z-gw"));
        tk_fails(TPC_EINVAL,
                 put("device", "{\"key\":\"z-gw\",\"product\":\"thermo\",\"gateway\":\"a-leaf\"}"));
        tk_ok(put("device", "{\"key\":\"a-leaf\",\"product\":\"thermo\",\"gateway\":\"m-sub\"}"));
        restart(); /* reads a-leaf before its gateway */
    }
    tk_ok(del("device", "a-leaf"));
    tk_ok(del("device", "m-sub"));
    tk_ok(del("device", "z-gw"));
}
END_TEST

START_TEST(gateways_stand_at_most_seven_deep)
{
    put_thermo();
    put_device("d0");
    for (int i = 1; i <= 7; i++) {
        char json[100];
        snprintf(json, sizeof(json), "{\"key\":\"d%d\",\"product\":\"thermo\",\"gateway\":\"d%d\"}",
                 i, i - 1);
        tk_fails(i < 7 ? 0 : TPC_ETOOBIG, put("device", json));
    }
}
END_TEST

static int count_device(void *user, struct tpc_device *device)
{
    (void) device;
    ++*(int *) user;
    return 0;
}

static int count_product(void *user, struct tpi_product *product)
{
    (void) product;
    ++*(int *) user;
    return 0;
}

START_TEST(a_restart_brings_back_the_same)
{
    uint64_t ids[50];
    char key[16];
    put_thermo();
    tk_ok(put("product", thermo)); /* revision 2 */
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "t%d", i);
        put_device(key);
        ids[i] = find(key)->id;
    }
    for (int i = 0; i < 50; i += 2) {
        snprintf(key, sizeof(key), "t%d", i);
        tk_ok(del("device", key));
    }
    restart();
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "t%d", i);
        struct tpc_device *d = find(key);
        ck_assert_int_eq(d != NULL, i % 2);
        ck_assert(d == NULL || (d->id == ids[i] && d->product->revision == 2));
        ck_assert_ptr_eq(tpi_registry_by_id(registry, ids[i]), d);
    }
    int n = 0;
    tk_ok(tpi_registry_each_device(registry, count_device, &n));
    ck_assert_int_eq(n, 25);
    n = 0;
    tk_ok(tpi_registry_each_product(registry, count_product, &n));
    ck_assert_int_eq(n, 1);
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_registry_counters(registry)->devices), 25);
}
END_TEST

START_TEST(devices_of_tenants_are_apart)
{
    put_thermo();
    put_device("t1");
    tk_ok(put("tenant", "{\"key\":\"acme\"}"));
    tk_fails(TPC_ENOENT,
             put("device", "{\"key\":\"t1\",\"tenant\":\"acme\",\"product\":\"thermo\"}"));
    tk_ok(put("product", "{\"key\":\"thermo\",\"tenant\":\"acme\",\"model\":{}}"));
    tk_ok(put("device", "{\"key\":\"t1\",\"tenant\":\"acme\",\"product\":\"thermo\"}"));
    struct tpc_device *d = tpi_registry_find(registry, TPC_STR("acme"), TPC_STR("t1"));
    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_ne(d, find("t1"));
    expect_topic(d, "acme/up/thermo/t1/");
    ck_assert_uint_eq(tpi_registry_tenant(registry, TPC_STR("acme")), d->tenant->id);
}
END_TEST

START_TEST(property_ids_outlive_a_restart_and_a_removal)
{
    static const char with[] =
        "{\"key\":\"p\",\"model\":{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},"
        "{\"id\":\"b\",\"type\":\"int\"}]}}";
    static const char without[] =
        "{\"key\":\"p\",\"model\":{\"properties\":[{\"id\":\"b\",\"type\":\"int\"}]}}";
    const struct tpi_product *p;
    tk_ok(put("product", with));
    restart();
    tk_ok(put("product", without));
    restart();
    p = tpi_registry_product(registry, none, TPC_STR("p"));
    ck_assert_uint_eq(tpi_model_property(p->model, 0)->id, 2);
    tk_ok(put("product", with));
    p = tpi_registry_product(registry, none, TPC_STR("p"));
    ck_assert_uint_eq(tpi_model_property(p->model, 0)->id, 1);
    ck_assert_uint_eq(tpi_model_property(p->model, 1)->id, 2);
}
END_TEST

START_TEST(a_device_takes_at_most_400_bytes)
{
    enum { COUNT = 2000 };
    tk_ok(put("product", "{\"key\":\"thermo\",\"codec\":\"test\",\"model\":{}}"));
    size_t before = env.alloc.live_bytes;
    for (int i = 0; i < COUNT; i++) {
        char key[32];
        snprintf(key, sizeof(key), "thermostat-%06d", i);
        put_device(key);
    }
    size_t each = (env.alloc.live_bytes - before) / COUNT;
    ck_assert_msg(each <= 400, "%zu bytes a device", each);
}
END_TEST

/* ---- latest values ---- */

static struct tpc_value text_value(const char *s)
{
    return (struct tpc_value){ TPC_TEXT, 0, strlen(s), { .text = s } };
}

static const char *copy_json(struct tpc_device *d, uint32_t index)
{
    static char out[400];
    static uint8_t room[400];
    struct tpc_buf buf = { room + 1, sizeof(room) - 1, 0 }; /* not aligned */
    struct tpc_value v;
    int rc = tpi_device_latest_copy(d, index, &buf, &v, NULL);
    if (rc != 0) {
        return tpc_error_name(rc);
    }
    struct tpc_buf to = { (uint8_t *) out, sizeof(out) - 1, 0 };
    tk_ok(tpc_json_write(&v, 0, &to));
    out[to.need] = 0;
    return out;
}

START_TEST(the_latest_value_is_the_one_measured_last)
{
    put_thermo();
    put_device("t1");
    struct tpc_device *d = find("t1");
    struct tpc_value v = { TPC_DOUBLE, 0, 0, { .d = 20.5 } };
    int64_t ms = 0;
    ck_assert_str_eq(copy_json(d, 0), "TPC_ENOENT");
    tk_fails(TPC_ENOENT, tpi_device_latest_peek(d, 0, &v, NULL));
    tk_ok(tpi_device_latest_set(d, 0, &v, 1000));
    v.as.d = 10;
    tk_ok(tpi_device_latest_set(d, 0, &v, 999));
    ck_assert_str_eq(copy_json(d, 0), "20.5");
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_registry_counters(registry)->latest_stale), 1);
    v.as.d = 30;
    tk_ok(tpi_device_latest_set(d, 0, &v, 1000));
    tk_ok(tpi_device_latest_copy(d, 0, NULL, &v, &ms));
    ck_assert_double_eq(v.as.d, 30);
    ck_assert_int_eq(ms, 1000);
    v = (struct tpc_value){ TPC_NULL, 0, 0, { .i = 0 } };
    tk_ok(tpi_device_latest_set(d, 0, &v, 2000));
    ck_assert_str_eq(copy_json(d, 0), "TPC_ENOENT");
    v = (struct tpc_value){ TPC_BOOL, 0, 0, { .b = true } };
    tk_ok(tpi_device_latest_set(d, 4, &v, 1));
    ck_assert_str_eq(copy_json(d, 4), "true");
    v = (struct tpc_value){ TPC_INT, 0, 0, { .i = INT64_MIN } };
    tk_ok(tpi_device_latest_set(d, 5, &v, 1));
    tk_ok(tpi_device_latest_peek(d, 5, &v, &ms));
    ck_assert_int_eq(v.as.i, INT64_MIN);
}
END_TEST

START_TEST(texts_and_trees_are_copied_whole)
{
    struct tpc_arena *arena;
    struct tpc_value v;
    static const char tree[] = "{\"x\":5,\"s\":\"abc\",\"l\":[[],{\"k\":null},\"\",2.5]}";
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, TPC_STR(tree), 0, NULL, &v));
    put_thermo();
    put_device("t1");
    struct tpc_device *d = find("t1");
    tk_ok(tpi_device_latest_set(d, 2, &v, 1));
    tpc_arena_destroy(arena);
    ck_assert_str_eq(copy_json(d, 2), "{\"x\":5,\"s\":\"abc\",\"l\":[[],{\"k\":null},\"\",2.5]}");
    v = text_value("hello");
    tk_ok(tpi_device_latest_set(d, 1, &v, 1));
    ck_assert_str_eq(copy_json(d, 1), "\"hello\"");
    v = text_value("");
    tk_ok(tpi_device_latest_set(d, 1, &v, 2));
    ck_assert_str_eq(copy_json(d, 1), "\"\"");
    tk_ok(tpi_device_latest_copy(d, 1, NULL, &v, NULL));
    ck_assert_uint_eq(v.len, 0);
    char longer[300];
    memset(longer, 'x', sizeof(longer));
    longer[299] = 0;
    v = text_value(longer);
    tk_ok(tpi_device_latest_set(d, 1, &v, 3));
    struct tpc_buf buf = { (uint8_t *) longer, 10, 0 };
    tk_fails(TPC_ETOOBIG, tpi_device_latest_copy(d, 1, &buf, &v, NULL));
    ck_assert_uint_eq(buf.need, 299);
    tk_fails(TPC_ETOOBIG, tpi_device_latest_copy(d, 1, NULL, &v, NULL));
    tk_ok(tpi_device_latest_peek(d, 1, &v, NULL));
    ck_assert_uint_eq(v.len, 299);
    v = (struct tpc_value){ TPC_NULL, 0, 0, { .i = 0 } };
    tk_ok(tpi_device_latest_set(d, 1, &v, 4));
    ck_assert_str_eq(copy_json(d, 1), "TPC_ENOENT");
}
END_TEST

START_TEST(latest_values_follow_their_property_through_a_model_change)
{
    struct tpc_value v = { TPC_DOUBLE, 0, 0, { .d = 20.5 } };
    put_thermo();
    put_device("t1");
    put_device("t2");
    struct tpc_device *d = find("t1");
    tk_ok(tpi_device_latest_set(d, 0, &v, 5));
    v = text_value("kitchen");
    tk_ok(tpi_device_latest_set(d, 1, &v, 6));
    v = (struct tpc_value){ TPC_BOOL, 0, 0, { .b = true } };
    tk_ok(tpi_device_latest_set(d, 4, &v, 7));
    tk_ok(put("product", thermo));
    ck_assert_str_eq(copy_json(d, 1), "\"kitchen\"");
    tk_ok(put("product", "{\"key\":\"thermo\",\"codec\":\"test\",\"model\":{\"properties\":["
                         "{\"id\":\"name\",\"type\":\"text\"},{\"id\":\"new\",\"type\":\"int\"},"
                         "{\"id\":\"on\",\"type\":\"int\"},{\"id\":\"t\",\"type\":\"double\"}]}}"));
    ck_assert_str_eq(copy_json(d, 0), "\"kitchen\"");
    ck_assert_str_eq(copy_json(d, 1), "TPC_ENOENT");
    ck_assert_str_eq(copy_json(d, 2), "TPC_ENOENT"); /* another type: another property */
    ck_assert_str_eq(copy_json(d, 3), "20.5");
    ck_assert_uint_eq(d->product->revision, 3);
    ck_assert_ptr_null(atomic_load(&find("t2")->latest)); /* none without a value */
    tk_ok(put("product", "{\"key\":\"thermo\",\"model\":{}}"));
    put_thermo();
    ck_assert_str_eq(copy_json(d, 1), "TPC_ENOENT");
    ck_assert_int_eq(programs, 1);
}
END_TEST

/* ---- readers beside the owner ---- */

enum { READERS = 3, WRITES = 20000 };
static atomic_bool writing;

static void *reader(void *user)
{
    struct tpc_device *d = user;
    uint8_t room[128];
    uint64_t reads = 0;
    while (atomic_load(&writing) || reads == 0) {
        struct tpc_buf buf = { room, sizeof(room), 0 };
        struct tpc_value v;
        int64_t ms;
        tpi_registry_read_lock(registry);
        int rc = tpi_device_latest_copy(d, 0, NULL, &v, &ms);
        ck_assert(rc == TPC_ENOENT || (rc == 0 && v.as.d == (double) ms));
        rc = tpi_device_latest_copy(d, 1, &buf, &v, &ms);
        ck_assert(rc == TPC_ENOENT || rc == 0);
        for (size_t i = 1; rc == 0 && i < v.len; i++) {
            ck_assert_int_eq(v.as.text[i], v.as.text[0]);
        }
        tpi_registry_read_unlock(registry);
        reads++;
    }
    return NULL;
}

START_TEST(readers_see_whole_values_while_the_owner_writes)
{
    pthread_t threads[READERS];
    put_thermo();
    put_device("t1");
    struct tpc_device *d = find("t1");
    atomic_store(&writing, true);
    for (int i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, d), 0);
    }
    for (int i = 1; i <= WRITES; i++) {
        struct tpc_value v = { TPC_DOUBLE, 0, 0, { .d = i } };
        char text[100];
        memset(text, 'a' + i % 26, sizeof(text));
        tpi_registry_read_lock(registry);
        tk_ok(tpi_device_latest_set(d, 0, &v, i));
        v = (struct tpc_value){ TPC_TEXT, 0, (size_t) (1 + i % 100), { .text = text } };
        if (i % 1000 == 0) {
            v = (struct tpc_value){ TPC_NULL, 0, 0, { .i = 0 } };
        }
        tk_ok(tpi_device_latest_set(d, 1, &v, i));
        tpi_registry_read_unlock(registry);
        if (i % (WRITES / 4) == 0) {
            tk_ok(put("product", thermo));
        }
    }
    atomic_store(&writing, false);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
}
END_TEST

/* ---- memory ---- */

static int use_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpi_env poor = env.env;
    void *own = store_open(&tpi_store_memory, &no_options);
    (void) user;
    poor.alloc = a;
    int rc = start_with(&poor, own);
    rc = rc != 0 ? rc : put("product", thermo);
    rc = rc != 0 ? rc : put("device", "{\"key\":\"t1\",\"product\":\"thermo\",\"secret\":\"s\"}");
    if (rc == 0) {
        struct tpc_value v = text_value("hello");
        rc = tpi_device_latest_set(find("t1"), 1, &v, 1);
    }
    rc = rc != 0 ? rc
                 : put("product", "{\"key\":\"thermo\",\"model\":{\"properties\":[{\"id\":\"name\","
                                  "\"type\":\"text\"}]}}");
    rc = rc != 0 ? rc : put("device", "{\"key\":\"t2\",\"product\":\"thermo\",\"gateway\":\"t1\"}");
    rc = rc != 0 ? rc : put("product", "{\"key\":\"fan\",\"model\":{}}");
    rc = rc != 0 ? rc : put("device", "{\"key\":\"t1\",\"product\":\"fan\"}");
    rc = rc != 0 ? rc : del("device", "t2");
    stop();
    store_close(&tpi_store_memory, own);
    return rc;
}

START_TEST(running_out_of_memory_leaks_nothing)
{
    stop();
    ck_assert_uint_gt(tk_each_alloc_fails(use_without_memory, NULL), 30);
    tk_ok(start_with(&env.env, store));
}
END_TEST

Suite *registry_suite(void)
{
    Suite *s = suite_create("registry");
    TCase *tc = tcase_create("entities");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_device_is_found_by_key_and_number);
    tcase_add_test(tc, odd_keys_are_escaped_in_the_topic_only);
    tcase_add_test(tc, references_to_what_is_not_there_are_refused);
    tcase_add_test(tc, a_product_with_devices_stays);
    tcase_add_test(tc, a_deleted_device_stays_valid_until_its_last_handle_goes);
    tcase_add_test(tc, a_device_moves_to_another_product_with_a_new_topic);
    tcase_add_test(tc, devices_behind_a_gateway_share_its_partition);
    tcase_add_test(tc, gateways_stand_at_most_seven_deep);
    tcase_add_test(tc, a_restart_brings_back_the_same);
    tcase_add_test(tc, devices_of_tenants_are_apart);
    tcase_add_test(tc, property_ids_outlive_a_restart_and_a_removal);
    tcase_add_test(tc, a_device_takes_at_most_400_bytes);
    tcase_add_test(tc, running_out_of_memory_leaks_nothing);
    suite_add_tcase(s, tc);
    TCase *latest = tcase_create("latest");
    tcase_add_checked_fixture(latest, setup, teardown);
    tcase_set_timeout(latest, 60);
    tcase_add_test(latest, the_latest_value_is_the_one_measured_last);
    tcase_add_test(latest, texts_and_trees_are_copied_whole);
    tcase_add_test(latest, latest_values_follow_their_property_through_a_model_change);
    tcase_add_test(latest, readers_see_whole_values_while_the_owner_writes);
    suite_add_tcase(s, latest);
    return s;
}
