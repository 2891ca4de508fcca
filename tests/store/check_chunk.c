#include "store_suites.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
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
    struct tpi_chunk_reader ahead = in;
    (void) tpi_chunk_seek(&ahead, 90, NULL);
    uint32_t rows = in.span.rows;
    int64_t *times = calloc(rows, sizeof(*times));
    struct tpc_value *values = calloc(rows, sizeof(*values));
    uint8_t *validity = calloc((rows + 7) / 8, 1);
    double *doubles = calloc(rows, sizeof(*doubles));
    rc = tpi_chunk_times(&in, NULL, times);
    while (rc >= 0 && (rc = tpi_chunk_next(&in, NULL, &c)) == 1) {
        (void) tpi_chunk_ints(&c, NULL, times);
        (void) tpi_chunk_doubles(&c, NULL, doubles);
        rc = tpi_chunk_values(&c, rows, arena, NULL, values, validity);
    }
    free(doubles);
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

START_TEST(each_changed_byte_is_found)
{
    struct fixture f;
    begin(&f);
    build_mixed(&f.open);
    encode_and_open(&f);
    for (size_t i = 0; i < f.blob.len; i++) {
        for (int x = 1; x < 256; x++) {
            f.blob.ptr[i] ^= (uint8_t) x;
            struct tpi_chunk_reader in;
            int rc = tpi_chunk_open(&in, (struct tpc_bytes){ f.blob.ptr, f.blob.len }, NULL);
            ck_assert(rc == TPC_ECORRUPT || rc == TPC_EVERSION);
            f.blob.ptr[i] ^= (uint8_t) x;
        }
    }
    end(&f);
}
END_TEST

/* As one who wants harm would: the CRC is that of the changed bytes. */
static void seal(uint8_t *chunk, size_t len)
{
    tpi_put_u32(chunk + 2, tpi_crc32c(tpi_crc32c(0, chunk, 2), chunk + 6, len - 6));
}

static void build_wide(struct tpi_buf *open)
{
    static const char *const words[] = { "on", "off", "standby" };
    for (int i = 0; i < 20; i++) {
        for (uint16_t k = 1; k <= 100; k++) {
            const char *word = words[(i + k) % 3];
            struct tpc_value text = { .type = TPC_TEXT, .len = strlen(word), .as.text = word };
            bool odd = (i + k) % 17 == 0;
            put(open, i * 1000, k,
                k % 3 == 0 ? text : make_double(odd ? NAN : (double) (i * k) / 10));
        }
    }
}

START_TEST(hostile_bytes_never_read_outside_the_chunk)
{
    struct fixture f;
    uint64_t random = 77;
    begin(&f);
    for (int round = 0; round < 2; round++) {
        round == 0 ? build_mixed(&f.open) : build_wide(&f.open);
        encode_and_open(&f);
        for (int i = 0; i < 20000; i++) {
            uint8_t *copy = malloc(f.blob.len);
            memcpy(copy, f.blob.ptr, f.blob.len);
            for (uint64_t n = history_random(&random) % 3 + 1; n > 0; n--) {
                uint64_t at = 6 + history_random(&random) % (f.blob.len - 6);
                copy[at] = (uint8_t) (history_random(&random) >> 7);
            }
            seal(copy, f.blob.len);
            (void) read_all((struct tpc_bytes){ copy, f.blob.len }, f.arena);
            tpc_arena_reset(f.arena);
            free(copy);
        }
    }
    end(&f);
}
END_TEST

