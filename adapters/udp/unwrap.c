#include "unwrap.h"

#include "data/json_read.h"

#include <string.h>

/* Reads the value that comes next; its bytes as they stand, and as text if it is one without escapes. */
static bool value(struct tpi_json *r, struct tpc_str *ret_bytes, struct tpc_str *ret_text)
{
    const char *from = r->p;
    int event = tpi_json_next(r);
    bool plain = event == TPI_JSON_TEXT && !r->escaped;
    *ret_text = plain ? r->text : (struct tpc_str){ NULL, 0 };
    if (event == TPI_JSON_ERROR || tpi_json_skip(r, event) != 0) {
        return false;
    }
    while (*from == ':' || *from == ' ' || *from == '\t' || *from == '\r' || *from == '\n') {
        from++;
    }
    *ret_bytes = (struct tpc_str){ from, (size_t) (r->p - from) };
    return true;
}

static bool is_key(const struct tpi_json *r, const char *name)
{
    return tpc_str_equal(r->text, tpc_str_from(name));
}

/* Inside params: token and body. */
static bool look_inside(struct tpc_str params, struct udp_message *m)
{
    struct tpi_json r;
    bool token = false, body = false;
    int event;
    tpi_json_begin(&r, params);
    if (tpi_json_next(&r) != TPI_JSON_MAP) {
        return true; /* no token */
    }
    while ((event = tpi_json_next(&r)) == TPI_JSON_KEY) {
        struct tpc_str bytes, text;
        bool is_token = is_key(&r, "token"), is_body = is_key(&r, "body");
        if ((is_token && token) || (is_body && body) || !value(&r, &bytes, &text)) {
            return false;
        }
        if (is_token) {
            m->token = text;
            token = true;
        } else if (is_body) {
            m->body = bytes;
            body = true;
        }
    }
    return event == TPI_JSON_MAP_END;
}

bool udp_unwrap(struct tpc_bytes datagram, struct udp_message *ret)
{
    struct tpc_str all = { (const char *) datagram.ptr, datagram.len }, params = { NULL, 0 };
    struct udp_message m = { .head = all };
    struct tpi_json r;
    bool method = false;
    int event;
    if (all.len == 0) {
        return false;
    }
    tpi_json_begin(&r, all);
    if (tpi_json_next(&r) != TPI_JSON_MAP) {
        return false;
    }
    while ((event = tpi_json_next(&r)) == TPI_JSON_KEY) {
        struct tpc_str bytes, text;
        bool is_method = is_key(&r, "method"), is_params = is_key(&r, "params");
        if ((is_method && method) || (is_params && params.ptr != NULL) ||
            !value(&r, &bytes, &text)) {
            return false;
        }
        m.method = is_method ? text : m.method;
        method = method || is_method;
        params = is_params ? bytes : params;
    }
    if (event != TPI_JSON_MAP_END || tpi_json_next(&r) != TPI_JSON_END) {
        return false;
    }
    if (params.ptr != NULL) {
        m.body = TPC_STR("{}");
        m.head.len = (size_t) (params.ptr - all.ptr);
        m.tail.ptr = params.ptr + params.len;
        m.tail.len = (size_t) (all.ptr + all.len - m.tail.ptr);
        if (!look_inside(params, &m)) {
            return false;
        }
    }
    *ret = m;
    return true;
}

static size_t put(uint8_t *ret, size_t at, struct tpc_str s)
{
    if (s.len > 0) {
        memcpy(ret + at, s.ptr, s.len);
    }
    return at + s.len;
}

size_t udp_plain(const struct udp_message *m, uint8_t *ret)
{
    return put(ret, put(ret, put(ret, 0, m->head), m->body), m->tail);
}
