/* The steps of a range. */
#include <float.h>
#include <math.h>

#include "model/spec.h"

/* Steps of which doubles still know every single one. */
#define MOST_STEPS 4503599627370496.0

/* How far from a step's number a value on it may come out: the rounding of value and step, which a
 * float's sender did to 24 bits. */
static double tolerance(const struct tpi_spec *s, double d)
{
    double steps = fabs(d / s->step.d);
    return 1e-9 + steps * (s->data_type == TPI_DATA_FLOAT ? 1.2e-7 : 1e-15);
}

/* Step n, as decimals would say it: 213 steps of 0.1 are 21.3, not 21.300000000000001. */
static double at_step(double base, double step, double n)
{
    double parts = floor(1 / step + 0.5);
    if (parts >= 1 && fabs(parts * step - 1) < 1e-12) {
        return (base * parts + n) / parts;
    }
    return base + n * step;
}

bool tpi_step_double(const struct tpi_spec *s, double d, double *ret)
{
    double base = s->min <= -(double) FLT_MAX ? 0 : s->min;
    double steps = (d - base) / s->step.d;
    if (!(fabs(steps) < MOST_STEPS)) {
        return false;
    }
    double n = floor(steps + 0.5);
    if (fabs(steps - n) <= tolerance(s, d) + tolerance(s, base)) {
        return false;
    }
    double at = at_step(base, s->step.d, n);
    *ret = at > s->max ? at_step(base, s->step.d, n - 1) : at;
    return true;
}

bool tpi_step_int(const struct tpi_spec *s, int64_t i, int64_t *ret)
{
    uint64_t step = (uint64_t) s->step.i;
    uint64_t over; /* the step below */
    if (s->int_min != INT64_MIN) {
        over = ((uint64_t) i - (uint64_t) s->int_min) % step;
    } else {
        int64_t rest = i % s->step.i;
        over = rest < 0 ? (uint64_t) (rest + s->step.i) : (uint64_t) rest;
    }
    if (over == 0) {
        return false;
    }
    uint64_t room = (uint64_t) s->int_max - (uint64_t) i;
    uint64_t depth = (uint64_t) i - (uint64_t) s->int_min;
    bool up = depth < over || (over >= step - over && step - over <= room);
    *ret = (int64_t) (up ? (uint64_t) i + (step - over) : (uint64_t) i - over);
    return true;
}
