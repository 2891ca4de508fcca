/* When a request is sent again: pure. */
#ifndef HTTP_RETRY_H
#define HTTP_RETRY_H

#include <stdbool.h>
#include <tpcore/ext/http.h>

enum {
    HTTP_RETRIES_MAX = 10,
    HTTP_RETRY_DELAY_MS = 500,
    HTTP_RETRY_DELAY_MAX_MS = 60000 /* also of what a server asks for */
};

/* Whether a request may be sent twice (RFC 9110 section 9.2.2), or says that it may. */
bool http_retry_allowed(struct tpc_str method, uint32_t flags);

/* Whether an end is one that may be other the next time. code 0 = an answer with `status`. */
bool http_retry_wanted(int code, uint32_t status);

/*
 * Milliseconds to wait before try number `tries` (from 1) is sent again: base_ms doubled each time, less up
 * to half of it by `chance`, and not less than what Retry-After says (a number of seconds; else it is not
 * looked at). Returns false if it asks for more than HTTP_RETRY_DELAY_MAX_MS.
 */
bool http_retry_delay(uint32_t tries, uint32_t base_ms, struct tpc_str retry_after, uint32_t chance,
                      uint64_t *ret_ms);

#endif
