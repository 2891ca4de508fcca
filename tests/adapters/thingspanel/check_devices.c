#include "tp_suites.h"

#include "devices.h"
#include "reply.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static struct tp_facts facts(const char *id, const char *number, const char *voucher)
{
    struct tp_facts f = { .type = '1',
                          .id = tpc_str_from(id),
                          .number = tpc_str_from(number),
                          .voucher = tpc_str_from(voucher) };
    return f;
}

static struct tp_device *put(struct tp_devices *d, const struct tp_facts *f, uint32_t expected)
{
    struct tp_device *device = NULL;
    uint32_t changes = 99;
    tk_ok(tp_devices_put(d, f, &device, &changes));
    ck_assert_uint_eq(changes, expected);
    return device;
}

START_TEST(device_is_found_by_each_of_its_names)
{
    struct tp_devices d;
    tp_devices_init(&d, NULL, 10, 7);
    struct tp_facts f = facts("id1", "N-1", "{\"s\":\"1\"}");
    struct tp_device *one = put(&d, &f, TP_CHANGE_NEW);
    ck_assert_ptr_eq(tp_devices_by_id(&d, TPC_STR("id1")), one);
    ck_assert_ptr_eq(tp_devices_by_number(&d, TPC_STR("N-1")), one);
    ck_assert_ptr_eq(tp_devices_by_voucher(&d, TPC_STR("{\"s\":\"1\"}")), one);
    ck_assert_ptr_null(tp_devices_by_voucher(&d, TPC_STR("")));
    (void) put(&d, &f, 0);
    f.voucher = TPC_STR("{\"s\":\"2\"}");
    ck_assert_ptr_eq(put(&d, &f, TP_CHANGE_VOUCHER), one);
    ck_assert_ptr_null(tp_devices_by_voucher(&d, TPC_STR("{\"s\":\"1\"}")));
    f.config = TPC_STR("{}");
    (void) put(&d, &f, TP_CHANGE_CONFIG);
    f.name = TPC_STR("Meter");
    (void) put(&d, &f, TP_CHANGE_PLACE);
    tp_devices_remove(&d, one);
    ck_assert_ptr_null(tp_devices_by_number(&d, TPC_STR("N-1")));
    ck_assert_uint_eq(tp_devices_count(&d), 0);
    tp_devices_fini(&d);
}
END_TEST

START_TEST(of_two_with_one_voucher_the_later_is_found)
{
    struct tp_devices d;
    tp_devices_init(&d, NULL, 10, 7);
    struct tp_facts a = facts("a", "1", "{\"s\":\"x\"}"), b = facts("b", "1", "{\"s\":\"x\"}");
    struct tp_device *da = put(&d, &a, TP_CHANGE_NEW);
    struct tp_device *db = put(&d, &b, TP_CHANGE_NEW);
    ck_assert_ptr_eq(tp_devices_by_voucher(&d, TPC_STR("{\"s\":\"x\"}")), db);
    tp_devices_remove(&d, da);
    ck_assert_ptr_eq(tp_devices_by_voucher(&d, TPC_STR("{\"s\":\"x\"}")), db);
    ck_assert_ptr_eq(tp_devices_by_number(&d, TPC_STR("1")), db);
    tp_devices_fini(&d);
}
END_TEST

START_TEST(nothing_stands_behind_itself)
{
    struct tp_devices d;
    tp_devices_init(&d, NULL, 10, 7);
    struct tp_facts a = facts("a", "", ""), b = facts("b", "", "");
    b.parent = TPC_STR("a");
    b.address = TPC_STR("1");
    struct tp_device *da = put(&d, &a, TP_CHANGE_NEW);
    struct tp_device *db = put(&d, &b, TP_CHANGE_NEW);
    ck_assert_ptr_eq(da->first_behind, db);
    ck_assert_ptr_eq(db->gateway, da);
    a.parent = TPC_STR("b");
    ck_assert_ptr_eq(put(&d, &a, TP_CHANGE_PLACE)->gateway, NULL);
    a.parent = TPC_STR("a");
    ck_assert_ptr_eq(put(&d, &a, TP_CHANGE_PLACE)->gateway, NULL);
    tp_devices_remove(&d, da);
    ck_assert_ptr_null(db->gateway);
    tp_devices_fini(&d);
}
END_TEST

