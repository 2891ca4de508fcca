/* What may stand in a request, and what stands in the head of an answer. Pure functions. */
#ifndef HTTP_SYNTAX_H
#define HTTP_SYNTAX_H

#include <stdbool.h>
#include <tpcore/error.h>
#include <tpcore/ext/http.h>

enum {
    HTTP_URL_MAX = 8192,
    HTTP_HOST_MAX = 253,   /* RFC 1035 section 2.3.4 */
    HTTP_ORIGIN_MAX = 280, /* "https://" host ":" port, with the NUL */
    HTTP_METHOD_MAX = 16,
    HTTP_HEADERS_MAX = 100,
    HTTP_HEADER_MAX = 8192 /* bytes of a name or of a value */
};

/*
 * Whether url is http://host[:port][/...] or https://..., of visible ASCII, without user and
 * password. ret_origin: scheme, host in lower case and port. Returns 0 or TPC_EINVAL.
 */
int http_check_url(struct tpc_str url, struct tpc_error *err, char ret_origin[HTTP_ORIGIN_MAX]);

/* 1 to 16 capital letters. */
bool http_method_valid(struct tpc_str method);

/* Whether a header may be set by whoever asks: a token (RFC 9110 section 5.6.2), a value without
 * control bytes, and none of those that say where a message ends. Returns 0 or TPC_EINVAL. */
int http_check_header(const struct tpc_http_header *h, struct tpc_error *err);

/* The next header of the head of an answer, lines that end with LF or CR LF. *pos = 0 at first;
 * false at the end. Lines that are no header are passed over. */
bool http_head_next(struct tpc_str head, size_t *pos, struct tpc_http_header *ret);

/* Whether two texts are the same but for the case of ASCII letters. */
bool http_same(struct tpc_str a, struct tpc_str b);

#endif
