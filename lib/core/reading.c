/* What a service's decode() fills: calls that become messages in a decoder's sink. */
#include "core/service.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/msg.h"

struct tpc_reading {
    const struct tpc_decode_sink *sink;
    const struct tpc_frame *frame;
    struct tpi_numbers *numbers; /* NULL = none are known */
    uint32_t index;
    uint16_t kind;   /* of values that follow */
    bool open;       /* a message of values is begun */
    bool entered;    /* what follows is of a device behind */
    bool passed;     /* .. of one that is not there */
    bool ended;      /* the sink wants no more */
    int failed;      /* the first fault, which decode() may have passed over */
    int64_t unix_ms; /* of what follows */
    struct tpc_error err;
};

/* ---- steps ---- */

static int ends(struct tpc_reading *r, int rc)
{
    r->ended = rc != 0;
    return rc > 0 ? TPC_ECANCELED : rc;
}

/* The first fault is the frame's, whatever the program makes of what it is returned. */
static int fault(struct tpc_reading *r, int code, const char *text)
{
    if (r->failed == 0) {
        r->failed = tpi_error_set(&r->err, code, "service", "%s", text);
    }
    return r->failed;
}

static int close_message(struct tpc_reading *r)
{
    if (r->ended || !r->open) {
        return r->ended ? TPC_ECANCELED : 0;
    }
    r->open = false;
    return ends(r, r->sink->end(r->sink->user));
}

/* Parts of a frame are taken apart: one that the model refuses does not take the others along. */
static struct tpc_decoded head_of(const struct tpc_reading *r, uint16_t kind)
{
    return (struct tpc_decoded){ .size = sizeof(struct tpc_decoded),
                                 .kind = kind,
                                 .flags = TPC_DECODED_PART,
                                 .unix_ms = r->unix_ms };
}

