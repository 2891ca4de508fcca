/* Questions to the history: what is refused, what runs out of memory, what runs beside the writer. */
#include "store_suites.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history_suite.h"
#include "store/history.h"
#include "tk_env.h"

static const int64_t t0 = INT64_C(1790000000000);
static const struct tpc_id log_id = { { 0xaa, 1 } };

struct fixture {
    struct tk_env env;
    void *self;
    struct tpi_history *h;
    uint64_t offset;
};

static void begin(struct fixture *f, const struct tpi_history_limits *limits,
                  const struct tpc_allocator *alloc)
{
    memset(f, 0, sizeof(*f));
    tk_env_init(&f->env);
    if (alloc != NULL) {
        f->env.env.alloc = alloc;
    }
    f->self = history_engine_open(&tpi_memory_history, NULL);
    tk_ok(tpi_history_create(&f->env.env, &tpi_memory_history, f->self, limits, 1, NULL, &f->h));
    tk_ok(tpi_history_start(f->h, &log_id, 1000, false, NULL));
}

static void end(struct fixture *f)
{
    tpi_history_destroy(f->h);
    history_engine_close(&tpi_memory_history, f->self);
    tk_env_fini(&f->env);
}

static int say(struct fixture *f, int64_t at, uint16_t property, const struct tpc_value *value)
{
    struct tpc_point p = { .property = property, .value = *value };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .offset = f->offset++,
                         .device_id = 1,
                         .unix_ms = at,
                         .point_count = 1,
                         .point_size = sizeof(p),
                         .points = &p };
    return tpi_history_apply(f->h, &m, 0);
}

/* ---- refused ---- */

static const uint16_t ids[2] = { 1, 2 };
static const struct tpc_str keys[2] = { TPC_STR_INIT("temp"), TPC_STR_INIT("note") };
static const struct tpi_history_device device = { 1, TPC_STR_INIT("dev"), ids };

static struct tpi_history_query question(void)
{
    return (struct tpi_history_query){ .devices = &device,
                                       .device_count = 1,
                                       .property_count = 2,
                                       .properties = keys,
                                       .from_unix_ms = INT64_MIN,
                                       .to_unix_ms = INT64_MAX };
}

static void refused(struct fixture *f, const struct tpi_history_query *q, const char *word)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpi_history_rows *rows = NULL;
    tk_fails(TPC_EINVAL, tpi_history_query_open(f->h, q, &err, &rows));
    ck_assert_ptr_null(rows);
    ck_assert_msg(strstr(err.text, word) != NULL, "\"%s\" does not name %s", err.text, word);
}

START_TEST(bad_questions_are_refused_naming_what)
{
    struct fixture f;
    struct tpc_aggregate aggregates[2] = { { TPC_AGG_AVG, 0, 0 }, { 77, 0, 0 } };
    begin(&f, NULL, NULL);
    struct tpi_history_query q = question();
    q.aggregates = aggregates;
    q.aggregate_count = 2;
    refused(&f, &q, "aggregate 1: there is no kind 77");
    aggregates[1] = (struct tpc_aggregate){ TPC_AGG_PERCENTILE, 0, 100.5 };
    refused(&f, &q, "percent 100.5");
    aggregates[1].percent = 0.0 / 0.0;
    refused(&f, &q, "percent");
    aggregates[1].percent = 50;
    q.window_ms = UINT64_MAX;
    refused(&f, &q, "window_ms");
    q.window_ms = 0;
    q.aggregate_count = 40000;
    refused(&f, &q, "80000 columns");
    q.aggregate_count = 2;
    q.sample = TPC_SAMPLE_LTTB;
    q.sample_points = 10;
    refused(&f, &q, "downsampled");
    q.aggregate_count = 0;
    q.sample_points = 2;
    refused(&f, &q, "sample_points 2");
    q.sample_points = TPC_HISTORY_MAX_POINTS + 1;
    refused(&f, &q, "sample_points 100001");
    q.sample = 9;
    refused(&f, &q, "sample method 9");
    q.sample = 0;
    q.to_unix_ms = q.from_unix_ms;
    refused(&f, &q, "range");
    end(&f);
}
END_TEST

/* ---- windows at the ends of time ---- */

static void check_times(struct fixture *f, const struct tpi_history_query *q, const char *expected)
{
    struct tpi_history_rows *rows;
    const struct tpc_row_batch *b;
    char text[512] = "";
    tk_ok(tpi_history_query_open(f->h, q, NULL, &rows));
    while (tpi_history_query_next(rows, NULL, &b) == 1) {
        for (uint32_t i = 0; i < b->count; i++) {
            size_t len = strlen(text);
            snprintf(text + len, sizeof(text) - len, "%lld=%lld ", (long long) b->unix_ms[i],
                     (long long) b->columns[0].ints[i]);
        }
    }
    tpi_history_query_close(rows);
    ck_assert_str_eq(text, expected);
}

