#include "bus_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { bus_conform_suite, NULL };

    return tk_main("bus", suites);
}
