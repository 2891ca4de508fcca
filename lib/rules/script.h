/*
 * Lua in rules: lua('code', ..) in expressions, the action {"lua": {"code": ..}}. The code is wrapped
 * into a script that the codec "lua" takes, so that its limits, its sandbox and its state for each worker
 * hold here, too; nothing of Lua is linked. Arguments go in as a command's params, what it returns comes
 * out as JSON.
 *
 * Threads: a script runs on the worker whose rule asks for it, in that worker's place of the codec.
 */
#ifndef TPI_RULES_SCRIPT_H
#define TPI_RULES_SCRIPT_H

#include <tpcore/arena.h>

#include "expr/expr.h"
#include "registry/registry.h"

struct tpi_rules;

enum { TPI_SCRIPT_CODE_BYTES = 65536 };

/* For a scope; user: the registry. It gives TPC_EUNSUPPORTED where the module lua is not there. */
int tpi_script_open(void *registry, struct tpc_str code, struct tpc_error *err,
                    struct tpi_expr_script **ret);
/* The body of an action: params, device in; a list of actions out. */
int tpi_script_open_action(void *registry, struct tpc_str code, struct tpc_error *err,
                           struct tpi_expr_script **ret);

/* For a host, with the rules and the worker at hand. As tpi_expr_run_script_fn. */
bool tpi_script_call(struct tpi_rules *r, uint32_t worker, struct tpi_expr_script *script,
                     const struct tpc_value *args, uint32_t count, struct tpi_expr_scratch *scratch,
                     struct tpc_value *ret);

/* What it returns, in the worker's arena of scripts until the next call. Returns 0 or an error, which
 * is counted and logged once for each script. */
int tpi_script_run(struct tpi_rules *r, uint32_t worker, struct tpi_expr_script *script,
                   struct tpc_str product, struct tpc_str device, const struct tpc_value *params,
                   struct tpc_value *ret);

#endif