START_TEST(windows_are_cut_at_the_ends_of_time)
{
    static const struct tpc_aggregate count = { TPC_AGG_COUNT, 0, 0 };
    static const int64_t times[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 5, INT64_MAX - 1 };
    struct fixture f;
    struct tpc_value v = { .type = TPC_INT };
    begin(&f, NULL, NULL);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        tk_ok(say(&f, times[i], 1, &v));
    }
    struct tpi_history_query q = question();
    q.aggregates = &count;
    q.aggregate_count = 1;
    q.window_ms = 10;
    check_times(&f, &q, "-9223372036854775808=2 -10=1 0=2 9223372036854775800=1 ");
    q.origin_unix_ms = 5;
    check_times(&f, &q, "-9223372036854775808=2 -5=2 5=1 9223372036854775805=1 ");
    q.origin_unix_ms = INT64_MAX;
    q.window_ms = INT64_MAX;
    check_times(&f, &q, "-9223372036854775808=1 -9223372036854775807=2 0=3 ");
    q.descending = true;
    check_times(&f, &q, "0=3 -9223372036854775807=2 -9223372036854775808=1 ");
    end(&f);
}
END_TEST

/* ---- damaged chunks ---- */

START_TEST(a_damaged_chunk_is_an_error_that_names_the_device)
{
    static const struct tpc_aggregate avg = { TPC_AGG_AVG, 0, 0 };
    struct fixture f;
    struct tpc_chunk c = { .size = sizeof(c),
                           .device_id = 1,
                           .first_unix_ms = 5,
                           .last_unix_ms = 9,
                           .samples = 2,
                           .blob = { (const uint8_t *) "no chunk", 8 } };
    uint64_t id;
    begin(&f, NULL, NULL);
    tk_ok(tpi_memory_history.begin(f.self, NULL));
    tk_ok(tpi_memory_history.put_chunk(f.self, &c, NULL, &id));
    tk_ok(tpi_memory_history.commit(f.self, NULL));
    for (int kind = 0; kind < 3; kind++) {
        struct tpi_history_query q = question();
        struct tpc_error err = { .size = sizeof(err) };
        struct tpi_history_rows *rows;
        const struct tpc_row_batch *b;
        q.aggregates = &avg;
        q.aggregate_count = kind == 1;
        q.sample = kind == 2 ? TPC_SAMPLE_LTTB : 0;
        q.sample_points = 5;
        tk_ok(tpi_history_query_open(f.h, &q, NULL, &rows));
        tk_fails(TPC_ECORRUPT, tpi_history_query_next(rows, &err, &b));
        ck_assert_int_eq(err.code, TPC_ECORRUPT);
        ck_assert_uint_gt(strlen(err.text), 0);
        tpi_history_query_close(rows);
    }
    end(&f);
}
END_TEST

/* ---- memory ---- */

static struct fixture full;

static void fill(void)
{
    const struct tpi_history_limits limits = { .chunk_samples = 20 };
    begin(&full, &limits, tpc_allocator_default());
    for (int64_t i = 0; i < 400; i++) {
        struct tpc_value number = { .type = TPC_DOUBLE, .as = { .d = (double) i / 2 } };
        struct tpc_value text = { .type = TPC_TEXT, .len = 4, .as = { .text = "text" } };
        tk_ok(say(&full, t0 + (i % 50 == 7 ? i - 40 : i), 1, &number));
        if (i % 3 == 0) {
            tk_ok(say(&full, t0 + i, i % 2 == 0 ? 2 : 1, &text));
        }
        if (i == 300) {
            tk_ok(tpi_history_commit(full.h, true, NULL));
        }
    }
}

/* The stage's allocator is swapped for the query's: what the stage has stays where it is. */
static int ask_with(const struct tpc_allocator *a, void *user)
{
    const struct tpi_history_query *q = user;
    struct tpi_history_rows *rows = NULL;
    const struct tpc_row_batch *b;
    full.env.env.alloc = a;
    int rc = tpi_history_query_open(full.h, q, NULL, &rows);
    while (rc == 0 && (rc = tpi_history_query_next(rows, NULL, &b)) == 1) {
        rc = 0;
    }
    tpi_history_query_close(rows);
    full.env.env.alloc = tpc_allocator_default();
    return rc;
}

