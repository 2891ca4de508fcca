/*
 * The whole life of a core with each allocation failing in turn: every call answers 0 or
 * TPC_ENOMEM, nothing stays allocated, and what is on the disk opens again.
 */
#include "suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char product[] =
    TPC_JSON({
    "key": "p", "codec": "json",
    "model": { "properties": [
        { "id": "seq", "type": "int" }, { "id": "note", "type": "text" },
        { "id": "on", "type": "bool", "access": "rw" } ] }
});
static const char lua_product[] =
    "{\"key\":\"p\",\"codec\":{\"type\":\"lua\",\"script\":\"function decode(b) return { seq = #b, "
    "note = b:sub(1, 3) } end function encode(c) return c.name end\"},\"model\":{\"properties\":[{"
    "\"id\":\"seq\",\"type\":\"int\"},{\"id\":\"note\",\"type\":\"text\"},{\"id\":\"on\",\"type\":"
    "\"bool\",\"access\":\"rw\"}]}}";
static const char device[] = TPC_JSON({ "key": "t1", "product": "p", "place": "roof" });
static const char scene[] =
    TPC_JSON({
    "key": "s", "when": { "product": "p", "expr": "seq > 3" },
    "then": [ { "command": { "service": "set", "params": { "on": true } } } ]
});

/* A step may find no memory for what it does; it says so to whoever waits, not here. */
static int tolerate(int rc)
{
    return rc == TPC_EAGAIN || rc == TPC_ENOENT ? TPC_ENOMEM : rc;
}

static int put_all(struct fx *f)
{
    bool lua = (f->parts & FX_LUA) != 0;
    int rc = tpc_entity_put(f->core, NULL, "product", tpc_str_from(lua ? lua_product : product),
                            TPC_ANY_REV, NULL);
    rc = rc != 0 ? rc : tpc_entity_put(f->core, NULL, "device", TPC_STR(device), TPC_ANY_REV, NULL);
    return rc != 0 ? rc : tpc_entity_put(f->core, NULL, "scene", TPC_STR(scene), TPC_ANY_REV, NULL);
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    (void) user;
    (void) batch;
    return 0;
}

static void on_done(void *user, int error)
{
    int *worst = user;
    *worst = error != 0 ? error : *worst;
}

static int query(struct fx *f, struct tpc_device *d)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_str name = TPC_STR("seq");
    struct tpc_rows *rows;
    const struct tpc_row_batch *batch;
    q.devices = &d;
    q.device_count = 1;
    q.properties = &name;
    q.property_count = 1;
    int rc = tpc_history_query(f->core, &q, &rows);
    if (rc != 0) {
        return rc;
    }
    while ((rc = tpc_rows_next(rows, &batch)) > 0) {
    }
    tpc_rows_close(rows);
    return rc;
}

/* worst lives as long as the core: what is still queued is settled when it stops. */
static int feed_all(struct fx *f, struct tpc_device *d, int *worst)
{
    static const char *const texts[] = { "{\"seq\":1,\"note\":\"a text that is long\"}",
                                         "{\"seq\":5}", "{\"seq\":", "{\"seq\":2}", "{\"seq\":7}" };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tpc_bytes raw = { (const uint8_t *) texts[i], strlen(texts[i]) };
        rc = tpc_feed(d, raw, on_done, worst);
    }
    for (int i = 0; rc == 0 && i < 4; i++) {
        rc = tpc_core_step(f->core, 0, NULL);
        tk_clock_advance(&f->e.clock, 1000);
    }
    ck_assert_msg(*worst == 0 || *worst == TPC_ENOMEM, "a feed ended with %s",
                  tpc_error_name(*worst));
    return tolerate(rc);
}

static int command(struct fx *f, struct tpc_device *d)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_id id;
    o.device = d;
    o.service = TPC_STR("set");
    o.params_json = TPC_STR("{\"on\":false}");
    int rc = tpc_command_send(f->core, NULL, &o, NULL, NULL, &id);
    rc = rc != 0 ? rc : tpc_core_step(f->core, 0, NULL);
    return tolerate(rc != 0 ? rc : tpc_command_cancel(f->core, &id));
}

