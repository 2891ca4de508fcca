#include "route.h"
#include "data/utf8.h"

#include <string.h>
#include <tpcore/error.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char small = (char) (c | 0x20);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/* The byte that an escape at raw.ptr[at] stands for, or -1. */
static int escaped(struct tpc_str raw, size_t at)
{
    if (raw.len - at < 3) {
        return -1;
    }
    int high = digit(raw.ptr[at + 1]);
    int low = digit(raw.ptr[at + 2]);
    return high >= 0 && low >= 0 ? high * 16 + low : -1;
}

void hs_target_split(struct tpc_str target, struct tpc_str *ret_path, struct tpc_str *ret_query)
{
    static const char *const schemes[] = { "http://", "https://" };
    struct tpc_str path = target;
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t n = strlen(schemes[i]);
        if (target.len >= n && memcmp(target.ptr, schemes[i], n) == 0) {
            while (n < target.len && target.ptr[n] != '/' && target.ptr[n] != '?') {
                n++;
            }
            path = (struct tpc_str){ target.ptr + n, target.len - n };
            break;
        }
    }
    const char *mark = path.len > 0 ? memchr(path.ptr, '?', path.len) : NULL;
    *ret_query = TPC_STR("");
    if (mark != NULL) {
        size_t n = (size_t) (mark - path.ptr);
        *ret_query = (struct tpc_str){ mark + 1, path.len - n - 1 };
        path.len = n;
    }
    *ret_path = path;
}

