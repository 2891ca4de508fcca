#include "sink_suite.h"

#include <string.h>

static const struct sink_subject *subject;

struct bench {
    struct tk_env env;
    struct fake_sink h;
};

static int open_bench(struct bench *b)
{
    tk_env_init(&b->env);
    int rc = fake_sink_init(&b->h, &b->env, subject->module(), subject->options);
    if (rc == 0 && subject->begin != NULL) {
        subject->begin(&b->h);
    }
    return rc;
}

static void close_bench(struct bench *b)
{
    fake_sink_fini(&b->h);
    if (subject->end != NULL) {
        subject->end(&b->h);
    }
    tk_env_fini(&b->env);
}

static const struct tpc_sink_ops *ops_of(void)
{
    const struct tpc_module *m = subject->module();
    for (uint32_t i = 0; i < m->interfaces.count; i++) {
        const struct tpc_interface *f = TPC_LIST_AT(struct tpc_interface, m->interfaces, i);
        if (f->kind == TPC_KIND_SINK) {
            return f->ops;
        }
    }
    return NULL;
}

static void check_table(const struct tpc_list *table, bool in_list)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *table, i);
        ck_assert_ptr_nonnull(o->name);
        ck_assert_msg(o->help != NULL && o->since != NULL, "option %s says too little", o->name);
        ck_assert_msg(o->type != TPC_OPT_SECRET || !in_list, "secret %s in a list", o->name);
        if (o->type == TPC_OPT_TABLE) {
            check_table(&o->sub, in_list);
        }
        if (o->type == TPC_OPT_LIST && o->elem != NULL) {
            ck_assert_int_ne(o->elem->type, TPC_OPT_SECRET);
            check_table(&o->elem->sub, true);
        }
    }
}

START_TEST(descriptor_and_tables_are_whole)
{
    const struct tpc_module *m = subject->module();
    const struct tpc_sink_ops *o = ops_of();
    ck_assert_ptr_nonnull(m->name);
    ck_assert_ptr_nonnull(m->version);
    ck_assert_ptr_nonnull(m->licence);
    ck_assert_ptr_nonnull(o);
    ck_assert_uint_eq(o->iface.major, 1);
    ck_assert(TPC_HAS(o, struct tpc_sink_ops, fini));
    check_table(&o->options, false);
    check_table(&o->target_options, false);
}
END_TEST

START_TEST(option_that_is_not_in_a_table_is_refused)
{
    struct bench b;
    void *target;
    tk_env_init(&b.env);
    tk_fails(TPC_EINVAL, fake_sink_init(&b.h, &b.env, subject->module(), "{\"no_such_option\":1}"));
    close_bench(&b);
    tk_ok(open_bench(&b));
    tk_fails(TPC_EINVAL, fake_sink_open(&b.h, "main/forward/x", "{\"no_such_option\":1}", &target));
    close_bench(&b);
}
END_TEST

START_TEST(fini_frees_an_instance_that_was_never_started)
{
    struct bench b;
    tk_ok(open_bench(&b));
    close_bench(&b);
}
END_TEST

static int whole_life(const struct tpc_allocator *a, void *user)
{
    struct bench b;
    void *target;
    (void) user;
    tk_env_init(&b.env);
    b.env.alloc.base = *a;
    int rc = fake_sink_init(&b.h, &b.env, subject->module(), subject->options);
    if (rc == 0 && subject->begin != NULL) {
        subject->begin(&b.h);
    }
    rc = rc != 0 ? rc : fake_sink_start(&b.h);
    if (rc == 0) {
        rc = fake_sink_open(&b.h, "main/forward/oom", subject->target, &target);
        fake_sink_stop(&b.h);
        if (rc == 0) {
            b.h.ops->target_close(b.h.self, target);
        }
    }
    close_bench(&b);
    return rc;
}

START_TEST(without_memory_nothing_is_left_behind)
{
    tk_each_alloc_fails(whole_life, NULL);
}
END_TEST

