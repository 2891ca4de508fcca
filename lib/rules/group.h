/*
 * Windows over several devices have one owner partition, by the hash of the rule's id. A message
 * that such a rule counts is looked at where its device belongs; what of it matters - values of
 * aggregates' arguments and of groups - is appended to the owner's partition as a record of its own,
 * and comes into the windows there. Those records are what a restart rebuilds the windows from.
 *
 * A record names the message it was made of: its partition and offset. The owner takes records of one
 * partition in the order of their offsets and keeps the last one, so what comes again after a crash
 * is known, and nothing is counted twice (struct tpi_flow, marks).
 *
 * Record (the raw part of a message of kind TPI_MSG_RULE_INPUT; docs/format/record.md): rule
 * (varint), hash of its statement (u32), partition, offset (varints), flags (u8), links before it
 * (varint), count of values (varint), then values and groups as their length (varint) and bytes (tpi_value_encode).
 */
#ifndef TPI_RULES_GROUP_H
#define TPI_RULES_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/arena.h>
#include <tpcore/bytes.h>
#include <tpcore/value.h>

#include "base/buf.h"
#include "rules/sql.h"

struct tpi_rules;

enum {
    TPI_MSG_RULE_INPUT = 18, /* kind: the log's own */
    TPI_GROUP_BYTES = 65536  /* of one record's values and groups */
};

struct tpi_group_input {
    uint64_t rule;
    uint32_t hash;
    uint32_t partition; /* of the message it was made of */
    uint64_t offset;
    uint32_t
        flags; /* TPI_RECENT_BEGIN, _EMIT: conditions of a state window, as the device saw them */
    uint32_t hops; /* links of the chain before the message */
    int64_t unix_ms;
    int64_t received_unix_ms;
    uint64_t own_offset; /* of the record */
    uint32_t count;
    struct tpc_value values[TPI_SQL_MAX_AGGREGATES];
    struct tpc_bytes groups; /* their values as bytes */
    uint64_t key;            /* their hash, never 0 */
};

/* What a record begins with; then come values and groups. */
int tpi_group_head(struct tpi_buf *out, const struct tpi_group_input *in);
/* Appends a value; a list or map where only scalars may stand is null. Returns 0, TPC_ETOOBIG or
 * TPC_ENOMEM. */
int tpi_group_value(struct tpi_buf *out, const struct tpc_value *v, bool scalar);

/* Reads a record; views into raw and the arena. Returns 0, TPC_ECORRUPT or TPC_ENOMEM. */
int tpi_group_read(struct tpc_bytes raw, struct tpc_arena *arena, struct tpi_group_input *ret);

/* Values of groups; views. What is not there is null. */
void tpi_group_values(struct tpc_bytes groups, struct tpc_arena *arena, uint32_t count,
                      struct tpc_value *ret);

#endif
