/* https://gml.noaa.gov/grad/solcalc/calcdetails.html: the names are those of NOAA's spreadsheet. */
#include "calendar/sun.h"

#include <math.h>

#include "calendar/civil.h"

static const double pi = 3.14159265358979323846;

enum { PASSES = 3 }; /* the sun moves while the day passes: from noon to the event itself */

static double rad(double degrees)
{
    return degrees * pi / 180.0;
}

static double deg(double radians)
{
    return radians * 180.0 / pi;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

struct sun {
    double declination; /* degrees */
    double equation;    /* of time, minutes */
};

/* t: Julian centuries since J2000.0 */
static struct sun sun_at(double t)
{
    double mean_long = fmod(280.46646 + t * (36000.76983 + t * 0.0003032), 360.0);
    double anomaly = 357.52911 + t * (35999.05029 - 0.0001537 * t);
    double eccent = 0.016708634 - t * (0.000042037 + 0.0000001267 * t);
    double center = sin(rad(anomaly)) * (1.914602 - t * (0.004817 + 0.000014 * t)) +
                    sin(rad(2 * anomaly)) * (0.019993 - 0.000101 * t) +
                    sin(rad(3 * anomaly)) * 0.000289;
    double omega = rad(125.04 - 1934.136 * t);
    double apparent = mean_long + center - 0.00569 - 0.00478 * sin(omega);
    double mean_obliq =
        23.0 + (26.0 + (21.448 - t * (46.815 + t * (0.00059 - t * 0.001813))) / 60.0) / 60.0;
    double obliq = rad(mean_obliq + 0.00256 * cos(omega));
    double y = tan(obliq / 2) * tan(obliq / 2);
    double l = rad(mean_long);
    double m = rad(anomaly);
    double eq = y * sin(2 * l) - 2 * eccent * sin(m) + 4 * eccent * y * sin(m) * cos(2 * l) -
                0.5 * y * y * sin(4 * l) - 1.25 * eccent * eccent * sin(2 * m);
    return (struct sun){ deg(asin(sin(obliq) * sin(rad(apparent)))), 4 * deg(eq) };
}

enum tpi_sun tpi_sun_event(double latitude, double longitude, int64_t day, bool rise,
                           int64_t *ret_s)
{
    double lat = rad(clamp(latitude, -90, 90));
    double lon = clamp(longitude, -180, 180);
    double minutes = 720 - 4 * lon; /* of the day, UTC */
    for (int i = 0; i < PASSES; i++) {
        double julian_day = (double) day + 2440587.5 + minutes / 1440;
        struct sun s = sun_at((julian_day - 2451545.0) / 36525.0);
        double decl = rad(s.declination);
        double cos_angle = cos(rad(90.833)) / (cos(lat) * cos(decl)) - tan(lat) * tan(decl);
        if (!(cos_angle <= 1)) {
            return TPI_SUN_ALWAYS_DOWN;
        }
        if (cos_angle < -1) {
            return TPI_SUN_ALWAYS_UP;
        }
        double angle = deg(acos(cos_angle));
        minutes = 720 - 4 * lon - s.equation + (rise ? -4 : 4) * angle;
    }
    *ret_s = day * TPI_DAY_S + (int64_t) floor(minutes + 0.5) * TPI_MINUTE_S;
    return TPI_SUN_RISES;
}
