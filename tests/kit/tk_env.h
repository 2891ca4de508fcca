/*
 * An environment for the code under test: counting allocator, still clock, seeded randomness,
 * faulty files, and the log kept for looking at.
 */
#ifndef TK_ENV_H
#define TK_ENV_H

#include "base/env.h"
#include "tk.h"
#include "tk_clock.h"
#include "tk_files.h"

enum { TK_LOG_LINES = 64, TK_LOG_BYTES = 600 };

struct tk_env {
    struct tpi_env env; /* pass &e->env */
    struct tk_alloc alloc;
    struct tk_clock clock;
    struct tk_files files;
    struct tpc_random random;
    atomic_uint_fast64_t random_state;
    struct tpi_id_state ids;
    pthread_mutex_t log_lock;
    size_t log_count; /* all lines; the last TK_LOG_LINES are kept */
    int log_levels[TK_LOG_LINES];
    char log_lines[TK_LOG_LINES][TK_LOG_BYTES]; /* "subject: text" */
};

/* The wall clock stands at 2026-11-20T12:00:00Z. Log level: debug. */
void tk_env_init(struct tk_env *e);

/* Fails the test if memory of e->alloc is still allocated. */
void tk_env_fini(struct tk_env *e);

/* How many of the kept lines contain part. */
size_t tk_env_logged(struct tk_env *e, const char *part);

/* Seeded randomness for e->env.random alone: the same numbers in every run. */
void tk_random_seed(struct tk_env *e, uint64_t seed);

#endif
