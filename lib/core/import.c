/* Import of devices: rows of a CSV file become merge patches, and those batches of puts. */
#include <stdio.h>
#include <string.h>
#include <tpcore/import.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/map.h"
#include "core/core.h"
#include "data/csv.h"
#include "data/option.h"

enum {
    DEFAULT_ROWS = 500,
    WINDOW_BYTES = 2 * TPI_CSV_RECORD_BYTES,
    PART_MAX = 96,       /* of a column's name */
    BATCH_TEXT = 4 << 20 /* of rows that wait for their transaction */
};

/* What a column is: a member, or a member of a member. */
struct column {
    struct tpc_str name;             /* as the file has it, or what it is short for */
    struct tpc_str member;           /* "labels" */
    struct tpc_str sub;              /* "site"; empty = none */
    const struct tpc_option *option; /* of the innermost that the schema knows; NULL = the key */
};

struct pending {
    uint64_t row, line;
    struct tpc_str key;
    struct tpi_put *put; /* NULL: refused before it became one */
    struct tpc_error *err;
};

struct import {
    struct tpc_core *core;
    const struct tpc_actor *actor;
    struct tpc_import_options o;
    const struct tpi_kind *kind;
    tpc_import_read_fn *read;
    void *read_user;
    uint64_t total_bytes;
    uint64_t bytes;
    struct tpi_csv csv;
    char *window;
    size_t begin, end; /* of what is not read yet */
    bool last;
    uint64_t seed;
    struct tpi_map64 keys; /* hash of a key -> its row */
    struct tpc_arena *header;
    struct column columns[TPI_CSV_FIELDS];
    uint32_t column_count;
    uint32_t key_column;
    struct tpc_arena *arena; /* of the batch */
    struct pending *pending;
    struct tpi_put *puts;
    uint32_t count, put_count;
    size_t text_bytes;
    struct tpc_import_result result;
    struct tpc_error *err;
};

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, "import", "out of memory");
}

/* ---- the file ---- */

/* More bytes behind those that are not read yet. */
static int fill(struct import *m)
{
    memmove(m->window, m->window + m->begin, m->end - m->begin);
    m->end -= m->begin;
    m->begin = 0;
    int64_t got = m->read(m->read_user, m->window + m->end, WINDOW_BYTES - m->end);
    if (got < 0) {
        return m->err->code != 0
                   ? (int) got
                   : tpi_error_set(m->err, (int) got, "import", "the file cannot be read");
    }
    m->last = got == 0;
    m->end += (size_t) got;
    m->bytes += (uint64_t) got;
    return 0;
}

/* The next record: its fields stay until the next call. */
static int next_record(struct import *m, enum tpi_csv_result *ret)
{
    for (;;) {
        size_t used;
        *ret = tpi_csv_next(&m->csv, m->window + m->begin, m->end - m->begin, m->last, &used);
        m->begin += used;
        if (*ret != TPI_CSV_MORE) {
            return 0;
        }
        int rc = fill(m);
        if (rc != 0) {
            return rc;
        }
    }
}

/* ---- the header ---- */

static int bad_column(struct import *m, struct tpc_str name, const char *why)
{
    char text[PART_MAX];
    snprintf(text, sizeof(text), "%.*s", (int) (name.len > 90 ? 90 : name.len), name.ptr);
    tpi_error_set(m->err, TPC_EINVAL, "import", "column \"%s\": %s", text, why);
    tpi_error_at(m->err, text);
    return TPC_EINVAL;
}

static const char *long_name(struct tpc_str name)
{
    static const char *const names[][2] = {
        { "lat", "location.lat" },           { "lon", "location.lon" },
        { "altitude", "location.altitude" }, { "deviceName", "key" },
        { "productKey", "product" },         { "parentDeviceName", "gateway" },
        { "groupNames", "groups" },          { "nickname", "name" },
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(names[i][0])) != 0) {
            return names[i][1];
        }
    }
    return NULL;
}

static const struct tpc_option *option_of(const struct tpc_list *schema, struct tpc_str name)
{
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *schema, i);
        if (tpc_str_equal(tpc_str_from(o->name), name) != 0) {
            return o;
        }
    }
    return NULL;
}

