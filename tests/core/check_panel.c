/* ThingsPanel's services and access points as entities, and the topics of their devices' commands
 * (contract thingspanel 2). */
#include <stdio.h>
#include <string.h>

#include "flow.h"

static const struct tpc_str none = { "", 0 };

static int put(struct flow *f, const char *kind, const char *json)
{
    return tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
}

static void must(struct flow *f, const char *kind, const char *json)
{
    int rc = put(f, kind, json);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static void product(struct flow *f, const char *key, const char *protocol)
{
    char json[400];
    snprintf(
        json, sizeof(json),
        "{\"key\":\"%s\",\"protocol\":\"%s\",\"codec\":\"thingspanel\",\"model\":{\"properties\":"
        "[{\"id\":\"t\",\"type\":\"double\"}],\"services\":[{\"id\":\"go\",\"input\":[]}]}}",
        key, protocol);
    must(f, "product", json);
}

static void setup(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_probe_open(f);
    must(f, "service", "{\"key\":\"METER\",\"http_address\":\"127.0.0.1:9\",\"device_type\":2}");
    must(f, "service", "{\"key\":\"BUS\",\"sub_topic_prefix\":\"plugin/bus/\"}");
    product(f, "meter", "METER");
    product(f, "bus", "BUS");
    product(f, "plain", "mqtt");
    must(f, "device", "{\"key\":\"c\",\"product\":\"meter\"}");
    must(f, "device", "{\"key\":\"m\",\"product\":\"meter\",\"gateway\":\"c\",\"address\":\"1\"}");
    must(f, "device", "{\"key\":\"b\",\"product\":\"bus\"}");
    must(f, "device", "{\"key\":\"p\",\"product\":\"plain\"}");
    must(f, "device", "{\"key\":\"q\",\"product\":\"plain\",\"gateway\":\"p\",\"address\":\"1\"}");
}

static const struct flow_sent *command(struct flow *f, const char *device)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    uint32_t n = flow_probe.sent_count;
    o.device = flow_device(f, device);
    o.service = TPC_STR("go");
    tk_ok(tpc_command_send(f->core, NULL, &o, NULL, NULL, NULL));
    tpc_device_unref(o.device);
    flow_settle(f);
    ck_assert_uint_eq(flow_probe.sent_count, n + 1);
    return &flow_probe.sent[n];
}

START_TEST(commands_of_a_services_devices_carry_its_prefix_and_are_flat)
{
    struct flow f;
    setup(&f);
    flow_start(&f);
    static const char *const spoke[] = { "c", "m", "b", "p" };
    for (size_t i = 0; i < sizeof(spoke) / sizeof(spoke[0]); i++) {
        (void) flow_session(spoke[i], 0);
    }
    flow_probe.confirm = true;
    flow_probe.answer = true;
    flow_settle(&f);
    static const struct {
        const char *device, *topic;
        uint32_t flags;
    } all[] = { { "c", "plugin/METER/", 0 },
                { "m", "plugin/METER/", 0 },
                { "b", "plugin/bus/", 0 },
                { "p", "", TPC_FRAME_GATEWAY } };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct flow_sent *s = command(&f, all[i].device);
        ck_assert_str_eq(s->topic, all[i].topic);
        ck_assert_uint_eq(s->flags & TPC_FRAME_GATEWAY, all[i].flags);
        ck_assert_str_eq(s->device, all[i].device);
        ck_assert_ptr_eq(strstr(s->payload, "sub_device_data"), NULL);
    }
    /* The service is another one, then none. */
    must(&f, "service", "{\"key\":\"BUS\",\"sub_topic_prefix\":\"service/x/\"}");
    ck_assert_str_eq(command(&f, "b")->topic, "service/x/");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "service", TPC_STR("BUS"), TPC_ANY_REV));
    ck_assert_str_eq(command(&f, "b")->topic, "");
    flow_fini(&f);
}
END_TEST

