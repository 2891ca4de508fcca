#include "register.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

static struct tpc_member text_member(const char *key, const char *text)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = strlen(text), .as.text = text } };
}

size_t register_write(const struct tpc_identity *who, const char *sign,
                      char ret_topic[REGISTER_TOPIC_BYTES], char ret[REGISTER_BYTES])
{
    const struct tpc_member params[] = { text_member("productKey", who->product),
                                         text_member("deviceName", who->key),
                                         text_member("sign", sign != NULL ? sign : "") };
    const struct tpc_member members[] = {
        text_member("requestId", "1"),
        text_member("method", "thing.auth.register"),
        { TPC_STR_INIT("params"), { TPC_MAP, 0, 3, { .members = params } } },
    };
    const struct tpc_value doc = { TPC_MAP, 0, 3, { .members = members } };
    struct tpc_buf buf = { (uint8_t *) ret, REGISTER_BYTES, 0 };
    if (strpbrk(who->product, "+#/") != NULL || strpbrk(who->key, "+#/") != NULL) {
        return 0;
    }
    snprintf(ret_topic, REGISTER_TOPIC_BYTES, "/sys/%s/%s/thing/auth/register", who->product,
             who->key);
    return tpc_json_write(&doc, 0, &buf) == 0 ? buf.need : 0;
}

bool register_answer(const char *topic, struct tpc_str *ret_product, struct tpc_str *ret_device)
{
    static const char head[] = "/sys/";
    static const char tail[] = "/thing/auth/register_reply";
    if (strncmp(topic, head, sizeof(head) - 1) != 0) {
        return false;
    }
    const char *product = topic + sizeof(head) - 1;
    const char *slash = strchr(product, '/');
    const char *end = slash != NULL ? strchr(slash + 1, '/') : NULL;
    if (end == NULL || strcmp(end, tail) != 0) {
        return false;
    }
    *ret_product = (struct tpc_str){ product, (size_t) (slash - product) };
    *ret_device = (struct tpc_str){ slash + 1, (size_t) (end - slash - 1) };
    return true;
}
