#include "registry/inside.h"

#include <sched.h>
#include <string.h>

#include "base/alloc.h"

/*
 * Slots are written by the device's owner alone. Scalars: the device's sequence counter is odd
 * while it writes; a reader that saw it odd or changed tries again. Payload is stored with release
 * and loaded with acquire order, so a reader that saw any part of a new value also sees the counter
 * of that write; no fences are needed (H.-J. Boehm, "Can seqlocks get along with programming
 * language memory models?", 2012). Text and trees hang on a block that the owner replaces and
 * readers copy under the device's lock.
 */

enum { SPINS = 64 }; /* then whoever runs may be the owner */

static bool is_scalar(uint32_t type)
{
    return type <= TPC_DOUBLE;
}

static uint32_t type_of(const struct tpc_device *d, uint32_t index)
{
    return tpi_model_property(d->product->model, index)->value_type;
}

/* ---- one block that holds a whole value: containers from the front, text from the back ---- */

static size_t flat_size(const struct tpc_value *v)
{
    size_t n = 0;
    switch (v->type) {
    case TPC_TEXT:
    case TPC_BLOB:
        return v->len;
    case TPC_ARRAY:
        n = v->len * sizeof(struct tpc_value);
        for (size_t i = 0; i < v->len; i++) {
            n += flat_size(&v->as.items[i]);
        }
        return n;
    case TPC_MAP:
        n = v->len * sizeof(struct tpc_member);
        for (size_t i = 0; i < v->len; i++) {
            n += v->as.members[i].key.len + flat_size(&v->as.members[i].value);
        }
        return n;
    default:
        return 0;
    }
}

static const char *flat_text(const char *p, size_t n, char **back)
{
    *back -= n;
    if (n > 0) {
        memcpy(*back, p, n);
    }
    return *back;
}

static struct tpc_value flat_copy(const struct tpc_value *v, char **front, char **back)
{
    struct tpc_value out = *v;
    if (v->type == TPC_TEXT || v->type == TPC_BLOB) {
        out.as.text = flat_text(v->as.text, v->len, back);
    } else if (v->type == TPC_ARRAY) {
        struct tpc_value *items = (struct tpc_value *) (void *) *front;
        *front += v->len * sizeof(*items);
        for (size_t i = 0; i < v->len; i++) {
            items[i] = flat_copy(&v->as.items[i], front, back);
        }
        out.as.items = items;
    } else if (v->type == TPC_MAP) {
        struct tpc_member *members = (struct tpc_member *) (void *) *front;
        *front += v->len * sizeof(*members);
        for (size_t i = 0; i < v->len; i++) {
            members[i].key.len = v->as.members[i].key.len;
            members[i].key.ptr = flat_text(v->as.members[i].key.ptr, members[i].key.len, back);
            members[i].value = flat_copy(&v->as.members[i].value, front, back);
        }
        out.as.members = members;
    }
    return out;
}

/* data is aligned for a pointer and has size = flat_size(v) bytes. */
static struct tpc_value flatten(const struct tpc_value *v, char *data, size_t size)
{
    char *front = data;
    char *back = data + size;
    return flat_copy(v, &front, &back);
}

/* ---- slots ---- */

struct tpi_latest *tpi_latest_make(const struct tpc_allocator *alloc, const struct tpi_model *m)
{
    uint32_t count = tpi_model_property_count(m);
    struct tpi_latest *latest = tpi_alloc_array(alloc, count > 0 ? count : 1, sizeof(*latest));
    for (uint32_t i = 0; latest != NULL && i < count; i++) {
        atomic_init(&latest[i].unix_ms, TPI_LATEST_NONE);
    }
    return latest;
}

static int64_t slot_ms(const struct tpi_latest *l)
{
    return atomic_load_explicit(&l->unix_ms, memory_order_acquire);
}

/* Of a slot for text or trees. */
static struct tpi_latest_block *slot_block(const struct tpi_latest *l)
{
    return (struct tpi_latest_block *) (uintptr_t) atomic_load_explicit(&l->bits,
                                                                        memory_order_acquire);
}

