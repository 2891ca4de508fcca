/* JSON: what is read, is written and read again the same; the event reader has the same verdict. */
#include "fuzz.h"

#include "data/json_read.h"

/* 1 if the events of the text end well. */
static int events_end(struct tpc_str text)
{
    struct tpi_json r;
    int event;
    tpi_json_begin(&r, text);
    do {
        event = tpi_json_next(&r);
        FUZZ_MUST(r.depth <= TPC_JSON_MAX_DEPTH && r.p >= r.begin && r.p <= r.end);
    } while (event > TPI_JSON_END);
    return event == TPI_JSON_END;
}

static void write_and_read(struct tpc_arena *arena, const struct tpc_value *v, uint32_t flags)
{
    struct tpc_value back;
    struct tpc_buf buf = { NULL, 0, 0 };
    FUZZ_MUST(tpc_json_write(v, flags, &buf) == TPC_ETOOBIG);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap);
    FUZZ_MUST(buf.ptr != NULL && tpc_json_write(v, flags, &buf) == 0 && buf.need == buf.cap);
    struct tpc_str text = { (const char *) buf.ptr, buf.need };
    FUZZ_MUST(tpc_json_parse(arena, text, 0, NULL, &back) == 0);
    FUZZ_MUST(tpc_value_equal(v, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t flags[] = { 0, TPC_JSON_COPY, TPC_JSON_ALLOW_DUPLICATES };
    struct tpc_str text = { (const char *) data, size };
    struct tpc_arena *arena;
    FUZZ_MUST(tpc_arena_create(NULL, FUZZ_MEMORY, &arena) == 0);
    int well = events_end(text);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct tpc_value v;
        struct tpc_error err = { .line = 0 };
        tpc_arena_reset(arena);
        int rc = tpc_json_parse(arena, text, flags[i], &err, &v);
        if (rc == 0) {
            FUZZ_MUST(well);
            write_and_read(arena, &v, i == 1 ? TPC_JSON_PRETTY | TPC_JSON_HTML_SAFE : 0);
        } else {
            /* Only equal keys and a full arena are beyond the events. */
            FUZZ_MUST(!well || err.path[0] != '\0' || rc == TPC_ENOMEM || rc == TPC_EDECODE);
            FUZZ_MUST(!well || i != 2 || rc == TPC_ENOMEM);
            FUZZ_MUST(rc == TPC_ENOMEM || (err.line > 0 && err.column > 0));
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
