#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = {
        act_suite,   alert_suite,    alert_keep_suite, data_rule_suite,    during_suite,
        fence_suite, info_suite,     look_suite,       mycontroller_suite, panel_suite,
        scene_suite, schedule_suite, spread_suite,     state_suite,        task_suite,
        trace_suite, topic_suite,    when_suite,       window_suite,       NULL
    };
    return tk_main("rules", suites);
}
