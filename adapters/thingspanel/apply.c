/* What the platform said of devices, into the directory, the core and the program. All of it on the
 * thread of this half, but dropping. */
#include "platform.h"

#include "../text/say.h"
#include "base/alloc.h"
#include "data/member.h"

#include <string.h>
#include <tpcore/ext/api.h>
#include <tpcore/json.h>

enum { WAIT_MAX_MS = 3600000, DEVICES_A_STEP = 64, MEMBERS_MAX = 300, ARENA_BYTES = 16 << 20 };

/* ---- the list of those to look after ---- */

void tp_apply_work(struct tp_http *h, struct tp_device *d)
{
    if (d->in_work) {
        return;
    }
    d->in_work = true;
    d->next_work = NULL;
    *(h->last_work != NULL ? &h->last_work->next_work : &h->work) = d;
    h->last_work = d;
}

static struct tp_device *take_work(struct tp_http *h)
{
    struct tp_device *d = h->work;
    if (d != NULL) {
        h->work = d->next_work;
        h->last_work = h->work != NULL ? h->last_work : NULL;
        d->in_work = false;
    }
    return d;
}

static void forget_work(struct tp_http *h, struct tp_device *d)
{
    struct tp_device *before = NULL;
    if (!d->in_work) {
        return;
    }
    for (struct tp_device *at = h->work; at != d; at = at->next_work) {
        before = at;
    }
    *(before != NULL ? &before->next_work : &h->work) = d->next_work;
    h->last_work = h->last_work == d ? before : h->last_work;
    d->in_work = false;
}

/* ---- telling the program ---- */

