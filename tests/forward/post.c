#include "post.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

#include "data/msg.h"
#include "data/option.h"
#include "store/memory.h"

#ifdef WITH_LUA
#include <tpcore/modules.h>
#endif

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    struct post *p = ctx;
    va_list args;
    va_start(args, fmt);
    if (p != NULL) {
        p->last = (struct tpc_error){ .size = sizeof(p->last), .code = code };
        (void) vsnprintf(p->last.text, sizeof(p->last.text), fmt, args);
    }
    va_end(args);
    return code;
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    (void) fmt;
}

static void host_sent(void *ctx, uint64_t ticket, const struct tpc_error *err)
{
    struct post *p = ctx;
    tpi_forward_sent(p->forward, ticket, err);
}

static bool find_sink(void *user, struct tpc_str name, const struct tpc_sink_ops **ret_ops,
                      void **ret_self)
{
    struct post *p = user;
    *ret_ops = &box_ops;
    *ret_self = p->sink;
    return p->sink_open && tpc_str_equal(name, TPC_STR("box"));
}

static uint64_t flushed; /* what the log said last of a flush */

static int stale_info(void *self, struct tpc_bus_info *ret)
{
    int rc = tpi_bus_memory.info(self, ret);
    ret->flushed_sequence = flushed;
    return rc;
}

static uint64_t bad_offset; /* of the record that cannot be read */

static int bad_read(void *self, uint32_t partition, uint64_t from, uint32_t max_records,
                    uint32_t flags, tpc_record_fn *fn, void *user, uint64_t *ret_next)
{
    uint32_t most = from < bad_offset && bad_offset - from < max_records
                        ? (uint32_t) (bad_offset - from)
                        : max_records;
    int rc = 0;
    *ret_next = from;
    if (from != bad_offset) {
        rc = tpi_bus_memory.read(self, partition, from, most, flags, fn, user, ret_next);
    }
    return rc == 0 && *ret_next == bad_offset ? TPC_EIO : rc;
}

static const struct tpc_bus_ops *get_bus(void *user, void **ret_self)
{
    static struct tpc_bus_ops stale, bad;
    struct post *p = user;
    *ret_self = p->log;
    if (p->log != NULL && p->bad_offset > 0) {
        bad_offset = p->bad_offset;
        bad = tpi_bus_memory;
        bad.read = bad_read;
        return &bad;
    }
    if (p->log != NULL && p->unflushed) {
        stale = tpi_bus_memory;
        stale.info = stale_info;
        return &stale;
    }
    if (p->log != NULL) {
        struct tpc_bus_info info;
        (void) tpi_bus_memory.info(p->log, &info);
        flushed = info.flushed_sequence;
    }
    return p->log != NULL ? &tpi_bus_memory : NULL;
}

static uint64_t get_end(void *user, uint32_t partition)
{
    return ((struct post *) user)->ends[partition];
}

static const struct tpc_error *begin_fail(void *user)
{
    struct post *p = user;
    p->last = (struct tpc_error){ .size = sizeof(p->last) };
    return &p->last;
}

static void wake(void *user)
{
    ((struct post *) user)->wakes++;
}

static void append(struct post *p, const struct tpc_msg *m)
{
    struct tpi_buf body;
    uint64_t sequence;
    tpi_buf_init(&body, NULL, 0);
    tk_ok(tpi_msg_encode(m, &body));
    struct tpc_record r = { .size = sizeof(r),
                            .kind = m->kind,
                            .flags = m->flags,
                            .partition = m->partition,
                            .device_id = m->device_id,
                            .unix_ms = tpi_unix_ms(&p->env.env),
                            .received_unix_ms = tpi_unix_ms(&p->env.env),
                            .body = { body.ptr, body.len } };
    tk_ok(tpi_bus_memory.append(p->log, &r, 1, sizeof(r), 0, NULL, &sequence));
    tk_ok(tpi_bus_memory.flush(p->log, 0, NULL, &sequence));
    p->ends[m->partition] = r.offset + 1;
    tpi_buf_fini(&body);
}

static int bury(void *user, const struct tpc_msg *letter, struct tpc_error *err)
{
    struct post *p = user;
    (void) err;
    if (p->letter_code != 0) {
        return p->letter_code;
    }
    struct tpc_str reason = tpc_value_text(tpc_value_get(&letter->params, TPC_STR("reason")));
    struct tpc_str target = tpc_value_text(tpc_value_get(&letter->params, TPC_STR("target")));
    snprintf(p->letter, sizeof(p->letter), "%.*s | %.*s | %.*s", (int) reason.len, reason.ptr,
             (int) target.len, target.ptr, (int) letter->raw.len, (const char *) letter->raw.ptr);
    p->letters++;
    append(p, letter);
    return 0;
}

static void host_count(void *ctx, const char *metric, uint64_t n)
{
    (void) ctx;
    (void) metric;
    (void) n;
}

