/*
 * What ThingsPanel's broker does to messages of devices (contract thingspanel.md 1.2).
 */
#ifndef MOSQUITTO_WRAP_H
#define MOSQUITTO_WRAP_H

#include <stdbool.h>
#include <tpcore/bytes.h>

/* Whether messages on a topic are wrapped: the standard ones, not Alink's, which name the device. */
bool wrap_wanted(const char *topic);

/* Bytes that a wrapped message takes. */
size_t wrap_bytes(struct tpc_str device, size_t payload_len);

/* {"device_id":"..","values":"<base64>"} into at least wrap_bytes(); returns its length, 0 if the
 * device's key cannot be written as JSON. */
size_t wrap_write(struct tpc_str device, struct tpc_bytes payload, char *ret);

#endif
