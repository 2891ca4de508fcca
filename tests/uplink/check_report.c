/* States of report strategies: against a plain model, without memory, and at their limits. */
#include "uplink/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "uplink_suites.h"

enum { DEVICES = 3, KEYS = 12, STEPS = 20000 };

static uint64_t rng;

static uint32_t upto(uint32_t n)
{
    rng = tpi_hash64(rng + 1);
    return (uint32_t) (rng >> 33) % n;
}

/* ---- the plain model ---- */

struct plain {
    bool known, fresh;
    double sent, last;
    uint64_t due, seen;
};

static bool plain_value(struct plain *p, const struct tpi_report *r, double v, uint64_t now)
{
    bool known = p->known && (r->ttl_ms == 0 || now - p->seen < r->ttl_ms);
    double band = fmax(r->deadband, fabs(p->sent) * r->deadband_percent / 100);
    bool change = fabs(v - p->sent) > band;
    bool periodic = tpi_report_periodic(r);
    p->last = v;
    p->seen = now;
    p->fresh = true;
    if (!known) {
        *p = (struct plain){ true, false, v, v, periodic ? now + r->period_ms : 0, now };
        return true;
    }
    change = change && r->mode != TPI_REPORT_PERIOD;
    bool due = periodic && p->due <= now;
    if (change || due) {
        p->sent = v;
        p->fresh = false;
    }
    if (change && periodic && r->reset) {
        p->due = now + r->period_ms;
    } else {
        while (due && p->due <= now) {
            p->due += r->period_ms;
        }
    }
    return change || due;
}

/* Whether its period sends it now. */
static bool plain_time(struct plain *p, const struct tpi_report *r, uint64_t now)
{
    if (!p->known || !tpi_report_periodic(r) || p->due > now) {
        return false;
    }
    if (r->ttl_ms != 0 && now - p->seen >= r->ttl_ms) {
        p->known = false;
        return false;
    }
    while (p->due <= now) {
        p->due += r->period_ms;
    }
    p->sent = p->last;
    p->fresh = false;
    return true;
}

/* ---- the states ---- */

struct rig {
    struct tk_alloc a;
    struct tpi_wheel wheel;
    struct tpi_reports r;
    struct tpi_report rules[KEYS];
    char keys[KEYS][16];
    uint64_t now;
};

static void rig_init(struct rig *x, const struct tpc_allocator *a)
{
    memset(x, 0, sizeof(*x));
    tk_alloc_init(&x->a);
    x->now = 1000000;
    tpi_wheel_init(&x->wheel, x->now);
    tpi_reports_init(&x->r, a != NULL ? a : &x->a.base, &x->wheel);
}

static void rig_fini(struct rig *x)
{
    tpi_reports_fini(&x->r);
    ck_assert_uint_eq(tpi_wheel_count(&x->wheel), 0);
    tk_alloc_check(&x->a);
}

/* Odd ones are points by key. */
static struct tpc_point point_of(const struct rig *x, uint32_t key)
{
    struct tpc_point p;
    memset(&p, 0, sizeof(p));
    p.key = tpc_str_from(x->keys[key]);
    p.property = key % 2 == 0 ? (uint16_t) (key + 1) : 0;
    return p;
}

static bool give(struct rig *x, uint64_t device, uint32_t key, const struct tpc_value *v,
                 const struct tpi_report *rule, int64_t unix_ms)
{
    struct tpc_point point = point_of(x, key);
    point.value = *v;
    struct tpi_report_device *d = tpi_reports_device(&x->r, device, 7, x->now);
    struct tpi_report_point p = { .point = &point,
                                  .rule = rule,
                                  .unix_ms = unix_ms,
                                  .received_unix_ms = (int64_t) x->now,
                                  .now_ms = x->now };
    return d == NULL || tpi_report_goes(&x->r, d, &p);
}

