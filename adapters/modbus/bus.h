/*
 * One bus: whose turn it is, and what follows from an answer. It knows slaves, their reads and the writes
 * that wait, and no socket: who carries the bytes asks for the next request and tells what became of it.
 *
 * Writes go first. Then comes the read that is due longest; a slave that was silent degraded_after times in
 * a row is offline, and due only now and then, with pauses that double. One thread calls all of it but
 * mb_bus_give().
 */
#ifndef MB_BUS_H
#define MB_BUS_H

#include <pthread.h>
#include <stdatomic.h>

#include "tag.h"

enum {
    MB_JOBS_MAX = 32,      /* under way: of both lanes, 16 each */
    MB_COMMANDS_MAX = 256, /* that wait; more are told to come later */
    MB_ITEMS_MAX = 64,     /* tags of one command */
    MB_CORRELATION_MAX = 128
};

/* Which slaves a request may be of. A connection has the one lane, or TCP one for each. */
enum mb_lane { MB_LANE_HEALTHY = 1, MB_LANE_DEGRADED = 2, MB_LANE_BOTH = 3 };

/* What became of a request. */
enum mb_outcome {
    MB_ANSWERED = 0,
    MB_REFUSED = 1, /* an exception */
    MB_SILENT = 2,  /* no answer in time, or none that fits */
    MB_LOST = 3     /* the connection went: it is asked again, and nobody's fault */
};

/* Written by the thread of the bus alone, read by any. */
struct mb_stats {
    _Atomic uint64_t requests, exceptions, timeouts;
    _Atomic uint64_t answers;         /* exceptions are some, too */
    _Atomic uint64_t rtt_us, rtt_sum; /* of the last answer, and of all */
};

struct mb_slave {
    const struct mb_slave_config *config;
    /* The plan is that of all slaves with the same tags and limits, until something is refused: then it is its
     * own. */
    struct mb_span *spans;
    struct mb_read *reads; /* room for one a tag */
    uint64_t *due_ms;      /* of each read; UINT64_MAX = under way */
    uint64_t *span_due_ms; /* of a plan of its own: while it is made anew */
    uint32_t read_count;
    bool own_plan;
    uint32_t place; /* in its heap, 1-based */
    uint32_t silences;
    uint32_t held;     /* requests that are overdue: nothing else is asked of it until they end */
    uint32_t pause_ms; /* 0 = healthy */
    uint64_t retry_ms;
    uint64_t next_ms; /* when it wants its turn */
    bool online;
    bool replan;              /* reads were cut: planned anew once none is under way */
    _Atomic uint64_t session; /* 0 = none */
    uint64_t session_retry_ms;
    struct mb_stats stats;
};

struct mb_item {
    const struct mb_tag *tag;
    /* What is written, or what was read. */
    uint8_t data[MB_WRITE_REGISTERS_MAX * 2 + 4];
};

/* What is done of an item now. */
enum mb_phase {
    MB_PHASE_DO = 0,
    MB_PHASE_BEFORE = 1, /* its register is read: the rest of it has to stay */
    MB_PHASE_BACK = 2    /* it was written and is read back */
};

/* A command: values to write, or tags to read now. */
struct mb_command {
    struct mb_command *next;
    uint32_t slave;
    uint32_t count, at; /* items, and the one whose turn it is */
    bool reads;         /* get; else set, which reads those back that are asked to */
    bool raw;           /* of `own`: what is read stands in the reply alone */
    uint8_t phase;      /* enum mb_phase: of the item at its turn */
    size_t correlation_len;
    char correlation[MB_CORRELATION_MAX];
    char failure[120]; /* of the first item that failed */
    struct mb_tag own;
    struct mb_item items[];
};

struct mb_job {
    bool used;
    uint8_t lane; /* 0 = the first, 1 = the second of who carries it */
    uint8_t attempt;
    uint32_t slave;
    uint32_t read;              /* of the slave; of a command: unused */
    struct mb_command *command; /* NULL = a read that was due */
    struct mb_request request;
    uint64_t sent_ms, deadline_ms;
    uint64_t sent_us; /* by who carries it */
    uint16_t transaction;
    bool again;   /* it has to be sent once more */
    bool overdue; /* it holds nobody else up any more */
};

/* What the bus tells. All on the thread of the bus. */
struct mb_listener {
    void *user;
    /* Values were read: of the spans of a read, or of one tag (read NULL). */
    void (*values)(void *user, struct mb_slave *s, const struct mb_read *read,
                   const struct mb_tag *tag, const uint8_t *data);
    void (*presence)(void *user, struct mb_slave *s, bool online);
    void (*ended)(void *user, struct mb_command *c); /* frees it */
    /* first: it was not said before, since these registers were read last. */
    void (*refused)(void *user, struct mb_slave *s, const struct mb_request *r, int exception,
                    bool first);
};

struct mb_heap {
    struct mb_slave **slaves; /* from 1 */
    uint32_t count;
};

struct mb_bus {
    const struct mb_config *config;
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena; /* of the thread of the bus, once it runs */
    struct mb_listener listener;
    struct mb_slave *slaves;
    struct mb_heap healthy, degraded;
    struct mb_job jobs[MB_JOBS_MAX];
    uint16_t transaction;
    uint64_t missed; /* periods in which a read had no turn */
    uint64_t cuts;
    uint64_t unusable; /* values that are none */

    pthread_mutex_t lock; /* over the commands that wait */
    struct mb_command *first, **last;
    uint32_t waiting;
    bool closed; /* none is taken any more */
    bool made;
};

/* The arena is the bus's until mb_bus_fini(). Returns 0 or TPC_ENOMEM. */
int mb_bus_init(struct mb_bus *b, const struct mb_config *config, const struct tpc_allocator *alloc,
                const struct mb_listener *listener, struct tpc_arena *arena, uint64_t now_ms);
/* Ends all commands, and takes none after it: who gives one at that moment may still do so, until
 * mb_bus_fini(). The bus' thread is gone. */
void mb_bus_close(struct mb_bus *b);
/* Commands are taken again: the core that was stopped starts. */
void mb_bus_open(struct mb_bus *b);
void mb_bus_fini(struct mb_bus *b);

/* The command becomes the bus's. Any thread. Returns 0, or TPC_EAGAIN (too many wait) or TPC_EOFFLINE (closed):
 * the command stays the caller's. */
int mb_bus_give(struct mb_bus *b, struct mb_command *c);

/*
 * The next request of that lane, or NULL: then *ret_wait_ms says how long nothing is due, UINT32_MAX = until
 * a command comes. The request's data live until mb_bus_done().
 */
struct mb_job *mb_bus_next(struct mb_bus *b, enum mb_lane lane, uint64_t now_ms,
                           uint32_t *ret_wait_ms);

/* It has had no answer for long: who carries it goes on with other slaves meanwhile. */
void mb_bus_overdue(struct mb_bus *b, struct mb_job *job);

/* data: of an answered read. exception: of a refused one. The job is over, unless it comes again: then
 * mb_bus_next() gives it first. */
void mb_bus_done(struct mb_bus *b, struct mb_job *job, enum mb_outcome outcome, const uint8_t *data,
                 int exception, uint64_t now_ms);

/* An answer of the slave took that long. */
void mb_bus_rtt(struct mb_slave *s, uint64_t us);

/* The connection cannot be made: commands that wait or are between two requests fail, and everybody is
 * offline. */
void mb_bus_unreachable(struct mb_bus *b, const char *why);

#endif
