/* A rule is tried: messages and time in a house of its own, its steps told. */
#include <string.h>
#include <tpcore/json.h>

#include "core/sandbox.h"
#include "data/member.h"

enum {
    STEPS = 1000,
    HOUR_MS = 3600000,
    DAY_MS = 86400000,
    IDLE_TURNS = 100, /* that do nothing, at one time */
    MEMBERS_MAX = 256 /* of a document */
};

static const int64_t TIME_MAX_MS = INT64_C(253402300799999); /* the end of 9999 */

struct test {
    struct tpi_sandbox house;
    const char *kind;
    struct tpc_rule_test_options options;
    struct tpc_str key;
    tpc_rule_step_fn *fn;
    void *user;
    uint32_t told;
    bool ended;
};

/* ---- telling ---- */

static int pass_on(void *user, const struct tpc_rule_step *step)
{
    struct test *t = user;
    if (step->code == TPC_ENOMEM) {
        return TPC_ENOMEM;
    }
    if (t->told < t->options.steps) {
        t->told++;
        return t->fn(t->user, step);
    }
    if (t->ended) {
        return 0;
    }
    struct tpc_rule_step end = { .size = sizeof(end),
                                 .what = TPC_STEP_END,
                                 .unix_ms = step->unix_ms,
                                 .code = TPC_ETOOBIG,
                                 .device = TPC_STR(""),
                                 .text =
                                     TPC_STR("ends here: there are more steps than were asked for"),
                                 .json = TPC_STR("{}") };
    t->ended = true;
    return t->fn(t->user, &end);
}

static int tell(struct test *t)
{
    int rc = tpi_trace_take(t->house.trace, pass_on, t);
    const struct tpi_rules_counters *c = tpi_rules_count(t->house.rules);
    bool full = TPI_METRIC_GET(c->edges_full) > 0 || TPI_METRIC_GET(c->panes_full) > 0;
    return rc == 0 && (full || tpi_trace_lost(t->house.trace) > 0) ? TPC_ENOMEM : rc;
}

/* ---- time ---- */

/* Whatever falls due up to then, at its time. */
static int go_on(struct test *t, int64_t until_ms)
{
    struct tpi_sandbox *s = &t->house;
    int rc = 0;
    int idle = 0;
    while (rc == 0 && !t->ended) {
        int64_t next = tpi_sandbox_next_ms(s);
        if (next > until_ms) {
            break;
        }
        idle = next > s->unix_ms ? 0 : idle;
        s->unix_ms = next > s->unix_ms ? next : s->unix_ms;
        if (!tpi_sandbox_turn(s) && ++idle > IDLE_TURNS) {
            s->unix_ms++;
            idle = 0;
        }
        rc = tell(t);
    }
    s->unix_ms = !t->ended && until_ms > s->unix_ms ? until_ms : s->unix_ms;
    return rc;
}

static int play(struct test *t, const struct tpc_rule_test_message *messages, uint32_t count)
{
    struct tpi_sandbox *s = &t->house;
    int rc = tell(t);
    for (uint32_t i = 0; rc == 0 && !t->ended && i < count; i++) {
        rc = go_on(t, messages[i].unix_ms);
        rc = rc != 0 ? rc : tpi_sandbox_message(s, &messages[i], t->key);
        rc = rc != 0 ? rc : tell(t);
    }
    int64_t more = strcmp(t->kind, "schedule") == 0 ? DAY_MS : HOUR_MS;
    int64_t until = t->options.until_unix_ms != 0 ? t->options.until_unix_ms : s->unix_ms + more;
    return rc != 0 ? rc : go_on(t, until);
}

/* ---- the rule ---- */

static int keep_doc(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                    struct tpc_str json)
{
    struct test *t = user;
    (void) info;
    char *p = tpc_arena_take(t->house.arena, json.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, json.ptr, json.len);
    t->key = (struct tpc_str){ p, json.len }; /* for a moment */
    (void) key;
    return 0;
}

static int read_stored(struct test *t, struct tpc_error *err, struct tpc_str *ret)
{
    struct tpc_core *core = t->house.core;
    int rc = tpi_entities_get(core->entities, t->house.tenant, t->kind, t->options.key, err,
                              keep_doc, t);
    *ret = t->key;
    return rc;
}

/* As it is put: of the tenant, enabled. */
static int rewrite(struct test *t, const struct tpc_value *doc, struct tpc_error *err,
                   struct tpc_str *ret)
{
    struct tpc_member members[MEMBERS_MAX + 2];
    size_t n = 0;
    if (doc->type != TPC_MAP || doc->len > MEMBERS_MAX) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "a rule is an object");
    }
    for (size_t i = 0; i < doc->len; i++) {
        const struct tpc_member *m = &doc->as.members[i];
        if (!tpc_str_equal(m->key, TPC_STR("enabled")) && !tpc_str_equal(m->key, TPC_STR("kind")) &&
            !tpc_str_equal(m->key, TPC_STR("tenant")) && !tpc_str_equal(m->key, TPC_STR("key"))) {
            members[n++] = *m;
        }
    }
    struct tpc_str key = tpi_member_text(doc, "key");
    t->key = key.len > 0 ? key : TPC_STR("test");
    members[n++] =
        (struct tpc_member){ TPC_STR("key"),
                             { .type = TPC_TEXT, .len = t->key.len, .as.text = t->key.ptr } };
    members[n++] = (struct tpc_member){
        TPC_STR("tenant"),
        { .type = TPC_TEXT, .len = t->house.tenant.len, .as.text = t->house.tenant.ptr }
    };
    struct tpc_value all = { .type = TPC_MAP, .len = n, .as.members = members };
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(&all, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(t->house.arena, buf.need);
    int rc = buf.ptr != NULL ? tpc_json_write(&all, 0, &buf) : TPC_ENOMEM;
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return rc;
}

