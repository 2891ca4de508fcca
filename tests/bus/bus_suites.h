#ifndef BUS_SUITES_H
#define BUS_SUITES_H

#include "bus_fix.h"

Suite *topic_suite(void);
Suite *clock_suite(void);
Suite *file_log_suite(void);
Suite *log_fault_suite(void);
Suite *log_crash_suite(void);
Suite *log_thread_suite(void);

#endif
