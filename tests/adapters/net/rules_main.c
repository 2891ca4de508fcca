#include "net_suites.h"

#include "tk.h"

int main(void)
{
    static tk_suite_fn *const all[] = { rules_suite, NULL };
    return tk_main("adapter_rules", all);
}
