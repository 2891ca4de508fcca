/*
 * The pump: what the log has made durable goes into the history and the store, and the core's own
 * cursors follow. Order of a commit, so that a crash at any point replays and never loses:
 *   1. states of the rules are taken, with the offsets they contain, and how far commands are ended
 *   2. the log is synced: nothing that is stored may be missing in it
 *   3. states of rules, then commands: the store
 *   4. the history
 *   5. cursors
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/json.h>

#include "core/clock.h"
#include "core/command_rows.h"
#include "core/core.h"
#include "data/msg.h"
#include "registry/follow.h"

enum {
    PUMP_ARENA_BYTES = 512 << 20, /* a record of 16 MiB as a tree */
    READ_RUN = 32,                /* records that go to the history together */
    READ_SMALL_BYTES = 4096,      /* a record with more goes alone */
    SAVE_MS = 30000,              /* between two saves of the rules' states: pages of a disk each */
    SAVE_AGAIN_MS = 1000,         /* after one that could not be: a rule's message was not logged */
    SAID_TRIES = 200,
    SAID_NS = 50000,
    TRIM_MS = 1000,
    RETRY_MS = 500,
    PRESSED_MS = 200,     /* between two checkpoints that a full log asks for */
    SHRINK_MS = 50,       /* between two times that caches shrink */
    PENDING_MAX = 1 << 20 /* above it a full log waits for its disk, not for us */
};

int tpi_pump_init(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    pthread_condattr_t attr;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &attr);
    pthread_cond_init(&p->turned, &attr);
    pthread_condattr_destroy(&attr);
    tpi_map_init(&p->fresh, core->env.alloc);
    size_t n = core->options.partitions;
    p->position = tpi_alloc_array(core->env.alloc, n, sizeof(p->position[0]));
    p->rules_next = tpi_alloc_array(core->env.alloc, n, sizeof(p->rules_next[0]));
    p->downlink_next = tpi_alloc_array(core->env.alloc, n, sizeof(p->downlink_next[0]));
    if (p->position == NULL || p->rules_next == NULL || p->downlink_next == NULL) {
        return TPC_ENOMEM;
    }
    int rc = tpc_arena_create(tpi_env_reserve(&core->env), 0, &p->alert_arena);
    return rc != 0 ? rc
                   : tpc_arena_create(tpi_env_reserve(&core->env), PUMP_ARENA_BYTES, &p->arena);
}

void tpi_pump_fini(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    size_t n = core->options.partitions;
    tpi_command_rows_drop(core);
    tpi_map_fini(&p->fresh);
    tpi_free(core->env.alloc, p->position, n * sizeof(p->position[0]));
    tpi_free(core->env.alloc, p->rules_next, n * sizeof(p->rules_next[0]));
    tpi_free(core->env.alloc, p->downlink_next, n * sizeof(p->downlink_next[0]));
    tpc_arena_destroy(p->arena);
    tpc_arena_destroy(p->alert_arena);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->turned);
}

static int open_cursor(struct tpc_core *core, const char *name, struct tpc_error *err,
                       uint32_t *ret)
{
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = TPC_CURSOR_HOLD,
                                    .start = TPC_START_OLDEST,
                                    .name = tpc_str_from(name) };
    return core->bus->cursor_open(core->bus_self, &o, err, ret);
}

int tpi_pump_open(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_pump *p = &core->pump;
    int rc = open_cursor(core, "history", err, &p->cursor_history);
    if (rc != 0) {
        return rc;
    }
    p->opened = 1;
    rc = open_cursor(core, "rules", err, &p->cursor_rules);
    if (rc != 0) {
        return rc;
    }
    p->opened = 2;
    rc = open_cursor(core, "downlink", err, &p->cursor_downlink);
    if (rc == 0) {
        p->opened = 3;
    }
    p->last_save_ms = tpi_mono_ms(&core->env);
    p->last_trim_ms = p->last_save_ms;
    tpi_keep_open(core);
    tpi_command_sweep_open(core);
    p->failing = false;
    return rc;
}

