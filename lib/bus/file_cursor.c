/*
 * The cursors' two files, written in turn: a torn write of one leaves the other.
 */
#include "bus/file_log.h"

#include "base/alloc.h"

static const char *file_name(uint64_t generation)
{
    return (generation & 1) != 0 ? "cursors.a" : "cursors.b";
}

/* The whole file in out; an absent one is empty. */
static int slurp(struct tpi_file_log *log, const char *name, struct tpi_buf *out)
{
    const struct tpc_files *files = log->env.files;
    char path[TPI_LOG_PATH_MAX];
    void *file;
    int64_t length, got;
    int rc;

    tpi_log_path(log, name, path);
    rc = files->open(files->user, path, TPC_FILE_READ, &file, NULL);
    if (rc != 0) {
        return rc == TPC_ENOENT ? 0 : rc;
    }
    length = files->length(files->user, file, NULL);
    rc = length < 0 ? (int) length : tpi_buf_reserve(out, (size_t) length + 1);
    if (rc == 0) {
        got = files->read_at(files->user, file, out->ptr, (size_t) length, 0, NULL);
        out->len = got > 0 ? (size_t) got : 0;
        rc = got < 0 ? (int) got : 0;
    }
    files->close(files->user, file);
    return rc;
}

int tpi_log_cursors_load(struct tpi_file_log *log)
{
    struct tpi_buf bufs[2];
    uint64_t generations[2];
    int i, best, rc = 0;

    for (i = 0; i < 2; i++) {
        tpi_buf_init(&bufs[i], log->env.alloc, 64 << 20);
    }
    for (i = 0; i < 2 && rc == 0; i++) {
        rc = slurp(log, file_name((uint64_t) i), &bufs[i]);
        generations[i] = tpi_cursors_generation((struct tpc_bytes){ bufs[i].ptr, bufs[i].len });
    }
    if (rc != 0) {
        goto out;
    }
    best = generations[1] > generations[0] ? 1 : 0;
    if (generations[best] == 0) {
        goto out;
    }
    log->generation = generations[best];
    rc = tpi_cursors_decode(&log->base.cursors,
                            (struct tpc_bytes){ bufs[best].ptr, bufs[best].len }, &log->log_id);
    if (rc == TPC_ECONFLICT) {
        log->host->log(log->ctx, TPC_LOG_WARN, "the cursors in %s belong to another log", log->dir);
        rc = 0;
    }
out:
    tpi_buf_fini(&bufs[0]);
    tpi_buf_fini(&bufs[1]);
    return rc;
}

static int write_file(struct tpi_file_log *log, uint64_t generation, const struct tpi_buf *buf)
{
    const struct tpc_files *files = log->env.files;
    struct tpc_bytes part = { buf->ptr, buf->len };
    char path[TPI_LOG_PATH_MAX];
    void *file;
    int rc;

    tpi_log_path(log, file_name(generation), path);
    rc = files->open(files->user, path, TPC_FILE_WRITE | TPC_FILE_CREATE, &file, NULL);
    if (rc != 0) {
        return rc;
    }
    rc = files->write_at(files->user, file, &part, 1, 0, NULL);
    rc = rc != 0 ? rc : files->sync(files->user, file, NULL);
    files->close(files->user, file);
    if (rc == 0 && generation <= 2) {
        rc = files->sync_dir(files->user, log->dir, NULL);
    }
    return rc;
}

int tpi_log_cursors_save(struct tpi_file_log *log)
{
    struct tpi_buf buf;
    uint64_t generation;
    int rc;

    pthread_mutex_lock(&log->base.lock);
    while (log->saving) {
        pthread_cond_wait(&log->changed, &log->base.lock);
    }
    if (!log->base.cursors.dirty) {
        pthread_mutex_unlock(&log->base.lock);
        return 0;
    }
    log->saving = true;
    generation = log->generation + 1;
    tpi_buf_init(&buf, log->env.alloc, 0);
    rc = tpi_cursors_encode(&log->base.cursors, &log->log_id, generation, &buf);
    pthread_mutex_unlock(&log->base.lock);
    if (rc == 0) {
        rc = write_file(log, generation, &buf);
        if (rc == TPC_ENOSPC && tpi_log_reserve_give(log)) {
            rc = write_file(log, generation, &buf);
        }
    }
    tpi_buf_fini(&buf);
    pthread_mutex_lock(&log->base.lock);
    if (rc == 0) {
        log->generation = generation;
        tpi_cursors_saved(&log->base.cursors);
        log->save_wanted = false;
        log->last_save_ns = tpi_mono_ns(&log->env);
    } else {
        log->base.cursors.dirty = true;
    }
    log->saving = false;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}
