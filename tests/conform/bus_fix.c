#include "bus_fix.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    struct bus_fix *f = ctx;
    va_list args;

    va_start(args, fmt);
    vsnprintf(f->fail_text, sizeof(f->fail_text), fmt, args);
    va_end(args);
    f->fail_code = code;
    return code;
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    struct bus_fix *f = ctx;
    char text[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    tpi_log(&f->env.env, level, "log", "%s", text);
}

/* What the tests see of syncs is the kit's record of them: waiting for the real disk tells nothing.
 */
static int no_sync(void *user, void *file, int *native)
{
    (void) user;
    (void) file;
    (void) native;
    return 0;
}

static int no_sync_dir(void *user, const char *path, int *native)
{
    (void) user;
    (void) path;
    (void) native;
    return 0;
}

void bus_prepare(struct bus_fix *f, const struct tpc_bus_ops *ops, uint32_t partitions)
{
    static unsigned serial;

    memset(f, 0, sizeof(*f));
    tk_env_init(&f->env);
    f->quick = *f->env.files.inner;
    f->quick.sync = no_sync;
    f->quick.sync_dir = no_sync_dir;
    f->env.files.inner = &f->quick;
    f->host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                                 .allocator = &f->env.alloc.base,
                                 .clock = &f->env.clock.base,
                                 .random = &f->env.random,
                                 .files = &f->env.files.base,
                                 .fail = host_fail,
                                 .log = host_log };
    f->ops = ops;
    f->partitions = partitions;
    snprintf(f->dir, sizeof(f->dir), "%s/log%u", tk_tmpdir(), serial++);
    f->cfg.type = TPC_MAP;
    f->cfg.as.members = f->members;
    bus_set_text(f, "dir", f->dir);
    bus_set(f, "reserve", 0);
    f->self = calloc(1, ops->instance_size);
}

static struct tpc_value *member(struct bus_fix *f, const char *name)
{
    size_t i;

    for (i = 0; i < f->cfg.len; i++) {
        if (tpc_str_equal(f->members[i].key, tpc_str_from(name)) != 0) {
            return &f->members[i].value;
        }
    }
    ck_assert_uint_lt(i, BUS_MEMBERS);
    f->members[i].key = tpc_str_from(name);
    f->cfg.len++;
    return &f->members[i].value;
}

void bus_set(struct bus_fix *f, const char *name, int64_t value)
{
    *member(f, name) = (struct tpc_value){ .type = TPC_INT, .as.i = value };
}

void bus_set_text(struct bus_fix *f, const char *name, const char *text)
{
    *member(f, name) = (struct tpc_value){ .type = TPC_TEXT, .len = strlen(text), .as.text = text };
}

int bus_open(struct bus_fix *f)
{
    memset(f->self, 0, f->ops->instance_size);
    return f->ops->init(f->self, &f->host, f, &f->cfg, f->partitions);
}

void bus_close(struct bus_fix *f)
{
    f->ops->fini(f->self);
}

void bus_done(struct bus_fix *f)
{
    free(f->self);
    f->self = NULL;
    tk_env_fini(&f->env);
}

struct tpc_bytes bus_body(uint8_t *room, uint32_t partition, uint64_t offset, size_t len)
{
    size_t i;

    tpi_put_u32(room, partition);
    tpi_put_u64(room + 4, offset);
    for (i = 12; i < len; i++) {
        room[i] = (uint8_t) (offset * 7 + i);
    }
    return (struct tpc_bytes){ room, len };
}

static void make_record(struct bus_fix *f, struct tpc_record *r, uint8_t *room, uint32_t partition,
                        uint64_t offset)
{
    int64_t now = f->env.clock.base.unix_ms(f->env.clock.base.user);

    memset(r, 0, sizeof(*r));
    r->size = (uint32_t) sizeof(*r);
    r->kind = (uint16_t) (100 + offset % 20);
    r->flags = (uint16_t) (offset % 16);
    r->partition = partition;
    r->model_revision = (uint32_t) (offset % 5);
    r->device_id = offset * 3 + partition;
    r->unix_ms = now - (int64_t) (offset % 1000);
    r->received_unix_ms = now;
    if (offset % 3 == 0) {
        memset(r->trace.b, (int) (1 + offset % 200), sizeof(r->trace.b));
    }
    r->body = bus_body(room, partition, offset, BUS_BODY);
}

int bus_put(struct bus_fix *f, uint32_t partition, uint32_t count, uint64_t *ret_sequence)
{
    struct tpc_record *records = calloc(count + 1, sizeof(*records));
    uint8_t *room = malloc((size_t) count * BUS_BODY + 1);
    uint64_t first, end, sequence = 0;
    uint32_t i;
    int rc;

    ck_assert(records != NULL && room != NULL);
    tk_ok(f->ops->range(f->self, partition, &first, &end));
    for (i = 0; i < count; i++) {
        make_record(f, &records[i], room + (size_t) i * BUS_BODY, partition, end + i);
    }
    rc = f->ops->append(f->self, records, count, sizeof(*records), 0, NULL, &sequence);
    for (i = 0; i < count && rc == 0; i++) {
        ck_assert_uint_eq(records[i].offset, end + i);
    }
    free(records);
    free(room);
    if (rc == 0 && ret_sequence != NULL) {
        *ret_sequence = sequence;
    }
    return rc;
}

