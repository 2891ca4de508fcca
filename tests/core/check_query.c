/* Questions to the history through the public functions: columns, pages, the latest, Arrow. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/arrow.h>

enum { SAMPLES = 500 };

static const int64_t t0 = 1795176000000;
static struct tpc_str keys[] = { TPC_STR_INIT("n"), TPC_STR_INIT("x"), TPC_STR_INIT("on"),
                                 TPC_STR_INIT("note"), TPC_STR_INIT("list") };

struct fixture {
    struct flow f;
    struct tpc_device *d;
};

/* A device of which n is always there, the others now and then. */
static void begin(struct fixture *x)
{
    static const char product[] =
        TPC_JSON({
        "key": "kit", "codec": "json", "model": { "properties": [
            { "id": "n", "type": "int" }, { "id": "x", "type": "double" },
            { "id": "on", "type": "bool" }, { "id": "note", "type": "text" },
            { "id": "list", "type": "array", "items": { "type": "int" } } ] } });
    flow_init(&x->f, 0);
    flow_create(&x->f);
    tk_ok(tpc_entity_put(x->f.core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(x->f.core, NULL, "device", TPC_STR("{\"key\":\"k1\",\"product\":\"kit\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&x->f);
    x->d = flow_device(&x->f, "k1");
}

static void end(struct fixture *x)
{
    tpc_device_unref(x->d);
    flow_destroy(&x->f);
    flow_fini(&x->f);
}

static void feed(struct fixture *x, int i)
{
    static const struct tpc_value items[] = { { .type = TPC_INT, .as = { .i = 1 } },
                                              { .type = TPC_INT, .as = { .i = 2 } } };
    struct tpc_point p[5] = {
        { .key = keys[0], .value = { .type = TPC_INT, .as.i = i } },
        { .key = keys[1], .value = { .type = TPC_DOUBLE, .as.d = i / 4.0 } },
        { .key = keys[2], .value = { .type = TPC_BOOL, .as.b = i % 4 == 0 } },
        { .key = keys[3], .value = { .type = TPC_TEXT, .len = (size_t) i % 4, .as.text = "abc" } },
        { .key = keys[4], .value = { .type = TPC_ARRAY, .len = 2, .as.items = items } },
    };
    for (int k = 0; k < 5; k++) {
        p[k].unix_ms = t0 + i * 10;
    }
    uint32_t count = i % 10 == 0 ? 5 : i % 2 == 0 ? 3 : 2;
    struct tpc_points points = { sizeof(points), count, sizeof(p[0]), p, 0, 0, 0 };
    tk_ok(tpc_feed_points(x->d, &points, NULL, NULL));
}

static void feed_all(struct fixture *x)
{
    for (int i = 0; i < SAMPLES; i++) {
        feed(x, i);
        if (i % 50 == 49) {
            flow_settle(&x->f);
        }
    }
    flow_settle(&x->f);
}

static struct tpc_history_query question(struct fixture *x, uint32_t properties)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    q.devices = &x->d;
    q.device_count = 1;
    q.properties = keys;
    q.property_count = properties;
    return q;
}

START_TEST(columns_are_arrays_of_their_type)
{
    struct fixture x;
    struct tpc_rows *rows;
    const struct tpc_row_batch *b;
    begin(&x);
    feed_all(&x);
    struct tpc_history_query q = question(&x, 5);
    tk_ok(tpc_history_query(x.f.core, &q, &rows));
    ck_assert_int_eq(tpc_rows_next(rows, &b), 1);
    ck_assert_uint_eq(b->count, SAMPLES);
    ck_assert_uint_eq(b->column_count, 5);
    const struct tpc_column *c = b->columns;
    ck_assert_uint_eq(c[0].type, TPC_INT);
    ck_assert_uint_eq(c[1].type, TPC_DOUBLE);
    ck_assert_uint_eq(c[2].type, TPC_BOOL);
    ck_assert_uint_eq(c[3].type, TPC_TEXT);
    ck_assert_uint_eq(c[4].type, TPC_ARRAY);
    ck_assert_uint_eq(c[0].missing + c[1].missing, 0);
    ck_assert_uint_eq(c[2].missing, SAMPLES / 2);
    ck_assert_uint_eq(c[4].missing, SAMPLES - SAMPLES / 10);
    for (uint32_t i = 0; i < b->count; i++) {
        struct tpc_value v;
        ck_assert_int_eq(b->unix_ms[i], t0 + i * 10);
        ck_assert_int_eq(c[0].ints[i], i);
        ck_assert_double_eq(c[1].doubles[i], i / 4.0);
        ck_assert_int_eq(c[2].bools[i], i % 4 == 0);
        ck_assert_int_eq(tpc_column_value(&c[3], i, &v), i % 10 == 0);
        ck_assert(i % 10 != 0 || (v.type == TPC_TEXT && v.len == i % 4));
        ck_assert_int_eq(tpc_column_value(&c[4], i, &v), i % 10 == 0);
        ck_assert_uint_eq(v.type, i % 10 == 0 ? (unsigned) TPC_ARRAY : (unsigned) TPC_NULL);
    }
    ck_assert_int_eq(tpc_rows_next(rows, &b), 0);
    tpc_rows_close(rows);
    end(&x);
}
END_TEST

START_TEST(pages_go_both_ways_and_end)
{
    struct fixture x;
    begin(&x);
    feed_all(&x);
    for (uint32_t descending = 0; descending < 2; descending++) {
        struct tpc_history_query q = question(&x, 1);
        int64_t next = descending ? SAMPLES - 1 : 0;
        int more = 1;
        q.descending = descending;
        for (q.limit = 70; more == 1;) {
            struct tpc_rows *rows;
            const struct tpc_row_batch *b;
            tk_ok(tpc_history_query(x.f.core, &q, &rows));
            int rc = tpc_rows_next(rows, &b);
            if (rc == 0) {
                more = 0;
            } else {
                ck_assert_int_eq(rc, 1);
                for (uint32_t i = 0; i < b->count; i++) {
                    ck_assert_int_eq(b->columns[0].ints[i], next);
                    next += descending ? -1 : 1;
                }
                more = tpc_history_page(&q, b);
            }
            tpc_rows_close(rows);
        }
        ck_assert_int_eq(more, 0);
        ck_assert_int_eq(next, descending ? -1 : SAMPLES);
    }
    end(&x);
}
END_TEST

START_TEST(pages_of_windows_go_on_at_the_next_window)
{
    static const struct tpc_aggregate avg = { TPC_AGG_AVG, 0, 0 };
    struct fixture x;
    begin(&x);
    feed_all(&x);
    for (uint32_t descending = 0; descending < 2; descending++) {
        struct tpc_history_query q = question(&x, 1);
        struct tpc_rows *rows;
        const struct tpc_row_batch *b;
        q.aggregates = &avg;
        q.aggregate_count = 1;
        q.window_ms = 1000; /* 100 samples */
        q.origin_unix_ms = t0;
        q.descending = descending;
        q.limit = 2;
        for (int page = 0; page < 3; page++) {
            int window = page * 2;
            tk_ok(tpc_history_query(x.f.core, &q, &rows));
            ck_assert_int_eq(tpc_rows_next(rows, &b), 1);
            ck_assert_uint_eq(b->count, page < 2 ? 2 : 1);
            for (uint32_t i = 0; i < b->count; i++, window++) {
                int k = descending ? 4 - window : window;
                ck_assert_int_eq(b->unix_ms[i], t0 + k * 1000);
                ck_assert_double_eq(b->columns[0].doubles[i], k * 100 + 49.5);
            }
            ck_assert_int_eq(tpc_history_page(&q, b), 1);
            tpc_rows_close(rows);
        }
        tk_ok(tpc_history_query(x.f.core, &q, &rows));
        ck_assert_int_eq(tpc_rows_next(rows, &b), 0);
        tpc_rows_close(rows);
        q.window_ms = 0;
        q.from_unix_ms = INT64_MIN;
        q.to_unix_ms = INT64_MAX;
        tk_ok(tpc_history_query(x.f.core, &q, &rows));
        ck_assert_int_eq(tpc_rows_next(rows, &b), 1);
        ck_assert_int_eq(tpc_history_page(&q, b), 0);
        tpc_rows_close(rows);
    }
    end(&x);
}
END_TEST

START_TEST(latest_looks_back_from_a_time)
{
    struct fixture x;
    struct tpc_arena *arena;
    struct tpc_value v;
    int64_t at;
    begin(&x);
    feed_all(&x);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_history_latest(x.d, keys[0], INT64_MAX, NULL, &v, &at));
    ck_assert_int_eq(v.as.i, SAMPLES - 1);
    ck_assert_int_eq(at, t0 + (SAMPLES - 1) * 10);
    tk_ok(tpc_history_latest(x.d, keys[0], t0 + 119, NULL, &v, &at));
    ck_assert_int_eq(v.as.i, 11);
    tk_ok(tpc_history_latest(x.d, keys[0], t0 + 120, NULL, &v, NULL));
    ck_assert_int_eq(v.as.i, 12);
    tk_fails(TPC_EINVAL, tpc_history_latest(x.d, keys[3], t0 + 99, NULL, &v, &at));
    tk_ok(tpc_history_latest(x.d, keys[3], t0 + 319, arena, &v, &at));
    ck_assert_int_eq(at, t0 + 300);
    ck_assert(tpc_str_equal(tpc_value_text(&v), TPC_STR("ab")));
    tk_ok(tpc_history_latest(x.d, keys[4], t0 + 319, arena, &v, &at));
    ck_assert_uint_eq(v.type, TPC_ARRAY);
    ck_assert_int_eq(v.as.items[1].as.i, 2);
    tk_fails(TPC_ENOENT, tpc_history_latest(x.d, keys[0], t0 - 1, NULL, &v, &at));
    tk_fails(TPC_ENOENT, tpc_history_latest(x.d, TPC_STR("none"), INT64_MAX, NULL, &v, &at));
    ck_assert_ptr_ne(strstr(tpc_error_last()->text, "none"), NULL);
    tpc_arena_destroy(arena);
    end(&x);
}
END_TEST

static void refused(struct fixture *x, const struct tpc_history_query *q, const char *word)
{
    struct tpc_rows *rows;
    tk_fails(TPC_EINVAL, tpc_history_query(x->f.core, q, &rows));
    ck_assert_msg(strstr(tpc_error_last()->text, word) != NULL, "\"%s\" does not name %s",
                  tpc_error_last()->text, word);
}

START_TEST(bad_questions_are_named)
{
    struct fixture x;
    struct tpc_device *none[2] = { NULL, NULL };
    struct tpc_row_batch empty = { .count = 0 };
    int64_t at = t0;
    begin(&x);
    struct tpc_history_query q = question(&x, 1);
    q.size = 4;
    refused(&x, &q, "size");
    q = question(&x, 0);
    refused(&x, &q, "properties");
    q = question(&x, 1);
    none[0] = x.d;
    q.devices = none;
    q.device_count = 2;
    refused(&x, &q, "device 1");
    q = question(&x, 1);
    q.aggregate_count = 3;
    refused(&x, &q, "3 aggregates");
    q = question(&x, 1);
    q.to_unix_ms = t0;
    q.from_unix_ms = t0 + 5;
    refused(&x, &q, "range");
    q = question(&x, 1);
    q.sample = 7;
    refused(&x, &q, "method 7");
    q = question(&x, 1);
    tk_fails(TPC_EINVAL, tpc_history_page(&q, &empty));
    empty.count = 1;
    empty.unix_ms = &at;
    q.sample = TPC_SAMPLE_LTTB;
    tk_fails(TPC_EINVAL, tpc_history_page(&q, &empty));
    q.sample = 0;
    q.device_count = 2;
    tk_fails(TPC_EINVAL, tpc_history_page(&q, &empty));
    end(&x);
}
END_TEST

/* ---- Arrow: what the specification says of the layout, by hand ---- */

static int32_t offset_at(const struct ArrowArray *a, int64_t i)
{
    return ((const int32_t *) a->buffers[1])[i];
}

static bool bit_at(const void *bits, int64_t i)
{
    return (((const uint8_t *) bits)[i / 8] >> (i % 8) & 1) != 0;
}

static void check_schema(const struct ArrowSchema *s)
{
    static const char *const names[] = { "device", "unix_ms", "n", "x", "on", "note", "list" };
    static const char *const formats[] = { "i", "tsm:UTC", "l", "g", "b", "u", "u" };
    ck_assert_str_eq(s->format, "+s");
    ck_assert_int_eq(s->n_children, 7);
    for (int i = 0; i < 7; i++) {
        ck_assert_str_eq(s->children[i]->name, names[i]);
        ck_assert_str_eq(s->children[i]->format, formats[i]);
        ck_assert_int_eq(s->children[i]->flags, i < 2 ? 0 : ARROW_FLAG_NULLABLE);
        ck_assert_int_eq(s->children[i]->n_children, 0);
        ck_assert(s->children[i]->release != NULL);
    }
    ck_assert_str_eq(s->children[0]->dictionary->format, "u");
    ck_assert_ptr_null(s->children[1]->dictionary);
}

static void check_fixed(const struct ArrowArray *a)
{
    const struct ArrowArray *device = a->children[0];
    const struct ArrowArray *names = device->dictionary;
    ck_assert_int_eq(a->n_buffers, 1);
    ck_assert_ptr_null(a->buffers[0]);
    ck_assert_int_eq(names->length, 1);
    ck_assert_int_eq(names->n_buffers, 3);
    ck_assert_int_eq(offset_at(names, 0), 0);
    ck_assert_int_eq(offset_at(names, 1), 2);
    ck_assert_int_eq(memcmp(names->buffers[2], "k1", 2), 0);
    for (int64_t i = 0; i < a->length; i++) {
        ck_assert_int_eq(((const int32_t *) device->buffers[1])[i], 0);
        ck_assert_int_eq(((const int64_t *) a->children[1]->buffers[1])[i], t0 + i * 10);
    }
}

static void check_text(const struct ArrowArray *a, int64_t i, const char *text, size_t len)
{
    ck_assert_int_eq(offset_at(a, i + 1) - offset_at(a, i), (int32_t) len);
    ck_assert_int_eq(memcmp((const char *) a->buffers[2] + offset_at(a, i), text, len), 0);
}

static void check_array(const struct ArrowArray *a)
{
    ck_assert_int_eq(a->length, SAMPLES);
    ck_assert_int_eq(a->null_count, 0);
    ck_assert_int_eq(a->n_children, 7);
    check_fixed(a);
    for (int c = 2; c < 7; c++) {
        const struct ArrowArray *child = a->children[c];
        ck_assert_int_eq(child->length, SAMPLES);
        ck_assert_int_eq(child->offset, 0);
        ck_assert_int_eq(child->n_buffers, c < 5 ? 2 : 3);
        ck_assert_int_eq(child->buffers[0] != NULL, child->null_count > 0);
    }
    ck_assert_int_eq(a->children[4]->null_count, SAMPLES / 2);
    for (int64_t i = 0; i < a->length; i++) {
        ck_assert_int_eq(((const int64_t *) a->children[2]->buffers[1])[i], i);
        ck_assert_double_eq(((const double *) a->children[3]->buffers[1])[i], (double) i / 4);
        ck_assert_int_eq(bit_at(a->children[4]->buffers[0], i), i % 2 == 0);
        ck_assert_int_eq(bit_at(a->children[4]->buffers[1], i), i % 4 == 0);
        ck_assert_int_eq(bit_at(a->children[5]->buffers[0], i), i % 10 == 0);
        check_text(a->children[5], i, "abc", i % 10 == 0 ? (size_t) i % 4 : 0);
        check_text(a->children[6], i, "[1,2]", i % 10 == 0 ? 5 : 0);
    }
}

START_TEST(arrow_export_has_the_layout_of_the_specification)
{
    struct fixture x;
    struct tpc_rows *rows;
    const struct tpc_row_batch *b;
    struct ArrowSchema schema;
    struct ArrowArray array;
    begin(&x);
    feed_all(&x);
    struct tpc_history_query q = question(&x, 5);
    tk_ok(tpc_history_query(x.f.core, &q, &rows));
    ck_assert_int_eq(tpc_rows_next(rows, &b), 1);
    tk_fails(TPC_EINVAL, tpc_arrow_export(NULL, NULL, &schema, &array));
    tk_ok(tpc_arrow_export(b, NULL, &schema, &array));
    tpc_rows_close(rows); /* what was exported stands by itself */
    check_schema(&schema);
    check_array(&array);
    struct ArrowArray moved = *array.children[5]; /* as a consumer may */
    array.children[5]->release = NULL;
    array.release(&array);
    ck_assert(array.release == NULL);
    check_text(&moved, 30, "abc", 2);
    moved.release(&moved);
    schema.release(&schema);
    ck_assert(schema.release == NULL);
    end(&x);
}
END_TEST

START_TEST(arrow_names_aggregates_and_widens_mixtures)
{
    static const struct tpc_value mixed[] = { { .type = TPC_INT, .as = { .i = 3 } },
                                              { .type = TPC_DOUBLE, .as = { .d = 0.5 } },
                                              { .type = TPC_NULL } };
    static const uint8_t bits[] = { 3 };
    static const int64_t times[] = { 1, 2, 3 };
    struct tpc_column columns[2] = { { .property = TPC_STR("x"),
                                       .type = TPC_COLUMN_MIXED,
                                       .missing = 1,
                                       .validity = bits,
                                       .values = mixed,
                                       .aggregate = TPC_AGG_LAST },
                                     { .property = TPC_STR("x"),
                                       .type = TPC_NULL,
                                       .missing = 3,
                                       .validity = (const uint8_t *) "",
                                       .aggregate = TPC_AGG_PERCENTILE,
                                       .percent = 99.9 } };
    struct tpc_row_batch b = { .size = sizeof(b),
                               .count = 3,
                               .device = TPC_STR("k1"),
                               .unix_ms = times,
                               .columns = columns,
                               .column_count = 2,
                               .column_size = sizeof(columns[0]) };
    struct ArrowSchema schema;
    struct ArrowArray array;
    tk_ok(tpc_arrow_export(&b, NULL, &schema, &array));
    ck_assert_str_eq(schema.children[2]->name, "x.last");
    ck_assert_str_eq(schema.children[2]->format, "g");
    ck_assert_str_eq(schema.children[3]->name, "x.p99.9");
    ck_assert_str_eq(schema.children[3]->format, "n");
    ck_assert_int_eq(array.children[3]->n_buffers, 0);
    ck_assert_int_eq(array.children[3]->null_count, 3);
    const double *x = array.children[2]->buffers[1];
    ck_assert_double_eq(x[0], 3);
    ck_assert_double_eq(x[1], 0.5);
    array.release(&array);
    schema.release(&schema);
}
END_TEST

static const struct tpc_row_batch *exported;

static int export_with(const struct tpc_allocator *a, void *user)
{
    (void) user;
    struct ArrowSchema schema;
    struct ArrowArray array;
    int rc = tpc_arrow_export(exported, a, &schema, &array);
    if (rc == 0) {
        array.release(&array);
        schema.release(&schema);
    }
    return rc;
}

START_TEST(arrow_export_that_runs_out_of_memory_leaves_nothing)
{
    struct fixture x;
    struct tpc_rows *rows;
    begin(&x);
    feed_all(&x);
    struct tpc_history_query q = question(&x, 5);
    tk_ok(tpc_history_query(x.f.core, &q, &rows));
    ck_assert_int_eq(tpc_rows_next(rows, &exported), 1);
    ck_assert_uint_gt(tk_each_alloc_fails(export_with, NULL), 20);
    tpc_rows_close(rows);
    end(&x);
}
END_TEST

Suite *query_flow_suite(void)
{
    Suite *s = suite_create("query");
    TCase *c = tcase_create("query");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, columns_are_arrays_of_their_type);
    tcase_add_test(c, pages_go_both_ways_and_end);
    tcase_add_test(c, pages_of_windows_go_on_at_the_next_window);
    tcase_add_test(c, latest_looks_back_from_a_time);
    tcase_add_test(c, bad_questions_are_named);
    tcase_add_test(c, arrow_export_has_the_layout_of_the_specification);
    tcase_add_test(c, arrow_names_aggregates_and_widens_mixtures);
    tcase_add_test(c, arrow_export_that_runs_out_of_memory_leaves_nothing);
    suite_add_tcase(s, c);
    return s;
}
