#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <tk.h>
#include <unistd.h>

enum { START_MS = 20000, STOP_MS = 20000, UNITS = 247, FIRST_TAG = 2 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(uint32_t ms)
{
    poll(NULL, 0, (int) ms);
}

static const char *or_none(const char *text)
{
    return text != NULL ? text : "";
}

/* ---- processes ---- */

/* in, out: ends for the child; -1 = /dev/null, and the file `log` beside. */
static pid_t spawn(const struct rig *r, char *const *argv, int in, int out, const char *log,
                   uint64_t file_max)
{
    char path[RIG_PATH_BYTES + 32];
    snprintf(path, sizeof(path), "%s/%s", r->dir, log);
    pid_t parent = getpid(), pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDWR);
    dup2(in >= 0 ? in : null, 0);
    dup2(out >= 0 ? out : file, 1);
    dup2(file, 2);
    if (file_max > 0) {
        struct rlimit limit = { file_max, file_max };
        setrlimit(RLIMIT_FSIZE, &limit);
        signal(SIGXFSZ, SIG_IGN); /* a write fails with EFBIG, as ENOSPC would */
    }
    execv(argv[0], argv);
    _exit(127);
}

static void read_line(int fd, char *ret, size_t size, uint32_t timeout_ms)
{
    size_t len = 0;
    int64_t end = now_ms() + timeout_ms;
    for (;;) {
        struct pollfd p = { fd, POLLIN, 0 };
        int64_t left = end - now_ms();
        ck_assert_msg(left > 0 && poll(&p, 1, (int) left) > 0, "the simulator says nothing");
        char c;
        ck_assert_msg(read(fd, &c, 1) == 1, "the simulator has ended");
        if (c == '\n') {
            break;
        }
        if (len + 1 < size) {
            ret[len++] = c;
        }
    }
    ret[len] = '\0';
}

/* argv[0] and the arguments behind it, NULL at the end of both. */
static void fill_argv(char **ret, size_t size, char *program, const char *const *arguments)
{
    size_t n = 0;
    ret[n++] = program;
    for (size_t i = 0; arguments[i] != NULL; i++) {
        ck_assert_uint_lt(n + 1, size);
        ret[n++] = (char *) (uintptr_t) arguments[i];
    }
    ret[n] = NULL;
}

