/*
 * Rules as they run: what scenes, data rules and schedules did since this process knows them, and why
 * one of them does nothing. Rules are entities of kind "scene", "rule" and "schedule" (tpcore/entity.h);
 * docs/guide/scenes.md tells how they are written.
 */
#ifndef TPCORE_RULE_H
#define TPCORE_RULE_H

#include <tpcore/core.h>

TPC_BEGIN

enum tpc_rule_flags {
    TPC_RULE_ENABLED = 1, /* as its document says */
    TPC_RULE_BROKEN = 2,  /* it does nothing: `broken` says why */
    TPC_RULE_ENDED = 4,   /* a schedule that has no more planned times */
    TPC_RULE_OFF = 8      /* it switched itself off (auto_disable): `off_until_unix_ms` */
};

/* One rule. Counts are since the process started or since the rule was made; a changed document goes
 * on with them, but for the failure, which was the old one's. */
struct tpc_rule_info {
    uint32_t size;
    uint32_t flags; /* enum tpc_rule_flags */
    struct tpc_str tenant;
    struct tpc_str kind; /* "scene", "rule" or "schedule" */
    struct tpc_str key;
    uint64_t revision;
    uint64_t evaluated;    /* times that it was looked at */
    uint64_t matched;      /* .. and its condition held, before dampening */
    uint64_t fired;        /* firings of a scene, rows of a data rule, planned times done */
    uint64_t failed;       /* actions that were refused or whose device does not exist */
    int64_t fired_unix_ms; /* last; of a schedule: the planned time; 0 = never */
    int64_t error_unix_ms; /* of the last action that failed; 0 = none */
    int32_t error_code;    /* enum tpc_code */
    uint32_t reserved;
    struct tpc_str error; /* "'set' to 'fan-1': no such device" */
    struct tpc_str
        broken; /* why it does not compile, with path, line and column; empty = it does */
    int64_t off_until_unix_ms; /* 0 = it is on; INT64_MAX = until its document is put again */
};

/* Texts are valid during the call. A non-zero return ends the listing and is returned by it. */
typedef int tpc_rule_fn(void *user, const struct tpc_rule_info *info);

/*
 * Calls fn for one rule. kind: "scene", "rule" or "schedule"; tenant empty = main.
 *
 * Returns 0, TPC_EINVAL (core or fn is NULL, key is empty, no such kind), TPC_ENOENT, TPC_ENOMEM, what
 * fn returned, or what the store says.
 * Ownership: none.
 * Thread: any-thread, but for callbacks on a worker; fn runs on the caller's, without locks.
 * Since: 0.1
 */
TPC_API int tpc_rule_info(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                          struct tpc_str key, tpc_rule_fn *fn, void *user);

/*
 * Calls fn for all rules, by tenant, kind and key. tenant, kind: empty = any. Waits for the batches
 * that rules are looking at.
 *
 * Returns 0, TPC_EINVAL (core or fn is NULL, no such kind), TPC_ENOMEM, what fn returned, or what the
 * store says.
 * Ownership: none.
 * Thread: as tpc_rule_info().
 * Since: 0.1
 */
TPC_API int tpc_rule_list(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                          tpc_rule_fn *fn, void *user);

TPC_END

#endif
