/* What a broker's plugin reports, as the MQTT adapter reads it: input is the JSON. */
#include "fuzz.h"

#include "refused.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena;
    struct tpc_why w;
    FUZZ_MUST(tpc_arena_create(NULL, 0, &arena) == 0);
    if (mqtt_refused_read((struct tpc_bytes){ data, size }, arena, &w) == 0) {
        FUZZ_MUST(w.stage >= TPC_WHY_AUTH && w.stage <= TPC_WHY_SEND && w.code < 0);
        FUZZ_MUST(w.device.len > 0 && w.times > 0 && w.unix_ms >= 0 && w.tenant.len == 0);
        FUZZ_MUST(w.payload.len <= TPC_WHY_PAYLOAD_BYTES);
    }
    tpc_arena_destroy(arena);
    return 0;
}
