/*
 * Devices that are in: found by their key, by their token and by their session. The loop's thread.
 */
#ifndef UDP_SESSIONS_H
#define UDP_SESSIONS_H

#include "base/map.h"
#include "base/wheel.h"

#include <sys/socket.h>
#include <tpcore/auth.h>

struct net_socket;

struct udp_session {
    uint64_t id; /* the host's */
    void *owner;
    struct tpc_identity who;
    struct net_socket *socket; /* over which it spoke last, and from where */
    struct sockaddr_storage address;
    struct tpi_timer idle;
    char *token; /* NULL = none shown yet */
    size_t token_len;
};

struct udp_sessions {
    const struct tpc_allocator *alloc;
    struct tpi_map by_device;
    struct tpi_map by_token;
    struct tpi_map64 by_id;
};

void udp_sessions_init(struct udp_sessions *t, const struct tpc_allocator *alloc, uint64_t seed);
/* All are taken out before. */
void udp_sessions_fini(struct udp_sessions *t);

size_t udp_sessions_count(const struct udp_sessions *t);
struct udp_session *udp_by_device(const struct udp_sessions *t, const char *key);
struct udp_session *udp_by_token(const struct udp_sessions *t, struct tpc_str token);
struct udp_session *udp_by_id(const struct udp_sessions *t, uint64_t id);
struct udp_session *udp_any(const struct udp_sessions *t);

/* The device is found by it from now on, whatever it had before. Returns 0 or TPC_ENOMEM. */
int udp_session_add(struct udp_sessions *t, const struct tpc_identity *who, uint64_t id,
                    struct udp_session **ret);
/* Its timer is ended before. */
void udp_session_free(struct udp_sessions *t, struct udp_session *s);

/* The token it shows now; without memory the next one is looked at anew. */
void udp_session_token(struct udp_sessions *t, struct udp_session *s, struct tpc_str token);

#endif
