/*
 * Sunrise and sunset, as the NOAA solar calculator computes them (J. Meeus, "Astronomical
 * Algorithms", chapters 25 and 28; the sun's centre 0.833 degrees below the horizon, for its radius
 * and refraction). Within a minute between 72 degrees north and south. Pure functions, any thread.
 */
#ifndef TPI_CALENDAR_SUN_H
#define TPI_CALENDAR_SUN_H

#include <stdbool.h>
#include <stdint.h>

enum tpi_sun {
    TPI_SUN_RISES = 0,       /* *ret_s is set */
    TPI_SUN_ALWAYS_UP = 1,   /* polar day */
    TPI_SUN_ALWAYS_DOWN = 2, /* polar night */
};

/*
 * The sunrise or sunset of a day, to the minute, as a moment. The day is that of the sun at this
 * longitude: the one whose noon is 12:00 minus 4 minutes a degree, in UTC. latitude -90..90,
 * longitude -180..180, east is positive; what is beyond is brought to that.
 */
enum tpi_sun tpi_sun_event(double latitude, double longitude, int64_t day, bool rise,
                           int64_t *ret_s);

#endif
