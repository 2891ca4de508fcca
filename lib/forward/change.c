/* Targets are put and deleted, with messages under way. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "forward/inside.h"

struct fwd_target *fwd_find(struct tpi_forward *f, uint64_t id)
{
    struct fwd_target *found = NULL;
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->targets[i] != NULL && f->targets[i]->id == id) {
            found = f->targets[i];
        }
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

/* "forward:<tenant>.<key>-<id>": the id tells targets apart, the rest is for people. */
static struct tpc_str cursor_name(const struct fwd_target *t, const struct fwd_config *c,
                                  char out[TPI_FORWARD_CURSOR_BYTES + 1])
{
    char id[20];
    int id_len = snprintf(id, sizeof(id), "-%016" PRIx64, t->id);
    size_t at = (size_t) snprintf(out, TPI_FORWARD_CURSOR_BYTES + 1, "forward:");
    size_t end = TPI_FORWARD_CURSOR_BYTES - (size_t) id_len;
    struct tpc_str parts[] = { c->tenant, TPC_STR("."), c->key };
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < parts[i].len && at < end; k++) {
            unsigned char ch = (unsigned char) parts[i].ptr[k];
            bool plain = (ch < 128 && isalnum(ch)) || ch == '-' || ch == '_' || ch == '.';
            out[at++] = (char) (plain ? tolower(ch) : '_');
        }
    }
    memcpy(out + at, id, (size_t) id_len + 1);
    return (struct tpc_str){ out, at + (size_t) id_len };
}

static int open_named(const struct fwd_target *t, const struct fwd_config *c,
                      const struct tpc_bus_ops *bus, void *self, struct tpc_error *err,
                      uint32_t *ret)
{
    char name[TPI_FORWARD_CURSOR_BYTES + 1];
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = TPC_CURSOR_LOSSY,
                                    .start = c->newest ? TPC_START_NEWEST : TPC_START_OLDEST,
                                    .name = cursor_name(t, c, name),
                                    .max_bytes = c->drop == FWD_DROP_OLDEST ? c->keep_bytes : 0,
                                    .max_age_ms = c->keep_age_ms };
    return bus->cursor_open(self, &o, err, ret);
}

/* More than the log keeps does not wait for anybody. */
static void say_small_log(const struct fwd_target *t, const struct fwd_config *c,
                          const struct tpc_bus_ops *bus, void *self)
{
    struct tpc_bus_info info;
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    if (bus->info(self, &info) != 0) {
        return;
    }
    if ((info.max_bytes > 0 && c->keep_bytes > info.max_bytes) ||
        (info.max_age_ms > 0 && c->keep_age_ms > info.max_age_ms)) {
        tpi_log(t->f->env, TPC_LOG_WARN, "forward",
                "%s: keep is more than the log keeps: the log's own bounds come first",
                c->name.ptr);
    }
}

int fwd_cursor_open(struct fwd_target *t, const struct fwd_config *c, struct tpc_error *err)
{
    struct tpi_forward *f = t->f;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    if (t->cursor_open || bus == NULL) {
        return 0;
    }
    int rc = open_named(t, c, bus, self, err, &t->cursor);
    if (rc != 0) {
        return rc;
    }
    t->cursor_open = true;
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        uint64_t at = 0;
        (void) bus->cursor_position(self, t->cursor, i, &at);
        atomic_store_explicit(&t->committed[i], at, memory_order_relaxed);
        t->read_to[i] = at;
    }
    say_small_log(t, c, bus, self);
    return 0;
}

/* Another revision may keep more or less. */
static void renew_cursor(struct fwd_target *t, const struct fwd_config *c)
{
    uint32_t again;
    void *self;
    const struct tpc_bus_ops *bus = t->f->host.bus(t->f->host.user, &self);
    if (t->cursor_open && open_named(t, c, bus, self, NULL, &again) == 0) {
        bus->cursor_close(self, again, 0); /* the first opening stays */
    }
}

