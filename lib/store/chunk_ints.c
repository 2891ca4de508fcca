/*
 * Streams of integers: mini-blocks of 16, each written in the way that takes the fewest bytes.
 * docs/format/history.md, "Integers".
 */
#include "store/chunk_format.h"

enum {
    MODE_DELTA = 0,
    MODE_RISE = 1,
    MODE_FRAME = 2,
    MODE_OTHER = 3,
    MODE_SHIFT = 6,
    WIDTH_MASK = 63,
    MAX_RUN = 63,
    MAX_LOAD_WIDTH = 57 /* that a load of eight bytes at any bit of its first one holds */
};

static uint32_t width_of(uint64_t x)
{
    return x == 0 ? 0 : 64 - (uint32_t) __builtin_clzll(x);
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static void store64(uint8_t *p, uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    memcpy(p, &x, sizeof(x));
}

/* ---- writing ---- */

/* Low bits first. Writes up to INTS_SLACK bytes more than it returns. */
static uint8_t *pack(uint8_t *out, const uint64_t *u, uint32_t n, uint32_t width)
{
    uint64_t word = 0;
    uint32_t fill = 0;
    for (uint32_t i = 0; i < n; i++) {
        word |= u[i] << fill;
        fill += width;
        if (fill >= 64) {
            store64(out, word);
            out += 8;
            fill -= 64;
            word = fill == 0 ? 0 : u[i] >> (width - fill);
        }
    }
    store64(out, word);
    return out + (fill + 7) / 8;
}

struct shape {
    uint64_t zigzags; /* or of all */
    int64_t rise_min; /* of the differences */
    int64_t rise_max;
    int64_t min;
    int64_t max;
};

static struct shape look(const int64_t *v, uint32_t n, int64_t before)
{
    struct shape s = { 0, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN };
    for (uint32_t i = 0; i < n; i++) {
        int64_t d = (int64_t) ((uint64_t) v[i] - (uint64_t) before);
        before = v[i];
        s.zigzags |= chunk_zigzag(d);
        s.rise_min = d < s.rise_min ? d : s.rise_min;
        s.rise_max = d > s.rise_max ? d : s.rise_max;
        s.min = v[i] < s.min ? v[i] : s.min;
        s.max = v[i] > s.max ? v[i] : s.max;
    }
    return s;
}

static uint8_t *put_delta(uint8_t *out, const int64_t *v, uint32_t n, int64_t before,
                          uint32_t width)
{
    uint64_t u[INTS_BLOCK];
    *out++ = (uint8_t) (MODE_DELTA << MODE_SHIFT | width);
    for (uint32_t i = 0; i < n; i++) {
        u[i] = chunk_zigzag((int64_t) ((uint64_t) v[i] - (uint64_t) before));
        before = v[i];
    }
    return pack(out, u, n, width);
}

static uint8_t *put_rise(uint8_t *out, const int64_t *v, uint32_t n, int64_t before, int64_t base,
                         uint32_t width)
{
    uint64_t u[INTS_BLOCK];
    *out++ = (uint8_t) (MODE_RISE << MODE_SHIFT | width);
    out = chunk_varint(out, chunk_zigzag(base));
    for (uint32_t i = 0; i < n; i++) {
        u[i] = (uint64_t) v[i] - (uint64_t) before - (uint64_t) base;
        before = v[i];
    }
    return pack(out, u, n, width);
}

static uint8_t *put_frame(uint8_t *out, const int64_t *v, uint32_t n, uint64_t offset, int64_t min,
                          uint32_t width)
{
    uint64_t u[INTS_BLOCK];
    *out++ = (uint8_t) (MODE_FRAME << MODE_SHIFT | width);
    out = chunk_varint(out, offset);
    for (uint32_t i = 0; i < n; i++) {
        u[i] = (uint64_t) v[i] - (uint64_t) min;
    }
    return pack(out, u, n, width);
}

static uint8_t *put_raw(uint8_t *out, const int64_t *v, uint32_t n)
{
    *out++ = MODE_OTHER << MODE_SHIFT;
    for (uint32_t i = 0; i < n; i++, out += 8) {
        store64(out, (uint64_t) v[i]);
    }
    return out;
}

static uint8_t *put_block(uint8_t *out, const int64_t *v, uint32_t n, int64_t before)
{
    struct shape s = look(v, n, before);
    uint32_t delta = width_of(s.zigzags);
    uint32_t rise = width_of((uint64_t) s.rise_max - (uint64_t) s.rise_min);
    uint32_t frame = width_of((uint64_t) s.max - (uint64_t) s.min);
    uint64_t offset = chunk_zigzag((int64_t) ((uint64_t) s.min - (uint64_t) before));
    size_t delta_bytes = (n * delta + 7) / 8;
    size_t rise_bytes = (n * rise + 7) / 8 + tpi_varint_size(chunk_zigzag(s.rise_min));
    size_t frame_bytes = (n * frame + 7) / 8 + tpi_varint_size(offset);
    size_t least = delta_bytes < rise_bytes ? delta_bytes : rise_bytes;
    least = frame_bytes < least ? frame_bytes : least;
    if (least >= n * sizeof(int64_t)) {
        return put_raw(out, v, n);
    }
    if (delta_bytes == least && delta <= WIDTH_MASK) {
        return put_delta(out, v, n, before, delta);
    }
    if (rise_bytes == least && rise <= WIDTH_MASK) {
        return put_rise(out, v, n, before, s.rise_min, rise);
    }
    return frame <= WIDTH_MASK ? put_frame(out, v, n, offset, s.min, frame) : put_raw(out, v, n);
}

/* Number of values at the start of v that equal `before`. */
static uint32_t count_same(const int64_t *v, uint32_t count, int64_t before)
{
    uint32_t n = 0;
    while (n < count && v[n] == before) {
        n++;
    }
    return n;
}

uint8_t *tpi_chunk_ints_put(uint8_t *out, const int64_t *v, uint32_t count, int64_t before)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t n = count - i < INTS_BLOCK ? count - i : INTS_BLOCK;
        uint32_t most = count - i < MAX_RUN * INTS_BLOCK ? count - i : MAX_RUN * INTS_BLOCK;
        uint32_t same = v[i] == before ? count_same(&v[i], most, before) : 0;
        if (same >= n) {
            /* whole blocks, or all that is left */
            uint32_t blocks =
                same == count - i ? (same + INTS_BLOCK - 1) / INTS_BLOCK : same / INTS_BLOCK;
            *out++ = (uint8_t) (MODE_OTHER << MODE_SHIFT | blocks);
            i += blocks * INTS_BLOCK < count - i ? blocks * INTS_BLOCK : count - i;
            continue;
        }
        out = put_block(out, &v[i], n, before);
        i += n;
        before = v[i - 1];
    }
    return out;
}

