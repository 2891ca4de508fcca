/*
 * What a ThingsPanel platform says to a service: the first line of the input is the topic, the rest the
 * payload, flat or nested.
 */
#include "fuzz.h"

#include <string.h>

#include "down.h"

static bool inside(struct tpc_str whole, struct tpc_str part)
{
    return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena;
    struct tpc_error err = { .size = sizeof(err) };
    struct tp_down d;
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    if (line == NULL) {
        return 0;
    }
    struct tpc_str topic = { (const char *) data, (size_t) (line - data) };
    struct tpc_bytes payload = { line + 1, size - topic.len - 1 };
    if (tp_down_topic(TPC_STR("p/"), topic, &d) != 0) {
        return 0;
    }
    FUZZ_MUST(d.x.len > 0 && inside(topic, d.x) && inside(topic, d.mid));
    FUZZ_MUST(d.mid.len > 0 || d.kind == TP_DOWN_CONTROL || d.kind == TP_DOWN_GET);
    FUZZ_MUST(tpc_arena_create(NULL, 0, &arena) == 0);
    int rc = tp_down_read(payload, arena, &err, &d);
    FUZZ_MUST(rc == 0 || (rc == TPC_EDECODE && err.text[0] != '\0'));
    FUZZ_MUST(d.depth <= TP_PATH_MAX);
    for (uint32_t i = 0; i < d.depth; i++) {
        FUZZ_MUST(d.path[i].len > 0);
    }
    if (rc == 0) {
        FUZZ_MUST(d.kind != TP_DOWN_COMMAND || d.method.len > 0);
        FUZZ_MUST((d.kind != TP_DOWN_SET && d.kind != TP_DOWN_CONTROL) || d.params.type == TPC_MAP);
        FUZZ_MUST(d.kind != TP_DOWN_GET || d.params.type == TPC_ARRAY);
    }
    tpc_arena_destroy(arena);
    return 0;
}
