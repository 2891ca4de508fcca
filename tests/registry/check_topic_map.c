/* Topics of a product's own: contract thingspanel.md 1.9. */
#include <string.h>
#include <tpcore/json.h>

#include "registry/auth.h"
#include "registry/topic_map.h"
#include "registry_suites.h"

static struct tpc_arena *arena;
static struct tpi_topic_map *map;
static struct tpc_error err;
static const struct tpc_str key = TPC_STR_INIT("d1");

static int make(const char *json)
{
    struct tpc_value v;
    memset(&err, 0, sizeof(err));
    tpi_topic_map_free(tpc_allocator_default(), map);
    map = NULL;
    tk_ok(tpc_json_parse(arena, tpc_str_from(json), 0, NULL, &v));
    return tpi_topic_map_make(tpc_allocator_default(), &v, &err, &map);
}

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    map = NULL;
}

static void teardown(void)
{
    tpi_topic_map_free(tpc_allocator_default(), map);
    arena = tpc_arena_destroy(arena);
}

static const char *up(const char *topic)
{
    static char text[TPI_TOPIC_BYTES + 1];
    const struct tpi_topic_rule *r = tpi_topic_map_up(map, tpc_str_from(topic), key);
    if (r == NULL) {
        return "";
    }
    memcpy(text, r->target.ptr, r->target.len);
    text[r->target.len] = '\0';
    return text;
}

START_TEST(the_first_rule_that_fits_gives_the_standard_topic)
{
    tk_ok(
        make("[{\"direction\":\"up\",\"source\":\"meters/{device_number}/+\",\"target\":\"b\"},"
             "{\"direction\":\"up\",\"source\":\"meters/{x}/up\",\"target\":\"a\",\"priority\":1},"
             "{\"direction\":\"up\",\"source\":\"off/up\",\"target\":\"c\",\"enabled\":false},"
             "{\"direction\":\"down\",\"source\":\"meters/down\",\"target\":\"d\"}]"));
    ck_assert_str_eq(up("meters/d1/up"), "a");
    ck_assert_str_eq(up("meters/d2/up"), "a"); /* {x} is any level */
    ck_assert_str_eq(up("meters/d1/other"), "b");
    ck_assert_str_eq(up("meters/d2/other"), "");
    ck_assert_str_eq(up("meters//up"), "");
    ck_assert_str_eq(up("meters/d1/up/more"), "");
    ck_assert_str_eq(up("meters/d1"), "");
    ck_assert_str_eq(up("off/up"), "");
    ck_assert_str_eq(up("meters/down"), "");
    ck_assert_str_eq(up(""), "");
    tk_ok(make("[]"));
    ck_assert_ptr_null(map);
    ck_assert_str_eq(up("meters/d1/up"), "");
}
END_TEST

static const char *down(const char *topic, const char *method)
{
    static char text[2 * TPI_TOPIC_BYTES + 1];
    const struct tpi_topic_rule *r =
        tpi_topic_map_down(map, tpc_str_from(topic), key, tpc_str_from(method));
    size_t n = r != NULL ? tpi_topic_rule_source(r, key, text) : 0;
    text[n] = '\0';
    return text;
}

START_TEST(a_rule_for_the_command_comes_before_one_for_anything)
{
    tk_ok(make("[{\"direction\":\"down\",\"source\":\"m/{device_number}/any\",\"target\":"
               "\"devices/command/{device_number}/+\"},"
               "{\"direction\":\"down\",\"source\":\"m/{device_number}/go\",\"target\":"
               "\"devices/command/+/+\",\"name\":\"go\",\"priority\":200},"
               "{\"direction\":\"down\",\"source\":\"m/+/wild\",\"target\":"
               "\"devices/attributes/set/{device_number}/+\"}]"));
    ck_assert_str_eq(down("devices/command/d1/7", "go"), "m/d1/go");
    ck_assert_str_eq(down("devices/command/d1/7", "stop"), "m/d1/any");
    ck_assert_str_eq(down("devices/command/d1/7", ""), "m/d1/any");
    ck_assert_str_eq(down("devices/command/d2/7", "stop"), "");
    ck_assert_str_eq(down("devices/attributes/set/d1/7", ""), ""); /* a wildcard is left */
}
END_TEST

