/*
 * What the platform asks a service: routes on the module http. Answers are {"code","message","data"} with
 * HTTP status 200 whatever they say, as the SDKs do it, but for a notification that is not taken. Nobody
 * proves who he is: the option allow says whose calls count.
 */
#include "platform.h"

#include "../text/say.h"
#include "base/alloc.h"
#include "data/member.h"

#include <arpa/inet.h>
#include <string.h>
#include <tpcore/json.h>

enum {
    ARENA_BYTES = 4 << 20,
    BODY_MAX = 64 << 10,
    FOUND_BYTES = 4 << 20, /* of an answer with devices */
    PAGE_MAX = 1000,
    SEARCH_MS = 60000
};

/* ---- answers ---- */

static void reply_json(struct tp_http *h, uint64_t call, uint32_t status,
                       const struct tpc_value *json)
{
    const struct tpc_http_answer a = { .size = sizeof(a), .status = status, .json = json };
    (void) h->server->reply(h->server_self, call, &a); /* gone by now: nobody waits for it */
}

static struct tpc_value text_value(const char *text)
{
    return (struct tpc_value){ TPC_TEXT, 0, strlen(text), { .text = text } };
}

/* data NULL: there is none. */
static void reply_with(struct tp_http *h, uint64_t call, uint32_t status, int code,
                       const char *message, const struct tpc_value *data)
{
    struct tpc_member m[3] = { { TPC_STR_INIT("code"), { TPC_INT, 0, 0, { .i = code } } },
                               { TPC_STR_INIT("message"), text_value(message) } };
    if (data != NULL) {
        m[2] = (struct tpc_member){ TPC_STR_INIT("data"), *data };
    }
    const struct tpc_value map = { TPC_MAP, 0, data != NULL ? 3 : 2, { .members = m } };
    if (code != 200) {
        h->host->count(h->ctx, "callbacks_refused", 1);
    }
    reply_json(h, call, status, &map);
}

static void reply(struct tp_http *h, uint64_t call, int code, const char *message,
                  const struct tpc_value *data)
{
    reply_with(h, call, 200, code, message, data);
}

static void done(struct tp_http *h, const struct tpc_http_call *call, int rc)
{
    if (rc == 0) {
        reply(h, call->id, 200, "success", NULL);
    } else {
        reply(h, call->id, rc == TPC_EINVAL || rc == TPC_EDECODE ? 400 : 500, tpc_error_name(rc),
              NULL);
    }
}

/* Every route but that of health begins with it. */
static bool enter(struct tp_http *h, const struct tpc_http_call *call)
{
    h->host->count(h->ctx, "callbacks", 1);
    if (tp_allowed(h, call->peer)) {
        return true;
    }
    h->host->count(h->ctx, "callbacks_denied", 1);
    const struct tpc_member m[2] = { { TPC_STR_INIT("code"), { TPC_INT, 0, 0, { .i = 403 } } },
                                     { TPC_STR_INIT("message"), text_value("not allowed") } };
    const struct tpc_value map = { TPC_MAP, 0, 2, { .members = m } };
    reply_json(h, call->id, 403, &map);
    return false;
}

static struct tpc_str query(struct tp_http *h, const struct tpc_http_call *call, const char *name)
{
    return h->server->param(&call->query, tpc_str_from(name));
}

/* The body as an object. */
static int read_body(struct tp_http *h, const struct tpc_http_call *call, struct tpc_arena **arena,
                     struct tpc_value *ret)
{
    struct tpc_str text = { (const char *) call->body.ptr, call->body.len };
    *arena = NULL;
    if (text.len > BODY_MAX) {
        return TPC_ETOOBIG;
    }
    int rc = tpc_arena_create(h->host->allocator, ARENA_BYTES, arena);
    rc = rc != 0 ? rc : tpc_json_parse(*arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, ret);
    return rc == 0 && ret->type != TPC_MAP ? TPC_EDECODE : rc;
}

/* ---- forms ---- */

static void on_form(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    static const struct tpc_value none = { .type = TPC_NULL };
    if (!enter(h, call)) {
        return;
    }
    struct tpc_str protocol = query(h, call, "protocol_type");
    struct tpc_str kind = query(h, call, "form_type");
    if (protocol.len > 0 && !tpc_str_equal(protocol, tpc_str_from(h->identifier))) {
        reply(h, call->id, 404, "another service's protocol_type", &none);
        return;
    }
    if (!tp_form_kind_known(kind)) {
        reply(h, call->id, 400, "form_type is none of CFG, VCR, VCRT, SVCR", &none);
        return;
    }
    const struct tpc_value *form = tp_forms_find(&h->forms, kind, query(h, call, "device_type"));
    reply(h, call->id, 200, "success", form != NULL ? form : &none);
}

