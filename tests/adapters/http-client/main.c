#include "http_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { syntax_suite, client_suite, NULL };
    return tk_main("adapter_http_client", all);
}
