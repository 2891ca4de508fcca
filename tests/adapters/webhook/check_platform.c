/* A whole core, the modules http_client and webhook, and a web server that fails as told. */
#include "flow.h"
#include "stand_in.h"
#include "webhook_suites.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/modules.h>

static struct stand_in server;
static struct flow f;

static void begin(uint32_t workers)
{
    memset(&server, 0, sizeof(server));
    ck_assert(stand_in_start(&server, "http_server", NULL));
    flow_init(&f, workers);
    flow_create(&f);
    tk_ok(tpc_core_add_module(f.core, tpc_module_http_client()));
    tk_ok(tpc_core_add_module(f.core, tpc_module_webhook()));
    /* The order of opening is no matter. */
    tk_ok(tpc_core_open(f.core, "hooks", "webhook", TPC_STR("{}")));
    tk_ok(tpc_core_open(f.core, "http", "http_client", TPC_STR("{}")));
    flow_devices(&f, 3);
}

static void end(void)
{
    flow_fini(&f);
    stand_in_stop(&server);
}

/* form has %d for the port and ' for ". */
static void put(const char *kind, const char *form)
{
    char text[512];
    snprintf(text, sizeof(text), form, server.port);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    int rc = tpc_entity_put(f.core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", text, tpc_error_last()->text);
}

/* Lets the core work, and time for the client's thread. */
static void turn(void)
{
    if (f.workers == 0) {
        (void) tpc_core_step(f.core, 0, NULL);
    }
    poll(NULL, 0, 1);
}

static void feed(int from, int to)
{
    struct tpc_device *d = flow_device(&f, "t1");
    for (int n = from; n <= to; n++) {
        char text[32];
        int rc;
        snprintf(text, sizeof(text), "{\"n\":%d}", n);
        while ((rc = flow_feed(d, text)) == TPC_EAGAIN) {
            turn();
        }
        tk_ok(rc);
    }
    tpc_device_unref(d);
}

struct state {
    uint64_t sent, retried, dead;
    uint32_t state;
    char error[256];
};

static int keep(void *user, const struct tpc_forward_info *info)
{
    struct state *s = user;
    s->sent = info->sent;
    s->retried = info->retried;
    s->dead = info->dead;
    s->state = info->state;
    snprintf(s->error, sizeof(s->error), "%.*s", (int) info->error.len,
             info->error.len > 0 ? info->error.ptr : "");
    return 0;
}

static struct state state_of(const char *key)
{
    struct state s;
    memset(&s, 0, sizeof(s));
    tk_ok(tpc_forward_info(f.core, TPC_STR("main"), TPC_STR(""), tpc_str_from(key), keep, &s));
    return s;
}

/* Meanwhile time passes quickly: pauses are over soon. */
static void until_sent(const char *key, uint64_t count)
{
    struct state s = state_of(key);
    for (int i = 0; i < 10000 && s.sent + s.dead < count; i++) {
        tk_clock_advance(&f.e.clock, 200);
        turn();
        s = state_of(key);
    }
    ck_assert_msg(s.sent + s.dead == count, "%llu of %llu: %s", (unsigned long long) s.sent,
                  (unsigned long long) count, s.error);
}

/* Every number of the log in its order, but `missing`. */
static void check_numbers(int from, int to, int missing)
{
    unsigned line = 0;
    unsigned count = stand_in_count(&server);
    FILE *log = fopen(server.log, "r");
    char *text = NULL;
    size_t cap = 0;
    int next = from;
    while (getline(&text, &cap, log) > 0) {
        line++;
        for (const char *p = text; (p = strstr(p, "\\\"n\\\":")) != NULL; p++) {
            int n = (int) strtol(p + 6, NULL, 10);
            next += next == missing;
            ck_assert_msg(n == next, "line %u of %u: %d, not %d", line, count, n, next);
            next++;
        }
    }
    free(text);
    fclose(log);
    ck_assert_int_eq(next, to + 1);
}

START_TEST(hour_without_a_server_loses_nothing_and_keeps_the_order)
{
    begin(0);
    put("forward", "{'key':'out','sink':'hooks','filter':['main/up/thermo/+/telemetry'],"
                   "'options':{'url':'http://127.0.0.1:%d/hook','secret':'s3'}}");
    flow_start(&f);
    feed(1, 40);
    until_sent("out", 40);
    stand_in_stop(&server);
    feed(41, 80);
    for (int passed_s = 0; passed_s < 3600; passed_s += 5) {
        tk_clock_advance(&f.e.clock, 5000);
        turn();
        for (int i = 0; i < 5000 && state_of("out").state == TPC_FORWARD_SENDING; i++) {
            turn();
        }
    }
    feed(81, 120);
    struct state s = state_of("out");
    /* retry.max is a minute, half of it by chance. */
    ck_assert_uint_ge(s.retried, 40);
    ck_assert_uint_lt(s.retried, 140);
    ck_assert_msg(strstr(s.error, "onnect") != NULL, "%s", s.error);
    ck_assert(stand_in_start(&server, "http_server", NULL));
    until_sent("out", 120);
    check_numbers(1, 120, 0);
    ck_assert_uint_eq(state_of("out").dead, 0);
    end();
}
END_TEST

START_TEST(record_that_is_refused_goes_to_the_dead_letters_alone)
{
    begin(2);
    put("forward", "{'key':'one','sink':'hooks','filter':['main/up/thermo/+/telemetry'],"
                   "'options':{'url':'http://127.0.0.1:%d/pick/13'}}");
    flow_start(&f);
    feed(1, 30);
    until_sent("one", 30);
    struct state s = state_of("one");
    ck_assert_uint_eq(s.dead, 1);
    ck_assert_uint_eq(s.sent, 29);
    ck_assert_msg(strstr(s.error, "HTTP 422: not this one") != NULL, "%s", s.error);
    end();
}
END_TEST

START_TEST(array_with_a_refused_record_is_halved_until_it_is_found)
{
    begin(2);
    put("forward", "{'key':'all','sink':'hooks','filter':['main/up/thermo/+/telemetry'],"
                   "'batch':{'count':64},"
                   "'options':{'url':'http://127.0.0.1:%d/pick/13','batch':true}}");
    flow_start(&f);
    feed(1, 30);
    until_sent("all", 30);
    struct state s = state_of("all");
    ck_assert_uint_eq(s.dead, 1);
    end();
}
END_TEST

START_TEST(scene_posts_an_alarm_as_thingspanel_does)
{
    begin(2);
    put("handler", "{'key':'ops','sink':'hooks','options':{'url':'http://127.0.0.1:%d/alarm',"
                   "'format':'thingspanel','secret':'k'}}");
    put("scene",
        "{'key':'hot','when':{'product':'thermo','expr':'temperature > 30'},"
        "'then':[{'notify':{'handler':'ops','params':{'text':'hot','severity':'major'}}}]}");
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t2");
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    tpc_device_unref(d);
    until_sent("ops", 1);
    char *line = stand_in_line(&server, 0);
    ck_assert_ptr_nonnull(strstr(line, "\\\"content\\\":\\\"hot\\\""));
    ck_assert_ptr_nonnull(strstr(line, "\\\"alarm_level\\\":\\\"H\\\""));
    ck_assert_ptr_nonnull(strstr(line, "\\\"device_ids\\\":[\\\"t2\\\"]"));
    ck_assert_ptr_nonnull(strstr(line, "\"x-signature-256\": \"sha256="));
    free(line);
    end();
}
END_TEST

START_TEST(target_that_cannot_be_is_refused_when_it_is_put)
{
    begin(2);
    flow_start(&f);
    tk_fails(TPC_EINVAL, tpc_entity_put(f.core, NULL, "forward",
                                        TPC_STR("{\"key\":\"x\",\"sink\":\"hooks\",\"options\":"
                                                "{\"url\":\"http://u:p@h/\"}}"),
                                        TPC_ANY_REV, NULL));
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "user and password"));
    end();
}
END_TEST

START_TEST(core_stops_while_a_server_hangs)
{
    begin(2);
    put("forward", "{'key':'hang','sink':'hooks','filter':['main/up/thermo/+/telemetry'],"
                   "'options':{'url':'http://127.0.0.1:%d/hang'}}");
    flow_start(&f);
    feed(1, 3);
    while (stand_in_count(&server) == 0) {
        poll(NULL, 0, 1);
    }
    tk_ok(tpc_core_stop(f.core, 100));
    end();
}
END_TEST

Suite *platform_suite(void)
{
    Suite *s = suite_create("webhook in a core");
    TCase *t = tcase_create("platform");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, hour_without_a_server_loses_nothing_and_keeps_the_order);
    tcase_add_test(t, record_that_is_refused_goes_to_the_dead_letters_alone);
    tcase_add_test(t, array_with_a_refused_record_is_halved_until_it_is_found);
    tcase_add_test(t, scene_posts_an_alarm_as_thingspanel_does);
    tcase_add_test(t, target_that_cannot_be_is_refused_when_it_is_put);
    tcase_add_test(t, core_stops_while_a_server_hangs);
    suite_add_tcase(s, t);
    return s;
}