START_TEST(directory_is_bounded_and_refuses_what_is_no_device)
{
    struct tp_devices d;
    struct tp_device *device;
    uint32_t changes;
    static char longer[TP_ID_MAX + 2];
    memset(longer, 'x', sizeof(longer) - 1);
    tp_devices_init(&d, NULL, 1, 7);
    struct tp_facts a = facts("a", "", ""), b = facts("b", "", ""), c = facts(longer, "", "");
    (void) put(&d, &a, TP_CHANGE_NEW);
    tk_fails(TPC_EAGAIN, tp_devices_put(&d, &b, &device, &changes));
    tk_fails(TPC_EINVAL, tp_devices_put(&d, &c, &device, &changes));
    tp_devices_fini(&d);
}
END_TEST

static int save_and_load(const struct tpc_allocator *a, void *user)
{
    struct tp_devices d, e;
    struct tp_device *device;
    uint32_t changes;
    struct tpi_buf b;
    struct tpc_arena *arena = NULL;
    struct tpc_value list;
    (void) user;
    tp_devices_init(&d, a, 10, 7);
    tp_devices_init(&e, a, 10, 8);
    tpi_buf_init(&b, a, 0);
    struct tp_facts g = facts("g", "1", "{\"s\":\"\xe4\xbb\xa4\"}"), s = facts("s", "2", "");
    g.type = '2';
    g.config = TPC_STR("{\"a\":[1,\"b\"]}");
    s.type = '3';
    s.parent = TPC_STR("g");
    s.address = TPC_STR("7");
    int rc = tp_devices_put(&d, &s, &device, &changes);
    rc = rc != 0 ? rc : tp_devices_put(&d, &g, &device, &changes);
    rc = rc != 0 ? rc : tpi_buf_put(&b, "[", 1);
    rc = rc != 0 ? rc : tp_devices_save(&d, &b);
    rc = rc != 0 ? rc : tpi_buf_put(&b, "]", 1);
    rc = rc != 0 ? rc : tpc_arena_create(a, 0, &arena);
    struct tpc_str text = { (const char *) b.ptr, b.len };
    rc = rc != 0 ? rc : tpc_json_parse(arena, text, 0, NULL, &list);
    rc = rc != 0 ? rc : tp_devices_load(&e, &list);
    if (rc == 0) {
        device = tp_devices_by_id(&e, TPC_STR("g"));
        ck_assert_ptr_nonnull(device);
        ck_assert(tpc_str_equal(device->f.config, g.config));
        ck_assert_int_eq(device->f.type, '2');
        ck_assert_ptr_nonnull(device->first_behind);
        ck_assert(tpc_str_equal(device->first_behind->f.address, TPC_STR("7")));
        ck_assert_ptr_eq(tp_devices_by_voucher(&e, g.voucher), device);
    }
    tpc_arena_destroy(arena);
    tpi_buf_fini(&b);
    tp_devices_fini(&d);
    tp_devices_fini(&e);
    return rc;
}

START_TEST(directory_comes_back_as_it_was)
{
    tk_each_alloc_fails(save_and_load, NULL);
}
END_TEST

