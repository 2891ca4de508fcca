/* When scenes fire: after a while, until something else, not too often, on events and presence. */
#include <stdio.h>
#include <string.h>

#include "house.h"
#include "rules/due.h"
#include "rules/rules_state.h"
#include "rules/window.h"
#include "suites.h"

#define COUNT(h, member) TPI_METRIC_GET(tpi_rules_count((h)->rules)->member)

enum { MINUTE = 60000 };

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

START_TEST(it_fires_once_the_condition_was_true_for_so_long)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','for':'5m'"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(house_wait(h, 4 * MINUTE), 0);
    house_temperature(h, "t1", 32); /* still true: the time goes on */
    ck_assert_uint_eq(house_wait(h, 1 * MINUTE - 1), 0);
    ck_assert_uint_eq(commands(h), 0);
    ck_assert_uint_eq(house_wait(h, 1), 1);
    ck_assert_str_eq(h->commands[0].text, "t1 fan-1 set {\"on\":true}");
    house_temperature(h, "t1", 33);
    ck_assert_uint_eq(house_wait(h, 60 * MINUTE), 0); /* once */
    house_temperature(h, "t1", 3);
    house_temperature(h, "t1", 33);
    ck_assert_uint_eq(house_wait(h, 2 * MINUTE), 0);
    house_temperature(h, "t1", 3); /* not long enough */
    ck_assert_uint_eq(house_wait(h, 60 * MINUTE), 0);
    house_temperature(h, "t1", 33);
    house_temperature(h, "t2", 33); /* each device has a time of its own */
    ck_assert_uint_eq(house_wait(h, 5 * MINUTE), 2);
    ck_assert_uint_eq(commands(h), 3);
    house_free(h);
}
END_TEST

START_TEST(it_fires_from_the_newest_rise_on)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','for':'5m'"));
    for (int i = 0; i < 100; i++) { /* what stands in the list may be over */
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(house_wait(h, MINUTE), 0);
        house_temperature(h, "t1", 3);
    }
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(house_wait(h, 5 * MINUTE - 1), 0);
    ck_assert_uint_eq(house_wait(h, 1), 1);
    house_free(h);
}
END_TEST

START_TEST(what_waits_is_over_with_its_scene)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','for':'5m'"));
    house_temperature(h, "t1", 31);
    tk_ok(scene(h, "'expr':'temperature > 30','for':'6m'")); /* another condition */
    ck_assert_uint_eq(house_wait(h, 10 * MINUTE), 0);
    house_temperature(h, "t1", 31);
    tk_ok(house_delete(h, "scene", "s"));
    ck_assert_uint_eq(house_wait(h, 10 * MINUTE), 0);
    tk_ok(scene(h, "'expr':'temperature > 30','for':'5m'"));
    house_temperature(h, "t1", 31);
    tk_ok(house_delete(h, "device", "t1"));
    ck_assert_uint_eq(house_wait(h, 10 * MINUTE), 0);
    ck_assert_uint_eq(commands(h), 0);
    house_free(h);
}
END_TEST

START_TEST(what_waits_survives_a_restart)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','for':'5m'"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(house_wait(h, MINUTE), 0);
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
        ck_assert_int_eq(house_wait(h, round == 0 ? 4 * MINUTE : 0), 1);
    }
    ck_assert_uint_eq(commands(h), 2);
    ck_assert_mem_eq(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id));
    ck_assert(h->commands[0].again);
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_fini(&state[i]);
    }
    house_free(h);
}
END_TEST

START_TEST(it_stays_on_until_the_other_condition)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'expr':'temperature > 30','until':'temperature < 28 or humidity > 90'"));
    static const double values[] = { 31, 29, 31, 28, 31, 27.9, 29, 31 };
    static const unsigned fired[] = { 1, 1, 1, 1, 1, 1, 1, 2 };
    for (size_t i = 0; i < sizeof(fired) / sizeof(fired[0]); i++) {
        house_temperature(h, "t1", values[i]);
        ck_assert_uint_eq(commands(h), fired[i]);
    }
    struct house_point wet = { "humidity", 95 }; /* named by the other one alone */
    house_say(h, "t1", &wet, 1);
    wet.value = 10;
    house_say(h, "t1", &wet, 1);
    ck_assert_uint_eq(commands(h), 3); /* it is still hot, and nothing ends it any more */
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 3);
    house_free(h);
}
END_TEST