static struct fwd_target *target_create(struct tpi_forward *f, uint32_t kind, uint64_t id)
{
    const struct tpc_allocator *a = f->env->alloc;
    struct fwd_target *t = tpi_alloc_zero(a, sizeof(*t));
    if (t == NULL) {
        return NULL;
    }
    t->f = f;
    t->id = id;
    t->kind = kind;
    t->committed = tpi_alloc_array(a, f->host.partitions, sizeof(t->committed[0]));
    t->read_to = tpi_alloc_array(a, f->host.partitions, sizeof(t->read_to[0]));
    t->scratch = tpi_alloc_array(a, f->host.partitions, sizeof(t->scratch[0]));
    t->owner = tpi_alloc_array(a, f->host.partitions, sizeof(t->owner[0]));
    t->gaps = tpi_alloc_array(a, f->host.partitions, sizeof(t->gaps[0]));
    if (t->committed == NULL || t->read_to == NULL || t->scratch == NULL || t->owner == NULL ||
        t->gaps == NULL) {
        fwd_target_destroy(t, false);
        return NULL;
    }
    return t;
}

void fwd_target_destroy(struct fwd_target *t, bool forget)
{
    if (t == NULL) {
        return;
    }
    struct tpi_forward *f = t->f;
    const struct tpc_allocator *a = f->env->alloc;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    if (t->cursor_open && bus != NULL) {
        bus->cursor_close(self, t->cursor, forget ? 1 : 0);
    }
    fwd_config_destroy(t->pending);
    fwd_config_destroy(t->config);
    tpi_free(a, t->committed, f->host.partitions * sizeof(t->committed[0]));
    tpi_free(a, t->read_to, f->host.partitions * sizeof(t->read_to[0]));
    tpi_free(a, t->scratch, f->host.partitions * sizeof(t->scratch[0]));
    tpi_free(a, t->owner, f->host.partitions * sizeof(t->owner[0]));
    tpi_free(a, t->gaps, f->host.partitions * sizeof(t->gaps[0]));
    tpi_free(a, t, sizeof(*t));
}

/* Takes a target off the list. */
static void unlink_target(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    pthread_mutex_lock(&f->lock);
    f->targets[t->slot] = NULL;
    while (f->count > 0 && f->targets[f->count - 1] == NULL) {
        f->count--;
    }
    pthread_mutex_unlock(&f->lock);
}

static int link_target(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    pthread_mutex_lock(&f->lock);
    uint32_t i = 0;
    while (i < f->count && f->targets[i] != NULL) {
        i++;
    }
    bool room = i < TPI_FORWARD_TARGETS;
    if (room) {
        t->slot = i;
        f->targets[i] = t;
        f->count = i == f->count ? i + 1 : f->count;
    }
    pthread_mutex_unlock(&f->lock);
    return room ? 0 : TPC_ETOOBIG;
}

void fwd_count_targets(struct tpi_forward *f)
{
    uint64_t n = 0;
    uint64_t waiting = 0;
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < f->count; i++) {
        n += f->targets[i] != NULL;
        waiting +=
            f->targets[i] != NULL && atomic_load(&f->targets[i]->state) == TPC_FORWARD_WAITING;
    }
    pthread_mutex_unlock(&f->lock);
    TPI_METRIC_SET(f->counters.targets, n);
    TPI_METRIC_SET(f->counters.waiting, waiting);
}

/* What a change is until it is applied. */
struct prepared {
    struct fwd_target *fresh; /* new: on the list, without a config */
    struct fwd_config *config;
};

