#include "house.h"
#include "rules/group.h"

#include "base/alloc.h"
#include "base/map.h"
#include "data/msg.h"
#include "store/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    (void) ctx;
    (void) fmt;
    return code;
}

static const struct tpc_host *store_host(void)
{
    static struct tpc_host host;
    host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                              .allocator = tpc_allocator_default(),
                              .clock = tpi_clock_system(),
                              .random = tpi_random_system(),
                              .files = tpi_files_system(),
                              .fail = host_fail };
    return &host;
}

static int find_codec(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    static const struct tpc_codec_ops codec = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                .name = "json" };
    (void) user;
    (void) name;
    *ret_ops = &codec;
    *ret_self = NULL;
    return 0;
}

static int on_command(void *user, uint32_t worker, const struct tpi_rule_command *c)
{
    struct house *h = user;
    ck_assert_uint_lt(worker, HOUSE_WORKERS);
    unsigned n = atomic_fetch_add(&h->command_count, 1);
    if (h->count_only) {
        return h->command_code;
    }
    ck_assert_uint_lt(n, HOUSE_COMMANDS);
    uint8_t json[64];
    struct tpc_buf buf = { json, sizeof(json), 0 };
    tk_ok(tpc_json_write(c->params, 0, &buf));
    struct house_command *out = &h->commands[n];
    tpi_chain_of(c, &h->links[n]);
    out->id = c->id;
    out->again = c->again;
    out->priority = c->priority;
    out->timeout_ms = c->timeout_ms;
    out->retries = c->retries;
    snprintf(out->text, sizeof(out->text), "%.*s %.*s %.*s %.*s",
             c->source != NULL ? (int) c->source->key.len : 1,
             c->source != NULL ? c->source->key.ptr : "-", (int) c->target->key.len,
             c->target->key.ptr, (int) c->service.len, c->service.ptr, (int) buf.need,
             (const char *) json);
    return h->command_code;
}

static int on_input(struct house *h, const struct tpi_rule_message *m)
{
    struct house_input *in = &h->inputs[h->input_count];
    ck_assert_uint_lt(h->input_count, HOUSE_INPUTS);
    ck_assert_uint_le(m->raw.len, sizeof(in->raw));
    if (h->input_code != 0) {
        return h->input_code;
    }
    *in = (struct house_input){ .partition = m->partition,
                                .received_unix_ms = m->received_unix_ms,
                                .len = m->raw.len };
    memcpy(in->raw, m->raw.ptr, m->raw.len);
    h->input_count++;
    return 0;
}

void house_inputs(struct house *h)
{
    for (; h->input_done < h->input_count; h->input_done++) {
        const struct house_input *in = &h->inputs[h->input_done];
        struct tpc_msg m = { .size = sizeof(m),
                             .kind = TPI_MSG_RULE_INPUT,
                             .partition = in->partition,
                             .offset = h->offset++,
                             .unix_ms = in->received_unix_ms,
                             .received_unix_ms = in->received_unix_ms,
                             .raw = { in->raw, in->len } };
        uint32_t worker = in->partition % HOUSE_WORKERS;
        tpi_registry_read_lock(h->registry);
        tpi_rules_begin(h->rules, worker);
        tpi_rules_input(h->rules, worker, &m);
        tpi_rules_end(h->rules, worker);
        tpi_registry_read_unlock(h->registry);
    }
}

static int on_fan(void *user, uint32_t worker, struct tpi_fan *fan)
{
    struct house *h = user;
    if (h->command_code != 0) {
        return h->command_code;
    }
    ck_assert_uint_lt(h->fan_count, HOUSE_FANS);
    h->fans[h->fan_count++] = (struct house_fan){ fan, worker };
    return 0;
}

static int on_switch(void *user, uint32_t worker, const struct tpi_rule_switch *s)
{
    struct house *h = user;
    (void) worker;
    if (h->command_code != 0) {
        return h->command_code;
    }
    ck_assert_uint_lt(h->switch_count, 16);
    snprintf(h->switches[h->switch_count++], sizeof(h->switches[0]), "%.*s %.*s %.*s %s",
             (int) s->by.len, s->by.ptr, (int) s->kind.len, s->kind.ptr, (int) s->key.len,
             s->key.ptr, s->enabled ? "on" : "off");
    return 0;
}

struct house_found {
    struct tpc_str product;
    uint64_t devices[TPI_RULES_MAX_TARGETS];
    uint32_t count;
    bool more;
};

static int find_device(void *user, struct tpc_device *d)
{
    struct house_found *f = user;
    if (f->product.len > 0
            ? !tpc_str_equal(f->product, d->product->key)
            : !tpc_str_equal(d->key, TPC_STR("t1")) && !tpc_str_equal(d->key, TPC_STR("t2"))) {
        return 0;
    }
    if (f->count == TPI_RULES_MAX_TARGETS) {
        f->more = true;
        return 0;
    }
    f->devices[f->count++] = d->id;
    return 0;
}

