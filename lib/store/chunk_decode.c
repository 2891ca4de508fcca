#include <math.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "store/chunk_format.h"

static int corrupt(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_ECORRUPT, "chunk", "%s", what);
}

/* ---- head ---- */

/* Magic, version and CRC. */
static int read_seal(struct tpi_chunk_reader *r, struct tpc_bytes blob, struct tpc_error *err)
{
    struct tpi_reader *in = &r->in;
    uint8_t magic = tpi_read_u8(in);
    r->version = tpi_read_u8(in);
    if (in->bad || (magic != CHUNK_MAGIC && (magic != CHUNK_MAGIC_1 || r->version != 1))) {
        return corrupt(err, "these bytes are no chunk");
    }
    if (magic == CHUNK_MAGIC_1) {
        return 0;
    }
    if (r->version > TPI_CHUNK_VERSION) {
        return tpi_error_set(err, TPC_EVERSION, "chunk",
                             "chunk has format %u, this library reads up to %d", r->version,
                             TPI_CHUNK_VERSION);
    }
    uint32_t crc = tpi_read_u32(in);
    if (r->version != TPI_CHUNK_VERSION || in->bad ||
        crc != tpi_crc32c(tpi_crc32c(0, blob.ptr, 2), in->p, tpi_reader_left(in))) {
        return corrupt(err, "the CRC of the chunk is wrong");
    }
    return 0;
}

static int read_times(struct tpi_chunk_reader *r, struct tpc_error *err)
{
    struct tpi_reader *in = &r->in;
    uint32_t rows = r->span.rows;
    if (rows == 1) {
        r->span.last_unix_ms = r->span.first_unix_ms;
        return 0;
    }
    uint64_t length = tpi_read_varint(in);
    r->step = tpi_read_varint(in);
    uint64_t bytes = tpi_read_varint(in);
    if (in->bad || bytes > tpi_reader_left(in) || length < rows - 1 ||
        length > (uint64_t) INT64_MAX - (uint64_t) r->span.first_unix_ms) {
        return corrupt(err, "the times of the chunk do not hold");
    }
    r->span.last_unix_ms = (int64_t) ((uint64_t) r->span.first_unix_ms + length);
    r->times = (struct tpc_bytes){ in->p, (size_t) bytes };
    in->p += bytes;
    return 0;
}

int tpi_chunk_open(struct tpi_chunk_reader *r, struct tpc_bytes blob, struct tpc_error *err)
{
    struct tpi_reader *in = &r->in;
    memset(r, 0, sizeof(*r));
    tpi_reader_init(in, blob.ptr, blob.len);
    int rc = read_seal(r, blob, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t rows = tpi_read_varint(in);
    uint64_t columns = tpi_read_varint(in);
    uint64_t first = tpi_read_varint(in);
    uint64_t span = tpi_read_varint(in);
    int64_t at = tpi_read_zigzag(in);
    /* every row but the first takes a byte in version 1, every column three */
    if (in->bad || rows == 0 || columns == 0 || span > UINT64_MAX - first ||
        rows > TPI_CHUNK_MAX_SAMPLES || (r->version == 1 && rows - 1 > tpi_reader_left(in)) ||
        columns > tpi_reader_left(in) / 3) {
        return corrupt(err, "the head of the chunk does not hold");
    }
    r->span = (struct tpi_chunk_span){ .rows = (uint32_t) rows,
                                       .first_unix_ms = at,
                                       .first_offset = first,
                                       .last_offset = first + span };
    r->columns = (uint32_t) columns;
    return r->version == 1 ? tpi_chunk_old_skip_times(r, err) : read_times(r, err);
}

int tpi_chunk_times(const struct tpi_chunk_reader *r, struct tpc_error *err, int64_t *ret)
{
    struct chunk_ints ints;
    int64_t block[INTS_BLOCK];
    if (r->version == 1) {
        return tpi_chunk_old_times(r, err, ret);
    }
    ret[0] = r->span.first_unix_ms;
    uint64_t line = (uint64_t) ret[0];
    bool rising = true;
    uint32_t row = 1;
    tpi_chunk_ints_init(&ints, r->times, r->span.rows - 1, 0);
    while (ints.left > 0 && rising) {
        uint32_t n = tpi_chunk_ints_next(&ints, block);
        rising = n > 0;
        for (uint32_t i = 0; i < n; i++, row++) {
            line += r->step;
            ret[row] = (int64_t) (line + (uint64_t) block[i]);
            rising = rising && ret[row] > ret[row - 1];
        }
    }
    if (!rising || !tpi_chunk_ints_done(&ints) || ret[row - 1] != r->span.last_unix_ms) {
        return corrupt(err, "the times of the chunk do not rise to its end");
    }
    return 0;
}

/* ---- columns ---- */

/* Number of bits set in the first `bits` bits, or UINT32_MAX if one after them is set. */
static uint32_t count_bits(const uint8_t *p, uint32_t bits)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bits / 8; i++) {
        count += (uint32_t) __builtin_popcount(p[i]);
    }
    if (bits % 8 != 0) {
        uint8_t last = p[bits / 8];
        if (last >> (bits % 8) != 0) {
            return UINT32_MAX;
        }
        count += (uint32_t) __builtin_popcount(last);
    }
    return count;
}

