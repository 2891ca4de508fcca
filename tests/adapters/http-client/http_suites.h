#ifndef HTTP_SUITES_H
#define HTTP_SUITES_H

#include "tk.h"

Suite *syntax_suite(void);
Suite *client_suite(void);

#endif
