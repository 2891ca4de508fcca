/* Suites of this binary. */
#ifndef EXPR_SUITES_H
#define EXPR_SUITES_H

#include "tk.h"

Suite *expr_suite(void);
Suite *functions_suite(void);
Suite *template_suite(void);
Suite *script_suite(void);

#endif
