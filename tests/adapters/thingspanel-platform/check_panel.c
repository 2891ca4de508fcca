/* Asked as services ask (contract thingspanel 3.1 and 3.2). */
#include "panel_suites.h"
#include "rig.h"
#include "web.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

static bool is_alive(const char *service, int value)
{
    char text[4 << 10], want[100];
    static char all[200000];
    struct tpc_buf buf = { (uint8_t *) all, sizeof(all) - 1, 0 };
    (void) text;
    tk_ok(tpc_core_prometheus(f.core, &buf));
    all[buf.need] = '\0';
    snprintf(want, sizeof(want), "service=\"%s\"} %d\n", service, value);
    return strstr(all, want) != NULL;
}

START_TEST(a_heartbeat_keeps_a_service_alive_for_a_minute)
{
    begin("{}");
    expect(BEAT, "{'service_identifier':'METER'}", OK "{}}");
    ck_assert(is_alive("METER", 1));
    ck_assert(!is_alive("CLOUD", 1));
    expect(BEAT, "{'service_identifier':'NOBODY'}",
           "{'code':101001,'message':'Not found','data':{'sql_error':'record not found'}}");
    expect(BEAT, "{}", "{'code':100002,");
    expect(BEAT, "[]", "{'code':100002,");
    expect(BEAT, "{'service_identifier':", "{'code':100002,");
    expect(BEAT, "", "{'code':100002,");
    tk_clock_advance(&f.e.clock, 59000);
    (void) tpc_core_step(f.core, 0, NULL);
    ck_assert(is_alive("METER", 1));
    for (int i = 0; i < 500 && !is_alive("METER", 0); i++) {
        tk_clock_advance(&f.e.clock, 1000);
        (void) tpc_core_step(f.core, 0, NULL);
        poll(NULL, 0, 1);
    }
    ck_assert(is_alive("METER", 0));
    expect(BEAT, "{'service_identifier':'METER'}", OK "{}}");
    ck_assert(is_alive("METER", 1));
    ck_assert_uint_eq(web_ask("GET", "/health", "", "127.0.0.1"), 200);
    ck_assert_uint_eq(web_ask("GET", "/api/v1/systime", "", "127.0.0.1"), 200);
    ck_assert_ptr_ne(strstr(web.answer, "\"systime\":"), NULL);
    end();
}
END_TEST

START_TEST(a_device_is_found_by_id_voucher_and_number_in_that_order)
{
    static const char m1[] =
        OK "{'id':'m1','voucher':'{\\'reg_pkg\\':\\'M1\\'}','device_type':'1','protocol_type':"
           "'METER','device_number':'m1','config':{'i':5},'protocol_config_template':{'a':1},"
           "'sub_devices':null}}";
    begin("{}");
    expect(CONFIG, "{'device_id':'m1'}", m1);
    expect(CONFIG, "{'device_id':'m1','voucher':'x','device_number':'m2'}", m1);
    expect(CONFIG, "{'device_id':'','voucher':'{\\'reg_pkg\\':\\'M1\\'}','device_number':'m2'}",
           m1);
    expect(CONFIG, "{'device_number':'m1'}", m1);
    expect(CONFIG, "{'device_id':'m2'}",
           OK "{'id':'m2','voucher':'{\\'username\\':\\'u\\',\\'password\\':\\'p\\'}',");
    expect(CONFIG, "{'device_id':'q1'}",
           OK
           "{'id':'q1','voucher':'','device_type':'1','protocol_type':'MQTT','device_number':'q1',"
           "'config':null,'protocol_config_template':null,'sub_devices':null}}");
    expect(CONFIG, "{'device_id':'hub1'}",
           OK
           "{'id':'hub1','voucher':'','device_type':'2','protocol_type':'METER','device_number':"
           "'hub1','config':null,'protocol_config_template':null,'sub_devices':[{'device_id':'s1',"
           "'device_number':'s1','voucher':'','sub_device_addr':'1','config':{'x':true},"
           "'protocol_config_template':null}]}}");
    expect(CONFIG, "{'device_id':'nobody'}", "{'code':101001,");
    expect(CONFIG, "{'voucher':'{\\'reg_pkg\\':\\'no\\'}'}", "{'code':101001,");
    end();
}
END_TEST

/* What is read on the way does not count against the answer. */
START_TEST(a_gateway_with_thousands_behind_it_is_described)
{
    char text[120];
    begin("{}");
    for (int i = 0; i < 5600; i++) {
        snprintf(text, sizeof(text),
                 "{'key':'t%d','product':'sub','gateway':'hub1','address':'a%d'}", i, i);
        put("device", text);
    }
    expect(CONFIG, "{'device_id':'hub1'}", OK "{'id':'hub1',");
    end();
}
END_TEST

