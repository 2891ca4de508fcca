/*
 * The broker's own certificate: a thread of its own looks at the files; when they changed and are good,
 * the broker is told to read them (SIGHUP), and when they are bad it is not. How long they last is
 * published. The broker's thread never reads a file here.
 */
#ifndef MOSQUITTO_CERTIFICATES_H
#define MOSQUITTO_CERTIFICATES_H

#include "files.h"

#include <pthread.h>

enum {
    CERTIFICATES_MS = 10000, /* default of the option certificates_ms */
    CERTIFICATES_PATH_BYTES = 1024,
    CERTIFICATES_LINES = 4, /* of log that wait for the broker's thread */
    CERTIFICATES_LINE_BYTES = TLS_TEXT_BYTES + 100
};

struct certificates_options {
    char path[TLS_ROLES][CERTIFICATES_PATH_BYTES]; /* "" = none */
    uint32_t look_ms;                              /* between two looks */
};

struct certificates_line {
    int level; /* MOSQ_LOG_.. */
    char text[CERTIFICATES_LINE_BYTES];
};

struct certificates {
    const struct certificates_options *options;
    pthread_t thread;
    bool started;

    /* The thread's own. */
    struct tls_files files;
    uint64_t reminded_ms; /* monotonic; 0 = not yet */
    int failed;           /* code of a look that failed, which is in the log */

    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t wake;
    bool stop;
    bool reload; /* the broker shall read the files */
    struct certificates_line lines[CERTIFICATES_LINES];
    uint32_t line_count, lines_lost;
    int64_t days[TLS_ROLES]; /* of TLS_CERT and TLS_CA */
    bool known[TLS_ROLES];

    /* The broker's thread's: what was published last. */
    int64_t told[TLS_ROLES];
    bool told_any[TLS_ROLES];
};

/* Looks once and starts the thread; without files it does nothing. options stays. 0 or an errno. */
int certificates_start(struct certificates *c, const struct certificates_options *options);
void certificates_stop(struct certificates *c);

/* In the broker's thread: writes to its log, publishes, tells it to read its files, if it may now. */
void certificates_tick(struct certificates *c, bool may_reload);

#endif