static bool give_number(struct rig *x, uint64_t device, uint32_t key, double v,
                        const struct tpi_report *rule)
{
    struct tpc_value value = { .type = TPC_DOUBLE, .as.d = v };
    return give(x, device, key, &value, rule, (int64_t) x->now);
}

static uint32_t key_of(const struct rig *x, const struct tpi_report_entry *e)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        struct tpc_point p = point_of(x, k);
        if (e->property != 0 ? e->property == p.property
                             : p.property == 0 && e->key_len == p.key.len &&
                                   memcmp(e->key, p.key.ptr, p.key.len) == 0) {
            return k;
        }
    }
    ck_abort_msg("an entry of nobody");
    return 0;
}

/* What the worker does when time has passed; counts what went into got[device][key]. */
static void pass(struct rig *x, uint32_t got[DEVICES][KEYS], double last[DEVICES][KEYS])
{
    struct tpi_report_device *d;
    tpi_wheel_run(&x->wheel, x->now);
    while ((d = tpi_reports_next(&x->r)) != NULL) {
        for (uint32_t i = 0; i < d->count; i++) {
            struct tpi_report_entry *e = &d->entries[i];
            uint32_t key = key_of(x, e);
            struct tpc_value v;
            if (tpi_report_is_due(&x->r, e, &x->rules[key], x->now)) {
                tk_ok(tpi_report_value(e, NULL, &v));
                got[d->id][key]++;
                last[d->id][key] = v.as.d;
                tpi_report_sent(e, &x->rules[key], x->now);
            }
        }
        tpi_report_arm(d, x->now, x->now + 1);
    }
}

static void make_rules(struct rig *x)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        snprintf(x->keys[k], sizeof(x->keys[k]), "key-%u", k);
        x->rules[k] = (struct tpi_report){ .mode = (uint8_t) (TPI_REPORT_CHANGE + upto(3)),
                                           .deadband = upto(3),
                                           .deadband_percent = upto(2) * 10,
                                           .period_ms = 10 + upto(500),
                                           .reset = upto(2) != 0,
                                           .ttl_ms = upto(2) * (200 + upto(3000)) };
    }
}

START_TEST(states_do_what_a_plain_model_does)
{
    struct rig x;
    static struct plain plain[DEVICES][KEYS];
    rng = (uint64_t) _i + 1;
    memset(plain, 0, sizeof(plain));
    rig_init(&x, NULL);
    make_rules(&x);
    for (int step = 0; step < STEPS; step++) {
        uint32_t got[DEVICES][KEYS], wanted[DEVICES][KEYS];
        double last[DEVICES][KEYS];
        memset(got, 0, sizeof(got));
        memset(wanted, 0, sizeof(wanted));
        x.now += upto(8) == 0 ? upto(2000) : upto(30);
        pass(&x, got, last);
        for (uint32_t d = 0; d < DEVICES; d++) {
            for (uint32_t k = 0; k < KEYS; k++) {
                wanted[d][k] = plain_time(&plain[d][k], &x.rules[k], x.now);
                if (got[d][k] != wanted[d][k] ||
                    (wanted[d][k] != 0 && last[d][k] != plain[d][k].last)) {
                    ck_abort_msg("step %d device %u key %u: %u", step, d, k, got[d][k]);
                }
            }
        }
        uint32_t d = upto(DEVICES), k = upto(KEYS);
        double v = upto(4) == 0 ? upto(100) : plain[d][k].last + (double) upto(5) - 2;
        ck_assert_msg(give_number(&x, d, k, v, &x.rules[k]) ==
                          plain_value(&plain[d][k], &x.rules[k], v, x.now),
                      "step %d device %u key %u value %g", step, d, k, v);
        x.r.touched_count = 0;
    }
    ck_assert_uint_eq(x.r.untracked, 0);
    rig_fini(&x);
}
END_TEST

