/* tp-tool import: devices from a CSV file into the store of a platform that does not run. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/import.h>

struct importing {
    const char *config, *file;
    bool quiet;
    struct tpc_import_options options;
};

static int parse(int argc, char **argv, struct importing *g)
{
    static const struct tpc_import_options init = TPC_IMPORT_OPTIONS_INIT;
    g->options = init;
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--dry-run") == 0) {
            g->options.flags |= TPC_IMPORT_DRY_RUN;
        } else if (strcmp(argv[i], "--create") == 0) {
            g->options.policy = TPC_IMPORT_CREATE;
        } else if (strcmp(argv[i], "--update") == 0) {
            g->options.policy = TPC_IMPORT_UPDATE;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            g->quiet = true;
        } else if (strcmp(argv[i], "--tenant") == 0 && value != NULL) {
            g->options.tenant = tpc_str_from(argv[++i]);
        } else if (strcmp(argv[i], "--product") == 0 && value != NULL) {
            g->options.product = tpc_str_from(argv[++i]);
        } else if (argv[i][0] == '-') {
            return -1;
        } else if (g->file == NULL) {
            g->file = argv[i];
        } else if (g->config == NULL) {
            g->config = argv[i];
        } else {
            return -1;
        }
    }
    return g->config != NULL ? 0 : -1;
}

static int on_row(void *user, const struct tpc_import_row *row)
{
    const struct importing *g = user;
    if (row->code != 0) {
        fprintf(stderr, "%s:%" PRIu64 ": %.*s: %s%s%s (%s)\n", g->file, row->line,
                (int) row->key.len, row->key.len > 0 ? row->key.ptr : "", row->path,
                row->path[0] != 0 ? ": " : "", row->text, tpc_error_name(row->code));
    }
    return 0;
}

static int on_progress(void *user, uint64_t rows, uint64_t bytes, uint64_t total_bytes)
{
    (void) user;
    fprintf(stderr, "\r%" PRIu64 " rows, %" PRIu64 " %%", rows,
            total_bytes > 0 ? bytes * 100 / total_bytes : 100);
    return 0;
}

static int import(struct tpc_core *core, struct importing *g)
{
    struct tpc_import_result r = { 0 };
    g->options.on_row = on_row;
    g->options.on_progress = g->quiet ? NULL : on_progress;
    g->options.user = g;
    int rc = tpc_import_csv(core, NULL, g->file, &g->options, &r);
    if (!g->quiet && r.rows > 0) {
        fputc('\n', stderr);
    }
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s (%s)\n", tpc_error_last()->text, tpc_error_name(rc));
    }
    printf("%srows=%" PRIu64 " created=%" PRIu64 " updated=%" PRIu64 " failed=%" PRIu64 "\n",
           (g->options.flags & TPC_IMPORT_DRY_RUN) != 0 ? "dry run: " : "", r.rows, r.created,
           r.updated, r.failed);
    return rc != 0 || r.failed > 0;
}

int tool_import(int argc, char **argv)
{
    struct importing g = { 0 };
    struct config c;
    struct tpc_core *core;
    if (parse(argc, argv, &g) != 0) {
        return 2;
    }
    int rc = config_read(&c, g.config);
    if (rc == 0) {
        rc = assemble_core(&c, 0, tool_log_line, NULL, &core);
    }
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c.error);
        config_free(&c);
        return 1;
    }
    rc = assemble_parts(&c, core, ASSEMBLE_STORE);
    rc = rc != 0 ? rc : assemble_entities(&c, core);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c.error);
    }
    rc = rc != 0 ? 1 : import(core, &g);
    tpc_core_destroy(core);
    config_free(&c);
    return rc;
}
