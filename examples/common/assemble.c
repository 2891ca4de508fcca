#include "assemble.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t type; /* enum tpc_type */
} top_keys[] = { { "core", TPC_MAP },         { "modules", TPC_ARRAY },
                 { "log", TPC_MAP },          { "store", TPC_MAP },
                 { "entity_store", TPC_MAP }, { "history", TPC_MAP },
                 { "adapters", TPC_MAP },     { "entities", TPC_ARRAY },
                 { "gateway", TPC_MAP } /* tp-gateway reads it */ };

struct core_option {
    const char *name;
    size_t offset;
    size_t size; /* 4 or 8 bytes */
    bool bytes;  /* a size such as 64MiB; else a plain number */
};

#define OPTION(key, member, is_bytes)                                                              \
    {                                                                                              \
        key, offsetof(struct tpc_core_options, member),                                            \
            sizeof(((struct tpc_core_options *) 0)->member), is_bytes                              \
    }

static const struct core_option core_options[] = {
    OPTION("workers", workers, false),
    OPTION("partitions", partitions, false),
    OPTION("memory_limit", memory_limit_bytes, true),
    OPTION("frame_max", frame_max_bytes, true),
    OPTION("ring", ring_bytes, true),
    OPTION("commands_max", commands_max, false),
    OPTION("device_queue_max", device_queue_max, false),
    OPTION("command_rows_max", command_rows_max, false),
    OPTION("online_delay_ms", online_delay_ms, false),
    OPTION("audit_max_rows", audit_max_rows, false),
    OPTION("history_open", history_open_bytes, true),
    OPTION("history_checkpoint_ms", history_checkpoint_ms, false),
    OPTION("alert_keep_ms", alert_keep_ms, false),
    OPTION("alert_keep_rows", alert_keep_rows, false),
    OPTION("history_keep_ms", history_keep_ms, false),
    OPTION("made_devices_max", made_devices_max, false),
};

static int fail_at(struct config *c, const char *path, const char *text)
{
    unsigned int line = config_line(c, path);
    const char *colon = path[0] != '\0' ? ": " : "";
    if (line != 0) {
        snprintf(c->error, sizeof(c->error), "%s:%u: %s%s%s", c->file, line, path, colon, text);
    } else {
        snprintf(c->error, sizeof(c->error), "%s: %s%s%s", c->file, path, colon, text);
    }
    return -1;
}

/* The library's last error, at `path` of the file plus the path that the error names. Of an open
 * part the error's path begins with the part's name, which `path` ends with already. */
static int fail_part(struct config *c, const char *path, const char *part, int rc)
{
    const struct tpc_error *e = tpc_error_last();
    const char *inside = e->path;
    size_t len = strlen(part);
    char full[300], place[48] = "", text[400];
    if (len > 0 && strncmp(inside, part, len) == 0 && (inside[len] == '.' || inside[len] == '\0')) {
        inside += inside[len] == '.' ? len + 1 : len;
    }
    if (e->line != 0) { /* in a script or an expression, which has lines of its own */
        snprintf(place, sizeof(place),
                 e->column != 0 ? "text line %u, column %u: " : "text line %u: ", e->line,
                 e->column);
    }
    snprintf(full, sizeof(full), "%s%s%s", path, inside[0] != '\0' ? "." : "", inside);
    snprintf(text, sizeof(text), "%s%s (%s)", place, e->text, tpc_error_name(rc));
    return fail_at(c, full, text);
}

static int fail_call(struct config *c, const char *path, int rc)
{
    return fail_part(c, path, "", rc);
}

static int read_size(const struct tpc_value *v, bool bytes, uint64_t *ret)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = { { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 }, { "", 1 } };
    int64_t number;
    if (v->type == TPC_INT && tpc_value_int(v, &number) == 0 && number >= 0) {
        *ret = (uint64_t) number;
        return 0;
    }
    char text[32], *end;
    if (!bytes || v->type != TPC_TEXT || v->len == 0 || v->len >= sizeof(text)) {
        return -1;
    }
    memcpy(text, v->as.text, v->len);
    text[v->len] = '\0';
    unsigned long long n = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (end != text && strcmp(end, units[i].unit) == 0) {
            *ret = n * units[i].factor;
            return 0;
        }
    }
    return -1;
}

/* Value of a hexadecimal digit, or -1. */
static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    return at != NULL ? (int) (at - digits) : -1;
}

