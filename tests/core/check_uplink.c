/* From bytes to latest values, history and followers, with 0, 1 and 4 workers. */
#include "flow.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/ext/host.h>

static const uint32_t worker_counts[] = { 0, 1, 4 };

enum { ORDER_DEVICES = 8, ORDER_MESSAGES = 3000 };

struct order {
    atomic_uint seen;
    int64_t last[ORDER_DEVICES + 1];
    atomic_bool broken;
};

static int check_order(void *user, const struct tpc_batch *batch)
{
    struct order *o = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        int device = (int) strtol(m->device.ptr + 1, NULL, 10);
        int64_t n = -1;
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            if (tpc_str_equal(p->key, TPC_STR("n"))) {
                n = p->value.as.i;
            }
        }
        if (n != o->last[device] + 1) {
            atomic_store(&o->broken, true);
        }
        o->last[device] = n;
        atomic_fetch_add(&o->seen, 1);
    }
    return 0;
}

static bool all_seen(void *user)
{
    return atomic_load(&((struct order *) user)->seen) == ORDER_DEVICES * ORDER_MESSAGES;
}

START_TEST(order_of_each_device_is_kept)
{
    struct flow f;
    struct order o;
    struct tpc_device *d[ORDER_DEVICES + 1];
    struct tpc_subscribe_options so = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    char text[64];
    memset(&o, 0, sizeof(o));
    flow_init(&f, worker_counts[_i]);
    flow_create(&f);
    flow_devices(&f, ORDER_DEVICES);
    flow_start(&f);
    so.filter = TPC_STR("main/up/thermo/+/telemetry");
    tk_ok(tpc_subscribe(f.core, &so, check_order, &o, &sub));
    for (int i = 1; i <= ORDER_DEVICES; i++) {
        snprintf(text, sizeof(text), "t%d", i);
        d[i] = flow_device(&f, text);
    }
    for (int n = 1; n <= ORDER_MESSAGES; n++) {
        for (int i = 1; i <= ORDER_DEVICES; i++) {
            snprintf(text, sizeof(text), "{\"n\":%d}", n);
            while (flow_feed(d[i], text) == TPC_EAGAIN) {
                if (f.workers == 0) {
                    tk_ok(tpc_core_step(f.core, 0, NULL));
                }
            }
        }
        tk_clock_advance(&f.e.clock, 1);
    }
    ck_assert_msg(flow_until(&f, all_seen, &o), "%u of %d", atomic_load(&o.seen),
                  ORDER_DEVICES * ORDER_MESSAGES);
    ck_assert(!atomic_load(&o.broken));
    sub = tpc_unsubscribe(sub);
    flow_settle(&f);
    for (int i = 1; i <= ORDER_DEVICES; i++) {
        ck_assert_double_eq(flow_latest(&f, "t1", "n"), ORDER_MESSAGES);
        struct tpc_device_info info;
        tk_ok(tpc_device_info(d[i], &info));
        ck_assert_uint_eq(info.messages, ORDER_MESSAGES);
        tpc_device_unref(d[i]);
    }
    ck_assert_uint_eq((uint32_t) flow_metric(&f, "tpc_uplink_messages_total"),
                      ORDER_DEVICES * ORDER_MESSAGES);
    flow_fini(&f);
}
END_TEST