/* In a file they come in any order. */
START_TEST(gateways_behind_gateways_come_back_with_those_behind_them)
{
    static const char text[] = "[{\"id\":\"m\",\"type\":\"3\",\"parent\":\"s\",\"address\":\"1\"},"
                               "{\"id\":\"s\",\"type\":\"2\",\"parent\":\"g\",\"address\":\"2\"},"
                               "{\"id\":\"g\",\"type\":\"2\"}]";
    struct tp_devices d;
    struct tpc_arena *arena = NULL;
    struct tpc_value list;
    tp_devices_init(&d, NULL, 10, 7);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, TPC_STR(text), 0, NULL, &list));
    tk_ok(tp_devices_load(&d, &list));
    struct tp_device *s = tp_devices_by_id(&d, TPC_STR("s"));
    ck_assert_ptr_eq(tp_devices_by_id(&d, TPC_STR("m"))->gateway, s);
    ck_assert_ptr_eq(s->gateway, tp_devices_by_id(&d, TPC_STR("g")));
    tp_devices_fini(&d);
    tpc_arena_destroy(arena);
}
END_TEST

/* ---- answers of the platform ---- */

static const struct {
    int failed;
    uint32_t status;
    const char *body;
    enum tp_verdict verdict;
    int code;
} replies[] = {
    { 0, 200, "{\"code\":200,\"message\":\"Success\",\"data\":{}}", TP_REPLY_OK, 200 },
    { 0, 200, "{\"code\":201003,\"message\":\"slow down\"}", TP_REPLY_LIMITED, 201003 },
    { 0, 200, "{\"code\":100000}", TP_REPLY_LATER, 100000 },
    { 0, 200, "{\"code\":100002}", TP_REPLY_OPERATOR, 100002 },
    { 0, 200, "{\"code\":100404}", TP_REPLY_NO, 100404 },
    { 0, 200, "{\"code\":101001,\"data\":{\"sql_error\":\"record not found\"}}", TP_REPLY_NO,
      101001 },
    { 0, 200, "{\"code\":101001}", TP_REPLY_NO, 101001 },
    { 0, 200, "{\"code\":101001,\"data\":{\"sql_error\":\"dial tcp: connection refused\"}}",
      TP_REPLY_LATER, 101001 },
    { 0, 200, "{\"code\":102001}", TP_REPLY_LATER, 102001 },
    { 0, 200, "{\"code\":105001}", TP_REPLY_LATER, 105001 },
    { 0, 200, "{\"code\":201001}", TP_REPLY_OPERATOR, 201001 },
    { 0, 200, "{\"code\":201002}", TP_REPLY_OPERATOR, 201002 },
    { 0, 200, "{\"code\":200064}", TP_REPLY_NO, 200064 },
    { 0, 200, "{\"code\":200065}", TP_REPLY_OPERATOR, 200065 },
    { 0, 200, "{\"code\":200066}", TP_REPLY_OPERATOR, 200066 },
    { 0, 200, "{\"code\":200067}", TP_REPLY_OPERATOR, 200067 },
    { 0, 200, "{\"code\":200068}", TP_REPLY_LATER, 200068 },
    { 0, 200, "{\"code\":200069}", TP_REPLY_LATER, 200069 },
    { 0, 200, "{\"code\":200070}", TP_REPLY_OPERATOR, 200070 },
    { 0, 200, "{\"code\":200080}", TP_REPLY_NO, 200080 },
    { 0, 200, "{\"code\":200082}", TP_REPLY_NO, 200082 },
    { 0, 200, "{\"code\":200086}", TP_REPLY_NO, 200086 },
    { 0, 200, "{\"code\":200052}", TP_REPLY_NO, 200052 },
    { 0, 200, "{\"code\":204003}", TP_REPLY_NO, 204003 },
    { 0, 401, "{\"code\":40100,\"message\":\"no auth\"}", TP_REPLY_OPERATOR, 40100 },
    { 0, 200, "{\"code\":7}", TP_REPLY_LATER, 7 },
    { 0, 500, "{\"code\":200}", TP_REPLY_LATER, 200 },
    { 0, 500, "oops", TP_REPLY_LATER, 500 },
    { 0, 404, "404 page not found", TP_REPLY_OPERATOR, 404 },
    { 0, 429, "", TP_REPLY_LATER, 429 },
    { 0, 200, "<html>", TP_REPLY_LATER, 200 },
    { 0, 200, "{\"code\":\"200\"}", TP_REPLY_LATER, 200 },
    { 0, 200, "[]", TP_REPLY_LATER, 200 },
    { TPC_EOFFLINE, 0, "", TP_REPLY_LATER, TPC_EOFFLINE },
    { TPC_ETIMEOUT, 0, "", TP_REPLY_LATER, TPC_ETIMEOUT },
    { TPC_ETOOBIG, 200, "", TP_REPLY_LATER, TPC_ETOOBIG },
    { TPC_EDENIED, 0, "", TP_REPLY_OPERATOR, TPC_EDENIED },
};

