/*
 * Alerts: what rules, silence and people raise becomes one alert of each key and device, and what the
 * entities of kind "alert" say of it happens.
 *
 * What rules say is a wish: the table knows whether it changes anything. A change is one append: the
 * notifications that it makes, then the change itself, a message TPC_MSG_ALERT that carries all of the
 * alert as it is then. So replaying the log leads to the same table, and what was appended before a
 * crash without its end is known by its ids.
 *
 * Threads: an alert belongs to the worker of its device's partition; what has a worker argument is
 * called by it, without a lock. Workers change the table under a lock of their own that readers
 * (listing, saving) take.
 */
#ifndef TPI_RULES_ALERT_H
#define TPI_RULES_ALERT_H

#include <stdbool.h>
#include <tpcore/alert.h>
#include <tpcore/arena.h>
#include <tpcore/msg.h>
#include <tpcore/rule.h>

#include "base/env.h"
#include "base/metric.h"

struct tpi_alerts;
struct tpi_registry;
struct tpi_kind;

enum {
    TPI_ALERTS_MAX = 1000000,      /* open */
    TPI_ALERTS_KEEP_ROWS = 100000, /* closed */
    TPI_ALERT_HANDLERS = 16,       /* that one configuration names */
    TPI_ALERT_WINDOWS = 16,        /* of maintenance, of one configuration */
    TPI_ALERT_TOGGLES = 20,        /* most changes that flapping counts */
    TPI_ALERT_RETRY_MS = 100       /* until a log that said later is asked again */
};
#define TPI_ALERTS_KEEP_MS ((uint64_t) 30 * 86400000)

/* A message that a change makes. */
struct tpi_alert_message {
    struct tpc_id id;
    uint16_t kind; /* TPC_MSG_NOTIFY or TPC_MSG_ALERT */
    uint32_t partition;
    uint64_t device_id;
    int64_t unix_ms;
    struct tpc_str name;
    struct tpc_str by;
    struct tpc_value params;
};

struct tpi_alerts_host {
    void *user;
    struct tpi_registry *registry;
    uint32_t workers;
    uint64_t keep_ms;   /* 0 = TPI_ALERTS_KEEP_MS */
    uint32_t keep_rows; /* 0 = TPI_ALERTS_KEEP_ROWS */
    uint32_t open_max;  /* 0 = TPI_ALERTS_MAX */
    /* All of one partition, in one append, or none. */
    int (*append)(void *user, uint32_t worker, const struct tpi_alert_message *messages,
                  uint32_t count);
    /* Whether the last replay found a message of this id. */
    bool (*said)(void *user, const struct tpc_id *id);
};

struct tpi_alerts_counters {
    _Atomic uint64_t open;
    _Atomic uint64_t closed;
    _Atomic uint64_t raised;
    _Atomic uint64_t repeated;
    _Atomic uint64_t cleared;
    _Atomic uint64_t suppressed;
    _Atomic uint64_t flapping;
    _Atomic uint64_t escalated;
    _Atomic uint64_t notifications;
    _Atomic uint64_t trimmed;
    _Atomic uint64_t full;
    _Atomic uint64_t disabled;
    _Atomic uint64_t delayed;
};

extern const struct tpi_metric_def tpi_alerts_metrics[];
extern const uint32_t tpi_alerts_metric_count;

/* 0 = no such name. */
uint32_t tpi_severity_of(struct tpc_str name);

/* Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int tpi_alerts_create(const struct tpi_env *env, const struct tpi_alerts_host *host,
                      struct tpc_error *err, struct tpi_alerts **ret);
void tpi_alerts_destroy(struct tpi_alerts *a);

/* The kind "alert", to be added after tenant, product and device. */
const struct tpi_kind *tpi_alerts_kind(struct tpi_alerts *a);
const struct tpi_alerts_counters *tpi_alerts_count(const struct tpi_alerts *a);

/* As tpi_rules_info(), of configurations. */
int tpi_alerts_info(struct tpi_alerts *a, struct tpc_str tenant, struct tpc_str key,
                    tpc_rule_fn *fn, void *user);

/* ---- wishes ---- */

