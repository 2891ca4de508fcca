#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { kill_random_suite, memory_suite, latest_suite, NULL };
    return tk_main("faults_threads", suites);
}
