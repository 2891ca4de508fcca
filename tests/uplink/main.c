#include "uplink_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { dedup_suite, report_suite, NULL };
    return tk_main("uplink", suites);
}
