/* The virtual table: plans, cursors, columns; and the extension's entry point. */
#include "door.h"
#include "tpcore_sql.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"

#ifndef SQLITE_CORE
SQLITE_EXTENSION_INIT1
#endif

/* Bits of idxNum. The arguments of xFilter follow in the order of the bits. */
enum plan {
    PLAN_DEVICE = 1,
    PLAN_PROPERTY = 2,
    PLAN_TENANT = 4,
    PLAN_PRODUCT = 8,
    PLAN_TS = 16,
    PLAN_FROM = 32,
    PLAN_TO = 64,
    PLAN_SLOTS = 7,
    PLAN_ORDERED = 128, /* over all devices */
    PLAN_BACK = 256
};

enum column { COL_TENANT, COL_DEVICE, COL_PRODUCT, COL_PROPERTY, COL_TS, COL_VALUE };

struct table {
    sqlite3_vtab base;
    sqlite3 *db;
    struct sqdoor_view view;
};

struct cursor {
    sqlite3_vtab_cursor base;
    bool viewing;
    bool ended;
    struct sqdoor_query q;
    struct tpi_buf texts; /* of the constraints */
    struct tpc_str tenant;
    struct tpc_str product;
    bool by_tenant;
    bool by_product;
    struct sqdoor_stream *streams; /* one, or one for each device if times are in order over all */
    size_t stream_count;
    size_t stream; /* that the cursor stands in */
    size_t sample; /* in the stream's samples */
    bool by_device;
    uint64_t *devices; /* the ones asked for; or those of the log's tail */
    size_t device_count;
    size_t device_at;
    int64_t scan_from; /* chunks of smaller devices are done */
    bool scan_done;
    struct tpi_buf json;
};

static struct table *table_of(struct cursor *c)
{
    return (struct table *) c->base.pVtab;
}

/* ---- connecting ---- */

static int door_connect(sqlite3 *db, void *user, int argc, const char *const *argv,
                        sqlite3_vtab **ret, char **ret_message)
{
    (void) user;
    (void) argc;
    (void) argv;
    (void) ret_message;
    /* a value's column has no type: it keeps what is put there */
    int rc = sqlite3_declare_vtab(
        db, "CREATE TABLE telemetry(tenant TEXT, device TEXT, product TEXT, property TEXT,"
            " ts INTEGER, value, PRIMARY KEY(tenant, device, property, ts)) WITHOUT ROWID");
    if (rc != SQLITE_OK) {
        return rc;
    }
    struct table *t = tpi_alloc_zero(&sqdoor_alloc, sizeof(*t));
    if (t == NULL) {
        return SQLITE_NOMEM;
    }
    t->db = db;
    sqdoor_view_init(&t->view, db, &t->base.zErrMsg);
    *ret = &t->base;
    return SQLITE_OK;
}

static int door_disconnect(sqlite3_vtab *base)
{
    struct table *t = (struct table *) base;
    sqdoor_view_fini(&t->view);
    sqlite3_free(t->base.zErrMsg);
    tpi_free(&sqdoor_alloc, t, sizeof(*t));
    return SQLITE_OK;
}

/* ---- plans ---- */

/* Slot of a constraint, or -1. Texts are compared byte by byte here. */
static int slot_of(sqlite3_index_info *info, int i)
{
    const struct sqlite3_index_constraint *c = &info->aConstraint[i];
    bool equal = c->op == SQLITE_INDEX_CONSTRAINT_EQ;
    if (!c->usable) {
        return -1;
    }
    if (c->iColumn == COL_TS) {
        return equal                                                                        ? 4
               : c->op == SQLITE_INDEX_CONSTRAINT_GT || c->op == SQLITE_INDEX_CONSTRAINT_GE ? 5
               : c->op == SQLITE_INDEX_CONSTRAINT_LT || c->op == SQLITE_INDEX_CONSTRAINT_LE ? 6
                                                                                            : -1;
    }
    if (!equal || c->iColumn > COL_PROPERTY || c->iColumn < 0 ||
        sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") != 0) {
        return -1;
    }
    return c->iColumn == COL_DEVICE     ? 0
           : c->iColumn == COL_PROPERTY ? 1
           : c->iColumn == COL_TENANT   ? 2
                                        : 3;
}