static int make_column(struct import *m, struct tpc_str name, struct column *c)
{
    char *text = tpc_arena_take(m->header, name.len + 1);
    if (text == NULL) {
        return no_memory(m->err);
    }
    memcpy(text, name.ptr, name.len);
    *c = (struct column){ .name = { text, name.len } };
    const char *longer = long_name(name);
    c->name = longer != NULL ? tpc_str_from(longer) : c->name;
    const char *dot = memchr(c->name.ptr, '.', c->name.len);
    c->member = c->name;
    if (dot != NULL) {
        c->member.len = (size_t) (dot - c->name.ptr);
        c->sub = (struct tpc_str){ dot + 1, c->name.len - c->member.len - 1 };
    }
    if (tpc_str_equal(c->name, TPC_STR("key")) != 0) {
        return 0;
    }
    const struct tpc_option *o = option_of(&m->kind->schema, c->member);
    bool open = o != NULL && o->type == TPC_OPT_TABLE && (o->flags & TPC_OPT_OPEN) != 0;
    c->option = o;
    if (o != NULL && c->sub.len > 0) {
        c->option = o->type == TPC_OPT_TABLE ? option_of(&o->sub, c->sub) : NULL;
        c->option = c->option == NULL && open ? o : c->option;
    }
    if (c->option == NULL) {
        return bad_column(m, name, "there is no such member");
    }
    return open && !tpi_label_name_valid(c->sub)
               ? bad_column(m, name, "a label's name cannot be so")
               : 0;
}

static int read_header(struct import *m)
{
    enum tpi_csv_result r;
    int rc = next_record(m, &r);
    if (rc != 0) {
        return rc;
    }
    if (r != TPI_CSV_RECORD) {
        return tpi_error_set(m->err, TPC_EDECODE, "import", "the header: %s",
                             r == TPI_CSV_BAD ? m->csv.fault : "the file is empty");
    }
    m->key_column = UINT32_MAX;
    for (uint32_t i = 0; i < m->csv.count; i++) {
        struct column *c = &m->columns[i];
        rc = make_column(m, m->csv.fields[i], c);
        for (uint32_t k = 0; rc == 0 && k < i; k++) {
            if (tpc_str_equal(m->columns[k].name, c->name) != 0) {
                rc = bad_column(m, m->csv.fields[i], "it stands twice");
            }
        }
        if (rc != 0) {
            return rc;
        }
        m->key_column = c->option == NULL ? i : m->key_column;
    }
    m->column_count = m->csv.count;
    return m->key_column == UINT32_MAX ? bad_column(m, TPC_STR("key"), "it is missing") : 0;
}

/* ---- cells ---- */

static int copy_text(struct import *m, struct tpc_str in, struct tpc_value *ret)
{
    char *text = tpc_arena_take(m->arena, in.len + 1);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(text, in.ptr, in.len);
    text[in.len] = 0;
    *ret = (struct tpc_value){ TPC_TEXT, 0, in.len, { .text = text } };
    return 0;
}

/* "a; b, c" */
static int read_list(struct import *m, struct tpc_str text, struct tpc_value *ret)
{
    struct tpc_value *items = tpc_arena_take(m->arena, (text.len + 1) / 2 * sizeof(*items));
    size_t n = 0;
    size_t at = 0;
    if (items == NULL) {
        return TPC_ENOMEM;
    }
    while (at < text.len) {
        size_t end = at;
        while (end < text.len && text.ptr[end] != ',' && text.ptr[end] != ';') {
            end++;
        }
        struct tpc_str item = { text.ptr + at, end - at };
        while (item.len > 0 && item.ptr[0] == ' ') {
            item = (struct tpc_str){ item.ptr + 1, item.len - 1 };
        }
        while (item.len > 0 && item.ptr[item.len - 1] == ' ') {
            item.len--;
        }
        if (item.len > 0 && copy_text(m, item, &items[n++]) != 0) {
            return TPC_ENOMEM;
        }
        at = end + 1;
    }
    *ret = (struct tpc_value){ TPC_ARRAY, 0, n, { .items = items } };
    return 0;
}

static int read_bool(struct tpc_str text, struct tpc_error *err, struct tpc_value *ret)
{
    bool yes = tpc_str_equal(text, TPC_STR("true")) || tpc_str_equal(text, TPC_STR("1"));
    if (!yes && !tpc_str_equal(text, TPC_STR("false")) && !tpc_str_equal(text, TPC_STR("0"))) {
        return tpi_error_set(err, TPC_EINVAL, "import", "is none of true, false, 1, 0");
    }
    *ret = (struct tpc_value){ TPC_BOOL, 0, 0, { .b = yes } };
    return 0;
}

