/*
 * What a message costs in the thing model, a value: finding its key where it is expected and
 * checking a double; against comparing the same keys and copying the same values, which is the
 * least that could be done.
 */
#include "bench.h"

#include <string.h>
#include <tpcore/json.h>

#include "model/model.h"

enum { KEYS = 24, TIMES = 2000000, ROUNDS = 7 };

struct work {
    struct tpi_model *model;
    struct tpc_str keys[KEYS];
    struct tpc_str expected[KEYS];
    struct tpc_value values[KEYS];
    struct tpc_value out[KEYS];
    volatile uint64_t sink;
};

static void find(void *user, uint32_t times)
{
    struct work *w = user;
    uint32_t hint = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0, k = 0; i < times; i++, k = k + 1 == KEYS ? 0 : k + 1) {
        hint = k == 0 ? 0 : hint;
        sum += (uint64_t) tpi_model_find(w->model, w->keys[k], &hint);
    }
    w->sink += sum;
}

static void compare_keys(void *user, uint32_t times)
{
    struct work *w = user;
    uint64_t sum = 0;
    for (uint32_t i = 0, k = 0; i < times; i++, k = k + 1 == KEYS ? 0 : k + 1) {
        sum += (uint64_t) tpc_str_equal(w->keys[k], w->expected[k]);
    }
    w->sink += sum;
}

static void check(void *user, uint32_t times)
{
    struct work *w = user;
    for (uint32_t i = 0, k = 0; i < times; i++, k = k + 1 == KEYS ? 0 : k + 1) {
        w->sink += (uint64_t) tpi_model_check(w->model, k, &w->values[k], NULL, NULL, &w->out[k]);
    }
}

static void copy(void *user, uint32_t times)
{
    struct work *w = user;
    for (uint32_t i = 0, k = 0; i < times; i++, k = k + 1 == KEYS ? 0 : k + 1) {
        w->out[k] = w->values[k];
        w->sink += w->out[k].type;
    }
}

static void setup(struct work *w, struct tpc_arena *arena)
{
    static char text[KEYS][24];
    static char model[8192] = "{\"properties\":[";
    struct tpc_value def;
    for (int i = 0; i < KEYS; i++) {
        size_t at = strlen(model);
        snprintf(text[i], sizeof(text[i]), "temperature_%d", i);
        snprintf(model + at, sizeof(model) - at,
                 "%s{\"id\":\"%s\",\"type\":\"double\",\"min\":-40,\"max\":125}", i == 0 ? "" : ",",
                 text[i]);
        w->keys[i] = tpc_str_from(text[i]);
        w->values[i] = (struct tpc_value){ TPC_DOUBLE, 0, 0, { .d = 20.5 + i } };
    }
    snprintf(model + strlen(model), sizeof(model) - strlen(model), "]}");
    bench_must(tpc_json_parse(arena, tpc_str_from(model), 0, NULL, &def) == 0, "parse");
    bench_must(tpi_model_compile(NULL, &def, NULL, TPI_ENFORCE_USUAL, 1, NULL, &w->model) == 0,
               "compile");
    for (uint32_t i = 0; i < KEYS; i++) {
        w->expected[i] = tpi_model_property(w->model, i)->key;
    }
}

int main(void)
{
    static struct work w;
    struct tpc_arena *arena;
    bench_must(tpc_arena_create(NULL, 0, &arena) == 0, "arena");
    setup(&w, arena);
    struct bench_pair found = bench_compare(find, compare_keys, &w, TIMES, ROUNDS);
    bench_line("model_find", found.ours, "ns/key", "compare", found.theirs / found.ours);
    struct bench_pair checked = bench_compare(check, copy, &w, TIMES, ROUNDS);
    bench_line("model_check", checked.ours, "ns/value", "copy", checked.theirs / checked.ours);
    tpi_model_unref(w.model);
    tpc_arena_destroy(arena);
    return 0;
}
