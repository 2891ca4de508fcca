#ifndef NET_SUITES_H
#define NET_SUITES_H

#include <check.h>

Suite *framing_suite(void);
Suite *auth_suite(void);
Suite *rules_suite(void);

#endif
