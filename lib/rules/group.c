#include "rules/group.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "data/msg.h"
#include "rules/data_rule.h"

#include <string.h>
#include <tpcore/error.h>

int tpi_group_head(struct tpi_buf *out, const struct tpi_group_input *in)
{
    int rc = tpi_buf_varint(out, in->rule);
    rc = rc != 0 ? rc : tpi_buf_u32(out, in->hash);
    rc = rc != 0 ? rc : tpi_buf_varint(out, in->partition);
    rc = rc != 0 ? rc : tpi_buf_varint(out, in->offset);
    rc = rc != 0 ? rc : tpi_buf_u8(out, (uint8_t) in->flags);
    rc = rc != 0 ? rc : tpi_buf_varint(out, in->hops);
    return rc != 0 ? rc : tpi_buf_varint(out, in->count);
}

int tpi_group_value(struct tpi_buf *out, const struct tpc_value *v, bool scalar)
{
    static const struct tpc_value null = { .type = TPC_NULL };
    const struct tpc_value *what = scalar && v->type > TPC_TEXT ? &null : v;
    size_t at = out->len;
    /* The length stands in four bytes before it is known: a varint that is not the shortest. */
    static const uint8_t room[4] = { 0x80, 0x80, 0x80, 0 };
    int rc = tpi_buf_put(out, room, sizeof(room));
    rc = rc != 0 ? rc : tpi_value_encode(what, out);
    size_t len = rc == 0 ? out->len - at - sizeof(room) : 0;
    if (rc == 0 && len > TPI_GROUP_BYTES) {
        rc = TPC_ETOOBIG;
    }
    if (rc != 0) {
        out->len = at;
        return rc;
    }
    for (size_t i = 0; i < sizeof(room); i++) {
        out->ptr[at + i] = (uint8_t) ((len & 0x7F) | room[i]);
        len >>= 7;
    }
    return 0;
}

static struct tpc_bytes read_bytes(struct tpi_reader *in)
{
    uint64_t len = tpi_read_varint(in);
    if (in->bad || len > tpi_reader_left(in)) {
        in->bad = true;
        return (struct tpc_bytes){ NULL, 0 };
    }
    struct tpc_bytes b = { in->p, (size_t) len };
    in->p += len;
    return b;
}

int tpi_group_read(struct tpc_bytes raw, struct tpc_arena *arena, struct tpi_group_input *ret)
{
    struct tpi_reader in;
    tpi_reader_init(&in, raw.ptr, raw.len);
    ret->rule = tpi_read_varint(&in);
    ret->hash = tpi_read_u32(&in);
    ret->partition = (uint32_t) tpi_read_varint(&in);
    ret->offset = tpi_read_varint(&in);
    ret->flags = tpi_read_u8(&in);
    ret->hops = (uint32_t) tpi_read_varint(&in);
    ret->count = (uint32_t) tpi_read_varint(&in);
    if (in.bad || ret->count > TPI_SQL_MAX_AGGREGATES) {
        return TPC_ECORRUPT;
    }
    for (uint32_t i = 0; i < ret->count; i++) {
        struct tpc_bytes b = read_bytes(&in);
        int rc = in.bad ? TPC_ECORRUPT : tpi_value_decode(b, arena, NULL, &ret->values[i]);
        if (rc != 0) {
            return rc == TPC_ENOMEM ? rc : TPC_ECORRUPT;
        }
    }
    ret->groups = (struct tpc_bytes){ in.p, tpi_reader_left(&in) };
    ret->key = tpi_hash(ret->groups.ptr, ret->groups.len, 0) | 1;
    return 0;
}

void tpi_group_values(struct tpc_bytes groups, struct tpc_arena *arena, uint32_t count,
                      struct tpc_value *ret)
{
    struct tpi_reader in;
    tpi_reader_init(&in, groups.ptr, groups.len);
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_bytes b = read_bytes(&in);
        ret[i] = (struct tpc_value){ .type = TPC_NULL };
        if (!in.bad && tpi_value_decode(b, arena, NULL, &ret[i]) != 0) {
            ret[i] = (struct tpc_value){ .type = TPC_NULL };
        }
    }
}

/* ---- flows ---- */

enum { SWEEP_FROM = 64 /* groups that are not needed any more */ };

int tpi_flow_spread(struct tpi_flow *f, uint32_t partitions)
{
    f->marks = tpi_alloc_array(f->alloc, partitions, sizeof(*f->marks));
    if (f->marks == NULL) {
        return TPC_ENOMEM;
    }
    f->mark_count = partitions;
    f->spread = true;
    return 0;
}

static void free_group(struct tpi_flow *f, struct tpi_group *g)
{
    f->bytes -= sizeof(*g) + g->len;
    tpi_free(f->alloc, g, sizeof(*g) + g->len);
}

void tpi_flow_spread_fini(struct tpi_flow *f)
{
    size_t iter = 0;
    void *group;
    while (tpi_map64_next(&f->groups, &iter, NULL, &group)) {
        free_group(f, group);
    }
    tpi_map64_fini(&f->groups);
    tpi_free(f->alloc, f->marks, f->mark_count * sizeof(*f->marks));
    f->marks = NULL;
    f->mark_count = 0;
}

static bool is_needed(const struct tpi_flow *f, uint64_t key)
{
    bool needed = tpi_map64_get(&f->lanes, key) != NULL;
    for (const struct tpi_open *o = f->first; !needed && o != NULL; o = o->next) {
        needed = tpi_map64_get(&o->panes, key) != NULL;
    }
    return needed;
}

void tpi_flow_sweep_groups(struct tpi_flow *f)
{
    size_t iter = 0;
    uint64_t key;
    void *group;
    while (tpi_map64_next(&f->groups, &iter, &key, &group)) {
        if (!is_needed(f, key)) {
            tpi_map64_remove(&f->groups, key);
            free_group(f, group);
            iter--; /* a later one may stand there now */
        }
    }
}

