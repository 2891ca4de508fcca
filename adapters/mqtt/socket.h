/*
 * The socket that paho talks over. paho neither tells it nor lets go of a connection while a
 * message callback runs; stop() must be able to break the connection then, or a message that is not
 * safe yet would be acknowledged. So the socket is found by what is new after a connect.
 */
#ifndef MQTT_SOCKET_H
#define MQTT_SOCKET_H

#include <stdint.h>

enum { MQTT_SOCKETS_MAX = 512 };

struct mqtt_sockets {
    uint32_t count;
    uint64_t inodes[MQTT_SOCKETS_MAX];
};

/* Those that may be the new one: of clients that connect at once to one port. */
enum { MQTT_LIKELY_MAX = 8 };

struct mqtt_likely {
    uint32_t count;
    int fds[MQTT_LIKELY_MAX];
};

/* All sockets of the process. */
void mqtt_sockets_list(struct mqtt_sockets *ret);

/* The one connected TCP socket that is not in `before` and whose peer has this port. Returns its
 * descriptor and inode, or -1 if there is none, or more than one; and all of those that it may be. */
int mqtt_socket_new(const struct mqtt_sockets *before, uint16_t port, uint64_t *ret_inode,
                    struct mqtt_likely *ret_likely);

/* Small packets go at once: paho writes one at a time, and the kernel would wait for the other side's
 * acknowledgement of the one before. On another socket it does no harm. */
void mqtt_socket_hurry(const struct mqtt_likely *l);

/* What was received is acknowledged to the kernel of the other side at once: a broker that sends its
 * small answers by Nagle's rule holds them back until then, some 40 ms. On another socket it does no
 * harm. */
void mqtt_socket_answer(const struct mqtt_likely *l);

/* Shuts it down both ways, if the descriptor is still that socket. */
void mqtt_socket_cut(int fd, uint64_t inode);

#endif
