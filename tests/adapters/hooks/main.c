/* Requests as the brokers send them, and what they read in the answers. */
#include <stdio.h>
#include <string.h>
#include <tpcore/tpcore.h>

#include "hooks.h"
#include "tk.h"

#define MODEL "\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}"
#define PASSWORD "5d4e1f404486b778af7b85414fdd14c9566566f6cd23fb2758bce85e82477460"
#define SIGN "156a0c5c69fd5b95c8eb2f968e8c1fe3570c3170900d6f2ec955fb60e1ab9e26"

static struct tpc_core *core;
static struct hooks_answer answer;
static const struct tpc_str none = { NULL, 0 };

static void put(const char *kind, const char *json)
{
    int rc = tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static void put_all(void)
{
    put("product", "{\"key\":\"pk01\",\"auto_register\":true,\"secret\":"
                   "\"fedcba9876543210fedcba9876543210\"," MODEL "}");
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":"
                  "\"0123456789abcdef0123456789abcdef\"}");
    put("device",
        "{\"key\":\"panel-1\",\"product\":\"pk01\",\"credentials\":{\"username\":\"u & 1\","
        "\"password\":\"p=1\"}}");
    put("service_user", "{\"key\":\"plugin\",\"password\":\"pw\"}");
}

static void setup(void)
{
    tk_ok(tpc_core_create(NULL, &core));
    put_all();
}

static void teardown(void)
{
    tpc_core_destroy(core);
}

static const char *ask(const char *path, const char *hook, const char *body)
{
    struct hooks_request q = { .core = core,
                               .tenant = none,
                               .body = { (const uint8_t *) body, strlen(body) } };
    hooks_fn *fn = hooks_find(tpc_str_from(path), tpc_str_from(hook));
    ck_assert(fn != NULL);
    memset(&answer, 0, sizeof(answer));
    fn(&q, &answer);
    ck_assert_uint_eq(answer.len, strlen(answer.text));
    return answer.text;
}

#define EMQX_DENY "{\"result\":\"deny\",\"is_superuser\":false}"
#define EMQX_ALLOW "{\"result\":\"allow\",\"is_superuser\":false}"

START_TEST(emqx_is_told_who_may_log_in)
{
    ck_assert_str_eq(ask("/mqtt/auth", "",
                         "{\"clientid\":\"pk01.dev01\",\"username\":\"dev01&pk01\","
                         "\"password\":\"" PASSWORD "\"}"),
                     EMQX_ALLOW);
    ck_assert_str_eq(answer.type, "application/json");
    ck_assert_str_eq(answer.who.key, "dev01");
    ck_assert_str_eq(ask("/mqtt/auth", "",
                         "{\"clientid\":\"c\",\"username\":\"plugin\",\"password\":"
                         "\"pw\"}"),
                     "{\"result\":\"allow\",\"is_superuser\":true}");
    ck_assert_str_eq(ask("/mqtt/auth", "",
                         "{\"clientid\":\"c\",\"username\":\"plugin\",\"password\":"
                         "\"px\"}"),
                     EMQX_DENY);
    static const char *const bad[] = {
        "", "[]", "{", "{\"username\":\"plugin\",\"password\":\"pw\"}",
        "{\"clientid\":1,\"username\":\"plugin\",\"password\":\"pw\"}"
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_str_eq(ask("/mqtt/auth", "", bad[i]), EMQX_DENY);
    }
    /* A registration: the server makes the device. */
    ck_assert_str_eq(
        ask("/mqtt/auth", "",
            "{\"clientid\":\"pk01.new|authType=register|\",\"username\":\"dev02&pk01\","
            "\"password\":\"" SIGN "\"}"),
        EMQX_DENY);
    tk_ok(tpc_entity_delete(core, NULL, none, "device", TPC_STR("dev01"), TPC_ANY_REV));
    ck_assert_str_eq(ask("/mqtt/auth", "",
                         "{\"clientid\":\"pk01.dev01|authType=register|\",\"username\":"
                         "\"dev01&pk01\",\"password\":\"" SIGN "\"}"),
                     EMQX_ALLOW);
    ck_assert_int_eq(answer.event, HOOKS_REGISTER);
    ck_assert_str_eq(answer.sign, SIGN);
}
END_TEST

