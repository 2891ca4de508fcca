/*
 * Chunks of the shared data by themselves: appending rows of 8 points, encoding 120 of them, reading
 * one column as doubles, and bytes a point. The other side stands for what a point costs as a row
 * of plain bytes: its time and its value, 16 bytes, copied into a buffer and out of it.
 */
#include "bench.h"
#include "data.h"

#include <string.h>

#include "store/chunk.h"

enum { KEYS = 8, ROWS = 120, CHUNKS = 64, POINTS = CHUNKS * ROWS * KEYS, ROUNDS = 20 };

struct bench {
    struct tpc_point points[CHUNKS][ROWS][KEYS];
    struct tpi_chunk_samples samples[CHUNKS];
    struct tpi_chunk_encoder encoder;
    struct tpi_buf blobs[CHUNKS];
    double doubles[ROWS];
    int64_t times[ROWS];
    struct {
        int64_t unix_ms;
        uint64_t bits;
    } plain[ROWS * KEYS];
    double sum;
};

static void append(void *user, uint32_t times)
{
    struct bench *b = user;
    (void) times;
    for (int i = 0; i < CHUNKS; i++) {
        tpi_chunk_samples_back(&b->samples[i], (struct tpi_chunk_mark){ 0, 0 });
        for (int r = 0; r < ROWS; r++) {
            const struct tpc_point *p = b->points[i][r];
            struct tpi_chunk_row row = { p->unix_ms, p, sizeof(*p), KEYS };
            bench_must(tpi_chunk_samples_row(&b->samples[i], &row) == KEYS, "appending");
        }
    }
}

static void encode(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpi_chunk_span span;
    (void) times;
    for (int i = 0; i < CHUNKS; i++) {
        struct tpc_bytes open = { b->samples[i].bytes.ptr, b->samples[i].bytes.len };
        tpi_buf_clear(&b->blobs[i]);
        bench_must(tpi_chunk_encode(&b->encoder, open, 1, 2, &b->blobs[i], &span) == 0, "encoding");
    }
}

static void decode(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    (void) times;
    for (int i = 0; i < CHUNKS; i++) {
        struct tpc_bytes blob = { b->blobs[i].ptr, b->blobs[i].len };
        bench_must(tpi_chunk_open(&in, blob, NULL) == 0 &&
                       tpi_chunk_times(&in, NULL, b->times) == 0,
                   "opening");
        while (tpi_chunk_next(&in, NULL, &c) == 1) {
            bench_must(tpi_chunk_doubles(&c, NULL, b->doubles) == 0, "decoding");
            b->sum += b->doubles[ROWS - 1];
        }
    }
}

static void statistics(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    (void) times;
    for (int i = 0; i < CHUNKS; i++) {
        struct tpc_bytes blob = { b->blobs[i].ptr, b->blobs[i].len };
        bench_must(tpi_chunk_open(&in, blob, NULL) == 0, "opening");
        while (tpi_chunk_next(&in, NULL, &c) == 1) {
            b->sum += c.sum;
        }
    }
}

static void copy(void *user, uint32_t times)
{
    struct bench *b = user;
    (void) times;
    for (int i = 0; i < CHUNKS; i++) {
        for (int n = 0; n < ROWS * KEYS; n++) {
            const struct tpc_point *p = &b->points[i][n / KEYS][n % KEYS];
            b->plain[n].unix_ms = p->unix_ms;
            memcpy(&b->plain[n].bits, &p->value.as, sizeof(b->plain[n].bits));
        }
        b->sum += (double) b->plain[i].bits;
    }
}

static void fill(struct bench *b, bool noisy)
{
    struct data data;
    struct data_message m;
    data_init(&data, 7, CHUNKS, KEYS, noisy);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < CHUNKS; i++) {
            data_next(&data, &m);
            for (uint32_t k = 0; k < KEYS; k++) {
                struct tpc_point *p = &b->points[m.device][r][k];
                p->unix_ms = m.unix_ms;
                p->property = (uint16_t) (k + 1);
                p->value.type = m.decimals[k] == 0 && !noisy ? TPC_INT : TPC_DOUBLE;
                if (p->value.type == TPC_INT) {
                    p->value.as.i = m.units[k];
                } else {
                    p->value.as.d = m.values[k];
                }
            }
        }
    }
    data_fini(&data);
}

static void line(struct bench *b, const char *what, bool noisy, bench_fn *fn)
{
    char name[64];
    struct bench_pair p = bench_compare(fn, copy, b, POINTS, ROUNDS);
    snprintf(name, sizeof(name), "chunk_%s%s", what, noisy ? "_noisy" : "");
    bench_line(name, p.ours, "ns a point", "16 bytes copied", p.ours / p.theirs);
}

int main(void)
{
    static struct bench b;
    tpi_chunk_encoder_init(&b.encoder, NULL);
    for (int i = 0; i < CHUNKS; i++) {
        tpi_chunk_samples_init(&b.samples[i], NULL);
        tpi_buf_init(&b.blobs[i], NULL, 0);
    }
    for (int noisy = 0; noisy < 2; noisy++) {
        double open = 0;
        double stored = 0;
        fill(&b, noisy != 0);
        line(&b, "append", noisy != 0, append);
        line(&b, "encode", noisy != 0, encode);
        line(&b, "decode", noisy != 0, decode);
        line(&b, "statistics", noisy != 0, statistics);
        for (int i = 0; i < CHUNKS; i++) {
            open += (double) b.samples[i].bytes.len / POINTS;
            stored += (double) b.blobs[i].len / POINTS;
        }
        bench_line(noisy != 0 ? "chunk_open_bytes_noisy" : "chunk_open_bytes", open,
                   "bytes a point", "16 bytes", open / 16);
        bench_line(noisy != 0 ? "chunk_bytes_noisy" : "chunk_bytes", stored, "bytes a point",
                   "16 bytes", stored / 16);
    }
    tpi_chunk_encoder_fini(&b.encoder);
    for (int i = 0; i < CHUNKS; i++) {
        tpi_chunk_samples_fini(&b.samples[i]);
        tpi_buf_fini(&b.blobs[i]);
    }
    return b.sum == 0;
}
