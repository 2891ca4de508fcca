/*
 * What every store engine (struct tpc_store_ops) must do.
 */
#ifndef STORE_SUITE_H
#define STORE_SUITE_H

#include <tpcore/ext/store.h>

#include "tk.h"

struct store_engine {
    const char *name;
    const struct tpc_store_ops *ops;
    bool persistent; /* keeps its content over fini and init */
    /* Configuration of a new, empty place, valid until the next call; the allocator and the rest
     * come from store_host(). */
    const struct tpc_value *(*fresh)(void);
};

/* Sets the engine of this binary; the suite below uses it. */
void store_suite_use(const struct store_engine *engine);
Suite *store_engine_suite(void);

/* ---- for tests of one engine ---- */

/* A host with the system's clock and files; fail() fills *store_host_error(). */
const struct tpc_host *store_host(void);
const struct tpc_error *store_host_error(void);

/* An instance. With open, init() must succeed; try_open() gives its code and NULL on failure. */
void *store_open(const struct tpc_store_ops *ops, const struct tpc_value *cfg);
int store_try_open(const struct tpc_store_ops *ops, const struct tpc_host *host,
                   const struct tpc_value *cfg, void **ret);
void store_close(const struct tpc_store_ops *ops, void *self);

/* A PUT of an entity row: no fields, the document is text. */
struct tpc_store_op store_put_op(const char *kind, uint64_t tenant, const char *key,
                                 uint64_t expect, uint64_t revision, const char *doc);
struct tpc_store_op store_delete_op(const char *kind, uint64_t tenant, const char *key,
                                    uint64_t expect);

#endif