/* A key of the core: text of the configuration, most often {secret_file: PATH}. */
static int read_key(struct config *c, const char *path, struct tpc_str text, bool hex,
                    struct tpc_bytes *ret)
{
    if (!hex) {
        *ret = (struct tpc_bytes){ (const uint8_t *) text.ptr, text.len };
        return text.len >= 32 && text.len <= 128 ? 0
                                                 : fail_at(c, path, "32 to 128 bytes are expected");
    }
    uint8_t *key = tpc_arena_take(c->arena, 32);
    bool good = key != NULL && text.len == 64;
    for (size_t i = 0; good && i < 32; i++) {
        int high = digit(text.ptr[2 * i]);
        int low = digit(text.ptr[2 * i + 1]);
        good = high >= 0 && low >= 0;
        key[i] = (uint8_t) (good ? high * 16 + low : 0);
    }
    *ret = (struct tpc_bytes){ key, 32 };
    return good ? 0 : fail_at(c, path, "64 hexadecimal digits are expected");
}

/* A table of the core's own: it checks what stands in it. */
static int read_table(struct config *c, const char *path, const struct tpc_value *v,
                      struct tpc_str *ret)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(v, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(c->arena, buf.cap + 1);
    if (buf.ptr == NULL || tpc_json_write(v, 0, &buf) != 0) {
        return fail_at(c, path, "out of memory");
    }
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return 0;
}

static int read_core_options(struct config *c, struct tpc_core_options *o)
{
    const struct tpc_value *core = tpc_value_get(&c->root, TPC_STR("core"));
    for (size_t i = 0; core != NULL && core->type == TPC_MAP && i < core->len; i++) {
        const struct tpc_member *m = &core->as.members[i];
        const struct core_option *option = NULL;
        char path[200];
        snprintf(path, sizeof(path), "core.%.*s", (int) m->key.len, m->key.ptr);
        for (size_t k = 0; k < sizeof(core_options) / sizeof(core_options[0]); k++) {
            if (tpc_str_equal(m->key, tpc_str_from(core_options[k].name))) {
                option = &core_options[k];
            }
        }
        uint64_t value;
        bool seal = tpc_str_equal(m->key, TPC_STR("secret_key")) != 0;
        if (seal || tpc_str_equal(m->key, TPC_STR("token_key")) != 0) {
            if (read_key(c, path, tpc_value_text(&m->value), seal,
                         seal ? &o->secret_key : &o->token_key) != 0) {
                return -1;
            }
            continue;
        }
        bool report = tpc_str_equal(m->key, TPC_STR("report")) != 0;
        if (report || tpc_str_equal(m->key, TPC_STR("clock")) != 0) {
            if (read_table(c, path, &m->value, report ? &o->report : &o->clock_policy) != 0) {
                return -1;
            }
            continue;
        }
        if (option == NULL) {
            return fail_at(c, path, "unknown key");
        }
        if (read_size(&m->value, option->bytes, &value) != 0 ||
            (option->size == 4 && value > UINT32_MAX)) {
            return fail_at(c, path, option->bytes ? "not a size such as 64MiB" : "not a number");
        }
        if (option->size == 4) {
            uint32_t small = (uint32_t) value;
            memcpy((char *) o + option->offset, &small, sizeof(small));
        } else {
            memcpy((char *) o + option->offset, &value, sizeof(value));
        }
    }
    return 0;
}

static int check_top(struct config *c)
{
    if (c->root.type != TPC_MAP) {
        return fail_at(c, "", "a map is expected");
    }
    for (size_t i = 0; i < c->root.len; i++) {
        const struct tpc_member *m = &c->root.as.members[i];
        char path[200];
        size_t k = 0;
        while (k < sizeof(top_keys) / sizeof(top_keys[0]) &&
               !tpc_str_equal(m->key, tpc_str_from(top_keys[k].name))) {
            k++;
        }
        snprintf(path, sizeof(path), "%.*s", (int) m->key.len, m->key.ptr);
        if (k == sizeof(top_keys) / sizeof(top_keys[0])) {
            return fail_at(c, path, "unknown key");
        }
        /* An empty value (`adapters:` with nothing below) is as if it were not there. */
        if (m->value.type != TPC_NULL && m->value.type != top_keys[k].type) {
            return fail_at(
                c, path, top_keys[k].type == TPC_MAP ? "a map is expected" : "a list is expected");
        }
    }
    return 0;
}

