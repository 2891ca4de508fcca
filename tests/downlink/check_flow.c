/* One behaviour a test: order, waiting, repeating, ending. */
#include "bench.h"
#include "data/msg.h"
#include "suites.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { WATCHED = 150 };

static bool same(const struct tpc_id *a, const struct tpc_id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static struct tpc_id send_with(struct bench *b, struct tpi_command_spec spec)
{
    struct tpc_id id;
    spec.service = spec.service.len > 0 ? spec.service : TPC_STR("reboot");
    tk_ok(bench_command(b, 0, &spec, &id));
    return id;
}

START_TEST(a_reply_closes_the_command_and_tells_the_caller)
{
    struct bench *b = bench_new();
    struct tpc_id id = bench_set(b, 0);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    const struct bench_send *s = bench_last_send(b);
    ck_assert_str_eq(s->name, "set");
    ck_assert_int_eq(s->kind, TPC_MSG_ATTRIBUTES_SET);
    ck_assert_uint_eq(strlen(s->correlation), TPC_ID_TEXT_BYTES);
    tpi_downlink_sent(b->d, s->ticket, NULL);
    tk_ok(bench_reply(b, 0, &id, 0));
    ck_assert_uint_eq(b->closed_count, 1);
    ck_assert(same(&b->closed_id, &id));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_SUCCEEDED);
    ck_assert_str_eq(b->closed_text, "set {\"on\":true} {\"speed\":7}  rule scene:x main fan-1");
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_CLOSED, &id), 1);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 1);
    ck_assert_uint_eq(bench_state(b, &id), 0);
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.succeeded), 1);
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.duplicates), 1);
    bench_free(b);
}
END_TEST

START_TEST(a_device_that_says_no_fails_the_command)
{
    struct bench *b = bench_new();
    struct tpc_id id = bench_set(b, 0);
    tk_ok(bench_reply(b, 0, &id, 42));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_FAILED);
    ck_assert_int_eq(b->closed_code, 42);
    ck_assert_str_eq(b->closed_text,
                     "set {\"on\":true} {\"speed\":7} too hot rule scene:x main fan-1");
    bench_free(b);
}
END_TEST

START_TEST(replies_nobody_waits_for_are_counted_and_change_nothing)
{
    struct bench *b = bench_new();
    struct tpc_id other = { { 7 } };
    tk_fails(TPC_ENOENT, bench_reply(b, 0, &other, 0));
    tk_fails(TPC_ENOENT, bench_reply(b, 0, NULL, 0));
    struct tpc_id id = bench_set(b, 0);
    tk_fails(TPC_ENOENT, bench_reply(b, 1, &id, 0)); /* another device */
    struct tpc_id second = bench_set(b, 0);
    tk_fails(TPC_ENOENT, bench_reply(b, 0, &second, 0)); /* not sent yet */
    tk_ok(bench_reply(b, 0, &id, 0));
    tk_fails(TPC_ENOENT, bench_reply(b, 0, &id, 0)); /* closed */
    struct tpc_msg bad = { .size = sizeof(bad), .correlation = TPC_STR("17") };
    tk_fails(TPC_ENOENT, tpi_downlink_reply(b->d, &b->devices[0], &bad));
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.unmatched_replies), 6);
    ck_assert_uint_eq(b->closed_count, 1);
    tk_ok(bench_reply(b, 0, NULL, 0)); /* without an id: the one in flight */
    ck_assert(same(&b->closed_id, &second));
    bench_free(b);
}
END_TEST

START_TEST(a_device_gets_one_at_a_time_by_priority_then_order)
{
    struct bench *b = bench_new();
    struct tpc_id ids[5];
    static const uint32_t priorities[5] = { TPC_PRIORITY_LOW, TPC_PRIORITY_LOW, TPC_PRIORITY_NORMAL,
                                            TPC_PRIORITY_HIGH, TPC_PRIORITY_HIGH };
    static const int order[5] = { 0, 3, 4, 2, 1 };
    for (int i = 0; i < 5; i++) {
        ids[i] = send_with(b, (struct tpi_command_spec){ .priority = priorities[i] });
    }
    for (size_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(b->send_count, i + 1);
        ck_assert(same(&bench_last_send(b)->id, &ids[order[i]]));
        tk_ok(bench_reply(b, 0, &ids[order[i]], 0));
    }
    bench_free(b);
}
END_TEST

