/* In a whole core: the contract's vectors, answers to reports, commands and devices that register. */
#include "client.h"
#include "udp_suites.h"

#include "tk.h"

#include "base/crypto.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>
#include <unistd.h>

enum { WAIT_MS = 10000, TOKEN = 600 };

#define SECRET "0123456789abcdef0123456789abcdef"
#define PASSWORD "5d4e1f404486b778af7b85414fdd14c9566566f6cd23fb2758bce85e82477460"
#define SIGN "156a0c5c69fd5b95c8eb2f968e8c1fe3570c3170900d6f2ec955fb60e1ab9e26"

static struct tpc_core *core;
static int fd;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char ended[256];

static const char product[] =
    TPC_JSON({
    "key": "pk01", "codec": "alink", "secret": "fedcba9876543210fedcba9876543210",
    "auto_register": true,
    "model": { "properties": [{ "id": "t", "type": "double" },
                              { "id": "led", "type": "bool", "access": "rw" }],
               "services": [{ "id": "reboot", "input": [{ "id": "in", "type": "int" }] }] } });

static void put(const char *kind, const char *json)
{
    int rc = tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s %s", kind, tpc_error_last()->path, tpc_error_last()->text);
}

static void begin(void)
{
    char options[128];
    uint16_t port = client_port();
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    o.workers = 1;
    o.online_delay_ms = TPC_NO_DELAY;
    o.token_key = TPC_BYTES("0123456789abcdef0123456789abcdef");
    tk_ok(tpc_core_create(&o, &core));
    tk_ok(tpc_core_add_module(core, tpc_module_udp()));
    put("product", product);
    snprintf(options, sizeof(options), "{\"listen\":[\"udp://127.0.0.1:%u\"]}", (unsigned) port);
    tk_ok(tpc_core_open(core, "field", "udp", tpc_str_from(options)));
    tk_ok(tpc_core_start(core));
    fd = client_open(port);
    ended[0] = '\0';
}

static void end(void)
{
    close(fd);
    tk_ok(tpc_core_destroy(core));
}

static const char *ask(const char *text)
{
    client_say(fd, text);
    const char *got = client_hear(fd, CLIENT_ANSWER_MS);
    ck_assert_msg(got != NULL, "%s: no answer", text);
    return got;
}

/* The token of an answer, or the member of that name. */
static void member(const char *json, const char *name, char *ret, size_t cap)
{
    char key[64];
    snprintf(key, sizeof(key), "\"%s\":\"", name);
    const char *from = strstr(json, key);
    ck_assert_msg(from != NULL, "%s", json);
    from += strlen(key);
    snprintf(ret, cap, "%.*s", (int) strcspn(from, "\""), from);
}

static void log_in(const char *password, char token[TOKEN])
{
    char text[512];
    snprintf(text, sizeof(text),
             "{\"requestId\":\"1\",\"method\":\"auth\",\"params\":{\"username\":\"dev01&pk01\","
             "\"password\":\"%s\"}}",
             password);
    const char *got = ask(text);
    ck_assert_msg(strstr(got, "\"code\":0,") != NULL, "%s", got);
    member(got, "token", token, TOKEN);
}

static const char *wrapped(const char *before, const char *token, const char *body)
{
    static char text[CLIENT_TEXT];
    snprintf(text, sizeof(text), "{%s,\"params\":{\"token\":\"%s\",\"body\":%s}}", before, token,
             body);
    return text;
}

static void on_end(void *user, const struct tpc_command *c)
{
    (void) user;
    pthread_mutex_lock(&lock);
    snprintf(ended, sizeof(ended), "%u %d %.*s", (unsigned) c->state, (int) c->code,
             (int) c->reply_json.len, c->reply_json.len > 0 ? c->reply_json.ptr : "");
    pthread_mutex_unlock(&lock);
}

static void wait_end(uint32_t state)
{
    char expected[16];
    bool over = false;
    snprintf(expected, sizeof(expected), "%u 0 ", (unsigned) state);
    for (int i = 0; i < WAIT_MS / 5 && !over; i++) {
        pthread_mutex_lock(&lock);
        over = ended[0] != '\0';
        pthread_mutex_unlock(&lock);
        poll(NULL, 0, over ? 0 : 5);
    }
    ck_assert_msg(strncmp(ended, expected, strlen(expected)) == 0, "%s", ended);
    ended[0] = '\0';
}

