/*
 * Times and values at the ends of what there is, from the bytes of a device to what is read back:
 * open, stored, and after a restart. Not a bit may differ.
 */
#include "suites.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/cbor.h>

enum { ROWS = 256, TEXT = 65536, MANY = 4000, UNKNOWN = 10000 };

static const char probe_product[] =
    TPC_JSON({
    "key": "edge", "codec": "cbor",
    "model": { "properties": [
        { "id": "x", "type": "double" }, { "id": "i", "type": "int" },
        { "id": "f", "type": "float" }, { "id": "s", "type": "text", "length": 70000 },
        { "id": "b", "type": "bool" }, { "id": "a", "type": "array", "size": 8,
          "items": { "type": "double" } } ] }
});

/* What should be read back of one property of device e1, in the order of times. */
struct row {
    int64_t unix_ms;
    struct tpc_value value;
};
struct rows {
    const char *property;
    uint32_t count;
    struct row row[ROWS];
};

/* For buffers that were made large enough: at most 200 bytes each time. */
static TPC_PRINTF(2, 3) size_t add(char *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(at, 200, fmt, args);
    va_end(args);
    return (size_t) n;
}

static void open_edge(struct fx *f)
{
    fx_init(f, 0, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
    f->o.frame_max_bytes = 1 << 20;
    fx_open(f);
    fx_put(f, "product", probe_product);
    fx_put(f, "device", "{\"key\":\"e1\",\"product\":\"edge\"}");
    fx_put(f, "device", "{\"key\":\"e2\",\"product\":\"edge\"}");
    fx_entities(f);
    fx_start(f);
}

/* {key: value} in CBOR, with a time. */
static void feed_cbor(struct fx *f, const char *key, struct tpc_value value, int64_t unix_ms)
{
    static uint8_t room[TEXT + 1000];
    struct tpc_member member = { tpc_str_from(key), value };
    struct tpc_value map = { .type = TPC_MAP, .len = 1, .as.members = &member };
    struct tpc_buf buf = { room, sizeof(room), 0 };
    tk_ok(tpc_cbor_write(&map, &buf));
    struct tpc_frame frame = { .size = sizeof(frame),
                               .unix_ms = unix_ms,
                               .payload = { room, buf.need } };
    fx_ok(tpc_feed_frame(fx_device(f, "e1"), &frame, NULL, NULL), "feed");
    (void) fx_step(f);
}

static void feed_point(struct fx *f, const char *device, const char *key, struct tpc_value value,
                       int64_t unix_ms)
{
    struct tpc_point point = { .key = tpc_str_from(key), .unix_ms = unix_ms, .value = value };
    struct tpc_points points = {
        .size = sizeof(points), .count = 1, .point_size = sizeof(point), .points = &point
    };
    fx_ok(tpc_feed_points(fx_device(f, device), &points, NULL, NULL), "points");
    (void) fx_step(f);
}

static bool same_bits(const struct tpc_value *a, const struct tpc_value *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case TPC_DOUBLE:
        return memcmp(&a->as.d, &b->as.d, sizeof(a->as.d)) == 0;
    case TPC_INT:
        return a->as.i == b->as.i;
    default:
        return tpc_value_equal(a, b) != 0;
    }
}

static void check_batch(const struct tpc_row_batch *b, const struct rows *want, uint32_t *at)
{
    for (uint32_t i = 0; i < b->count; i++, ++*at) {
        struct tpc_value got;
        ck_assert_int_eq(tpc_column_value(&b->columns[0], i, &got), 1);
        ck_assert_msg(*at < want->count, "%s: more than %u rows", want->property,
                      (unsigned) want->count);
        const struct row *r = &want->row[*at];
        ck_assert_msg(b->unix_ms[i] == r->unix_ms, "%s, row %u: time %" PRId64 ", not %" PRId64,
                      want->property, (unsigned) *at, b->unix_ms[i], r->unix_ms);
        ck_assert_msg(same_bits(&got, &r->value), "%s, row %u: other value, %.17g, not %.17g",
                      want->property, (unsigned) *at, got.as.d, r->value.as.d);
    }
}