START_TEST(it_fires_at_most_once_in_a_while_for_a_device)
{
    static const char *const fire[] = { "rising", "each" };
    for (int i = 0; i < 2; i++) {
        struct house *h = house_new();
        char when[200];
        snprintf(when, sizeof(when), "'expr':'temperature > 30','every':'10m','fire':'%s'",
                 fire[i]);
        tk_ok(scene(h, when));
        house_temperature(h, "t1", 31);
        house_temperature(h, "t1", 3);
        house_wait(h, 9 * MINUTE);
        house_temperature(h, "t1", 31);
        house_temperature(h, "t2", 31);
        ck_assert_uint_eq(commands(h), 2);
        ck_assert_uint_eq(COUNT(h, held_back), 1);
        house_temperature(h, "t1", 3);
        house_wait(h, 1 * MINUTE);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(commands(h), 3);
        struct tpi_buf state; /* what no limit needs any more is forgotten */
        house_temperature(h, "t1", 3);
        house_wait(h, 100 * MINUTE);
        for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
            tpi_buf_init(&state, NULL, 0);
            tk_ok(tpi_rules_state_save(h->rules, p, &state));
            ck_assert_uint_le(state.len, i == 0 ? 34 : 8);
            tpi_buf_fini(&state);
        }
        house_free(h);
    }
}
END_TEST

/* States of all partitions. Returns their length. */
static size_t save_all(struct house *h, struct tpi_buf *state)
{
    size_t bytes = 0;
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        tpi_buf_init(&state[p], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, p, &state[p]));
        bytes += state[p].len;
    }
    return bytes;
}

static void drop_all(struct tpi_buf *state)
{
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        tpi_buf_fini(&state[p]);
    }
}

START_TEST(what_no_limit_needs_is_forgotten_after_a_restart_too)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    tk_ok(scene(h, "'expr':'temperature > 30','every':'10m'"));
    size_t none = save_all(h, state);
    drop_all(state);
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 3);
    ck_assert_uint_gt(save_all(h, state), none + 4);
    tk_ok(house_restart(h));
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[p].ptr, state[p].len };
        tk_ok(tpi_rules_state_load(h->rules, p, bytes, NULL, &next));
    }
    drop_all(state);
    house_wait(h, 100 * MINUTE);
    ck_assert_uint_le(save_all(h, state), none + 4);
    drop_all(state);
    house_free(h);
}
END_TEST

START_TEST(nothing_stays_of_a_device_that_is_gone)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    tk_ok(scene(h, "'expr':'temperature > 30'"));
    tk_ok(house_put(h, "rule",
                    "{'key':'r','to':{'event':'n'},'sql':'SELECT count(*) AS n FROM thermo GROUP "
                    "BY device, COUNTWINDOW(9)'}"));
    for (int i = 1; i <= 3; i++) {
        char key[8];
        snprintf(key, sizeof(key), "t%d", i);
        house_temperature(h, key, 31);
    }
    size_t edges = 0;
    size_t panes = 0;
    for (int round = 0; round < 2; round++) {
        (void) save_all(h, state);
        drop_all(state);
        edges = 0;
        panes = 0;
        for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
            struct rule_partition *part = &h->rules->partitions[p];
            size_t iter = 0;
            void *f;
            edges += part->edges.count;
            while (tpi_map64_next(&part->flows, &iter, NULL, &f)) {
                panes += ((const struct tpi_flow *) f)->panes;
            }
        }
        ck_assert_uint_eq(edges, round == 0 ? 3 : 1);
        ck_assert_uint_eq(panes, round == 0 ? 3 : 1);
        if (round == 0) {
            tk_ok(house_delete(h, "device", "t1"));
            tk_ok(house_delete(h, "device", "t3"));
        }
    }
    house_free(h);
}
END_TEST

START_TEST(a_condition_that_comes_and_goes_takes_no_more_memory)
{
    struct house *h = house_new();
    size_t most = 0;
    tk_ok(scene(h, "'expr':'temperature > 30','for':'24h'"));
    house_temperature(h, "t2", 31);
    for (int i = 0; i < 5000; i++) {
        house_temperature(h, "t1", i % 2 == 0 ? 31 : 3);
        house_wait(h, 1000);
    }
    house_temperature(h, "t1", 31);
    for (uint32_t w = 0; w < HOUSE_WORKERS; w++) {
        size_t cap = h->rules->workers[w].due.cap;
        most = cap > most ? cap : most;
    }
    ck_assert_uint_le(most, 128);
    ck_assert_uint_eq(house_wait(h, 24 * 60 * MINUTE), 2); /* who waits is still there */
    house_free(h);
}
END_TEST

