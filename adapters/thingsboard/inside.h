/*
 * Inside of the module: one session, which is one instance.
 *
 * Threads. The sender takes batches one after the other, packs and publishes them as far as limits allow,
 * and looks after what is due. The worker works off what came from the server: it may wait for the log.
 * paho's callbacks and the client's thread only note what happened. `lock` is over everything that is
 * not said to be one thread's; no call into the host that may wait is made with it.
 */
#ifndef THINGSBOARD_INSIDE_H
#define THINGSBOARD_INSIDE_H

#include "../mqtt/notes.h"
#include "attributes.h"
#include "devices.h"
#include "down.h"
#include "limits.h"
#include "options.h"
#include "pack.h"

#include <pthread.h>
#include <tpcore/ext/sink.h>

enum {
    TB_PAYLOAD_DEFAULT = 65536,
    TB_IN_FLIGHT = 16, /* batches of a target at a time */
    TB_DOWN_BYTES = 1 << 20,
    TB_ASKS_MAX = 10000,
    TB_RPCS_MAX = 10000,
    TB_LIMIT_TEXT = 1024,
    TB_STRIKES = 3, /* closed so often after a batch, over MQTT 3.1.1: something in it is refused */
    TB_STRIKES_ONE = 4,  /* .. after a single message */
    TB_STRIKE_MS = 2000, /* .. so soon after it was sent */
    TB_ALONE_MS = 60000, /* after that batches go one at a time, so that the right one is found */
    TB_DONE_MAX = 1000,  /* calls that are remembered after their end */
    TB_DONE_BYTES = 1024 /* .. with an answer of at most so much */
};

enum tb_state { TB_OFF, TB_ASKING, TB_READY };

struct tb;

struct tb_target {
    struct tb *s;
    struct tb_target_config config;
    struct tpi_map given; /* ids of messages that the server has, of batches that failed */
    struct tpc_id suspect;
    uint32_t strikes, strike_epoch;
};

/* A batch that was handed to us. */
struct tb_job {
    struct tb_job *next;
    struct tb_target *target;
    uint64_t ticket;
    struct tb_batch b;
    uint64_t since_ms; /* when it came */
    uint64_t sent_ms;  /* its last publish */
    uint32_t away;     /* publishes without their end */
    bool all_out;      /* there will be no more of them */
    bool acked;        /* one was taken */
    bool struck;
    struct tpc_error err; /* code 0 = all is well */
};

enum tb_phase {
    TB_PHASE_NONE,
    TB_PHASE_CONNECT,
    TB_PHASE_ABOUT,
    TB_PHASE_DATA,
    TB_PHASE_DISCONNECT
};

/* What the sender works on. */
struct tb_work {
    struct tb_job *job; /* NULL = nothing */
    enum tb_phase phase;
    uint32_t epoch;           /* of the connection on which it began */
    uint32_t group;           /* next one to connect or disconnect */
    bool ready;               /* a part is made and waits for its turn */
    struct tb_part part;      /* of data */
    struct tb_device *device; /* of all that is no data */
};

/* An open request for attributes. */
struct tb_ask {
    struct tb_ask *next;
    int64_t id[2]; /* of the client's and of the shared ones; 0 = not asked, or answered */
    uint64_t due_ms;
    tb_attributes_fn *fn;
    void *user;
    struct tpc_arena *arena; /* of what was answered */
    struct tpc_value got[2];
    struct tpc_str one[2]; /* the key, where one was asked */
    bool own;              /* of the session's own device */
};

struct tb_totals {
    uint64_t sent, received, messages, telemetry, attributes;
};

