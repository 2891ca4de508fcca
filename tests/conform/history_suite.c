#include "history_suite.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

enum { PUTS_MAX = 128 };

static const struct history_engine *engine;
static struct tpc_error host_error;

void history_suite_use(const struct history_engine *used)
{
    engine = used;
}

const struct history_engine *history_suite_engine(void)
{
    return engine;
}

uint64_t history_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* ---- host ---- */

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    va_list args;
    (void) ctx;
    memset(&host_error, 0, sizeof(host_error));
    host_error.size = sizeof(host_error);
    host_error.code = code;
    va_start(args, fmt);
    vsnprintf(host_error.text, sizeof(host_error.text), fmt, args);
    va_end(args);
    return code;
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    (void) fmt;
}

static const char *host_name(void *ctx)
{
    (void) ctx;
    return "store";
}

static void host_count(void *ctx, const char *metric, uint64_t n)
{
    (void) ctx;
    (void) metric;
    (void) n;
}

const struct tpc_host *history_host(void)
{
    static struct tpc_host host;
    host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                              .allocator = tpc_allocator_default(),
                              .clock = tpi_clock_system(),
                              .random = tpi_random_system(),
                              .files = tpi_files_system(),
                              .fail = host_fail,
                              .log = host_log,
                              .name = host_name,
                              .count = host_count };
    return &host;
}

const struct tpc_error *history_host_error(void)
{
    return &host_error;
}

void *history_engine_open(const struct tpc_history_ops *ops, const struct tpc_value *cfg)
{
    void *self = calloc(1, ops->instance_size);
    int rc = ops->init(self, history_host(), NULL, cfg);
    ck_assert_msg(rc == 0, "init: %s: %s", tpc_error_name(rc), host_error.text);
    return self;
}

void history_engine_close(const struct tpc_history_ops *ops, void *self)
{
    ops->fini(self);
    free(self);
}

/* ---- helpers ---- */

struct fixture {
    const struct tpc_history_ops *ops;
    const struct tpc_value *cfg;
    void *self;
    uint32_t put_count;
    struct span { /* of every chunk that was put: what overlaps is told by them */
        uint64_t device;
        uint64_t id;
        int64_t last;
    } puts[PUTS_MAX];
};

static struct fixture open_fresh(void)
{
    struct fixture f = { .ops = engine->ops, .cfg = engine->fresh() };
    f.self = history_engine_open(f.ops, f.cfg);
    return f;
}

static void close_fixture(struct fixture *f)
{
    history_engine_close(f->ops, f->self);
}

/* Does nothing for an engine that keeps nothing. */
static bool reopen(struct fixture *f)
{
    if (!engine->persistent) {
        return false;
    }
    history_engine_close(f->ops, f->self);
    f->self = history_engine_open(f->ops, f->cfg);
    return true;
}

static uint64_t put(struct fixture *f, uint64_t id, uint64_t device, int64_t first, int64_t last,
                    const char *blob)
{
    struct tpc_chunk c = { .size = sizeof(c),
                           .flags = id == 0 ? TPC_CHUNK_PROVISIONAL : 0,
                           .id = id,
                           .device_id = device,
                           .first_unix_ms = first,
                           .last_unix_ms = last,
                           .samples = 3,
                           .blob = { (const uint8_t *) blob, strlen(blob) } };
    uint64_t made = 0;
    for (uint32_t i = 0; i < f->put_count && i < PUTS_MAX; i++) {
        if (f->puts[i].device == device && f->puts[i].id != id && f->puts[i].last >= first &&
            (id == 0 || f->puts[i].id < id)) {
            c.flags |= TPC_CHUNK_OVERLAP;
        }
    }
    tk_ok(f->ops->put_chunk(f->self, &c, NULL, &made));
    ck_assert_uint_ne(made, 0);
    f->puts[f->put_count++ % PUTS_MAX] = (struct span){ device, made, last };
    return made;
}

struct seen {
    char text[512];
    int count;
    int stop_at;
};

static int see_chunk(void *user, const struct tpc_chunk *c)
{
    struct seen *s = user;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof(s->text) - len, "%.*s%s ", (int) c->blob.len,
             (const char *) c->blob.ptr, (c->flags & TPC_CHUNK_PROVISIONAL) != 0 ? "?" : "");
    ck_assert_uint_eq(c->samples, 3);
    return ++s->count == s->stop_at ? 7 : 0;
}

