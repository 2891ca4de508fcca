/* A whole core with the module, asked as services ask, and services that are told (contract thingspanel
 * 3.1 to 3.3). */
#include "flow.h"
#include "panel_suites.h"
#include "web.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>

enum { PANEL_CALLS_EACH = 4 }; /* to one service at a time */

static struct flow f;
static const struct tpc_str none = { "", 0 };

/* ' stands for ". */
static void put(const char *kind, const char *form)
{
    char text[600];
    snprintf(text, sizeof(text), "%s", form);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    int rc = tpc_entity_put(f.core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", text, tpc_error_last()->text);
}

/* Memory that is refused to every nth request; 0 = to none. Any thread. */
static atomic_uint refuse_each, asked_for;

static void *short_resize(void *user, void *p, size_t old_size, size_t new_size)
{
    const struct tpc_allocator *a = tpc_allocator_default();
    uint32_t n = atomic_load(&refuse_each);
    (void) user;
    if (new_size > old_size && n != 0 && atomic_fetch_add(&asked_for, 1) % n == n - 1) {
        return NULL;
    }
    return a->resize(a->user, p, old_size, new_size);
}

static const struct tpc_allocator short_memory = { .resize = short_resize };

static void begin(const char *options)
{
    web_reset();
    flow_init(&f, 0);
    f.o.allocator = &short_memory; /* the module has a thread: not the one of the kit */
    flow_create(&f);
    tk_ok(tpc_core_add_module(f.core, web_module()));
    tk_ok(tpc_core_add_module(f.core, web_user()));
    tk_ok(tpc_core_add_module(f.core, tpc_module_thingspanel_platform()));
    tk_ok(tpc_core_open(f.core, "web", "web", TPC_STR("{}")));
    tk_ok(tpc_core_open(f.core, "panel", "thingspanel_platform", tpc_str_from(options)));
    tk_ok(tpc_core_open(f.core, "user", "web_user", TPC_STR("{}")));
    put("service", "{'key':'METER','http_address':'127.0.0.1:7','device_type':2}");
    put("service", "{'key':'CLOUD','type':2,'http_address':'127.0.0.1:8'}");
    put("service", "{'key':'DUMB'}");
    put("product",
        "{'key':'meter','protocol':'METER','model':{},'secret':'s1','auto_register':true,"
        "'protocol_config':{'a':1}}");
    put("product", "{'key':'hub','type':'gateway','protocol':'METER','model':{}}");
    put("product", "{'key':'sub','type':'sub','protocol':'METER','model':{},'secret':'s2',"
                   "'auto_register':true}");
    put("product", "{'key':'cloud','protocol':'CLOUD','model':{},'secret':'s3'}");
    put("product", "{'key':'plain','model':{}}");
    put("access_point",
        "{'key':'p1','service':'CLOUD','name':'P','voucher':'{\\'u\\':\\'a b\\'}'}");
    put("device", "{'key':'m1','product':'meter','protocol_config':{'i':5},"
                  "'credentials':{'voucher':'{\\'reg_pkg\\':\\'M1\\'}'}}");
    put("device", "{'key':'m2','product':'meter','credentials':{'username':'u','password':'p'}}");
    put("device", "{'key':'m3','product':'meter','enabled':false}");
    put("device", "{'key':'hub1','product':'hub'}");
    put("device", "{'key':'s1','product':'sub','gateway':'hub1','address':'1',"
                  "'protocol_config':{'x':true}}");
    put("device", "{'key':'c1','product':'cloud','name':'C','access_point':'p1'}");
    put("device", "{'key':'q1','product':'plain'}");
    flow_start(&f);
}

static void end(void)
{
    flow_fini(&f);
}

static void expect_from(const char *peer, uint32_t status, const char *path, const char *body,
                        const char *want)
{
    char text[800], wanted[2000];
    snprintf(text, sizeof(text), "%s", body);
    snprintf(wanted, sizeof(wanted), "%s", want);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    for (char *p = wanted; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    uint32_t got = web_ask("POST", path, text, peer);
    ck_assert_msg(got == status, "%s %s: HTTP %u", path, text, (unsigned) got);
    ck_assert_msg(strncmp(web.answer, wanted, strlen(wanted)) == 0, "%s %s\n got %s\nwant %s", path,
                  text, web.answer, wanted);
}

static void expect(const char *path, const char *body, const char *want)
{
    expect_from("127.0.0.1", 200, path, body, want);
}

#define BEAT "/api/v1/plugin/heartbeat"
#define CONFIG "/api/v1/plugin/device/config"
#define DEVICES "/api/v1/plugin/devices"
#define POINTS "/api/v1/plugin/service/access/list"
#define POINT "/api/v1/plugin/service/access"
#define AUTH "/api/v1/device/auth"
#define OK "{'code':200,'message':'Success','data':"

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

/* ---- services are told ---- */

static void turn(uint32_t ms)
{
    (void) tpc_core_step(f.core, 0, NULL);
    tk_clock_advance(&f.e.clock, ms);
    poll(NULL, 0, 1);
}

/* Until n calls were made in all; then nothing more comes. */
static void calls_are(uint32_t n)
{
    for (int i = 0; i < 3000 && web_calls() < n; i++) {
        turn(0);
    }
    for (int i = 0; i < 20; i++) {
        turn(0);
    }
    ck_assert_msg(web_calls() == n, "%u calls instead of %u, last %s %s", (unsigned) web_calls(),
                  (unsigned) n, web.calls[(web_calls() + WEB_CALLS - 1) % WEB_CALLS].url,
                  web.calls[(web_calls() + WEB_CALLS - 1) % WEB_CALLS].body);
}

static void call_is(uint32_t n, const char *url, const char *body)
{
    char want[300];
    snprintf(want, sizeof(want), "%s", body);
    for (char *p = want; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    ck_assert_str_eq(web.calls[n].url, url);
    ck_assert_str_eq(web.calls[n].body, want);
}

/* What is there at the start is read by then. */
static void begin_told(const char *options)
{
    begin(options);
    expect(CONFIG, "{'device_id':'m1'}", OK);
    turn(0);
}

#define DROP "http://127.0.0.1:7/api/v1/device/disconnect"

START_TEST(a_service_drops_devices_that_change)
{
    begin_told("{}");
    put("device", "{'key':'m1','product':'meter','protocol_config':{'i':6}}");
    calls_are(1);
    call_is(0, DROP, "{'device_id':'m1'}");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("m1"), TPC_ANY_REV));
    calls_are(2);
    call_is(1, DROP, "{'device_id':'m1'}");
    /* A new device is nothing to it, one that MQTT carries neither. */
    put("device", "{'key':'m9','product':'meter'}");
    put("device", "{'key':'q1','product':'plain','name':'x'}");
    calls_are(2);
    /* Behind a gateway the gateway's connection is what counts. */
    put("device", "{'key':'s2','product':'sub','gateway':'hub1','address':'2'}");
    calls_are(3);
    call_is(2, DROP, "{'device_id':'hub1'}");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("s2"), TPC_ANY_REV));
    calls_are(5);
    call_is(3, DROP, "{'device_id':'s2'}");
    call_is(4, DROP, "{'device_id':'hub1'}");
    /* To a template without a service. */
    put("device", "{'key':'m2','product':'plain'}");
    calls_are(6);
    put("device", "{'key':'m2','product':'plain','name':'x'}");
    calls_are(6);
    end();
}
END_TEST

