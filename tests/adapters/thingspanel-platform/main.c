#include "panel_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { allow_suite, panel_suite, told_suite, NULL };
    return tk_main("adapter_thingspanel_platform", all);
}
