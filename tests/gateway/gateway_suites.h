#ifndef GATEWAY_SUITES_H
#define GATEWAY_SUITES_H

#include <tk.h>

Suite *stub_suite(void);
Suite *gateway_platform_suite(void);
Suite *gateway_itself_suite(void);
Suite *gateway_field_suite(void);
Suite *gateway_more_suite(void);

#endif
