/*
 * Topics of a product's own (contract thingspanel.md 1.9): what its devices publish on instead of a
 * standard topic, and where they hear a copy of what goes to one. A rule has a pattern on the device's
 * side (source) and one on the standard side (target); in a pattern '+' and {anything} stand for one
 * level, {device_number} for the device's key.
 */
#ifndef TPI_REGISTRY_TOPIC_MAP_H
#define TPI_REGISTRY_TOPIC_MAP_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

enum { TPI_TOPIC_RULES = 64, TPI_TOPIC_BYTES = 256 };

struct tpi_topic_rule {
    bool up;
    int32_t priority; /* lower ones first */
    struct tpc_str source;
    struct tpc_str target;
    struct tpc_str name; /* of a command, down only; empty = any payload */
};

struct tpi_topic_map {
    size_t bytes; /* of all */
    uint32_t count;
    struct tpi_topic_rule rules[]; /* in the order of their priorities; texts behind them */
};

/* Whether a topic fits a pattern, level by level, for a device of this key. filter: '+' is allowed where
 * the pattern has a wildcard. */
bool tpi_topic_fits(struct tpc_str pattern, struct tpc_str topic, struct tpc_str key, bool filter);

/* What the list "topics" of a product's checked document says. *ret = NULL if there are no rules.
 * Returns 0, TPC_EINVAL (the path names the rule) or TPC_ENOMEM. */
int tpi_topic_map_make(const struct tpc_allocator *alloc, const struct tpc_value *list,
                       struct tpc_error *err, struct tpi_topic_map **ret);
void tpi_topic_map_free(const struct tpc_allocator *alloc, struct tpi_topic_map *map);

/* Whether a device of this key may publish on (up) or subscribe to a topic; filter: '+' is allowed
 * where the pattern has a wildcard. map may be NULL. */
bool tpi_topic_map_allows(const struct tpi_topic_map *map, bool up, struct tpc_str topic,
                          struct tpc_str key, bool filter);

/* The standard topic of what a device published, as written in the rule; NULL = no rule. */
const struct tpi_topic_rule *tpi_topic_map_up(const struct tpi_topic_map *map, struct tpc_str topic,
                                              struct tpc_str key);

/* The rule of a message that goes to a device on a standard topic: one for the command of that method
 * (empty = it is none) before one for any payload. NULL = none. */
const struct tpi_topic_rule *tpi_topic_map_down(const struct tpi_topic_map *map,
                                                struct tpc_str topic, struct tpc_str key,
                                                struct tpc_str method);

/* The source of a rule with the key put in; 0 if a wildcard is left or it does not fit. */
size_t tpi_topic_rule_source(const struct tpi_topic_rule *rule, struct tpc_str key,
                             char ret[2 * TPI_TOPIC_BYTES]);

#endif
