/* What the core does for a module that stands for a platform above: its commands, and the devices that
 * speak through it. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

#define PRODUCT "{\"codec\":\"json\",\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}}"

enum { THREADS = 4, ROUNDS = 20 };

struct ended {
    atomic_uint count;
    uint32_t state;
    char reply[64], actor[64];
};

static void on_end(void *user, const struct tpc_command *c)
{
    struct ended *e = user;
    e->state = c->state;
    snprintf(e->reply, sizeof(e->reply), "%.*s", (int) c->reply_json.len,
             c->reply_json.len > 0 ? c->reply_json.ptr : "");
    snprintf(e->actor, sizeof(e->actor), "%.*s", (int) c->actor.len, c->actor.ptr);
    atomic_fetch_add(&e->count, 1);
}

static bool has_ended(void *user)
{
    return atomic_load(&((struct ended *) user)->count) > 0;
}

static void begin(struct flow *f, uint32_t workers)
{
    flow_init(f, workers);
    f->o.made_devices_max = THREADS * ROUNDS;
    flow_create(f);
    flow_devices(f, 1);
    flow_probe_open(f);
    flow_start(f);
}

static int command(const char *device, const char *service, const char *params, struct ended *e,
                   struct tpc_id *ret)
{
    struct tpc_host_command c = { .size = sizeof(c), .timeout_ms = 1000 };
    c.device = tpc_str_from(device);
    c.service = tpc_str_from(service);
    c.params_json = tpc_str_from(params);
    c.actor = TPC_STR("thingsboard");
    return flow_probe.host->command(flow_probe.ctx, &c, e != NULL ? on_end : NULL, e, ret);
}

static int make(const char *product, const char *device, const char *product_document)
{
    struct tpc_host_device d = { .size = sizeof(d) };
    d.product = tpc_str_from(product);
    d.device = tpc_str_from(device);
    d.name = TPC_STR("Meter \"7\"");
    d.document = TPC_STR("{\"key\":\"not this\",\"labels\":{\"via\":\"old\"}}");
    d.product_document = tpc_str_from(product_document);
    return flow_probe.host->make_device(flow_probe.ctx, &d);
}

START_TEST(a_command_from_above_ends_with_the_devices_answer)
{
    struct flow f;
    struct ended e;
    struct tpc_id id;
    memset(&e, 0, sizeof(e));
    begin(&f, (uint32_t) _i);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    tk_ok(command("fan-1", "spin", "{\"speed\":3}", &e, &id));
    ck_assert(flow_until(&f, has_ended, &e));
    ck_assert_uint_eq(e.state, TPC_COMMAND_SUCCEEDED);
    ck_assert_str_eq(e.actor, "connector thingsboard");
    tk_fails(TPC_ENOENT, command("fan-9", "spin", "{}", &e, NULL));
    tk_fails(TPC_ENOENT, command("fan-1", "dance", "{}", &e, NULL));
    tk_fails(TPC_EMODEL, command("fan-1", "spin", "{\"speed\":10}", &e, NULL));
    tk_fails(TPC_EDECODE, command("fan-1", "spin", "{", &e, NULL));
    struct tpc_host_command none = { .size = 4 };
    tk_fails(TPC_EINVAL, flow_probe.host->command(flow_probe.ctx, &none, NULL, NULL, NULL));
    struct tpc_host_command again = { .size = sizeof(again), .id = id };
    again.device = TPC_STR("fan-1");
    again.service = TPC_STR("spin");
    flow_settle(&f);
    tk_fails(TPC_EEXIST, flow_probe.host->command(flow_probe.ctx, &again, NULL, NULL, NULL));
    ck_assert_uint_eq(atomic_load(&e.count), 1);
    flow_fini(&f);
}
END_TEST

/* What a module was told of a command's end by may be gone once it has stopped. */
START_TEST(a_command_from_above_ends_for_nobody_after_a_restart)
{
    struct flow f;
    struct ended e;
    struct tpc_id id;
    memset(&e, 0, sizeof(e));
    begin(&f, (uint32_t) _i);
    tk_ok(command("fan-1", "spin", "{\"speed\":3}", &e, &id)); /* it is offline */
    tk_ok(tpc_core_stop(f.core, 1000));
    flow_start(&f);
    tk_ok(tpc_command_cancel(f.core, &id));
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&e.count), 0);
    flow_fini(&f);
}
END_TEST

static int copy_json(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    (void) info;
    (void) key;
    snprintf(user, 512, "%.*s", (int) json.len, json.ptr);
    return 0;
}

