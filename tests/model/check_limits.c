/* What becomes of values beyond the limits of a model, and the members of definitions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/msg.h>

#include "model/model.h"
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

static int compile(const char *text, enum tpi_enforce enforce)
{
    struct tpc_value v = json(text);
    struct tpi_model *next = NULL;
    memset(&err, 0, sizeof(err));
    int rc = tpi_model_compile(NULL, &v, NULL, enforce, 1, &err, &next);
    if (rc == 0) {
        tpi_model_unref(model);
        model = next;
    }
    return rc;
}

static const char *as_json(const struct tpc_value *v)
{
    static char text[2000];
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text) - 1, 0 };
    tk_ok(tpc_json_write(v, 0, &buf));
    text[buf.need] = 0;
    return text;
}

#define SWITCH                                                                                     \
    "\"type\":\"enum\",\"values\":[{\"name\":\"off\",\"value\":0},{\"name\":\"on\",\"value\":5}]"
#define PAIR                                                                                       \
    "\"type\":\"struct\",\"fields\":[{\"id\":\"a\",\"type\":\"int\",\"max\":9,\"required\":true}," \
    "{\"id\":\"b\",\"type\":\"text\",\"length\":3}]"

/* What each of usual, drop, clamp, keep makes of a value; NULL = refused. */
static const struct limit {
    const char *type;
    const char *in;
    const char *usual, *drop, *clamp, *keep;
} limits[] = {
    { "\"type\":\"int\",\"min\":-5,\"max\":10", "10", "10", "10", "10", "10" },
    { "\"type\":\"int\",\"min\":-5,\"max\":10", "11", NULL, NULL, "!10", "?11" },
    { "\"type\":\"int\",\"min\":-5,\"max\":10", "\"-6\"", NULL, NULL, "!-5", "?-6" },
    { "\"type\":\"int\",\"max\":10", "1.5", NULL, NULL, NULL, NULL },
    { "\"type\":\"int\",\"max\":10", "true", NULL, NULL, NULL, NULL },
    { "\"type\":\"double\",\"min\":-40,\"max\":125", "125.5", NULL, NULL, "!125.0", "?125.5" },
    { "\"type\":\"double\",\"min\":-40,\"max\":125", "-41", NULL, NULL, "!-40.0", "?-41.0" },
    { "\"type\":\"double\",\"max\":125", "\"x\"", NULL, NULL, NULL, NULL },
    /* What a type cannot hold is no matter of limits. */
    { "\"type\":\"float\",\"max\":125", "1e39", NULL, NULL, NULL, NULL },
    { "\"type\":\"float\",\"max\":125", "1e38", NULL, NULL, "!125.0", "?1e38" },
    /* Steps, counted from min or 0; halves go up. */
    { "\"type\":\"int\",\"step\":5", "7", "7", NULL, "!5", "?7" },
    { "\"type\":\"int\",\"step\":5", "8", "8", NULL, "!10", "?8" },
    { "\"type\":\"int\",\"step\":5", "-7", "-7", NULL, "!-5", "?-7" },
    { "\"type\":\"int\",\"step\":5", "-10", "-10", "-10", "-10", "-10" },
    { "\"type\":\"int\",\"step\":4", "-6", "-6", NULL, "!-4", "?-6" },
    { "\"type\":\"int\",\"step\":\"5\",\"min\":2,\"max\":20", "12", "12", "12", "12", "12" },
    { "\"type\":\"int\",\"step\":5,\"min\":2,\"max\":20", "20", "20", NULL, "!17", "?20" },
    { "\"type\":\"int\",\"step\":5,\"min\":2,\"max\":20", "99", NULL, NULL, "!17", "?99" },
    { "\"type\":\"int\",\"step\":0", "7", "7", "7", "7", "7" },
    { "\"type\":\"int\",\"step\":7", "-9223372036854775808", "-9223372036854775808", NULL,
      "!-9223372036854775807", "?-9223372036854775808" },
    { "\"type\":\"int\",\"step\":10", "9223372036854775807", "9223372036854775807", NULL,
      "!9223372036854775800", "?9223372036854775807" },
    { "\"type\":\"int\",\"step\":9223372036854775807,\"min\":-9223372036854775807", "5", "5", NULL,
      "!0", "?5" },
    { "\"type\":\"double\",\"step\":0.1", "21.3", "21.3", "21.3", "21.3", "21.3" },
    { "\"type\":\"double\",\"step\":0.1,\"min\":-40,\"max\":125", "21.3", "21.3", "21.3", "21.3",
      "21.3" },
    { "\"type\":\"double\",\"step\":0.1,\"min\":-40,\"max\":125", "21.34", "21.34", NULL, "!21.3",
      "?21.34" },
    { "\"type\":\"double\",\"step\":\"0.5\"", "21.3", "21.3", NULL, "!21.5", "?21.3" },
    { "\"type\":\"double\",\"step\":0.5", "21.25", "21.25", NULL, "!21.5", "?21.25" },
    { "\"type\":\"double\",\"step\":0.5,\"max\":21.4", "21.3", "21.3", NULL, "!21.0", "?21.3" },
    { "\"type\":\"double\",\"step\":0.5,\"max\":21.4", "30", NULL, NULL, "!21.0", "?30.0" },
    { "\"type\":\"double\",\"step\":0.3", "1", "1.0", NULL, "!0.8999999999999999", "?1.0" },
    { "\"type\":\"double\",\"step\":1e-9", "1e300", "1e300", "1e300", "1e300", "1e300" },
    { "\"type\":\"float\",\"step\":0.1", "21.299999237060547", "21.299999237060547",
      "21.299999237060547", "21.299999237060547", "21.299999237060547" },
    /* An enum's numbers are names: none is next to another. */
    { SWITCH, "\"on\"", "5", "5", "5", "5" },
    { SWITCH, "4", NULL, NULL, NULL, "?4" },
    { SWITCH, "\"4\"", NULL, NULL, NULL, "?4" },
    { SWITCH, "\"what\"", NULL, NULL, NULL, NULL },
    { "\"type\":\"bool\"", "2", NULL, NULL, NULL, NULL },
    /* Texts are cut between characters. */
    { "\"type\":\"text\",\"length\":3", "\"abcd\"", NULL, NULL, "!\"abc\"", "?\"abcd\"" },
    { "\"type\":\"text\",\"length\":3", "\"\xc3\xa9\xc3\xa9\"", NULL, NULL, "!\"\xc3\xa9\"",
      "?\"\xc3\xa9\xc3\xa9\"" },
    { "\"type\":\"text\",\"length\":2", "\"\xe6\xb8\xa9\"", NULL, NULL, "!\"\"",
      "?\"\xe6\xb8\xa9\"" },
    { "\"type\":\"array\",\"size\":2,\"items\":{\"type\":\"int\",\"max\":5}", "[1,2,3]", NULL, NULL,
      "![1,2]", "?[1,2,3]" },
    { "\"type\":\"array\",\"size\":2,\"items\":{\"type\":\"int\",\"max\":5}", "[1,9]", NULL, NULL,
      "![1,5]", "?[1,9]" },
    { "\"type\":\"array\",\"size\":2,\"items\":{\"type\":\"int\",\"max\":5}", "[1,\"x\"]", NULL,
      NULL, NULL, NULL },
    { PAIR, "{\"a\":10,\"b\":\"abcd\"}", NULL, NULL, "!{\"a\":9,\"b\":\"abc\"}",
      "?{\"a\":10,\"b\":\"abcd\"}" },
    { PAIR, "{\"b\":\"abc\"}", NULL, NULL, NULL, NULL },
    { "\"type\":\"date\"", "\"2026-13-01T00:00:00Z\"", NULL, NULL, NULL, NULL },
};

