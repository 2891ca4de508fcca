/*
 * string.unpack for formats of numbers without padding, as binary protocols have them. All others,
 * and all faulty calls, are left to Lua's own function.
 */
#include "state.h"

#include <string.h>

enum {
    NUMBER_MAX = 8,   /* bytes of an item */
    FREE_SLOTS = 16,  /* results that a C function has stack for anyway */
    FREE_FORMAT = 64, /* bytes of a format that cost no steps */

    SIZE = 15, /* an option: its size with these */
    SIGNED = 16,
    FLOAT = 32,
    SIZED = 64 /* a digit may follow */
};

static const uint8_t options[256] = {
    ['b'] = 1 | SIGNED,
    ['B'] = 1,
    ['h'] = sizeof(short) | SIGNED,
    ['H'] = sizeof(short),
    ['i'] = sizeof(int) | SIGNED | SIZED,
    ['I'] = sizeof(int) | SIZED,
    ['l'] = sizeof(long) | SIGNED,
    ['L'] = sizeof(long),
    ['j'] = sizeof(lua_Integer) | SIGNED,
    ['J'] = sizeof(lua_Integer),
    ['f'] = sizeof(float) | FLOAT,
    ['d'] = sizeof(double) | FLOAT,
    ['n'] = sizeof(lua_Number) | FLOAT,
};

_Static_assert(sizeof(lua_Number) == sizeof(double) && sizeof(lua_Integer) == NUMBER_MAX,
               "Lua with its usual numbers");

static bool native_little(void)
{
    static const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads up to and with the next option of a number. Returns it with its size, 0 where there is none
 * that is known here. */
static inline unsigned next_option(const char **format, bool *little)
{
    const char *p = *format;
    unsigned option;
    for (; (option = options[(uint8_t) *p]) == 0; p++) {
        if (*p == '>') {
            *little = false;
        } else if (*p == '<') {
            *little = true;
        } else if (*p == '=') {
            *little = native_little();
        } else if (*p != ' ') {
            *format = p;
            return 0;
        }
    }
    *format = p;
    p++;
    if ((option & SIZED) != 0 && is_digit(*p)) {
        unsigned size = (unsigned) (*p++ - '0');
        if (size == 0 || size > NUMBER_MAX) {
            return 0;
        }
        option = (option & ~(unsigned) SIZE) | size;
    }
    if (is_digit(*p)) {
        return 0;
    }
    *format = p;
    return option;
}

static uint64_t read_bits(const uint8_t *p, size_t size, bool little)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t bits = 0;
    bool swap = little != native_little();
    switch (size) {
    case 1:
        return p[0];
    case 2:
        memcpy(&u16, p, 2);
        return swap ? __builtin_bswap16(u16) : u16;
    case 4:
        memcpy(&u32, p, 4);
        return swap ? __builtin_bswap32(u32) : u32;
    case 8:
        memcpy(&bits, p, 8);
        return swap ? __builtin_bswap64(bits) : bits;
    default:
        for (size_t i = 0; i < size; i++) {
            bits = bits << 8 | p[little ? size - 1 - i : i];
        }
        return bits;
    }
}

static void push_float(lua_State *L, uint64_t bits, size_t size)
{
    double d;
    if (size == sizeof(float)) {
        uint32_t half = (uint32_t) bits;
        float f;
        memcpy(&f, &half, sizeof(f));
        d = (double) f;
    } else {
        memcpy(&d, &bits, sizeof(d));
    }
    lua_pushnumber(L, d);
}

/* Pushes what the format says and the position after it. Returns how many, 0 for Lua's function. */
static int push_items(lua_State *L, const char *format, const uint8_t *data, size_t len)
{
    bool little = native_little();
    size_t at = 0;
    int count = 0;
    for (unsigned option; (option = next_option(&format, &little)) != 0; count++) {
        size_t size = option & SIZE;
        if (size > len - at) {
            return 0;
        }
        if (count >= FREE_SLOTS) {
            luaL_checkstack(L, 2, "too many results");
        }
        uint64_t bits = read_bits(data + at, size, little);
        if ((option & FLOAT) != 0) {
            push_float(L, bits, size);
        } else {
            uint64_t sign = (option & SIGNED) != 0 ? (uint64_t) 1 << (size * 8 - 1) : 0;
            lua_pushinteger(L, (lua_Integer) ((bits ^ sign) - sign));
        }
        at += size;
    }
    if (*format != '\0') {
        return 0;
    }
    lua_pushinteger(L, (lua_Integer) at + 1);
    return count + 1;
}

/* The same for a call with a format and a text that need no paying for. */
static int unpack_numbers(lua_State *L)
{
    size_t format_len;
    size_t len;
    const char *format = lua_tolstring(L, 1, &format_len);
    const char *data = lua_tolstring(L, 2, &len);
    if (format == NULL || data == NULL || format_len > FREE_FORMAT) {
        return 0;
    }
    return push_items(L, format, (const uint8_t *) data, len);
}

int unpack_string(lua_State *L)
{
    if (lua_gettop(L) == 2) {
        int n = unpack_numbers(L);
        if (n > 0) {
            return n;
        }
        lua_settop(L, 2);
    }
    size_t len = (size_t) lua_rawlen(L, 1);
    if (len > FREE_FORMAT) {
        slot_work(L, len);
    }
    return slot_of(L)->unpack(L);
}