/* ---- devices ---- */

/* Its connection goes, and what is known of it is read again. */
static int disconnect(struct tp_http *h, struct tpc_str id)
{
    if (id.len == 0 || id.len > TP_ID_MAX) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&h->lock);
    struct tp_device *d = tp_devices_by_id(&h->devices, id);
    bool known = d != NULL;
    bool checked = known && d->checking; /* by what is under way: that ends it */
    if (known) {
        d->checking = true; /* it does not come back with what may be its old voucher */
    }
    pthread_mutex_unlock(&h->lock);
    int rc = tp_http_note(h, TP_NOTE_DEVICE, id);
    if (known) {
        if (rc != 0 && !checked) {
            pthread_mutex_lock(&h->lock);
            d = tp_devices_by_id(&h->devices, id);
            if (d != NULL) {
                d->checking = false;
            }
            pthread_mutex_unlock(&h->lock);
        }
        tp_apply_drop(h, id);
    }
    return rc;
}

static void on_disconnect(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    struct tpc_arena *arena;
    struct tpc_value body;
    if (!enter(h, call)) {
        return;
    }
    int rc = read_body(h, call, &arena, &body);
    rc = rc != 0 ? rc : disconnect(h, tpi_member_text(&body, "device_id"));
    tpc_arena_destroy(arena);
    done(h, call, rc);
}

/* {"ok":..} as the newest SDK has it. */
static void reply_ok(struct tp_http *h, const struct tpc_http_call *call, const char *why)
{
    const struct tpc_member m[2] = {
        { TPC_STR_INIT("ok"), { TPC_BOOL, 0, 0, { .b = why == NULL } } },
        { TPC_STR_INIT("message"), text_value(why != NULL ? why : "") }
    };
    const struct tpc_value map = { TPC_MAP, 0, why == NULL ? 1 : 2, { .members = m } };
    if (why != NULL) {
        h->host->count(h->ctx, "callbacks_refused", 1);
    }
    reply_json(h, call->id, 200, &map);
}

/* Something about a device changed. */
static void on_device(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    struct tpc_arena *arena;
    struct tpc_value body;
    if (!enter(h, call)) {
        return;
    }
    int rc = read_body(h, call, &arena, &body);
    struct tpc_str id = { NULL, 0 };
    if (rc == 0) {
        id = tpi_member_text(&body, "device_id");
        id = id.len > 0 ? id : tpi_member_text(&body, "id");
        rc = disconnect(h, id);
    }
    tpc_arena_destroy(arena);
    reply_ok(h, call, rc == 0 ? NULL : tpc_error_name(rc));
}

static void on_command(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    if (enter(h, call)) {
        reply_ok(h, call, "commands come over MQTT");
    }
}

static void on_info(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    char id[TP_ID_MAX + 1], number[TP_NUMBER_MAX + 1], type[2] = { '\0', '\0' };
    if (!enter(h, call)) {
        return;
    }
    struct tpc_str key = query(h, call, "key");
    pthread_mutex_lock(&h->lock);
    const struct tp_device *d = tp_devices_by_id(&h->devices, key);
    d = d != NULL ? d : tp_devices_by_number(&h->devices, key);
    d = d != NULL ? d : tp_devices_by_voucher(&h->devices, key);
    if (d != NULL) {
        memcpy(id, d->f.id.ptr, d->f.id.len);
        id[d->f.id.len] = '\0';
        memcpy(number, d->f.number.ptr, d->f.number.len);
        number[d->f.number.len] = '\0';
        type[0] = d->f.type;
    }
    pthread_mutex_unlock(&h->lock);
    if (d == NULL) {
        reply(h, call->id, 404, "there is no such device", NULL);
        return;
    }
    const struct tpc_member m[3] = { { TPC_STR_INIT("device_id"), text_value(id) },
                                     { TPC_STR_INIT("device_number"), text_value(number) },
                                     { TPC_STR_INIT("device_type"), text_value(type) } };
    const struct tpc_value map = { TPC_MAP, 0, 3, { .members = m } };
    reply(h, call->id, 200, "success", &map);
}

