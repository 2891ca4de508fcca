/*
 * Filling struct tpc_error. Every function takes a NULL err for callers who want the code only.
 */
#ifndef TPI_BASE_ERROR_H
#define TPI_BASE_ERROR_H

#include <stddef.h>
#include <tpcore/error.h>

/* Fills err anew (path, line and native become empty) and returns code. origin and text are cut to
 * their fields at a character's border. */
int tpi_error_set(struct tpc_error *err, int code, const char *origin, const char *fmt, ...)
    TPC_PRINTF(4, 5);

/* As tpi_error_set(), with the number that the system or a library gave. */
int tpi_error_native(struct tpc_error *err, int code, int native, const char *origin,
                     const char *fmt, ...) TPC_PRINTF(5, 6);

/* Puts a segment in front of the path: "temp" before "[3]" gives "temp[3]", before "unit" gives
 * "temp.unit". A leading dot of segment is passed over. Too long a path loses its end. Returns
 * err->code, or TPC_EINVAL if err is NULL: a caller that may pass NULL keeps its own code. */
int tpi_error_at(struct tpc_error *err, const char *segment);

/* As tpi_error_at() with the segment "[index]". */
int tpi_error_at_index(struct tpc_error *err, size_t index);

/* Code for an errno; TPC_EIO for one that has no better name. 0 gives 0. */
int tpi_error_from_errno(int number);

#endif
