/*
 * The calling thread's last error, and how public functions fill it. Only lib/core may: parts below
 * it get a struct tpc_error to fill.
 */
#ifndef TPI_CORE_FAIL_H
#define TPI_CORE_FAIL_H

#include "base/error.h"

/* This thread's error, emptied: a public function passes it on to what it calls. */
struct tpc_error *tpi_fail_begin(void);

/* Ends a public function: makes sure that a failure has its code and some text. Returns rc. */
int tpi_fail_end(int rc);

/* Fills this thread's error and returns code. */
int tpi_fail(int code, const char *origin, const char *fmt, ...) TPC_PRINTF(3, 4);

/* Fills this thread's error from another one. Returns its code. */
int tpi_fail_copy(const struct tpc_error *err);

#endif
