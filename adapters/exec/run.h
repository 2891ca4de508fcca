/*
 * Running programs: each in a process group of its own, started by posix_spawn() with nothing of this
 * process but what it is given, at most `max` at once, on one thread. What a program writes is read to
 * the end and its tail is kept, so that none stops for a full pipe.
 *
 * A program that is late gets SIGTERM and, EXEC_GRACE_MS later, SIGKILL, with its whole group. The group
 * of one that has ended is killed, too, before its leader's number can be used again.
 */
#ifndef EXEC_RUN_H
#define EXEC_RUN_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include <tpcore/ext/host.h>

enum {
    EXEC_TAIL = 160,       /* bytes of the output that are kept, with NUL */
    EXEC_GRACE_MS = 1000,  /* between SIGTERM and SIGKILL */
    EXEC_LOOK_MS = 10,     /* how often one is looked at where the system has no pidfd */
    EXEC_RUNNING_MAX = 64, /* greatest max_running */
    EXEC_READ_MAX = 262144 /* bytes of one program's output that are read in one go */
};

enum exec_end {
    EXEC_EXITED,  /* number: the exit status */
    EXEC_KILLED,  /* number: a signal that was not ours */
    EXEC_LATE,    /* we killed it */
    EXEC_CALLED,  /* called off */
    EXEC_NO_START /* number: errno */
};

struct exec_result {
    enum exec_end end;
    int number;
    const char *tail; /* of what it wrote, one line, printable */
};

/* One run. The fields above `own` are set before and stay until `done`. */
struct exec_job {
    char *const *argv; /* argv[0] is the path */
    char *const *envp;
    const char *dir;
    const uint8_t *in; /* its stdin */
    size_t in_len;
    uint64_t timeout_ms;
    void (*done)(struct exec_job *job, const struct exec_result *result); /* the runner's thread */

    /* own */
    struct exec_job *next;
    pid_t pid; /* also of its group; 0 = not started */
    int to, from;
    int watch; /* pidfd; -1 = the system has none */
    size_t in_at;
    int64_t end_ms; /* when it is late; then when it is killed */
    bool late;
    bool called; /* under the lock */
    char tail[EXEC_TAIL];
    size_t tail_len;
};

struct exec_runner {
    const struct tpc_host *host;
    uint32_t max;

    /* own */
    pthread_t thread;
    pthread_mutex_t lock;
    int wake[2];
    bool made, running, stopping;
    struct exec_job *first, *last; /* waiting */
    struct exec_job *jobs;         /* started; the thread's */
    uint32_t job_count;
};

/* host and max are set before. 0 or TPC_EIO. */
int exec_runner_init(struct exec_runner *r);
/* 0 or TPC_EIO (no thread). */
int exec_runner_start(struct exec_runner *r);
/* Ends all that runs or waits, each with EXEC_CALLED, and the thread. */
void exec_runner_stop(struct exec_runner *r);
void exec_runner_fini(struct exec_runner *r);

/* `done` follows exactly once. Any thread. */
void exec_runner_submit(struct exec_runner *r, struct exec_job *job);
/* Ends a job that is submitted and not told yet. Any thread. */
void exec_runner_cancel(struct exec_runner *r, struct exec_job *job);

#endif
