/* Handlers, their parameters as actions, and the way through what is imported. */
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "data/member.h"
#include "migrate/mycontroller.h"

enum { HANDLERS_MAX = 32, WALK_DEPTH = 3 };

static void put_text(struct tpi_mc_map *map, const struct tpc_value *from, const char *name,
                     const char *ours)
{
    struct tpc_str text = tpi_member_text(from, name);
    tpi_mc_put_text(map, ours, text);
}

static struct tpc_value one_member(struct tpi_mc *m, const char *key, struct tpc_value v)
{
    struct tpi_mc_map map = { .count = 0 };
    tpi_mc_put(&map, key, v);
    return tpi_mc_map_value(m, &map);
}

/* ---- handlers ---- */

static void note_if(struct tpi_mc *m, const struct tpc_value *spec, const char *name,
                    const char *text)
{
    const struct tpc_value *v = tpi_member(spec, name);
    if (v != NULL && (v->type != TPC_TEXT || v->len > 0) && (v->type != TPC_BOOL || v->as.b)) {
        tpi_mc_note(m, name, "%s", text);
    }
}

static struct tpc_value email(struct tpi_mc *m, const struct tpc_value *spec)
{
    struct tpi_mc_map options = { .count = 0 };
    const struct tpc_value *to = tpi_member(spec, "toEmails");
    struct tpc_value text = tpi_mc_text(tpi_member_text(spec, "toEmails"));
    struct tpi_mc_list list = { .count = 0 };
    if (to != NULL && to->type == TPC_ARRAY) {
        tpi_mc_put(&options, "to", *to);
    } else if (text.len > 0) {
        tpi_mc_add(m, &list, &text);
        tpi_mc_put(&options, "to", tpi_mc_list_value(&list));
    }
    note_if(m, spec, "host", "server, port and password belong to the opened sink 'mail'");
    note_if(m, spec, "insecure", "tls of the opened sink 'mail'");
    return tpi_mc_map_value(m, &options);
}

static struct tpc_value telegram(struct tpi_mc *m, const struct tpc_value *spec)
{
    struct tpi_mc_map options = { .count = 0 };
    const struct tpc_value *chats = tpi_member(spec, "chatIds");
    tpi_mc_put_text(&options, "format", TPC_STR("telegram"));
    put_text(&options, spec, "token", "token");
    if (chats != NULL && chats->type == TPC_ARRAY && chats->len > 0) {
        tpi_mc_put(&options, "chat_id", chats->as.items[0]);
    }
    if (chats != NULL && chats->type == TPC_ARRAY && chats->len > 1) {
        tpi_mc_note(m, "chatIds", "a handler is for one chat: make another for each of the others");
    }
    return tpi_mc_map_value(m, &options);
}

static void put_percent(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t) text.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char coded[3] = { '%', hex[c >> 4], hex[c & 15] };
        tpi_mc_write(m, b,
                     plain ? (struct tpc_str){ text.ptr + i, 1 } : (struct tpc_str){ coded, 3 });
    }
}

/* A text, number or bool. */
static void put_scalar(struct tpi_mc *m, struct tpi_buf *b, const struct tpc_value *v)
{
    uint8_t text[64];
    struct tpc_buf room = { text, sizeof(text), 0 };
    if (v->type == TPC_TEXT) {
        put_percent(m, b, tpc_value_text(v));
    } else if (v->type == TPC_BOOL || v->type == TPC_INT || v->type == TPC_DOUBLE) {
        bool fits = tpc_json_write(v, 0, &room) == 0;
        put_percent(m, b, (struct tpc_str){ (const char *) text, fits ? room.need : 0 });
    } else if (v->type != TPC_NULL) {
        tpi_mc_lame(m, "queryParameters", "neither a text nor a number: left out");
    }
}

static void put_query(struct tpi_mc *m, struct tpi_buf *b, const struct tpc_value *query)
{
    for (size_t i = 0; query != NULL && query->type == TPC_MAP && i < query->len; i++) {
        tpi_mc_write(m, b, i == 0 ? TPC_STR("?") : TPC_STR("&"));
        put_percent(m, b, query->as.members[i].key);
        tpi_mc_write(m, b, TPC_STR("="));
        put_scalar(m, b, &query->as.members[i].value);
    }
}

