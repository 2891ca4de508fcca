/*
 * The audit trail: a row of TPC_SPACE_RECORD, kind "audit", for each change of an entity and each
 * command. It is written in the transaction of what it tells, never changed, and thrown out when
 * audit_max newer ones are there. Keys are sequence numbers, 20 digits; those that are there have no
 * gap. The document is JSON: see docs/format/sqlite.md.
 */
#ifndef TPI_ENTITY_AUDIT_H
#define TPI_ENTITY_AUDIT_H

#include <tpcore/audit.h>

#include "entity/inside.h"

enum {
    TPI_AUDIT_ROWS = 100000,     /* the default of audit_max */
    TPI_AUDIT_OPS = 2,           /* of one entry: its row, and the one that it throws out */
    TPI_AUDIT_DIFF = 48,         /* members that one diff tells */
    TPI_AUDIT_DEPTH = 4,         /* of objects that it looks into */
    TPI_AUDIT_VALUE_BYTES = 256, /* of a value, as JSON; longer ones are cut */
    TPI_AUDIT_DOC_BYTES = 4096   /* of a new or deleted entity, or of a command's params */
};

/* Before anything is changed, under the lock: where the trail ends; makes it shorter if audit_max is
 * less than before. Returns 0 or as the store. */
int tpi_audit_load(struct tpi_entities *e, struct tpc_error *err);

/* Out of memory: the oldest entries of a store in memory make room, so that something can still be
 * deleted. Returns whether some went. Under the lock, with nothing staged. */
bool tpi_audit_shed(struct tpi_entities *e);

/* What a change is made of. docs are without secrets; NULL = there was, or is, none. secrets: maps
 * from path to text. */
struct tpi_audit_change {
    const struct tpc_value *old_doc, *new_doc;
    const struct tpc_value *old_secrets, *new_secrets;
};

/* The operations of a change's entry, at most TPI_AUDIT_OPS, into ops; texts are the change's arena's.
 * Takes a sequence number. Returns 0 or TPC_ENOMEM. Under the lock. */
int tpi_audit_stage(struct tpi_entities *e, const struct tpi_change *change,
                    const struct tpi_audit_change *what, struct tpc_store_op *ops,
                    uint32_t *ret_count, struct tpc_error *err);

/* The last one staged did not happen. count: what stage gave. */
void tpi_audit_undo(struct tpi_entities *e, uint32_t count);

/* Differences of two documents (NULL = none) as an array of {"path","old","new"}; members whose name
 * says that they are secret are "***". *ret_more: how many did not fit. Returns 0 or TPC_ENOMEM. */
int tpi_audit_diff(const struct tpi_audit_change *what, struct tpc_arena *arena,
                   struct tpc_value *ret, uint32_t *ret_more);

/* v without what names say is secret, cut to `bytes` of JSON. */
int tpi_audit_mask(const struct tpc_value *v, size_t bytes, struct tpc_arena *arena,
                   struct tpc_value *ret);

#endif
