/* Entities of kind "alert". */
#include "base/alloc.h"
#include "base/error.h"
#include "data/member.h"
#include "data/msg.h"
#include "registry/registry.h"
#include "rules/alert_state.h"

#include <string.h>

enum { DAY_MIN = 24 * 60, DAY_S = 86400, MINUTE_MS = 60000, DAY_MS = 86400000 };

#define SEVERITIES "info|warning|minor|major|critical"

static const struct tpc_option handler_key = { .name = "notify",
                                               .type = TPC_OPT_TEXT,
                                               .flags = TPC_OPT_KEY };
static const struct tpc_option on_name = { .name = "on",
                                           .type = TPC_OPT_ENUM,
                                           .values = "raise|clear|escalate" };
static const struct tpc_option weekday = {
    .name = "weekdays", .type = TPC_OPT_UINT, .min = 1, .max = 7
};

static const struct tpc_option flapping_options[] = {
    { .name = "changes",
      .type = TPC_OPT_UINT,
      .def = "5",
      .min = 3,
      .max = TPI_ALERT_TOGGLES,
      .since = "0.1",
      .help = "times raised or cleared" },
    { .name = "within",
      .type = TPC_OPT_DURATION,
      .def = "1m",
      .min = 1000,
      .max = DAY_MS,
      .since = "0.1",
      .help = "in which they count; as long it has to be quiet afterwards" },
};

static const struct tpc_option escalate_options[] = {
    { .name = "after",
      .type = TPC_OPT_DURATION,
      .flags = TPC_OPT_REQUIRED,
      .min = 1000,
      .max = 30 * (int64_t) DAY_MS,
      .since = "0.1",
      .help = "if it is neither cleared nor acknowledged" },
    { .name = "severity",
      .type = TPC_OPT_ENUM,
      .values = SEVERITIES,
      .since = "0.1",
      .help = "that it gets; absent = as it is" },
    { .name = "notify",
      .type = TPC_OPT_LIST,
      .max = TPI_ALERT_HANDLERS,
      .elem = &handler_key,
      .since = "0.1",
      .help = "handlers; absent = as for the alert" },
};

static const struct tpc_option window_options[] = {
    { .name = "from",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 5,
      .max = 5,
      .since = "0.1",
      .help = "HH:MM" },
    { .name = "to",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 5,
      .max = 5,
      .since = "0.1",
      .help = "HH:MM; before `from`: of the next day; the same: 24 hours" },
    { .name = "weekdays",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = 7,
      .elem = &weekday,
      .since = "0.1",
      .help = "on which it begins, 1 = Monday; absent = all" },
    { .name = "zone",
      .type = TPC_OPT_TEXT,
      .def = "UTC",
      .min = 1,
      .max = TPI_ZONE_MAX_NAME,
      .since = "0.1",
      .help = "\"Europe/Berlin\", or an offset: \"+02:00\"" },
};
static const struct tpc_option window = { .name = "suppress",
                                          .type = TPC_OPT_TABLE,
                                          .sub = TPC_OPTIONS(window_options) };

static const struct tpc_option offline_options[] = {
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose devices are watched" },
    { .name = "after",
      .type = TPC_OPT_DURATION,
      .def = "5m",
      .min = 1000,
      .max = 30 * (int64_t) DAY_MS,
      .since = "0.1",
      .help = "offline for that long" },
};