START_TEST(history_has_what_was_fed)
{
    struct flow f;
    char text[64];
    flow_init(&f, worker_counts[_i]);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    for (int n = 0; n < 500; n++) {
        snprintf(text, sizeof(text), "{\"temperature\":%d.5,\"n\":%d}", n % 40, n);
        tk_ok(flow_feed(d, text));
        tk_clock_advance(&f.e.clock, 1);
    }
    flow_settle(&f);
    ck_assert_uint_eq(flow_stored(&f, "t1", "temperature"), 500);
    ck_assert_uint_eq(flow_stored(&f, "t1", "n"), 500);
    ck_assert_uint_eq(flow_stored(&f, "t1", "on"), 0);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

struct letters {
    uint32_t count;
    uint32_t partition;
    uint64_t offset;
    int32_t code;
    char reason[128];
    char raw[128];
};

static int keep_letter(void *user, const struct tpc_dead_letter *l)
{
    struct letters *x = user;
    x->count++;
    x->partition = l->partition;
    x->offset = l->offset;
    x->code = l->code;
    snprintf(x->reason, sizeof(x->reason), "%.*s", (int) l->reason.len,
             l->reason.len > 0 ? l->reason.ptr : "");
    snprintf(x->raw, sizeof(x->raw), "%.*s", (int) l->raw.len, (const char *) l->raw.ptr);
    return 0;
}

static struct letters read_letters(struct flow *f)
{
    struct letters x;
    memset(&x, 0, sizeof(x));
    tk_ok(tpc_dead_letters(f->core, keep_letter, &x));
    return x;
}

static const struct {
    const char *text;
    int code;
} bad_inputs[] = {
    { "{\"temperature\":21.5", TPC_EDECODE },
    { "{\"temperature\":\"\xff\xfe\"}", TPC_EDECODE },
    { "[1,2,3]", TPC_EDECODE },
    { "", TPC_EDECODE },
    { "{\"temperature\":999}", TPC_EMODEL },
    { "{\"nobody\":1}", TPC_EMODEL },
    { "{\"temperature\":{\"a\":1}}", TPC_EMODEL },
    { "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]", TPC_EDECODE },
};

START_TEST(bad_input_becomes_a_dead_letter_with_its_bytes)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, bad_inputs[_i].text));
    tk_ok(flow_feed(d, "{\"temperature\":1.5}"));
    flow_settle(&f);
    struct letters x = read_letters(&f);
    ck_assert_uint_eq(x.count, 1);
    ck_assert_str_eq(x.raw, bad_inputs[_i].text);
    ck_assert_msg(x.code == bad_inputs[_i].code, "%s: %s", tpc_error_name(x.code), x.reason);
    ck_assert(x.reason[0] != '\0');
    ck_assert_double_eq(flow_latest(&f, "t1", "temperature"), 1.5);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(a_bad_value_is_dropped_singly)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"temperature\":999,\"n\":7,\"x\":1}"));
    flow_settle(&f);
    ck_assert_uint_eq(read_letters(&f).count, 0);
    ck_assert_double_eq(flow_latest(&f, "t1", "n"), 7);
    ck_assert_double_eq(flow_latest(&f, "t1", "temperature"), -1e9);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 2);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(dead_letters_are_redriven_and_purged)
{
    struct flow f;
    flow_init(&f, worker_counts[_i]);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t link = flow_session("", TPC_SESSION_LINK);
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.device = TPC_STR("t9");
    frame.topic = TPC_STR("some/topic");
    frame.payload = TPC_BYTES("{\"n\":9}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, link, &frame, 77));
    flow_settle(&f);
    struct letters x = read_letters(&f);
    ck_assert_uint_eq(x.count, 1);
    ck_assert_int_eq(x.code, TPC_ENOENT);
    ck_assert_uint_eq(flow_probe.settled_count, 1); /* the device is not asked again */
    ck_assert_int_eq(flow_probe.errors[0], 0);
    tk_fails(TPC_ENOENT, tpc_dead_letter_purge(f.core, x.partition, x.offset + 1));
    tk_fails(TPC_ENOENT, tpc_dead_letter_purge(f.core, 999, 0));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"t9\",\"product\":\"thermo\"}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_dead_letter_redrive(f.core, x.partition, x.offset));
    flow_settle(&f);
    ck_assert_double_eq(flow_latest(&f, "t9", "n"), 9);
    ck_assert_uint_eq(read_letters(&f).count, 0);
    tk_fails(TPC_ENOENT, tpc_dead_letter_redrive(f.core, x.partition, x.offset));
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "nonsense"));
    flow_settle(&f);
    x = read_letters(&f);
    ck_assert_uint_eq(x.count, 1);
    tk_ok(tpc_dead_letter_purge(f.core, x.partition, x.offset));
    ck_assert_uint_eq(read_letters(&f).count, 0);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(large_payloads_are_refused_at_the_door)
{
    struct flow f;
    size_t len = 300000;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    char *text = malloc(len + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', len);
    text[len] = '\0';
    struct tpc_device *d = flow_device(&f, "t1");
    tk_fails(TPC_ETOOBIG, flow_feed(d, text));
    uint64_t session = flow_session("t1", 0);
    ck_assert_int_eq(flow_receive(session, text, 1), TPC_ETOOBIG);
    text[262144] = '\0';
    ck_assert_int_eq(flow_receive(session, text, 2), 0);
    flow_settle(&f);
    ck_assert_uint_eq(read_letters(&f).count, 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_core_receive_too_big_total"), 2);
    free(text);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(a_second_delivery_is_dropped_and_settled)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 2);
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t s1 = flow_session("t1", 0);
    uint64_t s2 = flow_session("t2", 0);
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.packet_id = 17;
    frame.payload = TPC_BYTES("{\"n\":1}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s1, &frame, 1));
    frame.flags = TPC_FRAME_REDELIVERED;
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s1, &frame, 2));
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s2, &frame, 3)); /* another device */
    frame.payload = TPC_BYTES("{\"n\":2}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s1, &frame, 4)); /* other bytes */
    frame.flags = 0;
    frame.packet_id = 0;
    frame.correlation = TPC_STR("m-1");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s1, &frame, 5));
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s1, &frame, 6)); /* the dialect's own id */
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.settled_count, 6);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_duplicates_total"), 2);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 4);
    tk_clock_advance(&f.e.clock, 11 * 60 * 1000);
    tk_ok(flow_probe.host->receive(flow_probe.ctx, s1, &frame, 7)); /* ten minutes are over */
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 5);
    flow_fini(&f);
}
END_TEST