START_TEST(what_is_too_long_or_missing_is_a_parameter_error)
{
    char body[600], text[300];
    begin("{}");
    expect(CONFIG, "{}", "{'code':100002,");
    expect(CONFIG, "{'device_id':5}", "{'code':100002,");
    static const struct {
        const char *member;
        int most;
    } all[] = { { "device_id", 36 }, { "voucher", 255 }, { "device_number", 255 } };
    for (size_t i = 0; i < 3; i++) {
        memset(text, 'x', sizeof(text));
        text[all[i].most] = '\0';
        snprintf(body, sizeof(body), "{'%s':'%s'}", all[i].member, text);
        expect(CONFIG, body, "{'code':101001,");
        snprintf(body, sizeof(body), "{'%s':'%sx'}", all[i].member, text);
        expect(CONFIG, body, "{'code':100002,");
    }
    end();
}
END_TEST

START_TEST(a_voucher_or_number_is_answered_once_in_three_seconds)
{
    begin("{}");
    for (int i = 0; i < 5; i++) {
        expect(CONFIG, "{'device_id':'m1'}", OK);
    }
    expect(CONFIG, "{'device_number':'m1'}", OK);
    expect(CONFIG, "{'device_number':'m1'}", "{'code':201003,");
    expect(CONFIG, "{'device_number':'m2'}", OK);
    expect(CONFIG, "{'voucher':'{\\'reg_pkg\\':\\'M1\\'}'}", OK);
    expect(CONFIG, "{'voucher':'{\\'reg_pkg\\':\\'M1\\'}'}", "{'code':201003,");
    tk_clock_advance(&f.e.clock, 3000);
    expect(CONFIG, "{'device_number':'m1'}", OK);
    expect(CONFIG, "{'voucher':'{\\'reg_pkg\\':\\'M1\\'}'}", OK);
    end();
}
END_TEST

START_TEST(devices_of_a_service_come_in_pages)
{
    begin("{}");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1','page':1,'page_size':10}",
           OK "{'total':2,'list':[{'id':'m1',");
    ck_assert_ptr_ne(strstr(web.answer, "{\"id\":\"m2\""), NULL);
    ck_assert_ptr_eq(strstr(web.answer, "m3"), NULL);
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1','page':2,'page_size':1}",
           OK "{'total':2,'list':[{'id':'m2',");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1','page':3,'page_size':1}",
           OK "{'total':2,'list':null}}");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'2','page':1,'page_size':1000}",
           OK "{'total':1,'list':[{'id':'hub1',");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'3','page':1,'page_size':10}",
           OK "{'total':0,'list':null}}");
    expect(DEVICES, "{'service_identifier':'NOBODY','device_type':'1','page':1,'page_size':10}",
           OK "{'total':0,'list':null}}");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1','page':0,'page_size':10}",
           "{'code':100002,");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1','page':1,'page_size':1001}",
           "{'code':100002,");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1'}", "{'code':100002,");
    end();
}
END_TEST

START_TEST(a_device_behind_a_gateway_is_no_direct_one)
{
    begin("{}");
    put("device", "{'key':'m5','product':'meter','gateway':'hub1','address':'5'}");
    expect(DEVICES, "{'service_identifier':'METER','device_type':'1','page':1,'page_size':10}",
           OK "{'total':2,");
    expect(CONFIG, "{'device_id':'m5'}", OK "{'id':'m5','voucher':'','device_type':'3',");
    end();
}
END_TEST

START_TEST(access_points_come_with_their_devices)
{
    static const char p1[] =
        "{'id':'p1','service_access_id':'p1','name':'P','service_plugin_id':'CLOUD',"
        "'service_identifier':'CLOUD','voucher':'{\\'u\\':\\'a b\\'}','description':'',"
        "'service_access_config':'{}','remark':'','create_at':'";
    char want[600];
    begin("{}");
    snprintf(want, sizeof(want), OK "[%s", p1);
    expect(POINTS, "{'service_identifier':'CLOUD'}", want);
    ck_assert_ptr_ne(strstr(web.answer, "\"devices\":[{\"id\":\"c1\",\"name\":\"C\""), NULL);
    ck_assert_ptr_ne(strstr(web.answer, "\"is_enabled\":\"enabled\""), NULL);
    ck_assert_ptr_ne(strstr(web.answer, "\"is_online\":0"), NULL);
    snprintf(want, sizeof(want), OK "%s", p1);
    expect(POINT, "{'service_access_id':'p1'}", want);
    expect(POINT, "{'service_access_id':'p2'}", "{'code':101001,");
    expect(POINT, "{}", "{'code':100002,");
    expect(POINTS, "{'service_identifier':'METER'}", OK "[]}");
    expect(POINTS, "{'service_identifier':'NOBODY'}", "{'code':101001,");
    end();
}
END_TEST

