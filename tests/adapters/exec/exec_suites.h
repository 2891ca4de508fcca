#ifndef EXEC_SUITES_H
#define EXEC_SUITES_H

#include "tk.h"

Suite *fill_suite(void);
Suite *exec_suite(void);

#endif
