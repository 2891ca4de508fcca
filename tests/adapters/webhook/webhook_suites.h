#ifndef WEBHOOK_SUITES_H
#define WEBHOOK_SUITES_H

#include "tk.h"

Suite *body_suite(void);
Suite *hook_suite(void);
Suite *platform_suite(void);

#endif
