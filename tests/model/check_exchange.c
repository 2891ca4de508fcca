/* Models in the forms of other platforms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/model.h>

#include "model_suites.h"

static struct tpc_arena *arena;
static struct tpc_error err;

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    memset(&err, 0, sizeof(err));
}

static void teardown(void)
{
    tpc_arena_destroy(arena);
}

static struct tpc_value json(const char *text)
{
    struct tpc_value v;
    struct tpc_error e = { .size = sizeof(e) };
    int rc = tpc_json_parse(arena, tpc_str_from(text), TPC_JSON_COPY, &e, &v);
    ck_assert_msg(rc == 0, "%s: %s", text, e.text);
    return v;
}

static const char *as_json(const struct tpc_value *v)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(v, TPC_JSON_SORTED, &buf);
    buf.cap = buf.need + 1;
    buf.ptr = tpc_arena_take(arena, buf.cap);
    ck_assert_ptr_nonnull(buf.ptr);
    tk_ok(tpc_json_write(v, TPC_JSON_SORTED, &buf));
    buf.ptr[buf.need] = 0;
    return (const char *) buf.ptr;
}

static const char *file(const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", MODEL_FILES, name);
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 65536);
    ck_assert_msg(f != NULL && text != NULL, "%s", path);
    size_t n = fread(text, 1, 65535, f);
    fclose(f);
    char *copy = tpc_arena_take(arena, n + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, n + 1);
    free(text);
    return copy;
}

static struct tpc_value import(const char *text, uint32_t format)
{
    struct tpc_value v;
    int rc = tpc_model_import(arena, tpc_str_from(text), format, &err, &v);
    ck_assert_msg(rc == 0, "%s: %s: %s", text, err.path, err.text);
    return v;
}

static struct tpc_value export(const struct tpc_value *model, uint32_t format)
{
    struct tpc_value v;
    int rc = tpc_model_export(arena, model, format, &err, &v);
    ck_assert_msg(rc == 0, "%s: %s", err.path, err.text);
    return v;
}

static void same(const struct tpc_value *a, const struct tpc_value *b)
{
    ck_assert_msg(tpc_value_equal(a, b) != 0, "\n%s\n%s", as_json(a), as_json(b));
}

static const struct tpc_value *at(const struct tpc_value *v, const char *list, size_t index)
{
    const struct tpc_value *l = tpc_value_get(v, tpc_str_from(list));
    ck_assert(l != NULL && l->type == TPC_ARRAY && l->len > index);
    return &l->as.items[index];
}

/* ---- there and back ---- */

static const struct {
    const char *name;
    uint32_t format;
} files[] = { { "get_tsl.json", TPC_MODEL_TSL },
              { "thingspanel.json", TPC_MODEL_THINGSPANEL },
              { "tpcore.json", TPC_MODEL_TPCORE },
              { "kept.json", TPC_MODEL_TSL } };

START_TEST(a_model_comes_out_as_it_came_in)
{
    const char *text = file(files[_i].name);
    struct tpc_value doc = json(text);
    struct tpc_value model = import(text, TPC_MODEL_ANY);
    struct tpc_value out = export(&model, files[_i].format);
    same(&out, &doc);
}
END_TEST

/* Telemetry comes before attributes on the way through ThingsPanel's form: tpcore.json has its one
 * attribute among the telemetry. */
static void sort_attributes(struct tpc_value *model)
{
    const struct tpc_value *list = tpc_value_get(model, TPC_STR("properties"));
    struct tpc_value *items = tpc_arena_take(arena, list->len * sizeof(*items));
    struct tpc_member *members = tpc_arena_take(arena, model->len * sizeof(*members));
    size_t n = 0;
    for (int role = 0; role < 2; role++) {
        for (size_t i = 0; i < list->len; i++) {
            struct tpc_value const *v = &list->as.items[i];
            bool attribute = tpc_str_equal(tpc_value_text(tpc_value_get(v, TPC_STR("role"))),
                                           TPC_STR("attribute")) != 0;
            if (attribute == (role == 1)) {
                items[n++] = *v;
            }
        }
    }
    for (size_t i = 0; i < model->len; i++) {
        members[i] = model->as.members[i];
        if (tpc_str_equal(members[i].key, TPC_STR("properties")) != 0) {
            members[i].value.as.items = items;
        }
    }
    model->as.members = members;
}