void tpi_pump_close(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    uint32_t cursors[] = { p->cursor_history, p->cursor_rules, p->cursor_downlink };
    for (uint32_t i = 0; i < p->opened; i++) {
        core->bus->cursor_close(core->bus_self, cursors[i], 0);
    }
    p->opened = 0;
    tpi_command_rows_drop(core);
    tpi_audit_drop(core);
    tpi_alert_drop_rows(core);
}

/* ---- reading ---- */

int tpi_record_msg(struct tpc_core *core, const struct tpc_record *r, struct tpc_arena *arena,
                   struct tpc_msg *ret, struct tpc_device **ret_device)
{
    struct tpc_record own = *r;
    struct tpi_retimed times;
    tpi_clock_retime(&core->clock, &own, &times);
    tpi_follow_head(&own, ret);
    int rc = tpi_msg_decode(r->body, arena, NULL, ret);
    rc = rc != 0 ? rc : tpi_clock_points(&times, arena, ret);
    if (rc != 0 || ret_device == NULL) {
        return rc;
    }
    *ret_device = NULL;
    if (r->device_id != 0) {
        tpi_registry_read_lock(core->registry);
        struct tpc_device *d = tpi_registry_by_id(core->registry, r->device_id);
        if (d != NULL) {
            *ret_device = tpi_device_ref(d);
            ret->tenant = tpi_device_tenant(d);
            ret->product = tpi_device_product_key(d);
            ret->device = d->key;
        }
        tpi_registry_read_unlock(core->registry);
    }
    return 0;
}

/* Records on their way to the history, decoded: they go there some at a time. */
struct reading {
    struct tpc_core *core;
    uint32_t partition;
    uint64_t next;
    uint32_t count;
    int rc;    /* why it stopped early */
    bool held; /* .. at a record that waits for the clock */
    uint32_t pending;
    struct tpc_msg msgs[READ_RUN];
};

static int apply_read(struct reading *x)
{
    uint32_t done = 0;
    if (x->pending == 0) {
        return 0;
    }
    int rc = tpi_history_apply_some(x->core->history, x->msgs, x->pending, x->partition, &done);
    if (done > 0) {
        x->next = x->msgs[done - 1].offset + 1;
        x->count += done;
    }
    x->pending = 0;
    if (rc == TPC_EAGAIN || rc == TPC_ENOMEM) {
        x->rc = rc; /* those that are left come again after a commit */
    }
    return rc;
}

/* The body is copied: what a record points to is the log's, until this returns. */
static int decode_read(struct reading *x, const struct tpc_record *r)
{
    struct tpc_core *core = x->core;
    struct tpc_record own = *r;
    if (x->pending == 0) {
        tpc_arena_reset(core->pump.arena);
    }
    uint8_t *body = tpc_arena_take(core->pump.arena, r->body.len + 1);
    if (body == NULL) {
        return TPC_ENOMEM;
    }
    if (r->body.len > 0) {
        memcpy(body, r->body.ptr, r->body.len);
    }
    own.body = (struct tpc_bytes){ body, r->body.len };
    struct tpc_msg *m = &x->msgs[x->pending];
    int rc = tpi_record_msg(core, &own, core->pump.arena, m, NULL);
    if (rc == TPC_ECORRUPT || rc == TPC_EVERSION) {
        tpi_count(&core->counters.records_unreadable, 1);
        memset(m, 0, sizeof(*m));
        m->size = sizeof(*m);
        m->partition = r->partition;
        m->offset = r->offset;
        rc = 0;
    }
    return rc;
}