static void do_fans(struct house *h)
{
    for (unsigned i = 0; i < h->fan_count; i++) {
        const struct house_fan *x = &h->fans[i];
        struct house_found f = { .product = x->fan->product };
        tpi_registry_read_lock(h->registry);
        tk_ok(tpi_registry_each_device(h->registry, find_device, &f));
        tpi_registry_read_unlock(h->registry);
        int code = tpc_str_equal(x->fan->group, TPC_STR("nobody")) ? TPC_ENOENT : 0;
        tpi_fan_done(h->rules, x->worker, x->fan, code, f.devices, f.count, f.more);
    }
    h->fan_count = 0;
}

void house_settle(struct house *h)
{
    unsigned n = h->count_only ? 0 : atomic_load(&h->command_count);
    do_fans(h);
    for (unsigned i = 0; i < n; i++) {
        if (h->links[i].hops > 0) {
            tpi_chain_sent(h->rules, h->links[i].partition % HOUSE_WORKERS, &h->links[i]);
            h->links[i].hops = 0;
        }
    }
}

static int on_message(void *user, uint32_t worker, const struct tpi_rule_message *m)
{
    struct house *h = user;
    ck_assert_uint_lt(worker, HOUSE_WORKERS);
    if (m->kind == TPI_MSG_RULE_INPUT) {
        return on_input(h, m);
    }
    unsigned n = atomic_fetch_add(&h->message_count, 1);
    ck_assert_uint_lt(n, HOUSE_COMMANDS);
    uint8_t json[160];
    struct tpc_buf buf = { json, sizeof(json), 0 };
    tk_ok(tpc_json_write(m->params, 0, &buf));
    struct house_message *out = &h->messages[n];
    out->id = m->id;
    out->partition = m->partition;
    snprintf(out->text, sizeof(out->text), "%.*s %s %s %.*s %.*s", (int) m->by.len, m->by.ptr,
             tpc_kind_name(m->kind), m->device != NULL ? m->device->key.ptr : "-",
             (int) m->name.len, m->name.ptr, (int) buf.need, (const char *) json);
    return h->command_code;
}

static const char *of(const struct tpc_value *params, const char *key)
{
    const struct tpc_value *v = tpc_value_get(params, tpc_str_from(key));
    struct tpc_str s = v != NULL ? tpc_value_text(v) : (struct tpc_str){ NULL, 0 };
    return s.len > 0 ? s.ptr : "-";
}

static int on_alert(void *user, uint32_t worker, const struct tpi_alert_message *messages,
                    uint32_t count)
{
    struct house *h = user;
    ck_assert_uint_lt(worker, HOUSE_WORKERS);
    for (uint32_t i = 0; h->told_code == 0 && i < count; i++) {
        const struct tpi_alert_message *m = &messages[i];
        ck_assert_uint_lt(h->told_count, HOUSE_TOLD);
        struct house_told *t = &h->told[h->told_count];
        struct tpc_msg msg = { .size = sizeof(msg),
                               .kind = m->kind,
                               .id = m->id,
                               .name = m->name,
                               .origin = m->by,
                               .params = m->params };
        struct tpi_buf body;
        tpi_buf_init(&body, NULL, 0);
        tk_ok(tpi_msg_encode(&msg, &body));
        *t = (struct house_told){ .id = m->id,
                                  .kind = m->kind,
                                  .device_id = m->device_id,
                                  .unix_ms = m->unix_ms,
                                  .partition = m->partition,
                                  .body = body.ptr,
                                  .len = body.len };
        bool alert = m->kind == TPC_MSG_ALERT;
        const char *change = of(&m->params, "change");
        const char *severity = of(&m->params, "severity");
        snprintf(t->text, sizeof(t->text), "%s %.*s %s %s", alert ? change : "notify",
                 (int) m->name.len, m->name.ptr, alert ? of(&m->params, "device") : change,
                 severity);
        h->told_count++;
    }
    return h->told_code;
}

static bool on_said(void *user, const struct tpc_id *id)
{
    struct house *h = user;
    for (unsigned i = 0; i < h->said_count; i++) {
        if (memcmp(&h->told[i].id, id, sizeof(*id)) == 0) {
            return true;
        }
    }
    return false;
}

/* As the core does it: a changed product has its scenes compiled again. */
static void on_change(void *user, const struct tpc_actor *actor, const struct tpi_change *change)
{
    struct house *h = user;
    (void) actor;
    if (strcmp(change->kind->name, "product") == 0) {
        tpi_rules_product_changed(h->rules, change->id);
    }
}

