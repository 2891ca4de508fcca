/*
 * Reading: from memory while a reader keeps up, else from the segments' files. Readers that lag
 * keep their place and their buffer in a seat, so that the next call goes on without a seek.
 */
#include "bus/file_log.h"

#include "base/alloc.h"

#include <string.h>

/* Where to read on disk: made under the lock. */
struct place {
    uint64_t segment;
    uint64_t begin; /* file position, 0 = first frame */
    uint64_t limit; /* what is in memory begins here */
    uint64_t after; /* the reader's offset once all of this is read */
    uint64_t bad_at;
    bool indexed;
    bool inside; /* not at the segment's own beginning */
};

static void find_place(const struct tpi_file_log *log, uint32_t partition, uint64_t from,
                       struct place *ret)
{
    const struct tpi_chunk *oldest = log->base.tape.oldest;
    uint32_t i = log->segment_count - 1;
    const struct tpi_log_segment *s;

    while (i > 0 && log->segments[i]->offsets[partition] > from) {
        i--;
    }
    s = log->segments[i];
    ret->segment = s->number;
    ret->begin = tpi_log_index_find(log, &s->index, partition, from);
    ret->bad_at = s->bad_at;
    ret->indexed = s->index.whole;
    ret->inside = s->offsets[partition] < from;
    if (oldest != NULL && oldest->segment == s->number) {
        ret->limit = oldest->segment_at;
        ret->after = oldest->offsets[partition];
    } else {
        ret->limit = s->bytes;
        ret->after = i + 1 < log->segment_count ? log->segments[i + 1]->offsets[partition]
                                                : log->base.tape.parts[partition].next;
    }
}

/* Under the lock: an idle seat, the one that fits best. NULL if all are taken. */
static struct tpi_log_seat *take_seat(struct tpi_file_log *log, const struct place *place,
                                      uint32_t partition, uint64_t from)
{
    struct tpi_log_seat *best = NULL;
    int best_fit = -1;
    uint32_t i;

    for (i = 0; i < TPI_LOG_READERS; i++) {
        struct tpi_log_seat *seat = &log->seats[i];
        int fit;

        if (seat->taken) {
            continue; /* its fields are its reader's */
        }
        fit = seat->segment != place->segment                        ? 0
              : seat->partition != partition || seat->offset != from ? 1
                                                                     : 2;
        if (fit > best_fit || (fit == best_fit && seat->used < best->used)) {
            best = seat;
            best_fit = fit;
        }
    }
    if (best != NULL) {
        best->taken = true;
        best->used = ++log->seat_clock;
    }
    return best;
}

static void seat_close(struct tpi_log_seat *seat)
{
    if (seat->segment != 0) {
        tpi_segment_reader_close(&seat->reader);
        seat->segment = 0;
    }
}

void tpi_log_readers_close(struct tpi_file_log *log)
{
    uint32_t i;

    for (i = 0; i < TPI_LOG_READERS; i++) {
        seat_close(&log->seats[i]);
    }
}

/* It stands where the read begins. Any other seat has to be moved, also within its segment. */
static bool seat_goes_on(const struct tpi_log_seat *seat, const struct place *place,
                         uint32_t partition, uint64_t from)
{
    return seat->segment == place->segment && seat->partition == partition && seat->offset == from;
}

/* The seat's reader is at the place. */
static int seat_open(struct tpi_file_log *log, struct tpi_log_seat *seat, const struct place *place,
                     uint32_t partition, uint64_t from)
{
    char path[TPI_LOG_PATH_MAX];
    int rc;

    if (seat_goes_on(seat, place, partition, from)) {
        seat->reader.limit = place->limit;
        return 0;
    }
    if (seat->segment != place->segment) {
        seat_close(seat);
        tpi_log_segment_path(log, place->segment, path);
        rc = tpi_segment_reader_open(&seat->reader, log->env.alloc, log->env.files, path);
        if (rc != 0) {
            return rc;
        }
        seat->segment = place->segment;
    }
    seat->reader.limit = place->limit;
    seat->reader.bad_at = place->bad_at;
    tpi_segment_reader_seek(&seat->reader, place->begin);
    return 0;
}

/* Scans a segment of an earlier run once, so that later reads begin near what they want. */
static void build_index(struct tpi_file_log *log, uint64_t segment)
{
    struct tpi_log_index index;
    struct tpi_segment_reader reader;
    struct tpi_frame frame;
    struct tpi_run run;
    char path[TPI_LOG_PATH_MAX];
    size_t bytes = (size_t) log->base.tape.partitions * sizeof(uint64_t);
    uint64_t *offsets = tpi_alloc_zero(log->env.alloc, bytes);
    uint32_t i;
    bool kept = false;

    memset(&index, 0, sizeof(index));
    tpi_log_segment_path(log, segment, path);
    if (offsets == NULL ||
        tpi_segment_reader_open(&reader, log->env.alloc, log->env.files, path) != 0) {
        tpi_free(log->env.alloc, offsets, bytes);
        return;
    }
    for (i = 0; i < reader.header.partitions && i < log->base.tape.partitions; i++) {
        offsets[i] = reader.offsets[i];
    }
    while (tpi_segment_reader_next(&reader, &frame) == 1) {
        tpi_log_index_note(log, &index, reader.pos - frame.length, offsets);
        for (i = 0; i < frame.run_count; i++) {
            tpi_frame_run(&frame, i, &run);
            if (run.partition < log->base.tape.partitions) {
                offsets[run.partition] = run.offset + run.count;
            }
        }
    }
    tpi_segment_reader_close(&reader);
    tpi_free(log->env.alloc, offsets, bytes);
    index.whole = true;
    pthread_mutex_lock(&log->base.lock);
    for (i = 0; i < log->segment_count && !kept; i++) {
        struct tpi_log_segment *s = log->segments[i];

        if (s->number == segment && !s->index.whole) {
            s->index = index;
            kept = true;
        }
    }
    pthread_mutex_unlock(&log->base.lock);
    if (!kept) {
        tpi_log_index_free(log, &index);
    }
}