static void set_costs(sqlite3_index_info *info, int plan)
{
    double rows = 1e9;
    rows /= (plan & PLAN_DEVICE) != 0 ? 1000 : 1;
    rows /= (plan & PLAN_PROPERTY) != 0 ? 8 : 1;
    rows /= (plan & PLAN_TENANT) != 0 ? 4 : 1;
    rows /= (plan & PLAN_PRODUCT) != 0 ? 4 : 1;
    if ((plan & PLAN_TS) != 0) {
        rows /= 100000;
    } else {
        rows /= (plan & PLAN_FROM) != 0 ? 10 : 1;
        rows /= (plan & PLAN_TO) != 0 ? 10 : 1;
    }
    info->estimatedRows = rows < 1 ? 1 : (sqlite3_int64) rows;
    /* other properties of a chunk are passed over, not free */
    info->estimatedCost = rows * ((plan & PLAN_PROPERTY) != 0 ? 2 : 1) + 100;
}

static int door_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    int at[PLAN_SLOTS];
    int plan = 0;
    int arguments = 0;
    (void) base;
    for (int slot = 0; slot < PLAN_SLOTS; slot++) {
        at[slot] = -1;
    }
    for (int i = 0; i < info->nConstraint; i++) {
        int slot = slot_of(info, i);
        if (slot >= 0 && at[slot] < 0) {
            at[slot] = i;
        }
    }
    for (int slot = 0; slot < PLAN_SLOTS; slot++) {
        if (at[slot] >= 0) {
            plan |= 1 << slot;
            info->aConstraintUsage[at[slot]].argvIndex = ++arguments;
            /* times are looked at again: a bound may be no whole number */
            info->aConstraintUsage[at[slot]].omit = slot < 4;
        }
    }
    if ((plan & PLAN_DEVICE) != 0 && info->nOrderBy == 1 && info->aOrderBy[0].iColumn == COL_TS) {
        plan |= PLAN_ORDERED | (info->aOrderBy[0].desc ? PLAN_BACK : 0);
        info->orderByConsumed = 1;
    }
    info->idxNum = plan;
    set_costs(info, plan);
    return SQLITE_OK;
}

/* ---- cursors ---- */

static int door_open(sqlite3_vtab *base, sqlite3_vtab_cursor **ret)
{
    (void) base;
    struct cursor *c = tpi_alloc_zero(&sqdoor_alloc, sizeof(*c));
    if (c == NULL) {
        return SQLITE_NOMEM;
    }
    tpi_buf_init(&c->texts, &sqdoor_alloc, 0);
    tpi_buf_init(&c->json, &sqdoor_alloc, 0);
    c->ended = true;
    *ret = &c->base;
    return SQLITE_OK;
}

static void drop_devices(struct cursor *c)
{
    tpi_free(&sqdoor_alloc, c->devices, c->device_count * sizeof(*c->devices));
    c->devices = NULL;
    c->device_count = 0;
    c->device_at = 0;
}

static void drop_streams(struct cursor *c)
{
    for (size_t i = 0; i < c->stream_count; i++) {
        sqdoor_stream_fini(&c->streams[i]);
    }
    tpi_free(&sqdoor_alloc, c->streams, c->stream_count * sizeof(*c->streams));
    c->streams = NULL;
    c->stream_count = 0;
}

static int door_close(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *) base;
    drop_streams(c);
    drop_devices(c);
    tpi_buf_fini(&c->texts);
    tpi_buf_fini(&c->json);
    if (c->viewing) {
        sqdoor_view_give(&table_of(c)->view);
    }
    tpi_free(&sqdoor_alloc, c, sizeof(*c));
    return SQLITE_OK;
}

/* ---- arguments ---- */

/* Lowest (highest) whole number that a bound lets through; a text that is no number compares above
 * all numbers. */
static int64_t bound_of(sqlite3_value *value, bool low)
{
    int type = sqlite3_value_numeric_type(value);
    if (type == SQLITE_INTEGER) {
        return sqlite3_value_int64(value);
    }
    if (type != SQLITE_FLOAT) {
        return low ? INT64_MIN : INT64_MAX; /* looked at again, row by row */
    }
    double x = sqlite3_value_double(value);
    /* rounding to a double may have moved the bound by as much as 1,024 at the ends of int64 */
    if (x >= 9.2e18) {
        return low ? INT64_MAX - 2048 : INT64_MAX;
    }
    if (x <= -9.2e18) {
        return low ? INT64_MIN : INT64_MIN + 2048;
    }
    return (int64_t) x + (low ? -1 : 1);
}

struct arguments {
    sqlite3_value *slots[PLAN_SLOTS]; /* NULL = no constraint */
};

