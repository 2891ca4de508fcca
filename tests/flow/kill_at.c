/*
 * Preloaded into tp-platform by kill.py: ends the process with SIGKILL in the middle of the Nth write
 * of a kind. KILL_AT=point:N with point
 *   append      a write to a segment of the log (half of the bytes are written)
 *   commit      a sync of the history's write-ahead file
 *   checkpoint  a write to the history's database file
 *   trim        removing a segment of the log
 * KILL_TELL names a file that is made just before, so that the test knows that it was here.
 */
#undef _FILE_OFFSET_BITS /* it would make one name of pwrite and pwrite64 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long count;

static bool ends_with(const char *s, const char *tail)
{
    size_t a = strlen(s), b = strlen(tail);
    return a >= b && strcmp(s + a - b, tail) == 0;
}

static const char *path_of(int fd, char ret[512])
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, ret, 511);
    ret[n > 0 ? n : 0] = '\0';
    return ret;
}

/* Whether this is the call to die in. */
static bool now(const char *point)
{
    const char *at = getenv("KILL_AT");
    size_t len = strlen(point);
    return at != NULL && strncmp(at, point, len) == 0 && at[len] == ':' &&
           atomic_fetch_add(&count, 1) + 1 == strtol(at + len + 1, NULL, 10);
}

static void die(void)
{
    const char *tell = getenv("KILL_TELL");
    int fd = tell != NULL ? open(tell, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        close(fd);
    }
    kill(getpid(), SIGKILL);
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t);
    char path[512];
    *(void **) &real = next("pwritev");
    if (ends_with(path_of(fd, path), ".tpl") && now("append")) {
        struct iovec half = { v[0].iov_base, v[0].iov_len / 2 };
        if (real(fd, &half, 1, at) >= 0) {
            die();
        }
    }
    return real(fd, v, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at);
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
    return pwritev(fd, v, n, (off_t) at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t);
    char path[512];
    *(void **) &real = next("pwrite64");
    if (ends_with(path_of(fd, path), "history.db") && now("checkpoint")) {
        if (real(fd, p, n / 2, at) >= 0) {
            die();
        }
    }
    return real(fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return pwrite64(fd, p, n, (off64_t) at);
}

static void on_sync(int fd)
{
    char path[512];
    if (ends_with(path_of(fd, path), "history.db-wal") && now("commit")) {
        die();
    }
}

int fdatasync(int fd)
{
    int (*real)(int);
    *(void **) &real = next("fdatasync");
    on_sync(fd);
    return real(fd);
}

int fsync(int fd)
{
    int (*real)(int);
    *(void **) &real = next("fsync");
    on_sync(fd);
    return real(fd);
}

int unlink(const char *path)
{
    int (*real)(const char *);
    *(void **) &real = next("unlink");
    if (ends_with(path, ".tpl") && now("trim")) {
        die();
    }
    return real(path);
}