/* 0, or TPC_ENOMEM: *ret is TPC_NULL, as for what cannot be read. */
static int read_config(struct tp_http *h, const struct tp_device *d, struct tpc_str text,
                       struct tpc_arena *arena, struct tpc_value *ret)
{
    const char type[2] = { d->f.type, '\0' };
    const struct tpc_value *form = tp_forms_find(&h->forms, TPC_STR("CFG"), tpc_str_from(type));
    const struct tpc_value given = { TPC_TEXT, 0, text.len, { .text = text.ptr } };
    ret->type = TPC_NULL;
    int rc = text.len > 0 ? tp_form_coerce(form, &given, arena, ret) : 0;
    if (rc != 0) {
        ret->type = TPC_NULL;
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

/* False: there is no memory to tell it now. A configuration that there is never room for is left out. */
static bool tell(struct tp_http *h, struct tp_device *d, int gone)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value config, settings;
    if (h->ops == NULL || !TPC_HAS(h->ops, struct tpc_service_ops, configured)) {
        return true;
    }
    if (tpc_arena_create(h->host->allocator, ARENA_BYTES, &arena) != 0) {
        return false;
    }
    int no_config = read_config(h, d, d->f.config, arena, &config);
    int no_settings = read_config(h, d, d->f.settings, arena, &settings);
    if ((no_config != 0 || no_settings != 0) && gone == 0 && ++d->tells < TP_MAKE_TRIES) {
        tpc_arena_destroy(arena);
        return false;
    }
    d->tells = 0;
    const struct tpc_service_device device = { .size = sizeof(device),
                                               .device = d->f.id,
                                               .number = d->f.number,
                                               .voucher = d->f.voucher,
                                               .parent = d->f.parent,
                                               .address = d->f.address,
                                               .config = &config,
                                               .settings = &settings,
                                               .access_point = d->f.access_point };
    h->ops->configured(h->ops_user, &device, gone);
    tpc_arena_destroy(arena);
    return true;
}

void tp_apply_drop(struct tp_http *h, struct tpc_str id)
{
    struct tp_watcher watchers[TP_WATCHERS_LIMIT];
    pthread_mutex_lock(&h->lock);
    uint32_t count = h->watcher_count;
    memcpy(watchers, h->watchers, count * sizeof(watchers[0]));
    h->dropping++;
    pthread_mutex_unlock(&h->lock);
    for (uint32_t i = 0; i < count; i++) {
        watchers[i].fn(watchers[i].user, h->config->tenant, id);
    }
    pthread_mutex_lock(&h->lock);
    h->dropping--;
    pthread_cond_broadcast(&h->quiet);
    pthread_mutex_unlock(&h->lock);
}

/* ---- in the core ---- */

static int text_member(struct tpi_buf *b, const char *name, struct tpc_str text, bool *first)
{
    if (text.len == 0) {
        return 0;
    }
    int rc = tpi_buf_printf(b, "%s\"%s\":", *first ? "" : ",", name);
    *first = false;
    return rc != 0 ? rc : say_quoted(b, text);
}

static int make(struct tp_http *h, const struct tp_device *d)
{
    struct tpi_buf b;
    bool first = true;
    tpi_buf_init(&b, h->host->allocator, 0);
    int rc = tpi_buf_put(&b, "{", 1);
    rc = rc != 0 ? rc : text_member(&b, "gateway", d->f.parent, &first);
    if (d->f.parent.len > 0) {
        rc = rc != 0 ? rc : text_member(&b, "address", d->f.address, &first);
    }
    rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
    const struct tpc_host_device device = { .size = sizeof(device),
                                            .tenant = h->config->tenant,
                                            .product = tpc_str_from(h->product),
                                            .device = d->f.id,
                                            .name = d->f.name,
                                            .document = { (const char *) b.ptr, b.len } };
    rc = rc != 0 ? rc : h->host->make_device(h->ctx, &device);
    tpi_buf_fini(&b);
    return rc;
}

/* A copy of what an entity is. */
struct seen {
    struct tpi_buf json;
    uint64_t revision;
};

static int see(void *user, const struct tpc_entity_info *info, struct tpc_str key,
               struct tpc_str json)
{
    struct seen *s = user;
    (void) key;
    s->revision = info->revision;
    return tpi_buf_text(&s->json, json);
}

static bool is_as(const struct tpc_value *doc, const char *name, struct tpc_str text)
{
    struct tpc_str there = tpi_member_text(doc, name);
    return there.len == text.len && (text.len == 0 || memcmp(there.ptr, text.ptr, text.len) == 0);
}

/* The document with another place; what is empty is left out, but a name stays. */
static int with_place(const struct tpc_str place[3], const struct tpc_value *doc,
                      struct tpi_buf *out)
{
    static const char *const names[] = { "gateway", "address", "name" };
    bool first = true;
    int rc = tpi_buf_put(out, "{", 1);
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = text_member(out, names[i],
                         i < 2 || place[i].len > 0 ? place[i] : tpi_member_text(doc, "name"),
                         &first);
    }
    for (size_t i = 0; i < doc->len && rc == 0; i++) {
        const struct tpc_member *m = &doc->as.members[i];
        if (tpc_str_equal(m->key, TPC_STR("gateway")) ||
            tpc_str_equal(m->key, TPC_STR("address")) || tpc_str_equal(m->key, TPC_STR("name"))) {
            continue;
        }
        rc = first ? 0 : tpi_buf_u8(out, ',');
        first = false;
        rc = rc != 0 ? rc : say_quoted(out, m->key);
        rc = rc != 0 ? rc : tpi_buf_u8(out, ':');
        rc = rc != 0 ? rc : say_value(out, &m->value);
    }
    return rc != 0 ? rc : tpi_buf_put(out, "}", 1);
}

static const struct tpc_api *api_of(struct tp_http *h, struct tpc_core **ret_core)
{
    *ret_core = NULL;
    return TPC_HAS(h->host, struct tpc_host, api) ? h->host->api(h->ctx, ret_core) : NULL;
}

