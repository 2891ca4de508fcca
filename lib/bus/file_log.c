/*
 * Engine "file": its table, options, appending, and what is asked about it.
 */
#include "bus/file_log.h"

#include "base/alloc.h"
#include "base/error.h"
#include "bus/settings.h"

#include <string.h>

enum {
    RESERVE_PENDING = 1 << 20, /* what appends with RESERVE may have pending over the limit */
    DIR_MAX = TPI_LOG_PATH_MAX - 32,
    SEGMENTS_MIN = 4 /* that max_bytes is room for, or trimming would be too coarse */
};

static const struct tpc_option file_options[] = {
    { .name = "dir",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .max = DIR_MAX,
      .since = "0.1",
      .help = "Folder of the log; made if it is not there." },
    { .name = "ack",
      .type = TPC_OPT_ENUM,
      .def = "written",
      .values = "written|synced",
      .since = "0.1",
      .help =
          "When a record counts as safe: written survives the end of the process, synced a loss "
          "of power." },
    { .name = "sync_interval",
      .type = TPC_OPT_DURATION,
      .def = "0",
      .max = 3600000,
      .since = "0.1",
      .help = "synced: at most one sync in this time (0 = with every flush). written: a sync each "
              "time this has passed (0 = when the system likes)." },
    { .name = "segment_size",
      .type = TPC_OPT_SIZE,
      .def = "64MiB",
      .min = 64 << 10,
      .max = 1 << 30,
      .since = "0.1",
      .help = "Size of a segment's file; at most a quarter of max_bytes is used." },
    { .name = "pending",
      .type = TPC_OPT_SIZE,
      .def = "16MiB",
      .min = 64 << 10,
      .max = 1 << 30,
      .since = "0.1",
      .help = "Records that wait for the disk; when it is full, new ones are refused for now." },
    { .name = "cache",
      .type = TPC_OPT_SIZE,
      .def = "32MiB",
      .min = 0,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "Written records kept in memory for readers that keep up." },
    { .name = "max_bytes",
      .type = TPC_OPT_SIZE,
      .def = "1GiB",
      .min = 1 << 20,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "The log is kept up to this size; what a hold cursor needs is never dropped." },
    { .name = "max_age",
      .type = TPC_OPT_DURATION,
      .def = "7d",
      .min = 1000,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "Segments older than this are dropped once no hold cursor needs them." },
    { .name = "reserve",
      .type = TPC_OPT_SIZE,
      .def = "32MiB",
      .min = 0,
      .max = 1LL << 40,
      .since = "0.1",
      .help = "Disk space kept for cursors, entities and a clean stop when the disk is full." },
    { .name = "max_record",
      .type = TPC_OPT_SIZE,
      .def = "1MiB",
      .min = 1024,
      .max = 16 << 20,
      .since = "0.1",
      .help = "The largest record." },
    { .name = "cursor_interval",
      .type = TPC_OPT_DURATION,
      .def = "1s",
      .max = 3600000,
      .since = "0.1",
      .help = "How long a position that was committed without sync may wait to be saved." },
};

static void log_line(void *user, int level, const char *subject, const char *text)
{
    struct tpi_file_log *log = user;

    (void) subject;
    log->host->log(log->ctx, level, "%s", text);
}

static int read_settings(struct tpi_file_log *log, const struct tpc_value *cfg)
{
    struct tpc_str dir = tpi_setting_text(cfg, "dir");

    if (dir.len == 0 || dir.len > DIR_MAX) {
        return log->host->fail(log->ctx, TPC_EINVAL, "dir: 1 to %d bytes", (int) DIR_MAX);
    }
    log->dir = tpi_str_dup(log->env.alloc, dir);
    if (log->dir == NULL) {
        return log->host->fail(log->ctx, TPC_ENOMEM, "out of memory");
    }
    log->dir_len = dir.len;
    log->synced = tpc_str_equal(tpi_setting_text(cfg, "ack"), TPC_STR("synced")) != 0;
    log->sync_interval_ms = tpi_setting_size(cfg, "sync_interval", 0);
    log->segment_bytes = tpi_setting_size(cfg, "segment_size", 64 << 20);
    log->pending_bytes = tpi_setting_size(cfg, "pending", 16 << 20);
    log->cache_bytes = tpi_setting_size(cfg, "cache", 32 << 20);
    log->max_bytes = tpi_setting_size(cfg, "max_bytes", 1 << 30);
    log->max_age_ms = tpi_setting_size(cfg, "max_age", 7 * 86400 * 1000LL);
    log->reserve_bytes = tpi_setting_size(cfg, "reserve", 32 << 20);
    log->record_max = tpi_setting_size(cfg, "max_record", 1 << 20);
    log->cursor_interval_ms = tpi_setting_size(cfg, "cursor_interval", 1000);
    if (log->segment_bytes > log->max_bytes / SEGMENTS_MIN) {
        log->segment_bytes = log->max_bytes / SEGMENTS_MIN;
    }
    return 0;
}

