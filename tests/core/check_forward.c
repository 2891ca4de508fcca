/* Targets and handlers in a whole core. */
#include "box.h"
#include "flow.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/bus.h"
#include "core/core.h"

static int put(struct flow *f, const char *kind, const char *json)
{
    char text[1024];
    size_t len = strlen(json);
    ck_assert_uint_lt(len, sizeof(text));
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    return tpc_entity_put(f->core, NULL, kind, (struct tpc_str){ text, len }, TPC_ANY_REV, NULL);
}

static void open_box(struct flow *f)
{
    tk_ok(tpc_core_add_module(f->core, box_module()));
    tk_ok(tpc_core_open(f->core, "box", "box", TPC_STR("{\"color\":\"red\"}")));
}

static void begin(struct flow *f, uint32_t workers)
{
    box_reset();
    flow_init(f, workers);
    flow_create(f);
    open_box(f);
}

static void feed(struct flow *f, const char *device, int from, int to)
{
    char text[32];
    struct tpc_device *d = flow_device(f, device);
    for (int n = from; n <= to; n++) {
        snprintf(text, sizeof(text), "{\"n\":%d}", n);
        int rc = flow_feed(d, text);
        while (rc == TPC_EAGAIN && f->workers > 0) {
            rc = flow_feed(d, text);
        }
        tk_ok(rc);
    }
    tpc_device_unref(d);
}

static uint32_t wanted_count;

static bool has_count(void *user)
{
    (void) user;
    return box_count() >= wanted_count;
}

static void until(struct flow *f, uint32_t count)
{
    wanted_count = count;
    ck_assert_msg(flow_until(f, has_count, NULL), "%u of %u", box_count(), count);
}

static int keep_state(void *user, const struct tpc_forward_info *info)
{
    *(uint32_t *) user = info->state;
    return 0;
}

static int keep_sent(void *user, const struct tpc_forward_info *info)
{
    *(uint32_t *) user = (uint32_t) info->sent;
    return 0;
}

static uint32_t state_of(struct flow *f, const char *key)
{
    uint32_t state = 99;
    tk_ok(tpc_forward_info(f->core, TPC_STR("main"), (struct tpc_str){ NULL, 0 }, tpc_str_from(key),
                           keep_state, &state));
    return state;
}

START_TEST(messages_reach_a_sink_with_their_texts)
{
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        struct flow f;
        begin(&f, workers);
        flow_devices(&f, 3);
        tk_ok(put(&f, "forward",
                  "{'key':'out','sink':'box','filter':['main/up/thermo/+/telemetry']}"));
        ck_assert_uint_eq(state_of(&f, "out"), TPC_FORWARD_WAITING);
        flow_start(&f);
        feed(&f, "t1", 1, 50);
        feed(&f, "t2", 1, 50);
        until(&f, 100);
        flow_settle(&f);
        ck_assert_uint_eq(box_count(), 100);
        ck_assert_uint_eq(state_of(&f, "out"), TPC_FORWARD_READY);
        ck_assert(flow_metric(&f, "tpc_forward_sent_total") == 100);
        ck_assert(flow_metric(&f, "tpc_forward_target_sent_total") == 100);
        ck_assert(flow_metric(&f, "tpc_forward_target_behind") == 0);
        ck_assert(flow_metric(&f, "tpc_forward_targets") == 1);
        tk_fails(TPC_ENOENT, tpc_forward_info(f.core, TPC_STR("main"), (struct tpc_str){ NULL, 0 },
                                              TPC_STR("nobody"), keep_state, &workers));
        tk_ok(tpc_core_stop(f.core, 1000));
        ck_assert_uint_eq(box.open, 0);
        /* What came while it was stopped, and after. */
        flow_start(&f);
        feed(&f, "t3", 1, 10);
        until(&f, 110);
        ck_assert_str_eq(box.items[109].device, "t3");
        flow_fini(&f);
        ck_assert_uint_eq(box.open, 0);
    }
}
END_TEST