static void check_rows_of(struct fx *f, const char *device, const struct rows *want)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_str name = tpc_str_from(want->property);
    struct tpc_device *d = fx_device(f, device);
    struct tpc_rows *rows;
    const struct tpc_row_batch *b;
    uint32_t at = 0;
    int rc;
    q.devices = &d;
    q.device_count = 1;
    q.properties = &name;
    q.property_count = 1;
    fx_ok(tpc_history_query(f->core, &q, &rows), "query");
    while ((rc = tpc_rows_next(rows, &b)) > 0) {
        check_batch(b, want, &at);
    }
    fx_ok(rc, "rows");
    tpc_rows_close(rows);
    ck_assert_msg(at == want->count, "%s: %u rows, not %u", want->property, (unsigned) at,
                  (unsigned) want->count);
}

/* While open, once stored, and after a restart. */
static void check_everywhere(struct fx *f, const char *device, const struct rows *want)
{
    check_rows_of(f, device, want);
    tk_clock_advance(&f->e.clock, 61000);
    (void) fx_step(f);
    check_rows_of(f, device, want);
    if (fx_has_sqlite()) {
        fx_close(f);
        fx_open(f);
        fx_start(f);
        (void) fx_step(f);
        check_rows_of(f, device, want);
    }
}

static int by_time(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    return (x->unix_ms > y->unix_ms) - (x->unix_ms < y->unix_ms);
}

static struct tpc_value a_double(double d)
{
    return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d };
}

static struct tpc_value an_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

static const double doubles[] = { 0.0,
                                  -0.0,
                                  DBL_MAX,
                                  -DBL_MAX,
                                  1e308,
                                  -1e308,
                                  DBL_MIN,
                                  -DBL_MIN,
                                  5e-324,
                                  -5e-324,
                                  2.2250738585072011e-308,
                                  0.1,
                                  0.30000000000000004,
                                  1.0 / 3.0,
                                  9007199254740993.0,
                                  -9007199254740992.0,
                                  9.2233720368547758e18,
                                  1e22,
                                  123456.789,
                                  -40.25 };

static const int64_t ints[] = { 0,
                                1,
                                -1,
                                INT64_MAX,
                                INT64_MIN,
                                INT64_MAX - 1,
                                INT64_MIN + 1,
                                INT32_MAX,
                                INT32_MIN,
                                INT64_C(1) << 53,
                                -(INT64_C(1) << 53) - 1 };

/* In turn, so that neighbours differ as much as they can; both doors. */
START_TEST(numbers_at_the_ends_come_back_bit_for_bit)
{
    static struct rows x = { .property = "x" };
    static struct rows i = { .property = "i" };
    struct fx f;
    int64_t t = INT64_C(1795176000000);
    open_edge(&f);
    x.count = 0;
    i.count = 0;
    for (uint32_t k = 0; k < 200; k++, t += 1000) {
        double d = doubles[k * 7 % (sizeof(doubles) / sizeof(doubles[0]))];
        int64_t n = ints[k * 5 % (sizeof(ints) / sizeof(ints[0]))];
        x.row[x.count++] = (struct row){ t, a_double(d) };
        i.row[i.count++] = (struct row){ t, an_int(n) };
        if (k % 2 == 0) {
            feed_cbor(&f, "x", a_double(d), t);
            feed_cbor(&f, "i", an_int(n), t);
        } else {
            feed_point(&f, "e1", "x", a_double(d), t);
            feed_point(&f, "e1", "i", an_int(n), t);
        }
    }
    ck_assert_double_eq(fx_metric(&f, "tpc_uplink_points_refused_total"), 0);
    check_everywhere(&f, "e1", &x);
    check_everywhere(&f, "e1", &i);
    fx_fini(&f);
}
END_TEST

