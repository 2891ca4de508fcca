/* The stage: its life, its turns, what it tells. */
#include "forward/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/error.h"
#include "forward/inside.h"

enum { KIND_VERSION = 1, ORPHANS = 64 };

#define COUNTER(member, text)                                                                      \
    {                                                                                              \
        "forward_" #member "_total", text, 1, offsetof(struct tpi_forward_counters, member)        \
    }
#define GAUGE(member, text)                                                                        \
    {                                                                                              \
        "forward_" #member, text, 2, offsetof(struct tpi_forward_counters, member)                 \
    }

const struct tpi_metric_def tpi_forward_metrics[] = {
    GAUGE(targets, "Targets and handlers that are configured"),
    GAUGE(waiting, "Targets whose sink is not open or does not take them"),
    COUNTER(sent, "Messages delivered"),
    COUNTER(batches, "Batches delivered"),
    COUNTER(retried, "Batches that come again after a pause"),
    COUNTER(refused, "Batches refused by the other side"),
    COUNTER(dead, "Messages that became dead letters"),
    COUNTER(gap_records, "Records passed over: out of keep, or not in the log any more"),
    COUNTER(newest_records, "Records passed over as they came: as much waited as may"),
    COUNTER(thinned, "Samples left out of what waited: as much waited as may"),
    GAUGE(held_bytes, "Bytes of records in batches on their way or being filled"),
    COUNTER(unreadable, "Records that could not be read"),
};
const uint32_t tpi_forward_metric_count =
    sizeof(tpi_forward_metrics) / sizeof(tpi_forward_metrics[0]);

static void free_safe(struct tpi_forward *f)
{
    size_t bytes = f->host.partitions * sizeof(f->safe.ends[0]);
    tpi_free(f->env->alloc, f->safe.ends, bytes);
    tpi_free(f->env->alloc, f->safe.next, bytes);
}

int tpi_forward_create(const struct tpi_env *env, const struct tpi_forward_host *host,
                       struct tpc_error *err, struct tpi_forward **ret)
{
    struct tpi_forward *f = tpi_alloc_zero(env->alloc, sizeof(*f));
    if (f == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "forward", "out of memory");
    }
    f->env = env;
    f->host = *host;
    f->safe.ends = tpi_alloc_array(env->alloc, host->partitions, sizeof(f->safe.ends[0]));
    f->safe.next = tpi_alloc_array(env->alloc, host->partitions, sizeof(f->safe.next[0]));
    if (f->safe.ends == NULL || f->safe.next == NULL) {
        free_safe(f);
        tpi_free(env->alloc, f, sizeof(*f));
        return tpi_error_set(err, TPC_ENOMEM, "forward", "out of memory");
    }
    pthread_mutex_init(&f->changes, NULL);
    pthread_mutex_init(&f->lock, NULL);
    for (uint32_t i = 0; i < TPI_FORWARD_KINDS; i++) {
        f->kind_users[i].f = f;
        f->kind_users[i].kind = i;
        f->kinds[i] = (struct tpi_kind){ .name = fwd_kind_names[i],
                                         .version = KIND_VERSION,
                                         .schema = fwd_schema(i),
                                         .schema_of = fwd_schema_of,
                                         .prepare = fwd_prepare,
                                         .apply = fwd_apply,
                                         .discard = fwd_discard,
                                         .user = &f->kind_users[i] };
    }
    *ret = f;
    return 0;
}

void tpi_forward_destroy(struct tpi_forward *f)
{
    if (f == NULL) {
        return;
    }
    for (uint32_t i = 0; i < f->count; i++) {
        fwd_target_destroy(f->targets[i], false);
    }
    pthread_mutex_destroy(&f->changes);
    pthread_mutex_destroy(&f->lock);
    free_safe(f);
    tpi_free(f->env->alloc, f, sizeof(*f));
}

const struct tpi_kind *tpi_forward_kinds(struct tpi_forward *f)
{
    return f->kinds;
}

const struct tpi_forward_counters *tpi_forward_count(const struct tpi_forward *f)
{
    return &f->counters;
}

/* ---- life ---- */

