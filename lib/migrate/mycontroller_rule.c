/* Tasks, schedules and forward payloads. */
#include <string.h>
#include <tpcore/json.h>

#include "calendar/dampen.h"
#include "data/member.h"
#include "migrate/mycontroller.h"

/* ---- variables ---- */

static bool is_value_path(struct tpc_str path)
{
    return path.len == 0 || tpc_str_equal(path, TPC_STR("current.value"));
}

/* {type: resource_by_quick_id, resourceType, quickId, keyPath} */
static bool read_field(struct tpi_mc *m, const struct tpc_value *v, struct tpi_mc_var *var)
{
    struct tpc_str type = tpi_member_text(v, "type");
    struct tpc_str resource = tpi_member_text(v, "resourceType");
    struct tpc_str path = tpi_member_text(v, "keyPath");
    if (v->type != TPC_MAP || !tpc_str_equal(type, TPC_STR("resource_by_quick_id")) ||
        !tpc_str_equal(resource, TPC_STR("field"))) {
        return false;
    }
    if (!tpi_mc_read_id(tpi_member_text(v, "quickId"), &var->id) || var->id.parts < 4) {
        return false;
    }
    path = path.len > 0 ? path : var->id.path;
    var->has_path = path.len > 0;
    var->is_field = is_value_path(path);
    (void) m;
    return var->is_field;
}

static void read_vars(struct tpi_mc *m, const struct tpc_value *map)
{
    m->var_count = 0;
    for (size_t i = 0; map != NULL && map->type == TPC_MAP && i < map->len; i++) {
        struct tpi_mc_var var = { .name = map->as.members[i].key,
                                  .value = &map->as.members[i].value };
        if (m->var_count == TPI_MC_VARS) {
            tpi_mc_lame(m, "variables", "more than %d", TPI_MC_VARS);
            return;
        }
        (void) read_field(m, var.value, &var);
        var.ours = tpi_mc_name(m, var.name);
        m->vars[m->var_count++] = var;
    }
}

/* The value of one in "vars"; false = there is none. */
static bool make_var(struct tpi_mc *m, const struct tpi_mc_var *v, struct tpc_value *ret)
{
    struct tpi_buf b;
    if (v->is_field) {
        *ret = tpi_mc_text(tpi_mc_field(m, &v->id));
        return true;
    }
    struct tpc_str type = tpi_member_text(v->value, "type");
    if (v->value->type == TPC_MAP && type.len > 0 && !tpc_str_equal(type, TPC_STR("string"))) {
        tpi_mc_lame(m, "variables", "'%.*s': only the values of fields by their id, not %.*s",
                    (int) (v->name.len < 100 ? v->name.len : 100), v->name.ptr,
                    (int) (type.len < 100 ? type.len : 100), type.ptr);
        return false;
    }
    const struct tpc_value *text = tpi_member(v->value, "value");
    text = text != NULL && v->value->type == TPC_MAP && type.len > 0 ? text : v->value;
    if (text->type != TPC_TEXT) {
        *ret = *text;
        return text->type != TPC_NULL;
    }
    struct tpc_str own = tpc_value_text(text);
    struct tpc_str ours = tpi_mc_template(m, "variables", own);
    if (own.len >= 4 && memmem(own.ptr, own.len, "{{", 2) != NULL) {
        *ret = tpi_mc_text(ours);
        return true;
    }
    tpi_mc_buf(&b);
    tpi_mc_quote(m, &b, own);
    *ret = tpi_mc_text(tpi_mc_take(m, &b));
    return true;
}

static void put_vars(struct tpi_mc *m, struct tpi_mc_map *doc)
{
    struct tpi_mc_map map = { .count = 0 };
    uint32_t count = m->var_count;
    m->var_count = 0; /* one names only earlier ones */
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_value v;
        if (make_var(m, &m->vars[i], &v) && map.count < TPI_MC_MEMBERS) {
            map.members[map.count++] = (struct tpc_member){ m->vars[i].ours, v };
        }
        m->var_count = i + 1;
    }
    if (map.count > 0) {
        tpi_mc_put(doc, "vars", tpi_mc_map_value(m, &map));
    }
}

/* ---- what tasks and schedules have ---- */