static void file_release(struct tpi_file_log *log)
{
    const struct tpc_files *files = log->env.files;

    tpi_log_readers_close(log);
    if (log->file != NULL) {
        files->close(files->user, log->file);
        log->file = NULL;
    }
    while (log->segment_count > 0) {
        tpi_log_segment_free(log, log->segments[--log->segment_count]);
    }
    tpi_free(log->env.alloc, log->segments, log->segment_cap * sizeof(*log->segments));
    tpi_free(log->env.alloc, log->base.ends, (size_t) log->base.tape.partitions * sizeof(uint64_t));
    tpi_cursors_fini(&log->base.cursors);
    if (log->base.tape.alloc != NULL) {
        tpi_tape_fini(&log->base.tape);
    }
    if (log->dir != NULL) {
        tpi_free(log->env.alloc, log->dir, log->dir_len + 1);
    }
    if (log->lock_file != NULL) {
        files->close(files->user, log->lock_file);
    }
    if (log->locks) {
        pthread_cond_destroy(&log->changed);
        pthread_mutex_destroy(&log->base.lock);
    }
    memset(log, 0, sizeof(*log));
}

static void file_fini(void *self)
{
    struct tpi_file_log *log = self;
    uint64_t sequence;

    if (log->host == NULL) {
        return;
    }
    if (log->file != NULL) {
        int rc = tpi_log_flush(log, TPC_FLUSH_SYNC, NULL, &sequence);

        if (rc != 0) {
            log->host->log(log->ctx, TPC_LOG_ERROR, "records are lost at the end: %s",
                           tpc_error_name(rc));
        }
    }
    file_release(log);
}

/* The folder and the lock in it. */
static int enter_dir(struct tpi_file_log *log)
{
    const struct tpc_files *files = log->env.files;
    char path[TPI_LOG_PATH_MAX];
    int native = 0;
    int rc = files->make_dir(files->user, log->dir, &native);

    if (rc != 0) {
        return log->host->fail(log->ctx, rc, "cannot make %s (%d)", log->dir, native);
    }
    tpi_log_path(log, "lock", path);
    rc = files->open(files->user, path, TPC_FILE_WRITE | TPC_FILE_CREATE | TPC_FILE_LOCK,
                     &log->lock_file, &native);
    if (rc != 0) {
        log->lock_file = NULL;
        return log->host->fail(log->ctx, rc,
                               rc == TPC_EAGAIN ? "%s is in use by another process (%d)"
                                                : "cannot open the lock in %s (%d)",
                               log->dir, native);
    }
    return 0;
}

static int file_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg, uint32_t partitions)
{
    struct tpi_file_log *log = self;
    int rc;

    if (partitions == 0 || partitions > TPI_LOG_PARTITIONS_MAX) {
        return host->fail(ctx, TPC_EINVAL, "%u partitions: 1 to %d", partitions,
                          (int) TPI_LOG_PARTITIONS_MAX);
    }
    log->host = host;
    log->ctx = ctx;
    tpi_env_default(&log->env);
    log->env.alloc = host->allocator;
    log->env.clock = host->clock;
    log->env.random = host->random;
    log->env.files = host->files;
    log->env.log = log_line;
    log->env.log_user = log;
    if (pthread_mutex_init(&log->base.lock, NULL) != 0) {
        log->host = NULL;
        return host->fail(ctx, TPC_ENOMEM, "out of memory");
    }
    if (pthread_cond_init(&log->changed, NULL) != 0) {
        pthread_mutex_destroy(&log->base.lock);
        log->host = NULL;
        return host->fail(ctx, TPC_ENOMEM, "out of memory");
    }
    log->locks = true;
    rc = read_settings(log, cfg);
    rc = rc != 0 ? rc : enter_dir(log);
    rc = rc != 0 ? rc : tpi_log_open(log, partitions);
    if (rc != 0) {
        file_release(log);
        return rc;
    }
    log->flushed_sequence = log->base.tape.sequence;
    log->written_sequence = log->base.tape.sequence;
    log->synced_sequence = log->base.tape.sequence;
    log->last_sync_ns = tpi_mono_ns(&log->env);
    log->last_save_ns = log->last_sync_ns;
    tpi_log_reserve_make(log);
    log->low_checked_ns = tpi_mono_ns(&log->env);
    return 0;
}

/* ---- append ---- */

