/* What tests of alerts share: a house, wishes, and what came of them. */
#ifndef RULES_ALARM_H
#define RULES_ALARM_H

#include "house.h"

extern struct house *alarm_house;
extern unsigned alarm_looked; /* how many messages alarm_news() has told */

void alarm_begin(void);
void alarm_end(void);

/* Counted. */
struct tpc_device *alarm_device(const char *key);
uint32_t alarm_worker(const struct tpc_device *d);
struct tpi_alert_wish alarm_wish(struct tpc_device *d, const char *key, bool raise);
int alarm_say(const char *key, const char *alert, bool raise);
int alarm_up(void); /* alert "hot" of t1 */
int alarm_down(void);
void alarm_turn(void);
void alarm_wait_s(uint64_t s);
/* What was appended since the last look, one after the other with ", ". */
const char *alarm_news(void);
/* Puts a configuration. */
void alarm_config(const char *json);
/* With the only alert that there is. */
int alarm_act(enum tpi_alert_deed deed, const char *comment);
void alarm_presence(const char *key, bool online);

struct alarm_seen {
    struct tpc_alert alert; /* the last */
    unsigned count;
    char keys[64][24];
};
int alarm_see(void *user, const struct tpc_alert *a);
/* "by: text by acknowledged_by" of the last comment, into 100 characters. */
int alarm_see_note(void *user, const struct tpc_alert *a);
struct alarm_seen alarm_list(struct tpc_alert_query q);
struct tpc_alert alarm_only(void);

uint64_t alarm_metric(const _Atomic uint64_t *c);
#define ALARM_COUNT(member) alarm_metric(&tpi_alerts_count(alarm_house->alerts)->member)

#endif
