/* What the files of the module share. */
#ifndef UDP_INSIDE_H
#define UDP_INSIDE_H

#include "sessions.h"
#include "unwrap.h"

#include "auth.h"
#include "datagram.h"
#include "loop.h"

#include <stdatomic.h>
#include <tpcore/ext/adapter.h>

enum {
    UDP_LISTEN_MAX = 8,
    UDP_OPTIONS = 8,
    UDP_BUCKETS = 4096 /* addresses share one of them: a limit, not an account */
};

struct udp_config {
    struct tpc_str tenant;
    struct sockaddr_storage listen[UDP_LISTEN_MAX];
    uint32_t listen_count;
    uint32_t idle_ms;
    uint32_t max_sessions;
    uint32_t message_max;
    uint32_t rate;    /* datagrams a second of one address; 0 = no limit */
    uint32_t amplify; /* bytes of an answer before the login, for one of the request */
    uint32_t sends_max;
};

/* Datagrams that an address may still send. */
struct udp_bucket {
    uint64_t at_ms; /* when it was filled last; 0 = never */
    uint64_t left;  /* thousandths */
};

/* A registration that waits for its answer. */
struct udp_asked {
    struct net_job job;
    struct udp_asked *prev, *next;
    struct udp *u;
    struct net_socket *socket;
    struct sockaddr_storage from;
    size_t request_len, answer_len;
    uint8_t answer[NET_AUTH_ANSWER_BYTES];
};

struct udp {
    const struct tpc_host *host;
    void *ctx;
    struct udp_config config;
    struct net_loop *loop;
    struct net_auth *auth;
    struct net_socket *sockets[UDP_LISTEN_MAX];
    uint16_t ports[UDP_LISTEN_MAX];
    struct udp_sessions sessions;
    struct udp_bucket *buckets;
    uint64_t seed;
    struct udp_asked *asked;
    uint8_t *plain; /* message_max: a message without its wrapping */
    /* The message that the host did not take: nothing is read until it does. */
    uint8_t *kept; /* message_max */
    size_t kept_len;
    uint64_t kept_session; /* 0 = none */
    struct tpi_timer retry;
    struct net_job resume;
    atomic_bool resuming; /* the job is posted */
    atomic_uint sends;
    bool sessions_made, closed;
    int open_rc;
};

/* options.c */
extern const struct tpc_option udp_option_table[UDP_OPTIONS];
int udp_config_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                    struct udp_config *ret);

/* receive.c: the loop's thread. */
net_datagram_fn udp_on_datagram;
void udp_deliver(struct udp *u, struct udp_session *s, struct tpc_bytes message);
void udp_try_kept(struct udp *u);
void udp_close_session(struct udp *u, struct udp_session *s);

#endif
