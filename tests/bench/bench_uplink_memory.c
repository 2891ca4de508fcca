/*
 * uplink_memory: bytes in memory to decoded, checked, logged, latest value, one scene and history,
 * 1,000 devices of 8 keys, one worker, all on one core; against what mosquitto's process pays to
 * take the same messages at QoS 0 when nobody subscribes.
 */
#include "bench_util.h"
#include "rig.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEVICES = 1000, KEYS = 8, MESSAGES = 5000000, BROKER_PART = 5, BUFFER = 1 << 16 };

static void send_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        bench_must(n > 0, "sending to mosquitto");
        p += n;
        len -= (size_t) n;
    }
}

/* PUBLISH at QoS 0 (MQTT 3.1.1, 3.3). Returns its length. */
static size_t put_publish(uint8_t *at, const char *topic, const char *payload, size_t len)
{
    size_t topic_len = strlen(topic), rest = 2 + topic_len + len;
    uint8_t *p = at;
    *p++ = 0x30;
    *p++ = (uint8_t) ((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    if (rest > 0x7f) {
        *p++ = (uint8_t) (rest >> 7);
    }
    *p++ = (uint8_t) (topic_len >> 8);
    *p++ = (uint8_t) topic_len;
    memcpy(p, topic, topic_len);
    memcpy(p + topic_len, payload, len);
    return (size_t) (p - at) + topic_len + len;
}

/* The child: all messages, then a ping whose answer says that they were read. */
static void publish_all(uint16_t port, uint64_t messages)
{
    static const uint8_t hello[] = { 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'b' };
    static const uint8_t ping[] = { 0xc0, 0 };
    static uint8_t out[BUFFER];
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct data d;
    struct data_message m;
    char text[512], key[DATA_KEY_BYTES], topic[64];
    uint8_t answer[4];
    size_t used = 0;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bench_must(connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0, "connecting");
    send_all(fd, hello, sizeof(hello));
    bench_must(recv(fd, answer, 4, MSG_WAITALL) == 4 && answer[3] == 0, "CONNACK");
    data_init(&d, 1, DEVICES, KEYS, false);
    for (uint64_t i = 0; i < messages; i++) {
        data_next(&d, &m);
        snprintf(topic, sizeof(topic), "devices/telemetry/%s", data_device(m.device, key));
        size_t len = data_json(&m, text, sizeof(text));
        used += put_publish(out + used, topic, text, len);
        if (used > BUFFER - 1024) {
            send_all(fd, out, used);
            used = 0;
        }
    }
    send_all(fd, out, used);
    send_all(fd, ping, sizeof(ping));
    bench_must(recv(fd, answer, 2, MSG_WAITALL) == 2 && answer[0] == 0xd0, "PINGRESP");
    _exit(0);
}

/* Nanoseconds of mosquitto's process for a message; 0 = not installed. */
static double broker_ns(uint64_t messages)
{
    char dir[UTIL_PATH_BYTES];
    struct util_broker b;
    int status = 1;
    util_folder(NULL, dir);
    if (util_broker_start(&b, dir) != 0) {
        util_remove(dir);
        return 0;
    }
    double cpu = util_broker_cpu_ns(&b);
    pid_t child = fork();
    if (child == 0) {
        publish_all(b.port, messages);
    }
    waitpid(child, &status, 0);
    cpu = util_broker_cpu_ns(&b) - cpu;
    util_broker_stop(&b);
    util_remove(dir);
    bench_must(status == 0, "publishing");
    return cpu / (double) messages;
}

int main(void)
{
    struct rig_options o = { .devices = DEVICES, .keys = KEYS, .workers = 1 };
    struct rig_result r;
    o.messages = util_number("BENCH_MESSAGES", MESSAGES);
    double theirs = broker_ns(o.messages / BROKER_PART);
    util_pin(1);
    rig_best(&o, &r);
    double ours = rig_cost_ns(&o, &r);
    bench_line("uplink_memory", 1e9 / ours, "msg/s/core", "target 800000", 1e9 / ours / 800000);
    bench_line("uplink_memory_cost", ours, "ns/msg", "mosquitto, QoS 0, no subscriber",
               theirs > 0 ? ours / theirs : 0);
    bench_line("uplink_memory_generator", r.generator_ns / (double) o.messages, "ns/msg",
               "subtracted", 0);
    bench_line("uplink_memory_skipped", r.skipped, "refused, dropped, deduplicated", "0", 0);
    double allocated = (double) r.allocations / (double) o.messages;
    bench_line("uplink_memory_allocations", allocated, "1/msg", "none", allocated);
    return 0;
}
