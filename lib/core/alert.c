/*
 * Alerts in the core: what rules wish on its way to the owner of the device, messages into the log, rows
 * into the store.
 */
#include "rules/alert.h"

#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "data/msg.h"
#include "registry/about.h"

enum {
    PAGE = 1000, /* rows read at a time */
    READ_ARENA_BYTES = 4 << 20,
    PENDING_MAX = 4096, /* rows in memory: then a commit comes first */
    TRANSACTION = 256,
    SAVE_MS = 1000, /* between two commits that only alerts ask for */
    KEY_BYTES = 128
};

static const char kind[] = "alert";

/* ---- wishes of rules ---- */

/* Its texts follow. */
struct wish {
    struct tpi_effect effect;
    struct tpi_alert_wish what; /* what.device is counted */
    size_t bytes;
};

static void free_wish(struct tpc_core *core, struct wish *x)
{
    atomic_fetch_sub(&core->rule_pending, 1);
    tpi_device_unref(x->what.device);
    tpi_free(core->env.alloc, x, x->bytes);
}

static void drop_wish(struct tpi_worker *w, struct tpi_node *node)
{
    free_wish(w->core, (struct wish *) (void *) node);
}

static void run_wish(struct tpi_worker *w, struct tpi_node *node)
{
    struct wish *x = (struct wish *) (void *) node;
    struct tpc_core *core = w->core;
    bool gone = atomic_load_explicit(&x->what.device->deleted, memory_order_relaxed);
    int rc = gone ? 0 : tpi_alerts_wish(core->alerts, w->index, &x->what, NULL);
    if (rc != 0 && tpi_effect_hold(w, &x->effect, rc)) {
        tpi_count(&core->counters.append_waits, 1);
        return;
    }
    if (rc != 0 && rc != TPC_EDENIED && rc != TPC_ETOOBIG) {
        tpi_count(&core->counters.rule_messages_lost, 1);
        tpi_log(&core->env, TPC_LOG_WARN, "alert", "'%.*s' of %s is lost: %s",
                (int) x->what.key.len, x->what.key.ptr, x->what.device->key.ptr,
                tpc_error_name(rc));
    }
    free_wish(core, x);
}

static struct tpc_str put_text(char **at, struct tpc_str text)
{
    struct tpc_str ret = { *at, text.len };
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    *at += text.len;
    return ret;
}

int tpi_alert_say(struct tpc_core *core, uint32_t worker, const struct tpi_rule_message *m)
{
    struct tpc_str text = tpc_value_text(tpc_value_get(m->params, TPC_STR("text")));
    struct tpc_str state = tpc_value_text(tpc_value_get(m->params, TPC_STR("state")));
    struct tpc_str severity = tpc_value_text(tpc_value_get(m->params, TPC_STR("severity")));
    size_t bytes = sizeof(struct wish) + m->name.len + m->by.len + text.len;
    struct wish *x = tpi_alloc(core->env.alloc, bytes);
    if (x == NULL) {
        return TPC_ENOMEM;
    }
    char *at = (char *) (x + 1);
    *x = (struct wish){ .effect = { .node = { .run = run_wish, .drop = drop_wish },
                                    .partition = m->partition },
                        .what = { .id = m->id,
                                  .device = tpi_device_ref(m->device),
                                  .raise = tpc_str_equal(state, TPC_STR("raised")),
                                  .severity = tpi_severity_of(severity),
                                  .unix_ms = tpi_unix_ms(&core->env),
                                  .has_source = m->has_source,
                                  .source_partition = m->source_partition,
                                  .source_offset = m->source_offset,
                                  .replayed = core->replaying || m->again },
                        .bytes = bytes };
    x->what.key = put_text(&at, m->name);
    x->what.by = put_text(&at, m->by);
    x->what.text = put_text(&at, text);
    tpi_effect_queue(&core->workers[worker], &x->effect);
    return 0;
}

/* ---- the log ---- */

static struct tpc_str word(const struct tpc_value *params, const char *name)
{
    return tpc_value_text(tpc_value_get(params, tpc_str_from(name)));
}

