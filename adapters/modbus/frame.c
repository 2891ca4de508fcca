#include "frame.h"

#include <string.h>

size_t mb_tcp_wrap(uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t len,
                   uint8_t out[MB_FRAME_MAX])
{
    out[0] = (uint8_t) (transaction >> 8);
    out[1] = (uint8_t) transaction;
    out[2] = out[3] = 0; /* the protocol */
    out[4] = (uint8_t) ((len + 1) >> 8);
    out[5] = (uint8_t) (len + 1);
    out[6] = unit;
    memcpy(out + MB_TCP_HEADER, pdu, len);
    return MB_TCP_HEADER + len;
}

int mb_tcp_peel(const uint8_t *bytes, size_t len, struct mb_answer *ret)
{
    if (len < 6) {
        return 0;
    }
    size_t rest = (size_t) (bytes[4] << 8 | bytes[5]); /* the unit and the PDU */
    if (bytes[2] != 0 || bytes[3] != 0 || rest < 3 || rest > MB_PDU_MAX + 1) {
        return -1;
    }
    if (len < 6 + rest) {
        return 0;
    }
    *ret = (struct mb_answer){ .transaction = (uint16_t) (bytes[0] << 8 | bytes[1]),
                               .unit = bytes[6],
                               .pdu = bytes + MB_TCP_HEADER,
                               .len = rest - 1 };
    return (int) (6 + rest);
}

uint16_t mb_crc16(const uint8_t *bytes, size_t len)
{
    uint16_t crc = 0xffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (uint16_t) (crc >> 1 ^ 0xa001) : (uint16_t) (crc >> 1);
        }
    }
    return crc;
}

size_t mb_rtu_wrap(uint8_t unit, const uint8_t *pdu, size_t len, uint8_t out[MB_FRAME_MAX])
{
    out[0] = unit;
    memcpy(out + 1, pdu, len);
    uint16_t crc = mb_crc16(out, len + 1);
    out[len + 1] = (uint8_t) crc; /* the low byte first */
    out[len + 2] = (uint8_t) (crc >> 8);
    return len + 3;
}

int mb_rtu_peel(const uint8_t *bytes, size_t len, struct mb_answer *ret)
{
    size_t need = 5; /* of an exception: unit, function, code, CRC */
    if (len < need) {
        return 0;
    }
    uint8_t function = bytes[1];
    if (function >= MB_READ_COILS && function <= MB_READ_INPUT) {
        need = 5 + (size_t) bytes[2];
    } else if ((function & 0x80) == 0) {
        need = 8;
    }
    if (need > MB_PDU_MAX + 3) {
        return -1;
    }
    if (len < need) {
        return 0;
    }
    uint16_t crc = mb_crc16(bytes, need - 2);
    if (bytes[need - 2] != (uint8_t) crc || bytes[need - 1] != (uint8_t) (crc >> 8)) {
        return -1;
    }
    *ret = (struct mb_answer){ .unit = bytes[0], .pdu = bytes + 1, .len = need - 3 };
    return (int) need;
}
