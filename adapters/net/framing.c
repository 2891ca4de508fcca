#include "framing.h"

#include <limits.h>
#include <string.h>

/* ---- options ---- */

const struct tpc_option net_framing_options[NET_FRAMING_OPTION_COUNT] = {
    { .name = "type",
      .type = TPC_OPT_ENUM,
      .def = "auto",
      .values = "auto|line|delimiter|fixed|length|service",
      .since = "0.1",
      .help =
          "how a frame ends; service = as the program's own callback says; auto = service where "
          "there is such a callback, else line" },
    { .name = "delimiter",
      .type = TPC_OPT_TEXT,
      .def = "\\n",
      .min = 1,
      .max = 64,
      .since = "0.1",
      .help = "of delimiter: 1 to 16 bytes; \\n \\r \\t \\\\ \\xNN are read as in C" },
    { .name = "keep",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "of delimiter and line: the delimiter is part of the message" },
    { .name = "size",
      .type = TPC_OPT_UINT,
      .min = 1,
      .max = NET_FRAME_LIMIT,
      .since = "0.1",
      .help = "of fixed: bytes of a frame; of length: bytes of the field, 1, 2 or 4" },
    { .name = "trim",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "of fixed: zero bytes at the end are not part of the message" },
    { .name = "offset",
      .type = TPC_OPT_UINT,
      .def = "0",
      .max = 4096,
      .since = "0.1",
      .help = "of length: bytes in front of the field" },
    { .name = "endian",
      .type = TPC_OPT_ENUM,
      .def = "big",
      .values = "big|little",
      .since = "0.1",
      .help = "of length: big = the highest byte comes first" },
    { .name = "adjustment",
      .type = TPC_OPT_INT,
      .def = "0",
      .min = -4096,
      .max = 4096,
      .since = "0.1",
      .help = "of length: bytes behind the field = its number + adjustment" },
    { .name = "empty",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "of length: 0 bytes behind the field are a frame; else the connection is closed" },
    { .name = "strip",
      .type = TPC_OPT_UINT,
      .def = "0",
      .max = 4096,
      .since = "0.1",
      .help = "bytes at the front of a frame that are not part of the message" },
    { .name = "begin",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 64,
      .since = "0.1",
      .help =
          "1 to 16 bytes that every frame begins with, written as delimiter: what stands before "
          "them is passed over" },
    { .name = "garbage_max",
      .type = TPC_OPT_SIZE,
      .def = "64KiB",
      .max = NET_FRAME_LIMIT,
      .since = "0.1",
      .help = "of begin and service: bytes passed over between two frames before the connection is "
              "closed" },
};

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte that text begins with; returns how many characters it takes, 0 if none is written so. */
static size_t unescape(struct tpc_str text, uint8_t *ret)
{
    static const char names[] = "nrt\\0";
    static const char bytes[] = "\n\r\t\\";
    *ret = (uint8_t) text.ptr[0];
    if (text.ptr[0] != '\\') {
        return 1;
    }
    const char *name = text.len > 1 ? memchr(names, text.ptr[1], sizeof(names) - 1) : NULL;
    if (name != NULL) {
        *ret = (uint8_t) bytes[name - names];
        return 2;
    }
    int high = text.len > 3 && text.ptr[1] == 'x' ? hex_digit(text.ptr[2]) : -1;
    int low = high >= 0 ? hex_digit(text.ptr[3]) : -1;
    if (low < 0) {
        return 0;
    }
    *ret = (uint8_t) (high * 16 + low);
    return 4;
}

/* A mark as it is written; absent = none. */
static int read_mark(const struct tpc_host *host, void *ctx, const struct tpc_value *table,
                     const char *name, uint8_t ret[NET_FRAMING_MARK_MAX], uint8_t *ret_len)
{
    struct tpc_str text = tpc_value_text(tpc_value_get(table, tpc_str_from(name)));
    uint8_t n = 0;
    while (text.len > 0) {
        uint8_t byte;
        size_t took = unescape(text, &byte);
        if (took == 0) {
            return host->fail(ctx, TPC_EINVAL, "framing.%s: '\\' before what no escape begins with",
                              name);
        }
        if (n == NET_FRAMING_MARK_MAX) {
            return host->fail(ctx, TPC_EINVAL, "framing.%s: more than %d bytes", name,
                              NET_FRAMING_MARK_MAX);
        }
        ret[n++] = byte;
        text.ptr += took;
        text.len -= took;
    }
    *ret_len = n;
    return 0;
}

