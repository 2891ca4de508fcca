/*
 * Conditions as people write them, compiled once to a small bytecode:
 *
 *     temperature > 30 && humidity < 40
 *     mode in ("auto", "eco") and not (speed between 10 and 20) or `x-y` is null
 *
 * Operands are names (letters, digits, _ and dots, or anything between backticks), numbers, texts
 * in single or double quotes, true, false and null. From weakest to strongest: || or, && and, !
 * not, comparisons (== = != <> < <= > >= in, not in, between, not between, like, not like, is null,
 * is not null), + -, * / %, unary -. Words are not case-sensitive.
 *
 * Null is SQL's: a comparison or sum with null is null, false && null is false, true || null is
 * true. Ints stay ints until they overflow; / gives a double; a division by zero is null. Texts
 * compare by bytes; like knows % and _ and compares the whole text.
 *
 * Code only jumps forward, so an evaluation takes at most as many steps as there are instructions.
 * It allocates nothing.
 */
#ifndef TPI_EXPR_H
#define TPI_EXPR_H

#include <stdbool.h>
#include <tpcore/alloc.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

struct tpi_expr;

enum {
    TPI_EXPR_MAX_TEXT = 4096, /* bytes of source */
    TPI_EXPR_MAX_DEPTH = 32,  /* parentheses and operators inside one another; also the stack */
    TPI_EXPR_MAX_CODE = 2048, /* instructions */
    TPI_EXPR_MAX_NAMES = 64   /* different names in one expression */
};

enum tpi_expr_type {
    TPI_EXPR_ANY = 0, /* told only at run time; a type that does not fit gives null */
    TPI_EXPR_NULL = 1,
    TPI_EXPR_BOOL = 2,
    TPI_EXPR_NUMBER = 3,
    TPI_EXPR_TEXT = 4
};

/* Gives a name the number under which its value is loaded, and its type. 0 or TPC_ENOENT. */
typedef int tpi_expr_resolve_fn(void *user, struct tpc_str name, uint32_t *ret_index,
                                uint8_t *ret_type);

/* Loads a value by the resolver's number; false = null. The value is borrowed during the
 * evaluation. */
typedef bool tpi_expr_load_fn(void *user, uint32_t index, struct tpc_value *ret);

/*
 * Compiles. want: TPI_EXPR_BOOL for a condition, TPI_EXPR_ANY for any result.
 * Returns 0, TPC_EINVAL (err has line and column: syntax, unknown name, types that do not fit),
 * TPC_ETOOBIG (one of the limits above) or TPC_ENOMEM. text is not kept.
 */
int tpi_expr_compile(const struct tpc_allocator *alloc, struct tpc_str text,
                     tpi_expr_resolve_fn *resolve, void *user, enum tpi_expr_type want,
                     struct tpc_error *err, struct tpi_expr **ret);

/* NULL is fine. */
void tpi_expr_destroy(struct tpi_expr *e);

/* The resolver's numbers that the expression loads, each once. */
uint32_t tpi_expr_name_count(const struct tpi_expr *e);
uint32_t tpi_expr_name_index(const struct tpi_expr *e, uint32_t i);

/* Type of the result as far as it is known before running. */
enum tpi_expr_type tpi_expr_result(const struct tpi_expr *e);

/* Result: TPC_NULL, TPC_BOOL, TPC_INT, TPC_DOUBLE or TPC_TEXT (borrowed from a loaded value or the
 * expression). Any thread; threads may run one expression at once. */
struct tpc_value tpi_expr_eval(const struct tpi_expr *e, tpi_expr_load_fn *load, void *user);

/* Result of a condition: 1 true, 0 false, -1 null. */
int tpi_expr_test(const struct tpi_expr *e, tpi_expr_load_fn *load, void *user);

#endif
