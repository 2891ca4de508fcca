#include "web_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { route_suite, rate_suite,   server_suite, framing_suite,
                                        wait_suite,  memory_suite, tls_suite,    NULL };
    return tk_main("adapter_http", all);
}
