/*
 * Dynamic registration over MQTT (contract iot-module.md sections 4 and 8): the plugin knows that the
 * sign is right and asks the platform to make the device; the platform answers on the reply topic.
 */
#ifndef MOSQUITTO_REGISTER_H
#define MOSQUITTO_REGISTER_H

#include <stdbool.h>
#include <tpcore/auth.h>

enum { REGISTER_TOPIC_BYTES = 320, REGISTER_BYTES = 2048 };

/* Topic and payload of the request. Returns the payload's length, 0 if it cannot be written: a key
 * that is no level of a topic. */
size_t register_write(const struct tpc_identity *who, const char *sign,
                      char ret_topic[REGISTER_TOPIC_BYTES], char ret[REGISTER_BYTES]);

/* Whether a topic is that of an answer; product and device are views into it. */
bool register_answer(const char *topic, struct tpc_str *ret_product, struct tpc_str *ret_device);

#endif