static void take(const struct limit *t, enum tpi_enforce enforce, const char *want)
{
    char text[1000];
    struct tpc_value in, out = { .type = 99 };
    uint16_t flags = 77;
    snprintf(text, sizeof(text), "{\"properties\":[{\"id\":\"p\",%s}]}", t->type);
    tk_ok(compile(text, enforce));
    in = json(t->in);
    int rc = tpi_model_take(model, 0, &in, arena, &err, &out, &flags);
    if (want == NULL) {
        ck_assert_msg(rc == TPC_EMODEL, "%s %s, %d: taken", t->type, t->in, enforce);
        ck_assert_uint_gt(strlen(err.text), 0);
        ck_assert_uint_eq(flags, 77);
        return;
    }
    uint16_t mark = *want == '!' ? TPC_POINT_CLAMPED : *want == '?' ? TPC_POINT_BEYOND : 0;
    ck_assert_msg(rc == 0, "%s %s, %d: %s", t->type, t->in, enforce, err.text);
    ck_assert_str_eq(as_json(&out), want + (mark != 0));
    ck_assert_msg(flags == mark, "%s %s, %d: flags %u", t->type, t->in, enforce, flags);
    ck_assert_uint_eq(out.type, tpi_model_property(model, 0)->value_type);
    /* What a clamped value became stands within all limits. */
    if (mark == TPC_POINT_CLAMPED) {
        struct tpc_value again = out;
        tk_ok(tpi_model_take(model, 0, &again, arena, &err, &out, &flags));
        ck_assert_uint_eq(flags, 0);
    }
}

