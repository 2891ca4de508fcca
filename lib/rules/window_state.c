/*
 * Windows as bytes: whether panes of a device are chains (u8), done (zigzag), then count of windows; of each start, end, count of devices; of each
 * device, count of panes, of each of them mark, start, last, count and its aggregates (aggregate.c). Then
 * count of lanes; of each device, high, done, seen, since, and twice (past and early) count of messages, of
 * each time, mark, flags, bytes and the values. Version 4 had one pane for each device, three
 * numbers of eight bytes for each aggregate, no chains, and no lanes.
 */
#include "rules/window.h"

#include <string.h>
#include <tpcore/error.h>

static const struct tpi_pane *behind(const struct tpi_flow *f, const struct tpi_pane *p)
{
    return f->chains ? p->is.next : NULL;
}

static int save_pane(const struct tpi_flow *f, const struct tpi_pane *p, struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, p->mark);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, p->start_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, f->chains ? 0 : p->is.last_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->count);
    for (uint32_t i = 0; rc == 0 && i < f->aggregates; i++) {
        rc = tpi_aggregate_save(f->functions[i], &p->aggregates[i], out);
    }
    return rc;
}

static int save_panes(const struct tpi_flow *f, uint64_t device, const struct tpi_pane *first,
                      struct tpi_buf *out)
{
    uint64_t n = 0;
    for (const struct tpi_pane *p = first; p != NULL; p = behind(f, p)) {
        n++;
    }
    int rc = tpi_buf_varint(out, device);
    rc = rc != 0 ? rc : tpi_buf_varint(out, n);
    for (const struct tpi_pane *p = first; rc == 0 && p != NULL; p = behind(f, p)) {
        rc = save_pane(f, p, out);
    }
    return rc;
}

static int save_open(const struct tpi_flow *f, const struct tpi_open *o, struct tpi_buf *out)
{
    size_t iter = 0;
    uint64_t device;
    void *pane;
    int rc = tpi_buf_zigzag(out, o->start_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, o->end_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, tpi_map64_count(&o->panes));
    while (rc == 0 && tpi_map64_next(&o->panes, &iter, &device, &pane)) {
        rc = save_panes(f, device, pane, out);
    }
    return rc;
}

static int save_recent(const struct tpi_recent *r, struct tpi_buf *out)
{
    uint32_t at = 0;
    struct tpi_moment m;
    const uint8_t *values;
    int rc = tpi_buf_varint(out, r->count);
    while (rc == 0 && tpi_recent_next(r, &at, &m, &values)) {
        rc = tpi_buf_zigzag(out, m.ms);
        rc = rc != 0 ? rc : tpi_buf_varint(out, m.mark);
        rc = rc != 0 ? rc : tpi_buf_varint(out, m.flags);
        rc = rc != 0 ? rc : tpi_buf_varint(out, m.bytes);
        rc = rc != 0 ? rc : tpi_buf_put(out, values, m.bytes);
    }
    return rc;
}

static int save_lanes(const struct tpi_flow *f, struct tpi_buf *out)
{
    size_t iter = 0;
    uint64_t device;
    void *value;
    int rc = tpi_buf_varint(out, tpi_map64_count(&f->lanes));
    while (rc == 0 && tpi_map64_next(&f->lanes, &iter, &device, &value)) {
        const struct tpi_lane *lane = value;
        rc = tpi_buf_varint(out, device);
        rc = rc != 0 ? rc : tpi_buf_zigzag(out, lane->high_ms);
        rc = rc != 0 ? rc : tpi_buf_zigzag(out, lane->done_ms);
        rc = rc != 0 ? rc : tpi_buf_zigzag(out, lane->seen_ms);
        rc = rc != 0 ? rc : tpi_buf_varint(out, lane->since);
        rc = rc != 0 ? rc : save_recent(&lane->past, out);
        rc = rc != 0 ? rc : save_recent(&lane->early, out);
    }
    return rc;
}

int tpi_flow_save(const struct tpi_flow *f, struct tpi_buf *out)
{
    uint64_t n = 0;
    for (const struct tpi_open *o = f->first; o != NULL; o = o->next) {
        n++;
    }
    int rc = tpi_buf_u8(out, f->chains);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, f->done_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, n);
    for (const struct tpi_open *o = f->first; rc == 0 && o != NULL; o = o->next) {
        rc = save_open(f, o, out);
    }
    return rc != 0 ? rc : save_lanes(f, out);
}

/* ---- reading ---- */

/* Order and room differ from those of the flow that was saved, so that its limit of memory must not hold
 * here: what is read is bounded by the state, and the flow takes no more until it is below the limit. */
#define NO_LIMIT SIZE_MAX

/* Sums of times and lengths must not overflow. */
static bool is_time(int64_t unix_ms)
{
    return unix_ms > INT64_MIN / 4 && unix_ms < INT64_MAX / 4;
}

static void read_old(struct tpi_aggregate *g, struct tpi_reader *in)
{
    g->n = tpi_read_u64(in);
    g->a.i = (int64_t) tpi_read_u64(in);
    uint64_t d = tpi_read_u64(in);
    memcpy(&g->d, &d, sizeof(d));
}

