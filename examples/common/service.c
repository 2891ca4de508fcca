#include "service.h"

#include "assemble.h"
#include "program.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { DRAIN_MS = 10000, ADDRESS_MAX = 255, EXPIRE_MS = 60000 };

/* Modules that a service needs, loaded where they are not linked in: of the installation, or from the
 * folder TPCORE_MODULES. */
static const char *const needed[] = { "http_client", "http",   "thingspanel",
                                      "tcp",         "sqlite", "modbus" };

struct settings {
    const char *config, *hex, *pcap, *metrics;
    unsigned int port;
    bool check, attempt;
    struct program program;
    int turn_fd; /* -1 = none */
    void (*turn)(struct tpc_core *core);
};

static int usage(const char *name)
{
    fprintf(stderr,
            "usage: %s [--check] [--quiet] [--metrics FILE] CONFIG.yaml\n"
            "       %s --hex TEXT|FILE\n"
            "       %s --pcap FILE [--port N]\n"
            "       %s --try [OPTIONS]\n"
            "  --check    check the configuration, start nothing\n"
            "  --quiet    log warnings and errors only\n"
            "  --metrics  write all metrics (Prometheus text) to FILE at the end\n"
            "  --hex      decode frames, given as hexadecimal digits\n"
            "  --pcap     decode the TCP streams of a capture (pcap, pcapng); those to port N\n"
            "  --try      run with a stand-in for the platform and a simulated device\n",
            name, name, name, name);
    return 2;
}

static int parse(int argc, char **argv, struct settings *s)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        const char **to = strcmp(argv[i], "--hex") == 0       ? &s->hex
                          : strcmp(argv[i], "--pcap") == 0    ? &s->pcap
                          : strcmp(argv[i], "--metrics") == 0 ? &s->metrics
                                                              : NULL;
        if (strcmp(argv[i], "--try") == 0) {
            s->attempt = true; /* what follows is the script's */
            return 0;
        }
        if (strcmp(argv[i], "--check") == 0) {
            s->check = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            s->program.quiet = true;
        } else if (strcmp(argv[i], "--port") == 0 && value != NULL) {
            s->port = (unsigned int) strtoul(argv[++i], NULL, 10);
        } else if (to != NULL && value != NULL) {
            *to = argv[++i];
        } else if (argv[i][0] == '-' || s->config != NULL) {
            return -1;
        } else {
            s->config = argv[i];
        }
    }
    return (s->config != NULL) + (s->hex != NULL) + (s->pcap != NULL) == 1 ? 0 : -1;
}

/* ---- running ---- */

static int has_module(void *user, const struct tpc_module_info *info)
{
    return strcmp(info->name, user) == 0;
}

static int load_modules(const struct program *p, struct tpc_core *core)
{
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        char name[32], file[512];
        const char *dir = getenv("TPCORE_MODULES");
        snprintf(name, sizeof(name), "%s", needed[i]);
        snprintf(file, sizeof(file), "%s%stpc_%s.so", dir != NULL ? dir : "",
                 dir != NULL ? "/" : "", needed[i]);
        int rc =
            tpc_core_modules(core, has_module, name) != 0 ? 0 : tpc_core_load_module(core, file);
        if (rc != 0 && rc != TPC_ENOENT) { /* one that is missed is named where it is opened */
            program_say_error(p, file, rc);
            return -1;
        }
    }
    return 0;
}

/* The parts, then the service, then entities: those of a store name its codec. */
static int assemble(struct settings *s, struct config *c, const struct tpc_service_ops *ops,
                    struct tpc_core **ret)
{
    struct tpc_core *core;
    if (assemble_core(c, TPC_CORE_LOAD_ANY, program_log, &s->program, &core) != 0) {
        program_say(&s->program, "%s", c->error);
        return -1;
    }
    int rc = load_modules(&s->program, core);
    if (rc == 0 && assemble_parts(c, core, ASSEMBLE_ALL) != 0) {
        program_say(&s->program, "%s", c->error);
        rc = -1;
    }
    if (rc == 0) {
        rc = tpc_service_serve(core, ops, core);
        if (rc != 0) {
            program_say_error(&s->program, ops->identifier, rc);
        }
    }
    if (rc == 0 && assemble_entities(c, core) != 0) {
        program_say(&s->program, "%s", c->error);
        rc = -1;
    }
    if (rc != 0) {
        tpc_core_destroy(core);
        return -1;
    }
    *ret = core;
    return 0;
}

static int service_run(struct settings *s, struct config *c, const struct tpc_service_ops *ops)
{
    struct tpc_core *core;
    /* Before the first thread, so that all inherit it and the signals come to the descriptor. */
    int signals = program_signals((const int[]){ SIGINT, SIGTERM, 0 });
    if (assemble(s, c, ops, &core) != 0) {
        return 1;
    }
    if (s->check) {
        puts("configuration: ok");
        return tpc_core_destroy(core) != 0;
    }
    int rc = tpc_core_start(core);
    if (rc != 0) {
        program_say_error(&s->program, "start", rc);
        tpc_core_destroy(core);
        return 1;
    }
    program_say(&s->program, "running");
    program_notify("READY=1");
    struct pollfd wait[] = { { .fd = signals, .events = POLLIN },
                             { .fd = s->turn_fd, .events = POLLIN } };
    while (poll(wait, 2, -1) <= 0 || wait[0].revents == 0) {
        if (wait[1].revents != 0) {
            s->turn(core);
        }
    }
    program_notify("STOPPING=1");
    rc = tpc_core_stop(core, DRAIN_MS);
    if (rc != 0) {
        program_say_error(&s->program, "stop", rc);
    }
    if (s->metrics != NULL) {
        (void) program_metrics(&s->program, core, s->metrics);
    }
    program_say(&s->program, "stopped, %ld KiB resident", program_resident_kib());
    close(signals);
    return tpc_core_destroy(core) != 0 || rc != 0;
}

