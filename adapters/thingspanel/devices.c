/* See devices.h. */
#include "devices.h"

#include "../text/say.h"
#include "base/alloc.h"
#include "data/member.h"

#include <string.h>
#include <tpcore/error.h>

enum { TEXTS = 9 };

void tp_devices_init(struct tp_devices *d, const struct tpc_allocator *alloc, uint32_t max,
                     uint64_t seed)
{
    d->alloc = alloc;
    d->max = max;
    tpi_map_init(&d->by_id, alloc);
    tpi_map_init(&d->by_number, alloc);
    tpi_map_init(&d->by_voucher, alloc);
    /* Numbers and vouchers are what people type. */
    d->by_id.seed = d->by_number.seed = d->by_voucher.seed = seed;
}

static void free_device(struct tp_devices *d, struct tp_device *device)
{
    tpi_free(d->alloc, device->text, device->text_bytes);
    tpi_free(d->alloc, device, sizeof(*device));
}

void tp_devices_fini(struct tp_devices *d)
{
    size_t at = 0;
    void *device = NULL;
    while (tpi_map_next(&d->by_id, &at, NULL, &device)) {
        free_device(d, device);
    }
    tpi_map_fini(&d->by_id);
    tpi_map_fini(&d->by_number);
    tpi_map_fini(&d->by_voucher);
}

uint32_t tp_devices_count(const struct tp_devices *d)
{
    return (uint32_t) tpi_map_count(&d->by_id);
}

static struct tp_device *find(const struct tpi_map *m, struct tpc_str key)
{
    return key.len > 0 ? tpi_map_get(m, key.ptr, key.len) : NULL;
}

struct tp_device *tp_devices_by_id(const struct tp_devices *d, struct tpc_str id)
{
    return find(&d->by_id, id);
}

struct tp_device *tp_devices_by_number(const struct tp_devices *d, struct tpc_str number)
{
    return find(&d->by_number, number);
}

struct tp_device *tp_devices_by_voucher(const struct tp_devices *d, struct tpc_str voucher)
{
    return find(&d->by_voucher, voucher);
}

/* ---- behind a gateway ---- */

static void leave_gateway(struct tp_device *device)
{
    if (device->gateway == NULL) {
        return;
    }
    if (device->prev_behind != NULL) {
        device->prev_behind->next_behind = device->next_behind;
    } else {
        device->gateway->first_behind = device->next_behind;
    }
    if (device->next_behind != NULL) {
        device->next_behind->prev_behind = device->prev_behind;
    }
    device->gateway = device->next_behind = device->prev_behind = NULL;
}

static void join_gateway(struct tp_devices *d, struct tp_device *device)
{
    struct tp_device *gateway = tp_devices_by_id(d, device->f.parent);
    int levels = 0;
    for (const struct tp_device *up = gateway; up != NULL; up = up->gateway) {
        if (up == device || ++levels > TP_LEVELS) {
            return; /* whoever says so: nothing stands behind itself */
        }
    }
    if (gateway == NULL) {
        return;
    }
    device->gateway = gateway;
    device->next_behind = gateway->first_behind;
    if (gateway->first_behind != NULL) {
        gateway->first_behind->prev_behind = device;
    }
    gateway->first_behind = device;
}

/* ---- putting ---- */

static void texts_of(struct tp_facts *f, struct tpc_str *ret[TEXTS])
{
    struct tpc_str *all[TEXTS] = { &f->id,     &f->number,   &f->voucher,
                                   &f->name,   &f->parent,   &f->address,
                                   &f->config, &f->settings, &f->access_point };
    memcpy(ret, all, sizeof(all));
}

static bool acceptable(const struct tp_facts *f)
{
    return f->id.len > 0 && f->id.len <= TP_ID_MAX && f->number.len <= TP_NUMBER_MAX &&
           f->voucher.len <= TP_TEXT_MAX && f->name.len <= TP_NAME_MAX &&
           f->parent.len <= TP_ID_MAX && f->address.len <= TP_NUMBER_MAX &&
           f->config.len <= TP_TEXT_MAX && f->settings.len <= TP_TEXT_MAX &&
           f->access_point.len <= TP_ID_MAX;
}

