/*
 * Series of all kinds through a chunk and back, bit for bit, against the samples as they were put.
 */
#include "store_suites.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "history_suite.h"
#include "store/chunk.h"

enum { MOST_ROWS = 400, MOST_KEYS = 150, TEXT_BYTES = 8, LETTERS = 4096, KINDS = 16 };

struct expected {
    int64_t unix_ms;
    uint16_t property;
    struct tpc_value value;
    uint32_t index;
};

struct series {
    uint64_t random;
    struct tpi_chunk_samples samples;
    struct tpi_chunk_encoder encoder;
    struct tpi_buf blob;
    struct tpc_arena *arena;
    struct expected *expected;
    uint32_t count;
    uint32_t cap;
    int64_t walk[MOST_KEYS];
    uint8_t kinds[MOST_KEYS];
    char letters[LETTERS];
};

static uint64_t random_below(struct series *s, uint64_t n)
{
    return history_random(&s->random) % n;
}

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint64_t to_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static double strange_double(struct series *s)
{
    const double all[] = { 0.0,      -0.0,      NAN,         INFINITY, -INFINITY, DBL_MIN,
                           DBL_MAX,  -DBL_MAX,  1e308,       -1e308,   0x1p-1074, -0x1p-1074,
                           0.1,      1.0 / 3,   1e15,        1e16,     0x1p53,    0x1p63,
                           123456.7, -0.000001, 99999999.99, 5e-324,   1e22,      1e-18 };
    switch (random_below(s, 4)) {
    case 0:
        return from_bits(history_random(&s->random));
    case 1:
        return from_bits(UINT64_C(0x7ff8000000000000) | random_below(s, 1 << 20));
    default:
        return all[random_below(s, sizeof(all) / sizeof(all[0]))];
    }
}

static double number(struct series *s, uint32_t key)
{
    static const double powers[] = { 1, 10, 100, 1000, 1e6, 1e9 };
    uint64_t kind = s->kinds[key];
    s->walk[key] += (int64_t) random_below(s, 17) - 8;
    double decimal = (double) s->walk[key] / powers[key % 6];
    switch (kind) {
    case 0:
        return decimal;
    case 1:
        return random_below(s, 10) == 0 ? decimal / 1000 : decimal;
    case 2:
        return random_below(s, 12) == 0 ? strange_double(s) : decimal;
    case 3:
        return strange_double(s);
    case 4:
        return (double) (float) (decimal * 1.1);
    case 5:
        return decimal *
               (1 +
                from_bits(UINT64_C(0x3ff0000000000000) | history_random(&s->random) >> 12) / 1000);
    case 6:
        return 21.5;
    default:
        return decimal * 1e5;
    }
}

static int64_t integer(struct series *s, uint32_t key)
{
    static const int64_t all[] = { INT64_MIN, INT64_MAX, 0, -1, 1, INT64_MIN + 1, INT64_MAX - 1 };
    s->walk[key] += (int64_t) random_below(s, 100) - 20;
    switch (s->kinds[key]) {
    case 8:
        return s->walk[key];
    case 9:
        return all[random_below(s, 7)];
    case 10:
        return (int64_t) history_random(&s->random) >> random_below(s, 64);
    default:
        return s->walk[key] / 1000;
    }
}

static struct tpc_value text(struct series *s, uint32_t key)
{
    static const char *const words[] = { "on", "off", "", "standby", "fault 17" };
    const char *word = words[random_below(s, 5)];
    if (s->kinds[key] == 14) {
        const char *own = s->letters + random_below(s, LETTERS - TEXT_BYTES);
        return (struct tpc_value){ .type = TPC_TEXT, .len = TEXT_BYTES, .as.text = own };
    }
    return (struct tpc_value){ .type = TPC_TEXT, .len = strlen(word), .as.text = word };
}