START_TEST(scene_notifies_through_a_handler)
{
    struct flow f;
    begin(&f, 0);
    flow_devices(&f, 2);
    tk_ok(put(&f, "handler", "{'key':'phone','sink':'box','options':{'token':'s3cret'}}"));
    tk_ok(put(&f, "scene",
              "{'key':'hot','when':{'product':'thermo','expr':'temperature > 30'},"
              "'then':[{'notify':{'handler':'phone','params':{'n':7}}}]}"));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t2");
    tk_ok(flow_feed(d, "{\"temperature\":20}"));
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    tpc_device_unref(d);
    until(&f, 1);
    flow_settle(&f);
    ck_assert_uint_eq(box_count(), 1);
    ck_assert_uint_eq(box.items[0].kind, TPC_MSG_NOTIFY);
    ck_assert_str_eq(box.items[0].name, "phone");
    ck_assert_str_eq(box.items[0].device, "t2");
    ck_assert_int_eq(box.items[0].n, 7);
    ck_assert_str_eq(box.last_token, "s3cret");
    flow_fini(&f);
}
END_TEST

static void *answer_late(void *user)
{
    (void) user;
    poll(NULL, 0, 30);
    box_answer(0);
    return NULL;
}

START_TEST(stop_waits_for_an_answer_that_comes)
{
    struct flow f;
    pthread_t thread;
    begin(&f, 2);
    flow_devices(&f, 1);
    tk_ok(put(&f, "forward", "{'key':'out','sink':'box','batch':{'count':5,'wait':'1s'}}"));
    box.hold = true;
    flow_start(&f);
    feed(&f, "t1", 1, 5);
    for (int i = 0; i < 2000 && box.held_count == 0; i++) {
        flow_settle(&f);
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_late, NULL), 0);
    tk_ok(tpc_core_stop(f.core, 10000));
    pthread_join(thread, NULL);
    uint32_t sends = box.sends;
    box.hold = false;
    flow_start(&f);
    feed(&f, "t1", 6, 10);
    until(&f, 10);
    ck_assert_uint_eq(box_count(), 10); /* nothing came twice */
    ck_assert_uint_eq(box.sends, sends + 1);
    flow_fini(&f);
}
END_TEST

/* By then the registry knows the device no more: the records say whom they are about. */
START_TEST(notification_outlives_its_device)
{
    struct flow f;
    begin(&f, 0);
    flow_devices(&f, 2);
    tk_ok(put(&f, "tenant", "{'key':'other'}"));
    tk_ok(put(&f, "handler", "{'key':'phone','sink':'box'}"));
    tk_ok(put(&f, "handler", "{'key':'phone','tenant':'other','sink':'box'}"));
    tk_ok(put(&f, "alert", "{'key':'heat','notify':['phone']}"));
    tk_ok(put(&f, "scene",
              "{'key':'hot','when':{'product':'thermo','expr':'temperature > 30'},'then':["
              "{'notify':{'handler':'phone','params':{'n':7,'tenant':'other'}}},"
              "{'alert':{'key':'heat','severity':'major','text':'too hot'}}]}"));
    box.send_code = TPC_EOFFLINE;
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t2");
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    tpc_device_unref(d);
    flow_settle(&f);
    flow_settle(&f);
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR(""), "device", TPC_STR("t2"), TPC_ANY_REV));
    flow_settle(&f);
    ck_assert_uint_eq(box_count(), 0);
    box.send_code = 0;
    tk_clock_advance(&f.e.clock, 3600000);
    until(&f, 2); /* the scene's and the alert's */
    flow_settle(&f);
    for (uint32_t i = 0; i < box_count(); i++) {
        ck_assert_str_eq(box.items[i].name, "phone");
        ck_assert_str_eq(box.items[i].device, "t2");
        ck_assert_str_eq(box.items[i].tenant, "main");
        ck_assert_uint_eq(box.items[i].correlation_len, 0);
    }
    flow_fini(&f);
}
END_TEST

START_TEST(schedule_notifies_the_handler_of_its_own_tenant)
{
    struct flow f;
    begin(&f, 0);
    tk_ok(put(&f, "tenant", "{'key':'other'}"));
    tk_ok(put(&f, "handler", "{'key':'phone','sink':'box','enabled':true}"));
    tk_ok(put(&f, "handler", "{'key':'phone','tenant':'other','sink':'box'}"));
    tk_ok(put(&f, "schedule",
              "{'key':'tick','tenant':'other','type':'repeat','interval':'1s','then':["
              "{'notify':{'handler':'phone','params':{'n':3,'tenant':'main'}}}]}"));
    flow_start(&f);
    until(&f, 2);
    uint32_t states[2] = { 0, 0 };
    struct tpc_str none = { NULL, 0 };
    tk_ok(tpc_forward_info(f.core, TPC_STR("main"), none, none, keep_sent, &states[0]));
    tk_ok(tpc_forward_info(f.core, TPC_STR("other"), none, none, keep_sent, &states[1]));
    ck_assert_uint_eq(states[0], 0);
    ck_assert_uint_ge(states[1], 2);
    flow_fini(&f);
}
END_TEST

