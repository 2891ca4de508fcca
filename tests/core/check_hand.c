/* Parts of gateways' messages that go to the workers of other devices. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "flow.h"

enum { SUBS = 12, REPORTS = 2000 };

static const char panel[] =
    TPC_JSON({
    "key" : "panel",
    "codec" : "thingspanel",
    "enforce" : "clamp",
    "model" : {
        "properties" : [
            { "id" : "t", "type" : "double", "max" : 100 }, { "id" : "u", "type" : "int" }
        ]
    }
});

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

/* gw, and s0 .. of any partition with addresses 0 .. behind it. */
static void begin(struct flow *f, uint64_t ring_bytes)
{
    flow_init(f, 3);
    f->o.ring_bytes = ring_bytes;
    flow_create(f);
    flow_probe_open(f);
    put(f, "product", panel);
    put(f, "device", "{\"key\":\"gw\",\"product\":\"panel\"}");
    struct tpc_device *gw = flow_device(f, "gw");
    for (int i = 0; i < SUBS; i++) {
        char key[16], json[64];
        snprintf(key, sizeof(key), "s%d", i);
        snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"panel\"}", key);
        put(f, "device", json);
        struct tpc_device *d = flow_device(f, key);
        tk_ok(tpc_topology_bind(f->core, NULL, d, gw, tpc_str_from(key + 1), 0));
        tpc_device_unref(d);
    }
    tpc_device_unref(gw);
    flow_start(f);
}

/* Of the gateway itself and of all behind it. */
static struct tpc_frame report(char text[1000], uint16_t kind, const char *topic, int u)
{
    size_t n = (size_t) snprintf(text, 1000, "{\"gateway_data\":{\"t\":150},\"sub_device_data\":{");
    for (int i = 0; i < SUBS; i++) {
        n += (size_t) snprintf(text + n, 1000 - n, "%s\"%d\":{\"t\":150,\"u\":%d}",
                               i > 0 ? "," : "", i, u);
    }
    snprintf(text + n, 1000 - n, "}}");
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = kind;
    frame.topic = tpc_str_from(topic);
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    return frame;
}

static bool settled(void *user)
{
    return flow_probe.settled_count >= *(unsigned int *) user;
}

struct heard {
    atomic_uint messages, clamped, keyed, again;
};

static int hear(void *user, const struct tpc_batch *batch)
{
    static const struct tpc_id none;
    struct heard *h = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (m->point_count == 0) {
            continue; /* presence */
        }
        h->clamped += (tpc_msg_point(m, 0)->flags & TPC_POINT_CLAMPED) != 0;
        h->keyed += memcmp(&m->id, &none, sizeof(none)) != 0;
        h->again += (m->flags & TPC_MSG_REDELIVERED) != 0;
        h->messages++;
    }
    return 0;
}

static bool heard_all(void *user)
{
    return ((struct heard *) user)->messages >= SUBS + 1;
}

static struct tpc_sub *follow(struct flow *f, struct heard *h)
{
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(h, 0, sizeof(*h));
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f->core, &o, hear, h, &sub));
    return sub;
}

