#ifndef TB_SUITES_H
#define TB_SUITES_H

#include "tk.h"

Suite *limits_suite(void);
Suite *down_suite(void);
Suite *pack_suite(void);
Suite *devices_suite(void);
Suite *session_suite(void);
Suite *rpc_suite(void);
Suite *broker_suite(void);

#endif
