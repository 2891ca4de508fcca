/*
 * Property test: a log of random messages goes through the history stage with commits, failing
 * commits, crashes and replays at random points; what is read back must be what a plain table says.
 * A run is told by its seed (TP_SEED=n runs one alone, TP_RUNS=n that many).
 */
#include "history_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "store/chunk.h"
#include "store/history.h"
#include "tk_env.h"

enum { PARTITIONS = 3, DEVICES = 7, PROPERTIES = 5, MAX_POINTS = 5, RUNS = 12, STEPS = 120 };

static const int64_t t0 = INT64_C(1790000000000);

/* ---- an engine that fails on demand ---- */

struct shim {
    const struct tpc_history_ops *inner;
    void *self;
    int fail_in; /* calls until one fails; 0 = none */
};

static bool trip(struct shim *s)
{
    return s->fail_in > 0 && --s->fail_in == 0;
}

static int shim_begin(void *self, struct tpc_error *err)
{
    struct shim *s = self;
    return trip(s) ? TPC_EAGAIN : s->inner->begin(s->self, err);
}

static int shim_put_chunk(void *self, const struct tpc_chunk *c, struct tpc_error *err,
                          uint64_t *id)
{
    struct shim *s = self;
    return trip(s) ? TPC_ENOSPC : s->inner->put_chunk(s->self, c, err, id);
}

static int shim_put_marks(void *self, const struct tpc_mark *m, uint32_t count, size_t size,
                          struct tpc_error *err)
{
    struct shim *s = self;
    return trip(s) ? TPC_EIO : s->inner->put_marks(s->self, m, count, size, err);
}

static int shim_commit(void *self, struct tpc_error *err)
{
    struct shim *s = self;
    if (trip(s)) {
        s->inner->rollback(s->self);
        return TPC_EIO;
    }
    return s->inner->commit(s->self, err);
}

static void shim_rollback(void *self)
{
    struct shim *s = self;
    s->inner->rollback(s->self);
}

static int shim_scan(void *self, const struct tpc_scan *q, tpc_chunk_fn *fn, void *user)
{
    struct shim *s = self;
    return s->inner->scan(s->self, q, fn, user);
}

static int shim_marks(void *self, uint32_t type, tpc_mark_fn *fn, void *user)
{
    struct shim *s = self;
    return s->inner->marks(s->self, type, fn, user);
}

static int shim_delete(void *self, uint64_t device, int64_t unix_ms, uint64_t *count)
{
    struct shim *s = self;
    return s->inner->delete_before(s->self, device, unix_ms, count);
}

static const struct tpc_history_ops shim_ops = { .iface = TPC_IFACE(struct tpc_history_ops, 1),
                                                 .name = "shim",
                                                 .instance_size = sizeof(struct shim),
                                                 .shape = TPC_HISTORY_BLOB,
                                                 .begin = shim_begin,
                                                 .put_chunk = shim_put_chunk,
                                                 .put_marks = shim_put_marks,
                                                 .commit = shim_commit,
                                                 .rollback = shim_rollback,
                                                 .scan = shim_scan,
                                                 .marks = shim_marks,
                                                 .delete_before = shim_delete };

/* ---- the world ---- */

struct record {
    struct tpc_msg msg;
    struct tpc_point points[MAX_POINTS];
};

struct log {
    struct record *records;
    size_t count;
    size_t cap;
};

struct cell {
    int64_t unix_ms;
    uint64_t device;
    uint16_t property;
    struct tpc_value value;
};

struct world {
    const struct history_engine *engine;
    const struct tpc_value *cfg;
    uint64_t random;
    struct tk_env env;
    struct shim shim;
    struct tpi_history *history;
    struct tpi_history_limits limits;
    struct tpc_id log_id;
    struct log logs[PARTITIONS];
    struct tpi_map cells; /* (device, property, time) -> struct cell */
    bool unique_times;
    int64_t next_time;
    size_t values; /* points that the history must have taken */
    unsigned restarts;
    unsigned failures;
};

static uint64_t below(struct world *w, uint64_t n)
{
    return history_random(&w->random) % n;
}

static struct tpc_value text_value(const char *text)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = strlen(text), .as = { .text = text } };
}

static const struct tpc_value tree_items[] = { { .type = TPC_INT, .as = { .i = 7 } },
                                               { .type = TPC_BOOL, .as = { .b = true } } };

