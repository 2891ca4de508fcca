/* Retention: what a product no longer wants to keep goes, a chunk (of one property: 960 rows) at a
 * time. */
#include "flow.h"

#include <stdio.h>
#include <string.h>

enum { HOUR_MS = 3600000 };

static void put_product(struct flow *f, const char *key, const char *history)
{
    char text[512];
    snprintf(text, sizeof(text),
             "{\"key\":\"%s\",\"codec\":\"json\",%s\"model\":{\"properties\":["
             "{\"id\":\"x\",\"type\":\"int\"}]}}",
             key, history);
    tk_ok(tpc_entity_put(f->core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL));
    snprintf(text, sizeof(text), "{\"key\":\"of-%s\",\"product\":\"%s\"}", key, key);
    tk_ok(tpc_entity_put(f->core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL));
}

static void feed_hours_ago(struct flow *f, const char *device, int hours, int count)
{
    struct tpc_device *d = flow_device(f, device);
    for (int i = 0; i < count; i++) {
        struct tpc_point p = { .key = TPC_STR("x"),
                               .unix_ms = tpi_unix_ms(&f->e.env) - (int64_t) hours * HOUR_MS + i,
                               .value = { .type = TPC_INT, .as.i = i } };
        struct tpc_points points = { sizeof(points), 1, sizeof(p), &p, 0, 0, 0 };
        tk_ok(tpc_feed_points(d, &points, NULL, NULL));
        if (i % 100 == 99) {
            flow_settle(f);
        }
    }
    tpc_device_unref(d);
    flow_settle(f);
}

/* An hour and a bit passes, in steps. */
static void pass_hour(struct flow *f)
{
    tk_clock_advance(&f->e.clock, HOUR_MS);
    for (int i = 0; i < 50; i++) {
        tk_clock_advance(&f->e.clock, 100);
        flow_settle(f);
    }
}

START_TEST(chunks_older_than_the_product_keeps_them_are_deleted)
{
    struct flow f;
    flow_init(&f, 0);
    f.o.history_keep_ms = 50 * (uint64_t) HOUR_MS;
    flow_create(&f);
    put_product(&f, "short", "\"history\":{\"keep\":\"10h\"},");
    put_product(&f, "ever", "\"history\":{\"keep\":0},");
    put_product(&f, "usual", "");
    flow_start(&f);
    static const char *const devices[] = { "of-short", "of-ever", "of-usual" };
    for (int i = 0; i < 3; i++) {
        feed_hours_ago(&f, devices[i], 100, 1920);
        feed_hours_ago(&f, devices[i], 20, 1920);
        feed_hours_ago(&f, devices[i], 1, 30);
        ck_assert_uint_eq(flow_stored(&f, devices[i], "x"), 3870);
    }
    pass_hour(&f);
    ck_assert_uint_eq(flow_stored(&f, "of-short", "x"), 30);
    ck_assert_uint_eq(flow_stored(&f, "of-ever", "x"), 3870);
    ck_assert_uint_eq(flow_stored(&f, "of-usual", "x"), 1950);
    ck_assert_double_eq(flow_metric(&f, "tpc_history_deleted_total"), 6);
    put_product(&f, "ever", "\"history\":{\"keep\":\"10h\"},"); /* takes effect in the next round */
    pass_hour(&f);
    ck_assert_uint_eq(flow_stored(&f, "of-ever", "x"), 30);
    for (int i = 0; i < 12; i++) {
        pass_hour(&f);
    }
    ck_assert_uint_eq(flow_stored(&f, "of-short", "x"), 30); /* open: no chunk yet */
    feed_hours_ago(&f, "of-short", 0, 120);
    pass_hour(&f);
    pass_hour(&f);
    ck_assert_uint_le(flow_stored(&f, "of-short", "x"), 150);
    ck_assert_uint_ge(flow_stored(&f, "of-short", "x"), 120);
    flow_fini(&f);
}
END_TEST

START_TEST(a_product_that_keeps_for_no_time_at_all_is_refused)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    static const char product[] =
        "{\"key\":\"p\",\"history\":{\"keep\":\"a while\"},\"model\":{\"properties\":[]}}";
    ck_assert_int_lt(tpc_entity_put(f.core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL),
                     0);
    ck_assert_str_eq(tpc_error_last()->path, "history.keep");
    flow_fini(&f);
}
END_TEST

Suite *keep_flow_suite(void)
{
    Suite *s = suite_create("retention");
    TCase *c = tcase_create("keep");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, chunks_older_than_the_product_keeps_them_are_deleted);
    tcase_add_test(c, a_product_that_keeps_for_no_time_at_all_is_refused);
    suite_add_tcase(s, c);
    return s;
}