static void block_free(const struct tpc_allocator *alloc, struct tpi_latest_block *b)
{
    if (b != NULL) {
        tpi_free(alloc, b, sizeof(*b) + b->cap);
    }
}

void tpi_latest_free(const struct tpc_allocator *alloc, struct tpi_latest *latest,
                     const struct tpi_model *m)
{
    uint32_t count = tpi_model_property_count(m);
    if (latest == NULL) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!is_scalar(tpi_model_property(m, i)->value_type)) {
            block_free(alloc, slot_block(&latest[i]));
        }
    }
    tpi_free(alloc, latest, (count > 0 ? count : 1) * sizeof(*latest));
}

bool tpi_latest_same_layout(const struct tpi_model *a, const struct tpi_model *b)
{
    uint32_t count = tpi_model_property_count(a);
    if (count != tpi_model_property_count(b)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (tpi_model_property(a, i)->id != tpi_model_property(b, i)->id) {
            return false;
        }
    }
    return true;
}

/* An id never changes its type, so what has the same id has slots of the same kind. */
void tpi_latest_move(struct tpc_device *d, const struct tpi_model *from, const struct tpi_model *to,
                     struct tpi_latest *fresh)
{
    const struct tpc_allocator *alloc = d->tenant->registry->env->alloc;
    struct tpi_latest *latest = atomic_load(&d->latest);
    if (latest == NULL) {
        tpi_latest_free(alloc, fresh, to);
        return;
    }
    uint32_t count = tpi_model_property_count(to);
    for (uint32_t i = 0; i < count; i++) {
        int old = tpi_model_find_id(from, tpi_model_property(to, i)->id);
        if (old >= 0) {
            struct tpi_latest *l = &latest[old];
            atomic_store(&fresh[i].unix_ms, atomic_load(&l->unix_ms));
            atomic_store(&fresh[i].bits, atomic_exchange(&l->bits, 0)); /* its block has moved */
        }
    }
    tpi_latest_free(alloc, latest, from);
    atomic_store(&d->latest, fresh);
}

static void lock_blocks(struct tpc_device *d)
{
    uint32_t spins = 0;
    while (atomic_flag_test_and_set_explicit(&d->latest_lock, memory_order_acquire)) {
        if (++spins % SPINS == 0) {
            sched_yield();
        }
    }
}

static void unlock_blocks(struct tpc_device *d)
{
    atomic_flag_clear_explicit(&d->latest_lock, memory_order_release);
}

static void write_slot(struct tpi_latest *l, uint64_t bits, int64_t unix_ms)
{
    atomic_store_explicit(&l->bits, bits, memory_order_release);
    atomic_store_explicit(&l->unix_ms, unix_ms, memory_order_release);
}

static uint64_t scalar_bits(const struct tpc_value *v)
{
    uint64_t bits = 0;
    if (v->type == TPC_BOOL) {
        bits = v->as.b ? 1 : 0;
    } else if (v->type == TPC_INT || v->type == TPC_DOUBLE) {
        memcpy(&bits, &v->as, sizeof(bits));
    }
    return bits;
}

static struct tpc_value scalar_value(uint32_t type, uint64_t bits)
{
    struct tpc_value v = { type, 0, 0, { .i = 0 } };
    if (type == TPC_BOOL) {
        v.as.b = bits != 0;
    } else if (type == TPC_INT || type == TPC_DOUBLE) {
        memcpy(&v.as, &bits, sizeof(bits));
    }
    return v;
}

/* v TPC_NULL: no block. The old block is written over if it is large enough and not far too large.
 */