static void check_scan(struct fixture *f, uint64_t device, int64_t from, int64_t to,
                       bool descending, const char *expected)
{
    struct tpc_scan q = { .size = sizeof(q),
                          .descending = descending,
                          .device_id = device,
                          .from_unix_ms = from,
                          .to_unix_ms = to };
    struct seen s = { .count = 0 };
    tk_ok(f->ops->scan(f->self, &q, see_chunk, &s));
    ck_assert_str_eq(s.text, expected);
}

static int see_mark(void *user, const struct tpc_mark *m)
{
    struct seen *s = user;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof(s->text) - len, "%u/%llu=%llu:%.*s ", m->type,
             (unsigned long long) m->key, (unsigned long long) m->value, (int) m->text.len,
             m->text.ptr != NULL ? m->text.ptr : "");
    s->count++;
    return 0;
}

static void put_mark(struct fixture *f, uint32_t type, uint64_t key, uint64_t value,
                     const char *text)
{
    struct tpc_mark m = {
        .size = sizeof(m), .type = type, .key = key, .value = value, .text = tpc_str_from(text)
    };
    tk_ok(f->ops->put_marks(f->self, &m, 1, sizeof(m), NULL));
}

static void check_mark(struct fixture *f, uint32_t type, const char *expected)
{
    struct seen s = { .count = 0 };
    tk_ok(f->ops->marks(f->self, type, see_mark, &s));
    ck_assert_str_eq(s.text, expected);
}

/* ---- chunks ---- */

START_TEST(chunks_come_by_begin_and_newest_first_by_end)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, 100, 900, "long");
    put(&f, 0, 1, 300, 400, "b");
    put(&f, 0, 1, -50, 10, "a");
    put(&f, 0, 2, 300, 400, "other");
    put(&f, 0, 1, 500, 600, "c");
    tk_ok(f.ops->commit(f.self, NULL));
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "a? long? b? c? ");
    check_scan(&f, 1, INT64_MIN, INT64_MAX, true, "long? c? b? a? ");
    check_scan(&f, 2, INT64_MIN, INT64_MAX, false, "other? ");
    check_scan(&f, 3, INT64_MIN, INT64_MAX, false, "");
    close_fixture(&f);
}
END_TEST

START_TEST(range_takes_chunks_that_touch_it)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, 100, 199, "a");
    put(&f, 0, 1, 200, 299, "b");
    put(&f, 0, 1, 300, 399, "c");
    tk_ok(f.ops->commit(f.self, NULL));
    check_scan(&f, 1, 199, 200, false, "a? ");
    check_scan(&f, 1, 200, 300, false, "b? ");
    check_scan(&f, 1, 199, 301, true, "c? b? a? ");
    check_scan(&f, 1, 400, INT64_MAX, false, "");
    check_scan(&f, 1, INT64_MIN, 100, true, "");
    close_fixture(&f);
}
END_TEST

START_TEST(chunk_of_a_wide_range_is_found_from_its_middle)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, INT64_C(-4000000000000), INT64_C(4000000000000), "wide");
    tk_ok(f.ops->commit(f.self, NULL));
    tk_ok(f.ops->begin(f.self, NULL));
    for (int64_t i = 0; i < 50; i++) {
        put(&f, 0, 1, i * 10, i * 10 + 9, "s");
    }
    tk_ok(f.ops->commit(f.self, NULL));
    check_scan(&f, 1, 490, 500, false, "wide? s? ");
    check_scan(&f, 1, 490, 500, true, "wide? s? ");
    if (reopen(&f)) {
        check_scan(&f, 1, 490, 500, false, "wide? s? ");
    }
    close_fixture(&f);
}
END_TEST

START_TEST(provisional_chunk_is_replaced_in_its_place)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    uint64_t a = put(&f, 0, 1, 100, 110, "first");
    uint64_t b = put(&f, 0, 1, 120, 130, "next");
    ck_assert_uint_gt(b, a);
    tk_ok(f.ops->commit(f.self, NULL));
    tk_ok(f.ops->begin(f.self, NULL));
    ck_assert_uint_eq(put(&f, a, 1, 90, 115, "full"), a);
    tk_ok(f.ops->commit(f.self, NULL));
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "full next? ");
    check_scan(&f, 1, 90, 95, false, "full ");
    if (reopen(&f)) {
        check_scan(&f, 1, INT64_MIN, INT64_MAX, true, "next? full ");
        tk_ok(f.ops->begin(f.self, NULL));
        ck_assert_uint_gt(put(&f, 0, 1, 140, 150, "later"), b);
        tk_ok(f.ops->commit(f.self, NULL));
    }
    close_fixture(&f);
}
END_TEST

