/*
 * http_json: requests a second that the module http answers with 66 bytes of JSON, over 64 connections, with
 * 0 and with 10,000 idle connections beside them. A child process asks. The ratio is to the run without
 * idle ones; _cpu is the same by CPU time of the server's process.
 */
#include "bench.h"
#include "bench_util.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tpcore/arena.h>
#include <tpcore/core.h>
#include <tpcore/error.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/http_server.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>
#include <unistd.h>

enum { CONNECTIONS = 64, IDLE = 10000, REQUESTS = 100000, ROUNDS = 3, ANSWER = 66, ROOM = 1024 };

static const char ask[] = "GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
static const char body[] =
    "{\"code\":200,\"message\":\"success\",\"data\":{\"rows\":[1,2,3],\"total\":3}}";

/* ---- a module with one route ---- */

static const struct tpc_http_server_ops *server;
static void *server_self;
static struct tpc_value answer_json;

static void on_health(void *user, const struct tpc_http_call *c)
{
    struct tpc_http_answer a = { .size = sizeof(a), .status = 200, .json = &answer_json };
    (void) user;
    bench_must(server->reply(server_self, c->id, &a) == 0, "reply");
}

static const struct tpc_http_route routes[] = {
    { .method = "GET", .path = "/api/v1/health", .fn = on_health }
};

struct user_of {
    const struct tpc_host *host;
    void *ctx;
    uint64_t set;
};

static int user_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct user_of *u = self;
    (void) cfg;
    u->host = host;
    u->ctx = ctx;
    return 0;
}

static int user_start(void *self)
{
    struct user_of *u = self;
    const void *ops;
    static const struct tpc_list list = TPC_LIST(routes);
    int rc = u->host->need(u->ctx, "http.server", &ops, &server_self);
    server = ops;
    return rc != 0 ? rc : server->add(server_self, &list, NULL, NULL, &u->set);
}

static int user_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                     uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void user_stop(void *self)
{
    server->remove(server_self, ((struct user_of *) self)->set);
}

static void user_fini(void *self)
{
    (void) self;
}

static const struct tpc_adapter_ops user_ops = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                                 .name = "bench_user",
                                                 .instance_size = sizeof(struct user_of),
                                                 .init = user_init,
                                                 .start = user_start,
                                                 .send = user_send,
                                                 .stop = user_stop,
                                                 .fini = user_fini };
static const struct tpc_interface interfaces[] = { { TPC_KIND_ADAPTER, &user_ops } };
static const char *const needs[] = { "http.server" };
static const struct tpc_module user_module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                               .name = "bench_user",
                                               .version = "0",
                                               .licence = "Apache-2.0",
                                               .interfaces = TPC_INTERFACES(interfaces),
                                               .needs = TPC_LIST(needs) };

/* ---- the child, which asks ---- */

struct peer {
    int fd;
    size_t len;
    char text[ROOM];
};

static int connect_to(uint16_t port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bench_must(fd >= 0 && connect(fd, (const struct sockaddr *) &in, sizeof(in)) == 0, "connect");
    return fd;
}

/* Whether the answer is whole; then the next may be asked for. */
static int take(struct peer *p)
{
    ssize_t n = recv(p->fd, p->text + p->len, ROOM - p->len - 1, 0);
    bench_must(n > 0, "answer");
    p->len += (size_t) n;
    p->text[p->len] = '\0';
    const char *end = strstr(p->text, "\r\n\r\n");
    if (end == NULL || p->len < (size_t) (end - p->text) + 4 + ANSWER) {
        return 0;
    }
    p->len = 0;
    return 1;
}

static void send_ask(int fd)
{
    bench_must(send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) == (ssize_t) sizeof(ask) - 1, "ask");
}

static void ask_all(struct peer *peers, int epoll, uint32_t requests)
{
    struct epoll_event events[CONNECTIONS];
    uint32_t sent = 0, taken = 0;
    for (; sent < CONNECTIONS; sent++) {
        send_ask(peers[sent].fd);
    }
    while (taken < requests) {
        int n = epoll_wait(epoll, events, CONNECTIONS, 5000);
        bench_must(n > 0, "an answer in time");
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (take(p)) {
                taken++;
                if (sent < requests) {
                    send_ask(p->fd);
                    sent++;
                }
            }
        }
    }
}

/* Asks once on each, so that they are between two requests. */
static void open_idle(int *fds, uint16_t port)
{
    struct peer p;
    for (int i = 0; i < IDLE; i++) {
        p.fd = fds[i] = connect_to(port);
        p.len = 0;
        send_ask(p.fd);
        while (!take(&p)) {
        }
    }
}

