#ifndef TP_SUITES_H
#define TP_SUITES_H

#include "tk.h"

Suite *wrap_suite(void);
Suite *down_suite(void);
Suite *calls_suite(void);
Suite *sink_tests(void);
Suite *broker_suite(void);
Suite *forms_suite(void);
Suite *devices_suite(void);
Suite *platform_suite(void);
Suite *access_suite(void);
Suite *callbacks_suite(void);
Suite *short_suite(void);
Suite *threads_suite(void);

#endif
