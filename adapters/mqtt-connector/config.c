#include "config.h"

#include "../mqtt/connection.h"
#include "date.h"

#include <stdio.h>
#include <string.h>

#include "data/member.h"

enum { WHERE_MAX = 96, HOLD_MS = 2000 };

struct reader {
    const struct tpc_host *host;
    void *ctx;
    struct cn_config *config;
    char where[WHERE_MAX]; /* "mappings[2]." */
    int rc;                /* of the first failure; the host was told */
};

/* Notes a failure; the first counts. */
static void fail(struct reader *r, int code, const char *member, const struct tpc_error *err,
                 const char *why)
{
    if (r->rc != 0) {
        return;
    }
    char column[32] = "";
    if (err != NULL && err->column > 0) {
        snprintf(column, sizeof(column), "column %u: ", (unsigned) err->column);
    }
    r->rc = r->host->fail(r->ctx, code, "%s%s: %s%s", r->where, member, column,
                          err != NULL ? err->text : why);
}

static void *take(struct reader *r, size_t count, size_t size)
{
    void *p = r->rc == 0 ? tpc_arena_take(r->config->arena, count * size + 1) : NULL;
    if (p == NULL) {
        fail(r, TPC_ENOMEM, "options", NULL, "no memory for them");
        return NULL;
    }
    memset(p, 0, count * size + 1);
    return p;
}

static bool is(const struct tpc_value *map, const char *member, const char *text)
{
    return tpc_str_equal(tpi_member_text(map, member), tpc_str_from(text)) != 0;
}

/* ---- texts that are compiled ---- */

static void read_expr(struct reader *r, const struct tpc_value *map, const char *member,
                      enum expr_kind kind, struct expr *ret)
{
    struct tpc_error err = { .size = sizeof(err) };
    if (r->rc == 0) {
        int rc = expr_compile(r->config->arena, tpi_member_text(map, member), kind, &err, ret);
        if (rc != 0) {
            fail(r, rc, member, &err, NULL);
        }
    }
}

/* `member` in the way that `source` says. */
static void read_sourced(struct reader *r, const struct tpc_value *map, const char *member,
                         const char *source, enum expr_kind message, struct expr *ret)
{
    enum expr_kind kind = is(map, source, "constant") ? EXPR_CONSTANT
                          : is(map, source, "topic")  ? EXPR_TOPIC
                                                      : message;
    read_expr(r, map, member, kind, ret);
}

static void read_say(struct reader *r, const struct tpc_value *map, const char *member,
                     struct say *ret)
{
    struct tpc_error err = { .size = sizeof(err) };
    if (r->rc == 0) {
        int rc = say_compile(r->config->arena, tpi_member_text(map, member), &err, ret);
        if (rc != 0) {
            fail(r, rc, member, &err, NULL);
        }
    }
}

static void read_pick(struct reader *r, const struct tpc_value *map, const char *member,
                      struct pick *ret)
{
    struct tpc_error err = { .size = sizeof(err) };
    if (r->rc == 0) {
        int rc = pick_compile(r->config->arena, tpi_member_text(map, member), &err, ret);
        if (rc != 0) {
            fail(r, rc, member, &err, NULL);
        }
    }
}

/* ---- lists ---- */

bool cn_filter_valid(struct tpc_str filter)
{
    bool ok = filter.len > 0;
    for (size_t i = 0; ok && i < filter.len; i++) {
        char c = filter.ptr[i];
        bool begins = i == 0 || filter.ptr[i - 1] == '/';
        bool ends = i + 1 == filter.len || filter.ptr[i + 1] == '/';
        ok = c != '\0' && (c != '+' || (begins && ends)) &&
             (c != '#' || (begins && i + 1 == filter.len));
    }
    return ok;
}

static void read_from(struct reader *r, const struct tpc_value *map, enum expr_kind message,
                      bool typed, struct cn_from *ret)
{
    ret->filter = tpi_member_text(map, "topic");
    ret->qos = (uint32_t) tpi_member_int(map, "qos", 1);
    if (!cn_filter_valid(ret->filter)) {
        fail(r, TPC_EINVAL, "topic", NULL, "it is no topic filter");
    }
    read_sourced(r, map, "device", "device_source", message, &ret->device);
    if (typed) {
        read_sourced(r, map, "type", "type_source", message, &ret->type);
    }
}

