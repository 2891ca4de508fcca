#include "gateway_suites.h"

int main(void)
{
    tk_suite_fn *const suites[] = { gateway_platform_suite, gateway_itself_suite,
                                    gateway_field_suite, gateway_more_suite, NULL };
    return tk_main("gateway_faults", suites);
}
