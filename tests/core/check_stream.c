/* Followers of the log: tails, durable cursors, announcements. */
#include "flow.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct heard {
    struct tpc_core *core;
    _Atomic(struct tpc_sub *) sub;
    atomic_uint messages;
    atomic_uint calls;
    uint32_t refuse; /* so many calls are refused first */
    uint32_t end_at; /* message at which it ends itself */
    char last[128];  /* "kind name key" of the last */
    int64_t first_n, last_n;
};

static int hear(void *user, const struct tpc_batch *batch)
{
    struct heard *h = user;
    atomic_fetch_add(&h->calls, 1);
    if (h->refuse > 0) {
        h->refuse--;
        return TPC_EIO;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        struct tpc_str key = tpc_value_text(tpc_value_get(&m->params, TPC_STR("key")));
        snprintf(h->last, sizeof(h->last), "%s %.*s %.*s", tpc_kind_name(m->kind),
                 (int) m->name.len, m->name.len > 0 ? m->name.ptr : "", (int) key.len,
                 key.len > 0 ? key.ptr : "");
        if (m->point_count > 0) {
            h->last_n = tpc_msg_point(m, 0)->value.as.i;
            h->first_n = h->first_n == 0 ? h->last_n : h->first_n;
        }
        uint32_t n = atomic_fetch_add(&h->messages, 1) + 1;
        if (n == h->end_at) {
            h->sub = tpc_unsubscribe(h->sub);
            return 0;
        }
    }
    return 0;
}

static void follow(struct flow *f, const char *filter, uint32_t flags, struct heard *h)
{
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    o.filter = tpc_str_from(filter);
    o.flags = flags;
    h->core = f->core;
    struct tpc_sub *sub;
    tk_ok(tpc_subscribe(f->core, &o, hear, h, &sub));
    h->sub = sub;
}

static void consume(struct flow *f, const char *name, struct heard *h)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    o.name = tpc_str_from(name);
    o.filter = TPC_STR("main/up/#");
    h->core = f->core;
    struct tpc_sub *sub;
    tk_ok(tpc_consume(f->core, &o, hear, h, &sub));
    h->sub = sub;
}

static void feed_numbers(struct flow *f, const char *device, int from, int to)
{
    char text[32];
    struct tpc_device *d = flow_device(f, device);
    for (int n = from; n <= to; n++) {
        snprintf(text, sizeof(text), "{\"n\":%d}", n);
        tk_ok(flow_feed(d, text));
        tk_clock_advance(&f->e.clock, 1);
    }
    tpc_device_unref(d);
}

START_TEST(changes_of_entities_are_announced)
{
    struct flow f;
    struct heard h, scenes;
    memset(&h, 0, sizeof(h));
    memset(&scenes, 0, sizeof(scenes));
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    flow_settle(&f);
    follow(&f, "main/entity/device/+/updated", 0, &h);
    follow(&f, "main/entity/scene/#", 0, &scenes);
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"t2\",\"product\":\"thermo\"}"),
                         TPC_ANY_REV, NULL));
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&h.messages), 1);
    ck_assert_str_eq(h.last, "entity device t2");
    tk_ok(tpc_entity_delete(f.core, NULL, (struct tpc_str){ NULL, 0 }, "device", TPC_STR("t2"),
                            TPC_ANY_REV));
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&h.messages), 2);
    ck_assert_uint_eq(atomic_load(&scenes.messages), 0);
    h.sub = tpc_unsubscribe(h.sub);
    scenes.sub = tpc_unsubscribe(scenes.sub);
    flow_fini(&f);
}
END_TEST

START_TEST(filters_let_through_what_they_say)
{
    struct flow f;
    struct heard one, all, other;
    memset(&one, 0, sizeof(one));
    memset(&all, 0, sizeof(all));
    memset(&other, 0, sizeof(other));
    flow_init(&f, 4);
    flow_create(&f);
    flow_devices(&f, 3);
    flow_start(&f);
    follow(&f, "main/up/thermo/t1/telemetry", 0, &one);
    follow(&f, "#", TPC_STREAM_SYSTEM, &all);
    follow(&f, "main/up/+/+/event", 0, &other);
    feed_numbers(&f, "t1", 1, 10);
    feed_numbers(&f, "t2", 1, 20);
    flow_settle(&f);
    one.sub = tpc_unsubscribe(one.sub);
    all.sub = tpc_unsubscribe(all.sub);
    other.sub = tpc_unsubscribe(other.sub);
    ck_assert_uint_eq(atomic_load(&one.messages), 10);
    ck_assert_uint_ge(atomic_load(&all.messages), 30);
    ck_assert_uint_eq(atomic_load(&other.messages), 0);
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    o.filter = TPC_STR("#");
    tk_fails(TPC_EINVAL, tpc_subscribe(f.core, &o, hear, &one, &sub));
    o.filter = TPC_STR("a/#/b");
    tk_fails(TPC_EINVAL, tpc_subscribe(f.core, &o, hear, &one, &sub));
    flow_fini(&f);
}
END_TEST

