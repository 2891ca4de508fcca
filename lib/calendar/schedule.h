/*
 * Schedules: when something is to be done, compiled from a document, as a pure function of its
 * state and the time.
 *
 *     {"type": "repeat", "interval": "5m", "count": 3}
 *     {"type": "cron", "cron": "0 30 7 * * MON-FRI", "zone": "Europe/Berlin"}
 *     {"type": "simple", "frequency": "weekly", "day_of_week": ["mon", "thu"], "time": "07:30"}
 *     {"type": "sunset", "offset": "-30m", "latitude": 52.52, "longitude": 13.40}
 *
 * Members of all: zone (default UTC), validity {date {from, to}, time {from, to}, every_day},
 * missed "skip" or "run_once". What a run outside the validity would do is not done and not missed.
 *
 * A planned time that is passed over by more than TPI_SCHEDULE_LATE_MS, for the process was not
 * running or the clock was set forward, is missed: "skip" forgets it, "run_once" does it once, for
 * the newest of them. No planned time is done twice when the clock goes back, unless it goes back by
 * more than TPI_SCHEDULE_BACK_MS: then the time before was the error, and it starts from now.
 */
#ifndef TPI_CALENDAR_SCHEDULE_H
#define TPI_CALENDAR_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

#include "base/env.h"
#include "calendar/cron.h"
#include "calendar/zone.h"

enum {
    TPI_SCHEDULE_LATE_MS = 10000,
    TPI_SCHEDULE_BACK_MS = 86400000,
    TPI_SCHEDULE_MIN_INTERVAL_MS = 1000,
    TPI_SCHEDULE_MAX_OFFSET_MS = 43200000, /* of sunrise and sunset, 12 h */
    TPI_SCHEDULE_MAX_TRIES = 1000,         /* planned times outside the validity in a row */
    TPI_SCHEDULE_MAX_MISSED = 1000         /* counted at once */
};

enum tpi_schedule_type {
    TPI_SCHEDULE_REPEAT = 1,
    TPI_SCHEDULE_CRON = 2, /* "cron" and "simple" */
    TPI_SCHEDULE_SUNRISE = 3,
    TPI_SCHEDULE_SUNSET = 4
};

struct tpi_validity {
    bool has_from; /* a date */
    bool has_to;
    bool has_time;
    bool every_day;   /* the time bounds each day; else it stands with the dates */
    int64_t from_day; /* included, as to_day */
    int64_t to_day;
    int32_t from_s; /* of the day, included with its whole second, as to_s */
    int32_t to_s;
};

struct tpi_schedule {
    enum tpi_schedule_type type;
    bool run_once; /* what is missed */
    int64_t interval_ms;
    uint64_t count;       /* of runs; 0 = no end */
    struct tpi_cron cron; /* times; of the sun: days */
    int64_t offset_ms;
    double latitude;
    double longitude;
    struct tpi_validity validity;
    struct tpi_zone *zone; /* its own */
};

/* What is to be kept of a schedule over restarts. */
struct tpi_schedule_state {
    int64_t since_ms; /* it began: "repeat" counts from here */
    int64_t last_ms;  /* planned time that was dealt with last; since_ms at first */
    uint64_t fired;
    uint64_t missed;
    bool ended; /* nothing is planned any more: count reached, date over */
};

/* What is to be done now. */
struct tpi_schedule_step {
    bool fire;
    int64_t fire_ms; /* the planned time */
    uint64_t missed; /* by this step */
    int64_t next_ms; /* when to look again; INT64_MAX = never */
};

/*
 * Compiles a document; members it does not know are left alone. Durations may be numbers of ms.
 * zone_dir NULL = TPI_ZONE_DIR. Returns 0, TPC_EINVAL (err's path says where), what
 * tpi_zone_open() says, or TPC_ENOMEM.
 */
int tpi_schedule_init(struct tpi_schedule *s, const struct tpi_env *env, const char *zone_dir,
                      const struct tpc_value *doc, struct tpc_error *err);
void tpi_schedule_fini(struct tpi_schedule *s);

/* A schedule begins, or is enabled again. */
void tpi_schedule_start(struct tpi_schedule_state *state, int64_t now_ms);

/* The first planned time after after_ms; false = none. */
bool tpi_schedule_next(const struct tpi_schedule *s, const struct tpi_schedule_state *state,
                       int64_t after_ms, int64_t *ret_ms);

/* Goes on to now: changes the state and says what is to be done. */
void tpi_schedule_step(const struct tpi_schedule *s, struct tpi_schedule_state *state,
                       int64_t now_ms, struct tpi_schedule_step *ret);

#endif
