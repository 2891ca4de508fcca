/* kill -9 while windows over several devices are open: what came into them is counted once. */
#include "suites.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KILLS = 12, WAIT_MS = 10000, DEVICES = 4, IDS = 1 << 16 };

/* Shared with the child that will be killed. */
struct shared {
    atomic_int started;
    atomic_int next; /* number of the next message */
};

static struct shared *shared;

static const char *const devices[DEVICES] = { "t1", "t2", "fan1", "fan2" };

/* One window over all lives; windows of three of a group. */
static const char whole[] = TPC_JSON({
    "key": "whole", "to": { "event": "whole", "device": "fan1" },
    "sql": "SELECT count(seq) AS n, sum(seq) AS s FROM thermo WHERE seq is not null GROUP BY STATEWINDOW(seq > 0, seq < 0)" });
static const char threes[] =
    TPC_JSON({
    "key": "threes", "to": { "event": "three", "device": "fan2" },
    "sql": "SELECT odd, count(*) AS n FROM thermo WHERE seq > 0 GROUP BY seq % 2 AS odd, COUNTWINDOW(3)" });

/* Values of one device as values of another. */
static const char copy[] = TPC_JSON({
    "key": "copy", "to": { "values": true, "device": "fan2" },
    "sql": "SELECT seq AS temperature FROM thermo WHERE device = 't1' AND seq > 0" });

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static int feed(struct fx *f, int n)
{
    char text[60];
    int len = snprintf(text, sizeof(text), "{\"seq\":%d}", n);
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = 1795176000000 + n };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) len };
    return tpc_feed_frame(fx_device(f, devices[n % DEVICES]), &frame, NULL, NULL);
}

static void feed_until_killed(void *user)
{
    struct fx *f = user;
    fx_open(f);
    fx_start(f);
    atomic_store(&shared->started, 1);
    for (int i = 0;; i++) {
        int n = atomic_fetch_add(&shared->next, 1);
        while (feed(f, n) != 0) {
            pause_ms(1);
        }
        if (i % 16 == 0) {
            pause_ms(1);
        }
    }
}

static void run_and_kill(struct fx *f, long after_ms)
{
    atomic_store(&shared->started, 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        tk_in_child(feed_until_killed, f);
    }
    for (int i = 0; i < 2 * WAIT_MS && atomic_load(&shared->started) == 0; i++) {
        pause_ms(1);
    }
    pause_ms(after_ms);
    kill(pid, SIGKILL);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
                      atomic_load(&shared->started) == 1,
                  "the child ended by itself");
}

struct tally {
    pthread_mutex_t lock;
    int seen; /* messages of any kind */
    int whole;
    int64_t n, s; /* of it */
    int threes;
    int wrong; /* windows that did not have three messages */
    int twice;
    int said;   /* messages of t1 */
    int copied; /* and of fan2 that were made of them */
    int ids_count;
    struct tpc_id ids[IDS];
};

static int64_t member(const struct tpc_msg *m, const char *name)
{
    int64_t n = -1;
    const struct tpc_value *v = tpc_value_get(&m->params, tpc_str_from(name));
    return v != NULL && tpc_value_int(v, &n) == 0 ? n : -1;
}

static void count_row(struct tally *t, const struct tpc_msg *m)
{
    for (int i = 0; i < t->ids_count; i++) {
        t->twice += memcmp(&t->ids[i], &m->id, sizeof(m->id)) == 0;
    }
    t->ids[t->ids_count] = m->id;
    t->ids_count += t->ids_count + 1 < IDS;
    if (tpc_str_equal(m->name, TPC_STR("whole"))) {
        t->whole++;
        t->n = member(m, "n");
        t->s = member(m, "s");
    } else {
        t->threes++;
        t->wrong += member(m, "n") != 3;
    }
}