static const struct tpc_option alert_options[] = {
    { .name = "name", .type = TPC_OPT_TEXT, .max = 256, .since = "0.1", .help = "for people" },
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false = alerts of this key are not raised" },
    { .name = "severity",
      .type = TPC_OPT_ENUM,
      .values = SEVERITIES,
      .since = "0.1",
      .help = "whatever the rule says; absent = as the rule says" },
    { .name = "text",
      .type = TPC_OPT_TEXT,
      .max = TPC_ALERT_TEXT_BYTES,
      .since = "0.1",
      .help = "instead of the rule's" },
    { .name = "notify",
      .type = TPC_OPT_LIST,
      .max = TPI_ALERT_HANDLERS,
      .elem = &handler_key,
      .since = "0.1",
      .help = "handlers that are told" },
    { .name = "on",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = 3,
      .elem = &on_name,
      .since = "0.1",
      .help = "of what; absent = all three" },
    { .name = "flapping",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(flapping_options),
      .since = "0.1",
      .help = "what comes and goes stays raised, and nobody is told until it is quiet" },
    { .name = "escalate",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(escalate_options),
      .since = "0.1",
      .help = "what nobody looks at" },
    { .name = "suppress",
      .type = TPC_OPT_LIST,
      .max = TPI_ALERT_WINDOWS,
      .elem = &window,
      .since = "0.1",
      .help = "windows of maintenance: raised, but nobody is told before their end" },
    { .name = "offline",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(offline_options),
      .since = "0.1",
      .help = "raises it for devices that are offline" },
};

const struct tpc_list tpi_alert_schema = TPC_OPTIONS(alert_options);

static const char *const severity_names[] = {
    "?", "info", "warning", "minor", "major", "critical"
};

const char *tpc_severity_name(uint32_t severity)
{
    return severity_names[severity <= TPC_SEVERITY_CRITICAL ? severity : 0];
}

uint32_t tpi_severity_of(struct tpc_str name)
{
    for (uint32_t i = TPC_SEVERITY_INFO; i <= TPC_SEVERITY_CRITICAL; i++) {
        if (tpc_str_equal(name, tpc_str_from(severity_names[i]))) {
            return i;
        }
    }
    return 0;
}

/* ---- windows ---- */

/* The moment of a local time that comes after one: where clocks are set back there are two. */
static int64_t moment_after(const struct tpi_zone *zone, int64_t local_s, int64_t unix_ms)
{
    struct tpi_local_unix at;
    tpi_zone_unix(zone, local_s, &at);
    int64_t s = at.first_s * 1000 > unix_ms ? at.first_s : at.second_s;
    return s * 1000 > unix_ms ? s * 1000 : 0;
}

/* When a window that contains the time ends; 0 = it does not. Days begin at local midnight. */
static int64_t window_end(const struct tpi_alert_window *w, int64_t unix_ms)
{
    int64_t local = tpi_zone_local(w->zone, unix_ms / 1000 - (unix_ms % 1000 < 0));
    int64_t day = local / DAY_S - (local % DAY_S < 0);
    int64_t minute = (local - day * DAY_S) / 60;
    int64_t today = (day % 7 + 7 + 3) % 7 + 1; /* 1970-01-01 was a Thursday */
    int64_t yesterday = today == 1 ? 7 : today - 1;
    bool now = (w->weekdays >> today & 1) != 0;
    bool before = (w->weekdays >> yesterday & 1) != 0;
    int64_t end_min = 0;
    if (w->from_min < w->to_min) {
        end_min = now && minute >= w->from_min && minute < w->to_min ? w->to_min : 0;
    } else if (now && minute >= w->from_min) {
        end_min = DAY_MIN + w->to_min;
    } else if (before && minute < w->to_min) {
        end_min = w->to_min;
    }
    return end_min == 0 ? 0 : moment_after(w->zone, day * DAY_S + end_min * 60, unix_ms);
}

int64_t tpi_alert_windows_end(const struct tpi_alert_config *c, int64_t unix_ms)
{
    int64_t end = unix_ms;
    /* One that begins as another ends goes on; all of them may follow one another once. */
    for (uint32_t round = 0; c != NULL && round < c->window_count; round++) {
        int64_t from = end;
        for (uint32_t i = 0; i < c->window_count; i++) {
            int64_t e = window_end(&c->windows[i], from);
            end = e > end ? e : end;
        }
        if (end == from) {
            break;
        }
    }
    return end > unix_ms ? end : 0;
}

