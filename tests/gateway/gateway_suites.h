#ifndef GATEWAY_SUITES_H
#define GATEWAY_SUITES_H

#include <tk.h>

Suite *stub_suite(void);
Suite *gateway_faults_suite(void);
Suite *gateway_more_suite(void);

#endif
