/* Schedules' documents: put, changed, deleted. */
#include "rules/schedule.h"

#include "base/alloc.h"
#include "base/error.h"
#include "data/member.h"
#include "base/hash.h"
#include "data/msg.h"
#include "rules/action_type.h"
#include "rules/script.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct tpc_option date_options[] = {
    { .name = "from", .type = TPC_OPT_TEXT, .since = "0.1", .help = "first day, YYYY-MM-DD" },
    { .name = "to", .type = TPC_OPT_TEXT, .since = "0.1", .help = "last day" },
};

static const struct tpc_option time_options[] = {
    { .name = "from", .type = TPC_OPT_TEXT, .since = "0.1", .help = "HH:MM or HH:MM:SS" },
    { .name = "to",
      .type = TPC_OPT_TEXT,
      .since = "0.1",
      .help = "last second; before from = past midnight" },
};

static const struct tpc_option validity_options[] = {
    { .name = "date",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(date_options),
      .since = "0.1",
      .help = "days on which it runs" },
    { .name = "time",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(time_options),
      .since = "0.1",
      .help = "times at which it runs" },
    { .name = "every_day",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false = time belongs to the first and the last day" },
};

static const struct tpc_option schedule_options[] = {
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false = it is kept, but does nothing" },
    { .name = "type",
      .type = TPC_OPT_ENUM,
      .flags = TPC_OPT_REQUIRED,
      .values = "repeat|cron|simple|sunrise|sunset",
      .since = "0.1",
      .help = "how it is planned" },
    { .name = "interval",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "repeat: 1s or more, as 5m or 1h30m, or ms" },
    { .name = "count",
      .type = TPC_OPT_UINT,
      .since = "0.1",
      .help = "repeat: ends after so many runs; 0 = never" },
    { .name = "cron",
      .type = TPC_OPT_TEXT,
      .max = TPI_CRON_MAX_TEXT,
      .since = "0.1",
      .help = "cron: 5, 6 or 7 fields, @daily .., @every 5m" },
    { .name = "frequency",
      .type = TPC_OPT_ENUM,
      .def = "daily",
      .values = "daily|weekly|monthly|on_date",
      .since = "0.1",
      .help = "simple, sunrise, sunset: on which days" },
    { .name = "day_of_week",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "daily, weekly: [\"mon\", \"thu\"] or \"mon,thu\"" },
    { .name = "date_of_month",
      .type = TPC_OPT_UINT,
      .max = 31,
      .since = "0.1",
      .help = "monthly: 1-31; months without it are passed over" },
    { .name = "date", .type = TPC_OPT_TEXT, .since = "0.1", .help = "on_date: YYYY-MM-DD" },
    { .name = "time", .type = TPC_OPT_TEXT, .since = "0.1", .help = "simple: HH:MM or HH:MM:SS" },
    { .name = "offset",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "sunrise, sunset: as -30m, up to 12h" },
    { .name = "latitude", .type = TPC_OPT_DOUBLE, .since = "0.1", .help = "degrees north" },
    { .name = "longitude", .type = TPC_OPT_DOUBLE, .since = "0.1", .help = "degrees east" },
    { .name = "zone",
      .type = TPC_OPT_TEXT,
      .since = "0.1",
      .help = "as Europe/Berlin or +08:00; absent = UTC" },
    { .name = "validity",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(validity_options),
      .since = "0.1",
      .help = "outside it nothing is planned" },
    { .name = "missed",
      .type = TPC_OPT_ENUM,
      .def = "skip",
      .values = "skip|run_once",
      .since = "0.1",
      .help = "what passed while the program was not running" },
    TPI_VARS_OPTION,
    { .name = "if",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = TPI_EXPR_MAX_TEXT,
      .since = "0.1",
      .help = "condition that is run at each planned time" },
    { .name = "fire",
      .type = TPC_OPT_ENUM,
      .def = "each",
      .values = "rising|each",
      .since = "0.1",
      .help = "if: with each run that is true, or once when it becomes true" },
    TPI_GATE_DAMPEN_OPTION,
    TPI_GATE_AUTO_DISABLE_OPTION,
    TPI_GATE_RE_ENABLE_OPTION,
    TPI_ACTIONS_OPTION,
};

const struct tpc_list tpi_schedule_schema = TPC_OPTIONS(schedule_options);

static void destroy(struct tpi_rule_schedule *s)
{
    if (s != NULL) {
        tpi_actions_fini(&s->actions);
        tpi_expr_destroy(s->condition);
        tpi_vars_fini(&s->vars);
        tpi_ledger_fini(&s->ledger, s->alloc);
        tpi_schedule_fini(&s->schedule);
        tpc_arena_destroy(s->arena);
        tpi_free(s->alloc, s, sizeof(*s));
    }
}

static bool is_one_of(struct tpc_str key, const struct tpc_str *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tpc_str_equal(key, names[i])) {
            return true;
        }
    }
    return false;
}

