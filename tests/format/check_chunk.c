/*
 * Chunks as docs/format/history.md says (golden/ was made by make_chunk.py from that page): version 1,
 * which is no longer written, and every coding of version 2. They are read for ever.
 */
#include "format_suites.h"

#include "store/chunk.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 20, BLOB_BYTES = 4096 };

struct golden {
    uint8_t bytes[BLOB_BYTES];
    size_t len;
    struct tpi_chunk_reader in;
    struct tpc_arena *arena;
    int64_t times[ROWS];
    struct tpc_value values[ROWS];
    uint8_t validity[(ROWS + 7) / 8];
    struct tpi_chunk_column column;
};

static void golden_open(struct golden *g, int version)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/chunk-%d.bin", GOLDEN_DIR, version);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    g->len = fread(g->bytes, 1, sizeof(g->bytes), file);
    fclose(file);
    ck_assert_uint_lt(g->len, sizeof(g->bytes));
    tk_ok(tpc_arena_create(NULL, 0, &g->arena));
    tk_ok(tpi_chunk_open(&g->in, (struct tpc_bytes){ g->bytes, g->len }, NULL));
    ck_assert_uint_le(g->in.span.rows, ROWS);
    tk_ok(tpi_chunk_times(&g->in, NULL, g->times));
}

static void golden_close(struct golden *g)
{
    struct tpi_chunk_column c;
    ck_assert_int_eq(tpi_chunk_next(&g->in, NULL, &c), 0);
    tpc_arena_destroy(g->arena);
}

static const struct tpi_chunk_column *next(struct golden *g, uint16_t property, uint32_t type,
                                           uint32_t count)
{
    ck_assert_int_eq(tpi_chunk_next(&g->in, NULL, &g->column), 1);
    memset(g->validity, 0, sizeof(g->validity));
    tk_ok(tpi_chunk_values(&g->column, g->in.span.rows, g->arena, NULL, g->values, g->validity));
    ck_assert_uint_eq(g->column.property, property);
    ck_assert_uint_eq(g->column.type, type);
    ck_assert_uint_eq(g->column.count, count);
    return &g->column;
}

static void same_double(double a, double b)
{
    ck_assert_mem_eq(&a, &b, sizeof(a));
}

static void check_text(const struct tpc_value *v, const char *text)
{
    ck_assert_uint_eq(v->len, strlen(text));
    ck_assert_mem_eq(v->as.text, text, v->len);
}

START_TEST(version_1_is_read)
{
    struct golden g;
    golden_open(&g, 1);
    ck_assert_uint_eq(g.in.span.rows, 3);
    ck_assert_uint_eq(g.in.span.first_offset, 9);
    ck_assert_uint_eq(g.in.span.last_offset, 11);
    ck_assert_int_eq(g.times[0], -5);
    ck_assert_int_eq(g.times[1], -4);
    ck_assert_int_eq(g.times[2], 996);
    const struct tpi_chunk_column *c = next(&g, 1, TPC_INT, 3);
    ck_assert_int_eq(g.values[1].as.i, -8);
    ck_assert_int_eq(g.values[2].as.i, INT64_C(1) << 40);
    same_double(c->min, -8);
    ck_assert_int_eq(c->first.as.i, 3);
    ck_assert_int_eq(c->last.as.i, INT64_C(1) << 40);
    c = next(&g, 2, TPC_DOUBLE, 2);
    ck_assert_int_eq(g.validity[0], 5);
    same_double(g.values[0].as.d, 0.1);
    same_double(g.values[2].as.d, -1.5);
    same_double(c->sum, -1.4);
    same_double(c->first.as.d, 0.1);
    same_double(c->last.as.d, -1.5);
    double doubles[2];
    tk_ok(tpi_chunk_doubles(c, NULL, doubles));
    same_double(doubles[1], -1.5);
    c = next(&g, 3, TPC_BOOL, 3);
    ck_assert(g.values[0].as.b && !g.values[1].as.b && g.values[2].as.b);
    same_double(c->sum, 2);
    next(&g, 4, TPC_TEXT, 1);
    ck_assert_int_eq(g.validity[0], 2);
    check_text(&g.values[1], "on");
    next(&g, 5, TPC_NULL, 3);
    golden_close(&g);
}
END_TEST

static void check_bools(struct golden *g)
{
    next(g, 2, TPC_BOOL, ROWS);
    for (int i = 0; i < ROWS; i++) {
        ck_assert_int_eq(g->values[i].as.b, i % 3 == 0);
    }
    const struct tpi_chunk_column *c = next(g, 3, TPC_BOOL, ROWS);
    for (int i = 0; i < ROWS; i++) {
        ck_assert_int_eq(g->values[i].as.b, i >= 5);
    }
    same_double(c->sum, 15);
    c = next(g, 4, TPC_BOOL, ROWS);
    for (int i = 0; i < ROWS; i++) {
        ck_assert_int_eq(g->values[i].as.b, i == 0);
    }
    ck_assert(c->first.as.b && !c->last.as.b);
}

