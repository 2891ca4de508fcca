/*
 * Sessions: over what a device speaks. A session's number names a slot and how often the slot was
 * used, so that an old number finds nothing. Slots are never freed before the core.
 */
#include <sched.h>
#include <string.h>

#include "base/hash.h"
#include "codec/codec.h"
#include "core/behind.h"
#include "core/core.h"

enum { INDEX_BITS = 20 };

static void lock_slot(struct tpi_session *s)
{
    uint32_t spins = 0;
    while (atomic_flag_test_and_set_explicit(&s->lock, memory_order_acquire)) {
        if (++spins % 64 == 0) {
            sched_yield();
        }
    }
}

static void unlock_slot(struct tpi_session *s)
{
    atomic_flag_clear_explicit(&s->lock, memory_order_release);
}

static struct tpi_session *slot_at(struct tpc_core *core, uint32_t index)
{
    struct tpi_session *page =
        atomic_load_explicit(&core->sessions.pages[index / TPI_SESSION_PAGE], memory_order_acquire);
    return page != NULL ? &page[index % TPI_SESSION_PAGE] : NULL;
}

static struct tpi_session *find(struct tpc_core *core, uint64_t id)
{
    uint64_t index = id & ((1u << INDEX_BITS) - 1);
    struct tpi_session *s = id != 0 ? slot_at(core, (uint32_t) index) : NULL;
    return s != NULL && atomic_load_explicit(&s->id, memory_order_acquire) == id ? s : NULL;
}

/* sessions.lock is held. */
static struct tpi_session *take_slot(struct tpc_core *core)
{
    struct tpi_sessions *all = &core->sessions;
    struct tpi_session *s = all->free;
    if (s != NULL) {
        all->free = s->next_free;
        return s;
    }
    uint32_t index = all->count;
    if (index == TPI_SESSION_PAGE * TPI_SESSION_PAGES) {
        return NULL;
    }
    if (index % TPI_SESSION_PAGE == 0) {
        struct tpi_session *page =
            tpi_alloc_array(core->env.alloc, TPI_SESSION_PAGE, sizeof(*page));
        if (page == NULL) {
            return NULL;
        }
        for (uint32_t i = 0; i < TPI_SESSION_PAGE; i++) {
            page[i].index = index + i;
            atomic_flag_clear(&page[i].lock);
        }
        atomic_store_explicit(&all->pages[index / TPI_SESSION_PAGE], page, memory_order_release);
    }
    all->count++;
    return slot_at(core, index);
}

static void free_slot(struct tpc_core *core, struct tpi_session *s)
{
    lock_slot(s);
    struct tpc_device *device = s->device;
    char *tenant = s->tenant;
    s->device = NULL;
    s->tenant = NULL;
    unlock_slot(s);
    tpi_device_unref(device);
    tpi_free(core->env.alloc, tenant, s->tenant_len + 1);
    pthread_mutex_lock(&core->sessions.lock);
    s->next_free = core->sessions.free;
    core->sessions.free = s;
    pthread_mutex_unlock(&core->sessions.lock);
}

/* A closed session: no frame of it comes any more, those in the ring borrow its device. */
static void end_slot(struct tpi_worker *w, struct tpi_session *s)
{
    lock_slot(s); /* whoever found it open has put its frame */
    unlock_slot(s);
    s->ended_at = atomic_load(&w->ring.tail);
    s->next_free = NULL;
    *(w->ended_last != NULL ? &w->ended_last->next_free : &w->ended_first) = s;
    w->ended_last = s;
    tpi_session_sweep(w, false);
}

void tpi_session_sweep(struct tpi_worker *w, bool all)
{
    while (w->ended_first != NULL &&
           (all || w->ended_first->ended_at <= atomic_load(&w->ring.head))) {
        struct tpi_session *s = w->ended_first;
        w->ended_first = s->next_free;
        if (w->ended_first == NULL) {
            w->ended_last = NULL;
        }
        free_slot(w->core, s);
    }
}

void tpi_sessions_fini(struct tpc_core *core)
{
    for (uint32_t i = 0; i < TPI_SESSION_PAGES; i++) {
        struct tpi_session *page = atomic_load(&core->sessions.pages[i]);
        for (uint32_t k = 0; page != NULL && k < TPI_SESSION_PAGE; k++) {
            tpi_device_unref(page[k].device);
            tpi_free(core->env.alloc, page[k].tenant, page[k].tenant_len + 1);
        }
        tpi_free(core->env.alloc, page, TPI_SESSION_PAGE * sizeof(*page));
    }
}