static void read_entry(struct reader *r, const struct tpc_value *map, enum expr_kind kind,
                       struct cn_entry *e)
{
    e->all = is(map, "key", "*");
    e->type = cast_of(tpi_member_text(map, "type"));
    e->date_flags = (tpi_member_bool(map, "day_first", false) ? DATE_DAY_FIRST : 0U) |
                    (tpi_member_bool(map, "year_first", false) ? DATE_YEAR_FIRST : 0U);
    e->has_time = tpi_member(map, "time") != NULL;
    if (e->has_time) {
        read_expr(r, map, "time", kind, &e->time);
    }
    if (e->all) {
        if (kind != EXPR_JSON) {
            fail(r, TPC_EINVAL, "key", NULL, "* stands for the members of JSON");
        }
        return;
    }
    if (tpi_member(map, "value") == NULL) {
        fail(r, TPC_EINVAL, "value", NULL, "it is needed, unless key is *");
    }
    read_sourced(r, map, "key", "key_source", kind, &e->key);
    read_expr(r, map, "value", kind, &e->value);
}

static void read_entries(struct reader *r, const struct tpc_value *mapping, const char *member,
                         enum expr_kind kind, struct cn_entries *ret)
{
    const struct tpc_value *list = tpi_member(mapping, member);
    size_t n = list != NULL ? list->len : 0;
    size_t where = strlen(r->where);
    ret->items = take(r, n, sizeof(*ret->items));
    for (size_t i = 0; r->rc == 0 && i < n; i++) {
        snprintf(r->where + where, sizeof(r->where) - where, "%s[%zu].", member, i);
        read_entry(r, &list->as.items[i], kind, &ret->items[i]);
        ret->count++;
    }
    r->where[where] = '\0';
}

static void read_mapping(struct reader *r, const struct tpc_value *map, void *item)
{
    struct cn_mapping *m = item;
    m->converter = is(map, "converter", "bytes") ? CN_BYTES
                   : is(map, "converter", "raw") ? CN_RAW
                                                 : CN_JSON;
    enum expr_kind kind = m->converter == CN_BYTES ? EXPR_BYTES : EXPR_JSON;
    m->hex = tpi_member_bool(map, "hex", false);
    m->received_time = tpi_member_bool(map, "received_time", false);
    read_from(r, map, kind, true, &m->from);
    read_entries(r, map, "attributes", kind, &m->attributes);
    read_entries(r, map, "timeseries", kind, &m->timeseries);
    if (m->converter != CN_RAW && m->attributes.count + m->timeseries.count == 0) {
        fail(r, TPC_EINVAL, "timeseries", NULL, "neither attributes nor timeseries are there");
    }
}

static void read_connect(struct reader *r, const struct tpc_value *map, void *item)
{
    read_from(r, map, EXPR_JSON, true, item);
}

static void read_disconnect(struct reader *r, const struct tpc_value *map, void *item)
{
    read_from(r, map, EXPR_JSON, false, item);
}

static void read_request(struct reader *r, const struct tpc_value *map, void *item)
{
    struct cn_request *q = item;
    read_from(r, map, EXPR_JSON, false, &q->from);
    read_sourced(r, map, "name", "name_source", EXPR_JSON, &q->name);
    q->client = is(map, "scope", "client");
    q->retain = tpi_member_bool(map, "retain", false);
    read_say(r, map, "answer_topic", &q->topic);
    read_say(r, map, "answer", &q->answer);
}

static void read_update(struct reader *r, const struct tpc_value *map, void *item)
{
    struct cn_update *u = item;
    read_pick(r, map, "devices", &u->devices);
    read_pick(r, map, "attributes", &u->attributes);
    read_say(r, map, "topic", &u->topic);
    read_say(r, map, "value", &u->value);
    u->qos = (uint32_t) tpi_member_int(map, "publish_qos", 1);
    u->retain = tpi_member_bool(map, "retain", false);
}