/* It is not there yet. */
static int put_group(struct tpi_flow *f, uint64_t key, struct tpc_bytes bytes)
{
    struct tpi_group *g = tpi_alloc(f->alloc, sizeof(*g) + bytes.len);
    if (g == NULL) {
        return TPC_ENOMEM;
    }
    f->bytes += sizeof(*g) + bytes.len;
    g->len = (uint32_t) bytes.len;
    if (bytes.len > 0) {
        memcpy(g->bytes, bytes.ptr, bytes.len);
    }
    if (tpi_map64_put(&f->groups, key, g, NULL) != 0) {
        free_group(f, g);
        return TPC_ENOMEM;
    }
    return 0;
}

int tpi_flow_group(struct tpi_flow *f, uint64_t key, struct tpc_bytes bytes)
{
    if (tpi_map64_get(&f->groups, key) != NULL) {
        return 0;
    }
    size_t live = f->panes + tpi_map64_count(&f->lanes);
    size_t count = tpi_map64_count(&f->groups);
    bool full = f->bytes >= TPI_FLOW_MAX_BYTES;
    if (count > 2 * live + SWEEP_FROM || (full && count > live)) {
        tpi_flow_sweep_groups(f);
    }
    if (tpi_map64_count(&f->groups) >= TPI_FLOW_MAX_PANES || f->bytes >= TPI_FLOW_MAX_BYTES) {
        return TPC_ETOOBIG;
    }
    return put_group(f, key, bytes);
}

/* Count of marks (varint), marks (varints); count of groups (varint), of each its hash and length
 * (varints) and bytes. */
int tpi_flow_save_groups(const struct tpi_flow *f, struct tpi_buf *out)
{
    size_t iter = 0;
    uint64_t key;
    void *value;
    int rc = tpi_buf_varint(out, f->mark_count);
    for (uint32_t i = 0; rc == 0 && i < f->mark_count; i++) {
        rc = tpi_buf_varint(out, f->marks[i]);
    }
    rc = rc != 0 ? rc : tpi_buf_varint(out, tpi_map64_count(&f->groups));
    while (rc == 0 && tpi_map64_next(&f->groups, &iter, &key, &value)) {
        const struct tpi_group *g = value;
        rc = tpi_buf_varint(out, key);
        rc = rc != 0 ? rc : tpi_buf_varint(out, g->len);
        rc = rc != 0 ? rc : tpi_buf_put(out, g->bytes, g->len);
    }
    return rc;
}

int tpi_flow_read_groups(struct tpi_flow *f, struct tpi_reader *in)
{
    uint64_t marks = tpi_read_varint(in);
    for (uint64_t i = 0; !in->bad && i < marks; i++) {
        uint64_t mark = tpi_read_varint(in);
        if (i < f->mark_count) {
            f->marks[i] = mark;
        }
    }
    uint64_t groups = tpi_read_varint(in);
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && !in->bad && i < groups; i++) {
        uint64_t key = tpi_read_varint(in);
        struct tpc_bytes bytes = read_bytes(in);
        bool fresh = !in->bad && tpi_map64_get(&f->groups, key) == NULL;
        rc = fresh ? put_group(f, key, bytes) : TPC_ECORRUPT;
    }
    return in->bad ? TPC_ECORRUPT : rc;
}

/* ---- records ---- */

/* The rule that a record is for, as it is now; NULL = it is gone, or its statement is another. */
static struct tpi_data_rule *rule_of(struct tpi_rules *r, uint32_t partition,
                                     const struct tpi_group_input *in)
{
    struct tpi_data_rule *d = tpi_map64_get(&r->data_rules, in->rule);
    bool same = d != NULL && d->spread && d->watch.linked && d->hash == in->hash &&
                d->call_count == in->count && d->partition == partition;
    return same ? d : NULL;
}

bool tpi_rules_input_came(struct tpi_rules *r, uint32_t partition, struct tpc_bytes raw)
{
    struct tpi_group_input in = { .rule = 0 };
    struct tpc_arena *arena = r->workers[partition % r->host.workers].input_arena;
    tpc_arena_reset(arena);
    if (tpi_group_read(raw, arena, &in) != 0 || rule_of(r, partition, &in) == NULL) {
        return true;
    }
    const struct tpi_flow *f = tpi_map64_get(&r->partitions[partition].flows, in.rule);
    return f != NULL && in.partition < f->mark_count && in.offset < f->marks[in.partition];
}

void tpi_rules_input(struct tpi_rules *r, uint32_t worker, const struct tpc_msg *msg)
{
    struct tpc_arena *arena = r->workers[worker].input_arena;
    struct tpi_group_input in = { .unix_ms = msg->unix_ms,
                                  .received_unix_ms = msg->received_unix_ms,
                                  .own_offset = msg->offset };
    r->partitions[msg->partition].next = msg->offset + 1;
    tpc_arena_reset(arena);
    if (tpi_group_read(msg->raw, arena, &in) != 0) {
        return;
    }
    struct tpi_data_rule *d = rule_of(r, msg->partition, &in);
    if (d != NULL) {
        tpi_data_rule_input(r, worker, d, &in);
    }
}

void tpi_rules_inputs_end(struct tpi_rules *r, uint32_t partition, uint64_t end)
{
    for (uint32_t i = 0; i < r->host.partitions; i++) {
        size_t iter = 0;
        void *value;
        while (tpi_map64_next(&r->partitions[i].flows, &iter, NULL, &value)) {
            struct tpi_flow *f = value;
            if (partition < f->mark_count && f->marks[partition] > end) {
                f->marks[partition] = end;
            }
        }
    }
}
