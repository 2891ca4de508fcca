/*
 * Frames in memory. A batch becomes one frame: its records are sorted by partition (stable), so
 * that a reader of one partition steps over the others' records at once.
 */
#include "bus/tape.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"

#include <assert.h>
#include <string.h>

static struct tpc_record *record_at(struct tpc_record *records, uint32_t i, size_t record_size)
{
    return (struct tpc_record *) (void *) ((char *) records + (size_t) i * record_size);
}

static size_t chunk_size(uint32_t partitions, uint32_t cap)
{
    return sizeof(struct tpi_chunk) + (size_t) partitions * sizeof(uint64_t) + cap;
}

static void chunk_free(struct tpi_tape *t, struct tpi_chunk *c)
{
    if (c->cap == t->chunk_bytes && t->spare_count < TPI_TAPE_SPARES) {
        c->older = t->spares;
        t->spares = c;
        t->spare_count++;
        return;
    }
    tpi_free(t->alloc, c, chunk_size(c->partitions, c->cap));
}

static struct tpi_chunk *chunk_make(struct tpi_tape *t, size_t n)
{
    uint32_t cap = n > t->chunk_bytes ? (uint32_t) n : t->chunk_bytes;
    struct tpi_chunk *c;

    if (cap == t->chunk_bytes && t->spares != NULL) {
        c = t->spares;
        t->spares = c->older;
        t->spare_count--;
    } else {
        c = tpi_alloc(t->alloc, chunk_size(t->partitions, cap));
        if (c == NULL) {
            return NULL;
        }
    }
    memset(c, 0, sizeof(*c));
    c->cap = cap;
    c->partitions = t->partitions;
    c->data = (uint8_t *) (c->offsets + t->partitions);
    return c;
}

int tpi_tape_init(struct tpi_tape *t, const struct tpc_allocator *alloc, uint32_t partitions,
                  uint32_t chunk_bytes)
{
    memset(t, 0, sizeof(*t));
    t->alloc = alloc;
    t->chunk_bytes = chunk_bytes;
    t->parts = tpi_alloc_array(alloc, partitions, sizeof(*t->parts));
    if (t->parts == NULL) {
        return TPC_ENOMEM;
    }
    t->partitions = partitions;
    t->runs = tpi_alloc_array(alloc, partitions, sizeof(*t->runs));
    return t->runs == NULL ? TPC_ENOMEM : 0;
}

void tpi_tape_free_spares(struct tpi_tape *t)
{
    while (t->spares != NULL) {
        struct tpi_chunk *c = t->spares;

        t->spares = c->older;
        tpi_free(t->alloc, c, chunk_size(c->partitions, c->cap));
    }
    t->spare_count = 0;
}

void tpi_tape_fini(struct tpi_tape *t)
{
    while (t->oldest != NULL) {
        tpi_tape_drop(t);
    }
    tpi_tape_free_spares(t);
    tpi_free(t->alloc, t->parts, (size_t) t->partitions * sizeof(*t->parts));
    tpi_free(t->alloc, t->runs, (size_t) t->partitions * sizeof(*t->runs));
    tpi_free(t->alloc, t->links, (size_t) t->link_cap * sizeof(*t->links));
    memset(t, 0, sizeof(*t));
}

int tpi_tape_measure(const struct tpi_tape *t, const struct tpc_record *records, uint32_t count,
                     size_t record_size, uint64_t record_max, struct tpc_error *err,
                     size_t *ret_bytes)
{
    size_t runs = count < t->partitions ? count : t->partitions;
    size_t bytes = TPI_FRAME_HEADER_BYTES + runs * TPI_RUN_BYTES;
    uint32_t i;

    for (i = 0; i < count; i++) {
        const struct tpc_record *r = TPC_LIST_AT(
            struct tpc_record, ((struct tpc_list){ records, count, (uint32_t) record_size }), i);

        if (r->partition >= t->partitions) {
            return tpi_error_set(err, TPC_EINVAL, "log", "partition %u of %u", r->partition,
                                 t->partitions);
        }
        if (r->body.len > record_max) {
            return tpi_error_set(err, TPC_ETOOBIG, "log", "record of %zu bytes, at most %llu",
                                 r->body.len, (unsigned long long) record_max);
        }
        bytes += tpi_record_bound(r);
        if (bytes > TPI_FRAME_MAX) {
            return tpi_error_set(err, TPC_ETOOBIG, "log", "batch of more than %d bytes",
                                 (int) TPI_FRAME_MAX);
        }
    }
    *ret_bytes = bytes;
    return 0;
}