static int copy_text(struct tpc_reading *r, struct tpc_str text, struct tpc_str *ret)
{
    char *copy = tpc_arena_take(r->sink->arena, text.len + 1);
    if (copy == NULL) {
        return fault(r, TPC_ENOMEM, "out of memory");
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    *ret = (struct tpc_str){ copy, text.len };
    return 0;
}

static int copy_value(struct tpc_reading *r, const struct tpc_value *value, struct tpc_value *ret)
{
    int rc = tpi_value_copy(value, r->sink->arena, ret);
    return rc == 0 ? 0 : fault(r, rc, "a value cannot be taken");
}

static int emit(struct tpc_reading *r, const struct tpc_decoded *head)
{
    int rc = ends(r, r->sink->begin(r->sink->user, r->index, head));
    return rc != 0 ? rc : ends(r, r->sink->end(r->sink->user));
}

static void leave(struct tpc_reading *r)
{
    if (r->entered) {
        r->sink->leave(r->sink->user);
    }
    r->entered = false;
    r->passed = false;
}

static int wrong(struct tpc_reading *r, const char *text)
{
    return r != NULL ? fault(r, TPC_EINVAL, text) : TPC_EINVAL;
}

/* ---- the program's calls ---- */

int tpc_reading_value(struct tpc_reading *r, const char *key, const struct tpc_value *value)
{
    struct tpc_str name;
    struct tpc_value v;
    if (r == NULL || key == NULL || key[0] == '\0' || value == NULL) {
        return wrong(r, "a value needs a key");
    }
    if (r->ended || r->passed) {
        return r->ended ? TPC_ECANCELED : 0;
    }
    int rc = copy_text(r, tpc_str_from(key), &name);
    rc = rc != 0 ? rc : copy_value(r, value, &v);
    if (rc == 0 && !r->open) {
        struct tpc_decoded head = head_of(r, r->kind);
        rc = ends(r, r->sink->begin(r->sink->user, r->index, &head));
        r->open = rc == 0;
    }
    return rc != 0 ? rc : ends(r, r->sink->point(r->sink->user, name, &v, 0));
}

int tpc_reading_device(struct tpc_reading *r, struct tpc_str address)
{
    struct tpc_str name;
    if (r == NULL) {
        return TPC_EINVAL;
    }
    if (address.len == 0 && !r->entered && !r->passed) {
        return r->ended ? TPC_ECANCELED : 0; /* it is the one already */
    }
    int rc = close_message(r);
    leave(r);
    if (rc != 0 || address.len == 0) {
        return rc;
    }
    rc = copy_text(r, address, &name);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_decode_sink *s = r->sink;
    bool knows = s->size > offsetof(struct tpc_decode_sink, leave) && s->enter != NULL;
    r->entered = knows && s->enter(s->user, r->index, (struct tpc_str){ NULL, 0 }, name) == 0;
    r->passed = !r->entered;
    if (r->passed && r->failed == 0) { /* no fault of the frame, unless decode() says so */
        (void) tpi_error_set(&r->err, TPC_ENOENT, "service", "no device has address %.*s",
                             (int) (name.len < 64 ? name.len : 64), name.ptr);
    }
    return r->passed ? TPC_ENOENT : 0;
}

int tpc_reading_attributes(struct tpc_reading *r, int on)
{
    if (r == NULL) {
        return TPC_EINVAL;
    }
    uint16_t kind = on ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY;
    int rc = r->kind != kind ? close_message(r) : 0;
    r->kind = kind;
    return rc;
}

int tpc_reading_time(struct tpc_reading *r, int64_t unix_ms)
{
    if (r == NULL || unix_ms < 0) {
        return wrong(r, "a time is before 1970");
    }
    int rc = r->unix_ms != unix_ms ? close_message(r) : 0;
    r->unix_ms = unix_ms;
    return rc;
}

int tpc_reading_event(struct tpc_reading *r, const char *name, const struct tpc_value *params)
{
    if (r == NULL || name == NULL || name[0] == '\0') {
        return wrong(r, "an event needs a name");
    }
    int rc = close_message(r);
    if (rc != 0 || r->passed) {
        return rc;
    }
    struct tpc_decoded head = head_of(r, TPC_MSG_EVENT);
    rc = copy_text(r, tpc_str_from(name), &head.name);
    rc = rc != 0 || params == NULL ? rc : copy_value(r, params, &head.params);
    return rc != 0 ? rc : emit(r, &head);
}

int tpc_reading_reply(struct tpc_reading *r, struct tpc_str correlation, int32_t code,
                      struct tpc_str text)
{
    if (r == NULL) {
        return TPC_EINVAL;
    }
    int rc = close_message(r);
    if (rc != 0 || r->passed) {
        return rc;
    }
    struct tpc_decoded head = head_of(r, TPC_MSG_REPLY);
    head.code = code;
    rc = copy_text(r, correlation, &head.correlation);
    rc = rc != 0 ? rc : copy_text(r, text, &head.message);
    return rc != 0 ? rc : emit(r, &head);
}

int tpc_reading_reply_number(struct tpc_reading *r, uint32_t number, int32_t code,
                             struct tpc_str text)
{
    char known[TPI_NUMBER_TEXT];
    if (r == NULL) {
        return TPC_EINVAL;
    }
    uint32_t len =
        r->numbers != NULL ? tpi_number_find(r->numbers, r->frame->device, number, known) : 0;
    if (len == 0) { /* a text that is no command's: it answers none */
        len = (uint32_t) snprintf(known, sizeof(known), "number %u", (unsigned) number);
    }
    return tpc_reading_reply(r, (struct tpc_str){ known, len }, code, text);
}

int tpc_reading_fail(struct tpc_reading *r, int code, const char *text)
{
    code = code < 0 ? code : TPC_EDECODE;
    return r != NULL && text != NULL ? fault(r, code, text) : code;
}

/* ---- running it ---- */

/* What a program's frame() lets through is all that its decode() sees, wherever bytes come from. */
static bool is_whole(const struct tpc_service_ops *ops, void *user, const struct tpc_frame *frame)
{
    size_t bytes = 0;
    if (!TPC_HAS(ops, struct tpc_service_ops, frame)) {
        return true;
    }
    return frame->payload.len > 0 && ops->frame(user, frame->payload, &bytes) == 0 &&
           bytes == frame->payload.len;
}

void tpi_reading_run(const struct tpc_service_ops *ops, void *user, struct tpi_numbers *numbers,
                     const struct tpc_frame *frame, uint32_t index,
                     const struct tpc_decode_sink *sink)
{
    struct tpc_reading r = {
        .sink = sink, .frame = frame, .numbers = numbers, .index = index, .kind = TPC_MSG_TELEMETRY
    };
    bool attributes = frame->kind == TPC_MSG_ATTRIBUTES;
    r.kind = attributes ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY;
    int rc = is_whole(ops, user, frame)
                 ? ops->decode(user, frame, &r)
                 : tpc_reading_fail(&r, TPC_EDECODE, "the bytes are not one whole frame");
    if (rc == 0 && r.failed == 0) {
        rc = close_message(&r);
    }
    if ((rc != 0 || r.failed != 0) && !r.ended) {
        rc = r.failed != 0 ? r.failed : rc < 0 ? rc : TPC_EDECODE;
        if (r.err.code != rc) {
            tpi_error_set(&r.err, rc, "service", "%s cannot decode the frame: %s", ops->identifier,
                          tpc_error_name(rc));
        }
        sink->refuse(sink->user, index, &r.err);
    }
    leave(&r);
}

int tpc_service_decode(const struct tpc_service_ops *ops, void *user, const struct tpc_frame *frame,
                       const struct tpc_decode_sink *sink)
{
    struct tpc_frame f;
    if (ops == NULL || frame == NULL || sink == NULL ||
        !TPC_HAS(ops, struct tpc_service_ops, decode) || ops->identifier == NULL ||
        frame->size < offsetof(struct tpc_frame, product) ||
        sink->size < offsetof(struct tpc_decode_sink, direct) || sink->arena == NULL ||
        sink->begin == NULL || sink->point == NULL || sink->end == NULL || sink->refuse == NULL) {
        return TPC_EINVAL;
    }
    memset(&f, 0, sizeof(f));
    memcpy(&f, frame, frame->size < sizeof(f) ? frame->size : sizeof(f));
    tpi_reading_run(ops, user, NULL, &f, 0, sink);
    return 0;
}
