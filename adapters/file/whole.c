/* See whole.h. */
#include "whole.h"

#include <string.h>
#include <sys/stat.h>
#include <tpcore/error.h>

enum { PATH_BYTES = 4096 };

static int write_file(const struct tpc_files *f, const char *path, const struct tpi_buf *b,
                      int *native)
{
    const struct tpc_bytes bytes = { b->ptr, b->len };
    void *file = NULL;
    int rc = f->open(f->user, path, TPC_FILE_WRITE | TPC_FILE_CREATE, &file, native);
    if (rc != 0) {
        return rc;
    }
    (void) chmod(path, S_IRUSR | S_IWUSR); /* before there is anything in it */
    rc = f->truncate(f->user, file, 0, native);
    rc = rc != 0 ? rc : f->write_at(f->user, file, &bytes, 1, 0, native);
    rc = rc != 0 ? rc : f->sync(f->user, file, native);
    f->close(f->user, file);
    return rc;
}

int whole_replace(const struct tpc_files *f, const char *path, const struct tpi_buf *content,
                  int *native)
{
    char fresh[PATH_BYTES], dir[PATH_BYTES] = ".";
    size_t n = strlen(path), end = n;
    if (n + 5 > sizeof(fresh)) {
        return TPC_ETOOBIG;
    }
    while (end > 0 && path[end - 1] != '/') {
        end--;
    }
    if (end > 0) {
        memcpy(dir, path, end);
        dir[end > 1 ? end - 1 : 1] = '\0';
        (void) f->make_dir(f->user, dir, native);
    }
    memcpy(fresh, path, n);
    memcpy(fresh + n, ".new", 5);
    int rc = write_file(f, fresh, content, native);
    rc = rc != 0 ? rc : f->rename(f->user, fresh, path, native);
    if (rc == 0) {
        (void) f->sync_dir(f->user, dir, native);
    }
    return rc;
}

int whole_read(const struct tpc_files *f, const char *path, size_t max, struct tpi_buf *b)
{
    void *file = NULL;
    int rc = f->open(f->user, path, TPC_FILE_READ, &file, NULL);
    if (rc != 0) {
        return rc;
    }
    int64_t len = f->length(f->user, file, NULL);
    rc = len < 0                ? TPC_EIO
         : (uint64_t) len > max ? TPC_ETOOBIG
                                : tpi_buf_reserve(b, (size_t) len + 1);
    int64_t got = rc == 0 ? f->read_at(f->user, file, b->ptr + b->len, (size_t) len, 0, NULL) : 0;
    f->close(f->user, file);
    if (got < 0) {
        return TPC_EIO;
    }
    b->len += (size_t) got;
    return rc;
}
