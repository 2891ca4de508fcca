#include "mqtt_suites.h"

#include "real_broker.h"

int main(void)
{
    static tk_suite_fn *const all[] = { dialect_suite, refused_suite, url_suite, mqtt_suite,
                                        certs_suite,   tb_suite,      NULL };
    static tk_suite_fn *const pure[] = { dialect_suite, refused_suite, url_suite, NULL };
    if (!real_broker_there()) {
        tk_skip("mqtt against a broker", "mosquitto is not installed");
        return tk_main("adapter_mqtt", pure);
    }
    return tk_main("adapter_mqtt", all);
}
