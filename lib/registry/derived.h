/*
 * Derived properties of a product: which there are, what each reads, and when it is to be computed.
 * How an expression is compiled and run is the host's business (struct tpi_expr_ops): the registry
 * knows none. Never changed once made; any thread.
 */
#ifndef TPI_REGISTRY_DERIVED_H
#define TPI_REGISTRY_DERIVED_H

#include "model/model.h"

struct tpi_registry;
struct tpi_env;

/* A value by the index of its property; false = null. */
typedef bool tpi_derived_load_fn(void *user, uint32_t index, struct tpc_value *ret);

/* What an expression sees. Numbers are indexes of properties; false = null. */
struct tpi_derived_view {
    void *user;
    tpi_derived_load_fn *load;
    tpi_derived_load_fn *previous; /* the value before that */
    struct tpi_registry *registry; /* under its read lock: for other devices of the tenant */
    const struct tpi_env *env;
    uint64_t tenant_id;
    int64_t unix_ms; /* of the message */
    char *scratch;   /* where texts are made */
    size_t scratch_bytes;
    bool no_room; /* set by eval: a text did not fit and was null */
};

struct tpi_expr_ops {
    /* The expression of property `index`, whose names are keys of the model. Returns 0, TPC_EINVAL,
     * TPC_ETOOBIG or TPC_ENOMEM. */
    int (*compile)(const struct tpc_allocator *alloc, const struct tpi_model *m, uint32_t index,
                   struct tpc_error *err, void **ret);
    void (*destroy)(void *expr);
    /* Indexes of the properties that it reads, each once. */
    uint32_t (*name_count)(const void *expr);
    uint32_t (*name)(const void *expr, uint32_t i);
    /* Null, a scalar, or a text borrowed from what was loaded, the expression or the scratch. */
    struct tpc_value (*eval)(const void *expr, struct tpi_derived_view *view);
};

struct tpi_derived {
    const struct tpc_allocator *alloc;
    const struct tpi_expr_ops *ops;
    uint32_t count;          /* 1..TPI_MODEL_MAX_DERIVED */
    uint32_t property_count; /* of the model */
    void *exprs[TPI_MODEL_MAX_DERIVED];
    uint16_t indexes[TPI_MODEL_MAX_DERIVED]; /* of the properties, in the model's order */
    uint64_t readers[]; /* by property index: bits of those that read it, all with higher numbers */
};

/* *ret is NULL for a model that has none. Returns 0, TPC_EINVAL or TPC_ETOOBIG (err's path:
 * "properties[2].expr"), TPC_EUNSUPPORTED (ops is NULL) or TPC_ENOMEM. */
int tpi_derived_make(const struct tpc_allocator *alloc, const struct tpi_expr_ops *ops,
                     const struct tpi_model *m, struct tpc_error *err, struct tpi_derived **ret);
void tpi_derived_destroy(struct tpi_derived *d); /* NULL is fine */

#endif
