/* Module "log": a sink that writes a line for each message to the core's log. */
#include "../text/fill.h"

#include <string.h>
#include <tpcore/ext/sink.h>
#include <tpcore/platform.h>
#include <tpcore/version.h>

#include "base/error.h"
#include "data/member.h"

enum { LINE_MAX_BYTES = 1000 };

static const struct tpc_option target_options[] = {
    { .name = "level",
      .type = TPC_OPT_ENUM,
      .def = "info",
      .values = "debug|info|warn|error",
      .since = "0.1",
      .help = "of the lines" },
    { .name = "text",
      .type = TPC_OPT_TEXT,
      .def = "{{ _text }}",
      .min = 1,
      .since = "0.1",
      .help = "the line, a template; cut at 1,000 bytes" },
};

struct instance {
    const struct tpc_host *host;
    void *ctx;
};

struct target {
    int level;
    struct tpc_arena *arena;
    struct fill text;
    struct tpi_buf line;
};

static void log_target_close(void *self, void *target)
{
    const struct instance *s = self;
    struct target *t = target;
    fill_fini(&t->text);
    tpi_buf_fini(&t->line);
    tpc_arena_destroy(t->arena);
    s->host->allocator->resize(s->host->allocator->user, t, sizeof(*t), 0);
}

static int level_of(struct tpc_str name)
{
    return tpc_str_equal(name, TPC_STR("debug"))   ? TPC_LOG_DEBUG
           : tpc_str_equal(name, TPC_STR("warn"))  ? TPC_LOG_WARN
           : tpc_str_equal(name, TPC_STR("error")) ? TPC_LOG_ERROR
                                                   : TPC_LOG_INFO;
}

static int log_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                           void **ret_target)
{
    struct instance *s = self;
    const struct tpc_allocator *a = s->host->allocator;
    struct tpc_error err = { .text = "no memory for a target" };
    (void) name;
    struct target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    if (t == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "%s", err.text);
    }
    memset(t, 0, sizeof(*t));
    t->level = level_of(tpi_member_text(cfg, "level"));
    tpi_buf_init(&t->line, a, 0);
    int rc = tpc_arena_create(a, 0, &t->arena);
    rc = rc != 0 ? rc
                 : fill_init(&t->text, a, t->arena, s->host->clock, tpi_member_text(cfg, "text"),
                             TPI_TEMPLATE_PLAIN, &err);
    if (rc != 0) {
        log_target_close(s, t);
        return s->host->fail(s->ctx, rc, "text: column %u: %s", (unsigned) err.column, err.text);
    }
    *ret_target = t;
    return 0;
}

/* Control bytes become spaces: a line stays one. Cut at a character's border. */
static void put_line(const struct instance *s, struct target *t)
{
    size_t len = t->line.len < LINE_MAX_BYTES ? t->line.len : LINE_MAX_BYTES;
    while (len > 0 && len < t->line.len && (t->line.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        t->line.ptr[i] = t->line.ptr[i] < ' ' || t->line.ptr[i] == 0x7f ? ' ' : t->line.ptr[i];
    }
    s->host->log(s->ctx, t->level, "%.*s", (int) len, len > 0 ? (const char *) t->line.ptr : "");
}

static int log_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    struct instance *s = self;
    struct target *t = target;
    struct tpc_error err;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < batch->count; i++) {
        tpi_buf_clear(&t->line);
        rc = fill_text(&t->text, tpc_batch_msg(batch, i), &t->line);
        if (rc == 0) {
            put_line(s, t);
        }
    }
    if (rc != 0) {
        tpi_error_set(&err, rc, "log", "the line cannot be made");
    } else {
        s->host->count(s->ctx, "delivered", batch->count);
    }
    s->host->sent(s->ctx, ticket, rc != 0 ? &err : NULL);
    return 0;
}

static int log_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct instance *s = self;
    (void) cfg;
    s->host = host;
    s->ctx = ctx;
    return 0;
}

static int log_start(void *self)
{
    (void) self;
    return 0;
}

static void log_stop(void *self)
{
    (void) self;
}

static void log_fini(void *self)
{
    (void) self;
}

static const struct tpc_sink_ops log_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "log",
    .instance_size = sizeof(struct instance),
    .target_options = TPC_OPTIONS(target_options),
    .init = log_init,
    .start = log_start,
    .target_open = log_target_open,
    .send = log_send,
    .target_close = log_target_close,
    .stop = log_stop,
    .fini = log_fini,
};

static const struct tpc_interface log_interfaces[] = { { TPC_KIND_SINK, &log_ops } };

TPC_MODULE(log, .version = TPC_VERSION, .licence = "Apache-2.0",
           .interfaces = TPC_INTERFACES(log_interfaces))
