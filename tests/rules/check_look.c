/* device('key').name in conditions: found once and kept, and never what it is not any more. */
#include <pthread.h>
#include <stdio.h>

#include "house.h"
#include "registry/look.h"
#include "suites.h"

enum { ROUNDS = 400, CHANGES = 100, MANY = 600 };

static unsigned commands(struct house *h)
{
    return atomic_load(&h->command_count);
}

/* Whether a scene that looks at another device fires; three times, as what is kept is used then. */
static bool fires(struct house *h)
{
    unsigned before = commands(h);
    for (int i = 0; i < 3; i++) {
        house_temperature(h, "t1", 20);
    }
    unsigned n = commands(h) - before;
    ck_assert(n == 0 || n == 3);
    return n == 3;
}

static void say(struct house *h, const char *device, const char *property, double value)
{
    struct house_point p = { property, value };
    house_say(h, device, &p, 1);
}

static struct house *house_with(const char *expr)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "product",
                    "{'key':'gauge','model':{'properties':["
                    "{'id':'height','type':'int'},{'id':'temperature','type':'double'}]}}"));
    tk_ok(house_scene(h, "s", expr, "each"));
    return h;
}

START_TEST(a_deleted_device_is_gone_and_one_made_again_is_another_one)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").height > 3");
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
    say(h, "x", "height", 4);
    ck_assert(fires(h));
    tk_ok(house_delete(h, "device", "x"));
    ck_assert(!fires(h));
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
    ck_assert(!fires(h)); /* it has no value yet */
    say(h, "x", "height", 5);
    ck_assert(fires(h));
    house_free(h);
}
END_TEST

START_TEST(a_handle_on_a_deleted_device_does_not_keep_it_in_conditions)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").height > 3");
    struct tpc_device *d = NULL;
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
    say(h, "x", "height", 4);
    ck_assert(fires(h));
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), TPC_STR("x"), NULL, &d));
    tk_ok(house_delete(h, "device", "x"));
    ck_assert(!fires(h));
    tpi_device_unref(d);
    ck_assert(!fires(h));
    house_free(h);
}
END_TEST

START_TEST(a_device_of_another_product_has_its_properties)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").temperature > 30");
    tk_ok(house_put(h, "device", "{'key':'x','product':'thermo'}"));
    house_temperature(h, "x", 40);
    ck_assert(fires(h));
    tk_ok(house_put(h, "device", "{'key':'x','product':'fan'}")); /* has no temperature */
    ck_assert(!fires(h));
    say(h, "x", "on", 1); /* the first of fan, as temperature is of thermo */
    ck_assert(!fires(h));
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}")); /* where it is the second */
    say(h, "x", "height", 40);
    ck_assert(!fires(h));
    house_temperature(h, "x", 40);
    ck_assert(fires(h));
    house_free(h);
}
END_TEST

START_TEST(a_changed_model_has_the_property_where_it_is_now)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").height > 3");
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
    say(h, "x", "height", 4);
    ck_assert(fires(h));
    tk_ok(house_put(h, "product", /* it comes last */
                    "{'key':'gauge','model':{'properties':[{'id':'temperature','type':'double'},"
                    "{'id':'wet','type':'bool'},{'id':'height','type':'int'}]}}"));
    ck_assert(fires(h));
    say(h, "x", "temperature", 1);
    ck_assert(fires(h));
    tk_ok(house_put(h, "product", /* it is known by what it was called */
                    "{'key':'gauge','model':{'properties':["
                    "{'id':'level','type':'int','was':['height']}]}}"));
    ck_assert(fires(h));
    say(h, "x", "level", 2);
    ck_assert(!fires(h));
    say(h, "x", "level", 9);
    ck_assert(fires(h));
    tk_ok(house_put(h, "product",
                    "{'key':'gauge','model':{'properties':[{'id':'wet','type':'bool'}]}}"));
    ck_assert(!fires(h));
    house_free(h);
}
END_TEST

START_TEST(a_device_that_comes_later_is_seen)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").height > 3");
    ck_assert(!fires(h));
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
    ck_assert(!fires(h));
    say(h, "x", "height", 4);
    ck_assert(fires(h));
    say(h, "x", "height", 3); /* values are not kept */
    ck_assert(!fires(h));
    house_free(h);
}
END_TEST

static void set_online(struct house *h, const char *device, bool online)
{
    tpi_registry_read_lock(h->registry);
    struct tpc_device *d = tpi_registry_find(h->registry, TPC_STR("main"), tpc_str_from(device));
    ck_assert_ptr_nonnull(d);
    tpi_device_presence(d, online, false, 1000);
    tpi_registry_read_unlock(h->registry);
}

START_TEST(presence_is_the_devices_unless_its_model_has_such_a_property)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").online == true");
    ck_assert(!fires(h));
    tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
    ck_assert(!fires(h));
    set_online(h, "x", true);
    ck_assert(fires(h));
    tk_ok(house_put(h, "product",
                    "{'key':'gauge','model':{'properties':[{'id':'online','type':'bool'}]}}"));
    ck_assert(fires(h)); /* it has no value of it */
    say(h, "x", "online", 0);
    ck_assert(!fires(h));
    tk_ok(house_put(h, "product",
                    "{'key':'gauge','model':{'properties':[{'id':'wet','type':'bool'}]}}"));
    ck_assert(fires(h));
    tk_ok(house_delete(h, "device", "x"));
    ck_assert(!fires(h));
    house_free(h);
}
END_TEST