static int64_t number(const struct tpc_value *table, const char *name)
{
    int64_t x = 0;
    const struct tpc_value *v = tpc_value_get(table, tpc_str_from(name));
    return v != NULL && tpc_value_int(v, &x) == 0 ? x : 0;
}

static uint32_t type_of(struct tpc_str text)
{
    static const char *const names[] = { [NET_FRAMING_LINE] = "line",
                                         [NET_FRAMING_DELIMITER] = "delimiter",
                                         [NET_FRAMING_FIXED] = "fixed",
                                         [NET_FRAMING_LENGTH] = "length",
                                         [NET_FRAMING_SERVICE] = "service" };
    for (uint32_t i = NET_FRAMING_LINE; i <= NET_FRAMING_SERVICE; i++) {
        if (tpc_str_equal(text, tpc_str_from(names[i]))) {
            return i;
        }
    }
    return NET_FRAMING_LINE;
}

/* What the options' types do not say. */
static int check(const struct tpc_host *host, void *ctx, const struct net_framing *f)
{
    bool length = f->type == NET_FRAMING_LENGTH;
    if ((length || f->type == NET_FRAMING_FIXED) && f->size == 0) {
        return host->fail(ctx, TPC_EINVAL, "framing.size: it is required");
    }
    if (length && f->size != 1 && f->size != 2 && f->size != 4) {
        return host->fail(ctx, TPC_EINVAL, "framing.size: a field of %u bytes; 1, 2 or 4 are known",
                          (unsigned) f->size);
    }
    if (length && f->begin_len > f->offset) {
        return host->fail(ctx, TPC_EINVAL, "framing.begin: longer than the offset of the field");
    }
    uint32_t least = length ? f->offset + f->size : f->type == NET_FRAMING_FIXED ? f->size : 1;
    if (least > f->frame_max) {
        return host->fail(ctx, TPC_EINVAL, "framing: a frame of %u bytes is over the limit of %u",
                          (unsigned) least, (unsigned) f->frame_max);
    }
    if (f->type == NET_FRAMING_FIXED && f->begin_len > f->size) {
        return host->fail(ctx, TPC_EINVAL, "framing.begin: longer than the frame");
    }
    return 0;
}

int net_framing_read(const struct tpc_host *host, void *ctx, const struct tpc_value *table,
                     uint32_t frame_max, struct net_framing *ret)
{
    struct net_framing f = { .frame_max = frame_max };
    struct tpc_str type = tpc_value_text(tpc_value_get(table, TPC_STR("type")));
    f.type = type_of(type);
    f.automatic = tpc_str_equal(type, TPC_STR("auto"));
    f.garbage_max = (uint32_t) number(table, "garbage_max");
    f.strip = (uint32_t) number(table, "strip");
    f.size = (uint32_t) number(table, "size");
    f.offset = (uint32_t) number(table, "offset");
    f.adjustment = (int32_t) number(table, "adjustment");
    f.little =
        tpc_str_equal(tpc_value_text(tpc_value_get(table, TPC_STR("endian"))), TPC_STR("little"));
    f.empty = number(table, "empty") != 0;
    f.keep = number(table, "keep") != 0;
    f.trim = number(table, "trim") != 0;
    int rc = read_mark(host, ctx, table, "begin", f.begin, &f.begin_len);
    if (rc == 0 && f.type == NET_FRAMING_DELIMITER) {
        rc = read_mark(host, ctx, table, "delimiter", f.mark, &f.mark_len);
    } else if (f.type == NET_FRAMING_LINE) {
        f.mark[0] = '\n';
        f.mark_len = 1;
    }
    rc = rc != 0 ? rc : check(host, ctx, &f);
    if (rc == 0) {
        *ret = f;
    }
    return rc;
}

/* ---- reading ---- */

/* Where a mark stands at or behind `from`; or, false, the first place where one may begin of which
 * the rest has not come. */
