/*
 * Secrets at rest. Without a key they are stored as JSON; with one a row is
 *
 *   0x01  nonce (12 bytes)  AES-256-GCM of the JSON  tag (16 bytes)
 *
 * bound to kind, tenant and key of its entity, so that no row serves another. Rows from before there
 * was a key are sealed when the entities are loaded.
 */
#include "entity/inside.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/arena.h"
#include "base/crypto.h"
#include "base/error.h"

enum { SEALED = 1, HEAD_BYTES = 1 + TPI_SEAL_NONCE_BYTES };

/* What a row is about: kind, tenant, key. */
struct about {
    uint8_t bytes[40 + 8 + TPI_ENTITY_MAX_KEY];
    size_t len;
};

static void make_about(struct about *a, struct tpc_str kind, uint64_t tenant, struct tpc_str key)
{
    size_t n = kind.len < 40 ? kind.len : 40;
    memset(a->bytes, 0, sizeof(a->bytes));
    memcpy(a->bytes, kind.ptr, n);
    for (int i = 0; i < 8; i++) {
        a->bytes[40 + i] = (uint8_t) (tenant >> (8 * i));
    }
    n = key.len < TPI_ENTITY_MAX_KEY ? key.len : TPI_ENTITY_MAX_KEY;
    memcpy(a->bytes + 48, key.ptr, n);
    a->len = 48 + n;
}

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
}

int tpi_entities_set_key(struct tpi_entities *e, struct tpc_bytes key)
{
    if (key.len != TPI_SEAL_KEY_BYTES || e->loaded) {
        return TPC_EINVAL;
    }
    memcpy(e->seal_key, key.ptr, sizeof(e->seal_key));
    e->sealing = true;
    return 0;
}

int tpi_secret_bytes(struct tpi_entities *e, const struct tpc_row *row, struct tpc_str json,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    struct about about;
    tpi_arena_secret(arena);
    if (!e->sealing) {
        *ret = (struct tpc_bytes){ (const uint8_t *) json.ptr, json.len };
        return 0;
    }
    size_t len = HEAD_BYTES + json.len + TPI_SEAL_TAG_BYTES;
    uint8_t *out = tpc_arena_take(arena, len);
    if (out == NULL) {
        return no_memory(err);
    }
    make_about(&about, row->kind, row->tenant, row->key);
    out[0] = SEALED;
    int rc = tpi_random(e->env, out + 1, TPI_SEAL_NONCE_BYTES);
    rc = rc != 0 ? rc
                 : tpi_seal(e->seal_key, out + 1, (struct tpc_bytes){ about.bytes, about.len },
                            json.ptr, json.len, out + HEAD_BYTES);
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_entity_origin, "the secrets cannot be sealed");
    }
    *ret = (struct tpc_bytes){ out, len };
    return 0;
}

/* A sealed row's JSON. */
static int open_row(struct tpi_entities *e, const struct tpi_change *change, struct tpc_bytes doc,
                    struct tpc_arena *arena, struct tpc_error *err, struct tpc_str *ret)
{
    struct about about;
    if (!e->sealing) {
        return tpi_error_set(err, TPC_EDENIED, tpi_entity_origin,
                             "the stored secrets are sealed: the option secret_key is missing");
    }
    if (doc.len < HEAD_BYTES + TPI_SEAL_TAG_BYTES) {
        return tpi_error_set(err, TPC_ECORRUPT, tpi_entity_origin, "stored secrets are damaged");
    }
    char *out = tpc_arena_take(arena, doc.len);
    if (out == NULL) {
        return no_memory(err);
    }
    make_about(&about, tpc_str_from(change->kind->name), change->tenant, change->key);
    int rc = tpi_unseal(e->seal_key, doc.ptr + 1, (struct tpc_bytes){ about.bytes, about.len },
                        doc.ptr + HEAD_BYTES, doc.len - HEAD_BYTES, (uint8_t *) out);
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_entity_origin,
                             "the stored secrets do not open: another secret_key, or damage");
    }
    *ret = (struct tpc_str){ out, doc.len - HEAD_BYTES - TPI_SEAL_TAG_BYTES };
    return 0;
}

int tpi_secret_parse(struct tpi_entities *e, const struct tpi_change *change, struct tpc_bytes doc,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpc_str text = { (const char *) doc.ptr, doc.len };
    tpi_arena_secret(arena);
    if (doc.len > 0 && doc.ptr[0] == SEALED) {
        int rc = open_row(e, change, doc, arena, err, &text);
        if (rc != 0) {
            return rc;
        }
    } else {
        e->unsealed += e->sealing;
    }
    int rc = tpc_json_parse(arena, text, 0, err, ret);
    return rc == 0 || rc == TPC_ENOMEM
               ? rc
               : tpi_error_set(err, TPC_ECORRUPT, tpi_entity_origin, "stored secrets are damaged");
}

/* One page of rows: those that are not sealed are written anew. */
static int seal_rows(struct tpi_entities *e, struct tpc_str kind, uint64_t tenant,
                     const struct tpi_entity_row *rows, uint32_t count, struct tpc_arena *arena,
                     struct tpc_error *err)
{
    struct tpc_store_op *ops = tpc_arena_take(arena, (count + 1) * sizeof(*ops));
    uint32_t n = 0;
    if (ops == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_str json = { (const char *) rows[i].doc.ptr, rows[i].doc.len };
        if (json.len > 0 && rows[i].doc.ptr[0] == SEALED) {
            continue;
        }
        struct tpc_store_op *op = &ops[n++];
        *op = (struct tpc_store_op){ .size = sizeof(*op),
                                     .type = TPC_STORE_PUT,
                                     .expect = rows[i].revision };
        op->row = (struct tpc_row){ .size = sizeof(op->row),
                                    .space = TPC_SPACE_SECRET,
                                    .kind = kind,
                                    .tenant = tenant,
                                    .key = rows[i].key,
                                    .id = rows[i].id,
                                    .revision = rows[i].revision,
                                    .created_unix_ms = rows[i].created_unix_ms,
                                    .modified_unix_ms = rows[i].modified_unix_ms };
        int rc = tpi_secret_bytes(e, &op->row, json, arena, err, &op->row.doc);
        if (rc != 0) {
            return rc;
        }
    }
    return n == 0 ? 0 : tpi_entity_transact(e, ops, n, err);
}

int tpi_secret_seal_stored(struct tpi_entities *e, struct tpc_str kind, uint64_t tenant,
                           struct tpc_arena *arena, struct tpc_error *err)
{
    char after[TPI_ENTITY_MAX_KEY];
    struct tpc_store_query q = {
        .size = sizeof(q), .space = TPC_SPACE_SECRET, .kind = kind, .tenant = tenant
    };
    uint32_t count = TPI_ENTITY_PAGE;
    while (count == TPI_ENTITY_PAGE) {
        const struct tpi_entity_row *rows;
        tpc_arena_reset(arena);
        q.limit = 0;
        int rc = tpi_entity_rows(e, &q, arena, err, &rows, &count);
        rc = rc != 0 ? rc : seal_rows(e, kind, tenant, rows, count, arena, err);
        if (rc != 0) {
            return rc;
        }
        if (count > 0) {
            memcpy(after, rows[count - 1].key.ptr, rows[count - 1].key.len);
            q.after_key = (struct tpc_str){ after, rows[count - 1].key.len };
        }
    }
    return 0;
}
