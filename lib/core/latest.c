/*
 * Latest values and presence through a restart. The history's marks carry them: what a commit has
 * passed in the log is in the marks that it writes, and the rest is replayed from the log.
 *
 * Marks may know more than the record that is replayed. Where rules look at records again they must
 * not see what came later: before the replay only values from before its first record are loaded,
 * after it all that are newer than what it brought.
 */
#include <sched.h>
#include <string.h>

#include "core/core.h"

/* A value that the marks name by its time only; property 0: a device whose session ended. */
struct tpi_missing {
    struct tpi_missing *next;
    struct tpc_device *device; /* counted */
    int64_t unix_ms;
    uint16_t property;
};

/* ---- while it runs: the history's commit asks ---- */

/* A record can be read before its batch has changed the registry: the batches that run now are
 * waited for. A batch waits for nobody. */
static void settle(void *user)
{
    struct tpc_core *core = user;
    for (uint32_t i = 0; i < core->worker_count; i++) {
        struct tpi_worker *w = &core->workers[i];
        uint32_t batch = atomic_load(&w->batches);
        bool own = tpi_worker_current(core) == w;
        while (!own && atomic_load(&w->busy) && atomic_load(&w->batches) == batch) {
            sched_yield();
        }
    }
}

static int latest_pack(void *user, uint64_t device_id, struct tpi_buf *out)
{
    struct tpc_core *core = user;
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, device_id);
    int rc = d != NULL ? tpi_device_latest_pack(d, out) : 0;
    tpi_registry_read_unlock(core->registry);
    return rc;
}

static bool presence_get(void *user, uint64_t device_id, struct tpi_history_presence *ret)
{
    struct tpc_core *core = user;
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, device_id);
    if (d != NULL) {
        *ret = (struct tpi_history_presence){
            .online = atomic_load(&d->online),
            .by_session = tpi_device_has(d, TPI_DEVICE_BY_SESSION),
            .since_unix_ms = atomic_load(&d->presence_unix_ms),
            .seen_unix_ms = atomic_load(&d->last_seen_unix_ms),
            .active_unix_ms = (int64_t) atomic_load(&d->active_unix_s) * 1000,
        };
    }
    tpi_registry_read_unlock(core->registry);
    return d != NULL;
}

/* What the marks say must not be missing in the log after a loss of power. */
static int before_commit(void *user, struct tpc_error *err)
{
    return tpi_flush_now(user, TPC_FLUSH_SYNC, err, NULL);
}

/* ---- at start ---- */

static int note_missing(void *user, struct tpc_device *d, uint16_t property, int64_t unix_ms)
{
    struct tpc_core *core = user;
    struct tpi_missing *m = tpi_alloc(core->env.alloc, sizeof(*m));
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    *m = (struct tpi_missing){ core->missing, tpi_device_ref(d), unix_ms, property };
    core->missing = m;
    return 0;
}

/* What cannot be read costs the memory of these values, not the start. */
static int latest_load(void *user, uint64_t device_id, struct tpc_bytes data)
{
    struct tpc_core *core = user;
    struct tpc_arena *arena = core->workers[0].arena;
    int rc = 0;
    tpc_arena_reset(arena);
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, device_id);
    if (d != NULL) {
        bool all = core->latest_before_ms == INT64_MAX;
        rc = tpi_device_latest_unpack(d, data, core->latest_before_ms, arena,
                                      all ? note_missing : NULL, core);
    }
    tpi_registry_read_unlock(core->registry);
    if (rc == TPC_ECORRUPT || rc == TPC_EVERSION) {
        tpi_log(&core->env, TPC_LOG_WARN, "core",
                "latest values of device %llu are not restored: %s", (unsigned long long) device_id,
                tpc_error_name(rc));
        rc = 0;
    }
    return rc;
}

static int presence_load(void *user, uint64_t device_id, const struct tpi_history_presence *p)
{
    struct tpc_core *core = user;
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, device_id);
    if (d != NULL) {
        tpi_device_active(d, p->active_unix_ms);
        (void) tpi_device_presence(d, p->online, p->by_session, p->since_unix_ms);
        atomic_store(&d->presence_unix_ms, p->since_unix_ms);
        if (p->seen_unix_ms > atomic_load(&d->last_seen_unix_ms)) {
            atomic_store(&d->last_seen_unix_ms, p->seen_unix_ms);
        }
    }
    tpi_registry_read_unlock(core->registry);
    return 0;
}

