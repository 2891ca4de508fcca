/*
 * Datagrams: sockets of UDP on a loop. All is called on the loop's thread; no call blocks.
 */
#ifndef NET_DATAGRAM_H
#define NET_DATAGRAM_H

#include "loop.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <tpcore/bytes.h>

enum { NET_DATAGRAM_MAX = 65507 }; /* bytes of one over IPv4 */

struct net_socket;

/* bytes are the loop's, valid during the call, which may pause or close the socket. */
typedef void net_datagram_fn(void *user, struct net_socket *s, const struct sockaddr *from,
                             struct tpc_bytes bytes);

/* *ret_port (may be NULL) is the one that it got. Returns 0, TPC_EEXIST (the address is in use),
 * TPC_EDENIED, TPC_ENOMEM or TPC_EIO. */
int net_socket_open(struct net_loop *l, const struct sockaddr *at, net_datagram_fn *fn, void *user,
                    uint16_t *ret_port, struct net_socket **ret);
/* fn is not called any more. NULL is fine. */
void net_socket_close(struct net_socket *s);

/* What comes meanwhile waits in the system's buffer, and is lost once that is full. */
void net_socket_pause(struct net_socket *s);
void net_socket_resume(struct net_socket *s);

/* Returns 0 once the system has it; TPC_EAGAIN (its buffer is full), TPC_ETOOBIG, TPC_EOFFLINE (there
 * is no way to there). */
int net_socket_send(struct net_socket *s, const struct sockaddr *to, struct tpc_bytes bytes);

/* Bytes of an address of a family that is known; 0 of another. */
socklen_t net_sockaddr_bytes(const struct sockaddr *address);

#endif