static int put_rule(struct test *t, struct tpc_str document, struct tpc_error *err)
{
    struct tpi_sandbox *s = &t->house;
    struct tpc_value doc;
    int rc = document.len == 0 ? read_stored(t, err, &document) : 0;
    rc = rc != 0 ? rc : tpc_json_parse(s->arena, document, 0, err, &doc);
    rc = rc != 0 ? rc : rewrite(t, &doc, err, &document);
    if (rc == 0 && strcmp(t->kind, "scene") == 0) {
        bool fresh;
        rc = tpi_sandbox_scene(s, t->key, &fresh); /* the tried one is it, not the stored one */
    }
    rc = rc != 0 ? rc : tpi_sandbox_named(s, &doc, err);
    rc = rc != 0 ? rc
                 : tpi_entities_put(s->entities, NULL, t->kind, document, TPC_ANY_REV, err, NULL);
    if (rc == 0 && strcmp(t->kind, "alert") != 0) {
        rc = tpi_rules_trace(s->rules, s->tenant, tpc_str_from(t->kind), t->key, s->trace);
    }
    return rc;
}

static int copy_devices(struct test *t, const struct tpc_rule_test_message *messages,
                        uint32_t count, struct tpc_error *err)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = tpi_sandbox_device(&t->house, messages[i].device, err);
    }
    return rc;
}

/* ---- the program's ---- */

static bool is_kind(const char *kind)
{
    return strcmp(kind, "scene") == 0 || strcmp(kind, "rule") == 0 ||
           strcmp(kind, "schedule") == 0 || strcmp(kind, "alert") == 0;
}

/* 0, too: it says nothing. */
static bool is_time(int64_t unix_ms)
{
    return unix_ms >= 0 && unix_ms <= TIME_MAX_MS;
}

static bool is_message(const struct tpc_rule_test_message *m)
{
    bool known = m->kind == TPC_MSG_TELEMETRY || m->kind == TPC_MSG_ATTRIBUTES ||
                 m->kind == TPC_MSG_EVENT || m->kind == TPC_MSG_PRESENCE ||
                 m->kind == TPC_MSG_COMMAND || m->kind == TPC_MSG_ALERT;
    return m->size >= sizeof(*m) && known && m->device.len > 0 && is_time(m->unix_ms) &&
           is_time(m->event_unix_ms);
}

static int check(const struct tpc_core *core, const char *kind, struct tpc_str document,
                 const struct tpc_rule_test_message *messages, uint32_t count,
                 const struct tpc_rule_test_options *options, tpc_rule_step_fn *fn)
{
    if (core == NULL || fn == NULL || kind == NULL || !is_kind(kind) ||
        (count > 0 && messages == NULL) || (options != NULL && options->size < sizeof(*options)) ||
        (document.len == 0 && (options == NULL || options->key.len == 0))) {
        return tpi_fail(TPC_EINVAL, "rules",
                        "it needs a core, a kind (scene, rule, schedule, alert), a document or a "
                        "key, and a function");
    }
    if (options != NULL && (!is_time(options->from_unix_ms) || !is_time(options->until_unix_ms))) {
        return tpi_fail(TPC_EINVAL, "rules", "times are from 1970 to 9999");
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!is_message(&messages[i])) {
            return tpi_fail(TPC_EINVAL, "rules",
                            "message %u has no device, or a kind or a time that cannot be",
                            (unsigned) i);
        }
    }
    return 0;
}

int tpc_rule_test(struct tpc_core *core, const char *kind, struct tpc_str document,
                  const struct tpc_rule_test_message *messages, uint32_t count,
                  const struct tpc_rule_test_options *options, tpc_rule_step_fn *fn, void *user)
{
    static const struct tpc_rule_test_options none = TPC_RULE_TEST_OPTIONS_INIT;
    int rc = check(core, kind, document, messages, count, options, fn);
    if (rc != 0) {
        return rc;
    }
    struct tpc_error *err = tpi_fail_begin();
    rc = tpi_core_entities(core, err);
    struct test *t = rc == 0 ? tpi_alloc_zero(core->env.alloc, sizeof(*t)) : NULL;
    if (t == NULL) {
        return tpi_fail_end(rc != 0 ? rc : TPC_ENOMEM);
    }
    *t = (struct test){
        .kind = kind, .options = options != NULL ? *options : none, .fn = fn, .user = user
    };
    t->options.steps = t->options.steps > 0 ? t->options.steps : STEPS;
    int64_t from = t->options.from_unix_ms;
    from = from == 0 && count > 0 ? messages[0].unix_ms : from;
    t->house.core = core;
    t->house.unix_ms = from != 0 ? from : tpi_unix_ms(&core->env);
    t->house.tenant = t->options.tenant.len > 0 ? t->options.tenant : TPC_STR("main");
    t->house.empty = (t->options.flags & TPC_RULE_TEST_EMPTY) != 0;
    rc = tpi_sandbox_init(&t->house, err);
    rc = rc != 0 ? rc : copy_devices(t, messages, count, err);
    rc = rc != 0 ? rc : put_rule(t, document, err);
    rc = rc != 0 ? tpi_fail_end(rc) : play(t, messages, count);
    if (rc == TPC_ENOMEM) {
        rc = tpi_fail(rc, "rules", "out of memory");
    }
    tpi_sandbox_fini(&t->house);
    tpi_free(core->env.alloc, t, sizeof(*t));
    return rc;
}
