#include "modbus_text.h"

#include <tpcore/error.h>
#include <tpcore/json.h>

#include <string.h>

enum { MEMBERS_MAX = 12, WORD_MAX = 24 };

struct given {
    struct tpc_str type, function, count, address, value, byte_order, word_order, bit, divider,
        multiplier, round;
};

struct made {
    struct tpc_member *members;
    uint32_t count;
    const char *why;
};

/* The first reason stands. */
static void wrong(struct made *m, const char *why)
{
    m->why = m->why != NULL ? m->why : why;
}

/* ---- name=value;name=value ---- */

static struct tpc_str trimmed(struct tpc_str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

static struct tpc_str upto(struct tpc_str *rest, char c)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, c, rest->len) : NULL;
    struct tpc_str part = { rest->ptr, end != NULL ? (size_t) (end - rest->ptr) : rest->len };
    size_t gone = part.len + (end != NULL);
    if (gone > 0) {
        rest->ptr += gone;
        rest->len -= gone;
    }
    return trimmed(part);
}

/* Names that are not known are of no meaning here, as with the original. */
static void split(struct tpc_str text, struct given *g)
{
    const struct {
        struct tpc_str name;
        struct tpc_str *to;
    } known[] = {
        { TPC_STR_INIT("type"), &g->type },
        { TPC_STR_INIT("functionCode"), &g->function },
        { TPC_STR_INIT("objectsCount"), &g->count },
        { TPC_STR_INIT("registerCount"), &g->count },
        { TPC_STR_INIT("address"), &g->address },
        { TPC_STR_INIT("value"), &g->value },
        { TPC_STR_INIT("byteOrder"), &g->byte_order },
        { TPC_STR_INIT("wordOrder"), &g->word_order },
        { TPC_STR_INIT("bit"), &g->bit },
        { TPC_STR_INIT("divider"), &g->divider },
        { TPC_STR_INIT("multiplier"), &g->multiplier },
        { TPC_STR_INIT("round"), &g->round },
    };
    *g = (struct given){ .count = { NULL, 0 } };
    while (text.len > 0) {
        struct tpc_str part = upto(&text, ';');
        struct tpc_str name = upto(&part, '=');
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            if (tpc_str_equal(known[i].name, name)) {
                *known[i].to = trimmed(part);
            }
        }
    }
}

/* ---- values ---- */

/* ASCII letters in lower case; false: it is too long for a word. */
static bool lower(struct tpc_str s, char out[WORD_MAX])
{
    if (s.len >= WORD_MAX) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        out[i] = (char) (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] + 32 : s.ptr[i]);
    }
    out[s.len] = '\0';
    return true;
}

static bool whole(struct tpc_str s, int64_t low, int64_t high, int64_t *ret)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || n > 1000000) {
            return false;
        }
        n = n * 10 + (s.ptr[i] - '0');
    }
    *ret = n;
    return s.len > 0 && n >= low && n <= high;
}

static void put(struct made *m, struct tpc_str key, struct tpc_value v)
{
    m->members[m->count++] = (struct tpc_member){ key, v };
}

static struct tpc_value as_int(int64_t n)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = n };
}

static struct tpc_value as_text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

static void put_whole(struct made *m, struct tpc_str key, struct tpc_str s, int64_t high,
                      const char *why)
{
    int64_t n;
    if (s.len == 0) {
        return;
    }
    if (!whole(s, 0, high, &n)) {
        wrong(m, why);
        return;
    }
    put(m, key, as_int(n));
}

static int put_number(struct made *m, struct tpc_str key, struct tpc_str s, struct tpc_arena *arena,
                      const char *why)
{
    struct tpc_value v;
    if (s.len == 0) {
        return 0;
    }
    int rc = tpc_json_parse(arena, s, 0, NULL, &v);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || (v.type != TPC_INT && v.type != TPC_DOUBLE)) {
        wrong(m, why);
        return 0;
    }
    put(m, key, v);
    return 0;
}

/* What is written: as JSON, Python's True and False, or a bare text. */
static int put_value(struct made *m, struct tpc_str s, bool of_text, struct tpc_arena *arena)
{
    char word[WORD_MAX];
    struct tpc_value v = as_text(s);
    if (!of_text && lower(s, word) && (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)) {
        v = (struct tpc_value){ .type = TPC_BOOL, .as.b = word[0] == 't' };
    } else if (!of_text) {
        int rc = tpc_json_parse(arena, s, 0, NULL, &v);
        if (rc == TPC_ENOMEM) {
            return rc;
        }
        if (rc != 0 || v.type == TPC_NULL) {
            wrong(m, "the value fits no such type");
            return 0;
        }
    }
    put(m, TPC_STR("value"), v);
    return 0;
}

/* ---- types ---- */

static void put_order(struct made *m, struct tpc_str key, struct tpc_str s)
{
    char word[WORD_MAX];
    bool good = lower(s, word) && (strcmp(word, "big") == 0 || strcmp(word, "little") == 0);
    if (s.len == 0) {
        return;
    }
    if (!good) {
        wrong(m, "byteOrder and wordOrder are BIG or LITTLE");
        return;
    }
    put(m, key, as_text(word[0] == 'b' ? TPC_STR("big") : TPC_STR("little")));
}

