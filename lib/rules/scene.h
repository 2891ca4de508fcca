/*
 * A scene as it runs: made from its document, then unchanged but for its conditions' programs and
 * the marks of what was logged.
 */
#ifndef TPI_RULES_SCENE_H
#define TPI_RULES_SCENE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/arena.h>

#include "base/map.h"
#include "entity/entity.h"
#include "registry/registry.h"
#include "expr/expr.h"
#include "rules/action.h"
#include "rules/during.h"
#include "rules/gate.h"
#include "rules/ledger.h"
#include "rules/vars.h"

/* Names that are no properties. */
enum {
    TPI_NAME_DEVICE = 0x10000, /* device.key, in the texts of actions */
    TPI_NAME_ONLINE = 0x10001, /* device.online */
    TPI_NAME_PARAMS = 0x10002  /* params: of the event or command that set it off */
};

/* First member of what stands in the lists of products. */
enum tpi_watch_kind {
    TPI_WATCH_SCENE = 0,
    TPI_WATCH_DATA_RULE = 1,
    TPI_WATCH_TOPIC_RULE = 2 /* a data rule that takes only some messages of its product */
};

struct tpi_watch {
    uint32_t kind;    /* enum tpi_watch_kind */
    uint32_t number;  /* place in the workers' marks */
    bool linked;      /* stands in its product's lists */
    bool fence_new;   /* it does not look, either: its condition is another one since */
    int64_t fence_ms; /* during a replay: it does not act on what came before; INT64_MIN = on all */
};

/* What a scene looks at. */
enum tpi_trigger {
    TPI_ON_DATA = 0, /* a property that its condition names is in the message */
    TPI_ON_EVENT = 1,
    TPI_ON_ONLINE = 2,
    TPI_ON_OFFLINE = 3,
    TPI_ON_COMMAND = 4, /* a command to the device */
    TPI_TRIGGERS = 5,
    TPI_ON_MANUAL = 5 /* nothing: it is run */
};

/* Of a command. */
enum tpi_command_moment {
    TPI_COMMAND_SENT = 0, /* it was taken */
    TPI_COMMAND_DONE = 1, /* it succeeded */
    TPI_COMMAND_FAILED = 2
};

/* Its conditions as compiled against a model. */
struct tpi_condition {
    struct tpi_expr *expr;  /* NULL = always true */
    struct tpi_expr *until; /* NULL = until expr is false */
    struct tpi_vars vars;
    struct tpi_expr *
        *names; /* expr, until and the variables that they use; NULL = there are no variables */
    uint32_t name_count;
    bool good; /* false = broken: does not compile */
    uint64_t product_id;
};

struct tpi_scene {
    struct tpi_watch watch;
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena;   /* texts, actions */
    const struct tpi_env *env; /* that opens time zones of expressions; NULL = only fixed offsets */
    const char *zone_dir;
    uint64_t id;
    uint64_t revision;
    uint64_t tenant_id;
    struct tpc_str tenant;
    struct tpc_str key;
    struct tpc_str by;            /* "scene:key" */
    struct tpc_str product;       /* empty: of a manual one, it has no device of its own */
    struct tpc_str text;          /* of the condition */
    struct tpc_str until;         /* text of what ends it; empty = that it is false */
    struct tpc_str event;         /* or the service of a command; empty = any */
    const struct tpc_value *vars; /* NULL = none */
    const struct tpi_gate *gate;  /* its dampening by time is for_ms */
    int64_t for_ms;               /* that it has to be true; 0 = fires at once */
    int64_t every_ms;             /* between two firings for one device; 0 = no limit */
    int64_t debounce_ms;          /* so long nothing else may set it off; 0 = fires at once */
    uint32_t on;                  /* enum tpi_trigger */
    uint32_t moment;              /* enum tpi_command_moment */
    uint32_t when;                /* short hash of all that decides whether it is true */
    bool enabled;
    bool live; /* its document is stored */
    bool each; /* fires with every message */
    bool once; /* .. or change to true, but only the first until it is reset */
    struct tpi_during during;
    struct tpi_map devices; /* keys; empty = all of the product */
    struct tpi_condition condition;
    struct tpi_actions actions;
    struct tpi_ledger ledger;
    atomic_bool warned;             /* that there is no memory for its state was logged */
    _Atomic int64_t off_until_ms;   /* it switched itself off; 0 = never */
    _Atomic uint32_t off_partition; /* .. in this one, whose state says so */
};

/* struct tpc_option of the documents. */
extern const struct tpc_list tpi_scene_schema;

/* Makes a scene of a checked document. Its condition is not compiled yet. Returns 0, TPC_EINVAL or
 * TPC_ENOMEM. */
int tpi_scene_create(const struct tpc_allocator *alloc, const struct tpi_change *change,
                     struct tpc_error *err, struct tpi_scene **ret);
void tpi_scene_destroy(struct tpi_scene *s);

/* What names mean in expressions over a product's devices; user: struct tpi_product. Names become
 * property ids: they outlive a revision of the model, indexes do not. */
int tpi_scene_resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type);
int tpi_scene_constant(void *user, struct tpc_str name, struct tpc_value *ret);

/* Compiles its conditions against the product's model as it is now; the scene is unchanged. Takes
 * the registry's read lock. Returns 0, TPC_ENOENT (no such product), TPC_EINVAL (path "when.expr" or
 * "when.until", line, column), TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_scene_compile(const struct tpi_scene *s, struct tpi_registry *registry,
                      struct tpc_error *err, struct tpi_condition *ret);
/* Compiles the values in the texts of its actions, once: they name property ids, which are never used
 * again, and variables of the condition by their place. Returns as tpi_scene_compile(), with a path from
 * "then[". */
int tpi_scene_compile_actions(struct tpi_scene *s, const struct tpi_condition *c,
                              struct tpi_registry *registry, struct tpc_error *err);
void tpi_condition_fini(struct tpi_condition *c);

/* tpi_actions_check() of its actions. */
int tpi_scene_check(const struct tpi_scene *s, struct tpi_registry *registry,
                    struct tpc_arena *arena, struct tpc_error *err);

#endif