/* Gives a device that the core has another place, unless it is there. */
static int put_place(struct tp_http *h, const struct seen *s, const struct tpc_str place[3])
{
    struct tpc_core *core;
    const struct tpc_api *api = api_of(h, &core);
    struct tpc_str text = { (const char *) s->json.ptr, s->json.len };
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    struct tpi_buf out;
    tpi_buf_init(&out, h->host->allocator, 0);
    int rc = tpc_arena_create(h->host->allocator, ARENA_BYTES, &arena);
    rc = rc != 0 ? rc : tpc_json_parse(arena, text, 0, NULL, &doc);
    if (rc == 0 && !(is_as(&doc, "gateway", place[0]) && is_as(&doc, "address", place[1]) &&
                     (place[2].len == 0 || is_as(&doc, "name", place[2])))) {
        const struct tpc_actor actor = { .size = sizeof(actor),
                                         .type = TPC_ACTOR_CONNECTOR,
                                         .name = tpc_str_from(h->host->name(h->ctx)),
                                         .origin = TPC_STR("thingspanel") };
        rc = with_place(place, &doc, &out);
        text = (struct tpc_str){ (const char *) out.ptr, out.len };
        rc = rc != 0 ? rc : api->entity_put(core, &actor, "device", text, s->revision, NULL);
    }
    tpc_arena_destroy(arena);
    tpi_buf_fini(&out);
    return rc;
}

/* The core has the device: at the place that the platform gives it? */
static int place(struct tp_http *h, const struct tp_device *d)
{
    struct tpc_core *core;
    const struct tpc_api *api = api_of(h, &core);
    struct seen s = { .revision = 0 };
    const struct tpc_str none = { NULL, 0 };
    const struct tpc_str where[3] = { d->f.parent, d->f.parent.len > 0 ? d->f.address : none,
                                      d->f.name };
    if (api == NULL) {
        return 0;
    }
    tpi_buf_init(&s.json, h->host->allocator, 0);
    int rc = api->entity_get(core, h->config->tenant, "device", d->f.id, see, &s);
    rc = rc != 0 ? rc : put_place(h, &s, where);
    tpi_buf_fini(&s.json);
    return rc;
}

/* ---- an address that another device has ---- */

struct holder {
    struct tp_http *h;
    const struct tp_device *d; /* who wants it */
    struct seen seen;
    char key[TP_ID_MAX + 1]; /* of the last one that was looked at */
    uint32_t count;
};

static int look_for_holder(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                           struct tpc_str json)
{
    struct holder *o = user;
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    o->count++;
    if (key.len > TP_ID_MAX) {
        return TPC_ETOOBIG;
    }
    memcpy(o->key, key.ptr, key.len);
    o->key[key.len] = '\0';
    int rc = tpc_arena_create(o->h->host->allocator, ARENA_BYTES, &arena);
    rc = rc != 0 ? rc : tpc_json_parse(arena, json, 0, NULL, &doc);
    if (rc == 0 && is_as(&doc, "address", o->d->f.address) &&
        is_as(&doc, "product", tpc_str_from(o->h->product)) && !tpc_str_equal(key, o->d->f.id)) {
        rc = see(&o->seen, info, key, json);
        rc = rc == 0 ? 1 : rc; /* enough */
    }
    tpc_arena_destroy(arena);
    return rc;
}

/* The address that d is to have is another one's in the core: of a device that is gone, which leaves the
 * gateway, or that is about to move, which has none until it does. 0 = the address is free now. */
