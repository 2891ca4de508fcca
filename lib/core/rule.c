/* Rules as they run, for the program. */
#include <tpcore/rule.h>

#include "core/core.h"

static bool is_kind(struct tpc_str kind)
{
    return tpc_str_equal(kind, TPC_STR("scene")) || tpc_str_equal(kind, TPC_STR("rule")) ||
           tpc_str_equal(kind, TPC_STR("schedule"));
}

static int tell(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                struct tpc_str key, tpc_rule_fn *fn, void *user)
{
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    return rc != 0 ? tpi_fail_end(rc) : tpi_rules_info(core->rules, tenant, kind, key, fn, user);
}

int tpc_rule_info(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                  struct tpc_str key, tpc_rule_fn *fn, void *user)
{
    if (core == NULL || fn == NULL || key.len == 0 || !is_kind(kind)) {
        return tpi_fail(TPC_EINVAL, "rules",
                        "it needs a core, a kind (scene, rule, schedule), a key and a function");
    }
    int rc = tell(core, tenant.len > 0 ? tenant : TPC_STR("main"), kind, key, fn, user);
    return rc == TPC_ENOENT ? tpi_fail(rc, "rules", "no %.*s '%.*s'", (int) kind.len, kind.ptr,
                                       (int) key.len, key.ptr)
                            : rc;
}

int tpc_rule_list(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                  tpc_rule_fn *fn, void *user)
{
    if (core == NULL || fn == NULL || (kind.len > 0 && !is_kind(kind))) {
        return tpi_fail(TPC_EINVAL, "rules",
                        "it needs a core and a function, and a kind is scene, rule or schedule");
    }
    return tell(core, tenant, kind, TPC_STR(""), fn, user);
}
