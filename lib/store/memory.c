#include "store/memory_inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"

static const char origin[] = "memory";

enum { QUERY_LIMIT = 1000, QUERY_LIMIT_MAX = 100000 };

/* Order of (space, kind, tenant, key). */
static int compare(const struct tpc_row *a, const struct tpc_row *b)
{
    if (a->space != b->space) {
        return a->space < b->space ? -1 : 1;
    }
    int c = tpi_text_order(a->kind, b->kind);
    if (c != 0) {
        return c;
    }
    if (a->tenant != b->tenant) {
        return a->tenant < b->tenant ? -1 : 1;
    }
    return tpi_text_order(a->key, b->key);
}

/* Level of a node: each with a quarter of the chance of the one below. The same row always has the
 * same level, so a replaced row's place fits the new one. */
static uint32_t level_of(const struct tpc_row *row)
{
    uint64_t h = tpi_hash(row->key.ptr, row->key.len, row->tenant * 31 + row->space);
    uint32_t level = 0;
    while ((h & 3) == 0 && level < TPI_MEMORY_LEVELS - 1) {
        level++;
        h >>= 2;
    }
    return level;
}

static char *put_bytes(char **at, const void *p, size_t n)
{
    char *to = *at;
    if (n > 0) {
        memcpy(to, p, n);
    }
    *at += n;
    return to;
}

static struct tpc_str put_text(char **at, struct tpc_str s)
{
    return (struct tpc_str){ put_bytes(at, s.ptr, s.len), s.len };
}

static const struct tpc_field *field_at(const struct tpc_row *row, uint32_t i)
{
    return (const struct tpc_field *) (const void *) ((const char *) row->fields +
                                                      (size_t) i * row->field_size);
}

struct tpi_memory_row *tpi_memory_row_make(struct tpi_memory *m, const struct tpc_row *row)
{
    uint32_t level = level_of(row);
    size_t head = sizeof(struct tpi_memory_row) + (level + 1) * sizeof(void *);
    size_t bytes = head + row->field_count * sizeof(struct tpc_field) + row->kind.len +
                   row->key.len + row->doc.len;
    for (uint32_t i = 0; i < row->field_count; i++) {
        bytes += field_at(row, i)->name.len + field_at(row, i)->value.len;
    }
    struct tpi_memory_row *n = tpi_alloc(m->alloc, bytes);
    if (n == NULL) {
        return NULL;
    }
    struct tpc_field *fields = (struct tpc_field *) (void *) ((char *) n + head);
    char *at = (char *) (fields + row->field_count);
    n->row = *row;
    n->bytes = bytes;
    n->level = level;
    n->row.size = sizeof(n->row);
    n->row.kind = put_text(&at, row->kind);
    n->row.key = put_text(&at, row->key);
    n->row.doc.ptr = (const uint8_t *) put_bytes(&at, row->doc.ptr, row->doc.len);
    for (uint32_t i = 0; i < row->field_count; i++) {
        fields[i].name = put_text(&at, field_at(row, i)->name);
        fields[i].value = put_text(&at, field_at(row, i)->value);
    }
    n->row.fields = fields;
    n->row.field_size = sizeof(*fields);
    return n;
}

void tpi_memory_row_free(struct tpi_memory *m, struct tpi_memory_row *row)
{
    if (row != NULL) {
        tpi_free(m->alloc, row, row->bytes);
    }
}

/* Places of the links to the first row that is not before key; returns that row. after: also past a
 * row that is equal. */
static struct tpi_memory_row *seek(struct tpi_memory *m, const struct tpc_row *key, bool after,
                                   struct tpi_memory_row **links[TPI_MEMORY_LEVELS])
{
    struct tpi_memory_row *node = NULL; /* NULL: at the head */
    struct tpi_memory_row *next = NULL;
    for (int level = TPI_MEMORY_LEVELS - 1; level >= 0; level--) {
        struct tpi_memory_row **link = node == NULL ? &m->head[level] : &node->next[level];
        while ((next = *link) != NULL) {
            int c = compare(&next->row, key);
            if (c > 0 || (c == 0 && !after)) {
                break;
            }
            node = next;
            link = &node->next[level];
        }
        if (links != NULL) {
            links[level] = link;
        }
    }
    return next;
}

/* The row of exactly this place, or NULL. */
static struct tpi_memory_row *find(struct tpi_memory *m, const struct tpc_row *key)
{
    struct tpi_memory_row *row = seek(m, key, false, NULL);
    return row != NULL && compare(&row->row, key) == 0 ? row : NULL;
}