START_TEST(an_offline_device_keeps_its_queue)
{
    struct bench *b = bench_new();
    b->send_code = TPC_EOFFLINE;
    struct tpc_id first = bench_set(b, 0);
    struct tpc_id second = bench_set(b, 0);
    bench_set(b, 1);
    size_t asked = b->send_count;
    bench_advance(b, 3600000);
    ck_assert_uint_eq(b->send_count, asked); /* nobody polls */
    ck_assert_uint_eq(bench_state(b, &first), TPC_COMMAND_QUEUED);
    b->send_code = 0;
    tpi_downlink_online(b->d, &b->devices[0], 0);
    ck_assert(same(&bench_last_send(b)->id, &first));
    tk_ok(bench_reply(b, 0, &first, 0));
    tk_ok(bench_reply(b, 0, &second, 0));
    ck_assert_uint_eq(tpi_downlink_open_count(b->d), 1);
    bench_free(b);
}
END_TEST

START_TEST(commands_that_wait_too_long_expire_unsent)
{
    struct bench *b = bench_new();
    b->send_code = TPC_EOFFLINE;
    struct tpc_id id = send_with(b, (struct tpi_command_spec){ .expire_ms = 5000 });
    bench_advance(b, 4999);
    ck_assert_uint_eq(b->closed_count, 0);
    bench_advance(b, 1);
    ck_assert_uint_eq(b->closed_count, 1);
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_EXPIRED);
    ck_assert_int_eq(b->closed_code, TPC_EOFFLINE);
    ck_assert_uint_eq(b->closed_tries, 0);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 0);
    bench_free(b);
}
END_TEST

START_TEST(tries_without_a_reply_are_repeated_with_doubling_delay)
{
    struct bench *b = bench_new();
    struct tpc_id id = send_with(
        b, (struct tpi_command_spec){ .timeout_ms = 1000, .retries = 2, .retry_delay_ms = 300 });
    static const uint64_t steps[] = { 999, 1, 299, 1, 1000, 599, 1, 999, 1 };
    static const size_t sends[] = { 1, 1, 1, 2, 2, 2, 3, 3, 3 };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        bench_advance(b, steps[i]);
        ck_assert_uint_eq(b->send_count, sends[i]);
        ck_assert_uint_eq(b->closed_count, i == 8);
    }
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_TIMED_OUT);
    ck_assert_int_eq(b->closed_code, TPC_ETIMEOUT);
    ck_assert_uint_eq(b->closed_tries, 3);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 3);
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.retries), 2);
    bench_free(b);
}
END_TEST

START_TEST(a_late_reply_ends_the_wait_for_the_next_try)
{
    struct bench *b = bench_new();
    struct tpc_id id = send_with(
        b, (struct tpi_command_spec){ .timeout_ms = 1000, .retries = 1, .retry_delay_ms = 9000 });
    struct tpc_id next = bench_set(b, 0);
    bench_advance(b, 1500);
    ck_assert_uint_eq(b->send_count, 1); /* the order of a device's commands is kept */
    tk_ok(bench_reply(b, 0, &id, 0));
    ck_assert(same(&bench_last_send(b)->id, &next));
    bench_advance(b, 9000);
    ck_assert_uint_eq(b->closed_count, 1);
    bench_free(b);
}
END_TEST

START_TEST(a_busy_adapter_is_asked_again)
{
    struct bench *b = bench_new();
    b->send_code = TPC_EAGAIN;
    struct tpc_id id = bench_set(b, 0);
    bench_set(b, 0);
    ck_assert_uint_eq(b->send_count, 1);
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    ck_assert_uint_eq(b->send_count, 2);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_QUEUED);
    b->send_code = 0;
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    bench_free(b);
}
END_TEST

START_TEST(what_cannot_be_encoded_fails_and_the_next_goes_on)
{
    struct bench *b = bench_new();
    struct tpc_id first = bench_set(b, 0);
    bench_set(b, 0);
    bench_set(b, 0);
    b->send_code = TPC_EUNSUPPORTED;
    tk_ok(bench_reply(b, 0, &first, 0));
    ck_assert_uint_eq(b->closed_count, 3);
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_FAILED);
    ck_assert_int_eq(b->closed_code, TPC_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(b->closed_text, "told to fail"));
    bench_free(b);
}
END_TEST

