/* Rules that were put shortly before a crash, and what the start reads again of the log. */
#include "house.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>

static const int64_t base_ms = 1795176000000;

struct life {
    struct house *h;
    struct tpi_buf known;
    struct tpi_buf states[HOUSE_PARTITIONS];
};

static void at(struct life *l, int64_t s)
{
    tk_clock_set_unix(&l->h->env.clock, base_ms + s * 1000);
}

/* What the pump stores of now. */
static void save(struct life *l)
{
    tpi_buf_init(&l->known, NULL, 0);
    tk_ok(tpi_rules_known_save(l->h->rules, &l->known));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&l->states[i], NULL, 0);
        tk_ok(tpi_rules_state_save(l->h->rules, i, &l->states[i]));
    }
}

/* A start from there. What the messages said comes again between this and the end of the replay. */
static void crash(struct life *l)
{
    uint64_t next;
    tk_ok(house_restart(l->h));
    struct tpc_bytes known = { l->known.ptr, l->known.len };
    tk_ok(tpi_rules_known_load(l->h->rules, known, &l->h->err));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        struct tpc_bytes state = { l->states[i].ptr, l->states[i].len };
        tk_ok(tpi_rules_state_load(l->h->rules, i, state, &l->h->err, &next));
    }
}

static void begin(struct life *l)
{
    memset(l, 0, sizeof(*l));
    l->h = house_new();
    at(l, 0);
}

static void end(struct life *l)
{
    tpi_buf_fini(&l->known);
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_fini(&l->states[i]);
    }
    house_free(l->h);
}

static unsigned commands(const struct life *l)
{
    return atomic_load(&l->h->command_count);
}

static void say_as(struct life *l, int64_t s, uint64_t offset, double temperature)
{
    const struct house_point point = { "temperature", temperature };
    struct tpc_device *d;
    at(l, s);
    tk_ok(tpi_registry_open(l->h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &d));
    house_message(l->h, d, offset, &point, 1);
    tpi_device_unref(d);
}

/* A message at a second; its offset says the same, so it is known again. */
static void say(struct life *l, int64_t s, double temperature)
{
    say_as(l, s, 100 + (uint64_t) s, temperature);
}

static void put_scene(struct life *l, const char *expr, const char *fire)
{
    tk_ok(house_scene(l->h, "s", expr, fire));
}

START_TEST(what_is_not_changed_fires_again_with_the_same_id)
{
    struct life l;
    begin(&l);
    put_scene(&l, "temperature > 30", "rising");
    save(&l);
    say(&l, 10, 31);
    ck_assert_uint_eq(commands(&l), 1);
    crash(&l);
    say(&l, 10, 31);
    tpi_rules_replayed(l.h->rules);
    ck_assert_uint_eq(commands(&l), 2); /* the log knows the first */
    ck_assert_mem_eq(&l.h->commands[0].id, &l.h->commands[1].id, sizeof(struct tpc_id));
    end(&l);
}
END_TEST

START_TEST(a_scene_put_again_does_not_repeat_what_the_one_before_did)
{
    static const char *const fire[] = { "rising", "each" };
    struct life l;
    begin(&l);
    put_scene(&l, "temperature > 30", fire[_i]);
    save(&l);
    say(&l, 10, 31);
    at(&l, 20);
    put_scene(&l, "temperature > 30", fire[_i]);
    crash(&l);
    say(&l, 10, 31);
    tpi_rules_replayed(l.h->rules);
    ck_assert_uint_eq(commands(&l), 1);
    say(&l, 40, 32); /* still true */
    ck_assert_uint_eq(commands(&l), _i == 0 ? 1 : 2);
    say(&l, 50, 3);
    say(&l, 60, 33);
    ck_assert_uint_eq(commands(&l), _i == 0 ? 2 : 3);
    end(&l);
}
END_TEST

/* Another condition begins with the next message, as it would have without the crash. */
START_TEST(what_came_before_a_condition_is_not_for_it)
{
    struct life l;
    begin(&l);
    if (_i == 0) { /* else it is a new scene */
        put_scene(&l, "temperature > 90", "rising");
    }
    save(&l);
    say(&l, 10, 31);
    ck_assert_uint_eq(commands(&l), 0);
    at(&l, 20);
    put_scene(&l, "temperature > 30", "rising");
    crash(&l);
    say(&l, 10, 31);
    ck_assert_uint_eq(commands(&l), 0);
    say(&l, 25, 32); /* was in the log, too: after the put */
    tpi_rules_replayed(l.h->rules);
    ck_assert_uint_eq(commands(&l), 1);
    say(&l, 40, 33);
    ck_assert_uint_eq(commands(&l), 1);
    /* Time goes on wherever the clock is set to. */
    say_as(&l, 5, 200, 3);
    say_as(&l, 6, 201, 34);
    ck_assert_uint_eq(commands(&l), 2);
    end(&l);
}
END_TEST

static void put_rule(struct life *l, const char *more)
{
    char json[300];
    snprintf(json, sizeof(json),
             "{'key':'r','sql':'SELECT count(*) AS n FROM thermo GROUP BY device, "
             "COUNTWINDOW(2)','to':{'event':'row'}%s}",
             more);
    tk_ok(house_put(l->h, "rule", json));
}

START_TEST(rows_of_before_are_not_made_twice_and_windows_go_on)
{
    struct life l;
    begin(&l);
    put_rule(&l, "");
    save(&l);
    say(&l, 1, 1);
    say(&l, 2, 1);
    say(&l, 3, 1);
    ck_assert_uint_eq(atomic_load(&l.h->message_count), 1);
    at(&l, 20);
    put_rule(&l, ",'then':[{'notify':{'handler':'ops'}}]");
    crash(&l);
    say(&l, 1, 1);
    say(&l, 2, 1);
    say(&l, 3, 1);
    tpi_rules_replayed(l.h->rules);
    ck_assert_uint_eq(atomic_load(&l.h->message_count), 1);
    say(&l, 40, 1); /* with the one of second 3 */
    ck_assert_uint_eq(atomic_load(&l.h->message_count), 3);
    end(&l);
}
END_TEST

START_TEST(a_list_that_is_damaged_is_refused)
{
    struct life l;
    begin(&l);
    put_scene(&l, "temperature > 30", "rising");
    put_rule(&l, "");
    save(&l);
    for (size_t n = 0; n < l.known.len; n++) {
        struct tpc_bytes part = { l.known.ptr, n };
        ck_assert_int_ne(tpi_rules_known_load(l.h->rules, part, &l.h->err), 0);
    }
    l.known.ptr[0]++;
    struct tpc_bytes newer = { l.known.ptr, l.known.len };
    tk_fails(TPC_EVERSION, tpi_rules_known_load(l.h->rules, newer, &l.h->err));
    end(&l);
}
END_TEST

Suite *fence_suite(void)
{
    Suite *s = suite_create("fence");
    TCase *c = tcase_create("fence");
    tcase_add_test(c, what_is_not_changed_fires_again_with_the_same_id);
    tcase_add_loop_test(c, a_scene_put_again_does_not_repeat_what_the_one_before_did, 0, 2);
    tcase_add_loop_test(c, what_came_before_a_condition_is_not_for_it, 0, 2);
    tcase_add_test(c, rows_of_before_are_not_made_twice_and_windows_go_on);
    tcase_add_test(c, a_list_that_is_damaged_is_refused);
    suite_add_tcase(s, c);
    return s;
}