static int find_secret(void *user, const struct tpc_audit_entry *a)
{
    char text[2048];
    snprintf(text, sizeof(text), "%.*s", (int) a->json.len, a->json.ptr);
    ck_assert_ptr_null(strstr(text, "s3cret"));
    *(uint32_t *) user += strstr(text, "there") != NULL;
    return 0;
}

static int find_in_list(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                        struct tpc_str json)
{
    char text[2048];
    (void) info;
    (void) key;
    snprintf(text, sizeof(text), "%.*s", (int) json.len, json.ptr);
    ck_assert_ptr_null(strstr(text, "s3cret"));
    *(uint32_t *) user += strstr(text, "there") != NULL;
    return 0;
}

START_TEST(secrets_stand_in_no_list_log_or_trail)
{
    struct flow f;
    uint32_t found = 0;
    begin(&f, 0);
    tk_ok(put(&f, "forward",
              "{'key':'out','sink':'box','options':{'url':'there','token':'s3cret'}}"));
    flow_start(&f);
    tk_ok(put(&f, "forward",
              "{'key':'out','sink':'box','options':{'url':'there','token':'s3cret2'}}"));
    tk_ok(put(&f, "forward", "{'key':'out','sink':'box','options':{'url':'there too'}}"));
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    q.kind = TPC_STR("forward");
    tk_ok(tpc_audit(f.core, &q, find_secret, &found));
    ck_assert_uint_ge(found, 1);
    found = 0;
    struct tpc_entity_query list = TPC_ENTITY_QUERY_INIT;
    list.kind = TPC_STR("forward");
    tk_ok(tpc_entity_list(f.core, &list, find_in_list, &found));
    ck_assert_uint_eq(found, 1);
    ck_assert_uint_eq(tk_env_logged(&f.e, "s3cret"), 0);
    flow_settle(&f);
    ck_assert_str_eq(box.last_token, "s3cret2");
    tk_fails(TPC_ENOENT, put(&f, "forward", "{'key':'x','sink':'nobody'}"));
    tk_fails(TPC_EINVAL, put(&f, "forward", "{'key':'x','sink':'box','options':{'url':'bad'}}"));
    flow_fini(&f);
}
END_TEST

START_TEST(outage_over_a_restart_loses_nothing)
{
    char dir[256];
    struct flow f;
    snprintf(dir, sizeof(dir), "%s/forward-log", tk_tmpdir());
    for (int run = 0; run < 3; run++) {
        box_reset();
        flow_init(&f, 0);
        flow_create(&f);
        flow_file_log(&f, dir, "");
        open_box(&f);
        flow_devices(&f, 1);
        tk_ok(put(&f, "forward", "{'key':'out','sink':'box','start':'oldest'}"));
        box.answer = run < 2 ? TPC_EOFFLINE : 0;
        flow_start(&f);
        feed(&f, "t1", run * 100 + 1, run * 100 + 100);
        flow_settle(&f);
        if (run == 2) {
            until(&f, 300);
            for (int i = 0; i < 300; i++) {
                ck_assert_int_eq(box.items[i].n, i + 1);
            }
        }
        tk_ok(tpc_core_stop(f.core, 1000));
        flow_fini(&f);
    }
    /* What was delivered is not delivered again. */
    flow_init(&f, 0);
    flow_create(&f);
    flow_file_log(&f, dir, "");
    open_box(&f);
    flow_devices(&f, 1);
    tk_ok(put(&f, "forward", "{'key':'out','sink':'box','start':'oldest'}"));
    flow_start(&f);
    feed(&f, "t1", 301, 301);
    until(&f, 301);
    ck_assert_uint_eq(box_count(), 301);
    flow_fini(&f);
}
END_TEST

struct letters {
    uint32_t count;
    uint32_t partition;
    uint64_t offset;
    char reason[128];
    char raw[256];
};

