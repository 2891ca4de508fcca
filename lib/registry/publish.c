/*
 * Versions of a product's model. What was published stays as it was: a row of the store keeps each
 * version with its model, and a put that would change one of them is refused.
 */
#include "registry/publish.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "base/hash.h"
#include "registry/inside.h"

enum { MOST_VERSIONS = 4096, MOST_BYTES = 1 << 20, HASH_TEXT = 17, ENTRY_MEMBERS = 5 };

/* What the row says of one version. */
struct version {
    int64_t number;
    const struct tpc_value *entry;
};

static int to_json(struct tpc_arena *arena, const struct tpc_value *v, uint32_t flags,
                   struct tpc_str *ret)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(v, flags, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    if (buf.ptr == NULL || tpc_json_write(v, flags, &buf) != 0) {
        return TPC_ENOMEM;
    }
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return 0;
}

int tpi_publish_read(const struct tpi_change *change, struct tpi_product *p, struct tpc_error *err)
{
    const struct tpc_value *status = tpc_value_get(change->doc, TPC_STR("status"));
    struct tpc_str text;
    int64_t version = 1;
    if (to_json(change->arena, tpc_value_get(change->doc, TPC_STR("model")), TPC_JSON_SORTED,
                &text) != 0) {
        return tpi_registry_no_memory(err);
    }
    (void) tpc_value_int(tpc_value_get(change->doc, TPC_STR("model_version")), &version);
    p->published = tpc_str_equal(tpc_value_text(status), TPC_STR("published")) != 0;
    p->model_version = (uint32_t) version;
    p->model_hash = tpi_hash(text.ptr, text.len, 0);
    return 0;
}

void tpi_publish_key(uint64_t product_id, char *text, size_t cap, struct tpc_str *ret)
{
    int n = snprintf(text, cap, "%" PRIu64, product_id);
    *ret = (struct tpc_str){ text, (size_t) n };
}

/* The versions so far: none, or an array of objects with a version each. */
static int read_versions(struct tpi_change *change, struct tpc_error *err, struct tpc_value *ret)
{
    char text[24];
    struct tpc_str key;
    struct tpc_bytes doc;
    *ret = (struct tpc_value){ .type = TPC_ARRAY };
    tpi_publish_key(change->id, text, sizeof(text), &key);
    int rc = change->old_revision == 0
                 ? TPC_ENOENT
                 : tpi_change_meta(change, TPC_STR(TPI_PUBLISH_KIND), key, err, &doc);
    if (rc != 0) {
        return rc == TPC_ENOENT ? 0 : rc;
    }
    struct tpc_str json = { (const char *) doc.ptr, doc.len };
    rc = tpc_json_parse(change->arena, json, 0, err, ret);
    if (rc == 0 && ret->type != TPC_ARRAY) {
        rc = TPC_ECORRUPT;
    }
    return rc == 0 || rc == TPC_ENOMEM
               ? rc
               : tpi_error_set(err, TPC_ECORRUPT, tpi_registry_origin,
                               "the stored versions of the model are damaged");
}

static struct version version_at(const struct tpc_value *list, size_t i)
{
    struct version v = { 0, &list->as.items[i] };
    (void) tpc_value_int(tpc_value_get(v.entry, TPC_STR("version")), &v.number);
    return v;
}

static void hash_text(uint64_t hash, char *out)
{
    snprintf(out, HASH_TEXT, "%016" PRIx64, hash);
}

static int refuse(struct tpc_error *err, struct tpc_str key, const char *what, int64_t version)
{
    tpi_error_set(err, TPC_ESTATE, tpi_registry_origin, "product \"%.*s\" %s model_version %lld",
                  (int) (key.len > 128 ? 128 : key.len), key.ptr, what, (long long) version);
    tpi_error_at(err, "model_version");
    return TPC_ESTATE;
}

/* 1 if this version has been published with this model, 0 if it is new, or TPC_ESTATE. */
static int known_version(const struct tpi_change *change, const struct tpi_product *p,
                         const struct tpc_value *list, struct tpc_error *err)
{
    char hash[HASH_TEXT];
    int64_t highest = 0;
    hash_text(p->model_hash, hash);
    for (size_t i = 0; i < list->len; i++) {
        struct version v = version_at(list, i);
        if (v.number == p->model_version) {
            struct tpc_str was = tpc_value_text(tpc_value_get(v.entry, TPC_STR("hash")));
            return tpc_str_equal(was, tpc_str_from(hash)) != 0
                       ? 1
                       : refuse(err, change->key, "has published another model as", v.number);
        }
        highest = v.number > highest ? v.number : highest;
    }
    return p->model_version > highest
               ? 0
               : refuse(err, change->key, "has published models up to", highest);
}

/* The entry without its model. */
static int strip(struct tpc_arena *arena, struct tpc_value *entry)
{
    struct tpc_member *out = tpc_arena_take(arena, (entry->len + 1) * sizeof(*out));
    size_t n = 0;
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < entry->len; i++) {
        if (tpc_str_equal(entry->as.members[i].key, TPC_STR("model")) == 0) {
            out[n++] = entry->as.members[i];
        }
    }
    entry->as.members = out;
    entry->len = n;
    return 0;
}

