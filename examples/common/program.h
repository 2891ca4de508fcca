/*
 * What the programs that run a core have in common: lines on stderr, signals as a descriptor,
 * metrics in a file, a dry run in a folder that goes again, the service manager's datagrams.
 */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include "config.h"

#include <pthread.h>
#include <tpcore/tpcore.h>

struct program {
    const char *name;
    bool quiet;   /* warnings and errors only */
    bool making;  /* entities are put by the thousand: no line for each */
    bool journal; /* stderr is the journal's: priorities instead of times */
    pthread_mutex_t lock;
    char last_error[200]; /* and warning; under the lock */
    int64_t last_unix_ms;
};

void program_init(struct program *p, const char *name);
void program_fini(struct program *p);

/* tpc_log_fn; user is the program. */
void program_log(void *user, int level, const char *subject, const char *text);

/* "NAME: text", whatever the level. */
void program_say(const struct program *p, const char *fmt, ...) TPC_PRINTF(2, 3);
/* tpc_error_last() after a call that returned rc. */
void program_say_error(const struct program *p, const char *what, int rc);

/* Blocks the signals (0 ends the list) for this thread and those it starts, and returns a
 * descriptor that is readable when one came; -1 = errno. Before the first thread. */
int program_signals(const int *signals);

/* All metrics as Prometheus text, written beside the file and renamed onto it. 0 or -1, told. */
int program_metrics(const struct program *p, struct tpc_core *core, const char *file);

long program_resident_kib(void);

/* Makes core, parts and entities of c in a temporary folder, starts nothing, and takes all away
 * again. 0, or -1 with c->error. user is for program_log(). */
int program_check(struct program *p, struct config *c);

/* Core, parts and entities of c. 0, or -1 with c->error. */
int program_assemble(struct program *p, struct config *c, struct tpc_core **ret);

/* Pairs of hexadecimal digits as bytes; blanks, line ends and colons between them. to has room for len / 2
 * bytes, and may be hex itself. Returns their number, or -1, told as "NAME: ..". */
long program_from_hex(const char *name, const char *hex, size_t len, uint8_t *to);

/* A value as JSON, up to 64 KiB, to stdout. */
void program_print_value(const struct tpc_value *v);

/* Sends a state ("READY=1") to the service manager if there is one (NOTIFY_SOCKET). */
void program_notify(const char *fmt, ...) TPC_PRINTF(1, 2);
/* How often it wants to hear WATCHDOG=1, in ms: half of WATCHDOG_USEC; 0 = it does not. */
uint32_t program_watchdog_ms(void);

#endif
