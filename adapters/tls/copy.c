#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static int write_all(int fd, const struct tls_part *part)
{
    size_t at = 0;
    while (at < part->len) {
        ssize_t n = write(fd, part->text + at, part->len - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 && errno == ENOMEM ? TPC_ENOMEM : TPC_EIO;
        }
        at += (size_t) n;
    }
    return 0;
}

/* -1 with errno. */
static int memory_file(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("tls", flags | MFD_NOEXEC_SEAL);
    return fd < 0 && errno == EINVAL ? memfd_create("tls", flags) : fd;
}

/* Of one file. 0 also if there can be none here. */
static int copy_one(struct tls_copy *c, int role, const struct tls_part *part)
{
    int fd = memory_file();
    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE ? TPC_EIO : errno == ENOMEM ? TPC_ENOMEM : 0;
    }
    int rc = write_all(fd, part);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        rc = TPC_EIO;
    }
    snprintf(c->own[role], TLS_PATH_BYTES, "/proc/self/fd/%d", fd);
    if (rc != 0 || access(c->own[role], R_OK) != 0) {
        close(fd);
        return rc;
    }
    c->fd[role] = fd;
    c->path[role] = c->own[role];
    return 0;
}

int tls_copy_create(const struct tls_files *f, struct tls_copy **ret)
{
    struct tls_copy *c = tpi_alloc_zero(f->alloc, sizeof(*c));
    int rc = c != NULL ? 0 : TPC_ENOMEM;
    for (int i = 0; c != NULL && i < TLS_ROLES; i++) {
        c->alloc = f->alloc;
        c->fd[i] = -1;
        c->path[i] = f->path[i];
        if (rc == 0 && f->part[i].text != NULL) {
            rc = copy_one(c, i, &f->part[i]);
        }
    }
    if (rc != 0) {
        tls_copy_destroy(c);
        return rc;
    }
    *ret = c;
    return 0;
}

struct tls_copy *tls_copy_destroy(struct tls_copy *c)
{
    for (int i = 0; c != NULL && i < TLS_ROLES; i++) {
        if (c->fd[i] >= 0) {
            close(c->fd[i]);
        }
    }
    if (c != NULL) {
        tpi_free(c->alloc, c, sizeof(*c));
    }
    return NULL;
}
