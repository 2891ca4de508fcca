/*
 * A gateway between slaves and platform while either fails, and while it is killed itself. The
 * slaves number what they answer; the platform's stand-in must see each number, in order, and a
 * number twice only where an acknowledgement did not come through (QoS 1).
 */
#include "gateway_suites.h"
#include "rig.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <tk.h>

enum { SETTLE_MS = 20000, BURST_MS = 3000 };

#define SINK ", retry_min: 100ms, retry_max: 500ms"
#define TARGET ", retry: {min: 50ms, max: 500ms}"

static const struct rig_setup usual = {
    .slaves = 5,
    .tags = 10,
    .gap = 1,
    .poll_ms = 100,
    .model = true,
    .bus_more = "timeout: 300ms\n    degraded_after: 1\n    retry_max: 500ms",
    .sink_more = SINK,
    .target_more = TARGET
};

/* The issue's own times instead of compressed ones. */
static bool full(void)
{
    const char *text = getenv("TK_FULL");
    return text != NULL && text[0] != '\0';
}

static void begin(struct rig *r, const struct rig_setup *setup)
{
    rig_init(r, setup);
    rig_start(r);
    bool came = tb_stub_wait_samples(r->stub, 3 * setup->slaves, 10000);
    if (!came) {
        rig_show_log(r);
    }
    ck_assert_msg(came, "nothing comes");
}

/* Ends the polling, waits for what is on its way and compares with what the slaves answered. gone:
 * answers that may have been lost before the gateway had them. */
static void end(struct rig *r, uint64_t gone, struct samples_total *ret)
{
    rig_slaves(r, "fault all silent", NULL, 0);
    rig_run(r, 50); /* what was answered before is on the gateway's side now */
    uint64_t read = rig_read(r);
    bool came = tb_stub_wait_samples(r->stub, read, gone > 0 ? BURST_MS : SETTLE_MS);
    tb_stub_total(r->stub, ret);
    int code = rig_stop(r);
    if ((!came && ret->distinct + gone < read) || ret->out_of_order > 0 || code != 0 ||
        ret->malformed > 0) {
        tb_stub_print(r->stub, stdout);
        rig_show_log(r);
    }
    ck_assert_msg(ret->distinct + gone >= read, "read %" PRIu64 ", delivered %" PRIu64, read,
                  ret->distinct);
    ck_assert_uint_le(ret->lost, gone);
    ck_assert_uint_eq(ret->out_of_order, 0);
    ck_assert_uint_eq(ret->malformed, 0);
    ck_assert_int_eq(code, 0);
    rig_fini(r);
}

START_TEST(a_platform_that_stalls_dies_and_comes_back_misses_nothing)
{
    struct rig r;
    struct samples_total t;
    struct rig_setup s = usual;
    s.poll_ms = full() ? 1000 : 100;
    begin(&r, &s);
    rig_run(&r, full() ? 15000 : 500);
    tb_stub_stall(r.stub, true);
    rig_run(&r, full() ? 25000 : 3000);
    tb_stub_away(r.stub, true);
    tb_stub_stall(r.stub, false);
    rig_run(&r, full() ? 1000 : 300);
    tb_stub_away(r.stub, false);
    rig_run(&r, full() ? 35000 : 1500);
    end(&r, 0, &t);
}
END_TEST

START_TEST(a_platform_that_resets_all_the_time_misses_nothing)
{
    struct rig r;
    struct samples_total t;
    begin(&r, &usual);
    tb_stub_drop_every(r.stub, 7);
    rig_run(&r, 2000);
    tb_stub_drop_every(r.stub, 0);
    for (int i = 0; i < (full() ? 60 : 3); i++) {
        rig_run(&r, 1000);
        tb_stub_drop(r.stub);
    }
    end(&r, 0, &t);
}
END_TEST

START_TEST(late_acknowledgements_double_nothing)
{
    struct rig r;
    struct samples_total t;
    struct tb_stub_counts c;
    begin(&r, &usual);
    tb_stub_puback_delay(r.stub, full() ? 5000 : 1500);
    rig_run(&r, full() ? 20000 : 3000);
    tb_stub_counts(r.stub, &c);
    tb_stub_puback_delay(r.stub, 0);
    ck_assert_uint_eq(c.connects, 1);
    end(&r, 0, &t);
    ck_assert_uint_eq(t.doubled, 0);
}
END_TEST

/* One sample of each of two devices is refused; only these are missing. */
static void refuse(bool only_v3)
{
    struct rig r;
    struct samples_total t, one;
    struct rig_setup s = usual;
    if (only_v3) { /* a closed line is found out by trying again and again */
        s.slaves = 1;
        s.sink_more = ", retry_min: 20ms, retry_max: 50ms";
        s.target_more = ", retry: {min: 20ms, max: 50ms}, batch: {count: 2}";
    }
    rig_init(&r, &s);
    tb_stub_only_v3(r.stub, only_v3);
    tb_stub_refuse(r.stub, "\"seq\":15,", 0x99, 0);
    rig_start(&r);
    uint64_t wanted = (uint64_t) (full() ? 60 : 30) * s.slaves;
    bool came = tb_stub_wait_samples(r.stub, wanted, only_v3 ? 120000 : 20000);
    rig_slaves(&r, "fault all silent", NULL, 0);
    rig_run(&r, 300);
    tb_stub_total(r.stub, &t);
    if (!came || t.lost != s.slaves) {
        tb_stub_print(r.stub, stdout);
        rig_show_log(&r);
    }
    ck_assert(came);
    ck_assert_uint_eq(t.lost, s.slaves);
    ck_assert_uint_eq(t.out_of_order, 0);
    for (uint32_t i = 1; i <= s.slaves; i++) {
        char name[32];
        snprintf(name, sizeof(name), "dev_%" PRIu32, i);
        ck_assert(tb_stub_device(r.stub, name, &one));
        ck_assert_uint_eq(one.lost, 1);
    }
    ck_assert_int_eq(rig_stop(&r), 0);
    rig_fini(&r);
}

