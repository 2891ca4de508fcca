#include "udp_suites.h"

#include "tk.h"

int main(void)
{
    static tk_suite_fn *const all[] = { unwrap_suite, udp_suite, core_suite, NULL };
    return tk_main("adapter_udp", all);
}
