/* Dead letters: listing, a second try, taking off the list. */
#include "bus/dead.h"
#include "data/member.h"

#include <string.h>
#include <tpcore/stream.h>

#include "core/core.h"

enum { LETTER_ARENA_BYTES = 128 << 20 };

int tpc_dead_letters(struct tpc_core *core, tpc_dead_letter_fn *fn, void *user)
{
    if (core == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or fn is NULL");
    }
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "core", "the core is not started");
    }
    return tpi_dead_list(core->bus, core->bus_self, core->env.alloc, core->options.partitions, fn,
                         user);
}

struct burial {
    uint32_t partition;
    uint64_t offset;
    struct tpc_error *err;
    uint64_t sequence;
};

static int bury(struct tpi_worker *w, void *user)
{
    struct burial *b = user;
    struct tpc_core *core = w->core;
    struct tpi_buf body;
    struct tpc_record r = { .size = sizeof(r),
                            .kind = TPI_MSG_TOMBSTONE,
                            .partition = b->partition,
                            .unix_ms = tpi_unix_ms(&core->env) };
    tpi_buf_init(&body, core->env.alloc, 0);
    int rc = tpi_dead_encode_tombstone(b->partition, b->offset, &body);
    r.received_unix_ms = r.unix_ms;
    r.body = (struct tpc_bytes){ body.ptr, body.len };
    rc = rc != 0 ? rc : tpi_log_append(w, &r, 1, 0, b->err);
    tpi_buf_fini(&body);
    b->sequence = w->sequence;
    return rc;
}

static int purge(struct tpc_core *core, uint32_t partition, uint64_t offset)
{
    struct burial b = { partition, offset, tpi_fail_begin(), 0 };
    bool inside = tpi_worker_current(core) != NULL;
    int rc = tpi_worker_call(tpi_worker_of(core, partition), bury, &b);
    if (rc == 0 && !inside) {
        rc = tpi_flush_wait(core, b.sequence, b.err);
    }
    rc = rc == TPC_ESTATE || rc == TPC_ENOSPC ? TPC_EAGAIN : rc;
    return tpi_fail_end(rc);
}

/* Whether it is there: a find that looks at nothing. */
static int seen(void *user, const struct tpc_dead_letter *letter)
{
    (void) user;
    (void) letter;
    return 0;
}

static int check(struct tpc_core *core, uint32_t partition, uint64_t offset)
{
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core is NULL");
    }
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "core", "the core is not started");
    }
    int rc = partition >= core->options.partitions
                 ? TPC_ENOENT
                 : tpi_dead_find(core->bus, core->bus_self, core->env.alloc, partition, offset,
                                 seen, NULL);
    return rc == 0 ? 0
                   : tpi_fail(rc, "core", "no dead letter %u/%llu", (unsigned) partition,
                              (unsigned long long) offset);
}

int tpc_dead_letter_purge(struct tpc_core *core, uint32_t partition, uint64_t offset)
{
    int rc = check(core, partition, offset);
    return rc != 0 ? rc : purge(core, partition, offset);
}

/* ---- a second try ---- */

struct redrive {
    struct tpc_core *core;
    uint64_t offset;
    struct tpc_arena *arena;
    int rc;
};

static int feed_again(struct tpc_core *core, const struct tpc_msg *m)
{
    if (tpi_member_text(&m->params, "target").len > 0) {
        return TPC_EUNSUPPORTED; /* what a target could not deliver is in the log already */
    }
    struct tpc_frame frame = {
        .size = sizeof(frame),
        .kind = (uint16_t) tpi_member_int(&m->params, "frame_kind", 0),
        .flags = (uint16_t) (tpi_member_int(&m->params, "frame_flags", 0) & ~TPC_FRAME_REDELIVERED),
        .unix_ms = tpi_member_int(&m->params, "unix_ms", 0),
        .device = tpi_member_text(&m->params, "device"),
        .topic = tpi_member_text(&m->params, "topic"),
        .name = tpi_member_text(&m->params, "name"),
        .correlation = tpi_member_text(&m->params, "correlation"),
        .payload = m->raw,
    };
    struct tpi_feed feed = { .tenant = tpi_member_text(&m->params, "tenant"),
                             .partition = m->partition };
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_find(core->registry, feed.tenant, frame.device);
    feed.device = d != NULL ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(core->registry);
    if (feed.device != NULL) {
        feed.partition = feed.device->partition;
    }
    int rc = tpi_feed_put(core, &feed, &frame);
    tpi_device_unref(feed.device);
    return rc;
}

static int redrive_one(void *user, const struct tpc_record *r)
{
    struct redrive *x = user;
    struct tpc_msg m;
    if (r->offset != x->offset || r->kind != TPC_MSG_DEAD_LETTER) {
        return 1;
    }
    x->rc = tpi_record_msg(x->core, r, x->arena, &m, NULL);
    x->rc = x->rc != 0 ? x->rc : feed_again(x->core, &m);
    return 1;
}

int tpc_dead_letter_redrive(struct tpc_core *core, uint32_t partition, uint64_t offset)
{
    int rc = check(core, partition, offset);
    if (rc != 0) {
        return rc;
    }
    struct redrive x = { .core = core, .offset = offset, .rc = TPC_ENOENT };
    uint64_t next;
    rc = tpc_arena_create(core->env.alloc, LETTER_ARENA_BYTES, &x.arena);
    if (rc == 0) {
        (void) core->bus->read(core->bus_self, partition, offset, 1, 0, redrive_one, &x, &next);
        rc = x.rc;
        tpc_arena_destroy(x.arena);
    }
    if (rc != 0) {
        return tpi_fail(rc, "core", "the letter is not queued: %s", tpc_error_name(rc));
    }
    return purge(core, partition, offset);
}
