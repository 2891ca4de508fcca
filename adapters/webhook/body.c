#include "body.h"

#include <stdbool.h>
#include <string.h>

#include "../text/say.h"
#include "../text/utc.h"
#include "base/text.h"

int webhook_message(struct tpi_buf *b, const struct tpc_msg *m)
{
    return say_json(b, m);
}

static bool one_of(struct tpc_str s, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tpc_str_equal(s, tpc_str_from(words[i]))) {
            return true;
        }
    }
    return false;
}

char webhook_level(struct tpc_str severity)
{
    static const char *const high[] = { "H", "high", "critical", "major", "emergency", "error" };
    static const char *const low[] = { "L", "low", "minor", "info", "notice", "debug" };
    if (one_of(severity, high, sizeof(high) / sizeof(high[0]))) {
        return 'H';
    }
    return one_of(severity, low, sizeof(low) / sizeof(low[0])) ? 'L' : 'M';
}

/* A member of the alarm; value NULL = JSON's null. */
struct member {
    const char *name;
    const struct tpc_str *value;
};

static int put_members(struct tpi_buf *b, const struct member *members, size_t count)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = tpi_buf_printf(b, "%s\"%s\":", i > 0 ? "," : "", members[i].name);
        if (rc == 0) {
            rc = members[i].value != NULL ? say_quoted(b, *members[i].value)
                                          : tpi_buf_text(b, TPC_STR("null"));
        }
    }
    return rc;
}

static int put_device(struct tpi_buf *b, const struct tpc_msg *m)
{
    const struct member members[] = {
        { "id", &m->device },          { "device_number", &m->device }, { "name", &m->device },
        { "current_version", NULL },   { "created_at", NULL },          { "label", NULL },
        { "product_id", &m->product }, { "is_online", NULL },           { "access_way", NULL },
        { "description", NULL },       { "tenant_id", &m->tenant }
    };
    if (m->device.len == 0) {
        return tpi_buf_text(b, TPC_STR(",\"device_ids\":[],\"devices\":[]}"));
    }
    int rc = tpi_buf_text(b, TPC_STR(",\"device_ids\":["));
    if (rc == 0) {
        rc = say_quoted(b, m->device);
    }
    if (rc == 0) {
        rc = tpi_buf_text(b, TPC_STR("],\"devices\":[{"));
    }
    if (rc == 0) {
        rc = put_members(b, members, sizeof(members) / sizeof(members[0]));
    }
    return rc != 0 ? rc : tpi_buf_text(b, TPC_STR("}]}"));
}

/* 8-4-4-4-12 as ThingsPanel writes its ids. */
static struct tpc_str dashed(const struct tpc_id *id, char ret[40])
{
    char text[TPC_ID_TEXT_BYTES + 1];
    size_t n = 0;
    tpc_id_format(id, text);
    for (size_t i = 0; i < TPC_ID_TEXT_BYTES; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20) {
            ret[n++] = '-';
        }
        ret[n++] = text[i];
    }
    return (struct tpc_str){ ret, n };
}

int webhook_thingspanel(struct tpi_buf *b, const struct tpc_msg *m)
{
    char id_text[40], time_text[UTC_RFC3339_BYTES];
    char level = webhook_level(say_param(m, "alarm_level|level|severity"));
    struct tpi_buf line;
    struct tpc_str id = dashed(&m->id, id_text);
    struct tpc_str config = say_param(m, "alarm_config_id|alert|key");
    struct tpc_str title = say_param(m, "alarm_config_name|name|title");
    struct tpc_str subject = say_param(m, "subject|title|name");
    struct tpc_str levels = { &level, 1 };
    struct tpc_str none = TPC_STR("");
    config = config.len > 0 ? config : m->name;
    title = title.len > 0 ? title : config;
    subject = subject.len > 0 ? subject : title;
    utc_rfc3339(m->unix_ms, time_text);
    struct tpc_str time = tpc_str_from(time_text);
    tpi_buf_init(&line, b->alloc, b->limit);
    int rc = say_line(&line, m);
    struct tpc_str content = { (const char *) line.ptr, line.len };
    const struct member members[] = { { "id", &id },
                                      { "alarm_config_id", &config },
                                      { "alarm_config_name", &title },
                                      { "subject", &subject },
                                      { "content", &content },
                                      { "timestamp", &time },
                                      { "alarm_level", &levels },
                                      { "tenant_id", &m->tenant },
                                      { "tenant_admin_id", &none } };
    if (rc == 0) {
        rc = tpi_buf_put(b, "{", 1);
    }
    if (rc == 0) {
        rc = put_members(b, members, sizeof(members) / sizeof(members[0]));
    }
    tpi_buf_fini(&line);
    return rc != 0 ? rc : put_device(b, m);
}

