#include "tp_suites.h"

#include "forms.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static const char vcr[] =
    "[{\"dataKey\":\"reg_pkg\",\"label\":\"P\",\"type\":\"input\",\"validate\":"
    "{\"required\":true,\"type\":\"string\",\"rules\":\"/^.+$/i\"}},"
    "{\"dataKey\":\"slot\",\"type\":\"input\",\"inputType\":\"number\"}]";
static const char vcrt[] = "{\"By packet\":\"REG_PKG\",\"\xe4\xbb\xa4\":\"TOKEN\"}";
static const char cfg[] =
    "[{\"dataKey\":\"interval\",\"label\":\"s\",\"type\":\"input\",\"validate\":{\"type\":"
    "\"number\"}},"
    "{\"dataKey\":\"mode\",\"type\":\"select\",\"options\":[{\"label\":\"a\",\"value\":1},"
    "{\"label\":\"b\",\"value\":\"x\"},{\"label\":\"c\",\"value\":\"7\"}]},"
    "{\"dataKey\":\"on\",\"type\":\"switch\",\"default\":true,\"visibleWhen\":{\"mode\":1}},"
    "{\"dataKey\":\"name\",\"type\":\"input\",\"validate\":{\"type\":\"string\"}},"
    "{\"dataKey\":\"rows\",\"type\":\"table\",\"array\":["
    "{\"dataKey\":\"FunctionCode\",\"type\":\"input\",\"validate\":{\"type\":\"number\"}},"
    "{\"dataKey\":\"flag\",\"type\":\"input\",\"validate\":{\"type\":\"boolean\"}}]}]";

static int read_forms(struct tp_forms *f, const struct tpc_service_form *list, uint32_t count,
                      struct tpc_error *err)
{
    const struct tpc_list given = { list, count, sizeof(*list) };
    memset(f, 0, sizeof(*f));
    return tp_forms_read(f, NULL, &given, err);
}

START_TEST(forms_of_every_kind_are_kept_as_they_are)
{
    static const struct tpc_service_form list[] = {
        { "CFG", NULL, cfg },
        { "CFG", "3", "{\"data\":{\"config\":[{\"dataKey\":\"old\",\"type\":\"input\"}]}}" },
        { "VCR", NULL, vcr },
        { "VCRT", NULL, vcrt },
        { "SVCR", NULL, "[]" },
    };
    struct tp_forms f;
    tk_ok(read_forms(&f, list, 5, NULL));
    ck_assert_uint_eq(f.count, 5);
    const struct tpc_value *v = tp_forms_find(&f, TPC_STR("CFG"), TPC_STR("1"));
    ck_assert_ptr_nonnull(v);
    ck_assert_uint_eq(v->len, 5);
    v = tp_forms_find(&f, TPC_STR("CFG"), TPC_STR("3"));
    ck_assert_uint_eq(v->len, 1);
    v = tp_forms_find(&f, TPC_STR("VCRT"), TPC_STR(""));
    ck_assert_uint_eq(v->type, TPC_MAP);
    ck_assert_ptr_nonnull(tp_forms_find(&f, TPC_STR("SVCR"), TPC_STR("")));
    ck_assert_ptr_null(tp_forms_find(&f, TPC_STR("OTHER"), TPC_STR("1")));
    ck_assert(tp_form_kind_known(TPC_STR("SVCR")));
    ck_assert(!tp_form_kind_known(TPC_STR("")));
    tp_forms_fini(&f);
}
END_TEST

