/* When scenes may fire: windows of the day, quiet times, once, commands, by hand. */
#include <stdio.h>
#include <string.h>

#include "calendar/civil.h"
#include "house.h"
#include "rules/during.h"
#include "suites.h"

enum { MINUTE = 60000, HOUR = 3600000 };

static unsigned commands(struct house *h)
{
    return atomic_load(&h->command_count);
}

/* A scene with these members of "when" beside the product. */
static int scene(struct house *h, const char *when)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{'key':'s','when':{'product':'thermo',%s},"
             "'then':[{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}",
             when);
    return house_put(h, "scene", json);
}

/* Time goes by until it is so late in UTC. */
static void until(struct house *h, const char *clock)
{
    int32_t wanted = 0;
    tk_ok(tpi_civil_clock(tpc_str_from(clock), &wanted));
    int64_t now = tpi_unix_ms(&h->env.env);
    int64_t ms = (int64_t) wanted * 1000 - now % (24 * HOUR);
    house_wait(h, (uint64_t) (ms <= 0 ? ms + 24 * HOUR : ms));
}

#define NIGHT "'during':{'time':{'from':'22:00','to':'06:00'}"

START_TEST(it_fires_in_its_window_alone)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','fire':'each'," NIGHT "}"));
    static const struct {
        const char *clock;
        unsigned fired;
    } steps[] = { { "21:59:59", 0 }, { "22:00", 1 }, { "23:59:59", 2 }, { "00:00", 3 },
                  { "05:59:59", 4 }, { "06:00", 4 }, { "12:00", 4 } };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        until(h, steps[i].clock);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(commands(h), steps[i].fired);
    }
    tk_ok(scene(h, "'on':'event'," NIGHT "}"));
    house_tell(h, "t1", TPC_MSG_EVENT, "door", true);
    ck_assert_uint_eq(commands(h), 4);
    until(h, "23:00");
    house_tell(h, "t1", TPC_MSG_EVENT, "door", true);
    ck_assert_uint_eq(commands(h), 5);
    house_free(h);
}
END_TEST

START_TEST(what_became_true_outside_does_not_fire_at_the_start)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30'," NIGHT "}"));
    until(h, "21:00");
    house_temperature(h, "t1", 31);
    until(h, "23:00");
    house_temperature(h, "t1", 32); /* true all the time */
    ck_assert_uint_eq(commands(h), 0);
    house_temperature(h, "t1", 3);
    house_temperature(h, "t1", 33);
    ck_assert_uint_eq(commands(h), 1);
    house_free(h);
}
END_TEST

START_TEST(what_is_true_at_the_start_fires_each_night_if_it_is_wanted)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30'," NIGHT ",'at_start':true}"));
    until(h, "21:00");
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 0);
    until(h, "21:59:59");
    ck_assert_uint_eq(commands(h), 0);
    until(h, "22:00");
    ck_assert_uint_eq(commands(h), 1);
    until(h, "21:00");
    ck_assert_uint_eq(commands(h), 1);
    until(h, "22:00"); /* the next night */
    ck_assert_uint_eq(commands(h), 2);
    ck_assert_mem_ne(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id));
    house_temperature(h, "t1", 3);
    house_temperature(h, "t1", 31); /* within */
    ck_assert_uint_eq(commands(h), 3);
    house_temperature(h, "t1", 3);
    until(h, "22:00");
    ck_assert_uint_eq(commands(h), 3);
    house_free(h);
}
END_TEST

