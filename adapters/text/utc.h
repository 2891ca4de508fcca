/* Dates in UTC as texts want them: the Gregorian calendar, years 1 to 9999, no leap seconds. */
#ifndef TEXT_UTC_H
#define TEXT_UTC_H

#include <stdint.h>
#include <tpcore/bytes.h>

enum { UTC_RFC3339_BYTES = 25, UTC_RFC5322_BYTES = 32 };

/* "2026-11-20T12:00:00.000Z". A time out of range becomes its nearest end. */
void utc_rfc3339(int64_t unix_ms, char ret[UTC_RFC3339_BYTES]);

/* "Fri, 20 Nov 2026 12:00:00 +0000" */
void utc_rfc5322(int64_t unix_ms, char ret[UTC_RFC5322_BYTES]);

/* The date of HTTP, "Sun, 06 Nov 1994 08:49:37 GMT" (IMF-fixdate, RFC 9110 section 5.6.7). Returns 0
 * or TPC_EDECODE. */
int utc_http_date(struct tpc_str text, int64_t *ret_unix_ms);

#endif
