#ifndef SMTP_SUITES_H
#define SMTP_SUITES_H

#include "tk.h"

Suite *mail_suite(void);
Suite *smtp_suite(void);

#endif