/* ---- notification ---- */

/* {"message_type":"1","message":"{\"service_access_id\":..}"}, or {"event_type","device_id","payload"}. */
static int notify(struct tp_http *h, const struct tpc_value *body, struct tpc_arena *arena)
{
    const struct tpc_value *given = tpi_member(body, "message");
    const struct tpc_value none = { .type = TPC_NULL };
    struct tpc_value message;
    if (given == NULL) {
        given = tpi_member(body, "payload");
    }
    int rc = tp_form_coerce(NULL, given != NULL ? given : &none, arena, &message);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str point = tpi_member_text(&message, "service_access_id");
    point = point.len > 0 ? point : tpi_member_text(body, "service_access_id");
    if (point.len > 0) {
        return point.len > TP_ID_MAX ? TPC_EINVAL : tp_http_note(h, TP_NOTE_POINT, point);
    }
    struct tpc_str device = tpi_member_text(body, "device_id");
    device = device.len > 0 ? device : tpi_member_text(&message, "device_id");
    if (device.len > 0) {
        return device.len > TP_ID_MAX ? TPC_EINVAL : tp_http_note(h, TP_NOTE_DEVICE, device);
    }
    if (tpi_member(body, "message_type") == NULL && tpi_member(body, "event_type") == NULL) {
        return TPC_EINVAL;
    }
    return tp_http_note(h, TP_NOTE_ALL, (struct tpc_str){ NULL, 0 });
}

static void on_notification(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    struct tpc_arena *arena;
    struct tpc_value body;
    if (!enter(h, call)) {
        return;
    }
    int rc = read_body(h, call, &arena, &body);
    rc = rc != 0 ? rc : notify(h, &body, arena);
    tpc_arena_destroy(arena);
    if (rc == TPC_EAGAIN || rc == TPC_ENOMEM || rc == TPC_ESTATE) {
        /* The platform looks at the HTTP status only, and tells its user that it failed. */
        reply_with(h, call->id, 503, 500, tpc_error_name(rc), NULL);
    } else {
        done(h, call, rc);
    }
}

/* ---- discovery ---- */

/* The end of a JSON object that a text begins with; 0 = there is none. */
static size_t object_end(struct tpc_str s)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* The platform puts a voucher into the query as it is: & + and % in it mean themselves then. */
static struct tpc_str voucher_of(struct tp_http *h, const struct tpc_http_call *call)
{
    static const char name[] = "voucher=";
    struct tpc_str q = call->raw_query;
    size_t n = sizeof(name) - 1;
    for (size_t i = 0; i + n < q.len; i++) {
        if ((i == 0 || q.ptr[i - 1] == '&') && memcmp(q.ptr + i, name, n) == 0) {
            struct tpc_str raw = { q.ptr + i + n, q.len - i - n };
            size_t end = raw.ptr[0] == '{' ? object_end(raw) : 0;
            if (end > 0 && (end == raw.len || raw.ptr[end] == '&') &&
                memchr(raw.ptr, '"', end) != NULL) {
                return (struct tpc_str){ raw.ptr, end };
            }
        }
    }
    return query(h, call, "voucher");
}

static uint32_t number_of(struct tpc_str text, uint32_t otherwise, uint32_t most)
{
    uint32_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return otherwise;
        }
        n = n > most ? n : n * 10 + (uint32_t) (text.ptr[i] - '0');
    }
    return text.len == 0 || n == 0 ? otherwise : n > most ? most : n;
}

static void on_list(void *user, const struct tpc_http_call *call)
{
    struct tp_http *h = user;
    if (!enter(h, call)) {
        return;
    }
    struct tpc_str voucher = voucher_of(h, call);
    struct tp_discover *d = voucher.len <= TP_VOUCHER_BYTES
                                ? tpi_alloc(h->host->allocator, sizeof(*d) + voucher.len)
                                : NULL;
    if (d == NULL) {
        done(h, call, voucher.len <= TP_VOUCHER_BYTES ? TPC_ENOMEM : TPC_EINVAL);
        return;
    }
    d->next = NULL;
    d->call = call->id;
    d->page = number_of(query(h, call, "page"), 1, 1000000);
    d->page_size = number_of(query(h, call, "page_size"), 10, PAGE_MAX);
    d->len = voucher.len;
    if (voucher.len > 0) {
        memcpy(d->voucher, voucher.ptr, voucher.len);
    }
    pthread_mutex_lock(&h->lock);
    bool full = h->stopping || h->search_count >= TP_DISCOVER_LIMIT;
    if (!full) {
        *(h->last_search != NULL ? &h->last_search->next : &h->searches) = d;
        h->last_search = d;
        h->search_count++;
        pthread_cond_signal(&h->found);
    }
    pthread_mutex_unlock(&h->lock);
    if (full) {
        tpi_free(h->host->allocator, d, sizeof(*d) + d->len);
        done(h, call, TPC_EAGAIN);
    }
}

