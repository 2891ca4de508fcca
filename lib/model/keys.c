#include "model/keys.h"

#include <limits.h>
#include <tpcore/msg.h>

static void make_pattern(const char *text, size_t len, struct tpi_pattern *ret)
{
    unsigned char mask[8] = { 0 };
    size_t first = len < 8 ? len : 8;
    *ret = (struct tpi_pattern){ .text = text, .len = (uint32_t) len };
    ret->need = len < 8 ? 8 : (uint32_t) len;
    memset(mask, 0xFF, first);
    memcpy(&ret->mask, mask, 8);
    memcpy(&ret->head, text, first);
    if (len >= 8) {
        memcpy(&ret->tail, text + len - 8, 8);
    }
}

/* The key as RFC 8949 section 3 writes it: head of major type 3, and the text. */
static size_t cbor_text(struct tpc_str key, char *out)
{
    size_t n = 0;
    if (key.len < 24) {
        out[n++] = (char) (0x60 | key.len);
    } else {
        out[n++] = 0x78;
        out[n++] = (char) key.len; /* at most TPI_MODEL_MAX_KEY */
    }
    memcpy(out + n, key.ptr, key.len);
    return n + key.len;
}

/* A key with a quote, a backslash or a control byte never stands so in JSON, and is then found by
 * its unescaped text. */
static size_t json_text(struct tpc_str key, char *out)
{
    out[0] = '"';
    memcpy(out + 1, key.ptr, key.len);
    out[key.len + 1] = '"';
    out[key.len + 2] = ':';
    return key.len + 3;
}

static bool is_plain(struct tpc_str key)
{
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] == '"' || key.ptr[i] == '\\' || (unsigned char) key.ptr[i] < 0x20) {
            return false;
        }
    }
    return true;
}

static void make_check(const struct tpi_spec *s, struct tpi_key *k)
{
    if (s->stepped) {
        k->check = TPI_KEY_OTHER;
        return;
    }
    switch (s->data_type) {
    case TPI_DATA_FLOAT:
    case TPI_DATA_DOUBLE:
        k->check = TPI_KEY_DOUBLE;
        k->of.d.min = s->min;
        k->of.d.max = s->max;
        break;
    case TPI_DATA_INT:
        k->check = TPI_KEY_INT;
        k->of.i.min = s->int_min;
        k->of.i.max = s->int_max;
        break;
    case TPI_DATA_BOOL:
        k->check = TPI_KEY_BOOL;
        break;
    case TPI_DATA_TEXT:
        k->check = TPI_KEY_TEXT;
        k->of.length = s->length;
        break;
    case TPI_DATA_ENUM:
        k->check = TPI_KEY_ENUM;
        k->of.e.items = s->of.items;
        k->of.e.count = s->count;
        break;
    default:
        k->check = TPI_KEY_OTHER;
    }
}

static int make_key(struct tpi_model *m, const struct tpi_property *p, struct tpi_key *k)
{
    char *json = tpc_arena_take(m->arena, p->key.len + 3);
    char *cbor = tpc_arena_take(m->arena, p->key.len + 2);
    if (json == NULL || cbor == NULL) {
        return TPC_ENOMEM;
    }
    memset(k, 0, sizeof(*k));
    k->key = p->key;
    k->id = p->id;
    k->flags = p->attribute ? TPC_POINT_ATTRIBUTE : 0;
    if (p->expr.len == 0) { /* else tpi_model_take() refuses it */
        make_check(p->spec, k);
    }
    make_pattern(json, json_text(p->key, json), &k->json);
    make_pattern(cbor, cbor_text(p->key, cbor), &k->cbor);
    if (!is_plain(p->key)) {
        k->json.head = 0; /* no text begins with these bytes under the mask: never predicted */
        k->json.text = "\0";
        k->json.len = 1;
        k->json.need = 8;
        k->json.mask = UINT64_MAX;
    }
    tpi_key_words(p->key.ptr, p->key.len, p->key.len, &k->head, &k->tail);
    return 0;
}

/* Places that a key is away from its own; -1 if it would be too far. */
static int put_hash(struct tpi_keys *keys, uint32_t index)
{
    const struct tpi_key *k = &keys->at[index];
    uint32_t last = ((uint32_t) 1 << (64 - keys->shift)) - 1;
    uint64_t hash = tpi_key_hash(k->head, k->tail, k->key.len, keys->seed);
    uint32_t at = (uint32_t) (hash >> keys->shift);
    for (int probes = 0; probes < TPI_KEYS_PROBES; probes++, at = (at + 1) & last) {
        if (keys->hash[at] == 0) {
            keys->hash[at] = (uint16_t) (index + 1);
            return probes;
        }
    }
    return -1;
}

/* Fills the table; the steps from their places that keys take together, or -1. */
static int fill_hash(struct tpi_keys *keys, uint32_t count, size_t bytes, uint64_t seed)
{
    int steps = 0;
    keys->seed = seed;
    memset(keys->hash, 0, bytes);
    for (uint32_t i = 0; i < count; i++) {
        int probes = put_hash(keys, i);
        if (probes < 0) {
            return -1;
        }
        steps += probes;
    }
    return steps;
}

/* Of some seeds the one whose keys are found with the fewest steps; of small models all keys then
 * stand at their places. */
static void choose_seed(struct tpi_keys *keys, uint32_t count, size_t bytes)
{
    int best = INT_MAX;
    uint64_t chosen = 0;
    for (uint32_t i = 0; i < TPI_KEYS_SEEDS && best > 0; i++) {
        uint64_t seed = (uint64_t) i << 33 | (uint64_t) i << 1; /* even: the factor stays odd */
        int steps = fill_hash(keys, count, bytes, seed);
        if (steps >= 0 && steps < best) {
            best = steps;
            chosen = seed;
        }
    }
    if (best == INT_MAX || (best > 0 && fill_hash(keys, count, bytes, chosen) < 0)) {
        keys->hash = NULL;
    }
}

int tpi_keys_make(struct tpi_model *m)
{
    struct tpi_keys *keys = &m->keys;
    uint32_t count = m->count + m->alias_count;
    uint32_t bits = 4;
    while ((uint32_t) 1 << bits < 4 * count) {
        bits++;
    }
    size_t bytes = ((size_t) 1 << bits) * sizeof(keys->hash[0]);
    keys->count = m->count;
    keys->shift = 64 - bits;
    keys->at = tpc_arena_take(m->arena, (count + 1u) * sizeof(keys->at[0]));
    keys->hash = tpc_arena_take(m->arena, bytes);
    if (keys->at == NULL || keys->hash == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        if (make_key(m, &m->properties[i], &keys->at[i]) != 0) {
            return TPC_ENOMEM;
        }
    }
    for (uint32_t i = 0; i < m->alias_count; i++) {
        struct tpi_key *k = &keys->at[m->count + i];
        *k = keys->at[m->aliases[i].index];
        k->key = m->aliases[i].key;
        tpi_key_words(k->key.ptr, k->key.len, k->key.len, &k->head, &k->tail);
    }
    choose_seed(keys, count, bytes);
    return 0;
}
