/* Automations: their groups of conditions become scenes and schedules. */
#include "migrate/panel.h"

#include "base/error.h"
#include "data/member.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/rule.h>

/* A scene that a later group may join. */
struct made {
    const char *on;
    struct tpc_str product, device, event;
    struct tpc_value during;
    struct tpi_buf expr; /* empty = always */
};

struct automation {
    struct panel *p;
    const struct tpc_value *doc;
    struct tpc_str key;
    struct made made[TPI_PANEL_GROUPS];
    uint32_t made_count;
    uint32_t doc_number; /* of the documents made of it */
    uint32_t group;      /* the present one's number */
    bool noted;          /* its actions have been noted */
};

/* One group: all of it holds. */
struct group {
    struct panel_condition conditions[TPI_PANEL_CONDITIONS];
    uint32_t count;
    struct tpc_value during;
    bool has_plan;
    struct panel_map plan;
};

static bool is(struct tpc_str text, const char *name)
{
    return tpc_str_equal(text, tpc_str_from(name)) != 0;
}

/* ---- documents ---- */

static void begin_doc(struct automation *a, struct panel_map *m, const char *kind,
                      const char *suffix)
{
    struct panel *p = a->p;
    uint32_t n = ++a->doc_number;
    struct tpc_str enabled = tpi_member_text(a->doc, "enabled");
    char number[16] = "";
    if (n > 1) {
        snprintf(number, sizeof(number), "-%u", (unsigned) n);
    }
    tpi_panel_set(m, "kind", tpi_panel_text(p, tpc_str_from(kind)));
    tpi_panel_set(m, "key",
                  tpi_panel_format(p, "%.*s%s%s", (int) a->key.len, a->key.ptr, number, suffix));
    if (is(enabled, "N")) {
        tpi_panel_set(m, "enabled", (struct tpc_value){ .type = TPC_BOOL, .as.b = false });
    }
}

static void end_doc(struct automation *a, struct panel_map *m, struct tpc_value then)
{
    tpi_panel_set(m, "then", then);
    tpi_panel_add(a->p, &a->p->docs, tpi_panel_map(a->p, m));
}

static struct tpc_value buf_text(struct panel *p, const struct tpi_buf *b)
{
    return tpi_panel_text(p, (struct tpc_str){ (const char *) b->ptr, b->len });
}

static bool only_alarms(const struct tpc_value *doc)
{
    const struct tpc_value *actions = tpi_member(doc, "actions");
    for (size_t i = 0; i < actions->len; i++) {
        if (!is(tpi_member_text(&actions->as.items[i], "action_type"), "30")) {
            return false;
        }
    }
    return true;
}

static void put_scene(struct automation *a, const struct made *made, bool clears)
{
    struct panel *p = a->p;
    struct panel_map when = { .count = 0 };
    struct panel_map m = { .count = 0 };
    struct tpc_value then =
        tpi_panel_then(p, tpi_member(a->doc, "actions"), clears ? PANEL_CLEAR : PANEL_BY_DEVICE,
                       !clears && !a->noted);
    a->noted = a->noted || !clears;
    if (then.len == 0) {
        return;
    }
    tpi_panel_set(&when, "product", tpi_panel_text(p, made->product));
    if (made->device.len > 0) {
        struct panel_list devices = { .count = 0 };
        tpi_panel_add(p, &devices, tpi_panel_text(p, made->device));
        tpi_panel_set(&when, "devices", tpi_panel_array(&devices));
    }
    if (made->on[0] != '\0') {
        tpi_panel_set(&when, "on", tpi_panel_text(p, tpc_str_from(made->on)));
    }
    if (made->event.len > 0) {
        tpi_panel_set(&when, "event", tpi_panel_text(p, made->event));
    }
    struct tpc_value expr = buf_text(p, &made->expr);
    if (clears) {
        int n = (int) (expr.len < 60000 ? expr.len : 0);
        struct tpi_buf not ;
        tpi_buf_init(&not, NULL, 0);
        int rc = tpi_buf_printf(&not, "not (%.*s)", n, expr.as.text);
        p->rc = rc != 0 ? rc : p->rc;
        expr = buf_text(p, &not );
        tpi_buf_fini(&not );
    }
    if (made->expr.len > 0) {
        tpi_panel_set(&when, "expr", expr);
    }
    bool once = clears || only_alarms(a->doc); /* what is raised needs no more of it */
    if (made->on[0] == '\0' && !once) {        /* with each message, but not oftener than there */
        tpi_panel_set(&when, "fire", tpi_panel_text(p, TPC_STR("each")));
    }
    if (!once) {
        tpi_panel_set(&when, "every", tpi_panel_text(p, TPC_STR("3s")));
    }
    tpi_panel_set(&when, "during", clears ? (struct tpc_value){ .type = TPC_NULL } : made->during);
    begin_doc(a, &m, "scene", clears ? "-clear" : "");
    a->doc_number -= clears ? 1 : 0;
    tpi_panel_set(&m, "when", tpi_panel_map(p, &when));
    end_doc(a, &m, then);
}

