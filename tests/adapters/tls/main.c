#include "tls_suites.h"

#include "tk.h"

int main(void)
{
    static tk_suite_fn *const all[] = { files_suite, copy_suite, NULL };
    return tk_main("adapter_tls", all);
}
