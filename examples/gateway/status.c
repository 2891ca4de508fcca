#include "gateway.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static int add_metric(void *user, const struct tpc_metric *m)
{
    static const struct {
        const char *name;
        size_t offset;
    } wanted[] = {
        { "tpc_uplink_points_total", offsetof(struct status_counts, points) },
        { "tpc_registry_devices", offsetof(struct status_counts, devices) },
        { "tpc_registry_devices_online", offsetof(struct status_counts, online) },
        { "tpc_modbus_degraded_slaves", offsetof(struct status_counts, degraded) },
        { "tpc_forward_dead_total", offsetof(struct status_counts, dead) },
        { "tpc_forward_gap_records_total", offsetof(struct status_counts, passed) },
        { "tpc_forward_sent_total", offsetof(struct status_counts, delivered) },
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (strcmp(m->name, wanted[i].name) == 0) {
            *(double *) (void *) ((char *) user + wanted[i].offset) += m->value;
        }
    }
    return 0;
}

struct targets {
    uint64_t behind;
    uint64_t buffer_s; /* of the target that has the least */
    uint32_t waiting;
    int64_t error_unix_ms;
    char error[160];
};

static int add_target(void *user, const struct tpc_forward_info *i)
{
    struct targets *t = user;
    t->behind += i->behind;
    t->waiting += i->state == TPC_FORWARD_WAITING;
    if (i->buffer_seconds < t->buffer_s) {
        t->buffer_s = i->buffer_seconds;
    }
    if (i->error_code != 0 && i->error_unix_ms > t->error_unix_ms) {
        t->error_unix_ms = i->error_unix_ms;
        snprintf(t->error, sizeof(t->error), "%.*s: %.*s", (int) i->key.len, i->key.ptr,
                 (int) i->error.len, i->error.ptr);
    }
    return 0;
}

void status_init(struct status *s, struct program *p, struct tpc_core *core, bool terminal)
{
    memset(s, 0, sizeof(*s));
    s->program = p;
    s->core = core;
    s->terminal = terminal;
    s->last_ns = mono_ns();
}

/* The latest failure: of the log's lines or of a target. */
static void put_error(struct status *s, const struct targets *t, char *text, size_t cap)
{
    struct program *p = s->program;
    char stamp[32] = "";
    struct tm tm;
    pthread_mutex_lock(&p->lock);
    bool line = p->last_unix_ms >= t->error_unix_ms;
    const char *what = line ? p->last_error : t->error;
    time_t when = (time_t) ((line ? p->last_unix_ms : t->error_unix_ms) / 1000);
    if (when != 0 && localtime_r(&when, &tm) != NULL) {
        strftime(stamp, sizeof(stamp), "%H:%M:%S ", &tm);
        snprintf(text, cap, " | last error %s%s", stamp, what);
    } else {
        text[0] = '\0';
    }
    pthread_mutex_unlock(&p->lock);
}

void status_text(struct status *s, char *text, size_t cap)
{
    struct status_counts now = { 0 };
    struct targets targets = { .buffer_s = UINT64_MAX };
    struct tpc_str all = { NULL, 0 };
    char error[280];
    char more[80] = "";
    char buffer[48] = "";
    uint64_t ns = mono_ns();
    double seconds = (double) (ns - s->last_ns) / 1e9;
    seconds = seconds > 0.001 ? seconds : 0.001;
    (void) tpc_core_stats(s->core, add_metric, &now);
    (void) tpc_forward_info(s->core, all, all, all, add_target, &targets);
    if (targets.buffer_s < UINT64_MAX) {
        snprintf(buffer, sizeof(buffer), ", room for %.1f h", (double) targets.buffer_s / 3600);
    }
    put_error(s, &targets, error, sizeof(error));
    if (now.dead > 0 || now.passed > 0) {
        snprintf(more, sizeof(more), " | %.0f dead letters, %.0f passed over", now.dead,
                 now.passed);
    }
    snprintf(
        text, cap,
        "devices %.0f/%.0f | read %.0f values/s | delivered %.0f messages/s | behind %llu%s%s%s%s",
        now.online, now.devices, (now.points - s->last.points) / seconds,
        (now.delivered - s->last.delivered) / seconds, (unsigned long long) targets.behind, buffer,
        targets.waiting > 0 ? " (a target waits for its sink)" : "", more, error);
    s->last = now;
    s->last_ns = ns;
}

void status_print(struct status *s)
{
    char text[640];
    status_text(s, text, sizeof(text));
    if (s->terminal && !s->program->quiet) {
        struct winsize size = { 0 }; /* one row: what wraps could not be written anew */
        int columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
        printf("\r\033[K%.*s", columns > 1 ? columns - 1 : 200, text);
        s->painted = true;
    } else if (!s->program->quiet) {
        printf("%s\n", text);
    }
    fflush(stdout);
    program_notify("STATUS=%.300s", text);
}

void status_end(struct status *s)
{
    if (s->terminal && s->painted) {
        putchar('\n');
        s->painted = false;
    }
}
