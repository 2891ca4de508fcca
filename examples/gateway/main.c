/*
 * tp-gateway: reads field devices and delivers to a platform, from a configuration file of ours or
 * a folder of the ThingsBoard gateway. SIGHUP reads it again, SIGTERM stops cleanly.
 */
#include "gateway.h"

#include "../common/table.h"

#ifdef SMALL_PAHO
#include <MQTTAsync.h>
#endif

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_MS = 10000, STATUS_TERMINAL_MS = 1000, PROMETHEUS_MS = 10000, DRAIN_MS = 5000 };

struct run {
    struct program program;
    struct config config; /* until it runs */
    struct snapshot *snapshot;
    struct tb tb;
    const char *file;        /* a configuration of ours .. */
    const char *thingsboard; /* .. or their folder */
    const char *metrics;     /* file that gets the metrics at the end */
    bool check, convert, table;
    bool reload_failed;
    struct gateway_settings settings;
    struct tpc_core *core;
    struct status status;
};

static int usage(void)
{
    fputs("usage: tp-gateway [OPTIONS] CONFIG.yaml\n"
          "       tp-gateway [OPTIONS] --thingsboard DIR\n"
          "  --thingsboard DIR  the folder with tb_gateway.json and its connectors' files\n"
          "  --check            check it all, with a verdict for each connector; start nothing.\n"
          "                     Ends with 0, or 1 if something cannot be used\n"
          "  --convert          write our configuration for the folder to stdout\n"
          "  --table            show the devices with their values instead of the status line\n"
          "  --quiet            log warnings and errors only, no status line\n"
          "  --metrics FILE     write all metrics (Prometheus text) to FILE at the end\n"
          "SIGHUP reads the configuration again: only parts whose options changed restart.\n",
          stderr);
    return 2;
}

static int parse(int argc, char **argv, struct run *r)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--check") == 0) {
            r->check = true;
        } else if (strcmp(argv[i], "--convert") == 0) {
            r->convert = true;
        } else if (strcmp(argv[i], "--thingsboard") == 0 && i + 1 < argc) {
            r->thingsboard = argv[++i];
        } else if (strcmp(argv[i], "--table") == 0) {
            r->table = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            r->program.quiet = true;
        } else if (strcmp(argv[i], "--metrics") == 0 && i + 1 < argc) {
            r->metrics = argv[++i];
        } else if (argv[i][0] == '-' || r->file != NULL) {
            return -1;
        } else {
            r->file = argv[i];
        }
    }
    if (r->convert && r->thingsboard == NULL) {
        return -1;
    }
    return (r->file != NULL) != (r->thingsboard != NULL) ? 0 : -1;
}

/* ---- section `gateway` ---- */

static int bad_setting(struct config *c, const char *key, const char *text)
{
    char path[100];
    snprintf(path, sizeof(path), "gateway.%s", key);
    unsigned int line = config_line(c, path);
    snprintf(c->error, sizeof(c->error), "%s:%u: %s: %s", c->file, line, path, text);
    return -1;
}

/* "10s", "500ms", "5m" or a number of ms. */
static int read_ms(const struct tpc_value *v, uint32_t *ret)
{
    static const struct {
        const char *unit;
        uint32_t factor;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
    char text[32];
    char *end;
    int64_t n;
    if (v->type == TPC_INT && tpc_value_int(v, &n) == 0 && n >= 0 && n <= 86400000) {
        *ret = (uint32_t) n;
        return 0;
    }
    struct tpc_str s = tpc_value_text(v);
    if (s.len == 0 || s.len >= sizeof(text)) {
        return -1;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    unsigned long number = strtoul(text, &end, 10);
    for (size_t i = 0; end != text && text[0] != '-' && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0 && number <= 86400000 / units[i].factor) {
            *ret = (uint32_t) number * units[i].factor;
            return 0;
        }
    }
    return -1;
}

static uint32_t *setting(struct gateway_settings *s, const char *key)
{
    return strcmp(key, "status") == 0              ? &s->status_ms
           : strcmp(key, "prometheus_period") == 0 ? &s->prometheus_ms
           : strcmp(key, "drain") == 0             ? &s->drain_ms
                                                   : NULL;
}

int gateway_settings(struct config *c, bool terminal, struct gateway_settings *ret)
{
    struct gateway_settings s = { .status_ms = terminal ? STATUS_TERMINAL_MS : STATUS_MS,
                                  .prometheus_ms = PROMETHEUS_MS,
                                  .drain_ms = DRAIN_MS };
    const struct tpc_value *map = tpc_value_get(&c->root, TPC_STR("gateway"));
    for (size_t i = 0; map != NULL && map->type == TPC_MAP && i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int) m->key.len, m->key.ptr);
        uint32_t *ms = setting(&s, key);
        if (ms != NULL && read_ms(&m->value, ms) != 0) {
            return bad_setting(c, key, "a duration such as 10s is expected");
        }
        if (ms == NULL && strcmp(key, "prometheus") != 0) {
            return bad_setting(c, key, "unknown key");
        }
        if (ms == NULL) {
            struct tpc_str file = tpc_value_text(&m->value);
            if (file.len == 0 || file.len >= sizeof(s.prometheus)) {
                return bad_setting(c, key, "the name of a file is expected");
            }
            memcpy(s.prometheus, file.ptr, file.len);
        }
    }
    if (s.prometheus_ms < 100) {
        s.prometheus_ms = 100;
    }
    *ret = s;
    return 0;
}

