/*
 * tp-sim modbus: slaves on ports of this machine. Says "ready PORT .." once it listens, takes faults by lines
 * on its standard input, and ends with one line of JSON.
 */
#include "modbus.h"

#include "modbus_server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAULTS_MAX = 64, LINE_BYTES = 256 };

struct settings {
    const char *host;
    uint32_t port, slaves, registers, change_ms, seconds;
    bool rtu;
    const char *faults[FAULTS_MAX];
    uint32_t fault_count;
};

/* Lines of the standard input. */
struct input {
    char bytes[LINE_BYTES];
    size_t len;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void) number;
    stopping = 1;
}

static int usage(void)
{
    fputs("usage: tp-sim modbus [--port P]   of the first 247 slaves, the next ones on P + 1 ..; 0 "
          "= any\n"
          "              [--slaves N] [--registers N]   and as many bits, of each area\n"
          "              [--change MS]   how long a value stays; 0 = for ever\n"
          "              [--rtutcp]   RTU frames over TCP\n"
          "              [--host ADDRESS] [--seconds N]\n"
          "              [--fault \"UNIT KIND [N]\"] ..   UNIT: a slave's number, or all; KIND: "
          "none, late MS,\n"
          "                silent, exception CODE, transaction, unit, half, garbage, close, hole "
          "FIRST-LAST\n"
          "while it runs, on its standard input: fault UNIT KIND [N] | drop | stats | seq UNIT | "
          "quit\n",
          stderr);
    return 2;
}

static bool take_number(const char *text, uint32_t most, uint32_t *ret)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    *ret = (uint32_t) n;
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && n <= most;
}

static bool take_option(struct settings *s, const char *name, const char *value)
{
    if (strcmp(name, "--port") == 0) {
        return take_number(value, 65535, &s->port);
    }
    if (strcmp(name, "--slaves") == 0) {
        return take_number(value, SLAVES_MAX, &s->slaves) && s->slaves > 0;
    }
    if (strcmp(name, "--registers") == 0) {
        return take_number(value, 65536, &s->registers) && s->registers > 1;
    }
    if (strcmp(name, "--change") == 0) {
        return take_number(value, 86400000, &s->change_ms);
    }
    if (strcmp(name, "--seconds") == 0) {
        return take_number(value, 10000000, &s->seconds);
    }
    if (strcmp(name, "--host") == 0) {
        s->host = value;
        return true;
    }
    if (strcmp(name, "--fault") == 0 && s->fault_count < FAULTS_MAX) {
        s->faults[s->fault_count++] = value;
        return true;
    }
    return false;
}

static bool parse(int argc, char **argv, struct settings *s)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rtutcp") == 0) {
            s->rtu = true;
        } else if (i + 1 == argc || !take_option(s, argv[i], argv[i + 1])) {
            return false;
        } else {
            i++;
        }
    }
    return s->port == 0 || s->port + (s->slaves - 1) / SLAVES_UNITS <= 65535;
}

static void print_stats(const struct server *s)
{
    const struct slaves *v = s->slaves;
    uint64_t samples = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        samples += v->all[i].seq;
    }
    printf("{\"slaves\":%u,\"connections\":%" PRIu64 ",\"open\":%u,\"requests\":%" PRIu64
           ",\"registers\":%" PRIu64 ",\"samples\":%" PRIu64 ",\"writes\":%" PRIu64
           ",\"refused\":%" PRIu64 ",\"garbage\":%" PRIu64 ",\"late_lost\":%" PRIu64
           ",\"faults\":{",
           v->count, s->accepted, s->open, v->requests, v->values, samples, v->writes, v->refused,
           s->garbage, s->late_lost);
    for (int i = FAULT_NONE + 1; i < FAULT_KINDS; i++) {
        printf("%s\"%s\":%" PRIu64, i > 1 ? "," : "", fault_name((enum fault_kind) i),
               v->faults[i]);
    }
    puts("}}");
    fflush(stdout);
}