/* ---- reading ---- */

/* "HH:MM" in minutes; -1 = it is none. 24:00 is not. */
static int32_t read_minute(const char *p)
{
    bool digits = p[0] >= '0' && p[0] <= '2' && p[1] >= '0' && p[1] <= '9' && p[2] == ':' &&
                  p[3] >= '0' && p[3] <= '5' && p[4] >= '0' && p[4] <= '9';
    int32_t hour = digits ? (p[0] - '0') * 10 + (p[1] - '0') : DAY_MIN;
    return hour < 24 ? hour * 60 + (p[3] - '0') * 10 + (p[4] - '0') : -1;
}

static int at_window(struct tpc_error *err, int code, size_t at, const char *name)
{
    tpi_error_at(err, name);
    tpi_error_at_index(err, at);
    tpi_error_at(err, "suppress");
    return code;
}

struct reading {
    struct tpi_alerts *a;
    bool loading;
};

static int read_window(const struct reading *x, const struct tpc_value *v, size_t at,
                       struct tpi_alert_window *w, struct tpc_error *err)
{
    struct tpc_str from = tpi_member_text(v, "from");
    struct tpc_str to = tpi_member_text(v, "to");
    struct tpc_str zone = tpi_member_text(v, "zone");
    const struct tpc_value *days = tpi_member(v, "weekdays");
    w->from_min = from.len == 5 ? read_minute(from.ptr) : -1;
    w->to_min = to.len == 5 ? read_minute(to.ptr) : -1;
    if (w->from_min < 0 || w->to_min < 0) {
        tpi_error_set(err, TPC_EINVAL, "alert", "a time of day is 00:00 to 23:59");
        return at_window(err, TPC_EINVAL, at, w->from_min < 0 ? "from" : "to");
    }
    int rc = tpi_zone_open(x->a->env, NULL, zone, err, &w->zone);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 && x->loading) {
        tpi_log(x->a->env, TPC_LOG_ERROR, "alert", "no time zone '%.*s': UTC instead",
                (int) zone.len, zone.ptr);
    } else if (rc != 0) {
        return at_window(err, rc, at, "zone");
    }
    w->weekdays = days == NULL ? 0xFE : 0;
    for (size_t i = 0; days != NULL && i < days->len; i++) {
        int64_t day = 0;
        (void) tpc_value_int(&days->as.items[i], &day);
        w->weekdays |= 1u << (day & 7);
    }
    return 0;
}

static void read_handlers(const struct tpc_value *list, struct tpi_alert_handlers *h)
{
    h->count = 0;
    for (size_t i = 0; list != NULL && i < list->len && i < TPI_ALERT_HANDLERS; i++) {
        h->keys[h->count++] = tpc_value_text(&list->as.items[i]);
    }
}

static uint32_t read_on(const struct tpc_value *list)
{
    uint32_t on =
        list == NULL ? TPI_ALERT_ON_RAISE | TPI_ALERT_ON_CLEAR | TPI_ALERT_ON_ESCALATE : 0;
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        struct tpc_str name = tpc_value_text(&list->as.items[i]);
        on |= tpc_str_equal(name, TPC_STR("raise"))   ? TPI_ALERT_ON_RAISE
              : tpc_str_equal(name, TPC_STR("clear")) ? TPI_ALERT_ON_CLEAR
                                                      : TPI_ALERT_ON_ESCALATE;
    }
    return on;
}

