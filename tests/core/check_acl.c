/* Which topics are whose. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

#define MODEL "\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct tpc_identity who;

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s at %s", json, tpc_error_last()->text, tpc_error_last()->path);
}

static void setup(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    put(f, "product", "{\"key\":\"pk01\"," MODEL "}");
    put(f, "product", "{\"key\":\"panel\"," MODEL "}");
}

static void teardown(struct flow *f)
{
    flow_destroy(f);
    flow_fini(f);
}

struct topic {
    int access;
    const char *topic;
};

static struct tpc_identity device_named(const char *key)
{
    struct tpc_identity i = { .size = sizeof(i), .role = TPC_ROLE_DEVICE };
    snprintf(i.key, sizeof(i.key), "%s", key);
    snprintf(i.product, sizeof(i.product), "pk");
    return i;
}

static void check_topics(const struct topic *list, size_t count, const char *key, int code)
{
    struct flow f;
    setup(&f);
    struct tpc_identity i = device_named(key);
    for (size_t k = 0; k < count; k++) {
        int rc = tpc_acl_check(f.core, &i, list[k].access, tpc_str_from(list[k].topic));
        ck_assert_msg(rc == code, "%d %s: %s", list[k].access, list[k].topic, tpc_error_name(rc));
    }
    teardown(&f);
}

START_TEST(every_topic_that_the_contracts_give_a_device_is_allowed)
{
    static const struct topic list[] = {
        { 1, "devices/telemetry" },
        { 1, "devices/attributes/1234567" },
        { 1, "devices/event/1234567" },
        { 1, "devices/command/response/1" },
        { 1, "devices/attributes/set/response/1" },
        { 1, "ota/devices/progress" },
        { 1, "gateway/telemetry" },
        { 1, "gateway/attributes/1" },
        { 1, "gateway/event/1" },
        { 1, "gateway/command/response/1" },
        { 1, "gateway/attributes/set/response/1" },
        { 1, "devices/register" },
        { 1, "devices/config/down" },
        { 1, "d1/up" },
        { 1, "/sys/pk/d1/thing/property/post" },
        { 2, "devices/telemetry/control/d1" },
        { 2, "devices/telemetry/control/d1/x" },
        { 2, "devices/attributes/set/d1/+" },
        { 2, "devices/attributes/get/d1" },
        { 2, "devices/command/d1/+" },
        { 2, "devices/attributes/response/d1/+" },
        { 2, "devices/event/response/d1/+" },
        { 2, "ota/devices/inform/d1" },
        { 2, "gateway/telemetry/control/d1" },
        { 2, "gateway/attributes/set/d1/+" },
        { 2, "gateway/attributes/get/d1" },
        { 2, "gateway/command/d1/+" },
        { 2, "gateway/attributes/response/d1/+" },
        { 2, "gateway/event/response/d1/+" },
        { 2, "d1/down" },
        { 2, "devices/register/response/+" },
        { 2, "devices/config/down/response/+" },
        { 2, "/sys/pk/d1/#" },
        { 2, "/sys/pk/d1/thing/+/set" },
        { 3, "devices/command/d1/abc" },
        { 3, "/sys/pk/d1/thing/property/set" },
    };
    check_topics(list, COUNT(list), "d1", 0);
}
END_TEST

START_TEST(topics_of_others_and_wildcards_over_them_are_refused)
{
    static const struct topic list[] = {
        { 2, "#" },
        { 2, "+/#" },
        { 2, "devices/#" },
        { 2, "devices/command/+/+" },
        { 2, "devices/command/d2/+" },
        { 2, "devices/command/d1/#" },
        { 2, "devices/command/d1" },
        { 2, "devices/command/d1/a/b" },
        { 2, "devices/command//+" },
        { 2, "devices/telemetry" },
        { 2, "devices/status/d1" },
        { 2, "$share/g/devices/command/d1/+" },
        { 2, "$SYS/#" },
        { 2, "/sys/pk/d2/#" },
        { 2, "/sys/pk/+/#" },
        { 2, "/sys/#" },
        { 2, "/sys/pk/d1/" },
        { 2, "/sys/pk/d1" },
        { 2, "" },
        { 1, "devices/telemetry/" },
        { 1, "/devices/telemetry" },
        { 1, "devices/attributes/" },
        { 1, "devices/attributes/+" },
        { 1, "devices/command/d1/1" },
        { 1, "devices/status/d1" },
        { 1, "d2/up" },
        { 1, "/sys/pk/d1/+/post" },
        { 1, "/sys/pk/d1/thing/#" },
        { 1, "/sys/pk2/d1/thing/property/post" },
        { 3, "devices/command/d2/abc" },
        { 3, "/sys/pk/d2/thing/property/set" },
        { 3, "devices/command/d1/+" },
    };
    check_topics(list, COUNT(list), "d1", TPC_EDENIED);
}
END_TEST

/* Keys are free text: none becomes a wildcard or two levels. */
/* What a broker's plugin refused is not for devices, even if a product names the topic. */
START_TEST(the_topic_of_what_was_refused_is_for_service_users_alone)
{
    struct flow f;
    struct tpc_identity i;
    setup(&f);
    put(&f, "product",
        "{\"key\":\"sly\"," MODEL ",\"topics\":["
        "{\"direction\":\"up\",\"source\":\"{x}/why\",\"target\":\"devices/telemetry\"},"
        "{\"direction\":\"down\",\"source\":\"tpcore/{x}\",\"target\":\"devices/command/"
        "{device_number}/+\"}]}");
    put(&f, "device", "{\"key\":\"d1\",\"product\":\"sly\",\"credentials\":{\"token\":\"t\"}}");
    put(&f, "service_user", "{\"key\":\"root\",\"password\":\"r\"}");
    tk_ok(tpc_auth_resolve(f.core, TPC_STR("main"), TPC_STR("t"), &i));
    tk_ok(tpc_acl_check(f.core, &i, TPC_ACCESS_PUBLISH, TPC_STR("other/why")));
    tk_ok(tpc_acl_check(f.core, &i, TPC_ACCESS_SUBSCRIBE, TPC_STR("tpcore/+")));
    for (int access = TPC_ACCESS_PUBLISH; access <= TPC_ACCESS_RECEIVE; access++) {
        tk_fails(TPC_EDENIED, tpc_acl_check(f.core, &i, access, TPC_STR(TPC_WHY_TOPIC)));
    }
    tk_ok(tpc_auth_resolve(f.core, TPC_STR("main"), TPC_STR("root"), &i));
    for (int access = TPC_ACCESS_PUBLISH; access <= TPC_ACCESS_RECEIVE; access++) {
        tk_ok(tpc_acl_check(f.core, &i, access, TPC_STR(TPC_WHY_TOPIC)));
    }
    teardown(&f);
}
END_TEST

