/* What goes on after a restart: commands, consumers, rules, history. */
#include "suites.h"

#include <stdio.h>
#include <string.h>

enum { IDS = 16 };

static const char scene[] =
    TPC_JSON({
    "key": "fan-on",
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "temperature > 30" },
    "then": [ { "command": { "device": "fan1", "service": "set", "params": { "on": true } } } ]
});

/* How often each kind of record of commands stands in the log, by a consumer that starts anew. */
struct audit {
    pthread_mutex_t lock;
    int commands;
    int closed;
    int messages;
    int last_seq;
    bool in_order;
};

static int on_audit(void *user, const struct tpc_batch *batch)
{
    struct audit *a = user;
    pthread_mutex_lock(&a->lock);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        a->commands += m->kind == TPC_MSG_COMMAND || m->kind == TPC_MSG_ATTRIBUTES_SET;
        a->closed += m->kind == TPC_MSG_COMMAND_CLOSED;
        if (m->kind == TPC_MSG_TELEMETRY && m->point_count > 0) {
            int seq = (int) tpc_msg_point(m, 0)->value.as.i;
            a->in_order &= seq == a->last_seq + 1;
            a->last_seq = seq;
            a->messages++;
        }
    }
    pthread_mutex_unlock(&a->lock);
    return 0;
}

static struct tpc_sub *consume(struct fx *f, struct audit *a, struct tpc_str name,
                               struct tpc_str filter)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    o.flags = TPC_CONSUME_HOLD;
    o.name = name;
    o.filter = filter;
    fx_ok(tpc_consume(f->core, &o, on_audit, a, &sub), "consume");
    return sub;
}

static struct audit audit_all(struct fx *f)
{
    struct audit a = { .lock = PTHREAD_MUTEX_INITIALIZER, .last_seq = -1, .in_order = true };
    struct tpc_sub *sub = consume(f, &a, TPC_STR("audit"), TPC_STR("main/#"));
    for (int i = 0; i < 5; i++) {
        tk_ok(fx_step(f));
    }
    tpc_unsubscribe(sub);
    tk_ok(tpc_consumer_forget(f->core, TPC_STR("audit")));
    return a;
}

static void send_one(struct fx *f, const char *device, const char *service, uint32_t timeout_ms,
                     struct tpc_id *ret)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = fx_device(f, device);
    o.service = tpc_str_from(service);
    o.params_json = strcmp(service, "beep") == 0 ? TPC_STR("{\"times\":2}") : FX_NO_OPTIONS;
    o.timeout_ms = timeout_ms;
    fx_ok(tpc_command_send(f->core, NULL, &o, NULL, NULL, ret), service);
}

struct record {
    uint32_t state;
    uint32_t tries;
    int32_t code;
};

static void on_record(void *user, const struct tpc_command *c)
{
    struct record *r = user;
    *r = (struct record){ c->state, c->tries, c->code };
}

static struct record record_of(struct fx *f, const struct tpc_id *id)
{
    struct record r = { 0 };
    fx_ok(tpc_command_get(f->core, id, on_record, &r), "command_get");
    return r;
}

/* Ids of a child's commands come back through a file. */
static void put_ids(const struct fx *f, const struct tpc_id *ids)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/ids", f->dir);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(ids, sizeof(*ids), IDS, file), IDS);
    fclose(file);
}

static void get_ids(const struct fx *f, struct tpc_id *ids)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/ids", f->dir);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(ids, sizeof(*ids), IDS, file), IDS);
    fclose(file);
}

/* 0: queued (device offline). 1: sent, idempotent. 2: sent, not idempotent. 3: done before. */
static void command_and_die(void *user)
{
    struct fx *f = user;
    struct tpc_id ids[IDS];
    memset(ids, 0, sizeof(ids));
    fx_run(f);
    probe_mode(PROBE_REPLY);
    send_one(f, "t1", "open", 10000, &ids[3]);
    tk_ok(fx_step(f));
    probe_mode(PROBE_REFUSE);
    send_one(f, "t2", "open", 10000, &ids[0]);
    probe_mode(PROBE_TAKE);
    send_one(f, "fan1", "beep", 10000, &ids[1]);
    send_one(f, "fan2", "open", 10000, &ids[2]);
    tk_ok(fx_step(f));
    ck_assert_uint_eq(record_of(f, &ids[1]).state, TPC_COMMAND_SENT);
    ck_assert_uint_eq(record_of(f, &ids[2]).state, TPC_COMMAND_SENT);
    ck_assert_uint_eq(record_of(f, &ids[3]).state, TPC_COMMAND_SUCCEEDED);
    put_ids(f, ids);
}