START_TEST(a_send_that_fails_later_goes_back_to_the_queue_or_ends)
{
    struct bench *b = bench_new();
    struct tpc_id id = bench_set(b, 0);
    uint64_t old = bench_last_send(b)->ticket;
    struct tpc_error err = { .size = sizeof(err), .code = TPC_EOFFLINE };
    tpi_downlink_sent(b->d, old, &err);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_QUEUED);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 2);
    bench_advance(b, 1000);
    ck_assert_uint_eq(b->send_count, 1);
    tpi_downlink_online(b->d, &b->devices[0], 0);
    ck_assert_uint_eq(b->send_count, 2);
    tpi_downlink_sent(b->d, old, &err); /* of a try that is no more */
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    err.code = TPC_ETOOBIG;
    tpi_downlink_sent(b->d, bench_last_send(b)->ticket, &err);
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_FAILED);
    ck_assert_int_eq(b->closed_code, TPC_ETOOBIG);
    bench_free(b);
}
END_TEST

START_TEST(cancel_works_in_every_open_state_and_in_no_other)
{
    struct bench *b = bench_new();
    struct tpi_command_spec spec = { .timeout_ms = 1000, .retries = 5 };
    struct tpc_id sent = send_with(b, spec);
    struct tpc_id queued = send_with(b, spec);
    tk_ok(tpi_downlink_cancel(b->d, &queued));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_CANCELED);
    tk_ok(tpi_downlink_cancel(b->d, &sent));
    struct tpc_id waits = send_with(b, spec);
    bench_advance(b, 1500);
    tk_ok(tpi_downlink_cancel(b->d, &waits));
    ck_assert_uint_eq(b->closed_count, 3);
    tk_fails(TPC_ESTATE, tpi_downlink_cancel(b->d, &waits));
    struct tpc_id closing = send_with(b, spec);
    b->append_code = TPC_EAGAIN;
    tk_ok(tpi_downlink_cancel(b->d, &closing));
    tk_fails(TPC_ESTATE, tpi_downlink_cancel(b->d, &closing));
    struct tpc_id none = { { 1 } };
    tk_fails(TPC_ENOENT, tpi_downlink_cancel(b->d, &none));
    bench_free(b);
}
END_TEST

START_TEST(a_full_log_delays_the_end_but_not_the_next_command)
{
    struct bench *b = bench_new();
    struct tpc_id id = bench_set(b, 0);
    struct tpc_id next = bench_set(b, 0);
    b->append_code = TPC_EAGAIN;
    tk_ok(bench_reply(b, 0, &id, 0));
    ck_assert_uint_eq(b->closed_count, 0);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SUCCEEDED);
    ck_assert(same(&bench_last_send(b)->id, &next));
    ck_assert_uint_eq(tpi_downlink_low_offset(b->d, 0), 0);
    tk_fails(TPC_ENOENT, bench_reply(b, 0, &id, 0));
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    b->append_code = 0;
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    ck_assert_uint_eq(b->closed_count, 1);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_CLOSED, &id), 1);
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.append_waits), 4);
    bench_free(b);
}
END_TEST

START_TEST(a_full_log_is_told_later_that_a_command_was_sent)
{
    struct bench *b = bench_new();
    struct tpc_id first = bench_set(b, 0);
    struct tpc_id id = send_with(b, (struct tpi_command_spec){ .timeout_ms = 60000 });
    b->append_code = TPC_EAGAIN;
    tk_ok(bench_reply(b, 0, &first, 0));
    ck_assert(same(&bench_last_send(b)->id, &id));
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 0);
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    b->append_code = 0;
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 1);
    bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_STATE, &id), 1);
    bench_restart(b, b->record_count);
    ck_assert(same(&b->closed_id, &id));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_UNKNOWN);
    bench_free(b);
}
END_TEST

START_TEST(limits_refuse_and_count)
{
    struct bench *b = bench_new();
    tpi_downlink_destroy(b->d);
    b->host.device_max = 2;
    b->host.commands_max = 3;
    tk_ok(tpi_downlink_create(&b->env.env, &b->host, NULL, &b->d));
    b->send_code = TPC_EOFFLINE;
    struct tpi_command_spec spec = { .service = TPC_STR("reboot") };
    tk_ok(bench_command(b, 0, &spec, NULL));
    tk_ok(bench_command(b, 0, &spec, NULL));
    tk_fails(TPC_EAGAIN, bench_command(b, 0, &spec, NULL));
    tk_ok(bench_command(b, 1, &spec, NULL));
    tk_fails(TPC_EAGAIN, bench_command(b, 2, &spec, NULL));
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.refused), 2);
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.open), 3);
    bench_free(b);
}
END_TEST