struct finding {
    struct tpi_buf list;
    uint32_t count, most;
};

static int on_found(void *user, const struct tpc_service_found *found)
{
    struct finding *f = user;
    if (f->count >= f->most) {
        return 0; /* more than the page has */
    }
    int rc = f->count > 0 ? tpi_buf_u8(&f->list, ',') : 0;
    rc = rc != 0 ? rc : tpi_buf_printf(&f->list, "{\"device_name\":");
    rc = rc != 0 ? rc : say_quoted(&f->list, found->name);
    rc = rc != 0 ? rc : tpi_buf_printf(&f->list, ",\"device_number\":");
    rc = rc != 0 ? rc : say_quoted(&f->list, found->number);
    rc = rc != 0 ? rc : tpi_buf_printf(&f->list, ",\"description\":");
    rc = rc != 0 ? rc : say_quoted(&f->list, found->description);
    rc = rc != 0 ? rc : tpi_buf_u8(&f->list, '}');
    f->count += rc == 0;
    return rc;
}

static struct tp_discover *take_search(struct tp_http *h)
{
    pthread_mutex_lock(&h->lock);
    struct tp_discover *d = h->searches;
    if (d != NULL) {
        h->searches = d->next;
        h->last_search = h->searches != NULL ? h->last_search : NULL;
        h->search_count--;
    }
    pthread_mutex_unlock(&h->lock);
    return d;
}

bool tp_finder_step(struct tp_http *h)
{
    struct tp_discover *d = take_search(h);
    struct finding f = { .count = 0 };
    uint32_t total = 0;
    if (d == NULL) {
        return false;
    }
    f.most = d->page_size;
    tpi_buf_init(&f.list, h->host->allocator, FOUND_BYTES);
    int rc = tpi_buf_printf(&f.list, "{\"code\":200,\"message\":\"success\",\"data\":{\"list\":[");
    if (rc == 0 && h->ops != NULL && TPC_HAS(h->ops, struct tpc_service_ops, discover)) {
        const struct tpc_str voucher = { d->voucher, d->len };
        rc = h->ops->discover(h->ops_user, voucher, d->page, d->page_size, on_found, &f, &total);
    }
    total = total < f.count ? f.count : total;
    rc = rc != 0 ? rc : tpi_buf_printf(&f.list, "],\"total\":%u}}", (unsigned) total);
    if (rc == 0) {
        const struct tpc_http_answer a = { .size = sizeof(a),
                                           .status = 200,
                                           .body = { f.list.ptr, f.list.len } };
        (void) h->server->reply(h->server_self, d->call, &a);
    } else {
        reply(h, d->call, 500, tpc_error_name(rc), NULL);
    }
    tpi_buf_fini(&f.list);
    tpi_free(h->host->allocator, d, sizeof(*d) + d->len);
    return true;
}