START_TEST(one_property_of_many_is_found_without_the_others)
{
    struct fixture f;
    begin(&f);
    for (uint16_t k = 2; k <= 2000; k = (uint16_t) (k + 2)) {
        put(&f.open, 5, k, make_int(k));
        put(&f.open, 9, k, make_int(k + 1));
    }
    encode_and_open(&f);
    for (uint16_t k = 1; k <= 2002; k = (uint16_t) (k + 1 + k % 7)) {
        struct tpi_chunk_column c;
        tk_ok(tpi_chunk_open(&f.in, (struct tpc_bytes){ f.blob.ptr, f.blob.len }, NULL));
        tk_ok(tpi_chunk_seek(&f.in, k, NULL));
        int rc = tpi_chunk_next(&f.in, NULL, &c);
        ck_assert_int_eq(rc, k <= 2000);
        if (rc == 1) {
            ck_assert_uint_eq(c.property, (uint16_t) (k + k % 2));
            ck_assert_int_eq(c.first.as.i, c.property);
            ck_assert_int_eq(c.last.as.i, c.property + 1);
        }
        while (rc == 1) {
            rc = tpi_chunk_next(&f.in, NULL, &c);
        }
        ck_assert_int_eq(rc, 0);
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
    const uint8_t newer[] = { 0xC8, 3, 1, 1, 0, 0, 0 };
    struct tpi_chunk_reader in;
    struct tpc_error err = { .size = sizeof(err) };
    tk_fails(TPC_EVERSION, tpi_chunk_open(&in, (struct tpc_bytes){ newer, 7 }, &err));
    ck_assert_ptr_ne(strstr(err.text, "format 3"), NULL);
    tk_fails(TPC_ECORRUPT, tpi_chunk_open(&in, (struct tpc_bytes){ newer + 1, 6 }, NULL));
}
END_TEST

/* The bytes of docs/format/history.md's example. */
START_TEST(bytes_are_those_of_the_document)
{
    static const uint8_t expected[] = {
        0xC8, 0x02, 0x0B, 0x0C, 0x00, 0x14, 0x05, 0x02, 0x07, 0x04,             /* head */
        0xD0, 0x0F, 0xA5, 0x1F, 0xE9, 0x07, 0x04, 0x05, 0xB2, 0x06, 0x04,       /* times */
        0x0B, 0x0B, 0x0A, 0x01, 0x9A, 0x03, 0x0A, 0x00, 0x05, 0x12, 0x04, 0x14, /* 1: double */
        0x80, 0x06, 0x08, 0x03, 0x1E, 0x00, 0x0C,                               /* 2: bool */
    };
    static const int64_t times[] = { 1000, 2010, 3000, 4000, 5005 };
    static const double values[] = { 20.5, 20.7, 20.6, 20.6, 21 };
    struct fixture f;
    struct tpi_chunk_encoder e;
    begin(&f);
    for (int i = 0; i < 5; i++) {
        put(&f.open, times[i], 1, make_double(values[i]));
        if (i > 0) {
            put(&f.open, times[i], 2, (struct tpc_value){ .type = TPC_BOOL, .as.b = i > 2 });
        }
    }
    tpi_chunk_encoder_init(&e, NULL);
    tk_ok(tpi_chunk_encode(&e, (struct tpc_bytes){ f.open.ptr, f.open.len }, 7, 11, &f.blob,
                           &f.span));
    tpi_chunk_encoder_fini(&e);
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

static int rows_with(const struct tpc_allocator *a, void *user)
{
    struct tpi_chunk_samples samples;
    struct tpi_chunk_encoder e;
    struct tpi_chunk_span span;
    struct tpi_buf out;
    struct tpc_point points[90] = { { .property = 1 } };
    (void) user;
    tpi_chunk_samples_init(&samples, a);
    tpi_chunk_encoder_init(&e, a);
    tpi_buf_init(&out, a, 0);
    int rc = 0;
    for (int i = 0; rc >= 0 && i < 40; i++) {
        struct tpi_chunk_row row = { i, points, sizeof(points[0]), i % 2 == 0 ? 90 : 7 };
        for (uint16_t k = 0; k < row.count; k++) {
            points[k].property = (uint16_t) (k + 1);
            points[k].value = k % 2 == 0 ? make_double(k / 10.0 + i) : make_int(i * k);
        }
        size_t before = samples.bytes.len;
        rc = tpi_chunk_samples_row(&samples, &row);
        if (rc < 0) {
            ck_assert_uint_eq(samples.bytes.len, before);
        }
    }
    if (rc >= 0) {
        struct tpc_bytes open = { samples.bytes.ptr, samples.bytes.len };
        rc = tpi_chunk_encode(&e, open, 0, 9, &out, &span);
    }
    tpi_chunk_samples_fini(&samples);
    tpi_chunk_encoder_fini(&e);
    tpi_buf_fini(&out);
    return rc;
}

START_TEST(rows_survive_every_failed_allocation)
{
    ck_assert_uint_gt(tk_each_alloc_fails(rows_with, NULL), 5);
}
END_TEST

START_TEST(rows_that_hold_what_cannot_be_kept_keep_the_rest)
{
    struct tpc_value deep[40];
    struct tpc_point points[3] = { { .property = 1, .value = make_int(1) },
                                   { .property = 2 },
                                   { .property = 0, .value = make_int(3) } };
    struct tpi_chunk_row row = { 5, points, sizeof(points[0]), 3 };
    struct tpi_chunk_samples samples;
    deep[0] = make_int(1);
    for (int i = 1; i < 40; i++) {
        deep[i] = (struct tpc_value){ .type = TPC_ARRAY, .len = 1, .as.items = &deep[i - 1] };
    }
    points[1].value = deep[39];
    tpi_chunk_samples_init(&samples, NULL);
    ck_assert_int_eq(tpi_chunk_samples_row(&samples, &row), 1);
    points[1].value = deep[32];
    row.count = 2;
    ck_assert_int_eq(tpi_chunk_samples_row(&samples, &row), 2);
    tpi_chunk_samples_fini(&samples);
}
END_TEST

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
    tcase_add_test(c, each_changed_byte_is_found);
    tcase_add_test(c, hostile_bytes_never_read_outside_the_chunk);
    tcase_add_test(c, one_property_of_many_is_found_without_the_others);
    tcase_add_test(c, changed_bytes_never_read_outside_the_chunk);
    tcase_add_test(c, newer_format_is_refused_by_number);
    tcase_add_test(c, bytes_are_those_of_the_document);
    tcase_add_test(c, rows_survive_every_failed_allocation);
    tcase_add_test(c, rows_that_hold_what_cannot_be_kept_keep_the_rest);
    tcase_add_test(c, encoding_survives_every_failed_allocation);
    suite_add_tcase(s, c);
    return s;
}
