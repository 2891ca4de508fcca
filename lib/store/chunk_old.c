/* Chunks of version 1: docs/format/history.md, "Version 1". */
#include "base/error.h"
#include "store/chunk_format.h"

static int corrupt(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_ECORRUPT, "chunk", "%s", what);
}

int tpi_chunk_old_skip_times(struct tpi_chunk_reader *r, struct tpc_error *err)
{
    struct tpi_reader *in = &r->in;
    int64_t at = r->span.first_unix_ms;
    r->times.ptr = in->p;
    for (uint32_t i = 1; i < r->span.rows; i++) {
        uint64_t delta = tpi_read_varint(in);
        if (in->bad || delta == 0 || delta > (uint64_t) INT64_MAX - (uint64_t) at) {
            return corrupt(err, "the times of the chunk do not rise");
        }
        at = (int64_t) ((uint64_t) at + delta);
    }
    r->times.len = (size_t) (in->p - r->times.ptr);
    r->span.last_unix_ms = at;
    return 0;
}

int tpi_chunk_old_times(const struct tpi_chunk_reader *r, struct tpc_error *err, int64_t *ret)
{
    struct tpi_reader in;
    tpi_reader_init(&in, r->times.ptr, r->times.len);
    uint64_t at = (uint64_t) r->span.first_unix_ms;
    ret[0] = r->span.first_unix_ms;
    for (uint32_t i = 1; i < r->span.rows; i++) {
        at += tpi_read_varint(&in);
        ret[i] = (int64_t) at;
    }
    return in.bad ? corrupt(err, "the times of the chunk are cut") : 0;
}

static int read_ints(struct tpi_reader *in, struct tpi_chunk_column *c)
{
    int64_t min = tpi_read_zigzag(in);
    uint64_t range = tpi_read_varint(in);
    if (range > (uint64_t) INT64_MAX - (uint64_t) min) {
        return TPC_ECORRUPT;
    }
    c->min = (double) min;
    c->max = (double) (int64_t) ((uint64_t) min + range);
    c->sum = chunk_read_double(in);
    struct tpi_reader values = *in;
    uint64_t x = (uint64_t) tpi_read_zigzag(&values);
    c->first = (struct tpc_value){ .type = TPC_INT, .as.i = (int64_t) x };
    for (uint32_t i = 1; i < c->count && !values.bad; i++) {
        x += (uint64_t) tpi_read_zigzag(&values);
    }
    c->last = (struct tpc_value){ .type = TPC_INT, .as.i = (int64_t) x };
    return values.bad ? TPC_ECORRUPT : 0;
}

static int read_doubles(struct tpi_reader *in, struct tpi_chunk_column *c)
{
    c->min = chunk_read_double(in);
    c->max = chunk_read_double(in);
    c->sum = chunk_read_double(in);
    if (in->bad || tpi_reader_left(in) != c->count * sizeof(double)) {
        return TPC_ECORRUPT;
    }
    c->first = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = chunk_double(tpi_get_u64(in->p)) };
    c->last = (struct tpc_value){ .type = TPC_DOUBLE,
                                  .as.d = chunk_double(tpi_get_u64(in->end - sizeof(double))) };
    return 0;
}

int tpi_chunk_old_column(struct tpi_reader *in, struct tpc_error *err, struct tpi_chunk_column *c)
{
    c->coding = CODE_OLD;
    c->nan = c->type == TPC_DOUBLE; /* which its head does not say */
    int rc = c->type == TPC_INT ? read_ints(in, c) : read_doubles(in, c);
    return rc != 0 ? corrupt(err, "a column does not fit its count") : 0;
}
