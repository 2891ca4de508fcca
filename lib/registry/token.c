#include "registry/token.h"

#include <stdbool.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

#include "base/crypto.h"
#include "base/error.h"

static const char origin[] = "token";
static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"HS256\"}";

enum { CLOCK_SLACK_S = 60 /* nbf of an issuer whose clock is ahead */ };

/* The three parts between the dots. */
struct parts {
    struct tpc_str header;
    struct tpc_str payload;
    struct tpc_str signature;
    struct tpc_bytes signed_part; /* header, dot, payload */
};

static bool split(struct tpc_bytes text, struct parts *p)
{
    const char *s = (const char *) text.ptr;
    const char *first = text.len > 0 ? memchr(s, '.', text.len) : NULL;
    const char *end = s + text.len;
    const char *second = first != NULL ? memchr(first + 1, '.', (size_t) (end - first - 1)) : NULL;
    if (second == NULL || memchr(second + 1, '.', (size_t) (end - second - 1)) != NULL) {
        return false;
    }
    p->header = (struct tpc_str){ s, (size_t) (first - s) };
    p->payload = (struct tpc_str){ first + 1, (size_t) (second - first - 1) };
    p->signature = (struct tpc_str){ second + 1, (size_t) (end - second - 1) };
    p->signed_part = (struct tpc_bytes){ text.ptr, (size_t) (second - s) };
    return p->header.len > 0 && p->payload.len > 0;
}

bool tpi_token_like(struct tpc_bytes text)
{
    struct parts p;
    /* {" in base64url: every header begins so. */
    return text.len > 3 && memcmp(text.ptr, "eyJ", 3) == 0 && split(text, &p);
}

static int malformed(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_EDECODE, origin, "%s", what);
}

static int denied(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_EDENIED, origin, "%s", what);
}

static int sign(struct tpc_bytes key, struct tpc_bytes what, uint8_t ret[32])
{
    return tpi_hmac_sha256(key.ptr, key.len, what.ptr, what.len, ret);
}

/* A part as JSON. */
static int parse_part(struct tpc_str part, struct tpc_arena *arena, struct tpc_error *err,
                      struct tpc_value *ret)
{
    size_t len = 0;
    uint8_t *text = tpc_arena_take(arena, part.len + 1);
    if (text == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
    }
    if (tpi_base64url_decode(part.ptr, part.len, text, part.len, &len) != 0) {
        return malformed(err, "a part of the token is no base64url");
    }
    struct tpc_str json = { (const char *) text, len };
    int rc = tpc_json_parse(arena, json, 0, NULL, ret);
    if (rc == TPC_ENOMEM) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
    }
    return rc == 0 && ret->type == TPC_MAP ? 0 : malformed(err, "a part of the token is no object");
}

static int check_header(const struct tpc_value *v, struct tpc_error *err)
{
    const struct tpc_value *alg = tpc_value_get(v, TPC_STR("alg"));
    if (alg == NULL || !tpc_str_equal(tpc_value_text(alg), TPC_STR("HS256"))) {
        return denied(err, "the token is not signed with HS256");
    }
    /* RFC 7515 section 4.1.11: what must be understood is not. */
    return tpc_value_get(v, TPC_STR("crit")) == NULL
               ? 0
               : denied(err, "the token has critical extensions");
}

/* A time in seconds, with or without a fraction (RFC 7519 section 2). */
static bool read_time(const struct tpc_value *v, const char *claim, int64_t *ret)
{
    const struct tpc_value *t = tpc_value_get(v, tpc_str_from(claim));
    double d;
    if (t == NULL || (t->type != TPC_INT && t->type != TPC_DOUBLE) ||
        tpc_value_double(t, &d) != 0 || !(d > -9e15 && d < 9e15)) {
        return false;
    }
    *ret = (int64_t) d;
    return true;
}