static void start_slaves(struct rig *r)
{
    int to[2], from[2];
    char slaves[16], registers[16], line[256];
    snprintf(slaves, sizeof(slaves), "%" PRIu32, r->setup.slaves);
    snprintf(registers, sizeof(registers), "%" PRIu32,
             FIRST_TAG + 2 + r->setup.tags * (1 + r->setup.gap));
    const char *words[] = { "modbus", "--port",      "0",       "--slaves",
                            slaves,   "--registers", registers, r->setup.rtu ? "--rtutcp" : NULL,
                            NULL };
    char program[] = TP_SIM, *argv[10];
    fill_argv(argv, 10, program, words);
    ck_assert(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    r->sim = spawn(r, argv, to[0], from[1], "sim.log", 0);
    close(to[0]);
    close(from[1]);
    r->sim_in = to[1];
    r->sim_out = from[0];
    read_line(r->sim_out, line, sizeof(line), START_MS);
    ck_assert_msg(strncmp(line, "ready ", 6) == 0, "%s", line);
    for (char *at = line + 6; *at != '\0' && r->port_count < RIG_PORTS_MAX;) {
        r->ports[r->port_count++] = (uint16_t) strtoul(at, &at, 10);
    }
    ck_assert_uint_eq(r->port_count, (r->setup.slaves + UNITS - 1) / UNITS);
}

void rig_slaves(struct rig *r, const char *line, char *ret, size_t size)
{
    char answer[1024];
    ck_assert(dprintf(r->sim_in, "%s\n", line) > 0);
    read_line(r->sim_out, answer, sizeof(answer), 5000);
    if (ret == NULL) {
        ck_assert_msg(strcmp(answer, "ok") == 0, "%s: %s", line, answer);
    } else {
        snprintf(ret, size, "%s", answer);
    }
}

uint64_t rig_read(struct rig *r)
{
    char answer[1024];
    rig_slaves(r, "stats", answer, sizeof(answer));
    const char *at = strstr(answer, "\"samples\":");
    ck_assert_ptr_nonnull(at);
    return strtoull(at + strlen("\"samples\":"), NULL, 10);
}

/* ---- configuration ---- */

static uint32_t address_of(const struct rig *r, uint32_t tag)
{
    return FIRST_TAG + tag * (1 + r->setup.gap);
}

static void write_bus(const struct rig *r, FILE *f, uint32_t port, uint32_t bus)
{
    const struct rig_setup *s = &r->setup;
    uint32_t buses = s->buses > 0 ? s->buses : 1;
    char url[64];
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%" PRIu16, r->ports[port]);
    fprintf(f,
            "  bus_%" PRIu32 "_%" PRIu32 ":\n    type: modbus\n    url: \"%s\"\n"
            "    format: cbor\n",
            port, bus, s->url != NULL ? s->url : url);
    if (s->bus_more != NULL) {
        fprintf(f, "    %s\n", s->bus_more);
    }
    fprintf(f, "    maps:\n      - name: all\n        poll: %" PRIu32 "ms\n        tags:\n",
            s->poll_ms);
    fputs("          - {name: seq, address: 0, type: uint32}\n", f);
    for (uint32_t i = 0; i < s->tags; i++) {
        fprintf(f, "          - {name: r%" PRIu32 ", address: %" PRIu32 ", type: uint16}\n", i,
                address_of(r, i));
    }
    fputs("    slaves:\n", f);
    for (uint32_t i = 0; i < UNITS; i++) {
        uint32_t slave = port * UNITS + i + 1;
        if (i % buses == bus && slave <= s->slaves) {
            fprintf(f, "      - {device: dev_%" PRIu32 ", unit: %" PRIu32 ", map: all}\n", slave,
                    i + 1);
        }
    }
}

static void write_entities(const struct rig *r, FILE *f)
{
    const struct rig_setup *s = &r->setup;
    fputs("entities:\n  - {kind: product, key: slave, codec: cbor, unknown: keep, model: "
          "{properties: [{id: seq, type: int}",
          f);
    for (uint32_t i = 0; s->model && i < s->tags; i++) {
        fprintf(f, ",\n      {id: r%" PRIu32 ", type: int}", i);
    }
    fputs("]}}\n", f);
    for (uint32_t i = 1; i <= s->slaves; i++) {
        fprintf(f, "  - {kind: device, key: dev_%" PRIu32 ", product: slave}\n", i);
    }
    fprintf(f,
            "  - {kind: forward, key: up, sink: cloud, start: oldest, "
            "filter: [\"main/up/slave/+/telemetry\"]%s}\n",
            or_none(s->target_more));
}

void rig_write_config(struct rig *r)
{
    const struct rig_setup *s = &r->setup;
    FILE *f = fopen(r->config, "w");
    ck_assert_ptr_nonnull(f);
    /* As docs/guide/gateway.md has it. */
    fprintf(f, "core: {workers: %" PRIu32 ", history_open: 1MiB%s}\n",
            s->workers > 0 ? s->workers : 1, or_none(s->core_more));
    fputs("history: {type: memory, max_bytes: 1MiB}\n", f);
    if (s->memory_log) {
        fprintf(f, "log: {type: memory%s}\n", or_none(s->log_more));
    } else {
        fprintf(f, "log: {type: file, dir: \"%s/log\", cache: 256KiB%s}\n", r->dir,
                or_none(s->log_more));
    }
    fprintf(f,
            "adapters:\n  cloud: {type: thingsboard, url: \"mqtt://127.0.0.1:%" PRIu16
            "\", token: bench%s}\n",
            tb_stub_port(r->stub), or_none(s->sink_more));
    for (uint32_t port = 0; port < r->port_count; port++) {
        for (uint32_t bus = 0; bus < (s->buses > 0 ? s->buses : 1); bus++) {
            write_bus(r, f, port, bus);
        }
    }
    fputs(or_none(s->more), f);
    write_entities(r, f);
    ck_assert_int_eq(fclose(f), 0);
}

/* ---- life ---- */

void rig_init(struct rig *r, const struct rig_setup *setup)
{
    memset(r, 0, sizeof(*r));
    r->setup = *setup;
    snprintf(r->dir, sizeof(r->dir), "%s", tk_tmpdir());
    ck_assert_int_eq(mkdir(r->dir, 0700), 0);
    snprintf(r->config, sizeof(r->config), "%s/gateway.yaml", r->dir);
    r->stub = tb_stub_create();
    start_slaves(r);
    rig_write_config(r);
}

static void end_child(pid_t *pid)
{
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
        *pid = 0;
    }
}