static bool find(struct tpc_bytes in, size_t from, const uint8_t *mark, size_t mark_len,
                 size_t *ret)
{
    while (from < in.len) {
        const uint8_t *hit = memchr(in.ptr + from, mark[0], in.len - from);
        if (hit == NULL) {
            break;
        }
        size_t at = (size_t) (hit - in.ptr);
        size_t n = in.len - at < mark_len ? in.len - at : mark_len;
        if (memcmp(hit, mark, n) == 0) {
            *ret = at;
            return n == mark_len;
        }
        from = at + 1;
    }
    *ret = in.len;
    return false;
}

static uint32_t field(const struct net_framing *f, const uint8_t *p)
{
    uint32_t x = 0;
    for (uint32_t i = 0; i < f->size; i++) {
        x = x << 8 | p[f->little ? f->size - 1 - i : i];
    }
    return x;
}

/* Length of the frame that `in` begins with, and where its body ends. TPC_EAGAIN with *ret_whole =
 * bytes that are needed. */
static int measure(const struct net_framing *f, struct net_framing_state *s, struct tpc_bytes in,
                   size_t *ret_whole, size_t *ret_end)
{
    size_t head = (size_t) f->offset + f->size, at;
    int64_t body;
    switch (f->type) {
    case NET_FRAMING_LINE:
    case NET_FRAMING_DELIMITER:
        at = s->seen > f->begin_len ? s->seen : f->begin_len;
        if (!find(in, at, f->mark, f->mark_len, &at)) {
            s->seen = (uint32_t) at;
            *ret_whole = in.len + 1;
            return at + f->mark_len > f->frame_max ? TPC_ETOOBIG : TPC_EAGAIN;
        }
        *ret_whole = at + f->mark_len;
        *ret_end = f->keep ? *ret_whole : at;
        if (f->type == NET_FRAMING_LINE && !f->keep && at > 0 && in.ptr[at - 1] == '\r') {
            *ret_end = at - 1;
        }
        return *ret_whole > f->frame_max ? TPC_ETOOBIG : 0;
    case NET_FRAMING_FIXED:
        *ret_whole = *ret_end = f->size;
        break;
    case NET_FRAMING_LENGTH:
        if (in.len < head) {
            *ret_whole = head;
            return TPC_EAGAIN;
        }
        body = (int64_t) field(f, in.ptr + f->offset) + f->adjustment;
        if (body < 0 || (body == 0 && !f->empty)) {
            return TPC_EDECODE;
        }
        if (body > (int64_t) (f->frame_max - head)) {
            return TPC_ETOOBIG;
        }
        *ret_whole = *ret_end = head + (size_t) body;
        break;
    default:
        return TPC_EUNSUPPORTED;
    }
    return in.len < *ret_whole ? TPC_EAGAIN : 0;
}

static struct tpc_bytes body_of(const struct net_framing *f, struct tpc_bytes in, size_t end)
{
    size_t strip = f->strip < end ? f->strip : end;
    while (f->type == NET_FRAMING_FIXED && f->trim && end > strip && in.ptr[end - 1] == 0) {
        end--;
    }
    return (struct tpc_bytes){ in.ptr + strip, end - strip };
}

/* Passes over n bytes that are no frame. What is known of the bytes behind them stays. */
static int pass(const struct net_framing *f, struct net_framing_state *s, size_t n,
                struct net_frame *out)
{
    out->take += n;
    out->garbage += n;
    s->seen = s->seen > n ? s->seen - (uint32_t) n : 0;
    s->garbage += n < UINT32_MAX - s->garbage ? (uint32_t) n : UINT32_MAX - s->garbage;
    return s->garbage > f->garbage_max ? TPC_EDECODE : 0;
}