static void begin(struct tpi_mc *m, const char *what, const struct tpc_value *doc)
{
    m->what = what;
    m->id = tpi_member_text(doc, "id");
    m->lame = false;
    m->own_device = TPC_STR("");
    m->var_count = 0;
}

static void put_head(struct tpi_mc *m, struct tpi_mc_map *out, const char *kind, struct tpc_str key)
{
    tpi_mc_put(out, "kind", tpi_mc_text(tpc_str_from(kind)));
    tpi_mc_put_text(out, "tenant", m->options->tenant);
    tpi_mc_put_text(out, "key", key);
}

/* The last members: what it does, and whether it is on. */
static void finish(struct tpi_mc *m, struct tpi_mc_map *out, const struct tpc_value *doc,
                   const struct tpi_mc_list *then)
{
    struct tpc_value v;
    if (then->count == 0) {
        tpi_mc_note(m, "handlers", "it does nothing that we can do: not made");
        return;
    }
    tpi_mc_put(out, "enabled", tpi_mc_bool(!m->lame && tpi_mc_truthy(tpi_member(doc, "enabled"))));
    tpi_mc_put(out, "then", tpi_mc_list_value(then));
    v = tpi_mc_map_value(m, out);
    tpi_mc_add(m, &m->entities, &v);
}

static bool read_ms(struct tpi_mc *m, const struct tpc_value *doc, const char *name,
                    int64_t *ret_ms)
{
    const struct tpc_value *v = tpi_member(doc, name);
    struct tpc_str text = tpi_member_text(doc, name);
    if (v == NULL || (v->type == TPC_TEXT && text.len == 0)) {
        return false;
    }
    if (!tpi_mc_duration(text, ret_ms) || *ret_ms <= 0) {
        tpi_mc_lame(m, name, "no duration: '%.*s'", (int) (text.len < 60 ? text.len : 60),
                    text.len > 0 ? text.ptr : "");
        return false;
    }
    return true;
}

/* ---- tasks ---- */

static int64_t runs(struct tpi_mc *m, const struct tpc_value *dampening, const char *name)
{
    int64_t n = tpi_mc_number(dampening, name, 0);
    if (n > TPI_DAMPEN_MAX_RUNS) {
        tpi_mc_note(m, "dampening", "%s: at most %d runs are remembered", name,
                    TPI_DAMPEN_MAX_RUNS);
        return TPI_DAMPEN_MAX_RUNS;
    }
    return n < 1 ? 1 : n;
}

/* Whether there is something to put in *ret. */
static bool dampen(struct tpi_mc *m, const struct tpc_value *doc, struct tpc_value *ret)
{
    const struct tpc_value *d = tpi_member(doc, "dampening");
    struct tpc_str type = tpi_member_text(d, "type");
    struct tpi_mc_map map = { .count = 0 };
    if (type.len == 0 || tpc_str_equal(type, TPC_STR("none"))) {
        return false;
    }
    tpi_mc_put_text(&map, "type", type);
    if (tpc_str_equal(type, TPC_STR("consecutive"))) {
        tpi_mc_put(&map, "occurrences", tpi_mc_int(runs(m, d, "occurrences")));
    } else if (tpc_str_equal(type, TPC_STR("evaluation"))) {
        int64_t count = runs(m, d, "occurrences");
        int64_t of = runs(m, d, "evaluation");
        tpi_mc_put(&map, "occurrences", tpi_mc_int(count));
        tpi_mc_put(&map, "evaluation", tpi_mc_int(of < count ? count : of));
    } else if (tpc_str_equal(type, TPC_STR("active_duration"))) {
        int64_t ms = 0;
        if (!read_ms(m, d, "activeDuration", &ms)) {
            return false;
        }
        tpi_mc_put(&map, "active_duration", tpi_mc_int(ms));
    } else {
        tpi_mc_lame(m, "dampening", "no such type: '%.*s'", (int) (type.len < 60 ? type.len : 60),
                    type.ptr);
        return false;
    }
    *ret = tpi_mc_map_value(m, &map);
    return true;
}

