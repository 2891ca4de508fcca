/*
 * The list of segments, their indexes, and trimming.
 */
#include "bus/file_log.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

void tpi_log_path(const struct tpi_file_log *log, const char *name, char *ret)
{
    snprintf(ret, TPI_LOG_PATH_MAX, "%s/%s", log->dir, name);
}

void tpi_log_segment_path(const struct tpi_file_log *log, uint64_t number, char *ret)
{
    snprintf(ret, TPI_LOG_PATH_MAX, "%s/%016llx.tpl", log->dir, (unsigned long long) number);
}

static size_t segment_size(const struct tpi_file_log *log)
{
    return sizeof(struct tpi_log_segment) + (size_t) log->base.tape.partitions * sizeof(uint64_t);
}

struct tpi_log_segment *tpi_log_segment_add(struct tpi_file_log *log, uint64_t number)
{
    struct tpi_log_segment *s;

    if (log->segment_count == log->segment_cap) {
        uint32_t cap = log->segment_cap == 0 ? 16 : log->segment_cap * 2;
        void *list =
            tpi_resize(log->env.alloc, log->segments, log->segment_cap * sizeof(*log->segments),
                       cap * sizeof(*log->segments));

        if (list == NULL) {
            return NULL;
        }
        log->segments = list;
        log->segment_cap = cap;
    }
    s = tpi_alloc_zero(log->env.alloc, segment_size(log));
    if (s == NULL) {
        return NULL;
    }
    s->number = number;
    log->segments[log->segment_count++] = s;
    return s;
}

void tpi_log_segment_free(struct tpi_file_log *log, struct tpi_log_segment *s)
{
    tpi_log_index_free(log, &s->index);
    tpi_free(log->env.alloc, s, segment_size(log));
}

struct tpi_log_segment *tpi_log_segment_last(const struct tpi_file_log *log)
{
    return log->segments[log->segment_count - 1];
}

/* ---- index ---- */

static size_t entry_words(const struct tpi_file_log *log)
{
    return 1 + (size_t) log->base.tape.partitions;
}

/* Many partitions make entries long: they stand further apart then. */
static uint64_t spacing(const struct tpi_file_log *log)
{
    uint64_t bytes = entry_words(log) * 8 * 64;

    return bytes > TPI_LOG_INDEX_BYTES ? bytes : TPI_LOG_INDEX_BYTES;
}

static uint64_t *new_entry(const struct tpi_file_log *log, struct tpi_log_index *index)
{
    size_t entry_bytes = entry_words(log) * sizeof(uint64_t);

    if (index->count == index->cap) {
        uint32_t cap = index->cap == 0 ? 8 : index->cap * 2;
        uint64_t *entries =
            tpi_resize(log->env.alloc, index->entries, index->cap * entry_bytes, cap * entry_bytes);

        if (entries == NULL) {
            return NULL;
        }
        index->entries = entries;
        index->cap = cap;
    }
    return index->entries + index->count * entry_words(log);
}

void tpi_log_index_note(const struct tpi_file_log *log, struct tpi_log_index *index, uint64_t at,
                        const uint64_t *offsets)
{
    uint64_t *entry;

    if (at < index->last + spacing(log) || (entry = new_entry(log, index)) == NULL) {
        return;
    }
    entry[0] = at;
    memcpy(entry + 1, offsets, (size_t) log->base.tape.partitions * sizeof(uint64_t));
    index->count++;
    index->last = at;
}

void tpi_log_index_append(struct tpi_file_log *log, struct tpi_log_segment *s, uint64_t at)
{
    uint32_t p;

    if (at < s->index.last + spacing(log)) {
        return;
    }
    for (p = 0; p < log->base.tape.partitions; p++) {
        log->base.ends[p] = log->base.tape.parts[p].next;
    }
    tpi_log_index_note(log, &s->index, at, log->base.ends);
}

void tpi_log_index_free(const struct tpi_file_log *log, struct tpi_log_index *index)
{
    tpi_free(log->env.alloc, index->entries, index->cap * entry_words(log) * sizeof(uint64_t));
    memset(index, 0, sizeof(*index));
}