START_TEST(a_device_and_its_product_are_made_once)
{
    struct flow f;
    char json[512];
    begin(&f, 0);
    tk_fails(TPC_ENOENT, make("meter", "m-7", ""));
    tk_ok(make("meter", "m-7", PRODUCT));
    tk_ok(make("meter", "m-7", ""));
    tk_ok(make("fan", "fan-1", "")); /* it was there before */
    tk_fails(TPC_EDENIED, make("fan", "m-7", ""));
    tk_fails(TPC_EINVAL, make("", "m-8", PRODUCT));
    tk_fails(TPC_EINVAL, make("meter", "", PRODUCT));
    tk_fails(TPC_EINVAL, make("meter", "m\xff", PRODUCT));
    tk_ok(make("schemaless", "m-9", "{\"codec\":\"json\",\"unknown\":\"keep\"}"));
    tk_fails(TPC_EDECODE, make("bad", "m-8", "{"));
    tk_fails(TPC_EINVAL, make("bad", "m-8", "[]"));
    tk_fails(TPC_EMODEL, make("bad", "m-8", "{\"model\":7}"));
    tk_ok(tpc_entity_get(f.core, TPC_STR("main"), "device", TPC_STR("m-7"), copy_json, json));
    ck_assert_ptr_nonnull(strstr(json, "\"name\":\"Meter \\\"7\\\"\""));
    ck_assert_ptr_nonnull(strstr(json, "\"via\":\"old\""));
    struct tpc_device *d = flow_device(&f, "m-7");
    tk_ok(flow_feed(d, "{\"x\":5}"));
    tpc_device_unref(d);
    flow_settle(&f);
    ck_assert_double_eq(flow_latest(&f, "m-7", "x"), 5);
    ck_assert_double_eq(flow_metric(&f, "tpc_core_devices_made_total"), 2);
    flow_fini(&f);
}
END_TEST

static void never(void *user)
{
    (void) user;
    ck_abort_msg("a timer of an instance that has stopped");
}

static void never_ready(void *user, int fd, uint32_t events)
{
    (void) fd;
    (void) events;
    never(user);
}

/* A call under way while its instance stops leaves nothing behind that would call it once it is gone. */
START_TEST(what_has_stopped_sets_no_timer)
{
    struct flow f;
    uint64_t timer;
    begin(&f, 0);
    tk_ok(flow_probe.host->timer_set(flow_probe.ctx, 1000, never, NULL, &timer));
    flow_probe.host->timer_clear(flow_probe.ctx, timer);
    tk_ok(tpc_core_stop(f.core, 1000));
    tk_fails(TPC_ESTATE, flow_probe.host->timer_set(flow_probe.ctx, 0, never, NULL, &timer));
    tk_fails(TPC_ESTATE, flow_probe.host->watch(flow_probe.ctx, 0, 1, never_ready, NULL));
    tk_ok(flow_probe.host->watch(flow_probe.ctx, 0, 0, NULL, NULL));
    flow_fini(&f);
}
END_TEST

START_TEST(an_instance_makes_no_more_devices_than_it_may)
{
    struct flow f;
    char key[16];
    begin(&f, 0);
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        snprintf(key, sizeof(key), "m-%d", i);
        tk_ok(make("meter", key, PRODUCT));
    }
    tk_fails(TPC_ETOOBIG, make("meter", "one-more", PRODUCT));
    tk_ok(make("meter", "m-3", PRODUCT));
    ck_assert_double_eq(flow_metric(&f, "tpc_core_devices_refused_total"), 1);
    flow_fini(&f);
}
END_TEST

static void *make_all(void *user)
{
    char key[16];
    (void) user;
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(key, sizeof(key), "m-%d", i);
        tk_ok(make("meter", key, PRODUCT));
    }
    return NULL;
}

START_TEST(threads_that_make_the_same_device_all_succeed)
{
    struct flow f;
    pthread_t threads[THREADS];
    begin(&f, 2);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, make_all, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    ck_assert_double_eq(flow_metric(&f, "tpc_core_devices_made_total"), ROUNDS);
    flow_fini(&f);
}
END_TEST

START_TEST(without_memory_nothing_is_half_made)
{
    struct flow f;
    begin(&f, 0);
    f.e.alloc.sticky = true;
    size_t n = 0;
    int rc = TPC_ENOMEM;
    while (rc == TPC_ENOMEM) {
        f.e.alloc.fail_at = f.e.alloc.count + ++n;
        rc = make("meter", "m-7", PRODUCT);
        f.e.alloc.fail_at = 0;
    }
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_uint_gt(n, 10);
    n = 0;
    rc = TPC_ENOMEM;
    while (rc == TPC_ENOMEM) {
        f.e.alloc.fail_at = f.e.alloc.count + ++n;
        rc = command("fan-1", "spin", "{\"speed\":3}", NULL, NULL);
        f.e.alloc.fail_at = 0;
    }
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_uint_gt(n, 3);
    ck_assert_double_eq(flow_metric(&f, "tpc_downlink_open"), 1);
    flow_fini(&f);
}
END_TEST

Suite *host_flow_suite(void)
{
    Suite *s = suite_create("host");
    TCase *t = tcase_create("host");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_command_from_above_ends_with_the_devices_answer, 0, 3);
    tcase_add_loop_test(t, a_command_from_above_ends_for_nobody_after_a_restart, 0, 3);
    tcase_add_test(t, a_device_and_its_product_are_made_once);
    tcase_add_test(t, what_has_stopped_sets_no_timer);
    tcase_add_test(t, an_instance_makes_no_more_devices_than_it_may);
    tcase_add_test(t, threads_that_make_the_same_device_all_succeed);
    tcase_add_test(t, without_memory_nothing_is_half_made);
    suite_add_tcase(s, t);
    return s;
}
