/* The adapter on a host without a core, against slaves that fail on demand. The clock is the real one. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>
#include <unistd.h>

#include "adapter_suite.h"
#include "modbus_suites.h"
#include "slave.h"

static struct tk_env env;
static struct fake_host h;
static struct slave slave;

#define TAGS                                                                                       \
    "[{\"name\":\"a\",\"address\":1},{\"name\":\"b\",\"address\":2},"                              \
    "{\"name\":\"far\",\"address\":15},{\"name\":\"z\",\"address\":21,\"write\":\"no\"},"          \
    "{\"name\":\"on\",\"area\":\"coil\",\"address\":4}]"

static char options[2000];

static void begin(const char *scheme, const char *more)
{
    snprintf(
        options, sizeof(options),
        "{\"url\":\"%s://127.0.0.1:%u\",\"maps\":[{\"name\":\"m\",\"poll\":\"40ms\",\"tags\":" TAGS
        "}],\"slaves\":[{\"device\":\"d1\",\"unit\":1,\"map\":\"m\"},"
        "{\"device\":\"d2\",\"unit\":2,\"map\":\"m\"}],\"timeout\":\"200ms\",\"retries\":0,"
        "\"retry_min\":\"20ms\",\"retry_max\":\"200ms\"%s}",
        scheme, slave.port, more);
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), options));
    tk_ok(fake_start(&h));
}

static void end(void)
{
    fake_stop(&h);
    fake_fini(&h);
    tk_env_fini(&env);
    slave_stop(&slave);
}

/* The clock goes four times as fast as the real one, until the test has what it waits for. */
static bool until(bool (*there)(uint32_t), uint32_t n)
{
    for (int i = 0; i < 10000 && !there(n); i++) {
        fake_run(&h, 4, 4);
        poll(NULL, 0, 1);
    }
    return there(n);
}

static bool degraded(uint32_t n)
{
    return fake_metric(&h, "degraded_slaves") == (int64_t) n;
}

static bool offline(uint32_t n)
{
    return fake_metric(&h, "went_offline") >= (int64_t) n;
}

static bool held_back(uint32_t n)
{
    return fake_metric(&h, "held_back") >= (int64_t) n;
}

/* How many frames of a device have this text. */
static uint32_t said(const char *device, const char *text)
{
    uint32_t n = 0;
    pthread_mutex_lock(&h.lock);
    for (uint32_t i = 0; i < h.frame_count; i++) {
        const struct fake_frame *f = &h.frames[i];
        n += strcmp(h.sessions[f->session - 1].device, device) == 0 &&
             strstr(f->payload, text) != NULL;
    }
    pthread_mutex_unlock(&h.lock);
    return n;
}

static bool d1_said_a(uint32_t n)
{
    return said("d1", "\"a\":1001") >= n;
}

static bool d2_said_a(uint32_t n)
{
    return said("d2", "\"a\":2001") >= n;
}

static void start(const char *scheme, const char *more)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, strcmp(scheme, "rtutcp") == 0));
    begin(scheme, more);
}

START_TEST(values_of_each_slave_come_every_period)
{
    static const char *const schemes[] = { "tcp", "rtutcp" };
    for (int i = 0; i < 2; i++) {
        start(schemes[i], "");
        ck_assert(until(d1_said_a, 5) && until(d2_said_a, 5));
        ck_assert_uint_gt(said("d1", "{\"a\":1001,\"b\":1002,\"far\":1015,\"z\":1021}"), 0);
        ck_assert_uint_gt(said("d2", "{\"on\":true}"), 0);
        ck_assert_int_eq(h.frames[0].kind, TPC_MSG_TELEMETRY);
        ck_assert_int_eq(h.sessions[0].flags & TPC_SESSION_PRESENCE, TPC_SESSION_PRESENCE);
        end();
    }
}
END_TEST