START_TEST(what_is_no_number_is_refused_and_counted)
{
    static const double bad[] = { NAN, -NAN, INFINITY, -INFINITY };
    static struct rows x = { .property = "x", .count = 1 };
    struct fx f;
    int64_t t = INT64_C(1795176000000);
    open_edge(&f);
    x.row[0] = (struct row){ t, a_double(1.5) };
    feed_cbor(&f, "x", x.row[0].value, t);
    for (uint32_t k = 0; k < 4; k++) {
        struct tpc_value items[2] = { a_double(1), a_double(bad[k]) };
        struct tpc_value array = { .type = TPC_ARRAY, .len = 2, .as.items = items };
        double refused = fx_metric(&f, "tpc_uplink_points_refused_total");
        feed_cbor(&f, "x", a_double(bad[k]), t + 1000);
        feed_cbor(&f, "f", a_double(bad[k]), t + 1000);
        feed_cbor(&f, "i", a_double(bad[k]), t + 1000);
        feed_cbor(&f, "a", array, t + 1000);
        feed_point(&f, "e1", "x", a_double(bad[k]), t + 2000);
        ck_assert_double_eq(fx_metric(&f, "tpc_uplink_points_refused_total"), refused + 5);
    }
    feed_cbor(&f, "f", a_double(1e39), t + 1000); /* beyond a float */
    ck_assert_double_eq(fx_metric(&f, "tpc_uplink_points_refused_total"), 21);
    ck_assert_uint_eq(fx_letters(&f, NULL), 21); /* nothing else was in those messages */
    ck_assert_double_eq(fx_latest(&f, "e1", "x"), 1.5);
    check_everywhere(&f, "e1", &x);
    fx_fini(&f);
}
END_TEST

/* Each time once; of equal times the last one wins. */
START_TEST(times_of_all_ages_equal_and_reversed_are_kept)
{
    static const int64_t times[] = { 1,
                                     -1,
                                     -INT64_C(62135596800000), /* year 1 */
                                     1000,
                                     INT64_C(4102444800000), /* 2100 */
                                     INT64_C(253402300799999),
                                     INT64_C(1795176000000),
                                     INT64_C(1795176000001),
                                     INT64_C(946684800000) };
    static struct rows x = { .property = "x" };
    struct fx f;
    open_edge(&f);
    x.count = 0;
    for (size_t k = 0; k < sizeof(times) / sizeof(times[0]); k++) {
        x.row[x.count++] = (struct row){ times[k], a_double((double) k + 0.5) };
    }
    for (uint32_t k = 0; k < 150; k++) { /* falling */
        int64_t t = INT64_C(1700000000000) - k;
        x.row[x.count++] = (struct row){ t, a_double((double) k) };
    }
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t k = 0; k < x.count; k++) {
            if (round == 0) {
                feed_point(&f, "e1", "x", a_double(-7), x.row[k].unix_ms);
            } else {
                feed_point(&f, "e1", "x", x.row[k].value, x.row[k].unix_ms);
            }
        }
        if (round == 0) { /* what is overtaken is stored */
            tk_clock_advance(&f.e.clock, 61000);
            (void) fx_step(&f);
        }
    }
    for (uint32_t k = 0; k < 150; k++) { /* all of one time */
        feed_point(&f, "e1", "x", a_double(k), INT64_C(1600000000000));
    }
    x.row[x.count++] = (struct row){ INT64_C(1600000000000), a_double(149) };
    qsort(x.row, x.count, sizeof(x.row[0]), by_time);
    check_everywhere(&f, "e1", &x);
    fx_fini(&f);
}
END_TEST

