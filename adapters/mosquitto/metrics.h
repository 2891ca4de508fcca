/* Counters of the plugin, published as the broker publishes its own: retained, on $SYS/broker/tpcore/..,
 * which devices cannot read. The broker's thread alone. */
#ifndef MOSQUITTO_METRICS_H
#define MOSQUITTO_METRICS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { METRICS_EVERY_S = 10 };

enum metric {
    METRIC_CONNECTED,     /* connections that are logged in */
    METRIC_ONLINE,        /* devices with one */
    METRIC_REFUSED_AUTH,  /* logins */
    METRIC_REFUSED_ACL,   /* topics to publish on or to subscribe to */
    METRIC_WRAPPED,       /* messages */
    METRIC_MAPPED,        /* messages, up and down */
    METRIC_REGISTRATIONS, /* that the platform was asked for */
    METRIC_REPORTS,       /* of what was refused */
    METRIC_REPORTS_DROPPED,
    METRIC_TABLE_AGE_MS,   /* since it was brought up to date; -1 = there was none so far */
    METRIC_TABLE_PRODUCTS, /* in it */
    METRIC_TABLE_DEVICES,
    METRICS
};

struct metrics {
    int64_t value[METRICS];
    int64_t told[METRICS];
    bool ever[METRICS]; /* told */
    time_t told_s;
};

/* Whether it is time to tell again; the gauges are to be filled in first. */
bool metrics_due(const struct metrics *m, time_t now_s);
/* Publishes what changed. */
void metrics_tell(struct metrics *m, time_t now_s);

#endif
