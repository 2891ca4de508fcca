/* Devices of a benchmark: connections in a process of its own, which speak the frames of
 * examples/thingspanel-service. */
#ifndef TCP_CLIENTS_H
#define TCP_CLIENTS_H

#include <stdint.h>
#include <sys/types.h>

enum {
    CLIENTS_LOGIN_BYTES = 11, /* what a device says first, and ..  */
    CLIENTS_FRAME_BYTES = 19, /* .. then: readings */
};

struct clients {
    pid_t pid;
    int to, from;
    uint32_t count;
};

/* Forks: before this process has threads. */
void clients_begin(struct clients *c);
void clients_end(struct clients *c);

/* Connects count devices with the numbers from first on (their serials are "m00001" ..), from addresses
 * 127.0.x.x, each logs in and waits for that many bytes. */
void clients_connect(struct clients *c, uint16_t port, uint32_t first, uint32_t count,
                     uint32_t answer_bytes);
/* Each says so many frames, one after the other's answer of that many bytes. */
void clients_run(struct clients *c, uint32_t frames, uint32_t answer_bytes);

uint16_t clients_free_port(void);

#endif
