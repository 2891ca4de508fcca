/* The system's files. A handle is the descriptor plus one, so that opening allocates nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <tpcore/error.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"

enum { PARTS_PER_CALL = 64, FILE_MODE = 0640, DIR_MODE = 0750 };

static int failed(int number, int *native)
{
    if (native != NULL) {
        *native = number;
    }
    return tpi_error_from_errno(number);
}

static int fd_of(void *file)
{
    return (int) ((intptr_t) file - 1);
}

static int open_file(void *user, const char *path, uint32_t flags, void **ret_file, int *native)
{
    (void) user;
    int how = O_CLOEXEC | O_NOCTTY;
    if ((flags & TPC_FILE_WRITE) != 0) {
        how |= (flags & TPC_FILE_READ) != 0 ? O_RDWR : O_WRONLY;
    }
    how |= (flags & TPC_FILE_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & TPC_FILE_EXCLUSIVE) != 0 ? O_EXCL : 0;
    int fd;
    do {
        fd = open(path, how, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return failed(errno, native);
    }
    if ((flags & TPC_FILE_LOCK) != 0) {
        int rc;
        do {
            rc = flock(fd, LOCK_EX | LOCK_NB);
        } while (rc != 0 && errno == EINTR);
        if (rc != 0) {
            int number = errno;
            close(fd);
            return failed(number, native);
        }
    }
    *ret_file = (void *) ((intptr_t) fd + 1);
    return 0;
}

static void close_file(void *user, void *file)
{
    (void) user;
    /* Not repeated after EINTR: on Linux the descriptor is closed in any case. */
    if (file != NULL) {
        close(fd_of(file));
    }
}

static int64_t read_at(void *user, void *file, void *ptr, size_t len, uint64_t offset, int *native)
{
    (void) user;
    uint8_t *p = ptr;
    size_t done = 0;
    if (offset > INT64_MAX || len > INT64_MAX - offset) {
        return failed(EINVAL, native);
    }
    while (done < len) {
        ssize_t n = pread(fd_of(file), p + done, len - done, (off_t) (offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return failed(errno, native);
        }
        if (n == 0) {
            break;
        }
        done += (size_t) n;
    }
    return (int64_t) done;
}

/* Where a list of parts goes on: part `index`, `skip` bytes of it are written. */
struct place {
    uint32_t index;
    size_t skip;
};

static int fill_vector(struct iovec *vec, const struct tpc_bytes *parts, uint32_t count,
                       struct place at)
{
    int n = 0;
    for (uint32_t i = at.index; i < count && n < PARTS_PER_CALL; i++) {
        size_t skip = i == at.index ? at.skip : 0;
        if (parts[i].len > skip) {
            union {
                const uint8_t *in;
                void *out;
            } base = { .in = parts[i].ptr + skip }; /* iovec has no const twin */
            vec[n].iov_base = base.out;
            vec[n].iov_len = parts[i].len - skip;
            n++;
        }
    }
    return n;
}

static struct place go_on(const struct tpc_bytes *parts, uint32_t count, struct place at, size_t n)
{
    while (at.index < count && n >= parts[at.index].len - at.skip) {
        n -= parts[at.index].len - at.skip;
        at.index++;
        at.skip = 0;
    }
    at.skip += n;
    return at;
}

static int write_at(void *user, void *file, const struct tpc_bytes *parts, uint32_t count,
                    uint64_t offset, int *native)
{
    (void) user;
    struct iovec vec[PARTS_PER_CALL];
    struct place at = { 0, 0 };
    for (;;) {
        int parts_now = fill_vector(vec, parts, count, at);
        if (parts_now == 0) {
            return 0;
        }
        if (offset > INT64_MAX) {
            return failed(EFBIG, native);
        }
        ssize_t n = pwritev(fd_of(file), vec, parts_now, (off_t) offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return failed(n < 0 ? errno : EIO, native);
        }
        offset += (uint64_t) n;
        at = go_on(parts, count, at, (size_t) n);
    }
}

static int sync_file(void *user, void *file, int *native)
{
    (void) user;
    int rc;
    do {
        rc = fdatasync(fd_of(file));
    } while (rc != 0 && errno == EINTR);
    return rc != 0 ? failed(errno, native) : 0;
}

static int truncate_file(void *user, void *file, uint64_t length, int *native)
{
    (void) user;
    if (length > INT64_MAX) {
        return failed(EFBIG, native);
    }
    int rc;
    do {
        rc = ftruncate(fd_of(file), (off_t) length);
    } while (rc != 0 && errno == EINTR);
    return rc != 0 ? failed(errno, native) : 0;
}

static int64_t length_of(void *user, void *file, int *native)
{
    (void) user;
    struct stat st;
    return fstat(fd_of(file), &st) != 0 ? failed(errno, native) : (int64_t) st.st_size;
}

static int rename_file(void *user, const char *from, const char *to, int *native)
{
    (void) user;
    return rename(from, to) != 0 ? failed(errno, native) : 0;
}

static int remove_file(void *user, const char *path, int *native)
{
    (void) user;
    return unlink(path) != 0 ? failed(errno, native) : 0;
}

static int make_one(const char *path)
{
    if (mkdir(path, DIR_MODE) == 0) {
        return 0;
    }
    int number = errno;
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : number;
}

static int make_dir(void *user, const char *path, int *native)
{
    (void) user;
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(part)) {
        return failed(len == 0 ? ENOENT : ENAMETOOLONG, native);
    }
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        int number = make_one(part);
        if (number != 0) {
            return failed(number, native);
        }
    }
    return 0;
}

static int sync_dir(void *user, const char *path, int *native)
{
    (void) user;
    int fd;
    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return failed(errno, native);
    }
    int rc;
    do {
        rc = fsync(fd);
    } while (rc != 0 && errno == EINTR);
    int number = errno;
    close(fd);
    return rc != 0 ? failed(number, native) : 0;
}

static int list_dir(void *user, const char *path, tpc_file_name_fn *fn, void *fn_user, int *native)
{
    (void) user;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return failed(errno, native);
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            rc = errno != 0 ? failed(errno, native) : 0;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = fn(fn_user, entry->d_name);
        }
    }
    closedir(dir);
    return rc;
}

static int space_at(void *user, const char *path, uint64_t *ret_free_bytes, int *native)
{
    (void) user;
    struct statvfs st;
    int rc;
    do {
        rc = statvfs(path, &st);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return failed(errno, native);
    }
    *ret_free_bytes = (uint64_t) st.f_bavail * st.f_frsize;
    return 0;
}

static const struct tpc_files system_files = {
    .size = sizeof(struct tpc_files),
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
    .space = space_at,
};

const struct tpc_files *tpi_files_system(void)
{
    return &system_files;
}