START_TEST(it_fires_on_events_by_name)
{
    struct house *h = house_new();
    tk_ok(scene(h, "'on':'event','event':'smoke'"));
    house_tell(h, "t1", TPC_MSG_EVENT, "door", false);
    ck_assert_uint_eq(commands(h), 0);
    house_tell(h, "t1", TPC_MSG_EVENT, "smoke", false);
    house_tell(h, "t1", TPC_MSG_EVENT, "smoke", false);
    house_tell(h, "fan-1", TPC_MSG_EVENT, "smoke", false); /* of another product */
    ck_assert_uint_eq(commands(h), 2);
    tk_ok(scene(h, "'on':'event','expr':'temperature > 30'")); /* any, if the condition holds */
    house_tell(h, "t1", TPC_MSG_EVENT, "door", false);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 2);
    house_tell(h, "t1", TPC_MSG_EVENT, "door", false);
    ck_assert_uint_eq(commands(h), 3);
    house_free(h);
}
END_TEST

START_TEST(it_fires_when_a_device_comes_or_goes)
{
    struct house *h = house_new();
    static const char *const on[] = { "online", "offline" };
    for (int i = 0; i < 2; i++) {
        char when[64];
        unsigned before = commands(h);
        snprintf(when, sizeof(when), "'on':'%s'", on[i]);
        tk_ok(scene(h, when));
        house_tell(h, "t1", TPC_MSG_PRESENCE, "", true);
        house_tell(h, "t1", TPC_MSG_PRESENCE, "", true); /* says nothing new */
        ck_assert_uint_eq(commands(h) - before, i == 0);
        house_tell(h, "t1", TPC_MSG_PRESENCE, "", false);
        house_tell(h, "t1", TPC_MSG_PRESENCE, "", false);
        ck_assert_uint_eq(commands(h) - before, 1);
    }
    house_free(h);
}
END_TEST

START_TEST(members_that_do_not_go_together_are_refused)
{
    static const struct {
        const char *when, *path;
    } rows[] = {
        { "'fire':'each'", "when.expr" },
        { "'expr':'on','event':'smoke'", "when.event" },
        { "'expr':'on','fire':'each','for':'1m'", "when.for" },
        { "'expr':'on','fire':'each','until':'on'", "when.until" },
        { "'on':'online','for':'1m'", "when.for" },
        { "'expr':'on','until':'temperature >'", "when.until" },
        { "'expr':'on','until':'speed > 3'", "when.until" },
        { "'on':'sunday'", "when.on" },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tk_fails(TPC_EINVAL, scene(h, rows[i].when));
        ck_assert_msg(strcmp(h->err.path, rows[i].path) == 0, "%s: %s", rows[i].when, h->err.path);
    }
    house_free(h);
}
END_TEST

START_TEST(all_that_waits_fires_in_its_order)
{
    struct tpi_due due;
    uint32_t x = 7;
    tpi_due_init(&due, NULL);
    for (int i = 0; i < 1000; i++) {
        x = x * 1664525 + 1013904223;
        struct tpi_due_item item = { .at_unix_ms = x >> 20, .scene = 1, .device = (uint64_t) i };
        tk_ok(tpi_due_add(&due, &item));
    }
    int64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        const struct tpi_due_item *first = tpi_due_first(&due);
        ck_assert(first->at_unix_ms >= last);
        last = first->at_unix_ms;
        tpi_due_pop(&due);
    }
    ck_assert_ptr_null(tpi_due_first(&due));
    tpi_due_fini(&due);
}
END_TEST

Suite *when_suite(void)
{
    Suite *s = suite_create("when");
    TCase *c = tcase_create("when");
    tcase_add_test(c, it_fires_once_the_condition_was_true_for_so_long);
    tcase_add_test(c, it_fires_from_the_newest_rise_on);
    tcase_add_test(c, what_waits_is_over_with_its_scene);
    tcase_add_test(c, what_waits_survives_a_restart);
    tcase_add_test(c, it_stays_on_until_the_other_condition);
    tcase_add_test(c, it_fires_at_most_once_in_a_while_for_a_device);
    tcase_add_test(c, what_no_limit_needs_is_forgotten_after_a_restart_too);
    tcase_add_test(c, nothing_stays_of_a_device_that_is_gone);
    tcase_add_test(c, a_condition_that_comes_and_goes_takes_no_more_memory);
    tcase_add_test(c, it_fires_on_events_by_name);
    tcase_add_test(c, it_fires_when_a_device_comes_or_goes);
    tcase_add_test(c, members_that_do_not_go_together_are_refused);
    tcase_add_test(c, all_that_waits_fires_in_its_order);
    suite_add_tcase(s, c);
    return s;
}
