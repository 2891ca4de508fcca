/* kill -9 in mid-traffic, with threads: what was acknowledged is there, in order, once. */
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

enum { KILLS = 12, WAIT_MS = 10000 };

/* Shared with the child that will be killed. */
struct shared {
    atomic_int started;
    atomic_int from;         /* first number that this child feeds */
    atomic_int acknowledged; /* one past the last number that was acknowledged */
    atomic_llong unix_ms;    /* the clock of schedules, over all lives */
    atomic_int wrong;        /* what the child saw is not in order, or less than acknowledged */
};

static struct shared *shared;

static void on_acknowledged(void *user, int error)
{
    (void) user;
    if (error == 0) {
        atomic_fetch_add(&shared->acknowledged, 1);
    }
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static int feed(struct tpc_device *d, int seq)
{
    char text[60];
    int n = snprintf(text, sizeof(text), "{\"seq\":%d,\"note\":\"%d\"}", seq, seq % 1000);
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = 1795176000000 + seq };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
    return tpc_feed_frame(d, &frame, on_acknowledged, NULL);
}

/* The tail of the log reaches the history on its own thread. */
static struct fx_rows whole_history(struct fx *f, int least)
{
    struct fx_rows r = fx_history(f, "t1", "seq");
    for (int i = 0; i < WAIT_MS && (int) r.count < least; i++) {
        pause_ms(1);
        r = fx_history(f, "t1", "seq");
    }
    return r;
}

/* Until the history stands still: all of the log's tail is in it. */
static int next_number(struct fx *f, int least)
{
    struct fx_rows r = whole_history(f, least);
    if ((int) r.count < least || !r.growing || !r.ordered) {
        atomic_store(&shared->wrong, 1);
    }
    double latest = fx_known(f, "t1", "seq") ? fx_latest(f, "t1", "seq") : -1;
    r = whole_history(f, (int) latest + 1);
    return (int) r.count;
}

static void feed_until_killed(void *user)
{
    struct fx *f = user;
    fx_open(f);
    fx_start(f);
    int seq = next_number(f, atomic_load(&shared->acknowledged));
    atomic_store(&shared->from, seq);
    atomic_store(&shared->acknowledged, seq);
    struct tpc_device *d = fx_device(f, "t1");
    atomic_store(&shared->started, 1);
    for (;;) {
        if (feed(d, seq) == 0) {
            seq++;
        } else {
            pause_ms(1);
        }
    }
}

static void run_and_kill(struct fx *f, void (*fn)(void *user), long after_ms)
{
    atomic_store(&shared->started, 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        tk_in_child(fn, f);
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
    ck_assert_int_eq(atomic_load(&shared->wrong), 0);
}

START_TEST(what_was_acknowledged_survives_kills)
{
    struct fx f;
    unsigned int seed = (unsigned int) time(NULL);
    const char *given = getenv("FLOW_SEED");
    if (!fx_has_sqlite()) {
        tk_skip("kills", "the module sqlite is not built");
        return;
    }
    seed = given != NULL ? (unsigned int) strtoul(given, NULL, 10) : seed;
    printf("kill: seed %u\n", seed);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE);
    snprintf(f.log_options, sizeof(f.log_options), "\"segment_size\":\"64KiB\"");
    f.o.history_checkpoint_ms = 10;
    fx_run(&f);
    fx_close(&f);
    for (int i = 0; i < KILLS; i++) {
        run_and_kill(&f, feed_until_killed, rand_r(&seed) % 60);
    }
    fx_open(&f);
    fx_start(&f);
    struct fx_rows r = whole_history(&f, atomic_load(&shared->acknowledged));
    ck_assert_int_ge((int) r.count, atomic_load(&shared->acknowledged));
    ck_assert(r.growing && r.ordered);
    printf("kill: %d kills, %zu samples, at least %d acknowledged\n", KILLS, r.count,
           atomic_load(&shared->acknowledged));
    fx_fini(&f);
    munmap(shared, sizeof(*shared));
}
END_TEST

/* ---- rules ---- */

static const char scene[] = TPC_JSON({
    "key": "fan-on",
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "temperature > 30" },
    "then": [
        { "command": { "device": "fan1", "service": "set", "params": { "on": true } } },
        { "notify": { "handler": "ops", "params": { "text": "fan is on" } } },
        { "alert": { "key": "hot", "device": "fan1", "severity": "major" } },
        { "run": { "scene": "tell" } },
        { "run": { "scene": "tell", "product": "thermo" } },
        { "delay": "20ms" },
        { "notify": { "handler": "later" } }
    ]
});

