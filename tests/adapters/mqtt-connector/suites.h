#ifndef CONNECTOR_SUITES_H
#define CONNECTOR_SUITES_H

#include "tk.h"

TCase *pick_case(void);
TCase *path_case(void);
TCase *values_case(void);
TCase *convert_case(void);
TCase *core_case(void);
Suite *connector_suite(void);

#endif
