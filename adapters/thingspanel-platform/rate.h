/* One call in three seconds of one voucher or number (contract thingspanel 3.2 item 2). One thread. */
#ifndef PANEL_RATE_H
#define PANEL_RATE_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum { PANEL_RATE_SETS = 1024, PANEL_RATE_WAYS = 4, PANEL_RATE_MS = 3000 };

struct panel_rate {
    uint64_t seed;
    struct panel_rate_entry {
        uint64_t key; /* hash; 0 = free */
        uint64_t since_ms;
    } entries[PANEL_RATE_SETS][PANEL_RATE_WAYS];
};

/* Whether a call with this key may be made now; then it counts. Where too many keys come, the oldest one
 * is forgotten. */
bool panel_rate_take(struct panel_rate *r, char kind, struct tpc_str key, uint64_t now_ms);

#endif