/* What of a document decides whether a planned time fires. */
static bool is_judge(struct tpc_str key)
{
    static const struct tpc_str names[] = { TPC_STR_INIT("vars"), TPC_STR_INIT("if"),
                                            TPC_STR_INIT("fire"), TPC_STR_INIT("dampen") };
    return is_one_of(key, names, sizeof(names) / sizeof(names[0]));
}

static bool is_plan(struct tpc_str key)
{
    static const struct tpc_str other[] = {
        TPC_STR_INIT("key"),          TPC_STR_INIT("tenant"),   TPC_STR_INIT("kind"),
        TPC_STR_INIT("enabled"),      TPC_STR_INIT("missed"),   TPC_STR_INIT("then"),
        TPC_STR_INIT("auto_disable"), TPC_STR_INIT("re_enable")
    };
    return !is_judge(key) && !is_one_of(key, other, sizeof(other) / sizeof(other[0]));
}

static uint32_t hash_members(const struct tpc_value *doc, bool (*counts)(struct tpc_str key))
{
    uint64_t h = 0;
    for (size_t i = 0; i < doc->len; i++) {
        const struct tpc_member *m = &doc->as.members[i];
        if (counts(m->key)) {
            h = tpi_hash(m->key.ptr, m->key.len, h);
            h = tpi_vars_hash(&m->value, h);
        }
    }
    return (uint32_t) h;
}

static int name_it(struct tpi_rule_schedule *s, struct tpc_str key, struct tpc_str tenant)
{
    static const char prefix[] = "schedule:";
    char *p = tpc_arena_take(s->arena, sizeof(prefix) + key.len + tenant.len);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p + sizeof(prefix) + key.len, tenant.ptr, tenant.len);
    s->tenant = (struct tpc_str){ p + sizeof(prefix) + key.len, tenant.len };
    memcpy(p, prefix, sizeof(prefix) - 1);
    memcpy(p + sizeof(prefix) - 1, key.ptr, key.len);
    p[sizeof(prefix) - 1 + key.len] = '\0';
    s->by = (struct tpc_str){ p, sizeof(prefix) - 1 + key.len };
    return 0;
}

/* A notification about no device names the tenant whose handler it is for: never another's. */
static int name_tenant(struct tpi_rule_schedule *s, struct tpi_action *a, struct tpc_str tenant)
{
    bool map = a->params.type == TPC_MAP;
    if (!map || tpc_value_get(&a->params, TPC_STR("tenant")) == NULL) {
        if (tpc_str_equal(tenant, TPC_STR("main"))) {
            return 0;
        }
    }
    size_t n = 0;
    size_t len = map ? a->params.len : 0;
    struct tpc_member *members = tpc_arena_take(s->arena, (len + 1) * sizeof(*members));
    char *text = tpc_arena_take(s->arena, tenant.len + 1);
    if (members == NULL || text == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(text, tenant.ptr, tenant.len);
    text[tenant.len] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (!tpc_str_equal(a->params.as.members[i].key, TPC_STR("tenant"))) {
            members[n++] = a->params.as.members[i];
        }
    }
    members[n++] = (struct tpc_member){ TPC_STR("tenant"),
                                        { .type = TPC_TEXT, .len = tenant.len, .as.text = text } };
    a->params = (struct tpc_value){ .type = TPC_MAP, .len = n, .as.members = members };
    return 0;
}

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    if (!tpc_str_equal(name, TPC_STR("planned"))) {
        return TPC_ENOENT;
    }
    *ret_index = TPI_NAME_PLANNED;
    *ret_type = TPI_EXPR_NUMBER;
    return 0;
}

static int constant(void *user, struct tpc_str name, struct tpc_value *ret)
{
    const struct tpi_change *change = user;
    if (!tpc_str_equal(name, TPC_STR("schedule.key"))) {
        return TPC_ENOENT;
    }
    *ret =
        (struct tpc_value){ .type = TPC_TEXT, .len = change->key.len, .as.text = change->key.ptr };
    return 0;
}