START_TEST(commands_of_a_deleted_device_fail)
{
    struct bench *b = bench_new();
    bench_set(b, 0);
    bench_set(b, 0);
    bench_set(b, 1);
    atomic_store(&b->devices[0].deleted, true);
    tpi_downlink_gone(b->d, &b->devices[0]);
    ck_assert_uint_eq(b->closed_count, 2);
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_FAILED);
    ck_assert_int_eq(b->closed_code, TPC_ENOENT);
    bench_set(b, 0);
    ck_assert_uint_eq(b->closed_count, 3);
    ck_assert_uint_eq(b->send_count, 2);
    bench_free(b);
}
END_TEST

START_TEST(an_adapter_may_answer_from_inside_send)
{
    struct bench *b = bench_new();
    b->send_now = true;
    b->command_when_closed = true;
    bench_set(b, 0);
    ck_assert_uint_eq(b->closed_count, 2);
    ck_assert_uint_eq(b->send_count, 2);
    ck_assert_uint_eq(tpi_downlink_open_count(b->d), 0);
    bench_free(b);
}
END_TEST

START_TEST(after_a_restart_queued_go_on_and_sent_ones_only_if_harmless)
{
    struct bench *b = bench_new();
    struct tpc_id harmless = bench_set(b, 0);
    struct tpc_id reboot = { { 0 } };
    struct tpi_command_spec spec = { .service = TPC_STR("reboot") };
    tk_ok(bench_command(b, 1, &spec, &reboot));
    b->send_code = TPC_EOFFLINE;
    struct tpc_id queued = { { 0 } };
    tk_ok(bench_command(b, 2, &spec, &queued));
    b->send_code = 0;
    size_t sends = b->send_count;
    bench_restart(b, b->record_count);
    ck_assert_uint_eq(b->closed_count, 1);
    ck_assert(same(&b->closed_id, &reboot));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_UNKNOWN);
    ck_assert_uint_eq(b->send_count, sends); /* the wheel has not run */
    bench_advance(b, 1);
    ck_assert_uint_eq(b->send_count, sends + 2);
    ck_assert_uint_eq(bench_state(b, &harmless), TPC_COMMAND_SENT);
    ck_assert_uint_eq(bench_state(b, &queued), TPC_COMMAND_SENT);
    tk_ok(bench_reply(b, 0, &harmless, 0));
    ck_assert_uint_eq(b->closed_tries, 2);
    bench_restart(b, b->record_count);
    tk_fails(TPC_EEXIST, tpi_downlink_admit(b->d, &b->devices[0], &harmless, NULL));
    bench_free(b);
}
END_TEST

START_TEST(a_restart_ends_commands_of_devices_that_are_gone)
{
    struct bench *b = bench_new();
    struct tpc_id id = bench_set(b, 0);
    atomic_store(&b->devices[0].deleted, true);
    bench_restart(b, b->record_count);
    ck_assert(same(&b->closed_id, &id));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_FAILED);
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND_CLOSED, &id), 1);
    bench_free(b);
}
END_TEST

START_TEST(a_closing_record_reads_back_as_the_command)
{
    struct bench *b = bench_new();
    struct tpc_id id = bench_set(b, 0);
    tk_ok(bench_reply(b, 0, &id, 42));
    const struct bench_record *r = &b->records[b->record_count - 1];
    struct tpc_arena *arena = NULL;
    struct tpc_msg m = { .size = sizeof(m) };
    struct tpc_command c;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    struct tpc_bytes body = { r->body.ptr, r->body.len };
    tk_ok(tpi_msg_decode(body, arena, NULL, &m));
    tk_ok(tpi_command_read(&m.params, arena, &c));
    ck_assert_uint_eq(c.state, TPC_COMMAND_FAILED);
    ck_assert_int_eq(c.code, 42);
    ck_assert(tpc_str_equal(c.params_json, TPC_STR("{\"on\":true}")));
    ck_assert(tpc_str_equal(c.reply_json, TPC_STR("{\"speed\":7}")));
    ck_assert(tpc_str_equal(c.reason, TPC_STR("too hot")));
    ck_assert_int_gt(c.sent_unix_ms, 0);
    struct tpc_value none = { .type = TPC_NULL };
    tk_fails(TPC_ECORRUPT, tpi_command_read(&none, arena, &c));
    tpc_arena_destroy(arena);
    bench_free(b);
}
END_TEST

