#include "broker_suites.h"

#include "fx.h"
#include "real_broker.h"

#include <stdio.h>

int main(void)
{
    static tk_suite_fn *const suites[] = { broker_suite, NULL };
    if (!real_broker_there() || !fx_has_mqtt() || !fx_has_sqlite()) {
        tk_skip("flows over a broker", "mosquitto, the module mqtt or sqlite is not there");
        puts("tk: flow_broker passed=0 failed=0 skipped=1 seconds=0.00");
        return 77;
    }
    return tk_main("flow_broker", suites);
}
