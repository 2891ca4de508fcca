#include "target.h"

#include "../tls/options.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/member.h"

const struct tpc_option webhook_target_options[WEBHOOK_TARGET_OPTIONS] = {
    { .name = "url",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "http:// or https://; needed but for telegram" },
    { .name = "format",
      .type = TPC_OPT_ENUM,
      .def = "message",
      .values = "message|thingspanel|telegram",
      .since = "0.1",
      .help = "the body: the message as JSON, an alarm as ThingsPanel posts it, a text to a chat" },
    { .name = "method",
      .type = TPC_OPT_ENUM,
      .def = "POST",
      .values = "POST|PUT|PATCH",
      .since = "0.1",
      .help = "of the request" },
    { .name = "headers",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_OPEN,
      .since = "0.1",
      .help = "name: text, at most 32" },
    { .name = "timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 10,
      .max = 600000,
      .since = "0.1",
      .help = "a whole request" },
    { .name = "secret",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "signs the body: X-Signature-256: sha256=<hex HMAC-SHA256>" },
    { .name = "token",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "Authorization: Bearer; with telegram the bot's token" },
    { .name = "user",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 256,
      .since = "0.1",
      .help = "basic authentication" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "of user" },
    { .name = "batch",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "message: true = one request with an array for each batch, false = one a message" },
    { .name = "body_max",
      .type = TPC_OPT_SIZE,
      .def = "1MiB",
      .min = 256,
      .max = 64 << 20,
      .since = "0.1",
      .help = "largest body; what is larger is refused" },
    { .name = "chat_id",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "telegram: the chat" },
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TLS_OPTION_SUB,
      .since = "0.1",
      .help = "of https" },
};

static int refuse(struct tpc_error *err, const char *path, const char *why)
{
    tpi_error_set(err, TPC_EINVAL, "webhook", "%s: %s", path, why);
    return TPC_EINVAL;
}

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, "webhook", "no memory for a target");
}

static bool same(struct tpc_str a, const char *b)
{
    if (a.len != strlen(b)) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        char c = a.ptr[i] >= 'A' && a.ptr[i] <= 'Z' ? (char) (a.ptr[i] - 'A' + 'a') : a.ptr[i];
        if (c != b[i]) {
            return false;
        }
    }
    return true;
}

static void add_header(struct webhook_target *t, struct tpc_str name, struct tpc_str value)
{
    t->headers[t->fixed_headers++] = (struct tpc_http_header){ name, value };
}

/* Two texts in one, in the arena; empty without memory. */
static struct tpc_str joined(struct webhook_target *t, const char *a, struct tpc_str b,
                             const char *c)
{
    size_t before = strlen(a), after = strlen(c);
    char *p = tpc_arena_take(t->arena, before + b.len + after + 1);
    if (p == NULL) {
        return (struct tpc_str){ NULL, 0 };
    }
    memcpy(p, a, before);
    if (b.len > 0) {
        memcpy(p + before, b.ptr, b.len);
    }
    memcpy(p + before + b.len, c, after + 1);
    return (struct tpc_str){ p, before + b.len + after };
}

static int read_headers(struct webhook_target *t, const struct tpc_value *cfg,
                        struct tpc_error *err)
{
    const struct tpc_value *map = tpc_value_get(cfg, TPC_STR("headers"));
    struct tpc_str token = tpi_member_text(cfg, "token");
    bool typed = false;
    size_t count = map != NULL && map->type == TPC_MAP ? map->len : 0;
    if (count > WEBHOOK_HEADERS_MAX) {
        return refuse(err, "headers", "more than 32");
    }
    for (size_t i = 0; i < count; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (m->value.type != TPC_TEXT) {
            return refuse(err, "headers", "a header's value is a text");
        }
        if (same(m->key, "idempotency-key") || same(m->key, "x-signature-256")) {
            return refuse(err, "headers", "Idempotency-Key and X-Signature-256 are ours to set");
        }
        typed = typed || same(m->key, "content-type");
        add_header(t, m->key, tpc_value_text(&m->value));
    }
    if (!typed) {
        add_header(t, TPC_STR("Content-Type"), TPC_STR("application/json"));
    }
    if (token.len > 0 && t->format != WEBHOOK_TELEGRAM) {
        struct tpc_str value = joined(t, "Bearer ", token, "");
        if (value.len == 0) {
            return no_memory(err);
        }
        add_header(t, TPC_STR("Authorization"), value);
    }
    return 0;
}

static int read_telegram(struct webhook_target *t, const struct tpc_value *cfg,
                         struct tpc_error *err)
{
    static const char signs[] = ":-_";
    struct tpc_str token = tpi_member_text(cfg, "token"), base = tpi_member_text(cfg, "url");
    t->chat_id = tpi_member_text(cfg, "chat_id");
    if (token.len == 0 || t->chat_id.len == 0) {
        return refuse(err, "format", "telegram needs token and chat_id");
    }
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  memchr(signs, c, sizeof(signs) - 1) != NULL;
        if (!ok) {
            return refuse(err, "token", "a bot's token has letters, digits and :-_");
        }
    }
    while (base.len > 0 && base.ptr[base.len - 1] == '/') {
        base.len--;
    }
    struct tpc_str path = joined(t, "/bot", token, "/sendMessage");
    struct tpc_str url = { NULL, 0 };
    if (path.len > 0) {
        base = base.len > 0 ? base : TPC_STR("https://api.telegram.org");
        url = joined(t, "", base, path.ptr);
    }
    t->request.url = url;
    return url.len > 0 ? 0 : no_memory(err);
}

