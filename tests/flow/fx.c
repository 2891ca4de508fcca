#include "fx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char thermo[] = TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": {
        "properties": [
            { "id": "temperature", "type": "double", "min": -40, "max": 1000000 },
            { "id": "on", "type": "bool", "access": "rw" },
            { "id": "seq", "type": "int" },
            { "id": "mode", "type": "enum",
              "values": [ { "name": "off", "value": 0 }, { "name": "eco", "value": 1 } ] },
            { "id": "note", "type": "text", "length": 16 },
            { "id": "serial", "type": "text", "role": "attribute" }
        ],
        "services": [
            { "id": "beep", "idempotent": true, "input": [ { "id": "times", "type": "int", "min": 1, "max": 9 } ] },
            { "id": "open", "input": [] }
        ]
    }
});

bool fx_has_sqlite(void)
{
#ifdef FX_WITH_SQLITE
    return true;
#else
    return false;
#endif
}

bool fx_has_lua(void)
{
#ifdef FX_WITH_LUA
    return true;
#else
    return false;
#endif
}

bool fx_has_sim(void)
{
#ifdef FX_WITH_SIM
    return true;
#else
    return false;
#endif
}

bool fx_has_mqtt(void)
{
#ifdef FX_WITH_MQTT
    return true;
#else
    return false;
#endif
}

void fx_init(struct fx *f, uint32_t workers, uint32_t parts)
{
    memset(f, 0, sizeof(*f));
    tk_env_init(&f->e);
    tk_ok(tpc_core_options_init(&f->o, sizeof(f->o)));
    f->o.online_delay_ms = TPC_NO_DELAY;
    f->o.workers = workers;
    f->o.allocator = &f->e.alloc.base;
    f->o.files = &f->e.files.base;
    f->o.clock = workers == 0 ? &f->e.clock.base : NULL;
    f->o.on_log = f->e.env.log;
    f->o.log_user = &f->e;
    f->parts = parts;
    f->devices = "t1,t2,fan1,fan2";
    snprintf(f->dir, sizeof(f->dir), "%s-%d", tk_tmpdir(), (int) getpid());
    ck_assert_int_eq(mkdir(f->dir, 0700), 0);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    probe_forget();
}

void fx_fini(struct fx *f)
{
    fx_close(f);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    tk_env_fini(&f->e);
}

static int open_stores(struct fx *f)
{
    char options[800];
    int rc = 0;
    if ((f->parts & FX_FILE_LOG) != 0) {
        snprintf(options, sizeof(options), "{\"dir\":\"%s/log\",\"reserve\":0,\"ack\":\"%s\"%s%s}",
                 f->dir, (f->parts & FX_SYNCED) != 0 ? "synced" : "written",
                 f->log_options[0] != '\0' ? "," : "", f->log_options);
        rc = tpc_core_open(f->core, "log", "file", tpc_str_from(options));
    }
    if (rc == 0 && (f->parts & FX_SQLITE) != 0) {
        snprintf(options, sizeof(options), "{\"dir\":\"%s\",\"busy_timeout\":\"0\"%s%s%s%s%s}",
                 f->dir, f->store_options[0] != '\0' ? "," : "", f->store_options,
                 f->vfs[0] != '\0' ? ",\"vfs\":\"" : "", f->vfs, f->vfs[0] != '\0' ? "\"" : "");
        rc = tpc_core_open(f->core, "store", "sqlite", tpc_str_from(options));
    }
    return rc;
}

int fx_child(void (*fn)(void *user), void *user)
{
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        tk_in_child(fn, user);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int keep_last(void *user, const char *name)
{
    char *last = user;
    size_t len = strlen(name);
    if (len > 4 && len < 60 && strcmp(name + len - 4, ".tpl") == 0 && strcmp(name, last) > 0) {
        memcpy(last, name, len + 1);
    }
    return 0;
}

void fx_segment(struct fx *f, char ret_path[400])
{
    char dir[340];
    char last[64] = "";
    snprintf(dir, sizeof(dir), "%s/log", f->dir);
    tk_ok(f->e.files.base.list(f->e.files.base.user, dir, keep_last, last, NULL));
    ck_assert_msg(last[0] != '\0', "no segment in %s", dir);
    snprintf(ret_path, 400, "%s/%s", dir, last);
}

int fx_make(struct fx *f)
{
    int rc = tpc_core_create(&f->o, &f->core);
    if (rc != 0) {
        return rc;
    }
#ifdef FX_WITH_SQLITE
    rc = rc != 0 ? rc : tpc_core_add_module(f->core, tpc_module_sqlite());
#endif
#ifdef FX_WITH_LUA
    rc = rc != 0 ? rc : tpc_core_add_module(f->core, tpc_module_lua());
#endif
#ifdef FX_WITH_SIM
    rc = rc != 0 ? rc : tpc_core_add_module(f->core, tpc_module_sim());
#endif
#ifdef FX_WITH_MQTT
    rc = rc != 0 ? rc : tpc_core_add_module(f->core, tpc_module_mqtt());
#endif
    rc = rc != 0 ? rc : tpc_core_add_module(f->core, tpc_module_probe());
    rc = rc != 0 ? rc : open_stores(f);
    if (rc == 0 && (f->parts & FX_PROBE) != 0) {
        char options[200];
        snprintf(options, sizeof(options), "{\"devices\":\"%s\"}", f->devices);
        rc = tpc_core_open(f->core, "probe", "probe", tpc_str_from(options));
    }
    return rc;
}

void fx_ok(int rc, const char *what)
{
    ck_assert_msg(rc == 0, "%s: %s: %s (%s)", what, tpc_error_name(rc), tpc_error_last()->text,
                  tpc_error_last()->path);
}

void fx_open(struct fx *f)
{
    fx_ok(fx_make(f), "open");
}

void fx_put(struct fx *f, const char *kind, const char *json)
{
    fx_ok(tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL), json);
}