START_TEST(emqx_is_told_which_topics_a_user_has)
{
    static const struct {
        const char *body, *answer;
    } list[] = {
        { "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev01/thing/property/"
          "post\",\"action\":"
          "\"publish\"}",
          EMQX_ALLOW },
        { "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev01/#\",\"action\":\"subscribe\"}",
          EMQX_ALLOW },
        { "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev01/#\",\"access\":\"1\"}",
          EMQX_ALLOW },
        { "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev01/#\",\"access\":2}", EMQX_DENY },
        { "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev02/x\",\"action\":\"publish\"}",
          EMQX_DENY },
        { "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev01/x\"}", EMQX_DENY },
        { "{\"username\":\"nobody\",\"topic\":\"devices/telemetry\",\"action\":\"publish\"}",
          EMQX_DENY },
        { "{\"username\":\"plugin\",\"topic\":\"#\",\"action\":\"subscribe\"}", EMQX_ALLOW },
        { "nonsense", EMQX_DENY },
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        ck_assert_str_eq(ask("/mqtt/acl", "", list[i].body), list[i].answer);
    }
}
END_TEST

START_TEST(emqx_tells_who_comes_and_goes)
{
    ck_assert_str_eq(ask("/mqtt/event", "",
                         "{\"event\":\"client.connected\",\"username\":"
                         "\"dev01&pk01\"}"),
                     "");
    ck_assert_int_eq(answer.event, HOOKS_ONLINE);
    ck_assert_str_eq(answer.who.key, "dev01");
    (void) ask("/mqtt/event", "",
               "{\"event\":\"client.disconnected\",\"username\":\"dev01&pk01\",\"reason\":\"x\"}");
    ck_assert_int_eq(answer.event, HOOKS_OFFLINE);
    (void) ask("/mqtt/event", "", "{\"event\":\"session.created\",\"username\":\"dev01&pk01\"}");
    ck_assert_int_eq(answer.event, HOOKS_NOTHING);
    (void) ask("/mqtt/event", "", "{\"event\":\"client.connected\",\"username\":\"nobody\"}");
    ck_assert_int_eq(answer.event, HOOKS_NOTHING);
}
END_TEST

START_TEST(rabbitmq_reads_allow_and_deny)
{
    static const struct {
        const char *path, *body, *answer;
    } list[] = {
        { "/auth/user", "username=u+%26+1&password=p%3D1&vhost=%2F&client_id=c", "allow" },
        { "/auth/user", "password=p%3d1&username=u%20%26%201", "allow" },
        { "/auth/user", "username=u+%26+1&password=p%3D2", "deny" },
        { "/auth/user", "username=u+%26+1", "deny" },
        { "/auth/user", "username=%zz&password=p", "deny" },
        { "/auth/user", "username=%2", "deny" },
        { "/auth/user", "", "deny" },
        { "/auth/vhost", "username=u+%26+1&vhost=%2F&ip=10.0.0.1&client_id=c", "allow" },
        { "/auth/vhost", "username=nobody&vhost=%2F&ip=10.0.0.1", "deny" },
        { "/auth/resource",
          "username=plugin&vhost=%2F&resource=exchange&name=amq.topic&permission=write", "allow" },
        { "/auth/topic",
          "username=dev01%26pk01&vhost=%2F&resource=topic&name=amq.topic&permission=write&routing_"
          "key="
          ".sys.pk01.dev01.thing.property.post",
          "allow" },
        { "/auth/topic", "username=dev01%26pk01&permission=write&routing_key=.sys.pk01.dev02.x",
          "deny" },
        { "/auth/topic", "username=u+%26+1&permission=read&routing_key=devices.command.panel-1.*",
          "allow" },
        { "/auth/topic", "username=u+%26+1&permission=read&routing_key=devices.command.*.*",
          "deny" },
        { "/auth/topic", "username=u+%26+1&permission=read&routing_key=%23", "deny" },
        { "/auth/topic", "username=u+%26+1&permission=configure&routing_key=devices.telemetry",
          "deny" },
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        const char *got = ask(list[i].path, "", list[i].body);
        ck_assert_msg(strcmp(got, list[i].answer) == 0, "%s %s: %s", list[i].path, list[i].body,
                      got);
        ck_assert_str_eq(answer.type, "text/plain");
    }
}
END_TEST