START_TEST(questions_that_run_out_of_memory_leave_nothing)
{
    static const struct tpc_aggregate all[] = {
        { TPC_AGG_COUNT, 0, 0 }, { TPC_AGG_FIRST, 0, 0 },       { TPC_AGG_LAST, 0, 0 },
        { TPC_AGG_AVG, 0, 0 },   { TPC_AGG_PERCENTILE, 0, 90 },
    };
    fill();
    struct tpi_history_query q = question();
    ck_assert_uint_gt(tk_each_alloc_fails(ask_with, &q), 10);
    q.descending = true;
    q.limit = 100;
    ck_assert_uint_gt(tk_each_alloc_fails(ask_with, &q), 10);
    q.aggregates = all;
    q.aggregate_count = 5;
    q.window_ms = 70;
    ck_assert_uint_gt(tk_each_alloc_fails(ask_with, &q), 10);
    q.aggregate_count = 0;
    q.sample = TPC_SAMPLE_LTTB;
    q.sample_points = 50;
    ck_assert_uint_gt(tk_each_alloc_fails(ask_with, &q), 10);
    q.sample = TPC_SAMPLE_AVERAGE;
    ck_assert_uint_gt(tk_each_alloc_fails(ask_with, &q), 10);
    end(&full);
}
END_TEST

/* ---- beside the writer ---- */

struct racing {
    struct fixture f;
    atomic_int written; /* samples of device 1 so far: time t0 + i, value i */
    atomic_int done;
};

static void *ask_on(void *user)
{
    static const struct tpc_aggregate aggregates[] = { { TPC_AGG_COUNT, 0, 0 },
                                                       { TPC_AGG_SUM, 0, 0 },
                                                       { TPC_AGG_LAST, 0, 0 },
                                                       { TPC_AGG_PERCENTILE, 0, 100 } };
    struct racing *r = user;
    const uint16_t id = 1;
    const struct tpc_str key = TPC_STR_INIT("key");
    const struct tpi_history_device d = { 1, TPC_STR_INIT("dev"), &id };
    for (uint32_t turn = 0; atomic_load(&r->done) == 0; turn++) {
        int64_t n = atomic_load(&r->written);
        struct tpi_history_query q = { .devices = &d,
                                       .device_count = 1,
                                       .property_count = 1,
                                       .properties = &key,
                                       .aggregates = aggregates,
                                       .aggregate_count = turn % 2 == 0 ? 3 : 4,
                                       .from_unix_ms = INT64_MIN,
                                       .to_unix_ms = t0 + n,
                                       .descending = turn % 4 > 1 };
        struct tpi_history_rows *rows;
        const struct tpc_row_batch *b;
        tk_ok(tpi_history_query_open(r->f.h, &q, NULL, &rows));
        int rc = tpi_history_query_next(rows, NULL, &b);
        ck_assert_int_eq(rc, n > 0);
        if (rc == 1) {
            ck_assert_int_eq(b->columns[0].ints[0], n);
            ck_assert(b->columns[1].doubles[0] == (double) (n - 1) * (double) n / 2);
            ck_assert_int_eq(b->columns[2].ints[0], n - 1);
            ck_assert(q.aggregate_count < 4 || b->columns[3].doubles[0] == (double) (n - 1));
        }
        tpi_history_query_close(rows);
    }
    return NULL;
}

START_TEST(aggregates_beside_the_pump_count_every_sample_once)
{
    const struct tpi_history_limits limits = { .chunk_samples = 13 };
    static struct racing r;
    pthread_t reader;
    memset(&r, 0, sizeof(r));
    begin(&r.f, &limits, tpc_allocator_default()); /* the kit's counts for one thread */
    pthread_create(&reader, NULL, ask_on, &r);
    for (int64_t i = 0; i < 4000; i++) {
        struct tpc_value v = { .type = TPC_INT, .as = { .i = i } };
        tk_ok(say(&r.f, t0 + i, 1, &v));
        atomic_store(&r.written, (int) i + 1);
        if (i % 25 == 24) {
            tk_ok(tpi_history_commit(r.f.h, i % 75 == 74, NULL));
        }
    }
    atomic_store(&r.done, 1);
    pthread_join(reader, NULL);
    end(&r.f);
}
END_TEST

Suite *read_suite(void)
{
    Suite *s = suite_create("read");
    TCase *c = tcase_create("read");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, bad_questions_are_refused_naming_what);
    tcase_add_test(c, windows_are_cut_at_the_ends_of_time);
    tcase_add_test(c, a_damaged_chunk_is_an_error_that_names_the_device);
    tcase_add_test(c, questions_that_run_out_of_memory_leave_nothing);
    tcase_add_test(c, aggregates_beside_the_pump_count_every_sample_once);
    suite_add_tcase(s, c);
    return s;
}
