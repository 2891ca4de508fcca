/* Data rules in a whole core: rows in the log, over threads and restarts. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "flow.h"

struct told {
    atomic_uint rows;
    char last[300];   /* "device name origin n" */
    int64_t received; /* of the last telemetry */
};

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct told *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (m->kind == TPC_MSG_TELEMETRY) {
            t->received = m->received_unix_ms;
        } else if (m->kind == TPC_MSG_EVENT) {
            const struct tpc_value *n = tpc_value_get(&m->params, TPC_STR("n"));
            snprintf(t->last, sizeof(t->last), "%.*s %.*s %.*s %lld", (int) m->device.len,
                     m->device.ptr, (int) m->name.len, m->name.ptr, (int) m->origin.len,
                     m->origin.ptr, n != NULL ? (long long) n->as.i : -1);
            atomic_fetch_add(&t->rows, 1);
        }
    }
    return 0;
}

/* All that the log holds and will hold. */
static struct tpc_sub *follow(struct flow *f, struct told *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(t, 0, sizeof(*t));
    o.name = TPC_STR("all");
    o.filter = TPC_STR("main/#");
    tk_ok(tpc_consume(f->core, &o, on_batch, t, &sub));
    flow_settle(f);
    return sub;
}

static unsigned count_rows(struct flow *f, struct told *t)
{
    struct tpc_sub *sub = follow(f, t);
    tpc_unsubscribe(sub);
    tk_ok(tpc_consumer_forget(f->core, TPC_STR("all")));
    return atomic_load(&t->rows);
}

static const char tumbling[] =
    TPC_JSON({
    "key": "mean",
    "sql": "SELECT avg(temperature) AS mean, count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(ss, 10)",
    "to": { "event": "mean" } });

static bool three_rows(void *user)
{
    return atomic_load(&((struct told *) user)->rows) >= 3;
}

START_TEST(each_message_that_fits_is_an_event_of_its_device)
{
    static const char each[] =
        TPC_JSON({ "key": "hot", "sql": "SELECT n FROM thermo WHERE temperature > 30",
                   "to": { "event": "hot" } });
    struct flow f;
    struct told t;
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_devices(&f, 2);
    flow_probe_open(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "rule", TPC_STR(each), TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, &t);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"temperature\":20,\"n\":1}"));
    for (int i = 0; i < 3; i++) {
        tk_ok(flow_feed(d, "{\"temperature\":31,\"n\":7}"));
    }
    ck_assert(flow_until(&f, three_rows, &t));
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.rows), 3);
    ck_assert_str_eq(t.last, "t1 hot rule:hot 7");
    tpc_device_unref(d);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

/* What is open stands in the state, and what came after it in the log. */
START_TEST(a_window_goes_on_over_restarts_and_gives_one_row)
{
    struct told t;
    char dir[256], entities[320];
    int64_t now = 1795176000000;
    snprintf(dir, sizeof(dir), "%s/rule", tk_tmpdir());
    snprintf(entities, sizeof(entities), "{\"dump_dir\":\"%s/entities\"}", dir);
    for (int i = 0; i < 5; i++) {
        struct flow f;
        flow_init(&f, 0);
        tk_clock_set_unix(&f.e.clock, now + i * 3000);
        f.o.flags = TPC_CORE_ACCEPT_GAP;
        flow_create(&f);
        flow_file_log(&f, dir, "");
        tk_ok(tpc_core_open(f.core, "entities", "memory", tpc_str_from(entities)));
        if (i == 0) {
            flow_devices(&f, 1);
            tk_ok(tpc_entity_put(f.core, NULL, "rule", TPC_STR(tumbling), TPC_ANY_REV, NULL));
        }
        flow_start(&f);
        struct tpc_device *d = flow_device(&f, "t1");
        if (i < 3) {
            tk_ok(flow_feed(d, "{\"temperature\":31}"));
        }
        tpc_device_unref(d);
        flow_settle(&f);
        flow_settle(&f);
        ck_assert_uint_eq(count_rows(&f, &t), i == 4 ? 1 : 0);
        flow_fini(&f);
    }
    ck_assert_str_eq(t.last, "t1 mean rule:mean 3");
}
END_TEST

