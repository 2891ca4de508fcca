#include "enroll.h"

#include <string.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

static const char method[] = "thing.auth.register";

bool mqtt_enroll_topic(struct tpc_str topic, struct tpc_str *ret_product,
                       struct tpc_str *ret_device)
{
    static const char head[] = "/sys/";
    static const char tail[] = "/thing/auth/register";
    size_t around = sizeof(head) - 1 + sizeof(tail) - 1;
    if (topic.len <= around || memcmp(topic.ptr, head, sizeof(head) - 1) != 0 ||
        memcmp(topic.ptr + topic.len - (sizeof(tail) - 1), tail, sizeof(tail) - 1) != 0) {
        return false;
    }
    struct tpc_str names = { topic.ptr + sizeof(head) - 1, topic.len - around };
    const char *slash = memchr(names.ptr, '/', names.len);
    if (slash == NULL) {
        return false;
    }
    size_t first = (size_t) (slash - names.ptr);
    *ret_product = (struct tpc_str){ names.ptr, first };
    *ret_device = (struct tpc_str){ slash + 1, names.len - first - 1 };
    return ret_product->len > 0 && ret_device->len > 0 &&
           memchr(ret_device->ptr, '/', ret_device->len) == NULL;
}

int mqtt_enroll_read(struct tpc_str product, struct tpc_str device, struct tpc_bytes payload,
                     struct tpc_arena *arena, struct mqtt_enroll *ret)
{
    struct tpc_value v;
    struct tpc_str json = { (const char *) payload.ptr, payload.len };
    int rc = tpc_json_parse(arena, json, 0, NULL, &v);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_EDECODE;
    }
    const struct tpc_value *params = tpc_value_get(&v, TPC_STR("params"));
    const struct tpc_value *id = tpc_value_get(&v, TPC_STR("requestId"));
    *ret = (struct mqtt_enroll){
        .id = tpc_value_text(id != NULL ? id : tpc_value_get(&v, TPC_STR("id"))),
        .product = tpc_value_text(tpc_value_get(params, TPC_STR("productKey"))),
        .device = tpc_value_text(tpc_value_get(params, TPC_STR("deviceName"))),
        .sign = tpc_value_text(tpc_value_get(params, TPC_STR("sign"))),
    };
    return ret->sign.len > 0 && tpc_str_equal(ret->product, product) &&
                   tpc_str_equal(ret->device, device)
               ? 0
               : TPC_EDECODE;
}

static struct tpc_member text_member(const char *key, struct tpc_str text)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

size_t mqtt_enroll_write(const struct mqtt_enroll *e, const struct tpc_registration *made,
                         const char *message, char ret[MQTT_ENROLL_BYTES])
{
    struct tpc_member triple[3], members[5];
    struct tpc_value doc = { TPC_MAP, 0, 0, { .members = members } };
    if (e->id.len > 0) {
        members[doc.len++] = text_member("requestId", e->id);
    }
    members[doc.len++] = text_member("method", tpc_str_from(method));
    if (made != NULL) {
        triple[0] = text_member("productKey", tpc_str_from(made->product));
        triple[1] = text_member("deviceName", tpc_str_from(made->device));
        triple[2] = text_member("deviceSecret", tpc_str_from(made->secret));
        members[doc.len++] =
            (struct tpc_member){ TPC_STR("data"), { TPC_MAP, 0, 3, { .members = triple } } };
    }
    members[doc.len++] =
        (struct tpc_member){ TPC_STR("code"), { .type = TPC_INT, .as.i = made != NULL ? 0 : 500 } };
    members[doc.len++] = text_member("msg", tpc_str_from(message));
    struct tpc_buf buf = { (uint8_t *) ret, MQTT_ENROLL_BYTES, 0 };
    return tpc_json_write(&doc, 0, &buf) == 0 ? buf.need : 0;
}
