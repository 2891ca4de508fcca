/* A device's commands, the newest first: the open ones from the workers, the others from the store. */
#include <stdlib.h>
#include <string.h>

#include "core/command_rows.h"

enum { LIMIT = 100, LIMIT_MAX = 10000, PAGE = 64 };

struct listing {
    struct tpc_core *core;
    const struct tpc_command_filter *filter;
    tpc_command_list_fn *fn;
    void *user;
    uint64_t device_id;
    bool running;
    uint32_t left; /* records that may still be given */
    int rc;        /* what fn said */
    struct tpc_id *open;
    uint32_t open_count, open_cap, open_at;
    struct tpc_id page[PAGE];
    uint32_t page_count, page_at;
    bool more;           /* there may be another page */
    struct tpc_id after; /* where it begins; zero = at the newest */
};

static bool is_zero(const struct tpc_id *id)
{
    static const struct tpc_id none;
    return memcmp(id, &none, sizeof(none)) == 0;
}

static int newer_first(const void *a, const void *b)
{
    return memcmp(b, a, sizeof(struct tpc_id));
}

/* ---- where ids come from ---- */

/* Counted first: that many fit, unless more came meanwhile; those are newer than the call. */
static int take_open(struct listing *l)
{
    struct tpc_core *core = l->core;
    uint32_t cap = 0;
    for (uint32_t i = 0; i < core->worker_count; i++) {
        cap += tpi_downlink_ids(core->workers[i].downlink, l->device_id, NULL, 0);
    }
    l->open = cap > 0 ? tpi_alloc_array(core->env.alloc, cap, sizeof(*l->open)) : NULL;
    l->open_cap = l->open != NULL ? cap : 0;
    for (uint32_t i = 0; l->open != NULL && i < core->worker_count; i++) {
        uint32_t room = cap - l->open_count;
        uint32_t n = tpi_downlink_ids(core->workers[i].downlink, l->device_id,
                                      l->open + l->open_count, room);
        l->open_count += n < room ? n : room;
    }
    if (l->open_count > 0) {
        qsort(l->open, l->open_count, sizeof(l->open[0]), newer_first);
    }
    while (l->open_at < l->open_count && !is_zero(&l->after) &&
           memcmp(&l->open[l->open_at], &l->after, sizeof(l->after)) >= 0) {
        l->open_at++;
    }
    return cap > 0 && l->open == NULL ? TPC_ENOMEM : 0;
}

static int take_id(void *user, const struct tpc_row *row)
{
    struct listing *l = user;
    char own[TPI_COMMAND_OF_BYTES];
    tpi_command_of_key(l->device_id, NULL, own);
    if (row->key.len < 16 || memcmp(row->key.ptr, own, 16) != 0) {
        l->more = false; /* the next device's */
        return TPC_ECANCELED;
    }
    if (tpi_command_of_id(row->key, &l->page[l->page_count]) == 0) {
        l->page_count++;
    }
    return 0;
}

static int read_page(struct listing *l)
{
    struct tpi_part *store = l->core->entities_part;
    char after[TPI_COMMAND_OF_BYTES];
    tpi_command_of_key(l->device_id, is_zero(&l->after) ? NULL : &l->after, after);
    struct tpc_store_query q = { .size = sizeof(q),
                                 .space = TPC_SPACE_RECORD,
                                 .kind = TPC_STR("command_of"),
                                 .after_key = tpc_str_from(after),
                                 .limit = PAGE };
    l->page_count = 0;
    l->page_at = 0;
    int rc = store->ops->store.query(store->self, &q, take_id, l);
    l->more = l->more && l->page_count == PAGE;
    if (l->page_count > 0) {
        l->after = l->page[l->page_count - 1];
    }
    return rc == TPC_ECANCELED ? 0 : rc;
}