START_TEST(a_key_that_is_a_wildcard_gives_no_topics_of_others)
{
    static const struct topic list[] = {
        { 2, "devices/command/+/+" },
        { 2, "devices/command/d1/+" },
        { 2, "/sys/pk/+/#" },
        { 2, "+/down" },
    };
    check_topics(list, COUNT(list), "+", TPC_EDENIED);
    static const struct topic slash[] = { { 2, "devices/command/a/b/+" },
                                          { 2, "/sys/pk/a/b/thing" } };
    check_topics(slash, COUNT(slash), "a/b", TPC_EDENIED);
}
END_TEST

/* A gateway speaks and hears for what stands behind it, and for nobody else. */
START_TEST(a_product_of_codec_thingsboard_has_thingsboards_topics)
{
    static const struct topic good[] = {
        { TPC_ACCESS_PUBLISH, "v1/gateway/telemetry" },
        { TPC_ACCESS_PUBLISH, "v1/gateway/attributes/request" },
        { TPC_ACCESS_PUBLISH, "v1/devices/me/rpc/request/1" },
        { TPC_ACCESS_SUBSCRIBE, "v1/gateway/rpc" },
        { TPC_ACCESS_SUBSCRIBE, "v1/devices/me/rpc/response/+" },
        { TPC_ACCESS_RECEIVE, "v1/devices/me/attributes/response/7" },
    };
    static const struct topic bad[] = {
        { TPC_ACCESS_PUBLISH, "v1/gateway/elsewhere" },
        { TPC_ACCESS_PUBLISH, "v1/gateway/+" },
        { TPC_ACCESS_SUBSCRIBE, "v1/gateway/telemetry" },
        { TPC_ACCESS_SUBSCRIBE, "v1/#" },
        { TPC_ACCESS_SUBSCRIBE, "v1/gateway/+" },
        { TPC_ACCESS_PUBLISH, "tpcore/thingsboard/up/other/v1/gateway/telemetry" },
        { TPC_ACCESS_SUBSCRIBE, "tpcore/thingsboard/up/+/v1/gateway/telemetry" },
    };
    struct flow f;
    struct tpc_device_info info = { .size = sizeof(info) };
    setup(&f);
    put(&f, "product", "{\"key\":\"tb\",\"type\":\"gateway\",\"codec\":\"thingsboard\"," MODEL "}");
    put(&f, "product", "{\"key\":\"one\",\"codec\":\"thingsboard\"," MODEL "}");
    put(&f, "device", "{\"key\":\"own\",\"product\":\"one\"}");
    put(&f, "device", "{\"key\":\"gw\",\"product\":\"tb\"}");
    put(&f, "device", "{\"key\":\"json\",\"product\":\"panel\"}");
    for (int i = 0; i < 3; i++) {
        static const char *const keys[] = { "gw", "json", "own" };
        struct tpc_identity id = device_named(keys[i]);
        struct tpc_device *d = flow_device(&f, id.key);
        tk_ok(tpc_device_info(d, &info));
        id.id = info.id;
        tpc_device_unref(d);
        for (size_t k = 0; k < COUNT(good); k++) {
            bool may = i == 0 || (i == 2 && strncmp(good[k].topic, "v1/devices/", 11) == 0);
            tk_fails(may ? 0 : TPC_EDENIED,
                     tpc_acl_check(f.core, &id, good[k].access, tpc_str_from(good[k].topic)));
        }
        for (size_t k = 0; k < COUNT(bad); k++) {
            tk_fails(TPC_EDENIED,
                     tpc_acl_check(f.core, &id, bad[k].access, tpc_str_from(bad[k].topic)));
        }
    }
    teardown(&f);
}
END_TEST

