/* Latest values and presence after a restart, whatever ended the run before. */
#include "suites.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "tk_clock.h"

enum { OTHERS = 20000, LONG_BYTES = 60000, KILLS = 12, WAIT_MS = 20000 };

static const char wordy[] = TPC_JSON({
    "key": "wordy",
    "model": { "properties": [
        { "id": "text", "type": "text", "length": 200000 },
        { "id": "list", "type": "array", "items": { "type": "int" }, "size": 4096 },
        { "id": "pos", "type": "struct",
          "fields": [ { "id": "x", "type": "double" }, { "id": "name", "type": "text" } ] },
        { "id": "n", "type": "int" }
    ] }
});

static const char changed[] =
    TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [
        { "id": "serial", "type": "text", "role": "attribute" },
        { "id": "temperature", "type": "int" },
        { "id": "new", "type": "int" },
        { "id": "seq", "type": "int" }
    ] }
});

/* Value and time as text, "21.5@1795176000000". */
static const char *latest(struct fx *f, const char *key, const char *property)
{
    static char text[600];
    static uint8_t room[300000];
    struct tpc_buf buf = { room, sizeof(room), 0 };
    struct tpc_buf out = { (uint8_t *) text, 500, 0 };
    struct tpc_value v;
    int64_t ms = 0;
    if (tpc_latest_get(fx_device(f, key), tpc_str_from(property), &buf, &v, &ms) != 0) {
        return "none";
    }
    if (v.len > 400) {
        snprintf(text, sizeof(text), "%zu long @%lld", v.len, (long long) ms);
        return text;
    }
    tk_ok(tpc_json_write(&v, 0, &out));
    snprintf(text + out.need, sizeof(text) - out.need, "@%lld", (long long) ms);
    return text;
}

static struct tpc_device_info info(struct fx *f, const char *key)
{
    struct tpc_device_info i;
    fx_ok(tpc_device_info(fx_device(f, key), &i), key);
    return i;
}

static void feed_at(struct fx *f, const char *key, uint16_t kind, int64_t unix_ms, const char *text)
{
    struct tpc_frame frame = { .size = sizeof(frame), .kind = kind, .unix_ms = unix_ms };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    while (tpc_feed_frame(fx_device(f, key), &frame, NULL, NULL) != 0) {
        tk_ok(fx_step(f));
    }
}

/* Enough for what came before to leave the part of the log that is replayed in any case. */
static void feed_others(struct fx *f, const char *key)
{
    for (int i = 0; i < OTHERS; i++) {
        char text[40];
        snprintf(text, sizeof(text), "{\"seq\":%d}", i);
        feed_at(f, key, 0, 1795176100000 + i, text);
    }
    fx_settle(f);
}

static void checkpoint(struct fx *f)
{
    fx_settle(f);
    tk_clock_advance(&f->e.clock, 200000);
    tk_ok(fx_step(f));
    tk_ok(fx_step(f));
}

static void speak(void *user)
{
    struct fx *f = user;
    fx_run(f);
    feed_at(f, "t1", TPC_MSG_ATTRIBUTES, 1795176000000, "{\"serial\":\"A-17\"}");
    feed_at(f, "t1", 0, 1795176000500,
            "{\"temperature\":21.5,\"on\":true,\"seq\":-5,\"mode\":\"eco\",\"note\":\"\"}");
    feed_at(f, "t1", 0, 1795176000400, "{\"temperature\":99,\"note\":\"late\"}");
    checkpoint(f);
    feed_others(f, "t1");
    feed_at(f, "t1", 0, 1795176000500, "{\"on\":false}"); /* of the same time: the later one */
    checkpoint(f);
    fx_settle(f);
}

static void check_spoken(struct fx *f)
{
    ck_assert_str_eq(latest(f, "t1", "serial"), "\"A-17\"@1795176000000");
    ck_assert_str_eq(latest(f, "t1", "temperature"), "21.5@1795176000500");
    ck_assert_str_eq(latest(f, "t1", "on"), "false@1795176000500");
    ck_assert_str_eq(latest(f, "t1", "mode"), "1@1795176000500");
    ck_assert_str_eq(latest(f, "t1", "note"), "\"\"@1795176000500");
    ck_assert_str_eq(latest(f, "t1", "seq"), "19999@1795176119999");
    ck_assert_str_eq(latest(f, "t2", "seq"), "none");
    ck_assert_int_gt(info(f, "t1").last_seen_unix_ms, 1795176000000);
    ck_assert_int_eq(info(f, "t2").last_seen_unix_ms, 0);
}