START_TEST(what_waits_for_the_start_survives_a_restart)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30'," NIGHT ",'at_start':true}"));
    until(h, "21:00");
    house_temperature(h, "t1", 31);
    struct tpi_buf state[HOUSE_PARTITIONS];
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&state[i], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, i, &state[i]));
    }
    for (int round = 0; round < 2; round++) { /* the second starts from the same state */
        uint64_t next;
        tk_ok(house_restart(h));
        for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
            tk_ok(tpi_rules_state_load(
                h->rules, i, (struct tpc_bytes){ state[i].ptr, state[i].len }, NULL, &next));
        }
        if (round == 0) {
            until(h, "22:00");
        } else {
            house_wait(h, MINUTE);
        }
        ck_assert_uint_eq(commands(h), (unsigned) round + 1);
    }
    ck_assert_mem_eq(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id));
    ck_assert(h->commands[1].again);
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_fini(&state[i]);
    }
    house_free(h);
}
END_TEST

START_TEST(a_time_that_ends_outside_the_window_does_not_fire)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','for':'1h'," NIGHT "}"));
    until(h, "21:30");
    house_temperature(h, "t1", 31); /* ends at 22:30 */
    until(h, "05:30");
    ck_assert_uint_eq(commands(h), 1);
    house_temperature(h, "t2", 31); /* ends at 06:30 */
    until(h, "20:00");
    ck_assert_uint_eq(commands(h), 1);
    tk_ok(scene(h, "'expr':'temperature > 30','for':'1h'," NIGHT ",'at_start':true}"));
    house_temperature(h, "t2", 31); /* ends at 21:00, the window opens at 22:00 */
    until(h, "21:59:59");
    ck_assert_uint_eq(commands(h), 1);
    until(h, "22:00");
    ck_assert_uint_eq(commands(h), 2);
    house_free(h);
}
END_TEST

START_TEST(days_are_those_on_which_the_window_began)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','fire':'each'," NIGHT ",'days':['fri']}"));
    for (int day = 0; day < 14; day++) {
        until(h, "23:00");
        int64_t days = tpi_floor_div(tpi_unix_ms(&h->env.env), 24 * HOUR);
        unsigned before = commands(h);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(commands(h) - before, tpi_weekday(days) == 5);
        until(h, "05:00");
        before = commands(h);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(commands(h) - before, tpi_weekday(days + 1) == 6);
    }
    house_free(h);
}
END_TEST

START_TEST(the_window_is_of_its_zone_on_both_days_on_which_the_clock_is_set)
{
    struct tk_env env;
    struct tpi_during d = { .set = true, .days = 0x7F, .zone_name = TPC_STR("Europe/Berlin") };
    tk_env_init(&env);
    d.from_s = 2 * 3600 + 1800; /* 02:30 .. 04:00 */
    d.to_s = 4 * 3600 - 1;
    tk_ok(tpi_during_open(&d, &env.env, ZONE_DIR, NULL));
    int64_t gap = INT64_C(1774746000000);  /* 2026-03-29T01:00Z: 02:00 becomes 03:00 */
    int64_t back = INT64_C(1792890000000); /* 2026-10-25T01:00Z: 03:00 becomes 02:00 */
    ck_assert(!tpi_during_contains(&d, gap - 1));
    ck_assert(tpi_during_contains(&d, gap));
    ck_assert_int_eq(tpi_during_next(&d, gap - HOUR), gap);
    ck_assert(!tpi_during_contains(&d, gap + HOUR));
    ck_assert(tpi_during_contains(&d, back - MINUTE));
    ck_assert(!tpi_during_contains(&d, back + MINUTE)); /* 02:01 once more */
    ck_assert(tpi_during_contains(&d, back + HOUR));
    ck_assert_int_eq(tpi_during_next(&d, back - HOUR), back - 30 * MINUTE);
    tpi_during_fini(&d);
    d = (struct tpi_during){ .set = true, .days = 0x7F, .to_s = 24 * 3600 - 1 };
    ck_assert_int_eq(tpi_during_next(&d, gap), INT64_MAX); /* it never opens: it always is */
    tk_env_fini(&env);
}
END_TEST