void fx_entities(struct fx *f)
{
    static const char *const devices[] = { "t1", "t2", "fan1", "fan2" };
    fx_put(f, "product", thermo);
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        char json[100];
        snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"thermo\"}", devices[i]);
        fx_put(f, "device", json);
    }
}

void fx_start(struct fx *f)
{
    fx_ok(tpc_core_start(f->core), "start");
}

void fx_run(struct fx *f)
{
    fx_open(f);
    fx_entities(f);
    fx_start(f);
}

void fx_close(struct fx *f)
{
    for (uint32_t i = 0; i < f->held_count; i++) {
        tpc_device_unref(f->held[i]);
    }
    f->held_count = 0;
    (void) tpc_core_destroy(f->core);
    f->core = NULL;
    f->fed = 0;
    f->done = 0;
    f->failed = 0;
}

struct tpc_device *fx_device(struct fx *f, const char *key)
{
    struct tpc_device_info info = { .size = sizeof(info) };
    for (uint32_t i = 0; i < f->held_count; i++) {
        /* No check where nothing can fail: each one is a record in a file of the test's runner. */
        (void) tpc_device_info(f->held[i], &info);
        if (tpc_str_equal(info.key, tpc_str_from(key))) {
            return f->held[i];
        }
    }
    ck_assert_uint_lt(f->held_count, FX_DEVICES);
    fx_ok(tpc_device_open(f->core, tpc_str_from(key), &f->held[f->held_count]), key);
    return f->held[f->held_count++];
}

static void on_done(void *user, int error)
{
    struct fx *f = user;
    pthread_mutex_lock(&f->lock);
    f->done++;
    f->failed += error != 0;
    f->last_error = error;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

int fx_feed_bytes(struct fx *f, const char *key, const void *ptr, size_t len)
{
    int rc = tpc_feed(fx_device(f, key), (struct tpc_bytes){ ptr, len }, on_done, f);
    f->fed += rc == 0;
    return rc;
}

int fx_feed(struct fx *f, const char *key, const char *text)
{
    return fx_feed_bytes(f, key, text, strlen(text));
}

int fx_feed_seq(struct fx *f, const char *key, int seq)
{
    char text[40];
    int n = snprintf(text, sizeof(text), "{\"seq\":%d}", seq);
    struct tpc_frame frame = { .size = sizeof(frame),
                               .unix_ms = INT64_C(1795176000000) + (int64_t) seq * 10 };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
    int rc = tpc_feed_frame(fx_device(f, key), &frame, on_done, f);
    f->fed += rc == 0;
    return rc;
}

int fx_step(struct fx *f)
{
    return f->o.workers == 0 ? tpc_core_step(f->core, 0, NULL) : 0;
}

static bool wait_done(struct fx *f)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 20;
    int rc = 0;
    pthread_mutex_lock(&f->lock);
    while (f->done < f->fed && rc == 0) {
        rc = pthread_cond_timedwait(&f->changed, &f->lock, &t);
    }
    bool all = f->done >= f->fed;
    pthread_mutex_unlock(&f->lock);
    return all;
}

void fx_settle(struct fx *f)
{
    if (f->o.workers > 0) {
        ck_assert_msg(wait_done(f), "%zu of %zu feeds are done after 20 s", f->done, f->fed);
        return;
    }
    for (int i = 0; i < 50 && f->done < f->fed; i++) {
        (void) tpc_core_step(f->core, 0, NULL);
        if (f->done < f->fed) {
            tk_clock_advance(&f->e.clock, 50);
        }
    }
    ck_assert_msg(f->done == f->fed, "%zu of %zu feeds are done", f->done, f->fed);
}