static int work(struct fx *f, int *worst)
{
    struct tpc_device *d = NULL;
    struct tpc_subscribe_options so = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_consume_options co = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *live = NULL;
    struct tpc_sub *durable = NULL;
    so.filter = TPC_STR("main/up/p/+/telemetry");
    co.filter = TPC_STR("main/#");
    co.name = TPC_STR("all");
    int rc = tpc_device_open(f->core, TPC_STR("t1"), &d);
    rc = rc != 0 ? rc : tpc_subscribe(f->core, &so, on_batch, NULL, &live);
    rc = rc != 0 ? rc : tpc_consume(f->core, &co, on_batch, NULL, &durable);
    rc = rc != 0 ? rc : feed_all(f, d, worst);
    rc = rc != 0 ? rc : command(f, d);
    rc = rc != 0 ? rc : query(f, d);
    struct tpc_value v;
    uint8_t room[64];
    struct tpc_buf buf = { room, sizeof(room), 0 };
    if (rc == 0) {
        (void) tpc_latest_get(d, TPC_STR("note"), &buf, &v, NULL);
        (void) tpc_dead_letters(f->core, NULL, NULL);
        rc = tpc_entity_delete(f->core, NULL, FX_NO_OPTIONS, "scene", TPC_STR("s"), TPC_ANY_REV);
    }
    tpc_unsubscribe(live);
    tpc_unsubscribe(durable);
    tpc_device_unref(d);
    return rc;
}

static int life(const struct tpc_allocator *a, void *user)
{
    struct fx *f = user;
    int worst = 0;
    f->o.allocator = a;
    f->core = NULL;
    int rc = fx_make(f);
    rc = rc != 0 ? rc : put_all(f);
    rc = rc != 0 ? rc : tpc_core_start(f->core);
    if (rc == 0) {
        rc = work(f, &worst);
        (void) tpc_core_stop(f->core, 0);
    }
    (void) tpc_core_destroy(f->core);
    f->core = NULL;
    return rc;
}

static void each_fails(uint32_t parts, const char *name)
{
    struct fx f;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    fx_init(&f, 0, parts);
    f.devices = "t1";
    f.o.partitions = 2;
    f.o.frame_max_bytes = 1024;
    f.o.ring_bytes = 16384;
    f.o.on_log = NULL;
    size_t n = tk_each_alloc_fails(life, &f);
    f.o.allocator = NULL;
    /* What so many failures left on the disk is a platform that starts. */
    fx_open(&f);
    fx_ok(put_all(&f), "put");
    fx_start(&f);
    fx_ok(fx_feed(&f, "t1", "{\"seq\":11}"), "feed");
    fx_settle(&f);
    fx_fini(&f);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("oom: %s has %zu allocations, %.1f s\n", name, n,
           (double) (end.tv_sec - begin.tv_sec) + 1e-9 * (double) (end.tv_nsec - begin.tv_nsec));
}

START_TEST(every_allocation_of_a_life_in_memory_may_fail)
{
    each_fails(FX_PROBE, "memory");
}
END_TEST

START_TEST(every_allocation_of_a_life_with_a_file_log_may_fail)
{
    each_fails(FX_PROBE | FX_FILE_LOG, "file log");
}
END_TEST

START_TEST(every_allocation_of_a_life_with_sqlite_may_fail)
{
    if (!fx_has_sqlite()) {
        tk_skip("memory of sqlite", "the module is not built");
        return;
    }
    each_fails(FX_PROBE | FX_FILE_LOG | FX_SQLITE, "sqlite");
}
END_TEST

START_TEST(every_allocation_of_a_life_with_lua_may_fail)
{
    if (!fx_has_lua()) {
        tk_skip("memory of lua", "the module is not built");
        return;
    }
    each_fails(FX_PROBE | FX_LUA, "lua");
}
END_TEST

/* ---- memory that is short now and then ---- */

struct flaky {
    struct tpc_allocator base;
    struct fx *f;
    unsigned int seed;
    bool on;
    bool acknowledged[2000];
    int done;
    int refused;
};