static const struct {
    const char *type, *device_type, *json;
    int code;
    const char *path;
} wrong[] = {
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"box\"}]", TPC_EINVAL, "forms[CFG][0].type" },
    { "VCR", NULL, "[{\"dataKey\":\"a\",\"type\":\"input\"},{\"type\":\"input\"}]", TPC_EINVAL,
      "forms[VCR][1].dataKey" },
    { "VCR", "2",
      "[{\"dataKey\":\"t\",\"type\":\"table\",\"array\":[{\"dataKey\":\"a\",\"type\":\"input\"},"
      "{\"dataKey\":\"b\",\"type\":\"inptu\"}]}]",
      TPC_EINVAL, "forms[VCR:2][0].array[1].type" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"select\"}]", TPC_EINVAL,
      "forms[CFG][0].options" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"select\",\"options\":[{\"value\":1},{}]}]",
      TPC_EINVAL, "forms[CFG][0].options[1].value" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"input\",\"lable\":\"x\"}]", TPC_EINVAL,
      "forms[CFG][0].lable" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"input\",\"validate\":{\"required\":\"yes\"}}]",
      TPC_EINVAL, "forms[CFG][0].validate.required" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"input\",\"validate\":{\"type\":\"int\"}}]",
      TPC_EINVAL, "forms[CFG][0].validate.type" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"input\",\"validate\":{\"rules\":\"^x$\"}}]",
      TPC_EINVAL, "forms[CFG][0].validate.rules" },
    { "CFG", NULL,
      "[{\"dataKey\":\"a\",\"type\":\"input\"},{\"dataKey\":\"a\",\"type\":\"input\"}]", TPC_EINVAL,
      "forms[CFG][1].dataKey" },
    { "CFG", NULL, "[{\"dataKey\":\"a\",\"type\":\"table\",\"array\":[]}]", TPC_EINVAL,
      "forms[CFG][0].array" },
    { "CFG", NULL, "[7]", TPC_EINVAL, "forms[CFG][0]" },
    { "CFG", NULL, "{\"a\":1}", TPC_EINVAL, "forms[CFG]" },
    { "VCRT", NULL, "[]", TPC_EINVAL, "forms[VCRT]" },
    { "VCRT", NULL, "{\"a\":1}", TPC_EINVAL, "forms[VCRT]" },
    { "CFG", "4", "[]", TPC_EINVAL, "forms[CFG:4]" },
    { "CFG", NULL, "[", TPC_EDECODE, "forms[CFG]" },
    { "XYZ", NULL, "[]", TPC_EINVAL, "forms" },
};

START_TEST(wrong_form_is_refused_with_its_path)
{
    struct tpc_service_form form = { wrong[_i].type, wrong[_i].device_type, wrong[_i].json };
    struct tp_forms f;
    struct tpc_error err = { .size = sizeof(err) };
    tk_fails(wrong[_i].code, read_forms(&f, &form, 1, &err));
    ck_assert_str_eq(err.path, wrong[_i].path);
    ck_assert_ptr_null(f.arena);
}
END_TEST

START_TEST(two_forms_for_the_same_are_refused)
{
    static const struct tpc_service_form list[] = { { "CFG", "1", cfg }, { "CFG", "1", cfg } };
    struct tp_forms f;
    struct tpc_error err = { .size = sizeof(err) };
    tk_fails(TPC_EEXIST, read_forms(&f, list, 2, &err));
    ck_assert_str_eq(err.path, "forms[CFG:1]");
}
END_TEST

static const struct {
    const char *in, *out;
    int code;
} vouchers[] = {
    { "{ \"slot\" : 3, \"reg_pkg\" : \"M-17\" }", "{\"reg_pkg\":\"M-17\",\"slot\":3}", 0 },
    { "{\"reg_pkg\":\"a \\\"b\\\" \\u4ee4/\"}", "{\"reg_pkg\":\"a \\\"b\\\" \xe4\xbb\xa4/\"}", 0 },
    { "{\"x\": \"1\", \"reg_pkg\": \"2\"}", "{\"x\":\"1\",\"reg_pkg\":\"2\"}", 0 },
    { "{}", "{}", 0 },
    { "[1]", NULL, TPC_EDECODE },
    { "{\"a\":1,\"a\":2}", NULL, TPC_EDECODE },
    { "", NULL, TPC_EDECODE },
};

START_TEST(voucher_is_written_as_the_platform_keeps_it)
{
    static const struct tpc_service_form form = { "VCR", NULL, vcr };
    struct tp_forms f;
    struct tpc_arena *arena;
    struct tpi_buf b;
    tk_ok(read_forms(&f, &form, 1, NULL));
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tpi_buf_init(&b, NULL, 0);
    int rc = tp_form_voucher(&f, tpc_str_from(vouchers[_i].in), arena, &b);
    ck_assert_int_eq(rc, vouchers[_i].code);
    if (rc == 0) {
        ck_assert_uint_eq(b.len, strlen(vouchers[_i].out));
        ck_assert_mem_eq(b.ptr, vouchers[_i].out, b.len);
    }
    tpi_buf_fini(&b);
    tpc_arena_destroy(arena);
    tp_forms_fini(&f);
}
END_TEST

