/*
 * Any bytes as a message: what goes straight to points must end as what the general readers make of
 * it. The first byte picks codec (JSON, CBOR, Alink, ThingsPanel) and what becomes of values beyond
 * limits, the second kind, wrapping and product.
 */
#include "fuzz.h"

#include "../tests/conform/twin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct twin *t;
    static const uint16_t kinds[] = { TPC_MSG_UNKNOWN, TPC_MSG_ATTRIBUTES };
    if (t == NULL) {
        t = twin_create();
    }
    if (size < 2) {
        return 0;
    }
    uint8_t pick = (uint8_t) (data[1] - 'a');
    static const uint16_t enforced[] = { 0, TWIN_CLAMP, TWIN_KEEP };
    struct twin_frame f = { .codec = (uint8_t) (data[0] - 'a') % TWIN_CODECS,
                            .kind = kinds[pick & 1],
                            .flags =
                                (uint16_t) ((pick >> 1 & 63) |
                                            enforced[(uint8_t) (data[0] - 'a') / TWIN_CODECS % 3] |
                                            ((pick & 128) != 0 ? TWIN_OPEN : 0)),
                            .payload = { data + 2, size - 2 } };
    const char *why = twin_compare(t, &f, NULL);
    if (why != NULL) {
        fprintf(stderr, "%s\n", why);
    }
    FUZZ_MUST(why == NULL);
    return 0;
}
