#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { expr_suite, functions_suite, template_suite,
                                           script_suite, NULL };
    return tk_main("expr", suites);
}