static int append(void *user, uint32_t worker, const struct tpi_alert_message *messages,
                  uint32_t count)
{
    struct tpc_core *core = user;
    struct tpc_record records[TPI_ALERT_HANDLERS + 1];
    size_t starts[TPI_ALERT_HANDLERS + 2];
    struct tpc_error err = { .size = sizeof(err) };
    struct tpi_buf bodies;
    int rc = 0;
    tpi_buf_init(&bodies, core->env.alloc, 0);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const struct tpi_alert_message *from = &messages[i];
        struct tpc_msg m = { .size = sizeof(m),
                             .kind = from->kind,
                             .id = from->id,
                             .name = from->name,
                             .origin = from->by,
                             .params = from->params,
                             .point_size = sizeof(struct tpc_point) };
        char about[TPI_ABOUT_BYTES];
        if (from->kind == TPC_MSG_NOTIFY) {
            m.correlation = tpi_about_write(about, word(&from->params, "tenant"), TPC_STR(""),
                                            word(&from->params, "device"));
        }
        starts[i] = bodies.len;
        rc = tpi_msg_encode(&m, &bodies);
        records[i] = (struct tpc_record){ .size = sizeof(records[i]),
                                          .kind = from->kind,
                                          .partition = from->partition,
                                          .device_id = from->device_id,
                                          .unix_ms = from->unix_ms,
                                          .received_unix_ms = from->unix_ms };
    }
    starts[count] = bodies.len;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        records[i].body = (struct tpc_bytes){ bodies.ptr + starts[i], starts[i + 1] - starts[i] };
    }
    rc = rc != 0 ? rc
                 : tpi_log_append(&core->workers[worker], records, count, TPC_APPEND_RESERVE, &err);
    tpi_buf_fini(&bodies);
    return rc;
}

static bool said(void *user, const struct tpc_id *id)
{
    struct tpc_core *core = user;
    return tpi_map_get(&core->said, id->b, sizeof(id->b)) != NULL;
}

int tpi_core_alerts(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_alerts_host host = { .user = core,
                                    .registry = core->registry,
                                    .workers = core->worker_count,
                                    .keep_ms = core->options.alert_keep_ms,
                                    .keep_rows = core->options.alert_keep_rows,
                                    .append = append,
                                    .said = said };
    return core->alerts != NULL ? 0 : tpi_alerts_create(&core->env, &host, err, &core->alerts);
}

/* Until what is appended stands in the table, no cursor passes it over. */
bool tpi_alert_turn(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    if (w->presence.registry == NULL || core->replaying ||
        !tpi_alerts_due(core->alerts, w->index)) {
        return false;
    }
    atomic_fetch_add(&core->rule_pending, 1);
    bool did = tpi_alerts_turn(core->alerts, w->index);
    atomic_fetch_sub(&core->rule_pending, 1);
    return did;
}

uint64_t tpi_alert_next_ms(struct tpi_worker *w)
{
    return w->presence.registry == NULL ? UINT64_MAX
                                        : tpi_alerts_next_ms(w->core->alerts, w->index);
}

void tpi_alert_gone(struct tpi_worker *w, const struct tpc_device *d)
{
    if (w->presence.registry == NULL) {
        return; /* the next start finds that it has gone */
    }
    atomic_fetch_add(&w->core->rule_pending, 1);
    int rc = tpi_alerts_gone(w->core->alerts, w->index, d);
    atomic_fetch_sub(&w->core->rule_pending, 1);
    if (rc != 0) {
        tpi_log(&w->core->env, TPC_LOG_WARN, "alert",
                "alerts of %s, which was deleted, stay until the next start: %s", d->key.ptr,
                tpc_error_name(rc));
    }
}

/* ---- rows ---- */

/* A row on its way to the store; its document follows. */
struct row {
    struct tpi_node node;
    char key[TPC_ID_TEXT_BYTES + 1];
    struct tpc_field device;
    char device_key[KEY_BYTES];
    int64_t unix_ms;
    size_t len; /* 0 = it is to be deleted */
};