static const struct {
    const char *in, *out;
} coerced[] = {
    { "{\"interval\":\"10\"}", "{\"interval\":10}" },
    { "{\"interval\":\" +007.5 \"}", "{\"interval\":7.5}" },
    { "{\"interval\":\"-0\"}", "{\"interval\":0}" },
    { "{\"interval\":\"1e3\",\"other\":\"5\"}", "{\"interval\":1000.0,\"other\":\"5\"}" },
    { "{\"interval\":\"ten\"}", "{\"interval\":\"ten\"}" },
    { "{\"interval\":10}", "{\"interval\":10}" },
    { "{\"mode\":\"1\"}", "{\"mode\":1}" },
    { "{\"mode\":7}", "{\"mode\":\"7\"}" },
    { "{\"mode\":\"x\"}", "{\"mode\":\"x\"}" },
    { "{\"mode\":\"y\"}", "{\"mode\":\"y\"}" },
    { "{\"on\":\"true\"}", "{\"on\":true}" },
    { "{\"on\":0}", "{\"on\":false}" },
    { "{\"on\":2}", "{\"on\":2}" },
    { "{\"name\":12}", "{\"name\":\"12\"}" },
    { "{\"rows\":[{\"FunctionCode\":\"3\",\"flag\":\"1\"},5]}",
      "{\"rows\":[{\"FunctionCode\":3,\"flag\":true},5]}" },
    { "{\"rows\":\"[{\\\"FunctionCode\\\":\\\"4\\\"}]\"}", "{\"rows\":[{\"FunctionCode\":4}]}" },
    { "\"{\\\"interval\\\":\\\"8\\\"}\"", "{\"interval\":8}" },
    { "[1]", "null" },
    { "null", "null" },
};

START_TEST(values_are_as_the_form_means_them)
{
    static const struct tpc_service_form form = { "CFG", NULL, cfg };
    struct tp_forms f;
    struct tpc_arena *arena;
    struct tpc_value in, out;
    char text[256];
    struct tpc_buf b = { (uint8_t *) text, sizeof(text), 0 };
    tk_ok(read_forms(&f, &form, 1, NULL));
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, tpc_str_from(coerced[_i].in), 0, NULL, &in));
    tk_ok(tp_form_coerce(tp_forms_find(&f, TPC_STR("CFG"), TPC_STR("1")), &in, arena, &out));
    tk_ok(tpc_json_write(&out, 0, &b));
    text[b.need] = '\0';
    ck_assert_str_eq(text, coerced[_i].out);
    tpc_arena_destroy(arena);
    tp_forms_fini(&f);
}
END_TEST

static int use_forms(const struct tpc_allocator *a, void *user)
{
    static const struct tpc_service_form list[] = { { "CFG", NULL, cfg }, { "VCR", NULL, vcr } };
    const struct tpc_list given = TPC_LIST(list);
    struct tp_forms f;
    struct tpc_arena *arena = NULL;
    struct tpi_buf b;
    struct tpc_value in = { .type = TPC_NULL }, out;
    (void) user;
    memset(&f, 0, sizeof(f));
    tpi_buf_init(&b, a, 0);
    int rc = tp_forms_read(&f, a, &given, NULL);
    rc = rc != 0 ? rc : tpc_arena_create(a, 0, &arena);
    rc = rc != 0
             ? rc
             : tpc_json_parse(arena, TPC_STR("{\"rows\":[{\"FunctionCode\":\"3\"}],\"mode\":7}"), 0,
                              NULL, &in);
    rc = rc != 0 ? rc : tp_form_coerce(&f.list[0].value, &in, arena, &out);
    rc = rc != 0 ? rc : tp_form_voucher(&f, TPC_STR("{\"reg_pkg\":\"1\"}"), arena, &b);
    tpi_buf_fini(&b);
    tpc_arena_destroy(arena);
    tp_forms_fini(&f);
    return rc;
}

START_TEST(forms_leave_nothing_behind_without_memory)
{
    tk_each_alloc_fails(use_forms, NULL);
}
END_TEST

Suite *forms_suite(void)
{
    Suite *s = suite_create("forms");
    TCase *t = tcase_create("forms");
    tcase_add_test(t, forms_of_every_kind_are_kept_as_they_are);
    tcase_add_loop_test(t, wrong_form_is_refused_with_its_path, 0,
                        (int) (sizeof(wrong) / sizeof(wrong[0])));
    tcase_add_test(t, two_forms_for_the_same_are_refused);
    tcase_add_loop_test(t, voucher_is_written_as_the_platform_keeps_it, 0,
                        (int) (sizeof(vouchers) / sizeof(vouchers[0])));
    tcase_add_loop_test(t, values_are_as_the_form_means_them, 0,
                        (int) (sizeof(coerced) / sizeof(coerced[0])));
    tcase_add_test(t, forms_leave_nothing_behind_without_memory);
    suite_add_tcase(s, t);
    return s;
}
