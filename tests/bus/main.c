#include "bus_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { topic_suite,     bus_conform_suite,
                                           file_log_suite,  log_fault_suite,
                                           log_crash_suite, log_thread_suite,
                                           clock_suite,     NULL };

    return tk_main("bus", suites);
}