START_TEST(once_is_once_until_it_is_reset)
{
    static const char *const when[] = { "'expr':'temperature > 30','fire':'once'",
                                        "'on':'event','fire':'once'" };
    const struct tpi_rule_name name = { TPC_STR("main"), TPC_STR("scene"), TPC_STR("s") };
    struct house *h = house_new();
    unsigned fired = 0;
    for (int i = 0; i < 2; i++) {
        tk_ok(scene(h, when[i]));
        for (int k = 0; k < 9; k++) {
            house_temperature(h, "t1", k % 2 == 0 ? 31 : 3);
            house_tell(h, "t1", TPC_MSG_EVENT, "door", true);
            fired += k == 0 || k == 4 ? 1 : 0;
            ck_assert_uint_eq(commands(h), fired);
            if (k == 3) {
                tk_ok(tpi_rules_reset(h->rules, &name, NULL, &h->err));
            }
        }
        struct tpi_buf state[HOUSE_PARTITIONS];
        for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
            tpi_buf_init(&state[p], NULL, 0);
            tk_ok(tpi_rules_state_save(h->rules, p, &state[p]));
        }
        tk_ok(house_restart(h));
        for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
            uint64_t next;
            tk_ok(tpi_rules_state_load(
                h->rules, p, (struct tpc_bytes){ state[p].ptr, state[p].len }, NULL, &next));
            tpi_buf_fini(&state[p]);
        }
        house_temperature(h, "t1", 31);
        house_tell(h, "t1", TPC_MSG_EVENT, "door", true);
        ck_assert_uint_eq(commands(h), fired);
        house_tell(h, "t2", TPC_MSG_EVENT, "door", true); /* each device once */
        house_temperature(h, "t2", 31);
        ck_assert_uint_eq(commands(h), ++fired);
    }
    struct tpi_rule_name nobody = name;
    nobody.key = TPC_STR("x");
    tk_fails(TPC_ENOENT, tpi_rules_reset(h->rules, &nobody, NULL, &h->err));
    house_free(h);
}
END_TEST

START_TEST(debounce_waits_for_quiet)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'on':'event','event':'motion','debounce':'1m'"));
    for (int i = 0; i < 100; i++) {
        house_tell(h, "t1", TPC_MSG_EVENT, "motion", true);
        ck_assert_uint_eq(house_wait(h, MINUTE - 1), 0);
    }
    ck_assert_uint_eq(house_wait(h, 1), 1);
    ck_assert_uint_eq(house_wait(h, HOUR), 0);
    house_tell(h, "t1", TPC_MSG_EVENT, "motion", true);
    ck_assert_uint_eq(house_wait(h, MINUTE), 1);
    ck_assert_uint_eq(commands(h), 2);
    ck_assert_mem_ne(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id));
    tk_ok(scene(h, "'on':'event','debounce':'1m','fire':'once'"));
    for (int i = 0; i < 3; i++) {
        house_tell(h, "t1", TPC_MSG_EVENT, "motion", true);
        house_wait(h, MINUTE);
    }
    ck_assert_uint_eq(commands(h), 3);
    house_free(h);
}
END_TEST

/* A command of fan-1 or its end: state NULL = it is taken. */
static void tell_command(struct house *h, const char *service, const char *state, const char *actor)
{
    struct tpc_device *d = NULL;
    struct tpc_str text = tpc_str_from(state != NULL ? state : "");
    const struct tpc_member inner = { TPC_STR("level"), { .type = TPC_INT, .as.i = 4 } };
    struct tpc_member members[] = {
        { TPC_STR("params"), { .type = TPC_MAP, .len = 1, .as.members = &inner } },
        { TPC_STR("actor"), { .type = TPC_TEXT, .len = strlen(actor), .as.text = actor } },
        { TPC_STR("state"), { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } },
    };
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), TPC_STR("fan-1"), NULL, &d));
    uint32_t worker = d->partition % HOUSE_WORKERS;
    struct tpc_msg m = {
        .size = sizeof(m),
        .kind = state != NULL ? TPC_MSG_COMMAND_CLOSED : TPC_MSG_COMMAND,
        .partition = d->partition,
        .offset = h->offset++,
        .device_id = d->id,
        .received_unix_ms = tpi_unix_ms(&h->env.env),
        .name = tpc_str_from(service),
        .params = { .type = TPC_MAP, .len = state != NULL ? 3 : 2, .as.members = members }
    };
    tpi_registry_read_lock(h->registry);
    tpi_rules_begin(h->rules, worker);
    tpi_rules_message(h->rules, worker, d, &m);
    tpi_rules_end(h->rules, worker);
    tpi_registry_read_unlock(h->registry);
    tpi_device_unref(d);
}