/* A recorded request: its body, or what stands behind ? in the path of GET. */
static const char *read_recorded(const char *name, char path[256], char room[4096])
{
    char file[512];
    snprintf(file, sizeof(file), "%s/rabbitmq/%s.http", RECORDED_DIR, name);
    FILE *f = fopen(file, "rb");
    ck_assert_msg(f != NULL, "%s", file);
    size_t n = fread(room, 1, 4095, f);
    room[n] = '\0';
    fclose(f);
    char *target = strchr(room, ' ');
    char *body = strstr(room, "\r\n\r\n");
    ck_assert_msg(target != NULL && body != NULL, "%s", name);
    *strpbrk(target + 1, " \r") = '\0';
    char *query = strchr(target + 1, '?');
    if (query != NULL) {
        *query = '\0';
    }
    snprintf(path, 256, "%s", target + 1);
    return strncmp(room, "GET", 3) == 0 && query != NULL ? query + 1 : body + 4;
}

/* RabbitMQ 3.10.8 with rabbitmq_mqtt and rabbitmq_auth_backend_http, asking these functions: the requests
 * as they came, and what it was told when clients connected, subscribed, published and broke off. */
START_TEST(rabbitmq_is_answered_as_when_it_was_recorded)
{
    static const struct {
        const char *name, *answer;
    } list[] = {
        { "service-user", "allow" },
        { "service-vhost", "allow" },
        { "service-queue", "allow" },
        { "service-read-all", "allow" },
        { "service-write-command", "allow" },
        { "basic-user", "allow" },
        { "basic-vhost", "allow" },
        { "basic-write-telemetry", "allow" },
        { "basic-exchange-write", "allow" },
        { "basic-queue-configure", "allow" },
        { "basic-queue-read", "allow" },
        { "basic-queue-write", "allow" },
        { "basic-exchange-read", "allow" },
        { "basic-read-command", "allow" },
        { "basic-read-down", "allow" },
        { "basic-read-control", "allow" },
        { "basic-queue-odd-client-id", "allow" },
        { "will-write-telemetry", "allow" },
        { "dotted-write-telemetry", "allow" },
        { "alink-user", "allow" },
        { "alink-vhost", "allow" },
        { "alink-write-post", "allow" },
        { "alink-queue", "allow" },
        { "alink-read-set", "allow" },
        { "wrong-password", "deny" },
        { "unknown-user", "deny" },
        { "read-foreign-command", "deny" },
        { "read-all", "deny" },
        { "write-foreign-status", "deny" },
        { "write-reports", "deny" },
        { "alink-write-foreign", "deny" },
        { "will-write-foreign-status", "deny" },
        { "dotted-write-other", "deny" },
        { "get-user", "allow" },
        { "get-vhost", "allow" },
        { "get-queue", "allow" },
        { "get-exchange", "allow" },
        { "get-read-command", "allow" },
        { "get-wrong-password", "deny" },
    };
    char path[256], room[4096];
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        const char *got = ask(path, "", read_recorded(list[i].name, path, room));
        ck_assert_msg(strcmp(got, list[i].answer) == 0, "%s: %s", list[i].name, got);
    }
}
END_TEST

