/* Shared by the files of lib/entity. */
#ifndef TPI_ENTITY_INSIDE_H
#define TPI_ENTITY_INSIDE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/map.h"
#include "entity/entity.h"

enum {
    TPI_ENTITY_LISTENERS = 4,
    TPI_ENTITY_PAGE = 128,   /* rows that are read at once */
    TPI_ENTITY_SECRETS = 32, /* of one document */
    TPI_ENTITY_MAX_KEY = 128
};

struct tpi_kind_slot {
    const struct tpi_kind *kind;
    struct tpc_str name;
    bool secrets; /* its schema has some */
    bool tenants; /* it is the kind "tenant" */
};

struct tpi_tenant_slot {
    uint64_t id;
    struct tpc_str key; /* its copy stands behind this struct */
};

struct tpi_entities {
    const struct tpi_env *env;
    const struct tpc_store_ops *ops;
    void *store;
    pthread_mutex_t lock; /* serialises changes; guards all below */
    bool loaded;
    bool sealing; /* with seal_key */
    uint8_t seal_key[32];
    uint64_t unsealed; /* rows read that should be sealed and are not */
    uint64_t next_id;
    bool observing; /* another process owns the store: nothing is written */
    /* Numbers of the entries that are there; next has none yet. Changed under the lock and read without:
     * a store whose disk hangs keeps the lock, and metrics are asked for then above all. */
    _Atomic uint64_t audit_first, audit_next;
    uint32_t audit_max;
    uint64_t seen; /* the last change of the store that was taken over */
    uint32_t kind_count;
    uint32_t listener_count;
    struct tpi_kind_slot kinds[TPI_ENTITY_MAX_KINDS];
    struct {
        tpi_change_fn *fn;
        void *user;
    } listeners[TPI_ENTITY_LISTENERS];
    struct tpi_map tenants; /* key -> struct tpi_tenant_slot */
};

/* A stored row, copied into an arena. */
struct tpi_entity_row {
    struct tpc_str key;
    uint64_t tenant;
    uint64_t id;
    uint64_t revision;
    int64_t created_unix_ms;
    int64_t modified_unix_ms;
    struct tpc_bytes doc;
};

extern const char tpi_entity_origin[];

const struct tpi_kind_slot *tpi_entity_kind(const struct tpi_entities *e, struct tpc_str name);

/* A code of the store with a text that says what was done. */
int tpi_entity_store_failed(struct tpc_error *err, int code, const char *what);

/* One row, copied. Returns 0, TPC_ENOENT or as the store; err may be NULL. */
int tpi_entity_row_get(struct tpi_entities *e, uint32_t space, struct tpc_str kind, uint64_t tenant,
                       struct tpc_str key, struct tpc_arena *arena, struct tpc_error *err,
                       struct tpi_entity_row *ret);

/* Up to TPI_ENTITY_PAGE rows of q, copied; q->limit is set. Returns 0 or as the store. */
int tpi_entity_rows(struct tpi_entities *e, struct tpc_store_query *q, struct tpc_arena *arena,
                    struct tpc_error *err, const struct tpi_entity_row **ret, uint32_t *ret_count);

int tpi_entity_transact(struct tpi_entities *e, const struct tpc_store_op *ops, uint32_t count,
                        struct tpc_error *err);

/* A value as JSON text in the arena. */
int tpi_entity_json(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_str *ret);

/* The schema of a document. NULL: out of memory. */
const struct tpc_list *tpi_entity_schema(const struct tpi_kind_slot *slot,
                                         const struct tpc_value *doc, struct tpc_arena *arena);

/* Checks doc with its secrets against the kind's schema: fills change->doc. */
int tpi_entity_check(const struct tpi_kind_slot *slot, const struct tpc_value *full,
                     struct tpi_change *change, struct tpc_error *err);

/* Indexed fields of a checked document into row. copy: their texts, too, come into the arena. */
#define TPI_FIELD_HAS "has:"
int tpi_entity_fields(const struct tpc_list *schema, const struct tpc_value *doc, bool copy,
                      struct tpc_arena *arena, struct tpc_row *row, struct tpc_error *err);
int tpi_field_name(struct tpc_arena *arena, const char *prefix, struct tpc_str member,
                   struct tpc_str item, struct tpc_str *ret);

