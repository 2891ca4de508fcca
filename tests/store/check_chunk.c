#include "store_suites.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "history_suite.h"
#include "store/chunk.h"

static const struct tpc_value tree_items[] = { { .type = TPC_INT, .as = { .i = 1 } },
                                               { .type = TPC_NULL } };

static struct tpc_value make_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as = { .i = i } };
}

static struct tpc_value make_double(double d)
{
    return (struct tpc_value){ .type = TPC_DOUBLE, .as = { .d = d } };
}

static void put(struct tpi_buf *open, int64_t at, uint16_t property, struct tpc_value v)
{
    tk_ok(tpi_chunk_sample_put(open, &at, property, &v));
}

/* Encodes and empties `open`. */
static void encode(struct tpi_buf *open, struct tpi_buf *out, struct tpi_chunk_span *span)
{
    struct tpi_chunk_encoder e;
    tpi_chunk_encoder_init(&e, NULL);
    tpi_buf_clear(out);
    tk_ok(tpi_chunk_encode(&e, (struct tpc_bytes){ open->ptr, open->len }, 7, 9, out, span));
    tpi_chunk_encoder_fini(&e);
    tpi_buf_clear(open);
}

struct fixture {
    struct tpi_buf open;
    struct tpi_buf blob;
    struct tpi_chunk_span span;
    struct tpi_chunk_reader in;
    struct tpc_arena *arena;
    int64_t times[64];
    struct tpc_value values[64];
    uint8_t validity[8];
};

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    tpi_buf_init(&f->open, NULL, 0);
    tpi_buf_init(&f->blob, NULL, 0);
    tk_ok(tpc_arena_create(NULL, 0, &f->arena));
}

static void end(struct fixture *f)
{
    tpi_buf_fini(&f->open);
    tpi_buf_fini(&f->blob);
    tpc_arena_destroy(f->arena);
}

static void encode_and_open(struct fixture *f)
{
    encode(&f->open, &f->blob, &f->span);
    tk_ok(tpi_chunk_open(&f->in, (struct tpc_bytes){ f->blob.ptr, f->blob.len }, NULL));
    tk_ok(tpi_chunk_times(&f->in, NULL, f->times));
}

static struct tpi_chunk_column next_column(struct fixture *f)
{
    struct tpi_chunk_column c;
    ck_assert_int_eq(tpi_chunk_next(&f->in, NULL, &c), 1);
    memset(f->validity, 0, sizeof(f->validity));
    tk_ok(tpi_chunk_values(&c, f->span.rows, f->arena, NULL, f->values, f->validity));
    return c;
}

static void no_more(struct fixture *f)
{
    struct tpi_chunk_column c;
    ck_assert_int_eq(tpi_chunk_next(&f->in, NULL, &c), 0);
}

START_TEST(every_type_reads_back_as_it_was_put)
{
    static const char text[] = "warm";
    const struct tpc_value values[] = {
        { .type = TPC_NULL },
        { .type = TPC_BOOL, .as = { .b = true } },
        make_int(INT64_MIN),
        make_double(-0.5),
        { .type = TPC_TEXT, .len = 4, .as = { .text = text } },
        { .type = TPC_BLOB, .len = 3, .as = { .blob = (const uint8_t *) "\0\1\2" } },
        { .type = TPC_ARRAY, .len = 2, .as = { .items = tree_items } },
    };
    struct fixture f;
    begin(&f);
    for (uint16_t i = 0; i < 7; i++) {
        put(&f.open, 1000, (uint16_t) (i + 1), values[i]);
    }
    encode_and_open(&f);
    ck_assert_uint_eq(f.span.rows, 1);
    ck_assert_uint_eq(f.in.span.first_offset, 7);
    ck_assert_uint_eq(f.in.span.last_offset, 9);
    for (uint16_t i = 0; i < 7; i++) {
        struct tpi_chunk_column c = next_column(&f);
        ck_assert_uint_eq(c.property, i + 1);
        ck_assert_uint_eq(c.type, values[i].type);
        ck_assert_int_eq(f.validity[0], 1);
        ck_assert(tpc_value_equal(&f.values[0], &values[i]));
    }
    no_more(&f);
    end(&f);
}
END_TEST

