/*
 * The compiled key table of a model: what readers need of a property to go straight from bytes to a
 * checked point. Private to lib/model; made by keys.c, never changed.
 */
#ifndef TPI_MODEL_KEYS_H
#define TPI_MODEL_KEYS_H

#include <string.h>

#include "model/spec.h"

enum {
    TPI_KEYS_PROBES = 16, /* places at which a key is looked for: without room there is no table */
    TPI_KEYS_SEEDS = 32   /* tried for the best table */
};

/* Bytes to compare by words: the first eight and the last eight, which may overlap. */
struct tpi_pattern {
    uint64_t head; /* masked */
    uint64_t mask;
    uint64_t tail; /* of 8 bytes or more */
    const char *text;
    uint32_t len;
    uint32_t need; /* bytes that must be readable: len or 8 */
};

/* How a value is checked in place. */
enum tpi_key_check {
    TPI_KEY_OTHER = 0, /* tpi_model_take() */
    TPI_KEY_DOUBLE = 1,
    TPI_KEY_INT = 2,
    TPI_KEY_BOOL = 3,
    TPI_KEY_TEXT = 4,
    TPI_KEY_ENUM = 5
};

struct tpi_key {
    struct tpi_pattern json; /* "key": */
    uint16_t id;
    uint8_t check; /* enum tpi_key_check */
    uint8_t reserved;
    uint16_t flags; /* of its points */
    uint16_t reserved2;
    union {
        struct {
            double min, max;
        } d;
        struct {
            int64_t min, max;
        } i;
        uint64_t length; /* most bytes of a text */
        struct {
            const struct tpi_enum_item *items;
            uint64_t count;
        } e;
    } of;
    struct tpc_str key;
    uint64_t head, tail; /* of the key: tpi_key_words() */
    struct tpi_pattern cbor;
};

/* Fills m->keys from its properties. Returns 0 or TPC_ENOMEM. */
int tpi_keys_make(struct tpi_model *m);

/* Whether two texts are the same whose first and last eight bytes are. */
static inline bool tpi_same_middle(const char *a, const char *b, size_t len)
{
    for (size_t i = 8; i + 8 < len; i += 8) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) {
            return false;
        }
    }
    return true;
}

/* Whether the pattern stands at p. */
static inline bool tpi_pattern_at(const struct tpi_pattern *t, const char *p, const char *end)
{
    uint64_t word;
    if ((size_t) (end - p) < t->need) {
        return (size_t) (end - p) >= t->len && memcmp(p, t->text, t->len) == 0;
    }
    memcpy(&word, p, 8);
    if ((word & t->mask) != t->head) {
        return false;
    }
    if (t->len <= 8) {
        return true;
    }
    memcpy(&word, p + t->len - 8, 8);
    if (word != t->tail) {
        return false;
    }
    return tpi_same_middle(p, t->text, t->len);
}

/* First and last eight bytes of a key; a shorter one is filled up with zeros. readable: bytes from
 * p on. */
static inline void tpi_key_words(const char *p, size_t len, size_t readable, uint64_t *head,
                                 uint64_t *tail)
{
    static const unsigned char masks[16] = { 255, 255, 255, 255, 255, 255, 255, 255 };
    uint64_t a = 0;
    uint64_t b;
    if (readable >= 8) {
        /* Without a branch on the length, which nobody can foretell. */
        uint64_t mask;
        memcpy(&a, p, 8);
        memcpy(&b, p + (len > 8 ? len - 8 : 0), 8);
        memcpy(&mask, masks + (len < 8 ? 8 - len : 0), 8);
        *head = a & mask;
        *tail = b & mask;
        return;
    }
    memcpy(&a, p, len);
    *head = a;
    *tail = a;
}

static inline uint64_t tpi_key_hash(uint64_t head, uint64_t tail, size_t len, uint64_t seed)
{
    return (head ^ (tail << 7 | tail >> 57) ^ len) * (UINT64_C(0x9E3779B97F4A7C15) + seed);
}

/* Index of a key, present or former, or -1. */
static inline int tpi_keys_find(const struct tpi_model *m, const char *p, size_t len,
                                size_t readable)
{
    const struct tpi_keys *k = &m->keys;
    uint64_t head, tail;
    if (k->hash == NULL) {
        return tpi_model_find(m, (struct tpc_str){ p, len }, NULL);
    }
    tpi_key_words(p, len, readable, &head, &tail);
    uint32_t last = ((uint32_t) 1 << (64 - k->shift)) - 1;
    uint32_t at = (uint32_t) (tpi_key_hash(head, tail, len, k->seed) >> k->shift);
    for (int i = 0; i < TPI_KEYS_PROBES && k->hash[at] != 0; i++, at = (at + 1) & last) {
        const struct tpi_key *key = &k->at[k->hash[at] - 1];
        if (key->head == head && key->tail == tail && key->key.len == len &&
            tpi_same_middle(p, key->key.ptr, len)) {
            uint32_t index = (uint32_t) k->hash[at] - 1;
            return (int) (index < k->count ? index : m->aliases[index - k->count].index);
        }
    }
    return -1;
}

#endif
