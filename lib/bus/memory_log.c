/*
 * Engine "memory": the tape alone. Its oldest chunk goes when the bounds are passed, unless a hold
 * cursor needs it: then append() answers TPC_EAGAIN.
 */
#include "bus/bus.h"
#include "bus/cursor.h"
#include "bus/settings.h"
#include "bus/tape.h"

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"

#include <pthread.h>
#include <string.h>

struct memory_log {
    const struct tpc_host *host;
    void *ctx;
    pthread_mutex_t lock;
    bool locks; /* lock was made */
    struct tpi_tape tape;
    struct tpi_cursors cursors;
    uint64_t *ends; /* scratch: one for each partition */
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
    if (log->ends != NULL) {
        tpi_free(log->host->allocator, log->ends,
                 (size_t) log->cursors.partitions * sizeof(uint64_t));
        log->ends = NULL;
    }
    tpi_cursors_fini(&log->cursors);
    if (log->tape.alloc != NULL) {
        tpi_tape_fini(&log->tape);
    }
    if (log->locks) {
        pthread_mutex_destroy(&log->lock);
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
    if (pthread_mutex_init(&log->lock, NULL) != 0) {
        log->host = NULL;
        return host->fail(ctx, TPC_ENOMEM, "out of memory");
    }
    log->locks = true;
    tpi_cursors_init(&log->cursors, host->allocator, partitions, true);
    log->ends = tpi_alloc_array(host->allocator, partitions, sizeof(uint64_t));
    rc = tpi_tape_init(&log->tape, host->allocator, partitions, (uint32_t) chunk);
    if (rc != 0 || log->ends == NULL) {
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
    struct tpi_cursors *cs = &log->cursors;
    uint32_t i;

    for (i = 0; i < cs->count; i++) {
        struct tpi_cursor *c = cs->list[i];
        const struct tpi_chunk *chunk = log->tape.newest;
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
    const struct tpi_chunk *next = log->tape.oldest->newer;

    return next != NULL && !tpi_cursors_hold(&log->cursors, next->offsets, true);
}

static void memory_trim_locked(struct memory_log *log, uint64_t more_bytes)
{
    struct tpi_tape *t = &log->tape;
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
    struct tpi_tape *t = &log->tape;
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
    int rc =
        tpi_tape_measure(&log->tape, records, count, record_size, log->record_max, err, &bytes);

    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&log->lock);
    if (count > 0) {
        rc = make_room(log, bytes, flags, now, err);
        if (rc == 0 && tpi_tape_links(&log->tape, count) != 0) {
            rc = tpi_error_set(err, TPC_ENOMEM, "log", "out of memory");
        }
        if (rc == 0) {
            tpi_tape_append(&log->tape, records, count, record_size, now);
        }
    }
    if (rc == 0) {
        *ret_sequence = log->tape.sequence;
    }
    pthread_mutex_unlock(&log->lock);
    return rc;
}

static int memory_flush(void *self, uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence)
{
    struct memory_log *log = self;

    (void) flags;
    (void) err;
    pthread_mutex_lock(&log->lock);
    *ret_sequence = log->tape.sequence;
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static int memory_read(void *self, uint32_t partition, uint64_t from, uint32_t max_records,
                       uint32_t flags, tpc_record_fn *fn, void *user, uint64_t *ret_next)
{
    struct memory_log *log = self;
    bool first = true;
    int rc = 0;

    (void) flags;
    if (partition >= log->tape.partitions) {
        return TPC_EINVAL;
    }
    while (rc == 0 && max_records > 0) {
        struct tpi_tape_view view;
        uint32_t at;

        pthread_mutex_lock(&log->lock);
        rc = tpi_tape_seek(&log->tape, partition, from, UINT64_MAX, &view);
        if (rc == TPC_EGAP) {
            /* What went while this call was under way is a gap for the next one. */
            rc = first ? TPC_EGAP : 0;
            from = first ? tpi_tape_first(&log->tape, partition) : from;
        }
        pthread_mutex_unlock(&log->lock);
        if (rc != 1) {
            break;
        }
        first = false;
        rc = tpi_tape_read(&view, partition, &from, &max_records, fn, user, &at);
        pthread_mutex_lock(&log->lock);
        tpi_tape_leave(&log->tape, partition, &view, at, from);
        pthread_mutex_unlock(&log->lock);
    }
    *ret_next = from;
    return rc;
}

static int memory_range(void *self, uint32_t partition, uint64_t *ret_first, uint64_t *ret_end)
{
    struct memory_log *log = self;

    if (partition >= log->tape.partitions) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&log->lock);
    *ret_first = tpi_tape_first(&log->tape, partition);
    *ret_end = log->tape.parts[partition].next;
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static int memory_cursor_open(void *self, const struct tpc_cursor_options *o, struct tpc_error *err,
                              uint32_t *ret_cursor)
{
    struct memory_log *log = self;
    uint32_t index, p;
    bool fresh;
    int rc;

    pthread_mutex_lock(&log->lock);
    rc = tpi_cursors_open(&log->cursors, o, err, &index, &fresh);
    for (p = 0; rc == 0 && fresh && p < log->tape.partitions; p++) {
        tpi_cursors_place(&log->cursors, log->cursors.list[index], p,
                          o->start == TPC_START_NEWEST ? log->tape.parts[p].next
                                                       : tpi_tape_first(&log->tape, p));
    }
    pthread_mutex_unlock(&log->lock);
    if (rc == 0) {
        *ret_cursor = index;
    }
    return rc;
}

static int memory_cursor_position(void *self, uint32_t cursor, uint32_t partition,
                                  uint64_t *ret_offset)
{
    struct memory_log *log = self;
    const struct tpi_cursor *c;
    int rc = 0;

    pthread_mutex_lock(&log->lock);
    c = tpi_cursors_get(&log->cursors, cursor);
    if (c == NULL || partition >= log->tape.partitions) {
        rc = TPC_EINVAL;
    } else {
        *ret_offset = c->offsets[partition];
    }
    pthread_mutex_unlock(&log->lock);
    return rc;
}

static int memory_commit(void *self, uint32_t cursor, uint32_t partition, uint64_t offset,
                         uint32_t flags)
{
    struct memory_log *log = self;
    struct tpi_cursor *c;
    int rc = 0;

    (void) flags;
    pthread_mutex_lock(&log->lock);
    c = tpi_cursors_get(&log->cursors, cursor);
    if (c == NULL || partition >= log->tape.partitions ||
        offset > log->tape.parts[partition].next) {
        rc = TPC_EINVAL;
    } else {
        tpi_cursors_commit(&log->cursors, c, partition, offset);
    }
    pthread_mutex_unlock(&log->lock);
    return rc;
}

static void memory_cursor_close(void *self, uint32_t cursor, int forget)
{
    struct memory_log *log = self;

    pthread_mutex_lock(&log->lock);
    tpi_cursors_close(&log->cursors, cursor, forget != 0);
    pthread_mutex_unlock(&log->lock);
}

static int memory_raise_end(void *self, uint32_t partition, uint64_t offset)
{
    struct memory_log *log = self;

    if (partition >= log->tape.partitions) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&log->lock);
    if (log->tape.parts[partition].next < offset) {
        log->tape.parts[partition].next = offset;
    }
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static int memory_trim(void *self)
{
    struct memory_log *log = self;

    pthread_mutex_lock(&log->lock);
    memory_trim_locked(log, 0);
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static int memory_info(void *self, struct tpc_bus_info *ret)
{
    struct memory_log *log = self;

    memset(ret, 0, sizeof(*ret));
    ret->size = (uint32_t) sizeof(*ret);
    ret->partitions = log->tape.partitions;
    ret->log_id = log->log_id;
    ret->created_unix_ms = log->created_unix_ms;
    pthread_mutex_lock(&log->lock);
    ret->appended_sequence = log->tape.sequence;
    ret->flushed_sequence = log->tape.sequence;
    ret->bytes = log->tape.oldest == NULL ? 0 : log->tape.pos - log->tape.oldest->start;
    ret->refused = log->refused;
    ret->trimmed_segments = log->trimmed;
    pthread_mutex_unlock(&log->lock);
    return 0;
}

static int memory_cursors(void *self, tpc_cursor_info_fn *fn, void *user)
{
    struct memory_log *log = self;
    uint32_t p;
    int rc;

    pthread_mutex_lock(&log->lock);
    for (p = 0; p < log->tape.partitions; p++) {
        log->ends[p] = log->tape.parts[p].next;
    }
    rc = tpi_cursors_list(&log->cursors, log->ends, fn, user);
    pthread_mutex_unlock(&log->lock);
    return rc;
}

static int memory_segments(void *self, tpc_segment_info_fn *fn, void *user)
{
    struct memory_log *log = self;
    const struct tpi_chunk *c;
    int rc = 0;

    pthread_mutex_lock(&log->lock);
    for (c = log->tape.oldest; rc == 0 && c != NULL; c = c->newer) {
        struct tpc_segment_info info;

        memset(&info, 0, sizeof(info));
        info.size = (uint32_t) sizeof(info);
        info.number = c->id;
        info.bytes = c->len;
        info.records =
            (c->newer != NULL ? c->newer->sequence : log->tape.sequence + 1) - c->sequence;
        info.first_unix_ms = c->first_unix_ms;
        info.last_unix_ms = c->last_unix_ms;
        rc = fn(user, &info);
    }
    pthread_mutex_unlock(&log->lock);
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
    .cursor_position = memory_cursor_position,
    .commit = memory_commit,
    .cursor_close = memory_cursor_close,
    .raise_end = memory_raise_end,
    .trim = memory_trim,
    .info = memory_info,
    .cursors = memory_cursors,
    .segments = memory_segments,
};