/* ---- reading ---- */

/* Reads the configuration. 0, or -1 with c->error. End it with config_free() in both cases. */
static int load(struct run *r, struct config *c)
{
    struct gateway_settings ignored;
    int rc = r->thingsboard != NULL
                 ? tb_read(c, r->thingsboard, &r->tb, r->convert ? NULL : &r->program)
                 : config_read(c, r->file);
    return rc != 0 ? rc : gateway_settings(c, false, &ignored);
}

/* A connector whose file is wrong is left out at a start; while it runs it goes on as it is. */
static bool is_wrong(const struct run *r, struct config *c)
{
    const struct tb_note *n = r->thingsboard != NULL ? r->tb.notes : NULL;
    while (n != NULL && !n->error) {
        n = n->next;
    }
    if (n != NULL) {
        tb_note_text(n, c->error, sizeof(c->error));
    }
    return n != NULL;
}

static void reload(struct run *r)
{
    struct config next;
    struct snapshot *snapshot = NULL;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    program_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long) t.tv_sec * 1000000 + t.tv_nsec / 1000);
    if (load(r, &next) != 0 || is_wrong(r, &next) || program_check(&r->program, &next) != 0 ||
        (snapshot = snapshot_take(&next)) == NULL) {
        program_say(&r->program, "reload: nothing changes: %s", next.error);
    } else {
        r->reload_failed = reload_apply(&r->program, r->core, r->snapshot, snapshot, &next,
                                        r->settings.drain_ms, r->reload_failed) != 0;
        (void) gateway_settings(&next, r->status.terminal, &r->settings);
        snapshot_forget_texts(snapshot);
        snapshot_free(r->snapshot);
        r->snapshot = snapshot;
    }
    config_free(&next);
    (void) malloc_trim(0); /* a configuration of many tags is large */
    program_notify("READY=1");
}

/* ---- running ---- */

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

/* Something that is due every period_ms; 0 = never. */
struct beat {
    uint32_t period_ms;
    uint64_t next;
};

static bool is_due(struct beat *b, uint64_t now)
{
    if (b->period_ms == 0 || (b->next != 0 && now < b->next)) {
        return false;
    }
    bool first = b->next == 0;
    b->next = now + b->period_ms;
    return !first;
}

static int until(const struct beat *beats, size_t n, uint64_t now)
{
    int wait = -1;
    for (size_t i = 0; i < n; i++) {
        uint64_t left = beats[i].next > now ? beats[i].next - now : 0;
        if (beats[i].period_ms != 0 && (wait < 0 || left < (uint64_t) wait)) {
            wait = (int) left;
        }
    }
    return wait;
}

enum { BEAT_LINE, BEAT_FILE, BEAT_DOG, BEATS };

static void work(struct run *r, struct beat *beats, struct table *table)
{
    uint64_t now = now_ms();
    bool line = !r->program.quiet || table != NULL || getenv("NOTIFY_SOCKET") != NULL;
    beats[BEAT_LINE].period_ms = line ? r->settings.status_ms : 0;
    beats[BEAT_FILE].period_ms = r->settings.prometheus[0] != '\0' ? r->settings.prometheus_ms : 0;
    beats[BEAT_DOG].period_ms = program_watchdog_ms();
    if (is_due(&beats[BEAT_LINE], now)) {
        if (table != NULL) {
            table_paint(table);
        } else {
            status_print(&r->status);
        }
    }
    if (is_due(&beats[BEAT_FILE], now)) {
        (void) program_metrics(&r->program, r->core, r->settings.prometheus);
    }
    if (is_due(&beats[BEAT_DOG], now)) {
        program_notify("WATCHDOG=1");
    }
}

