/* Whole mappings: a payload in, frames out. */
#include "convert.h"
#include "fake_host.h"
#include "suites.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "data/option.h"

enum { SAID_MAX = 4096 };

static struct tpc_arena *arena, *scratch;
static struct cn_config config;
static struct fake_host host; /* for its fail() alone */
static struct tk_env env;
static char said[SAID_MAX]; /* "device type kind time payload;" of each frame */
static char counts[256];

static int refuse(void *ctx, int code, const char *fmt, ...)
{
    va_list args;
    (void) ctx;
    va_start(args, fmt);
    vsnprintf(host.last_fail, sizeof(host.last_fail), fmt, args);
    va_end(args);
    return code;
}

static int read_config(const char *mappings)
{
    static struct tpc_value given, checked; /* the configuration points into it */
    char json[2048];
    struct tpc_error err;
    const struct tpc_list table = TPC_OPTIONS(connector_options);
    snprintf(json, sizeof(json), "{\"url\":\"mqtt://127.0.0.1:1\",%s}", mappings);
    tk_ok(tpc_json_parse(arena, tpc_str_from(json), TPC_JSON_COPY, NULL, &given));
    int rc = tpi_option_check(&table, &given, 0, arena, &err, &checked);
    ck_assert_msg(rc == 0, "%s: %s", err.path, err.text);
    host.base.allocator = &env.alloc.base;
    host.base.random = &env.random;
    host.base.fail = refuse;
    return cn_config_read(&host.base, &host, &checked, &config);
}

static void say(const char *fmt, ...)
{
    va_list args;
    size_t len = strlen(said);
    va_start(args, fmt);
    vsnprintf(said + len, sizeof(said) - len, fmt, args);
    va_end(args);
}

static int on_frame(void *user, const struct cn_frame *f)
{
    (void) user;
    say("%.*s %.*s %u %lld %.*s;", (int) f->device.len, f->device.ptr, (int) f->type.len,
        f->type.ptr, (unsigned) f->kind, (long long) f->unix_ms, (int) f->payload.len,
        (const char *) f->payload.ptr);
    return 0;
}

static int on_refused(void *user, struct tpc_str device, struct tpc_bytes payload, int code,
                      const char *why)
{
    (void) user;
    (void) code;
    say("!%.*s %s: %.*s;", (int) device.len, device.len > 0 ? device.ptr : "", why,
        (int) payload.len, payload.len > 0 ? (const char *) payload.ptr : "");
    return 0;
}

static void on_count(void *user, const char *metric, uint64_t n)
{
    size_t len = strlen(counts);
    (void) user;
    (void) n;
    snprintf(counts + len, sizeof(counts) - len, "%s;", metric);
}

static const char *convert_bytes(const char *topic, struct tpc_bytes payload)
{
    const struct cn_out out = { NULL, on_frame, on_refused, on_count };
    said[0] = counts[0] = '\0';
    tpc_arena_reset(scratch);
    tk_ok(
        cn_convert(&config.mappings[0], config.cbor, tpc_str_from(topic), payload, scratch, &out));
    return said;
}

static const char *convert(const char *topic, const char *payload)
{
    struct tpc_bytes bytes = { (const uint8_t *) payload, strlen(payload) };
    return convert_bytes(topic, bytes);
}

static void begin(const char *mapping)
{
    char text[1900];
    snprintf(text, sizeof(text), "\"mappings\":[%s]", mapping);
    int rc = read_config(text);
    ck_assert_msg(rc == 0, "%s", host.last_fail);
}

START_TEST(sample_of_the_original_is_converted)
{
    begin("{\"topic\":\"sensor/+/data\",\"device\":\"(?<=sensor/)(.*?)(?=/data)\","
          "\"device_source\":\"topic\",\"type\":\"Thermometer\",\"type_source\":\"constant\","
          "\"attributes\":[{\"type\":\"string\",\"key\":\"model\",\"value\":\"${sensorModel}\"}],"
          "\"timeseries\":[{\"type\":\"double\",\"key\":\"temperature\",\"value\":\"${temp}\"},"
          "{\"type\":\"string\",\"key\":\"humidity\",\"value\":\"${hum}\"}]}");
    ck_assert_str_eq(
        convert("sensor/box1/data", "{\"sensorModel\":\"T1\",\"temp\":\"42\",\"hum\":58}"),
        "box1 Thermometer 2 0 {\"model\":\"T1\"};"
        "box1 Thermometer 1 0 {\"temperature\":42.0,\"humidity\":\"58\"};");
    ck_assert_str_eq(counts, "");
    ck_assert_str_eq(convert("sensor/box1/data", "{\"temp\":1,\"ts\":1763744400123}"),
                     "box1 Thermometer 1 1763744400123 {\"temperature\":1.0};");
    ck_assert_str_eq(counts, "values_missing;values_missing;");
    ck_assert_str_eq(convert("sensor/box1/data", "{\"temp\":1,\"temp\":2,\"ts\":1763744400123.0}"),
                     "box1 Thermometer 1 1763744400123 {\"temperature\":2.0};");
    ck_assert_str_eq(
        convert("sensor/box1/data", "{\"temp\":1,\"ts\":12345}"), /* time since a start */
        "box1 Thermometer 1 0 {\"temperature\":1.0};");
    ck_assert_str_eq(convert("sensor/box1/data", "{\"temp\":\"warm\"}"),
                     "!box1 no value was found in it: {\"temp\":\"warm\"};");
    ck_assert_str_eq(counts, "values_missing;values_unfit;values_missing;");
    ck_assert_str_eq(convert("sensor/box1/data", "21 degrees"), "! it is no JSON: 21 degrees;");
    ck_assert_str_eq(convert("sensor/box1/data", ""), "! it is no JSON: ;");
    ck_assert_str_eq(convert("meter/box1/data", "{\"temp\":1}"),
                     "! the device's expression matches nothing: {\"temp\":1};");
}
END_TEST