START_TEST(a_template_that_changes_drops_all_its_devices)
{
    begin_told("{}");
    put("product", "{'key':'meter','protocol':'METER','model':{},'protocol_config':{'a':2}}");
    calls_are(3);
    put("product", "{'key':'meter','protocol':'CLOUD','model':{}}");
    calls_are(6);
    call_is(5, DROP, web.calls[5].body); /* to the one that had them */
    put("device", "{'key':'m1','product':'meter','name':'x'}");
    calls_are(7);
    call_is(6, "http://127.0.0.1:8/api/v1/device/disconnect", "{'device_id':'m1'}");
    put("product", "{'key':'plain','protocol':'METER','model':{}}");
    calls_are(7);
    put("device", "{'key':'q1','product':'plain','name':'x'}");
    calls_are(8);
    call_is(7, DROP, "{'device_id':'q1'}");
    end();
}
END_TEST

START_TEST(a_changed_access_point_is_told_again_until_it_is_heard)
{
    static const char note[] =
        "{'message_type':'1','message':'{\\'service_access_id\\':\\'p1\\'}'}";
    begin_told("{}");
    web.reply_status = 500;
    put("access_point", "{'key':'p1','service':'CLOUD','name':'Q'}");
    calls_are(1);
    call_is(0, "http://127.0.0.1:8/api/v1/plugin/notification", note);
    for (int i = 0; i < 40 && web_calls() < 2; i++) {
        turn(100);
    }
    calls_are(2);
    web.error = TPC_EOFFLINE;
    for (int i = 0; i < 100 && web_calls() < 3; i++) {
        turn(100);
    }
    calls_are(3);
    web.error = 0;
    web.reply_status = 404; /* an older one */
    for (int i = 0; i < 200 && web_calls() < 4; i++) {
        turn(100);
    }
    calls_are(5);
    call_is(4, "http://127.0.0.1:8/api/v1/notify/event", note);
    web.reply_status = 200;
    for (int i = 0; i < 400 && web_calls() < 6; i++) {
        turn(100);
    }
    calls_are(6);
    for (int i = 0; i < 100; i++) {
        turn(1000);
    }
    calls_are(6);
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("c1"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "access_point", TPC_STR("p1"), TPC_ANY_REV));
    calls_are(8);
    call_is(7, "http://127.0.0.1:8/api/v1/plugin/notification", note);
    end();
}
END_TEST

