/* Documents of targets. */
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "bus/topic.h"
#include "data/member.h"
#include "data/msg.h"
#include "data/option.h"
#include "forward/inside.h"

enum { MAX_PAUSE_MS = 86400000, DAY_MS = 86400000 };

const char *const fwd_kind_names[TPI_FORWARD_KINDS] = { "forward", "handler" };

static const struct tpc_option filter_item = {
    .name = "filter", .type = TPC_OPT_TEXT, .min = 1, .max = TPI_FILTER_BYTES_MAX
};

#define BATCH_OPTIONS(count_def)                                                                   \
    { .name = "count",                                                                             \
      .type = TPC_OPT_UINT,                                                                        \
      .def = (count_def),                                                                          \
      .min = 1,                                                                                    \
      .max = TPI_FORWARD_BATCH,                                                                    \
      .since = "0.1",                                                                              \
      .help = "messages at most" },                                                                \
        { .name = "bytes",                                                                         \
          .type = TPC_OPT_SIZE,                                                                    \
          .def = "1MiB",                                                                           \
          .min = 1,                                                                                \
          .max = 64 << 20,                                                                         \
          .since = "0.1",                                                                          \
          .help = "of their records at most; one message always fits" },                           \
    {                                                                                              \
        .name = "wait", .type = TPC_OPT_DURATION, .def = "0", .max = 3600000, .since = "0.1",      \
        .help = "how long a batch waits to be full"                                                \
    }

static const struct tpc_option batch_options[] = { BATCH_OPTIONS("256") };
static const struct tpc_option one_options[] = { BATCH_OPTIONS("1") };

static const struct tpc_option retry_options[] = {
    { .name = "min",
      .type = TPC_OPT_DURATION,
      .def = "1s",
      .min = 1,
      .max = MAX_PAUSE_MS,
      .since = "0.1",
      .help = "the first pause; doubles with each failure" },
    { .name = "max",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .min = 1,
      .max = MAX_PAUSE_MS,
      .since = "0.1",
      .help = "the longest pause" },
};

#define KEEP_OPTIONS(how)                                                                          \
    { .name = "bytes",                                                                             \
      .type = TPC_OPT_SIZE,                                                                        \
      .def = "0",                                                                                  \
      .since = "0.1",                                                                              \
      .help = "of the log that may wait for it; 0 = as the log keeps" },                           \
        { .name = "age",                                                                           \
          .type = TPC_OPT_DURATION,                                                                \
          .def = "0",                                                                              \
          .max = 3650LL * DAY_MS,                                                                  \
          .since = "0.1",                                                                          \
          .help = "how old may be what waits for it; what is older goes, whatever drop says; "     \
                  "0 = as the log keeps" },                                                        \
        { .name = "records",                                                                       \
          .type = TPC_OPT_UINT,                                                                    \
          .def = "0",                                                                              \
          .since = "0.1",                                                                          \
          .help = "of the log that may wait for it; 0 = as the log keeps" },                       \
    {                                                                                              \
        .name = "drop", .type = TPC_OPT_ENUM, .def = "oldest", .values = (how), .since = "0.1",    \
        .help = "what goes when more waits: the oldest, what comes, or every second sample"        \
    }

static const struct tpc_option forward_keep[] = { KEEP_OPTIONS("oldest|newest|thin") };
static const struct tpc_option handler_keep[] = { KEEP_OPTIONS("oldest|newest") };

