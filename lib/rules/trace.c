/* Steps of rules: made, kept until they are taken. */
#include "rules/trace.h"

#include "base/alloc.h"
#include "calendar/civil.h"
#include "rules/ledger.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

enum { SMALL_JSON = 256, SEEN_MAX = 64 };

/* A step that waits; its texts follow: device, text, json. */
struct step {
    struct step *next;
    struct tpc_rule_step told;
    size_t bytes; /* of the texts */
};

struct tpi_trace {
    const struct tpi_env *env;
    struct tpi_trace_options options;
    uint64_t end_ms; /* UINT64_MAX = never */
    atomic_uint refs;
    atomic_bool over;
    _Atomic uint64_t looks;
    pthread_mutex_t lock; /* guards all below */
    struct step *first;
    struct step *last;
    uint32_t waiting;
    uint64_t count;
    uint64_t lost;
};

/* ---- life ---- */

int tpi_trace_create(const struct tpi_env *env, const struct tpi_trace_options *options,
                     struct tpi_trace **ret)
{
    struct tpi_trace *t = tpi_alloc_zero(env->alloc, sizeof(*t));
    if (t == NULL) {
        return TPC_ENOMEM;
    }
    t->env = env;
    t->options = *options;
    t->end_ms = options->ms > 0 ? tpi_mono_ms(env) + options->ms : UINT64_MAX;
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return 0;
}

struct tpi_trace *tpi_trace_ref(struct tpi_trace *t)
{
    if (t != NULL) {
        atomic_fetch_add(&t->refs, 1);
    }
    return t;
}

static void free_step(struct tpi_trace *t, struct step *s)
{
    tpi_free(t->env->alloc, s, sizeof(*s) + s->bytes);
}

void tpi_trace_unref(struct tpi_trace *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1) {
        return;
    }
    for (struct step *s = t->first, *next; s != NULL; s = next) {
        next = s->next;
        free_step(t, s);
    }
    pthread_mutex_destroy(&t->lock);
    tpi_free(t->env->alloc, t, sizeof(*t));
}

void tpi_trace_end(struct tpi_trace *t)
{
    atomic_store(&t->over, true);
}

bool tpi_trace_over(struct tpi_trace *t)
{
    if (tpi_mono_ms(t->env) >= t->end_ms) {
        tpi_trace_end(t);
    }
    return atomic_load(&t->over);
}

