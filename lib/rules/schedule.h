/*
 * Schedules: what is done at planned times.
 *
 *     {"key": "night", "enabled": true,
 *      "type": "cron", "cron": "0 22 * * *", "zone": "Europe/Berlin", "missed": "run_once",
 *      "then": [{"command": {"device": "fan-1", "service": "set", "params": {"on": false}}}]}
 *
 * calendar/schedule.h says which members plan. One partition owns a schedule, by its id; its worker
 * does it. A planned time stands in the ids of its actions, so that one that comes again after a
 * crash is known; up to which time all is done is part of the partition's state. A schedule that is
 * put again with the same plan goes on; one with another plan, or that was disabled, starts anew.
 * What was planned before its document was put is never done. Texts of actions know planned (unix ms),
 * schedule.key, now(), device('id').name and the schedule's variables.
 *
 * With a condition ("if") a planned time is a run of it, and the schedule is what others call a task: vars.h and
 * gate.h say what stands around it. fire "rising": only if the run before was not true, after dampening. A
 * schedule that switched itself off passes over its planned times; they are not missed.
 */
#ifndef TPI_RULES_SCHEDULE_H
#define TPI_RULES_SCHEDULE_H

#include "calendar/schedule.h"
#include "rules/gate.h"
#include "rules/rules_state.h"
#include "rules/vars.h"

enum { TPI_RULES_MAX_SCHEDULES = 10000 };

/* Number under which the texts of actions load the planned time. */
enum { TPI_NAME_PLANNED = 1 };

/* What it remembers of its condition. All zero at first. */
struct tpi_judged {
    struct tpi_dampen_state dampen;
    bool held;            /* the dampened condition, at the last run */
    int64_t run_ms;       /* of the last run */
    int64_t off_until_ms; /* it switched itself off; 0 = it is on */
    int64_t redo_ms;      /* planned time that is in the log, perhaps not all of it; 0 = none */
};

struct tpi_rule_schedule {
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena;
    uint64_t id;
    uint64_t revision;
    uint64_t tenant_id;
    int64_t modified_ms;
    struct tpc_str tenant;
    struct tpc_str by; /* "schedule:key" */
    uint32_t plan;     /* short hash of all that plans */
    uint32_t partition;
    bool enabled;
    bool live;   /* its document is stored */
    bool broken; /* its zone cannot be read */
    bool again;  /* what is due first may have been done before the start */
    struct tpi_schedule schedule;
    struct tpi_schedule_state state;
    int64_t next_ms; /* look at it then */
    struct tpi_vars vars;
    struct tpi_expr *condition; /* NULL = always true */
    bool rising;
    struct tpi_gate gate;
    uint32_t judge; /* short hash of all that decides whether it fires */
    struct tpi_judged judged;
    struct tpi_actions actions;
    struct tpi_ledger ledger;
};

extern const struct tpc_list tpi_schedule_schema;

/* Hooks of the kind. */
int tpi_schedules_prepare(void *user, struct tpi_change *change, struct tpc_error *err);
void tpi_schedules_apply(void *user, struct tpi_change *change);
void tpi_schedules_discard(void *user, struct tpi_change *change);

/* All schedules end. */
void tpi_schedules_fini(struct tpi_rules *r);

/* When a worker's next schedule is due, as tpi_rules_next_ms(). Any thread. */
int64_t tpi_schedules_next_ms(const struct tpi_rules *r, uint32_t worker);
/* Does what is due, in a batch of its own. Returns how many planned times it did. */
uint32_t tpi_schedules_turn(struct tpi_rules *r, uint32_t worker, int64_t now_ms);

/* Does what a schedule does, whatever its condition says; when it is planned does not change. offset: what the
 * ids of its actions are made of. Inside a batch of its owner. */
void tpi_schedule_run(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s,
                      uint64_t offset);

/* State of a partition's schedules: appended to out, and put back. Under the owner's lock. read says
 * whether the bytes are right; with apply it also takes them over. judged: they tell of conditions, too. Returns 0
 * or TPC_ECORRUPT. */
int tpi_schedules_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out);
int tpi_schedules_read(struct tpi_rules *r, struct tpi_reader *in, bool judged, bool apply);

#endif