static struct tpc_value value(struct series *s, uint32_t key)
{
    static const struct tpc_value items[] = { { .type = TPC_INT, .as.i = 1 },
                                              { .type = TPC_DOUBLE, .as.d = 0.5 } };
    uint8_t kind = s->kinds[key];
    if (kind < 8) {
        return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = number(s, key) };
    }
    if (kind < 12) {
        return (struct tpc_value){ .type = TPC_INT, .as.i = integer(s, key) };
    }
    if (kind == 12) {
        return (struct tpc_value){ .type = TPC_BOOL, .as.b = random_below(s, 2 + key % 20) == 0 };
    }
    if (kind < 15) {
        return text(s, key);
    }
    return (struct tpc_value){ .type = random_below(s, 2) == 0 ? TPC_ARRAY : TPC_NULL,
                               .len = 2,
                               .as.items = items };
}

static void expect(struct series *s, int64_t unix_ms, uint16_t property, struct tpc_value v)
{
    if (s->count == s->cap) {
        s->cap = s->cap != 0 ? s->cap * 2 : 1024;
        s->expected = realloc(s->expected, s->cap * sizeof(*s->expected));
        ck_assert_ptr_nonnull(s->expected);
    }
    v.len = v.type == TPC_NULL ? 0 : v.len;
    s->expected[s->count] = (struct expected){ unix_ms, property, v, s->count };
    s->count++;
}

static void put_row(struct series *s, int64_t unix_ms, uint32_t from, uint32_t to)
{
    struct tpc_point points[MOST_KEYS];
    struct tpi_chunk_row row = { unix_ms, points, sizeof(points[0]), 0 };
    memset(points, 0, sizeof(points));
    for (uint32_t k = from; k < to; k++) {
        struct tpc_point *p = &points[row.count++];
        p->property = (uint16_t) (MOST_KEYS - k + 300 * (k % 3));
        p->value = value(s, k);
        expect(s, unix_ms, p->property, p->value);
    }
    ck_assert_int_eq(tpi_chunk_samples_row(&s->samples, &row), (int) row.count);
}

