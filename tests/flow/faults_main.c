#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { kill_points_suite, values_suite, lag_suite, NULL };
    return tk_main("faults", suites);
}