START_TEST(bytes_sample_of_the_original_is_converted)
{
    begin("{\"topic\":\"sensor/raw_data\",\"converter\":\"bytes\",\"device\":\"[0:4]\","
          "\"attributes\":[{\"type\":\"raw\",\"key\":\"rawData\",\"value\":\"[:]\"}],"
          "\"timeseries\":[{\"type\":\"raw\",\"key\":\"temp\",\"value\":\"[4:]\"},"
          "{\"type\":\"integer\",\"key\":\"n\",\"value\":\"[4:6]\"}]}");
    ck_assert_str_eq(convert("sensor/raw_data", "AM1223.5"),
                     "AM12 default 2 0 {\"rawData\":\"AM1223.5\"};"
                     "AM12 default 1 0 {\"temp\":\"23.5\",\"n\":23};");
    struct tpc_bytes bad = { (const uint8_t *) "\xff\xfe\xfd\xfc", 4 };
    ck_assert_ptr_nonnull(strstr(convert_bytes("sensor/raw_data", bad), "!"));
    ck_assert_ptr_nonnull(strstr(convert("sensor/raw_data", ""), "! the name of the device"));
}
END_TEST

START_TEST(array_is_many_messages_and_each_can_fail)
{
    begin("{\"topic\":\"all\",\"device\":\"${id}\",\"type\":\"${kind}\","
          "\"timeseries\":[{\"key\":\"t\",\"value\":\"${t}\"}]}");
    ck_assert_str_eq(convert("all",
                             "[{\"id\":\"a\",\"kind\":\"k\",\"t\":1,\"ts\":1763744400000},"
                             "{\"id\":\"b\",\"kind\":\"k\",\"t\":2},{\"t\":3},5,"
                             "{\"id\":\"a\",\"kind\":\"k\",\"t\":4},{\"id\":\"c\",\"t\":5}]"),
                     "a k 1 1763744400000 {\"t\":1};b k 1 0 {\"t\":2};"
                     "! the device's expression matches nothing: {\"t\":3};"
                     "! the device's expression matches nothing: 5;"
                     "a k 1 0 {\"t\":4};"
                     "!c the type's expression matches nothing: {\"id\":\"c\",\"t\":5};");
    ck_assert_str_eq(convert("all", "[]"), "! an array without items: [];");
}
END_TEST

START_TEST(star_copies_the_message_and_later_entries_win)
{
    begin("{\"topic\":\"x\",\"device\":\"d\",\"timeseries\":[{\"key\":\"*\"},"
          "{\"key\":\"t\",\"value\":\"${t}\",\"type\":\"string\"},"
          "{\"key\":\"${name}\",\"value\":\"${t}\"},"
          "{\"key\":\"[a-z]+$\",\"key_source\":\"topic\",\"value\":\"${t}\"}]}");
    ck_assert_str_eq(convert("some/topic", "{\"t\":5,\"name\":\"n5\",\"no\":null}"),
                     "d default 1 0 {\"t\":\"5\",\"name\":\"n5\",\"n5\":5,\"topic\":5};");
}
END_TEST