START_TEST(a_service_that_hangs_does_not_hold_up_others)
{
    char text[100];
    begin_told("{}");
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "{'key':'x%d','product':'meter'}", i);
        put("device", text);
    }
    calls_are(0);
    web.later = true;
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "{'key':'x%d','product':'meter','name':'n'}", i);
        put("device", text);
    }
    calls_are(PANEL_CALLS_EACH);
    put("access_point", "{'key':'p1','service':'CLOUD','name':'Q'}");
    calls_are(PANEL_CALLS_EACH + 1);
    web_end(0);
    calls_are(PANEL_CALLS_EACH + 2);
    end();
}
END_TEST

START_TEST(a_change_during_a_call_is_told_once_more)
{
    begin_told("{\"notification\":\"event\",\"call_tries\":2}");
    web.later = true;
    put("device", "{'key':'m1','product':'meter','name':'1'}");
    calls_are(1);
    put("device", "{'key':'m1','product':'meter','name':'2'}");
    put("device", "{'key':'m1','product':'meter','name':'3'}");
    calls_are(1);
    web_end(0);
    calls_are(2);
    web.error = TPC_ETIMEOUT;
    web_end(1);
    for (int i = 0; i < 60 && web_calls() < 3; i++) {
        turn(100);
    }
    calls_are(3);
    web_end(2); /* the second try is the last */
    for (int i = 0; i < 100; i++) {
        turn(1000);
    }
    calls_are(3);
    put("access_point", "{'key':'p1','service':'CLOUD','name':'Q'}");
    calls_are(4);
    call_is(3, "http://127.0.0.1:8/api/v1/notify/event",
            "{'message_type':'1','message':'{\\'service_access_id\\':\\'p1\\'}'}");
    end(); /* with a call that is not answered */
}
END_TEST

struct said {
    uint32_t count, code;
    char data[300];
};

static void on_said(void *user, uint32_t code, struct tpc_str message, const struct tpc_value *data)
{
    struct said *s = user;
    struct tpc_buf buf = { (uint8_t *) s->data, sizeof(s->data) - 1, 0 };
    (void) message;
    s->data[0] = '\0';
    if (data != NULL && tpc_json_write(data, 0, &buf) == 0) {
        s->data[buf.need] = '\0';
    }
    s->code = code;
    __atomic_fetch_add(&s->count, 1, __ATOMIC_SEQ_CST);
}

static void said(struct said *s, uint32_t count, uint32_t code, const char *data)
{
    for (int i = 0; i < 3000 && __atomic_load_n(&s->count, __ATOMIC_SEQ_CST) < count; i++) {
        turn(0);
    }
    ck_assert_uint_eq(s->count, count);
    ck_assert_uint_eq(s->code, code);
    ck_assert_str_eq(s->data, data);
}

