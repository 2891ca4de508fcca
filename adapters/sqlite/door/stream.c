/*
 * Samples of one device, merged from its chunks and its open samples in the order of their times,
 * forwards or backwards. A chunk is loaded when the merge reaches its first time and dropped after
 * its last one, so what is in memory at once are chunks that overlap each other.
 */
#include "door.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

/* A column's values: dense for numbers (place k is the k-th row that has one), else by row. */
struct source_column {
    uint16_t property;
    uint8_t type;
    struct tpc_bytes presence; /* empty = every row has one */
    uint32_t next;             /* dense place of the present row or of the next row that has one */
    const int64_t *ints;
    const double *doubles;
    const struct tpc_value *values;
};

struct sqdoor_source {
    struct sqdoor_source *next;
    uint64_t rank; /* of samples with one time the one with the greatest rank holds */
    struct tpi_buf blob;
    struct tpc_arena *arena;
    int64_t *times;
    uint32_t rows;
    uint32_t row; /* next one; backwards: one past it */
    struct source_column *columns;
    uint32_t column_count;
};

void sqdoor_stream_init(struct sqdoor_stream *s, struct sqdoor_view *v)
{
    memset(s, 0, sizeof(*s));
    s->view = v;
    s->ended = true;
    sqdoor_device_init(&s->device);
}

static void rest_sources(struct sqdoor_stream *s)
{
    while (s->active != NULL) {
        struct sqdoor_source *x = s->active;
        s->active = x->next;
        x->next = s->idle;
        s->idle = x;
    }
}

void sqdoor_stream_rest(struct sqdoor_stream *s)
{
    for (int i = 0; i < 2; i++) {
        sqlite3_reset(s->runs[i].stmt);
        s->runs[i].waits = false;
    }
    s->ended = true;
    s->sample_count = 0;
    rest_sources(s);
}

void sqdoor_stream_fini(struct sqdoor_stream *s)
{
    sqdoor_stream_rest(s);
    while (s->idle != NULL) {
        struct sqdoor_source *x = s->idle;
        s->idle = x->next;
        tpi_buf_fini(&x->blob);
        tpc_arena_destroy(x->arena);
        tpi_free(&sqdoor_alloc, x, sizeof(*x));
    }
    sqlite3_finalize(s->runs[0].stmt);
    sqlite3_finalize(s->runs[1].stmt);
    tpi_free(&sqdoor_alloc, s->pieces, s->piece_count * sizeof(*s->pieces));
    tpi_free(&sqdoor_alloc, s->wanted, s->wanted_cap * sizeof(*s->wanted));
    tpi_free(&sqdoor_alloc, s->samples, s->sample_cap * sizeof(*s->samples));
    sqdoor_device_fini(&s->device);
}

/* ---- which properties ---- */

static int want(struct sqdoor_stream *s, uint16_t id)
{
    if (s->wanted_count == s->wanted_cap) {
        size_t cap = s->wanted_cap == 0 ? 4 : s->wanted_cap * 2;
        void *grown = tpi_resize(&sqdoor_alloc, s->wanted, s->wanted_cap * sizeof(*s->wanted),
                                 cap * sizeof(*s->wanted));
        if (grown == NULL) {
            return SQLITE_NOMEM;
        }
        s->wanted = grown;
        s->wanted_cap = cap;
    }
    s->wanted[s->wanted_count++] = id;
    return SQLITE_OK;
}

/* A property without a name is known by its number. */
static int want_number(struct sqdoor_stream *s, struct tpc_str name)
{
    uint32_t id = 0;
    for (size_t i = 0; i < name.len; i++) {
        unsigned digit = (unsigned) (name.ptr[i] - '0');
        if (digit > 9 || (id == 0 && digit == 0) || id * 10 + digit > UINT16_MAX) {
            return SQLITE_OK;
        }
        id = id * 10 + digit;
    }
    bool named = sqdoor_property_find(s->product, (uint16_t) id) != NULL;
    return id == 0 || named ? SQLITE_OK : want(s, (uint16_t) id);
}