/* The list with one version more as text; the models of the oldest go if it gets too long. */
static int add_version(struct tpi_change *change, const struct tpi_product *p,
                       const struct tpc_value *list, struct tpc_str *ret)
{
    struct tpc_value *items = tpc_arena_take(change->arena, (list->len + 1) * sizeof(*items));
    struct tpc_member *m = tpc_arena_take(change->arena, ENTRY_MEMBERS * sizeof(*m));
    char *hash = tpc_arena_take(change->arena, HASH_TEXT);
    if (items == NULL || m == NULL || hash == NULL) {
        return TPC_ENOMEM;
    }
    hash_text(p->model_hash, hash);
    m[0] = (struct tpc_member){ TPC_STR("version"), { .type = TPC_INT, .as.i = p->model_version } };
    m[1] = (struct tpc_member){ TPC_STR("published_unix_ms"),
                                { .type = TPC_INT, .as.i = change->modified_unix_ms } };
    m[2] = (struct tpc_member){ TPC_STR("revision"),
                                { .type = TPC_INT, .as.i = (int64_t) change->revision } };
    m[3] = (struct tpc_member){ TPC_STR("hash"),
                                { .type = TPC_TEXT, .len = HASH_TEXT - 1, .as.text = hash } };
    m[4] = (struct tpc_member){ TPC_STR("model"), *tpc_value_get(change->doc, TPC_STR("model")) };
    for (size_t i = 0; i < list->len; i++) {
        items[i] = list->as.items[i];
    }
    items[list->len] = (struct tpc_value){ .type = TPC_MAP, .len = ENTRY_MEMBERS, .as.members = m };
    struct tpc_value all = { .type = TPC_ARRAY, .len = list->len + 1, .as.items = items };
    int rc = to_json(change->arena, &all, 0, ret);
    for (size_t i = 0; i < list->len && rc == 0 && ret->len > MOST_BYTES; i++) {
        if (tpc_value_get(&items[i], TPC_STR("model")) != NULL) { /* else it went earlier */
            rc = strip(change->arena, &items[i]);
            rc = rc != 0 ? rc : to_json(change->arena, &all, 0, ret);
        }
    }
    return rc;
}

static int store_versions(struct tpi_change *change, struct tpc_str json, struct tpc_error *err)
{
    struct tpc_str key;
    char *text = tpc_arena_take(change->arena, 24);
    if (text == NULL) {
        return tpi_registry_no_memory(err);
    }
    tpi_publish_key(change->id, text, 24, &key);
    struct tpc_store_op op = { .size = sizeof(op), .type = TPC_STORE_PUT, .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_META,
                               .kind = TPC_STR(TPI_PUBLISH_KIND),
                               .key = key,
                               .id = change->id,
                               .revision = change->revision,
                               .created_unix_ms = change->created_unix_ms,
                               .modified_unix_ms = change->modified_unix_ms,
                               .doc = { (const uint8_t *) json.ptr, json.len } };
    int rc = tpi_change_op(change, &op);
    return rc == 0 ? 0 : tpi_error_set(err, rc, tpi_registry_origin, "too many rows, or no memory");
}

int tpi_publish_prepare(struct tpi_change *change, const struct tpi_product *old,
                        const struct tpi_product *p, struct tpc_error *err)
{
    struct tpc_value list;
    struct tpc_str json;
    if (change->loading) {
        return 0;
    }
    /* What is published is not edited, also not on the way back to development. */
    if (old != NULL && old->published && old->model_hash != p->model_hash &&
        old->model_version == p->model_version) {
        return refuse(err, change->key, "is published: another model needs another one than",
                      old->model_version);
    }
    if (!p->published) {
        return 0;
    }
    int rc = read_versions(change, err, &list);
    rc = rc != 0 ? rc : known_version(change, p, &list, err);
    if (rc != 0) {
        return rc == 1 ? 0 : rc;
    }
    if (list.len >= MOST_VERSIONS) {
        return tpi_error_set(err, TPC_ETOOBIG, tpi_registry_origin,
                             "the product has published %d models, the most there may be",
                             MOST_VERSIONS);
    }
    rc = add_version(change, p, &list, &json);
    return rc != 0 ? tpi_registry_no_memory(err) : store_versions(change, json, err);
}

int tpi_publish_forget(struct tpi_change *change, struct tpc_error *err)
{
    struct tpc_str key;
    struct tpc_bytes doc;
    char *text = tpc_arena_take(change->arena, 24);
    if (text == NULL) {
        return tpi_registry_no_memory(err);
    }
    tpi_publish_key(change->id, text, 24, &key);
    int rc = change->loading ? TPC_ENOENT
                             : tpi_change_meta(change, TPC_STR(TPI_PUBLISH_KIND), key, err, &doc);
    if (rc != 0) {
        return rc == TPC_ENOENT ? 0 : rc;
    }
    struct tpc_store_op op = { .size = sizeof(op),
                               .type = TPC_STORE_DELETE,
                               .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_META,
                               .kind = TPC_STR(TPI_PUBLISH_KIND),
                               .key = key };
    rc = tpi_change_op(change, &op);
    return rc == 0 ? 0 : tpi_registry_no_memory(err);
}
