/*
 * The files of mqtts: looked at now and then, taken over when they are good, handed to the client as
 * copies. How long the certificates last is a gauge, and is said once a day when it is not long.
 */
#ifndef MQTT_CERTS_H
#define MQTT_CERTS_H

#include "client.h"
#include "files.h"

struct mqtt_certs {
    const struct tpc_host *host;
    void *ctx;
    struct mqtt_client *client;
    struct tls_files files;
    bool active;      /* there are files to look at */
    bool undelivered; /* the set was taken over, and the client does not have it yet */
    uint32_t reload_ms;
    uint32_t said;        /* a failure to look is in the log: its code */
    uint64_t reminded_ms; /* monotonic; 0 = not yet */
    pthread_mutex_t lock;
    bool stopping;  /* under the lock */
    uint64_t timer; /* under the lock */
};

/* Reads the files that config names and hands them to the client. reload_ms 0 = they are not looked at
 * again. 0, or a code of which the host has been told why. */
int mqtt_certs_init(struct mqtt_certs *s, const struct tpc_host *host, void *ctx,
                    const struct mqtt_client_config *config, uint32_t reload_ms,
                    struct mqtt_client *client);
int mqtt_certs_start(struct mqtt_certs *s);
void mqtt_certs_stop(struct mqtt_certs *s);
/* Also of one that is all zero. */
void mqtt_certs_fini(struct mqtt_certs *s);

#endif
