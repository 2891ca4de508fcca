/* Inside of the connector: what its files share. */
#ifndef CONNECTOR_H
#define CONNECTOR_H

#include "../mqtt/peers.h"
#include "ask.h"
#include "convert.h"

#include <tpcore/ext/adapter.h>

enum {
    CN_PARTS_MAX =
        256, /* frames of a message that wait for the log together; more come after them */
    CN_JOBS_MAX = 4096, /* commands that are not done */
    CN_CORRELATION_MAX = 64,
    CN_SWEEP_MS = 100 /* how often time-outs are looked at */
};

/* A frame on its way into the log. */
struct cn_part {
    struct cn_frame frame;
    bool dead;       /* a dead letter: over the link, without a device */
    const char *why; /* of a dead letter */
    bool given, done;
    int code; /* that its ticket was settled with; 1 = not yet */
};

struct connector {
    const struct tpc_host *host;
    void *ctx;
    struct cn_config config;
    struct mqtt_client *client;
    struct cn_asks *asks;
    struct mqtt_peers peers; /* by the device's name alone */
    uint64_t link;           /* the link session */

    pthread_mutex_t opening; /* held while a session is opened or closed; never by a worker */
    struct tpi_map gone;     /* devices that said they go; under opening */

    /* The receive thread's: */
    struct tpc_arena *arena; /* a message's */
    struct cn_part *parts;   /* CN_PARTS_MAX */
    uint32_t part_count;
    uint32_t part_number; /* of all of the message, so that no two parts pass for one */
    uint64_t next_ticket;
    const struct mqtt_incoming *incoming;
    bool again;        /* it is worked on once more */
    bool dropped;      /* its connection was given up */
    int64_t begun_ms;  /* monotonic */
    bool told_unmade;  /* a device that is not made; since the start */
    bool told_refused; /* in the log, since the connection was made */

    pthread_mutex_t lock; /* over those below */
    pthread_cond_t changed;
    uint64_t first_ticket; /* of parts[0]; 0 = none waits */
    uint32_t left;         /* tickets that are not settled */
    bool resumed;
    struct cn_job *jobs; /* list: commands that are not done */
    uint32_t job_count;
    uint32_t next_request;
    bool sweeping; /* a timer is set */
    bool in_sweep;
    uint32_t
        sweep_turn; /* how many there were: one may run before whoever set it knows its timer */
    uint64_t timer;
    bool stopping;

    bool locks_made, peers_made, gone_made;
};

/* ---- up.c ---- */

/* The receive thread's: all that a message means. */
void cn_message(struct connector *c, const struct mqtt_incoming *in);
/* A device's session; 0 = it has none, and the link is to be used. Not a worker's. Returns 0, or why it must
 * be tried again. */
int cn_session(struct connector *c, struct tpc_str device, struct tpc_str type,
               uint64_t *ret_session);
void cn_settled(struct connector *c, const uint64_t *tickets, const int *errors, uint32_t count);
void cn_resume(struct connector *c);
/* The connection came up, or went down. */
void cn_up(struct connector *c);
void cn_down(struct connector *c);
void cn_close_all(struct connector *c);

/* ---- down.c ---- */

int cn_send(struct connector *c, const struct tpc_peer *peer, const struct tpc_frame *frame,
            uint64_t ticket);
/* Whether it is the answer to a command. */
bool cn_answered(struct connector *c, const struct mqtt_incoming *in);
/* From here nothing is told any more. */
void cn_end_sweeps(struct connector *c);
/* Drops all commands; no call into the core. After the client has stopped. */
void cn_drop_jobs(struct connector *c);

#endif