static int read_cell(struct import *m, const struct column *c, struct tpc_str text,
                     struct tpc_error *err, struct tpc_value *ret)
{
    uint32_t type = c->option == NULL ? TPC_OPT_TEXT : c->option->type;
    struct tpc_value copy;
    if (type == TPC_OPT_TABLE && c->sub.len > 0) {
        type = TPC_OPT_TEXT; /* a label */
    }
    switch (type) {
    case TPC_OPT_BOOL:
        return read_bool(text, err, ret);
    case TPC_OPT_LIST:
        return read_list(m, text, ret);
    case TPC_OPT_INT:
    case TPC_OPT_UINT:
    case TPC_OPT_DOUBLE:
    case TPC_OPT_TABLE:
    case TPC_OPT_ANY: {
        int rc = copy_text(m, text, &copy);
        return rc != 0 ? rc : tpc_json_parse(m->arena, tpc_value_text(&copy), 0, err, ret);
    }
    default:
        return copy_text(m, text, ret);
    }
}

/* ---- rows ---- */

static struct tpc_error *row_error(struct import *m, struct pending *p)
{
    p->err = tpc_arena_take(m->arena, sizeof(*p->err));
    if (p->err != NULL) {
        *p->err = (struct tpc_error){ .size = sizeof(*p->err) };
    }
    return p->err;
}

static int refuse(struct import *m, struct pending *p, int code, const char *column,
                  const char *why)
{
    struct tpc_error *err = row_error(m, p);
    if (err == NULL) {
        return no_memory(m->err);
    }
    tpi_error_set(err, code, "import", "%s", why);
    if (column[0] != 0) {
        tpi_error_at(err, column);
    }
    return 0;
}

/* One more member of a map under construction. */
static struct tpc_value *add_member(struct tpc_member *members, size_t *count, struct tpc_str key)
{
    struct tpc_member *m = &members[(*count)++];
    *m = (struct tpc_member){ .key = key };
    return &m->value;
}

/* Members of the columns of one table ("labels.*"), from the column `first` on. */
static int read_table(struct import *m, uint32_t first, struct pending *p, struct tpc_value *ret)
{
    struct tpc_member *members = tpc_arena_take(m->arena, m->column_count * sizeof(*members));
    size_t n = 0;
    if (members == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = first; i < m->column_count; i++) {
        const struct column *c = &m->columns[i];
        if (c->sub.len == 0 || tpc_str_equal(c->member, m->columns[first].member) == 0 ||
            m->csv.fields[i].len == 0) {
            continue;
        }
        int rc = read_cell(m, c, m->csv.fields[i], p->err, add_member(members, &n, c->sub));
        if (rc != 0) {
            char at[PART_MAX];
            snprintf(at, sizeof(at), "%.*s", (int) (c->name.len > 90 ? 90 : c->name.len),
                     c->name.ptr);
            tpi_error_at(p->err, at);
            return rc;
        }
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = members } };
    return 0;
}

/* Whether an earlier column is of the same table. */
static bool table_done(const struct import *m, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++) {
        if (m->columns[i].sub.len > 0 &&
            tpc_str_equal(m->columns[i].member, m->columns[at].member) != 0) {
            return true;
        }
    }
    return false;
}

static int read_column(struct import *m, uint32_t i, struct pending *p, struct tpc_member *members,
                       size_t *n)
{
    const struct column *c = &m->columns[i];
    struct tpc_value v;
    if (c->sub.len > 0) {
        int rc = table_done(m, i) ? 0 : read_table(m, i, p, &v);
        if (rc == 0 && !table_done(m, i) && v.len > 0) {
            *add_member(members, n, c->member) = v;
        }
        return rc;
    }
    if (m->csv.fields[i].len == 0) {
        return 0;
    }
    int rc = read_cell(m, c, m->csv.fields[i], p->err, &v);
    if (rc != 0) {
        char at[PART_MAX];
        snprintf(at, sizeof(at), "%.*s", (int) c->name.len, c->name.ptr);
        tpi_error_at(p->err, at);
        return rc;
    }
    *add_member(members, n, c->member) = v;
    return 0;
}

