/* Documents of data rules, and their programs. */
#include "rules/data_rule.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "bus/topic.h"
#include "data/member.h"
#include "data/msg.h"
#include "rules/script.h"

#include <string.h>

enum { ARENA_BYTES = 256 /* what most documents need */ };

static const struct tpc_option to_options[] = {
    { .name = "event",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "each row is an event of this name of the row's device" },
    { .name = "values",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "true = columns that are properties of the row's device become its values" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "whom rows are about, instead of the device that sent the messages" },
};

static const struct tpc_option rule_options[] = {
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false = it is kept, but does nothing" },
    { .name = "sql",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = TPI_SQL_MAX_TEXT,
      .since = "0.1",
      .help = "the statement" },
    { .name = "time",
      .type = TPC_OPT_ENUM,
      .def = "received",
      .values = "received|event",
      .since = "0.1",
      .help = "the time that windows go by" },
    { .name = "lateness",
      .type = TPC_OPT_DURATION,
      .def = "1s",
      .max = 86400000,
      .since = "0.1",
      .help = "of event time: how much older than the newest a message may be" },
    { .name = "idle",
      .type = TPC_OPT_DURATION,
      .def = "1m",
      .min = 1000,
      .max = 86400000,
      .since = "0.1",
      .help = "of event time: without a message for so long windows end" },
    { .name = "to",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(to_options),
      .since = "0.1",
      .help = "where rows go to" },
    { .name = "then",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = TPI_ACTIONS_MAX,
      .elem = &tpi_action_item,
      .since = "0.1",
      .help = "what is done for each row, in this order" },
};

const struct tpc_list tpi_data_rule_schema = TPC_OPTIONS(rule_options);

static int join(struct tpc_arena *arena, struct tpc_str a, struct tpc_str b, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, a.len + b.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    if (a.len > 0) {
        memcpy(p, a.ptr, a.len);
    }
    if (b.len > 0) {
        memcpy(p + a.len, b.ptr, b.len);
    }
    p[a.len + b.len] = '\0';
    *ret = (struct tpc_str){ p, a.len + b.len };
    return 0;
}

/* What of a parsed statement does not depend on the model. Names are views into d->text. */
static int keep_statement(struct tpi_data_rule *d, const struct tpi_sql *s)
{
    d->columns = tpc_arena_take(d->arena, (s->item_count + 1) * sizeof(*d->columns));
    d->functions = tpc_arena_take(d->arena, s->call_count + 1);
    d->groups = tpc_arena_take(d->arena, (2 * s->group_count + 1) * sizeof(*d->groups));
    d->column_groups = tpc_arena_take(d->arena, s->item_count + 1);
    if (d->columns == NULL || d->functions == NULL || d->groups == NULL ||
        d->column_groups == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < s->item_count; i++) {
        int group = tpi_sql_group_of(s, &s->items[i]);
        d->columns[i] = s->items[i].name;
        d->column_groups[i] = (uint8_t) (group >= 0 ? group : TPI_SQL_MAX_GROUPS);
    }
    for (uint32_t i = 0; i < s->group_count; i++) {
        const struct tpi_sql_span *span = &s->groups[i].expr;
        d->groups[i] = s->groups[i].name;
        d->groups[s->group_count + i] =
            (struct tpc_str){ s->text.ptr + span->from, span->to - span->from };
    }
    for (uint32_t i = 0; i < s->call_count; i++) {
        d->functions[i] = (uint8_t) s->calls[i].function;
        d->bags |= tpi_aggregate_bags(d->functions[i]);
    }
    d->column_count = s->item_count;
    d->call_count = s->call_count;
    d->group_count = s->group_count;
    d->spread = s->spread;
    d->product = s->product;
    d->window = s->window;
    d->by_event &= s->window.type != TPI_WINDOW_NONE;
    d->lanes = d->by_event || s->window.type == TPI_WINDOW_SLIDING ||
               (s->window.type == TPI_WINDOW_COUNT && s->window.every < s->window.count);
    d->all = s->all;
    return 0;
}

/* A level as the key that it stands for. */
static int level_key(struct tpi_data_rule *d, struct tpc_str level, struct tpc_str *ret)
{
    struct tpi_buf key;
    tpi_buf_init(&key, d->alloc, 0);
    int rc = tpi_topic_unescape(&key, level);
    rc = rc != 0 ? rc
                 : join(d->arena, (struct tpc_str){ (const char *) key.ptr, key.len }, TPC_STR(""),
                        ret);
    tpi_buf_fini(&key);
    return rc;
}