static struct tpc_value random_value(struct world *w, uint16_t property)
{
    static const char *const texts[] = { "", "on", "off", "a longer text, to fill chunks sooner",
                                         "\xc3\xa4" };
    switch (property == 5 ? below(w, 5) + 1 : property) {
    case 1:
        return (struct tpc_value){ .type = TPC_INT,
                                   .as = { .i = below(w, 9) == 0
                                                    ? (int64_t) history_random(&w->random)
                                                    : (int64_t) below(w, 100) - 50 } };
    case 2:
        return (struct tpc_value){ .type = TPC_DOUBLE,
                                   .as = { .d = (double) below(w, 1000) / 7.0 } };
    case 3:
        return (struct tpc_value){ .type = TPC_BOOL, .as = { .b = below(w, 2) == 1 } };
    case 4:
        return text_value(texts[below(w, 5)]);
    default:
        return below(w, 2) == 0 ? (struct tpc_value){ .type = TPC_NULL }
                                : (struct tpc_value){ .type = TPC_ARRAY,
                                                      .len = 2,
                                                      .as = { .items = tree_items } };
    }
}

static void open_history(struct world *w)
{
    w->shim = (struct shim){ .inner = w->engine->ops, .self = w->shim.self };
    tk_ok(tpi_history_create(&w->env.env, &shim_ops, &w->shim, &w->limits, PARTITIONS, NULL,
                             &w->history));
    tk_ok(tpi_history_start(w->history, &w->log_id, t0, false, NULL));
}

static int64_t random_time(struct world *w)
{
    if (w->unique_times) {
        return t0 + w->next_time++ + (int64_t) below(w, 1000) * 1000000;
    }
    if (below(w, 40) == 0) {
        static const int64_t odd[] = { 1, INT64_C(4102444800000), INT64_C(-62135596800000),
                                       INT64_MAX - 3, INT64_MIN + 1 };
        return odd[below(w, sizeof(odd) / sizeof(odd[0]))] + (int64_t) below(w, 3);
    }
    return t0 + (int64_t) below(w, 400);
}

/* ---- the plain table ---- */

struct cell_key {
    uint64_t device;
    int64_t unix_ms;
    uint64_t property;
};

static void remember(struct world *w, const struct tpc_msg *msg)
{
    for (uint32_t i = 0; i < msg->point_count; i++) {
        const struct tpc_point *p = &msg->points[i];
        if (p->property == 0) {
            continue;
        }
        struct cell *c = malloc(sizeof(*c));
        *c = (struct cell){ p->unix_ms != 0 ? p->unix_ms : msg->unix_ms, msg->device_id,
                            p->property, p->value };
        struct cell_key key = { c->device, c->unix_ms, c->property };
        void *old = NULL;
        tk_ok(tpi_map_put(&w->cells, &key, sizeof(key), c, &old));
        free(old);
    }
}

static int by_time(const void *a, const void *b)
{
    const struct cell *x = *(struct cell *const *) a;
    const struct cell *y = *(struct cell *const *) b;
    return x->unix_ms < y->unix_ms ? -1 : x->unix_ms > y->unix_ms;
}

/* Cells of a device in a range, in time order; the caller frees the array. */
static struct cell **expected(struct world *w, uint64_t device, const struct tpi_history_query *q,
                              const uint16_t *ids, size_t *ret_count)
{
    struct cell **list = malloc((tpi_map_count(&w->cells) + 1) * sizeof(*list));
    size_t iter = 0;
    size_t count = 0;
    void *value;
    while (tpi_map_next(&w->cells, &iter, NULL, &value)) {
        struct cell *c = value;
        bool asked = false;
        for (uint32_t i = 0; i < q->property_count; i++) {
            asked = asked || ids[i] == c->property;
        }
        if (asked && c->device == device && c->unix_ms >= q->from_unix_ms &&
            c->unix_ms < q->to_unix_ms) {
            list[count++] = c;
        }
    }
    qsort(list, count, sizeof(*list), by_time);
    *ret_count = count;
    return list;
}

/* ---- reading back ---- */

struct reading {
    struct tpi_history_rows *rows;
    const struct tpc_row_batch *batch;
    uint32_t row;
};