static void values_come_back(bool dies, uint32_t parts)
{
    struct fx f;
    if (!fx_has_sqlite() && (parts & FX_SQLITE) != 0) {
        tk_skip("latest values after a restart", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, parts);
    if (dies) {
        ck_assert_int_eq(fx_child(speak, &f), 0);
    } else {
        speak(&f);
        check_spoken(&f);
        fx_close(&f);
    }
    for (int i = 0; i < 2; i++) {
        fx_open(&f);
        fx_start(&f);
        check_spoken(&f);
        fx_close(&f);
    }
    fx_open(&f);
    fx_start(&f);
    feed_at(&f, "t1", 0, 1795176000499, "{\"temperature\":1,\"seq\":1}");
    feed_at(&f, "t1", 0, 1795176000500, "{\"on\":true}");
    tk_ok(fx_step(&f));
    ck_assert_str_eq(latest(&f, "t1", "temperature"), "21.5@1795176000500");
    ck_assert_str_eq(latest(&f, "t1", "on"), "true@1795176000500");
    fx_fini(&f);
}

START_TEST(latest_values_survive_a_kill)
{
    values_come_back(true, FX_FILE_LOG | FX_SQLITE);
}
END_TEST

START_TEST(latest_values_survive_a_stop)
{
    values_come_back(false, FX_FILE_LOG | FX_SQLITE);
}
END_TEST

START_TEST(a_changed_model_takes_what_it_still_has)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("latest values after a change", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(speak, &f), 0);
    fx_open(&f);
    fx_put(&f, "product", changed);
    fx_start(&f);
    ck_assert_str_eq(latest(&f, "t1", "serial"), "\"A-17\"@1795176000000");
    ck_assert_str_eq(latest(&f, "t1", "temperature"), "none"); /* another type */
    ck_assert_str_eq(latest(&f, "t1", "new"), "none");
    ck_assert_str_eq(latest(&f, "t1", "seq"), "19999@1795176119999");
    fx_fini(&f);
}
END_TEST

START_TEST(a_device_of_another_product_starts_anew)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("latest values of another product", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(speak, &f), 0);
    fx_open(&f);
    fx_put(&f, "product", wordy);
    fx_start(&f);
    fx_close(&f); /* nothing is left in the log that the product's ids could be taken for */
    fx_open(&f);
    fx_put(&f, "device", "{\"key\":\"t1\",\"product\":\"wordy\"}");
    fx_start(&f);
    ck_assert_str_eq(latest(&f, "t1", "list"), "none");
    ck_assert_str_eq(latest(&f, "t1", "text"), "none");
    ck_assert_int_gt(info(&f, "t1").last_seen_unix_ms, 1795176000000);
    fx_fini(&f);
}
END_TEST

static void speak_long(void *user)
{
    struct fx *f = user;
    static char text[LONG_BYTES + 100];
    fx_run(f);
    fx_put(f, "product", wordy);
    fx_put(f, "device", "{\"key\":\"w1\",\"product\":\"wordy\"}");
    int n = snprintf(text, sizeof(text), "{\"pos\":{\"x\":1.5,\"name\":\"hall\"},\"text\":\"");
    memset(text + n, 'x', LONG_BYTES);
    memcpy(text + n + LONG_BYTES, "\"}", 3);
    feed_at(f, "w1", 0, 1795176000000, text);
    n = snprintf(text, sizeof(text), "{\"list\":[");
    for (int i = 0; i < 3000; i++) {
        n += snprintf(text + n, sizeof(text) - (size_t) n, "%s%d", i == 0 ? "" : ",", 1000 + i);
    }
    memcpy(text + n, "]}", 3);
    feed_at(f, "w1", 0, 1795176001000, text);
    checkpoint(f);
    feed_at(f, "w1", 0, 1795176002000, "{\"n\":7}");
    checkpoint(f);
    feed_others(f, "t1");
    checkpoint(f);
}

START_TEST(long_values_come_from_the_history)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("long latest values", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(speak_long, &f), 0);
    fx_open(&f);
    fx_start(&f);
    char expected[60];
    snprintf(expected, sizeof(expected), "%d long @1795176000000", LONG_BYTES);
    ck_assert_str_eq(latest(&f, "w1", "text"), expected);
    ck_assert_str_eq(latest(&f, "w1", "list"), "3000 long @1795176001000");
    ck_assert_str_eq(latest(&f, "w1", "pos"), "{\"x\":1.5,\"name\":\"hall\"}@1795176000000");
    ck_assert_str_eq(latest(&f, "w1", "n"), "7@1795176002000");
    fx_fini(&f);
}
END_TEST

