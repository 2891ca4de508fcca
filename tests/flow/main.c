#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { input_suite,   entity_input_suite, script_suite,
                                           disk_suite,    store_suite,        latch_suite,
                                           restart_suite, order_suite,        kill_suite,
                                           resume_suite,  stop_suite,         process_suite,
                                           oom_suite,     trail_suite,        kill_spread_suite,
                                           NULL };
    return tk_main("flow", suites);
}