static int command_scene(struct house *h, const char *when)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{'key':'s','when':{'product':'fan','on':'command',%s},"
             "'then':[{'notify':{'handler':'ops','params':{'n':'{{ params.level }}'}}}]}",
             when);
    return house_put(h, "scene", json);
}

START_TEST(it_fires_on_commands_and_their_ends)
{
    struct house *h = house_new();
    ck_assert(!tpi_rules_on_commands(h->rules));
    tk_ok(command_scene(h, "'service':'boost','expr':'params.level > 3'"));
    ck_assert(tpi_rules_on_commands(h->rules));
    tell_command(h, "set", NULL, "user a");
    tell_command(h, "boost", "succeeded", "user a");
    ck_assert_uint_eq(atomic_load(&h->message_count), 0);
    tell_command(h, "boost", NULL, "user a");
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    ck_assert_str_eq(h->messages[0].text, "scene:s notify fan-1 ops {\"n\":4}");
    tell_command(h, "boost", NULL, "rule scene:s"); /* its own */
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    tk_ok(command_scene(h, "'state':'done'"));
    tell_command(h, "set", "timed_out", "user a");
    tell_command(h, "set", NULL, "user a");
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    tell_command(h, "set", "succeeded", "user a");
    ck_assert_uint_eq(atomic_load(&h->message_count), 2);
    tk_ok(command_scene(h, "'state':'failed'"));
    tell_command(h, "set", "succeeded", "user a");
    tell_command(h, "set", "timed_out", "user a");
    ck_assert_uint_eq(atomic_load(&h->message_count), 3);
    tk_ok(house_delete(h, "scene", "s"));
    ck_assert(!tpi_rules_on_commands(h->rules));
    house_free(h);
}
END_TEST

/* As the program has it run: for a device, or for nobody. */
static int run(struct house *h, const char *kind, const char *key, const char *device)
{
    struct tpi_rule_name name = { TPC_STR("main"), tpc_str_from(kind), tpc_str_from(key) };
    struct tpi_scene_run run = { .offset = (uint64_t) 1 << 63 | h->offset++ };
    struct tpc_device *d = NULL;
    int rc = tpi_rules_partition(h->rules, &name, &h->err, &run.partition);
    if (rc == 0 && device != NULL) {
        tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), tpc_str_from(device), NULL, &d));
        run.partition = d->partition;
        run.device = d;
    }
    run.worker = run.partition % HOUSE_WORKERS;
    rc = rc != 0 ? rc : tpi_rules_run(h->rules, &name, &run, &h->err);
    tpi_device_unref(d);
    return rc;
}

START_TEST(variables_of_what_is_run_by_hand_take_no_more_room_each_time)
{
    struct house *h = house_new();
    char json[4000];
    char pad[3000];
    memset(pad, 'x', sizeof(pad) - 1);
    pad[sizeof(pad) - 1] = '\0';
    snprintf(json, sizeof(json),
             "{'key':'m','when':{'on':'manual'},'vars':{'v':'{{ 1 }} %s','w':'{{ v }}{{ v }}{{ v "
             "}}'},'then':["
             "{'notify':{'handler':'ops','params':{'n':'{{ length(w) }}'}}}]}",
             pad);
    tk_ok(house_put(h, "scene", json));
    for (unsigned i = 0; i < 200; i++) {
        tk_ok(run(h, "scene", "m", NULL));
        ck_assert_str_eq(h->messages[i].text, "scene:m notify - ops {\"n\":9003}");
    }
    house_free(h);
}
END_TEST

