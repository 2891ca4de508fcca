/* Slices of the mqtt-connector: input is an expression with slices, NUL, the bytes of a message. */
#include "fuzz.h"

#include "expr.h"

#include "data/utf8.h"

static void check_one(struct tpc_str text, struct tpc_bytes bytes)
{
    struct slice s;
    struct tpc_bytes taken;
    size_t len = 0;
    if (!slice_parse(text, &s, &len)) {
        return;
    }
    FUZZ_MUST(len >= 3 && len <= text.len && text.ptr[len - 1] == ']');
    if (slice_take(&s, bytes, &taken)) {
        FUZZ_MUST(taken.len <= bytes.len);
        FUZZ_MUST(taken.len == 0 ||
                  (taken.ptr >= bytes.ptr && taken.ptr + taken.len <= bytes.ptr + bytes.len));
        FUZZ_MUST(!s.single || taken.len == 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    struct tpc_str text = { (const char *) data, nul != NULL ? (size_t) (nul - data) : size };
    struct expr_message m = { .topic = text };
    struct tpc_arena *arena = NULL;
    struct expr e;
    struct tpc_str out;
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    if (nul != NULL) {
        m.bytes = (struct tpc_bytes){ nul + 1, size - text.len - 1 };
    }
    check_one(text, m.bytes);
    if (expr_compile(arena, text, EXPR_BYTES, NULL, &e) == 0) {
        for (int hex = 0; hex < 2; hex++) {
            m.hex = hex != 0;
            int rc = expr_text(&e, &m, arena, &out);
            bool utf8 = text.len == 0 || tpi_utf8_valid(text.ptr, text.len);
            FUZZ_MUST(rc == 0 || rc == TPC_ENOENT || rc == TPC_EDECODE || rc == TPC_ETOOBIG);
            FUZZ_MUST(rc != 0 || !utf8 || out.len == 0 || tpi_utf8_valid(out.ptr, out.len));
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
