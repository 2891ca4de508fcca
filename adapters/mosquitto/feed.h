/*
 * The table that the plugin answers from: a core that observes the entities of the platform. A thread
 * of its own makes it, keeps it current and makes it anew when the store was replaced; the broker's
 * thread only looks at it, so nothing that the store does ever holds the broker up.
 *
 * While there is no table, or it could not be brought up to date for FEED_STALE_MS, nobody logs in.
 */
#ifndef MOSQUITTO_FEED_H
#define MOSQUITTO_FEED_H

#include "report.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <tpcore/tpcore.h>

enum {
    FEED_PATH_BYTES = 1024,
    FEED_KEY_BYTES = 128,
    FEED_TEXT_BYTES = 400,
    FEED_REFRESH_MS = 250, /* default of the option refresh_ms */
    FEED_RETRY_MS = 1000,  /* until a store that could not be opened is tried again */
    FEED_STALE_MS = 5000,
    FEED_REPORTS = 64,     /* of what was refused, that wait for the broker's thread */
    FEED_REPORT_MS = 1000, /* in which the same failure of the same device is reported once */
    FEED_BUSY_MS = 1000    /* that a read waits for somebody who has the file locked */
};

struct feed_report {
    size_t len;
    char json[REPORT_BYTES];
};

struct feed {
    /* Options, not changed after the start. */
    char dir[FEED_PATH_BYTES]; /* of the platform's store */
    uint8_t secret_key[FEED_KEY_BYTES];
    size_t secret_key_len;
    uint8_t token_key[FEED_KEY_BYTES];
    size_t token_key_len;
    uint32_t refresh_ms;

    pthread_t thread;
    bool started;
    atomic_bool stop;
    atomic_bool heard;           /* somebody hears reports: till then the table keeps them */
    atomic_uint_fast64_t missed; /* failures that were reported to nobody */
    atomic_uint_fast64_t products, devices; /* in the table */
    atomic_uint_fast64_t changes;           /* taken over since the start: rises with each */
    atomic_uint_fast64_t current_ms;        /* monotonic: the table was brought up to date last */

    pthread_mutex_t lock; /* guards the rest; held for pointers and texts only */
    pthread_cond_t wake;
    struct tpc_core *core;      /* NULL = none */
    uint32_t users;             /* calls that look at it now */
    bool swapping;              /* somebody waits until there are none */
    char text[FEED_TEXT_BYTES]; /* why there is none, or it is stale; "" = all is well */
    bool told;                  /* the broker's log has the text */
    struct feed_report reports[FEED_REPORTS]; /* a ring */
    uint32_t report_first, report_count;

    /* The thread's own. */
    struct stat file; /* of the table's file, when it was opened */
    bool failing;     /* it could not be opened */
    uint64_t collected_ms;
    uint64_t core_missed; /* of f->core, as far as `missed` has it */
};

/* Starts the thread. 0 or an errno. */
int feed_start(struct feed *f);
/* Ends it and frees the table. */
void feed_stop(struct feed *f);

/* The table, until feed_give(); NULL = there is none that may be asked. Does not block. */
struct tpc_core *feed_take(struct feed *f);
/* The same also when it is stale: for those who are in already. */
struct tpc_core *feed_take_any(struct feed *f);
void feed_give(struct feed *f);

/* Since the table was brought up to date; -1 = there was none so far. */
int64_t feed_age_ms(const struct feed *f);

/* The next report, out of the ring. false = none. */
bool feed_report(struct feed *f, struct feed_report *ret);

/* Once after each change of state: a line for the log. false = nothing new. */
bool feed_news(struct feed *f, char ret[FEED_TEXT_BYTES]);

#endif
