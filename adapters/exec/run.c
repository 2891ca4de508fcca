#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <tpcore/error.h>
#include <unistd.h>

static int64_t mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void shut(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* ---- starting ---- */

/* A pipe whose ends are none of 0, 1, 2, which are made anew in the child. Returns 0 or an errno. */
static int make_pipe(int ret[2])
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    for (int i = 0; i < 2; i++) {
        ret[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);
        int no = errno;
        close(ends[i]);
        if (ret[i] < 0) {
            shut(&ret[0]);
            if (i == 0) {
                close(ends[1]);
            }
            return no;
        }
    }
    return 0;
}

static int spawn_actions(posix_spawn_file_actions_t *a, const struct exec_job *job, int in, int out)
{
    int no = posix_spawn_file_actions_adddup2(a, in, 0);
    no = no != 0 ? no : posix_spawn_file_actions_adddup2(a, out, 1);
    no = no != 0 ? no : posix_spawn_file_actions_adddup2(a, out, 2);
    no = no != 0 ? no : posix_spawn_file_actions_addchdir_np(a, job->dir);
#ifdef EXEC_CLOSES_FILES
    no = no != 0 ? no : posix_spawn_file_actions_addclosefrom_np(a, 3);
#endif
    return no;
}

/* With no signal blocked or ignored, whatever this process does, in a group of its own. */
static int spawn_attributes(posix_spawnattr_t *a)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int no = posix_spawnattr_setsigmask(a, &none);
    no = no != 0 ? no : posix_spawnattr_setsigdefault(a, &all);
    no = no != 0 ? no : posix_spawnattr_setpgroup(a, 0);
    return no != 0 ? no
                   : posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                     POSIX_SPAWN_SETPGROUP);
}

static int spawn(struct exec_job *job, int in, int out)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int no = posix_spawn_file_actions_init(&actions);
    if (no != 0) {
        return no;
    }
    no = posix_spawnattr_init(&attributes);
    if (no == 0) {
        no = spawn_actions(&actions, job, in, out);
        no = no != 0 ? no : spawn_attributes(&attributes);
        no = no != 0 ? no
                     : posix_spawn(&job->pid, job->argv[0], &actions, &attributes, job->argv,
                                   job->envp);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return no;
}

/* Linux 5.3. Readable once the process has ended. */
static int watch_pid(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int) syscall(SYS_pidfd_open, pid, 0); /* O_CLOEXEC by itself */
#else
    (void) pid;
    return -1;
#endif
}

/* Returns 0 or an errno; then nothing runs. */
static int start(struct exec_job *job)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 };
    int no = make_pipe(in);
    no = no != 0 ? no : make_pipe(out);
    no = no != 0 ? no : spawn(job, in[0], out[1]);
    shut(&in[0]);
    shut(&out[1]);
    if (no != 0) {
        job->pid = 0;
        shut(&in[1]);
        shut(&out[0]);
        return no;
    }
    job->to = in[1];
    job->from = out[0];
    (void) fcntl(job->to, F_SETFL, O_NONBLOCK);
    (void) fcntl(job->from, F_SETFL, O_NONBLOCK);
    job->watch = watch_pid(job->pid);
    job->in_at = job->tail_len = 0;
    job->late = false;
    job->end_ms = mono_ms() + (int64_t) job->timeout_ms;
    return 0;
}

/* ---- talking ---- */

static void feed(struct exec_job *job)
{
    while (job->to >= 0 && job->in_at < job->in_len) {
        ssize_t n = write(job->to, job->in + job->in_at, job->in_len - job->in_at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (n < 0) {
            break; /* it does not read: that is its affair */
        }
        job->in_at += (size_t) n;
    }
    shut(&job->to);
}

static void keep_tail(struct exec_job *job, const char *p, size_t n)
{
    size_t room = EXEC_TAIL - 1;
    if (n > room) {
        p += n - room;
        n = room;
    }
    size_t drop = job->tail_len + n > room ? job->tail_len + n - room : 0;
    memmove(job->tail, job->tail + drop, job->tail_len - drop);
    memcpy(job->tail + job->tail_len - drop, p, n);
    job->tail_len = job->tail_len - drop + n;
}

static void drain(struct exec_job *job)
{
    char part[4096];
    size_t all = 0;
    while (job->from >= 0 && all < EXEC_READ_MAX) {
        ssize_t n = read(job->from, part, sizeof(part));
        if (n > 0) {
            keep_tail(job, part, (size_t) n);
            all += (size_t) n;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)) {
            shut(&job->from);
        } else if (errno != EINTR) {
            return;
        }
    }
}

