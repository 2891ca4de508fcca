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

/* A line of OpenSSL's, while paho makes a connection. */
int mqtt_on_tls_error(const char *text, size_t len, void *user)
{
    static const char refused[] = "certificate verify failed";
    struct mqtt_client *c = user;
    if (memmem(text, len, refused, sizeof(refused) - 1) != NULL) {
        pthread_mutex_lock(&c->lock);
        c->distrusted = true;
        pthread_mutex_unlock(&c->lock);
    }
    return 1;
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
    c->facts.end_code = (uint32_t) code;
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_connect(void *user, MQTTAsync_successData *data)
{
    note_up(user, data->alt.connect.sessionPresent != 0);
}

static uint32_t number_of(MQTTProperties *all, enum MQTTPropertyCodes code)
{
    int64_t n =
        MQTTProperties_hasProperty(all, code) ? MQTTProperties_getNumericValue(all, code) : 0;
    return n > 0 && n <= UINT32_MAX ? (uint32_t) n : 0;
}

/* Paho holds what is beyond the broker's Receive Maximum (MQTT 5 3.2.2.3.3) back, and looks at it again
 * once a second. */
static void take_maxima(struct mqtt_client *c, MQTTAsync_successData5 *data)
{
    uint32_t most = number_of(&data->properties, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM);
    pthread_mutex_lock(&c->lock);
    c->facts.packet_max = number_of(&data->properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE);
    c->facts.receive_max = most;
    if (most > 0 && most < c->inflight_max) {
        c->inflight_max = most;
    }
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_connect5(void *user, MQTTAsync_successData5 *data)
{
    take_maxima(user, data);
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

/* 132 says it as MQTT 5 has it, 1 as brokers do that know 3.1.1 only. */
static void note_version(struct mqtt_client *c, int code)
{
    pthread_mutex_lock(&c->lock);
    c->no_version_5 =
        c->no_version_5 || code == 1 || code == MQTTREASONCODE_UNSUPPORTED_PROTOCOL_VERSION;
    pthread_mutex_unlock(&c->lock);
}

void mqtt_on_connect_failed5(void *user, MQTTAsync_failureData5 *data)
{
    if (data != NULL) {
        note_version(user, data->reasonCode > 0 ? (int) data->reasonCode : data->code);
    }
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
    bool late = c->cut;
    if (late) {
        /* It comes while the connection is being ended, and paho acknowledges whatever we say: to nobody, so
         * that the broker keeps it. */
        mqtt_sockets_cut(&c->found);
    }
    c->callbacks++;
    c->arrived++;
    pthread_mutex_unlock(&c->lock);
    if (!late) {
        c->config.on_message(c->config.user_data, &m);
    }
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

void mqtt_add_ended(struct mqtt_client *c, struct mqtt_publish *p)
{
    struct mqtt_publish **at = c->ended == NULL ? &c->ended : &c->ended_last->next;
    p->next = NULL;
    *at = p;
    c->ended_last = p;
}

/* Under the lock. */
static void end_publish(struct mqtt_publish *p, int code, int32_t native)
{
    struct mqtt_client *c = p->client;
    unlink_inflight(c, p);
    p->token = NULL;
    p->ended = true;
    p->code = code;
    p->native = native;
    mqtt_add_ended(c, p);
    pthread_cond_broadcast(&c->changed);
}

/* Paho says each publish's end at most once. */
void mqtt_note_ended(struct mqtt_token *t, int code, int32_t native)
{
    struct mqtt_client *c = t->client;
    const struct tpc_allocator *a = c->host->allocator;
    pthread_mutex_lock(&c->lock);
    if (t->publish != NULL) {
        end_publish(t->publish, code, native);
    } else {
        struct mqtt_token **at = &c->forgotten;
        while (*at != t) {
            at = &(*at)->next;
        }
        *at = t->next;
    }
    pthread_mutex_unlock(&c->lock);
    a->resize(a->user, t, sizeof(*t), 0);
}

void mqtt_end_forgotten(struct mqtt_client *c)
{
    while (c->inflight != NULL) {
        struct mqtt_publish *p = c->inflight;
        struct mqtt_token *t = p->token;
        if (t != NULL) {
            t->publish = NULL;
            t->next = c->forgotten;
            c->forgotten = t;
        }
        end_publish(p, TPC_EOFFLINE, 0);
    }
}

void mqtt_on_published(void *user, MQTTAsync_successData *data)
{
    (void) data;
    mqtt_note_ended(user, 0, 0);
}

/* What a PUBACK's reason says of the message (MQTT 5, 3.4.2.1): it is wrong, it comes too early, or it is
 * not allowed. */
static int code_of(int reason)
{
    switch (reason) {
    case 0x90: /* topic name invalid */
    case 0x95: /* packet too large */
    case 0x99: /* payload format invalid */
        return TPC_EDECODE;
    case 0x96: /* message rate too high */
    case 0x97: /* quota exceeded */
        return TPC_EAGAIN;
    default:
        return TPC_EDENIED;
    }
}

void mqtt_on_published5(void *user, MQTTAsync_successData5 *data)
{
    /* Codes below 128 are good ones; 16 says that nobody listens. */
    bool bad = data->reasonCode >= 128;
    mqtt_note_ended(user, bad ? code_of((int) data->reasonCode) : 0,
                    bad ? (int32_t) data->reasonCode : 0);
}

void mqtt_on_publish_failed(void *user, MQTTAsync_failureData *data)
{
    (void) data;
    mqtt_note_ended(user, TPC_EOFFLINE, 0);
}

void mqtt_on_publish_failed5(void *user, MQTTAsync_failureData5 *data)
{
    bool said = data != NULL && data->reasonCode >= 128;
    mqtt_note_ended(user, said ? code_of((int) data->reasonCode) : TPC_EOFFLINE,
                    said ? (int32_t) data->reasonCode : 0);
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
