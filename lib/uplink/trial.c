/* Trying a codec: the same checks as a run, without a device, a log or an effect. */
#include <string.h>
#include <tpcore/codec.h>

#include "base/alloc.h"
#include "base/error.h"
#include "uplink/private.h"

enum { TRIAL_POINTS = 4096 };

struct trial {
    const struct tpi_env *env;
    const struct tpi_product *product;
    const struct tpc_frame *frame;
    struct tpc_arena *arena;
    tpc_codec_test_fn *fn;
    void *user;
    struct tpc_msg msg;
    struct tpc_point *points; /* accepted ones */
    uint32_t point_count;
    struct tpc_verdict *verdicts;
    uint32_t verdict_count;
    uint32_t hint;
    uint32_t calls;
    int stop;       /* what fn returned */
    uint16_t flags; /* of the open message's head */
};

static int trial_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct trial *t = user;
    (void) frame;
    t->point_count = 0;
    t->verdict_count = 0;
    t->points = tpc_arena_take(t->arena, TRIAL_POINTS * sizeof(t->points[0]));
    t->verdicts = tpc_arena_take(t->arena, TRIAL_POINTS * sizeof(t->verdicts[0]));
    if (t->points == NULL || t->verdicts == NULL) {
        return TPC_ENOMEM;
    }
    memset(&t->msg, 0, sizeof(t->msg));
    t->msg.size = sizeof(t->msg);
    t->msg.kind = head->kind;
    t->flags = head->flags;
    t->msg.model_revision = t->product->revision;
    t->msg.received_unix_ms = tpi_unix_ms(t->env);
    t->msg.unix_ms = head->unix_ms != 0 ? head->unix_ms : t->frame->unix_ms;
    if (t->msg.unix_ms == 0) {
        t->msg.unix_ms = t->msg.received_unix_ms;
        t->msg.flags = TPC_MSG_ESTIMATED_TIME;
    }
    t->msg.tenant = t->product->tenant;
    t->msg.product = t->product->key;
    t->msg.device = t->frame->device;
    t->msg.name = head->kind == TPC_MSG_REPLY ? head->message : head->name;
    t->msg.correlation = head->correlation.len > 0 ? head->correlation : t->frame->correlation;
    t->msg.code = head->code;
    t->msg.params = head->params;
    return 0;
}

static struct tpc_str keep(struct tpc_arena *arena, const struct tpc_error *err)
{
    size_t path = strlen(err->path);
    size_t len = strlen(err->text);
    char *p = tpc_arena_take(arena, path + len + 2);
    if (p == NULL) {
        return (struct tpc_str){ NULL, 0 };
    }
    size_t at = 0;
    if (path > 0) {
        memcpy(p, err->path, path);
        memcpy(p + path, ": ", 2);
        at = path + 2;
    }
    memcpy(p + at, err->text, len);
    return (struct tpc_str){ p, at + len };
}

static int trial_point(void *user, struct tpc_str key, const struct tpc_value *value,
                       int64_t unix_ms)
{
    struct trial *t = user;
    if (t->verdict_count == TRIAL_POINTS) {
        return TPC_ETOOBIG;
    }
    struct tpc_point *shown = tpc_arena_take(t->arena, sizeof(*shown));
    struct tpc_point point;
    struct tpc_error err;
    uint32_t index;
    if (shown == NULL) {
        return TPC_ENOMEM;
    }
    memset(&point, 0, sizeof(point));
    int rc =
        up_check_point(t->product, t->flags, key, value, t->arena, &t->hint, &err, &point, &index);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    struct tpc_verdict *v = &t->verdicts[t->verdict_count++];
    *v = (struct tpc_verdict){ .size = sizeof(*v), .code = rc, .point = shown };
    if (rc == 0) {
        if (index == TPI_MODEL_NO_INDEX && t->msg.kind == TPC_MSG_ATTRIBUTES) {
            point.flags |= TPC_POINT_ATTRIBUTE;
        }
        point.unix_ms = unix_ms;
        t->points[t->point_count++] = point;
    } else {
        v->reason = keep(t->arena, &err);
        point.key = key;
        point.value = *value;
        point.unix_ms = unix_ms;
    }
    *shown = point;
    return 0;
}

static int trial_end(void *user)
{
    struct trial *t = user;
    t->msg.points = t->points;
    t->msg.point_count = t->point_count;
    t->msg.point_size = sizeof(t->points[0]);
    t->calls++;
    t->stop = t->fn(t->user, &t->msg, t->verdicts, t->verdict_count, NULL);
    return t->stop;
}

static void trial_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct trial *t = user;
    (void) frame;
    t->calls++;
    t->stop = t->fn(t->user, NULL, NULL, 0, err);
}

int tpi_uplink_try(const struct tpi_env *env, const struct tpi_product *product, uint32_t worker,
                   const struct tpc_frame *frame, tpc_codec_test_fn *fn, void *user)
{
    struct trial t = { .env = env, .product = product, .frame = frame, .fn = fn, .user = user };
    if (tpc_arena_create(env->alloc, TPI_UPLINK_ARENA_BYTES, &t.arena) != 0) {
        return TPC_ENOMEM;
    }
    struct tpc_decode_sink sink = {
        .size = sizeof(sink),
        .user = &t,
        .arena = t.arena,
        .begin = trial_begin,
        .point = trial_point,
        .end = trial_end,
        .refuse = trial_refuse,
    };
    int rc = product->codec->decode(product->codec_self, worker, product->program, frame, 1,
                                    sizeof(*frame), &sink);
    if (t.stop != 0) {
        rc = t.stop;
    } else if (rc != 0 && rc != TPC_ENOMEM && t.calls == 0) {
        struct tpc_error err;
        tpi_error_set(&err, rc, "codec", "the codec failed: %s", tpc_error_name(rc));
        rc = fn(user, NULL, NULL, 0, &err);
    }
    tpc_arena_destroy(t.arena);
    return rc;
}
