/* Calls to the platform and what becomes of their answers, by a clock that the test moves. */
#include "http_fx.h"
#include "tp_suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/ext/api.h>

static struct fx f;

#define DEVICE(id, serial, number)                                                                 \
    "{\"id\":\"" id "\",\"voucher\":\"{\\\"serial\\\":\\\"" serial                                 \
    "\\\"}\",\"device_type\":\"1\",\"protocol_type\":\"meter\",\"device_number\":\"" number        \
    "\",\"config\":{\"interval\":\"10\"},\"protocol_config_template\":null,\"sub_devices\":null}"
#define OK(data) "{\"code\":200,\"message\":\"Success\",\"data\":" data "}"
#define PAGE(total, items) OK("{\"total\":" total ",\"list\":[" items "]}")
#define NONE                                                                                       \
    "{\"code\":101001,\"message\":\"not found\",\"data\":{\"sql_error\":\"record not found\"}}"
#define LIMITED "{\"code\":201003,\"message\":\"too many\"}"

static struct tp_found found;

static bool knows(const char *text)
{
    return tp_http_directory.find(f.h, tpc_str_from(text), &found);
}

static enum tp_known known(const char *id)
{
    return tp_http_directory.know(f.h, tpc_str_from(id));
}

START_TEST(heartbeat_is_first_at_once_and_then_as_the_option_says)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    struct fx_call *c = fx_open(&f, "/api/v1/plugin/heartbeat", "");
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->url, "http://127.0.0.1:9/api/v1/plugin/heartbeat");
    ck_assert_str_eq(c->body, "{\"service_identifier\":\"meter\"}");
    ck_assert_uint_eq(c->response_max, TP_REPLY_BYTES);
    fx_pass(&f, 31000); /* one at a time, however slow the platform is */
    ck_assert_uint_eq(fx_calls(&f, "heartbeat"), 1);
    fx_answer(&f, "/heartbeat", "", OK("{}"));
    ck_assert_uint_eq(fx_calls(&f, "heartbeat"), 2);
    fx_answer(&f, "/heartbeat", "", OK("{}"));
    fx_pass(&f, 29000);
    ck_assert_uint_eq(fx_calls(&f, "heartbeat"), 2);
    fx_pass(&f, 1100);
    ck_assert_uint_eq(fx_calls(&f, "heartbeat"), 3);
    ck_assert_int_eq(fake_metric(&f.host, "platform_up"), 1);
    fx_fini(&f);
}
END_TEST

START_TEST(log_says_once_that_the_platform_is_away_or_back)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    ck_assert_uint_eq(tk_env_logged(&f.env, "answers"), 1);
    for (int i = 0; i < 5; i++) {
        fx_pass(&f, 30001);
        fx_fail(&f, "/heartbeat", "", TPC_EOFFLINE);
    }
    ck_assert_uint_eq(tk_env_logged(&f.env, "no answer"), 1);
    ck_assert_int_eq(fake_metric(&f.host, "platform_up"), 0);
    uint32_t before = fx_calls(&f, "/plugin/devices");
    for (int i = 0; i < 3; i++) {
        fx_pass(&f, 30001);
        fx_answer(&f, "/heartbeat", "", OK("{}"));
    }
    ck_assert_uint_eq(tk_env_logged(&f.env, "answers"), 2);
    ck_assert_uint_gt(fx_calls(&f, "/plugin/devices"), before); /* what was missed is read */
    fx_fini(&f);
}
END_TEST

START_TEST(what_failed_is_done_at_once_when_the_platform_is_back)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_fail(&f, "/heartbeat", "", TPC_EOFFLINE);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"d\"}", "");
    fx_step(&f);
    for (int i = 0; i < 6; i++) { /* pauses grow to half a minute and more */
        for (int t = 0; t < 500 && fx_open(&f, "/plugin/devices", "") == NULL; t++) {
            fx_pass(&f, 100);
        }
        fx_fail(&f, "/plugin/devices", "", TPC_EOFFLINE);
        if (fx_open(&f, "/device/config", "") != NULL) {
            fx_fail(&f, "/device/config", "", TPC_EOFFLINE);
        }
        if (fx_open(&f, "/heartbeat", "") != NULL && i < 5) {
            fx_fail(&f, "/heartbeat", "", TPC_EOFFLINE);
        }
    }
    if (fx_open(&f, "/device/config", "") != NULL) {
        fx_fail(&f, "/device/config", "", TPC_EOFFLINE);
    }
    while (fx_open(&f, "/heartbeat", "") == NULL) {
        fx_pass(&f, 100);
    }
    ck_assert_ptr_null(fx_open(&f, "/plugin/devices", ""));
    fx_answer(&f, "/heartbeat", "", OK("{}"));
    ck_assert_ptr_nonnull(fx_open(&f, "/plugin/devices", ""));
    ck_assert_ptr_nonnull(fx_open(&f, "/device/config", "\"d\""));
    fx_fini(&f);
}
END_TEST

