/*
 * Dampening: whether a condition that was found true so often, or for so long, is to be believed.
 * It looks at the newest runs. Pure functions over a state of the caller's, any thread.
 */
#ifndef TPI_CALENDAR_DAMPEN_H
#define TPI_CALENDAR_DAMPEN_H

#include <stdbool.h>
#include <stdint.h>

enum { TPI_DAMPEN_MAX_RUNS = 64 };

enum tpi_dampen_type {
    TPI_DAMPEN_NONE = 0,
    TPI_DAMPEN_CONSECUTIVE = 1, /* the newest `count` runs were all true */
    TPI_DAMPEN_EVALUATION = 2,  /* `count` of the newest `window` runs were true */
    TPI_DAMPEN_ACTIVE = 3       /* true in every run for `active_ms` */
};

struct tpi_dampen {
    enum tpi_dampen_type type;
    uint32_t count;  /* 1..TPI_DAMPEN_MAX_RUNS; more or less is brought to that */
    uint32_t window; /* count..TPI_DAMPEN_MAX_RUNS; the same */
    int64_t active_ms;
};

/* All zero at first. */
struct tpi_dampen_state {
    uint64_t runs; /* bit 0 is the newest, 1 = true */
    bool active;
    int64_t since_ms; /* it is true */
};

/* One run of the condition. Returns whether the dampened condition holds now. A clock that goes
 * back starts the time of `active` anew. */
bool tpi_dampen_run(const struct tpi_dampen *d, struct tpi_dampen_state *state, bool result,
                    int64_t now_ms);

/* When it has been true for long enough, so that the condition is to be run again then: INT64_MAX
 * if that is no question of time. */
int64_t tpi_dampen_due(const struct tpi_dampen *d, const struct tpi_dampen_state *state);

#endif
