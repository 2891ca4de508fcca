#include "pdu.h"

#include <string.h>

static void put16(uint8_t *out, uint16_t n)
{
    out[0] = (uint8_t) (n >> 8);
    out[1] = (uint8_t) n;
}

static uint16_t get16(const uint8_t *in)
{
    return (uint16_t) (in[0] << 8 | in[1]);
}

static uint16_t most(uint8_t function)
{
    switch (function) {
    case MB_READ_COILS:
    case MB_READ_INPUTS:
        return MB_READ_BITS_MAX;
    case MB_READ_HOLDING:
    case MB_READ_INPUT:
        return MB_READ_REGISTERS_MAX;
    case MB_WRITE_COIL:
    case MB_WRITE_REGISTER:
        return 1;
    case MB_WRITE_COILS:
        return MB_WRITE_BITS_MAX;
    case MB_WRITE_REGISTERS:
        return MB_WRITE_REGISTERS_MAX;
    default:
        return 0;
    }
}

size_t mb_pdu_write(const struct mb_request *r, uint8_t out[MB_PDU_MAX])
{
    if (r->count == 0 || r->count > most(r->function) || (uint32_t) r->address + r->count > 65536 ||
        (r->function > MB_READ_INPUT && r->data == NULL)) {
        return 0;
    }
    out[0] = r->function;
    put16(out + 1, r->address);
    if (r->function == MB_WRITE_COIL) {
        put16(out + 3, (r->data[0] & 1) != 0 ? 0xff00 : 0);
        return 5;
    }
    if (r->function == MB_WRITE_REGISTER) {
        memcpy(out + 3, r->data, 2);
        return 5;
    }
    put16(out + 3, r->count);
    if (r->function <= MB_READ_INPUT) {
        return 5;
    }
    size_t bytes = mb_data_bytes(r->function, r->count);
    out[5] = (uint8_t) bytes;
    memcpy(out + 6, r->data, bytes);
    return 6 + bytes;
}

/* The answer of a write repeats where and what (functions 5, 6) or where and how many (15, 16). */
static bool repeats(const struct mb_request *r, const uint8_t *pdu)
{
    uint8_t asked[MB_PDU_MAX];
    return mb_pdu_write(r, asked) >= 5 && memcmp(asked, pdu, 5) == 0;
}

int mb_pdu_read(const struct mb_request *r, const uint8_t *pdu, size_t len,
                const uint8_t **ret_data)
{
    if (len == 2 && pdu[0] == (r->function | 0x80)) {
        return pdu[1] != 0 ? pdu[1] : -1;
    }
    if (len < 2 || pdu[0] != r->function) {
        return -1;
    }
    if (r->function > MB_READ_INPUT) {
        if (len != 5 || get16(pdu + 1) != r->address || !repeats(r, pdu)) {
            return -1;
        }
        *ret_data = NULL;
        return 0;
    }
    size_t bytes = mb_data_bytes(r->function, r->count);
    if (pdu[1] != bytes || len != 2 + bytes) {
        return -1;
    }
    *ret_data = pdu + 2;
    return 0;
}

const char *mb_exception_text(int code)
{
    switch (code) {
    case MB_ILLEGAL_FUNCTION:
        return "illegal function";
    case MB_ILLEGAL_ADDRESS:
        return "illegal data address";
    case MB_ILLEGAL_VALUE:
        return "illegal data value";
    case MB_DEVICE_FAILURE:
        return "device failure";
    case MB_ACKNOWLEDGE:
        return "acknowledge";
    case MB_DEVICE_BUSY:
        return "device busy";
    case MB_PARITY:
        return "memory parity error";
    case MB_GATEWAY_PATH:
        return "gateway path unavailable";
    case MB_GATEWAY_TARGET:
        return "gateway target did not answer";
    default:
        return "exception";
    }
}