uint64_t tpi_trace_count(struct tpi_trace *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t n = t->count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

uint64_t tpi_trace_lost(struct tpi_trace *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t n = t->lost;
    pthread_mutex_unlock(&t->lock);
    return n;
}

static struct step *pop(struct tpi_trace *t)
{
    pthread_mutex_lock(&t->lock);
    struct step *s = t->first;
    if (s != NULL) {
        t->first = s->next;
        t->last = t->first != NULL ? t->last : NULL;
        t->waiting--;
    }
    pthread_mutex_unlock(&t->lock);
    return s;
}

int tpi_trace_take(struct tpi_trace *t, tpc_rule_step_fn *fn, void *user)
{
    int rc = 0;
    struct step *s;
    while (rc == 0 && (s = pop(t)) != NULL) {
        rc = fn(user, &s->told);
        free_step(t, s);
    }
    return rc;
}

/* ---- steps ---- */

struct tpi_trace *tpi_trace_look(struct tpi_tally *tally, uint64_t device)
{
    struct tpi_trace *t = tally->trace;
    if (t == NULL) {
        return NULL;
    }
    if (tpi_trace_over(t)) {
        tally->trace = NULL;
        tally->usual = TPI_LEDGER_SAMPLE - 1;
        tpi_trace_unref(t);
        return NULL;
    }
    if (t->options.device != 0 && device != 0 && t->options.device != device) {
        return NULL;
    }
    return t;
}

void tpi_trace_told(struct tpi_trace *t)
{
    if (t != NULL && t->options.looks > 0 &&
        atomic_fetch_add(&t->looks, 1) + 1 >= t->options.looks) {
        tpi_trace_end(t);
    }
}

bool tpi_trace_enter(struct tpi_trace **place, struct tpi_tally *t, uint64_t device)
{
    if (*place == NULL) {
        *place = tpi_trace_look(t, device);
        return *place != NULL;
    }
    return false;
}

void tpi_trace_leave(struct tpi_trace **place, bool entered)
{
    if (entered) {
        tpi_trace_told(*place);
        *place = NULL;
    }
}

void tpi_note_begin(struct tpi_note *n, struct tpi_trace *trace, uint32_t what,
                    struct tpc_str device, int64_t unix_ms)
{
    *n = (struct tpi_note){ .trace = trace, .what = what, .device = device, .unix_ms = unix_ms };
    tpi_buf_init(&n->text, trace->env->alloc, TPI_TRACE_TEXT);
    tpi_buf_init(&n->json, trace->env->alloc, TPI_TRACE_TEXT);
}

/* What is too long is cut off, not lost with its step. */
static void keep(struct tpi_note *n, int rc)
{
    n->rc = rc == TPC_ENOMEM ? rc : n->rc;
}

static void put_text(struct tpi_note *n, const char *fmt, va_list args) TPC_PRINTF(2, 0);
static void put_text(struct tpi_note *n, const char *fmt, va_list args)
{
    char line[1024];
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(line, sizeof(line), fmt, args);
    if (len >= 0 && (size_t) len < sizeof(line)) {
        keep(n, tpi_buf_put(&n->text, line, (size_t) len));
    } else if (len > 0) {
        int rc = tpi_buf_reserve(&n->text, (size_t) len + 1);
        if (rc == 0) {
            (void) vsnprintf((char *) n->text.ptr + n->text.len, (size_t) len + 1, fmt, again);
            n->text.len += (size_t) len;
        }
        keep(n, rc);
    }
    va_end(again);
}

void tpi_note_text(struct tpi_note *n, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_text(n, fmt, args);
    va_end(args);
}

static int put_json(struct tpi_buf *out, const struct tpc_value *v)
{
    uint8_t small[SMALL_JSON];
    struct tpc_buf buf = { small, sizeof(small), 0 };
    int rc = tpc_json_write(v, 0, &buf);
    if (rc == 0) {
        return tpi_buf_put(out, small, buf.need);
    }
    if (rc != TPC_ETOOBIG) {
        return tpi_buf_text(out, TPC_STR("null"));
    }
    rc = tpi_buf_reserve(out, buf.need);
    if (rc == 0) {
        buf = (struct tpc_buf){ out->ptr + out->len, buf.need, 0 };
        rc = tpc_json_write(v, 0, &buf);
        out->len += rc == 0 ? buf.need : 0;
    }
    return rc;
}

void tpi_note_say(struct tpi_note *n, const struct tpc_value *v)
{
    keep(n, put_json(&n->text, v));
}

static struct tpc_value text_value(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.len > 0 ? s.ptr : "" };
}

static void member(struct tpi_buf *json, struct tpi_note *n, struct tpc_str key,
                   const struct tpc_value *v)
{
    struct tpc_value name = text_value(key);
    size_t before = json->len;
    int rc = before > 0 ? tpi_buf_u8(json, ',') : 0;
    rc = rc != 0 ? rc : put_json(json, &name);
    rc = rc != 0 ? rc : tpi_buf_u8(json, ':');
    rc = rc != 0 ? rc : put_json(json, v);
    json->len = rc == 0 ? json->len : before;
    keep(n, rc);
}

void tpi_note_value(struct tpi_note *n, const char *key, const struct tpc_value *v)
{
    member(&n->json, n, tpc_str_from(key), v);
}

void tpi_note_str(struct tpi_note *n, const char *key, struct tpc_str s)
{
    struct tpc_value v = text_value(s);
    tpi_note_value(n, key, &v);
}

void tpi_note_int(struct tpi_note *n, const char *key, int64_t i)
{
    struct tpc_value v = { .type = TPC_INT, .as.i = i };
    tpi_note_value(n, key, &v);
}