#define COMMON_OPTIONS(batch_table, keep_table)                                                    \
    { .name = "enabled",                                                                           \
      .type = TPC_OPT_BOOL,                                                                        \
      .def = "true",                                                                               \
      .since = "0.1",                                                                              \
      .help = "false = it holds its place in the log, within keep" },                              \
        { .name = "description",                                                                   \
          .type = TPC_OPT_TEXT,                                                                    \
          .max = 4096,                                                                             \
          .since = "0.1",                                                                          \
          .help = "text for people" },                                                             \
        { .name = "sink",                                                                          \
          .type = TPC_OPT_TEXT,                                                                    \
          .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY | TPC_OPT_INDEXED,                               \
          .since = "0.1",                                                                          \
          .help = "name of an opened part that is a sink" },                                       \
        { .name = "batch",                                                                         \
          .type = TPC_OPT_TABLE,                                                                   \
          .def = "{}",                                                                             \
          .sub = TPC_OPTIONS(batch_table),                                                         \
          .since = "0.1",                                                                          \
          .help = "how many messages go at once" },                                                \
        { .name = "retry",                                                                         \
          .type = TPC_OPT_TABLE,                                                                   \
          .def = "{}",                                                                             \
          .sub = TPC_OPTIONS(retry_options),                                                       \
          .since = "0.1",                                                                          \
          .help = "pauses after a failure" },                                                      \
        { .name = "limit",                                                                         \
          .type = TPC_OPT_DOUBLE,                                                                  \
          .min = 0,                                                                                \
          .max = 10000000,                                                                         \
          .since = "0.1",                                                                          \
          .help = "messages a second at most; absent or 0 = as fast as it can" },                  \
        { .name = "limit_points",                                                                  \
          .type = TPC_OPT_DOUBLE,                                                                  \
          .min = 0,                                                                                \
          .max = 100000000,                                                                        \
          .since = "0.1",                                                                          \
          .help = "values a second at most; absent or 0 = as fast as it can" },                    \
        { .name = "window",                                                                        \
          .type = TPC_OPT_UINT,                                                                    \
          .def = "1",                                                                              \
          .min = 1,                                                                                \
          .max = FWD_LANES,                                                                        \
          .since = "0.1",                                                                          \
          .help = "batches on their way at a time, as far as its sink takes several" },            \
        { .name = "keep",                                                                          \
          .type = TPC_OPT_TABLE,                                                                   \
          .def = "{}",                                                                             \
          .sub = TPC_OPTIONS(keep_table),                                                          \
          .since = "0.1",                                                                          \
          .help = "what may wait while the other side is down" },                                  \
        { .name = "start",                                                                         \
          .type = TPC_OPT_ENUM,                                                                    \
          .def = "newest",                                                                         \
          .values = "newest|oldest",                                                               \
          .since = "0.1",                                                                          \
          .help = "a new target begins with what comes from now on, or with all that is kept" },   \
    {                                                                                              \
        .name = "options", .type = TPC_OPT_TABLE, .flags = TPC_OPT_OPEN, .def = "{}",              \
        .since = "0.1", .help = "of the sink for one target: see its README"                       \
    }

static const struct tpc_option forward_schema[] = {
    COMMON_OPTIONS(batch_options, forward_keep),
    { .name = "filter",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = TPI_FORWARD_FILTERS,
      .elem = &filter_item,
      .since = "0.1",
      .help = "topics, each beginning with the target's tenant; absent = <tenant>/up/#" },
    { .name = "where",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = TPI_EXPR_MAX_TEXT,
      .since = "0.1",
      .help = "condition over a message's values: only these go" },
    { .name = "transform",
      .type = TPC_OPT_TABLE,
      .sub = { fwd_transform_options, FWD_TRANSFORM_OPTIONS, sizeof(struct tpc_option) },
      .since = "0.1",
      .help = "what is changed of a message before it goes" },
};
static const struct tpc_option handler_schema[] = { COMMON_OPTIONS(one_options, handler_keep) };

struct tpc_list fwd_schema(uint32_t kind)
{
    return kind == 0 ? (struct tpc_list) TPC_OPTIONS(forward_schema)
                     : (struct tpc_list) TPC_OPTIONS(handler_schema);
}

/* ---- secrets among a sink's options ---- */

static bool has_secret(const struct tpc_list *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *table, i);
        if (o->type == TPC_OPT_SECRET || (o->type == TPC_OPT_TABLE && has_secret(&o->sub))) {
            return true;
        }
    }
    return false;
}

/* A table with the secrets alone and room for the rest, which is checked by prepare: a stored
 * target that a newer sink does not take must not keep the core from starting. */
