#include "bus/dead.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/map.h"
#include "data/msg.h"

#include <string.h>

enum { SCAN_RECORDS = 1024 };

static void put_int(struct tpc_member *list, size_t *count, const char *name, int64_t x)
{
    struct tpc_member *m = &list[(*count)++];

    memset(m, 0, sizeof(*m));
    m->key = tpc_str_from(name);
    m->value.type = TPC_INT;
    m->value.as.i = x;
}

static void put_text(struct tpc_member *list, size_t *count, const char *name, struct tpc_str text)
{
    struct tpc_member *m;

    if (text.len == 0) {
        return;
    }
    m = &list[(*count)++];
    memset(m, 0, sizeof(*m));
    m->key = tpc_str_from(name);
    m->value.type = TPC_TEXT;
    m->value.len = text.len;
    m->value.as.text = text.ptr;
}

static int encode(struct tpc_bytes raw, const struct tpc_member *list, size_t count,
                  struct tpi_buf *out)
{
    struct tpc_msg msg;

    memset(&msg, 0, sizeof(msg));
    msg.size = (uint32_t) sizeof(msg);
    msg.raw = raw;
    msg.point_size = sizeof(struct tpc_point);
    msg.params.type = TPC_MAP;
    msg.params.len = count;
    msg.params.as.members = list;
    return tpi_msg_encode(&msg, out);
}

int tpi_dead_encode(const struct tpi_dead *dead, struct tpi_buf *out)
{
    struct tpc_member list[8];
    size_t count = 0;

    put_int(list, &count, "code", dead->code);
    put_text(list, &count, "reason", dead->reason);
    put_text(list, &count, "origin", dead->origin);
    put_text(list, &count, "topic", dead->topic);
    put_text(list, &count, "product", dead->product);
    put_text(list, &count, "device", dead->device);
    if (dead->line > 0) {
        put_int(list, &count, "line", dead->line);
    }
    return encode(dead->raw, list, count, out);
}

int tpi_dead_encode_tombstone(uint32_t partition, uint64_t offset, struct tpi_buf *out)
{
    struct tpc_member list[2];
    size_t count = 0;

    put_int(list, &count, "partition", partition);
    put_int(list, &count, "offset", (int64_t) offset);
    return encode((struct tpc_bytes){ NULL, 0 }, list, count, out);
}

/* ---- reading ---- */

/* A body decoded: params and raw. */
static int decode(struct tpc_arena *arena, const struct tpc_record *record, struct tpc_msg *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->size = (uint32_t) sizeof(*ret);
    ret->kind = record->kind;
    ret->unix_ms = record->unix_ms;
    return tpi_msg_decode(record->body, arena, NULL, ret);
}

static struct tpc_str text_of(const struct tpc_msg *msg, struct tpc_str key)
{
    const struct tpc_value *v = tpc_value_get(&msg->params, key);
    struct tpc_str none = { "", 0 };

    return v == NULL ? none : tpc_value_text(v);
}

static int64_t int_of(const struct tpc_msg *msg, struct tpc_str key, int64_t def)
{
    const struct tpc_value *v = tpc_value_get(&msg->params, key);
    int64_t x;

    return v == NULL || tpc_value_int(v, &x) != 0 ? def : x;
}

static int tell(struct tpc_arena *arena, const struct tpc_record *record, tpc_dead_letter_fn *fn,
                void *user)
{
    struct tpc_dead_letter letter;
    struct tpc_msg msg;
    int rc = decode(arena, record, &msg);

    if (rc == TPC_ENOMEM) {
        return rc;
    }
    memset(&letter, 0, sizeof(letter));
    letter.size = (uint32_t) sizeof(letter);
    letter.partition = record->partition;
    letter.offset = record->offset;
    letter.unix_ms = record->received_unix_ms;
    if (rc == 0) {
        letter.device = text_of(&msg, TPC_STR("device"));
        letter.origin = text_of(&msg, TPC_STR("origin"));
        letter.topic = text_of(&msg, TPC_STR("topic"));
        letter.reason = text_of(&msg, TPC_STR("reason"));
        letter.code = (int32_t) int_of(&msg, TPC_STR("code"), TPC_EDECODE);
        letter.raw = msg.raw;
    } else {
        /* A letter that cannot be read is still one: somebody must be able to purge it. */
        letter.code = rc;
        letter.reason = TPC_STR("the letter itself cannot be read");
        letter.raw = record->body;
    }
    return fn(user, &letter);
}

/* One walk through a partition. */
struct scan {
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena;
    struct tpi_map64 buried; /* offset + 1 as the value: not NULL */
    bool collect;            /* the tombstones; else tell the letters */
    uint64_t only;           /* UINT64_MAX = all */
    bool found;
    tpc_dead_letter_fn *fn;
    void *user;
};

static int collect(struct scan *scan, const struct tpc_record *record)
{
    struct tpc_msg msg;
    int rc = decode(scan->arena, record, &msg);
    int64_t offset;

    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : 0;
    }
    offset = int_of(&msg, TPC_STR("offset"), -1);
    if (offset < 0 || int_of(&msg, TPC_STR("partition"), -1) != (int64_t) record->partition) {
        return 0;
    }
    return tpi_map64_put(&scan->buried, (uint64_t) offset, scan, NULL);
}

