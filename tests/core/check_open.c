/* Products whose devices may say what their model does not know. */
#include "box.h"
#include "flow.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/codec.h>
#include <tpcore/json.h>

struct seen {
    char text[2048];
    uint32_t attributes;
};

/* "key=value " of points in the model, "key:value " of points by key, "| " ends a message. */
static int see(void *user, const struct tpc_batch *batch)
{
    struct seen *s = user;
    size_t n = strlen(s->text);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            char value[64] = "";
            struct tpc_buf buf = { (uint8_t *) value, sizeof(value) - 1, 0 };
            (void) tpc_json_write(&p->value, 0, &buf);
            n += (size_t) snprintf(
                s->text + n, sizeof(s->text) - n, "%.*s%c%.*s ", (int) p->key.len, p->key.ptr,
                p->property == TPC_PROPERTY_NONE ? ':' : '=', (int) buf.need, value);
            s->attributes += (p->flags & TPC_POINT_ATTRIBUTE) != 0;
        }
        if (m->kind == TPC_MSG_EVENT) { /* a row */
            const struct tpc_value *extra = tpc_value_get(&m->params, TPC_STR("extra"));
            double d = 0;
            tk_ok(tpc_value_double(extra, &d));
            n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "row with %g ", d);
        }
        n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "| ");
    }
    return 0;
}

static const char *const products[] = {
    "{\"key\":\"json\",\"unknown\":\"keep\",\"model\":{\"properties\":["
    "{\"id\":\"n\",\"type\":\"int\"},{\"id\":\"twice\",\"type\":\"int\",\"expr\":\"n * 2\"}]}}",
    "{\"key\":\"cbor\",\"codec\":\"cbor\",\"unknown\":\"keep\",\"model\":{\"properties\":["
    "{\"id\":\"n\",\"type\":\"int\"}]}}",
    "{\"key\":\"alink\",\"codec\":\"alink\",\"unknown\":\"keep\",\"model\":{\"properties\":["
    "{\"id\":\"n\",\"type\":\"int\"}]}}",
    "{\"key\":\"closed\",\"unknown\":\"drop\",\"model\":{\"properties\":["
    "{\"id\":\"n\",\"type\":\"int\"}]}}",
};

struct open {
    struct flow f;
    struct seen seen;
    struct tpc_sub *sub;
};

static void begin(struct open *o, uint32_t workers)
{
    struct tpc_subscribe_options so = TPC_SUBSCRIBE_OPTIONS_INIT;
    memset(o, 0, sizeof(*o));
    flow_init(&o->f, workers);
    flow_create(&o->f);
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
        tk_ok(tpc_entity_put(o->f.core, NULL, "product", tpc_str_from(products[i]), TPC_ANY_REV,
                             NULL));
    }
    static const char *const keys[] = { "json", "cbor", "alink", "closed" };
    for (int i = 0; i < 4; i++) {
        char text[96];
        snprintf(text, sizeof(text), "{\"key\":\"%s\",\"product\":\"%s\"}", keys[i], keys[i]);
        tk_ok(tpc_entity_put(o->f.core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL));
    }
    flow_start(&o->f);
    so.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(o->f.core, &so, see, &o->seen, &o->sub));
}

static void end(struct open *o)
{
    tpc_unsubscribe(o->sub);
    flow_fini(&o->f);
}

static void feed(struct open *o, const char *device, struct tpc_bytes payload, uint16_t kind)
{
    struct tpc_device *d = flow_device(&o->f, device);
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = kind;
    frame.payload = payload;
    o->seen.text[0] = '\0';
    o->seen.attributes = 0;
    tk_ok(tpc_feed_frame(d, &frame, NULL, NULL));
    tk_clock_advance(&o->f.e.clock, 1);
    flow_settle(&o->f);
    tpc_device_unref(d);
}

