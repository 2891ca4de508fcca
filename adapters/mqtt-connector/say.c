#include "say.h"

#include "cast.h"

#include <string.h>

#include "base/error.h"

static const struct {
    const char *word;
    enum say_name name;
} names[] = { { "deviceName", SAY_DEVICE }, { "deviceType", SAY_TYPE },
              { "attributeKey", SAY_KEY },  { "attributeValue", SAY_VALUE },
              { "methodName", SAY_METHOD }, { "method", SAY_METHOD },
              { "requestId", SAY_REQUEST }, { "id", SAY_REQUEST },
              { "params", SAY_PARAMS } };

/* What is between ${ and }. */
static int placeholder(struct tpc_arena *arena, struct tpc_str text, struct tpc_error *err,
                       struct say_part *ret)
{
    static const struct tpc_str prefix = TPC_STR_INIT("params.");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (tpc_str_equal(text, tpc_str_from(names[i].word))) {
            ret->name = names[i].name;
            return 0;
        }
    }
    if (text.len > prefix.len && memcmp(text.ptr, prefix.ptr, prefix.len) == 0) {
        text.ptr += prefix.len;
        text.len -= prefix.len;
    }
    ret->name = SAY_PATH;
    return path_compile(arena, text, err, &ret->path);
}

static int fail_at(struct tpc_error *err, int rc, const char *why, size_t at)
{
    tpi_error_set(err, rc, "template", "%s", why);
    if (err != NULL) {
        err->column = (uint32_t) at + 1;
    }
    return rc;
}

/* One part from p; *ret_p is behind it. */
static int take_part(struct tpc_arena *arena, struct tpc_str whole, const char **p,
                     struct tpc_error *err, struct say_part *ret)
{
    const char *end = whole.ptr + whole.len;
    const char *from = *p;
    if (end - from >= 2 && from[0] == '$' && from[1] == '{') {
        const char *close = memchr(from, '}', (size_t) (end - from));
        if (close == NULL) {
            return fail_at(err, TPC_EINVAL, "no closing }", (size_t) (from - whole.ptr));
        }
        *p = close + 1;
        int rc =
            placeholder(arena, (struct tpc_str){ from + 2, (size_t) (close - from - 2) }, err, ret);
        if (rc != 0 && err != NULL && err->column > 0) {
            err->column += (uint32_t) (from + 2 - whole.ptr);
        }
        return rc;
    }
    do {
        (*p)++;
    } while (*p < end && !(end - *p >= 2 && (*p)[0] == '$' && (*p)[1] == '{'));
    ret->name = SAY_TEXT;
    ret->text = (struct tpc_str){ from, (size_t) (*p - from) };
    return 0;
}

int say_compile(struct tpc_arena *arena, struct tpc_str text, struct tpc_error *err,
                struct say *ret)
{
    struct say_part parts[SAY_PARTS_MAX];
    const char *p = text.ptr;
    uint32_t n = 0;
    memset(parts, 0, sizeof(parts));
    while (p < text.ptr + text.len) {
        if (n == SAY_PARTS_MAX) {
            return fail_at(err, TPC_ETOOBIG, "too many parts", (size_t) (p - text.ptr));
        }
        int rc = take_part(arena, text, &p, err, &parts[n++]);
        if (rc != 0) {
            return rc;
        }
    }
    struct say_part *kept = tpc_arena_take(arena, (n + 1) * sizeof(*kept));
    if (kept == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "template", "no memory for a template");
    }
    memcpy(kept, parts, n * sizeof(*kept));
    *ret = (struct say){ kept, n };
    return 0;
}

static int put_value(const struct tpc_value *v, bool quote, struct tpc_arena *arena,
                     struct tpi_buf *out)
{
    struct tpc_str text;
    if (v == NULL) {
        return 0;
    }
    int rc = quote ? cast_json(v, arena, &text) : cast_text(v, arena, &text);
    return rc != 0 ? rc : tpi_buf_text(out, text);
}

/* A platform's call with a value instead of a map comes as {"value": x}: that is x. */
static const struct tpc_value *bare(const struct tpc_value *params)
{
    if (params == NULL || params->type != TPC_MAP || params->len != 1 ||
        !tpc_str_equal(params->as.members[0].key, TPC_STR("value"))) {
        return params;
    }
    const struct tpc_value *v = &params->as.members[0].value;
    return v->type == TPC_MAP ? params : v;
}

int say_fill(const struct say *s, const struct say_values *v, struct tpc_arena *arena,
             struct tpi_buf *out)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        const struct say_part *p = &s->parts[i];
        switch (p->name) {
        case SAY_TEXT:
            rc = tpi_buf_text(out, p->text);
            break;
        case SAY_DEVICE:
            rc = tpi_buf_text(out, v->device);
            break;
        case SAY_TYPE:
            rc = tpi_buf_text(out, v->type);
            break;
        case SAY_KEY:
            rc = tpi_buf_text(out, v->key);
            break;
        case SAY_METHOD:
            rc = tpi_buf_text(out, v->method);
            break;
        case SAY_REQUEST:
            rc = tpi_buf_text(out, v->request);
            break;
        case SAY_VALUE:
            rc = put_value(v->value, false, arena, out);
            break;
        case SAY_PARAMS:
            rc = put_value(bare(v->params), v->quote, arena, out);
            break;
        case SAY_PATH:
            rc = v->params != NULL ? put_value(path_find(&p->path, v->params), v->quote, arena, out)
                                   : 0;
            break;
        }
    }
    return rc;
}

int say_filter(const struct say *s, struct tpi_buf *out)
{
    bool open = false; /* the level is a + already */
    int rc = 0;
    size_t level = out->len;
    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        const struct say_part *p = &s->parts[i];
        if (p->name != SAY_TEXT) {
            out->len = level; /* what the level had before goes into the + */
            rc = tpi_buf_u8(out, '+');
            open = true;
            continue;
        }
        for (size_t k = 0; rc == 0 && k < p->text.len; k++) {
            char c = p->text.ptr[k];
            if (c == '+' || c == '#') {
                return TPC_EINVAL;
            }
            if (c == '/') {
                rc = tpi_buf_u8(out, '/');
                level = out->len;
                open = false;
            } else if (!open) {
                rc = tpi_buf_u8(out, (uint8_t) c);
            }
        }
    }
    return rc;
}