static void put_switch(struct tpi_mc *m, struct tpi_mc_map *out, const struct tpc_value *doc)
{
    int64_t ms;
    if (!tpi_mc_truthy(tpi_member(doc, "autoDisable"))) {
        return;
    }
    tpi_mc_put(out, "auto_disable", tpi_mc_bool(true));
    if (tpi_mc_truthy(tpi_member(doc, "reEnable")) && read_ms(m, doc, "reEnableDuration", &ms)) {
        tpi_mc_put(out, "re_enable", tpi_mc_int(ms));
    }
}

/* Whose messages set a task off: by its filter, else by the first variable that is a field. */
static struct tpc_str own_device(struct tpi_mc *m, const struct tpc_value *filter)
{
    struct tpi_mc_id id;
    const struct tpc_value *filters = tpi_member(filter, "filters");
    struct tpc_str quick = tpi_member_text(filters, "quickId");
    quick = quick.len > 0 ? quick : tpi_member_text(filters, "quick_id");
    if (quick.len > 0 && tpi_mc_read_id(quick, &id) && id.parts >= 2) {
        return tpi_mc_device(m, &id);
    }
    for (size_t i = 0; filters != NULL && filters->type == TPC_MAP && i < filters->len; i++) {
        struct tpc_str key = filters->as.members[i].key;
        tpi_mc_note(m, "eventFilter", "'%.*s' is not looked at",
                    (int) (key.len < 60 ? key.len : 60), key.len > 0 ? key.ptr : "");
    }
    for (uint32_t i = 0; i < m->var_count; i++) {
        if (m->vars[i].is_field) {
            return tpi_mc_device(m, &m->vars[i].id);
        }
    }
    return TPC_STR("");
}

static bool is_among(const struct tpc_value *list, const char *name)
{
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        if (tpc_str_equal(tpc_value_text(&list->as.items[i]), tpc_str_from(name))) {
            return true;
        }
    }
    return list == NULL || list->len == 0; /* no filter: all */
}

static void note_events(struct tpi_mc *m, const struct tpc_value *filter)
{
    const struct tpc_value *types = tpi_member(filter, "eventTypes");
    const struct tpc_value *entities = tpi_member(filter, "entityTypes");
    if (!is_among(types, "updated") || !is_among(entities, "field")) {
        tpi_mc_lame(m, "eventFilter", "only values of fields that come (field, updated)");
    } else if ((types != NULL && types->len > 1) || (entities != NULL && entities->len > 1)) {
        tpi_mc_note(m, "eventFilter", "of these events only values of fields that come");
    }
}

static void note_other_devices(struct tpi_mc *m)
{
    for (uint32_t i = 0; i < m->var_count; i++) {
        struct tpc_str device =
            m->vars[i].is_field ? tpi_mc_device(m, &m->vars[i].id) : m->own_device;
        if (!tpc_str_equal(device, m->own_device)) {
            tpi_mc_note(m, "eventFilter", "only messages of device '%.*s' set it off",
                        (int) (m->own_device.len < 128 ? m->own_device.len : 128),
                        m->own_device.ptr);
            return;
        }
    }
}

/* The condition, or a note of what stands in its place. */
static struct tpc_str condition(struct tpi_mc *m, const struct tpc_value *doc)
{
    struct tpc_str type = tpi_member_text(doc, "evaluationType");
    if (type.len > 0 && !tpc_str_equal(type, TPC_STR("rule"))) {
        tpi_mc_lame(m, "evaluationType",
                    "conditions are expressions, not %.*s: write one and enable it",
                    (int) (type.len < 60 ? type.len : 60), type.ptr);
        return TPC_STR("");
    }
    return tpi_mc_condition(m, tpi_member(doc, "evaluationConfig"));
}

/* `when` of a scene. False: not made. */
static bool put_when(struct tpi_mc *m, struct tpi_mc_map *out, const struct tpc_value *doc,
                     struct tpc_str expr, bool rising)
{
    struct tpi_mc_map when = { .count = 0 };
    struct tpi_mc_list devices = { .count = 0 };
    struct tpc_value device = tpi_mc_text(m->own_device);
    struct tpc_value d;
    tpi_mc_put_text(&when, "product", m->options->product);
    tpi_mc_add(m, &devices, &device);
    tpi_mc_put(&when, "devices", tpi_mc_list_value(&devices));
    if (expr.len == 0) { /* always true: what it looks at has to be named */
        expr = m->lame ? TPC_STR("false") : expr;
    }
    if (expr.len == 0) {
        tpi_mc_note(m, "variables", "no value of a field sets it off: not made");
        return false;
    }
    tpi_mc_put_text(&when, "expr", expr);
    tpi_mc_put_text(&when, "fire", rising ? TPC_STR("rising") : TPC_STR("each"));
    if (dampen(m, doc, &d)) {
        tpi_mc_put(&when, "dampen", d);
    }
    tpi_mc_put(out, "when", tpi_mc_map_value(m, &when));
    return true;
}

