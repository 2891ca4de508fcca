/* The built-in rules over TCP in a whole core: the contract's vectors, what goes up and what goes down. */
#include "net_suites.h"

#include "tk.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>
#include <unistd.h>

enum { WAIT_MS = 10000, TEXT = 2048 };

#define SECRET "0123456789abcdef0123456789abcdef"
#define PASSWORD "5d4e1f404486b778af7b85414fdd14c9566566f6cd23fb2758bce85e82477460"
#define SIGN "156a0c5c69fd5b95c8eb2f968e8c1fe3570c3170900d6f2ec955fb60e1ab9e26"
#define LOGIN(password)                                                                            \
    "{\"requestId\":\"1\",\"method\":\"auth\",\"params\":{\"clientId\":\"pk01.dev01\","            \
    "\"username\":\"dev01&pk01\",\"password\":\"" password "\"}}"
#define LOGGED_IN                                                                                  \
    "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}"

static const char product[] =
    TPC_JSON({
    "key": "pk01", "codec": "alink", "secret": "fedcba9876543210fedcba9876543210",
    "auto_register": true,
    "model": { "properties": [{ "id": "t", "type": "double" },
                              { "id": "led", "type": "bool", "access": "rw" }],
               "services": [{ "id": "reboot", "input": [{ "id": "in", "type": "int" }] }] } });

static const char lines[] = "{\"type\":\"line\"}";
static const char lengths[] = "{\"type\":\"length\",\"size\":4,\"strip\":4}";

static struct tpc_core *core;
static uint16_t port;
static bool binary; /* frames of `lengths` */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char ended[256];

/* A device's connection. */
struct peer {
    int fd;
    uint8_t in[TEXT];
    size_t have;
};

static void put(const char *kind, const char *json)
{
    int rc = tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s %s", kind, tpc_error_last()->path, tpc_error_last()->text);
}

static uint16_t free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void begin(const char *framing)
{
    char options[256];
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    o.workers = 1;
    o.online_delay_ms = TPC_NO_DELAY;
    binary = framing == lengths;
    port = free_port();
    tk_ok(tpc_core_create(&o, &core));
    tk_ok(tpc_core_add_module(core, tpc_module_tcp()));
    put("product", product);
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    snprintf(options, sizeof(options),
             "{\"listen\":[\"tcp://127.0.0.1:%u\"],\"framing\":%s,\"login_timeout\":\"5s\"}",
             (unsigned) port, framing);
    int rc = tpc_core_open(core, "field", "tcp", tpc_str_from(options));
    ck_assert_msg(rc == 0, "%s: %s", tpc_error_last()->path, tpc_error_last()->text);
    tk_ok(tpc_core_start(core));
    ended[0] = '\0';
}

static void peer_open(struct peer *p)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    p->have = 0;
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(p->fd, (struct sockaddr *) &a, sizeof(a)), 0);
}

static void say(struct peer *p, const char *text)
{
    char frame[TEXT];
    size_t len = strlen(text), head = binary ? 4 : 0;
    memset(frame, 0, 4);
    frame[2] = (char) (len >> 8);
    frame[3] = (char) (len & 0xff);
    memcpy(frame + head, text, len);
    frame[head + len] = '\n';
    len += binary ? head : 1;
    ck_assert_int_eq(send(p->fd, frame, len, MSG_NOSIGNAL), (ssize_t) len);
}

/* The next frame; NULL: nothing came, "" = the connection ended. */
static const char *hear(struct peer *p, int wait_ms)
{
    static char text[TEXT];
    for (;;) {
        size_t end = 0, skip = 0;
        if (binary && p->have >= 4) {
            skip = 4;
            end = 4 + ((size_t) p->in[2] << 8 | p->in[3]);
        } else if (!binary && p->have > 0 && memchr(p->in, '\n', p->have) != NULL) {
            end = (size_t) ((uint8_t *) memchr(p->in, '\n', p->have) - p->in) + 1;
        }
        if (end > 0 && end <= p->have) {
            snprintf(text, sizeof(text), "%.*s", (int) (end - skip - !binary), p->in + skip);
            p->have -= end;
            memmove(p->in, p->in + end, p->have);
            return text;
        }
        struct pollfd f = { .fd = p->fd, .events = POLLIN };
        if (poll(&f, 1, wait_ms) != 1) {
            return NULL;
        }
        ssize_t n = recv(p->fd, p->in + p->have, sizeof(p->in) - p->have, 0);
        if (n <= 0) {
            return "";
        }
        p->have += (size_t) n;
    }
}