START_TEST(names_that_share_a_place_are_not_confused)
{
    struct house *h = house_with("temperature > 0");
    static struct tpi_looks looks;
    char text[64];
    for (int i = 0; i < MANY; i++) { /* more than there are places */
        snprintf(text, sizeof(text), "{'key':'d%d','product':'gauge'}", i);
        tk_ok(house_put(h, "device", text));
    }
    tpi_registry_read_lock(h->registry);
    uint64_t tenant = tpi_registry_tenant(h->registry, TPC_STR("main"));
    for (int i = 0; i < 3 * MANY; i++) {
        snprintf(text, sizeof(text), "d%d", i % MANY);
        for (int again = 0; again < 2; again++) {
            struct tpc_str key = tpc_str_from(text);
            struct tpc_str name = i % 2 == 0 ? TPC_STR("height") : TPC_STR("temperature");
            const struct tpi_look *look = tpi_looks_find(&looks, h->registry, tenant, key, name);
            ck_assert_ptr_nonnull(look);
            ck_assert(tpc_str_equal(look->device->key, key));
            ck_assert_int_eq(look->index, i % 2);
            look = tpi_looks_find(&looks, h->registry, tenant, key, TPC_STR("none"));
            ck_assert_int_eq(look->index, -1);
            ck_assert_ptr_null(tpi_looks_find(&looks, h->registry, tenant + 99, key, name));
        }
    }
    tpi_registry_read_unlock(h->registry);
    house_free(h);
}
END_TEST

START_TEST(looking_at_another_device_allocates_nothing)
{
    struct house *h = house_with("temperature > 0 && device(\\\"t2\\\").temperature > 30");
    house_temperature(h, "t2", 10);
    house_temperature(h, "t1", 20);
    size_t before = h->env.alloc.count;
    for (int i = 0; i < 10; i++) {
        house_temperature(h, "t1", 20);
    }
    ck_assert_uint_eq(h->env.alloc.count, before);
    house_free(h);
}
END_TEST

static struct house *shared;

static void *work(void *user)
{
    struct tpc_device *device = user;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct house_point p = { "temperature", 20 };
        house_message(shared, device, i, &p, 1);
    }
    return NULL;
}

/* One device for each worker. */
static void make_devices(struct house *h, struct tpc_device *ret[HOUSE_WORKERS])
{
    for (int i = 0; ret[0] == NULL || ret[1] == NULL; i++) {
        char json[64], key[16];
        snprintf(key, sizeof(key), "d%d", i);
        snprintf(json, sizeof(json), "{'key':'%s','product':'thermo'}", key);
        tk_ok(house_put(h, "device", json));
        struct tpc_device *d = NULL;
        tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), tpc_str_from(key), NULL, &d));
        struct tpc_device **place = &ret[d->partition % HOUSE_WORKERS];
        d = *place == NULL ? d : tpi_device_unref(d);
        *place = d != NULL ? d : *place;
    }
}

START_TEST(devices_come_move_and_go_while_workers_look_at_them)
{
    struct house *h = house_with("temperature > 0 && device(\\\"x\\\").temperature is null");
    pthread_t threads[HOUSE_WORKERS];
    struct tpc_device *devices[HOUSE_WORKERS] = { NULL };
    shared = h;
    h->count_only = true;
    make_devices(h, devices);
    for (int i = 0; i < HOUSE_WORKERS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, devices[i]), 0);
    }
    for (int i = 0; i < CHANGES; i++) {
        tk_ok(house_put(h, "device", "{'key':'x','product':'gauge'}"));
        tk_ok(house_put(h, "product",
                        i % 2 == 0 ? "{'key':'gauge','model':{'properties':["
                                     "{'id':'temperature','type':'double'}]}}"
                                   : "{'key':'gauge','model':{'properties':["
                                     "{'id':'height','type':'int'},"
                                     "{'id':'temperature','type':'double'}]}}"));
        tk_ok(house_put(h, "device", "{'key':'x','product':'thermo'}"));
        tk_ok(house_delete(h, "device", "x"));
    }
    for (int i = 0; i < HOUSE_WORKERS; i++) {
        pthread_join(threads[i], NULL);
        tpi_device_unref(devices[i]);
    }
    ck_assert_uint_eq(commands(h), HOUSE_WORKERS * ROUNDS); /* it never has a value */
    house_free(h);
}
END_TEST

Suite *look_suite(void)
{
    Suite *s = suite_create("look");
    TCase *c = tcase_create("look");
    tcase_add_test(c, a_deleted_device_is_gone_and_one_made_again_is_another_one);
    tcase_add_test(c, a_handle_on_a_deleted_device_does_not_keep_it_in_conditions);
    tcase_add_test(c, a_device_of_another_product_has_its_properties);
    tcase_add_test(c, a_changed_model_has_the_property_where_it_is_now);
    tcase_add_test(c, a_device_that_comes_later_is_seen);
    tcase_add_test(c, presence_is_the_devices_unless_its_model_has_such_a_property);
    tcase_add_test(c, names_that_share_a_place_are_not_confused);
    tcase_add_test(c, looking_at_another_device_allocates_nothing);
    tcase_add_test(c, devices_come_move_and_go_while_workers_look_at_them);
    suite_add_tcase(s, c);
    return s;
}
