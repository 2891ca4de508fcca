#ifndef WEB_SUITES_H
#define WEB_SUITES_H

#include "tk.h"

Suite *route_suite(void);
Suite *rate_suite(void);
Suite *server_suite(void);
Suite *framing_suite(void);
Suite *wait_suite(void);
Suite *memory_suite(void);
Suite *tls_suite(void);

#endif
