/* Properties that are computed from others when these arrive. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "core/core.h"
#include "flow.h"
#include "registry/derived.h"

struct seen {
    char text[1024];
};

/* "t=1 f=2@5 | ": values, with what their time is beyond the message's, messages. */
static int see(void *user, const struct tpc_batch *batch)
{
    struct seen *s = user;
    size_t n = strlen(s->text);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            struct tpc_str text = tpc_value_text(&p->value);
            char number[40] = "";
            double d;
            if (tpc_value_double(&p->value, &d) == 0) {
                snprintf(number, sizeof(number), "%g", d);
            }
            n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "%.*s=%s%.*s%s ",
                                   (int) p->key.len, p->key.ptr, number, (int) text.len,
                                   text.len > 0 ? text.ptr : "",
                                   (p->flags & TPC_POINT_CLAMPED) != 0 ? "!" : "");
            if (p->unix_ms != 0 && p->unix_ms != m->unix_ms) {
                n += (size_t) snprintf(s->text + n - 1, sizeof(s->text) - n + 1, "@%lld ",
                                       (long long) (p->unix_ms % 1000)) -
                     1;
            }
        }
        n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "| ");
    }
    return 0;
}

static const char product[] =
    TPC_JSON({
    "key": "calc", "codec": "alink", "enforce": "clamp",
    "model": { "properties": [
        { "id": "t", "type": "double" }, { "id": "a", "type": "int" }, { "id": "b", "type": "int" },
        { "id": "s", "type": "text" },
        { "id": "f", "type": "double", "max": 500, "expr": "t * 1.8 + 32" },
        { "id": "hot", "type": "bool", "expr": "f > 100", "role": "attribute" },
        { "id": "sum", "type": "int", "expr": "a + b" },
        { "id": "half", "type": "int", "expr": "a / 2" },
        { "id": "label", "type": "text", "expr": "s" } ] } });

struct calc {
    struct flow f;
    struct seen seen;
    struct tpc_device *d;
    struct tpc_sub *sub;
};

static void begin(struct calc *c, uint32_t workers)
{
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    memset(c, 0, sizeof(*c));
    flow_init(&c->f, workers);
    flow_create(&c->f);
    tk_ok(tpc_entity_put(c->f.core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(c->f.core, NULL, "device",
                         TPC_STR("{\"key\":\"c1\",\"product\":\"calc\"}"), TPC_ANY_REV, NULL));
    flow_start(&c->f);
    c->d = flow_device(&c->f, "c1");
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(c->f.core, &o, see, &c->seen, &c->sub));
}

static void end(struct calc *c)
{
    tpc_unsubscribe(c->sub);
    tpc_device_unref(c->d);
    flow_fini(&c->f);
}

static void post(struct calc *c, const char *params)
{
    char text[300];
    snprintf(text, sizeof(text), "{\"method\":\"thing.property.post\",\"params\":%s}", params);
    tk_ok(flow_feed(c->d, text));
    tk_clock_advance(&c->f.e.clock, 1);
}

START_TEST(a_derived_property_follows_what_it_reads)
{
    struct calc c;
    begin(&c, 0);
    post(&c, "{\"t\":20}");
    flow_settle(&c.f);
    ck_assert_str_eq(c.seen.text, "t=20 f=68 hot=0 | ");
    ck_assert_double_eq(flow_latest(&c.f, "c1", "f"), 68);
    ck_assert_double_eq(flow_latest(&c.f, "c1", "hot"), 0);
    c.seen.text[0] = 0;
    /* Nothing it reads: nothing to compute. Without the other: no value. */
    post(&c, "{\"b\":4}");
    flow_settle(&c.f);
    post(&c, "{\"a\":6}");
    flow_settle(&c.f);
    /* Order within a message does not matter, and what it says itself is what counts. */
    post(&c, "{\"b\":1,\"a\":10}");
    flow_settle(&c.f);
    ck_assert_str_eq(c.seen.text, "b=4 | a=6 sum=10 half=3 | b=1 a=10 sum=11 half=5 | ");
    ck_assert_uint_eq(flow_stored(&c.f, "c1", "sum"), 2);
    end(&c);
}
END_TEST

