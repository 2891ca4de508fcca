/* What paho says, on its threads. */
#include "client_state.h"

#include <stdio.h>
#include <string.h>

static void note_lost(struct mqtt_client *c, const char *text, int code)
{
    pthread_mutex_lock(&c->lock);
    if (!c->lost) {
        if (text != NULL && text[0] != '\0') {
            snprintf(c->reason, sizeof(c->reason), "%s", text);
        } else if (c->reason[0] == '\0') {
            snprintf(c->reason, sizeof(c->reason), "code %d", code);
        }
    }
    c->lost = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void note_up(struct mqtt_client *c, bool session_present)
{
    pthread_mutex_lock(&c->lock);
    c->came_up = true;
    c->session_present = session_present;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_lost(void *user, char *cause)
{
    note_lost(user, cause, 0);
}

/* MQTT 5: the broker says why it will close the connection; mqtt_on_lost() follows. */
void mqtt_on_disconnected(void *user, MQTTProperties *properties, enum MQTTReasonCodes code)
{
    struct mqtt_client *c = user;
    const char *text = MQTTReasonCode_toString(code);
    (void) properties;
    pthread_mutex_lock(&c->lock);
    snprintf(c->reason, sizeof(c->reason), "%s", text != NULL ? text : "the broker ended it");
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_connect(void *user, MQTTAsync_successData *data)
{
    note_up(user, data->alt.connect.sessionPresent != 0);
}

/* Paho holds what is beyond the broker's Receive Maximum (MQTT 5 3.2.2.3.3) back, and looks at it again
 * once a second. */
static void take_receive_maximum(struct mqtt_client *c, MQTTAsync_successData5 *data)
{
    int most =
        MQTTProperties_hasProperty(&data->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM)
            ? MQTTProperties_getNumericValue(&data->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM)
            : 0;
    pthread_mutex_lock(&c->lock);
    if (most > 0 && (uint32_t) most < c->inflight_max) {
        c->inflight_max = (uint32_t) most;
    }
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_connect5(void *user, MQTTAsync_successData5 *data)
{
    take_receive_maximum(user, data);
    note_up(user, data->alt.connect.sessionPresent != 0);
}

void mqtt_on_connect_failed(void *user, MQTTAsync_failureData *data)
{
    static const char *const refusals[] = { "",
                                            "the broker refuses this protocol version",
                                            "the broker refuses the client id",
                                            "the broker is unavailable",
                                            "the broker refuses user or password",
                                            "the broker refuses: not authorised" };
    int code = data != NULL ? data->code : 0;
    const char *text = data != NULL ? data->message : NULL;
    if (code > 0 && code < (int) (sizeof(refusals) / sizeof(refusals[0]))) {
        text = refusals[code];
    }
    note_lost(user, text, code);
}

void mqtt_on_connect_failed5(void *user, MQTTAsync_failureData5 *data)
{
    const char *text = data != NULL ? data->message : NULL;
    if (data != NULL && text == NULL && data->reasonCode > 0) {
        text = MQTTReasonCode_toString(data->reasonCode);
    }
    note_lost(user, text, data != NULL ? data->code : 0);
}

int mqtt_on_arrived(void *user, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct mqtt_client *c = user;
    struct mqtt_incoming m = { .packet_id = (uint32_t) message->msgid,
                               .qos = (uint32_t) message->qos,
                               .redelivered = message->dup != 0,
                               .retained = message->retained != 0 };
    m.topic.ptr = topic;
    m.topic.len = topic_len > 0 ? (size_t) topic_len : strlen(topic);
    m.payload.ptr = message->payload;
    m.payload.len = message->payloadlen > 0 ? (size_t) message->payloadlen : 0;
    pthread_mutex_lock(&c->lock);
    c->callbacks++;
    c->arrived++;
    pthread_mutex_unlock(&c->lock);
    c->config.on_message(c->config.user_data, &m);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    pthread_mutex_lock(&c->lock);
    c->callbacks--;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return 1;
}

static void unlink_inflight(struct mqtt_client *c, struct mqtt_publish *p)
{
    struct mqtt_publish **at = &c->inflight;
    while (*at != NULL && *at != p) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = p->next;
        c->inflight_count--;
    }
}

/* paho says each publish's end once; the client itself ends those that paho forgot. */
void mqtt_note_ended(struct mqtt_publish *p, int code)
{
    struct mqtt_client *c = p->client;
    pthread_mutex_lock(&c->lock);
    if (!p->ended) {
        p->ended = true;
        p->code = code;
        unlink_inflight(c, p);
        p->next = c->ended;
        c->ended = p;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_published(void *user, MQTTAsync_successData *data)
{
    (void) data;
    mqtt_note_ended(user, 0);
}

void mqtt_on_published5(void *user, MQTTAsync_successData5 *data)
{
    /* Codes below 128 are good ones; 16 says that nobody listens. */
    mqtt_note_ended(user, data->reasonCode >= 128 ? TPC_EDENIED : 0);
}

void mqtt_on_publish_failed(void *user, MQTTAsync_failureData *data)
{
    (void) data;
    mqtt_note_ended(user, TPC_EOFFLINE);
}

void mqtt_on_publish_failed5(void *user, MQTTAsync_failureData5 *data)
{
    mqtt_note_ended(user, data != NULL && data->reasonCode >= 128 ? TPC_EDENIED : TPC_EOFFLINE);
}

void mqtt_subscribe_failed(struct mqtt_client *c, int code)
{
    c->host->count(c->ctx, "subscribe_refused", 1);
    c->host->log(c->ctx, TPC_LOG_ERROR, "the broker refuses a subscription (code %d)", code);
}

/* One filter in a request: its granted QoS, or 128 and above. */
static void note_subscribed(const struct mqtt_client *c)
{
    c->host->count(c->ctx, "subscribed", 1);
}

void mqtt_on_subscribed(void *user, MQTTAsync_successData *data)
{
    if (data->alt.qos > 2) {
        mqtt_subscribe_failed(user, data->alt.qos);
    } else {
        note_subscribed(user);
    }
}

void mqtt_on_subscribed5(void *user, MQTTAsync_successData5 *data)
{
    if (data->reasonCode >= 128) {
        mqtt_subscribe_failed(user, (int) data->reasonCode);
    } else {
        note_subscribed(user);
    }
}

void mqtt_on_subscribe_failed(void *user, MQTTAsync_failureData *data)
{
    if (data != NULL && data->code >= 0) { /* below: the connection went away */
        mqtt_subscribe_failed(user, data->code);
    }
}

void mqtt_on_subscribe_failed5(void *user, MQTTAsync_failureData5 *data)
{
    if (data != NULL && data->reasonCode >= 128) {
        mqtt_subscribe_failed(user, (int) data->reasonCode);
    }
}
