/*
 * Store engine: rows of entities, secrets and records (commands, alerts, states), with
 * transactions.
 *
 * A row belongs to a space and, in it, to a kind; (space, kind, tenant, key) is unique. Entities
 * also have a number that is unique over all kinds and never used again (the entity stage gives it
 * out).
 */
#ifndef TPCORE_EXT_STORE_H
#define TPCORE_EXT_STORE_H

#include <tpcore/ext/module.h>

TPC_BEGIN

enum tpc_space {
    TPC_SPACE_ENTITY = 1, /* doc: JSON text */
    TPC_SPACE_SECRET = 2, /* doc: bytes; never in a list or a dump without being asked for */
    TPC_SPACE_RECORD = 3, /* doc: JSON text or bytes */
    TPC_SPACE_META = 4    /* the library's own counters and versions */
};

/* An indexed field of a row, as text: numbers in decimal, booleans as true/false. */
struct tpc_field {
    struct tpc_str name;
    struct tpc_str value;
};

struct tpc_row {
    uint32_t size;
    uint32_t space; /* enum tpc_space */
    struct tpc_str kind;
    uint64_t tenant;    /* number of the tenant; 0 = none */
    struct tpc_str key; /* 1-128 bytes */
    uint64_t id;        /* entity's number; of records free for the owner's use */
    uint64_t revision;  /* 1, 2, .. grows with each put */
    int64_t created_unix_ms;
    int64_t modified_unix_ms;
    struct tpc_bytes doc;
    const struct tpc_field *fields;
    uint32_t field_count;
    uint32_t field_size; /* sizeof(struct tpc_field) */
};

enum tpc_store_op_type { TPC_STORE_PUT = 1, TPC_STORE_DELETE = 2 };

struct tpc_store_op {
    uint32_t size;
    uint32_t type;      /* enum tpc_store_op_type */
    uint64_t expect;    /* revision that must be there now; TPC_ANY_REV, TPC_NO_REV */
    struct tpc_row row; /* DELETE uses space, kind, tenant, key */
};

enum tpc_store_term_type {
    TPC_TERM_EQUAL = 1,    /* the row has the field with this value */
    TPC_TERM_NOT_EQUAL = 2 /* it has no such field, or another value in it */
};

/* A condition on an indexed field. */
struct tpc_store_term {
    uint32_t type; /* enum tpc_store_term_type */
    uint32_t reserved;
    struct tpc_field field;
};

enum { TPC_STORE_TERMS_MAX = 32 };

/* All conditions hold; empty or 0 = no condition. Rows come in the order of (tenant, key). An engine
 * answers from its index: it reads no document of a row that does not match. */
struct tpc_store_query {
    uint32_t size;
    uint32_t space;
    struct tpc_str kind;      /* required */
    uint64_t tenant;          /* UINT64_MAX = all */
    struct tpc_str after_key; /* go on after this key (paging; with one tenant) */
    struct tpc_field field;   /* name empty = none */
    uint64_t id;              /* 0 = any */
    uint32_t limit;           /* 0 = 1,000; at most 100,000 */
    uint32_t term_count;      /* 0..TPC_STORE_TERMS_MAX, else TPC_EINVAL */
    const struct tpc_store_term *terms;
};

/* One row, valid during the call; a non-zero return ends the query and is returned by it. */
typedef int tpc_row_fn(void *user, const struct tpc_row *row);

/* One entity that was put or deleted. A non-zero return ends the listing and is returned by it. */
typedef int tpc_change_fn(void *user, struct tpc_str kind, uint64_t tenant, struct tpc_str key,
                          int gone);

/*
 * transact  All or nothing, on stable storage when it returns 0. TPC_ECONFLICT: an expected
 *           revision is not there (err.path = its key); TPC_ENOSPC, TPC_EIO, TPC_EAGAIN (locked by
 *           another process).
 * get       fn is called once, or TPC_ENOENT.
 * query     fn is called for each row.
 * count     Rows of a space and kind (kind empty = all).
 * changes   Entities changed since a call that gave *ret_last, by whatever process, in order; after =
 *           UINT64_MAX tells the present *ret_last only. TPC_EGAP: they are not kept so far back. NULL
 *           if other processes cannot share the store.
 * Several threads at once.
 */
struct tpc_store_ops {
    struct tpc_iface iface; /* major 1 */
    const char *name;
    size_t instance_size;
    struct tpc_list options;
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg);
    void (*fini)(void *self);
    int (*transact)(void *self, const struct tpc_store_op *ops, uint32_t count, size_t op_size,
                    struct tpc_error *err);
    int (*get)(void *self, uint32_t space, struct tpc_str kind, uint64_t tenant, struct tpc_str key,
               tpc_row_fn *fn, void *user);
    int (*query)(void *self, const struct tpc_store_query *q, tpc_row_fn *fn, void *user);
    int (*count)(void *self, uint32_t space, struct tpc_str kind, uint64_t *ret_count);
    int (*changes)(void *self, uint64_t after, tpc_change_fn *fn, void *user, uint64_t *ret_last);
};

TPC_END

#endif