static int only_secrets(const struct tpc_list *table, struct tpc_arena *arena, struct tpc_list *ret)
{
    struct tpc_option *out = tpc_arena_take(arena, (table->count + 1) * sizeof(*out));
    uint32_t n = 0;
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *table, i);
        bool inner = o->type == TPC_OPT_TABLE && has_secret(&o->sub);
        if (o->type != TPC_OPT_SECRET && !inner) {
            continue;
        }
        out[n] = (struct tpc_option){
            .name = o->name, .type = o->type, .flags = TPC_OPT_OPEN, .max = o->max
        };
        if (inner && only_secrets(&o->sub, arena, &out[n].sub) != 0) {
            return TPC_ENOMEM;
        }
        n++;
    }
    *ret = (struct tpc_list){ out, n, sizeof(*out) };
    return 0;
}

const struct tpc_list *fwd_schema_of(void *user, const struct tpc_value *doc,
                                     struct tpc_arena *arena)
{
    const struct fwd_kind_user *k = user;
    const struct tpi_forward *f = k->f;
    const struct tpc_list *plain = &f->kinds[k->kind].schema;
    const struct tpc_sink_ops *ops;
    void *self;
    struct tpc_str sink = tpc_value_text(tpc_value_get(doc, TPC_STR("sink")));
    if (sink.len == 0 || !f->host.sink(f->host.user, sink, &ops, &self) ||
        !has_secret(&ops->target_options)) {
        return plain;
    }
    struct tpc_option *table = tpc_arena_take(arena, plain->count * sizeof(*table));
    struct tpc_list *list = tpc_arena_take(arena, sizeof(*list));
    if (table == NULL || list == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < plain->count; i++) {
        table[i] = *TPC_LIST_AT(struct tpc_option, *plain, i);
        if (strcmp(table[i].name, "options") == 0 &&
            only_secrets(&ops->target_options, arena, &table[i].sub) != 0) {
            return NULL;
        }
    }
    *list = (struct tpc_list){ table, plain->count, sizeof(*table) };
    return list;
}

/* ---- reading ---- */

/* The table has bounded it. */
static uint64_t number(const struct tpc_value *map, const char *key)
{
    int64_t i = 0;
    const struct tpc_value *v = tpi_member(map, key);
    return v != NULL && tpc_value_int(v, &i) == 0 && i > 0 ? (uint64_t) i : 0;
}

static void read_numbers(struct fwd_config *c, const struct tpc_value *doc)
{
    const struct tpc_value *limit = tpi_member(doc, "limit");
    const struct tpc_value *points = tpi_member(doc, "limit_points");
    c->enabled = tpi_member_bool(doc, "enabled", false);
    c->sink = tpc_value_text(tpi_member(doc, "sink"));
    c->newest = !tpc_str_equal(tpc_value_text(tpi_member(doc, "start")), TPC_STR("oldest"));
    c->batch_count = (uint32_t) number(tpi_member(doc, "batch"), "count");
    c->batch_bytes = number(tpi_member(doc, "batch"), "bytes");
    c->wait_ms = number(tpi_member(doc, "batch"), "wait");
    c->retry_min_ms = number(tpi_member(doc, "retry"), "min");
    c->retry_max_ms = number(tpi_member(doc, "retry"), "max");
    if (limit != NULL) {
        (void) tpc_value_double(limit, &c->limit);
    }
    if (points != NULL) {
        (void) tpc_value_double(points, &c->limit_points);
    }
    c->window = (uint32_t) number(doc, "window");
    if (c->retry_max_ms < c->retry_min_ms) {
        c->retry_max_ms = c->retry_min_ms;
    }
}

static int read_keep(struct fwd_config *c, const struct tpc_value *keep, struct tpc_error *err)
{
    struct tpc_str drop = tpi_member_text(keep, "drop");
    c->keep_bytes = number(keep, "bytes");
    c->keep_age_ms = number(keep, "age");
    c->keep_records = number(keep, "records");
    c->drop = tpc_str_equal(drop, TPC_STR("newest")) ? FWD_DROP_NEWEST
              : tpc_str_equal(drop, TPC_STR("thin")) ? FWD_DROP_THIN
                                                     : FWD_DROP_OLDEST;
    if (c->drop == FWD_DROP_OLDEST || c->keep_bytes > 0 || c->keep_records > 0) {
        return 0;
    }
    int rc = tpi_error_set(err, TPC_EINVAL, "forward", "needs keep.bytes or keep.records");
    if (err != NULL) {
        tpi_error_at(err, "drop");
        tpi_error_at(err, "keep");
    }
    return rc;
}