/* Copies the texts: arguments may go before the cursor does. Offsets first, the buffer moves. */
static int take_texts(struct cursor *c, const struct arguments *a, struct tpc_str ret[4])
{
    size_t ends[4];
    tpi_buf_clear(&c->texts);
    for (int i = 0; i < 4; i++) {
        const void *text = a->slots[i] != NULL ? sqlite3_value_text(a->slots[i]) : NULL;
        size_t len = text != NULL ? (size_t) sqlite3_value_bytes(a->slots[i]) : 0;
        if (a->slots[i] != NULL && text == NULL) {
            return SQLITE_NOMEM;
        }
        if (tpi_buf_put(&c->texts, len > 0 ? text : "", len) != 0) {
            return SQLITE_NOMEM;
        }
        ends[i] = c->texts.len;
    }
    if (tpi_buf_u8(&c->texts, 0) != 0) {
        return SQLITE_NOMEM;
    }
    for (int i = 0; i < 4; i++) {
        size_t from = i > 0 ? ends[i - 1] : 0;
        ret[i] = (struct tpc_str){ (const char *) c->texts.ptr + from, ends[i] - from };
    }
    return SQLITE_OK;
}

/* *ret_none = no row can fit: a comparison with null, or of a text with bytes. */
static int take_arguments(struct cursor *c, int plan, sqlite3_value **argv, struct tpc_str *device,
                          bool *ret_none)
{
    struct arguments a = { { NULL } };
    struct tpc_str texts[4];
    int n = 0;
    *ret_none = false;
    for (int i = 0; i < PLAN_SLOTS; i++) {
        a.slots[i] = (plan & 1 << i) != 0 ? argv[n++] : NULL;
        int type = a.slots[i] != NULL ? sqlite3_value_type(a.slots[i]) : SQLITE_TEXT;
        *ret_none |= type == SQLITE_NULL || (type == SQLITE_BLOB && i < 4);
    }
    if (*ret_none) {
        return SQLITE_OK;
    }
    int rc = take_texts(c, &a, texts);
    if (rc != SQLITE_OK) {
        return rc;
    }
    *device = texts[0];
    c->tenant = texts[2];
    c->product = texts[3];
    c->by_device = a.slots[0] != NULL;
    c->by_tenant = a.slots[2] != NULL;
    c->by_product = a.slots[3] != NULL;
    c->q = (struct sqdoor_query){ .from = INT64_MIN,
                                  .to = INT64_MAX,
                                  .descending = (plan & PLAN_BACK) != 0,
                                  .by_property = a.slots[1] != NULL,
                                  .property = texts[1] };
    for (int i = 4; i < PLAN_SLOTS; i++) {
        if (a.slots[i] != NULL && i != 6) {
            int64_t x = bound_of(a.slots[i], true);
            c->q.from = x > c->q.from ? x : c->q.from;
        }
        if (a.slots[i] != NULL && i != 5) {
            int64_t x = bound_of(a.slots[i], false);
            c->q.to = x < c->q.to ? x : c->q.to;
        }
    }
    *ret_none = c->q.from > c->q.to;
    return SQLITE_OK;
}

/* ---- moving ---- */

static bool same(const struct tpi_buf *b, struct tpc_str s)
{
    return b->len == s.len && (s.len == 0 || memcmp(b->ptr, s.ptr, s.len) == 0);
}

/* The next device in the order of numbers: of the chunks and of the log's tail. */
static int next_number(struct cursor *c, bool *ret_found, uint64_t *ret)
{
    struct table *t = table_of(c);
    bool listed = c->device_at < c->device_count;
    bool found = false;
    int64_t next = 0;
    if (!c->by_device && !c->scan_done) {
        int rc = sqdoor_next_device(&t->view, c->scan_from, &found, &next);
        if (rc != SQLITE_OK) {
            return rc;
        }
        c->scan_done = !found;
    }
    if (listed && (!found || (int64_t) c->devices[c->device_at] <= next)) {
        next = (int64_t) c->devices[c->device_at++];
        found = true;
    }
    *ret_found = found;
    *ret = (uint64_t) next;
    if (found && next == INT64_MAX) {
        c->scan_done = true;
    } else if (found && next >= c->scan_from) {
        c->scan_from = next + 1;
    }
    return SQLITE_OK;
}

/* Begins a stream with the next device that fits. *ret_found false = none is left. */
static int next_device(struct cursor *c, struct sqdoor_stream *s, bool *ret_found)
{
    struct table *t = table_of(c);
    for (;;) {
        uint64_t id = 0;
        int rc = next_number(c, ret_found, &id);
        if (rc != SQLITE_OK || !*ret_found) {
            return rc;
        }
        rc = sqdoor_device_find(&t->view, id, &s->device);
        if (rc != SQLITE_OK) {
            return rc;
        }
        if ((!c->by_tenant || same(&s->device.tenant, c->tenant)) &&
            (!c->by_product || same(&s->device.product, c->product))) {
            return sqdoor_stream_begin(s, &c->q);
        }
    }
}

