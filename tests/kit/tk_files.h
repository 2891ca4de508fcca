/*
 * Files that fail on demand, over the system's own. Counters count over all files of the table,
 * from 1; failing calls are counted too. Any thread.
 *
 * Crash image: what a power cut would leave. After tk_files_track(f, true) every change is kept
 * until it is synced: contents and lengths by sync, names (creations, renames, removals) by
 * sync_dir of their folder. tk_files_crash(f, 0) takes all that was not synced back; with a seed, a
 * pseudo-random choice of it survives, and a surviving write may be torn. Handles must be closed
 * before. Folders and make_dir are not tracked: a folder always survives.
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
    bool kill;      /* the process ends there instead */
    size_t failed;
};

struct tk_change;
struct tk_node;

struct tk_files {
    struct tpc_files base; /* pass &f->base */
    const struct tpc_files *inner;
    pthread_mutex_t lock;
    pthread_cond_t open_latch;
    struct tk_fault fault[TK_FILE_OPS];
    bool space_limited;
    uint64_t space_bytes;      /* left for writes that make files longer, if limited */
    bool latched[TK_FILE_OPS]; /* calls wait until tk_files_unlatch() */
    size_t waiting;            /* calls that wait now */
    bool tracking;
    struct tk_change *newest; /* not synced yet */
    struct tk_node *nodes;    /* files with tracked changes */
    char keep_dir[320];       /* where removed files wait for the crash */
    size_t kept;
};

void tk_files_init(struct tk_files *f);
void tk_files_fini(struct tk_files *f);

/* Call number `nth` of op from now on (1 = the next) fails with code; sticky: all after it too. A
 * write that fails this way first writes half of its bytes. */
void tk_files_fail(struct tk_files *f, enum tk_file_op op, size_t nth, int code, bool sticky);
/* Call number `nth` of op from now on ends the process by SIGKILL, a write once half of its bytes
 * are written. For forked children. */
void tk_files_kill(struct tk_files *f, enum tk_file_op op, size_t nth);
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
void tk_files_crash(struct tk_files *f, uint64_t seed);

#endif
