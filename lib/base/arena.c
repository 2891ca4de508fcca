#include <tpcore/arena.h>

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/error.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/crypto.h"

enum { FIRST_BLOCK_BYTES = 4096, ALIGN = alignof(max_align_t) };

/* The newest block stands first and is the one that gives. */
struct block {
    struct block *older;
    size_t size; /* with this header */
    alignas(max_align_t) uint8_t data[];
};

struct tpc_arena {
    const struct tpc_allocator *alloc;
    struct block *block;
    size_t used; /* in block->data */
    size_t held; /* sum of the blocks' sizes */
    size_t limit;
    size_t first; /* size of the first block */
    bool small;   /* and of the next ones, up to FIRST_BLOCK_BYTES together */
    bool secret;  /* what it gave is wiped before it is freed or given again */
};

int tpc_arena_create(const struct tpc_allocator *allocator, size_t limit_bytes,
                     struct tpc_arena **ret)
{
    if (ret == NULL) {
        return TPC_EINVAL;
    }
    struct tpc_arena *a = tpi_alloc_zero(allocator, sizeof(*a));
    if (a == NULL) {
        return TPC_ENOMEM;
    }
    a->alloc = allocator;
    a->limit = limit_bytes;
    a->first = FIRST_BLOCK_BYTES;
    *ret = a;
    return 0;
}

void tpi_arena_small(struct tpc_arena *arena, size_t block_bytes)
{
    arena->first = block_bytes;
    arena->small = true;
}

void tpi_arena_secret(struct tpc_arena *arena)
{
    arena->secret = true;
}

static void wipe(const struct tpc_arena *a, struct block *b)
{
    if (a->secret) {
        tpi_wipe(b->data, b->size - sizeof(*b));
    }
}

static void free_blocks(struct tpc_arena *a, struct block *b)
{
    while (b != NULL) {
        struct block *older = b->older;
        a->held -= b->size;
        wipe(a, b);
        tpi_free(a->alloc, b, b->size);
        b = older;
    }
}

struct tpc_arena *tpc_arena_destroy(struct tpc_arena *arena)
{
    if (arena != NULL) {
        free_blocks(arena, arena->block);
        tpi_free(arena->alloc, arena, sizeof(*arena));
    }
    return NULL;
}

/* Size of the next block. A small arena takes what it needs, until it is no small one any more. */
static size_t next_size(const struct tpc_arena *a, size_t need)
{
    size_t want = a->block == NULL ? a->first : a->block->size;
    if (a->small && a->held < FIRST_BLOCK_BYTES) {
        return need > a->first ? need : a->first;
    }
    if (a->block != NULL && want <= SIZE_MAX / 4) {
        want *= 2;
    }
    while (want < need) {
        want *= 2;
    }
    return want;
}

/* A block twice as large as the last, or larger if size needs it, or smaller if the limit does. */
static struct block *add_block(struct tpc_arena *a, size_t size)
{
    if (size > SIZE_MAX / 4) {
        return NULL;
    }
    size_t need = sizeof(struct block) + size;
    size_t want = next_size(a, need);
    if (a->limit != 0) {
        size_t left = a->limit > a->held ? a->limit - a->held : 0;
        if (need > left) {
            return NULL;
        }
        want = want < left ? want : left;
    }
    struct block *b = tpi_alloc(a->alloc, want);
    if (b == NULL && want > need) {
        want = need;
        b = tpi_alloc(a->alloc, want);
    }
    if (b != NULL) {
        b->size = want;
        b->older = a->block;
        a->block = b;
        a->held += want;
        a->used = 0;
    }
    return b;
}

void *tpc_arena_take(struct tpc_arena *arena, size_t size)
{
    if (arena == NULL || size > SIZE_MAX - ALIGN) {
        return NULL;
    }
    size = size == 0 ? ALIGN : (size + ALIGN - 1) & ~((size_t) ALIGN - 1);
    struct block *b = arena->block;
    if (b == NULL || size > b->size - sizeof(*b) - arena->used) {
        b = add_block(arena, size);
        if (b == NULL) {
            return NULL;
        }
    }
    void *p = b->data + arena->used;
    arena->used += size;
    return p;
}

void tpc_arena_reset(struct tpc_arena *arena)
{
    if (arena == NULL || arena->block == NULL) {
        return;
    }
    /* Near the limit or out of memory a newer block may be smaller: look for the largest. */
    struct block **at = &arena->block;
    for (struct block **p = &arena->block; *p != NULL; p = &(*p)->older) {
        if ((*p)->size > (*at)->size) {
            at = p;
        }
    }
    struct block *keep = *at;
    *at = keep->older;
    keep->older = NULL;
    free_blocks(arena, arena->block);
    wipe(arena, keep);
    arena->block = keep;
    arena->used = 0;
    arena->secret = false;
}
