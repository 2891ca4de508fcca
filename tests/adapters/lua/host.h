/* A host for the Lua codec, and its calls in short. */
#ifndef LUA_HOST_H
#define LUA_HOST_H

#include "../../conform/codec_suite.h"
#include "base/env.h"
#include "tk.h"
#include "tk_clock.h"

#include <stdio.h>
#include <tpcore/ext/codec.h>
#include <tpcore/modules.h>

struct lua_host {
    struct tpc_host base;
    struct tk_clock still;
    int64_t counts[8]; /* enum below */
    int fail_code;
    struct tpc_error err;
    const struct tpc_codec_ops *ops;
    void *self;
    void *program;
    struct tpc_arena *arena;
    struct cs_sink sink;
};

enum { COUNT_ERRORS, COUNT_STEPS, COUNT_DEADLINE, COUNT_MEMORY };

/* workers 1. options: JSON text or NULL. clock NULL = the system's. */
int lua_host_open(struct lua_host *h, const struct tpc_allocator *a, const struct tpc_clock *clock,
                  const char *options);
void lua_host_close(struct lua_host *h);

/* Compiles {"type":"lua","script":script,"down":down} for product "thermo". */
int lua_host_compile(struct lua_host *h, const char *script, const char *down, void **ret);

/* Compiles with success, decodes one frame: the trace. Keeps the program until the next call. */
const char *lua_host_run(struct lua_host *h, const char *script, uint16_t kind,
                         struct tpc_bytes payload);

/* Returns expr (Lua) as the trace's only point "r". */
const char *lua_host_eval(struct lua_host *h, const char *expr);

Suite *script_suite(void);
Suite *limit_suite(void);
Suite *panel_suite(void);
Suite *match_suite(void);

#endif
