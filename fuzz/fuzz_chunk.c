/* Chunks of the history: what opens can be read, and what was read is written and read the same. */
#include "fuzz.h"

#include "store/chunk.h"

enum { MAX_ROWS = 1 << 14 };

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

/* Puts every value of a chunk as an open sample. Returns false if the chunk is damaged. */
static bool unpack(struct tpi_chunk_reader *in, struct reading *r, struct tpi_buf *open)
{
    struct tpi_chunk_column c;
    int rc;
    FUZZ_MUST(tpi_chunk_times(in, NULL, r->times) == 0);
    while ((rc = tpi_chunk_next(in, NULL, &c)) == 1) {
        memset(r->validity, 0, (in->span.rows + 7) / 8);
        if (tpi_chunk_values(&c, in->span.rows, r->arena, NULL, r->values, r->validity) != 0) {
            return false;
        }
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

static void again(struct tpi_chunk_encoder *e, struct tpi_buf *open, const struct tpi_chunk_span *s)
{
    struct tpi_buf out;
    struct tpi_chunk_span span;
    struct tpi_chunk_reader in;
    struct reading r;
    tpi_buf_init(&out, NULL, 0);
    struct tpc_bytes bytes = { open->ptr, open->len };
    FUZZ_MUST(tpi_chunk_encode(e, bytes, s->first_offset, s->last_offset, &out, &span) == 0);
    FUZZ_MUST(span.first_unix_ms >= s->first_unix_ms && span.last_unix_ms <= s->last_unix_ms);
    FUZZ_MUST(tpi_chunk_open(&in, (struct tpc_bytes){ out.ptr, out.len }, NULL) == 0);
    FUZZ_MUST(in.span.rows == span.rows && in.span.last_offset == s->last_offset);
    if (reading_begin(&r, span.rows)) {
        size_t before = open->len;
        FUZZ_MUST(unpack(&in, &r, open));
        FUZZ_MUST(open->len > before);
    }
    reading_end(&r);
    tpi_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpi_chunk_reader in;
    struct tpi_chunk_encoder e;
    struct tpi_buf open;
    struct reading r;
    struct tpc_error err;
    int rc = tpi_chunk_open(&in, (struct tpc_bytes){ data, size }, &err);
    if (rc != 0) {
        FUZZ_MUST((rc == TPC_ECORRUPT || rc == TPC_EVERSION) && err.code == rc);
        return 0;
    }
    if (in.span.rows > MAX_ROWS) {
        return 0;
    }
    tpi_buf_init(&open, NULL, 0);
    tpi_chunk_encoder_init(&e, NULL);
    if (reading_begin(&r, in.span.rows) && unpack(&in, &r, &open) && open.len > 0) {
        again(&e, &open, &in.span);
    }
    reading_end(&r);
    tpi_chunk_encoder_fini(&e);
    tpi_buf_fini(&open);
    return 0;
}
