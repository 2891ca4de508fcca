/*
 * A small MQTT 3.1.1 client for the simulator: one socket, QoS 0 and 1, no threads. What was not
 * acknowledged is sent again, marked as a duplicate, after a reconnect (MQTT 3.1.1 section 4.4).
 */
#ifndef SIM_BROKER_H
#define SIM_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum {
    BROKER_TOPIC_MAX = 160,
    BROKER_PAYLOAD_MAX = 512, /* of a publish of ours */
    BROKER_INFLIGHT_MAX = 64,
    BROKER_IN_MAX = 65536, /* of a packet to us */
    BROKER_KEEP_ALIVE_S = 30
};

struct broker_publish {
    char topic[BROKER_TOPIC_MAX];
    uint8_t payload[BROKER_PAYLOAD_MAX];
    size_t len;
    uint64_t tag;       /* given back when it is acknowledged */
    uint16_t packet_id; /* 0 = free slot */
    bool sent;          /* at least once: the next time it is a duplicate */
};

struct broker;
typedef void broker_message_fn(void *user, struct tpc_str topic, struct tpc_bytes payload);
typedef void broker_acked_fn(void *user, uint64_t tag);

enum broker_state { BROKER_DOWN, BROKER_CONNECTING, BROKER_WAIT_CONNACK, BROKER_UP };

struct broker {
    const char *host;
    uint16_t port;
    const char *user_name;
    const char *password;
    char client_id[64];
    char filter[BROKER_TOPIC_MAX]; /* subscribed after each connect; "" = none */
    broker_message_fn *on_message;
    broker_acked_fn *on_acked;
    void *user;

    int fd;
    enum broker_state state;
    int64_t next_try_ms;
    uint32_t pause_ms;
    int64_t last_sent_ms;
    uint16_t next_packet_id;
    struct broker_publish inflight[BROKER_INFLIGHT_MAX];
    uint32_t inflight_count;
    uint8_t *out; /* bytes not yet taken by the socket */
    size_t out_len, out_cap;
    uint8_t *in;
    size_t in_len;
    uint64_t connects;
};

/* 0, or -1 without memory. The texts must outlive the client. */
int broker_init(struct broker *b, const char *host, uint16_t port, const char *client_id);
void broker_fini(struct broker *b);

/* Takes one message at QoS 1; false = too many in flight. It leaves when the connection is up. */
bool broker_publish(struct broker *b, const char *topic, const void *payload, size_t len,
                    uint64_t tag);

/* Connects when due, sends keep-alives. Returns the poll events to wait for. */
short broker_tick(struct broker *b, int64_t now_ms);

/* Works on what poll() reported. */
void broker_ready(struct broker *b, short events, int64_t now_ms);

#endif