static int keep_letter(void *user, const struct tpc_dead_letter *l)
{
    struct letters *x = user;
    x->count++;
    x->partition = l->partition;
    x->offset = l->offset;
    snprintf(x->reason, sizeof(x->reason), "%.*s %.*s", (int) l->device.len, l->device.ptr,
             (int) l->reason.len, l->reason.ptr);
    snprintf(x->raw, sizeof(x->raw), "%.*s", (int) l->raw.len, (const char *) l->raw.ptr);
    return 0;
}

START_TEST(refused_message_is_a_dead_letter)
{
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        struct flow f;
        struct letters x;
        memset(&x, 0, sizeof(x));
        begin(&f, workers);
        flow_devices(&f, 1);
        tk_ok(put(&f, "forward", "{'key':'out','sink':'box'}"));
        box.poison[0] = 13;
        flow_start(&f);
        feed(&f, "t1", 1, 20);
        until(&f, 19);
        flow_settle(&f);
        ck_assert_uint_eq(box_count(), 19);
        tk_ok(tpc_dead_letters(f.core, keep_letter, &x));
        ck_assert_uint_eq(x.count, 1);
        ck_assert_str_eq(x.reason, "t1 the box says TPC_EMODEL");
        ck_assert_ptr_nonnull(strstr(x.raw, "\"values\":{\"n\":13}"));
        tk_fails(TPC_EUNSUPPORTED, tpc_dead_letter_redrive(f.core, x.partition, x.offset));
        tk_ok(tpc_dead_letter_purge(f.core, x.partition, x.offset));
        ck_assert(flow_metric(&f, "tpc_forward_dead_total") == 1);
        flow_fini(&f);
    }
}
END_TEST

START_TEST(batch_in_flight_at_the_stop_comes_again)
{
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        struct flow f;
        begin(&f, workers);
        flow_devices(&f, 1);
        tk_ok(put(&f, "forward", "{'key':'out','sink':'box'}"));
        box.hold = true;
        flow_start(&f);
        feed(&f, "t1", 1, 5);
        flow_settle(&f);
        for (int i = 0; i < 2000 && box.held_count == 0; i++) {
            flow_settle(&f);
        }
        ck_assert_uint_eq(box.held_count, 1);
        tk_ok(tpc_core_stop(f.core, 50));
        ck_assert_uint_eq(box.open, 0);
        box.hold = false;
        flow_start(&f);
        until(&f, 5);
        flow_settle(&f);
        ck_assert_uint_eq(box_count(), 5);
        flow_fini(&f);
    }
}
END_TEST

enum { KILL_MESSAGES = 3000 };

/* Of the child that is killed. */
static struct {
    struct flow *f;
    int fd;
    int left; /* messages until the end; 0 = none */
} victim;

static void note_and_die(int64_t n)
{
    ck_assert_int_eq(write(victim.fd, &n, sizeof(n)), sizeof(n));
    tk_clock_advance(&victim.f->e.clock, 60);
    if (victim.left > 0 && --victim.left == 0) {
        (void) kill(getpid(), SIGKILL);
    }
}

static bool all_is_told(void *user)
{
    (void) user;
    return box_count() > 0 && box.items[(box_count() - 1) % BOX_ITEMS].n == KILL_MESSAGES;
}

static void open_victim(struct flow *f, const char *dir, uint32_t workers)
{
    box_reset();
    flow_init(f, workers);
    flow_create(f);
    flow_file_log(f, dir, "");
    open_box(f);
    flow_devices(f, 1);
    tk_ok(put(f, "forward", "{'key':'out','sink':'box','start':'oldest','batch':{'count':50}}"));
}

static void live(void *user)
{
    struct flow f;
    open_victim(&f, user, 2);
    victim.f = &f;
    box.on_take = note_and_die;
    flow_start(&f);
    ck_assert(flow_until(&f, all_is_told, NULL));
    flow_fini(&f);
}

/* Each number came, the first time in order, and a repetition begins again at one that was there. */
static void check_told(int fd)
{
    int64_t n = 0;
    int64_t before = 0;
    int64_t most = 0;
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    while (read(fd, &n, sizeof(n)) == (ssize_t) sizeof(n)) {
        ck_assert(n == before + 1 || n <= before);
        ck_assert(n <= most + 1);
        most = n > most ? n : most;
        before = n;
    }
    ck_assert_int_eq(most, KILL_MESSAGES);
}

