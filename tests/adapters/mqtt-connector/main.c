#include "suites.h"

int main(void)
{
    static tk_suite_fn *const all[] = { connector_suite, NULL };
    return tk_main("adapter_mqtt_connector", all);
}
