#include "smtp_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { mail_suite, smtp_suite, NULL };
    return tk_main("adapter_smtp", all);
}
