/*
 * Any text as a model in any form. What is read comes out the same in the form it came in, and is the
 * same model again after a way through every other form.
 */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/model.h>

#include "fuzz.h"

/* As text: what a file would hold. False: too deep to be written. */
static bool write_text(struct tpc_arena *arena, const struct tpc_value *v, struct tpc_str *ret)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    if (tpc_json_write(v, 0, &buf) == TPC_EINVAL) {
        return false;
    }
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    FUZZ_MUST(buf.ptr != NULL && tpc_json_write(v, 0, &buf) == 0);
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return true;
}

static void through(struct tpc_arena *arena, const struct tpc_value *model, uint32_t format)
{
    struct tpc_value out, again, twice;
    struct tpc_str text;
    struct tpc_error err = { .size = sizeof(err) };
    FUZZ_MUST(tpc_model_export(arena, model, format, &err, &out) == 0);
    if (!write_text(arena, &out, &text)) {
        return;
    }
    int rc = tpc_model_import(arena, text, format, &err, &again);
    if (rc == TPC_ETOOBIG) {
        return;
    }
    FUZZ_MUST(rc == 0);
    FUZZ_MUST(tpc_model_export(arena, &again, format, &err, &twice) == 0);
    if (tpc_value_equal(&out, &twice) == 0) {
        fprintf(stderr, "%u: %.*s\n", format, (int) text.len, text.ptr);
    }
    FUZZ_MUST(tpc_value_equal(&out, &twice) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str text = { (const char *) data, size };
    struct tpc_arena *arena;
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    for (uint32_t format = TPC_MODEL_ANY; format <= TPC_MODEL_THINGSPANEL; format++) {
        struct tpc_value model, doc, out;
        struct tpc_error err = { .size = sizeof(err) };
        int rc = tpc_model_import(arena, text, format, &err, &model);
        if (rc != 0) {
            FUZZ_MUST(err.code == rc && err.text[0] != '\0');
            FUZZ_MUST(rc == TPC_ENOMEM || err.line > 0);
            continue;
        }
        for (uint32_t other = TPC_MODEL_TPCORE; other <= TPC_MODEL_THINGSPANEL; other++) {
            through(arena, &model, other);
        }
        if (format == TPC_MODEL_TSL) {
            FUZZ_MUST(tpc_json_parse(arena, text, 0, NULL, &doc) == 0);
            FUZZ_MUST(tpc_model_export(arena, &model, format, NULL, &out) == 0);
            /* An empty "tpcore" says nothing, and nothing comes back. */
            const struct tpc_value *more = tpc_value_get(&doc, TPC_STR("tpcore"));
            bool empty = more != NULL && more->type == TPC_MAP && more->len == 0;
            FUZZ_MUST(empty || tpc_value_equal(&doc, &out) != 0);
        }
        tpc_arena_reset(arena);
    }
    tpc_arena_destroy(arena);
    return 0;
}
