#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

#include "model_suites.h"

static struct tpc_arena *arena;
static struct tpi_model *model;
static struct tpc_error err;

static struct tpc_value json(const char *text)
{
    struct tpc_value v;
    struct tpc_error e = { .size = sizeof(e) };
    int rc = tpc_json_parse(arena, tpc_str_from(text), TPC_JSON_COPY, &e, &v);
    ck_assert_msg(rc == 0, "%s: %s", text, e.text);
    return v;
}

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    memset(&err, 0, sizeof(err));
}

static void teardown(void)
{
    model = tpi_model_unref(model);
    tpc_arena_destroy(arena);
}

static int compile(const char *text, const struct tpc_value *ids)
{
    struct tpc_value v = json(text);
    struct tpi_model *next = NULL;
    memset(&err, 0, sizeof(err));
    int rc = tpi_model_compile(NULL, &v, ids, TPI_ENFORCE_USUAL, 1, &err, &next);
    if (rc == 0) {
        tpi_model_unref(model);
        model = next;
    }
    return rc;
}

/* A model with one property "p" of the given definition. */
static void one(const char *type)
{
    char text[2000];
    snprintf(text, sizeof(text), "{\"properties\":[{\"id\":\"p\",%s}]}", type);
    tk_ok(compile(text, NULL));
}

static const char *as_json(const struct tpc_value *v)
{
    static char text[2000];
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text) - 1, 0 };
    tk_ok(tpc_json_write(v, 0, &buf));
    text[buf.need] = 0;
    return text;
}

/* ---- values: every type with what is good and what is not ---- */

struct sample {
    const char *type;
    const char *in;
    const char *out; /* NULL = refused */
    const char *path;
};