/* A copy of facts in a block of its own. */
static int copy_facts(const struct tp_devices *d, const struct tp_facts *from, struct tp_facts *ret,
                      void **ret_text, size_t *ret_bytes)
{
    struct tp_facts f = *from;
    struct tpc_str *texts[TEXTS];
    size_t bytes = 1;
    texts_of(&f, texts);
    for (int i = 0; i < TEXTS; i++) {
        bytes += texts[i]->len;
    }
    char *block = tpi_alloc(d->alloc, bytes);
    if (block == NULL) {
        return TPC_ENOMEM;
    }
    char *at = block;
    for (int i = 0; i < TEXTS; i++) {
        if (texts[i]->len > 0) {
            memcpy(at, texts[i]->ptr, texts[i]->len);
        }
        texts[i]->ptr = at;
        at += texts[i]->len;
    }
    *ret = f;
    *ret_text = block;
    *ret_bytes = bytes;
    return 0;
}

static bool same(struct tpc_str a, struct tpc_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static uint32_t changes_of(const struct tp_facts *a, const struct tp_facts *b)
{
    uint32_t changes = 0;
    changes |= same(a->voucher, b->voucher) ? 0 : (uint32_t) TP_CHANGE_VOUCHER;
    changes |= same(a->parent, b->parent) && same(a->address, b->address) && same(a->name, b->name)
                   ? 0
                   : (uint32_t) TP_CHANGE_PLACE;
    changes |= same(a->config, b->config) && same(a->settings, b->settings) &&
                       same(a->number, b->number) && same(a->access_point, b->access_point) &&
                       a->type == b->type
                   ? 0
                   : (uint32_t) TP_CHANGE_CONFIG;
    return changes;
}

/* A way to find it goes, unless it leads to another one by now. */
static void forget(struct tpi_map *m, struct tpc_str key, const struct tp_device *device)
{
    if (find(m, key) == device) {
        tpi_map_remove(m, key.ptr, key.len);
    }
}

static int index_by(struct tpi_map *m, struct tpc_str key, struct tp_device *device)
{
    return key.len > 0 ? tpi_map_put(m, key.ptr, key.len, device, NULL) : 0;
}

/* Its new texts take the place of the old ones. Either all of it happens or nothing. */
static int replace(struct tp_devices *d, struct tp_device *device, const struct tp_facts *f)
{
    struct tp_facts fresh, old = device->f;
    void *text, *old_text = device->text;
    size_t bytes, old_bytes = device->text_bytes;
    int rc = copy_facts(d, f, &fresh, &text, &bytes);
    if (rc != 0) {
        return rc;
    }
    rc = index_by(&d->by_number, fresh.number, device);
    rc = rc != 0 ? rc : index_by(&d->by_voucher, fresh.voucher, device);
    if (rc != 0) {
        if (!same(fresh.number, old.number)) {
            forget(&d->by_number, fresh.number, device);
        }
        tpi_free(d->alloc, text, bytes);
        return rc;
    }
    if (!same(fresh.number, old.number)) {
        forget(&d->by_number, old.number, device);
    }
    if (!same(fresh.voucher, old.voucher)) {
        forget(&d->by_voucher, old.voucher, device);
    }
    device->f = fresh;
    device->text = text;
    device->text_bytes = bytes;
    if (device->gateway == NULL || !same(fresh.parent, device->gateway->f.id)) {
        leave_gateway(device);
        join_gateway(d, device);
    }
    tpi_free(d->alloc, old_text, old_bytes);
    return 0;
}

int tp_devices_put(struct tp_devices *d, const struct tp_facts *f, struct tp_device **ret,
                   uint32_t *ret_changes)
{
    if (!acceptable(f)) {
        return TPC_EINVAL;
    }
    struct tp_device *device = tp_devices_by_id(d, f->id);
    uint32_t changes = TP_CHANGE_NEW;
    int rc = 0;
    if (device != NULL) {
        changes = changes_of(&device->f, f);
        rc = changes != 0 ? replace(d, device, f) : 0;
    } else {
        if (tp_devices_count(d) >= d->max) {
            return TPC_EAGAIN;
        }
        device = tpi_alloc_zero(d->alloc, sizeof(*device));
        if (device == NULL) {
            return TPC_ENOMEM;
        }
        rc = tpi_map_put(&d->by_id, f->id.ptr, f->id.len, device, NULL);
        rc = rc != 0 ? rc : replace(d, device, f);
        if (rc != 0) {
            (void) tpi_map_remove(&d->by_id, f->id.ptr, f->id.len);
            free_device(d, device);
        }
    }
    if (rc == 0) {
        *ret = device;
        *ret_changes = changes;
    }
    return rc;
}

void tp_devices_remove(struct tp_devices *d, struct tp_device *device)
{
    while (device->first_behind != NULL) {
        leave_gateway(device->first_behind);
    }
    leave_gateway(device);
    forget(&d->by_number, device->f.number, device);
    forget(&d->by_voucher, device->f.voucher, device);
    (void) tpi_map_remove(&d->by_id, device->f.id.ptr, device->f.id.len);
    free_device(d, device);
}

/* ---- on the disk ---- */

static int save_text(struct tpi_buf *b, const char *name, struct tpc_str text)
{
    if (text.len == 0) {
        return 0;
    }
    int rc = tpi_buf_printf(b, ",\"%s\":", name);
    return rc != 0 ? rc : say_quoted(b, text);
}

static int save_device(struct tpi_buf *b, const struct tp_device *device)
{
    const struct tp_facts *f = &device->f;
    int rc = tpi_buf_printf(b, "{\"type\":\"%c\"", f->type);
    rc = rc != 0 ? rc : save_text(b, "id", f->id);
    rc = rc != 0 ? rc : save_text(b, "number", f->number);
    rc = rc != 0 ? rc : save_text(b, "voucher", f->voucher);
    rc = rc != 0 ? rc : save_text(b, "name", f->name);
    rc = rc != 0 ? rc : save_text(b, "parent", f->parent);
    rc = rc != 0 ? rc : save_text(b, "address", f->address);
    rc = rc != 0 ? rc : save_text(b, "access_point", f->access_point);
    rc = rc != 0 ? rc : save_text(b, "config", f->config);
    rc = rc != 0 ? rc : save_text(b, "settings", f->settings);
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

int tp_devices_save(const struct tp_devices *d, struct tpi_buf *b)
{
    bool first = true;
    int rc = 0;
    size_t at = 0;
    void *device = NULL;
    while (rc == 0 && tpi_map_next(&d->by_id, &at, NULL, &device)) {
        rc = first ? 0 : tpi_buf_put(b, ",\n", 2);
        first = false;
        rc = rc != 0 ? rc : save_device(b, device);
    }
    return rc;
}

static int load_device(struct tp_devices *d, const struct tpc_value *v)
{
    struct tp_device *device;
    uint32_t changes;
    struct tpc_str type = tpi_member_text(v, "type");
    struct tp_facts f = { .type = type.len == 1 ? type.ptr[0] : '1',
                          .id = tpi_member_text(v, "id"),
                          .number = tpi_member_text(v, "number"),
                          .voucher = tpi_member_text(v, "voucher"),
                          .name = tpi_member_text(v, "name"),
                          .parent = tpi_member_text(v, "parent"),
                          .address = tpi_member_text(v, "address"),
                          .access_point = tpi_member_text(v, "access_point"),
                          .config = tpi_member_text(v, "config"),
                          .settings = tpi_member_text(v, "settings") };
    if (f.type < '1' || f.type > '3') {
        f.type = '1';
    }
    int rc = tp_devices_put(d, &f, &device, &changes);
    return rc == TPC_EINVAL ? 0 : rc;
}

int tp_devices_load(struct tp_devices *d, const struct tpc_value *list)
{
    int rc = 0;
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len && rc == 0; i++) {
        rc = load_device(d, &list->as.items[i]);
    }
    /* They came in any order. */
    size_t at = 0;
    void *value = NULL;
    while (tpi_map_next(&d->by_id, &at, NULL, &value)) {
        struct tp_device *device = value;
        if (device->gateway == NULL) {
            join_gateway(d, device);
        }
    }
    return rc;
}