static int make(struct tpi_forward *f, uint32_t kind, struct tpi_change *change, struct prepared *p,
                struct tpc_error *err)
{
    int rc = fwd_config_create(f, kind, change, err, &p->config);
    if (rc != 0) {
        return rc;
    }
    if (atomic_load(&f->running) && p->config->enabled && p->config->resolved && !change->loading) {
        rc = fwd_config_open(f, p->config, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (fwd_find(f, change->id) != NULL) {
        return 0;
    }
    p->fresh = target_create(f, kind, change->id);
    if (p->fresh == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "forward", "out of memory");
    }
    rc = fwd_cursor_open(p->fresh, p->config, err);
    if (rc != 0) {
        return rc;
    }
    rc = link_target(p->fresh);
    return rc == 0 ? 0
                   : tpi_error_set(err, rc, "forward", "more than %d targets", TPI_FORWARD_TARGETS);
}

static void unmake(struct prepared *p, bool linked)
{
    fwd_config_destroy(p->config);
    if (p->fresh != NULL) {
        if (linked) {
            unlink_target(p->fresh);
        }
        fwd_target_destroy(p->fresh, true);
    }
}

int fwd_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    const struct fwd_kind_user *k = user;
    struct tpi_forward *f = k->f;
    change->prepared = NULL;
    pthread_mutex_lock(&f->changes);
    if (change->deleted) {
        return 0;
    }
    struct prepared *p = tpc_arena_take(change->arena, sizeof(*p));
    int rc = p != NULL ? 0 : tpi_error_set(err, TPC_ENOMEM, "forward", "out of memory");
    if (rc == 0) {
        *p = (struct prepared){ NULL, NULL };
        rc = make(f, k->kind, change, p, err);
    }
    if (rc != 0) {
        if (p != NULL) {
            unmake(p, false);
        }
        pthread_mutex_unlock(&f->changes);
        return rc;
    }
    change->prepared = p;
    return 0;
}

/* With nobody who turns, a change is taken over at once. */
static void settle(struct tpi_forward *f, struct fwd_target *t)
{
    if (atomic_load(&f->running)) {
        f->host.wake(f->host.user);
    } else {
        (void) fwd_take_changes(t);
    }
}

void fwd_apply(void *user, struct tpi_change *change)
{
    const struct fwd_kind_user *k = user;
    struct tpi_forward *f = k->f;
    struct prepared *p = change->prepared;
    struct fwd_target *t = p != NULL && p->fresh != NULL ? p->fresh : fwd_find(f, change->id);
    struct fwd_config *old = NULL;
    if (t != NULL) {
        pthread_mutex_lock(&f->lock);
        t->gone = p == NULL;
        if (p != NULL) {
            old = t->pending;
            t->pending = p->config;
        }
        pthread_mutex_unlock(&f->lock);
        settle(f, t);
    }
    fwd_config_destroy(old);
    pthread_mutex_unlock(&f->changes);
}

void fwd_discard(void *user, struct tpi_change *change)
{
    const struct fwd_kind_user *k = user;
    if (change->prepared != NULL) {
        unmake(change->prepared, true);
        change->prepared = NULL;
    }
    pthread_mutex_unlock(&k->f->changes);
}

static void tell_waiting(struct fwd_target *t, const struct fwd_config *c)
{
    atomic_store(&t->state, c->enabled ? TPC_FORWARD_WAITING : TPC_FORWARD_DISABLED);
    if (c->enabled && !c->resolved && !t->waiting_told) {
        tpi_log(t->f->env, TPC_LOG_WARN, "forward", "%s waits: %s", c->name.ptr, c->why.text);
        t->waiting_told = true;
        fwd_note(t, &c->why);
    }
}

bool fwd_take_changes(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    bool busy = fwd_in_flight(t);
    pthread_mutex_lock(&f->lock);
    t->draining = busy && (t->pending != NULL || t->gone);
    bool changed = !busy && t->pending != NULL;
    bool gone = !busy && t->gone;
    pthread_mutex_unlock(&f->lock);
    if (!changed && !gone) {
        return true;
    }
    if (t->config != NULL) {
        fwd_drop_batches(t);
    }
    if (gone) {
        unlink_target(t);
        fwd_target_destroy(t, true);
        fwd_count_targets(f);
        return false;
    }
    pthread_mutex_lock(&f->lock);
    struct fwd_config *old = t->config;
    t->config = t->pending;
    t->pending = NULL;
    pthread_mutex_unlock(&f->lock);
    fwd_drop_batches(t);
    if (old != NULL) {
        renew_cursor(t, t->config);
    }
    t->attempts = 0;
    t->due_ms = 0;
    t->token_due_ms = 0;
    memset(&t->messages, 0, sizeof(t->messages));
    memset(&t->points, 0, sizeof(t->points));
    t->waiting_told = false;
    tell_waiting(t, t->config);
    fwd_config_destroy(old);
    fwd_count_targets(f);
    return true;
}