static bool earlier(const struct cursor *c, const struct sqdoor_stream *a,
                    const struct sqdoor_stream *b)
{
    return c->q.descending ? a->now > b->now : a->now < b->now;
}

/* To the stream with the next time. */
static void choose(struct cursor *c)
{
    c->ended = true;
    for (size_t i = 0; i < c->stream_count; i++) {
        const struct sqdoor_stream *s = &c->streams[i];
        if (!s->ended && (c->ended || earlier(c, s, &c->streams[c->stream]))) {
            c->stream = i;
            c->ended = false;
        }
    }
    c->sample = 0;
}

/* From device to device until there is a sample. */
static int go_on(struct cursor *c)
{
    struct sqdoor_stream *s = &c->streams[0];
    bool found = true;
    int rc = sqdoor_stream_next(s);
    while (rc == SQLITE_OK && s->ended && found) {
        rc = next_device(c, s, &found);
        rc = rc == SQLITE_OK && found ? sqdoor_stream_next(s) : rc;
    }
    return rc;
}

static int door_next(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *) base;
    struct sqdoor_stream *s = &c->streams[c->stream];
    if (++c->sample < s->sample_count) {
        return SQLITE_OK;
    }
    int rc = c->stream_count > 1 ? sqdoor_stream_next(s) : go_on(c);
    if (rc == SQLITE_OK) {
        choose(c);
    }
    return rc;
}

/* ---- beginning ---- */

static int make_streams(struct cursor *c, size_t count)
{
    if (c->stream_count == count) {
        return SQLITE_OK;
    }
    drop_streams(c);
    c->streams = tpi_alloc_array(&sqdoor_alloc, count, sizeof(*c->streams));
    if (c->streams == NULL) {
        return SQLITE_NOMEM;
    }
    c->stream_count = count;
    for (size_t i = 0; i < count; i++) {
        sqdoor_stream_init(&c->streams[i], &table_of(c)->view);
    }
    return SQLITE_OK;
}

static int find_devices(struct cursor *c, struct tpc_str device)
{
    struct sqdoor_view *v = &table_of(c)->view;
    drop_devices(c);
    if (c->by_device) {
        int rc = sqdoor_devices_named(v, device, &c->devices, &c->device_count);
        return rc != SQLITE_OK || c->device_count == 0
                   ? rc
                   : sqdoor_tail_read(v, c->devices, c->device_count);
    }
    int rc = sqdoor_tail_read(v, NULL, 0);
    return rc != SQLITE_OK ? rc : sqdoor_tail_devices(v, &c->devices, &c->device_count);
}

static int begin(struct cursor *c, bool ordered)
{
    bool many = ordered && c->device_count > 1;
    bool found = true;
    int rc = make_streams(c, many ? c->device_count : 1);
    c->stream = 0;
    c->scan_from = INT64_MIN;
    c->scan_done = false;
    for (size_t i = 0; rc == SQLITE_OK && i < c->stream_count; i++) {
        sqdoor_stream_rest(&c->streams[i]);
    }
    for (size_t i = 0; rc == SQLITE_OK && many && found && i < c->stream_count; i++) {
        rc = next_device(c, &c->streams[i], &found);
        rc = rc == SQLITE_OK && found ? sqdoor_stream_next(&c->streams[i]) : rc;
    }
    if (rc == SQLITE_OK && !many) {
        rc = go_on(c);
    }
    if (rc == SQLITE_OK) {
        choose(c);
    }
    return rc;
}

static int door_filter(sqlite3_vtab_cursor *base, int plan, const char *text, int argc,
                       sqlite3_value **argv)
{
    struct cursor *c = (struct cursor *) base;
    struct table *t = table_of(c);
    struct tpc_str device = { NULL, 0 };
    bool none = false;
    (void) text;
    (void) argc;
    c->ended = true;
    int rc = take_arguments(c, plan, argv, &device, &none);
    if (rc != SQLITE_OK || none) {
        return rc;
    }
    if (!c->viewing) {
        rc = sqdoor_view_take(&t->view);
        if (rc != SQLITE_OK) {
            return rc;
        }
        c->viewing = true;
    }
    rc = find_devices(c, device);
    return rc != SQLITE_OK ? rc : begin(c, (plan & PLAN_ORDERED) != 0);
}

static int door_eof(sqlite3_vtab_cursor *base)
{
    return ((struct cursor *) base)->ended;
}

/* ---- columns ---- */

