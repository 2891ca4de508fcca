/*
 * tp-platform: a whole platform from a configuration file. SIGTERM or SIGINT stops it cleanly: what
 * was acknowledged is stored.
 */
#include "../common/program.h"
#include "../common/table.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DRAIN_MS = 10000, PAINT_MS = 1000, PRINT_MS = 5000 }; /* on a terminal, elsewhere */

struct settings {
    const char *config;
    const char *metrics; /* file that gets the metrics at the end */
    struct program program;
    bool check, table;
};

static int usage(void)
{
    fputs(
        "usage: tp-platform [--check] [--table] [--quiet] [--metrics FILE] CONFIG.yaml\n"
        "  --check    check the configuration with its parts and entities, start nothing; log and\n"
        "             stores are made in a temporary folder that goes again\n"
        "  --table    show the devices, once a second\n"
        "  --quiet    log warnings and errors only\n"
        "  --metrics  write all metrics (Prometheus text) to FILE at the end\n",
        stderr);
    return 2;
}

static int parse(int argc, char **argv, struct settings *s)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--check") == 0) {
            s->check = true;
        } else if (strcmp(argv[i], "--table") == 0) {
            s->table = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            s->program.quiet = true;
        } else if (strcmp(argv[i], "--metrics") == 0 && i + 1 < argc) {
            s->metrics = argv[++i];
        } else if (argv[i][0] == '-' || s->config != NULL) {
            return -1;
        } else {
            s->config = argv[i];
        }
    }
    return s->config != NULL ? 0 : -1;
}

/* Runs until a signal is readable. */
static void serve(struct tpc_core *core, const struct settings *s, int signals)
{
    struct table table;
    struct pollfd poll_signals = { .fd = signals, .events = POLLIN };
    bool show = s->table && table_open(&table, core, isatty(STDOUT_FILENO) != 0) == 0;
    int pause_ms = !show ? -1 : table.terminal ? PAINT_MS : PRINT_MS;
    while (poll(&poll_signals, 1, pause_ms) <= 0) {
        if (show) {
            table_paint(&table);
        }
    }
    if (show) {
        table_paint(&table);
        table_close(&table);
    }
}

static int run(struct config *c, struct settings *s)
{
    struct tpc_core *core;
    /* Before the first thread, so that all inherit it and the signals come to the descriptor. */
    int signals = program_signals((const int[]){ SIGINT, SIGTERM, 0 });
    if (program_assemble(&s->program, c, &core) != 0) {
        program_say(&s->program, "%s", c->error);
        return 1;
    }
    int rc = tpc_core_start(core);
    if (rc != 0) {
        program_say_error(&s->program, "start", rc);
        tpc_core_destroy(core);
        return 1;
    }
    program_say(&s->program, "running");
    program_notify("READY=1");
    serve(core, s, signals);
    program_notify("STOPPING=1");
    rc = tpc_core_stop(core, DRAIN_MS);
    if (rc != 0) {
        program_say(&s->program, "stop: %s", tpc_error_last()->text);
    }
    if (s->metrics != NULL) {
        (void) program_metrics(&s->program, core, s->metrics);
    }
    program_say(&s->program, "stopped, %ld KiB resident", program_resident_kib());
    close(signals);
    return tpc_core_destroy(core) != 0 || rc != 0;
}

/* Everything but the start. */
static int check(struct config *c, struct settings *s)
{
    if (program_check(&s->program, c) != 0) {
        program_say(&s->program, "%s", c->error);
        return 1;
    }
    puts("configuration: ok");
    return 0;
}

int main(int argc, char **argv)
{
    struct settings s = { 0 };
    struct config c;
    program_init(&s.program, "tp-platform");
    if (parse(argc, argv, &s) != 0) {
        return usage();
    }
    if (config_read(&c, s.config) != 0) {
        program_say(&s.program, "%s", c.error);
        config_free(&c);
        return 1;
    }
    int rc = s.check ? check(&c, &s) : run(&c, &s);
    config_free(&c);
    program_fini(&s.program);
    return rc;
}