static int read_one(void *user, const struct tpc_record *r)
{
    struct reading *x = user;
    struct tpc_core *core = x->core;
    if (tpi_clock_holds(&core->clock, r)) {
        x->held = true;
        return 1;
    }
    bool sent = r->kind == TPC_MSG_COMMAND && (r->flags & TPC_MSG_REDELIVERED) == 0;
    bool alert = r->kind == TPC_MSG_ALERT;
    bool alone =
        sent || alert || r->kind == TPC_MSG_COMMAND_CLOSED || r->body.len > READ_SMALL_BYTES;
    int rc = alone || x->pending == READ_RUN ? apply_read(x) : 0;
    rc = rc != 0 ? rc : decode_read(x, r);
    rc = rc != 0 ? rc : tpi_command_rows_take(core, &x->msgs[x->pending]);
    if (rc == 0 && sent) {
        rc = tpi_audit_command(core, &x->msgs[x->pending]);
    } else if (rc == 0 && alert) {
        rc = tpi_audit_alert(core, &x->msgs[x->pending]);
    }
    if (rc == TPC_EAGAIN || rc == TPC_ENOMEM) {
        x->rc = rc; /* this one comes again after a commit */
        return rc;
    }
    x->pending++;
    return alone ? apply_read(x) : 0;
}

/* ---- committing ---- */

static int store_rows(struct tpc_core *core, const struct tpc_store_op *ops, uint32_t count,
                      struct tpc_error *err)
{
    struct tpi_part *part = core->entities_part;
    return count == 0 ? 0 : part->ops->store.transact(part->self, ops, count, sizeof(ops[0]), err);
}

static void fill_row(struct tpc_store_op *op, const char *kind, struct tpc_str key,
                     struct tpc_bytes doc, int64_t unix_ms)
{
    *op =
        (struct tpc_store_op){ .size = sizeof(*op), .type = TPC_STORE_PUT, .expect = TPC_ANY_REV };
    op->row = (struct tpc_row){ .size = sizeof(op->row),
                                .space = TPC_SPACE_RECORD,
                                .kind = tpc_str_from(kind),
                                .key = key,
                                .revision = 1,
                                .created_unix_ms = unix_ms,
                                .modified_unix_ms = unix_ms,
                                .doc = doc,
                                .field_size = sizeof(struct tpc_field) };
}

/* The state of one partition's rules as row, in the arena; *ret_next = what it contains. Its first
 * byte is a version, a varint with that offset follows. */
static int take_state(struct tpc_core *core, uint32_t partition, struct tpc_store_op *op,
                      uint64_t *ret_next)
{
    struct tpc_arena *arena = core->pump.arena;
    struct tpi_buf buf;
    struct tpi_reader r;
    tpi_buf_init(&buf, tpi_env_reserve(&core->env), 0);
    int rc = tpi_rules_state_save(core->rules, partition, &buf);
    uint8_t *doc = rc == 0 ? tpc_arena_take(arena, buf.len + 1) : NULL;
    char *key = rc == 0 ? tpc_arena_take(arena, 16) : NULL;
    if (doc == NULL || key == NULL) {
        tpi_buf_fini(&buf);
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    memcpy(doc, buf.ptr, buf.len);
    int len = snprintf(key, 16, "%u", (unsigned) partition);
    fill_row(op, "rules", (struct tpc_str){ key, (size_t) len }, (struct tpc_bytes){ doc, buf.len },
             tpi_unix_ms(&core->env));
    tpi_reader_init(&r, doc, buf.len);
    (void) tpi_read_u8(&r);
    *ret_next = tpi_read_varint(&r);
    tpi_buf_fini(&buf);
    return 0;
}

/* Which rules the states are of: a row beside theirs. */
static int take_known(struct tpc_core *core, struct tpc_store_op *op)
{
    struct tpi_buf buf;
    tpi_buf_init(&buf, tpi_env_reserve(&core->env), 0);
    int rc = tpi_rules_known_save(core->rules, &buf);
    uint8_t *doc = rc == 0 ? tpc_arena_take(core->pump.arena, buf.len + 1) : NULL;
    if (doc != NULL) {
        memcpy(doc, buf.ptr, buf.len);
        fill_row(op, "rules", TPC_STR("known"), (struct tpc_bytes){ doc, buf.len },
                 tpi_unix_ms(&core->env));
    }
    tpi_buf_fini(&buf);
    return rc == 0 && doc == NULL ? TPC_ENOMEM : rc;
}

/* What rules have seen for certain: a worker that is between batches has passed all that is in the
 * log's flushed part on to them. */
static uint64_t seen_by_rules(struct tpc_core *core, uint32_t partition, uint64_t flushed)
{
    return atomic_load(&tpi_worker_of(core, partition)->busy) ? 0 : flushed;
}

static bool any_rules(struct tpc_core *core)
{
    const struct tpi_rules_counters *rules = tpi_rules_count(core->rules);
    return atomic_load(&rules->scenes) + atomic_load(&rules->schedules) +
               atomic_load(&rules->data_rules) >
           0;
}

/* Whether all that the states' messages set off is in the log: true once nothing is pending for a
 * moment. Under traffic that moment has to be waited for. */
static bool said_all(struct tpc_core *core)
{
    for (uint32_t i = 0; core->threads && i < SAID_TRIES; i++) {
        if (atomic_load(&core->rule_pending) == 0) {
            return true;
        }
        (void) clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, SAID_NS }, NULL);
    }
    return atomic_load(&core->rule_pending) == 0;
}

