/*
 * The socket that paho talks over. paho neither tells it nor lets go of a connection while a
 * message callback runs; stop() must be able to break the connection then, or a message that is not
 * safe yet would be acknowledged. So the socket is found by what is new after a connect.
 */
#ifndef MQTT_SOCKET_H
#define MQTT_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

enum { MQTT_SOCKETS_MAX = 4096, MQTT_FOUND_MAX = 16 };

struct mqtt_sockets {
    uint32_t count;
    bool by_port; /* those of the machine with that peer port, as the process has too many */
    uint64_t inodes[MQTT_SOCKETS_MAX];
};

/* All sockets of the process; of one with MQTT_SOCKETS_MAX or more those to that port. */
void mqtt_sockets_list(uint16_t port, struct mqtt_sockets *ret);

/* What may be paho's socket: one, or some where others connected to the same port in the same moment. */
struct mqtt_found {
    uint32_t count; /* 0 = it is not known */
    struct {
        int fd;
        uint64_t inode;
    } items[MQTT_FOUND_MAX];
};

/* The connected TCP sockets that are not in `before` and whose peer has this port; more than
 * MQTT_FOUND_MAX = none. */
void mqtt_sockets_new(const struct mqtt_sockets *before, uint16_t port, struct mqtt_found *ret);

/* Small packets go at once: paho writes one at a time, and the kernel would wait for the other side's
 * acknowledgement of the one before. */
void mqtt_sockets_hurry(const struct mqtt_found *f);

/* What was received is acknowledged to the kernel of the other side at once: a broker that sends its
 * small answers by Nagle's rule holds them back until then, some 40 ms. On another socket it does no
 * harm. */
void mqtt_sockets_answer(const struct mqtt_found *f);

/* Shuts them down both ways, where the descriptor is still that socket. One that was another client's
 * makes that one connect again: better than an acknowledgement of what is not safe. */
void mqtt_sockets_cut(const struct mqtt_found *f);

#endif
