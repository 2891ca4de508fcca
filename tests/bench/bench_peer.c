#include "bench_peer.h"

#include "bench.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    UNITS = 247,
    FIRST_TAG = 2,       /* registers 0 and 1 are seq */
    RANGE_REGISTERS = 16 /* the package splits longer ranges there, and leaves one out each time */
};

static const char *python(void)
{
    const char *path = getenv("TB_GATEWAY_PYTHON");
    return path != NULL && path[0] != '\0' ? path : NULL;
}

/* The first line that a program of Python prints; "" if it fails. */
static void ask_python(const char *program, char *ret, size_t size)
{
    int out[2], status = -1;
    ret[0] = '\0';
    bench_must(pipe(out) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl(python(), python(), "-c", program, (char *) NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    bool said = f != NULL && fgets(ret, (int) size, f) != NULL;
    if (f != NULL) {
        fclose(f);
    }
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
    ret[said && ended ? strcspn(ret, "\n") : 0] = '\0';
}

const char *peer_version(void)
{
    static char version[32];
    static bool asked;
    if (!asked && python() != NULL) {
        ask_python("from importlib.metadata import version; import pymodbus, serial; "
                   "print(version('thingsboard-gateway'))",
                   version, sizeof(version));
        if (version[0] == '\0') {
            fprintf(stderr, "# %s has no thingsboard-gateway: published figures\n", python());
        }
    }
    asked = true;
    return version[0] != '\0' ? version : NULL;
}

static FILE *create(const struct rig *r, const char *name)
{
    char path[RIG_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/peer/%s", r->dir, name);
    FILE *f = fopen(path, "w");
    bench_must(f != NULL, path);
    return f;
}

static void finish(FILE *f)
{
    bench_must(fclose(f) == 0, "writing the peer's configuration");
}

static void write_main(const struct rig *r, const char *storage)
{
    FILE *f = create(r, "tb_gateway.json");
    fprintf(f,
            "{\"thingsboard\":{\"host\":\"127.0.0.1\",\"port\":%" PRIu16
            ",\"remoteShell\":false,\"remoteConfiguration\":false,\"statistics\":{\"enable\":false,"
            "\"enableCustom\":false,\"statsSendPeriodInSeconds\":60},\"deviceFiltering\":"
            "{\"enable\":false},\"maxPayloadSizeBytes\":8196,\"minPackSendDelayMS\":50,"
            "\"checkConnectorsConfigurationInSeconds\":60,\"handleDeviceRenaming\":false,"
            "\"security\":{\"type\":\"accessToken\",\"accessToken\":\"bench\"},\"qos\":1,"
            "\"reportStrategy\":{\"type\":\"ON_RECEIVED\"},"
            "\"checkingDeviceActivity\":{\"checkDeviceInactivity\":false}",
            tb_stub_port(r->stub));
    static const char *const limits[] = { "rateLimits",         "dpRateLimits",
                                          "messagesRateLimits", "deviceMessagesRateLimits",
                                          "deviceRateLimits",   "deviceDpRateLimits" };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        fprintf(f, ",\"%s\":\"0:0,\"", limits[i]);
    }
    fprintf(f,
            "},\"storage\":{\"type\":\"%s\",\"read_records_count\":100,"
            "\"max_records_count\":100000,\"data_file_path\":\"./data/\","
            "\"messages_ttl_check_in_hours\":1,\"messages_ttl_in_days\":7},"
            "\"grpc\":{\"enabled\":false},\"connectors\":[{\"type\":\"modbus\","
            "\"name\":\"Modbus\",\"configuration\":\"modbus.json\"}]}\n",
            storage);
    finish(f);
}

static void write_tag(FILE *f, bool first, const char *name, const char *type, uint32_t registers,
                      uint32_t address)
{
    fprintf(f,
            "%s{\"tag\":\"%s\",\"type\":\"%s\",\"functionCode\":3,\"objectsCount\":%" PRIu32
            ",\"address\":%" PRIu32 "}",
            first ? "" : ",", name, type, registers, address);
}

/* Each range has a tag of its own: what was read is kept by tag until it is decoded. */
static void write_ranges(const struct rig *r, FILE *f)
{
    uint32_t end = FIRST_TAG + r->setup.tags;
    for (uint32_t at = FIRST_TAG, n = 0; at < end; at += RANGE_REGISTERS, n++) {
        uint32_t last = at + RANGE_REGISTERS < end ? at + RANGE_REGISTERS - 1 : end - 1;
        fprintf(f,
                "%s{\"tag\":\"r%" PRIu32 "_${address}\",\"type\":\"16uint\",\"functionCode\":3,"
                "\"objectsCount\":1,\"address\":\"%" PRIu32 "-%" PRIu32 "\"}",
                at == FIRST_TAG ? "" : ",", n, at, last);
    }
}

static void write_tags(const struct rig *r, FILE *f)
{
    char name[16];
    write_tag(f, true, "seq", "32uint", 2, 0);
    for (uint32_t i = 0; i < r->setup.tags; i++) {
        snprintf(name, sizeof(name), "r%" PRIu32, i);
        write_tag(f, false, name, "16uint", 1, FIRST_TAG + i * (1 + r->setup.gap));
    }
}

static void write_modbus(const struct rig *r, bool range)
{
    FILE *f = create(r, "modbus.json");
    fputs("{\"name\":\"Modbus\",\"logLevel\":\"INFO\",\"master\":{\"slaves\":[", f);
    for (uint32_t i = 0; i < r->setup.slaves; i++) {
        fprintf(f,
                "%s\n{\"host\":\"127.0.0.1\",\"port\":%" PRIu16
                ",\"type\":\"tcp\",\"method\":\"socket\",\"unitId\":%" PRIu32
                ",\"deviceName\":\"dev_%" PRIu32 "\",\"deviceType\":\"slave\",\"timeout\":5,"
                "\"byteOrder\":\"BIG\",\"wordOrder\":\"BIG\",\"retries\":3,\"pollPeriod\":%" PRIu32
                ",\"connectAttemptTimeMs\":5000,\"connectAttemptCount\":5,"
                "\"waitAfterFailedAttemptsMs\":30000,\"attributes\":[],\"attributeUpdates\":[],"
                "\"rpc\":[],\"timeseries\":[",
                i > 0 ? "," : "", r->ports[i / UNITS], i % UNITS + 1, i + 1, r->setup.poll_ms);
        if (range) {
            write_ranges(r, f);
        } else {
            write_tags(r, f);
        }
        fputs("]}", f);
    }
    fputs("]}}\n", f);
    finish(f);
}

/* As the package ships it: with more than errors of its libraries, each value costs three lines. */
static void copy_logs(const struct rig *r)
{
    char path[512], text[4096];
    ask_python("import os, thingsboard_gateway as t; "
               "print(os.path.join(os.path.dirname(t.__file__), 'config', 'logs.json'))",
               path, sizeof(path));
    FILE *in = fopen(path, "r"), *out = create(r, "logs.json");
    bench_must(in != NULL, "the package's logs.json");
    for (size_t n; (n = fread(text, 1, sizeof(text), in)) > 0;) {
        bench_must(fwrite(text, 1, n, out) == n, "copying logs.json");
    }
    fclose(in);
    finish(out);
}

void peer_start(struct rig *r, const struct peer_setup *setup)
{
    char dir[RIG_PATH_BYTES + 16], path[RIG_PATH_BYTES + 32], config[RIG_PATH_BYTES + 48];
    snprintf(dir, sizeof(dir), "%s/peer", r->dir);
    snprintf(path, sizeof(path), "%s/logs", dir);
    bench_must(mkdir(dir, 0700) == 0 && mkdir(path, 0700) == 0, path);
    write_main(r, setup->storage);
    write_modbus(r, setup->range);
    copy_logs(r);
    snprintf(config, sizeof(config), "TB_GW_CONFIG_DIR=%s/", dir);
    /* It asks its maker for a new version, and pip for modules: the proxy keeps it on the loopback. */
    const char *words[] = { "/usr/bin/env",
                            "-C",
                            dir,
                            config,
                            "https_proxy=http://127.0.0.1:9",
                            "http_proxy=http://127.0.0.1:9",
                            python(),
                            "-c",
                            "from thingsboard_gateway.tb_gateway import daemon; daemon()",
                            NULL };
    r->gateway = rig_spawn(r, words);
}

bool peer_is_whole(const struct rig *r, bool range, char *ret, size_t size)
{
    char device[32], key[32];
    struct samples_total t;
    for (uint32_t i = 0; i < r->setup.slaves; i++) {
        snprintf(device, sizeof(device), "dev_%" PRIu32, i + 1);
        if (!tb_stub_device(r->stub, device, &t)) {
            snprintf(ret, size, "nothing of %s", device);
            return false;
        }
        uint64_t points = 0;
        for (uint32_t k = 0; k < r->setup.tags; k++) {
            if (range) {
                snprintf(key, sizeof(key), "r%" PRIu32 "_%" PRIu32, k / RANGE_REGISTERS,
                         FIRST_TAG + k);
            } else {
                snprintf(key, sizeof(key), "r%" PRIu32, k);
            }
            uint64_t n = tb_stub_key(r->stub, device, key);
            points += n;
            if (n == 0) {
                snprintf(ret, size, "no %s of %s", key, device);
                return false;
            }
        }
        points += range ? 0 : tb_stub_key(r->stub, device, "seq");
        if (points != t.points) {
            snprintf(ret, size, "%s: %" PRIu64 " points, %" PRIu64 " of them configured", device,
                     t.points, points);
            return false;
        }
    }
    return true;
}

void peer_show_log(const struct rig *r)
{
    char path[RIG_PATH_BYTES + 32], line[1024];
    snprintf(path, sizeof(path), "%s/other.log", r->dir);
    FILE *f = fopen(path, "r");
    for (int i = 0; f != NULL && i < 200 && fgets(line, sizeof(line), f) != NULL; i++) {
        fprintf(stderr, "    | %s", line);
    }
    if (f != NULL) {
        fclose(f);
    }
}