static int compare(const void *a, const void *b)
{
    const struct expected *x = a;
    const struct expected *y = b;
    if (x->property != y->property) {
        return x->property < y->property ? -1 : 1;
    }
    if (x->unix_ms != y->unix_ms) {
        return x->unix_ms < y->unix_ms ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

/* Sorts what is expected and keeps the last of one property and time. */
static void settle(struct series *s)
{
    uint32_t kept = 0;
    qsort(s->expected, s->count, sizeof(*s->expected), compare);
    for (uint32_t i = 1; i < s->count; i++) {
        kept += s->expected[i].property != s->expected[kept].property ||
                s->expected[i].unix_ms != s->expected[kept].unix_ms;
        s->expected[kept] = s->expected[i];
    }
    s->count = kept + 1;
}

static bool equal(const struct tpc_value *a, const struct tpc_value *b)
{
    if (a->type == TPC_DOUBLE && b->type == TPC_DOUBLE) {
        return to_bits(a->as.d) == to_bits(b->as.d);
    }
    return tpc_value_equal(a, b);
}

struct sums {
    double min;
    double max;
    double sum;
    double size; /* of what was added, for what rounding may do */
    const struct tpc_value *first;
    const struct tpc_value *last;
    uint32_t count;
};

static void add(struct sums *a, const struct tpc_value *v)
{
    double x = 0;
    a->first = a->count == 0 ? v : a->first;
    a->last = v;
    a->count++;
    if (v->type == TPC_DOUBLE) {
        x = v->as.d;
    } else if (v->type == TPC_INT) {
        x = (double) v->as.i;
    } else if (v->type == TPC_BOOL) {
        x = v->as.b;
    }
    if (v->type == TPC_DOUBLE && isnan(x)) {
        return;
    }
    a->min = isnan(a->min) || x < a->min ? x : a->min;
    a->max = isnan(a->max) || x > a->max ? x : a->max;
    a->sum += x;
    a->size += fabs(x);
}

static void check_sums(const struct tpi_chunk_column *c, const struct sums *a)
{
    ck_assert_uint_eq(c->count, a->count);
    if (c->type != TPC_BOOL && c->type != TPC_INT && c->type != TPC_DOUBLE) {
        ck_assert_uint_eq(c->first.type, TPC_NULL);
        return;
    }
    ck_assert(equal(&c->first, a->first));
    ck_assert(equal(&c->last, a->last));
    ck_assert(c->min == a->min || (isnan(c->min) && isnan(a->min)));
    ck_assert(c->max == a->max || (isnan(c->max) && isnan(a->max)));
    if (isfinite(a->size)) {
        ck_assert(fabs(c->sum - a->sum) <= a->size * 1e-12);
    }
}

/* The typed readings of a column are the values of its rows, side by side. */
static void check_typed(const struct tpi_chunk_column *c, const struct tpc_value *values,
                        const uint8_t *validity, uint32_t rows)
{
    int64_t *ints = malloc(c->count * sizeof(*ints));
    double *doubles = malloc(c->count * sizeof(*doubles));
    bool whole = c->type == TPC_INT || c->type == TPC_BOOL;
    ck_assert_int_eq(tpi_chunk_ints(c, NULL, ints), whole ? 0 : TPC_EINVAL);
    ck_assert_int_eq(tpi_chunk_doubles(c, NULL, doubles),
                     whole || c->type == TPC_DOUBLE ? 0 : TPC_EINVAL);
    uint32_t n = 0;
    for (uint32_t row = 0; row < rows; row++) {
        if ((validity[row / 8] >> (row % 8) & 1) == 0) {
            continue;
        }
        const struct tpc_value *v = &values[row];
        if (c->type == TPC_DOUBLE) {
            ck_assert_uint_eq(to_bits(doubles[n]), to_bits(v->as.d));
        } else if (whole) {
            ck_assert_int_eq(ints[n], c->type == TPC_INT ? v->as.i : v->as.b);
            ck_assert_double_eq(doubles[n], (double) ints[n]);
        }
        n++;
    }
    ck_assert_uint_eq(n, c->count);
    free(ints);
    free(doubles);
}

static uint32_t row_of(const int64_t *times, uint32_t rows, int64_t unix_ms)
{
    uint32_t low = 0;
    uint32_t high = rows;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        *(times[middle] <= unix_ms ? &low : &high) = middle;
    }
    ck_assert_int_eq(times[low], unix_ms);
    return low;
}

/* Columns of one property, the expected samples of which begin at `at`. Returns their end. */
static void check_column(struct series *s, const struct tpi_chunk_column *c, const int64_t *times,
                         uint32_t rows)
{
    struct tpc_value *values = calloc(rows, sizeof(*values));
    uint8_t *validity = calloc((rows + 7) / 8, 1);
    struct sums sums = { NAN, NAN, 0, 0, NULL, NULL, 0 };
    tk_ok(tpi_chunk_values(c, rows, s->arena, NULL, values, validity));
    for (uint32_t i = 0; i < s->count; i++) {
        const struct expected *e = &s->expected[i];
        if (e->property == c->property && e->value.type == c->type) {
            uint32_t row = row_of(times, rows, e->unix_ms);
            ck_assert((validity[row / 8] >> (row % 8) & 1) != 0);
            ck_assert(equal(&values[row], &e->value));
            add(&sums, &e->value);
        }
    }
    check_sums(c, &sums);
    check_typed(c, values, validity, rows);
    free(values);
    free(validity);
}

static uint32_t check_all(struct series *s)
{
    struct tpi_chunk_span span;
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    uint32_t found = 0;
    tpi_buf_clear(&s->blob);
    tk_ok(tpi_chunk_encode(&s->encoder,
                           (struct tpc_bytes){ s->samples.bytes.ptr, s->samples.bytes.len }, 5, 80,
                           &s->blob, &span));
    settle(s);
    tk_ok(tpi_chunk_open(&in, (struct tpc_bytes){ s->blob.ptr, s->blob.len }, NULL));
    ck_assert_mem_eq(&in.span, &span, sizeof(span));
    int64_t *times = calloc(span.rows, sizeof(*times));
    tk_ok(tpi_chunk_times(&in, NULL, times));
    ck_assert_int_eq(times[0], span.first_unix_ms);
    ck_assert_int_eq(times[span.rows - 1], span.last_unix_ms);
    while (tpi_chunk_next(&in, NULL, &c) == 1) {
        check_column(s, &c, times, span.rows);
        found += c.count;
    }
    ck_assert_uint_eq(found, s->count);
    free(times);
    return span.rows;
}

static void series_begin(struct series *s, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    s->random = seed;
    tpi_chunk_samples_init(&s->samples, NULL);
    tpi_chunk_encoder_init(&s->encoder, NULL);
    tpi_buf_init(&s->blob, NULL, 0);
    tk_ok(tpc_arena_create(NULL, 0, &s->arena));
    for (int i = 0; i < LETTERS; i++) {
        s->letters[i] = (char) ('a' + random_below(s, 26));
    }
}

static void series_end(struct series *s)
{
    tpi_chunk_samples_fini(&s->samples);
    tpi_chunk_encoder_fini(&s->encoder);
    tpi_buf_fini(&s->blob);
    tpc_arena_destroy(s->arena);
    free(s->expected);
}

static int64_t next_time(struct series *s, int64_t at, uint64_t how, uint32_t i)
{
    switch (how) {
    case 0:
        return at + 1000;
    case 1:
        return 1790000000000 + i * 1000 + (int64_t) random_below(s, 51);
    case 2: /* gaps, equal, backwards */
        return at + (int64_t) random_below(s, 100) - 10;
    default:
        return random_below(s, 8) == 0 ? (int64_t) (history_random(&s->random) >> 2)
                                       : at - 1000 + (int64_t) random_below(s, 5000);
    }
}

static void run_series(uint64_t seed)
{
    struct series s;
    series_begin(&s, seed);
    uint32_t keys = 1 + (uint32_t) random_below(&s, seed % 8 == 0 ? MOST_KEYS : 12);
    uint32_t rows = 1 + (uint32_t) random_below(&s, MOST_ROWS);
    uint64_t how = random_below(&s, 4);
    bool parts = random_below(&s, 3) == 0;
    int64_t at = 1790000000000;
    for (uint32_t k = 0; k < keys; k++) {
        s.kinds[k] = (uint8_t) random_below(&s, KINDS);
        s.walk[k] = (int64_t) random_below(&s, 40000) - 10000;
    }
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t from = parts ? (uint32_t) random_below(&s, keys) : 0;
        uint32_t to = parts ? from + 1 + (uint32_t) random_below(&s, keys - from) : keys;
        at = next_time(&s, at, how, i);
        put_row(&s, at, from, to);
        if (i == rows / 2 && random_below(&s, 2) == 0) {
            struct tpi_chunk_mark mark = tpi_chunk_samples_mark(&s.samples);
            uint32_t count = s.count;
            put_row(&s, at + 1, 0, keys);
            tpi_chunk_samples_back(&s.samples, mark);
            s.count = count;
        }
    }
    check_all(&s);
    series_end(&s);
}

START_TEST(series_of_every_kind_come_back_bit_for_bit)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        run_series(seed);
    }
}
END_TEST

Suite *chunk_series_suite(void)
{
    Suite *s = suite_create("chunk series");
    TCase *c = tcase_create("chunk series");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, series_of_every_kind_come_back_bit_for_bit);
    suite_add_tcase(s, c);
    return s;
}