static void read_answer(struct reader *r, const struct tpc_value *map, struct cn_rpc *p)
{
    struct tpi_buf filter;
    read_say(r, map, "answer_topic", &p->answer);
    tpi_buf_init(&filter, r->host->allocator, CN_TOPIC_MAX);
    if (r->rc == 0) {
        int rc = say_filter(&p->answer, &filter);
        char *copy = rc == 0 ? take(r, filter.len, 1) : NULL;
        if (copy != NULL) {
            memcpy(copy, filter.ptr, filter.len);
            p->filter = (struct tpc_str){ copy, filter.len };
        } else if (rc != 0) {
            fail(r, rc, "answer_topic", NULL, "no topic can be made of it");
        }
    }
    tpi_buf_fini(&filter);
}

static void read_rpc(struct reader *r, const struct tpc_value *map, void *item)
{
    struct cn_rpc *p = item;
    read_pick(r, map, "devices", &p->devices);
    read_pick(r, map, "methods", &p->methods);
    read_say(r, map, "topic", &p->topic);
    read_say(r, map, "value", &p->value);
    p->two_way = tpi_member(map, "answer_topic") != NULL;
    if (p->two_way) {
        read_answer(r, map, p);
    }
    p->answer_qos = (uint32_t) tpi_member_int(map, "answer_qos", 1);
    p->timeout_ms = (uint32_t) tpi_member_int(map, "timeout", 5000);
    p->qos = (uint32_t) tpi_member_int(map, "publish_qos", 1);
    p->retain = tpi_member_bool(map, "retain", false);
}

/* Reads each item of a list into one of `size` bytes. */
static void *read_list(struct reader *r, const struct tpc_value *cfg, const char *member,
                       size_t size, void (*read)(struct reader *, const struct tpc_value *, void *),
                       uint32_t *ret_count)
{
    const struct tpc_value *list = tpi_member(cfg, member);
    size_t n = list != NULL ? list->len : 0;
    char *items = take(r, n, size);
    for (size_t i = 0; r->rc == 0 && i < n; i++) {
        snprintf(r->where, sizeof(r->where), "%s[%zu].", member, i);
        read(r, &list->as.items[i], items + i * size);
    }
    r->where[0] = '\0';
    *ret_count = (uint32_t) n;
    return items;
}

int cn_config_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                   struct cn_config *ret)
{
    struct reader r = { .host = host, .ctx = ctx, .config = ret };
    struct cn_config *c = ret;
    memset(c, 0, sizeof(*c));
    if (tpc_arena_create(host->allocator, 0, &c->arena) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the options");
    }
    c->tenant = tpi_member_text(cfg, "tenant");
    c->cbor = is(cfg, "format", "cbor");
    c->ack_appended = !is(cfg, "ack", "received");
    c->presence = tpi_member_bool(cfg, "presence", true);
    c->make_devices = tpi_member_bool(cfg, "make_devices", true);
    c->max_devices = (uint32_t) tpi_member_int(cfg, "max_devices", 100000);
    struct mqtt_reading connection = { host, ctx, c->arena, 0 };
    mqtt_connection_read(&connection, cfg, &c->client);
    c->client.password = mqtt_reading_filled(c->client.password);
    r.rc = connection.rc;
    c->hold_ms = (uint32_t) tpi_member_int(
        cfg, "hold", c->client.clean_start ? (int64_t) c->client.keep_alive_s * 1000 : HOLD_MS);
    c->mappings =
        read_list(&r, cfg, "mappings", sizeof(*c->mappings), read_mapping, &c->mapping_count);
    c->connects =
        read_list(&r, cfg, "connect", sizeof(*c->connects), read_connect, &c->connect_count);
    c->disconnects = read_list(&r, cfg, "disconnect", sizeof(*c->disconnects), read_disconnect,
                               &c->disconnect_count);
    c->requests = read_list(&r, cfg, "attribute_requests", sizeof(*c->requests), read_request,
                            &c->request_count);
    c->updates =
        read_list(&r, cfg, "attribute_updates", sizeof(*c->updates), read_update, &c->update_count);
    c->rpcs = read_list(&r, cfg, "rpc", sizeof(*c->rpcs), read_rpc, &c->rpc_count);
    return r.rc;
}

void cn_config_free(struct cn_config *c)
{
    c->arena = tpc_arena_destroy(c->arena);
}
