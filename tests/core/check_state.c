/* What a core tells of itself, and codecs on trial. */
#include "flow.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/ext/host.h>

START_TEST(prometheus_text_has_every_metric_once)
{
    struct flow f;
    static char text[65536];
    struct tpc_buf small = { NULL, 0, 0 };
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    void *first = flow_probe.ctx;
    tk_ok(tpc_core_open(f.core, "other", "probe", (struct tpc_str){ NULL, 0 }));
    flow_start(&f);
    flow_probe.host->count(first, "drops", 3);
    flow_probe.host->count(first, "drops", 4);
    flow_probe.host->count(first, "rest", 1);
    flow_probe.host->count(flow_probe.ctx, "rest", 2);
    flow_probe.host->count(flow_probe.ctx, "drops", 8);
    flow_probe.host->gauge(flow_probe.ctx, "level", 9);
    flow_probe.host->gauge(flow_probe.ctx, "level", -3);
    tk_fails(TPC_ETOOBIG, tpc_core_prometheus(f.core, &small));
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text) - 1, 0 };
    tk_ok(tpc_core_prometheus(f.core, &buf));
    ck_assert_uint_eq(buf.need, small.need);
    text[buf.need] = '\0';
    /* All instances stand together, below one TYPE. */
    ck_assert_ptr_nonnull(strstr(text, "tpc_probe_drops_total{instance=\"probe\"} 7\n"
                                       "tpc_probe_drops_total{instance=\"other\"} 8\n"));
    ck_assert_ptr_nonnull(strstr(text, "tpc_probe_rest_total{instance=\"probe\"} 1\n"
                                       "tpc_probe_rest_total{instance=\"other\"} 2\n"));
    ck_assert_ptr_nonnull(strstr(text, "tpc_probe_level{instance=\"other\"} -3\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "# TYPE tpc_probe_asked_total counter\n"
                     "tpc_probe_asked_total{instance=\"probe\",part=\"one\"} 0.5\n"
                     "tpc_probe_asked_total{instance=\"probe\",part=\"\\\"2\\\" \"} 2.5\n"
                     "tpc_probe_asked_total{instance=\"other\",part=\"one\"} 0.5\n"
                     "tpc_probe_asked_total{instance=\"other\",part=\"\\\"2\\\" \"} 2.5\n"
                     "# HELP tpc_probe_depth Of a part\n# TYPE tpc_probe_depth gauge\n"
                     "tpc_probe_depth{instance=\"probe\",part=\"one\"} 1.5\n"));
    ck_assert_ptr_nonnull(strstr(text, "# TYPE tpc_probe_level gauge\n"));
    ck_assert_ptr_nonnull(strstr(text, "# TYPE tpc_uplink_messages_total counter\n"));
    ck_assert_ptr_nonnull(strstr(text, "tpc_registry_devices 2\n"));
    for (char *p = text; (p = strstr(p, "# TYPE ")) != NULL; p++) {
        char name[128];
        ck_assert_int_eq(sscanf(p, "# TYPE %127s", name), 1);
        char line[160];
        snprintf(line, sizeof(line), "# TYPE %s ", name);
        ck_assert_msg(strstr(p + 1, line) == NULL, "%s twice", name);
    }
    flow_fini(&f);
}
END_TEST

struct trial {
    uint32_t messages;
    uint32_t errors;
    uint32_t accepted;
    uint32_t refused;
    int code;
    char reason[128];
};

static int on_trial(void *user, const struct tpc_msg *msg, const struct tpc_verdict *verdicts,
                    uint32_t count, const struct tpc_error *error)
{
    struct trial *t = user;
    t->messages += msg != NULL;
    t->errors += error != NULL;
    t->code = error != NULL ? error->code : t->code;
    for (uint32_t i = 0; i < count; i++) {
        if (verdicts[i].code == 0) {
            t->accepted++;
        } else {
            t->refused++;
            snprintf(t->reason, sizeof(t->reason), "%.*s", (int) verdicts[i].reason.len,
                     verdicts[i].reason.ptr);
        }
    }
    return 0;
}