static void *flaky_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct flaky *x = user;
    if (x->on && new_size > old_size && rand_r(&x->seed) % 8 == 0) {
        return NULL;
    }
    return x->f->e.alloc.base.resize(&x->f->e.alloc, ptr, old_size, new_size);
}

struct waiter {
    struct flaky *x;
    int seq;
};

static void on_flaky(void *user, int error)
{
    struct waiter *w = user;
    ck_assert_msg(error == 0 || error == TPC_ENOMEM, "%s", tpc_error_name(error));
    w->x->acknowledged[w->seq] = error == 0;
    w->x->refused += error != 0;
    w->x->done++;
}

static void feed_flaky(struct fx *f, struct flaky *x, struct waiter *waiters, int count)
{
    struct tpc_device *d = fx_device(f, "t1");
    for (int i = 0; i < count; i++) {
        char text[100];
        int n = snprintf(text, sizeof(text), "{\"seq\":%d,\"note\":\"%d\"}", i, i);
        struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = 1795176000000 + i };
        frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
        waiters[i] = (struct waiter){ x, i };
        while (tpc_feed_frame(d, &frame, on_flaky, &waiters[i]) == TPC_EAGAIN) {
            (void) fx_step(f);
            tk_clock_advance(&f->e.clock, 30);
        }
        if (i % 16 == 0) {
            (void) fx_step(f);
            tk_clock_advance(&f->e.clock, 100);
        }
    }
}

static bool has_number(struct fx *f, int seq)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_device *d = fx_device(f, "t1");
    struct tpc_str name = TPC_STR("seq");
    struct tpc_rows *rows;
    const struct tpc_row_batch *b;
    q.devices = &d;
    q.device_count = 1;
    q.properties = &name;
    q.property_count = 1;
    q.from_unix_ms = 1795176000000 + seq;
    q.to_unix_ms = q.from_unix_ms + 1;
    tk_ok(tpc_history_query(f->core, &q, &rows));
    bool found = tpc_rows_next(rows, &b) > 0 && b->count == 1;
    tpc_rows_close(rows);
    return found;
}

START_TEST(memory_that_is_short_now_and_then_loses_nothing_acknowledged)
{
    static struct waiter waiters[2000];
    static struct flaky x;
    struct fx f;
    fx_init(&f, 0, FX_FILE_LOG);
    memset(&x, 0, sizeof(x));
    x.base = (struct tpc_allocator){ .resize = flaky_resize, .user = &x };
    x.f = &f;
    x.seed = 20261120;
    f.o.allocator = &x.base;
    f.o.history_checkpoint_ms = 500;
    fx_run(&f);
    (void) fx_device(&f, "t1");
    x.on = true;
    feed_flaky(&f, &x, waiters, 2000);
    for (int i = 0; i < 20; i++) {
        (void) fx_step(&f);
        tk_clock_advance(&f.e.clock, 1000);
    }
    x.on = false;
    for (int i = 0; i < 20 && x.done < 2000; i++) {
        tk_ok(fx_step(&f));
        tk_clock_advance(&f.e.clock, 1000);
    }
    ck_assert_int_eq(x.done, 2000);
    tk_ok(fx_step(&f));
    for (int i = 0; i < 2000; i++) {
        ck_assert_msg(!x.acknowledged[i] || has_number(&f, i), "number %d was acknowledged", i);
    }
    printf("oom: short memory refused %d of 2000\n", x.refused);
    fx_fini(&f);
}
END_TEST

Suite *oom_suite(void)
{
    Suite *s = suite_create("oom");
    TCase *t = tcase_create("oom");
    tcase_add_test(t, every_allocation_of_a_life_in_memory_may_fail);
    tcase_add_test(t, every_allocation_of_a_life_with_a_file_log_may_fail);
    tcase_add_test(t, every_allocation_of_a_life_with_sqlite_may_fail);
    tcase_add_test(t, every_allocation_of_a_life_with_lua_may_fail);
    tcase_add_test(t, memory_that_is_short_now_and_then_loses_nothing_acknowledged);
    tcase_set_timeout(t, 240);
    suite_add_tcase(s, t);
    return s;
}
