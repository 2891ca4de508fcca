/* Whether the wall clock is trusted: docs/guide/clock.md. What of it is about records stands in
 * bus/clock.c. */
#include "core/clock.h"

#include <stdio.h>
#include <string.h>

#include "core/part.h"
#include "data/member.h"
#include "data/msg.h"
#include "data/option.h"

enum { LOOK_MS = 1000 };

static const struct tpc_option schema[] = {
    { .name = "trust",
      .type = TPC_OPT_ENUM,
      .values = "auto|always|program",
      .since = "0.1",
      .help = "auto: not while it shows a time before the floor; always; program: not before "
              "tpc_core_clock_valid()." },
    { .name = "floor",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "A date (2026-11-20) or ms since 1970; absent = the newest time of the log, no less "
              "than 2025-01-01." },
    { .name = "policy",
      .type = TPC_OPT_ENUM,
      .def = "hold",
      .values = "hold|mark|send",
      .since = "0.1",
      .help = "History and targets: wait for the clock; go on with the mark; go on without." },
    { .name = "hold_max",
      .type = TPC_OPT_DURATION,
      .def = "10m",
      .max = INT64_C(31536000000),
      .since = "0.1",
      .help = "A record that has waited for so long goes on with its mark." },
};

static void wake(void *user)
{
    struct tpc_core *core = user;
    if (core->workers != NULL) {
        tpi_worker_poke(&core->workers[0]);
    }
}

void tpi_core_clock_init(struct tpc_core *core)
{
    tpi_clock_init(&core->clock, &core->env);
    core->clock.wake = wake;
    core->clock.wake_user = core;
    /* Programs with a clock of their own know what they do: simulations, tests. */
    core->clock.o.trust = core->env.clock == tpi_clock_system() ? TPI_CLOCK_AUTO : TPI_CLOCK_ALWAYS;
}

/* Days since 1970 of a date of the Gregorian calendar; March is the first month. */
static int64_t days(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    m = m > 2 ? m - 3 : m + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719468;
}

static int read_floor(const struct tpc_value *v, struct tpc_error *err, int64_t *ret)
{
    struct tpc_str t = v != NULL ? tpc_value_text(v) : (struct tpc_str){ NULL, 0 };
    int n[8] = { 0 };
    bool good = t.len == 10 && t.ptr[4] == '-' && t.ptr[7] == '-';
    for (size_t i = 0, k = 0; good && i < t.len; i++) {
        if (i != 4 && i != 7) {
            good = t.ptr[i] >= '0' && t.ptr[i] <= '9';
            n[k++] = t.ptr[i] - '0';
        }
    }
    int month = n[4] * 10 + n[5];
    int day = n[6] * 10 + n[7];
    if (v == NULL || v->type == TPC_NULL || tpc_value_int(v, ret) == 0) {
        return 0;
    }
    if (!good || month < 1 || month > 12 || day < 1 || day > 31) {
        int rc = tpi_error_set(err, TPC_EINVAL, "clock", "not a date such as 2026-11-20");
        if (err != NULL) {
            tpi_error_at(err, "floor");
        }
        return rc;
    }
    *ret = days(n[0] * 1000 + n[1] * 100 + n[2] * 10 + n[3], month, day) * 86400000;
    return 0;
}

static bool is(const struct tpc_value *v, const char *key, const char *text)
{
    return tpc_str_equal(tpi_member_text(v, key), tpc_str_from(text));
}