static int copy(struct tpi_alert_config *c, struct tpc_str text, struct tpc_str *ret)
{
    struct tpc_value in = { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
    struct tpc_value out;
    int rc = tpi_value_copy(&in, c->arena, &out);
    if (rc == 0) {
        *ret = tpc_value_text(&out);
    }
    return rc;
}

static int fill(struct tpi_alerts *a, struct tpi_alert_config *c, const struct tpi_change *change,
                struct tpc_error *err)
{
    struct tpc_value doc;
    int rc = tpi_value_copy(change->doc, c->arena, &doc);
    rc = rc != 0 ? rc : copy(c, change->tenant_key, &c->tenant);
    rc = rc != 0 ? rc : copy(c, change->key, &c->key);
    if (rc != 0) {
        return rc;
    }
    const struct reading x = { a, change->loading };
    const struct tpc_value *flapping = tpi_member(&doc, "flapping");
    const struct tpc_value *escalate = tpi_member(&doc, "escalate");
    const struct tpc_value *suppress = tpi_member(&doc, "suppress");
    const struct tpc_value *offline = tpi_member(&doc, "offline");
    c->id = change->id;
    c->tenant_id = change->tenant;
    c->revision = change->revision;
    c->enabled = tpi_member_bool(&doc, "enabled", true);
    c->name = tpi_member_text(&doc, "name");
    c->text = tpi_member_text(&doc, "text");
    c->severity = tpi_severity_of(tpi_member_text(&doc, "severity"));
    c->on = read_on(tpi_member(&doc, "on"));
    read_handlers(tpi_member(&doc, "notify"), &c->handlers);
    c->escalate_after_ms = tpi_member_int(escalate, "after", 0);
    c->escalate_severity = tpi_severity_of(tpi_member_text(escalate, "severity"));
    c->escalate_handlers = c->handlers;
    if (tpi_member(escalate, "notify") != NULL) {
        read_handlers(tpi_member(escalate, "notify"), &c->escalate_handlers);
    }
    c->flap_changes = flapping != NULL ? (uint32_t) tpi_member_int(flapping, "changes", 5) : 0;
    c->flap_within_ms = tpi_member_int(flapping, "within", MINUTE_MS);
    c->offline_product = tpi_member_text(offline, "product");
    c->offline_after_ms = tpi_member_int(offline, "after", 5 * (int64_t) MINUTE_MS);
    for (size_t i = 0; rc == 0 && suppress != NULL && i < suppress->len; i++) {
        rc = read_window(&x, &suppress->as.items[i], i, &c->windows[c->window_count++], err);
    }
    return rc;
}

void tpi_alert_config_unref(struct tpi_alert_config *c)
{
    if (c != NULL && atomic_fetch_sub(&c->refs, 1) == 1) {
        for (uint32_t i = 0; i < c->window_count; i++) {
            tpi_zone_destroy(c->windows[i].zone);
        }
        tpc_arena_destroy(c->arena);
        tpi_free(c->alloc, c, sizeof(*c));
    }
}

static int create(struct tpi_alerts *a, const struct tpi_change *change, struct tpc_error *err,
                  struct tpi_alert_config **ret)
{
    const struct tpc_allocator *alloc = a->env->alloc;
    struct tpi_alert_config *c = tpi_alloc_zero(alloc, sizeof(*c));
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    c->alloc = alloc;
    atomic_init(&c->refs, 1);
    int rc = tpc_arena_create(alloc, 0, &c->arena);
    rc = rc != 0 ? rc : fill(a, c, change, err);
    if (rc != 0) {
        tpi_alert_config_unref(c);
        return rc;
    }
    *ret = c;
    return 0;
}

/* ---- the map ---- */

enum { MAP_KEY_BYTES = 8 + 128 };

static size_t map_key(uint64_t tenant_id, struct tpc_str key, uint8_t *ret)
{
    size_t len = key.len < MAP_KEY_BYTES - 8 ? key.len : MAP_KEY_BYTES - 8;
    memcpy(ret, &tenant_id, 8);
    if (len > 0) {
        memcpy(ret + 8, key.ptr, len);
    }
    return 8 + len;
}

struct tpi_alert_config *tpi_alert_config_get(struct tpi_alerts *a, uint64_t tenant_id,
                                              struct tpc_str key)
{
    uint8_t name[MAP_KEY_BYTES];
    size_t len = map_key(tenant_id, key, name);
    pthread_mutex_lock(&a->config_lock);
    void *found = tpi_map_get(&a->configs, name, len);
    struct tpi_alert_config *c = found != a ? found : NULL;
    if (c != NULL) {
        atomic_fetch_add(&c->refs, 1);
    }
    pthread_mutex_unlock(&a->config_lock);
    return c;
}

/* Keeps a place for it, so that apply needs no memory. */
static int keep_place(struct tpi_alerts *a, const struct tpi_change *change)
{
    uint8_t name[MAP_KEY_BYTES];
    size_t len = map_key(change->tenant, change->key, name);
    pthread_mutex_lock(&a->config_lock);
    int rc = tpi_map_get(&a->configs, name, len) != NULL
                 ? 0
                 : tpi_map_put(&a->configs, name, len, a, NULL);
    pthread_mutex_unlock(&a->config_lock);
    return rc;
}

static int check_product(struct tpi_alerts *a, const struct tpi_alert_config *c,
                         struct tpc_error *err)
{
    if (c->offline_product.len == 0) {
        return 0;
    }
    tpi_registry_read_lock(a->host.registry);
    bool there = tpi_registry_product(a->host.registry, c->tenant, c->offline_product) != NULL;
    tpi_registry_read_unlock(a->host.registry);
    if (!there) {
        tpi_error_set(err, TPC_ENOENT, "alert", "no product '%.*s'", (int) c->offline_product.len,
                      c->offline_product.ptr);
        tpi_error_at(err, "offline.product");
        return TPC_ENOENT;
    }
    return 0;
}

int tpi_alert_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_alerts *a = user;
    struct tpi_alert_config *c = NULL;
    change->prepared = NULL;
    if (change->deleted) {
        return 0;
    }
    int rc = create(a, change, err, &c);
    /* One whose product has gone waits for it; it does not stop the start. */
    rc = rc != 0 || change->loading ? rc : check_product(a, c, err);
    rc = rc != 0 ? rc : keep_place(a, change);
    if (rc != 0) {
        tpi_alert_config_unref(c);
        return rc == TPC_ENOMEM ? tpi_error_set(err, rc, "alert", "out of memory") : rc;
    }
    change->prepared = c;
    return 0;
}

