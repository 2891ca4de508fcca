/* What the files of this folder share: libuv's types. */
#ifndef NET_INSIDE_H
#define NET_INSIDE_H

#include "stream.h"

#include "base/buf.h"
#include "base/map.h"

#include <pthread.h>
#include <uv.h>

enum { NET_READ_BYTES = 65536 };

/* Called before the loop waits: what was written since the last time leaves in one piece. */
struct net_flush {
    void (*fn)(struct net_flush *f);
    struct net_flush *next, *prev;
    bool queued;
};

struct net_loop {
    const struct tpc_allocator *alloc;
    const struct tpc_clock *clock;
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t before_wait;
    uv_timer_t tick;
    struct tpi_wheel wheel;
    uint64_t tick_at_ms; /* when the tick comes, by the host's clock; 0 = it is not set */
    struct net_flush *flush_first;
    uint8_t *read_buf; /* NET_READ_BYTES: one for all sockets */
    uint8_t *open_buf; /* NET_READ_BYTES: what TLS made of it */

    pthread_mutex_t lock;
    pthread_cond_t done;
    pthread_t thread;
    struct net_job *first, *last;
    bool made, running, ending;
};

enum net_stream_state {
    NET_CONNECTING, /* the socket, then TLS */
    NET_OPEN,
    NET_ENDING, /* what was written leaves; what comes is dropped */
    NET_CLOSED
};

struct net_flying; /* what the system has not taken yet */
struct net_secure; /* TLS of one stream */
struct net_dial;

struct net_stream {
    uv_tcp_t tcp;
    struct net_group *group;
    struct net_stream *next, *prev;
    struct net_flush flush;
    struct tpi_timer timer;
    struct net_dial *dial;     /* NULL = it was accepted */
    struct net_secure *secure; /* NULL = plain */
    struct net_flying *flying;
    struct net_written *written_first, *written_last;
    struct tpi_buf out;
    uint8_t *kept; /* came, and was not taken */
    size_t kept_len, kept_cap;
    uint64_t put, left; /* bytes given to out, and to the system, ever */
    uint64_t heard_ms, deadline_ms;
    uint32_t idle_ms;
    uint32_t refs;
    uint8_t state; /* enum net_stream_state */
    bool told, paused, resuming, reading, eof, counted;
    uint16_t port;
    uint8_t address[NET_ADDRESS_BYTES];
};

struct net_group {
    struct net_loop *loop;
    const struct tpc_random *random;
    struct net_limits limits;
    const struct net_stream_ops *ops;
    void *user;
    size_t data_bytes;
    uint64_t files_max; /* descriptors that the system allows, at the start */
    struct net_stream *streams;
    struct net_listener *listeners;
    struct net_dial *dials;
    struct tpi_map addresses; /* 16 bytes -> how many connections, as a pointer */
    uint32_t count;
    uint64_t tokens_us; /* accept_rate: up to when its turns are taken */
    bool closing;
};

/* stream.c, for those that make one. A new one is not in the group yet: begin or drop. */
struct net_stream *net_stream_make(struct net_group *g, struct net_tls *tls, struct net_dial *dial);
void net_stream_begin(struct net_stream *s, const struct sockaddr *peer);
void net_stream_drop(struct net_stream *s);
void net_stream_opened(struct net_stream *s);
/* Bytes for the owner. */
void net_stream_deliver(struct net_stream *s, const uint8_t *p, size_t n);
/* As they go out. */
int net_stream_put(struct net_stream *s, const uint8_t *p, size_t n);

/* dial.c */
void net_dial_lost(struct net_dial *d);
void net_dial_reached(struct net_dial *d);
const char *net_dial_host(const struct net_dial *d);
void net_dials_close(struct net_group *g);
void net_dials_free(struct net_group *g);

/* tls.c */
int net_secure_create(struct net_tls *tls, struct net_stream *s, struct net_secure **ret);
struct net_secure *net_secure_destroy(struct net_secure *c);
/* Bytes from the wire; n 0 = go on with what was kept. */
void net_secure_read(struct net_stream *s, const uint8_t *p, size_t n);
int net_secure_write(struct net_stream *s, const uint8_t *p, size_t n);
void net_secure_bye(struct net_stream *s);

void net_flush_later(struct net_loop *l, struct net_flush *f);
void net_flush_drop(struct net_loop *l, struct net_flush *f);

#endif