static const struct tpc_codec_ops *lua_ops(void)
{
#ifdef WITH_LUA
    return TPC_LIST_AT(struct tpc_interface, tpc_module_lua()->interfaces, 0)->ops;
#else
    return NULL;
#endif
}

bool post_has_lua(void)
{
    return lua_ops() != NULL;
}

static void open_lua(struct post *p)
{
    static const struct tpc_value none = { .type = TPC_NULL };
    if (post_has_lua()) {
        p->lua = calloc(1, lua_ops()->instance_size);
        tk_ok(lua_ops()->init(p->lua, &p->host, p, &none, 1));
    }
}

static void close_lua(struct post *p)
{
    if (p->lua != NULL) {
        lua_ops()->fini(p->lua);
        free(p->lua);
    }
}

static int find_codec(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    struct post *p = user;
    if (tpc_str_equal(name, TPC_STR("lua"))) {
        *ret_ops = lua_ops();
        *ret_self = p->lua;
        return *ret_ops != NULL ? 0 : TPC_ENOENT;
    }
    static const struct tpc_codec_ops codec = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                .name = "json" };
    *ret_ops = &codec;
    *ret_self = NULL;
    return 0;
}

static int make(struct post *p)
{
    const struct tpi_env *env = &p->env.env;
    struct tpi_registry_host registry = { .user = p,
                                          .partitions = POST_PARTITIONS,
                                          .codec_find = find_codec };
    int rc = tpi_registry_create(env, &registry, NULL, &p->registry);
    struct tpi_forward_host host = { .user = p,
                                     .registry = p->registry,
                                     .partitions = POST_PARTITIONS,
                                     .script_place = 1,
                                     .sink = find_sink,
                                     .bus = get_bus,
                                     .end = get_end,
                                     .dead = bury,
                                     .fail = begin_fail,
                                     .wake = wake };
    rc = rc != 0 ? rc : tpi_forward_create(env, &host, NULL, &p->forward);
    rc = rc != 0 ? rc : tpi_entities_create(env, &tpi_store_memory, p->store, NULL, &p->entities);
    for (int i = 0; rc == 0 && i < TPI_REGISTRY_KINDS; i++) {
        rc = tpi_entities_add_kind(p->entities, &tpi_registry_kinds(p->registry)[i], &p->err);
    }
    for (int i = 0; rc == 0 && i < TPI_FORWARD_KINDS; i++) {
        rc = tpi_entities_add_kind(p->entities, &tpi_forward_kinds(p->forward)[i], &p->err);
    }
    return rc != 0 ? rc : tpi_entities_load(p->entities, &p->err);
}

static void unmake(struct post *p)
{
    tpi_entities_destroy(p->entities);
    tpi_forward_destroy(p->forward);
    tpi_registry_destroy(p->registry);
    p->entities = NULL;
    p->forward = NULL;
    p->registry = NULL;
}

int post_restart(struct post *p)
{
    unmake(p);
    return make(p);
}

static void open_log(struct post *p, const char *options)
{
    struct tpc_arena *arena;
    struct tpc_value given, cfg;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, tpc_str_from(options != NULL ? options : "{}"), 0, NULL, &given));
    tk_ok(tpi_option_check(&tpi_bus_memory.options, &given, 0, arena, NULL, &cfg));
    p->log = calloc(1, tpi_bus_memory.instance_size);
    tk_ok(tpi_bus_memory.init(p->log, &p->host, p, &cfg, POST_PARTITIONS));
    tpc_arena_destroy(arena);
}

struct post *post_new(const char *log_options)
{
    struct post *p = calloc(1, sizeof(*p));
    box_reset();
    tk_env_init(&p->env);
    p->host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                                 .allocator = tpc_allocator_default(),
                                 .clock = &p->env.clock.base,
                                 .random = tpi_random_system(),
                                 .files = tpi_files_system(),
                                 .sent = host_sent,
                                 .count = host_count,
                                 .log = host_log,
                                 .fail = host_fail };
    p->store = calloc(1, tpi_store_memory.instance_size);
    tk_ok(tpi_store_memory.init(p->store, &p->host, p, NULL));
    open_log(p, log_options);
    p->sink = calloc(1, box_ops.instance_size);
    tk_ok(box_ops.init(p->sink, &p->host, p, NULL));
    p->sink_open = true;
    open_lua(p);
    tk_ok(make(p));
    tk_ok(post_put(p, "product",
                   "{'key':'thermo','model':{'properties':["
                   "{'id':'n','type':'int','access':'r'},"
                   "{'id':'temperature','type':'double','access':'r'}]}}"));
    for (int i = 1; i <= 8; i++) {
        char json[64];
        snprintf(json, sizeof(json), "{'key':'t%d','product':'thermo'}", i);
        tk_ok(post_put(p, "device", json));
    }
    return p;
}

