#include "program.h"

#include "assemble.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void program_init(struct program *p, const char *name)
{
    memset(p, 0, sizeof(*p));
    p->name = name;
    p->journal = getenv("JOURNAL_STREAM") != NULL && !isatty(STDERR_FILENO);
    pthread_mutex_init(&p->lock, NULL);
}

void program_fini(struct program *p)
{
    pthread_mutex_destroy(&p->lock);
}

void program_log(void *user, int level, const char *subject, const char *text)
{
    static const char *const names[] = { "", "error", "warning", "info", "debug" };
    static const char *const priorities[] = { "", "<3>", "<4>", "<6>", "<7>" };
    struct program *p = user;
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    int at = level >= 1 && level <= 4 ? level : 1;
    if (level <= TPC_LOG_WARN) {
        pthread_mutex_lock(&p->lock);
        snprintf(p->last_error, sizeof(p->last_error), "%s: %s", subject, text);
        p->last_unix_ms = (int64_t) now * 1000;
        pthread_mutex_unlock(&p->lock);
    }
    bool each = p->making && strcmp(subject, "entity") == 0;
    if ((p->quiet || each) && level > TPC_LOG_WARN) {
        return;
    }
    if (p->journal) {
        fprintf(stderr, "%s%s: %s\n", priorities[at], subject, text);
        return;
    }
    localtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
    fprintf(stderr, "%s %s %s: %s\n", stamp, names[at], subject, text);
}

void program_say(const struct program *p, const char *fmt, ...)
{
    char text[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "%s: %s\n", p->name, text);
}

void program_say_error(const struct program *p, const char *what, int rc)
{
    const struct tpc_error *e = tpc_error_last();
    program_say(p, "%s: %s%s%s (%s)", what, e->path, e->path[0] != '\0' ? ": " : "", e->text,
                tpc_error_name(rc));
}

int program_signals(const int *signals)
{
    sigset_t set;
    sigemptyset(&set);
    for (; *signals != 0; signals++) {
        sigaddset(&set, *signals);
    }
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* ---- metrics ---- */

/* The text in memory of its own; it may grow between two tries. */
static char *take_metrics(struct tpc_core *core, size_t *ret_len)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc;
    while ((rc = tpc_core_prometheus(core, &buf)) == TPC_ETOOBIG) {
        free(buf.ptr);
        buf.cap = buf.need + 4096;
        buf.ptr = malloc(buf.cap);
        if (buf.ptr == NULL) {
            return NULL;
        }
    }
    if (rc != 0) {
        free(buf.ptr);
        return NULL;
    }
    *ret_len = buf.need;
    return (char *) buf.ptr;
}

int program_metrics(const struct program *p, struct tpc_core *core, const char *file)
{
    char beside[1024];
    size_t len = 0;
    char *text = take_metrics(core, &len);
    snprintf(beside, sizeof(beside), "%s.new", file);
    FILE *f = text != NULL ? fopen(beside, "w") : NULL;
    bool good = f != NULL && fwrite(text, 1, len, f) == len;
    if (f != NULL && fclose(f) != 0) {
        good = false;
    }
    good = good && rename(beside, file) == 0;
    if (!good) {
        program_say(p, "metrics: %s: %s", file, text == NULL ? "out of memory" : strerror(errno));
    }
    free(text);
    return good ? 0 : -1;
}

long program_resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%ld %ld", &pages, &resident) != 2) {
            resident = 0;
        }
        fclose(f);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- a core ---- */

int program_assemble(struct program *p, struct config *c, struct tpc_core **ret)
{
    struct tpc_core *core;
    if (assemble_core(c, 0, program_log, p, &core) != 0) {
        return -1;
    }
    p->making = true;
    int rc = assemble_parts(c, core, ASSEMBLE_ALL);
    rc = rc != 0 ? rc : assemble_entities(c, core);
    p->making = false;
    if (rc != 0) {
        tpc_core_destroy(core);
        return -1;
    }
    *ret = core;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

int program_check(struct program *p, struct config *c)
{
    char dir[512];
    struct tpc_core *core;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/tp-check-XXXXXX", tmp != NULL ? tmp : P_tmpdir);
    if (mkdtemp(dir) == NULL) {
        snprintf(c->error, sizeof(c->error), "%s: %s", dir, strerror(errno));
        return -1;
    }
    c->dry = dir;
    int rc = program_assemble(p, c, &core);
    if (rc == 0) {
        tpc_core_destroy(core);
    }
    c->dry = NULL;
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

/* ---- the service manager ---- */

/* sd_notify(3) without its library: one datagram to the socket that the environment names. */
void program_notify(const char *fmt, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t len = path != NULL ? strlen(path) : 0;
    char text[512];
    va_list args;
    if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    memcpy(to.sun_path, path, len);
    if (to.sun_path[0] == '@') {
        to.sun_path[0] = '\0'; /* a name that is in no file system */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void) sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                      (const struct sockaddr *) &to,
                      (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len));
        close(fd);
    }
}

uint32_t program_watchdog_ms(void)
{
    const char *us = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (us == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long) getpid())) {
        return 0;
    }
    unsigned long long ms = strtoull(us, NULL, 10) / 2000;
    return ms > 0 && ms < 3600000 ? (uint32_t) ms : 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

long program_from_hex(const char *name, const char *hex, size_t len, uint8_t *to)
{
    long n = 0;
    for (size_t i = 0; i < len;) {
        if (hex[i] != '\0' && strchr(" :\t\r\n", hex[i]) != NULL) {
            i++;
            continue;
        }
        if (i + 1 >= len || digit(hex[i]) < 0 || digit(hex[i + 1]) < 0) {
            fprintf(stderr, "%s: no pair of hexadecimal digits at character %zu\n", name, i + 1);
            return -1;
        }
        to[n++] = (uint8_t) (digit(hex[i]) << 4 | digit(hex[i + 1]));
        i += 2;
    }
    return n;
}

void program_print_value(const struct tpc_value *v)
{
    static uint8_t space[65536];
    struct tpc_buf buf = { space, sizeof(space), 0 };
    if (tpc_json_write(v, 0, &buf) == 0) {
        fwrite(space, 1, buf.need, stdout);
    } else {
        fputs("(too long)", stdout);
    }
}
