/* Translates any JSON as documents of MyController. What is made is a list of documents with kind and key. */
#include <stdlib.h>
#include <tpcore/json.h>
#include <tpcore/mycontroller.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tpc_mycontroller_options options = { .size = sizeof(options),
                                                             .product = TPC_STR_INIT("p"),
                                                             .latitude = TPC_STR_INIT("52"),
                                                             .longitude = TPC_STR_INIT("x") };
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    struct tpc_value out;
    if (tpc_arena_create(NULL, 64 << 20, &arena) != 0) {
        return 0;
    }
    struct tpc_str text = { (const char *) data, size };
    if (tpc_json_parse(arena, text, 0, NULL, &doc) == 0 &&
        tpc_mycontroller_import(arena, &doc, size % 2 == 0 ? &options : NULL, NULL, &out) == 0) {
        const struct tpc_value *made = tpc_value_get(&out, TPC_STR("entities"));
        for (size_t i = 0; i < made->len; i++) {
            if (tpc_value_get(&made->as.items[i], TPC_STR("kind")) == NULL) {
                abort();
            }
        }
        struct tpc_buf json = { NULL, 0, 0 };
        (void) tpc_json_write(&out, 0, &json);
    }
    tpc_arena_destroy(arena);
    return 0;
}
