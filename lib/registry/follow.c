#include "registry/follow.h"

#include <string.h>

#include "base/alloc.h"
#include "bus/dead.h"
#include "bus/topic.h"
#include "data/msg.h"
#include "registry/about.h"

/* Of a cached mask of kinds: makes it a pointer that is not NULL. */
#define MASK_KNOWN 0x80000000u

enum { PASSED_MAX = 1 << 20 /* bytes of bodies that nobody wants, beside those that are held */ };

struct tpi_follow {
    struct tpi_follow_options o;
    uint64_t changes;       /* of the registry, when the masks were made */
    struct tpi_map64 masks; /* device id * 2 + down -> mask of kinds | MASK_KNOWN */
    struct tpc_arena *arena;
    struct tpc_msg *msgs;
    struct tpc_device **devices; /* counted, of the messages */
    struct tpi_product **products;
    uint32_t count;
    size_t bytes;
    size_t passed; /* bytes of what was read and is not wanted: it stands in the arena, too */
    bool full;
    uint64_t read_to; /* of the read that runs */
    uint64_t bound;   /* reads end before it */
    bool bounded;     /* the read that runs did */
    int rc;
    char *texts; /* filters and names */
    size_t texts_bytes;
    struct tpc_str filters[TPI_FOLLOW_FILTERS];
};

static struct tpc_str copy_text(struct tpi_follow *f, size_t *at, struct tpc_str text)
{
    char *p = f->texts + *at;
    if (text.len > 0) {
        memcpy(p, text.ptr, text.len);
    }
    *at += text.len;
    return (struct tpc_str){ p, text.len };
}

static int copy_texts(struct tpi_follow *f, const struct tpi_follow_options *o)
{
    size_t at = 0;
    f->texts_bytes = o->notify_tenant.len + o->notify_name.len + 1;
    for (uint32_t i = 0; i < o->filter_count; i++) {
        f->texts_bytes += o->filters[i].len;
    }
    f->texts = tpi_alloc(o->env->alloc, f->texts_bytes);
    if (f->texts == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < o->filter_count; i++) {
        f->filters[i] = copy_text(f, &at, o->filters[i]);
    }
    f->o.filters = f->filters;
    f->o.notify_tenant = copy_text(f, &at, o->notify_tenant);
    f->o.notify_name = copy_text(f, &at, o->notify_name);
    return 0;
}

int tpi_follow_create(const struct tpi_follow_options *o, struct tpi_follow **ret)
{
    const struct tpc_allocator *a = o->env->alloc;
    struct tpi_follow *f = tpi_alloc_zero(a, sizeof(*f));
    if (f == NULL) {
        return TPC_ENOMEM;
    }
    f->o = *o;
    f->bound = UINT64_MAX;
    tpi_map64_init(&f->masks, a);
    f->msgs = tpi_alloc_array(a, o->batch, sizeof(f->msgs[0]));
    f->devices = tpi_alloc_array(a, o->batch, sizeof(f->devices[0]));
    f->products = tpi_alloc_array(a, o->batch, sizeof(f->products[0]));
    if (f->msgs == NULL || f->devices == NULL || f->products == NULL || copy_texts(f, o) != 0 ||
        tpc_arena_create(a, TPI_FOLLOW_ARENA_BYTES, &f->arena) != 0) {
        tpi_follow_destroy(f);
        return TPC_ENOMEM;
    }
    *ret = f;
    return 0;
}

void tpi_follow_destroy(struct tpi_follow *f)
{
    if (f == NULL) {
        return;
    }
    const struct tpc_allocator *a = f->o.env->alloc;
    tpi_follow_clear(f);
    tpi_map64_fini(&f->masks);
    tpc_arena_destroy(f->arena);
    tpi_free(a, f->msgs, f->o.batch * sizeof(f->msgs[0]));
    tpi_free(a, f->devices, f->o.batch * sizeof(f->devices[0]));
    tpi_free(a, f->products, f->o.batch * sizeof(f->products[0]));
    tpi_free(a, f->texts, f->texts_bytes);
    tpi_free(a, f, sizeof(*f));
}

/* ---- matching ---- */

static uint32_t make_mask(struct tpi_follow *f, struct tpc_device *d, bool down)
{
    struct tpi_buf topic;
    tpi_buf_init(&topic, f->o.env->alloc, 0);
    uint32_t mask = 0;
    if (tpi_topic_device(&topic, tpi_device_tenant(d), down, tpi_device_product_key(d), d->key) ==
        0) {
        struct tpc_str prefix = { (const char *) topic.ptr, topic.len };
        mask = MASK_KNOWN;
        for (uint32_t i = 0; i < f->o.filter_count; i++) {
            mask |= (uint32_t) (tpi_filter_kinds(f->filters[i], prefix) & (MASK_KNOWN - 1));
        }
    }
    tpi_buf_fini(&topic);
    return mask;
}

/* Which kinds of a device's messages the filters let through; 0 = out of memory. Registry's read
 * lock. */