static struct tpc_value webhook(struct tpi_mc *m, const struct tpc_value *spec)
{
    struct tpi_mc_map options = { .count = 0 };
    const struct tpc_value *headers = tpi_member(spec, "headers");
    struct tpc_str method = tpi_member_text(spec, "method");
    struct tpi_buf url;
    tpi_mc_buf(&url);
    tpi_mc_write(m, &url, tpi_member_text(spec, "server"));
    tpi_mc_write(m, &url, tpi_member_text(spec, "api"));
    put_query(m, &url, tpi_member(spec, "queryParameters"));
    tpi_mc_put_text(&options, "url", tpi_mc_take(m, &url));
    if (tpc_str_equal(method, TPC_STR("GET")) || tpc_str_equal(method, TPC_STR("DELETE"))) {
        tpi_mc_lame(m, "method", "POST, PUT or PATCH");
    } else {
        tpi_mc_put_text(&options, "method", method);
    }
    if (headers != NULL && headers->type == TPC_MAP && headers->len > 0) {
        tpi_mc_put(&options, "headers", *headers);
    }
    if (tpi_mc_truthy(tpi_member(spec, "insecure"))) {
        tpi_mc_put(&options, "tls", one_member(m, "verify", tpi_mc_bool(false)));
    }
    note_if(m, spec, "responseCode", "any 2xx is good");
    note_if(m, spec, "allowOverwrite", "a use of a handler has parameters, not another address");
    return tpi_mc_map_value(m, &options);
}

static struct tpc_value publish(struct tpi_mc *m, const struct tpc_value *spec)
{
    struct tpi_mc_map options = { .count = 0 };
    int64_t qos = tpi_mc_number(spec, "qos", 1);
    put_text(&options, spec, "publish", "topic");
    tpi_mc_put(&options, "qos", tpi_mc_int(qos > 1 ? 1 : qos));
    note_if(m, spec, "broker", "broker, user and password belong to the opened sink 'mqtt'");
    return tpi_mc_map_value(m, &options);
}

void tpi_mc_handler(struct tpi_mc *m, const struct tpc_value *doc)
{
    static const struct {
        const char *type, *sink;
        struct tpc_value (*options)(struct tpi_mc *m, const struct tpc_value *spec);
    } types[] = { { "email", "mail", email },
                  { "telegram", "hooks", telegram },
                  { "webhook", "hooks", webhook },
                  { "mqtt", "mqtt", publish } };
    struct tpc_str type = tpi_member_text(doc, "type");
    struct tpi_mc_map out = { .count = 0 };
    m->what = "handler";
    m->id = tpi_member_text(doc, "id");
    m->lame = false;
    if (tpc_str_equal(type, TPC_STR("resource"))) {
        return; /* actions do it themselves */
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!tpc_str_equal(type, tpc_str_from(types[i].type))) {
            continue;
        }
        tpi_mc_put_text(&out, "kind", TPC_STR("handler"));
        tpi_mc_put_text(&out, "tenant", m->options->tenant);
        tpi_mc_put_text(&out, "key", m->id);
        tpi_mc_put_text(&out, "sink", tpc_str_from(types[i].sink));
        struct tpc_value options = types[i].options(m, tpi_member(doc, "spec"));
        tpi_mc_put(&out, "enabled",
                   tpi_mc_bool(!m->lame && tpi_mc_truthy(tpi_member(doc, "enabled"))));
        tpi_mc_put(&out, "options", options);
        struct tpc_value v = tpi_mc_map_value(m, &out);
        tpi_mc_add(m, &m->entities, &v);
        return;
    }
    tpi_mc_note(m, "type", "no counterpart: '%.*s'", (int) (type.len < 60 ? type.len : 60),
                type.len > 0 ? type.ptr : "");
}

/* ---- parameters as actions ---- */

/* One that waits is done after the others. */
struct timed {
    struct tpc_value action;
    int64_t delay_ms;
};

