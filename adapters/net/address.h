/* Addresses of sockets: "tcp://0.0.0.0:7000", "tls://[::1]:7001", "tcp://meter.example:502". Pure. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum { NET_HOST_BYTES = 256, NET_PEER_BYTES = 64, NET_ADDRESS_BYTES = 16 };

struct net_url {
    char scheme[8];
    char host[NET_HOST_BYTES]; /* without the brackets of IPv6 */
    uint16_t port;
};

/* Returns 0 or TPC_EINVAL: no scheme, no host, no port (0 is one), something behind it. */
int net_url_parse(struct tpc_str text, struct net_url *ret);

/* Host as a number and its port. Returns 0 or TPC_EINVAL: it is a name. */
int net_url_numeric(const struct net_url *url, struct sockaddr_storage *ret);

/* As IPv6, IPv4 inside it (RFC 4291 section 2.5.5.2). */
void net_address_key(const struct sockaddr *address, uint8_t ret[NET_ADDRESS_BYTES]);

/* "192.0.2.1:7000", "[2001:db8::1]:7000"; IPv4 inside IPv6 as IPv4. Returns the length. */
size_t net_peer_text(const uint8_t address[NET_ADDRESS_BYTES], uint16_t port,
                     char ret[NET_PEER_BYTES]);
uint16_t net_peer_port(const struct sockaddr *address);

#endif