START_TEST(services_and_access_points_are_checked_and_stay_while_used)
{
    struct flow f;
    char secret[64];
    struct tpc_buf buf = { (uint8_t *) secret, sizeof(secret), 0 };
    setup(&f);
    ck_assert_int_eq(put(&f, "service", "{\"key\":\"MQTT\"}"), TPC_EINVAL);
    ck_assert_int_eq(put(&f, "service", "{\"key\":\"x\",\"sub_topic_prefix\":\"a/+/\"}"),
                     TPC_EINVAL);
    ck_assert_int_eq(put(&f, "service", "{\"key\":\"x#y\"}"), TPC_EINVAL);
    ck_assert_int_eq(put(&f, "service", "{\"key\":\"x\",\"http_address\":\"http://h:1/\"}"),
                     TPC_EINVAL);
    ck_assert_int_eq(put(&f, "access_point", "{\"key\":\"a\",\"service\":\"nobody\"}"), TPC_ENOENT);
    must(&f, "access_point",
         "{\"key\":\"a\",\"service\":\"BUS\",\"voucher\":\"{\\\"user\\\":\\\"u\\\"}\"}");
    tk_ok(tpc_entity_secret(f.core, none, "access_point", TPC_STR("a"), TPC_STR("voucher"), &buf));
    ck_assert(tpc_str_equal((struct tpc_str){ secret, buf.need }, TPC_STR("{\"user\":\"u\"}")));
    buf.cap = 3;
    ck_assert_int_eq(
        tpc_entity_secret(f.core, none, "access_point", TPC_STR("a"), TPC_STR("voucher"), &buf),
        TPC_ETOOBIG);
    ck_assert_uint_eq(buf.need, 12);
    ck_assert_int_eq(tpc_entity_secret(f.core, none, "device", TPC_STR("b"),
                                       TPC_STR("credentials.voucher"), &buf),
                     TPC_ENOENT);
    ck_assert_int_eq(
        put(&f, "device", "{\"key\":\"d\",\"product\":\"bus\",\"access_point\":\"none\"}"),
        TPC_ENOENT);
    must(&f, "device", "{\"key\":\"d\",\"product\":\"bus\",\"access_point\":\"a\"}");
    ck_assert_int_eq(tpc_entity_delete(f.core, NULL, none, "service", TPC_STR("BUS"), TPC_ANY_REV),
                     TPC_ESTATE);
    ck_assert_int_eq(
        tpc_entity_delete(f.core, NULL, none, "access_point", TPC_STR("a"), TPC_ANY_REV),
        TPC_ESTATE);
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("d"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "access_point", TPC_STR("a"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "service", TPC_STR("BUS"), TPC_ANY_REV));
    flow_fini(&f);
}
END_TEST

static int put_without_memory(const struct tpc_allocator *alloc, void *user)
{
    struct flow *f = user;
    struct tpc_core *core = NULL;
    struct tpc_core_options o = f->o;
    uint8_t text[16];
    struct tpc_buf buf = { text, sizeof(text), 0 };
    static const char *const docs[][2] = {
        { "service", "{\"key\":\"S\",\"http_address\":\"h:1\"}" },
        { "service", "{\"key\":\"S\",\"sub_topic_prefix\":\"p/\"}" },
        { "access_point", "{\"key\":\"a\",\"service\":\"S\",\"voucher\":\"v\"}" },
        { "access_point", "{\"key\":\"a\",\"service\":\"S\"}" },
        { "product", "{\"key\":\"p\",\"protocol\":\"S\",\"model\":{}}" },
        { "device", "{\"key\":\"d\",\"product\":\"p\",\"access_point\":\"a\"}" },
    };
    o.allocator = alloc;
    int rc = tpc_core_create(&o, &core);
    for (size_t i = 0; rc == 0 && i < sizeof(docs) / sizeof(docs[0]); i++) {
        rc = tpc_entity_put(core, NULL, docs[i][0], tpc_str_from(docs[i][1]), TPC_ANY_REV, NULL);
    }
    if (rc == 0) {
        rc = tpc_entity_secret(core, none, "access_point", TPC_STR("a"), TPC_STR("voucher"), &buf);
    }
    rc = rc != 0 ? rc : tpc_entity_delete(core, NULL, none, "device", TPC_STR("d"), TPC_ANY_REV);
    rc = rc != 0 ? rc
                 : tpc_entity_delete(core, NULL, none, "access_point", TPC_STR("a"), TPC_ANY_REV);
    rc = rc != 0 ? rc : tpc_entity_delete(core, NULL, none, "service", TPC_STR("S"), TPC_ANY_REV);
    (void) tpc_core_destroy(core);
    return rc;
}

START_TEST(without_memory_services_and_access_points_stay_whole)
{
    struct flow f;
    flow_init(&f, 0);
    ck_assert_uint_gt(tk_each_alloc_fails(put_without_memory, &f), 50);
    tk_env_fini(&f.e);
}
END_TEST

Suite *panel_flow_suite(void)
{
    Suite *s = suite_create("services");
    TCase *tc = tcase_create("services");
    tcase_add_test(tc, commands_of_a_services_devices_carry_its_prefix_and_are_flat);
    tcase_add_test(tc, services_and_access_points_are_checked_and_stay_while_used);
    tcase_add_test(tc, without_memory_services_and_access_points_stay_whole);
    suite_add_tcase(s, tc);
    return s;
}
