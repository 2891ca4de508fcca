#include "slice.h"

enum { DIGITS_MAX = 9 };

static bool number(const char **p, const char *end, bool *ret_there, int64_t *ret)
{
    bool minus = *p < end && **p == '-';
    int64_t n = 0;
    *p += minus;
    const char *begin = *p;
    while (*p < end && **p >= '0' && **p <= '9' && *p - begin < DIGITS_MAX) {
        n = n * 10 + (*(*p)++ - '0');
    }
    *ret_there = *p > begin;
    *ret = minus ? -n : n;
    return *ret_there || !minus;
}

bool slice_parse(struct tpc_str text, struct slice *ret, size_t *ret_len)
{
    const char *p = text.ptr;
    const char *end = text.ptr + text.len;
    struct slice s = { false, false, false, 0, 0 };
    if (p == end || *p++ != '[' || !number(&p, end, &s.has_from, &s.from)) {
        return false;
    }
    if (p < end && *p == ':') {
        p++;
        if (!number(&p, end, &s.has_to, &s.to)) {
            return false;
        }
    } else {
        s.single = true;
    }
    if (p == end || *p != ']' || (s.single && !s.has_from)) {
        return false;
    }
    *ret = s;
    *ret_len = (size_t) (p + 1 - text.ptr);
    return true;
}

/* A place within 0..len. */
static size_t place(int64_t at, size_t len)
{
    int64_t n = (int64_t) len;
    at = at < 0 ? at + n : at;
    return (size_t) (at < 0 ? 0 : at > n ? n : at);
}

bool slice_take(const struct slice *s, struct tpc_bytes bytes, struct tpc_bytes *ret)
{
    size_t from = s->has_from ? place(s->from, bytes.len) : 0;
    size_t to = s->has_to ? place(s->to, bytes.len) : bytes.len;
    if (s->single) {
        int64_t at = s->from < 0 ? s->from + (int64_t) bytes.len : s->from;
        if (at < 0 || at >= (int64_t) bytes.len) {
            return false;
        }
        from = (size_t) at;
        to = from + 1;
    }
    ret->ptr = bytes.len > 0 ? bytes.ptr + (from < to ? from : 0) : bytes.ptr;
    ret->len = from < to ? to - from : 0;
    return true;
}
