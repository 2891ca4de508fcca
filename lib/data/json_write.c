#include <tpcore/json.h>

#include "base/text.h"
#include "data/number.h"
#include "data/utf8.h"

#include <math.h>
#include <string.h>

/* Counts on past the end of the buffer, so that one call measures. */
struct out {
    uint8_t *ptr;
    size_t cap;
    size_t len;
    uint32_t flags;
    uint32_t depth;
};

static void put(struct out *o, const void *p, size_t n)
{
    if (o->len <= o->cap && n <= o->cap - o->len && n > 0) {
        memcpy(o->ptr + o->len, p, n);
    }
    o->len += n;
}

static void put_char(struct out *o, char c)
{
    if (o->len < o->cap) {
        o->ptr[o->len] = (uint8_t) c;
    }
    o->len++;
}

static void put_escape(struct out *o, uint32_t code)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15]
    };
    put(o, text, sizeof(text));
}

/* One byte that cannot stand as it is in a text. */
static void put_special(struct out *o, char c)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *at = c != '\0' ? strchr(from, c) : NULL;
    if (at == NULL) {
        put_escape(o, (unsigned char) c);
        return;
    }
    put_char(o, '\\');
    put_char(o, to[at - from]);
}

/* U+2028 and U+2029 end lines in JavaScript: Go's encoder escapes them with the HTML characters. */
static bool line_separator(const char *p, size_t step)
{
    return step == 3 && (unsigned char) p[0] == 0xE2 && (unsigned char) p[1] == 0x80 &&
           ((unsigned char) p[2] == 0xA8 || (unsigned char) p[2] == 0xA9);
}

static void put_text(struct out *o, struct tpc_str s)
{
    bool html = (o->flags & TPC_JSON_HTML_SAFE) != 0;
    const char *p = s.ptr;
    const char *end = p + s.len;
    const char *from = p;
    put_char(o, '"');
    while (p < end) {
        unsigned char c = (unsigned char) *p;
        size_t step = 1;
        if (c >= 0x80) {
            step = tpi_utf8_step(p, end);
            if (step != 0 && !(html && line_separator(p, step))) {
                p += step;
                continue;
            }
        } else if (c >= 0x20 && c != '"' && c != '\\' &&
                   !(html && (c == '<' || c == '>' || c == '&'))) {
            p++;
            continue;
        }
        put(o, from, (size_t) (p - from));
        if (c >= 0x80) {
            /* What is not UTF-8 (a script made it) becomes the replacement character. */
            put_escape(o, step == 0 ? 0xFFFD : 0x2000 | ((unsigned char) p[2] & 0x3F));
        } else if (html && (c == '<' || c == '>' || c == '&')) {
            put_escape(o, c);
        } else {
            put_special(o, *p);
        }
        p += step == 0 ? 1 : step;
        from = p;
    }
    put(o, from, (size_t) (p - from));
    put_char(o, '"');
}

/* RFC 4648 section 4, with padding. */
static void put_base64(struct out *o, const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    put_char(o, '"');
    for (size_t i = 0; i < n; i += 3) {
        uint32_t x = (uint32_t) p[i] << 16;
        x |= i + 1 < n ? (uint32_t) p[i + 1] << 8 : 0;
        x |= i + 2 < n ? (uint32_t) p[i + 2] : 0;
        char four[4] = { digits[x >> 18], digits[x >> 12 & 63], '=', '=' };
        if (i + 1 < n) {
            four[2] = digits[x >> 6 & 63];
        }
        if (i + 2 < n) {
            four[3] = digits[x & 63];
        }
        put(o, four, sizeof(four));
    }
    put_char(o, '"');
}

static void put_line(struct out *o)
{
    if ((o->flags & TPC_JSON_PRETTY) != 0) {
        put_char(o, '\n');
        for (uint32_t i = 0; i < o->depth; i++) {
            put(o, "  ", 2);
        }
    }
}

static int put_value(struct out *o, const struct tpc_value *v);

static int put_array(struct out *o, const struct tpc_value *v)
{
    for (size_t i = 0; i < v->len; i++) {
        if (i > 0) {
            put_char(o, ',');
        }
        put_line(o);
        int rc = put_value(o, &v->as.items[i]);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* The member that comes after `last` (NULL = the first of all) in the order of keys, equal keys in
 * their own order. Looks at all members each time: sorting would need memory. */
static const struct tpc_member *next_sorted(const struct tpc_value *map,
                                            const struct tpc_member *last)
{
    const struct tpc_member *best = NULL;
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (last != NULL) {
            int order = tpi_text_order(m->key, last->key);
            if (order < 0 || (order == 0 && m <= last)) {
                continue;
            }
        }
        if (best == NULL || tpi_text_order(m->key, best->key) < 0) {
            best = m;
        }
    }
    return best;
}

static int put_map(struct out *o, const struct tpc_value *v)
{
    const struct tpc_member *m = NULL;
    for (size_t i = 0; i < v->len; i++) {
        m = (o->flags & TPC_JSON_SORTED) != 0 ? next_sorted(v, m) : &v->as.members[i];
        if (i > 0) {
            put_char(o, ',');
        }
        put_line(o);
        put_text(o, m->key);
        put(o, ": ", (o->flags & TPC_JSON_PRETTY) != 0 ? 2 : 1);
        int rc = put_value(o, &m->value);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int put_container(struct out *o, const struct tpc_value *v)
{
    bool map = v->type == TPC_MAP;
    if (o->depth == TPC_JSON_MAX_DEPTH) {
        return TPC_EINVAL;
    }
    put_char(o, map ? '{' : '[');
    o->depth++;
    int rc = map ? put_map(o, v) : put_array(o, v);
    o->depth--;
    if (v->len > 0) {
        put_line(o);
    }
    put_char(o, map ? '}' : ']');
    return rc;
}

static int put_value(struct out *o, const struct tpc_value *v)
{
    char number[TPI_NUMBER_TEXT_BYTES];
    switch (v->type) {
    case TPC_NULL:
        put(o, "null", 4);
        return 0;
    case TPC_BOOL:
        put(o, v->as.b ? "true" : "false", v->as.b ? 4 : 5);
        return 0;
    case TPC_INT:
        put(o, number, tpi_number_print_int(v->as.i, number));
        return 0;
    case TPC_DOUBLE:
        if (!isfinite(v->as.d)) {
            put(o, "null", 4);
            return 0;
        }
        put(o, number, tpi_number_print(v->as.d, number));
        return 0;
    case TPC_TEXT:
        put_text(o, (struct tpc_str){ v->as.text, v->len });
        return 0;
    case TPC_BLOB:
        put_base64(o, v->as.blob, v->len);
        return 0;
    case TPC_ARRAY:
    case TPC_MAP:
        return put_container(o, v);
    default:
        return TPC_EINVAL;
    }
}

int tpc_json_write(const struct tpc_value *v, uint32_t flags, struct tpc_buf *buf)
{
    if (v == NULL || buf == NULL || (buf->ptr == NULL && buf->cap != 0)) {
        return TPC_EINVAL;
    }
    struct out o = { .ptr = buf->ptr, .cap = buf->cap, .flags = flags };
    int rc = put_value(&o, v);
    if (rc != 0) {
        return rc;
    }
    buf->need = o.len;
    return o.len > o.cap ? TPC_ETOOBIG : 0;
}
