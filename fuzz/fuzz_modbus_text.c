/* A text of ThingsBoard's users becomes parameters that can be written, and that raw takes or refuses. The first byte:
 * get or set. */
#include <stdlib.h>

#include <tpcore/json.h>

#include "modbus_text.h"
#include "raw.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t json[8192];
    struct tpc_buf out = { json, sizeof(json), 0 };
    struct tpc_value bus = { .type = TPC_MAP }, v;
    const struct tpc_value *value;
    struct tpc_arena *arena;
    struct mb_tag tag;
    const char *why;
    if (size == 0 || size > 2000 || tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    struct tpc_str text = { (const char *) data + 1, size - 1 };
    if (tb_modbus_text(arena, text, (data[0] & 1) != 0, &v, &why) == 0) {
        const char *wrong = mb_raw_read(&v, &bus, &tag, &value);
        if (wrong == NULL && (data[0] & 1) != 0 && value == NULL) {
            abort();
        }
        (void) tpc_json_write(&v, 0, &out);
    }
    tpc_arena_destroy(arena);
    return 0;
}