START_TEST(a_hole_costs_one_refusal_and_no_value)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, false));
    atomic_store(&slave.fault[1], SLAVE_HOLE);
    begin("tcp", "");
    ck_assert(until(d1_said_a, 5));
    ck_assert_uint_gt(said("d1", "\"z\":1021"), 0);
    ck_assert_uint_eq(said("d1", "far"), 0);
    ck_assert_uint_gt(said("d2", "\"far\":2015"), 0);
    ck_assert_int_ge(fake_metric(&h, "cuts"), 1);
    end();
}
END_TEST

static void suffers(int fault)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, false));
    begin("tcp", ",\"degraded_after\":2");
    ck_assert(until(d1_said_a, 2) && until(d2_said_a, 2));
    atomic_store(&slave.fault[1], fault);
    uint32_t before = said("d1", "\"a\"");
    uint32_t well = said("d2", "\"a\"");
    ck_assert_msg(until(offline, 1), "fault %d", fault);
    ck_assert_uint_le(said("d1", "\"a\""), before + 2); /* what was under way */
    ck_assert_uint_eq(said("d1", "\"a\":2"), 0);
    ck_assert(until(d2_said_a, well + 3));
    atomic_store(&slave.fault[1], SLAVE_WELL);
    ck_assert_msg(until(d1_said_a, before + 3), "fault %d", fault);
    end();
}

START_TEST(a_bad_slave_goes_offline_and_comes_back)
{
    suffers(SLAVE_SILENT);
    suffers(SLAVE_OTHER_UNIT);
    suffers(SLAVE_WRONG_TRANSACTION);
}
END_TEST

static bool garbage(uint32_t n)
{
    return fake_metric(&h, "garbage") >= (int64_t) n;
}

static bool cannot_connect(uint32_t n)
{
    return fake_metric(&h, "connect_failures") >= (int64_t) n;
}

/* A wrong CRC is garbage; the line is cut with a read under way, and comes back as another terminal. */
START_TEST(a_serial_line_that_is_bad_or_cut_comes_back)
{
    char path[256];
    snprintf(path, sizeof(path), "%s.line", tk_tmpdir());
    ck_assert(slave_start_line(&slave, path));
    snprintf(options, sizeof(options),
             "{\"url\":\"rtu://%s\",\"maps\":[{\"name\":\"m\",\"poll\":\"40ms\",\"tags\":"
             "[{\"name\":\"a\",\"address\":1}]}],\"slaves\":[{\"device\":\"d1\",\"unit\":1,\"map\":"
             "\"m\"},"
             "{\"device\":\"d2\",\"unit\":2,\"map\":\"m\"}],\"timeout\":\"60ms\",\"retries\":0,"
             "\"parity\":\"none\",\"retry_min\":\"20ms\",\"retry_max\":\"200ms\"}",
             path);
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), options));
    tk_ok(fake_start(&h));
    ck_assert(until(d1_said_a, 2) && until(d2_said_a, 2));
    atomic_store(&slave.fault[1], SLAVE_BAD_CRC);
    ck_assert(until(garbage, 3));
    uint32_t before = said("d2", "\"a\":2001");
    ck_assert(until(d2_said_a, before + 1));
    atomic_store(&slave.fault[1], SLAVE_WELL);
    before = said("d1", "\"a\":1001");
    ck_assert(until(d1_said_a, before + 1));
    (void) unlink(path);
    slave_stop(&slave);
    ck_assert(until(cannot_connect, 2) && until(offline, 2));
    ck_assert(slave_start_line(&slave, path));
    before = said("d1", "\"a\":1001");
    ck_assert(until(d1_said_a, before + 2));
    (void) unlink(path);
    end();
}
END_TEST

/* What answers to nobody's question must not be taken for another's value. */
START_TEST(late_answers_are_nobodys)
{
    start("rtutcp", ",\"degraded_after\":2");
    ck_assert(until(d1_said_a, 2));
    atomic_store(&slave.late_ms, 85); /* of the real clock */
    atomic_store(&slave.fault[1], SLAVE_LATE);
    ck_assert(until(offline, 1));
    atomic_store(&slave.fault[1], SLAVE_WELL);
    uint32_t before = said("d1", "\"a\":1001");
    ck_assert(until(d1_said_a, before + 3));
    ck_assert_uint_eq(said("d1", "\"a\":2001") + said("d2", "\"a\":1001"), 0);
    end();
}
END_TEST