/* The ends of time itself: stored or refused, and nothing else suffers. */
START_TEST(the_ends_of_time_do_no_harm)
{
    static const int64_t times[] = { INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1 };
    static struct rows x = { .property = "x" };
    struct fx f;
    open_edge(&f);
    x.count = 0;
    for (uint32_t k = 0; k < 40; k++) {
        int64_t t = INT64_C(1795176000000) + k;
        feed_point(&f, "e1", "b", (struct tpc_value){ .type = TPC_BOOL, .as.b = true },
                   times[k % 4]);
        feed_point(&f, "e2", "x", a_double(k), times[k % 4]);
        feed_point(&f, "e1", "x", a_double(k), t);
        x.row[x.count++] = (struct row){ t, a_double(k) };
    }
    check_everywhere(&f, "e1", &x);
    (void) fx_history(&f, "e2", "x");
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

START_TEST(a_clock_that_goes_back_loses_nothing)
{
    struct fx f;
    open_edge(&f);
    for (int k = 0; k < 300; k++) {
        char text[30];
        snprintf(text, sizeof(text), "{\"seq\":%d}", k);
        fx_ok(fx_feed(&f, "t1", text), "feed"); /* no time: the core's clock says */
        fx_settle(&f);
        if (k % 100 == 50) {
            tk_clock_set_unix(&f.e.clock, INT64_C(1795176000000) - k * INT64_C(36000000));
        }
        tk_clock_advance(&f.e.clock, 700);
        (void) fx_step(&f);
    }
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 300);
    ck_assert(r.ordered);
    ck_assert_double_eq(fx_latest(&f, "t1", "seq"), 299);
    ck_assert_double_gt(fx_metric(&f, "tpc_history_commits_total"), 1); /* it goes on storing */
    if (fx_has_sqlite()) {
        tk_clock_set_unix(&f.e.clock, INT64_C(946684800000)); /* and starts in 2000 */
        fx_close(&f);
        fx_open(&f);
        fx_start(&f);
        ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, 300);
        ck_assert_double_eq(fx_latest(&f, "t1", "seq"), 299);
    }
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

START_TEST(long_texts_come_back_whole)
{
    static struct rows s = { .property = "s" };
    static char texts[24][TEXT + 1];
    struct fx f;
    open_edge(&f);
    s.count = 0;
    for (uint32_t k = 0; k < 24; k++) {
        size_t len = k % 3 == 0 ? TEXT : k % 3 == 1 ? TEXT - k : k;
        for (size_t at = 0; at < len; at++) {
            texts[k][at] = (char) (' ' + (at * 31 + k) % 90);
        }
        struct tpc_value v = { .type = TPC_TEXT, .len = len, .as.text = texts[k] };
        int64_t t = INT64_C(1795176000000) + k;
        feed_cbor(&f, "s", v, t);
        s.row[s.count++] = (struct row){ t, v };
    }
    ck_assert_double_eq(fx_metric(&f, "tpc_uplink_points_refused_total"), 0);
    check_everywhere(&f, "e1", &s);
    static uint8_t room[TEXT + 1];
    struct tpc_buf buf = { room, sizeof(room), 0 };
    struct tpc_value v;
    fx_ok(tpc_latest_get(fx_device(&f, "e1"), TPC_STR("s"), &buf, &v, NULL), "latest");
    ck_assert(same_bits(&v, &s.row[23].value));
    fx_fini(&f);
}
END_TEST

/* {"u0":0, .. ,"on":true} with 10,000 keys that the model does not have. */
START_TEST(ten_thousand_unknown_keys_are_refused_and_counted)
{
    struct fx f;
    char *text = malloc(UNKNOWN * 16 + 100);
    ck_assert_ptr_nonnull(text);
    fx_init(&f, 0, FX_FILE_LOG);
    fx_run(&f);
    size_t live = 0;
    for (uint32_t round = 0; round < 10; round++) {
        size_t len = add(text, "{\"seq\":%u", (unsigned) round);
        for (uint32_t k = 0; k < UNKNOWN; k++) {
            len += add(text + len, ",\"u%u-%u\":%u", (unsigned) round, (unsigned) k, (unsigned) k);
        }
        memcpy(text + len, ",\"on\":true}", 12);
        double before = fx_metric(&f, "tpc_uplink_points_refused_total");
        tk_ok(fx_feed(&f, "t1", text));
        fx_settle(&f);
        ck_assert_uint_eq(f.failed, 0);
        ck_assert_double_eq(fx_metric(&f, "tpc_uplink_points_refused_total"), before + UNKNOWN);
        ck_assert_double_eq(fx_latest(&f, "t1", "seq"), round);
        ck_assert_double_eq(fx_latest(&f, "t1", "on"), 1);
        if (round == 1) {
            live = f.e.alloc.live_bytes;
        }
    }
    /* Keys that nobody knows are not remembered. */
    ck_assert_uint_le(f.e.alloc.live_bytes, live + 65536);
    ck_assert_uint_eq(fx_letters(&f, NULL), 0);
    ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, 10);
    free(text);
    fx_fini(&f);
}
END_TEST

