#include "base/wheel.h"

#include <assert.h>

/*
 * The level of a timer is the highest 6-bit digit in which its time differs from the wheel's. Hence
 * all timers of a level share the higher digits with now, lie in slots behind now's digit, and the
 * lowest level that is not empty holds the next timer. Moving now into a slot sorts its timers
 * anew, each at least one level down.
 */
enum { DIGIT_BITS = 6, DIGIT_MASK = 63, PLACE_LATE = TPI_WHEEL_LEVELS * TPI_WHEEL_SLOTS };

#define FARTHEST_MS (UINT64_C(1) << 47)

enum { LOOK_AT_TIMERS = 64 }; /* tpi_wheel_next_ms(): beyond this a slot's start will do */

static void list_init(struct tpi_timer *head)
{
    head->next = head;
    head->prev = head;
}

static bool list_empty(const struct tpi_timer *head)
{
    return head->next == head;
}

static void list_append(struct tpi_timer *head, struct tpi_timer *t)
{
    t->next = head;
    t->prev = head->prev;
    head->prev->next = t;
    head->prev = t;
}

static void list_remove(struct tpi_timer *t)
{
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = NULL;
    t->prev = NULL;
}

/* Moves all of from to the end of to. */
static void list_splice(struct tpi_timer *to, struct tpi_timer *from)
{
    if (!list_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
    }
}

static unsigned int lowest_bit(uint64_t bits)
{
    return (unsigned int) __builtin_ctzll(bits);
}

void tpi_wheel_init(struct tpi_wheel *w, uint64_t now_ms)
{
    *w = (struct tpi_wheel){ .now_ms = now_ms };
    for (unsigned int level = 0; level < TPI_WHEEL_LEVELS; level++) {
        for (unsigned int slot = 0; slot < TPI_WHEEL_SLOTS; slot++) {
            list_init(&w->slots[level][slot]);
        }
    }
    list_init(&w->late);
    list_init(&w->firing);
}

bool tpi_timer_pending(const struct tpi_timer *t)
{
    return t->next != NULL;
}

/* Appends t to the slot of its time, which lies after now. */
static void put_in_slot(struct tpi_wheel *w, struct tpi_timer *t)
{
    unsigned int top = 63 - (unsigned int) __builtin_clzll(t->at_ms ^ w->now_ms);
    unsigned int level = top / DIGIT_BITS;
    assert(level < TPI_WHEEL_LEVELS);
    unsigned int slot = (unsigned int) (t->at_ms >> (level * DIGIT_BITS)) & DIGIT_MASK;
    t->place = level * TPI_WHEEL_SLOTS + slot;
    w->bits[level] |= UINT64_C(1) << slot;
    list_append(&w->slots[level][slot], t);
}

void tpi_wheel_add(struct tpi_wheel *w, struct tpi_timer *t, uint64_t at_ms)
{
    assert(t->fn != NULL);
    tpi_wheel_cancel(w, t);
    /* 2^47 ahead may carry into digit 8 if now is near 2^48: 8900 years of uptime. */
    uint64_t farthest = w->now_ms | (FARTHEST_MS - 1);
    t->at_ms = at_ms < farthest ? at_ms : farthest;
    w->count++;
    if (t->at_ms <= w->now_ms) {
        t->place = PLACE_LATE;
        list_append(&w->late, t);
    } else {
        put_in_slot(w, t);
    }
}

void tpi_wheel_cancel(struct tpi_wheel *w, struct tpi_timer *t)
{
    if (!tpi_timer_pending(t)) {
        return;
    }
    list_remove(t);
    w->count--;
    if (t->place < PLACE_LATE) {
        unsigned int level = t->place / TPI_WHEEL_SLOTS;
        unsigned int slot = t->place % TPI_WHEEL_SLOTS;
        if (list_empty(&w->slots[level][slot])) {
            w->bits[level] &= ~(UINT64_C(1) << slot);
        }
    }
}

/* Start of the first slot that has timers; false if there is none. */
static bool first_slot(const struct tpi_wheel *w, unsigned int *ret_level, unsigned int *ret_slot,
                       uint64_t *ret_start)
{
    for (unsigned int level = 0; level < TPI_WHEEL_LEVELS; level++) {
        if (w->bits[level] != 0) {
            unsigned int slot = lowest_bit(w->bits[level]);
            unsigned int shift = level * DIGIT_BITS;
            uint64_t higher = w->now_ms >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
            *ret_level = level;
            *ret_slot = slot;
            *ret_start = higher | (uint64_t) slot << shift;
            return true;
        }
    }
    return false;
}

/* now has come to the start of this slot: its timers are due or go to lower levels. */
static void open_slot(struct tpi_wheel *w, unsigned int level, unsigned int slot)
{
    struct tpi_timer list;
    list_init(&list);
    list_splice(&list, &w->slots[level][slot]);
    w->bits[level] &= ~(UINT64_C(1) << slot);
    while (!list_empty(&list)) {
        struct tpi_timer *t = list.next;
        list_remove(t);
        if (t->at_ms <= w->now_ms) {
            t->place = PLACE_LATE;
            list_append(&w->firing, t);
        } else {
            put_in_slot(w, t);
        }
    }
}

static size_t fire(struct tpi_wheel *w, uint64_t now_ms)
{
    size_t fired = 0;
    while (!list_empty(&w->firing)) {
        struct tpi_timer *t = w->firing.next;
        list_remove(t);
        w->count--;
        fired++;
        t->fn(t->user, now_ms);
    }
    return fired;
}

size_t tpi_wheel_run(struct tpi_wheel *w, uint64_t now_ms)
{
    if (now_ms < w->now_ms) {
        now_ms = w->now_ms;
    }
    list_splice(&w->firing, &w->late);
    size_t fired = fire(w, now_ms);
    unsigned int level, slot;
    uint64_t start;
    while (first_slot(w, &level, &slot, &start) && start <= now_ms) {
        w->now_ms = start;
        open_slot(w, level, slot);
        fired += fire(w, now_ms);
    }
    w->now_ms = now_ms;
    return fired;
}

/* The least time in a slot; its start if it has too many timers to look at. */
static uint64_t least_at(const struct tpi_timer *head, uint64_t start)
{
    uint64_t least = UINT64_MAX;
    int looked = 0;
    for (const struct tpi_timer *t = head->next; t != head; t = t->next) {
        if (looked++ == LOOK_AT_TIMERS) {
            return start;
        }
        least = t->at_ms < least ? t->at_ms : least;
    }
    return least;
}

uint64_t tpi_wheel_next_ms(const struct tpi_wheel *w, uint64_t now_ms)
{
    if (!list_empty(&w->late) || !list_empty(&w->firing)) {
        return 0;
    }
    unsigned int level, slot;
    uint64_t start;
    if (!first_slot(w, &level, &slot, &start)) {
        return TPI_WHEEL_NONE;
    }
    uint64_t at = least_at(&w->slots[level][slot], start);
    uint64_t wait = at > now_ms ? at - now_ms : 0;
    return wait < TPI_WHEEL_NONE ? wait : TPI_WHEEL_NONE - 1;
}

size_t tpi_wheel_count(const struct tpi_wheel *w)
{
    return w->count;
}
