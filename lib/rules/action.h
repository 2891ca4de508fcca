/*
 * What a rule does: the list "then" of scenes, schedules and whatever else sets something off.
 *
 *     {"command": {"device": "fan-1", "service": "set", "params": {"on": true}}}
 *     {"notify": {"handler": "ops", "params": {"text": "fan is on"}}}
 *     {"alert": {"key": "hot", "severity": "major", "text": "too hot"}}
 *     {"clear": {"key": "hot"}}
 *
 * Texts may have values in them: "{{ temperature | round(1) }} at {{ device.key }}" (rules/fill.h). An
 * action about no device by name is about the one that set it off. Actions are made once from their
 * document, then unchanged but for the mark of what was logged.
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

struct tpi_action {
    const struct tpi_action_type *type;
    struct tpc_str device; /* empty = the one that set it off */
    struct tpc_str name;   /* service, handler, key of the alert: what the type says */
    /* Of a command and a notification: a map or null; of an alert: what its message says. */
    struct tpc_value params;
    struct tpi_fills fills; /* of params */
    void *more;             /* what only its type knows */
    atomic_bool warned;     /* its failure was logged */
};

struct tpi_actions {
    struct tpi_action *items;
    uint32_t count;
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

/* Who acts, and what set it off. Views live during the call. */
struct tpi_act {
    struct tpi_rules *rules;
    uint32_t worker;
    uint64_t tenant_id;
    uint64_t rule; /* its id and revision */
    uint64_t revision;
    struct tpc_str by;           /* "scene:fan-on" */
    struct tpc_device *device;   /* whose message it was; NULL = none */
    uint32_t partition;          /* of the message, or the rule's own */
    uint64_t offset;             /* of the message, or another number that is never used again */
    bool again;                  /* it may have been done before the start */
    struct tpi_tally *tally;     /* the worker's, of the rule */
    bool waited;                 /* other messages came between that one and now */
    struct tpi_fill_source from; /* of values in texts */
    /* What a notification without params says; NULL = nothing. */
    const struct tpc_value *row;
};

/*
 * Does them. A failure is counted, and logged once per action; the others are done. Returns how many
 * failed. The same rule,
 * revision, partition and offset give the same ids, so that what comes again after a crash is known. Inside a
 * batch, on the worker, under the registry's read lock.
 */
uint32_t tpi_act(const struct tpi_act *act, struct tpi_actions *actions);

#endif
