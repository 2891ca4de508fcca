/*
 * Who is connected: one entry for each connection that logged in, found by the broker's handle, and
 * one for each device, which counts its connections. A device is online while it has one: when a
 * client id is taken over the broker lets the new connection log in before it tells that the old one
 * ended, and nothing is published in between. The broker's thread alone.
 */
#ifndef MOSQUITTO_CLIENTS_H
#define MOSQUITTO_CLIENTS_H

#include <stdbool.h>
#include <time.h>
#include <tpcore/topic.h>

#include "base/map.h"

enum clients_walk { WALK_CHECK = 0, WALK_STATUS = 1, CLIENTS_WALKS = 2 };

struct client {
    const void *handle; /* struct mosquitto */
    struct tpc_identity who;
    bool wants_status;   /* it subscribed to the coming and going of devices just now */
    uint64_t held;       /* hash of a service user's client id; 0 = none */
    bool hears_why;      /* it subscribed to what was refused */
    bool told_retain;    /* the log says that its retained messages are refused */
    time_t until_s;      /* of a registration: it is sent away then; 0 = it may stay */
    struct client *next; /* in the list of all */
    struct client *prev;
};

struct clients {
    struct tpi_map64 by_handle; /* -> struct client */
    struct tpi_map64 devices;   /* number -> count of connections, as a pointer */
    struct tpi_map64 held;      /* hash of a service user's client id -> its connection */
    struct client *first;
    struct client *cursor[CLIENTS_WALKS]; /* where each walk over all stands */
    uint32_t wanting;                     /* with wants_status */
    uint32_t hearing;                     /* with hears_why */
};

void clients_init(struct clients *c);
void clients_fini(struct clients *c);

/* A connection logged in; an entry of the same handle is replaced. *ret_first: it is the device's only
 * one. Returns 0 or TPC_ENOMEM. */
int clients_add(struct clients *c, const void *handle, const struct tpc_identity *who,
                bool *ret_first);

/* NULL if it did not log in. */
struct client *clients_find(const struct clients *c, const void *handle);

/* A service user's client id is its own while it is connected. TPC_ENOMEM = it is not. */
int clients_hold_id(struct clients *c, struct client *n, const char *id);
bool clients_id_held(const struct clients *c, const char *id);

/* A connection ended. *ret_who is filled if it had logged in (true); *ret_last: its device has none
 * any more. */
bool clients_remove(struct clients *c, const void *handle, struct tpc_identity *ret_who,
                    bool *ret_last);

/* The connection that registers a device, or NULL. */
struct client *clients_registering(const struct clients *c, struct tpc_str product,
                                   struct tpc_str device);

/* Notes that a service user wants to know who is there; the walk of WALK_STATUS begins anew. */
void clients_want_status(struct clients *c, struct client *n);
/* One that wants to know, or NULL; clients_told() when it does. */
struct client *clients_wanting(const struct clients *c);
void clients_told(struct clients *c, struct client *n);

/* Notes that a service user hears what was refused, as long as it is connected. */
void clients_hear_why(struct clients *c, struct client *n);

/* The next one of a walk that goes round and round; NULL at the end of each round. */
struct client *clients_next(struct clients *c, enum clients_walk walk);

#endif