/* After a crash the parts that got into the log are known, and do not speak for those that did not. */
START_TEST(parts_keep_their_marks_and_are_known_after_a_start)
{
    struct flow f;
    struct heard h;
    char text[1000];
    unsigned int one = 1, two = 2, three = 3;
    begin(&f, 0);
    struct tpc_sub *sub = follow(&f, &h);
    uint64_t session = flow_session("gw", 0);
    struct tpc_frame frame = report(text, TPC_MSG_TELEMETRY, "gateway/telemetry", 1);
    frame.packet_id = 7;
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 1));
    ck_assert(flow_until(&f, settled, &one));
    ck_assert(flow_until(&f, heard_all, &h));
    unsigned int handed = (unsigned int) flow_metric(&f, "tpc_uplink_parts_handed_total");
    ck_assert_uint_gt(handed, 0);
    ck_assert_uint_eq(h.messages, SUBS + 1);
    ck_assert_uint_eq(h.clamped, SUBS + 1);
    ck_assert_uint_eq(h.keyed, handed);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_clamped_total"), SUBS + 1);
    frame.flags = TPC_FRAME_REDELIVERED;
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 2));
    ck_assert(flow_until(&f, settled, &two));
    ck_assert_uint_eq(h.messages, SUBS + 1);
    sub = tpc_unsubscribe(sub);
    tk_ok(tpc_core_stop(f.core, 5000));
    flow_start(&f);
    sub = follow(&f, &h);
    session = flow_session("gw", 0);
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 3));
    ck_assert(flow_until(&f, settled, &three));
    flow_settle(&f);
    ck_assert_uint_eq(h.messages, SUBS + 1 - handed);
    ck_assert_uint_eq(h.again, h.messages);
    sub = tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

struct gate {
    atomic_uint waiting; /* workers that stand */
    atomic_bool open;
};

static void stand(void *user, int error)
{
    struct gate *g = user;
    (void) error;
    atomic_fetch_add(&g->waiting, 1);
    while (!atomic_load(&g->open)) {
        poll(NULL, 0, 1);
    }
}

static bool some_stand(void *user)
{
    return ((struct gate *) user)->waiting > 0;
}

static bool own_is_in(void *user)
{
    struct flow *f = user;
    return flow_metric(f, "tpc_uplink_parts_handed_total") > 0 && flow_latest(f, "gw", "t") == 100;
}

static bool answered(void *user)
{
    (void) user;
    return flow_probe.sent_count > 0;
}

/* A device that a worker of its own owns, where there is one: not the gateway's. */
static struct tpc_device *elsewhere(struct flow *f)
{
    struct tpc_device_info gw, info;
    struct tpc_device *d = flow_device(f, "gw");
    tpc_device_info(d, &gw);
    tpc_device_unref(d);
    for (int i = 0; i < SUBS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "s%d", i);
        d = flow_device(f, key);
        tpc_device_info(d, &info);
        if (info.partition % 3 != gw.partition % 3) {
            return d;
        }
        tpc_device_unref(d);
    }
    ck_abort_msg("all devices are of one worker");
    return NULL;
}

START_TEST(the_answer_waits_for_all_parts)
{
    struct flow f;
    struct gate g = { .open = false };
    char text[1000];
    begin(&f, 0);
    uint64_t session = flow_session("gw", 0);
    struct tpc_device *d = elsewhere(&f);
    tk_ok(tpc_feed(d, TPC_BYTES("{\"u\":0}"), stand, &g));
    ck_assert(flow_until(&f, some_stand, &g)); /* the worker of d stands */
    struct tpc_frame frame = report(text, TPC_MSG_ATTRIBUTES, "gateway/attributes/77", 1);
    frame.correlation = TPC_STR("77");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 0));
    ck_assert(flow_until(&f, own_is_in, &f));
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    atomic_store(&g.open, true);
    ck_assert(flow_until(&f, answered, NULL));
    ck_assert_str_eq(flow_probe.sent[0].device, "gw");
    ck_assert_str_eq(flow_probe.sent[0].correlation, "77");
    for (int i = 0; i < SUBS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "s%d", i);
        ck_assert_double_eq(flow_latest(&f, key, "u"), 1);
    }
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

static bool all_in(void *user)
{
    struct flow *f = user;
    return flow_metric(f, "tpc_uplink_messages_total") >= REPORTS * (SUBS + 1);
}

static atomic_uint heard; /* messages of devices behind the gateway, by rises() */

/* A live subscriber comes after the log. */
static bool all_heard(void *user)
{
    (void) user;
    return atomic_load(&heard) >= REPORTS * SUBS;
}

