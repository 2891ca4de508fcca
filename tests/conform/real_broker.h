/*
 * A mosquitto of our own on a free port of the loopback, and devices that speak to it from the
 * test's thread.
 */
#ifndef REAL_BROKER_H
#define REAL_BROKER_H

#include "broker.h"

#include <stdbool.h>
#include <sys/types.h>

struct real_broker {
    uint16_t port;
    pid_t pid;       /* 0 = not running */
    char tls[256];   /* folder with ca.crt, server.crt and server.key; "" = no TLS */
    char log[256];   /* file for its log; "" = none */
    char more[1024]; /* lines at the end of its configuration */
};

bool real_broker_there(void);
/* Chooses a port; starts nothing. */
void real_broker_init(struct real_broker *b);
/* Starts it, again after a stop, and waits until it listens. It keeps nothing over a restart. */
void real_broker_start(struct real_broker *b);
/* Makes an authority ca.crt, a certificate server.crt for localhost and its key in a folder. false =
 * openssl is not installed. */
bool real_broker_make_tls(const char *dir);
/* The server's certificate anew: one that becomes valid in 2090; the other is right.crt then. */
bool real_broker_make_early(const char *dir);
/* SIGKILL. */
void real_broker_kill(struct real_broker *b);
/* Stops reading and writing, and goes on (SIGSTOP, SIGCONT). */
void real_broker_freeze(struct real_broker *b, bool frozen);

/* Runs the sockets of devices for at least ms, or until *until >= least (NULL: ms alone). */
void devices_run(struct broker *devices, uint32_t count, uint32_t ms, const uint64_t *until,
                 uint64_t least);

/* A device that is connected. end it with broker_fini(). */
void device_connect(struct broker *d, const struct real_broker *b, const char *client_id,
                    const char *filter, broker_message_fn *fn, void *user);

#endif