START_TEST(all_types_are_compared_exactly)
{
    const struct tpc_member member = { TPC_STR("a"), { .type = TPC_INT, .as.i = 1 } };
    static const struct tpc_value item = { .type = TPC_INT, .as.i = 1 };
    const struct tpc_value values[] = {
        { .type = TPC_INT, .as.i = INT64_MAX },
        { .type = TPC_INT, .as.i = INT64_MAX - 1 },
        { .type = TPC_DOUBLE, .as.d = 0.1 },
        { .type = TPC_DOUBLE, .as.d = 0.30000000000000004 },
        { .type = TPC_DOUBLE, .as.d = 1.7e308 },
        { .type = TPC_DOUBLE, .as.d = -1.7e308 },
        { .type = TPC_BOOL, .as.b = false },
        { .type = TPC_BOOL, .as.b = true },
        { .type = TPC_TEXT, .len = 0, .as.text = "" },
        { .type = TPC_TEXT, .len = 3, .as.text = "abc" },
        { .type = TPC_TEXT, .len = 3, .as.text = "abd" },
        { .type = TPC_ARRAY, .len = 1, .as.items = &item },
        { .type = TPC_MAP, .len = 1, .as.members = &member },
        { .type = TPC_MAP, .len = 0 },
    };
    const struct tpi_report rule = { .mode = TPI_REPORT_CHANGE };
    struct rig x;
    struct tpc_arena *arena;
    rig_init(&x, NULL);
    make_rules(&x);
    for (uint32_t key = 0; key < 2; key++) {
        for (size_t i = 0; i < 3 * sizeof(values) / sizeof(values[0]); i++) {
            const struct tpc_value *v = &values[i % (sizeof(values) / sizeof(values[0]))];
            ck_assert(give(&x, 1, key, v, &rule, (int64_t) x.now));
            ck_assert(!give(&x, 1, key, v, &rule, (int64_t) x.now));
            struct tpi_report_device *d = tpi_reports_device(&x.r, 1, 7, x.now);
            struct tpc_value back;
            tk_ok(tpc_arena_create(&x.a.base, 0, &arena));
            tk_ok(tpi_report_value(&d->entries[key], arena, &back));
            ck_assert(tpc_value_equal(&back, v));
            tpc_arena_destroy(arena);
        }
    }
    /* 5 and 5.0 are the same number. */
    struct tpc_value five = { .type = TPC_INT, .as.i = 5 };
    ck_assert(give_number(&x, 1, 0, 5.0, &rule));
    ck_assert(!give(&x, 1, 0, &five, &rule, (int64_t) x.now));
    rig_fini(&x);
}
END_TEST

START_TEST(late_values_pass_and_change_nothing)
{
    const struct tpi_report rule = { .mode = TPI_REPORT_CHANGE };
    struct tpc_value one = { .type = TPC_INT, .as.i = 1 };
    struct tpc_value two = { .type = TPC_INT, .as.i = 2 };
    struct rig x;
    rig_init(&x, NULL);
    make_rules(&x);
    int64_t now = (int64_t) x.now;
    ck_assert(give(&x, 1, 0, &one, &rule, now));
    ck_assert(give(&x, 1, 0, &two, &rule, now - 1));
    ck_assert(give(&x, 1, 0, &one, &rule, now - 1));
    ck_assert(!give(&x, 1, 0, &one, &rule, now));
    /* A time in the future is as good as now: what follows is not late. */
    ck_assert(!give(&x, 1, 0, &one, &rule, now + 1000000));
    ck_assert(!give(&x, 1, 0, &one, &rule, now));
    rig_fini(&x);
}
END_TEST

/* Else all values would go until the clock is where it was, and a period would say the old one. */
START_TEST(a_clock_that_is_set_back_makes_nothing_late)
{
    const struct tpi_report rule = { .mode = TPI_REPORT_CHANGE };
    struct rig x;
    rig_init(&x, NULL);
    make_rules(&x);
    ck_assert(give_number(&x, 1, 0, 1, &rule));
    x.now -= 5000;
    ck_assert(!give_number(&x, 1, 0, 1, &rule));
    ck_assert(give_number(&x, 1, 0, 2, &rule));
    ck_assert(!give_number(&x, 1, 0, 2, &rule));
    rig_fini(&x);
}
END_TEST