START_TEST(service_that_is_not_registered_is_an_error_for_people)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_answer(&f, "/heartbeat", "", NONE);
    ck_assert_uint_eq(tk_env_logged(&f.env, "does not know the service \"meter\""), 1);
    fx_pass(&f, 30001);
    fx_answer(&f, "/heartbeat", "", NONE);
    ck_assert_uint_eq(tk_env_logged(&f.env, "does not know the service"), 1);
    fx_fini(&f);
}
END_TEST

START_TEST(question_that_the_platform_objects_to_says_nothing_of_its_life)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    uint32_t lists = fx_calls(&f, "/plugin/devices");
    tk_ok(fx_login(&f, 0, "V1", NULL));
    for (int i = 0; i < 3; i++) {
        while (fx_open(&f, "/device/config", "") == NULL && !f.ends[0].told) {
            fx_pass(&f, 1000);
            if (fx_open(&f, "/heartbeat", "") != NULL) {
                fx_answer(&f, "/heartbeat", "", OK("{}"));
            }
        }
        if (!f.ends[0].told) {
            fx_answer(&f, "/device/config", "", "{\"code\":100002,\"message\":\"parameter\"}");
        } else {
            tk_ok(fx_login(&f, 0, "V1", NULL));
        }
        ck_assert_int_eq(fake_metric(&f.host, "platform_up"), 1);
    }
    ck_assert_uint_eq(tk_env_logged(&f.env, "100002"), 1);
    ck_assert_uint_eq(tk_env_logged(&f.env, "answers"), 1);
    ck_assert_uint_eq(fx_calls(&f, "/plugin/devices"), lists);
    fx_fini(&f);
}
END_TEST

/* ---- devices ---- */

START_TEST(pages_are_read_to_the_end_and_devices_are_made_and_told)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "\"device_type\":\"1\",\"page\":1,\"page_size\":100}",
              PAGE("150", DEVICE("a", "1", "A") "," DEVICE("b", "2", "B")));
    fx_answer(&f, "/plugin/devices", "\"page\":2,", PAGE("150", DEVICE("c", "3", "c")));
    fx_answer(&f, "/plugin/devices", "\"device_type\":\"2\",\"page\":1,",
              PAGE("1",
                   "{\"id\":\"g\",\"device_type\":\"2\",\"device_number\":\"G\",\"voucher\":\"{}\","
                   "\"sub_devices\":[{\"device_id\":\"s\",\"device_number\":\"S\",\"voucher\":\"\","
                   "\"sub_device_addr\":\"7\",\"config\":{\"interval\":\"5\"},"
                   "\"protocol_config_template\":{\"interval\":\"6\"}}]}"));
    ck_assert_uint_eq(f.host.device_count, 5);
    ck_assert_str_eq(f.host.devices[0].product, "meter");
    ck_assert_str_eq(f.host.devices[0].device, "a");
    ck_assert_str_eq(f.host.devices[0].name, "A");
    ck_assert_str_eq(f.host.devices[0].document, "{}");
    ck_assert_str_eq(f.host.devices[4].device, "s");
    ck_assert_str_eq(f.host.devices[4].document, "{\"gateway\":\"g\",\"address\":\"7\"}");
    ck_assert(
        fx_heard(&f, "device a number=A parent= address= config={\"interval\":10} settings=null"));
    ck_assert(fx_heard(&f, "device s number=S parent=g address=7 config={\"interval\":5} "
                           "settings={\"interval\":6}"));
    ck_assert(knows("a") && knows("B"));
    ck_assert_str_eq(found.id, "b");
    ck_assert(tp_http_directory.child(f.h, TPC_STR("g"), TPC_STR("7"), &found));
    ck_assert_str_eq(found.id, "s");
    ck_assert_str_eq(found.parent, "g");
    ck_assert(!tp_http_directory.child(f.h, TPC_STR("g"), TPC_STR("8"), &found));
    ck_assert_int_eq(known("a"), TP_KNOWN);
    ck_assert_int_eq(known("zz"), TP_UNKNOWN);
    ck_assert_int_eq(fake_metric(&f.host, "devices"), 5);
    /* Told again only if something is different. */
    f.line_count = 0;
    fx_pass(&f, 11000);
    tp_http_directory.link(f.h, true);
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "\"page\":1,", PAGE("1", DEVICE("a", "1", "A")));
    ck_assert_uint_eq(f.line_count, 0);
    fx_fini(&f);
}
END_TEST