START_TEST(entries_with_times_of_their_own_become_frames_of_their_own)
{
    begin("{\"topic\":\"x\",\"device\":\"d\",\"timeseries\":["
          "{\"key\":\"a\",\"value\":\"${a}\",\"time\":\"${at}\",\"day_first\":true},"
          "{\"key\":\"b\",\"value\":\"${b}\"},"
          "{\"key\":\"c\",\"value\":\"${c}\",\"time\":\"${at}\",\"day_first\":true}]}");
    ck_assert_str_eq(convert("x",
                             "{\"a\":1,\"b\":2,\"c\":3,\"at\":\"01.02.2025\",\"ts\":\"2025-11-21 "
                             "17:00\"}"),
                     "d default 1 1738368000000 {\"a\":1,\"c\":3};"
                     "d default 1 1763744400000 {\"b\":2};");
    ck_assert_str_eq(convert("x", "{\"a\":1,\"at\":\"some day\",\"timestamp\":\"then\"}"),
                     "d default 1 0 {\"a\":1};");
    ck_assert_ptr_nonnull(strstr(counts, "unread_times;"));
}
END_TEST

START_TEST(received_time_overlooks_the_messages_time)
{
    begin("{\"topic\":\"x\",\"device\":\"d\",\"received_time\":true,\"timeseries\":[{\"key\":\"*\"}"
          "]}");
    ck_assert_str_eq(convert("x", "{\"a\":1,\"ts\":1763744400000}"),
                     "d default 1 0 {\"a\":1,\"ts\":1763744400000};");
}
END_TEST

START_TEST(raw_hands_the_payload_on_as_it_is)
{
    begin("{\"topic\":\"x/+\",\"converter\":\"raw\",\"device\":\"[^/"
          "]+$\",\"device_source\":\"topic\","
          "\"type\":\"lua-product\"}");
    struct tpc_bytes bytes = { (const uint8_t *) "\x01\x02", 2 };
    ck_assert_str_eq(convert_bytes("x/dev7", bytes), "dev7 lua-product 0 0 \x01\x02;");
    cn_config_free(&config);
    begin("{\"topic\":\"x\",\"converter\":\"raw\",\"device\":\"${id}\"}");
    ck_assert_str_eq(convert("x", "{\"id\":\"d5\"}"), "d5 default 0 0 {\"id\":\"d5\"};");
    ck_assert_str_eq(convert("x", "\x01"), "! it is no JSON: \x01;");
}
END_TEST

START_TEST(value_that_is_nested_too_deeply_is_refused_once)
{
    char payload[80] = "";
    begin("{\"topic\":\"x\",\"device\":\"d\",\"timeseries\":[{\"key\":\"a\",\"value\":\"${$}\"}]}");
    size_t n = 0;
    for (int i = 0; i < 32; i++) {
        n += (size_t) snprintf(payload + n, sizeof(payload) - n, "%s", i == 0 ? "{\"a\":" : "[");
    }
    for (int i = 0; i < 32; i++) {
        n += (size_t) snprintf(payload + n, sizeof(payload) - n, "%s", i == 31 ? "}" : "]");
    }
    ck_assert_ptr_nonnull(strstr(convert("x", payload), "!d a value is nested too deeply: {"));
    ck_assert_ptr_null(strstr(said + 1, "!d"));
}
END_TEST

START_TEST(more_values_than_a_frame_holds_go_into_more_frames)
{
    static char payload[40000];
    size_t n = 0;
    begin("{\"topic\":\"x\",\"device\":\"d\",\"timeseries\":[{\"key\":\"*\"}]}");
    n += (size_t) snprintf(payload, sizeof(payload), "{\"k0\":0");
    for (int i = 1; i < CN_POINTS_MAX + 100; i++) {
        n += (size_t) snprintf(payload + n, sizeof(payload) - n, ",\"k%d\":%d", i, i);
    }
    snprintf(payload + n, sizeof(payload) - n, "}");
    const struct cn_out out = { NULL, on_frame, on_refused, on_count };
    struct tpc_bytes bytes = { (const uint8_t *) payload, strlen(payload) };
    said[0] = '\0';
    tk_ok(cn_convert(&config.mappings[0], true, TPC_STR("x"), bytes, scratch, &out));
    const char *second = strstr(said + 1, "d default");
    ck_assert_ptr_nonnull(second);
    ck_assert_ptr_null(strstr(second + 1, "d default"));
}
END_TEST