/* Each device's values rise: a message that overtook another one would be a step back. */
static int rises(void *user, const struct tpc_batch *batch)
{
    int64_t *last = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (m->point_count > 1 && m->device.ptr[0] == 's') {
            int at = m->device.ptr[1] - '0';
            at = m->device.len > 2 ? 10 * at + m->device.ptr[2] - '0' : at;
            int64_t now = tpc_msg_point(m, 1)->value.as.i;
            last[at] = now > last[at] ? now : INT64_MAX;
            atomic_fetch_add(&heard, 1);
        }
    }
    return 0;
}

START_TEST(parts_wait_in_their_order_for_a_full_ring)
{
    struct flow f;
    char text[1000];
    int64_t last[SUBS] = { 0 };
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    atomic_store(&heard, 0);
    begin(&f, 1);
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f.core, &o, rises, last, &sub));
    uint64_t session = flow_session("gw", 0);
    for (int k = 1; k <= REPORTS; k++) {
        struct tpc_frame frame = report(text, TPC_MSG_TELEMETRY, "gateway/telemetry", k);
        while (flow_probe.host->receive(flow_probe.ctx, session, &frame, 0) == TPC_EAGAIN) {
            poll(NULL, 0, 1);
        }
    }
    bool done = false;
    for (int i = 0; i < 12 && !done; i++) { /* 26,000 messages: slow with a sanitizer */
        done = flow_until(&f, all_in, &f);
    }
    ck_assert(done);
    flow_settle(&f);
    ck_assert(flow_until(&f, all_heard, &f));
    sub = tpc_unsubscribe(sub);
    for (int i = 0; i < SUBS; i++) {
        ck_assert_int_eq(last[i], REPORTS);
    }
    flow_fini(&f);
}
END_TEST

/* A gateway's worker is never full by what it only hands on: what waits is bounded all the same. */
START_TEST(a_worker_that_stands_makes_gateways_wait)
{
    struct flow f;
    struct gate g = { .open = false };
    char text[1000];
    int later = 0;
    int taken = 0;
    begin(&f, 1);
    uint64_t session = flow_session("gw", 0);
    struct tpc_device *d = elsewhere(&f);
    tk_ok(tpc_feed(d, TPC_BYTES("{\"u\":0}"), stand, &g));
    ck_assert(flow_until(&f, some_stand, &g));
    while (later < 50 && taken < 10 * REPORTS) {
        struct tpc_frame frame = report(text, TPC_MSG_TELEMETRY, "gateway/telemetry", taken);
        if (flow_probe.host->receive(flow_probe.ctx, session, &frame, 0) == 0) {
            taken++;
            later = 0;
        } else {
            later++;
            poll(NULL, 0, 1);
        }
    }
    ck_assert_int_lt(taken, 10 * REPORTS);
    atomic_store(&g.open, true);
    double all = 1 + taken * (SUBS + 1.0);
    for (int i = 0; i < 20000 && flow_metric(&f, "tpc_uplink_messages_total") < all; i++) {
        poll(NULL, 0, 1);
    }
    ck_assert_double_ge(flow_metric(&f, "tpc_uplink_messages_total"), all);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_parts_lost_total"), 0);
    struct tpc_frame frame = report(text, TPC_MSG_TELEMETRY, "gateway/telemetry", taken);
    for (int i = 0; i < 5000 && later != 0; i++) {
        later = flow_probe.host->receive(flow_probe.ctx, session, &frame, 0);
        poll(NULL, 0, later != 0);
    }
    ck_assert_int_eq(later, 0);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

Suite *hand_flow_suite(void)
{
    Suite *s = suite_create("hand flow");
    TCase *t = tcase_create("hand flow");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, parts_keep_their_marks_and_are_known_after_a_start);
    tcase_add_test(t, the_answer_waits_for_all_parts);
    tcase_add_test(t, parts_wait_in_their_order_for_a_full_ring);
    tcase_add_test(t, a_worker_that_stands_makes_gateways_wait);
    suite_add_tcase(s, t);
    return s;
}
