#include "codec_suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

static void put(struct cs_sink *s, const char *fmt, ...) TPC_PRINTF(2, 3);

static void put(struct cs_sink *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(s->trace + s->len, sizeof(s->trace) - s->len, fmt, args);
    va_end(args);
    s->len += n > 0 ? (size_t) n : 0;
    if (s->len >= sizeof(s->trace)) {
        s->len = sizeof(s->trace) - 1;
    }
}

static void put_str(struct cs_sink *s, const char *label, struct tpc_str text)
{
    if (text.len > 0) {
        put(s, " %s=%.*s", label, (int) text.len, text.ptr);
    }
}

static void put_value(struct cs_sink *s, const struct tpc_value *v)
{
    char out[4096];
    struct tpc_buf buf = { (uint8_t *) out, sizeof(out), 0 };
    if (v->type == TPC_BLOB) {
        put(s, "<%zu bytes>", v->len);
    } else if (tpc_json_write(v, 0, &buf) == 0) {
        put(s, "%.*s", (int) buf.need, out);
    } else {
        put(s, "?");
    }
}

static int count_call(struct cs_sink *s)
{
    s->calls++;
    return s->calls == s->stop_at ? TPC_ENOMEM : 0;
}

static int on_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct cs_sink *s = user;
    ck_assert_msg(!s->open, "a message is begun inside another");
    ck_assert_msg(head->kind != TPC_MSG_UNKNOWN, "a decoded message has a kind");
    ck_assert_uint_ge(head->size, sizeof(*head));
    put(s, "%s%u:%s", s->len > 0 ? " " : "", frame, tpc_kind_name(head->kind));
    if ((head->flags & TPC_DECODED_ANSWER) != 0) {
        put(s, "#ANSWER");
    }
    if (head->unix_ms != 0) {
        put(s, "@%lld", (long long) head->unix_ms);
    }
    put_str(s, "name", head->name);
    put_str(s, "corr", head->correlation);
    put_str(s, "msg", head->message);
    if (head->kind == TPC_MSG_REPLY) {
        put(s, " code=%d", head->code);
    }
    if (head->params.type != TPC_NULL) {
        put(s, " params=");
        put_value(s, &head->params);
    }
    put(s, "{");
    s->frame = frame;
    s->open = true;
    int rc = count_call(s);
    s->open = rc == 0;
    return rc;
}

static int on_point(void *user, struct tpc_str key, const struct tpc_value *v, int64_t unix_ms)
{
    struct cs_sink *s = user;
    ck_assert_msg(s->open, "a point outside a message");
    put(s, "%s%.*s=", s->trace[s->len - 1] == '{' ? "" : ",", (int) key.len, key.ptr);
    put_value(s, v);
    if (unix_ms != 0) {
        put(s, "@%lld", (long long) unix_ms);
    }
    s->points++;
    int rc = count_call(s);
    s->open = rc == 0;
    return rc;
}

static int on_end(void *user)
{
    struct cs_sink *s = user;
    ck_assert_msg(s->open, "end without begin");
    s->open = false;
    s->messages++;
    put(s, "}");
    return count_call(s);
}

static void on_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct cs_sink *s = user;
    ck_assert_int_lt(err->code, 0);
    ck_assert_msg(err->text[0] != '\0', "a refusal says why");
    ck_assert_msg(!s->open || s->frame == frame, "another frame is refused");
    s->open = false;
    s->refused++;
    s->err = *err;
    put(s, "%s%u!%s", s->len > 0 ? " " : "", frame, tpc_error_name(err->code));
}

/* There is a device behind every gateway for each address that does not begin with "?". */
static int on_enter(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device)
{
    struct cs_sink *s = user;
    (void) frame;
    ck_assert(!s->open);
    put(s, "%s>%.*s%s%.*s", s->len > 0 ? " " : "", (int) product.len,
        product.len ? product.ptr : "", product.len > 0 ? "." : "", (int) device.len, device.ptr);
    if (device.len > 0 && device.ptr[0] == '?') {
        return TPC_ENOENT;
    }
    s->level++;
    return 0;
}