/* The row as a merge patch. p->err says what is wrong with it. */
static int read_row(struct import *m, struct pending *p, struct tpc_value *ret)
{
    size_t most = m->column_count + 3;
    struct tpc_member *members = tpc_arena_take(m->arena, most * sizeof(*members));
    size_t n = 0;
    int rc = members == NULL ? TPC_ENOMEM : 0;
    bool product = false;
    for (uint32_t i = 0; rc == 0 && i < m->column_count; i++) {
        rc = read_column(m, i, p, members, &n);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        product = product || tpc_str_equal(members[i].key, TPC_STR("product")) != 0;
    }
    if (rc != 0) {
        return rc;
    }
    struct tpc_value text = { TPC_TEXT, 0, m->o.product.len, { .text = m->o.product.ptr } };
    if (!product && m->o.product.len > 0) {
        *add_member(members, &n, TPC_STR("product")) = text;
    }
    text = (struct tpc_value){ TPC_TEXT, 0, m->o.tenant.len, { .text = m->o.tenant.ptr } };
    if (m->o.tenant.len > 0) {
        *add_member(members, &n, TPC_STR("tenant")) = text;
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = members } };
    return 0;
}

static bool promised(void *user, struct tpc_str key)
{
    const struct import *m = user;
    return tpi_map64_get(&m->keys, tpi_hash(key.ptr, key.len, m->seed)) != NULL;
}

/* A key that stands for the first time. Returns 1 if the row is refused. */
static int check_key(struct import *m, struct pending *p)
{
    char why[80];
    struct tpc_value key;
    if (m->csv.count != m->column_count) {
        snprintf(why, sizeof(why), "%u fields, the header has %u", (unsigned) m->csv.count,
                 (unsigned) m->column_count);
        int rc = refuse(m, p, TPC_EDECODE, "", why);
        return rc != 0 ? rc : 1;
    }
    if (copy_text(m, m->csv.fields[m->key_column], &key) != 0) {
        return no_memory(m->err);
    }
    p->key = tpc_value_text(&key);
    if (!tpi_key_valid(p->key)) {
        int rc = refuse(m, p, TPC_EINVAL, "key",
                        "a key has 1 to 128 bytes of UTF-8 without control bytes");
        p->key.len = 0;
        return rc != 0 ? rc : 1;
    }
    uint64_t hash = tpi_hash(p->key.ptr, p->key.len, m->seed);
    uint64_t before = (uint64_t) (uintptr_t) tpi_map64_get(&m->keys, hash);
    if (before != 0) {
        snprintf(why, sizeof(why), "the key stands in row %llu already",
                 (unsigned long long) before);
        int rc = refuse(m, p, TPC_EEXIST, "key", why);
        return rc != 0 ? rc : 1;
    }
    void *number = (void *) (uintptr_t) p->row;
    return tpi_map64_put(&m->keys, hash, number, NULL) != 0 ? no_memory(m->err) : 0;
}

static int take_row(struct import *m, enum tpi_csv_result r)
{
    struct pending *p = &m->pending[m->count++];
    *p = (struct pending){ .row = m->result.rows + m->count, .line = m->csv.line };
    if (p->row > TPC_IMPORT_MAX_ROWS) {
        m->count--;
        return tpi_error_set(m->err, TPC_ETOOBIG, "import", "over %d rows", TPC_IMPORT_MAX_ROWS);
    }
    if (r == TPI_CSV_BAD) {
        return refuse(m, p, TPC_EDECODE, "", m->csv.fault);
    }
    int rc = check_key(m, p);
    if (rc != 0) {
        return rc > 0 ? 0 : rc;
    }
    struct tpc_value *doc = tpc_arena_take(m->arena, sizeof(*doc));
    if (doc == NULL || row_error(m, p) == NULL) {
        return no_memory(m->err);
    }
    rc = read_row(m, p, doc);
    if (rc == TPC_ENOMEM) {
        return no_memory(m->err);
    }
    if (rc != 0) {
        p->err->code = rc;
        return 0;
    }
    p->err = NULL;
    p->put = &m->puts[m->put_count++];
    *p->put = (struct tpi_put){ .doc = doc,
                                .flags = m->o.policy == TPC_IMPORT_CREATE   ? TPI_PUT_CREATE
                                         : m->o.policy == TPC_IMPORT_UPDATE ? TPI_PUT_UPDATE
                                                                            : 0 };
    for (uint32_t i = 0; i < m->csv.count; i++) {
        m->text_bytes += m->csv.fields[i].len;
    }
    return 0;
}

