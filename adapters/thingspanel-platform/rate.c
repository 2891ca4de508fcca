#include "rate.h"

#include "base/hash.h"

bool panel_rate_take(struct panel_rate *r, char kind, struct tpc_str key, uint64_t now_ms)
{
    uint64_t hash = tpi_hash(key.ptr, key.len, r->seed ^ (uint64_t) (unsigned char) kind);
    hash += hash == 0;
    struct panel_rate_entry *set = r->entries[hash % PANEL_RATE_SETS];
    struct panel_rate_entry *place = &set[0];
    for (int i = 0; i < PANEL_RATE_WAYS; i++) {
        if (set[i].key == hash) {
            place = &set[i];
            break;
        }
        if (set[i].key == 0 || (place->key != 0 && set[i].since_ms < place->since_ms)) {
            place = &set[i];
        }
    }
    if (place->key == hash && now_ms - place->since_ms < PANEL_RATE_MS) {
        return false;
    }
    *place = (struct panel_rate_entry){ hash, now_ms };
    return true;
}