static int set_block(struct tpc_device *d, struct tpi_latest *l, const struct tpc_value *v,
                     int64_t unix_ms)
{
    const struct tpc_allocator *alloc = d->tenant->registry->env->alloc;
    struct tpi_latest_block *old = slot_block(l);
    struct tpi_latest_block *b = v->type == TPC_NULL ? NULL : old;
    size_t size = flat_size(v);
    if (v->type != TPC_NULL && (old == NULL || old->cap < size || old->cap / 4 > size + 64)) {
        size_t cap = (size + 15) / 16 * 16;
        b = tpi_alloc(alloc, sizeof(*b) + cap);
        if (b == NULL) {
            return TPC_ENOMEM;
        }
        b->cap = cap;
    }
    lock_blocks(d);
    if (b != NULL) {
        b->value = flatten(v, b->data, size);
    }
    write_slot(l, (uint64_t) (uintptr_t) b, unix_ms);
    unlock_blocks(d);
    if (old != b) {
        block_free(alloc, old);
    }
    return 0;
}

/* The device's slots, made when its first value comes. */
static struct tpi_latest *make_slots(struct tpc_device *d)
{
    struct tpi_latest *latest = tpi_latest_make(d->tenant->registry->env->alloc, d->product->model);
    atomic_store_explicit(&d->latest, latest, memory_order_release);
    return latest;
}

static int put(struct tpc_device *d, uint32_t index, const struct tpc_value *value, int64_t unix_ms,
               bool arrived)
{
    struct tpi_latest *l = atomic_load_explicit(&d->latest, memory_order_relaxed);
    uint32_t type = type_of(d, index);
    if (value->type != type && value->type != TPC_NULL) {
        return TPC_EINVAL;
    }
    if (l == NULL && (l = make_slots(d)) == NULL) {
        return TPC_ENOMEM;
    }
    l += index;
    unix_ms = unix_ms != TPI_LATEST_NONE ? unix_ms : TPI_LATEST_NONE + 1;
    if (!arrived && unix_ms < atomic_load_explicit(&l->unix_ms, memory_order_relaxed)) {
        TPI_METRIC_ADD(d->tenant->registry->counters.latest_stale, 1);
        return 0;
    }
    /* After a restart, too, a message without a time comes after what is known. */
    d->estimated_unix_ms = unix_ms > d->estimated_unix_ms ? unix_ms : d->estimated_unix_ms;
    unix_ms = value->type != TPC_NULL ? unix_ms : TPI_LATEST_NONE;
    if (is_scalar(type)) {
        write_slot(l, scalar_bits(value), unix_ms);
        return 0;
    }
    return set_block(d, l, value, unix_ms);
}

int tpi_device_latest_put(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                          int64_t unix_ms)
{
    return put(d, index, value, unix_ms, false);
}

int tpi_device_latest_arrive(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                             int64_t unix_ms)
{
    return put(d, index, value, unix_ms, true);
}

int tpi_device_latest_set(struct tpc_device *d, uint32_t index, const struct tpc_value *value,
                          int64_t unix_ms)
{
    tpi_device_latest_begin(d);
    int rc = tpi_device_latest_put(d, index, value, unix_ms);
    tpi_device_latest_end(d);
    return rc;
}

int tpi_device_latest_peek(const struct tpc_device *d, uint32_t index, struct tpc_value *ret,
                           int64_t *ret_unix_ms)
{
    const struct tpi_latest *l = atomic_load_explicit(&d->latest, memory_order_relaxed);
    int64_t unix_ms =
        l == NULL ? TPI_LATEST_NONE : atomic_load_explicit(&l[index].unix_ms, memory_order_relaxed);
    if (unix_ms == TPI_LATEST_NONE) {
        return TPC_ENOENT;
    }
    uint32_t type = type_of(d, index);
    *ret = is_scalar(type)
               ? scalar_value(type, atomic_load_explicit(&l[index].bits, memory_order_relaxed))
               : slot_block(&l[index])->value;
    if (ret_unix_ms != NULL) {
        *ret_unix_ms = unix_ms;
    }
    return 0;
}

