#ifndef FORMAT_SUITES_H
#define FORMAT_SUITES_H

#include "tk.h"

Suite *chunk_format_suite(void);

#endif