struct watch {
    struct bench *b;
    atomic_uint open; /* number of the command that is open now */
    atomic_bool stop;
    unsigned found;
};

static void look(void *user, const struct tpc_command *c)
{
    struct watch *w = user;
    w->found++;
    ck_assert(tpc_str_equal(c->service, TPC_STR("set")));
    ck_assert(tpc_str_equal(c->params_json, TPC_STR("{\"on\":true}")));
    ck_assert(c->reply_json.len == 0 || c->state == TPC_COMMAND_SUCCEEDED);
}

static void *watch(void *user)
{
    struct watch *w = user;
    while (!atomic_load(&w->stop)) {
        struct tpc_id id = { { 0 } };
        uint64_t n = atomic_load(&w->open);
        memcpy(id.b + 8, &n, sizeof(n));
        int rc = tpi_downlink_find(w->b->d, &id, look, w);
        ck_assert(rc == 0 || rc == TPC_ENOENT);
        tpi_downlink_low_offset(w->b->d, 0);
        ck_assert_uint_le(tpi_downlink_open_count(w->b->d), 2);
        sched_yield();
    }
    return NULL;
}

START_TEST(other_threads_may_look_while_the_owner_works)
{
    struct bench *b = bench_new();
    const struct tpc_allocator *before = b->env.env.alloc;
    tpi_downlink_destroy(b->d);
    b->env.env.alloc = tpc_allocator_default(); /* the kit's counts for one thread */
    tk_ok(tpi_downlink_create(&b->env.env, &b->host, NULL, &b->d));
    struct watch w = { .b = b };
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, watch, &w), 0);
    for (unsigned i = 0; i < WATCHED; i++) {
        atomic_store(&w.open, (unsigned) b->next_id + 1);
        struct tpc_id id = bench_set(b, 0);
        bench_set(b, 0);
        b->append_code = i % 4 == 0 ? TPC_EAGAIN : 0;
        tk_ok(bench_reply(b, 0, &id, 0));
        b->append_code = 0;
        tk_ok(bench_reply(b, 0, NULL, 0));
        bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
        ck_assert_uint_eq(tpi_downlink_open_count(b->d), 0);
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    tpi_downlink_destroy(b->d);
    b->env.env.alloc = before;
    tk_ok(tpi_downlink_create(&b->env.env, &b->host, NULL, &b->d));
    bench_free(b);
}
END_TEST

static int life(const struct tpc_allocator *a, void *user)
{
    struct bench *b = user;
    b->env.env.alloc = a;
    tpi_downlink_destroy(b->d);
    b->d = NULL;
    b->send_now = false;
    int rc = tpi_downlink_create(&b->env.env, &b->host, NULL, &b->d);
    struct tpc_arena *arena = NULL;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    struct tpi_command_spec spec = { .service = TPC_STR("set") };
    struct tpc_msg m = { .size = sizeof(m), .kind = TPC_MSG_COMMAND, .id = { { 5 } } };
    tk_ok(tpi_command_envelope(&spec, arena, &m.params));
    size_t closed = b->closed_count;
    m.unix_ms = tpi_unix_ms(&b->env.env);
    rc = rc != 0 ? rc : tpi_downlink_command(b->d, &b->devices[0], &m);
    tpc_arena_destroy(arena);
    if (rc == 0) {
        for (int i = 0; i < 10 && b->closed_count == closed; i++) {
            ((struct tk_alloc *) (uintptr_t) a->user)->fail_at *= i < 3; /* memory is back */
            bench_reply(b, 0, NULL, 0);
            bench_advance(b, TPI_DOWNLINK_AGAIN_MS);
        }
        ck_assert_uint_eq(b->closed_count, closed + 1); /* late, but never lost */
    }
    tpi_downlink_destroy(b->d);
    b->d = NULL;
    return rc;
}

START_TEST(no_memory_delays_but_loses_nothing)
{
    struct bench *b = bench_new();
    const struct tpc_allocator *before = b->env.env.alloc;
    tpi_downlink_destroy(b->d);
    b->d = NULL;
    ck_assert_uint_gt(tk_each_alloc_fails(life, b), 10);
    b->env.env.alloc = before;
    bench_free(b);
}
END_TEST