static struct tpi_memory_row *unlink_row(struct tpi_memory *m, const struct tpc_row *key)
{
    struct tpi_memory_row **links[TPI_MEMORY_LEVELS];
    struct tpi_memory_row *row = seek(m, key, false, links);
    if (row == NULL || compare(&row->row, key) != 0) {
        return NULL;
    }
    for (uint32_t i = 0; i <= row->level; i++) {
        *links[i] = row->next[i];
    }
    m->count--;
    return row;
}

struct tpi_memory_row *tpi_memory_link(struct tpi_memory *m, struct tpi_memory_row *row)
{
    struct tpi_memory_row **links[TPI_MEMORY_LEVELS];
    struct tpi_memory_row *old = unlink_row(m, &row->row);
    seek(m, &row->row, false, links);
    for (uint32_t i = 0; i <= row->level; i++) {
        row->next[i] = *links[i];
        *links[i] = row;
    }
    m->count++;
    return old;
}

/* ---- transactions ---- */

/* What one op did: enough to undo it without memory. */
struct step {
    struct tpi_memory_row *fresh; /* of a PUT: made before anything changes */
    struct tpi_memory_row *old;   /* what stood there */
};

static const struct tpc_store_op *op_at(const struct tpc_store_op *ops, uint32_t i, size_t op_size)
{
    return (const struct tpc_store_op *) (const void *) ((const char *) ops + (size_t) i * op_size);
}

static int check_op(const struct tpc_store_op *op, struct tpc_error *err)
{
    if ((op->type != TPC_STORE_PUT && op->type != TPC_STORE_DELETE) || op->row.key.len == 0 ||
        op->row.key.len > 128) {
        return tpi_error_set(err, TPC_EINVAL, origin, "neither put nor delete, or a bad key");
    }
    return 0;
}

static int apply_op(struct tpi_memory *m, const struct tpc_store_op *op, struct step *s,
                    struct tpc_error *err)
{
    const struct tpi_memory_row *now = find(m, &op->row);
    uint64_t revision = now == NULL ? TPC_NO_REV : now->row.revision;
    if (op->expect != TPC_ANY_REV && op->expect != revision) {
        char key[129];
        memcpy(key, op->row.key.ptr, op->row.key.len);
        key[op->row.key.len] = 0;
        tpi_error_set(err, TPC_ECONFLICT, origin, "revision %llu is there, %llu was expected",
                      (unsigned long long) revision, (unsigned long long) op->expect);
        tpi_error_at(err, key);
        return TPC_ECONFLICT;
    }
    s->old = op->type == TPC_STORE_PUT ? tpi_memory_link(m, s->fresh) : unlink_row(m, &op->row);
    return 0;
}

static void undo_op(struct tpi_memory *m, const struct tpc_store_op *op, const struct step *s)
{
    if (op->type == TPC_STORE_PUT) {
        unlink_row(m, &op->row);
    }
    if (s->old != NULL) {
        tpi_memory_link(m, s->old);
    }
}

/* Makes the rows of all PUTs. */
static int make_rows(struct tpi_memory *m, const struct tpc_store_op *ops, uint32_t count,
                     size_t op_size, struct step *steps, struct tpc_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_store_op *op = op_at(ops, i, op_size);
        int rc = check_op(op, err);
        if (rc != 0) {
            return rc;
        }
        if (op->type == TPC_STORE_PUT) {
            steps[i].fresh = tpi_memory_row_make(m, &op->row);
            if (steps[i].fresh == NULL) {
                return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
            }
        }
    }
    return 0;
}

static int apply_all(struct tpi_memory *m, const struct tpc_store_op *ops, uint32_t count,
                     size_t op_size, struct step *steps, struct tpc_error *err)
{
    int rc = 0;
    uint32_t done = 0;
    pthread_rwlock_wrlock(&m->lock);
    while (done < count && rc == 0) {
        rc = apply_op(m, op_at(ops, done, op_size), &steps[done], err);
        done += rc == 0 ? 1 : 0;
    }
    while (rc != 0 && done > 0) {
        done--;
        undo_op(m, op_at(ops, done, op_size), &steps[done]);
    }
    pthread_rwlock_unlock(&m->lock);
    return rc;
}

static uint64_t mono_ms(const struct tpi_memory *m)
{
    return m->host->clock->mono_ns(m->host->clock->user) / 1000000u;
}