START_TEST(a_follower_may_end_itself)
{
    struct flow f;
    struct heard h;
    memset(&h, 0, sizeof(h));
    h.end_at = 5;
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    follow(&f, "main/up/#", 0, &h);
    feed_numbers(&f, "t1", 1, 3);
    flow_settle(&f);
    feed_numbers(&f, "t1", 4, 30);
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&h.messages), 5);
    ck_assert_ptr_null(h.sub);
    flow_fini(&f);
}
END_TEST

START_TEST(a_refused_batch_comes_again)
{
    struct flow f;
    struct heard h;
    memset(&h, 0, sizeof(h));
    h.refuse = 3;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    consume(&f, "billing", &h);
    feed_numbers(&f, "t1", 1, 10);
    for (int i = 0; i < 60; i++) {
        tk_ok(tpc_core_step(f.core, 0, NULL));
        tk_clock_advance(&f.e.clock, 50);
    }
    ck_assert_uint_eq(atomic_load(&h.messages), 10);
    ck_assert_uint_eq(atomic_load(&h.calls), 4);
    ck_assert_int_eq(h.first_n, 1);
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *second;
    o.name = TPC_STR("billing");
    o.filter = TPC_STR("main/up/#");
    tk_fails(TPC_EEXIST, tpc_consume(f.core, &o, hear, &h, &second));
    o.name = TPC_STR("history");
    tk_fails(TPC_EEXIST, tpc_consume(f.core, &o, hear, &h, &second));
    o.name = TPC_STR("Not A Name");
    tk_fails(TPC_EINVAL, tpc_consume(f.core, &o, hear, &h, &second));
    tk_fails(TPC_ESTATE, tpc_consumer_forget(f.core, TPC_STR("billing")));
    h.sub = tpc_unsubscribe(h.sub);
    tk_ok(tpc_consumer_forget(f.core, TPC_STR("billing")));
    tk_fails(TPC_ENOENT, tpc_consumer_forget(f.core, TPC_STR("billing")));
    flow_fini(&f);
}
END_TEST

START_TEST(a_cursor_goes_on_after_a_restart)
{
    struct flow f;
    struct heard h;
    char dir[256];
    uint32_t workers = (uint32_t) _i;
    snprintf(dir, sizeof(dir), "%s/restart%d", tk_tmpdir(), _i);
    memset(&h, 0, sizeof(h));
    flow_init(&f, workers);
    flow_create(&f);
    flow_file_log(&f, dir, "");
    flow_devices(&f, 1);
    flow_start(&f);
    consume(&f, "billing", &h);
    feed_numbers(&f, "t1", 1, 50);
    flow_settle(&f);
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&h.messages), 50);
    h.sub = tpc_unsubscribe(h.sub);
    feed_numbers(&f, "t1", 51, 60);
    flow_settle(&f);
    flow_fini(&f);

    memset(&h, 0, sizeof(h));
    flow_init(&f, workers);
    f.o.flags = TPC_CORE_ACCEPT_GAP;
    flow_create(&f);
    flow_file_log(&f, dir, "");
    flow_devices(&f, 1);
    flow_start(&f);
    /* Stores in memory are empty; latest values and history come from the log again. */
    ck_assert_double_eq(flow_latest(&f, "t1", "n"), 60);
    consume(&f, "billing", &h);
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&h.messages), 10);
    ck_assert_int_eq(h.first_n, 51);
    h.sub = tpc_unsubscribe(h.sub);
    flow_fini(&f);
}
END_TEST

Suite *stream_flow_suite(void)
{
    Suite *s = suite_create("stream flow");
    TCase *t = tcase_create("stream flow");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, changes_of_entities_are_announced);
    tcase_add_test(t, filters_let_through_what_they_say);
    tcase_add_loop_test(t, a_follower_may_end_itself, 0, 3);
    tcase_add_test(t, a_refused_batch_comes_again);
    tcase_add_loop_test(t, a_cursor_goes_on_after_a_restart, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
