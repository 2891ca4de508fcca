/* What the files of this folder share. */
#ifndef TPI_RULES_RULES_STATE_H
#define TPI_RULES_RULES_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "entity/entity.h"
#include "registry/look.h"
#include "rules/due.h"
#include "rules/edge.h"
#include "rules/later.h"
#include "rules/rules.h"
#include "rules/scene.h"

struct tpi_rule_schedule;

/* Scenes and data rules of one product that name one property. */
struct rule_list {
    struct tpi_watch **items;
    uint32_t count;
    uint32_t cap;
};

/* Scenes and data rules of one product, by property id. */
struct rule_set {
    struct rule_list *lists;
    uint32_t count;                          /* of lists: highest property id named so far + 1 */
    struct rule_list triggers[TPI_TRIGGERS]; /* of what names no property, by trigger */
    uint32_t previous;                       /* scenes that ask for values before the message */
};

enum { RULE_BEFORE = 64, RULE_BEFORE_BYTES = 4096 };

/* Values of a device before a message, of the properties that are in it. */
struct rule_before {
    const struct tpc_msg *msg; /* NULL = of none */
    uint32_t count;
    bool full; /* some found no room */
    struct rule_value {
        uint16_t property;
        bool known;
        struct tpc_value value;
    } items[RULE_BEFORE];
    uint32_t used; /* bytes of room: texts and trees */
    uint8_t room[RULE_BEFORE_BYTES];
};

/* What makes something be looked at. */
struct rule_places {
    uint64_t product_id;
    struct tpi_expr *const *exprs; /* whose properties count; NULL ones are passed over */
    uint32_t expr_count;
    uint32_t trigger; /* enum tpi_trigger */
    bool any;         /* with all messages of the trigger, whatever the expressions name */
};

/* The batch's lock and what the owner counts without atomics. */
struct rule_worker {
    pthread_mutex_t lock;
    uint32_t *marks; /* by scene number: stamp of the message that last looked at it */
    uint32_t stamp;
    uint64_t evaluations;
    uint64_t fired;
    struct tpi_trace *trace;          /* whom the present look is told to; NULL = nobody */
    char reason[200];                 /* why the host refused the action that is told next */
    char texts[TPI_EXPR_SCRATCH];     /* that a condition makes */
    struct tpi_looks looks;           /* where device('key').name led */
    struct rule_before before;        /* of the message that comes */
    struct tpc_arena *arena;          /* what one action says */
    struct tpc_arena *fan_arena;      /* what one action about many devices says */
    struct tpc_arena *vars_arena;     /* variables of the rule that is looked at */
    uint32_t runs;                    /* scenes that an action runs: act_scene.c */
    struct tpi_buf input;             /* a message for a window over several devices */
    struct tpc_arena *input_arena;    /* values of one that came */
    struct tpc_arena *script_arena;   /* what a script returned */
    struct tpi_due due;               /* pairs of its partitions that wait */
    int64_t closed_ms;                /* windows were ended by the clock then */
    _Atomic int64_t next_unix_ms;     /* the earliest of them; INT64_MAX = none */
    _Atomic int64_t later_next_ms;    /* when a delay ends first; INT64_MAX = none */
    _Atomic int64_t schedule_next_ms; /* when one of its schedules is due; INT64_MAX = never */
    _Atomic int64_t schedule_seen_ms; /* when it looked at them last */
    int64_t turned_ms;                /* the clock at its last turn */
    uint8_t apart[64];                /* workers do not share a cache line */
};

struct rule_partition {
    struct tpi_edges edges;
    struct tpi_edges runs;  /* of dampened conditions: damp.c */
    uint64_t next;          /* offset after the last message seen */
    struct tpi_map64 flows; /* struct tpi_flow, what is open in windows, by rule id */
    struct tpi_map64 links; /* struct tpi_chain_link by device id */
    struct tpi_laters laters;
};

