#ifndef MODBUS_SUITES_H
#define MODBUS_SUITES_H

#include "tk.h"

Suite *pdu_suite(void);
Suite *value_suite(void);
Suite *plan_suite(void);
Suite *bus_suite(void);
Suite *modbus_suite(void);
Suite *peers_suite(void);
Suite *modbus_text_suite(void);
Suite *loss_suite(void);
Suite *accepted_suite(void);

#endif
