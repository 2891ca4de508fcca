#include "syntax.h"

#include <string.h>

#include "base/error.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

bool http_same(struct tpc_str a, struct tpc_str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.ptr[i]) != lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

static bool is_alnum(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f');
}

static int refuse(struct tpc_error *err, const char *why)
{
    return tpi_error_set(err, TPC_EINVAL, "http", "%s", why);
}

static bool prefixed(struct tpc_str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && http_same((struct tpc_str){ s.ptr, n }, tpc_str_from(prefix));
}

/* Length of the host at the begin of an authority; 0 if it is none. */
static size_t host_length(struct tpc_str a)
{
    size_t n = 0;
    if (a.len > 0 && a.ptr[0] == '[') {
        for (n = 1; n < a.len && (is_hex(a.ptr[n]) || a.ptr[n] == ':' || a.ptr[n] == '.'); n++) {
        }
        return n > 2 && n < a.len && a.ptr[n] == ']' ? n + 1 : 0;
    }
    while (n < a.len && (is_alnum(a.ptr[n]) || memchr("-._", a.ptr[n], 3) != NULL)) {
        n++;
    }
    return a.ptr != NULL && n > 0 && a.ptr[0] != '-' && a.ptr[0] != '.' ? n : 0;
}

/* The port behind a host: 0 = none is said, -1 = it is no port. */
static int port_of(struct tpc_str rest)
{
    int port = 0;
    if (rest.len == 0) {
        return 0;
    }
    if (rest.ptr[0] != ':' || rest.len < 2 || rest.len > 6) {
        return -1;
    }
    for (size_t i = 1; i < rest.len; i++) {
        if (!is_digit(rest.ptr[i])) {
            return -1;
        }
        port = port * 10 + (rest.ptr[i] - '0');
    }
    return port >= 1 && port <= 65535 ? port : -1;
}

static void write_origin(bool tls, struct tpc_str host, int port, char ret[HTTP_ORIGIN_MAX])
{
    const char *scheme = tls ? "https://" : "http://";
    size_t n = strlen(scheme);
    char digits[8];
    size_t count = 0;
    memcpy(ret, scheme, n);
    for (size_t i = 0; i < host.len; i++) {
        ret[n++] = lower(host.ptr[i]);
    }
    ret[n++] = ':';
    for (int p = port != 0 ? port : tls ? 443 : 80; p > 0; p /= 10) {
        digits[count++] = (char) ('0' + p % 10);
    }
    while (count > 0) {
        ret[n++] = digits[--count];
    }
    ret[n] = '\0';
}

int http_check_url(struct tpc_str url, struct tpc_error *err, char ret_origin[HTTP_ORIGIN_MAX])
{
    bool tls = prefixed(url, "https://");
    if (!tls && !prefixed(url, "http://")) {
        return refuse(err, "a URL begins with http:// or https://");
    }
    if (url.len > HTTP_URL_MAX) {
        return refuse(err, "the URL is longer than 8,192 bytes");
    }
    for (size_t i = 0; i < url.len; i++) {
        if (url.ptr[i] < 0x21 || url.ptr[i] > 0x7e) {
            return refuse(err, "a URL is visible ASCII; other bytes are written as %XX");
        }
    }
    size_t begin = tls ? 8 : 7;
    size_t end = begin;
    while (end < url.len && memchr("/?#", url.ptr[end], 3) == NULL) {
        end++;
    }
    struct tpc_str authority = { url.ptr + begin, end - begin };
    if (memchr(authority.ptr, '@', authority.len) != NULL) {
        return refuse(err, "user and password do not stand in the URL");
    }
    struct tpc_str host = { authority.ptr, host_length(authority) };
    if (host.len == 0 || host.len > HTTP_HOST_MAX) {
        return refuse(err, "the URL has no host");
    }
    int port = port_of((struct tpc_str){ authority.ptr + host.len, authority.len - host.len });
    if (port < 0) {
        return refuse(err, "what follows the URL's host is no port");
    }
    write_origin(tls, host, port, ret_origin);
    return 0;
}

bool http_method_valid(struct tpc_str method)
{
    for (size_t i = 0; i < method.len; i++) {
        if (method.ptr[i] < 'A' || method.ptr[i] > 'Z') {
            return false;
        }
    }
    return method.len >= 1 && method.len <= HTTP_METHOD_MAX;
}

static bool is_token(struct tpc_str s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        if (!is_alnum(s.ptr[i]) && memchr(marks, s.ptr[i], sizeof(marks) - 1) == NULL) {
            return false;
        }
    }
    return s.len > 0 && s.len <= HTTP_HEADER_MAX;
}

static bool is_field_value(struct tpc_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return s.len <= HTTP_HEADER_MAX;
}

int http_check_header(const struct tpc_http_header *h, struct tpc_error *err)
{
    /* Those that frame the message or belong to the connection. */
    static const char *const ours[] = { "content-length", "transfer-encoding", "connection", "te",
                                        "trailer",        "upgrade",           "expect" };
    if (!is_token(h->name)) {
        return refuse(err, "the name of a header is not one");
    }
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (http_same(h->name, tpc_str_from(ours[i]))) {
            return tpi_error_set(err, TPC_EINVAL, "http", "header %s is set by the client alone",
                                 ours[i]);
        }
    }
    if (!is_field_value(h->value)) {
        return refuse(err, "the value of a header has a line end or a control byte in it");
    }
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

bool http_head_next(struct tpc_str head, size_t *pos, struct tpc_http_header *ret)
{
    while (*pos < head.len) {
        struct tpc_str line = { head.ptr + *pos, 0 };
        const char *end = memchr(line.ptr, '\n', head.len - *pos);
        line.len = end != NULL ? (size_t) (end - line.ptr) : head.len - *pos;
        *pos += line.len + (end != NULL);
        const char *colon = line.len > 0 ? memchr(line.ptr, ':', line.len) : NULL;
        struct tpc_str name = { line.ptr, colon != NULL ? (size_t) (colon - line.ptr) : 0 };
        if (!is_token(name)) {
            continue; /* the status line, an empty one, or a folded one */
        }
        struct tpc_str value = { colon + 1, line.len - name.len - 1 };
        while (value.len > 0 && is_blank(value.ptr[0])) {
            value.ptr++;
            value.len--;
        }
        while (value.len > 0 && is_blank(value.ptr[value.len - 1])) {
            value.len--;
        }
        *ret = (struct tpc_http_header){ name, value };
        return true;
    }
    return false;
}
