/* tp-tool audit: who changed what; also while the platform runs. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tpcore/audit.h>

struct audit {
    const char *config;
    struct tpc_audit_query query;
    bool json;
    uint32_t told;
};

static int parse(int argc, char **argv, struct audit *a)
{
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--json") == 0) {
            a->json = true;
        } else if (argv[i][0] != '-' && a->config == NULL) {
            a->config = argv[i];
        } else if (value == NULL) {
            return -1;
        } else if (strcmp(argv[i], "--kind") == 0) {
            a->query.kind = tpc_str_from(argv[++i]);
        } else if (strcmp(argv[i], "--key") == 0) {
            a->query.key = tpc_str_from(argv[++i]);
        } else if (strcmp(argv[i], "--actor") == 0) {
            a->query.actor = tpc_str_from(argv[++i]);
        } else if (strcmp(argv[i], "--tenant") == 0) {
            a->query.tenant = tpc_str_from(argv[++i]);
        } else if (strcmp(argv[i], "--limit") == 0) {
            a->query.limit = (uint32_t) strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--before") == 0) {
            a->query.before = strtoull(argv[++i], NULL, 10);
        } else {
            return -1;
        }
    }
    return a->config == NULL ? -1 : 0;
}

static int print(void *user, const struct tpc_audit_entry *e)
{
    struct audit *a = user;
    char when[32];
    a->told++;
    if (!a->json) {
        tool_time(e->unix_ms, when);
        printf("%" PRIu64 " %s %.*s%s%.*s %.*s %.*s %.*s ", e->sequence, when, (int) e->actor.len,
               e->actor.len > 0 ? e->actor.ptr : "", e->origin.len > 0 ? "@" : "",
               (int) e->origin.len, e->origin.len > 0 ? e->origin.ptr : "", (int) e->action.len,
               e->action.ptr, (int) e->kind.len, e->kind.ptr, (int) e->key.len,
               e->key.len > 0 ? e->key.ptr : "");
    }
    printf("%.*s\n", (int) e->json.len, e->json.ptr);
    return 0;
}

int tool_audit(int argc, char **argv)
{
    struct audit a = { .query = TPC_AUDIT_QUERY_INIT };
    struct config c;
    struct tpc_core *core = NULL;
    if (parse(argc, argv, &a) != 0) {
        return 2;
    }
    int rc = tool_observe(a.config, &c, &core);
    if (rc == 0 && tpc_audit(core, &a.query, print, &a) != 0) {
        rc = tool_fail("audit");
    } else if (rc == 0 && a.told == 0) {
        fputs("no entry\n", stderr);
    }
    tool_close(&c, core);
    return rc != 0;
}