int tpi_tape_begin(struct tpi_tape *t, size_t n, int64_t now_ms)
{
    struct tpi_chunk *c = chunk_make(t, n);
    uint32_t i;

    if (c == NULL) {
        return TPC_ENOMEM;
    }
    c->id = t->next_id++;
    c->start = t->pos;
    c->sequence = t->sequence + 1;
    c->first_unix_ms = now_ms;
    c->last_unix_ms = now_ms;
    for (i = 0; i < t->partitions; i++) {
        c->offsets[i] = t->parts[i].next;
    }
    c->older = t->newest;
    if (t->newest != NULL) {
        t->newest->newer = c;
    } else {
        t->oldest = c;
    }
    t->newest = c;
    t->bytes += c->cap;
    return 0;
}

int tpi_tape_room(struct tpi_tape *t, size_t n, int64_t now_ms, bool *ret_begun)
{
    *ret_begun = false;
    if (t->newest != NULL && t->newest->cap - t->newest->len >= n) {
        return 0;
    }
    *ret_begun = true;
    return tpi_tape_begin(t, n, now_ms);
}

int tpi_tape_links(struct tpi_tape *t, uint32_t count)
{
    uint32_t *links;

    if (count <= t->link_cap) {
        return 0;
    }
    links = tpi_resize(t->alloc, t->links, (size_t) t->link_cap * sizeof(*links),
                       (size_t) count * sizeof(*links));
    if (links == NULL) {
        return TPC_ENOMEM;
    }
    t->links = links;
    t->link_cap = count;
    return 0;
}

/* Gives out the offsets and chains the records of each partition. Returns the number of runs. */
static uint32_t sort_runs(struct tpi_tape *t, struct tpc_record *records, uint32_t count,
                          size_t record_size)
{
    uint32_t run_count = 0;
    uint32_t i;

    t->stamp++;
    for (i = 0; i < count; i++) {
        struct tpc_record *r = record_at(records, i, record_size);
        struct tpi_tape_part *part = &t->parts[r->partition];
        struct tpi_tape_run *run;

        t->links[i] = UINT32_MAX;
        if (part->stamp != t->stamp) {
            part->stamp = t->stamp;
            part->run = run_count++;
            run = &t->runs[part->run];
            run->partition = r->partition;
            run->count = 0;
            run->first = i;
        } else {
            run = &t->runs[part->run];
            t->links[run->last] = i;
        }
        run->last = i;
        run->count++;
        r->offset = part->next++;
    }
    return run_count;
}

uint32_t tpi_tape_append(struct tpi_tape *t, struct tpc_record *records, uint32_t count,
                         size_t record_size, int64_t now_ms)
{
    struct tpi_chunk *c = t->newest;
    uint8_t *frame = c->data + c->len;
    struct tpi_frame f;
    uint32_t run_count = sort_runs(t, records, count, record_size);
    uint8_t *p = frame + TPI_FRAME_HEADER_BYTES + (size_t) run_count * TPI_RUN_BYTES;
    uint32_t i, k;

    f.base_unix_ms = record_at(records, 0, record_size)->received_unix_ms;
    for (i = 0; i < run_count; i++) {
        const struct tpi_tape_run *run = &t->runs[i];
        uint8_t *begin = p;
        struct tpi_run out;

        for (k = run->first; k != UINT32_MAX; k = t->links[k]) {
            p = tpi_record_write(p, record_at(records, k, record_size), f.base_unix_ms);
        }
        out.partition = run->partition;
        out.count = run->count;
        out.offset = record_at(records, run->first, record_size)->offset;
        out.at = (uint32_t) (begin - frame);
        out.bytes = (uint32_t) (p - begin);
        tpi_run_write(frame, i, &out);
    }
    f.length = (uint32_t) (p - frame);
    f.count = count;
    f.run_count = run_count;
    f.sequence = t->sequence + 1;
    tpi_frame_write(&f, frame);
    assert(f.length <= c->cap - c->len);
    c->len += f.length;
    c->last_unix_ms = now_ms;
    t->pos += f.length;
    t->sequence += count;
    return f.length;
}

void tpi_tape_drop(struct tpi_tape *t)
{
    struct tpi_chunk *c = t->oldest;

    t->oldest = c->newer;
    if (t->oldest != NULL) {
        t->oldest->older = NULL;
    } else {
        t->newest = NULL;
    }
    t->bytes -= c->cap;
    if (c->pins > 0) {
        c->dropped = 1;
        return;
    }
    chunk_free(t, c);
}