/* Until SIGTERM or SIGINT. */
static void serve(struct run *r, int signals)
{
    struct pollfd fd = { .fd = signals, .events = POLLIN };
    struct beat beats[BEATS] = { { 0, 0 } };
    struct table table;
    bool show = r->table && table_open(&table, r->core, r->status.terminal) == 0;
    for (;;) {
        struct signalfd_siginfo info;
        work(r, beats, show ? &table : NULL);
        if (poll(&fd, 1, until(beats, BEATS, now_ms())) <= 0 ||
            read(signals, &info, sizeof(info)) != sizeof(info)) {
            continue;
        }
        if (info.ssi_signo != SIGHUP) {
            break;
        }
        if (show) {
            table_close(&table);
        }
        reload(r);
        show = r->table && table_open(&table, r->core, r->status.terminal) == 0;
    }
    if (show) {
        table_paint(&table);
        table_close(&table);
    }
    status_end(&r->status);
}

static int stop(struct run *r)
{
    program_notify("STOPPING=1");
    int rc = tpc_core_stop(r->core, r->settings.drain_ms);
    if (rc != 0) {
        program_say(&r->program, "stop: %s", tpc_error_last()->text);
    }
    if (r->settings.prometheus[0] != '\0') {
        (void) program_metrics(&r->program, r->core, r->settings.prometheus);
    }
    if (r->metrics != NULL) {
        (void) program_metrics(&r->program, r->core, r->metrics);
    }
    program_say(&r->program, "stopped, %ld KiB resident", program_resident_kib());
    return rc;
}

/* Before the first thread. */
static void spare_memory(void)
{
    (void) mallopt(M_ARENA_MAX, 1); /* threads that wait mostly: 0.6 MB less, at no cost */
    /* Large blocks go back for good: else the first one that is freed moves all that follow into the
     * heap, which keeps 2 MB of holes. */
    (void) mallopt(M_MMAP_THRESHOLD, 128 << 10);
    (void) mallopt(M_TRIM_THRESHOLD, 128 << 10);
#ifdef SMALL_PAHO
    /* OpenSSL from 1.1 on sets itself up with the first TLS connection: 1.6 MB less without one. */
    MQTTAsync_init_options options = MQTTAsync_init_options_initializer;
    MQTTAsync_global_init(&options);
#endif
}

static int run(struct run *r)
{
    uint64_t begun = now_ms();
    bool terminal = isatty(STDOUT_FILENO) != 0;
    spare_memory();
    /* Before the first thread, so that all inherit it and the signals come to the descriptor. */
    int signals = program_signals((const int[]){ SIGINT, SIGTERM, SIGHUP, 0 });
    if (signals < 0 || gateway_settings(&r->config, terminal, &r->settings) != 0 ||
        program_assemble(&r->program, &r->config, &r->core) != 0) {
        program_say(&r->program, "%s", signals < 0 ? strerror(errno) : r->config.error);
        return 1;
    }
    r->snapshot = snapshot_take(&r->config);
    int rc = r->snapshot != NULL ? tpc_core_start(r->core) : TPC_ENOMEM;
    if (rc != 0) {
        program_say_error(&r->program, "start", rc);
        tpc_core_destroy(r->core);
        return 1;
    }
    snapshot_forget_texts(r->snapshot);
    config_free(&r->config);
    (void) malloc_trim(0);
    program_say(&r->program, "running, started in %llu ms",
                (unsigned long long) (now_ms() - begun));
    program_notify("READY=1");
    status_init(&r->status, &r->program, r->core, terminal);
    serve(r, signals);
    rc = stop(r);
    close(signals);
    return tpc_core_destroy(r->core) != 0 || rc != 0;
}

static int check(struct run *r)
{
    int rc = program_check(&r->program, &r->config);
    if (rc != 0) {
        program_say(&r->program, "%s", r->config.error);
    }
    int left_out = r->thingsboard != NULL ? tb_verdict(&r->tb, stdout) : 0;
    printf("configuration: %s\n", rc != 0        ? "cannot be used"
                                  : left_out > 0 ? "ok, but for what is left out"
                                                 : "ok");
    return rc != 0 || left_out > 0;
}

int main(int argc, char **argv)
{
    struct run r;
    memset(&r, 0, sizeof(r));
    program_init(&r.program, "tp-gateway");
    if (parse(argc, argv, &r) != 0) {
        program_fini(&r.program);
        return usage();
    }
    int rc = load(&r, &r.config);
    if (rc != 0) {
        program_say(&r.program, "%s", r.config.error);
    } else {
        rc = r.convert ? tb_write(&r.tb, &r.config.root, stdout) : r.check ? check(&r) : run(&r);
    }
    config_free(&r.config);
    snapshot_free(r.snapshot);
    program_fini(&r.program);
    return rc != 0;
}