static void expect(struct peer *p, const char *text, const char *answer)
{
    say(p, text);
    const char *got = hear(p, WAIT_MS);
    ck_assert_msg(got != NULL && strcmp(got, answer) == 0, "%s: %s", text,
                  got != NULL ? got : "no answer");
}

static void on_end(void *user, const struct tpc_command *c)
{
    (void) user;
    pthread_mutex_lock(&lock);
    snprintf(ended, sizeof(ended), "%u %.*s", (unsigned) c->state, (int) c->reply_json.len,
             c->reply_json.len > 0 ? c->reply_json.ptr : "");
    pthread_mutex_unlock(&lock);
}

static void wait_end(const char *text)
{
    bool over = false;
    for (int i = 0; i < WAIT_MS / 5 && !over; i++) {
        pthread_mutex_lock(&lock);
        over = ended[0] != '\0';
        pthread_mutex_unlock(&lock);
        poll(NULL, 0, over ? 0 : 5);
    }
    ck_assert_str_eq(ended, text);
    ended[0] = '\0';
}

/* A command, the method under which the device hears it, and its answer. */
static void command(struct peer *p, const char *service, const char *params, const char *method)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = NULL;
    char id[64], answer[256];
    tk_ok(tpc_device_open(core, TPC_STR("dev01"), &d));
    o.device = d;
    o.service = tpc_str_from(service);
    o.params_json = tpc_str_from(params);
    tk_ok(tpc_command_send(core, NULL, &o, on_end, NULL, NULL));
    const char *got = hear(p, WAIT_MS);
    ck_assert_msg(got != NULL && strstr(got, method) != NULL, "%s: %s", service, got);
    const char *from = strstr(got, "\"requestId\":\"");
    ck_assert_ptr_nonnull(from);
    from += strlen("\"requestId\":\"");
    snprintf(id, sizeof(id), "%.*s", (int) strcspn(from, "\""), from);
    snprintf(answer, sizeof(answer), "{\"requestId\":\"%s\",%s,\"code\":0,\"data\":{\"n\":1}}", id,
             method);
    say(p, answer);
    snprintf(answer, sizeof(answer), "%u {\"n\":1}", (unsigned) TPC_COMMAND_SUCCEEDED);
    wait_end(answer);
    tpc_device_unref(d);
}

static void report(struct peer *p, const char *id)
{
    char text[TEXT];
    snprintf(text, sizeof(text),
             "{\"requestId\":\"%s\",\"method\":\"thing.property.post\",\"params\":{\"t\":21.5}}",
             id);
    say(p, text);
    const char *got = hear(p, WAIT_MS);
    snprintf(text, sizeof(text), "\"requestId\":\"%s\"", id);
    ck_assert_msg(got != NULL && strstr(got, text) != NULL && strstr(got, "\"code\":0") != NULL &&
                      strstr(got, "\"method\":\"thing.property.post\"") != NULL,
                  "%s", got);
}