static int make_room(struct tp_http *h, const struct tp_device *d)
{
    struct tpc_core *core;
    const struct tpc_api *api = api_of(h, &core);
    struct holder o = { .h = h, .d = d };
    int rc = 0;
    if (api == NULL || d->f.parent.len == 0 || d->f.address.len == 0) {
        return TPC_EEXIST;
    }
    tpi_buf_init(&o.seen.json, h->host->allocator, 0);
    do {
        const struct tpc_entity_query q = { .size = sizeof(q),
                                            .tenant = h->config->tenant,
                                            .kind = TPC_STR("device"),
                                            .after_key = tpc_str_from(o.key),
                                            .field = TPC_STR("gateway"),
                                            .value = d->f.parent };
        o.count = 0;
        rc = api->entity_list(core, &q, look_for_holder, &o);
    } while (rc == 0 && o.count > 0);
    if (rc == 1) {
        struct tp_device *other = tp_devices_by_id(&h->devices, tpc_str_from(o.key));
        const struct tpc_str none = { NULL, 0 };
        const struct tpc_str where[3] = { other != NULL ? other->f.parent : none, none, none };
        rc = put_place(h, &o.seen, where);
        if (rc == 0 && other != NULL) {
            other->changed = true;
            tp_apply_work(h, other);
        }
    } else {
        rc = rc == 0 ? TPC_EEXIST : rc;
    }
    tpi_buf_fini(&o.seen.json);
    return rc;
}

/* Trying again changes nothing. */
static bool is_final(int rc)
{
    return rc == TPC_EDENIED || rc == TPC_ETOOBIG || rc == TPC_EINVAL || rc == TPC_EUNSUPPORTED ||
           rc == TPC_EMODEL || rc == TPC_EDECODE;
}

static int put_into_core(struct tp_http *h, struct tp_device *d)
{
    if (d->gateway != NULL && !d->gateway->in_core && d->gateway->tries < TP_MAKE_TRIES) {
        return TPC_EAGAIN;
    }
    int rc = d->in_core ? 0 : make(h, d);
    if (rc == TPC_EEXIST && make_room(h, d) == 0) {
        rc = make(h, d);
    }
    if (rc == 0 && d->changed) {
        rc = place(h, d);
        if (rc == TPC_EEXIST && make_room(h, d) == 0) {
            rc = place(h, d);
        }
    }
    return rc;
}

static void resolve(struct tp_http *h, struct tpc_str voucher)
{
    pthread_mutex_lock(&h->lock);
    char key[TP_VOUCHER_BYTES + 1] = { 'v' };
    struct tp_ask *a = NULL;
    if (voucher.len > 0 && voucher.len <= TP_VOUCHER_BYTES) {
        memcpy(key + 1, voucher.ptr, voucher.len);
        a = tpi_map_get(&h->asks, key, voucher.len + 1);
    }
    pthread_mutex_unlock(&h->lock);
    if (a != NULL) {
        tp_ask_resolve(h, a);
    }
}

/* What a device says of those behind it is lost until they are in the core: it is let in after them. */
bool tp_apply_ready(const struct tp_device *d)
{
    bool ready = d->in_core;
    for (const struct tp_device *c = d->first_behind; c != NULL && ready; c = c->next_behind) {
        ready = !c->in_work && (c->first_behind == NULL || c->ready || !c->in_core);
    }
    return ready;
}

/* Of a device and the gateways before it. */
static void settle(struct tp_http *h, struct tp_device *d)
{
    for (struct tp_device *at = d; at != NULL; at = at->gateway) {
        bool ready = tp_apply_ready(at);
        pthread_mutex_lock(&h->lock);
        at->ready = ready;
        pthread_mutex_unlock(&h->lock);
        if (ready || at == d) {
            resolve(h, at->f.voucher);
        }
    }
}

/* False: it has to be tried again. */
static bool look_after(struct tp_http *h, struct tp_device *d)
{
    int rc = d->in_core && !d->changed ? 0 : put_into_core(h, d);
    if (rc != 0) {
        bool over = is_final(rc) || ++d->tries >= TP_MAKE_TRIES;
        if (over) {
            d->tries = TP_MAKE_TRIES;
            h->host->count(h->ctx, "devices_refused", 1);
            if (!d->refused) {
                h->host->log(h->ctx, TPC_LOG_ERROR, "device \"%.*s\" cannot be in the core: %s",
                             (int) d->f.id.len, d->f.id.ptr, tpc_error_name(rc));
            }
            d->refused = true;
            settle(h, d);
        }
        return over;
    }
    pthread_mutex_lock(&h->lock);
    d->in_core = true;
    d->changed = d->refused = false;
    d->tries = 0;
    pthread_mutex_unlock(&h->lock);
    if (!d->told && !tell(h, d, 0)) {
        return false;
    }
    d->told = true;
    settle(h, d);
    return true;
}

