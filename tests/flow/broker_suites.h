#ifndef BROKER_SUITES_H
#define BROKER_SUITES_H

#include "tk.h"

Suite *broker_suite(void);

#endif
