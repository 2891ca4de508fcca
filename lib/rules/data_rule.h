/*
 * Data rules: statements over the messages of a product's devices.
 *
 *     {"key": "mean", "enabled": true,
 *      "sql": "SELECT avg(temperature) AS mean FROM thermo GROUP BY device, TUMBLINGWINDOW(ss, 10)",
 *      "to": {"event": "mean"}, "then": [{"notify": {"handler": "ops"}}]}
 *
 * Each row becomes an event of the device that it is about, and sets off the actions; in their texts
 * the columns are names. Time is the receipt time of messages, and a window ends by it or by the clock,
 * whatever is first; or, if the rule says so, the time of their events (data_lane.c). WHERE, FILTER and what aggregates take see the values of the message alone, where
 * what is absent is null; columns of a window see the device's latest ones otherwise.
 *
 * A rule that does not group by device alone has its windows in one partition, its owner: what comes
 * into them is sent there through the log (rules/group.h).
 *
 * What is open in windows is part of the partition's saved state, not of what is replayed: so a window
 * may be longer than the log is kept. A row's id is made of rule, revision, partition, device and window,
 * so that a row that comes again after a crash is known.
 */
#ifndef TPI_RULES_DATA_RULE_H
#define TPI_RULES_DATA_RULE_H

#include "registry/device.h"
#include "rules/rules_state.h"
#include "rules/window.h"

enum {
    TPI_RULES_MAX_DATA_RULES = 10000,
    TPI_RULE_LATENESS_MS = 1000, /* of event time, where the rule says nothing */
    TPI_RULE_IDLE_MS = 60000,    /* without a message until a device's event time stands still */
    TPI_NAME_CALL = 0x20000,     /* + number: the value of an aggregate */
    TPI_NAME_GROUP = 0x30000,    /* + number: the value of a group */
    /* columns besides its own: groups, device, window_start_ms, window_end_ms */
    TPI_ROW_EXTRA = TPI_SQL_MAX_GROUPS + 3
};

/* Places in a program. Then come the arguments of its calls, its columns and its groups. */
enum tpi_program_part {
    TPI_PART_HAVING,
    TPI_PART_WHERE,
    TPI_PART_FILTER,
    TPI_PART_BEGIN,
    TPI_PART_EMIT,
    TPI_PART_FIRST_ARG
};

/* A statement as compiled against a model. */
struct tpi_program {
    uint64_t product_id;
    struct tpi_expr **exprs; /* NULL = absent; the rule's counts say how many */
    bool good;               /* false = broken: does not compile */
};

struct tpi_data_rule {
    struct tpi_watch watch;
    const struct tpc_allocator *alloc;
    const struct tpi_env *env; /* that opens time zones of expressions; NULL = only fixed offsets */
    const char *zone_dir;
    struct tpc_arena *arena; /* texts, names, actions */
    uint64_t id;
    uint64_t revision;
    uint64_t tenant_id;
    struct tpc_str tenant;
    struct tpc_str by; /* "rule:key" */
    struct tpc_str product;
    struct tpc_str device; /* of a topic: whose messages alone count; empty = any */
    uint64_t kinds;        /* of a topic that is narrow: bits of the kinds that count */
    struct tpc_str text;
    struct tpc_str event;  /* empty = none */
    struct tpc_str target; /* device that rows are about; empty = the one that sent the messages */
    uint32_t hash;         /* of the statement: what is open belongs to it */
    bool enabled;
    bool all;      /* SELECT * */
    bool by_event; /* time is that of the messages */
    bool lanes;    /* devices keep messages */
    bool values;   /* rows are values, too */
    bool spread;   /* its windows are over several devices */
    bool bags;     /* one of the functions keeps a list or set */
    uint32_t column_count;
    uint32_t call_count;
    uint32_t group_count;
    uint32_t partition; /* of a spread one: its owner */
    struct tpc_str *columns;
    struct tpc_str *groups; /* names, then texts */
    uint8_t *column_groups; /* which group a column is; TPI_SQL_MAX_GROUPS = none */
    uint8_t *functions;     /* of the calls: enum tpi_sql_function */
    struct tpi_sql_window window;
    struct tpi_program program;
    struct tpi_actions actions;
    struct tpi_ledger ledger;
    int64_t lateness_ms; /* of event time */
    int64_t idle_ms;
    atomic_bool warned; /* that there is no memory was logged */
};

