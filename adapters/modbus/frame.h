/*
 * Frames around a PDU: MODBUS Messaging on TCP/IP Implementation Guide V1.0b 3.1.3 (MBAP header), and
 * MODBUS over Serial Line V1.02 2.5.1 (RTU: unit, PDU, CRC), which gateways also carry over TCP.
 */
#ifndef MB_FRAME_H
#define MB_FRAME_H

#include "pdu.h"

enum { MB_TCP_HEADER = 7, MB_FRAME_MAX = MB_PDU_MAX + MB_TCP_HEADER };

/* An answer found at the beginning of what was received. */
struct mb_answer {
    uint16_t transaction; /* of TCP; RTU has none */
    uint8_t unit;
    const uint8_t *pdu;
    size_t len;
};

/* Return how many bytes of out they wrote. */
size_t mb_tcp_wrap(uint16_t transaction, uint8_t unit, const uint8_t *pdu, size_t len,
                   uint8_t out[MB_FRAME_MAX]);
size_t mb_rtu_wrap(uint8_t unit, const uint8_t *pdu, size_t len, uint8_t out[MB_FRAME_MAX]);

/* Return how many bytes the frame takes; 0 = more have to come; -1 = this is none, and what follows cannot be
 * found: the connection has to begin anew (TCP), the line to be silent (RTU). */
int mb_tcp_peel(const uint8_t *bytes, size_t len, struct mb_answer *ret);
int mb_rtu_peel(const uint8_t *bytes, size_t len, struct mb_answer *ret);

uint16_t mb_crc16(const uint8_t *bytes, size_t len);

#endif
