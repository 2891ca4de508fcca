#include "inside.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

bool hooks_open(const struct hooks_request *q, struct hooks_json *ret)
{
    struct tpc_str json = { (const char *) q->body.ptr, q->body.len };
    ret->arena = NULL;
    return q->body.len <= HOOKS_BODY_MAX && tpc_arena_create(NULL, 0, &ret->arena) == 0 &&
           tpc_json_parse(ret->arena, json, 0, NULL, &ret->value) == 0 &&
           ret->value.type == TPC_MAP;
}

void hooks_close(struct hooks_json *j)
{
    tpc_arena_destroy(j->arena);
}

struct tpc_str hooks_text(const struct hooks_json *j, const char *member)
{
    return tpc_value_text(tpc_value_get(&j->value, tpc_str_from(member)));
}

void hooks_say(struct hooks_answer *a, const char *type, const char *text)
{
    a->type = type;
    a->len = (size_t) snprintf(a->text, sizeof(a->text), "%s", text);
}

bool hooks_say_json(struct hooks_answer *a, const struct tpc_value *v)
{
    struct tpc_buf buf = { (uint8_t *) a->text, sizeof(a->text), 0 };
    if (tpc_json_write(v, 0, &buf) != 0) {
        return false;
    }
    a->type = "application/json";
    a->len = buf.need;
    return true;
}

bool hooks_login(const struct hooks_request *q, struct hooks_answer *a, struct tpc_str client_id,
                 struct tpc_str username, struct tpc_str password, struct tpc_str peer)
{
    struct tpc_auth_request r = TPC_AUTH_REQUEST_INIT;
    r.tenant = q->tenant;
    r.client_id = client_id;
    r.username = username;
    r.password = (struct tpc_bytes){ (const uint8_t *) password.ptr, password.len };
    r.peer = peer;
    struct tpc_identity named;
    if (tpc_auth_check(q->core, &r, &a->who) != 0) {
        return false;
    }
    /* Whose the user name is decides about topics: with a token it must be the token's device's, too. */
    if (a->who.method == TPC_AUTH_JWT &&
        (tpc_auth_resolve(q->core, q->tenant, username, &named) != 0 || named.id != a->who.id)) {
        return false;
    }
    if (a->who.role == TPC_ROLE_REGISTER && password.len < sizeof(a->sign)) {
        a->event = HOOKS_REGISTER;
        memcpy(a->sign, password.ptr, password.len);
        a->sign[password.len] = '\0';
    }
    return true;
}

bool hooks_allows(const struct hooks_request *q, struct tpc_str username, int access,
                  struct tpc_str topic)
{
    struct tpc_identity who;
    return tpc_auth_resolve(q->core, q->tenant, username, &who) == 0 &&
           tpc_acl_check(q->core, &who, access, topic) == 0;
}

void hooks_note(const struct hooks_request *q, struct hooks_answer *a, struct tpc_str username,
                int event)
{
    if (tpc_auth_resolve(q->core, q->tenant, username, &a->who) == 0) {
        a->event = event;
    }
}

hooks_fn *hooks_find(struct tpc_str path, struct tpc_str hook)
{
    static const struct {
        const char *path;
        hooks_fn *fn;
    } paths[] = {
        { "/mqtt/auth", hooks_emqx_auth },     { "/mqtt/acl", hooks_emqx_acl },
        { "/mqtt/event", hooks_emqx_event },   { "/auth/user", hooks_rabbit_user },
        { "/auth/vhost", hooks_rabbit_vhost }, { "/auth/resource", hooks_rabbit_resource },
        { "/auth/topic", hooks_rabbit_topic },
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (tpc_str_equal(path, tpc_str_from(paths[i].path)) != 0) {
            return paths[i].fn;
        }
    }
    return tpc_str_equal(path, TPC_STR("/vernemq")) != 0 ? hooks_vernemq(hook) : NULL;
}
