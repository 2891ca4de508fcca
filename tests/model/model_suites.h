#ifndef MODEL_SUITES_H
#define MODEL_SUITES_H

#include "tk.h"

Suite *model_suite(void);
Suite *limits_suite(void);
Suite *exchange_suite(void);

#endif
