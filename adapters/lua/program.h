/*
 * A compiled product script: bytecode (made by us, shared by all programs of the same text) and
 * where each slot has loaded it. Never changed once made, but for the loads, each of which belongs
 * to its slot's thread.
 */
#ifndef LUA_PROGRAM_H
#define LUA_PROGRAM_H

#include <lua.h>
#include <stdatomic.h>
#include <tpcore/bytes.h>

enum { SCRIPT_UP, SCRIPT_DOWN, SCRIPTS };

struct chunk {
    struct chunk *next;
    uint8_t hash[32]; /* SHA-256 of the text */
    uint32_t refs;    /* guarded by the codec's lock */
    size_t len;
    uint8_t bytes[];
};

/* A program in one slot. References into its registry; 0 = not there. */
struct load {
    struct program *next_dead;
    uint32_t epoch; /* of the state that it is in; 0 = none */
    int env;
    int string_table;
    int decode;
    int encode;
    int inp;      /* encodeInp of the up script */
    int down_inp; /* encodeInp of the down script */
};

struct program {
    struct tpc_str product;
    size_t size;                   /* of this block */
    struct chunk *chunks[SCRIPTS]; /* DOWN may be NULL */
    _Atomic uint32_t refs;
    _Atomic bool panel;  /* encodeInp() alone: ThingsPanel's shapes; set by the first load */
    struct load loads[]; /* one for each slot */
};

#endif
