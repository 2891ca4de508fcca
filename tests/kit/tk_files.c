#include "tk_files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/error.h>
#include <unistd.h>

#include "base/env.h"
#include "tk_files_track.h"

/* Counts the call, waits at a latch, says whether it shall fail. Locks f->lock. */
static int enter(struct tk_files *f, enum tk_file_op op)
{
    pthread_mutex_lock(&f->lock);
    if (f->latched[op]) {
        f->waiting++;
        pthread_cond_broadcast(&f->open_latch);
        while (f->latched[op]) {
            pthread_cond_wait(&f->open_latch, &f->lock);
        }
        f->waiting--;
    }
    struct tk_fault *fault = &f->fault[op];
    fault->count++;
    if (fault->fail_at != 0 &&
        (fault->count == fault->fail_at || (fault->sticky && fault->count > fault->fail_at))) {
        if (fault->kill && op != TK_FILE_WRITE) {
            kill(getpid(), SIGKILL);
        }
        fault->failed++;
        return fault->code;
    }
    return 0;
}

static int leave(struct tk_files *f, int rc)
{
    pthread_mutex_unlock(&f->lock);
    return rc;
}

static int fail_native(struct tk_files *f, int rc, int *native)
{
    if (native != NULL) {
        *native = 0;
    }
    return leave(f, rc);
}

static int open_file(void *user, const char *path, uint32_t flags, void **ret_file, int *native)
{
    struct tk_files *f = user;
    int rc = enter(f, TK_FILE_OPEN);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    struct stat st;
    bool there = stat(path, &st) == 0;
    struct tk_handle *h = calloc(1, sizeof(*h));
    rc = f->inner->open(f->inner->user, path, flags, &h->inner, native);
    if (rc != 0) {
        free(h);
        return leave(f, rc);
    }
    h->fd = open(path, O_RDWR | O_CLOEXEC);
    if (!there && f->tracking) {
        tk_track_create(f, path);
    }
    *ret_file = h;
    return leave(f, 0);
}

static void close_file(void *user, void *file)
{
    struct tk_files *f = user;
    struct tk_handle *h = file;
    if (h != NULL) {
        f->inner->close(f->inner->user, h->inner);
        close(h->fd);
        free(h);
    }
}

static int64_t read_at(void *user, void *file, void *ptr, size_t len, uint64_t offset, int *native)
{
    struct tk_files *f = user;
    struct tk_handle *h = file;
    int rc = enter(f, TK_FILE_READ);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    leave(f, 0);
    return f->inner->read_at(f->inner->user, h->inner, ptr, len, offset, native);
}

/* One flat copy of the parts: writes can be cut and kept. */
static uint8_t *flatten(const struct tpc_bytes *parts, uint32_t count, size_t *ret_len)
{
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++) {
        len += parts[i].len;
    }
    uint8_t *flat = malloc(len + 1);
    *ret_len = len;
    for (uint32_t i = 0, at = 0; i < count; at += (uint32_t) parts[i].len, i++) {
        if (parts[i].len > 0) {
            memcpy(flat + at, parts[i].ptr, parts[i].len);
        }
    }
    return flat;
}

/* How many of len bytes at offset the limited space has room for; takes that space. */
static size_t take_space(struct tk_files *f, struct tk_handle *h, uint64_t offset, size_t len)
{
    int64_t length = f->inner->length(f->inner->user, h->inner, NULL);
    uint64_t old_end = length > 0 ? (uint64_t) length : 0;
    uint64_t end = offset + len;
    uint64_t more = end > old_end ? end - old_end : 0;
    if (more > f->space_bytes) {
        uint64_t cut = more - f->space_bytes;
        f->space_bytes = 0;
        return cut < len ? len - (size_t) cut : 0;
    }
    f->space_bytes -= more;
    return len;
}

static int write_at(void *user, void *file, const struct tpc_bytes *parts, uint32_t count,
                    uint64_t offset, int *native)
{
    struct tk_files *f = user;
    struct tk_handle *h = file;
    int fault = enter(f, TK_FILE_WRITE);
    if (fault == 0 && !f->tracking && !f->space_limited) {
        leave(f, 0);
        return f->inner->write_at(f->inner->user, h->inner, parts, count, offset, native);
    }
    size_t len;
    uint8_t *flat = flatten(parts, count, &len);
    size_t room = fault != 0 ? len / 2 : len;
    if (f->space_limited) {
        size_t fits = take_space(f, h, offset, room);
        if (fits < room) {
            room = fits;
            fault = TPC_ENOSPC;
        }
    }
    if (f->tracking) {
        tk_track_write(f, h->fd, flat, room, offset);
    }
    struct tpc_bytes part = { flat, room };
    int rc = f->inner->write_at(f->inner->user, h->inner, &part, 1, offset, native);
    free(flat);
    if (fault != 0 && f->fault[TK_FILE_WRITE].kill) {
        kill(getpid(), SIGKILL);
    }
    return rc == 0 && fault != 0 ? fail_native(f, fault, native) : leave(f, rc);
}

static int sync_file(void *user, void *file, int *native)
{
    struct tk_files *f = user;
    struct tk_handle *h = file;
    int rc = enter(f, TK_FILE_SYNC);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    /* What is written while the system's sync runs is not covered by it. */
    uint64_t mark = tk_track_mark(f);
    leave(f, 0);
    rc = f->inner->sync(f->inner->user, h->inner, native);
    pthread_mutex_lock(&f->lock);
    if (rc == 0) {
        tk_track_synced(f, h->fd, mark);
    }
    return leave(f, rc);
}

