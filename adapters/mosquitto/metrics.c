#include "metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>

static const char *const topics[METRICS] = {
    [METRIC_CONNECTED] = "connected",
    [METRIC_ONLINE] = "online",
    [METRIC_REFUSED_AUTH] = "refused/auth",
    [METRIC_REFUSED_ACL] = "refused/acl",
    [METRIC_WRAPPED] = "wrapped",
    [METRIC_MAPPED] = "mapped",
    [METRIC_REGISTRATIONS] = "registrations",
    [METRIC_REPORTS] = "reports/published",
    [METRIC_REPORTS_DROPPED] = "reports/dropped",
    [METRIC_TABLE_AGE_MS] = "table/age_ms",
    [METRIC_TABLE_PRODUCTS] = "table/products",
    [METRIC_TABLE_DEVICES] = "table/devices",
};

bool metrics_due(const struct metrics *m, time_t now_s)
{
    return now_s - m->told_s >= METRICS_EVERY_S || now_s < m->told_s;
}

void metrics_tell(struct metrics *m, time_t now_s)
{
    m->told_s = now_s;
    for (int i = 0; i < METRICS; i++) {
        char topic[64], text[24];
        if (m->ever[i] && m->told[i] == m->value[i]) {
            continue;
        }
        snprintf(topic, sizeof(topic), "$SYS/broker/tpcore/%s", topics[i]);
        int len = snprintf(text, sizeof(text), "%" PRId64, m->value[i]);
        if (mosquitto_broker_publish_copy(NULL, topic, len, text, 0, true, NULL) ==
            MOSQ_ERR_SUCCESS) {
            m->ever[i] = true;
            m->told[i] = m->value[i];
        }
    }
}