static struct step *make_step(const struct tpi_note *n)
{
    size_t bytes = n->device.len + n->text.len + n->json.len + 5; /* braces, three NULs */
    struct step *s = n->rc == 0 ? tpi_alloc(n->trace->env->alloc, sizeof(*s) + bytes) : NULL;
    if (s == NULL) {
        return NULL;
    }
    char *p = (char *) (s + 1);
    struct tpc_rule_step told = { .size = sizeof(told),
                                  .what = n->what,
                                  .unix_ms = n->unix_ms,
                                  .code = n->code,
                                  .device = { p, n->device.len },
                                  .text = { p + n->device.len + 1, n->text.len } };
    told.json = (struct tpc_str){ told.text.ptr + n->text.len + 1, n->json.len + 2 };
    memset(p, 0, bytes);
    memcpy(p, n->device.len > 0 ? n->device.ptr : "", n->device.len);
    p += n->device.len + 1;
    memcpy(p, n->text.len > 0 ? (const char *) n->text.ptr : "", n->text.len);
    p += n->text.len + 1;
    p[0] = '{';
    memcpy(p + 1, n->json.len > 0 ? (const char *) n->json.ptr : "", n->json.len);
    p[n->json.len + 1] = '}';
    *s = (struct step){ .told = told, .bytes = bytes };
    return s;
}

void tpi_note_end(struct tpi_note *n)
{
    struct tpi_trace *t = n->trace;
    struct step *s = make_step(n);
    pthread_mutex_lock(&t->lock);
    t->count++;
    if (s == NULL || t->waiting == TPI_TRACE_STEPS) {
        t->lost++;
    } else {
        *(t->first != NULL ? &t->last->next : &t->first) = s;
        t->last = s;
        t->waiting++;
        s = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    if (s != NULL) {
        free_step(t, s);
    }
    tpi_buf_fini(&n->text);
    tpi_buf_fini(&n->json);
}

/* ---- what is told ---- */

void tpi_trace_decide(struct tpi_trace *t, struct tpc_str device, int64_t unix_ms, const char *word,
                      int64_t at_ms, const char *fmt, ...)
{
    struct tpi_note n;
    va_list args;
    tpi_note_begin(&n, t, TPC_STEP_DECISION, device, unix_ms);
    va_start(args, fmt);
    put_text(&n, fmt, args);
    va_end(args);
    tpi_note_str(&n, "decision", tpc_str_from(word));
    if (at_ms != 0) {
        char when[TPI_TRACE_WHEN];
        tpi_trace_time(at_ms, when);
        tpi_note_text(&n, " (%s)", when);
        tpi_note_int(&n, "at", at_ms);
    }
    tpi_note_end(&n);
}

void tpi_trace_message(struct tpi_trace *t, struct tpc_str device, const struct tpc_msg *msg)
{
    struct tpi_note n;
    tpi_note_begin(&n, t, TPC_STEP_LOOK, device, msg->received_unix_ms);
    tpi_note_text(&n, "looked at: %s of %.*s", tpc_kind_name(msg->kind), (int) device.len,
                  device.ptr);
    tpi_note_str(&n, "message", tpc_str_from(tpc_kind_name(msg->kind)));
    tpi_note_int(&n, "partition", msg->partition);
    tpi_note_int(&n, "offset", (int64_t) msg->offset);
    tpi_note_end(&n);
}

void tpi_trace_action(struct tpi_trace *t, struct tpc_str device, int64_t unix_ms,
                      const struct tpi_trace_action *a)
{
    struct tpi_note n;
    bool done = a->code == 0 || a->code == TPC_EEXIST;
    tpi_note_begin(&n, t, done ? TPC_STEP_ACTION : TPC_STEP_REFUSED, device, unix_ms);
    n.code = a->code;
    tpi_note_text(&n, "%s", a->type);
    if (a->name.len > 0 && !tpc_str_equal(a->name, tpc_str_from(a->type))) {
        tpi_note_text(&n, " %.*s", (int) a->name.len, a->name.ptr);
    }
    tpi_note_str(&n, "action", tpc_str_from(a->type));
    tpi_note_str(&n, "name", a->name);
    if (a->target.len > 0) {
        tpi_note_text(&n, " to %.*s", (int) a->target.len, a->target.ptr);
        tpi_note_str(&n, "target", a->target);
    }
    if (a->params != NULL && a->params->type != TPC_NULL) {
        tpi_note_text(&n, " ");
        tpi_note_say(&n, a->params);
        tpi_note_value(&n, "params", a->params);
    }
    if (!done) {
        const char *what = a->what != NULL ? a->what : tpc_error_name(a->code);
        tpi_note_text(&n, ": %s", what);
        tpi_note_str(&n, "error", tpc_str_from(what));
    } else if (a->code == TPC_EEXIST) {
        tpi_note_text(&n, ": done before");
    }
    tpi_note_end(&n);
}

/* ---- conditions ---- */

/* Between an expression and its host. */
struct seeing {
    const struct tpi_trace_test *x;
    const struct tpi_expr_host *host;
    void *user;
    struct tpi_note *note;
    struct tpi_buf values; /* members */
    struct tpi_buf said;   /* for people */
    uint64_t seen[SEEN_MAX];
    uint32_t count;
};

static void take_down(struct seeing *s, struct tpc_str name, bool known, const struct tpc_value *v)
{
    static const struct tpc_value null = { .type = TPC_NULL };
    const struct tpc_value *value = known ? v : &null;
    member(&s->values, s->note, name, value);
    int rc = s->said.len > 0 ? tpi_buf_text(&s->said, TPC_STR(", ")) : 0;
    rc = rc != 0 ? rc : tpi_buf_text(&s->said, name);
    rc = rc != 0 ? rc : tpi_buf_text(&s->said, TPC_STR(" = "));
    keep(s->note, rc != 0 ? rc : put_json(&s->said, value));
}

/* What of a name is asked for. */
enum { OF_VALUE, OF_PREVIOUS, OF_AGE, OF_KINDS };

/* Whether it comes for the first time; more than SEEN_MAX are not told. */
static bool is_new(struct seeing *s, uint32_t index, uint32_t what)
{
    uint64_t mark = (uint64_t) index * OF_KINDS + what;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->seen[i] == mark) {
            return false;
        }
    }
    if (s->count == SEEN_MAX) {
        return false;
    }
    s->seen[s->count++] = mark;
    return true;
}

