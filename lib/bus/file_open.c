/*
 * Opening a log's folder: the segments that are there, the end of the last one, its torn tail; or a
 * new log.
 */
#include "bus/file_log.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

struct names {
    const struct tpc_allocator *alloc;
    uint64_t *numbers;
    uint32_t count;
    uint32_t cap;
};

/* "%016llx.tpl" back to its number. */
static bool number_of(const char *name, uint64_t *ret)
{
    uint64_t x = 0;
    int i;

    for (i = 0; i < 16; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9') {
            x = x << 4 | (uint64_t) (c - '0');
        } else if (c >= 'a' && c <= 'f') {
            x = x << 4 | (uint64_t) (c - 'a' + 10);
        } else {
            return false;
        }
    }
    *ret = x;
    return strcmp(name + 16, ".tpl") == 0;
}

static int note_name(void *user, const char *name)
{
    struct names *names = user;
    uint64_t number;

    if (!number_of(name, &number)) {
        return 0;
    }
    if (names->count == names->cap) {
        uint32_t cap = names->cap == 0 ? 64 : names->cap * 2;
        uint64_t *numbers = tpi_resize(names->alloc, names->numbers, names->cap * sizeof(uint64_t),
                                       cap * sizeof(uint64_t));

        if (numbers == NULL) {
            return TPC_ENOMEM;
        }
        names->numbers = numbers;
        names->cap = cap;
    }
    names->numbers[names->count++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;

    return x < y ? -1 : x > y;
}

/* Whether a segment that has no header was just being begun: fewer bytes than its header has, or
 * only zeros where the header should be. *ret_bytes = its length. */
static bool is_unborn(const struct tpi_file_log *log, const char *path, uint32_t partitions,
                      uint64_t *ret_bytes)
{
    const struct tpc_files *files = log->env.files;
    uint8_t head[TPI_SEGMENT_FIXED_BYTES];
    void *file;
    int64_t length, got;
    size_t i = 0;

    if (files->open(files->user, path, TPC_FILE_READ, &file, NULL) != 0) {
        return false;
    }
    length = files->length(files->user, file, NULL);
    got = files->read_at(files->user, file, head, sizeof(head), 0, NULL);
    files->close(files->user, file);
    if (length < 0 || got < 0) {
        return false;
    }
    while (i < (size_t) got && head[i] == 0) {
        i++;
    }
    *ret_bytes = (uint64_t) length;
    return length < (int64_t) tpi_segment_header_bytes(partitions) || i == sizeof(head);
}

/* Finds the newest segment that has a header and removes one after it that has none. Its partitions
 * go to *ret_partitions. */
static int find_last(struct tpi_file_log *log, struct names *names, uint32_t *ret_partitions)
{
    struct tpi_segment_reader reader;
    char path[TPI_LOG_PATH_MAX];
    uint64_t bytes = 0;
    int rc;

    while (names->count > 0) {
        tpi_log_segment_path(log, names->numbers[names->count - 1], path);
        rc = tpi_segment_reader_open(&reader, log->env.alloc, log->env.files, path);
        if (rc == 0) {
            if (reader.header.partitions > *ret_partitions) {
                *ret_partitions = reader.header.partitions;
            }
            tpi_segment_reader_close(&reader);
            return 0;
        }
        if (rc != TPC_EDECODE || !is_unborn(log, path, *ret_partitions, &bytes)) {
            rc = rc == TPC_EDECODE ? TPC_ECORRUPT : rc;
            return log->host->fail(log->ctx, rc, "%s: %s", path,
                                   rc == TPC_EVERSION ? "written by a newer version"
                                                      : "no segment of a log can be read");
        }
        rc = log->env.files->remove(log->env.files->user, path, NULL);
        if (rc != 0) {
            return log->host->fail(log->ctx, rc, "cannot remove %s", path);
        }
        log->torn_bytes += bytes;
        names->count--;
    }
    return 0;
}

/* Reads the last segment to its end: offsets, sequence, index, torn tail. */
static int scan_last(struct tpi_file_log *log, struct tpi_log_segment *s,
                     struct tpi_segment_reader *reader)
{
    struct tpi_frame frame;
    struct tpi_run run;
    uint32_t i;
    int rc;

    log->base.tape.sequence = s->first_sequence - 1;
    for (i = 0; i < log->base.tape.partitions; i++) {
        log->base.tape.parts[i].next = s->offsets[i];
    }
    while ((rc = tpi_segment_reader_next(reader, &frame)) == 1) {
        tpi_log_index_append(log, s, reader->pos - frame.length);
        for (i = 0; i < frame.run_count; i++) {
            tpi_frame_run(&frame, i, &run);
            if (run.partition < log->base.tape.partitions) {
                log->base.tape.parts[run.partition].next = run.offset + run.count;
            }
        }
        log->base.tape.sequence = frame.sequence + frame.count - 1;
        if (frame.base_unix_ms > s->last_unix_ms) {
            s->last_unix_ms = frame.base_unix_ms;
        }
    }
    if (rc < 0) {
        return log->host->fail(log->ctx, rc, "cannot read the last segment in %s", log->dir);
    }
    s->index.whole = true;
    s->bytes = reader->pos;
    s->bad_at = reader->bad_at;
    log->torn_bytes += reader->tail_bytes;
    log->bad_frames += reader->bad_frames;
    log->bad_bytes += reader->bad_bytes;
    return 0;
}

static int load_segment(struct tpi_file_log *log, uint64_t number, bool last)
{
    struct tpi_segment_reader reader;
    struct tpi_log_segment *s;
    char path[TPI_LOG_PATH_MAX];
    uint32_t i;
    int64_t length;
    int rc;

    tpi_log_segment_path(log, number, path);
    rc = tpi_segment_reader_open(&reader, log->env.alloc, log->env.files, path);
    if (rc != 0) {
        return log->host->fail(log->ctx, rc == TPC_EDECODE ? TPC_ECORRUPT : rc,
                               "%s: no segment of a log can be read", path);
    }
    s = tpi_log_segment_add(log, number);
    if (s == NULL) {
        rc = log->host->fail(log->ctx, TPC_ENOMEM, "out of memory");
        goto out;
    }
    if (log->segment_count == 1) {
        log->log_id = reader.header.log_id;
        log->created_unix_ms = reader.header.log_unix_ms;
    } else if (memcmp(&log->log_id, &reader.header.log_id, sizeof(log->log_id)) != 0) {
        rc = log->host->fail(log->ctx, TPC_ECORRUPT, "%s belongs to another log", path);
        goto out;
    }
    s->header_bytes = reader.header.header_bytes;
    s->first_sequence = reader.header.first_sequence;
    s->first_unix_ms = reader.header.unix_ms;
    s->last_unix_ms = reader.header.unix_ms;
    for (i = 0; i < reader.header.partitions && i < log->base.tape.partitions; i++) {
        s->offsets[i] = reader.offsets[i];
    }
    if (log->segment_count > 1) {
        log->segments[log->segment_count - 2]->last_unix_ms = s->first_unix_ms;
    }
    length = log->env.files->length(log->env.files->user, reader.file, NULL);
    s->bytes = length > 0 ? (uint64_t) length : 0;
    if (last) {
        rc = scan_last(log, s, &reader);
    }
    log->bytes += s->bytes;
out:
    tpi_segment_reader_close(&reader);
    return rc;
}

/* Opens the last segment for writing and cuts off what follows its last good frame. */
static int open_end(struct tpi_file_log *log)
{
    const struct tpc_files *files = log->env.files;
    const struct tpi_log_segment *s = tpi_log_segment_last(log);
    char path[TPI_LOG_PATH_MAX];
    int native = 0;
    int rc;

    tpi_log_segment_path(log, s->number, path);
    rc = files->open(files->user, path, TPC_FILE_READ | TPC_FILE_WRITE, &log->file, &native);
    if (rc != 0) {
        log->file = NULL;
        return log->host->fail(log->ctx, rc, "cannot open %s (%d)", path, native);
    }
    log->file_segment = s->number;
    if (files->length(files->user, log->file, NULL) > (int64_t) s->bytes) {
        rc = files->truncate(files->user, log->file, s->bytes, &native);
        rc = rc != 0 ? rc : files->sync(files->user, log->file, &native);
        if (rc != 0) {
            return log->host->fail(log->ctx, rc, "cannot cut off the torn end of %s (%d)", path,
                                   native);
        }
    }
    if (log->torn_bytes > 0) {
        log->host->log(log->ctx, TPC_LOG_WARN, "%llu bytes of a torn write cut off",
                       (unsigned long long) log->torn_bytes);
    }
    return 0;
}

/* The first segment is written at once: from here on the log has its id. */
static int make_first(struct tpi_file_log *log)
{
    const struct tpc_files *files = log->env.files;
    uint32_t bytes = tpi_segment_header_bytes(log->base.tape.partitions);
    struct tpi_segment_header h = { 0 };
    struct tpi_log_segment *s = tpi_log_segment_add(log, 1);
    uint8_t *head = tpi_alloc_zero(log->env.alloc, bytes);
    char path[TPI_LOG_PATH_MAX];
    int native = 0;
    int rc = s == NULL || head == NULL ? TPC_ENOMEM : tpi_id_make(&log->env, &log->log_id);

    if (rc == 0) {
        log->created_unix_ms = tpi_unix_ms(&log->env);
        h.partitions = log->base.tape.partitions;
        h.log_id = log->log_id;
        h.log_unix_ms = log->created_unix_ms;
        h.number = 1;
        h.unix_ms = log->created_unix_ms;
        h.first_sequence = 1;
        tpi_segment_header_write(&h, s->offsets, head);
        s->first_sequence = 1;
        s->header_bytes = bytes;
        s->bytes = bytes;
        s->first_unix_ms = h.unix_ms;
        s->last_unix_ms = h.unix_ms;
        s->index.whole = true;
        log->bytes = bytes;
        tpi_log_segment_path(log, 1, path);
        rc = files->open(files->user, path, TPC_FILE_READ | TPC_FILE_WRITE | TPC_FILE_CREATE,
                         &log->file, &native);
        log->file = rc == 0 ? log->file : NULL;
        log->file_segment = 1;
    }
    if (rc == 0) {
        struct tpc_bytes part = { head, bytes };

        rc = files->write_at(files->user, log->file, &part, 1, 0, &native);
        rc = rc != 0 ? rc : files->sync(files->user, log->file, &native);
        rc = rc != 0 ? rc : files->sync_dir(files->user, log->dir, &native);
    }
    tpi_free(log->env.alloc, head, bytes);
    return rc == 0 ? 0
                   : log->host->fail(log->ctx, rc, "cannot begin a log in %s: %s (%d)", log->dir,
                                     tpc_error_name(rc), native);
}

/* A consumer that has seen an offset must not see it again for another record: after a loss of
 * power cursors may stand past the log's end. */
static void raise_to_cursors(struct tpi_file_log *log)
{
    uint32_t i, p;

    for (i = 0; i < log->base.cursors.count; i++) {
        const struct tpi_cursor *c = log->base.cursors.list[i];

        for (p = 0; c != NULL && p < log->base.tape.partitions; p++) {
            if (log->base.tape.parts[p].next < c->offsets[p]) {
                log->base.tape.parts[p].next = c->offsets[p];
            }
        }
    }
}

int tpi_log_open(struct tpi_file_log *log, uint32_t partitions)
{
    struct names names = { log->env.alloc, NULL, 0, 0 };
    int native = 0;
    uint32_t i;
    int rc = log->env.files->list(log->env.files->user, log->dir, note_name, &names, &native);

    if (rc != 0) {
        rc = log->host->fail(log->ctx, rc, "cannot list %s (%d)", log->dir, native);
        goto out;
    }
    if (names.count > 1) {
        qsort(names.numbers, names.count, sizeof(names.numbers[0]), compare_numbers);
    }
    rc = find_last(log, &names, &partitions);
    if (rc != 0) {
        goto out;
    }
    rc = tpi_tape_init(&log->base.tape, log->env.alloc, partitions, TPI_LOG_CHUNK_BYTES);
    if (rc == 0) {
        log->base.ends = tpi_alloc_array(log->env.alloc, partitions, sizeof(uint64_t));
    }
    if (rc != 0 || log->base.ends == NULL) {
        rc = log->host->fail(log->ctx, TPC_ENOMEM, "out of memory");
        goto out;
    }
    tpi_cursors_init(&log->base.cursors, log->env.alloc, partitions, false);
    for (i = 0; i < names.count && rc == 0; i++) {
        rc = load_segment(log, names.numbers[i], i + 1 == names.count);
    }
    if (rc == 0) {
        rc = names.count == 0 ? make_first(log) : open_end(log);
    }
    if (rc == 0) {
        rc = tpi_log_cursors_load(log);
        rc = rc == 0 ? 0 : log->host->fail(log->ctx, rc, "cannot read the cursors in %s", log->dir);
        raise_to_cursors(log);
    }
out:
    tpi_free(log->env.alloc, names.numbers, names.cap * sizeof(uint64_t));
    return rc;
}