static int check_claims(const struct tpc_value *v, int64_t now, struct tpc_error *err,
                        struct tpi_claims *c)
{
    int64_t from;
    c->tenant = tpc_value_text(tpc_value_get(v, TPC_STR("tenant")));
    c->product = tpc_value_text(tpc_value_get(v, TPC_STR("productKey")));
    c->device = tpc_value_text(tpc_value_get(v, TPC_STR("deviceName")));
    if (c->product.len == 0 || c->device.len == 0 || !read_time(v, "exp", &c->until_unix_s)) {
        return malformed(err, "the token lacks productKey, deviceName or exp");
    }
    if (c->until_unix_s <= now) {
        return denied(err, "the token is over");
    }
    if (tpc_value_get(v, TPC_STR("nbf")) != NULL &&
        (!read_time(v, "nbf", &from) || from > now + CLOCK_SLACK_S)) {
        return denied(err, "the token is not valid yet");
    }
    return 0;
}

int tpi_token_read(struct tpc_bytes key, struct tpc_bytes text, int64_t now_unix_s,
                   struct tpc_arena *arena, struct tpc_error *err, struct tpi_claims *ret)
{
    uint8_t expected[TPI_SHA256_BYTES], given[TPI_SHA256_BYTES] = { 0 };
    size_t len = 0;
    struct parts p;
    struct tpc_value v;
    if (!split(text, &p)) {
        return malformed(err, "no token of three parts");
    }
    int rc = tpi_base64url_decode(p.signature.ptr, p.signature.len, given, sizeof(given), &len);
    if (sign(key, p.signed_part, expected) != 0) {
        return tpi_error_set(err, TPC_EIO, origin, "no HMAC can be made");
    }
    bool right = tpi_equal_const(expected, given, sizeof(given));
    if (rc != 0 || len != sizeof(given) || !right) {
        return denied(err, "the token's signature is wrong");
    }
    rc = parse_part(p.header, arena, err, &v);
    rc = rc != 0 ? rc : check_header(&v, err);
    rc = rc != 0 ? rc : parse_part(p.payload, arena, err, &v);
    return rc != 0 ? rc : check_claims(&v, now_unix_s, err, ret);
}

static struct tpc_member text_member(const char *key, struct tpc_str text)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

/* The payload as JSON in the arena. */
static int write_payload(const struct tpi_claims *c, struct tpc_arena *arena, struct tpc_bytes *ret)
{
    struct tpc_member members[4];
    struct tpc_value v = { TPC_MAP, 0, 0, { .members = members } };
    members[v.len++] = text_member("productKey", c->product);
    members[v.len++] = text_member("deviceName", c->device);
    members[v.len++] =
        (struct tpc_member){ TPC_STR("exp"), { .type = TPC_INT, .as.i = c->until_unix_s } };
    if (c->tenant.len > 0 && !tpc_str_equal(c->tenant, TPC_STR("main"))) {
        members[v.len++] = text_member("tenant", c->tenant);
    }
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(&v, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    if (buf.ptr == NULL || tpc_json_write(&v, 0, &buf) != 0) {
        return TPC_ENOMEM;
    }
    *ret = (struct tpc_bytes){ buf.ptr, buf.need };
    return 0;
}

int tpi_token_write(struct tpc_bytes key, const struct tpi_claims *claims, struct tpc_arena *arena,
                    struct tpc_buf *buf)
{
    struct tpc_bytes payload;
    uint8_t mac[TPI_SHA256_BYTES];
    if (write_payload(claims, arena, &payload) != 0) {
        return TPC_ENOMEM;
    }
    char *text =
        tpc_arena_take(arena, TPI_BASE64_BYTES(sizeof(header)) + TPI_BASE64_BYTES(payload.len) +
                                  TPI_BASE64_BYTES(sizeof(mac)) + 2);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    size_t n = tpi_base64url_encode(header, sizeof(header) - 1, text);
    text[n++] = '.';
    n += tpi_base64url_encode(payload.ptr, payload.len, text + n);
    if (sign(key, (struct tpc_bytes){ (const uint8_t *) text, n }, mac) != 0) {
        return TPC_EIO;
    }
    text[n++] = '.';
    n += tpi_base64url_encode(mac, sizeof(mac), text + n);
    buf->need = n;
    if (buf->ptr == NULL || buf->cap < n) {
        return TPC_ETOOBIG;
    }
    memcpy(buf->ptr, text, n);
    return 0;
}