static void on_wake(void *user, uint32_t worker)
{
    struct house *h = user;
    ck_assert_uint_lt(worker, HOUSE_WORKERS);
    atomic_fetch_add(&h->wakes, 1);
}

static int start(struct house *h)
{
    const struct tpi_env *env = &h->env.env;
    struct tpi_registry_host registry_host = { .partitions = HOUSE_PARTITIONS,
                                               .codec_find = find_codec };
    tk_ok(tpi_registry_create(env, &registry_host, NULL, &h->registry));
    struct tpi_rules_host host = { .user = h,
                                   .registry = h->registry,
                                   .workers = HOUSE_WORKERS,
                                   .partitions = HOUSE_PARTITIONS,
                                   .command = on_command,
                                   .message = on_message,
                                   .fan = on_fan,
                                   .change = on_switch,
                                   .wake = on_wake,
                                   .zone_dir = ZONE_DIR };
    tk_ok(tpi_rules_create(env, &host, NULL, &h->rules));
    struct tpi_alerts_host alerts = h->alert_limits;
    alerts.user = h;
    alerts.registry = h->registry;
    alerts.workers = HOUSE_WORKERS;
    alerts.append = on_alert;
    alerts.said = on_said;
    tk_ok(tpi_alerts_create(env, &alerts, NULL, &h->alerts));
    tk_ok(tpi_entities_create(env, &tpi_store_memory, h->store, NULL, &h->entities));
    for (int i = 0; i < TPI_REGISTRY_KINDS; i++) {
        tk_ok(tpi_entities_add_kind(h->entities, &tpi_registry_kinds(h->registry)[i], &h->err));
    }
    int rc = tpi_entities_add_kind(h->entities, tpi_rules_kind(h->rules), &h->err);
    rc = rc != 0 ? rc
                 : tpi_entities_add_kind(h->entities, tpi_rules_schedule_kind(h->rules), &h->err);
    rc = rc != 0 ? rc : tpi_entities_add_kind(h->entities, tpi_rules_data_kind(h->rules), &h->err);
    ck_assert_msg(rc == 0, "%s", h->err.text);
    rc = tpi_entities_add_kind(h->entities, tpi_alerts_kind(h->alerts), &h->err);
    ck_assert_msg(rc == 0, "%s", h->err.text);
    tk_ok(tpi_entities_on_change(h->entities, on_change, h));
    return tpi_entities_load(h->entities, &h->err);
}

static void stop(struct house *h)
{
    tpi_entities_destroy(h->entities);
    tpi_alerts_destroy(h->alerts);
    tpi_rules_destroy(h->rules);
    tpi_registry_destroy(h->registry);
}

int house_restart(struct house *h)
{
    stop(h);
    return start(h);
}

struct house *house_new(void)
{
    struct house *h = calloc(1, sizeof(*h));
    tk_env_init(&h->env);
    h->store = calloc(1, tpi_store_memory.instance_size);
    tk_ok(tpi_store_memory.init(h->store, store_host(), NULL, NULL));
    tk_ok(start(h));
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'temperature','type':'double','access':'r'},"
                    "{'id':'humidity','type':'int','access':'r'},"
                    "{'id':'on','type':'bool','access':'rw'},"
                    "{'id':'mode','type':'text','access':'rw'}]}}"));
    tk_ok(house_put(h, "product",
                    "{'key':'fan','model':{'properties':["
                    "{'id':'on','type':'bool','access':'rw'},"
                    "{'id':'level','type':'int','access':'rw','min':0,'max':5}],"
                    "'services':[{'id':'boost','input':["
                    "{'id':'level','type':'int','min':0,'max':5}]}]}}"));
    tk_ok(house_put(h, "device", "{'key':'t1','product':'thermo'}"));
    tk_ok(house_put(h, "device", "{'key':'t2','product':'thermo'}"));
    tk_ok(house_put(h, "device", "{'key':'t3','product':'thermo'}"));
    tk_ok(house_put(h, "device", "{'key':'fan-1','product':'fan'}"));
    return h;
}

void house_free(struct house *h)
{
    stop(h);
    for (unsigned i = 0; i < h->told_count; i++) {
        tpi_free(NULL, h->told[i].body, 0);
    }
    tpi_store_memory.fini(h->store);
    free(h->store);
    tk_env_fini(&h->env);
    free(h);
}

int house_put(struct house *h, const char *kind, const char *json)
{
    char text[4096];
    size_t len = strlen(json);
    ck_assert_uint_lt(len, sizeof(text));
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    h->err = (struct tpc_error){ .size = sizeof(h->err) };
    int rc = tpi_entities_put(h->entities, NULL, kind, (struct tpc_str){ text, len }, TPC_ANY_REV,
                              &h->err, NULL);
    ck_assert_msg(rc == 0 || h->err.code == rc, "%d %d", rc, h->err.code);
    return rc;
}

