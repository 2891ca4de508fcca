#include "gateway_suites.h"

int main(void)
{
    tk_suite_fn *const suites[] = { stub_suite, NULL };
    return tk_main("tb_stub", suites);
}