static int read_condition(struct tpi_rule_schedule *s, const struct tpc_value *doc,
                          const struct tpi_expr_scope *scope, struct tpc_error *err)
{
    struct tpc_str text = tpi_member_text(doc, "if");
    s->rising = tpc_str_equal(tpi_member_text(doc, "fire"), TPC_STR("rising"));
    int rc = tpi_gate_read(&s->gate, doc, tpi_member(doc, "dampen"), err);
    if (rc == 0 && text.len == 0 && (s->rising || s->gate.dampen.type != TPI_DAMPEN_NONE)) {
        rc = tpi_error_set(err, TPC_EINVAL, "rules", "only with a condition: if");
        tpi_error_at(err, s->rising ? "fire" : "dampen");
    }
    if (rc != 0 || text.len == 0) {
        return rc;
    }
    rc = tpi_expr_compile(s->alloc, text, scope, TPI_EXPR_BOOL, err, &s->condition);
    if (rc != 0) {
        tpi_error_at(err, "if");
    }
    return rc;
}

static int read_texts(struct tpi_rules *r, struct tpi_rule_schedule *s, struct tpi_change *change,
                      const struct tpc_value *doc, struct tpc_error *err)
{
    s->actions.document = tpi_actions_hash(doc);
    int rc = tpi_actions_read(&s->actions, s->arena, tpi_member(doc, "then"), err);
    for (uint32_t i = 0; rc == 0 && i < s->actions.count; i++) {
        struct tpi_action *a = &s->actions.items[i];
        rc = a->type == &tpi_action_notify ? name_tenant(s, a, change->tenant_key) : 0;
    }
    struct tpi_expr_scope below = { .resolve = resolve,
                                    .constant = constant,
                                    .user = change,
                                    .features = TPI_EXPR_OTHER | TPI_EXPR_NOW | TPI_EXPR_EVENT |
                                                TPI_EXPR_SCRIPT,
                                    .env = r->env,
                                    .zone_dir = r->host.zone_dir,
                                    .script = tpi_script_open,
                                    .script_user = r->host.registry };
    struct tpi_vars_scope known = { &s->vars, &below };
    struct tpi_expr_scope scope = tpi_vars_scope(&known);
    rc = rc != 0 ? rc : tpi_vars_make(s->alloc, tpi_member(doc, "vars"), &below, err, &s->vars);
    rc = rc != 0 ? rc : read_condition(s, doc, &scope, err);
    return rc != 0 ? rc : tpi_actions_compile(&s->actions, s->alloc, &scope, err);
}

static int fill(struct tpi_rules *r, struct tpi_rule_schedule *s, struct tpi_change *change,
                struct tpc_error *err)
{
    struct tpc_value doc;
    int rc = tpi_value_copy(change->doc, s->arena, &doc);
    rc = rc != 0 ? rc : name_it(s, change->key, change->tenant_key);
    if (rc != 0) {
        return rc;
    }
    s->id = change->id;
    s->revision = change->revision;
    s->tenant_id = change->tenant;
    s->modified_ms = change->modified_unix_ms;
    s->partition = (uint32_t) (tpi_hash64(change->id) % r->host.partitions);
    s->enabled = tpi_member_bool(&doc, "enabled", true);
    s->plan = hash_members(&doc, is_plan);
    s->judge = hash_members(&doc, is_judge);
    rc = read_texts(r, s, change, &doc, err);
    rc = rc != 0 ? rc : tpi_schedule_init(&s->schedule, r->env, r->host.zone_dir, &doc, err);
    if (rc != 0 && rc != TPC_ENOMEM && change->loading) {
        /* A zone's file that is gone, or a text that is no longer understood, must not keep the whole core from starting. */
        tpi_log(r->env, TPC_LOG_ERROR, "rules", "%.*s does nothing: %s (%s)", (int) s->by.len,
                s->by.ptr, err->text, err->path);
        s->broken = true;
        tpi_ledger_why(&s->ledger, s->alloc, err);
        return 0;
    }
    if (rc == 0 && !change->loading) {
        rc = tpi_actions_check(&s->actions, r->host.registry, change->tenant_key, change->tenant,
                               TPC_STR(""), change->arena, err);
    }
    return rc;
}

static int create(struct tpi_rules *r, struct tpi_change *change, struct tpc_error *err,
                  struct tpi_rule_schedule **ret)
{
    struct tpc_error local = { .size = sizeof(local) };
    struct tpi_rule_schedule *s = tpi_alloc_zero(r->env->alloc, sizeof(*s));
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    s->alloc = r->env->alloc;
    int rc = tpc_arena_create(s->alloc, 0, &s->arena);
    rc = rc != 0 ? rc : fill(r, s, change, err != NULL ? err : &local);
    if (rc != 0) {
        destroy(s);
        return rc;
    }
    *ret = s;
    return 0;
}

