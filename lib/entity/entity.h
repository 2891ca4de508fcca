/*
 * Entities: one path that checks, stores, lists and announces all that is configured. What a kind
 * means is its owner's business: a table with a schema and hooks.
 *
 * A change runs under one lock: check against the schema, prepare (everything that can fail,
 * nothing visible), one transaction of the store, apply (cannot fail) or discard. Listeners are
 * told after the lock is released, in no stated order between threads: a change carries its
 * revision.
 *
 * A document is stored byte by byte as it was put, unless it holds secrets: then it is written anew
 * without them, and they go to TPC_SPACE_SECRET. A secret that a later put leaves out keeps its
 * value; null removes it.
 *
 * Indexed members become fields of the row in the store: a text, enum, bool or number under its name;
 * a text member "site" of a table "labels" as labels.site = "paris" and has:labels.site = ""; an item
 * "attic" of a list of texts "groups" as groups.attic = "".
 */
#ifndef TPI_ENTITY_ENTITY_H
#define TPI_ENTITY_ENTITY_H

#include <tpcore/arena.h>
#include <tpcore/audit.h>
#include <tpcore/entity.h>
#include <tpcore/ext/store.h>

#include "base/env.h"

enum {
    TPI_ENTITY_MAX_KINDS = 32,
    TPI_ENTITY_MAX_BYTES = 1 << 20, /* of a document */
    TPI_ENTITY_MAX_FIELDS = 16,     /* indexed members of a kind */
    TPI_ENTITY_ROW_FIELDS = 128,    /* indexed values of a document */
    TPI_LABEL_NAME_BYTES = 63,
    TPI_SELECTOR_BYTES = 4096,
    TPI_SELECTOR_TERMS = 16,
    TPI_ENTITY_MAX_BATCH = 4096,  /* puts in one call */
    TPI_ENTITY_MAX_LIST = 100000, /* limit of a listing */
    TPI_CHANGE_MAX_OPS = 8        /* rows that a kind may write along with its entity */
};

struct tpi_entities;

struct tpi_change {
    const struct tpi_kind *kind;
    uint64_t tenant; /* number; of a tenant itself 0 */
    struct tpc_str tenant_key;
    struct tpc_str key;
    uint64_t id;
    uint64_t revision;     /* that it gets; of a deletion the one that goes */
    uint64_t old_revision; /* 0 = it is new */
    int64_t created_unix_ms;
    int64_t modified_unix_ms;
    const struct tpc_value *doc; /* checked, defaults and secrets in; NULL when deleted */
    struct tpc_str json;         /* as stored: without secrets; empty when deleted */
    bool deleted;
    bool loading;            /* at start: it is stored already, extra rows are not written */
    void *prepared;          /* the kind's own, from prepare to apply or discard */
    struct tpc_arena *arena; /* until after the listeners */
    struct tpi_entities *entities;
    const struct tpc_actor *actor; /* NULL = the embedding program */
    struct tpc_store_op *ops;      /* private: see tpi_change_op() */
    uint32_t op_count;
    const struct tpi_put_batch *batch; /* that it is part of, or NULL */
};

/*
 * prepare  Checks what the schema cannot and makes what apply needs. Any TPC_E*; TPC_EAGAIN while
 *          loading = something it names is not loaded yet, try again after the others. May be NULL.
 * apply    Makes the change visible. May be NULL.
 * discard  The change does not happen: frees what prepare made. Not called if prepare failed.
 * upgrade  At start, when stored documents are of an older version of the kind: makes the new
 *          document in the arena. NULL = documents stay as they are.
 */
struct tpi_kind {
    const char *name;       /* 1-32 characters a-z 0-9 _ */
    uint32_t version;       /* 1.. of the documents */
    struct tpc_list schema; /* struct tpc_option; "key", "tenant" and "kind" are known without it */
    int (*prepare)(void *user, struct tpi_change *change, struct tpc_error *err);
    void (*apply)(void *user, struct tpi_change *change);
    void (*discard)(void *user, struct tpi_change *change);
    int (*upgrade)(void *user, uint32_t from, const struct tpc_value *doc, struct tpc_arena *arena,
                   struct tpc_error *err, struct tpc_value *ret);
    void *user;
    uint32_t flags; /* enum tpi_kind_flags */
    /* The schema of one document, where what it says decides; `schema` without the rest of it, so
     * indexed members are the same. Lives as long as the arena. NULL = out of memory. */
    const struct tpc_list *(*schema_of)(void *user, const struct tpc_value *doc,
                                        struct tpc_arena *arena);
};

