/*
 * Entities: all that is configured. An entity is a JSON document of a kind (tenant, product,
 * device, scene), with a key that is unique in its tenant and kind, and a revision that grows with
 * each put. The document is kept as it was accepted, members that the kind does not know included.
 * Secrets are stored apart: get and list leave them out, a put without one keeps it, null removes it.
 * Every change is checked, stored, announced on the bus (main/entity/{kind}/{key}/updated) and
 * carries its actor.
 *
 * A document names its tenant in "tenant" (default "main") and its key in "key".
 */
#ifndef TPCORE_ENTITY_H
#define TPCORE_ENTITY_H

#include <tpcore/core.h>

TPC_BEGIN

enum tpc_actor_type {
    TPC_ACTOR_EMBEDDER = 0, /* the program itself: what a NULL actor means */
    TPC_ACTOR_USER = 1,
    TPC_ACTOR_TOKEN = 2,
    TPC_ACTOR_RULE = 3,
    TPC_ACTOR_CONNECTOR = 4,
    TPC_ACTOR_IMPORT = 5
};

/* Who does it. Stands in the audit trail of changes and commands. */
struct tpc_actor {
    uint32_t size;
    uint32_t type;         /* enum tpc_actor_type */
    struct tpc_str name;   /* "alice", "scene:fan-on" */
    struct tpc_str origin; /* where from: address, instance; may be empty */
};

struct tpc_entity_info {
    uint32_t size;
    uint32_t reserved;
    uint64_t id; /* number, unique over all kinds, never used again */
    uint64_t revision;
    int64_t created_unix_ms;
    int64_t modified_unix_ms;
};

/* One entity, valid during the call. A non-zero return ends the listing and is returned by it. */
typedef int tpc_entity_fn(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                          struct tpc_str json);

struct tpc_entity_query {
    uint32_t size;
    uint32_t limit;        /* 0 = 1,000 */
    struct tpc_str tenant; /* empty = "main" */
    struct tpc_str kind;
    struct tpc_str after_key; /* paging */
    struct tpc_str field;     /* an indexed field of the kind; empty = none. Of a list (a device's
                               * "groups") the item that is in it */
    struct tpc_str value;
    struct tpc_str select; /* terms on labels, all of which hold: "site=paris, floor!=2, has room,
                            * !has lift"; empty = none. A value with a comma stands in "", where ""
                            * is a quote. != and !has also hold without the label. Up to 16 terms
                            * and 4,096 bytes */
};

#define TPC_ENTITY_QUERY_INIT                                                                      \
    {                                                                                              \
        sizeof(struct tpc_entity_query), 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 },      \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/*
 * Creates or replaces an entity, before or after the start. expect_rev: TPC_ANY_REV, TPC_NO_REV (must be new), or the revision
 * that the caller read. actor NULL = the embedding program.
 *
 * Returns 0; TPC_EINVAL (unknown kind; err.path names a bad member), TPC_EDECODE (JSON; line,
 * column), TPC_ECONFLICT (revision), TPC_ENOENT (something it names is not there), TPC_ESCRIPT or
 * TPC_EMODEL (its codec or model does not compile), TPC_ENOSPC, TPC_EIO, TPC_EAGAIN (the store is
 * locked by another process).
 *
 * Ownership: nothing is kept of the arguments. ret may be NULL.
 * Thread: any-thread; durable when it returns, as the store says.
 * Since: 0.1
 */
TPC_API int tpc_entity_put(struct tpc_core *core, const struct tpc_actor *actor, const char *kind,
                           struct tpc_str json, uint64_t expect_rev, struct tpc_entity_info *ret);

/*
 * Puts every entity of a JSON file: one document with "kind", or an array of such. In order; stops
 * at the first error, whose text names the file and the entity. *ret_count (may be NULL) were put,
 * also on failure.
 *
 * Returns 0, TPC_ENOENT (file), TPC_EDECODE (line, column), TPC_ETOOBIG (over 64 MiB) and as
 * tpc_entity_put().
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_entity_load_file(struct tpc_core *core, const struct tpc_actor *actor,
                                 const char *path, uint32_t *ret_count);

/*
 * Reads an entity; tenant empty = "main". fn is called once.
 *
 * Returns 0, TPC_ENOENT, TPC_EINVAL (kind) or what fn returned.
 * Ownership: views are valid during the call.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_entity_get(struct tpc_core *core, struct tpc_str tenant, const char *kind,
                           struct tpc_str key, tpc_entity_fn *fn, void *user);

/*
 * Lists entities of a kind in the order of their keys: all, those with a value in an indexed field,
 * those whose labels meet a selector. The store answers from its index.
 *
 * Returns 0, TPC_EINVAL (kind, or field is not indexed, or the selector cannot be), TPC_ETOOBIG (of a
 * selector) or what fn returned.
 * Ownership: views are valid during the call.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_entity_list(struct tpc_core *core, const struct tpc_entity_query *query,
                            tpc_entity_fn *fn, void *user);

/*
 * Lists the devices of a group in the order of their keys, each once: those that name it or a group
 * that stands in it (up to 256 groups together), and those that such a group selects by labels.
 * tenant empty = "main"; after_key: go on after this key; limit 0 = 100, at most 1,000.
 *
 * Returns 0, TPC_ENOENT (group, tenant), TPC_ETOOBIG (groups), TPC_ENOMEM, what the store says or what
 * fn returned.
 * Ownership: views are valid during the call.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_group_list(struct tpc_core *core, struct tpc_str tenant, struct tpc_str group,
                           struct tpc_str after_key, uint32_t limit, tpc_entity_fn *fn, void *user);

/*
 * Reads one secret of an entity, which tpc_entity_get() leaves out: for a program that must hand it to
 * somebody who may have it. path: its member, "voucher", or table and member, "credentials.voucher".
 * Written without NUL.
 *
 * Returns 0; TPC_ENOENT (tenant, kind, entity or secret), TPC_ETOOBIG with buf->need set, TPC_EINVAL, and
 * what the store says.
 * Ownership: the caller's buffer, who wipes it.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_entity_secret(struct tpc_core *core, struct tpc_str tenant, const char *kind,
                              struct tpc_str key, struct tpc_str path, struct tpc_buf *buf);

/*
 * Deletes an entity. One that others refer to is refused (a product with devices).
 *
 * Returns 0, TPC_ENOENT, TPC_ECONFLICT (revision), TPC_ESTATE (in use; the text says by what).
 * Ownership: none.
 * Thread: any-thread; durable when it returns.
 * Since: 0.1
 */
TPC_API int tpc_entity_delete(struct tpc_core *core, const struct tpc_actor *actor,
                              struct tpc_str tenant, const char *kind, struct tpc_str key,
                              uint64_t expect_rev);

/*
 * In a core with TPC_CORE_OBSERVE: takes over what the process that owns the store changed since the
 * entities were loaded or the last call. *ret_count (may be NULL) is the number of changes. Cheap if
 * there is none: one look at the store's index.
 *
 * Returns 0; TPC_EGAP (more than the store remembers, 65,536 in SQLite: make a new core); TPC_ESTATE (not
 * an observer); TPC_EUNSUPPORTED (the store does not tell); TPC_EAGAIN (locked), TPC_EIO, TPC_ECORRUPT,
 * TPC_ENOMEM. After a failure the same changes come again with the next call.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_entity_refresh(struct tpc_core *core, uint32_t *ret_count);

TPC_END

#endif