/* As it asks for somebody who comes over AMQP: without the client id. And what no MQTT client asks for. */
START_TEST(devices_have_no_business_in_rabbitmq_but_over_mqtt)
{
    static const struct {
        const char *path, *body, *answer;
    } list[] = {
        { "/auth/vhost", "username=u+%26+1&vhost=%2F&ip=10.0.0.1&tags=", "deny" },
        { "/auth/vhost", "username=plugin&vhost=%2F&ip=10.0.0.1&tags=", "allow" },
        { "/auth/resource",
          "username=u+%26+1&vhost=%2F&resource=queue&name=mqtt-subscription-cqos1&permission=read&"
          "tags=",
          "deny" },
        { "/auth/resource",
          "username=plugin&vhost=%2F&resource=queue&name=mqtt-subscription-cqos1&permission=read&"
          "tags=",
          "allow" },
        { "/auth/resource",
          "username=u+%26+1&vhost=%2F&resource=exchange&name=amq.topic&permission=write&tags=",
          "deny" },
        { "/auth/resource",
          "username=u+%26+1&resource=exchange&name=amq.topic&permission=configure&client_id=c",
          "deny" },
        { "/auth/resource",
          "username=u+%26+1&resource=exchange&name=amq.default&permission=write&client_id=c",
          "deny" },
        { "/auth/resource",
          "username=u+%26+1&resource=exchange&name=amq.topic&permission=write&client_id=c",
          "allow" },
        { "/auth/resource",
          "username=u+%26+1&resource=queue&name=mqtt-subscription-cqos1&permission=read&client_id="
          "c",
          "allow" },
        { "/auth/resource",
          "username=u+%26+1&resource=queue&name=mqtt-subscription-cqos1qos1&permission=read&"
          "client_id=c",
          "deny" },
        { "/auth/resource",
          "username=u+%26+1&resource=queue&name=mqtt-subscription-dqos1&permission=read&client_id="
          "c",
          "deny" },
        { "/auth/resource", "username=u+%26+1&resource=queue&name=qos1&permission=read&client_id=c",
          "deny" },
        { "/auth/resource", "username=u+%26+1&resource=queue&client_id=c", "deny" },
        { "/auth/resource", "username=u+%26+1", "deny" },
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        const char *got = ask(list[i].path, "", list[i].body);
        ck_assert_msg(strcmp(got, list[i].answer) == 0, "%s %s: %s", list[i].path, list[i].body,
                      got);
    }
}
END_TEST

START_TEST(vernemq_is_answered_hook_by_hook)
{
    static const char refused[] = "{\"result\":{\"error\":\"not_allowed\"}}";
    ck_assert_str_eq(ask("/vernemq", "auth_on_register",
                         "{\"peer_addr\":\"127.0.0.1\",\"peer_port\":8888,\"username\":\"u & 1\","
                         "\"password\":\"p=1\",\"mountpoint\":\"\",\"client_id\":\"c\","
                         "\"clean_session\":false}"),
                     "{\"result\":\"ok\"}");
    ck_assert_str_eq(ask("/vernemq", "auth_on_register_m5", "{\"username\":\"u & 1\"}"), refused);
    ck_assert_str_eq(ask("/vernemq", "auth_on_publish",
                         "{\"username\":\"u & 1\",\"client_id\":\"c\",\"qos\":1,\"topic\":"
                         "\"devices/telemetry\",\"payload\":\"e30=\",\"retain\":false}"),
                     "{\"result\":\"ok\"}");
    ck_assert_str_eq(ask("/vernemq", "auth_on_publish",
                         "{\"username\":\"u & 1\",\"topic\":\"devices/status/x\"}"),
                     refused);
    ck_assert_str_eq(
        ask("/vernemq", "auth_on_subscribe",
            "{\"username\":\"u & 1\",\"client_id\":\"c\",\"topics\":[{\"topic\":"
            "\"devices/command/panel-1/+\",\"qos\":1},{\"topic\":\"#\",\"qos\":2}]}"),
        "{\"result\":\"ok\",\"topics\":[{\"topic\":\"devices/command/panel-1/+\",\"qos\":1},"
        "{\"topic\":\"#\",\"qos\":128}]}");
    ck_assert_str_eq(ask("/vernemq", "auth_on_subscribe", "{\"username\":\"u & 1\"}"), refused);
    (void) ask("/vernemq", "on_register", "{\"username\":\"u & 1\",\"client_id\":\"c\"}");
    ck_assert_int_eq(answer.event, HOOKS_ONLINE);
    (void) ask("/vernemq", "on_client_gone", "{\"username\":\"u & 1\",\"client_id\":\"c\"}");
    ck_assert_int_eq(answer.event, HOOKS_OFFLINE);
    ck_assert(hooks_find(TPC_STR("/vernemq"), TPC_STR("on_deliver")) == NULL);
    ck_assert(hooks_find(TPC_STR("/other"), none) == NULL);
}
END_TEST