START_TEST(one_refused_sample_is_all_that_does_not_arrive)
{
    refuse(false);
}
END_TEST

START_TEST(a_sample_refused_by_closing_the_line_is_all_that_does_not_arrive)
{
    refuse(true);
}
END_TEST

START_TEST(kills_of_the_gateway_lose_nothing_that_it_had)
{
    struct rig r;
    struct samples_total t;
    struct rig_setup s = usual;
    s.poll_ms = 40;
    s.log_more = ", cursor_interval: 20ms";
    begin(&r, &s);
    tb_stub_puback_delay(r.stub, 20); /* so that packs are on their way */
    int kills = 20;
    for (int i = 0; i < kills; i++) {
        uint64_t read = rig_read(&r);
        for (int turn = 0; turn < 100 && rig_read(&r) < read + 3 * s.slaves; turn++) {
            rig_run(&r, 20);
        }
        rig_run(&r, (uint32_t) (i * 7 % 40));
        rig_kill(&r);
        rig_start(&r);
    }
    tb_stub_puback_delay(r.stub, 0);
    rig_run(&r, 500);
    /* An answer that had not reached the log when the process died is gone with it. */
    end(&r, (uint64_t) kills * s.slaves, &t);
    printf("kills: delivered=%" PRIu64 " lost=%" PRIu64 " doubled=%" PRIu64 "\n", t.distinct,
           t.lost, t.doubled);
}
END_TEST

static void limit_files(const struct rig *r, uint64_t bytes)
{
    struct rlimit limit = { bytes, RLIM_INFINITY };
    ck_assert_int_eq(prlimit(r->gateway, RLIMIT_FSIZE, &limit, NULL), 0);
}

START_TEST(a_disk_that_is_full_for_a_while_loses_nothing)
{
    struct rig r;
    struct samples_total t;
    struct rig_setup s = usual;
    s.log_more = ", segment_size: 1MiB";
    s.file_max = RLIM_INFINITY; /* SIGXFSZ is ignored */
    begin(&r, &s);
    rig_run(&r, 500);
    limit_files(&r, 1024); /* every write fails from here on */
    rig_run(&r, 2500);
    uint64_t still = rig_read(&r);
    limit_files(&r, RLIM_INFINITY);
    rig_run(&r, 1500);
    ck_assert_uint_gt(rig_read(&r), still);
    end(&r, 0, &t);
}
END_TEST

START_TEST(slaves_that_fail_do_not_disturb_the_others)
{
    static const char *const faults[] = { "fault 1 silent",     "fault 1 garbage",
                                          "fault 1 unit",       "fault 1 transaction",
                                          "fault 1 half",       "fault 1 late 150",
                                          "fault 1 exception 4" };
    struct rig r;
    struct samples_total t, before, after;
    begin(&r, &usual);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        rig_slaves(&r, faults[i], NULL, 0);
        ck_assert(tb_stub_device(r.stub, "dev_3", &before));
        rig_run(&r, 1000);
        ck_assert(tb_stub_device(r.stub, "dev_3", &after));
        if (after.distinct < before.distinct + 3) {
            rig_show_log(&r);
        }
        ck_assert_msg(after.distinct >= before.distinct + 3, "%s: the others got %" PRIu64,
                      faults[i], after.distinct - before.distinct);
    }
    rig_slaves(&r, "fault 1 none", NULL, 0);
    ck_assert(tb_stub_device(r.stub, "dev_1", &before));
    rig_run(&r, 2500);
    ck_assert(tb_stub_device(r.stub, "dev_1", &after));
    ck_assert_uint_gt(after.distinct, before.distinct + 3);
    /* Half an answer ends the connection and takes what was on its way with it. */
    end(&r, 40, &t);
    ck_assert_uint_eq(t.doubled, 0);
}
END_TEST

START_TEST(a_line_that_is_cut_comes_back)
{
    struct rig r;
    struct samples_total t;
    begin(&r, &usual);
    for (int i = 0; i < 3; i++) {
        rig_run(&r, 400);
        rig_slaves(&r, "drop", NULL, 0);
    }
    rig_run(&r, 1500);
    end(&r, 3 * usual.slaves, &t);
}
END_TEST

/* A case each, so that TK_ONLY can name one. */
static void add(Suite *s, const char *name, const TTest *test)
{
    TCase *c = tcase_create(name);
    tcase_add_test(c, test);
    tcase_set_timeout(c, 300);
    suite_add_tcase(s, c);
}

Suite *gateway_platform_suite(void)
{
    Suite *s = suite_create("gateway_platform");
    add(s, "stall", a_platform_that_stalls_dies_and_comes_back_misses_nothing);
    add(s, "reset", a_platform_that_resets_all_the_time_misses_nothing);
    add(s, "late", late_acknowledgements_double_nothing);
    add(s, "refused", one_refused_sample_is_all_that_does_not_arrive);
    add(s, "closed", a_sample_refused_by_closing_the_line_is_all_that_does_not_arrive);
    return s;
}

Suite *gateway_itself_suite(void)
{
    Suite *s = suite_create("gateway_itself");
    add(s, "kills", kills_of_the_gateway_lose_nothing_that_it_had);
    add(s, "disk", a_disk_that_is_full_for_a_while_loses_nothing);
    return s;
}

Suite *gateway_field_suite(void)
{
    Suite *s = suite_create("gateway_field");
    add(s, "slaves", slaves_that_fail_do_not_disturb_the_others);
    add(s, "cut", a_line_that_is_cut_comes_back);
    return s;
}
