/* Segments of the log. The first byte says how much is made right before it is read, since random
 * bytes never get past a CRC: bit 0 a header in front, bit 1 CRCs and lengths of the frames. */
#include "fuzz.h"

#include "bus/format.h"

#include "base/buf.h"

struct memory {
    const uint8_t *ptr;
    size_t len;
};

static int open_memory(void *user, const char *path, uint32_t flags, void **ret, int *native)
{
    (void) path;
    (void) flags;
    (void) native;
    *ret = user;
    return 0;
}

static void close_memory(void *user, void *file)
{
    (void) user;
    (void) file;
}

static int64_t read_memory(void *user, void *file, void *ptr, size_t len, uint64_t offset,
                           int *native)
{
    struct memory *m = file;
    size_t n = offset >= m->len ? 0 : m->len - (size_t) offset;
    (void) user;
    (void) native;
    n = n < len ? n : len;
    if (n > 0) {
        memcpy(ptr, m->ptr + offset, n);
    }
    return (int64_t) n;
}

/* Frames one after the other, as long as they say, but never past the end. */
static void mend(uint8_t *p, size_t size)
{
    static const uint8_t magic[4] = { 0xb5, 'T', 'P', 'F' };
    while (size >= TPI_FRAME_HEADER_BYTES) {
        size_t length = tpi_get_u32(p + 8) % 4096;
        length = length < TPI_FRAME_HEADER_BYTES ? TPI_FRAME_HEADER_BYTES : length;
        length = length > size ? size : length;
        memcpy(p, magic, sizeof(magic));
        tpi_put_u32(p + 8, (uint32_t) length);
        if (tpi_get_u16(p + 12) < TPI_FRAME_HEADER_BYTES) {
            tpi_put_u16(p + 12, TPI_FRAME_HEADER_BYTES);
        }
        if (tpi_get_u16(p + 14) < TPI_RUN_BYTES) {
            tpi_put_u16(p + 14, TPI_RUN_BYTES);
        }
        tpi_frame_seal(p);
        p += length;
        size -= length;
    }
}

static uint64_t walk(const struct tpi_frame *f)
{
    struct tpi_record_walk w;
    struct tpc_record r;
    struct tpi_run run;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < f->run_count; i++) {
        tpi_frame_run(f, i, &run);
        tpi_record_walk_init(&w, f, &run);
        tpi_record_walk_seek(&w, run.offset + 1);
        while (tpi_record_walk_next(&w, &r)) {
            FUZZ_MUST(r.body.ptr >= f->ptr && r.body.ptr + r.body.len <= f->ptr + f->length);
            for (size_t k = 0; k < r.body.len; k++) {
                sum += r.body.ptr[k];
            }
        }
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t offsets[2] = { 3, 4 };
    struct tpi_segment_header h = { .partitions = 2, .number = 1 };
    uint32_t head = tpi_segment_header_bytes(2);
    struct memory m;
    struct tpc_files files = { .size = sizeof(files),
                               .user = &m,
                               .open = open_memory,
                               .close = close_memory,
                               .read_at = read_memory };
    struct tpi_segment_reader r;
    struct tpi_frame f;
    uint64_t passed = 0;
    uint8_t *copy;
    if (size < 1 || (copy = malloc(size + head)) == NULL) {
        return 0;
    }
    m.ptr = copy;
    m.len = size - 1;
    memcpy(copy, data + 1, size - 1);
    if ((data[0] & 1) != 0) {
        memmove(copy + head, copy, size - 1);
        tpi_segment_header_write(&h, offsets, copy);
        m.len += head;
        if ((data[0] & 2) != 0) {
            mend(copy + head, size - 1);
        }
    }
    if (tpi_segment_reader_open(&r, NULL, &files, "x") == 0) {
        uint64_t begin = r.pos;
        while (tpi_segment_reader_next(&r, &f) == 1) {
            passed += f.length;
            walk(&f);
        }
        FUZZ_MUST(begin + passed + r.bad_bytes + r.tail_bytes == m.len);
        tpi_segment_reader_close(&r);
    }
    free(copy);
    return 0;
}