static int add_modules(struct config *c, struct tpc_core *core)
{
    static const struct tpc_module *(*const linked[])(void) = {
#ifdef HAVE_SIM
        tpc_module_sim,
#endif
#ifdef HAVE_LUA
        tpc_module_lua,
#endif
#ifdef HAVE_SQLITE
        tpc_module_sqlite,
#endif
#ifdef HAVE_MQTT
        tpc_module_mqtt,
#endif
#ifdef HAVE_MODBUS
        tpc_module_modbus,
#endif
#ifdef HAVE_HTTP
        tpc_module_http,
#endif
#ifdef HAVE_HTTP_CLIENT
        tpc_module_http_client,
#endif
#ifdef HAVE_SMTP
        tpc_module_smtp,
#endif
#ifdef HAVE_EXEC
        tpc_module_exec,
#endif
#ifdef HAVE_LOG
        tpc_module_log,
#endif
#ifdef HAVE_MQTT_CONNECTOR
        tpc_module_mqtt_connector,
#endif
#ifdef HAVE_MQTT_PUBLISH
        tpc_module_mqtt_publish,
#endif
#ifdef HAVE_TCP
        tpc_module_tcp,
#endif
#ifdef HAVE_THINGSBOARD
        tpc_module_thingsboard,
#endif
#ifdef HAVE_THINGSPANEL
        tpc_module_thingspanel,
#endif
#ifdef HAVE_THINGSPANEL_PLATFORM
        tpc_module_thingspanel_platform,
#endif
#ifdef HAVE_UDP
        tpc_module_udp,
#endif
#ifdef HAVE_WEBHOOK
        tpc_module_webhook,
#endif
        NULL
    };
    for (size_t i = 0; linked[i] != NULL; i++) {
        int rc = tpc_core_add_module(core, linked[i]());
        if (rc != 0) {
            return fail_call(c, "modules", rc);
        }
    }
    const struct tpc_value *list = tpc_value_get(&c->root, TPC_STR("modules"));
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        char path[64], file[512];
        struct tpc_str name = tpc_value_text(&list->as.items[i]);
        snprintf(path, sizeof(path), "modules[%zu]", i);
        if (name.len == 0) {
            return fail_at(c, path, "the path of a shared object is expected");
        }
        snprintf(file, sizeof(file), "%.*s", (int) name.len, name.ptr);
        int rc = tpc_core_load_module(core, file);
        if (rc != 0) {
            return fail_call(c, path, rc);
        }
    }
    return 0;
}

int assemble_core(struct config *c, uint32_t flags, tpc_log_fn *on_log, void *log_user,
                  struct tpc_core **ret)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
#ifdef ASSEMBLE_SMALL
    o.workers = 1;
    o.ring_bytes = 512 << 10; /* room for two frames, each with 4 KiB of its own */
    o.frame_max_bytes = 252 << 10;
#else
    o.workers = 2;
#endif
    o.flags = flags | TPC_CORE_LOAD_ANY;
    o.on_log = on_log;
    o.log_user = log_user;
    if (check_top(c) != 0 || read_core_options(c, &o) != 0) {
        return -1;
    }
    if (o.workers == 0) { /* legal for the library; these programs do not step */
        return fail_at(c, "core.workers", "at least 1 is needed");
    }
    int rc = tpc_core_create(&o, &core);
    if (rc != 0) {
        return fail_call(c, "core", rc);
    }
    if (add_modules(c, core) != 0) {
        tpc_core_destroy(core);
        return -1;
    }
    *ret = core;
    return 0;
}

int assemble_part(struct config *c, struct tpc_core *core, const char *path, struct tpc_str name,
                  const struct tpc_value *part)
{
    char role[130], type[130];
    struct tpc_value options;
    struct tpc_str module = tpc_value_text(tpc_value_get(part, TPC_STR("type")));
    if (part->type != TPC_MAP || module.len == 0) {
        return fail_at(c, path, "type: is missing");
    }
    snprintf(role, sizeof(role), "%.*s", (int) name.len, name.ptr);
    snprintf(type, sizeof(type), "%.*s", (int) module.len, module.ptr);
    if (config_without(c, part, "type", &options) != 0) {
        return -1;
    }
    if (c->dry != NULL) {
        size_t size = strlen(c->dry) + sizeof(role) + 2;
        char *dir = tpc_arena_take(c->arena, size);
        if (dir == NULL) {
            return -1;
        }
        snprintf(dir, size, "%s/%s", c->dry, role);
        if (config_with(c, &options, "dir", dir, &options) != 0) {
            return -1;
        }
    }
    int rc = tpc_core_open_value(core, role, type, &options);
    return rc != 0 ? fail_part(c, path, role, rc) : 0;
}