START_TEST(devices_register_themselves_with_their_templates_secret)
{
    begin("{}");
    expect(AUTH, "{'template_secret':'s1','device_number':'n1'}",
           OK "{'device_id':'n1','voucher':'{\\'voucher\\':\\'");
    expect(CONFIG, "{'device_id':'n1'}", OK "{'id':'n1','voucher':'{\\'voucher\\':\\'");
    expect(AUTH, "{'template_secret':'s1','device_number':'n1'}", "{'code':200082,");
    expect(AUTH, "{'template_secret':'s1','device_number':'n2','product_key':'other'}",
           "{'code':200083,");
    expect(AUTH, "{'template_secret':'wrong','device_number':'n2'}", "{'code':200080,");
    expect(AUTH, "{'template_secret':'s3','device_number':'n2'}", "{'code':200081,");
    expect(AUTH, "{'template_secret':'s1'}", "{'code':100002,");
    expect(AUTH, "{'template_secret':'s2','device_number':'n3'}", "{'code':200084,");
    expect(AUTH,
           "{'template_secret':'s2','device_number':'n3','sub_device_addr':'7',"
           "'parent_device_number':'nobody'}",
           "{'code':200085,");
    expect(AUTH,
           "{'template_secret':'s2','device_number':'n3','sub_device_addr':'1',"
           "'parent_device_number':'hub1'}",
           "{'code':200086,");
    expect(AUTH,
           "{'template_secret':'s2','device_number':'n3','sub_device_addr':'7',"
           "'parent_device_number':'hub1','device_name':'N'}",
           OK "{'device_id':'n3','voucher':'{\\'voucher\\':\\'");
    expect(AUTH,
           "{'template_secret':'s2','device_number':'n3','sub_device_addr':'8',"
           "'parent_device_number':'hub1'}",
           "{'code':200082,");
    end();
}
END_TEST

#define GATEWAY "/api/v1/device/gateway-register"
#define SUBS "/api/v1/device/gateway-sub-register"

START_TEST(gateways_get_credentials_only_where_that_is_switched_on)
{
    begin("{}");
    expect(GATEWAY, "{'gateway_id':'g1','tenant_id':'main','model':'hub'}", "{'code':201001,");
    expect(SUBS, "{'device_id':'hub1','registers':[]}", "{'code':201001,");
    end();
    begin("{\"gateway_register\":\"new\"}");
    expect(GATEWAY, "{'gateway_id':'g1','tenant_id':'main','model':'hub'}", "{'code':101001,");
    put("product", "{'key':'hub','name':'Hub A','type':'gateway','protocol':'METER','model':{},"
                   "'auto_register':true}");
    expect(GATEWAY, "{'gateway_id':'g1','tenant_id':'other','model':'hub'}", "{'code':101001,");
    expect(GATEWAY, "{'gateway_id':'g1','tenant_id':'main','model':'meter'}", "{'code':101001,");
    expect(GATEWAY, "{'tenant_id':'main','model':'hub'}", "{'code':100002,");
    expect(GATEWAY, "{'gateway_id':'gateway-number-1','tenant_id':'main','model':'Hub A'}",
           OK "{'mqtt_username':'");
    ck_assert_ptr_ne(strstr(web.answer, "\"mqtt_client_id\":\"mqtt_gateway-numb\""), NULL);
    expect(GATEWAY, "{'gateway_id':'gateway-number-1','model':'hub'}", "{'code':200082,");
    expect(SUBS,
           "{'type':'sub-register','device_id':'hub1','registers':[{'sub_addr':'5','model':'sub'},"
           "{'sub_addr':'1','model':'sub'},{'sub_addr':'6','model':'meter'}]}",
           OK
           "{'type':'sub-register-response','status':'fail','message':'some are not made',"
           "'registersRes':{'5':{'result':0,'errorcode':'','message':'success','sub_addr':'5'},"
           "'1':{'result':1,'errorcode':'exists','message':'it is there already','sub_addr':'1'},"
           "'6':{'result':1,'errorcode':'invalid',");
    expect(SUBS, "{'device_id':'hub1','registers':[{'sub_addr':'7','model':'sub'}]}",
           OK "{'type':'sub-register-response','status':'success',");
    expect(SUBS, "{'device_id':'nobody','registers':[]}", "{'code':101001,");
    expect(SUBS, "{'device_id':'hub1','registers':5}", "{'code':100002,");
    end();
}
END_TEST