/* ---- presence ---- */

static uint64_t session_on(const char *key)
{
    void *ctx;
    const struct tpc_host *host = probe_host(&ctx);
    struct tpc_session_options o = { .size = sizeof(o),
                                     .flags = TPC_SESSION_PRESENCE,
                                     .device = tpc_str_from(key) };
    uint64_t session = 0;
    fx_ok(host->session_open(ctx, &o, &session), "session_open");
    return session;
}

static void appear(void *user)
{
    struct fx *f = user;
    fx_run(f);
    (void) session_on("fan1");
    feed_at(f, "fan2", TPC_MSG_PRESENCE, 1795176000000, "1");
    feed_at(f, "t2", TPC_MSG_PRESENCE, 1795176000000, "1");
    feed_at(f, "t2", TPC_MSG_PRESENCE, 1795176003000, "0");
    checkpoint(f);
    feed_others(f, "t1");
    checkpoint(f);
    ck_assert_uint_eq(info(f, "fan1").online, 1);
    ck_assert_uint_eq(info(f, "fan2").online, 1);
    ck_assert_uint_eq(info(f, "t2").online, 0);
}

static int count_offline(void *user, const struct tpc_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        const struct tpc_value *online = tpc_value_get(&m->params, TPC_STR("online"));
        *(int *) user += m->kind == TPC_MSG_PRESENCE && tpc_str_equal(m->device, TPC_STR("fan1")) &&
                         online != NULL && !online->as.b;
    }
    return 0;
}

static void presence_comes_back(bool dies)
{
    struct fx f;
    int offline = 0;
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    if (!fx_has_sqlite()) {
        tk_skip("presence after a restart", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_PROBE);
    if (dies) {
        ck_assert_int_eq(fx_child(appear, &f), 0);
    } else {
        appear(&f);
        fx_close(&f);
    }
    for (int i = 0; i < 2; i++) {
        fx_open(&f);
        fx_start(&f);
        ck_assert_uint_eq(info(&f, "fan1").online, 0); /* its socket is gone */
        ck_assert_int_gt(info(&f, "fan1").presence_unix_ms, 0);
        ck_assert_uint_eq(info(&f, "fan2").online, 1); /* a message said so */
        ck_assert_int_eq(info(&f, "fan2").presence_unix_ms, 1795176000000);
        ck_assert_int_eq(info(&f, "fan2").active_unix_ms, 1795176000000);
        ck_assert_int_gt(info(&f, "fan1").active_unix_ms, 0);
        ck_assert_int_eq(info(&f, "t2").active_unix_ms, 1795176000000);
        ck_assert_int_eq(info(&f, "t1").active_unix_ms, 0);
        struct tpc_presence_counts c;
        fx_ok(tpc_presence_count(f.core, TPC_STR(""), TPC_STR(""), &c), "count");
        ck_assert_uint_eq(c.online, 1);
        ck_assert_uint_eq(c.active, 3);
        ck_assert_int_gt(info(&f, "fan2").last_seen_unix_ms, 0);
        ck_assert_uint_eq(info(&f, "t2").online, 0);
        ck_assert_int_eq(info(&f, "t2").presence_unix_ms, 1795176003000);
        ck_assert_uint_eq(info(&f, "t1").online, 0);
        ck_assert_int_eq(info(&f, "t1").presence_unix_ms, 0);
        fx_close(&f);
    }
    fx_open(&f);
    fx_start(&f);
    o.name = TPC_STR("offline");
    o.filter = TPC_STR("main/up/#");
    fx_ok(tpc_consume(f.core, &o, count_offline, &offline, &sub), "consume");
    for (int i = 0; i < 100; i++) {
        tk_ok(fx_step(&f));
    }
    ck_assert_int_eq(offline, 1); /* the log says so once */
    tpc_unsubscribe(sub);
    fx_fini(&f);
}

START_TEST(presence_survives_a_kill)
{
    presence_comes_back(true);
}
END_TEST

START_TEST(presence_survives_a_stop)
{
    presence_comes_back(false);
}
END_TEST

/* ---- kills at any moment ---- */

static struct {
    atomic_int acknowledged; /* greatest number */
    atomic_int started;
    atomic_int first;
} * shared;

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void on_done(void *user, int error)
{
    int n = (int) (intptr_t) user;
    if (error == 0 && n > atomic_load(&shared->acknowledged)) {
        atomic_store(&shared->acknowledged, n);
    }
}

static void on_started(void *user, int error)
{
    (void) user;
    atomic_store(&shared->started, error == 0);
}

/* t1 counts; t2 says its number and serial once in a run, so that they come from the marks. */
static void count_until_killed(void *user)
{
    struct fx *f = user;
    char text[100];
    fx_open(f);
    fx_start(f);
    int n = atomic_load(&shared->first);
    snprintf(text, sizeof(text), "{\"seq\":%d,\"note\":\"%d\"}", n, n);
    struct tpc_frame once = { .size = sizeof(once), .unix_ms = 1795176000000 + n };
    once.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    fx_ok(tpc_feed_frame(fx_device(f, "t2"), &once, on_started, NULL), "feed");
    while (atomic_load(&shared->started) == 0) {
        pause_ms(1);
    }
    for (;; n++) {
        snprintf(text, sizeof(text), "{\"seq\":%d,\"note\":\"%d\"}", n, n);
        struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = 1795176000000 + n };
        frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
        while (tpc_feed_frame(fx_device(f, "t1"), &frame, on_done, (void *) (intptr_t) n) != 0) {
            pause_ms(1);
        }
    }
}