/* One line: control bytes and what is no ASCII become spaces and dots. */
static void tidy(struct exec_job *job)
{
    while (job->tail_len > 0 && (unsigned char) job->tail[job->tail_len - 1] <= ' ') {
        job->tail_len--;
    }
    for (size_t i = 0; i < job->tail_len; i++) {
        unsigned char c = (unsigned char) job->tail[i];
        job->tail[i] = c < ' ' || c == 0x7f ? ' ' : c > 0x7f ? '.' : job->tail[i];
    }
    job->tail[job->tail_len] = '\0';
}

/* ---- ending ---- */

static void tell(struct exec_job *job, enum exec_end end, int number)
{
    struct exec_result result = { end, number, job->tail };
    shut(&job->to);
    shut(&job->from);
    shut(&job->watch);
    tidy(job);
    job->done(job, &result);
}

static void hit(const struct exec_job *job, int sig)
{
    (void) kill(-job->pid, sig);
}

/* Whether it is over; then it is told. The group is killed while its leader is not reaped: until then
 * nobody else has the number. */
static bool ended(struct exec_job *job, bool called)
{
    siginfo_t info = { .si_pid = 0 };
    int status = 0;
    if (waitid(P_PID, (id_t) job->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
        if (errno == EINTR) {
            return false;
        }
        /* Somebody ignores SIGCHLD or waits for children that are not his. */
        int no = errno;
        drain(job);
        tell(job, called ? EXEC_CALLED : EXEC_NO_START, no);
        return true;
    }
    if (info.si_pid == 0) {
        return false;
    }
    drain(job);
    hit(job, SIGKILL);
    while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (called) {
        tell(job, EXEC_CALLED, 0);
    } else if (job->late) {
        tell(job, EXEC_LATE, 0);
    } else if (WIFSIGNALED(status)) {
        tell(job, EXEC_KILLED, WTERMSIG(status));
    } else {
        tell(job, EXEC_EXITED, WEXITSTATUS(status));
    }
    return true;
}

static void hurry(struct exec_job *job, bool called, int64_t now)
{
    if (called) {
        hit(job, SIGKILL);
    } else if (now >= job->end_ms) {
        hit(job, job->late ? SIGKILL : SIGTERM);
        job->late = true;
        job->end_ms = now + EXEC_GRACE_MS;
    }
}

/* ---- the thread ---- */

/* Starts what waits, as far as there is room. Under the lock, which it leaves. */
static void begin_some(struct exec_runner *r)
{
    while (r->first != NULL && (r->job_count < r->max || r->first->called)) {
        struct exec_job *job = r->first;
        bool called = job->called;
        r->first = job->next;
        r->last = r->first != NULL ? r->last : NULL;
        pthread_mutex_unlock(&r->lock);
        int no = called ? 0 : start(job);
        if (called || no != 0) {
            tell(job, called ? EXEC_CALLED : EXEC_NO_START, no);
        } else {
            job->next = r->jobs;
            r->jobs = job;
            r->job_count++;
        }
        pthread_mutex_lock(&r->lock);
    }
}

/* Waits for output, room for input, a call, or the next time to look. Without the lock. */
static void wait_all(struct exec_runner *r)
{
    struct pollfd fds[1 + 3 * EXEC_RUNNING_MAX];
    nfds_t n = 0;
    int64_t now = mono_ms();
    int64_t wait = r->jobs == NULL ? -1 : 3600000;
    fds[n++] = (struct pollfd){ .fd = r->wake[0], .events = POLLIN };
    for (struct exec_job *j = r->jobs; j != NULL; j = j->next) {
        int64_t look = j->end_ms > now ? j->end_ms - now : 0;
        look = j->watch < 0 && look > EXEC_LOOK_MS ? EXEC_LOOK_MS : look;
        wait = look < wait ? look : wait;
        if (j->to >= 0) {
            fds[n++] = (struct pollfd){ .fd = j->to, .events = POLLOUT };
        }
        if (j->watch >= 0) {
            fds[n++] = (struct pollfd){ .fd = j->watch, .events = POLLIN };
        }
        if (j->from >= 0) {
            fds[n++] = (struct pollfd){ .fd = j->from, .events = POLLIN };
        }
    }
    (void) poll(fds, n, (int) wait);
    char sink[64];
    while (read(r->wake[0], sink, sizeof(sink)) > 0) {
    }
}

static void look_at_all(struct exec_runner *r)
{
    int64_t now = mono_ms();
    for (struct exec_job **at = &r->jobs; *at != NULL;) {
        struct exec_job *job = *at;
        struct exec_job *next = job->next;
        pthread_mutex_lock(&r->lock);
        bool called = job->called || r->stopping;
        pthread_mutex_unlock(&r->lock);
        feed(job);
        drain(job);
        hurry(job, called, now);
        if (ended(job, called)) { /* it may be gone, or submitted again */
            *at = next;
            r->job_count--;
        } else {
            at = &job->next;
        }
    }
}

static void *run(void *user)
{
    struct exec_runner *r = user;
    pthread_mutex_lock(&r->lock);
    while (!r->stopping || r->first != NULL || r->jobs != NULL) {
        for (struct exec_job *j = r->first; r->stopping && j != NULL; j = j->next) {
            j->called = true;
        }
        begin_some(r);
        bool over = r->stopping && r->jobs == NULL;
        pthread_mutex_unlock(&r->lock);
        if (!over) {
            wait_all(r);
            look_at_all(r);
        }
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void wake(const struct exec_runner *r)
{
    ssize_t n = write(r->wake[1], "", 1);
    (void) n; /* full: it is awake */
}

/* ---- the interface ---- */

int exec_runner_init(struct exec_runner *r)
{
    if (pipe2(r->wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        return TPC_EIO;
    }
    pthread_mutex_init(&r->lock, NULL);
    r->made = true;
    return 0;
}

int exec_runner_start(struct exec_runner *r)
{
    sigset_t all, before;
    r->stopping = false;
    /* Signals are the program's; SIGPIPE of one that does not read stays with the thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int no = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->running = no == 0;
    return no == 0 ? 0 : TPC_EIO;
}

void exec_runner_stop(struct exec_runner *r)
{
    if (r->running) {
        pthread_mutex_lock(&r->lock);
        r->stopping = true;
        pthread_mutex_unlock(&r->lock);
        wake(r);
        pthread_join(r->thread, NULL);
        r->running = false;
    }
}

void exec_runner_fini(struct exec_runner *r)
{
    if (r->made) {
        exec_runner_stop(r);
        pthread_mutex_destroy(&r->lock);
        shut(&r->wake[0]);
        shut(&r->wake[1]);
        r->made = false;
    }
}

void exec_runner_submit(struct exec_runner *r, struct exec_job *job)
{
    pthread_mutex_lock(&r->lock);
    job->next = NULL;
    job->pid = 0;
    job->to = job->from = job->watch = -1;
    job->called = false;
    job->tail_len = 0;
    *(r->last != NULL ? &r->last->next : &r->first) = job;
    r->last = job;
    pthread_mutex_unlock(&r->lock);
    wake(r);
}

void exec_runner_cancel(struct exec_runner *r, struct exec_job *job)
{
    pthread_mutex_lock(&r->lock);
    job->called = true;
    pthread_mutex_unlock(&r->lock);
    wake(r);
}