struct acting {
    struct timed items[HANDLERS_MAX];
    size_t count;
};

static void act(struct tpi_mc *m, struct acting *a, const char *type, struct tpc_value v,
                int64_t delay_ms)
{
    if (a->count == HANDLERS_MAX) {
        tpi_mc_lame(m, "handlerParameters", "more than %d actions", HANDLERS_MAX);
        return;
    }
    size_t i = a->count++;
    for (; i > 0 && a->items[i - 1].delay_ms > delay_ms; i--) {
        a->items[i] = a->items[i - 1];
    }
    a->items[i] = (struct timed){ one_member(m, type, v), delay_ms };
}

/* A payload as a value: a number or a bool if it says one, `toggle` as the opposite of what is. */
static struct tpc_value payload(struct tpi_mc *m, const struct tpi_mc_id *id,
                                const struct tpc_value *v)
{
    struct tpc_str text = v != NULL ? tpc_value_text(v) : TPC_STR("");
    struct tpc_value out;
    struct tpi_buf b;
    if (v == NULL || v->type != TPC_TEXT) {
        return v != NULL ? *v : (struct tpc_value){ .type = TPC_NULL };
    }
    if (tpc_str_equal(text, TPC_STR("toggle"))) {
        tpi_mc_buf(&b);
        tpi_mc_write(m, &b, TPC_STR("{{ not "));
        tpi_mc_write(m, &b, tpi_mc_field(m, id));
        tpi_mc_write(m, &b, TPC_STR(" }}"));
        return tpi_mc_text(tpi_mc_take(m, &b));
    }
    if (tpc_json_parse(m->arena, text, 0, NULL, &out) == 0 && out.type != TPC_MAP &&
        out.type != TPC_ARRAY && out.type != TPC_NULL && out.type != TPC_TEXT) {
        return out;
    }
    return tpi_mc_text(tpi_mc_template(m, "handlerParameters", text));
}

static void act_field(struct tpi_mc *m, struct acting *a, const struct tpc_value *p,
                      const struct tpi_mc_id *id, int64_t delay_ms)
{
    struct tpi_mc_map command = { .count = 0 };
    struct tpi_mc_map params = { .count = 0 };
    struct tpc_value value = payload(m, id, tpi_member(p, "payload"));
    if (id->parts < 4 || value.type == TPC_NULL) {
        tpi_mc_lame(m, "handlerParameters", "not the id of a field, or no payload");
        return;
    }
    params.members[params.count++] = (struct tpc_member){ tpi_mc_property(m, id), value };
    tpi_mc_put_text(&command, "device", tpi_mc_device(m, id));
    tpi_mc_put_text(&command, "service", TPC_STR("set"));
    tpi_mc_put(&command, "params", tpi_mc_map_value(m, &params));
    act(m, a, "command", tpi_mc_map_value(m, &command), delay_ms);
}

static void act_node(struct tpi_mc *m, struct acting *a, const struct tpc_value *p,
                     const struct tpi_mc_id *id, int64_t delay_ms)
{
    struct tpi_mc_map command = { .count = 0 };
    struct tpc_str action = tpi_member_text(p, "payload");
    if (id->parts < 2 || action.len == 0) {
        tpi_mc_lame(m, "handlerParameters", "not the id of a node, or no action");
        return;
    }
    tpi_mc_note(m, "handlerParameters", "the node's model needs a service '%.*s'",
                (int) (action.len < 60 ? action.len : 60), action.ptr);
    tpi_mc_put_text(&command, "device", tpi_mc_device(m, id));
    tpi_mc_put_text(&command, "service", action);
    act(m, a, "command", tpi_mc_map_value(m, &command), delay_ms);
}

