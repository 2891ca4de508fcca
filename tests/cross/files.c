/*
 * A platform's files handed from machine to machine: cross_files DIR NUMBER. Reads what the writers
 * 0 to NUMBER - 1 left in DIR (the log from its oldest record, latest values, the history, which is
 * first brought up to date from the log of the machine before), then writes device NUMBER into the
 * log alone. The clock is in 2040: seconds do not fit 32 bits.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tpcore/ext/host.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

enum {
    SAMPLES = 300,
    WRITERS_MAX = 32,
    KEY_BYTES = 16,
    TEXT_BYTES = 512,
    STEP_MS = 20,
    STEPS = 3000
};

static const int64_t begin_ms = INT64_C(2208988800000);

_Static_assert(sizeof(time_t) >= 8, "64-bit time");

/* clang-format off */
static const char product[] = TPC_JSON({
    "key": "meter", "codec": "json",
    "model": { "properties": [
        { "id": "n", "type": "int" }, { "id": "x", "type": "double" },
        { "id": "on", "type": "bool" }, { "id": "s", "type": "text" } ] } });
/* clang-format on */

static const char *const keys[] = { "n", "x", "on", "s" };
enum { KEYS = 4 };

struct seen {
    uint32_t count[WRITERS_MAX]; /* points of a writer's device */
    uint32_t wrong;
};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "cross_files: %s: %s\n", what, tpc_error_last()->text);
        exit(1);
    }
}

static int64_t future_ms(void *user)
{
    (void) user;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return begin_ms + (int64_t) (t.tv_sec % 100000000) * 1000 + t.tv_nsec / 1000000;
}

static uint64_t steady_ns(void *user)
{
    (void) user;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static const struct tpc_clock future = { sizeof(future), NULL, future_ms, steady_ns, NULL };

/* Sample i of a writer: numbers that need all 64 bits, doubles that need all their digits. */
static int64_t int_of(uint32_t writer, uint32_t i)
{
    return INT64_C(-9007199254740000) + (int64_t) writer * 1000003 + i;
}

static double double_of(uint32_t writer, uint32_t i)
{
    return ((double) i - 150.0) / 3.0 + writer * 1e-9;
}

static int64_t time_of(uint32_t writer, uint32_t i)
{
    return begin_ms + (int64_t) writer * SAMPLES * 1000 + (int64_t) i * 1000;
}

static bool same(uint32_t writer, uint32_t i, uint32_t key, const struct tpc_value *v)
{
    char text[TEXT_BYTES];
    struct tpc_str t;
    snprintf(text, sizeof(text), "%" PRIu32 " µ %" PRIu32, writer, i);
    switch (key) {
    case 0:
        return v->type == TPC_INT && v->as.i == int_of(writer, i);
    case 1:
        return v->type == TPC_DOUBLE && v->as.d == double_of(writer, i);
    case 2:
        return v->type == TPC_BOOL && v->as.b == (i % 3 == 0);
    default:
        t = tpc_value_text(v);
        return t.len == strlen(text) && memcmp(t.ptr, text, t.len) == 0;
    }
}

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    (void) level;
    fprintf(stderr, "%s: %s\n", subject, text);
}

static struct tpc_core *open_core(const char *dir, const char *history)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[TEXT_BYTES];
    o.clock = &future;
    o.on_log = on_log;
    o.log_level = TPC_LOG_WARN;
    must(tpc_core_create(&o, &core) == 0, "create");
    must(tpc_core_add_module(core, tpc_module_sqlite()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s/log\"}", dir);
    must(tpc_core_open(core, "log", "file", tpc_str_from(text)) == 0, "log");
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"}", dir);
    must(tpc_core_open(core, "entities", "sqlite", tpc_str_from(text)) == 0, "entities");
    must(tpc_core_open(core, "history", history,
                       strcmp(history, "memory") == 0 ? TPC_STR("{}") : tpc_str_from(text)) == 0,
         "history");
    return core;
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct seen *seen = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        uint32_t writer = m->device.len > 1 ? (uint32_t) strtoul(m->device.ptr + 1, NULL, 10) : 0;
        if (m->kind != TPC_MSG_TELEMETRY || writer >= WRITERS_MAX) {
            continue;
        }
        int64_t n = (m->unix_ms - time_of(writer, 0)) / 1000;
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p =
                (const void *) ((const uint8_t *) m->points + k * m->point_size);
            bool good = false;
            for (uint32_t key = 0; key < KEYS; key++) {
                good |= same(writer, (uint32_t) n, key, &p->value);
            }
            seen->wrong += good ? 0 : 1;
            seen->count[writer]++;
        }
    }
    return 0;
}

/* The history has the samples of a writer; what is there has to be right. */
static bool history_is(struct tpc_core *core, uint32_t writer)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    const struct tpc_row_batch *b;
    struct tpc_str names[KEYS];
    struct tpc_device *d;
    struct tpc_rows *rows;
    char key[KEY_BYTES];
    uint32_t count = 0;
    snprintf(key, sizeof(key), "m%" PRIu32, writer);
    must(tpc_device_open(core, tpc_str_from(key), &d) == 0, key);
    for (uint32_t k = 0; k < KEYS; k++) {
        names[k] = tpc_str_from(keys[k]);
    }
    q.devices = &d;
    q.device_count = 1;
    q.properties = names;
    q.property_count = KEYS;
    must(tpc_history_query(core, &q, &rows) == 0, "history");
    while (tpc_rows_next(rows, &b) == 1) {
        for (uint32_t i = 0; i < b->count; i++, count++) {
            must(b->unix_ms[i] == time_of(writer, count), "time in the history");
            for (uint32_t k = 0; k < KEYS; k++) {
                struct tpc_value v;
                must(tpc_column_value(&b->columns[k], i, &v) == 1 && same(writer, count, k, &v),
                     "value in the history");
            }
        }
    }
    tpc_rows_close(rows);
    tpc_device_unref(d);
    return count == SAMPLES;
}