START_TEST(messages_of_one_batch_see_each_other)
{
    struct calc c;
    begin(&c, 0);
    post(&c, "{\"a\":1,\"b\":1,\"s\":\"one\"}");
    flow_settle(&c.f);
    c.seen.text[0] = 0;
    post(&c, "{\"a\":5}");
    post(&c, "{\"b\":7}");
    post(&c, "{\"s\":\"two\"}");
    post(&c, "{\"s\":\"\"}");
    flow_settle(&c.f);
    ck_assert_str_eq(c.seen.text, "a=5 sum=6 | b=7 sum=12 | s=two label=two | s= label= | ");
    end(&c);
}
END_TEST

START_TEST(the_model_holds_for_what_is_computed)
{
    struct calc c;
    begin(&c, 0);
    post(&c, "{\"t\":1000}");
    post(&c, "{\"a\":3,\"b\":null}");
    post(&c, "{\"f\":1,\"t\":0}"); /* a device does not report what is computed */
    flow_settle(&c.f);
    ck_assert_str_eq(c.seen.text, "t=1000 f=500! hot=1 | a=3 | t=0 f=32 hot=0 | ");
    /* half is 1.5, which is no int; b is null; f is computed. */
    ck_assert_double_eq(flow_metric(&c.f, "tpc_uplink_points_refused_total"), 3);
    ck_assert_double_eq(flow_metric(&c.f, "tpc_uplink_points_clamped_total"), 1);
    end(&c);
}
END_TEST

/* ---- values with times of their own ---- */

/* "t1:20 a2:3": key, time and value of points, in one message of time 1,000. */
static int decode_timed(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                        uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    const char *p = (const char *) frames->payload.ptr;
    const char *stop = p + frames->payload.len;
    struct tpc_decoded head = { .size = sizeof(head), .kind = TPC_MSG_TELEMETRY, .unix_ms = 1000 };
    (void) self;
    (void) worker;
    (void) program;
    (void) frame_size;
    int rc = count == 1 ? sink->begin(sink->user, 0, &head) : TPC_EUNSUPPORTED;
    for (; rc == 0 && p + 4 <= stop; p += 5) {
        struct tpc_value v = { .type = TPC_INT, .as.i = p[3] - '0' };
        rc = sink->point(sink->user, (struct tpc_str){ p, 1 }, &v, 1000 + (p[1] - '0'));
    }
    return rc != 0 ? rc : sink->end(sink->user);
}

static int encode_timed(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                        struct tpc_arena *arena, struct tpc_error *err,
                        struct tpc_bytes *ret_payload)
{
    (void) self;
    (void) worker;
    (void) program;
    (void) what;
    (void) arena;
    (void) err;
    (void) ret_payload;
    return TPC_EUNSUPPORTED;
}

static int compile_timed(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                         void **ret_program)
{
    (void) self;
    (void) source;
    (void) err;
    *ret_program = NULL;
    return 0;
}

static void release_timed(void *self, void *program)
{
    (void) self;
    (void) program;
}

static const struct tpc_codec_ops timed = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                            .name = "timed",
                                            .compile = compile_timed,
                                            .release = release_timed,
                                            .decode = decode_timed,
                                            .encode = encode_timed };
static const struct tpc_interface timed_interfaces[] = { { TPC_KIND_CODEC, &timed } };
static const struct tpc_module timed_module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                                .name = "timed",
                                                .version = "1",
                                                .licence = "Apache-2.0",
                                                .interfaces = TPC_INTERFACES(timed_interfaces) };