/* "<tenant>/" with which every filter of the target begins. */
static int tenant_prefix(struct fwd_config *c, struct tpi_buf *out)
{
    int rc = tpi_topic_key(out, c->tenant);
    return rc != 0 ? rc : tpi_buf_text(out, TPC_STR("/"));
}

static int check_filter(struct fwd_config *c, struct tpc_str prefix, uint32_t i,
                        struct tpc_error *err)
{
    struct tpc_str f = c->filters[i];
    int rc = tpi_filter_check(f, 0, err);
    if (rc == 0 && (f.len < prefix.len || memcmp(f.ptr, prefix.ptr, prefix.len) != 0)) {
        rc = tpi_error_set(err, TPC_EINVAL, "forward", "does not begin with the tenant: \"%.*s\"",
                           (int) (prefix.len < 64 ? prefix.len : 64), prefix.ptr);
    }
    if (rc != 0 && err != NULL) {
        tpi_error_at_index(err, i);
        tpi_error_at(err, "filter");
    }
    return rc;
}

static int read_filters(struct fwd_config *c, const struct tpc_value *doc, struct tpc_error *err)
{
    const struct tpc_value *list = tpi_member(doc, "filter");
    struct tpi_buf prefix;
    tpi_buf_init(&prefix, c->alloc, 0);
    int rc = tenant_prefix(c, &prefix);
    struct tpc_str text = { (const char *) prefix.ptr, prefix.len };
    for (size_t i = 0; rc == 0 && list != NULL && i < list->len; i++) {
        c->filters[c->filter_count++] = tpc_value_text(&list->as.items[i]);
        rc = check_filter(c, text, (uint32_t) i, err);
    }
    if (rc == 0 && c->filter_count == 0 && !c->handler) {
        rc = tpi_buf_text(&prefix, TPC_STR("up/#"));
        char *all = rc == 0 ? tpc_arena_take(c->arena, prefix.len) : NULL;
        if (all != NULL) {
            memcpy(all, prefix.ptr, prefix.len);
            c->filters[c->filter_count++] = (struct tpc_str){ all, prefix.len };
        }
        rc = all != NULL ? 0 : TPC_ENOMEM;
    }
    tpi_buf_fini(&prefix);
    return rc;
}

static int join_name(struct fwd_config *c, const struct tpi_change *change)
{
    struct tpc_str kind = tpc_str_from(change->kind->name);
    struct tpc_str parts[] = { change->tenant_key, TPC_STR("/"), kind, TPC_STR("/"), change->key };
    size_t len = 0;
    for (int i = 0; i < 5; i++) {
        len += parts[i].len;
    }
    char *p = tpc_arena_take(c->arena, len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    size_t at = 0;
    for (int i = 0; i < 5; i++) {
        memcpy(p + at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    p[at] = '\0';
    c->name = (struct tpc_str){ p, len };
    c->tenant = (struct tpc_str){ p, change->tenant_key.len };
    c->key = (struct tpc_str){ p + len - change->key.len, change->key.len };
    return 0;
}

/* ---- its sink ---- */

static bool secret_in_list(const struct tpc_list *table, bool in_list)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *table, i);
        if ((o->type == TPC_OPT_SECRET && in_list) ||
            (o->type == TPC_OPT_TABLE && secret_in_list(&o->sub, in_list)) ||
            (o->type == TPC_OPT_LIST && o->elem != NULL &&
             (o->elem->type == TPC_OPT_SECRET ||
              (o->elem->type == TPC_OPT_TABLE && secret_in_list(&o->elem->sub, true))))) {
            return true;
        }
    }
    return false;
}

