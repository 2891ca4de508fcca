/* Bytes of devices that cannot be used: refused whole or in part, kept, counted, and forgotten. */
#include "suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bad {
    const char *device;
    const char *bytes;
    size_t len; /* 0 = text */
    uint16_t kind;
    int code;
    const char *reason; /* part of it */
};

#define DEEP8 "[[[[[[[["
#define DEEP40 DEEP8 DEEP8 DEEP8 DEEP8 DEEP8
#define CBOR8 "\x81\x81\x81\x81\x81\x81\x81\x81"
#define CBOR40 CBOR8 CBOR8 CBOR8 CBOR8 CBOR8

static const struct bad bad_frames[] = {
    { "t1", "", 0, 0, TPC_EDECODE, "" },
    { "t1", "{\"seq\":1", 0, 0, TPC_EDECODE, "" },
    { "t1", "{\"seq\":1}}", 0, 0, TPC_EDECODE, "" },
    { "t1", "{\"seq\":01}", 0, 0, TPC_EDECODE, "" },
    { "t1", "{'seq':1}", 0, 0, TPC_EDECODE, "" },
    { "t1", "[1,2]", 0, 0, TPC_EDECODE, "object" },
    { "t1", "{\"note\":\"\xff\xfe\"}", 0, 0, TPC_EDECODE, "UTF-8" },
    { "t1", "{\"note\":\"\xed\xa0\x80\"}", 0, 0, TPC_EDECODE, "UTF-8" },
    { "t1", "{\"note\":\"\\ud800\"}", 0, 0, TPC_EDECODE, "" },
    { "t1", "{\"note\":" DEEP40, 0, 0, TPC_ETOOBIG, "32" },
    { "t1", "\x00\x01\x02", 3, 0, TPC_EDECODE, "" },
    { "t1", "{\"code\":", 0, TPC_MSG_REPLY, TPC_EDECODE, "" },
    { "t1", "{}", 0, TPC_MSG_ENTITY, TPC_EUNSUPPORTED, "" },
    { "c1", "\xa1\x63seq", 5, 0, TPC_EDECODE, "" },
    { "c1", "\xa1\x63seq\x01\x01", 7, 0, TPC_EDECODE, "" },
    { "c1", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 9, 0, TPC_EDECODE, "" },
    { "c1", "\xbb\x00\x00\x00\x01\x00\x00\x00\x00", 9, 0, TPC_EDECODE, "" },
    { "c1", "\xa1\x64note\x62\xff\xff", 9, 0, TPC_EDECODE, "UTF-8" },
    { "c1", "\xa1\x64note" CBOR40 "\x01", 47, 0, TPC_ETOOBIG, "32" },
    { "c1", "\x01", 1, 0, TPC_EDECODE, "" },
    { "a1", "{\"id\":\"1\",\"params\":", 0, 0, TPC_EDECODE, "" },
    { "a1", "{\"id\":\"2\",\"params\":7}", 0, 0, TPC_EDECODE, "" },
    { "w1", "{\"seq\":", 0, TPC_MSG_EVENT, TPC_EDECODE, "" },
};

static void put_more(struct fx *f)
{
    static const char model[] =
        "\"model\":{\"properties\":[{\"id\":\"seq\",\"type\":\"int\"},{\"id\":\"note\",\"type\":"
        "\"text\"}]}";
    static const char *const kinds[][2] = { { "cbor", "c1" },
                                            { "alink", "a1" },
                                            { "thingspanel", "w1" } };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char json[300];
        snprintf(json, sizeof(json), "{\"key\":\"p-%s\",\"codec\":\"%s\",%s}", kinds[i][0],
                 kinds[i][0], model);
        fx_put(f, "product", json);
        snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"p-%s\"}", kinds[i][1],
                 kinds[i][0]);
        fx_put(f, "device", json);
    }
}

static void give(struct fx *f, const struct bad *b, size_t len)
{
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = b->kind,
                               .topic = TPC_STR("some/topic"),
                               .payload = { (const uint8_t *) b->bytes, len } };
    tk_ok(probe_receive(b->device, &frame, 77));
    if (f->o.workers == 0) {
        tk_ok(tpc_core_step(f->core, 0, NULL));
    }
}

static void check_letter(struct fx *f, const struct bad *b, size_t len, size_t i)
{
    struct fx_letter l;
    ck_assert_msg(fx_letters(f, &l) == 1, "frame %zu: %zu letters", i, fx_letters(f, NULL));
    ck_assert_msg(l.code == b->code, "frame %zu: %s (%s), expected %s", i, tpc_error_name(l.code),
                  l.reason, tpc_error_name(b->code));
    ck_assert_msg(strstr(l.reason, b->reason) != NULL && l.reason[0] != '\0', "frame %zu: \"%s\"",
                  i, l.reason);
    ck_assert_str_eq(l.device, b->device);
    ck_assert_str_eq(l.origin, "probe");
    ck_assert_str_eq(l.topic, "some/topic");
    ck_assert_uint_eq(l.len, len);
    ck_assert_int_eq(memcmp(l.raw, b->bytes, len < FX_BYTES ? len : FX_BYTES), 0);
    tk_ok(tpc_dead_letter_purge(f->core, l.partition, l.offset));
    ck_assert_uint_eq(fx_letters(f, NULL), 0);
}

