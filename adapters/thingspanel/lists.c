/*
 * Lists that the platform has: devices in pages (POST /api/v1/plugin/devices), access points of a
 * third-party service. Read at the start and whenever something may have been missed.
 */
#include "platform.h"

#include "../text/say.h"
#include "base/alloc.h"
#include "data/member.h"

#include <string.h>

enum { WAIT_MAX_MS = 3600000, FRESH_MS = 10000, PAGES_MAX = 1000000 };

static bool is_third_party(const struct tp_http *h)
{
    return h->ops != NULL && h->ops->type == 2;
}

void tp_lists_due(struct tp_http *h)
{
    uint64_t now = tp_http_now(h);
    struct tp_list *lists[] = { &h->list, is_third_party(h) ? &h->points_list : NULL };
    for (int i = 0; i < 2; i++) {
        struct tp_list *l = lists[i];
        if (l == NULL) {
            continue;
        }
        if (l->state == TP_LIST_AWAY || l->page > 0) {
            l->again = true;
        } else if (l->state == TP_LIST_NONE) {
            l->state = TP_LIST_DUE;
            l->page = 0;
            l->failures = 0;
            /* Two reasons at about the same time make one reading. */
            l->due_ms =
                l->done_ms != 0 && now < l->done_ms + FRESH_MS ? l->done_ms + FRESH_MS : now;
        }
    }
}

void tp_lists_hurry(struct tp_http *h)
{
    struct tp_list *lists[] = { &h->list, &h->points_list };
    for (int i = 0; i < 2; i++) {
        if (lists[i]->state == TP_LIST_DUE && lists[i]->failures > 0) {
            lists[i]->due_ms = tp_http_now(h);
        }
    }
}

/* ---- devices ---- */

static int send_page(struct tp_http *h)
{
    struct tp_list *l = &h->list;
    struct tpi_buf b;
    if (l->page == 0) {
        l->seen++;
        l->type = '1';
        l->page = 1;
        l->page_size = TP_PAGE;
    }
    tpi_buf_init(&b, h->host->allocator, 0);
    int rc = tpi_buf_printf(&b, "{\"service_identifier\":");
    rc = rc != 0 ? rc : say_quoted(&b, tpc_str_from(h->identifier));
    rc = rc != 0 ? rc
                 : tpi_buf_printf(&b, ",\"device_type\":\"%c\",\"page\":%u,\"page_size\":%u}",
                                  l->type, (unsigned) l->page, (unsigned) l->page_size);
    rc = rc != 0 ? rc
                 : tp_request_send(h, TP_REQUEST_DEVICES, NULL, (struct tpc_str){ NULL, 0 }, &b);
    tpi_buf_fini(&b);
    return rc;
}

static int send_points(struct tp_http *h, enum tp_request_kind kind, struct tpc_str id)
{
    struct tpi_buf b;
    tpi_buf_init(&b, h->host->allocator, 0);
    int rc = tpi_buf_printf(&b, kind == TP_REQUEST_POINT ? "{\"service_access_id\":"
                                                         : "{\"service_identifier\":");
    rc = rc != 0 ? rc : say_quoted(&b, kind == TP_REQUEST_POINT ? id : tpc_str_from(h->identifier));
    rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
    rc = rc != 0 ? rc : tp_request_send(h, kind, NULL, id, &b);
    tpi_buf_fini(&b);
    return rc;
}

static uint64_t step(struct tp_http *h, struct tp_list *l, uint64_t now)
{
    if (l->state != TP_LIST_DUE) {
        return WAIT_MAX_MS;
    }
    if (now < l->due_ms) {
        return l->due_ms - now;
    }
    l->state = TP_LIST_AWAY; /* before an answer can come */
    int rc = l == &h->list ? send_page(h)
                           : send_points(h, TP_REQUEST_POINTS, (struct tpc_str){ NULL, 0 });
    if (rc != 0) {
        l->state = TP_LIST_DUE;
        l->due_ms = now + tp_http_pause(h, ++l->failures, 0);
        return l->due_ms - now;
    }
    return WAIT_MAX_MS;
}

uint64_t tp_lists_step(struct tp_http *h, uint64_t now)
{
    uint64_t a = step(h, &h->list, now);
    uint64_t b = step(h, &h->points_list, now);
    return a < b ? a : b;
}

/* It failed: the same page again after a pause. */
static void later(struct tp_http *h, struct tp_list *l)
{
    l->state = TP_LIST_DUE;
    l->due_ms = tp_http_now(h) + tp_http_pause(h, ++l->failures, 0);
}

static void ask_again(struct tp_http *h, struct tp_device *d)
{
    pthread_mutex_lock(&h->lock);
    struct tp_ask *a = tp_ask_get(h, true, d->f.id);
    if (a != NULL) {
        tp_ask_want(h, a);
    }
    pthread_mutex_unlock(&h->lock);
    if (a == NULL) {
        h->host->count(h->ctx, "asks_refused", 1);
    }
}

