#ifndef LUA_RULES_SUITE_H
#define LUA_RULES_SUITE_H

#include "tk.h"

Suite *rules_suite(void);

#endif
