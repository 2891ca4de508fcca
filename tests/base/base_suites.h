#ifndef BASE_SUITES_H
#define BASE_SUITES_H

#include "tk.h"

Suite *alloc_suite(void);
Suite *buf_suite(void);
Suite *crypto_suite(void);
Suite *env_suite(void);
Suite *error_suite(void);
Suite *files_suite(void);
Suite *map_suite(void);
Suite *ring_suite(void);
Suite *wheel_suite(void);

#endif
