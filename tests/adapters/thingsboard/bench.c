#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/modules.h>

static struct bench *now; /* host calls have no other way to it */

static void pause_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

static void keep(char *ret, size_t size, struct tpc_str s)
{
    snprintf(ret, size, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
}

static int command(void *ctx, const struct tpc_host_command *c, tpc_command_fn *done, void *user,
                   struct tpc_id *ret)
{
    struct fake_sink *h = ctx;
    int rc = 0;
    (void) ret;
    pthread_mutex_lock(&h->lock);
    if (now->command_code != 0) {
        rc = now->command_code;
        now->command_code = 0;
    } else if (now->command_count < BENCH_COMMANDS) {
        struct bench_command *k = &now->commands[now->command_count++];
        keep(k->device, sizeof(k->device), c->device);
        keep(k->service, sizeof(k->service), c->service);
        keep(k->params, sizeof(k->params), c->params_json);
        k->timeout_ms = c->timeout_ms;
        k->done = done;
        k->user = user;
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

const struct bench_command *bench_wait_command(struct bench *b, uint32_t n)
{
    for (int i = 0; i < BENCH_WAIT_MS / 5; i++) {
        pthread_mutex_lock(&b->h.lock);
        uint32_t count = b->command_count;
        pthread_mutex_unlock(&b->h.lock);
        if (count >= n) {
            return &b->commands[n - 1];
        }
        pause_ms(5);
    }
    ck_abort_msg("command %u did not come", n);
    return NULL;
}

void bench_end_command(struct bench *b, uint32_t n, uint32_t state, const char *reply,
                       const char *reason)
{
    const struct bench_command *k = bench_wait_command(b, n);
    struct tpc_command c = { .size = sizeof(c), .state = state };
    c.reply_json = tpc_str_from(reply);
    c.reason = tpc_str_from(reason);
    k->done(k->user, &c);
}

static void make(struct bench *b, const char *more, const char *target)
{
    char json[2048];
    char url[64];
    bool token = strstr(more, "\"provision\"") == NULL && strstr(more, "\"user\"") == NULL &&
                 strstr(more, "\"tls\"") == NULL;
    snprintf(url, sizeof(url), ",\"url\":\"mqtt://127.0.0.1:%u\"",
             (unsigned) (b->port != 0 ? b->port : tb_stub_port(b->stub)));
    snprintf(json, sizeof(json), "{\"retry_min\":\"20ms\",\"retry_max\":\"50ms\"%s%s%s}",
             strstr(more, "\"url\"") != NULL ? "" : url, token ? ",\"token\":\"tok\"" : "", more);
    int rc = fake_sink_init(&b->h, &b->env, tpc_module_thingsboard(), json);
    ck_assert_msg(rc == 0, "%s", b->h.last_fail);
    b->h.base.command = command;
    rc = fake_sink_start(&b->h);
    ck_assert_msg(rc == 0, "%s", b->h.last_fail);
    rc = fake_sink_open(&b->h, "main/forward/tb", target, &b->target);
    ck_assert_msg(rc == 0, "%s", b->h.last_fail);
}

void bench_begin(struct bench *b, const char *more, const char *target)
{
    struct tb_stub *stub = b->stub;
    uint16_t port = b->port;
    memset(b, 0, sizeof(*b));
    b->port = port;
    b->stub = stub != NULL || port != 0 ? stub : tb_stub_create();
    now = b;
    tk_env_init(&b->env);
    make(b, more, target);
}

static void finish(struct bench *b)
{
    if (!b->h.stopped) {
        fake_sink_stop(&b->h);
    }
    if (b->target != NULL) {
        b->h.ops->target_close(b->h.self, b->target);
    }
    fake_sink_fini(&b->h);
    ck_assert_uint_eq(b->h.calls_after_stop, 0);
}

void bench_again(struct bench *b, const char *more, const char *target)
{
    finish(b);
    make(b, more, target);
}

void bench_end(struct bench *b)
{
    finish(b);
    tk_env_fini(&b->env);
    if (b->stub != NULL) {
        tb_stub_destroy(b->stub);
    }
    b->stub = NULL;
}

const struct tpc_batch *bench_batch(struct bench *b, uint32_t first, uint32_t n, uint32_t devices)
{
    static char names[BENCH_MESSAGES][8];
    ck_assert_uint_le(n, BENCH_MESSAGES);
    for (uint32_t i = 0; i < n; i++) {
        struct tpc_msg *m = &b->msgs[i];
        uint32_t number = first + i;
        snprintf(names[i], sizeof(names[i]), "d%u", number % devices);
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_TELEMETRY };
        m->unix_ms = 1700000000000 + number;
        m->device = tpc_str_from(names[i]);
        m->product = TPC_STR("meter");
        m->origin = TPC_STR("bus");
        m->id.b[13] = (uint8_t) (number >> 16);
        m->id.b[14] = (uint8_t) (number >> 8);
        m->id.b[15] = (uint8_t) number;
        m->id.b[0] = 1;
        b->points[i] = (struct tpc_point){ .key = TPC_STR_INIT("seq") };
        b->points[i].value = (struct tpc_value){ .type = TPC_INT, .as.i = number / devices };
        m->points = &b->points[i];
        m->point_count = 1;
        m->point_size = sizeof(struct tpc_point);
    }
    b->batch = (struct tpc_batch){
        .size = sizeof(b->batch), .count = n, .msg_size = sizeof(b->msgs[0]), .msgs = b->msgs
    };
    return &b->batch;
}

void bench_deliver(struct bench *b, const struct tpc_batch *batch)
{
    int rc = TPC_EOFFLINE;
    for (int i = 0; i < 500 && rc != 0; i++) {
        rc = fake_sink_whole(&b->h, b->target, batch);
        if (rc != 0) {
            ck_assert_msg(tpc_error_class(rc) == TPC_CLASS_RETRY, "%s", tpc_error_name(rc));
            b->h.sent_count = 0;
            pause_ms(10);
        }
    }
    tk_ok(rc);
}

uint32_t bench_deliver_or_bury(struct bench *b, const struct tpc_batch *batch)
{
    for (int i = 0; i < 500; i++) {
        int rc = fake_sink_whole(&b->h, b->target, batch);
        b->h.sent_count = 0;
        if (rc == 0) {
            return 0;
        }
        if (tpc_error_class(rc) == TPC_CLASS_FIX) {
            if (batch->count == 1) {
                return 1;
            }
            struct tpc_batch half = *batch;
            half.count = batch->count / 2;
            uint32_t buried = bench_deliver_or_bury(b, &half);
            half.msgs = &batch->msgs[half.count];
            half.count = batch->count - batch->count / 2;
            return buried + bench_deliver_or_bury(b, &half);
        }
        pause_ms(10);
    }
    ck_abort_msg("a batch does not end");
    return 0;
}

const char *bench_heard(struct bench *b, uint64_t mark, const char *topic, const char *text)
{
    static char heard[4096];
    ck_assert_msg(tb_stub_wait(b->stub, mark, topic, text, BENCH_WAIT_MS, heard, sizeof(heard)),
                  "%s with %s did not come", topic, text);
    return heard;
}

void bench_hears(struct bench *b, uint64_t mark, const char *topic, const char *text)
{
    (void) bench_heard(b, mark, topic, text);
}
