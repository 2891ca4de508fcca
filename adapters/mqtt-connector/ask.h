/*
 * Devices that ask for attributes: the service thingsboard.attributes answers, if there is one. An answer
 * may come when the connector has stopped already: what is asked holds the struct below, not the connector.
 */
#ifndef CONNECTOR_ASK_H
#define CONNECTOR_ASK_H

#include "config.h"

struct cn_asks;

/* client is used until cn_asks_stop() has returned. Returns 0 or TPC_ENOMEM. */
int cn_asks_create(const struct tpc_host *host, void *ctx, struct mqtt_client *client,
                   struct cn_asks **ret);
/* In start(): looks for the service. */
void cn_asks_start(struct cn_asks *a);
/* From here nothing is published and no host is called; start() may follow. */
void cn_asks_stop(struct cn_asks *a);
struct cn_asks *cn_asks_destroy(struct cn_asks *a);

/* A device asks. Returns 0, TPC_EDECODE (its expression matches nothing) or TPC_ENOMEM. q lives as long as
 * the configuration. */
int cn_ask(struct cn_asks *a, const struct cn_request *q, const struct expr_message *m,
           struct tpc_str device, struct tpc_arena *arena);

#endif
