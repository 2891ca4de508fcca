/* CBOR: what is read, is written and read again the same. */
#include "fuzz.h"

#include <tpcore/cbor.h>
#include <tpcore/json.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena;
    struct tpc_value v;
    struct tpc_value back;
    struct tpc_error err;
    FUZZ_MUST(tpc_arena_create(NULL, FUZZ_MEMORY, &arena) == 0);
    int rc = tpc_cbor_parse(arena, (struct tpc_bytes){ data, size }, &err, &v);
    if (rc == 0) {
        struct tpc_buf buf = { NULL, 0, 0 };
        FUZZ_MUST(tpc_cbor_write(&v, &buf) == TPC_ETOOBIG);
        buf.cap = buf.need;
        buf.ptr = tpc_arena_take(arena, buf.cap);
        FUZZ_MUST(buf.ptr != NULL && tpc_cbor_write(&v, &buf) == 0);
        struct tpc_bytes bytes = { buf.ptr, buf.need };
        FUZZ_MUST(tpc_cbor_parse(arena, bytes, &err, &back) == 0);
        FUZZ_MUST(tpc_value_equal(&v, &back));
        buf = (struct tpc_buf){ NULL, 0, 0 };
        FUZZ_MUST(tpc_json_write(&v, 0, &buf) == TPC_ETOOBIG);
    } else {
        FUZZ_MUST(rc == TPC_EDECODE || rc == TPC_ETOOBIG || rc == TPC_ENOMEM);
        FUZZ_MUST(err.column >= 1 && err.column <= size + 1);
    }
    tpc_arena_destroy(arena);
    return 0;
}