/* task, schedule, handler: enable or disable. */
static bool act_switch(struct tpi_mc *m, struct acting *a, const struct tpc_value *p,
                       struct tpc_str resource, struct tpc_str id, int64_t delay_ms)
{
    struct tpi_mc_map map = { .count = 0 };
    const struct tpc_value *payload = tpi_member(p, "payload");
    struct tpc_str text = tpi_member_text(p, "payload");
    bool task = tpc_str_equal(resource, TPC_STR("task"));
    bool off = tpc_str_equal(text, TPC_STR("disable")) || tpc_str_equal(text, TPC_STR("false"));
    if (payload == NULL || (!off && !tpi_mc_truthy(payload))) {
        return false;
    }
    const struct tpc_value *doc = task ? tpi_mc_find(m, TPI_MC_TASK, id) : NULL;
    if (task && doc == NULL) {
        tpi_mc_note(m, "handlerParameters", "task '%.*s' is not in this file: taken for a schedule",
                    (int) (id.len < 100 ? id.len : 100), id.len > 0 ? id.ptr : "");
    }
    bool scene = task && tpi_mc_truthy(tpi_member(doc, "triggerOnEvent"));
    tpi_mc_put_text(&map, "kind", scene ? TPC_STR("scene") : task ? TPC_STR("schedule") : resource);
    tpi_mc_put_text(&map, "key", task && !scene ? tpi_mc_task_key(m, id) : id);
    act(m, a, off ? "disable" : "enable", tpi_mc_map_value(m, &map), delay_ms);
    return true;
}

static void act_resource(struct tpi_mc *m, struct acting *a, const struct tpc_value *p)
{
    struct tpc_str resource = tpi_member_text(p, "resourceType");
    struct tpc_str quick = tpi_member_text(p, "quickId");
    struct tpc_str wait = tpi_member_text(p, "preDelay");
    struct tpi_mc_id id;
    int64_t delay_ms = 0;
    if (wait.len > 0 && (!tpi_mc_duration(wait, &delay_ms) || delay_ms < 0)) {
        delay_ms = 0;
        tpi_mc_note(m, "handlerParameters", "preDelay is no duration");
    }
    if (tpi_member_text(p, "type").len != sizeof("resource_by_quick_id") - 1 || quick.len == 0 ||
        !tpi_mc_read_id(quick, &id)) {
        tpi_mc_lame(m, "handlerParameters", "only resources by their id");
    } else if (tpc_str_equal(resource, TPC_STR("field"))) {
        act_field(m, a, p, &id, delay_ms);
    } else if (tpc_str_equal(resource, TPC_STR("node"))) {
        act_node(m, a, p, &id, delay_ms);
    } else if ((!tpc_str_equal(resource, TPC_STR("task")) &&
                !tpc_str_equal(resource, TPC_STR("schedule")) &&
                !tpc_str_equal(resource, TPC_STR("handler"))) ||
               !act_switch(m, a, p, resource, quick, delay_ms)) {
        tpi_mc_lame(m, "handlerParameters", "no counterpart for this on a %.*s",
                    (int) (resource.len < 60 ? resource.len : 60),
                    resource.len > 0 ? resource.ptr : "resource");
    }
}

/* What a notification says: the parameter under the names that our sinks look for. */
static struct tpc_value say(struct tpi_mc *m, const struct tpc_value *p)
{
    static const char *const plain[] = { "type", "disabled",  "body",   "text", "chatIds", "to",
                                         "from", "parseMode", "server", "api",  "method" };
    struct tpi_mc_map map = { .count = 0 };
    struct tpc_str text = tpi_member_text(p, "body");
    text = text.len > 0 ? text : tpi_member_text(p, "text");
    if (text.len > 0) {
        tpi_mc_put_text(&map, "text", tpi_mc_template(m, "handlerParameters", text));
    }
    for (size_t i = 4; i < sizeof(plain) / sizeof(plain[0]); i++) {
        note_if(m, p, plain[i], "belongs to the handler: make one for each");
    }
    for (size_t i = 0; i < p->len; i++) {
        bool known = false;
        const struct tpc_member *member = &p->as.members[i];
        for (size_t k = 0; k < sizeof(plain) / sizeof(plain[0]); k++) {
            known = known || tpc_str_equal(member->key, tpc_str_from(plain[k]));
        }
        if (!known && map.count == TPI_MC_MEMBERS) {
            tpi_mc_note(m, "handlerParameters", "more than %d members: the others are left out",
                        TPI_MC_MEMBERS);
            break;
        }
        if (!known && member->value.type != TPC_NULL) {
            map.members[map.count++] =
                (struct tpc_member){ member->key,
                                     tpi_mc_templates(m, "handlerParameters", &member->value, 0) };
        }
    }
    return tpi_mc_map_value(m, &map);
}