START_TEST(replacing_a_chunk_that_was_deleted_makes_it_again)
{
    struct fixture f = open_fresh();
    uint64_t gone = 0;
    tk_ok(f.ops->begin(f.self, NULL));
    uint64_t id = put(&f, 0, 1, 100, 110, "old");
    tk_ok(f.ops->commit(f.self, NULL));
    tk_ok(f.ops->delete_before(f.self, 0, 1000, &gone));
    ck_assert_uint_eq(gone, 1);
    tk_ok(f.ops->begin(f.self, NULL));
    ck_assert_uint_ne(put(&f, 0, 2, 100, 110, "foreign"), id);
    ck_assert_uint_eq(put(&f, id, 1, 100, 2000, "again"), id);
    tk_ok(f.ops->commit(f.self, NULL));
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "again ");
    check_scan(&f, 2, INT64_MIN, INT64_MAX, false, "foreign? ");
    close_fixture(&f);
}
END_TEST

START_TEST(callback_ends_a_scan_with_its_own_code)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, 1, 2, "a");
    put(&f, 0, 1, 3, 4, "b");
    put(&f, 0, 1, 5, 6, "c");
    tk_ok(f.ops->commit(f.self, NULL));
    struct tpc_scan q = { sizeof(q), 0, 1, INT64_MIN, INT64_MAX };
    struct seen s = { .stop_at = 2 };
    ck_assert_int_eq(f.ops->scan(f.self, &q, see_chunk, &s), 7);
    ck_assert_str_eq(s.text, "a? b? ");
    close_fixture(&f);
}
END_TEST

START_TEST(rollback_leaves_no_trace)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    uint64_t id = put(&f, 0, 1, 1, 2, "a");
    put_mark(&f, TPC_MARK_WATERMARK, 0, 5, "6");
    tk_ok(f.ops->commit(f.self, NULL));
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, id, 1, 1, 9, "A");
    put(&f, 0, 1, 3, 4, "b");
    put_mark(&f, TPC_MARK_WATERMARK, 0, 50, "60");
    put_mark(&f, TPC_MARK_OFF_END, 77, 50, "");
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "a? ");
    check_mark(&f, TPC_MARK_WATERMARK, "1/0=5:6 ");
    f.ops->rollback(f.self);
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "a? ");
    check_mark(&f, TPC_MARK_WATERMARK, "1/0=5:6 ");
    check_mark(&f, TPC_MARK_OFF_END, "");
    if (reopen(&f)) {
        check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "a? ");
        check_mark(&f, TPC_MARK_WATERMARK, "1/0=5:6 ");
    }
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, 3, 4, "c");
    tk_ok(f.ops->commit(f.self, NULL));
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "a? c? ");
    close_fixture(&f);
}
END_TEST

START_TEST(open_transaction_is_not_seen_and_not_kept)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, 1, 2, "a");
    tk_fails(TPC_ESTATE, f.ops->begin(f.self, NULL));
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "");
    if (reopen(&f)) {
        check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "");
    }
    close_fixture(&f);
}
END_TEST

/* ---- marks ---- */

START_TEST(marks_are_kept_by_type_and_key_and_replaced)
{
    struct fixture f = open_fresh();
    tk_ok(f.ops->begin(f.self, NULL));
    put_mark(&f, TPC_MARK_WATERMARK, 0, 10, "12");
    put_mark(&f, TPC_MARK_OFF_END, UINT64_MAX - 1, UINT64_MAX - 2, "3");
    put_mark(&f, TPC_MARK_LOG, 0, 1700000000000, "0123456789abcdef0123456789abcdef");
    put_mark(&f, TPC_MARK_PROPERTY, 65537, 0, "{\"key\":\"temp\",\"type\":\"double\"}");
    put_mark(&f, TPC_MARK_WATERMARK, 0, 11, "13");
    tk_ok(f.ops->commit(f.self, NULL));
    for (int i = 0; i < 2; i++) {
        check_mark(&f, TPC_MARK_WATERMARK, "1/0=11:13 ");
        check_mark(&f, TPC_MARK_OFF_END, "2/18446744073709551614=18446744073709551613:3 ");
        check_mark(&f, TPC_MARK_LOG, "3/0=1700000000000:0123456789abcdef0123456789abcdef ");
        check_mark(&f, TPC_MARK_PROPERTY, "4/65537=0:{\"key\":\"temp\",\"type\":\"double\"} ");
        (void) reopen(&f);
    }
    close_fixture(&f);
}
END_TEST

