/*
 * The log's tail: records at or above the watermark of their partition and the off_end of their
 * device. The database is read first, the log after it: what a later commit takes into chunks is
 * still in the log, and off_end, which is of the same snapshot as the chunks, says what they have.
 * Only trimming takes records away, and it takes whole segments that a commit has passed: a segment
 * that is missing below the watermark is seen by the offsets in the header of the next one.
 */
#include "door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/env.h"
#include "data/msg.h"

enum { RECORD_HEAD_BYTES = 12, FRAMES_A_PULSE = 32 };

struct tail_device {
    uint64_t off_end;
    uint32_t partition;     /* that off_end counts in */
    uint32_t pass;          /* that read it */
    struct tpi_buf records; /* undecoded: u64 time, u32 length, body; until pieces are asked for */
    struct tpi_buf bytes;   /* of the pieces */
    struct sqdoor_piece *pieces;
    size_t piece_count;
    size_t piece_cap;
};

void sqdoor_tail_init(struct sqdoor_tail *t)
{
    memset(t, 0, sizeof(*t));
    tpi_map64_init(&t->devices, &sqdoor_alloc);
}

static void device_free(struct tail_device *d)
{
    tpi_buf_fini(&d->records);
    tpi_buf_fini(&d->bytes);
    tpi_free(&sqdoor_alloc, d->pieces, d->piece_cap * sizeof(*d->pieces));
    tpi_free(&sqdoor_alloc, d, sizeof(*d));
}

static void forget_devices(struct sqdoor_tail *t)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&t->devices, &iter, NULL, &value)) {
        device_free(value);
    }
    tpi_map64_fini(&t->devices);
    tpi_free(&sqdoor_alloc, t->only, t->only_count * sizeof(*t->only));
}

void sqdoor_tail_fini(struct sqdoor_tail *t)
{
    forget_devices(t);
    for (uint32_t i = 0; i < t->reader_count; i++) {
        tpi_segment_reader_close(&t->readers[i]);
    }
    tpi_free(&sqdoor_alloc, t->readers, t->reader_cap * sizeof(*t->readers));
    tpi_free(&sqdoor_alloc, t->marks, TPI_LOG_PARTITIONS_MAX * sizeof(*t->marks));
    sqdoor_tail_init(t);
}

static int code_of(int rc)
{
    return rc == TPC_ENOMEM ? SQLITE_NOMEM : SQLITE_IOERR;
}

/* ---- opening ---- */

static int load_marks(struct sqdoor_view *v)
{
    struct sqdoor_tail *t = &v->tail;
    sqlite3_stmt *stmt = NULL;
    t->marks = tpi_alloc_zero(&sqdoor_alloc, TPI_LOG_PARTITIONS_MAX * sizeof(*t->marks));
    if (t->marks == NULL) {
        return SQLITE_NOMEM;
    }
    t->mark_count = TPI_LOG_PARTITIONS_MAX;
    int rc = sqdoor_prepare(v, v->db,
                            sqlite3_mprintf("SELECT key, value FROM \"%w\".mark WHERE type = %d",
                                            v->schema, TPC_MARK_WATERMARK),
                            &stmt);
    while (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
        int64_t partition = sqlite3_column_int64(stmt, 0);
        if (partition >= 0 && partition < t->mark_count) {
            t->marks[partition] = (uint64_t) sqlite3_column_int64(stmt, 1);
        }
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_finalize(stmt);
        rc = rc == SQLITE_OK ? rc : sqdoor_fail_sql(v, v->db, rc);
    }
    return rc;
}

struct listing {
    uint64_t *numbers;
    uint32_t count;
    uint32_t cap;
    bool short_of_memory;
};