static void dump_if_due(struct tpi_memory *m)
{
    if (m->dump_dir == NULL || !atomic_load(&m->dirty) ||
        mono_ms(m) - atomic_load(&m->dumped_ms) < m->dump_interval_ms) {
        return;
    }
    int rc = tpi_memory_dump(m);
    if (rc != 0 && m->host->log != NULL) {
        m->host->log(m->ctx, TPC_LOG_ERROR, "the dump to %s failed: %s", m->dump_dir,
                     tpc_error_name(rc));
    }
}

static int memory_transact(void *self, const struct tpc_store_op *ops, uint32_t count,
                           size_t op_size, struct tpc_error *err)
{
    struct tpi_memory *m = self;
    if (count == 0) {
        return 0;
    }
    struct step *steps = tpi_alloc_array(m->alloc, count, sizeof(*steps));
    if (steps == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
    }
    int rc = make_rows(m, ops, count, op_size, steps, err);
    if (rc == 0) {
        rc = apply_all(m, ops, count, op_size, steps, err);
    }
    for (uint32_t i = 0; i < count; i++) {
        tpi_memory_row_free(m, rc == 0 ? steps[i].old : steps[i].fresh);
    }
    tpi_free(m->alloc, steps, count * sizeof(*steps));
    if (rc == 0) {
        atomic_store(&m->dirty, true);
        dump_if_due(m);
    }
    return rc;
}

/* ---- reading ---- */

static int memory_get(void *self, uint32_t space, struct tpc_str kind, uint64_t tenant,
                      struct tpc_str key, tpc_row_fn *fn, void *user)
{
    struct tpi_memory *m = self;
    struct tpc_row at = { .space = space, .kind = kind, .tenant = tenant, .key = key };
    pthread_rwlock_rdlock(&m->lock);
    const struct tpi_memory_row *row = find(m, &at);
    int rc = row == NULL ? TPC_ENOENT : fn(user, &row->row);
    pthread_rwlock_unlock(&m->lock);
    return rc;
}

/* A name stands in a row once. */
static bool has_field(const struct tpc_row *row, const struct tpc_field *f)
{
    for (uint32_t i = 0; i < row->field_count; i++) {
        if (tpc_str_equal(row->fields[i].name, f->name) != 0) {
            return tpc_str_equal(row->fields[i].value, f->value) != 0;
        }
    }
    return false;
}

static bool matches(const struct tpc_store_query *q, const struct tpc_row *row)
{
    if ((q->id != 0 && q->id != row->id) || (q->tenant != UINT64_MAX && q->tenant != row->tenant) ||
        (q->field.name.len > 0 && !has_field(row, &q->field))) {
        return false;
    }
    for (uint32_t i = 0; i < q->term_count; i++) {
        if (has_field(row, &q->terms[i].field) != (q->terms[i].type == TPC_TERM_EQUAL)) {
            return false;
        }
    }
    return true;
}

static int memory_query(void *self, const struct tpc_store_query *q, tpc_row_fn *fn, void *user)
{
    struct tpi_memory *m = self;
    bool all = q->tenant == UINT64_MAX;
    uint32_t left = q->limit == 0 ? QUERY_LIMIT : q->limit;
    left = left > QUERY_LIMIT_MAX ? QUERY_LIMIT_MAX : left;
    struct tpc_row from = { .space = q->space, .kind = q->kind, .tenant = all ? 0 : q->tenant };
    bool after = q->after_key.len > 0;
    from.key = q->after_key;
    int rc = 0;
    if (q->term_count > TPC_STORE_TERMS_MAX) {
        return TPC_EINVAL;
    }
    pthread_rwlock_rdlock(&m->lock);
    const struct tpi_memory_row *row = seek(m, &from, after, NULL);
    for (; row != NULL && rc == 0 && left > 0; row = row->next[0]) {
        if (row->row.space != q->space || tpc_str_equal(row->row.kind, q->kind) == 0 ||
            (!all && row->row.tenant != q->tenant)) {
            break;
        }
        if (matches(q, &row->row)) {
            rc = fn(user, &row->row);
            left--;
        }
    }
    pthread_rwlock_unlock(&m->lock);
    return rc;
}

static int memory_count(void *self, uint32_t space, struct tpc_str kind, uint64_t *ret_count)
{
    struct tpi_memory *m = self;
    struct tpc_row from = { .space = space, .kind = kind };
    uint64_t n = 0;
    pthread_rwlock_rdlock(&m->lock);
    const struct tpi_memory_row *row = seek(m, &from, false, NULL);
    for (; row != NULL && row->row.space == space; row = row->next[0]) {
        if (kind.len > 0 && tpc_str_equal(row->row.kind, kind) == 0) {
            break;
        }
        n++;
    }
    pthread_rwlock_unlock(&m->lock);
    *ret_count = n;
    return 0;
}

