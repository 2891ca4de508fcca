#ifndef TLS_SUITES_H
#define TLS_SUITES_H

#include <check.h>

Suite *files_suite(void);
Suite *copy_suite(void);

#endif
