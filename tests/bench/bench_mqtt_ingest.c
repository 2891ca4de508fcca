/*
 * mqtt_ingest: messages through a real broker and paho into a file log (policy "written"), by
 * quality of service and acknowledgement. A child process publishes. Two numbers for each: messages
 * per second of wall-clock time, where broker, publisher and platform share the machine, and
 * messages per CPU-second of the platform's process; the ratio is to QoS 0 in the same run.
 */
#include "bench.h"
#include "bench_util.h"
#include "broker.h"

#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>
#include <unistd.h>

enum { MESSAGES = 30000, DEVICES = 16, WAIT_S = 60 };

static const char product[] = TPC_JSON({
    "key": "thermo", "codec": "alink",
    "model": { "properties": [
        { "id": "temperature", "type": "double", "min": -40, "max": 125 },
        { "id": "humidity", "type": "double", "min": 0, "max": 100 },
        { "id": "seq", "type": "int" } ] } });

struct mode {
    const char *name, *options;
};

static int64_t now_ms(void)
{
    return (int64_t) (util_wall_ns() / 1e6);
}

/* The child: as fast as 64 messages in flight go. */
static void publish_all(uint16_t port)
{
    static struct broker b;
    uint32_t sent = 0;
    bench_must(broker_init(&b, "127.0.0.1", port, "publisher") == 0, "publisher");
    while (sent < MESSAGES || b.inflight_count > 0) {
        char topic[64], text[160];
        snprintf(topic, sizeof(topic), "/sys/thermo/t%u/thing/property/post", sent % DEVICES);
        int n = snprintf(text, sizeof(text),
                         "{\"method\":\"thing.property.post\",\"params\":{\"temperature\":21.5,"
                         "\"humidity\":45.0,\"seq\":%u}}",
                         sent);
        while (sent < MESSAGES && broker_publish(&b, topic, text, (size_t) n, sent)) {
            sent++;
            n = snprintf(text, sizeof(text),
                         "{\"method\":\"thing.property.post\",\"params\":{\"temperature\":21.5,"
                         "\"humidity\":45.0,\"seq\":%u}}",
                         sent);
            snprintf(topic, sizeof(topic), "/sys/thermo/t%u/thing/property/post", sent % DEVICES);
        }
        struct pollfd p = { .events = broker_tick(&b, now_ms()) };
        p.fd = b.fd;
        poll(&p, 1, 10);
        broker_ready(&b, p.revents, now_ms());
    }
    broker_fini(&b);
    _exit(0);
}

static int find_metric(void *user, const struct tpc_metric *m)
{
    double *want = user;
    if (strcmp(m->name, "tpc_uplink_messages_total") == 0) {
        want[0] = m->value;
    } else if (strcmp(m->name, "tpc_mqtt_dropped_total") == 0) {
        want[1] += m->value;
    }
    return 0;
}

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) level;
    (void) subject;
    if (strncmp(text, "connected", 9) == 0) {
        __atomic_store_n((int *) user, 1, __ATOMIC_SEQ_CST);
    }
}

static struct tpc_core *open_core(const char *dir, uint16_t port, const struct mode *m, int *up)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[512];
    o.workers = 1;
    o.on_log = on_log;
    o.log_user = up;
    bench_must(tpc_core_create(&o, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_mqtt()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s/log-%s\"}", dir, m->name);
    bench_must(tpc_core_open(core, "log", "file", tpc_str_from(text)) == 0, "log");
    snprintf(text, sizeof(text), "{\"url\":\"mqtt://127.0.0.1:%u\"%s}", port, m->options);
    bench_must(tpc_core_open(core, "mqtt", "mqtt", tpc_str_from(text)) == 0, "mqtt");
    bench_must(tpc_entity_put(core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
    for (int i = 0; i < DEVICES; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"t%d\",\"product\":\"thermo\"}", i);
        bench_must(tpc_entity_put(core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL) == 0,
                   "device");
    }
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    for (int i = 0; i < 500 && !__atomic_load_n(up, __ATOMIC_SEQ_CST); i++) {
        poll(NULL, 0, 10);
    }
    poll(NULL, 0, 200); /* the subscription */
    return core;
}

/* Returns messages per second; *ret_cpu: per CPU-second. */
static double run(const char *dir, uint16_t port, const struct mode *m, double *ret_cpu)
{
    int up = 0;
    double seen[2] = { 0, 0 };
    struct tpc_core *core = open_core(dir, port, m, &up);
    double wall = util_wall_ns(), cpu = bench_cpu_ns();
    pid_t child = fork();
    if (child == 0) {
        publish_all(port);
    }
    for (int i = 0; i < WAIT_S * 100 && seen[0] + seen[1] < MESSAGES; i++) {
        poll(NULL, 0, 10);
        seen[0] = seen[1] = 0;
        tpc_core_stats(core, find_metric, seen);
    }
    wall = util_wall_ns() - wall;
    cpu = bench_cpu_ns() - cpu;
    waitpid(child, NULL, 0);
    bench_must(seen[0] + seen[1] >= MESSAGES, m->name);
    tpc_core_destroy(core);
    *ret_cpu = seen[0] * 1e9 / cpu;
    return seen[0] * 1e9 / wall;
}

int main(void)
{
    static const struct mode modes[] = {
        { "qos0", ",\"qos\":0" },
        { "qos1_received", ",\"ack\":\"received\"" },
        { "qos1_appended", "" },
    };
    char dir[UTIL_PATH_BYTES], name[64];
    double first = 0, first_cpu = 0;
    struct util_broker broker;
    util_folder(NULL, dir);
    if (util_broker_start(&broker, dir) != 0) {
        util_remove(dir);
        return 77;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        double cpu, wall = run(dir, broker.port, &modes[i], &cpu);
        first = i == 0 ? wall : first;
        first_cpu = i == 0 ? cpu : first_cpu;
        snprintf(name, sizeof(name), "mqtt_ingest_%s", modes[i].name);
        bench_line(name, wall, "messages/s", "mqtt_ingest_qos0", wall / first);
        snprintf(name, sizeof(name), "mqtt_ingest_%s_cpu", modes[i].name);
        bench_line(name, cpu, "messages/CPU-second", "mqtt_ingest_qos0_cpu", cpu / first_cpu);
    }
    util_broker_stop(&broker);
    util_remove(dir);
    return 0;
}