START_TEST(every_code_says_whether_to_ask_again)
{
    struct tpc_arena *arena;
    struct tp_reply r;
    const struct tpc_bytes body = { (const uint8_t *) replies[_i].body, strlen(replies[_i].body) };
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tp_reply_read(replies[_i].failed, replies[_i].status, body, arena, &r);
    ck_assert_int_eq(r.verdict, replies[_i].verdict);
    ck_assert_int_eq(r.code, replies[_i].code);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(device_of_an_answer_is_read_in_every_shape)
{
    static const char *const shapes[] = {
        "{\"id\":\"d\",\"voucher\":\"{ \\\"s\\\": \\\"1\\\" "
        "}\",\"device_type\":\"2\",\"device_number\":"
        "\"n\",\"config\":{\"a\":1},\"protocol_config_template\":{\"b\":2},\"sub_devices\":[{}]}",
        "{\"device_id\":\"d\",\"voucher\":{\"s\":\"1\"},\"device_type\":2,\"device_number\":\"n\","
        "\"protocol_config\":\"{\\\"a\\\":1}\",\"protocol_config_template\":\"{\\\"b\\\": 2}\"}",
    };
    struct tpc_arena *arena;
    struct tpc_value v;
    struct tp_facts f;
    static const struct tp_forms none;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (int i = 0; i < 2; i++) {
        tk_ok(tpc_json_parse(arena, tpc_str_from(shapes[i]), 0, NULL, &v));
        tk_ok(tp_reply_facts(&v, &none, arena, &f));
        ck_assert(tpc_str_equal(f.id, TPC_STR("d")));
        ck_assert(tpc_str_equal(f.number, TPC_STR("n")));
        ck_assert_int_eq(f.type, '2');
        ck_assert(tpc_str_equal(f.voucher, TPC_STR("{\"s\":\"1\"}")));
        ck_assert(tpc_str_equal(f.config, TPC_STR("{\"a\":1}")));
        ck_assert(tpc_str_equal(f.settings, TPC_STR("{\"b\":2}")));
    }
    tk_ok(tpc_json_parse(arena, TPC_STR("{\"device_number\":\"n\"}"), 0, NULL, &v));
    tk_fails(TPC_EINVAL, tp_reply_facts(&v, &none, arena, &f));
    tpc_arena_destroy(arena);
}
END_TEST

Suite *devices_suite(void)
{
    Suite *s = suite_create("devices");
    TCase *t = tcase_create("devices");
    tcase_add_test(t, device_is_found_by_each_of_its_names);
    tcase_add_test(t, of_two_with_one_voucher_the_later_is_found);
    tcase_add_test(t, nothing_stands_behind_itself);
    tcase_add_test(t, directory_is_bounded_and_refuses_what_is_no_device);
    tcase_add_test(t, directory_comes_back_as_it_was);
    tcase_add_test(t, gateways_behind_gateways_come_back_with_those_behind_them);
    tcase_add_loop_test(t, every_code_says_whether_to_ask_again, 0,
                        (int) (sizeof(replies) / sizeof(replies[0])));
    tcase_add_test(t, device_of_an_answer_is_read_in_every_shape);
    suite_add_tcase(s, t);
    return s;
}
