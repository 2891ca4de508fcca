/* Reads any JSON as a schedule's document. What is read plans times that rise, lie in the future, and
 * goes on however the clock is set. */
#include "calendar/schedule.h"

#include <stdlib.h>
#include <tpcore/json.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plan(const struct tpi_schedule *s)
{
    static const int64_t clock[] = { 1774742400000,
                                     1774742401000,
                                     1774746000000,
                                     1774746000500,
                                     1774700000000,
                                     1792890000000,
                                     0,
                                     1774746000000,
                                     4102444800000,
                                     -2208988800000,
                                     INT64_C(9999999999999) };
    struct tpi_schedule_state state;
    int64_t last = clock[0];
    int64_t at;
    tpi_schedule_start(&state, clock[0]);
    for (int i = 0; i < 10 && tpi_schedule_next(s, &state, last, &at); i++) {
        if (at <= last) {
            abort();
        }
        last = at;
    }
    for (size_t i = 0; i < sizeof(clock) / sizeof(clock[0]); i++) {
        struct tpi_schedule_step step;
        tpi_schedule_step(s, &state, clock[i], &step);
        if (step.fire && step.fire_ms > clock[i]) {
            abort();
        }
        if (step.next_ms != INT64_MAX && step.next_ms <= clock[i]) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpi_env env;
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    struct tpi_schedule s;
    tpi_env_default(&env);
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    struct tpc_str text = { (const char *) data, size };
    if (tpc_json_parse(arena, text, 0, NULL, &doc) == 0 && doc.type == TPC_MAP &&
        tpi_schedule_init(&s, &env, "/nowhere", &doc, NULL) == 0) {
        plan(&s);
        tpi_schedule_fini(&s);
    }
    tpc_arena_destroy(arena);
    return 0;
}