START_TEST(page_that_is_too_large_is_read_in_smaller_ones)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_fail(&f, "/plugin/devices", "\"page_size\":100}", TPC_ETOOBIG);
    fx_fail(&f, "/plugin/devices", "\"page\":1,\"page_size\":10}", TPC_ETOOBIG);
    fx_fail(&f, "/plugin/devices", "\"page\":1,\"page_size\":1}", TPC_ETOOBIG);
    fx_answer(&f, "/plugin/devices", "\"page\":2,\"page_size\":1}",
              PAGE("2", DEVICE("b", "2", "B")));
    fx_answer(&f, "/plugin/devices", "\"device_type\":\"2\"", PAGE("0", ""));
    ck_assert(knows("b"));
    ck_assert_int_eq(fake_metric(&f.host, "pages_too_large"), 3);
    fx_fini(&f);
}
END_TEST

static const struct {
    int failed;
    uint32_t status;
    const char *body;
} bad[] = {
    { TPC_EOFFLINE, 0, "" },
    { TPC_ETIMEOUT, 0, "" },
    { 0, 500, "oops" },
    { 0, 200, "{\"code\":200" },
    { 0, 200, "" },
    { 0, 200, "{\"code\":100000}" },
    { 0, 200, "{\"code\":102001}" },
    { 0, 200, "{\"code\":100002}" },
    { 0, 200, "{\"code\":101001}" },
    { 0, 200, LIMITED },
};

START_TEST(list_that_fails_is_read_again_with_growing_pauses)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    uint64_t gap = 0;
    for (int i = 0; i < 4; i++) {
        struct fx_call *c = fx_open(&f, "/plugin/devices", "\"page\":1,");
        ck_assert_ptr_nonnull(c);
        if (bad[_i].failed != 0) {
            fx_fail(&f, "/plugin/devices", "", bad[_i].failed);
        } else {
            fx_answer_raw(&f, c, bad[_i].status, bad[_i].body, strlen(bad[_i].body));
        }
        ck_assert_ptr_null(fx_open(&f, "/plugin/devices", ""));
        uint64_t waited = 0;
        while (fx_open(&f, "/plugin/devices", "") == NULL) {
            fx_pass(&f, 100);
            waited += 100;
            ck_assert_uint_lt(waited, 100000);
        }
        ck_assert_uint_ge(waited, gap + (gap > 0 ? 0 : 1000));
        gap = waited;
    }
    fx_answer(&f, "/plugin/devices", "", PAGE("1", DEVICE("a", "1", "A")));
    ck_assert(knows("a"));
    fx_fini(&f);
}
END_TEST

START_TEST(what_changes_while_a_list_is_read_is_read_behind_it)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_answer(&f, "/heartbeat", "", OK("{}"));
    fx_answer(&f, "/plugin/devices", "\"page\":1", PAGE("150", DEVICE("a", "1", "A")));
    tp_http_directory.link(f.h, true); /* it is being read: that is enough */
    (void) fx_request(&f, "POST", "/api/v1/notify/event", "", "{\"event_type\":\"x\"}", "");
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "\"page\":2", PAGE("150", DEVICE("b", "2", "B")));
    fx_answer(&f, "/plugin/devices", "\"device_type\":\"2\"", PAGE("0", ""));
    ck_assert_ptr_null(fx_open(&f, "/plugin/devices", ""));
    for (int round = 0; round < 2; round++) {
        fx_pass(&f, 10001); /* once more, and that is all */
        if (round == 0) {
            fx_answer(&f, "/plugin/devices", "\"page\":1", PAGE("1", DEVICE("a", "3", "A")));
            fx_answer(&f, "/plugin/devices", "\"device_type\":\"2\"", PAGE("0", ""));
        }
    }
    ck_assert_ptr_null(fx_open(&f, "/plugin/devices", ""));
    fx_fini(&f);
}
END_TEST

