/*
 * A connectivity service for benchmarks: a core with the adapter tcp, the protocol of
 * examples/thingspanel-service, and a module in the place of thingspanel that lets in whom it knows and
 * delivers nothing; and an echo server on the same loop and streams.
 */
#ifndef TCP_RIG_H
#define TCP_RIG_H

#include <stdint.h>
#include <tpcore/tpcore.h>

enum { TCP_LOGIN_ANSWER = 6, TCP_FRAME_ANSWER = 9 };

/* With that many devices "m00000" ..; the log in dir. */
struct tpc_core *tcp_rig_start(const char *dir, uint16_t port, uint32_t devices, uint32_t workers);
void tcp_rig_stop(struct tpc_core *core);

struct echo;
struct echo *echo_start(uint16_t port);
void echo_stop(struct echo *e);

#endif
