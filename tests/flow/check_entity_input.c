/* Documents and options of people: what is wrong is said with place and path, nothing changes. */
#include "suites.h"

#include <string.h>

struct bad {
    const char *kind;
    const char *json;
    int code;
    const char *says; /* in text or path */
    uint32_t line;    /* 0 = not asked */
    uint32_t column;
};

#define SCENE(expr)                                                                                \
    "{\"key\":\"bad\",\"when\":{\"product\":\"thermo\",\"expr\":\"" expr                           \
    "\"},\"then\":[{\"command\":{\"device\":\"fan1\",\"service\":\"set\",\"params\":{\"on\":"      \
    "true}}}]}"
#define THEN(command)                                                                              \
    "{\"key\":\"bad\",\"when\":{\"product\":\"thermo\",\"expr\":\"seq > 1\"},\"then\":[{"          \
    "\"command\":" command "}]}"
#define MODEL(model) "{\"key\":\"bad\",\"codec\":\"json\",\"model\":" model "}"

static const struct bad bad_documents[] = {
    { "device", "{\"key\":\"x\",\n  \"product\":}", TPC_EDECODE, "", 2, 13 },
    { "device", "", TPC_EDECODE, "", 0, 0 },
    { "device", "[]", TPC_EINVAL, "", 0, 0 },
    { "device", "{\"product\":\"thermo\"}", TPC_EINVAL, "key", 0, 0 },
    { "device", "{\"key\":\"\",\"product\":\"thermo\"}", TPC_EINVAL, "key", 0, 0 },
    { "device", "{\"key\":7,\"product\":\"thermo\"}", TPC_EINVAL, "key", 0, 0 },
    { "device", "{\"key\":\"x\",\"product\":\"nope\"}", TPC_ENOENT, "nope", 0, 0 },
    { "device", "{\"key\":\"x\",\"product\":\"thermo\",\"tenant\":\"nope\"}", TPC_ENOENT, "nope", 0,
      0 },
    { "dveice", "{\"key\":\"x\"}", TPC_EINVAL, "dveice", 0, 0 },
    { "product", "{\"key\":\"bad\",\"codec\":\"morse\",\"model\":{\"properties\":[]}}", TPC_ENOENT,
      "morse", 0, 0 },
    { "product", "{\"key\":\"bad\",\"codec\":\"json\"}", TPC_EINVAL, "model", 0, 0 },
    { "product", MODEL("{\"properties\":[{\"id\":\"a\",\"type\":\"complex\"}]}"), TPC_EMODEL,
      "properties[0]", 0, 0 },
    { "product",
      MODEL("{\"properties\":[{\"id\":\"a\",\"type\":\"int\"},{\"id\":\"a\",\"type\":"
            "\"int\"}]}"),
      TPC_EMODEL, "properties[1]", 0, 0 },
    { "product", MODEL("{\"properties\":[{\"id\":\"a\",\"type\":\"int\",\"min\":5,\"max\":1}]}"),
      TPC_EMODEL, "properties[0]", 0, 0 },
    { "scene", SCENE("temperature >"), TPC_EINVAL, "expr", 1, 14 },
    { "scene", SCENE("temperature > 30 &&\\n(seq < 4"), TPC_EINVAL, "expr", 2, 9 },
    { "scene", SCENE("pressure > 30"), TPC_EINVAL, "pressure", 1, 1 },
    { "scene", SCENE("seq ** 2 > 1"), TPC_EINVAL, "expr", 1, 6 },
    { "scene", SCENE(""), TPC_EINVAL, "expr", 0, 0 },
    { "scene", THEN("{\"device\":\"fan1\",\"service\":\"fly\"}"), TPC_ENOENT, "fly", 0, 0 },
    { "scene", THEN("{\"device\":\"fan1\",\"service\":\"set\",\"params\":{\"seq\":1}}"), TPC_EMODEL,
      "seq", 0, 0 },
    { "scene", "{\"key\":\"bad\",\"then\":[]}", TPC_EINVAL, "when", 0, 0 },
    { "scene",
      "{\"key\":\"bad\",\"when\":{\"product\":\"nope\",\"expr\":\"seq > 1\"},\"then\":[{"
      "\"command\":{\"device\":\"fan1\",\"service\":\"open\"}}]}",
      TPC_ENOENT, "nope", 0, 0 },
    { "scene",
      "{\"key\":\"bad\",\"when\":{\"product\":\"thermo\",\"expr\":\"seq > 1\"},\"then\":[]}",
      TPC_EINVAL, "then", 0, 0 },
};

static int none(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                struct tpc_str json)
{
    (void) info;
    (void) key;
    (void) json;
    (*(int *) user)++;
    return 0;
}

static int count_of(struct fx *f, struct tpc_str kind)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    int n = 0;
    q.kind = kind;
    tk_ok(tpc_entity_list(f->core, &q, none, &n));
    return n;
}

static void check_bad(struct fx *f, const struct bad *b)
{
    int rc = tpc_entity_put(f->core, NULL, b->kind, tpc_str_from(b->json), TPC_ANY_REV, NULL);
    const struct tpc_error *e = tpc_error_last();
    ck_assert_msg(rc == b->code, "%s: %s (%s, %s), expected %s", b->json, tpc_error_name(rc),
                  e->text, e->path, tpc_error_name(b->code));
    ck_assert_int_eq(e->code, rc);
    ck_assert_msg(strstr(e->text, b->says) != NULL || strstr(e->path, b->says) != NULL,
                  "%s: \"%s\" is not in \"%s\" (%s)", b->json, b->says, e->text, e->path);
    if (b->line != 0) {
        ck_assert_msg(e->line == b->line && e->column == b->column,
                      "%s: line %u column %u, expected %u, %u", b->json, e->line, e->column,
                      b->line, b->column);
    }
}