static struct tpc_value make_double(double x)
{
    return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = x };
}

static bool read_runs(struct tpi_chunk_column *c, uint32_t *ret_set, bool *ret_last)
{
    struct tpi_reader in;
    bool now = c->coding == CODE_RUNS_TRUE;
    uint32_t left = c->count;
    tpi_reader_init(&in, c->values.ptr, c->values.len);
    for (; left > 0; now = !now) {
        uint64_t run = tpi_read_varint(&in);
        if (in.bad || run == 0 || run > left) {
            return false;
        }
        left -= (uint32_t) run;
        *ret_set += now ? (uint32_t) run : 0;
        *ret_last = now;
    }
    return tpi_reader_left(&in) == 0;
}

static int read_bools(struct tpi_reader *in, struct tpi_chunk_column *c, struct tpc_error *err)
{
    uint32_t set = 0;
    bool first = c->coding == CODE_RUNS_TRUE;
    bool last = false;
    c->values = (struct tpc_bytes){ in->p, tpi_reader_left(in) };
    if (c->coding == CODE_BITS) {
        set =
            c->values.len == ((size_t) c->count + 7) / 8 ? count_bits(in->p, c->count) : UINT32_MAX;
        if (set == UINT32_MAX) {
            return corrupt(err, "a column of truth values has another length than its count");
        }
        first = chunk_bit(in->p, 0);
        last = chunk_bit(in->p, c->count - 1);
    } else if (c->coding > CODE_RUNS_TRUE || !read_runs(c, &set, &last)) {
        return corrupt(err, "runs of truth values do not fit the count of their column");
    }
    c->min = set == c->count;
    c->max = set > 0;
    c->sum = set;
    c->first = (struct tpc_value){ .type = TPC_BOOL, .as.b = first };
    c->last = (struct tpc_value){ .type = TPC_BOOL, .as.b = last };
    return 0;
}

/* Integers at the ends of a column, and the sum of the distances from the first. */
struct ends {
    int64_t last;
    int64_t min;
    int64_t max;
};

static bool read_ends(struct tpi_reader *in, struct tpi_chunk_column *c, struct ends *ret)
{
    c->base = chunk_read_zigzag(in);
    *ret = (struct ends){ c->base, c->base, c->base };
    if (c->count > 1) {
        uint64_t last = (uint64_t) chunk_read_zigzag(in);
        uint64_t low = chunk_read_varint(in);
        uint64_t high = chunk_read_varint(in);
        ret->last = (int64_t) ((uint64_t) c->base + last);
        ret->min = (int64_t) ((uint64_t) c->base - low);
        ret->max = (int64_t) ((uint64_t) c->base + high);
    }
    return !in->bad && ret->min <= c->base && ret->max >= c->base;
}

