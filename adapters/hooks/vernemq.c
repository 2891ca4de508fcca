/* VerneMQ: webhooks (docs.vernemq.com, "Webhooks"): the hook's name stands in a header. */
#include "inside.h"

static const char json[] = "application/json";
static const char refuse[] = "{\"result\":{\"error\":\"not_allowed\"}}";
static const char accept[] = "{\"result\":\"ok\"}";

static void on_register(const struct hooks_request *q, struct hooks_answer *a)
{
    struct hooks_json j;
    hooks_say(a, json, refuse);
    if (hooks_open(q, &j) &&
        hooks_login(q, a, hooks_text(&j, "client_id"), hooks_text(&j, "username"),
                    hooks_text(&j, "password"), hooks_text(&j, "peer_addr"))) {
        hooks_say(a, json, accept);
    }
    hooks_close(&j);
}

static void on_publish(const struct hooks_request *q, struct hooks_answer *a)
{
    struct hooks_json j;
    hooks_say(a, json, refuse);
    if (hooks_open(q, &j) &&
        hooks_allows(q, hooks_text(&j, "username"), TPC_ACCESS_PUBLISH, hooks_text(&j, "topic"))) {
        hooks_say(a, json, accept);
    }
    hooks_close(&j);
}

/* {"result":"ok","topics":[..]}: every filter with the QoS that it gets; 128 = refused. */
static bool answer_filters(const struct hooks_request *q, const struct hooks_json *j,
                           struct hooks_answer *a)
{
    const struct tpc_value *topics = tpc_value_get(&j->value, TPC_STR("topics"));
    struct tpc_value items[HOOKS_FILTERS_MAX];
    struct tpc_member members[HOOKS_FILTERS_MAX][2];
    if (topics == NULL || topics->type != TPC_ARRAY || topics->len > HOOKS_FILTERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < topics->len; i++) {
        struct tpc_str filter =
            tpc_value_text(tpc_value_get(&topics->as.items[i], TPC_STR("topic")));
        int64_t qos = 128;
        if (hooks_allows(q, hooks_text(j, "username"), TPC_ACCESS_SUBSCRIBE, filter)) {
            qos = 0;
            (void) tpc_value_int(tpc_value_get(&topics->as.items[i], TPC_STR("qos")), &qos);
        }
        members[i][0] =
            (struct tpc_member){ TPC_STR("topic"),
                                 { .type = TPC_TEXT, .len = filter.len, .as.text = filter.ptr } };
        members[i][1] = (struct tpc_member){ TPC_STR("qos"), { .type = TPC_INT, .as.i = qos } };
        items[i] = (struct tpc_value){ TPC_MAP, 0, 2, { .members = members[i] } };
    }
    const struct tpc_member result[2] = {
        { TPC_STR_INIT("result"), { .type = TPC_TEXT, .len = 2, .as.text = "ok" } },
        { TPC_STR_INIT("topics"), { TPC_ARRAY, 0, topics->len, { .items = items } } },
    };
    const struct tpc_value answer = { TPC_MAP, 0, 2, { .members = result } };
    return hooks_say_json(a, &answer);
}

static void on_subscribe(const struct hooks_request *q, struct hooks_answer *a)
{
    struct hooks_json j;
    hooks_say(a, json, refuse);
    if (hooks_open(q, &j) && !answer_filters(q, &j, a)) {
        hooks_say(a, json, refuse);
    }
    hooks_close(&j);
}

static void note(const struct hooks_request *q, struct hooks_answer *a, int event)
{
    struct hooks_json j;
    hooks_say(a, json, "{}");
    if (hooks_open(q, &j)) {
        hooks_note(q, a, hooks_text(&j, "username"), event);
    }
    hooks_close(&j);
}

static void on_registered(const struct hooks_request *q, struct hooks_answer *a)
{
    note(q, a, HOOKS_ONLINE);
}

static void on_gone(const struct hooks_request *q, struct hooks_answer *a)
{
    note(q, a, HOOKS_OFFLINE);
}

hooks_fn *hooks_vernemq(struct tpc_str hook)
{
    static const struct {
        const char *name;
        hooks_fn *fn;
    } hooks[] = {
        { "auth_on_register", on_register },   { "auth_on_register_m5", on_register },
        { "auth_on_publish", on_publish },     { "auth_on_publish_m5", on_publish },
        { "auth_on_subscribe", on_subscribe }, { "auth_on_subscribe_m5", on_subscribe },
        { "on_register", on_registered },      { "on_register_m5", on_registered },
        { "on_client_gone", on_gone },         { "on_client_offline", on_gone },
    };
    for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
        if (tpc_str_equal(hook, tpc_str_from(hooks[i].name)) != 0) {
            return hooks[i].fn;
        }
    }
    return NULL;
}