static int keep_topic(struct tpi_data_rule *d, const struct tpi_sql *s, struct tpc_error *err)
{
    struct tpc_str tenant;
    if (s->topic.filter.len == 0) {
        return 0;
    }
    int rc = level_key(d, s->topic.tenant, &tenant);
    rc = rc != 0 ? rc : level_key(d, s->product, &d->product);
    rc = rc != 0 ? rc : level_key(d, s->topic.device, &d->device);
    if (rc == 0 && !tpc_str_equal(tenant, d->tenant)) {
        return tpi_sql_error(s, err, TPC_EINVAL, (size_t) (s->topic.tenant.ptr - s->text.ptr),
                             "the topic is of another tenant");
    }
    d->kinds = s->topic.kinds;
    d->watch.kind = s->topic.narrow ? TPI_WATCH_TOPIC_RULE : TPI_WATCH_DATA_RULE;
    return rc;
}

static int read_statement(struct tpi_data_rule *d, struct tpc_error *err)
{
    struct tpi_sql *s = tpi_alloc(d->alloc, sizeof(*s));
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    int rc = tpi_sql_parse(d->alloc, d->text, err, s);
    rc = rc != 0 ? rc : keep_statement(d, s);
    rc = rc != 0 ? rc : keep_topic(d, s, err);
    if (rc != 0 && rc != TPC_ENOMEM) {
        tpi_error_at(err, "sql");
    }
    tpi_free(d->alloc, s, sizeof(*s));
    return rc;
}

bool tpi_data_rule_adds_group(const struct tpi_data_rule *d, uint32_t group)
{
    for (uint32_t i = 0; i < d->column_count; i++) {
        if (d->column_groups[i] == group) {
            return false;
        }
    }
    return true;
}

/* ---- actions: their texts name columns ---- */

/* A group that stands behind the columns. */
static int resolve_added(const struct tpi_data_rule *d, struct tpc_str name, uint32_t *ret_index)
{
    uint32_t at = d->column_count;
    for (uint32_t i = 0; i < d->group_count; i++) {
        bool added = tpi_data_rule_adds_group(d, i);
        if (added && tpc_str_equal(d->groups[i], name)) {
            *ret_index = at;
            return 0;
        }
        at += added;
    }
    return TPC_ENOENT;
}

static bool is_device(struct tpc_str name)
{
    return tpc_str_equal(name, TPC_STR("device")) || tpc_str_equal(name, TPC_STR("device.key"));
}

static int resolve_column(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    const struct tpi_data_rule *d = user;
    *ret_type = TPI_EXPR_ANY;
    for (uint32_t i = 0; i < d->column_count; i++) {
        if (tpc_str_equal(d->columns[i], name)) {
            *ret_index = i;
            return 0;
        }
    }
    if (resolve_added(d, name, ret_index) == 0) {
        return 0;
    }
    if ((!d->spread || d->target.len > 0) && is_device(name)) {
        *ret_index = TPI_NAME_DEVICE;
        *ret_type = TPI_EXPR_TEXT;
        return 0;
    }
    return TPC_ENOENT;
}

static int read_actions(struct tpi_data_rule *d, struct tpi_registry *registry,
                        const struct tpc_value *then, struct tpc_error *err)
{
    struct tpi_expr_scope scope = { .resolve = resolve_column,
                                    .user = d,
                                    .features = TPI_EXPR_OTHER | TPI_EXPR_NOW | TPI_EXPR_EVENT |
                                                TPI_EXPR_SCRIPT,
                                    .script = tpi_script_open,
                                    .script_user = registry };
    int rc = then == NULL ? 0 : tpi_actions_read(&d->actions, d->arena, then, err);
    if (rc == 0 && tpi_actions_wait(&d->actions)) {
        tpi_error_set(err, TPC_EINVAL, "rules", "a row does not wait: a scene that runs can delay");
        tpi_error_at(err, "then");
        return TPC_EINVAL;
    }
    return rc != 0 ? rc : tpi_actions_compile(&d->actions, d->alloc, &scope, err);
}