/* A telemetry control (contract thingspanel 1.5): no message id, no answer. */
START_TEST(a_control_ends_when_it_is_out)
{
    struct bench *b = bench_new();
    struct tpc_id id =
        send_with(b, (struct tpi_command_spec){ .service = TPC_STR("control"), .control = true });
    struct tpc_id next = bench_set(b, 0);
    ck_assert_int_eq(bench_last_send(b)->kind, TPC_MSG_TELEMETRY_SET);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    tpi_downlink_sent(b->d, bench_last_send(b)->ticket, NULL);
    ck_assert(same(&b->closed_id, &id));
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_SUCCEEDED);
    ck_assert_uint_eq(b->closed_panel, TPC_PANEL_SENT);
    ck_assert(same(&bench_last_send(b)->id, &next));
    id = send_with(b, (struct tpi_command_spec){ .service = TPC_STR("control") }); /* the model's */
    tk_ok(bench_reply(b, 0, &next, 0));
    ck_assert_int_eq(bench_last_send(b)->kind, TPC_MSG_COMMAND);
    tpi_downlink_sent(b->d, bench_last_send(b)->ticket, NULL);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    bench_free(b);
}
END_TEST

START_TEST(a_control_that_is_not_confirmed_was_not_sent)
{
    struct bench *b = bench_new();
    struct tpc_id id =
        send_with(b, (struct tpi_command_spec){ .service = TPC_STR("control"), .control = true });
    bench_restart(b, b->record_count); /* it may be repeated */
    bench_advance(b, 1);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    ck_assert_int_eq(bench_last_send(b)->kind, TPC_MSG_TELEMETRY_SET);
    bench_advance(b, TPI_COMMAND_TIMEOUT_MS);
    ck_assert_uint_eq(b->closed_state, TPC_COMMAND_TIMED_OUT);
    ck_assert_uint_eq(b->closed_panel, TPC_PANEL_SEND_FAILED);
    bench_free(b);
}
END_TEST

START_TEST(what_waited_for_a_device_lets_it_subscribe_first)
{
    struct bench *b = bench_new();
    struct tpc_id ids[2];
    b->send_code = TPC_EOFFLINE;
    ids[0] = bench_set(b, 0);
    b->send_code = 0;
    size_t before = b->send_count;
    tpi_downlink_online(b->d, &b->devices[0], 3000);
    bench_advance(b, 1000);
    ids[1] = bench_set(b, 0);                        /* stays behind */
    tpi_downlink_online(b->d, &b->devices[0], 3000); /* does not begin anew */
    bench_advance(b, 1999);
    ck_assert_uint_eq(b->send_count, before);
    bench_advance(b, 1);
    ck_assert(same(&bench_last_send(b)->id, &ids[0]));
    tk_ok(bench_reply(b, 0, &ids[0], 0));
    ck_assert(same(&bench_last_send(b)->id, &ids[1]));
    bench_free(b);
}
END_TEST

START_TEST(a_message_ends_the_delay)
{
    struct bench *b = bench_new();
    b->send_code = TPC_EOFFLINE;
    struct tpc_id id = bench_set(b, 0);
    bench_set(b, 1);
    b->send_code = 0;
    tpi_downlink_spoke(b->d, &b->devices[0]); /* nothing is delayed: not its business */
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_QUEUED);
    tpi_downlink_online(b->d, &b->devices[0], 3000);
    size_t before = b->send_count;
    tpi_downlink_spoke(b->d, &b->devices[1]);
    ck_assert_uint_eq(b->send_count, before);
    tpi_downlink_spoke(b->d, &b->devices[0]);
    ck_assert_uint_eq(bench_state(b, &id), TPC_COMMAND_SENT);
    bench_advance(b, 3000);
    ck_assert_uint_eq(b->send_count, before + 1);
    bench_free(b);
}
END_TEST

START_TEST(a_label_is_kept_over_restarts_and_renewals)
{
    struct bench *b = bench_new();
    b->send_code = TPC_EOFFLINE;
    struct tpc_id id = send_with(b, (struct tpi_command_spec){ .label = TPC_STR("night") });
    bench_restart(b, b->record_count);
    b->send_code = 0;
    tpi_downlink_online(b->d, &b->devices[0], 0);
    bench_advance(b, 1);
    tk_ok(bench_reply(b, 0, &id, 3));
    ck_assert_str_eq(b->closed_label, "night");
    ck_assert_uint_eq(b->closed_panel, TPC_PANEL_FAILED);
    bench_free(b);
}
END_TEST