START_TEST(last_of_equal_times_wins_and_times_are_sorted)
{
    struct fixture f;
    begin(&f);
    put(&f.open, 30, 1, make_int(1));
    put(&f.open, 10, 1, make_int(2));
    put(&f.open, 30, 1, make_int(3));
    put(&f.open, 20, 2, make_int(4));
    put(&f.open, -5, 1, make_int(5));
    encode_and_open(&f);
    ck_assert_uint_eq(f.span.rows, 4);
    ck_assert_int_eq(f.times[0], -5);
    ck_assert_int_eq(f.times[1], 10);
    ck_assert_int_eq(f.times[2], 20);
    ck_assert_int_eq(f.times[3], 30);
    struct tpi_chunk_column c = next_column(&f);
    ck_assert_uint_eq(c.count, 3);
    ck_assert_int_eq(f.validity[0], 0xB);
    ck_assert_int_eq(f.values[0].as.i, 5);
    ck_assert_int_eq(f.values[1].as.i, 2);
    ck_assert_int_eq(f.values[3].as.i, 3);
    ck_assert_double_eq(c.min, 2);
    ck_assert_double_eq(c.max, 5);
    ck_assert_double_eq(c.sum, 10);
    next_column(&f);
    ck_assert_int_eq(f.validity[0], 4);
    no_more(&f);
    end(&f);
}
END_TEST

START_TEST(value_of_another_type_replaces_the_one_before)
{
    struct fixture f;
    begin(&f);
    put(&f.open, 10, 1, make_int(1));
    put(&f.open, 20, 1, make_int(2));
    put(&f.open, 10, 1, make_double(1.5));
    encode_and_open(&f);
    struct tpi_chunk_column c = next_column(&f);
    ck_assert_uint_eq(c.type, TPC_INT);
    ck_assert_int_eq(f.validity[0], 2);
    c = next_column(&f);
    ck_assert_uint_eq(c.type, TPC_DOUBLE);
    ck_assert_int_eq(f.validity[0], 1);
    no_more(&f);
    end(&f);
}
END_TEST

START_TEST(statistics_leave_out_what_is_no_number)
{
    struct fixture f;
    begin(&f);
    put(&f.open, 1, 1, make_double(NAN));
    put(&f.open, 2, 1, make_double(4));
    put(&f.open, 3, 1, make_double(-1));
    for (int i = 0; i < 3; i++) {
        struct tpc_value v = { .type = TPC_BOOL, .as = { .b = i == 1 } };
        put(&f.open, i + 1, 2, v);
    }
    encode_and_open(&f);
    struct tpi_chunk_column c = next_column(&f);
    ck_assert_double_eq(c.min, -1);
    ck_assert_double_eq(c.max, 4);
    ck_assert_double_eq(c.sum, 3);
    ck_assert(isnan(f.values[0].as.d));
    c = next_column(&f);
    ck_assert_double_eq(c.sum, 1);
    ck_assert_double_eq(c.min, 0);
    end(&f);
}
END_TEST

START_TEST(typed_values_and_ends_agree_with_the_values)
{
    struct fixture f;
    int64_t ints[64];
    double doubles[64];
    begin(&f);
    for (int i = 0; i < 30; i++) {
        struct tpc_value flag = { .type = TPC_BOOL, .as = { .b = i % 4 == 1 } };
        put(&f.open, i, 1, make_int(i * i - 50));
        put(&f.open, i, 2, make_double(i / 7.0));
        if (i % 2 == 1) {
            put(&f.open, i, 3, flag);
        }
    }
    encode_and_open(&f);
    struct tpi_chunk_column c = next_column(&f);
    tk_ok(tpi_chunk_ints(&c, NULL, ints));
    tk_ok(tpi_chunk_doubles(&c, NULL, doubles));
    for (int i = 0; i < 30; i++) {
        ck_assert_int_eq(ints[i], i * i - 50);
        ck_assert_double_eq(doubles[i], i * i - 50);
    }
    ck_assert_int_eq(c.first.as.i, -50);
    ck_assert_int_eq(c.last.as.i, 29 * 29 - 50);
    c = next_column(&f);
    tk_fails(TPC_EINVAL, tpi_chunk_ints(&c, NULL, ints));
    tk_ok(tpi_chunk_doubles(&c, NULL, doubles));
    for (int i = 0; i < 30; i++) {
        ck_assert_double_eq(doubles[i], i / 7.0);
    }
    ck_assert_double_eq(c.first.as.d, 0);
    ck_assert_double_eq(c.last.as.d, 29 / 7.0);
    c = next_column(&f);
    ck_assert_uint_eq(c.count, 15);
    tk_ok(tpi_chunk_ints(&c, NULL, ints));
    for (int i = 0; i < 15; i++) {
        ck_assert_int_eq(ints[i], (2 * i + 1) % 4 == 1);
    }
    ck_assert_int_eq(c.first.type, TPC_BOOL);
    ck_assert(c.first.as.b && c.last.as.b);
    end(&f);
}
END_TEST

