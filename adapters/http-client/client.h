/* Requests over the loop of adapters/curl. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "../curl/xfer.h"
#include "syntax.h"

#include <tpcore/ext/host.h>

struct http_client {
    const struct tpc_host *host;
    void *ctx;
    struct xfer_loop *loop;
    struct tpc_arena *arena; /* of the texts below */
    const char *ca, *proxy, *user_agent;
    uint32_t connect_ms, whole_ms;
    uint64_t response_max, header_max;
};

/* The functions of struct tpc_http_ops; self is a struct http_client. */
int http_submit(void *self, const struct tpc_http_request *request, struct tpc_error *err,
                uint64_t *ret_id);
int http_check(void *self, const struct tpc_http_request *request, struct tpc_error *err);
int http_cancel(void *self, uint64_t id);
struct tpc_str http_header(const struct tpc_http_reply *reply, struct tpc_str name);

#endif
