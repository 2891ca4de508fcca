/*
 * Builds a tree of values in an arena from a run of events, for the JSON and the CBOR reader.
 *
 * Items of containers that are still open stand on one stack of slots; closing a container copies
 * its items into the arena in their final size. Small trees never touch more memory than the result
 * takes; the stack starts inside the struct and moves into the arena when it is outgrown.
 */
#ifndef TPI_DATA_TREE_H
#define TPI_DATA_TREE_H

#include <stdbool.h>
#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

enum {
    TPI_TREE_DEPTH = TPC_JSON_MAX_DEPTH,
    TPI_TREE_SLOTS = 64,     /* slots that need no arena */
    TPI_TREE_SMALL_MAP = 16, /* members up to which keys are compared one by one */
    TPI_TREE_DUPLICATE = 1   /* answer of tpi_tree_key(): the key is there already */
};

struct tpi_tree_frame {
    size_t first;      /* slot of its first item */
    uint64_t seen;     /* a bit for the hash of each key so far */
    uint32_t *set;     /* open addressing over slot index + 1; NULL while the map is small */
    uint32_t set_mask; /* size of set - 1 */
    bool map;
};

struct tpi_tree {
    struct tpc_arena *arena;
    struct tpc_member *slots;
    size_t count; /* slots in use; an open container's own slot is the one before its first item */
    size_t cap;
    uint32_t depth;
    bool keep_last; /* of equal keys, instead of answering TPI_TREE_DUPLICATE */
    struct tpi_tree_frame frames[TPI_TREE_DEPTH];
    struct tpc_member fixed[TPI_TREE_SLOTS];
};

/* Starts a tree; nothing is allocated. */
static inline void tpi_tree_init(struct tpi_tree *t, struct tpc_arena *arena, bool keep_last)
{
    t->arena = arena;
    t->slots = t->fixed;
    t->count = 0;
    t->cap = TPI_TREE_SLOTS;
    t->depth = 0;
    t->keep_last = keep_last;
}

/* Makes room for one slot more. Returns 0 or TPC_ENOMEM. */
int tpi_tree_grow(struct tpi_tree *t);

/* The slow part of tpi_tree_key(): compares, and keeps the set of a large map. */
int tpi_tree_key_seen(struct tpi_tree *t, struct tpc_str key);

/* A cheap hash for the `seen` bits. */
static inline uint64_t tpi_tree_key_bit(struct tpc_str key)
{
    uint64_t head = 0;
    uint64_t tail = 0;
    if (key.len >= 8) {
        memcpy(&head, key.ptr, 8);
        memcpy(&tail, key.ptr + key.len - 8, 8);
    } else if (key.len >= 4) {
        uint32_t a, b;
        memcpy(&a, key.ptr, 4);
        memcpy(&b, key.ptr + key.len - 4, 4);
        head = a;
        tail = b;
    } else if (key.len > 0) {
        head = (uint64_t) (unsigned char) key.ptr[0] << 16 |
               (uint64_t) (unsigned char) key.ptr[key.len / 2] << 8 |
               (unsigned char) key.ptr[key.len - 1];
    }
    uint64_t h = (head ^ (tail << 7 | tail >> 57) ^ key.len) * 0x9E3779B97F4A7C15u;
    return (uint64_t) 1 << (h >> 58);
}

/*
 * Key of the next value of the innermost map. The text must live as long as the tree.
 * Returns 0, TPI_TREE_DUPLICATE or TPC_ENOMEM.
 */
static inline int tpi_tree_key(struct tpi_tree *t, struct tpc_str key)
{
    struct tpi_tree_frame *f = &t->frames[t->depth - 1];
    if (t->count == t->cap) {
        int rc = tpi_tree_grow(t);
        if (rc != 0) {
            return rc;
        }
    }
    t->slots[t->count].key = key;
    if (t->keep_last) {
        return 0;
    }
    uint64_t bit = tpi_tree_key_bit(key);
    if ((f->seen & bit) != 0 || t->count - f->first >= TPI_TREE_SMALL_MAP) {
        return tpi_tree_key_seen(t, key);
    }
    f->seen |= bit;
    return 0;
}

/* Where to write the next value; in a map its key was given before. NULL if out of memory. */
static inline struct tpc_value *tpi_tree_next(struct tpi_tree *t)
{
    if (t->count == t->cap && tpi_tree_grow(t) != 0) {
        return NULL;
    }
    return &t->slots[t->count++].value;
}

/* Opens an array or a map as the next value. Returns 0, TPC_ETOOBIG (depth) or TPC_ENOMEM. */
int tpi_tree_open(struct tpi_tree *t, bool map);

/* Closes the innermost container. Returns 0 or TPC_ENOMEM. */
int tpi_tree_close(struct tpi_tree *t);

/* Whether the tree is whole: one value and nothing open. */
static inline bool tpi_tree_whole(const struct tpi_tree *t)
{
    return t->depth == 0 && t->count == 1;
}

/* Writes where the next value would stand, "values.temp[3]", with NUL; cut at cap. `last` is the
 * innermost map's key. */
void tpi_tree_path(const struct tpi_tree *t, char *out, size_t cap);

#endif