START_TEST(connections_that_break_are_made_again)
{
    static const int faults[] = { SLAVE_GARBAGE, SLAVE_HALF, SLAVE_CLOSES };
    for (int i = 0; i < 3; i++) {
        start("tcp", "");
        ck_assert(until(d1_said_a, 2));
        atomic_store(&slave.fault[1], faults[i]);
        unsigned before = atomic_load(&slave.connections);
        for (int n = 0; n < 5000 && atomic_load(&slave.connections) < before + 3; n++) {
            fake_run(&h, 1, 1);
            poll(NULL, 0, 1);
        }
        ck_assert_uint_ge(atomic_load(&slave.connections), before + 3);
        atomic_store(&slave.fault[1], SLAVE_WELL);
        uint32_t said_before = said("d1", "\"a\":1001");
        ck_assert(until(d1_said_a, said_before + 2));
        end();
    }
}
END_TEST

START_TEST(silent_slaves_have_a_connection_of_their_own)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, false));
    atomic_store(&slave.fault[1], SLAVE_SILENT);
    begin("tcp", ",\"degraded_after\":1");
    ck_assert(until(degraded, 1));
    ck_assert(until(d2_said_a, 20));
    ck_assert_uint_eq(atomic_load(&slave.most_open), 2);
    end();
}
END_TEST

/* As the ThingsBoard gateway has it: half a minute. */
START_TEST(a_long_time_out_holds_no_other_slave_up)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, false));
    snprintf(
        options, sizeof(options),
        "{\"url\":\"tcp://127.0.0.1:%u\",\"maps\":[{\"name\":\"m\",\"poll\":\"40ms\",\"tags\":" TAGS
        "}],\"slaves\":[{\"device\":\"d1\",\"unit\":1,\"map\":\"m\"},"
        "{\"device\":\"d2\",\"unit\":2,\"map\":\"m\"}],\"timeout\":\"60s\"}",
        slave.port);
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), options));
    tk_ok(fake_start(&h));
    ck_assert(until(d1_said_a, 2) && until(d2_said_a, 2));
    atomic_store(&slave.fault[1], SLAVE_SILENT);
    uint64_t begun = atomic_load(&env.clock.mono_ns);
    uint32_t before = said("d2", "\"a\":2001");
    ck_assert(until(d2_said_a, before + 10));
    ck_assert_uint_lt(atomic_load(&env.clock.mono_ns) - begun, 30000000000u);
    ck_assert_uint_le(atomic_load(&slave.most_open), 1);
    ck_assert(!offline(1));
    end();
}
END_TEST

START_TEST(a_server_that_is_absent_is_waited_for)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, false));
    slave_stop(&slave);
    begin("tcp", "");
    for (int i = 0; i < 200 && fake_metric(&h, "connect_failures") < 2; i++) {
        fake_run(&h, 10, 1);
        poll(NULL, 0, 1);
    }
    ck_assert_int_ge(fake_metric(&h, "connect_failures"), 2);
    ck_assert(slave_start(&slave, false));
    ck_assert(until(d1_said_a, 1));
    end();
}
END_TEST

static int try_command(const char *name, const char *json)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.name = tpc_str_from(name);
    f.correlation = TPC_STR("c1");
    f.payload = (struct tpc_bytes){ (const uint8_t *) json, strlen(json) };
    return fake_send(&h, 1, "p", "d1", &f, 7);
}

static void command(const char *name, const char *json)
{
    tk_ok(try_command(name, json));
}

static char wanted[200];

static bool d1_said(uint32_t n)
{
    return said("d1", wanted) >= n;
}

static bool d1_wrote_79(uint32_t n)
{
    (void) n;
    return atomic_load(&slave.written[1][1]) == 79;
}

static bool replied(const char *text)
{
    snprintf(wanted, sizeof(wanted), "%s", text);
    return until(d1_said, 1);
}