/* ---- groups ---- */

static bool same_text(struct tpc_value a, struct tpc_value b)
{
    return tpc_str_equal(tpc_value_text(&a), tpc_value_text(&b)) != 0;
}

static bool same_value(const struct tpc_value *a, const struct tpc_value *b)
{
    if (a->type != b->type || a->len != b->len) {
        return false;
    }
    for (size_t i = 0; i < a->len; i++) {
        if (a->type == TPC_MAP && (!tpc_str_equal(a->as.members[i].key, b->as.members[i].key) ||
                                   !same_value(&a->as.members[i].value, &b->as.members[i].value))) {
            return false;
        }
        if (a->type == TPC_ARRAY && !same_value(&a->as.items[i], &b->as.items[i])) {
            return false;
        }
    }
    return a->type != TPC_TEXT || same_text(*a, *b);
}

/* A scene of an earlier group that looks at the same: then either will do. */
static bool join(struct automation *a, const struct made *m)
{
    for (uint32_t i = 0; i < a->made_count; i++) {
        struct made *o = &a->made[i];
        if (strcmp(o->on, m->on) != 0 || !tpc_str_equal(o->product, m->product) ||
            !tpc_str_equal(o->device, m->device) || !tpc_str_equal(o->event, m->event) ||
            !same_value(&o->during, &m->during)) {
            continue;
        }
        if (o->expr.len == 0 || m->expr.len == 0) {
            tpi_buf_clear(&o->expr); /* one of them always holds */
            return true;
        }
        struct tpi_buf sum;
        tpi_buf_init(&sum, NULL, 0);
        bool first = o->expr.ptr[0] != '(' || o->expr.ptr[o->expr.len - 1] != ')';
        int rc = tpi_buf_printf(&sum, first ? "(%.*s) or (%.*s)" : "%.*s or (%.*s)",
                                (int) o->expr.len, (const char *) o->expr.ptr, (int) m->expr.len,
                                (const char *) m->expr.ptr);
        a->p->rc = rc != 0 ? rc : a->p->rc;
        tpi_buf_fini(&o->expr);
        o->expr = sum;
        return true;
    }
    return false;
}

/* All of the group but `skip` as an expression of the scene of `self`. */
static bool write_expr(struct panel *p, const struct group *g, const struct panel_condition *self,
                       const struct panel_condition *skip, struct tpi_buf *out)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const struct panel_condition *c = &g->conditions[i];
        size_t before = out->len;
        bool own =
            self != NULL && c->class_wide == self->class_wide && tpc_str_equal(c->key, self->key);
        if (c == skip) {
            continue;
        }
        int rc = before > 0 ? tpi_buf_text(out, TPC_STR(" and ")) : 0;
        size_t start = out->len;
        p->rc = rc != 0 ? rc : p->rc;
        if (rc != 0 || !tpi_panel_expr(p, c, own, out)) {
            return false;
        }
        out->len = out->len == start ? before : out->len; /* it says nothing */
    }
    return true;
}