/* A command, the method under which the device hears it, and its answer. */
static void command(const char *service, const char *params, const char *method, const char *token)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = NULL;
    char id[64], before[256];
    tk_ok(tpc_device_open(core, TPC_STR("dev01"), &d));
    o.device = d;
    o.service = tpc_str_from(service);
    o.params_json = tpc_str_from(params);
    tk_ok(tpc_command_send(core, NULL, &o, on_end, NULL, NULL));
    const char *got = client_hear(fd, CLIENT_ANSWER_MS);
    ck_assert_msg(got != NULL && strstr(got, method) != NULL, "%s: %s", service, got);
    member(got, "requestId", id, sizeof(id));
    snprintf(before, sizeof(before), "\"requestId\":\"%s\",%s,\"code\":0,\"data\":{}", id, method);
    client_say(fd, wrapped(before, token, "{}"));
    wait_end(TPC_COMMAND_SUCCEEDED);
    tpc_device_unref(d);
}

START_TEST(device_of_the_contracts_vector_reports_and_is_commanded)
{
    char token[TOKEN];
    begin();
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    log_in(PASSWORD, token);
    const char *got = ask(
        wrapped("\"requestId\":\"2\",\"method\":\"thing.property.post\"", token, "{\"t\":21.5}"));
    ck_assert_msg(strstr(got, "\"requestId\":\"2\"") != NULL &&
                      strstr(got, "\"method\":\"thing.property.post\"") != NULL &&
                      strstr(got, "\"code\":0") != NULL,
                  "%s", got);
    /* The original forwards only property.set over TCP; here every method goes down. */
    command("set", "{\"led\":true}", "\"method\":\"thing.property.set\"", token);
    command("reboot", "{\"in\":3}", "\"method\":\"thing.service.invoke\"", token);
    /* Disabled: out with the next message. */
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"enabled\":false}");
    got =
        ask(wrapped("\"requestId\":\"3\",\"method\":\"thing.property.post\"", token, "{\"t\":22}"));
    ck_assert_str_eq(got, "{\"requestId\":\"3\",\"method\":\"thing.property.post\",\"code\":401,"
                          "\"msg\":\"log in first\"}");
    end();
}
END_TEST

START_TEST(device_registers_by_the_contracts_vector_and_logs_in)
{
    char secret[64], text[256], password[65], token[TOKEN];
    uint8_t mac[32];
    begin();
    const char *got =
        ask("{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{"
            "\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"sign\":\"" SIGN "\"}}");
    ck_assert_msg(strstr(got, "\"code\":0,") != NULL, "%s", got);
    member(got, "deviceSecret", secret, sizeof(secret));
    int n = snprintf(text, sizeof(text),
                     "clientIdpk01.dev01deviceNamedev01deviceSecret%sproductKeypk01", secret);
    tk_ok(tpi_hmac_sha256(secret, strlen(secret), text, (size_t) n, mac));
    for (size_t i = 0; i < sizeof(mac); i++) {
        snprintf(password + 2 * i, 3, "%02x", mac[i]);
    }
    log_in(password, token);
    got = ask("{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{"
              "\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"sign\":\"" SIGN "\"}}");
    ck_assert_ptr_nonnull(strstr(got, "\"code\":500,\"msg\":\"the device is registered already\""));
    got = ask("{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{"
              "\"productKey\":\"pk01\",\"deviceName\":\"dev02\",\"sign\":\"" SIGN "\"}}");
    ck_assert_ptr_nonnull(strstr(got, "\"code\":500,\"msg\":\"refused\""));
    end();
}
END_TEST

Suite *core_suite(void)
{
    Suite *s = suite_create("core");
    TCase *t = tcase_create("core");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, device_of_the_contracts_vector_reports_and_is_commanded);
    tcase_add_test(t, device_registers_by_the_contracts_vector_and_logs_in);
    suite_add_tcase(s, t);
    return s;
}
