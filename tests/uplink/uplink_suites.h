#ifndef UPLINK_SUITES_H
#define UPLINK_SUITES_H

#include "tk.h"

Suite *dedup_suite(void);
Suite *report_suite(void);

#endif