START_TEST(a_gateway_has_the_alink_topics_of_its_devices)
{
    struct flow f;
    setup(&f);
    put(&f, "device", "{\"key\":\"gw\",\"product\":\"pk01\",\"credentials\":{\"token\":\"g\"}}");
    put(&f, "device", "{\"key\":\"mid\",\"product\":\"pk01\",\"gateway\":\"gw\"}");
    put(&f, "device", "{\"key\":\"sub\",\"product\":\"panel\",\"gateway\":\"mid\"}");
    put(&f, "device", "{\"key\":\"other\",\"product\":\"panel\"}");
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.username = TPC_STR("g");
    tk_ok(tpc_auth_check(f.core, &q, &who));
    tk_ok(tpc_acl_check(f.core, &who, TPC_ACCESS_SUBSCRIBE, TPC_STR("/sys/panel/sub/#")));
    tk_ok(tpc_acl_check(f.core, &who, TPC_ACCESS_PUBLISH, TPC_STR("/sys/pk01/mid/thing/x")));
    static const char *const refused_topics[] = {
        "/sys/panel/other/#", "/sys/pk01/sub/#", "/sys/panel/+/#", "/sys/panel/sub",
        "/sys/panel/sub/",    "/sys//sub/x",     "/sys/"
    };
    for (size_t i = 0; i < COUNT(refused_topics); i++) {
        tk_fails(TPC_EDENIED, tpc_acl_check(f.core, &who, TPC_ACCESS_SUBSCRIBE,
                                            tpc_str_from(refused_topics[i])));
    }
    tk_fails(TPC_EDENIED,
             tpc_acl_check(f.core, &who, TPC_ACCESS_PUBLISH, TPC_STR("/sys/panel/sub/#")));
    put(&f, "device", "{\"key\":\"sub\",\"product\":\"panel\"}"); /* it stands alone now */
    tk_fails(TPC_EDENIED,
             tpc_acl_check(f.core, &who, TPC_ACCESS_SUBSCRIBE, TPC_STR("/sys/panel/sub/#")));
    teardown(&f);
}
END_TEST

Suite *acl_flow_suite(void)
{
    Suite *s = suite_create("acl");
    TCase *tc = tcase_create("acl");
    tcase_add_test(tc, every_topic_that_the_contracts_give_a_device_is_allowed);
    tcase_add_test(tc, topics_of_others_and_wildcards_over_them_are_refused);
    tcase_add_test(tc, the_topic_of_what_was_refused_is_for_service_users_alone);
    tcase_add_test(tc, a_key_that_is_a_wildcard_gives_no_topics_of_others);
    tcase_add_test(tc, a_gateway_has_the_alink_topics_of_its_devices);
    tcase_add_test(tc, a_product_of_codec_thingsboard_has_thingsboards_topics);
    suite_add_tcase(s, tc);
    return s;
}
