/* Table telemetry beside a core that writes: nothing is missed, nothing comes twice. */
#include "door_suites.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../adapters/sqlite/faulty_vfs.h"
#include "tpcore_sql.h"

#define T0 INT64_C(1795000000000)

enum { READERS = 2, MESSAGES = 12000, MESSAGES_MAX = 400000, WINDOW = 2000, QUERIES = 12 };

struct live {
    struct fx f;
    atomic_long sent; /* counted before a message is fed */
    atomic_long done; /* counted after its acknowledgement */
    atomic_bool over;
    atomic_long queries;
    atomic_long outrun; /* the log was trimmed between a query's snapshot and its reading */
    char fault[300];
    pthread_mutex_t lock;
};

static void on_done(void *user, int error)
{
    struct live *l = user;
    if (error == 0) {
        atomic_fetch_add(&l->done, 1);
    }
}

static void feed(struct live *l, int i)
{
    static const char *const devices[] = { "t1", "t2", "fan1", "fan2" };
    char json[300];
    int n = snprintf(json, sizeof(json), "{\"seq\":%d,\"serial\":\"%0180d\"}", i, i);
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = T0 + i };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) json, (size_t) n };
    atomic_fetch_add(&l->sent, 1);
    struct tpc_device *d = fx_device(&l->f, devices[i % 4]);
    while (tpc_feed_frame(d, &frame, on_done, l) == TPC_EAGAIN) {
        usleep(1000);
    }
}

static void fault(struct live *l, const char *text)
{
    pthread_mutex_lock(&l->lock);
    snprintf(l->fault, sizeof(l->fault), "%s", text);
    pthread_mutex_unlock(&l->lock);
}

/* One look: all that was acknowledged before it is there, once. */
static void look(struct live *l, sqlite3 *db)
{
    long long count = 0;
    long long distinct = 0;
    char text[300];
    long before = atomic_load(&l->done);
    const char *answer = door_ask(db, "SELECT count(*), count(DISTINCT value) FROM telemetry"
                                      " WHERE property = 'seq'");
    long after = atomic_load(&l->sent);
    atomic_fetch_add(&l->queries, 1);
    if (strstr(answer, "has been trimmed") != NULL) {
        atomic_fetch_add(&l->outrun, 1);
    } else if (sscanf(answer, "%lld|%lld", &count, &distinct) != 2) {
        fault(l, answer);
    } else if (count != distinct || count < before || count > after) {
        snprintf(text, sizeof(text), "%lld rows, %lld values, %ld acknowledged, %ld sent", count,
                 distinct, before, after);
        fault(l, text);
    }
}

static void *reader(void *user)
{
    struct live *l = user;
    sqlite3 *db = door_open(l->f.dir, "history.db");
    while (!atomic_load(&l->over)) {
        look(l, db);
    }
    look(l, db);
    sqlite3_close(db);
    door_forget();
    return NULL;
}

/* Both readers had their turns, and the log has lost segments under them. */
static bool enough(struct live *l)
{
    return atomic_load(&l->queries) > QUERIES &&
           fx_metric(&l->f, "tpc_log_trimmed_segments_total") > 0;
}

START_TEST(readers_see_all_that_was_acknowledged_while_it_is_stored_and_trimmed)
{
    static struct live l;
    pthread_t readers[READERS];
    memset(&l, 0, sizeof(l));
    pthread_mutex_init(&l.lock, NULL);
    fx_init(&l.f, 2, FX_FILE_LOG | FX_SQLITE);
    snprintf(l.f.log_options, sizeof(l.f.log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\"");
    l.f.o.history_checkpoint_ms = 50;
    fx_run(&l.f);
    /* names of properties are stored within a second of the start */
    sqlite3 *db = door_open(l.f.dir, "history.db");
    for (int i = 0; i < 400 && door_number(db, "SELECT count(*) FROM property") == 0; i++) {
        usleep(10000);
    }
    for (int i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_create(&readers[i], NULL, reader, &l), 0);
    }
    int sent = 0;
    while (sent < MESSAGES || (sent < MESSAGES_MAX && !enough(&l))) {
        feed(&l, sent++);
        while (atomic_load(&l.sent) - atomic_load(&l.done) > WINDOW) {
            usleep(200);
        }
    }
    while (atomic_load(&l.done) < sent) {
        usleep(1000);
    }
    atomic_store(&l.over, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    ck_assert_msg(l.fault[0] == '\0', "%s", l.fault);
    ck_assert_msg(enough(&l), "%ld queries, or nothing was trimmed", (long) l.queries);
    ck_assert_int_lt(atomic_load(&l.outrun), atomic_load(&l.queries) / 2);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 2 * sent);
    sqlite3_close(db);
    fx_fini(&l.f);
    pthread_mutex_destroy(&l.lock);
}
END_TEST

