/* Cells: values as the machine holds them. */
#ifndef TPI_EXPR_CELL_H
#define TPI_EXPR_CELL_H

#include <float.h>
#include <math.h>

#include "data/number.h"
#include "expr/code.h"

static inline struct cell cell_null(void)
{
    return (struct cell){ .type = TPC_NULL };
}

static inline struct cell cell_bool(bool b)
{
    return (struct cell){ .type = TPC_BOOL, .as.b = b };
}

/* Values that are not finite (from CBOR or a sum) count as missing. */
static inline struct cell cell_double(double d)
{
    return fabs(d) <= DBL_MAX ? (struct cell){ .type = TPC_DOUBLE, .as.d = d } : cell_null();
}

static inline struct cell cell_int(int64_t i)
{
    return (struct cell){ .type = TPC_INT, .as.i = i };
}

/* An empty text may have had no bytes at all. Longer ones than a cell can tell are null. */
static inline struct cell cell_text(struct tpc_str s)
{
    if (s.len > UINT32_MAX) {
        return cell_null();
    }
    const char *text = s.len > 0 ? s.ptr : "";
    return (struct cell){ .type = TPC_TEXT, .len = (uint32_t) s.len, .as.text = text };
}

static inline struct tpc_str cell_str(const struct cell *c)
{
    return c->len > 0 ? (struct tpc_str){ c->as.text, c->len } : (struct tpc_str){ "", 0 };
}

static inline bool cell_is_number(const struct cell *c)
{
    return c->type == TPC_INT || c->type == TPC_DOUBLE;
}

static inline bool cell_number(const struct cell *c, double *ret)
{
    if (c->type == TPC_INT) {
        *ret = (double) c->as.i;
        return true;
    }
    if (c->type == TPC_DOUBLE) {
        *ret = c->as.d;
        return true;
    }
    return false;
}

/* A double within int64 without its fraction; null beyond. d is finite. */
static inline struct cell cell_whole(double d)
{
    if (d >= -9223372036854775808.0 && d < 9223372036854775808.0) {
        return cell_int((int64_t) d);
    }
    return cell_null();
}

/* The first byte of the next character. p < end. */
static inline const char *cell_next_char(const char *p, const char *end)
{
    p++;
    while (p < end && ((unsigned char) *p & 0xC0) == 0x80) {
        p++;
    }
    return p;
}

struct cell tpi_cell_from(const struct tpc_value *v);
struct tpc_value tpi_cell_value(const struct cell *c);

/* False if the two cannot be compared: one is null, or their types differ at run time. */
bool tpi_cell_order(const struct cell *a, const struct cell *b, int *ret);

/* Whether they are the same, null with null included. */
bool tpi_cell_same(const struct cell *a, const struct cell *b);

/* + - * / % as op says. */
struct cell tpi_cell_math(uint8_t op, const struct cell *a, const struct cell *b);
struct cell tpi_cell_neg(const struct cell *a);

/* SQL's LIKE: % is any run, _ one character. Goes back to the last % only, so at most len(text) *
 * len(pattern) steps. */
bool tpi_cell_like(struct tpc_str text, struct tpc_str pattern);

/* Item of a list, from 0 or from its end with -1; member of a map. Null if there is none. */
struct cell tpi_cell_item(const struct cell *list, int64_t index);
struct cell tpi_cell_member(const struct cell *map, struct tpc_str key);

/* A scalar as people read it: 31.5, 31, true; a double without fraction as an int. The text is a
 * view of the cell's or of number. Null and trees give an empty view. */
struct tpc_str tpi_cell_print(const struct cell *c, char number[TPI_NUMBER_TEXT_BYTES]);

#endif
