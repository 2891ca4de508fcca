#include "tb_suites.h"

/* paho 1.3.12 forgets, once in many runs, the messages that were on their way when a connection was cut. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libpaho-mqtt3as\n";
}

int main(void)
{
    static tk_suite_fn *const all[] = { limits_suite,  down_suite, pack_suite,   devices_suite,
                                        session_suite, rpc_suite,  broker_suite, NULL };
    return tk_main("adapter_thingsboard", all);
}
