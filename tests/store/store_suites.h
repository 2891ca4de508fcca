#ifndef STORE_SUITES_H
#define STORE_SUITES_H

#include "tk.h"

Suite *chunk_suite(void);
Suite *chunk_series_suite(void);
Suite *history_suite(void);
Suite *read_suite(void);

#endif
