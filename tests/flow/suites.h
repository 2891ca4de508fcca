#ifndef FLOW_SUITES_H
#define FLOW_SUITES_H

#include "fx.h"

Suite *input_suite(void);
Suite *entity_input_suite(void);
Suite *script_suite(void);
Suite *disk_suite(void);
Suite *store_suite(void);
Suite *latch_suite(void);
Suite *process_suite(void);
Suite *oom_suite(void);
Suite *restart_suite(void);
Suite *order_suite(void);
Suite *kill_suite(void);
Suite *kill_spread_suite(void);
Suite *resume_suite(void);
Suite *stop_suite(void);

Suite *kill_points_suite(void);
Suite *kill_random_suite(void);
Suite *values_suite(void);
Suite *lag_suite(void);
Suite *memory_suite(void);
Suite *latest_suite(void);
Suite *trail_suite(void);

#endif