static void print_seq(const struct slaves *s, const char *text)
{
    uint32_t n;
    if (take_number(text, s->count, &n) && n > 0) {
        printf("{\"unit\":%u,\"seq\":%u}\n", n, s->all[n - 1].seq);
    } else {
        puts("what is that?");
    }
    fflush(stdout);
}

/* One line of the standard input; each is answered by one. */
static void obey(struct server *s, char *line)
{
    if (strncmp(line, "seq ", 4) == 0) {
        print_seq(s->slaves, line + 4);
        return;
    }
    if (strcmp(line, "stats") == 0) {
        print_stats(s);
        return;
    }
    bool good = true;
    if (strncmp(line, "fault ", 6) == 0) {
        good = slaves_fault(s->slaves, line + 6);
    } else if (strcmp(line, "drop") == 0) {
        server_drop(s);
    } else if (strcmp(line, "quit") == 0) {
        stopping = 1;
    } else {
        good = false;
    }
    puts(good ? "ok" : "what is that?");
    fflush(stdout);
}

/* False: it has ended. */
static bool read_lines(struct server *s, struct input *in)
{
    ssize_t n = read(STDIN_FILENO, in->bytes + in->len, sizeof(in->bytes) - in->len);
    if (n <= 0) {
        return n < 0 && (errno == EINTR || errno == EAGAIN);
    }
    in->len += (size_t) n;
    char *end;
    while ((end = memchr(in->bytes, '\n', in->len)) != NULL) {
        *end = '\0';
        obey(s, in->bytes);
        in->len -= (size_t) (end + 1 - in->bytes);
        memmove(in->bytes, end + 1, in->len);
    }
    in->len = in->len == sizeof(in->bytes) ? 0 : in->len; /* a line as long is none of ours */
    return true;
}

static void run(struct server *s, uint32_t seconds)
{
    static struct input in;
    uint64_t begin = server_now_ms();
    bool listening = server_watch(s, STDIN_FILENO, true);
    printf("ready");
    for (uint32_t i = 0; i < s->port_count; i++) {
        printf(" %u", s->ports[i]);
    }
    puts("");
    fflush(stdout);
    while (!stopping) {
        int wait = -1;
        if (seconds > 0) {
            uint64_t gone = server_now_ms() - begin, all = (uint64_t) seconds * 1000;
            if (gone >= all) {
                break;
            }
            wait = all - gone > 3600000 ? 3600000 : (int) (all - gone);
        }
        if (server_turn(s, wait) && listening && !read_lines(s, &in)) {
            (void) server_watch(s, STDIN_FILENO, false);
            listening = false;
        }
    }
}

int modbus_main(int argc, char **argv)
{
    static struct slaves slaves;
    static struct server server;
    struct settings s = {
        .host = "127.0.0.1", .port = 5020, .slaves = 1, .registers = 1000, .change_ms = 1
    };
    struct sigaction action = { .sa_handler = on_signal };
    if (!parse(argc, argv, &s)) {
        return usage();
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (slaves_init(&slaves, s.slaves, s.registers, s.change_ms, server_now_ms()) != 0) {
        fputs("tp-sim: no memory\n", stderr);
        return 1;
    }
    int code = 0;
    for (uint32_t i = 0; i < s.fault_count && code == 0; i++) {
        if (!slaves_fault(&slaves, s.faults[i])) {
            fprintf(stderr, "tp-sim: --fault \"%s\" is none\n", s.faults[i]);
            code = 2;
        }
    }
    if (code == 0 && server_open(&server, &slaves, s.host, (uint16_t) s.port, s.rtu) != 0) {
        fprintf(stderr, "tp-sim: cannot listen on %s:%u: %s\n", s.host, s.port, strerror(errno));
        server_close(&server);
        code = 1;
    } else if (code == 0) {
        run(&server, s.seconds);
        print_stats(&server);
        server_close(&server);
    }
    slaves_fini(&slaves);
    return code;
}