START_TEST(killed_at_any_point_it_repeats_and_loses_nothing)
{
    char dir[256];
    char path[300];
    struct flow f;
    snprintf(dir, sizeof(dir), "%s/forward-kill", tk_tmpdir());
    snprintf(path, sizeof(path), "%s-told", dir);
    open_victim(&f, dir, 0);
    box.answer = TPC_EOFFLINE;
    flow_start(&f);
    feed(&f, "t1", 1, KILL_MESSAGES);
    flow_settle(&f);
    flow_fini(&f);
    victim.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
    ck_assert_int_ge(victim.fd, 0);
    int status = -1;
    int kills = 0;
    for (int i = 0; i < 60 && status != 0; i++) {
        victim.left = 130 + 37 * (i % 7);
        pid_t pid = fork();
        if (pid == 0) {
            tk_in_child(live, dir);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        kills += status != 0;
    }
    ck_assert_int_eq(status, 0);
    ck_assert_int_ge(kills, 5);
    check_told(victim.fd);
    close(victim.fd);
}
END_TEST

enum { FEEDS = 4000, CHURNS = 150 };

struct feeder {
    struct flow *f;
    const char *device;
};

static void *feed_all(void *user)
{
    struct feeder *x = user;
    feed(x->f, x->device, 1, FEEDS);
    return NULL;
}

/* Puts, disables and deletes targets while messages flow. */
static void churn(struct flow *f)
{
    for (int i = 0; i < CHURNS; i++) {
        char json[160];
        snprintf(json, sizeof(json),
                 "{'key':'c%d','sink':'box','filter':['main/up/fan/#'],'enabled':%s,"
                 "'batch':{'count':%d}}",
                 i % 3, i % 4 == 0 ? "false" : "true", 1 + i % 7);
        tk_ok(put(f, "forward", json));
        snprintf(json, sizeof(json), "{'key':'out','sink':'box','batch':{'count':%d}}", 1 + i);
        tk_ok(put(f, "forward", json));
        if (i % 5 == 4) {
            snprintf(json, sizeof(json), "c%d", i % 3);
            tk_ok(tpc_entity_delete(f->core, NULL, (struct tpc_str){ NULL, 0 }, "forward",
                                    tpc_str_from(json), TPC_ANY_REV));
        }
        (void) flow_metric(f, "tpc_forward_target_behind");
    }
}

START_TEST(targets_change_under_traffic_without_loss)
{
    struct flow f;
    pthread_t threads[2];
    begin(&f, 3);
    flow_devices(&f, 2);
    tk_ok(put(&f, "forward", "{'key':'out','sink':'box'}"));
    flow_start(&f);
    struct feeder feeders[2] = { { &f, "t1" }, { &f, "t2" } };
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, feed_all, &feeders[i]), 0);
    }
    churn(&f);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    until(&f, 2 * FEEDS);
    flow_settle(&f);
    ck_assert_uint_eq(box_count(), 2 * FEEDS);
    int64_t last[3] = { 0 };
    pthread_mutex_lock(&box.lock);
    for (uint32_t i = 0; i < box.count; i++) {
        int d = box.items[i].device[1] - '0';
        ck_assert_int_eq(box.items[i].n, ++last[d]);
    }
    pthread_mutex_unlock(&box.lock);
    flow_fini(&f);
    ck_assert_uint_eq(box.open, 0);
}
END_TEST

/* Who answers in any order, and looks on meanwhile. */
struct answerer {
    struct flow *f;
    atomic_bool stop;
    uint32_t answered;
};

static void *answer_some(void *user)
{
    struct answerer *a = user;
    uint32_t x = 1;
    while (!atomic_load(&a->stop)) {
        x = x * 1103515245u + 12345u;
        pthread_mutex_lock(&box.lock);
        uint32_t held = box.held_count;
        pthread_mutex_unlock(&box.lock);
        if (held > 0) {
            box_answer_one((x >> 16) % held, (x >> 24) % 8 == 0 ? TPC_EOFFLINE : 0);
            (void) state_of(a->f, "out");
        } else {
            poll(NULL, 0, 1);
        }
        tk_clock_advance(&a->f->e.clock, 1);
    }
    return NULL;
}

