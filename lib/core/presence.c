/* Presence: what sessions, messages and silence mean for it, and what the program asks. */
#include <string.h>
#include <tpcore/presence.h>

#include "core/behind.h"
#include "core/core.h"
#include "data/msg.h"

enum { PASSES = 16 /* batches of devices in one turn of a worker */ };

/* A presence message of the core's own. members has room for two. */
static struct tpc_msg make_msg(const struct tpi_worker *w, const struct tpc_device *d,
                               const char *origin, bool online, const char *reason,
                               struct tpc_member *members)
{
    size_t len = reason != NULL ? strlen(reason) : 0;
    members[0].key = TPC_STR("online");
    members[0].value = (struct tpc_value){ .type = TPC_BOOL, .as.b = online };
    if (reason == NULL) {
        members[1].key = TPC_STR("session");
        members[1].value = (struct tpc_value){ .type = TPC_BOOL, .as.b = true };
    } else {
        members[1].key = TPC_STR("reason");
        members[1].value = (struct tpc_value){ .type = TPC_TEXT, .len = len, .as.text = reason };
    }
    struct tpc_msg m = {
        .size = sizeof(m),
        .kind = TPC_MSG_PRESENCE,
        .flags = TPC_MSG_ESTIMATED_TIME,
        .partition = d->partition,
        .device_id = d->id,
        .unix_ms = tpi_unix_ms(&w->core->env),
        .origin = tpc_str_from(origin),
        .point_size = sizeof(struct tpc_point),
        .params = { .type = TPC_MAP, .len = 2, .as.members = members },
    };
    m.received_unix_ms = m.unix_ms;
    return m;
}

static void say_lost(struct tpi_worker *w, const struct tpc_device *d, const struct tpc_error *err)
{
    tpi_count(&w->core->counters.append_waits, 1);
    tpi_log(&w->core->env, TPC_LOG_WARN, "core", "presence of %s is not logged: %s", d->key.ptr,
            err->text);
}

/* What is said here turned the device's state. */
static void tell_rules(struct tpi_worker *w, struct tpc_device *const *devices,
                       const struct tpc_record *records, uint32_t n, bool online)
{
    const struct tpc_member member = { TPC_STR("online"), { .type = TPC_BOOL, .as.b = online } };
    tpi_registry_read_lock(w->core->registry);
    tpi_rules_begin(w->core->rules, w->index);
    for (uint32_t i = 0; i < n; i++) {
        struct tpc_msg m = { .size = sizeof(m),
                             .kind = TPC_MSG_PRESENCE,
                             .partition = records[i].partition,
                             .offset = records[i].offset,
                             .received_unix_ms = records[i].received_unix_ms,
                             .params = { .type = TPC_MAP, .len = 1, .as.members = &member } };
        tpi_rules_seen(devices[i], !online);
        tpi_rules_message(w->core->rules, w->index, devices[i], &m);
    }
    tpi_rules_end(w->core->rules, w->index);
    tpi_registry_read_unlock(w->core->registry);
    tpi_effects_run(w);
}

static int append(struct tpi_worker *w, struct tpc_device *d, const struct tpc_msg *m, bool online)
{
    struct tpc_error err;
    struct tpc_record r = { .partition = m->partition, .received_unix_ms = m->received_unix_ms };
    int rc = tpi_log_append_msg(w, m, 0, &err, &r.offset);
    if (rc != 0) {
        say_lost(w, d, &err);
    } else {
        tell_rules(w, &d, &r, 1, online);
    }
    return rc;
}

/* With the state, its end: who is online is watched if its product says so. */
static void set(struct tpi_worker *w, struct tpc_device *d, bool online, bool by_session,
                int64_t since_unix_ms)
{
    tpi_registry_read_lock(w->core->registry);
    if (tpi_device_presence(d, online, by_session, since_unix_ms)) {
        tpi_alerts_presence(w->core->alerts, w->index, d, online, since_unix_ms);
    }
    if (online) {
        tpi_presence_arm(&w->presence, d, tpi_unix_ms(&w->core->env));
    }
    tpi_registry_read_unlock(w->core->registry);
}

static bool by_heartbeat(struct tpi_worker *w, const struct tpc_device *d)
{
    tpi_registry_read_lock(w->core->registry);
    bool yes = d->product->presence == TPI_PRESENCE_HEARTBEAT;
    tpi_registry_read_unlock(w->core->registry);
    return yes;
}

void tpi_presence_session(struct tpi_worker *w, struct tpc_device *d, const char *origin,
                          bool online)
{
    struct tpc_member members[2];
    if (atomic_load(&d->online) == online || by_heartbeat(w, d)) {
        return;
    }
    struct tpc_msg m = make_msg(w, d, origin, online, NULL, members);
    set(w, d, online, true, m.unix_ms);
    (void) append(w, d, &m, online);
    if (!online) {
        tpi_behind_offline(w, d);
    }
}

void tpi_presence_ended(struct tpi_worker *w, struct tpc_device *d)
{
    struct tpc_member members[2];
    struct tpc_msg m = make_msg(w, d, "core", false, NULL, members);
    set(w, d, false, true, m.unix_ms);
    (void) append(w, d, &m, false);
    tpi_behind_offline(w, d);
}

void tpi_presence_said(struct tpi_worker *w, struct tpc_device *d, bool online, int64_t unix_ms)
{
    set(w, d, online, false, unix_ms);
    tpi_device_bit(d, TPI_DEVICE_AWAY, !online);
    if (online) {
        tpi_behind_online(w, d, false);
    } else {
        tpi_behind_offline(w, d);
    }
}