void *tp_finder(void *user)
{
    struct tp_http *h = user;
    pthread_mutex_lock(&h->lock);
    while (!h->stopping) {
        if (h->searches == NULL) {
            pthread_cond_wait(&h->found, &h->lock);
            continue;
        }
        pthread_mutex_unlock(&h->lock);
        (void) tp_finder_step(h);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- the table ---- */

static void on_health(void *user, const struct tpc_http_call *call)
{
    reply_ok(user, call, NULL);
}

static const struct tpc_http_route routes[] = {
    { .method = "GET", .path = "/api/v1/form/config", .fn = on_form },
    { .method = "POST",
      .path = "/api/v1/device/disconnect",
      .fn = on_disconnect,
      .body_max_bytes = BODY_MAX },
    { .method = "POST",
      .path = "/api/v1/plugin/notification",
      .fn = on_notification,
      .body_max_bytes = BODY_MAX },
    { .method = "POST",
      .path = "/api/v1/notify/event",
      .fn = on_notification,
      .body_max_bytes = BODY_MAX },
    { .method = "GET",
      .path = "/api/v1/plugin/device/list",
      .fn = on_list,
      .timeout_ms = SEARCH_MS },
    { .method = "GET", .path = "/api/v1/plugin/device/info", .fn = on_info },
    { .method = "POST",
      .path = "/api/v1/device/config/update",
      .fn = on_device,
      .body_max_bytes = BODY_MAX },
    { .method = "POST", .path = "/api/v1/device/add", .fn = on_device, .body_max_bytes = BODY_MAX },
    { .method = "POST",
      .path = "/api/v1/device/delete",
      .fn = on_device,
      .body_max_bytes = BODY_MAX },
    { .method = "POST",
      .path = "/api/v1/device/command",
      .fn = on_command,
      .body_max_bytes = BODY_MAX },
    { .method = "GET", .path = "/health", .fn = on_health, .flags = TPC_ROUTE_QUIET },
};

const struct tpc_list tp_callback_routes = TPC_LIST(routes);

int tp_callbacks_start(struct tp_http *h)
{
    const void *ops;
    struct tpc_error err = { .size = sizeof(err) };
    if (h->server == NULL) {
        int rc = h->host->need(h->ctx, "http.server", &ops, &h->server_self);
        if (rc != 0) {
            h->host->log(h->ctx, TPC_LOG_WARN,
                         "no module http is open: the platform finds no forms and cannot say what "
                         "changed");
            return 0;
        }
        h->server = ops;
    }
    int rc = h->server->add(h->server_self, &tp_callback_routes, h, &err, &h->routes);
    h->routed = rc == 0;
    return rc == 0 ? 0 : h->host->fail(h->ctx, rc, "no callbacks: %s", err.text);
}

void tp_callbacks_stop(struct tp_http *h)
{
    if (h->routed) {
        h->server->remove(h->server_self, h->routes);
        h->routed = false;
    }
}

/* ---- who may call ---- */

/* As an IPv6 address. */
static bool address_of(struct tpc_str text, uint8_t ret[16], bool *ret_short)
{
    char copy[64];
    struct in_addr v4;
    if (text.len == 0 || text.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *ret_short = inet_pton(AF_INET, copy, &v4) == 1;
    if (*ret_short) {
        memset(ret, 0, 10);
        ret[10] = ret[11] = 0xff;
        memcpy(ret + 12, &v4, 4);
        return true;
    }
    return inet_pton(AF_INET6, copy, ret) == 1;
}

static bool range_of(struct tpc_str text, struct tp_range *ret)
{
    bool v4;
    size_t n = 0;
    while (n < text.len && text.ptr[n] != '/') {
        n++;
    }
    if (!address_of((struct tpc_str){ text.ptr, n }, ret->address, &v4)) {
        return false;
    }
    uint32_t most = v4 ? 32 : 128;
    uint32_t bits = most;
    if (n < text.len) {
        struct tpc_str digits = { text.ptr + n + 1, text.len - n - 1 };
        bits = tpc_str_equal(digits, TPC_STR("0")) != 0 ? 0 : number_of(digits, 1000, 1000);
    }
    ret->bits = v4 ? bits + 96 : bits;
    return bits <= most;
}

int tp_allow_read(struct tp_http *h)
{
    const struct tpc_value *list = h->config->allow;
    for (size_t i = 0; list != NULL && i < list->len && i < TP_ALLOW_LIMIT; i++) {
        struct tpc_str text = tpc_value_text(&list->as.items[i]);
        if (!range_of(text, &h->allow[i])) {
            return h->host->fail(h->ctx, TPC_EINVAL, "allow: \"%.*s\" is no address",
                                 (int) text.len, text.ptr);
        }
        h->allow_count++;
    }
    return 0;
}

bool tp_allowed(const struct tp_http *h, struct tpc_str peer)
{
    uint8_t address[16];
    bool v4;
    if (h->allow_count == 0) {
        return true;
    }
    if (!address_of(peer, address, &v4)) {
        return false;
    }
    for (uint32_t i = 0; i < h->allow_count; i++) {
        const struct tp_range *r = &h->allow[i];
        uint32_t bytes = r->bits / 8, rest = r->bits % 8;
        if (memcmp(address, r->address, bytes) == 0 &&
            (rest == 0 || ((address[bytes] ^ r->address[bytes]) >> (8 - rest)) == 0)) {
            return true;
        }
    }
    return false;
}