struct orphans {
    struct tpi_forward *f;
    uint32_t n;
    char names[ORPHANS][TPI_FORWARD_CURSOR_BYTES + 1];
};

/* A target that was deleted just before the process ended may have left its cursor. */
static int find_orphan(void *user, const struct tpc_cursor_info *info)
{
    struct orphans *o = user;
    char name[TPI_FORWARD_CURSOR_BYTES + 1];
    if (info->name.len < 25 || info->name.len > TPI_FORWARD_CURSOR_BYTES ||
        memcmp(info->name.ptr, "forward:", 8) != 0 || o->n == ORPHANS) {
        return 0;
    }
    memcpy(name, info->name.ptr, info->name.len);
    name[info->name.len] = '\0';
    uint64_t id = strtoull(name + info->name.len - 16, NULL, 16);
    if (fwd_find(o->f, id) == NULL) {
        memcpy(o->names[o->n++], name, info->name.len + 1);
    }
    return 0;
}

static void forget_orphans(struct tpi_forward *f, const struct tpc_bus_ops *bus, void *self)
{
    struct orphans *o = tpi_alloc_zero(f->env->alloc, sizeof(*o));
    if (o == NULL || bus->cursors == NULL) {
        tpi_free(f->env->alloc, o, sizeof(*o));
        return;
    }
    o->f = f;
    (void) bus->cursors(self, find_orphan, o);
    for (uint32_t i = 0; i < o->n; i++) {
        struct tpc_cursor_options c = { .size = sizeof(c),
                                        .cursor_class = TPC_CURSOR_LOSSY,
                                        .name = tpc_str_from(o->names[i]) };
        uint32_t cursor;
        if (bus->cursor_open(self, &c, NULL, &cursor) == 0) {
            bus->cursor_close(self, cursor, 1);
        }
    }
    tpi_free(f->env->alloc, o, sizeof(*o));
}

static int learn_id(struct tpi_forward *f, const struct tpc_bus_ops *bus, void *self,
                    struct tpc_error *err)
{
    struct tpc_bus_info info;
    uint8_t digest[TPI_SHA256_BYTES];
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    int rc = bus->info(self, &info);
    rc = rc != 0 ? rc : tpi_sha256(&info.log_id, sizeof(info.log_id), digest);
    if (rc != 0) {
        return tpi_error_set(err, rc, "forward", "the log does not tell its id");
    }
    memcpy(f->id_base.b, digest, sizeof(f->id_base.b));
    return 0;
}

int tpi_forward_open(struct tpi_forward *f, struct tpc_error *err)
{
    void *self;
    pthread_mutex_lock(&f->changes);
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    int rc = learn_id(f, bus, self, err);
    if (rc == 0) {
        forget_orphans(f, bus, self);
    }
    for (uint32_t i = 0; rc == 0 && i < f->count; i++) {
        struct fwd_target *t = f->targets[i];
        if (t != NULL && t->config != NULL) {
            rc = fwd_cursor_open(t, t->config, err);
        }
    }
    pthread_mutex_unlock(&f->changes);
    return rc;
}

static void start_target(struct fwd_target *t)
{
    t->due_ms = 0;
    t->attempts = 0;
    for (uint32_t i = 0; t->config != NULL && i < t->config->lane_count; i++) {
        t->config->lanes[i].due_ms = 0;
        t->config->lanes[i].attempts = 0;
    }
}

void tpi_forward_start(struct tpi_forward *f)
{
    pthread_mutex_lock(&f->changes);
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->targets[i] != NULL) {
            start_target(f->targets[i]);
        }
    }
    atomic_store(&f->running, true);
    pthread_mutex_unlock(&f->changes);
    f->host.wake(f->host.user);
}

void tpi_forward_halt(struct tpi_forward *f)
{
    pthread_mutex_lock(&f->changes);
    atomic_store(&f->running, false);
    pthread_mutex_unlock(&f->changes);
}

/* What was not answered comes again. */
static void forget_flights(struct fwd_target *t)
{
    pthread_mutex_lock(&t->f->lock);
    for (uint32_t i = 0; t->config != NULL && i < t->config->lane_count; i++) {
        t->config->lanes[i].in_flight = false;
        t->config->lanes[i].ticket = 0;
        atomic_store(&t->config->lanes[i].answered, false);
    }
    pthread_mutex_unlock(&t->f->lock);
}

