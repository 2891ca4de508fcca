#include "modbus_suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { pdu_suite,      value_suite, plan_suite,        bus_suite,
                                        modbus_suite,   peers_suite, modbus_text_suite, loss_suite,
                                        accepted_suite, NULL };
    return tk_main("adapter_modbus", all);
}