int tpi_core_clock_take(struct tpc_core *core, const struct tpc_value *v, struct tpc_arena *arena,
                        struct tpc_error *err)
{
    static const struct tpc_list table = TPC_OPTIONS(schema);
    struct tpi_clock_options *o = &core->clock.o;
    struct tpc_value checked;
    int64_t hold = 0;
    if (v->type != TPC_MAP) {
        return tpi_error_set(err, TPC_EINVAL, "clock", "an object with \"trust\" is expected");
    }
    int rc = tpi_option_check(&table, v, 0, arena, err, &checked);
    rc = rc != 0 ? rc : read_floor(tpi_member(&checked, "floor"), err, &o->floor_ms);
    if (rc != 0) {
        return rc;
    }
    if (tpi_member_text(&checked, "trust").len > 0) {
        o->trust = is(&checked, "trust", "program")  ? TPI_CLOCK_PROGRAM
                   : is(&checked, "trust", "always") ? TPI_CLOCK_ALWAYS
                                                     : TPI_CLOCK_AUTO;
    }
    o->policy = is(&checked, "policy", "mark")   ? TPI_CLOCK_MARK
                : is(&checked, "policy", "send") ? TPI_CLOCK_SEND
                                                 : TPI_CLOCK_HOLD;
    if (tpi_member(&checked, "hold_max") != NULL &&
        tpc_value_int(tpi_member(&checked, "hold_max"), &hold) == 0) {
        o->hold_ms = (uint64_t) hold;
    }
    return 0;
}

/* ---- start ---- */

static int newest_of(void *user, const struct tpc_segment_info *info)
{
    int64_t *newest = user;
    *newest = info->last_unix_ms > *newest ? info->last_unix_ms : *newest;
    return 0;
}

static int take_row(void *user, const struct tpc_row *row)
{
    return tpi_clock_unpack(user, row->doc);
}

/* Records of boots that the store does not have yet: it had all below the history's watermark. */
static int take_record(void *user, const struct tpc_record *r)
{
    struct tpc_core *core = user;
    struct tpc_msg m;
    int64_t offset;
    if (r->kind != TPI_MSG_CLOCK) {
        return 0;
    }
    tpc_arena_reset(core->workers[0].arena);
    if (tpi_record_msg(core, r, core->workers[0].arena, &m, NULL) == 0 &&
        tpc_value_int(tpc_value_get(&m.params, TPC_STR("offset_ms")), &offset) == 0) {
        tpi_clock_know(&core->clock, &m.id, offset);
    }
    return 0;
}

static int read_log(struct tpc_core *core)
{
    uint64_t first = 0;
    uint64_t end = 0;
    int rc = core->bus->range(core->bus_self, 0, &first, &end);
    uint64_t from = tpi_history_watermark(core->history, 0);
    from = from > first ? from : first;
    while (rc == 0 && from < end) {
        uint64_t next = from;
        rc =
            core->bus->read(core->bus_self, 0, from, TPI_READ_RECORDS, 0, take_record, core, &next);
        rc = rc == TPC_EGAP ? 0 : rc;
        if (next <= from) {
            break;
        }
        from = next;
    }
    return rc;
}

int tpi_core_clock_begin(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *p = core->entities_part;
    int64_t newest = 0;
    if (core->bus->segments != NULL) {
        (void) core->bus->segments(core->bus_self, newest_of, &newest);
    }
    int rc = tpi_clock_begin(&core->clock, newest);
    if (rc != 0) {
        return tpi_error_set(err, rc, "clock", "no randomness");
    }
    rc = p->ops->store.get(p->self, TPC_SPACE_RECORD, TPC_STR("clock"), 0, TPC_STR("boots"),
                           take_row, &core->clock);
    if (rc == TPC_ECORRUPT) {
        tpi_log(&core->env, TPC_LOG_WARN, "clock",
                "what is stored of earlier boots cannot be read");
    }
    rc = rc == TPC_ENOENT || rc == TPC_ECORRUPT ? 0 : rc;
    rc = rc != 0 ? rc : read_log(core);
    return rc == 0 ? 0
                   : tpi_error_set(err, rc, "clock", "the clocks of earlier boots are not known");
}

