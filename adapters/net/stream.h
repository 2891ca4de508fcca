/*
 * Streams: connections that were accepted or made, in a group with common limits. All is called on the
 * loop's thread, where not said otherwise; no call blocks.
 *
 * An idle connection costs its struct: bytes are read into the loop's buffer, and a stream keeps only
 * what its owner has not taken yet. What is written within one turn of the loop leaves in one piece.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "address.h"
#include "loop.h"

#include <tpcore/bytes.h>

struct net_group;
struct net_stream;
struct net_tls; /* tls.h */

/* Why a connection ended. */
enum net_end {
    NET_END_PEER,  /* the peer closed it */
    NET_END_RESET, /* .. or broke it */
    NET_END_IDLE,  /* nothing came for idle_ms */
    NET_END_LATE,  /* its deadline passed */
    NET_END_TLS,   /* the handshake failed, or bytes were no TLS */
    NET_END_SLOW,  /* it does not read: write_max */
    NET_END_MEMORY,
    NET_END_OWN, /* the owner closed it */
    NET_END_REASONS
};

/* What happened to a connection before the owner heard of it. */
enum net_event {
    NET_OVER_MAX,     /* closed at once: max_connections */
    NET_OVER_ADDRESS, /* .. max_per_address */
    NET_DELAYED,      /* accepted later: accept_rate */
    NET_NO_MEMORY,    /* closed at once */
    NET_NOT_ACCEPTED, /* closed at once: descriptors are short; or the system refused */
    NET_TLS_FAILED,   /* before the owner heard of it */
    NET_NOT_REACHED,  /* a connection of ours was not made */
    NET_EVENTS
};

/*
 * opened  The connection is there (and its handshake done). net_stream_data() is all zero.
 * read    Bytes that came, with those that were kept before: returns how many were taken. The rest is
 *         kept, and comes again with more, or once reading goes on. May close the stream.
 * closed  The stream is gone for the owner: last call of it. Not called for one that was not opened.
 * event   text is an address, and why, if there is more to say.
 */
struct net_stream_ops {
    void (*opened)(void *user, struct net_stream *s);
    size_t (*read)(struct net_stream *s, struct tpc_bytes bytes);
    void (*closed)(struct net_stream *s, enum net_end why);
    void (*event)(void *user, enum net_event what, const char *text);
};

struct net_limits {
    uint32_t max_connections;
    uint32_t max_per_address; /* 0 = no limit */
    uint32_t accept_rate;     /* a second; 0 = no limit. More wait in the system's queue */
    uint32_t backlog;
    uint32_t idle_ms;      /* 0 = no limit */
    uint32_t handshake_ms; /* TLS; of a connection of ours: connecting, too */
    uint32_t write_max;    /* bytes that wait to be written, of one connection */
    uint32_t retry_min_ms; /* between two tries of a connection of ours; grows up to .. */
    uint32_t retry_max_ms;
};

/* Control thread, before the loop starts; destroy after it has stopped. tls of those that come in and
 * of those that go out (may be NULL; stay the caller's). Returns 0 or TPC_ENOMEM. */
int net_group_create(struct net_loop *l, const struct tpc_random *random,
                     const struct net_limits *limits, const struct net_stream_ops *ops, void *user,
                     size_t data_bytes, struct net_group **ret);
struct net_group *net_group_destroy(struct net_group *g);

/* Listens; tls NULL = plain. *ret_port (may be NULL) is the one that it got. Returns 0, TPC_EINVAL (no
 * number), TPC_EEXIST (the address is in use), TPC_EDENIED, TPC_ENOMEM or TPC_EIO. */
int net_listen(struct net_group *g, const struct net_url *url, struct net_tls *tls,
               uint16_t *ret_port);

/* Keeps one connection to there: makes it again when it is lost. tag is net_stream_tag() of each.
 * Returns 0 or TPC_ENOMEM. */
int net_dial(struct net_group *g, const struct net_url *url, struct net_tls *tls, void *tag);

/* Ends listening, dialling and all connections (closed() is called of each, NET_END_OWN). */
void net_group_close(struct net_group *g);

/* ---- a stream ---- */

void *net_stream_data(struct net_stream *s);
void *net_stream_user(const struct net_stream *s); /* the group's */
void *net_stream_tag(const struct net_stream *s);  /* NULL: it was accepted */
size_t net_stream_peer(const struct net_stream *s, char ret[NET_PEER_BYTES]);
/* SHA-256 of the peer's certificate as hex with a NUL; empty = none. */
void net_stream_fingerprint(const struct net_stream *s, char ret[65]);

/* Keeps the memory, not the connection. */
struct net_stream *net_stream_ref(struct net_stream *s);
void net_stream_unref(struct net_stream *s);
bool net_stream_is_open(const struct net_stream *s);

/* Stops reading; what comes meanwhile waits at the sender. */
void net_stream_pause(struct net_stream *s);
/* Reads on: first what was kept, in a later turn of the loop. */
void net_stream_resume(struct net_stream *s);

/* Ends the connection that late from now unless it is set anew; 0 = no deadline. What is read does not
 * move it. */
void net_stream_deadline(struct net_stream *s, uint32_t after_ms);

/* TLS. */
bool net_stream_is_secure(const struct net_stream *s);
/* A descriptor of the same connection, the caller's to close; what was written has left. Pause the stream to
 * leave what comes to it. -1: with TLS, while the peer does not read, once it is closed. */
int net_stream_share(struct net_stream *s);

/* To know that bytes were handed to the system: embedded in the caller's. rc 0, or TPC_EOFFLINE: the
 * connection ended before. */
typedef void net_written_fn(void *user, int rc);
struct net_written {
    net_written_fn *fn;
    void *user;
    struct net_written *next;
    uint64_t at;
};

/* Copies. w (may be NULL) is the stream's until its fn was called. Returns 0; TPC_EAGAIN (over
 * write_max with what waits: nothing is written), TPC_ETOOBIG (over write_max alone), TPC_EOFFLINE (it
 * is closed), TPC_ENOMEM. */
int net_stream_write(struct net_stream *s, struct tpc_bytes bytes, struct net_written *w);
/* Bytes that wait to be written. */
size_t net_stream_waiting(const struct net_stream *s);

/* closed() is called at once, unless it was. */
void net_stream_close(struct net_stream *s, enum net_end why);
/* As close, but what was written leaves before, and the peer has a second to read it. */
void net_stream_end(struct net_stream *s, enum net_end why);

#endif
