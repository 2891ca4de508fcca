/*
 * What simulated devices say: pure functions of time, no host, no state.
 */
#ifndef SIM_WAVE_H
#define SIM_WAVE_H

#include <stdbool.h>
#include <tpcore/bytes.h>

enum sim_shape { SIM_SINE, SIM_RAMP, SIM_SQUARE, SIM_CONSTANT };

struct sim_wave {
    enum sim_shape shape;
    double min, max;
    int64_t period_ms; /* > 0 */
};

/* "sine", "ramp", "square"; all else is constant. */
enum sim_shape sim_wave_shape(struct tpc_str name);

/* Value at elapsed_ms, in min..max. A sine and a ramp begin in the middle and at min; a square wave
 * begins at max. A constant is min. */
double sim_wave_at(const struct sim_wave *w, uint64_t elapsed_ms);

/* Fills {value}, {seq} and {device} into a template; cuts at cap. Returns the length. */
size_t sim_payload(struct tpc_str pattern, struct tpc_str device, double value, uint64_t seq,
                   char *ret, size_t cap);

#endif
