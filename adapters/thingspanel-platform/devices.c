/* A device's configuration, and the devices of a service: contract thingspanel 3.2 items 2 and 3. */
#include "inside.h"

#include <string.h>

#include "base/error.h"
#include "data/member.h"

enum { SUBS_MAX = 10000, ID_BYTES = 36, TEXT_BYTES = 255 };

static const struct tpc_value nothing = { TPC_NULL, 0, 0, { .i = 0 } };

static struct tpc_value object_or_null(const struct tpc_value *doc, const char *member)
{
    const struct tpc_value *v = tpi_member(doc, member);
    return v != NULL && v->type == TPC_MAP ? *v : nothing;
}

/* Products that were read for this request. */
struct products {
    struct panel *p;
    struct tpc_arena *arena;
    struct product {
        struct product *next;
        struct panel_doc doc;
    } * first;
};

static const struct panel_doc *product_of(struct products *all, const struct panel_doc *device)
{
    struct tpc_str key = tpi_member_text(&device->doc, "product");
    for (struct product *x = all->first; x != NULL; x = x->next) {
        if (tpc_str_equal(x->doc.key, key)) {
            return &x->doc;
        }
    }
    struct product *x = tpc_arena_take(all->arena, sizeof(*x));
    if (x == NULL || panel_get(all->p, all->arena, "product", key, &x->doc) != 0) {
        return NULL;
    }
    x->next = all->first;
    all->first = x;
    return &x->doc;
}

static struct tpc_str address_of(const struct panel_doc *d)
{
    struct tpc_str address = tpi_member_text(&d->doc, "address");
    return address.len > 0 ? address : d->key;
}

struct subs {
    struct products *products;
    struct tpc_value *items;
    size_t count, cap;
};

static int add_sub(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                   struct tpc_str json)
{
    struct subs *s = user;
    struct tpc_arena *arena = s->products->arena;
    struct panel_doc d;
    struct panel_map m;
    int rc = panel_parse(arena, key, json, info, &d);
    if (rc != 0) {
        return rc;
    }
    const struct panel_doc *product = product_of(s->products, &d);
    if (product == NULL || s->count == SUBS_MAX) {
        return TPC_ETOOBIG;
    }
    struct tpc_str voucher = panel_voucher(s->products->p, arena, &d);
    if (voucher.ptr == NULL) {
        return TPC_ENOMEM;
    }
    if (s->count == s->cap) {
        size_t cap = s->cap > 0 ? s->cap * 2 : 16;
        struct tpc_value *more = tpc_arena_take(arena, cap * sizeof(*more));
        if (more == NULL) {
            return TPC_ENOMEM;
        }
        if (s->count > 0) {
            memcpy(more, s->items, s->count * sizeof(*more));
        }
        s->items = more;
        s->cap = cap;
    }
    panel_map_begin(&m, arena, 6);
    panel_map_put(&m, "device_id", panel_text(d.key));
    panel_map_put(&m, "device_number", panel_text(d.key));
    panel_map_put(&m, "voucher", panel_text(voucher));
    panel_map_put(&m, "sub_device_addr", panel_text(address_of(&d)));
    panel_map_put(&m, "config", object_or_null(&d.doc, "protocol_config"));
    panel_map_put(&m, "protocol_config_template", object_or_null(&product->doc, "protocol_config"));
    s->items[s->count++] = panel_map_end(&m);
    return m.failed ? TPC_ENOMEM : 0;
}

