/*
 * The audit trail: who changed what. Each change of an entity, in the transaction that stores it, and
 * each command that was sent. Entries are never changed; the newest audit_max_rows (an option of the
 * core) are kept.
 */
#ifndef TPCORE_AUDIT_H
#define TPCORE_AUDIT_H

#include <tpcore/core.h>
#include <tpcore/entity.h>

TPC_BEGIN

/* What to read: empty, 0 = any. Initialise with TPC_AUDIT_QUERY_INIT. */
struct tpc_audit_query {
    uint32_t size;
    uint32_t limit;       /* entries; 0 = 100 */
    uint64_t before;      /* entries with a lower number: paging */
    int64_t from_unix_ms; /* entries not before that */
    int64_t to_unix_ms;   /* .. and before that */
    struct tpc_str tenant;
    struct tpc_str kind; /* "device", .., "command" */
    struct tpc_str key;  /* of the entity; of a command its device */
    struct tpc_str actor;
};
#define TPC_AUDIT_QUERY_INIT                                                                       \
    {                                                                                              \
        sizeof(struct tpc_audit_query), 0, 0, 0, 0, { 0, 0 }, { 0, 0 }, { 0, 0 },                  \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/* One entry, valid during the call. */
struct tpc_audit_entry {
    uint32_t size;
    uint32_t actor_type; /* enum tpc_actor_type */
    uint64_t sequence;   /* its number: 1, 2, .. */
    int64_t unix_ms;
    uint64_t revision; /* of the entity, after the change; 0 of a command */
    struct tpc_str tenant;
    struct tpc_str kind;
    struct tpc_str key;
    struct tpc_str action; /* "create", "update", "delete", "command" */
    struct tpc_str actor;
    struct tpc_str origin;
    /* All of it: of an entity that is new or goes with "doc", of a changed one (and of new secrets)
     * with "diff", [{"path","old","new"}]; of a command with "id", "service", "params". Secrets are
     * "***", long values are cut. */
    struct tpc_str json;
};

/* A non-zero return ends the reading and is returned by it. */
typedef int tpc_audit_fn(void *user, const struct tpc_audit_entry *entry);

/*
 * Reads the trail, the newest entry first. query NULL = the newest 100. Filters look through the
 * entries one by one.
 *
 * Returns 0, TPC_EINVAL, what fn returned, or what the store says.
 * Ownership: none.
 * Thread: any-thread; fn runs on the caller's, without locks. Reads the store.
 * Since: 0.1
 */
TPC_API int tpc_audit(struct tpc_core *core, const struct tpc_audit_query *query, tpc_audit_fn *fn,
                      void *user);

TPC_END

#endif