static int on_name(void *user, const char *name)
{
    struct listing *l = user;
    uint64_t number = 0;
    int end = 0;
    unsigned long long x;
    if (strlen(name) != 20 || sscanf(name, "%16llx.tpl%n", &x, &end) != 1 || end != 20) {
        return 0;
    }
    number = x;
    if (l->count == l->cap) {
        uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
        void *grown = tpi_resize(&sqdoor_alloc, l->numbers, l->cap * sizeof(*l->numbers),
                                 cap * sizeof(*l->numbers));
        if (grown == NULL) {
            l->short_of_memory = true;
            return 1;
        }
        l->numbers = grown;
        l->cap = cap;
    }
    l->numbers[l->count++] = number;
    return 0;
}

/* Newest first. */
static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;
    return x > y ? -1 : x < y;
}

/* Whether a segment begins at or below all watermarks: no older one is needed. */
static bool reaches(const struct sqdoor_tail *t, const struct tpi_segment_reader *r)
{
    for (uint32_t p = 0; p < r->header.partitions && p < t->mark_count; p++) {
        if (r->offsets[p] > t->marks[p]) {
            return false;
        }
    }
    return true;
}

/* Opens one more, older segment. *ret_done = it was the last one needed. */
static int open_one(struct sqdoor_view *v, uint64_t number, bool *ret_done)
{
    struct sqdoor_tail *t = &v->tail;
    const struct tpc_files *files = tpi_files_system();
    char path[SQDOOR_PATH_BYTES + 32];
    struct tpi_segment_reader *r = &t->readers[t->reader_count];
    snprintf(path, sizeof(path), "%s/%016llx.tpl", v->log_dir, (unsigned long long) number);
    int rc = tpi_segment_reader_open(r, &sqdoor_alloc, files, path);
    if (rc == TPC_EDECODE && t->reader_count == 0) {
        return SQLITE_OK; /* just begun: its header is on its way */
    }
    if (rc == TPC_ENOENT) {
        return SQLITE_OK; /* trimmed; whether it matters is seen below */
    }
    if (rc != 0) {
        return sqdoor_fail(v, code_of(rc), "%s: %s", path, tpc_error_name(rc));
    }
    if (memcmp(&r->header.log_id, &v->log_id, sizeof(v->log_id)) != 0) {
        tpi_segment_reader_close(r);
        *ret_done = true; /* another log: this history is a copy, and stands for itself */
        return SQLITE_OK;
    }
    int64_t length = files->length(files->user, r->file, NULL);
    t->reader_count++;
    if (length < 0) {
        return sqdoor_fail(v, SQLITE_IOERR, "%s: its length cannot be read", path);
    }
    r->limit = (uint64_t) length;
    *ret_done = r->header.number == 1 || reaches(t, r);
    return SQLITE_OK;
}

static int open_segments(struct sqdoor_view *v, const struct listing *l)
{
    struct sqdoor_tail *t = &v->tail;
    bool done = false;
    int rc = SQLITE_OK;
    if (l->count == 0) {
        return rc;
    }
    t->readers = tpi_alloc_zero(&sqdoor_alloc, l->count * sizeof(*t->readers));
    if (t->readers == NULL) {
        return SQLITE_NOMEM;
    }
    t->reader_cap = l->count;
    for (uint32_t i = 0; rc == SQLITE_OK && !done && i < l->count; i++) {
        rc = open_one(v, l->numbers[i], &done);
    }
    if (rc == SQLITE_OK && !done && t->reader_count > 0) {
        return sqdoor_fail(v, SQLITE_BUSY_SNAPSHOT,
                           "the log in %s has been trimmed since this transaction began: end it "
                           "and ask again",
                           v->log_dir);
    }
    return rc;
}

static int open_log(struct sqdoor_view *v)
{
    struct sqdoor_tail *t = &v->tail;
    const struct tpc_files *files = tpi_files_system();
    struct listing l = { 0 };
    t->opened = true;
    if (v->log_dir[0] == '\0') {
        return SQLITE_OK;
    }
    int rc = load_marks(v);
    if (rc != SQLITE_OK) {
        return rc;
    }
    int listed = files->list(files->user, v->log_dir, on_name, &l, NULL);
    if (l.short_of_memory) {
        rc = SQLITE_NOMEM;
    } else if (listed != 0 && listed != TPC_ENOENT) {
        rc = sqdoor_fail(v, SQLITE_CANTOPEN, "%s: the log cannot be read: %s", v->log_dir,
                         tpc_error_name(listed));
    } else {
        if (l.count > 0) {
            qsort(l.numbers, l.count, sizeof(*l.numbers), by_number);
        }
        rc = open_segments(v, &l);
    }
    tpi_free(&sqdoor_alloc, l.numbers, l.cap * sizeof(*l.numbers));
    return rc;
}