START_TEST(a_value_beyond_a_limit_is_treated_as_the_product_says)
{
    const struct limit *t = &limits[_i];
    take(t, TPI_ENFORCE_USUAL, t->usual);
    take(t, TPI_ENFORCE_DROP, t->drop);
    take(t, TPI_ENFORCE_CLAMP, t->clamp);
    take(t, TPI_ENFORCE_KEEP, t->keep);
}
END_TEST

START_TEST(commands_are_never_bent)
{
    struct tpc_value out;
    struct tpc_value beyond = json("{\"p\":11}");
    struct tpc_value between = json("{\"p\":7}");
    struct tpc_value good = json("{\"p\":10}");
    for (int e = TPI_ENFORCE_DROP; e <= TPI_ENFORCE_KEEP; e++) {
        tk_ok(compile("{\"properties\":[{\"id\":\"p\",\"type\":\"int\",\"max\":10,\"step\":5,"
                      "\"access\":\"rw\"}]}",
                      (enum tpi_enforce) e));
        tk_fails(TPC_EMODEL,
                 tpi_model_service_check(model, TPC_STR("set"), &beyond, arena, &err, &out));
        tk_fails(TPC_EMODEL,
                 tpi_model_service_check(model, TPC_STR("set"), &between, arena, &err, &out));
        ck_assert_str_eq(err.text, "7 is no step of 5, 5 is");
        tk_ok(tpi_model_service_check(model, TPC_STR("set"), &good, arena, &err, &out));
    }
}
END_TEST

START_TEST(what_is_kept_has_an_end)
{
    size_t len = TPI_MODEL_MAX_TEXT + 1;
    char *text = malloc(len);
    struct tpc_value out;
    uint16_t flags;
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', len);
    struct tpc_value in = { .type = TPC_TEXT, .len = len, .as.text = text };
    tk_ok(compile("{\"properties\":[{\"id\":\"p\",\"type\":\"text\",\"length\":3}]}",
                  TPI_ENFORCE_KEEP));
    tk_fails(TPC_EMODEL, tpi_model_take(model, 0, &in, arena, &err, &out, &flags));
    in.len--;
    tk_ok(tpi_model_take(model, 0, &in, arena, &err, &out, &flags));
    free(text);
}
END_TEST

/* ---- members of definitions ---- */

static const struct {
    const char *model;
    const char *path; /* NULL = good */
} definitions[] = {
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"access\":\"w\",\"required\":true}]}",
      NULL },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"access\":\"x\"}]}",
      "properties[0].access" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"required\":1}]}",
      "properties[0].required" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"unit\":5}]}", "properties[0].unit" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"name\":[]}]}", "properties[0].name" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"max\":9,\"default\":\"9\"}]}", NULL },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"max\":9,\"default\":\"\"}]}", NULL },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"max\":9,\"default\":10}]}",
      "properties[0].default" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"text\",\"default\":10}]}",
      "properties[0].default" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"step\":0.5}]}", "properties[0].step" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"bool\",\"values\":[{\"name\":\"shut\",\"value\":0}"
      ",{\"name\":\"open\",\"value\":\"1\"}]}]}",
      NULL },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"bool\",\"values\":[{\"name\":\"shut\",\"value\":2}"
      "]}]}",
      "properties[0].values[0].value" },
    { "{\"services\":[{\"id\":\"s\",\"call\":\"sync\"},{\"id\":\"t\",\"call\":\"async\"}]}", NULL },
    { "{\"services\":[{\"id\":\"s\",\"call\":\"later\"}]}", "services[0].call" },
    { "{\"services\":[{\"id\":\"s\",\"input\":[{\"id\":\"x\",\"type\":\"int\",\"default\":\"y\"}]}]"
      "}",
      "services[0].input[0].default" },
    { "{\"events\":[{\"id\":\"e\",\"level\":\"info\"},{\"id\":\"f\",\"level\":\"alert\"},"
      "{\"id\":\"g\",\"level\":\"error\"}]}",
      NULL },
};

