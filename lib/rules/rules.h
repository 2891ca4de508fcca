/*
 * Scenes: when a condition over the properties of a device holds, commands go out.
 *
 *     {"key": "fan-on", "enabled": true,
 *      "when": {"product": "thermo", "devices": ["t1"], "expr": "temperature > 30",
 *               "for": "5m", "until": "temperature < 28", "every": "1h"},
 *      "then": [{"command": {"device": "fan-1", "service": "set", "params": {"on": true}}}]}
 *
 * A scene is looked at only when a property that it names is in the message; the condition itself
 * sees the latest values of the device. fire "rising" (default): once when the condition becomes
 * true, per device; "each": with every such message while it is true. Null (a value is missing)
 * fires nothing and leaves the edge as it was, so that a restart with empty latest values does not
 * fire again. on "event", "online" and "offline" fire with each such message for which the condition
 * is true or absent.
 *
 * for: it has to stay true that long; the clock of the process counts, also while the process was
 * away. until: what ends it instead of the condition being false (hysteresis). every: after a firing
 * the device's next ones are passed over for that long, by the receipt time of messages.
 *
 * Threads: a worker calls begin, message.., end for each batch of its partitions, under the
 * registry's read lock. Changes of scenes wait for the ends of running batches. The state calls may
 * come from any thread that is not between begin and end.
 */
#ifndef TPI_RULES_RULES_H
#define TPI_RULES_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>
#include <tpcore/command.h>
#include <tpcore/error.h>
#include <tpcore/msg.h>
#include <tpcore/rule.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/metric.h"

struct tpi_rules;
struct tpi_registry;
struct tpi_kind;
struct tpc_device;

enum {
    TPI_RULES_MAX_SCENES = 10000,
    TPI_RULES_MAX_WATCHES = 20000, /* scenes and data rules */
    TPI_RULES_MAX_DEVICES = 1000,  /* named by one scene */
    TPI_RULES_MAX_EDGES = 1 << 20, /* pairs of scene and device that are true now, per partition */
    TPI_RULES_HOPS = 16,           /* links of a chain of rules: one of so many is cut */
    TPI_RULES_MAX_TARGETS = 1000,  /* devices that one action is done for */
    TPI_RULES_MAX_RUNS = 256,      /* scenes that one action runs, those that they run among them */
    TPI_RULES_MAX_LATERS =
        1 << 16 /* lists of actions that wait for the end of a delay, per partition */
};

/* A command that a rule wants. Views and trees are the rule's, valid during the call. */
struct tpi_rule_command {
    struct tpc_id id;          /* the same whenever this record fires this action again */
    struct tpc_device *source; /* whose message it was; NULL = none */
    struct tpc_device *target; /* borrowed under the registry's read lock; any partition */
    struct tpc_str service;
    const struct tpc_value *params; /* a map, or TPC_NULL */
    struct tpc_str by;              /* "scene:key"; the actor is "rule scene:key" */
    uint32_t timeout_ms;            /* 0 = the default of tpc_command_options */
    uint32_t retries;
    uint32_t retry_delay_ms;
    uint32_t expire_ms;
    uint32_t priority; /* enum tpc_priority */
    bool again;        /* it may have been done before the start */
    uint32_t hops;     /* links of the chain that it is the last of: rules/chain.h */
};

/* A message that a rule wants in the log: a notification, an alert or a row. Views as above. */
struct tpi_rule_message {
    struct tpc_id id;
    struct tpc_device *device; /* whom it is about, borrowed; NULL = nobody */
    uint32_t partition;
    uint16_t kind; /* TPC_MSG_NOTIFY, TPC_MSG_ALERT, TPC_MSG_EVENT: a row, TPC_MSG_TELEMETRY:
                    * values (params; their time is unix_ms), or TPI_MSG_RULE_INPUT */
    struct tpc_str name;
    const struct tpc_value *params;
    struct tpc_str by;
    bool again;      /* it may be in the log from before the start */
    uint32_t hops;   /* of a row: as above */
    bool has_source; /* a message of the log set it off: */
    uint32_t source_partition;
    uint64_t source_offset;
    /* Of TPI_MSG_RULE_INPUT, which has neither id nor params: the record's, and what tells it. Those
     * of one worker are appended in this order; each then comes to tpi_rules_input(). */
    int64_t unix_ms;
    int64_t received_unix_ms;
    struct tpc_bytes raw;
};

