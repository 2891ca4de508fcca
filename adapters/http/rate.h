/*
 * Who asks: an address with its connections, and how often it may ask (a bucket of tokens). One thread.
 * IPv6 is counted by /64, which is what one customer gets.
 */
#ifndef HS_RATE_H
#define HS_RATE_H

#include "base/map.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { HS_ADDRESS_BYTES = 17, HS_PEER_TEXT = 48 };

struct hs_address {
    uint8_t bytes[HS_ADDRESS_BYTES]; /* family, then the address */
};

/* Tokens in thousandths: rate_per_s a second, at most one second's. */
struct hs_bucket {
    uint64_t tokens;
    uint64_t last_ms;
};

struct hs_asker {
    uint32_t connections;
    struct hs_bucket bucket;
};

struct hs_askers {
    const struct tpc_allocator *alloc;
    struct tpi_map map; /* struct hs_asker by address, or address and route */
    uint32_t max;
};

void hs_askers_init(struct hs_askers *a, const struct tpc_allocator *alloc, uint32_t max,
                    uint64_t seed);
void hs_askers_fini(struct hs_askers *a);

/* Of a socket's address; ret_text (may be NULL) is for people, without port. */
void hs_address_read(const struct sockaddr *sa, struct hs_address *ret,
                     char ret_text[HS_PEER_TEXT]);

/* Who asks route `route` (0 = any); NULL: too many are known, or memory is short. */
struct hs_asker *hs_asker_get(struct hs_askers *a, const struct hs_address *address, uint64_t route,
                              uint64_t now_ms);
/* NULL if it is not known. */
struct hs_asker *hs_asker_find(const struct hs_askers *a, const struct hs_address *address);

/* Takes a token. False: *ret_wait_ms until there is one. rate 0 = always. */
bool hs_bucket_take(struct hs_bucket *b, uint32_t rate_per_s, uint64_t now_ms,
                    uint64_t *ret_wait_ms);

/* Forgets some of those who have no connection and have not asked for a second, of whom the bucket is full
 * again. Returns whether there may be more. */
bool hs_askers_sweep(struct hs_askers *a, uint64_t now_ms);

#endif