static const struct sample samples[] = {
    { "\"type\":\"int\"", "5", "5", NULL },
    { "\"type\":\"int\"", "-9223372036854775808", "-9223372036854775808", NULL },
    { "\"type\":\"int\"", "5.0", "5", NULL },
    { "\"type\":\"int\"", "5.5", NULL, "p" },
    { "\"type\":\"int\"", "\"17\"", "17", NULL },
    { "\"type\":\"int\"", "\"17x\"", NULL, "p" },
    { "\"type\":\"int\"", "\"\"", NULL, "p" },
    { "\"type\":\"int\"", "\"1e3\"", "1000", NULL },
    { "\"type\":\"int\"", "1e300", NULL, "p" },
    { "\"type\":\"int\"", "true", NULL, "p" },
    { "\"type\":\"int\"", "null", NULL, "p" },
    { "\"type\":\"int\"", "[1]", NULL, "p" },
    { "\"type\":\"int\",\"min\":-1,\"max\":\"10\"", "10", "10", NULL },
    { "\"type\":\"int\",\"min\":-1,\"max\":\"10\"", "11", NULL, "p" },
    { "\"type\":\"int\",\"min\":-1,\"max\":\"10\"", "-2", NULL, "p" },
    { "\"type\":\"int\",\"step\":5", "7", "7", NULL },
    { "\"type\":\"double\"", "21.5", "21.5", NULL },
    { "\"type\":\"double\"", "3", "3.0", NULL },
    { "\"type\":\"double\"", "\"-1.5e2\"", "-150.0", NULL },
    { "\"type\":\"double\"", "\"NaN\"", NULL, "p" },
    { "\"type\":\"double\"", "false", NULL, "p" },
    { "\"type\":\"double\",\"min\":-40,\"max\":125", "125", "125.0", NULL },
    { "\"type\":\"double\",\"min\":-40,\"max\":125", "125.01", NULL, "p" },
    { "\"type\":\"double\",\"min\":-40,\"max\":125", "\"-41\"", NULL, "p" },
    { "\"type\":\"double\",\"min\":-40", "1e308", "1e308", NULL },
    { "\"type\":\"float\"", "0.1", "0.1", NULL },
    { "\"type\":\"float\"", "1e39", NULL, "p" },
    { "\"type\":\"bool\"", "true", "true", NULL },
    { "\"type\":\"bool\"", "0", "false", NULL },
    { "\"type\":\"bool\"", "1", "true", NULL },
    { "\"type\":\"bool\"", "1.0", "true", NULL },
    { "\"type\":\"bool\"", "2", NULL, "p" },
    { "\"type\":\"bool\"", "\"true\"", "true", NULL },
    { "\"type\":\"bool\"", "\"false\"", "false", NULL },
    { "\"type\":\"bool\"", "\"yes\"", NULL, "p" },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0},{\"name\":\"auto\",\"value\":7}"
      "]",
      "7", "7", NULL },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0},{\"name\":\"auto\",\"value\":7}"
      "]",
      "\"auto\"", "7", NULL },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0},{\"name\":\"auto\",\"value\":7}"
      "]",
      "\"7\"", "7", NULL },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0},{\"name\":\"3\",\"value\":7}]",
      "\"3\"", "7", NULL },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0}]", "1", NULL, "p" },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0}]", "\"on\"", NULL, "p" },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0}]", "false", NULL, "p" },
    { "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0}]", "0.5", NULL, "p" },
    { "\"type\":\"text\"", "\"hello\"", "\"hello\"", NULL },
    { "\"type\":\"text\"", "\"\"", "\"\"", NULL },
    { "\"type\":\"text\",\"length\":4", "\"\xc3\xa9\xc3\xa9\"", "\"\xc3\xa9\xc3\xa9\"", NULL },
    { "\"type\":\"text\",\"length\":3", "\"\xc3\xa9\xc3\xa9\"", NULL, "p" },
    { "\"type\":\"text\"", "5", NULL, "p" },
    { "\"type\":\"date\"", "1763640000123", "1763640000123", NULL },
    { "\"type\":\"date\"", "\"1763640000123\"", "1763640000123", NULL },
    { "\"type\":\"date\"", "\"2026-11-20T12:00:00Z\"", "1795176000000", NULL },
    { "\"type\":\"date\"", "\"2026-11-20 12:00:00\"", "1795176000000", NULL },
    { "\"type\":\"date\"", "\"2026-11-20T12:00:00.250+01:00\"", "1795172400250", NULL },
    { "\"type\":\"date\"", "\"2026-11-20T12:00:00-0330\"", "1795188600000", NULL },
    { "\"type\":\"date\"", "\"1970-01-01T00:00:00Z\"", "0", NULL },
    { "\"type\":\"date\"", "\"1969-12-31T23:59:59.999Z\"", "-1", NULL },
    { "\"type\":\"date\"", "\"2024-02-29T00:00:00Z\"", "1709164800000", NULL },
    { "\"type\":\"date\"", "\"2023-02-29T00:00:00Z\"", NULL, "p" },
    { "\"type\":\"date\"", "\"2026-13-01T00:00:00Z\"", NULL, "p" },
    { "\"type\":\"date\"", "\"2026-11-20T24:00:00Z\"", NULL, "p" },
    { "\"type\":\"date\"", "\"2026-11-20T12:00:00+1\"", NULL, "p" },
    { "\"type\":\"date\"", "\"2026-11-20T12:00:00Zx\"", NULL, "p" },
    { "\"type\":\"date\"", "\"2026-11-20\"", NULL, "p" },
    { "\"type\":\"date\"", "1.5", NULL, "p" },
    { "\"type\":\"date\"", "true", NULL, "p" },
