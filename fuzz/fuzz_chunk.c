/* Chunks of the history: what opens can be read, and what was read is written and read the same. */
#include "fuzz.h"

#include "base/crc32c.h"
#include "store/chunk.h"

enum { MAX_ROWS = 1 << 14, CRC_END = 6 };

struct reading {
    struct tpc_arena *arena;
    int64_t *times;
    struct tpc_value *values;
    uint8_t *validity;
};

static bool reading_begin(struct reading *r, uint32_t rows)
{
    FUZZ_MUST(tpc_arena_create(NULL, FUZZ_MEMORY, &r->arena) == 0);
    r->times = calloc(rows, sizeof(*r->times));
    r->values = calloc(rows, sizeof(*r->values));
    r->validity = calloc((rows + 7) / 8, 1);
    return r->times != NULL && r->values != NULL && r->validity != NULL;
}

static void reading_end(struct reading *r)
{
    tpc_arena_destroy(r->arena);
    free(r->times);
    free(r->values);
    free(r->validity);
}

static bool set(const struct reading *r, uint32_t row)
{
    return (r->validity[row / 8] >> (row % 8) & 1) != 0;
}

/* Numbers read side by side are as many and the same as those read by row. */
static void check_typed(const struct tpi_chunk_column *c, const struct reading *r)
{
    bool whole = c->type == TPC_INT || c->type == TPC_BOOL;
    double *doubles = malloc(c->count * sizeof(*doubles));
    int64_t *ints = malloc(c->count * sizeof(*ints));
    FUZZ_MUST(doubles != NULL && ints != NULL);
    FUZZ_MUST((tpi_chunk_ints(c, NULL, ints) == 0) == whole);
    FUZZ_MUST((tpi_chunk_doubles(c, NULL, doubles) == 0) == (whole || c->type == TPC_DOUBLE));
    for (uint32_t row = 0, n = 0; n < c->count; row++) {
        if (!set(r, row)) {
            continue;
        }
        if (c->type == TPC_DOUBLE) {
            FUZZ_MUST(memcmp(&doubles[n], &r->values[row].as.d, sizeof(double)) == 0);
        } else if (c->type == TPC_INT) {
            FUZZ_MUST(ints[n] == r->values[row].as.i);
        }
        n++;
    }
    free(doubles);
    free(ints);
}

/* Puts every value of a chunk as an open sample. Returns false if the chunk is damaged. */
static bool unpack(struct tpi_chunk_reader *in, struct reading *r, struct tpi_buf *open)
{
    struct tpi_chunk_column c;
    int rc;
    if (tpi_chunk_times(in, NULL, r->times) != 0) {
        return false;
    }
    while ((rc = tpi_chunk_next(in, NULL, &c)) == 1) {
        memset(r->validity, 0, (in->span.rows + 7) / 8);
        if (tpi_chunk_values(&c, in->span.rows, r->arena, NULL, r->values, r->validity) != 0) {
            return false;
        }
        check_typed(&c, r);
        uint32_t count = 0;
        for (uint32_t row = 0; row < in->span.rows; row++) {
            if (set(r, row)) {
                count++;
                FUZZ_MUST(r->values[row].type == c.type);
                if (tpi_chunk_sample_put(open, &r->times[row], c.property, &r->values[row]) != 0) {
                    return false;
                }
            }
        }
        FUZZ_MUST(count == c.count);
    }
    return rc == 0;
}

/* Encodes open samples, reads them back as open samples behind those, and gives the chunk. */
static bool there_and_back(struct tpi_chunk_encoder *e, struct tpi_buf *open, size_t begin,
                           struct tpi_buf *out)
{
    struct tpi_chunk_span span;
    struct tpi_chunk_reader in;
    struct reading r;
    tpi_buf_clear(out);
    if (open->len == begin) {
        return false;
    }
    struct tpc_bytes bytes = { open->ptr + begin, open->len - begin };
    if (tpi_chunk_encode(e, bytes, 3, 9, out, &span) != 0) {
        return false;
    }
    FUZZ_MUST(tpi_chunk_open(&in, (struct tpc_bytes){ out->ptr, out->len }, NULL) == 0);
    FUZZ_MUST(in.span.rows == span.rows && in.span.last_offset == 9 &&
              in.span.last_unix_ms == span.last_unix_ms);
    bool good = span.rows <= MAX_ROWS && reading_begin(&r, span.rows);
    if (good) {
        good = unpack(&in, &r, open);
        reading_end(&r);
    }
    return good;
}

/* What was read from a chunk that we wrote is the same when it is written and read again. */
static void again(struct tpi_buf *open)
{
    struct tpi_chunk_encoder e;
    struct tpi_buf first;
    struct tpi_buf second;
    tpi_chunk_encoder_init(&e, NULL);
    tpi_buf_init(&first, NULL, 0);
    tpi_buf_init(&second, NULL, 0);
    size_t one = open->len;
    if (there_and_back(&e, open, 0, &first)) {
        size_t two = open->len;
        FUZZ_MUST(there_and_back(&e, open, one, &second));
        FUZZ_MUST(two - one == open->len - two &&
                  memcmp(open->ptr + one, open->ptr + two, two - one) == 0);
    }
    tpi_buf_fini(&first);
    tpi_buf_fini(&second);
    tpi_chunk_encoder_fini(&e);
}

/* A chunk that may be hostile, its CRC put right. */
static void read_chunk(const uint8_t *data, size_t size, struct tpi_buf *open)
{
    struct tpi_chunk_reader in;
    struct reading r;
    struct tpc_error err;
    uint8_t *copy = malloc(size);
    FUZZ_MUST(copy != NULL);
    memcpy(copy, data, size);
    if (size >= CRC_END && copy[0] == 0xC8) {
        tpi_put_u32(copy + 2, tpi_crc32c(tpi_crc32c(0, copy, 2), copy + CRC_END, size - CRC_END));
    }
    int rc = tpi_chunk_open(&in, (struct tpc_bytes){ copy, size }, &err);
    FUZZ_MUST(rc == 0 || ((rc == TPC_ECORRUPT || rc == TPC_EVERSION) && err.code == rc));
    if (rc == 0 && in.span.rows <= MAX_ROWS && reading_begin(&r, in.span.rows)) {
        struct tpi_chunk_reader ahead = in;
        (void) tpi_chunk_seek(&ahead, data[size - 1], NULL);
        if (!unpack(&in, &r, open)) {
            tpi_buf_clear(open);
        }
        reading_end(&r);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpi_buf open;
    if (size == 0) {
        return 0;
    }
    tpi_buf_init(&open, NULL, 0);
    read_chunk(data, size, &open);
    again(&open);
    tpi_buf_clear(&open);
    FUZZ_MUST(tpi_buf_put(&open, data, size) == 0); /* open samples that nobody put */
    again(&open);
    tpi_buf_fini(&open);
    return 0;
}
