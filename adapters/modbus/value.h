/*
 * What registers and bits mean: types, the orders of bytes and words, scaling, names for numbers. No
 * memory of its own.
 */
#ifndef MB_VALUE_H
#define MB_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/value.h>

enum {
    MB_TEXT_MAX = 252,    /* bytes of a string: what one request can read */
    MB_NAMES_MAX = 64,    /* of one tag */
    MB_BITS_AS_LIST = 128 /* in one value */
};

enum mb_type {
    MB_BOOL = 1, /* a bit, or one of a register */
    MB_INT = 2,
    MB_UINT = 3,
    MB_FLOAT = 4, /* IEEE 754: 16, 32 or 64 bits */
    MB_BCD = 5,   /* four digits a register */
    MB_STRING = 6,
    MB_HEX = 7, /* bytes as hexadecimal text */
    MB_BITS = 8 /* a list of booleans */
};

struct mb_name {
    int64_t raw;
    struct tpc_str text;
};

struct mb_shape {
    uint8_t type;    /* enum mb_type */
    uint8_t width;   /* bits of a number: 8, 16, 32, 64 */
    bool high_byte;  /* of 8 bits: which byte of the register */
    bool swap_bytes; /* within a register: the low byte comes first */
    bool swap_words; /* the lowest register comes first */
    int8_t bit;      /* of a register, 0 = the lowest; -1 = none */
    int8_t decimals; /* of the result; -1 = as it comes */
    uint16_t count;  /* registers or bits */
    /* value = raw * multiplier / divider + offset */
    double multiplier, divider, offset;
    const struct mb_name *names; /* number -> text; the others stay numbers */
    uint32_t name_count;
};

static inline bool mb_scaled(const struct mb_shape *s)
{
    return s->multiplier != 1 || s->divider != 1 || s->offset != 0;
}

/*
 * The value of count registers, as the wire has them. space: where texts and lists are kept, of
 * MB_VALUE_SPACE bytes. False if there is none: a float that is no number, a digit above 9.
 */
enum { MB_VALUE_SPACE = 2 * MB_TEXT_MAX + MB_BITS_AS_LIST * sizeof(struct tpc_value) };
bool mb_value_of_registers(const struct mb_shape *s, const uint8_t *wire, uint8_t *space,
                           struct tpc_value *ret);
/* The same of bits; first: the number of the first one in data. */
bool mb_value_of_bits(const struct mb_shape *s, const uint8_t *data, uint32_t first, uint8_t *space,
                      struct tpc_value *ret);

/* Back: registers as the wire has them. Returns NULL, or what is wrong with the value. Of a bit, or of 8 bits,
 * the rest of the register is 0: mb_write_mask() tells what is the value's. */
const char *mb_value_to_registers(const struct mb_shape *s, const struct tpc_value *v,
                                  uint8_t *wire);
/* Which bits of its register a value has, the high byte first as on the wire; 0xffff = all. */
uint16_t mb_write_mask(const struct mb_shape *s);
/* The same to bits. */
const char *mb_value_to_bits(const struct mb_shape *s, const struct tpc_value *v, uint8_t *data);

#endif
