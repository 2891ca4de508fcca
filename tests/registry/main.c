#include "registry_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = {
        registry_suite,  latest_suite, presence_suite, topology_suite, why_suite,
        topic_map_suite, NULL
    };
    return tk_main("registry", suites);
}
