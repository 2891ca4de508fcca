/*
 * Values in the texts of what an action says: {"text": "{{ device }} is at {{ temperature | round(1) }}"}.
 * A text that is one {{ .. }} and nothing else becomes the value with its type. Compiled once, against the
 * names of what sets the action off; filled in for each firing.
 */
#ifndef TPI_RULES_FILL_H
#define TPI_RULES_FILL_H

#include <tpcore/arena.h>
#include <tpcore/value.h>

#include "expr/template.h"

enum {
    TPI_FILLS_MAX = 64,         /* texts of one action */
    TPI_FILL_DEPTH = 16,        /* maps and lists inside one another */
    TPI_FILL_TEXT_BYTES = 65536 /* of one text that is filled in */
};

/* In the order in which a walk over the tree meets their texts. */
struct tpi_fills {
    const struct tpc_allocator *alloc;
    struct tpi_template **items;
    uint32_t count;
};

/* Whether there is anything to fill in. */
bool tpi_fills_any(const struct tpc_value *tree);

/* Returns 0, TPC_EINVAL (line and column in the text, path in the tree), TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_fills_compile(const struct tpc_allocator *alloc, const struct tpc_value *tree,
                      const struct tpi_expr_scope *scope, struct tpc_error *err,
                      struct tpi_fills *ret);
void tpi_fills_fini(struct tpi_fills *f);

/* Where values come from while a rule fires; no host: all names are null. */
struct tpi_fill_source {
    const struct tpi_expr_host *host;
    void *user;
    struct tpi_expr_scratch *scratch; /* may be NULL */
};

/* The tree with its texts filled in, in the arena. Returns 0, TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_fills_apply(const struct tpi_fills *f, const struct tpc_value *tree,
                    const struct tpi_fill_source *from, struct tpc_arena *arena,
                    struct tpc_value *ret);

#endif
