#include "thingsboard.h"
#include "broker.h"
#include "samples.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct server {
    struct broker mqtt;
    struct samples *samples;
    char host[64];
    uint32_t seconds;  /* 0 = until a signal */
    uint32_t quiet_ms; /* after the end: as long as something came in this time */
    bool said;         /* ready */
    bool came;         /* since last_ms was set */
    uint64_t limits_asked;
};

static volatile sig_atomic_t stopping, report;

static void on_signal(int number)
{
    if (number == SIGUSR1) {
        report = 1;
    } else {
        stopping = 1;
    }
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int usage(void)
{
    fputs(
        "usage: tp-sim thingsboard [--url HOST:PORT] [--seconds N] [--user U] [--password P]\n"
        "                          [--quiet MILLISECONDS]\n"
        "Answers a gateway as a ThingsBoard server does, on a broker where U may read v1/# and\n"
        "write v1/devices/me/rpc/response/+, and counts its samples. Prints \"ready\" when it is\n"
        "connected, a line of JSON at each SIGUSR1 (the latencies begin anew) and one at the end:\n"
        "once nothing has come for the quiet time after N seconds, SIGINT or SIGTERM.\n",
        stderr);
    return 2;
}

static bool begins(struct tpc_str text, const char *with)
{
    size_t len = strlen(with);
    return text.len >= len && memcmp(text.ptr, with, len) == 0;
}

/* What follows the last slash of a topic. */
static struct tpc_str last_part(struct tpc_str topic)
{
    size_t at = topic.len;
    while (at > 0 && topic.ptr[at - 1] != '/') {
        at--;
    }
    return (struct tpc_str){ topic.ptr + at, topic.len - at };
}

static void publish(struct server *s, const char *topic, const char *json)
{
    if (!broker_publish(&s->mqtt, topic, json, strlen(json), 0)) {
        fputs("tp-sim: an answer to the gateway was not sent\n", stderr);
    }
}

static void on_request(struct server *s, struct tpc_str topic, struct tpc_bytes payload)
{
    static const char method[] = "\"getSessionLimits\"";
    char to[BROKER_TOPIC_MAX];
    struct tpc_str id = last_part(topic);
    snprintf(to, sizeof(to), "v1/devices/me/rpc/response/%.*s", (int) (id.len < 20 ? id.len : 20),
             id.ptr);
    if (payload.len == 0 || memmem(payload.ptr, payload.len, method, sizeof(method) - 1) == NULL) {
        publish(s, to, "{\"error\":\"unknown method\"}");
        return;
    }
    s->limits_asked++;
    publish(s, to,
            "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,"
            "\"rateLimits\":{\"messages\":\"\",\"telemetryMessages\":\"\","
            "\"telemetryDataPoints\":\"\"},\"gatewayRateLimits\":{\"messages\":\"\","
            "\"telemetryMessages\":\"\",\"telemetryDataPoints\":\"\"}}");
}

static void on_message(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    struct server *s = user;
    s->came = true;
    if (begins(topic, "v1/devices/me/rpc/request/")) {
        on_request(s, topic, payload);
    } else if (!samples_add(s->samples, topic.ptr, topic.len, (const char *) payload.ptr,
                            payload.len, clock_ms(CLOCK_REALTIME))) {
        fprintf(stderr, "tp-sim: not in the platform's form: %.*s %.*s\n", (int) topic.len,
                topic.ptr, (int) (payload.len < 200 ? payload.len : 200),
                (const char *) payload.ptr);
    }
}

static bool set_url(struct server *s, const char *url)
{
    const char *colon = strrchr(url, ':');
    size_t len = colon != NULL ? (size_t) (colon - url) : 0;
    if (len == 0 || len >= sizeof(s->host)) {
        return false;
    }
    memcpy(s->host, url, len);
    s->host[len] = '\0';
    s->mqtt.port = (uint16_t) strtoul(colon + 1, NULL, 10);
    return true;
}

static bool parse(int argc, char **argv, struct server *s)
{
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) {
            return false;
        }
        if (strcmp(name, "--url") == 0) {
            if (!set_url(s, value)) {
                return false;
            }
        } else if (strcmp(name, "--seconds") == 0) {
            s->seconds = (uint32_t) strtoul(value, NULL, 10);
        } else if (strcmp(name, "--quiet") == 0) {
            s->quiet_ms = (uint32_t) strtoul(value, NULL, 10);
        } else if (strcmp(name, "--user") == 0) {
            s->mqtt.user_name = value;
        } else if (strcmp(name, "--password") == 0) {
            s->mqtt.password = value;
        } else {
            return false;
        }
    }
    return true;
}

static void turn(struct server *s)
{
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    struct pollfd p = { .events = broker_tick(&s->mqtt, now) };
    p.fd = s->mqtt.fd;
    poll(&p, 1, 20);
    broker_ready(&s->mqtt, p.revents, clock_ms(CLOCK_MONOTONIC));
    if (s->mqtt.connects > 0 && !s->said) {
        s->said = true;
        puts("ready");
        fflush(stdout);
    }
    if (report) {
        report = 0;
        samples_print(s->samples, stdout);
        samples_forget_latency(s->samples);
    }
}

static void run(struct server *s)
{
    int64_t begin = clock_ms(CLOCK_MONOTONIC), now = begin, last;
    while (!stopping && (s->seconds == 0 || now - begin < (int64_t) s->seconds * 1000)) {
        turn(s);
        now = clock_ms(CLOCK_MONOTONIC);
    }
    for (last = now; now - last < (int64_t) s->quiet_ms;) {
        s->came = false;
        turn(s);
        now = clock_ms(CLOCK_MONOTONIC);
        last = s->came ? now : last;
    }
}

int thingsboard_main(int argc, char **argv)
{
    struct server s;
    memset(&s, 0, sizeof(s));
    if (broker_init(&s.mqtt, s.host, 1883, "tp-sim-thingsboard") != 0) {
        fputs("tp-sim: no memory\n", stderr);
        return 1;
    }
    memcpy(s.host, "127.0.0.1", sizeof("127.0.0.1"));
    memcpy(s.mqtt.filter, "v1/#", sizeof("v1/#"));
    s.mqtt.user_name = "sink";
    s.mqtt.on_message = on_message;
    s.mqtt.user = &s;
    s.quiet_ms = 500;
    if (!parse(argc, argv, &s)) {
        broker_fini(&s.mqtt);
        return usage();
    }
    s.samples = samples_create();
    if (s.samples == NULL) {
        fputs("tp-sim: no memory\n", stderr);
        return 1;
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    run(&s);
    samples_print(s.samples, stdout);
    samples_destroy(s.samples);
    broker_fini(&s.mqtt);
    return 0;
}