START_TEST(known_device_that_is_in_no_list_is_asked_for)
{
    fx_init(&f, 1, NULL);
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "",
              PAGE("2", DEVICE("a", "1", "A") "," DEVICE("b", "2", "B")));
    fx_answer(&f, "/plugin/devices", "", PAGE("0", ""));
    fx_pass(&f, 11000);
    tp_http_directory.link(f.h, true);
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "", PAGE("0", ""));
    fx_answer(&f, "/plugin/devices", "", PAGE("0", ""));
    fx_answer(&f, "/device/config", "{\"device_id\":\"a\"}", OK(DEVICE("a", "1", "A2")));
    fx_answer(&f, "/device/config", "{\"device_id\":\"b\"}", NONE);
    ck_assert(knows("A2"));
    ck_assert(!knows("b"));
    ck_assert_int_eq(known("b"), TP_GONE);
    ck_assert(fx_heard(&f, "gone b "));
    ck_assert(fx_dropped(&f, "b"));
    ck_assert(!fx_dropped(&f, "a"));
    fx_fini(&f);
}
END_TEST

START_TEST(gateway_that_is_read_again_loses_and_gains_devices)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
#define BEHIND(id, at) "{\"device_id\":\"" id "\",\"sub_device_addr\":\"" at "\"}"
#define GATEWAY(list) OK("{\"id\":\"g\",\"device_type\":\"2\",\"sub_devices\":" list "}")
    fx_answer(&f, "/device/config", "\"g\"",
              GATEWAY("[" BEHIND("s1", "1") "," BEHIND("s2", "2") "]"));
    ck_assert(fx_heard(&f, "device s2 number= parent=g address=2"));
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
    ck_assert(fx_dropped(&f, "g"));
    fx_answer(&f, "/device/config", "\"g\"",
              GATEWAY("[" BEHIND("s2", "3") "," BEHIND("s3", "2") "]"));
    ck_assert(fx_heard(&f, "gone s1"));
    ck_assert(fx_heard(&f, "device s2 number= parent=g address=3"));
    ck_assert(fx_heard(&f, "device s3 number= parent=g address=2"));
    ck_assert(tp_http_directory.child(f.h, TPC_STR("g"), TPC_STR("3"), &found));
    ck_assert_str_eq(found.id, "s2");
    /* All that is behind it goes with it. */
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
    fx_answer(&f, "/device/config", "\"g\"", "{\"code\":100404}");
    ck_assert(fx_heard(&f, "gone s2"));
    ck_assert(fx_heard(&f, "gone s3"));
    ck_assert(fx_heard(&f, "gone g"));
    ck_assert_int_eq(known("g"), TP_GONE);
    fx_fini(&f);
}
END_TEST

START_TEST(gateway_behind_a_gateway_stays_there_when_it_is_read_by_itself)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
    fx_answer(&f, "/device/config", "\"g\"", GATEWAY("[" BEHIND("s", "1") "]"));
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"s\"}", "");
    fx_step(&f);
    fx_answer(&f, "/device/config", "\"s\"",
              OK("{\"id\":\"s\",\"device_type\":\"2\",\"sub_devices\":[" BEHIND("m", "2") "]}"));
    ck_assert(tp_http_directory.child(f.h, TPC_STR("g"), TPC_STR("1"), &found));
    ck_assert_str_eq(found.id, "s");
    ck_assert(tp_http_directory.child(f.h, TPC_STR("s"), TPC_STR("2"), &found));
    /* Nor does its gateway's list change it again. */
    f.line_count = 0;
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
    fx_answer(&f, "/device/config", "\"g\"", GATEWAY("[" BEHIND("s", "1") "]"));
    ck_assert_uint_eq(f.line_count, 0);
    ck_assert(tp_http_directory.child(f.h, TPC_STR("s"), TPC_STR("2"), &found));
    fx_fini(&f);
}
END_TEST

