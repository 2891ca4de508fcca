/* ThingsPanel's envelope: what unwraps has a device that the peek finds too. */
#include "fuzz.h"

#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_bytes payload = { data, size };
    struct tpc_arena *arena;
    struct tpc_str id;
    struct tpc_str peeked;
    struct tpc_bytes values;
    struct tpc_error err;
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    int peek = tpi_codec_peek_device(payload, &peeked);
    if (tpi_codec_unwrap(payload, arena, &err, &id, &values) == 0) {
        if (id.len == 0 || values.len == 0) {
            abort();
        }
        if (peek != TPC_EUNSUPPORTED && (peek != 0 || !tpc_str_equal(id, peeked))) {
            abort();
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