/* Takes the states of all partitions. *ret_count = 0: not now. */
static int take_states(struct tpc_core *core, struct tpc_store_op **ret_ops, uint32_t *ret_count)
{
    struct tpi_pump *p = &core->pump;
    uint32_t n = core->options.partitions;
    *ret_count = 0;
    tpc_arena_reset(p->arena);
    bool any = any_rules(core);
    struct tpc_store_op *ops = any ? tpc_arena_take(p->arena, (n + 1) * sizeof(*ops)) : NULL;
    if (any && ops == NULL) {
        return TPC_ENOMEM;
    }
    int rc = any ? take_known(core, &ops[n]) : 0;
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t next = 0;
        uint64_t seen = seen_by_rules(core, i, p->position[i]);
        rc = any ? take_state(core, i, &ops[i], &next) : 0;
        if (rc != 0) {
            return rc;
        }
        p->rules_next[i] = next > seen ? next : seen;
    }
    if (!said_all(core)) {
        memset(p->rules_next, 0, n * sizeof(p->rules_next[0])); /* a command is not logged yet */
        return 0;
    }
    *ret_ops = ops;
    *ret_count = any ? n + 1 : 0;
    return 0;
}

/* How far each partition has no open command. Before the log is synced: a command that is not open
 * any more has its end in the log already, and the sync makes that survive. One that is read of
 * here was flushed, so its worker either is still adding it or has it among the open ones. */
static void take_ended(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        struct tpi_worker *w = tpi_worker_of(core, i);
        p->downlink_next[i] = 0;
        if (!atomic_load(&w->adding)) {
            uint64_t low = tpi_downlink_low_offset(w->downlink, i);
            p->downlink_next[i] = low < p->position[i] ? low : p->position[i];
        }
    }
}

static void commit_cursors(struct tpc_core *core, bool rules)
{
    struct tpi_pump *p = &core->pump;
    const struct tpc_bus_ops *bus = core->bus;
    uint32_t n = core->options.partitions;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t flags = i + 1 == n ? TPC_FLUSH_SYNC : 0;
        uint64_t position = p->position[i];
        (void) bus->commit(core->bus_self, p->cursor_downlink, i, p->downlink_next[i], flags);
        if (rules && p->rules_next[i] > 0) {
            (void) bus->commit(core->bus_self, p->cursor_rules, i,
                               p->rules_next[i] < position ? p->rules_next[i] : position, flags);
        }
        (void) bus->commit(core->bus_self, p->cursor_history, i,
                           tpi_history_watermark(core->history, i), flags);
    }
}

