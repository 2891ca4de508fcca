#include "base_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { alloc_suite, buf_suite,   crypto_suite, env_suite,
                                           error_suite, files_suite, map_suite,    ring_suite,
                                           wheel_suite, NULL };
    return tk_main("base", suites);
}