static int find_wanted(struct sqdoor_stream *s)
{
    int rc = SQLITE_OK;
    s->wanted_count = 0;
    if (!s->q->by_property) {
        return rc;
    }
    for (size_t i = 0; rc == SQLITE_OK && i < s->product->count; i++) {
        const struct sqdoor_property *p = &s->product->properties[i];
        if (p->len == s->q->property.len && memcmp(p->name, s->q->property.ptr, p->len) == 0) {
            rc = want(s, p->id);
        }
    }
    return rc != SQLITE_OK ? rc : want_number(s, s->q->property);
}

static bool is_wanted(const struct sqdoor_stream *s, uint16_t id)
{
    for (size_t i = 0; i < s->wanted_count; i++) {
        if (s->wanted[i] == id) {
            return true;
        }
    }
    return !s->q->by_property;
}

/* ---- beginning ---- */

static int64_t minus(int64_t a, int64_t b)
{
    int64_t x;
    return __builtin_sub_overflow(a, b, &x) ? INT64_MIN : x;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t x;
    return __builtin_add_overflow(a, b, &x) ? INT64_MAX : x;
}

/*
 * Chunks without OVERLAP stand in one order by begin and by end; the others are bounded by the
 * greatest span. ?2 = from, ?3 = to, ?4 = the bound. Version 1 has no index for the others.
 */
static char *run_sql(const struct sqdoor_view *v, bool overlap, bool back)
{
    static const char columns[] = "SELECT id, t0, t1, n, blob FROM";
    bool indexed = v->version >= 2;
    if (overlap) {
        return sqlite3_mprintf("%s \"%w\".chunk %s WHERE dev = ?1 AND flags & 2 AND %s ORDER BY %s",
                               columns, v->schema,
                               !indexed ? ""
                               : back   ? "INDEXED BY over_last"
                                        : "INDEXED BY over_first",
                               back ? "t1 >= ?2 AND t1 <= ?4 AND +t0 <= ?3"
                                    : "t0 >= ?4 AND t0 <= ?3 AND +t1 >= ?2",
                               back ? "t1 DESC" : "t0");
    }
    if (back) {
        return sqlite3_mprintf("%s \"%w\".chunk WHERE dev = ?1 AND flags & 2 = 0 AND t0 <= ?3"
                               " ORDER BY t0 DESC",
                               columns, v->schema);
    }
    /* From the last one that begins at or before: those before it end before it begins. */
    return sqlite3_mprintf("%s \"%w\".chunk WHERE dev = ?1 AND flags & 2 = 0 AND t0 <= ?3 AND t0 >="
                           " coalesce((SELECT t0 FROM \"%w\".chunk WHERE dev = ?1 AND t0 <= ?2 AND"
                           " flags & 2 = 0 ORDER BY t0 DESC LIMIT 1), ?2) ORDER BY t0",
                           columns, v->schema, v->schema);
}

/* A greatest span that is this wide may have been wider: no bound. */
static int64_t span_bound(const struct sqdoor_view *v, const struct sqdoor_query *q)
{
    if (v->span_ms > INT64_MAX / 2) {
        return q->descending ? INT64_MAX : INT64_MIN;
    }
    return q->descending ? plus(q->to, v->span_ms) : minus(q->from, v->span_ms);
}

static int prepare_runs(struct sqdoor_stream *s)
{
    struct sqdoor_view *v = s->view;
    const struct sqdoor_query *q = s->q;
    int64_t bound = span_bound(v, q);
    int rc = SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < 2; i++) {
        struct sqdoor_run *run = &s->runs[i];
        if (run->stmt != NULL && s->runs_descending != q->descending) {
            sqlite3_finalize(run->stmt);
            run->stmt = NULL;
        }
        rc = sqdoor_prepare(v, v->db, run->stmt == NULL ? run_sql(v, i == 1, q->descending) : NULL,
                            &run->stmt);
        if (rc == SQLITE_OK) {
            sqlite3_bind_int64(run->stmt, 1, (int64_t) s->device.id);
            sqlite3_bind_int64(run->stmt, 2, q->from);
            sqlite3_bind_int64(run->stmt, 3, q->to);
            sqlite3_bind_int64(run->stmt, 4, bound); /* unused ones are no fault */
        }
    }
    s->runs_descending = q->descending;
    return rc;
}