/* BATCH: several changes are prepared, one after the other, before the first is applied. */
enum tpi_kind_flags { TPI_KIND_BATCH = 1 };

/* After apply, without a lock. actor NULL = the embedding program. Not called while loading. */
typedef void tpi_change_fn(void *user, const struct tpc_actor *actor,
                           const struct tpi_change *change);

/* store_self and ops outlive it. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int tpi_entities_create(const struct tpi_env *env, const struct tpc_store_ops *ops,
                        void *store_self, struct tpc_error *err, struct tpi_entities **ret);
void tpi_entities_destroy(struct tpi_entities *e);

/* Secrets are stored sealed with this key of 32 bytes, which is copied. Before load. Returns 0 or
 * TPC_EINVAL. */
int tpi_entities_set_key(struct tpi_entities *e, struct tpc_bytes key);

/* Another process owns the store: nothing is written, not even at load, and puts are refused. Before
 * load. */
void tpi_entities_observe(struct tpi_entities *e);

/*
 * Takes over what other processes changed in the store since load or the last call; *ret_count is
 * their number. Listeners are not told. A change that cannot be taken over ends it and comes again
 * with the next call.
 *
 * Returns 0, TPC_EUNSUPPORTED (the store has no changes()), TPC_EGAP (too many since: load anew), and as
 * tpi_entities_load().
 */
int tpi_entities_refresh(struct tpi_entities *e, struct tpc_error *err, uint32_t *ret_count);

/* Reads one stored entity again and passes it to its kind as at load. Returns 0, TPC_ENOENT, and as
 * tpi_entities_load(). */
int tpi_entities_reload(struct tpi_entities *e, struct tpc_str tenant, const char *kind,
                        struct tpc_str key, struct tpc_error *err);

/* ---- the audit trail: audit.h ---- */

/* How many entries are kept; 0 = TPI_AUDIT_ROWS. Before load. */
void tpi_entities_audit_max(struct tpi_entities *e, uint32_t rows);
/* The numbers that are there: first .. next - 1. From any thread, without waiting for the store; those that are
 * being written count. */
void tpi_entities_audit_range(struct tpi_entities *e, uint64_t *ret_first, uint64_t *ret_next);

enum { TPI_AUDIT_COMMANDS = 128 /* in one call */ };
struct tpi_audit_command {
    const char *json; /* an object */
    size_t len;
    int64_t unix_ms;
};
/* Entries of commands, in one transaction. Returns 0, TPC_ENOMEM or as the store. Any thread. */
int tpi_entities_audit(struct tpi_entities *e, const struct tpi_audit_command *commands,
                       uint32_t count, struct tpc_error *err);
/* As tpc_audit(). Any thread. */
int tpi_entities_audit_read(struct tpi_entities *e, const struct tpc_audit_query *query,
                            struct tpc_error *err, tpc_audit_fn *fn, void *user);

/* Kinds load in the order they were added; "tenant" is the first. kind stays the caller's and
 * outlives e. Before load. Returns 0, TPC_EINVAL (a schema that cannot be: the text says why),
 * TPC_EEXIST or TPC_ENOMEM. */
int tpi_entities_add_kind(struct tpi_entities *e, const struct tpi_kind *kind,
                          struct tpc_error *err);

/* Up to 4 listeners, before load. Returns 0 or TPC_ETOOBIG. */
int tpi_entities_on_change(struct tpi_entities *e, tpi_change_fn *fn, void *user);

/*
 * Reads all that is stored and passes it to the kinds; makes tenant "main" in a new store. Once,
 * before any of the calls below. Returns 0, TPC_EVERSION (a kind's documents are of a newer
 * version), TPC_ECORRUPT, what a kind's prepare said (err's path: "product/thermo"), TPC_EIO,
 * TPC_ENOMEM. After a failure e is only good for destroy.
 */
int tpi_entities_load(struct tpi_entities *e, struct tpc_error *err);

/* As tpc_entity_put() and so on; any thread. ret may be NULL. TPC_ESTATE before load. */
int tpi_entities_put(struct tpi_entities *e, const struct tpc_actor *actor, const char *kind,
                     struct tpc_str json, uint64_t expect_rev, struct tpc_error *err,
                     struct tpc_entity_info *ret);