static bool next_row(struct reading *r)
{
    struct tpc_error err = { .size = sizeof(err) };
    if (r->batch != NULL && ++r->row < r->batch->count) {
        return true;
    }
    int rc = tpi_history_query_next(r->rows, &err, &r->batch);
    ck_assert_msg(rc >= 0, "%s: %s", tpc_error_name(rc), err.text);
    r->row = 0;
    ck_assert(rc == 0 || r->batch->count > 0);
    return rc == 1;
}

static void check_row(const struct reading *r, const struct tpi_history_query *q,
                      const uint16_t *ids, struct cell **cells, size_t count)
{
    const struct tpc_row_batch *b = r->batch;
    ck_assert_int_eq(b->unix_ms[r->row], cells[0]->unix_ms);
    ck_assert_uint_eq(b->column_count, q->property_count);
    for (uint32_t i = 0; i < q->property_count; i++) {
        const struct cell *c = NULL;
        for (size_t k = 0; k < count; k++) {
            c = cells[k]->property == ids[i] ? cells[k] : c;
        }
        struct tpc_value value;
        ck_assert_int_eq(tpc_column_value(&b->columns[i], r->row, &value), c != NULL);
        if (c != NULL) {
            ck_assert_msg(value.type == c->value.type && tpc_value_equal(&value, &c->value),
                          "device %llu property %u at %lld", (unsigned long long) c->device,
                          c->property, (long long) c->unix_ms);
        }
    }
}

static void check_device(struct world *w, struct reading *r, uint64_t device,
                         const struct tpi_history_query *q, const uint16_t *ids)
{
    size_t count;
    uint64_t rows = 0;
    struct cell **cells = expected(w, device, q, ids, &count);
    size_t at = q->descending ? count : 0;
    while ((q->limit == 0 || rows < q->limit) && (q->descending ? at > 0 : at < count)) {
        size_t first = q->descending ? at - 1 : at;
        size_t end = first + 1;
        while (q->descending && first > 0 && cells[first - 1]->unix_ms == cells[first]->unix_ms) {
            first--;
        }
        while (!q->descending && end < count && cells[end]->unix_ms == cells[first]->unix_ms) {
            end++;
        }
        ck_assert_msg(next_row(r), "rows end too soon");
        check_row(r, q, ids, cells + first, end - first);
        at = q->descending ? first : end;
        rows++;
    }
    free(cells);
}

static void check_query(struct world *w, bool whole)
{
    uint16_t ids[PROPERTIES] = { 1, 2, 3, 4, 5 };
    struct tpc_str keys[PROPERTIES] = { TPC_STR("a"), TPC_STR("b"), TPC_STR("c"), TPC_STR("d"),
                                        TPC_STR("e") };
    struct tpi_history_device devices[DEVICES];
    uint32_t skip = whole ? 0 : (uint32_t) below(w, PROPERTIES);
    struct tpi_history_query q = { .devices = devices,
                                   .property_count = PROPERTIES - skip,
                                   .properties = keys + skip,
                                   .from_unix_ms = INT64_MIN,
                                   .to_unix_ms = INT64_MAX,
                                   .descending = below(w, 2) == 1 };
    if (!whole && below(w, 3) > 0) {
        q.from_unix_ms = random_time(w) - 100;
        q.to_unix_ms = q.from_unix_ms + 1 + (int64_t) below(w, w->unique_times ? 300000000 : 200);
        q.limit = below(w, 2) * below(w, 30);
    }
    for (uint64_t d = 1; d <= DEVICES; d++) {
        if (whole || below(w, 2) == 0) {
            devices[q.device_count++] =
                (struct tpi_history_device){ d, TPC_STR("key"), ids + skip };
        }
    }
    if (q.device_count == 0) {
        return;
    }
    struct reading r = { .row = 0 };
    tk_ok(tpi_history_query_open(w->history, &q, NULL, &r.rows));
    for (uint32_t i = 0; i < q.device_count; i++) {
        check_device(w, &r, devices[i].id, &q, ids + skip);
    }
    ck_assert_msg(!next_row(&r), "more rows than expected");
    tpi_history_query_close(r.rows);
}

/* ---- steps ---- */