/* Devices that we know and the list has not: the platform lists direct, active ones alone, so each is asked
 * for. Those behind a gateway come with it, those of an access point with that. */
static void ask_for_rest(struct tp_http *h)
{
    size_t at = 0;
    void *value = NULL;
    while (tpi_map_next(&h->devices.by_id, &at, NULL, &value)) {
        struct tp_device *d = value;
        if (d->seen != h->list.seen && d->f.parent.len == 0 && d->f.access_point.len == 0) {
            ask_again(h, d);
        }
    }
}

static void end_list(struct tp_http *h, struct tp_list *l)
{
    l->state = TP_LIST_NONE;
    l->failures = 0;
    l->page = 0;
    l->done_ms = tp_http_now(h);
    if (l->again) {
        l->again = false;
        l->state = TP_LIST_DUE;
        l->due_ms = l->done_ms + FRESH_MS;
    }
}

/* A page was too large for us: smaller ones, or, of one device, the next. */
static void smaller(struct tp_list *l)
{
    if (l->page_size > 1) {
        l->page_size = l->page_size >= 10 ? l->page_size / 10 : 1;
        l->page = 1;
    } else {
        l->page++;
    }
    l->state = TP_LIST_DUE;
    l->due_ms = 0;
}

void tp_list_reply(struct tp_http *h, const struct tp_reply *r)
{
    struct tp_list *l = &h->list;
    const struct tpc_value *list = r->data != NULL ? tpi_member(r->data, "list") : NULL;
    size_t count = list != NULL && list->type == TPC_ARRAY ? list->len : 0;
    if (r->code == TPC_ETOOBIG) {
        h->host->count(h->ctx, "pages_too_large", 1);
        smaller(l);
        return;
    }
    if (r->verdict != TP_REPLY_OK) {
        later(h, l);
        return;
    }
    const struct tpc_str none = { NULL, 0 };
    for (size_t i = 0; i < count; i++) {
        if (tp_apply_device(h, &list->as.items[i], none, l->seen, none) == TPC_ENOMEM) {
            later(h, l);
            return;
        }
    }
    l->failures = 0;
    int64_t total = tpi_member_int(r->data, "total", 0);
    l->state = TP_LIST_DUE;
    l->due_ms = 0;
    if (count > 0 && l->page < PAGES_MAX && (int64_t) l->page * l->page_size < total) {
        l->page++;
    } else if (l->type == '1') {
        l->type = '2';
        l->page = 1;
    } else {
        ask_for_rest(h);
        end_list(h, l);
    }
}

/* ---- access points ---- */

static void free_point(struct tp_http *h, struct tp_point *p)
{
    tpi_free(h->host->allocator, p, p->bytes);
}

static void tell(struct tp_http *h, const struct tp_point *p, int gone)
{
    if (h->ops != NULL && TPC_HAS(h->ops, struct tpc_service_ops, access)) {
        const struct tpc_service_access a = {
            .size = sizeof(a), .id = p->id, .name = p->name, .voucher = p->voucher
        };
        h->ops->access(h->ops_user, &a, gone);
    }
}

static struct tp_point **point_at(struct tp_http *h, struct tpc_str id)
{
    struct tp_point **at = &h->points;
    while (*at != NULL && !tpc_str_equal((*at)->id, id)) {
        at = &(*at)->next;
    }
    return at;
}

static struct tp_point *make_point(struct tp_http *h, struct tpc_str id, struct tpc_str name,
                                   struct tpc_str voucher)
{
    size_t bytes = sizeof(struct tp_point) + id.len + name.len + voucher.len;
    struct tp_point *p = tpi_alloc_zero(h->host->allocator, bytes);
    if (p == NULL) {
        return NULL;
    }
    const struct tpc_str from[3] = { id, name, voucher };
    struct tpc_str *to[3] = { &p->id, &p->name, &p->voucher };
    char *at = p->text;
    for (int i = 0; i < 3; i++) {
        if (from[i].len > 0) {
            memcpy(at, from[i].ptr, from[i].len);
        }
        *to[i] = (struct tpc_str){ at, from[i].len };
        at += from[i].len;
    }
    p->bytes = bytes;
    return p;
}

/* Takes over an access point. 0, TPC_EINVAL (it is none, or there is no room) or TPC_ENOMEM. */
static int put_point(struct tp_http *h, struct tpc_str id, struct tpc_str name,
                     struct tpc_str voucher, bool say, struct tp_point **ret)
{
    struct tp_point **at = point_at(h, id);
    struct tp_point *old = *at;
    if (id.len == 0 || id.len > TP_ID_MAX || name.len > TP_NUMBER_MAX ||
        voucher.len > TP_TEXT_MAX || (old == NULL && h->point_count >= TP_ACCESS_LIMIT)) {
        h->host->count(h->ctx, "access_refused", 1);
        return TPC_EINVAL;
    }
    if (old != NULL && tpc_str_equal(old->name, name) && tpc_str_equal(old->voucher, voucher)) {
        *ret = old;
        return 0;
    }
    struct tp_point *p = make_point(h, id, name, voucher);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    p->next = old != NULL ? old->next : NULL;
    *at = p;
    h->point_count += old == NULL;
    if (old != NULL) {
        free_point(h, old);
    }
    if (say) {
        tell(h, p, 0);
        tp_http_changed(h);
    }
    *ret = p;
    return 0;
}