START_TEST(values_of_one_time_are_computed_together)
{
    struct flow f;
    struct seen seen = { "" };
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(tpc_core_add_module(f.core, &timed_module));
    tk_ok(tpc_entity_put(f.core, NULL, "product",
                         TPC_STR("{\"key\":\"p\",\"codec\":\"timed\",\"model\":{\"properties\":[{"
                                 "\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"int\"},{"
                                 "\"id\":\"s\",\"type\":\"int\",\"expr\":\"a + b\"}]}}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"d\",\"product\":\"p\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&f);
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f.core, &o, see, &seen, &sub));
    struct tpc_device *d = flow_device(&f, "d");
    tk_ok(flow_feed(d, "a1:1 b1:2 b2:5 a3:7 b3:1"));
    flow_settle(&f);
    ck_assert_str_eq(seen.text, "a=1@1 b=2@1 b=5@2 a=7@3 b=1@3 s=3@1 s=6@2 s=8@3 | ");
    ck_assert_uint_eq(flow_stored(&f, "d", "s"), 3);
    tpc_device_unref(d);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(an_expression_knows_what_was_before_and_other_devices)
{
    struct flow f;
    struct seen seen = { "" };
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(tpc_core_add_module(f.core, &timed_module));
    tk_ok(
        tpc_entity_put(f.core, NULL, "product",
                       TPC_STR("{\"key\":\"p\",\"codec\":\"timed\",\"model\":{\"properties\":["
                               "{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"int\"},"
                               "{\"id\":\"x\",\"type\":\"int\",\"expr\":\"delta(a)\"},"
                               "{\"id\":\"y\",\"type\":\"bool\",\"expr\":\"changed(b)\"},"
                               "{\"id\":\"z\",\"type\":\"text\",\"expr\":\"concat('<', a, '>')\"},"
                               "{\"id\":\"w\",\"type\":\"int\",\"expr\":\"b + device('e').b\"},"
                               "{\"id\":\"v\",\"type\":\"int\",\"expr\":\"b + event_time()\"}]}}"),
                       TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"d\",\"product\":\"p\"}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"e\",\"product\":\"p\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&f);
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f.core, &o, see, &seen, &sub));
    struct tpc_device *d = flow_device(&f, "d");
    struct tpc_device *e = flow_device(&f, "e");
    /* nothing was before; then the message's own, the batch's, and the latest value */
    tk_ok(flow_feed(d, "a1:1 a3:5"));
    tk_ok(flow_feed(d, "a4:2"));
    flow_settle(&f);
    tk_ok(flow_feed(d, "a5:9"));
    flow_settle(&f);
    ck_assert_str_eq(seen.text, "a=1@1 a=5@3 z=<1>@1 x=4@3 z=<5>@3 | a=2@4 x=-3@4 z=<2>@4 | "
                                "a=9@5 x=7@5 z=<9>@5 | ");
    seen.text[0] = 0;
    tk_ok(flow_feed(d, "b6:1"));
    flow_settle(&f);
    tk_ok(flow_feed(e, "b1:4"));
    flow_settle(&f);
    tk_ok(flow_feed(d, "b7:1"));
    tk_ok(flow_feed(d, "b8:3"));
    flow_settle(&f);
    ck_assert_str_eq(seen.text, "b=1@6 y=1@6 v=1007@6 | b=4@1 y=1@1 v=1005@1 | "
                                "b=1@7 y=0@7 w=5@7 v=1008@7 | b=3@8 y=1@8 w=7@8 v=1011@8 | ");
    tpc_device_unref(d);
    tpc_device_unref(e);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(a_computed_text_without_room_is_counted)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "product",
                         TPC_STR("{\"key\":\"p\",\"model\":{\"properties\":["
                                 "{\"id\":\"a\",\"type\":\"int\"},"
                                 "{\"id\":\"z\",\"type\":\"text\",\"expr\":\"lpad('x', a)\"}]}}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"d\",\"product\":\"p\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "d");
    tk_ok(flow_feed(d, "{\"a\":4095}"));
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 0);
    ck_assert_uint_eq(flow_stored(&f, "d", "z"), 1);
    tk_ok(flow_feed(d, "{\"a\":4096}"));
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 1);
    ck_assert_uint_eq(flow_stored(&f, "d", "z"), 1);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

static const struct {
    const char *properties;
    const char *path;
} faults[] = {
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":\"b +\"},{\"id\":\"b\",\"type\":\"int\"}",
      "model.properties[0].expr" },
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":\"none\"}", "model.properties[0].expr" },
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":\"a + 1\"}", "model.properties[0].expr" },
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":\"b\"},{\"id\":\"b\",\"type\":\"int\",\"expr\":"
      "\"c\"},{\"id\":\"c\",\"type\":\"int\"}",
      "model.properties[0].expr" },
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":\"b\",\"access\":\"rw\"},{\"id\":\"b\",\"type\":"
      "\"int\"}",
      "model.properties[0].access" },
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":5}", "model.properties[0].expr" },
    { "{\"id\":\"a\",\"type\":\"int\",\"expr\":\"\"}", "model.properties[0].expr" },
};