int tpi_core_clock_store(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *p = core->entities_part;
    uint8_t doc[TPI_CLOCK_PACK_BYTES];
    size_t len = tpi_clock_pack(&core->clock, doc);
    if (len == 0) {
        return 0;
    }
    int64_t now = tpi_unix_ms(&core->env);
    struct tpc_store_op op = { .size = sizeof(op), .type = TPC_STORE_PUT, .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_RECORD,
                               .kind = TPC_STR("clock"),
                               .key = TPC_STR("boots"),
                               .revision = 1,
                               .created_unix_ms = now,
                               .modified_unix_ms = now,
                               .doc = { doc, len },
                               .field_size = sizeof(struct tpc_field) };
    int rc = p->ops->store.transact(p->self, &op, 1, sizeof(op), err);
    if (rc != 0) {
        tpi_clock_unpacked(&core->clock);
    }
    return rc;
}

/* ---- running ---- */

struct moving {
    struct tpi_worker *w;
    int64_t from, to, by;
};

static int move_device(void *user, struct tpc_device *d)
{
    const struct moving *m = user;
    if (tpi_worker_of(m->w->core, d->partition) == m->w) {
        tpi_device_shift_times(d, m->from, m->to, m->by);
    }
    return 0;
}

static bool move_devices(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    uint32_t moves = atomic_load_explicit(&core->clock_moves, memory_order_acquire);
    if (w->clock_moves == moves) {
        return false;
    }
    struct moving m = { .w = w };
    w->clock_moves = moves;
    m.by = tpi_clock_moved(&core->clock, &m.from, &m.to);
    if (m.by != 0) {
        tpi_registry_read_lock(core->registry);
        (void) tpi_registry_each_device(core->registry, move_device, &m);
        tpi_registry_read_unlock(core->registry);
        if (w->uplink != NULL) {
            tpi_uplink_shift_times(w->uplink, m.from, m.to, m.by);
        }
    }
    return true;
}

static bool append_record(struct tpi_worker *w, int64_t offset)
{
    struct tpc_core *core = w->core;
    struct tpc_member member = { TPC_STR("offset_ms"), { .type = TPC_INT, .as.i = offset } };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPI_MSG_CLOCK,
                         .id = core->clock.boot,
                         .unix_ms = tpi_unix_ms(&core->env),
                         .params = { .type = TPC_MAP, .len = 1, .as.members = &member } };
    m.received_unix_ms = m.unix_ms;
    if (tpi_log_append_msg(w, &m, TPC_APPEND_RESERVE, NULL, NULL) != 0) {
        return false; /* the next turn tries again */
    }
    tpi_clock_appended(&core->clock, w->sequence);
    return true;
}

bool tpi_core_clock_turn(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    bool did = move_devices(w);
    int64_t offset;
    if (w->index != 0 || core->replaying ||
        !atomic_load_explicit(&core->clock.busy, memory_order_relaxed)) {
        return did;
    }
    did |= tpi_clock_look(&core->clock);
    if (tpi_clock_take(&core->clock, &offset)) {
        did |= append_record(w, offset);
    }
    if (tpi_clock_published(&core->clock, atomic_load(&core->flush.flushed))) {
        atomic_fetch_add(&core->clock_moves, 1);
        (void) move_devices(w);
        for (uint32_t i = 0; i < core->worker_count; i++) {
            tpi_worker_poke(&core->workers[i]);
        }
        tpi_pump_kick(core);
        tpi_forwarder_kick(core);
        did = true;
    }
    return did;
}

uint64_t tpi_core_clock_next_ms(struct tpc_core *core)
{
    return atomic_load_explicit(&core->clock.busy, memory_order_relaxed) ? LOOK_MS : TPI_WHEEL_NONE;
}

uint64_t tpi_core_clock_held_ms(struct tpc_core *core)
{
    return atomic_load_explicit(&core->clock.held, memory_order_relaxed) ? LOOK_MS : UINT64_MAX;
}

int tpc_core_clock_valid(struct tpc_core *core)
{
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core is NULL");
    }
    tpi_clock_valid(&core->clock);
    wake(core);
    return 0;
}