START_TEST(device_of_another_service_is_none_of_ours)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"m\"}", "");
    fx_step(&f);
    fx_answer(&f, "/device/config", "\"m\"", OK("{\"id\":\"m\",\"protocol_type\":\"MODBUS_TCP\"}"));
    ck_assert(!knows("m"));
    ck_assert_uint_eq(f.host.device_count, 0);
    fx_fini(&f);
}
END_TEST

START_TEST(directory_that_is_full_passes_devices_over)
{
    fx_init(&f, 1, NULL);
    f.h->devices.max = 1;
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "",
              PAGE("2", DEVICE("a", "1", "A") "," DEVICE("b", "2", "B")));
    ck_assert(knows("a") && !knows("b"));
    ck_assert_int_eq(fake_metric(&f.host, "devices_passed_over"), 1);
    fx_fini(&f);
}
END_TEST

START_TEST(core_that_takes_no_device_is_asked_again)
{
    fx_init(&f, 1, NULL);
    f.host.make_code = TPC_EAGAIN;
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "", PAGE("1", DEVICE("a", "1", "A")));
    ck_assert_uint_eq(f.host.device_count, 0);
    ck_assert(!fx_heard(&f, "device a"));
    f.host.make_code = 0;
    fx_pass(&f, 2000);
    ck_assert_uint_eq(f.host.device_count, 1);
    ck_assert(fx_heard(&f, "device a"));
    f.host.make_code = TPC_EDENIED; /* another product has it: no use to try again */
    fx_answer(&f, "/plugin/devices", "", PAGE("1", DEVICE("b", "2", "B")));
    ck_assert_int_eq(fake_metric(&f.host, "devices_refused"), 1);
    ck_assert_uint_eq(tk_env_logged(&f.env, "\"b\" cannot be in the core"), 1);
    fx_fini(&f);
}
END_TEST

/* ---- a device that moves ---- */

/* Devices that the core has. */
static struct {
    char key[16], json[256];
} entities[4];

static int get(struct tpc_core *core, struct tpc_str tenant, const char *kind, struct tpc_str key,
               tpc_entity_fn *fn, void *user)
{
    const struct tpc_entity_info info = { .size = sizeof(info), .revision = 7 };
    (void) core;
    (void) tenant;
    ck_assert_str_eq(kind, "device");
    for (int i = 0; i < 4; i++) {
        if (tpc_str_equal(key, tpc_str_from(entities[i].key))) {
            return fn(user, &info, key, tpc_str_from(entities[i].json));
        }
    }
    return TPC_ENOENT;
}

static int list(struct tpc_core *core, const struct tpc_entity_query *q, tpc_entity_fn *fn,
                void *user)
{
    const struct tpc_entity_info info = { .size = sizeof(info), .revision = 7 };
    int rc = 0;
    (void) core;
    ck_assert(tpc_str_equal(q->field, TPC_STR("gateway")));
    for (int i = 0; i < 4 && rc == 0; i++) {
        if (strstr(entities[i].json, "\"gateway\":\"g\"") != NULL && q->after_key.len == 0) {
            rc = fn(user, &info, tpc_str_from(entities[i].key), tpc_str_from(entities[i].json));
        }
    }
    return rc;
}

static int put(struct tpc_core *core, const struct tpc_actor *actor, const char *kind,
               struct tpc_str json, uint64_t expect_rev, struct tpc_entity_info *ret)
{
    char text[256], address[32] = "?";
    int mine = -1;
    (void) core;
    (void) actor;
    (void) kind;
    (void) ret;
    ck_assert_uint_eq(expect_rev, 7);
    snprintf(text, sizeof(text), "%.*s", (int) json.len, json.ptr);
    const char *at = strstr(text, "\"address\":");
    if (at != NULL) {
        snprintf(address, sizeof(address), "%.13s", at);
    }
    for (int i = 0; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof(key), "\"key\":\"%s\"", entities[i].key);
        if (strstr(text, key) != NULL) {
            mine = i;
        } else if (strstr(entities[i].json, "\"gateway\":\"g\"") != NULL &&
                   strstr(entities[i].json, address) != NULL) {
            return TPC_EEXIST;
        }
    }
    ck_assert_int_ge(mine, 0);
    memcpy(entities[mine].json, text, sizeof(text));
    return 0;
}