START_TEST(set_writes_and_get_reads_now)
{
    start("tcp", "");
    ck_assert(until(d1_said_a, 1));
    ck_assert_str_eq(h.sessions[0].device, "d1");
    command("set", "{\"a\":77,\"on\":false}");
    ck_assert(replied("{\"id\":\"c1\",\"code\":0,\"message\":\"success\"}"));
    ck_assert_uint_eq(atomic_load(&slave.written[1][1]), 77);
    ck_assert_uint_eq(h.sent_count, 1);
    command("get", "{\"keys\":[\"b\"]}");
    ck_assert(replied("{\"b\":1002}"));
    ck_assert(replied("\"message\":\"success\",\"data\":{\"b\":1002}}"));
    end();
}
END_TEST

START_TEST(service_of_a_tags_name_writes_or_reads_it)
{
    start("tcp", "");
    ck_assert(until(d1_said_a, 1));
    command("a", "{\"params\":{\"value\":78}}");
    ck_assert(replied("{\"id\":\"c1\",\"code\":0,\"message\":\"success\"}"));
    ck_assert_uint_eq(atomic_load(&slave.written[1][1]), 78);
    command("a", "{\"params\":79}");
    ck_assert(until(d1_wrote_79, 1));
    command("b", "{\"params\":{}}");
    ck_assert(replied("\"data\":{\"value\":1002}}"));
    command("b", "{\"params\":{\"x\":1,\"y\":2}}");
    ck_assert(replied("b: its value is looked for in"));
    command("z",
            "{\"params\":{\"timeout\":2}}"); /* it can only be read: nothing is to be written */
    ck_assert(replied("\"data\":{\"value\":1021}}"));
    ck_assert_int_eq(try_command("nothing", "{}"), TPC_EUNSUPPORTED);
    end();
}
END_TEST

/* What ThingsBoard's users send to a slave without a tag for it. */
START_TEST(a_request_of_the_users_own_reads_and_writes_any_place)
{
    static const char *const asked[][2] = {
        { "\"function\":3,\"address\":30,\"type\":\"int16\"", "\"data\":{\"value\":1030}}" },
        { "\"function\":4,\"address\":30,\"type\":\"uint32\"", "\"data\":{\"value\":67503111}}" },
        { "\"function\":3,\"address\":30,\"type\":\"uint32\",\"word_order\":\"little\"",
          "\"data\":{\"value\":67568646}}" },
        { "\"function\":1,\"address\":4,\"type\":\"bits\",\"count\":3",
          "\"data\":{\"value\":[true,false,true]}}" },
        { "\"function\":3,\"address\":30,\"type\":\"hex\",\"count\":2",
          "\"data\":{\"value\":\"04060407\"}}" },
        { "\"function\":6,\"address\":40,\"type\":\"int16\",\"value\":-5", "\"code\":0" },
        { "\"address\":40,\"type\":\"int16\"", "\"data\":{\"value\":-5}}" },
        { "\"address\":40,\"type\":\"uint8\",\"value\":7", "\"code\":0" },
        { "\"address\":40", "\"data\":{\"value\":65287}}" }, /* 0xff07 */
        { "\"function\":16,\"address\":41,\"type\":\"float32\",\"value\":1.5", "\"code\":0" },
        { "\"address\":41,\"type\":\"hex\",\"count\":1", "\"data\":{\"value\":\"3fc0\"}}" },
        { "\"function\":6,\"address\":41,\"type\":\"float32\",\"value\":1.5",
          "raw: one function writes one register" },
        { "\"function\":5,\"address\":4,\"value\":7", "raw: no boolean" },
        { "\"function\":6,\"address\":4", "raw: there is no value to write" },
        { "\"function\":3,\"address\":4,\"value\":1", "raw: this function reads" },
        { "\"function\":9,\"address\":4", "raw: function is one of" },
        { "\"function\":3,\"address\":65536", "raw: address is a number" },
        { "\"function\":3,\"address\":\"4\"", "raw: address is a number" },
        { "\"function\":3", "raw: there is no address" },
        { "\"address\":4,\"type\":\"int17\"", "raw: there is no such type" },
        { "\"address\":4,\"count\":126", "raw: count is a number" },
        { "\"address\":65535,\"type\":\"int32\"", "raw: lies behind address 65535" },
        { "\"address\":4,\"divider\":0", "raw: multiplier and divider" },
    };
    start("tcp", "");
    ck_assert(until(d1_said_a, 1));
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        char text[300], answer[200];
        struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
        char id[8];
        snprintf(id, sizeof(id), "r%zu.", i);
        snprintf(text, sizeof(text), "{\"id\":\"%s\",\"method\":\"raw\",\"params\":{%s}}", id,
                 asked[i][0]);
        f.name = TPC_STR("raw");
        f.correlation = tpc_str_from(id);
        f.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
        tk_ok(fake_send(&h, 1, "p", "d1", &f, 100 + i));
        snprintf(answer, sizeof(answer), "{\"id\":\"%s\"", id);
        ck_assert(replied(answer));
        pthread_mutex_lock(&h.lock);
        bool there = false;
        for (uint32_t k = 0; k < h.frame_count; k++) {
            there = there || (strstr(h.frames[k].payload, answer) != NULL &&
                              strstr(h.frames[k].payload, asked[i][1]) != NULL);
        }
        pthread_mutex_unlock(&h.lock);
        ck_assert_msg(there, "%s", text);
    }
    for (uint32_t k = 0; k < h.frame_count; k++) { /* the reply has it, and nobody else */
        ck_assert(strncmp(h.frames[k].payload, "{\"value\"", 8) != 0);
    }
    ck_assert_int_eq(try_command("raw", "7"), TPC_EUNSUPPORTED);
    command("raw", "{\"params\":7}");
    ck_assert(replied("raw: its parameters are no map"));
    end();
}
END_TEST