void tpi_alert_apply(void *user, struct tpi_change *change)
{
    struct tpi_alerts *a = user;
    struct tpi_alert_config *c = change->prepared;
    uint8_t name[MAP_KEY_BYTES];
    size_t len = map_key(change->tenant, change->key, name);
    void *old = NULL;
    pthread_mutex_lock(&a->config_lock);
    if (c != NULL) {
        (void) tpi_map_put(&a->configs, name, len, c, &old); /* replaces: needs no memory */
    } else {
        old = tpi_map_remove(&a->configs, name, len);
    }
    struct tpi_alert_config *gone = old != a ? old : NULL;
    if (c != NULL && gone != NULL) {
        tpi_alert_tally_move(&c->tally, &gone->tally);
    }
    atomic_fetch_add(&a->offline, c != NULL && c->offline_product.len > 0);
    atomic_fetch_sub(&a->offline, gone != NULL && gone->offline_product.len > 0);
    pthread_mutex_unlock(&a->config_lock);
    tpi_alert_config_unref(gone);
    atomic_fetch_add(&a->generation, 1);
}

void tpi_alert_discard(void *user, struct tpi_change *change)
{
    struct tpi_alerts *a = user;
    uint8_t name[MAP_KEY_BYTES];
    size_t len = map_key(change->tenant, change->key, name);
    if (change->prepared == NULL) {
        return;
    }
    pthread_mutex_lock(&a->config_lock);
    if (tpi_map_get(&a->configs, name, len) == a) {
        (void) tpi_map_remove(&a->configs, name, len);
    }
    pthread_mutex_unlock(&a->config_lock);
    tpi_alert_config_unref(change->prepared);
    change->prepared = NULL;
}