static const struct tpc_api api = {
    .iface = TPC_IFACE(struct tpc_api, 1), .entity_put = put, .entity_get = get, .entity_list = list
};

static void entity(int i, const char *key, const char *rest)
{
    snprintf(entities[i].key, sizeof(entities[i].key), "%s", key);
    snprintf(entities[i].json, sizeof(entities[i].json),
             "{%s,\"key\":\"%s\",\"product\":\"meter\"}", rest, key);
}

static void gateway_is(const char *json)
{
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
    fx_answer(&f, "/device/config", "\"g\"", json);
}

START_TEST(device_that_is_there_is_moved_to_its_place)
{
    memset(entities, 0, sizeof(entities));
    entity(0, "h", "\"name\":\"x\"");
    entity(1, "s", "\"gateway\":\"g\",\"address\":\"1\",\"labels\":{\"site\":\"x\"}");
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    f.host.api = &api;
    gateway_is(OK("{\"id\":\"h\",\"device_type\":\"2\",\"sub_devices\":[{\"device_id\":\"s\","
                  "\"sub_device_addr\":\"9\"}]}"));
    ck_assert_str_eq(entities[1].json,
                     "{\"gateway\":\"h\",\"address\":\"9\",\"labels\":{\"site\":\"x\"},"
                     "\"key\":\"s\",\"product\":\"meter\"}");
    ck_assert_ptr_nonnull(strstr(entities[0].json, "{\"name\":\"x\""));
    fx_fini(&f);
}
END_TEST

START_TEST(devices_that_swap_addresses_both_get_theirs)
{
    memset(entities, 0, sizeof(entities));
    entity(0, "g", "\"name\":\"x\"");
    entity(1, "s", "\"gateway\":\"g\",\"address\":\"1\"");
    entity(2, "t", "\"gateway\":\"g\",\"address\":\"2\"");
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    f.host.api = &api;
    gateway_is(GATEWAY("[" BEHIND("s", "2") "," BEHIND("t", "1") "]"));
    ck_assert_ptr_nonnull(strstr(entities[1].json, "\"gateway\":\"g\",\"address\":\"2\""));
    ck_assert_ptr_nonnull(strstr(entities[2].json, "\"gateway\":\"g\",\"address\":\"1\""));
    fx_fini(&f);
}
END_TEST

START_TEST(address_of_a_device_that_is_gone_is_free_for_another)
{
    memset(entities, 0, sizeof(entities));
    entity(0, "g", "\"name\":\"x\"");
    entity(1, "s", "\"gateway\":\"g\",\"address\":\"1\"");
    entity(2, "t", "\"name\":\"new\"");
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
    f.host.api = &api;
    gateway_is(GATEWAY("[" BEHIND("s", "1") "]"));
    gateway_is(GATEWAY("[" BEHIND("t", "1") "]"));
    ck_assert_ptr_null(strstr(entities[1].json, "gateway"));
    ck_assert_ptr_null(strstr(entities[1].json, "address"));
    ck_assert_ptr_nonnull(strstr(entities[2].json, "\"gateway\":\"g\",\"address\":\"1\""));
    ck_assert_int_eq(known("s"), TP_GONE);
    fx_fini(&f);
}
END_TEST

/* ---- the state file ---- */

static void read_file(const char *path, char *text, size_t cap)
{
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, cap - 1, file)] = '\0';
    fclose(file);
}

START_TEST(known_devices_are_let_in_after_a_restart_without_the_platform)
{
    char path[300], text[2000];
    struct stat st;
    snprintf(path, sizeof(path), "%s/new/state.json", tk_tmpdir());
    fx_init(&f, 2, path);
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "", PAGE("1", DEVICE("a", "1", "A")));
    fx_answer(&f, "/access/list", "",
              OK("[{\"id\":\"p\",\"name\":\"n\",\"voucher\":\"{\\\"token\\\":\\\"t\\\"}\"}]"));
    fx_pass(&f, 1001);
    read_file(path, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "\"id\":\"a\""));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    fx_restart(&f);
    ck_assert(fx_heard(&f, "point p name=n"));
    fx_step(&f);
    fx_fail(&f, "/heartbeat", "", TPC_EOFFLINE);
    fx_fail(&f, "/plugin/devices", "", TPC_EOFFLINE);
    ck_assert(fx_heard(&f, "device a number=A parent= address= config={\"interval\":10}"));
    tk_ok(fx_login(&f, 0, "V1", NULL));
    ck_assert(f.ends[0].told);
    ck_assert_int_eq(f.ends[0].code, 0);
    ck_assert_str_eq(f.ends[0].device, "a");
    fx_fini(&f);
}
END_TEST