int assemble_parts(struct config *c, struct tpc_core *core, int parts)
{
    static const struct {
        const char *key, *role;
        int part;
    } roles[] = { { "log", "log", ASSEMBLE_LOG },
                  { "store", "store", ASSEMBLE_STORE },
                  { "entity_store", "entities", ASSEMBLE_STORE },
                  { "history", "history", ASSEMBLE_STORE } };
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        const struct tpc_value *part = tpc_value_get(&c->root, tpc_str_from(roles[i].key));
        if ((parts & roles[i].part) != 0 && part != NULL && part->type != TPC_NULL &&
            assemble_part(c, core, roles[i].key, tpc_str_from(roles[i].role), part) != 0) {
            return -1;
        }
    }
    const struct tpc_value *adapters = tpc_value_get(&c->root, TPC_STR("adapters"));
    c->parts |= parts;
    for (size_t i = 0; (parts & ASSEMBLE_ADAPTERS) != 0 && adapters != NULL &&
                       adapters->type == TPC_MAP && i < adapters->len;
         i++) {
        char path[200];
        const struct tpc_member *m = &adapters->as.members[i];
        snprintf(path, sizeof(path), "adapters.%.*s", (int) m->key.len, m->key.ptr);
        if (assemble_part(c, core, path, m->key, &m->value) != 0) {
            return -1;
        }
    }
    return 0;
}

/* What needs a sink, where none is opened: a tool does not deliver. */
bool assemble_needs_adapters(const char *kind)
{
    return strcmp(kind, "forward") == 0 || strcmp(kind, "handler") == 0;
}

/* One entity of the configuration, to assemble_each()'s function. */
static int tell_entity(struct config *c, const char *path, const struct tpc_value *v,
                       assemble_entity_fn *fn, void *user)
{
    struct assemble_entity e = { .path = path };
    struct tpc_value document;
    char kind[64];
    struct tpc_str text = tpc_value_text(tpc_value_get(v, TPC_STR("kind")));
    if (text.len == 0) {
        return fail_at(c, path,
                       v->type == TPC_MAP ? "kind: is missing" : "a map or a file is expected");
    }
    snprintf(kind, sizeof(kind), "%.*s", (int) text.len, text.ptr);
    if (config_without(c, v, "kind", &document) != 0) {
        return -1;
    }
    e.kind = kind;
    e.tenant = tpc_value_text(tpc_value_get(v, TPC_STR("tenant")));
    e.key = tpc_value_text(tpc_value_get(v, TPC_STR("key")));
    e.json = config_json(c, &document);
    return fn(user, c, &e);
}

static int each_of_file(struct config *c, const char *path, struct tpc_str name,
                        assemble_entity_fn *fn, void *user)
{
    char file[1024];
    struct config other;
    const char *slash = strrchr(c->file, '/');
    int dir = name.len > 0 && name.ptr[0] == '/' ? 0
              : slash != NULL                    ? (int) (slash - c->file) + 1
                                                 : 0;
    snprintf(file, sizeof(file), "%.*s%.*s", dir, c->file, (int) name.len, name.ptr);
    int rc = config_read(&other, file);
    if (rc != 0) {
        fail_at(c, path, other.error);
    }
    other.parts = c->parts;
    bool list = rc == 0 && other.root.type == TPC_ARRAY;
    for (size_t i = 0; rc == 0 && i < (list ? other.root.len : 1); i++) {
        char at[32];
        snprintf(at, sizeof(at), "[%zu]", i);
        rc = tell_entity(&other, list ? at : "", list ? &other.root.as.items[i] : &other.root, fn,
                         user);
        if (rc != 0) {
            snprintf(c->error, sizeof(c->error), "%s", other.error);
        }
    }
    config_free(&other);
    return rc;
}

int assemble_each(struct config *c, assemble_entity_fn *fn, void *user)
{
    const struct tpc_value *list = tpc_value_get(&c->root, TPC_STR("entities"));
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        const struct tpc_value *item = &list->as.items[i];
        char path[64];
        snprintf(path, sizeof(path), "entities[%zu]", i);
        int rc = item->type == TPC_TEXT ? each_of_file(c, path, tpc_value_text(item), fn, user)
                                        : tell_entity(c, path, item, fn, user);
        if (rc != 0) {
            return -1;
        }
    }
    return 0;
}

int assemble_put(struct config *c, struct tpc_core *core, const struct assemble_entity *e)
{
    struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_IMPORT };
    actor.name = tpc_str_from(c->file);
    int rc = tpc_entity_put(core, &actor, e->kind, e->json, TPC_ANY_REV, NULL);
    return rc != 0 ? fail_call(c, e->path, rc) : 0;
}

static int put_each(void *core, struct config *c, const struct assemble_entity *e)
{
    bool skip = (c->parts & ASSEMBLE_ADAPTERS) == 0 && assemble_needs_adapters(e->kind);
    return skip ? 0 : assemble_put(c, core, e);
}

int assemble_entities(struct config *c, struct tpc_core *core)
{
    return assemble_each(c, put_each, core);
}