uint64_t tpi_log_index_find(const struct tpi_file_log *log, const struct tpi_log_index *index,
                            uint32_t partition, uint64_t offset)
{
    size_t words = entry_words(log);
    uint32_t low = 0, high = index->count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (index->entries[mid * words + 1 + partition] <= offset) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low == 0 ? 0 : index->entries[(low - 1) * words];
}

/* ---- trimming ---- */

/* Whether segment i may go: it is on disk, acknowledged, and no hold cursor needs it. */
static bool is_free(const struct tpi_file_log *log, uint32_t i)
{
    return i + 1 < log->segment_count && log->segments[i]->number < log->file_segment &&
           !tpi_cursors_hold(&log->base.cursors, log->segments[i + 1]->offsets, true);
}

bool tpi_log_is_held(const struct tpi_file_log *log, uint64_t more)
{
    return log->bytes + more > log->max_bytes && log->segment_count > 1 &&
           tpi_cursors_hold(&log->base.cursors, log->segments[1]->offsets, true);
}

void tpi_log_want_save(struct tpi_file_log *log)
{
    if (log->base.cursors.dirty && log->segment_count > 1 &&
        !tpi_cursors_hold(&log->base.cursors, log->segments[1]->offsets, false)) {
        log->save_wanted = true;
    }
}

static void lift_lossy(struct tpi_file_log *log, struct tpi_cursor *c, int64_t now)
{
    uint32_t i = log->segment_count - 1;
    uint64_t bytes = log->segments[i]->bytes;

    for (; i > 0; i--) {
        const struct tpi_log_segment *older = log->segments[i - 1];

        bytes += older->bytes;
        if ((c->max_bytes != 0 && bytes > c->max_bytes) ||
            (c->max_age_ms != 0 && now - older->last_unix_ms > (int64_t) c->max_age_ms)) {
            break;
        }
    }
    tpi_cursors_lift(&log->base.cursors, c, log->segments[i]->offsets);
}

static void lift_all_lossy(struct tpi_file_log *log, int64_t now)
{
    uint32_t i;

    for (i = 0; i < log->base.cursors.count; i++) {
        struct tpi_cursor *c = log->base.cursors.list[i];

        if (c != NULL && c->cursor_class == TPC_CURSOR_LOSSY) {
            lift_lossy(log, c, now);
        }
    }
}

/* Takes the oldest segment off the list if it may go; *ret_number = its number. */
static bool take_oldest(struct tpi_file_log *log, int64_t now, uint64_t *ret_number)
{
    struct tpi_log_segment *s = log->segments[0];

    if (log->bytes <= log->max_bytes && now - s->last_unix_ms <= (int64_t) log->max_age_ms) {
        return false;
    }
    if (!is_free(log, 0)) {
        tpi_log_want_save(log);
        return false;
    }
    *ret_number = s->number;
    log->bytes -= s->bytes;
    log->trimmed++;
    log->segment_count--;
    memmove(log->segments, log->segments + 1, log->segment_count * sizeof(log->segments[0]));
    tpi_log_segment_free(log, s);
    lift_all_lossy(log, now);
    return true;
}

void tpi_log_trim(struct tpi_file_log *log)
{
    int64_t now = tpi_unix_ms(&log->env);
    char path[TPI_LOG_PATH_MAX];
    uint64_t number = 0;
    int rc, native = 0;

    for (;;) {
        bool took;

        pthread_mutex_lock(&log->base.lock);
        lift_all_lossy(log, now);
        took = take_oldest(log, now, &number);
        pthread_mutex_unlock(&log->base.lock);
        if (!took) {
            return;
        }
        tpi_log_segment_path(log, number, path);
        rc = log->env.files->remove(log->env.files->user, path, &native);
        if (rc != 0 && rc != TPC_ENOENT) {
            log->host->log(log->ctx, TPC_LOG_WARN, "cannot remove %s: %s (%d)", path,
                           tpc_error_name(rc), native);
        }
    }
}
