/* tp-tool rule: scenes and schedules of a platform that does not run: listed, run, reset. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/rule.h>

struct rule {
    const char *what;
    const char *config;
    const char *key;
    const char *kind;
    const char *tenant;
    const char *device;
};

static int parse(int argc, char **argv, struct rule *r)
{
    const char **const places[] = { &r->what, &r->config, &r->key };
    int place = 0;
    for (int i = 0; i < argc; i++) {
        bool value = i + 1 < argc;
        if (strcmp(argv[i], "--kind") == 0 && value) {
            r->kind = argv[++i];
        } else if (strcmp(argv[i], "--tenant") == 0 && value) {
            r->tenant = argv[++i];
        } else if (strcmp(argv[i], "--device") == 0 && value) {
            r->device = argv[++i];
        } else if (argv[i][0] == '-' || place == 3) {
            return -1;
        } else {
            *places[place++] = argv[i];
        }
    }
    bool all = place == 2 && strcmp(r->what, "list") == 0 && r->device == NULL;
    bool one = place == 3 && (strcmp(r->what, "run") == 0 || strcmp(r->what, "reset") == 0);
    return all || one ? 0 : -1;
}

static int print(void *user, const struct tpc_rule_info *info)
{
    (void) user;
    bool broken = (info->flags & TPC_RULE_BROKEN) != 0;
    bool enabled = (info->flags & TPC_RULE_ENABLED) != 0;
    printf("%-10.*s %-9.*s %-24.*s %s%s%.*s\n", (int) info->tenant.len, info->tenant.ptr,
           (int) info->kind.len, info->kind.ptr, (int) info->key.len, info->key.ptr,
           !enabled ? "disabled"
           : broken ? "broken"
                    : "enabled",
           broken ? ": " : "", broken ? (int) info->broken.len : 0, info->broken.ptr);
    return 0;
}

static int act(struct tpc_core *core, const struct rule *r)
{
    const struct tpc_actor actor = { .size = sizeof(actor), .name = TPC_STR("tp-tool") };
    struct tpc_str tenant = tpc_str_from(r->tenant != NULL ? r->tenant : "main");
    struct tpc_str kind = tpc_str_from(r->kind != NULL ? r->kind : "scene");
    struct tpc_str key = tpc_str_from(r->key);
    struct tpc_device *device = NULL;
    if (r->device != NULL &&
        tpc_device_open_in(core, tenant, tpc_str_from(r->device), &device) != 0) {
        return tool_fail("device");
    }
    int rc = strcmp(r->what, "run") == 0 ? tpc_rule_run(core, &actor, tenant, kind, key, device)
                                         : tpc_rule_reset(core, &actor, tenant, kind, key, device);
    rc = rc != 0 ? tool_fail(r->what) : 0;
    tpc_device_unref(device);
    /* what it asked of others is done before this ends, its messages stored */
    return rc != 0 ? rc : tool_restart(core);
}

static int list(struct tpc_core *core, const struct rule *r)
{
    struct tpc_str tenant = tpc_str_from(r->tenant != NULL ? r->tenant : "");
    struct tpc_str kind = tpc_str_from(r->kind != NULL ? r->kind : "");
    return tpc_rule_list(core, tenant, kind, print, NULL) != 0 ? tool_fail("list") : 0;
}

int tool_rule(int argc, char **argv)
{
    struct rule r = { .kind = NULL };
    struct config c;
    struct tpc_core *core = NULL;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    if (tool_open(r.config, true, &c, &core) != 0) {
        return 1;
    }
    int rc = strcmp(r.what, "list") != 0 ? act(core, &r) : list(core, &r);
    tool_close(&c, core);
    return rc != 0;
}
