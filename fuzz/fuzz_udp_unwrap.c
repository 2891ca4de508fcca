/* What the adapter udp makes of a datagram: views are inside it, and the message without its wrapping is
 * the same JSON with body in the place of params. */
#include "fuzz.h"

#include "unwrap.h"

#include <tpcore/json.h>

static bool inside(struct tpc_str part, const uint8_t *data, size_t size)
{
    const char *from = (const char *) data;
    return part.len == 0 || (part.ptr >= from && part.ptr + part.len <= from + size);
}

static void check_same(struct tpc_arena *arena, const uint8_t *data, size_t size,
                       const struct udp_message *m, const uint8_t *plain, size_t len)
{
    struct tpc_value before, after;
    struct tpc_str was = { (const char *) data, size }, is = { (const char *) plain, len };
    if (tpc_json_parse(arena, was, 0, NULL, &before) != 0) {
        return; /* a member twice, or too deep for a tree */
    }
    FUZZ_MUST(tpc_json_parse(arena, is, 0, NULL, &after) == 0);
    FUZZ_MUST(after.len == before.len);
    for (size_t i = 0; i < before.len; i++) {
        const struct tpc_member *b = &before.as.members[i], *a = &after.as.members[i];
        FUZZ_MUST(tpc_str_equal(a->key, b->key));
        const struct tpc_value *body = tpc_value_get(&b->value, TPC_STR("body"));
        bool params = tpc_str_equal(b->key, TPC_STR("params"));
        if (!params) {
            FUZZ_MUST(tpc_value_equal(&a->value, &b->value));
        } else if (m->token.len > 0 && body != NULL && tpc_str_equal(b->key, TPC_STR("params"))) {
            FUZZ_MUST(tpc_value_equal(&a->value, body) || b->value.type != TPC_MAP);
        }
    }
    struct tpc_str token =
        tpc_value_text(tpc_value_get(tpc_value_get(&before, TPC_STR("params")), TPC_STR("token")));
    FUZZ_MUST(m->token.len == 0 || tpc_str_equal(token, m->token));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t plain[4096 + 2];
    struct tpc_arena *arena;
    struct udp_message m;
    if (size > 4096 || !udp_unwrap((struct tpc_bytes){ data, size }, &m)) {
        return 0;
    }
    FUZZ_MUST(inside(m.method, data, size) && inside(m.token, data, size));
    FUZZ_MUST(inside(m.head, data, size) && inside(m.tail, data, size));
    FUZZ_MUST(inside(m.body, data, size) || (m.body.len == 2 && memcmp(m.body.ptr, "{}", 2) == 0));
    size_t len = udp_plain(&m, plain);
    FUZZ_MUST(len <= size + 2 && (m.token.len == 0 || len <= size));
    if (tpc_arena_create(NULL, 0, &arena) == 0) {
        check_same(arena, data, size, &m, plain, len);
        tpc_arena_destroy(arena);
    }
    return 0;
}