struct tpi_rules {
    const struct tpi_env *env;
    struct tpi_rules_host host;
    struct tpi_kind kind;
    struct tpi_kind schedule_kind;
    struct tpi_kind data_kind;
    struct tpi_rules_counters counters;
    struct rule_worker *workers;
    struct rule_partition *partitions;
    /*
     * Held from prepare to apply or discard, and by whoever else changes scenes. Scenes, sets and
     * the lists are changed only with the locks of all workers on top; a worker with its own lock
     * reads.
     */
    pthread_mutex_t changes;
    struct tpi_map64 scenes;     /* by id */
    struct tpi_map64 scene_keys; /* struct tpi_scene by hash of tenant and key */
    bool key_clash;              /* two had the same hash: it may name the other one */
    struct tpi_map64 sets;       /* struct rule_set by product id */
    struct tpi_map64 schedules;  /* struct tpi_rule_schedule by id; changed under all locks */
    uint32_t previous;           /* of all sets; changed under all locks */
    atomic_uint on_commands;     /* scenes in the lists that commands set off */
    struct tpi_map64 data_rules; /* struct tpi_data_rule by id; changed under all locks */
    uint32_t *free_numbers;      /* stack: of scenes and data rules */
    uint32_t free_count;
    atomic_bool replaying;    /* the log is read again */
    pthread_mutex_t cut_lock; /* after all others */
    struct tpi_map64 cut;     /* text of the last chain that was cut, by rule id */
    bool replayed;            /* changed under all locks */
};

void tpi_rules_lock_all(struct tpi_rules *r);
void tpi_rules_unlock_all(struct tpi_rules *r);

/* Under all locks. Room in the lists of a product, so that link() with the same places cannot fail. */
int tpi_rules_reserve(struct tpi_rules *r, const struct rule_places *p);
void tpi_rules_link(struct tpi_rules *r, struct tpi_watch *w, const struct rule_places *p);
void tpi_rules_unlink(struct tpi_rules *r, struct tpi_watch *w, const struct rule_places *p);
/* How many properties the expressions name, one that several name counted for each. */
uint32_t tpi_rules_name_count(const struct rule_places *p);
void tpi_rules_sets_fini(struct tpi_rules *r);

/* Value of a property before the message; false = null. *ret_found: it is in the message. */
bool tpi_rules_value_before(const struct rule_worker *w, const struct tpc_msg *msg,
                            uint32_t property, bool *ret_found, struct tpc_value *ret);

/* Under all locks: a rule that is loaded. */
void tpi_rules_fence(struct tpi_rules *r, struct tpi_watch *w, const struct tpi_change *change);

/* Under its lock: the clock, which was seen at seen_ms, is at now_ms. */
void tpi_rules_set_back(struct tpi_rules *r, uint32_t worker, int64_t seen_ms, int64_t now_ms);

/* Under its lock: whether an item is of what does not wait for it any more. user: the rules. */
bool tpi_rules_is_over(void *user, const struct tpi_due_item *item);

/* Under its lock: what waits changed. */
void tpi_rules_due_changed(struct rule_worker *w);

/* A number that stands for a device and a time where messages have their offset: it is none of theirs. */
uint64_t tpi_rules_moment(uint64_t device, int64_t unix_ms);
static inline bool tpi_rules_is_moment(uint64_t offset)
{
    return offset >> 63 != 0;
}

/* Does what a scene does, whatever it remembers of the device, which stays as it is. Inside a batch of the
 * worker, under the registry's read lock. The caller has seen that the condition compiles. Returns
 * whether it fired. */
bool tpi_scene_run(struct tpi_rules *r, struct tpi_scene *scene, const struct tpi_scene_run *run);

/* A scene by its key; NULL if there is none. Under a worker's lock or that of changes. */
struct tpi_scene *tpi_rules_scene(const struct tpi_rules *r, uint64_t tenant_id,
                                  struct tpc_str key);

/*
 * Does the actions of a scene, or of a schedule; all of act is filled in but for where values in texts come
 * from. ask: only if the scene's condition is true for the device. Returns whether they were done.
 */
bool tpi_scene_act(struct tpi_act *act, struct tpi_scene *s, bool ask);
void tpi_schedule_act(struct tpi_act *act, struct tpi_rule_schedule *s);

/* Hooks of the kind. */
int tpi_rules_prepare(void *user, struct tpi_change *change, struct tpc_error *err);
void tpi_rules_apply(void *user, struct tpi_change *change);
void tpi_rules_discard(void *user, struct tpi_change *change);

#endif