START_TEST(a_period_that_gets_shorter_counts_at_once)
{
    struct tpi_report rule = { .mode = TPI_REPORT_PERIOD, .period_ms = 30 * 24 * 3600 * 1000U };
    struct rig x;
    rig_init(&x, NULL);
    make_rules(&x);
    for (int by_value = 0; by_value < 2; by_value++) {
        rule.period_ms = 30 * 24 * 3600 * 1000U;
        ck_assert(give_number(&x, 1, (uint32_t) by_value, 1, &rule));
        struct tpi_report_device *d = tpi_reports_device(&x.r, 1, 7, x.now);
        struct tpi_report_entry *e = &d->entries[by_value];
        rule.period_ms = 1000;
        if (by_value) {
            ck_assert(!give_number(&x, 1, 1, 2, &rule));
        } else {
            ck_assert(!tpi_report_is_due(&x.r, e, &rule, x.now));
            tpi_report_arm(d, x.now, x.now);
        }
        x.now += 999;
        tpi_wheel_run(&x.wheel, x.now);
        ck_assert_ptr_null(tpi_reports_next(&x.r));
        x.now += 1;
        tpi_wheel_run(&x.wheel, x.now);
        ck_assert_ptr_eq(tpi_reports_next(&x.r), d);
        ck_assert(tpi_report_is_due(&x.r, e, &rule, x.now));
        tpi_report_sent(e, &rule, x.now);
        tpi_report_arm(d, x.now, x.now);
    }
    rig_fini(&x);
}
END_TEST

START_TEST(a_batch_that_fails_is_forgotten)
{
    const struct tpi_report rule = { .mode = TPI_REPORT_CHANGE_OR_PERIOD, .period_ms = 1000 };
    struct rig x;
    rig_init(&x, NULL);
    make_rules(&x);
    ck_assert(give_number(&x, 1, 0, 1, &rule));
    x.r.touched_count = 0;
    ck_assert(!give_number(&x, 1, 0, 1, &rule));
    ck_assert(give_number(&x, 1, 1, 1, &rule));
    tpi_reports_forget(&x.r, 1);
    ck_assert(!give_number(&x, 1, 0, 1, &rule));
    ck_assert(give_number(&x, 1, 1, 1, &rule));
    tpi_reports_forget(&x.r, 0);
    ck_assert(give_number(&x, 1, 0, 1, &rule));
    /* Another product: ids mean something else. */
    x.r.touched_count = 0;
    ck_assert(!give_number(&x, 1, 0, 1, &rule));
    (void) tpi_reports_device(&x.r, 1, 8, x.now);
    tpi_reports_forget(&x.r, 0); /* what it points to is gone */
    (void) tpi_reports_device(&x.r, 1, 7, x.now);
    ck_assert(give_number(&x, 1, 0, 1, &rule));
    rig_fini(&x);
}
END_TEST

START_TEST(beyond_the_limits_everything_passes)
{
    const struct tpi_report rule = { .mode = TPI_REPORT_CHANGE };
    static char text[TPI_REPORT_VALUE_BYTES + 1];
    struct rig x;
    rig_init(&x, NULL);
    make_rules(&x);
    memset(text, 'x', sizeof(text));
    struct tpc_value v = { .type = TPC_TEXT, .len = sizeof(text), .as.text = text };
    for (int i = 0; i < 3; i++) {
        ck_assert(give(&x, 1, 0, &v, &rule, (int64_t) x.now));
    }
    ck_assert_uint_eq(x.r.untracked, 3);
    v.len--;
    ck_assert(give(&x, 1, 0, &v, &rule, (int64_t) x.now));
    ck_assert(!give(&x, 1, 0, &v, &rule, (int64_t) x.now));
    /* More properties than a device may have. */
    struct tpi_report_device *d = tpi_reports_device(&x.r, 2, 7, x.now);
    struct tpi_report_point p = { .rule = &rule, .now_ms = x.now };
    for (int round = 0; round < 2; round++) {
        uint32_t passed = 0;
        for (uint32_t i = 0; i < TPI_REPORT_DEVICE_VALUES + 10; i++) {
            struct tpc_point point = { .property = (uint16_t) (i + 1),
                                       .value = { .type = TPC_INT, .as.i = 1 } };
            p.point = &point;
            passed += tpi_report_goes(&x.r, d, &p);
        }
        ck_assert_uint_eq(passed, round == 0 ? TPI_REPORT_DEVICE_VALUES + 10 : 10);
    }
    tpi_reports_drop(&x.r, d);
    ck_assert_uint_eq(x.r.values, 1);
    rig_fini(&x);
}
END_TEST

