/* Alerts for the program. */
#include <string.h>

#include "core/core.h"
#include "registry/device.h"

enum { ACTOR_BYTES = 256, KEY_BYTES = 128 };

/* "user alice", as commands have it. */
static struct tpc_str actor_text(const struct tpc_actor *actor, char *ret)
{
    static const char *const types[] = {
        "embedder", "user", "token", "rule", "connector", "import"
    };
    uint32_t type = actor != NULL && actor->type < 6 ? actor->type : 0;
    size_t n = strlen(types[type]);
    memcpy(ret, types[type], n);
    if (actor != NULL && actor->name.len > 0) {
        size_t room = ACTOR_BYTES - n - 1;
        size_t len = actor->name.len < room ? actor->name.len : room;
        ret[n++] = ' ';
        memcpy(ret + n, actor->name.ptr, len);
        n += len;
    }
    return (struct tpc_str){ ret, n };
}

int tpc_alert_list(struct tpc_core *core, const struct tpc_alert_query *query, tpc_alert_fn *fn,
                   void *user)
{
    struct tpc_alert_query q = TPC_ALERT_QUERY_INIT;
    if (core == NULL || fn == NULL || (query != NULL && query->size < sizeof(*query))) {
        return tpi_fail(TPC_EINVAL, "alert", "core or fn is NULL, or the query has no size");
    }
    if (query != NULL) {
        q = *query;
    }
    q.limit = q.limit > 0 ? q.limit : TPC_ALERT_LIST_DEFAULT;
    if (q.limit > TPC_ALERT_LIST_MAX) {
        return tpi_fail(TPC_EINVAL, "alert", "limit is over %d", TPC_ALERT_LIST_MAX);
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_alert_refresh(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    return tpi_alerts_list(core->alerts, &q, fn, user);
}

/* ---- what the owner does ---- */

struct deed {
    enum tpi_alert_deed deed;
    const struct tpc_id *id;
    struct tpc_str by;
    struct tpc_str comment;
    struct tpi_alert_wish *wish; /* NULL = deed */
    struct tpc_id *ret_id;
};

static int run(struct tpi_worker *w, void *user)
{
    struct deed *d = user;
    struct tpc_core *core = w->core;
    atomic_fetch_add(&core->rule_pending, 1); /* until the table has it */
    int rc = d->wish != NULL
                 ? tpi_alerts_wish(core->alerts, w->index, d->wish, d->ret_id)
                 : tpi_alerts_do(core->alerts, w->index, d->deed, d->id, d->by, d->comment);
    atomic_fetch_sub(&core->rule_pending, 1);
    return rc;
}

static int fail(int rc)
{
    const char *text = rc == TPC_ENOENT    ? "no such alert"
                       : rc == TPC_EDENIED ? "alerts of this key are disabled"
                       : rc == TPC_ESTATE  ? "it is cleared, or the core is not running"
                       : rc == TPC_ETOOBIG ? "too many are open, or it has too many comments"
                                           : tpc_error_name(rc);
    return rc == 0 ? 0 : tpi_fail(rc, "alert", "%s", text);
}

static int act(struct tpc_core *core, const struct tpc_actor *actor, const struct tpc_id *id,
               struct tpc_str comment, enum tpi_alert_deed deed)
{
    char name[ACTOR_BYTES];
    uint32_t worker = 0;
    if (core == NULL || id == NULL || (comment.len == 0 && deed == TPI_ALERT_DO_COMMENT)) {
        return tpi_fail(TPC_EINVAL, "alert", "core or id is NULL, or the comment is empty");
    }
    if (!tpi_core_running(core)) {
        return fail(TPC_ESTATE);
    }
    struct deed d = { .deed = deed, .id = id, .by = actor_text(actor, name), .comment = comment };
    int rc = tpi_alerts_owner(core->alerts, id, &worker);
    return fail(rc != 0 ? rc : tpi_worker_call(&core->workers[worker], run, &d));
}

int tpc_alert_ack(struct tpc_core *core, const struct tpc_actor *actor, const struct tpc_id *id,
                  struct tpc_str comment)
{
    return act(core, actor, id, comment, TPI_ALERT_DO_ACK);
}

int tpc_alert_comment(struct tpc_core *core, const struct tpc_actor *actor, const struct tpc_id *id,
                      struct tpc_str comment)
{
    return act(core, actor, id, comment, TPI_ALERT_DO_COMMENT);
}

int tpc_alert_clear(struct tpc_core *core, const struct tpc_actor *actor, const struct tpc_id *id,
                    struct tpc_str comment)
{
    return act(core, actor, id, comment, TPI_ALERT_DO_CLEAR);
}

int tpc_alert_raise(struct tpc_device *device, const struct tpc_actor *actor,
                    const struct tpc_alert_raise *raise, struct tpc_id *ret_id)
{
    char name[ACTOR_BYTES];
    struct tpc_id id;
    if (device == NULL || raise == NULL || raise->size < sizeof(*raise) || raise->key.len == 0 ||
        raise->key.len > KEY_BYTES || raise->severity > TPC_SEVERITY_CRITICAL) {
        return tpi_fail(TPC_EINVAL, "alert",
                        "it needs a device, its size, a key of 1 to %d bytes and a severity",
                        KEY_BYTES);
    }
    struct tpc_core *core = tpi_device_owner(device);
    if (!tpi_core_running(core)) {
        return fail(TPC_ESTATE);
    }
    if (atomic_load(&device->deleted)) {
        return tpi_fail(TPC_ENOENT, "alert", "the device is deleted");
    }
    struct tpi_alert_wish wish = { .device = device,
                                   .raise = true,
                                   .severity = raise->severity,
                                   .key = raise->key,
                                   .text = raise->text,
                                   .by = actor_text(actor, name),
                                   .unix_ms = tpi_unix_ms(&core->env) };
    wish.actor = wish.by;
    struct deed d = { .wish = &wish, .ret_id = &id };
    int rc = tpi_id_make(&core->env, &wish.id);
    rc = rc != 0 ? rc : tpi_worker_call(tpi_worker_of(core, device->partition), run, &d);
    if (rc == 0 && ret_id != NULL) {
        *ret_id = id;
    }
    return fail(rc);
}
