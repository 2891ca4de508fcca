/*
 * One connection to a broker over paho's MQTTAsync, with what paho leaves to us: reconnecting with
 * back-off, subscribing again, a bounded queue of publishes.
 *
 * Threads. One thread of ours makes every call into paho; none is made with a lock of ours held,
 * and paho's callbacks only note what happened. on_message is called on paho's receive thread and
 * may block: the broker gets its acknowledgement when it returns, whatever it returns. So it
 * returns only when the message is safe, or when mqtt_client_stop() has cut the connection first.
 */
#ifndef MQTT_CLIENT_H
#define MQTT_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <tpcore/ext/host.h>
#include <tpcore/ext/link.h>

#include "copy.h"

enum {
    MQTT_NO_LOCAL = 4, /* as in the options of a subscription (MQTT 5 section 3.8.3.1) */
    MQTT_SUBSCRIPTIONS_MAX = 96,
    MQTT_QUEUE_MAX = 4096,          /* publishes that wait for their turn */
    MQTT_QUEUE_BYTES_MAX = 8 << 20, /* of their topics and payloads */
    MQTT_INFLIGHT_LIMIT = 1024,     /* greatest max_inflight */
    MQTT_CONNECT_TIMEOUT_S = 10,
    MQTT_DISCONNECT_MS = 1000,
    MQTT_APART_MS = 1000, /* pause after a connection whose socket was not known for sure */
    /* stop() waits so long for a message that is being worked on, and a change of files for publishes
     * that are on their way */
    MQTT_SETTLE_MS = 1000
};

struct mqtt_incoming {
    struct tpc_str topic;
    struct tpc_bytes payload;
    uint32_t packet_id;
    uint32_t qos;
    bool redelivered, retained;
};

struct mqtt_client_config {
    const char *url;             /* mqtt://host[:port] or mqtts://host[:port] */
    const char *user, *password; /* NULL = none */
    const char *client_id;
    const char *ca, *cert,
        *key;    /* PEM files; NULL = none. Read unless mqtt_client_renew() was called */
    bool verify; /* the server's certificate and name */
    bool clean_start;
    /* Beside clean_start: a publish whose end was told does not go on the next connection, as paho would
     * have it. on_message must not wait for anything then. */
    bool start_over;
    uint32_t version; /* 4 = 3.1.1, 5 */
    bool fall_back;   /* to 3.1.1 for good, when the broker says that it has no 5 */
    uint32_t session_expiry_s;
    uint32_t keep_alive_s;
    uint32_t max_inflight;
    uint32_t retry_min_ms, retry_max_ms;

    void *user_data;
    void (*on_message)(void *user, const struct mqtt_incoming *m);
    void (*on_up)(void *user, bool session_present); /* our thread, before it subscribes */
    void (*on_down)(void *user);                     /* our thread */
};

struct mqtt_client;

/* What is known of the connection that is up, or was up last. */
struct mqtt_client_facts {
    uint32_t version;     /* 4 or 5 */
    uint32_t packet_max;  /* bytes that the broker takes in a packet; 0 = it did not say */
    uint32_t receive_max; /* publishes on their way that it takes; 0 = it did not say */
    uint32_t end_code;    /* MQTT 5: why the broker ended it, a reason code; 0 = not said */
};

/* Copies config and its texts. TPC_EINVAL (url), TPC_ENOMEM; the host has been told why. */
int mqtt_client_create(const struct tpc_host *host, void *ctx,
                       const struct mqtt_client_config *config, struct mqtt_client **ret);
/* Starts the thread; never waits for the broker. */
int mqtt_client_start(struct mqtt_client *c);
/* Cuts the connection and ends the thread. Publishes that are not done end with TPC_EOFFLINE. */
void mqtt_client_stop(struct mqtt_client *c);
struct mqtt_client *mqtt_client_destroy(struct mqtt_client *c);

/* Any thread; within on_up and on_down those of that connection. */
void mqtt_client_facts(struct mqtt_client *c, struct mqtt_client_facts *ret);

/* Any thread. As tpc_link_ops.publish; native of its error is the broker's reason code, 0 = none. */
int mqtt_client_publish(struct mqtt_client *c, struct tpc_str topic, struct tpc_bytes payload,
                        uint32_t qos, bool retain, tpc_link_done_fn *done, void *user);
/* Any thread: subscribes now, if connected, and after each connect. TPC_EAGAIN = too many. qos may have
 * MQTT_NO_LOCAL in it: with MQTT 5 we do not hear what we publish ourselves. */
int mqtt_client_subscribe(struct mqtt_client *c, const char *filter, uint32_t qos);

/*
 * Any thread: other files for TLS, which are the client's from now on. A connection that is up is ended
 * as a client ends it and made anew with them: publishes on their way get MQTT_SETTLE_MS before, new
 * ones wait, and nobody is told of it unless the broker cannot be reached again. Between two tries they
 * are tried at once.
 */
void mqtt_client_renew(struct mqtt_client *c, struct tls_copy *files);

/*
 * From on_message: cuts the connection, so that the acknowledgement of the message that is worked on reaches
 * nobody; on_message returns then, and all that paho does in this process goes on. A broker that keeps the
 * session sends the message again on the next connection. False: the socket is not known, nothing was done.
 */
bool mqtt_client_drop(struct mqtt_client *c);

/* Whether stop() has cut the connection: a message that is not safe yet may be let go. */
bool mqtt_client_is_cut(struct mqtt_client *c);

#endif
