/* What every sink must do, and the service against a mosquitto that the test starts. */
#include "sink_suite.h"
#include "tp_suites.h"

#include <tpcore/modules.h>

static const struct sink_subject subject = {
    .module = tpc_module_thingspanel,
    .options = "{\"mqtt\":\"mqtt://127.0.0.1:1\",\"identifier\":\"meter\"}",
    .target = "{}",
};

Suite *sink_tests(void)
{
    Suite *s = suite_create("thingspanel_sink");
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}