static void bad_bytes(uint32_t workers)
{
    struct fx f;
    fx_init(&f, workers, FX_PROBE);
    f.devices = "t1,t2,fan1,fan2,c1,a1,w1";
    fx_open(&f);
    fx_entities(&f);
    put_more(&f);
    fx_start(&f);
    for (size_t i = 0; i < sizeof(bad_frames) / sizeof(bad_frames[0]); i++) {
        const struct bad *b = &bad_frames[i];
        size_t len = b->len != 0 ? b->len : strlen(b->bytes);
        double letters = fx_metric(&f, "tpc_uplink_dead_letters_total");
        size_t logged = tk_env_logged(&f.e, "uplink: dead letter of ");
        give(&f, b, len);
        ck_assert(probe_wait_settled(i + 1));
        ck_assert_int_eq(probe_settled_error(77), 0); /* kept as dead letter: acknowledged */
        ck_assert_double_eq(fx_metric(&f, "tpc_uplink_dead_letters_total"), letters + 1);
        if (logged < 8) { /* later ones in the same second are not told one by one */
            ck_assert_uint_eq(tk_env_logged(&f.e, "uplink: dead letter of "), logged + 1);
        }
        check_letter(&f, b, len, i);
        fx_still_works(&f);
    }
    fx_fini(&f);
}

START_TEST(bad_bytes_become_dead_letters_and_no_more)
{
    bad_bytes(0);
}
END_TEST

START_TEST(bad_bytes_become_dead_letters_with_threads)
{
    bad_bytes(2);
}
END_TEST

START_TEST(a_bad_value_is_dropped_alone)
{
    static const char *const frames[] = {
        "{\"seq\":\"many\",\"on\":true}",
        "{\"mode\":\"fast\",\"on\":true}",
        "{\"temperature\":-41,\"on\":true}",
        "{\"on\":true,\"unknown\":1}",
        "{\"temperature\":{\"a\":1},\"on\":true}",
        "{\"note\":\"seventeen letters\",\"on\":true}",
        "{\"seq\":1.5,\"on\":true}",
        "{\"seq\":9223372036854775808,\"on\":true}",
    };
    struct fx f;
    fx_init(&f, 0, 0);
    fx_run(&f);
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        double refused = fx_metric(&f, "tpc_uplink_points_refused_total");
        tk_ok(fx_feed(&f, "t1", "{\"on\":false}"));
        tk_ok(fx_feed(&f, "t1", frames[i]));
        fx_settle(&f);
        ck_assert_uint_eq(f.failed, 0);
        ck_assert_msg(fx_latest(&f, "t1", "on") == 1, "%s", frames[i]);
        ck_assert_msg(fx_metric(&f, "tpc_uplink_points_refused_total") == refused + 1, "%s",
                      frames[i]);
        ck_assert(!fx_known(&f, "t1", "seq"));
    }
    ck_assert_uint_eq(fx_letters(&f, NULL), 0);
    fx_fini(&f);
}
END_TEST