/* Keys that a device says once and never again do not stay for ever. */
START_TEST(forgotten_keys_make_room)
{
    const struct tpi_report rule = { .mode = TPI_REPORT_CHANGE, .ttl_ms = 1000 };
    struct rig x;
    char key[32];
    rig_init(&x, NULL);
    struct tpi_report_device *d = tpi_reports_device(&x.r, 1, 7, x.now);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 300; i++) {
            snprintf(key, sizeof(key), "%u", i < 20 ? i : round * 1000 + i);
            struct tpc_point point = { .key = tpc_str_from(key),
                                       .value = { .type = TPC_TEXT, .len = 3, .as.text = "abc" } };
            struct tpi_report_point p = { .point = &point, .rule = &rule, .now_ms = x.now };
            ck_assert(tpi_report_goes(&x.r, d, &p) == (round == 0 || i >= 20));
        }
        x.now += 999;
        for (uint32_t i = 0; i < d->count; i++) {
            (void) tpi_report_is_due(&x.r, &d->entries[i], &rule, x.now);
        }
        tpi_reports_tidy(&x.r, d);
        ck_assert_uint_eq(d->count, 300);
        ck_assert_uint_eq(x.r.values, d->count);
    }
    rig_fini(&x);
}
END_TEST

static int without_memory(const struct tpc_allocator *a, void *user)
{
    struct rig x;
    struct tpc_value text = { .type = TPC_TEXT, .len = 3, .as.text = "abc" };
    struct tpc_value list = { .type = TPC_ARRAY, .len = 1, .as.items = &text };
    const struct tpi_report rule = { .mode = TPI_REPORT_PERIOD, .period_ms = 100 };
    uint32_t *held = user;
    rig_init(&x, a);
    make_rules(&x);
    *held = 0;
    for (int round = 0; round < 2; round++) {
        for (uint32_t k = 0; k < KEYS; k++) {
            *held += !give(&x, 1, k, k % 3 == 0 ? &list : &text, &rule, (int64_t) x.now);
        }
    }
    int rc = *held == KEYS ? 0 : TPC_ENOMEM;
    tpi_reports_fini(&x.r);
    return rc;
}

START_TEST(without_memory_values_pass)
{
    uint32_t held;
    ck_assert_uint_gt(tk_each_alloc_fails(without_memory, &held), 10);
}
END_TEST

Suite *report_suite(void)
{
    Suite *s = suite_create("report");
    TCase *t = tcase_create("report");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, states_do_what_a_plain_model_does, 0, 5);
    tcase_add_test(t, all_types_are_compared_exactly);
    tcase_add_test(t, late_values_pass_and_change_nothing);
    tcase_add_test(t, a_clock_that_is_set_back_makes_nothing_late);
    tcase_add_test(t, a_period_that_gets_shorter_counts_at_once);
    tcase_add_test(t, a_batch_that_fails_is_forgotten);
    tcase_add_test(t, beyond_the_limits_everything_passes);
    tcase_add_test(t, forgotten_keys_make_room);
    tcase_add_test(t, without_memory_values_pass);
    suite_add_tcase(s, t);
    return s;
}
