#ifndef UDP_SUITES_H
#define UDP_SUITES_H

#include <check.h>

Suite *unwrap_suite(void);
Suite *udp_suite(void);
Suite *core_suite(void);

#endif