/* ---- reading ---- */

static bool wanted(const struct sqdoor_tail *t, uint64_t device)
{
    size_t low = 0;
    size_t high = t->only_count;
    if (t->all) {
        return true;
    }
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->only[mid] < device) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < t->only_count && t->only[low] == device;
}

static int device_of(struct sqdoor_view *v, uint64_t id, struct tail_device **ret)
{
    struct tail_device *d = tpi_map64_get(&v->tail.devices, id);
    if (d == NULL) {
        d = tpi_alloc_zero(&sqdoor_alloc, sizeof(*d));
        if (d == NULL) {
            return SQLITE_NOMEM;
        }
        tpi_buf_init(&d->records, &sqdoor_alloc, 0);
        tpi_buf_init(&d->bytes, &sqdoor_alloc, 0);
        d->pass = v->tail.pass;
        int rc = sqdoor_off_end(v, id, &d->off_end, &d->partition);
        if (rc == SQLITE_OK && tpi_map64_put(&v->tail.devices, id, d, NULL) != 0) {
            rc = SQLITE_NOMEM;
        }
        if (rc != SQLITE_OK) {
            device_free(d);
            return rc;
        }
    }
    *ret = d;
    return SQLITE_OK;
}

static int keep(struct sqdoor_view *v, const struct tpc_record *r)
{
    struct tail_device *d = NULL;
    if ((r->kind != TPC_MSG_TELEMETRY && r->kind != TPC_MSG_ATTRIBUTES) || r->device_id == 0 ||
        !wanted(&v->tail, r->device_id)) {
        return SQLITE_OK;
    }
    int rc = device_of(v, r->device_id, &d);
    if (rc != SQLITE_OK || d->pass != v->tail.pass ||
        (r->partition == d->partition && r->offset < d->off_end)) {
        return rc; /* read by an earlier pass, or in a chunk */
    }
    if (tpi_buf_reserve(&d->records, RECORD_HEAD_BYTES + r->body.len) != 0) {
        return SQLITE_NOMEM;
    }
    (void) tpi_buf_u64(&d->records, (uint64_t) r->unix_ms);
    (void) tpi_buf_u32(&d->records, (uint32_t) r->body.len);
    (void) tpi_buf_put(&d->records, r->body.ptr, r->body.len);
    return SQLITE_OK;
}

static int read_frame(struct sqdoor_view *v, const struct tpi_frame *f)
{
    int rc = SQLITE_OK;
    for (uint32_t i = 0; rc == SQLITE_OK && i < f->run_count; i++) {
        struct tpi_record_walk walk;
        struct tpc_record r;
        struct tpi_run run;
        tpi_frame_run(f, i, &run);
        uint64_t mark = run.partition < v->tail.mark_count ? v->tail.marks[run.partition] : 0;
        if (run.offset + run.count <= mark) {
            continue;
        }
        tpi_record_walk_init(&walk, f, &run);
        tpi_record_walk_seek(&walk, mark);
        while (rc == SQLITE_OK && tpi_record_walk_next(&walk, &r)) {
            rc = keep(v, &r);
        }
    }
    return rc;
}