int house_delete(struct house *h, const char *kind, const char *key)
{
    return tpi_entities_delete(h->entities, NULL, TPC_STR("main"), kind, tpc_str_from(key),
                               TPC_ANY_REV, &h->err);
}

int house_scene(struct house *h, const char *key, const char *expr, const char *fire)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{'key':'%s','when':{'product':'thermo','expr':'%s','fire':'%s'},"
             "'then':[{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}",
             key, expr, fire);
    return house_put(h, "scene", json);
}

static struct tpc_value make_value(const struct tpi_property *p, double d)
{
    struct tpc_value v = { .type = p->value_type };
    switch (p->value_type) {
    case TPC_BOOL:
        v.as.b = d != 0;
        break;
    case TPC_INT:
        v.as.i = (int64_t) d;
        break;
    default:
        v.as.d = d;
        break;
    }
    return v;
}

void house_message(struct house *h, struct tpc_device *device, uint64_t offset,
                   const struct house_point *points, size_t count)
{
    uint32_t worker = device->partition % HOUSE_WORKERS;
    struct tpc_point list[8];
    ck_assert_uint_le(count, 8);
    tpi_registry_read_lock(h->registry);
    for (size_t i = 0; i < count; i++) {
        const struct tpi_model *model = device->product->model;
        int index = tpi_model_find(model, tpc_str_from(points[i].key), NULL);
        ck_assert_int_ge(index, 0);
        const struct tpi_property *p = tpi_model_property(model, (uint32_t) index);
        list[i] = (struct tpc_point){ .property = p->id, .value = make_value(p, points[i].value) };
    }
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = h->data_kind != 0 ? h->data_kind : TPC_MSG_TELEMETRY,
                         .partition = device->partition,
                         .offset = offset,
                         .device_id = device->id,
                         .unix_ms = h->event_ms,
                         .received_unix_ms = tpi_unix_ms(&h->env.env),
                         .point_count = (uint32_t) count,
                         .point_size = sizeof(list[0]),
                         .points = list };
    tpi_rules_begin(h->rules, worker);
    tpi_rules_before(h->rules, worker, device, &m);
    for (size_t i = 0; i < count; i++) {
        int index = tpi_model_find(device->product->model, tpc_str_from(points[i].key), NULL);
        tk_ok(tpi_device_latest_set(device, (uint32_t) index, &list[i].value,
                                    1000 + (int64_t) offset));
    }
    tpi_rules_message(h->rules, worker, device, &m);
    tpi_rules_end(h->rules, worker);
    tpi_registry_read_unlock(h->registry);
}

void house_say(struct house *h, const char *device, const struct house_point *points, size_t count)
{
    struct tpc_device *d = NULL;
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), tpc_str_from(device), NULL, &d));
    house_message(h, d, h->offset++, points, count);
    tpi_device_unref(d);
    house_inputs(h);
}

void house_temperature(struct house *h, const char *device, double value)
{
    struct house_point p = { "temperature", value };
    house_say(h, device, &p, 1);
}

void house_tell(struct house *h, const char *device, uint16_t kind, const char *name, bool online)
{
    struct tpc_device *d = NULL;
    const struct tpc_member member = { TPC_STR("online"), { .type = TPC_BOOL, .as.b = online } };
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), tpc_str_from(device), NULL, &d));
    uint32_t worker = d->partition % HOUSE_WORKERS;
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = kind,
                         .partition = d->partition,
                         .offset = h->offset++,
                         .device_id = d->id,
                         .received_unix_ms = tpi_unix_ms(&h->env.env),
                         .name = tpc_str_from(name),
                         .params = { .type = TPC_MAP, .len = 1, .as.members = &member } };
    tpi_registry_read_lock(h->registry);
    tpi_rules_begin(h->rules, worker);
    tpi_rules_message(h->rules, worker, d, &m);
    tpi_rules_end(h->rules, worker);
    tpi_registry_read_unlock(h->registry);
    tpi_device_unref(d);
}

uint32_t house_wait(struct house *h, uint64_t ms)
{
    uint32_t fired = 0;
    tk_clock_advance(&h->env.clock, ms);
    for (uint32_t w = 0; w < HOUSE_WORKERS; w++) {
        fired += tpi_rules_turn(h->rules, w);
    }
    return fired;
}

static int keep_id(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                   struct tpc_str json)
{
    (void) key;
    (void) json;
    *(uint64_t *) user = info->id;
    return 0;
}

uint64_t house_id(struct house *h, const char *kind, const char *key)
{
    uint64_t id = 0;
    tk_ok(tpi_entities_get(h->entities, TPC_STR("main"), kind, tpc_str_from(key), NULL, keep_id,
                           &id));
    return id;
}