static void add_scene(struct automation *a, const struct group *g,
                      const struct panel_condition *self, const struct panel_condition *skip,
                      const char *on)
{
    struct panel *p = a->p;
    struct made m = { .on = on, .during = g->during };
    const struct tpc_value *known = NULL;
    if (self->class_wide) {
        m.product = self->key;
    } else {
        known = tpi_member(p->names, "devices");
        m.device = self->key;
    }
    for (size_t i = 0; known != NULL && known->type == TPC_MAP && i < known->len; i++) {
        const struct tpc_value *d = &known->as.members[i].value;
        if (tpc_str_equal(tpi_panel_key(p, "devices", known->as.members[i].key), self->key)) {
            m.product = tpi_member_text(d, "product");
        }
    }
    if (m.product.len == 0) {
        tpi_panel_note(p, NULL, "of which product is device '%.*s'? names.devices has to tell it",
                       (int) (self->key.len < 64 ? self->key.len : 64), self->key.ptr);
        return;
    }
    m.event = skip != NULL && skip->source == PANEL_EVENT ? skip->name : (struct tpc_str){ "", 0 };
    tpi_buf_init(&m.expr, NULL, 1 << 20);
    bool good =
        write_expr(p, g, self, skip != NULL && skip->source == PANEL_STATUS ? skip : NULL, &m.expr);
    if (good && !join(a, &m)) {
        if (a->made_count < TPI_PANEL_GROUPS) {
            a->made[a->made_count++] = m;
            return;
        }
        tpi_panel_note(p, NULL, "more than %d scenes", TPI_PANEL_GROUPS);
    }
    tpi_buf_fini(&m.expr);
}

/* The first condition of this source among those before it. */
static bool is_first(const struct group *g, uint32_t number)
{
    const struct panel_condition *c = &g->conditions[number];
    for (uint32_t i = 0; i < number; i++) {
        const struct panel_condition *o = &g->conditions[i];
        if (o->source == c->source && tpc_str_equal(o->key, c->key)) {
            return false;
        }
    }
    return true;
}

static uint32_t count_of(const struct group *g, enum panel_source source)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        n += g->conditions[i].source == source;
    }
    return n;
}

/* Each device in it may set it off: by a value, an event, or its presence. */
static void scenes_of(struct automation *a, const struct group *g)
{
    uint32_t events = count_of(g, PANEL_EVENT);
    if (events > 1) {
        tpi_panel_note(a->p, NULL, "two events never come at once");
        return;
    }
    for (uint32_t i = 0; i < g->count; i++) {
        const struct panel_condition *c = &g->conditions[i];
        if (c->class_wide != g->conditions[0].class_wide ||
            (c->class_wide && !tpc_str_equal(c->key, g->conditions[0].key))) {
            tpi_panel_note(a->p, NULL, "conditions on several classes of devices");
            return;
        }
    }
    for (uint32_t i = 0; i < g->count; i++) {
        const struct panel_condition *c = &g->conditions[i];
        if (c->source == PANEL_EVENT) {
            add_scene(a, g, c, c, "event");
        } else if (events == 0 && c->source == PANEL_TELEMETRY && is_first(g, i)) {
            add_scene(a, g, c, NULL, "");
        } else if (events == 0 && c->source == PANEL_STATUS) {
            if (c->online != 0) {
                add_scene(a, g, c, c, "online");
            }
            if (c->online != 1) {
                add_scene(a, g, c, c, "offline");
            }
        }
    }
}

