/* Values of a column that tpi_chunk_next() found. */
#include <tpcore/cbor.h>

#include "base/error.h"
#include "store/chunk_format.h"

static int corrupt(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_ECORRUPT, "chunk", "%s", what);
}

static struct tpc_value make_double(double x)
{
    return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = x };
}

/* ---- values ---- */

/* Reads the numbers of a column, INTS_BLOCK at a time. */
struct numbers {
    const struct tpi_chunk_column *c;
    struct chunk_ints ints;
    struct tpi_reader patches;
    uint32_t at;         /* values that were read */
    uint32_t patch_left; /* this one included */
    uint64_t patch_at;
    int64_t before; /* version 1 */
};

static void numbers_init(struct numbers *k, const struct tpi_chunk_column *c)
{
    *k = (struct numbers){ .c = c, .patch_left = c->patch_count };
    tpi_chunk_ints_init(&k->ints, c->values, c->count - 1, c->base);
    if (k->patch_left > 0) {
        tpi_reader_init(&k->patches, c->patches.ptr, c->patches.len);
        k->patch_at = tpi_read_varint(&k->patches);
    }
}

static uint32_t next_old(struct numbers *k, int64_t *ret)
{
    uint32_t left = k->c->count - k->at;
    uint32_t n = left < INTS_BLOCK ? left : INTS_BLOCK;
    for (uint32_t i = 0; i < n; i++) {
        if (k->c->type == TPC_INT) {
            k->before = (int64_t) ((uint64_t) k->before + (uint64_t) tpi_read_zigzag(&k->ints.in));
        } else {
            k->before = (int64_t) tpi_read_u64(&k->ints.in);
        }
        ret[i] = k->before;
    }
    k->ints.left = left - n;
    return k->ints.in.bad ? 0 : n;
}

/* Numbers as they are written; 0 = damaged. The first one comes alone. */
static uint32_t next_numbers(struct numbers *k, int64_t *ret)
{
    uint32_t n = 1;
    if (k->c->coding == CODE_OLD) {
        n = next_old(k, ret);
    } else if (k->at == 0) {
        ret[0] = k->c->base;
    } else {
        n = tpi_chunk_ints_next(&k->ints, ret);
    }
    k->at += n;
    return n;
}

static void apply_patches(struct numbers *k, uint32_t n, double *values)
{
    while (k->patch_left > 0 && k->patch_at < k->at) {
        values[k->patch_at - (k->at - n)] = chunk_read_double(&k->patches);
        k->patch_left--;
        k->patch_at += k->patch_left > 0 ? tpi_read_varint(&k->patches) : 0;
    }
}

static uint32_t next_doubles(struct numbers *k, double *ret)
{
    int64_t block[INTS_BLOCK];
    const struct tpi_chunk_column *c = k->c;
    uint32_t n = next_numbers(k, block);
    if (c->coding == CODE_OLD) {
        memcpy(ret, block, n * sizeof(*ret));
    } else if ((c->coding & CODE_REAL) != 0) {
        for (uint32_t i = 0; i < n; i++) {
            ret[i] = chunk_double(chunk_unorder(block[i], c->shift));
        }
    } else {
        double power = chunk_powers[c->coding & CODE_SCALE_MASK];
        for (uint32_t i = 0; i < n; i++) {
            ret[i] = (double) block[i] / power;
        }
        apply_patches(k, n, ret);
    }
    return n;
}

static int numbers_end(const struct numbers *k, struct tpc_error *err)
{
    if (!tpi_chunk_ints_done(&k->ints)) {
        return corrupt(err, "the values of a column are not as many as its count");
    }
    return 0;
}

/* Truth values one by one. */
struct bools {
    const struct tpi_chunk_column *c;
    struct tpi_reader in;
    uint64_t run;
    uint32_t at;
    bool now;
};

static void bools_init(struct bools *k, const struct tpi_chunk_column *c)
{
    *k = (struct bools){ .c = c, .now = c->coding == CODE_RUNS };
    tpi_reader_init(&k->in, c->values.ptr, c->values.len);
}

static bool next_bool(struct bools *k)
{
    if (k->c->coding == CODE_BITS) {
        return chunk_bit(k->c->values.ptr, k->at++);
    }
    if (k->run == 0) {
        k->run = tpi_read_varint(&k->in);
        k->now = !k->now;
    }
    k->run--;
    return k->now;
}

int tpi_chunk_ints(const struct tpi_chunk_column *c, struct tpc_error *err, int64_t *ret)
{
    if (c->type == TPC_BOOL) {
        struct bools bools;
        bools_init(&bools, c);
        for (uint32_t i = 0; i < c->count; i++) {
            ret[i] = next_bool(&bools);
        }
        return 0;
    }
    if (c->type != TPC_INT) {
        return tpi_error_set(err, TPC_EINVAL, "chunk", "the column holds no integers");
    }
    struct numbers k;
    numbers_init(&k, c);
    while (k.at < c->count) {
        if (next_numbers(&k, ret + k.at) == 0) {
            break;
        }
    }
    return numbers_end(&k, err);
}

int tpi_chunk_doubles(const struct tpi_chunk_column *c, struct tpc_error *err, double *ret)
{
    if (c->type == TPC_BOOL) {
        struct bools bools;
        bools_init(&bools, c);
        for (uint32_t i = 0; i < c->count; i++) {
            ret[i] = next_bool(&bools);
        }
        return 0;
    }
    if (c->type != TPC_INT && c->type != TPC_DOUBLE) {
        return tpi_error_set(err, TPC_EINVAL, "chunk", "the column holds no numbers");
    }
    struct numbers k;
    int64_t block[INTS_BLOCK];
    numbers_init(&k, c);
    for (uint32_t n = 1; n > 0 && k.at < c->count;) {
        double *at = ret + k.at;
        if (c->type == TPC_DOUBLE) {
            n = next_doubles(&k, at);
            continue;
        }
        n = next_numbers(&k, block);
        for (uint32_t i = 0; i < n; i++) {
            at[i] = (double) block[i];
        }
    }
    return numbers_end(&k, err);
}