/* Two devices with one user name: a broker that names only the user cannot tell them apart. */
START_TEST(a_name_of_several_is_nobodys_topic)
{
    put("device",
        "{\"key\":\"panel-2\",\"product\":\"pk01\",\"credentials\":{\"username\":\"u & 1\","
        "\"password\":\"p=2\"}}");
    ck_assert_str_eq(ask("/mqtt/acl", "",
                         "{\"username\":\"u & 1\",\"topic\":\"devices/telemetry\","
                         "\"action\":\"publish\"}"),
                     EMQX_DENY);
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"enabled\":false}");
    ck_assert_str_eq(ask("/mqtt/acl", "",
                         "{\"username\":\"dev01&pk01\",\"topic\":\"/sys/pk01/dev01/x\","
                         "\"action\":\"publish\"}"),
                     EMQX_DENY);
}
END_TEST

/* Topics are asked for by user name alone: a token under a name that is not its device's would have the
 * rights of that name. */
START_TEST(a_token_serves_under_its_devices_name_only)
{
    static uint8_t key[32] = "thirty-two bytes that sign token";
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char token[500] = "", body[900];
    struct tpc_buf buf = { (uint8_t *) token, sizeof(token) - 1, 0 };
    static const struct {
        const char *username;
        const char *answer;
    } names[] = { { "dev01&pk01", EMQX_ALLOW },
                  { "plugin", EMQX_DENY },
                  { "u & 1", EMQX_DENY },
                  { "nobody yet", EMQX_DENY } };
    tpc_core_destroy(core);
    o.token_key = (struct tpc_bytes){ key, sizeof(key) };
    tk_ok(tpc_core_create(&o, &core));
    put_all();
    tk_ok(tpc_token_issue(core, none, TPC_STR("dev01"), 0, &buf));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(body, sizeof(body), "{\"clientid\":\"c\",\"username\":\"%s\",\"password\":\"%s\"}",
                 names[i].username, token);
        ck_assert_str_eq(ask("/mqtt/auth", "", body), names[i].answer);
    }
}
END_TEST

static Suite *hooks_suite(void)
{
    Suite *s = suite_create("hooks");
    TCase *tc = tcase_create("hooks");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, emqx_is_told_who_may_log_in);
    tcase_add_test(tc, emqx_is_told_which_topics_a_user_has);
    tcase_add_test(tc, emqx_tells_who_comes_and_goes);
    tcase_add_test(tc, rabbitmq_reads_allow_and_deny);
    tcase_add_test(tc, rabbitmq_is_answered_as_when_it_was_recorded);
    tcase_add_test(tc, devices_have_no_business_in_rabbitmq_but_over_mqtt);
    tcase_add_test(tc, vernemq_is_answered_hook_by_hook);
    tcase_add_test(tc, a_name_of_several_is_nobodys_topic);
    tcase_add_test(tc, a_token_serves_under_its_devices_name_only);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { hooks_suite, NULL };
    return tk_main("hooks", suites);
}