/* An entity that a rule wants switched on or off. Views as above. */
struct tpi_rule_switch {
    uint32_t partition; /* whose worker does it */
    struct tpc_str tenant;
    struct tpc_str kind;
    struct tpc_str key;
    bool enabled;
    struct tpc_str by;
    int64_t unix_ms; /* what set it off; 0 = now */
    bool again;      /* it may be done already: not if the entity was changed since unix_ms */
};

/* Devices that a rule wants found: those of a group, or those of a product and with labels that `select`
 * chooses; what is empty is not asked for. Texts are valid until it is given back. */
struct tpi_fan {
    uint32_t partition; /* whose worker finds them */
    struct tpc_str tenant;
    struct tpc_str product;
    struct tpc_str select;
    struct tpc_str group;
};

struct tpi_rules_host {
    void *user;
    struct tpi_registry *registry;
    uint32_t workers;    /* at least 1 */
    uint32_t partitions; /* at least 1 */
    /* Checks and appends it, on the owner thread of the source, inside a batch: it opens no device
     * by name and puts no entity. A failure is counted and logged once per action; the command is
     * not tried again. TPC_EEXIST (seen before, a replay) is no failure. */
    int (*command)(void *user, uint32_t worker, const struct tpi_rule_command *command);
    /* Appends it after the batch, once: a replay drops what is in the log already. */
    int (*message)(void *user, uint32_t worker, const struct tpi_rule_message *message);
    /* Takes the fan, unless it fails: after the batch, at most TPI_RULES_MAX_TARGETS devices are found and
     * given to tpi_fan_done(). NULL = there are no such actions. */
    int (*fan)(void *user, uint32_t worker, struct tpi_fan *fan);
    /* Puts the entity anew, after the batch and what it sent to devices. NULL = it cannot be done. */
    int (*change)(void *user, uint32_t worker, const struct tpi_rule_switch *change);
    /* A worker's next time has changed: it shall look. Any thread, under our locks. May be NULL. */
    void (*wake)(void *user, uint32_t worker);
    const char *zone_dir; /* of time zones; NULL = the system's */
    /* Where codecs run scripts (tpc_codec_ops.encode's worker); 0 = the worker itself. Whoever runs
     * rules beside the core's workers says the place that codecs have for trials. */
    uint32_t script_place;
};

struct tpi_rules_counters {
    _Atomic uint64_t scenes;
    _Atomic uint64_t broken;
    _Atomic uint64_t evaluations;
    _Atomic uint64_t fired;
    _Atomic uint64_t held_back;
    _Atomic uint64_t commands;
    _Atomic uint64_t messages;
    _Atomic uint64_t refused;
    _Atomic uint64_t missing_target;
    _Atomic uint64_t edges_full;
    _Atomic uint64_t texts_lost;
    _Atomic uint64_t data_rules;
    _Atomic uint64_t data_rules_broken;
    _Atomic uint64_t data_rules_spread; /* over several devices */
    _Atomic uint64_t inputs;
    _Atomic uint64_t rows;
    _Atomic uint64_t panes_full;
    _Atomic uint64_t values_lost;
    _Atomic uint64_t kept_full;
    _Atomic uint64_t late;
    _Atomic uint64_t schedules;
    _Atomic uint64_t schedules_broken;
    _Atomic uint64_t schedules_fired;
    _Atomic uint64_t schedules_missed;
    _Atomic uint64_t schedules_failed;
    _Atomic uint64_t loops;
    _Atomic uint64_t links_lost;
    _Atomic uint64_t delays;
    _Atomic uint64_t delays_full;
    _Atomic uint64_t delays_dropped;
    _Atomic uint64_t fans_full;
    _Atomic uint64_t fans_dropped;
    _Atomic uint64_t scripts;
    _Atomic uint64_t scripts_failed;
};