/* ---- batches ---- */

static int tell_row(struct import *m, const struct pending *p)
{
    const struct tpc_error *err = p->put != NULL ? p->put->err : p->err;
    int code = p->put != NULL ? p->put->code : p->err->code;
    struct tpc_import_row row = { .size = sizeof(row),
                                  .row = p->row,
                                  .line = p->line,
                                  .code = code,
                                  .key = p->key,
                                  .path = err != NULL ? err->path : "",
                                  .text = err != NULL ? err->text : "" };
    row.state = code != 0         ? TPC_IMPORT_FAILED
                : p->put->created ? TPC_IMPORT_CREATED
                                  : TPC_IMPORT_UPDATED;
    m->result.rows++;
    m->result.created += row.state == TPC_IMPORT_CREATED;
    m->result.updated += row.state == TPC_IMPORT_UPDATED;
    m->result.failed += row.state == TPC_IMPORT_FAILED;
    return m->o.on_row != NULL ? m->o.on_row(m->o.user, &row) : 0;
}

static int store_batch(struct import *m)
{
    struct tpi_put_batch batch = { .actor = m->actor,
                                   .kind = m->kind->name,
                                   .puts = m->puts,
                                   .count = m->put_count,
                                   .dry = (m->o.flags & TPC_IMPORT_DRY_RUN) != 0,
                                   .arena = m->arena,
                                   .promised = promised,
                                   .user = m };
    int rc = m->put_count == 0 ? 0 : tpi_entities_put_batch(m->core->entities, &batch, m->err);
    int stop = 0;
    for (uint32_t i = 0; i < m->count && stop == 0; i++) {
        stop = tell_row(m, &m->pending[i]);
    }
    rc = rc != 0 ? rc : stop;
    if (rc == 0 && m->o.on_progress != NULL) {
        rc = m->o.on_progress(m->o.user, m->result.rows, m->bytes - (m->end - m->begin),
                              m->total_bytes);
    }
    m->count = 0;
    m->put_count = 0;
    m->text_bytes = 0;
    tpc_arena_reset(m->arena);
    return rc;
}

static int import_rows(struct import *m)
{
    enum tpi_csv_result r;
    for (;;) {
        int rc = next_record(m, &r);
        if (rc != 0 || r == TPI_CSV_END) {
            int end = m->count > 0 ? store_batch(m) : 0;
            return rc != 0 ? rc : end;
        }
        rc = take_row(m, r);
        if (rc == 0 && (m->count == m->o.batch_rows || m->text_bytes > BATCH_TEXT)) {
            rc = store_batch(m);
        }
        if (rc != 0) {
            return rc;
        }
    }
}

static int check_options(struct import *m, const struct tpc_import_options *options)
{
    static const struct tpc_import_options init = TPC_IMPORT_OPTIONS_INIT;
    m->o = init;
    if (options != NULL) {
        memcpy(&m->o, options, options->size < sizeof(m->o) ? options->size : sizeof(m->o));
    }
    m->o.batch_rows = m->o.batch_rows == 0 ? DEFAULT_ROWS : m->o.batch_rows;
    if (m->o.policy > TPC_IMPORT_UPDATE || m->o.batch_rows > TPI_ENTITY_MAX_BATCH ||
        (m->o.flags & ~(uint32_t) TPC_IMPORT_DRY_RUN) != 0) {
        return tpi_error_set(m->err, TPC_EINVAL, "import", "an option that cannot be");
    }
    tpi_registry_read_lock(m->core->registry);
    bool known = tpi_registry_tenant(m->core->registry, m->o.tenant) != 0;
    tpi_registry_read_unlock(m->core->registry);
    return known ? 0
                 : tpi_error_set(m->err, TPC_ENOENT, "import", "there is no tenant \"%.*s\"",
                                 (int) (m->o.tenant.len > 128 ? 128 : m->o.tenant.len),
                                 m->o.tenant.ptr);
}

static int find_kind(struct import *m)
{
    for (uint32_t i = 0; i < TPI_REGISTRY_KINDS; i++) {
        const struct tpi_kind *k = &tpi_registry_kinds(m->core->registry)[i];
        m->kind = strcmp(k->name, "device") == 0 ? k : m->kind;
    }
    return m->kind != NULL ? 0 : TPC_EINVAL;
}