static void result_bytes(sqlite3_context *ctx, const struct tpi_buf *b)
{
    sqlite3_result_text64(ctx, b->len > 0 ? (const char *) b->ptr : "", b->len, SQLITE_TRANSIENT,
                          SQLITE_UTF8);
}

static void result_tree(struct cursor *c, sqlite3_context *ctx, const struct tpc_value *v)
{
    struct tpc_buf out = { NULL, 0, 0 };
    (void) tpc_json_write(v, 0, &out);
    tpi_buf_clear(&c->json);
    if (tpi_buf_reserve(&c->json, out.need + 1) != 0) {
        sqlite3_result_error_nomem(ctx);
        return;
    }
    out = (struct tpc_buf){ c->json.ptr, c->json.cap, 0 };
    if (tpc_json_write(v, 0, &out) != 0) {
        sqlite3_result_error(ctx, "telemetry: a value cannot be written as JSON", -1);
        return;
    }
    sqlite3_result_text64(ctx, (const char *) c->json.ptr, out.need, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static void result_value(struct cursor *c, sqlite3_context *ctx, const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_BOOL:
        sqlite3_result_int(ctx, v->as.b);
        break;
    case TPC_INT:
        sqlite3_result_int64(ctx, v->as.i);
        break;
    case TPC_DOUBLE:
        sqlite3_result_double(ctx, v->as.d);
        break;
    case TPC_TEXT:
        sqlite3_result_text64(ctx, v->len > 0 ? v->as.text : "", v->len, SQLITE_TRANSIENT,
                              SQLITE_UTF8);
        break;
    case TPC_BLOB:
        sqlite3_result_blob64(ctx, v->len > 0 ? (const void *) v->as.blob : "", v->len,
                              SQLITE_TRANSIENT);
        break;
    case TPC_ARRAY:
    case TPC_MAP:
        result_tree(c, ctx, v);
        break;
    default:
        sqlite3_result_null(ctx);
        break;
    }
}

static void result_property(const struct sqdoor_stream *s, sqlite3_context *ctx, uint16_t id)
{
    const struct sqdoor_property *p = sqdoor_property_find(s->product, id);
    char number[8];
    if (p != NULL) {
        sqlite3_result_text64(ctx, p->name, p->len, SQLITE_TRANSIENT, SQLITE_UTF8);
    } else {
        sqlite3_snprintf(sizeof(number), number, "%u", (unsigned) id);
        sqlite3_result_text(ctx, number, -1, SQLITE_TRANSIENT);
    }
}

static int door_column(sqlite3_vtab_cursor *base, sqlite3_context *ctx, int column)
{
    struct cursor *c = (struct cursor *) base;
    const struct sqdoor_stream *s = &c->streams[c->stream];
    const struct sqdoor_sample *x = &s->samples[c->sample];
    switch (column) {
    case COL_TENANT:
        result_bytes(ctx, &s->device.tenant);
        break;
    case COL_DEVICE:
        result_bytes(ctx, &s->device.key);
        break;
    case COL_PRODUCT:
        result_bytes(ctx, &s->device.product);
        break;
    case COL_PROPERTY:
        result_property(s, ctx, x->property);
        break;
    case COL_TS:
        sqlite3_result_int64(ctx, s->now);
        break;
    default:
        result_value(c, ctx, &x->value);
        break;
    }
    return SQLITE_OK;
}

static int door_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *ret)
{
    (void) base;
    (void) ret;
    return SQLITE_MISUSE; /* the table is WITHOUT ROWID */
}

/* xCreate NULL: the table is there without being created, and cannot be. */
static const sqlite3_module door_module = {
    .iVersion = 0,
    .xConnect = door_connect,
    .xBestIndex = door_best_index,
    .xDisconnect = door_disconnect,
    .xOpen = door_open,
    .xClose = door_close,
    .xFilter = door_filter,
    .xNext = door_next,
    .xEof = door_eof,
    .xColumn = door_column,
    .xRowid = door_rowid,
};

#ifdef SQLITE_CORE
#define DOOR_EXPORT
#else
#define DOOR_EXPORT __attribute__((visibility("default")))
#endif

/* SQLite derives the name from that of tpcore_sql.so. */
DOOR_EXPORT int sqlite3_tpcoresql_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    SQLITE_EXTENSION_INIT2(api)
    (void) api;
    if (sqlite3_libversion_number() < 3035000) {
        *message =
            sqlite3_mprintf("tpcore_sql needs SQLite 3.35, this is %s", sqlite3_libversion());
        return SQLITE_ERROR;
    }
    return sqlite3_create_module_v2(db, "telemetry", &door_module, NULL, NULL);
}
