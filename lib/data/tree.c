#include "data/tree.h"

#include "base/hash.h"

#include <stdio.h>

static bool same(struct tpc_str a, struct tpc_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

int tpi_tree_grow(struct tpi_tree *t)
{
    size_t cap = t->cap * 2;
    if (cap > SIZE_MAX / sizeof(struct tpc_member) || cap > UINT32_MAX) {
        return TPC_ENOMEM;
    }
    struct tpc_member *slots = tpc_arena_take(t->arena, cap * sizeof(*slots));
    if (slots == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(slots, t->slots, t->count * sizeof(*slots));
    t->slots = slots;
    t->cap = cap;
    return 0;
}

/* The seed differs from process to process, so nobody can prepare keys that all collide. */
static uint32_t set_home(const struct tpi_tree *t, struct tpc_str key, uint32_t mask)
{
    return (uint32_t) tpi_hash(key.ptr, key.len, (uint64_t) (uintptr_t) t->arena) & mask;
}

/* Adds the key of slot `index`; returns the index of an equal key that is there, else `index`. */
static size_t set_add(struct tpi_tree *t, struct tpi_tree_frame *f, size_t index)
{
    struct tpc_str key = t->slots[index].key;
    for (uint32_t at = set_home(t, key, f->set_mask);; at = (at + 1) & f->set_mask) {
        uint32_t entry = f->set[at];
        if (entry == 0) {
            f->set[at] = (uint32_t) (index - f->first) + 1;
            return index;
        }
        size_t other = f->first + entry - 1;
        if (same(t->slots[other].key, key)) {
            return other;
        }
    }
}

/* Makes an empty set for `members` keys at most half full. */
static int set_make(struct tpi_tree *t, struct tpi_tree_frame *f, size_t members)
{
    size_t size = 64;
    while (size < members * 2) {
        size *= 2;
    }
    uint32_t *set = tpc_arena_take(t->arena, size * sizeof(*set));
    if (set == NULL) {
        return TPC_ENOMEM;
    }
    memset(set, 0, size * sizeof(*set));
    f->set = set;
    f->set_mask = (uint32_t) (size - 1);
    return 0;
}

int tpi_tree_key_seen(struct tpi_tree *t, struct tpc_str key)
{
    struct tpi_tree_frame *f = &t->frames[t->depth - 1];
    size_t members = t->count - f->first;
    if (members < TPI_TREE_SMALL_MAP) {
        for (size_t i = f->first; i < t->count; i++) {
            if (same(t->slots[i].key, key)) {
                return TPI_TREE_DUPLICATE;
            }
        }
        return 0;
    }
    if (f->set == NULL || members * 2 > f->set_mask) {
        int rc = set_make(t, f, members * 2);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = f->first; i < t->count; i++) {
            set_add(t, f, i);
        }
    }
    return set_add(t, f, t->count) == t->count ? 0 : TPI_TREE_DUPLICATE;
}

int tpi_tree_open(struct tpi_tree *t, bool map)
{
    if (t->depth == TPI_TREE_DEPTH) {
        return TPC_ETOOBIG;
    }
    if (t->count == t->cap) {
        int rc = tpi_tree_grow(t);
        if (rc != 0) {
            return rc;
        }
    }
    t->count++;
    struct tpi_tree_frame *f = &t->frames[t->depth++];
    f->first = t->count;
    f->seen = 0;
    f->set = NULL;
    f->set_mask = 0;
    f->map = map;
    return 0;
}

/* Of equal keys leaves the place of the first and the value of the last. */
static int merge_duplicates(struct tpi_tree *t, struct tpi_tree_frame *f)
{
    size_t kept = f->first;
    int rc = set_make(t, f, t->count - f->first);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = f->first; i < t->count; i++) {
        struct tpc_value value = t->slots[i].value;
        t->slots[kept].key = t->slots[i].key;
        size_t at = set_add(t, f, kept);
        t->slots[at].value = value;
        kept += at == kept;
    }
    t->count = kept;
    return 0;
}

int tpi_tree_close(struct tpi_tree *t)
{
    struct tpi_tree_frame *f = &t->frames[t->depth - 1];
    if (f->map && t->keep_last && t->count - f->first > 1) {
        int rc = merge_duplicates(t, f);
        if (rc != 0) {
            return rc;
        }
    }
    size_t n = t->count - f->first;
    struct tpc_value v = { .type = f->map ? TPC_MAP : TPC_ARRAY, .len = n };
    if (n > 0 && f->map) {
        struct tpc_member *members = tpc_arena_take(t->arena, n * sizeof(*members));
        if (members == NULL) {
            return TPC_ENOMEM;
        }
        memcpy(members, t->slots + f->first, n * sizeof(*members));
        v.as.members = members;
    } else if (n > 0) {
        struct tpc_value *items = tpc_arena_take(t->arena, n * sizeof(*items));
        if (items == NULL) {
            return TPC_ENOMEM;
        }
        for (size_t i = 0; i < n; i++) {
            items[i] = t->slots[f->first + i].value;
        }
        v.as.items = items;
    }
    t->count = f->first;
    t->depth--;
    t->slots[t->count - 1].value = v;
    return 0;
}

void tpi_tree_path(const struct tpi_tree *t, char *out, size_t cap)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < t->depth && at < cap - 1; i++) {
        const struct tpi_tree_frame *f = &t->frames[i];
        /* Where the path goes on: the slot of the next open container, or the one to be filled. */
        size_t slot = i + 1 < t->depth ? t->frames[i + 1].first - 1 : t->count;
        int n;
        if (f->map) {
            struct tpc_str key = t->slots[slot].key;
            n = snprintf(out + at, cap - at, "%s%.*s", at == 0 ? "" : ".",
                         key.len > 128 ? 128 : (int) key.len, key.ptr);
        } else {
            n = snprintf(out + at, cap - at, "[%zu]", slot - f->first);
        }
        at += n > 0 ? (size_t) n : 0;
    }
}
