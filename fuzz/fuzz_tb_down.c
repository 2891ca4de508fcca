/*
 * What a ThingsBoard server says: the first line of the input is the topic, the rest the payload. Limits
 * that it names are read as well.
 */
#include "fuzz.h"

#include <string.h>

#include "down.h"
#include "limits.h"

static void limits(const struct tpc_value *values)
{
    struct tb_session_limits l;
    if (tb_down_limits(values, &l) != 0) {
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        struct tb_bucket b = { .count = 0 };
        if (tb_bucket_add(&b, l.messages[i], 80, 1) == 0 &&
            tb_bucket_add(&b, l.points[i], 80, 1) == 0) {
            uint64_t wait = tb_bucket_wait(&b, 1, 1);
            FUZZ_MUST(wait == 0); /* it is full */
            tb_bucket_take(&b, UINT32_MAX);
            wait = tb_bucket_wait(&b, 1, 2);
            FUZZ_MUST(tb_bucket_wait(&b, 1, 2 + wait) == 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena;
    struct tpc_error err;
    struct tb_down d;
    struct tb_credentials c;
    struct tpc_str reason;
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    if (line == NULL) {
        return 0;
    }
    struct tpc_str topic = { (const char *) data, (size_t) (line - data) };
    struct tpc_bytes payload = { line + 1, size - topic.len - 1 };
    FUZZ_MUST(tpc_arena_create(NULL, 0, &arena) == 0);
    if (tb_down_parse(topic, payload, arena, &err, &d) == 0) {
        bool call = d.kind == TB_DOWN_RPC || d.kind == TB_DOWN_OWN_RPC;
        FUZZ_MUST(!call || d.method.len > 0);
        FUZZ_MUST(d.kind != TB_DOWN_ATTRIBUTES || d.device.len > 0);
        limits(&d.values);
        if (d.kind == TB_DOWN_PROVISION && tb_down_credentials(&d.values, &c, &reason) != 0) {
            FUZZ_MUST(reason.len > 0);
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