static struct tpc_bytes text_bytes(const char *text)
{
    return (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
}

START_TEST(unknown_keys_are_kept_and_go_to_followers_alone)
{
    struct open o;
    begin(&o, 0);
    feed(&o, "json",
         text_bytes(
             "{\"n\":3,\"extra\":1.5,\"on\":true,\"name\":\"x\\u0041\",\"deep\":{\"a\":[1]}}"),
         TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=3 extra:1.5 on:true name:\"xA\" deep:{\"a\":[1]} twice=6 | ");
    ck_assert_uint_eq(o.seen.attributes, 0);
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_kept_total"), 4);
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_refused_total"), 0);
    ck_assert_double_eq(flow_metric(&o.f, "tpc_history_unusable_total"), 0);
    ck_assert_double_eq(flow_latest(&o.f, "json", "n"), 3);
    ck_assert_uint_eq(flow_stored(&o.f, "json", "n"), 1);
    ck_assert_uint_eq(flow_stored(&o.f, "json", "twice"), 1);
    /* Nothing but unknown keys is a message, too. */
    feed(&o, "json", text_bytes("{\"a\":1,\"b\":2}"), TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "a:1 b:2 | ");
    ck_assert_double_eq(flow_metric(&o.f, "tpc_history_unusable_total"), 0);
    end(&o);
}
END_TEST

START_TEST(all_readers_of_messages_keep_them_alike)
{
    static const uint8_t cbor[] = { 0xA3, 0x61, 'n',  0x03, 0x61, 'x', 0xF9,
                                    0x3E, 0x00, 0x61, 'y',  0x81, 0x01 };
    static const uint8_t scalars[] = { 0xA2, 0x61, 'n', 0x03, 0x61, 'x', 0x0A };
    struct open o;
    begin(&o, 0);
    feed(&o, "cbor", (struct tpc_bytes){ cbor, sizeof(cbor) }, TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=3 x:1.5 y:[1] | ");
    feed(&o, "cbor", (struct tpc_bytes){ scalars, sizeof(scalars) }, TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=3 x:10 | ");
    feed(&o, "alink",
         text_bytes("{\"method\":\"thing.property.post\",\"params\":{\"n\":3,\"x\":10}}"),
         TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=3 x:10 | ");
    struct tpc_point p[2] = { { .key = TPC_STR("x"), .value = { .type = TPC_INT, .as.i = 10 } },
                              { .key = TPC_STR("n"), .value = { .type = TPC_INT, .as.i = 3 } } };
    struct tpc_points points = {
        .size = sizeof(points), .count = 2, .point_size = sizeof(p[0]), .points = p
    };
    struct tpc_device *d = flow_device(&o.f, "json");
    o.seen.text[0] = '\0';
    tk_ok(tpc_feed_points(d, &points, NULL, NULL));
    flow_settle(&o.f);
    ck_assert_str_eq(o.seen.text, "x:10 n=3 twice=6 | ");
    tpc_device_unref(d);
    end(&o);
}
END_TEST

START_TEST(attributes_are_marked_as_their_message_is)
{
    struct open o;
    begin(&o, 0);
    feed(&o, "json", text_bytes("{\"fw\":\"1.2\",\"rev\":7}"), TPC_MSG_ATTRIBUTES);
    ck_assert_str_eq(o.seen.text, "fw:\"1.2\" rev:7 | ");
    ck_assert_uint_eq(o.seen.attributes, 2);
    struct tpc_point p = { .key = TPC_STR("fw"), .value = { .type = TPC_INT, .as.i = 10 } };
    struct tpc_points points = { .size = sizeof(points),
                                 .count = 1,
                                 .point_size = sizeof(p),
                                 .points = &p,
                                 .kind = TPC_MSG_ATTRIBUTES };
    struct tpc_device *d = flow_device(&o.f, "json");
    tk_ok(tpc_feed_points(d, &points, NULL, NULL));
    flow_settle(&o.f);
    ck_assert_uint_eq(o.seen.attributes, 3);
    tpc_device_unref(d);
    end(&o);
}
END_TEST

START_TEST(what_no_one_could_hold_is_refused_singly)
{
    struct open o;
    char text[600], key[258];
    begin(&o, 0);
    memset(key, 'k', 257);
    key[257] = '\0';
    snprintf(text, sizeof(text), "{\"n\":1,\"none\":null,\"\":2,\"a\\u0001b\":3,\"ok\":4,\"%s\":5}",
             key);
    feed(&o, "json", text_bytes(text), TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=1 ok:4 twice=2 | ");
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_refused_total"), 4);
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_kept_total"), 1);
    /* Infinity, bytes, and bytes inside a list. */
    static const uint8_t bad[] = { 0xA4, 0x61, 'n',  0x03, 0x61, 'x', 0xF9, 0x7C, 0x00,
                                   0x61, 'y',  0x41, 1,    0x61, 'z', 0x81, 0x41, 1 };
    feed(&o, "cbor", (struct tpc_bytes){ bad, sizeof(bad) }, TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=3 | ");
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_refused_total"), 7);
    end(&o);
}
END_TEST

START_TEST(other_products_drop_them_as_before)
{
    struct open o;
    begin(&o, 0);
    feed(&o, "closed", text_bytes("{\"n\":1,\"x\":2}"), TPC_MSG_TELEMETRY);
    ck_assert_str_eq(o.seen.text, "n=1 | ");
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_refused_total"), 1);
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_kept_total"), 0);
    end(&o);
}
END_TEST

START_TEST(targets_rules_and_a_replay_take_them)
{
    static const char put[] =
        TPC_JSON({ "key" : "copy", "sql" : "SELECT * FROM json", "to" : { "event" : "all" } });
    struct open o;
    begin(&o, 0);
    tk_ok(tpc_entity_put(o.f.core, NULL, "rule", TPC_STR(put), TPC_ANY_REV, NULL));
    feed(&o, "json", text_bytes("{\"n\":3,\"extra\":1.5}"), TPC_MSG_TELEMETRY);
    ck_assert_double_eq(flow_metric(&o.f, "tpc_uplink_points_kept_total"), 1);
    ck_assert_str_eq(o.seen.text, "n=3 extra:1.5 twice=6 | row with 1.5 | ");
    end(&o);
}
END_TEST

static bool box_has_one(void *user)
{
    (void) user;
    return box_count() >= 1;
}

START_TEST(a_target_selects_by_them_and_gets_them)
{
    struct open o;
    memset(&o, 0, sizeof(o));
    box_reset();
    flow_init(&o.f, 0);
    flow_create(&o.f);
    tk_ok(tpc_core_add_module(o.f.core, box_module()));
    tk_ok(tpc_core_open(o.f.core, "box", "box", TPC_STR("{\"color\":\"red\"}")));
    tk_ok(tpc_entity_put(o.f.core, NULL, "product", tpc_str_from(products[0]), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(o.f.core, NULL, "device",
                         TPC_STR("{\"key\":\"json\",\"product\":\"json\"}"), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(o.f.core, NULL, "forward",
                         TPC_STR("{\"key\":\"out\",\"sink\":\"box\",\"where\":\"extra > 5\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&o.f);
    feed(&o, "json", text_bytes("{\"extra\":1}"), TPC_MSG_TELEMETRY);
    feed(&o, "json", text_bytes("{\"extra\":7,\"more\":8.5}"), TPC_MSG_TELEMETRY);
    feed(&o, "json", text_bytes("{\"n\":9}"), TPC_MSG_TELEMETRY);
    ck_assert(flow_until(&o.f, box_has_one, NULL));
    flow_settle(&o.f);
    ck_assert_uint_eq(box_count(), 1);
    ck_assert_str_eq(box.items[0].key, "extra");
    ck_assert_int_eq(box.items[0].n, 7);
    ck_assert_uint_eq(box.items[0].points, 2);
    ck_assert_double_eq(box.items[0].number, 8.5);
    flow_fini(&o.f);
}
END_TEST

/* The log is read again: values of the model come back, the others do no harm. */
START_TEST(a_start_replays_past_them)
{
    struct open o;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/open", tk_tmpdir());
    for (int start = 0; start < 2; start++) {
        memset(&o, 0, sizeof(o));
        flow_init(&o.f, 0);
        flow_create(&o.f);
        flow_file_log(&o.f, dir, "");
        tk_ok(tpc_entity_put(o.f.core, NULL, "product", tpc_str_from(products[0]), TPC_ANY_REV,
                             NULL));
        tk_ok(tpc_entity_put(o.f.core, NULL, "device",
                             TPC_STR("{\"key\":\"json\",\"product\":\"json\"}"), TPC_ANY_REV,
                             NULL));
        flow_start(&o.f);
        if (start == 0) {
            feed(&o, "json", text_bytes("{\"x\":[1],\"n\":4,\"y\":\"z\"}"), TPC_MSG_TELEMETRY);
            feed(&o, "json", text_bytes("{\"x\":2}"), TPC_MSG_TELEMETRY);
        }
        flow_settle(&o.f);
        ck_assert_double_eq(flow_latest(&o.f, "json", "n"), 4);
        ck_assert_double_eq(flow_latest(&o.f, "json", "twice"), 8);
        ck_assert_uint_eq(flow_stored(&o.f, "json", "n"), 1);
        ck_assert_double_eq(flow_metric(&o.f, "tpc_history_unusable_total"), 0);
        flow_fini(&o.f);
    }
}
END_TEST

static int see_verdicts(void *user, const struct tpc_msg *msg, const struct tpc_verdict *verdicts,
                        uint32_t count, const struct tpc_error *err)
{
    uint32_t *kept = user;
    ck_assert_ptr_null(err);
    for (uint32_t i = 0; i < count; i++) {
        *kept += verdicts[i].code == 0 && verdicts[i].point->property == TPC_PROPERTY_NONE;
    }
    ck_assert_uint_eq(msg->point_count, 2);
    return 0;
}

START_TEST(a_trial_of_the_codec_says_so)
{
    struct open o;
    uint32_t kept = 0;
    begin(&o, 0);
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = TPC_MSG_TELEMETRY;
    frame.payload = text_bytes("{\"n\":3,\"extra\":1.5,\"no\":null}");
    tk_ok(tpc_codec_test(o.f.core, TPC_STR("json"), &frame, see_verdicts, &kept));
    ck_assert_uint_eq(kept, 1);
    end(&o);
}
END_TEST

Suite *open_flow_suite(void)
{
    Suite *s = suite_create("open products");
    TCase *t = tcase_create("open products");
    tcase_add_test(t, unknown_keys_are_kept_and_go_to_followers_alone);
    tcase_add_test(t, all_readers_of_messages_keep_them_alike);
    tcase_add_test(t, attributes_are_marked_as_their_message_is);
    tcase_add_test(t, what_no_one_could_hold_is_refused_singly);
    tcase_add_test(t, other_products_drop_them_as_before);
    tcase_add_test(t, targets_rules_and_a_replay_take_them);
    tcase_add_test(t, a_target_selects_by_them_and_gets_them);
    tcase_add_test(t, a_start_replays_past_them);
    tcase_add_test(t, a_trial_of_the_codec_says_so);
    suite_add_tcase(s, t);
    return s;
}