extern const struct tpi_metric_def tpi_rules_metrics[];
extern const uint32_t tpi_rules_metric_count;

int tpi_rules_create(const struct tpi_env *env, const struct tpi_rules_host *host,
                     struct tpc_error *err, struct tpi_rules **ret);
void tpi_rules_destroy(struct tpi_rules *r);

/* The kind "scene", to be added after tenant, product and device. A scene that does not compile any
 * more when it is loaded is kept, logged and counted as broken instead of stopping the start. */
const struct tpi_kind *tpi_rules_kind(struct tpi_rules *r);

/* The kind "schedule": rules/schedule.h. To be added after the same. */
const struct tpi_kind *tpi_rules_schedule_kind(struct tpi_rules *r);

/* The kind "rule": rules/data_rule.h. To be added after the same. */
const struct tpi_kind *tpi_rules_data_kind(struct tpi_rules *r);

const struct tpi_rules_counters *tpi_rules_count(const struct tpi_rules *r);

/* As tpc_rule_list(), of one key if it is not empty: then TPC_ENOENT if nobody has it. Any thread that
 * is not between begin and end; fn is called without locks. */
int tpi_rules_info(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                   struct tpc_str key, tpc_rule_fn *fn, void *user);

/* A firing that somebody asks for. */
struct tpi_scene_run {
    uint32_t worker;
    uint32_t partition;        /* one of the worker's */
    struct tpc_device *device; /* whom it is about; NULL = nobody */
    uint64_t offset;           /* what its actions' ids are made of, with the partition */
    bool again;                /* it may have been done before the start */
    bool ask;                  /* only if its condition is true now */
};

/* A scene or schedule by its name. */
struct tpi_rule_name {
    struct tpc_str tenant;
    struct tpc_str kind; /* "scene" or "schedule" */
    struct tpc_str key;
};

/* The partition that a rule belongs to where no device tells. Returns 0 or TPC_ENOENT. No batch is
 * open. */
int tpi_rules_partition(struct tpi_rules *r, const struct tpi_rule_name *name,
                        struct tpc_error *err, uint32_t *ret);

/* Runs a rule now, in a batch of its own; its condition is not asked unless run says so. A schedule is run in
 * its own partition, about no device. Returns 0, TPC_ENOENT, TPC_ESTATE (disabled or broken) or TPC_EINVAL (a
 * device of another tenant or product). */
int tpi_rules_run(struct tpi_rules *r, const struct tpi_rule_name *name,
                  const struct tpi_scene_run *run, struct tpc_error *err);

/* Forgets what a scene remembers of a device, NULL = of all: that it fired, that its condition is true, what
 * waits. A schedule that switched itself off is on again. Returns 0 or TPC_ENOENT. No batch is open. */
int tpi_rules_reset(struct tpi_rules *r, const struct tpi_rule_name *name,
                    const struct tpc_device *device, struct tpc_error *err);

/* Whether commands set off any scene: else they need not be passed to tpi_rules_message(). Any thread. */
bool tpi_rules_on_commands(const struct tpi_rules *r);

/* Receipt time that a message gets that was received then and is taken in now, on the worker's thread: not
 * before the windows that its clock has ended. So a replay puts it into the same windows. */
int64_t tpi_rules_received(const struct tpi_rules *r, uint32_t worker, int64_t received_unix_ms);

/* Brackets of a batch; one worker has one batch open at a time. */
void tpi_rules_begin(struct tpi_rules *r, uint32_t worker);
void tpi_rules_end(struct tpi_rules *r, uint32_t worker);

/* Before the values of a message become the device's latest: keeps what they replace, for conditions
 * that ask for it. tpi_rules_message() of the same message follows. Does nothing for other kinds. */
void tpi_rules_before(struct tpi_rules *r, uint32_t worker, struct tpc_device *device,
                      const struct tpc_msg *msg);

/* Looks at the scenes that a message concerns, once its values are the device's latest. Kinds other
 * than telemetry, attributes, event, presence, command and its end are passed over. Of presence, only what turns it. Allocates only when a new pair becomes true. */