static void apply(struct world *w, uint32_t partition, struct record *rec)
{
    rec->msg.points = rec->points;
    for (int tries = 0;; tries++) {
        int rc = tpi_history_apply(w->history, &rec->msg, partition);
        if (rc == 0) {
            return;
        }
        ck_assert_int_eq(rc, TPC_EAGAIN);
        ck_assert_int_lt(tries, 3);
        w->shim.fail_in = 0;
        tk_ok(tpi_history_commit(w->history, false, NULL));
    }
}

static void append(struct world *w)
{
    uint64_t device = below(w, DEVICES) + 1;
    uint32_t partition = (uint32_t) (device % PARTITIONS);
    struct log *log = &w->logs[partition];
    if (log->count == log->cap) {
        log->cap = log->cap != 0 ? log->cap * 2 : 64;
        log->records = realloc(log->records, log->cap * sizeof(*log->records));
    }
    struct record *rec = &log->records[log->count];
    memset(rec, 0, sizeof(*rec));
    rec->msg.size = sizeof(rec->msg);
    rec->msg.kind = below(w, 10) == 0 ? TPC_MSG_EVENT : TPC_MSG_TELEMETRY;
    rec->msg.offset = log->count++ * 2 + 5; /* offsets may have holes */
    rec->msg.device_id = device;
    rec->msg.unix_ms = random_time(w);
    rec->msg.point_size = sizeof(struct tpc_point);
    rec->msg.point_count = (uint32_t) below(w, MAX_POINTS + 1);
    uint32_t usable = 0;
    for (uint32_t i = 0; i < rec->msg.point_count; i++) {
        struct tpc_point *p = &rec->points[i];
        p->property = (uint16_t) below(w, PROPERTIES + 1);
        p->unix_ms = w->unique_times || below(w, 3) == 0 ? random_time(w) : 0;
        p->value = random_value(w, p->property);
        usable += p->property != 0;
    }
    apply(w, partition, rec);
    if (rec->msg.kind == TPC_MSG_TELEMETRY) {
        remember(w, &rec->msg);
        w->values += usable;
    }
}

/* Some records at once, as the pump does. Returns how many. */
static size_t apply_run(struct world *w, uint32_t partition, size_t first)
{
    struct log *log = &w->logs[partition];
    struct tpc_msg msgs[80];
    uint32_t n = 0;
    uint32_t done = 0;
    uint64_t most = 1 + below(w, 80);
    for (; n < most && first + n < log->count; n++) {
        msgs[n] = log->records[first + n].msg;
        msgs[n].points = log->records[first + n].points;
    }
    for (uint32_t begin = 0; begin < n; begin += done) {
        int rc = tpi_history_apply_some(w->history, msgs + begin, n - begin, partition, &done);
        if (rc != 0) {
            ck_assert_int_eq(rc, TPC_EAGAIN);
            tk_ok(tpi_history_commit(w->history, false, NULL));
        }
    }
    return n;
}

/* The stage and, if it keeps its content, the engine end without a word; the log is replayed from
 * the watermark, sometimes with records given twice. */
static void crash(struct world *w)
{
    tpi_history_destroy(w->history);
    if (w->engine->persistent) {
        history_engine_close(w->engine->ops, w->shim.self);
        w->shim.self = history_engine_open(w->engine->ops, w->cfg);
    }
    open_history(w);
    w->restarts++;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct log *log = &w->logs[p];
        uint64_t from = tpi_history_watermark(w->history, p);
        for (size_t i = 0; i < log->count; i++) {
            struct record *rec = &log->records[i];
            ck_assert_uint_le(tpi_history_off_end(w->history, rec->msg.device_id),
                              tpi_history_max_offset(w->history, p) +
                                  (rec->msg.device_id % PARTITIONS == p ? 0 : UINT32_MAX));
            if (rec->msg.offset >= from && below(w, 4) == 0) {
                apply(w, p, rec);
                if (below(w, 5) == 0) {
                    apply(w, p, &log->records[below(w, i + 1)]);
                }
            } else if (rec->msg.offset >= from) {
                i += apply_run(w, p, i) - 1;
            }
        }
    }
}