static uint32_t mask_of(struct tpi_follow *f, struct tpc_device *d, bool down)
{
    uint64_t changes =
        atomic_load_explicit(&tpi_registry_counters(f->o.registry)->changes, memory_order_relaxed);
    if (changes != f->changes) {
        tpi_map64_fini(&f->masks);
        tpi_map64_init(&f->masks, f->o.env->alloc);
        f->changes = changes;
    }
    uint64_t key = d->id * 2 + down;
    uintptr_t mask = (uintptr_t) tpi_map64_get(&f->masks, key);
    if (mask == 0) {
        mask = make_mask(f, d, down);
        if (mask != 0) { /* one that cannot be kept is made again with the next message */
            (void) tpi_map64_put(&f->masks, key, (void *) mask, NULL);
        }
    }
    return (uint32_t) mask;
}

static bool match_entity(struct tpi_follow *f, struct tpc_msg *m)
{
    struct tpc_str tenant = tpc_value_text(tpc_value_get(&m->params, TPC_STR("tenant")));
    struct tpc_str key = tpc_value_text(tpc_value_get(&m->params, TPC_STR("key")));
    struct tpi_buf topic;
    tpi_buf_init(&topic, f->o.env->alloc, 0);
    m->tenant = tenant;
    bool yes = false;
    if (tpi_topic_entity(&topic, tenant, m->name, key) == 0) {
        struct tpc_str text = { (const char *) topic.ptr, topic.len };
        for (uint32_t i = 0; !yes && i < f->o.filter_count; i++) {
            yes = tpi_filter_match(f->filters[i], text);
        }
    }
    tpi_buf_fini(&topic);
    return yes;
}

/* 1: wanted; its texts are filled in and what they belong to is counted. 0 or TPC_ENOMEM. A notification
 * outlives its device: then its own words tell. */
static int match_device(struct tpi_follow *f, const struct tpc_record *r, struct tpc_msg *m)
{
    struct tpi_registry *registry = f->o.registry;
    tpi_registry_read_lock(registry);
    struct tpc_device *d = tpi_registry_by_id(registry, r->device_id);
    int yes = d != NULL;
    if (yes && f->o.notify_name.len == 0) {
        uint32_t bit = r->kind < 31 ? r->kind : 0;
        uint32_t mask = mask_of(f, d, (r->flags & TPC_MSG_DOWN) != 0);
        yes = mask == 0 ? TPC_ENOMEM : (int) (mask >> bit & 1);
    }
    if (yes == 1) {
        m->tenant = tpi_device_tenant(d);
        m->product = tpi_device_product_key(d);
        m->device = d->key;
        f->devices[f->count] = tpi_device_ref(d);
        f->products[f->count] = tpi_product_ref(d->product);
    }
    tpi_registry_read_unlock(registry);
    return d == NULL && f->o.notify_name.len > 0 ? 1 : yes;
}

/* A notification that is about no device has its tenant in its params, or it is of "main". Whoever
 * appends it sees to it that no document names another's. */
static bool match_notify(struct tpi_follow *f, struct tpc_msg *m)
{
    if (!tpi_about_take(m) && m->device_id == 0) {
        m->tenant = tpc_value_text(tpc_value_get(&m->params, TPC_STR("tenant")));
        m->tenant = m->tenant.len > 0 ? m->tenant : TPC_STR("main");
    }
    return tpc_str_equal(m->name, f->o.notify_name) && tpc_str_equal(m->tenant, f->o.notify_tenant);
}

/* In the log points have the id of their property; people want its key. The points are decoded ones in
 * our arena: they are named where they stand. */
static void name_points(struct tpc_msg *m, const struct tpi_product *p)
{
    struct tpc_point *points = (struct tpc_point *) (uintptr_t) m->points;
    for (uint32_t i = 0; p != NULL && i < m->point_count; i++) {
        if (points[i].property == TPC_PROPERTY_NONE) {
            continue; /* it has its key */
        }
        struct tpc_str key = tpi_model_key_of(p->model, points[i].property);
        if (key.len > 0) {
            points[i].key = key;
        }
    }
}

/* ---- reading ---- */

void tpi_follow_head(const struct tpc_record *r, struct tpc_msg *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->size = sizeof(*ret);
    ret->kind = r->kind;
    ret->flags = r->flags;
    ret->partition = r->partition;
    ret->model_revision = r->model_revision;
    ret->offset = r->offset;
    ret->device_id = r->device_id;
    ret->unix_ms = r->unix_ms;
    ret->received_unix_ms = r->received_unix_ms;
    ret->trace = r->trace;
}

static int decode(struct tpi_follow *f, const struct tpc_record *r, const struct tpi_retimed *times,
                  struct tpc_msg *m)
{
    uint8_t *body = tpc_arena_take(f->arena, r->body.len + 1);
    if (body == NULL) {
        return TPC_ENOMEM;
    }
    if (r->body.len > 0) {
        memcpy(body, r->body.ptr, r->body.len);
    }
    int rc = tpi_msg_decode((struct tpc_bytes){ body, r->body.len }, f->arena, NULL, m);
    rc = rc != 0 ? rc : tpi_clock_points(times, f->arena, m);
    if (rc != 0 && rc != TPC_ENOMEM && f->o.unreadable != NULL) {
        atomic_fetch_add_explicit(f->o.unreadable, 1, memory_order_relaxed);
    }
    return rc;
}

