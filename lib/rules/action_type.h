/*
 * Types of actions: what stands in the one member of an item of "then". A new type is a struct
 * tpi_action_type with its functions in a file of its own, its options and a line in both lists of
 * action_types.c, and nothing else.
 */
#ifndef TPI_RULES_ACTION_TYPE_H
#define TPI_RULES_ACTION_TYPE_H

#include "rules/action.h"

/* What is known when actions are checked: see tpi_actions_check(). */
struct tpi_action_scope {
    struct tpi_registry *registry;
    struct tpc_str tenant;
    uint64_t tenant_id;
    struct tpc_str product; /* of the device that sets them off; empty = there is none */
    struct tpc_arena *arena;
};

/* One action for one device. */
struct tpi_deed {
    uint32_t number;                /* of the action */
    struct tpc_device *target;      /* whom it is about; NULL = nobody */
    const struct tpc_value *params; /* the action's, filled in */
    struct tpc_id id;               /* the same whenever this is done again */
};

struct tpi_action_type {
    const char *name;     /* the member of an item */
    const char *names;    /* member that is tpi_action.name; NULL = none */
    const char *params;   /* member that is tpi_action.params, a map; NULL = read() makes them */
    bool device_optional; /* it may be about nobody */
    bool waits;           /* what follows is done later: name is a duration */
    /*
     * Reads what is its own of the checked document; device, name and params are set already. What
     * it points to lives in the arena. Returns 0, TPC_EINVAL (path in the document) or TPC_ENOMEM.
     * NULL = there is nothing.
     */
    int (*read)(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                struct tpc_error *err);
    /* Makes what its document alone cannot say, after read(), and takes that back. May be NULL. */
    int (*compile)(struct tpi_action *a, const struct tpi_expr_scope *scope, struct tpc_error *err);
    void (*uncompile)(struct tpi_action *a);
    /* Frees what read() made beside the arena. May be NULL. */
    void (*fini)(struct tpi_action *a);
    /* Checks it when it is put, not when it is loaded. Returns 0 or an error (path in the document).
     * NULL = nothing to check. */
    int (*check)(const struct tpi_action *a, const struct tpi_action_scope *scope,
                 struct tpc_error *err);
    /* As the host's functions: does it, once for each device that it is about. TPC_EEXIST (done
     * before) is no failure. */
    int (*act)(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed);
};

/* An action failed, also one that is done after the batch: it is counted, and logged once. code
 * TPC_ENOENT with missing: there is no such device. */
void tpi_act_failed(const struct tpi_act *act, struct tpi_action *a, uint32_t number, int code,
                    bool missing, const struct tpc_device *target);

/* Does one action about one device, once it has its values. Returns whether it failed. */
bool tpi_act_do(const struct tpi_act *act, struct tpi_action *a, struct tpi_deed *deed);

/* The id of an action that is done for many devices becomes that of one of them. 0 or TPC_EIO. */
int tpi_act_id_of(struct tpc_id *id, uint64_t device);

/* Asks for the devices that an action is about; it is done after the batch. Returns 0 or what the host
 * says. */
int tpi_fan_ask(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed);

extern const struct tpi_action_type tpi_action_command;
extern const struct tpi_action_type tpi_action_set;
extern const struct tpi_action_type tpi_action_notify;
extern const struct tpi_action_type tpi_action_alert;
extern const struct tpi_action_type tpi_action_clear;
extern const struct tpi_action_type tpi_action_run;
extern const struct tpi_action_type tpi_action_enable;
extern const struct tpi_action_type tpi_action_disable;
extern const struct tpi_action_type tpi_action_delay;
extern const struct tpi_action_type tpi_action_lua;

/* All of them, NULL at the end; and their names for people: "command, notify, ..". */
extern const struct tpi_action_type *const tpi_action_types[];
#define TPI_ACTION_NAMES "command, set, notify, alert, clear, run, enable, disable, delay, lua"

/*
 * Does an action that another one made, of a type that compiles nothing; number: one that no action of
 * the rule has; about: whom that one is about. Returns 0, TPC_ENOENT (no such device) or what its act()
 * said.
 */
int tpi_act_made(const struct tpi_act *act, const struct tpi_action *a, uint32_t number,
                 struct tpc_device *about);

#endif