/* "last(temperature)" */
static void take_down_of(struct seeing *s, const char *function, uint32_t index, bool known,
                         const struct tpc_value *v)
{
    char text[200];
    struct tpc_str name = s->x->name(s->x->name_user, index);
    int n = snprintf(text, sizeof(text), "%s(%.*s)", function, (int) name.len, name.ptr);
    size_t len = n > 0 && (size_t) n < sizeof(text) ? (size_t) n : 0;
    take_down(s, (struct tpc_str){ text, len }, known, v);
}

static bool see(void *user, uint32_t index, struct tpc_value *ret)
{
    struct seeing *s = user;
    bool known = s->host->load(s->user, index, ret);
    if (is_new(s, index, OF_VALUE)) {
        take_down(s, s->x->name(s->x->name_user, index), known, ret);
    }
    return known;
}

static bool see_previous(void *user, uint32_t index, struct tpc_value *ret)
{
    struct seeing *s = user;
    bool known = s->host->previous != NULL && s->host->previous(s->user, index, ret);
    if (is_new(s, index, OF_PREVIOUS)) {
        take_down_of(s, "last", index, known, ret);
    }
    return known;
}

static bool see_other(void *user, struct tpc_str device, struct tpc_str name,
                      struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    struct seeing *s = user;
    char text[512];
    bool known = s->host->other != NULL && s->host->other(s->user, device, name, scratch, ret);
    int n = snprintf(text, sizeof(text), "device('%.*s').%.*s", (int) device.len, device.ptr,
                     (int) name.len, name.ptr);
    size_t len = n > 0 && (size_t) n < sizeof(text) ? (size_t) n : 0;
    if (s->count < SEEN_MAX) {
        s->seen[s->count++] = UINT64_MAX;
        take_down(s, (struct tpc_str){ text, len }, known, ret);
    }
    return known;
}

static int64_t see_now(void *user)
{
    const struct seeing *s = user;
    return s->host->now != NULL ? s->host->now(s->user) : 0;
}

static int64_t see_event_time(void *user)
{
    const struct seeing *s = user;
    return s->host->event_time != NULL ? s->host->event_time(s->user) : 0;
}