/* Its sink has stopped. false: it is gone, or was never complete. */
static bool rest(struct fwd_target *t)
{
    (void) fwd_judge_answers(t);
    forget_flights(t);
    if (!fwd_take_changes(t) || t->config == NULL) {
        return false;
    }
    struct fwd_config *c = t->config;
    fwd_drop_batches(t);
    if (c->opened) {
        c->ops->target_close(c->self, c->target);
        c->opened = false;
    }
    atomic_store(&t->state, c->enabled ? TPC_FORWARD_WAITING : TPC_FORWARD_DISABLED);
    return true;
}

/* Its options were checked by a sink that is no more. */
static void unresolve(struct tpi_forward *f, struct fwd_config *c)
{
    if (c->opened) {
        c->ops->target_close(c->self, c->target);
    }
    pthread_mutex_lock(&f->lock);
    c->opened = false;
    c->resolved = false;
    c->ops = NULL;
    c->self = NULL;
    tpi_error_set(&c->why, TPC_ENOENT, "forward", "sink \"%.*s\" was closed", (int) c->sink.len,
                  c->sink.ptr);
    pthread_mutex_unlock(&f->lock);
}

void tpi_forward_leave(struct tpi_forward *f, struct tpc_str sink)
{
    pthread_mutex_lock(&f->changes);
    for (uint32_t i = 0; i < f->count; i++) {
        struct fwd_target *t = f->targets[i];
        if (t == NULL) {
            continue;
        }
        /* First: another sink may still hold batches of the present revision. */
        if (t->pending != NULL && tpc_str_equal(t->pending->sink, sink)) {
            unresolve(f, t->pending);
        }
        if (t->config != NULL && tpc_str_equal(t->config->sink, sink) && rest(t) &&
            tpc_str_equal(t->config->sink, sink)) {
            unresolve(f, t->config);
            t->waiting_told = true; /* who closed it knows */
        }
    }
    fwd_count_targets(f);
    pthread_mutex_unlock(&f->changes);
}

void tpi_forward_finish(struct tpi_forward *f)
{
    pthread_mutex_lock(&f->changes);
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->targets[i] != NULL) {
            (void) rest(f->targets[i]);
        }
    }
    fwd_count_targets(f);
    pthread_mutex_unlock(&f->changes);
}

int tpi_forward_stale(struct tpi_forward *f, tpi_forward_stale_fn *fn, void *user)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < TPI_FORWARD_TARGETS; i++) {
        const struct tpc_sink_ops *ops;
        void *self;
        char tenant[129];
        char key[129];
        pthread_mutex_lock(&f->changes);
        struct fwd_target *t = f->targets[i];
        struct fwd_config *c = t != NULL ? t->config : NULL;
        bool stale = c != NULL && !c->resolved && c->tenant.len < sizeof(tenant) &&
                     c->key.len < sizeof(key) && f->host.sink(f->host.user, c->sink, &ops, &self);
        if (stale) {
            snprintf(tenant, sizeof(tenant), "%.*s", (int) c->tenant.len, c->tenant.ptr);
            snprintf(key, sizeof(key), "%.*s", (int) c->key.len, c->key.ptr);
        }
        pthread_mutex_unlock(&f->changes);
        if (stale) {
            rc = fn(user, fwd_kind_names[t->kind], tpc_str_from(tenant), tpc_str_from(key));
        }
    }
    return rc;
}

/* ---- turns ---- */