/* Tenant table, under the lock. */
const struct tpi_tenant_slot *tpi_entity_tenant(const struct tpi_entities *e, struct tpc_str key);
struct tpi_tenant_slot *tpi_tenant_slot_make(struct tpi_entities *e, struct tpc_str key,
                                             uint64_t id);
void tpi_tenant_slot_free(struct tpi_entities *e, struct tpi_tenant_slot *slot);

/* A put on its way: prepared, with the rows to store, not stored yet. */
struct tpi_staged {
    struct tpi_change change;
    const struct tpi_kind_slot *slot;
    struct tpi_tenant_slot *tenant; /* a new tenant's */
    struct tpc_store_op *ops;       /* in the change's arena */
    uint32_t op_count;
    uint32_t audit_ops; /* of these */
};

/* Everything that can fail but the store; s->change.arena is set. Under the lock. flags: enum
 * tpi_put_flags. On failure nothing is left. */
int tpi_entity_stage(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                     const struct tpc_value *doc, struct tpc_str json, uint64_t expect_rev,
                     uint32_t flags, struct tpi_staged *s, struct tpc_error *err);
void tpi_entity_apply(struct tpi_entities *e, struct tpi_staged *s);
/* The last one staged first. */
void tpi_entity_discard(struct tpi_entities *e, struct tpi_staged *s);

/* RFC 7396; target may be NULL. Returns 0 or TPC_ENOMEM. */
int tpi_entity_patch(const struct tpc_value *target, const struct tpc_value *patch,
                     struct tpc_arena *arena, uint32_t depth, struct tpc_value *ret);

/* All of it in one. */
int tpi_entity_put_locked(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                          const struct tpc_value *doc, struct tpc_str json, uint64_t expect_rev,
                          struct tpi_staged *s, struct tpc_error *err);

/* The listeners' part, without the lock. */
void tpi_entity_announce(struct tpi_entities *e, const struct tpc_actor *actor,
                         const struct tpi_change *change);

/* ---- secret.c ---- */
bool tpi_secret_any(const struct tpc_list *schema);

/* Whether a schema puts secrets only where they can be cut out: in tables, not in lists. */
bool tpi_secret_placed(const struct tpc_list *schema, bool in_list);

/* doc without its secret members. */
int tpi_secret_strip(const struct tpc_list *schema, const struct tpc_value *doc,
                     struct tpc_arena *arena, struct tpc_value *ret);

/* doc with the secrets of `stored` (a map from path to text, or NULL) where it leaves them out, and
 * without those that are null. */
int tpi_secret_merge(const struct tpc_list *schema, const struct tpc_value *doc,
                     const struct tpc_value *stored, struct tpc_arena *arena,
                     struct tpc_value *ret);

/* The secrets of a merged document as a map from path to value; empty if it has none. Returns 0,
 * TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_secret_collect(const struct tpc_list *schema, const struct tpc_value *doc,
                       struct tpc_arena *arena, struct tpc_value *ret);

/* The stored secrets of an entity as a map, or TPC_NULL. */
int tpi_secret_read(struct tpi_entities *e, const struct tpi_change *change, struct tpc_error *err,
                    struct tpc_value *ret);

/* ---- load.c ---- */
/* What loading takes: arenas, and where it stands. */
struct tpi_loader;
int tpi_loader_make(struct tpi_entities *e, struct tpc_error *err, struct tpi_loader **ret);
void tpi_loader_free(struct tpi_loader *l);

/* Loads one stored entity anew, as another process left it; *ret_there: it is stored. Returns 0 or as
 * loading does. */
int tpi_loader_reload(struct tpi_loader *l, const struct tpi_kind_slot *slot,
                      const struct tpi_tenant_slot *tenant, struct tpc_str key, bool *ret_there);

/* ---- seal.c ---- */
/* Secrets as the row of an entity stores them: row has kind, tenant and key. */
int tpi_secret_bytes(struct tpi_entities *e, const struct tpc_row *row, struct tpc_str json,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret);

/* Stored secrets of the change's entity as a map. TPC_EDENIED: sealed with another key. */
int tpi_secret_parse(struct tpi_entities *e, const struct tpi_change *change, struct tpc_bytes doc,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret);

/* Seals what of a kind and a tenant is stored without. The arena is reset. */
int tpi_secret_seal_stored(struct tpi_entities *e, struct tpc_str kind, uint64_t tenant,
                           struct tpc_arena *arena, struct tpc_error *err);

#endif