static void note(struct tpc_core *core, int rc, const struct tpc_error *err)
{
    struct tpi_pump *p = &core->pump;
    if (rc != 0) {
        atomic_fetch_add(&p->failures, 1);
        p->retry_ms = tpi_mono_ms(&core->env) + RETRY_MS;
    }
    if (rc != 0 && !p->failing) {
        tpi_log(&core->env, TPC_LOG_ERROR, "store", "cannot commit, what is not stored stays: %s",
                err->code == rc ? err->text : tpc_error_name(rc));
    } else if (rc == 0 && p->failing) {
        tpi_log(&core->env, TPC_LOG_INFO, "store", "commits again");
    }
    p->failing = rc != 0;
}

static int commit(struct tpc_core *core, bool all)
{
    struct tpi_pump *p = &core->pump;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_store_op *ops = NULL;
    uint32_t count = 0;
    uint64_t now = tpi_mono_ms(&core->env);
    bool save = all || now - p->last_save_ms >= SAVE_MS;
    int rc = save ? take_states(core, &ops, &count) : 0;
    if (tpi_alert_take(core) != 0 && save) {
        count = 0; /* what alerts know is stored before what rules have seen */
        memset(p->rules_next, 0, core->options.partitions * sizeof(p->rules_next[0]));
    }
    take_ended(core);
    rc = rc != 0 ? rc : tpi_flush_now(core, TPC_FLUSH_SYNC, &err, NULL);
    rc = rc != 0 ? rc : tpi_alert_store(core, &err);
    rc = rc != 0 ? rc : tpi_core_clock_store(core, &err);
    rc = rc != 0 ? rc : store_rows(core, ops, count, &err);
    rc = rc != 0 ? rc : tpi_command_rows_store(core, all, &err);
    rc = rc != 0 ? rc : tpi_audit_store(core, &err);
    if (rc == 0 && (all || tpi_history_due(core->history))) {
        rc = tpi_history_commit(core->history, all, &err);
    }
    note(core, rc, &err);
    if (rc != 0) {
        return rc;
    }
    commit_cursors(core, save);
    if (save) {
        bool saved = !any_rules(core) || count > 0;
        p->last_save_ms = saved ? now : now - (SAVE_MS - SAVE_AGAIN_MS);
        p->moved = !saved;
    }
    if (core->bus->trim != NULL && (all || now - p->last_trim_ms >= TRIM_MS)) {
        p->last_trim_ms = now;
        (void) core->bus->trim(core->bus_self);
    }
    return 0;
}

/* ---- turning ---- */

static bool read_partition(struct tpc_core *core, uint32_t partition)
{
    struct tpi_pump *p = &core->pump;
    struct reading x = { .core = core, .partition = partition, .next = p->position[partition] };
    uint64_t next = x.next;
    int rc = core->bus->read(core->bus_self, partition, x.next, TPI_READ_RECORDS, TPC_READ_FLUSHED,
                             read_one, &x, &next);
    (void) apply_read(&x);
    if (rc == TPC_EGAP) {
        tpi_log(&core->env, TPC_LOG_ERROR, "store",
                "partition %u: records %llu to %llu are not in the log any more",
                (unsigned) partition, (unsigned long long) x.next, (unsigned long long) next);
        p->position[partition] = next;
        /* The watermark passes over the gap, too, else the next start would find it again. */
        struct tpc_msg m = { .size = sizeof(m), .partition = partition, .offset = next - 1 };
        (void) tpi_history_apply(core->history, &m, partition);
        return true;
    }
    if (x.rc != 0) {
        p->position[partition] = x.next;
        if (x.rc == TPC_ENOMEM) {
            tpi_history_squeeze(core->history);
        }
        return commit(core, x.rc == TPC_ENOMEM) == 0 && x.count > 0;
    }
    if (x.held) {
        p->position[partition] = x.next;
        return x.count > 0;
    }
    if (rc == 0) {
        bool did = next > p->position[partition];
        p->position[partition] = next;
        return did;
    }
    p->position[partition] = x.next;
    return false;
}