START_TEST(open_commands_of_one_device_are_told)
{
    struct bench *b = bench_new();
    struct tpc_id ids[4];
    struct tpc_id mine[2] = { bench_set(b, 0), bench_set(b, 0) };
    bench_set(b, 1);
    ck_assert_uint_eq(tpi_downlink_ids(b->d, 1, ids, 4), 2);
    ck_assert((same(&ids[0], &mine[0]) && same(&ids[1], &mine[1])) ||
              (same(&ids[0], &mine[1]) && same(&ids[1], &mine[0])));
    ck_assert_uint_eq(tpi_downlink_ids(b->d, 1, ids, 1), 2);
    tk_ok(bench_reply(b, 0, &mine[0], 0));
    ck_assert_uint_eq(tpi_downlink_ids(b->d, 1, ids, 4), 1);
    ck_assert(same(&ids[0], &mine[1]));
    ck_assert_uint_eq(tpi_downlink_ids(b->d, 77, ids, 4), 0);
    bench_free(b);
}
END_TEST

/* Contract thingspanel 6.4 and 6.5, over all states. */
START_TEST(records_have_thingspanels_codes)
{
    static const struct {
        uint32_t state, kind, tries, answered, panel;
        int32_t code;
        const char *expected;
    } cases[] = {
        { TPC_COMMAND_QUEUED, TPC_MSG_COMMAND, 0, 0, 0, 0, "pending" },
        { TPC_COMMAND_QUEUED, TPC_MSG_COMMAND, 1, 0, 0, 0, "sent" },
        { TPC_COMMAND_SENT, TPC_MSG_COMMAND, 1, 0, 1, 0, "sent" },
        { TPC_COMMAND_SUCCEEDED, TPC_MSG_ATTRIBUTES_SET, 1, 1, 3, 0, "sent" },
        { TPC_COMMAND_SUCCEEDED, TPC_MSG_TELEMETRY_SET, 1, 0, 1, 0, "sent" },
        { TPC_COMMAND_FAILED, TPC_MSG_COMMAND, 0, 0, 2, TPC_EUNSUPPORTED, "expired" },
        { TPC_COMMAND_FAILED, TPC_MSG_COMMAND, 1, 0, 2, TPC_EDENIED, "expired" },
        { TPC_COMMAND_FAILED, TPC_MSG_COMMAND, 1, 1, 4, -3, "sent" },
        { TPC_COMMAND_FAILED, TPC_MSG_COMMAND, 1, 0, 4, 1, "sent" }, /* of an older version */
        { TPC_COMMAND_TIMED_OUT, TPC_MSG_COMMAND, 1, 0, 5, TPC_ETIMEOUT, "sent" },
        { TPC_COMMAND_TIMED_OUT, TPC_MSG_TELEMETRY_SET, 1, 0, 2, TPC_ETIMEOUT, "expired" },
        { TPC_COMMAND_EXPIRED, TPC_MSG_COMMAND, 0, 0, 2, TPC_EOFFLINE, "expired" },
        { TPC_COMMAND_CANCELED, TPC_MSG_COMMAND, 0, 0, 2, TPC_ECANCELED, "expired" },
        { TPC_COMMAND_CANCELED, TPC_MSG_COMMAND, 1, 0, 1, TPC_ECANCELED, "sent" },
        { TPC_COMMAND_UNKNOWN, TPC_MSG_COMMAND, 1, 0, 5, TPC_ETIMEOUT, "sent" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_command c = { .size = sizeof(c),
                                 .state = cases[i].state,
                                 .kind = cases[i].kind,
                                 .tries = cases[i].tries,
                                 .answered = cases[i].answered,
                                 .code = cases[i].code };
        ck_assert_msg(tpc_command_panel_status(&c) == cases[i].panel, "case %zu: %u", i,
                      tpc_command_panel_status(&c));
        ck_assert_str_eq(tpc_command_expected_status(&c), cases[i].expected);
    }
    static const struct {
        const char *actor;
        uint32_t type;
    } actors[] = { { "rule scene:x", 2 }, { "rule", 2 }, { "user alice", 1 },
                   { "embedder", 1 },     { "", 1 },     { "ruler", 1 } };
    for (size_t i = 0; i < sizeof(actors) / sizeof(actors[0]); i++) {
        struct tpc_command c = { .size = sizeof(c), .actor = tpc_str_from(actors[i].actor) };
        ck_assert_uint_eq(tpc_command_operation_type(&c), actors[i].type);
    }
}
END_TEST

/* What version N-1 wrote has no label, no control, no expiry. */
START_TEST(records_of_the_version_before_are_read)
{
    static const char text[] =
        "{\"id\":\"00\",\"service\":\"set\",\"params\":{\"on\":true},\"actor\":\"user "
        "a\",\"state\":"
        "\"failed\",\"code\":1,\"reason\":\"no\",\"reply\":null,\"tries\":1,\"created_unix_ms\":5,"
        "\"sent_unix_ms\":6,\"closed_unix_ms\":7}";
    struct tpc_arena *arena = NULL;
    struct tpc_value v;
    struct tpc_value again;
    struct tpc_command c;
    struct tpc_command d;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, TPC_STR(text), 0, NULL, &v));
    tk_ok(tpi_command_read(&v, arena, &c));
    ck_assert_uint_eq(c.label.len, 0);
    ck_assert_int_eq(c.expire_unix_ms, 0);
    ck_assert_uint_eq(c.kind, TPC_MSG_ATTRIBUTES_SET);
    ck_assert_uint_eq(tpc_command_panel_status(&c), TPC_PANEL_FAILED);
    c.label = TPC_STR("l");
    c.kind = TPC_MSG_TELEMETRY_SET;
    c.state = TPC_COMMAND_QUEUED;
    tk_ok(tpi_command_write(&c, arena, &again));
    tk_ok(tpi_command_read(&again, arena, &d));
    ck_assert(tpc_str_equal(d.label, c.label) && d.kind == c.kind && d.state == c.state);
    ck_assert(tpc_str_equal(d.params_json, TPC_STR("{\"on\":true}")));
    tpc_arena_destroy(arena);
}
END_TEST

