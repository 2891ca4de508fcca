/* Where the contract's requests come in. On the server's thread: looked at and handed on. */
#include "inside.h"

#include <string.h>
#include <tpcore/json.h>

static void refuse(struct panel *p, const struct tpc_http_call *call, uint32_t status,
                   uint32_t code)
{
    struct tpc_member members[] = {
        { TPC_STR("code"), panel_int((int64_t) code) },
        { TPC_STR("message"), panel_text(tpc_str_from(panel_message(code))) },
    };
    struct tpc_value all = { TPC_MAP, 0, 2, { .members = members } };
    struct tpc_http_answer a = { .size = sizeof(a), .status = status, .json = &all };
    p->host->count(p->ctx, "refused", 1);
    (void) p->server->reply(p->server_self, call->id, &a);
}

static void hand_on(struct panel *p, const struct tpc_http_call *call, panel_handler_fn *handler)
{
    struct tpc_str texts[3] = { { (const char *) call->body.ptr, call->body.len }, call->peer };
    if (!panel_allowed(&p->allow, call->peer)) {
        p->host->count(p->ctx, "not_allowed", 1);
        refuse(p, call, 403, PANEL_DENIED);
        return;
    }
    struct panel_job *job = panel_job_make(p, handler, texts);
    if (job != NULL) {
        job->call = call->id;
        job->peer = job->device_type;
    }
    if (job == NULL || panel_post(p, job) != 0) {
        p->host->count(p->ctx, "busy", 1);
        refuse(p, call, 503, PANEL_INTERNAL);
    }
}

#define ROUTE(name)                                                                                \
    static void on_##name(void *user, const struct tpc_http_call *call)                            \
    {                                                                                              \
        hand_on(user, call, panel_##name);                                                         \
    }
ROUTE(heartbeat)
ROUTE(config)
ROUTE(devices)
ROUTE(points)
ROUTE(point)
ROUTE(register)
ROUTE(gateway)
ROUTE(subs)
ROUTE(metrics)
ROUTE(health)
ROUTE(systime)

/* Its id stands in the path. */
static void on_diagnostics(void *user, const struct tpc_http_call *call)
{
    struct panel *p = user;
    struct tpc_str id = p->server->param(&call->params, TPC_STR("id"));
    struct tpc_http_call c = *call;
    char text[6 * PANEL_KEY_BYTES + 16];
    struct tpc_member member = { TPC_STR("device_id"), panel_text(id) };
    struct tpc_value body = { TPC_MAP, 0, 1, { .members = &member } };
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text), 0 };
    if (id.len > PANEL_KEY_BYTES || tpc_json_write(&body, 0, &buf) != 0) {
        refuse(p, call, 200, PANEL_PARAMETER);
        return;
    }
    c.body = (struct tpc_bytes){ (const uint8_t *) text, buf.need };
    hand_on(p, &c, panel_diagnostics);
}

#define POST(at, name)                                                                             \
    {                                                                                              \
        .method = "POST", .path = (at), .fn = on_##name, .body_max_bytes = PANEL_BODY_BYTES        \
    }
#define GET(at, name)                                                                              \
    {                                                                                              \
        .method = "GET", .path = (at), .fn = on_##name, .flags = TPC_ROUTE_QUIET                   \
    }

static const struct tpc_http_route table[] = {
    POST("/api/v1/plugin/heartbeat", heartbeat),
    POST("/api/v1/plugin/device/config", config),
    POST("/api/v1/plugin/devices", devices),
    POST("/api/v1/plugin/service/access/list", points),
    POST("/api/v1/plugin/service/access", point),
    POST("/api/v1/device/auth", register),
    POST("/api/v1/device/gateway-register", gateway),
    POST("/api/v1/device/gateway-sub-register", subs),
    GET("/metrics", metrics),
    GET("/api/v1/devices/{id}/diagnostics", diagnostics),
    GET("/health", health),
    GET("/api/v1/systime", systime),
};

int panel_routes_add(struct panel *p)
{
    static const struct tpc_list routes = TPC_LIST(table);
    struct tpc_error err = { .code = 0 };
    int rc = p->server->add(p->server_self, &routes, p, &err, &p->routes);
    return rc == 0 ? 0 : p->host->fail(p->ctx, rc, "the routes are not taken: %s", err.text);
}