static void kill_after(struct fx *f, long ms)
{
    atomic_store(&shared->started, 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        tk_in_child(count_until_killed, f);
    }
    for (int i = 0; i < WAIT_MS && atomic_load(&shared->started) == 0; i++) {
        pause_ms(1);
    }
    pause_ms(ms);
    int status;
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(after_any_kill_latest_is_what_was_acknowledged_or_later)
{
    struct fx f;
    unsigned int seed = (unsigned int) time(NULL);
    if (!fx_has_sqlite()) {
        tk_skip("kills and latest values", "the module sqlite is not built");
        return;
    }
    printf("latest: kills, seed %u\n", seed);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE);
    f.o.history_checkpoint_ms = 10;
    fx_open(&f);
    fx_entities(&f);
    fx_close(&f);
    for (int i = 0; i < KILLS; i++) {
        f.o.workers = 1 + (uint32_t) i % 4;
        kill_after(&f, 5 + rand_r(&seed) % 60);
        fx_open(&f);
        fx_start(&f);
        int acknowledged = atomic_load(&shared->acknowledged);
        int seq = fx_known(&f, "t1", "seq") ? (int) fx_latest(&f, "t1", "seq") : 0;
        ck_assert_int_ge(seq, acknowledged);
        ck_assert_int_eq((int) fx_latest(&f, "t2", "seq"), atomic_load(&shared->first));
        char expected[60];
        snprintf(expected, sizeof(expected), "\"%d\"@%lld", seq, 1795176000000LL + seq);
        ck_assert(seq == 0 || strcmp(latest(&f, "t1", "note"), expected) == 0);
        fx_close(&f); /* all that the log had is stored */
        fx_open(&f);
        fx_start(&f);
        ck_assert(seq == 0 || fx_history(&f, "t1", "seq").last == seq);
        ck_assert(seq == 0 || (int) fx_latest(&f, "t1", "seq") == seq);
        fx_close(&f);
        atomic_store(&shared->first, seq + 1);
    }
    ck_assert_int_gt(atomic_load(&shared->acknowledged), KILLS);
    fx_open(&f);
    fx_fini(&f);
    munmap(shared, sizeof(*shared));
}
END_TEST

Suite *latest_suite(void)
{
    Suite *s = suite_create("latest");
    TCase *tc = tcase_create("latest");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, latest_values_survive_a_kill);
    tcase_add_test(tc, latest_values_survive_a_stop);
    tcase_add_test(tc, a_changed_model_takes_what_it_still_has);
    tcase_add_test(tc, a_device_of_another_product_starts_anew);
    tcase_add_test(tc, long_values_come_from_the_history);
    tcase_add_test(tc, presence_survives_a_kill);
    tcase_add_test(tc, presence_survives_a_stop);
    tcase_add_test(tc, after_any_kill_latest_is_what_was_acknowledged_or_later);
    suite_add_tcase(s, tc);
    return s;
}