static int fill(struct tpi_data_rule *d, struct tpi_registry *registry,
                const struct tpi_change *change, struct tpc_error *err)
{
    const struct tpc_value *doc = change->doc;
    const struct tpc_value *list = tpc_value_get(doc, TPC_STR("then"));
    const struct tpc_value *to = tpc_value_get(doc, TPC_STR("to"));
    struct tpc_value then;
    int rc = list != NULL ? tpi_value_copy(list, d->arena, &then) : 0;
    rc = rc != 0 ? rc : join(d->arena, change->tenant_key, TPC_STR(""), &d->tenant);
    rc = rc != 0 ? rc : join(d->arena, TPC_STR("rule:"), change->key, &d->by);
    rc = rc != 0 ? rc : join(d->arena, tpi_member_text(doc, "sql"), TPC_STR(""), &d->text);
    rc = rc != 0 ? rc : join(d->arena, tpi_member_text(to, "event"), TPC_STR(""), &d->event);
    rc = rc != 0 ? rc : join(d->arena, tpi_member_text(to, "device"), TPC_STR(""), &d->target);
    if (rc != 0) {
        return rc;
    }
    d->id = change->id;
    d->revision = change->revision;
    d->tenant_id = change->tenant;
    d->enabled = tpi_member_bool(doc, "enabled", true);
    d->by_event = tpc_str_equal(tpi_member_text(doc, "time"), TPC_STR("event"));
    d->lateness_ms = tpi_member_int(doc, "lateness", TPI_RULE_LATENESS_MS);
    d->idle_ms = tpi_member_int(doc, "idle", TPI_RULE_IDLE_MS);
    d->hash = (uint32_t) tpi_hash(d->text.ptr, d->text.len, d->by_event);
    d->values = to != NULL && tpi_member_bool(to, "values", false);
    if (d->event.len == 0 && !d->values && list == NULL) {
        tpi_error_set(err, TPC_EINVAL, "rules",
                      "nothing is done with its rows: to.event, to.values or then");
        tpi_error_at(err, "to");
        return TPC_EINVAL;
    }
    rc = read_statement(d, err);
    if (rc == 0 && d->spread && (d->event.len > 0 || d->values) && d->target.len == 0) {
        tpi_error_set(err, TPC_EINVAL, "rules",
                      "a row of several devices is of which one? to.device is missing");
        tpi_error_at(err, "to.device");
        return TPC_EINVAL;
    }
    d->actions.document = tpi_actions_hash(change->doc);
    return rc != 0 ? rc : read_actions(d, registry, list != NULL ? &then : NULL, err);
}

int tpi_data_rule_create(const struct tpc_allocator *alloc, struct tpi_registry *registry,
                         const struct tpi_change *change, struct tpc_error *err,
                         struct tpi_data_rule **ret)
{
    struct tpi_data_rule *d = tpi_alloc_zero(alloc, sizeof(*d));
    if (d == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "out of memory");
    }
    d->alloc = alloc;
    d->watch.kind = TPI_WATCH_DATA_RULE;
    int rc = tpc_arena_create(alloc, 0, &d->arena);
    if (rc == 0) {
        tpi_arena_small(d->arena, ARENA_BYTES);
        rc = fill(d, registry, change, err);
    }
    if (rc != 0) {
        if (rc == TPC_ENOMEM) {
            tpi_error_set(err, rc, "rules", "out of memory");
        }
        tpi_data_rule_destroy(d);
        return rc;
    }
    *ret = d;
    return 0;
}

static uint32_t expr_count(const struct tpi_data_rule *d)
{
    return TPI_PART_FIRST_ARG + d->call_count + d->column_count + d->group_count;
}

void tpi_program_fini(const struct tpi_data_rule *d, struct tpi_program *p)
{
    for (uint32_t i = 0; p->exprs != NULL && i < expr_count(d); i++) {
        tpi_expr_destroy(p->exprs[i]);
    }
    tpi_free(d->alloc, p->exprs, expr_count(d) * sizeof(struct tpi_expr *));
    *p = (struct tpi_program){ .good = false };
}

void tpi_data_rule_destroy(struct tpi_data_rule *d)
{
    if (d == NULL) {
        return;
    }
    tpi_program_fini(d, &d->program);
    tpi_actions_fini(&d->actions);
    tpi_ledger_fini(&d->ledger, d->alloc);
    tpc_arena_destroy(d->arena);
    tpi_free(d->alloc, d, sizeof(*d));
}

