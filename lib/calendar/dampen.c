#include "calendar/dampen.h"

static uint32_t clamp(uint32_t n, uint32_t low)
{
    if (n < low) {
        return low;
    }
    return n > TPI_DAMPEN_MAX_RUNS ? TPI_DAMPEN_MAX_RUNS : n;
}

/* How many of the newest n runs were true. */
static uint32_t true_of(uint64_t runs, uint32_t n)
{
    uint64_t mask = n >= 64 ? UINT64_MAX : ((uint64_t) 1 << n) - 1;
    return (uint32_t) __builtin_popcountll(runs & mask);
}

static bool is_active(const struct tpi_dampen *d, struct tpi_dampen_state *state, bool result,
                      int64_t now_ms)
{
    if (result && (!state->active || now_ms < state->since_ms)) {
        state->since_ms = now_ms;
    }
    state->active = result;
    return result && now_ms - state->since_ms >= d->active_ms;
}

bool tpi_dampen_run(const struct tpi_dampen *d, struct tpi_dampen_state *state, bool result,
                    int64_t now_ms)
{
    uint32_t count = clamp(d->count, 1);
    state->runs = state->runs << 1 | (result ? 1 : 0);
    switch (d->type) {
    case TPI_DAMPEN_CONSECUTIVE:
        return true_of(state->runs, count) == count;
    case TPI_DAMPEN_EVALUATION:
        return true_of(state->runs, clamp(d->window, count)) >= count;
    case TPI_DAMPEN_ACTIVE:
        return is_active(d, state, result, now_ms);
    default:
        return result;
    }
}

int64_t tpi_dampen_due(const struct tpi_dampen *d, const struct tpi_dampen_state *state)
{
    if (d->type != TPI_DAMPEN_ACTIVE || !state->active ||
        state->since_ms > INT64_MAX - d->active_ms) {
        return INT64_MAX;
    }
    return state->since_ms + d->active_ms;
}
