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

/*
 * ThingsBoard's topics (contract thingsboard.md 1.2, 1.3) are the same for all of its devices. A device's
 * own message goes on as "tpcore/thingsboard/up/{key}/v1/..", so that the platform knows who spoke and no
 * other device hears it; what the platform publishes on "tpcore/thingsboard/down/{key}/v1/.." goes to
 * that device alone, on "v1/..".
 */
bool named_wanted(const char *topic);
/* Bytes that the topic with the key takes, with its NUL, and writing it. */
size_t named_bytes(struct tpc_str device, const char *topic);
void named_write(struct tpc_str device, const char *topic, char *ret);
/* The device's own topic, in the platform's; NULL = it is no such topic. */
const char *named_read(const char *topic, struct tpc_str *ret_device);

#endif