/* Views live during the call. */
struct tpi_alert_wish {
    struct tpc_id id;          /* the same whenever the same thing wishes it again */
    struct tpc_device *device; /* borrowed; not deleted */
    bool raise;                /* else clear */
    uint32_t severity;         /* 0 = warning */
    struct tpc_str key;
    struct tpc_str text;
    struct tpc_str by;
    struct tpc_str actor; /* "user alice" = by hand, for the audit trail; empty = by a rule */
    int64_t unix_ms;
    /* What set it off, if it was a message; a partition's offsets only grow. */
    bool has_source;
    uint32_t source_partition;
    uint64_t source_offset;
    bool replayed; /* perhaps it was granted before a crash */
};

/* Grants it, if it changes anything. ret_id: of the alert; may be NULL. Returns 0; TPC_EDENIED,
 * TPC_ETOOBIG, TPC_ENOMEM, or what append() said: then nothing has changed. */
int tpi_alerts_wish(struct tpi_alerts *a, uint32_t worker, const struct tpi_alert_wish *wish,
                    struct tpc_id *ret_id);

enum tpi_alert_deed { TPI_ALERT_DO_ACK = 1, TPI_ALERT_DO_COMMENT = 2, TPI_ALERT_DO_CLEAR = 3 };

/* What somebody does with one. by: "user alice". Returns 0; TPC_ENOENT, TPC_ESTATE, TPC_ETOOBIG,
 * TPC_ENOMEM, or what append() said. */
int tpi_alerts_do(struct tpi_alerts *a, uint32_t worker, enum tpi_alert_deed deed,
                  const struct tpc_id *id, struct tpc_str by, struct tpc_str comment);

/* Whose it is. Returns 0 or TPC_ENOENT. Any thread. */
int tpi_alerts_owner(struct tpi_alerts *a, const struct tpc_id *id, uint32_t *ret_worker);

/* ---- what happens ---- */

/* Presence of a device changed. Costs nothing where no configuration is about its product. */
void tpi_alerts_presence(struct tpi_alerts *a, uint32_t worker, const struct tpc_device *device,
                         bool online, int64_t unix_ms);

/* The device was deleted: its alerts end. Returns 0 or what append() said. */
int tpi_alerts_gone(struct tpi_alerts *a, uint32_t worker, const struct tpc_device *device);

/* Products changed: what watches them begins anew. Any thread. */
void tpi_alerts_products_changed(struct tpi_alerts *a);

/* Whether a turn has something to do. */
bool tpi_alerts_due(struct tpi_alerts *a, uint32_t worker);
/* Whatever time made due. Returns whether it did something. */
bool tpi_alerts_turn(struct tpi_alerts *a, uint32_t worker);
/* Milliseconds until then; UINT64_MAX = never. */
uint64_t tpi_alerts_next_ms(struct tpi_alerts *a, uint32_t worker);

/* ---- start and storing ---- */

/* Forgets all alerts: before load and replay. No worker uses it meanwhile. */
void tpi_alerts_reset(struct tpi_alerts *a);
/* A stored row. Damaged ones are TPC_ECORRUPT and change nothing; TPC_ENOMEM. */
int tpi_alerts_load(struct tpi_alerts *a, struct tpc_bytes doc, struct tpc_arena *arena);
/* A message TPC_MSG_ALERT of the log, in the order of the log. Returns 0 or TPC_ENOMEM. */
int tpi_alerts_replay(struct tpi_alerts *a, const struct tpc_msg *msg);

/* One row that is to be stored: key = id in hex, doc = JSON; doc empty = it is to be deleted. A
 * non-zero return ends the taking, and this row comes again. */
typedef int tpi_alert_row_fn(void *user, struct tpc_str key, struct tpc_str device,
                             struct tpc_bytes doc);
/* Takes what changed since. Any one thread. Returns 0, TPC_ENOMEM or what fn returned. */
int tpi_alerts_take(struct tpi_alerts *a, struct tpc_arena *arena, tpi_alert_row_fn *fn,
                    void *user);
/* Whether a change waits to be stored, counts apart. */
bool tpi_alerts_dirty(const struct tpi_alerts *a);

/* As tpc_alert_list(). Any thread. */
int tpi_alerts_list(struct tpi_alerts *a, const struct tpc_alert_query *query, tpc_alert_fn *fn,
                    void *user);

#endif
