/*
 * Inside the ThingsBoard stand-in: tb_stub.c is the server, tb_stub_mqtt.c the packets, and
 * tb_stub_platform.c what a ThingsBoard answers. Every function is called with the lock held.
 */
#ifndef TB_STUB_SERVER_H
#define TB_STUB_SERVER_H

#include "tb_stub.h"

#include <pthread.h>

enum {
    STUB_SESSIONS = 32,
    STUB_FILTERS = 32,
    STUB_PACKET_MAX = 1 << 20,
    STUB_TEXT = 4096,
    STUB_KEPT = 4096,    /* publishes that are no telemetry */
    STUB_KEPT_DATA = 64, /* and that are */
    STUB_OWED = 65536,   /* PUBACKs that wait for their time */
};

struct stub_buffer {
    uint8_t *bytes;
    size_t len, cap;
};

struct stub_owed {
    int64_t due_ms;
    uint16_t packet_id;
    uint8_t reason;
};

struct stub_session {
    int fd; /* -1 = free */
    bool up, closing;
    bool provisioning; /* user name "provision" */
    uint8_t version;
    struct stub_buffer in, out;
    size_t out_at; /* sent so far */
    char filters[STUB_FILTERS][128];
    uint32_t filter_count;
    uint16_t next_id;
    struct stub_owed *owed; /* a ring of STUB_OWED */
    uint32_t owed_head, owed_count;
};

struct stub_kept {
    uint64_t number; /* 0 = free */
    char *topic, *payload;
};

struct tb_stub {
    pthread_mutex_t lock;
    pthread_cond_t came;
    pthread_t thread;
    int listener, wake[2];
    uint16_t port;
    bool ending, stall, only_v3, away;
    char limits[STUB_TEXT], provision[STUB_TEXT], attributes[STUB_TEXT];
    bool no_limits;
    char user_name[128], password[128];
    bool any_user, any_password;
    uint8_t refuse_v3, refuse_v5;
    uint16_t receive_maximum;
    uint32_t packet_maximum;
    uint32_t drop_every, since_drop, puback_delay_ms;
    char refuse_text[256];
    uint8_t refuse_reason;
    uint32_t refuse_times; /* 0 = no end */
    struct stub_session sessions[STUB_SESSIONS];
    struct stub_kept kept[STUB_KEPT], kept_data[STUB_KEPT_DATA];
    uint64_t published; /* numbers of the kept ones */
    struct tb_stub_counts counts;
    struct samples *samples;
};

struct stub_text {
    const char *ptr;
    size_t len;
};

/* check's own assertions are for the test's thread: they write to a file that it has. This one ends
 * the process. */
void stub_must(bool good, const char *what);

/* Packets from x->in that are whole; closing is set where the client must go. */
void stub_packets(struct tb_stub *s, struct stub_session *x);
/* Owed PUBACKs that are due; returns the ms until the next, -1 if none. */
int stub_pubacks(struct tb_stub *s, struct stub_session *x, int64_t now_ms);
/* A publish to a session; false = it has not subscribed. */
bool stub_send(struct stub_session *x, const char *topic, const char *payload, size_t len);
/* A publish has come: counts it, keeps it, answers it as the platform. */
void stub_platform(struct tb_stub *s, struct stub_session *x, struct stub_text topic,
                   struct stub_text payload);
int64_t stub_unix_ms(void);
int64_t stub_mono_ms(void);

#endif