static int check_options(struct tpi_forward *f, struct fwd_config *c, const struct tpc_value *doc,
                         struct tpc_error *err)
{
    if (!f->host.sink(f->host.user, c->sink, &c->ops, &c->self)) {
        c->ops = NULL;
        tpi_error_set(err, TPC_ENOENT, "forward", "no sink \"%.*s\" is open", (int) c->sink.len,
                      c->sink.ptr);
        tpi_error_at(err, "sink");
        return TPC_ENOENT;
    }
    if (secret_in_list(&c->ops->target_options, false)) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "forward",
                             "sink \"%.*s\" has a secret inside a list: it cannot be kept apart",
                             (int) c->sink.len, c->sink.ptr);
    }
    int rc = tpi_option_check(&c->ops->target_options, tpi_member(doc, "options"), 0, c->arena, err,
                              &c->options);
    if (rc != 0) {
        tpi_error_at(err, "options");
    }
    c->resolved = rc == 0;
    return rc;
}

static int read_where(struct fwd_config *c, struct tpc_str where, struct tpc_error *err)
{
    int rc = where.len > 0 ? fwd_expr_compile(c, where, TPI_EXPR_BOOL, err, &c->where) : 0;
    if (rc != 0 && err != NULL) {
        tpi_error_at(err, "where");
    }
    return rc;
}

static int fill(struct tpi_forward *f, struct fwd_config *c, const struct tpi_change *change,
                struct tpc_error *err)
{
    struct tpc_value doc;
    int rc = tpi_value_copy(change->doc, c->arena, &doc);
    rc = rc != 0 ? rc : join_name(c, change);
    if (rc != 0) {
        return rc;
    }
    read_numbers(c, &doc);
    rc = read_keep(c, tpi_member(&doc, "keep"), err);
    rc = rc != 0 ? rc : read_filters(c, &doc, err);
    rc = rc != 0 ? rc : read_where(c, tpi_member_text(&doc, "where"), err);
    rc = rc != 0 ? rc : fwd_shape_create(f, c, tpi_member(&doc, "transform"), err);
    if (rc != 0) {
        return rc;
    }
    c->why = (struct tpc_error){ .size = sizeof(c->why) };
    rc = check_options(f, c, &doc, &c->why);
    if (rc != 0 && (!change->loading || rc == TPC_ENOMEM)) {
        if (err != NULL) {
            *err = c->why;
        }
        return rc;
    }
    rc = fwd_keep_create(f, c);
    return rc != 0 ? rc : fwd_lanes_create(f, c);
}

int fwd_config_create(struct tpi_forward *f, uint32_t kind, const struct tpi_change *change,
                      struct tpc_error *err, struct fwd_config **ret)
{
    const struct tpc_allocator *alloc = f->env->alloc;
    struct fwd_config *c = tpi_alloc_zero(alloc, sizeof(*c));
    if (c == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "forward", "out of memory");
    }
    c->alloc = alloc;
    c->env = f->env;
    c->id = change->id;
    c->handler = kind == 1;
    int rc = tpc_arena_create(alloc, 0, &c->arena);
    if (rc == 0) {
        tpi_arena_secret(c->arena);
    }
    rc = rc != 0 ? rc : fill(f, c, change, err);
    if (rc != 0) {
        if (rc == TPC_ENOMEM) {
            tpi_error_set(err, rc, "forward", "out of memory");
        }
        fwd_config_destroy(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void fwd_config_destroy(struct fwd_config *c)
{
    if (c == NULL) {
        return;
    }
    if (c->opened) {
        c->ops->target_close(c->self, c->target);
    }
    fwd_lanes_destroy(c);
    fwd_keep_destroy(c);
    fwd_shape_destroy(c);
    tpi_expr_destroy(c->where);
    tpc_arena_destroy(c->arena);
    tpi_free(c->alloc, c, sizeof(*c));
}

int fwd_config_open(struct tpi_forward *f, struct fwd_config *c, struct tpc_error *err)
{
    const struct tpc_error *last = f->host.fail(f->host.user);
    int rc = c->ops->target_open(c->self, c->name, &c->options, &c->target);
    c->opened = rc == 0;
    if (rc == 0) {
        return 0;
    }
    if (last->code == rc) {
        struct tpc_error copy = *last;
        if (err != NULL) {
            *err = copy;
        }
        return rc;
    }
    return tpi_error_set(err, rc, "forward", "sink \"%.*s\" does not take it: %s",
                         (int) c->sink.len, c->sink.ptr, tpc_error_name(rc));
}