uint64_t tpi_tape_first(const struct tpi_tape *t, uint32_t partition)
{
    return t->oldest != NULL ? t->oldest->offsets[partition] : t->parts[partition].next;
}

/* Where a reader that wanted an offset left off in a chunk. The same offset may be wanted in two
 * chunks: at the end of one and, before its record is there, at the begin of the next. */
static const struct tpi_tape_hint *find_hint(const struct tpi_tape_part *part,
                                             const struct tpi_chunk *c, uint64_t from)
{
    uint32_t i;

    for (i = 0; i < TPI_TAPE_HINTS; i++) {
        const struct tpi_tape_hint *h = &part->hints[i];

        if (h->chunk == c && h->chunk_id == c->id && h->offset == from) {
            return h;
        }
    }
    return NULL;
}

int tpi_tape_seek(struct tpi_tape *t, uint32_t partition, uint64_t from, uint64_t limit,
                  struct tpi_tape_view *ret)
{
    struct tpi_tape_part *part = &t->parts[partition];
    const struct tpi_tape_hint *hint;
    struct tpi_chunk *c;
    uint64_t end;

    if (from >= part->next) {
        return 0;
    }
    if (t->oldest == NULL || t->oldest->offsets[partition] > from) {
        return TPC_EGAP;
    }
    c = t->newest;
    while (c->offsets[partition] > from) {
        c = c->older;
    }
    hint = find_hint(part, c, from);
    ret->at = hint != NULL ? hint->at : c->first_frame;
    ret->chunk = c;
    ret->after = c->newer != NULL ? c->newer->offsets[partition] : 0;
    end = limit > c->start ? limit - c->start : 0;
    ret->end = c->len;
    if (end < ret->end) {
        ret->end = (uint32_t) end;
        ret->after = 0;
    }
    if (ret->at >= ret->end && ret->after <= from) {
        return 0;
    }
    c->pins++;
    return 1;
}

void tpi_tape_leave(struct tpi_tape *t, uint32_t partition, const struct tpi_tape_view *view,
                    uint32_t at, uint64_t offset)
{
    struct tpi_chunk *c = view->chunk;
    struct tpi_tape_part *part = &t->parts[partition];
    struct tpi_tape_hint *h = NULL;
    uint32_t i;

    c->pins--;
    if (c->dropped != 0) {
        if (c->pins == 0) {
            chunk_free(t, c);
        }
        return;
    }
    for (i = 0; i < TPI_TAPE_HINTS; i++) {
        if (part->hints[i].chunk == c && part->hints[i].offset <= offset) {
            h = &part->hints[i];
        }
    }
    if (h == NULL) {
        h = &part->hints[part->next_hint++ % TPI_TAPE_HINTS];
    }
    h->offset = offset;
    h->chunk = c;
    h->chunk_id = c->id;
    h->at = at;
}

int tpi_frame_deliver(const struct tpi_frame *f, uint32_t partition, uint64_t *from,
                      uint32_t *max_records, tpc_record_fn *fn, void *user, bool *ret_whole)
{
    struct tpi_record_walk walk;
    struct tpc_record record;
    struct tpi_run run;
    int rc = 0;

    *ret_whole = true;
    if (!tpi_frame_find(f, partition, &run) || run.offset + run.count <= *from) {
        return 0;
    }
    tpi_record_walk_init(&walk, f, &run);
    tpi_record_walk_seek(&walk, *from);
    while (rc == 0 && *max_records > 0 && tpi_record_walk_next(&walk, &record)) {
        *from = walk.offset;
        --*max_records;
        rc = fn(user, &record);
    }
    *ret_whole = walk.left == 0 || (rc == 0 && *max_records > 0);
    if (*ret_whole && rc == 0) {
        *from = run.offset + run.count; /* a malformed rest of the run is passed over */
    }
    return rc;
}

int tpi_tape_read(const struct tpi_tape_view *view, uint32_t partition, uint64_t *from,
                  uint32_t *max_records, tpc_record_fn *fn, void *user, uint32_t *ret_at)
{
    uint32_t at = view->at;
    struct tpi_frame f;
    bool whole = true;
    int rc = 0;

    while (rc == 0 && whole && *max_records > 0 && at < view->end) {
        if (!tpi_frame_parse(view->chunk->data + at, false, &f)) {
            assert(false && "a frame in memory is good");
            break;
        }
        rc = tpi_frame_deliver(&f, partition, from, max_records, fn, user, &whole);
        if (whole) {
            at += f.length;
        }
    }
    *ret_at = at;
    if (at >= view->end && rc == 0 && view->after > *from) {
        *from = view->after;
    }
    return rc;
}