/* try.py beside the sources, or where TPCORE_TRY says. */
static int service_attempt(int argc, char **argv, const char *identifier)
{
    const char *script = getenv("TPCORE_TRY");
    char *words[32];
    int n = 0;
#ifdef SERVICE_TRY
    script = script != NULL ? script : SERVICE_TRY;
#endif
    if (script == NULL || access(script, R_OK) != 0) {
        fprintf(stderr, "%s: --try: no script %s; TPCORE_TRY names try.py of the source tree\n",
                argv[0], script != NULL ? script : "");
        return 2;
    }
    char interpreter[] = "python3";
    char *copy = strdup(script);
    char *id = strdup(identifier);
    words[n++] = interpreter;
    words[n++] = copy;
    words[n++] = argv[0];
    words[n++] = id;
    for (int i = 1; i < argc && n < 31; i++) {
        if (strcmp(argv[i], "--try") != 0) {
            words[n++] = argv[i];
        }
    }
    words[n] = NULL;
    execvp(interpreter, words);
    fprintf(stderr, "%s: %s: %s\n", argv[0], interpreter, strerror(errno));
    free(copy);
    free(id);
    return 2;
}

int service_main(int argc, char **argv, const struct tpc_service_ops *ops)
{
    return service_main_turns(argc, argv, ops, -1, NULL);
}

int service_main_turns(int argc, char **argv, const struct tpc_service_ops *ops, int fd,
                       void (*turn)(struct tpc_core *core))
{
    struct settings s = { .turn_fd = fd, .turn = turn };
    struct config c;
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash != NULL ? slash + 1 : argv[0];
    program_init(&s.program, name);
    if (parse(argc, argv, &s) != 0) {
        return usage(name);
    }
    if (s.attempt) {
        return service_attempt(argc, argv, ops->identifier);
    }
    if (s.hex != NULL) {
        return service_try_hex(ops, s.hex);
    }
    if (s.pcap != NULL) {
        return service_try_pcap(ops, s.pcap, s.port);
    }
    int rc = config_read(&c, s.config);
    if (rc != 0) {
        program_say(&s.program, "%s", c.error);
    } else {
        rc = service_run(&s, &c, ops);
    }
    config_free(&c);
    program_fini(&s.program);
    return rc != 0;
}

/* ---- what protocols are made of ---- */

int service_voucher(struct tpc_buf *out, const char *key, struct tpc_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] <= ' ' || value.ptr[i] > '~' || strchr("\"\\", value.ptr[i]) != NULL) {
            return TPC_EDENIED;
        }
    }
    int n = snprintf((char *) out->ptr, out->cap, "{\"%s\":\"%.*s\"}", key, (int) value.len,
                     value.len > 0 ? value.ptr : "");
    out->need = (size_t) n;
    return out->need < out->cap ? 0 : TPC_ETOOBIG;
}

int service_device(struct tpc_reading *r, unsigned int address)
{
    char text[16];
    int n = address != 0 ? snprintf(text, sizeof(text), "%u", address) : 0;
    return tpc_reading_device(r, (struct tpc_str){ text, (size_t) n });
}

int service_address(const struct tpc_encode *command)
{
    if (command->path_count == 0) {
        return 0;
    }
    struct tpc_str text = command->path[command->path_count - 1];
    int n = 0;
    for (size_t i = 0; i < text.len && n <= ADDRESS_MAX; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return -1;
        }
        n = n * 10 + (text.ptr[i] - '0');
    }
    return n > 0 && n <= ADDRESS_MAX ? n : -1; /* 0 would be the device itself */
}

int service_event(struct tpc_reading *r, const char *name, const char *key, int64_t value)
{
    struct tpc_member m = { tpc_str_from(key), { .type = TPC_INT, .as.i = value } };
    struct tpc_value params = { TPC_MAP, 0, 1, { .members = &m } };
    return tpc_reading_event(r, name, &params);
}

bool service_param(const struct tpc_encode *command, const char *name, const char *key,
                   int64_t *ret)
{
    if (!tpc_str_equal(command->name, tpc_str_from(name))) {
        return false;
    }
    if (tpc_value_int(tpc_value_get(&command->params, tpc_str_from(key)), ret) != 0) {
        *ret = -1;
    }
    return true;
}

bool service_setting(const struct tpc_service_device *device, const char *key, int64_t *ret)
{
    const struct tpc_value *v = tpc_value_get(device->config, tpc_str_from(key));
    v = v != NULL ? v : tpc_value_get(device->settings, tpc_str_from(key));
    return tpc_value_int(v, ret) == 0;
}

void service_command(struct tpc_core *core, struct tpc_str device, const char *name,
                     const char *key, int64_t value)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    char params[80];
    int n = snprintf(params, sizeof(params), "{\"%s\":%lld}", key, (long long) value);
    o.service = tpc_str_from(name);
    o.params_json = (struct tpc_str){ params, (size_t) n };
    o.expire_ms = EXPIRE_MS;
    if (tpc_device_open(core, device, &o.device) == 0) {
        (void) tpc_command_send(core, NULL, &o, NULL, NULL, NULL); /* its record tells the end */
        tpc_device_unref(o.device);
    }
}
