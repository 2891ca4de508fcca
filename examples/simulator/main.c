/*
 * tp-sim: devices for trying a platform. Each has its own MQTT connection; lost connections come
 * back and what was not acknowledged is sent again. At the end one line of JSON says what was
 * acknowledged.
 */
#include "devices.h"
#include "modbus.h"
#include "thingsboard.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
    char host[64];
    uint16_t port;
    uint32_t seconds; /* 0 = until a signal */
    uint32_t period_ms;
    uint32_t counts[DEVICE_KINDS];
    const char *user_name;
    const char *password;
    const char *seq_file;
};

enum { DEVICES_MAX = 1000, DRAIN_MS = 15000, QUIET_MS = 1500 };

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void) number;
    stopping = 1;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int usage(void)
{
    fputs("usage: tp-sim modbus ..   slaves of Modbus instead of devices of MQTT\n"
          "       tp-sim thingsboard ..   the platform of a gateway\n"
          "       tp-sim [--url HOST:PORT] [--seconds N] [--rate MESSAGES_PER_SECOND_OF_A_DEVICE]\n"
          "              [--thermostats N] [--meters N] [--fans N] [--panels N] [--gateways N]\n"
          "              [--user U --password P]   instead of those of each device\n"
          "              [--seq-file FILE]   a line \"key seq\" for each acknowledged payload\n",
          stderr);
    return 2;
}

static uint32_t connections(const struct settings *s)
{
    uint32_t n = 0;
    for (int i = 0; i < DEVICE_KINDS; i++) {
        n += s->counts[i];
    }
    return n;
}

static int parse(int argc, char **argv, struct settings *s)
{
    static const char *const kinds[DEVICE_KINDS] = { "--thermostats", "--meters", "--fans",
                                                     "--panels", "--gateways" };
    for (int i = 1; i + 1 < argc + 1; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) {
            return -1;
        }
        if (strcmp(name, "--url") == 0) {
            const char *colon = strrchr(value, ':');
            size_t len = colon != NULL ? (size_t) (colon - value) : 0;
            if (len == 0 || len >= sizeof(s->host)) {
                return -1;
            }
            memcpy(s->host, value, len);
            s->host[len] = '\0';
            s->port = (uint16_t) strtoul(colon + 1, NULL, 10);
        } else if (strcmp(name, "--seconds") == 0) {
            s->seconds = (uint32_t) strtoul(value, NULL, 10);
        } else if (strcmp(name, "--rate") == 0) {
            double rate = strtod(value, NULL);
            if (rate <= 0 || rate > 1000) {
                return -1;
            }
            s->period_ms = (uint32_t) (1000.0 / rate);
        } else if (strcmp(name, "--user") == 0) {
            s->user_name = value;
        } else if (strcmp(name, "--password") == 0) {
            s->password = value;
        } else if (strcmp(name, "--seq-file") == 0) {
            s->seq_file = value;
        } else {
            int kind = 0;
            while (kind < DEVICE_KINDS && strcmp(name, kinds[kind]) != 0) {
                kind++;
            }
            if (kind == DEVICE_KINDS) {
                return -1;
            }
            s->counts[kind] = (uint32_t) strtoul(value, NULL, 10);
        }
    }
    return connections(s) <= DEVICES_MAX ? 0 : -1;
}

static uint32_t inflight(const struct device *devices, uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += devices[i].broker.inflight_count;
    }
    return n;
}

/* One turn of the loop: reports that are due, then up to 20 ms of waiting for the sockets. */
static void turn(struct device *devices, struct pollfd *polls, uint32_t count,
                 const struct settings *s, int64_t begin, bool report)
{
    int64_t now = now_ms();
    for (uint32_t i = 0; i < count; i++) {
        if (report && devices[i].broker.state == BROKER_UP) {
            device_run(&devices[i], now, s->period_ms, now - begin);
        }
        polls[i].events = broker_tick(&devices[i].broker, now);
        polls[i].fd = devices[i].broker.fd;
        polls[i].revents = 0;
    }
    poll(polls, count, 20);
    now = now_ms();
    for (uint32_t i = 0; i < count; i++) {
        broker_ready(&devices[i].broker, polls[i].revents, now);
    }
}

static void run(struct device *devices, struct pollfd *polls, uint32_t count,
                const struct settings *s, const struct counts *counts)
{
    int64_t begin = now_ms();
    while (!stopping && (s->seconds == 0 || now_ms() - begin < (int64_t) s->seconds * 1000)) {
        turn(devices, polls, count, s, begin, true);
    }
    /* Reports have ended; commands on their way are still answered until the line is quiet. */
    int64_t end = now_ms(), last = end;
    uint64_t seen = counts->commands;
    while (now_ms() - end < DRAIN_MS &&
           (inflight(devices, count) > 0 || now_ms() - last < QUIET_MS)) {
        turn(devices, polls, count, s, begin, false);
        if (counts->commands != seen) {
            seen = counts->commands;
            last = now_ms();
        }
    }
}

int main(int argc, char **argv)
{
    struct settings s = {
        .host = "127.0.0.1", .port = 1883, .period_ms = 500, .counts = { 10, 8, 4 }
    };
    struct counts counts = { 0 };
    if (argc > 1 && strcmp(argv[1], "modbus") == 0) {
        return modbus_main(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "thingsboard") == 0) {
        return thingsboard_main(argc - 1, argv + 1);
    }
    if (parse(argc, argv, &s) != 0) {
        return usage();
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    FILE *seq_file = s.seq_file != NULL ? fopen(s.seq_file, "a") : NULL;
    uint32_t count = connections(&s);
    struct device *devices = calloc(count + 1, sizeof(*devices));
    struct pollfd *polls = calloc(count + 1, sizeof(*polls));
    if (devices == NULL || polls == NULL || (s.seq_file != NULL && seq_file == NULL)) {
        fputs("tp-sim: no memory, or the sequence file cannot be opened\n", stderr);
        return 1;
    }
    uint32_t made = 0;
    for (uint32_t kind = 0; kind < DEVICE_KINDS; kind++) {
        for (uint32_t i = 1; i <= s.counts[kind]; i++, made++) {
            if (device_init(&devices[made], (enum device_kind) kind, i, s.host, s.port, &counts,
                            seq_file) != 0) {
                fputs("tp-sim: no memory\n", stderr);
                return 1;
            }
            if (s.user_name != NULL) {
                devices[made].broker.user_name = s.user_name;
                devices[made].broker.password = s.password;
            }
            /* Spread over the period, so that not all report at once. */
            devices[made].next_ms = now_ms() + (int64_t) s.period_ms * made / (count + 1);
        }
    }
    run(devices, polls, count, &s, &counts);

    uint64_t sent = 0;
    uint32_t all = 0;
    uint32_t open = inflight(devices, count);
    for (uint32_t i = 0; i < count; i++) {
        sent += (uint64_t) devices[i].seq * device_count(&devices[i]);
        all += device_count(&devices[i]);
        device_fini(&devices[i]);
    }
    printf("{\"devices\":%u,\"sent\":%" PRIu64 ",\"published\":%" PRIu64 ",\"commands\":%" PRIu64
           ",\"acknowledged\":%" PRIu64 ",\"unacknowledged\":%u}\n",
           all, sent, counts.published, counts.commands, counts.acknowledged, open);
    if (seq_file != NULL) {
        fclose(seq_file);
    }
    free(devices);
    free(polls);
    return open == 0 ? 0 : 1;
}
