/* Options: a checked document passes the check again and stays the same. */
#include "fuzz.h"

#include "data/option.h"

#include <tpcore/json.h>

static const struct tpc_option number = { .type = TPC_OPT_INT, .min = -5, .max = 5 };

static const struct tpc_option inner[] = {
    { .name = "d", .type = TPC_OPT_DURATION, .def = "1.5s", .max = 3600000 },
    { .name = "l", .type = TPC_OPT_LIST, .elem = &number, .max = 4 },
};

static const struct tpc_option item = { .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(inner) };

static const struct tpc_option options[] = {
    { .name = "b", .type = TPC_OPT_BOOL, .def = "true" },
    { .name = "u", .type = TPC_OPT_UINT, .min = 1, .max = 65535, .def = "7" },
    { .name = "f", .type = TPC_OPT_DOUBLE, .min = -1, .max = 1 },
    { .name = "k", .type = TPC_OPT_TEXT, .flags = TPC_OPT_KEY },
    { .name = "e", .type = TPC_OPT_ENUM, .values = "on|off" },
    { .name = "s", .type = TPC_OPT_SIZE },
    { .name = "p", .type = TPC_OPT_SECRET },
    { .name = "t", .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(inner), .def = "{}" },
    { .name = "o", .type = TPC_OPT_TABLE, .flags = TPC_OPT_OPEN, .sub = TPC_OPTIONS(inner) },
    { .name = "i", .type = TPC_OPT_LIST, .elem = &item, .def = "[{}]" },
    { .name = "a", .type = TPC_OPT_ANY },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tpc_list table = TPC_OPTIONS(options);
    struct tpc_str text = { (const char *) data, size };
    struct tpc_arena *arena;
    struct tpc_value in;
    FUZZ_MUST(tpc_arena_create(NULL, FUZZ_MEMORY, &arena) == 0);
    if (tpc_json_parse(arena, text, 0, NULL, &in) == 0) {
        for (uint32_t flags = 0; flags < 4; flags++) {
            struct tpc_error err;
            struct tpc_value once;
            struct tpc_value twice;
            int rc = tpi_option_check(&table, &in, flags, arena, &err, &once);
            FUZZ_MUST(rc == 0 || rc == TPC_EINVAL || rc == TPC_ETOOBIG || rc == TPC_ENOMEM);
            if (rc == 0 && tpi_option_check(&table, &once, flags, arena, &err, &twice) == 0) {
                FUZZ_MUST(tpc_value_equal(&once, &twice));
            } else {
                FUZZ_MUST(rc != 0 || err.code == TPC_ENOMEM);
            }
        }
    }
    int64_t x;
    if (tpi_duration_parse(text, &x) == 0) {
        FUZZ_MUST(x >= 0);
    }
    if (tpi_size_parse(text, &x) == 0) {
        FUZZ_MUST(x >= 0);
    }
    tpc_arena_destroy(arena);
    return 0;
}