static int read_format(struct webhook_target *t, const struct tpc_value *cfg, struct tpc_error *err)
{
    struct tpc_str format = tpi_member_text(cfg, "format");
    t->format = same(format, "telegram")      ? WEBHOOK_TELEGRAM
                : same(format, "thingspanel") ? WEBHOOK_THINGSPANEL
                                              : WEBHOOK_MESSAGE;
    t->batch = tpi_member_int(cfg, "batch", 0) != 0;
    if (t->batch && t->format != WEBHOOK_MESSAGE) {
        return refuse(err, "batch", "only format message can be sent in arrays");
    }
    if (t->format == WEBHOOK_TELEGRAM) {
        return read_telegram(t, cfg, err);
    }
    t->request.url = tpi_member_text(cfg, "url");
    return t->request.url.len > 0 ? 0 : refuse(err, "url", "is missing");
}

static int read_security(struct webhook_target *t, const struct tpc_value *cfg,
                         struct tpc_error *err)
{
    const struct tpc_value *tls = tpc_value_get(cfg, TPC_STR("tls"));
    struct tpc_str secret = tpi_member_text(cfg, "secret");
    t->request.ca = tpi_member_text(tls, "ca");
    t->request.cert = tpi_member_text(tls, "cert");
    t->request.key = tpi_member_text(tls, "key");
    t->request.user = tpi_member_text(cfg, "user");
    t->request.password = tpi_member_text(cfg, "password");
    if (!tpi_member_bool(tls, "verify", true)) {
        t->request.flags |= TPC_HTTP_INSECURE;
    }
    if (t->request.user.len > 0 && tpi_member_text(cfg, "token").len > 0 &&
        t->format != WEBHOOK_TELEGRAM) {
        return refuse(err, "user", "a request has either a user or a token");
    }
    t->sign = secret.len > 0;
    if (t->sign && tpi_mac_key_init(&t->mac, secret.ptr, secret.len) != 0) {
        return tpi_error_set(err, TPC_EIO, "webhook", "the secret cannot be used");
    }
    return 0;
}

int webhook_target_init(struct webhook_target *t, const struct tpc_allocator *alloc,
                        struct tpc_str name, const struct tpc_value *cfg, struct tpc_error *err)
{
    tpi_buf_init(&t->body, alloc, (size_t) tpi_member_int(cfg, "body_max", 0));
    if (tpc_arena_create(alloc, 0, &t->arena) != 0) {
        return no_memory(err);
    }
    struct tpc_str own = joined(t, "", name, "");
    if (own.ptr == NULL) {
        return no_memory(err);
    }
    t->name = own.ptr;
    t->request.size = sizeof(t->request);
    t->request.flags = TPC_HTTP_CUT;
    t->request.method = tpi_member_text(cfg, "method");
    t->request.timeout_ms = (uint32_t) tpi_member_int(cfg, "timeout", 0);
    t->request.response_max_bytes = 4096;
    int rc = read_format(t, cfg, err);
    if (rc == 0) {
        rc = read_headers(t, cfg, err);
    }
    if (rc == 0) {
        rc = read_security(t, cfg, err);
    }
    t->request.headers = (struct tpc_list){ t->headers, t->fixed_headers, sizeof(t->headers[0]) };
    t->request.body = TPC_BYTES("");
    return rc;
}

void webhook_target_fini(struct webhook_target *t)
{
    tpi_buf_fini(&t->body);
    tpi_wipe(&t->mac, sizeof(t->mac));
    t->arena = tpc_arena_destroy(t->arena);
}

/* ---- a request ---- */

static int make_body(struct webhook_target *t, const struct tpc_batch *batch, uint32_t first,
                     uint32_t count)
{
    const struct tpc_msg *m = tpc_batch_msg(batch, first);
    if (t->format == WEBHOOK_THINGSPANEL) {
        return webhook_thingspanel(&t->body, m);
    }
    if (t->format == WEBHOOK_TELEGRAM) {
        return webhook_telegram(&t->body, m, t->chat_id);
    }
    if (!t->batch) {
        return webhook_message(&t->body, m);
    }
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = tpi_buf_put(&t->body, i == 0 ? "[" : ",", 1);
        if (rc == 0) {
            rc = webhook_message(&t->body, tpc_batch_msg(batch, first + i));
        }
    }
    return rc != 0 ? rc : tpi_buf_put(&t->body, "]", 1);
}

int webhook_target_make(struct webhook_target *t, const struct tpc_batch *batch, uint32_t first,
                        uint32_t count, struct tpc_error *err)
{
    uint32_t n = t->fixed_headers;
    tpi_buf_clear(&t->body);
    int rc = make_body(t, batch, first, count);
    if (rc == 0 && t->sign) {
        rc = webhook_sign(&t->mac, t->body.ptr, t->body.len, t->signature);
        t->headers[n++] =
            (struct tpc_http_header){ TPC_STR("X-Signature-256"), tpc_str_from(t->signature) };
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, "webhook",
                             rc == TPC_ETOOBIG ? "the body is over body_max"
                                               : "no body can be made");
    }
    tpc_id_format(&tpc_batch_msg(batch, first)->id, t->key);
    if (t->batch) {
        /* An array of other messages is another request. */
        snprintf(t->key + TPC_ID_TEXT_BYTES, WEBHOOK_KEY_BYTES - TPC_ID_TEXT_BYTES, "-%u",
                 (unsigned) count);
    }
    t->headers[n++] = (struct tpc_http_header){ TPC_STR("Idempotency-Key"), tpc_str_from(t->key) };
    t->request.headers.count = n;
    t->request.body = (struct tpc_bytes){ t->body.ptr, t->body.len };
    return 0;
}
