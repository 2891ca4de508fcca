/*
 * What a simulated slave answers to any bytes: never more than a PDU holds, of the function that was asked, and
 * what a master takes for an answer to the same request. The first byte of the input chooses a fault, the next
 * two how many registers there are; requests follow, each with its length before it.
 */
#include <stdlib.h>
#include <string.h>

#include "modbus_slaves.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good) {
        abort();
    }
}

static void answer(struct slaves *s, const uint8_t *pdu, size_t len)
{
    uint8_t out[MB_PDU_MAX];
    const uint8_t *values = NULL;
    size_t n = slaves_answer(s, &s->all[1], pdu, len, 7, out);
    must(n <= sizeof(out) && (n == 0) == (len == 0));
    if (n == 0) {
        return;
    }
    must((out[0] & 0x7f) == (pdu[0] & 0x7f) && (out[0] < 0x80 || n == 2));
    if (out[0] < 0x80) {
        bool one = pdu[0] == MB_WRITE_COIL || pdu[0] == MB_WRITE_REGISTER;
        uint8_t coil = pdu[3] != 0;
        struct mb_request r = { .function = pdu[0],
                                .address = (uint16_t) (pdu[1] << 8 | pdu[2]),
                                .count = (uint16_t) (one ? 1 : pdu[3] << 8 | pdu[4]) };
        r.data = pdu[0] == MB_WRITE_COIL ? &coil : one ? pdu + 3 : pdu + 6;
        r.data = pdu[0] <= MB_READ_INPUT ? NULL : r.data;
        must(mb_pdu_read(&r, out, n, &values) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const faults[] = { "all none", "2 exception 9", "all hole 3-5", "2 silent" };
    struct slaves s;
    char text[64];
    if (size < 3) {
        return 0;
    }
    if (slaves_init(&s, 3, 1 + ((uint32_t) data[1] << 8 | data[2]), 1, 0) != 0) {
        return 0;
    }
    (void) slaves_fault(&s, faults[data[0] % 4]);
    size_t n = size < sizeof(text) ? size : sizeof(text) - 1;
    memcpy(text, data, n);
    text[n] = '\0';
    for (size_t at = 3; at < size;) {
        size_t len = data[at] < size - at - 1 ? data[at] : size - at - 1;
        len = len < MB_PDU_MAX ? len : MB_PDU_MAX;
        answer(&s, data + at + 1, len);
        at += 1 + len;
    }
    (void) slaves_fault(&s, text);
    slaves_fini(&s);
    return 0;
}