START_TEST(it_is_run_by_hand)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "scene",
                    "{'key':'m','when':{'on':'manual'},'then':["
                    "{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}"));
    tk_ok(run(h, "scene", "m", NULL));
    tk_ok(run(h, "scene", "m", "t1"));
    ck_assert_uint_eq(commands(h), 2);
    ck_assert_mem_ne(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id));
    ck_assert_str_eq(h->commands[1].text, "t1 fan-1 set {\"on\":true}");
    tk_ok(scene(h, "'expr':'temperature > 30'")); /* others, too: it is not asked */
    tk_ok(run(h, "scene", "s", "t2"));
    ck_assert_uint_eq(commands(h), 3);
    tk_fails(TPC_EINVAL, run(h, "scene", "s", "fan-1")); /* of another product */
    tk_fails(TPC_ENOENT, run(h, "scene", "x", NULL));
    tk_ok(house_put(h, "scene",
                    "{'key':'m','enabled':false,'when':{'on':'manual'},'then':["
                    "{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}"));
    tk_fails(TPC_ESTATE, run(h, "scene", "m", NULL));
    tk_ok(house_put(h, "schedule",
                    "{'key':'p','type':'cron','cron':'0 0 1 1 *','then':["
                    "{'command':{'device':'fan-1','service':'set','params':{'on':false}}}]}"));
    tk_ok(run(h, "schedule", "p", NULL));
    tk_ok(run(h, "schedule", "p", NULL));
    ck_assert_uint_eq(commands(h), 5);
    tk_fails(TPC_ENOENT, run(h, "schedule", "m", NULL));
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules_fired), 2);
    house_free(h);
}
END_TEST

START_TEST(a_manual_scene_without_product_names_its_devices)
{
    struct house *h = house_new();
    tk_fails(TPC_EINVAL, house_put(h, "scene",
                                   "{'key':'m','when':{'on':'manual'},'then':["
                                   "{'command':{'service':'set','params':{'on':true}}}]}"));
    tk_fails(TPC_EINVAL, house_put(h, "scene",
                                   "{'key':'m','when':{'on':'manual'},'then':[{'notify':{"
                                   "'handler':'x','params':{'a':'{{ temperature }}'}}}]}"));
    tk_ok(house_put(h, "scene",
                    "{'key':'m','when':{'on':'manual','product':'thermo'},'then':[{'notify':{"
                    "'handler':'x','params':{'a':'{{ temperature }} {{ device.key }}'}}}]}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(atomic_load(&h->message_count), 0);
    tk_ok(run(h, "scene", "m", "t1"));
    tk_ok(run(h, "scene", "m", NULL)); /* about nobody: what it says is empty */
    ck_assert_uint_eq(atomic_load(&h->message_count), 2);
    ck_assert_str_eq(h->messages[0].text, "scene:m notify t1 x {\"a\":\"31 t1\"}");
    house_free(h);
}
END_TEST

START_TEST(conditions_know_who_is_online)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'device.online and temperature > 30','fire':'each'"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 0);
    house_tell(h, "t1", TPC_MSG_PRESENCE, "", true);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 1);
    house_tell(h, "t1", TPC_MSG_PRESENCE, "", false);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 1);
    tk_ok(scene(h, "'expr':'not device(\\'fan-1\\').online and temperature > 30','fire':'each'"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 2);
    struct tpc_device *fan = NULL;
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), TPC_STR("fan-1"), NULL, &fan));
    atomic_store(&fan->online, true);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 2);
    atomic_store(&fan->online, false);
    tpi_device_unref(fan);
    house_free(h);
}
END_TEST