/* Once by the run, and once for each device of the product. */
static const char tell[] = TPC_JSON({
    "key": "tell", "when": { "on": "manual" }, "then": [{ "notify": { "handler": "ops" } }] });
enum { TOLD = 1 + 1 + 4 + 1 /* for a rise, by scenes */ };

static const char fall[] =
    TPC_JSON({
    "key": "cool",
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "temperature <= 30" },
    "then": [ { "clear": { "key": "hot", "device": "fan1" } } ]
});

/* Two of the newest three: values alternate but for what a kill cut short. */
static const char damped[] =
    TPC_JSON({
    "key": "damped",
    "vars": { "warm": "temperature > 30" },
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "warm",
              "dampen": { "type": "evaluation", "occurrences": 2, "evaluation": 3 } },
    "then": [ { "notify": { "handler": "ops" } } ]
});

static const char hot[] = TPC_JSON({ "key": "hot", "notify": [ "pager", "mail" ] });

enum { COMMANDS = 8192 };

/* What the whole log says: rises of t1, commands, and how often each ended; what rules told. */
struct tally {
    pthread_mutex_t lock;
    double last;
    int rises;
    int falls;
    int runs[3]; /* the newest */
    int held;    /* times that two of three became true */
    int alerts;  /* changes of the alert */
    int messages;
    int commands;
    int closed;
    int twice; /* a command, an end, or something told that was there before */
    int told;
    struct tpc_id ids[COMMANDS];
    struct tpc_id told_ids[8 * COMMANDS];
    bool ended[COMMANDS];
};

static int find_id(const struct tpc_id *ids, int count, const struct tpc_id *id)
{
    for (int i = 0; i < count; i++) {
        if (memcmp(&ids[i], id, sizeof(*id)) == 0) {
            return i;
        }
    }
    return -1;
}

static void tally_one(struct tally *t, const struct tpc_msg *m)
{
    int at = m->kind == TPC_MSG_COMMAND || m->kind == TPC_MSG_COMMAND_CLOSED
                 ? find_id(t->ids, t->commands, &m->id)
                 : -1;
    if (m->kind == TPC_MSG_TELEMETRY && m->point_count > 0) {
        double d = 0;
        (void) tpc_value_double(&tpc_msg_point(m, 0)->value, &d);
        t->rises += t->last <= 30 && d > 30;
        t->falls += t->last > 30 && d <= 30;
        t->last = d;
        bool held = t->runs[0] + t->runs[1] + t->runs[2] >= 2;
        t->runs[t->messages++ % 3] = d > 30;
        t->held += !held && t->runs[0] + t->runs[1] + t->runs[2] >= 2;
    } else if (m->kind == TPC_MSG_COMMAND) {
        t->twice += at >= 0;
        if (at < 0 && t->commands < COMMANDS) {
            t->ids[t->commands++] = m->id;
        }
    } else if (m->kind == TPC_MSG_COMMAND_CLOSED) {
        t->closed++;
        t->twice += at < 0 || t->ended[at];
        if (at >= 0) {
            t->ended[at] = true;
        }
    } else if (m->kind == TPC_MSG_NOTIFY || m->kind == TPC_MSG_ALERT) {
        t->twice += find_id(t->told_ids, t->told, &m->id) >= 0;
        t->alerts += m->kind == TPC_MSG_ALERT;
        if (t->told < 8 * COMMANDS) {
            t->told_ids[t->told++] = m->id;
        }
    }
}

static int on_tally(void *user, const struct tpc_batch *batch)
{
    struct tally *t = user;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < batch->count; i++) {
        tally_one(t, tpc_batch_msg(batch, i));
    }
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void rise_until_killed(void *user)
{
    struct fx *f = user;
    fx_open(f);
    fx_start(f);
    probe_mode(PROBE_REPLY);
    struct tpc_device *d = fx_device(f, "t1");
    atomic_store(&shared->started, 1);
    for (int i = 0;; i++) {
        struct tpc_bytes raw =
            i % 2 == 0 ? TPC_BYTES("{\"temperature\":20}") : TPC_BYTES("{\"temperature\":40}");
        size_t before = probe_sent_count();
        while (tpc_feed(d, raw, NULL, NULL) != 0) {
            pause_ms(1);
        }
        /* No more than a device's queue holds; what was queued by the one before leaves first. */
        for (int k = 0; k < 20 && i % 2 == 1 && probe_sent_count() == before; k++) {
            pause_ms(1);
        }
    }
}

