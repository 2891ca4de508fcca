#include "tp_suites.h"

#include <string.h>

/* paho 1.3.12 forgets, once in many runs, the messages that were on their way when a connection was cut. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libpaho-mqtt3as\n";
}

/* "session": what waits for connections to come back; it runs beside the rest. */
int main(int argc, char **argv)
{
    static tk_suite_fn *const all[] = { wrap_suite,     down_suite,    calls_suite,
                                        sink_tests,     forms_suite,   devices_suite,
                                        platform_suite, access_suite,  callbacks_suite,
                                        short_suite,    threads_suite, NULL };
    static tk_suite_fn *const waiting[] = { broker_suite, NULL };
    bool session = argc > 1 && strcmp(argv[1], "session") == 0;
    return tk_main(session ? "adapter_thingspanel_session" : "adapter_thingspanel",
                   session ? waiting : all);
}