static int copy_block(const struct tpi_latest_block *b, struct tpc_buf *buf, struct tpc_value *ret)
{
    bool tree = b->value.type == TPC_ARRAY || b->value.type == TPC_MAP;
    size_t size = flat_size(&b->value);
    uintptr_t at = buf == NULL ? 0 : (uintptr_t) buf->ptr;
    size_t align = sizeof(void *);
    /* Trees need room to align whatever buffer the caller brings. */
    size_t need = size + (tree ? align - 1 : 0);
    if (buf != NULL) {
        buf->need = need;
    }
    if (need > 0 && (buf == NULL || buf->ptr == NULL || need > buf->cap)) {
        return TPC_ETOOBIG;
    }
    size_t skip = tree && at % align != 0 ? align - at % align : 0;
    /* An empty text needs an address, but no room. */
    char *data = need == 0 ? (char *) (void *) ret : (char *) buf->ptr + skip;
    *ret = flatten(&b->value, data, size);
    return 0;
}

static int copy_locked(struct tpc_device *d, const struct tpi_latest *l, struct tpc_buf *buf,
                       struct tpc_value *ret, int64_t *ret_unix_ms)
{
    lock_blocks(d);
    int64_t unix_ms = slot_ms(l);
    int rc = unix_ms == TPI_LATEST_NONE ? TPC_ENOENT : copy_block(slot_block(l), buf, ret);
    unlock_blocks(d);
    if (rc == 0 && ret_unix_ms != NULL) {
        *ret_unix_ms = unix_ms;
    }
    return rc;
}

int tpi_device_latest_copy(struct tpc_device *d, uint32_t index, struct tpc_buf *buf,
                           struct tpc_value *ret, int64_t *ret_unix_ms)
{
    const struct tpi_latest *l = atomic_load_explicit(&d->latest, memory_order_acquire);
    uint32_t type = type_of(d, index);
    if (buf != NULL) {
        buf->need = 0;
    }
    if (l == NULL) {
        return TPC_ENOENT;
    }
    l += index;
    if (!is_scalar(type)) {
        return copy_locked(d, l, buf, ret, ret_unix_ms);
    }
    for (uint32_t spins = 1;; spins++) {
        uint32_t seq = atomic_load_explicit(&d->latest_seq, memory_order_acquire);
        uint64_t bits = atomic_load_explicit(&l->bits, memory_order_acquire);
        int64_t unix_ms = slot_ms(l);
        if ((seq & 1) == 0 && atomic_load_explicit(&d->latest_seq, memory_order_relaxed) == seq) {
            if (unix_ms == TPI_LATEST_NONE) {
                return TPC_ENOENT;
            }
            *ret = scalar_value(type, bits);
            if (ret_unix_ms != NULL) {
                *ret_unix_ms = unix_ms;
            }
            return 0;
        }
        if (spins % SPINS == 0) {
            sched_yield();
        }
    }
}

static void shift(_Atomic int64_t *t, int64_t from_ms, int64_t to_ms, int64_t by_ms)
{
    int64_t is = atomic_load_explicit(t, memory_order_relaxed);
    if (is >= from_ms && is <= to_ms) {
        atomic_store_explicit(t, is + by_ms, memory_order_release);
    }
}

void tpi_device_shift_times(struct tpc_device *d, int64_t from_ms, int64_t to_ms, int64_t by_ms)
{
    struct tpi_latest *l = atomic_load_explicit(&d->latest, memory_order_acquire);
    uint32_t n = l != NULL ? tpi_model_property_count(d->product->model) : 0;
    tpi_device_latest_begin(d);
    for (uint32_t i = 0; i < n; i++) {
        shift(&l[i].unix_ms, from_ms, to_ms, by_ms);
    }
    tpi_device_latest_end(d);
    shift(&d->last_seen_unix_ms, from_ms, to_ms, by_ms);
    shift(&d->presence_unix_ms, from_ms, to_ms, by_ms);
    if (d->estimated_unix_ms >= from_ms && d->estimated_unix_ms <= to_ms) {
        d->estimated_unix_ms += by_ms;
    }
}
