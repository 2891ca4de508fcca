/*
 * What the simulator pretends to be: thermostats that speak Alink-style JSON, power meters that
 * send 16-byte frames on a topic of their own, fans that take commands, thermostats made for
 * ThingsPanel, and gateways with three rooms behind each. Every payload carries the device's own
 * sequence number. Each logs in with credentials of its own: an HMAC by its secret, "secret-of-KEY"
 * (Alink), or its key and "KEY-password" (ThingsPanel).
 */
#ifndef SIM_DEVICES_H
#define SIM_DEVICES_H

#include "broker.h"

#include <stdio.h>
#include <tpcore/arena.h>

enum device_kind {
    DEVICE_THERMOSTAT,
    DEVICE_METER,
    DEVICE_FAN,
    DEVICE_PANEL,
    DEVICE_GATEWAY,
    DEVICE_KINDS
};

struct counts {
    uint64_t published;    /* acknowledged by the broker, distinct */
    uint64_t commands;     /* distinct ones that reached a fan */
    uint64_t acknowledged; /* whose answer the broker took */
};

enum { DEVICE_COMMANDS_MAX = 64, DEVICE_ROOMS = 3 /* behind a gateway */ };

struct device {
    enum device_kind kind;
    char key[32];
    char user_name[64];
    char password[80];
    uint32_t number;
    uint32_t seq; /* of the last payload */
    int64_t next_ms;
    bool on;            /* a fan's state */
    bool state_pending; /* it changed and was not reported */
    double energy_wh;
    uint64_t answered[DEVICE_COMMANDS_MAX]; /* hashes of the last request ids */
    uint32_t answered_count;
    struct counts *counts;
    FILE *seq_file; /* "key seq" for each acknowledged payload; may be NULL */
    struct tpc_arena *arena;
    struct broker broker;
};

/* 0 or -1 without memory. */
int device_init(struct device *d, enum device_kind kind, uint32_t number, const char *host,
                uint16_t port, struct counts *counts, FILE *seq_file);
void device_fini(struct device *d);

/* Devices that report through this connection. */
uint32_t device_count(const struct device *d);

/* Reports when due. period_ms between two reports; elapsed_ms drives the measured values. */
void device_run(struct device *d, int64_t now_ms, uint32_t period_ms, int64_t elapsed_ms);

#endif