static int step_run(struct sqdoor_stream *s, struct sqdoor_run *run)
{
    int rc = sqlite3_step(run->stmt);
    run->waits = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return sqdoor_fail_sql(s->view, s->view->db, rc);
    }
    if (run->waits) {
        run->key = sqlite3_column_int64(run->stmt, s->q->descending ? 2 : 1);
        if (s->q->descending && run->key < s->q->from) {
            run->waits = false; /* those before it end still earlier */
            sqlite3_reset(run->stmt);
        }
    }
    return SQLITE_OK;
}

/* Own copies of the device's pieces, in the order in which the merge reaches them: few, and nearly in
 * order. */
static int take_pieces(struct sqdoor_stream *s)
{
    const struct sqdoor_piece *pieces;
    size_t count;
    bool back = s->q->descending;
    int rc = sqdoor_tail_pieces(s->view, s->device.id, &pieces, &count, &s->tail);
    if (rc != SQLITE_OK || count == 0) {
        return rc;
    }
    s->pieces = tpi_alloc_array(&sqdoor_alloc, count, sizeof(*s->pieces));
    if (s->pieces == NULL) {
        return SQLITE_NOMEM;
    }
    s->piece_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct sqdoor_piece *x = &pieces[i];
        size_t k = i;
        while (k > 0 && (back ? s->pieces[k - 1].span.last_unix_ms < x->span.last_unix_ms
                              : s->pieces[k - 1].span.first_unix_ms > x->span.first_unix_ms)) {
            s->pieces[k] = s->pieces[k - 1];
            k--;
        }
        s->pieces[k] = *x;
    }
    return SQLITE_OK;
}

int sqdoor_stream_begin(struct sqdoor_stream *s, const struct sqdoor_query *q)
{
    sqdoor_stream_rest(s);
    s->q = q;
    s->ended = false;
    tpi_free(&sqdoor_alloc, s->pieces, s->piece_count * sizeof(*s->pieces));
    s->pieces = NULL;
    s->piece_count = 0;
    s->piece_at = 0;
    int rc = sqdoor_product_find(s->view, s->device.product_id, &s->product);
    rc = rc != SQLITE_OK ? rc : find_wanted(s);
    if (rc == SQLITE_OK && q->by_property && s->wanted_count == 0) {
        s->ended = true;
        return rc;
    }
    rc = rc != SQLITE_OK ? rc : take_pieces(s);
    rc = rc != SQLITE_OK ? rc : prepare_runs(s);
    rc = rc != SQLITE_OK ? rc : step_run(s, &s->runs[0]);
    return rc != SQLITE_OK ? rc : step_run(s, &s->runs[1]);
}

/* ---- loading ---- */

static struct sqdoor_source *source_take(struct sqdoor_stream *s)
{
    struct sqdoor_source *x = s->idle;
    if (x != NULL) {
        s->idle = x->next;
        tpc_arena_reset(x->arena);
    } else {
        x = tpi_alloc_zero(&sqdoor_alloc, sizeof(*x));
        if (x == NULL || tpc_arena_create(&sqdoor_alloc, SQDOOR_ARENA_BYTES, &x->arena) != 0) {
            tpi_free(&sqdoor_alloc, x, sizeof(*x));
            return NULL;
        }
        tpi_buf_init(&x->blob, &sqdoor_alloc, 0);
    }
    x->next = NULL;
    x->column_count = 0;
    return x;
}

