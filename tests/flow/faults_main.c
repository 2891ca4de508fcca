#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { kill_points_suite, NULL };
    return tk_main("faults", suites);
}