void rig_fini(struct rig *r)
{
    end_child(&r->gateway);
    end_child(&r->sim);
    close(r->sim_in);
    close(r->sim_out);
    tb_stub_destroy(r->stub);
}

void rig_start_with(struct rig *r, const char *const *arguments)
{
    char program[] = TP_GATEWAY, *argv[10];
    fill_argv(argv, 10, program, arguments);
    ck_assert_int_eq(r->gateway, 0);
    r->gateway = spawn(r, argv, -1, -1, "gateway.log", r->setup.file_max);
}

void rig_start(struct rig *r)
{
    rig_start_with(r, (const char *const[]){ "--quiet", r->config, NULL });
}

pid_t rig_spawn(struct rig *r, const char *const *argv)
{
    char *copy[16];
    fill_argv(copy, 16, (char *) (uintptr_t) argv[0], argv + 1);
    return spawn(r, copy, -1, -1, "other.log", 0);
}

bool rig_died(struct rig *r)
{
    int status;
    if (r->gateway > 0 && waitpid(r->gateway, &status, WNOHANG) == r->gateway) {
        r->gateway = 0;
    }
    return r->gateway == 0;
}

int rig_stop(struct rig *r)
{
    int status = 0;
    if (r->gateway == 0) {
        return -1;
    }
    kill(r->gateway, SIGTERM);
    for (int64_t end = now_ms() + STOP_MS; now_ms() < end; pause_ms(5)) {
        if (waitpid(r->gateway, &status, WNOHANG) == r->gateway) {
            r->gateway = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
    }
    end_child(&r->gateway);
    return -1;
}

void rig_kill(struct rig *r)
{
    ck_assert_int_ne(r->gateway, 0);
    end_child(&r->gateway);
}

void rig_run(struct rig *r, uint32_t ms)
{
    for (int64_t end = now_ms() + ms; now_ms() < end; pause_ms(20)) {
        if (r->gateway > 0 && rig_died(r)) {
            rig_show_log(r);
            ck_abort_msg("the gateway has ended by itself");
        }
    }
}

void rig_settle(struct rig *r, uint32_t timeout_ms)
{
    if (!tb_stub_wait_samples(r->stub, rig_read(r), timeout_ms)) {
        tb_stub_print(r->stub, stdout);
    }
}

void rig_use(const struct rig *r, struct rig_use *ret)
{
    char path[64], line[1024];
    clockid_t clock;
    struct timespec t;
    memset(ret, 0, sizeof(*ret));
    if (clock_getcpuclockid(r->gateway, &clock) == 0 && clock_gettime(clock, &t) == 0) {
        ret->cpu_s = (double) t.tv_sec + (double) t.tv_nsec / 1e9;
    }
    snprintf(path, sizeof(path), "/proc/%d/status", (int) r->gateway);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        sscanf(line, "VmRSS: %" SCNu64, &ret->rss_kb);
        sscanf(line, "VmHWM: %" SCNu64, &ret->most_kb);
    }
    if (f != NULL) {
        fclose(f);
    }
}

/* ---- its log ---- */

static FILE *open_log(const struct rig *r)
{
    char path[RIG_PATH_BYTES + 32];
    snprintf(path, sizeof(path), "%s/gateway.log", r->dir);
    return fopen(path, "r");
}

bool rig_logged(const struct rig *r, const char *text)
{
    char line[2048];
    bool found = false;
    FILE *f = open_log(r);
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        found = strstr(line, text) != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

void rig_show_log(const struct rig *r)
{
    char line[2048];
    FILE *f = open_log(r);
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        printf("    | %s", line);
    }
    if (f != NULL) {
        fclose(f);
    }
    fflush(stdout);
}