/* ---- what the owner of the device does ---- */

/* What is known of a session of one device while it is open; false: it is not, or is a link. */
static bool look(struct tpc_core *core, uint64_t id, uint64_t *ret_number)
{
    struct tpi_session *s = find(core, id);
    if (s == NULL) {
        return false;
    }
    lock_slot(s);
    bool own = atomic_load_explicit(&s->id, memory_order_acquire) == id && !s->link;
    *ret_number = s->number;
    unlock_slot(s);
    return own;
}

bool tpi_session_newer(struct tpc_core *core, uint64_t a, uint64_t b)
{
    uint64_t number_a;
    uint64_t number_b;
    return look(core, a, &number_a) && look(core, b, &number_b) && number_a > number_b;
}

/* The newest session of a device has it, whichever the worker hears of first. */
static void device_online(struct tpi_worker *w, struct tpi_session *s)
{
    struct tpc_device *d = s->device;
    uint64_t id = atomic_load(&s->id);
    uint64_t other;
    if (d == NULL) {
        return;
    }
    uint64_t current = atomic_load_explicit(&d->session, memory_order_relaxed);
    if (current != id && look(w->core, current, &other)) {
        tpi_count(&w->core->counters.takeovers, 1);
        if (other > s->number) {
            return;
        }
    }
    atomic_store_explicit(&d->session, id, memory_order_relaxed);
    d->adapter = s->part;
    if ((s->flags & TPC_SESSION_PRESENCE) != 0) {
        tpi_presence_session(w, d, s->part->name, true);
    }
    tpi_device_bit(d, TPI_DEVICE_AWAY, false);
    tpi_behind_online(w, d, false);
}

static void device_offline(struct tpi_worker *w, struct tpi_session *s, uint64_t id)
{
    struct tpc_device *d = s->device;
    if (d == NULL || atomic_load_explicit(&d->session, memory_order_relaxed) != id) {
        return; /* another session took over */
    }
    atomic_store_explicit(&d->session, 0, memory_order_relaxed);
    d->adapter = NULL;
    if ((s->flags & TPC_SESSION_PRESENCE) != 0) {
        tpi_presence_session(w, d, s->part->name, false);
    }
}

/* Opened or closed, whichever it is by now. */
static void run_session(struct tpi_worker *w, struct tpi_node *node)
{
    struct tpi_session *s =
        (struct tpi_session *) (void *) ((char *) node - offsetof(struct tpi_session, node));
    lock_slot(s);
    s->queued = false;
    bool closed = s->closed;
    bool blocked = s->blocked;
    unlock_slot(s);
    if (!closed) {
        device_online(w, s);
        return;
    }
    uint64_t id = (s->generation << INDEX_BITS) | s->index;
    device_offline(w, s, id);
    if (!blocked) {
        end_slot(w, s);
    } /* else tpi_session_resume() finds it closed */
}

static void tell_worker(struct tpc_core *core, struct tpi_session *s, bool closed)
{
    struct tpi_worker *w = &core->workers[s->worker];
    lock_slot(s);
    bool queue = !s->queued;
    s->queued = true;
    s->closed = closed;
    unlock_slot(s);
    if (queue) {
        tpi_worker_post(w, &s->node);
    }
}

/* ---- opening and closing ---- */

static int resolve(struct tpi_part *p, const struct tpc_session_options *o, struct tpc_device **ret)
{
    struct tpc_core *core = p->core;
    if (core->registry == NULL) {
        return tpi_fail(TPC_ESTATE, p->name, "the core is not started");
    }
    struct tpc_device *d;
    int rc = tpi_registry_open(core->registry, o->tenant, o->device, tpi_fail_begin(), &d);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    tpi_registry_read_lock(core->registry);
    bool other = o->product.len > 0 && !tpc_str_equal(o->product, tpi_device_product_key(d));
    tpi_registry_read_unlock(core->registry);
    if (other) {
        tpi_fail(TPC_EDENIED, p->name, "device \"%s\" is of another product than \"%.*s\"",
                 d->key.ptr, (int) o->product.len, o->product.ptr);
        tpi_device_unref(d);
        return TPC_EDENIED;
    }
    *ret = d;
    return 0;
}