static void feed_and_die(void *user)
{
    struct fx *f = user;
    fx_run(f);
    door_tick(f, false);
    for (int i = 0; i < 100; i++) {
        fx_ok(fx_feed_seq(f, "t1", i), "feed");
    }
    fx_settle(f);
    _exit(7);
}

START_TEST(open_samples_are_there_after_a_sudden_death)
{
    struct fx f;
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(feed_and_die, &f), 7);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM chunk"), 0);
    ck_assert_str_eq(door_ask(db, "SELECT count(*), sum(value) FROM telemetry WHERE device = 't1'"),
                     "100|4950\n");
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

static void feed_open_and_die(void *user)
{
    static const char product[] =
        TPC_JSON({ "key" : "open",
                   "unknown" : "keep",
                   "model" : { "properties" : [ { "id" : "seq", "type" : "int" } ] } });
    struct fx *f = user;
    char json[64];
    fx_run(f);
    door_tick(f, false);
    fx_ok(tpc_entity_put(f->core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL), "product");
    fx_ok(tpc_entity_put(f->core, NULL, "device", TPC_STR("{\"key\":\"o1\",\"product\":\"open\"}"),
                         TPC_ANY_REV, NULL),
          "device");
    for (int i = 0; i < 100; i++) {
        snprintf(json, sizeof(json), "{\"extra\":[%d],\"seq\":%d,\"more\":\"x\"}", i, i);
        door_feed(f, "o1", T0 + i, json);
    }
    fx_ok(tpc_core_step(f->core, 0, NULL), "step");
    _exit(7);
}

/* Points by key stand in the log, but are no samples. */
START_TEST(keys_that_the_model_does_not_know_are_passed_over)
{
    struct fx f;
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(feed_open_and_die, &f), 7);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_str_eq(door_ask(db, "SELECT count(*), sum(value), count(DISTINCT property)"
                                  " FROM telemetry WHERE device = 'o1'"),
                     "100|4950|1\n");
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

static void feed_wide(struct fx *f, int i)
{
    char json[300];
    snprintf(json, sizeof(json), "{\"seq\":%d,\"serial\":\"%0200d\"}", i, i);
    door_feed(f, "t1", T0 + i, json);
}

