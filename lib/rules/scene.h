/*
 * A scene as it runs: made from its document, then unchanged but for its condition's program and
 * the marks of what was logged.
 */
#ifndef TPI_RULES_SCENE_H
#define TPI_RULES_SCENE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/arena.h>

#include "base/map.h"
#include "entity/entity.h"
#include "registry/registry.h"
#include "expr/expr.h"
#include "rules/action.h"

struct tpi_scene {
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena; /* texts, actions */
    uint64_t id;
    uint64_t revision;
    uint64_t tenant_id;
    uint64_t product_id; /* 0 = no such product */
    struct tpc_str tenant;
    struct tpc_str key;
    struct tpc_str by; /* "scene:key" */
    struct tpc_str product;
    struct tpc_str text; /* of the condition */
    uint32_t when;       /* short hash of all that decides whether it is true */
    uint32_t number;     /* place in the workers' marks */
    bool enabled;
    bool each;              /* fires with every message */
    bool linked;            /* stands in its product's lists */
    struct tpi_map devices; /* keys; empty = all of the product */
    struct tpi_expr *expr;  /* NULL = broken: does not compile */
    struct tpi_actions actions;
    atomic_bool warned; /* that there is no memory for its state was logged */
};

/* struct tpc_option of the documents. */
extern const struct tpc_list tpi_scene_schema;

/* Makes a scene of a checked document. Its condition is not compiled yet. Returns 0, TPC_EINVAL or
 * TPC_ENOMEM. */
int tpi_scene_create(const struct tpc_allocator *alloc, const struct tpi_change *change,
                     struct tpc_error *err, struct tpi_scene **ret);
void tpi_scene_destroy(struct tpi_scene *s);

/* Compiles its condition against the product's model as it is now; the scene is unchanged. Takes
 * the registry's read lock. Returns 0, TPC_ENOENT (no such product), TPC_EINVAL (path "when.expr",
 * line, column), TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_scene_compile(const struct tpi_scene *s, struct tpi_registry *registry,
                      struct tpc_error *err, struct tpi_expr **ret, uint64_t *ret_product);

/* tpi_actions_check() of its actions. */
int tpi_scene_check(const struct tpi_scene *s, struct tpi_registry *registry,
                    struct tpc_arena *arena, struct tpc_error *err);

#endif
