/*
 * Dates as devices write them. Without a zone they are in UTC.
 *
 *     1763745600000            milliseconds since 1970
 *     2026-11-21T17:00:00.250Z 2026-11-21 17:00 +01:00    20261121T170000Z   2026/11/21   2026.11.21
 *     11/21/2026 5:00 PM       month first; day_first: 21/11/2026. A number over 12 is the day
 *     21.11.26 17:00           two digits are a year of 1970..2069; year_first: 26.11.21
 *     21 Nov 2026 17:00:00     Nov 21, 2026     Sat, 21 Nov 2026 17:00:00 +0100 (RFC 5322)
 */
#ifndef CONNECTOR_DATE_H
#define CONNECTOR_DATE_H

#include <stdint.h>
#include <tpcore/bytes.h>

enum date_flags { DATE_DAY_FIRST = 1, DATE_YEAR_FIRST = 2 };

/* Years 1970..9999. Returns 0 or TPC_EDECODE. */
int date_parse(struct tpc_str text, uint32_t flags, int64_t *ret_unix_ms);

#endif
