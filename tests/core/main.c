#include "flow.h"

int main(void)
{
    static tk_suite_fn *const suites[] = {
        act_flow_suite,      uplink_flow_suite,     stream_flow_suite,    command_flow_suite,
        fault_flow_suite,    hold_flow_suite,       state_flow_suite,     keep_flow_suite,
        query_flow_suite,    import_flow_suite,     directory_flow_suite, auth_flow_suite,
        acl_flow_suite,      model_flow_suite,      open_flow_suite,      report_flow_suite,
        derived_flow_suite,  presence_flow_suite,   why_flow_suite,       audit_flow_suite,
        topology_flow_suite, gateway_flow_suite,    number_suite,         panel_flow_suite,
        hand_flow_suite,     alert_flow_suite,      data_rule_flow_suite, rule_test_flow_suite,
        scene_flow_suite,    schedule_flow_suite,   forward_flow_suite,   command_list_suite,
        rule_flow_suite,     rule_fault_flow_suite, host_flow_suite,      mixed_flow_suite,
        attach_flow_suite,   clock_flow_suite,      service_flow_suite,   NULL
    };
    return tk_main("core", suites);
}