START_TEST(forms_and_found_devices_are_asked_for)
{
    struct said s = { 0 };
    begin_told("{}");
    const struct tpc_panel_ops *ops = web.panel;
    web.reply = "{\"code\":200,\"message\":\"success\",\"data\":[{\"dataKey\":\"a\"}]}";
    tk_ok(ops->form(web.panel_self, TPC_STR("METER"), none, TPC_STR("SVCR"), on_said, &s));
    said(&s, 1, 200, "[{\"dataKey\":\"a\"}]");
    ck_assert_str_eq(
        web.calls[0].url,
        "http://127.0.0.1:7/api/v1/form/config?protocol_type=METER&device_type=&form_type=SVCR");
    web.reply = "{\"code\":200,\"data\":null}";
    tk_ok(ops->form(web.panel_self, TPC_STR("METER"), TPC_STR("1"), TPC_STR("CFG"), on_said, &s));
    said(&s, 2, 200, "null");
    web.reply = "{\"code\":200,\"data\":{\"total\":1,\"list\":[]}}";
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 2, 10, on_said, &s));
    said(&s, 3, 200, "{\"total\":1,\"list\":[]}");
    ck_assert_str_eq(web.calls[2].url, "http://127.0.0.1:8/api/v1/plugin/device/list?voucher="
                                       "%7B%22u%22%3A%22a%20b%22%7D&page_size=10&page=2");
    web.reply = "{\"code\":500}";
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 4, 200070, "");
    web.reply = "no";
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 5, 200070, "");
    web.reply_status = 503;
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 6, 200069, "");
    web.error = TPC_EOFFLINE;
    tk_ok(ops->list(web.panel_self, TPC_STR("p1"), 1, 10, on_said, &s));
    said(&s, 7, 200068, "");
    tk_ok(ops->form(web.panel_self, TPC_STR("DUMB"), none, TPC_STR("CFG"), on_said, &s));
    said(&s, 8, 200067, "");
    tk_ok(ops->form(web.panel_self, TPC_STR("NOBODY"), none, TPC_STR("CFG"), on_said, &s));
    said(&s, 9, 101001, "");
    tk_fails(TPC_EINVAL, ops->list(web.panel_self, TPC_STR("p1"), 0, 1, on_said, &s));
    tk_fails(TPC_EINVAL, ops->form(web.panel_self, TPC_STR("METER"), none, none, on_said, &s));
    web.later = true;
    web.error = 0;
    tk_ok(ops->form(web.panel_self, TPC_STR("METER"), none, TPC_STR("CFG"), on_said, &s));
    calls_are(8);
    end();
    said(&s, 10, 200069, ""); /* the stop ends it */
}
END_TEST

/* Every question is answered, whatever memory is short for, and afterwards all is as it was. */
START_TEST(without_memory_each_request_is_answered)
{
    static const char *const asks[][2] = {
        { BEAT, "{\"service_identifier\":\"METER\"}" },
        { CONFIG, "{\"device_id\":\"hub1\"}" },
        { DEVICES,
          "{\"service_identifier\":\"METER\",\"device_type\":\"1\",\"page\":1,\"page_size\":9}" },
        { POINTS, "{\"service_identifier\":\"CLOUD\"}" },
        { AUTH, "{\"template_secret\":\"s3\",\"device_number\":\"n\"}" },
    };
    begin_told("{}");
    web.reply_status = 500;
    for (uint32_t n = 2; n < 60; n += n < 20 ? 1 : 7) {
        atomic_store(&refuse_each, n);
        for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
            ck_assert_uint_ne(web_ask("POST", asks[i][0], asks[i][1], "127.0.0.1"), 0);
        }
        (void) tpc_entity_put(f.core, NULL, "device",
                              TPC_STR("{\"key\":\"m1\",\"product\":\"meter\"}"), TPC_ANY_REV, NULL);
        turn(1000);
        atomic_store(&refuse_each, 0);
        turn(0);
    }
    expect(CONFIG, "{'device_id':'hub1'}", OK "{'id':'hub1',");
    expect(POINTS, "{'service_identifier':'CLOUD'}", OK "[{'id':'p1',");
    /* What was missed was read again. */
    web.reply_status = 200;
    for (int i = 0; i < 200; i++) {
        turn(1000);
    }
    uint32_t calls = web_calls();
    put("device", "{'key':'m2','product':'meter','name':'y'}");
    calls_are(calls + 1);
    ck_assert_str_eq(web.calls[calls % WEB_CALLS].body, "{\"device_id\":\"m2\"}");
    end();
}
END_TEST

Suite *told_suite(void)
{
    Suite *s = suite_create("told");
    TCase *tc = tcase_create("told");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_service_drops_devices_that_change);
    tcase_add_test(tc, a_template_that_changes_drops_all_its_devices);
    tcase_add_test(tc, a_changed_access_point_is_told_again_until_it_is_heard);
    tcase_add_test(tc, a_service_that_hangs_does_not_hold_up_others);
    tcase_add_test(tc, a_change_during_a_call_is_told_once_more);
    tcase_add_test(tc, forms_and_found_devices_are_asked_for);
    tcase_add_test(tc, without_memory_each_request_is_answered);
    suite_add_tcase(s, tc);
    return s;
}
