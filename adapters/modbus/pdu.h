/*
 * Requests and answers of a Modbus master: MODBUS Application Protocol Specification V1.1b3, section 6
 * (functions), 7 (exceptions). Bytes in, bytes out: no socket, no memory.
 */
#ifndef MB_PDU_H
#define MB_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MB_PDU_MAX = 253,             /* section 4.1 */
    MB_READ_REGISTERS_MAX = 125,  /* 6.3, 6.4 */
    MB_READ_BITS_MAX = 2000,      /* 6.1, 6.2 */
    MB_WRITE_REGISTERS_MAX = 123, /* 6.12 */
    MB_WRITE_BITS_MAX = 1968      /* 6.11 */
};

enum mb_function {
    MB_READ_COILS = 1,
    MB_READ_INPUTS = 2, /* discrete ones */
    MB_READ_HOLDING = 3,
    MB_READ_INPUT = 4, /* input registers */
    MB_WRITE_COIL = 5,
    MB_WRITE_REGISTER = 6,
    MB_WRITE_COILS = 15,
    MB_WRITE_REGISTERS = 16
};

enum mb_exception {
    MB_ILLEGAL_FUNCTION = 1,
    MB_ILLEGAL_ADDRESS = 2,
    MB_ILLEGAL_VALUE = 3,
    MB_DEVICE_FAILURE = 4,
    MB_ACKNOWLEDGE = 5,
    MB_DEVICE_BUSY = 6,
    MB_PARITY = 8,
    MB_GATEWAY_PATH = 10,
    MB_GATEWAY_TARGET = 11
};

struct mb_request {
    uint8_t unit;
    uint8_t function; /* enum mb_function */
    uint16_t address; /* of the protocol: begins at 0 */
    uint16_t count;   /* registers or bits; of the functions 5 and 6: 1 */
    /* Of a write: registers as the wire has them, the high byte first, or bits, the first one lowest. */
    const uint8_t *data;
};

static inline bool mb_is_bits(uint8_t function)
{
    return function == MB_READ_COILS || function == MB_READ_INPUTS || function == MB_WRITE_COIL ||
           function == MB_WRITE_COILS;
}

/* Bytes of data that `count` registers or bits take. */
static inline size_t mb_data_bytes(uint8_t function, uint16_t count)
{
    return mb_is_bits(function) ? ((size_t) count + 7) / 8 : (size_t) count * 2;
}

/* The request's bytes without unit. Returns their number, 0 if it is none that the protocol has. */
size_t mb_pdu_write(const struct mb_request *r, uint8_t out[MB_PDU_MAX]);

/* Returns 0 and the data of a read (NULL of a write); an exception's code (1..255); or -1: these bytes are
 * no answer to that request. */
int mb_pdu_read(const struct mb_request *r, const uint8_t *pdu, size_t len,
                const uint8_t **ret_data);

/* "illegal data address"; "exception" for numbers without a name. */
const char *mb_exception_text(int code);

#endif
