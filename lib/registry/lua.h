/*
 * A program of the codec "lua" around code of the user's: a stage says what stands in front of the code
 * and behind it. The codec's limits, its sandbox and its state for each worker hold here, too; nothing
 * of Lua is linked.
 */
#ifndef TPI_REGISTRY_LUA_H
#define TPI_REGISTRY_LUA_H

#include "registry/registry.h"

struct tpi_lua_wrap {
    const char *origin;   /* of errors */
    const char *unusable; /* their text if the module is there and fails */
    const char *head;     /* on one line, so that the lines of messages are those of the code */
    const char *tail;
};

struct tpi_lua {
    const struct tpc_codec_ops *ops;
    void *self;
    void *program; /* NULL: a core that only looks has no codecs */
};

/* Returns 0, TPC_EUNSUPPORTED (the module lua is not there), TPC_ENOMEM or what the module says. */
int tpi_lua_open(struct tpi_registry *registry, const struct tpi_lua_wrap *wrap,
                 struct tpc_str code, struct tpc_error *err, struct tpi_lua *ret);
void tpi_lua_close(struct tpi_lua *lua);

/* Runs the program, which must be there, as a command; *ret: the JSON that it gives, in the arena. */
int tpi_lua_run(const struct tpi_lua *lua, uint32_t place, struct tpc_encode *what,
                struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret);

#endif
