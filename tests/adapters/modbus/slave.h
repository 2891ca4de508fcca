/*
 * Slaves of our own on a port of the loopback, that fail on demand. Register n of a unit has the value
 * 1000 * unit + n, coil n is on if n is even; writes are kept.
 */
#ifndef SLAVE_H
#define SLAVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum slave_fault {
    SLAVE_WELL = 0,
    SLAVE_SILENT = 1,     /* no answer */
    SLAVE_LATE = 2,       /* after late_ms */
    SLAVE_GARBAGE = 3,    /* bytes that are no frame */
    SLAVE_OTHER_UNIT = 4, /* answers for another one */
    SLAVE_WRONG_TRANSACTION = 5,
    SLAVE_HALF = 6, /* half a frame, then it closes */
    SLAVE_CLOSES = 7,
    SLAVE_EXCEPTION = 8, /* 4, device failure */
    SLAVE_HOLE = 9,      /* registers 10..19 are refused with 2 */
    SLAVE_BAD_CRC = 10   /* the last byte is another one */
};

enum { SLAVE_UNITS = 8, SLAVE_REGISTERS = 64 };

struct slave {
    uint16_t port;
    bool rtu, line;
    int listener; /* or the line's end */
    pthread_t thread;
    atomic_bool stopping;
    atomic_int fault[SLAVE_UNITS + 1]; /* of a unit; enum slave_fault */
    atomic_uint late_ms;
    atomic_uint requests, connections, most_open;
    _Atomic uint16_t written[SLAVE_UNITS + 1][SLAVE_REGISTERS];
};

/* On the port that it has, or a free one if that is 0. */
bool slave_start(struct slave *s, bool rtu);
void slave_stop(struct slave *s);

/* The other end of a serial line: a terminal of its own, with this path for the adapter. Stopped as above:
 * then the line is cut. */
bool slave_start_line(struct slave *s, const char *path);

#endif