/* Under the lock: what the reader passed over, once for each place. */
static bool count_bad(struct tpi_file_log *log, struct tpi_segment_reader *r, uint64_t segment)
{
    bool tell = false;
    uint32_t i;

    for (i = 0; i < log->segment_count && r->bad_frames > 0; i++) {
        struct tpi_log_segment *s = log->segments[i];

        if (s->number == segment && r->bad_at > s->bad_at) {
            log->bad_frames += r->bad_frames;
            log->bad_bytes += r->bad_bytes;
            s->bad_at = r->bad_at;
            tell = !s->bad_told;
            s->bad_told = true;
        }
    }
    r->bad_frames = 0;
    r->bad_bytes = 0;
    return tell;
}

static int read_frames(struct tpi_log_seat *seat, const struct place *place, uint32_t partition,
                       uint64_t *from, uint32_t *max_records, tpc_record_fn *fn, void *user)
{
    struct tpi_segment_reader *r = &seat->reader;
    struct tpi_frame frame;
    bool whole = true;
    int rc = 0;

    while (rc == 0 && whole && *max_records > 0) {
        rc = tpi_segment_reader_next(r, &frame);
        if (rc <= 0) {
            if (rc == 0 && place->after > *from) {
                *from = place->after;
            }
            break;
        }
        rc = tpi_frame_deliver(&frame, partition, from, max_records, fn, user, &whole);
        if (!whole) {
            tpi_segment_reader_seek(r, r->pos - frame.length);
        }
    }
    seat->partition = partition;
    seat->offset = *from;
    return rc;
}

static int read_disk(struct tpi_file_log *log, const struct place *place, uint32_t partition,
                     uint64_t *from, uint32_t *max_records, tpc_record_fn *fn, void *user)
{
    struct tpi_log_seat spare, *seat;
    struct place at = *place;
    bool tell;
    int rc;

    pthread_mutex_lock(&log->base.lock);
    seat = take_seat(log, place, partition, *from);
    pthread_mutex_unlock(&log->base.lock);
    if (seat == NULL) {
        memset(&spare, 0, sizeof(spare));
        seat = &spare;
    }
    if (at.inside && !at.indexed && !seat_goes_on(seat, &at, partition, *from)) {
        build_index(log, at.segment);
        pthread_mutex_lock(&log->base.lock);
        find_place(log, partition, *from, &at);
        pthread_mutex_unlock(&log->base.lock);
    }
    rc = seat_open(log, seat, &at, partition, *from);
    if (rc == 0) {
        rc = read_frames(seat, &at, partition, from, max_records, fn, user);
    }
    pthread_mutex_lock(&log->base.lock);
    tell = seat->segment != 0 && count_bad(log, &seat->reader, seat->segment);
    pthread_mutex_unlock(&log->base.lock);
    if (tell) {
        log->host->log(log->ctx, TPC_LOG_ERROR, "segment %016llx has bad frames: passed over",
                       (unsigned long long) at.segment);
    }
    if (seat == &spare) {
        seat_close(seat);
        return rc;
    }
    pthread_mutex_lock(&log->base.lock);
    seat->taken = false;
    pthread_mutex_unlock(&log->base.lock);
    return rc;
}

int tpi_log_read(void *self, uint32_t partition, uint64_t from, uint32_t max_records,
                 uint32_t flags, tpc_record_fn *fn, void *user, uint64_t *ret_next)
{
    struct tpi_file_log *log = self;
    uint32_t lost = 0;
    bool first = true;
    int rc = 0;

    if (partition >= log->base.tape.partitions) {
        return TPC_EINVAL;
    }
    while (rc == 0 && max_records > 0) {
        struct tpi_tape_view view;
        struct place place;
        uint64_t begin = 0, limit = UINT64_MAX;
        uint32_t at;

        pthread_mutex_lock(&log->base.lock);
        begin = log->segments[0]->offsets[partition];
        if ((flags & TPC_READ_FLUSHED) != 0) {
            limit = log->flushed_pos;
        }
        rc =
            from < begin ? TPC_EGAP : tpi_tape_seek(&log->base.tape, partition, from, limit, &view);
        if (rc == TPC_EGAP && from >= begin) {
            find_place(log, partition, from, &place);
        }
        pthread_mutex_unlock(&log->base.lock);
        if (rc == 0 || (rc == TPC_EGAP && from < begin)) {
            rc = first ? rc : 0;
            from = rc == TPC_EGAP ? begin : from;
            break;
        }
        if (rc == TPC_EGAP) {
            rc = read_disk(log, &place, partition, &from, &max_records, fn, user);
            if (rc == TPC_ENOENT && lost++ == 0) {
                rc = 0; /* trimmed in between: look again */
                continue;
            }
        } else {
            rc = tpi_tape_read(&view, partition, &from, &max_records, fn, user, &at);
            pthread_mutex_lock(&log->base.lock);
            tpi_tape_leave(&log->base.tape, partition, &view, at, from);
            pthread_mutex_unlock(&log->base.lock);
            if (view.after == 0 && at >= view.end) {
                break; /* all that there was */
            }
        }
        first = false;
    }
    *ret_next = from;
    return rc;
}
