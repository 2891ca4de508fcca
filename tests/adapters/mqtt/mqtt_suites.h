#ifndef MQTT_SUITES_H
#define MQTT_SUITES_H

#include "tk.h"

Suite *dialect_suite(void);
Suite *refused_suite(void);
Suite *url_suite(void);
Suite *mqtt_suite(void);
Suite *tb_suite(void);
Suite *certs_suite(void);

#endif
