#include "registry/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "registry/derived.h"
#include "registry/publish.h"
#include "base/crypto.h"
#include "registry/presence.h"

static const struct tpc_option history_schema[] = {
    { .name = "keep",
      .type = TPC_OPT_DURATION,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "Samples older than that are deleted, a chunk at a time; 0 = kept for ever, absent = "
              "as the option history_keep_ms says." },
};

static const struct tpc_option presence_schema[] = {
    { .name = "mode",
      .type = TPC_OPT_ENUM,
      .def = "events",
      .values = "events|heartbeat|idle",
      .since = "0.1",
      .help = "What says that a device is online: events = connections and status messages, "
              "heartbeat = its messages alone, idle = both." },
    { .name = "timeout",
      .type = TPC_OPT_DURATION,
      .min = TPI_PRESENCE_MIN_MS,
      .max = TPI_PRESENCE_MAX_S * 1000LL,
      .since = "0.1",
      .help = "heartbeat, idle: a device that says nothing for so long is offline." },
};

static const struct tpc_option topic_schema[] = {
    { .name = "direction",
      .type = TPC_OPT_ENUM,
      .flags = TPC_OPT_REQUIRED,
      .values = "up|down",
      .since = "0.1",
      .help = "From the device, or to it." },
    { .name = "source",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .max = TPI_TOPIC_BYTES,
      .since = "0.1",
      .help =
          "Topic on the device's side: + and {name} stand for one level, {device_number} for the "
          "device's key." },
    { .name = "target",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .max = TPI_TOPIC_BYTES,
      .since = "0.1",
      .help = "Topic on the standard side; of what comes up without wildcards." },
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "Down: only commands of this method, and only their params are sent." },
    { .name = "priority",
      .type = TPC_OPT_INT,
      .def = "100",
      .min = -1000000,
      .max = 1000000,
      .since = "0.1",
      .help = "Rules with a lower one come first." },
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "Whether it holds." },
};
static const struct tpc_option topic_item = { .type = TPC_OPT_TABLE,
                                              .sub = TPC_OPTIONS(topic_schema) };

