/* Topics of products: the public functions. */
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/topic.h>

#include "core/core.h"
#include "registry/auth.h"
#include "registry/topic_map.h"

int tpc_topic_up(struct tpc_core *core, const struct tpc_identity *who, struct tpc_str topic,
                 struct tpc_buf *buf)
{
    if (core == NULL || who == NULL || buf == NULL || (topic.ptr == NULL && topic.len > 0)) {
        return tpi_fail(TPC_EINVAL, "topic", "core, who or buf is NULL");
    }
    int rc = tpi_core_entities(core, tpi_fail_begin());
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    tpi_registry_read_lock(core->registry);
    const struct tpc_device *d = tpi_registry_by_id(core->registry, who->id);
    const struct tpi_topic_rule *rule =
        d != NULL ? tpi_topic_map_up(d->product->topics, topic, d->key) : NULL;
    rc = rule == NULL ? TPC_ENOENT : 0;
    if (rule != NULL) {
        buf->need = rule->target.len;
        rc = buf->ptr == NULL || buf->cap < buf->need ? TPC_ETOOBIG : 0;
    }
    if (rc == 0) {
        memcpy(buf->ptr, rule->target.ptr, rule->target.len);
    }
    tpi_registry_read_unlock(core->registry);
    return rc;
}

/* A command's method and params; empty if the payload is none. */
struct command {
    struct tpc_str method;
    struct tpc_bytes params;
};

static int read_command(struct tpc_bytes payload, struct tpc_arena *arena, struct command *ret)
{
    static const struct tpc_bytes nothing = { (const uint8_t *) "{}", 2 };
    struct tpc_str json = { (const char *) payload.ptr, payload.len };
    struct tpc_value v;
    *ret = (struct command){ { NULL, 0 }, nothing };
    int rc = tpc_json_parse(arena, json, 0, NULL, &v);
    if (rc != 0 || v.type != TPC_MAP) {
        return rc == TPC_ENOMEM ? rc : 0;
    }
    ret->method = tpc_value_text(tpc_value_get(&v, TPC_STR("method")));
    const struct tpc_value *params = tpc_value_get(&v, TPC_STR("params"));
    if (params == NULL) {
        return 0;
    }
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(params, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    if (buf.ptr == NULL) {
        return TPC_ENOMEM;
    }
    (void) tpc_json_write(params, 0, &buf);
    ret->params = (struct tpc_bytes){ buf.ptr, buf.need };
    return 0;
}

/* Under the read lock. What the product of a device says; NULL = nothing. */
static const struct tpi_topic_map *topics_of(struct tpc_core *core, struct tpc_str tenant,
                                             struct tpc_str key)
{
    const struct tpc_device *d = tpi_registry_find(core->registry, tenant, key);
    return d != NULL ? d->product->topics : NULL;
}

/* Most messages go to devices whose products name no topics: their payloads are not read. */
static bool has_topics(struct tpc_core *core, struct tpc_str tenant, struct tpc_str key)
{
    tpi_registry_read_lock(core->registry);
    bool has = topics_of(core, tenant, key) != NULL;
    tpi_registry_read_unlock(core->registry);
    return has;
}

/* The length of the copy's topic; 0 = there is none. *ret_params: only params go there. */
static size_t find_copy(struct tpc_core *core, struct tpc_str tenant, struct tpc_str key,
                        struct tpc_str topic, const struct command *c,
                        char ret[2 * TPI_TOPIC_BYTES], bool *ret_params)
{
    size_t len = 0;
    tpi_registry_read_lock(core->registry);
    const struct tpi_topic_rule *rule =
        tpi_topic_map_down(topics_of(core, tenant, key), topic, key, c->method);
    if (rule != NULL) {
        *ret_params = rule->name.len > 0;
        len = tpi_topic_rule_source(rule, key, ret);
    }
    tpi_registry_read_unlock(core->registry);
    return len;
}

int tpc_topic_down(struct tpc_core *core, struct tpc_str tenant, struct tpc_str topic,
                   struct tpc_bytes payload, tpc_topic_fn *fn, void *user)
{
    char source[2 * TPI_TOPIC_BYTES];
    struct tpc_arena *arena = NULL;
    struct command c;
    struct tpc_str key;
    bool params = false;
    if (core == NULL || fn == NULL || (topic.ptr == NULL && topic.len > 0)) {
        return tpi_fail(TPC_EINVAL, "topic", "core or fn is NULL");
    }
    int rc = tpi_core_entities(core, tpi_fail_begin());
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    if (!tpi_acl_number(topic, &key) || !has_topics(core, tenant, key)) {
        return TPC_ENOENT;
    }
    rc = tpc_arena_create(core->env.alloc, 0, &arena);
    rc = rc != 0 ? rc : read_command(payload, arena, &c);
    if (rc == 0) {
        size_t len = find_copy(core, tenant, key, topic, &c, source, &params);
        rc = len > 0 ? 0 : TPC_ENOENT;
        if (len > 0) {
            fn(user, (struct tpc_str){ source, len }, params ? c.params : payload);
        }
    }
    tpc_arena_destroy(arena);
    return rc;
}
