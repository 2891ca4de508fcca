#include "broker_suites.h"

#include "fx.h"
#include "real_broker.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { broker_suite, NULL };
    static tk_suite_fn *const none[] = { NULL };
    if (!real_broker_there() || !fx_has_mqtt() || !fx_has_sqlite()) {
        tk_skip("flows over a broker", "mosquitto, the module mqtt or sqlite is not there");
        return tk_main("flow_broker", none);
    }
    return tk_main("flow_broker", suites);
}