/* Whether the log said "later" because our cursors hold it: then open chunks are stored before their
 * time. One that waits for its disk is not helped by that. */
static bool pressed(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    struct tpc_bus_info info = { .size = sizeof(info) };
    uint64_t waits = TPI_METRIC_GET(core->counters.append_waits);
    uint64_t now = tpi_mono_ms(&core->env);
    if (waits == p->waits_seen || now - p->last_pressed_ms < PRESSED_MS) {
        return false;
    }
    p->waits_seen = waits;
    p->last_pressed_ms = now;
    return core->bus->info(core->bus_self, &info) == 0 && info.pending_bytes < PENDING_MAX;
}

/* From 80 % of the memory on: what can be read again goes, and half of the open chunks with the
 * commit that follows. */
static void shrink(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    uint64_t now = tpi_mono_ms(&core->env);
    if (!tpi_core_memory_high(core) || now - p->last_shrink_ms < SHRINK_MS) {
        return;
    }
    p->last_shrink_ms = now;
    tpi_count(&core->counters.memory_high, 1);
    if (core->bus->shrink != NULL) {
        core->bus->shrink(core->bus_self);
    }
    for (uint32_t i = 0; i < core->worker_count; i++) {
        tpi_worker_poke(&core->workers[i]); /* also one that sleeps gives back what it can */
    }
    if (tpi_core_memory_high(core)) {
        tpi_history_squeeze(core->history);
    }
}

/* Cursors go on without a commit of the history, too: not every message has samples. */
static bool save_due(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    return p->moved && tpi_mono_ms(&core->env) - p->last_save_ms >= SAVE_MS;
}

/* Commands wait for devices that do not come: the log would wait with them. */
static void renew_commands(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        struct tpi_worker *w = tpi_worker_of(core, i);
        if (p->downlink_next[i] < p->position[i]) {
            atomic_store(&w->renew, true);
            tpi_worker_poke(w);
        }
    }
}

bool tpi_pump_turn(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    bool did = false;
    if (p->failing && tpi_mono_ms(&core->env) < p->retry_ms) {
        return false;
    }
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        if (p->position[i] < atomic_load_explicit(&core->ends[i], memory_order_acquire)) {
            did |= read_partition(core, i);
        }
    }
    p->moved |= did;
    shrink(core);
    if (pressed(core)) {
        if (atomic_load(&core->clock.held)) {
            tpi_clock_let_go(&core->clock);
            tpi_forwarder_kick(core);
        }
        did |= commit(core, true) == 0;
        renew_commands(core);
        if (!core->threads) {
            core->workers[0].retry_ms = 0; /* there is room: within the same step */
        }
    } else if (tpi_history_due(core->history) || tpi_command_rows_due_ms(core) == 0 ||
               p->told_count > 0 || save_due(core) || tpi_alert_store_due_ms(core) == 0) {
        (void) commit(core, false);
    }
    tpi_keep_turn(core);
    tpi_command_sweep(core);
    tpi_why_turn(core, false);
    return did;
}

int tpi_pump_finish(struct tpc_core *core)
{
    core->pump.failing = false;
    while (tpi_pump_turn(core)) {
    }
    tpi_why_turn(core, true);
    return commit(core, true);
}

uint64_t tpi_pump_next_ms(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    if (p->failing) {
        uint64_t now = tpi_mono_ms(&core->env);
        return p->retry_ms > now ? p->retry_ms - now : 0;
    }
    uint64_t due = tpi_history_due_ms(core->history);
    uint64_t held = tpi_core_clock_held_ms(core);
    due = held < due ? held : due;
    uint64_t keep = tpi_keep_due_ms(core);
    uint64_t why = tpi_why_due_ms(core);
    uint64_t rows = tpi_command_rows_due_ms(core);
    uint64_t sweep = tpi_command_sweep_due_ms(core);
    due = keep < due ? keep : due;
    uint64_t alerts = tpi_alert_store_due_ms(core);
    due = rows < due ? rows : due;
    due = sweep < due ? sweep : due;
    due = why < due ? why : due;
    due = alerts < due ? alerts : due;
    if (p->moved) {
        uint64_t since = tpi_mono_ms(&core->env) - p->last_save_ms;
        uint64_t save = since < SAVE_MS ? SAVE_MS - since : 0;
        due = save < due ? save : due;
    }
    if (TPI_METRIC_GET(core->counters.append_waits) != p->waits_seen && due > PRESSED_MS) {
        due = PRESSED_MS;
    }
    if (due > SHRINK_MS && tpi_core_memory_high(core)) {
        due = SHRINK_MS;
    }
    return due < TPI_WHEEL_NONE ? due : TPI_WHEEL_NONE;
}