static void whole_life(const char *framing)
{
    struct peer p, q;
    begin(framing);
    peer_open(&p);
    expect(&p, "{\"requestId\":\"0\",\"method\":\"thing.property.post\",\"params\":{\"t\":1}}",
           "{\"requestId\":\"0\",\"method\":\"thing.property.post\",\"code\":401,\"msg\":\"log in "
           "first\"}");
    expect(&p, LOGIN("0000"),
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    expect(&p, LOGIN(PASSWORD), LOGGED_IN);
    report(&p, "a");
    expect(&p, LOGIN(PASSWORD), LOGGED_IN);
    /* The original forwards only property.set over TCP; here every method goes down. */
    command(&p, "set", "{\"led\":true}", "\"method\":\"thing.property.set\"");
    command(&p, "reboot", "{\"in\":3}", "\"method\":\"thing.service.invoke\"");
    /* The same device again: the older connection ends, and the newer one is spoken to. */
    peer_open(&q);
    expect(&q, LOGIN(PASSWORD), LOGGED_IN);
    ck_assert_str_eq(hear(&p, WAIT_MS), "");
    report(&q, "b");
    command(&q, "set", "{\"led\":false}", "\"method\":\"thing.property.set\"");
    close(p.fd);
    close(q.fd);
    tk_ok(tpc_core_destroy(core));
}

START_TEST(device_lives_on_lines)
{
    whole_life(lines);
}
END_TEST

START_TEST(device_lives_on_frames_with_a_length)
{
    whole_life(lengths);
}
END_TEST

START_TEST(device_registers_and_goes_on_over_the_same_connection)
{
    struct peer p;
    begin(lines);
    put("device", "{\"key\":\"gw\",\"product\":\"pk01\"}");
    peer_open(&p);
    expect(&p,
           "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{\"productKey\":"
           "\"pk01\",\"deviceName\":\"dev01\",\"sign\":\"" SIGN "\"}}",
           "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"code\":500,\"msg\":\"the "
           "device is registered already\"}");
    tk_ok(tpc_entity_delete(core, NULL, TPC_STR(""), "device", TPC_STR("dev01"), TPC_ANY_REV));
    say(&p, "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{\"productKey\":"
            "\"pk01\",\"deviceName\":\"dev01\",\"sign\":\"" SIGN "\"}}");
    const char *got = hear(&p, WAIT_MS);
    ck_assert_msg(got != NULL && strstr(got, "\"deviceSecret\":\"") != NULL, "%s", got);
    ck_assert_ptr_nonnull(strstr(got, "\"productKey\":\"pk01\",\"deviceName\":\"dev01\""));
    expect(&p, LOGIN(PASSWORD),
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    /* With the secret of before it is in again. */
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    expect(&p, LOGIN(PASSWORD), LOGGED_IN);
    close(p.fd);
    tk_ok(tpc_core_destroy(core));
}
END_TEST

static struct tpc_id send_set(uint32_t expire_ms)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = NULL;
    struct tpc_id id;
    tk_ok(tpc_device_open(core, TPC_STR("dev01"), &d));
    o.device = d;
    o.service = TPC_STR("set");
    o.params_json = TPC_STR("{\"led\":true}");
    o.expire_ms = expire_ms;
    tk_ok(tpc_command_send(core, NULL, &o, on_end, NULL, &id));
    tpc_device_unref(d);
    return id;
}

START_TEST(command_for_a_device_that_is_gone_waits_for_it_or_ends)
{
    struct peer p;
    struct tpc_device *d = NULL;
    char text[32];
    begin(lines);
    peer_open(&p);
    expect(&p, LOGIN(PASSWORD), LOGGED_IN);
    close(p.fd);
    /* Nobody is there before it expires. */
    (void) send_set(50);
    snprintf(text, sizeof(text), "%u ", (unsigned) TPC_COMMAND_EXPIRED);
    wait_end(text);
    /* It comes back in time. */
    (void) send_set(0);
    peer_open(&p);
    expect(&p, LOGIN(PASSWORD), LOGGED_IN);
    const char *got = hear(&p, WAIT_MS);
    ck_assert_msg(got != NULL && strstr(got, "\"params\":{\"led\":true}") != NULL, "%s", got);
    /* It is deleted while the platform waits for its answer. */
    tk_ok(tpc_entity_delete(core, NULL, TPC_STR(""), "device", TPC_STR("dev01"), TPC_ANY_REV));
    tk_fails(TPC_ENOENT, tpc_device_open(core, TPC_STR("dev01"), &d));
    say(&p, "{\"requestId\":\"x\",\"method\":\"thing.property.set\",\"code\":0,\"data\":{}}");
    close(p.fd);
    tk_ok(tpc_core_destroy(core));
}
END_TEST

START_TEST(device_that_is_disabled_is_sent_away)
{
    struct peer p;
    begin(lines);
    peer_open(&p);
    expect(&p, LOGIN(PASSWORD), LOGGED_IN);
    report(&p, "a");
    put("device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"enabled\":false}");
    ck_assert_str_eq(hear(&p, WAIT_MS), "");
    close(p.fd);
    peer_open(&p);
    expect(&p, LOGIN(PASSWORD),
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    close(p.fd);
    tk_ok(tpc_core_destroy(core));
}
END_TEST

START_TEST(first_bytes_that_are_no_message_end_the_connection)
{
    struct peer p;
    begin(lines);
    peer_open(&p);
    say(&p, "GET / HTTP/1.1");
    ck_assert_str_eq(hear(&p, WAIT_MS), "");
    close(p.fd);
    tk_ok(tpc_core_destroy(core));
}
END_TEST

Suite *rules_suite(void)
{
    Suite *s = suite_create("rules");
    TCase *t = tcase_create("rules");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, device_lives_on_lines);
    tcase_add_test(t, device_lives_on_frames_with_a_length);
    tcase_add_test(t, device_registers_and_goes_on_over_the_same_connection);
    tcase_add_test(t, command_for_a_device_that_is_gone_waits_for_it_or_ends);
    tcase_add_test(t, device_that_is_disabled_is_sent_away);
    tcase_add_test(t, first_bytes_that_are_no_message_end_the_connection);
    suite_add_tcase(s, t);
    return s;
}
