/*
 * gateway_start: from exec() to "running" of tp-gateway with 1,000 slaves of 100 tags each on five
 * lines, against the second that it may take: with a map that all share, with tags of each slave's
 * own, and from a folder of the ThingsBoard gateway. Then until each tag was read once from tp-sim's
 * slaves (a bus asks one slave after the other). Wall-clock time; the best of three.
 */
#include "bench.h"
#include "bench_slaves.h"
#include "bench_util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLAVES = 1000, TAGS = 100, LINE = 247, ROUNDS = 3, LIMIT_MS = 1000, WAIT_S = 30 };

static char dir[UTIL_PATH_BYTES];
static const struct util_slaves *slaves;

static FILE *create(const char *name)
{
    char path[UTIL_PATH_BYTES + 40];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    bench_must(f != NULL, path);
    return f;
}

static void put_tags(FILE *f, const char *indent)
{
    for (int t = 0; t < TAGS; t++) {
        fprintf(f, "%s- {name: t%d, address: %d}\n", indent, t, 4 + t);
    }
}

static void put_common(FILE *f)
{
    fprintf(f, "log: {type: file, dir: %s/log}\nhistory: {type: memory, max_bytes: 8MiB}\n", dir);
    fprintf(f, "gateway: {prometheus: %s/prom, prometheus_period: 100ms}\nadapters:\n", dir);
}

static void put_devices(FILE *f)
{
    fprintf(f, "entities:\n  - {kind: product, key: m, codec: cbor, unknown: keep, model: "
               "{properties: []}}\n");
    for (int i = 0; i < SLAVES; i++) {
        fprintf(f, "  - {kind: device, key: d%d, product: m}\n", i);
    }
}

static void write_ours(const char *name, bool own)
{
    FILE *f = create(name);
    put_common(f);
    for (int i = 0; i < SLAVES; i++) {
        if (i % LINE == 0) {
            fprintf(f,
                    "  line%d:\n    type: modbus\n    url: tcp://127.0.0.1:%u\n    format: cbor\n",
                    i / LINE, slaves->ports[i / LINE]);
            if (!own) {
                fprintf(f, "    maps:\n      - name: m\n        tags:\n");
                put_tags(f, "          ");
            }
            fprintf(f, "    slaves:\n");
        }
        if (own) {
            fprintf(f, "      - device: d%d\n        unit: %d\n        tags:\n", i, i % LINE + 1);
            put_tags(f, "          ");
        } else {
            fprintf(f, "      - {device: d%d, unit: %d, map: m}\n", i, i % LINE + 1);
        }
    }
    put_devices(f);
    fclose(f);
}

static void write_theirs(void)
{
    FILE *f = create("tb_gateway.json");
    fprintf(
        f,
        "{\"thingsboard\":{\"host\":\"127.0.0.1\",\"port\":1,\"security\":{\"accessToken\":\"t\"}},"
        "\"storage\":{\"type\":\"file\",\"data_folder_path\":\"%s\"},\"connectors\":[{\"type\":"
        "\"modbus\",\"name\":\"m\",\"configuration\":\"m.json\"}]}",
        dir);
    fclose(f);
    f = create("m.json");
    fprintf(f, "{\"master\":{\"slaves\":[");
    for (int i = 0; i < SLAVES; i++) {
        fprintf(f,
                "%s{\"host\":\"127.0.0.1\",\"port\":%u,\"unitId\":%d,\"deviceName\":\"d%d\","
                "\"byteOrder\":\"BIG\",\"wordOrder\":\"BIG\",\"pollPeriod\":1000,\"timeseries\":[",
                i > 0 ? "," : "", slaves->ports[i / LINE], i % LINE + 1, i);
        for (int t = 0; t < TAGS; t++) {
            fprintf(f,
                    "%s{\"tag\":\"t%d\",\"type\":\"16uint\",\"functionCode\":3,\"objectsCount\":1,"
                    "\"address\":%d}",
                    t > 0 ? "," : "", t, 4 + t);
        }
        fprintf(f, "]}");
    }
    fprintf(f, "]}}");
    fclose(f);
}

