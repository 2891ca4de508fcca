#include "bench_util.h"
#include "bench.h"

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MOSQUITTO
#define MOSQUITTO ""
#endif

uint64_t util_number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : fallback;
}

const char *util_folder(const char *top, char *out)
{
    const char *tmp = getenv("TMPDIR");
    top = top != NULL ? top : tmp != NULL ? tmp : "/tmp";
    snprintf(out, UTIL_PATH_BYTES, "%s/tp-bench-XXXXXX", top);
    bench_must(mkdtemp(out) != NULL, out);
    return out;
}

void util_remove(const char *dir)
{
    char command[UTIL_PATH_BYTES + 16];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    bench_must(system(command) == 0, command);
}

void util_pin(int cores)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < cores; i++) {
        CPU_SET(i, &set);
    }
    bench_must(sched_setaffinity(0, sizeof(set), &set) == 0, "pinning");
}

double util_wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

/* The number after a label in a file of /proc; 0 if there is none. */
static uint64_t proc_number(const char *path, const char *label)
{
    char line[256];
    uint64_t n = 0;
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, label, strlen(label)) == 0) {
            n = strtoull(line + strlen(label), NULL, 10);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

double util_rss_bytes(void)
{
    return (double) proc_number("/proc/self/status", "VmRSS:") * 1024;
}

uint64_t util_disk_bytes(void)
{
    return proc_number("/proc/self/io", "write_bytes:");
}

double util_file_bytes(const char *dir, const char *name)
{
    char path[UTIL_PATH_BYTES + 64];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) == 0 ? (double) st.st_size : 0;
}

/* ---- mosquitto ---- */

static int loopback(uint16_t port, struct sockaddr_in *ret)
{
    *ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
    ret->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int connects(uint16_t port)
{
    struct sockaddr_in at;
    int fd = loopback(port, &at);
    int rc = connect(fd, (struct sockaddr *) &at, sizeof(at));
    close(fd);
    return rc == 0;
}

static uint16_t free_port(void)
{
    struct sockaddr_in at;
    socklen_t size = sizeof(at);
    int fd = loopback(0, &at);
    bench_must(bind(fd, (struct sockaddr *) &at, sizeof(at)) == 0, "bind");
    bench_must(getsockname(fd, (struct sockaddr *) &at, &size) == 0, "port");
    close(fd);
    return ntohs(at.sin_port);
}

int util_broker_start(struct util_broker *b, const char *dir)
{
    return util_broker_start_with(b, dir, "allow_anonymous true\n");
}

int util_broker_start_with(struct util_broker *b, const char *dir, const char *more)
{
    char config[UTIL_PATH_BYTES + 32];
    if (MOSQUITTO[0] == '\0' || access(MOSQUITTO, X_OK) != 0) {
        fprintf(stderr, "bench: mosquitto is not installed\n");
        return -1;
    }
    b->port = free_port();
    snprintf(config, sizeof(config), "%s/mosquitto.conf", dir);
    FILE *f = fopen(config, "w");
    bench_must(f != NULL, "configuration");
    fprintf(f,
            "listener %u 127.0.0.1\n%spersistence false\n"
            "max_queued_messages 0\nmax_inflight_messages 0\nlog_dest none\nuser root\n",
            b->port, more);
    fclose(f);
    b->pid = fork();
    if (b->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(126);
        }
        execl(MOSQUITTO, "mosquitto", "-c", config, (char *) NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !connects(b->port); i++) {
        poll(NULL, 0, 10);
    }
    bench_must(connects(b->port), "mosquitto");
    return 0;
}

void util_broker_stop(struct util_broker *b)
{
    kill(b->pid, SIGKILL);
    waitpid(b->pid, NULL, 0);
}

double util_broker_cpu_ns(const struct util_broker *b)
{
    char path[64];
    unsigned long user = 0, system_time = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int) b->pid);
    FILE *f = fopen(path, "r");
    bench_must(f != NULL, path);
    /* proc(5): fields 14 and 15, in ticks; the name in field 2 has no blank here. */
    int got = fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                     &system_time);
    fclose(f);
    bench_must(got == 2, path);
    return (double) (user + system_time) * 1e9 / (double) sysconf(_SC_CLK_TCK);
}
