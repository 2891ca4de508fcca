/*
 * The broker's address. Pure text.
 */
#ifndef MQTT_URL_H
#define MQTT_URL_H

#include <stdint.h>

enum { MQTT_URL_MAX = 320 };

/* mqtt://host[:port] -> tcp://host:port, mqtts://... -> ssl://...; ports 1883 and 8883 where none
 * is said. An IPv6 address stands in brackets. 0 or TPC_EINVAL. */
int mqtt_url(const char *url, char ret[MQTT_URL_MAX], uint16_t *ret_port);

#endif
