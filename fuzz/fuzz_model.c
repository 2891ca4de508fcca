/*
 * Input: a model's JSON, a line end, a JSON value. Whatever the model, every property and service
 * is asked about the value; what a check accepts has the type that the model promises.
 */
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/msg.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is good is taken unmarked, and what is clamped is good. */
static void take(const struct tpi_model *m, uint32_t i, const struct tpc_value *v,
                 struct tpc_arena *arena, bool good)
{
    struct tpc_value out, again;
    uint16_t flags;
    bool derived = tpi_model_property(m, i)->expr.len > 0;
    if (derived && tpi_model_take(m, i, v, arena, NULL, &out, &flags) == 0) {
        abort();
    }
    if (tpi_model_derive(m, i, v, arena, NULL, &out, &flags) != 0) {
        if (good) {
            abort();
        }
        return;
    }
    if (out.type != tpi_model_property(m, i)->value_type || good != (flags == 0)) {
        abort();
    }
    if (flags == TPC_POINT_CLAMPED && tpi_model_check(m, i, &out, arena, NULL, &again) != 0) {
        abort();
    }
}

static void check_all(const struct tpi_model *m, const struct tpc_value *v, struct tpc_arena *arena)
{
    struct tpc_error err;
    struct tpc_value out;
    uint32_t hint = 0;
    for (uint32_t i = 0; i < tpi_model_property_count(m); i++) {
        const struct tpi_property *p = tpi_model_property(m, i);
        if (tpi_model_find(m, p->key, &hint) != (int) i || tpi_model_find_id(m, p->id) != (int) i) {
            abort();
        }
        int rc = tpi_model_check(m, i, v, arena, &err, &out);
        if (rc == 0 && out.type != p->value_type) {
            abort();
        }
        take(m, i, v, arena, rc == 0);
    }
    (void) tpi_model_service_check(m, TPC_STR("set"), v, arena, &err, &out);
    (void) tpi_model_service_check(m, TPC_STR("get"), v, arena, &err, &out);
    (void) tpi_model_service_check(m, TPC_STR("s"), v, arena, &err, &out);
    (void) tpi_model_event_check(m, TPC_STR("e"), v, arena, &err, &out);
}

/* The next revision, from the ids of this one, has the same ids. */
static void compile_again(const struct tpi_model *m, const struct tpc_value *def,
                          struct tpc_arena *arena)
{
    struct tpc_value ids;
    struct tpi_model *again;
    if (tpi_model_ids(m, arena, &ids) != 0 ||
        tpi_model_compile(NULL, def, &ids, TPI_ENFORCE_USUAL, 2, NULL, &again) != 0) {
        abort();
    }
    for (uint32_t i = 0; i < tpi_model_property_count(m); i++) {
        if (tpi_model_property(m, i)->id != tpi_model_property(again, i)->id) {
            abort();
        }
    }
    tpi_model_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *) data;
    const char *end = size == 0 ? NULL : memchr(text, '\n', size);
    size_t len = end == NULL ? size : (size_t) (end - text);
    struct tpc_arena *arena;
    struct tpc_value def, v;
    struct tpc_error err;
    struct tpi_model *m;
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    if (tpc_json_parse(arena, (struct tpc_str){ text, len }, 0, &err, &def) != 0) {
        tpc_arena_destroy(arena);
        return 0;
    }
    for (int enforce = TPI_ENFORCE_USUAL; enforce <= TPI_ENFORCE_KEEP; enforce++) {
        if (tpi_model_compile(NULL, &def, NULL, (enum tpi_enforce) enforce, 1, &err, &m) != 0) {
            continue;
        }
        compile_again(m, &def, arena);
        if (end != NULL &&
            tpc_json_parse(arena, (struct tpc_str){ end + 1, size - len - 1 }, 0, &err, &v) == 0) {
            check_all(m, &v, arena);
        }
        tpi_model_unref(m);
    }
    tpc_arena_destroy(arena);
    return 0;
}