/* The object of item 2. Returns 0, TPC_ENOENT (its product), TPC_ETOOBIG, TPC_ENOMEM or the store's. */
static int describe(struct products *all, const struct panel_doc *d, struct tpc_value *ret)
{
    struct panel_map m;
    const struct panel_doc *product = product_of(all, d);
    struct subs subs = { .products = all };
    if (product == NULL) {
        return TPC_ENOENT;
    }
    const char *type = panel_device_type(&product->doc, &d->doc);
    struct tpc_str protocol = tpi_member_text(&product->doc, "protocol");
    if (type[0] == '2') {
        int rc = panel_each(all->p, "device", "gateway", d->key, add_sub, &subs);
        if (rc != 0) {
            return rc;
        }
    }
    struct tpc_str voucher = panel_voucher(all->p, all->arena, d);
    if (voucher.ptr == NULL) {
        return TPC_ENOMEM;
    }
    panel_map_begin(&m, all->arena, 8);
    panel_map_put(&m, "id", panel_text(d->key));
    panel_map_put(&m, "voucher", panel_text(voucher));
    panel_map_put(&m, "device_type", panel_text(tpc_str_from(type)));
    panel_map_put(&m, "protocol_type", panel_text(protocol.len > 0 ? protocol : TPC_STR("MQTT")));
    panel_map_put(&m, "device_number", panel_text(d->key));
    panel_map_put(&m, "config", object_or_null(&d->doc, "protocol_config"));
    panel_map_put(&m, "protocol_config_template", object_or_null(&product->doc, "protocol_config"));
    panel_map_put(&m, "sub_devices",
                  subs.count > 0
                      ? (struct tpc_value){ TPC_ARRAY, 0, subs.count, { .items = subs.items } }
                      : nothing);
    *ret = panel_map_end(&m);
    return m.failed ? TPC_ENOMEM : 0;
}

/* Whose voucher it is. Returns 0, TPC_ENOENT or TPC_EAGAIN (too many failures). */
static int by_voucher(struct panel *p, struct tpc_str voucher, struct tpc_identity *who)
{
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.tenant = p->tenant;
    q.voucher = voucher;
    int rc = p->api->auth_check(p->core, &q, who);
    return rc == TPC_EAGAIN ? rc : rc != 0 || who->role != TPC_ROLE_DEVICE ? TPC_ENOENT : 0;
}

void panel_config(struct panel *p, struct panel_job *job)
{
    struct tpc_str id = tpi_member_text(&job->in, "device_id");
    struct tpc_str voucher = tpi_member_text(&job->in, "voucher");
    struct tpc_str number = tpi_member_text(&job->in, "device_number");
    struct products all = { .p = p, .arena = job->arena };
    struct tpc_identity who;
    struct panel_doc d;
    int rc = 0;
    if (id.len > ID_BYTES || voucher.len > TEXT_BYTES || number.len > TEXT_BYTES ||
        id.len + voucher.len + number.len == 0) {
        panel_fail(job, PANEL_PARAMETER, "device_id, voucher or device_number");
        return;
    }
    char kind = id.len > 0 ? 'i' : voucher.len > 0 ? 'v' : 'n';
    struct tpc_str asked = id.len > 0 ? id : voucher.len > 0 ? voucher : number;
    if (kind != 'i' && !panel_rate_take(&p->rate, kind, asked, panel_mono_ms(p))) {
        p->host->count(p->ctx, "limited", 1);
        panel_fail(job, PANEL_LIMITED, NULL);
        return;
    }
    if (kind == 'v') {
        rc = by_voucher(p, voucher, &who);
        asked = rc == 0 ? tpc_str_from(who.key) : asked;
    }
    rc = rc != 0 ? rc : panel_get(p, job->arena, "device", asked, &d);
    if (rc == TPC_EAGAIN) {
        panel_fail(job, PANEL_LIMITED, NULL);
    } else if (rc != 0) {
        panel_fail(job, rc == TPC_ENOENT ? PANEL_DATABASE : PANEL_INTERNAL,
                   rc == TPC_ENOENT ? "record not found" : NULL);
    } else if (describe(&all, &d, &job->data) != 0) {
        panel_fail(job, PANEL_INTERNAL, "its template or its sub-devices cannot be read");
    }
}

/* ---- all of a service ---- */

struct page {
    struct products products;
    struct tpc_value *items;
    int64_t total;
    size_t first, count, cap;
    char type;
};

/* Whether it is of another type than those that are asked for, because it stands behind a gateway. */
static bool is_other(struct page *page, const struct panel_doc *d)
{
    const struct panel_doc *product = product_of(&page->products, d);
    return product != NULL && panel_device_type(&product->doc, &d->doc)[0] != page->type;
}

