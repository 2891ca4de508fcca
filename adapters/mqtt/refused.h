/*
 * What a broker's plugin refused, as it publishes it for the platform on TPC_WHY_TOPIC: one failure of
 * one device or stranger as JSON (adapters/mosquitto/README.md has the members).
 */
#ifndef MQTT_REFUSED_H
#define MQTT_REFUSED_H

#include <tpcore/arena.h>
#include <tpcore/why.h>

/* Reads a report. Returns 0, TPC_EDECODE (not JSON, no device, no such stage) or TPC_ENOMEM. Views live
 * in the arena; the tenant is empty. */
int mqtt_refused_read(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_why *ret);

#endif
