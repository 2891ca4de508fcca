/*
 * Group commit: one caller leads, writes everything that is pending with one write for each
 * segment, and syncs if it has to; the others wait and find their records written.
 */
#include "bus/file_log.h"

#include "base/error.h"

#include <string.h>

/* What one write takes: parts of chunks that follow each other in one segment. */
struct piece {
    struct tpc_bytes parts[TPI_LOG_PARTS];
    uint8_t *frames[TPI_LOG_PARTS]; /* where the first frame of a part begins */
    uint8_t *ends[TPI_LOG_PARTS];
    uint32_t count;
    uint64_t segment;
    uint64_t at; /* in the segment */
    uint64_t bytes;
};

/* Under the lock. Chunks that are not written yet stay where they are until this leader is done. */
static void next_piece(const struct tpi_file_log *log, uint64_t target, struct piece *ret)
{
    struct tpi_chunk *c = log->base.tape.newest;
    uint64_t pos = log->written_pos;

    ret->count = 0;
    ret->bytes = 0;
    while (c->start > pos && c->older != NULL) {
        c = c->older;
    }
    for (; c != NULL && ret->count < TPI_LOG_PARTS && pos < target; c = c->newer) {
        uint64_t from = pos - c->start;
        uint64_t to = target - c->start < c->len ? target - c->start : c->len;

        if (from >= to) {
            continue;
        }
        if (ret->count == 0) {
            ret->segment = c->segment;
            ret->at = c->segment_at + from;
        } else if (c->segment != ret->segment) {
            break;
        }
        ret->parts[ret->count].ptr = c->data + from;
        ret->parts[ret->count].len = (size_t) (to - from);
        ret->frames[ret->count] = c->data + (from < c->first_frame ? c->first_frame : from);
        ret->ends[ret->count] = c->data + to;
        ret->count++;
        ret->bytes += to - from;
        pos += to - from;
    }
}

static void seal_piece(const struct piece *piece)
{
    uint32_t i;

    for (i = 0; i < piece->count; i++) {
        uint8_t *p = piece->frames[i];

        while (p < piece->ends[i]) {
            tpi_frame_seal(p);
            p += tpi_frame_length(p);
        }
    }
}

/* Everything written so far is on stable storage. */
static int sync_file(struct tpi_file_log *log, int *ret_native)
{
    int rc = log->env.files->sync(log->env.files->user, log->file, ret_native);

    pthread_mutex_lock(&log->base.lock);
    if (rc == 0) {
        log->synced_pos = log->written_pos;
        log->synced_sequence = log->written_sequence;
        log->last_sync_ns = tpi_mono_ns(&log->env);
    } else {
        /* After a failed sync the system may have dropped what was written: write it again. */
        const struct tpi_chunk *oldest = log->base.tape.oldest;
        uint64_t from = oldest != NULL ? oldest->start : log->written_pos;

        log->written_pos = from > log->synced_pos ? from : log->synced_pos;
    }
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}

/* Ends the present segment's file and begins the next one's. */
static int change_segment(struct tpi_file_log *log, uint64_t number, int *ret_native)
{
    const struct tpc_files *files = log->env.files;
    char path[TPI_LOG_PATH_MAX];
    void *file;
    int rc;

    if (log->file != NULL) {
        rc = log->synced_pos < log->written_pos ? sync_file(log, ret_native) : 0;
        if (rc != 0) {
            return rc;
        }
        files->close(files->user, log->file);
        log->file = NULL;
    }
    tpi_log_segment_path(log, number, path);
    rc = files->open(files->user, path, TPC_FILE_READ | TPC_FILE_WRITE | TPC_FILE_CREATE, &file,
                     ret_native);
    if (rc != 0) {
        return rc;
    }
    rc = files->sync_dir(files->user, log->dir, ret_native);
    if (rc != 0) {
        files->close(files->user, file);
        return rc;
    }
    log->file = file;
    pthread_mutex_lock(&log->base.lock);
    log->file_segment = number;
    pthread_mutex_unlock(&log->base.lock);
    return 0;
}

static int write_up_to(struct tpi_file_log *log, uint64_t target, int *ret_native)
{
    struct piece piece;
    int rc;

    for (;;) {
        pthread_mutex_lock(&log->base.lock);
        if (log->written_pos >= target) {
            pthread_mutex_unlock(&log->base.lock);
            return 0;
        }
        next_piece(log, target, &piece);
        pthread_mutex_unlock(&log->base.lock);
        if (log->file == NULL || piece.segment != log->file_segment) {
            uint64_t pos = log->written_pos;

            rc = change_segment(log, piece.segment, ret_native);
            if (rc != 0) {
                return rc;
            }
            if (pos != log->written_pos) {
                continue;
            }
        }
        seal_piece(&piece);
        rc = log->env.files->write_at(log->env.files->user, log->file, piece.parts, piece.count,
                                      piece.at, ret_native);
        if (rc != 0) {
            return rc;
        }
        pthread_mutex_lock(&log->base.lock);
        log->written_pos += piece.bytes;
        pthread_mutex_unlock(&log->base.lock);
    }
}