/* ---- its thread ---- */

void tpi_deadline(struct timespec *t, uint64_t ms)
{
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_nsec += (long) (ms % 1000) * 1000000;
    t->tv_sec += (time_t) (ms / 1000) + t->tv_nsec / 1000000000;
    t->tv_nsec %= 1000000000;
}

void tpi_pump_kick(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    pthread_mutex_lock(&p->lock);
    p->kicked = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void *pump_main(void *user)
{
    struct tpc_core *core = user;
    struct tpi_pump *p = &core->pump;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        p->kicked = false;
        pthread_mutex_unlock(&p->lock);
        bool did = tpi_pump_turn(core);
        uint64_t next = did ? 0 : tpi_pump_next_ms(core);
        pthread_mutex_lock(&p->lock);
        p->turns++;
        p->going = did;
        pthread_cond_broadcast(&p->turned);
        if (!did && !p->kicked && !p->stop && next > 0) {
            struct timespec t;
            tpi_deadline(&t, next < 60000 ? next : 60000);
            pthread_cond_timedwait(&p->work, &p->lock, &t);
        }
    }
    pthread_cond_broadcast(&p->turned); /* who waits for a turn waits in vain */
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int tpi_pump_start(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    pthread_mutex_lock(&p->lock);
    p->stop = false;
    p->threaded = pthread_create(&p->thread, NULL, pump_main, core) == 0;
    bool started = p->threaded;
    pthread_mutex_unlock(&p->lock);
    return started ? 0 : TPC_EAGAIN;
}

void tpi_pump_stop(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    if (!p->threaded) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_mutex_lock(&p->lock);
    p->threaded = false;
    pthread_mutex_unlock(&p->lock);
}

static int catch_up_now(struct tpi_worker *w, void *user)
{
    (void) user;
    int rc = tpi_flush_now(w->core, 0, NULL, NULL);
    while (rc == 0 && tpi_pump_turn(w->core)) {
    }
    return rc;
}

static bool is_behind(struct tpc_core *core, const uint64_t *ends)
{
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        if (tpi_history_applied(core->history, i) < ends[i]) {
            return true;
        }
    }
    return false;
}

bool tpi_pump_catch_up(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    if (!core->threads) {
        return tpi_worker_call(&core->workers[0], catch_up_now, NULL) == 0;
    }
    if (tpi_worker_current(core) != NULL ||
        tpi_flush_wait(core, atomic_load(&core->flush.appended), NULL) != 0) {
        return false;
    }
    uint32_t n = core->options.partitions;
    uint64_t *ends = tpi_alloc_array(core->env.alloc, n, sizeof(ends[0]));
    for (uint32_t i = 0; ends != NULL && i < n; i++) {
        ends[i] = atomic_load(&core->ends[i]);
    }
    pthread_mutex_lock(&p->lock);
    uint64_t until = p->turns + 2; /* one whole turn from here */
    bool waited = ends != NULL && p->threaded && !p->stop;
    while (waited && !p->stop && (p->turns < until || (p->going && is_behind(core, ends)))) {
        p->kicked = true;
        pthread_cond_signal(&p->work);
        pthread_cond_wait(&p->turned, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    tpi_free(core->env.alloc, ends, n * sizeof(ends[0]));
    return waited;
}
