#ifndef ENTITY_SUITES_H
#define ENTITY_SUITES_H

#include "tk.h"

Suite *entity_suite(void);
Suite *batch_suite(void);
Suite *seal_suite(void);

#endif
