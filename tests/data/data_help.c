#include "data_suites.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct tpc_arena *data_arena(void)
{
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    return arena;
}

struct tpc_value data_json(struct tpc_arena *arena, const char *text)
{
    struct tpc_value v;
    struct tpc_error err;
    int rc = tpc_json_parse(arena, tpc_str_from(text), 0, &err, &v);
    ck_assert_msg(rc == 0, "%s: %s", text, err.text);
    return v;
}

const char *data_text(struct tpc_arena *arena, const struct tpc_value *v, uint32_t flags)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    tk_fails(TPC_ETOOBIG, tpc_json_write(v, flags, &buf));
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    ck_assert_ptr_nonnull(buf.ptr);
    tk_ok(tpc_json_write(v, flags, &buf));
    ck_assert_uint_eq(buf.need, buf.cap);
    buf.ptr[buf.need] = '\0';
    return (const char *) buf.ptr;
}

size_t data_hex(const char *hex, uint8_t *out, size_t cap)
{
    size_t n = 0;
    unsigned int byte;
    for (; *hex != '\0'; hex += hex[0] == ' ' ? 1 : 2) {
        if (*hex != ' ') {
            ck_assert(n < cap && sscanf(hex, "%2x", &byte) == 1);
            out[n++] = (uint8_t) byte;
        }
    }
    return n;
}

uint64_t data_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static struct tpc_str random_text(struct tpc_arena *arena, uint64_t *state)
{
    static const char *const pieces[] = { "a",
                                          "temp",
                                          "\"",
                                          "\\",
                                          "\n",
                                          "\x01",
                                          "/",
                                          " ",
                                          "\xC3\xA9",
                                          "\xE2\x82\xAC",
                                          "\xF0\x9F\x98\x80",
                                          "<&>",
                                          "0",
                                          "\x7F",
                                          "\xE2\x80\xA8",
                                          "long-enough-for-a-vector" };
    char *text = tpc_arena_take(arena, 256);
    size_t n = 0;
    for (uint64_t i = data_random(state) % 6; i > 0; i--) {
        const char *piece = pieces[data_random(state) % 16];
        memcpy(text + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return (struct tpc_str){ text, n };
}

static struct tpc_value random_scalar(struct tpc_arena *arena, uint64_t *state)
{
    struct tpc_value v = { .type = TPC_NULL };
    struct tpc_str text;
    uint64_t bits = data_random(state);
    switch (data_random(state) % 6) {
    case 0:
        break;
    case 1:
        v.type = TPC_BOOL;
        v.as.b = (bits & 1) != 0;
        break;
    case 2:
        v.type = TPC_INT;
        v.as.i = (int64_t) bits >> data_random(state) % 64;
        break;
    case 3:
    case 4:
        v.type = TPC_DOUBLE;
        memcpy(&v.as.d, &bits, 8);
        if (!isfinite(v.as.d) || (bits & 3) != 0) {
            v.as.d = (double) ((int64_t) bits >> 40) / 100.0;
        }
        break;
    default:
        text = random_text(arena, state);
        v = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
    }
    return v;
}

struct tpc_value data_random_tree(struct tpc_arena *arena, uint64_t *state, uint32_t depth)
{
    uint64_t kind = data_random(state) % 4;
    if (depth == 0 || kind < 2) {
        return random_scalar(arena, state);
    }
    size_t n = (size_t) (data_random(state) % (depth > 2 ? 6 : 20));
    if (kind == 2) {
        struct tpc_value *items = tpc_arena_take(arena, (n + 1) * sizeof(*items));
        for (size_t i = 0; i < n; i++) {
            items[i] = data_random_tree(arena, state, depth - 1);
        }
        return (struct tpc_value){ .type = TPC_ARRAY, .len = n, .as.items = items };
    }
    struct tpc_member *members = tpc_arena_take(arena, (n + 1) * sizeof(*members));
    for (size_t i = 0; i < n; i++) {
        struct tpc_str tail = random_text(arena, state);
        char *key = tpc_arena_take(arena, tail.len + 8);
        int head = snprintf(key, 8, "%zu-", i);
        memcpy(key + head, tail.ptr, tail.len);
        members[i].key = (struct tpc_str){ key, (size_t) head + tail.len };
        members[i].value = data_random_tree(arena, state, depth - 1);
    }
    return (struct tpc_value){ .type = TPC_MAP, .len = n, .as.members = members };
}