START_TEST(conditions_know_the_age_of_values_and_the_local_time)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30 and age(humidity) > 60000','fire':'each'"));
    struct house_point wet = { "humidity", 40 };
    house_temperature(h, "t1", 31); /* there is none */
    house_say(h, "t1", &wet, 1);
    ck_assert_uint_eq(commands(h), 1); /* its time is 1970 */
    tk_ok(scene(h, "'expr':'temperature > 30 and hour(now(), \\'Europe/Berlin\\') = 23 and "
                   "hour(now()) = 22','fire':'each'"));
    until(h, "21:30");
    int64_t summer_s = tpi_unix_ms(&h->env.env) / 1000;
    struct tpi_during d = { .set = true, .zone_name = TPC_STR("Europe/Berlin") };
    tk_ok(tpi_during_open(&d, &h->env.env, ZONE_DIR, NULL));
    bool winter = tpi_zone_local(d.zone, summer_s) - summer_s == 3600;
    tpi_during_fini(&d);
    house_temperature(h, "t1", 31);
    until(h, "22:30");
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), winter ? 2 : 1);
    house_free(h);
}
END_TEST

START_TEST(members_that_do_not_go_together_are_refused)
{
    static const struct {
        const char *when;
        const char *path;
    } bad[] = {
        { "'expr':'on','during':{'time':{'from':'22:00','to':'26:00'}}", "when.during.time.to" },
        { "'expr':'on','during':{'time':{'from':'x','to':'06:00'}}", "when.during.time.from" },
        { "'expr':'on','during':{'days':['noday']}", "when.during.days" },
        { "'expr':'on','during':{'zone':'No/Where'}", "when.during.zone" },
        { "'expr':'on','fire':'each','during':{'at_start':true}", "when.during.at_start" },
        { "'expr':'on','every':'1h','during':{'at_start':true}", "when.every" },
        { "'expr':'on','debounce':'1m'", "when.debounce" },
        { "'on':'event','debounce':'1m','every':'1m'", "when.every" },
        { "'on':'event','service':'x'", "when.service" },
        { "'on':'manual','expr':'on'", "when.expr" },
        { "'on':'manual','during':{}", "when.during" },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = scene(h, bad[i].when);
        ck_assert_msg(rc == TPC_EINVAL || rc == TPC_ENOENT, "%s: %d", bad[i].when, rc);
        ck_assert_str_eq(h->err.path, bad[i].path);
    }
    tk_fails(TPC_EINVAL, house_put(h, "scene",
                                   "{'key':'m','when':{'expr':'on'},'then':[{'notify':{"
                                   "'handler':'x'}}]}"));
    ck_assert_str_eq(h->err.path, "when.product");
    house_free(h);
}
END_TEST

Suite *during_suite(void)
{
    Suite *s = suite_create("during");
    TCase *c = tcase_create("during");
    tcase_add_test(c, it_fires_in_its_window_alone);
    tcase_add_test(c, what_became_true_outside_does_not_fire_at_the_start);
    tcase_add_test(c, what_is_true_at_the_start_fires_each_night_if_it_is_wanted);
    tcase_add_test(c, what_waits_for_the_start_survives_a_restart);
    tcase_add_test(c, a_time_that_ends_outside_the_window_does_not_fire);
    tcase_add_test(c, days_are_those_on_which_the_window_began);
    tcase_add_test(c, the_window_is_of_its_zone_on_both_days_on_which_the_clock_is_set);
    tcase_add_test(c, once_is_once_until_it_is_reset);
    tcase_add_test(c, debounce_waits_for_quiet);
    tcase_add_test(c, it_fires_on_commands_and_their_ends);
    tcase_add_test(c, it_is_run_by_hand);
    tcase_add_test(c, variables_of_what_is_run_by_hand_take_no_more_room_each_time);
    tcase_add_test(c, a_manual_scene_without_product_names_its_devices);
    tcase_add_test(c, conditions_know_who_is_online);
    tcase_add_test(c, conditions_know_the_age_of_values_and_the_local_time);
    tcase_add_test(c, members_that_do_not_go_together_are_refused);
    suite_add_tcase(s, c);
    return s;
}