START_TEST(an_expression_that_cannot_be_is_refused_with_its_place)
{
    struct flow f;
    char text[600];
    flow_init(&f, 0);
    flow_create(&f);
    snprintf(text, sizeof(text), "{\"key\":\"p\",\"model\":{\"properties\":[%s]}}",
             faults[_i].properties);
    tk_fails(TPC_EMODEL,
             tpc_entity_put(f.core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL));
    ck_assert_str_eq(tpc_error_last()->path, faults[_i].path);
    ck_assert_uint_gt(strlen(tpc_error_last()->text), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(there_is_an_end_to_what_is_computed)
{
    struct flow f;
    static char text[8000];
    size_t n = 0;
    flow_init(&f, 0);
    flow_create(&f);
    n += (size_t) snprintf(text, sizeof(text),
                           "{\"key\":\"p\",\"model\":{\"properties\":[{\"id\":\"x0\",\"type\":"
                           "\"int\"}");
    for (int i = 1; i <= 65; i++) {
        n += (size_t) snprintf(text + n, sizeof(text) - n,
                               ",{\"id\":\"x%d\",\"type\":\"int\",\"expr\":\"x%d + 1\"}", i, i - 1);
    }
    snprintf(text + n, sizeof(text) - n, "]}}");
    tk_fails(TPC_EMODEL,
             tpc_entity_put(f.core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL));
    ck_assert_str_eq(tpc_error_last()->path, "model.properties[65].expr");
    /* One less, each reading the one before it. */
    n -= strlen(",{\"id\":\"x65\",\"type\":\"int\",\"expr\":\"x64 + 1\"}");
    snprintf(text + n, sizeof(text) - n, "]}}");
    tk_ok(tpc_entity_put(f.core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"d\",\"product\":\"p\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "d");
    tk_ok(flow_feed(d, "{\"x0\":1}"));
    flow_settle(&f);
    ck_assert_double_eq(flow_latest(&f, "d", "x64"), 65);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

static int make_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpi_derived *d = NULL;
    int rc = tpi_derived_make(a, &tpi_core_expr_ops, user, NULL, &d);
    tpi_derived_destroy(d);
    return rc;
}

START_TEST(running_out_of_memory_leaks_nothing)
{
    struct tpc_arena *arena;
    struct tpc_value v;
    struct tpi_model *m;
    struct tpi_derived *d;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, TPC_STR(product), 0, NULL, &v));
    tk_ok(tpi_model_compile(NULL, tpc_value_get(&v, TPC_STR("model")), NULL, TPI_ENFORCE_USUAL, 1,
                            NULL, &m));
    ck_assert_uint_gt(tk_each_alloc_fails(make_without_memory, m), 3);
    tk_fails(TPC_EUNSUPPORTED, tpi_derived_make(NULL, NULL, m, NULL, &d));
    tpi_model_unref(m);
    tpc_arena_destroy(arena);
}
END_TEST

Suite *derived_flow_suite(void)
{
    Suite *s = suite_create("derived");
    TCase *tc = tcase_create("derived");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_derived_property_follows_what_it_reads);
    tcase_add_test(tc, messages_of_one_batch_see_each_other);
    tcase_add_test(tc, the_model_holds_for_what_is_computed);
    tcase_add_test(tc, values_of_one_time_are_computed_together);
    tcase_add_test(tc, an_expression_knows_what_was_before_and_other_devices);
    tcase_add_test(tc, a_computed_text_without_room_is_counted);
    tcase_add_loop_test(tc, an_expression_that_cannot_be_is_refused_with_its_place, 0,
                        sizeof(faults) / sizeof(faults[0]));
    tcase_add_test(tc, there_is_an_end_to_what_is_computed);
    tcase_add_test(tc, running_out_of_memory_leaks_nothing);
    suite_add_tcase(s, tc);
    return s;
}