static void release(struct tpi_follow *f, uint32_t slot)
{
    f->devices[slot] = tpi_device_unref(f->devices[slot]);
    tpi_product_unref(f->products[slot]);
    f->products[slot] = NULL;
}

/* Whether a record is wanted as far as its header tells: 1, 0 or TPC_ENOMEM. */
static int match_head(struct tpi_follow *f, const struct tpc_record *r, struct tpc_msg *m)
{
    if (r->kind == TPI_MSG_TOMBSTONE || (r->kind < 64 && (f->o.no_kinds >> r->kind & 1) != 0) ||
        (f->o.notify_name.len > 0 && r->kind != TPC_MSG_NOTIFY)) {
        return 0;
    }
    if (r->kind == TPC_MSG_ENTITY || r->device_id == 0) {
        return r->kind == TPC_MSG_ENTITY || f->o.notify_name.len > 0;
    }
    return match_device(f, r, m);
}

static bool match_body(struct tpi_follow *f, struct tpc_msg *m)
{
    if (f->o.notify_name.len > 0) {
        return match_notify(f, m);
    }
    if (m->kind == TPC_MSG_NOTIFY) {
        (void) tpi_about_take(m);
    }
    return m->kind != TPC_MSG_ENTITY || match_entity(f, m);
}

/* What was read is not kept. Where much of that stands beside what is held, that goes first. */
static void pass_by(struct tpi_follow *f, size_t cost)
{
    release(f, f->count);
    f->passed += cost;
    if (f->count == 0) {
        tpc_arena_reset(f->arena);
        f->passed = 0;
    }
    f->full |= f->passed > PASSED_MAX;
}

static int take_record(struct tpi_follow *f, const struct tpc_record *record)
{
    struct tpc_msg *m = &f->msgs[f->count];
    struct tpc_record own = *record;
    const struct tpc_record *r = &own;
    struct tpi_retimed times;
    size_t cost = r->body.len + TPI_FOLLOW_BODY_COST;
    f->devices[f->count] = NULL;
    f->products[f->count] = NULL;
    tpi_clock_retime(f->o.clock, &own, &times);
    tpi_follow_head(r, m);
    int rc = match_head(f, r, m);
    if (rc != 1) {
        return rc;
    }
    if (f->count > 0 && f->o.bytes > 0 && f->bytes + cost > f->o.bytes) {
        release(f, f->count);
        f->full = true;
        return 1;
    }
    rc = decode(f, r, &times, m);
    bool yes = rc == 0 && match_body(f, m);
    if (yes) {
        name_points(m, f->products[f->count]);
    }
    yes = yes && (f->o.wanted == NULL || f->o.wanted(f->o.wanted_user, m));
    if (rc != 0 || !yes) {
        pass_by(f, cost);
        return rc == TPC_ENOMEM ? rc : 0; /* one that cannot be read is passed over */
    }
    f->bytes += cost;
    f->count++;
    return 0;
}

static int read_record(void *user, const struct tpc_record *r)
{
    struct tpi_follow *f = user;
    if (r->offset >= f->bound) {
        f->bounded = true;
        return 1;
    }
    if (f->count == f->o.batch) {
        f->full = true;
    }
    bool waits = f->o.hold && f->o.clock != NULL && tpi_clock_holds(f->o.clock, r);
    f->rc = f->full || waits ? 1 : take_record(f, r);
    if (f->rc == 0) {
        f->read_to = r->offset + 1;
    }
    return f->rc;
}

int tpi_follow_read(struct tpi_follow *f, const struct tpc_bus_ops *bus, void *bus_self,
                    uint32_t partition, uint64_t from, uint32_t flags, uint64_t *ret_next)
{
    uint64_t next = from;
    f->read_to = from;
    f->bounded = false;
    f->rc = 0;
    int rc = bus->read(bus_self, partition, from, f->o.chunk, flags, read_record, f, &next);
    if (rc == TPC_EGAP) {
        *ret_next = next;
        return rc;
    }
    if (f->bounded) {
        *ret_next = f->bound;
        return 0;
    }
    if (f->rc != 0) { /* ended by us */
        *ret_next = f->read_to;
        return f->rc < 0 ? f->rc : 0;
    }
    *ret_next = rc == 0 ? next : f->read_to;
    return rc;
}

void tpi_follow_bound(struct tpi_follow *f, uint64_t to)
{
    f->bound = to;
}

size_t tpi_follow_bytes(const struct tpi_follow *f)
{
    return f->bytes;
}

bool tpi_follow_full(const struct tpi_follow *f)
{
    return f->full || f->count == f->o.batch;
}

struct tpc_msg *tpi_follow_msgs(struct tpi_follow *f, uint32_t *ret_count)
{
    *ret_count = f->count;
    return f->msgs;
}

void tpi_follow_clear(struct tpi_follow *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        release(f, i);
    }
    f->count = 0;
    f->bytes = 0;
    f->passed = 0;
    f->full = false;
    if (f->arena != NULL) {
        tpc_arena_reset(f->arena);
    }
}
