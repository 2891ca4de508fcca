/*
 * Dynamic registration of Alink devices (contract iot-module.md section 4): what a broker's plugin, or
 * a device that may say only that, publishes on /sys/{product}/{device}/thing/auth/register.
 */
#ifndef MQTT_ENROLL_H
#define MQTT_ENROLL_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/auth.h>

enum { MQTT_ENROLL_BYTES = 1024 }; /* of an answer */

struct mqtt_enroll {
    struct tpc_str id; /* of the request, for the answer */
    struct tpc_str product;
    struct tpc_str device;
    struct tpc_str sign;
};

/* Whether a topic is that of a request; its product and device are views into it. */
bool mqtt_enroll_topic(struct tpc_str topic, struct tpc_str *ret_product,
                       struct tpc_str *ret_device);

/* Reads a request. Returns 0, TPC_EDECODE (not JSON, members missing, or of another device than the
 * topic's) or TPC_ENOMEM. Views live in the arena. */
int mqtt_enroll_read(struct tpc_str product, struct tpc_str device, struct tpc_bytes payload,
                     struct tpc_arena *arena, struct mqtt_enroll *ret);

/* The answer: code 0 with the device's credentials (made), or 500 (made NULL) with a text. Returns its
 * length, 0 if it does not fit. */
size_t mqtt_enroll_write(const struct mqtt_enroll *e, const struct tpc_registration *made,
                         const char *message, char ret[MQTT_ENROLL_BYTES]);

#endif