static int on_rows(void *user, const struct tpc_batch *batch)
{
    struct tally *t = user;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        t->seen++;
        bool data = m->kind == TPC_MSG_TELEMETRY;
        t->said += data && tpc_str_equal(m->device, TPC_STR("t1"));
        if (m->kind == TPC_MSG_EVENT) {
            count_row(t, m);
        } else if (data && tpc_str_equal(m->origin, TPC_STR("rule:copy"))) {
            t->copied++;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void count_rows(struct fx *f, struct tally *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    pthread_mutex_init(&t->lock, NULL);
    o.name = TPC_STR("tally");
    o.filter = TPC_STR("main/#");
    fx_ok(tpc_consume(f->core, &o, on_rows, t, &sub), "consume");
    int before = -1;
    for (int same = 0; same < 300;) { /* until nothing more comes for a while */
        pause_ms(1);
        pthread_mutex_lock(&t->lock);
        int now = t->seen;
        pthread_mutex_unlock(&t->lock);
        same = now == before ? same + 1 : 0;
        before = now;
    }
    tpc_unsubscribe(sub);
}

/* What the history has of all devices, once it stands still. */
static void whole_history(struct fx *f, int64_t *ret_n, int64_t *ret_s, int *ret_even)
{
    int64_t before = -1;
    for (int same = 0; same < 5;) {
        *ret_n = 0;
        *ret_s = 0;
        *ret_even = 0;
        for (int i = 0; i < DEVICES; i++) {
            struct fx_rows r = fx_history(f, devices[i], "seq");
            *ret_n += (int64_t) r.count;
            *ret_s += (int64_t) r.sum;
            *ret_even += i % 2 == 0 ? (int) r.count : 0;
        }
        same = *ret_n == before ? same + 1 : 0;
        before = *ret_n;
        pause_ms(20);
    }
}

static void over_kills(const char *log_options, long most_ms, bool whole_log)
{
    struct fx f;
    static struct tally t;
    unsigned int seed = (unsigned int) time(NULL);
    if (!fx_has_sqlite()) {
        tk_skip("kills of rules over several devices", "the module sqlite is not built");
        return;
    }
    memset(&t, 0, sizeof(t));
    printf("kill: windows over several devices, seed %u\n", seed);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    atomic_store(&shared->next, 1);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    f.o.history_checkpoint_ms = 10;
    snprintf(f.log_options, sizeof(f.log_options), "%s", log_options);
    fx_open(&f);
    fx_entities(&f);
    fx_put(&f, "rule", whole);
    fx_put(&f, "rule", threes);
    fx_put(&f, "rule", copy);
    fx_start(&f);
    fx_close(&f);
    for (int i = 0; i < KILLS; i++) {
        f.o.workers = 1 + (uint32_t) i % 4;
        run_and_kill(&f, 5 + rand_r(&seed) % most_ms);
    }
    int64_t n;
    int64_t s;
    int even;
    fx_open(&f);
    fx_start(&f);
    whole_history(&f, &n, &s, &even);
    ck_assert_int_eq(feed(&f, -4), 0); /* it ends the window, and is in it */
    count_rows(&f, &t);
    printf("kill: %lld messages, %d windows of three\n", (long long) n, t.threes);
    ck_assert_int_gt(n, KILLS);
    ck_assert_int_eq(t.twice, 0);
    ck_assert_int_eq(t.wrong, 0);
    ck_assert_int_eq(t.whole, 1);
    ck_assert_int_eq(t.n, n + 1);
    ck_assert_int_eq(t.s, s - 4);
    struct fx_rows copies = fx_history(&f, "fan2", "temperature");
    ck_assert_uint_eq(copies.count, fx_history(&f, "t1", "seq").count - 1); /* not the last */
    if (whole_log) {
        ck_assert_int_eq(t.copied, t.said - 1);
        ck_assert_int_eq(t.threes, even / 3 + ((int) n - even) / 3);
    }
    fx_fini(&f);
    munmap(shared, sizeof(*shared));
}

START_TEST(windows_over_devices_count_each_message_once_over_kills)
{
    over_kills("", 60, true);
}
END_TEST

/* A log that is full again and again has states saved in mid-traffic. */
START_TEST(the_same_while_the_log_is_trimmed)
{
    over_kills("\"max_bytes\":\"1MiB\",\"segment_size\":\"64KiB\"", 200, false);
}
END_TEST

/* ---- values of rules ---- */

static const char around[] =
    TPC_JSON({
    "key": "around", "to": { "values": true },
    "sql": "SELECT temperature + 1 AS temperature, 5 AS nothing FROM thermo" });

START_TEST(values_that_set_off_their_own_rule_are_cut)
{
    struct fx f;
    fx_init(&f, 0, 0);
    fx_run(&f);
    fx_put(&f, "rule", around);
    fx_ok(fx_feed(&f, "t1", "{\"temperature\":1}"), "feed");
    fx_settle(&f);
    for (int i = 0; i < 100; i++) {
        (void) fx_step(&f);
    }
    ck_assert_double_eq(fx_latest(&f, "t1", "temperature"), 17);
    ck_assert_double_eq(fx_metric(&f, "tpc_rules_loops_total"), 1);
    ck_assert_double_eq(fx_metric(&f, "tpc_rules_refused_total"), 0);
    fx_fini(&f);
}
END_TEST

static const char mean[] =
    TPC_JSON({
    "key": "mean", "to": { "values": true, "device": "fan1" },
    "sql": "SELECT avg(temperature) AS temperature FROM thermo WHERE device <> 'fan1' GROUP BY COUNTWINDOW(2)" });

START_TEST(a_mean_over_devices_is_a_value_of_another)
{
    struct fx f;
    fx_init(&f, 0, 0);
    fx_run(&f);
    fx_put(&f, "rule", mean);
    fx_ok(fx_feed(&f, "t1", "{\"temperature\":10}"), "feed");
    fx_ok(fx_feed(&f, "t2", "{\"temperature\":30}"), "feed");
    fx_settle(&f);
    for (int i = 0; i < 20; i++) {
        (void) fx_step(&f);
    }
    ck_assert_double_eq(fx_latest(&f, "fan1", "temperature"), 20);
    ck_assert_double_eq(fx_history(&f, "fan1", "temperature").sum, 20);
    struct tpc_device_info s = { .size = sizeof(s) };
    tk_ok(tpc_device_info(fx_device(&f, "fan1"), &s));
    ck_assert_int_eq(s.last_seen_unix_ms, 0); /* it said nothing */
    fx_fini(&f);
}
END_TEST

Suite *kill_spread_suite(void)
{
    Suite *s = suite_create("kill spread");
    TCase *t = tcase_create("kill");
    tcase_add_test(t, windows_over_devices_count_each_message_once_over_kills);
    tcase_add_test(t, the_same_while_the_log_is_trimmed);
    tcase_add_test(t, values_that_set_off_their_own_rule_are_cut);
    tcase_add_test(t, a_mean_over_devices_is_a_value_of_another);
    tcase_set_timeout(t, 240);
    suite_add_tcase(s, t);
    return s;
}