START_TEST(bad_documents_are_named_and_change_nothing)
{
    struct fx f;
    fx_init(&f, 0, 0);
    fx_run(&f);
    for (size_t i = 0; i < sizeof(bad_documents) / sizeof(bad_documents[0]); i++) {
        check_bad(&f, &bad_documents[i]);
    }
    ck_assert_int_eq(count_of(&f, TPC_STR("device")), 4);
    ck_assert_int_eq(count_of(&f, TPC_STR("product")), 1);
    ck_assert_int_eq(count_of(&f, TPC_STR("scene")), 0);
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

START_TEST(revisions_and_uses_are_guarded)
{
    struct fx f;
    struct tpc_entity_info info = { .size = sizeof(info) };
    fx_init(&f, 0, 0);
    fx_run(&f);
    static const char t1[] = "{\"key\":\"t1\",\"product\":\"thermo\",\"place\":\"roof\"}";
    tk_fails(TPC_ECONFLICT, tpc_entity_put(f.core, NULL, "device", TPC_STR(t1), TPC_NO_REV, NULL));
    tk_fails(TPC_ECONFLICT, tpc_entity_put(f.core, NULL, "device", TPC_STR(t1), 17, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR(t1), 1, &info));
    ck_assert_uint_eq(info.revision, 2);
    tk_fails(TPC_ECONFLICT,
             tpc_entity_delete(f.core, NULL, FX_NO_OPTIONS, "device", TPC_STR("t1"), 1));
    tk_fails(TPC_ENOENT,
             tpc_entity_delete(f.core, NULL, FX_NO_OPTIONS, "device", TPC_STR("t9"), TPC_ANY_REV));
    tk_fails(TPC_ESTATE, tpc_entity_delete(f.core, NULL, FX_NO_OPTIONS, "product",
                                           TPC_STR("thermo"), TPC_ANY_REV));
    struct tpc_device *t1_device = fx_device(&f, "t1");
    tk_ok(tpc_entity_delete(f.core, NULL, FX_NO_OPTIONS, "device", TPC_STR("t1"), 2));
    tk_fails(TPC_ENOENT, tpc_feed(t1_device, TPC_BYTES("{}"), NULL, NULL));
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

START_TEST(unknown_option_keys_are_named)
{
    struct fx f;
    fx_init(&f, 0, 0);
    tk_ok(tpc_core_create(&f.o, &f.core));
    tk_ok(tpc_core_add_module(f.core, tpc_module_probe()));
    tk_fails(TPC_EINVAL, tpc_core_open(f.core, "log", "file",
                                       TPC_STR("{\"dir\":\"x\",\"segmnt_size\":\"1MiB\"}")));
    ck_assert_str_eq(tpc_error_last()->path, "log.segmnt_size");
    tk_fails(TPC_EINVAL, tpc_core_open(f.core, "log", "file", FX_NO_OPTIONS));
    fx_error_says("dir");
    tk_fails(TPC_EINVAL, tpc_core_open(f.core, "log", "file",
                                       TPC_STR("{\"dir\":\"x\",\"segment_size\":\"1 KiB\"}")));
    fx_error_says("log.segment_size");
    tk_fails(TPC_EINVAL, tpc_core_open(f.core, "p", "probe", TPC_STR("{\"device\":\"t1\"}")));
    ck_assert_str_eq(tpc_error_last()->path, "p.device");
    tk_fails(TPC_EINVAL, tpc_core_open(f.core, "p", "probe", TPC_STR("{\"devices\":\n 1,}")));
    ck_assert_uint_eq(tpc_error_last()->line, 2);
    tk_fails(TPC_ENOENT, tpc_core_open(f.core, "p", "prob", FX_NO_OPTIONS));
    fx_error_says("prob");
    fx_fini(&f);
}
END_TEST

START_TEST(bad_commands_are_refused_at_once)
{
    static const struct {
        const char *service;
        const char *params;
        int code;
        const char *says;
    } bad[] = {
        { "set", "{\"on\":\"maybe\"}", TPC_EMODEL, "on" },
        { "set", "{\"seq\":1}", TPC_EMODEL, "seq" },
        { "set", "{\"on\":", TPC_EDECODE, "" },
        { "beep", "{\"times\":10}", TPC_EMODEL, "times" },
        { "sing", "{}", TPC_ENOENT, "sing" },
        { "get", "{\"keys\":[\"nope\"]}", TPC_EMODEL, "keys[0]" },
    };
    struct fx f;
    fx_init(&f, 0, FX_PROBE);
    fx_run(&f);
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = fx_device(&f, "fan1");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        o.service = tpc_str_from(bad[i].service);
        o.params_json = tpc_str_from(bad[i].params);
        int rc = tpc_command_send(f.core, NULL, &o, NULL, NULL, NULL);
        ck_assert_msg(rc == bad[i].code, "%s %s: %s (%s)", bad[i].service, bad[i].params,
                      tpc_error_name(rc), tpc_error_last()->text);
        fx_error_says(bad[i].says);
    }
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(probe_sent_count(), 0);
    fx_fini(&f);
}
END_TEST

Suite *entity_input_suite(void)
{
    Suite *s = suite_create("entity input");
    TCase *t = tcase_create("entity input");
    tcase_add_test(t, bad_documents_are_named_and_change_nothing);
    tcase_add_test(t, revisions_and_uses_are_guarded);
    tcase_add_test(t, unknown_option_keys_are_named);
    tcase_add_test(t, bad_commands_are_refused_at_once);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
