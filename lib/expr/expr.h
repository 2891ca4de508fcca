/*
 * Expressions as people write them, compiled once to a small bytecode: conditions of scenes and
 * rules, computed properties, filters, templates. docs/reference/expr.md is the language.
 *
 *     temperature > 30 && humidity < 40
 *     case when mode in ("auto", "eco") then round(delta(level), 1) else device('m-1').level end
 *
 * Null is SQL's: a comparison or sum with null is null, false && null is false, true || null is
 * true. Ints stay ints until they overflow; / gives a double; a division by zero, and whatever is
 * not finite, is null. Texts compare by bytes.
 *
 * Code only jumps forward and there are no loops in it, so an evaluation takes at most as many
 * steps as there are instructions (TPI_EXPR_MAX_CODE). It allocates nothing: texts that functions
 * make stand in the caller's scratch, and are null where it is too small.
 */
#ifndef TPI_EXPR_H
#define TPI_EXPR_H

#include <stdbool.h>
#include <tpcore/alloc.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

struct tpi_env;
struct tpi_expr;

enum {
    TPI_EXPR_MAX_TEXT = 65536, /* bytes of source */
    TPI_EXPR_MAX_DEPTH = 64,   /* parentheses and operators inside one another; also the stack */
    TPI_EXPR_MAX_CODE = 16384, /* instructions */
    TPI_EXPR_MAX_NAMES = 256,  /* different names in one expression */
    TPI_EXPR_MAX_ZONES = 8,    /* different time zones in one expression */
    TPI_EXPR_MAX_SCRIPTS = 8,  /* in one expression */
    TPI_EXPR_SCRIPT_ARGS = 16, /* of one script */
    TPI_EXPR_SCRATCH = 4096    /* what callers without another idea bring */
};

enum tpi_expr_type {
    TPI_EXPR_ANY = 0, /* told only at run time; a type that does not fit gives null */
    TPI_EXPR_NULL = 1,
    TPI_EXPR_BOOL = 2,
    TPI_EXPR_NUMBER = 3,
    TPI_EXPR_TEXT = 4,
    TPI_EXPR_LIST = 5,
    TPI_EXPR_MAP = 6
};

/* What a host offers besides values of names. Functions that need another are refused. */
enum {
    TPI_EXPR_PREVIOUS = 1, /* last, changed, delta: host->previous */
    TPI_EXPR_OTHER = 2,    /* device('id').name: host->other */
    TPI_EXPR_NOW = 4,      /* host->now */
    TPI_EXPR_EVENT = 8,    /* host->event_time */
    TPI_EXPR_AGE = 16,     /* age: host->age */
    TPI_EXPR_SCRIPT = 32   /* lua('code', ..): scope->script, host->script */
};

/* Gives a name the number under which its value is loaded, and its type. 0 or TPC_ENOENT. A name
 * with dots is asked for as a whole first; then without its last parts, which are members. */
typedef int tpi_expr_resolve_fn(void *user, struct tpc_str name, uint32_t *ret_index,
                                uint8_t *ret_type);

/* A name that stands for the same value in every evaluation: null, bool, number or text, which is
 * copied. 0 or TPC_ENOENT. */
typedef int tpi_expr_constant_fn(void *user, struct tpc_str name, struct tpc_value *ret);

/* Code in another language, which stands in an expression and lives as long as it. */
struct tpi_expr_script {
    void (*close)(struct tpi_expr_script *s); /* frees it */
};

/* Compiles code. Returns 0 or an error with its text; code is not kept. */
typedef int tpi_expr_script_fn(void *user, struct tpc_str code, struct tpc_error *err,
                               struct tpi_expr_script **ret);

/* What names mean while an expression is compiled. */
struct tpi_expr_scope {
    tpi_expr_resolve_fn *resolve;
    tpi_expr_constant_fn *constant; /* asked first; NULL = none */
    void *user;                     /* of both */
    uint32_t features;              /* TPI_EXPR_PREVIOUS | .. */
    const struct tpi_env *env;  /* opens time zones by name; NULL = only UTC and fixed offsets */
    const char *zone_dir;       /* of their files; NULL = the system's */
    tpi_expr_script_fn *script; /* with TPI_EXPR_SCRIPT */
    void *script_user;
};

