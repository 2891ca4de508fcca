/*
 * Engine "memory": the tape alone. Its oldest chunk goes when the bounds are passed, unless a hold
 * cursor needs it: then append() answers TPC_EAGAIN.
 */
#include "bus/bus.h"
#include "bus/base.h"
#include "bus/settings.h"

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"

#include <pthread.h>
#include <string.h>

struct memory_log {
    struct tpi_bus_base base;
    const struct tpc_host *host;
    void *ctx;
    bool locks; /* base.lock was made */
    uint64_t max_bytes;
    uint64_t max_age_ms;
    uint64_t record_max;
    struct tpc_id log_id;
    int64_t created_unix_ms;
    uint64_t refused;
    uint64_t trimmed;
};

static const struct tpc_option memory_options[] = {
    { .name = "max_bytes",
      .type = TPC_OPT_SIZE,
      .def = "64MiB",
      .min = 1 << 20,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "Records are kept up to this size; what a hold cursor needs is never dropped." },
    { .name = "max_age",
      .type = TPC_OPT_DURATION,
      .def = "7d",
      .min = 1000,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "Records older than this are dropped once no hold cursor needs them." },
    { .name = "max_record",
      .type = TPC_OPT_SIZE,
      .def = "1MiB",
      .min = 1024,
      .max = 16 << 20,
      .since = "0.1",
      .help = "The largest record." },
};

enum { CHUNK_MIN = 64 << 10, CHUNK_MAX = 256 << 10 };

static int64_t now_ms(const struct memory_log *log)
{
    return log->host->clock->unix_ms(log->host->clock->user);
}

static void memory_fini(void *self)
{
    struct memory_log *log = self;

    if (log->host == NULL) {
        return;
    }
    if (log->base.ends != NULL) {
        tpi_free(log->host->allocator, log->base.ends,
                 (size_t) log->base.cursors.partitions * sizeof(uint64_t));
        log->base.ends = NULL;
    }
    tpi_cursors_fini(&log->base.cursors);
    if (log->base.tape.alloc != NULL) {
        tpi_tape_fini(&log->base.tape);
    }
    if (log->locks) {
        pthread_mutex_destroy(&log->base.lock);
        log->locks = false;
    }
    log->host = NULL;
}

static int memory_init(void *self, const struct tpc_host *host, void *ctx,
                       const struct tpc_value *cfg, uint32_t partitions)
{
    struct memory_log *log = self;
    struct tpi_env env;
    uint64_t chunk;
    int rc;

    if (partitions == 0 || partitions > TPI_LOG_PARTITIONS_MAX) {
        return host->fail(ctx, TPC_EINVAL, "%u partitions: 1 to %d", partitions,
                          (int) TPI_LOG_PARTITIONS_MAX);
    }
    log->host = host;
    log->ctx = ctx;
    log->max_bytes = tpi_setting_size(cfg, "max_bytes", 64 << 20);
    log->max_age_ms = tpi_setting_size(cfg, "max_age", 7 * 86400 * 1000LL);
    log->record_max = tpi_setting_size(cfg, "max_record", 1 << 20);
    chunk = log->max_bytes / 16;
    chunk = chunk < CHUNK_MIN ? CHUNK_MIN : chunk > CHUNK_MAX ? CHUNK_MAX : chunk;
    tpi_env_default(&env);
    env.clock = host->clock;
    env.random = host->random;
    if (pthread_mutex_init(&log->base.lock, NULL) != 0) {
        log->host = NULL;
        return host->fail(ctx, TPC_ENOMEM, "out of memory");
    }
    log->locks = true;
    tpi_cursors_init(&log->base.cursors, host->allocator, partitions, true);
    log->base.ends = tpi_alloc_array(host->allocator, partitions, sizeof(uint64_t));
    rc = tpi_tape_init(&log->base.tape, host->allocator, partitions, (uint32_t) chunk);
    if (rc != 0 || log->base.ends == NULL) {
        memory_fini(log);
        return host->fail(ctx, TPC_ENOMEM, "out of memory");
    }
    rc = tpi_id_make(&env, &log->log_id);
    if (rc != 0) {
        memory_fini(log);
        return host->fail(ctx, rc, "no randomness for the log's id");
    }
    log->created_unix_ms = now_ms(log);
    return 0;
}

