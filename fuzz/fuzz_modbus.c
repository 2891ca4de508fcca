/*
 * What a slave sends, cut out of a stream as TCP and as RTU frames, read as the answer to a request, and the
 * values in it. The first bytes choose request and tag.
 */
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void values(const struct mb_request *r, const uint8_t *data, const uint8_t *choice)
{
    uint8_t *space = malloc(MB_VALUE_SPACE);
    struct mb_shape s = { .type = (uint8_t) (1 + choice[0] % 8),
                          .width = (uint8_t) (8 << choice[1] % 4),
                          .swap_bytes = (choice[2] & 1) != 0,
                          .swap_words = (choice[2] & 2) != 0,
                          .high_byte = (choice[2] & 4) != 0,
                          .bit = (int8_t) ((choice[2] & 8) != 0 ? choice[3] % 16 : -1),
                          .decimals = (int8_t) (choice[3] % 11 - 1),
                          .multiplier = 1,
                          .divider = (choice[2] & 16) != 0 ? 10 : 1 };
    struct tpc_value v;
    s.count = r->count;
    if (s.type >= MB_INT && s.type <= MB_BCD) {
        uint16_t words = s.width > 16 ? s.width / 16 : 1;
        s.count = words;
    }
    if (space != NULL && s.count <= r->count) {
        bool good = mb_is_bits(r->function) ? mb_value_of_bits(&s, data, 0, space, &v)
                                            : mb_value_of_registers(&s, data, space, &v);
        uint8_t back[MB_READ_REGISTERS_MAX * 2];
        if (good && !mb_is_bits(r->function)) {
            (void) mb_value_to_registers(&s, &v, back);
        }
    }
    free(space);
}

static void answer(const struct mb_answer *a, const uint8_t *choice)
{
    struct mb_request r = { .unit = a->unit,
                            .function = (uint8_t) (1 + choice[4] % 4),
                            .count = (uint16_t) (1 + choice[5] % 125) };
    const uint8_t *data = NULL;
    uint8_t *copy = malloc(a->len); /* so that reading over its end is seen */
    if (copy != NULL) {
        memcpy(copy, a->pdu, a->len);
        if (mb_pdu_read(&r, copy, a->len, &data) == 0) {
            values(&r, data, choice);
        }
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_answer a;
    size_t at = 6;
    if (size < at) {
        return 0;
    }
    int n = 1;
    while (n > 0 && at < size) {
        n = (data[0] & 128) != 0 ? mb_rtu_peel(data + at, size - at, &a)
                                 : mb_tcp_peel(data + at, size - at, &a);
        if (n > 0) {
            answer(&a, data);
            at += (size_t) n;
        }
    }
    if (size - 6 <= MB_PDU_MAX && size > 8) {
        answer(&(struct mb_answer){ 1, 1, data + 6, size - 6 }, data);
    }
    return 0;
}
