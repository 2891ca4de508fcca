/* Runs stand in a table of pairs: `offset` has a bit for each, the newest is bit 0. No entry = all were false. */
#include "rules/damp.h"

#include "base/error.h"

static uint64_t window(const struct tpi_scene *s)
{
    uint32_t n = s->gate->dampen.window;
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

int tpi_rules_damp(struct tpi_rules *r, uint32_t partition, const struct tpi_scene *s,
                   uint64_t device, bool result)
{
    struct tpi_edges *table = &r->partitions[partition].runs;
    struct tpi_edge *e = tpi_edges_find(table, s->id, device);
    struct tpi_dampen_state state = { .runs = e != NULL ? e->offset : 0 };
    bool holds = tpi_dampen_run(&s->gate->dampen, &state, result, 0);
    uint64_t runs = state.runs & window(s);
    if (runs == 0) {
        tpi_edges_remove(table, s->id, device);
        return 0;
    }
    if (e != NULL) {
        e->offset = runs;
        return holds ? 1 : 0;
    }
    struct tpi_edge fresh = { .scene = s->id, .device = device, .when = s->when, .offset = runs };
    if (tpi_edges_add(table, &fresh) != 0) {
        return -1;
    }
    return holds ? 1 : 0;
}

void tpi_rules_damp_forget(struct tpi_rules *r, uint32_t partition, const struct tpi_scene *s,
                           uint64_t device)
{
    tpi_edges_remove(&r->partitions[partition].runs, s->id, device);
}

bool tpi_scene_is_off(const struct tpi_scene *s, int64_t unix_ms)
{
    return atomic_load_explicit(&s->off_until_ms, memory_order_relaxed) > unix_ms;
}

bool tpi_scene_take_turn(struct tpi_scene *s, uint32_t partition, int64_t unix_ms)
{
    if (!s->gate->auto_disable) {
        return true;
    }
    int64_t seen = atomic_load(&s->off_until_ms);
    if (seen > unix_ms || !atomic_compare_exchange_strong(&s->off_until_ms, &seen,
                                                          tpi_gate_off_until(s->gate, unix_ms))) {
        return false;
    }
    atomic_store(&s->off_partition, partition);
    return true;
}

void tpi_rules_damp_expire(struct tpi_rules *r, uint32_t partition)
{
    struct tpi_edges *table = &r->partitions[partition].runs;
    for (size_t i = 0; table->count > 0 && i < table->cap;) {
        const struct tpi_edge *e = &table->slots[i];
        if (e->scene != 0 && tpi_registry_by_id(r->host.registry, e->device) == NULL) {
            tpi_edges_remove(table, e->scene, e->device); /* a later one may stand here now */
        } else {
            i++;
        }
    }
}

/* ---- state ---- */

static int save_runs(const struct tpi_edges *table, struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, table->count);
    for (size_t i = 0; rc == 0 && i < table->cap; i++) {
        const struct tpi_edge *e = &table->slots[i];
        if (e->scene != 0) {
            rc = tpi_buf_varint(out, e->scene);
            rc = rc != 0 ? rc : tpi_buf_varint(out, e->device);
            rc = rc != 0 ? rc : tpi_buf_u32(out, e->when);
            rc = rc != 0 ? rc : tpi_buf_varint(out, e->offset);
        }
    }
    return rc;
}

static bool is_saved(const struct tpi_scene *s, uint32_t partition)
{
    return atomic_load(&s->off_until_ms) != 0 && atomic_load(&s->off_partition) == partition;
}

/* Others may switch a scene off meanwhile: there is no count before the list. */
int tpi_rules_damp_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out)
{
    int rc = save_runs(&r->partitions[partition].runs, out);
    size_t iter = 0;
    void *value;
    while (rc == 0 && tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        const struct tpi_scene *s = value;
        if (is_saved(s, partition)) {
            rc = tpi_buf_u8(out, 1);
            rc = rc != 0 ? rc : tpi_buf_varint(out, s->id);
            rc = rc != 0 ? rc : tpi_buf_varint(out, s->revision);
            rc = rc != 0 ? rc : tpi_buf_zigzag(out, atomic_load(&s->off_until_ms));
        }
    }
    return rc != 0 ? rc : tpi_buf_u8(out, 0);
}

int tpi_rules_damp_read(struct tpi_rules *r, struct tpi_reader *in, struct tpi_edges *ret)
{
    uint64_t count = tpi_read_varint(in);
    for (uint64_t i = 0; i < count; i++) {
        struct tpi_edge e = { .scene = tpi_read_varint(in) };
        e.device = tpi_read_varint(in);
        e.when = tpi_read_u32(in);
        e.offset = tpi_read_varint(in);
        if (in->bad || e.scene == 0) {
            return TPC_ECORRUPT;
        }
        const struct tpi_scene *s = tpi_map64_get(&r->scenes, e.scene);
        bool known = s != NULL && s->enabled && s->when == e.when &&
                     tpi_edges_find(ret, e.scene, e.device) == NULL;
        int rc = known ? tpi_edges_add(ret, &e) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void switch_off(struct tpi_rules *r, uint32_t partition, uint64_t id, uint64_t revision,
                       int64_t until_ms)
{
    struct tpi_scene *s = tpi_map64_get(&r->scenes, id);
    if (s != NULL && s->revision == revision && s->gate->auto_disable &&
        atomic_load(&s->off_until_ms) < until_ms) {
        atomic_store(&s->off_until_ms, until_ms);
        atomic_store(&s->off_partition, partition);
    }
}

int tpi_rules_off_read(struct tpi_rules *r, struct tpi_reader *in, uint32_t partition, bool apply)
{
    while (tpi_read_u8(in) == 1) {
        uint64_t id = tpi_read_varint(in);
        uint64_t revision = tpi_read_varint(in);
        int64_t until_ms = tpi_read_zigzag(in);
        if (apply && !in->bad) {
            switch_off(r, partition, id, revision, until_ms);
        }
    }
    return in->bad ? TPC_ECORRUPT : 0;
}