uint64_t tp_apply_step(struct tp_http *h, uint64_t now)
{
    const struct tp_device *failed = NULL;
    if (now < h->work_ms) {
        return h->work_ms - now;
    }
    for (int i = 0; i < DEVICES_A_STEP && h->work != NULL && h->work != failed; i++) {
        struct tp_device *d = take_work(h);
        if (!look_after(h, d)) {
            tp_apply_work(h, d);
            failed = failed != NULL ? failed : d;
        }
    }
    if (h->work == NULL) {
        return WAIT_MAX_MS;
    }
    if (h->work == failed) {
        h->work_ms = now + tp_http_pause(h, 1, 0);
        return h->work_ms - now;
    }
    return 0;
}

/* ---- into the directory ---- */

/* What an answer of this kind does not say stays as it was. */
static void complete(struct tp_facts *f, const struct tp_device *there)
{
    if (there != NULL) {
        f->name = f->name.len > 0 ? f->name : there->f.name;
        f->access_point = f->access_point.len > 0 ? f->access_point : there->f.access_point;
        f->voucher = f->voucher.len > 0 ? f->voucher : there->f.voucher;
        /* Of a gateway behind a gateway, too: by itself it is not told whose it is. */
        if (f->type != '1' && f->parent.len == 0) {
            f->parent = there->f.parent;
            f->address = f->address.len > 0 ? f->address : there->f.address;
        }
        if (f->access_point.len > 0 && f->settings.len == 0) {
            f->settings = there->f.settings;
        }
    }
    if (f->name.len == 0 && !tpc_str_equal(f->number, f->id)) {
        f->name = f->number;
    }
    if (f->name.len > TP_NAME_MAX) {
        f->name.len = 0;
    }
}

static int put(struct tp_http *h, struct tp_facts *f, uint32_t seen, struct tp_device **ret)
{
    struct tp_device *d = tp_devices_by_id(&h->devices, f->id);
    uint32_t changes = 0;
    char old[TP_VOUCHER_BYTES];
    struct tpc_str before = { old, 0 };
    complete(f, d);
    if (d != NULL && d->f.voucher.len <= sizeof(old)) {
        before.len = d->f.voucher.len;
        memcpy(old, d->f.voucher.ptr, before.len);
    }
    pthread_mutex_lock(&h->lock);
    int rc = tp_devices_put(&h->devices, f, &d, &changes);
    if (rc == 0) {
        (void) tpi_map_remove(&h->gone, f->id.ptr, f->id.len);
        d->seen = seen != 0 ? seen : d->seen;
        d->mark = h->mark;
        d->told = d->told && changes == 0;
        d->changed = d->changed || (changes & (TP_CHANGE_NEW | TP_CHANGE_PLACE)) != 0;
        d->tries = 0;
        for (struct tp_device *up = d->in_core ? NULL : d->gateway; up != NULL; up = up->gateway) {
            up->ready = false;
        }
    }
    uint32_t count = tp_devices_count(&h->devices);
    pthread_mutex_unlock(&h->lock);
    if (rc != 0) {
        h->host->count(h->ctx, rc == TPC_EINVAL ? "devices_wrong" : "devices_passed_over", 1);
        return rc;
    }
    if (changes != 0) {
        tp_http_changed(h);
    }
    if (changes != 0 || !d->in_core) {
        tp_apply_work(h, d);
    }
    if ((changes & TP_CHANGE_VOUCHER) != 0) {
        tp_apply_drop(h, d->f.id);
        resolve(h, before); /* who waits with it is another one now */
    }
    if (TPC_HAS(h->host, struct tpc_host, gauge)) {
        h->host->gauge(h->ctx, "devices", count);
    }
    *ret = d;
    return 0;
}

