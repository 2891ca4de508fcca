#include "real_broker.h"

#include "tk.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MOSQUITTO
#define MOSQUITTO ""
#endif

enum { DEVICES_MAX = 64, TURN_MS = 10, LISTEN_TRIES = 500 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool real_broker_there(void)
{
    return MOSQUITTO[0] != '\0' && access(MOSQUITTO, X_OK) == 0;
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

void real_broker_init(struct real_broker *b)
{
    memset(b, 0, sizeof(*b));
    struct sockaddr_in at = loopback(0);
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &at, sizeof(at)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &at, &size), 0);
    close(fd);
    b->port = ntohs(at.sin_port);
}

static void write_config(const struct real_broker *b, char path[64])
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/tp-broker-XXXXXX", dir != NULL ? dir : "/tmp");
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    ck_assert_ptr_nonnull(f);
    fprintf(f,
            "listener %u 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 0\nlog_dest %s%s\nuser root\n",
            b->port, b->log[0] != '\0' ? "file " : "none", b->log);
    if (b->tls[0] != '\0') {
        fprintf(f, "cafile %s/ca.crt\ncertfile %s/server.crt\nkeyfile %s/server.key\n", b->tls,
                b->tls, b->tls);
    }
    fputs(b->more, f);
    fclose(f);
}

bool real_broker_make_tls(const char *dir)
{
    char command[2000];
    snprintf(command, sizeof(command),
             "cd '%s' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
             "-days 2 -subj /CN=tp-test-ca -keyout ca.key -out ca.crt 2>/dev/null && "
             "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost "
             "-keyout server.key -out server.csr 2>/dev/null && "
             "printf 'subjectAltName=DNS:localhost' >san && "
             "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
             "-extfile san -out server.crt 2>/dev/null",
             dir);
    return system(command) == 0;
}

bool real_broker_make_early(const char *dir)
{
    char command[2000];
    snprintf(command, sizeof(command),
             "cd '%s' && cp server.crt right.crt && : >index && echo 01 >serial && printf "
             "'[ca]\\ndefault_ca=a\\n[a]\\n"
             "database=index\\nserial=serial\\nnew_certs_dir=.\\ndefault_md=sha256\\npolicy=p\\n"
             "[p]\\ncommonName=supplied\\n' >ca.cnf && openssl ca -batch -notext -config ca.cnf "
             "-cert ca.crt -keyfile ca.key -in server.csr -extfile san "
             "-startdate 20900101000000Z -enddate 20910101000000Z -out server.crt 2>/dev/null",
             dir);
    return system(command) == 0;
}

void real_broker_start(struct real_broker *b)
{
    char config[64];
    write_config(b, config);
    b->pid = fork();
    ck_assert_int_ge(b->pid, 0);
    if (b->pid == 0) {
        /* Dies with the test; that setting would not survive a change of user. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execl(MOSQUITTO, "mosquitto", "-c", config, (char *) NULL);
        _exit(127);
    }
    for (int i = 0; i < LISTEN_TRIES; i++) {
        struct sockaddr_in at = loopback(b->port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = connect(fd, (struct sockaddr *) &at, sizeof(at));
        close(fd);
        if (rc == 0) {
            unlink(config);
            return;
        }
        poll(NULL, 0, TURN_MS);
    }
    unlink(config);
    ck_abort_msg("mosquitto does not listen");
}

void real_broker_kill(struct real_broker *b)
{
    if (b->pid > 0) {
        kill(b->pid, SIGKILL);
        waitpid(b->pid, NULL, 0);
        b->pid = 0;
    }
}

void real_broker_freeze(struct real_broker *b, bool frozen)
{
    kill(b->pid, frozen ? SIGSTOP : SIGCONT);
}

void devices_run(struct broker *devices, uint32_t count, uint32_t ms, const uint64_t *until,
                 uint64_t least)
{
    struct pollfd polls[DEVICES_MAX];
    int64_t end = now_ms() + ms;
    ck_assert_uint_le(count, DEVICES_MAX);
    while (now_ms() < end && (until == NULL || *until < least)) {
        for (uint32_t i = 0; i < count; i++) {
            polls[i].events = broker_tick(&devices[i], now_ms());
            polls[i].fd = devices[i].fd;
            polls[i].revents = 0;
        }
        poll(polls, count, TURN_MS);
        for (uint32_t i = 0; i < count; i++) {
            broker_ready(&devices[i], polls[i].revents, now_ms());
        }
    }
}

void device_connect(struct broker *d, const struct real_broker *b, const char *client_id,
                    const char *filter, broker_message_fn *fn, void *user)
{
    ck_assert_int_eq(broker_init(d, "127.0.0.1", b->port, client_id), 0);
    snprintf(d->filter, sizeof(d->filter), "%s", filter);
    d->on_message = fn;
    d->user = user;
    devices_run(d, 1, 5000, &d->connects, 1);
    ck_assert_uint_eq(d->connects, 1);
    devices_run(d, 1, 50, NULL, 0); /* the subscription is on its way */
}