START_TEST(state_that_cannot_be_read_is_done_without)
{
    char path[300];
    const char *dir = tk_tmpdir();
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    snprintf(path, sizeof(path), "%s/broken.json", dir);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(_i == 0   ? "{\"service\":\"meter\",\"devices\":[{\"id\":\"a\""
          : _i == 1 ? "[]"
                    : "{\"service\":\"other\",\"devices\":[{\"id\":\"a\",\"type\":\"1\"}]}",
          file);
    fclose(file);
    fx_init(&f, 1, path);
    fx_quiet_start(&f);
    ck_assert(!knows("a"));
    ck_assert_int_eq(fake_metric(&f.host, "state_failed"), _i < 2);
    fx_fini(&f);
}
END_TEST

/* ---- third-party services ---- */

START_TEST(access_points_and_their_devices_come_and_go)
{
    fx_init(&f, 2, NULL);
    fx_quiet_start(&f);
#define POINT(id, token, devices)                                                                  \
    "{\"id\":\"" id "\",\"name\":\"N\",\"voucher\":\"{\\\"token\\\":\\\"" token                    \
    "\\\"}\",\"devices\":" devices "}"
#define ROW(id)                                                                                    \
    "{\"id\":\"" id "\",\"name\":\"dev\",\"device_number\":\"" id                                  \
    "\",\"voucher\":\"{\\\"serial\\\":\\\"" id                                                     \
    "\\\"}\",\"protocol_config\":\"{\\\"interval\\\":\\\"3\\\"}\",\"is_online\":0}"
    fx_answer(
        &f, "/access/list", "{\"service_identifier\":\"meter\"}",
        OK("[" POINT("p", "t", "[" ROW("x") "," ROW("y") "]") "," POINT("q", "u", "null") "]"));
    ck_assert(fx_heard(&f, "point p name=N voucher={\"token\":\"t\"}"));
    ck_assert(fx_heard(&f, "point q"));
    ck_assert(fx_heard(&f,
                       "device x number=x parent= address= config={\"interval\":3} settings=null "
                       "point=p"));
    /* It changed: the platform says so, one device is not its any more. */
    ck_assert_ptr_nonnull(
        fx_request(&f, "POST", "/api/v1/plugin/notification", "",
                   "{\"message_type\":\"1\",\"message\":\"{\\\"service_access_id\\\":"
                   "\\\"p\\\"}\"}",
                   ""));
    fx_step(&f);
    fx_answer(&f, "/service/access", "{\"service_access_id\":\"p\"}",
              OK(POINT("p", "t2", "[" ROW("y") "]")));
    ck_assert(fx_heard(&f, "point p name=N voucher={\"token\":\"t2\"}"));
    fx_answer(&f, "/device/config", "{\"device_id\":\"x\"}", NONE);
    ck_assert(fx_heard(&f, "gone x"));
    /* It is no more. */
    (void) fx_request(
        &f, "POST", "/api/v1/notify/event", "",
        "{\"message_type\":\"1\",\"message\":\"{\\\"service_access_id\\\":\\\"p\\\"}\"}", "");
    fx_step(&f);
    fx_answer(&f, "/service/access", "\"p\"", "{\"code\":100404}");
    ck_assert(fx_heard(&f, "nopoint p"));
    fx_answer(&f, "/device/config", "{\"device_id\":\"y\"}", NONE);
    ck_assert(!knows("y"));
    /* A failure is no change: the list is read until it can be. */
    (void) fx_request(
        &f, "POST", "/api/v1/notify/event", "",
        "{\"message_type\":\"1\",\"message\":\"{\\\"service_access_id\\\":\\\"q\\\"}\"}", "");
    fx_step(&f);
    fx_fail(&f, "/service/access", "\"q\"", TPC_ETIMEOUT);
    fx_pass(&f, 11000);
    fx_answer(&f, "/access/list", "", "{\"code\":100000}");
    fx_pass(&f, 3000);
    fx_answer(&f, "/access/list", "", OK("[]"));
    ck_assert(fx_heard(&f, "nopoint q"));
    fx_fini(&f);
}
END_TEST