/* Whether a level, decoded, may stand in a path. */
static bool level_good(struct tpc_str s)
{
    if ((s.len == 1 && s.ptr[0] == '.') || (s.len == 2 && memcmp(s.ptr, "..", 2) == 0)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return tpi_utf8_valid(s.ptr, s.len);
}

int hs_path_read(struct tpc_str raw, char *room, struct hs_path *ret)
{
    if (raw.len == 0 || raw.ptr[0] != '/') {
        return TPC_EINVAL;
    }
    ret->count = 0;
    char *to = room;
    size_t at = 0;
    while (at < raw.len) {
        *to++ = '/';
        at++;
        const char *begin = to;
        while (at < raw.len && raw.ptr[at] != '/') {
            int c = (unsigned char) raw.ptr[at];
            if (c == '%') {
                c = escaped(raw, at);
                at += 2;
            }
            if (c < 0) {
                return TPC_EINVAL;
            }
            *to++ = (char) c;
            at++;
        }
        struct tpc_str level = { begin, (size_t) (to - begin) };
        if (ret->count == HS_LEVELS_MAX || !level_good(level)) {
            return TPC_EINVAL;
        }
        ret->levels[ret->count++] = level;
    }
    ret->text = (struct tpc_str){ room, (size_t) (to - room) };
    return 0;
}

/* Decodes a name or a value; *io_to moves on. */
static int query_text(struct tpc_str raw, char **io_to, struct tpc_str *ret)
{
    char *begin = *io_to;
    char *to = begin;
    for (size_t at = 0; at < raw.len; at++) {
        int c = (unsigned char) raw.ptr[at];
        if (c == '%' && escaped(raw, at) >= 0) {
            c = escaped(raw, at);
            at += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (c == 0) {
            return TPC_EINVAL;
        }
        *to++ = (char) c;
    }
    *io_to = to;
    *ret = (struct tpc_str){ begin, (size_t) (to - begin) };
    return tpi_utf8_valid(begin, ret->len) ? 0 : TPC_EINVAL;
}

int hs_query_read(struct tpc_str raw, char *room, struct tpc_http_header *ret, uint32_t *ret_count)
{
    uint32_t count = 0;
    char *to = room;
    size_t at = 0;
    while (at < raw.len) {
        const char *begin = raw.ptr + at;
        const char *end = memchr(begin, '&', raw.len - at);
        size_t len = end != NULL ? (size_t) (end - begin) : raw.len - at;
        const char *equal = memchr(begin, '=', len);
        size_t name = equal != NULL ? (size_t) (equal - begin) : len;
        size_t skip = equal != NULL ? name + 1 : len;
        at += len + 1;
        if (len == 0) {
            continue;
        }
        if (count == HS_QUERY_MAX ||
            query_text((struct tpc_str){ begin, name }, &to, &ret[count].name) != 0 ||
            query_text((struct tpc_str){ begin + skip, len - skip }, &to, &ret[count].value) != 0) {
            return TPC_EINVAL;
        }
        count++;
    }
    *ret_count = count;
    return 0;
}

static bool name_good(struct tpc_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char small = (char) (s.ptr[i] | 0x20);
        if (!(small >= 'a' && small <= 'z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') &&
            s.ptr[i] != '_') {
            return false;
        }
    }
    return s.len > 0;
}

/* One level of a pattern; NULL, or what is wrong. */
static const char *level_read(struct tpc_str s, struct hs_level *ret)
{
    *ret = (struct hs_level){ s, HS_LITERAL };
    bool open = memchr(s.ptr, '{', s.len) != NULL;
    bool close = memchr(s.ptr, '}', s.len) != NULL;
    if (!open && !close) {
        return level_good(s) && memchr(s.ptr, '%', s.len) == NULL ? NULL
                                                                  : "a level cannot be asked for";
    }
    if (s.len < 3 || s.ptr[0] != '{' || s.ptr[s.len - 1] != '}') {
        return "a name takes a whole level";
    }
    ret->text = (struct tpc_str){ s.ptr + 1, s.len - 2 };
    ret->kind = HS_NAME;
    if (ret->text.len > 3 && memcmp(s.ptr + s.len - 4, "...", 3) == 0) {
        ret->text.len -= 3;
        ret->kind = HS_REST;
    }
    return name_good(ret->text) ? NULL : "a name has letters, digits and _";
}

int hs_pattern_read(const char *text, struct hs_pattern *ret, const char **ret_why)
{
    struct tpc_str s = tpc_str_from(text);
    memset(ret, 0, sizeof(*ret));
    if (s.len == 0 || s.ptr[0] != '/') {
        *ret_why = "it begins with /";
        return TPC_EINVAL;
    }
    size_t at = 1;
    while (at <= s.len) {
        const char *end = at < s.len ? memchr(s.ptr + at, '/', s.len - at) : NULL;
        size_t len = end != NULL ? (size_t) (end - s.ptr) - at : s.len - at;
        if (ret->count == HS_PATTERN_MAX) {
            *ret_why = "too many levels";
            return TPC_EINVAL;
        }
        struct hs_level *level = &ret->levels[ret->count++];
        *ret_why = level_read((struct tpc_str){ s.ptr + at, len }, level);
        if (*ret_why == NULL && level->kind == HS_REST && at + len < s.len) {
            *ret_why = "{name...} is the last level";
        }
        if (*ret_why != NULL) {
            return TPC_EINVAL;
        }
        if (level->kind != HS_LITERAL) {
            ret->names++;
        } else {
            ret->literal += (uint32_t) len + 1;
            ret->begin = ret->names == 0 ? ret->literal : ret->begin;
        }
        at += len + 1;
    }
    return 0;
}

bool hs_pattern_match(const struct hs_pattern *p, const struct hs_path *path,
                      struct tpc_http_header *ret)
{
    bool rest = p->levels[p->count - 1].kind == HS_REST;
    if (rest ? path->count < p->count : path->count != p->count) {
        return false;
    }
    uint32_t names = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct hs_level *level = &p->levels[i];
        struct tpc_str have = path->levels[i];
        if (level->kind == HS_LITERAL) {
            if (!tpc_str_equal(level->text, have)) {
                return false;
            }
            continue;
        }
        if (level->kind == HS_REST) {
            have.len = path->text.len - (size_t) (have.ptr - path->text.ptr);
        } else if (have.len == 0) {
            return false;
        }
        ret[names++] = (struct tpc_http_header){ level->text, have };
    }
    return true;
}

int hs_pattern_order(const struct hs_pattern *a, const struct hs_pattern *b)
{
    if (a->begin != b->begin) {
        return a->begin > b->begin ? -1 : 1;
    }
    if (a->literal != b->literal) {
        return a->literal > b->literal ? -1 : 1;
    }
    if (a->count != b->count) {
        return a->count > b->count ? -1 : 1;
    }
    int rest_a = a->levels[a->count - 1].kind == HS_REST;
    int rest_b = b->levels[b->count - 1].kind == HS_REST;
    return rest_a - rest_b; /* "{a}" says more than "{a...}" */
}

bool hs_pattern_same(const struct hs_pattern *a, const struct hs_pattern *b)
{
    for (uint32_t i = 0; i < a->count && a->count == b->count; i++) {
        const struct hs_level *x = &a->levels[i], *y = &b->levels[i];
        if (x->kind != y->kind || (x->kind == HS_LITERAL && !tpc_str_equal(x->text, y->text))) {
            return false;
        }
    }
    return a->count == b->count;
}