static int truncate_file(void *user, void *file, uint64_t length, int *native)
{
    struct tk_files *f = user;
    struct tk_handle *h = file;
    int rc = enter(f, TK_FILE_TRUNCATE);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    int64_t old = f->inner->length(f->inner->user, h->inner, NULL);
    if (f->space_limited && old >= 0) {
        if (length > (uint64_t) old + f->space_bytes) {
            return fail_native(f, TPC_ENOSPC, native);
        }
        f->space_bytes += (uint64_t) old - length;
    }
    if (f->tracking) {
        tk_track_truncate(f, h->fd, length);
    }
    return leave(f, f->inner->truncate(f->inner->user, h->inner, length, native));
}

static int64_t length_of(void *user, void *file, int *native)
{
    struct tk_files *f = user;
    struct tk_handle *h = file;
    return f->inner->length(f->inner->user, h->inner, native);
}

static void give_space_of(struct tk_files *f, const char *path)
{
    struct stat st;
    if (f->space_limited && stat(path, &st) == 0 && st.st_nlink <= 1) {
        f->space_bytes += (uint64_t) st.st_size;
    }
}

static int rename_file(void *user, const char *from, const char *to, int *native)
{
    struct tk_files *f = user;
    int rc = enter(f, TK_FILE_RENAME);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    give_space_of(f, to);
    if (f->tracking) {
        tk_track_rename(f, from, to);
    }
    rc = f->inner->rename(f->inner->user, from, to, native);
    if (rc != 0 && f->tracking) {
        tk_track_forget(f);
    }
    return leave(f, rc);
}

static int remove_file(void *user, const char *path, int *native)
{
    struct tk_files *f = user;
    int rc = enter(f, TK_FILE_REMOVE);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    give_space_of(f, path);
    if (f->tracking) {
        tk_track_remove(f, path);
    }
    rc = f->inner->remove(f->inner->user, path, native);
    if (rc != 0 && f->tracking) {
        tk_track_forget(f);
    }
    return leave(f, rc);
}

static int make_dir(void *user, const char *path, int *native)
{
    struct tk_files *f = user;
    return f->inner->make_dir(f->inner->user, path, native);
}

static int sync_dir(void *user, const char *path, int *native)
{
    struct tk_files *f = user;
    int rc = enter(f, TK_FILE_SYNC_DIR);
    if (rc != 0) {
        return fail_native(f, rc, native);
    }
    rc = f->inner->sync_dir(f->inner->user, path, native);
    if (rc == 0) {
        tk_track_dir_synced(f, path);
    }
    return leave(f, rc);
}

static int list_dir(void *user, const char *path, tpc_file_name_fn *fn, void *fn_user, int *native)
{
    struct tk_files *f = user;
    return f->inner->list(f->inner->user, path, fn, fn_user, native);
}

static int space_at(void *user, const char *path, uint64_t *ret_free_bytes, int *native)
{
    struct tk_files *f = user;
    int rc = f->inner->space(f->inner->user, path, ret_free_bytes, native);
    pthread_mutex_lock(&f->lock);
    if (rc == 0 && f->space_limited && *ret_free_bytes > f->space_bytes) {
        *ret_free_bytes = f->space_bytes;
    }
    return leave(f, rc);
}

void tk_files_init(struct tk_files *f)
{
    memset(f, 0, sizeof(*f));
    f->inner = tpi_files_system();
    f->base = (struct tpc_files){ .size = sizeof(f->base),
                                  .user = f,
                                  .open = open_file,
                                  .close = close_file,
                                  .read_at = read_at,
                                  .write_at = write_at,
                                  .sync = sync_file,
                                  .truncate = truncate_file,
                                  .length = length_of,
                                  .rename = rename_file,
                                  .remove = remove_file,
                                  .make_dir = make_dir,
                                  .sync_dir = sync_dir,
                                  .list = list_dir,
                                  .space = space_at };
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->open_latch, NULL);
}

void tk_files_fini(struct tk_files *f)
{
    tk_track_drop_all(f);
    pthread_cond_destroy(&f->open_latch);
    pthread_mutex_destroy(&f->lock);
}

void tk_files_fail(struct tk_files *f, enum tk_file_op op, size_t nth, int code, bool sticky)
{
    pthread_mutex_lock(&f->lock);
    struct tk_fault *fault = &f->fault[op];
    fault->fail_at = fault->count + nth;
    fault->sticky = sticky;
    fault->code = code;
    pthread_mutex_unlock(&f->lock);
}

void tk_files_kill(struct tk_files *f, enum tk_file_op op, size_t nth)
{
    tk_files_fail(f, op, nth, TPC_EIO, false);
    f->fault[op].kill = true;
}

void tk_files_heal(struct tk_files *f)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < TK_FILE_OPS; i++) {
        f->fault[i].fail_at = 0;
        f->fault[i].kill = false;
    }
    f->space_limited = false;
    pthread_mutex_unlock(&f->lock);
}

void tk_files_limit_space(struct tk_files *f, uint64_t bytes)
{
    pthread_mutex_lock(&f->lock);
    f->space_limited = true;
    f->space_bytes = bytes;
    pthread_mutex_unlock(&f->lock);
}

void tk_files_latch(struct tk_files *f, enum tk_file_op op)
{
    pthread_mutex_lock(&f->lock);
    f->latched[op] = true;
    pthread_mutex_unlock(&f->lock);
}

void tk_files_wait_latched(struct tk_files *f, size_t n)
{
    pthread_mutex_lock(&f->lock);
    while (f->waiting < n) {
        pthread_cond_wait(&f->open_latch, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

void tk_files_unlatch(struct tk_files *f, enum tk_file_op op)
{
    pthread_mutex_lock(&f->lock);
    f->latched[op] = false;
    pthread_cond_broadcast(&f->open_latch);
    pthread_mutex_unlock(&f->lock);
}