Suite *flow_suite(void)
{
    Suite *s = suite_create("flow");
    TCase *c = tcase_create("flow");
    tcase_add_test(c, a_reply_closes_the_command_and_tells_the_caller);
    tcase_add_test(c, a_device_that_says_no_fails_the_command);
    tcase_add_test(c, replies_nobody_waits_for_are_counted_and_change_nothing);
    tcase_add_test(c, a_device_gets_one_at_a_time_by_priority_then_order);
    tcase_add_test(c, an_offline_device_keeps_its_queue);
    tcase_add_test(c, commands_that_wait_too_long_expire_unsent);
    tcase_add_test(c, tries_without_a_reply_are_repeated_with_doubling_delay);
    tcase_add_test(c, a_late_reply_ends_the_wait_for_the_next_try);
    tcase_add_test(c, a_busy_adapter_is_asked_again);
    tcase_add_test(c, what_cannot_be_encoded_fails_and_the_next_goes_on);
    tcase_add_test(c, a_send_that_fails_later_goes_back_to_the_queue_or_ends);
    tcase_add_test(c, cancel_works_in_every_open_state_and_in_no_other);
    tcase_add_test(c, a_full_log_delays_the_end_but_not_the_next_command);
    tcase_add_test(c, a_full_log_is_told_later_that_a_command_was_sent);
    tcase_add_test(c, limits_refuse_and_count);
    tcase_add_test(c, commands_of_a_deleted_device_fail);
    tcase_add_test(c, an_adapter_may_answer_from_inside_send);
    tcase_add_test(c, after_a_restart_queued_go_on_and_sent_ones_only_if_harmless);
    tcase_add_test(c, a_restart_ends_commands_of_devices_that_are_gone);
    tcase_add_test(c, a_closing_record_reads_back_as_the_command);
    tcase_add_test(c, other_threads_may_look_while_the_owner_works);
    tcase_add_test(c, no_memory_delays_but_loses_nothing);
    tcase_add_test(c, a_control_ends_when_it_is_out);
    tcase_add_test(c, a_control_that_is_not_confirmed_was_not_sent);
    tcase_add_test(c, what_waited_for_a_device_lets_it_subscribe_first);
    tcase_add_test(c, a_message_ends_the_delay);
    tcase_add_test(c, a_label_is_kept_over_restarts_and_renewals);
    tcase_add_test(c, open_commands_of_one_device_are_told);
    tcase_add_test(c, records_have_thingspanels_codes);
    tcase_add_test(c, records_of_the_version_before_are_read);
    suite_add_tcase(s, c);
    return s;
}