static const struct type_word {
    const char *theirs;
    uint8_t registers; /* 0 = any number of them */
    struct tpc_str ours;
} type_words[] = {
    { "8int", 1, TPC_STR_INIT("int8") },       { "8uint", 1, TPC_STR_INIT("uint8") },
    { "16int", 1, TPC_STR_INIT("int16") },     { "16uint", 1, TPC_STR_INIT("uint16") },
    { "16float", 1, TPC_STR_INIT("float16") }, { "32int", 2, TPC_STR_INIT("int32") },
    { "32uint", 2, TPC_STR_INIT("uint32") },   { "32float", 2, TPC_STR_INIT("float32") },
    { "64int", 4, TPC_STR_INIT("int64") },     { "64uint", 4, TPC_STR_INIT("uint64") },
    { "64float", 4, TPC_STR_INIT("float64") }, { "string", 0, TPC_STR_INIT("string") },
    { "bytes", 0, TPC_STR_INIT("hex") },       { "bits", 0, TPC_STR_INIT("bits") },
    { "bit", 0, TPC_STR_INIT("bits") },
};

/* Those whose width is the count's: of 1, 2 and 4 registers. */
static const char *const families[][4] = {
    { "int", "16int", "32int", "64int" },         { "long", "16int", "32int", "64int" },
    { "integer", "16int", "32int", "64int" },     { "uint", "16uint", "32uint", "64uint" },
    { "float", "16float", "32float", "64float" }, { "double", "16float", "32float", "64float" },
};

static const struct type_word *find_word(const char *word)
{
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (strcmp(word, type_words[i].theirs) == 0) {
            return &type_words[i];
        }
    }
    return NULL;
}

static const struct type_word *type_of(struct tpc_str type, int64_t count)
{
    char word[WORD_MAX];
    uint32_t width = count == 1 ? 1 : count == 2 ? 2 : count == 4 ? 3 : 0;
    if (!lower(type, word)) {
        return NULL;
    }
    for (size_t i = 0; width > 0 && i < sizeof(families) / sizeof(families[0]); i++) {
        if (strcmp(word, families[i][0]) == 0) {
            return find_word(families[i][width]);
        }
    }
    return find_word(word);
}

/* *ret_text: its values are texts. */
static void put_type(struct made *m, const struct given *g, bool of_bits, bool *ret_text)
{
    int64_t count = 1;
    char word[WORD_MAX];
    *ret_text = false;
    if (g->count.len > 0 && !whole(g->count, 1, 125, &count)) {
        wrong(m, "objectsCount is a number from 1 to 125");
        return;
    }
    if (of_bits) {
        put(m, TPC_STR("type"), as_text(count > 1 ? TPC_STR("bits") : TPC_STR("bool")));
        if (count > 1) {
            put(m, TPC_STR("count"), as_int(count));
        }
        return;
    }
    const struct type_word *t = type_of(g->type, count);
    if (t == NULL) {
        wrong(m, "there is no such type of so many registers");
        return;
    }
    if (g->bit.len > 0 && tpc_str_equal(t->ours, TPC_STR("bits"))) {
        put_whole(m, TPC_STR("bit"), g->bit, 15, "bit is a number from 0 to 15");
        return;
    }
    put(m, TPC_STR("type"), as_text(t->ours));
    *ret_text = t->registers == 0 && !tpc_str_equal(t->ours, TPC_STR("bits"));
    if (t->registers == 0) {
        put(m, TPC_STR("count"), as_int(count));
    } else if (t->theirs[0] == '8') { /* the first byte on the wire */
        bool little = lower(g->byte_order, word) && strcmp(word, "little") == 0;
        put(m, TPC_STR("byte"), as_text(little ? TPC_STR("low") : TPC_STR("high")));
    }
}

/* ---- all of it ---- */

static int64_t function_of(const struct given *g, struct made *m, bool set)
{
    int64_t n = 0;
    bool known = whole(g->function, 1, 16, &n) && (n <= 6 || n >= 15);
    if (!known) {
        wrong(m, "functionCode is one of 1 to 6, 15, 16");
    } else if (set != (n > 4)) {
        wrong(m, set ? "this functionCode reads" : "this functionCode writes");
    } else if (set && g->value.len == 0) {
        wrong(m, "there is no value to write");
    }
    return n;
}

int tb_modbus_text(struct tpc_arena *arena, struct tpc_str text, bool set, struct tpc_value *ret,
                   const char **ret_why)
{
    struct given g;
    struct made m = { .members = tpc_arena_take(arena, MEMBERS_MAX * sizeof(*m.members)) };
    bool of_text;
    if (m.members == NULL) {
        return TPC_ENOMEM;
    }
    split(text, &g);
    int64_t function = function_of(&g, &m, set);
    bool of_bits = function <= 2 || function == 5 || function == 15;
    put(&m, TPC_STR("function"), as_int(function));
    if (g.address.len == 0) {
        wrong(&m, "there is no address");
    }
    put_whole(&m, TPC_STR("address"), g.address, 65535, "address is a number from 0 to 65535");
    put_type(&m, &g, of_bits, &of_text);
    put_order(&m, TPC_STR("byte_order"), g.byte_order);
    put_order(&m, TPC_STR("word_order"), g.word_order);
    put_whole(&m, TPC_STR("round"), g.round, 9, "round is a number from 0 to 9");
    int rc = put_number(&m, TPC_STR("divider"), g.divider, arena, "divider is a number");
    if (rc == 0) {
        rc = put_number(&m, TPC_STR("multiplier"), g.multiplier, arena, "multiplier is a number");
    }
    if (rc == 0 && set && g.value.len > 0) {
        rc = put_value(&m, g.value, of_text, arena);
    }
    if (rc != 0) {
        return rc;
    }
    *ret_why = m.why;
    if (m.why != NULL) {
        return TPC_EINVAL;
    }
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = m.count, .as.members = m.members };
    return 0;
}