static void become(const char *const *argv, int err)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    if (chdir(dir) == 0) {
        execv(TP_GATEWAY, (char *const *) (uintptr_t) argv);
    }
    _exit(127);
}

static double values_read(void)
{
    static const char name[] = "tpc_modbus_values_total{";
    char path[UTIL_PATH_BYTES + 40];
    char line[512];
    double sum = 0;
    snprintf(path, sizeof(path), "%s/prom", dir);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *value = strrchr(line, ' ');
        if (strncmp(line, name, sizeof(name) - 1) == 0 && value != NULL) {
            sum += strtod(value, NULL);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return sum;
}

struct times {
    double running_ms, read_ms; /* read_ms 0 = not asked for; negative = a part is not there */
};

static struct times start(const char *const *argv, bool read_all)
{
    struct times t = { -1, 0 };
    char line[1024];
    char path[UTIL_PATH_BYTES + 40];
    int err[2];
    snprintf(path, sizeof(path), "%s/prom", dir);
    unlink(path);
    bench_must(pipe2(err, O_CLOEXEC) == 0, "pipe");
    double begin = util_wall_ns();
    pid_t pid = fork();
    if (pid == 0) {
        become(argv, err[1]);
    }
    close(err[1]);
    FILE *in = fdopen(err[0], "r");
    bench_must(pid > 0 && in != NULL, "fork");
    while (t.running_ms < 0 && fgets(line, sizeof(line), in) != NULL) {
        if (strstr(line, ": running") != NULL) {
            t.running_ms = (util_wall_ns() - begin) / 1e6;
        }
    }
    while (t.running_ms >= 0 && read_all && t.read_ms == 0 &&
           util_wall_ns() - begin < WAIT_S * 1e9) {
        if (values_read() >= SLAVES * TAGS) {
            t.read_ms = (util_wall_ns() - begin) / 1e6;
        }
        usleep(5000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fclose(in);
    return t;
}

static void measure(const char *name, const char *const *argv, bool read_all)
{
    struct times best = { 1e18, 1e18 };
    char text[80];
    for (int i = 0; i < ROUNDS; i++) {
        struct times t = start(argv, read_all);
        if (t.running_ms < 0) {
            fprintf(stderr, "bench: SKIP %s: it does not start (a module is not built?)\n", name);
            return;
        }
        best.running_ms = t.running_ms < best.running_ms ? t.running_ms : best.running_ms;
        best.read_ms = t.read_ms < best.read_ms ? t.read_ms : best.read_ms;
    }
    bench_line(name, best.running_ms, "ms", "1 s", LIMIT_MS / best.running_ms);
    if (read_all && best.read_ms > 0) {
        snprintf(text, sizeof(text), "%s_read", name);
        bench_line(text, best.read_ms, "ms", "1 s", LIMIT_MS / best.read_ms);
    }
}

int main(void)
{
    static struct util_slaves s;
    static const char *const more[] = { "--slaves", "1000", "--registers", "200", NULL };
    char ours[UTIL_PATH_BYTES + 40], own[UTIL_PATH_BYTES + 40];
    bench_must(util_slaves_start(&s, more) && s.port_count >= (SLAVES + LINE - 1) / LINE, "tp-sim");
    slaves = &s;
    util_folder(NULL, dir);
    write_ours("maps.yaml", false);
    write_ours("own.yaml", true);
    write_theirs();
    snprintf(ours, sizeof(ours), "%s/maps.yaml", dir);
    snprintf(own, sizeof(own), "%s/own.yaml", dir);
    const char *const with_maps[] = { TP_GATEWAY, "--quiet", ours, NULL };
    const char *const with_own[] = { TP_GATEWAY, "--quiet", own, NULL };
    const char *const theirs[] = { TP_GATEWAY, "--quiet", "--thingsboard", dir, NULL };
    measure("gateway_start", with_maps, true);
    measure("gateway_start_own_tags", with_own, false);
    measure("gateway_start_thingsboard", theirs, false);
    char last[2048];
    (void) util_slaves_stop(&s, last, sizeof(last));
    util_remove(dir);
    return 0;
}