/* Moves the lossy cursors that are past their own bounds. */
static void lift_lossy(struct memory_log *log, int64_t now)
{
    struct tpi_cursors *cs = &log->base.cursors;
    uint32_t i;

    for (i = 0; i < cs->count; i++) {
        struct tpi_cursor *c = cs->list[i];
        const struct tpi_chunk *chunk = log->base.tape.newest;
        uint64_t bytes = 0;

        if (c == NULL || c->cursor_class != TPC_CURSOR_LOSSY || chunk == NULL) {
            continue;
        }
        for (; chunk->older != NULL; chunk = chunk->older) {
            const struct tpi_chunk *older = chunk->older;

            bytes += chunk->len;
            if ((c->max_bytes != 0 && bytes + older->len > c->max_bytes) ||
                (c->max_age_ms != 0 && now - older->last_unix_ms > (int64_t) c->max_age_ms)) {
                break;
            }
        }
        tpi_cursors_lift(cs, c, chunk->offsets);
    }
}

/* Whether there is an oldest chunk that may go. */
static bool oldest_is_free(struct memory_log *log)
{
    const struct tpi_chunk *next = log->base.tape.oldest->newer;

    return next != NULL && !tpi_cursors_hold(&log->base.cursors, next->offsets, true);
}

static void memory_trim_locked(struct memory_log *log, uint64_t more_bytes)
{
    struct tpi_tape *t = &log->base.tape;
    int64_t now = now_ms(log);

    while (t->oldest != NULL && t->oldest->newer != NULL &&
           (t->bytes + more_bytes > log->max_bytes ||
            now - t->oldest->last_unix_ms > (int64_t) log->max_age_ms) &&
           oldest_is_free(log)) {
        tpi_tape_drop(t);
        log->trimmed++;
    }
    lift_lossy(log, now);
}

/* Room for a frame: an old chunk goes first. */
static int make_room(struct memory_log *log, size_t bytes, uint32_t flags, int64_t now,
                     struct tpc_error *err)
{
    struct tpi_tape *t = &log->base.tape;
    uint64_t more = bytes > t->chunk_bytes ? bytes : t->chunk_bytes;
    bool begun;
    int rc;

    if (t->newest == NULL || t->newest->cap - t->newest->len < bytes) {
        memory_trim_locked(log, more);
        if (t->bytes + more > log->max_bytes && t->oldest != NULL && t->oldest->newer != NULL &&
            (flags & TPC_APPEND_RESERVE) == 0 && !oldest_is_free(log)) {
            log->refused++;
            return tpi_error_set(err, TPC_EAGAIN, "log", "full: a cursor has not read it yet");
        }
    }
    rc = tpi_tape_room(t, bytes, now, &begun);
    if (rc != 0) {
        return tpi_error_set(err, rc, "log", "out of memory");
    }
    return 0;
}

static int memory_append(void *self, struct tpc_record *records, uint32_t count, size_t record_size,
                         uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence)
{
    struct memory_log *log = self;
    int64_t now = now_ms(log);
    size_t bytes;
    int rc = tpi_tape_measure(&log->base.tape, records, count, record_size, log->record_max, err,
                              &bytes);

    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&log->base.lock);
    if (count > 0) {
        rc = make_room(log, bytes, flags, now, err);
        if (rc == 0 && tpi_tape_links(&log->base.tape, count) != 0) {
            rc = tpi_error_set(err, TPC_ENOMEM, "log", "out of memory");
        }
        if (rc == 0) {
            tpi_tape_append(&log->base.tape, records, count, record_size, now);
        }
    }
    if (rc == 0) {
        *ret_sequence = log->base.tape.sequence;
    }
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}