START_TEST(a_model_survives_the_way_through_the_other_forms)
{
    struct tpc_value model = import(file(files[_i].name), files[_i].format);
    sort_attributes(&model);
    for (uint32_t f = TPC_MODEL_TPCORE; f <= TPC_MODEL_THINGSPANEL; f++) {
        struct tpc_value other = export(&model, f);
        struct tpc_value again = import(as_json(&other), f);
        /* What the other form keeps of itself is no part of the model. */
        struct tpc_value first = export(&model, files[_i].format);
        struct tpc_value second = export(&again, files[_i].format);
        if (f == files[_i].format) {
            same(&again, &model);
        }
        same(&first, &second);
    }
}
END_TEST

START_TEST(tsl_becomes_what_the_library_checks)
{
    struct tpc_value m = import(file("get_tsl.json"), TPC_MODEL_TSL);
    ck_assert_str_eq(as_json(at(&m, "properties", 0)),
                     "{\"default\":20,\"id\":\"temperature\",\"max\":125,\"min\":-40,\"name\":"
                     "\"温度\",\"precise\":2,\"required\":true,\"step\":0.1,\"type\":\"double\","
                     "\"unit\":\"℃\",\"unit_name\":\"摄氏度\"}");
    ck_assert_str_eq(as_json(at(&m, "properties", 2)),
                     "{\"access\":\"rw\",\"id\":\"power\",\"name\":\"开关\",\"type\":\"bool\","
                     "\"values\":[{\"name\":\"off\",\"value\":0},{\"name\":\"on\",\"value\":1}]}");
    ck_assert_str_eq(as_json(at(&m, "properties", 8)),
                     "{\"id\":\"track\",\"items\":{\"fields\":[{\"id\":\"x\",\"max\":9.5,\"min\":0,"
                     "\"step\":0.5,\"type\":\"float\"}],\"type\":\"struct\"},\"size\":4,\"type\":"
                     "\"array\"}");
    ck_assert_str_eq(as_json(at(&m, "services", 0)),
                     "{\"call\":\"sync\",\"id\":\"move\",\"input\":[{\"id\":\"to\",\"max\":9,"
                     "\"min\":0,\"step\":1,\"type\":\"int\"}],\"method\":\"thing.service.invoke\","
                     "\"name\":\"Move\",\"output\":[{\"id\":\"took\",\"max\":60000,\"min\":0,"
                     "\"step\":1,\"type\":\"int\",\"unit\":\"ms\"}]}");
    ck_assert_str_eq(as_json(at(&m, "events", 2)), "{\"id\":\"broken\",\"level\":\"error\"}");
    ck_assert_str_eq(as_json(tpc_value_get(&m, TPC_STR("tsl"))),
                     "{\"productId\":1024,\"productKey\":\"4aymZgOTOOCrDKRT\"}");
}
END_TEST

START_TEST(a_thingspanel_model_becomes_what_the_library_checks)
{
    struct tpc_value m = import(file("thingspanel.json"), TPC_MODEL_THINGSPANEL);
    ck_assert_str_eq(
        as_json(at(&m, "properties", 0)),
        "{\"id\":\"temperature\",\"name\":\"Temperature\",\"type\":\"double\",\"unit\":"
        "\"°C\"}");
    ck_assert_str_eq(
        as_json(at(&m, "properties", 2)),
        "{\"access\":\"w\",\"description\":\"what to reach\",\"id\":\"target\",\"type\":"
        "\"double\"}");
    const struct tpc_value *version = at(&m, "properties", 3);
    ck_assert_str_eq(as_json(tpc_value_get(version, TPC_STR("role"))), "\"attribute\"");
    ck_assert_str_eq(
        as_json(tpc_value_get(tpc_value_get(version, TPC_STR("thingspanel")), TPC_STR("id"))),
        "\"3f1c\"");
    ck_assert_str_eq(as_json(tpc_value_get(at(&m, "services", 0), TPC_STR("input"))),
                     "[{\"description\":\"s\",\"id\":\"delay\",\"name\":\"Delay\",\"type\":"
                     "\"double\"}]");
    ck_assert_str_eq(as_json(at(&m, "events", 0)),
                     "{\"id\":\"alarm\",\"name\":\"Alarm\",\"output\":[{\"id\":\"level\",\"name\":"
                     "\"Level\",\"type\":\"double\"}]}");
}
END_TEST