/* Begins a segment: its header goes the same way as the frames. */
static int begin_segment(struct tpi_file_log *log, size_t bytes, int64_t now)
{
    uint32_t header_bytes = tpi_segment_header_bytes(log->base.tape.partitions);
    struct tpi_segment_header h = { 0 };
    struct tpi_log_segment *s = tpi_log_segment_add(log, tpi_log_segment_last(log)->number + 1);
    struct tpi_chunk *c;
    uint32_t p;

    if (s == NULL) {
        return TPC_ENOMEM;
    }
    if (tpi_tape_begin(&log->base.tape, header_bytes + bytes, now) != 0) {
        log->segment_count--;
        tpi_log_segment_free(log, s);
        return TPC_ENOMEM;
    }
    for (p = 0; p < log->base.tape.partitions; p++) {
        s->offsets[p] = log->base.tape.parts[p].next;
    }
    s->first_sequence = log->base.tape.sequence + 1;
    s->header_bytes = header_bytes;
    s->bytes = header_bytes;
    s->first_unix_ms = now;
    s->last_unix_ms = now;
    s->index.whole = true;
    h.partitions = log->base.tape.partitions;
    h.log_id = log->log_id;
    h.log_unix_ms = log->created_unix_ms;
    h.number = s->number;
    h.unix_ms = now;
    h.first_sequence = s->first_sequence;
    c = log->base.tape.newest;
    tpi_segment_header_write(&h, s->offsets, c->data);
    c->segment = s->number;
    c->segment_at = 0;
    c->len = header_bytes;
    c->first_frame = header_bytes;
    log->base.tape.pos += header_bytes;
    log->bytes += header_bytes;
    return 0;
}

/* A segment ends when it is full, or so old that max_age could not drop the records in time. */
static bool segment_is_over(const struct tpi_file_log *log, size_t bytes, int64_t now)
{
    const struct tpi_log_segment *s = tpi_log_segment_last(log);

    return s->bytes > s->header_bytes &&
           (s->bytes + bytes > log->segment_bytes ||
            now - s->first_unix_ms > (int64_t) (log->max_age_ms / SEGMENTS_MIN));
}

static int make_room(struct tpi_file_log *log, size_t bytes, uint32_t count, int64_t now)
{
    bool begun = false;
    int rc = tpi_tape_links(&log->base.tape, count);

    if (rc != 0) {
        return rc;
    }
    if (segment_is_over(log, bytes, now)) {
        return begin_segment(log, bytes, now);
    }
    rc = tpi_tape_room(&log->base.tape, bytes, now, &begun);
    if (rc == 0 && begun) {
        const struct tpi_log_segment *s = tpi_log_segment_last(log);

        log->base.tape.newest->segment = s->number;
        log->base.tape.newest->segment_at = s->bytes;
    }
    return rc;
}

/* Whether the limits let a batch in. */
static int admit(struct tpi_file_log *log, size_t bytes, uint32_t flags, struct tpc_error *err)
{
    bool reserve = (flags & TPC_APPEND_RESERVE) != 0;
    uint64_t pending = log->base.tape.pos - log->flushed_pos;
    uint64_t limit = log->pending_bytes + (reserve ? (uint64_t) RESERVE_PENDING : 0U);

    if (log->low && !reserve) {
        return tpi_error_set(err, TPC_ENOSPC, "log", "no space left in %s", log->dir);
    }
    if (pending > 0 && pending + bytes > limit) {
        return tpi_error_set(err, TPC_EAGAIN, "log", "%llu bytes wait for the disk",
                             (unsigned long long) pending);
    }
    if (!reserve && tpi_log_is_held(log, bytes)) {
        tpi_log_want_save(log);
        return tpi_error_set(err, TPC_EAGAIN, "log", "full: a cursor has not read it yet");
    }
    return 0;
}

static int file_append(void *self, struct tpc_record *records, uint32_t count, size_t record_size,
                       uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence)
{
    struct tpi_file_log *log = self;
    int64_t now = tpi_unix_ms(&log->env);
    size_t bytes;
    bool look;
    int rc = tpi_tape_measure(&log->base.tape, records, count, record_size, log->record_max, err,
                              &bytes);

    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&log->base.lock);
    look = log->low && (flags & TPC_APPEND_RESERVE) == 0;
    if (look) {
        pthread_mutex_unlock(&log->base.lock);
        tpi_log_space_check(log, false);
        pthread_mutex_lock(&log->base.lock);
    }
    if (count > 0) {
        rc = admit(log, bytes, flags, err);
        log->refused += rc != 0 ? 1 : 0;
        if (rc == 0 && make_room(log, bytes, count, now) != 0) {
            rc = tpi_error_set(err, TPC_ENOMEM, "log", "out of memory");
        }
    }
    if (rc == 0 && count > 0) {
        struct tpi_log_segment *s = tpi_log_segment_last(log);
        uint32_t length;

        tpi_log_index_append(log, s, s->bytes);
        length = tpi_tape_append(&log->base.tape, records, count, record_size, now);
        s->bytes += length;
        s->last_unix_ms = now;
        log->bytes += length;
    }
    if (rc == 0) {
        *ret_sequence = log->base.tape.sequence;
    }
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}