START_TEST(sample_that_cannot_be_kept_leaves_the_run_as_it_was)
{
    struct tpc_value deep[40];
    struct tpi_buf open;
    tpi_buf_init(&open, NULL, 0);
    put(&open, 1, 1, make_int(1));
    size_t len = open.len;
    deep[0] = make_int(1);
    for (int i = 1; i < 40; i++) {
        deep[i] =
            (struct tpc_value){ .type = TPC_ARRAY, .len = 1, .as = { .items = &deep[i - 1] } };
    }
    int64_t at = 2;
    tk_fails(TPC_EINVAL, tpi_chunk_sample_put(&open, &at, 1, &deep[39]));
    ck_assert_uint_eq(open.len, len);
    tk_ok(tpi_chunk_sample_put(&open, &at, 1, &deep[32]));
    open.len = len;
    deep[0].type = 99;
    tk_fails(TPC_EINVAL, tpi_chunk_sample_put(&open, &at, 1, &deep[0]));
    ck_assert_uint_eq(open.len, len);
    tpi_buf_fini(&open);
}
END_TEST

/* Reads all of a blob that may be damaged. */
static int read_all(struct tpc_bytes blob, struct tpc_arena *arena)
{
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    int rc = tpi_chunk_open(&in, blob, NULL);
    if (rc != 0) {
        return rc;
    }
    uint32_t rows = in.span.rows;
    int64_t *times = calloc(rows, sizeof(*times));
    struct tpc_value *values = calloc(rows, sizeof(*values));
    uint8_t *validity = calloc((rows + 7) / 8, 1);
    rc = tpi_chunk_times(&in, NULL, times);
    while (rc >= 0 && (rc = tpi_chunk_next(&in, NULL, &c)) == 1) {
        rc = tpi_chunk_values(&c, rows, arena, NULL, values, validity);
    }
    free(times);
    free(values);
    free(validity);
    return rc;
}

static void build_mixed(struct tpi_buf *open)
{
    uint64_t random = 99;
    for (int i = 0; i < 40; i++) {
        struct tpc_value text = { .type = TPC_TEXT, .len = 2, .as = { .text = "ab" } };
        struct tpc_value tree = { .type = TPC_ARRAY, .len = 2, .as = { .items = tree_items } };
        struct tpc_value flag = { .type = TPC_BOOL, .as = { .b = i % 3 == 0 } };
        put(open, 1000 + i * 10, 1, make_int((int64_t) history_random(&random) >> (i % 60)));
        put(open, 1000 + i * 10, 2, make_double((double) i / 3));
        put(open, 1000 + i * 10, 300, i % 2 == 0 ? flag : text);
        if (i % 5 == 0) {
            put(open, 1000 + i * 10, 4, tree);
        }
    }
}

START_TEST(cut_chunk_is_refused_at_every_length)
{
    struct fixture f;
    begin(&f);
    build_mixed(&f.open);
    encode_and_open(&f);
    ck_assert_int_eq(read_all((struct tpc_bytes){ f.blob.ptr, f.blob.len }, f.arena), 0);
    for (size_t len = 0; len < f.blob.len; len++) {
        uint8_t *copy = malloc(len + 1);
        memcpy(copy, f.blob.ptr, len);
        ck_assert_int_lt(read_all((struct tpc_bytes){ copy, len }, f.arena), 0);
        free(copy);
    }
    end(&f);
}
END_TEST