int webhook_telegram(struct tpi_buf *b, const struct tpc_msg *m, struct tpc_str chat_id)
{
    struct tpi_buf line;
    tpi_buf_init(&line, b->alloc, b->limit);
    int rc = say_line(&line, m);
    if (rc == 0) {
        rc = tpi_buf_text(b, TPC_STR("{\"chat_id\":"));
    }
    if (rc == 0) {
        rc = say_quoted(b, chat_id);
    }
    if (rc == 0) {
        rc = tpi_buf_text(b, TPC_STR(",\"disable_web_page_preview\":true,\"text\":"));
    }
    if (rc == 0) {
        size_t n = line.len < WEBHOOK_TELEGRAM_TEXT ? line.len : WEBHOOK_TELEGRAM_TEXT;
        struct tpc_str text = { (const char *) line.ptr, 0 };
        text.len = n > 0 ? tpi_text_whole(text.ptr, n) : 0;
        rc = say_quoted(b, text);
    }
    tpi_buf_fini(&line);
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

int webhook_sign(const struct tpi_mac_key *key, const void *body, size_t len,
                 char ret[WEBHOOK_SIGNATURE_BYTES])
{
    uint8_t mac[TPI_SHA256_BYTES];
    struct tpc_bytes part = { body, len };
    int rc = tpi_mac(key, &part, 1, mac);
    if (rc == 0) {
        memcpy(ret, "sha256=", 7);
        tpi_hex(mac, sizeof(mac), ret + 7);
    }
    return rc;
}

int webhook_code(uint32_t status)
{
    switch (status) {
    case 401:
    case 403:
    case 407:
        return TPC_EDENIED;
    case 404:
    case 405:
    case 410:
        /* It is the address that is wrong, not the message: nothing is thrown away for that. */
        return TPC_EUNSUPPORTED;
    case 408:
    case 504:
        return TPC_ETIMEOUT;
    case 413:
        return TPC_ETOOBIG;
    case 425:
    case 429:
        return TPC_EAGAIN;
    default:
        break;
    }
    if (status >= 200 && status < 300) {
        return 0;
    }
    if (status >= 500) {
        return TPC_EAGAIN;
    }
    return status >= 400 ? TPC_EINVAL : TPC_EUNSUPPORTED;
}

uint64_t webhook_retry_after(struct tpc_str value, int64_t now_unix_ms)
{
    int64_t ms = 0;
    if (value.len == 0) {
        return 0;
    }
    bool number = true;
    for (size_t i = 0; i < value.len && number; i++) {
        number = value.ptr[i] >= '0' && value.ptr[i] <= '9';
        if (number && ms <= WEBHOOK_WAIT_MAX_MS) {
            ms = ms * 10 + (value.ptr[i] - '0') * 1000;
        }
    }
    if (!number) {
        int64_t at = 0;
        if (utc_http_date(value, &at) != 0 || at <= now_unix_ms) {
            return 0;
        }
        ms = at - now_unix_ms;
    }
    return (uint64_t) (ms < WEBHOOK_WAIT_MAX_MS ? ms : WEBHOOK_WAIT_MAX_MS);
}