static size_t sent_to(const char *device)
{
    size_t n = 0;
    for (size_t i = 0; i < probe_sent_count(); i++) {
        struct probe_sent s = probe_sent(i);
        n += strcmp(s.device, device) == 0;
    }
    return n;
}

static void commands_go_on(bool dies)
{
    struct fx f;
    struct tpc_id ids[IDS];
    if (!fx_has_sqlite()) {
        tk_skip("commands after a restart", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    if (dies) {
        ck_assert_int_eq(fx_child(command_and_die, &f), 0);
    } else {
        command_and_die(&f);
        fx_close(&f);
    }
    get_ids(&f, ids);
    probe_forget();
    probe_mode(PROBE_REPLY);
    fx_open(&f);
    fx_start(&f);
    for (int i = 0; i < 5; i++) {
        tk_ok(fx_step(&f));
    }
    ck_assert_uint_eq(record_of(&f, &ids[0]).state, TPC_COMMAND_SUCCEEDED);
    ck_assert_uint_eq(record_of(&f, &ids[1]).state, TPC_COMMAND_SUCCEEDED);
    ck_assert_uint_eq(record_of(&f, &ids[2]).state, TPC_COMMAND_UNKNOWN);
    ck_assert_uint_eq(record_of(&f, &ids[3]).state, TPC_COMMAND_SUCCEEDED);
    ck_assert_uint_eq(sent_to("t2"), 1);
    ck_assert_uint_eq(sent_to("fan1"), 1);
    ck_assert_uint_eq(sent_to("fan2"), 0);
    ck_assert_uint_eq(sent_to("t1"), 0);
    struct audit a = audit_all(&f);
    ck_assert_int_eq(a.closed, 4); /* one end for each, though there were two lives */
    fx_close(&f);

    fx_open(&f);
    fx_start(&f);
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(record_of(&f, &ids[2]).state, TPC_COMMAND_UNKNOWN);
    ck_assert_uint_eq(probe_sent_count(), 2);
    ck_assert_int_eq(audit_all(&f).closed, 4);
    struct tpc_command_options again = TPC_COMMAND_OPTIONS_INIT;
    again.device = fx_device(&f, "fan2");
    again.service = TPC_STR("open");
    again.id = ids[2];
    tk_fails(TPC_EEXIST, tpc_command_send(f.core, NULL, &again, NULL, NULL, NULL));
    fx_fini(&f);
}

START_TEST(commands_go_on_after_a_stop)
{
    commands_go_on(false);
}
END_TEST

START_TEST(commands_go_on_after_the_end_of_the_process)
{
    commands_go_on(true);
}
END_TEST

static void fire_and_die(void *user)
{
    struct fx *f = user;
    fx_open(f);
    fx_entities(f);
    fx_put(f, "scene", scene);
    fx_start(f);
    probe_mode(PROBE_REPLY);
    for (int i = 0; i < 10; i++) {
        fx_ok(fx_feed(f, "t1", i % 2 == 0 ? "{\"temperature\":20}" : "{\"temperature\":40}"),
              "feed");
        fx_settle(f);
    }
    tk_ok(fx_step(f));
    ck_assert_uint_eq(sent_to("fan1"), 5);
}

static void rules_do_not_fire_twice(bool dies)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("rules after a restart", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    if (dies) {
        ck_assert_int_eq(fx_child(fire_and_die, &f), 0);
    } else {
        fire_and_die(&f);
        fx_close(&f);
    }
    probe_forget();
    probe_mode(PROBE_REPLY);
    fx_open(&f);
    fx_start(&f);
    for (int i = 0; i < 5; i++) {
        tk_ok(fx_step(&f));
    }
    ck_assert_uint_eq(probe_sent_count(), 0);
    ck_assert_double_eq(fx_latest(&f, "t1", "temperature"), 40);
    fx_ok(fx_feed(&f, "t1", "{\"temperature\":41}"), "feed"); /* no edge: it was above before */
    fx_settle(&f);
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(probe_sent_count(), 0);
    fx_ok(fx_feed(&f, "t1", "{\"temperature\":20}"), "feed");
    fx_ok(fx_feed(&f, "t1", "{\"temperature\":42}"), "feed");
    fx_settle(&f);
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(probe_sent_count(), 1);
    struct audit a = audit_all(&f);
    ck_assert_int_eq(a.commands, 6);
    ck_assert_int_eq(a.closed, 6);
    fx_fini(&f);
}

START_TEST(rules_do_not_fire_twice_after_a_stop)
{
    rules_do_not_fire_twice(false);
}
END_TEST

START_TEST(rules_do_not_fire_twice_after_the_end_of_the_process)
{
    rules_do_not_fire_twice(true);
}
END_TEST

static void feed_retained_and_die(void *user)
{
    struct fx *f = user;
    struct tpc_frame frame = { .size = sizeof(frame), .flags = TPC_FRAME_RETAINED };
    fx_open(f);
    fx_entities(f);
    fx_put(f, "scene", scene);
    fx_start(f);
    frame.payload = TPC_BYTES("{\"temperature\":40}");
    fx_ok(tpc_feed_frame(fx_device(f, "t1"), &frame, NULL, NULL), "feed");
    tk_ok(fx_step(f));
    ck_assert_double_eq(fx_latest(f, "t1", "temperature"), 40);
    ck_assert_uint_eq(probe_sent_count(), 0);
}

START_TEST(old_values_of_a_broker_fire_no_rule_after_a_restart_either)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("retained values after a restart", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    ck_assert_int_eq(fx_child(feed_retained_and_die, &f), 0);
    probe_forget();
    fx_open(&f);
    fx_start(&f);
    for (int i = 0; i < 5; i++) {
        tk_ok(fx_step(&f));
    }
    ck_assert_double_eq(fx_latest(&f, "t1", "temperature"), 40);
    ck_assert_uint_eq(probe_sent_count(), 0);
    fx_fini(&f);
}
END_TEST

static void consume_and_die(void *user)
{
    struct fx *f = user;
    struct audit a = { .lock = PTHREAD_MUTEX_INITIALIZER, .last_seq = -1, .in_order = true };
    fx_run(f);
    struct tpc_sub *sub = consume(f, &a, TPC_STR("billing"), TPC_STR("main/up/thermo/t1/#"));
    for (int i = 0; i < 100; i++) {
        fx_ok(fx_feed_seq(f, "t1", i), "feed");
        fx_ok(fx_feed_seq(f, "t2", i), "feed");
    }
    fx_settle(f);
    for (int i = 0; i < 3; i++) {
        tk_ok(fx_step(f));
    }
    ck_assert_int_eq(a.messages, 100);
    ck_assert(a.in_order);
    tpc_unsubscribe(sub);
    for (int i = 100; i < 150; i++) {
        fx_ok(fx_feed_seq(f, "t1", i), "feed");
    }
    fx_settle(f);
}

static void consumers_go_on(bool dies)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("consumers after a restart", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    if (dies) {
        ck_assert_int_eq(fx_child(consume_and_die, &f), 0);
    } else {
        consume_and_die(&f);
        fx_close(&f);
    }
    struct audit a = { .lock = PTHREAD_MUTEX_INITIALIZER, .last_seq = 99, .in_order = true };
    fx_open(&f);
    fx_start(&f);
    struct tpc_sub *sub = consume(&f, &a, TPC_STR("billing"), TPC_STR("main/up/thermo/t1/#"));
    for (int i = 0; i < 5; i++) {
        tk_ok(fx_step(&f));
    }
    ck_assert_int_ge(a.messages, 50); /* at least once: the last commit may not be on the disk */
    ck_assert_int_eq(a.last_seq, 149);
    ck_assert(a.in_order || dies);
    tpc_unsubscribe(sub);
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 150);
    ck_assert(r.growing && r.ordered);
    ck_assert_uint_eq(fx_history(&f, "t2", "seq").count, 100);
    fx_fini(&f);
}

START_TEST(consumers_go_on_after_a_stop)
{
    consumers_go_on(false);
}
END_TEST

START_TEST(consumers_go_on_after_the_end_of_the_process)
{
    consumers_go_on(true);
}
END_TEST

/* Dies again and again at other places; the history has each sample once. */
static void feed_more_and_die(void *user)
{
    struct fx *f = user;
    f->o.history_checkpoint_ms = 100;
    fx_open(f);
    fx_start(f);
    tk_ok(fx_step(f)); /* the tail of the log goes into the history */
    struct fx_rows r = fx_history(f, "t1", "seq");
    int from = (int) r.count;
    ck_assert(r.growing && r.ordered);
    for (int i = from; i < from + 137; i++) {
        fx_ok(fx_feed_seq(f, "t1", i), "feed");
        if (i % 7 == 0) {
            tk_clock_advance(&f->e.clock, 30);
            (void) fx_step(f);
        }
    }
    fx_settle(f);
}

START_TEST(history_is_exact_over_many_ends_of_the_process)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("history over many restarts", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(&f);
    fx_close(&f);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(fx_child(feed_more_and_die, &f), 0);
    }
    fx_open(&f);
    fx_start(&f);
    tk_ok(fx_step(&f));
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 12 * 137);
    ck_assert(r.growing && r.ordered);
    fx_fini(&f);
}
END_TEST