int tpi_entities_get(struct tpi_entities *e, struct tpc_str tenant, const char *kind,
                     struct tpc_str key, struct tpc_error *err, tpc_entity_fn *fn, void *user);
int tpi_entities_list(struct tpi_entities *e, const struct tpc_entity_query *query,
                      struct tpc_error *err, tpc_entity_fn *fn, void *user);
int tpi_entities_delete(struct tpi_entities *e, const struct tpc_actor *actor,
                        struct tpc_str tenant, const char *kind, struct tpc_str key,
                        uint64_t expect_rev, struct tpc_error *err);

enum tpi_put_flags {
    TPI_PUT_PATCH = 1,  /* changes what is there: RFC 7396 merge patch */
    TPI_PUT_CREATE = 2, /* TPC_EEXIST if it is there */
    TPI_PUT_UPDATE = 4  /* TPC_ENOENT if it is not there */
};

struct tpi_put {
    const struct tpc_value *doc; /* a map, the caller's until the call returns */
    uint32_t flags;
    bool created;          /* out */
    int code;              /* out */
    struct tpc_error *err; /* out, of a row that failed; in the arena given to the call */
};

struct tpi_put_batch {
    const struct tpc_actor *actor;
    const char *kind; /* one whose hooks know batches: TPI_KIND_BATCH */
    struct tpi_put *puts;
    uint32_t count;
    bool dry;                /* checks all and changes nothing; what puts would create is taken for
                              * there by the puts that name it */
    struct tpc_arena *arena; /* for errors */
    /* Whether an entity that is not there comes, or came, with the same import. */
    bool (*promised)(void *user, struct tpc_str key);
    void *user;
};

/* Puts of different keys, in order, in as few transactions as can be. One that is refused has its
 * code and does not hinder the others. Returns 0, or what the store said: then nothing of the puts
 * that have this code is stored, and err has its text. Any thread. */
int tpi_entities_put_batch(struct tpi_entities *e, const struct tpi_put_batch *batch,
                           struct tpc_error *err);

/* In prepare of a batch: an entity of this key may come with it: answer TPC_EAGAIN instead of
 * TPC_ENOENT. */
bool tpi_change_promised(const struct tpi_change *change, struct tpc_str key);

/* In prepare: whether any entity of a kind in the change's tenant has the indexed field. */
int tpi_change_find(struct tpi_change *change, struct tpc_str kind, struct tpc_field field,
                    bool *ret);

/* "site=paris, floor!=2, has room, !has lift, !spare, name = \"a, b\"": terms on the fields of an
 * indexed table. != and ! also hold where the member is absent. terms: TPI_SELECTOR_TERMS; they live
 * in the arena and in text. Returns 0, TPC_EINVAL, TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_selector_parse(struct tpc_str text, struct tpc_str member, struct tpc_arena *arena,
                       struct tpc_error *err, struct tpc_store_term *terms, uint32_t *ret_count);

bool tpi_label_name_valid(struct tpc_str name);

/* A text among the secrets of an entity, for the device that it belongs to: "secret". tenant: number.
 * Returns 0, TPC_ENOENT, TPC_ETOOBIG (ret has room for cap with the NUL) or what the store says. */
int tpi_entities_secret(struct tpi_entities *e, uint64_t tenant, const char *kind,
                        struct tpc_str key, struct tpc_str path, char *ret, size_t cap);

/* In prepare: one more row in the change's transaction; op's texts live as long as the change (its
 * arena). Returns 0, TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_change_op(struct tpi_change *change, const struct tpc_store_op *op);

/* In prepare: the document of a TPC_SPACE_META row, copied into the change's arena. Returns 0,
 * TPC_ENOENT or what the store says. */
int tpi_change_meta(struct tpi_change *change, struct tpc_str kind, struct tpc_str key,
                    struct tpc_error *err, struct tpc_bytes *ret);

/* The same outside of a change, copied into the arena. Any thread. */
int tpi_entities_meta(struct tpi_entities *e, struct tpc_str kind, struct tpc_str key,
                      struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret);

/* In prepare: all TPC_SPACE_META rows of a kind that belong to no tenant; what fn is given lives
 * during its call. Returns 0, what fn returned, or what the store says. */
int tpi_change_metas(struct tpi_change *change, struct tpc_str kind, struct tpc_error *err,
                     int (*fn)(void *user, struct tpc_str key, struct tpc_bytes doc), void *user);

#endif