START_TEST(instance_without_a_program_keeps_the_directory_too)
{
    fx_init(&f, 0, NULL);
    fx_step(&f);
    fx_answer(&f, "/plugin/devices", "", PAGE("1", DEVICE("a", "1", "A")));
    ck_assert(knows("A"));
    ck_assert_str_eq(f.host.devices[0].product, "meter");
    tk_fails(TPC_ESTATE, tp_http_serve(f.h, &f.ops, NULL, NULL));
    fx_fini(&f);
}
END_TEST

START_TEST(address_that_cannot_be_asked_is_said_once_of_each_call)
{
    fx_init(&f, 1, NULL);
    f.submit_code = TPC_EINVAL;
    for (int i = 0; i < 20; i++) {
        fx_pass(&f, 5000);
    }
    ck_assert_uint_eq(tk_env_logged(&f.env, "cannot be asked"), 2); /* heartbeat, devices */
    f.submit_code = 0;
    fx_fini(&f);
}
END_TEST

START_TEST(client_that_takes_nothing_now_is_asked_again)
{
    fx_init(&f, 1, NULL);
    f.submit_code = TPC_ESTATE;
    fx_step(&f);
    ck_assert_uint_eq(f.call_count, 0);
    f.submit_code = 0;
    fx_pass(&f, 2000);
    ck_assert_uint_eq(fx_calls(&f, "heartbeat"), 1);
    ck_assert_uint_eq(fx_calls(&f, "plugin/devices"), 1);
    fx_fini(&f);
}
END_TEST

Suite *platform_suite(void)
{
    Suite *s = suite_create("platform");
    TCase *t = tcase_create("platform");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, heartbeat_is_first_at_once_and_then_as_the_option_says);
    tcase_add_test(t, log_says_once_that_the_platform_is_away_or_back);
    tcase_add_test(t, what_failed_is_done_at_once_when_the_platform_is_back);
    tcase_add_test(t, service_that_is_not_registered_is_an_error_for_people);
    tcase_add_test(t, question_that_the_platform_objects_to_says_nothing_of_its_life);
    tcase_add_test(t, pages_are_read_to_the_end_and_devices_are_made_and_told);
    tcase_add_test(t, page_that_is_too_large_is_read_in_smaller_ones);
    tcase_add_loop_test(t, list_that_fails_is_read_again_with_growing_pauses, 0,
                        (int) (sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(t, what_changes_while_a_list_is_read_is_read_behind_it);
    tcase_add_test(t, known_device_that_is_in_no_list_is_asked_for);
    tcase_add_test(t, gateway_that_is_read_again_loses_and_gains_devices);
    tcase_add_test(t, gateway_behind_a_gateway_stays_there_when_it_is_read_by_itself);
    tcase_add_test(t, device_of_another_service_is_none_of_ours);
    tcase_add_test(t, directory_that_is_full_passes_devices_over);
    tcase_add_test(t, core_that_takes_no_device_is_asked_again);
    tcase_add_test(t, device_that_is_there_is_moved_to_its_place);
    tcase_add_test(t, devices_that_swap_addresses_both_get_theirs);
    tcase_add_test(t, address_of_a_device_that_is_gone_is_free_for_another);
    tcase_add_test(t, known_devices_are_let_in_after_a_restart_without_the_platform);
    tcase_add_loop_test(t, state_that_cannot_be_read_is_done_without, 0, 3);
    tcase_add_test(t, access_points_and_their_devices_come_and_go);
    tcase_add_test(t, instance_without_a_program_keeps_the_directory_too);
    tcase_add_test(t, address_that_cannot_be_asked_is_said_once_of_each_call);
    tcase_add_test(t, client_that_takes_nothing_now_is_asked_again);
    suite_add_tcase(s, t);
    return s;
}