/* Devices of an access point that its list has no more. */
static void ask_for_rest_of(struct tp_http *h, struct tpc_str id)
{
    size_t at = 0;
    void *value = NULL;
    while (tpi_map_next(&h->devices.by_id, &at, NULL, &value)) {
        struct tp_device *d = value;
        if (d->mark != h->mark && tpc_str_equal(d->f.access_point, id)) {
            ask_again(h, d);
        }
    }
}

/* 0, or TPC_ENOMEM: it is not read to its end. */
static int read_point(struct tp_http *h, const struct tpc_value *v, uint32_t seen)
{
    const struct tpc_value *voucher = tpi_member(v, "voucher");
    const struct tpc_value *devices = tpi_member(v, "devices");
    struct tpc_str id = tpi_member_text(v, "id");
    struct tpc_str text = tpc_value_text(voucher != NULL ? voucher : v);
    id = id.len > 0 ? id : tpi_member_text(v, "service_access_id");
    struct tp_point *p;
    int rc = put_point(h, id, tpi_member_text(v, "name"), text, true, &p);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : 0;
    }
    p->seen = seen != 0 ? seen : p->seen;
    if (devices == NULL || devices->type != TPC_ARRAY) {
        return 0;
    }
    h->mark++;
    for (size_t i = 0; i < devices->len && rc != TPC_ENOMEM; i++) {
        rc = tp_apply_device(h, &devices->as.items[i], (struct tpc_str){ NULL, 0 }, 0, p->id);
    }
    if (rc != TPC_ENOMEM) {
        ask_for_rest_of(h, p->id);
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

static void remove_point(struct tp_http *h, struct tp_point **at)
{
    struct tp_point *p = *at;
    *at = p->next;
    h->point_count--;
    tell(h, p, 1);
    h->mark++;
    ask_for_rest_of(h, p->id);
    free_point(h, p);
    tp_http_changed(h);
}

void tp_points_reply(struct tp_http *h, const struct tp_reply *r)
{
    struct tp_list *l = &h->points_list;
    if (r->verdict != TP_REPLY_OK) {
        later(h, l);
        return;
    }
    const struct tpc_value *list = r->data;
    if (list != NULL && list->type == TPC_MAP) {
        list = tpi_member(list, "list");
    }
    l->seen++;
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        if (read_point(h, &list->as.items[i], l->seen) != 0) {
            later(h, l);
            return;
        }
    }
    struct tp_point **at = &h->points;
    while (*at != NULL) {
        if ((*at)->seen != l->seen) {
            remove_point(h, at);
        } else {
            at = &(*at)->next;
        }
    }
    end_list(h, l);
}

int tp_point_ask(struct tp_http *h, struct tpc_str id)
{
    return id.len == 0 || id.len > TP_ID_MAX ? TPC_EINVAL : send_points(h, TP_REQUEST_POINT, id);
}

void tp_point_reply(struct tp_http *h, struct tpc_str id, const struct tp_reply *r)
{
    struct tp_point **at = point_at(h, id);
    if (r->verdict == TP_REPLY_OK && r->data != NULL && r->data->type == TPC_MAP) {
        if (read_point(h, r->data, 0) != 0) {
            tp_lists_due(h);
        }
    } else if (r->verdict == TP_REPLY_NO) {
        if (*at != NULL) {
            remove_point(h, at);
        }
    } else {
        tp_lists_due(h); /* that tries until it works */
    }
}

int tp_points_save(struct tp_http *h, struct tpi_buf *b)
{
    int rc = 0;
    for (const struct tp_point *p = h->points; p != NULL && rc == 0; p = p->next) {
        rc = tpi_buf_printf(b, "%s{\"id\":", p == h->points ? "" : ",\n");
        rc = rc != 0 ? rc : say_quoted(b, p->id);
        rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"name\":");
        rc = rc != 0 ? rc : say_quoted(b, p->name);
        rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"voucher\":");
        rc = rc != 0 ? rc : say_quoted(b, p->voucher);
        rc = rc != 0 ? rc : tpi_buf_put(b, "}", 1);
    }
    return rc;
}

void tp_points_load(struct tp_http *h, const struct tpc_value *list)
{
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        const struct tpc_value *v = &list->as.items[i];
        struct tp_point *p;
        if (put_point(h, tpi_member_text(v, "id"), tpi_member_text(v, "name"),
                      tpi_member_text(v, "voucher"), false, &p) == 0) {
            tell(h, p, 0);
        }
    }
}

void tp_points_fini(struct tp_http *h)
{
    while (h->points != NULL) {
        struct tp_point *p = h->points;
        h->points = p->next;
        free_point(h, p);
    }
    h->point_count = 0;
}