struct wanted {
    const char *name;
    double value;
    bool found;
};

static int on_metric(void *user, const struct tpc_metric *m)
{
    struct wanted *w = user;
    if (strcmp(m->name, w->name) == 0) {
        w->value += m->value;
        w->found = true;
    }
    return 0;
}

double fx_metric(struct fx *f, const char *name)
{
    struct wanted w = { name, 0, false };
    tk_ok(tpc_core_stats(f->core, on_metric, &w));
    ck_assert_msg(w.found, "no metric %s", name);
    return w.value;
}

struct letters {
    size_t count;
    struct fx_letter *last;
};

static void copy(char *to, size_t cap, struct tpc_str s)
{
    snprintf(to, cap, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
}

static int on_letter(void *user, const struct tpc_dead_letter *d)
{
    struct letters *l = user;
    l->count++;
    if (l->last != NULL) {
        struct fx_letter *x = l->last;
        memset(x, 0, sizeof(*x));
        x->partition = d->partition;
        x->offset = d->offset;
        x->code = d->code;
        copy(x->device, sizeof(x->device), d->device);
        copy(x->origin, sizeof(x->origin), d->origin);
        copy(x->topic, sizeof(x->topic), d->topic);
        copy(x->reason, sizeof(x->reason), d->reason);
        x->len = d->raw.len;
        if (d->raw.len > 0) {
            memcpy(x->raw, d->raw.ptr, d->raw.len < FX_BYTES ? d->raw.len : FX_BYTES);
        }
    }
    return 0;
}

size_t fx_letters(struct fx *f, struct fx_letter *ret_last)
{
    struct letters l = { 0, ret_last };
    tk_ok(tpc_dead_letters(f->core, on_letter, &l));
    return l.count;
}

bool fx_known(struct fx *f, const char *key, const char *property)
{
    struct tpc_value v;
    uint8_t room[256];
    struct tpc_buf buf = { room, sizeof(room), 0 };
    return tpc_latest_get(fx_device(f, key), tpc_str_from(property), &buf, &v, NULL) == 0;
}

double fx_latest(struct fx *f, const char *key, const char *property)
{
    struct tpc_value v;
    double d = NAN;
    fx_ok(tpc_latest_get(fx_device(f, key), tpc_str_from(property), NULL, &v, NULL), property);
    tk_ok(tpc_value_double(&v, &d));
    return d;
}

static void count_batch(const struct tpc_row_batch *b, struct fx_rows *r, int64_t *before)
{
    const struct tpc_column *c = b->columns;
    for (uint32_t i = 0; i < b->count; i++) {
        struct tpc_value v;
        double d = NAN;
        if (tpc_column_value(c, i, &v) == 0) {
            continue;
        }
        tk_ok(tpc_value_double(&v, &d));
        r->ordered &= b->unix_ms[i] > *before;
        r->growing &= r->count == 0 || fabs(d - r->last - 1) < 0.5;
        *before = b->unix_ms[i];
        r->first = r->count == 0 ? d : r->first;
        r->last = d;
        r->sum += d;
        r->count++;
    }
}

struct fx_rows fx_history(struct fx *f, const char *key, const char *property)
{
    struct fx_rows r = { .ordered = true, .growing = true };
    struct tpc_device *d = fx_device(f, key);
    struct tpc_str name = tpc_str_from(property);
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_rows *rows;
    const struct tpc_row_batch *b;
    int64_t before = INT64_MIN;
    int rc;
    q.devices = &d;
    q.device_count = 1;
    q.properties = &name;
    q.property_count = 1;
    fx_ok(tpc_history_query(f->core, &q, &rows), "query");
    while ((rc = tpc_rows_next(rows, &b)) > 0) {
        count_batch(b, &r, &before);
    }
    tk_ok(rc);
    tpc_rows_close(rows);
    return r;
}

void fx_still_works(struct fx *f)
{
    static int seq = 100;
    char text[80];
    snprintf(text, sizeof(text), "{\"seq\":%d,\"mode\":\"eco\"}", ++seq);
    size_t failed = f->failed;
    fx_ok(fx_feed(f, "t2", text), text);
    fx_settle(f);
    ck_assert_uint_eq(f->failed, failed);
    ck_assert_double_eq(fx_latest(f, "t2", "seq"), seq);
}

void fx_error_says(const char *part)
{
    const struct tpc_error *e = tpc_error_last();
    ck_assert_msg(strstr(e->text, part) != NULL || strstr(e->path, part) != NULL,
                  "\"%s\" is not in \"%s\" (%s)", part, e->text, e->path);
}