START_TEST(changed_bytes_never_read_outside_the_chunk)
{
    struct fixture f;
    uint64_t random = 4242;
    begin(&f);
    build_mixed(&f.open);
    encode_and_open(&f);
    for (int i = 0; i < 20000; i++) {
        uint8_t *copy = malloc(f.blob.len);
        memcpy(copy, f.blob.ptr, f.blob.len);
        for (uint64_t n = history_random(&random) % 3 + 1; n > 0; n--) {
            copy[history_random(&random) % f.blob.len] = (uint8_t) history_random(&random);
        }
        (void) read_all((struct tpc_bytes){ copy, f.blob.len }, f.arena);
        tpc_arena_reset(f.arena);
        free(copy);
    }
    end(&f);
}
END_TEST

START_TEST(newer_format_is_refused_by_number)
{
    const uint8_t newer[] = { 0xC7, 2, 1, 1, 0, 0, 0 };
    struct tpi_chunk_reader in;
    struct tpc_error err = { .size = sizeof(err) };
    tk_fails(TPC_EVERSION, tpi_chunk_open(&in, (struct tpc_bytes){ newer, 7 }, &err));
    ck_assert_ptr_ne(strstr(err.text, "format 2"), NULL);
    tk_fails(TPC_ECORRUPT, tpi_chunk_open(&in, (struct tpc_bytes){ newer + 1, 6 }, NULL));
}
END_TEST

/* The bytes of docs/format/history.md's example. */
START_TEST(bytes_are_those_of_the_document)
{
    static const uint8_t expected[] = {
        0xC7, 0x01, 0x02, 0x02, 0x07, 0x02, 0xD0, 0x0F, 0x0A, /* head */
        0x0A, 0x05, 0x0C, 0x28, 0x01, 0,    0,    0,    0,
        0,    0x80, 0x44, 0x40, 0x28, 0x02, /* 1: int */
        0x07, 0x02, 0x02, 0x02, 0x01,       /* 2: bool */
    };
    struct fixture f;
    begin(&f);
    put(&f.open, 1000, 1, make_int(20));
    put(&f.open, 1010, 1, make_int(21));
    put(&f.open, 1010, 2, (struct tpc_value){ .type = TPC_BOOL, .as = { .b = true } });
    encode_and_open(&f);
    ck_assert_uint_eq(f.blob.len, sizeof(expected));
    ck_assert_mem_eq(f.blob.ptr, expected, sizeof(expected));
    end(&f);
}
END_TEST

static int encode_with(const struct tpc_allocator *a, void *user)
{
    (void) user;
    struct tpi_buf open;
    struct tpi_buf out;
    struct tpi_chunk_encoder e;
    struct tpi_chunk_span span;
    int rc = 0;
    tpi_buf_init(&open, a, 0);
    tpi_buf_init(&out, a, 0);
    tpi_chunk_encoder_init(&e, a);
    for (int64_t i = 0; rc == 0 && i < 400; i++) {
        struct tpc_value v = i % 3 == 0 ? make_double((double) i) : make_int(i);
        int64_t at = i % 50;
        rc = tpi_chunk_sample_put(&open, &at, (uint16_t) (i % 70 + 1), &v);
    }
    if (rc == 0) {
        rc = tpi_chunk_encode(&e, (struct tpc_bytes){ open.ptr, open.len }, 0, 9, &out, &span);
    }
    tpi_chunk_encoder_fini(&e);
    tpi_buf_fini(&open);
    tpi_buf_fini(&out);
    return rc;
}

START_TEST(encoding_survives_every_failed_allocation)
{
    ck_assert_uint_gt(tk_each_alloc_fails(encode_with, NULL), 5);
}
END_TEST

Suite *chunk_suite(void)
{
    Suite *s = suite_create("chunk");
    TCase *c = tcase_create("chunk");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, every_type_reads_back_as_it_was_put);
    tcase_add_test(c, last_of_equal_times_wins_and_times_are_sorted);
    tcase_add_test(c, value_of_another_type_replaces_the_one_before);
    tcase_add_test(c, statistics_leave_out_what_is_no_number);
    tcase_add_test(c, typed_values_and_ends_agree_with_the_values);
    tcase_add_test(c, sample_that_cannot_be_kept_leaves_the_run_as_it_was);
    tcase_add_test(c, cut_chunk_is_refused_at_every_length);
    tcase_add_test(c, changed_bytes_never_read_outside_the_chunk);
    tcase_add_test(c, newer_format_is_refused_by_number);
    tcase_add_test(c, bytes_are_those_of_the_document);
    tcase_add_test(c, encoding_survives_every_failed_allocation);
    suite_add_tcase(s, c);
    return s;
}
