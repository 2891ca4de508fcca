/* tp-tool alerts: what is wrong, and what was; also while the platform runs. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tpcore/alert.h>

struct alerts {
    const char *config;
    struct tpc_alert_query query;
    uint32_t told;
};

static uint32_t severity_of(const char *name)
{
    for (uint32_t i = TPC_SEVERITY_INFO; i <= TPC_SEVERITY_CRITICAL; i++) {
        if (strcmp(name, tpc_severity_name(i)) == 0) {
            return i;
        }
    }
    return 0;
}

static int take_option(struct alerts *a, const char *name, const char *value)
{
    if (strcmp(name, "--tenant") == 0) {
        a->query.tenant = tpc_str_from(value);
    } else if (strcmp(name, "--key") == 0) {
        a->query.key = tpc_str_from(value);
    } else if (strcmp(name, "--severity") == 0) {
        a->query.severity = severity_of(value);
        return a->query.severity != 0 ? 0 : -1;
    } else if (strcmp(name, "--limit") == 0) {
        a->query.limit = (uint32_t) strtoul(value, NULL, 10);
        return a->query.limit > 0 && a->query.limit <= TPC_ALERT_LIST_MAX ? 0 : -1;
    } else if (strcmp(name, "--after") == 0) {
        return tpc_id_parse(tpc_str_from(value), &a->query.after);
    } else {
        return -1;
    }
    return 0;
}

static int parse(int argc, char **argv, struct alerts *a)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--open") == 0) {
            a->query.state = 1u << TPC_ALERT_RAISED | 1u << TPC_ALERT_ACKNOWLEDGED;
        } else if (argv[i][0] == '-') {
            if (i + 1 == argc || take_option(a, argv[i], argv[i + 1]) != 0) {
                return -1;
            }
            i++;
        } else if (a->config == NULL) {
            a->config = argv[i];
        } else if (a->query.device.len == 0) {
            a->query.device = tpc_str_from(argv[i]);
        } else {
            return -1;
        }
    }
    return a->config == NULL ? -1 : 0;
}

static void print_state(const struct tpc_alert *x)
{
    char when[32];
    if (x->state == TPC_ALERT_CLEARED) {
        tool_time(x->cleared_unix_ms, when);
        printf(", cleared %s", when);
    }
    if (x->acked_by.len > 0) {
        printf(", seen by %.*s", (int) x->acked_by.len, x->acked_by.ptr);
    }
    if (x->count > 1) {
        printf(", %" PRIu64 " times", x->count);
    }
    fputs((x->flags & TPC_ALERT_FLAPPING) != 0 ? ", flapping" : "", stdout);
    fputs((x->flags & TPC_ALERT_MUTED) != 0 ? ", muted" : "", stdout);
    fputs((x->flags & TPC_ALERT_ESCALATED) != 0 ? ", escalated" : "", stdout);
}

static int print(void *user, const struct tpc_alert *x)
{
    struct alerts *a = user;
    char when[32];
    char id[33];
    tool_time(x->raised_unix_ms, when);
    tpc_id_format(&x->id, id);
    printf("%s %s %.*s %.*s: %.*s, by %.*s", when, tpc_severity_name(x->severity),
           (int) x->device.len, x->device.ptr, (int) x->key.len, x->key.ptr, (int) x->text.len,
           x->text.ptr, (int) x->by.len, x->by.ptr);
    print_state(x);
    printf(" [%s]\n", id);
    for (uint32_t i = 0; i < x->note_count; i++) {
        const struct tpc_alert_note *n = &x->notes[i];
        tool_time(n->unix_ms, when);
        printf("  %s %.*s: %.*s\n", when, (int) n->by.len, n->by.ptr, (int) n->text.len,
               n->text.ptr);
    }
    a->told++;
    return 0;
}

int tool_alerts(int argc, char **argv)
{
    struct alerts a = { .query = TPC_ALERT_QUERY_INIT };
    struct config c;
    struct tpc_core *core = NULL;
    if (parse(argc, argv, &a) != 0) {
        return 2;
    }
    int rc = tool_observe(a.config, &c, &core);
    if (rc == 0 && tpc_alert_list(core, &a.query, print, &a) != 0) {
        rc = tool_fail("alerts");
    }
    if (rc == 0 && a.told == 0) {
        puts("no alert");
    }
    tool_close(&c, core);
    return rc != 0;
}
