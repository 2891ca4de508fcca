/*
 * The bytecode of an expression: made by compile.c, run by run.c. In memory only, never stored.
 *
 * A stack machine. Every instruction pushes at most one cell, jumps go forward only, and the
 * compiler has counted the stack: the loop checks nothing.
 */
#ifndef TPI_EXPR_CODE_H
#define TPI_EXPR_CODE_H

#include "expr/expr.h"

enum op {
    OP_END,
    OP_PUSH, /* constant a */
    OP_LOAD, /* name a */
    OP_NEG,
    OP_NOT,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_CMP,      /* x = enum relation */
    OP_CMP_NAME, /* name a against constant b, x = enum relation: the common condition */
    OP_NULL,     /* is null; x = 1: is not */
    OP_LIKE,     /* x = 1: not */
    OP_BETWEEN,  /* value, low, high; x = 1: not */
    OP_IN,       /* constants b .. b + a; x = 1: not */
    OP_AND_JUMP, /* top is false: to b, else go on and AND with what comes */
    OP_OR_JUMP,
    OP_AND,
    OP_OR
};

enum relation { REL_EQ, REL_NE, REL_LT, REL_LE, REL_GT, REL_GE };

struct code {
    uint8_t op;
    uint8_t x;
    uint16_t a;
    uint32_t b;
};

/* A value on the stack or a constant. type: enum tpc_type; arrays, maps and blobs carry no content:
 * they are only known not to be null. */
struct cell {
    uint32_t type;
    uint32_t len; /* bytes of text */
    union {
        bool b;
        int64_t i;
        double d;
        const char *text;
        size_t offset; /* of a text constant, while it is compiled */
    } as;
};

/* One block: the struct, then constants, code, names, texts. */
struct tpi_expr {
    const struct tpc_allocator *alloc;
    size_t bytes;
    const struct code *code;
    const struct cell *consts;
    const uint32_t *names; /* the resolver's numbers */
    uint32_t name_count;
    uint32_t result; /* enum tpi_expr_type */
};

#endif
