#include "webhook_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { body_suite, hook_suite, platform_suite, NULL };
    return tk_main("adapter_webhook", all);
}