/* Those behind a gateway: what is not among them any more is gone. */
static int put_behind(struct tp_http *h, struct tp_device *gateway, const struct tpc_value *list,
                      uint32_t seen)
{
    int result = 0;
    h->mark++;
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        struct tp_facts f;
        struct tp_device *d;
        int rc = tp_reply_facts(&list->as.items[i], &h->forms, h->arena, &f);
        if (rc == 0) {
            const struct tp_device *there = tp_devices_by_id(&h->devices, f.id);
            f.parent = gateway->f.id;
            f.type = there != NULL && there->f.type == '2' ? '2' : f.type; /* it is not told here */
            rc = put(h, &f, seen, &d);
        }
        result = rc == TPC_ENOMEM || rc == TPC_EAGAIN ? rc : result;
    }
    if (result != 0) {
        return result;
    }
    for (struct tp_device *d = gateway->first_behind, *next; d != NULL; d = next) {
        next = d->next_behind;
        if (d->mark != h->mark) {
            tp_apply_gone(h, d);
        }
    }
    return 0;
}

/* The platform knows devices of all services, and vouchers of two may be alike. */
static bool is_ours(const struct tp_http *h, const struct tpc_value *v)
{
    struct tpc_str type = tpi_member_text(v, "protocol_type");
    return type.len == 0 || tpc_str_equal(type, tpc_str_from(h->identifier)) != 0;
}

int tp_apply_device(struct tp_http *h, const struct tpc_value *v, struct tpc_str voucher,
                    uint32_t seen, struct tpc_str point)
{
    struct tp_facts f;
    struct tp_device *d;
    int rc = is_ours(h, v) ? tp_reply_facts(v, &h->forms, h->arena, &f) : TPC_EINVAL;
    if (rc != 0) {
        return rc;
    }
    f.voucher = voucher.len > 0 ? voucher : f.voucher;
    f.access_point = point.len > 0 ? point : f.access_point;
    rc = put(h, &f, seen, &d);
    if (rc == 0 && (f.type == '2' || tp_reply_behind(v) != NULL)) {
        rc = put_behind(h, d, tp_reply_behind(v), seen);
    }
    return rc;
}

void tp_apply_gone(struct tp_http *h, struct tp_device *d)
{
    char voucher[TP_VOUCHER_BYTES];
    struct tp_device *gateway = d->gateway;
    struct tpc_str text = { voucher, d->f.voucher.len < sizeof(voucher) ? d->f.voucher.len : 0 };
    memcpy(voucher, d->f.voucher.ptr, text.len);
    while (d->first_behind != NULL) {
        tp_apply_gone(h, d->first_behind); /* at most TP_LEVELS deep */
    }
    if (d->told) {
        (void) tell(h, d, 1);
    }
    tp_apply_drop(h, d->f.id);
    h->host->count(h->ctx, "devices_gone", 1);
    forget_work(h, d);
    pthread_mutex_lock(&h->lock);
    if (tpi_map_count(&h->gone) < h->config->devices_max) {
        (void) tpi_map_put(&h->gone, d->f.id.ptr, d->f.id.len, h, NULL);
    }
    tp_devices_remove(&h->devices, d);
    uint32_t count = tp_devices_count(&h->devices);
    pthread_mutex_unlock(&h->lock);
    if (TPC_HAS(h->host, struct tpc_host, gauge)) {
        h->host->gauge(h->ctx, "devices", count);
    }
    tp_http_changed(h);
    resolve(h, text);
    if (gateway != NULL && !gateway->ready) {
        settle(h, gateway);
    }
}
