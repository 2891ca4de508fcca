/* Lines of a log that many connections could write at once: at most so many a second, and how many were
 * left out. One thread. */
#ifndef NET_QUIET_H
#define NET_QUIET_H

#include <stdbool.h>
#include <stdint.h>

enum { NET_QUIET_LINES = 10 };

/* All zero at first. */
struct net_quiet {
    uint64_t second;
    uint32_t lines;
    uint32_t hidden; /* since the last line */
};

/* Whether a line may be written now; *ret_hidden: how many were not since the last one. */
static inline bool net_quiet_may(struct net_quiet *q, uint64_t now_ms, uint32_t *ret_hidden)
{
    if (q->second != now_ms / 1000) {
        q->second = now_ms / 1000;
        q->lines = 0;
    }
    if (q->lines >= NET_QUIET_LINES) {
        q->hidden++;
        return false;
    }
    q->lines++;
    *ret_hidden = q->hidden;
    q->hidden = 0;
    return true;
}

#endif
