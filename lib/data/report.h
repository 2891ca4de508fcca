/*
 * A report strategy: which of the values that a device says go on. One option table for all places
 * where one can be said (docs/guide/report.md).
 */
#ifndef TPI_DATA_REPORT_H
#define TPI_DATA_REPORT_H

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/ext/option.h>

enum tpi_report_mode {
    TPI_REPORT_NONE = 0, /* nothing is said here: the place further out decides */
    TPI_REPORT_RECEIVED = 1,
    TPI_REPORT_CHANGE = 2,
    TPI_REPORT_PERIOD = 3,
    TPI_REPORT_CHANGE_OR_PERIOD = 4
};

enum {
    TPI_REPORT_OPTIONS = 7,
    TPI_REPORT_MIN_PERIOD_MS = 1,
    TPI_REPORT_MAX_PERIOD_S = 30 * 24 * 3600,
    TPI_REPORT_MAX_TTL_S = 366 * 24 * 3600
};

/* Without padding, so that two can be compared as bytes. */
struct tpi_report {
    double deadband;         /* >= 0 */
    double deadband_percent; /* of the value that went last; >= 0 */
    uint64_t ttl_ms;         /* without a value for so long, the last one is forgotten; 0 = never */
    uint32_t period_ms;      /* of the modes with a period */
    uint8_t mode;            /* enum tpi_report_mode */
    uint8_t reset;           /* 1: a change restarts the period */
    uint8_t stamp_send;      /* 1: what the period sends has the time of sending */
    uint8_t reserved;
};

static inline bool tpi_report_periodic(const struct tpi_report *r)
{
    return r->mode >= TPI_REPORT_PERIOD;
}

extern const struct tpc_option tpi_report_schema[TPI_REPORT_OPTIONS];

/* Reads a table that was checked against the schema. v NULL or null: TPI_REPORT_NONE. */
void tpi_report_read(const struct tpc_value *v, struct tpi_report *ret);

/* The same, checked first. Returns 0, TPC_EINVAL (err's path: "period") or TPC_ENOMEM. */
int tpi_report_parse(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpi_report *ret);

#endif
