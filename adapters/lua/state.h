/*
 * One Lua state with its limits: memory, steps, deadline. A slot belongs to one worker; nobody else
 * touches it meanwhile.
 *
 * Steps are VM instructions (counted in runs of HOOK_STEPS) and the work of library functions that
 * run long without an instruction. Once a call is over a limit every further instruction of it
 * raises the error again, so no pcall can keep it.
 */
#ifndef LUA_STATE_H
#define LUA_STATE_H

#include "base/map.h"
#include "program.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <tpcore/ext/codec.h>

enum {
    HOOK_STEPS = 256,  /* VM instructions between two looks at the limits */
    GC_PAUSE = 400,    /* a collection begins at so many per cent of what the last one left */
    POOL_CLASSES = 32, /* blocks of 16, 32 .. 512 bytes */
    POOL_STEP = 16,
    POOL_CHUNK = 32 * 1024, /* bytes taken from the host at once for small blocks */
    KEY_CACHE = 1024,       /* keys whose text is kept, a power of two */
    KEY_GUESSES = 16,       /* places of a result whose key is guessed */
    KEY_MAX = 40            /* longer strings are not interned by Lua */
};

enum trip { TRIP_NONE = 0, TRIP_STEPS, TRIP_DEADLINE, TRIP_MEMORY };

struct limits {
    size_t memory_bytes; /* live Lua memory of a slot; its pool may hold as much again */
    uint64_t steps;
    uint64_t decode_ns;
    uint64_t inp_ns; /* of encodeInp */
    size_t script_bytes;
    uint32_t points; /* of a message */
    uint32_t msgs;   /* of a frame */
};

struct pool_chunk {
    struct pool_chunk *next;
    max_align_t align;
};

/* Words that a result is looked through for. */
enum word { WORD_NONE, WORD_POINTS, WORD_KIND };

/* A key that scripts use. */
struct key_entry {
    const void *object;  /* the string in Lua, kept alive: its address means this text */
    struct tpc_str text; /* copy that lives until the slot ends */
    enum word word;
};

struct slot {
    lua_State *L; /* NULL until first used */
    const struct tpc_allocator *alloc;
    const struct tpc_clock *clock;
    const struct limits *limits;

    struct pool_chunk *chunks;
    size_t chunk_count;
    void *free_blocks[POOL_CLASSES];
    size_t live_bytes;
    bool host_refused; /* the host's allocator said no since the last call began */

    uint64_t steps;
    uint32_t debt; /* steps of library functions not yet added */
    uint64_t begin_ns;
    uint64_t limit_ns;
    enum trip trip;
    bool tight;      /* the hook runs at each instruction: a call was tripped */
    bool reset_soon; /* memory ran out: a new state before the next batch */

    uint32_t epoch;          /* of the state; a program loaded in an older one is loaded again */
    struct program *current; /* whose string table strings have */
    struct program *_Atomic dead; /* released, to be unloaded */
    struct key_entry keys[KEY_CACHE];
    uint32_t key_count;
    const struct key_entry *guess[KEY_GUESSES]; /* the key last seen at that place of a result */
    struct tpi_map key_texts;      /* text -> struct tpc_str, over all states of the slot */
    lua_CFunction unpack;          /* Lua's string.unpack */
    const struct tpc_frame *frame; /* of the running call, for ctx */
    const struct program *running;
    struct tpc_arena *scratch; /* json.decode and json.encode */
};

/* Registry slots of a state. */
enum { REG_CTX = 1, REG_ANCHORS, REG_LIBS, REG_LAST };
extern const char slot_registry[REG_LAST];

void slot_init(struct slot *s, const struct tpc_host *host, const struct limits *limits);
void slot_fini(struct slot *s);

/* The state is there and fresh programs can be loaded: TPC_ENOMEM if not. */
int slot_open(struct slot *s, struct tpc_error *err);
void slot_close(struct slot *s);

static inline struct slot *slot_of(lua_State *L)
{
    return *(struct slot **) lua_getextraspace(L);
}

/* Starts the budget of one call. */
void slot_begin(struct slot *s, uint64_t limit_ns);

/* Adds steps; raises the Lua error when the call is over a limit. */
void slot_charge(lua_State *L, struct slot *s, uint64_t steps);

/* The same for n bytes or items that a library function walks over. */
static inline void slot_work(lua_State *L, size_t n)
{
    struct slot *s = slot_of(L);
    uint64_t steps = n / 16 + 1 + s->debt;
    if (steps < HOOK_STEPS) {
        s->debt = (uint32_t) steps;
        return;
    }
    s->debt = 0;
    slot_charge(L, s, steps);
}

/* Adds steps without raising. Returns non-zero when over a limit. */
int slot_spend(struct slot *s, uint64_t steps);

/* Raises again what an inner protected call caught, if that was a limit. status: of that call. */
void slot_reraise(lua_State *L, int status);

/* Fills err from the error on top of the stack (status of lua_pcall) and takes it off. */
int slot_error(struct slot *s, int status, struct tpc_str product, struct tpc_error *err);

/* The entry of a string's object (lua_topointer), or NULL. */
const struct key_entry *slot_key_find(const struct slot *s, const void *object);

/* A new entry for the string at index; where the cache is full, *room with a copy of the text in
 * the arena. May raise. Returns 0 or TPC_ENOMEM. */
int slot_key(lua_State *L, struct slot *s, int index, struct tpc_arena *arena,
             struct key_entry *room, const struct key_entry **ret);

/* Library tables for the programs of a state (sandbox.c); protected call. */
void sandbox_open(lua_State *L);

/* Pushes the environment table of a new program. */
void sandbox_env(lua_State *L);

/* string functions on our matcher, the rest of string and table with their work charged. */
void strings_open(lua_State *L);

/* Function `name` of the table on top pays for the length of its text from now on. */
void strings_pay(lua_State *L, const char *name);

/* string.unpack. */
int unpack_string(lua_State *L);

/* {decode, encode}. */
void jsonlib_open(lua_State *L);

#endif
