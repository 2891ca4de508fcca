/*
 * Inside of the client: its state, and what paho calls. client.c makes the calls into paho.
 */
#ifndef MQTT_CLIENT_STATE_H
#define MQTT_CLIENT_STATE_H

#include "client.h"
#include "socket.h"
#include "url.h"
#include "verify.h"

#include <MQTTAsync.h>

enum { MQTT_REASON_MAX = 160, MQTT_LEAVE_STEP_MS = 20, MQTT_LEAVE_MS = 5000 };

/* What paho knows of a publish that it was given. Paho forgets one now and then whose connection is lost, or
 * tells of it on a later one: such a one stays when its publish has ended. */
struct mqtt_token {
    struct mqtt_token *next; /* of those without a publish */
    struct mqtt_client *client;
    struct mqtt_publish *publish; /* NULL = it was told already */
};

/* A publish: queued, then in flight, then done. */
struct mqtt_publish {
    struct mqtt_publish *next;
    struct mqtt_client *client;
    struct mqtt_token *token; /* in flight */
    tpc_link_done_fn *done;
    void *user;
    uint32_t qos;
    bool retain, ended;
    int code;       /* once ended */
    int32_t native; /* the broker's reason */
    size_t topic_len, payload_len;
    char bytes[]; /* topic, NUL, payload */
};

struct mqtt_subscription {
    char *filter;
    uint32_t qos;
    bool asked; /* on this connection */
};

enum mqtt_state { MQTT_DOWN, MQTT_CONNECTING, MQTT_UP };

struct mqtt_client {
    const struct tpc_host *host;
    void *ctx;
    struct mqtt_client_config config; /* texts are ours */
    char url[MQTT_URL_MAX];           /* as paho writes it */
    uint16_t port;
    MQTTAsync paho; /* our thread's, as are the next three */
    struct mqtt_sockets before;
    struct mqtt_found found; /* paho's socket; written under the lock */
    pthread_t thread;
    bool running, made;
    struct tls_copy *files; /* of the connection; NULL = those of the configuration */

    pthread_mutex_t lock; /* over all that follows; never held during a call into paho */
    pthread_cond_t changed;
    enum mqtt_state state;
    bool stopping, cut;
    bool apart;   /* another client connected in the same moment: not so next time */
    bool lost;    /* the connection that was up, or being made, is gone */
    bool came_up; /* it is up: our thread has to say so and subscribe */
    bool session_present;
    bool no_version_5; /* the broker said so */
    struct mqtt_client_facts facts;
    struct tls_copy *next_files; /* for the next connection; NULL = no other ones */
    bool renew;                  /* they shall be used soon */
    bool renewing;               /* we left a connection for that: to others it is still up */
    int64_t leave_ms; /* monotonic: when what is on its way is not waited for; 0 = not set */
    bool unasked;     /* some filter was not asked for on this connection */
    char reason[MQTT_REASON_MAX];
    bool distrusted;        /* OpenSSL refuses the broker's certificate, in this try */
    bool early_told;        /* it is not valid yet: that is in the log */
    uint64_t leave_arrived; /* arrived, when leave_ms was set */
    uint64_t arrived;       /* messages that on_message was called with */
    uint32_t callbacks;     /* on_message calls that have not returned */
    struct mqtt_subscription subscriptions[MQTT_SUBSCRIPTIONS_MAX];
    uint32_t subscription_count;
    struct mqtt_publish *first, *last; /* queue */
    uint32_t queued;
    size_t queued_bytes;
    struct mqtt_publish *inflight; /* list; given to paho and not ended */
    struct mqtt_publish *ended;    /* list; to be told, in the order of their ends */
    struct mqtt_publish *ended_last;
    struct mqtt_token *forgotten; /* list */
    uint32_t inflight_count;
    uint32_t inflight_max; /* of this connection: the broker may take less than the config says */
};

/* Callbacks of paho: they note what happened and wake our thread. */
int mqtt_on_tls_error(const char *text, size_t len, void *user);
void mqtt_on_lost(void *user, char *cause);
void mqtt_on_disconnected(void *user, MQTTProperties *properties, enum MQTTReasonCodes code);
void mqtt_on_connect(void *user, MQTTAsync_successData *data);
void mqtt_on_connect5(void *user, MQTTAsync_successData5 *data);
void mqtt_on_connect_failed(void *user, MQTTAsync_failureData *data);
void mqtt_on_connect_failed5(void *user, MQTTAsync_failureData5 *data);
int mqtt_on_arrived(void *user, char *topic, int topic_len, MQTTAsync_message *message);
void mqtt_on_published(void *user, MQTTAsync_successData *data);
void mqtt_on_published5(void *user, MQTTAsync_successData5 *data);
void mqtt_on_publish_failed(void *user, MQTTAsync_failureData *data);
void mqtt_on_publish_failed5(void *user, MQTTAsync_failureData5 *data);
void mqtt_on_subscribed(void *user, MQTTAsync_successData *data);
void mqtt_on_subscribed5(void *user, MQTTAsync_successData5 *data);
void mqtt_on_subscribe_failed(void *user, MQTTAsync_failureData *data);
void mqtt_on_subscribe_failed5(void *user, MQTTAsync_failureData5 *data);

/* Marks a publish as ended; our thread tells of it. native: the broker's reason code. The token is gone. */
void mqtt_note_ended(struct mqtt_token *t, int code, int32_t native);
/* Under the lock. */
void mqtt_add_ended(struct mqtt_client *c, struct mqtt_publish *p);
/* Ends what paho has not ended though its connection is gone. Under the lock. */
void mqtt_end_forgotten(struct mqtt_client *c);
/* Counts and logs a subscription that the broker refuses. */
void mqtt_subscribe_failed(struct mqtt_client *c, int code);

#endif
