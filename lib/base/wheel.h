/*
 * Timer wheel: eight levels of 64 slots of 1 ms, 64 ms, ... with a bit per slot, so that adding and
 * cancelling are O(1) and time may jump by days at the cost of the timers that fire. Times are
 * monotonic milliseconds of the owner's choice. One thread.
 */
#ifndef TPI_BASE_WHEEL_H
#define TPI_BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TPI_WHEEL_LEVELS = 8, TPI_WHEEL_SLOTS = 64 };

/* tpi_wheel_next_ms(): no timer is pending. */
#define TPI_WHEEL_NONE ((uint64_t) UINT32_MAX)

/* now_ms is the time given to tpi_wheel_run(). The timer is not pending any more: the callback may
 * add it again, cancel or free any timer, this one too. */
typedef void tpi_timer_fn(void *user, uint64_t now_ms);

/* Embedded in its owner. Set fn and user, leave the rest zero. */
struct tpi_timer {
    tpi_timer_fn *fn;
    void *user;
    struct tpi_timer *next, *prev; /* NULL = not pending */
    uint64_t at_ms;
    uint32_t place; /* level * 64 + slot, or a list outside the slots */
};

struct tpi_wheel {
    uint64_t now_ms;
    size_t count;
    uint64_t bits[TPI_WHEEL_LEVELS];
    struct tpi_timer slots[TPI_WHEEL_LEVELS][TPI_WHEEL_SLOTS]; /* heads of rings */
    struct tpi_timer late;                                     /* due when they were added */
    struct tpi_timer firing;
};

/* w must not move afterwards. */
void tpi_wheel_init(struct tpi_wheel *w, uint64_t now_ms);

/* Adds or moves a timer. at_ms in the past: it fires in the next run (never in the running one, so
 * a timer that adds itself cannot hang a run). Times over 2^47 ms ahead are brought down to that.
 */
void tpi_wheel_add(struct tpi_wheel *w, struct tpi_timer *t, uint64_t at_ms);

/* Fine for a timer that is not pending. */
void tpi_wheel_cancel(struct tpi_wheel *w, struct tpi_timer *t);

bool tpi_timer_pending(const struct tpi_timer *t);

/* Fires all that are due, by time, in the order of adding where the time is the same. A now_ms
 * before the last one counts as the last one. Returns how many fired. Not from a callback. */
size_t tpi_wheel_run(struct tpi_wheel *w, uint64_t now_ms);

/* Milliseconds from now_ms until something is due (0 = now), TPI_WHEEL_NONE without timers. May be
 * too short, never too long, where many timers share a coarse slot. */
uint64_t tpi_wheel_next_ms(const struct tpi_wheel *w, uint64_t now_ms);

size_t tpi_wheel_count(const struct tpi_wheel *w);

#endif
