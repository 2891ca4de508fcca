/*
 * Files of a set as copies in memory that nobody can change, each with a path of its own
 * ("/proc/self/fd/N"), for libraries that read certificates and keys by path. What is written to the
 * files themselves is then no matter to a library that reads them at a time of its own.
 *
 * Without memfd_create() or /proc the paths are the files' own.
 */
#ifndef TLS_COPY_H
#define TLS_COPY_H

#include "files.h"

enum { TLS_PATH_BYTES = 32 };

struct tls_copy {
    const struct tpc_allocator *alloc;
    int fd[TLS_ROLES]; /* -1 = none */
    char own[TLS_ROLES][TLS_PATH_BYTES];
    const char *path[TLS_ROLES]; /* to read; NULL = not part of the set */
};

/* Of the set in use. 0, TPC_ENOMEM or TPC_EIO (descriptors are short). Paths of f stay in use. */
int tls_copy_create(const struct tls_files *f, struct tls_copy **ret);
/* Closes the copies: whoever was given a path has opened it by now. Returns NULL. */
struct tls_copy *tls_copy_destroy(struct tls_copy *c);

#endif
