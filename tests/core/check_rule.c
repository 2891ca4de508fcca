/* Rules as programs see them, while workers run. */
#include <stdio.h>
#include <string.h>
#include <tpcore/rule.h>

#include "flow.h"

struct seen {
    unsigned count;
    uint64_t fired;
    char error[100];
};

static int see(void *user, const struct tpc_rule_info *info)
{
    struct seen *s = user;
    s->count++;
    s->fired = info->fired;
    snprintf(s->error, sizeof(s->error), "%.*s", (int) info->error.len, info->error.ptr);
    return 0;
}

static const char scene[] = TPC_JSON({
    "key": "s",
    "when": { "product": "thermo", "expr": "temperature > 30", "fire": "each" },
    "then": [ { "command": { "device": "nobody", "service": "set", "params": { "on": true } } } ] });

static bool has_fired(void *user)
{
    struct flow *f = user;
    struct seen s = { .count = 0 };
    tk_ok(tpc_rule_info(f->core, TPC_STR(""), TPC_STR("scene"), TPC_STR("s"), see, &s));
    return s.fired >= 3;
}

START_TEST(counts_are_read_while_the_core_runs)
{
    struct flow f;
    struct seen s = { .count = 0 };
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_devices(&f, 2);
    flow_probe_open(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(scene), TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    for (int i = 0; i < 3; i++) {
        tk_ok(flow_feed(d, "{\"temperature\":31}"));
    }
    ck_assert(flow_until(&f, has_fired, &f));
    tk_ok(tpc_rule_list(f.core, TPC_STR("main"), TPC_STR(""), see, &s));
    ck_assert_uint_eq(s.count, 1);
    ck_assert_uint_eq(s.fired, 3);
    ck_assert_str_eq(s.error, "'set' to 'nobody': no such device");
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(what_is_not_there_is_said)
{
    struct flow f;
    struct seen s = { .count = 0 };
    struct tpc_str none = TPC_STR("");
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(tpc_rule_list(f.core, none, none, see, &s)); /* of a core that is not started */
    ck_assert_uint_eq(s.count, 0);
    tk_fails(TPC_ENOENT, tpc_rule_info(f.core, none, TPC_STR("rule"), TPC_STR("x"), see, &s));
    tk_fails(TPC_EINVAL, tpc_rule_info(f.core, none, TPC_STR("rule"), none, see, &s));
    tk_fails(TPC_EINVAL, tpc_rule_info(f.core, none, none, TPC_STR("x"), see, &s));
    tk_fails(TPC_EINVAL, tpc_rule_list(f.core, none, TPC_STR("device"), see, &s));
    tk_fails(TPC_EINVAL, tpc_rule_list(NULL, none, none, see, &s));
    tk_fails(TPC_EINVAL, tpc_rule_list(f.core, none, none, NULL, &s));
    flow_fini(&f);
}
END_TEST

Suite *rule_flow_suite(void)
{
    Suite *s = suite_create("rule");
    TCase *t = tcase_create("rule");
    tcase_add_loop_test(t, counts_are_read_while_the_core_runs, 0, 3);
    tcase_add_test(t, what_is_not_there_is_said);
    suite_add_tcase(s, t);
    return s;
}