static const struct tpc_option product_schema[] = {
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Name for people." },
    { .name = "description",
      .type = TPC_OPT_TEXT,
      .max = 4096,
      .since = "0.1",
      .help = "Text for people." },
    { .name = "category",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "What products are sorted by." },
    { .name = "icon",
      .type = TPC_OPT_TEXT,
      .max = 2048,
      .since = "0.1",
      .help = "Address of an icon." },
    { .name = "picture",
      .type = TPC_OPT_TEXT,
      .max = 2048,
      .since = "0.1",
      .help = "Address of a picture." },
    { .name = "type",
      .type = TPC_OPT_ENUM,
      .flags = TPC_OPT_INDEXED,
      .values = "direct|sub|gateway",
      .since = "0.1",
      .help = "How its devices are connected: themselves, behind a gateway, as a gateway." },
    { .name = "auto_subs",
      .type = TPC_OPT_ENUM,
      .def = "off",
      .values = "off|product|on",
      .since = "0.1",
      .help = "Of a gateway's product: whether devices that it reports for and that are not there "
              "are made: never; if their product is of type sub and has auto_register; always." },
    { .name = "sub_product",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "Of a gateway's product: product of such devices where the gateway says only an "
              "address." },
    { .name = "network",
      .type = TPC_OPT_ENUM,
      .values = "wifi|cellular|ethernet|other",
      .since = "0.1",
      .help = "What its devices are connected by." },
    { .name = "status",
      .type = TPC_OPT_ENUM,
      .def = "development",
      .values = "development|published",
      .since = "0.1",
      .help =
          "A published product cannot be deleted, and its model stays as it is: another one needs "
          "another model_version." },
    { .name = "model_version",
      .type = TPC_OPT_INT,
      .def = "1",
      .min = 1,
      .max = INT32_MAX,
      .since = "0.1",
      .help =
          "Version of the model. What has been published as a version is never another model." },
    { .name = "protocol",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_INDEXED,
      .max = 128,
      .since = "0.1",
      .help = "Protocol type: mqtt, tcp, .. or the identifier of a service that speaks it." },
    { .name = "voucher_type",
      .type = TPC_OPT_TEXT,
      .max = 64,
      .since = "0.1",
      .help = "What its devices prove themselves with: BASIC, ACCESSTOKEN, or a service's own." },
    { .name = "protocol_config",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "Object for the service that speaks the protocol (ThingsPanel: the template's)." },
    { .name = "auto_register",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "Devices that know the product's secret may register themselves." },
    { .name = "topics",
      .type = TPC_OPT_LIST,
      .max = TPI_TOPIC_RULES,
      .elem = &topic_item,
      .since = "0.1",
      .help = "Topics of its own, for fronts that map them to the standard ones." },
    { .name = "labels",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_INDEXED | TPC_OPT_OPEN,
      .since = "0.1",
      .help = "Names and texts to find it by, up to 32." },
    { .name = "config",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "Any object; the library keeps it and does not look into it." },
    { .name = "codec",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help =
          "Name of the codec, or an object with \"type\" and its settings; absent = \"json\"." },
    { .name = "model",
      .type = TPC_OPT_ANY,
      .flags = TPC_OPT_REQUIRED,
      .since = "0.1",
      .help = "Thing model: properties, services, events." },
    { .name = "enforce",
      .type = TPC_OPT_ENUM,
      .values = "drop|clamp|keep",
      .since = "0.1",
      .help =
          "What becomes of a reported value beyond a limit of the model (min, max, step, length, "
          "size, enum): it is dropped, the nearest takes its place, or it is kept and marked. "
          "Absent: drop, and steps are hints." },
    { .name = "unknown",
      .type = TPC_OPT_ENUM,
      .def = "drop",
      .values = "drop|keep",
      .since = "0.1",
      .help =
          "What becomes of a reported value whose key the model does not know: it is dropped and "
          "counted, or it is kept as a point by key: in the log, for followers, rules and "
          "forwarding, but not among the latest values and not in the history." },
    { .name = "report",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(tpi_report_schema),
      .since = "0.1",
      .help = "Which values of its devices go on, where neither property nor device says it." },
    { .name = "history",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(history_schema),
      .since = "0.1",
      .help = "What becomes of its samples." },
    { .name = "presence",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(presence_schema),
      .since = "0.1",
      .help = "When its devices are online." },
    { .name = "secret",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "Secret that devices of the product prove they know when they register." },
};

static const char ids_kind[] = "property_ids";

/* What prepare made, until apply or discard. */
struct product_change {
    struct tpi_product *product;
    struct tpi_product_slot *slot;
    bool fresh_slot;
    uint32_t move_count;
    struct tpi_latest **moves; /* new room for the latest values, in the order of slot's devices */
};

struct tpi_name *tpi_name_make(const struct tpc_allocator *alloc, struct tpc_str key)
{
    struct tpi_name *name = tpi_alloc_zero(alloc, sizeof(*name) + key.len + 1);
    if (name != NULL) {
        atomic_init(&name->refs, 1);
        name->len = (uint32_t) key.len;
        memcpy(name->text, key.ptr, key.len);
    }
    return name;
}

void tpi_name_unref(const struct tpc_allocator *alloc, struct tpi_name *name)
{
    if (name != NULL && atomic_fetch_sub_explicit(&name->refs, 1, memory_order_acq_rel) == 1) {
        tpi_free(alloc, name, sizeof(*name) + name->len + 1);
    }
}

struct tpi_product *tpi_product_ref(struct tpi_product *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

struct tpi_product *tpi_product_unref(struct tpi_product *p)
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) {
        if (p->program != NULL && p->codec->release != NULL) {
            p->codec->release(p->codec_self, p->program);
        }
        tpi_derived_destroy(p->derived);
        tpi_model_unref(p->model);
        tpi_name_unref(p->alloc, p->name);
        tpi_topic_map_free(p->alloc, p->topics);
        tpi_wipe(p + 1, p->bytes - sizeof(*p));
        tpi_free(p->alloc, p, p->bytes);
    }
    return NULL;
}

/* ---- prepare ---- */

