/*
 * tp-platform: a whole platform from a configuration file. SIGTERM or SIGINT stops it cleanly: what
 * was acknowledged is stored.
 */
#include "../common/assemble.h"
#include "table.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { DRAIN_MS = 10000, PAINT_MS = 1000, PRINT_MS = 5000 }; /* on a terminal, elsewhere */

struct settings {
    const char *config;
    const char *metrics; /* file that gets the metrics at the end */
    bool check, table, quiet;
};

static void on_log(void *user, int level, const char *subject, const char *text)
{
    static const char *const names[] = { "", "error", "warning", "info", "debug" };
    const struct settings *s = user;
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    if (s->quiet && level > TPC_LOG_WARN) {
        return;
    }
    localtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
    fprintf(stderr, "%s %s %s: %s\n", stamp, level >= 1 && level <= 4 ? names[level] : "?", subject,
            text);
}

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
            s->quiet = true;
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

static void write_metrics(struct tpc_core *core, const char *file)
{
    static uint8_t space[256 * 1024];
    struct tpc_buf buf = { space, sizeof(space), 0 };
    FILE *f = fopen(file, "w");
    if (f == NULL || tpc_core_prometheus(core, &buf) != 0) {
        fprintf(stderr, "tp-platform: metrics: %s\n", f == NULL ? strerror(errno) : "over 256 KiB");
    } else {
        fwrite(space, 1, buf.need, f);
    }
    if (f != NULL) {
        fclose(f);
    }
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

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%ld %ld", &pages, &resident) != 2) {
            resident = 0;
        }
        fclose(f);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

static int run(struct config *c, struct settings *s);

/* Everything but the start, with log and stores in a folder that goes again: those of the
 * configuration may be in use. */
static int check(struct config *c, struct settings *s)
{
    char dir[512];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/tp-check-XXXXXX", tmp != NULL ? tmp : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        fprintf(stderr, "tp-platform: %s: %s\n", dir, strerror(errno));
        return 1;
    }
    c->dry = dir;
    int rc = run(c, s);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

static int run(struct config *c, struct settings *s)
{
    struct tpc_core *core;
    sigset_t set;
    /* Before the first thread, so that all inherit it and the signals come to the descriptor. */
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);

    if (assemble_core(c, 0, on_log, s, &core) != 0) {
        fprintf(stderr, "tp-platform: %s\n", c->error);
        return 1;
    }
    int rc = assemble_parts(c, core, ASSEMBLE_ALL);
    if (rc == 0) {
        rc = assemble_entities(c, core);
    }
    if (rc != 0) {
        fprintf(stderr, "tp-platform: %s\n", c->error);
        tpc_core_destroy(core);
        return 1;
    }
    if (s->check) {
        puts("configuration: ok");
        return tpc_core_destroy(core) != 0;
    }
    rc = tpc_core_start(core);
    if (rc != 0) {
        const struct tpc_error *e = tpc_error_last();
        fprintf(stderr, "tp-platform: start: %s%s%s (%s)\n", e->path,
                e->path[0] != '\0' ? ": " : "", e->text, tpc_error_name(rc));
        tpc_core_destroy(core);
        return 1;
    }
    fprintf(stderr, "tp-platform: running\n");
    serve(core, s, signals);
    rc = tpc_core_stop(core, DRAIN_MS);
    if (rc != 0) {
        fprintf(stderr, "tp-platform: stop: %s\n", tpc_error_last()->text);
    }
    if (s->metrics != NULL) {
        write_metrics(core, s->metrics);
    }
    fprintf(stderr, "tp-platform: stopped, %ld KiB resident\n", resident_kib());
    close(signals);
    return tpc_core_destroy(core) != 0 || rc != 0;
}

int main(int argc, char **argv)
{
    struct settings s = { 0 };
    struct config c;
    if (parse(argc, argv, &s) != 0) {
        return usage();
    }
    if (config_read(&c, s.config) != 0) {
        fprintf(stderr, "tp-platform: %s\n", c.error);
        config_free(&c);
        return 1;
    }
    int rc = s.check ? check(&c, &s) : run(&c, &s);
    config_free(&c);
    return rc;
}
