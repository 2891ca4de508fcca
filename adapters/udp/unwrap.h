/*
 * Messages over UDP (contract iot-module section 8): after the login params are {"token", "body"}, and
 * body is what they are elsewhere. Pure; nothing is built but the bytes without the wrapping.
 */
#ifndef UDP_UNWRAP_H
#define UDP_UNWRAP_H

#include <stdbool.h>
#include <tpcore/bytes.h>

struct udp_message {
    struct tpc_str method; /* empty = none, or one with escapes */
    struct tpc_str token;  /* empty = none */
    struct tpc_str head;   /* up to the value of params */
    struct tpc_str body;   /* "{}" = none was given */
    struct tpc_str tail;   /* behind it */
};

/* Looks into a datagram, whose bytes the views are of. Without params, head is all of it, and body and
 * tail are empty. false = no JSON object, or one with two "method", "params", "token" or "body". */
bool udp_unwrap(struct tpc_bytes datagram, struct udp_message *ret);

/* The message as over other transports; of one with a token at most the datagram's bytes. Returns its
 * length. */
size_t udp_plain(const struct udp_message *m, uint8_t *ret);

#endif