static int file_flush(void *self, uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence)
{
    return tpi_log_flush(self, flags, err, ret_sequence);
}

/* ---- positions ---- */

static int file_range(void *self, uint32_t partition, uint64_t *ret_first, uint64_t *ret_end)
{
    struct tpi_file_log *log = self;

    if (partition >= log->base.tape.partitions) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&log->base.lock);
    *ret_first = log->segments[0]->offsets[partition];
    *ret_end = log->base.tape.parts[partition].next;
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static uint64_t first_kept(const struct tpi_bus_base *b, uint32_t partition)
{
    const struct tpi_file_log *log = (const struct tpi_file_log *) (const void *) b;

    return log->segments[0]->offsets[partition];
}

static int file_cursor_open(void *self, const struct tpc_cursor_options *o, struct tpc_error *err,
                            uint32_t *ret_cursor)
{
    return tpi_bus_cursor_open(self, o, first_kept, err, ret_cursor);
}

static int file_commit(void *self, uint32_t cursor, uint32_t partition, uint64_t offset,
                       uint32_t flags)
{
    int rc = tpi_bus_commit(self, cursor, partition, offset);

    return rc == 0 && (flags & TPC_FLUSH_SYNC) != 0 ? tpi_log_cursors_save(self) : rc;
}

static int file_trim(void *self)
{
    struct tpi_file_log *log = self;

    tpi_log_space_check(log, true);
    tpi_log_trim(log);
    return 0;
}

/* ---- what is asked ---- */

static int file_info(void *self, struct tpc_bus_info *ret)
{
    struct tpi_file_log *log = self;

    memset(ret, 0, sizeof(*ret));
    ret->size = (uint32_t) sizeof(*ret);
    pthread_mutex_lock(&log->base.lock);
    ret->partitions = log->base.tape.partitions;
    ret->log_id = log->log_id;
    ret->created_unix_ms = log->created_unix_ms;
    ret->appended_sequence = log->base.tape.sequence;
    ret->flushed_sequence = log->flushed_sequence;
    ret->bytes = log->bytes;
    ret->pending_bytes = log->base.tape.pos - log->flushed_pos;
    ret->bad_frames = log->bad_frames;
    ret->bad_bytes = log->bad_bytes;
    ret->torn_bytes = log->torn_bytes;
    ret->refused = log->refused;
    ret->trimmed_segments = log->trimmed;
    ret->max_bytes = log->max_bytes;
    ret->max_age_ms = log->max_age_ms;
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static int file_segments(void *self, tpc_segment_info_fn *fn, void *user)
{
    struct tpi_file_log *log = self;
    uint32_t i;
    int rc = 0;

    pthread_mutex_lock(&log->base.lock);
    for (i = 0; rc == 0 && i < log->segment_count; i++) {
        const struct tpi_log_segment *s = log->segments[i];
        struct tpc_segment_info info;

        memset(&info, 0, sizeof(info));
        info.size = (uint32_t) sizeof(info);
        info.number = s->number;
        info.bytes = s->bytes;
        info.records = (i + 1 < log->segment_count ? log->segments[i + 1]->first_sequence
                                                   : log->base.tape.sequence + 1) -
                       s->first_sequence;
        info.first_unix_ms = s->first_unix_ms;
        info.last_unix_ms = s->last_unix_ms;
        rc = fn(user, &info);
    }
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}

const struct tpc_bus_ops tpi_bus_file = {
    .iface = TPC_IFACE(struct tpc_bus_ops, 1),
    .name = "file",
    .instance_size = sizeof(struct tpi_file_log),
    .options = TPC_OPTIONS(file_options),
    .init = file_init,
    .fini = file_fini,
    .append = file_append,
    .flush = file_flush,
    .read = tpi_log_read,
    .range = file_range,
    .cursor_open = file_cursor_open,
    .cursor_position = tpi_bus_cursor_position,
    .commit = file_commit,
    .cursor_close = tpi_bus_cursor_close,
    .raise_end = tpi_bus_raise_end,
    .trim = file_trim,
    .info = file_info,
    .cursors = tpi_bus_cursors,
    .segments = file_segments,
    .shrink = tpi_log_shrink,
};
