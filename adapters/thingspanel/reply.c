/* See reply.h; codes as in the platform's configs/messages. */
#include "reply.h"

#include "base/error.h"
#include "data/member.h"

#include <string.h>
#include <tpcore/json.h>

enum {
    HTTP_OK = 200,
    HTTP_TOO_MANY = 429,
    HTTP_SERVER = 500,
    DATABASE = 101001,
    VOUCHER_ROOM = 2 * TP_VOUCHER_BYTES
};

enum tp_verdict tp_reply_judge(int64_t code)
{
    static const int64_t no[] = {
        100404, DATABASE, 200064, 200080, 200081, 200082, 200083, 200084,
        200085, 200086,   200052, 204001, 204002, 204003, 204004, 204005
    };
    static const int64_t operator_s[] = { 100002, 200065, 200066, 200067, 200070, 201001,
                                          201002, 40100,  40101,  40102,  40103,  40104 };
    if (code == HTTP_OK) {
        return TP_REPLY_OK;
    }
    if (code == 201003 || code == HTTP_TOO_MANY) {
        return TP_REPLY_LIMITED;
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        if (code == no[i]) {
            return TP_REPLY_NO;
        }
    }
    for (size_t i = 0; i < sizeof(operator_s) / sizeof(operator_s[0]); i++) {
        if (code == operator_s[i]) {
            return TP_REPLY_OPERATOR;
        }
    }
    return TP_REPLY_LATER; /* 100000, 102001, 105001, 200068, 200069 and those we do not know */
}

/* 101001 is any fault of the platform's database; that of a row that is not there says so, and a database
 * that is away must not take devices away. Without a word it is believed. */
static bool is_missing(const struct tpc_value *data)
{
    static const struct tpc_str words[] = { TPC_STR_INIT("not found"), TPC_STR_INIT("no rows") };
    struct tpc_str why = tpi_member_text(data, "sql_error");
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
        for (size_t i = 0; i + words[k].len <= why.len; i++) {
            if (memcmp(why.ptr + i, words[k].ptr, words[k].len) == 0) {
                return true;
            }
        }
    }
    return why.len == 0;
}

static void is_none(struct tp_reply *r, enum tp_verdict verdict, int code, const char *text)
{
    r->verdict = verdict;
    r->code = code;
    r->message = tpc_str_from(text);
}

void tp_reply_read(int failed, uint32_t status, struct tpc_bytes body, struct tpc_arena *arena,
                   struct tp_reply *ret)
{
    struct tpc_value *doc = tpc_arena_take(arena, sizeof(*doc));
    int64_t code = 0;
    memset(ret, 0, sizeof(*ret));
    if (failed != 0) {
        is_none(ret, failed == TPC_EDENIED ? TP_REPLY_OPERATOR : TP_REPLY_LATER, failed,
                failed == TPC_EDENIED    ? "its certificate is not good"
                : failed == TPC_ETOOBIG  ? "its answer is too large"
                : failed == TPC_ETIMEOUT ? "no answer in time"
                                         : "no answer");
        return;
    }
    struct tpc_str text = { (const char *) body.ptr, body.len };
    int rc = doc != NULL
                 ? tpc_json_parse(arena, text, TPC_JSON_COPY | TPC_JSON_ALLOW_DUPLICATES, NULL, doc)
                 : TPC_ENOMEM;
    if (rc == TPC_ENOMEM) {
        is_none(ret, TP_REPLY_LATER, TPC_ENOMEM, "no memory for its answer");
    } else if (rc != 0 || doc->type != TPC_MAP || tpi_member(doc, "code") == NULL ||
               tpc_value_int(tpi_member(doc, "code"), &code) != 0 || code < INT32_MIN ||
               code > INT32_MAX) {
        bool other = status != HTTP_OK && status < HTTP_SERVER && status != HTTP_TOO_MANY;
        is_none(ret, other ? TP_REPLY_OPERATOR : TP_REPLY_LATER, (int) status,
                "its answer is none of a platform's");
    } else {
        ret->code = (int) code;
        ret->message = tpi_member_text(doc, "message");
        ret->data = tpi_member(doc, "data");
        ret->verdict = tp_reply_judge(code);
        if ((ret->verdict == TP_REPLY_OK && status >= HTTP_SERVER) ||
            (code == DATABASE && !is_missing(ret->data))) {
            ret->verdict = TP_REPLY_LATER;
        }
    }
}

