/* What the built-in rules read of a message, and the answer they make of it: both readers see the same
 * method, and the answer is JSON with the request's id. */
#include "fuzz.h"

#include "envelope.h"

#include <tpcore/json.h>

static void check_answer(const struct net_envelope *e, struct tpc_arena *arena)
{
    static uint8_t room[NET_ENVELOPE_MAX * 6 + 512];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_value v;
    int64_t code = -1;
    FUZZ_MUST(net_envelope_write(e, e->params, NET_CODE_UNKNOWN, TPC_STR("no"), &out) == 0 ||
              e->params != NULL);
    out.need = 0;
    FUZZ_MUST(net_envelope_write(e, NULL, NET_CODE_UNKNOWN, TPC_STR("no"), &out) == 0);
    struct tpc_str text = { (const char *) room, out.need };
    FUZZ_MUST(tpc_json_parse(arena, text, 0, NULL, &v) == 0);
    const struct tpc_value *id = tpc_value_get(&v, TPC_STR("requestId"));
    FUZZ_MUST((id == NULL) == (e->id.type == TPC_NULL));
    FUZZ_MUST(id == NULL || tpc_value_equal(id, &e->id));
    FUZZ_MUST(tpc_str_equal(tpc_value_text(tpc_value_get(&v, TPC_STR("method"))), e->method));
    FUZZ_MUST(tpc_value_int(tpc_value_get(&v, TPC_STR("code")), &code) == 0 && code == 401);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_bytes in = { data, size };
    struct tpc_arena *arena;
    struct net_envelope e;
    bool login = net_envelope_is(in, TPC_STR("auth"));
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    if (net_envelope_read(in, arena, &e) == 0) {
        FUZZ_MUST(e.method.len > 0);
        FUZZ_MUST(!login || tpc_str_equal(e.method, TPC_STR("auth")));
        check_answer(&e, arena);
    }
    tpc_arena_destroy(arena);
    return 0;
}