/* 128 bits in two halves: not every machine has a type for them. */
static void add_wide(uint64_t *high, uint64_t *low, uint64_t more_high, uint64_t more_low)
{
    *low += more_low;
    *high += more_high + (*low < more_low);
}

static void negate_wide(uint64_t *high, uint64_t *low)
{
    *high = ~*high;
    *low = ~*low;
    add_wide(high, low, 0, 1);
}

/* first * count + distances: exact until it is a double */
static double sum_of(int64_t first, uint32_t count, int64_t distances)
{
    uint64_t a = first < 0 ? 0 - (uint64_t) first : (uint64_t) first;
    uint64_t middle = (a >> 32) * count;
    uint64_t high = middle >> 32;
    uint64_t low = middle << 32;
    add_wide(&high, &low, 0, (a & UINT32_MAX) * count);
    if (first < 0) {
        negate_wide(&high, &low);
    }
    add_wide(&high, &low, distances < 0 ? UINT64_MAX : 0, (uint64_t) distances);
    bool negative = high >> 63 != 0;
    if (negative) {
        negate_wide(&high, &low);
    }
    double sum = (double) low;
    if (high != 0) {
        /* The upper 64 bits; what is cut off only matters as being there. */
        int shift = 64 - __builtin_clzll(high);
        uint64_t top = high << (64 - shift) | low >> shift;
        sum = ldexp((double) (top | (low << (64 - shift) != 0)), shift);
    }
    return negative ? -sum : sum;
}

static bool read_ints(struct tpi_reader *in, struct tpi_chunk_column *c)
{
    struct ends ends;
    if (c->coding > CODE_INTS_WIDE || !read_ends(in, c, &ends)) {
        return false;
    }
    c->min = (double) ends.min;
    c->max = (double) ends.max;
    c->sum = (double) c->base;
    if (c->count > 1) {
        c->sum = c->coding == CODE_INTS ? sum_of(c->base, c->count, chunk_read_zigzag(in))
                                        : chunk_read_double(in);
    }
    c->first = (struct tpc_value){ .type = TPC_INT, .as.i = c->base };
    c->last = (struct tpc_value){ .type = TPC_INT, .as.i = ends.last };
    return !in->bad;
}

/* Finds the patches' bytes and adds the patches to the statistics of the decimals. */
static bool read_patches(struct tpi_reader *in, struct tpi_chunk_column *c)
{
    uint64_t count = tpi_read_varint(in);
    uint64_t place = 0;
    if (in->bad || count == 0 || count >= c->count) {
        return false;
    }
    c->patch_count = (uint32_t) count;
    c->patches.ptr = in->p;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t gap = tpi_read_varint(in);
        (void) tpi_read_u64(in);
        place += gap;
        if (in->bad || gap > c->count || place >= c->count || (i > 0 && gap == 0)) {
            return false;
        }
    }
    c->patches.len = (size_t) (in->p - c->patches.ptr);
    return true;
}

static void add_patches(struct tpi_chunk_column *c)
{
    struct tpi_reader in;
    uint64_t place = 0;
    tpi_reader_init(&in, c->patches.ptr, c->patches.len);
    for (uint32_t i = 0; i < c->patch_count; i++) {
        place += tpi_read_varint(&in);
        double x = chunk_read_double(&in);
        c->nan = c->nan || isnan(x);
        if (!isnan(x)) {
            c->min = x < c->min ? x : c->min;
            c->max = x > c->max ? x : c->max;
            c->sum += x;
        }
        if (place == 0) {
            c->first = make_double(x);
        }
        if (place == c->count - 1) {
            c->last = make_double(x);
        }
    }
}

static bool read_decimals(struct tpi_reader *in, struct tpi_chunk_column *c)
{
    uint32_t scale = c->coding & CODE_SCALE_MASK;
    struct ends ends;
    if (scale > CHUNK_MAX_SCALE || ((c->coding & CODE_PATCHED) != 0 && !read_patches(in, c)) ||
        !read_ends(in, c, &ends)) {
        return false;
    }
    double power = chunk_powers[scale];
    c->min = (double) ends.min / power;
    c->max = (double) ends.max / power;
    c->sum = (double) c->base / power;
    if (c->count > 1) {
        c->sum = sum_of(c->base, c->count - c->patch_count, chunk_read_zigzag(in)) / power;
    }
    c->first = make_double((double) c->base / power);
    c->last = make_double((double) ends.last / power);
    add_patches(c);
    return !in->bad;
}

