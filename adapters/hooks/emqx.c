/* EMQX: HTTP authentication and authorization (docs.emqx.com, "HTTP authentication"), and its event
 * webhook, as contract iot-module.md section 8 has them. */
#include "inside.h"

static const char deny[] = "{\"result\":\"deny\",\"is_superuser\":false}";
static const char json[] = "application/json";

static bool missing(const struct hooks_json *j, const char *member)
{
    const struct tpc_value *v = tpc_value_get(&j->value, tpc_str_from(member));
    return v == NULL || v->type != TPC_TEXT;
}

void hooks_emqx_auth(const struct hooks_request *q, struct hooks_answer *a)
{
    struct hooks_json j;
    hooks_say(a, json, deny);
    if (hooks_open(q, &j) && !missing(&j, "clientid") && !missing(&j, "username") &&
        hooks_login(q, a, hooks_text(&j, "clientid"), hooks_text(&j, "username"),
                    hooks_text(&j, "password"), hooks_text(&j, "peerhost"))) {
        hooks_say(a, json,
                  a->who.role == TPC_ROLE_SERVICE
                      ? "{\"result\":\"allow\",\"is_superuser\":true}"
                      : "{\"result\":\"allow\",\"is_superuser\":false}");
    }
    hooks_close(&j);
}

/* "publish", or what older versions send: access 1 or "sub.." and 2 or "pub..". */
static int access_of(const struct hooks_json *j)
{
    struct tpc_str action = hooks_text(j, "action");
    const struct tpc_value *old = tpc_value_get(&j->value, TPC_STR("access"));
    int64_t number = 0;
    if (action.len == 0) {
        action = tpc_value_text(old);
    }
    if (action.len >= 3 && action.ptr[0] == 'p' && action.ptr[1] == 'u') {
        return TPC_ACCESS_PUBLISH;
    }
    if (action.len >= 3 && action.ptr[0] == 's' && action.ptr[1] == 'u') {
        return TPC_ACCESS_SUBSCRIBE;
    }
    (void) tpc_value_int(old, &number);
    if (action.len == 1 && (action.ptr[0] == '1' || action.ptr[0] == '2')) {
        number = action.ptr[0] - '0';
    }
    return number == 1 ? TPC_ACCESS_SUBSCRIBE : number == 2 ? TPC_ACCESS_PUBLISH : 0;
}

void hooks_emqx_acl(const struct hooks_request *q, struct hooks_answer *a)
{
    struct hooks_json j;
    hooks_say(a, json, deny);
    if (hooks_open(q, &j)) {
        int access = access_of(&j);
        if (access != 0 &&
            hooks_allows(q, hooks_text(&j, "username"), access, hooks_text(&j, "topic"))) {
            hooks_say(a, json, "{\"result\":\"allow\",\"is_superuser\":false}");
        }
    }
    hooks_close(&j);
}

void hooks_emqx_event(const struct hooks_request *q, struct hooks_answer *a)
{
    struct hooks_json j;
    hooks_say(a, json, "");
    if (hooks_open(q, &j)) {
        struct tpc_str event = hooks_text(&j, "event");
        if (tpc_str_equal(event, TPC_STR("client.connected")) != 0) {
            hooks_note(q, a, hooks_text(&j, "username"), HOOKS_ONLINE);
        } else if (tpc_str_equal(event, TPC_STR("client.disconnected")) != 0) {
            hooks_note(q, a, hooks_text(&j, "username"), HOOKS_OFFLINE);
        }
    }
    hooks_close(&j);
}