void tpi_presence_woke(struct tpi_worker *w, struct tpc_device *d)
{
    struct tpc_member members[2];
    bool was = atomic_load(&d->online);
    if (was && tpi_device_has(d, TPI_DEVICE_TIMED)) {
        return; /* by an earlier message of the batch */
    }
    struct tpc_msg m = make_msg(w, d, "core", true, "message", members);
    if (!was && append(w, d, &m, true) != 0) {
        return; /* its next message tries again */
    }
    set(w, d, true, tpi_device_has(d, TPI_DEVICE_BY_SESSION), m.unix_ms);
    tpi_device_bit(d, TPI_DEVICE_AWAY, false);
    if (!was) {
        tpi_behind_online(w, d, true);
    }
}

/* ---- silence ---- */

/* All of them in one append, or none. */
static int append_gone(struct tpi_worker *w, struct tpc_device **gone, uint32_t n,
                       const char *reason, struct tpc_error *err)
{
    struct tpc_record records[TPI_PRESENCE_BATCH];
    size_t starts[TPI_PRESENCE_BATCH + 1];
    struct tpc_member members[2];
    struct tpi_buf bodies;
    int rc = 0;
    tpi_buf_init(&bodies, w->core->env.alloc, 0);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        struct tpc_msg m = make_msg(w, gone[i], "core", false, reason, members);
        starts[i] = bodies.len;
        rc = tpi_msg_encode(&m, &bodies);
        records[i] = (struct tpc_record){ .size = sizeof(records[i]),
                                          .kind = m.kind,
                                          .flags = m.flags,
                                          .partition = m.partition,
                                          .device_id = m.device_id,
                                          .unix_ms = m.unix_ms,
                                          .received_unix_ms = m.received_unix_ms };
    }
    starts[n] = bodies.len;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        records[i].body = (struct tpc_bytes){ bodies.ptr + starts[i], starts[i + 1] - starts[i] };
    }
    if (rc != 0) {
        tpi_error_set(err, rc, "core", "a record cannot be made");
    }
    rc = rc != 0 ? rc : tpi_log_append(w, records, n, 0, err);
    if (rc == 0) {
        tell_rules(w, gone, records, n, false);
    }
    tpi_buf_fini(&bodies);
    return rc;
}

/* Read lock. */
static void went(struct tpi_worker *w, struct tpc_device *d, int64_t now)
{
    if (tpi_device_presence(d, false, false, now)) {
        tpi_alerts_presence(w->core->alerts, w->index, d, false, now);
    }
}

static int gone_offline(struct tpi_worker *w, struct tpc_device **gone, uint32_t n)
{
    struct tpc_error err;
    int64_t now = tpi_unix_ms(&w->core->env);
    int rc = append_gone(w, gone, n, "timeout", &err);
    if (rc != 0) {
        say_lost(w, gone[0], &err);
    } else {
        tpi_count(&w->core->counters.presence_timeouts, n);
    }
    tpi_registry_read_lock(w->core->registry);
    for (uint32_t i = 0; i < n; i++) {
        if (rc == 0) {
            went(w, gone[i], now);
            tpi_device_bit(gone[i], TPI_DEVICE_AWAY, true);
        } else {
            tpi_presence_retry(&w->presence, gone[i], tpi_mono_ms(&w->core->env));
        }
    }
    tpi_registry_read_unlock(w->core->registry);
    for (uint32_t i = 0; i < n; i++) {
        if (rc == 0) {
            tpi_behind_offline(w, gone[i]);
        }
        tpi_device_unref(gone[i]);
    }
    return rc;
}

void tpi_presence_follow(struct tpi_worker *w, struct tpc_device **gone, uint32_t n)
{
    struct tpc_error err;
    int64_t now = tpi_unix_ms(&w->core->env);
    for (uint32_t at = 0; at < n; at += TPI_PRESENCE_BATCH) {
        uint32_t some = n - at < TPI_PRESENCE_BATCH ? n - at : TPI_PRESENCE_BATCH;
        if (append_gone(w, gone + at, some, "gateway", &err) != 0) {
            say_lost(w, gone[at], &err);
        }
    }
    tpi_registry_read_lock(w->core->registry);
    for (uint32_t i = 0; i < n; i++) {
        went(w, gone[i], now);
    }
    tpi_registry_read_unlock(w->core->registry);
}

bool tpi_presence_turn(struct tpi_worker *w)
{
    struct tpc_device *gone[TPI_PRESENCE_BATCH];
    uint64_t now = tpi_mono_ms(&w->core->env);
    bool did = false;
    if (w->presence.registry == NULL || w->core->replaying ||
        !tpi_presence_due(&w->presence, now)) {
        return false;
    }
    tpi_count(&w->core->counters.presence_passes, 1);
    for (int i = 0; i < PASSES; i++) {
        tpi_registry_read_lock(w->core->registry);
        uint32_t n = tpi_presence_pass(&w->presence, now, tpi_unix_ms(&w->core->env), gone);
        tpi_registry_read_unlock(w->core->registry);
        did |= n > 0;
        if (n == 0 || gone_offline(w, gone, n) != 0 || n < TPI_PRESENCE_BATCH) {
            break;
        }
    }
    return did;
}

/* ---- the program's ---- */

int tpc_presence_count(struct tpc_core *core, struct tpc_str tenant, struct tpc_str product,
                       struct tpc_presence_counts *ret)
{
    struct tpi_presence_counts c;
    if (core == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or ret is NULL");
    }
    int rc = tpi_core_entities(core, tpi_fail_begin());
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    rc = tpi_registry_presence(core->registry, tenant, product, &c);
    if (rc != 0) {
        return tpi_fail(rc, "core", "no such tenant or product");
    }
    *ret = (struct tpc_presence_counts){
        .size = sizeof(*ret), .devices = c.devices, .online = c.online, .active = c.active
    };
    return 0;
}
