/*
 * What a request must be beyond what the library asks for. Where two readers could see two requests in
 * the same bytes (RFC 9112 section 11.2), it is refused and the connection closed.
 */
#include "server.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Up to 0.9.76 the library joins folded lines (obs-fold) and says nothing. It parses in place: a header
 * that does not follow the one before it in memory was joined, or holds a NUL. Later ones have the same
 * soname and refuse such lines themselves, so the one that runs is asked. */
bool hs_joins_lines(const char *version)
{
    static const unsigned long last[] = { 0, 9, 76 };
    const char *at = version;
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
        char *end;
        unsigned long part = strtoul(at, &end, 10);
        if (end == at || part != last[i]) {
            return end != at && part < last[i];
        }
        at = *end == '.' ? end + 1 : end;
    }
    return true;
}

bool hs_name_good(struct tpc_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char) name.ptr[i];
        if (c <= 0x20 || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c) != NULL) {
            return false;
        }
    }
    return name.len > 0;
}

bool hs_value_good(struct tpc_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char) value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool same(struct tpc_str s, const char *name)
{
    return s.len == strlen(name) && strncasecmp(s.ptr, name, s.len) == 0;
}

struct look {
    struct hs_head *head;
    const char *end; /* of the line before, NULL = not looked at */
    uint32_t lengths, codings, hosts;
    uint32_t status;
    const char *text;
};

static void refuse(struct look *k, uint32_t status, const char *text)
{
    if (k->status == 0) {
        k->status = status;
        k->text = text;
    }
}

/* Whether only a line's end lies between the end of one and the begin of the next header. */
static bool follows(const char *end, const char *begin)
{
    if (begin <= end || begin - end > 64) {
        return false;
    }
    for (const char *p = end; p < begin; p++) {
        if (*p != '\0' && *p != '\r' && *p != '\n' && *p != ' ' && *p != '\t') {
            return false;
        }
    }
    return true;
}

/* The same for the last header: `end` of all is where the library found the empty line, a few bytes later
 * if there were empty lines before the request. */
static bool is_last(const char *last, const char *end)
{
    for (const char *p = last; p + 4 < end; p++) {
        if (*p != '\0' && *p != '\r' && *p != '\n' && *p != ' ' && *p != '\t') {
            return false;
        }
    }
    return true;
}

static void look_length(struct look *k, struct tpc_str value)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9' || i == 18) {
            refuse(k, 400, "Content-Length is no number");
            return;
        }
        n = n * 10 + (uint64_t) (value.ptr[i] - '0');
    }
    if (value.len == 0) {
        refuse(k, 400, "Content-Length is no number");
    }
    k->lengths++;
    k->head->length = n;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                 size_t key_size, const char *value, size_t value_size)
{
    struct look *k = cls;
    struct tpc_http_header h = { { key, key_size }, { value != NULL ? value : "", value_size } };
    (void) kind;
    if (k->end != NULL) {
        if (!follows(k->end, key)) {
            refuse(k, 400, "a header line is folded or holds a NUL");
        }
        k->end = value != NULL ? value + value_size : key + key_size;
    }
    if (!hs_name_good(h.name) || !hs_value_good(h.value)) {
        refuse(k, 400, "a header is malformed");
    }
    if (same(h.name, "Content-Length")) {
        look_length(k, h.value);
    } else if (same(h.name, "Transfer-Encoding")) {
        k->codings++;
        if (!same(h.value, "chunked")) {
            refuse(k, 400, "a transfer coding other than chunked");
        }
    } else if (same(h.name, "Host")) {
        k->hosts++;
    } else if (same(h.name, "Expect")) {
        k->head->waits = true;
        if (!same(h.value, "100-continue")) {
            refuse(k, 417, "an expectation that cannot be met");
        }
    } else if (same(h.name, "Content-Type")) {
        k->head->type = h.value;
    }
    if (k->head->count == HS_HEADERS_MAX) {
        refuse(k, 431, "too many headers");
        return MHD_NO;
    }
    k->head->headers[k->head->count++] = h;
    return MHD_YES;
}

uint32_t hs_check_head(struct hs_request *r, struct MHD_Connection *mhd, const char *version,
                       struct hs_head *ret, const char **ret_text)
{
    struct look k = { .head = ret, .end = NULL };
    bool joins = r->server->joins_lines;
    if (joins) {
        k.end = version + strlen(version);
    }
    bool old = strcmp(version, "HTTP/1.0") == 0;
    ret->count = 0;
    ret->length = 0;
    ret->waits = false;
    ret->type = TPC_STR("");
    /* "METHOD target version", with what lies between them in the request. */
    const char *target = r->method + strlen(r->method) + 1;
    if (joins && version != target + r->target_len + 1) {
        refuse(&k, 400, "the request line is malformed");
        k.end = NULL;
    }
    if (!old && strcmp(version, "HTTP/1.1") != 0) {
        refuse(&k, 505, "HTTP/1.1 is spoken here");
    }
    (void) MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_header, &k);
    if (k.hosts > 1 || (k.hosts == 0 && !old)) {
        refuse(&k, 400, "one Host is expected");
    }
    if (k.lengths > 1 || k.codings > 1 || (k.lengths > 0 && k.codings > 0) ||
        (k.codings > 0 && old)) {
        refuse(&k, 400, "the length of the body is said twice");
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info != NULL && info->header_size > r->server->limits.header_max) {
        refuse(&k, 431, "the headers are too long");
    }
    if (joins && k.status == 0 && info != NULL && !is_last(k.end, r->method + info->header_size)) {
        refuse(&k, 400, "a header line holds a NUL");
    }
    if (k.codings > 0) {
        ret->length = UINT64_MAX;
    }
    r->close = k.status != 0;
    *ret_text = k.text;
    return k.status;
}