static char told[4000];

static void on_tell(void *user, const struct tpc_tell *t)
{
    size_t n = strlen(told);
    (void) user;
    snprintf(told + n, sizeof(told) - n, "%s%s{%.*s=%.*s,%.*s=%.*s}%s\n", t->metric,
             t->gauge != 0 ? "" : "_total", (int) t->labels[0].name.len, t->labels[0].name.ptr,
             (int) t->labels[0].value.len, t->labels[0].value.ptr, (int) t->labels[1].name.len,
             t->labels[1].name.ptr, (int) t->labels[1].value.len, t->labels[1].value.ptr,
             t->value > 0 || t->gauge != 0 ? "+" : "0");
}

START_TEST(each_slave_has_its_own_numbers)
{
    start("tcp", "");
    atomic_store(&slave.fault[2], SLAVE_EXCEPTION);
    ck_assert(until(d1_said_a, 3));
    told[0] = '\0';
    h.ops->tell(h.self, on_tell, NULL);
    ck_assert_str_eq(told, "slave_requests_total{slave=0,device=d1}+\n"
                           "slave_requests_total{slave=1,device=d2}+\n"
                           "slave_exceptions_total{slave=0,device=d1}0\n"
                           "slave_exceptions_total{slave=1,device=d2}+\n"
                           "slave_timeouts_total{slave=0,device=d1}0\n"
                           "slave_timeouts_total{slave=1,device=d2}0\n"
                           "slave_rtt_ms{slave=0,device=d1}+\n"
                           "slave_rtt_ms{slave=1,device=d2}+\n"
                           "slave_rtt_mean_ms{slave=0,device=d1}+\n"
                           "slave_rtt_mean_ms{slave=1,device=d2}+\n");
    end();
}
END_TEST

START_TEST(what_cannot_be_set_is_answered_with_the_reason)
{
    start("tcp", "");
    ck_assert(until(d1_said_a, 1));
    command("set", "{\"b\":5,\"nothing\":1}");
    ck_assert(replied("\"code\":1,\"message\":\"nothing: no such tag\""));
    ck_assert_uint_eq(atomic_load(&slave.written[1][2]), 0); /* all or nothing */
    command("set", "{\"a\":70000}");
    ck_assert(replied("\"message\":\"a: out of the range of its type\""));
    atomic_store(&slave.fault[1], SLAVE_EXCEPTION);
    command("set", "{\"a\":7}");
    ck_assert(replied("\"message\":\"a: device failure\""));
    end();
}
END_TEST

