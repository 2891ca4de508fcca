#ifndef SIM_SUITES_H
#define SIM_SUITES_H

#include "tk.h"

Suite *sim_suite(void);

#endif
