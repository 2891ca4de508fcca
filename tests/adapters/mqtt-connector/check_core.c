/* In a whole core: devices that are made, kept values, dead letters, scripts and commands. */
#include "real_broker.h"
#include "suites.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

enum { WAIT_MS = 10000, SAID_MAX = 2048 };

static struct tpc_core *core;
static struct real_broker broker;
static struct broker device;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char said[SAID_MAX]; /* "device kind key=value .." of each message */
static uint64_t acked, heard;
static char ended[256];

static void on_acked(void *user, uint64_t tag)
{
    (void) user;
    (void) tag;
    acked++;
}

/* A device that answers what comes on down/{name}/{id} on up/{name}/{id}. */
static void on_heard(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    char answer[160];
    (void) user;
    snprintf(answer, sizeof(answer), "up/%.*s", (int) topic.len - 5, topic.ptr + 5);
    ck_assert(broker_publish(&device, answer, payload.ptr, payload.len, 0));
    heard++;
}

static void say(const char *topic, const char *text)
{
    uint64_t before = acked;
    ck_assert(broker_publish(&device, topic, text, strlen(text), 0));
    devices_run(&device, 1, WAIT_MS, &acked, before + 1);
    ck_assert_uint_eq(acked, before + 1);
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    (void) user;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        size_t n = strlen(said);
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            char text[64];
            struct tpc_buf buf = { (uint8_t *) text, sizeof(text), 0 };
            tk_ok(tpc_json_write(&p->value, 0, &buf));
            n += (size_t) snprintf(said + n, sizeof(said) - n, "%.*s %u %.*s=%.*s;",
                                   (int) m->device.len, m->device.ptr, (unsigned) m->kind,
                                   (int) p->key.len, p->key.ptr, (int) buf.need, text);
        }
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

static bool wait_said(const char *text)
{
    bool found = false;
    for (int i = 0; i < WAIT_MS / 10 && !found; i++) {
        pthread_mutex_lock(&lock);
        found = strstr(said, text) != NULL;
        pthread_mutex_unlock(&lock);
        poll(NULL, 0, found ? 0 : 10);
    }
    return found;
}

static int on_letter(void *user, const struct tpc_dead_letter *l)
{
    char *out = user;
    size_t n = strlen(out);
    snprintf(out + n, SAID_MAX - n, "%.*s [%.*s] %.*s;", (int) l->topic.len, l->topic.ptr,
             (int) l->raw.len, (const char *) l->raw.ptr, (int) l->reason.len, l->reason.ptr);
    return 0;
}

static void on_end(void *user, const struct tpc_command *c)
{
    (void) user;
    pthread_mutex_lock(&lock);
    snprintf(ended, sizeof(ended), "%u %.*s", (unsigned) c->state, (int) c->reply_json.len,
             c->reply_json.len > 0 ? c->reply_json.ptr : "");
    pthread_mutex_unlock(&lock);
}

static int on_metric(void *user, const struct tpc_metric *m)
{
    if (strstr(m->name, "subscribed_total") != NULL) {
        *(double *) user = m->value;
    }
    return 0;
}

static const char options[] = TPC_JSON({
    "mappings": [
        { "topic": "+/data", "device": "^[^/]+", "device_source": "topic", "type": "box",
          "attributes": [{ "key": "model", "value": "${model}" }],
          "timeseries": [{ "key": "*" }] },
        { "topic": "script/+", "converter": "raw", "device": "[^/]+$", "device_source": "topic",
          "type": "scripted" }],
    "rpc": [{ "methods": "ask", "topic": "down/${deviceName}/${requestId}", "value": "${params}",
              "answer_topic": "up/${deviceName}/${requestId}" }] });

#ifdef WITH_LUA
static const char scripted[] =
    "{\"key\":\"scripted\",\"unknown\":\"keep\",\"model\":{},\"codec\":{\"type\":\"lua\","
    "\"script\":"
    "\"function decode(bytes, ctx) return {sum = bytes:byte(1) + bytes:byte(2)} end\"}}";
#endif

