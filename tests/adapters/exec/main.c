#include "exec_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { fill_suite, exec_suite, NULL };
    return tk_main("adapter_exec", all);
}
