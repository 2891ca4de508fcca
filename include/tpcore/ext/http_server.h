/*
 * Service "http.server": routes of other modules on the listeners of one that owns them. The module
 * http offers it.
 */
#ifndef TPCORE_EXT_HTTP_SERVER_H
#define TPCORE_EXT_HTTP_SERVER_H

#include <tpcore/bytes.h>
#include <tpcore/error.h>
#include <tpcore/ext/http.h>
#include <tpcore/value.h>

TPC_BEGIN

enum tpc_route_flags {
    /* The body is JSON: `json` is set, what is none is answered 400; an empty body is TPC_NULL. */
    TPC_ROUTE_JSON = 1,
    TPC_ROUTE_QUIET = 2 /* not in the access log: health checks */
};

/* A request that is answered by reply(), with the views valid until then, also after a time-out. */
struct tpc_http_call {
    uint32_t size;
    uint32_t flags; /* 0 */
    uint64_t id;    /* for reply() */
    struct tpc_str method;
    struct tpc_str path;      /* decoded, without the query */
    struct tpc_str raw_query; /* as it came, without '?' */
    struct tpc_str peer;      /* address of who asks, without port */
    /* Lists of struct tpc_http_header: what the pattern's {names} matched, decoded; the query in its order,
     * decoded; the headers. */
    struct tpc_list params;
    struct tpc_list query;
    struct tpc_list headers;
    struct tpc_bytes body;
    const struct tpc_value *json; /* with TPC_ROUTE_JSON */
};

/* What is answered. All is copied. */
struct tpc_http_answer {
    uint32_t size;
    uint32_t status; /* 200..599 */
    /* struct tpc_http_header; not Content-Length, Connection or the like */
    struct tpc_list headers;
    struct tpc_str content_type; /* empty = application/json if json or body is set */
    struct tpc_bytes body;
    const struct tpc_value *json; /* instead of body */
};

/*
 * A request of a route came. It is answered by reply(), now or later, from any thread, exactly once;
 * one that is not answered within the route's time-out is answered 504, and reply() is TPC_ENOENT. It
 * is to be called all the same: until then, or remove(), the request is held and counts as awaited.
 * Thread: the server's, one for all routes; must not block.
 */
typedef void tpc_http_route_fn(void *user, const struct tpc_http_call *call);

struct tpc_http_route {
    const char *method; /* "GET", "POST" ...; a HEAD is answered by the route of GET */
    /* "/api/v1/things/{id}": a name matches one level, "{rest...}" at the end the remaining ones */
    const char *path;
    tpc_http_route_fn *fn;
    uint32_t flags;          /* enum tpc_route_flags */
    uint32_t timeout_ms;     /* 0 = the server's */
    uint64_t body_max_bytes; /* 0 = the server's */
    uint32_t rate_per_s;     /* of one address, on this route; over it 429; 0 = the server's */
    uint32_t reserved;
};

/*
 * add     Serves routes from now on, all or none; the table and its texts are static. A request goes to
 *         the route whose pattern has the longest literal beginning. 0 with *ret_id; TPC_EEXIST method
 *         and path are served; TPC_EINVAL a pattern is wrong (the text says which); TPC_ENOMEM. control
 *         thread, in init or start.
 * remove  Serves them no more; returns when no fn of theirs runs. What waits for an answer is answered
 *         503. control thread.
 * reply   0; TPC_ENOENT (answered, timed out, or the peer is gone); TPC_EINVAL: the status, a header that
 *         is malformed or frames the message, or over 2 KiB of headers: nothing was answered, try again;
 *         TPC_ENOMEM (503, or the connection is closed). Any thread.
 * param   The first value of params, query or headers by name, in any case. Empty if there is none.
 * port    The port of a listener, for tests with port 0. 0 = not open. Any thread.
 */
struct tpc_http_server_ops {
    struct tpc_iface iface; /* major 1 */
    int (*add)(void *self, const struct tpc_list *routes, void *user, struct tpc_error *err,
               uint64_t *ret_id);
    void (*remove)(void *self, uint64_t id);
    int (*reply)(void *self, uint64_t call, const struct tpc_http_answer *answer);
    struct tpc_str (*param)(const struct tpc_list *list, struct tpc_str name);
    uint16_t (*port)(void *self, uint32_t listener);
};

TPC_END

#endif