START_TEST(target_that_cannot_be_is_refused_with_a_reason)
{
    struct bench b;
    void *target;
    tk_ok(open_bench(&b));
    tk_ok(fake_sink_start(&b.h));
    int rc = fake_sink_open(&b.h, "main/forward/bad", subject->bad_target, &target);
    ck_assert_int_eq(tpc_error_class(rc), TPC_CLASS_FIX);
    ck_assert_uint_gt(strlen(b.h.last_fail), 0);
    fake_sink_stop(&b.h);
    close_bench(&b);
}
END_TEST

/* ---- sending ---- */

static struct tpc_batch make_batch(struct tpc_msg *msgs, struct tpc_point *points, uint32_t n)
{
    memset(msgs, 0, n * sizeof(msgs[0]));
    memset(points, 0, n * sizeof(points[0]));
    for (uint32_t i = 0; i < n; i++) {
        points[i].key = TPC_STR("n");
        points[i].value = (struct tpc_value){ .type = TPC_INT, .as.i = i + 1 };
        msgs[i].size = sizeof(msgs[i]);
        msgs[i].kind = TPC_MSG_TELEMETRY;
        msgs[i].offset = i;
        msgs[i].device_id = 7;
        msgs[i].unix_ms = 1795176000000;
        msgs[i].id.b[15] = (uint8_t) (i + 1);
        msgs[i].tenant = TPC_STR("main");
        msgs[i].product = TPC_STR("thermo");
        msgs[i].device = TPC_STR("t1");
        msgs[i].point_count = 1;
        msgs[i].point_size = sizeof(points[0]);
        msgs[i].points = &points[i];
    }
    return (struct tpc_batch){
        .size = sizeof(struct tpc_batch), .count = n, .msg_size = sizeof(msgs[0]), .msgs = msgs
    };
}

enum { MESSAGES = 8 };

START_TEST(batch_that_was_taken_is_answered_once)
{
    struct bench b;
    void *target;
    struct tpc_msg msgs[MESSAGES];
    struct tpc_point points[MESSAGES];
    struct tpc_batch batch = make_batch(msgs, points, MESSAGES);
    uint32_t taken = 0;
    tk_ok(open_bench(&b));
    tk_ok(fake_sink_start(&b.h));
    tk_ok(fake_sink_open(&b.h, "main/forward/out", subject->target, &target));
    for (uint64_t ticket = 1; ticket <= 3; ticket++) {
        if (b.h.ops->send(b.h.self, target, &batch, ticket) == 0) {
            taken++;
            ck_assert(fake_sink_wait(&b.h, taken));
            ck_assert_uint_eq(b.h.sent[taken - 1].ticket, ticket);
        }
    }
    fake_sink_stop(&b.h);
    ck_assert_uint_eq(b.h.sent_count, taken);
    ck_assert_uint_eq(b.h.calls_after_stop, 0);
    b.h.ops->target_close(b.h.self, target);
    close_bench(&b);
}
END_TEST

START_TEST(stop_answers_what_is_in_flight)
{
    struct bench b;
    void *targets[4];
    struct tpc_msg msgs[MESSAGES];
    struct tpc_point points[MESSAGES];
    struct tpc_batch batch = make_batch(msgs, points, MESSAGES);
    uint32_t taken = 0;
    tk_ok(open_bench(&b));
    tk_ok(fake_sink_start(&b.h));
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = { "main/forward/a", "main/forward/b", "main/forward/c",
                                             "main/handler/a" };
        tk_ok(fake_sink_open(&b.h, names[i], subject->target, &targets[i]));
    }
    for (int i = 0; i < 4; i++) {
        taken += b.h.ops->send(b.h.self, targets[i], &batch, (uint64_t) i + 1) == 0;
    }
    fake_sink_stop(&b.h);
    ck_assert_uint_eq(b.h.sent_count, taken);
    ck_assert_uint_eq(b.h.calls_after_stop, 0);
    for (int i = 0; i < 4; i++) {
        b.h.ops->target_close(b.h.self, targets[i]);
    }
    close_bench(&b);
}
END_TEST