static int fill_pane(struct tpi_flow *f, struct tpi_pane *p, struct tpi_reader *in, bool old)
{
    int rc = 0;
    int64_t last_ms = tpi_read_zigzag(in);
    if (!f->chains) {
        p->is.last_ms = last_ms;
    }
    p->count = (uint32_t) tpi_read_varint(in);
    for (uint32_t i = 0; rc == 0 && i < f->aggregates; i++) {
        if (old && tpi_aggregate_bags(f->functions[i])) {
            return TPC_ECORRUPT; /* there were none */
        }
        if (old) {
            read_old(&p->aggregates[i], in);
        } else {
            rc = tpi_aggregate_read(f->alloc, f->functions[i], &p->aggregates[i], in, NO_LIMIT,
                                    &f->bytes);
        }
    }
    rc = rc == TPC_ETOOBIG ? TPC_ECORRUPT : rc;
    return rc != 0 ? rc : in->bad || !is_time(last_ms) ? TPC_ECORRUPT : 0;
}

static int read_panes(struct tpi_flow *f, struct tpi_open *o, struct tpi_reader *in, bool old)
{
    uint64_t device = tpi_read_varint(in);
    uint64_t n = old ? 1 : tpi_read_varint(in);
    int rc = in->bad || n == 0 || (n > 1 && !f->chains) || tpi_map64_get(&o->panes, device) != NULL
                 ? TPC_ECORRUPT
                 : 0;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        bool fresh;
        uint64_t mark = tpi_read_varint(in);
        int64_t start = tpi_read_zigzag(in);
        if (in->bad || !is_time(start)) {
            return TPC_ECORRUPT;
        }
        struct tpi_pane *p = f->chains ? tpi_flow_chain(f, o, device, start, &fresh)
                                       : tpi_flow_pane(f, o, device, &fresh);
        if (p == NULL || !fresh) {
            return p == NULL ? TPC_ENOMEM : TPC_ECORRUPT;
        }
        p->mark = mark;
        p->start_ms = start;
        rc = fill_pane(f, p, in, old);
    }
    return rc;
}

static int read_opens(struct tpi_flow *f, struct tpi_reader *in, bool old)
{
    uint64_t windows = tpi_read_varint(in);
    int rc = in->bad ? TPC_ECORRUPT : 0;
    for (uint64_t i = 0; rc == 0 && i < windows; i++) {
        bool fresh;
        int64_t start = tpi_read_zigzag(in);
        int64_t end = tpi_read_zigzag(in);
        uint64_t panes = tpi_read_varint(in);
        if (in->bad || end <= start || !is_time(start)) {
            return TPC_ECORRUPT;
        }
        struct tpi_open *o = tpi_flow_open(f, start, end, &fresh);
        rc = o == NULL ? TPC_ENOMEM : 0;
        for (uint64_t k = 0; rc == 0 && k < panes; k++) {
            rc = read_panes(f, o, in, old);
        }
    }
    return rc;
}

static int read_recent(struct tpi_flow *f, struct tpi_recent *r, struct tpi_reader *in)
{
    uint64_t n = tpi_read_varint(in);
    int rc = in->bad || n > TPI_SQL_MAX_KEPT ? TPC_ECORRUPT : 0;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        struct tpi_moment m = { .ms = tpi_read_zigzag(in) };
        m.mark = tpi_read_varint(in);
        m.flags = (uint32_t) tpi_read_varint(in) & TPI_RECENT_FLAGS;
        uint64_t bytes = tpi_read_varint(in);
        const uint8_t *values = tpi_read_bytes(in, bytes);
        m.bytes = (uint32_t) bytes;
        if (in->bad || !is_time(m.ms) ||
            !tpi_recent_is_good(f->functions, f->aggregates, &m, values)) {
            return TPC_ECORRUPT;
        }
        rc = tpi_recent_put(r, f->alloc, &m, values, false, NO_LIMIT, &f->bytes);
    }
    return rc == TPC_ETOOBIG ? TPC_ECORRUPT : rc;
}

static bool is_mark(int64_t unix_ms)
{
    return unix_ms == INT64_MIN || is_time(unix_ms);
}

static int read_lane(struct tpi_flow *f, struct tpi_reader *in)
{
    bool fresh;
    uint64_t device = tpi_read_varint(in);
    struct tpi_lane *lane = in->bad ? NULL : tpi_flow_lane(f, device, &fresh);
    if (lane == NULL || !fresh) {
        return in->bad || lane != NULL ? TPC_ECORRUPT : TPC_ENOMEM;
    }
    lane->high_ms = tpi_read_zigzag(in);
    lane->done_ms = tpi_read_zigzag(in);
    lane->seen_ms = tpi_read_zigzag(in);
    lane->since = (uint32_t) tpi_read_varint(in);
    if (in->bad || !is_mark(lane->high_ms) || !is_mark(lane->done_ms) || !is_time(lane->seen_ms)) {
        return TPC_ECORRUPT;
    }
    int rc = read_recent(f, &lane->past, in);
    return rc != 0 ? rc : read_recent(f, &lane->early, in);
}

int tpi_flow_read(struct tpi_flow *f, struct tpi_reader *in, bool old)
{
    uint8_t chains = old ? 0 : tpi_read_u8(in);
    f->chains = chains == 1;
    f->done_ms = tpi_read_zigzag(in);
    int rc = in->bad || chains > 1 ? TPC_ECORRUPT : read_opens(f, in, old);
    uint64_t lanes = rc != 0 || old ? 0 : tpi_read_varint(in);
    for (uint64_t i = 0; rc == 0 && i < lanes; i++) {
        rc = read_lane(f, in);
    }
    return rc != 0 ? rc : in->bad ? TPC_ECORRUPT : 0;
}