static int keep_row(void *user, struct tpc_str key, struct tpc_str device, struct tpc_bytes doc)
{
    struct tpc_core *core = user;
    struct tpi_pump *p = &core->pump;
    if (p->alert_count >= PENDING_MAX) {
        return TPC_EAGAIN;
    }
    struct row *r = tpi_alloc_zero(tpi_env_reserve(&core->env), sizeof(*r) + doc.len);
    if (r == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(r->key, key.ptr, TPC_ID_TEXT_BYTES);
    r->unix_ms = tpi_unix_ms(&core->env);
    r->len = doc.len;
    if (doc.len > 0) {
        memcpy(r + 1, doc.ptr, doc.len);
    }
    size_t n = device.len < KEY_BYTES ? device.len : KEY_BYTES;
    if (n > 0) {
        memcpy(r->device_key, device.ptr, n);
    }
    r->device = (struct tpc_field){ TPC_STR("device"), { r->device_key, n } };
    *(p->alert_last != NULL ? &p->alert_last->next : &p->alert_first) = &r->node;
    p->alert_last = &r->node;
    p->alert_count++;
    return 0;
}

int tpi_alert_take(struct tpc_core *core)
{
    return tpi_alerts_take(core->alerts, core->pump.alert_arena, keep_row, core);
}

static void drop_rows(struct tpc_core *core, uint32_t n)
{
    struct tpi_pump *p = &core->pump;
    while (n-- > 0 && p->alert_first != NULL) {
        struct row *r = (struct row *) (void *) p->alert_first;
        p->alert_first = r->node.next;
        p->alert_count--;
        tpi_free(core->env.alloc, r, sizeof(*r) + r->len);
    }
    p->alert_last = p->alert_first != NULL ? p->alert_last : NULL;
}

void tpi_alert_drop_rows(struct tpc_core *core)
{
    drop_rows(core, UINT32_MAX);
}

static void fill_op(struct tpc_store_op *op, const struct row *r)
{
    *op = (struct tpc_store_op){ .size = sizeof(*op),
                                 .type = r->len > 0 ? TPC_STORE_PUT : TPC_STORE_DELETE,
                                 .expect = TPC_ANY_REV };
    op->row = (struct tpc_row){ .size = sizeof(op->row),
                                .space = TPC_SPACE_RECORD,
                                .kind = tpc_str_from(kind),
                                .key = { r->key, TPC_ID_TEXT_BYTES },
                                .revision = 1,
                                .created_unix_ms = r->unix_ms,
                                .modified_unix_ms = r->unix_ms,
                                .doc = { (const uint8_t *) (r + 1), r->len },
                                .fields = &r->device,
                                .field_count = 1,
                                .field_size = sizeof(struct tpc_field) };
}

/* Two rows of one alert do not stand in one transaction: engines may refuse that. */
static bool is_among(const struct tpc_store_op *ops, uint32_t n, const struct row *r)
{
    for (uint32_t i = 0; i < n; i++) {
        if (memcmp(ops[i].row.key.ptr, r->key, TPC_ID_TEXT_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

int tpi_alert_store(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *part = core->entities_part;
    struct tpc_store_op ops[TRANSACTION];
    int rc = 0;
    while (rc == 0 && core->pump.alert_first != NULL) {
        uint32_t n = 0;
        for (struct tpi_node *at = core->pump.alert_first; at != NULL && n < TRANSACTION;
             at = at->next) {
            const struct row *r = (const struct row *) (const void *) at;
            if (is_among(ops, n, r)) {
                break;
            }
            fill_op(&ops[n++], r);
        }
        rc = part->ops->store.transact(part->self, ops, n, sizeof(ops[0]), err);
        drop_rows(core, rc == 0 ? n : 0);
    }
    core->pump.last_alert_ms = tpi_mono_ms(&core->env);
    return rc;
}

uint64_t tpi_alert_store_due_ms(struct tpc_core *core)
{
    if (core->pump.alert_count == 0 && !tpi_alerts_dirty(core->alerts)) {
        return UINT64_MAX;
    }
    uint64_t now = tpi_mono_ms(&core->env);
    uint64_t at = core->pump.last_alert_ms + SAVE_MS;
    return at > now ? at - now : 0;
}

/* ---- reading them ---- */

struct page {
    struct tpc_core *core;
    struct tpc_arena *arena;
    uint32_t seen;
    uint32_t bad;
    char last[KEY_BYTES];
    size_t last_len;
};

static int take_row(void *user, const struct tpc_row *row)
{
    struct page *p = user;
    p->last_len = row->key.len < sizeof(p->last) ? row->key.len : sizeof(p->last);
    memcpy(p->last, row->key.ptr, p->last_len);
    p->seen++;
    int rc = tpi_alerts_load(p->core->alerts, row->doc, p->arena);
    p->bad += rc == TPC_ECORRUPT;
    return rc == TPC_ECORRUPT ? 0 : rc;
}

/* With setup_lock. */
static int load(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *store = core->entities_part;
    struct page p = { .core = core };
    int rc = tpc_arena_create(core->env.alloc, READ_ARENA_BYTES, &p.arena);
    tpi_alerts_reset(core->alerts);
    for (bool more = true; rc == 0 && more;) {
        struct tpc_store_query q = { .size = sizeof(q),
                                     .space = TPC_SPACE_RECORD,
                                     .kind = tpc_str_from(kind),
                                     .after_key = { p.last, p.last_len },
                                     .limit = PAGE };
        p.seen = 0;
        rc = store->ops->store.query(store->self, &q, take_row, &p);
        more = p.seen == PAGE;
    }
    tpc_arena_destroy(p.arena);
    if (p.bad > 0) {
        tpi_log(&core->env, TPC_LOG_WARN, "alert", "%u stored alerts cannot be read",
                (unsigned) p.bad);
    }
    return rc == 0 ? 0 : tpi_error_set(err, rc, "alert", "alerts cannot be read from the store");
}

int tpi_alert_load(struct tpc_core *core, struct tpc_error *err)
{
    pthread_mutex_lock(&core->setup_lock);
    tpi_alert_drop_rows(core); /* of an earlier run: its rows come again from the log */
    int rc = load(core, err);
    core->alerts_mine = true;
    pthread_mutex_unlock(&core->setup_lock);
    return rc;
}

int tpi_alert_refresh(struct tpc_core *core, struct tpc_error *err)
{
    pthread_mutex_lock(&core->setup_lock);
    int rc = core->alerts_mine ? 0 : load(core, err);
    pthread_mutex_unlock(&core->setup_lock);
    return rc;
}
