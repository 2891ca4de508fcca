/*
 * The bytecode of an expression: made by parse.c and primary.c, run by run.c. In memory only, never
 * stored.
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
    OP_CMP,        /* x = enum relation */
    OP_CMP_NAME,   /* name a against constant b, x = enum relation */
    OP_CMP_NUMBER, /* the same with a double below 2^53: the common condition */
    OP_AND_NUMBER, /* the top AND OP_CMP_NUMBER; loads nothing if the top is false */
    OP_NULL,       /* is null; x = 1: is not */
    OP_LIKE,       /* x = 1: not */
    OP_BETWEEN,    /* value, low, high; x = 1: not */
    OP_IN,         /* constants b .. b + a; x = 1: not */
    OP_AND_JUMP,   /* top is false: to b, else go on and AND with what comes */
    OP_OR_JUMP,
    OP_AND,
    OP_OR,
    OP_JUMP,        /* to b */
    OP_JUMP_UNLESS, /* takes the top; to b if it is not true */
    OP_COPY,        /* the top once more */
    OP_DROP,
    OP_PREVIOUS, /* of name a */
    OP_CHANGED,  /* name a is not what it was; x = 1: false if it is null now */
    OP_AGE,      /* of name a */
    OP_OTHER,    /* property of the name in constant a, of the device whose key is the top */
    OP_MEMBER,   /* constant a, of the top */
    OP_ITEM,     /* list, index */
    OP_CALL      /* function a with x arguments */
};

/* Bits: less 1, equal 2, greater 4. */
enum relation { REL_LT = 1, REL_EQ = 2, REL_LE = 3, REL_GT = 4, REL_NE = 5, REL_GE = 6 };

struct code {
    uint8_t op;
    uint8_t x;
    uint16_t a;
    uint32_t b;
};

/* A value on the stack or a constant. type: enum tpc_type; blobs carry no content: they are only
 * known not to be null. */
struct cell {
    uint32_t type;
    uint32_t len; /* bytes of text, items, members */
    union {
        bool b;
        int64_t i;
        double d;
        const char *text;
        const struct tpc_value *items;
        const struct tpc_member *members;
        size_t offset; /* of a text constant, while it is compiled */
    } as;
};

/* One block: the struct, then scripts, constants, code, names, texts. */
struct tpi_expr {
    const struct tpc_allocator *alloc;
    size_t bytes;
    const struct code *code;
    const struct cell *consts;
    const uint32_t *names;   /* the resolver's numbers */
    struct tpi_zone **zones; /* that functions of time name */
    uint32_t name_count;
    uint32_t zone_count;
    uint32_t result; /* enum tpi_expr_type */
    uint32_t needs;  /* TPI_EXPR_PREVIOUS | .. */
    uint32_t script_count;
    struct tpi_expr_script **scripts;
    bool chain; /* OP_CMP_NUMBER, then OP_AND_NUMBER alone: most conditions are such */
};

#endif