static int load_column(struct sqdoor_source *x, const struct tpi_chunk_column *c,
                       struct tpc_error *err)
{
    struct source_column *to = &x->columns[x->column_count];
    *to =
        (struct source_column){ .property = c->property, .type = c->type, .presence = c->presence };
    void *room;
    int rc;
    if (c->type == TPC_INT || c->type == TPC_BOOL) {
        room = tpc_arena_take(x->arena, (size_t) c->count * sizeof(int64_t));
        rc = room != NULL ? tpi_chunk_ints(c, err, room) : TPC_ENOMEM;
        to->ints = room;
    } else if (c->type == TPC_DOUBLE) {
        room = tpc_arena_take(x->arena, (size_t) c->count * sizeof(double));
        rc = room != NULL ? tpi_chunk_doubles(c, err, room) : TPC_ENOMEM;
        to->doubles = room;
    } else {
        size_t bits = ((size_t) x->rows + 7) / 8;
        room = tpc_arena_take(x->arena, x->rows * sizeof(struct tpc_value));
        uint8_t *validity = tpc_arena_take(x->arena, bits);
        if (room == NULL || validity == NULL) {
            return TPC_ENOMEM;
        }
        memset(validity, 0, bits);
        rc = tpi_chunk_values(c, x->rows, x->arena, err, room, validity);
        to->values = room;
    }
    x->column_count += rc == 0;
    return rc;
}

/* Columns that nobody asked for stay packed; before and after the only property that is wanted they
 * are not even looked at. */