/* A place for a new schedule; nobody looks at it before apply. */
static int enter(struct tpi_rules *r, struct tpi_rule_schedule *s, struct tpc_error *err)
{
    if (tpi_map64_get(&r->schedules, s->id) != NULL) {
        return 0;
    }
    if (tpi_map64_count(&r->schedules) >= TPI_RULES_MAX_SCHEDULES) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "more than %d schedules",
                             TPI_RULES_MAX_SCHEDULES);
    }
    int rc = tpi_ledger_init(&s->ledger, s->alloc, r->host.workers);
    if (rc != 0) {
        return rc;
    }
    tpi_rules_lock_all(r);
    rc = tpi_map64_put(&r->schedules, s->id, s, NULL);
    tpi_rules_unlock_all(r);
    return rc;
}

int tpi_schedules_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_rules *r = user;
    change->prepared = NULL;
    pthread_mutex_lock(&r->changes);
    if (change->deleted) {
        return 0;
    }
    struct tpi_rule_schedule *s = NULL;
    int rc = create(r, change, err, &s);
    rc = rc != 0 ? rc : enter(r, s, err);
    if (rc != 0) {
        if (rc == TPC_ENOMEM) {
            tpi_error_set(err, rc, "rules", "out of memory");
        }
        destroy(s);
        pthread_mutex_unlock(&r->changes);
        return rc;
    }
    change->prepared = s;
    return 0;
}

static struct rule_worker *owner(struct tpi_rules *r, const struct tpi_rule_schedule *s)
{
    return &r->workers[s->partition % r->host.workers];
}

static void count(struct tpi_rules *r)
{
    size_t iter = 0;
    uint64_t broken = 0;
    void *value;
    while (tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        broken += ((const struct tpi_rule_schedule *) value)->broken;
    }
    TPI_METRIC_SET(r->counters.schedules, tpi_map64_count(&r->schedules));
    TPI_METRIC_SET(r->counters.schedules_broken, broken);
}

/* Where a schedule begins, or goes on. */
static void begin(struct tpi_rule_schedule *s, const struct tpi_rule_schedule *old, bool loading)
{
    bool goes_on = old != NULL && old->enabled && !old->broken && old->plan == s->plan;
    if (goes_on) {
        s->state = old->state;
    } else {
        tpi_schedule_start(&s->state, s->modified_ms);
    }
    if (goes_on && old->judge == s->judge) {
        s->judged = old->judged;
        s->judged.off_until_ms = 0; /* put again, it is on */
    }
    s->live = true;
    s->again = loading || (old != NULL && old->again);
}

void tpi_schedules_apply(void *user, struct tpi_change *change)
{
    struct tpi_rules *r = user;
    struct tpi_rule_schedule *s = change->prepared;
    struct tpi_rule_schedule *old = tpi_map64_get(&r->schedules, change->id);
    old = old != s ? old : NULL;
    tpi_rules_lock_all(r);
    if (s != NULL && old != NULL) {
        tpi_ledger_move(&s->ledger, &old->ledger);
    }
    if (s != NULL) {
        begin(s, old, change->loading);
        atomic_store(&owner(r, s)->schedule_next_ms, INT64_MIN);
        int rc = tpi_map64_put(&r->schedules, s->id, s, NULL); /* replaces: needs no memory */
        assert(rc == 0);
        (void) rc;
    } else if (old != NULL) {
        tpi_map64_remove(&r->schedules, old->id);
    }
    tpi_rules_unlock_all(r);
    count(r);
    destroy(old);
    if (s != NULL && !change->loading && r->host.wake != NULL) {
        r->host.wake(r->host.user, s->partition % r->host.workers);
    }
    pthread_mutex_unlock(&r->changes);
}

void tpi_schedules_discard(void *user, struct tpi_change *change)
{
    struct tpi_rules *r = user;
    struct tpi_rule_schedule *s = change->prepared;
    if (s != NULL) {
        tpi_rules_lock_all(r);
        if (tpi_map64_get(&r->schedules, s->id) == s) {
            tpi_map64_remove(&r->schedules, s->id);
        }
        tpi_rules_unlock_all(r);
        destroy(s);
        change->prepared = NULL;
    }
    pthread_mutex_unlock(&r->changes);
}

void tpi_schedules_fini(struct tpi_rules *r)
{
    size_t iter = 0;
    void *s;
    while (tpi_map64_next(&r->schedules, &iter, NULL, &s)) {
        destroy(s);
    }
    tpi_map64_fini(&r->schedules);
}
