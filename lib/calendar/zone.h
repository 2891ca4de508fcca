/*
 * Time zones: the offset from UTC at a moment, and the moments that a local time stands for. Read
 * from TZif files (RFC 9636, versions 1 to 4) with their POSIX TZ footer, from POSIX TZ texts, or
 * made of a fixed offset. A zone does not change once made: any thread.
 *
 * Leap seconds are not counted, as in Unix time: files with leap seconds ("right/...") are refused.
 */
#ifndef TPI_CALENDAR_ZONE_H
#define TPI_CALENDAR_ZONE_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>

#include "base/env.h"
#include "calendar/civil.h"

enum {
    TPI_ZONE_MAX_BYTES = 65536, /* of a file */
    TPI_ZONE_MAX_NAME = 64,
    TPI_ZONE_MAX_ABBR = 16 /* with the NUL; longer ones are cut */
};

#define TPI_ZONE_DIR "/usr/share/zoneinfo"

struct tpi_zone;

/* What holds in a span of time, [from_s, to_s). The ends of time are INT64_MIN and INT64_MAX. */
struct tpi_zone_span {
    int64_t from_s;
    int64_t to_s;
    int32_t offset_s; /* local = UTC + offset */
    bool dst;
    const char *abbr; /* the zone's */
};

enum tpi_local_kind {
    TPI_LOCAL_NONE = 0, /* the clock is set over it: it does not exist */
    TPI_LOCAL_ONCE = 1,
    TPI_LOCAL_TWICE = 2 /* the clock is set back over it */
};

/* The moments of a local time. */
struct tpi_local_unix {
    enum tpi_local_kind kind;
    int64_t first_s;  /* NONE: the first moment after the gap */
    int64_t second_s; /* TWICE: the later one; else as first_s */
};

/* A zone from the bytes of a TZif file. Returns 0, TPC_EDECODE, TPC_EUNSUPPORTED (leap seconds),
 * TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_zone_decode(const struct tpc_allocator *alloc, struct tpc_bytes bytes,
                    struct tpc_error *err, struct tpi_zone **ret);

/* A zone from a POSIX TZ text (POSIX.1-2017 8.3 with the extensions of RFC 9636 3.3.2), as
 * "CET-1CEST,M3.5.0,M10.5.0/3". A summer time without rules has those of the USA, as in libc.
 * Returns 0, TPC_EDECODE or TPC_ENOMEM. */
int tpi_zone_posix(const struct tpc_allocator *alloc, struct tpc_str text, struct tpc_error *err,
                   struct tpi_zone **ret);

/* A zone by name: "UTC", "GMT", "Etc/UTC", "Z" and fixed offsets as "+08:00" and "-0330" without
 * a file; others are files under dir (NULL = TPI_ZONE_DIR) as "Europe/Berlin". Returns 0, TPC_EINVAL
 * (no name of a zone), TPC_ENOENT, TPC_EUNSUPPORTED (env has no files), what tpi_zone_decode() says, or what the files say. */
int tpi_zone_open(const struct tpi_env *env, const char *dir, struct tpc_str name,
                  struct tpc_error *err, struct tpi_zone **ret);

void tpi_zone_destroy(struct tpi_zone *zone);

/* The span around a moment. zone NULL = UTC, here and below. */
void tpi_zone_span(const struct tpi_zone *zone, int64_t unix_s, struct tpi_zone_span *ret);

/* Local time at a moment, in seconds as civil.h counts them. */
int64_t tpi_zone_local(const struct tpi_zone *zone, int64_t unix_s);

/* The moments of a local time. */
void tpi_zone_unix(const struct tpi_zone *zone, int64_t local_s, struct tpi_local_unix *ret);

/*
 * Whether a moment lies in a window of the day: from_s..to_s are seconds of the day, both included
 * with their whole second; from_s > to_s passes midnight. weekdays: bit 0 is Sunday, and the day is
 * the one on which the window began.
 */
bool tpi_window_contains(const struct tpi_zone *zone, int32_t from_s, int32_t to_s,
                         uint32_t weekdays, int64_t unix_s);

#endif