START_TEST(unknown_devices_and_wrong_products_are_kept_with_their_bytes)
{
    struct fx f;
    struct fx_letter l;
    fx_init(&f, 0, FX_PROBE);
    fx_run(&f);
    struct tpc_frame frame = { .size = sizeof(frame),
                               .device = TPC_STR("nobody"),
                               .topic = TPC_STR("a/b"),
                               .payload = TPC_BYTES("{\"seq\":1}") };
    tk_ok(probe_receive(NULL, &frame, 5));
    tk_ok(fx_step(&f));
    ck_assert_int_eq(probe_settled_error(5), 0);
    ck_assert_uint_eq(fx_letters(&f, &l), 1);
    ck_assert_int_eq(l.code, TPC_ENOENT);
    ck_assert_str_eq(l.device, "nobody");
    ck_assert_uint_eq(l.len, 9);
    tk_ok(tpc_dead_letter_purge(f.core, l.partition, l.offset));

    frame.device = TPC_STR("t1");
    frame.product = TPC_STR("other");
    tk_ok(probe_receive(NULL, &frame, 6));
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(fx_letters(&f, &l), 1);
    ck_assert_int_eq(l.code, TPC_EDENIED);
    ck_assert(!fx_known(&f, "t1", "seq"));

    void *ctx;
    uint64_t session;
    const struct tpc_host *host = probe_host(&ctx);
    struct tpc_session_options o = { .size = sizeof(o), .device = TPC_STR("nobody") };
    tk_fails(TPC_ENOENT, host->session_open(ctx, &o, &session));
    o.device = TPC_STR("t1");
    o.product = TPC_STR("other");
    tk_fails(TPC_EDENIED, host->session_open(ctx, &o, &session));
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

START_TEST(a_letter_is_redriven_once_the_device_is_there)
{
    struct fx f;
    struct fx_letter l;
    fx_init(&f, 0, FX_PROBE);
    fx_run(&f);
    struct tpc_frame frame = { .size = sizeof(frame),
                               .device = TPC_STR("late"),
                               .payload = TPC_BYTES("{\"seq\":41}") };
    tk_ok(probe_receive(NULL, &frame, 5));
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(fx_letters(&f, &l), 1);
    fx_put(&f, "device", "{\"key\":\"late\",\"product\":\"thermo\"}");
    tk_ok(tpc_dead_letter_redrive(f.core, l.partition, l.offset));
    tk_ok(fx_step(&f));
    ck_assert_double_eq(fx_latest(&f, "late", "seq"), 41);
    ck_assert_uint_eq(fx_letters(&f, NULL), 0);
    tk_fails(TPC_ENOENT, tpc_dead_letter_redrive(f.core, l.partition, l.offset));
    tk_fails(TPC_ENOENT, tpc_dead_letter_purge(f.core, l.partition, l.offset));
    tk_fails(TPC_ENOENT, tpc_dead_letter_purge(f.core, 9999, 0));
    fx_fini(&f);
}
END_TEST

static char *big_json(size_t total)
{
    char *text = malloc(total + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', total);
    text[total] = '\0';
    memcpy(text, "{\"seq\":7", 8);
    text[total - 1] = '}';
    return text;
}

static void big(uint32_t workers)
{
    struct fx f;
    char *text = big_json(300 * 1024);
    fx_init(&f, workers, FX_PROBE);
    fx_run(&f);
    tk_fails(TPC_ETOOBIG, fx_feed(&f, "t1", text));
    fx_error_says("262144");
    struct tpc_frame frame = { .size = sizeof(frame),
                               .payload = { (const uint8_t *) text, 300 * 1024 } };
    tk_fails(TPC_ETOOBIG, probe_receive("t1", &frame, 1));
    ck_assert_double_eq(fx_metric(&f, "tpc_core_receive_too_big_total"), 2);
    tk_ok(fx_feed_bytes(&f, "t1", text + 300 * 1024 - 1, 1)); /* "}" */
    fx_settle(&f);
    fx_still_works(&f);
    fx_fini(&f);

    fx_init(&f, workers, FX_PROBE);
    f.o.frame_max_bytes = 1 << 20;
    fx_run(&f);
    tk_ok(fx_feed(&f, "t1", text));
    fx_settle(&f);
    ck_assert_uint_eq(f.failed, 0);
    ck_assert_double_eq(fx_latest(&f, "t1", "seq"), 7);
    fx_fini(&f);
    free(text);
}

START_TEST(a_payload_over_the_limit_is_refused_at_the_door)
{
    big(0);
    big(2);
}
END_TEST

START_TEST(a_reply_nobody_waits_for_is_counted)
{
    struct fx f;
    fx_init(&f, 0, FX_PROBE);
    fx_run(&f);
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = TPC_MSG_REPLY,
                               .correlation = TPC_STR("0123456789abcdef0123456789abcdef"),
                               .payload = TPC_BYTES("{\"code\":0}") };
    tk_ok(probe_receive("t1", &frame, 1));
    frame.correlation = TPC_STR("no id at all");
    tk_ok(probe_receive("t1", &frame, 2));
    tk_ok(fx_step(&f));
    ck_assert_double_eq(fx_metric(&f, "tpc_downlink_unmatched_replies_total"), 2);
    ck_assert_int_eq(probe_settled_error(2), 0);
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

Suite *input_suite(void)
{
    Suite *s = suite_create("input");
    TCase *t = tcase_create("input");
    tcase_add_test(t, bad_bytes_become_dead_letters_and_no_more);
    tcase_add_test(t, bad_bytes_become_dead_letters_with_threads);
    tcase_add_test(t, a_bad_value_is_dropped_alone);
    tcase_add_test(t, unknown_devices_and_wrong_products_are_kept_with_their_bytes);
    tcase_add_test(t, a_letter_is_redriven_once_the_device_is_there);
    tcase_add_test(t, a_payload_over_the_limit_is_refused_at_the_door);
    tcase_add_test(t, a_reply_nobody_waits_for_is_counted);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