/* Tells the parent that a run begins or ends, and waits until it looked at its clock. */
static void sync_with(int out, int in)
{
    char c = 's';
    bench_must(write(out, &c, 1) == 1 && read(in, &c, 1) == 1, "pipe");
}

static void child(uint16_t port, int out, int in)
{
    static struct peer peers[CONNECTIONS];
    static int idle[IDLE];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = &peers[i] };
        peers[i].fd = connect_to(port);
        bench_must(epoll_ctl(epoll, EPOLL_CTL_ADD, peers[i].fd, &e) == 0, "epoll");
    }
    ask_all(peers, epoll, REQUESTS / 10);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        if (round % 2 == 1) {
            open_idle(idle, port);
        }
        sync_with(out, in);
        ask_all(peers, epoll, REQUESTS);
        sync_with(out, in);
        for (int i = 0; round % 2 == 1 && i < IDLE; i++) {
            close(idle[i]);
        }
    }
    _exit(0);
}

/* ---- the server ---- */

static void sync_peer(int in, int out, double *ret_wall, double *ret_cpu)
{
    char c;
    bench_must(read(in, &c, 1) == 1, "child");
    *ret_wall = util_wall_ns();
    *ret_cpu = bench_cpu_ns();
    bench_must(write(out, &c, 1) == 1, "pipe");
}

static void measure(int in, int out)
{
    double best[2] = { 1e18, 1e18 }, cpu[2] = { 1e18, 1e18 }, idle_bytes = 1e18, rss = 0;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        double wall[2], used[2];
        int k = round % 2;
        sync_peer(in, out, &wall[0], &used[0]);
        double now = util_rss_bytes();
        if (k == 0) {
            rss = round == 0 ? now : rss;
        } else {
            idle_bytes = now - rss < idle_bytes ? now - rss : idle_bytes;
        }
        sync_peer(in, out, &wall[1], &used[1]);
        best[k] = wall[1] - wall[0] < best[k] ? wall[1] - wall[0] : best[k];
        cpu[k] = used[1] - used[0] < cpu[k] ? used[1] - used[0] : cpu[k];
    }
    bench_line("http_json", REQUESTS * 1e9 / best[0], "requests/s", "none", 1);
    bench_line("http_json_idle", REQUESTS * 1e9 / best[1], "requests/s", "http_json",
               best[0] / best[1]);
    bench_line("http_json_cpu", cpu[0] / REQUESTS, "ns of CPU", "none", 1);
    bench_line("http_json_idle_cpu", cpu[1] / REQUESTS, "ns of CPU", "http_json_cpu",
               cpu[1] / cpu[0]);
    bench_line("http_idle_memory", idle_bytes / IDLE, "bytes a connection", "none", 1);
}

static void raise_files(void)
{
    struct rlimit l;
    bench_must(getrlimit(RLIMIT_NOFILE, &l) == 0, "limit");
    l.rlim_cur = l.rlim_max;
    bench_must(setrlimit(RLIMIT_NOFILE, &l) == 0, "limit");
    if (l.rlim_cur < IDLE + 500) {
        fprintf(stderr, "bench: a process may open %llu files, %d are needed\n",
                (unsigned long long) l.rlim_cur, IDLE + 500);
        exit(77);
    }
}

int main(void)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    struct tpc_arena *arena;
    char options[200];
    int up[2], down[2];
    raise_files();
    bench_must(sizeof(body) - 1 == ANSWER, "66 bytes");
    bench_must(tpc_arena_create(NULL, 0, &arena) == 0 &&
                   tpc_json_parse(arena, TPC_STR(body), 0, NULL, &answer_json) == 0,
               "body");
    o.workers = 1;
    bench_must(tpc_core_create(&o, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_http()) == 0, "module");
    bench_must(tpc_core_add_module(core, &user_module) == 0, "module");
    snprintf(options, sizeof(options),
             "{\"listen\":[\"http://"
             "127.0.0.1:0\"],\"max_connections\":20000,\"max_per_address\":20000}");
    bench_must(tpc_core_open(core, "web", "http", tpc_str_from(options)) == 0,
               tpc_error_last()->text);
    bench_must(tpc_core_open(core, "user", "bench_user", TPC_STR("{}")) == 0,
               tpc_error_last()->text);
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    uint16_t port = server->port(server_self, 0);
    bench_must(pipe(up) == 0 && pipe(down) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        child(port, up[1], down[0]);
    }
    measure(up[0], down[1]);
    int status = 0;
    bench_must(waitpid(pid, &status, 0) == pid && status == 0, "child");
    tpc_core_destroy(core);
    tpc_arena_destroy(arena);
    return 0;
}
