/* Values between Lua and struct tpc_value. All raise Lua errors: protected calls only. */
#ifndef LUA_CONVERT_H
#define LUA_CONVERT_H

#include "state.h"

enum convert_flags {
    CONVERT_JSON = 1 /* as ThingsPanel's json.encode: whole floats are ints, a table that is met
                        twice is an error, text is made valid UTF-8 */
};

/*
 * The value at index as a tree in the arena: a table with keys 1..n is an array (so is an empty
 * one), one with text keys a map. Strings that are no UTF-8 are blobs (text with CONVERT_JSON).
 *
 * Returns NULL, or what is wrong as static text.
 */
const char *convert_value(lua_State *L, int index, struct tpc_arena *arena, int flags,
                          struct tpc_value *ret);

/* Pushes a tree: null as nil, text and blobs as strings. */
void convert_push(lua_State *L, const struct tpc_value *v);

/* Raises "out of memory". */
void convert_no_memory(lua_State *L);

#endif