/* ---- programs ---- */

struct compiler {
    const struct tpi_data_rule *d;
    const struct tpi_sql *sql;
    struct tpi_product *product;
    struct tpi_program *p;
    struct tpc_error *err;
    char *buf;
    struct tpi_registry *registry;
};

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    if (is_device(name)) {
        *ret_index = TPI_NAME_DEVICE;
        *ret_type = TPI_EXPR_TEXT;
        return 0;
    }
    const struct compiler *c = user;
    return tpi_scene_resolve(c->product, name, ret_index, ret_type);
}

static int constant(void *user, struct tpc_str name, struct tpc_value *ret)
{
    const struct compiler *c = user;
    return tpi_scene_constant(c->product, name, ret);
}

/* Type of an aggregate: that of what it takes, where it gives one of the values back. */
static uint8_t call_type(const struct compiler *c, uint32_t call)
{
    switch (c->sql->calls[call].function) {
    case TPI_SQL_MIN:
    case TPI_SQL_MAX:
    case TPI_SQL_FIRST:
    case TPI_SQL_LAST:
        return (uint8_t) tpi_expr_result(c->p->exprs[TPI_PART_FIRST_ARG + call]);
    case TPI_SQL_COLLECT:
        return TPI_EXPR_LIST;
    default:
        return TPI_EXPR_NUMBER;
    }
}

/* Nothing else is the same for all messages of a window over several devices. */
static int resolve_group(const struct compiler *c, struct tpc_str name, uint32_t *ret_index,
                         uint8_t *ret_type)
{
    const struct tpi_data_rule *d = c->d;
    for (uint32_t i = 0; i < d->group_count; i++) {
        if (tpc_str_equal(d->groups[i], name) ||
            tpc_str_equal(d->groups[d->group_count + i], name)) {
            uint32_t place = TPI_PART_FIRST_ARG + d->call_count + d->column_count + i;
            *ret_index = TPI_NAME_GROUP + i;
            *ret_type = (uint8_t) tpi_expr_result(c->p->exprs[place]);
            return 0;
        }
    }
    return TPC_ENOENT;
}

static int resolve_calls(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    const struct compiler *c = user;
    int call = tpi_sql_call_of(name);
    if (call < 0 || (uint32_t) call >= c->sql->call_count) {
        return c->d->spread ? resolve_group(c, name, ret_index, ret_type)
                            : resolve(user, name, ret_index, ret_type);
    }
    *ret_index = TPI_NAME_CALL + (uint32_t) call;
    *ret_type = call_type(c, (uint32_t) call);
    return 0;
}

static int compile_part(struct compiler *c, struct tpi_sql_span span, bool calls,
                        enum tpi_expr_type want, uint32_t number)
{
    struct tpi_expr_scope scope = { .resolve = calls ? resolve_calls : resolve,
                                    .constant = constant,
                                    .user = c,
                                    .features = TPI_EXPR_OTHER | TPI_EXPR_NOW | TPI_EXPR_EVENT |
                                                TPI_EXPR_SCRIPT,
                                    .env = c->d->env,
                                    .zone_dir = c->d->zone_dir,
                                    .script = tpi_script_open,
                                    .script_user = c->registry };
    if (span.to == span.from) {
        return 0;
    }
    struct tpc_str text = tpi_sql_part(c->sql, span, calls, c->buf);
    return tpi_expr_compile(c->d->alloc, text, &scope, want, c->err, &c->p->exprs[number]);
}

static int compile_arg(struct compiler *c, uint32_t i)
{
    const struct tpi_sql_call *call = &c->sql->calls[i];
    int rc = compile_part(c, call->arg, false, TPI_EXPR_ANY, TPI_PART_FIRST_ARG + i);
    if (rc != 0 || call->arg.to == call->arg.from || call->function == TPI_SQL_COUNT ||
        tpi_aggregate_bags(call->function)) {
        return rc;
    }
    enum tpi_expr_type type = tpi_expr_result(c->p->exprs[TPI_PART_FIRST_ARG + i]);
    if (type == TPI_EXPR_TEXT || type == TPI_EXPR_LIST || type == TPI_EXPR_MAP) {
        return tpi_sql_error(c->sql, c->err, TPC_EINVAL, call->arg.from,
                             "this aggregate takes numbers and truth values");
    }
    return 0;
}

