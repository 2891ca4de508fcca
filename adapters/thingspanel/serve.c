/* Where the two halves of an instance meet, and the program that is served. */
#include "platform.h"

#include <string.h>

static int serve(void *self, const struct tpc_service_ops *ops, void *user, struct tpc_error *err)
{
    struct tp *s = self;
    int rc = tp_http_serve(s->http, ops, user, err);
    if (rc == 0) {
        s->ops = ops;
        s->ops_user = user;
    }
    return rc;
}

static const struct tpc_service_platform_ops platform_ops = {
    .iface = TPC_IFACE(struct tpc_service_platform_ops, 1), .serve = serve
};

int tp_serve_init(struct tp *s)
{
    int rc = tp_http_create(s->host, s->ctx, &s->config, &s->http);
    rc = rc != 0 ? rc : s->host->offer(s->ctx, "service.platform", &platform_ops, s);
    return rc != 0 ? rc : s->host->offer(s->ctx, "device.access", tp_http_access(s->http), s->http);
}

int tp_serve_start(struct tp *s)
{
    int rc = tp_http_start(s->http);
    if (rc == 0 && tp_http_runs(s->http)) {
        s->directory_self = s->http;
        s->directory = &tp_http_directory;
    }
    return rc;
}

void tp_serve_stop(struct tp *s)
{
    tp_http_stop(s->http);
    s->directory = s->directory == &tp_http_directory ? NULL : s->directory;
}

void tp_serve_fini(struct tp *s)
{
    s->http = tp_http_destroy(s->http);
}