START_TEST(window_keeps_the_order_of_each_device_with_threads)
{
    enum { DEVICES = 8, EACH = 600 };
    struct flow f;
    struct answerer a = { .f = &f };
    pthread_t thread;
    begin(&f, 2);
    flow_devices(&f, DEVICES);
    tk_ok(put(&f, "forward",
              "{'key':'out','sink':'box','filter':['main/up/thermo/+/telemetry'],'window':8,"
              "'batch':{'count':20},'retry':{'min':1,'max':2}}"));
    box.hold = true;
    flow_start(&f);
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_some, &a), 0);
    for (int n = 1; n <= EACH; n += 50) {
        for (int d = 1; d <= DEVICES; d++) {
            char key[4];
            snprintf(key, sizeof(key), "t%d", d);
            feed(&f, key, n, n + 49);
        }
    }
    wanted_count = DEVICES * EACH;
    bool done = flow_until(&f, has_count, NULL);
    atomic_store(&a.stop, true);
    pthread_join(thread, NULL);
    ck_assert_msg(done, "%u of %u", box_count(), wanted_count);
    int64_t last[DEVICES + 1] = { 0 };
    for (uint32_t i = 0; i < box_count(); i++) {
        ck_assert_int_eq(box.items[i].n, ++last[box.items[i].device[1] - '0']);
    }
    ck_assert_uint_eq(box.shared, 0);
    ck_assert_uint_gt(box.most_held, 1);
    box.hold = false;
    flow_fini(&f);
}
END_TEST

/* A log whose records somebody else flushes before the append has come back. */
static struct tpc_bus_ops early;
static struct flow *early_flow;
static atomic_uint early_entities;

static bool has_entities(void *user)
{
    return atomic_load(&early_entities) >= *(unsigned *) user;
}

static int append_early(void *self, struct tpc_record *records, uint32_t count, size_t record_size,
                        uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence)
{
    int rc = tpi_bus_memory.append(self, records, count, record_size, flags, err, ret_sequence);
    if (rc == 0 && records[0].kind == TPC_MSG_ENTITY) {
        atomic_fetch_add(&early_entities, 1);
    } else if (rc == 0) {
        tk_ok(tpi_flush_now(early_flow->core, TPC_FLUSH_SYNC, NULL, NULL));
        poll(NULL, 0, 20);
    }
    return rc;
}

START_TEST(record_that_was_flushed_before_its_append_came_back_goes_on)
{
    static const struct tpc_interface interfaces[] = { { TPC_KIND_BUS, &early } };
    static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                              .name = "early",
                                              .version = "1",
                                              .licence = "Apache-2.0",
                                              .interfaces = TPC_INTERFACES(interfaces) };
    struct flow f;
    early = tpi_bus_memory;
    early.name = "early";
    early.append = append_early;
    early_flow = &f;
    atomic_store(&early_entities, 0);
    begin(&f, 2);
    tk_ok(tpc_core_add_module(f.core, &module));
    tk_ok(tpc_core_open(f.core, "log", "early", (struct tpc_str){ NULL, 0 }));
    flow_devices(&f, 1);
    tk_ok(put(&f, "forward", "{'key':'out','sink':'box','filter':['main/up/thermo/+/telemetry']}"));
    flow_start(&f);
    unsigned entities = 5; /* told one by one: no append comes after that of the sample */
    ck_assert(flow_until(&f, has_entities, &entities));
    flow_settle(&f);
    feed(&f, "t1", 1, 1);
    until(&f, 1);
    flow_fini(&f);
}
END_TEST

Suite *forward_flow_suite(void)
{
    Suite *s = suite_create("forward flow");
    TCase *c = tcase_create("forward");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, messages_reach_a_sink_with_their_texts);
    tcase_add_test(c, scene_notifies_through_a_handler);
    tcase_add_test(c, notification_outlives_its_device);
    tcase_add_test(c, stop_waits_for_an_answer_that_comes);
    tcase_add_test(c, schedule_notifies_the_handler_of_its_own_tenant);
    tcase_add_test(c, secrets_stand_in_no_list_log_or_trail);
    tcase_add_test(c, outage_over_a_restart_loses_nothing);
    tcase_add_test(c, refused_message_is_a_dead_letter);
    tcase_add_test(c, batch_in_flight_at_the_stop_comes_again);
    tcase_add_test(c, killed_at_any_point_it_repeats_and_loses_nothing);
    tcase_add_test(c, targets_change_under_traffic_without_loss);
    tcase_add_test(c, window_keeps_the_order_of_each_device_with_threads);
    tcase_add_test(c, record_that_was_flushed_before_its_append_came_back_goes_on);
    suite_add_tcase(s, c);
    return s;
}
