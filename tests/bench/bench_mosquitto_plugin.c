/*
 * mosquitto with the plugin beside mosquitto with a password and an ACL file of its own: the broker's
 * CPU time for the same load, 1,000 clients that publish 100 messages each at QoS 1 to one subscriber.
 */
#include "bench.h"
#include "bench_util.h"
#include "broker.h"

#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

enum { CLIENTS = 1000, MESSAGES = 100, WAIT_MS = 120000, ROUNDS = 2 };

static struct broker clients[CLIENTS + 1]; /* the last one subscribes */
static char names[CLIENTS + 1][16];
static char passwords[CLIENTS + 1][24];
static uint64_t heard;

static int64_t now_ms(void)
{
    return (int64_t) (util_wall_ns() / 1e6);
}

static void make_store(const char *dir)
{
    struct tpc_core *core;
    char text[400];
    bench_must(tpc_core_create(NULL, &core) == 0, "core");
    bench_must(tpc_core_add_module(core, tpc_module_sqlite()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s/store\"}", dir);
    bench_must(tpc_core_open(core, "entities", "sqlite", tpc_str_from(text)) == 0, "store");
    bench_must(tpc_entity_put(core, NULL, "product",
                              TPC_STR("{\"key\":\"p\",\"model\":{\"properties\":[{\"id\":\"x\","
                                      "\"type\":\"int\"}]}}"),
                              TPC_ANY_REV, NULL) == 0,
               "product");
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(text, sizeof(text),
                 "{\"key\":\"%s\",\"product\":\"p\",\"credentials\":{\"username\":\"%s\","
                 "\"password\":\"%s\"}}",
                 names[i], names[i], passwords[i]);
        bench_must(tpc_entity_put(core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL) == 0,
                   tpc_error_last()->text);
    }
    snprintf(text, sizeof(text), "{\"key\":\"%s\",\"password\":\"%s\"}", names[CLIENTS],
             passwords[CLIENTS]);
    bench_must(tpc_entity_put(core, NULL, "service_user", tpc_str_from(text), TPC_ANY_REV, NULL) ==
                   0,
               "user");
    tpc_core_destroy(core);
}

/* The broker's own files, which say the same. */
static void make_files(const char *dir)
{
    char path[UTIL_PATH_BYTES + 32], command[UTIL_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/passwords", dir);
    FILE *f = fopen(path, "w");
    bench_must(f != NULL, "passwords");
    for (int i = 0; i <= CLIENTS; i++) {
        fprintf(f, "%s:%s\n", names[i], passwords[i]);
    }
    fclose(f);
    bench_must(chmod(path, 0600) == 0, "chmod");
    snprintf(command, sizeof(command), "mosquitto_passwd -U %s", path);
    bench_must(system(command) == 0, "mosquitto_passwd");
    snprintf(path, sizeof(path), "%s/topics", dir);
    f = fopen(path, "w");
    bench_must(f != NULL, "topics");
    fprintf(f,
            "pattern write devices/telemetry\npattern write devices/attributes/+\n"
            "pattern write devices/event/+\npattern write devices/command/response/+\n"
            "pattern read devices/command/%%u/+\npattern read devices/attributes/set/%%u/+\n"
            "user %s\ntopic readwrite #\n",
            names[CLIENTS]);
    fclose(f);
    bench_must(chmod(path, 0600) == 0, "chmod");
}

static void on_message(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    (void) user;
    (void) payload;
    heard += topic.len == sizeof("devices/telemetry") - 1;
}

static void turn(struct pollfd *polls)
{
    for (int i = 0; i <= CLIENTS; i++) {
        polls[i] = (struct pollfd){ .events = broker_tick(&clients[i], now_ms()) };
        polls[i].fd = clients[i].fd;
    }
    poll(polls, CLIENTS + 1, 5);
    for (int i = 0; i <= CLIENTS; i++) {
        broker_ready(&clients[i], polls[i].revents, now_ms());
    }
}

static int all_up(void)
{
    int up = 0;
    for (int i = 0; i <= CLIENTS; i++) {
        up += clients[i].state == BROKER_UP;
    }
    return up == CLIENTS + 1;
}

/* The broker's CPU nanoseconds of one message. */
static double measure(const char *dir, const char *more)
{
    static struct pollfd polls[CLIENTS + 1];
    struct util_broker b;
    uint32_t sent[CLIENTS] = { 0 };
    heard = 0;
    bench_must(util_broker_start_with(&b, dir, more) == 0, "mosquitto");
    for (int i = 0; i <= CLIENTS; i++) {
        bench_must(broker_init(&clients[i], "127.0.0.1", b.port, names[i]) == 0, "client");
        clients[i].user_name = names[i];
        clients[i].password = passwords[i];
    }
    clients[CLIENTS].on_message = on_message;
    snprintf(clients[CLIENTS].filter, sizeof(clients[CLIENTS].filter), "devices/#");
    int64_t end = now_ms() + WAIT_MS;
    while (!all_up() && now_ms() < end) {
        turn(polls);
    }
    for (int i = 0; i < 100; i++) {
        turn(polls); /* the subscription, and the status of all */
    }
    double begin = util_broker_cpu_ns(&b);
    while (heard < (uint64_t) CLIENTS * MESSAGES && now_ms() < end) {
        for (int i = 0; i < CLIENTS; i++) {
            while (sent[i] < MESSAGES && clients[i].inflight_count < 4 &&
                   broker_publish(&clients[i], "devices/telemetry",
                                  "{\"temperature\":21.5,\"humidity\":45.0,\"seq\":1234}", 46, 1)) {
                sent[i]++;
            }
        }
        turn(polls);
    }
    double spent = util_broker_cpu_ns(&b) - begin;
    bench_must(heard == (uint64_t) CLIENTS * MESSAGES, "messages");
    for (int i = 0; i <= CLIENTS; i++) {
        broker_fini(&clients[i]);
    }
    util_broker_stop(&b);
    return spent / ((double) CLIENTS * MESSAGES);
}

int main(void)
{
    char dir[UTIL_PATH_BYTES], plugin[2 * UTIL_PATH_BYTES + 64], files[2 * UTIL_PATH_BYTES + 64];
    double with = 1e18, own = 1e18;
    util_folder(NULL, dir);
    for (int i = 0; i <= CLIENTS; i++) {
        snprintf(names[i], sizeof(names[i]), "device-%04d", i);
        snprintf(passwords[i], sizeof(passwords[i]), "password-%04d", i);
    }
    make_store(dir);
    make_files(dir);
    snprintf(plugin, sizeof(plugin),
             "allow_anonymous false\nplugin %s\nplugin_opt_store_dir %s/store\n", PLUGIN, dir);
    snprintf(files, sizeof(files),
             "allow_anonymous false\npassword_file %s/passwords\nacl_file %s/topics\n", dir, dir);
    for (int i = 0; i < ROUNDS; i++) {
        double a = measure(dir, plugin), b = measure(dir, files);
        with = a < with ? a : with;
        own = b < own ? b : own;
    }
    bench_line("mosquitto_plugin", with / 1000, "us CPU of the broker/message",
               "its own password and ACL files", with / own);
    util_remove(dir);
    return 0;
}