struct tb {
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    struct tb_config config;
    struct mqtt_client *client;
    struct mqtt_client *enroller; /* the session that asks for credentials */
    pthread_t sender, worker;
    bool made, sender_runs, worker_runs;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* for the sender */
    pthread_cond_t came;    /* for the worker */
    bool stopping;
    enum tb_state state;
    uint32_t epoch; /* of the connection; grows with each */
    uint64_t asked_ms;
    bool limits_known;
    char limit_text[TB_LIMIT_TEXT];
    struct mqtt_client_facts facts;
    uint32_t said_payload, said_inflight; /* by the server; 0 = it did not say */
    size_t payload_max;
    uint32_t inflight_max, inflight;
    struct tb_bucket messages, telemetry, points;
    struct tb_job *first, *last; /* that wait for the sender */
    struct tb_devices devices;
    struct tb_device *waiting, *last_waiting;
    struct mqtt_notes down;
    struct tb_ask *asks;
    uint32_t ask_count;
    int64_t next_id;
    struct tb_totals totals;
    struct tb_totals said; /* .. with the last statistics */
    uint64_t refused;      /* messages that were not understood; the worker's */
    bool shell_told;       /* the worker's */
    struct tb_rpc *rpcs;   /* open ones */
    uint32_t rpc_count;
    struct tb_rpc *done, *last_done; /* that ended, the oldest first */
    uint32_t done_count;
    uint64_t alone_until_ms; /* batches go one at a time till then */
    uint32_t lost_epoch;     /* of a connection that ends: no batch begins on it till then */
    uint64_t lost_until_ms;
    bool has_credentials; /* provisioned before */
    bool enrolled;        /* credentials came: the sender goes on with them */
    bool hello;           /* the session is ready and has not said what it is */
    uint64_t stats_ms;    /* next statistics */
    uint64_t cpu_ms, cpu_at_ms;

    struct tb_pack pack; /* the sender's */
    struct tb_work work;
};

uint64_t tb_mono_ms(void);
/* A message of the session itself, out of turn: it takes its token without waiting. Any thread. Codes of
 * mqtt_client_publish(). */
int tb_publish(struct tb *s, const char *topic, const struct tpi_buf *payload);
/* The same with a short text. */
int tb_say(struct tb *s, const char *topic, const char *fmt, ...) TPC_PRINTF(3, 4);

/* session.c */
int tb_session_start(struct tb *s);
void tb_session_stop(struct tb *s);
/* The answer about limits came, or will not come (NULL). Under the lock. */
void tb_session_ready(struct tb *s, const struct tb_session_limits *limits);
/* Under the lock. */
void tb_session_slow_down(struct tb *s);

/* send.c */
int tb_send(struct tb_target *t, const struct tpc_batch *batch, uint64_t ticket);
/* Does one thing. Under the lock, which it may leave. Returns false if there is nothing to do before
 * *wait_ms have passed or something changed. */
bool tb_send_step(struct tb *s, uint64_t now_ms, uint64_t *wait_ms);
/* Ends all that the sender has, with a code. Under the lock, which it leaves. */
void tb_send_end(struct tb *s, int code, const char *text);
/* Puts a device into the list of those to tell the server of. Under the lock. */
void tb_wait_device(struct tb *s, struct tb_device *device);

/* work.c */
void tb_on_message(void *user, const struct mqtt_incoming *m);
void *tb_worker(void *user);

/* rpc.c */
void tb_rpc(struct tb *s, const struct tb_down *d, bool own);
/* Shared attributes for a device of ours. */
void tb_set(struct tb *s, struct tpc_str device, const struct tpc_value *values);
/* At the end: no reply can come any more. */
void tb_rpc_fini(struct tb *s);

/* own.c: what the gateway itself is asked, and says. */
void tb_own_rpc(struct tb *s, const struct tb_down *d);
void tb_own_attributes(struct tb *s, const struct tpc_value *shared);
void tb_own_hello(struct tb *s);
void tb_own_stats(struct tb *s, uint64_t now_ms);

/* ask.c */
extern const struct tb_attributes_ops tb_attributes_ops;
void tb_ask_answer(struct tb *s, const struct tb_down *d);
/* Ends those that are due (all = every one). Under the lock, which it leaves. */
void tb_ask_expire(struct tb *s, uint64_t now_ms, bool all);
void tb_ask_sync(struct tb *s, struct tb_device *device);
void tb_ask_own(struct tb *s);

/* state.c */
int tb_state_load(struct tb *s);
/* The request for credentials. */
int tb_state_ask(struct tb *s, struct tpi_buf *b);
void tb_state_save(struct tb *s);
void tb_state_forget_credentials(struct tb *s);
/* Keeps and uses what a provision answer grants. */
void tb_state_provisioned(struct tb *s, const struct tpc_value *values);

#endif