START_TEST(tsl_of_a_model_of_ours_is_as_get_tsl_gives_it)
{
    struct tpc_value m =
        json("{\"properties\":[{\"id\":\"t\",\"type\":\"double\",\"min\":-40,\"max\":12.5,\"unit\":"
             "\"W\"},{\"id\":\"s\",\"type\":\"text\",\"access\":\"rw\"},{\"id\":\"e\",\"type\":"
             "\"enum\",\"values\":[{\"name\":\"off\",\"value\":0}]}]}");
    struct tpc_value out = export(&m, TPC_MODEL_TSL);
    ck_assert_str_eq(
        as_json(&out),
        "{\"properties\":[{\"accessMode\":\"r\",\"dataSpecs\":{\"max\":\"12.5\",\"min\":\"-40\","
        "\"unit\":\"W\"},\"dataType\":\"double\",\"identifier\":\"t\",\"name\":\"t\",\"required\":"
        "false},{\"accessMode\":\"rw\",\"dataSpecs\":{\"length\":4096},\"dataType\":\"text\","
        "\"identifier\":\"s\",\"name\":\"s\",\"required\":false},{\"accessMode\":\"r\","
        "\"dataSpecsList\":[{\"dataType\":\"enum\",\"name\":\"off\",\"value\":0}],\"dataType\":"
        "\"enum\",\"identifier\":\"e\",\"name\":\"e\",\"required\":false}]}");
    out = export(&m, TPC_MODEL_THINGSPANEL);
    ck_assert_str_eq(as_json(at(&out, "telemetry", 0)),
                     "{\"data_identifier\":\"t\",\"data_name\":\"t\",\"data_type\":\"Number\","
                     "\"read_write_flag\":\"R\",\"tpcore\":{\"id\":\"t\",\"max\":12.5,\"min\":-40,"
                     "\"type\":\"double\",\"unit\":\"W\"},\"unit\":\"W\"}");
}
END_TEST

START_TEST(a_change_made_in_one_form_is_seen_in_the_other)
{
    /* Ours, after the import: the kept original no longer fits, but what only it knows stays. */
    struct tpc_value m = json(
        "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"max\":7,\"tsl\":{\"identifier\":\"a\","
        "\"name\":\"a\",\"accessMode\":\"r\",\"required\":false,\"dataType\":\"int\",\"dataSpecs\":"
        "{\"max\":\"5.0\"},\"vendor\":1}}]}");
    struct tpc_value out = export(&m, TPC_MODEL_TSL);
    ck_assert_str_eq(as_json(at(&out, "properties", 0)),
                     "{\"accessMode\":\"r\",\"dataSpecs\":{\"max\":\"7\"},\"dataType\":\"int\","
                     "\"identifier\":\"a\",\"name\":\"a\",\"required\":false,\"vendor\":1}");
    /* Theirs, after the export: what "tpcore" says is out of date. */
    m = import("{\"telemetry\":[{\"data_identifier\":\"a\",\"data_name\":\"a\",\"data_type\":"
               "\"String\",\"read_write_flag\":\"R\",\"tpcore\":{\"id\":\"a\",\"type\":\"int\"}}]}",
               TPC_MODEL_ANY);
    ck_assert_str_eq(as_json(tpc_value_get(at(&m, "properties", 0), TPC_STR("type"))), "\"text\"");
    m = import("{\"telemetry\":[{\"data_identifier\":\"a\",\"data_name\":\"a\",\"data_type\":"
               "\"Number\",\"read_write_flag\":\"R\",\"tpcore\":{\"id\":\"a\",\"type\":\"int\"}}]}",
               TPC_MODEL_ANY);
    ck_assert_str_eq(as_json(at(&m, "properties", 0)), "{\"id\":\"a\",\"type\":\"int\"}");
}
END_TEST

/* ---- what is wrong is told with its place ---- */

