/*
 * Which requests read a slave's tags: neighbours are read together, over gaps too if that saves a request,
 * up to what the protocol or the slave allows. What a slave refused to read as one is split, and the
 * cut is remembered.
 */
#ifndef MB_PLAN_H
#define MB_PLAN_H

#include "pdu.h"

struct mb_limits {
    uint16_t registers, bits;         /* of one request */
    uint16_t gap_registers, gap_bits; /* that may lie unread between two tags of a request */
};

/* Where a tag lies; the plan keeps its number. */
struct mb_span {
    uint32_t tag;
    uint32_t poll_ms;
    uint8_t function;
    uint16_t address, count;
    uint8_t
        cut; /* no request reaches over its beginning: the exception that it was refused with; 0 = none */
    bool told; /* its read was refused, and that was said */
};

struct mb_read {
    uint8_t function;
    uint16_t address, count;
    uint32_t poll_ms;
    uint32_t first, spans; /* which of the sorted spans it reads */
};

/*
 * Sorts spans by function, period and address, and fills reads, at most `count`. A span alone may be larger
 * than the limits, but not than the protocol. Returns the number of reads.
 */
uint32_t mb_plan(struct mb_span *spans, uint32_t count, const struct mb_limits *limits,
                 struct mb_read *reads);

/*
 * After a refusal: marks where the read is cut, at its widest gap, else in the middle. False: it reads one
 * span, or those that cannot be parted; there is nothing to split.
 */
bool mb_plan_cut(struct mb_span *spans, const struct mb_read *read, int exception);

#endif
