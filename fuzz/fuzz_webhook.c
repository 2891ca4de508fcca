/* What webhook reads of a server: Retry-After; and that a body is JSON whatever a device said. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/json.h>

#include "body.h"

static void expect(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value v;
    struct tpi_buf b;
    struct tpc_str text = { (const char *) data, size };
    struct tpc_msg m = { .size = sizeof(m), .kind = TPC_MSG_NOTIFY };
    expect(webhook_retry_after(text, 784111777000) <= WEBHOOK_WAIT_MAX_MS);
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    if (tpc_json_parse(arena, text, TPC_JSON_COPY, NULL, &v) == 0) {
        m.params = v;
        m.device = tpc_value_text(tpc_value_get(&v, TPC_STR("device")));
        int (*const forms[])(struct tpi_buf *, const struct tpc_msg *) = { webhook_message,
                                                                           webhook_thingspanel };
        for (size_t i = 0; i < 2; i++) {
            struct tpc_value back;
            tpi_buf_init(&b, NULL, 1 << 16);
            if (forms[i](&b, &m) == 0) {
                struct tpc_str body = { (const char *) b.ptr, b.len };
                /* One level deeper than what came in. */
                expect(tpc_json_parse(arena, body, TPC_JSON_COPY, NULL, &back) != TPC_EDECODE);
            }
            tpi_buf_fini(&b);
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