static struct tally count_log(struct fx *f)
{
    static struct tally t;
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(&t, 0, sizeof(t));
    pthread_mutex_init(&t.lock, NULL);
    for (int i = 0; i < WAIT_MS && fx_metric(f, "tpc_downlink_open") > 0; i++) {
        pause_ms(1);
    }
    o.name = TPC_STR("tally");
    o.filter = TPC_STR("main/#");
    fx_ok(tpc_consume(f->core, &o, on_tally, &t, &sub), "consume");
    int before = -1;
    for (int same = 0; same < 200;) { /* until nothing more comes for a while */
        pause_ms(1);
        pthread_mutex_lock(&t.lock);
        int now = t.messages + t.commands + t.closed + t.told;
        pthread_mutex_unlock(&t.lock);
        same = now == before ? same + 1 : 0;
        before = now;
    }
    tpc_unsubscribe(sub);
    tk_ok(tpc_consumer_forget(f->core, TPC_STR("tally")));
    return t;
}

START_TEST(each_rise_acts_once_over_kills)
{
    struct fx f;
    unsigned int seed = (unsigned int) time(NULL);
    if (!fx_has_sqlite()) {
        tk_skip("kills of rules", "the module sqlite is not built");
        return;
    }
    printf("kill: rules, seed %u\n", seed);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    f.o.history_checkpoint_ms = 10;
    fx_open(&f);
    fx_entities(&f);
    fx_put(&f, "scene", scene);
    fx_put(&f, "scene", fall);
    fx_put(&f, "scene", tell);
    fx_put(&f, "scene", damped);
    fx_put(&f, "alert", hot);
    fx_start(&f);
    fx_close(&f);
    for (int i = 0; i < KILLS; i++) {
        f.o.workers = 1 + (uint32_t) i % 4;
        run_and_kill(&f, rise_until_killed, 5 + rand_r(&seed) % 60);
    }
    probe_mode(PROBE_REPLY);
    fx_open(&f);
    fx_start(&f);
    static struct tally t;
    t = count_log(&f);
    printf("kill: %d rises, %d commands, %d ends, %d alerts, %d told\n", t.rises, t.commands,
           t.closed, t.alerts, t.told);
    ck_assert_int_gt(t.rises, KILLS);
    ck_assert_int_eq(t.twice, 0);
    ck_assert_int_eq(t.commands, t.rises);
    ck_assert_int_eq(t.closed, t.commands);
    ck_assert_int_eq(t.alerts, t.rises + t.falls); /* raised and cleared */
    ck_assert_int_gt(t.held, KILLS);
    ck_assert_int_eq(t.told, TOLD * t.rises + t.held + 3 * t.alerts); /* two of each change */
    fx_fini(&f);
    munmap(shared, sizeof(*shared));
}
END_TEST

/* ---- schedules ---- */

static const char second[] = TPC_JSON({
    "key": "second",
    "type": "repeat",
    "interval": "1s",
    "then": [
        { "command": { "device": "fan1", "service": "set", "params": { "on": true } } },
        { "alert": { "key": "tick", "device": "fan1" } },
        { "clear": { "key": "tick", "device": "fan1" } }
    ]
});

/* Fires at the second run, is off for three seconds and begins anew: every five seconds. */
static const char fifth[] =
    TPC_JSON({
    "key": "fifth",
    "type": "repeat",
    "interval": "1s",
    "if": "true",
    "dampen": { "type": "evaluation", "occurrences": 2, "evaluation": 3 },
    "auto_disable": true,
    "re_enable": "3s",
    "then": [
        { "alert": { "key": "fifth", "device": "fan1" } },
        { "clear": { "key": "fifth", "device": "fan1" } }
    ]
});

/* A second passes when all of the one before is in the log; the next life begins in the same one. */
static void pass_seconds(void *user)
{
    struct fx *f = user;
    tk_clock_set_unix(&f->e.clock, atomic_load(&shared->unix_ms));
    fx_open(f);
    fx_start(f);
    probe_mode(PROBE_REPLY);
    atomic_store(&shared->started, 1);
    for (;;) {
        do {
            (void) fx_step(f);
        } while (fx_metric(f, "tpc_log_pending_bytes") > 0);
        tk_clock_advance(&f->e.clock, 1000);
        atomic_fetch_add(&shared->unix_ms, 1000);
    }
}