static void event_task(struct tpi_mc *m, const struct tpc_value *doc, bool rising)
{
    struct tpi_mc_map out = { .count = 0 };
    const struct tpc_value *filter = tpi_member(doc, "eventFilter");
    if (m->options->product.len == 0) {
        tpi_mc_note(m, "triggerOnEvent", "a product is needed whose devices set it off: not made");
        return;
    }
    m->own_device = own_device(m, filter);
    if (m->own_device.len == 0) {
        tpi_mc_note(m, "eventFilter", "no device can be told that sets it off: not made");
        return;
    }
    note_events(m, filter);
    note_other_devices(m);
    put_head(m, &out, "scene", m->id);
    struct tpc_str expr = condition(m, doc);
    put_vars(m, &out);
    if (!put_when(m, &out, doc, expr, rising)) {
        return;
    }
    put_switch(m, &out, doc);
    struct tpi_mc_list then = tpi_mc_actions(m, doc);
    finish(m, &out, doc, &then);
}

struct tpc_str tpi_mc_task_key(struct tpi_mc *m, struct tpc_str id)
{
    struct tpi_buf b;
    if (tpi_mc_find(m, TPI_MC_SCHEDULE, id) == NULL) {
        return id;
    }
    tpi_mc_buf(&b);
    tpi_mc_write(m, &b, TPC_STR("task-"));
    tpi_mc_write(m, &b, id);
    return tpi_mc_take(m, &b);
}

static struct tpc_value interval(struct tpi_mc *m, const char *name, int64_t ms)
{
    if (ms < 1000) {
        tpi_mc_note(m, name, "a second is the least");
    }
    return tpi_mc_int(ms < 1000 ? 1000 : ms);
}

static void interval_task(struct tpi_mc *m, const struct tpc_value *doc, bool rising)
{
    struct tpi_mc_map out = { .count = 0 };
    struct tpc_value d;
    int64_t ms;
    struct tpc_str key = tpi_mc_task_key(m, m->id);
    if (!tpc_str_equal(key, m->id)) {
        tpi_mc_note(m, "id", "there is a schedule of this id: it becomes task-<id>");
    }
    put_head(m, &out, "schedule", key);
    if (!read_ms(m, doc, "executionInterval", &ms)) {
        tpi_mc_note(m, "executionInterval", "missing: not made");
        return;
    }
    tpi_mc_put_text(&out, "type", TPC_STR("repeat"));
    tpi_mc_put(&out, "interval", interval(m, "executionInterval", ms));
    struct tpc_str expr = condition(m, doc);
    put_vars(m, &out);
    bool damped = dampen(m, doc, &d);
    if (expr.len == 0 && (rising || damped)) {
        expr = m->lame ? TPC_STR("false") : TPC_STR("true");
    }
    tpi_mc_put_text(&out, "if", expr);
    if (rising) {
        tpi_mc_put_text(&out, "fire", TPC_STR("rising"));
    }
    if (damped) {
        tpi_mc_put(&out, "dampen", d);
    }
    put_switch(m, &out, doc);
    struct tpi_mc_list then = tpi_mc_actions(m, doc);
    finish(m, &out, doc, &then);
}

void tpi_mc_task(struct tpi_mc *m, const struct tpc_value *doc)
{
    begin(m, "task", doc);
    read_vars(m, tpi_member(doc, "variables"));
    bool rising = tpi_mc_truthy(tpi_member(doc, "ignoreDuplicate"));
    if (tpi_mc_truthy(tpi_member(doc, "triggerOnEvent"))) {
        event_task(m, doc, rising);
    } else {
        interval_task(m, doc, rising);
    }
}

