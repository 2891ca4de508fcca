#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { flow_suite, chance_suite, NULL };
    return tk_main("downlink", suites);
}
