/*
 * Dialect "thingsboard": a gateway of ThingsBoard's on a local broker, with the devices that it keeps, or
 * many of them and devices that speak for themselves, where the broker's plugin says who speaks. It takes us for its platform: its devices are made when it names them, behind it; what it asks is
 * answered; numbers that stand for our commands' ids are remembered until it answers.
 *
 * Thread: request and prepare on the client's receive thread alone, the others on any.
 */
#ifndef MQTT_THINGSBOARD_H
#define MQTT_THINGSBOARD_H

#include "client.h"
#include "dialect.h"

#include "base/map.h"

#include <pthread.h>
#include <tpcore/ext/option.h>

enum {
    MQTT_TB_OPTION_COUNT = 8,
    MQTT_TB_CALLS = 1024, /* of ours that are remembered; the oldest is forgotten first */
    MQTT_TB_ID_BYTES = TPC_ID_TEXT_BYTES + 1
};
extern const struct tpc_option mqtt_tb_option_table[MQTT_TB_OPTION_COUNT];

struct mqtt_tb_options {
    struct tpc_str gateway;      /* key of its device; empty = each message says whose it is */
    struct tpc_str product;      /* key, of a gateway */
    struct tpc_str default_type; /* of devices whose type it does not say */
    struct tpc_str limits[3];    /* messages, telemetry messages, data points: "10:1,60:60" */
    uint32_t max_payload, max_inflight;
};

struct mqtt_tb_gate; /* answers that come later find their way, or that there is none any more */

struct mqtt_tb {
    const struct tpc_host *host;
    void *ctx;
    struct mqtt_client *client;
    const struct mqtt_tb_options *options;
    struct tpc_str tenant;
    uint32_t limit;                             /* names in `known` */
    struct tpi_map known;                       /* gateway, NUL and name of devices there */
    bool made;                                  /* the gateway itself */
    const struct tb_attributes_ops *attributes; /* NULL = nobody knows any */
    void *attributes_self;
    struct mqtt_tb_gate *gate;

    pthread_mutex_t lock;
    struct {
        uint32_t number; /* 0 = free */
        char id[MQTT_TB_ID_BYTES];
    } calls[MQTT_TB_CALLS];
    uint32_t next_call;
    char recalled[MQTT_TB_ID_BYTES];
    bool lock_made;
};

/* Reads the table "thingsboard". 0 or TPC_EINVAL; the host has been told why. */
int mqtt_tb_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                         struct mqtt_tb_options *ret);

/* tenant and options must outlive it. fini takes one that is all zero, too. */
int mqtt_tb_init(struct mqtt_tb *t, const struct tpc_host *host, void *ctx,
                 struct mqtt_client *client, const struct mqtt_tb_options *options,
                 struct tpc_str tenant, uint32_t limit);
void mqtt_tb_start(struct mqtt_tb *t); /* looks for who knows attributes */
void mqtt_tb_stop(struct mqtt_tb *t);  /* what is answered later is nothing to it any more */
void mqtt_tb_fini(struct mqtt_tb *t);

/* Whether the message was a request, or something that nobody takes: it is dealt with. */
bool mqtt_tb_request(struct mqtt_tb *t, const struct mqtt_incoming *in, struct mqtt_address *a);
/*
 * Before the message is handed over: makes the devices that it names, and finds the command that it
 * answers, for a->correlation. Returns 0; else it can be done later. What can never be done is told and
 * counted, and is no failure.
 */
int mqtt_tb_prepare(struct mqtt_tb *t, const struct mqtt_incoming *in, struct mqtt_address *a);

/* A call of ours leaves. */
void mqtt_tb_remember(struct mqtt_tb *t, struct tpc_str id);

#endif
