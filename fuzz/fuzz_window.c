/* Reads any bytes as the windows of a rule: first how many aggregates, then the function of each, then the
 * state as version 7 has it, or an older one. What is taken is as large as it says, gives values, and is
 * the same after it was written and read again. */
#include "rules/window.h"

#include <stdlib.h>
#include <string.h>
#include <tpcore/error.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok) {
        abort();
    }
}

/* All that a row could ask for. */
static void use_pane(const struct tpi_flow *f, const struct tpi_pane *p)
{
    for (uint32_t i = 0; i < f->aggregates; i++) {
        struct tpc_arena *arena;
        struct tpc_value v;
        if (f->functions[i] != TPI_SQL_COLLECT) {
            (void) tpi_aggregate_value(f->functions[i], &p->aggregates[i]);
        } else if (tpc_arena_create(NULL, 0, &arena) == 0) {
            (void) tpi_bag_values(&p->aggregates[i], arena, &v); /* may be corrupt inside: null */
            tpc_arena_destroy(arena);
        }
    }
}

static void use_recent(struct tpi_flow *f, struct tpi_recent *r)
{
    struct tpi_pane *p = tpi_flow_spare(f);
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t at = 0;
    uint32_t n = 0;
    while (p != NULL && tpi_recent_next(r, &at, &m, &values)) {
        (void) tpi_flow_play(f, p, &m, values);
        tpi_recent_done(r, at, &m);
        n++;
    }
    must(p == NULL || n == r->count);
    if (p != NULL) {
        use_pane(f, p);
        tpi_flow_clear(f, p);
    }
    for (uint32_t i = n / 2; i > 0; i--) {
        tpi_recent_pop(r);
    }
}

static void use(struct tpi_flow *f)
{
    size_t iter = 0;
    uint64_t device;
    void *value;
    for (const struct tpi_open *o = f->first; o != NULL; o = o->next) {
        for (iter = 0; tpi_map64_next(&o->panes, &iter, &device, &value);) {
            use_pane(f, value);
        }
    }
    for (iter = 0; tpi_map64_next(&f->lanes, &iter, &device, &value);) {
        struct tpi_lane *lane = value;
        use_recent(f, &lane->past);
        use_recent(f, &lane->early);
    }
}

static int read_flow(struct tpi_flow *f, const uint8_t *functions, uint32_t count,
                     struct tpc_bytes bytes, bool old)
{
    struct tpi_reader in;
    tpi_reader_init(&in, bytes.ptr, bytes.len);
    tpi_flow_init(f, NULL, functions, count);
    return tpi_flow_read(f, &in, old);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t functions[TPI_SQL_MAX_AGGREGATES];
    struct tpi_flow f;
    if (size == 0 || size - 1 < data[0] % (TPI_SQL_MAX_AGGREGATES + 1)) {
        return 0;
    }
    uint32_t count = data[0] % (TPI_SQL_MAX_AGGREGATES + 1);
    for (uint32_t i = 0; i < count; i++) {
        functions[i] = data[1 + i] % TPI_SQL_FUNCTIONS;
    }
    struct tpc_bytes bytes = { data + 1 + count, size - 1 - count };
    int rc = read_flow(&f, functions, count, bytes, data[0] >= 128);
    must(rc == 0 || rc == TPC_ECORRUPT || rc == TPC_ENOMEM);
    if (rc == 0) {
        struct tpi_buf out;
        struct tpi_flow again;
        tpi_buf_init(&out, NULL, 0);
        must(tpi_flow_save(&f, &out) == 0);
        must(read_flow(&again, functions, count, (struct tpc_bytes){ out.ptr, out.len }, false) ==
             0);
        must(again.panes == f.panes && tpi_map64_count(&again.lanes) == tpi_map64_count(&f.lanes));
        tpi_flow_fini(&again);
        tpi_buf_fini(&out);
        use(&f);
    }
    tpi_flow_fini(&f);
    must(f.bytes == 0);
    return 0;
}