#define POS                                                                                        \
    "\"type\":\"struct\",\"fields\":[{\"id\":\"lat\",\"type\":\"double\",\"min\":-90,\"max\":90,"  \
    "\"required\":true},{\"id\":\"name\",\"type\":\"text\",\"length\":3}]"
    { POS, "{\"lat\":1}", "{\"lat\":1.0}", NULL },
    { POS, "{\"name\":\"ab\",\"alt\":5,\"lat\":\"1.5\"}", "{\"lat\":1.5,\"name\":\"ab\"}", NULL },
    { POS, "{\"lat\":1,\"name\":null}", "{\"lat\":1.0}", NULL },
    { POS, "{\"name\":\"ab\"}", NULL, "p.lat" },
    { POS, "{\"lat\":91}", NULL, "p.lat" },
    { POS, "{\"lat\":1,\"name\":\"abcd\"}", NULL, "p.name" },
    { POS, "[1]", NULL, "p" },
    { "\"type\":\"array\",\"items\":{\"type\":\"int\"}", "[1,\"2\",3.0]", "[1,2,3]", NULL },
    { "\"type\":\"array\",\"items\":{\"type\":\"int\"}", "[]", "[]", NULL },
    { "\"type\":\"array\",\"items\":{\"type\":\"int\"}", "[1,2,\"x\"]", NULL, "p[2]" },
    { "\"type\":\"array\",\"items\":{\"type\":\"int\"},\"size\":2", "[1,2,3]", NULL, "p" },
    { "\"type\":\"array\",\"items\":{\"type\":\"int\"}", "{}", NULL, "p" },
    { "\"type\":\"array\",\"items\":{" POS "}", "[{\"lat\":1},{\"lat\":200}]", NULL, "p[1].lat" },
};

START_TEST(a_value_is_converted_or_refused_with_its_path)
{
    const struct sample *s = &samples[_i];
    struct tpc_value in, out = { .type = 99 };
    one(s->type);
    in = json(s->in);
    int rc = tpi_model_check(model, 0, &in, arena, &err, &out);
    if (s->out == NULL) {
        ck_assert_msg(rc == TPC_EMODEL, "%s %s: %s", s->type, s->in, tpc_error_name(rc));
        ck_assert_str_eq(err.path, s->path);
        ck_assert_uint_gt(strlen(err.text), 0);
        ck_assert_uint_eq(out.type, 99);
        return;
    }
    ck_assert_msg(rc == 0, "%s %s: %s", s->type, s->in, err.text);
    ck_assert_str_eq(as_json(&out), s->out);
    ck_assert_uint_eq(out.type, tpi_model_property(model, 0)->value_type);
}
END_TEST

START_TEST(numbers_that_are_none_are_refused)
{
    const double odd[] = { NAN, INFINITY, -INFINITY };
    struct tpc_value out;
    one("\"type\":\"double\"");
    for (size_t i = 0; i < 3; i++) {
        struct tpc_value in = { TPC_DOUBLE, 0, 0, { .d = odd[i] } };
        tk_fails(TPC_EMODEL, tpi_model_check(model, 0, &in, NULL, NULL, &out));
    }
}
END_TEST

/* ---- models that cannot be ---- */

struct fault {
    const char *model;
    int code;
    const char *path;
};