START_TEST(mistakes_of_the_configuration_are_named)
{
    static const struct {
        const char *config, *said;
    } cases[] = {
        { "\"mappings\":[{\"topic\":\"x\",\"device\":\"d\"}]",
          "mappings[0].timeseries: neither attributes nor timeseries are there" },
        { "\"mappings\":[{\"topic\":\"x/#/y\",\"device\":\"d\",\"converter\":\"raw\"}]",
          "mappings[0].topic: it is no topic filter" },
        { "\"mappings\":[{\"topic\":\"x\",\"device\":\"d\",\"timeseries\":[{\"key\":\"a\","
          "\"value\":"
          "\"${x\"}]}]",
          "mappings[0].timeseries[0].value: column 1: no closing }" },
        { "\"mappings\":[{\"topic\":\"x\",\"device\":\"d\",\"timeseries\":[{\"key\":\"a\"}]}]",
          "mappings[0].timeseries[0].value: it is needed, unless key is *" },
        { "\"mappings\":[{\"topic\":\"x\",\"converter\":\"bytes\",\"device\":\"d\",\"timeseries\":["
          "{"
          "\"key\":\"*\"}]}]",
          "mappings[0].timeseries[0].key: * stands for the members of JSON" },
        { "\"rpc\":[{\"topic\":\"a\",\"methods\":\"a(\"}]",
          "rpc[0].methods: column 3: no closing )" },
        { "\"rpc\":[{\"topic\":\"a\",\"answer_topic\":\"a/+/${requestId}\"}]",
          "rpc[0].answer_topic: no topic can be made of it" },
        { "\"attribute_updates\":[{\"topic\":\"a/${deviceName\"}]",
          "attribute_updates[0].topic: column 3: no closing }" },
        { "\"clean_start\":false", "client_id: without clean_start a fixed one is needed" },
        { "\"retry_max\":\"20ms\"", "retry_max: is less than retry_min" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tk_fails(TPC_EINVAL, read_config(cases[i].config));
        ck_assert_str_eq(host.last_fail, cases[i].said);
        cn_config_free(&config);
    }
}
END_TEST

static int without_memory(const struct tpc_allocator *a, void *user)
{
    const struct cn_out out = { NULL, on_frame, on_refused, on_count };
    struct tpc_arena *own = NULL;
    struct tpc_bytes bytes = { (const uint8_t *) "[{\"t\":1,\"u\":[1,2]},{}]", 22 };
    (void) user;
    said[0] = counts[0] = '\0';
    int rc = tpc_arena_create(a, 0, &own);
    rc = rc != 0 ? rc : cn_convert(&config.mappings[0], false, TPC_STR("x/y"), bytes, own, &out);
    tpc_arena_destroy(own);
    return rc;
}

static int read_without_memory(const struct tpc_allocator *a, void *user)
{
    host.base.allocator = a;
    int rc = cn_config_read(&host.base, &host, user, &config);
    cn_config_free(&config);
    return rc;
}

START_TEST(configuration_without_memory_is_refused)
{
    struct tpc_value given, checked;
    struct tpc_error err;
    const struct tpc_list table = TPC_OPTIONS(connector_options);
    tk_ok(tpc_json_parse(
        arena,
        TPC_STR("{\"url\":\"mqtt://h\",\"mappings\":[{\"topic\":\"a/+\",\"device\":\"a.*\","
                "\"device_source\":\"topic\",\"attributes\":[{\"key\":\"k\",\"value\":\"${a.b[0]}"
                "\"}]}],"
                "\"rpc\":[{\"topic\":\"t/${params.x}\",\"answer_topic\":\"r/${requestId}\"}],"
                "\"attribute_updates\":[{\"topic\":\"u\"}]}"),
        0, NULL, &given));
    tk_ok(tpi_option_check(&table, &given, 0, arena, &err, &checked));
    host.base.random = &env.random;
    host.base.fail = refuse;
    tk_each_alloc_fails(read_without_memory, &checked);
}
END_TEST

START_TEST(lack_of_memory_is_told)
{
    begin("{\"topic\":\"x\",\"device\":\"[a-z]+$\",\"device_source\":\"topic\",\"timeseries\":[{"
          "\"key\":"
          "\"*\",\"type\":\"string\"}]}");
    tk_each_alloc_fails(without_memory, NULL);
}
END_TEST

static void setup(void)
{
    memset(&host, 0, sizeof(host));
    memset(&config, 0, sizeof(config));
    tk_env_init(&env);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_arena_create(NULL, 0, &scratch));
}

static void teardown(void)
{
    cn_config_free(&config);
    arena = tpc_arena_destroy(arena);
    scratch = tpc_arena_destroy(scratch);
    tk_env_fini(&env);
}

TCase *convert_case(void)
{
    TCase *c = tcase_create("convert");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, sample_of_the_original_is_converted);
    tcase_add_test(c, bytes_sample_of_the_original_is_converted);
    tcase_add_test(c, array_is_many_messages_and_each_can_fail);
    tcase_add_test(c, star_copies_the_message_and_later_entries_win);
    tcase_add_test(c, entries_with_times_of_their_own_become_frames_of_their_own);
    tcase_add_test(c, received_time_overlooks_the_messages_time);
    tcase_add_test(c, raw_hands_the_payload_on_as_it_is);
    tcase_add_test(c, value_that_is_nested_too_deeply_is_refused_once);
    tcase_add_test(c, more_values_than_a_frame_holds_go_into_more_frames);
    tcase_add_test(c, mistakes_of_the_configuration_are_named);
    tcase_add_test(c, configuration_without_memory_is_refused);
    tcase_add_test(c, lack_of_memory_is_told);
    return c;
}