/* Those that turns may touch: one that is being put for the first time is not yet among them. */
static uint32_t snapshot(struct tpi_forward *f)
{
    uint32_t n = 0;
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < f->count; i++) {
        struct fwd_target *t = f->targets[i];
        if (t != NULL && (t->config != NULL || t->pending != NULL)) {
            f->turning[n++] = t;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* A log that nothing is appended to saves no positions by itself: all that was delivered would come
 * again after a kill. */
static void save_cursors(struct tpi_forward *f, uint32_t n)
{
    void *self;
    uint64_t now = tpi_mono_ms(f->env);
    if (!f->moved || now - f->saved_ms < FWD_SAVE_MS) {
        return;
    }
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    f->moved = false;
    f->saved_ms = now;
    for (uint32_t i = 0; i < n; i++) {
        struct fwd_target *t = f->turning[i];
        if (t != NULL && t->cursor_open) { /* one saves all */
            uint64_t at = atomic_load_explicit(&t->committed[0], memory_order_relaxed);
            f->moved = bus->commit(self, t->cursor, 0, at, TPC_FLUSH_SYNC) != 0;
            return;
        }
    }
}

static bool any_keep(const struct tpi_forward *f, uint32_t n)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct fwd_config *c = f->turning[i]->config;
        any |= c != NULL && c->keep != NULL && c->drop != FWD_DROP_THIN;
    }
    return any;
}

bool tpi_forward_turn(struct tpi_forward *f)
{
    bool did = false;
    if (!atomic_load(&f->running)) {
        return false;
    }
    uint32_t n = snapshot(f);
    f->turned_ms = tpi_mono_ms(f->env);
    if (n > 0) {
        fwd_sample(f);
    }
    if (any_keep(f, n)) {
        fwd_look_safe(f);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct fwd_target *t = f->turning[i];
        did |= fwd_judge_answers(t);
        if (fwd_take_changes(t)) {
            fwd_keep_look(t);
            did |= fwd_work(t);
        } else {
            f->turning[i] = NULL; /* it is gone */
        }
    }
    save_cursors(f, n);
    return did;
}

bool tpi_forward_in_flight(struct tpi_forward *f)
{
    bool any = false;
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; !any && i < f->count; i++) {
        const struct fwd_config *c = f->targets[i] != NULL ? f->targets[i]->config : NULL;
        for (uint32_t k = 0; !any && c != NULL && k < c->lane_count; k++) {
            any = c->lanes[k].in_flight && !atomic_load(&c->lanes[k].answered);
        }
    }
    pthread_mutex_unlock(&f->lock);
    return any;
}

uint64_t tpi_forward_next_ms(struct tpi_forward *f)
{
    uint64_t next = UINT64_MAX;
    if (!atomic_load(&f->running)) {
        return next;
    }
    uint64_t now = tpi_mono_ms(f->env);
    uint32_t n = snapshot(f);
    for (uint32_t i = 0; i < n; i++) {
        if (f->turning[i]->config == NULL) {
            return 0;
        }
        uint64_t due = fwd_due_ms(f->turning[i], now);
        next = due < next ? due : next;
    }
    if (f->moved) {
        uint64_t since = now - f->saved_ms;
        uint64_t save = since < FWD_SAVE_MS ? FWD_SAVE_MS - since : 0;
        next = save < next ? save : next;
    }
    return next;
}

/* The lane that a ticket is of. Under the lock. */
static struct fwd_lane *lane_of(const struct tpi_forward *f, uint64_t ticket)
{
    uint32_t slot = (uint32_t) (ticket & ((1u << FWD_SLOT_BITS) - 1));
    uint32_t lane = (uint32_t) (ticket >> FWD_SLOT_BITS & ((1u << FWD_LANE_BITS) - 1));
    const struct fwd_target *t = slot < f->count ? f->targets[slot] : NULL;
    const struct fwd_config *c = t != NULL ? t->config : NULL;
    struct fwd_lane *l = c != NULL && lane < c->lane_count ? &c->lanes[lane] : NULL;
    return l != NULL && ticket != 0 && l->ticket == ticket && !atomic_load(&l->answered) ? l : NULL;
}

void tpi_forward_sent(struct tpi_forward *f, uint64_t ticket, const struct tpc_error *err)
{
    pthread_mutex_lock(&f->lock);
    struct fwd_lane *l = lane_of(f, ticket);
    if (l != NULL) {
        l->answer = (struct tpc_error){ .size = sizeof(l->answer) };
        if (err != NULL) {
            l->answer = *err;
        }
        atomic_store_explicit(&l->answered, true, memory_order_release);
    }
    pthread_mutex_unlock(&f->lock);
    if (l != NULL) {
        f->host.wake(f->host.user);
    }
}