static int meta_key(char *text, size_t cap, uint64_t id, struct tpc_str *ret)
{
    int n = snprintf(text, cap, "%" PRIu64, id);
    *ret = (struct tpc_str){ text, (size_t) n };
    return 0;
}

/* The property ids given so far, as text (empty if none) and as a tree. */
static int read_ids(struct tpi_change *change, struct tpc_error *err, struct tpc_bytes *ret_text,
                    struct tpc_value *ret)
{
    char text[24];
    struct tpc_str key;
    *ret_text = (struct tpc_bytes){ NULL, 0 };
    if (change->old_revision == 0 && !change->loading) {
        return TPC_ENOENT;
    }
    meta_key(text, sizeof(text), change->id, &key);
    int rc = tpi_change_meta(change, TPC_STR(ids_kind), key, err, ret_text);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str json = { (const char *) ret_text->ptr, ret_text->len };
    rc = tpc_json_parse(change->arena, json, 0, err, ret);
    return rc == 0 || rc == TPC_ENOMEM ? rc
                                       : tpi_error_set(err, TPC_ECORRUPT, tpi_registry_origin,
                                                       "the stored property ids are damaged");
}

/* Adds the row with the ids to the change, if they are other than before. */
static int store_ids(struct tpi_change *change, const struct tpi_model *model,
                     struct tpc_bytes before, struct tpc_error *err)
{
    struct tpc_value v;
    struct tpc_buf buf = { NULL, 0, 0 };
    struct tpc_str key;
    char *text = tpc_arena_take(change->arena, 24);
    if (text == NULL || tpi_model_ids(model, change->arena, &v) != 0) {
        return tpi_registry_no_memory(err);
    }
    (void) tpc_json_write(&v, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(change->arena, buf.cap);
    if (buf.ptr == NULL || tpc_json_write(&v, 0, &buf) != 0) {
        return tpi_registry_no_memory(err);
    }
    if (before.len == buf.need && memcmp(before.ptr, buf.ptr, buf.need) == 0) {
        return 0;
    }
    meta_key(text, 24, change->id, &key);
    struct tpc_store_op op = { .size = sizeof(op), .type = TPC_STORE_PUT, .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_META,
                               .kind = TPC_STR(ids_kind),
                               .key = key,
                               .id = change->id,
                               .revision = change->revision,
                               .created_unix_ms = change->created_unix_ms,
                               .modified_unix_ms = change->modified_unix_ms,
                               .doc = { buf.ptr, buf.need } };
    int rc = tpi_change_op(change, &op);
    return rc == 0 ? 0 : tpi_error_set(err, rc, tpi_registry_origin, "too many rows, or no memory");
}

static enum tpi_enforce enforce_of(const struct tpc_value *doc)
{
    static const char *const words[] = { "drop", "clamp", "keep" };
    struct tpc_str word = tpc_value_text(tpc_value_get(doc, TPC_STR("enforce")));
    for (int i = 0; i < 3; i++) {
        if (tpc_str_equal(word, tpc_str_from(words[i])) != 0) {
            return (enum tpi_enforce)(TPI_ENFORCE_DROP + i);
        }
    }
    return TPI_ENFORCE_USUAL;
}

static bool keeps_unknown(const struct tpc_value *doc)
{
    return tpc_str_equal(tpc_value_text(tpc_value_get(doc, TPC_STR("unknown"))), TPC_STR("keep")) !=
           0;
}

static int make_model(struct tpi_registry *r, struct tpi_change *change, struct tpc_error *err,
                      struct tpi_model **ret)
{
    struct tpc_value ids;
    struct tpc_bytes before;
    struct tpi_model *m = NULL;
    int rc = read_ids(change, err, &before, &ids);
    if (rc != 0 && rc != TPC_ENOENT) {
        return rc;
    }
    rc = tpi_model_compile(r->env->alloc, tpc_value_get(change->doc, TPC_STR("model")),
                           rc == 0 ? &ids : NULL, enforce_of(change->doc),
                           (uint32_t) change->revision, err, &m);
    if (rc != 0) {
        tpi_error_at(err, "model");
        /* To the caller of a put, a model that cannot be is one thing, whatever is wrong with it.
         */
        rc = rc == TPC_EINVAL || rc == TPC_ETOOBIG ? TPC_EMODEL : rc;
        if (err != NULL) {
            err->code = rc;
        }
        return rc;
    }
    rc = change->loading ? 0 : store_ids(change, m, before, err);
    if (rc != 0) {
        tpi_model_unref(m);
        return rc;
    }
    if (keeps_unknown(change->doc)) {
        tpi_model_open(m);
    }
    *ret = m;
    return 0;
}

static int make_program(struct tpi_registry *r, struct tpi_change *change, struct tpi_product *p,
                        struct tpc_error *err)
{
    const struct tpc_value *config = tpc_value_get(change->doc, TPC_STR("codec"));
    static const struct tpc_value json = { TPC_TEXT, 0, 4, { .text = "json" } };
    config = config == NULL || config->type == TPC_NULL ? &json : config;
    const struct tpc_value *type =
        config->type == TPC_MAP ? tpc_value_get(config, TPC_STR("type")) : config;
    struct tpc_str name = tpc_value_text(type);
    int rc = 0;
    if (name.len == 0) {
        rc = tpi_error_set(err, TPC_EINVAL, tpi_registry_origin,
                           "is neither a codec's name nor an object with \"type\"");
    } else {
        rc = r->host.codec_find(r->host.user, name, &p->codec, &p->codec_self);
        if (rc != 0) {
            tpi_error_set(err, rc, tpi_registry_origin, "there is no codec \"%.*s\"",
                          (int) (name.len > 64 ? 64 : name.len), name.ptr);
        }
    }
    if (rc == 0 && TPC_HAS(p->codec, struct tpc_codec_ops, compile)) {
        struct tpc_codec_source source = { .size = sizeof(source),
                                           .product = change->key,
                                           .config = *config };
        rc = p->codec->compile(p->codec_self, &source, err, &p->program);
    }
    if (rc != 0) {
        tpi_error_at(err, "codec");
    }
    return rc;
}

/* The revisions of a product share its key, which devices gave out views of. */
static struct tpi_name *name_of(struct tpi_registry *r, const struct tpi_change *change)
{
    const struct tpi_product_slot *slot = tpi_registry_product_slot(r, change->tenant, change->key);
    if (slot == NULL || slot->current == NULL) {
        return tpi_name_make(r->env->alloc, change->key);
    }
    atomic_fetch_add_explicit(&slot->current->name->refs, 1, memory_order_relaxed);
    return slot->current->name;
}

/* A product's secret is needed again only where devices may register themselves. */
static struct tpc_str registration_secret(const struct tpc_value *doc)
{
    const struct tpc_value *on = tpc_value_get(doc, TPC_STR("auto_register"));
    bool wanted = on != NULL && on->type == TPC_BOOL && on->as.b;
    return wanted ? tpc_value_text(tpc_value_get(doc, TPC_STR("secret")))
                  : (struct tpc_str){ "", 0 };
}

static uint8_t voucher_type(const struct tpc_value *doc)
{
    struct tpc_str type = tpc_value_text(tpc_value_get(doc, TPC_STR("voucher_type")));
    return tpc_str_equal(type, TPC_STR("BASIC"))         ? TPI_VOUCHER_BASIC
           : tpc_str_equal(type, TPC_STR("ACCESSTOKEN")) ? TPI_VOUCHER_TOKEN
                                                         : TPI_VOUCHER_OTHER;
}

static int read_presence(const struct tpi_change *change, struct tpi_product *p,
                         struct tpc_error *err)
{
    const struct tpc_value *presence = tpc_value_get(change->doc, TPC_STR("presence"));
    int64_t timeout_ms = 0;
    if (presence == NULL || presence->type != TPC_MAP) {
        return 0;
    }
    struct tpc_str mode = tpc_value_text(tpc_value_get(presence, TPC_STR("mode")));
    (void) tpc_value_int(tpc_value_get(presence, TPC_STR("timeout")), &timeout_ms);
    p->presence = tpc_str_equal(mode, TPC_STR("heartbeat")) ? TPI_PRESENCE_HEARTBEAT
                  : tpc_str_equal(mode, TPC_STR("idle"))    ? TPI_PRESENCE_IDLE
                                                            : TPI_PRESENCE_EVENTS;
    if ((p->presence == TPI_PRESENCE_EVENTS) != (timeout_ms == 0)) {
        tpi_error_set(err, TPC_EINVAL, tpi_registry_origin,
                      "the modes heartbeat and idle need a timeout, events has none");
        tpi_error_at(err, "timeout");
        tpi_error_at(err, "presence");
        return TPC_EINVAL;
    }
    p->silence_ms = (uint32_t) timeout_ms;
    return 0;
}

static int make_derived(struct tpi_registry *r, struct tpi_product *p, struct tpc_error *err)
{
    int rc = tpi_derived_make(r->env->alloc, r->host.expr, p->model, err, &p->derived);
    if (rc == TPC_EINVAL || rc == TPC_ETOOBIG) {
        rc = TPC_EMODEL;
        if (err != NULL) {
            err->code = rc;
        }
        tpi_error_at(err, "model");
    }
    return rc;
}

static const struct tpi_product *current_of(struct tpi_registry *r, const struct tpi_change *change)
{
    const struct tpi_product_slot *slot = tpi_registry_product_slot(r, change->tenant, change->key);
    return slot != NULL ? slot->current : NULL;
}

static int make_product(struct tpi_registry *r, struct tpi_change *change, struct tpc_error *err,
                        struct tpi_product **ret)
{
    struct tpc_str secret = registration_secret(change->doc);
    struct tpc_str subs = tpc_value_text(tpc_value_get(change->doc, TPC_STR("sub_product")));
    struct tpc_str protocol = tpc_value_text(tpc_value_get(change->doc, TPC_STR("protocol")));
    size_t bytes = sizeof(struct tpi_product) + change->tenant_key.len + 1 + secret.len + subs.len +
                   protocol.len;
    struct tpi_product *p = tpi_alloc_zero(r->env->alloc, bytes);
    struct tpi_name *name = p != NULL ? name_of(r, change) : NULL;
    if (name == NULL) {
        tpi_free(r->env->alloc, p, bytes);
        return tpi_registry_no_memory(err);
    }
    char *tenant = (char *) (p + 1);
    char *kept = tenant + change->tenant_key.len + 1;
    memcpy(tenant, change->tenant_key.ptr, change->tenant_key.len);
    memcpy(kept, secret.ptr, secret.len);
    p->secret = (struct tpc_str){ kept, secret.len };
    if (subs.len > 0) {
        memcpy(kept + secret.len, subs.ptr, subs.len);
    }
    p->sub_product = (struct tpc_str){ kept + secret.len, subs.len };
    p->protocol = (struct tpc_str){ kept + secret.len + subs.len, protocol.len };
    if (protocol.len > 0) {
        memcpy(kept + secret.len + subs.len, protocol.ptr, protocol.len);
    }
    p->auto_register = secret.len > 0;
    p->behind_gateway = tpc_str_equal(tpc_value_text(tpc_value_get(change->doc, TPC_STR("type"))),
                                      TPC_STR("sub")) != 0;
    p->voucher = voucher_type(change->doc);
    atomic_init(&p->refs, 1);
    p->alloc = r->env->alloc;
    p->bytes = bytes;
    p->revision = (uint32_t) change->revision;
    p->id = change->id;
    p->tenant_id = change->tenant;
    p->name = name;
    p->key = (struct tpc_str){ name->text, name->len };
    p->tenant = (struct tpc_str){ tenant, change->tenant_key.len };
    const struct tpc_value *history = tpc_value_get(change->doc, TPC_STR("history"));
    p->keep_ms = -1;
    if (history != NULL) {
        (void) tpc_value_int(tpc_value_get(history, TPC_STR("keep")), &p->keep_ms);
    }
    struct tpc_str type = tpc_value_text(tpc_value_get(change->doc, TPC_STR("type")));
    p->gateway = tpc_str_equal(type, TPC_STR("gateway")) != 0;
    p->keep_unknown = keeps_unknown(change->doc);
    const struct tpc_value *on = tpc_value_get(change->doc, TPC_STR("auto_register"));
    p->auto_create = p->behind_gateway && on != NULL && on->type == TPC_BOOL && on->as.b;
    struct tpc_str subs_mode = tpc_value_text(tpc_value_get(change->doc, TPC_STR("auto_subs")));
    p->auto_subs = tpc_str_equal(subs_mode, TPC_STR("on"))        ? TPI_AUTO_ON
                   : tpc_str_equal(subs_mode, TPC_STR("product")) ? TPI_AUTO_PRODUCT
                                                                  : TPI_AUTO_OFF;
    int rc = tpi_report_read_in(change, &p->report, err);
    rc = rc != 0 ? rc : tpi_publish_read(change, p, err);
    rc = rc != 0 ? rc : read_presence(change, p, err);
    rc = rc != 0 ? rc : make_model(r, change, err, &p->model);
    rc = rc != 0 ? rc : make_derived(r, p, err);
    rc = rc != 0 ? rc : tpi_publish_prepare(change, current_of(r, change), p, err);
    rc = rc != 0 ? rc : make_program(r, change, p, err);
    if (rc == 0) {
        rc = tpi_topic_map_make(p->alloc, tpc_value_get(change->doc, TPC_STR("topics")), err,
                                &p->topics);
    }
    if (rc != 0) {
        tpi_product_unref(p);
        return rc;
    }
    *ret = p;
    return 0;
}

static void free_moves(struct tpi_registry *r, struct product_change *c)
{
    for (uint32_t i = 0; i < c->move_count && c->moves != NULL; i++) {
        tpi_latest_free(r->env->alloc, c->moves[i], c->product->model);
    }
    tpi_free(r->env->alloc, c->moves, c->move_count * sizeof(*c->moves));
}

/* Room for the latest values of every device, if their places change. Changes of entities run one
 * at a time, so the list is the same at apply. */
static int make_moves(struct tpi_registry *r, struct product_change *c)
{
    const struct tpi_product *old = c->slot->current;
    if (old == NULL || c->slot->device_count == 0 ||
        tpi_latest_same_layout(old->model, c->product->model)) {
        return 0;
    }
    c->moves = tpi_alloc_array(r->env->alloc, c->slot->device_count, sizeof(*c->moves));
    if (c->moves == NULL) {
        return TPC_ENOMEM;
    }
    c->move_count = c->slot->device_count;
    for (uint32_t i = 0; i < c->move_count; i++) {
        c->moves[i] = tpi_latest_make(r->env->alloc, c->product->model);
        if (c->moves[i] == NULL) {
            free_moves(r, c);
            c->moves = NULL;
            c->move_count = 0;
            return TPC_ENOMEM;
        }
    }
    return 0;
}

static int prepare_delete(struct tpi_registry *r, struct tpi_change *change, struct tpc_error *err)
{
    const struct tpi_product_slot *slot = tpi_registry_product_slot(r, change->tenant, change->key);
    char *text = tpc_arena_take(change->arena, 24);
    struct tpc_str key;
    if (text == NULL) {
        return tpi_registry_no_memory(err);
    }
    if (change->id == 0 && slot != NULL && slot->current != NULL) {
        change->id = slot->current->id; /* who only hears that it is gone does not know it */
    }
    if (slot != NULL && slot->device_count > 0) {
        return tpi_error_set(err, TPC_ESTATE, tpi_registry_origin,
                             "%u devices are of product \"%.*s\"", slot->device_count,
                             (int) change->key.len, change->key.ptr);
    }
    if (slot != NULL && slot->current != NULL && slot->current->published && !change->loading) {
        return tpi_error_set(err, TPC_ESTATE, tpi_registry_origin,
                             "product \"%.*s\" is published: set its status back first",
                             (int) change->key.len, change->key.ptr);
    }
    meta_key(text, 24, change->id, &key);
    struct tpc_store_op op = { .size = sizeof(op),
                               .type = TPC_STORE_DELETE,
                               .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){
        .size = sizeof(op.row), .space = TPC_SPACE_META, .kind = TPC_STR(ids_kind), .key = key
    };
    int rc = tpi_change_op(change, &op);
    return rc == 0 ? tpi_publish_forget(change, err) : tpi_registry_no_memory(err);
}

static int product_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_registry *r = user;
    if (change->deleted) {
        return prepare_delete(r, change, err);
    }
    struct product_change *c = tpc_arena_take(change->arena, sizeof(*c));
    if (c == NULL) {
        return tpi_registry_no_memory(err);
    }
    *c = (struct product_change){ .product = NULL };
    int rc = tpi_registry_check_labels(change->doc, err);
    rc = rc != 0 ? rc : tpi_registry_check_object(change->doc, "config", err);
    rc = rc != 0 ? rc : tpi_registry_check_object(change->doc, "protocol_config", err);
    rc = rc != 0 ? rc : make_product(r, change, err, &c->product);
    if (rc != 0) {
        return rc;
    }
    c->slot = tpi_registry_product_slot(r, change->tenant, change->key);
    if (c->slot == NULL) {
        c->fresh_slot = true;
        pthread_rwlock_wrlock(&r->lock);
        c->slot = tpi_registry_product_slot_make(r, change->tenant, change->key, change->id);
        pthread_rwlock_unlock(&r->lock);
    }
    if (c->slot == NULL || make_moves(r, c) != 0) {
        tpi_product_unref(c->product);
        return tpi_registry_no_memory(err);
    }
    change->prepared = c;
    return 0;
}