void tpi_rules_message(struct tpi_rules *r, uint32_t worker, struct tpc_device *device,
                       const struct tpc_msg *msg);

/* A record of kind TPI_MSG_RULE_INPUT, once it is in the log: its owner's worker, inside a batch. One
 * that came before does nothing. */
void tpi_rules_input(struct tpi_rules *r, uint32_t worker, const struct tpc_msg *msg);
/* Whether such a record of this partition would do nothing. The owner's lock or nobody else is there. */
bool tpi_rules_input_came(struct tpi_rules *r, uint32_t partition, struct tpc_bytes raw);

/* At start, when all states are loaded: where a partition's log ends. A log that began anew brings
 * offsets again that came before. */
void tpi_rules_inputs_end(struct tpi_rules *r, uint32_t partition, uint64_t end);

/* What rules take for a device's state before the next message about it. The owner; without it, the
 * device's own. */
void tpi_rules_seen(struct tpc_device *device, bool online);

/* When a worker has to look next, as unix time: the first pair that waits fires, a schedule is due. INT64_MAX
 * = never. The clock may be set meanwhile: who sleeps until then looks at it from time to time. Any thread. */
int64_t tpi_rules_next_ms(const struct tpi_rules *r, uint32_t worker);

/* Fires what has waited long enough and what is planned for now or was missed. Takes the registry's read lock; no batch is open. Returns how
 * many fired. */
uint32_t tpi_rules_turn(struct tpi_rules *r, uint32_t worker);
/* The same for who knows the time: tpi_unix_ms(). */
uint32_t tpi_rules_turn_at(struct tpi_rules *r, uint32_t worker, int64_t now);

/* The log is read again: what rules do from it may have been done before the start, also later. */
void tpi_rules_replaying(struct tpi_rules *r, bool on);

/* Gives a fan back with the ids of what was found; more: there are others. code other than 0: it failed
 * (TPC_ENOENT: there is no such group). The worker, no batch and no lock is open. */
void tpi_fan_done(struct tpi_rules *r, uint32_t worker, struct tpi_fan *fan, int code,
                  const uint64_t *devices, uint32_t count, bool more);
/* It is never done: the core goes. */
void tpi_fan_drop(struct tpi_rules *r, struct tpi_fan *fan);

/* A command, a notification or an alert is in the log that is replayed at start: a schedule that said it knows so.
 * After the states are loaded, before the first turn. No batch is open. */
void tpi_rules_said(struct tpi_rules *r, const struct tpc_msg *msg);

/* A product's model changed: its scenes are compiled again. Any thread without a batch or lock
 * open. */
void tpi_rules_product_changed(struct tpi_rules *r, uint64_t product_id);

/* State of a partition (which pairs are true, and up to where): appended to out, and put back
 * before the first message. It starts with a version (u8) and *ret_next (varint), the offset of the
 * first message that is not in it. Pairs of scenes that are gone or whose condition changed are
 * dropped. Schedules of the partition stand in it, too. load: TPC_ECORRUPT, TPC_EVERSION, TPC_ENOMEM; the partition's state is then as before.
 */
int tpi_rules_state_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out);
int tpi_rules_state_load(struct tpi_rules *r, uint32_t partition, struct tpc_bytes bytes,
                         struct tpc_error *err, uint64_t *ret_next);

/* Which rules the states belong to: saved with them, before them, and loaded before them. Returns as those. */
int tpi_rules_known_save(struct tpi_rules *r, struct tpi_buf *out);
int tpi_rules_known_load(struct tpi_rules *r, struct tpc_bytes bytes, struct tpc_error *err);

/* What comes from now on has never been seen. */
void tpi_rules_replayed(struct tpi_rules *r);

/* Id of action number `action` of a rule for one record: the first 16 bytes of SHA-256 over its
 * id, revision, partition, offset and action as little-endian numbers, marked as UUIDv8 (RFC
 * 9562 5.8). Returns 0 or TPC_EIO. */
int tpi_rules_action_id(uint64_t rule, uint64_t revision, uint32_t partition, uint64_t offset,
                        uint32_t action, struct tpc_id *ret);

#endif