START_TEST(a_codec_is_tried_without_effect)
{
    struct flow f;
    struct trial t;
    struct tpc_frame frame;
    uint8_t bytes[64];
    struct tpc_buf buf = { bytes, sizeof(bytes), 0 };
    memset(&t, 0, sizeof(t));
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    frame.payload = TPC_BYTES("{\"temperature\":21.5,\"n\":\"x\",\"on\":true}");
    tk_ok(tpc_codec_test(f.core, TPC_STR("thermo"), &frame, on_trial, &t)); /* also before start */
    flow_start(&f);
    tk_ok(tpc_codec_test(f.core, TPC_STR("thermo"), &frame, on_trial, &t));
    ck_assert_uint_eq(t.messages, 2);
    ck_assert_uint_eq(t.accepted, 4);
    ck_assert_uint_eq(t.refused, 2);
    ck_assert(t.reason[0] != '\0');
    frame.payload = TPC_BYTES("{\"temperature\":");
    tk_ok(tpc_codec_test(f.core, TPC_STR("thermo"), &frame, on_trial, &t));
    ck_assert_uint_eq(t.errors, 1);
    ck_assert_int_eq(t.code, TPC_EDECODE);
    tk_fails(TPC_ENOENT, tpc_codec_test(f.core, TPC_STR("nothing"), &frame, on_trial, &t));
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_frames_total"), 0);
    tk_ok(tpc_codec_test_encode(f.core, TPC_STR("fan"), TPC_STR("set"), TPC_STR("{\"on\":true}"),
                                &buf));
    ck_assert_uint_eq(buf.need, 11);
    ck_assert_int_eq(memcmp(bytes, "{\"on\":true}", 11), 0);
    buf.cap = 3;
    tk_fails(TPC_ETOOBIG, tpc_codec_test_encode(f.core, TPC_STR("fan"), TPC_STR("set"),
                                                TPC_STR("{\"on\":true}"), &buf));
    tk_fails(TPC_EMODEL, tpc_codec_test_encode(f.core, TPC_STR("fan"), TPC_STR("spin"),
                                               TPC_STR("{\"speed\":99}"), &buf));
    tk_fails(TPC_ENOENT, tpc_codec_test_encode(f.core, TPC_STR("fan"), TPC_STR("fly"),
                                               (struct tpc_str){ NULL, 0 }, &buf));
    flow_fini(&f);
}
END_TEST

START_TEST(options_outside_their_range_are_refused)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    o.size = 3;
    tk_fails(TPC_EINVAL, tpc_core_create(&o, &core));
    tk_ok(tpc_core_options_init(&o, sizeof(o)));
    o.workers = 65;
    tk_fails(TPC_EINVAL, tpc_core_create(&o, &core));
    o.workers = 1;
    o.threads = TPC_THREADS_NONE;
    tk_fails(TPC_EINVAL, tpc_core_create(&o, &core));
    o.workers = 0;
    o.partitions = 4097;
    tk_fails(TPC_EINVAL, tpc_core_create(&o, &core));
    tk_fails(TPC_EINVAL, tpc_core_create(NULL, NULL));
    tk_fails(TPC_EINVAL, tpc_core_options_init(NULL, sizeof(o)));
    /* A shorter struct of an older program. */
    tk_ok(tpc_core_options_init(&o, offsetof(struct tpc_core_options, commands_max)));
    tk_ok(tpc_core_create(&o, &core));
    tk_ok(tpc_core_destroy(core));
    tk_ok(tpc_core_destroy(NULL));
}
END_TEST

START_TEST(entities_load_from_a_file)
{
    struct flow f;
    char path[256];
    uint32_t count = 0;
    const char *dir = tk_tmpdir();
    (void) mkdir(dir, 0700);
    snprintf(path, sizeof(path), "%s/entities.json", dir);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs("[{\"kind\":\"device\",\"key\":\"x1\",\"product\":\"thermo\"},\n"
          " {\"kind\":\"device\",\"key\":\"x2\",\"product\":\"nothing\"}]\n",
          file);
    fclose(file);
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    int rc = tpc_entity_load_file(f.core, NULL, path, &count);
    ck_assert_int_eq(rc, TPC_ENOENT);
    ck_assert_uint_eq(count, 1);
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "x2"));
    tpc_device_unref(flow_device(&f, "x1"));
    tk_fails(TPC_ENOENT, tpc_entity_load_file(f.core, NULL, "/no/such/file", &count));
    flow_fini(&f);
}
END_TEST

Suite *state_flow_suite(void)
{
    Suite *s = suite_create("state");
    TCase *t = tcase_create("state");
    tcase_add_test(t, prometheus_text_has_every_metric_once);
    tcase_add_test(t, a_codec_is_tried_without_effect);
    tcase_add_test(t, options_outside_their_range_are_refused);
    tcase_add_test(t, entities_load_from_a_file);
    suite_add_tcase(s, t);
    return s;
}
