/* Suites of this binary. */
#ifndef DOWNLINK_SUITES_H
#define DOWNLINK_SUITES_H

#include "tk.h"

Suite *flow_suite(void);
Suite *chance_suite(void);

#endif
