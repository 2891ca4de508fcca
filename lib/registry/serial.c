/* Serial numbers: a side table of the devices that have one. Changes of entities alone use it, and
 * they run one at a time. */
#include <string.h>

#include "base/alloc.h"
#include "registry/inside.h"

struct tpi_serial {
    uint64_t device;
    size_t len;
    char text[]; /* tenant number, serial: the key in the table */
};

static size_t bytes_of(const struct tpi_serial *s)
{
    return sizeof(*s) + s->len;
}

static struct tpi_serial *make(struct tpi_registry *r, const struct tpi_change *change,
                               struct tpc_str serial)
{
    size_t len = sizeof(change->tenant) + serial.len;
    struct tpi_serial *s = tpi_alloc_zero(r->env->alloc, sizeof(*s) + len);
    if (s != NULL) {
        s->device = change->id;
        s->len = len;
        memcpy(s->text, &change->tenant, sizeof(change->tenant));
        memcpy(s->text + sizeof(change->tenant), serial.ptr, serial.len);
    }
    return s;
}

static void drop(struct tpi_registry *r, struct tpi_serial *s)
{
    if (s != NULL) {
        tpi_map_remove(&r->serials, s->text, s->len);
        tpi_free(r->env->alloc, s, bytes_of(s));
    }
}

int tpi_serial_prepare(struct tpi_registry *r, const struct tpi_change *change,
                       struct tpc_error *err, struct tpi_serial_change *c)
{
    struct tpc_str serial = tpc_value_text(tpc_value_get(change->doc, TPC_STR("serial")));
    c->old = tpi_map64_get(&r->serial_ids, change->id);
    if (serial.len == 0) {
        return 0;
    }
    struct tpi_serial *fresh = make(r, change, serial);
    const struct tpi_serial *there =
        fresh != NULL ? tpi_map_get(&r->serials, fresh->text, fresh->len) : NULL;
    if (there != NULL) {
        tpi_free(r->env->alloc, fresh, bytes_of(fresh));
        if (there == c->old) {
            c->old = NULL; /* it stays */
            return 0;
        }
        if (change->loading) {
            return 0;
        }
        tpi_error_set(err, TPC_EEXIST, tpi_registry_origin, "another device has the serial number");
        tpi_error_at(err, "serial");
        return TPC_EEXIST;
    }
    if (fresh == NULL || tpi_map_put(&r->serials, fresh->text, fresh->len, fresh, NULL) != 0) {
        tpi_free(r->env->alloc, fresh, fresh != NULL ? bytes_of(fresh) : 0);
        return tpi_registry_no_memory(err);
    }
    /* Replacing needs no memory; a first one takes its place now. */
    if (c->old == NULL && tpi_map64_put(&r->serial_ids, change->id, fresh, NULL) != 0) {
        drop(r, fresh);
        return tpi_registry_no_memory(err);
    }
    c->fresh = fresh;
    return 0;
}

void tpi_serial_apply(struct tpi_registry *r, const struct tpi_change *change,
                      const struct tpi_serial_change *c)
{
    if (change->deleted) {
        drop(r, tpi_map64_remove(&r->serial_ids, change->id));
        return;
    }
    if (c->old != NULL && c->fresh == NULL) {
        tpi_map64_remove(&r->serial_ids, change->id);
    } else if (c->old != NULL) {
        (void) tpi_map64_put(&r->serial_ids, change->id, c->fresh, NULL);
    }
    drop(r, c->old);
}

void tpi_serial_discard(struct tpi_registry *r, const struct tpi_change *change,
                        const struct tpi_serial_change *c)
{
    if (c->fresh != NULL && c->old == NULL) {
        tpi_map64_remove(&r->serial_ids, change->id);
    }
    drop(r, c->fresh);
}

void tpi_serial_fini(struct tpi_registry *r)
{
    size_t iter = 0;
    void *s;
    while (tpi_map_next(&r->serials, &iter, NULL, &s)) {
        tpi_free(r->env->alloc, s, bytes_of(s));
    }
    tpi_map_fini(&r->serials);
    tpi_map64_fini(&r->serial_ids);
}
