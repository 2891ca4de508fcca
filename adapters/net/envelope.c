#include "envelope.h"

#include "data/json_read.h"

#include <tpcore/json.h>

/* Without the zeros that fill a fixed frame. */
static struct tpc_str text_of(struct tpc_bytes message)
{
    while (message.len > 0 && message.ptr[message.len - 1] == 0) {
        message.len--;
    }
    return (struct tpc_str){ (const char *) message.ptr, message.len };
}

int net_envelope_read(struct tpc_bytes message, struct tpc_arena *arena, struct net_envelope *ret)
{
    struct tpc_value v;
    struct tpc_str text = text_of(message);
    if (text.len == 0 || text.len > NET_ENVELOPE_MAX) {
        return TPC_EDECODE;
    }
    int rc = tpc_json_parse(arena, text, 0, NULL, &v);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_EDECODE;
    }
    struct net_envelope e = { .method = tpc_value_text(tpc_value_get(&v, TPC_STR("method"))) };
    if (e.method.len == 0 || tpc_value_get(&v, TPC_STR("code")) != NULL) {
        return TPC_EDECODE;
    }
    const struct tpc_value *id = tpc_value_get(&v, TPC_STR("requestId"));
    id = id != NULL ? id : tpc_value_get(&v, TPC_STR("id"));
    if (id != NULL && (id->type == TPC_INT ||
                       (id->type == TPC_TEXT && id->len > 0 && id->len <= NET_ENVELOPE_ID_MAX))) {
        e.id = *id;
    }
    e.params = tpc_value_get(&v, TPC_STR("params"));
    *ret = e;
    return 0;
}

bool net_envelope_is(struct tpc_bytes message, struct tpc_str method)
{
    struct tpi_json r;
    int event;
    tpi_json_begin(&r, text_of(message));
    if (message.len == 0 || tpi_json_next(&r) != TPI_JSON_MAP) {
        return false;
    }
    while ((event = tpi_json_next(&r)) == TPI_JSON_KEY) {
        bool found = tpc_str_equal(r.text, TPC_STR("method"));
        event = tpi_json_next(&r);
        if (found) {
            return event == TPI_JSON_TEXT && tpc_str_equal(r.text, method);
        }
        if (event == TPI_JSON_ERROR || tpi_json_skip(&r, event) != 0) {
            return false;
        }
    }
    return false;
}

int net_envelope_write(const struct net_envelope *of, const struct tpc_value *data, int64_t code,
                       struct tpc_str msg, struct tpc_buf *out)
{
    struct tpc_member members[5];
    struct tpc_value doc = { TPC_MAP, 0, 0, { .members = members } };
    if (of->id.type != TPC_NULL) {
        members[doc.len++] = (struct tpc_member){ TPC_STR("requestId"), of->id };
    }
    members[doc.len++] = (struct tpc_member){ TPC_STR("method"), net_text(of->method) };
    if (data != NULL) {
        members[doc.len++] = (struct tpc_member){ TPC_STR("data"), *data };
    }
    members[doc.len++] =
        (struct tpc_member){ TPC_STR("code"), { .type = TPC_INT, .as = { .i = code } } };
    members[doc.len++] = (struct tpc_member){ TPC_STR("msg"), net_text(msg) };
    return tpc_json_write(&doc, 0, out);
}
