/*
 * The low-space reserve: a file of real bytes. When the disk is full it is removed, so that what is
 * pending, cursors and a clean stop still find room; new records are refused until there is space
 * for the reserve again.
 */
#include "bus/file_log.h"

#include "base/alloc.h"

#include <string.h>

enum { SPACE_CHECK_MS = 1000, ZERO_BYTES = 64 << 10 };

static int fill(struct tpi_file_log *log, void *file, uint64_t bytes, int *ret_native)
{
    const struct tpc_files *files = log->env.files;
    uint8_t *zero = tpi_alloc_zero(log->env.alloc, ZERO_BYTES);
    struct tpc_bytes parts[16];
    uint64_t at = 0;
    uint32_t n;
    int rc = 0;

    if (zero == NULL) {
        return TPC_ENOMEM;
    }
    while (rc == 0 && at < bytes) {
        uint64_t step = 0;

        for (n = 0; n < 16 && at + step < bytes; n++) {
            parts[n].ptr = zero;
            parts[n].len =
                (size_t) (bytes - at - step < ZERO_BYTES ? bytes - at - step : ZERO_BYTES);
            step += parts[n].len;
        }
        rc = files->write_at(files->user, file, parts, n, at, ret_native);
        at += step;
    }
    tpi_free(log->env.alloc, zero, ZERO_BYTES);
    return rc;
}

void tpi_log_reserve_make(struct tpi_file_log *log)
{
    const struct tpc_files *files = log->env.files;
    char path[TPI_LOG_PATH_MAX];
    void *file = NULL;
    int native = 0;
    int rc;

    if (log->reserve_bytes == 0) {
        return;
    }
    tpi_log_path(log, "reserve", path);
    rc = files->open(files->user, path, TPC_FILE_READ | TPC_FILE_WRITE | TPC_FILE_CREATE, &file,
                     &native);
    if (rc == 0) {
        if (files->length(files->user, file, &native) != (int64_t) log->reserve_bytes) {
            rc = files->truncate(files->user, file, 0, &native);
            rc = rc != 0 ? rc : fill(log, file, log->reserve_bytes, &native);
            rc = rc != 0 ? rc : files->sync(files->user, file, &native);
        }
        files->close(files->user, file);
    }
    if (rc != 0) {
        files->remove(files->user, path, NULL);
        log->host->log(log->ctx, TPC_LOG_WARN,
                       "cannot keep %llu bytes of space in reserve: %s (%d)",
                       (unsigned long long) log->reserve_bytes, tpc_error_name(rc), native);
    }
    pthread_mutex_lock(&log->base.lock);
    log->reserve_held = rc == 0;
    log->low = rc == TPC_ENOSPC;
    pthread_mutex_unlock(&log->base.lock);
}

bool tpi_log_reserve_give(struct tpi_file_log *log)
{
    char path[TPI_LOG_PATH_MAX];
    bool held, was_low;

    pthread_mutex_lock(&log->base.lock);
    held = log->reserve_held;
    was_low = log->low;
    log->reserve_held = false;
    log->low = true;
    pthread_mutex_unlock(&log->base.lock);
    if (!was_low) {
        log->host->log(log->ctx, TPC_LOG_ERROR,
                       "no space left in %s: new records are refused until there is", log->dir);
    }
    if (!held) {
        return false;
    }
    tpi_log_path(log, "reserve", path);
    return log->env.files->remove(log->env.files->user, path, NULL) == 0;
}

void tpi_log_space_check(struct tpi_file_log *log, bool may_write)
{
    uint64_t now = tpi_mono_ns(&log->env);
    uint64_t space = 0;
    bool due, was_low;

    pthread_mutex_lock(&log->base.lock);
    was_low = log->low;
    due = log->low || (may_write && !log->reserve_held && log->reserve_bytes > 0);
    if (due && now - log->low_checked_ns < SPACE_CHECK_MS * 1000000ULL) {
        due = false;
    }
    if (due) {
        log->low_checked_ns = now;
    }
    pthread_mutex_unlock(&log->base.lock);
    if (!due || log->env.files->space(log->env.files->user, log->dir, &space, NULL) != 0 ||
        space < log->reserve_bytes + log->pending_bytes) {
        return;
    }
    if (may_write) {
        tpi_log_reserve_make(log);
    }
    pthread_mutex_lock(&log->base.lock);
    if (log->low && (!may_write || log->reserve_held || log->reserve_bytes == 0)) {
        log->low = false;
        log->low_checked_ns = 0; /* the next flush makes the reserve at once */
    }
    was_low = was_low && !log->low;
    pthread_mutex_unlock(&log->base.lock);
    if (was_low) {
        log->host->log(log->ctx, TPC_LOG_INFO, "there is space in %s again", log->dir);
    }
}