START_TEST(each_planned_time_acts_once_over_kills)
{
    struct fx f;
    unsigned int seed = (unsigned int) time(NULL);
    if (!fx_has_sqlite()) {
        tk_skip("kills of schedules", "the module sqlite is not built");
        return;
    }
    printf("kill: schedules, seed %u\n", seed);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    f.o.clock = &f.e.clock.base;
    f.o.history_checkpoint_ms = 10;
    int64_t from = f.o.clock->unix_ms(f.o.clock->user);
    fx_open(&f);
    fx_entities(&f);
    fx_put(&f, "schedule", second);
    fx_put(&f, "schedule", fifth);
    fx_start(&f);
    fx_close(&f);
    atomic_store(&shared->unix_ms, from);
    f.o.workers = 0;
    for (int i = 0; i < KILLS; i++) {
        run_and_kill(&f, pass_seconds, 5 + rand_r(&seed) % 60);
    }
    f.o.workers = 2;
    tk_clock_set_unix(&f.e.clock, atomic_load(&shared->unix_ms));
    probe_mode(PROBE_REPLY);
    fx_open(&f);
    fx_start(&f);
    static struct tally t;
    t = count_log(&f);
    int planned = (int) ((atomic_load(&shared->unix_ms) - from) / 1000);
    printf("kill: %d planned, %d commands, %d ends, %d told\n", planned, t.commands, t.closed,
           t.told);
    ck_assert_int_gt(planned, KILLS);
    ck_assert_int_eq(t.twice, 0);
    ck_assert_int_eq(t.commands, planned);
    ck_assert_int_eq(t.closed, planned);
    /* Raised and cleared. A kill forgets runs of the fifth, which then comes later; never sooner. */
    int fifths = (t.told - 2 * planned) / 2;
    ck_assert_int_eq(t.told % 2, 0);
    ck_assert_int_le(fifths, (planned + 3) / 5);
    ck_assert_int_ge(fifths, (planned + 3) / 5 - KILLS);
    fx_fini(&f);
    munmap(shared, sizeof(*shared));
}
END_TEST

/* ---- data rules ---- */

static const char each[] =
    TPC_JSON({
    "key": "each", "sql": "SELECT temperature AS t FROM thermo WHERE temperature > 30",
    "to": { "event": "each" } });
static const char heard[] =
    TPC_JSON({
    "key": "heard", "when": { "product": "thermo", "on": "event", "event": "each" },
    "then": [{ "notify": { "handler": "ops" } }] });
static const char three[] = TPC_JSON({
    "key": "three", "sql": "SELECT count(*) AS n, sum(temperature) AS s FROM thermo GROUP BY device, COUNTWINDOW(3)",
    "to": { "event": "three" } });

static const char ticks[] =
    TPC_JSON({
    "key": "ticks", "sql": "SELECT count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(ms, 20)",
    "to": { "event": "ticks" } });
static const char events[] = TPC_JSON({
    "key": "events", "sql": "SELECT collect(temperature) AS l FROM thermo GROUP BY device, COUNTWINDOW(3)",
    "time": "event", "lateness": "10ms", "idle": "1s", "to": { "event": "events" } });

/* What the whole log says: messages, how many of them are warm, and rows. */
struct rows {
    pthread_mutex_t lock;
    int messages;
    int warm;
    int each;
    int heard; /* notifications of a scene, one for each of them */
    int three;
    int ticks;      /* rows of windows that the clock ends */
    int64_t ticked; /* messages in them */
    int events;     /* rows of windows over event time */
    int wrong;      /* windows that did not have three messages */
    int twice;
    struct tpc_id ids[4 * COMMANDS];
};

static void count_row(struct rows *t, const struct tpc_msg *m)
{
    int64_t n = 0;
    int rows = t->each + t->three + t->ticks + t->events;
    t->twice += find_id(t->ids, rows, &m->id) >= 0;
    t->ids[rows % (4 * COMMANDS)] = m->id;
    if (tpc_str_equal(m->name, TPC_STR("each"))) {
        t->each++;
        return;
    }
    if (tpc_str_equal(m->name, TPC_STR("events"))) {
        const struct tpc_value *list = tpc_value_get(&m->params, TPC_STR("l"));
        t->wrong += list == NULL || list->type != TPC_ARRAY || list->len != 3;
        t->events++;
        return;
    }
    const struct tpc_value *v = tpc_value_get(&m->params, TPC_STR("n"));
    if (tpc_str_equal(m->name, TPC_STR("ticks"))) {
        t->wrong += v == NULL || tpc_value_int(v, &n) != 0;
        t->ticked += n;
        t->ticks++;
        return;
    }
    t->wrong += v == NULL || tpc_value_int(v, &n) != 0 || n != 3;
    t->three++;
}

