/*
 * The devices that spoke: for each its session and the dialect it speaks. Entries stay until fini;
 * a session of 0 = none now. Any thread.
 */
#ifndef MQTT_PEERS_H
#define MQTT_PEERS_H

#include "base/map.h"
#include "dialect.h"

#include <pthread.h>

enum { MQTT_PEER_KEY_MAX = 2 * MQTT_TOPIC_MAX };

struct mqtt_peer {
    struct mqtt_peer *next; /* in the order they came */
    uint64_t session;
    enum mqtt_dialect dialect;
    uint32_t custom; /* index of the pattern */
    size_t product_len, device_len;
    char key[]; /* product, NUL, device */
};

struct mqtt_peers {
    pthread_mutex_t lock;
    const struct tpc_allocator *alloc;
    struct tpi_map by_key;
    struct tpi_map64 by_session;
    struct mqtt_peer *first, *last;
    uint32_t limit;
};

/* seed: keys come from outside, so the hash must not be guessable. */
int mqtt_peers_init(struct mqtt_peers *t, const struct tpc_allocator *alloc, uint32_t limit,
                    uint64_t seed);
void mqtt_peers_fini(struct mqtt_peers *t);

/* The entry of an address (NULL = none) and its session (0 = none). */
struct mqtt_peer *mqtt_peers_find(struct mqtt_peers *t, const struct mqtt_address *a,
                                  uint64_t *ret_session);
uint64_t mqtt_peers_session(struct mqtt_peers *t, const struct mqtt_peer *p);

/* Makes or renews the entry of an address. 0, TPC_EAGAIN (limit) or TPC_ENOMEM. */
int mqtt_peers_put(struct mqtt_peers *t, const struct mqtt_address *a, uint64_t session);
/* Gives an entry another session, or none (that never fails). 0 or TPC_ENOMEM. */
int mqtt_peers_set(struct mqtt_peers *t, struct mqtt_peer *p, uint64_t session);
/* Takes a session off its entry. false = nobody has it. */
bool mqtt_peers_forget(struct mqtt_peers *t, uint64_t session);

/* The dialect spoken over a session, and its pattern; 0 = not known. */
enum mqtt_dialect mqtt_peers_dialect(struct mqtt_peers *t, uint64_t session, uint32_t *ret_custom);

/* Calls fn for each entry, without the lock; entries made meanwhile may be left out. */
typedef int mqtt_peer_fn(void *user, struct mqtt_peer *p, uint64_t session);
void mqtt_peers_each(struct mqtt_peers *t, mqtt_peer_fn *fn, void *user);

struct tpc_str mqtt_peer_product(const struct mqtt_peer *p);
struct tpc_str mqtt_peer_device(const struct mqtt_peer *p);

#endif