static void schedule_of(struct automation *a, struct group *g)
{
    struct panel *p = a->p;
    struct panel_map m = { .count = 0 };
    struct tpi_buf expr;
    if (g->during.type != TPC_NULL) {
        tpi_panel_note(p, NULL, "a window of the day beside a planned time");
        return;
    }
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->conditions[i].class_wide || g->conditions[i].source == PANEL_EVENT ||
            g->conditions[i].source == PANEL_STATUS) {
            tpi_panel_note(p, NULL, "beside a planned time only values of single devices");
            return;
        }
    }
    tpi_buf_init(&expr, NULL, 1 << 20);
    struct tpc_value then = tpi_panel_then(p, tpi_member(a->doc, "actions"), PANEL_BY_TIME, true);
    if (write_expr(p, g, NULL, NULL, &expr) && then.len > 0) {
        begin_doc(a, &m, "schedule", "");
        for (uint32_t i = 0; i < g->plan.count && m.count < TPI_PANEL_MEMBERS; i++) {
            m.members[m.count++] = g->plan.members[i];
        }
        if (expr.len > 0) {
            tpi_panel_set(&m, "if", buf_text(p, &expr));
        }
        end_doc(a, &m, then);
    }
    tpi_buf_fini(&expr);
}

static bool read_time(struct panel *p, struct group *g, struct tpc_str type,
                      const struct tpc_value *c)
{
    if (is(type, "22")) {
        if (g->during.type != TPC_NULL) {
            tpi_panel_note(p, NULL, "a second window of the day");
            return false;
        }
        return tpi_panel_window(p, c, &g->during);
    }
    if (g->has_plan) {
        tpi_panel_note(p, NULL, "a second planned time");
        return false;
    }
    g->has_plan = true;
    return tpi_panel_plan(p, c, &g->plan);
}

/* A condition that has no place takes its group with it: without it the rest would hold too often. */
static bool read_group(struct panel *p, const struct tpc_value *list, uint32_t number,
                       struct group *g)
{
    bool good = true;
    char before[sizeof(p->path)];
    memcpy(before, p->path, sizeof(before));
    *g = (struct group){ .count = 0 };
    for (size_t i = 0; i < list->len; i++) {
        const struct tpc_value *c = &list->as.items[i];
        struct tpc_str type = tpi_panel_scalar(p, tpi_member(c, "trigger_conditions_type"));
        snprintf(p->path, sizeof(p->path), "%.64s%strigger_condition_groups[%u][%zu]", before,
                 before[0] != '\0' ? "." : "", (unsigned) number, i);
        if (is(type, "20") || is(type, "21") || is(type, "22")) {
            good = read_time(p, g, type, c) && good;
        } else if (!is(type, "10") && !is(type, "11")) {
            tpi_panel_note(p, "trigger_conditions_type", "unknown: '%.*s'",
                           (int) (type.len < 32 ? type.len : 32), type.len > 0 ? type.ptr : "");
            good = false;
        } else if (g->count == TPI_PANEL_CONDITIONS) {
            tpi_panel_note(p, NULL, "more than %d conditions", TPI_PANEL_CONDITIONS);
            good = false;
        } else {
            good = tpi_panel_condition(p, c, &g->conditions[g->count]) && good;
            g->count++;
        }
    }
    snprintf(p->path, sizeof(p->path), "%.64s%strigger_condition_groups[%u]", before,
             before[0] != '\0' ? "." : "", (unsigned) number);
    if (!good || (g->count == 0 && !g->has_plan)) {
        tpi_panel_note(p, NULL, good ? "nothing sets it off" : "the group is not imported");
        good = false;
    }
    return good;
}