static bool read_reals(struct tpi_reader *in, struct tpi_chunk_column *c)
{
    c->shift = tpi_read_u8(in);
    if (c->coding > CODE_REAL_NAN || c->shift > 63) {
        return false;
    }
    uint64_t bits = tpi_read_u64(in);
    c->base = chunk_order(bits, c->shift);
    double first = chunk_double(bits);
    c->nan = c->coding == CODE_REAL_NAN || isnan(first);
    c->first = c->last = make_double(first);
    c->min = c->max = first;
    c->sum = isnan(first) ? 0 : first;
    if (c->count > 1) {
        uint64_t base = (uint64_t) c->base;
        int64_t last = (int64_t) (base + (uint64_t) tpi_read_zigzag(in));
        int64_t min = (int64_t) (base + (uint64_t) tpi_read_zigzag(in));
        int64_t max = (int64_t) (base + (uint64_t) tpi_read_zigzag(in));
        c->last = make_double(chunk_double(chunk_unorder(last, c->shift)));
        c->min = chunk_double(chunk_unorder(min, c->shift));
        c->max = chunk_double(chunk_unorder(max, c->shift));
        c->sum = chunk_read_double(in);
    }
    return !in->bad;
}

/* What stands before the values. */
static int read_stats(const struct tpi_chunk_reader *r, struct tpi_reader *in,
                      struct tpi_chunk_column *c, struct tpc_error *err)
{
    bool number = c->type == TPC_INT || c->type == TPC_DOUBLE;
    if (r->version == 1 && number) {
        return tpi_chunk_old_column(in, err, c);
    }
    if (r->version != 1 && c->type != TPC_NULL) {
        c->coding = tpi_read_u8(in);
    }
    if (in->bad || (c->type >= TPC_TEXT && c->coding > CODE_DICTIONARY)) {
        return corrupt(err, "a column is coded in no known way");
    }
    if (c->type == TPC_BOOL) {
        return read_bools(in, c, err);
    }
    bool good = !number || (c->type == TPC_INT             ? read_ints(in, c)
                            : (c->coding & CODE_REAL) == 0 ? read_decimals(in, c)
                                                           : read_reals(in, c));
    return good ? 0 : corrupt(err, "the statistics of a column do not hold");
}

/* Splits a body into bitmap, statistics and values. */
static int read_body(const struct tpi_chunk_reader *r, struct tpc_bytes body, bool full,
                     struct tpc_error *err, struct tpi_chunk_column *c)
{
    struct tpi_reader in;
    tpi_reader_init(&in, body.ptr, body.len);
    if (!full) {
        c->presence.len = ((size_t) r->span.rows + 7) / 8;
        c->presence.ptr = tpi_read_bytes(&in, c->presence.len);
        if (c->presence.ptr == NULL || count_bits(c->presence.ptr, r->span.rows) != c->count) {
            return corrupt(err, "a column's bitmap does not fit its count");
        }
    }
    int rc = read_stats(r, &in, c, err);
    if (rc != 0) {
        return rc;
    }
    c->values = (struct tpc_bytes){ in.p, tpi_reader_left(&in) };
    return in.bad ? corrupt(err, "a column is cut") : 0;
}

/* At the start of a group: its last key and its end. */
static int read_group(struct tpi_chunk_reader *r, struct tpc_error *err)
{
    struct tpi_reader *in = &r->in;
    if (r->version == 1 || r->columns <= CHUNK_GROUP || r->column % CHUNK_GROUP != 0 ||
        r->group_end != NULL) {
        return 0;
    }
    uint64_t key = tpi_read_varint(in);
    uint64_t len = tpi_read_varint(in);
    if (in->bad || key > UINT32_MAX - r->last_key || len > tpi_reader_left(in)) {
        return corrupt(err, "the head of a group does not hold");
    }
    r->group_key = r->last_key + (uint32_t) key;
    r->group_end = in->p + len;
    return 0;
}

