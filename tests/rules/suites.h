/* Suites of this binary. */
#ifndef RULES_SUITES_H
#define RULES_SUITES_H

#include "tk.h"

Suite *act_suite(void);
Suite *alert_suite(void);
Suite *alert_keep_suite(void);
Suite *data_rule_suite(void);
Suite *during_suite(void);
Suite *fence_suite(void);
Suite *info_suite(void);
Suite *look_suite(void);
Suite *mycontroller_suite(void);
Suite *panel_suite(void);
Suite *scene_suite(void);
Suite *schedule_suite(void);
Suite *spread_suite(void);
Suite *state_suite(void);
Suite *task_suite(void);
Suite *topic_suite(void);
Suite *trace_suite(void);
Suite *when_suite(void);
Suite *window_suite(void);

#endif