static int on_rows(void *user, const struct tpc_batch *batch)
{
    struct rows *t = user;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        double d = 0;
        if (m->kind == TPC_MSG_TELEMETRY && m->point_count > 0) {
            (void) tpc_value_double(&tpc_msg_point(m, 0)->value, &d);
            t->messages++;
            t->warm += d > 30;
        } else if (m->kind == TPC_MSG_NOTIFY) {
            t->heard++;
        } else if (m->kind == TPC_MSG_EVENT) {
            count_row(t, m);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void measure_until_killed(void *user)
{
    struct fx *f = user;
    fx_open(f);
    fx_start(f);
    struct tpc_device *d = fx_device(f, "t1");
    atomic_store(&shared->started, 1);
    for (int i = 0;; i++) {
        struct tpc_bytes raw =
            i % 2 == 0 ? TPC_BYTES("{\"temperature\":20}") : TPC_BYTES("{\"temperature\":40}");
        while (tpc_feed(d, raw, NULL, NULL) != 0) {
            pause_ms(1);
        }
        if (i % 8 == 0) {
            pause_ms(1);
        }
    }
}

static void count_rows(struct fx *f, struct rows *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    pthread_mutex_init(&t->lock, NULL);
    o.name = TPC_STR("tally");
    o.filter = TPC_STR("main/#");
    fx_ok(tpc_consume(f->core, &o, on_rows, t, &sub), "consume");
    int before = -1;
    for (int same = 0; same < 1500;) { /* until nothing more comes for a while */
        pause_ms(1);
        pthread_mutex_lock(&t->lock);
        int now = t->messages + t->each + t->heard + t->three + t->ticks + t->events;
        pthread_mutex_unlock(&t->lock);
        same = now == before ? same + 1 : 0;
        before = now;
    }
    tpc_unsubscribe(sub);
}

START_TEST(each_row_comes_once_over_kills)
{
    struct fx f;
    static struct rows t;
    unsigned int seed = (unsigned int) time(NULL);
    if (!fx_has_sqlite()) {
        tk_skip("kills of data rules", "the module sqlite is not built");
        return;
    }
    printf("kill: data rules, seed %u\n", seed);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    f.o.history_checkpoint_ms = 10;
    fx_open(&f);
    fx_entities(&f);
    fx_put(&f, "rule", each);
    fx_put(&f, "rule", three);
    fx_put(&f, "scene", heard);
    fx_put(&f, "rule", ticks);
    fx_put(&f, "rule", events);
    fx_start(&f);
    fx_close(&f);
    for (int i = 0; i < KILLS; i++) {
        f.o.workers = 1 + (uint32_t) i % 4;
        run_and_kill(&f, measure_until_killed, 5 + rand_r(&seed) % 60);
    }
    fx_open(&f);
    fx_start(&f);
    count_rows(&f, &t);
    printf("kill: %d messages, %d warm, %d rows, %d windows, %lld in %d, %d of events\n",
           t.messages, t.warm, t.each, t.three, (long long) t.ticked, t.ticks, t.events);
    ck_assert_int_gt(t.messages, KILLS);
    ck_assert_int_eq(t.twice, 0);
    ck_assert_int_eq(t.wrong, 0);
    ck_assert_int_eq(t.each, t.warm);
    ck_assert_int_eq(t.heard, t.each);
    ck_assert_int_eq(t.three, t.messages / 3);
    ck_assert_int_eq(t.ticked, t.messages);
    ck_assert_int_eq(t.events, t.messages / 3);
    fx_fini(&f);
    munmap(shared, sizeof(*shared));
}
END_TEST

Suite *kill_suite(void)
{
    Suite *s = suite_create("kill");
    TCase *t = tcase_create("kill");
    tcase_add_test(t, what_was_acknowledged_survives_kills);
    tcase_add_test(t, each_rise_acts_once_over_kills);
    tcase_add_test(t, each_planned_time_acts_once_over_kills);
    tcase_add_test(t, each_row_comes_once_over_kills);
    tcase_set_timeout(t, 240);
    suite_add_tcase(s, t);
    return s;
}