static void on_leave(void *user)
{
    struct cs_sink *s = user;
    ck_assert_uint_gt(s->level, 0);
    s->level--;
    put(s, " <");
}

void cs_sink_init(struct cs_sink *s, struct tpc_arena *arena)
{
    memset(s, 0, sizeof(*s));
    s->base.size = sizeof(s->base);
    s->base.user = s;
    s->base.arena = arena;
    s->base.begin = on_begin;
    s->base.point = on_point;
    s->base.end = on_end;
    s->base.refuse = on_refuse;
    s->base.enter = on_enter;
    s->base.leave = on_leave;
}

void cs_sink_clear(struct cs_sink *s)
{
    struct tpc_arena *arena = s->base.arena;
    tpc_arena_reset(arena);
    cs_sink_init(s, arena);
}

const char *cs_decode(const struct tpc_codec_ops *ops, void *self, void *program, struct cs_sink *s,
                      uint16_t kind, struct tpc_bytes payload)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = kind, .payload = payload };
    cs_sink_clear(s);
    ck_assert_int_eq(ops->decode(self, 0, program, &f, 1, sizeof(f), &s->base), 0);
    return s->trace;
}

/* A frame as a newer core would make it. */
struct long_frame {
    struct tpc_frame frame;
    char more[24];
};

static void same_twice(const struct cs_case *c, struct cs_sink *s)
{
    char first[CS_TRACE_BYTES];
    (void) cs_decode(c->ops, c->self, c->program, s, TPC_MSG_UNKNOWN, c->good);
    ck_assert_uint_eq(s->refused, 0);
    ck_assert_uint_ge(s->messages, 1);
    memcpy(first, s->trace, sizeof(first));
    ck_assert_str_eq(cs_decode(c->ops, c->self, c->program, s, TPC_MSG_UNKNOWN, c->good), first);
}

static void bad_among_good(const struct cs_case *c, struct cs_sink *s)
{
    struct long_frame frames[5];
    memset(frames, 0, sizeof(frames));
    for (int i = 0; i < 5; i++) {
        frames[i].frame.size = sizeof(frames[i]);
        frames[i].frame.payload = i % 2 == 1 ? c->bad : c->good;
    }
    cs_sink_clear(s);
    ck_assert_int_eq(
        c->ops->decode(c->self, 0, c->program, &frames[0].frame, 5, sizeof(frames[0]), &s->base),
        0);
    ck_assert_uint_eq(s->refused, 2);
    ck_assert_uint_ge(s->messages, 3);
}

static void sink_ends_its_frame_only(const struct cs_case *c, struct cs_sink *s)
{
    struct tpc_frame frames[2] = { { .size = sizeof(frames[0]), .payload = c->good },
                                   { .size = sizeof(frames[0]), .payload = c->good } };
    cs_sink_clear(s);
    (void) cs_decode(c->ops, c->self, c->program, s, TPC_MSG_UNKNOWN, c->good);
    uint32_t calls = s->calls;
    uint32_t messages = s->messages;
    for (uint32_t stop = 1; stop < calls; stop++) {
        cs_sink_clear(s);
        s->stop_at = stop;
        ck_assert_int_eq(
            c->ops->decode(c->self, 0, c->program, frames, 2, sizeof(frames[0]), &s->base), 0);
        ck_assert_uint_eq(s->refused, 0);
        ck_assert_uint_ge(s->messages, messages);
    }
}

void cs_run(const struct cs_case *c)
{
    struct tpc_arena *arena;
    struct cs_sink *s = malloc(sizeof(*s));
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(tpc_arena_create(NULL, 0, &arena), 0);
    cs_sink_init(s, arena);
    same_twice(c, s);
    bad_among_good(c, s);
    sink_ends_its_frame_only(c, s);
    free(s);
    tpc_arena_destroy(arena);
}