/* ---- schedules ---- */

static struct tpc_value part(struct tpi_mc *m, const struct tpc_value *from_to)
{
    struct tpi_mc_map map = { .count = 0 };
    tpi_mc_put_text(&map, "from", tpi_member_text(from_to, "from"));
    tpi_mc_put_text(&map, "to", tpi_member_text(from_to, "to"));
    return tpi_mc_map_value(m, &map);
}

static void put_validity(struct tpi_mc *m, struct tpi_mc_map *out, const struct tpc_value *v)
{
    struct tpi_mc_map map = { .count = 0 };
    if (!tpi_mc_truthy(tpi_member(v, "enabled"))) {
        return;
    }
    struct tpc_value date = part(m, tpi_member(v, "date"));
    struct tpc_value time = part(m, tpi_member(v, "time"));
    if (date.len > 0) {
        tpi_mc_put(&map, "date", date);
    }
    if (time.len > 0) {
        tpi_mc_put(&map, "time", time);
    }
    tpi_mc_put(&map, "every_day",
               tpi_mc_bool(tpi_mc_truthy(tpi_member(v, "validateTimeEveryday"))));
    tpi_mc_put(out, "validity", tpi_mc_map_value(m, &map));
}

static double number_of(struct tpc_str text, bool *ret_good)
{
    struct tpc_value v;
    struct tpc_arena *arena = NULL;
    double d = 0;
    *ret_good = tpc_arena_create(NULL, 0, &arena) == 0 &&
                tpc_json_parse(arena, text, 0, NULL, &v) == 0 && tpc_value_double(&v, &d) == 0;
    tpc_arena_destroy(arena);
    return d;
}

static void put_place(struct tpi_mc *m, struct tpi_mc_map *out)
{
    bool good = false;
    bool also = false;
    double north = number_of(m->options->latitude, &good);
    double east = number_of(m->options->longitude, &also);
    if (!good || !also) {
        tpi_mc_lame(m, "type", "the place is needed: latitude and longitude (0 is put)");
        north = 0;
        east = 0;
    }
    tpi_mc_put(out, "latitude", (struct tpc_value){ .type = TPC_DOUBLE, .as.d = north });
    tpi_mc_put(out, "longitude", (struct tpc_value){ .type = TPC_DOUBLE, .as.d = east });
}

static void put_days(struct tpi_mc *m, struct tpi_mc_map *out, const struct tpc_value *spec)
{
    struct tpc_str frequency = tpi_member_text(spec, "frequency");
    struct tpc_str days = tpi_member_text(spec, "dayOfWeek");
    bool monthly = tpc_str_equal(frequency, TPC_STR("monthly"));
    bool dated = tpc_str_equal(frequency, TPC_STR("on_date"));
    tpi_mc_put_text(out, "frequency", frequency);
    if (!monthly && !dated && !tpc_str_equal(days, TPC_STR("*"))) {
        tpi_mc_put_text(out, "day_of_week", days);
    }
    if (monthly) {
        tpi_mc_put(out, "date_of_month", tpi_mc_int(tpi_mc_number(spec, "dateOfMonth", 1)));
    }
    if (dated) {
        tpi_mc_put_text(out, "date", tpi_member_text(spec, "date"));
    }
    (void) m;
}

static void put_plan(struct tpi_mc *m, struct tpi_mc_map *out, const struct tpc_value *doc)
{
    struct tpc_str type = tpi_member_text(doc, "type");
    const struct tpc_value *spec = tpi_member(doc, "spec");
    int64_t ms;
    tpi_mc_put_text(out, "type", type);
    if (tpc_str_equal(type, TPC_STR("repeat"))) {
        int64_t count = tpi_mc_number(spec, "repeatCount", 0);
        if (!read_ms(m, spec, "interval", &ms)) {
            ms = 1000;
            tpi_mc_lame(m, "interval", "missing: a second is put");
        }
        tpi_mc_put(out, "interval", interval(m, "interval", ms));
        if (count > 0) {
            tpi_mc_put(out, "count", tpi_mc_int(count));
        }
    } else if (tpc_str_equal(type, TPC_STR("cron"))) {
        tpi_mc_put_text(out, "cron", tpi_member_text(spec, "cronExpression"));
    } else {
        put_days(m, out, spec);
        if (tpc_str_equal(type, TPC_STR("simple"))) {
            tpi_mc_put_text(out, "time", tpi_member_text(spec, "time"));
        } else {
            struct tpc_str offset = tpi_member_text(spec, "offset");
            if (offset.len > 0 && tpi_mc_duration(offset, &ms)) {
                tpi_mc_put(out, "offset", tpi_mc_int(ms));
            } else if (offset.len > 0) {
                tpi_mc_lame(m, "offset", "no duration: '%.*s'",
                            (int) (offset.len < 60 ? offset.len : 60), offset.ptr);
            }
            put_place(m, out);
        }
    }
}

