/*
 * The chunks of a device, in windows of time.
 *
 * The device's open samples are copied and encoded first, then the store is scanned, so a sample
 * that a commit moves meanwhile is seen at least once; seeing it twice does no harm, because of
 * samples with one property and time only the last appended counts. Chunks may overlap, so the
 * query works in windows: it takes chunks in time order until enough of their rows lie before the
 * next chunk's begin; up to there nothing else can come. A scan ends with its window: no back end
 * holds a snapshot while the caller works on a batch.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "store/history_read.h"

enum {
    WINDOW_BYTES = 4 << 20, /* of chunks: above it a window ends as soon as it can */
    WINDOW_GROWTH = 4
};

/* ---- the open part ---- */

static int copy_open(struct tpi_history_rows *r, const struct open_device *d)
{
    for (const struct open_chunk *c = d->first; c != NULL; c = c->next) {
        if (c->samples.bytes.len == 0 || c->max_ms < r->q.from_unix_ms ||
            c->min_ms >= r->q.to_unix_ms) {
            continue;
        }
        struct tpi_part *p = tpi_list_add(r->alloc, &r->parts);
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        *p = (struct tpi_part){ .begin = r->raw.len,
                                .len = c->samples.bytes.len,
                                .first_offset = c->first_offset,
                                .last_offset = c->last_offset,
                                .stored_id = c->stored_id };
        int rc = tpi_buf_put(&r->raw, c->samples.bytes.ptr, c->samples.bytes.len);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

void tpi_read_rewind(struct tpi_history_rows *r)
{
    r->low = r->q.from_unix_ms;
    r->high = r->q.to_unix_ms;
    r->window_rows = r->window_first;
    r->ended = false;
    r->clusters.count = 0;
    r->cluster = 0;
    r->segment = NULL;
}

int tpi_read_begin(struct tpi_history_rows *r)
{
    struct tpi_history *h = r->h;
    tpi_buf_clear(&r->raw);
    tpi_buf_clear(&r->blobs);
    r->parts.count = 0;
    pthread_mutex_lock(&h->lock);
    const struct open_device *d = tpi_open_device_get(h, r->q.devices[r->device].id);
    int rc = d != NULL ? copy_open(r, d) : 0;
    pthread_mutex_unlock(&h->lock);
    struct tpi_part *parts = r->parts.items;
    for (size_t i = 0; rc == 0 && i < r->parts.count; i++) {
        struct tpi_part *p = &parts[i];
        struct tpc_bytes samples = { r->raw.ptr + p->begin, p->len };
        p->begin = r->blobs.len;
        rc = tpi_chunk_encode(&r->encoder, samples, p->first_offset, p->last_offset, &r->blobs,
                              &p->span);
        p->len = r->blobs.len - p->begin;
    }
    tpi_read_wanted(r);
    tpi_read_rewind(r);
    r->emitted = 0;
    r->begun = rc == 0;
    return rc;
}

/* ---- a window ---- */

struct scanning {
    struct tpi_history_rows *r;
    int64_t border; /* the window ends there (descending: begins) */
    bool cut;
    uint64_t rows;
    uint64_t bytes;
    uint64_t look; /* rows at which it is worth to look for a border */
};

/* Rows of chunks that lie wholly before the given one. */
static uint64_t whole_rows(const struct tpi_history_rows *r, const struct tpc_chunk *next)
{
    const struct tpi_source *s = r->sources.items;
    uint64_t rows = 0;
    for (size_t i = 0; i < r->sources.count; i++) {
        bool whole =
            r->descending ? s[i].first_ms > next->last_unix_ms : s[i].last_ms < next->first_unix_ms;
        rows += whole ? s[i].rows : 0;
    }
    return rows;
}

static bool border_here(struct scanning *k, const struct tpc_chunk *next)
{
    const struct tpi_history_rows *r = k->r;
    bool many = k->bytes >= WINDOW_BYTES;
    if (k->rows < k->look && !many) {
        return false;
    }
    uint64_t whole = whole_rows(r, next);
    if (whole >= r->window_rows || (many && whole > 0)) {
        return true;
    }
    k->look = k->rows + r->window_rows / 4;
    k->bytes = 0;
    return false;
}

static int take_chunk(void *user, const struct tpc_chunk *chunk)
{
    struct scanning *k = user;
    struct tpi_history_rows *r = k->r;
    if (border_here(k, chunk)) {
        k->cut = true;
        k->border = r->descending ? chunk->last_unix_ms + 1 : chunk->first_unix_ms;
        return 1;
    }
    uint8_t *copy = tpc_arena_take(r->window, chunk->blob.len + 1);
    struct tpi_source *s = copy != NULL ? tpi_list_add(r->alloc, &r->sources) : NULL;
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    if (chunk->blob.len > 0) {
        memcpy(copy, chunk->blob.ptr, chunk->blob.len);
    }
    s->rank = chunk->id;
    s->blob = (struct tpc_bytes){ copy, chunk->blob.len };
    s->rows = chunk->samples;
    s->first_ms = chunk->first_unix_ms;
    s->last_ms = chunk->last_unix_ms;
    k->rows += chunk->samples;
    k->bytes += chunk->blob.len;
    return 0;
}

/* The chunk that the store has of a part's samples, or NULL. */
static struct tpi_source *stored_state(struct tpi_history_rows *r, const struct tpi_part *p)
{
    struct tpi_source *s = r->sources.items;
    for (size_t i = r->sources.count; i > 0 && p->stored_id != 0; i--) {
        if (s[i - 1].rank == p->stored_id && !s[i - 1].open) {
            return &s[i - 1];
        }
    }
    return NULL;
}

/* A chunk only grows: of two states of one, the longer one has all of the other. */
static int take_part(struct tpi_history_rows *r, const struct tpi_part *p, size_t from_end)
{
    struct tpi_source *s = stored_state(r, p);
    struct tpi_chunk_reader in;
    if (s != NULL) {
        int rc = tpi_read_open_chunk(r, s, &in);
        if (rc != 0 || in.span.last_offset > p->last_offset) {
            return rc;
        }
    } else {
        s = tpi_list_add(r->alloc, &r->sources);
    }
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    *s = (struct tpi_source){ .rank = p->stored_id != 0 ? p->stored_id : UINT64_MAX - from_end,
                              .blob = { r->blobs.ptr + p->begin, p->len },
                              .first_ms = p->span.first_unix_ms,
                              .last_ms = p->span.last_unix_ms,
                              .rows = p->span.rows,
                              .open = true };
    return 0;
}

static int compare_sources(const void *a, const void *b)
{
    const struct tpi_source *x = a;
    const struct tpi_source *y = b;
    if (x->first_ms != y->first_ms) {
        return x->first_ms < y->first_ms ? -1 : 1;
    }
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Sorts the sources and puts those that overlap one another together. */
static int make_clusters(struct tpi_history_rows *r)
{
    struct tpi_source *s = r->sources.items;
    bool sorted = true;
    for (size_t i = 1; i < r->sources.count; i++) {
        sorted = sorted && compare_sources(&s[i - 1], &s[i]) <= 0;
    }
    if (!sorted) {
        qsort(s, r->sources.count, sizeof(*s), compare_sources);
    }
    r->clusters.count = 0;
    int64_t last = 0;
    for (size_t i = 0; i < r->sources.count; i++) {
        if (i > 0 && s[i].first_ms <= last) {
            ((struct tpi_cluster *) r->clusters.items)[r->clusters.count - 1].count++;
            last = s[i].last_ms > last ? s[i].last_ms : last;
            continue;
        }
        struct tpi_cluster *c = tpi_list_add(r->alloc, &r->clusters);
        if (c == NULL) {
            r->clusters.count = 0;
            return TPC_ENOMEM;
        }
        *c = (struct tpi_cluster){ i, 1 };
        last = s[i].last_ms;
    }
    r->cluster = r->descending ? r->clusters.count : 0;
    return 0;
}

static int scan_window(struct tpi_history_rows *r, struct scanning *k)
{
    struct tpc_scan scan = { .size = sizeof(scan),
                             .descending = r->descending,
                             .device_id = r->q.devices[r->device].id,
                             .from_unix_ms = r->low,
                             .to_unix_ms = r->high };
    tpc_arena_reset(r->window);
    r->sources.count = 0;
    int rc = r->h->ops->scan(r->h->self, &scan, take_chunk, k);
    return rc < 0 ? rc : 0;
}

static int next_window(struct tpi_history_rows *r)
{
    struct scanning k = { .r = r, .look = r->window_rows };
    r->clusters.count = 0;
    r->cluster = 0;
    int rc = scan_window(r, &k);
    r->window_low = k.cut && r->descending ? k.border : r->low;
    r->window_high = k.cut && !r->descending ? k.border : r->high;
    const struct tpi_part *p = r->parts.items;
    for (size_t i = 0; rc == 0 && i < r->parts.count; i++) {
        if (p[i].span.last_unix_ms >= r->window_low && p[i].span.first_unix_ms < r->window_high) {
            rc = take_part(r, &p[i], r->parts.count - i);
        }
    }
    rc = rc != 0 ? rc : make_clusters(r);
    if (rc != 0) {
        return rc;
    }
    r->ended = !k.cut;
    if (k.cut) {
        *(r->descending ? &r->high : &r->low) = k.border;
    }
    uint64_t more = r->window_rows * WINDOW_GROWTH;
    r->window_rows = more < r->window_most ? more : r->window_most;
    return 0;
}

/* ---- clusters ---- */

bool tpi_read_window_left(const struct tpi_history_rows *r)
{
    return r->descending ? r->cluster > 0 : r->cluster < r->clusters.count;
}

int tpi_read_cluster(struct tpi_history_rows *r, struct tpi_source **ret, size_t *ret_count)
{
    while (!tpi_read_window_left(r)) {
        int rc = r->ended ? 0 : next_window(r);
        if (rc != 0 || (r->ended && !tpi_read_window_left(r))) {
            return rc;
        }
    }
    const struct tpi_cluster *c = r->clusters.items;
    c += r->descending ? --r->cluster : r->cluster++;
    *ret = (struct tpi_source *) r->sources.items + c->first;
    *ret_count = c->count;
    return 1;
}

bool tpi_read_inside(const struct tpi_history_rows *r, const struct tpi_source *s)
{
    return s->first_ms >= r->window_low && s->last_ms < r->window_high;
}