int bus_put_mixed(struct bus_fix *f, uint32_t count)
{
    uint32_t all = count * f->partitions;
    struct tpc_record *records = calloc(all, sizeof(*records));
    uint8_t *room = malloc((size_t) all * BUS_BODY);
    uint64_t first, end, sequence;
    uint32_t i;
    int rc;

    ck_assert(records != NULL && room != NULL);
    for (i = 0; i < all; i++) {
        uint32_t p = i % f->partitions;

        tk_ok(f->ops->range(f->self, p, &first, &end));
        make_record(f, &records[i], room + (size_t) i * BUS_BODY, p, end + i / f->partitions);
    }
    rc = f->ops->append(f->self, records, all, sizeof(*records), 0, NULL, &sequence);
    free(records);
    free(room);
    return rc;
}

uint64_t bus_flush(struct bus_fix *f, uint32_t flags)
{
    uint64_t sequence = 0;

    tk_ok(f->ops->flush(f->self, flags, NULL, &sequence));
    return sequence;
}

int bus_check_record(void *user, const struct tpc_record *r)
{
    struct bus_seen *seen = user;
    uint8_t room[BUS_BODY];

    ck_assert_uint_eq(r->partition, seen->partition);
    ck_assert_uint_eq(r->body.len, BUS_BODY);
    bus_body(room, r->partition, r->offset, BUS_BODY);
    ck_assert_mem_eq(room, r->body.ptr, BUS_BODY);
    ck_assert_uint_eq(r->kind, 100 + r->offset % 20);
    ck_assert_uint_eq(r->flags, r->offset % 16);
    ck_assert_uint_eq(r->device_id, r->offset * 3 + r->partition);
    ck_assert_uint_eq(r->model_revision, r->offset % 5);
    ck_assert_int_eq(r->received_unix_ms - r->unix_ms, (int64_t) (r->offset % 1000));
    ck_assert_uint_eq(r->trace.b[0], r->offset % 3 == 0 ? 1 + r->offset % 200 : 0);
    if (seen->count == 0) {
        seen->first = r->offset;
    } else {
        ck_assert_uint_gt(r->offset, seen->last);
        seen->jumps += r->offset - seen->last - 1;
    }
    seen->last = r->offset;
    seen->count++;
    return seen->stop_after != 0 && seen->count == seen->stop_after ? 1 : 0;
}

uint64_t bus_read_all(struct bus_fix *f, uint32_t partition, uint64_t from, uint32_t step,
                      uint32_t flags, struct bus_seen *ret)
{
    uint64_t next = from;

    memset(ret, 0, sizeof(*ret));
    ret->partition = partition;
    do {
        from = next;
        tk_ok(f->ops->read(f->self, partition, from, step, flags, bus_check_record, ret, &next));
        ck_assert_uint_ge(next, from);
    } while (next != from);
    return next;
}

uint32_t bus_cursor(struct bus_fix *f, const char *name, uint32_t cursor_class)
{
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = cursor_class,
                                    .name = tpc_str_from(name) };
    uint32_t cursor = 999;

    tk_ok(f->ops->cursor_open(f->self, &o, NULL, &cursor));
    return cursor;
}

uint64_t bus_position(struct bus_fix *f, uint32_t cursor, uint32_t partition)
{
    uint64_t offset = UINT64_MAX;

    tk_ok(f->ops->cursor_position(f->self, cursor, partition, &offset));
    return offset;
}

struct find_cursor {
    const char *name;
    struct tpc_cursor_info info;
};

static int on_cursor(void *user, const struct tpc_cursor_info *info)
{
    struct find_cursor *find = user;

    if (tpc_str_equal(info->name, tpc_str_from(find->name)) != 0) {
        find->info = *info;
    }
    return 0;
}

struct tpc_cursor_info bus_cursor_info(struct bus_fix *f, const char *name)
{
    struct find_cursor find = { .name = name };

    tk_ok(f->ops->cursors(f->self, on_cursor, &find));
    return find.info;
}

struct tpc_bus_info bus_info(struct bus_fix *f)
{
    struct tpc_bus_info info;

    tk_ok(f->ops->info(f->self, &info));
    return info;
}

static int count_segment(void *user, const struct tpc_segment_info *info)
{
    (void) info;
    ++*(uint32_t *) user;
    return 0;
}

uint32_t bus_segments(struct bus_fix *f)
{
    uint32_t n = 0;

    tk_ok(f->ops->segments(f->self, count_segment, &n));
    return n;
}
