/*
 * modbus_coalesce: 100 registers of five types, with a gap after every fourth, read by the adapter as
 * one request, against the same tags with one request each. The slave is a process of its own on
 * the loopback; CPU time is that of this process: the adapter, which makes values and frames of what it
 * reads. The clock stands still until all tags were read, then a period is over: no turn waits but
 * for the slave.
 */
#include "bench.h"
#include "bench_slaves.h"
#include "bench_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>

#include "data/option.h"

enum { TAGS = 100, PERIOD_MS = 1000, ROUNDS = 5, SWEEPS = 4000, SINGLE_SWEEPS = 200 };

struct side {
    struct tpc_host host;
    struct tpc_clock clock;
    _Atomic uint64_t now_ms;
    uint64_t values; /* of the thread */
    uint64_t until;
    uint64_t frames;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool there;
};

static uint64_t mono_ns(void *user)
{
    struct side *s = user;
    return atomic_load_explicit(&s->now_ms, memory_order_relaxed) * 1000000;
}

static int64_t unix_ms(void *user)
{
    (void) user;
    return 1795000000000;
}

static void *resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    (void) user;
    (void) old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

static const struct tpc_allocator allocator = { .resize = resize };

static int session_open(void *ctx, const struct tpc_session_options *o, uint64_t *ret_session)
{
    (void) ctx;
    (void) o;
    *ret_session = 1;
    return 0;
}

static void session_close(void *ctx, uint64_t session)
{
    (void) ctx;
    (void) session;
}

/* Values are told by count(): here only frames are seen. */
static int receive(void *ctx, uint64_t session, const struct tpc_frame *frame, uint64_t ticket)
{
    struct side *s = ctx;
    (void) session;
    (void) ticket;
    s->frames += frame->payload.len > 0;
    return 0;
}

static void count(void *ctx, const char *metric, uint64_t n)
{
    struct side *s = ctx;
    if (strcmp(metric, "values") != 0) {
        return;
    }
    s->values += n;
    if (s->values % TAGS == 0) { /* all were read: the next period */
        atomic_fetch_add_explicit(&s->now_ms, PERIOD_MS, memory_order_relaxed);
    }
    if (s->values == s->until) {
        pthread_mutex_lock(&s->lock);
        s->there = true;
        pthread_cond_signal(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
}

static void gauge(void *ctx, const char *metric, int64_t value)
{
    (void) ctx;
    (void) metric;
    (void) value;
}

static int refuse(void *ctx, int code, const char *fmt, ...)
{
    va_list ap;
    (void) ctx;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    return code;
}

static void log_line(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    (void) fmt;
}

static void make_options(char *out, size_t cap, uint16_t port, bool coalesced)
{
    static const char *const types[] = { "uint16", "int16", "float16", "bool", "uint8" };
    int n =
        snprintf(out, cap,
                 "{\"url\":\"tcp://127.0.0.1:%u\",\"format\":\"cbor\",%s\"slaves\":[{\"device\":"
                 "\"d\",\"tags\":[",
                 port, coalesced ? "" : "\"max_registers\":1,\"max_gap\":0,");
    for (int i = 0; i < TAGS; i++) {
        n += snprintf(out + n, cap - (size_t) n,
                      "%s{\"name\":\"tag_%02d\",\"address\":%d,\"type\":\"%s\"}", i > 0 ? "," : "",
                      i, 10 + i + i / 4, types[i % 5]);
    }
    snprintf(out + n, cap - (size_t) n, "]}]}");
}

/* CPU time and wall time of one sweep over all tags. */
static void run(uint16_t port, bool coalesced, uint64_t sweeps, double *ret_cpu, double *ret_wall)
{
    static struct side s;
    static char text[16 * 1024];
    struct tpc_arena *arena;
    struct tpc_value given, *checked;
    struct tpc_error err;
    const struct tpc_module *module = tpc_module_modbus();
    const struct tpc_adapter_ops *ops =
        TPC_LIST_AT(struct tpc_interface, module->interfaces, 0)->ops;
    memset(&s, 0, sizeof(s));
    s.clock = (struct tpc_clock){
        .size = sizeof(s.clock), .user = &s, .unix_ms = unix_ms, .mono_ns = mono_ns
    };
    s.host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                                .allocator = &allocator,
                                .clock = &s.clock,
                                .session_open = session_open,
                                .session_close = session_close,
                                .receive = receive,
                                .fail = refuse,
                                .log = log_line,
                                .count = count,
                                .gauge = gauge };
    atomic_store(&s.now_ms, 1000);
    s.until = sweeps * TAGS;
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.changed, NULL);
    make_options(text, sizeof(text), port, coalesced);
    bench_must(tpc_arena_create(NULL, 0, &arena) == 0, "arena");
    checked = tpc_arena_take(arena, sizeof(*checked));
    bench_must(tpc_json_parse(arena, tpc_str_from(text), TPC_JSON_COPY, NULL, &given) == 0, text);
    bench_must(tpi_option_check(&ops->options, &given, 0, arena, &err, checked) == 0, err.text);
    void *self = calloc(1, ops->instance_size);
    bench_must(self != NULL && ops->init(self, &s.host, &s, checked) == 0, "init");
    double cpu = bench_cpu_ns(), wall = util_wall_ns();
    bench_must(ops->start(self) == 0, "start");
    pthread_mutex_lock(&s.lock);
    while (!s.there) {
        pthread_cond_wait(&s.changed, &s.lock);
    }
    pthread_mutex_unlock(&s.lock);
    *ret_cpu = (bench_cpu_ns() - cpu) / (double) sweeps;
    *ret_wall = (util_wall_ns() - wall) / (double) sweeps;
    ops->stop(self);
    bench_must(s.frames >= sweeps * (coalesced ? 1 : TAGS), "frames");
    ops->fini(self);
    free(self);
    tpc_arena_destroy(arena);
    pthread_mutex_destroy(&s.lock);
    pthread_cond_destroy(&s.changed);
}

int main(void)
{
    struct util_slaves slaves;
    char last[512];
    double best[4] = { 1e18, 1e18, 1e18, 1e18 };
    if (!util_slaves_start(&slaves, NULL)) {
        fputs("modbus_coalesce: tp-sim is not there\n", stderr);
        return 0;
    }
    for (int i = 0; i < ROUNDS; i++) {
        double now[4];
        run(slaves.ports[0], true, SWEEPS, &now[0], &now[1]);
        run(slaves.ports[0], false, SINGLE_SWEEPS, &now[2], &now[3]);
        for (int k = 0; k < 4; k++) {
            best[k] = now[k] < best[k] ? now[k] : best[k];
        }
    }
    bench_must(util_slaves_stop(&slaves, last, sizeof(last)), "tp-sim");
    bench_line("modbus_coalesce", best[0] / 1000, "us", "the same tags, one request each",
               best[2] / best[0]);
    bench_line("modbus_coalesce_wall", best[1] / 1000, "us", "the same tags, one request each",
               best[3] / best[1]);
    return 0;
}
