#ifndef TCP_SUITES_H
#define TCP_SUITES_H

#include "tk.h"

Suite *tcp_address_suite(void);
Suite *tcp_suite(void);
Suite *tcp_faults_suite(void);
Suite *tcp_tls_suite(void);
Suite *tcp_lend_suite(void);

#endif