static int of_page(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                   struct tpc_str json)
{
    struct page *page = user;
    struct panel_doc d;
    bool parsed = memmem(json.ptr, json.len, "\"enabled\"", 9) != NULL ||
                  memmem(json.ptr, json.len, "\"gateway\"", 9) != NULL;
    int rc = parsed ? panel_parse(page->products.arena, key, json, info, &d) : 0;
    if (rc != 0) {
        return rc;
    }
    if (parsed && (!tpi_member_bool(&d.doc, "enabled", true) || is_other(page, &d))) {
        return 0;
    }
    size_t at = (size_t) page->total++;
    if (at < page->first || page->count == page->cap) {
        return 0;
    }
    rc = parsed ? 0 : panel_parse(page->products.arena, key, json, info, &d);
    rc = rc != 0 ? rc : describe(&page->products, &d, &page->items[page->count]);
    page->count += rc == 0;
    return rc;
}

struct of_service {
    struct tpc_str type; /* "1" or "2" */
    struct tpc_arena *arena;
    struct keys {
        struct keys *next;
        struct tpc_str key;
    } * first, **last;
};

static int of_product(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                      struct tpc_str json)
{
    struct of_service *s = user;
    struct panel_doc d;
    int rc = panel_parse(s->arena, key, json, info, &d);
    if (rc == 0 && tpc_str_equal(tpc_str_from(panel_device_type(&d.doc, NULL)), s->type)) {
        struct keys *k = tpc_arena_take(s->arena, sizeof(*k));
        if (k == NULL) {
            return TPC_ENOMEM;
        }
        *k = (struct keys){ NULL, d.key };
        *s->last = k;
        s->last = &k->next;
    }
    return rc;
}

/* A page number: a number, or text with one in it. 0 = it is none. */
static int64_t number_of(const struct tpc_value *v)
{
    int64_t n = 0;
    if (v != NULL && v->type == TPC_TEXT && v->len > 0 && v->len <= 9) {
        for (size_t i = 0; i < v->len; i++) {
            if (v->as.text[i] < '0' || v->as.text[i] > '9') {
                return 0;
            }
            n = n * 10 + (v->as.text[i] - '0');
        }
        return n;
    }
    return v != NULL && v->type != TPC_BOOL && tpc_value_int(v, &n) == 0 ? n : 0;
}

static int fill_page(struct panel *p, struct tpc_str service, struct tpc_str type,
                     struct page *page)
{
    struct of_service of = { .type = type, .arena = page->products.arena };
    of.last = &of.first;
    page->items = tpc_arena_take(page->products.arena, (page->cap + 1) * sizeof(*page->items));
    if (page->items == NULL) {
        return TPC_ENOMEM;
    }
    int rc = panel_each(p, "product", "protocol", service, of_product, &of);
    for (struct keys *k = of.first; rc == 0 && k != NULL; k = k->next) {
        rc = panel_each(p, "device", "product", k->key, of_page, page);
    }
    return rc;
}

void panel_devices(struct panel *p, struct panel_job *job)
{
    struct tpc_str service = tpi_member_text(&job->in, "service_identifier");
    struct tpc_value type_value = nothing;
    const struct tpc_value *given = tpi_member(&job->in, "device_type");
    if (given != NULL) {
        type_value = given->type == TPC_TEXT ? *given : panel_json_text(job->arena, given, "");
    }
    struct tpc_str type = tpc_value_text(&type_value);
    int64_t number = number_of(tpi_member(&job->in, "page"));
    int64_t size = number_of(tpi_member(&job->in, "page_size"));
    struct page page = { .products = { .p = p, .arena = job->arena } };
    struct panel_map m;
    if (service.len == 0 || number < 1 || number > INT32_MAX || size < 1 || size > PANEL_PAGE_MAX) {
        panel_fail(job, PANEL_PARAMETER, "service_identifier, page or page_size");
        return;
    }
    page.first = (size_t) (number - 1) * (size_t) size;
    page.cap = (size_t) size;
    page.type = type.len > 0 ? type.ptr[0] : ' ';
    bool wanted = tpc_str_equal(type, TPC_STR("1")) || tpc_str_equal(type, TPC_STR("2"));
    if (wanted && fill_page(p, service, type, &page) != 0) {
        panel_fail(job, PANEL_INTERNAL, "a device cannot be read, or the page is too big");
        return;
    }
    panel_map_begin(&m, job->arena, 2);
    panel_map_put(&m, "total", panel_int(page.total));
    panel_map_put(&m, "list",
                  page.count > 0
                      ? (struct tpc_value){ TPC_ARRAY, 0, page.count, { .items = page.items } }
                      : nothing);
    job->data = panel_map_end(&m);
}
