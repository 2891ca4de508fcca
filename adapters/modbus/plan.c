#include "plan.h"

#include <stdlib.h>

static int by_place(const void *a, const void *b)
{
    const struct mb_span *x = a, *y = b;
    const uint32_t left[] = { x->function, x->poll_ms, x->address, x->count, x->tag };
    const uint32_t right[] = { y->function, y->poll_ms, y->address, y->count, y->tag };
    for (int i = 0; i < 5; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

/* One past the last address. */
static uint32_t end_of(uint16_t address, uint16_t count)
{
    return (uint32_t) address + count;
}

static bool joins(const struct mb_read *r, const struct mb_span *s, const struct mb_limits *limits)
{
    bool bits = mb_is_bits(s->function);
    uint32_t end = end_of(r->address, r->count);
    uint32_t new_end = end_of(s->address, s->count);
    uint32_t gap = s->address > end ? s->address - end : 0;
    new_end = new_end > end ? new_end : end;
    return s->cut == 0 && s->function == r->function && s->poll_ms == r->poll_ms &&
           gap <= (bits ? limits->gap_bits : limits->gap_registers) &&
           new_end - r->address <= (bits ? limits->bits : limits->registers);
}

uint32_t mb_plan(struct mb_span *spans, uint32_t count, const struct mb_limits *limits,
                 struct mb_read *reads)
{
    uint32_t n = 0;
    if (count > 0) {
        qsort(spans, count, sizeof(*spans), by_place);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct mb_span *s = &spans[i];
        if (n > 0 && joins(&reads[n - 1], s, limits)) {
            struct mb_read *r = &reads[n - 1];
            uint32_t end = end_of(r->address, r->count), new_end = end_of(s->address, s->count);
            r->count = (uint16_t) ((new_end > end ? new_end : end) - r->address);
            r->spans++;
        } else {
            reads[n++] = (struct mb_read){ .function = s->function,
                                           .address = s->address,
                                           .count = s->count,
                                           .poll_ms = s->poll_ms,
                                           .first = i,
                                           .spans = 1 };
        }
    }
    return n;
}

bool mb_plan_cut(struct mb_span *spans, const struct mb_read *read, int exception)
{
    uint32_t widest = 0, at = 0;
    uint32_t end = end_of(spans[read->first].address, spans[read->first].count);
    for (uint32_t i = read->first + 1; i < read->first + read->spans; i++) {
        uint32_t gap = spans[i].address > end ? spans[i].address - end + 1 : 0;
        uint32_t new_end = end_of(spans[i].address, spans[i].count);
        if (gap > widest) {
            widest = gap;
            at = i;
        }
        end = new_end > end ? new_end : end;
    }
    if (at == 0 && read->spans > 1) { /* no gap: in the middle, before the next other address */
        at = read->first + read->spans / 2;
        while (at < read->first + read->spans && spans[at].address == spans[read->first].address) {
            at++;
        }
        at = at < read->first + read->spans ? at : 0;
    }
    if (at != 0) {
        spans[at].cut = (uint8_t) exception;
    }
    return at != 0;
}