START_TEST(a_device_may_use_what_its_product_names)
{
    tk_ok(make(
        "[{\"direction\":\"up\",\"source\":\"m/{device_number}/up\",\"target\":\"t\"},"
        "{\"direction\":\"down\",\"source\":\"m/{device_number}/{what}\",\"target\":\"t/+\"}]"));
    ck_assert(tpi_topic_map_allows(map, true, TPC_STR("m/d1/up"), key, false));
    ck_assert(!tpi_topic_map_allows(map, true, TPC_STR("m/d2/up"), key, false));
    ck_assert(!tpi_topic_map_allows(map, true, TPC_STR("m/d1/other"), key, false));
    ck_assert(tpi_topic_map_allows(map, false, TPC_STR("m/d1/+"), key, true));
    ck_assert(tpi_topic_map_allows(map, false, TPC_STR("m/d1/x"), key, true));
    ck_assert(!tpi_topic_map_allows(map, false, TPC_STR("m/+/x"), key, true));
    ck_assert(!tpi_topic_map_allows(map, false, TPC_STR("m/d1/+"), key, false));
    ck_assert(!tpi_topic_map_allows(NULL, true, TPC_STR("m/d1/up"), key, false));
}
END_TEST

static const struct {
    const char *json, *path;
} faults[] = {
    { "[{\"direction\":\"up\",\"source\":\"a/#\",\"target\":\"t\"}]", "topics[0].source" },
    { "[{\"direction\":\"up\",\"source\":\"\",\"target\":\"t\"}]", "topics[0].source" },
    { "[{\"direction\":\"up\",\"source\":\"a+/b\",\"target\":\"t\"}]", "topics[0].source" },
    { "[{\"direction\":\"up\",\"source\":\"$SYS/b\",\"target\":\"t\"}]", "topics[0].source" },
    { "[{\"direction\":\"up\",\"source\":\"{x/b\",\"target\":\"t\"}]", "topics[0].source" },
    { "[{\"direction\":\"up\",\"source\":\"a\",\"target\":\"t/+\"}]", "topics[0].target" },
    { "[{\"direction\":\"up\",\"source\":\"a\",\"target\":\"t/{x}\"}]", "topics[0].target" },
    { "[{\"direction\":\"down\",\"source\":\"a\",\"target\":\"t\"},"
      "{\"direction\":\"down\",\"source\":\"a\",\"target\":\"#\"}]",
      "topics[1].target" },
};

START_TEST(a_rule_that_cannot_be_is_named)
{
    tk_fails(TPC_EINVAL, make(faults[_i].json));
    ck_assert_str_eq(err.path, faults[_i].path);
}
END_TEST

START_TEST(the_number_is_read_off_every_topic_to_a_device)
{
    static const struct {
        const char *topic, *key;
    } list[] = {
        { "devices/telemetry/control/d1", "d1" },
        { "devices/telemetry/control/d1/x", "d1" },
        { "devices/attributes/set/d1/7", "d1" },
        { "devices/attributes/get/d1", "d1" },
        { "devices/command/d1/7", "d1" },
        { "devices/event/response/d1/7", "d1" },
        { "gateway/command/d1/7", "d1" },
        { "ota/devices/inform/d1", "d1" },
        { "d1/down", "d1" },
        { "devices/telemetry", NULL },
        { "devices/command/d1", NULL },
        { "devices/command//7", NULL },
        { "", NULL },
        { "/", NULL },
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        struct tpc_str got = { NULL, 0 };
        bool there = tpi_acl_number(tpc_str_from(list[i].topic), &got);
        ck_assert_msg(there == (list[i].key != NULL), "%s", list[i].topic);
        ck_assert(!there || tpc_str_equal(got, tpc_str_from(list[i].key)) != 0);
    }
}
END_TEST

Suite *topic_map_suite(void)
{
    Suite *s = suite_create("topic map");
    TCase *tc = tcase_create("topic map");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_first_rule_that_fits_gives_the_standard_topic);
    tcase_add_test(tc, a_rule_for_the_command_comes_before_one_for_anything);
    tcase_add_test(tc, a_device_may_use_what_its_product_names);
    tcase_add_loop_test(tc, a_rule_that_cannot_be_is_named, 0,
                        (int) (sizeof(faults) / sizeof(faults[0])));
    tcase_add_test(tc, the_number_is_read_off_every_topic_to_a_device);
    suite_add_tcase(s, tc);
    return s;
}
