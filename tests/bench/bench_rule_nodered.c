/*
 * rule_nodered: CPU time of a message that a rule acts on, the process against Node-RED's, through the
 * same mosquitto. There: mqtt in, json, switch, function, count; here: the adapter paho, the JSON of
 * Alink, one scene that fires with each message; with QoS 0, and with QoS 1 where ours acknowledges what is in
 * the log. Node-RED is installed once with npm into a folder of
 * the build; without npm, mosquitto or a network the benchmark is skipped.
 */
#include "bench.h"
#include "bench_util.h"
#include "broker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>
#include <unistd.h>

enum { MESSAGES = 50000, DEVICES = 16, WAIT_S = 120, INSTALL_S = 280, TEXT = 4096 };

extern char **environ;

static int64_t now_ms(void)
{
    return (int64_t) (util_wall_ns() / 1e6);
}

/* ---- the devices ---- */

/* The child: as fast as 64 messages in flight go. */
static void publish_all(uint16_t port)
{
    static struct broker b;
    uint32_t sent = 0;
    bench_must(broker_init(&b, "127.0.0.1", port, "publisher") == 0, "publisher");
    while (sent < MESSAGES || b.inflight_count > 0) {
        for (bool taken = true; taken && sent < MESSAGES; sent += taken) {
            char topic[64], text[160];
            snprintf(topic, sizeof(topic), "/sys/thermo/t%u/thing/property/post", sent % DEVICES);
            int n = snprintf(text, sizeof(text),
                             "{\"method\":\"thing.property.post\",\"params\":{\"temperature\":31.5,"
                             "\"humidity\":45.0,\"seq\":%u}}",
                             sent);
            taken = broker_publish(&b, topic, text, (size_t) n, sent);
        }
        struct pollfd p = { .events = broker_tick(&b, now_ms()) };
        p.fd = b.fd;
        poll(&p, 1, 10);
        broker_ready(&b, p.revents, now_ms());
    }
    broker_fini(&b);
    _exit(0);
}

static pid_t publish(uint16_t port)
{
    pid_t child = fork();
    if (child == 0) {
        publish_all(port);
    }
    return child;
}

/* ---- Node-RED ---- */

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[2 * UTIL_PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    bench_must(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, path);
}

static bool file_has(const char *dir, const char *name, const char *part)
{
    char path[2 * UTIL_PATH_BYTES], line[TEXT];
    bool found = false;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        found = strstr(line, part) != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

static bool wait_for(const char *dir, const char *name, const char *part, int seconds)
{
    for (int i = 0; i < seconds * 20 && !file_has(dir, name, part); i++) {
        poll(NULL, 0, 50);
    }
    return file_has(dir, name, part);
}

/* Runs a program with its output in dir/log; 0 = it cannot be started. */
static pid_t start(const char *dir, char *const *argv)
{
    char path[2 * UTIL_PATH_BYTES];
    posix_spawn_file_actions_t files;
    pid_t pid = 0;
    snprintf(path, sizeof(path), "%s/log", dir);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    int rc = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return rc == 0 ? pid : 0;
}

static bool install(const char *dir)
{
    char prefix[] = NODE_RED_DIR;
    char red[] = NODE_RED_DIR "/node_modules/node-red/red.js";
    char *argv[] = { (char[]){ "npm" },
                     (char[]){ "install" },
                     (char[]){ "--no-audit" },
                     (char[]){ "--no-fund" },
                     (char[]){ "--omit=optional" },
                     (char[]){ "--prefix" },
                     prefix,
                     (char[]){ "node-red@3.1.9" },
                     NULL };
    int status = -1;
    if (access(red, R_OK) == 0) {
        return true;
    }
    pid_t pid = start(dir, argv);
    for (int i = 0; pid > 0 && i < INSTALL_S * 10; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return status == 0 && access(red, R_OK) == 0;
        }
        poll(NULL, 0, 100);
    }
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return false;
}

/* No id may be a word that stands elsewhere in a node. */
static const char flow[] =
    "[{\"id\":\"x0\",\"type\":\"tab\",\"label\":\"bench\"},"
    "{\"id\":\"x1\",\"type\":\"mqtt-broker\",\"broker\":\"127.0.0.1\",\"port\":\"%u\","
    "\"clientid\":\"red\",\"autoConnect\":true,\"usetls\":false,\"protocolVersion\":\"4\","
    "\"keepalive\":\"60\",\"cleansession\":true},"
    "{\"id\":\"x2\",\"z\":\"x0\",\"type\":\"mqtt in\",\"topic\":"
    "\"/sys/+/+/thing/property/post\",\"qos\":\"%u\",\"datatype\":\"utf8\",\"broker\":\"x1\","
    "\"wires\":[[\"x3\"]]},"
    "{\"id\":\"x3\",\"z\":\"x0\",\"type\":\"json\",\"property\":\"payload\",\"action\":\"obj\","
    "\"wires\":[[\"x4\"]]},"
    "{\"id\":\"x4\",\"z\":\"x0\",\"type\":\"switch\",\"property\":"
    "\"payload.params.temperature\",\"propertyType\":\"msg\",\"rules\":[{\"t\":\"gt\",\"v\":"
    "\"30\",\"vt\":\"num\"}],\"checkall\":\"true\",\"outputs\":1,\"wires\":[[\"x5\"]]},"
    "{\"id\":\"x5\",\"z\":\"x0\",\"type\":\"function\",\"func\":\"msg.payload = {on: true}; "
    "return msg;\",\"outputs\":1,\"initialize\":\"\",\"finalize\":\"\",\"libs\":[],"
    "\"wires\":[[\"x6\"]]},"
    "{\"id\":\"x6\",\"z\":\"x0\",\"type\":\"function\",\"func\":\"const n = "
    "(context.get('n') || 0) + 1; context.set('n', n); if (n === %d) { node.warn('all of them'); "
    "}\","
    "\"outputs\":0,\"initialize\":\"\",\"finalize\":\"\",\"libs\":[],\"wires\":[]}]";

