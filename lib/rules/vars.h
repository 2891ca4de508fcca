/*
 * Variables of a rule: names for values that are made when its trigger comes, for its condition and for
 * the texts of its actions.
 *
 *     "vars": {"mean": "(temperature + device('t2').temperature) / 2",
 *              "where": "{{ device.key }} upstairs",
 *              "limits": {"low": 18, "high": 30}}
 *
 * A text is an expression, or with {{ }} in it a text with values (expr/template.h); anything else stands for
 * itself. One that names an earlier one gets its value. They hide properties of the same name.
 */
#ifndef TPI_RULES_VARS_H
#define TPI_RULES_VARS_H

#include <tpcore/arena.h>
#include <tpcore/ext/option.h>
#include <tpcore/value.h>

#include "expr/template.h"

enum {
    TPI_NAME_VAR = 0x20000, /* number of the first under which expressions load them */
    TPI_VARS_MAX = 32,
    TPI_VAR_NAME_BYTES = 64
};

struct tpi_var {
    struct tpc_str name;
    struct tpi_expr *expr;         /* one of these three */
    struct tpi_template *text;     /* .. */
    const struct tpc_value *fixed; /* .. */
};

struct tpi_vars {
    const struct tpc_allocator *alloc;
    struct tpi_var *items;
    uint32_t count;
    uint32_t cap; /* of items */
};

/* Their values of one evaluation. */
struct tpi_var_values {
    const struct tpc_value *items;
    uint32_t count;
};

#define TPI_VARS_OPTION                                                                            \
    {                                                                                              \
        .name = "vars", .type = TPC_OPT_ANY, .since = "0.1",                                       \
        .help = "a map: names for values, as expressions, texts with {{ }}, or as they are"        \
    }

/* Compiles them; map may be NULL, and lives as long as they. Returns 0, TPC_EINVAL, TPC_ETOOBIG (a path from
 * "vars", line and column) or TPC_ENOMEM. */
int tpi_vars_make(const struct tpc_allocator *alloc, const struct tpc_value *map,
                  const struct tpi_expr_scope *scope, struct tpc_error *err, struct tpi_vars *ret);
void tpi_vars_fini(struct tpi_vars *v);

/* A scope in which their names are known, too. Both stay the caller's. */
struct tpi_vars_scope {
    const struct tpi_vars *vars;
    const struct tpi_expr_scope *below;
};
struct tpi_expr_scope tpi_vars_scope(struct tpi_vars_scope *s);

/* A hash of a document's part, for whether it is the same. */
uint64_t tpi_vars_hash(const struct tpc_value *v, uint64_t seed);

/* Expressions of the variables that these use, directly or not; NULL ones are passed over. ret may be NULL. Returns
 * their number. */
uint32_t tpi_vars_used(const struct tpi_vars *v, struct tpi_expr *const *exprs, uint32_t count,
                       struct tpi_expr **ret);

/* Makes their values, in the arena. host loads them by tpi_vars_load() from *ret, which grows meanwhile. One that
 * finds no memory is null. */
void tpi_vars_eval(const struct tpi_vars *v, const struct tpi_expr_host *host, void *user,
                   struct tpi_expr_scratch *scratch, struct tpc_arena *arena,
                   struct tpi_var_values *ret);

/* For a host's load: id is from TPI_NAME_VAR on. False = null. */
bool tpi_vars_load(const struct tpi_var_values *v, uint32_t id, struct tpc_value *ret);

#endif
