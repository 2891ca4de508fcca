/*
 * A registry with two products and some devices in a memory store, and rules on top: what scenes
 * need to be tested as they run.
 */
#ifndef RULES_HOUSE_H
#define RULES_HOUSE_H

#include "entity/entity.h"
#include "registry/device.h"
#include "rules/alert.h"
#include "rules/chain.h"
#include "rules/rules.h"
#include "tk_env.h"

enum {
    HOUSE_COMMANDS = 256,
    HOUSE_WORKERS = 2,
    HOUSE_PARTITIONS = 4,
    HOUSE_TOLD = 1024,
    HOUSE_INPUTS = 256,
    HOUSE_FANS = 512
};

struct house_command {
    struct tpc_id id;
    char text[120]; /* "source target service params" */
    uint32_t priority;
    uint32_t timeout_ms;
    uint32_t retries;
    bool again;
};

/* What the core was asked to append. */
struct house_message {
    struct tpc_id id;
    char text[240]; /* "by kind device name params" */
    uint32_t partition;
};

/* What went to the owner of windows over several devices. */
struct house_input {
    uint32_t partition;
    int64_t received_unix_ms;
    uint8_t raw[200];
    size_t len;
};

/* What alerts appended. */
struct house_told {
    struct tpc_id id;
    uint16_t kind;
    char text[96]; /* "raise hot t1 major", "notify ops raise" */
    uint64_t device_id;
    int64_t unix_ms;
    uint32_t partition;
    uint8_t *body;
    size_t len;
};

struct house {
    struct tk_env env;
    void *store;
    struct tpi_registry *registry;
    struct tpi_entities *entities;
    struct tpi_rules *rules;
    struct tpi_alerts *alerts;
    struct tpi_alerts_host alert_limits; /* keep_ms, keep_rows, open_max */
    unsigned told_count;
    struct house_told told[HOUSE_TOLD];
    unsigned said_count; /* how many of them host.said() knows */
    int told_code;       /* what append() answers */
    const char *model;   /* of product "thermo" */
    struct tpc_error err;
    uint64_t offset;
    atomic_uint command_count;
    struct house_command commands[HOUSE_COMMANDS];
    atomic_uint message_count;
    struct house_message messages[HOUSE_COMMANDS];
    unsigned input_count;
    unsigned input_done;
    int input_code; /* what the core answers */
    struct house_input inputs[HOUSE_INPUTS];
    struct tpi_chain_link links[HOUSE_COMMANDS]; /* of the commands */
    unsigned fan_count;
    struct house_fan {
        struct tpi_fan *fan;
        uint32_t worker;
    } fans[HOUSE_FANS]; /* not done yet */
    unsigned switch_count;
    char switches[16][96]; /* "by kind key on" */
    atomic_uint wakes;     /* a worker was told to look at its schedules */
    uint16_t data_kind;    /* of messages with points; 0 = telemetry */
    int64_t event_ms;      /* time of the messages' events */
    int command_code;      /* what the core answers */
    bool count_only;
};

/* Products thermo (temperature, humidity, on, mode) and fan (on, level 0..5; service boost(level)),
 * devices t1, t2, t3, fan-1. */
struct house *house_new(void);
void house_free(struct house *h);

/* Registry, entities and rules anew from the same store. Returns what the load said. */
int house_restart(struct house *h);

/* Puts a document; quotes may be written as '. Returns what the entities said; h->err tells more.
 */
int house_put(struct house *h, const char *kind, const char *json);
int house_delete(struct house *h, const char *kind, const char *key);

/* A scene "key" over product thermo with one action: set on of fan-1. */
int house_scene(struct house *h, const char *key, const char *expr, const char *fire);

/* A message of a device with `count` points (key, value). Its partition is the device's. */
struct house_point {
    const char *key;
    double value; /* of a bool: 0 or 1 */
};
void house_say(struct house *h, const char *device, const struct house_point *points, size_t count);
void house_temperature(struct house *h, const char *device, double value);

/* What was sent to owners comes in; house_say() does it. */
void house_inputs(struct house *h);

/* An event, or a message about presence. */
void house_tell(struct house *h, const char *device, uint16_t kind, const char *name, bool online);

/* What the core does after a batch: links of commands are remembered; fans are done with all devices of
 * a product, or with t1 and t2. */
void house_settle(struct house *h);

/* Time goes by; returns how many pairs that waited fired. */
uint32_t house_wait(struct house *h, uint64_t ms);

uint64_t house_id(struct house *h, const char *kind, const char *key);

/* Says what the rules' worker would: on any thread. */
void house_message(struct house *h, struct tpc_device *device, uint64_t offset,
                   const struct house_point *points, size_t count);

#endif
