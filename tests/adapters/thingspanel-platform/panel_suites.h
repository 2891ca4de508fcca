#ifndef PANEL_SUITES_H
#define PANEL_SUITES_H

#include "tk.h"

Suite *allow_suite(void);
Suite *panel_suite(void);
Suite *told_suite(void);

#endif