/* One step from out->take on: a frame, an error, TPC_EAGAIN, or 1 = something was passed over. */
static int step(const struct net_framing *f, struct net_framing_state *s, struct tpc_bytes in,
                struct net_frame *out)
{
    struct tpc_bytes rest = { in.ptr + out->take, in.len - out->take };
    size_t at = 0, whole = 0, end = 0;
    if (f->begin_len > 0) {
        bool found = find(rest, 0, f->begin, f->begin_len, &at);
        int rc = at > 0 ? pass(f, s, at, out) : 0;
        if (rc != 0 || !found) {
            out->want = in.len - out->take + 1;
            return rc != 0 ? rc : TPC_EAGAIN;
        }
        rest = (struct tpc_bytes){ rest.ptr + at, rest.len - at };
    }
    int rc = measure(f, s, rest, &whole, &end);
    if (rc == TPC_EAGAIN) {
        out->want = whole;
        return rc;
    }
    if (rc != 0) {
        bool again = f->begin_len > 0 && rc != TPC_EUNSUPPORTED;
        rc = again ? pass(f, s, 1, out) : rc;
        return again && rc == 0 ? 1 : rc;
    }
    out->take += whole;
    s->seen = 0;
    s->garbage = 0;
    out->whole = (struct tpc_bytes){ rest.ptr, whole };
    out->body = body_of(f, rest, end);
    /* Between two marks: a device's way of keeping the line open. */
    bool marked = f->type == NET_FRAMING_LINE || f->type == NET_FRAMING_DELIMITER;
    return marked && end <= f->begin_len ? 1 : 0;
}

int net_framing_next(const struct net_framing *f, struct net_framing_state *s, struct tpc_bytes in,
                     struct net_frame *ret)
{
    *ret = (struct net_frame){ .want = 1 };
    int rc = 1;
    while (rc == 1) {
        rc = ret->take < in.len ? step(f, s, in, ret) : TPC_EAGAIN;
    }
    if (rc != 0) {
        ret->whole = ret->body = (struct tpc_bytes){ NULL, 0 };
    }
    return rc;
}

/* ---- writing ---- */

static void put_field(const struct net_framing *f, uint32_t x, uint8_t *p)
{
    for (uint32_t i = 0; i < f->size; i++) {
        p[f->little ? i : f->size - 1 - i] = (uint8_t) (x >> 8 * i);
    }
}

/* Bytes before and behind a body; LENGTH: what its field says. */
static int plan(const struct net_framing *f, struct tpc_bytes body, size_t *ret_before,
                size_t *ret_behind, uint32_t *ret_field)
{
    static const uint32_t most[] = { [1] = UINT8_MAX, [2] = UINT16_MAX, [4] = UINT32_MAX };
    int64_t n = (int64_t) body.len - f->adjustment;
    if (body.len > f->frame_max) {
        return TPC_ETOOBIG;
    }
    switch (f->type) {
    case NET_FRAMING_LINE:
    case NET_FRAMING_DELIMITER:
        *ret_behind = f->mark_len;
        return 0;
    case NET_FRAMING_FIXED:
        *ret_behind = body.len <= f->size ? f->size - body.len : 0;
        return body.len <= f->size ? 0 : TPC_ETOOBIG;
    case NET_FRAMING_LENGTH:
        *ret_before = (size_t) f->offset + f->size;
        if (n < 0 || n > most[f->size]) {
            return n < 0 ? TPC_EINVAL : TPC_ETOOBIG;
        }
        *ret_field = (uint32_t) n;
        return 0;
    default:
        return TPC_EUNSUPPORTED;
    }
}

int net_framing_encode(const struct net_framing *f, struct tpc_bytes body, struct tpc_buf *out)
{
    size_t before = 0, behind = 0;
    uint32_t says = 0;
    int rc = plan(f, body, &before, &behind, &says);
    if (rc != 0) {
        return rc;
    }
    size_t need = before + body.len + behind;
    if (need > f->frame_max) {
        return TPC_ETOOBIG;
    }
    out->need = need;
    if (need > out->cap) {
        return TPC_ETOOBIG;
    }
    if (before > 0) {
        memset(out->ptr, 0, f->offset);
        memcpy(out->ptr, f->begin, f->begin_len);
        put_field(f, says, out->ptr + f->offset);
    }
    if (body.len > 0) {
        memcpy(out->ptr + before, body.ptr, body.len);
    }
    if (f->type == NET_FRAMING_FIXED) {
        memset(out->ptr + body.len, 0, behind);
        return 0;
    }
    if (behind == 0) {
        return 0;
    }
    memcpy(out->ptr + body.len, f->mark, behind);
    /* Whoever reads it must find its end where we put it. */
    size_t at = f->begin_len <= body.len ? f->begin_len : 0;
    struct tpc_bytes all = { out->ptr, need };
    return find(all, at, f->mark, f->mark_len, &at) && at == body.len ? 0 : TPC_EINVAL;
}