static const struct fault faults[] = {
    { "[]", TPC_EINVAL, "" },
    { "{\"properties\":{}}", TPC_EINVAL, "properties" },
    { "{\"properties\":[5]}", TPC_EINVAL, "properties[0]" },
    { "{\"properties\":[{\"type\":\"int\"}]}", TPC_EINVAL, "properties[0].id" },
    { "{\"properties\":[{\"id\":\"\",\"type\":\"int\"}]}", TPC_EINVAL, "properties[0].id" },
    { "{\"properties\":[{\"id\":\"a\\u0000b\",\"type\":\"int\"}]}", TPC_EINVAL,
      "properties[0].id" },
    { "{\"properties\":[{\"id\":\"a\"}]}", TPC_EINVAL, "properties[0].type" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"number\"}]}", TPC_EINVAL, "properties[0].type" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"a\",\"type\":\"int\"}]}",
      TPC_EINVAL, "properties[1].id" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"access\":\"x\"}]}", TPC_EINVAL,
      "properties[0].access" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"role\":5}]}", TPC_EINVAL,
      "properties[0].role" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"min\":5,\"max\":4}]}", TPC_EINVAL,
      "properties[0].min" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"min\":\"x\"}]}", TPC_EINVAL,
      "properties[0].min" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"max\":1.5}]}", TPC_EINVAL,
      "properties[0].max" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"float\",\"max\":1e39}]}", TPC_EINVAL,
      "properties[0].max" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"double\",\"step\":-1}]}", TPC_EINVAL,
      "properties[0].step" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"text\",\"length\":0}]}", TPC_EINVAL,
      "properties[0].length" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"enum\"}]}", TPC_EINVAL, "properties[0].values" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"enum\",\"values\":[{\"name\":\"x\"}]}]}",
      TPC_EINVAL, "properties[0].values[0].value" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"enum\",\"values\":[{\"name\":\"x\",\"value\":1},"
      "{\"name\":\"y\",\"value\":1}]}]}",
      TPC_EINVAL, "properties[0].values[1].value" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"enum\",\"values\":[{\"name\":\"x\",\"value\":1},"
      "{\"name\":\"x\",\"value\":2}]}]}",
      TPC_EINVAL, "properties[0].values[1].name" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"struct\"}]}", TPC_EINVAL, "properties[0].fields" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"struct\",\"fields\":[{\"id\":\"x\",\"type\":\"?\"}"
      "]}]}",
      TPC_EINVAL, "properties[0].fields[0].type" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"array\"}]}", TPC_EINVAL, "properties[0].items" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{"
      "\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{"
      "\"type\":\"int\"}}}}}}]}",
      TPC_ETOOBIG, "properties[0].items.items.items.items.type" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"was\":5}]}", TPC_EINVAL,
      "properties[0].was" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"was\":\"a\"}]}", TPC_EINVAL,
      "properties[0].was" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"was\":[\"x\",\"b\"]},{\"id\":\"b\","
      "\"type\":"
      "\"int\"}]}",
      TPC_EINVAL, "properties[0].was" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"was\":\"x\"},{\"id\":\"b\",\"type\":"
      "\"int\","
      "\"was\":\"x\"}]}",
      TPC_EINVAL, "properties[1].was" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"was\":[\"1\",\"2\",\"3\",\"4\",\"5\","
      "\"6\","
      "\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}]}",
      TPC_ETOOBIG, "properties[0].was" },
    { "{\"services\":[{\"id\":\"s\",\"idempotent\":1}]}", TPC_EINVAL, "services[0].idempotent" },
    { "{\"services\":[{\"id\":\"s\",\"input\":[{\"id\":\"x\"}]}]}", TPC_EINVAL,
      "services[0].input[0].type" },
    { "{\"services\":[{\"id\":\"s\",\"output\":[{\"id\":\"x\"}]}]}", TPC_EINVAL,
      "services[0].output[0].type" },
    { "{\"services\":[{\"id\":\"s\"},{\"id\":\"s\"}]}", TPC_EINVAL, "services[1].id" },
    { "{\"events\":[{\"id\":\"e\",\"level\":\"loud\"}]}", TPC_EINVAL, "events[0].level" },
};

START_TEST(a_bad_model_is_refused_with_the_path)
{
    const struct fault *f = &faults[_i];
    int rc = compile(f->model, NULL);
    ck_assert_msg(rc == f->code, "%s: %s", f->model, tpc_error_name(rc));
    ck_assert_int_eq(err.code, f->code);
    ck_assert_str_eq(err.path, f->path);
}
END_TEST

START_TEST(members_that_a_model_does_not_know_are_left_alone)
{
    tk_ok(compile(
        "{\"vendor\":{\"x\":1},\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"unit\":\"W\","
        "\"icon\":\"bolt\"}]}",
        NULL));
    tk_ok(compile("{}", NULL));
    ck_assert_uint_eq(tpi_model_property_count(model), 0);
}
END_TEST

/* ---- ids and finding ---- */

static uint16_t id_of(const char *key)
{
    int index = tpi_model_find(model, tpc_str_from(key), NULL);
    ck_assert_int_ge(index, 0);
    uint16_t id = tpi_model_property(model, (uint32_t) index)->id;
    ck_assert_int_eq(tpi_model_find_id(model, id), index);
    return id;
}

/* The next revision, with the ids of the one before as they would be stored. */
static void next(const char *text)
{
    struct tpc_value ids;
    char stored[2000];
    tk_ok(tpi_model_ids(model, arena, &ids));
    snprintf(stored, sizeof(stored), "%s", as_json(&ids));
    ids = json(stored);
    tk_ok(compile(text, &ids));
}

START_TEST(property_ids_are_given_once_and_for_good)
{
    tk_ok(compile(
        "{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"text\"}]}",
        NULL));
    ck_assert_uint_eq(id_of("a"), 1);
    ck_assert_uint_eq(id_of("b"), 2);
    next("{\"properties\":[{\"id\":\"c\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"text\"}]}");
    ck_assert_uint_eq(id_of("b"), 2);
    ck_assert_uint_eq(id_of("c"), 3);
    ck_assert_int_eq(tpi_model_find_id(model, 1), -1);
    next("{\"properties\":[{\"id\":\"a\",\"type\":\"double\"},{\"id\":\"c\",\"type\":\"int\"}]}");
    ck_assert_uint_eq(id_of("a"), 4);
    next("{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"text\"},"
         "{\"id\":\"d\",\"type\":\"bool\"}]}");
    ck_assert_uint_eq(id_of("a"), 1);
    ck_assert_uint_eq(id_of("b"), 2);
    ck_assert_uint_eq(id_of("d"), 5);
    ck_assert_int_eq(tpi_model_find_id(model, 0), -1);
    ck_assert_int_eq(tpi_model_find_id(model, 65535), -1);
}
END_TEST

START_TEST(a_renamed_property_keeps_its_id)
{
    tk_ok(compile(
        "{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"int\"}]}",
        NULL));
    next("{\"properties\":[{\"id\":\"b\",\"type\":\"int\"},{\"id\":\"c\",\"type\":\"int\",\"was\":"
         "\"a\"}]}");
    ck_assert_uint_eq(id_of("c"), 1);
    ck_assert_int_eq(tpi_model_find(model, TPC_STR("a"), NULL), 1);
    ck_assert_int_eq(tpi_model_find_any_case(model, TPC_STR("A")), 1);
    ck_assert(tpc_str_equal(tpi_model_key_of(model, 1), TPC_STR("c")));
    /* The mark may go once nobody says the old key any more. */
    next("{\"properties\":[{\"id\":\"b\",\"type\":\"int\"},{\"id\":\"c\",\"type\":\"int\"}]}");
    ck_assert_uint_eq(id_of("c"), 1);
    ck_assert_int_eq(tpi_model_find(model, TPC_STR("a"), NULL), -1);
    /* The old key is free for something new, before or behind the one that had it. */
    next("{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"c\",\"type\":\"int\"}]}");
    ck_assert_uint_eq(id_of("a"), 3);
    ck_assert_uint_eq(id_of("c"), 1);
    next("{\"properties\":[{\"id\":\"c\",\"type\":\"int\"},{\"id\":\"a\",\"type\":\"int\"}]}");
    ck_assert_uint_eq(id_of("a"), 3);
    ck_assert_uint_eq(id_of("c"), 1);
    ck_assert(tpc_str_equal(tpi_model_key_of(model, 2), TPC_STR("b"))); /* it is no more */
    ck_assert_uint_eq(tpi_model_key_of(model, 4).len, 0);
}
END_TEST

START_TEST(a_renaming_may_be_taken_back)
{
    tk_ok(compile("{\"properties\":[{\"id\":\"a\",\"type\":\"int\"}]}", NULL));
    next("{\"properties\":[{\"id\":\"b\",\"type\":\"int\",\"was\":\"a\"}]}");
    next("{\"properties\":[{\"id\":\"c\",\"type\":\"int\",\"was\":[\"b\",\"a\"]}]}");
    ck_assert_uint_eq(id_of("c"), 1);
    ck_assert_int_eq(tpi_model_find(model, TPC_STR("a"), NULL), 0);
    ck_assert_int_eq(tpi_model_find(model, TPC_STR("b"), NULL), 0);
    next("{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"was\":[\"b\",\"c\"]}]}");
    ck_assert_uint_eq(id_of("a"), 1);
    /* Both at once: the later name has the values. */
    next("{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"c\",\"type\":\"int\"}]}");
    ck_assert_uint_eq(id_of("c"), 1);
    ck_assert_uint_eq(id_of("a"), 2);
    /* Another type is another thing, whatever it was called. */
    next("{\"properties\":[{\"id\":\"d\",\"type\":\"double\",\"was\":\"c\"}]}");
    ck_assert_uint_eq(id_of("d"), 3);
    ck_assert(tpc_str_equal(tpi_model_key_of(model, 1), TPC_STR("c")));
}
END_TEST

START_TEST(stored_ids_that_make_no_sense_are_corrupt)
{
    static const char *const bad[] = {
        "{}",
        "{\"next\":1,\"ids\":{}}",
        "{\"next\":0,\"ids\":[]}",
        "{\"next\":65537,\"ids\":[]}",
        "{\"next\":2,\"ids\":[[\"a\",\"int\",2]]}",
        "{\"next\":2,\"ids\":[[\"a\",\"int\",0]]}",
        "{\"next\":2,\"ids\":[[\"a\",\"what\",1]]}",
        "{\"next\":2,\"ids\":[[\"a\",\"int\"]]}",
        "{\"next\":3,\"ids\":[[\"a\",\"int\",1],[\"b\",\"text\",1]]}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_value ids = json(bad[i]);
        int rc = compile(
            "{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"b\",\"type\":\"int\"}]}",
            &ids);
        ck_assert_msg(rc == TPC_ECORRUPT, "%s: %s", bad[i], tpc_error_name(rc));
    }
}
END_TEST

START_TEST(a_product_that_used_up_its_ids_is_told_so)
{
    struct tpc_value ids = json("{\"next\":65536,\"ids\":[[\"a\",\"int\",65535]]}");
    tk_ok(compile("{\"properties\":[{\"id\":\"a\",\"type\":\"int\"}]}", &ids));
    ck_assert_uint_eq(id_of("a"), 65535);
    tk_fails(TPC_ETOOBIG, compile("{\"properties\":[{\"id\":\"b\",\"type\":\"int\"}]}", &ids));
}
END_TEST

START_TEST(a_key_is_found_with_any_hint)
{
    char text[4000] = "{\"properties\":[";
    for (int i = 0; i < 60; i++) {
        char one_text[60];
        snprintf(one_text, sizeof(one_text), "%s{\"id\":\"key%d\",\"type\":\"int\"}",
                 i > 0 ? "," : "", i);
        strncat(text, one_text, sizeof(text) - strlen(text) - 1);
    }
    strncat(text, "]}", sizeof(text) - strlen(text) - 1);
    tk_ok(compile(text, NULL));
    const uint32_t hints[] = { 0, 7, 59, 60, UINT32_MAX };
    for (int i = 0; i < 60; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        for (size_t h = 0; h < 5; h++) {
            uint32_t hint = hints[h];
            ck_assert_int_eq(tpi_model_find(model, tpc_str_from(key), &hint), i);
            ck_assert_uint_eq(hint, (uint32_t) i + 1);
        }
    }
    uint32_t hint = 3;
    ck_assert_int_eq(tpi_model_find(model, TPC_STR("key60"), &hint), -1);
    ck_assert_int_eq(tpi_model_find(model, (struct tpc_str){ "", 0 }, &hint), -1);
    ck_assert_uint_eq(hint, 3);
}
END_TEST

START_TEST(properties_say_what_they_are)
{
    tk_ok(compile(
        "{\"properties\":[{\"id\":\"a\",\"type\":\"float\"},{\"id\":\"b\",\"type\":\"enum\","
        "\"access\":\"rw\",\"role\":\"attribute\",\"values\":[{\"name\":\"x\",\"value\":\"1\"}]}]}",
        NULL));
    const struct tpi_property *a = tpi_model_property(model, 0);
    const struct tpi_property *b = tpi_model_property(model, 1);
    ck_assert(!a->writable && !a->attribute && b->writable && b->attribute);
    ck_assert_uint_eq(a->data_type, TPI_DATA_FLOAT);
    ck_assert_uint_eq(a->value_type, TPC_DOUBLE);
    ck_assert_uint_eq(b->value_type, TPC_INT);
    ck_assert_str_eq(tpi_data_type_name(b->data_type), "enum");
    ck_assert_str_eq(tpi_data_type_name(0), "?");
    ck_assert_uint_eq(tpi_model_revision(model), 1);
}
END_TEST

/* ---- services and events ---- */

struct call {
    const char *service;
    const char *params; /* NULL = none */
    int code;
    const char *out_or_path;
};

static const char device_model[] = TPC_JSON({ "properties" : [
                   { "id" : "on", "type" : "bool", "access" : "rw" },
                   { "id" : "t", "type" : "double" } ],
               "services" : [
                   { "id" : "reboot", "idempotent" : true, "input" : [] },
                   { "id" : "move",
                     "input" : [
                         { "id" : "to", "type" : "int", "min" : 0, "max" : 9, "required" : true },
                         { "id" : "fast", "type" : "bool" } ] },
                   { "id" : "raw" },
                   { "id" : "set" } ],
               "events" : [ { "id" : "hot",
                              "level" : "alert",
                              "output" : [ { "id" : "t", "type" : "double" } ] },
                            { "id" : "any" } ] });

static const struct call calls[] = {
    { "reboot", NULL, 0, "{}" },
    { "reboot", "{}", 0, "{}" },
    { "reboot", "null", 0, "{}" },
    { "reboot", "{\"x\":1}", TPC_EMODEL, "x" },
    { "reboot", "[]", TPC_EMODEL, "" },
    { "move", "{\"to\":\"3\",\"fast\":1}", 0, "{\"to\":3,\"fast\":true}" },
    { "move", "{\"fast\":1}", TPC_EMODEL, "to" },
    { "move", "{\"to\":10}", TPC_EMODEL, "to" },
    { "move", "{\"to\":1,\"slow\":1}", TPC_EMODEL, "slow" },
    { "raw", "{\"x\":[1]}", 0, "{\"x\":[1]}" },
    { "fly", "{}", TPC_ENOENT, "" },
    { "", "{}", TPC_ENOENT, "" },
    { "set", "{\"on\":1}", 0, "{\"on\":true}" },
    { "set", "{\"t\":1}", TPC_EMODEL, "t" },
    { "set", "{\"on\":true,\"zzz\":1}", TPC_EMODEL, "zzz" },
    { "set", "{\"on\":null}", TPC_EMODEL, "on" },
    { "set", "{}", TPC_EMODEL, "" },
    { "get", NULL, 0, "{}" },
    { "get", "{\"keys\":[\"t\",\"on\"]}", 0, "{\"keys\":[\"t\",\"on\"]}" },
    { "get", "{\"keys\":[\"t\",\"x\"]}", TPC_EMODEL, "keys[1]" },
    { "get", "{\"keys\":[5]}", TPC_EMODEL, "keys[0]" },
    { "get", "{\"keys\":\"t\"}", TPC_EMODEL, "keys" },
    { "get", "{\"all\":true}", TPC_EMODEL, "keys" },
};

START_TEST(a_command_is_checked_against_its_service)
{
    const struct call *c = &calls[_i];
    struct tpc_value params, out;
    tk_ok(compile(device_model, NULL));
    if (c->params != NULL) {
        params = json(c->params);
    }
    memset(&err, 0, sizeof(err));
    int rc = tpi_model_service_check(model, tpc_str_from(c->service),
                                     c->params == NULL ? NULL : &params, arena, &err, &out);
    ck_assert_msg(rc == c->code, "%s %s: %s %s", c->service, c->params, tpc_error_name(rc),
                  err.text);
    ck_assert_str_eq(rc == 0 ? as_json(&out) : err.path, c->out_or_path);
}
END_TEST

START_TEST(only_what_may_run_twice_is_idempotent)
{
    tk_ok(compile(device_model, NULL));
    ck_assert(tpi_model_service_idempotent(model, TPC_STR("reboot")));
    ck_assert(!tpi_model_service_idempotent(model, TPC_STR("move")));
    ck_assert(!tpi_model_service_idempotent(model, TPC_STR("fly")));
    ck_assert(tpi_model_service_idempotent(model, TPC_STR("set")));
    ck_assert(tpi_model_service_idempotent(model, TPC_STR("get")));
}
END_TEST

START_TEST(an_event_keeps_what_the_model_names)
{
    struct tpc_value in = json("{\"t\":\"31\",\"extra\":1}");
    struct tpc_value out;
    tk_ok(compile(device_model, NULL));
    tk_ok(tpi_model_event_check(model, TPC_STR("hot"), &in, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{\"t\":31.0}");
    tk_ok(tpi_model_event_check(model, TPC_STR("any"), &in, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{\"t\":\"31\",\"extra\":1}");
    tk_fails(TPC_ENOENT, tpi_model_event_check(model, TPC_STR("cold"), &in, arena, &err, &out));
    tpi_model_open(model); /* `unknown: keep` */
    tk_ok(tpi_model_event_check(model, TPC_STR("cold"), &in, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{\"t\":\"31\",\"extra\":1}");
    tk_ok(tpi_model_event_check(model, TPC_STR("hot"), &in, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{\"t\":31.0}");
    tk_ok(tpi_model_event_check(model, TPC_STR("cold"), NULL, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{}");
    tk_fails(TPC_EMODEL, tpi_model_event_check(model, TPC_STR("a\nb"), &in, arena, &err, &out));
}
END_TEST

/* ---- memory ---- */

static int compile_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpc_value v = json(device_model);
    struct tpc_value ids = json("{\"next\":3,\"ids\":[[\"x\",\"int\",1],[\"t\",\"double\",2]]}");
    struct tpi_model *m;
    (void) user;
    int rc = tpi_model_compile(a, &v, &ids, TPI_ENFORCE_USUAL, 1, NULL, &m);
    if (rc == 0) {
        ck_assert_ptr_eq(tpi_model_ref(m), m);
        tpi_model_unref(m);
        tpi_model_unref(m);
    }
    return rc;
}

START_TEST(running_out_of_memory_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(compile_without_memory, NULL), 3);
}
END_TEST

Suite *model_suite(void)
{
    Suite *s = suite_create("model");
    TCase *tc = tcase_create("model");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_value_is_converted_or_refused_with_its_path, 0,
                        sizeof(samples) / sizeof(samples[0]));
    tcase_add_test(tc, numbers_that_are_none_are_refused);
    tcase_add_loop_test(tc, a_bad_model_is_refused_with_the_path, 0,
                        sizeof(faults) / sizeof(faults[0]));
    tcase_add_test(tc, members_that_a_model_does_not_know_are_left_alone);
    tcase_add_test(tc, property_ids_are_given_once_and_for_good);
    tcase_add_test(tc, a_renamed_property_keeps_its_id);
    tcase_add_test(tc, a_renaming_may_be_taken_back);
    tcase_add_test(tc, stored_ids_that_make_no_sense_are_corrupt);
    tcase_add_test(tc, a_product_that_used_up_its_ids_is_told_so);
    tcase_add_test(tc, a_key_is_found_with_any_hint);
    tcase_add_test(tc, properties_say_what_they_are);
    tcase_add_loop_test(tc, a_command_is_checked_against_its_service, 0,
                        sizeof(calls) / sizeof(calls[0]));
    tcase_add_test(tc, only_what_may_run_twice_is_idempotent);
    tcase_add_test(tc, an_event_keeps_what_the_model_names);
    tcase_add_test(tc, running_out_of_memory_leaks_nothing);
    suite_add_tcase(s, tc);
    return s;
}
