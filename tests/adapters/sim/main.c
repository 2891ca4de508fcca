#include "sim_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { sim_suite, NULL };
    return tk_main("adapter_sim", suites);
}