int tpi_session_open(struct tpi_part *p, const struct tpc_session_options *given, uint64_t *ret)
{
    struct tpc_core *core = p->core;
    struct tpc_session_options o;
    struct tpc_device *device = NULL;
    if (given == NULL || ret == NULL || given->size < offsetof(struct tpc_session_options, peer)) {
        return tpi_fail(TPC_EINVAL, p->name, "session options without their size");
    }
    memset(&o, 0, sizeof(o));
    memcpy(&o, given, given->size < sizeof(o) ? given->size : sizeof(o));
    bool link = (o.flags & TPC_SESSION_LINK) != 0;
    if (link && o.tenant.len > TPI_TENANT_BYTES) {
        return tpi_fail(TPC_EINVAL, p->name, "a tenant's key has at most %d bytes",
                        TPI_TENANT_BYTES);
    }
    int rc = link ? 0 : resolve(p, &o, &device);
    if (rc != 0) {
        return rc;
    }
    char *tenant = NULL;
    if (link && o.tenant.len > 0) {
        tenant = tpi_str_dup(core->env.alloc, o.tenant);
        rc = tenant != NULL ? 0 : TPC_ENOMEM;
    }
    pthread_mutex_lock(&core->sessions.lock);
    struct tpi_session *s = rc == 0 ? take_slot(core) : NULL;
    uint64_t number = ++core->sessions.opened;
    pthread_mutex_unlock(&core->sessions.lock);
    if (s == NULL) {
        tpi_device_unref(device);
        tpi_free(core->env.alloc, tenant, o.tenant.len + 1);
        return tpi_fail(TPC_ENOMEM, p->name, "no room for another session");
    }
    s->flags = o.flags;
    s->tenant = tenant;
    s->tenant_len = o.tenant.len;
    s->generation++;
    s->node.run = run_session;
    uint64_t id = (s->generation << INDEX_BITS) | s->index;
    s->worker = device != NULL ? device->partition % core->worker_count
                               : (uint32_t) (tpi_hash64(id) % core->worker_count);
    lock_slot(s);
    s->part = p;
    s->closed = false;
    s->device = device;
    s->number = number;
    s->link = link;
    unlock_slot(s);
    atomic_store_explicit(&s->id, id, memory_order_release);
    tpi_count(&core->counters.sessions, 1);
    if (device != NULL) {
        tell_worker(core, s, false);
    }
    *ret = id;
    return 0;
}

struct tpi_part *tpi_session_part(struct tpc_core *core, uint64_t id)
{
    const struct tpi_session *s = find(core, id);
    return s != NULL ? s->part : NULL;
}

bool tpi_session_is_open(struct tpc_core *core, uint64_t id)
{
    return find(core, id) != NULL;
}

void tpi_session_close(struct tpi_part *p, uint64_t id)
{
    struct tpc_core *core = p->core;
    struct tpi_session *s = find(core, id);
    if (s == NULL || !atomic_compare_exchange_strong(&s->id, &id, 0)) {
        return;
    }
    atomic_fetch_sub_explicit(&core->counters.sessions, 1, memory_order_relaxed);
    tell_worker(core, s, true);
}

void tpi_sessions_end(struct tpi_part *p)
{
    struct tpc_core *core = p->core;
    pthread_mutex_lock(&core->sessions.lock);
    uint32_t count = core->sessions.count;
    pthread_mutex_unlock(&core->sessions.lock);
    for (uint32_t i = 0; i < count; i++) {
        struct tpi_session *s = slot_at(core, i);
        lock_slot(s);
        bool mine = s->part == p;
        uint64_t id = atomic_load_explicit(&s->id, memory_order_acquire);
        unlock_slot(s);
        if (mine && id != 0) {
            tpi_session_close(p, id);
        }
    }
}

/* ---- receiving ---- */

static void block(struct tpc_core *core, uint32_t worker, struct tpi_session *s)
{
    struct tpi_worker *w = &core->workers[worker];
    lock_slot(s);
    bool add = !s->blocked && !s->closed;
    s->blocked |= add;
    unlock_slot(s);
    if (add) {
        pthread_mutex_lock(&w->lock);
        s->next_blocked = w->blocked;
        w->blocked = s;
        atomic_store(&w->any_blocked, true);
        pthread_mutex_unlock(&w->lock);
    }
    /* The ring may have been emptied since: without this nobody would look again. */
    tpi_worker_wake(w);
}

