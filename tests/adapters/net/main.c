#include "net_suites.h"

#include "tk.h"

int main(void)
{
    static tk_suite_fn *const all[] = { framing_suite, auth_suite, NULL };
    return tk_main("adapter_net", all);
}