static void notify(struct tpi_mc *m, struct acting *a, struct tpc_str handler,
                   const struct tpc_value *p)
{
    struct tpi_mc_map map = { .count = 0 };
    tpi_mc_put_text(&map, "handler", handler);
    tpi_mc_put(&map, "params", say(m, p));
    act(m, a, "notify", tpi_mc_map_value(m, &map), 0);
}

/* One parameter: it goes to the handlers of its type. */
static void act_parameter(struct tpi_mc *m, struct acting *a, const struct tpc_value *handlers,
                          const struct tpc_member *member)
{
    const struct tpc_value *p = &member->value;
    struct tpc_str type = tpi_member_text(p, "type");
    bool resource = type.len >= 8 && memcmp(type.ptr, "resource", 8) == 0;
    bool taken = false;
    if (p->type != TPC_MAP || tpi_mc_truthy(tpi_member(p, "disabled"))) {
        return;
    }
    for (size_t i = 0; i < handlers->len && i < HANDLERS_MAX; i++) {
        struct tpc_str id = tpc_value_text(&handlers->as.items[i]);
        const struct tpc_value *doc = tpi_mc_find(m, TPI_MC_HANDLER, id);
        struct tpc_str its = tpi_member_text(doc, "type");
        bool same = resource ? tpc_str_equal(its, TPC_STR("resource")) : tpc_str_equal(its, type);
        if (id.len == 0 || (doc != NULL && !same) || (resource && taken)) {
            continue;
        }
        taken = true;
        if (resource) {
            act_resource(m, a, p);
        } else {
            notify(m, a, id, p);
        }
    }
    if (!taken) {
        tpi_mc_note(m, "handlerParameters", "'%.*s': none of its handlers takes this type",
                    (int) (member->key.len < 100 ? member->key.len : 100),
                    member->key.len > 0 ? member->key.ptr : "");
    }
}

struct tpi_mc_list tpi_mc_actions(struct tpi_mc *m, const struct tpc_value *doc)
{
    struct acting a = { .count = 0 };
    struct tpi_mc_list then = { .count = 0 };
    const struct tpc_value *handlers = tpi_member(doc, "handlers");
    const struct tpc_value *parameters = tpi_member(doc, "handlerParameters");
    bool given = handlers != NULL && handlers->type == TPC_ARRAY && parameters != NULL &&
                 parameters->type == TPC_MAP;
    for (size_t i = 0; given && i < parameters->len; i++) {
        act_parameter(m, &a, handlers, &parameters->as.members[i]);
    }
    int64_t waited = 0;
    for (size_t i = 0; i < a.count; i++) {
        if (a.items[i].delay_ms > waited) {
            struct tpc_value pause =
                one_member(m, "delay", tpi_mc_int(a.items[i].delay_ms - waited));
            tpi_mc_add(m, &then, &pause);
            waited = a.items[i].delay_ms;
        }
        tpi_mc_add(m, &then, &a.items[i].action);
    }
    return then;
}

/* ---- all that is imported ---- */

uint32_t tpi_mc_what(const struct tpc_value *doc)
{
    static const char *const plans[] = { "repeat", "cron", "simple", "sunrise", "sunset" };
    static const char *const handlers[] = { "resource", "email", "telegram", "webhook",
                                            "backup",   "mqtt",  "noop",     "exporter" };
    struct tpc_str type = tpi_member_text(doc, "type");
    if (doc->type != TPC_MAP || tpi_member_text(doc, "id").len == 0) {
        return TPI_MC_UNKNOWN;
    }
    if (tpi_member(doc, "srcFieldId") != NULL) {
        return TPI_MC_FORWARD;
    }
    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        if (tpc_str_equal(type, tpc_str_from(plans[i]))) {
            return TPI_MC_SCHEDULE;
        }
    }
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (tpc_str_equal(type, tpc_str_from(handlers[i]))) {
            return TPI_MC_HANDLER;
        }
    }
    bool task =
        tpi_member(doc, "evaluationType") != NULL || tpi_member(doc, "triggerOnEvent") != NULL ||
        tpi_member(doc, "executionInterval") != NULL || tpi_member(doc, "dampening") != NULL;
    return task ? TPI_MC_TASK : TPI_MC_UNKNOWN;
}