/* ---- reading ---- */

/* n numbers of `width` bits at p, behind which INTS_SLACK + 1 bytes can be read. */
static void unpack(const uint8_t *p, uint32_t n, uint32_t width, uint64_t *ret)
{
    uint64_t mask = ((uint64_t) 1 << width) - 1;
    uint32_t bit = 0;
    if (width <= MAX_LOAD_WIDTH) {
        for (uint32_t i = 0; i < n; i++, bit += width) {
            ret[i] = load64(p + bit / 8) >> (bit % 8) & mask;
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++, bit += width) {
        uint64_t high = (uint64_t) p[bit / 8 + 8] << 1 << (63 - bit % 8);
        ret[i] = (load64(p + bit / 8) >> (bit % 8) | high) & mask;
    }
}

static void apply(uint32_t mode, const uint64_t *u, uint32_t n, uint64_t base, int64_t before,
                  int64_t *ret)
{
    uint64_t at = (uint64_t) before;
    if (mode == MODE_FRAME) {
        at += base;
        for (uint32_t i = 0; i < n; i++) {
            ret[i] = (int64_t) (at + u[i]);
        }
    } else if (mode == MODE_RISE) {
        for (uint32_t i = 0; i < n; i++) {
            at += base + u[i];
            ret[i] = (int64_t) at;
        }
    } else {
        for (uint32_t i = 0; i < n; i++) {
            at += (uint64_t) chunk_unzigzag(u[i]);
            ret[i] = (int64_t) at;
        }
    }
}

static void get_packed(struct tpi_reader *in, uint32_t head, uint32_t n, int64_t before,
                       int64_t *ret)
{
    uint8_t copy[INTS_BLOCK * sizeof(int64_t) + INTS_SLACK + 1];
    uint64_t u[INTS_BLOCK];
    uint32_t mode = head >> MODE_SHIFT;
    uint32_t width = head & WIDTH_MASK;
    uint64_t base = mode == MODE_DELTA ? 0 : (uint64_t) chunk_read_zigzag(in);
    size_t need = ((size_t) n * width + 7) / 8;
    size_t left = tpi_reader_left(in);
    if (in->bad || need > left) {
        in->bad = true;
        return;
    }
    const uint8_t *p = in->p;
    if (left - need < INTS_SLACK + 1) {
        memset(copy + need, 0, INTS_SLACK + 1);
        memcpy(copy, p, need);
        p = copy;
    }
    unpack(p, n, width, u);
    apply(mode, u, n, base, before, ret);
    in->p += need;
}

void tpi_chunk_ints_init(struct chunk_ints *s, struct tpc_bytes bytes, uint32_t count,
                         int64_t before)
{
    *s = (struct chunk_ints){ .left = count, .before = before };
    tpi_reader_init(&s->in, bytes.ptr, bytes.len);
}

/* What is no packed block. */
static bool next_other(struct chunk_ints *s, uint32_t head, uint32_t n, int64_t *ret)
{
    uint32_t blocks = head & WIDTH_MASK;
    if (blocks == 0) {
        for (uint32_t k = 0; k < n; k++) {
            ret[k] = (int64_t) tpi_read_u64(&s->in);
        }
        return true;
    }
    s->run = blocks * INTS_BLOCK;
    /* no more blocks than begin before the end */
    return s->run - INTS_BLOCK < s->left;
}

uint32_t tpi_chunk_ints_next(struct chunk_ints *s, int64_t *ret)
{
    uint32_t n = s->left < INTS_BLOCK ? s->left : INTS_BLOCK;
    if (s->run == 0) {
        uint32_t head = tpi_read_u8(&s->in);
        if (head >> MODE_SHIFT != MODE_OTHER) {
            get_packed(&s->in, head, n, s->before, ret);
        } else if (!next_other(s, head, n, ret)) {
            s->in.bad = true;
        }
        if (s->in.bad) {
            return 0;
        }
    }
    if (s->run > 0) {
        for (uint32_t k = 0; k < n; k++) {
            ret[k] = s->before;
        }
        s->run -= INTS_BLOCK;
    }
    s->left -= n;
    s->before = ret[n - 1];
    return n;
}

bool tpi_chunk_ints_done(const struct chunk_ints *s)
{
    return s->left == 0 && s->run == 0 && !s->in.bad && tpi_reader_left(&s->in) == 0;
}
