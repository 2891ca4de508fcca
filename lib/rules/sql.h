/*
 * Statements of data rules: their parts, found in one pass over the words. Expressions are not
 * compiled here: a part is a span of the text.
 *
 *     SELECT item [AS name], .. | * FROM product|'topic' [WHERE condition]
 *     [GROUP BY device | item [AS name], .., WINDOW(..) [FILTER (WHERE condition)]] [HAVING condition]
 *
 * docs/reference/rule-sql.md says what they mean.
 */
#ifndef TPI_RULES_SQL_H
#define TPI_RULES_SQL_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>

enum {
    TPI_SQL_MAX_TEXT = 16384, /* bytes of a statement */
    TPI_SQL_MAX_ITEMS = 64,
    TPI_SQL_MAX_AGGREGATES = 32,
    TPI_SQL_MAX_GROUPS = 8,   /* expressions of GROUP BY */
    TPI_SQL_MAX_OVERLAP = 64, /* hopping windows that are open at once */
    TPI_SQL_MAX_KEPT = 1024   /* messages that a sliding or overlapping window keeps of a device */
};

/* Bytes of the statement; from == to: the part is absent. */
struct tpi_sql_span {
    uint32_t from, to;
};

enum tpi_sql_function {
    TPI_SQL_COUNT,
    TPI_SQL_SUM,
    TPI_SQL_AVG,
    TPI_SQL_MIN,
    TPI_SQL_MAX,
    TPI_SQL_FIRST,
    TPI_SQL_LAST,
    TPI_SQL_STDDEV,  /* of all values: divided by n */
    TPI_SQL_STDDEVS, /* of a sample: divided by n - 1 */
    TPI_SQL_VAR,
    TPI_SQL_VARS,
    TPI_SQL_START, /* of the window; no aggregate */
    TPI_SQL_END,
    TPI_SQL_COLLECT,
    TPI_SQL_DISTINCT, /* count(distinct x) */
    TPI_SQL_FUNCTIONS /* saved states know them by number: new ones come last */
};

static inline bool tpi_sql_is_bound(uint32_t function)
{
    return function == TPI_SQL_START || function == TPI_SQL_END;
}

/* A call in an item or in HAVING. In what tpi_sql_part() gives, the name `#n` stands for it. */
struct tpi_sql_call {
    uint32_t function;       /* enum tpi_sql_function */
    struct tpi_sql_span all; /* from its name to the closing parenthesis */
    struct tpi_sql_span arg; /* absent: count(*), or the window's start and end */
};

struct tpi_sql_item {
    struct tpi_sql_span expr;
    struct tpc_str name; /* view into the statement, or constant */
};

enum tpi_sql_window_type {
    TPI_WINDOW_NONE,
    TPI_WINDOW_TUMBLING,
    TPI_WINDOW_HOPPING,
    TPI_WINDOW_SESSION,
    TPI_WINDOW_COUNT,
    TPI_WINDOW_STATE,
    TPI_WINDOW_SLIDING
};

struct tpi_sql_window {
    uint32_t type;             /* enum tpi_sql_window_type */
    uint32_t count;            /* messages of a count window */
    uint32_t every;            /* messages between the ends of two; count = they do not overlap */
    int64_t unit_ms;           /* of the times as they were written */
    int64_t length_ms;         /* a session's is its longest */
    int64_t step_ms;           /* hopping: between two starts; session: silence that ends it;
                                * sliding: how much later than its message it ends */
    struct tpi_sql_span begin; /* conditions of a state window */
    struct tpi_sql_span emit;
    struct tpi_sql_span filter; /* of what comes into the window */
};

/* What stands behind FROM, where that is a topic. Levels are as written, %XX and all. */
struct tpi_sql_topic {
    struct tpc_str filter; /* empty = it is a product */
    struct tpc_str tenant;
    struct tpc_str device; /* empty = any */
    uint64_t kinds;        /* bit TPC_MSG_TELEMETRY, TPC_MSG_ATTRIBUTES */
    bool narrow;           /* not all that a product's devices say */
};

/* Views into the statement. */
struct tpi_sql {
    struct tpc_str text;
    struct tpc_str product; /* of a topic: its level */
    struct tpi_sql_topic topic;
    bool all;    /* SELECT * */
    bool spread; /* its windows are over several devices: not GROUP BY device */
    uint32_t item_count;
    uint32_t call_count;
    uint32_t group_count; /* 0, too, where it is GROUP BY device alone */
    struct tpi_sql_span where;
    struct tpi_sql_span having;
    struct tpi_sql_window window;
    struct tpi_sql_item items[TPI_SQL_MAX_ITEMS];
    struct tpi_sql_call calls[TPI_SQL_MAX_AGGREGATES];
    struct tpi_sql_item groups[TPI_SQL_MAX_GROUPS];
};

/* Returns 0, TPC_EINVAL (err has line and column), TPC_ETOOBIG or TPC_ENOMEM. text has to outlive
 * the result. */
int tpi_sql_parse(const struct tpc_allocator *alloc, struct tpc_str text, struct tpc_error *err,
                  struct tpi_sql *ret);

/*
 * A part to be compiled: the statement up to the part's end, all before it blank, so that line and
 * column of an error are the statement's. replace: names for the calls in it. buf has room for
 * text.len bytes.
 */
struct tpc_str tpi_sql_part(const struct tpi_sql *s, struct tpi_sql_span part, bool replace,
                            char *buf);

/* Reads what topic.filter says. Returns 0 or TPC_EINVAL (err has line and column). */
int tpi_sql_topic(struct tpi_sql *s, struct tpc_error *err);

/* Which call a name of tpi_sql_part() stands for; -1 = none. */
int tpi_sql_call_of(struct tpc_str name);

/* Which group a column is, by its text; -1 = none. */
int tpi_sql_group_of(const struct tpi_sql *s, const struct tpi_sql_item *item);

/* Sets err with the line and column of a byte of the statement. Returns code. */
int tpi_sql_error(const struct tpi_sql *s, struct tpc_error *err, int code, size_t at,
                  const char *text);

#endif
