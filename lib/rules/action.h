/*
 * What a rule does: the list "then" of scenes, schedules and whatever else sets something off.
 *
 *     {"command": {"device": "fan-1", "service": "set", "params": {"on": true}}}
 *     {"set": {"group": "attic", "values": {"level": "{{ temperature / 10 }}"}}}
 *     {"notify": {"handler": "ops", "params": {"text": "fan is on"}}}
 *     {"alert": {"key": "hot", "severity": "major", "text": "too hot"}}
 *     {"clear": {"key": "hot"}}
 *     {"run": {"scene": "night"}}
 *     {"disable": {"kind": "schedule", "key": "night"}}
 *     {"delay": "10s"}
 *
 * Texts may have values in them: "{{ temperature | round(1) }} at {{ device.key }}" (rules/fill.h). An
 * action about no device by name is about the one that set it off; one about many devices is done
 * once for each of them after the batch (rules/fan.c). What follows a delay is done later
 * (rules/later.h). Actions are made once from their document, then unchanged but for the mark of what
 * was logged.
 */
#ifndef TPI_RULES_ACTION_H
#define TPI_RULES_ACTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/ext/option.h>
#include <tpcore/value.h>

#include "registry/registry.h"
#include "rules/fill.h"

struct tpi_rules;
struct tpi_tally;

enum {
    TPI_ACTIONS_MAX = 32,  /* of one rule */
    TPI_ACTION_TEXT = 1024 /* bytes of an alert's text */
};

struct tpi_action_type; /* rules/action_type.h */

/* Devices that an action is about, by what they have in common: a product, labels, or a group. */
struct tpi_action_many {
    struct tpc_str product; /* with select: of this product */
    struct tpc_str select;  /* terms on labels, as in struct tpc_entity_query */
    struct tpc_str group;   /* alone */
};

struct tpi_action {
    const struct tpi_action_type *type;
    const struct tpi_action_many *many; /* NULL = one device: */
    struct tpc_str device;              /* empty = the one that set it off */
    struct tpc_str name;                /* service, handler, key of the alert: what the type says */
    /* Of a command and a notification: a map or null; of an alert: what its message says. */
    struct tpc_value params;
    struct tpi_fills fills; /* of params */
    void *more;             /* what only its type knows, and this: */
    int64_t number;
    bool flag;
    atomic_bool warned; /* its failure was logged */
};

struct tpi_actions {
    struct tpi_action *items;
    uint32_t count;
    uint64_t document; /* hash of all that the rule's document says; not 0 */
};

/* A rule's schema has it as member "then". */
extern const struct tpc_option tpi_action_item;
#define TPI_ACTIONS_OPTION                                                                         \
    {                                                                                              \
        .name = "then", .type = TPC_OPT_LIST, .flags = TPC_OPT_REQUIRED, .min = 1,                 \
        .max = TPI_ACTIONS_MAX, .elem = &tpi_action_item, .since = "0.1",                          \
        .help = "what is done, in this order"                                                      \
    }

/* Reads the checked list; it and all it points to live as long as the arena. Returns 0, TPC_EINVAL (path
 * from "then[") or TPC_ENOMEM. */
int tpi_actions_read(struct tpi_actions *a, struct tpc_arena *arena, const struct tpc_value *then,
                     struct tpc_error *err);
/* Hash of a rule's document for tpi_actions.document. */
uint64_t tpi_actions_hash(const struct tpc_value *doc);

/* Compiles the values in their texts. Returns as tpi_fills_compile(), with a path from "then[". */
int tpi_actions_compile(struct tpi_actions *a, const struct tpc_allocator *alloc,
                        const struct tpi_expr_scope *scope, struct tpc_error *err);
/* Back to what was read: it can be compiled anew. */
void tpi_actions_uncompile(struct tpi_actions *a);
void tpi_actions_fini(struct tpi_actions *a);

/*
 * Checks the commands whose target is known now against its model; product: of the device that sets
 * them off, empty = there is none, and an action has to name its device. Takes the read lock. Returns
 * 0, TPC_EINVAL, TPC_ENOENT (service) or TPC_EMODEL, with a path from "then[".
 */
int tpi_actions_check(const struct tpi_actions *a, struct tpi_registry *registry,
                      struct tpc_str tenant, uint64_t tenant_id, struct tpc_str product,
                      struct tpc_arena *arena, struct tpc_error *err);

/* Whether something in the list is done later. */
bool tpi_actions_wait(const struct tpi_actions *a);

/* Who acts, and what set it off. Views live during the call. */
struct tpi_act {
    struct tpi_rules *rules;
    uint32_t worker;
    uint64_t tenant_id;
    struct tpc_str tenant; /* its key */
    uint64_t rule;         /* its id and revision */
    uint64_t revision;
    uint64_t document;           /* of its actions */
    struct tpc_str by;           /* "scene:fan-on" */
    struct tpc_device *device;   /* whose message it was; NULL = none */
    uint32_t partition;          /* of the message, or the rule's own */
    uint64_t offset;             /* of the message, or another number that is never used again */
    int64_t unix_ms;             /* when that was; 0 = now */
    bool again;                  /* it may have been done before the start */
    struct tpi_tally *tally;     /* the worker's, of the rule */
    bool waited;                 /* other messages came between that one and now */
    struct tpi_fill_source from; /* of values in texts */
    /* What a notification without params says; NULL = nothing. */
    const struct tpc_value *row;
    /* How many links of a chain of rules stand before this one, and the last of them: rules/chain.h. */
    uint32_t hops;
    struct tpc_str origin;
    const struct tpi_act *parent; /* the one that runs this inside of it, or NULL */
    struct tpc_id cause;          /* of that one's action; zero = none */
    uint32_t first;               /* number of the first action that is done */
};

/*
 * Does them. A failure is counted, and logged once per action; the others are done. Returns how many
 * failed. The same rule, revision, partition, offset and cause give the same ids, so that what comes
 * again after a crash is known. A chain that is too long is cut: it counts as one failure. Inside a
 * batch, on the worker, under the registry's read lock.
 */
uint32_t tpi_act(const struct tpi_act *act, struct tpi_actions *actions);

/*
 * What is needed to go on with a list of actions when the batch is over: all but views.
 */
struct tpi_act_kept {
    uint64_t rule;
    uint64_t revision; /* for the ids; it may be another one by then: */
    uint64_t document; /* .. that says the same */
    uint64_t device;   /* 0 = none */
    uint64_t offset;
    int64_t unix_ms;
    uint32_t partition;
    uint32_t hops;
    uint32_t action; /* where it goes on */
    bool again;
    struct tpc_id cause;
};

void tpi_act_keep(const struct tpi_act *act, uint32_t action, struct tpi_act_kept *ret);

/*
 * Finds the rule again. Inside a batch, as tpi_act(). Returns its actions; NULL: it was changed,
 * deleted or switched off, or its device is gone. Values for texts are not set.
 */
struct tpi_actions *tpi_act_find(struct tpi_rules *r, uint32_t worker,
                                 const struct tpi_act_kept *kept, struct tpi_act *ret);

#endif