/* What a user sends: not every JSON has keys in a list. */
START_TEST(commands_of_another_form_are_refused)
{
    static const char *const forms[] = { "{\"keys\":\"a, b and all the others\"}",
                                         "{\"keys\":{\"a\":1}}", "{\"keys\":7}", "[1]", "7" };
    start("tcp", "");
    ck_assert(until(d1_said_a, 1));
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        ck_assert_int_eq(try_command("get", forms[i]), TPC_EUNSUPPORTED);
    }
    command("get", "{\"keys\":[7]}");
    ck_assert(replied("no such tag"));
    end();
}
END_TEST

START_TEST(an_adapter_that_was_stopped_can_be_started_again)
{
    static const char *const schemes[] = { "tcp", "rtutcp" };
    for (int i = 0; i < 2; i++) {
        start(schemes[i], "");
        ck_assert(until(d1_said_a, 1) && until(d2_said_a, 1));
        fake_stop(&h);
        uint32_t before = said("d1", "\"a\":1001");
        tk_ok(fake_start(&h));
        ck_assert(until(d1_said_a, before + 2));
        end();
    }
}
END_TEST

/* As a gateway whose line is away, or a tunnel without its other end. */
START_TEST(a_server_that_takes_connections_and_ends_them_makes_all_offline)
{
    start("tcp", "");
    ck_assert(until(d1_said_a, 1) && until(d2_said_a, 1));
    atomic_store(&slave.fault[1], SLAVE_CLOSES);
    atomic_store(&slave.fault[2], SLAVE_CLOSES);
    ck_assert(until(offline, 2));
    atomic_store(&slave.fault[1], SLAVE_WELL);
    atomic_store(&slave.fault[2], SLAVE_WELL);
    uint32_t before = said("d1", "\"a\":1001");
    ck_assert(until(d1_said_a, before + 2));
    end();
}
END_TEST

START_TEST(more_registers_than_a_request_writes_are_refused_with_the_reason)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, false));
    snprintf(options, sizeof(options),
             "{\"url\":\"tcp://127.0.0.1:%u\",\"slaves\":[{\"device\":\"d1\",\"tags\":["
             "{\"name\":\"a\",\"address\":1},{\"name\":\"note\",\"address\":30,"
             "\"type\":\"string\",\"count\":125}]}]}",
             slave.port);
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), options));
    tk_ok(fake_start(&h));
    ck_assert(until(d1_said_a, 1));
    command("set", "{\"note\":\"x\"}");
    ck_assert(replied("note: has more registers than one request writes"));
    end();
}
END_TEST

START_TEST(while_the_core_says_later_nothing_is_lost_and_nothing_asked)
{
    start("tcp", "");
    ck_assert(until(d1_said_a, 2));
    fake_answer(&h, TPC_EAGAIN);
    ck_assert(until(held_back, 1));
    unsigned asked = atomic_load(&slave.requests);
    fake_run(&h, 500, 1);
    ck_assert_uint_le(atomic_load(&slave.requests), asked + 1);
    fake_answer(&h, 0);
    uint32_t before = said("d1", "\"a\":1001");
    ck_assert(until(d1_said_a, before + 2));
    end();
}
END_TEST

static void refused_options(const char *text, const char *why)
{
    tk_env_init(&env);
    tk_fails(TPC_EINVAL, fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), text));
    ck_assert_msg(strstr(h.last_fail, why) != NULL, "%s", h.last_fail);
    fake_fini(&h);
    tk_env_fini(&env);
}

#define ONE(tag) "{\"url\":\"tcp://localhost\",\"slaves\":[{\"device\":\"d\",\"tags\":[" tag "]}]}"