/* Nanoseconds of a message; 0 = it does not run here. */
static double run_node_red(const char *dir, uint16_t port, unsigned qos)
{
    char text[TEXT], user_dir[UTIL_PATH_BYTES];
    char red[] = NODE_RED_DIR "/node_modules/node-red/red.js";
    snprintf(user_dir, sizeof(user_dir), "%s", dir);
    snprintf(text, sizeof(text), flow, (unsigned) port, qos, MESSAGES);
    write_file(dir, "flows.json", text);
    write_file(dir, "settings.js",
               "module.exports = { uiPort: 0, uiHost: '127.0.0.1', httpAdminRoot: false,\n"
               "  httpNodeRoot: false, flowFile: 'flows.json', credentialSecret: false,\n"
               "  telemetry: { enabled: false } };\n");
    char *argv[] = { (char[]){ "node" }, red, (char[]){ "-u" }, user_dir, NULL };
    struct util_broker node = { .pid = start(dir, argv) };
    if (node.pid == 0 || !wait_for(dir, "log", "Connected to broker", 30)) {
        if (node.pid > 0) {
            kill(node.pid, SIGKILL);
            waitpid(node.pid, NULL, 0);
        }
        return 0;
    }
    poll(NULL, 0, 500); /* the subscription */
    double cpu = util_broker_cpu_ns(&node);
    pid_t publisher = publish(port);
    bool all = wait_for(dir, "log", "all of them", WAIT_S);
    cpu = util_broker_cpu_ns(&node) - cpu;
    waitpid(publisher, NULL, 0);
    kill(node.pid, SIGKILL);
    waitpid(node.pid, NULL, 0);
    bench_must(all, "Node-RED did not get all messages:");
    return cpu / MESSAGES;
}

/* ---- ours ---- */

static const char product[] = TPC_JSON({
    "key": "thermo", "codec": "alink",
    "model": { "properties": [
        { "id": "temperature", "type": "double", "min": -40, "max": 125 },
        { "id": "humidity", "type": "double", "min": 0, "max": 100 },
        { "id": "seq", "type": "int" } ] } });
static const char scene[] = TPC_JSON({
    "key": "hot", "when": { "product": "thermo", "expr": "temperature > 30", "fire": "each" },
    "then": [ { "notify": { "handler": "count", "params": { "on": true } } } ] });

static int find_fired(void *user, const struct tpc_metric *m)
{
    if (strcmp(m->name, "tpc_rules_fired_total") == 0) {
        *(double *) user = m->value;
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

static void put(struct tpc_core *core, const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
}

static double run_ours(const char *dir, uint16_t port, unsigned qos)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[2 * UTIL_PATH_BYTES];
    double fired = 0;
    int up = 0;
    o.workers = 1;
    o.on_log = on_log;
    o.log_user = &up;
    bench_must(tpc_core_create(&o, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_mqtt()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s/ours%u\"}", dir, qos);
    bench_must(tpc_core_open(core, "log", "file", tpc_str_from(text)) == 0, "log");
    snprintf(text, sizeof(text), "{\"url\":\"mqtt://127.0.0.1:%u\",\"qos\":%u}", port, qos);
    bench_must(tpc_core_open(core, "mqtt", "mqtt", tpc_str_from(text)) == 0, "mqtt");
    put(core, "product", product);
    for (int i = 0; i < DEVICES; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"t%d\",\"product\":\"thermo\"}", i);
        put(core, "device", text);
    }
    put(core, "scene", scene);
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    for (int i = 0; i < 500 && !__atomic_load_n(&up, __ATOMIC_SEQ_CST); i++) {
        poll(NULL, 0, 10);
    }
    poll(NULL, 0, 500);
    double cpu = bench_cpu_ns();
    pid_t publisher = publish(port);
    for (int i = 0; i < WAIT_S * 20 && fired < MESSAGES; i++) {
        poll(NULL, 0, 50);
        tpc_core_stats(core, find_fired, &fired);
    }
    cpu = bench_cpu_ns() - cpu;
    waitpid(publisher, NULL, 0);
    bench_must(fired == MESSAGES, "all messages");
    tpc_core_destroy(core);
    return cpu / MESSAGES;
}

int main(void)
{
    char dir[UTIL_PATH_BYTES];
    struct util_broker broker;
    util_folder(NULL, dir);
    const char *why =
        util_broker_start_with(
            &broker, dir,
            "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\n") != 0
            ? "mosquitto is not installed"
            : NULL;
    bool broker_up = why == NULL;
    why = why == NULL && !install(dir) ? "npm cannot install Node-RED" : why;
    for (unsigned qos = 0; why == NULL && qos <= 1; qos++) {
        double theirs = run_node_red(dir, broker.port, qos);
        if (theirs == 0) {
            why = "Node-RED does not start";
            break;
        }
        double ours = run_ours(dir, broker.port, qos);
        bench_line(qos == 0 ? "rule_nodered" : "rule_nodered_qos1", ours / 1e3, "us/message",
                   "Node-RED", theirs / ours);
    }
    if (why != NULL) {
        fprintf(stderr, "SKIP rule_nodered: %s\n", why);
    }
    if (broker_up) {
        util_broker_stop(&broker);
    }
    util_remove(dir);
    return why == NULL ? 0 : 77;
}