static bool see_age(void *user, uint32_t index, int64_t *ret_ms)
{
    struct seeing *s = user;
    bool known = s->host->age != NULL && s->host->age(s->user, index, ret_ms);
    if (is_new(s, index, OF_AGE)) {
        struct tpc_value v = { .type = TPC_INT, .as.i = known ? *ret_ms : 0 };
        take_down_of(s, "age", index, known, &v);
    }
    return known;
}

static bool see_script(void *user, struct tpi_expr_script *script, const struct tpc_value *args,
                       uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct seeing *s = user;
    return s->host->script != NULL && s->host->script(s->user, script, args, count, scratch, ret);
}

/* All of them or none: it stays JSON. */
static void put_values(struct tpi_note *n, const struct tpi_buf *values)
{
    size_t before = n->json.len;
    struct tpc_str all = { (const char *) values->ptr, values->len };
    int rc = tpi_buf_text(&n->json, TPC_STR(",\"values\":{"));
    rc = rc != 0 || all.len == 0 ? rc : tpi_buf_text(&n->json, all);
    rc = rc != 0 ? rc : tpi_buf_u8(&n->json, '}');
    n->json.len = rc == 0 ? n->json.len : before;
    keep(n, rc);
}

int tpi_trace_test(const struct tpi_trace_test *x, const struct tpi_expr *e,
                   const struct tpi_expr_host *host, void *user, struct tpi_expr_scratch *scratch)
{
    static const struct tpi_expr_host seer = { .load = see,
                                               .previous = see_previous,
                                               .other = see_other,
                                               .now = see_now,
                                               .event_time = see_event_time,
                                               .age = see_age,
                                               .script = see_script };
    struct tpi_note n;
    struct seeing s = { .x = x, .host = host, .user = user, .note = &n };
    tpi_note_begin(&n, x->trace, TPC_STEP_CONDITION, x->device, x->unix_ms);
    tpi_buf_init(&s.values, x->trace->env->alloc, TPI_TRACE_TEXT);
    tpi_buf_init(&s.said, x->trace->env->alloc, TPI_TRACE_TEXT);
    int result = tpi_expr_test(e, &seer, &s, scratch);
    struct tpc_value v = { .type = result < 0 ? TPC_NULL : TPC_BOOL, .as.b = result == 1 };
    tpi_note_text(&n, "%s%s%.*s is %s", x->part, x->text.len > 0 ? ": " : "", (int) x->text.len,
                  x->text.len > 0 ? x->text.ptr : "",
                  result < 0    ? "null"
                  : result == 1 ? "true"
                                : "false");
    if (s.said.len > 0) {
        tpi_note_text(&n, " (%.*s)", (int) s.said.len, (const char *) s.said.ptr);
    }
    tpi_note_str(&n, "part", tpc_str_from(x->part));
    tpi_note_str(&n, "expr", x->text);
    tpi_note_value(&n, "result", &v);
    put_values(&n, &s.values);
    tpi_note_end(&n);
    tpi_buf_fini(&s.values);
    tpi_buf_fini(&s.said);
    return result;
}

/* ---- times ---- */

void tpi_trace_time(int64_t unix_ms, char ret[TPI_TRACE_WHEN])
{
    struct tpi_civil c;
    tpi_civil_from_local(tpi_floor_div(unix_ms, 1000), &c);
    int n = snprintf(ret, TPI_TRACE_WHEN, "%04d-%02d-%02dT%02d:%02d:%02d", c.year, c.month, c.day,
                     c.hour, c.minute, c.second);
    int ms = (int) (unix_ms - tpi_floor_div(unix_ms, 1000) * 1000);
    snprintf(ret + n, TPI_TRACE_WHEN - (size_t) n, ms != 0 ? ".%03dZ" : "Z", ms);
}

void tpi_trace_span(int64_t ms, char ret[TPI_TRACE_WHEN])
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" } };
    size_t n = 0;
    snprintf(ret, TPI_TRACE_WHEN, "0s");
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && ms > 0; i++) {
        int64_t many = ms / units[i].ms;
        if (many > 0 && n < TPI_TRACE_WHEN) {
            int len =
                snprintf(ret + n, TPI_TRACE_WHEN - n, "%lld%s", (long long) many, units[i].name);
            n += len > 0 ? (size_t) len : 0;
        }
        ms %= units[i].ms;
    }
}
