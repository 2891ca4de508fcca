/* A platform that does not run, opened by its configuration: log and stores, no adapters. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <time.h>

enum { STOP_MS = 30000 };

void tool_log_line(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    if (level <= TPC_LOG_WARN && strcmp(subject, "forward") != 0) { /* it opens no sinks */
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

/* The entities' store alone, to read: log and history belong to a platform that runs. */
static int open_store(struct config *c, struct tpc_core *core)
{
    const struct tpc_value *part = tpc_value_get(&c->root, TPC_STR("entity_store"));
    part = part != NULL ? part : tpc_value_get(&c->root, TPC_STR("store"));
    struct tpc_str module = tpc_value_text(tpc_value_get(part, TPC_STR("type")));
    struct tpc_value options;
    char type[64];
    if (part == NULL || module.len == 0) {
        fprintf(stderr, "tp-tool: %s has no store\n", c->file);
        return -1;
    }
    if (config_without(c, part, "type", &options) != 0) {
        fprintf(stderr, "tp-tool: %s\n", c->error);
        return -1;
    }
    snprintf(type, sizeof(type), "%.*s", (int) module.len, module.ptr);
    struct tpc_member *m = tpc_arena_take(c->arena, (options.len + 1) * sizeof(*m));
    if (m == NULL) {
        return -1;
    }
    memcpy(m, options.as.members, options.len * sizeof(*m));
    m[options.len++] =
        (struct tpc_member){ TPC_STR("read_only"), { .type = TPC_BOOL, .as.b = true } };
    options.as.members = m;
    return tpc_core_open_value(core, "entities", type, &options) == 0 ? 0 : tool_fail("store");
}

int tool_observe(const char *file, struct config *c, struct tpc_core **ret)
{
    int rc = config_read(c, file);
    rc = rc != 0 ? rc : assemble_core(c, TPC_CORE_OBSERVE, tool_log_line, NULL, ret);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c->error);
        return -1;
    }
    return open_store(c, *ret);
}

void tool_time(int64_t unix_ms, char ret[32])
{
    struct tm t;
    time_t s = (time_t) (unix_ms / 1000);
    snprintf(ret, 32, "?");
    if (gmtime_r(&s, &t) != NULL) {
        strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &t);
    }
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

int tool_write_json(const char *file, const struct tpc_value *v)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(v, TPC_JSON_PRETTY, &buf);
    buf.cap = buf.need;
    buf.ptr = malloc(buf.cap + 1);
    FILE *f = file != NULL ? fopen(file, "wb") : stdout;
    int rc = buf.ptr == NULL || f == NULL || tpc_json_write(v, TPC_JSON_PRETTY, &buf) != 0;
    rc = rc != 0 || fwrite(buf.ptr, 1, buf.need, f) != buf.need || fputc('\n', f) == EOF;
    if (f != NULL && f != stdout) {
        rc = fclose(f) != 0 || rc;
    }
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s: %s\n", file != NULL ? file : "stdout", strerror(errno));
    }
    free(buf.ptr);
    return rc;
}