static int compile_group(struct compiler *c, uint32_t i)
{
    const struct tpi_data_rule *d = c->d;
    struct tpi_sql_span span = c->sql->groups[i].expr;
    uint32_t place = TPI_PART_FIRST_ARG + d->call_count + d->column_count + i;
    int rc = compile_part(c, span, false, TPI_EXPR_ANY, place);
    enum tpi_expr_type type = rc == 0 ? tpi_expr_result(c->p->exprs[place]) : TPI_EXPR_ANY;
    if (type == TPI_EXPR_LIST || type == TPI_EXPR_MAP) {
        return tpi_sql_error(c->sql, c->err, TPC_EINVAL, span.from,
                             "a group is a number, a text or a truth value");
    }
    return rc;
}

static int compile_parts(struct compiler *c)
{
    const struct tpi_sql *s = c->sql;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s->group_count; i++) {
        rc = compile_group(c, i);
    }
    rc = rc != 0 ? rc : compile_part(c, s->where, false, TPI_EXPR_BOOL, TPI_PART_WHERE);
    rc = rc != 0 ? rc : compile_part(c, s->window.filter, false, TPI_EXPR_BOOL, TPI_PART_FILTER);
    rc = rc != 0 ? rc : compile_part(c, s->window.begin, false, TPI_EXPR_BOOL, TPI_PART_BEGIN);
    rc = rc != 0 ? rc : compile_part(c, s->window.emit, false, TPI_EXPR_BOOL, TPI_PART_EMIT);
    for (uint32_t i = 0; rc == 0 && i < s->call_count; i++) {
        rc = compile_arg(c, i);
    }
    for (uint32_t i = 0; rc == 0 && i < s->item_count; i++) {
        if (c->d->column_groups[i] == TPI_SQL_MAX_GROUPS) {
            rc = compile_part(c, s->items[i].expr, true, TPI_EXPR_ANY,
                              TPI_PART_FIRST_ARG + s->call_count + i);
        }
    }
    return rc != 0 ? rc : compile_part(c, s->having, true, TPI_EXPR_BOOL, TPI_PART_HAVING);
}

static int compile_for(const struct tpi_data_rule *d, struct tpi_registry *registry,
                       struct tpi_product *product, struct tpc_error *err, struct tpi_program *ret)
{
    struct tpi_program p = { .good = true, .product_id = product->id };
    struct tpi_sql *s = tpi_alloc(d->alloc, sizeof(*s));
    char *buf = tpi_alloc(d->alloc, d->text.len);
    p.exprs = tpi_alloc_zero(d->alloc, expr_count(d) * sizeof(struct tpi_expr *));
    struct compiler c = { d, s, product, &p, err, buf, registry };
    int rc = s != NULL && buf != NULL && p.exprs != NULL ? 0 : TPC_ENOMEM;
    rc = rc != 0 ? rc : tpi_sql_parse(d->alloc, d->text, err, s);
    rc = rc != 0 ? rc : compile_parts(&c);
    tpi_free(d->alloc, buf, d->text.len);
    tpi_free(d->alloc, s, sizeof(*s));
    if (rc != 0) {
        tpi_program_fini(d, &p);
        if (rc != TPC_ENOMEM) {
            tpi_error_at(err, "sql");
        }
        return rc;
    }
    *ret = p;
    return 0;
}

int tpi_data_rule_compile(const struct tpi_data_rule *d, struct tpi_registry *registry,
                          struct tpc_error *err, struct tpi_program *ret)
{
    tpi_registry_read_lock(registry);
    struct tpi_product *product = tpi_registry_product(registry, d->tenant, d->product);
    product = product != NULL ? tpi_product_ref(product) : NULL;
    tpi_registry_read_unlock(registry);
    if (product == NULL) {
        tpi_error_set(err, TPC_ENOENT, "rules", "no product '%.*s'", (int) d->product.len,
                      d->product.ptr);
        tpi_error_at(err, "sql");
        return TPC_ENOENT;
    }
    int rc = compile_for(d, registry, product, err, ret);
    tpi_product_unref(product);
    return rc;
}