static void step(struct world *w)
{
    uint64_t what = below(w, 100);
    if (what < 60) {
        for (uint64_t n = below(w, 40); n > 0; n--) {
            append(w);
        }
    } else if (what < 72) {
        tk_ok(tpi_history_commit(w->history, below(w, 3) == 0, NULL));
    } else if (what < 80) {
        w->shim.fail_in = (int) below(w, 8) + 1;
        w->failures += tpi_history_commit(w->history, below(w, 2) == 0, NULL) != 0;
        w->shim.fail_in = 0;
    } else if (what < 88) {
        tk_clock_advance(&w->env.clock, below(w, 80000));
        if (tpi_history_due(w->history)) {
            tk_ok(tpi_history_commit(w->history, false, NULL));
        }
    } else if (what < 94) {
        crash(w);
    } else {
        check_query(w, false);
    }
}

/* ---- nothing twice ---- */

static int count_values(void *user, const struct tpc_chunk *chunk)
{
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    tk_ok(tpi_chunk_open(&in, chunk->blob, NULL));
    ck_assert_int_eq(in.span.first_unix_ms, chunk->first_unix_ms);
    ck_assert_int_eq(in.span.last_unix_ms, chunk->last_unix_ms);
    ck_assert_uint_eq(in.span.rows, chunk->samples);
    while (tpi_chunk_next(&in, NULL, &c) == 1) {
        *(size_t *) user += c.count;
    }
    return 0;
}

static void check_stored_once(struct world *w)
{
    size_t values = 0;
    for (uint64_t d = 1; d <= DEVICES; d++) {
        struct tpc_scan q = { sizeof(q), 0, d, INT64_MIN, INT64_MAX };
        tk_ok(w->engine->ops->scan(w->shim.self, &q, count_values, &values));
    }
    ck_assert_uint_eq(values, w->values);
}

/* ---- runs ---- */

static void begin_world(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->engine = history_suite_engine();
    w->cfg = w->engine->fresh();
    w->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    tk_env_init(&w->env);
    memset(w->log_id.b, 0x11, sizeof(w->log_id.b));
    tpi_map_init(&w->cells, NULL);
    w->unique_times = below(w, 2) == 0;
    w->limits = (struct tpi_history_limits){
        .chunk_samples = 1 + (uint32_t) below(w, 20),
        .chunk_bytes = 60 + (uint32_t) below(w, 500),
        .open_bytes = below(w, 3) == 0 ? 8000 : 0,
        .chunk_span_ms = below(w, 2) == 0 ? 0 : 50 + below(w, 100000000),
        .checkpoint_records = below(w, 2) * 300,
    };
    w->shim.self = history_engine_open(w->engine->ops, w->cfg);
    open_history(w);
}

static void end_world(struct world *w)
{
    size_t iter = 0;
    void *value;
    tpi_history_destroy(w->history);
    history_engine_close(w->engine->ops, w->shim.self);
    while (tpi_map_next(&w->cells, &iter, NULL, &value)) {
        free(value);
    }
    tpi_map_fini(&w->cells);
    for (int i = 0; i < PARTITIONS; i++) {
        free(w->logs[i].records);
    }
    tk_env_fini(&w->env);
}

static unsigned long number_env(const char *name, unsigned long fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : fallback;
}

START_TEST(random_runs_read_back_as_a_plain_table)
{
    unsigned long first = number_env("TP_SEED", 1);
    unsigned long runs = number_env("TP_RUNS", getenv("TP_SEED") != NULL ? 1 : RUNS);
    unsigned restarts = 0;
    unsigned failures = 0;
    for (unsigned long seed = first; seed < first + runs; seed++) {
        static struct world w;
        begin_world(&w, seed);
        if (getenv("TP_VERBOSE") != NULL) {
            fprintf(stderr, "seed %lu\n", seed);
        }
        for (int i = 0; i < STEPS; i++) {
            step(&w);
        }
        check_query(&w, true);
        tk_ok(tpi_history_commit(w.history, true, NULL));
        check_query(&w, true);
        crash(&w);
        check_query(&w, true);
        if (w.unique_times) {
            check_stored_once(&w);
        }
        restarts += w.restarts;
        failures += w.failures;
        end_world(&w);
    }
    printf("history property test: seeds %lu..%lu, %u restarts, %u failed commits\n", first,
           first + runs - 1, restarts, failures);
}
END_TEST

Suite *history_property_suite(void)
{
    Suite *s = suite_create("history property");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, random_runs_read_back_as_a_plain_table);
    suite_add_tcase(s, c);
    return s;
}