void tpi_mc_schedule(struct tpi_mc *m, const struct tpc_value *doc)
{
    struct tpi_mc_map out = { .count = 0 };
    struct tpc_str custom = tpi_member_text(doc, "customVariableType");
    begin(m, "schedule", doc);
    read_vars(m, tpi_member(doc, "variables"));
    put_head(m, &out, "schedule", m->id);
    put_plan(m, &out, doc);
    tpi_mc_put_text(&out, "zone", m->options->zone);
    put_validity(m, &out, tpi_member(doc, "validity"));
    if (custom.len > 0 && !tpc_str_equal(custom, TPC_STR("none"))) {
        tpi_mc_lame(m, "customVariableType", "variables are expressions, not %.*s",
                    (int) (custom.len < 60 ? custom.len : 60), custom.ptr);
    }
    put_vars(m, &out);
    struct tpi_mc_list then = tpi_mc_actions(m, doc);
    finish(m, &out, doc, &then);
}

/* ---- forward payloads ---- */

/* {"command": {"device", "service": "set", "params": {property: value}}} */
static struct tpc_value forward_action(struct tpi_mc *m, const struct tpi_mc_id *to,
                                       struct tpc_str from)
{
    struct tpi_mc_map command = { .count = 0 };
    struct tpi_mc_map params = { .count = 0 };
    struct tpi_mc_map action = { .count = 0 };
    struct tpi_buf b;
    tpi_mc_buf(&b);
    tpi_mc_write(m, &b, TPC_STR("{{ "));
    tpi_mc_write(m, &b, from);
    tpi_mc_write(m, &b, TPC_STR(" }}"));
    params.members[params.count++] =
        (struct tpc_member){ tpi_mc_property(m, to), tpi_mc_text(tpi_mc_take(m, &b)) };
    tpi_mc_put_text(&command, "device", tpi_mc_device(m, to));
    tpi_mc_put_text(&command, "service", TPC_STR("set"));
    tpi_mc_put(&command, "params", tpi_mc_map_value(m, &params));
    tpi_mc_put(&action, "command", tpi_mc_map_value(m, &command));
    return tpi_mc_map_value(m, &action);
}

void tpi_mc_forward(struct tpi_mc *m, const struct tpc_value *doc)
{
    struct tpi_mc_map out = { .count = 0 };
    struct tpi_mc_list then = { .count = 0 };
    struct tpi_mc_id from, to;
    struct tpi_buf b;
    begin(m, "forward payload", doc);
    if (!tpi_mc_read_id(tpi_member_text(doc, "srcFieldId"), &from) || from.parts < 4 ||
        !tpi_mc_read_id(tpi_member_text(doc, "dstFieldId"), &to) || to.parts < 4) {
        tpi_mc_note(m, "srcFieldId", "not the ids of two fields: not made");
        return;
    }
    if (m->options->product.len == 0) {
        tpi_mc_note(m, "srcFieldId", "a product is needed whose devices set it off: not made");
        return;
    }
    m->own_device = tpi_mc_device(m, &from);
    struct tpc_str field = tpi_mc_field(m, &from);
    struct tpc_value action = forward_action(m, &to, field);
    tpi_mc_add(m, &then, &action);
    put_head(m, &out, "scene", m->id);
    tpi_mc_buf(&b);
    tpi_mc_write(m, &b, field);
    tpi_mc_write(m, &b, TPC_STR(" is not null"));
    if (put_when(m, &out, NULL, tpi_mc_take(m, &b), false)) {
        finish(m, &out, doc, &then);
    }
}
