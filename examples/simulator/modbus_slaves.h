/*
 * Modbus slaves for trying a gateway: what they answer, without a socket. Slaves have numbers from 1 on;
 * number n is unit (n - 1) % 247 + 1 of port (n - 1) / 247.
 *
 * Holding register a of slave n is (256 n + a + t) mod 65536, input register a is 65535 minus that, coil a is
 * on while a + t is even, discrete input a while it is odd. t counts the periods of change_ms since the
 * start, 0 if that is 0. What was written stays as it was written. Holding 0 and 1, the high word first, are
 * `seq` instead: how often register 0 of this slave was read, by answers that were not spoilt.
 */
#ifndef SIM_MODBUS_SLAVES_H
#define SIM_MODBUS_SLAVES_H

#include "pdu.h"

enum { SLAVES_UNITS = 247, SLAVES_MAX = 247 * 16, SLAVES_HOLES_MAX = 8 };

enum fault_kind {
    FAULT_NONE,
    FAULT_LATE,        /* after arg milliseconds */
    FAULT_SILENT,      /* no answer */
    FAULT_EXCEPTION,   /* code arg */
    FAULT_TRANSACTION, /* of another one; RTU frames have none */
    FAULT_UNIT,        /* as if the next unit answered */
    FAULT_HALF,        /* half a frame, then the connection ends */
    FAULT_GARBAGE,     /* as many bytes that are no frame */
    FAULT_CLOSE,       /* the connection ends without an answer */
    FAULT_KINDS
};

struct slave {
    uint32_t seq;
    uint8_t fault; /* enum fault_kind */
    uint8_t hole_count;
    uint32_t fault_arg;
    struct slave_hole {
        uint32_t first, last;
    } holes[SLAVES_HOLES_MAX]; /* refused with exception 2, in all areas */
    uint8_t *written;          /* NULL = nothing yet */
};

struct slaves {
    struct slave *all;
    uint32_t count;
    uint32_t registers; /* and bits, of each area */
    uint32_t change_ms;
    uint64_t begin_ms;
    uint64_t requests, values, writes, refused;
    uint64_t faults[FAULT_KINDS]; /* how often each was done */
};

/* 0, or -1 without memory. */
int slaves_init(struct slaves *s, uint32_t count, uint32_t registers, uint32_t change_ms,
                uint64_t now_ms);
void slaves_fini(struct slaves *s);

/* The answer to a request, both without the unit; its length, 0 = none. A fault of the slave but the
 * exception is the caller's: of a spoilt answer seq does not count. */
size_t slaves_answer(struct slaves *s, struct slave *v, const uint8_t *pdu, size_t len,
                     uint64_t now_ms, uint8_t out[MB_PDU_MAX]);

/* "3 late 200", "all exception 4", "7 hole 10-19", "7 none": false if it is none. */
bool slaves_fault(struct slaves *s, const char *text);

const char *fault_name(enum fault_kind kind);

#endif