static const struct {
    const char *text;
    uint32_t format;
    int code;
    const char *path;
    uint32_t line, column;
    const char *says; /* part of the text */
} faults[] = {
    { "{\"properties\":\n [}", TPC_MODEL_ANY, TPC_EDECODE, "", 2, 3, "" },
    { "[]", TPC_MODEL_TSL, TPC_EMODEL, "", 1, 1, "expected an object" },
    { "[]", TPC_MODEL_ANY, TPC_EMODEL, "", 1, 1, "object" },
    { "{\"properties\":5}", TPC_MODEL_TSL, TPC_EMODEL, "properties", 1, 15, "expected an array" },
    { "{\"properties\":[\n 5]}", TPC_MODEL_TSL, TPC_EMODEL, "properties[0]", 2, 2,
      "expected an object" },
    { "{\"properties\":[{\"identifier\":\"a\",\n\"dataType\":\"int32\"}]}", TPC_MODEL_ANY,
      TPC_EMODEL, "properties[0].dataType", 2, 12,
      "expected int, float, double, text, date, bool, enum, struct or array" },
    { "{\"properties\":[ {\"dataType\":\"int\"}]}", TPC_MODEL_TSL, TPC_EMODEL,
      "properties[0].identifier", 1, 17, "expected a text" },
    { "{\"properties\":[{\"identifier\":\"a\",\"dataType\":\"int\",\n "
      "\"dataSpecs\":{\"max\":\"5\",\n"
      "  \"min\":\"6\"}}]}",
      TPC_MODEL_TSL, TPC_EMODEL, "properties[0].dataSpecs.min", 3, 9, "above max" },
    { "{\"properties\":[{\"identifier\":\"a\",\"dataType\":\"int\",\"dataSpecs\":{\"max\":\"x\"}}]"
      "}",
      TPC_MODEL_TSL, TPC_EMODEL, "properties[0].dataSpecs.max", 1, 70, "not a number" },
    { "{\"properties\":[{\"identifier\":\"a\",\"dataType\":\"int\",\"dataSpecs\":7}]}",
      TPC_MODEL_TSL, TPC_EMODEL, "properties[0].dataSpecs", 1, 63, "expected an object" },
    { "{\"properties\":[{\"identifier\":\"a\",\"dataType\":\"enum\",\"dataSpecsList\":[{\"name\":"
      "\"x\",\"value\":1},{\"name\":\"x\",\"value\":2}]}]}",
      TPC_MODEL_TSL, TPC_EMODEL, "properties[0].dataSpecsList[1].name", 1, 100, "twice" },
    { "{\"properties\":[{\"identifier\":\"a\",\"dataType\":\"struct\",\"dataSpecsList\":[\n{"
      "\"identifier\":\"x\",\"childDataType\":\"what\"}]}]}",
      TPC_MODEL_TSL, TPC_EMODEL, "properties[0].dataSpecsList[0].childDataType", 2, 35,
      "expected" },
    { "{\"properties\":[{\"identifier\":\"a\",\"dataType\":\"array\",\"dataSpecs\":{\"size\":0,"
      "\"childDataType\":\"int\"}}]}",
      TPC_MODEL_TSL, TPC_EMODEL, "properties[0].dataSpecs.size", 1, 73, "from 1 to" },
    { "{\"services\":[{\"identifier\":\"a\",\"callType\":\"x\"}]}", TPC_MODEL_ANY, TPC_EMODEL,
      "services[0].callType", 1, 43, "is none of async, sync" },
    { "{\"events\":[{\"identifier\":\"a\",\"type\":\"loud\"}]}", TPC_MODEL_ANY, TPC_EMODEL,
      "events[0].type", 1, 37, "is none of info, alert, error" },
    { "{\"telemetry\":[{\"data_identifier\":\"a\",\"data_type\":\"Number\"}],\"attributes\":[{"
      "\"data_identifier\":\"b\",\"data_type\":\"String\"},\n{\"data_identifier\":\"a\","
      "\"data_type\":\"String\"}]}",
      TPC_MODEL_ANY, TPC_EMODEL, "attributes[1].data_identifier", 2, 20, "stands twice" },
    { "{\"telemetry\":[{\"data_identifier\":\"a\",\"data_type\":\"Enum\"}]}", TPC_MODEL_ANY,
      TPC_EMODEL, "telemetry[0].data_type", 1, 50, "expected String, Number or Boolean" },
    { "{\"telemetry\":[{\"data_identifier\":\"a\",\"data_type\":\"Number\",\"read_write_flag\":"
      "\"X\"}"
      "]}",
      TPC_MODEL_ANY, TPC_EMODEL, "telemetry[0].read_write_flag", 1, 77, "expected R, W or RW" },
    { "{\"commands\":[{\"data_identifier\":\"a\",\"params\":\"{\"}]}", TPC_MODEL_ANY, TPC_EMODEL,
      "commands[0].params", 1, 46, "expected an array, or the JSON text of one" },
    { "{\"events\":[{\"data_identifier\":\"a\",\"params\":[{\"data_identifier\":\"\",\"data_type\":"
      "\"String\"}]}]}",
      TPC_MODEL_ANY, TPC_EMODEL, "events[0].params[0].data_identifier", 1, 64, "1 to 128 bytes" },
    { "{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"min\":1.5}]}", TPC_MODEL_ANY, TPC_EMODEL,
      "properties[0].min", 1, 45, "whole number" },
    { "{\"telemetry\":[],\"tpcore\":5}", TPC_MODEL_ANY, TPC_EMODEL, "tpcore", 1, 26,
      "expected an object" },
};

