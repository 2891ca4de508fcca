/* What a kill leaves of presence, failures and the audit trail. */
#include <stdio.h>
#include <string.h>

#include "suites.h"

struct told {
    uint32_t count;
    uint64_t last;
    uint32_t times;
    char reason[200];
};

static int on_why(void *user, const struct tpc_why *w)
{
    struct told *t = user;
    t->count++;
    t->times = w->times;
    snprintf(t->reason, sizeof(t->reason), "%s: %.*s", tpc_why_stage_name(w->stage),
             (int) w->reason.len, w->reason.ptr);
    return 0;
}

static int on_entry(void *user, const struct tpc_audit_entry *a)
{
    struct told *t = user;
    if (t->last != 0 && a->sequence != t->last - 1) {
        return TPC_EGAP;
    }
    t->last = a->sequence;
    t->count++;
    return 0;
}

static struct told failures(struct fx *f, const char *key)
{
    struct told t;
    memset(&t, 0, sizeof(t));
    int rc = tpc_why(f->core, TPC_STR(""), tpc_str_from(key), on_why, &t);
    ck_assert_msg(rc == 0 || rc == TPC_ENOENT, "%s", tpc_error_last()->text);
    return t;
}

static struct told entries(struct fx *f)
{
    struct told t;
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    memset(&t, 0, sizeof(t));
    q.limit = 10000;
    fx_ok(tpc_audit(f->core, &q, on_entry, &t), "audit");
    return t;
}

static uint32_t online(struct fx *f, const char *key)
{
    struct tpc_device_info i;
    fx_ok(tpc_device_info(fx_device(f, key), &i), key);
    return i.online;
}

static void leave_a_trail(void *user)
{
    struct fx *f = user;
    fx_run(f);
    fx_put(f, "product",
           "{\"key\":\"beat\",\"presence\":{\"mode\":\"heartbeat\",\"timeout\":\"60s\"},"
           "\"model\":{\"properties\":[{\"id\":\"seq\",\"type\":\"int\"}]}}");
    fx_put(f, "device", "{\"key\":\"h1\",\"product\":\"beat\"}");
    fx_ok(fx_feed(f, "h1", "{\"seq\":1}"), "feed");
    fx_ok(fx_feed(f, "t1", "{\"seq\":"), "feed");
    fx_settle(f);
    tk_clock_advance(&f->e.clock, 11000);
    fx_ok(fx_feed(f, "t1", "{\"seq\":"), "feed");
    fx_settle(f);
    tk_ok(fx_step(f));
    ck_assert_uint_eq(online(f, "h1"), 1);
}

START_TEST(a_kill_leaves_presence_failures_and_the_trail)
{
    struct fx f;
    if (!fx_has_sqlite()) {
        tk_skip("the trail after a kill", "the module sqlite is not built");
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(leave_a_trail, &f), 0);
    fx_open(&f);
    struct told t = failures(&f, "t1"); /* the store is read: nothing is started */
    ck_assert_uint_eq(t.count, 1);
    ck_assert_ptr_eq(strstr(t.reason, "decode: "), t.reason);
    fx_start(&f);
    tk_ok(fx_step(&f));
    t = failures(&f, "t1");
    ck_assert_uint_eq(t.count, 1);
    ck_assert_uint_eq(t.times, 2);
    ck_assert_uint_eq(failures(&f, "t2").count, 0);
    t = entries(&f);
    ck_assert_uint_ge(t.count, 7);
    ck_assert_uint_eq(t.last, 1);
    uint32_t before = t.count;
    fx_put(&f, "device", "{\"key\":\"h2\",\"product\":\"beat\"}");
    t = entries(&f);
    ck_assert_uint_eq(t.count, before + 1);
    ck_assert_uint_eq(online(&f, "h1"), 1);
    tk_clock_advance(&f.e.clock, 50000);
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(online(&f, "h1"), 1); /* the whole time anew */
    tk_clock_advance(&f.e.clock, 12000);
    tk_ok(fx_step(&f));
    ck_assert_uint_eq(online(&f, "h1"), 0);
    fx_fini(&f);
}
END_TEST

Suite *trail_suite(void)
{
    Suite *s = suite_create("trail");
    TCase *t = tcase_create("trail");
    tcase_add_test(t, a_kill_leaves_presence_failures_and_the_trail);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return s;
}
