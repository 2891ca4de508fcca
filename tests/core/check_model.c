/* Thing models in a running core: limits. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

/* What came of the points of the last messages: "key=value!" or "key=value?". */
struct seen {
    char text[512];
};

static int see(void *user, const struct tpc_batch *batch)
{
    struct seen *s = user;
    size_t n = strlen(s->text);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            double d = -1;
            (void) tpc_value_double(&p->value, &d);
            n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "%.*s=%g%s%s ",
                                   (int) p->key.len, p->key.ptr, d,
                                   (p->flags & TPC_POINT_CLAMPED) != 0 ? "!" : "",
                                   (p->flags & TPC_POINT_BEYOND) != 0 ? "?" : "");
        }
    }
    return 0;
}

static void put(struct flow *f, const char *kind, const char *text)
{
    tk_ok(tpc_entity_put(f->core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL));
}

static void put_bounded(struct flow *f, const char *enforce)
{
    char text[400];
    snprintf(text, sizeof(text),
             "{\"key\":\"bounded\",%s\"model\":{\"properties\":[{\"id\":\"t\",\"type\":\"double\","
             "\"min\":0,\"max\":30,\"step\":0.5},{\"id\":\"n\",\"type\":\"int\",\"max\":9}]}}",
             enforce);
    put(f, "product", text);
}

START_TEST(a_product_says_what_becomes_of_values_beyond_limits)
{
    struct flow f;
    struct seen seen = { "" };
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    flow_init(&f, 0);
    flow_create(&f);
    put_bounded(&f, "");
    put(&f, "device", "{\"key\":\"b1\",\"product\":\"bounded\"}");
    flow_start(&f);
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f.core, &o, see, &seen, &sub));
    struct tpc_device *d = flow_device(&f, "b1");
    static const char *const policies[] = { "", "\"enforce\":\"drop\",", "\"enforce\":\"clamp\",",
                                            "\"enforce\":\"keep\"," };
    for (size_t i = 0; i < 4; i++) {
        put_bounded(&f, policies[i]);
        tk_ok(flow_feed(d, "{\"t\":21.3,\"n\":12}"));
        tk_ok(flow_feed(d, "{\"t\":40,\"n\":5}"));
        flow_settle(&f);
        tk_clock_advance(&f.e.clock, 10);
    }
    ck_assert_str_eq(seen.text, "t=21.3 n=5 "
                                "n=5 "
                                "t=21.5! n=9! t=30! n=5 "
                                "t=21.3? n=12? t=40? n=5 ");
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 5);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_clamped_total"), 3);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_beyond_total"), 3);
    ck_assert_double_eq(flow_latest(&f, "b1", "t"), 40);
    tk_fails(TPC_EINVAL,
             tpc_entity_put(f.core, NULL, "product",
                            TPC_STR("{\"key\":\"x\",\"enforce\":\"bend\",\"model\":{}}"),
                            TPC_ANY_REV, NULL));
    tpc_unsubscribe(sub);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

Suite *model_flow_suite(void)
{
    Suite *s = suite_create("model");
    TCase *tc = tcase_create("model");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_product_says_what_becomes_of_values_beyond_limits);
    suite_add_tcase(s, tc);
    return s;
}