static int on_record(void *user, const struct tpc_record *record)
{
    struct scan *scan = user;
    int rc = 0;

    if (scan->collect && record->kind == TPI_MSG_TOMBSTONE) {
        rc = collect(scan, record);
        tpc_arena_reset(scan->arena);
    } else if (!scan->collect && record->kind == TPC_MSG_DEAD_LETTER &&
               (scan->only == UINT64_MAX || scan->only == record->offset) &&
               tpi_map64_get(&scan->buried, record->offset) == NULL) {
        scan->found = true;
        rc = tell(scan->arena, record, scan->fn, scan->user);
        tpc_arena_reset(scan->arena);
    }
    return rc;
}

static int walk(const struct tpc_bus_ops *ops, void *self, uint32_t partition, uint64_t from,
                uint64_t to, struct scan *scan)
{
    int rc = 0;

    while (rc == 0 && from < to) {
        uint64_t next = from;
        uint64_t left = to - from;
        uint32_t most = left < SCAN_RECORDS ? (uint32_t) left : (uint32_t) SCAN_RECORDS;

        rc = ops->read(self, partition, from, most, 0, on_record, scan, &next);
        if (rc == TPC_EGAP && next > from) {
            rc = 0; /* trimmed meanwhile */
        } else if (rc == 0 && next == from) {
            break;
        }
        from = next;
    }
    return rc;
}

static int scan_partition(const struct tpc_bus_ops *ops, void *self, uint32_t partition,
                          struct scan *scan)
{
    uint64_t first, end, from;
    int rc = ops->range(self, partition, &first, &end);

    if (rc != 0) {
        return rc;
    }
    from = scan->only == UINT64_MAX ? first : scan->only;
    if (from < first || from > end) {
        return 0;
    }
    tpi_map64_init(&scan->buried, scan->alloc);
    scan->collect = true;
    rc = walk(ops, self, partition, from, end, scan);
    scan->collect = false;
    if (rc == 0) {
        rc = walk(ops, self, partition, from, scan->only == UINT64_MAX ? end : from + 1, scan);
    }
    tpi_map64_fini(&scan->buried);
    return rc;
}

static int scan_log(const struct tpc_bus_ops *ops, void *self, uint32_t first, uint32_t end,
                    struct scan *scan)
{
    int rc = tpc_arena_create(scan->alloc, 0, &scan->arena);
    uint32_t p;

    for (p = first; rc == 0 && p < end; p++) {
        rc = scan_partition(ops, self, p, scan);
    }
    tpc_arena_destroy(scan->arena);
    return rc;
}

int tpi_dead_list(const struct tpc_bus_ops *ops, void *self, const struct tpc_allocator *alloc,
                  uint32_t partitions, tpc_dead_letter_fn *fn, void *user)
{
    struct scan scan = { .alloc = alloc, .only = UINT64_MAX, .fn = fn, .user = user };

    return scan_log(ops, self, 0, partitions, &scan);
}

int tpi_dead_find(const struct tpc_bus_ops *ops, void *self, const struct tpc_allocator *alloc,
                  uint32_t partition, uint64_t offset, tpc_dead_letter_fn *fn, void *user)
{
    struct scan scan = { .alloc = alloc, .only = offset, .fn = fn, .user = user };
    int rc =
        offset == UINT64_MAX ? TPC_ENOENT : scan_log(ops, self, partition, partition + 1, &scan);

    return rc == 0 && !scan.found ? TPC_ENOENT : rc;
}

static int ignore(void *user, const struct tpc_dead_letter *letter)
{
    (void) user;
    (void) letter;
    return 0;
}

int tpi_dead_bury(const struct tpc_bus_ops *ops, void *self, const struct tpc_allocator *alloc,
                  uint32_t partition, uint64_t offset, int64_t unix_ms, struct tpc_error *err)
{
    struct tpc_record record;
    struct tpi_buf body;
    uint64_t sequence;
    int rc = tpi_dead_find(ops, self, alloc, partition, offset, ignore, NULL);

    if (rc != 0) {
        return tpi_error_set(err, rc, "log", "no dead letter at %u:%llu", partition,
                             (unsigned long long) offset);
    }
    tpi_buf_init(&body, alloc, 0);
    rc = tpi_dead_encode_tombstone(partition, offset, &body);
    if (rc != 0) {
        rc = tpi_error_set(err, rc, "log", "out of memory");
    } else {
        memset(&record, 0, sizeof(record));
        record.size = (uint32_t) sizeof(record);
        record.kind = TPI_MSG_TOMBSTONE;
        record.partition = partition;
        record.unix_ms = unix_ms;
        record.received_unix_ms = unix_ms;
        record.body.ptr = body.ptr;
        record.body.len = body.len;
        rc = ops->append(self, &record, 1, sizeof(record), 0, err, &sequence);
    }
    tpi_buf_fini(&body);
    return rc;
}