static int memory_flush(void *self, uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence)
{
    struct memory_log *log = self;

    (void) flags;
    (void) err;
    pthread_mutex_lock(&log->base.lock);
    *ret_sequence = log->base.tape.sequence;
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static int memory_read(void *self, uint32_t partition, uint64_t from, uint32_t max_records,
                       uint32_t flags, tpc_record_fn *fn, void *user, uint64_t *ret_next)
{
    struct memory_log *log = self;
    bool first = true;
    int rc = 0;

    (void) flags;
    if (partition >= log->base.tape.partitions) {
        return TPC_EINVAL;
    }
    while (rc == 0 && max_records > 0) {
        struct tpi_tape_view view;
        uint32_t at;

        pthread_mutex_lock(&log->base.lock);
        rc = tpi_tape_seek(&log->base.tape, partition, from, UINT64_MAX, &view);
        if (rc == TPC_EGAP) {
            /* What went while this call was under way is a gap for the next one. */
            rc = first ? TPC_EGAP : 0;
            from = first ? tpi_tape_first(&log->base.tape, partition) : from;
        }
        pthread_mutex_unlock(&log->base.lock);
        if (rc != 1) {
            break;
        }
        first = false;
        rc = tpi_tape_read(&view, partition, &from, &max_records, fn, user, &at);
        pthread_mutex_lock(&log->base.lock);
        tpi_tape_leave(&log->base.tape, partition, &view, at, from);
        pthread_mutex_unlock(&log->base.lock);
        if (view.after == 0 && at >= view.end) {
            break; /* all that there was */
        }
    }
    *ret_next = from;
    return rc;
}

static int memory_range(void *self, uint32_t partition, uint64_t *ret_first, uint64_t *ret_end)
{
    struct memory_log *log = self;

    if (partition >= log->base.tape.partitions) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&log->base.lock);
    *ret_first = tpi_tape_first(&log->base.tape, partition);
    *ret_end = log->base.tape.parts[partition].next;
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static uint64_t first_kept(const struct tpi_bus_base *b, uint32_t partition)
{
    return tpi_tape_first(&b->tape, partition);
}

static int memory_cursor_open(void *self, const struct tpc_cursor_options *o, struct tpc_error *err,
                              uint32_t *ret_cursor)
{
    return tpi_bus_cursor_open(self, o, first_kept, err, ret_cursor);
}

static int memory_commit(void *self, uint32_t cursor, uint32_t partition, uint64_t offset,
                         uint32_t flags)
{
    (void) flags; /* what is in memory is as safe as it gets */
    return tpi_bus_commit(self, cursor, partition, offset);
}

static int memory_trim(void *self)
{
    struct memory_log *log = self;

    pthread_mutex_lock(&log->base.lock);
    memory_trim_locked(log, 0);
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static int memory_info(void *self, struct tpc_bus_info *ret)
{
    struct memory_log *log = self;

    memset(ret, 0, sizeof(*ret));
    ret->size = (uint32_t) sizeof(*ret);
    ret->partitions = log->base.tape.partitions;
    ret->log_id = log->log_id;
    ret->created_unix_ms = log->created_unix_ms;
    pthread_mutex_lock(&log->base.lock);
    ret->appended_sequence = log->base.tape.sequence;
    ret->flushed_sequence = log->base.tape.sequence;
    ret->bytes =
        log->base.tape.oldest == NULL ? 0 : log->base.tape.pos - log->base.tape.oldest->start;
    ret->refused = log->refused;
    ret->trimmed_segments = log->trimmed;
    ret->max_bytes = log->max_bytes;
    ret->max_age_ms = log->max_age_ms;
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static int memory_segments(void *self, tpc_segment_info_fn *fn, void *user)
{
    struct memory_log *log = self;
    const struct tpi_chunk *c;
    int rc = 0;

    pthread_mutex_lock(&log->base.lock);
    for (c = log->base.tape.oldest; rc == 0 && c != NULL; c = c->newer) {
        struct tpc_segment_info info;

        memset(&info, 0, sizeof(info));
        info.size = (uint32_t) sizeof(info);
        info.number = c->id;
        info.bytes = c->len;
        info.records =
            (c->newer != NULL ? c->newer->sequence : log->base.tape.sequence + 1) - c->sequence;
        info.first_unix_ms = c->first_unix_ms;
        info.last_unix_ms = c->last_unix_ms;
        rc = fn(user, &info);
    }
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}

const struct tpc_bus_ops tpi_bus_memory = {
    .iface = TPC_IFACE(struct tpc_bus_ops, 1),
    .name = "memory",
    .instance_size = sizeof(struct memory_log),
    .options = TPC_OPTIONS(memory_options),
    .init = memory_init,
    .fini = memory_fini,
    .append = memory_append,
    .flush = memory_flush,
    .read = memory_read,
    .range = memory_range,
    .cursor_open = memory_cursor_open,
    .cursor_position = tpi_bus_cursor_position,
    .commit = memory_commit,
    .cursor_close = tpi_bus_cursor_close,
    .raise_end = tpi_bus_raise_end,
    .trim = memory_trim,
    .info = memory_info,
    .cursors = tpi_bus_cursors,
    .segments = memory_segments,
};