void tpi_latest_attach(struct tpc_core *core)
{
    struct tpi_history_registry registry = { .user = core,
                                             .settle = settle,
                                             .latest_pack = latest_pack,
                                             .presence_get = presence_get,
                                             .before_commit = before_commit,
                                             .latest_load = latest_load,
                                             .presence_load = presence_load };
    tpi_history_attach(core->history, &registry);
}

int tpi_latest_load_before(struct tpc_core *core, int64_t before_ms, struct tpc_error *err)
{
    core->latest_before_ms = before_ms;
    return tpi_history_latest(core->history, err);
}

static int find_missing(struct tpc_core *core, const struct tpi_missing *m, struct tpc_error *err)
{
    struct tpi_history_device device = { m->device->id, m->device->key, &m->property };
    struct tpc_str key = { "", 0 };
    struct tpi_history_query q = { .devices = &device,
                                   .device_count = 1,
                                   .property_count = 1,
                                   .properties = &key,
                                   .from_unix_ms = m->unix_ms,
                                   .to_unix_ms = m->unix_ms + (m->unix_ms < INT64_MAX),
                                   .limit = 1 };
    struct tpi_history_rows *rows = NULL;
    const struct tpc_row_batch *batch = NULL;
    int rc = tpi_history_query_open(core->history, &q, err, &rows);
    if (rc == 0) {
        rc = tpi_history_query_next(rows, err, &batch);
    }
    const struct tpc_column *column = rc == 1 && batch->count > 0 ? &batch->columns[0] : NULL;
    if (column != NULL && (column->validity[0] & 1) != 0) {
        tpi_registry_read_lock(core->registry);
        int index = tpi_model_find_id(m->device->product->model, m->property);
        struct tpc_value v;
        int64_t present = 0;
        if (index >= 0 && (tpi_device_latest_peek(m->device, (uint32_t) index, &v, &present) != 0 ||
                           present < m->unix_ms)) {
            rc = tpi_device_latest_set(m->device, (uint32_t) index, &column->values[0], m->unix_ms);
        }
        tpi_registry_read_unlock(core->registry);
    }
    tpi_history_query_close(rows);
    return rc == TPC_ENOMEM ? rc : 0; /* deleted, or still in the log: the replay brings it */
}

void tpi_latest_forget_missing(struct tpc_core *core)
{
    while (core->missing != NULL) {
        struct tpi_missing *m = core->missing;
        core->missing = m->next;
        tpi_device_unref(m->device);
        tpi_free(core->env.alloc, m, sizeof(*m));
    }
}

int tpi_latest_load_all(struct tpc_core *core, struct tpc_error *err)
{
    int rc = tpi_latest_load_before(core, INT64_MAX, err);
    if (rc != 0) {
        return rc;
    }
    for (struct tpi_missing *m = core->missing; rc == 0 && m != NULL; m = m->next) {
        rc = find_missing(core, m, err);
    }
    tpi_latest_forget_missing(core);
    return rc == 0 ? 0 : tpi_error_set(err, rc, "core", "no memory for latest values");
}

static int note_session(void *user, struct tpc_device *d)
{
    return tpi_device_has(d, TPI_DEVICE_BY_SESSION) ? note_missing(user, d, 0, 0) : 0;
}

int tpi_latest_end_sessions(struct tpc_core *core, struct tpc_error *err)
{
    tpi_registry_read_lock(core->registry);
    int rc = tpi_registry_each_device(core->registry, note_session, core);
    tpi_registry_read_unlock(core->registry);
    for (struct tpi_missing *m = core->missing; rc == 0 && m != NULL; m = m->next) {
        tpi_presence_ended(tpi_worker_of(core, m->device->partition), m->device);
    }
    tpi_latest_forget_missing(core);
    return rc == 0 ? 0 : tpi_error_set(err, rc, "core", "no memory to end sessions");
}