START_TEST(a_definition_is_good_or_told_where_it_is_not)
{
    int rc = compile(definitions[_i].model, TPI_ENFORCE_DROP);
    ck_assert_msg(rc == (definitions[_i].path == NULL ? 0 : TPC_EINVAL), "%s: %s %s",
                  definitions[_i].model, tpc_error_name(rc), err.text);
    if (rc != 0) {
        ck_assert_str_eq(err.path, definitions[_i].path);
        ck_assert_int_eq(err.code, TPC_EINVAL);
    }
}
END_TEST

START_TEST(what_is_write_only_is_set_and_reported_but_not_asked_for)
{
    struct tpc_value out, in = json("5");
    struct tpc_value set = json("{\"a\":5}");
    struct tpc_value get = json("{\"keys\":[\"b\",\"a\"]}");
    tk_ok(compile("{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"access\":\"w\"},"
                  "{\"id\":\"b\",\"type\":\"int\",\"required\":true}]}",
                  TPI_ENFORCE_USUAL));
    ck_assert(!tpi_model_property(model, 0)->readable && tpi_model_property(model, 0)->writable);
    ck_assert(tpi_model_property(model, 1)->readable && !tpi_model_property(model, 1)->writable);
    ck_assert(tpi_model_property(model, 1)->required && !tpi_model_property(model, 0)->required);
    tk_ok(tpi_model_check(model, 0, &in, arena, &err, &out));
    tk_ok(tpi_model_service_check(model, TPC_STR("set"), &set, arena, &err, &out));
    tk_fails(TPC_EMODEL, tpi_model_service_check(model, TPC_STR("get"), &get, arena, &err, &out));
    ck_assert_str_eq(err.path, "keys[1]");
}
END_TEST

START_TEST(a_service_is_sent_with_its_defaults)
{
    struct tpc_value out, in = json("{\"to\":3}");
    tk_ok(compile(
        "{\"services\":[{\"id\":\"move\",\"input\":[{\"id\":\"to\",\"type\":\"int\"},{\"id\":"
        "\"how\",\"type\":\"text\",\"required\":true,\"default\":\"slow\"},{\"id\":\"far\","
        "\"type\":\"bool\"}]}],"
        "\"events\":[{\"id\":\"moved\",\"output\":[{\"id\":\"to\",\"type\":\"int\"},{\"id\":\"how\""
        ",\"type\":\"text\",\"default\":\"slow\"}]}]}",
        TPI_ENFORCE_USUAL));
    tk_ok(tpi_model_service_check(model, TPC_STR("move"), &in, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{\"to\":3,\"how\":\"slow\"}");
    tk_ok(tpi_model_event_check(model, TPC_STR("moved"), &in, arena, &err, &out));
    ck_assert_str_eq(as_json(&out), "{\"to\":3}"); /* what a device did not say is not made up */
}
END_TEST

Suite *limits_suite(void)
{
    Suite *s = suite_create("limits");
    TCase *tc = tcase_create("limits");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_value_beyond_a_limit_is_treated_as_the_product_says, 0,
                        sizeof(limits) / sizeof(limits[0]));
    tcase_add_test(tc, commands_are_never_bent);
    tcase_add_test(tc, what_is_kept_has_an_end);
    tcase_add_loop_test(tc, a_definition_is_good_or_told_where_it_is_not, 0,
                        sizeof(definitions) / sizeof(definitions[0]));
    tcase_add_test(tc, what_is_write_only_is_set_and_reported_but_not_asked_for);
    tcase_add_test(tc, a_service_is_sent_with_its_defaults);
    suite_add_tcase(s, tc);
    return s;
}