/* ---- devices ---- */

static int text_of(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_str *ret)
{
    struct tpc_buf b = { NULL, 0, 0 };
    int rc = tpc_json_write(v, 0, &b);
    if (rc != TPC_ETOOBIG) {
        return rc != 0 ? TPC_EINVAL : 0;
    }
    b = (struct tpc_buf){ tpc_arena_take(arena, b.need), b.need, 0 };
    if (b.ptr == NULL) {
        return TPC_ENOMEM;
    }
    rc = tpc_json_write(v, 0, &b);
    *ret = (struct tpc_str){ (const char *) b.ptr, b.need };
    return rc;
}

/* An object, or a text that holds one, as text. */
static int config_of(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_str *ret)
{
    struct tpc_value map;
    if (v == NULL) {
        return 0;
    }
    int rc = tp_form_coerce(NULL, v, arena, &map);
    return rc != 0 || map.type != TPC_MAP ? rc : text_of(&map, arena, ret);
}

static int voucher_of(const struct tpc_value *v, const struct tp_forms *forms,
                      struct tpc_arena *arena, struct tpc_str *ret)
{
    struct tpc_str text = tpc_value_text(v);
    int rc = v->type == TPC_MAP ? text_of(v, arena, &text) : 0;
    uint8_t *bytes = rc == 0 && text.len > 0 ? tpc_arena_take(arena, VOUCHER_ROOM) : NULL;
    if (rc != 0 || text.len == 0) {
        return rc;
    }
    if (bytes == NULL) {
        return TPC_ENOMEM;
    }
    /* In the arena: it never grows. */
    struct tpi_buf b = { .ptr = bytes, .cap = VOUCHER_ROOM, .limit = VOUCHER_ROOM };
    rc = tp_form_voucher(forms, text, arena, &b);
    if (rc == 0) {
        text = (struct tpc_str){ (const char *) bytes, b.len };
    }
    *ret = text;
    return rc == TPC_ENOMEM ? rc : 0;
}

static char type_of(const struct tpc_value *v)
{
    const struct tpc_value *type = tpi_member(v, "device_type");
    struct tpc_str text = tpi_member_text(v, "device_type");
    int64_t number = 0;
    char c = text.len == 1 ? text.ptr[0] : '\0';
    if (type != NULL && c == '\0' && tpc_value_int(type, &number) == 0 && number >= 1 &&
        number <= 3) {
        c = (char) ('0' + number);
    }
    return c >= '1' && c <= '3' ? c : '\0';
}

int tp_reply_facts(const struct tpc_value *v, const struct tp_forms *forms, struct tpc_arena *arena,
                   struct tp_facts *ret)
{
    struct tp_facts f;
    memset(&f, 0, sizeof(f));
    if (v->type != TPC_MAP) {
        return TPC_EINVAL;
    }
    f.id = tpi_member_text(v, "id");
    f.id = f.id.len > 0 ? f.id : tpi_member_text(v, "device_id");
    f.number = tpi_member_text(v, "device_number");
    f.name = tpi_member_text(v, "device_name");
    f.name = f.name.len > 0 ? f.name : tpi_member_text(v, "name");
    f.address = tpi_member_text(v, "sub_device_addr");
    f.access_point = tpi_member_text(v, "service_access_id");
    f.type = type_of(v);
    f.type = f.type != '\0' ? f.type : f.address.len > 0 ? '3' : '1';
    if (f.id.len == 0 || f.id.len > TP_ID_MAX) {
        return TPC_EINVAL;
    }
    const struct tpc_value *voucher = tpi_member(v, "voucher");
    const struct tpc_value *config = tpi_member(v, "config");
    int rc = voucher == NULL ? 0 : voucher_of(voucher, forms, arena, &f.voucher);
    rc = rc != 0 ? rc
                 : config_of(config != NULL ? config : tpi_member(v, "protocol_config"), arena,
                             &f.config);
    rc = rc != 0 ? rc : config_of(tpi_member(v, "protocol_config_template"), arena, &f.settings);
    if (rc == 0) {
        *ret = f;
    }
    return rc;
}

const struct tpc_value *tp_reply_behind(const struct tpc_value *v)
{
    const struct tpc_value *list = tpi_member(v, "sub_devices");
    return list != NULL && list->type == TPC_ARRAY ? list : NULL;
}
