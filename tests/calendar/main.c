#include "places.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { civil_suite, zone_suite,   cron_suite,     dst_suite,
                                           sun_suite,   dampen_suite, schedule_suite, NULL };
    return tk_main("calendar", suites);
}