static int read_segment(struct sqdoor_view *v, struct tpi_segment_reader *r)
{
    struct tpi_frame f;
    int rc = SQLITE_OK;
    int got;
    uint32_t frames = 0;
    tpi_segment_reader_seek(r, 0);
    while (rc == SQLITE_OK && (got = tpi_segment_reader_next(r, &f)) != 0) {
        if (got < 0) {
            return sqdoor_fail(v, code_of(got), "the log in %s cannot be read: %s", v->log_dir,
                               tpc_error_name(got));
        }
        rc = frames++ % FRAMES_A_PULSE == 0 ? sqdoor_pulse(v) : SQLITE_OK;
        rc = rc != SQLITE_OK ? rc : read_frame(v, &f);
    }
    /* only the file stays open: there may be many, and mostly they are read once */
    tpi_free(r->alloc, r->buf, r->cap);
    r->buf = NULL;
    r->cap = 0;
    r->len = 0;
    return rc;
}

/* What is to be read: these devices, or all if others were read before. */
static int choose(struct sqdoor_tail *t, const uint64_t *devices, size_t count)
{
    if (t->pass > 0 || devices == NULL) {
        t->all = true;
        return SQLITE_OK;
    }
    if (count > 0) {
        t->only = tpi_alloc_array(&sqdoor_alloc, count, sizeof(*t->only));
        if (t->only == NULL) {
            return SQLITE_NOMEM;
        }
        memcpy(t->only, devices, count * sizeof(*devices));
    }
    t->only_count = count;
    return SQLITE_OK;
}

static bool has_all(const struct sqdoor_tail *t, const uint64_t *devices, size_t count)
{
    bool has = t->pass > 0 && (devices != NULL || t->all);
    for (size_t i = 0; has && devices != NULL && i < count; i++) {
        has = wanted(t, devices[i]);
    }
    return has;
}

int sqdoor_tail_read(struct sqdoor_view *v, const uint64_t *devices, size_t count)
{
    struct sqdoor_tail *t = &v->tail;
    if (t->failed != SQLITE_OK || has_all(t, devices, count)) {
        return t->failed;
    }
    int rc = choose(t, devices, count);
    t->pass++;
    if (rc == SQLITE_OK && !t->opened) {
        rc = open_log(v);
    }
    for (uint32_t i = t->reader_count; rc == SQLITE_OK && i > 0; i--) {
        rc = read_segment(v, &t->readers[i - 1]);
    }
    t->failed = rc;
    return rc;
}

/* ---- decoding ---- */

struct decoding {
    struct tail_device *d;
    struct tpi_buf samples; /* of the next piece */
    uint32_t count;
    int64_t last_ms;
    struct tpi_chunk_encoder encoder;
};

static int end_piece(struct decoding *k)
{
    struct tail_device *d = k->d;
    if (k->count == 0) {
        return 0;
    }
    if (d->piece_count == d->piece_cap) {
        size_t cap = d->piece_cap == 0 ? 1 : d->piece_cap * 2;
        void *grown = tpi_resize(&sqdoor_alloc, d->pieces, d->piece_cap * sizeof(*d->pieces),
                                 cap * sizeof(*d->pieces));
        if (grown == NULL) {
            return TPC_ENOMEM;
        }
        d->pieces = grown;
        d->piece_cap = cap;
    }
    struct sqdoor_piece *p = &d->pieces[d->piece_count];
    memset(p, 0, sizeof(*p));
    p->at = d->bytes.len;
    int rc = tpi_chunk_encode(&k->encoder, (struct tpc_bytes){ k->samples.ptr, k->samples.len }, 0,
                              0, &d->bytes, &p->span);
    if (rc == 0) {
        p->len = d->bytes.len - p->at;
        p->rank = d->piece_count++;
        k->count = 0;
        tpi_buf_clear(&k->samples);
    }
    return rc;
}

/* As the history takes them: no property id, no sample. */
static int put_points(struct decoding *k, const struct tpc_msg *m)
{
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        int64_t at = p->unix_ms != 0 ? p->unix_ms : m->unix_ms;
        if (p->property == TPC_PROPERTY_NONE || p->value.type > TPC_MAP) {
            continue;
        }
        bool timed = k->count == 0 || at != k->last_ms;
        int rc = tpi_chunk_sample_put(&k->samples, timed ? &at : NULL, p->property, &p->value);
        if (rc == TPC_ENOMEM) {
            return rc;
        }
        k->count += rc == 0;
        k->last_ms = rc == 0 ? at : k->last_ms;
    }
    return 0;
}

