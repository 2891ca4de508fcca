#include "rate.h"
#include "base/alloc.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { IDLE_MS = 1000, SWEEP_MAX = 1024 };

void hs_askers_init(struct hs_askers *a, const struct tpc_allocator *alloc, uint32_t max,
                    uint64_t seed)
{
    a->alloc = alloc;
    a->max = max;
    tpi_map_init(&a->map, alloc);
    a->map.seed = seed;
}

void hs_askers_fini(struct hs_askers *a)
{
    size_t at = 0;
    void *value;
    struct tpc_bytes key;
    if (a->alloc == NULL) {
        return;
    }
    while (tpi_map_next(&a->map, &at, &key, &value)) {
        tpi_free(a->alloc, value, sizeof(struct hs_asker));
    }
    tpi_map_fini(&a->map);
    a->alloc = NULL;
}

void hs_address_read(const struct sockaddr *sa, struct hs_address *ret, char ret_text[HS_PEER_TEXT])
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    struct sockaddr_in6 in6;
    struct sockaddr_in in;
    uint8_t bytes[16] = { 0 };
    int family = sa != NULL ? sa->sa_family : AF_UNSPEC;
    size_t len = 0;
    if (family == AF_INET6) {
        memcpy(&in6, sa, sizeof(in6));
        len = 16;
        memcpy(bytes, &in6.sin6_addr, len);
        if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
            family = AF_INET; /* on a socket that takes both */
            len = 4;
            memmove(bytes, bytes + sizeof(mapped), len);
        }
    } else if (family == AF_INET) {
        memcpy(&in, sa, sizeof(in));
        len = 4;
        memcpy(bytes, &in.sin_addr, len);
    }
    memset(ret, 0, sizeof(*ret));
    ret->bytes[0] = family == AF_INET6 ? 6 : 4;
    memcpy(ret->bytes + 1, bytes, len == 16 ? 8 : len);
    if (ret_text != NULL) {
        ret_text[0] = '\0';
        if (len > 0) {
            (void) inet_ntop(family, bytes, ret_text, HS_PEER_TEXT);
        }
    }
}

struct hs_asker *hs_asker_find(const struct hs_askers *a, const struct hs_address *address)
{
    return tpi_map_get(&a->map, address->bytes, sizeof(address->bytes));
}

struct hs_asker *hs_asker_get(struct hs_askers *a, const struct hs_address *address, uint64_t route,
                              uint64_t now_ms)
{
    uint8_t key[HS_ADDRESS_BYTES + sizeof(route)];
    size_t len = HS_ADDRESS_BYTES;
    memcpy(key, address->bytes, len);
    if (route != 0) {
        memcpy(key + len, &route, sizeof(route));
        len += sizeof(route);
    }
    struct hs_asker *k = tpi_map_get(&a->map, key, len);
    if (k != NULL || tpi_map_count(&a->map) >= a->max) {
        return k;
    }
    k = tpi_alloc_zero(a->alloc, sizeof(*k));
    if (k != NULL) {
        /* A second ago: the bucket is full. */
        k->bucket.last_ms = now_ms > IDLE_MS ? now_ms - IDLE_MS : 0;
        if (tpi_map_put(&a->map, key, len, k, NULL) != 0) {
            tpi_free(a->alloc, k, sizeof(*k));
            k = NULL;
        }
    }
    return k;
}

bool hs_bucket_take(struct hs_bucket *b, uint32_t rate_per_s, uint64_t now_ms,
                    uint64_t *ret_wait_ms)
{
    if (rate_per_s == 0) {
        return true;
    }
    uint64_t most = (uint64_t) rate_per_s * 1000;
    uint64_t gone = now_ms > b->last_ms ? now_ms - b->last_ms : 0;
    b->tokens += gone >= IDLE_MS ? most : gone * rate_per_s;
    b->tokens = b->tokens > most ? most : b->tokens;
    b->last_ms = now_ms;
    if (b->tokens < 1000) {
        *ret_wait_ms = (1000 - b->tokens + rate_per_s - 1) / rate_per_s;
        return false;
    }
    b->tokens -= 1000;
    return true;
}

bool hs_askers_sweep(struct hs_askers *a, uint64_t now_ms)
{
    /* Nothing may be removed on the way, so some are gathered at a time. */
    uint8_t keys[SWEEP_MAX][HS_ADDRESS_BYTES + sizeof(uint64_t)];
    size_t lens[SWEEP_MAX];
    size_t found = 0, at = 0;
    void *value;
    struct tpc_bytes key;
    while (found < SWEEP_MAX && tpi_map_next(&a->map, &at, &key, &value)) {
        const struct hs_asker *k = value;
        if (k->connections == 0 && now_ms > k->bucket.last_ms + IDLE_MS) {
            memcpy(keys[found], key.ptr, key.len);
            lens[found++] = key.len;
        }
    }
    for (size_t i = 0; i < found; i++) {
        tpi_free(a->alloc, tpi_map_remove(&a->map, keys[i], lens[i]), sizeof(struct hs_asker));
    }
    return found == SWEEP_MAX;
}
