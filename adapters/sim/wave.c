#include "wave.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const shapes[] = { "sine", "ramp", "square", "constant" };

enum sim_shape sim_wave_shape(struct tpc_str name)
{
    for (int i = 0; i < SIM_CONSTANT; i++) {
        if (name.len == strlen(shapes[i]) && memcmp(name.ptr, shapes[i], name.len) == 0) {
            return (enum sim_shape) i;
        }
    }
    return SIM_CONSTANT;
}

double sim_wave_at(const struct sim_wave *w, uint64_t elapsed_ms)
{
    uint64_t period = (uint64_t) w->period_ms;
    double phase = (double) (elapsed_ms % period) / (double) period; /* 0 .. 1 */
    double span = w->max - w->min;
    switch (w->shape) {
    case SIM_SINE:
        return w->min + span * (0.5 + 0.5 * sin(phase * 6.283185307179586));
    case SIM_RAMP:
        return w->min + span * phase;
    case SIM_SQUARE:
        return phase < 0.5 ? w->max : w->min;
    case SIM_CONSTANT:
        break;
    }
    return w->min;
}

/* Length of the word that starts at s, or 0; its replacement in ret. */
static size_t replace(const char *s, size_t len, struct tpc_str device, double value, uint64_t seq,
                      char *ret, size_t cap, size_t *ret_len)
{
    static const char *const words[] = { "{value}", "{seq}", "{device}" };
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (len < n || memcmp(s, words[i], n) != 0) {
            continue;
        }
        int out = i == 0   ? snprintf(ret, cap, "%.3f", value)
                  : i == 1 ? snprintf(ret, cap, "%" PRIu64, seq)
                           : snprintf(ret, cap, "%.*s", (int) device.len, device.ptr);
        *ret_len = out < 0 ? 0 : (size_t) out < cap ? (size_t) out : cap - 1;
        return n;
    }
    return 0;
}

size_t sim_payload(struct tpc_str pattern, struct tpc_str device, double value, uint64_t seq,
                   char *ret, size_t cap)
{
    size_t used = 0;
    for (size_t i = 0; i < pattern.len && used + 1 < cap;) {
        size_t out = 0;
        size_t n = replace(pattern.ptr + i, pattern.len - i, device, value, seq, ret + used,
                           cap - used, &out);
        if (n == 0) {
            ret[used++] = pattern.ptr[i++];
            continue;
        }
        i += n;
        used += out;
    }
    return used;
}
