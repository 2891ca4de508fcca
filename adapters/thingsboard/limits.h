/*
 * Rate limits as ThingsBoard writes them ("10:1,300:60": count:seconds, all windows at once), kept by
 * greedy token buckets. Times are monotonic milliseconds. Not locked.
 */
#ifndef THINGSBOARD_LIMITS_H
#define THINGSBOARD_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum { TB_WINDOWS_MAX = 8, TB_LIMIT_COUNT_MAX = 1000000000, TB_LIMIT_SECONDS_MAX = 86400 * 31 };

struct tb_window {
    uint32_t cap;    /* tokens when full */
    int64_t span_ms; /* in which it fills */
    int64_t level;   /* tokens * span_ms, so that nothing is lost by rounding */
};

struct tb_bucket {
    struct tb_window window[TB_WINDOWS_MAX];
    uint32_t count; /* 0 = no limit */
    uint64_t at_ms; /* levels are those of then */
};

/*
 * Adds the windows of a text to b, full, at `percent` of their counts (at least 1); "0:0", a zero and an
 * empty text add none. Returns 0, TPC_EINVAL (b is as it was) or TPC_ETOOBIG (too many windows).
 */
int tb_bucket_add(struct tb_bucket *b, struct tpc_str text, uint32_t percent, uint64_t now_ms);

/* Greatest number of tokens that one can take; UINT32_MAX = no limit. */
uint32_t tb_bucket_most(const struct tb_bucket *b);

/* Milliseconds until n tokens are there (0 = now). More than it can hold counts as full. */
uint64_t tb_bucket_wait(struct tb_bucket *b, uint32_t n, uint64_t now_ms);

/* Takes them; tb_bucket_wait() has said 0. */
void tb_bucket_take(struct tb_bucket *b, uint32_t n);

/* All tokens are gone: the server says that its own count is over. */
void tb_bucket_empty(struct tb_bucket *b, uint64_t now_ms);

/* Whether a server of that name has the limits of ThingsBoard's own cloud. */
bool tb_host_is_cloud(struct tpc_str host);

#endif
