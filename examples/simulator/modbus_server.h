/* Carries the slaves (modbus_slaves.h) over TCP: one epoll, a port for each 247 of them, Modbus TCP or RTU
 * frames. Requests that came together are answered together. */
#ifndef SIM_MODBUS_SERVER_H
#define SIM_MODBUS_SERVER_H

#include "frame.h"
#include "modbus_slaves.h"

enum {
    SERVER_PORTS_MAX = SLAVES_MAX / SLAVES_UNITS,
    SERVER_CONNECTIONS_MAX = 1024,
    SERVER_LATE_MAX = 4096, /* answers that wait for their time; more are lost */
    SERVER_IN_BYTES = 16 * 1024,
    SERVER_OUT_BYTES = 64 * 1024
};

struct connection {
    int fd;
    uint32_t port; /* which of them it came to */
    uint32_t age;  /* of its place: late answers of the one before are not its */
    bool stuck;    /* the socket takes no bytes: nothing is read until it does */
    size_t in_len, out_at, out_len;
    uint8_t in[SERVER_IN_BYTES];
    uint8_t out[SERVER_OUT_BYTES];
};

struct late_answer {
    uint64_t due_ms;
    uint32_t place, age;
    size_t len;
    uint8_t bytes[MB_FRAME_MAX];
};

struct server {
    struct slaves *slaves;
    bool rtu;
    int epoll;
    uint32_t port_count;
    int listeners[SERVER_PORTS_MAX];
    uint16_t ports[SERVER_PORTS_MAX];
    struct connection *connections[SERVER_CONNECTIONS_MAX];
    uint32_t open;
    uint32_t age;
    struct late_answer *late;
    uint32_t late_count;
    uint64_t accepted, garbage, late_lost;
};

/* Listens from port on, one after the other, 0 = wherever is room. 0, or -1 with errno. */
int server_open(struct server *s, struct slaves *slaves, const char *host, uint16_t port, bool rtu);
void server_close(struct server *s);

/* One more descriptor to wait for. False: it is none that can be waited for, as a file. */
bool server_watch(struct server *s, int fd, bool on);

/* Waits at most wait_ms (-1 = for ever) and does what came. True: that descriptor has something. */
bool server_turn(struct server *s, int wait_ms);

/* Ends all connections. */
void server_drop(struct server *s);

uint64_t server_now_ms(void);

#endif