/* ---- values of all types ---- */

/* Where the values of a column go: the rows that have one, in order. */
struct target {
    const struct tpi_chunk_column *c;
    uint32_t row; /* next one to look at */
    struct tpc_value *values;
    uint8_t *validity;
};

static void put(struct target *t, struct tpc_value v)
{
    while (t->c->presence.len != 0 && !chunk_bit(t->c->presence.ptr, t->row)) {
        t->row++;
    }
    t->values[t->row] = v;
    t->validity[t->row / 8] |= (uint8_t) (1u << (t->row % 8));
    t->row++;
}

static int put_numbers(struct target *t, struct tpc_error *err)
{
    struct numbers k;
    int64_t ints[INTS_BLOCK];
    double doubles[INTS_BLOCK];
    numbers_init(&k, t->c);
    while (k.at < t->c->count) {
        bool whole = t->c->type == TPC_INT;
        uint32_t n = whole ? next_numbers(&k, ints) : next_doubles(&k, doubles);
        if (n == 0) {
            break;
        }
        for (uint32_t i = 0; i < n; i++) {
            put(t, whole ? (struct tpc_value){ .type = TPC_INT, .as.i = ints[i] }
                         : make_double(doubles[i]));
        }
    }
    return numbers_end(&k, err);
}

/* A length and that many bytes. */
static struct tpc_bytes read_text(struct tpi_reader *in)
{
    uint64_t len = chunk_read_varint(in);
    if (len > tpi_reader_left(in)) {
        in->bad = true;
        len = 0;
    }
    return (struct tpc_bytes){ tpi_read_bytes(in, (size_t) len), (size_t) len };
}

static int put_text(struct target *t, struct tpc_bytes bytes, struct tpc_arena *arena,
                    struct tpc_error *err)
{
    uint32_t type = t->c->type;
    struct tpc_value v = { .type = type, .len = bytes.len, .as.blob = bytes.ptr };
    if (type == TPC_ARRAY || type == TPC_MAP) {
        int rc = tpc_cbor_parse(arena, bytes, err, &v);
        if (rc == TPC_ENOMEM) {
            return rc;
        }
        if (rc != 0 || v.type != type) {
            return corrupt(err, "a value is not the CBOR that it should be");
        }
    }
    put(t, v);
    return 0;
}

static int put_dictionary(struct target *t, struct tpi_reader *in, struct tpc_arena *arena,
                          struct tpc_error *err)
{
    struct tpc_bytes texts[DICTIONARY_MOST];
    struct chunk_ints ints;
    int64_t block[INTS_BLOCK];
    uint64_t size = tpi_read_varint(in);
    if (size > DICTIONARY_MOST) {
        return corrupt(err, "a dictionary has too many values");
    }
    for (uint64_t i = 0; i < size; i++) {
        texts[i] = read_text(in);
    }
    if (in->bad) {
        return corrupt(err, "a dictionary is cut");
    }
    tpi_chunk_ints_init(&ints, (struct tpc_bytes){ in->p, tpi_reader_left(in) }, t->c->count, 0);
    while (ints.left > 0) {
        uint32_t n = tpi_chunk_ints_next(&ints, block);
        for (uint32_t i = 0; i < n; i++) {
            if (block[i] < 0 || (uint64_t) block[i] >= size) {
                return corrupt(err, "a value is not in its dictionary");
            }
            int rc = put_text(t, texts[block[i]], arena, err);
            if (rc != 0) {
                return rc;
            }
        }
        if (n == 0) {
            break;
        }
    }
    return tpi_chunk_ints_done(&ints) ? 0 : corrupt(err, "the values of a column are cut");
}

static int put_texts(struct target *t, struct tpc_arena *arena, struct tpc_error *err)
{
    struct tpi_reader in;
    tpi_reader_init(&in, t->c->values.ptr, t->c->values.len);
    if (t->c->coding == CODE_DICTIONARY) {
        return put_dictionary(t, &in, arena, err);
    }
    for (uint32_t i = 0; i < t->c->count; i++) {
        struct tpc_bytes text = read_text(&in);
        if (in.bad) {
            return corrupt(err, "the values of a column are cut");
        }
        int rc = put_text(t, text, arena, err);
        if (rc != 0) {
            return rc;
        }
    }
    return tpi_reader_left(&in) == 0 ? 0 : corrupt(err, "bytes follow the values of a column");
}

int tpi_chunk_values(const struct tpi_chunk_column *c, uint32_t rows, struct tpc_arena *arena,
                     struct tpc_error *err, struct tpc_value *ret, uint8_t *ret_validity)
{
    struct target t = { .c = c, .values = ret, .validity = ret_validity };
    struct bools bools;
    (void) rows;
    switch (c->type) {
    case TPC_NULL:
        for (uint32_t i = 0; i < c->count; i++) {
            put(&t, (struct tpc_value){ .type = TPC_NULL });
        }
        return c->values.len == 0 ? 0 : corrupt(err, "bytes follow the values of a column");
    case TPC_BOOL:
        bools_init(&bools, c);
        for (uint32_t i = 0; i < c->count; i++) {
            put(&t, (struct tpc_value){ .type = TPC_BOOL, .as.b = next_bool(&bools) });
        }
        return 0;
    case TPC_INT:
    case TPC_DOUBLE:
        return put_numbers(&t, err);
    default:
        return put_texts(&t, arena, err);
    }
}