START_TEST(start_may_follow_a_stop)
{
    struct bench b;
    void *target;
    struct tpc_msg msgs[1];
    struct tpc_point points[1];
    struct tpc_batch batch = make_batch(msgs, points, 1);
    uint32_t taken = 0;
    tk_ok(open_bench(&b));
    for (int i = 0; i < 2; i++) {
        tk_ok(fake_sink_start(&b.h));
        tk_ok(fake_sink_open(&b.h, "main/forward/out", subject->target, &target));
        taken += b.h.ops->send(b.h.self, target, &batch, (uint64_t) i + 1) == 0;
        ck_assert(fake_sink_wait(&b.h, taken));
        fake_sink_stop(&b.h);
        b.h.ops->target_close(b.h.self, target);
        b.h.stopped = false;
    }
    ck_assert_uint_eq(b.h.sent_count, taken);
    close_bench(&b);
}
END_TEST

START_TEST(takes_as_many_batches_of_a_target_as_it_says)
{
    enum { MOST = 16 };
    struct bench b;
    void *target;
    struct tpc_msg msgs[MOST][MESSAGES];
    struct tpc_point points[MOST][MESSAGES];
    struct tpc_batch batches[MOST];
    uint32_t taken = 0;
    tk_ok(open_bench(&b));
    const struct tpc_sink_ops *o = b.h.ops;
    bool says =
        o->iface.size >= offsetof(struct tpc_sink_ops, max_in_flight) + sizeof(o->max_in_flight);
    uint32_t most = says && o->max_in_flight > 1 ? o->max_in_flight : 1;
    ck_assert_uint_le(most, MOST);
    tk_ok(fake_sink_start(&b.h));
    tk_ok(fake_sink_open(&b.h, "main/forward/out", subject->target, &target));
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < most; i++) { /* none waits for another's answer */
            batches[i] = make_batch(msgs[i], points[i], MESSAGES);
            for (uint32_t k = 0; k < MESSAGES; k++) {
                msgs[i][k].partition = i;
                msgs[i][k].id.b[0] = (uint8_t) (round + 1);
                msgs[i][k].id.b[1] = (uint8_t) (i + 1);
            }
            uint64_t ticket = (uint64_t) round * MOST + i + 1;
            taken += o->send(b.h.self, target, &batches[i], ticket) == 0;
        }
        if (round < 2) {
            ck_assert(fake_sink_wait(&b.h, taken));
        }
    }
    fake_sink_stop(&b.h);
    ck_assert_uint_eq(b.h.sent_count, taken);
    for (uint32_t i = 0; i < taken; i++) { /* each once */
        for (uint32_t k = 0; k < i; k++) {
            ck_assert_uint_ne(b.h.sent[i].ticket, b.h.sent[k].ticket);
        }
    }
    ck_assert_uint_eq(b.h.calls_after_stop, 0);
    o->target_close(b.h.self, target);
    close_bench(&b);
}
END_TEST

TCase *sink_suite(const struct sink_subject *s)
{
    subject = s;
    TCase *c = tcase_create("every sink");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, descriptor_and_tables_are_whole);
    tcase_add_test(c, option_that_is_not_in_a_table_is_refused);
    tcase_add_test(c, fini_frees_an_instance_that_was_never_started);
    tcase_add_test(c, without_memory_nothing_is_left_behind);
    if (subject->bad_target != NULL) {
        tcase_add_test(c, target_that_cannot_be_is_refused_with_a_reason);
    }
    tcase_add_test(c, batch_that_was_taken_is_answered_once);
    tcase_add_test(c, stop_answers_what_is_in_flight);
    tcase_add_test(c, start_may_follow_a_stop);
    tcase_add_test(c, takes_as_many_batches_of_a_target_as_it_says);
    return c;
}