/* The next id of both; 1, 0 = there is none, or an error. */
static int next_id(struct listing *l, struct tpc_id *ret)
{
    int rc = l->page_at == l->page_count && l->more ? read_page(l) : 0;
    if (rc != 0) {
        return tpi_fail(rc, "command", "commands cannot be read from the store");
    }
    const struct tpc_id *a = l->open_at < l->open_count ? &l->open[l->open_at] : NULL;
    const struct tpc_id *b = l->page_at < l->page_count ? &l->page[l->page_at] : NULL;
    int order = a == NULL ? 1 : b == NULL ? -1 : newer_first(a, b);
    if (a == NULL && b == NULL) {
        return 0;
    }
    *ret = order <= 0 ? *a : *b;
    l->open_at += order <= 0;
    l->page_at += order >= 0;
    return 1;
}

/* ---- what they stand for ---- */

static bool wanted(const struct tpc_command_filter *f, const struct tpc_command *c)
{
    return (f->service.len == 0 || tpc_str_equal(f->service, c->service)) &&
           (f->state == 0 || f->state == c->state) && c->created_unix_ms >= f->from_unix_ms &&
           (f->to_unix_ms == 0 || c->created_unix_ms < f->to_unix_ms);
}

static void give(void *user, const struct tpc_command *c)
{
    struct listing *l = user;
    if (wanted(l->filter, c)) {
        l->left--;
        l->rc = l->fn(l->user, c);
    }
}

static int walk(struct listing *l)
{
    struct tpc_id id;
    int rc = 0;
    while (l->left > 0 && l->rc == 0 && (rc = next_id(l, &id)) > 0) {
        rc = tpi_command_find(l->core, &id, l->running, give, l);
        if (rc != 0 && rc != TPC_ENOENT) { /* it has just made room */
            return tpi_fail(rc, "command", "a command cannot be read");
        }
    }
    return rc < 0 && rc != TPC_ENOENT ? rc : l->rc;
}

static int find_device(struct tpc_core *core, const struct tpc_command_filter *f, uint64_t *ret)
{
    int rc = tpi_core_entities(core, tpi_fail_begin());
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    struct tpc_str tenant = f->tenant.len > 0 ? f->tenant : TPC_STR("main");
    tpi_registry_read_lock(core->registry);
    const struct tpc_device *d = tpi_registry_find(core->registry, tenant, f->device);
    *ret = d != NULL ? d->id : 0;
    tpi_registry_read_unlock(core->registry);
    return d != NULL ? 0 : tpi_fail(TPC_ENOENT, "command", "no such device");
}

/* Open ones first: what ends meanwhile is in the store by the time that is read. */
static int begin(struct listing *l)
{
    l->running = tpi_core_enter(l->core) == 0;
    if (!l->running) {
        return 0;
    }
    int rc = take_open(l);
    tpi_core_leave(l->core);
    if (rc != 0) {
        return tpi_fail(rc, "command", "out of memory");
    }
    (void) tpi_pump_catch_up(l->core);
    return 0;
}

int tpc_command_list(struct tpc_core *core, const struct tpc_command_filter *given,
                     tpc_command_list_fn *fn, void *user)
{
    struct tpc_command_filter f = TPC_COMMAND_FILTER_INIT;
    if (core == NULL || fn == NULL || given == NULL || given->size < sizeof(f) ||
        given->device.len == 0 || given->state > TPC_COMMAND_UNKNOWN) {
        return tpi_fail(TPC_EINVAL, "command",
                        "core, fn or the filter's size or device is missing");
    }
    f = *given;
    f.limit = f.limit == 0 ? LIMIT : f.limit < LIMIT_MAX ? f.limit : LIMIT_MAX;
    struct listing l = { .core = core,
                         .filter = &f,
                         .fn = fn,
                         .user = user,
                         .left = f.limit,
                         .more = true,
                         .after = f.before };
    int rc = find_device(core, &f, &l.device_id);
    rc = rc != 0 ? rc : begin(&l);
    rc = rc != 0 ? rc : walk(&l);
    tpi_free(core->env.alloc, l.open, l.open_cap * sizeof(*l.open));
    return rc;
}