static int run(struct import *m, const struct tpc_import_options *options)
{
    const struct tpc_allocator *alloc = m->core->env.alloc;
    int rc = check_options(m, options);
    rc = rc != 0 ? rc : find_kind(m);
    if (rc != 0) {
        return rc;
    }
    size_t pending_bytes = m->o.batch_rows * sizeof(*m->pending);
    size_t put_bytes = m->o.batch_rows * sizeof(*m->puts);
    tpi_csv_init(&m->csv);
    tpi_map64_init(&m->keys, alloc);
    (void) tpi_random(&m->core->env, &m->seed, sizeof(m->seed)); /* a seed of 0 still works */
    m->window = tpi_alloc(alloc, WINDOW_BYTES);
    m->pending = tpi_alloc(alloc, pending_bytes);
    m->puts = tpi_alloc(alloc, put_bytes);
    if (m->window == NULL || m->pending == NULL || m->puts == NULL ||
        tpc_arena_create(alloc, 0, &m->header) != 0 || tpc_arena_create(alloc, 0, &m->arena) != 0) {
        rc = no_memory(m->err);
    }
    rc = rc != 0 ? rc : read_header(m);
    rc = rc != 0 ? rc : import_rows(m);
    tpc_arena_destroy(m->arena);
    tpc_arena_destroy(m->header);
    tpi_free(alloc, m->puts, put_bytes);
    tpi_free(alloc, m->pending, pending_bytes);
    tpi_free(alloc, m->window, WINDOW_BYTES);
    tpi_map64_fini(&m->keys);
    return rc;
}

static int import_from(struct tpc_core *core, const struct tpc_actor *actor,
                       tpc_import_read_fn *read, void *read_user, uint64_t total_bytes,
                       const struct tpc_import_options *options, struct tpc_import_result *ret)
{
    static const struct tpc_actor importer = { .size = sizeof(importer),
                                               .type = TPC_ACTOR_IMPORT,
                                               .name = { "csv", 3 } };
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    struct import *m = rc == 0 ? tpi_alloc_zero(core->env.alloc, sizeof(*m)) : NULL;
    if (m == NULL) {
        return tpi_fail_end(rc != 0 ? rc : no_memory(err));
    }
    m->core = core;
    m->actor = actor != NULL ? actor : &importer;
    m->read = read;
    m->read_user = read_user;
    m->total_bytes = total_bytes;
    m->err = err;
    m->result.size = sizeof(m->result);
    rc = run(m, options);
    if (ret != NULL) {
        *ret = m->result;
    }
    tpi_free(core->env.alloc, m, sizeof(*m));
    return rc == err->code || rc == 0 ? tpi_fail_end(rc) : rc;
}

int tpc_import_csv_from(struct tpc_core *core, const struct tpc_actor *actor,
                        tpc_import_read_fn *read, void *read_user,
                        const struct tpc_import_options *options, struct tpc_import_result *ret)
{
    if (core == NULL || read == NULL) {
        return tpi_fail(TPC_EINVAL, "import", "core or read is NULL");
    }
    return import_from(core, actor, read, read_user, 0, options, ret);
}

struct file {
    const struct tpc_files *files;
    void *file;
    uint64_t at;
};

static int64_t read_file(void *user, void *ptr, size_t len)
{
    struct file *f = user;
    int native = 0;
    int64_t got = f->files->read_at(f->files->user, f->file, ptr, len, f->at, &native);
    f->at += got > 0 ? (uint64_t) got : 0;
    return got;
}

int tpc_import_csv(struct tpc_core *core, const struct tpc_actor *actor, const char *path,
                   const struct tpc_import_options *options, struct tpc_import_result *ret)
{
    if (core == NULL || path == NULL) {
        return tpi_fail(TPC_EINVAL, "import", "core or path is NULL");
    }
    struct file f = { .files = core->env.files };
    int native = 0;
    int rc = f.files->open(f.files->user, path, TPC_FILE_READ, &f.file, &native);
    if (rc != 0) {
        return tpi_fail(rc, "import", "%.200s: cannot be opened", path);
    }
    int64_t len = f.files->length(f.files->user, f.file, &native);
    rc = import_from(core, actor, read_file, &f, len > 0 ? (uint64_t) len : 0, options, ret);
    f.files->close(f.files->user, f.file);
    return rc;
}
