/* tp-tool why: the last failures of a device, or of all; also while the platform runs. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <tpcore/why.h>

struct why {
    const char *config;
    const char *device; /* NULL = the last failure of each */
    const char *tenant;
    bool strangers;
    uint32_t told;
};

static int parse(int argc, char **argv, struct why *w)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--tenant") == 0 && i + 1 < argc) {
            w->tenant = argv[++i];
        } else if (strcmp(argv[i], "--strangers") == 0) {
            w->strangers = true;
        } else if (argv[i][0] == '-' || w->device != NULL) {
            return -1;
        } else if (w->config == NULL) {
            w->config = argv[i];
        } else {
            w->device = argv[i];
        }
    }
    return w->config == NULL || (w->strangers && w->device != NULL) ? -1 : 0;
}

static void print_payload(struct tpc_bytes p, uint64_t bytes)
{
    bool text = true;
    for (size_t i = 0; i < p.len; i++) {
        text = text && p.ptr[i] >= 0x20 && p.ptr[i] < 0x7f;
    }
    printf(", %" PRIu64 " bytes ", bytes);
    for (size_t i = 0; i < p.len; i++) {
        printf(text ? "%c" : "%02x", p.ptr[i]);
    }
    fputs(bytes > p.len ? ".." : "", stdout);
}

static int print(void *user, const struct tpc_why *y)
{
    struct why *w = user;
    char when[32];
    tool_time(y->unix_ms, when);
    printf("%s %.*s%s %s %s: %.*s", when, (int) y->device.len, y->device.ptr,
           y->known ? "" : " (unknown)", tpc_why_stage_name(y->stage), tpc_error_name(y->code),
           (int) y->reason.len, y->reason.ptr);
    if (y->times > 1) {
        printf(", %" PRIu32 " times", y->times);
    }
    if (y->origin.len > 0) {
        printf(", by %.*s", (int) y->origin.len, y->origin.ptr);
    }
    if (y->payload.len > 0) {
        print_payload(y->payload, y->payload_bytes);
    }
    putchar('\n');
    w->told++;
    return 0;
}

static int work(struct why *w, struct tpc_core *core)
{
    struct tpc_str tenant = { w->tenant, w->tenant != NULL ? strlen(w->tenant) : 0 };
    uint32_t all = w->strangers ? TPC_WHY_STRANGERS : TPC_WHY_DEVICES | TPC_WHY_STRANGERS;
    int rc = w->device != NULL ? tpc_why(core, tenant, tpc_str_from(w->device), print, w)
                               : tpc_why_list(core, all, print, w);
    if (rc != 0 && rc != TPC_ENOENT) {
        return tool_fail("why");
    }
    if (w->told == 0) {
        puts("no failure is known");
    }
    return 0;
}

int tool_why(int argc, char **argv)
{
    struct why w = { 0 };
    struct config c;
    struct tpc_core *core = NULL;
    if (parse(argc, argv, &w) != 0) {
        return 2;
    }
    int rc = tool_observe(w.config, &c, &core);
    rc = rc != 0 ? rc : work(&w, core);
    tool_close(&c, core);
    return rc != 0;
}
