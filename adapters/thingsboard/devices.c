#include "devices.h"

#include "../text/say.h"

#include <stddef.h>
#include <string.h>
#include <tpcore/error.h>

#include "data/member.h"

void tb_devices_init(struct tb_devices *d, const struct tpc_allocator *alloc, uint32_t max)
{
    memset(d, 0, sizeof(*d));
    d->alloc = alloc;
    d->max = max;
    tpi_map_init(&d->by_key, alloc);
    tpi_map_init(&d->by_name, alloc);
}

static void give(const struct tb_devices *d, struct tpc_str s)
{
    if (s.ptr != NULL) {
        d->alloc->resize(d->alloc->user, (void *) (uintptr_t) s.ptr, s.len + 1, 0);
    }
}

static int copy(const struct tb_devices *d, struct tpc_str s, struct tpc_str *ret)
{
    char *p = d->alloc->resize(d->alloc->user, NULL, 0, s.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    if (s.len > 0) {
        memcpy(p, s.ptr, s.len);
    }
    p[s.len] = '\0';
    *ret = (struct tpc_str){ p, s.len };
    return 0;
}

static struct tb_name *name_of(const struct tb_device *device)
{
    return (struct tb_name *) (void *) (uintptr_t) (device->name.ptr -
                                                    offsetof(struct tb_name, text));
}

static void free_name(const struct tb_devices *d, struct tb_name *n)
{
    d->alloc->resize(d->alloc->user, n, sizeof(*n) + n->len + 1, 0);
}

static struct tb_name *make_name(const struct tb_devices *d, struct tpc_str text)
{
    struct tb_name *n = d->alloc->resize(d->alloc->user, NULL, 0, sizeof(*n) + text.len + 1);
    if (n != NULL) {
        n->next = NULL;
        n->len = text.len;
        memcpy(n->text, text.ptr, text.len);
        n->text[text.len] = '\0';
    }
    return n;
}

static void free_device(const struct tb_devices *d, struct tb_device *device)
{
    if (device->name.ptr != device->key.ptr) {
        free_name(d, name_of(device));
    }
    give(d, device->key);
    give(d, device->type);
    d->alloc->resize(d->alloc->user, device, sizeof(*device), 0);
}

void tb_devices_fini(struct tb_devices *d)
{
    for (struct tb_device *i = d->first, *next; i != NULL; i = next) {
        next = i->next;
        free_device(d, i);
    }
    for (struct tb_name *n = d->old, *next; n != NULL; n = next) {
        next = n->next;
        free_name(d, n);
    }
    d->first = d->last = NULL;
    d->old = NULL;
    tpi_map_fini(&d->by_key);
    tpi_map_fini(&d->by_name);
}

struct tb_device *tb_devices_get(const struct tb_devices *d, struct tpc_str key)
{
    return tpi_map_get(&d->by_key, key.ptr, key.len);
}

int tb_devices_put(struct tb_devices *d, struct tpc_str key, struct tb_device **ret)
{
    struct tb_device *device = tb_devices_get(d, key);
    if (device != NULL) {
        *ret = device;
        return 0;
    }
    if (d->count >= d->max) {
        return TPC_EAGAIN;
    }
    device = d->alloc->resize(d->alloc->user, NULL, 0, sizeof(*device));
    if (device == NULL) {
        return TPC_ENOMEM;
    }
    memset(device, 0, sizeof(*device));
    if (copy(d, key, &device->key) != 0 ||
        tpi_map_put(&d->by_key, key.ptr, key.len, device, NULL) != 0) {
        device->name = device->key;
        free_device(d, device);
        return TPC_ENOMEM;
    }
    device->name = device->key;
    *(d->last != NULL ? &d->last->next : &d->first) = device;
    d->last = device;
    d->count++;
    *ret = device;
    return 0;
}

static struct tb_device *by_name(const struct tb_devices *d, struct tpc_str name)
{
    struct tb_device *device = tpi_map_get(&d->by_name, name.ptr, name.len);
    if (device == NULL) {
        device = tb_devices_get(d, name);
        device = device != NULL && device->name.ptr == device->key.ptr ? device : NULL;
    }
    return device;
}

struct tpc_str tb_devices_key(const struct tb_devices *d, struct tpc_str name)
{
    const struct tb_device *device = tpi_map_get(&d->by_name, name.ptr, name.len);
    return device != NULL ? device->key : name;
}

static void forget_name(struct tb_devices *d, struct tb_device *device)
{
    if (device->name.ptr != device->key.ptr) {
        tpi_map_remove(&d->by_name, device->name.ptr, device->name.len);
        struct tb_name *n = name_of(device);
        n->next = d->old;
        d->old = n;
        device->name = device->key;
    }
}

static int set_name(struct tb_devices *d, struct tb_device *device, struct tpc_str name)
{
    device->epoch = 0;
    if (tpc_str_equal(name, device->key) != 0) {
        forget_name(d, device);
        return 0;
    }
    struct tb_name *n = make_name(d, name);
    if (n == NULL) {
        return TPC_ENOMEM;
    }
    struct tb_device *other = tpi_map_get(&d->by_name, name.ptr, name.len);
    if (other != NULL && other != device) {
        forget_name(d, other);
    }
    forget_name(d, device);
    if (tpi_map_put(&d->by_name, n->text, n->len, device, NULL) != 0) {
        free_name(d, n);
        return TPC_ENOMEM;
    }
    device->name = (struct tpc_str){ n->text, n->len };
    return 0;
}

static bool good_names(struct tpc_str old, struct tpc_str name)
{
    return old.len > 0 && name.len > 0 && name.len <= TB_NAME_MAX;
}

int tb_devices_rename(struct tb_devices *d, struct tpc_str old, struct tpc_str name)
{
    struct tb_device *device = by_name(d, old);
    int rc = good_names(old, name) ? 0 : TPC_EINVAL;
    if (rc == 0 && device == NULL) {
        rc = tb_devices_put(d, old, &device);
    }
    return rc != 0 ? rc : set_name(d, device, name);
}

int tb_devices_delete(struct tb_devices *d, struct tpc_str name, bool stay_away)
{
    struct tb_device *device = by_name(d, name);
    int rc = 0;
    if (device == NULL && !stay_away) {
        return 0;
    }
    if (device == NULL && (rc = tb_devices_put(d, name, &device)) != 0) {
        return rc;
    }
    forget_name(d, device);
    device->epoch = 0;
    device->online = device->about = false;
    device->deleted = stay_away;
    return 0;
}

int tb_devices_save(const struct tb_devices *d, struct tpi_buf *b)
{
    const char *between = "";
    int rc = tpi_buf_printf(b, "\"renamed\":{");
    for (const struct tb_device *i = d->first; i != NULL && rc == 0; i = i->next) {
        if (i->name.ptr != i->key.ptr) {
            rc = tpi_buf_printf(b, "%s", between);
            rc = rc != 0 ? rc : say_quoted(b, i->key);
            rc = rc != 0 ? rc : tpi_buf_put(b, ":", 1);
            rc = rc != 0 ? rc : say_quoted(b, i->name);
            between = ",";
        }
    }
    rc = rc != 0 ? rc : tpi_buf_printf(b, "},\"deleted\":[");
    between = "";
    for (const struct tb_device *i = d->first; i != NULL && rc == 0; i = i->next) {
        if (i->deleted) {
            rc = tpi_buf_printf(b, "%s", between);
            rc = rc != 0 ? rc : say_quoted(b, i->key);
            between = ",";
        }
    }
    return rc != 0 ? rc : tpi_buf_put(b, "]", 1);
}

int tb_devices_load(struct tb_devices *d, const struct tpc_value *state)
{
    const struct tpc_value *renamed = tpi_member(state, "renamed");
    const struct tpc_value *deleted = tpi_member(state, "deleted");
    struct tb_device *device = NULL;
    int rc = 0;
    /* By their keys: the name of one may be the key of another. */
    for (size_t i = 0; renamed != NULL && renamed->type == TPC_MAP && i < renamed->len && rc == 0;
         i++) {
        const struct tpc_member *m = &renamed->as.members[i];
        struct tpc_str name = tpc_value_text(&m->value);
        if (good_names(m->key, name)) {
            rc = tb_devices_put(d, m->key, &device);
            rc = rc != 0 ? rc : set_name(d, device, name);
        }
    }
    for (size_t i = 0; deleted != NULL && deleted->type == TPC_ARRAY && i < deleted->len && rc == 0;
         i++) {
        struct tpc_str key = tpc_value_text(&deleted->as.items[i]);
        rc = key.len > 0 ? tb_devices_put(d, key, &device) : 0;
        if (key.len > 0 && rc == 0) {
            device->deleted = true;
        }
    }
    return rc;
}