/* ---- apply and discard ---- */

static void swap_product(struct tpi_registry *r, struct product_change *c)
{
    struct tpi_product *old = c->slot->current;
    uint32_t i = 0;
    pthread_rwlock_wrlock(&r->lock);
    r->generation++; /* before the old model goes */
    c->slot->current = c->product;
    if (old != NULL &&
        (old->presence != c->product->presence || old->silence_ms != c->product->silence_ms)) {
        atomic_fetch_add_explicit(&r->presence_changes, 1, memory_order_relaxed);
    }
    for (struct tpc_device *d = c->slot->devices; d != NULL; d = d->next) {
        if (c->move_count > 0) {
            tpi_latest_move(d, old->model, c->product->model, c->moves[i++]);
        }
        d->product = tpi_product_ref(c->product);
        tpi_product_unref(old); /* not the last one: the slot had one too */
    }
    pthread_rwlock_unlock(&r->lock);
    tpi_product_unref(old);
    tpi_free(r->env->alloc, c->moves, c->move_count * sizeof(*c->moves));
}

static void drop_product(struct tpi_registry *r, struct tpi_change *change)
{
    struct tpi_product *old = NULL;
    pthread_rwlock_wrlock(&r->lock);
    struct tpi_product_slot *slot = tpi_registry_product_slot(r, change->tenant, change->key);
    if (slot != NULL) {
        old = slot->current;
        tpi_registry_product_slot_drop(r, change->tenant, change->key, change->id);
    }
    pthread_rwlock_unlock(&r->lock);
    tpi_product_unref(old);
}

static void product_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    TPI_METRIC_ADD(r->counters.changes, 1);
    if (change->deleted) {
        drop_product(r, change);
    } else {
        swap_product(r, change->prepared);
    }
    TPI_METRIC_SET(r->counters.products, tpi_map_count(&r->products));
}

static void product_discard(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    struct product_change *c = change->prepared;
    if (c == NULL) {
        return;
    }
    free_moves(r, c);
    tpi_product_unref(c->product);
    if (c->fresh_slot) {
        pthread_rwlock_wrlock(&r->lock);
        tpi_registry_product_slot_drop(r, change->tenant, change->key, change->id);
        pthread_rwlock_unlock(&r->lock);
    }
}

void tpi_registry_product_kind(struct tpi_registry *r, struct tpi_kind *kind)
{
    *kind = (struct tpi_kind){ .name = "product",
                               .version = 1,
                               .schema = TPC_OPTIONS(product_schema),
                               .prepare = product_prepare,
                               .apply = product_apply,
                               .discard = product_discard,
                               .user = r };
}