START_TEST(options_that_make_no_sense_are_refused_with_their_place)
{
    refused_options("{\"url\":\"udp://x\",\"slaves\":[{\"device\":\"d\",\"tags\":[{\"name\":\"a\","
                    "\"address\":1}]}]}",
                    "rtu:// or accepted+rtu://DEVICE was expected");
    refused_options(ONE("{\"name\":\"a\",\"address\":65535,\"type\":\"int32\"}"),
                    "slaves[0].tags[0]: lies behind address 65535");
    refused_options(ONE("{\"name\":\"a\",\"address\":1,\"area\":\"coil\",\"type\":\"int16\"}"),
                    "slaves[0].tags[0]: bits are of the type bool or bits");
    refused_options(ONE("{\"name\":\"a\",\"address\":1,\"type\":\"uint16\",\"bit\":3}"),
                    "slaves[0].tags[0]: bit is of one register, as bool");
    refused_options(ONE("{\"name\":\"a\",\"address\":1,\"divider\":0}"),
                    "multiplier and divider cannot be 0");
    refused_options(ONE("{\"name\":\"a\",\"address\":1,\"names\":{\"x\":\"y\"}}"),
                    "slaves[0].tags[0].names: 'x' is no number");
    refused_options("{\"url\":\"tcp://h\",\"slaves\":[{\"device\":\"d\",\"map\":\"none\"}]}",
                    "slaves[0].map: there is no 'none'");
    refused_options("{\"url\":\"tcp://h:99999\",\"slaves\":[{\"device\":\"d\",\"tags\":[{\"name\":"
                    "\"a\",\"address\":1}]}]}",
                    "the port is no number");
}
END_TEST

/* A slave for all that every adapter must do; it runs until the program ends. */
static struct slave steady;
static char steady_options[600];
static void provoke(struct fake_host *host, uint32_t n);
static struct adapter_subject subject = { tpc_module_modbus, steady_options, provoke };

static void provoke(struct fake_host *host, uint32_t n)
{
    (void) n;
    for (int i = 0; i < 50; i++) { /* its next reports are due, and come */
        fake_run(host, 4, 4);
        poll(NULL, 0, 1);
    }
}

static void start_steady(void)
{
    (void) slave_start(&steady, false); /* no port: its cases fail */
    snprintf(steady_options, sizeof(steady_options),
             "{\"url\":\"tcp://"
             "127.0.0.1:%u\",\"maps\":[{\"name\":\"m\",\"poll\":\"40ms\",\"tags\":" TAGS
             "}],\"slaves\":[{\"device\":\"d1\",\"map\":\"m\"}]}",
             steady.port);
}

Suite *modbus_suite(void)
{
    Suite *s = suite_create("modbus");
    TCase *t = tcase_create("modbus");
    tcase_add_test(t, values_of_each_slave_come_every_period);
    tcase_add_test(t, a_hole_costs_one_refusal_and_no_value);
    tcase_add_test(t, a_bad_slave_goes_offline_and_comes_back);
    tcase_add_test(t, a_serial_line_that_is_bad_or_cut_comes_back);
    tcase_add_test(t, late_answers_are_nobodys);
    tcase_add_test(t, connections_that_break_are_made_again);
    tcase_add_test(t, silent_slaves_have_a_connection_of_their_own);
    tcase_add_test(t, a_long_time_out_holds_no_other_slave_up);
    tcase_add_test(t, a_server_that_is_absent_is_waited_for);
    tcase_add_test(t, set_writes_and_get_reads_now);
    tcase_add_test(t, service_of_a_tags_name_writes_or_reads_it);
    tcase_add_test(t, a_request_of_the_users_own_reads_and_writes_any_place);
    tcase_add_test(t, each_slave_has_its_own_numbers);
    tcase_add_test(t, what_cannot_be_set_is_answered_with_the_reason);
    tcase_add_test(t, commands_of_another_form_are_refused);
    tcase_add_test(t, an_adapter_that_was_stopped_can_be_started_again);
    tcase_add_test(t, a_server_that_takes_connections_and_ends_them_makes_all_offline);
    tcase_add_test(t, more_registers_than_a_request_writes_are_refused_with_the_reason);
    tcase_add_test(t, while_the_core_says_later_nothing_is_lost_and_nothing_asked);
    tcase_add_test(t, options_that_make_no_sense_are_refused_with_their_place);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    start_steady();
    suite_add_tcase(s, adapter_suite(&subject));
    return s;
}