static char *big_product(void)
{
    char *text = malloc(MANY * 40 + 200);
    ck_assert_ptr_nonnull(text);
    size_t len = add(text, "{\"key\":\"big\",\"codec\":\"json\",\"model\":{\"properties\":[");
    for (uint32_t k = 0; k < MANY; k++) {
        len += add(text + len, "%s{\"id\":\"p%u\",\"type\":\"%s\"}", k == 0 ? "" : ",",
                   (unsigned) k, k % 3 == 0 ? "int" : "double");
    }
    memcpy(text + len, "]}}", 4);
    return text;
}

static void check_big(struct fx *f, uint32_t rounds)
{
    for (uint32_t k = 0; k < MANY; k += 97) {
        char name[12];
        snprintf(name, sizeof(name), "p%u", (unsigned) k);
        struct fx_rows r = fx_history(f, "big1", name);
        ck_assert_msg(r.count == rounds && r.growing && r.ordered, "%s: %zu rows", name, r.count);
        ck_assert_double_eq(r.first, k);
        ck_assert_double_eq(fx_latest(f, "big1", name), k + rounds - 1);
    }
}

/* One device with thousands of properties, all in each message. */
START_TEST(a_device_of_thousands_of_properties_is_stored_and_read)
{
    enum { ROUNDS = 130 };
    struct fx f;
    char *product = big_product();
    char *text = malloc(MANY * 20);
    ck_assert_ptr_nonnull(text);
    fx_init(&f, 0, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
    f.o.frame_max_bytes = 1 << 20;
    fx_open(&f);
    fx_put(&f, "product", product);
    fx_put(&f, "device", "{\"key\":\"big1\",\"product\":\"big\"}");
    fx_start(&f);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        size_t len = 0;
        for (uint32_t k = 0; k < MANY; k++) {
            len += add(text + len, "%c\"p%u\":%u", k == 0 ? '{' : ',', (unsigned) k,
                       (unsigned) (k + round));
        }
        memcpy(text + len, "}", 2);
        struct tpc_frame frame = { .size = sizeof(frame),
                                   .unix_ms = INT64_C(1795176000000) + round * 1000,
                                   .payload = { (const uint8_t *) text, len + 1 } };
        fx_ok(tpc_feed_frame(fx_device(&f, "big1"), &frame, NULL, NULL), "feed");
        (void) fx_step(&f);
        tk_clock_advance(&f.e.clock, 1000);
    }
    ck_assert_double_eq(fx_metric(&f, "tpc_uplink_points_refused_total"), 0);
    check_big(&f, ROUNDS);
    if (fx_has_sqlite()) {
        fx_close(&f);
        fx_open(&f);
        fx_start(&f);
        check_big(&f, ROUNDS);
    }
    free(text);
    free(product);
    fx_fini(&f);
}
END_TEST

Suite *values_suite(void)
{
    Suite *s = suite_create("values");
    TCase *t = tcase_create("values");
    tcase_add_test(t, numbers_at_the_ends_come_back_bit_for_bit);
    tcase_add_test(t, what_is_no_number_is_refused_and_counted);
    tcase_add_test(t, times_of_all_ages_equal_and_reversed_are_kept);
    tcase_add_test(t, the_ends_of_time_do_no_harm);
    tcase_add_test(t, a_clock_that_goes_back_loses_nothing);
    tcase_add_test(t, long_texts_come_back_whole);
    tcase_add_test(t, ten_thousand_unknown_keys_are_refused_and_counted);
    tcase_add_test(t, a_device_of_thousands_of_properties_is_stored_and_read);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