static void groups_of(struct automation *a, const struct tpc_value *groups)
{
    struct panel *p = a->p;
    char before[sizeof(p->path)];
    memcpy(before, p->path, sizeof(before));
    for (size_t i = 0; i < groups->len; i++) {
        struct group g;
        if (i == TPI_PANEL_GROUPS) {
            tpi_panel_note(p, NULL, "more than %d groups of conditions", TPI_PANEL_GROUPS);
            break;
        }
        if (groups->as.items[i].type != TPC_ARRAY) {
            tpi_panel_note(p, "trigger_condition_groups", "group %zu is no list", i);
        } else if (read_group(p, &groups->as.items[i], (uint32_t) i, &g)) {
            if (g.has_plan) {
                schedule_of(a, &g);
            } else {
                scenes_of(a, &g);
            }
        }
        memcpy(p->path, before, sizeof(before));
    }
    uint32_t data = 0;
    for (uint32_t i = 0; i < a->made_count; i++) {
        const struct made *m = &a->made[i];
        put_scene(a, m, false);
        if (m->on[0] == '\0' && m->expr.len > 0) {
            put_scene(a, m, true);
            data++;
        }
    }
    if (data > 1) {
        tpi_panel_note(p, NULL, "one message may set off several of its scenes, there only one");
    }
}

/* ---- automations ---- */

/* A scene: actions with a name. */
static void manual_of(struct automation *a)
{
    struct panel *p = a->p;
    struct panel_map when = { .count = 0 };
    struct panel_map m = { .count = 0 };
    struct tpc_value then = tpi_panel_then(p, tpi_member(a->doc, "actions"), PANEL_BY_TIME, true);
    if (then.len > 0) {
        tpi_panel_set(&when, "on", tpi_panel_text(p, TPC_STR("manual")));
        begin_doc(a, &m, "scene", "");
        tpi_panel_set(&m, "when", tpi_panel_map(p, &when));
        end_doc(a, &m, then);
    }
}

static void alarm_of(struct panel *p, const struct tpc_value *doc)
{
    struct panel_map m = { .count = 0 };
    struct panel_list notify = { .count = 0 };
    struct tpc_str id = tpi_member_text(doc, "id");
    struct tpc_str level = tpi_member_text(doc, "alarm_level");
    struct tpc_str to = tpi_member_text(doc, "notification_group_id");
    struct tpc_str name = tpi_member_text(doc, "name");
    tpi_panel_set(&m, "kind", tpi_panel_text(p, TPC_STR("alert")));
    tpi_panel_set(&m, "key", tpi_panel_text(p, tpi_panel_key(p, "alerts", id)));
    if (name.len > 0) {
        tpi_panel_set(&m, "name", tpi_panel_text(p, name));
    }
    if (is(tpi_member_text(doc, "enabled"), "N")) {
        tpi_panel_set(&m, "enabled", (struct tpc_value){ .type = TPC_BOOL, .as.b = false });
    }
    tpi_panel_set(&m, "severity",
                  tpi_panel_text(p, is(level, "H")   ? TPC_STR("critical")
                                    : is(level, "M") ? TPC_STR("major")
                                                     : TPC_STR("minor")));
    if (to.len > 0) {
        tpi_panel_add(p, &notify, tpi_panel_text(p, tpi_panel_key(p, "handlers", to)));
        tpi_panel_set(&m, "notify", tpi_panel_array(&notify));
    }
    tpi_panel_add(p, &p->docs, tpi_panel_map(p, &m));
}

static bool import_one(struct panel *p, const struct tpc_value *doc, size_t number)
{
    const struct tpc_value *groups = tpi_member(doc, "trigger_condition_groups");
    const struct tpc_value *actions = tpi_member(doc, "actions");
    struct automation a = { .p = p, .doc = doc };
    if (doc->type == TPC_MAP && tpi_member_text(doc, "alarm_level").len > 0 &&
        tpi_member_text(doc, "id").len > 0) {
        alarm_of(p, doc);
        return true;
    }
    if (doc->type != TPC_MAP || actions == NULL || actions->type != TPC_ARRAY ||
        (groups != NULL && groups->type != TPC_ARRAY)) {
        return false;
    }
    struct tpc_str id = tpi_member_text(doc, "id");
    id = id.len > 0 ? id : tpi_member_text(doc, "name");
    struct tpc_value made = tpi_panel_format(p, "automation-%zu", number + 1);
    a.key = id.len > 0 ? tpi_panel_key(p, "scenes", id) : tpc_value_text(&made);
    if (groups != NULL) {
        groups_of(&a, groups);
    } else {
        manual_of(&a);
    }
    for (uint32_t i = 0; i < a.made_count; i++) {
        tpi_buf_fini(&a.made[i].expr);
    }
    if (a.doc_number == 0) {
        tpi_panel_note(p, NULL, "nothing of '%.*s' is imported",
                       (int) (a.key.len < 64 ? a.key.len : 64), a.key.ptr);
    }
    return true;
}