bool tpi_session_resume(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    if (!atomic_load_explicit(&w->any_blocked, memory_order_relaxed) || w->stalled ||
        tpi_ring_used(&w->ring) > w->ring.cap / 2 || tpi_core_memory_tight(core) ||
        tpi_hand_full(core)) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    struct tpi_session *list = w->blocked;
    w->blocked = NULL;
    atomic_store(&w->any_blocked, false);
    pthread_mutex_unlock(&w->lock);
    bool did = false;
    while (list != NULL) {
        struct tpi_session *s = list;
        list = s->next_blocked;
        struct tpi_part *p = s->part;
        uint64_t id = atomic_load_explicit(&s->id, memory_order_acquire);
        lock_slot(s);
        s->blocked = false;
        bool gone = s->closed && !s->queued;
        unlock_slot(s);
        if (gone) {
            end_slot(w, s);
        } else if (id != 0 && p->ops->adapter.resume != NULL && !atomic_load(&p->stopped)) {
            p->ops->adapter.resume(p->self, id);
            did = true;
        }
    }
    return did;
}

/* The device of a link's frame, counted; NULL = unknown. */
static struct tpc_device *link_device(struct tpc_core *core, struct tpc_str tenant,
                                      const struct tpc_frame *frame)
{
    struct tpc_str key = frame->device;
    struct tpc_arena *arena = NULL;
    if (key.len == 0 && (frame->flags & TPC_FRAME_WRAPPED) != 0 &&
        tpi_codec_peek_device(frame->payload, &key) == TPC_EUNSUPPORTED &&
        tpc_arena_create(core->env.alloc, 0, &arena) == 0) {
        struct tpc_bytes values;
        (void) tpi_codec_unwrap(frame->payload, arena, NULL, &key, &values);
    }
    struct tpc_device *d = NULL;
    if (key.len > 0) {
        tpi_registry_read_lock(core->registry);
        d = tpi_registry_find(core->registry, tenant, key);
        d = d != NULL ? tpi_device_ref(d) : NULL;
        tpi_registry_read_unlock(core->registry);
    }
    tpc_arena_destroy(arena);
    return d;
}

/* The tenant of a link, copied: another thread may close the session meanwhile. */
static int take_tenant(struct tpi_session *s, uint64_t id, char *tenant, struct tpi_feed *feed)
{
    lock_slot(s);
    bool same = atomic_load_explicit(&s->id, memory_order_acquire) == id;
    if (same) {
        feed->tenant = (struct tpc_str){ tenant, s->tenant != NULL ? s->tenant_len : 0 };
        if (feed->tenant.len > 0) {
            memcpy(tenant, s->tenant, feed->tenant.len);
        }
    }
    unlock_slot(s);
    return same ? 0 : TPC_ESTATE;
}

/* A frame of the session's own device: the session keeps that while the frame is in the ring. */
static int receive_own(struct tpi_session *s, uint64_t id, struct tpc_frame *frame, uint64_t ticket)
{
    struct tpi_part *p = s->part;
    int rc = TPC_ESTATE;
    frame->product = (struct tpc_str){ NULL, 0 }; /* checked when the session was opened */
    lock_slot(s);
    struct tpi_feed feed = {
        .device = s->device, .part = p, .session = id, .ticket = ticket, .borrowed = true
    };
    if (atomic_load_explicit(&s->id, memory_order_acquire) == id) {
        feed.partition = feed.device->partition;
        rc = tpi_feed_put(p->core, &feed, frame);
    }
    unlock_slot(s);
    if (rc == TPC_EAGAIN) {
        block(p->core, feed.partition % p->core->worker_count, s);
    }
    return rc;
}

int tpi_session_receive(struct tpi_part *p, uint64_t id, const struct tpc_frame *given,
                        uint64_t ticket)
{
    struct tpc_core *core = p->core;
    struct tpi_session *s = find(core, id);
    if (!tpi_core_running(core) || s == NULL || s->part != p) {
        return TPC_ESTATE;
    }
    if (given->payload.len > core->options.frame_max_bytes) {
        tpi_count(&core->counters.receive_too_big, 1);
        return TPC_ETOOBIG;
    }
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    memcpy(&frame, given, given->size < sizeof(frame) ? given->size : sizeof(frame));
    if ((s->flags & TPC_SESSION_LINK) == 0) {
        return receive_own(s, id, &frame, ticket);
    }
    struct tpi_feed feed = { .part = p, .session = id, .ticket = ticket };
    char tenant[TPI_TENANT_BYTES];
    if (take_tenant(s, id, tenant, &feed) != 0) {
        return TPC_ESTATE;
    }
    feed.device = link_device(core, feed.tenant, &frame);
    feed.partition = feed.device != NULL ? feed.device->partition
                                         : (uint32_t) (tpi_hash64(id) % core->options.partitions);
    int rc = tpi_feed_put(core, &feed, &frame);
    if (rc == TPC_EAGAIN) {
        block(core, feed.partition % core->worker_count, s);
    }
    tpi_device_unref(feed.device);
    return rc;
}
