#include "clients.h"

#include <stdint.h>
#include <string.h>
#include <tpcore/alloc.h>

#include "base/alloc.h"
#include "base/hash.h"

void clients_init(struct clients *c)
{
    memset(c, 0, sizeof(*c));
    tpi_map64_init(&c->by_handle, tpc_allocator_default());
    tpi_map64_init(&c->devices, tpc_allocator_default());
    tpi_map64_init(&c->held, tpc_allocator_default());
}

void clients_fini(struct clients *c)
{
    while (c->first != NULL) {
        struct client *next = c->first->next;
        tpi_free(tpc_allocator_default(), c->first, sizeof(*c->first));
        c->first = next;
    }
    tpi_map64_fini(&c->by_handle);
    tpi_map64_fini(&c->devices);
    tpi_map64_fini(&c->held);
}

static uint64_t key_of(const void *handle)
{
    return (uint64_t) (uintptr_t) handle;
}

static uintptr_t connections(const struct clients *c, uint64_t device)
{
    return (uintptr_t) tpi_map64_get(&c->devices, device);
}

static int set_connections(struct clients *c, uint64_t device, uintptr_t count)
{
    if (count == 0) {
        (void) tpi_map64_remove(&c->devices, device);
        return 0;
    }
    return tpi_map64_put(&c->devices, device, (void *) count, NULL);
}

struct client *clients_find(const struct clients *c, const void *handle)
{
    return tpi_map64_get(&c->by_handle, key_of(handle));
}

int clients_add(struct clients *c, const void *handle, const struct tpc_identity *who,
                bool *ret_first)
{
    struct tpc_identity old;
    bool last;
    (void) clients_remove(c, handle, &old, &last);
    *ret_first = false;
    struct client *n = tpi_alloc_zero(tpc_allocator_default(), sizeof(*n));
    if (n == NULL) {
        return TPC_ENOMEM;
    }
    bool device = who->role == TPC_ROLE_DEVICE;
    uintptr_t count = device ? connections(c, who->id) + 1 : 0;
    if (tpi_map64_put(&c->by_handle, key_of(handle), n, NULL) != 0 ||
        (device && set_connections(c, who->id, count) != 0)) {
        (void) tpi_map64_remove(&c->by_handle, key_of(handle));
        tpi_free(tpc_allocator_default(), n, sizeof(*n));
        return TPC_ENOMEM;
    }
    n->handle = handle;
    n->who = *who;
    n->next = c->first;
    if (n->next != NULL) {
        n->next->prev = n;
    }
    c->first = n;
    *ret_first = count == 1;
    return 0;
}

static uint64_t hash_of(const char *id)
{
    return tpi_hash(id, strlen(id), 0) | 1;
}

int clients_hold_id(struct clients *c, struct client *n, const char *id)
{
    uint64_t hash = hash_of(id);
    int rc = tpi_map64_put(&c->held, hash, n, NULL);
    n->held = rc == 0 ? hash : 0;
    return rc;
}

bool clients_id_held(const struct clients *c, const char *id)
{
    return tpi_map64_get(&c->held, hash_of(id)) != NULL;
}

bool clients_remove(struct clients *c, const void *handle, struct tpc_identity *ret_who,
                    bool *ret_last)
{
    struct client *n = tpi_map64_remove(&c->by_handle, key_of(handle));
    *ret_last = false;
    if (n == NULL) {
        return false;
    }
    if (n->who.role == TPC_ROLE_DEVICE) {
        uintptr_t count = connections(c, n->who.id) - 1;
        (void) set_connections(c, n->who.id, count); /* replaces or removes: no memory */
        *ret_last = count == 0;
    }
    if (n->prev != NULL) {
        n->prev->next = n->next;
    } else {
        c->first = n->next;
    }
    if (n->next != NULL) {
        n->next->prev = n->prev;
    }
    for (int i = 0; i < CLIENTS_WALKS; i++) {
        if (c->cursor[i] == n) {
            c->cursor[i] = n->next;
        }
    }
    if (n->held != 0 && tpi_map64_get(&c->held, n->held) == n) {
        (void) tpi_map64_remove(&c->held, n->held); /* not if another one took it over */
    }
    clients_told(c, n);
    c->hearing -= n->hears_why;
    *ret_who = n->who;
    tpi_free(tpc_allocator_default(), n, sizeof(*n));
    return true;
}

struct client *clients_registering(const struct clients *c, struct tpc_str product,
                                   struct tpc_str device)
{
    struct client *n = c->first;
    while (n != NULL && (n->who.role != TPC_ROLE_REGISTER ||
                         tpc_str_equal(tpc_str_from(n->who.key), device) == 0 ||
                         tpc_str_equal(tpc_str_from(n->who.product), product) == 0)) {
        n = n->next;
    }
    return n;
}

void clients_want_status(struct clients *c, struct client *n)
{
    c->wanting += !n->wants_status;
    n->wants_status = true;
    c->cursor[WALK_STATUS] = c->first;
}

struct client *clients_wanting(const struct clients *c)
{
    struct client *n = c->wanting > 0 ? c->first : NULL;
    while (n != NULL && !n->wants_status) {
        n = n->next;
    }
    return n;
}

void clients_told(struct clients *c, struct client *n)
{
    c->wanting -= n->wants_status;
    n->wants_status = false;
}

void clients_hear_why(struct clients *c, struct client *n)
{
    c->hearing += !n->hears_why;
    n->hears_why = true;
}

struct client *clients_next(struct clients *c, enum clients_walk walk)
{
    struct client *n = c->cursor[walk];
    c->cursor[walk] = n != NULL ? n->next : c->first;
    return n;
}
