/*
 * The functions of the language: one table, in groups of a file each. From it stand the checks of
 * the compiler, what runs, and docs/reference/expr-functions.md.
 */
#ifndef TPI_EXPR_FUNCTIONS_H
#define TPI_EXPR_FUNCTIONS_H

#include "expr/code.h"

/* One evaluation. */
struct eval {
    const struct tpi_expr *e;
    const struct tpi_expr_host *host;
    void *user;
    struct tpi_expr_scratch *scratch; /* may be NULL */
};

/* args are of the types that the table says. */
typedef struct cell tpi_expr_function_fn(struct eval *r, const struct cell *args, uint32_t count);

/* Functions that the parser makes of other instructions. */
enum {
    SPECIAL_NONE,
    SPECIAL_CAST,
    SPECIAL_LAST,
    SPECIAL_CHANGED,
    SPECIAL_DELTA,
    SPECIAL_HAD_CHANGED,
    SPECIAL_CHANGED_COL,
    SPECIAL_AGE,
    SPECIAL_DEVICE,
    SPECIAL_REGEXP,
    SPECIAL_SCRIPT
};

enum {
    FUNCTION_NULLS = 1,     /* gets null arguments, too; else one of them makes the result null */
    FUNCTION_MAX_ARGS = 32, /* of those without another limit */
    RESULT_SAME = 255       /* the common type of all arguments */
};

struct function {
    const char *name;
    const char *aliases; /* with blanks between them, or NULL */
    /* A letter an argument, the last for all that follow: n number, t text, b bool, l list, m map,
     * s anything but lists and maps, ? anything, = anything, but all of one type, z a time zone by its
     * name in quotes: its number among the expression's. */
    const char *args;
    uint8_t min, max;
    uint8_t result; /* enum tpi_expr_type or RESULT_SAME */
    uint8_t flags;
    uint8_t needs; /* TPI_EXPR_PREVIOUS | .. */
    uint8_t special;
    tpi_expr_function_fn *fn; /* NULL only with special */
    const char *usage;
    const char *help; /* Markdown */
    const char *since;
};

struct function_group {
    const char *title;
    const struct function *items;
    uint32_t count;
};

extern const struct function_group tpi_expr_state_functions;
extern const struct function_group tpi_expr_math_functions;
extern const struct function_group tpi_expr_text_functions;
extern const struct function_group tpi_expr_time_functions;
extern const struct function_group tpi_expr_data_functions;
extern const struct function_group tpi_expr_script_functions;

enum { TPI_EXPR_GROUPS = 6 };
extern const struct function_group *const tpi_expr_groups[TPI_EXPR_GROUPS];

/* Its number, or -1. The case of ASCII letters does not matter. */
int tpi_expr_function_find(struct tpc_str name);
const struct function *tpi_expr_function(int number);

/* Checks the arguments' types and calls. */
struct cell tpi_expr_call(struct eval *r, uint16_t number, const struct cell *args, uint32_t count);

/* Room in the scratch; NULL, and counted, if there is not as much. */
char *tpi_expr_take(struct eval *r, size_t bytes);

#endif