static int load_columns(struct sqdoor_stream *s, struct sqdoor_source *x,
                        struct tpi_chunk_reader *in, struct tpc_error *err)
{
    struct tpi_chunk_column c;
    bool one = s->q->by_property && s->wanted_count == 1;
    x->columns = tpc_arena_take(x->arena, in->columns * sizeof(*x->columns));
    if (x->columns == NULL) {
        return TPC_ENOMEM;
    }
    int rc = one ? tpi_chunk_seek(in, s->wanted[0], err) : 0;
    if (rc != 0) {
        return rc;
    }
    while ((rc = tpi_chunk_next(in, err, &c)) == 1 && !(one && c.property > s->wanted[0])) {
        rc = is_wanted(s, c.property) ? load_column(x, &c, err) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return rc < 0 ? rc : 0;
}

static int load(struct sqdoor_stream *s, struct sqdoor_source *x, const struct tpi_chunk_span *span,
                struct tpc_error *err)
{
    struct tpi_chunk_reader in;
    int rc = tpi_chunk_open(&in, (struct tpc_bytes){ x->blob.ptr, x->blob.len }, err);
    if (rc != 0) {
        return rc;
    }
    if (in.span.first_unix_ms != span->first_unix_ms ||
        in.span.last_unix_ms != span->last_unix_ms || in.span.rows != span->rows) {
        return tpi_error_set(err, TPC_ECORRUPT, "chunk", "its times are not those of its row");
    }
    x->rows = in.span.rows;
    x->times = tpc_arena_take(x->arena, x->rows * sizeof(*x->times));
    if (x->times == NULL) {
        return TPC_ENOMEM;
    }
    rc = tpi_chunk_times(&in, err, x->times);
    return rc != 0 ? rc : load_columns(s, x, &in, err);
}

static bool has_value(const struct source_column *c, uint32_t row)
{
    return c->presence.len == 0 || (c->presence.ptr[row / 8] >> (row % 8) & 1) != 0;
}

/* First row at or after `at`. */
static uint32_t row_from(const struct sqdoor_source *x, int64_t at)
{
    uint32_t low = 0;
    uint32_t high = x->rows;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (x->times[mid] < at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Rows outside of the query are passed over; dense places follow. */
static void place(const struct sqdoor_query *q, struct sqdoor_source *x)
{
    if (!q->descending) {
        x->row = row_from(x, q->from);
    } else {
        x->row = q->to == INT64_MAX ? x->rows : row_from(x, q->to + 1);
    }
    for (uint32_t i = 0; i < x->column_count; i++) {
        struct source_column *c = &x->columns[i];
        c->next = c->presence.len == 0 ? x->row : 0;
        for (uint32_t row = 0; c->presence.len != 0 && row < x->row; row++) {
            c->next += has_value(c, row);
        }
    }
}

static bool spent(const struct sqdoor_query *q, const struct sqdoor_source *x)
{
    return q->descending ? x->row == 0 || x->times[x->row - 1] < q->from
                         : x->row == x->rows || x->times[x->row] > q->to;
}

static void insert(struct sqdoor_stream *s, struct sqdoor_source *x)
{
    struct sqdoor_source **at = &s->active;
    while (*at != NULL && (*at)->rank < x->rank) {
        at = &(*at)->next;
    }
    x->next = *at;
    *at = x;
}

static int load_fail(struct sqdoor_stream *s, int rc, uint64_t id, const struct tpc_error *err)
{
    if (rc == TPC_ENOMEM) {
        return SQLITE_NOMEM;
    }
    return sqdoor_fail(s->view, rc == TPC_EVERSION ? SQLITE_ERROR : SQLITE_CORRUPT_VTAB,
                       "chunk %lld of device %.*s: %s", (long long) id, (int) s->device.key.len,
                       (const char *) s->device.key.ptr, err->text);
}

static int take(struct sqdoor_stream *s, const void *bytes, size_t len,
                const struct tpi_chunk_span *span, uint64_t rank)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct sqdoor_source *x = source_take(s);
    if (x == NULL) {
        return SQLITE_NOMEM;
    }
    x->rank = rank;
    tpi_buf_clear(&x->blob);
    int rc = len > 0 ? tpi_buf_put(&x->blob, bytes, len) : 0;
    rc = rc != 0 ? rc : load(s, x, span, &err);
    if (rc == 0) {
        place(s->q, x);
    }
    if (rc == 0 && x->column_count > 0 && !spent(s->q, x)) {
        insert(s, x);
    } else {
        x->next = s->idle;
        s->idle = x;
    }
    return rc == 0 ? SQLITE_OK : load_fail(s, rc, rank, &err);
}

static int take_chunk(struct sqdoor_stream *s, struct sqdoor_run *run)
{
    struct tpi_chunk_span span = { .first_unix_ms = sqlite3_column_int64(run->stmt, 1),
                                   .last_unix_ms = sqlite3_column_int64(run->stmt, 2),
                                   .rows = (uint32_t) sqlite3_column_int64(run->stmt, 3) };
    uint64_t id = (uint64_t) sqlite3_column_int64(run->stmt, 0);
    const void *blob = sqlite3_column_blob(run->stmt, 4);
    int rc = take(s, blob, (size_t) sqlite3_column_bytes(run->stmt, 4), &span, id);
    return rc != SQLITE_OK ? rc : step_run(s, run);
}

static int take_piece(struct sqdoor_stream *s)
{
    const struct sqdoor_piece *p = &s->pieces[s->piece_at++];
    /* after every chunk, in the order of the log */
    uint64_t rank = UINT64_MAX - s->piece_count + p->rank;
    return take(s, s->tail + p->at, p->len, &p->span, rank);
}

/* ---- merging ---- */

static bool before(const struct sqdoor_stream *s, int64_t a, int64_t b)
{
    return s->q->descending ? a > b : a < b;
}

static int64_t head(const struct sqdoor_stream *s, const struct sqdoor_source *x)
{
    return s->q->descending ? x->times[x->row - 1] : x->times[x->row];
}

/* The earliest time of what is loaded; false = nothing is. */
static bool first_head(const struct sqdoor_stream *s, int64_t *ret)
{
    if (s->active == NULL) {
        return false;
    }
    *ret = head(s, s->active);
    for (const struct sqdoor_source *x = s->active->next; x != NULL; x = x->next) {
        int64_t at = head(s, x);
        *ret = before(s, at, *ret) ? at : *ret;
    }
    return true;
}

/* Loads all that begins before or at the next time. *ret_any = there is one. */
static int advance(struct sqdoor_stream *s, bool *ret_any, int64_t *ret)
{
    bool back = s->q->descending;
    for (;;) {
        int64_t at = 0;
        bool any = first_head(s, &at);
        const struct sqdoor_piece *p =
            s->piece_at < s->piece_count ? &s->pieces[s->piece_at] : NULL;
        int64_t begin = p == NULL ? 0 : back ? p->span.last_unix_ms : p->span.first_unix_ms;
        int rc;
        if (s->runs[0].waits && (!any || !before(s, at, s->runs[0].key))) {
            rc = take_chunk(s, &s->runs[0]);
        } else if (s->runs[1].waits && (!any || !before(s, at, s->runs[1].key))) {
            rc = take_chunk(s, &s->runs[1]);
        } else if (p != NULL && (!any || !before(s, at, begin))) {
            rc = take_piece(s);
        } else {
            *ret_any = any;
            *ret = at;
            return SQLITE_OK;
        }
        if (rc != SQLITE_OK) {
            return rc;
        }
    }
}

static void value_of(const struct source_column *c, uint32_t row, uint32_t dense,
                     struct tpc_value *ret)
{
    if (c->values != NULL) {
        *ret = c->values[row];
        return;
    }
    *ret = (struct tpc_value){ .type = c->type };
    if (c->doubles != NULL) {
        ret->as.d = c->doubles[dense];
    } else if (c->type == TPC_BOOL) {
        ret->as.b = c->ints[dense] != 0;
    } else {
        ret->as.i = c->ints[dense];
    }
}

/* Puts a value in its place by property; one of a lower rank gives way. */
static int put_sample(struct sqdoor_stream *s, size_t *hint, uint16_t property,
                      const struct tpc_value *value)
{
    size_t at = *hint;
    while (at < s->sample_count && s->samples[at].property < property) {
        at++;
    }
    *hint = at;
    if (at < s->sample_count && s->samples[at].property == property) {
        s->samples[at].value = *value;
        return SQLITE_OK;
    }
    if (s->sample_count == s->sample_cap) {
        size_t cap = s->sample_cap == 0 ? 16 : s->sample_cap * 2;
        void *grown = tpi_resize(&sqdoor_alloc, s->samples, s->sample_cap * sizeof(*s->samples),
                                 cap * sizeof(*s->samples));
        if (grown == NULL) {
            return SQLITE_NOMEM;
        }
        s->samples = grown;
        s->sample_cap = cap;
    }
    memmove(&s->samples[at + 1], &s->samples[at], (s->sample_count - at) * sizeof(*s->samples));
    s->samples[at] = (struct sqdoor_sample){ property, *value };
    s->sample_count++;
    return SQLITE_OK;
}

/* Takes a source's values of the present time and moves it on. */
static int take_row(struct sqdoor_stream *s, struct sqdoor_source *x)
{
    bool back = s->q->descending;
    uint32_t row = back ? x->row - 1 : x->row;
    size_t hint = 0;
    int rc = SQLITE_OK;
    for (uint32_t i = 0; rc == SQLITE_OK && i < x->column_count; i++) {
        struct source_column *c = &x->columns[i];
        struct tpc_value value;
        if (has_value(c, row)) {
            c->next -= back;
            value_of(c, row, c->next, &value);
            c->next += !back;
            rc = put_sample(s, &hint, c->property, &value);
        }
    }
    x->row = back ? row : row + 1;
    return rc;
}

/* Sources without a row left. Not sooner: the samples given out point into them. */
static void drop_spent(struct sqdoor_stream *s)
{
    struct sqdoor_source **at = &s->active;
    while (*at != NULL) {
        struct sqdoor_source *x = *at;
        if (spent(s->q, x)) {
            *at = x->next;
            x->next = s->idle;
            s->idle = x;
        } else {
            at = &x->next;
        }
    }
}

int sqdoor_stream_next(struct sqdoor_stream *s)
{
    s->sample_count = 0;
    while (!s->ended && s->sample_count == 0) {
        bool any = false;
        drop_spent(s);
        int rc = advance(s, &any, &s->now);
        for (struct sqdoor_source *x = s->active; rc == SQLITE_OK && x != NULL; x = x->next) {
            if (head(s, x) == s->now) {
                rc = take_row(s, x);
            }
        }
        if (rc != SQLITE_OK) {
            return rc;
        }
        s->ended = !any;
    }
    return SQLITE_OK;
}