/* The state is lost: what was emitted is counted again, and found in the log. */
START_TEST(a_row_that_the_log_has_is_not_appended_again)
{
    struct told t;
    const char *dir = tk_tmpdir();
    for (int i = 0; i < 3; i++) {
        struct flow f;
        flow_init(&f, 0);
        flow_create(&f);
        flow_file_log(&f, dir, "");
        tk_clock_set_unix(&f.e.clock, 1795176000000 + i * 60000);
        flow_devices(&f, 1);
        tk_ok(tpc_entity_put(f.core, NULL, "rule", TPC_STR(tumbling), TPC_ANY_REV, NULL));
        flow_start(&f);
        if (i == 0) {
            struct tpc_device *d = flow_device(&f, "t1");
            tk_ok(flow_feed(d, "{\"temperature\":31}"));
            flow_settle(&f);
            tk_clock_advance(&f.e.clock, 10000);
            tpc_device_unref(d);
        }
        flow_settle(&f);
        flow_settle(&f);
        ck_assert_uint_eq(count_rows(&f, &t), 1);
        flow_fini(&f);
    }
}
END_TEST

/* Its receipt time says so, also to whoever replays the log. */
START_TEST(what_is_taken_in_after_the_clock_ended_its_window_is_in_the_next_one)
{
    struct told t;
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_file_log(&f, tk_tmpdir(), "");
    tk_clock_set_unix(&f.e.clock, 1795176000000);
    flow_devices(&f, 1);
    tk_ok(tpc_entity_put(f.core, NULL, "rule", TPC_STR(tumbling), TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    flow_settle(&f);
    tk_clock_advance(&f.e.clock, 9999);
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    tk_clock_advance(&f.e.clock, 2);
    flow_settle(&f);
    ck_assert_uint_eq(count_rows(&f, &t), 1);
    ck_assert_int_eq(t.received, 1795176010001);
    tk_clock_advance(&f.e.clock, 10000);
    flow_settle(&f);
    ck_assert_uint_eq(count_rows(&f, &t), 2);
    ck_assert_str_eq(t.last, "t1 mean rule:mean 1");
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

/* As many as that wait only where owners are slower than all others. */
START_TEST(uplinks_wait_while_owners_of_windows_are_behind)
{
    static const char all[] =
        TPC_JSON({ "key": "all", "sql": "SELECT count(*) AS n FROM thermo GROUP BY COUNTWINDOW(2)",
                   "to": { "event": "all", "device": "t1" } });
    struct told t;
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_file_log(&f, tk_tmpdir(), "");
    flow_devices(&f, 2);
    tk_ok(tpc_entity_put(f.core, NULL, "rule", TPC_STR(all), TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t2");
    atomic_fetch_add(&f.core->inputs_pending, TPI_INPUTS_PENDING);
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    tk_ok(flow_feed(d, "{\"temperature\":32}"));
    tk_ok(tpc_core_step(f.core, 0, NULL));
    ck_assert(flow_metric(&f, "tpc_core_rule_inputs_waits_total") == 1);
    ck_assert_uint_eq(flow_stored(&f, "t2", "temperature"), 0);
    atomic_fetch_sub(&f.core->inputs_pending, TPI_INPUTS_PENDING);
    tk_clock_advance(&f.e.clock, TPI_STALL_MS);
    flow_settle(&f);
    ck_assert_uint_eq(count_rows(&f, &t), 1);
    ck_assert_str_eq(t.last, "t1 all rule:all 2");
    ck_assert_uint_eq(atomic_load(&f.core->inputs_pending), 0);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

Suite *data_rule_flow_suite(void)
{
    Suite *s = suite_create("data rule");
    TCase *t = tcase_create("rows");
    tcase_add_loop_test(t, each_message_that_fits_is_an_event_of_its_device, 0, 3);
    tcase_add_test(t, a_window_goes_on_over_restarts_and_gives_one_row);
    tcase_add_test(t, a_row_that_the_log_has_is_not_appended_again);
    tcase_add_test(t, what_is_taken_in_after_the_clock_ended_its_window_is_in_the_next_one);
    tcase_add_test(t, uplinks_wait_while_owners_of_windows_are_behind);
    suite_add_tcase(s, t);
    return s;
}