static int see_data(void *user, const struct tpc_mark *m)
{
    struct seen *s = user;
    snprintf(s->text, sizeof(s->text), "%zu:", m->data.len);
    for (size_t i = 0; i < m->data.len; i++) {
        size_t len = strlen(s->text);
        snprintf(s->text + len, sizeof(s->text) - len, "%02x", m->data.ptr[i]);
    }
    return 0;
}

START_TEST(a_mark_keeps_bytes_and_one_of_an_older_caller_has_none)
{
    static const uint8_t bytes[] = { 0, 255, 0, 1 };
    static const char *const expected[] = { "4:00ff0001", "1:00", "0:", "0:" };
    for (int i = 0; i < 4; i++) {
        struct fixture f = open_fresh();
        struct tpc_mark m = { .size = sizeof(m),
                              .type = TPC_MARK_OFF_END,
                              .key = 7,
                              .value = 1,
                              .text = TPC_STR("3"),
                              .data = { bytes, i == 0 ? 4 : (i == 1 ? 1 : 0) } };
        size_t size = i == 3 ? offsetof(struct tpc_mark, data) : sizeof(m);
        struct seen s = { 0 };
        tk_ok(f.ops->begin(f.self, NULL));
        for (int round = 0; round < 2; round++) {
            m.size = (uint32_t) (round == 0 ? sizeof(m) : size);
            tk_ok(f.ops->put_marks(f.self, &m, 1, m.size, NULL));
        }
        tk_ok(f.ops->commit(f.self, NULL));
        (void) reopen(&f);
        tk_ok(f.ops->marks(f.self, TPC_MARK_OFF_END, see_data, &s));
        ck_assert(s.text[0] == 0 || strcmp(s.text, expected[i]) == 0);
        close_fixture(&f);
    }
}
END_TEST

/* ---- deletion ---- */

START_TEST(deletion_takes_whole_chunks_older_than_a_time)
{
    struct fixture f = open_fresh();
    uint64_t gone = 9;
    tk_ok(f.ops->begin(f.self, NULL));
    put(&f, 0, 1, 100, 199, "a");
    put(&f, 0, 1, 150, 250, "b");
    put(&f, 0, 2, 100, 199, "c");
    tk_ok(f.ops->commit(f.self, NULL));
    tk_ok(f.ops->delete_before(f.self, 1, 199, &gone));
    ck_assert_uint_eq(gone, 0);
    tk_ok(f.ops->delete_before(f.self, 1, 200, &gone));
    ck_assert_uint_eq(gone, 1);
    check_scan(&f, 1, INT64_MIN, INT64_MAX, false, "b? ");
    check_scan(&f, 2, INT64_MIN, INT64_MAX, false, "c? ");
    tk_ok(f.ops->delete_before(f.self, 0, INT64_MAX, &gone));
    ck_assert_uint_eq(gone, 2);
    close_fixture(&f);
}
END_TEST