static bool sync_due(const struct tpi_file_log *log, uint32_t flags)
{
    uint64_t since = tpi_mono_ns(&log->env) - log->last_sync_ns;

    if ((flags & TPC_FLUSH_SYNC) != 0) {
        return true;
    }
    if (log->sync_interval_ms == 0) {
        return log->synced;
    }
    return since >= log->sync_interval_ms * 1000000ULL;
}

/* Under the lock. Chunks that are acknowledged go when there are more bytes than these. */
static void shrink_cache(struct tpi_file_log *log, uint64_t bytes)
{
    struct tpi_tape *t = &log->base.tape;
    uint64_t safe = log->flushed_pos < log->written_pos ? log->flushed_pos : log->written_pos;

    while (t->bytes > bytes && t->oldest != t->newest &&
           t->oldest->start + t->oldest->len <= safe) {
        tpi_tape_drop(t);
    }
}

void tpi_log_shrink(void *self)
{
    struct tpi_file_log *log = self;

    pthread_mutex_lock(&log->base.lock);
    shrink_cache(log, 0);
    tpi_tape_free_spares(&log->base.tape);
    pthread_mutex_unlock(&log->base.lock);
}

/* As the leader. */
static int lead(struct tpi_file_log *log, uint32_t flags, struct tpc_error *err)
{
    uint64_t target, sequence;
    int native = 0;
    int rc;

    pthread_mutex_lock(&log->base.lock);
    target = log->base.tape.pos;
    sequence = log->base.tape.sequence;
    pthread_mutex_unlock(&log->base.lock);
    rc = write_up_to(log, target, &native);
    if (rc == TPC_ENOSPC && tpi_log_reserve_give(log)) {
        rc = write_up_to(log, target, &native);
    }
    pthread_mutex_lock(&log->base.lock);
    if (rc == 0) {
        log->written_sequence = sequence;
    }
    pthread_mutex_unlock(&log->base.lock);
    if (rc == 0 && log->synced_pos < target && sync_due(log, flags)) {
        rc = sync_file(log, &native);
    }
    pthread_mutex_lock(&log->base.lock);
    if (log->synced && log->synced_pos > log->flushed_pos) {
        log->flushed_pos = log->synced_pos;
        log->flushed_sequence = log->synced_sequence;
    } else if (!log->synced && log->written_pos >= target && log->flushed_pos < target) {
        log->flushed_pos = target;
        log->flushed_sequence = sequence;
    }
    shrink_cache(log, log->cache_bytes);
    pthread_mutex_unlock(&log->base.lock);
    if (rc != 0) {
        return tpi_error_native(err, rc, native, "log", "cannot write to %s: %s", log->dir,
                                tpc_error_name(rc));
    }
    return 0;
}

static bool reached(const struct tpi_file_log *log, uint64_t target, uint32_t flags)
{
    return log->flushed_pos >= target &&
           ((flags & TPC_FLUSH_SYNC) == 0 || log->synced_pos >= target);
}

/* What is due now and then: space, cursors, old segments. */
static void keep_house(struct tpi_file_log *log, uint32_t flags)
{
    bool save;
    int rc;

    tpi_log_space_check(log, true);
    pthread_mutex_lock(&log->base.lock);
    save = log->base.cursors.dirty &&
           ((flags & TPC_FLUSH_SYNC) != 0 || log->save_wanted ||
            tpi_mono_ns(&log->env) - log->last_save_ns >= log->cursor_interval_ms * 1000000ULL);
    pthread_mutex_unlock(&log->base.lock);
    if (save && (rc = tpi_log_cursors_save(log)) != 0) {
        pthread_mutex_lock(&log->base.lock);
        log->last_save_ns = tpi_mono_ns(&log->env);
        pthread_mutex_unlock(&log->base.lock);
        log->host->log(log->ctx, TPC_LOG_WARN, "cannot save the cursors: %s", tpc_error_name(rc));
    }
    tpi_log_trim(log);
    pthread_mutex_lock(&log->base.lock);
    save = log->save_wanted;
    pthread_mutex_unlock(&log->base.lock);
    if (save && tpi_log_cursors_save(log) == 0) {
        tpi_log_trim(log);
    }
}

int tpi_log_flush(struct tpi_file_log *log, uint32_t flags, struct tpc_error *err,
                  uint64_t *ret_sequence)
{
    uint64_t target, sequence;
    int rc = 0;

    pthread_mutex_lock(&log->base.lock);
    target = log->base.tape.pos;
    while (!reached(log, target, flags)) {
        if (log->leading) {
            pthread_cond_wait(&log->changed, &log->base.lock);
            continue;
        }
        log->leading = true;
        pthread_mutex_unlock(&log->base.lock);
        rc = lead(log, flags, err);
        pthread_mutex_lock(&log->base.lock);
        log->leading = false;
        pthread_cond_broadcast(&log->changed);
        break;
    }
    sequence = log->flushed_sequence;
    pthread_mutex_unlock(&log->base.lock);
    keep_house(log, flags);
    if (rc == 0) {
        *ret_sequence = sequence;
    }
    return rc;
}