START_TEST(an_old_transaction_is_told_that_the_log_went_on)
{
    static const char count[] = "SELECT count(*) FROM telemetry WHERE property = 'seq'";
    struct fx f;
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    snprintf(f.log_options, sizeof(f.log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\"");
    fx_run(&f);
    door_tick(&f, false);
    feed_wide(&f, 0);
    door_tick(&f, false);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_str_eq(door_ask(db, "BEGIN"), "");
    ck_assert_int_eq(door_number(db, count), 1);
    for (int i = 1; i < 8000; i++) {
        feed_wide(&f, i);
        if (i % 500 == 0) {
            door_tick(&f, true);
        }
    }
    door_tick(&f, true);
    ck_assert_msg(fx_metric(&f, "tpc_log_trimmed_segments_total") > 0, "nothing was trimmed");
    const char *answer = door_ask(db, count);
    ck_assert_msg(strstr(answer, "has been trimmed") != NULL, "%s", answer);
    ck_assert_str_eq(door_ask(db, "COMMIT"), "");
    ck_assert_int_eq(door_number(db, count), 8000);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(a_transaction_keeps_its_moment)
{
    struct fx f;
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(&f);
    door_tick(&f, false);
    fx_ok(fx_feed_seq(&f, "t1", 1), "feed");
    door_tick(&f, false);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_str_eq(door_ask(db, "BEGIN"), "");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 1);
    fx_ok(fx_feed_seq(&f, "t1", 2), "feed");
    door_tick(&f, true);
    /* the chunk is not seen by the transaction, its samples are: in the log */
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM chunk"), 0);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 2);
    ck_assert_str_eq(door_ask(db, "COMMIT"), "");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM chunk"), 1);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 2);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

/* ---- places ---- */

static void make_three(struct fx *f)
{
    fx_init(f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(f);
    door_tick(f, false);
    fx_ok(fx_feed_seq(f, "t1", 1), "feed");
    fx_ok(fx_feed_seq(f, "t1", 2), "feed");
    door_tick(f, true);
    fx_ok(fx_feed_seq(f, "t1", 3), "feed");
    door_tick(f, false);
}

static int64_t rows_of(const char *dir, const char *file)
{
    sqlite3 *db = door_open(dir, file);
    int64_t n = door_number(db, "SELECT count(*) FROM telemetry");
    sqlite3_close(db);
    return n;
}

START_TEST(the_log_is_found_when_all_moves_together)
{
    struct fx f;
    char moved[400];
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(feed_and_die, &f), 7);
    snprintf(moved, sizeof(moved), "%s.moved", f.dir);
    ck_assert_int_eq(rename(f.dir, moved), 0);
    ck_assert_int_eq(rows_of(moved, "history.db"), 100);
    ck_assert_int_eq(rename(moved, f.dir), 0);
    fx_fini(&f);
}
END_TEST

START_TEST(a_copy_stands_for_itself)
{
    struct fx f;
    char sql[500];
    make_three(&f);
    ck_assert_int_eq(rows_of(f.dir, "history.db"), 3);
    /* beside the log, but under another name: the log has gone on since */
    sqlite3 *db = door_open(f.dir, "history.db");
    snprintf(sql, sizeof(sql), "VACUUM INTO '%s/copy.db'", f.dir);
    ck_assert_str_eq(door_ask(db, sql), "");
    sqlite3_close(db);
    ck_assert_int_eq(rows_of(f.dir, "copy.db"), 2);
    fx_fini(&f);
}
END_TEST

START_TEST(without_entities_numbers_stand_for_names)
{
    struct fx f;
    char path[400];
    make_three(&f);
    fx_close(&f);
    snprintf(path, sizeof(path), "%s/entities.db", f.dir);
    ck_assert_int_eq(unlink(path), 0);
    sqlite3 *db = door_open(f.dir, "history.db");
    int64_t id = door_number(db, "SELECT dev FROM chunk LIMIT 1");
    char expected[100];
    snprintf(expected, sizeof(expected), "|%lld||seq|3\n", (long long) id);
    ck_assert_str_eq(door_ask(db, "SELECT tenant, device, product, property, count(*)"
                                  " FROM telemetry"),
                     expected);
    char sql[200];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM telemetry WHERE device = '%lld'",
             (long long) id);
    ck_assert_int_eq(door_number(db, sql), 3);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(a_deleted_device_is_known_by_its_number)
{
    struct fx f;
    make_three(&f);
    fx_ok(tpc_entity_delete(f.core, NULL, FX_NO_OPTIONS, "device", TPC_STR("t1"), TPC_ANY_REV),
          "delete");
    door_tick(&f, true);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't1'"), 0);
    ck_assert_int_eq(
        door_number(db, "SELECT count(*) FROM telemetry WHERE device ="
                        " (SELECT CAST(dev AS TEXT) FROM chunk LIMIT 1) AND property = 'seq'"),
        3);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(the_log_may_be_gone)
{
    struct fx f;
    char command[500];
    make_three(&f);
    fx_close(&f); /* all of it is in chunks now */
    snprintf(command, sizeof(command), "rm -r %s/log", f.dir);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(rows_of(f.dir, "history.db"), 3);
    fx_fini(&f);
}
END_TEST

static sqlite3 *open_uri(const char *format, const char *dir)
{
    char uri[600];
    sqlite3 *db = NULL;
    snprintf(uri, sizeof(uri), "file:%s%s", dir, format);
    ck_assert_int_eq(sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_tpcoresql_init(db, NULL, NULL), SQLITE_OK);
    return db;
}

START_TEST(it_works_attached_and_read_only_and_through_another_vfs)
{
    struct fx f;
    char sql[500];
    make_three(&f);
    sqlite3 *db = open_uri("/history.db?mode=ro", f.dir);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't1'"), 3);
    sqlite3_close(db);
    faulty_vfs_reset();
    db = open_uri("/history.db?mode=ro&vfs=" FAULTY_VFS_NAME, f.dir);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't1'"), 3);
    sqlite3_close(db);
    db = door_open("file:", "x?mode=memory");
    snprintf(sql, sizeof(sql), "ATTACH 'file:%s/history.db?mode=ro' AS h", f.dir);
    ck_assert_str_eq(door_ask(db, sql), "");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't1'"), 3);
    ck_assert_str_eq(door_ask(db, "DETACH h"), "");
    const char *answer = door_ask(db, "SELECT count(*) FROM telemetry");
    ck_assert_msg(strstr(answer, "no history.db is open") != NULL, "%s", answer);
    sqlite3_close(db);
    fx_close(&f);
    db = open_uri("/history.db?immutable=1&mode=ro", f.dir);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't1'"), 3);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

Suite *door_live_suite(void)
{
    Suite *s = suite_create("door_live");
    TCase *t = tcase_create("live");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, readers_see_all_that_was_acknowledged_while_it_is_stored_and_trimmed);
    tcase_add_test(t, open_samples_are_there_after_a_sudden_death);
    tcase_add_test(t, keys_that_the_model_does_not_know_are_passed_over);
    tcase_add_test(t, an_old_transaction_is_told_that_the_log_went_on);
    tcase_add_test(t, a_transaction_keeps_its_moment);
    suite_add_tcase(s, t);
    t = tcase_create("places");
    tcase_add_test(t, the_log_is_found_when_all_moves_together);
    tcase_add_test(t, a_copy_stands_for_itself);
    tcase_add_test(t, without_entities_numbers_stand_for_names);
    tcase_add_test(t, a_deleted_device_is_known_by_its_number);
    tcase_add_test(t, the_log_may_be_gone);
    tcase_add_test(t, it_works_attached_and_read_only_and_through_another_vfs);
    suite_add_tcase(s, t);
    return s;
}