static int end_group(struct tpi_chunk_reader *r, struct tpc_error *err)
{
    if (r->group_end == NULL || (r->column % CHUNK_GROUP != 0 && r->column != r->columns)) {
        return 0;
    }
    bool good = r->in.p == r->group_end && r->last_key == r->group_key;
    r->group_end = NULL;
    return good ? 0 : corrupt(err, "a group does not end with its last column");
}

/* What stands before a column's body: its key, its count, its length. */
struct column_head {
    uint64_t key;
    uint64_t count;
    bool full;
    struct tpc_bytes body;
};

static int read_column_head(struct tpi_chunk_reader *r, struct tpc_error *err,
                            struct column_head *ret)
{
    struct tpi_reader *in = &r->in;
    uint64_t most = (uint64_t) UINT16_MAX << CHUNK_TYPE_BITS | CHUNK_TYPE_MASK;
    uint64_t delta = chunk_read_varint(in);
    uint64_t count = chunk_read_varint(in);
    uint64_t len = chunk_read_varint(in);
    const uint8_t *body = len <= tpi_reader_left(in) ? tpi_read_bytes(in, (size_t) len) : NULL;
    uint64_t key = delta <= most ? r->last_key + delta : UINT64_MAX;
    if (in->bad || body == NULL || delta == 0 || key > most || key >> CHUNK_TYPE_BITS == 0) {
        return corrupt(err, "the head of a column does not hold");
    }
    *ret =
        (struct column_head){ key, count >> 1, (count & CHUNK_FULL) != 0, { body, (size_t) len } };
    if (ret->count == 0 || ret->count > r->span.rows || ret->full != (ret->count == r->span.rows)) {
        return corrupt(err, "a column's count does not fit the chunk");
    }
    return 0;
}

int tpi_chunk_next(struct tpi_chunk_reader *r, struct tpc_error *err, struct tpi_chunk_column *ret)
{
    struct column_head head;
    if (r->column == r->columns) {
        return tpi_reader_left(&r->in) == 0 ? 0 : corrupt(err, "bytes follow the last column");
    }
    int rc = read_group(r, err);
    rc = rc != 0 ? rc : read_column_head(r, err, &head);
    if (rc != 0) {
        return rc;
    }
    struct tpi_chunk_column c = { .property = (uint16_t) (head.key >> CHUNK_TYPE_BITS),
                                  .type = (uint8_t) (head.key & CHUNK_TYPE_MASK),
                                  .count = (uint32_t) head.count };
    rc = read_body(r, head.body, head.full, err, &c);
    if (rc != 0) {
        return rc;
    }
    r->last_key = (uint32_t) head.key;
    r->column++;
    rc = end_group(r, err);
    if (rc != 0) {
        return rc;
    }
    *ret = c;
    return 1;
}

int tpi_chunk_seek(struct tpi_chunk_reader *r, uint16_t property, struct tpc_error *err)
{
    while (r->column < r->columns) {
        int rc = read_group(r, err);
        if (rc != 0) {
            return rc;
        }
        if (r->group_end != NULL && r->column % CHUNK_GROUP == 0 &&
            r->group_key >> CHUNK_TYPE_BITS < property) {
            uint32_t left = r->columns - r->column;
            r->column += left < CHUNK_GROUP ? left : CHUNK_GROUP;
            r->last_key = r->group_key;
            r->in.p = r->group_end;
            r->group_end = NULL;
            continue;
        }
        struct tpi_reader before = r->in;
        struct column_head head;
        rc = read_column_head(r, err, &head);
        if (rc != 0) {
            return rc;
        }
        if (head.key >> CHUNK_TYPE_BITS >= property) {
            r->in = before;
            return 0;
        }
        r->last_key = (uint32_t) head.key;
        r->column++;
        rc = end_group(r, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
