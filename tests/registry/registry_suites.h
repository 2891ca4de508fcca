#ifndef REGISTRY_SUITES_H
#define REGISTRY_SUITES_H

#include "tk.h"

Suite *registry_suite(void);
Suite *latest_suite(void);
Suite *presence_suite(void);
Suite *topology_suite(void);
Suite *why_suite(void);
Suite *topic_map_suite(void);

#endif