START_TEST(a_fault_is_told_with_its_place_and_what_was_expected)
{
    struct tpc_value v;
    int rc = tpc_model_import(arena, tpc_str_from(faults[_i].text), faults[_i].format, &err, &v);
    ck_assert_msg(rc == faults[_i].code && err.code == rc, "%s: %s %s %s", faults[_i].text,
                  tpc_error_name(rc), err.path, err.text);
    ck_assert_str_eq(err.path, faults[_i].path);
    ck_assert_msg(strstr(err.text, faults[_i].says) != NULL, "%s: %s", faults[_i].text, err.text);
    ck_assert_msg(err.line == faults[_i].line && err.column == faults[_i].column,
                  "%s: line %u column %u", faults[_i].text, err.line, err.column);
    ck_assert_int_eq(
        tpc_model_import(arena, tpc_str_from(faults[_i].text), faults[_i].format, NULL, &v), rc);
}
END_TEST

START_TEST(what_is_no_form_or_no_model_is_refused)
{
    struct tpc_value v, bad = json("{\"properties\":[{\"id\":\"a\"}]}");
    tk_fails(TPC_EINVAL, tpc_model_import(arena, TPC_STR("{}"), 4, &err, &v));
    tk_fails(TPC_EINVAL, tpc_model_export(arena, &bad, TPC_MODEL_ANY, &err, &v));
    tk_fails(TPC_EINVAL, tpc_model_export(arena, &bad, 4, NULL, &v));
    tk_fails(TPC_EMODEL, tpc_model_export(arena, &bad, TPC_MODEL_TSL, &err, &v));
    ck_assert_str_eq(err.path, "properties[0].type");
    ck_assert_int_eq(err.code, TPC_EMODEL);
    ck_assert_str_eq(tpc_model_format_name(TPC_MODEL_TSL), "tsl");
    ck_assert_str_eq(tpc_model_format_name(99), "?");
}
END_TEST

static int exchange_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *own;
    struct tpc_value model, out;
    int rc = tpc_arena_create(a, 0, &own);
    if (rc != 0) {
        return rc;
    }
    rc = tpc_model_import(own, tpc_str_from(user), TPC_MODEL_ANY, NULL, &model);
    rc = rc != 0 ? rc : tpc_model_export(own, &model, TPC_MODEL_TSL, NULL, &out);
    rc = rc != 0 ? rc : tpc_model_export(own, &model, TPC_MODEL_THINGSPANEL, NULL, &out);
    tpc_arena_destroy(own);
    return rc;
}

START_TEST(running_out_of_memory_leaks_nothing)
{
    char text[8192];
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%s", file(files[i].name));
        ck_assert_uint_gt(tk_each_alloc_fails(exchange_without_memory, text), 1);
    }
}
END_TEST

Suite *exchange_suite(void)
{
    Suite *s = suite_create("exchange");
    TCase *tc = tcase_create("exchange");
    int count = sizeof(files) / sizeof(files[0]);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_model_comes_out_as_it_came_in, 0, count);
    tcase_add_loop_test(tc, a_model_survives_the_way_through_the_other_forms, 0, count);
    tcase_add_test(tc, tsl_becomes_what_the_library_checks);
    tcase_add_test(tc, a_thingspanel_model_becomes_what_the_library_checks);
    tcase_add_test(tc, tsl_of_a_model_of_ours_is_as_get_tsl_gives_it);
    tcase_add_test(tc, a_change_made_in_one_form_is_seen_in_the_other);
    tcase_add_loop_test(tc, a_fault_is_told_with_its_place_and_what_was_expected, 0,
                        sizeof(faults) / sizeof(faults[0]));
    tcase_add_test(tc, what_is_no_form_or_no_model_is_refused);
    tcase_add_test(tc, running_out_of_memory_leaks_nothing);
    suite_add_tcase(s, tc);
    return s;
}