/* ---- life ---- */

static void arm_timer(struct tpi_memory *m);

static void on_timer(void *user)
{
    struct tpi_memory *m = user;
    m->timer = 0;
    dump_if_due(m);
    arm_timer(m);
}

/* A host without timers leaves the dump to the transactions and the stop. */
static void arm_timer(struct tpi_memory *m)
{
    if (TPC_HAS(m->host, struct tpc_host, timer_set) &&
        m->host->timer_set(m->ctx, m->dump_interval_ms, on_timer, m, &m->timer) != 0) {
        m->timer = 0;
    }
}

static int memory_init(void *self, const struct tpc_host *host, void *ctx,
                       const struct tpc_value *cfg)
{
    struct tpi_memory *m = self;
    const struct tpc_value *dir = tpc_value_get(cfg, TPC_STR("dump_dir"));
    const struct tpc_value *secrets = tpc_value_get(cfg, TPC_STR("dump_secrets"));
    int64_t interval = 60000;
    (void) tpc_value_int(tpc_value_get(cfg, TPC_STR("dump_interval")), &interval);
    m->host = host;
    m->ctx = ctx;
    m->alloc = host->allocator;
    if (pthread_rwlock_init(&m->lock, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "cannot make a lock");
    }
    if (pthread_mutex_init(&m->dump_lock, NULL) != 0) {
        pthread_rwlock_destroy(&m->lock);
        return host->fail(ctx, TPC_ENOMEM, "cannot make a lock");
    }
    m->ready = true;
    if (dir == NULL || dir->type != TPC_TEXT || dir->len == 0) {
        return 0;
    }
    m->dump_interval_ms = (uint64_t) interval;
    m->dump_secrets = secrets != NULL && secrets->type == TPC_BOOL && secrets->as.b;
    m->dump_dir_bytes = dir->len + 1;
    char *text = tpi_str_dup(m->alloc, tpc_value_text(dir));
    if (text == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "out of memory");
    }
    m->dump_dir = text;
    int rc = tpi_memory_load(m);
    if (rc != 0) {
        /* What could not be read is not written over by the dump of the end. */
        tpi_free(m->alloc, m->dump_dir, m->dump_dir_bytes);
        m->dump_dir = NULL;
        return rc;
    }
    atomic_store(&m->dumped_ms, mono_ms(m));
    arm_timer(m);
    return 0;
}

static void memory_fini(void *self)
{
    struct tpi_memory *m = self;
    if (!m->ready) {
        return;
    }
    if (m->timer != 0) {
        m->host->timer_clear(m->ctx, m->timer);
    }
    if (m->dump_dir != NULL && atomic_load(&m->dirty)) {
        int rc = tpi_memory_dump(m);
        if (rc != 0 && m->host->log != NULL) {
            m->host->log(m->ctx, TPC_LOG_ERROR, "the last dump to %s failed: %s", m->dump_dir,
                         tpc_error_name(rc));
        }
    }
    struct tpi_memory_row *row = m->head[0];
    while (row != NULL) {
        struct tpi_memory_row *next = row->next[0];
        tpi_memory_row_free(m, row);
        row = next;
    }
    tpi_free(m->alloc, m->dump_dir, m->dump_dir_bytes);
    pthread_mutex_destroy(&m->dump_lock);
    pthread_rwlock_destroy(&m->lock);
    m->ready = false;
}

static const struct tpc_option memory_options[] = {
    { .name = "dump_dir",
      .type = TPC_OPT_TEXT,
      .since = "0.1",
      .help = "Folder for JSON files with all rows, read at the next start; absent = none." },
    { .name = "dump_interval",
      .type = TPC_OPT_DURATION,
      .def = "1m",
      .min = 100,
      .max = 86400000,
      .since = "0.1",
      .help = "Longest time between a change and a dump; a crash loses up to that." },
    { .name = "dump_secrets",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "Also write secrets, in clear text; without it they are gone after a restart." },
};

const struct tpc_store_ops tpi_store_memory = {
    .iface = TPC_IFACE(struct tpc_store_ops, 1),
    .name = "memory",
    .instance_size = sizeof(struct tpi_memory),
    .options = TPC_OPTIONS(memory_options),
    .init = memory_init,
    .fini = memory_fini,
    .transact = memory_transact,
    .get = memory_get,
    .query = memory_query,
    .count = memory_count,
};