/* What the interface answers stands in "data", lists in "list". */
static const struct tpc_value *open_envelope(const struct tpc_value *in)
{
    static const char *const members[] = { "data", "list" };
    for (size_t i = 0; i < 2; i++) {
        const struct tpc_value *v = in->type == TPC_MAP ? tpi_member(in, members[i]) : NULL;
        in = v != NULL && v->type >= TPC_ARRAY ? v : in;
    }
    return in;
}

static int import_all(struct tpc_arena *arena, const struct tpc_value *in,
                      const struct tpc_value *names, struct tpc_error *err, struct tpc_value *ret)
{
    struct panel p = { .arena = arena, .names = names };
    struct panel_map m = { .count = 0 };
    const struct tpc_value *doc = open_envelope(in);
    bool list = doc->type == TPC_ARRAY;
    size_t n = list ? doc->len : 1;
    for (size_t i = 0; i < n && p.rc == 0; i++) {
        if (list) {
            snprintf(p.path, sizeof(p.path), "[%zu]", i);
        }
        if (!import_one(&p, list ? &doc->as.items[i] : doc, i)) {
            if (!list) {
                return tpi_error_set(err, TPC_EINVAL, "rules", "no automation: no list of actions");
            }
            tpi_panel_note(&p, NULL, "no automation: no list of actions");
        }
    }
    tpi_panel_set(&m, "entities", tpi_panel_array(&p.docs));
    tpi_panel_set(&m, "notes", tpi_panel_array(&p.notes));
    struct tpc_value v = tpi_panel_map(&p, &m);
    if (p.rc != 0) {
        return tpi_error_set(err, p.rc, "rules",
                             p.rc == TPC_ETOOBIG ? "more than %d documents or notes"
                                                 : "out of memory (%d)",
                             TPI_PANEL_DOCS);
    }
    *ret = v;
    return 0;
}

static int keep_text(struct tpc_arena *arena, struct tpc_str *text)
{
    char *copy = tpc_arena_take(arena, text->len + 1);
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    if (text->len > 0) {
        memcpy(copy, text->ptr, text->len);
    }
    copy[text->len] = '\0';
    text->ptr = copy;
    return 0;
}

int tpc_rule_import_thingspanel(struct tpc_arena *arena, struct tpc_str json, struct tpc_str names,
                                struct tpc_error *err, struct tpc_value *ret)
{
    struct tpc_value in;
    struct tpc_value known = { .type = TPC_NULL };
    if (arena == NULL || ret == NULL) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "arena or ret is NULL");
    }
    /* trees show into their text: documents outlive the caller's */
    int rc = keep_text(arena, &json);
    rc = rc != 0 ? rc : keep_text(arena, &names);
    if (rc != 0) {
        return tpi_error_set(err, rc, "rules", "out of memory");
    }
    rc = tpc_json_parse(arena, json, 0, err, &in);
    if (rc == 0 && names.len > 0) {
        rc = tpc_json_parse(arena, names, 0, err, &known);
        if (rc != 0) {
            tpi_error_at(err, "names");
        }
    }
    return rc != 0 ? rc : import_all(arena, &in, &known, err, ret);
}
