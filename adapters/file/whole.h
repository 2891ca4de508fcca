/* A small file as a whole: what a module keeps over a restart. */
#ifndef FILE_WHOLE_H
#define FILE_WHOLE_H

#include <stddef.h>
#include <tpcore/ext/host.h>

#include "base/buf.h"

/* After it the file is the old one or the new one, and on the disk: written beside it as `path`.new and
 * renamed. Its folder is made; only its owner may read it. Returns 0, TPC_ETOOBIG (path), or a code of
 * the files with *native (errno). */
int whole_replace(const struct tpc_files *f, const char *path, const struct tpi_buf *content,
                  int *native);

/* Appends the file to b. Returns 0, TPC_ENOENT or another code of the files, TPC_ETOOBIG (over max or
 * b's limit), TPC_ENOMEM. */
int whole_read(const struct tpc_files *f, const char *path, size_t max, struct tpi_buf *b);

#endif
