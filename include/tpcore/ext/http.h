/*
 * Service "http.client": HTTP requests over connections that another module owns and keeps. The
 * module http-client offers it.
 */
#ifndef TPCORE_EXT_HTTP_H
#define TPCORE_EXT_HTTP_H

#include <tpcore/bytes.h>
#include <tpcore/error.h>
#include <tpcore/ext/iface.h>

TPC_BEGIN

enum tpc_http_flags {
    TPC_HTTP_INSECURE = 1,  /* https: the server's certificate is not looked at */
    TPC_HTTP_REDIRECTS = 2, /* GET and HEAD: up to three are followed, within http or https */
    TPC_HTTP_CUT = 4,       /* an answer over response_max_bytes is cut there and no error */
    TPC_HTTP_RETRY = 8      /* with retries: whatever the method, for twice does no harm */
};

struct tpc_http_header {
    struct tpc_str name;
    struct tpc_str value;
};

/* How a request ended. The views are valid until done() returns. */
struct tpc_http_reply {
    uint32_t size;
    uint32_t status;         /* 100..599; 0 = no answer came */
    struct tpc_list headers; /* struct tpc_http_header, in the order they came */
    struct tpc_bytes body;   /* what came of it, if err is not NULL */
    /*
     * NULL = the server answered, whatever its status. TPC_EOFFLINE no connection or it broke;
     * TPC_ETIMEOUT; TPC_EDENIED the certificate, ours or theirs, is not good; TPC_ETOOBIG the
     * answer or its headers are over the limit; TPC_EIO it is no HTTP, or more than three redirects
     * or one that leads elsewhere; TPC_EINVAL, TPC_ENOMEM; TPC_ECANCELED by cancel() or because the
     * client stops. native: the library's code.
     */
    const struct tpc_error *err;
};

/* A request ended. Thread: the client's; must not block; may call submit() and cancel(). */
typedef void tpc_http_done_fn(void *user, const struct tpc_http_reply *reply);

/* Texts that are empty are absent. */
struct tpc_http_request {
    uint32_t size;
    uint32_t flags;              /* enum tpc_http_flags */
    struct tpc_str method;       /* empty = GET, or POST if there is a body */
    struct tpc_str url;          /* http:// or https://, without user and password */
    struct tpc_list headers;     /* struct tpc_http_header */
    struct tpc_bytes body;       /* ptr NULL = none */
    uint32_t connect_timeout_ms; /* 0 = the client's */
    uint32_t timeout_ms;         /* of each try, from when it leaves the queue; 0 = the client's */
    uint64_t response_max_bytes; /* 0 = the client's */
    struct tpc_str ca;           /* PEM file of the authorities; empty = the client's */
    struct tpc_str cert;         /* PEM files of our own certificate */
    struct tpc_str key;
    struct tpc_str user, password; /* basic authentication */
    tpc_http_done_fn *done;
    void *user_data;
    /*
     * How often it is sent again, at most 10, after no answer (TPC_EOFFLINE, TPC_ETIMEOUT) or 429, 502,
     * 503, 504; GET, HEAD, PUT, DELETE and OPTIONS, or any with TPC_HTTP_RETRY. The wait begins with
     * retry_delay_ms (0 = 500), doubles up to a minute, and is shortened by up to half by chance;
     * Retry-After lengthens it, over a minute it ends the tries. done() has the last end.
     */
    uint32_t retries;
    uint32_t retry_delay_ms;
};

/*
 * submit  Hands over a request, of which everything is copied. 0 = taken: done follows exactly
 *         once, maybe before submit() returns; *ret_id (may be NULL) is for cancel(). TPC_EINVAL
 *         with the detail in *err (may be NULL): the request cannot be sent; TPC_EAGAIN: too many
 *         wait; TPC_ENOMEM; TPC_ESTATE: the client does not run. Any thread.
 * cancel  The request ends with TPC_ECANCELED unless it is over. 0, or TPC_ENOENT if it is over.
 *         Any thread.
 * check   Whether submit() would take the request as it is now; done may be NULL. 0 or TPC_EINVAL.
 *         Any thread.
 * header  A header of a reply by its name in any case, the first of several; empty if there is
 *         none. Any thread.
 */
struct tpc_http_ops {
    struct tpc_iface iface; /* major 1 */
    int (*submit)(void *self, const struct tpc_http_request *request, struct tpc_error *err,
                  uint64_t *ret_id);
    int (*cancel)(void *self, uint64_t id);
    int (*check)(void *self, const struct tpc_http_request *request, struct tpc_error *err);
    struct tpc_str (*header)(const struct tpc_http_reply *reply, struct tpc_str name);
};

TPC_END

#endif
