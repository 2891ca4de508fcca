/* A platform that does not run, opened by its configuration: log and stores, no adapters. */
#include "tool.h"

#include <stdio.h>

enum { STOP_MS = 30000 };

void tool_log_line(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    if (level <= TPC_LOG_WARN) {
        fprintf(stderr, "tp-tool: %s: %s\n", subject, text);
    }
}

int tool_fail(const char *what)
{
    const struct tpc_error *e = tpc_error_last();
    fprintf(stderr, "tp-tool: %s: %s (%s)\n", what, e->text, tpc_error_name(e->code));
    return -1;
}

int tool_open(const char *file, bool entities, struct config *c, struct tpc_core **ret)
{
    struct tpc_core *core = NULL;
    int rc = config_read(c, file);
    rc = rc != 0 ? rc : assemble_core(c, 0, tool_log_line, NULL, &core);
    rc = rc != 0 ? rc : assemble_parts(c, core, ASSEMBLE_LOG | ASSEMBLE_STORE);
    rc = rc != 0 || !entities ? rc : assemble_entities(c, core);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c->error);
    } else if (tpc_core_start(core) != 0) {
        rc = tool_fail("start");
    }
    if (rc != 0) {
        tool_close(c, core);
        return -1;
    }
    *ret = core;
    return 0;
}

int tool_restart(struct tpc_core *core)
{
    return tpc_core_stop(core, STOP_MS) != 0 || tpc_core_start(core) != 0
               ? tool_fail("stop and start")
               : 0;
}

void tool_close(struct config *c, struct tpc_core *core)
{
    tpc_core_destroy(core);
    config_free(c);
}