START_TEST(a_known_gateway_gets_its_credentials_again_where_that_is_allowed)
{
    static char first[WEB_TEXT];
    begin("{\"gateway_register\":\"reissue\"}");
    put("product",
        "{'key':'hub','type':'gateway','protocol':'METER','model':{},'auto_register':true}");
    expect(GATEWAY, "{'gateway_id':'g1','model':'hub'}", OK "{'mqtt_username':'");
    snprintf(first, sizeof(first), "%s", web.answer);
    expect(GATEWAY, "{'gateway_id':'g1','model':'hub'}", first);
    expect(GATEWAY, "{'gateway_id':'hub1','model':'hub'}", "{'code':200082,"); /* it has none */
    expect(GATEWAY, "{'gateway_id':'m1','model':'hub'}", "{'code':200082,");
    end();
}
END_TEST

START_TEST(metrics_and_diagnostics_are_served)
{
    begin("{}");
    ck_assert_uint_eq(web_ask("GET", "/metrics", "", "127.0.0.1"), 200);
    ck_assert_ptr_ne(strstr(web.answer, "# TYPE tpc_"), NULL);
    struct tpc_why why = TPC_WHY_INIT;
    why.stage = TPC_WHY_DECODE;
    why.code = TPC_EDECODE;
    why.device = TPC_STR("m1");
    why.reason = TPC_STR("no JSON");
    tk_ok(tpc_why_note(f.core, &why));
    ck_assert_uint_eq(web_ask("GET", "/api/v1/devices/m1/diagnostics", "", "127.0.0.1"), 200);
    static const char want[] = "\"stats\":{\"uplink\":{\"success_rate\":0.0,\"total\":1,"
                               "\"success\":0}},\"recent_failures\":[{\"timestamp\":\"";
    ck_assert_msg(strstr(web.answer, want) != NULL, "%s", web.answer);
    ck_assert_ptr_ne(strstr(web.answer, "\"direction\":\"uplink\",\"stage\":\"processor\","
                                        "\"error\":\"no JSON\""),
                     NULL);
    ck_assert_uint_eq(web_ask("GET", "/api/v1/devices/no\"body/diagnostics", "", "::1"), 200);
    ck_assert_ptr_ne(strstr(web.answer, "{\"code\":101001,"), NULL);
    end();
}
END_TEST

START_TEST(who_is_not_allowed_learns_nothing)
{
    begin("{\"allow\":[\"10.0.0.0/8\"]}");
    expect_from("10.1.2.3", 200, CONFIG, "{'device_id':'m1'}", OK);
    expect_from("127.0.0.1", 403, CONFIG, "{'device_id':'m1'}",
                "{'code':201001,'message':'No permission'}");
    end();
    web_reset();
    flow_init(&f, 0);
    f.o.allocator = NULL;
    flow_create(&f);
    tk_ok(tpc_core_add_module(f.core, tpc_module_thingspanel_platform()));
    ck_assert_int_eq(tpc_core_open(f.core, "panel", "thingspanel_platform",
                                   TPC_STR("{\"allow\":[\"10.0.0.0/99\"]}")),
                     TPC_EINVAL);
    end();
}
END_TEST

Suite *panel_suite(void)
{
    Suite *s = suite_create("endpoints");
    TCase *tc = tcase_create("endpoints");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_heartbeat_keeps_a_service_alive_for_a_minute);
    tcase_add_test(tc, a_device_is_found_by_id_voucher_and_number_in_that_order);
    tcase_add_test(tc, what_is_too_long_or_missing_is_a_parameter_error);
    tcase_add_test(tc, a_gateway_with_thousands_behind_it_is_described);
    tcase_add_test(tc, a_voucher_or_number_is_answered_once_in_three_seconds);
    tcase_add_test(tc, devices_of_a_service_come_in_pages);
    tcase_add_test(tc, a_device_behind_a_gateway_is_no_direct_one);
    tcase_add_test(tc, access_points_come_with_their_devices);
    tcase_add_test(tc, devices_register_themselves_with_their_templates_secret);
    tcase_add_test(tc, gateways_get_credentials_only_where_that_is_switched_on);
    tcase_add_test(tc, a_known_gateway_gets_its_credentials_again_where_that_is_allowed);
    tcase_add_test(tc, metrics_and_diagnostics_are_served);
    tcase_add_test(tc, who_is_not_allowed_learns_nothing);
    suite_add_tcase(s, tc);
    return s;
}