static void begin(void)
{
    char text[2048];
    struct tpc_subscribe_options s = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    static struct tpc_sub *sub;
    o.workers = 1;
    o.online_delay_ms = TPC_NO_DELAY;
    tk_ok(tpc_core_create(&o, &core));
    tk_ok(tpc_core_add_module(core, tpc_module_mqtt_connector()));
#ifdef WITH_LUA
    tk_ok(tpc_core_add_module(core, tpc_module_lua()));
    int rc = tpc_entity_put(core, NULL, "product", TPC_STR(scripted), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s %s", tpc_error_last()->path, tpc_error_last()->text);
#endif
    snprintf(text, sizeof(text), "{\"url\":\"mqtt://127.0.0.1:%u\",%s", (unsigned) broker.port,
             options + 1);
    tk_ok(tpc_core_open(core, "field", "mqtt_connector", tpc_str_from(text)));
    s.filter = TPC_STR("main/up/#");
    said[0] = ended[0] = '\0';
    tk_ok(tpc_subscribe(core, &s, on_batch, NULL, &sub));
    tk_ok(tpc_core_start(core));
    double subscribed = 0; /* filters that the broker has granted */
    for (int i = 0; i < WAIT_MS / 10 && subscribed < 3; i++) {
        tk_ok(tpc_core_stats(core, on_metric, &subscribed));
        poll(NULL, 0, 10);
    }
    acked = heard = 0;
    device_connect(&device, &broker, "device", "down/#", on_heard, NULL);
    device.on_acked = on_acked;
    devices_run(&device, 1, 100, NULL, 0);
}

START_TEST(messages_of_unknown_devices_reach_the_log_and_the_rest_the_dead_letters)
{
    char letters[SAID_MAX] = "";
    begin();
    say("b1/data", "{\"model\":\"T1\",\"t\":21.5}");
    ck_assert(wait_said("b1 2 model=\"T1\";"));
    ck_assert(wait_said("b1 1 model=\"T1\";b1 1 t=21.5;"));
    say("b1/data", "no JSON");
    say("b1/data", "{\"t\":5}");
    ck_assert(wait_said("t=5;"));
    tk_ok(tpc_dead_letters(core, on_letter, letters));
    ck_assert_ptr_nonnull(strstr(letters, "b1/data [no JSON] "));
    tk_ok(tpc_core_destroy(core));
    broker_fini(&device);
}
END_TEST

#ifdef WITH_LUA
START_TEST(script_of_a_product_reads_what_raw_hands_on)
{
    begin();
    say("script/d7", "\x05\x02");
    ck_assert(wait_said("d7 1 sum=7;"));
    tk_ok(tpc_core_destroy(core));
    broker_fini(&device);
}
END_TEST
#endif

START_TEST(service_that_only_the_device_knows_ends_with_its_answer)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = NULL;
    begin();
    say("b1/data", "{\"t\":1}");
    ck_assert(wait_said("b1 1 t=1;"));
    tk_ok(tpc_device_open(core, TPC_STR("b1"), &d));
    o.device = d;
    o.service = TPC_STR("ask");
    o.params_json = TPC_STR("{\"x\":[1,2]}");
    tk_ok(tpc_command_send(core, NULL, &o, on_end, NULL, NULL));
    devices_run(&device, 1, WAIT_MS, &heard, 1);
    bool over = false;
    for (int i = 0; i < WAIT_MS / 10 && !over; i++) {
        devices_run(&device, 1, 10, NULL, 0);
        pthread_mutex_lock(&lock);
        over = ended[0] != '\0';
        pthread_mutex_unlock(&lock);
    }
    ck_assert_ptr_nonnull(strstr(ended, "{\"x\":[1,2]}"));
    tpc_device_unref(d);
    tk_ok(tpc_core_destroy(core));
    broker_fini(&device);
}
END_TEST

static void setup(void)
{
    if (broker.port == 0) {
        real_broker_init(&broker);
    }
    real_broker_start(&broker);
}

static void teardown(void)
{
    real_broker_kill(&broker);
}

TCase *core_case(void)
{
    TCase *c = tcase_create("core");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, messages_of_unknown_devices_reach_the_log_and_the_rest_the_dead_letters);
#ifdef WITH_LUA
    tcase_add_test(c, script_of_a_product_reads_what_raw_hands_on);
#endif
    tcase_add_test(c, service_that_only_the_device_knows_ends_with_its_answer);
    return c;
}
