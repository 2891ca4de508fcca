/* CSV: whole and cut in two, the same records come; every field is in the bytes and is UTF-8. */
#include "fuzz.h"

#include "data/csv.h"
#include "data/utf8.h"

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ b[i]) * 1099511628211u;
    }
    return h;
}

/* Sum over all that is read; `first` bytes are there at first, then all. */
static uint64_t read_all(const uint8_t *data, size_t size, size_t first)
{
    struct tpi_csv c;
    uint64_t h = 0;
    uint64_t line = 0;
    size_t begin = 0;
    size_t end = first;
    char *bytes = malloc(size + 1);
    FUZZ_MUST(bytes != NULL);
    memcpy(bytes, data, size);
    tpi_csv_init(&c);
    for (;;) {
        size_t used;
        enum tpi_csv_result r = tpi_csv_next(&c, bytes + begin, end - begin, end == size, &used);
        FUZZ_MUST(used <= end - begin);
        begin += used;
        if (r == TPI_CSV_END) {
            break;
        }
        if (r == TPI_CSV_MORE) {
            FUZZ_MUST(end < size);
            end = size;
            continue;
        }
        FUZZ_MUST(used > 0 && c.line > line && (r == TPI_CSV_RECORD || c.fault != NULL));
        line = c.line;
        h = mix(h, &line, sizeof(line));
        for (uint32_t i = 0; r == TPI_CSV_RECORD && i < c.count; i++) {
            struct tpc_str f = c.fields[i];
            FUZZ_MUST(f.ptr >= bytes && f.ptr + f.len <= bytes + begin);
            FUZZ_MUST(tpi_utf8_valid(f.ptr, f.len) && memchr(f.ptr, 0, f.len) == NULL);
            h = mix(h, f.ptr, f.len);
            h = mix(h, &i, sizeof(i));
        }
    }
    free(bytes);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t cut = size == 0 ? 0 : data[0] * size / 256;
    FUZZ_MUST(read_all(data, size, size) == read_all(data, size, cut));
    return 0;
}