START_TEST(more_partitions_are_taken_and_fewer_refused)
{
    static const uint32_t counts[] = { 4, 16, 4 };
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("partitions", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    f.o.partitions = 4;
    fx_run(&f);
    int fed = 0;
    for (size_t round = 0; round < sizeof(counts) / sizeof(counts[0]); round++) {
        fx_close(&f);
        f.o.partitions = counts[round];
        int rc = fx_make(&f);
        rc = rc != 0 ? rc : tpc_core_start(f.core);
        ck_assert_msg(rc == (round < 2 ? 0 : TPC_EINVAL), "%u partitions: %s", counts[round],
                      tpc_error_name(rc));
        if (rc != 0) {
            fx_error_says("partition");
            break;
        }
        for (int i = 0; i < 20; i++, fed++) {
            fx_ok(fx_feed_seq(&f, "t1", fed), "feed");
            fx_ok(fx_feed_seq(&f, "fan2", fed), "feed");
        }
        fx_settle(&f);
        tk_ok(fx_step(&f));
        ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, (size_t) fed);
        ck_assert_uint_eq(fx_history(&f, "fan2", "seq").count, (size_t) fed);
    }
    fx_fini(&f);
}
END_TEST

static int put_meter(struct fx *f, int version, const char *properties)
{
    char text[500];
    snprintf(text, sizeof(text),
             "{\"key\":\"meter\",\"status\":\"published\",\"model_version\":%d,\"model\":{"
             "\"properties\":[%s]}}",
             version, properties);
    return tpc_entity_put(f->core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL);
}

