#include "host.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { script_suite, limit_suite, panel_suite, match_suite,
                                           NULL };
    return tk_main("lua", suites);
}
