/*
 * A window of the day, in which alone a scene fires.
 *
 *     "during": {"time": {"from": "22:00", "to": "06:00"}, "days": ["mon", "fri"],
 *                "zone": "Europe/Berlin", "at_start": true}
 *
 * from belongs to it, to does not; to before from passes midnight, and the day is the one on which the
 * window began; both the same = a whole day. A local time that the clock is set over is the moment after
 * the gap, one that comes twice begins a window the first time. Once opened it does not change: any
 * thread.
 */
#ifndef TPI_RULES_DURING_H
#define TPI_RULES_DURING_H

#include <tpcore/ext/option.h>
#include <tpcore/value.h>

#include "calendar/zone.h"

struct tpi_during {
    bool set;      /* else it is always open */
    bool at_start; /* what is true when it opens fires then */
    uint8_t days;  /* bit 0 = Sunday */
    int32_t from_s;
    int32_t to_s;             /* the last second of it */
    struct tpc_str zone_name; /* the document's; empty = UTC */
    struct tpi_zone *zone;    /* opened by tpi_during_open() */
};

/* Member "during" of a schema. */
extern const struct tpc_option tpi_during_options[4];
#define TPI_DURING_OPTION                                                                          \
    {                                                                                              \
        .name = "during", .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(tpi_during_options),           \
        .since = "0.1", .help = "it fires only then"                                               \
    }

/* Reads a checked document; NULL = none. Returns 0 or TPC_EINVAL (path from "during"). */
int tpi_during_read(struct tpi_during *d, const struct tpc_value *doc, struct tpc_error *err);

/* Opens its zone if that is not done yet. Returns as tpi_zone_open(), with path "during.zone". */
int tpi_during_open(struct tpi_during *d, const struct tpi_env *env, const char *zone_dir,
                    struct tpc_error *err);
void tpi_during_fini(struct tpi_during *d);

bool tpi_during_contains(const struct tpi_during *d, int64_t unix_ms);

/* When it opens next after a moment; INT64_MAX = never, for it is always open. */
int64_t tpi_during_next(const struct tpi_during *d, int64_t unix_ms);

/* Continues a short hash with all that says when it is open; h itself where there is none. */
uint64_t tpi_during_hash(const struct tpi_during *d, uint64_t h);

#endif
