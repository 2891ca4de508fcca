#include "base/alloc.h"

#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void *system_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    (void) user;
    (void) old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

static const struct tpc_allocator system_allocator = { .resize = system_resize };

const struct tpc_allocator *tpc_allocator_default(void)
{
    return &system_allocator;
}

static const struct tpc_allocator *or_default(const struct tpc_allocator *a)
{
    return a != NULL ? a : &system_allocator;
}

void *tpi_alloc(const struct tpc_allocator *a, size_t n)
{
    a = or_default(a);
    return a->resize(a->user, NULL, 0, n);
}

void *tpi_alloc_zero(const struct tpc_allocator *a, size_t n)
{
    void *p = tpi_alloc(a, n);
    if (p != NULL) {
        memset(p, 0, n);
    }
    return p;
}

void *tpi_alloc_array(const struct tpc_allocator *a, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    return tpi_alloc_zero(a, count * size);
}

void *tpi_resize(const struct tpc_allocator *a, void *p, size_t old_size, size_t new_size)
{
    a = or_default(a);
    return a->resize(a->user, p, old_size, new_size);
}

void tpi_free(const struct tpc_allocator *a, void *p, size_t n)
{
    if (p != NULL) {
        a = or_default(a);
        a->resize(a->user, p, n, 0);
    }
}

char *tpi_str_dup(const struct tpc_allocator *a, struct tpc_str s)
{
    char *p = s.len < SIZE_MAX ? tpi_alloc(a, s.len + 1) : NULL;
    if (p != NULL) {
        if (s.len > 0) {
            memcpy(p, s.ptr, s.len);
        }
        p[s.len] = '\0';
    }
    return p;
}

void *tpi_mem_dup(const struct tpc_allocator *a, const void *p, size_t n)
{
    void *copy = tpi_alloc(a, n);
    if (copy != NULL) {
        memcpy(copy, p, n);
    }
    return copy;
}

/* ---- meter ---- */

enum { RESERVE_PART = 16 }; /* of the limit */

/* Takes n bytes of the budget before the allocation, so that threads together never pass it. */
static bool meter_take(struct tpi_meter *m, size_t limit, size_t n)
{
    size_t used = atomic_load_explicit(&m->used_bytes, memory_order_relaxed);
    do {
        if (limit != 0 && (used > limit || n > limit - used)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&m->used_bytes, &used, used + n,
                                                    memory_order_relaxed, memory_order_relaxed));
    size_t peak = atomic_load_explicit(&m->peak_bytes, memory_order_relaxed);
    while (used + n > peak &&
           !atomic_compare_exchange_weak_explicit(&m->peak_bytes, &peak, used + n,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    return true;
}

static void meter_give(struct tpi_meter *m, size_t n)
{
    atomic_fetch_sub_explicit(&m->used_bytes, n, memory_order_relaxed);
}

static void *resize_up_to(struct tpi_meter *m, size_t limit, void *ptr, size_t old_size,
                          size_t new_size)
{
    const struct tpc_allocator *inner = m->inner;
    if (ptr == NULL) {
        old_size = 0;
    }
    if (new_size == 0) {
        if (ptr != NULL) {
            inner->resize(inner->user, ptr, old_size, 0);
            meter_give(m, old_size);
        }
        return NULL;
    }
    size_t more = new_size > old_size ? new_size - old_size : 0;
    if (more != 0 && !meter_take(m, limit, more)) {
        atomic_fetch_add_explicit(&m->refused, 1, memory_order_relaxed);
        return NULL;
    }
    void *p = inner->resize(inner->user, ptr, old_size, new_size);
    if (p == NULL) {
        meter_give(m, more);
        atomic_fetch_add_explicit(&m->refused, 1, memory_order_relaxed);
    } else if (new_size < old_size) {
        meter_give(m, old_size - new_size);
    }
    return p;
}

static void *meter_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct tpi_meter *m = user;
    return resize_up_to(m, tpi_meter_limit(m), ptr, old_size, new_size);
}

static void *reserve_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct tpi_meter *m = user;
    return resize_up_to(m, m->limit_bytes, ptr, old_size, new_size);
}

void tpi_meter_init(struct tpi_meter *m, const struct tpc_allocator *inner, size_t limit_bytes)
{
    m->base = (struct tpc_allocator){ .resize = meter_resize, .user = m };
    m->reserve = (struct tpc_allocator){ .resize = reserve_resize, .user = m };
    m->inner = or_default(inner);
    m->limit_bytes = limit_bytes;
    m->reserve_bytes = limit_bytes / RESERVE_PART;
    atomic_init(&m->used_bytes, 0);
    atomic_init(&m->peak_bytes, 0);
    atomic_init(&m->refused, 0);
}

size_t tpi_meter_used(const struct tpi_meter *m)
{
    return atomic_load_explicit(&m->used_bytes, memory_order_relaxed);
}

size_t tpi_meter_peak(const struct tpi_meter *m)
{
    return atomic_load_explicit(&m->peak_bytes, memory_order_relaxed);
}

size_t tpi_meter_limit(const struct tpi_meter *m)
{
    return m->limit_bytes - m->reserve_bytes;
}

uint64_t tpi_meter_refused(const struct tpi_meter *m)
{
    return atomic_load_explicit(&m->refused, memory_order_relaxed);
}