static int decode_all(struct decoding *k, struct tpc_arena *arena)
{
    struct tpi_reader in;
    int rc = 0;
    tpi_reader_init(&in, k->d->records.ptr, k->d->records.len);
    while (rc == 0 && tpi_reader_left(&in) >= RECORD_HEAD_BYTES) {
        struct tpc_msg m;
        memset(&m, 0, sizeof(m));
        m.size = sizeof(m);
        m.unix_ms = (int64_t) tpi_read_u64(&in);
        uint32_t len = tpi_read_u32(&in);
        tpc_arena_reset(arena);
        rc = tpi_msg_decode((struct tpc_bytes){ tpi_read_bytes(&in, len), len }, arena, NULL, &m);
        if (rc == 0) {
            rc = put_points(k, &m);
        } else if (rc != TPC_ENOMEM) {
            rc = 0; /* the history passes over it, too */
        }
        if (rc == 0 && (k->count >= SQDOOR_PIECE_SAMPLES || k->samples.len >= SQDOOR_PIECE_BYTES)) {
            rc = end_piece(k);
        }
    }
    return rc != 0 ? rc : end_piece(k);
}

static int decode(struct sqdoor_view *v, uint64_t device, struct tail_device *d)
{
    struct decoding k = { .d = d };
    struct tpc_arena *arena = NULL;
    tpi_buf_init(&k.samples, &sqdoor_alloc, 0);
    tpi_chunk_encoder_init(&k.encoder, &sqdoor_alloc);
    int rc = tpc_arena_create(&sqdoor_alloc, SQDOOR_ARENA_BYTES, &arena);
    rc = rc != 0 ? rc : decode_all(&k, arena);
    tpc_arena_destroy(arena);
    tpi_chunk_encoder_fini(&k.encoder);
    tpi_buf_fini(&k.samples);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? SQLITE_NOMEM
                                : sqdoor_fail(v, SQLITE_ERROR, "open samples of device %llu: %s",
                                              (unsigned long long) device, tpc_error_name(rc));
    }
    tpi_buf_fini(&d->records);
    tpi_buf_init(&d->records, &sqdoor_alloc, 0);
    return SQLITE_OK;
}

int sqdoor_tail_pieces(struct sqdoor_view *v, uint64_t device, const struct sqdoor_piece **ret,
                       size_t *ret_count, const uint8_t **ret_bytes)
{
    struct tail_device *d = tpi_map64_get(&v->tail.devices, device);
    *ret = NULL;
    *ret_count = 0;
    *ret_bytes = NULL;
    if (d == NULL) {
        return SQLITE_OK;
    }
    int rc = d->records.len > 0 ? decode(v, device, d) : SQLITE_OK;
    if (rc == SQLITE_OK) {
        *ret = d->pieces;
        *ret_count = d->piece_count;
        *ret_bytes = d->bytes.ptr;
    }
    return rc;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = (int64_t) * (const uint64_t *) a;
    int64_t y = (int64_t) * (const uint64_t *) b;
    return x < y ? -1 : x > y;
}

int sqdoor_tail_devices(struct sqdoor_view *v, uint64_t **ret, size_t *ret_count)
{
    size_t count = tpi_map64_count(&v->tail.devices);
    size_t iter = 0;
    size_t n = 0;
    uint64_t *list = NULL;
    if (count > 0) {
        list = tpi_alloc_array(&sqdoor_alloc, count, sizeof(*list));
        if (list == NULL) {
            return SQLITE_NOMEM;
        }
        while (n < count && tpi_map64_next(&v->tail.devices, &iter, &list[n], NULL)) {
            n++;
        }
        qsort(list, count, sizeof(*list), by_id);
    }
    *ret = list;
    *ret_count = count;
    return SQLITE_OK;
}
