/*
 * Files that fail on demand, over the system's own. Counters count over all files of the table,
 * from 1; failing calls are counted too. Any thread.
 *
 * Crash image: what a power cut would leave. After tk_files_track(f, true) every write to a file
 * keeps the bytes that it replaces; tk_files_crash(f) puts all writes, truncations, creations,
 * renames and removals that were not synced (sync for content, sync_dir for names) back as they
 * were, or, with a seed, a pseudo-random part of them. Open handles must be closed before.
 */
#ifndef TK_FILES_H
#define TK_FILES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/platform.h>

enum tk_file_op {
    TK_FILE_OPEN,
    TK_FILE_READ,
    TK_FILE_WRITE,
    TK_FILE_SYNC,
    TK_FILE_TRUNCATE,
    TK_FILE_RENAME,
    TK_FILE_REMOVE,
    TK_FILE_SYNC_DIR,
    TK_FILE_OPS
};

struct tk_fault {
    size_t count;   /* calls so far */
    size_t fail_at; /* 1.. = that call fails; 0 = none */
    bool sticky;    /* and all after it */
    int code;       /* what it returns: TPC_EIO ... */
    size_t failed;
};

struct tk_undo;

struct tk_files {
    struct tpc_files base; /* pass &f->base */
    const struct tpc_files *inner;
    pthread_mutex_t lock;
    pthread_cond_t open_latch;
    struct tk_fault fault[TK_FILE_OPS];
    bool space_limited;
    uint64_t space_bytes;      /* left for writes that make files longer, if limited */
    size_t short_write_bytes;  /* a failing write first writes up to this many bytes */
    bool latched[TK_FILE_OPS]; /* calls wait until tk_files_unlatch() */
    size_t waiting;            /* calls that wait now */
    bool tracking;
    struct tk_undo *undo; /* newest first */
};

void tk_files_init(struct tk_files *f);
void tk_files_fini(struct tk_files *f);

/* Call number `nth` of op from now on (1 = the next) fails with code; sticky: all after it too. */
void tk_files_fail(struct tk_files *f, enum tk_file_op op, size_t nth, int code, bool sticky);
/* No op fails any more, space is not limited. */
void tk_files_heal(struct tk_files *f);

/* Writes that make files longer by more than this in total fail with TPC_ENOSPC; space() tells it.
 */
void tk_files_limit_space(struct tk_files *f, uint64_t bytes);

/* Calls of op wait until unlatch, from any thread. tk_files_wait_latched() returns once n wait. */
void tk_files_latch(struct tk_files *f, enum tk_file_op op);
void tk_files_wait_latched(struct tk_files *f, size_t n);
void tk_files_unlatch(struct tk_files *f, enum tk_file_op op);

void tk_files_track(struct tk_files *f, bool on);
/* seed 0: all that was not synced is lost; else each write is kept or lost by chance. */
void tk_files_crash(struct tk_files *f, uint64_t seed);

#endif
