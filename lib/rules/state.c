/*
 * State of a partition as bytes: version (u8), offset of the next message (varint), count of pairs
 * (varint), then for each pair scene and device (varints) and the hash of the condition (u32).
 */
#include "base/error.h"
#include "rules/rules_state.h"

enum { STATE_VERSION = 1 };

static struct rule_worker *owner(struct tpi_rules *r, uint32_t partition)
{
    return &r->workers[partition % r->host.workers];
}

static int save(const struct rule_partition *p, struct tpi_buf *out)
{
    int rc = tpi_buf_u8(out, STATE_VERSION);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->next);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->edges.count);
    for (size_t i = 0; rc == 0 && i < p->edges.cap; i++) {
        const struct tpi_edge *e = &p->edges.slots[i];
        if (e->scene != 0) {
            rc = tpi_buf_varint(out, e->scene);
            rc = rc != 0 ? rc : tpi_buf_varint(out, e->device);
            rc = rc != 0 ? rc : tpi_buf_u32(out, e->when);
        }
    }
    return rc;
}

int tpi_rules_state_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out)
{
    size_t before = out->len;
    struct rule_worker *w = owner(r, partition);
    pthread_mutex_lock(&w->lock);
    int rc = save(&r->partitions[partition], out);
    pthread_mutex_unlock(&w->lock);
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

/* Pairs of a condition that is the same as when it was saved. */
static bool is_known(struct tpi_rules *r, const struct tpi_edge *e)
{
    const struct tpi_scene *s = tpi_map64_get(&r->scenes, e->scene);
    return s != NULL && s->enabled && !s->each && s->when == e->when;
}

static int read_edges(struct tpi_rules *r, struct tpi_reader *in, struct tpi_edges *ret)
{
    uint64_t count = tpi_read_varint(in);
    for (uint64_t i = 0; i < count; i++) {
        struct tpi_edge e;
        e.scene = tpi_read_varint(in);
        e.device = tpi_read_varint(in);
        e.when = tpi_read_u32(in);
        if (in->bad || e.scene == 0) {
            return TPC_ECORRUPT;
        }
        int rc = is_known(r, &e) ? tpi_edges_add(ret, &e) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    return in->bad || tpi_reader_left(in) > 0 ? TPC_ECORRUPT : 0;
}

int tpi_rules_state_load(struct tpi_rules *r, uint32_t partition, struct tpc_bytes bytes,
                         struct tpc_error *err, uint64_t *ret_next)
{
    struct tpi_reader in;
    tpi_reader_init(&in, bytes.ptr, bytes.len);
    uint8_t version = tpi_read_u8(&in);
    if (!in.bad && version > STATE_VERSION) {
        return tpi_error_set(err, TPC_EVERSION, "rules", "state of version %u", version);
    }
    uint64_t next = tpi_read_varint(&in);
    struct tpi_edges edges;
    tpi_edges_init(&edges, r->env->alloc);
    pthread_mutex_lock(&r->changes);
    int rc = version == STATE_VERSION ? read_edges(r, &in, &edges) : TPC_ECORRUPT;
    pthread_mutex_unlock(&r->changes);
    if (rc != 0) {
        tpi_edges_fini(&edges);
        return tpi_error_set(err, rc, "rules", "state of partition %u cannot be read", partition);
    }
    struct rule_worker *w = owner(r, partition);
    pthread_mutex_lock(&w->lock);
    tpi_edges_fini(&r->partitions[partition].edges);
    r->partitions[partition].edges = edges;
    r->partitions[partition].next = next;
    pthread_mutex_unlock(&w->lock);
    *ret_next = next;
    return 0;
}
