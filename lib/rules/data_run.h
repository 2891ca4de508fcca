/* What the files of data rules at work share. Under the worker's lock. */
#ifndef TPI_RULES_DATA_RUN_H
#define TPI_RULES_DATA_RUN_H

#include "rules/action_type.h"
#include "rules/data_rule.h"
#include "rules/data_trace.h"
#include "rules/group.h"

/* One device at one rule. */
struct run {
    struct tpi_rules *r;
    uint32_t worker;
    uint32_t partition;
    struct tpi_data_rule *d;
    struct tpc_device *device; /* NULL = several */
    uint64_t key; /* of its pane and lane: the device's id, or the hash of its groups */
    const struct tpi_group_input *input; /* what msg, which is only a head then, gave to several */
    const struct tpi_flow *flow;
    const struct tpc_msg *msg;       /* NULL = a window ends by the clock, or a kept one comes */
    const struct tpi_moment *moment; /* of a kept one; NULL = msg counts */
    const uint8_t *values;           /* what it was packed to */
    const struct tpi_pane *pane;     /* that is emitted */
    struct tpc_arena *lists;         /* of the lists in its row */
    int64_t start_ms, end_ms;        /* of its window */
    struct tpc_device *target;       /* whom its row is about; NULL = nobody */
    const struct tpc_member *row;    /* while actions are done */
    int64_t caused_ms;               /* when the message came, or the clock said it */
    struct tpc_value *groups;        /* of a window that is emitted */
};

/* data_out.c: a row as an event, and as values, of the run's target; Logs what is wrong once per rule. */
void tpi_run_event(struct run *x, const struct tpi_act *act, const struct tpc_value *row);
void tpi_run_values(struct run *x, const struct tpi_act *act, const struct tpc_value *row);
void tpi_run_warn(struct run *x, const char *what);

/* For who follows the rule; only where somebody does. */
struct tpi_data_trace tpi_run_trace(const struct run *x);

/* data_value.c: hosts of its expressions; user is the run. What is absent from a message is null to the
 * first, and the device's latest to the one of groups. */
extern const struct tpi_expr_host tpi_run_message_host;
extern const struct tpi_expr_host tpi_run_group_host;
extern const struct tpi_expr_host tpi_run_window_host;
extern const struct tpi_expr_host tpi_run_row_host;
struct tpc_value tpi_run_text(struct tpc_str s); /* a view */

/* What aggregates and conditions of a state window take from the message: it stands in f until the next
 * one. Returns 0 or TPC_ENOMEM. */
int tpi_run_pack(struct run *x, struct tpi_flow *f, int64_t ms, struct tpi_packed *ret);

/* A window as a row, if the rule is good and HAVING holds. */
void tpi_run_emit(struct run *x, const struct tpi_pane *p, int64_t start_ms, int64_t end_ms);
/* The message, or the moment, into a pane. */
void tpi_run_add(struct run *x, struct tpi_flow *f, struct tpi_pane *p);
/* The device's only pane, or its earliest; NULL = none. */
struct tpi_pane *tpi_run_pane(struct run *x, struct tpi_flow *f);
/* A message into a session, count or state window at this time. */
void tpi_run_collect(struct run *x, struct tpi_flow *f, int64_t unix_ms);
/* Ends the session if it is over by then. Returns how many rows that were. */
uint32_t tpi_run_session(struct run *x, struct tpi_flow *f, int64_t unix_ms);
/* The device is looked at then. */
void tpi_run_wait(struct run *x, int64_t at_ms);
/* A message found no room. */
void tpi_run_full(struct run *x);

/* data_lane.c: a message of a rule with lanes; one that is due: how many rows that gave. next: when a lane
 * has to be looked at, INT64_MAX = never. */
void tpi_run_lane(struct run *x, struct tpi_flow *f);
uint32_t tpi_run_lane_due(struct run *x, struct tpi_flow *f, int64_t at_ms, int64_t now_ms);
int64_t tpi_lane_next_ms(const struct tpi_data_rule *d, const struct tpi_lane *lane);

#endif