static void check_latest(struct tpc_core *core, uint32_t writer)
{
    struct tpc_buf buf;
    struct tpc_device *d;
    struct tpc_value v;
    char key[KEY_BYTES];
    uint8_t bytes[TEXT_BYTES];
    int64_t when;
    snprintf(key, sizeof(key), "m%" PRIu32, writer);
    must(tpc_device_open(core, tpc_str_from(key), &d) == 0, key);
    for (uint32_t k = 0; k < KEYS; k++) {
        buf = (struct tpc_buf){ .ptr = bytes, .cap = sizeof(bytes) };
        must(tpc_latest_get(d, tpc_str_from(keys[k]), &buf, &v, &when) == 0, "latest value");
        must(same(writer, SAMPLES - 1, k, &v) && when == time_of(writer, SAMPLES - 1),
             "latest value");
    }
    tpc_device_unref(d);
}

static bool all_seen(struct tpc_core *core, const struct seen *seen, uint32_t writers)
{
    for (uint32_t w = 0; w < writers; w++) {
        if (seen->count[w] < SAMPLES * KEYS || !history_is(core, w)) {
            return false;
        }
    }
    return true;
}

static void read_all(const char *dir, uint32_t writers)
{
    struct tpc_core *core = open_core(dir, "sqlite");
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct seen seen = { .wrong = 0 };
    struct tpc_sub *sub;
    char name[KEY_BYTES];
    bool done = false;
    snprintf(name, sizeof(name), "cross%" PRIu32, writers);
    o.name = tpc_str_from(name);
    o.filter = TPC_STR("+/up/#");
    o.flags = TPC_STREAM_SYSTEM;
    must(tpc_consume(core, &o, on_batch, &seen, &sub) == 0, "consume");
    must(tpc_core_start(core) == 0, "start");
    for (int i = 0; i < STEPS && !done; i++) {
        must(tpc_core_step(core, STEP_MS, NULL) >= 0, "step");
        done = all_seen(core, &seen, writers);
    }
    must(done, "all samples are in log and history");
    must(seen.wrong == 0, "values in the log");
    for (uint32_t w = 0; w < writers; w++) {
        must(seen.count[w] == SAMPLES * KEYS, "points in the log");
        check_latest(core, w);
    }
    tpc_unsubscribe(sub);
    must(tpc_core_destroy(core) == 0, "close");
}

static void on_done(void *user, int error)
{
    must(error == 0, "a message is in the log");
    ++*(uint32_t *) user;
}

static void write_one(const char *dir, uint32_t writer)
{
    struct tpc_core *core = open_core(dir, "memory");
    struct tpc_frame f = { .size = sizeof(f) };
    struct tpc_device *d;
    char text[TEXT_BYTES], key[KEY_BYTES];
    uint32_t settled = 0;
    snprintf(key, sizeof(key), "m%" PRIu32, writer);
    snprintf(text, sizeof(text), "{\"key\":\"%s\",\"product\":\"meter\"}", key);
    if (writer == 0) {
        must(tpc_entity_put(core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL) == 0,
             "product");
    }
    must(tpc_entity_put(core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL) == 0,
         "device");
    must(tpc_device_open(core, tpc_str_from(key), &d) == 0, key);
    must(tpc_core_start(core) == 0, "start");
    for (uint32_t i = 0; i < SAMPLES; i++) {
        int n = snprintf(
            text, sizeof(text),
            "{\"n\":%" PRId64 ",\"x\":%.17g,\"on\":%s,\"s\":\"%" PRIu32 " µ %" PRIu32 "\"}",
            int_of(writer, i), double_of(writer, i), i % 3 == 0 ? "true" : "false", writer, i);
        f.unix_ms = time_of(writer, i);
        f.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
        must(tpc_feed_frame(d, &f, on_done, &settled) == 0, "feed");
        must(tpc_core_step(core, 0, NULL) >= 0, "step");
    }
    for (int i = 0; i < STEPS && settled < SAMPLES; i++) {
        must(tpc_core_step(core, STEP_MS, NULL) >= 0, "step");
    }
    must(settled == SAMPLES, "everything is in the log");
    tpc_device_unref(d);
    must(tpc_core_destroy(core) == 0, "close");
}

int main(int argc, char **argv)
{
    uint32_t writer = argc == 3 ? (uint32_t) strtoul(argv[2], NULL, 10) : WRITERS_MAX;
    if (writer >= WRITERS_MAX) {
        fprintf(stderr, "usage: cross_files DIR NUMBER\n");
        return 2;
    }
    if (writer > 0) {
        read_all(argv[1], writer);
    }
    write_one(argv[1], writer);
    printf("%zu bytes of a pointer, %zu of time_t: read %" PRIu32
           " writers' files, wrote device %" PRIu32 "\n",
           sizeof(void *), sizeof(time_t), writer, writer);
    return 0;
}
