/*
 * What sinks share that send message by message, or batch by batch, over something asynchronous: one
 * request of a batch at a time, so that order is kept (a target that takes several batches at a time
 * has a turn for each); what the other side has taken of a batch is
 * remembered until the batch is through, so that it is not sent twice when the rest comes again; a
 * stop that ends what runs.
 */
#ifndef SINK_TURN_H
#define SINK_TURN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/ext/sink.h>

struct turn;

/* A sink's instance. */
struct turns {
    const struct tpc_host *host;
    void *ctx;
    /* Makes the request for messages [first, first + count) of the batch. Returns 0, or a code with
     * *err filled. */
    int (*make)(struct turn *t, const struct tpc_batch *batch, uint32_t first, uint32_t count,
                struct tpc_error *err);
    /* Sends what was made: turn_ended() follows exactly once, not from within. Codes as above. */
    int (*submit)(struct turn *t, struct tpc_error *err, uint64_t *ret_id);
    void (*cancel)(struct turn *t, uint64_t id);

    /* Own. */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct turn *busy;   /* those with a request */
    uint32_t busy_count; /* sends that are not told yet */
    bool stopping, made;
};

/* A target, or one of the batches that it takes at a time. */
struct turn {
    struct turns *all;
    bool whole; /* a batch is one request */

    /* Own. */
    atomic_bool busy; /* with a batch; changes to false on any thread, else on forward's */
    struct turn *next;
    uint64_t request;
    const struct tpc_batch *batch;
    uint32_t at; /* message that is being sent */
    uint64_t ticket;
    struct tpc_id *given; /* messages taken out of batches that were not */
    size_t given_count, given_cap;
};

/* host, ctx and the functions are set before. It takes nothing until turns_start(). */
void turns_init(struct turns *s);
void turns_start(struct turns *s);
/* Calls off what runs and waits until all of it was told. May come without a start. */
void turns_stop(struct turns *s);
/* Accepts one that was never made. */
void turns_fini(struct turns *s);

/* t->all and t->whole are set before, the rest is zero. */
void turn_fini(struct turn *t);

/* The sink's send(). */
int turn_send(struct turn *t, const struct tpc_batch *batch, uint64_t ticket);

static inline bool turn_busy(const struct turn *t)
{
    return atomic_load(&t->busy);
}

/* Whether a batch begins with a message that this one's other side has taken: it comes again. */
bool turn_knows(const struct turn *t, const struct tpc_batch *batch);
/* Whether it knows messages of a batch that is not through. */
bool turn_waits(const struct turn *t);

/* The request ended: err NULL = the other side has it. The target may be gone when it returns. */
void turn_ended(struct turn *t, const struct tpc_error *err);

#endif