/* Whether a device has several windows of a time that are its own. */
static inline bool tpi_data_rule_chains(const struct tpi_data_rule *d)
{
    return d->by_event &&
           (d->window.type == TPI_WINDOW_TUMBLING || d->window.type == TPI_WINDOW_HOPPING);
}

static inline const struct tpi_expr *tpi_data_rule_arg(const struct tpi_data_rule *d, uint32_t i)
{
    return d->program.exprs[TPI_PART_FIRST_ARG + i];
}

static inline const struct tpi_expr *tpi_data_rule_column(const struct tpi_data_rule *d, uint32_t i)
{
    return d->program.exprs[TPI_PART_FIRST_ARG + d->call_count + i];
}

static inline const struct tpi_expr *tpi_data_rule_group(const struct tpi_data_rule *d, uint32_t i)
{
    return d->program.exprs[TPI_PART_FIRST_ARG + d->call_count + d->column_count + i];
}

/* Whether a message of its product is one of its topic. */
static inline bool tpi_data_rule_takes(const struct tpi_data_rule *d,
                                       const struct tpc_device *device, const struct tpc_msg *msg)
{
    return (d->kinds >> msg->kind & 1) != 0 &&
           (d->device.len == 0 || tpc_str_equal(d->device, device->key));
}

/* Whether no column of a rule is this group: then rows have it behind their columns. */
bool tpi_data_rule_adds_group(const struct tpi_data_rule *d, uint32_t group);

extern const struct tpc_list tpi_data_rule_schema;

/* Makes a rule of a checked document; it is not compiled yet. Returns 0, TPC_EINVAL, TPC_ETOOBIG or
 * TPC_ENOMEM. */
int tpi_data_rule_create(const struct tpc_allocator *alloc, struct tpi_registry *registry,
                         const struct tpi_change *change, struct tpc_error *err,
                         struct tpi_data_rule **ret);
void tpi_data_rule_destroy(struct tpi_data_rule *d);

/* Compiles its statement against the product's model as it is now; the rule is unchanged. Takes the
 * registry's read lock. Returns 0, TPC_ENOENT (no such product), TPC_EINVAL (path "sql", line,
 * column), TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_data_rule_compile(const struct tpi_data_rule *d, struct tpi_registry *registry,
                          struct tpc_error *err, struct tpi_program *ret);
void tpi_program_fini(const struct tpi_data_rule *d, struct tpi_program *p);

/* Hooks of the kind. */
int tpi_data_rules_prepare(void *user, struct tpi_change *change, struct tpc_error *err);
void tpi_data_rules_apply(void *user, struct tpi_change *change);
void tpi_data_rules_discard(void *user, struct tpi_change *change);

/* As tpi_rules_product_changed(), which calls it under the lock of changes. */
void tpi_data_rules_product_changed(struct tpi_rules *r, uint64_t product_id);
void tpi_data_rules_fini(struct tpi_rules *r);

/* Inside a batch: a message that the rule looks at; and what is due. due returns how many windows of
 * devices were emitted. */
void tpi_data_rule_message(struct tpi_rules *r, uint32_t worker, struct tpi_data_rule *d,
                           struct tpc_device *device, const struct tpc_msg *msg);
/* What came into a rule's windows over several devices: under the owner's lock. */
struct tpi_group_input;
void tpi_data_rule_input(struct tpi_rules *r, uint32_t worker, struct tpi_data_rule *d,
                         const struct tpi_group_input *in);
uint32_t tpi_data_rule_due(struct tpi_rules *r, uint32_t worker, struct tpi_data_rule *d,
                           const struct tpi_due_item *item, int64_t now_ms);

/* Whether something of a data rule still waits for that. */
bool tpi_data_rule_waits(struct tpi_rules *r, const struct tpi_due_item *item);

/* Under all locks: what is open is gone. */
void tpi_data_rule_forget(struct tpi_rules *r, uint64_t rule);

/* Under the owner's lock and the registry's read lock: panes of devices that are gone, in windows that
 * no time ends. */
void tpi_data_rules_expire(struct tpi_rules *r, uint32_t partition);

/* State of a partition's windows: appended to out; read into a fresh map, which the second takes over.
 * old: of a version before 7. Under the owner's lock. Return 0, TPC_ECORRUPT or TPC_ENOMEM. */
int tpi_data_rules_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out);
int tpi_data_rules_read(struct tpi_rules *r, struct tpi_reader *in, bool old,
                        struct tpi_map64 *flows);
int tpi_data_rules_take(struct tpi_rules *r, uint32_t partition, struct tpi_map64 *flows);
void tpi_flows_fini(struct tpi_map64 *flows);

#endif
