/*
 * What comes down from ThingsPanel to a service (contract thingspanel 1.5, 1.7, 2): topics and payloads
 * only, no state. Texts and values are views into topic, payload and arena.
 */
#ifndef THINGSPANEL_DOWN_H
#define THINGSPANEL_DOWN_H

#include <stdint.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

enum {
    TP_SUB_GATEWAYS_MAX = 5,              /* levels of them */
    TP_PATH_MAX = TP_SUB_GATEWAYS_MAX + 1 /* and a device behind the last */
};

enum tp_down_kind {
    TP_DOWN_CONTROL = 1, /* devices/telemetry/control/{x}: params */
    TP_DOWN_SET,         /* devices/attributes/set/{x}/{mid}: params */
    TP_DOWN_GET,         /* devices/attributes/get/{x}: params = list of keys, empty = all */
    TP_DOWN_COMMAND      /* devices/command/{x}/{mid}: method, params */
};

struct tp_down {
    enum tp_down_kind kind;
    struct tpc_str x;   /* id or number of a device */
    struct tpc_str mid; /* empty where there is none */
    /* Addresses from the gateway to the device, as a nested payload has them; depth 0 = it has none, or
     * is for the gateway itself. */
    struct tpc_str path[TP_PATH_MAX];
    uint32_t depth;
    struct tpc_str method;
    struct tpc_value params; /* TPC_NULL = there are none */
};

/* Reads a topic. 0 with kind, x and mid in *ret and the rest zero; TPC_ENOENT: it is none of these. */
int tp_down_topic(struct tpc_str prefix, struct tpc_str topic, struct tp_down *ret);

/* Reads the payload, flat or nested, into what tp_down_topic() has made. 0; TPC_EDECODE with the detail;
 * TPC_ENOMEM. */
int tp_down_read(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_error *err,
                 struct tp_down *d);

#endif