START_TEST(models_keep_their_versions_names_and_sums_over_a_stop)
{
    static const char first[] = "{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"int\"},"
                                "{\"id\":\"sum\",\"type\":\"int\",\"expr\":\"a + b\"}";
    static const char second[] = "{\"id\":\"sum\",\"type\":\"int\",\"expr\":\"b + energy\"},"
                                 "{\"id\":\"energy\",\"type\":\"int\",\"was\":\"a\"},"
                                 "{\"id\":\"b\",\"type\":\"int\"}";
    struct fx f;
    struct tpc_arena *arena;
    struct tpc_value versions;
    if (!fx_has_sqlite()) {
        tk_skip("models over a stop", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(&f);
    fx_ok(put_meter(&f, 1, first), "put");
    fx_put(&f, "device", "{\"key\":\"m1\",\"product\":\"meter\"}");
    fx_ok(fx_feed(&f, "m1", "{\"a\":1,\"b\":10}"), "feed");
    fx_settle(&f);
    tk_clock_advance(&f.e.clock, 1000);
    fx_ok(put_meter(&f, 2, second), "put");
    fx_ok(fx_feed(&f, "m1", "{\"energy\":2}"), "feed");
    fx_settle(&f);
    tk_clock_advance(&f.e.clock, 1000);
    fx_close(&f);
    fx_open(&f);
    fx_start(&f);
    fx_ok(fx_feed(&f, "m1", "{\"a\":3}"), "feed"); /* who has not heard of the new name */
    fx_settle(&f);
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(fx_history(&f, "m1", "energy").count, 3);
    ck_assert_double_eq(fx_history(&f, "m1", "energy").sum, 6);
    ck_assert_double_eq(fx_history(&f, "m1", "sum").sum, 11 + 12 + 13);
    tk_fails(TPC_ESTATE, put_meter(&f, 2, first));
    tk_fails(TPC_ESTATE, put_meter(&f, 1, "{\"id\":\"x\",\"type\":\"int\"}"));
    fx_ok(put_meter(&f, 1, first), "put back");
    ck_assert_uint_eq(fx_history(&f, "m1", "a").count, 3);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    fx_ok(tpc_model_versions(f.core, FX_NO_OPTIONS, TPC_STR("meter"), arena, &versions), "list");
    ck_assert_uint_eq(versions.len, 2);
    tpc_arena_destroy(arena);
    fx_fini(&f);
}
END_TEST

Suite *restart_suite(void)
{
    Suite *s = suite_create("restart");
    TCase *t = tcase_create("restart");
    tcase_add_test(t, commands_go_on_after_a_stop);
    tcase_add_test(t, commands_go_on_after_the_end_of_the_process);
    tcase_add_test(t, rules_do_not_fire_twice_after_a_stop);
    tcase_add_test(t, rules_do_not_fire_twice_after_the_end_of_the_process);
    tcase_add_test(t, old_values_of_a_broker_fire_no_rule_after_a_restart_either);
    tcase_add_test(t, models_keep_their_versions_names_and_sums_over_a_stop);
    tcase_add_test(t, consumers_go_on_after_a_stop);
    tcase_add_test(t, consumers_go_on_after_the_end_of_the_process);
    tcase_add_test(t, more_partitions_are_taken_and_fewer_refused);
    tcase_add_test(t, history_is_exact_over_many_ends_of_the_process);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
