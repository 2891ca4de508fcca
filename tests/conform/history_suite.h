/*
 * What every blob history engine must do, and the property test of the stage above it.
 */
#ifndef HISTORY_SUITE_H
#define HISTORY_SUITE_H

#include <tpcore/ext/history.h>

#include "tk.h"

struct history_engine {
    const char *name;
    const struct tpc_history_ops *ops;
    bool persistent;                        /* keeps its content over fini and init */
    const struct tpc_value *(*fresh)(void); /* configuration of a new, empty place */
};

/* Sets the engine of this binary; the suites below use it. */
void history_suite_use(const struct history_engine *engine);
const struct history_engine *history_suite_engine(void);

Suite *history_engine_suite(void);
Suite *history_property_suite(void);
Suite *history_read_suite(void);

/* ---- for tests of one engine ---- */

/* An instance over a host that counts nothing and logs nothing. init() must succeed. */
void *history_engine_open(const struct tpc_history_ops *ops, const struct tpc_value *cfg);
void history_engine_close(const struct tpc_history_ops *ops, void *self);

/* A host for modules under test; fail() fills *history_host_error(). */
const struct tpc_host *history_host(void);
const struct tpc_error *history_host_error(void);

/* Seeded random numbers: xorshift64*. */
uint64_t history_random(uint64_t *state);

#endif