/* Room for texts that functions make; each evaluation starts at its beginning. */
struct tpi_expr_scratch {
    char *buf;
    size_t cap;
    size_t used;
    uint64_t overflows; /* texts that found no room, and are null */
};

/* What is left of it, for what other() copies. */
static inline struct tpc_buf tpi_expr_rest(const struct tpi_expr_scratch *s)
{
    uint8_t *rest = s->buf != NULL ? (uint8_t *) s->buf + s->used : NULL;
    return (struct tpc_buf){ rest, s->cap - s->used, 0 };
}

/* The rest was filled, or too small, as rc says: 0, TPC_ETOOBIG or another error. Returns whether it
 * is 0. */
static inline bool tpi_expr_took(struct tpi_expr_scratch *s, const struct tpc_buf *rest, int rc)
{
    s->used += rc == 0 ? rest->need : 0;
    s->overflows += rc == TPC_ETOOBIG;
    return rc == 0;
}

/* Loads a value by the resolver's number; false = null. The value is borrowed during the
 * evaluation. */
typedef bool tpi_expr_load_fn(void *user, uint32_t index, struct tpc_value *ret);

/* Latest value of another device; false = null. What it copies it puts into tpi_expr_rest(), which may
 * be empty. */
typedef bool tpi_expr_other_fn(void *user, struct tpc_str device, struct tpc_str name,
                               struct tpi_expr_scratch *scratch, struct tpc_value *ret);

typedef int64_t tpi_expr_time_fn(void *user);

/* How many ms ago the value of a name came; false = null. */
typedef bool tpi_expr_age_fn(void *user, uint32_t index, int64_t *ret_ms);

/* Runs a script; false = null. A text or tree that it gives it puts into tpi_expr_rest(). */
typedef bool tpi_expr_run_script_fn(void *user, struct tpi_expr_script *script,
                                    const struct tpc_value *args, uint32_t count,
                                    struct tpi_expr_scratch *scratch, struct tpc_value *ret);

/* Where values come from. All but load may be NULL: then they are null. */
struct tpi_expr_host {
    tpi_expr_load_fn *load;
    tpi_expr_load_fn *previous; /* the value before the present one */
    tpi_expr_other_fn *other;
    tpi_expr_time_fn *now;        /* unix ms of the clock */
    tpi_expr_time_fn *event_time; /* unix ms of the message */
    tpi_expr_age_fn *age;
    tpi_expr_run_script_fn *script;
};

/*
 * Compiles. want: TPI_EXPR_BOOL for a condition, TPI_EXPR_ANY for any result.
 * Returns 0, TPC_EINVAL (err has line and column: syntax, unknown name, types that do not fit, a
 * function that the host has not), TPC_ETOOBIG (one of the limits above) or TPC_ENOMEM. text is not
 * kept.
 */
int tpi_expr_compile(const struct tpc_allocator *alloc, struct tpc_str text,
                     const struct tpi_expr_scope *scope, enum tpi_expr_type want,
                     struct tpc_error *err, struct tpi_expr **ret);

/* NULL is fine. */
void tpi_expr_destroy(struct tpi_expr *e);

/* The resolver's numbers that the expression loads, each once. */
uint32_t tpi_expr_name_count(const struct tpi_expr *e);
uint32_t tpi_expr_name_index(const struct tpi_expr *e, uint32_t i);

/* Type of the result as far as it is known before running. */
enum tpi_expr_type tpi_expr_result(const struct tpi_expr *e);

/* What it uses of the host: TPI_EXPR_PREVIOUS | .. */
uint32_t tpi_expr_needs(const struct tpi_expr *e);

/* Bytes that it takes in memory. */
size_t tpi_expr_bytes(const struct tpi_expr *e);

/* Result: TPC_NULL, TPC_BOOL, TPC_INT, TPC_DOUBLE, TPC_TEXT, TPC_ARRAY or TPC_MAP; texts and trees
 * are borrowed from a loaded value, the expression or the scratch, which may be NULL. Any thread;
 * threads may run one expression at once, each with its own scratch. */
struct tpc_value tpi_expr_eval(const struct tpi_expr *e, const struct tpi_expr_host *host,
                               void *user, struct tpi_expr_scratch *scratch);

/* Result of a condition: 1 true, 0 false, -1 null. */
int tpi_expr_test(const struct tpi_expr *e, const struct tpi_expr_host *host, void *user,
                  struct tpi_expr_scratch *scratch);

#endif