static void check_ints(struct golden *g)
{
    const struct tpi_chunk_column *c = next(g, 5, TPC_INT, ROWS);
    for (int i = 0; i < ROWS; i++) {
        ck_assert_int_eq(g->values[i].as.i, i * i - 7);
    }
    same_double(c->sum, 19 * 20 * 39 / 6.0 - 140);
    c = next(g, 6, TPC_INT, ROWS);
    for (int i = 0; i < ROWS; i++) {
        ck_assert_int_eq(g->values[i].as.i, i % 2 == 0 ? INT64_MIN : INT64_MAX);
    }
    same_double(c->min, -0x1p63);
    same_double(c->max, 0x1p63);
    c = next(g, 7, TPC_INT, ROWS);
    ck_assert_int_eq(g->values[19].as.i, 42);
    same_double(c->sum, 840);
}

static void check_doubles(struct golden *g)
{
    const struct tpi_chunk_column *c = next(g, 8, TPC_DOUBLE, ROWS);
    for (int i = 0; i < ROWS; i++) {
        same_double(g->values[i].as.d, (2150 + i * 7 % 23) / 100.0);
    }
    same_double(c->min, 21.5);
    same_double(c->max, 21.72);
    c = next(g, 9, TPC_DOUBLE, ROWS);
    for (int i = 0; i < ROWS; i++) {
        same_double(g->values[i].as.d, i == 0    ? -0.0
                                       : i == 7  ? INFINITY
                                       : i == 19 ? 1.0 / 3
                                                 : (205 + i % 5) / 10.0);
    }
    same_double(c->first.as.d, -0.0);
    same_double(c->last.as.d, 1.0 / 3);
    same_double(c->max, INFINITY);
    c = next(g, 10, TPC_DOUBLE, ROWS);
    ck_assert_double_eq_tol(g->values[7].as.d, 1.1 * pow(1.1, 7), 1e-12);
    same_double(c->min, 1.1);
    same_double(c->last.as.d, g->values[19].as.d);
    c = next(g, 11, TPC_DOUBLE, ROWS);
    for (int i = 0; i < ROWS; i++) {
        ck_assert(i == 4 ? isnan(g->values[i].as.d)
                         : g->values[i].as.d == (i % 2 == 0 ? 1 : -1) * (i + 0.5));
    }
    same_double(c->min, -19.5);
    same_double(c->max, 18.5);
}

static void check_texts(struct golden *g)
{
    static const char *const words[] = { "on", "off", "" };
    char text[16];
    next(g, 12, TPC_TEXT, ROWS);
    for (int i = 0; i < ROWS; i++) {
        snprintf(text, sizeof(text), "text %d", i);
        check_text(&g->values[i], text);
    }
    next(g, 13, TPC_TEXT, ROWS);
    for (int i = 0; i < ROWS; i++) {
        check_text(&g->values[i], words[i % 7 % 3]);
    }
    next(g, 14, TPC_BLOB, ROWS);
    ck_assert_uint_eq(g->values[19].len, 2);
    ck_assert_int_eq(g->values[19].as.blob[0], 19);
    next(g, 15, TPC_ARRAY, ROWS);
    ck_assert_int_eq(g->values[3].as.items[0].as.i, 1);
    ck_assert_int_eq(g->values[3].as.items[1].type, TPC_NULL);
    next(g, 16, TPC_MAP, ROWS);
    ck_assert_int_eq(tpc_value_get(&g->values[17], TPC_STR("a"))->as.i, 17);
}

static void check_sparse(struct golden *g)
{
    const struct tpi_chunk_column *c = next(g, 17, TPC_INT, 3);
    ck_assert_int_eq(g->values[2].as.i, 5);
    ck_assert_int_eq(g->values[3].as.i, 6);
    ck_assert_int_eq(g->values[11].as.i, 4);
    same_double(c->sum, 15);
    next(g, 17, TPC_DOUBLE, 1);
    same_double(g->values[12].as.d, -1.5);
}

START_TEST(version_2_is_read)
{
    struct golden g;
    golden_open(&g, 2);
    ck_assert_uint_eq(g.in.span.rows, ROWS);
    ck_assert_uint_eq(g.in.span.first_offset, 5000);
    ck_assert_uint_eq(g.in.span.last_offset, 5077);
    for (int i = 0; i < ROWS; i++) {
        ck_assert_int_eq(g.times[i], INT64_C(1763640000000) + 1000 * i + 37 * i % 11);
    }
    struct tpi_chunk_reader again = g.in;
    next(&g, 1, TPC_NULL, ROWS);
    check_bools(&g);
    check_ints(&g);
    check_doubles(&g);
    check_texts(&g);
    check_sparse(&g);
    for (int i = 0; i < 60; i++) {
        next(&g, (uint16_t) (100 + i), TPC_INT, 1);
        ck_assert_int_eq(g.values[i % ROWS].as.i, i);
    }
    struct tpi_chunk_column c;
    ck_assert_int_eq(tpi_chunk_next(&g.in, NULL, &c), 0);
    g.in = again;
    tk_ok(tpi_chunk_seek(&g.in, 158, NULL));
    next(&g, 158, TPC_INT, 1);
    next(&g, 159, TPC_INT, 1);
    golden_close(&g);
}
END_TEST

Suite *chunk_format_suite(void)
{
    Suite *s = suite_create("chunk format");
    TCase *c = tcase_create("chunk format");
    tcase_add_test(c, version_1_is_read);
    tcase_add_test(c, version_2_is_read);
    suite_add_tcase(s, c);
    return s;
}
