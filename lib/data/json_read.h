/*
 * JSON as a run of events, without a tree and without allocating: what codecs read with. The same
 * grammar code stands under tpc_json_parse(), so the two never disagree.
 *
 *     struct tpi_json r;
 *     tpi_json_begin(&r, text);
 *     while ((event = tpi_json_next(&r)) > TPI_JSON_END) { ... }
 *     if (event == TPI_JSON_ERROR) return tpi_json_fail(&r, err);
 *
 * Events come in the order of the text: MAP (KEY value)* MAP_END, ARRAY value* ARRAY_END. Keys may
 * come twice: only trees check for that. The reader checks the whole grammar, UTF-8 included.
 */
#ifndef TPI_DATA_JSON_READ_H
#define TPI_DATA_JSON_READ_H

#include <stdbool.h>
#include <tpcore/json.h>

enum tpi_json_event {
    TPI_JSON_ERROR = -1, /* and again at each further call */
    TPI_JSON_END = 0,    /* the text is over, nothing but blanks follows */
    TPI_JSON_NULL = 1,
    TPI_JSON_BOOL = 2,      /* r->i is 0 or 1 */
    TPI_JSON_INT = 3,       /* r->i */
    TPI_JSON_DOUBLE = 4,    /* r->d */
    TPI_JSON_TEXT = 5,      /* r->text; r->escaped: see tpi_json_unescape() */
    TPI_JSON_KEY = 6,       /* the same; its value comes next */
    TPI_JSON_ARRAY = 7,     /* begins */
    TPI_JSON_ARRAY_END = 8, /* ends */
    TPI_JSON_MAP = 9,
    TPI_JSON_MAP_END = 10
};

struct tpi_json {
    struct tpc_str text; /* between the quotes, points into the source */
    int64_t i;
    double d;
    bool escaped;   /* text holds escapes */
    uint8_t expect; /* private: what may come next */
    uint8_t depth;  /* containers open */
    int code;       /* after ERROR: TPC_EDECODE or TPC_ETOOBIG */
    uint32_t maps;  /* private: bit n = container n is a map */
    const char *why;
    const char *p; /* next byte; after ERROR the fault */
    const char *end;
    const char *begin;
};

/* Of r->expect, for readers that take steps of their own: see tpi_json_at(). */
enum { TPI_JSON_AT_VALUE = 0, TPI_JSON_AT_AFTER_VALUE = 1 };

/* Goes on at p, which stands where a value begins or just behind one. */
static inline void tpi_json_at(struct tpi_json *r, const char *p, uint8_t expect)
{
    r->p = p;
    r->expect = expect;
}

/* Starts reading a text behind its first brace, at p; only for a reader that takes steps of its own. */
static inline void tpi_json_enter(struct tpi_json *r, struct tpc_str text, const char *p)
{
    r->code = 0;
    r->depth = 1;
    r->maps = 1;
    r->begin = text.ptr;
    r->end = text.ptr + text.len;
    r->p = p;
}

/* Starts reading; the text must outlive the reader and every view it gave. */
void tpi_json_begin(struct tpi_json *r, struct tpc_str text);

/* The next event (enum tpi_json_event). */
int tpi_json_next(struct tpi_json *r);

/* Having got `event`, passes over the rest of that value: after KEY its value, after ARRAY or MAP
 * all up to its end, after a scalar nothing. Returns 0, or TPI_JSON_ERROR as next() does. */
int tpi_json_skip(struct tpi_json *r, int event);

/* Bytes that an escaped text takes at most, and the unescaping itself: out may be r's text's own
 * length. Returns the length written. Never fails: the reader checked the escapes. */
size_t tpi_json_unescape_to(struct tpc_str escaped, char *out);

/* The text of KEY or TEXT with its escapes undone, in the arena if there were any.
 * Returns 0 or TPC_ENOMEM. */
int tpi_json_unescape(const struct tpi_json *r, struct tpc_arena *arena, struct tpc_str *ret);

/* Having got `event` (the first of a value), builds that value as a tree in the arena. flags as for
 * tpc_json_parse(). Returns 0, TPC_EDECODE, TPC_ETOOBIG (32 levels, counted from the text's top
 * and from the value's top) or TPC_ENOMEM. */
int tpi_json_tree(struct tpi_json *r, int event, struct tpc_arena *arena, uint32_t flags,
                  struct tpc_error *err, struct tpc_value *ret);

/* Fills err for an ERROR event: code, text, line, column. Returns r->code. */
int tpi_json_fail(const struct tpi_json *r, struct tpc_error *err);

/* Fills err with a reader's own complaint about what came last. Returns code. */
int tpi_json_fail_at(const struct tpi_json *r, const char *at, int code, const char *why,
                     struct tpc_error *err);

#endif