static size_t child_count(const struct tpc_value *v)
{
    return v->type == TPC_MAP || v->type == TPC_ARRAY ? v->len : 0;
}

static const struct tpc_value *child(const struct tpc_value *v, size_t i)
{
    return v->type == TPC_MAP ? &v->as.members[i].value : &v->as.items[i];
}

static const struct tpc_value *find_in(const struct tpc_value *v, uint32_t what, struct tpc_str id,
                                       int depth)
{
    uint32_t own = tpi_mc_what(v);
    if (own != TPI_MC_UNKNOWN) {
        return own == what && tpc_str_equal(tpi_member_text(v, "id"), id) ? v : NULL;
    }
    for (size_t i = 0; depth < WALK_DEPTH && i < child_count(v); i++) {
        const struct tpc_value *found = find_in(child(v, i), what, id, depth + 1);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

const struct tpc_value *tpi_mc_find(const struct tpi_mc *m, uint32_t what, struct tpc_str id)
{
    return find_in(m->root, what, id, 0);
}

static void walk(struct tpi_mc *m, const struct tpc_value *v, struct tpc_str name, int depth)
{
    switch (tpi_mc_what(v)) {
    case TPI_MC_TASK:
        tpi_mc_task(m, v);
        return;
    case TPI_MC_SCHEDULE:
        tpi_mc_schedule(m, v);
        return;
    case TPI_MC_HANDLER:
        tpi_mc_handler(m, v);
        return;
    case TPI_MC_FORWARD:
        tpi_mc_forward(m, v);
        return;
    default:
        break;
    }
    bool document = v->type == TPC_MAP && tpi_member(v, "id") != NULL;
    if (document || child_count(v) == 0 || depth == WALK_DEPTH) {
        m->what = "document";
        m->id = document ? tpi_member_text(v, "id") : name;
        tpi_mc_note(m, "", "no task, schedule, handler or forward payload");
        return;
    }
    for (size_t i = 0; m->rc == 0 && i < child_count(v); i++) {
        walk(m, child(v, i), v->type == TPC_MAP ? v->as.members[i].key : name, depth + 1);
    }
}

int tpc_mycontroller_import(struct tpc_arena *arena, const struct tpc_value *doc,
                            const struct tpc_mycontroller_options *options, struct tpc_error *err,
                            struct tpc_value *ret)
{
    static const struct tpc_mycontroller_options none = { .size = sizeof(none) };
    if (arena == NULL || doc == NULL || ret == NULL ||
        (doc->type != TPC_MAP && doc->type != TPC_ARRAY)) {
        return tpi_error_set(err, TPC_EINVAL, "mycontroller", "neither a map nor a list");
    }
    if (options != NULL && (options->size < sizeof(none) || options->flags != 0)) {
        return tpi_error_set(err, TPC_EINVAL, "mycontroller", "options");
    }
    struct tpi_mc *m = tpc_arena_take(arena, sizeof(*m));
    if (m == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "mycontroller", "out of memory");
    }
    *m = (struct tpi_mc){ .arena = arena,
                          .options = options != NULL ? options : &none,
                          .root = doc };
    walk(m, doc, TPC_STR(""), 0);
    struct tpi_mc_map out = { .count = 0 };
    tpi_mc_put(&out, "entities", tpi_mc_list_value(&m->entities));
    tpi_mc_put(&out, "notes", tpi_mc_list_value(&m->notes));
    struct tpc_value v = tpi_mc_map_value(m, &out);
    if (m->rc != 0) {
        return tpi_error_set(err, m->rc, "mycontroller", "%s",
                             m->rc == TPC_ENOMEM ? "out of memory" : "too deep");
    }
    *ret = v;
    return 0;
}