static uint32_t sent_after(struct flow *f, uint64_t session, const char *text)
{
    tk_ok(flow_receive(session, text, 0));
    flow_settle(f);
    return flow_probe.sent_count;
}

/* The device did not get the answer and sends the same again: it would go on for ever. */
START_TEST(alink_reports_are_answered_also_again)
{
    static const char report[] = "{\"requestId\":\"1\",\"method\":\"thing.property.post\","
                                 "\"params\":{\"n\":1}}";
    static const char event[] = "{\"requestId\":\"2\",\"method\":\"thing.event.post\","
                                "\"params\":{\"identifier\":\"alarm\",\"value\":{\"level\":1}}}";
    static const char bad[] = "{\"requestId\":\"3\",\"method\":\"thing.property.post\","
                              "\"params\":{\"n\":\"x\"}}";
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 0);
    tk_ok(tpc_entity_put(
        f.core, NULL, "product",
        TPC_STR("{\"key\":\"box\",\"codec\":\"alink\",\"model\":{\"properties\":[{\"id\":\"n\","
                "\"type\":\"int\"}],\"events\":[{\"id\":\"alarm\",\"output\":[{\"id\":\"level\","
                "\"type\":\"int\"}]}]}}"),
        TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"b1\",\"product\":\"box\"}"),
                         TPC_ANY_REV, NULL));
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t s = flow_session("b1", 0);
    ck_assert_uint_eq(sent_after(&f, s, report), 1);
    ck_assert_uint_eq(sent_after(&f, s, report), 2);
    ck_assert_str_eq(flow_probe.sent[1].payload, flow_probe.sent[0].payload);
    ck_assert_str_eq(flow_probe.sent[1].correlation, "1");
    ck_assert_uint_eq(sent_after(&f, s, event), 3);
    ck_assert_uint_eq(sent_after(&f, s, event), 4);
    ck_assert_str_eq(flow_probe.sent[3].payload, flow_probe.sent[2].payload);
    ck_assert_uint_eq(sent_after(&f, s, bad), 4);
    ck_assert_uint_eq(sent_after(&f, s, bad), 4); /* what is not taken is not confirmed */
    /* The IoT module finds an identifier whatever its case (its contract, section 5). */
    ck_assert_uint_eq(sent_after(&f, s,
                                 "{\"requestId\":\"4\",\"method\":\"thing.property.post\","
                                 "\"params\":{\"N\":4}}"),
                      5);
    ck_assert_double_eq(flow_latest(&f, "b1", "n"), 4);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 3);
    flow_fini(&f);
}
END_TEST

START_TEST(points_are_fed_without_a_codec)
{
    struct flow f;
    struct tpc_point p[4];
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    memset(p, 0, sizeof(p));
    for (int i = 0; i < 4; i++) {
        p[i].key = i % 2 == 0 ? TPC_STR("temperature") : TPC_STR("n");
        p[i].unix_ms = 1795176000000 + i / 2 * 1000;
        p[i].value = (struct tpc_value){ .type = TPC_INT, .as.i = 20 + i };
    }
    struct tpc_points points = {
        .size = sizeof(points), .count = 4, .point_size = sizeof(p[0]), .points = p
    };
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(tpc_feed_points(d, &points, NULL, NULL));
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 2);
    ck_assert_double_eq(flow_latest(&f, "t1", "temperature"), 22);
    ck_assert_uint_eq(flow_stored(&f, "t1", "n"), 2);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

Suite *uplink_flow_suite(void)
{
    Suite *s = suite_create("uplink flow");
    TCase *t = tcase_create("uplink flow");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, order_of_each_device_is_kept, 0, 3);
    tcase_add_loop_test(t, history_has_what_was_fed, 0, 3);
    tcase_add_loop_test(t, bad_input_becomes_a_dead_letter_with_its_bytes, 0,
                        sizeof(bad_inputs) / sizeof(bad_inputs[0]));
    tcase_add_test(t, a_bad_value_is_dropped_singly);
    tcase_add_loop_test(t, dead_letters_are_redriven_and_purged, 0, 3);
    tcase_add_test(t, large_payloads_are_refused_at_the_door);
    tcase_add_test(t, a_second_delivery_is_dropped_and_settled);
    tcase_add_test(t, alink_reports_are_answered_also_again);
    tcase_add_test(t, points_are_fed_without_a_codec);
    suite_add_tcase(s, t);
    return s;
}