void post_free(struct post *p)
{
    unmake(p);
    close_lua(p);
    tpi_bus_memory.fini(p->log);
    tpi_store_memory.fini(p->store);
    free(p->sink);
    free(p->log);
    free(p->store);
    ck_assert_uint_eq(box.open, 0);
    tk_env_fini(&p->env);
    free(p);
}

void post_start(struct post *p)
{
    tk_ok(tpi_forward_open(p->forward, &p->err));
    tpi_forward_start(p->forward);
}

void post_stop(struct post *p)
{
    tpi_forward_halt(p->forward);
    box_ops.stop(p->sink);
    tpi_forward_finish(p->forward);
}

int post_put(struct post *p, const char *kind, const char *json)
{
    char text[4096];
    size_t len = strlen(json);
    ck_assert_uint_lt(len, sizeof(text));
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    p->err = (struct tpc_error){ .size = sizeof(p->err) };
    int rc = tpi_entities_put(p->entities, NULL, kind, (struct tpc_str){ text, len }, TPC_ANY_REV,
                              &p->err, NULL);
    ck_assert_msg(rc == 0 || p->err.code == rc, "%d %d", rc, p->err.code);
    return rc;
}

int post_delete(struct post *p, const char *kind, const char *key)
{
    return tpi_entities_delete(p->entities, NULL, TPC_STR("main"), kind, tpc_str_from(key),
                               TPC_ANY_REV, &p->err);
}

static struct tpc_device *open_device(struct post *p, const char *key)
{
    struct tpc_device *d = NULL;
    tk_ok(tpi_registry_open(p->registry, TPC_STR("main"), tpc_str_from(key), NULL, &d));
    return d;
}

void post_say(struct post *p, const char *device, int64_t n)
{
    struct tpc_device *d = open_device(p, device);
    struct tpc_point point = { .value = { .type = TPC_INT, .as.i = n } };
    tpi_registry_read_lock(p->registry);
    int index = tpi_model_find(d->product->model, TPC_STR("n"), NULL);
    point.property = tpi_model_property(d->product->model, (uint32_t) index)->id;
    tpi_registry_read_unlock(p->registry);
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .partition = d->partition,
                         .device_id = d->id,
                         .point_count = 1,
                         .point_size = sizeof(point),
                         .points = &point };
    append(p, &m);
    tpi_device_unref(d);
}

void post_event(struct post *p, const char *device, int64_t n)
{
    struct tpc_device *d = open_device(p, device);
    struct tpc_member member = { TPC_STR("n"), { .type = TPC_INT, .as.i = n } };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_EVENT,
                         .partition = d->partition,
                         .device_id = d->id,
                         .name = TPC_STR("alarm"),
                         .point_size = sizeof(struct tpc_point),
                         .params = { .type = TPC_MAP, .len = 1, .as.members = &member } };
    append(p, &m);
    tpi_device_unref(d);
}

void post_count(struct post *p, int64_t from, int64_t to)
{
    for (int64_t n = from; n <= to; n++) {
        post_say(p, "t1", n);
    }
}

void post_notify(struct post *p, const char *handler, const char *device, int64_t n)
{
    struct tpc_device *d = device[0] != '\0' ? open_device(p, device) : NULL;
    struct tpc_str tenant = tpc_str_from(p->notify_tenant);
    struct tpc_member members[] = {
        { TPC_STR("n"), { .type = TPC_INT, .as.i = n } },
        { TPC_STR("tenant"), { .type = TPC_TEXT, .len = tenant.len, .as.text = tenant.ptr } },
    };
    struct tpc_msg m = {
        .size = sizeof(m),
        .kind = TPC_MSG_NOTIFY,
        .partition = d != NULL ? d->partition : 0,
        .device_id = d != NULL ? d->id : 0,
        .name = tpc_str_from(handler),
        .point_size = sizeof(struct tpc_point),
        .params = { .type = TPC_MAP, .len = tenant.len > 0 ? 2 : 1, .as.members = members }
    };
    append(p, &m);
    tpi_device_unref(d);
}

void post_run(struct post *p)
{
    int turns = 0;
    while (tpi_forward_turn(p->forward)) {
        ck_assert_int_lt(++turns, 100000);
    }
}

void post_wait(struct post *p, uint64_t ms)
{
    tk_clock_advance(&p->env.clock, ms);
    post_run(p);
}

static int keep_info(void *user, const struct tpc_forward_info *info)
{
    *(struct tpc_forward_info *) user = *info;
    return 0;
}

struct tpc_forward_info post_info(struct post *p, const char *key)
{
    struct tpc_forward_info info = { .size = 0 };
    struct tpc_str any = { NULL, 0 };
    tk_ok(tpi_forward_info(p->forward, TPC_STR("main"), any, tpc_str_from(key), keep_info, &info));
    return info;
}