START_TEST(deleting_goes_on_until_nothing_is_left_and_gives_space_back)
{
    struct fixture f = open_fresh();
    uint64_t gone = 1;
    uint64_t total = 0;
    uint64_t bytes = 0;
    tk_ok(f.ops->begin(f.self, NULL));
    for (int i = 0; i < 9000; i++) {
        struct tpc_chunk c = { .size = sizeof(c),
                               .device_id = (uint64_t) (i % 2 + 1),
                               .first_unix_ms = i * 10,
                               .last_unix_ms = i * 10 + 9,
                               .samples = 3,
                               .blob = { (const uint8_t *) "0123456789012345678901234567890",
                                         31 } };
        uint64_t id;
        tk_ok(f.ops->put_chunk(f.self, &c, NULL, &id));
    }
    tk_ok(f.ops->commit(f.self, NULL));
    tk_ok(f.ops->begin(f.self, NULL)); /* deleting may be a part of a transaction, too */
    tk_ok(f.ops->delete_before(f.self, 2, 100, &gone));
    ck_assert_uint_eq(gone, 5);
    tk_ok(f.ops->commit(f.self, NULL));
    while (gone > 0) {
        tk_ok(f.ops->delete_before(f.self, 0, 89995, &gone));
        total += gone;
    }
    ck_assert_uint_eq(total, 8994);
    check_scan(&f, 2, INT64_MIN, INT64_MAX, false, "0123456789012345678901234567890 ");
    gone = 0;
    while (f.ops->give_back != NULL && (bytes == 0 || gone > 0)) {
        tk_ok(f.ops->give_back(f.self, 65536, &gone));
        ck_assert_uint_le(gone, 65536);
        ck_assert(bytes > 0 || gone > 0);
        bytes += gone;
    }
    close_fixture(&f);
}
END_TEST

/* ---- threads ---- */

struct racing {
    struct fixture *f;
    atomic_bool end;
    atomic_int rounds;
};

static int count_chunk(void *user, const struct tpc_chunk *c)
{
    ck_assert_uint_eq(c->blob.len, 64);
    for (size_t i = 1; i < c->blob.len; i++) {
        ck_assert_uint_eq(c->blob.ptr[i], c->blob.ptr[0]);
    }
    ++*(int *) user;
    return 0;
}

static void *race_reader(void *user)
{
    struct racing *r = user;
    int before = 0;
    while (!atomic_load(&r->end)) {
        struct tpc_scan q = { sizeof(q), 0, 1, INT64_MIN, INT64_MAX };
        int count = 0;
        tk_ok(r->f->ops->scan(r->f->self, &q, count_chunk, &count));
        ck_assert_int_eq(count % 4, 0);
        ck_assert_int_ge(count, before);
        before = count;
        atomic_fetch_add(&r->rounds, 1);
    }
    return NULL;
}

START_TEST(readers_see_whole_transactions_only)
{
    struct fixture f = open_fresh();
    struct racing r = { .f = &f };
    pthread_t readers[2];
    char blob[65];
    uint64_t ids[4] = { 0 };
    for (int i = 0; i < 2; i++) {
        pthread_create(&readers[i], NULL, race_reader, &r);
    }
    for (int round = 0; round < 60 || (atomic_load(&r.rounds) < 20 && round < 5000); round++) {
        tk_ok(f.ops->begin(f.self, NULL));
        memset(blob, 'a' + round % 26, 64);
        blob[64] = '\0';
        for (int i = 0; i < 4; i++) {
            ids[i] = put(&f, round % 3 == 0 ? 0 : ids[i], 1, round * 10 + i, round * 10 + 20, blob);
        }
        tk_ok(f.ops->commit(f.self, NULL));
    }
    atomic_store(&r.end, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i], NULL);
    }
    close_fixture(&f);
}
END_TEST

Suite *history_engine_suite(void)
{
    Suite *s = suite_create("history engine");
    TCase *c = tcase_create(engine->name);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, chunks_come_by_begin_and_newest_first_by_end);
    tcase_add_test(c, range_takes_chunks_that_touch_it);
    tcase_add_test(c, chunk_of_a_wide_range_is_found_from_its_middle);
    tcase_add_test(c, provisional_chunk_is_replaced_in_its_place);
    tcase_add_test(c, replacing_a_chunk_that_was_deleted_makes_it_again);
    tcase_add_test(c, callback_ends_a_scan_with_its_own_code);
    tcase_add_test(c, rollback_leaves_no_trace);
    tcase_add_test(c, open_transaction_is_not_seen_and_not_kept);
    tcase_add_test(c, marks_are_kept_by_type_and_key_and_replaced);
    tcase_add_test(c, a_mark_keeps_bytes_and_one_of_an_older_caller_has_none);
    tcase_add_test(c, deletion_takes_whole_chunks_older_than_a_time);
    tcase_add_test(c, deleting_goes_on_until_nothing_is_left_and_gives_space_back);
    tcase_add_test(c, readers_see_whole_transactions_only);
    suite_add_tcase(s, c);
    return s;
}
